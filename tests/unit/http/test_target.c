/* Paths for matching and host names. */
#include "test.h"

#include "base/rand.h"
#include "http/parse.h"

static void normalises_paths(void **state)
{
    (void)state;
    static const struct {
        const char *path, *result; /* NULL: refused */
    } cases[] = {
        {"/", "/"},
        {"/a/b", "/a/b"},
        {"/a/b/", "/a/b/"},
        {"*", "*"},
        {"//", "/"},
        {"///a//b///", "/a/b/"},
        {"/./a/./b/.", "/a/b/"},
        {"/a/.", "/a/"},
        {"/.", "/"},
        {"/a/../b", "/b"},
        {"/a/..", "/"},
        {"/a/b/..", "/a/"},
        {"/a/b/../", "/a/"},
        {"/a/b/../../c", "/c"},
        {"/a//../b", "/b"},
        {"/..a/b..", "/..a/b.."},
        {"/.../a", "/.../a"},
        {"/.a/..b", "/.a/..b"},
        {"/a%2fb", "/a/b"},
        {"/a%2F%2fb", "/a/b"},
        {"/a%2f..%2fb", "/b"},
        {"/%61%62", "/ab"},
        {"/a%20b", "/a b"},
        {"/%2e%2E/a", NULL},
        {"/a/%2e%2e/b", "/b"},
        {"/a/%2e", "/a/"},
        {"/%252e%252e/a", "/%2e%2e/a"},
        {"/%252f", "/%2f"},
        {"/caf%c3%a9", "/caf\xc3\xa9"},
        {"/a;b=c/d", "/a;b=c/d"},
        {"/..", NULL},
        {"/../a", NULL},
        {"/a/../..", NULL},
        {"/a/../../b", NULL},
        {"/%00", NULL},
        {"/a%00b", NULL},
        {"/%", NULL},
        {"/%4", NULL},
        {"/%4g", NULL},
        {"/%g4", NULL},
        {"/%-1", NULL},
        {"/%%41", NULL},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char out[64];
        struct fm_str result;
        struct fm_str path = fm_str_z(cases[i].path);
        bool ok = fm_http_normalise_path(path, out, &result);
        if (ok != (cases[i].result != NULL))
            fail_msg("%s is %s", cases[i].path, ok ? "accepted" : "refused");
        if (ok && !fm_str_eqz(result, cases[i].result))
            fail_msg("%s became %.*s", cases[i].path, FM_STR_ARG(result));
    }
}

static void leaves_a_plain_path_where_it_is(void **state)
{
    (void)state;
    struct fm_str path = FM_STR("/a/b.c/d"), result;
    assert_true(fm_http_normalise_path(path, NULL, &result));
    assert_ptr_equal(result.p, path.p);
}

/* What comes out has no escape left to resolve, no empty and no dotted segment, and stays as it is
 * when it is normalised again (unless it holds a literal percent sign). */
static void normalises_once_and_for_all(void **state)
{
    (void)state;
    static const char *const pieces[] = {"/", "a", ".", "..", "%2f", "%2e", "%41", "bc", "//"};
    unsigned accepted = 0;
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        struct fm_rand r = {seed};
        char path[64] = "/", out[64], again[64];
        size_t n_path = 1;
        for (uint32_t n = fm_rand_below(&r, 10); n > 0; n--) {
            const char *piece = pieces[fm_rand_below(&r, FM_COUNT(pieces))];
            memcpy(path + n_path, piece, strlen(piece) + 1);
            n_path += strlen(piece);
        }
        struct fm_str result, twice;
        if (!fm_http_normalise_path(fm_str_z(path), out, &result))
            continue;
        accepted++;
        assert_true(result.n > 0 && result.p[0] == '/' && result.n <= strlen(path));
        struct fm_str rest = fm_str(result.p + 1, result.n - 1);
        while (rest.p) {
            struct fm_str segment = fm_str_cut(rest, '/', &rest);
            if (fm_str_eqz(segment, ".") || fm_str_eqz(segment, "..") || (rest.p && !segment.n))
                fail_msg("%s became %.*s", path, FM_STR_ARG(result));
        }
        assert_true(fm_http_normalise_path(result, again, &twice));
        if (!fm_str_eq(result, twice))
            fail_msg("%s became %.*s and then %.*s", path, FM_STR_ARG(result), FM_STR_ARG(twice));
    }
    assert_true(accepted > 5000);
}

static void takes_the_name_of_a_host(void **state)
{
    (void)state;
    static const struct {
        const char *host, *name;
    } cases[] = {
        {"a.example", "a.example"},
        {"a.example:80", "a.example"},
        {"a.example.:80", "a.example"},
        {"a.example.", "a.example"},
        {"a.example:", "a.example"},
        {"[::1]:80", "::1"},
        {"[::1]", "::1"},
        {"127.0.0.1:8080", "127.0.0.1"},
        {".", "."},
        {"", ""},
        {"[::1", ""},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++)
        assert_str(fm_http_host_name(fm_str_z(cases[i].host)), cases[i].name);
}

FM_TEST_MAIN(fm_test(normalises_paths), fm_test(leaves_a_plain_path_where_it_is),
             fm_test(normalises_once_and_for_all), fm_test(takes_the_name_of_a_host))
