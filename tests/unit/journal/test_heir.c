/* From one journal to another: everything arrives, any number of times, and a repeat that meets the
 * heir is answered as at home. */
#include "desk.h"

#include "driver.h"
#include "journal/look.h"
#include "journal/ship.h"

#include <stdio.h>
#include <stdlib.h>

static struct desk home, heir;

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    desk_open(&home, NULL);
    desk_open(&heir, NULL);
    desk_start(&home);
    desk_start(&heir);
    return rc;
}

static int teardown(void **state)
{
    desk_close(&home);
    desk_close(&heir);
    return fm_test_fds_after(state);
}

struct shipped {
    unsigned chunks, added, turned, kept, conflicts;
};

/* Everything behind `since`; where it ends. */
static uint64_t ship(uint64_t since, unsigned times, struct shipped *s)
{
    struct fm_journal_call read = desk_call(&home, FM_JOURNAL_READ);
    read.since = since;
    do {
        assert_int_equal(desk_do(&home, &read), FM_ERR_OK);
        for (unsigned i = 0; i < times; i++) {
            struct fm_journal_call import = desk_call(&heir, FM_JOURNAL_IMPORT);
            import.bytes = read.bytes;
            assert_int_equal(desk_do(&heir, &import), FM_ERR_OK);
            assert_int_equal(import.next, read.next);
            s->added += import.imported.added;
            s->turned += import.imported.turned;
            s->kept += import.imported.kept;
            s->conflicts += import.imported.conflicts;
        }
        assert_true(read.next > read.since || read.next == read.last);
        read.since = read.next;
        s->chunks++;
        fm_journal_forget(&read);
    } while (read.next < read.last);
    return read.next;
}

static void run_driver(struct desk *d, const char *prefix, uint64_t count)
{
    struct driver v;
    struct driver_options o = {.prefix = prefix, .in_flight = 64, .count = count, .body = 300};
    assert_int_equal(driver_open(&v, &d->net.loop, d->j, &o, NULL), FM_ERR_OK);
    driver_start(&v);
    NET_UNTIL(&d->net, driver_is_over(&v));
    driver_close(&v);
}

struct seen {
    const char *prefix;
    unsigned n, unknown;
};

static void look_at(const struct fm_journal_entry *e, void *user)
{
    struct seen *s = user;
    s->n++;
    s->unknown += e->state == FM_IDEM_UNKNOWN;
    if (!driver_is_plausible(s->prefix, e))
        fail_msg("%.*s was invented", FM_STR_ARG(e->key));
}

static struct seen all_of(struct desk *d, const char *prefix)
{
    struct fm_error e;
    struct seen s = {.prefix = prefix};
    struct fm_journal_look *l = fm_journal_look_open(d->path, &e);
    struct fm_journal_filter f = {.limit = 1000000};
    assert_non_null(l);
    assert_int_equal(fm_journal_look_list(l, &f, look_at, &s, &e), FM_ERR_OK);
    fm_journal_look_close(l);
    return s;
}

static void everything_arrives_once_however_often_it_is_sent(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    run_driver(&home, "c", COUNT);
    struct shipped first = {0}, again = {0};
    uint64_t end = ship(0, 2, &first);
    assert_true(first.chunks > 2);
    assert_int_equal(first.added, COUNT);
    assert_int_equal(first.conflicts, 0);
    (void)ship(0, 1, &again);
    assert_int_equal(again.added + again.turned + again.conflicts, 0);
    assert_true(again.kept >= COUNT);
    struct seen at_heir = all_of(&heir, "c");
    assert_int_equal(at_heir.n, COUNT);
    assert_int_equal(at_heir.unknown, COUNT / 16);
    struct shipped nothing = {0};
    assert_int_equal(ship(end, 1, &nothing), end);
    assert_int_equal(nothing.added + nothing.kept, 0);
}

static void an_outcome_that_came_later_follows(void **state)
{
    (void)state;
    uint64_t seq[3];
    struct shipped s = {0};
    desk_begin(&home, "a", "a", &seq[0]);
    desk_begin(&home, "b", "b", &seq[1]);
    desk_begin(&home, "c", "c", &seq[2]);
    uint64_t end = ship(0, 1, &s);
    assert_int_equal(s.added, 3);
    assert_situation(desk_begin(&heir, "a", "a", NULL), FM_IDEM_LOST); /* who knows */
    assert_int_equal(desk_done(&home, seq[0], 200, "A"), FM_ERR_OK);
    assert_int_equal(desk_unknown(&home, seq[1]), FM_ERR_OK);
    end = ship(end, 3, &s);
    assert_int_equal(s.turned, 1);
    desk_replays(&heir, "a", "a", 200, "A");
    assert_situation(desk_begin(&heir, "b", "b", NULL), FM_IDEM_LOST);
    assert_int_equal(desk_done(&home, seq[1], 200, "B"), FM_ERR_OK);
    desk_restart(&home); /* gives up the third */
    (void)ship(end, 1, &s);
    desk_replays(&heir, "b", "b", 200, "B");
    assert_situation(desk_begin(&heir, "c", "c", NULL), FM_IDEM_LOST);
    assert_int_equal(s.conflicts, 0);
}

/* Rule 20 and 21: with the journal shipped before the release, the successor answers a retry of the
 * old epoch; without it, it refuses. */
static void a_retry_meets_an_heir_that_knows(void **state)
{
    (void)state;
    struct shipped s = {0};
    desk_whole(&home, "told", 201, "made");
    (void)ship(0, 1, &s);
    desk_whole(&home, "not-told", 201, "made");
    struct fm_journal_call c = desk_command(&heir, "told", "told");
    c.command.facts.epoch = 8;
    c.command.facts.first_epoch = 7;
    assert_int_equal(desk_do(&heir, &c), FM_ERR_OK);
    assert_situation(c.decision, FM_IDEM_ANSWERED);
    assert_str(c.answer.body, "made");
    fm_journal_forget(&c);
    c.command.facts.key = FM_STR("not-told");
    c.command.hash = desk_hash("not-told");
    assert_int_equal(desk_do(&heir, &c), FM_ERR_OK);
    assert_situation(c.decision, FM_IDEM_FIRST_ELSEWHERE);
    assert_int_equal(c.decision.status, 409);
}

static void an_heir_keeps_its_own_where_two_disagree(void **state)
{
    (void)state;
    uint64_t seq;
    struct shipped s = {0};
    assert_situation(desk_begin(&home, "k", "one request", &seq), FM_IDEM_FIRST);
    assert_int_equal(desk_done(&home, seq, 200, "home"), FM_ERR_OK);
    assert_situation(desk_begin(&heir, "k", "another", &seq), FM_IDEM_FIRST);
    assert_int_equal(desk_done(&heir, seq, 200, "heir"), FM_ERR_OK);
    (void)ship(0, 1, &s);
    assert_int_equal(s.conflicts, 1);
    assert_int_equal(s.added, 0);
    desk_replays(&heir, "k", "another", 200, "heir");
}

static void what_is_no_chunk_changes_nothing(void **state)
{
    (void)state;
    desk_whole(&home, "a", 200, "x");
    desk_whole(&home, "b", 200, "x");
    struct fm_journal_call read = desk_call(&home, FM_JOURNAL_READ);
    assert_int_equal(desk_do(&home, &read), FM_ERR_OK);
    struct fm_journal_call import = desk_call(&heir, FM_JOURNAL_IMPORT);
    import.bytes = fm_str(read.bytes.p, read.bytes.n - 1);
    assert_int_equal(desk_do(&heir, &import), FM_ERR_INVALID);
    assert_int_equal(all_of(&heir, "-").n, 0);
    fm_journal_forget(&read);
    read.since = 1000000; /* of another journal than this */
    assert_int_equal(desk_do(&home, &read), FM_ERR_INVALID);
    fm_journal_forget(&read);
    assert_situation(desk_begin(&heir, "a", "a", NULL), FM_IDEM_FIRST);
}

static void a_chunk_is_bounded_though_answers_are_large(void **state)
{
    (void)state;
    enum { COUNT = 300, LARGE = 64 * 1024 };
    desk_stop(&home);
    home.o.answer_max = LARGE;
    desk_start(&home);
    desk_stop(&heir);
    heir.o.answer_max = LARGE;
    desk_start(&heir);
    char *body = malloc(LARGE), key[16];
    assert_non_null(body);
    memset(body, 'b', LARGE);
    body[LARGE - 10] = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(key, sizeof key, "k%u", i);
        desk_whole(&home, key, 200, body);
    }
    struct shipped s = {0};
    (void)ship(0, 1, &s);
    assert_int_equal(s.added, COUNT);
    desk_replays(&heir, "k299", "k299", 200, body);
    /* one that was kept under a higher bound is told without its answer */
    desk_stop(&home);
    home.o.answer_max = 100;
    desk_start(&home);
    desk_stop(&heir);
    assert_int_equal(remove(heir.path), 0);
    desk_start(&heir);
    memset(&s, 0, sizeof s);
    (void)ship(0, 1, &s);
    assert_int_equal(s.added, COUNT);
    assert_situation(desk_begin(&heir, "k0", "k0", NULL), FM_IDEM_ANSWER_GONE);
    free(body);
}

#define with_desks(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_desks(everything_arrives_once_however_often_it_is_sent),
             with_desks(an_outcome_that_came_later_follows),
             with_desks(a_retry_meets_an_heir_that_knows),
             with_desks(an_heir_keeps_its_own_where_two_disagree),
             with_desks(what_is_no_chunk_changes_nothing),
             with_desks(a_chunk_is_bounded_though_answers_are_large))
