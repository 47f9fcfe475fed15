/* pg/control.h: what a data directory says of itself, whether its server runs or not: the output of
 * `pg_controldata` (run with LC_ALL=C by pg/node.h), PG_VERSION, postmaster.pid. Pure: text in,
 * values out; the texts are a stranger's and may be anything. Values, nothing owned.
 *
 * Source: PostgreSQL's src/bin/pg_controldata and src/include/catalog/pg_control.h, 14 to 17. */
#ifndef FM_PG_CONTROL_H
#define FM_PG_CONTROL_H

#include "base/err.h"
#include "core/lsn.h"

/* "Database cluster state" */
#define FM_PG_STATES(X)                                                                            \
    X(STARTING_UP, "starting up")                                                                  \
    X(SHUT_DOWN, "shut down")                         /* in order, as a primary */                 \
    X(SHUT_DOWN_IN_RECOVERY, "shut down in recovery") /* in order, as a standby */                 \
    X(SHUTTING_DOWN, "shutting down")                                                              \
    X(IN_CRASH_RECOVERY, "in crash recovery")                                                      \
    X(IN_ARCHIVE_RECOVERY, "in archive recovery") /* a standby that runs, or crashed */            \
    X(IN_PRODUCTION, "in production")             /* a primary that runs, or crashed */

enum fm_pg_state {
#define X(name, text) FM_PG_##name,
    FM_PG_STATES(X)
#undef X
};

const char *fm_pg_state_text(enum fm_pg_state s);

struct fm_pg_control {
    uint64_t system_id;
    enum fm_pg_state state;
    struct fm_lsn checkpoint, redo; /* of the latest checkpoint: where its record begins */
    struct fm_timeline timeline;    /* of that checkpoint */
    /* of a standby: it must replay that far before it is consistent; none, 0 elsewhere */
    struct fm_lsn least_end;
    struct fm_timeline least_timeline;
    uint32_t segment_bytes; /* of a WAL file */
    bool checksums;
    bool logical; /* wal_level */
};

/* The output of pg_controldata, all of it. FM_ERR_INVALID: a value that is needed is missing, there
 * twice or not readable; `e` says which. */
enum fm_err fm_pg_control_parse(struct fm_pg_control *c, struct fm_str text,
                                struct fm_error *e) FM_WARN_UNUSED;

/* The timeline whose history is the node's, to be read for fm_pg_control_relation. */
struct fm_timeline fm_pg_control_timeline(const struct fm_pg_control *c);

/* Of a primary that was stopped fast: is all of its log, with the shutdown checkpoint at its end,
 * replayed by one that says that it has replayed up to `replayed`? (What is replayed ends behind a
 * record, so anything beyond the beginning of the last one is all of it.) False where it was not
 * shut down in order. */
bool fm_pg_control_is_final_at(const struct fm_pg_control *c, struct fm_lsn replayed);

enum fm_pg_relation {
    FM_PG_FOLLOWS,  /* can become a standby of it as it is */
    FM_PG_DIVERGED, /* has what the other one never had: rewind, or a new base backup */
    FM_PG_UNSURE,   /* crashed as a primary: its log may end behind the fork. As good as diverged:
                     * pg_rewind recovers it first and then finds out */
    FM_PG_STRANGER, /* nothing in common: a new base backup */
};

/* How a stopped node stands to the history of the primary. `mine` is the history of
 * fm_pg_control_timeline; `their_system_id` is the primary's. */
enum fm_pg_relation fm_pg_control_relation(const struct fm_pg_control *c,
                                           const struct fm_history *mine, uint64_t their_system_id,
                                           const struct fm_history *theirs);

const char *fm_pg_relation_text(enum fm_pg_relation r);

/* PG_VERSION: "15\n". 0 where it is none. */
unsigned fm_pg_version_parse(struct fm_str text);

/* -------- postmaster.pid -------- */

enum fm_pg_status {
    FM_PG_SERVER_STARTING,
    FM_PG_SERVER_STOPPING,
    FM_PG_SERVER_READY,
    FM_PG_SERVER_STANDBY
};

/* What a running server says of itself (pg_ctl waits for the same). A crashed one leaves the file:
 * that somebody has this pid proves nothing. */
struct fm_pg_postmaster {
    int32_t pid; /* negative: a standalone backend's, as one that recovers for pg_rewind */
    uint16_t port;
    enum fm_pg_status status; /* STANDBY: up and takes no connection yet (hot standby: READY) */
};

/* False where it is not whole (yet). */
bool fm_pg_postmaster_parse(struct fm_str text, struct fm_pg_postmaster *out) FM_WARN_UNUSED;

#endif
