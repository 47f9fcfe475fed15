/* Whatever bytes come in, nothing but a report comes out: valid files with seeded damage. More
 * rounds with FM_MUTATIONS=N; the seed of a failure is in its message. */
#include "test.h"

#include "base/buf.h"
#include "base/rand.h"
#include "conf/conf.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 1500, LONGEST = 1 << 16, FILES_MAX = 512 };

static struct {
    char *text;
    size_t n;
} files[FILES_MAX];
static size_t nfiles;

static char text[LONGEST], said[1 << 20];

static void add_files(const char *pattern)
{
    glob_t found;
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc && nfiles < FILES_MAX; i++) {
        FILE *f = fopen(found.gl_pathv[i], "r");
        assert_non_null(f);
        size_t n = fread(text, 1, sizeof text, f);
        fclose(f);
        files[nfiles].text = malloc(n + 1);
        assert_non_null(files[nfiles].text);
        memcpy(files[nfiles].text, text, n);
        files[nfiles++].n = n;
    }
    globfree(&found);
}

static void add_all(void)
{
    add_files(FM_SOURCE_ROOT "/examples/*/*.yaml");
    add_files(FM_SOURCE_ROOT "/tests/unit/conf/data/*.yaml");
    add_files(FM_SOURCE_ROOT "/tests/unit/conf/data/everything/*.yaml");
    add_files(FM_SOURCE_ROOT "/tests/unit/conf/data/everything/contexts/*.yaml");
    add_files(FM_SOURCE_ROOT "/tests/unit/conf/broken/*.yaml");
    assert_true(nfiles < FILES_MAX);
}

/* One piece of damage; n stays below LONGEST. */
static size_t damage(struct fm_rand *r, char *p, size_t n)
{
    static const char *const pieces[] = {"{",
                                         "}",
                                         "[",
                                         "]",
                                         ":",
                                         ": ",
                                         "\n",
                                         "\n  ",
                                         "- ",
                                         ",",
                                         "\"",
                                         "'",
                                         "*",
                                         "&a",
                                         "!b",
                                         "%",
                                         "@",
                                         "|\n",
                                         ">",
                                         "?",
                                         "{host}",
                                         "[1-9]",
                                         "\t",
                                         "#",
                                         "~",
                                         "null",
                                         "\xff",
                                         "\xc3\xa9",
                                         "9999999999999999999",
                                         "\r",
                                         "---\n",
                                         "<<: "};
    size_t at = fm_rand_below(r, (uint32_t)n + 1), len;
    const char *piece = pieces[fm_rand_below(r, FM_COUNT(pieces))];
    switch (fm_rand_below(r, 5)) {
    case 0: /* one byte another */
        if (at < n)
            p[at] = (char)fm_rand_below(r, 256);
        return n;
    case 1: /* a piece in */
        len = strlen(piece);
        if (n + len >= LONGEST)
            return n;
        memmove(p + at + len, p + at, n - at);
        memcpy(p + at, piece, len);
        return n + len;
    case 2: /* some bytes out */
        len = fm_min_size(fm_rand_below(r, 12), n - at);
        memmove(p + at, p + at + len, n - at - len);
        return n - len;
    case 3: /* the end off */
        return fm_rand_below(r, 8) ? n : at;
    default: /* a part twice */
        len = fm_min_size(fm_rand_below(r, 80), n - at);
        if (n + len >= LONGEST)
            return n;
        memmove(p + at + len, p + at, n - at);
        return n + len;
    }
}

static void round_of(uint64_t seed)
{
    struct fm_rand r = {seed};
    size_t from = fm_rand_below(&r, (uint32_t)nfiles), n = files[from].n;
    memcpy(text, files[from].text, n);
    for (uint32_t i = fm_rand_below(&r, 6) + 1; i > 0; i--)
        n = damage(&r, text, n);
    struct fm_conf_report report;
    struct fm_buf out = fm_buf(said, sizeof said);
    fm_conf_report_init(&report);
    struct fm_conf *c = fm_conf_parse(fm_str(text, n), "mutated.yaml", &report);
    if ((c != NULL) != (report.errors == 0))
        fail_msg("seed %llu: %zu errors and %s configuration", (unsigned long long)seed,
                 report.errors, c ? "a" : "no");
    fm_conf_report_print(&report, &out);
    fm_conf_free(c);
    fm_conf_report_deinit(&report);
}

/* One value of a sound file is refused where it is read, or is not there. */
static void with_a_bad_value(size_t file, size_t at, const char *piece)
{
    size_t n = files[file].n, len = strlen(piece);
    assert_true(n + len < LONGEST);
    memcpy(text, files[file].text, at);
    memcpy(text + at, piece, len);
    memcpy(text + at + len, files[file].text + at, n - at);
    struct fm_conf_report report;
    fm_conf_report_init(&report);
    struct fm_conf *c = fm_conf_parse(fm_str(text, n + len), "bad-value.yaml", &report);
    if ((c != NULL) != (report.errors == 0))
        fail_msg("file %zu, byte %zu, `%s`: %zu errors", file, at, piece, report.errors);
    fm_conf_free(c);
    fm_conf_report_deinit(&report);
}

static void survives_each_bad_value(void **state)
{
    (void)state;
    static const char *const pieces[] = {"!t ", "*a ", "~ #"};
    add_all();
    for (size_t file = 0; file < nfiles; file++)
        for (size_t at = 2; at < files[file].n; at++) {
            char before = files[file].text[at - 2], c = files[file].text[at - 1];
            bool begins = c == '{' || c == '[' || (c == ' ' && strchr(":,-", before) && before);
            for (size_t i = 0; begins && i < FM_COUNT(pieces); i++)
                with_a_bad_value(file, at, pieces[i]);
        }
    while (nfiles)
        free(files[--nfiles].text);
}

static void survives_damaged_files(void **state)
{
    (void)state;
    const char *more = getenv("FM_MUTATIONS");
    uint64_t rounds = ROUNDS;
    if (more)
        assert_true(fm_str_u64(fm_str_z(more), &rounds));
    add_all();
    for (uint64_t seed = 1; seed <= rounds; seed++)
        round_of(seed);
    while (nfiles)
        free(files[--nfiles].text);
}

static void survives_every_end(void **state)
{
    (void)state;
    static const char whole[] = "fulmar: 1\nservice: s\nedge: {listen: [{address: \"[::1]:80\"}]}\n"
                                "hosts: {\"w-[1-2]\": {region: w, roles: [edge]}}\n"
                                "regions: {w: {apps: {d: {dns: \"a.{region}:80\"}}}}\n"
                                "contexts:\n  c: {topology: multi-write, routes: [\"/{a}/**\"]}\n";
    for (size_t n = 0; n <= sizeof whole - 1; n++) {
        struct fm_conf_report report;
        fm_conf_report_init(&report);
        struct fm_conf *c = fm_conf_parse(fm_str(whole, n), "cut.yaml", &report);
        assert_int_equal(c != NULL, n >= sizeof whole - 2);
        fm_conf_free(c);
        fm_conf_report_deinit(&report);
    }
}

FM_TEST_MAIN(fm_test(survives_damaged_files), fm_test(survives_each_bad_value),
             fm_test(survives_every_end))
