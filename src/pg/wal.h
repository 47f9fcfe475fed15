/* pg/wal.h: how many transactions a write-ahead log committed behind a place of it, read from the
 * raw files (SAFETY.md 27): what an old primary has that the new one never had. Nothing is decoded
 * but the headers of records and the time of a commit, so it counts what no slot and no plugin
 * returns.
 *
 * Counted are the records COMMIT and COMMIT PREPARED that *end* behind the place: one that begins
 * before it is not in the other history. The log ends where its next record is not whole: files are
 * used again, so behind the end there is an older one or nothing, and only what control data say
 * that the log must reach can tell an end from a damage.
 *
 * A record is checked by its CRC-32C, its predecessor and its place; a page by its version (14 to
 * 17), address, timeline and system. Pages of 8 KiB, as Debian builds PostgreSQL; little endian.
 * Memory is bounded whatever a record says of its length: nothing is assembled.
 *
 * Source: PostgreSQL's src/include/access/xlog_internal.h, xlogrecord.h and rmgrlist.h, 14 to 17.
 */
#ifndef FM_PG_WAL_H
#define FM_PG_WAL_H

#include "base/err.h"
#include "core/lsn.h"

enum {
    FM_WAL_PAGE = 8192,
    FM_WAL_HEADER_MAX = 40,
    FM_WAL_CRC_WAYS = 8,
    FM_WAL_HEAD_KEPT = 48,
    FM_WAL_PAST_MAX = 8
};

#define FM_WAL_ENDS(X)                                                                             \
    X(NOT_YET, "the log goes on")                                                                  \
    X(NO_RECORD, "there is no further record")                                                     \
    X(NO_PAGE, "the next page is of another log, or empty")                                        \
    X(TORN, "the last record goes on in a page that does not belong to it")                        \
    X(CHECKSUM, "the checksum of the next record is wrong")                                        \
    X(CHAIN, "the next record does not follow the one before")                                     \
    X(NO_FILE, "there is no further file")

enum fm_wal_end {
#define X(id, text) FM_WAL_##id,
    FM_WAL_ENDS(X)
#undef X
};

const char *fm_wal_end_text(enum fm_wal_end e);

struct fm_wal_config {
    uint64_t system_id;          /* 0: any */
    struct fm_timeline timeline; /* pages may be of an earlier one, never of a later one */
    uint32_t segment_bytes;      /* a power of two, 1 MiB to 1 GiB */
    struct fm_lsn after;         /* count what ends behind it */
    /* The timelines before it that have files behind that place, oldest first, with where each was
     * left; the file in which one was left has the number of the next one. */
    struct fm_past past[FM_WAL_PAST_MAX];
    unsigned npast;
};

struct fm_wal_count {
    uint64_t commits; /* all of them */
    uint64_t
        prepared_before; /* of them COMMIT PREPARED: prepared earlier, perhaps before `after` */
    uint64_t records;    /* of any kind that end behind `after` */
    struct fm_lsn last_commit; /* its end; none: there is no commit */
    /* the earliest and the latest of what the commits say of their time, by the clock of who wrote
     * them: microseconds since 1970. 0: no commit says one */
    int64_t first_us, last_us;
    struct fm_lsn end;   /* of the last whole record */
    enum fm_wal_end why; /* ... there */
};

/* -------- pages, one after the other; pure -------- */

struct fm_wal_reader {
    struct fm_wal_config conf;
    struct fm_wal_count count;
    struct fm_lsn page;       /* the address of the next one */
    struct fm_lsn resume;     /* what is before it has no pages that matter (after a switch) */
    struct fm_lsn last_begin; /* of the last record; none: not known */
    struct fm_lsn begin;      /* of the record that is being read */
    struct fm_timeline timeline;
    uint16_t magic;
    uint32_t skip;        /* of a record that began before the first page, so much is left */
    uint32_t total, have; /* of the record that is being read; total 0: none is */
    uint32_t crc;
    bool begun;                     /* the first page was seen */
    bool skipped_past;              /* that record ends behind `after`: begin a segment earlier */
    uint8_t head[FM_WAL_HEAD_KEPT]; /* the beginning of the record, as far as `have` */
    uint32_t table[FM_WAL_CRC_WAYS][256];
};

/* `from` is the beginning of a segment at or before `after`. */
void fm_wal_begin(struct fm_wal_reader *r, const struct fm_wal_config *conf, struct fm_lsn from);

/* The next page. False: the log has ended, count.why says how. */
bool fm_wal_page(struct fm_wal_reader *r, const uint8_t page[FM_WAL_PAGE]);

/* -------- files -------- */

enum { FM_WAL_NAME_ROOM = 25 };

/* "000000010000000A000000FF": the file that holds the byte at `at`. Terminated; returns out. */
char *fm_wal_name(char out[FM_WAL_NAME_ROOM], const struct fm_wal_config *conf, struct fm_lsn at);

/* Room to read files with: so many bytes from malloc, which the caller has. */
struct fm_wal_work;
size_t fm_wal_work_size(void);

/* Count in the files of the folder `pg_wal` (its descriptor). Blocks: for a thread or a process of
 * its own. The server must be stopped, or `conf->after` in what it has written already.
 *
 * `reaches`: the log is known to go that far (from control data), none: nothing is known; one that
 * ends before it is damaged. `most_bytes` are read. Errors: FM_ERR_NOT_FOUND (the file with
 * `after` is not there), FM_ERR_STATE (damaged, or it ends before `after`), FM_ERR_LIMIT,
 * FM_ERR_IO. `out` is what was seen before that. */
enum fm_err fm_wal_count(struct fm_wal_work *w, int pg_wal, const struct fm_wal_config *conf,
                         struct fm_lsn reaches, uint64_t most_bytes, struct fm_wal_count *out,
                         struct fm_error *e) FM_WARN_UNUSED;

#endif
