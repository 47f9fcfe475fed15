/* agent/ops.h: operations that people order, as records of coordination (`op/ID`). Private to
 * src/agent.
 *
 * An operation is written down before anything of it is done: who, why, when, what. Whoever has the
 * right carries out its part (the keeper of the holder's region moves a cell, that of the heir's
 * region takes over), and any agent can say how it stands, also after the one that took it is gone.
 * What moves is a list of items, each a cell with where it is and where it goes.
 *
 *   {"v":1,"kind":"move","state":"running","context":"ledger","to":"north","by":"ann",
 *    "reason":"...","at":"2026-11-21T14:08:42.123456Z","host":"west-1","text":"",
 *    "items":[{"context":"ledger","cell":0,"from":"west","to":"north","state":"waiting"}], ...}
 *
 * Strict: what is not of this form is not carried out. Pure, but for memory. */
#ifndef FM_AGENT_OPS_H
#define FM_AGENT_OPS_H

#include "agent/roster.h"
#include "base/time.h"
#include "core/votes.h"

#include <jansson.h>

#define FM_OP_KINDS(X)                                                                             \
    X(MOVE, "move")           /* items */                                                          \
    X(EVACUATE, "evacuate")   /* items: all that `region` holds */                                 \
    X(FAILBACK, "failback")   /* the context's cells that are away from home */                    \
    X(FAILOVER, "failover")   /* `to` takes over what `region` holds of the context */             \
    X(READ_ONLY, "read-only") /* done when it is written */                                        \
    X(AUTOMATIC, "automatic") /* likewise */                                                       \
    X(MEMBERS, "members")     /* whose promise counts: as the file of who took the order says */   \
    X(CREATE, "create")       /* the data of the context's PostgreSQL group, where it is held */   \
    X(REINIT, "reinit")       /* the data of `node` are thrown away and copied anew */             \
    X(MAINTAIN, "maintain")   /* `node` is left to a person */                                     \
    X(RESUME, "resume")       /* ... and back */                                                   \
    X(ADD, "add")             /* `node` comes into the context's PostgreSQL group */               \
    X(REMOVE, "remove")       /* ... and goes from it */                                           \
    X(DRAIN, "drain")         /* `region` gets less of what any region may answer; when written */ \
    X(UNDRAIN, "undrain")     /* likewise */                                                       \
    X(CONFIG, "config")       /* what hosts agree upon; done when it is written */

enum fm_op_kind {
#define X(id, name) FM_OP_##id,
    FM_OP_KINDS(X)
#undef X
        FM_OP_KIND_COUNT
};

#define FM_OP_STATES(X)                                                                            \
    X(WAITING, "waiting") /* nobody has begun */                                                   \
    X(RUNNING, "running")                                                                          \
    X(ABORTING, "aborting") /* a person wants it to end */                                         \
    X(DONE, "done")                                                                                \
    X(PARTIAL, "partial") /* some of it was done */                                                \
    X(FAILED, "failed")   /* nothing was done */                                                   \
    X(REFUSED, "refused") /* by a rule, when it was looked at */                                   \
    X(ABORTED, "aborted")

enum fm_op_state {
#define X(id, name) FM_OP_##id,
    FM_OP_STATES(X)
#undef X
        FM_OP_STATE_COUNT
};

/* Of a failover by hand. */
#define FM_OP_STEPS(X)                                                                             \
    X(ALL, "all")                                                                                  \
    X(PREPARE, "prepare")                                                                          \
    X(COMPLETE, "complete")                                                                        \
    X(STAND_DOWN, "stand-down")

enum fm_op_step {
#define X(id, name) FM_OP_STEP_##id,
    FM_OP_STEPS(X)
#undef X
        FM_OP_STEP_COUNT
};

const char *fm_op_kind_name(enum fm_op_kind k);
const char *fm_op_state_name(enum fm_op_state s);
const char *fm_op_step_name(enum fm_op_step s);

enum {
    FM_OP_ID_ROOM = 40,
    FM_OP_BY_ROOM = 64,
    FM_OP_REASON_ROOM = 256,
    FM_OP_TEXT_ROOM = 240,
    FM_OP_RULE_ROOM = 32,
    FM_OP_ITEMS_MAX = 512,
    FM_OP_TEXT_MAX = 128 * 1024,
};

struct fm_op_item {
    uint16_t context; /* numbers of the roster */
    uint8_t cell, from, to;
    uint8_t state; /* enum fm_op_state: WAITING, RUNNING, DONE, FAILED */
};

struct fm_op {
    char id[FM_OP_ID_ROOM]; /* not in the text: it is the key */
    uint8_t kind, state, step;
    int context, region, to; /* numbers of the roster; -1 = none */
    char by[FM_OP_BY_ROOM], reason[FM_OP_REASON_ROOM], at[FM_RFC3339_LEN];
    char host[FM_ROSTER_NAME_ROOM]; /* that took the order */
    char node[FM_ROSTER_NAME_ROOM]; /* of a PostgreSQL group, that it is about; "" = none */
    char text[FM_OP_TEXT_ROOM];     /* how it stands, or why it ended */
    char rule[FM_OP_RULE_ROOM];     /* REFUSED: by the rule of this name, where that is known */
    bool glass;                     /* in spite of the health gate */
    bool attest;                    /* a person attests that `region` is fenced */
    bool quoted, unbounded;         /* what a person was told that it would cost */
    uint64_t loss;
    unsigned nitems;
    struct fm_op_item *item; /* from malloc */
};

static inline bool fm_op_is_over(enum fm_op_state s)
{
    return s >= FM_OP_DONE;
}

/* For the record, and for people: the same. NULL without memory. */
json_t *fm_op_json(const struct fm_roster *r, const struct fm_op *o) FM_WARN_UNUSED;
/* False: `why` says what is wrong, and there is nothing to free. */
bool fm_op_read(const struct fm_roster *r, struct fm_str text, struct fm_op *o,
                const char **why) FM_WARN_UNUSED;
void fm_op_free(struct fm_op *o);

/* "20261121-140842-83f0c1" */
void fm_op_new_id(char out[FM_OP_ID_ROOM], int64_t wall_ns, uint64_t random);
bool fm_op_is_id(struct fm_str s);

/* The state of the whole after its items: RUNNING while one of them waits or runs. */
enum fm_op_state fm_op_outcome(const struct fm_op *o);

/* -------- what was said by hand about a context (`policy/C`) -------- */

enum { FM_OP_MESSAGE_ROOM = 256 };

struct fm_op_policy {
    bool read_only;
    char message[FM_OP_MESSAGE_ROOM];
    int64_t paused_until_ms; /* `automatic`: milliseconds of the wall clock; 0 = it is not paused */
};

json_t *fm_op_policy_json(const struct fm_op_policy *p) FM_WARN_UNUSED;
bool fm_op_policy_read(struct fm_str text, struct fm_op_policy *p) FM_WARN_UNUSED;

#endif
