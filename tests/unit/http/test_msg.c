/* Names and look-ups of message heads. */
#include "test.h"

#include "http/parse.h"

#include <stdio.h>

static struct fm_http_field fields[FM_HTTP_FIELDS_MAX];

static struct fm_http_head parse(const char *text)
{
    static const struct fm_http_limits limits = FM_HTTP_LIMITS_DEFAULT;
    struct fm_http_scan scan = {0};
    struct fm_http_head h;
    struct fm_http_refusal why;
    assert_int_equal(fm_http_parse_request(&scan, text, strlen(text), &limits, fields, &h, &why),
                     FM_PARSE_DONE);
    return h;
}

static const struct {
    const char *name;
    enum fm_http_field_id id;
} known[] = {
#define X(id, name) {name, FM_HDR_##id},
    FM_HTTP_FIELDS(X)
#undef X
};

static void knows_each_field_in_any_case(void **state)
{
    (void)state;
    for (size_t i = 0; i < FM_COUNT(known); i++) {
        char upper[32];
        size_t n = strlen(known[i].name);
        for (size_t j = 0; j <= n; j++)
            upper[j] = (char)(known[i].name[j] >= 'a' ? known[i].name[j] - 32 : known[i].name[j]);
        assert_int_equal(fm_http_field_id(fm_str(known[i].name, n)), known[i].id);
        assert_int_equal(fm_http_field_id(fm_str(upper, n)), known[i].id);
    }
}

static void is_no_known_field(const char *name, size_t n)
{
    enum fm_http_field_id id = fm_http_field_id(fm_str(name, n));
    if (id != FM_HDR_OTHER && id != FM_HDR_FULMAR_OTHER)
        fail_msg("%.*s is taken for field %d", (int)n, name, id);
}

/* One letter another, one less, one more: another field. */
static void knows_no_field_by_half(void **state)
{
    (void)state;
    for (size_t i = 0; i < FM_COUNT(known); i++) {
        char name[32];
        size_t n = strlen(known[i].name);
        for (size_t j = 0; j < n; j++) {
            memcpy(name, known[i].name, n + 1);
            name[j] = name[j] == '-' ? 'x' : '~';
            is_no_known_field(name, n);
            name[j] = '_';
            if (known[i].name[j] != '-')
                is_no_known_field(name, n);
        }
        is_no_known_field(known[i].name, n - 1);
        snprintf(name, sizeof name, "%sx", known[i].name);
        is_no_known_field(name, n + 1);
    }
    assert_int_equal(fm_http_field_id(FM_STR("")), FM_HDR_OTHER);
    assert_int_equal(fm_http_field_id(FM_STR("x")), FM_HDR_OTHER);
    assert_int_equal(fm_http_field_id(FM_STR("user-agent")), FM_HDR_OTHER);
}

static void sees_through_underscores(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum fm_http_field_id id;
    } cases[] = {
        {"Content_Length", FM_HDR_DISGUISED},   {"TRANSFER_ENCODING", FM_HDR_DISGUISED},
        {"x_forwarded-for", FM_HDR_DISGUISED},  {"x-forwarded_for", FM_HDR_DISGUISED},
        {"Fulmar_Authority", FM_HDR_DISGUISED}, {"fulmar_x", FM_HDR_DISGUISED},
        {"fulmar-x_y", FM_HDR_FULMAR_OTHER},    {"fulmar-new", FM_HDR_FULMAR_OTHER},
        {"fulmars-new", FM_HDR_OTHER},          {"fulmar-", FM_HDR_OTHER},
        {"content_lengths", FM_HDR_OTHER},      {"x_custom", FM_HDR_OTHER},
        {"forwarded", FM_HDR_FORWARDED},        {"idempotency_key", FM_HDR_DISGUISED},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++)
        assert_int_equal(fm_http_field_id(fm_str_z(cases[i].name)), cases[i].id);
}

static void knows_methods_by_their_case(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum fm_http_method id;
        bool safe;
    } cases[] = {
        {"GET", FM_METHOD_GET, true},          {"HEAD", FM_METHOD_HEAD, true},
        {"POST", FM_METHOD_POST, false},       {"PUT", FM_METHOD_PUT, false},
        {"DELETE", FM_METHOD_DELETE, false},   {"OPTIONS", FM_METHOD_OPTIONS, true},
        {"TRACE", FM_METHOD_TRACE, true},      {"PATCH", FM_METHOD_PATCH, false},
        {"CONNECT", FM_METHOD_CONNECT, false}, {"get", FM_METHOD_OTHER, false},
        {"GETS", FM_METHOD_OTHER, false},      {"GE", FM_METHOD_OTHER, false},
        {"", FM_METHOD_OTHER, false},          {"PROPFIND", FM_METHOD_OTHER, false},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        assert_int_equal(fm_http_method_id(fm_str_z(cases[i].name)), cases[i].id);
        assert_int_equal(fm_http_method_is_safe(cases[i].id), cases[i].safe);
    }
}

static void finds_cookies(void **state)
{
    (void)state;
    struct fm_http_head h = parse("GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1; b = 2 ;c=;d; ab=3\r\n"
                                  "X-Cookie: e=9\r\ncookie: f=\"4;5\"; a=6; g=h=i\r\n\r\n");
    static const struct {
        const char *name, *value; /* NULL: not there */
    } cases[] = {{"a", "1"},   {"ab", "3"},  {"c", ""},   {"d", NULL}, {"e", NULL},
                 {"f", "\"4"}, {"g", "h=i"}, {"A", NULL}, {"", NULL},  {"=1", NULL}};
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_str v = fm_http_cookie(&h, fm_str_z(cases[i].name));
        if (cases[i].value)
            assert_str(v, cases[i].value);
        else
            assert_null(v.p);
    }
    h = parse("GET / HTTP/1.1\r\nCookie: first=field\r\nHost: a\r\n\r\n");
    assert_str(fm_http_cookie(&h, FM_STR("first")), "field");
    h = parse("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_null(fm_http_cookie(&h, FM_STR("a")).p);
}

static void finds_fields_by_name(void **state)
{
    (void)state;
    struct fm_http_head h = parse("GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\nX-E:\r\n\r\n");
    assert_str(fm_http_find(&h, FM_STR("x-A")), "1");
    assert_str(fm_http_find(&h, FM_STR("host")), "a");
    assert_non_null(fm_http_find(&h, FM_STR("x-e")).p);
    assert_int_equal(fm_http_find(&h, FM_STR("x-e")).n, 0);
    assert_null(fm_http_find(&h, FM_STR("x")).p);
}

static void finds_connection_options(void **state)
{
    (void)state;
    struct fm_http_head h = parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-A,\r\n"
                                  "X-B: c\r\nConnection: ,x-c\r\n\r\n");
    assert_true(fm_http_connection_names(&h, FM_STR("x-a")));
    assert_true(fm_http_connection_names(&h, FM_STR("X-C")));
    assert_true(fm_http_connection_names(&h, FM_STR("keep-alive")));
    assert_false(fm_http_connection_names(&h, FM_STR("x-b")));
    assert_false(fm_http_connection_names(&h, FM_STR("")));
    h = parse("GET / HTTP/1.1\r\nConnection: x-first\r\nHost: a\r\n\r\n");
    assert_true(fm_http_connection_names(&h, FM_STR("x-first")));
    h = parse("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_false(fm_http_connection_names(&h, FM_STR("close")));
}

static void has_a_reason_for_each_status_it_sends(void **state)
{
    (void)state;
    static const unsigned sent[] = {100, 200, 204, 304, 400, 404, 405, 408, 413, 414,
                                    417, 421, 429, 431, 500, 501, 502, 503, 504, 505};
    for (size_t i = 0; i < FM_COUNT(sent); i++)
        assert_string_not_equal(fm_http_reason(sent[i]), "Unknown");
    assert_string_equal(fm_http_reason(404), "Not Found");
    assert_string_equal(fm_http_reason(599), "Unknown");
}

FM_TEST_MAIN(fm_test(knows_each_field_in_any_case), fm_test(knows_no_field_by_half),
             fm_test(sees_through_underscores), fm_test(knows_methods_by_their_case),
             fm_test(finds_cookies), fm_test(finds_fields_by_name),
             fm_test(finds_connection_options), fm_test(has_a_reason_for_each_status_it_sends))
