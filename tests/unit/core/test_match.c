/* Which route a request belongs to: rows of rules and requests, and random sets of rules against an
 * oracle that looks at each of them. */
#include "test.h"

#include "base/rand.h"
#include "core/match.h"

#include <stdio.h>
#include <stdlib.h>

static const struct fm_hash_key key = {1, 2};

/* -------- rules from text -------- */

enum { RULES_MAX = 64, METHODS_MAX = 4 };

/* "[METHOD,METHOD ][host]/path" */
struct rules {
    struct fm_match_rule rule[RULES_MAX];
    struct fm_segment segment[RULES_MAX][FM_MATCH_SEGMENTS_MAX];
    struct fm_str method[RULES_MAX][METHODS_MAX];
    unsigned n;
};

static void add_rule(struct rules *t, const char *text)
{
    struct fm_str s = fm_str_z(text);
    struct fm_match_rule *r = &t->rule[t->n];
    *r = (struct fm_match_rule){
        .segments = t->segment[t->n], .methods = t->method[t->n], .route = 100 + t->n};
    const char *space = strchr(text, ' ');
    if (space) {
        struct fm_str methods = fm_str(text, (size_t)(space - text)), one;
        while (fm_str_list_next(&methods, &one))
            t->method[t->n][r->nmethods++] = one;
        s = fm_str_z(space + 1);
    }
    const char *slash = memchr(s.p, '/', s.n);
    assert_non_null(slash);
    r->host = fm_str(s.p, (size_t)(slash - s.p));
    struct fm_str rest = fm_str_z(slash + 1);
    while (rest.p && slash[1]) {
        struct fm_str one = fm_str_cut(rest, '/', &rest);
        struct fm_segment *to = &t->segment[t->n][r->nsegments++];
        to->text = one;
        to->kind = fm_str_eqz(one, "**") ? FM_SEGMENT_REST
                   : one.p[0] == '{'     ? FM_SEGMENT_NAMED
                                         : FM_SEGMENT_LITERAL;
    }
    t->n++;
}

static struct fm_match *built(const struct rules *t)
{
    void *mem = malloc(fm_match_size(t->rule, t->n));
    assert_non_null(mem);
    return fm_match_build(mem, t->rule, t->n, key);
}

/* "METHOD host/path" */
static struct fm_match_query asked(const char *text)
{
    const char *space = strchr(text, ' ');
    assert_non_null(space);
    const char *slash = strchr(space, '/');
    if (!slash)
        slash = strchr(space, '*');
    assert_non_null(slash);
    return (struct fm_match_query){.method = fm_str(text, (size_t)(space - text)),
                                   .host = fm_str(space + 1, (size_t)(slash - space - 1)),
                                   .path = fm_str_z(slash)};
}

struct row {
    const char *request;
    int rule; /* index, -1 = none, -2 = none for this method */
};

static void check(const char *const *rules, size_t nrules, const struct row *rows, size_t n)
{
    /* the order of the rules must not matter */
    for (size_t turn = 0; turn < nrules; turn++) {
        struct rules t = {.n = 0};
        for (size_t i = 0; i < nrules; i++)
            add_rule(&t, rules[(i + turn) % nrules]);
        struct fm_match *m = built(&t);
        for (size_t i = 0; i < n; i++) {
            struct fm_match_query q = asked(rows[i].request);
            struct fm_match_result out;
            fm_match_find(m, &q, &out);
            int got = out.found             ? (int)((out.route - 100 + turn) % nrules)
                      : out.method_mismatch ? -2
                                            : -1;
            if (got != rows[i].rule)
                fail_msg("%s: expected %s, got %s", rows[i].request,
                         rows[i].rule < 0 ? "none" : rules[rows[i].rule],
                         got < 0 ? "none" : rules[got]);
        }
        free(m);
    }
}

#define check_rows(rules, rows) check((rules), FM_COUNT(rules), (rows), FM_COUNT(rows))

/* -------- rows -------- */

static void a_literal_beats_a_name_beats_the_rest(void **state)
{
    (void)state;
    static const char *const rules[] = {"/a/b",    "/a/{x}", "/a/**", "/{y}/b",
                                        "/{y}/**", "/a/b/c", "/**",   "/a"};
    static const struct row rows[] = {
        {"GET h/a/b", 0},   {"GET h/a/z", 1},   {"GET h/a/z/z", 2}, {"GET h/z/b", 3},
        {"GET h/z/z", 4},   {"GET h/a/b/c", 5}, {"GET h/", 6},      {"GET h/a", 7},
        {"GET h/a/b/z", 2}, {"GET h/z", 4},     {"GET h/A", 4},     {"GET h/a/", 2},
        {"GET h/ab", 4},    {"GET h*", 6},      {"GET /a", 7},
    };
    check_rows(rules, rows);
}

static void what_does_not_fit_to_the_end_is_tried_otherwise(void **state)
{
    (void)state;
    static const char *const rules[] = {"/a/{x}/c/d", "/a/b/{y}/e", "/{z}/b/c/**", "/a/{x}/{y}/f"};
    static const struct row rows[] = {
        {"GET h/a/b/c/d", 0}, {"GET h/a/b/c/e", 1}, {"GET h/a/b/c/f", 3},
        {"GET h/a/b/c/g", 2}, {"GET h/a/b/c", 2},   {"GET h/a/b/z/d", -1},
        {"GET h/a/z/c/d", 0}, {"GET h/a/z/z/f", 3}, {"GET h/z/b/c/d/e/f/g", 2},
    };
    check_rows(rules, rows);
}

static void a_rest_may_be_empty_and_a_name_may_not(void **state)
{
    (void)state;
    static const char *const rules[] = {"/files/**", "/users/{id}", "/exact"};
    static const struct row rows[] = {
        {"GET h/files", 0},   {"GET h/files/", 0},  {"GET h/files/a//b", 0}, {"GET h/users", -1},
        {"GET h/users/", -1}, {"GET h/users/7", 1}, {"GET h/users/7/", -1},  {"GET h/exact", 2},
        {"GET h/exact/", -1}, {"GET h/", -1},       {"OPTIONS h*", -1},
    };
    check_rows(rules, rows);
}

static void the_star_of_options_is_no_path(void **state)
{
    (void)state;
    static const char *const rules[] = {"/", "/{x}"}, *const all[] = {"/", "/**"};
    static const struct row rows[] = {{"OPTIONS h*", -1}, {"OPTIONS h/", 0}},
                            rows_all[] = {{"OPTIONS h*", 1}, {"OPTIONS h/", 0}};
    check_rows(rules, rows);
    check_rows(all, rows_all);
}

static void listed_methods_beat_any_and_fall_through(void **state)
{
    (void)state;
    static const char *const rules[] = {"/a",   "GET /a", "PUT,POST /a", "DELETE /b",
                                        "/{x}", "GET /c", "GET /c/**"};
    static const struct row rows[] = {
        {"GET h/a", 1},     {"POST h/a", 2}, {"PUT h/a", 2}, {"PATCH h/a", 0},   {"DELETE h/b", 3},
        {"GET h/b", 4},     {"get h/a", 0},  {"GET h/c", 5}, {"POST h/c", 4},    {"GET h/c/d", 6},
        {"POST h/c/d", -2}, {"GET h/", -1},  {"GE h/a", 0},  {"POST h/d/d", -1},
    };
    check_rows(rules, rows);
}

static void the_host_comes_first_and_falls_through(void **state)
{
    (void)state;
    static const char *const rules[] = {
        "api.example.com/a",     "*.example.com/a",
        "*.api.example.com/a",   "/a",
        "*.example.com/b",       "/**",
        "api.example.com/{x}/z", "GET api.example.com/m",
        "*.example.com/m",
    };
    static const struct row rows[] = {
        {"GET api.example.com/a", 0},   {"GET API.Example.COM/a", 0},
        {"GET www.example.com/a", 1},   {"GET a.b.example.com/a", 1},
        {"GET x.api.example.com/a", 2}, {"GET y.x.api.example.com/a", 2},
        {"GET example.com/a", 3},       {"GET .example.com/a", 3},
        {"GET other.org/a", 3},         {"GET api.example.com/b", 4},
        {"GET x.api.example.com/b", 4}, {"GET api.example.com/c", 5},
        {"GET api.example.com/b/z", 6}, {"GET badexample.com/b", 5},
        {"GET api.example.com/m", 7},   {"POST api.example.com/m", 8},
        {"GET api.example.com./a", 3},  {"GET /a", 3},
    };
    check_rows(rules, rows);
}

static void a_host_that_is_too_long_is_any_host(void **state)
{
    (void)state;
    static const char *const rules[] = {"*.example.com/a", "/a"};
    struct rules t = {.n = 0};
    for (size_t i = 0; i < FM_COUNT(rules); i++)
        add_rule(&t, rules[i]);
    struct fm_match *m = built(&t);
    static const char tail[] = ".example.com";
    for (size_t n = 240; n < 270; n++) {
        char host[300];
        memset(host, 'x', sizeof host);
        memcpy(host + n - strlen(tail), tail, strlen(tail));
        struct fm_match_query q = {fm_str(host, n), FM_STR("GET"), FM_STR("/a")};
        struct fm_match_result out;
        fm_match_find(m, &q, &out);
        assert_true(out.found && out.route == 100u + (n > FM_MATCH_HOST_MAX));
    }
    free(m);
}

static void a_path_that_is_too_deep_is_for_the_rest_only(void **state)
{
    (void)state;
    char named[256] = "", path[256] = "";
    for (unsigned i = 0; i < FM_MATCH_SEGMENTS_MAX; i++) {
        strncat(named, "/{x}", sizeof named - strlen(named) - 1);
        strncat(path, "/s", sizeof path - strlen(path) - 1);
    }
    struct rules t = {.n = 0};
    add_rule(&t, named);
    add_rule(&t, "/s/**");
    struct fm_match *m = built(&t);
    struct fm_match_result out;
    for (unsigned more = 0; more < 8; more++) {
        struct fm_match_query q = {FM_STR("h"), FM_STR("GET"), fm_str_z(path)};
        fm_match_find(m, &q, &out);
        assert_true(out.found);
        assert_int_equal(out.route, 101); /* a literal first, also here */
        assert_int_equal(out.nsegments, FM_MATCH_SEGMENTS_MAX);
        assert_int_equal(out.deeper, more > 0);
        path[1] = 'r';
        fm_match_find(m, &q, &out);
        assert_int_equal(out.found, more == 0);
        path[1] = 's';
        strncat(path, "/s", sizeof path - strlen(path) - 1);
    }
    free(m);
}

static void segments_of_the_path_are_handed_back(void **state)
{
    (void)state;
    struct rules t = {.n = 0};
    add_rule(&t, "/cards/{card}/**");
    struct fm_match *m = built(&t);
    struct fm_match_query q = asked("GET h/cards/4711/freeze/");
    struct fm_match_result out;
    fm_match_find(m, &q, &out);
    assert_true(out.found && out.nsegments == 4 && !out.deeper);
    assert_str(out.segment[1], "4711");
    assert_str(out.segment[2], "freeze");
    assert_int_equal(out.segment[3].n, 0);
    free(m);
}

static void without_rules_nothing_is_found(void **state)
{
    (void)state;
    struct rules t = {.n = 0};
    struct fm_match *m = built(&t);
    struct fm_match_query q = asked("GET h/");
    struct fm_match_result out;
    fm_match_find(m, &q, &out);
    assert_true(!out.found && !out.method_mismatch);
    free(m);
}

/* -------- the oracle -------- */

static bool oracle_host(struct fm_str pattern, struct fm_str host)
{
    if (pattern.n == 0)
        return true;
    if (pattern.p[0] != '*')
        return fm_str_eq_nocase(pattern, host);
    size_t n = pattern.n - 1;
    return host.n > n && fm_str_eq_nocase(fm_str(pattern.p + 1, n), fm_str(host.p + host.n - n, n));
}

static bool oracle_path(const struct fm_match_rule *r, const struct fm_str *segment, unsigned n)
{
    for (unsigned i = 0; i < r->nsegments; i++) {
        if (r->segments[i].kind == FM_SEGMENT_REST)
            return true;
        if (i == n || (r->segments[i].kind == FM_SEGMENT_NAMED && segment[i].n == 0) ||
            (r->segments[i].kind == FM_SEGMENT_LITERAL &&
             !fm_str_eq(r->segments[i].text, segment[i])))
            return false;
    }
    return r->nsegments == n;
}

static bool oracle_method(const struct fm_match_rule *r, struct fm_str method)
{
    bool fits = r->nmethods == 0;
    for (unsigned i = 0; i < r->nmethods; i++)
        fits |= fm_str_eq(r->methods[i], method);
    return fits;
}

/* Of two rules that fit the same request: is a the more specific one? */
static bool oracle_beats(const struct fm_match_rule *a, const struct fm_match_rule *b)
{
    bool wild_a = a->host.n && a->host.p[0] == '*', wild_b = b->host.n && b->host.p[0] == '*';
    unsigned x = a->host.n == 0 ? 0 : wild_a ? 1 : 2, y = b->host.n == 0 ? 0 : wild_b ? 1 : 2;
    if (x != y)
        return x > y;
    if (a->host.n != b->host.n)
        return a->host.n > b->host.n;
    for (unsigned i = 0; i < a->nsegments && i < b->nsegments; i++)
        if (a->segments[i].kind != b->segments[i].kind)
            return a->segments[i].kind < b->segments[i].kind;
    if (a->nsegments != b->nsegments) /* the longer one ends in an empty rest */
        return a->nsegments < b->nsegments;
    return a->nmethods > b->nmethods;
}

static const char *pick(struct fm_rand *r, const char *const *of, unsigned n)
{
    return of[fm_rand_below(r, n)];
}

static void random_text(struct fm_rand *r, bool rule, char *out, size_t size)
{
    static const char *const hosts[] = {"",          "",        "a.com",     "b.a.com",
                                        "c.b.a.com", "*.a.com", "*.b.a.com", "*.com"};
    static const char *const asked_for[] = {"a.com", "B.a.com", "c.b.a.com", "d.b.A.com",
                                            "x.com", "org",     "b.a.com"};
    static const char *const methods[] = {"", "", "", "GET ", "POST ", "GET,PUT ", "DELETE "};
    static const char *const verbs[] = {"GET ", "POST ", "PUT ", "DELETE ", "PATCH "};
    static const char *const segments[] = {"a", "b", "c", "{x}", "{y}", "a"};
    static const char *const words[] = {"a", "b", "c", "d", ""};
    int n = rule ? snprintf(out, size, "%s%s", pick(r, methods, FM_COUNT(methods)),
                            pick(r, hosts, FM_COUNT(hosts)))
                 : snprintf(out, size, "%s%s", pick(r, verbs, FM_COUNT(verbs)),
                            pick(r, asked_for, FM_COUNT(asked_for)));
    unsigned depth = fm_rand_below(r, 5);
    for (unsigned i = 0; i < depth; i++)
        n += snprintf(out + n, size - (size_t)n, "/%s",
                      rule ? pick(r, segments, FM_COUNT(segments))
                           : pick(r, words, FM_COUNT(words)));
    if (rule && fm_rand_below(r, 3) == 0)
        n += snprintf(out + n, size - (size_t)n, "/**");
    else if (depth == 0)
        n += snprintf(out + n, size - (size_t)n, "/");
    assert_true((size_t)n < size);
}

/* Two rules that would tie are refused by whoever builds a table. */
static bool ties(const struct fm_match_rule *a, const struct fm_match_rule *b)
{
    if (!fm_str_eq(a->host, b->host) || a->nsegments != b->nsegments)
        return false;
    for (unsigned i = 0; i < a->nsegments; i++)
        if (a->segments[i].kind != b->segments[i].kind ||
            (a->segments[i].kind == FM_SEGMENT_LITERAL &&
             !fm_str_eq(a->segments[i].text, b->segments[i].text)))
            return false;
    if (a->nmethods == 0 || b->nmethods == 0)
        return a->nmethods == b->nmethods;
    for (unsigned i = 0; i < b->nmethods; i++)
        if (oracle_method(a, b->methods[i]))
            return true;
    return false;
}

static void check_query(const struct rules *t, const struct fm_match *m, const char *text)
{
    struct fm_match_query q = asked(text);
    struct fm_str segment[8], rest = fm_str(q.path.p + 1, q.path.n - 1);
    unsigned n = 0;
    while (rest.p && q.path.n > 1)
        segment[n++] = fm_str_cut(rest, '/', &rest);
    const struct fm_match_rule *best = NULL;
    bool mismatch = false;
    for (unsigned i = 0; i < t->n; i++) {
        const struct fm_match_rule *r = &t->rule[i];
        if (!oracle_host(r->host, q.host) || !oracle_path(r, segment, n))
            continue;
        if (!oracle_method(r, q.method))
            mismatch = true;
        else if (!best || oracle_beats(r, best))
            best = r;
    }
    struct fm_match_result out;
    fm_match_find(m, &q, &out);
    if (out.found != (best != NULL) || (best && out.route != best->route))
        fail_msg("%s: %d instead of %d", text, out.found ? (int)out.route : -1,
                 best ? (int)best->route : -1);
    if (!best)
        assert_int_equal(out.method_mismatch, mismatch);
}

static void a_thousand_sets_of_rules_agree_with_the_oracle(void **state)
{
    (void)state;
    static char text[RULES_MAX][128];
    unsigned found = 0;
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        struct fm_rand r = {seed};
        static struct rules t;
        t.n = 0;
        unsigned wanted = fm_rand_below(&r, 40);
        for (unsigned i = 0; i < wanted; i++) {
            random_text(&r, true, text[t.n], sizeof text[0]);
            add_rule(&t, text[t.n]);
            for (unsigned k = 0; k + 1 < t.n; k++)
                if (ties(&t.rule[k], &t.rule[t.n - 1])) {
                    t.n--;
                    break;
                }
        }
        struct fm_match *m = built(&t);
        for (int k = 0; k < 300; k++) {
            char query[128];
            random_text(&r, false, query, sizeof query);
            check_query(&t, m, query);
            found++;
        }
        free(m);
    }
    assert_true(found > 100000);
}

FM_TEST_MAIN(fm_test(a_literal_beats_a_name_beats_the_rest),
             fm_test(what_does_not_fit_to_the_end_is_tried_otherwise),
             fm_test(a_rest_may_be_empty_and_a_name_may_not),
             fm_test(the_star_of_options_is_no_path),
             fm_test(listed_methods_beat_any_and_fall_through),
             fm_test(the_host_comes_first_and_falls_through),
             fm_test(a_host_that_is_too_long_is_any_host),
             fm_test(a_path_that_is_too_deep_is_for_the_rest_only),
             fm_test(segments_of_the_path_are_handed_back), fm_test(without_rules_nothing_is_found),
             fm_test(a_thousand_sets_of_rules_agree_with_the_oracle))
