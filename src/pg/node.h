/* pg/node.h: what is done to a data directory of this host: make it, copy it from the primary,
 * rewind it, give it its configuration, look at it, promote it; and the command line that its
 * server is started with. One operation at a time, asynchronously on the owner's loop; each has a
 * deadline, and what its programs print is kept as evidence.
 *
 * The server itself is started by whoever answers for its death (the guard): fm_pg_node_start gives
 * the options of io/process.h for it, and it is `postgres` itself that is executed. It is stopped
 * by a signal to that child, fm_pg_stop_signal.
 *
 * Everything runs as `user` (never as root): a program of PostgreSQL, and what writes files in the
 * data directory. Secrets are in files of mode 0600 there, never in an argv or an environment.
 *
 * What is not whole is never started: a data directory is made, copied and rewound in its own
 * folder `fulmar.making`, from where it moves up when it is whole. While that folder is there,
 * there is nothing that could be started by mistake; a next operation begins anew, or finishes the
 * move. A data directory must be the server's alone, without other people's files in it;
 * tablespaces are not copied to another place.
 *
 * Owner: embeds struct fm_pg_node (about 220 KiB), which must not move. One loop, one thread.
 * Blocking are only reads of small files and the creation of the folder. Written for PostgreSQL 14
 * to 17, tested with
 * 15. Times are milliseconds. */
#ifndef FM_PG_NODE_H
#define FM_PG_NODE_H

#include "io/process.h"
#include "pg/control.h"
#include "pg/lost.h"
#include "pg/settings.h"

struct fm_pg_node_options {
    const char *bin;  /* the folder of postgres, initdb, ... */
    const char *data; /* absolute */
    const char *user; /* NULL = that of this process; needed where that is root */
};

#define FM_PG_OPERATIONS(X)                                                                        \
    X(LOOK, "look")           /* reads control data, history, version */                           \
    X(MAKE, "make")           /* a new system, from nothing */                                     \
    X(CONFIGURE, "configure") /* the files of Fulmar; whether the server runs or not */            \
    X(CLONE, "clone")         /* a base backup of the upstream; removes what was there */          \
    X(REWIND, "rewind")       /* pg_rewind from the upstream, where it is needed */                \
    X(RESCUE, "rescue")       /* finds and copies what only this directory has */                  \
    X(PRUNE, "prune")         /* removes what a rescue kept */                                     \
    X(PROMOTE, "promote")     /* ask the running standby; does not wait for it */

enum fm_pg_operation {
#define X(name, text) FM_PG_OP_##name,
    FM_PG_OPERATIONS(X)
#undef X
};

const char *fm_pg_operation_text(enum fm_pg_operation o);

/* What LOOK found. */
enum fm_pg_found {
    FM_PG_NOTHING,    /* no folder, or an empty one */
    FM_PG_UNFINISHED, /* begun and not ended: only MAKE and CLONE go on from here */
    FM_PG_FOREIGN,    /* files, and no data of PostgreSQL: nothing is done to them */
    FM_PG_DATA,       /* and the rest of struct fm_pg_look holds */
};

enum { FM_PG_HISTORY_ROOM = 64 * 1024 };

struct fm_pg_look {
    enum fm_pg_found found;
    unsigned version;
    struct fm_pg_control control;
    struct fm_history history; /* of fm_pg_control_timeline; its text is in the node */
    bool has_lock_file;        /* a server runs there, or has crashed */
    bool is_standby;           /* would start as one: standby.signal */
    bool is_copy;              /* never started since it was copied or rewound */
};

enum { FM_PG_OUTPUT_ROOM = 8 * 1024, FM_PG_WHY_ROOM = 400, FM_PG_PARTS_ROOM = 320 };

/* How REWIND ended. */
enum fm_pg_way { FM_PG_AS_IT_WAS, FM_PG_REWOUND, FM_PG_CLONED };

const char *fm_pg_way_text(enum fm_pg_way w);

struct fm_pg_outcome {
    enum fm_pg_operation operation;
    bool ok;
    enum fm_pg_way way;
    int64_t took_ms;
    char parts[FM_PG_PARTS_ROOM]; /* the steps that took some time, with their milliseconds */
    uint64_t copied_mb;           /* by pg_rewind, as it said; 0 = it did not */
    /* where it failed: in which step, and the last words; where a clone had to follow, why; tame */
    char why[FM_PG_WHY_ROOM];
    /* the end of what the last program printed, tame but for newlines */
    char output[FM_PG_OUTPUT_ROOM + 1];
};

/* What RESCUE found behind `fork`, on `timeline`. Fork none: the histories have nothing in common,
 * or are the same; then nothing is counted or copied. */
struct fm_pg_rescued {
    struct fm_timeline timeline;
    struct fm_lsn fork;
    struct fm_pg_lost lost;
    struct fm_pg_rows rows; /* where it has commits; neither known nor a reason: nobody looked */
    char copy[512];         /* the folder with that part of the log, and rows; "" = none */
};

enum {
    FM_PG_PATH_ROOM = 512,
    FM_PG_CONF_ROOM = 16 * 1024,
    FM_PG_HBA_ROOM = 16 * 1024,
    FM_PG_INFO_ROOM = 2048,
    FM_PG_NAME_ROOM = 64,
};

struct fm_pg_node {
    void (*over)(struct fm_pg_node *n);
    struct fm_pg_outcome outcome; /* of the last operation */
    struct fm_pg_look look;       /* as it was last found */
    struct fm_pg_rescued rescued; /* by the last RESCUE that went well */
    /* its own */
    struct fm_loop *loop;
    struct fm_child child;
    struct fm_timer soon;
    struct fm_child_user user;
    bool as_user, busy;
    const uint8_t *plan; /* steps that are left */
    bool inside;         /* what is done is done in fulmar.making */
    bool flushes;        /* pg_rewind leaves it to us to make durable what it wrote */
    bool follows, or_clone;
    bool given_up;
    unsigned tries;
    struct fm_mono began, deadline, step_began;
    struct fm_timeline wanted;
    struct fm_lsn pruned;
    struct fm_history theirs;
    char bin[FM_PG_PATH_ROOM], data[FM_PG_PATH_ROOM];
    char next_bin[FM_PG_PATH_ROOM]; /* "" = the same */
    char admin[FM_PG_NAME_ROOM], slot[FM_PG_NAME_ROOM];
    char admin_password[FM_PG_INFO_ROOM], pass[FM_PG_INFO_ROOM]; /* wiped when it is over */
    char info[FM_PG_INFO_ROOM], info_sql[FM_PG_INFO_ROOM];       /* how to reach the upstream */
    char conf[FM_PG_CONF_ROOM], hba[FM_PG_HBA_ROOM];
    char said[FM_PG_OUTPUT_ROOM + 1]; /* by the present program */
    char history[FM_PG_HISTORY_ROOM], their_history[FM_PG_HISTORY_ROOM];
    char start_program[FM_PG_PATH_ROOM + 16];
    char *start_argv[4];
};

/* `over` is called once for each operation that was started, from the loop, with node->outcome (and
 * node->look after LOOK, CLONE, REWIND, RESCUE and MAKE that went well); another one may be started
 * from inside. FM_ERR_NOT_FOUND: no such user; FM_ERR_PERMISSION: root, or a user that this process
 * cannot become; FM_ERR_INVALID, FM_ERR_LIMIT: a path. */
enum fm_err fm_pg_node_init(struct fm_pg_node *n, struct fm_loop *l,
                            const struct fm_pg_node_options *o, void (*over)(struct fm_pg_node *),
                            struct fm_error *e) FM_WARN_UNUSED;
/* Other programs, from the next operation or start on. Errors as those of fm_pg_node_init. */
enum fm_err fm_pg_node_programs(struct fm_pg_node *n, const char *bin,
                                struct fm_error *e) FM_WARN_UNUSED;
/* Kills what runs; `over` does not follow. */
void fm_pg_node_deinit(struct fm_pg_node *n);

/* Does the kernel say when syncfs could not write (Linux 5.8)? */
bool fm_pg_syncfs_reports(void);

bool fm_pg_node_is_busy(const struct fm_pg_node *n);
/* Nobody needs the data that are being made, or copied: what does it is killed, and `over` follows
 * from the loop. What there was is FM_PG_UNFINISHED, if it had begun to go. All else goes on, but a
 * rewind, without whose end the data would be lost, is not followed by a copy. */
void fm_pg_node_give_up(struct fm_pg_node *n);
/* Is FM_PG_UNFINISHED what a LOOK would find in that folder? */
bool fm_pg_folder_is_unfinished(const char *data);
/* 0 to 100 while a clone or a rewind copies, else -1. */
int fm_pg_node_percent(const struct fm_pg_node *n);

/* The operations. Not while one is under way. FM_ERR_INVALID and the like where what is asked for
 * cannot be written down: nothing has begun, `over` does not follow. Settings (of which `data` is
 * the node's own) and passwords are copied. All of them but CONFIGURE, LOOK and PROMOTE fail while
 * a server runs there. */

void fm_pg_node_look(struct fm_pg_node *n, int64_t deadline_ms);

/* initdb with checksums, SCRAM, C.UTF-8; a superuser `admin` with this password. Only where there
 * is nothing, or an unfinished one. */
enum fm_err fm_pg_node_make(struct fm_pg_node *n, const struct fm_pg_settings *s,
                            struct fm_str admin, struct fm_str password,
                            struct fm_str replication_password, int64_t deadline_ms,
                            struct fm_error *e) FM_WARN_UNUSED;

/* Writes what has changed: all of it or nothing of each file; standby.signal where there is an
 * upstream, and only then. A running server is then told (SIGHUP), if there is one. */
enum fm_err fm_pg_node_configure(struct fm_pg_node *n, const struct fm_pg_settings *s,
                                 struct fm_str replication_password, int64_t deadline_ms,
                                 struct fm_error *e) FM_WARN_UNUSED;

/* Needs an upstream with a slot, which is made there if it is not: before anything is removed here,
 * so that an upstream that cannot be reached costs nothing. Ends as a configured standby. */
enum fm_err fm_pg_node_clone(struct fm_pg_node *n, const struct fm_pg_settings *s,
                             struct fm_str replication_password, int64_t deadline_ms,
                             struct fm_error *e) FM_WARN_UNUSED;

/* Make a node whose server has ended one that can follow `theirs`, the history of the upstream:
 * nothing needs to be done where it can already; else pg_rewind; else, where `or_clone`, a clone.
 * (pg_rewind up to 15 takes a source that was promoted and has not written its checkpoint yet for
 * one that did not diverge: it is asked again until that is over.) Whatever was only in this
 * directory is gone afterwards: lost writes are read before (SAFETY.md 28). Where pg_rewind fails
 * without `or_clone`, FM_PG_UNFINISHED is left. `theirs` is copied. */
enum fm_err fm_pg_node_rewind(struct fm_pg_node *n, const struct fm_pg_settings *s,
                              struct fm_str replication_password, const struct fm_history *theirs,
                              bool or_clone, int64_t deadline_ms,
                              struct fm_error *e) FM_WARN_UNUSED;

/* See how much of the log of a node whose server has ended lies behind its fork from `theirs`, copy
 * that part of it to a folder beside the data directory, DATA.lost/TIMELINE-FORK, which only
 * fm_pg_node_prune removes, and read the rows of what was committed there as `admin`, a superuser
 * (pg/isolated.h; empty: they are not read). What cannot be counted is told in rescued.lost, what
 * cannot be read in rescued.rows; it fails where the log cannot be copied. `theirs` is copied. */
enum fm_err fm_pg_node_rescue(struct fm_pg_node *n, const struct fm_history *theirs,
                              struct fm_str admin, int64_t deadline_ms,
                              struct fm_error *e) FM_WARN_UNUSED;

/* Remove what a rescue kept of `timeline` behind `fork`; that nothing is there is fine. */
void fm_pg_node_prune(struct fm_pg_node *n, struct fm_timeline timeline, struct fm_lsn fork,
                      int64_t deadline_ms);

/* To `timeline`, whose number is free; 0 = the next one. PostgreSQL takes the first number that it
 * has no history file of, so those below that are missing are put there without a parent, which no
 * server follows. Ends when the server was asked; it says by itself when it has been done. */
void fm_pg_node_promote(struct fm_pg_node *n, struct fm_timeline timeline, int64_t deadline_ms);

/* -------- the server -------- */

/* What starts the server, valid as long as the node; the caller adds where output goes. It is to
 * die with who starts it: by SIGQUIT, so that the postmaster takes its backends with it.
 * FM_ERR_STATE: there is nothing (whole) to start. */
enum fm_err fm_pg_node_start(struct fm_pg_node *n, struct fm_child_options *out,
                             struct fm_error *e) FM_WARN_UNUSED;

enum fm_pg_stop {
    FM_PG_FAST,      /* ends sessions, writes a shutdown checkpoint, waits for walsenders */
    FM_PG_IMMEDIATE, /* ends everything; the next start recovers */
};

/* For the postmaster alone, not for its process group. */
int fm_pg_stop_signal(enum fm_pg_stop how);

/* What the server there says of itself. FM_ERR_NOT_FOUND: there is no postmaster.pid. */
enum fm_err fm_pg_node_postmaster(const struct fm_pg_node *n, struct fm_pg_postmaster *out,
                                  struct fm_error *e) FM_WARN_UNUSED;

#endif
