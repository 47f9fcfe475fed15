/* The corpus of tests/http/corpus: each file gets the verdict of the manifest, whole, in two pieces
 * cut at every byte, and byte by byte. */
#include "test.h"

#include "verdict.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#define CORPUS FM_SOURCE_ROOT "/tests/http/corpus/"

enum { FILE_MAX_BYTES = 256 * 1024, ROWS_MAX = 1024, LARGE = 8 * 1024 };

struct row {
    char file[64];
    unsigned status; /* 0 = ok */
    unsigned requests;
    size_t first;
};

static const struct fm_http_limits limits = FM_HTTP_LIMITS_DEFAULT;
static struct row rows[ROWS_MAX];
static size_t nrows;
static char content[FILE_MAX_BYTES];

static void read_manifest(void)
{
    FILE *f = fopen(CORPUS "manifest.tsv", "r");
    assert_non_null(f);
    char line[512], verdict[8], edge[8];
    nrows = 0;
    while (fgets(line, sizeof line, f)) {
        if (line[0] == '#')
            continue;
        assert_true(nrows < ROWS_MAX);
        struct row *r = &rows[nrows++];
        assert_int_equal(sscanf(line, "%63[^\t]\t%7[^\t]\t%7[^\t]\t%u\t%zu\t", r->file, verdict,
                                edge, &r->requests, &r->first),
                         5);
        uint64_t status = 0;
        if (strcmp(verdict, "ok") != 0)
            assert_true(fm_str_u64(fm_str_z(verdict), &status));
        r->status = (unsigned)status;
    }
    fclose(f);
}

static struct fm_str read_file(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, CORPUS "%s", name);
    FILE *f = fopen(path, "r");
    if (!f)
        fail_msg("cannot open %s", path);
    size_t n = fread(content, 1, sizeof content, f);
    fclose(f);
    assert_in_range(n, 1, sizeof content - 1);
    return fm_str(content, n);
}

static void is_expected(const struct row *r, const struct fm_verdict *v)
{
    if (v->status != r->status || v->requests != r->requests)
        fail_msg("%s: %u (%s) after %u requests, expected %u after %u", r->file, v->status,
                 v->why ? v->why : "", v->requests, r->status, r->requests);
    if (r->requests && v->end[0] != r->first)
        fail_msg("%s: the first request ends at %zu, expected %zu", r->file, v->end[0], r->first);
}

static void has_the_verdict_of_the_manifest(void **state)
{
    (void)state;
    for (size_t i = 0; i < nrows; i++) {
        struct fm_str bytes = read_file(rows[i].file);
        struct fm_verdict v = fm_verdict_of(bytes, NULL, 0, FM_VERDICT_DECODED, &limits);
        is_expected(&rows[i], &v);
        struct fm_verdict raw = fm_verdict_of(bytes, NULL, 0, FM_VERDICT_RAW, &limits);
        if (!fm_verdict_eq(&v, &raw, false))
            fail_msg("%s: another verdict where the body keeps its framing", rows[i].file);
    }
}

static void does_not_depend_on_where_it_is_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < nrows; i++) {
        struct fm_str bytes = read_file(rows[i].file);
        struct fm_verdict whole = fm_verdict_of(bytes, NULL, 0, FM_VERDICT_DECODED, &limits);
        /* the middle of a large file is one long token: every 97th byte of it */
        size_t step = 1;
        for (size_t cut = 1; cut < bytes.n; cut += step) {
            step = bytes.n > LARGE && cut > 512 && cut < bytes.n - 1024 ? 97 : 1;
            struct fm_verdict v = fm_verdict_of(bytes, &cut, 1, FM_VERDICT_DECODED, &limits);
            if (!fm_verdict_eq(&v, &whole, true))
                fail_msg("%s cut at %zu: %u (%s) after %u requests", rows[i].file, cut, v.status,
                         v.why ? v.why : "", v.requests);
            struct fm_verdict raw = fm_verdict_of(bytes, &cut, 1, FM_VERDICT_RAW, &limits);
            if (!fm_verdict_eq(&raw, &whole, false))
                fail_msg("%s cut at %zu, raw: %u (%s) after %u requests", rows[i].file, cut,
                         raw.status, raw.why ? raw.why : "", raw.requests);
        }
    }
}

static void does_not_depend_on_the_size_of_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < nrows; i++) {
        struct fm_str bytes = read_file(rows[i].file);
        struct fm_verdict whole = fm_verdict_of(bytes, NULL, 0, FM_VERDICT_DECODED, &limits);
        struct fm_verdict v = fm_verdict_bytewise(bytes, FM_VERDICT_DECODED, &limits);
        if (!fm_verdict_eq(&v, &whole, true))
            fail_msg("%s byte by byte: %u (%s) after %u requests", rows[i].file, v.status,
                     v.why ? v.why : "", v.requests);
        struct fm_verdict raw = fm_verdict_bytewise(bytes, FM_VERDICT_RAW, &limits);
        if (!fm_verdict_eq(&raw, &whole, false))
            fail_msg("%s byte by byte, raw: %u after %u requests", rows[i].file, raw.status,
                     raw.requests);
    }
}

static void has_each_file_once(void **state)
{
    (void)state;
    unsigned malformed = 0, valid = 0, files = 0;
    for (size_t i = 0; i < nrows; i++) {
        if (i)
            assert_true(strcmp(rows[i - 1].file, rows[i].file) < 0);
        *(rows[i].status ? &malformed : &valid) += 1;
    }
    DIR *d = opendir(CORPUS);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        files += fm_str_ends(fm_str_z(e->d_name), FM_STR(".req"));
    closedir(d);
    assert_int_equal(files, nrows);
    assert_true(malformed >= 150 && valid >= 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fm_test(has_each_file_once),
        fm_test(has_the_verdict_of_the_manifest),
        fm_test(does_not_depend_on_where_it_is_cut),
        fm_test(does_not_depend_on_the_size_of_pieces),
    };
    read_manifest();
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
