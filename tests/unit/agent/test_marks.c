/* Marks as text: there and back, and what is refused. */
#include "test.h"

#include "agent/marks.h"

#include <stdio.h>
#include <stdlib.h>

static struct fm_marks_doc d, back;
static struct fm_roster *roster;

static int begin(void **state)
{
    int rc = fm_test_fds_before(state);
    roster = fm_roster_new();
    assert_non_null(roster);
    assert_int_equal(fm_roster_add_region(roster, FM_STR("west")), 0);
    assert_int_equal(fm_roster_add_region(roster, FM_STR("north")), 1);
    return rc;
}

static int end(void **state)
{
    fm_roster_free(roster);
    return fm_test_fds_after(state);
}

static bool reads(const char *text)
{
    struct fm_error e = {.msg = ""};
    enum fm_err err = fm_marks_read(roster, &back, fm_str_z(text), &e);
    assert_true(!err == !e.msg[0]);
    return !err;
}

static void what_was_kept_comes_back(void **state)
{
    (void)state;
    d = (struct fm_marks_doc){.service = "bank", .life = 12345};
    struct fm_marks_context *c = fm_marks_place(&d, FM_STR("ledger"), 1);
    c->marks = (struct fm_marks){.store_id = UINT64_MAX - 1,
                                 .store = {777},
                                 .incarnation = {2},
                                 .epoch = {{(UINT64_C(1) << 53) - 1}},
                                 .holder = {2}};
    c = fm_marks_place(&d, FM_STR("cards"), 64);
    for (unsigned i = 0; i < 64; i++)
        c->marks.epoch[i].n = i, c->marks.holder[i] = (uint8_t)(i % 3);
    char *text = fm_marks_write(roster, &d);
    assert_non_null(text);
    assert_true(reads(text));
    free(text);
    assert_string_equal(back.service, "bank");
    assert_int_equal(back.life, 12345);
    assert_int_equal(back.n, 2);
    for (unsigned i = 0; i < 2; i++) {
        const struct fm_marks_context *was = &d.context[i];
        struct fm_marks_context *is = fm_marks_place(&back, fm_str_z(was->name), was->ncells);
        assert_non_null(is);
        assert_memory_equal(&is->marks, &was->marks, sizeof was->marks);
    }
}

static void holders_are_names_and_may_be_missing(void **state)
{
    (void)state;
    assert_true(
        reads("{\"v\":1,\"service\":\"bank\",\"life\":1,\"contexts\":{\"ledger\":{\"store\":"
              "\"0000000000000001\",\"revision\":1,\"seed\":1,\"epochs\":[4,5,6],"
              "\"holders\":[\"north\",\"south\",null]}}}"));
    const struct fm_marks *m = &back.context[0].marks;
    assert_int_equal(m->holder[0], 2);
    assert_int_equal(m->holder[1], 0); /* a region that is not in the file any more */
    assert_int_equal(m->holder[2], 0);
}

static void a_context_has_one_place(void **state)
{
    (void)state;
    d = (struct fm_marks_doc){.service = "bank"};
    struct fm_marks_context *c = fm_marks_place(&d, FM_STR("ledger"), 1);
    assert_ptr_equal(fm_marks_place(&d, FM_STR("ledger"), 1), c);
    assert_null(fm_marks_place(&d, FM_STR("ledger"), 2));
    for (unsigned i = 1; i < FM_ROSTER_CONTEXTS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "c-%u", i);
        assert_non_null(fm_marks_place(&d, fm_str_z(name), 1));
    }
    assert_null(fm_marks_place(&d, FM_STR("one-more"), 1));
}

static void what_is_damaged_is_refused(void **state)
{
    (void)state;
#define DOC(contexts)        "{\"v\":1,\"service\":\"bank\",\"life\":1,\"contexts\":{" contexts "}}"
#define CONTEXT(store, rest) "\"ledger\":{\"store\":\"" store "\"," rest "}"
    assert_true(reads(DOC("")));
    assert_true(
        reads(DOC(CONTEXT("0000000000000001", "\"revision\":1,\"seed\":1,\"epochs\":[1]"))));
    static const char *const bad[] = {
        "",
        "{}",
        "{\"v\":3,\"service\":\"bank\",\"life\":1,\"contexts\":{}}",
        "{\"v\":1,\"service\":\"Bank\",\"life\":1,\"contexts\":{}}",
        "{\"v\":1,\"service\":\"bank\",\"life\":-1,\"contexts\":{}}",
        "{\"v\":1,\"service\":\"bank\",\"life\":1,\"contexts\":[]}",
        DOC("\"ledger\":1"),
        DOC("\"Ledger\":{\"store\":\"0000000000000001\",\"revision\":1,\"seed\":1,\"epochs\":[1]}"),
        DOC(CONTEXT("1", "\"revision\":1,\"seed\":1,\"epochs\":[1]")),
        DOC(CONTEXT("000000000000000g", "\"revision\":1,\"seed\":1,\"epochs\":[1]")),
        DOC(CONTEXT("0000000000000001", "\"revision\":-1,\"seed\":1,\"epochs\":[1]")),
        DOC(CONTEXT("0000000000000001", "\"revision\":1,\"seed\":1,\"epochs\":[]")),
        DOC(CONTEXT("0000000000000001", "\"revision\":1,\"seed\":1,\"epochs\":[-1]")),
        DOC(CONTEXT("0000000000000001", "\"revision\":1,\"seed\":1,\"epochs\":[\"1\"]")),
        DOC(CONTEXT("0000000000000001", "\"revision\":1,\"seed\":1")),
        DOC(CONTEXT("0000000000000001", "\"revision\":1,\"seed\":1,\"epochs\":[1],\"holders\":[]")),
        DOC(CONTEXT("0000000000000001",
                    "\"revision\":1,\"seed\":1,\"epochs\":[1],\"holders\":[1]")),
        DOC("") "x",
    };
    for (size_t i = 0; i < FM_COUNT(bad); i++)
        if (reads(bad[i]))
            fail_msg("%s is taken", bad[i]);
}

FM_TEST_MAIN(fm_test_with(what_was_kept_comes_back, begin, end),
             fm_test_with(holders_are_names_and_may_be_missing, begin, end),
             fm_test_with(a_context_has_one_place, begin, end),
             fm_test_with(what_is_damaged_is_refused, begin, end))
