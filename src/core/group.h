/* core/group.h: one node of a PostgreSQL failover group (SAFETY.md 25, 26, 28), as the agent on its
 * host sees it: may PostgreSQL run here, as what, following whom, and how does it get back.
 *
 * One machine per local node. It is stepped with everything that is known at that moment: the
 * sub-lease of the group's cell, the record of that cell, the local PostgreSQL, what the other
 * nodes last said. It trusts no evidence of an earlier step. Every state has one action, which the
 * shell repeats while the state lasts (all of them are idempotent); what needs time ends with DONE
 * or FAILED and the serial of the verdict that ordered it.
 *
 * Who may be primary is in the cell's record (core/record.h, struct fm_evidence), changed by
 * compare-and-swap of the keeper (FM_AUTH_EVIDENCE of core/authority.h). A node under a live
 * sub-lease *claims* its epoch with a timeline that nobody has had; when it sees its claim recorded
 * it promotes, unreachable; it records the history that came of it, and when it sees that recorded
 * under the same live sub-lease it opens. It never acts on what it has only asked for: so an
 * unknown outcome starts nobody.
 *
 * LSN 0 = not known. Nodes are numbered in the order of their names, the same for everybody. Pure;
 * the structures are the caller's. */
#ifndef FM_CORE_GROUP_H
#define FM_CORE_GROUP_H

#include "core/lineage.h"
#include "core/sublease.h"

#define FM_GROUP_STATES(X)                                                                         \
    X(LOOKING, "looking", NOTHING)         /* just begun: nothing is known */                      \
    X(ABSENT, "absent", NOTHING)           /* there is no data directory */                        \
    X(CREATING, "creating", CREATE)        /* the first node of the group */                       \
    X(STOPPED, "stopped", NOTHING)         /* all of it is reaped */                               \
    X(STARTING, "starting", START_STANDBY) /* as a standby */                                      \
    X(CATCHING_UP, "catching-up", FOLLOW)  /* runs in recovery, does not count yet */              \
    X(STANDBY, "standby", FOLLOW)          /* may count as promotable */                           \
    X(CLAIMING, "claiming", RECORD)        /* holds the sub-lease; the claim is on its way */      \
    X(RESUMING, "resuming", START_PRIMARY) /* the last writer begins again; unreachable */         \
    X(PROMOTING, "promoting", PROMOTE)     /* unreachable */                                       \
    X(OPENING, "opening", RECORD)          /* its history is being recorded; unreachable */        \
    X(PRIMARY, "primary", OPEN)                                                                    \
    X(DRAINING, "draining", DRAIN) /* a planned move: new work is held */                          \
    X(STOPPING, "stopping", STOP_FAST)                                                             \
    X(KILLING, "killing", STOP_IMMEDIATE) /* until all of it is reaped */                          \
    X(YIELDED, "yielded", YIELD)          /* crashed too often, or a standby is sooner: a pause */ \
    X(KEEPING, "keeping", KEEP) /* what only it has is found, and told to who survived */          \
    X(REWINDING, "rewinding", REWIND)                                                              \
    X(CLONING, "cloning", CLONE)         /* a new copy; what was there is gone */                  \
    X(FENCED, "fenced", NOTHING)         /* a person has to look */                                \
    X(MAINTAINED, "maintained", NOTHING) /* a person works on it */                                \
    X(UNABLE, "unable", YIELD)           /* nothing lives, and PostgreSQL cannot be started here */

enum fm_group_state {
#define X(id, name, action) FM_GROUP_##id,
    FM_GROUP_STATES(X)
#undef X
        FM_GROUP_STATE_COUNT
};

#define FM_GROUP_EVENTS(X)                                                                         \
    X(TICK, "tick")     /* the evidence changed, or time passed */                                 \
    X(DONE, "done")     /* serial: CREATE, REWIND or CLONE succeeded */                            \
    X(FAILED, "failed") /* serial: the action of the state failed; not for RECORD, FOLLOW, OPEN */ \
    X(CREATE, "create") /* a person: make the group's first node here, or take what is here */     \
    X(MAINTAIN, "maintain") /* a person: hands off */                                              \
    X(RESUME, "resume")     /* a person: go on, after MAINTAIN or a fence */                       \
    X(REINIT, "reinit")     /* a person: throw the data of this node away, and copy anew */

enum fm_group_event {
#define X(id, name) FM_GROUP_ON_##id,
    FM_GROUP_EVENTS(X)
#undef X
        FM_GROUP_EVENT_COUNT
};

#define FM_GROUP_ACTIONS(X)                                                                        \
    X(NOTHING)                                                                                     \
    X(CREATE)         /* initdb; ends with DONE or FAILED */                                       \
    X(START_STANDBY)  /* standby.signal and primary_conninfo of `node` (none: NOBODY), start */    \
    X(FOLLOW)         /* primary_conninfo of `node` (NOBODY: leave it), none where `apart` */      \
    X(RECORD)         /* ask the keeper to record `record` over the cell's `revision` */           \
    X(START_PRIMARY)  /* no standby.signal, start; clients are kept out */                         \
    X(PROMOTE)        /* to `timeline`: its number is free, those below are taken; kept out */     \
    X(OPEN)           /* clients may come, credit is given; RECORD too where `records` */          \
    X(DRAIN)          /* checkpoint, close logical walsenders, hold new work; stay open */         \
    X(STOP_FAST)      /* kept out at once; then stop fast */                                       \
    X(STOP_IMMEDIATE) /* kept out at once; then kill whatever there is, and reap */                \
    X(YIELD)          /* tell the keeper that this node does not serve under this epoch */         \
    X(KEEP)           /* find what only this node has, and have it kept at `node`: ev->kept */     \
    X(REWIND)         /* from `node`; ends with DONE or FAILED */                                  \
    X(CLONE)          /* from `node`; ends with DONE or FAILED */

enum fm_group_action {
#define X(id) FM_GROUP_DO_##id,
    FM_GROUP_ACTIONS(X)
#undef X
        FM_GROUP_ACTION_COUNT
};

#define FM_GROUP_WHYS(X)                                                                           \
    X(NONE, "none", "")                                                                            \
    X(BEGUN, "begun", "the agent has just begun")                                                  \
    X(FOUND, "found", "this is what was found")                                                    \
    X(ORDERED, "ordered", "a person said so")                                                      \
    X(MADE, "made", "it has been done")                                                            \
    X(BEHIND, "behind", "it has not all that the primary has, or nobody to follow")                \
    X(CAUGHT_UP, "caught-up", "it follows the recorded history closely")                           \
    X(HOLDS, "holds", "the sub-lease is live, and its data are the best there are")                \
    X(CLAIMED, "claimed", "the claim is recorded")                                                 \
    X(UP, "up", "PostgreSQL answers")                                                              \
    X(RECORDED, "recorded", "its history is recorded, and its authority was checked again")        \
    X(QUIET, "quiet", "a planned move holds new work")                                             \
    X(LET_GO, "let-go", "the planned move is off")                                                 \
    X(STOP_ORDER, "stop-order", "the keeper says stop")                                            \
    X(LEASE_OVER, "lease-over", "the sub-lease is not live any more")                              \
    X(NOT_MINE, "not-mine", "another node has claimed this epoch")                                 \
    X(CRASHED, "crashed", "PostgreSQL is gone without an order")                                   \
    X(HUNG, "hung", "PostgreSQL runs, and has not worked for too long")                            \
    X(REAPED, "reaped", "all of it is dead")                                                       \
    X(TOO_LONG, "too-long", "it does not stop by itself")                                          \
    X(UNBIDDEN, "unbidden", "PostgreSQL accepts writes without authority")                         \
    X(DIVERGED, "diverged", "its history has left that of the primary")                            \
    X(KEPT, "kept", "what only it has is kept, or cannot be asked for now")                        \
    X(FAILED, "failed", "the last try failed")                                                     \
    X(TRIES, "tries", "too many tries failed")                                                     \
    X(PREFERS_TIME, "prefers-time", "a standby serves sooner than a restart")                      \
    X(GAP, "gap", "the log that it needs next is gone at the primary")                             \
    X(FOREIGN, "foreign", "its data belong to another group of PostgreSQL")                        \
    X(TIMELINE, "timeline", "it promoted to a timeline that another node may have had")            \
    X(MOVED_ON, "moved-on", "the cell has another epoch")                                          \
    X(UNABLE, "unable", "PostgreSQL cannot be started here")

enum fm_group_why {
#define X(id, name, text) FM_GROUP_WHY_##id,
    FM_GROUP_WHYS(X)
#undef X
        FM_GROUP_WHY_COUNT
};

const char *fm_group_state_name(enum fm_group_state s);
const char *fm_group_event_name(enum fm_group_event e);
const char *fm_group_why_name(enum fm_group_why w);
const char *fm_group_why_text(enum fm_group_why w);

/* -------- evidence -------- */

enum fm_group_process {
    FM_GROUP_GONE,   /* nothing of it lives: all reaped */
    FM_GROUP_UP,     /* the postmaster lives */
    FM_GROUP_ORPHANS /* the postmaster is dead, backends may live */
};

struct fm_group_evidence {
    const struct fm_sublease_cell *sub; /* of the group's cell; nothing granted: all zero */
    const struct fm_cell_at *cell;      /* newest that was seen; NULL = none */
    /* the local node; where PostgreSQL does not answer, by its control data and signal files */
    uint8_t process;        /* enum fm_group_process */
    bool expired;           /* GONE: it was ended as the sub-lease ran short */
    bool unable;            /* GONE: no server can be started: its programs, or its data */
    bool apart;             /* as a standby it is to receive nothing (core/standby.h) */
    bool data;              /* there is a whole data directory */
    bool accepting;         /* PostgreSQL answers; what follows is what it said */
    struct fm_mono well_at; /* of a primary: it let somebody new in then, and wrote what waited; 0 =
                               not known since it was started */
    struct fm_group_report self;      /* state and epoch are filled in by fm_group_report */
    const struct fm_history *history; /* of self; NULL = not known */
    /* the others */
    const struct fm_group_report *node; /* one a node, that of self is not looked at */
    unsigned nnodes;
    const struct fm_history *primary; /* of the node that is recorded as writer; NULL = not known */
    /* what this node has behind the fork from `primary` is known where that is, durably; or a
     * person has written it off (core/loss.h) */
    bool kept;
    /* PRIMARY: what core/credit.h wants recorded */
    uint32_t counted;       /* standbys that bound what is acknowledged: the promotable ones */
    uint64_t credit;        /* ... by so many bytes beyond what they have */
    uint32_t near;          /* ... but for these, which lack nothing of it */
    struct fm_lsn holes_to; /* ... where they have passed this place; none: there are no holes */
};

/* -------- the machine -------- */

enum fm_group_prefer { FM_PREFER_DATA, FM_PREFER_TIME };

struct fm_group_policy {
    uint8_t prefer;       /* enum fm_group_prefer: a primary that crashed */
    uint8_t restarts_max; /* ... is started again so often ... */
    int64_t restarts_ms;  /* ... in such a window */
    int64_t hang_ms;      /* one that does not work for so long is started again, once in it */
    int64_t yield_ms;     /* after which it waits so long, for whoever may take over */
    uint8_t tries_max;    /* starts and rewinds that fail before the node is copied anew */
    uint8_t copies_max;   /* ... and, with copies, before a person is needed */
    int64_t retry_ms;     /* after a failure; doubled after each that follows, five times at most */
    int64_t stop_ms;      /* a fast stop takes at most so long, then it is an immediate one */
    int64_t fresh_ms;     /* older reports of other nodes do not count */
    int64_t stuck_ms;     /* a standby that receives nothing so long does not get on by itself */
    int64_t wait_ms;      /* a node of the region that has more, or has written it all, is left so
                             much time to claim */
    uint64_t lag_max;     /* bytes that a standby may be behind to count */
};

struct fm_group_node {
    uint8_t state; /* enum fm_group_state */
    uint8_t why;   /* enum fm_group_why: how it got there */
    uint8_t self;  /* number of this node */
    uint8_t nnodes;
    uint32_t serial;      /* of the state's visit: what answers an earlier one is ignored */
    struct fm_mono since; /* in this state */
    struct fm_mono retry_at;
    uint8_t tries;    /* that failed in a row */
    bool copied;      /* ... and a new copy has been made since they began */
    uint8_t restarts; /* of the primary, since the window began */
    struct fm_mono restarts_from;
    bool created;               /* its data may begin a group of which nothing is recorded */
    bool adopted;               /* ... and were there before: nobody knows what else they began */
    bool reinit;                /* its data are to be copied anew */
    bool gap;                   /* ... since the primary has not the log any more that they need */
    struct fm_lsn stuck_at;     /* a standby that receives nothing: as far as it has come ... */
    struct fm_mono stuck_since; /* ... since then */
    struct fm_epoch yielded;    /* never primary again at or below this one */
    struct fm_epoch held;       /* that the region holds, by a live sub-lease; 0 = none */
    struct fm_mono held_at;     /* since then */
};

struct fm_group_verdict {
    bool changed;
    bool refused; /* an order that does not fit; `why` */
    uint8_t from, to, why;
    uint32_t serial;
    enum fm_group_action action;
    uint8_t node;      /* to follow, rewind or copy from; FM_GROUP_NOBODY */
    bool apart;        /* FOLLOW: it stays a standby, and receives nothing */
    uint32_t timeline; /* PROMOTE */
    bool records;      /* RECORD, OPEN: `record` differs from what is recorded */
    struct fm_revision revision;
    struct fm_evidence record;
    struct fm_mono wake; /* TICK at the latest then */
};

void fm_group_init(struct fm_group_node *g, uint8_t self, unsigned nnodes, struct fm_mono now);

/* `serial` is that of DONE and FAILED; others ignore it. With DONE the evidence has to be that of
 * after it. One step may pass through several states:
 * from and to are the ends. The action is that of the state, changed or not. */
struct fm_group_verdict fm_group_step(struct fm_group_node *g, const struct fm_group_policy *p,
                                      enum fm_group_event event, uint32_t serial,
                                      const struct fm_group_evidence *ev, struct fm_mono now);

/* What this node says of itself: ev->self, with its state and epoch. */
struct fm_group_report fm_group_report(const struct fm_group_node *g,
                                       const struct fm_group_evidence *ev);

/* -------- single decisions, for the shell, the keeper and the quote -------- */

/* Is it, as it says, the primary of the recorded history, and open: may the others copy it? */
bool fm_group_is_source(const struct fm_evidence *recorded, const struct fm_group_report *r,
                        int64_t fresh_ms, struct fm_mono now);

/* Is it, as it said last, a primary that is open under this epoch? */
bool fm_group_is_open(const struct fm_group_report *r, struct fm_epoch epoch);

/* Has nobody taken the node away from its agent: may it be promoted? */
bool fm_group_is_looked_after(const struct fm_group_report *r);
uint32_t fm_group_looked_after(const struct fm_group_report *node, unsigned nnodes);

/* It runs in recovery, and follows whom it is told. */
bool fm_group_stands_by(unsigned state);

/* On its way to being the primary, or it is: what writes, or will without being asked again. */
bool fm_group_is_writer_state(unsigned state);

/* Where a context is only a database: can a region serve it, or take it over? */
#define FM_GROUP_HEALTHS(X)                                                                        \
    X(WELL, "a node of the region serves, or could")                                               \
    X(SILENT, "nothing is heard of its PostgreSQL")                                                \
    X(DOWN, "no PostgreSQL of the region runs as it should")

enum fm_group_health {
#define X(id, text) FM_GROUP_HEALTH_##id,
    FM_GROUP_HEALTHS(X)
#undef X
        FM_GROUP_HEALTH_COUNT
};

const char *fm_group_health_text(enum fm_group_health h);

/* By what was heard of late of the nodes of that region. What is on its way to being the primary
 * counts: who has just moved there must not be taken for one that does badly. */
enum fm_group_health fm_group_health(const struct fm_group_report *node, unsigned nnodes,
                                     int64_t fresh_ms, struct fm_mono now);

/* `loss-if-now`: what would be lost with the primary at this moment, as it says itself while it is
 * heard, else as the best of the others would find it. `recorded` NULL: there are no data yet. */
struct fm_credit_bound fm_group_loss_if_now(const struct fm_evidence *recorded,
                                            const struct fm_group_report *node, unsigned nnodes,
                                            unsigned nregions, int64_t fresh_ms,
                                            struct fm_mono now);

/* ... and what would be, if a node of the primary's own region went on: by the record alone. False:
 * there is none to go on. */
bool fm_group_loss_in_region(const struct fm_evidence *recorded, const struct fm_group_report *node,
                             unsigned nnodes, int64_t fresh_ms, struct fm_mono now,
                             struct fm_credit_bound *out);

/* May an answer of PostgreSQL to a client pass at this moment, and a new session begin? (rule 25)
 * Ask for each, not once. */
bool fm_group_serves(const struct fm_group_node *g, const struct fm_group_evidence *ev,
                     struct fm_mono now);

/* May the agent say to the keeper that it has stopped? (rule 25: dead is "all reaped") */
bool fm_group_has_stopped(const struct fm_group_node *g, const struct fm_group_evidence *ev);

enum fm_group_fit {
    FM_GROUP_FIT_UNKNOWN,
    FM_GROUP_FIT_SAME,     /* it may follow */
    FM_GROUP_FIT_DIVERGED, /* it has what the recorded history has not */
    FM_GROUP_FIT_FOREIGN   /* another system */
};

/* How the local node's data stand to the recorded history. */
enum fm_group_fit fm_group_fit(const struct fm_group_node *g, const struct fm_group_evidence *ev);

/* -------- the table -------- */

struct fm_group_row {
    uint8_t from, event, to, why;
    bool (*guard)(const struct fm_group_node *g, const struct fm_group_policy *p,
                  const struct fm_group_evidence *ev, struct fm_mono now);
    const char *comment;
};
extern const struct fm_group_row fm_group_rows[];
extern const unsigned fm_group_nrows;

#endif
