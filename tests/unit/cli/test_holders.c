/* Who holds what, for people. */
#include "capture.h"

#include "base/str.h"
#include "cli/holders.h"

static json_t *read(const char *text)
{
    json_t *o = json_loads(text, 0, NULL);
    assert_non_null(o);
    return o;
}

static const char *view_of(const char *text)
{
    json_t *o = read(text);
    capture_begin();
    fm_print_view(o);
    capture_end();
    json_decref(o);
    return captured_out;
}

static void says_which_view_it_is(void **state)
{
    (void)state;
    assert_string_equal(
        view_of("{\"known\":true,\"generation\":42,\"incarnation\":3,\"stored\":false,"
                "\"from\":\"west-1\",\"age_ms\":1234}"),
        "view: generation 42 of incarnation 3, from west-1; an agent answered 1.2 s ago\n");
    assert_string_equal(
        view_of("{\"known\":true,\"generation\":42,\"incarnation\":3,\"stored\":true,"
                "\"age_ms\":null,\"misfit\":\"m\",\"file\":{\"refused\":\"r\",\"trouble\":\"t\"}}"),
        "view: generation 42 of incarnation 3, from this host's disk; no agent has answered yet\n"
        "view: REFUSED: m\n"
        "view: the file on disk was refused at the start: r\n"
        "view: not kept on disk: t\n");
    assert_string_equal(view_of("{\"known\":false}"),
                        "view: none yet; commands that only one region may take wait\n");
    capture_begin();
    fm_print_view(NULL);
    fm_print_holders(NULL, NULL);
    capture_end();
    assert_string_equal(captured_out, "");
}

#define CELL(region, state, epoch, lapsed)                                                         \
    "{\"region\":" region ",\"state\":\"" state "\",\"epoch\":" #epoch ",\"lapsed\":" lapsed "}"

static const char contexts[] =
    "{\"contexts\":{\"ledger\":{\"known\":true,\"read_only\":true,\"message\":\"back at noon\","
    "\"cells\":[" CELL(
        "\"west\"", "held", 42,
        "false") "]},"
                 "\"cards\":{\"known\":true,\"read_only\":false,\"message\":\"\",\"cells\":"
                 "[" CELL("\"north\"", "held", 7, "false") "," CELL("\"north\"", "held", 9, "false") "," CELL(
                     "\"west\"", "held", 4,
                     "true") "," CELL("\"north\"", "held", 8,
                                      "false") "," CELL("\"west\"", "released", 4,
                                                        "false") "," CELL("null", "released", 0,
                                                                          "false") "]},"
                                                                                   "\"profile\""
                                                                                   ":{"
                                                                                   "\"known\":"
                                                                                   "false}}}";

static const char *holders_of(const char *text, const char *only)
{
    json_t *o = read(text);
    capture_begin();
    fm_print_holders(o, only);
    capture_end();
    json_decref(o);
    return captured_out;
}

#define HEAD "\nCONTEXT          CELLS                HOLDER       STATE     EPOCH     MODE\n"

static void says_who_holds_what(void **state)
{
    (void)state;
    assert_string_equal(
        holders_of(contexts, NULL),
        HEAD "ledger           0                    west         held      42        read-only: "
             "back at noon\n"
             "cards            0-1,3                north        held      7-9       \n"
             "cards            2                    west         held      4         its lease has "
             "lapsed; \n"
             "cards            4                    west         released  4         \n"
             "cards            5                    nobody       released  0         \n"
             "profile          -                    unknown     \n");
    assert_string_equal(
        holders_of(contexts, "north"),
        HEAD "cards            0-1,3                north        held      7-9       \n");
    assert_string_equal(holders_of(contexts, "profile"),
                        HEAD "profile          -                    unknown     \n");
}

static void many_cells_fit_into_a_line(void **state)
{
    (void)state;
    json_t *o = json_loads("{\"contexts\":{\"cards\":{\"known\":true,\"cells\":[]}}}", 0, NULL);
    json_t *cells =
        json_object_get(json_object_get(json_object_get(o, "contexts"), "cards"), "cells");
    for (int i = 0; i < 64; i++)
        json_array_append_new(cells, json_pack("{s:s,s:s,s:i}", "region", i % 2 ? "west" : "north",
                                               "state", "held", "epoch", i + 1));
    capture_begin();
    fm_print_holders(o, "west");
    capture_end();
    json_decref(o);
    assert_string_equal(captured_out,
                        HEAD "cards            1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37,"
                             "39,41,43+ west         held      2-64      \n");
}

FM_TEST_MAIN(fm_test(says_which_view_it_is), fm_test(says_who_holds_what),
             fm_test(many_cells_fit_into_a_line))
