/* Operations as documents: what they are, where they are, and how they end. */
#include "capture.h"

#include "cli/op_doc.h"

static json_t *doc(const char *text)
{
    json_t *d = json_loads(text, 0, NULL);
    assert_non_null(d);
    return d;
}

static void numbers_of_operations_stand_in_paths(void **state)
{
    (void)state;
    static const char *const good[] = {"20261121-140842-83f0c1", "a", "A.b_c-9"};
    static const char *const bad[] = {
        "",         ".",
        "..",       ".a",
        "a/b",      "a b",
        "a?b",      "a%2f",
        "\xc3\xa9", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < FM_COUNT(good); i++)
        assert_true(fm_op_doc_is_id(good[i]));
    for (size_t i = 0; i < FM_COUNT(bad); i++)
        assert_false(fm_op_doc_is_id(bad[i]));
}

static void a_document_has_what_following_needs(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is;
    } cases[] = {
        {"{\"schema\": \"fulmar.op/1\", \"id\": \"x\", \"state\": \"running\"}", true},
        {"{\"schema\": \"fulmar.op/2\", \"id\": \"x\", \"state\": \"running\"}", false},
        {"{\"schema\": \"fulmar.op/1\", \"id\": \"../x\", \"state\": \"running\"}", false},
        {"{\"schema\": \"fulmar.op/1\", \"id\": \"x\"}", false},
        {"{\"schema\": \"fulmar.op/1\", \"id\": 7, \"state\": \"running\"}", false},
        {"{}", false},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        json_t *d = doc(cases[i].text);
        assert_int_equal(fm_op_doc_is_one(d), cases[i].is);
        json_decref(d);
    }
}

static void each_end_has_its_exit_code(void **state)
{
    (void)state;
    static const struct {
        const char *state;
        int code; /* -1: it is not over */
    } cases[] = {{"waiting", -1},    {"running", -1}, {"aborting", -1},
                 {"unheard-of", -1}, {"done", 0},     {"partial", 5},
                 {"failed", 1},      {"refused", 3},  {"aborted", 1}};
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char text[64];
        snprintf(text, sizeof text, "{\"state\": \"%s\"}", cases[i].state);
        json_t *d = doc(text);
        assert_int_equal(fm_op_doc_is_over(d), cases[i].code >= 0);
        if (cases[i].code >= 0)
            assert_int_equal(fm_op_doc_exit(d, false), cases[i].code);
        if (cases[i].code >= 0)
            assert_int_equal(fm_op_doc_exit(d, true),
                             strcmp(cases[i].state, "aborted") ? cases[i].code : 0);
        json_decref(d);
    }
}

#define ITEM(cell, state)                                                                          \
    "{\"context\": \"cards\", \"cell\": " #cell ", \"from\": \"west\", \"to\": \"north\","         \
    " \"state\": \"" state "\"}"
static const char evacuation[] =
    "{\"schema\": \"fulmar.op/1\", \"id\": \"x-1\", \"kind\": \"evacuate\", \"region\": \"west\","
    " \"context\": null, \"to\": null, \"step\": \"all\", \"state\": \"running\", \"by\": \"al@x\","
    " \"reason\": \"flood\", \"text\": \"cell 1 is shipping\", \"attested\": true, \"items\": "
    "[" ITEM(0, "done") "," ITEM(1, "running") "," ITEM(2, "waiting") "," ITEM(3, "waiting") "]}";

static void it_is_told_in_a_line(void **state)
{
    (void)state;
    char text[128];
    struct fm_buf b = fm_buf(text, sizeof text);
    json_t *d = doc(evacuation);
    fm_op_doc_line(d, &b);
    assert_str(fm_buf_str(&b), "evacuate west: running, 1 of 4 cells: cell 1 is shipping");
    json_decref(d);
    d = doc("{\"kind\": \"failover\", \"context\": \"ledger\", \"region\": \"west\","
            " \"to\": \"north\", \"step\": \"prepare\", \"state\": \"waiting\"}");
    b = fm_buf(text, sizeof text);
    fm_op_doc_line(d, &b);
    assert_str(fm_buf_str(&b), "failover ledger to north (prepare): waiting");
    json_decref(d);
}

static void it_is_shown_whole(void **state)
{
    (void)state;
    json_t *d = doc(evacuation);
    capture_begin();
    fm_op_doc_print(d);
    capture_end();
    assert_string_equal(captured_out, "operation   x-1\n"
                                      "kind        evacuate\n"
                                      "region      west\n"
                                      "state       running\n"
                                      "step        all\n"
                                      "text        cell 1 is shipping\n"
                                      "by          al@x\n"
                                      "reason      flood\n"
                                      "attested    a person says that nothing writes there any "
                                      "more\n"
                                      "  cards/0: west -> north, done\n"
                                      "  cards/1: west -> north, running\n"
                                      "  cards/2-3: west -> north, waiting\n");
    capture_begin();
    fm_op_doc_print_end(stdout, d, 84);
    fm_op_doc_print_end(stdout, d, -1);
    capture_end();
    assert_string_equal(captured_out,
                        "running after 84 ms: evacuate west, 1 of 4 cells: cell 1 is shipping\n"
                        "running: evacuate west, 1 of 4 cells: cell 1 is shipping\n");
    json_decref(d);
}

FM_TEST_MAIN(fm_test(numbers_of_operations_stand_in_paths),
             fm_test(a_document_has_what_following_needs), fm_test(each_end_has_its_exit_code),
             fm_test(it_is_told_in_a_line), fm_test(it_is_shown_whole))
