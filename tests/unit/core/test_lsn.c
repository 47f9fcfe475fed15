/* Places in the log, and which history a node belongs to. */
#include "test.h"

#include "core/lsn.h"

static struct fm_history history(uint32_t timeline, const char *text)
{
    return (struct fm_history){{timeline}, fm_str_z(text)};
}

static struct fm_lsn lsn(const char *text)
{
    struct fm_lsn l;
    assert_true(fm_lsn_parse(fm_str_z(text), &l));
    return l;
}

static void reads_and_writes_places(void **state)
{
    (void)state;
    static const struct {
        const char *text, *again;
        uint64_t n;
    } cases[] = {
        {"0/0", "0/0", 0},
        {"0/3000148", "0/3000148", 0x3000148},
        {"16/B374D848", "16/B374D848", UINT64_C(0x16B374D848)},
        {"16/b374d848", "16/B374D848", UINT64_C(0x16B374D848)},
        {"00000001/00000010", "1/10", UINT64_C(0x100000010)},
        {"FFFFFFFF/FFFFFFFF", "FFFFFFFF/FFFFFFFF", UINT64_MAX},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char out[FM_LSN_ROOM];
        struct fm_lsn l = lsn(cases[i].text);
        assert_true(l.n == cases[i].n);
        assert_string_equal(fm_lsn_write(out, l), cases[i].again);
    }
}

static void refuses_what_is_no_place(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",      "/",    "0",     "0/",          "/0",  "0/0/0",       "0/ 0", " 0/0", "0/0 ",
        "0/0\n", "+0/0", "0x1/0", "100000000/0", "0/G", "0/100000000", "-1/0", "0\\0", "0/0\t",
    };
    struct fm_lsn l = {7};
    for (size_t i = 0; i < FM_COUNT(wrong); i++)
        if (fm_lsn_parse(fm_str_z(wrong[i]), &l))
            fail_msg("takes `%s`", wrong[i]);
    assert_false(fm_lsn_parse(fm_str("0/0\0", 4), &l));
    assert_true(l.n == 7);
}

static void counts_bytes_without_going_round(void **state)
{
    (void)state;
    struct fm_lsn a = {100}, b = {160};
    assert_int_equal(fm_lsn_ahead(b, a), 60);
    assert_int_equal(fm_lsn_ahead(a, b), 0);
    assert_int_equal(fm_lsn_add(a, 60).n, 160);
    assert_true(fm_lsn_same(fm_lsn_add((struct fm_lsn){UINT64_MAX - 1}, 2), FM_LSN_END));
    assert_true(fm_lsn_same(fm_lsn_add((struct fm_lsn){UINT64_MAX - 2}, 2), FM_LSN_END));
    assert_true(fm_lsn_before(a, b) && !fm_lsn_before(a, a) && !fm_lsn_before(b, a));
    assert_true(fm_lsn_is_none(FM_LSN_NONE) && !fm_lsn_is_none(a));
    assert_int_equal(fm_lsn_min(a, b).n, 100);
    assert_int_equal(fm_lsn_max(a, b).n, 160);
}

/* As 15 wrote it, with what people may add. */
#define THIRD                                                                                      \
    "1\t0/3000148\tno recovery target specified\n"                                                 \
    "\n"                                                                                           \
    "# a remark\n"                                                                                 \
    "2\t0/50000A0\tbefore 2026-11-21 14:08:42.123456+00\n"

static void reads_a_history(void **state)
{
    (void)state;
    struct fm_history h = history(3, THIRD);
    struct fm_past p;
    assert_true(fm_history_is_valid(&h));
    struct fm_str rest = h.text;
    assert_true(fm_history_next(&rest, &p));
    assert_int_equal(p.timeline.n, 1);
    assert_int_equal(p.end.n, 0x3000148);
    assert_true(fm_history_next(&rest, &p));
    assert_int_equal(p.timeline.n, 2);
    assert_int_equal(p.end.n, 0x50000A0);
    assert_false(fm_history_next(&rest, &p));
    p = fm_history_origin(&h);
    assert_int_equal(p.timeline.n, 2);
    assert_int_equal(p.end.n, 0x50000A0);
    struct fm_history first = history(1, "");
    assert_true(fm_history_is_valid(&first));
    p = fm_history_origin(&first);
    assert_true(p.timeline.n == 0 && fm_lsn_is_none(p.end));
}

static void takes_histories_as_they_may_be_written(void **state)
{
    (void)state;
    static const struct {
        uint32_t timeline;
        const char *text;
    } fine[] = {
        {2, "1\t0/3000148\treason"},              /* no end of line */
        {2, "1 0/3000148"},                       /* no reason */
        {2, " \t1\t0/3000148\t1 2 3 # reason\n"}, /* blanks in front */
        {9, "1\t0/10\t\r\n4\t0/10\tat once\r\n"}, /* a timeline in which nothing was written */
        {UINT32_MAX, "4294967294\t0/10\t\n"},
        {1, "# nothing\n\n"},
    };
    for (size_t i = 0; i < FM_COUNT(fine); i++) {
        struct fm_history h = history(fine[i].timeline, fine[i].text);
        if (!fm_history_is_valid(&h))
            fail_msg("refuses `%s`", fine[i].text);
    }
}

static void refuses_what_is_no_history(void **state)
{
    (void)state;
    static const struct {
        uint32_t timeline;
        const char *text;
    } wrong[] = {
        {0, ""},                                 /* no timeline */
        {2, ""},                                 /* from nothing */
        {2, "# 1\t0/10\n"},                      /* the same */
        {2, "1"},                                /* no end */
        {2, "1\t0-10\n"},                        /* no place */
        {2, "one\t0/10\n"},                      /* no number */
        {2, "0\t0/10\n"},                        /* no timeline */
        {2, "-1\t0/10\n"},                       /* a sign */
        {2, "2\t0/10\n"},                        /* its own parent */
        {2, "3\t0/10\n"},                        /* from the future */
        {3, "1\t0/10\n1\t0/20\n"},               /* twice */
        {4, "2\t0/10\n1\t0/20\n"},               /* backwards */
        {3, "1\t0/20\n2\t0/10\n"},               /* an end before its beginning */
        {9, "4294967296\t0/10\n"},               /* too large */
        {9, "18446744073709551617\t0/10\n"},     /* much too large */
        {9, "000000000000000000000001\t0/10\n"}, /* too long */
        {3, "1\t0/10\nrubbish\n"},
        {1, "1\t0/10\n"},
    };
    for (size_t i = 0; i < FM_COUNT(wrong); i++) {
        struct fm_history h = history(wrong[i].timeline, wrong[i].text);
        if (fm_history_is_valid(&h))
            fail_msg("takes `%s` of %u", wrong[i].text, wrong[i].timeline);
    }
    struct fm_history zero = {{2}, fm_str("1\t0/1\0\n", 7)};
    assert_false(fm_history_is_valid(&zero));
}

static void finds_where_histories_part(void **state)
{
    (void)state;
    static const struct {
        struct {
            uint32_t timeline;
            const char *text;
        } a, b;
        uint32_t timeline;
        const char *end;
    } cases[] = {
        /* the same one */
        {{1, ""}, {1, ""}, 1, "FFFFFFFF/FFFFFFFF"},
        {{2, "1\t0/100\n"}, {2, "1\t0/100\n"}, 2, "FFFFFFFF/FFFFFFFF"},
        /* the old primary and the new one */
        {{1, ""}, {2, "1\t0/100\n"}, 1, "0/100"},
        {{1, ""}, {3, "1\t0/100\n2\t0/200\n"}, 1, "0/100"},
        {{2, "1\t0/100\n"}, {3, "1\t0/100\n2\t0/200\n"}, 2, "0/200"},
        /* siblings */
        {{2, "1\t0/100\n"}, {3, "1\t0/100\n"}, 1, "0/100"},
        {{2, "1\t0/100\n"}, {3, "1\t0/80\n"}, 1, "0/80"},
        /* two that took the same number */
        {{2, "1\t0/100\n"}, {2, "1\t0/80\n"}, 1, "0/80"},
        {{3, "1\t0/100\n2\t0/200\n"}, {3, "1\t0/80\n2\t0/200\n"}, 1, "0/80"},
        {{5, "1\t0/10\n2\t0/20\n"}, {4, "1\t0/10\n2\t0/20\n3\t0/30\n"}, 2, "0/20"},
        /* strangers */
        {{2, "1\t0/100\n"}, {3, "2\t0/100\n"}, 0, "0/0"},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_history a = history(cases[i].a.timeline, cases[i].a.text),
                          b = history(cases[i].b.timeline, cases[i].b.text);
        assert_true(fm_history_is_valid(&a) && fm_history_is_valid(&b));
        struct fm_past ab = fm_history_fork(&a, &b), ba = fm_history_fork(&b, &a);
        assert_int_equal(ab.timeline.n, cases[i].timeline);
        assert_true(fm_lsn_same(ab.end, lsn(cases[i].end)));
        assert_true(fm_timeline_same(ab.timeline, ba.timeline) && fm_lsn_same(ab.end, ba.end));
    }
}

static void a_node_beyond_the_fork_must_not_follow(void **state)
{
    (void)state;
    struct fm_history old = history(1, ""), new = history(2, "1\t0/100\tno recovery target\n"),
                      sibling = history(2, "1\t0/80\n"), other = history(3, "2\t0/100\n");
    assert_true(fm_history_may_follow(&old, lsn("0/FF"), &new));
    assert_true(fm_history_may_follow(&old, lsn("0/100"), &new));
    assert_false(fm_history_may_follow(&old, lsn("0/101"), &new));
    assert_true(fm_history_may_follow(&new, lsn("5/0"), &new));
    assert_false(fm_history_may_follow(&new, lsn("0/90"), &sibling));
    assert_true(fm_history_may_follow(&new, lsn("0/80"), &sibling));
    assert_false(fm_history_may_follow(&new, lsn("0/1"), &other));
}

FM_TEST_MAIN(fm_test(reads_and_writes_places), fm_test(refuses_what_is_no_place),
             fm_test(counts_bytes_without_going_round), fm_test(reads_a_history),
             fm_test(takes_histories_as_they_may_be_written), fm_test(refuses_what_is_no_history),
             fm_test(finds_where_histories_part), fm_test(a_node_beyond_the_fork_must_not_follow))
