/* core/standby.h: the app of a region that stands by, stopped until it is needed: when it is
 * started, when it is ready, when it may be stopped again.
 *
 * One machine per context at the keeper of the region. It follows a wish, which follows from who
 * holds the context and how its failover stands, looked at anew each time: a keeper that begins in
 * the middle goes on, by running the command once more. What coordination has recorded says that
 * the app may be running, also to a keeper that knows nothing of it; it is recorded before the
 * first start, and taken back after the stop. The app of a region that holds the context, or is
 * about to, is never stopped.
 *
 * Where the data are a PostgreSQL group, replication to the region may be broken as long as it is
 * prepared: its nodes stay standbys, and receive nothing (core/group.h). What may be lost is
 * bounded as ever, since nobody counts on what they do not have. It is restored when nobody
 * prepares any more, which is not over before a node of the region counts again.
 *
 * Pure; rows are the table. The shell runs the commands, one at a time, and tells how they ended.
 */
#ifndef FM_CORE_STANDBY_H
#define FM_CORE_STANDBY_H

#include "base/str.h"
#include "core/epoch.h"

#define FM_STANDBY_STATES(X)                                                                       \
    X(COLD, "stopped")      /* or nothing is known to this keeper yet */                           \
    X(NOTING, "noting")     /* it is being recorded that it may run */                             \
    X(STARTING, "starting") /* the command `start` runs */                                         \
    X(WAITING, "waiting")   /* health decides */                                                   \
    X(WARM, "ready")                                                                               \
    X(FAILED, "failed")     /* it did not start, or did not become ready in time */                \
    X(STOPPING, "stopping") /* the command `stop` runs */                                          \
    X(FORGETTING, "stopped-and-noting")                                                            \
    X(STUCK, "stop-failed") /* it is tried again */

enum fm_standby_state {
#define X(id, name) FM_STANDBY_##id,
    FM_STANDBY_STATES(X)
#undef X
        FM_STANDBY_STATE_COUNT
};

#define FM_STANDBY_EVENTS(X)                                                                       \
    X(LOOK, "look")          /* at the facts; again and again */                                   \
    X(ENDED_WELL, "ok")      /* the command that ran */                                            \
    X(ENDED_BADLY, "failed") /* ... with another code than 0, or it was killed after its time */   \
    X(AGAIN, "again")        /* a preparation begins: what failed before is tried again */

enum fm_standby_event {
#define X(id, name) FM_STANDBY_ON_##id,
    FM_STANDBY_EVENTS(X)
#undef X
        FM_STANDBY_EVENT_COUNT
};

#define FM_STANDBY_ACTIONS(X)                                                                      \
    X(NOTHING)                                                                                     \
    X(NOTE)  /* record that the app may be running */                                              \
    X(START) /* run the command */                                                                 \
    X(CHECK)                                                                                       \
    X(STOP)                                                                                        \
    X(FORGET) /* record that it is stopped */

enum fm_standby_action {
#define X(id) FM_STANDBY_DO_##id,
    FM_STANDBY_ACTIONS(X)
#undef X
        FM_STANDBY_ACTION_COUNT
};

const char *fm_standby_state_name(enum fm_standby_state s);
const char *fm_standby_event_name(enum fm_standby_event e);

/* -------- what is wished -------- */

enum fm_standby_wish {
    FM_STANDBY_LEAVE, /* too little is known: as it is */
    FM_STANDBY_ON,
    FM_STANDBY_OFF,
};

/* The world as the keeper of this region sees it. */
struct fm_standby_facts {
    bool home;        /* the context is at home here: its app is none of our business */
    bool holds;       /* the region holds it, or acquires it */
    bool promised;    /* it may have told a holder that it is ready: nothing is stopped meanwhile */
    bool engaged;     /* a failover to this region is being prepared, or more */
    bool stood_down;  /* a person stood one down */
    bool holder_well; /* a majority sees the region that holds it well */
    bool recorded;    /* coordination says that the app may be running */
    bool capable;     /* a gate of the region says that it can serve the context */
    bool busy;        /* a command runs */
    bool checks;      /* there is a command `check` */
    bool prepared;    /* a failover to this region is being prepared, is, or completes */
    bool moves;       /* a holder wants to hand it over: the data have to come here */
};

enum fm_standby_wish fm_standby_wish(const struct fm_standby_facts *x);

/* ON: replication to this region is to be broken, where that is declared. OFF: it goes on. Not
 * before it is recorded that the region is prepared, so that whoever is keeper next goes on. */
enum fm_standby_wish fm_standby_wish_apart(const struct fm_standby_facts *x);

/* -------- the machine -------- */

struct fm_standby_policy {
    int64_t ready_ms;  /* from the end of `start` until it must be ready */
    int64_t linger_ms; /* not wanted for so long before it is stopped: what is in flight ends */
    int64_t check_ms;  /* between two runs of `check` */
    int64_t retry_ms;  /* ... of `stop`, where it fails */
};

struct fm_standby {
    uint8_t state;                   /* enum fm_standby_state */
    bool started;                    /* the last `start` of this keeper ended well */
    bool checked;                    /* ... and `check` since then */
    bool unwanted;                   /* the wish was OFF when it was looked at last ... */
    struct fm_mono since, off_since; /* ... since then */
    struct fm_mono next_at;          /* the next `check` or `stop` */
};

struct fm_standby_verdict {
    bool changed;
    uint8_t from, to;
    enum fm_standby_action action;
    struct fm_mono wake; /* look again then; FM_MONO_NEVER */
};

void fm_standby_init(struct fm_standby *s, struct fm_mono now);

struct fm_standby_verdict fm_standby_step(struct fm_standby *s, const struct fm_standby_policy *p,
                                          const struct fm_standby_facts *x, enum fm_standby_event e,
                                          struct fm_mono now);

/* May a holder hand the context to this region? Not while its app is being stopped. */
bool fm_standby_may_receive(const struct fm_standby *s);

/* -------- replication to this region -------- */

#define FM_STANDBY_LINKS(X)                                                                        \
    X(FOLLOWS, "follows")      /* or does not by itself, which is the group's matter */            \
    X(BROKEN, "broken")        /* on purpose */                                                    \
    X(RESTORING, "restoring")  /* no node of the region counts yet */                              \
    X(OVERDUE, "not-restored") /* ... for too long: a person has to look */

enum fm_standby_link_state {
#define X(id, name) FM_STANDBY_LINK_##id,
    FM_STANDBY_LINKS(X)
#undef X
        FM_STANDBY_LINK_COUNT
};

const char *fm_standby_link_name(enum fm_standby_link_state s);

struct fm_standby_link {
    uint8_t is; /* enum fm_standby_link_state */
    bool known; /* else this keeper has just begun, and nothing follows from it */
    struct fm_mono since;
};

/* A keeper begins with what is recorded: what the nodes say tells who was kept apart and does not
 * count yet from who never did. It is recorded as often as it changes. */
void fm_standby_link_begin(struct fm_standby_link *l, enum fm_standby_link_state recorded,
                           struct fm_mono now);
/* By its name in the record; one that is not known is that of a version that knows more. */
enum fm_standby_link_state fm_standby_link_named(struct fm_str name);

/* What is seen of the nodes of the region. */
struct fm_standby_seen {
    bool apart;  /* one says that it receives nothing, on purpose */
    bool counts; /* one follows closely and is recorded, or is the primary */
};

/* True: it has changed. `restore_ms`: the longest that restoring may take. */
bool fm_standby_link_look(struct fm_standby_link *l, enum fm_standby_wish wish,
                          struct fm_standby_seen seen, int64_t restore_ms, struct fm_mono now);

enum fm_standby_restored {
    FM_STANDBY_NOT_YET,
    FM_STANDBY_RESTORED, /* or there was nothing to restore */
    FM_STANDBY_NOT_IN_TIME
};

/* Of the contexts that stand by together, when nobody prepares them any more. */
enum fm_standby_restored fm_standby_is_restored(const struct fm_standby_link *of, unsigned n);

/* -------- the table -------- */

struct fm_standby_row {
    uint8_t from, event, to, action;
    bool (*guard)(const struct fm_standby *s, const struct fm_standby_policy *p,
                  const struct fm_standby_facts *x, struct fm_mono now);
    const char *comment;
};
extern const struct fm_standby_row fm_standby_rows[];
extern const unsigned fm_standby_nrows;

#endif
