/* Documents for machines, byte by byte. */
#include "capture.h"

#include "cli/cli.h"

static void print(const char *text, enum fm_output o)
{
    json_t *doc = json_loads(text, 0, NULL);
    assert_non_null(doc);
    capture_begin();
    fm_print_document(doc, o);
    capture_end();
    json_decref(doc);
}

static const char nested[] =
    "{\"schema\": \"x/1\", \"n\": 3, \"real\": 0.1, \"none\": null, \"yes\": true, \"empty\": [],"
    " \"bare\": {}, \"text\": \"a: b \\\"c\\\"\\n\", \"list\": [1, \"two\", {\"a\": 1, \"b\": [2]},"
    " [3, 4]], \"map\": {\"x\": {\"y\": \"z\"}}}";

static void json_is_one_document(void **state)
{
    (void)state;
    print(nested, FM_OUTPUT_JSON);
    json_t *a = json_loads(nested, 0, NULL), *b = json_loads(captured_out, 0, NULL);
    assert_true(json_equal(a, b));
    json_decref(a);
    json_decref(b);
    assert_true(fm_str_ends(fm_str_z(captured_out), FM_STR("}\n")));
    assert_non_null(strstr(captured_out, "\"real\": 0.1,")); /* no noise digits */
}

static void watched_json_is_a_line(void **state)
{
    (void)state;
    print("{\"a\": [1, 2], \"b\": \"x\\ny\"}", FM_OUTPUT_JSON_LINES);
    assert_string_equal(captured_out, "{\"a\":[1,2],\"b\":\"x\\ny\"}\n");
}

static void yaml_is_a_block_of_the_same(void **state)
{
    (void)state;
    print(nested, FM_OUTPUT_YAML);
    assert_string_equal(captured_out, "---\n"
                                      "schema: \"x/1\"\n"
                                      "n: 3\n"
                                      "real: 0.1\n"
                                      "none: null\n"
                                      "yes: true\n"
                                      "empty: []\n"
                                      "bare: {}\n"
                                      "text: \"a: b \\\"c\\\"\\n\"\n"
                                      "list:\n"
                                      "  - 1\n"
                                      "  - \"two\"\n"
                                      "  - a: 1\n"
                                      "    b:\n"
                                      "      - 2\n"
                                      "  - - 3\n"
                                      "    - 4\n"
                                      "map:\n"
                                      "  x:\n"
                                      "    y: \"z\"\n");
}

static void errors_are_for_people_and_for_machines(void **state)
{
    (void)state;
    struct fm_args a = {.output = FM_OUTPUT_TABLE};
    capture_begin();
    int code = fm_print_error(&a, "status", 69, "nobody answers", "start one");
    capture_end();
    assert_int_equal(code, 69);
    assert_string_equal(captured_out, "");
    assert_string_equal(captured_err, "fulmar status: nobody answers\n  start one\n");
    a.output = FM_OUTPUT_JSON_LINES;
    capture_begin();
    (void)fm_print_error(&a, "status", 1, "no \"document\"", NULL);
    capture_end();
    assert_string_equal(captured_out, "{\"schema\":\"fulmar.error/1\",\"exit_code\":1,"
                                      "\"error\":\"no \\\"document\\\"\",\"remedy\":null}\n");
    assert_string_equal(captured_err, "fulmar status: no \"document\"\n");
}

FM_TEST_MAIN(fm_test(json_is_one_document), fm_test(watched_json_is_a_line),
             fm_test(yaml_is_a_block_of_the_same), fm_test(errors_are_for_people_and_for_machines))
