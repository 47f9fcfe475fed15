/* Lines of pin lists and directories. Promises: a line is taken with a key and a cell that may be,
 * or refused with exactly one finding; what was taken, written down in quotes, means the same. */
#include "fuzz.h"

#include "homes/lines.h"

static const uint8_t home[] = {0, 1, 0, 1};
static const struct fm_str regions[] = {FM_STR_INIT("west"), FM_STR_INIT("north"),
                                        FM_STR_INIT("south")};
static const struct fm_tenants_spec spec = {.path = "fuzz.csv",
                                            .lines_max = 1,
                                            .cells = FM_COUNT(home),
                                            .home = home,
                                            .regions = regions,
                                            .nregions = FM_COUNT(regions)};

/* The same key and cell, all of it in quotes. */
static size_t write_down(const struct fm_tenants_line *l, char *out)
{
    size_t n = 0;
    out[n++] = '"';
    for (size_t i = 0; i < l->key.n; i++) {
        if (l->key.p[i] == '"')
            out[n++] = '"';
        out[n++] = l->key.p[i];
    }
    out[n++] = '"';
    out[n++] = ',';
    return n + fm_u64_write(out + n, l->cell);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fm_conf_report report;
    static struct fm_tenants_line line, again;
    if (size > FM_TENANTS_LINE_MAX)
        return 0;
    char *in = fuzz_copy(data, size), out[2 * FM_DIRECTORY_KEY_MAX + 32];
    fm_conf_report_init(&report);
    bool good = fm_tenants_line_parse(&spec, fm_str(in, size), 7, &line, &report);
    HOLDS(report.errors == (good ? 0 : 1), "%zu errors", report.errors);
    if (good) {
        HOLDS(line.key.n > 0 && line.key.n <= FM_DIRECTORY_KEY_MAX, "%zu bytes", line.key.n);
        HOLDS(line.cell < FM_COUNT(home), "cell %u", line.cell);
        size_t n = write_down(&line, out);
        HOLDS(fm_tenants_line_parse(&spec, fm_str(out, n), 7, &again, &report), "refused");
        HOLDS(fm_str_eq(line.key, again.key) && line.cell == again.cell, "another meaning");
    } else {
        HOLDS(report.finding[0].pos.line == 7 && report.finding[0].pos.col <= size + 1, "column %u",
              report.finding[0].pos.col);
    }
    fm_conf_report_deinit(&report);
    free(in);
    return 0;
}
