/* core/external.h: the data of a context that Fulmar does not run itself (`groups.NAME.hooks`: a
 * managed database, a storage account, a tree of files), and when which command is run for them.
 *
 * One machine per context at the keeper of each region. It follows who holds the context, looked
 * at anew each time, so that a keeper that begins in the middle goes on by running the command once
 * more. What coordination has recorded of the region (struct fm_external_record) says under which
 * epoch the data were opened here, and is written before anything is changed. While the data are
 * not open under the epoch that counts, no gate of the region gets the right to write.
 *
 *   planned, at the old side:  closed is recorded, `read-only`, then `lag` until nothing is missing
 *   at the new side:           opening is recorded, `promote`, then `status` until it may be
 * written forced, at the new side:   the same, and `fence` first; without it nothing is promoted
 *
 * What is lost is never known here, only estimated: nothing of Fulmar stands between a commit of
 * such data and who asked for it. Pure; rows are the table. The shell runs the commands, one at a
 * time, and tells how they ended. Times in milliseconds of the caller's monotonic clock. */
#ifndef FM_CORE_EXTERNAL_H
#define FM_CORE_EXTERNAL_H

#include "core/votes.h"

/* -------- what the commands say -------- */

#define FM_EXTERNAL_ROLES(X)                                                                       \
    X(UNKNOWN, "unknown")                                                                          \
    X(PRIMARY, "primary")                                                                          \
    X(SECONDARY, "secondary")

enum fm_external_role {
#define X(id, name) FM_EXTERNAL_##id,
    FM_EXTERNAL_ROLES(X)
#undef X
        FM_EXTERNAL_ROLE_COUNT
};

struct fm_external_status {
    uint8_t role;  /* enum fm_external_role, of the data in this region */
    bool writable; /* ... and they take writes */
    bool healthy;  /* they could be promoted, or are served */
};

/* What the region lacks of what was acknowledged where the data are written. */
struct fm_external_lag {
    bool has_bytes, has_ms; /* at least one of them, else it is not known */
    uint64_t bytes;
    int64_t ms;
};

static inline bool fm_external_lag_is_known(const struct fm_external_lag *l)
{
    return l->has_bytes || l->has_ms;
}

/* Nothing is missing, by all that was said. */
bool fm_external_lag_is_zero(const struct fm_external_lag *l);

/* -------- what is recorded -------- */

#define FM_EXTERNAL_STAGES(X)                                                                      \
    X(NONE, "none")                                                                                \
    X(OPENING, "opening") /* it may be fenced and promoted */                                      \
    X(OPEN, "open")       /* it was seen that they are written here */                             \
    X(CLOSED, "closed")   /* ... and they may have been made read-only since */

enum fm_external_stage {
#define X(id, name) FM_EXTERNAL_AT_##id,
    FM_EXTERNAL_STAGES(X)
#undef X
        FM_EXTERNAL_STAGE_COUNT
};

struct fm_external_record {
    struct fm_epoch epoch; /* of the stage; 0 = none yet */
    uint8_t stage;         /* enum fm_external_stage */
};

/* -------- the machine -------- */

#define FM_EXTERNAL_STATES(X)                                                                      \
    X(IDLE, "idle")                                                                                \
    X(ASKING, "status") /* the command that runs */                                                \
    X(MEASURING, "lag")                                                                            \
    X(CLOSING, "read-only")                                                                        \
    X(FENCING, "fence")                                                                            \
    X(PROMOTING, "promote")

enum fm_external_state {
#define X(id, name) FM_EXTERNAL_##id,
    FM_EXTERNAL_STATES(X)
#undef X
        FM_EXTERNAL_STATE_COUNT
};

#define FM_EXTERNAL_EVENTS(X)                                                                      \
    X(LOOK, "look")     /* at the facts; again and again */                                        \
    X(ENDED_WELL, "ok") /* the command, and what it had to say was understood */                   \
    X(ENDED_BADLY, "failed")

enum fm_external_event_kind {
#define X(id, name) FM_EXTERNAL_ON_##id,
    FM_EXTERNAL_EVENTS(X)
#undef X
        FM_EXTERNAL_EVENT_COUNT
};

struct fm_external_event {
    uint8_t kind;                     /* enum fm_external_event_kind */
    struct fm_external_status status; /* ENDED_WELL of `status` */
    struct fm_external_lag lag;       /* ENDED_WELL of `lag` */
};

#define FM_EXTERNAL_ACTIONS(X)                                                                     \
    X(NOTHING)                                                                                     \
    X(STATUS) /* run the command */                                                                \
    X(LAG)                                                                                         \
    X(CLOSE)                                                                                       \
    X(FENCE)                                                                                       \
    X(PROMOTE)                                                                                     \
    X(KILL)         /* what runs */                                                                \
    X(NOTE_OPENING) /* record the stage under the epoch that counts */                             \
    X(NOTE_OPEN)                                                                                   \
    X(NOTE_CLOSED)

enum fm_external_action {
#define X(id) FM_EXTERNAL_DO_##id,
    FM_EXTERNAL_ACTIONS(X)
#undef X
        FM_EXTERNAL_ACTION_COUNT
};

const char *fm_external_role_name(enum fm_external_role r);
const char *fm_external_stage_name(enum fm_external_stage s);
const char *fm_external_state_name(enum fm_external_state s);
const char *fm_external_event_name(enum fm_external_event_kind e);

/* The world as the keeper of this region sees it. */
struct fm_external_facts {
    struct fm_epoch epoch; /* of the cell */
    bool holds;            /* this region, and its right is live at this moment */
    bool elsewhere;        /* another region holds it, or it was released for another one; and
                              who says so is the keeper at this moment */
    bool forced;           /* the epoch was taken without the consent of the holder before */
    bool attested;         /* a person attests that the region before is fenced */
    bool handing;          /* a planned move: everybody here has stopped */
    bool busy;             /* a command runs */
    bool writing;          /* a record is on its way */
    struct fm_external_record recorded; /* of this region */
};

struct fm_external_policy {
    int64_t interval_ms; /* between two looks at the data, while nothing happens */
    int64_t again_ms;    /* ... and while they are opened or handed over */
    int64_t retry_ms;    /* of a command that changes something, where it failed or did not help */
};

struct fm_external {
    uint8_t state;         /* enum fm_external_state */
    bool fenced;           /* under `epoch`: what could write elsewhere was cut off */
    bool closed, measured; /* of a move: read-only here, and its lag looked at since */
    bool fresh;            /* `status` was begun after the last change that it would show */
    bool known;            /* there is a status at all */
    struct fm_epoch epoch; /* that was looked at last */
    struct fm_epoch run;   /* ... when the command that runs was begun */
    struct fm_external_status status;
    struct fm_external_lag lag;
    struct fm_mono lag_at; /* measured; 0 = never */
    struct fm_mono status_next, lag_next, retry_at;
    struct fm_mono since; /* the state */
};

struct fm_external_verdict {
    bool changed;
    uint8_t from, to;
    enum fm_external_action action;
    const char *why; /* of the row; NULL = none fits */
    struct fm_mono wake;
};

void fm_external_init(struct fm_external *x, struct fm_mono now);

struct fm_external_verdict fm_external_step(struct fm_external *x,
                                            const struct fm_external_policy *p,
                                            const struct fm_external_facts *f,
                                            const struct fm_external_event *e, struct fm_mono now);

/* May gates of this region be given the right to write? Only while the data were opened under the
 * epoch that counts, and not closed since. */
bool fm_external_is_open(const struct fm_external_record *r, struct fm_epoch epoch);

/* Has it to be fenced and promoted as after an outage? Not when it was opened under this epoch. */
bool fm_external_needs_force(const struct fm_external_facts *f);

/* From which region the data came that are open, or opened, in region `self`: where they were
 * opened last but for it. Where it is the only other one of `holders`, it is that one even if it
 * never recorded anything. FM_NO_REGION: it is not known. `record` is of `nregions`. */
unsigned fm_external_came_from(const struct fm_external_record *record, unsigned nregions,
                               unsigned self, uint32_t holders);

/* For a planned move, at the old side: nothing is written here any more, and nothing was missing at
 * the heir after that. */
bool fm_external_is_final(const struct fm_external *x);

/* -------- what would be lost -------- */

/* By the last measurement, so long ago. Always an estimate: `ms` grows with its age, and `bytes` is
 * what was missing then. */
struct fm_external_estimate {
    bool known;     /* else nothing is: unbounded */
    bool has_bytes; /* `bytes` was measured */
    uint64_t bytes;
    int64_t ms; /* written in so much time */
};
struct fm_external_estimate fm_external_estimate(const struct fm_external_lag *l, int64_t age_ms);

/* -------- the table -------- */

struct fm_external_row {
    uint8_t from, event, to, action;
    bool (*guard)(const struct fm_external *x, const struct fm_external_facts *f,
                  struct fm_mono now);
    const char *comment;
};
extern const struct fm_external_row fm_external_rows[];
extern const unsigned fm_external_nrows;

#endif
