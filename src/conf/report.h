/* conf/report.h: adding findings, for the files of src/conf.
 *
 * fm_report_error or fm_report_warning says what is wrong where; fm_report_advice right behind it
 * says what to do. The same text at the same place is kept once in a call, so a rule may be asked
 * once for each region without repeating itself. Everything is copied; user text goes through
 * fm_quoted. */
#ifndef FM_CONF_REPORT_H
#define FM_CONF_REPORT_H

#include "conf/conf.h"

void fm_report_error(struct fm_conf_report *r, struct fm_conf_pos pos, const char *fmt, ...)
    FM_PRINTF(3, 4);
void fm_report_warning(struct fm_conf_report *r, struct fm_conf_pos pos, const char *fmt, ...)
    FM_PRINTF(3, 4);
/* For the finding that was just added; nothing where that was dropped. */
void fm_report_advice(struct fm_conf_report *r, const char *fmt, ...) FM_PRINTF(2, 3);

/* The line of the file, for the finding that was just added, where the file is not among the
 * sources of fm_report_finish. */
void fm_report_source(struct fm_conf_report *r, struct fm_str line);

/* User text for a message: cut to a sane length, without control characters, terminated. */
struct fm_quoted {
    char s[100];
};
struct fm_quoted fm_quoted(struct fm_str text);

/* Use as a %s argument. */
#define FM_Q(text) (fm_quoted(text).s)

/* A new call (a load, a comparison): the same text at the same place is a finding again. Returns
 * the index of its first finding. */
size_t fm_report_begin(struct fm_conf_report *r) FM_WARN_UNUSED;

struct fm_source;
/* Put findings from `first` on into the order of the files and give each its source line. */
void fm_report_finish(struct fm_conf_report *r, size_t first, const struct fm_source *sources);

#endif
