/* homes/lines.h: one line of a pin list or directory, internal to src/homes. Pure. */
#ifndef FM_HOMES_LINES_H
#define FM_HOMES_LINES_H

#include "homes/tenants.h"

struct fm_tenants_line {
    struct fm_str key; /* in `mem` or in the line */
    uint32_t cell;
    uint64_t hash; /* fm_cell_hash of the key */
    char mem[FM_TENANTS_LINE_MAX];
};

/* Take a line apart, which comes without its end and without a byte order mark. False, and findings
 * in the report with their columns, where it is wrong. */
bool fm_tenants_line_parse(const struct fm_tenants_spec *spec, struct fm_str text, uint32_t number,
                           struct fm_tenants_line *out,
                           struct fm_conf_report *report) FM_WARN_UNUSED;

/* A finding about a line as a whole, at byte `at` of it. */
void fm_tenants_line_error(const struct fm_tenants_spec *spec, struct fm_conf_report *report,
                           struct fm_str text, uint32_t number, size_t at, const char *fmt, ...)
    FM_PRINTF(6, 7);

#endif
