/* Broken files, and what is said of each: conf/broken/NAME.yaml and, word for word with line,
 * column and advice, conf/broken/NAME.expected. In it @VERSION@ stands for the version of Fulmar.
 *
 * Where a message became better on purpose, FM_UPDATE_EXPECTED=1 writes what is said now; read the
 * difference before you commit it. */
#include "test.h"

#include "base/buf.h"
#include "conf/conf.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LEAST_FILES = 60 };

static char said_mem[1 << 18], expected_mem[1 << 18];
static struct fm_conf_report report;

/* Read a file; an empty text where there is none. */
static struct fm_str read_file(const char *path, char *mem, size_t cap)
{
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(mem, 1, cap, f) : 0;
    if (f)
        fclose(f);
    return fm_str(mem, n);
}

/* `from` replaced by `to`, in place of nothing else. */
static void replace(struct fm_str text, const char *from, const char *to, struct fm_buf *out)
{
    size_t n = strlen(from);
    while (text.n) {
        bool here = text.n >= n && memcmp(text.p, from, n) == 0;
        fm_buf_str_add(out, here ? fm_str_z(to) : fm_str(text.p, 1));
        size_t used = here ? n : 1;
        text = fm_str(text.p + used, text.n - used);
    }
}

static struct fm_str report_of(const char *file, bool *loaded)
{
    struct fm_buf raw = fm_buf(expected_mem, sizeof expected_mem);
    struct fm_buf out = fm_buf(said_mem, sizeof said_mem);
    fm_conf_report_init(&report);
    struct fm_conf *c = fm_conf_load(file, &report);
    *loaded = c != NULL;
    assert_int_equal(report.errors == 0, c != NULL);
    fm_conf_free(c);
    fm_conf_report_print(&report, &raw);
    fm_conf_report_deinit(&report);
    replace(fm_buf_str(&raw), "Fulmar (" FM_VERSION ")", "Fulmar (@VERSION@)", &out);
    assert_false(raw.full || out.full);
    return fm_buf_str(&out);
}

static void update(const char *path, struct fm_str said)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fwrite(said.p, 1, said.n, f);
    fclose(f);
}

static bool check(const char *file)
{
    char path[256];
    bool loaded, warning = strncmp(file, "warnings", 8) == 0;
    struct fm_str said = report_of(file, &loaded);
    snprintf(path, sizeof path, "%.*s.expected", (int)(strlen(file) - 5), file);
    if (getenv("FM_UPDATE_EXPECTED"))
        update(path, said);
    struct fm_str expected = read_file(path, expected_mem, sizeof expected_mem);
    bool good = said.n > 0 && loaded == warning && fm_str_eq(said, expected);
    if (!good)
        print_error("%s: %s\n--- expected\n%.*s--- said\n%.*s", file,
                    loaded == warning ? "the report is another one" : "loaded against expectation",
                    FM_STR_ARG(expected), FM_STR_ARG(said));
    return good;
}

static void says_what_is_wrong_and_what_to_do(void **state)
{
    (void)state;
    glob_t files;
    size_t bad = 0;
    assert_int_equal(chdir(FM_SOURCE_ROOT "/tests/unit/conf/broken"), 0);
    assert_int_equal(glob("*.yaml", 0, NULL, &files), 0);
    assert_true(files.gl_pathc >= LEAST_FILES);
    for (size_t i = 0; i < files.gl_pathc; i++)
        bad += !check(files.gl_pathv[i]);
    globfree(&files);
    if (bad)
        fail_msg("%zu reports differ; if they are better now: FM_UPDATE_EXPECTED=1, and look at "
                 "the difference",
                 bad);
}

FM_TEST_MAIN(fm_test(says_what_is_wrong_and_what_to_do))
