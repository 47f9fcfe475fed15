/* What the demonstration shows: plain lines without a terminal, a screen on one. */
#include "capture.h"

#include "demo/view.h"

#include <stdlib.h>

static struct fm_view_state v;

static json_t *parse(const char *text)
{
    json_error_t e;
    json_t *doc = json_loads(text, 0, &e);
    if (!doc)
        fail_msg("%s", e.text);
    return doc;
}

static const char status[] =
    "{\"regions\": [{\"region\": \"west\", \"intent\": \"serve\", \"contexts\": ["
    "{\"context\": \"ledger\", \"health\": \"up\", \"sent_total\": 100, \"in_flight\": 3,"
    " \"outcomes\": {\"ok\": 97, \"error\": 1, \"connect\": 0, \"reset\": 2, \"timeout\": 0}},"
    "{\"context\": \"cards\", \"health\": \"down\", \"sent_total\": 5, \"in_flight\": 0,"
    " \"outcomes\": {}}]}, {\"region\": \"east\", \"witness\": true, \"contexts\": []}],"
    "\"view\": {\"contexts\": {\"ledger\": {\"known\": true, \"cells\": ["
    "{\"region\": \"west\", \"state\": \"held\", \"epoch\": 7}]}}},"
    "\"events\": [{\"number\": 1, \"region\": \"west\", \"context\": \"cards\", \"from\": \"up\","
    " \"to\": \"down\", \"why\": \"too few of the last probes succeeded\"}]}";

static bool shows(const char *text)
{
    return strstr(captured_out, text) != NULL;
}

static void without_a_terminal_lines_are_printed_once(void **state)
{
    (void)state;
    struct fm_demo_options o = {.rate = 100, .regions = 2, .color = true};
    json_t *doc = parse(status);
    capture_begin();
    fm_demo_view_init(&v, &o);
    fm_demo_view_say(&v, "%s is killed", "west");
    fm_demo_view_draw(&v, doc, NULL);
    fm_demo_view_draw(&v, doc, NULL); /* the same event is no news */
    fm_demo_view_draw(&v, NULL, NULL);
    fm_demo_view_end(&v);
    capture_end();
    json_decref(doc);
    assert_true(shows("west is killed\n"));
    const char *event = "edge: west/cards up -> down: too few of the last probes succeeded\n";
    const char *first = strstr(captured_out, event);
    assert_non_null(first);
    assert_null(strstr(first + 1, event));
    const char *held = strstr(captured_out, "ledger is held by west, epoch 7\n");
    assert_non_null(held);
    assert_null(strstr(held + strlen("ledger is held by"), "is held by"));
    assert_false(shows("\033"));
    assert_string_equal(captured_err, "");
}

static void nothing_is_said_besides_a_document(void **state)
{
    (void)state;
    struct fm_demo_options o = {.rate = 100, .regions = 2, .quiet = true};
    json_t *doc = parse(status);
    capture_begin();
    fm_demo_view_init(&v, &o);
    fm_demo_view_say(&v, "west is killed");
    fm_demo_view_draw(&v, doc, NULL);
    fm_demo_view_end(&v);
    capture_end();
    json_decref(doc);
    assert_string_equal(captured_out, "");
    assert_string_equal(captured_err, "");
}

static void a_screen_shows_regions_and_is_given_back(void **state)
{
    (void)state;
    struct fm_demo_options o = {.rate = 100, .regions = 2, .live = true, .color = true};
    json_t *doc = parse(status);
    capture_begin();
    fm_demo_view_init(&v, &o);
    fm_demo_view_draw(&v, doc, NULL);
    fm_demo_view_end(&v);
    fm_demo_view_end(&v); /* twice is once */
    capture_end();
    json_decref(doc);
    assert_int_equal(strncmp(captured_out, "\033[?1049h\033[?25l", 14), 0);
    assert_true(fm_str_ends(fm_str_z(captured_out), FM_STR("\033[?25h\033[?1049l")));
    assert_true(shows("2 regions, 100 requests/s"));
    assert_true(shows("west"));
    assert_true(shows("ledger \033[32mup\033[0m"));
    assert_true(shows("cards \033[31mdown\033[0m"));
    assert_true(shows("east     votes, and serves nothing"));
    assert_true(shows("edge: west/cards up -> down"));
    assert_true(shows("ledger   held by west, epoch 7"));
}

static void without_colour_there_is_none(void **state)
{
    (void)state;
    struct fm_demo_options o = {.rate = 100, .regions = 2, .live = true};
    json_t *doc = parse(status);
    capture_begin();
    fm_demo_view_init(&v, &o);
    fm_demo_view_draw(&v, doc, NULL);
    fm_demo_view_end(&v);
    capture_end();
    json_decref(doc);
    assert_true(shows("ledger up"));
    assert_false(shows("\033[3"));
}

static void the_last_lines_stay_and_long_ones_are_cut(void **state)
{
    (void)state;
    struct fm_demo_options o = {.rate = 100, .regions = 2, .quiet = true};
    fm_demo_view_init(&v, &o);
    for (int i = 0; i < 3 * FM_VIEW_LINES; i++)
        fm_demo_view_say(&v, "line %d", i);
    assert_int_equal(v.nlines, FM_VIEW_LINES);
    assert_non_null(strstr(v.line[FM_VIEW_LINES - 1], "line 41"));
    assert_non_null(strstr(v.line[0], "line 28"));
    char text[FM_VIEW_LINE_MAX * 2];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    fm_demo_view_say(&v, "%s", text);
    assert_int_equal(strlen(v.line[FM_VIEW_LINES - 1]), FM_VIEW_LINE_MAX - 1);
}

FM_TEST_MAIN(fm_test(without_a_terminal_lines_are_printed_once),
             fm_test(nothing_is_said_besides_a_document),
             fm_test(a_screen_shows_regions_and_is_given_back),
             fm_test(without_colour_there_is_none),
             fm_test(the_last_lines_stay_and_long_ones_are_cut))
