/* Who holds what, as the status of an edge says it. */
#include "test.h"

#include "demo/holders.h"

#include <stdio.h>

#define HELD(region, epoch)                                                                        \
    "{\"region\":\"" region "\",\"state\":\"held\",\"epoch\":" epoch ",\"lapsed\":false}"
#define LEDGER(cell) "\"ledger\":{\"known\":true,\"cells\":[" cell "]}"

static json_t *doc;

static void is(const char *contexts)
{
    json_error_t e;
    char text[2048];
    snprintf(text, sizeof text, "{\"view\":{\"contexts\":{%s}}}", contexts);
    json_decref(doc);
    doc = json_loads(text, 0, &e);
    if (!doc)
        fail_msg("%s: %s", e.text, text);
}

static void says(const char *context, const char *expected)
{
    char text[FM_HOLDERS_TEXT_MAX];
    fm_holders_text(doc, context, text);
    assert_string_equal(text, expected);
}

static int end(void **state)
{
    json_decref(doc);
    doc = NULL;
    return fm_test_fds_after(state);
}

static void one_cell_has_one_holder(void **state)
{
    (void)state;
    uint64_t epoch;
    is(LEDGER(HELD("west", "3")));
    assert_string_equal(fm_holders_of(doc, "ledger", 0, &epoch), "west");
    assert_int_equal(epoch, 3);
    assert_int_equal(fm_holders_cells(doc, "ledger"), 1);
    assert_true(fm_holders_all_held(doc));
    assert_true(fm_holders_has_nothing(doc, "north"));
    assert_false(fm_holders_has_nothing(doc, "west"));
    says("ledger", "west, epoch 3");
    says("cards", "nobody");
    assert_null(fm_holders_of(doc, "ledger", 1, NULL));
    assert_null(fm_holders_of(doc, "cards", 0, NULL));
}

static void what_was_released_is_held_by_nobody(void **state)
{
    (void)state;
    uint64_t epoch;
    is(LEDGER("{\"region\":\"west\",\"state\":\"released\",\"epoch\":3}"));
    assert_null(fm_holders_of(doc, "ledger", 0, &epoch));
    assert_int_equal(epoch, 3);
    assert_false(fm_holders_all_held(doc));
    assert_true(fm_holders_has_nothing(doc, "west"));
    says("ledger", "nobody");
    is(LEDGER("{\"region\":null,\"state\":\"held\",\"epoch\":0}"));
    assert_null(fm_holders_of(doc, "ledger", 0, NULL));
    says("ledger", "nobody");
}

static void several_cells_are_counted_by_holder(void **state)
{
    (void)state;
    is("\"cards\":{\"known\":true,\"cells\":[" HELD("west", "1") "," HELD("north", "1") "," HELD(
        "north", "7") "," HELD("west", "2") "," HELD("south", "2") "]}");
    says("cards", "west 2, north 2, south 1");
    assert_int_equal(fm_holders_cells(doc, "cards"), 5);
    assert_true(fm_holders_all_held(doc));
}

static void all_is_held_only_where_all_is_known(void **state)
{
    (void)state;
    is(LEDGER(HELD("west", "1")) ",\"cards\":{\"known\":false}");
    assert_false(fm_holders_all_held(doc));
    is("");
    assert_false(fm_holders_all_held(doc));
    assert_false(fm_holders_all_held(NULL));
    assert_true(fm_holders_has_nothing(NULL, "west"));
}

#define with_end(fn) fm_test_with(fn, fm_test_fds_before, end)

FM_TEST_MAIN(with_end(one_cell_has_one_holder), with_end(what_was_released_is_held_by_nobody),
             with_end(several_cells_are_counted_by_holder),
             with_end(all_is_held_only_where_all_is_known))
