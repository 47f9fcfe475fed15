/* The key of a request, by rows: what is found, and what is refused because somebody could read it
 * in another way. JSON has its own file. */
#include "test.h"

#include "core/key.h"

#include <stdio.h>

static const char *const outcomes[] = {
    [FM_KEY_FOUND] = "found",         [FM_KEY_MISSING] = "missing",
    [FM_KEY_REPEATED] = "repeated",   [FM_KEY_TOO_LONG] = "too long",
    [FM_KEY_MALFORMED] = "malformed", [FM_KEY_OUT_OF_REACH] = "out of reach",
};

/* `want` is the key, or "!" and the outcome. */
static void check(const char *row, const struct fm_key_spec *spec, const struct fm_key_request *rq,
                  const char *want)
{
    struct fm_key key;
    memset(&key, 0xaa, sizeof key);
    enum fm_key_outcome outcome = fm_key_find(spec, rq, &key);
    struct fm_str said = outcome == FM_KEY_FOUND ? fm_key_str(&key) : fm_str_z(outcomes[outcome]);
    bool bad = want[0] == '!';
    if (bad != (outcome != FM_KEY_FOUND) || !fm_str_eqz(said, want + bad))
        fail_msg("%s: %s%.*s, not %s", row, bad ? "" : "!", FM_STR_ARG(said), want);
    assert_int_equal(key.n > 0, outcome == FM_KEY_FOUND);
    assert_int_equal(fm_key_problem(outcome) == FM_PROBLEM_NONE, outcome == FM_KEY_FOUND);
}

struct row {
    const char *text, *want;
};

/* -------- path -------- */

static void from_the_path(void **state)
{
    (void)state;
    struct fm_str segment[] = {FM_STR("cards"), FM_STR("4711"), FM_STR("M\xc3\xbcller & Co"),
                               FM_STR(""),      FM_STR("a\nb"), FM_STR("\xff")};
    static const char *const want[] = {
        "cards", "4711", "M\xc3\xbcller & Co", "!missing", "!malformed", "!malformed", "!missing"};
    struct fm_key_request rq = {
        .path = FM_STR("/as/it/was"), .segment = segment, .nsegments = FM_COUNT(segment)};
    for (unsigned i = 0; i < FM_COUNT(want); i++) {
        struct fm_key_spec spec = {.from = FM_KEY_PATH, .segment = i};
        check("a segment", &spec, &rq, want[i]);
    }
}

/* The segments are what we made of the path. Who gets the path must not make others of it. */
static void only_of_a_path_that_everybody_reads_alike(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"/cards/17", "17"},
        {"/cards/17/", "17"},
        {"/cards/%31%37/x", "17"},
        {"/cards/17/a.b/...", "17"},
        {"/cards/17/a+b%20c", "17"},
        {"/cards/%2e%2e%2e", "17"},
        {"//cards/17", "!malformed"},
        {"/cards//17", "!malformed"},
        {"/cards/17//", "!malformed"},
        {"/cards/./17", "!malformed"},
        {"/cards/18/../17", "!malformed"},
        {"/cards/17/..", "!malformed"},
        {"/cards/17/.", "!malformed"},
        {"/cards/18/%2e%2E/17", "!malformed"},
        {"/cards/18/.%2e/17", "!malformed"},
        {"/cards/%2E/17", "!malformed"},
        {"/cards/17/..;/18", "!malformed"},
        {"/cards/17;v=1", "!malformed"},
        {"/cards/17%3bv=1", "!malformed"},
        {"/cards/17\\..\\18", "!malformed"},
        {"/cards/17%5c18", "!malformed"},
        {"/cards%2f17", "!malformed"},
        {"/cards/17%2F18", "!malformed"},
        {"/cards/17%", "!malformed"},
        {"/cards/17%0", "!malformed"},
        {"/cards/17%00", "!malformed"},
        {"/cards/17%zz", "!malformed"},
        {"*", "!malformed"},
        {"", "!malformed"},
    };
    struct fm_str segment[] = {FM_STR("cards"), FM_STR("17")};
    struct fm_key_spec spec = {.from = FM_KEY_PATH, .segment = 1};
    for (size_t i = 0; i < FM_COUNT(rows); i++) {
        struct fm_key_request rq = {
            .path = fm_str_z(rows[i].text), .segment = segment, .nsegments = 2};
        check(rows[i].text, &spec, &rq, rows[i].want);
    }
}

static void keys_have_a_longest(void **state)
{
    (void)state;
    char text[FM_KEY_MAX + 1];
    memset(text, 'k', sizeof text);
    struct fm_str segment[] = {fm_str(text, FM_KEY_MAX), fm_str(text, FM_KEY_MAX + 1)};
    struct fm_key_request rq = {.path = FM_STR("/"), .segment = segment, .nsegments = 2};
    struct fm_key_spec spec = {.from = FM_KEY_PATH};
    struct fm_key key;
    assert_int_equal(fm_key_find(&spec, &rq, &key), FM_KEY_FOUND);
    assert_true(fm_str_eq(fm_key_str(&key), segment[0]));
    spec.segment = 1;
    assert_int_equal(fm_key_find(&spec, &rq, &key), FM_KEY_TOO_LONG);
    assert_int_equal(key.n, 0);
}

/* -------- header and cookie -------- */

/* As in src/http: more behind the two strings. */
struct field {
    struct fm_str name, value;
    uint8_t id;
};

/* "Name: value" lines. */
static struct fm_key_request fields_of(const char *text, struct field *mem, unsigned max)
{
    struct fm_key_request rq = {.fields = mem, .stride = sizeof *mem};
    struct fm_str rest = fm_str_z(text);
    while (rest.n) {
        struct fm_str value, line = fm_str_cut(rest, '\n', &rest);
        assert_true(rq.nfields < max);
        struct fm_str name = fm_str_cut(line, ':', &value);
        mem[rq.nfields++] = (struct field){name, fm_str_trim(value), 77};
    }
    return rq;
}

static void check_fields(const struct fm_key_spec *spec, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct field mem[8];
        struct fm_key_request rq = fields_of(rows[i].text, mem, FM_COUNT(mem));
        check(rows[i].text, spec, &rq, rows[i].want);
    }
}

static void from_a_header(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"X-Tenant: acme", "acme"},
        {"Host: a\nx-tenant:   acme \nAccept: b", "acme"},
        {"X-TENANT: Acme", "Acme"},
        {"X-Tenant: two words", "two words"},
        {"", "!missing"},
        {"X-Tenants: acme", "!missing"},
        {"X-Tenant:", "!missing"},
        {"X-Tenant: a\nX-Tenant: b", "!repeated"},
        {"X-Tenant: a\nx-tenant: a", "!repeated"},
        {"X-Tenant:\nX-Tenant: b", "!repeated"},
        {"X-Tenant: a, b", "!repeated"},
        {"X-Tenant: a,", "!repeated"},
        {"X_Tenant: a", "!malformed"},
        {"X-Tenant: a\nX_Tenant: a", "!repeated"},
        {"X_Tenant: a\nX-Tenant: a", "!malformed"},
        {"X-Tenant: a\tb", "!malformed"},
        {"X-Tenant: \xe9", "!malformed"}, /* Latin-1 to some, broken UTF-8 to others */
    };
    struct fm_key_spec spec = {.from = FM_KEY_HEADER, .name = {FM_STR("x-tenant")}, .nnames = 1};
    check_fields(&spec, rows, FM_COUNT(rows));
}

static void from_a_cookie(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"Cookie: tenant=acme", "acme"},
        {"Cookie: a=1; tenant=acme; b=2", "acme"},
        {"Cookie: a=1;tenant=acme;b=2", "acme"},
        {"Cookie: a=1\nCookie: tenant=acme", "acme"},
        {"cookie: tenant=a=b", "a=b"},
        {"Cookie: tenant=a%20b", "a%20b"}, /* as it was sent */
        {"Cookie: tenant=", "!missing"},
        {"Cookie: tenant", "!missing"},
        {"Cookie: xtenant=a; tenantx=b", "!missing"},
        {"X-Cookie: tenant=a", "!missing"},
        {"Cookie: tenant=a; tenant=b", "!repeated"},
        {"Cookie: tenant=a\nCookie: tenant=a", "!repeated"},
        {"Cookie: tenant=; tenant=a", "!repeated"},
        {"Cookie: Tenant=a", "!malformed"},
        {"Cookie: tenant=\"a\"", "!malformed"},
        {"Cookie: tenant=a b", "!malformed"},
        {"Cookie: tenant =a", "!malformed"},
        {"Cookie: tenant= a", "!malformed"},
        {"Cookie: tenant=a,b", "!malformed"},
        {"Cookie: tenant=a\\b", "!malformed"},
        {"Cookie: ;;; ; tenant=a;", "a"},
    };
    struct fm_key_spec spec = {.from = FM_KEY_COOKIE, .name = {FM_STR("tenant")}, .nnames = 1};
    check_fields(&spec, rows, FM_COUNT(rows));
}

/* -------- query -------- */

static void from_the_query(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"?tenant=acme", "acme"},
        {"tenant=acme", "acme"},
        {"?a=1&tenant=acme&b=2", "acme"},
        {"?tenant=a%26b", "a&b"},
        {"?tenant=a+b%2B", "a b+"},
        {"?tenant=M%C3%BCller", "M\xc3\xbcller"},
        {"?%74enant=a", "a"},
        {"?tenant=a=b", "a=b"},
        {"?&&tenant=a&&", "a"},
        {"?a=1;b=2&tenant=x", "x"}, /* the semicolon is beside others */
        {"", "!missing"},
        {"?", "!missing"},
        {"?tenant", "!missing"},
        {"?tenant=", "!missing"},
        {"?tenants=a&xtenant=b", "!missing"},
        {"?%zzenant=a", "!missing"},
        {"?tenant=a&tenant=b", "!repeated"},
        {"?tenant=a&tenant=a", "!repeated"},
        {"?tenant=a&%74enant=b", "!repeated"},
        {"?tenant&tenant=b", "!repeated"},
        {"?Tenant=a", "!malformed"},
        {"?tenant=a;b=1", "!malformed"},
        {"?b=1;tenant=a", "!malformed"},
        {"?tenant=a;tenant=b", "!malformed"},
        {"?tenant=%", "!malformed"},
        {"?tenant=%4", "!malformed"},
        {"?tenant=%4g", "!malformed"},
        {"?tenant=%00", "!malformed"},
        {"?tenant=a%0a", "!malformed"},
        {"?tenant=%1f", "!malformed"},
        {"?tenant=%7f", "!malformed"},
        {"?tenant=%ff", "!malformed"},
        {"?tenant=%c0%af", "!malformed"},
        {"?tenant=%c2%80", "!malformed"}, /* a control character of Latin-1 */
    };
    struct fm_key_spec spec = {.from = FM_KEY_QUERY, .name = {FM_STR("tenant")}, .nnames = 1};
    for (size_t i = 0; i < FM_COUNT(rows); i++) {
        struct fm_key_request rq = {.query = fm_str_z(rows[i].text)};
        check(rows[i].text, &spec, &rq, rows[i].want);
    }
}

static void escapes_do_not_count_as_three(void **state)
{
    (void)state;
    char text[8 + 3 * (FM_KEY_MAX + 1)];
    struct fm_key_spec spec = {.from = FM_KEY_QUERY, .name = {FM_STR("tenant")}, .nnames = 1};
    struct fm_key key;
    memcpy(text, "?tenant=", 8);
    for (unsigned i = 0; i < FM_KEY_MAX + 1; i++)
        memcpy(text + 8 + 3 * i, "%41", 3);
    struct fm_key_request rq = {.query = fm_str(text, sizeof text - 3)};
    assert_int_equal(fm_key_find(&spec, &rq, &key), FM_KEY_FOUND);
    assert_int_equal(key.n, FM_KEY_MAX);
    rq.query.n += 3;
    assert_int_equal(fm_key_find(&spec, &rq, &key), FM_KEY_TOO_LONG);
}

/* -------- claims -------- */

static void from_a_claim(void **state)
{
    (void)state;
#define HEAD "eyJhbGciOiJFUzI1NiJ9."
    static const struct row rows[] = {
        /* {"tenant":"acme"} */
        {"Authorization: Bearer " HEAD "eyJ0ZW5hbnQiOiJhY21lIn0.c2ln", "acme"},
        {"authorization: bearer   " HEAD "eyJ0ZW5hbnQiOiJhY21lIn0.c2ln", "acme"},
        /* {"sub":"x","tenant":42} */
        {"Authorization: Bearer " HEAD "eyJzdWIiOiJ4IiwidGVuYW50Ijo0Mn0.c2ln", "42"},
        /* {"tenant":"\xff?>~"} but as UTF-8: {"tenant":"\u00ff?>~"}, with - and _ in it */
        {"Authorization: Bearer " HEAD "eyJ0ZW5hbnQiOiLDvz8-fiJ9.c2ln", "\xc3\xbf?>~"},
        {"", "!missing"},
        {"Authorization: Basic dXNlcjpwYXNz", "!missing"},
        /* {} */
        {"Authorization: Bearer " HEAD "e30.c2ln", "!missing"},
        /* {"tenant":"a","tenant":"b"} */
        {"Authorization: Bearer " HEAD "eyJ0ZW5hbnQiOiJhIiwidGVuYW50IjoiYiJ9.c2ln", "!repeated"},
        {"Authorization: Bearer " HEAD "eyJ0ZW5hbnQiOiJhY21lIn0.c2ln\n"
         "Authorization: Bearer " HEAD "eyJ0ZW5hbnQiOiJhY21lIn0.c2ln",
         "!repeated"},
        {"Authorization: Bearer opaque", "!malformed"},
        {"Authorization: Bearer", "!malformed"},
        {"Authorization: Bearer " HEAD "eyJ0ZW5hbnQiOiJhY21lIn0", "!malformed"},
        {"Authorization: Bearer " HEAD "eyJ0ZW5hbnQiOiJhY21lIn0.", "!malformed"}, /* alg none */
        {"Authorization: Bearer " HEAD "a.b.c.d", "!malformed"},                  /* encrypted */
        {"Authorization: Bearer " HEAD "eyJ0ZW5hbnQiOiJhY21lIn0=.c2ln", "!malformed"},
        {"Authorization: Bearer " HEAD "eyJ0ZW5hbnQiOiJhY21lIn1.c2ln",
         "!malformed"}, /* bits left */
        {"Authorization: Bearer " HEAD "eyJ0 ZW5hbnQiOiJhY21lIn0.c2ln", "!malformed"},
        {"Authorization: Bearer " HEAD "eyJ0ZW5hbnQiOiLDvz8+fiJ9.c2ln", "!malformed"},
        {"Authorization: Bearer " HEAD "eyJ0ZW5hbnQiOiJhY21lIn0.c2ln.c2ln", "!malformed"},
        {"Authorization: Bearer " HEAD "x.c2ln", "!malformed"},
        {"Authorization: Bearer " HEAD "eyJ0ZW5hbnQiOiJhY21lIn0gA.c2ln", "!malformed"}, /* 6 bits */
    };
    struct fm_key_spec spec = {.from = FM_KEY_CLAIM, .name = {FM_STR("tenant")}, .nnames = 1};
    check_fields(&spec, rows, FM_COUNT(rows));
}

static void a_token_has_a_largest(void **state)
{
    (void)state;
    static char token[64 + (FM_KEY_CLAIMS_MAX / 3 + 1) * 4];
    struct fm_key_spec spec = {.from = FM_KEY_CLAIM, .name = {FM_STR("tenant")}, .nnames = 1};
    struct field f = {FM_STR("Authorization"), {token, 0}, 0};
    struct fm_key_request rq = {.fields = &f, .stride = sizeof f, .nfields = 1};
    struct fm_key key;
    for (unsigned groups = FM_KEY_CLAIMS_MAX / 3; groups <= FM_KEY_CLAIMS_MAX / 3 + 1; groups++) {
        /* blanks to the brim, and then {"tenant":"acme"} with one more blank in 18 bytes */
        size_t n = (size_t)snprintf(token, sizeof token, "Bearer e30.");
        for (unsigned i = 0; i + 6 < groups; i++, n += 4)
            memcpy(token + n, "ICAg", 4);
        memcpy(token + n, "eyJ0ZW5hbnQiOiJhY21lIn0g.c2ln", 29);
        f.value.n = n + 29;
        bool fits = groups == FM_KEY_CLAIMS_MAX / 3;
        assert_int_equal(fm_key_find(&spec, &rq, &key), fits ? FM_KEY_FOUND : FM_KEY_OUT_OF_REACH);
        assert_str(fm_key_str(&key), fits ? "acme" : "");
    }
}

/* -------- the rest -------- */

static void from_the_body(void **state)
{
    (void)state;
    struct fm_key_spec spec = {.from = FM_KEY_BODY};
    assert_true(fm_key_split(FM_STR("order.customer"), &spec));
    struct fm_key_request rq = {.body = FM_STR("{\"order\": {\"customer\": \"acme\"}}")};
    check("a body", &spec, &rq, "acme");
    rq.body_cut = true; /* another one may stand behind what was kept */
    check("a body that was cut", &spec, &rq, "!out of reach");
}

static void names_are_split_at_dots(void **state)
{
    (void)state;
    struct fm_key_spec spec;
    assert_true(fm_key_split(FM_STR("a"), &spec));
    assert_int_equal(spec.nnames, 1);
    assert_true(fm_key_split(FM_STR("a.bc.d"), &spec));
    assert_int_equal(spec.nnames, 3);
    assert_str(spec.name[1], "bc");
    assert_true(fm_key_split(FM_STR("1.2.3.4.5.6.7.8"), &spec));
    static const char *const bad[] = {"", ".", "a.", ".a", "a..b", "1.2.3.4.5.6.7.8.9"};
    for (size_t i = 0; i < FM_COUNT(bad); i++)
        assert_false(fm_key_split(fm_str_z(bad[i]), &spec));
}

static void each_outcome_has_its_problem(void **state)
{
    (void)state;
    for (unsigned a = FM_KEY_MISSING; a <= FM_KEY_OUT_OF_REACH; a++) {
        assert_int_not_equal(fm_key_problem(a), FM_PROBLEM_NONE);
        for (unsigned b = FM_KEY_FOUND; b < a; b++)
            assert_int_not_equal(fm_key_problem(a), fm_key_problem(b));
    }
}

FM_TEST_MAIN(fm_test(from_the_path), fm_test(only_of_a_path_that_everybody_reads_alike),
             fm_test(keys_have_a_longest), fm_test(from_a_header), fm_test(from_a_cookie),
             fm_test(from_the_query), fm_test(escapes_do_not_count_as_three), fm_test(from_a_claim),
             fm_test(a_token_has_a_largest), fm_test(from_the_body),
             fm_test(names_are_split_at_dots), fm_test(each_outcome_has_its_problem))
