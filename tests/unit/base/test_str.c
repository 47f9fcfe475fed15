/* Views: strict numbers, lists, distance. */
#include "test.h"

#include "base/str.h"

static void numbers_are_parsed_strictly(void **state)
{
    (void)state;
    uint64_t v;
    assert_true(fm_str_u64(FM_STR("0"), &v) && v == 0);
    assert_true(fm_str_u64(FM_STR("18446744073709551615"), &v) && v == UINT64_MAX);
    static const char *const bad[] = {"",
                                      "-1",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1a",
                                      "18446744073709551616",
                                      "0x1",
                                      "99999999999999999999",
                                      "000000000000000000001"};
    for (size_t i = 0; i < FM_COUNT(bad); i++)
        assert_false(fm_str_u64(fm_str_z(bad[i]), &v));
    assert_true(fm_str_u64_hex(FM_STR("fF0"), &v) && v == 0xff0);
    assert_true(fm_str_u64_hex(FM_STR("ffffffffffffffff"), &v) && v == UINT64_MAX);
    assert_false(fm_str_u64_hex(FM_STR("10000000000000000"), &v));
    assert_false(fm_str_u64_hex(FM_STR("g"), &v));
    assert_false(fm_str_u64_hex(FM_STR(""), &v));
}

static void writes_what_it_reads(void **state)
{
    (void)state;
    static const uint64_t values[] = {0, 9, 10, 99, 12345, UINT64_MAX};
    for (size_t i = 0; i < FM_COUNT(values); i++) {
        char out[20];
        uint64_t back;
        assert_true(fm_str_u64(fm_str(out, fm_u64_write(out, values[i])), &back));
        assert_int_equal(back, values[i]);
    }
}

static void cuts_and_trims(void **state)
{
    (void)state;
    struct fm_str rest;
    assert_str(fm_str_cut(FM_STR("a=b=c"), '=', &rest), "a");
    assert_str(rest, "b=c");
    assert_str(fm_str_cut(FM_STR("abc"), '=', &rest), "abc");
    assert_int_equal(rest.n, 0);
    assert_null(rest.p);
    assert_str(fm_str_trim(FM_STR(" \t x y\t ")), "x y");
    assert_str(fm_str_trim(FM_STR(" \t ")), "");
}

static void lists_skip_empty_elements(void **state)
{
    (void)state;
    struct fm_str rest = FM_STR(" a, ,b ,, c d,"), item;
    assert_true(fm_str_list_next(&rest, &item));
    assert_str(item, "a");
    assert_true(fm_str_list_next(&rest, &item));
    assert_str(item, "b");
    assert_true(fm_str_list_next(&rest, &item));
    assert_str(item, "c d");
    assert_false(fm_str_list_next(&rest, &item));
}

static void compares(void **state)
{
    (void)state;
    assert_true(fm_str_eq_nocase(FM_STR("Content-Length"), FM_STR("content-LENGTH")));
    assert_false(fm_str_eq_nocase(FM_STR("a"), FM_STR("ab")));
    assert_true(fm_str_cmp(FM_STR("a"), FM_STR("b")) < 0);
    assert_true(fm_str_cmp(FM_STR("ab"), FM_STR("a")) > 0);
    assert_int_equal(fm_str_cmp(FM_STR("ab"), FM_STR("ab")), 0);
    assert_true(fm_str_starts(FM_STR("fulmar-ref"), FM_STR("fulmar-")));
    assert_true(fm_str_ends(FM_STR("a.yaml"), FM_STR(".yaml")));
    assert_false(fm_str_ends(FM_STR("yaml"), FM_STR(".yaml")));
}

static void distance_counts_slips_of_the_hand(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        unsigned d;
    } cases[] = {{"probe", "probe", 0}, {"probes", "probe", 1}, {"porbe", "probe", 1},
                 {"prode", "probe", 1}, {"", "abc", 3},         {"kitten", "sitting", 3},
                 {"Probe", "probe", 0}};
    for (size_t i = 0; i < FM_COUNT(cases); i++)
        assert_int_equal(fm_str_distance(fm_str_z(cases[i].a), fm_str_z(cases[i].b)), cases[i].d);
}

static void reads_utf8_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n, len;
        uint32_t cp;
    } cases[] = {{"a", 1, 1, 'a'},
                 {"\0", 1, 1, 0},
                 {"\xc3\xa9x", 3, 2, 0xe9},
                 {"\xe2\x82\xac", 3, 3, 0x20ac},
                 {"\xf0\x9f\x98\x80", 4, 4, 0x1f600},
                 {"\xf4\x8f\xbf\xbf", 4, 4, 0x10ffff},
                 {"", 0, 0, 0},
                 {"\x80", 1, 0, 0},             /* a continuation alone */
                 {"\xc3", 1, 0, 0},             /* cut */
                 {"\xc3(", 2, 0, 0},            /* no continuation */
                 {"\xc0\xaf", 2, 0, 0},         /* longer than needed */
                 {"\xe0\x80\xaf", 3, 0, 0},     /* the same */
                 {"\xed\xa0\x80", 3, 0, 0},     /* a surrogate */
                 {"\xf4\x90\x80\x80", 4, 0, 0}, /* above the last */
                 {"\xff", 1, 0, 0}};
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        uint32_t cp = 0;
        assert_int_equal(fm_str_utf8(fm_str(cases[i].text, cases[i].n), &cp), cases[i].len);
        assert_int_equal(cp, cases[i].cp);
        assert_int_equal(fm_str_utf8(fm_str(cases[i].text, cases[i].n), NULL), cases[i].len);
    }
}

FM_TEST_MAIN(fm_test(numbers_are_parsed_strictly), fm_test(writes_what_it_reads),
             fm_test(cuts_and_trims), fm_test(lists_skip_empty_elements), fm_test(compares),
             fm_test(distance_counts_slips_of_the_hand), fm_test(reads_utf8_strictly))
