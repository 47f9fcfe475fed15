/* Operations as records: there and back, how they end, and what is refused. */
#include "test.h"

#include "agent/ops.h"

#include <stdio.h>
#include <stdlib.h>

static struct fm_roster *ours, *theirs;

static int begin(void **state)
{
    static const char *const regions[] = {"west", "north", "east"};
    ours = fm_roster_new();
    theirs = fm_roster_new();
    for (unsigned i = 0; i < 3; i++) {
        fm_roster_add_region(ours, fm_str_z(regions[i]));
        fm_roster_add_region(theirs, fm_str_z(regions[2 - i]));
    }
    fm_roster_add_context(ours, FM_STR("ledger"), 1);
    fm_roster_add_context(ours, FM_STR("cards"), 64);
    fm_roster_add_context(theirs, FM_STR("cards"), 64);
    fm_roster_add_context(theirs, FM_STR("ledger"), 1);
    return fm_test_fds_before(state);
}

static int end(void **state)
{
    fm_roster_free(ours);
    fm_roster_free(theirs);
    return fm_test_fds_after(state);
}

static char *text_of(const struct fm_roster *r, const struct fm_op *o)
{
    json_t *j = fm_op_json(r, o);
    assert_non_null(j);
    char *text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    return text;
}

static struct fm_op sample(void)
{
    struct fm_op o = {.kind = FM_OP_MOVE,
                      .state = FM_OP_RUNNING,
                      .step = FM_OP_STEP_ALL,
                      .context = 1,
                      .region = -1,
                      .to = 2,
                      .by = "ann",
                      .reason = "a \"reason\"",
                      .at = "2026-11-21T14:08:42.123456Z",
                      .host = "west-1",
                      .node = "west-db-1",
                      .text = "under way",
                      .attest = true,
                      .quoted = true,
                      .loss = 4096,
                      .nitems = 2};
    o.item = calloc(2, sizeof *o.item);
    o.item[0] = (struct fm_op_item){1, 63, 0, 2, FM_OP_DONE};
    o.item[1] = (struct fm_op_item){0, 0, 1, 2, FM_OP_WAITING};
    return o;
}

static void what_is_ordered_comes_back(void **state)
{
    (void)state;
    struct fm_op o = sample(), x, y;
    const char *why;
    char *first = text_of(ours, &o);
    assert_true(fm_op_read(theirs, fm_str_z(first), &x, &why));
    assert_string_equal(theirs->context[x.context].name, "cards");
    assert_string_equal(theirs->region[x.to], "east");
    assert_int_equal(x.region, -1);
    assert_int_equal(x.nitems, 2);
    assert_string_equal(theirs->region[x.item[1].from], "north");
    assert_int_equal(x.item[0].state, FM_OP_DONE);
    assert_true(x.quoted && x.loss == 4096 && !x.unbounded && x.attest && !x.glass);
    assert_string_equal(x.reason, "a \"reason\"");
    assert_string_equal(x.node, "west-db-1");
    char *second = text_of(theirs, &x);
    assert_true(fm_op_read(ours, fm_str_z(second), &y, &why));
    char *third = text_of(ours, &y);
    assert_string_equal(first, third);
    free(first);
    free(second);
    free(third);
    fm_op_free(&o);
    fm_op_free(&x);
    fm_op_free(&y);
}

static void every_name_is_told_apart(void **state)
{
    (void)state;
    for (unsigned k = 0; k < FM_OP_KIND_COUNT; k++)
        for (unsigned s = 0; s < FM_OP_STATE_COUNT; s++)
            for (unsigned p = 0; p < FM_OP_STEP_COUNT; p++) {
                struct fm_op o = {.kind = (uint8_t)k,
                                  .state = (uint8_t)s,
                                  .step = (uint8_t)p,
                                  .context = -1,
                                  .region = 0,
                                  .to = -1};
                struct fm_op x;
                const char *why;
                char *text = text_of(ours, &o);
                assert_true(fm_op_read(ours, fm_str_z(text), &x, &why));
                assert_true(x.kind == k && x.state == s && x.step == p && !x.quoted);
                free(text);
                fm_op_free(&x);
            }
    for (unsigned s = 0; s < FM_OP_STATE_COUNT; s++)
        assert_int_equal(fm_op_is_over((enum fm_op_state)s),
                         s != FM_OP_WAITING && s != FM_OP_RUNNING && s != FM_OP_ABORTING);
}

static void it_is_over_when_its_items_are(void **state)
{
    (void)state;
    struct fm_op o = sample();
    static const struct {
        uint8_t a, b, whole;
    } cases[] = {
        {FM_OP_WAITING, FM_OP_WAITING, FM_OP_RUNNING}, {FM_OP_DONE, FM_OP_WAITING, FM_OP_RUNNING},
        {FM_OP_FAILED, FM_OP_RUNNING, FM_OP_RUNNING},  {FM_OP_DONE, FM_OP_DONE, FM_OP_DONE},
        {FM_OP_DONE, FM_OP_FAILED, FM_OP_PARTIAL},     {FM_OP_FAILED, FM_OP_ABORTED, FM_OP_FAILED},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        o.item[0].state = cases[i].a;
        o.item[1].state = cases[i].b;
        assert_int_equal(fm_op_outcome(&o), cases[i].whole);
    }
    fm_op_free(&o);
}

/* The text with one part of it replaced; is it still taken? */
static bool reads_with(const char *part, const char *by)
{
    struct fm_op o = sample(), x;
    const char *why;
    char *text = text_of(ours, &o), changed[4096];
    char *at = strstr(text, part);
    if (!at)
        fail_msg("%s is not in %s", part, text);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, by, at + strlen(part));
    bool good = fm_op_read(ours, fm_str_z(changed), &x, &why);
    assert_true(good == !why);
    if (good)
        fm_op_free(&x);
    free(text);
    fm_op_free(&o);
    return good;
}

static void what_is_not_of_this_form_is_refused(void **state)
{
    (void)state;
    assert_true(reads_with("ann", "bob"));
    assert_true(reads_with(",\"node\":\"west-db-1\"", "")); /* an older version */
    static const char *const bad[][2] = {
        {"\"v\":1", "\"v\":3"},
        {"\"kind\":\"move\"", "\"kind\":\"of-a-later-version\""},
        {"\"state\":\"running\"", "\"state\":\"lost\""},
        {"\"context\":\"cards\"", "\"context\":\"other\""},
        {"\"context\":\"cards\"", "\"context\":7"},
        {"\"to\":\"east\"", "\"to\":\"south\""},
        {"\"cell\":63", "\"cell\":64"},
        {"\"cell\":63", "\"cell\":-1"},
        {"\"from\":\"west\"", "\"from\":\"south\""},
        {"\"loss_bytes\":4096", "\"loss_bytes\":-1"},
        {"\"attested\":true", "\"attested\":1"},
        {"\"node\":\"west-db-1\"", "\"node\":7"},
        {"\"node\":\"west-db-1\"", "\"node\":\"west db\""},
        {"\"state\":\"done\"", "\"state\":\"x\""},
        {"\"by\":\"ann\"",
         "\"by\":\"0123456789012345678901234567890123456789012345678901234567890123\""},
    };
    for (size_t i = 0; i < FM_COUNT(bad); i++)
        if (reads_with(bad[i][0], bad[i][1]))
            fail_msg("%s is taken", bad[i][1]);
    struct fm_op x;
    const char *why;
    assert_false(fm_op_read(ours, FM_STR(""), &x, &why));
    assert_false(fm_op_read(ours, FM_STR("[]"), &x, &why));
}

static void ids_are_in_the_order_of_time(void **state)
{
    (void)state;
    char a[FM_OP_ID_ROOM], b[FM_OP_ID_ROOM];
    fm_op_new_id(a, INT64_C(1795270122123456789), 0xabcdef);
    assert_string_equal(a, "20261121-140842-abcdef");
    fm_op_new_id(b, INT64_C(1795270123000000000), 0);
    assert_true(strcmp(a, b) < 0);
    assert_true(fm_op_is_id(fm_str_z(a)) && fm_op_is_id(fm_str_z(b)));
    assert_false(fm_op_is_id(FM_STR("")) || fm_op_is_id(FM_STR("a/b")) ||
                 fm_op_is_id(FM_STR("a b")) || fm_op_is_id(FM_STR("A")));
}

static void policies_come_back(void **state)
{
    (void)state;
    struct fm_op_policy p = {.read_only = true,
                             .message = "Payments are \"read-only\".",
                             .paused_until_ms = INT64_C(1795270122123)},
                        x;
    json_t *j = fm_op_policy_json(&p);
    char *text = json_dumps(j, 0);
    json_decref(j);
    assert_true(fm_op_policy_read(fm_str_z(text), &x));
    assert_true(x.read_only && x.paused_until_ms == p.paused_until_ms);
    assert_string_equal(x.message, p.message);
    free(text);
    static const char *const bad[] = {
        "",
        "{}",
        "{\"v\":3,\"read_only\":true,\"message\":\"\",\"automatic_paused_until_ms\":0}",
        "{\"v\":1,\"read_only\":1,\"message\":\"\",\"automatic_paused_until_ms\":0}",
        "{\"v\":1,\"read_only\":true,\"message\":\"\",\"automatic_paused_until_ms\":-1}",
    };
    for (size_t i = 0; i < FM_COUNT(bad); i++)
        assert_false(fm_op_policy_read(fm_str_z(bad[i]), &x));
}

#define T(fn) fm_test_with(fn, begin, end)
FM_TEST_MAIN(T(what_is_ordered_comes_back), T(every_name_is_told_apart),
             T(it_is_over_when_its_items_are), T(what_is_not_of_this_form_is_refused),
             T(ids_are_in_the_order_of_time), T(policies_come_back))
