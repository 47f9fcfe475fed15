/* core/lsn.h: places in the write-ahead log of PostgreSQL, its timelines, and which history a node
 * belongs to. Pure; values; a history looks into a text of the caller's.
 *
 *   LSN        a byte of the log; the end of a record is the LSN behind its last byte. 0 = none
 *   timeline   the number of a history; each promotion begins a new one. 0 = none
 *   history    the timelines that led to one, each with the LSN at which it was left: the file
 *              `0000000N.history`, which PostgreSQL writes at each promotion. Timeline 1 has none
 *
 * Two nodes share all of the log up to the fork of their histories and nothing behind it. A node
 * whose log ends behind the fork has diverged: it must never follow the other one, and only a
 * rewind or a new base backup makes it a standby again (SAFETY.md 26, 27).
 *
 * Source: PostgreSQL's src/backend/access/transam/timeline.c and the chapter on continuous
 * archiving, 14 to 17. */
#ifndef FM_CORE_LSN_H
#define FM_CORE_LSN_H

#include "base/str.h"

struct fm_lsn {
    uint64_t n;
};

struct fm_timeline {
    uint32_t n;
};

#define FM_LSN_NONE ((struct fm_lsn){0})
#define FM_LSN_END  ((struct fm_lsn){UINT64_MAX}) /* behind every record */

static inline bool fm_lsn_is_none(struct fm_lsn a)
{
    return a.n == 0;
}

static inline bool fm_lsn_same(struct fm_lsn a, struct fm_lsn b)
{
    return a.n == b.n;
}

static inline bool fm_lsn_before(struct fm_lsn a, struct fm_lsn b)
{
    return a.n < b.n;
}

static inline struct fm_lsn fm_lsn_min(struct fm_lsn a, struct fm_lsn b)
{
    return a.n < b.n ? a : b;
}

static inline struct fm_lsn fm_lsn_max(struct fm_lsn a, struct fm_lsn b)
{
    return a.n > b.n ? a : b;
}

/* How many bytes a is ahead of b; 0 where it is not. */
static inline uint64_t fm_lsn_ahead(struct fm_lsn a, struct fm_lsn b)
{
    return a.n > b.n ? a.n - b.n : 0;
}

/* FM_LSN_END where it would be beyond. */
static inline struct fm_lsn fm_lsn_add(struct fm_lsn a, uint64_t bytes)
{
    return a.n > UINT64_MAX - bytes ? FM_LSN_END : (struct fm_lsn){a.n + bytes};
}

static inline bool fm_timeline_same(struct fm_timeline a, struct fm_timeline b)
{
    return a.n == b.n;
}

/* As PostgreSQL writes it: two hexadecimal numbers of 32 bits, "16/B374D848"; the whole view. */
bool fm_lsn_parse(struct fm_str s, struct fm_lsn *out) FM_WARN_UNUSED;

/* "FFFFFFFF/FFFFFFFF" and its end */
enum { FM_LSN_ROOM = 18 };

/* Terminated; returns out. */
char *fm_lsn_write(char out[FM_LSN_ROOM], struct fm_lsn lsn);

/* -------- histories -------- */

/* `text` is what the file says; empty for timeline 1. It must live as long as this. */
struct fm_history {
    struct fm_timeline timeline;
    struct fm_str text;
};

/* A timeline of the past and where it was left. */
struct fm_past {
    struct fm_timeline timeline;
    struct fm_lsn end;
};

/* Is it the history of that timeline: lines that can be read, timelines that grow and stay below
 * it, ends that do not go back? What this refuses is never given to the functions below. */
bool fm_history_is_valid(const struct fm_history *h) FM_WARN_UNUSED;

/* The next timeline of the past, oldest first; begin with *rest = h->text. False at the end. */
bool fm_history_next(struct fm_str *rest, struct fm_past *out);

/* Its own timeline's parent and the LSN at which that was left, which is where its own begins;
 * zeros for the first timeline. */
struct fm_past fm_history_origin(const struct fm_history *h);

/* The last timeline that both share and the LSN up to which they do: FM_LSN_END where both are the
 * same history. Timeline 0 where they have nothing in common. That they are of one system
 * identifier is the caller's to know. */
struct fm_past fm_history_fork(const struct fm_history *a, const struct fm_history *b);

/* May a node whose log (or replay) ends at `end` in the history `mine` become a standby of one in
 * the history `theirs`, as it is? */
bool fm_history_may_follow(const struct fm_history *mine, struct fm_lsn end,
                           const struct fm_history *theirs);

#endif
