/* Documents of daemons: what is missing or wrong reads as nothing, what is there as people say it.
 */
#include "test.h"

#include "cli/show.h"

static json_t *doc(const char *text)
{
    json_t *d = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(d);
    return d;
}

static void what_is_missing_reads_as_nothing(void **state)
{
    (void)state;
    json_t *d = doc("{\"text\": \"x\", \"n\": 42, \"none\": null}");
    char n[FM_SHOW_NUMBER];
    assert_string_equal(fm_show_text(d, "text"), "x");
    assert_string_equal(fm_show_text(d, "n"), "");
    assert_string_equal(fm_show_text(d, "absent"), "");
    assert_string_equal(fm_show_text(NULL, "absent"), "");
    assert_int_equal(fm_show_number(d, "n"), 42);
    assert_int_equal(fm_show_number(d, "text"), 0);
    assert_string_equal(fm_show_number_or_dash(d, "n", n), "42");
    assert_string_equal(fm_show_number_or_dash(d, "none", n), "-");
    assert_string_equal(fm_show_or_dash(""), "-");
    assert_string_equal(fm_show_or_dash("y"), "y");
    json_decref(d);
}

static void times_are_short(void **state)
{
    (void)state;
    char out[FM_SHOW_NUMBER], at[FM_SHOW_CLOCK];
    assert_string_equal(fm_show_clock("2026-11-21T14:08:42.123456Z", at), "14:08:42");
    assert_string_equal(fm_show_clock("yesterday", at), "-");
    static const struct {
        long long ms;
        const char *text;
    } cases[] = {{-1, "-"},           {0, "0 ms"},       {999, "999 ms"},      {1000, "1.0 s"},
                 {119949, "119.9 s"}, {120000, "2 min"}, {7199000, "120 min"}, {7200000, "2.0 h"}};
    for (size_t i = 0; i < FM_COUNT(cases); i++)
        assert_string_equal(fm_show_ms(cases[i].ms, out), cases[i].text);
}

static void cells_are_ranges(void **state)
{
    (void)state;
    static const struct {
        const char *list, *text;
    } cases[] = {{"[]", "-"},       {"null", "all"},           {"[3]", "3"},
                 {"[3, 4]", "3-4"}, {"[0, 1, 2, 7]", "0-2,7"}, {"[1, 3, 5, 6]", "1,3,5-6"},
                 {"[63]", "63"}};
    char out[64];
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        json_t *list = doc(cases[i].list);
        fm_show_cells(list, out, sizeof out);
        assert_string_equal(out, cases[i].text);
        json_decref(list);
    }
    json_t *list = doc("[1, 3, 5, 7, 9, 11]");
    fm_show_cells(list, out, 10);
    assert_string_equal(out, "6 of them");
    json_decref(list);
}

static void texts_do_not_steer_a_terminal(void **state)
{
    (void)state;
    json_t *d = doc("{\"a\": \"\\u001b[2J\", \"b\": [\"x\\ny\", {\"c\": \"\\u0007\"}], \"n\": 1}");
    fm_show_tame(d);
    assert_string_equal(fm_show_text(d, "a"), "?[2J");
    const json_t *b = json_object_get(d, "b");
    assert_string_equal(json_string_value(json_array_get(b, 0)), "x?y");
    assert_string_equal(fm_show_text(json_array_get(b, 1), "c"), "?");
    assert_int_equal(fm_show_number(d, "n"), 1);
    json_decref(d);
}

static void a_loss_says_how_sure_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *doc, *text;
    } cases[] = {
        {"null", ""},
        {"{\"kind\": \"enforced\", \"bytes\": 0, \"transactions\": 0}",
         "at most 0 bytes, 0 transactions (enforced)"},
        {"{\"kind\": \"estimate\", \"bytes\": 5000000000, \"transactions\": 7}",
         "about 5000000000 bytes, 7 transactions (estimate)"},
        {"{\"kind\": \"unbounded\", \"bytes\": null, \"transactions\": null}", "not bounded"},
        {"{\"kind\": \"unbounded\", \"bytes\": null, \"why\": \"no standby counts: nothing is "
         "heard of north-1\"}",
         "not bounded: no standby counts: nothing is heard of north-1"},
        {"{\"kind\": \"estimate\", \"bytes\": 20, \"ms\": 3210, \"transactions\": null}",
         "about 20 bytes, of the last 3.2 s (estimate)"},
        {"{\"kind\": \"estimate\", \"bytes\": null, \"ms\": 84, \"transactions\": null}",
         "about the last 84 ms (estimate)"},
        {"{\"kind\": \"unbounded\", \"bytes\": null, \"ms\": null, \"transactions\": null}",
         "not bounded (`lag` has said nothing)"},
        {"{\"kind\": \"enforced\", \"bytes\": 64, \"transactions\": 2, \"broken\": {\"node\":"
         " \"north-1\", \"since\": \"2026-11-21T14:08:42.1Z\", \"for_ms\": 3210,"
         " \"lacks_bytes\": 20}}",
         "at most 64 bytes, 2 transactions (enforced); replication to north-1 is broken on purpose "
         "since 14:08:42 (3.2 s): it lacks 20 bytes"},
        {"{\"kind\": \"unbounded\", \"bytes\": null, \"broken\": null}", "not bounded"},
        {"{\"kind\": \"enforced\", \"bytes\": 64, \"transactions\": 2, \"in_region\": {\"kind\":"
         " \"enforced\", \"bytes\": 0, \"transactions\": 0}}",
         "at most 64 bytes, 2 transactions (enforced); nothing within the region"},
        {"{\"kind\": \"unbounded\", \"bytes\": null, \"in_region\": {\"kind\": \"enforced\","
         " \"bytes\": 20, \"transactions\": 1}}",
         "not bounded; at most 20 bytes within the region"},
        {"{\"kind\": \"enforced\", \"bytes\": 64, \"transactions\": 2, \"in_region\": {\"kind\":"
         " \"enforced\", \"bytes\": 64, \"transactions\": 2}}",
         "at most 64 bytes, 2 transactions (enforced)"},
        {"{\"kind\": \"enforced\", \"bytes\": 64, \"transactions\": 2, \"in_region\": {\"kind\":"
         " \"estimate\", \"bytes\": 0, \"transactions\": 0}}",
         "at most 64 bytes, 2 transactions (enforced)"},
        {"{}", "not bounded"}, /* of a daemon that says it in another way */
    };
    char out[FM_SHOW_LOSS];
    assert_string_equal(fm_show_loss(NULL, out), "");
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        json_t *d = doc(cases[i].doc);
        assert_string_equal(fm_show_loss(d, out), cases[i].text);
        json_decref(d);
    }
}

FM_TEST_MAIN(fm_test(what_is_missing_reads_as_nothing), fm_test(times_are_short),
             fm_test(cells_are_ranges), fm_test(a_loss_says_how_sure_it_is),
             fm_test(texts_do_not_steer_a_terminal))
