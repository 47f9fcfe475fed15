/* Bodies: content and ends, whatever the pieces; raw bodies keep their framing. Malformed chunks
 * are the business of test_corpus.c. */
#include "test.h"

#include "base/buf.h"
#include "base/rand.h"
#include "http/parse.h"

#include <stdio.h>

static const struct fm_http_limits limits = FM_HTTP_LIMITS_DEFAULT;

/* The content that `text` gives when it arrives in pieces of `step` bytes; *used is where the body
 * ends. Fails where it does not end. */
static size_t content_of(enum fm_http_framing framing, uint64_t length, const char *text, size_t n,
                         size_t step, char *out, size_t *used)
{
    struct fm_http_body b;
    struct fm_http_refusal why;
    size_t at = 0, got = 0;
    fm_http_body_init(&b, framing, length, &limits);
    for (size_t have = fm_min_size(step, n); !fm_http_body_is_done(&b);) {
        size_t took;
        struct fm_str data;
        enum fm_http_body_step r =
            fm_http_body_step(&b, fm_str(text + at, have - at), &took, &data, &why);
        if (r == FM_BODY_STEP_BAD)
            fail_msg("%s", why.why);
        at += took;
        if (r == FM_BODY_STEP_DATA) {
            memcpy(out + got, data.p, data.n);
            got += data.n;
        }
        if (r == FM_BODY_STEP_MORE) {
            assert_int_equal(at, have);
            assert_true(have < n);
            have = fm_min_size(have + step, n);
        }
    }
    *used = at;
    return got;
}

static void decodes_whatever_the_pieces(void **state)
{
    (void)state;
    static const struct {
        enum fm_http_framing framing;
        uint64_t length;
        const char *text, *content;
        size_t rest; /* bytes of the next message */
    } cases[] = {
        {FM_BODY_LENGTH, 5, "helloGET", "hello", 3},
        {FM_BODY_LENGTH, 1, "h", "h", 0},
        {FM_BODY_LENGTH, 0, "GET", "", 3},
        {FM_BODY_NONE, 0, "GET", "", 3},
        {FM_BODY_CHUNKED, 0, "0\r\n\r\nGET", "", 3},
        {FM_BODY_CHUNKED, 0, "5\r\nhello\r\n0\r\n\r\n", "hello", 0},
        {FM_BODY_CHUNKED, 0, "1\r\nh\r\n4;x=\"y\"\r\nello\r\n00\r\n\r\n\r\n", "hello", 2},
        {FM_BODY_CHUNKED, 0, "A\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\nA: b\r\nC:\r\n\r\nG",
         "0\r\n\r\n0\r\n\r\n", 1},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        size_t n = strlen(cases[i].text);
        for (size_t step = 1; step <= n; step++) {
            char out[64];
            size_t used, got = content_of(cases[i].framing, cases[i].length, cases[i].text, n, step,
                                          out, &used);
            assert_str(fm_str(out, got), cases[i].content);
            assert_int_equal(n - used, cases[i].rest);
        }
    }
}

static void skips_to_the_same_end(void **state)
{
    (void)state;
    static const char text[] = "5;a\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\nGET /";
    size_t end = sizeof text - 1 - 5;
    for (size_t cut = 0; cut < sizeof text; cut++) {
        struct fm_http_body b;
        struct fm_http_refusal why;
        size_t first, second = 0;
        fm_http_body_init(&b, FM_BODY_CHUNKED, 0, &limits);
        enum fm_http_body_step r = fm_http_body_skip(&b, fm_str(text, cut), &first, &why);
        assert_int_equal(r, cut < end ? FM_BODY_STEP_MORE : FM_BODY_STEP_DONE);
        if (r == FM_BODY_STEP_MORE) {
            assert_int_equal(first, cut);
            r = fm_http_body_skip(&b, fm_str(text + cut, sizeof text - 1 - cut), &second, &why);
        }
        assert_int_equal(r, FM_BODY_STEP_DONE);
        assert_int_equal(first + second, end);
        assert_true(fm_http_body_is_done(&b));
    }
}

static void skips_a_length_to_its_end(void **state)
{
    (void)state;
    struct fm_http_body b;
    struct fm_http_refusal why;
    size_t used;
    for (size_t cut = 0; cut <= 7; cut++) { /* five bytes of the body, two of what follows */
        fm_http_body_init(&b, FM_BODY_LENGTH, 5, &limits);
        enum fm_http_body_step r = fm_http_body_skip(&b, fm_str("helloGE", cut), &used, &why);
        assert_int_equal(r, cut < 5 ? FM_BODY_STEP_MORE : FM_BODY_STEP_DONE);
        assert_int_equal(used, fm_min_size(cut, 5));
        assert_int_equal(fm_http_body_is_done(&b), cut >= 5);
    }
    fm_http_body_init(&b, FM_BODY_LENGTH, 0, &limits);
    assert_true(fm_http_body_is_done(&b));
}

static void a_body_until_the_end_has_no_end_here(void **state)
{
    (void)state;
    struct fm_http_body b;
    struct fm_http_refusal why;
    struct fm_str data;
    size_t used;
    fm_http_body_init(&b, FM_BODY_CLOSE, 0, &limits);
    assert_int_equal(fm_http_body_step(&b, FM_STR("abc"), &used, &data, &why), FM_BODY_STEP_DATA);
    assert_str(data, "abc");
    assert_int_equal(fm_http_body_step(&b, FM_STR(""), &used, &data, &why), FM_BODY_STEP_MORE);
    assert_int_equal(fm_http_body_skip(&b, FM_STR("abc"), &used, &why), FM_BODY_STEP_MORE);
    assert_int_equal(used, 3);
    assert_false(fm_http_body_is_done(&b));
}

/* -------- limits -------- */

static unsigned status_of(const char *text, const struct fm_http_limits *l)
{
    struct fm_http_body b;
    struct fm_http_refusal why = {0, ""};
    size_t used;
    fm_http_body_init(&b, FM_BODY_CHUNKED, 0, l);
    return fm_http_body_skip(&b, fm_str_z(text), &used, &why) == FM_BODY_STEP_BAD ? why.status : 0;
}

static void counts_all_chunks_towards_the_limit(void **state)
{
    (void)state;
    struct fm_http_limits l = limits;
    l.body_bytes = 10;
    assert_int_equal(status_of("5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\n", &l), 0);
    assert_int_equal(status_of("5\r\nhello\r\n6\r\n", &l), 413);
    assert_int_equal(status_of("b\r\n", &l), 413);
    assert_int_equal(status_of("ffffffffffffffff\r\n", &l), 413);
    l.body_bytes = UINT64_MAX;
    assert_int_equal(status_of("1\r\na\r\nffffffffffffffff\r\n", &l), 413);
    assert_int_equal(status_of("ffffffffffffffff\r\n", &l), 0);
}

static void counts_all_extensions_towards_the_limit(void **state)
{
    (void)state;
    struct fm_http_limits l = limits;
    l.ext_bytes = 4;
    assert_int_equal(status_of("1;abcd\r\nx\r\n0\r\n\r\n", &l), 0);
    assert_int_equal(status_of("1;ab\r\nx\r\n0;cd\r\n\r\n", &l), 0);
    assert_int_equal(status_of("1;abcde\r\nx\r\n0\r\n\r\n", &l), 400);
    assert_int_equal(status_of("1;ab\r\nx\r\n0;cde\r\n\r\n", &l), 400);
}

static void counts_all_trailers_towards_the_limit(void **state)
{
    (void)state;
    struct fm_http_limits l = limits;
    l.trailer_bytes = 8; /* with the empty line */
    assert_int_equal(status_of("0\r\nA: b\r\n\r\n", &l), 0);
    assert_int_equal(status_of("0\r\nA: bc\r\n\r\n", &l), 431);
    assert_int_equal(status_of("0\r\nA:\r\nB:\r\n\r\n", &l), 431);
    l.trailer_bytes = 0;
    assert_int_equal(status_of("0\r\n\r\n", &l), 431);
}

static void refuses_forged_trailers_of_any_length(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned status;
    } cases[] = {
        {"content-length", 400},
        {"TRANSFER-ENCODING", 400},
        {"x-forwarded-proto", 400},
        {"fulmar-a-name-that-is-longer-than-what-is-kept-of-it", 400},
        {"fulmar_a_name_that_is_longer_than_what_is_kept_of_it", 400},
        {"content-length-and-more", 0},
        {"content-lengt", 0},
        {"etag", 0},
        {"x", 0},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char text[128];
        snprintf(text, sizeof text, "0\r\n%s: x\r\n\r\n", cases[i].name);
        assert_int_equal(status_of(text, &limits), cases[i].status);
    }
}

/* -------- at random -------- */

static void add_random_chunk(struct fm_rand *r, struct fm_buf *text, struct fm_buf *content)
{
    uint32_t size = 1 + fm_rand_below(r, 40);
    fm_buf_printf(text, fm_rand_below(r, 2) ? "%x" : "%04X", size);
    if (fm_rand_below(r, 4) == 0)
        fm_buf_printf(text, ";e=%u", fm_rand_below(r, 100));
    fm_buf_lit(text, "\r\n");
    for (uint32_t i = 0; i < size; i++) {
        char c = "\r\n0123abc;:"[fm_rand_below(r, 11)];
        fm_buf_ch(text, c);
        fm_buf_ch(content, c);
    }
    fm_buf_lit(text, "\r\n");
}

static void decodes_random_bodies(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct fm_rand r = {seed};
        char text[1024], content[512], out[512];
        struct fm_buf t = fm_buf(text, sizeof text), c = fm_buf(content, sizeof content);
        for (uint32_t chunks = fm_rand_below(&r, 6); chunks > 0; chunks--)
            add_random_chunk(&r, &t, &c);
        fm_buf_lit(&t, "0\r\n");
        for (uint32_t i = fm_rand_below(&r, 3); i > 0; i--)
            fm_buf_printf(&t, "X-%u: %u\r\n", i, fm_rand_below(&r, 100));
        fm_buf_lit(&t, "\r\n");
        size_t end = t.n, used;
        for (uint32_t rest = fm_rand_below(&r, 9); rest > 0; rest--)
            fm_buf_ch(&t, 'G');
        size_t got =
            content_of(FM_BODY_CHUNKED, 0, text, t.n, 1 + fm_rand_below(&r, 50), out, &used);
        if (got != c.n || memcmp(out, content, got) != 0 || used != end)
            fail_msg("seed %llu: %zu bytes instead of %zu", (unsigned long long)seed, got, c.n);
    }
}

FM_TEST_MAIN(fm_test(decodes_whatever_the_pieces), fm_test(skips_to_the_same_end),
             fm_test(skips_a_length_to_its_end), fm_test(a_body_until_the_end_has_no_end_here),
             fm_test(counts_all_chunks_towards_the_limit),
             fm_test(counts_all_extensions_towards_the_limit),
             fm_test(counts_all_trailers_towards_the_limit),
             fm_test(refuses_forged_trailers_of_any_length), fm_test(decodes_random_bodies))
