/* The bounded buffer: whole appends, numbers, JSON strings. */
#include "test.h"

#include "base/buf.h"

static void appends_whole_or_not_at_all(void **state)
{
    (void)state;
    char mem[8];
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_buf_lit(&b, "12345");
    fm_buf_lit(&b, "6789");
    assert_true(b.full);
    assert_str(fm_buf_str(&b), "12345");
    fm_buf_lit(&b, "678");
    assert_str(fm_buf_str(&b), "12345678");
}

static void writes_numbers(void **state)
{
    (void)state;
    char mem[256];
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_buf_u64(&b, 0);
    fm_buf_ch(&b, ' ');
    fm_buf_u64(&b, UINT64_MAX);
    fm_buf_ch(&b, ' ');
    fm_buf_i64(&b, INT64_MIN);
    fm_buf_ch(&b, ' ');
    fm_buf_hex(&b, "\x00\xff\x1a", 3);
    fm_buf_printf(&b, " %d", 7);
    assert_false(b.full);
    assert_str(fm_buf_str(&b), "0 18446744073709551615 -9223372036854775808 00ff1a 7");
}

static void printf_that_does_not_fit_leaves_nothing(void **state)
{
    (void)state;
    char mem[8];
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_buf_printf(&b, "%s", "123456789");
    assert_true(b.full);
    assert_int_equal(b.n, 0);
}

static void escapes_json(void **state)
{
    (void)state;
    static const struct {
        struct fm_str in;
        const char *out;
    } cases[] = {
        {FM_STR_INIT(""), "\"\""},
        {FM_STR_INIT("a\"b\\c"), "\"a\\\"b\\\\c\""},
        {FM_STR_INIT("\n\x01\x7f"), "\"\\u000a\\u0001\\u007f\""},
        {FM_STR_INIT("gr\xc3\xbc\xc3\x9f"), "\"gr\xc3\xbc\xc3\x9f\""},
        {FM_STR_INIT("\xf0\x9f\x98\x80"), "\"\xf0\x9f\x98\x80\""},
        {FM_STR_INIT("\xff"
                     "x"),
         "\"\\ufffdx\""},
        {FM_STR_INIT("\xc0\xaf"), "\"\\ufffd\\ufffd\""},            /* overlong */
        {FM_STR_INIT("\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\""}, /* surrogate */
        {FM_STR_INIT("\xc3"), "\"\\ufffd\""},                       /* cut */
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char mem[64];
        struct fm_buf b = fm_buf(mem, sizeof mem);
        fm_buf_json(&b, cases[i].in);
        assert_str(fm_buf_str(&b), cases[i].out);
    }
}

static void json_that_does_not_fit_leaves_nothing(void **state)
{
    (void)state;
    char mem[6];
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_buf_ch(&b, '[');
    fm_buf_json(&b, FM_STR("abcd"));
    assert_true(b.full);
    assert_str(fm_buf_str(&b), "[");
}

static void tames_foreign_text(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"", ""},
        {"plain, (ok) ~", "plain, (ok) ~"},
        {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
         "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\033[31mred\a\n\r\t\x7f", "?[31mred?????"},
        {"c1 \xc2\x9b\xc2\xa0", "c1 ??\xc2\xa0"}, /* CSI of 8 bits; a no-break space is fine */
        {"\xff\xfe latin \xfc", "?? latin ?"},
        {"cut \xe2\x82", "cut ??"},
        {"\xc0\xaf\xed\xa0\x80", "?????"}, /* overlong; a surrogate */
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char text[64];
        memcpy(text, cases[i].in, strlen(cases[i].in) + 1);
        fm_text_tame(text);
        assert_string_equal(text, cases[i].out);
    }
}

FM_TEST_MAIN(fm_test(appends_whole_or_not_at_all), fm_test(writes_numbers),
             fm_test(printf_that_does_not_fit_leaves_nothing), fm_test(escapes_json),
             fm_test(json_that_does_not_fit_leaves_nothing), fm_test(tames_foreign_text))
