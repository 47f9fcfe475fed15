/* journal/ship.h: how journal entries travel to an heir.
 *
 * A chunk is a header (magic and version, number of entries, the numbers that it covers, a
 * checksum) and entries, all little-endian; its exact form is in docs/reference/wire.md. There is
 * one way to write an entry: what is read and written again is the same bytes. A chunk is checked
 * whole before anything of it counts. Pure, bytes in and views out; any thread.
 *
 * Errors: FM_ERR_INVALID with what is wrong and where; FM_ERR_LIMIT where a buffer is too small. */
#ifndef FM_JOURNAL_SHIP_H
#define FM_JOURNAL_SHIP_H

#include "base/buf.h"
#include "base/err.h"
#include "journal/entry.h"

enum { FM_SHIP_HEADER_LEN = 40, FM_SHIP_CHUNK_MAX = 64 << 20 };

struct fm_ship_header {
    uint32_t entries;
    uint64_t since, next; /* what changed behind `since` up to and with `next` */
    uint64_t last;        /* the newest number there is; next == last: this is all */
};

/* -------- writing: begin, each entry, end -------- */

void fm_ship_begin(struct fm_buf *b);
void fm_ship_entry(struct fm_buf *b, const struct fm_journal_entry *e);
enum fm_err fm_ship_end(struct fm_buf *b, const struct fm_ship_header *h) FM_WARN_UNUSED;

/* -------- reading -------- */

struct fm_ship_reader {
    struct fm_ship_header header;
    struct fm_str rest;
    uint32_t left;
};

/* Checks the chunk from its first to its last byte; then all its entries can be read. */
enum fm_err fm_ship_open(struct fm_ship_reader *r, struct fm_str chunk,
                         struct fm_error *e) FM_WARN_UNUSED;
/* The next entry, views into the chunk (seq is 0: it gets one here); false at the end. */
bool fm_ship_next(struct fm_ship_reader *r, struct fm_journal_entry *out);

#endif
