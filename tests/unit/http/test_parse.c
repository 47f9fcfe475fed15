/* Message heads: what a valid one means, and what responses are refused. Malformed requests are the
 * business of test_corpus.c. */
#include "test.h"

#include "http/parse.h"

#include <stdio.h>

static const struct fm_http_limits limits = FM_HTTP_LIMITS_DEFAULT;
static struct fm_http_field fields[FM_HTTP_FIELDS_MAX];

static enum fm_http_parse request(const char *text, struct fm_http_head *h,
                                  struct fm_http_refusal *why)
{
    struct fm_http_scan scan = {0};
    return fm_http_parse_request(&scan, text, strlen(text), &limits, fields, h, why);
}

static struct fm_http_head good_request(const char *text)
{
    struct fm_http_head h;
    struct fm_http_refusal why = {0, ""};
    if (request(text, &h, &why) != FM_PARSE_DONE)
        fail_msg("%u %s: %s", why.status, why.why, text);
    return h;
}

/* -------- requests -------- */

#define HOST "Host: a.example\r\n"

static void takes_targets_apart(void **state)
{
    (void)state;
    static const struct {
        const char *head, *host, *path, *query;
        bool absolute;
    } cases[] = {
        {"GET / HTTP/1.1\r\n" HOST "\r\n", "a.example", "/", "", false},
        {"GET /a/b?c=d?e HTTP/1.1\r\n" HOST "\r\n", "a.example", "/a/b", "?c=d?e", false},
        {"GET /a? HTTP/1.1\r\n" HOST "\r\n", "a.example", "/a", "?", false},
        {"GET //b/c HTTP/1.1\r\n" HOST "\r\n", "a.example", "//b/c", "", false},
        {"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", "a.example", "*", "", false},
        {"GET http://b:81/c?d HTTP/1.1\r\n" HOST "\r\n", "b:81", "/c", "?d", true},
        {"GET HTTPS://b HTTP/1.1\r\n" HOST "\r\n", "b", "/", "", true},
        {"GET http://b?c/d HTTP/1.1\r\n" HOST "\r\n", "b", "/", "?c/d", true},
        {"GET http://[::1]:80/ HTTP/1.1\r\n" HOST "\r\n", "[::1]:80", "/", "", true},
        {"GET / HTTP/1.0\r\n\r\n", "", "/", "", false},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_http_head h = good_request(cases[i].head);
        assert_str(h.host, cases[i].host);
        assert_str(h.path, cases[i].path);
        assert_str(h.query, cases[i].query);
        assert_int_equal(h.absolute, cases[i].absolute);
        assert_int_equal(h.size, strlen(cases[i].head));
    }
}

static void knows_methods_and_versions(void **state)
{
    (void)state;
    struct fm_http_head h = good_request("DELETE /x HTTP/1.0\r\n" HOST "\r\n");
    assert_int_equal(h.method, FM_METHOD_DELETE);
    assert_str(h.method_name, "DELETE");
    assert_str(h.target, "/x");
    assert_int_equal(h.minor, 0);
    h = good_request("delete /x HTTP/1.9\r\n" HOST "\r\n");
    assert_int_equal(h.method, FM_METHOD_OTHER);
    assert_str(h.method_name, "delete");
    assert_int_equal(h.minor, 1);
}

static void keeps_fields_in_their_order(void **state)
{
    (void)state;
    struct fm_http_head h = good_request("GET / HTTP/1.1\r\n" HOST "a:\r\nB: \t x y \t\r\na:2\r\n"
                                         "Cookie: 1\r\ncookie: 2\r\n\r\n");
    assert_int_equal(h.nfields, 6);
    assert_str(h.field[1].name, "a");
    assert_str(h.field[1].value, "");
    assert_str(h.field[2].value, "x y");
    assert_str(h.field[3].value, "2");
    assert_int_equal(h.known[FM_HDR_HOST], 0);
    assert_int_equal(h.known[FM_HDR_COOKIE], 4);
    assert_int_equal(h.known[FM_HDR_VIA], -1);
    assert_str(fm_http_value(&h, FM_HDR_COOKIE), "1");
    assert_false(fm_http_has(&h, FM_HDR_VIA));
    assert_null(fm_http_value(&h, FM_HDR_VIA).p);
}

static void derives_the_framing(void **state)
{
    (void)state;
    static const struct {
        const char *fields;
        enum fm_http_framing framing;
        uint64_t length;
    } cases[] = {
        {"", FM_BODY_NONE, 0},
        {"Content-Length: 0\r\n", FM_BODY_NONE, 0},
        {"Content-Length: 7\r\n", FM_BODY_LENGTH, 7},
        {"content-length:\t1073741824 \r\n", FM_BODY_LENGTH, 1073741824},
        {"Transfer-Encoding: CHUNKED\r\n", FM_BODY_CHUNKED, 0},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char text[256];
        snprintf(text, sizeof text, "POST / HTTP/1.1\r\n" HOST "%s\r\n", cases[i].fields);
        struct fm_http_head h = good_request(text);
        assert_int_equal(h.framing, cases[i].framing);
        assert_int_equal(h.length, cases[i].length);
    }
}

static void reads_what_the_connection_is_to_do(void **state)
{
    (void)state;
    enum { KEEP = 1, UPGRADE = 2, EXPECT = 4, TRAILERS = 8, NAMES = 16 };
    static const struct {
        const char *line_and_fields;
        unsigned flags;
    } cases[] = {
        {"GET / HTTP/1.1\r\n", KEEP},
        {"GET / HTTP/1.1\r\nConnection: Close\r\n", 0},
        {"GET / HTTP/1.1\r\nConnection: keep-alive, close\r\n", 0},
        {"GET / HTTP/1.1\r\nConnection: keep-alive\r\nConnection: close\r\n", 0},
        {"GET / HTTP/1.1\r\nConnection: x-custom\r\n", KEEP | NAMES},
        {"GET / HTTP/1.0\r\n", 0},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n", KEEP},
        {"GET / HTTP/1.1\r\nConnection: te\r\nTE: gzip, Trailers\r\n", KEEP | TRAILERS},
        {"GET / HTTP/1.1\r\nTE: trailers\r\n", KEEP},
        {"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n", KEEP | UPGRADE},
        {"GET / HTTP/1.1\r\nUpgrade: websocket\r\n", KEEP},
        {"GET / HTTP/1.1\r\nConnection: upgrade\r\n", KEEP},
        {"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n", KEEP},
        {"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket, h2c\r\n", KEEP},
        {"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n", KEEP},
        {"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n",
         KEEP},
        {"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
         "Transfer-Encoding: chunked\r\n",
         KEEP},
        {"GET / HTTP/1.0\r\nConnection: upgrade, keep-alive\r\nUpgrade: websocket\r\n", KEEP},
        {"PUT / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n", KEEP | EXPECT},
        {"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 0\r\n", KEEP},
        {"PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n", 0},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char text[256];
        snprintf(text, sizeof text, "%s" HOST "\r\n", cases[i].line_and_fields);
        struct fm_http_head h = good_request(text);
        unsigned flags = (h.keep_alive ? KEEP : 0u) | (h.upgrade ? UPGRADE : 0u) |
                         (h.expect_continue ? EXPECT : 0u) | (h.te_trailers ? TRAILERS : 0u) |
                         (h.names_fields ? NAMES : 0u);
        if (flags != cases[i].flags)
            fail_msg("%x instead of %x: %s", flags, cases[i].flags, cases[i].line_and_fields);
    }
}

static void leaves_what_follows_the_head(void **state)
{
    (void)state;
    static const char head[] = "\r\nPOST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\n";
    char text[256];
    snprintf(text, sizeof text, "%s%s", head, "abcGET / HTTP/1.1\r\n");
    assert_int_equal(good_request(text).size, sizeof head - 1);
}

/* -------- limits -------- */

static enum fm_http_parse limited(const char *text, uint32_t head_bytes, uint32_t nfields,
                                  struct fm_http_refusal *why)
{
    struct fm_http_limits l = limits;
    struct fm_http_scan scan = {0};
    struct fm_http_head h;
    l.head_bytes = head_bytes;
    l.fields = nfields;
    return fm_http_parse_request(&scan, text, strlen(text), &l, fields, &h, why);
}

static void holds_its_limits_to_the_byte(void **state)
{
    (void)state;
    static const char text[] = "GET /abc HTTP/1.1\r\n" HOST "A: b\r\n\r\nrest";
    uint32_t size = sizeof text - 1 - 4;
    struct fm_http_refusal why;
    assert_int_equal(limited(text, size, 2, &why), FM_PARSE_DONE);
    assert_int_equal(limited(text, size - 1, 2, &why), FM_PARSE_BAD);
    assert_int_equal(why.status, 431);
    assert_int_equal(limited(text, size, 1, &why), FM_PARSE_BAD);
    assert_int_equal(why.status, 431);
    assert_int_equal(limited(text, 19, 2, &why), FM_PARSE_BAD);
    assert_int_equal(why.status, 431); /* the request line is whole */
    assert_int_equal(limited(text, 18, 2, &why), FM_PARSE_BAD);
    assert_int_equal(why.status, 414);
}

static void takes_a_limit_that_shrinks_on_the_way(void **state)
{
    (void)state;
    static const char text[] = "GET /abc HTTP/1.1\r\n" HOST "A: b";
    struct fm_http_limits l = limits;
    struct fm_http_scan scan = {0};
    struct fm_http_head h;
    struct fm_http_refusal why;
    assert_int_equal(fm_http_parse_request(&scan, text, sizeof text - 1, &l, fields, &h, &why),
                     FM_PARSE_MORE);
    l.head_bytes = 10;
    assert_int_equal(fm_http_parse_request(&scan, text, sizeof text - 1, &l, fields, &h, &why),
                     FM_PARSE_BAD);
    assert_int_equal(why.status, 414);
}

static void refuses_a_long_body(void **state)
{
    (void)state;
    struct fm_http_limits l = limits;
    l.body_bytes = 10;
    struct fm_http_refusal why;
    struct fm_http_head h;
    static const char *const text[] = {"POST / HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n",
                                       "POST / HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\n"};
    struct fm_http_scan a = {0}, b = {0};
    assert_int_equal(fm_http_parse_request(&a, text[0], strlen(text[0]), &l, fields, &h, &why),
                     FM_PARSE_DONE);
    assert_int_equal(fm_http_parse_request(&b, text[1], strlen(text[1]), &l, fields, &h, &why),
                     FM_PARSE_BAD);
    assert_int_equal(why.status, 413);
}

static void asks_for_more_until_the_last_byte(void **state)
{
    (void)state;
    static const char text[] = "PUT /a HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\n";
    struct fm_http_scan scan = {0};
    struct fm_http_head h;
    struct fm_http_refusal why;
    for (size_t n = 0; n < sizeof text - 1; n++)
        assert_int_equal(fm_http_parse_request(&scan, text, n, &limits, fields, &h, &why),
                         FM_PARSE_MORE);
    assert_int_equal(fm_http_parse_request(&scan, text, sizeof text - 1, &limits, fields, &h, &why),
                     FM_PARSE_DONE);
    assert_int_equal(h.length, 3);
}

static void refuses_at_the_end_of_the_wrong_line(void **state)
{
    (void)state;
    static const char text[] = "GET / HTTP/1.1\r\nHost : a\r\nX: y\r\n\r\n";
    struct fm_http_scan scan = {0};
    struct fm_http_head h;
    struct fm_http_refusal why;
    size_t n = 1;
    while (fm_http_parse_request(&scan, text, n, &limits, fields, &h, &why) == FM_PARSE_MORE)
        n++;
    assert_int_equal(n, strlen("GET / HTTP/1.1\r\nHost : a\r\n"));
    assert_int_equal(why.status, 400);
}

/* -------- responses -------- */

static enum fm_http_parse response(const char *text, enum fm_http_method m, struct fm_http_head *h,
                                   struct fm_http_refusal *why)
{
    struct fm_http_scan scan = {0};
    return fm_http_parse_response(&scan, text, strlen(text), m, &limits, fields, h, why);
}

static void knows_where_answers_end(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum fm_http_method method;
        enum fm_http_framing framing;
        uint64_t length;
        bool keep_alive;
    } cases[] = {
        /* RFC 9112 section 6.3, rule by rule */
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", FM_METHOD_HEAD, FM_BODY_NONE, 5, true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", FM_METHOD_HEAD, FM_BODY_NONE, 0,
         true},
        {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", FM_METHOD_GET, FM_BODY_NONE, 5,
         true},
        {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", FM_METHOD_GET, FM_BODY_NONE, 5,
         true},
        {"HTTP/1.1 100 Continue\r\n\r\n", FM_METHOD_POST, FM_BODY_NONE, 0, true},
        {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
         FM_METHOD_GET, FM_BODY_NONE, 0, true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", FM_METHOD_GET, FM_BODY_CHUNKED, 0,
         true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", FM_METHOD_GET, FM_BODY_NONE, 0, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", FM_METHOD_GET, FM_BODY_LENGTH, 5, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n", FM_METHOD_GET,
         FM_BODY_LENGTH, UINT64_MAX, true},
        {"HTTP/1.1 200 OK\r\n\r\n", FM_METHOD_GET, FM_BODY_CLOSE, 0, false},
        {"HTTP/1.1 500 \r\nConnection: keep-alive\r\n\r\n", FM_METHOD_GET, FM_BODY_CLOSE, 0, false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", FM_METHOD_GET, FM_BODY_LENGTH, 5, false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", FM_METHOD_GET,
         FM_BODY_LENGTH, 5, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", FM_METHOD_GET,
         FM_BODY_LENGTH, 5, false},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_http_head h;
        struct fm_http_refusal why = {0, ""};
        if (response(cases[i].text, cases[i].method, &h, &why) != FM_PARSE_DONE)
            fail_msg("%s: %s", why.why, cases[i].text);
        if (h.framing != cases[i].framing || h.length != cases[i].length ||
            h.keep_alive != cases[i].keep_alive)
            fail_msg("%d %llu %d: %s", h.framing, (unsigned long long)h.length, h.keep_alive,
                     cases[i].text);
        assert_int_equal(h.size, strlen(cases[i].text));
    }
}

static void reads_status_lines(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        unsigned status;
        const char *text;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\n\r\n", 200, "200 OK"},
        {"HTTP/1.1 404\r\n\r\n", 404, "404"},
        {"HTTP/1.1 404 \r\n\r\n", 404, "404 "},
        {"HTTP/1.0 599 x\ty \xe9\r\n\r\n", 599, "599 x\ty \xe9"},
        {"HTTP/1.1 100 Continue\r\n\r\n", 100, "100 Continue"},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_http_head h;
        struct fm_http_refusal why;
        assert_int_equal(response(cases[i].line, FM_METHOD_GET, &h, &why), FM_PARSE_DONE);
        assert_int_equal(h.status, cases[i].status);
        assert_str(h.status_text, cases[i].text);
    }
}

static void refuses_bad_answers_with_502(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/0.9 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "<html>\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        " HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1\t200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/1.1 2:0 OK\r\n\r\n",
        "HTTP/1.1 2/0 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 600 OK\r\n\r\n",
        "HTTP/1.1 200OK\r\n\r\n",
        "HTTP/1.1 200 O\rK\r\n\r\n",
        "HTTP/1.1 200 O\x01K\r\n\r\n",
        "HTTP/1.1 200 OK\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: content-length\r\n\r\n",
    };
    for (size_t i = 0; i < FM_COUNT(bad); i++) {
        struct fm_http_head h;
        struct fm_http_refusal why = {0, NULL};
        if (response(bad[i], FM_METHOD_GET, &h, &why) != FM_PARSE_BAD)
            fail_msg("accepted: %s", bad[i]);
        assert_int_equal(why.status, 502);
        assert_non_null(why.why);
    }
}

static void bounds_the_heads_of_answers(void **state)
{
    (void)state;
    static char text[64 * 1024];
    int n = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nA: ");
    memset(text + n, 'a', sizeof text - 1 - (size_t)n);
    struct fm_http_head h;
    struct fm_http_refusal why;
    assert_int_equal(response(text, FM_METHOD_GET, &h, &why), FM_PARSE_BAD);
    assert_int_equal(why.status, 502);
}

static void answers_do_not_depend_on_pieces(void **state)
{
    (void)state;
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\nhello";
    for (size_t cut = 1; cut < sizeof text - 6; cut++) {
        struct fm_http_scan scan = {0};
        struct fm_http_head h;
        struct fm_http_refusal why;
        assert_int_equal(
            fm_http_parse_response(&scan, text, cut, FM_METHOD_GET, &limits, fields, &h, &why),
            FM_PARSE_MORE);
        assert_int_equal(fm_http_parse_response(&scan, text, sizeof text - 1, FM_METHOD_GET,
                                                &limits, fields, &h, &why),
                         FM_PARSE_DONE);
        assert_int_equal(h.size, sizeof text - 6);
        assert_int_equal(h.nfields, 2);
    }
}

FM_TEST_MAIN(fm_test(takes_targets_apart), fm_test(knows_methods_and_versions),
             fm_test(keeps_fields_in_their_order), fm_test(derives_the_framing),
             fm_test(reads_what_the_connection_is_to_do), fm_test(leaves_what_follows_the_head),
             fm_test(holds_its_limits_to_the_byte), fm_test(takes_a_limit_that_shrinks_on_the_way),
             fm_test(refuses_a_long_body), fm_test(asks_for_more_until_the_last_byte),
             fm_test(refuses_at_the_end_of_the_wrong_line), fm_test(knows_where_answers_end),
             fm_test(reads_status_lines), fm_test(refuses_bad_answers_with_502),
             fm_test(bounds_the_heads_of_answers), fm_test(answers_do_not_depend_on_pieces))
