/* Pin lists and directories from files: right ones, broken ones with what is said of each word for
 * word (homes/broken/NAME.csv and NAME.expected; FM_UPDATE_EXPECTED=1 writes what is said now: read
 * the difference), and right ones with seeded damage against a second reader of the format. */
#include "test.h"

#include "base/buf.h"
#include "base/rand.h"
#include "homes/tenants.h"

#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINES_MAX = 200, LEAST_FILES = 20, ROUNDS = 3000, LONGEST = 1 << 14 };

/* cells 0 and 2 at home in west, 1 and 3 in north, none in south */
static const uint8_t home[] = {0, 1, 0, 1};
static const struct fm_str regions[] = {FM_STR_INIT("west"), FM_STR_INIT("north"),
                                        FM_STR_INIT("south")};

static struct fm_conf_report report;
static char said_mem[1 << 18], expected_mem[1 << 18];

static struct fm_tenants_spec spec_of(const char *path)
{
    return (struct fm_tenants_spec){.path = path,
                                    .lines_max = LINES_MAX,
                                    .cells = FM_COUNT(home),
                                    .home = home,
                                    .regions = regions,
                                    .nregions = FM_COUNT(regions)};
}

/* -------- files of a test -------- */

static char folder[] = "/tmp/fm-tenants-XXXXXX", path[64];

static int setup(void **state)
{
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/tenants.csv", folder);
    return fm_test_fds_before(state);
}

static int teardown(void **state)
{
    unlink(path);
    rmdir(folder);
    return fm_test_fds_after(state);
}

static void write_file(const char *name, struct fm_str text)
{
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text.p, 1, text.n, f), text.n);
    assert_int_equal(fclose(f), 0);
}

static struct fm_tenants *load(const char *text)
{
    struct fm_tenants_spec spec = spec_of(path);
    write_file(path, fm_str_z(text));
    fm_conf_report_init(&report);
    struct fm_tenants *t = fm_tenants_load(&spec, &report);
    assert_int_equal(report.errors == 0, t != NULL);
    fm_conf_report_deinit(&report);
    return t;
}

/* -------- what is right -------- */

static uint32_t find(const struct fm_tenants *t, const char *key)
{
    return fm_directory_find(&t->directory, fm_str_z(key));
}

static void finds_what_the_file_says(void **state)
{
    (void)state;
    struct fm_tenants *t = load("acme,0\nbeta,3\n\"a,b\",1\n\"say \"\"hi\"\"\",2\n\" x \",\"1\"\n"
                                "M\xc3\xbcller GmbH,2\nkey with blanks,1\n#7,0\n");
    assert_non_null(t);
    assert_int_equal(t->directory.n, 8);
    assert_int_equal(find(t, "acme"), 0);
    assert_int_equal(find(t, "beta"), 3);
    assert_int_equal(find(t, "a,b"), 1);
    assert_int_equal(find(t, "say \"hi\""), 2);
    assert_int_equal(find(t, " x "), 1);
    assert_int_equal(find(t, "M\xc3\xbcller GmbH"), 2);
    assert_int_equal(find(t, "key with blanks"), 1);
    assert_int_equal(find(t, "#7"), 0);
    assert_int_equal(find(t, "x"), FM_DIRECTORY_ABSENT);
    assert_int_equal(find(t, "ACME"), FM_DIRECTORY_ABSENT);
    fm_tenants_free(t);
}

static void a_region_is_one_of_its_cells(void **state)
{
    (void)state;
    struct fm_tenants *t = load("acme,west\nbeta,north\n4711,\"west\"\n");
    assert_non_null(t);
    static const struct {
        const char *key;
        unsigned region;
    } want[] = {{"acme", 0}, {"beta", 1}, {"4711", 0}};
    for (size_t i = 0; i < FM_COUNT(want); i++) {
        uint32_t cell = 99;
        assert_true(fm_cell_at_home(fm_cell_hash(fm_str_z(want[i].key)), home, FM_COUNT(home),
                                    want[i].region, &cell));
        assert_int_equal(find(t, want[i].key), cell);
    }
    fm_tenants_free(t);
}

static void takes_the_ends_of_lines_of_both_worlds(void **state)
{
    (void)state;
    struct fm_tenants *t = load("\xef\xbb\xbf"
                                "acme,1\r\nbeta,2\r\n");
    assert_non_null(t);
    assert_int_equal(find(t, "acme"), 1);
    assert_int_equal(find(t, "beta"), 2);
    fm_tenants_free(t);
}

static uint64_t digest_of(const char *text)
{
    struct fm_tenants *t = load(text);
    assert_non_null(t);
    uint64_t digest = t->digest;
    fm_tenants_free(t);
    return digest;
}

static void the_digest_is_of_the_content(void **state)
{
    (void)state;
    uint64_t digest = digest_of("acme,1\nbeta,2\n4711,3\n");
    assert_int_equal(digest, digest_of("4711,3\r\n\"beta\",2\r\nacme,1\r\n"));
    assert_int_not_equal(digest, digest_of("acme,1\nbeta,2\n4711,2\n"));
    assert_int_not_equal(digest, digest_of("acme,2\nbeta,1\n4711,3\n"));
    assert_int_not_equal(digest, digest_of("acme,1\nbeta,2\n4712,3\n"));
    assert_int_not_equal(digest, digest_of("acme,1\nbeta,2\n"));
    assert_int_equal(digest_of("acme,1\n"), UINT64_C(0x39cdf9fa2586cd27));
}

static void as_many_lines_as_allowed_fit(void **state)
{
    (void)state;
    char text[LINES_MAX * 16];
    struct fm_buf b = fm_buf(text, sizeof text - 1);
    for (unsigned i = 0; i < LINES_MAX; i++)
        fm_buf_printf(&b, "tenant-%u,%u\n", i, i % 4);
    text[b.n] = 0;
    struct fm_tenants *t = load(text);
    assert_non_null(t);
    for (unsigned i = 0; i < LINES_MAX + 20; i++) {
        char key[24];
        snprintf(key, sizeof key, "tenant-%u", i);
        assert_int_equal(find(t, key), i < LINES_MAX ? i % 4 : FM_DIRECTORY_ABSENT);
    }
    fm_tenants_free(t);
}

/* -------- what is wrong -------- */

static struct fm_str report_of(const char *file)
{
    struct fm_tenants_spec spec = spec_of(file);
    struct fm_buf out = fm_buf(said_mem, sizeof said_mem);
    fm_conf_report_init(&report);
    struct fm_tenants *t = fm_tenants_load(&spec, &report);
    assert_null(t);
    assert_true(report.errors > 0);
    fm_conf_report_print(&report, &out);
    fm_conf_report_deinit(&report);
    assert_false(out.full);
    return fm_buf_str(&out);
}

static bool check(const char *file)
{
    char name[128];
    struct fm_str said = report_of(file);
    snprintf(name, sizeof name, "%.*s.expected", (int)(strlen(file) - 4), file);
    if (getenv("FM_UPDATE_EXPECTED"))
        write_file(name, said);
    FILE *f = fopen(name, "r");
    size_t n = f ? fread(expected_mem, 1, sizeof expected_mem, f) : 0;
    if (f)
        fclose(f);
    bool good = fm_str_eq(said, fm_str(expected_mem, n));
    if (!good)
        print_error("%s\n--- expected\n%.*s--- said\n%.*s", file, (int)n, expected_mem,
                    FM_STR_ARG(said));
    return good;
}

static void says_what_is_wrong_and_where(void **state)
{
    (void)state;
    glob_t files;
    size_t bad = 0;
    assert_int_equal(chdir(FM_SOURCE_ROOT "/tests/unit/homes/broken"), 0);
    assert_int_equal(glob("*.csv", 0, NULL, &files), 0);
    assert_true(files.gl_pathc >= LEAST_FILES);
    for (size_t i = 0; i < files.gl_pathc; i++)
        bad += !check(files.gl_pathv[i]);
    globfree(&files);
    if (bad)
        fail_msg("%zu reports differ", bad);
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    assert_non_null(strstr(report_of("/nowhere/tenants.csv").p, "No such file"));
    assert_non_null(strstr(report_of(folder).p, "it is a folder"));
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_non_null(strstr(report_of(path).p, "it is not a regular file"));
}

static void a_load_can_be_stopped(void **state)
{
    (void)state;
    _Atomic bool stop = true;
    struct fm_tenants_spec spec = spec_of(path);
    spec.stop = &stop;
    write_file(path, FM_STR("acme,1\n"));
    fm_conf_report_init(&report);
    assert_null(fm_tenants_load(&spec, &report));
    assert_int_equal(report.errors, 1);
    fm_conf_report_deinit(&report);
    stop = false;
    fm_conf_report_init(&report);
    struct fm_tenants *t = fm_tenants_load(&spec, &report);
    assert_non_null(t);
    fm_conf_report_deinit(&report);
    fm_tenants_free(t);
}

/* A file that says it is empty and gives more, as one does that grows meanwhile. */
static void a_file_that_grows_is_refused(void **state)
{
    (void)state;
    assert_non_null(strstr(report_of("/proc/self/status").p, "changed while it was read"));
}

/* Lines over the end of a chunk of reading, and one that is longer than several chunks. */
static void long_files_and_endless_lines(void **state)
{
    (void)state;
    struct fm_tenants_spec spec = spec_of(path);
    spec.lines_max = 1000000;
    for (int bad = 0; bad < 2; bad++) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        for (unsigned i = 0; i < 150000; i++)
            fprintf(f, "%0*u,%u\n", 10 + (int)(i % 7), i, i % 4);
        if (bad)
            for (unsigned i = 0; i < 3 << 20; i++)
                fputc('x', f);
        fprintf(f, ",1\n");
        if (!bad) {
            fseek(f, -3, SEEK_END);
            fprintf(f, "z,1\n");
        }
        fclose(f);
        fm_conf_report_init(&report);
        struct fm_tenants *t = fm_tenants_load(&spec, &report);
        assert_int_equal(t == NULL, bad);
        for (unsigned i = 0; t && i < 150000; i++) {
            char key[24];
            snprintf(key, sizeof key, "%0*u", 10 + (int)(i % 7), i);
            assert_int_equal(find(t, key), i % 4);
        }
        if (bad) {
            assert_int_equal(report.errors, 1);
            assert_int_equal(report.finding[0].pos.line, 150001);
            assert_non_null(strstr(report.finding[0].what, "more than 1024 bytes"));
        }
        fm_tenants_free(t);
        fm_conf_report_deinit(&report);
    }
}

/* -------- damage -------- */

static char text[LONGEST];

/* A second reader, simpler and slower: only what is surely right, without quotes. */
struct naive {
    struct fm_str key;
    uint32_t cell;
};

static bool naive_read(struct fm_str file, struct naive *out, size_t *n)
{
    *n = 0;
    while (file.n) {
        struct fm_str where, line = fm_str_cut(file, '\n', &file);
        if (!file.p || *n == LINES_MAX)
            return false;
        struct fm_str key = fm_str_cut(line, ',', &where);
        uint64_t cell;
        if (key.n == 0 || key.n > 255 || !fm_str_u64(where, &cell) || cell >= FM_COUNT(home) ||
            key.n != fm_str_trim(key).n)
            return false;
        for (size_t i = 0; i < key.n; i++)
            if (key.p[i] < ' ' || key.p[i] > '~' || key.p[i] == '"')
                return false;
        for (size_t i = 0; i < *n; i++)
            if (fm_str_eq(out[i].key, key))
                return false;
        out[(*n)++] = (struct naive){key, (uint32_t)cell};
    }
    return *n > 0;
}

static size_t damage(struct fm_rand *r, size_t n)
{
    static const char *const pieces[] = {",", "\n",   "\"",       "\"\"", ",1\n", "\r\n",    " ",
                                         "9", "west", "\xc3\xa9", "\xff", "\t",   "acme,1\n"};
    size_t at = fm_rand_below(r, (uint32_t)n + 1), len;
    const char *piece = pieces[fm_rand_below(r, FM_COUNT(pieces))];
    switch (fm_rand_below(r, 4)) {
    case 0:
        if (at < n)
            text[at] = (char)fm_rand_below(r, 256);
        return n;
    case 1:
        len = strlen(piece);
        memmove(text + at + len, text + at, n - at);
        memcpy(text + at, piece, len);
        return n + len;
    case 2:
        len = fm_min_size(fm_rand_below(r, 8), n - at);
        memmove(text + at, text + at + len, n - at - len);
        return n - len;
    default:
        len = fm_min_size(fm_rand_below(r, 40), n - at);
        memmove(text + at + len, text + at, n - at);
        return n + len;
    }
}

static void damaged_files_mean_what_they_say_or_nothing(void **state)
{
    (void)state;
    unsigned good = 0, refused = 0;
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        struct fm_rand r = {seed};
        struct fm_buf b = fm_buf(text, sizeof text);
        for (unsigned i = 1 + fm_rand_below(&r, 30); i > 0; i--)
            fm_buf_printf(&b, "t%u,%u\n", fm_rand_below(&r, 4000), fm_rand_below(&r, 4));
        size_t n = b.n, count;
        for (unsigned i = fm_rand_below(&r, 4); i > 0; i--)
            n = damage(&r, n);
        struct naive want[LINES_MAX];
        struct fm_tenants_spec spec = spec_of(path);
        bool right = naive_read(fm_str(text, n), want, &count);
        write_file(path, fm_str(text, n));
        fm_conf_report_init(&report);
        struct fm_tenants *t = fm_tenants_load(&spec, &report);
        assert_int_equal(t == NULL, report.errors > 0);
        if (right && !t)
            fail_msg("seed %llu: refused: %s", (unsigned long long)seed, report.finding[0].what);
        for (size_t i = 0; right && i < count; i++)
            assert_int_equal(fm_directory_find(&t->directory, want[i].key), want[i].cell);
        assert_true(!right || t->directory.n == count);
        good += right;
        refused += t == NULL;
        fm_tenants_free(t);
        fm_conf_report_deinit(&report);
    }
    assert_true(good > ROUNDS / 5 && refused > ROUNDS / 5);
}

FM_TEST_MAIN(fm_test_with(finds_what_the_file_says, setup, teardown),
             fm_test_with(a_region_is_one_of_its_cells, setup, teardown),
             fm_test_with(takes_the_ends_of_lines_of_both_worlds, setup, teardown),
             fm_test_with(the_digest_is_of_the_content, setup, teardown),
             fm_test_with(as_many_lines_as_allowed_fit, setup, teardown),
             fm_test(says_what_is_wrong_and_where),
             fm_test_with(what_is_no_file_is_refused, setup, teardown),
             fm_test(a_file_that_grows_is_refused),
             fm_test_with(a_load_can_be_stopped, setup, teardown),
             fm_test_with(long_files_and_endless_lines, setup, teardown),
             fm_test_with(damaged_files_mean_what_they_say_or_nothing, setup, teardown))
