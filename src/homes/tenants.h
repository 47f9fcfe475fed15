/* homes/tenants.h: files that give keys to cells: pin lists and directories of tenants.
 *
 * A line is `key,cell` or `key,region`, UTF-8, ended by LF or CRLF, the last one too (a file that
 * was cut off is refused). A key has 1 to 255 bytes without control characters; what has a comma, a
 * quote or blanks at its ends stands in quotes, a quote in it twice (RFC 4180). A region stands for
 * one of the cells that have their home there (core/cells.h). No headline, no comments, no blank
 * lines; a key that is there twice is an error, also with the same cell.
 *
 * Loading reads the file once, reports every error (up to FM_TENANTS_ERRORS_MAX) with line and
 * column, and gives either a whole directory or none. It takes seconds and blocks: for a thread of
 * its own (homes/loader.h). The file is copied, not mapped: replacing it (by rename) or breaking it
 * harms nobody; where it changes while it is read, the load fails.
 *
 * The result is immutable: any thread may look up. One owner frees it, not on a worker's loop. */
#ifndef FM_HOMES_TENANTS_H
#define FM_HOMES_TENANTS_H

#include "conf/conf.h"
#include "core/cells.h"

#include <stdatomic.h>

enum {
    FM_PINS_MAX = 1 << 16,        /* lines of a pin list */
    FM_TENANTS_MAX = 1 << 27,     /* lines of a directory */
    FM_TENANTS_LINE_MAX = 1024,   /* bytes of a line */
    FM_TENANTS_ERRORS_MAX = 1000, /* then the rest of the file is not looked at */
};

struct fm_tenants_spec {
    const char *path;
    uint64_t lines_max;
    uint32_t cells;               /* of the context */
    const uint8_t *home;          /* the region of each cell */
    const struct fm_str *regions; /* names, in the order of those numbers */
    unsigned nregions;
    const _Atomic bool *stop; /* give up soon once it is set; may be NULL */
};

struct fm_tenants {
    struct fm_directory directory;
    /* Of keys and cells, in whatever order: equal digests mean equal content, save by intent. */
    uint64_t digest;
    size_t bytes; /* of memory */
    struct fm_tenants_memory {
        void *at;
        size_t bytes;
    } entries, slots;
};

/* NULL where there is at least one error; the report says which. */
struct fm_tenants *fm_tenants_load(const struct fm_tenants_spec *spec,
                                   struct fm_conf_report *report) FM_WARN_UNUSED;
void fm_tenants_free(struct fm_tenants *t);

#endif
