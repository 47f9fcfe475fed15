/* The key in a JSON document: found where it is, and only in what every parser reads alike. */
#include "test.h"

#include "core/key.h"

#include <stdio.h>

struct row {
    const char *text,
        *want; /* the key, or ! and a letter: missing, repeated, too long, malFormed */
};

static enum fm_key_outcome outcome_of(char c)
{
    return c == 'M'   ? FM_KEY_MISSING
           : c == 'R' ? FM_KEY_REPEATED
           : c == 'L' ? FM_KEY_TOO_LONG
                      : FM_KEY_MALFORMED;
}

static void check(const char *dotted, const struct row *rows, size_t n)
{
    struct fm_key_spec spec;
    assert_true(fm_key_split(fm_str_z(dotted), &spec));
    for (size_t i = 0; i < n; i++) {
        struct fm_key key;
        bool bad = rows[i].want[0] == '!';
        enum fm_key_outcome want = bad ? outcome_of(rows[i].want[1]) : FM_KEY_FOUND;
        enum fm_key_outcome is =
            fm_key_from_json(spec.name, spec.nnames, fm_str_z(rows[i].text), &key);
        if (is != want || (!bad && !fm_str_eqz(fm_key_str(&key), rows[i].want)))
            fail_msg("%s: %d %.*s, not %s", rows[i].text, (int)is, FM_STR_ARG(fm_key_str(&key)),
                     rows[i].want);
        assert_int_equal(key.n > 0, is == FM_KEY_FOUND);
    }
}

static void finds_the_field(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{\"id\":\"acme\"}", "acme"},
        {" \t\r\n{ \"id\" : \"acme\" } \n", "acme"},
        {"{\"a\":[1,{\"id\":\"x\"},[]],\"b\":{\"id\":\"y\"},\"id\":\"acme\",\"c\":null}", "acme"},
        {"{\"id\":17}", "17"},
        {"{\"id\":0}", "0"},
        {"{\"id\":-5}", "-5"},
        {"{\"id\":9007199254740991}", "9007199254740991"},
        {"{\"id\":-9007199254740991}", "-9007199254740991"},
        {"{\"id\":\"a\\\"\\\\\\/b\"}", "a\"\\/b"},
        {"{\"id\":\"\\u0041\\u00fc\\u20AC\\uD83D\\uDE00\"}",
         "A\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"{\"\\u0069d\":\"escaped name\"}", "escaped name"},
        {"{\"id\":\"M\xc3\xbcller\"}", "M\xc3\xbcller"},
        {"{\"x\":1.5e-10,\"y\":-0.0E+3,\"z\":true,\"id\":\"a\",\"w\":123456789012345678901}", "a"},
        {"{\"\":1,\"id\":\"a\",\"\":2}", "a"}, /* doubles of others are none of ours */
    };
    check("id", rows, FM_COUNT(rows));
}

static void says_what_is_not_there(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"", "!M"},
        {"{}", "!M"},
        {"[]", "!M"},
        {"\"id\"", "!M"},
        {"null", "!M"},
        {"7", "!M"},
        {"{\"i\":1}", "!M"},
        {"{\"id\":null}", "!M"},
        {"{\"id\":\"\"}", "!M"},
        {"[{\"id\":\"a\"}]", "!M"},
        {"{\"a\":{\"id\":\"a\"}}", "!M"},
    };
    check("id", rows, FM_COUNT(rows));
}

static void refuses_what_could_be_read_otherwise(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{\"id\":\"a\",\"id\":\"b\"}", "!R"},
        {"{\"id\":\"a\",\"id\":\"a\"}", "!R"},
        {"{\"id\":null,\"id\":\"a\"}", "!R"},
        {"{\"id\":\"a\",\"\\u0069d\":\"b\"}", "!R"},
        {"{\"id\":\"a\",\"x\":[{}],\"id\":{}}", "!R"},
        {"{\"ID\":\"a\"}", "!F"},
        {"{\"id\":\"a\",\"Id\":\"b\"}", "!F"}, /* the same field to encoding/json of Go */
        {"{\"id\":true}", "!F"},
        {"{\"id\":false}", "!F"},
        {"{\"id\":{}}", "!F"},
        {"{\"id\":[\"a\"]}", "!F"},
        {"{\"id\":1.0}", "!F"},
        {"{\"id\":1e3}", "!F"},
        {"{\"id\":-0}", "!F"},
        {"{\"id\":9007199254740992}", "!F"},
        {"{\"id\":-9007199254740992}", "!F"},
        {"{\"id\":10000000000000000}", "!F"},
        {"{\"id\":\"a\\u0000\"}", "!F"},
        {"{\"id\":\"a\\n\"}", "!F"},
        {"{\"id\":\"\\u007f\"}", "!F"},
        {"{\"id\":\"\\u0085\"}", "!F"},
    };
    check("id", rows, FM_COUNT(rows));
}

static void refuses_what_is_not_json(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {" ", "!F"},
        {"{", "!F"},
        {"{\"id\":\"a\"", "!F"},
        {"{\"id\":\"a\"}}", "!F"},
        {"{\"id\":\"a\"} x", "!F"},
        {"{\"id\":\"a\"}{}", "!F"},
        {"{\"id\":\"a\",}", "!F"},
        {"{,\"id\":\"a\"}", "!F"},
        {"{\"id\" \"a\"}", "!F"},
        {"{\"id\":\"a\" \"b\":1}", "!F"},
        {"{id:\"a\"}", "!F"},
        {"{'id':'a'}", "!F"},
        {"{\"id\":a}", "!F"},
        {"{\"id\":}", "!F"},
        {"{\"id\":\"a\",\"x\":[1,]}", "!F"},
        {"{\"id\":\"a\",\"x\":[,]}", "!F"},
        {"{\"id\":\"a\",\"x\":[1}", "!F"},
        {"{\"id\":\"a\",\"x\":nul}", "!F"},
        {"{\"id\":\"a\",\"x\":nulll}", "!F"},
        {"{\"id\":\"a\",\"x\":01}", "!F"},
        {"{\"id\":\"a\",\"x\":+1}", "!F"},
        {"{\"id\":\"a\",\"x\":.5}", "!F"},
        {"{\"id\":\"a\",\"x\":1.}", "!F"},
        {"{\"id\":\"a\",\"x\":1e}", "!F"},
        {"{\"id\":\"a\",\"x\":-}", "!F"},
        {"{\"id\":\"a\",\"x\":NaN}", "!F"},
        {"{\"id\":\"a\",\"x\":0x1}", "!F"},
        {"{\"id\":\"a\"} // c", "!F"},
        {"/* c */{\"id\":\"a\"}", "!F"},
        {"\xef\xbb\xbf{\"id\":\"a\"}", "!F"},
        {"{\"id\":\"a\",\"x\":\"\xff\"}", "!F"},
        {"{\"id\":\"a\",\"x\":\"\n\"}", "!F"},
        {"{\"id\":\"a\",\"x\":\"\\x\"}", "!F"},
        {"{\"id\":\"a\",\"x\":\"\\u12g4\"}", "!F"},
        {"{\"id\":\"a\",\"x\":\"\\u12\"}", "!F"},
        {"{\"id\":\"a\",\"x\":\"\\ud800\"}", "!F"},
        {"{\"id\":\"a\",\"x\":\"\\ud800\\u0041\"}", "!F"},
        {"{\"id\":\"a\",\"x\":\"\\ud800\\ue000\"}", "!F"},
        {"{\"id\":\"a\",\"x\":\"\\udc00\"}", "!F"},
        {"{\"id\":\"a\",\"x\":\"\\", "!F"},
        {"{\"id\":\"a\",\"x\":\"b}", "!F"},
        {"{\"id\":\"a\"\f}", "!F"},
    };
    check("id", rows, FM_COUNT(rows));
}

static void goes_down_by_names(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"{\"a\":{\"b\":{\"c\":\"x\"}}}", "x"},
        {"{\"c\":\"n\",\"a\":{\"c\":\"n\",\"b\":{\"a\":{\"b\":{\"c\":\"n\"}},\"c\":\"x\"}}}", "x"},
        {"{\"a\":{\"b\":\"c\"}}", "!M"},
        {"{\"a\":[{\"b\":{\"c\":\"x\"}}]}", "!M"},
        {"{\"b\":{\"c\":\"x\"}}", "!M"},
        {"{\"a.b.c\":\"x\"}", "!M"},
        {"{\"a\":{\"b\":{\"c\":\"x\"}},\"a\":{}}", "!R"},
        {"{\"a\":1,\"a\":{\"b\":{\"c\":\"x\"}}}", "!R"},
        {"{\"a\":{\"b\":{\"c\":\"x\"},\"b\":{\"c\":\"y\"}}}", "!R"},
        {"{\"a\":{\"B\":{\"c\":\"y\"},\"b\":{\"c\":\"x\"}}}", "!F"},
        {"{\"A\":1,\"a\":{\"b\":{\"c\":\"x\"}}}", "!F"},
        {"{\"x\":{\"A\":1},\"a\":{\"b\":{\"c\":\"x\",\"B\":1},\"x\":{\"B\":1}}}", "x"},
    };
    check("a.b.c", rows, FM_COUNT(rows));
}

static void bounds_length_and_depth(void **state)
{
    (void)state;
    char text[1024];
    struct fm_str name = FM_STR("id");
    struct fm_key key;
    for (unsigned n = FM_KEY_MAX - 1; n <= FM_KEY_MAX + 2; n++) {
        int at = snprintf(text, sizeof text, "{\"id\":\"");
        memset(text + at, 'k', n);
        snprintf(text + at + n, sizeof text - (size_t)at - n, "\"}");
        assert_int_equal(fm_key_from_json(&name, 1, fm_str_z(text), &key),
                         n <= FM_KEY_MAX ? FM_KEY_FOUND : FM_KEY_TOO_LONG);
        assert_int_equal(key.n, n <= FM_KEY_MAX ? n : 0);
    }
    for (unsigned depth = FM_KEY_DEPTH_MAX - 3; depth <= FM_KEY_DEPTH_MAX + 3; depth++) {
        struct fm_str begin = FM_STR("{\"id\":\"a\",\"x\":");
        memcpy(text, begin.p, begin.n);
        memset(text + begin.n, '[', depth);
        memset(text + begin.n + depth, ']', depth);
        text[begin.n + 2 * depth] = '}';
        assert_int_equal(fm_key_from_json(&name, 1, fm_str(text, begin.n + 2 * depth + 1), &key),
                         depth < FM_KEY_DEPTH_MAX ? FM_KEY_FOUND : FM_KEY_MALFORMED);
    }
}

/* Cut anywhere, a document is no document. */
static void refuses_every_beginning(void **state)
{
    (void)state;
    static const char whole[] = "{\"a\":[1.5e3,{\"b\":\"\\u00fc\\\\\"},true,null],\"id\":\"acme\"}";
    struct fm_str name = FM_STR("id");
    struct fm_key key;
    for (size_t n = 1; n < sizeof whole - 1; n++) {
        char mem[sizeof whole];
        memcpy(mem, whole, n);
        assert_int_equal(fm_key_from_json(&name, 1, fm_str(mem, n), &key), FM_KEY_MALFORMED);
    }
    assert_int_equal(fm_key_from_json(&name, 1, fm_str_z(whole), &key), FM_KEY_FOUND);
}

FM_TEST_MAIN(fm_test(finds_the_field), fm_test(says_what_is_not_there),
             fm_test(refuses_what_could_be_read_otherwise), fm_test(refuses_what_is_not_json),
             fm_test(goes_down_by_names), fm_test(bounds_length_and_depth),
             fm_test(refuses_every_beginning))
