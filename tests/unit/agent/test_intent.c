/* Intents as records, how long they last, and their guards. */
#include "test.h"

#include "agent/intent.h"
#include "coord/coord.h"

#include <stdio.h>
#include <stdlib.h>

static const struct fm_intent sample = {.serve_permille = 400,
                                        .by = "ann",
                                        .reason = "a \"kernel\"",
                                        .at = "2026-11-21T14:08:42.123456Z",
                                        .op = "20261121-140842-83f0c1",
                                        .until_ms = 1795270122000,
                                        .for_ms = 1800000};

static char *text_of(const struct fm_intent *i)
{
    json_t *j = fm_intent_json(i);
    assert_non_null(j);
    char *text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    return text;
}

static void what_is_written_comes_back(void **state)
{
    (void)state;
    struct fm_intent x;
    char *text = text_of(&sample);
    assert_true(fm_intent_read(fm_str_z(text), &x));
    assert_int_equal(x.serve_permille, 400);
    assert_string_equal(x.reason, sample.reason);
    assert_string_equal(x.by, "ann");
    assert_string_equal(x.at, sample.at);
    assert_string_equal(x.op, sample.op);
    assert_true(x.until_ms == sample.until_ms && x.for_ms == sample.for_ms);
    char *again = text_of(&x);
    assert_string_equal(text, again);
    free(text);
    free(again);
}

static void what_is_not_of_this_form_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *piece, *by;
    } cases[] = {
        {"\"v\":1", "\"v\":3"},
        {"\"serve_permille\":400", "\"serve_permille\":1001"},
        {"\"serve_permille\":400", "\"serve_permille\":-1"},
        {"\"serve_permille\":400", "\"serve_permille\":\"400\""},
        {"\"serve_permille\":400,", ""},
        {"\"by\":\"ann\"", "\"by\":7"},
        {"\"for_ms\":1800000", "\"for_ms\":0"}, /* an end, and no length */
        {"\"for_ms\":1800000", "\"for_ms\":-1"},
    };
    char *text = text_of(&sample), wrong[1024];
    struct fm_intent x;
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        const char *at = strstr(text, cases[i].piece);
        assert_non_null(at);
        snprintf(wrong, sizeof wrong, "%.*s%s%s", (int)(at - text), text, cases[i].by,
                 at + strlen(cases[i].piece));
        assert_false(fm_intent_read(fm_str_z(wrong), &x));
    }
    assert_false(fm_intent_read(FM_STR("{"), &x));
    free(text);
}

static void keys_are_names(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        struct fm_intent_about at;
    } cases[] = {
        {"intent/west", {"west", "", ""}},
        {"intent/west/profile", {"west", "profile", ""}},
        {"intent/west/core/10.0.1.41:9001", {"west", "core", "10.0.1.41:9001"}},
        {"intent/west/default/[::1]:80", {"west", "default", "[::1]:80"}},
    };
    struct fm_intent_about at;
    char key[FM_INTENT_KEY_ROOM];
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        fm_intent_key_write(&cases[i].at, key);
        assert_string_equal(key, cases[i].key);
        assert_true(fm_intent_key_read(fm_str_z(key), &at));
        assert_true(fm_intent_is_same(&at, &cases[i].at));
    }
    static const char *const wrong[] = {
        "intents",      "intent",         "intent/",          "intent/W",
        "intent/west/", "intent/west/a/", "intent//a",        "intent/west/a/b/c",
        "op/west",      "intent/west//b", "intent/west/a/b c"};
    for (size_t i = 0; i < FM_COUNT(wrong); i++)
        if (fm_intent_key_read(fm_str_z(wrong[i]), &at))
            fail_msg("`%s` was read", wrong[i]);
    assert_true(fm_intent_instance_read(FM_STR("west/core/a:1"), &at));
    assert_string_equal(at.address, "a:1");
    assert_false(fm_intent_instance_read(FM_STR("west/core"), &at));
    assert_false(fm_intent_instance_read(FM_STR("west"), &at));
}

/* The longest that there may be is a key of coordination. */
static void keys_fit(void **state)
{
    (void)state;
    struct fm_intent_about at;
    char key[FM_INTENT_KEY_ROOM];
    memset(&at, 'a', sizeof at);
    at.region[sizeof at.region - 1] = at.name[sizeof at.name - 1] = 0;
    at.address[sizeof at.address - 1] = 0;
    fm_intent_key_write(&at, key);
    assert_true(strlen(key) == FM_INTENT_KEY_ROOM - 1 && strlen(key) <= FM_COORD_KEY_MAX);
    struct fm_intent_about back;
    assert_true(fm_intent_key_read(fm_str_z(key), &back) && fm_intent_is_same(&at, &back));
}

/* A wall clock that is wrong can end it early, and never makes it longer than it was to be. */
static void lasts_at_most_as_long_as_was_said(void **state)
{
    (void)state;
    assert_int_equal(fm_intent_left_ms(&sample, sample.until_ms - 1000), 1000);
    assert_int_equal(fm_intent_left_ms(&sample, sample.until_ms + 5), 0);
    assert_int_equal(fm_intent_left_ms(&sample, 0), sample.for_ms);
    struct fm_intent ever = {.serve_permille = 0};
    assert_int_equal(fm_intent_left_ms(&ever, 1), -1);
}

static void guards_judge_what_is_left(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct fm_intent_region r[4];
        unsigned n;
        enum fm_intent_verdict verdict;
        uint64_t left, needed;
    } cases[] = {
        {"one of two equals", {{100, 0, 0, 0}, {100, 1000, 0, 0}}, 2, FM_INTENT_FINE, 100, 100},
        {"both", {{100, 0, 0, 0}, {100, 0, 0, 0}}, 2, FM_INTENT_LAST_REGION, 0, 100},
        {"the other is lost",
         {{100, 0, 0, 0}, {100, 1000, 0, 1}},
         2,
         FM_INTENT_LAST_REGION,
         0,
         100},
        {"the other is a witness",
         {{100, 0, 0, 0}, {0, 1000, 1, 0}},
         2,
         FM_INTENT_LAST_REGION,
         0,
         0},
        {"the other is left a little",
         {{100, 0, 0, 0}, {100, 10, 0, 0}},
         2,
         FM_INTENT_CAPACITY,
         1,
         100},
        {"the smaller one stays", {{100, 0, 0, 0}, {50, 1000, 0, 0}}, 2, FM_INTENT_FINE, 50, 50},
        {"a second of three",
         {{100, 0, 0, 0}, {100, 0, 0, 0}, {100, 1000, 0, 0}},
         3,
         FM_INTENT_CAPACITY,
         100,
         200},
        {"a share of the second",
         {{100, 500, 0, 0}, {100, 500, 0, 0}, {100, 1000, 0, 0}},
         3,
         FM_INTENT_FINE,
         200,
         200},
        {"a third is lost",
         {{100, 0, 0, 0}, {100, 1000, 0, 0}, {100, 1000, 0, 1}},
         3,
         FM_INTENT_CAPACITY,
         100,
         200},
        {"nothing is said", {{0, 0, 0, 0}, {0, 1000, 0, 0}}, 2, FM_INTENT_UNKNOWN, 0, 0},
        {"one is not said", {{100, 0, 0, 0}, {0, 1000, 0, 0}}, 2, FM_INTENT_UNKNOWN, 0, 0},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        uint64_t left, needed;
        enum fm_intent_verdict v = fm_intent_judge(cases[i].r, cases[i].n, &left, &needed);
        if (v != cases[i].verdict || left != cases[i].left || needed != cases[i].needed)
            fail_msg("%s: %d, %llu of %llu", cases[i].name, (int)v, (unsigned long long)left,
                     (unsigned long long)needed);
    }
}

FM_TEST_MAIN(fm_test(what_is_written_comes_back), fm_test(what_is_not_of_this_form_is_refused),
             fm_test(keys_are_names), fm_test(keys_fit), fm_test(lasts_at_most_as_long_as_was_said),
             fm_test(guards_judge_what_is_left))
