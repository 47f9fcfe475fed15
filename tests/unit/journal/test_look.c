/* Looking at a journal from outside, while it is written and when its daemon is gone. */
#include "desk.h"

#include "journal/look.h"

#include <stdio.h>

static struct desk desk;

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    desk_open(&desk, NULL);
    desk_start(&desk);
    return rc;
}

static int teardown(void **state)
{
    desk_close(&desk);
    return fm_test_fds_after(state);
}

static struct fm_journal_look *look(void)
{
    struct fm_error e;
    struct fm_journal_look *l = fm_journal_look_open(desk.path, &e);
    if (!l)
        fail_msg("%s", e.msg);
    return l;
}

static char said[4096];

static void say(const struct fm_journal_entry *e, void *user)
{
    struct fm_buf *b = user;
    fm_buf_printf(b, "%s%.*s:%s", b->n ? " " : "", FM_STR_ARG(e->key),
                  fm_idem_known_name(e->state));
    if (e->answer.status)
        fm_buf_printf(b, ":%u", e->answer.status);
}

static const char *list(struct fm_str context, enum fm_idem_known s, unsigned limit)
{
    struct fm_buf b = fm_buf(said, sizeof said - 1);
    struct fm_journal_look *l = look();
    struct fm_journal_filter f = {.context = context, .state = s, .limit = limit};
    assert_int_equal(fm_journal_look_list(l, &f, say, &b, NULL), FM_ERR_OK);
    fm_journal_look_close(l);
    said[b.n] = 0;
    return said;
}

static const struct fm_str all = {NULL, 0};

static void fill(void)
{
    uint64_t seq;
    desk_whole(&desk, "one", 201, "x");
    desk_begin(&desk, "two", "r", &seq);
    assert_int_equal(desk_unknown(&desk, seq), FM_ERR_OK);
    desk_begin(&desk, "three", "r", &seq);
    struct fm_journal_call c = desk_command(&desk, "four", "r");
    c.command.context = FM_STR("cards");
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    c = desk_command(&desk, "five", "r");
    c.op = FM_JOURNAL_ENQUEUE;
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
}

static void it_lists_the_newest_first_by_context_and_state(void **state)
{
    (void)state;
    fill();
    assert_string_equal(list(all, FM_IDEM_ABSENT, 9),
                        "five:queued four:in-flight three:in-flight two:unknown one:done:201");
    assert_string_equal(list(FM_STR("cards"), FM_IDEM_ABSENT, 9), "four:in-flight");
    assert_string_equal(list(all, FM_IDEM_IN_FLIGHT, 9), "four:in-flight three:in-flight");
    assert_string_equal(list(all, FM_IDEM_UNKNOWN, 9), "two:unknown");
    assert_string_equal(list(all, FM_IDEM_DONE, 9), "one:done:201");
    assert_string_equal(list(all, FM_IDEM_QUEUED, 9), "five:queued");
    assert_string_equal(list(all, FM_IDEM_ABSENT, 2), "five:queued four:in-flight");
    assert_string_equal(list(FM_STR("none"), FM_IDEM_ABSENT, 9), "");
}

/* Sent under epoch 9, and nobody knows what became of it. */
static void lose(const char *key)
{
    struct fm_journal_call c = desk_command(&desk, key, "r");
    c.op = FM_JOURNAL_TAKE;
    c.limit = 1;
    c.command.facts.epoch = 9;
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_int_equal(c.nitems, 1);
    assert_str(c.items[0].key, key);
    c.seq = c.items[0].id;
    fm_journal_forget(&c);
    c.op = FM_JOURNAL_SETTLE;
    c.outcome = (struct fm_journal_outcome){.state = FM_IDEM_UNKNOWN};
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
}

static void a_delivery_of_unknown_outcome_is_listed_as_such(void **state)
{
    (void)state;
    fill();
    lose("five");
    assert_string_equal(list(all, FM_IDEM_QUEUED, 9), "");
    assert_string_equal(list(all, FM_IDEM_UNKNOWN, 9), "five:unknown two:unknown");
    assert_string_equal(list(FM_STR("ledger"), FM_IDEM_ABSENT, 1), "five:unknown");
}

static void it_finds_a_key(void **state)
{
    (void)state;
    fill();
    struct fm_journal_look *l = look();
    struct fm_buf b = fm_buf(said, sizeof said - 1);
    struct fm_error e;
    assert_str(fm_journal_look_service(l), "bank");
    assert_int_equal(fm_journal_look_find(l, FM_STR("ledger"), FM_STR("one"), say, &b, &e), 0);
    assert_int_equal(fm_journal_look_find(l, FM_STR("ledger"), FM_STR("five"), say, &b, &e), 0);
    said[b.n] = 0;
    assert_string_equal(said, "one:done:201 five:queued");
    assert_int_equal(fm_journal_look_find(l, FM_STR("cards"), FM_STR("one"), say, &b, &e),
                     FM_ERR_NOT_FOUND);
    assert_int_equal(fm_journal_look_find(l, FM_STR("ledger"), FM_STR("\n"), say, &b, &e),
                     FM_ERR_NOT_FOUND);
    assert_int_equal(fm_journal_look_find(l, FM_STR(""), FM_STR("one"), say, &b, &e),
                     FM_ERR_NOT_FOUND);
    fm_journal_look_close(l);
}

static void it_sees_what_is_committed_while_the_journal_writes(void **state)
{
    (void)state;
    struct fm_journal_look *l = look();
    assert_true(fm_journal_look_is_live(l));
    struct fm_journal_filter f = {.limit = 1000};
    char key[16];
    for (unsigned i = 0; i < 50; i++) {
        snprintf(key, sizeof key, "k%u", i);
        desk_whole(&desk, key, 200, "x");
        struct fm_buf b = fm_buf(said, sizeof said - 1);
        assert_int_equal(fm_journal_look_list(l, &f, say, &b, NULL), FM_ERR_OK);
        assert_true(fm_str_starts(fm_buf_str(&b), fm_str_z(key)));
    }
    desk_stop(&desk);
    fm_journal_look_close(l);
    l = look();
    assert_false(fm_journal_look_is_live(l));
    fm_journal_look_close(l);
    desk_start(&desk);
}

static void what_is_no_journal_is_said_to_be_none(void **state)
{
    (void)state;
    struct fm_error e;
    assert_null(fm_journal_look_open("/nonexistent/journal.db", &e));
    assert_int_equal(e.code, FM_ERR_NOT_FOUND);
    char path[128];
    snprintf(path, sizeof path, "%s/empty.db", desk.dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    assert_null(fm_journal_look_open(path, &e));
    assert_int_equal(e.code, FM_ERR_INVALID);
}

#define with_desk(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_desk(it_lists_the_newest_first_by_context_and_state),
             with_desk(a_delivery_of_unknown_outcome_is_listed_as_such), with_desk(it_finds_a_key),
             with_desk(it_sees_what_is_committed_while_the_journal_writes),
             with_desk(what_is_no_journal_is_said_to_be_none))
