/* Forwarded heads: what is passed on, what is left out, what is added. */
#include "test.h"

#include "base/rand.h"
#include "http/parse.h"
#include "proxy/heads.h"

#include <stdio.h>

static const struct fm_http_limits limits = FM_HTTP_LIMITS_DEFAULT;
static struct fm_http_field fields[FM_HTTP_FIELDS_MAX];
static char out_mem[64 * 1024];

#define REF "0123abcd-00000000001"

static struct fm_http_head parse_request(const char *text)
{
    struct fm_http_scan scan = {0};
    struct fm_http_head h;
    struct fm_http_refusal why = {0, ""};
    if (fm_http_parse_request(&scan, text, strlen(text), &limits, fields, &h, &why) !=
        FM_PARSE_DONE)
        fail_msg("%s: %s", why.why, text);
    return h;
}

static struct fm_http_head parse_answer(const char *text)
{
    struct fm_http_scan scan = {0};
    struct fm_http_head h;
    struct fm_http_refusal why = {0, ""};
    if (fm_http_parse_response(&scan, text, strlen(text), FM_METHOD_GET, &limits, fields, &h,
                               &why) != FM_PARSE_DONE)
        fail_msg("%s: %s", why.why, text);
    return h;
}

static void expect_text(const struct fm_buf *out, const char *expected)
{
    assert_false(out->full);
    if (!fm_str_eqz(fm_buf_str(out), expected))
        fail_msg("\n--- is\n%.*s--- instead of\n%s", (int)out->n, out->p, expected);
}

/* -------- requests -------- */

enum { TRUSTED = 1, GATE = 2, TRACE = 4, DEADLINE = 8, V6 = 16 };

static void forward(struct fm_buf *out, const char *text, unsigned flags, struct fm_forward_at *at)
{
    struct fm_http_head h = parse_request(text);
    struct fm_forward f = {
        .client_ip = flags & V6 ? FM_STR("2001:db8::7") : FM_STR("192.0.2.7"),
        .client_is_trusted = flags & TRUSTED,
        .from_edge = flags & GATE,
        .ref = FM_STR(REF),
        .traceparent = flags & TRACE ? FM_STR("00-new") : FM_STR(""),
        .deadline = flags & DEADLINE,
    };
    *out = fm_buf(out_mem, sizeof out_mem);
    fm_heads_request(out, &h, &f, at);
}

#define ADDED(host)                                                                                \
    "Via: 1.1 fulmar\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n"                 \
    "X-Forwarded-Host: " host "\r\nForwarded: for=192.0.2.7;host=\"" host "\";proto=http\r\n"
#define END "Fulmar-Ref: " REF "\r\n\r\n"

static void rewrites_requests(void **state)
{
    (void)state;
    static const struct {
        unsigned flags;
        const char *in, *out;
    } cases[] = {
        {0, "GET /a?b HTTP/1.1\r\nHost: h:80\r\n\r\n",
         "GET /a?b HTTP/1.1\r\nHost: h:80\r\n" ADDED("h:80") END},
        /* the bytes of a field stay as they came */
        {0, "GET / HTTP/1.1\r\nhost:h\r\nx-a:1\r\nX-B: \t two \t\r\nX-C:\r\nX-D: \xe9\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\nx-a:1\r\nX-B: \t two \t\r\nX-C:\r\nX-D: \xe9\r\n" ADDED("h")
             END},
        /* an empty last field, and one of blanks */
        {0, "GET / HTTP/1.1\r\nHost: h\r\nX-A: \t \r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\nX-A: \t \r\n" ADDED("h") END},
        /* the target wins over Host, and loses its authority */
        {0, "GET http://t:81/a?b HTTP/1.1\r\nHost: h\r\n\r\n",
         "GET /a?b HTTP/1.1\r\nHost: t:81\r\n" ADDED("t:81") END},
        {0, "GET http://t?b HTTP/1.1\r\nHost: h\r\n\r\n",
         "GET /?b HTTP/1.1\r\nHost: t\r\n" ADDED("t") END},
        /* hop by hop, and what Connection names */
        {0,
         "GET / HTTP/1.1\r\nConnection: close, X-Gone\r\nX-Gone: 1\r\nX-Kept: 2\r\nHost: h\r\n"
         "Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers\r\nx-gone: 3\r\nUpgrade: h2c\r\n"
         "Expect: 100-continue\r\nTrailer: X-T\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\nX-Kept: 2\r\nTrailer: X-T\r\n" ADDED("h") END},
        /* what frames the body is said in our words */
        {0, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nX-A: 1\r\n\r\n",
         "POST / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nContent-Length: 0\r\n" ADDED("h") END},
        {0, "POST / HTTP/1.1\r\nHost: h\r\ncontent-length:\t 005 \t\r\n\r\n",
         "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n" ADDED("h") END},
        {0, "POST / HTTP/1.1\r\nTransfer-ENCODING:\tChunked\t\r\nHost: h\r\n\r\n",
         "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" ADDED("h") END},
        /* a client must not speak for others */
        {0,
         "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n"
         "X-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\nFulmar-Ref: x\r\n"
         "Fulmar-Authority: cards/1@99\r\nFulmar-Mode: override\r\nFulmar-Deadline: 9\r\n"
         "Fulmar-Region: x\r\nFulmar-Problem: x\r\nFulmar-New: x\r\nVia: 1.1 before\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.1 before\r\n" ADDED("h") END},
        /* an edge may speak to a gate */
        {GATE,
         "GET / HTTP/1.1\r\nHost: h\r\nFulmar-Authority: cards/1@99\r\nFulmar-Mode: normal\r\n"
         "Fulmar-Region: x\r\nFulmar-Ref: old\r\nFulmar-Deadline: 9\r\nFulmar-New: x\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\nFulmar-Authority: cards/1@99\r\nFulmar-Mode: normal\r\n"
         "Fulmar-Region: x\r\nFulmar-New: x\r\n" ADDED("h") END},
        /* a trusted client is continued */
        {TRUSTED,
         "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For:\r\n"
         "X-Forwarded-For: 10.0.0.2, 10.0.0.3\r\nForwarded: for=10.0.0.1\r\n"
         "X-Forwarded-Proto: https\r\nX-Forwarded-Host: outer\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.1 fulmar\r\n"
         "X-Forwarded-For: 10.0.0.1, 10.0.0.2, 10.0.0.3, 192.0.2.7\r\nX-Forwarded-Proto: https\r\n"
         "X-Forwarded-Host: outer\r\n"
         "Forwarded: for=10.0.0.1, for=192.0.2.7;host=\"h\";proto=http\r\n" END},
        {V6, "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.1 fulmar\r\nX-Forwarded-For: 2001:db8::7\r\n"
         "X-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\n"
         "Forwarded: for=\"[2001:db8::7]\";host=\"h\";proto=http\r\n" END},
        /* upgrades */
        {0, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\n" ADDED(
             "h") "Connection: upgrade\r\nUpgrade: WebSocket\r\n" END},
        {0,
         "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
         "HTTP2-Settings: x\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\nHTTP2-Settings: x\r\n" ADDED("h") END},
        /* traces */
        {0, "GET / HTTP/1.1\r\nHost: h\r\ntraceparent: old\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\ntraceparent: old\r\n" ADDED("h") END},
        {TRACE, "GET / HTTP/1.1\r\nHost: h\r\ntraceparent: old\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\n" ADDED("h") "traceparent: 00-new\r\n" END},
        {DEADLINE, "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
         "GET / HTTP/1.1\r\nHost: h\r\n" ADDED("h") "Fulmar-Ref: " REF
                                                    "\r\nFulmar-Deadline: 0000000000\r\n\r\n"},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_buf out;
        struct fm_forward_at at;
        forward(&out, cases[i].in, cases[i].flags, &at);
        expect_text(&out, cases[i].out);
    }
}

static void says_via_which_version(void **state)
{
    (void)state;
    struct fm_buf out;
    struct fm_forward_at at;
    forward(&out, "GET / HTTP/1.0\r\nHost: h\r\n\r\n", 0, &at);
    assert_non_null(memmem(out.p, out.n, "Via: 1.0 fulmar\r\n", 17));
    assert_true(fm_str_starts(fm_buf_str(&out), FM_STR("GET / HTTP/1.1\r\n")));
}

/* What was forwarded is itself a request that means the same. */
static void what_it_writes_can_be_read(void **state)
{
    (void)state;
    struct fm_buf out;
    struct fm_forward_at at;
    forward(&out,
            "PUT http://t/a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\nX-A: 1\r\n"
            "Connection: x-b\r\nX-B: 2\r\n\r\n",
            DEADLINE, &at);
    fm_heads_set_deadline(out.p + at.deadline, 1500);
    fm_buf_ch(&out, 0);
    struct fm_http_head h = parse_request(out.p);
    assert_int_equal(h.method, FM_METHOD_PUT);
    assert_str(h.target, "/a?b");
    assert_str(h.host, "t");
    assert_int_equal(h.length, 7);
    assert_str(fm_http_value(&h, FM_HDR_FULMAR_DEADLINE), "1500");
    assert_str(fm_http_value(&h, FM_HDR_FULMAR_REF), REF);
    assert_null(fm_http_find(&h, FM_STR("x-b")).p);
}

static void writes_deadlines_into_their_place(void **state)
{
    (void)state;
    static const struct {
        uint64_t ms;
        const char *text;
    } cases[] = {{0, "         0"},
                 {7, "         7"},
                 {1234567890, "1234567890"},
                 {9999999999, "9999999999"},
                 {UINT64_MAX, "9999999999"}};
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char digits[FM_DEADLINE_DIGITS + 1] = "xxxxxxxxxx";
        fm_heads_set_deadline(digits, cases[i].ms);
        assert_string_equal(digits, cases[i].text);
    }
}

static void says_where_there_is_no_room(void **state)
{
    (void)state;
    struct fm_http_head h = parse_request("GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n");
    struct fm_forward f = {.client_ip = FM_STR("192.0.2.7"), .ref = FM_STR(REF)};
    struct fm_buf whole = fm_buf(out_mem, sizeof out_mem);
    struct fm_forward_at at;
    fm_heads_request(&whole, &h, &f, &at);
    for (size_t cap = 0; cap < whole.n; cap++) {
        struct fm_buf out = fm_buf(out_mem, cap);
        fm_heads_request(&out, &h, &f, &at);
        assert_true(out.full);
    }
}

/* -------- at random -------- */

static const struct {
    const char *line;
    bool kept;
} lines[] = {
    {"X-A: 1\r\n", true},          {"x-b:\r\n", true},
    {"X-C: \t\r\n", true},         {"Accept: */*\r\n", true},
    {"Cookie: a=b\r\n", true},     {"Content-Type: a/b \r\n", true},
    {"Via: 1.1 x\r\n", true},      {"X-Named: gone\r\n", false},
    {"TE: trailers\r\n", false},   {"Keep-Alive: 1\r\n", false},
    {"Fulmar-X: 1\r\n", false},    {"X-Forwarded-For: 1\r\n", false},
    {"Upgrade: x\r\n", false},     {"Expect: 100-continue\r\n", false},
    {"Forwarded: a=b\r\n", false}, {"x-named:\r\n", false},
};

static void leaves_out_each_field_alone(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct fm_rand r = {seed};
        char in_mem[2048], expected_mem[2048];
        struct fm_buf in = fm_buf(in_mem, sizeof in_mem), out;
        struct fm_buf expected = fm_buf(expected_mem, sizeof expected_mem);
        bool had_expect = false;
        fm_buf_lit(&in, "GET / HTTP/1.1\r\n");
        fm_buf_lit(&expected, "GET / HTTP/1.1\r\nHost: h\r\n");
        uint32_t n = fm_rand_below(&r, 12), host_at = fm_rand_below(&r, n + 1);
        for (uint32_t i = 0; i <= n; i++) {
            if (i == host_at)
                fm_buf_lit(&in, "Host: h\r\nConnection: x-named\r\n");
            size_t at = fm_rand_below(&r, FM_COUNT(lines));
            bool expect = lines[at].line[0] == 'E';
            if (expect && had_expect)
                continue;
            had_expect |= expect;
            fm_buf_str_add(&in, fm_str_z(lines[at].line));
            if (lines[at].kept)
                fm_buf_str_add(&expected, fm_str_z(lines[at].line));
        }
        fm_buf_str_add(&in, FM_STR("\r\n"));
        fm_buf_ch(&in, 0);
        fm_buf_lit(&expected, ADDED("h") END);
        fm_buf_ch(&expected, 0);
        struct fm_forward_at at;
        forward(&out, in.p, 0, &at);
        expect_text(&out, expected.p);
    }
}

/* -------- answers -------- */

enum { FROM_GATE = 1, DECODED = 2, SWITCHING = 4, BARE = 8 };

static void rewrites_answers(void **state)
{
    (void)state;
    static const struct {
        unsigned flags;
        const char *in, *out;
    } cases[] = {
        {BARE, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\n\r\n",
         "HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 5\r\nVia: 1.1 fulmar\r\n\r\n"},
        {BARE, "HTTP/1.0 404\r\n\r\n", "HTTP/1.1 404\r\nVia: 1.0 fulmar\r\n\r\n"},
        {0,
         "HTTP/1.1 200 Fine then\r\nConnection: close, X-Gone\r\nX-Gone: 1\r\nKeep-Alive: 5\r\n"
         "Proxy-Connection: x\r\nTE: x\r\nUpgrade: h2c\r\nServer: s\r\nFulmar-Ref: x\r\n"
         "Fulmar-Region: evil\r\nFulmar-Problem: moving\r\nFulmar-New: x\r\nFulmar-Mode: x\r\n\r\n",
         "HTTP/1.1 200 Fine then\r\nServer: s\r\nVia: 1.1 fulmar\r\nConnection: close\r\n"
         "Fulmar-Ref: " REF "\r\nFulmar-Region: west\r\n\r\n"},
        {FROM_GATE | BARE,
         "HTTP/1.1 200 OK\r\nFulmar-Region: west\r\nFulmar-Mode: x\r\nFulmar-Problem: moving\r\n"
         "Fulmar-Ref: x\r\n\r\n",
         "HTTP/1.1 200 OK\r\nFulmar-Region: west\r\nFulmar-Mode: x\r\nVia: 1.1 fulmar\r\n\r\n"},
        {BARE, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n",
         "HTTP/1.1 200 OK\r\nTrailer: a\r\nTransfer-Encoding: chunked\r\nVia: 1.1 fulmar\r\n\r\n"},
        {DECODED | BARE,
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\nX-A: 1\r\n\r\n",
         "HTTP/1.1 200 OK\r\nX-A: 1\r\nVia: 1.1 fulmar\r\n\r\n"},
        {SWITCHING | BARE,
         "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
         "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nVia: 1.1 fulmar\r\n\r\n"},
        /* no client is to wait for a body that these do not have */
        {BARE, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nX-A: 1\r\n\r\n",
         "HTTP/1.1 204 No Content\r\nX-A: 1\r\nVia: 1.1 fulmar\r\n\r\n"},
        {BARE, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
         "HTTP/1.1 204 No Content\r\nVia: 1.1 fulmar\r\n\r\n"},
        {BARE, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
         "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nVia: 1.1 fulmar\r\n\r\n"},
        /* what only requests are told apart by means nothing in an answer */
        {BARE, "HTTP/1.1 200 OK\r\nHost: x\r\nForwarded: x\r\nX_Forwarded_For: y\r\n\r\n",
         "HTTP/1.1 200 OK\r\nHost: x\r\nForwarded: x\r\nX_Forwarded_For: y\r\n"
         "Via: 1.1 fulmar\r\n\r\n"},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_http_head h = parse_answer(cases[i].in);
        bool bare = cases[i].flags & BARE;
        struct fm_answer a = {
            .from_gate = cases[i].flags & FROM_GATE,
            .decoded = cases[i].flags & DECODED,
            .upgrade = cases[i].flags & SWITCHING,
            .ref = bare ? FM_STR("") : FM_STR(REF),
            .region = bare ? FM_STR("") : FM_STR("west"),
            .connection = bare ? FM_STR("") : FM_STR("Connection: close\r\n"),
        };
        struct fm_buf out = fm_buf(out_mem, sizeof out_mem);
        fm_heads_answer(&out, &h, &a);
        expect_text(&out, cases[i].out);
    }
}

/* -------- traces -------- */

static void knows_a_traceparent(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
    } cases[] = {
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", true},
        {"00-00000000000000000000000000000000-b7ad6b7169203331-01", false},
        {"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false},
        {"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
        {"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
        {"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g", false},
        {"00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01", false},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x", false},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", false},
        {"", false},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++)
        assert_int_equal(fm_heads_traceparent_ok(fm_str_z(cases[i].text)), cases[i].ok);
}

static void makes_a_traceparent(void **state)
{
    (void)state;
    char text[FM_TRACEPARENT_LEN];
    fm_heads_traceparent_new(text, 0, 0, 0); /* also of nothing: all zeros would be invalid */
    assert_true(fm_heads_traceparent_ok(fm_str(text, sizeof text)));
    fm_heads_traceparent_new(text, UINT64_MAX, 0x0123456789abcdef, 0xfedcba9876543210);
    assert_str(fm_str(text, sizeof text),
               "00-ffffffffffffffff0123456789abcdef-fedcba9876543211-00");
}

static void authority_is_filled_in_and_read(void **state)
{
    (void)state;
    struct fm_http_head h =
        parse_request("POST /c/7 HTTP/1.1\r\nHost: h\r\nFulmar-Authority: cards/1@1\r\n\r\n");
    struct fm_forward f = {.client_ip = FM_STR("192.0.2.7"),
                           .ref = FM_STR(REF),
                           .from_edge = true,
                           .authority = FM_STR("cards"),
                           .mode = FM_STR("read-only")};
    struct fm_buf out = fm_buf(out_mem, sizeof out_mem);
    struct fm_forward_at at;
    fm_heads_request(&out, &h, &f, &at);
    assert_true(at.authority > 0);
    static const uint64_t epochs[] = {0, 42, UINT64_MAX};
    for (size_t i = 0; i < FM_COUNT(epochs); i++) {
        fm_heads_set_authority(out.p + at.authority, 63, epochs[i]);
        struct fm_buf text = fm_buf(out_mem, sizeof out_mem);
        text.n = out.n;
        fm_buf_ch(&text, 0);
        struct fm_http_head sent = parse_request(text.p);
        struct fm_authority_said said;
        assert_true(fm_heads_authority(fm_http_value(&sent, FM_HDR_FULMAR_AUTHORITY), &said));
        assert_str(said.context, "cards");
        assert_int_equal(said.cell, 63);
        assert_int_equal(said.epoch, epochs[i]);
        assert_str(fm_http_value(&sent, FM_HDR_FULMAR_MODE), "read-only");
    }
    static const char *const bad[] = {"",         "cards",
                                      "cards/1",  "cards@1",
                                      "/1@1",     "cards/@1",
                                      "cards/1@", "c/1@1 ",
                                      "c/-1@1",   "c/1@-1",
                                      "c@1/1",    "c/99999999@1",
                                      "c/1@1x",   "c/1@18446744073709551616"};
    struct fm_authority_said said;
    for (size_t i = 0; i < FM_COUNT(bad); i++)
        assert_false(fm_heads_authority(fm_str_z(bad[i]), &said));
}

FM_TEST_MAIN(fm_test(authority_is_filled_in_and_read), fm_test(rewrites_requests),
             fm_test(says_via_which_version), fm_test(what_it_writes_can_be_read),
             fm_test(writes_deadlines_into_their_place), fm_test(says_where_there_is_no_room),
             fm_test(leaves_out_each_field_alone), fm_test(rewrites_answers),
             fm_test(knows_a_traceparent), fm_test(makes_a_traceparent))
