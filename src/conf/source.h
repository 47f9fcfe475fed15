/* conf/source.h: the text of one configuration file.
 *
 * A source is what was read, kept for the messages (the line under the caret) as long as the
 * configuration. fm_source_check accepts only what YAML and an editor count alike: UTF-8, lines
 * that end in LF or CRLF, no control characters. */
#ifndef FM_CONF_SOURCE_H
#define FM_CONF_SOURCE_H

#include "conf/conf.h"

enum {
    FM_SOURCE_BYTES_MAX = 4 << 20, /* of one file */
    FM_SOURCE_TOTAL_MAX = 16 << 20,
    FM_SOURCES_MAX = 256
};

struct fm_source {
    const char *file;        /* as in messages */
    struct fm_str text;      /* without a byte order mark */
    uint64_t dev, ino;       /* which file it is; 0 from memory */
    struct fm_conf_pos from; /* the `include` that named it */
    struct fm_source *next;
};

/* Read a regular file of at most FM_SOURCE_BYTES_MAX into the arena. */
enum fm_err fm_source_read(struct fm_arena *arena, const char *path, struct fm_source *out,
                           struct fm_error *e) FM_WARN_UNUSED;

/* False, and an error in the report, at the first character that is refused; skips the mark. */
bool fm_source_check(struct fm_source *s, struct fm_conf_report *report) FM_WARN_UNUSED;

const struct fm_source *fm_source_find(const struct fm_source *list, const char *file);
size_t fm_source_rank(const struct fm_source *list, const char *file);

/* Line `line` from 1, without its end; p is NULL where there is none. */
struct fm_str fm_source_line(const struct fm_source *s, uint32_t line);

/* The byte at which column `col` (from 1, in characters) of a line begins; at most line.n. */
size_t fm_source_column(struct fm_str line, uint32_t col);
/* The other way round: the column of a byte. */
uint32_t fm_source_col(struct fm_str line, size_t byte);

#endif
