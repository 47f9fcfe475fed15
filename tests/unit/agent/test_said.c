/* What controllers say of what they have seen: there and back, and what is refused. */
#include "test.h"

#include "agent/said.h"

#include <stdlib.h>

static struct fm_said s, back;
static struct fm_roster *roster;

static int begin(void **state)
{
    int rc = fm_test_fds_before(state);
    roster = fm_roster_new();
    assert_non_null(roster);
    assert_int_equal(fm_roster_add_region(roster, FM_STR("west")), 0);
    assert_int_equal(fm_roster_add_region(roster, FM_STR("north")), 1);
    assert_int_equal(fm_roster_add_context(roster, FM_STR("ledger"), 1), 0);
    s = (struct fm_said){.host = "west-1",
                         .region = "west",
                         .able = true,
                         .reads = UINT64_MAX,
                         .trouble = "it went back",
                         .marks = {.service = "bank", .life = 81},
                         .context = {{true, true, false, 0}, {false, false, true, 1480}}};
    fm_marks_place(&s.marks, FM_STR("ledger"), 1)->marks = (struct fm_marks){
        .store_id = 3, .store = {77}, .incarnation = {2}, .epoch = {{9}}, .holder = {2}};
    fm_marks_place(&s.marks, FM_STR("gone"), 2);
    return rc;
}

static int end(void **state)
{
    fm_roster_free(roster);
    return fm_test_fds_after(state);
}

static void what_was_said_is_heard(void **state)
{
    (void)state;
    struct fm_error e;
    json_t *o = fm_said_json(roster, &s);
    assert_non_null(o);
    json_object_set_new(o, "of-a-later-version", json_true());
    assert_int_equal(fm_said_read(roster, &back, o, &e), FM_ERR_OK);
    json_decref(o);
    assert_string_equal(back.host, "west-1");
    assert_string_equal(back.region, "west");
    assert_string_equal(back.trouble, "it went back");
    assert_string_equal(back.marks.service, "bank");
    assert_true(back.able && back.reads == UINT64_MAX);
    assert_int_equal(back.marks.n, 2);
    assert_memory_equal(back.marks.context, s.marks.context, 2 * sizeof s.marks.context[0]);
    assert_memory_equal(back.context, s.context, 2 * sizeof s.context[0]);
    assert_true(fm_said_is_frozen(&back) && fm_said_is_unproven(&back));
    back.context[0].frozen = back.context[1].unproven = false;
    assert_false(fm_said_is_frozen(&back) || fm_said_is_unproven(&back));
}

static void who_has_read_nothing_says_so(void **state)
{
    (void)state;
    struct fm_error e;
    s.reads = 0;
    s.trouble[0] = 0;
    s.marks.n = 0;
    json_t *o = fm_said_json(roster, &s);
    assert_true(json_is_null(json_object_get(o, "reads")));
    assert_true(json_is_null(json_object_get(o, "trouble")));
    assert_int_equal(fm_said_read(roster, &back, o, &e), FM_ERR_OK);
    assert_true(back.reads == 0 && !back.trouble[0]);
    json_decref(o);
}

static void what_is_no_such_document_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *at, *becomes; /* "" = it is not there */
    } bad[] = {
        {"schema", "\"fulmar.marks/2\""},
        {"schema", ""},
        {"service", "\"Bank\""},
        {"host", "\"\""},
        {"region", "1"},
        {"able", "null"},
        {"reads", "\"1\""},
        {"reads", "\"000000000000000g\""},
        {"trouble", "7"},
        {"contexts", "[]"},
        {"contexts", "{\"ledger\":{}}"},
    };
    struct fm_error e;
    for (size_t i = 0; i < FM_COUNT(bad); i++) {
        json_t *o = fm_said_json(roster, &s);
        if (bad[i].becomes[0])
            json_object_set_new(o, bad[i].at, json_loads(bad[i].becomes, JSON_DECODE_ANY, NULL));
        else
            json_object_del(o, bad[i].at);
        if (fm_said_read(roster, &back, o, &e) != FM_ERR_INVALID)
            fail_msg("%s is taken with %s", bad[i].at, bad[i].becomes);
        json_decref(o);
    }
    json_t *o = fm_said_json(roster, &s), *contexts = json_object_get(o, "contexts");
    json_object_set(contexts, "ledger", json_object_get(contexts, "gone"));
    assert_int_equal(fm_said_read(roster, &back, o, &e), FM_ERR_INVALID); /* of other cells */
    json_decref(o);
}

FM_TEST_MAIN(fm_test_with(what_was_said_is_heard, begin, end),
             fm_test_with(who_has_read_nothing_says_so, begin, end),
             fm_test_with(what_is_no_such_document_is_refused, begin, end))
