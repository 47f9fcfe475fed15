/* core/failover.h: whether a context should move without the consent of its holder, and who says
 * so.
 *
 * One machine per context at each agent; it acts at the keeper of the region that would take over.
 * It orders, and core/authority.h decides whether the order is safe. Modes: `manual` waits for a
 * person at each step; `assisted` prepares by itself, then asks and asks again; `automatic`
 * completes where a majority of observers agrees, the successor is ready and has the capacity, the
 * fences are proven, the loss is within what was consented to beforehand, and the bound `at-most`
 * is not reached; else it falls back to asking and says why. A timer asks, it never consents to
 * loss (SAFETY.md rules 9, 12, 30; DESIGN.md invariants 7, 8).
 *
 * The evidence is handed in with every event: this machine measures nothing, and trusts no evidence
 * of an earlier step. Grace runs at the same time as the lease. Pure; rows are the table. */
#ifndef FM_CORE_FAILOVER_H
#define FM_CORE_FAILOVER_H

#include "core/epoch.h"

#define FM_FAILOVER_STATES(X)                                                                      \
    X(STEADY, "steady")                                                                            \
    X(PREPARING, "preparing") /* the standby is started and checked */                             \
    X(PREPARED, "prepared")                                                                        \
    X(ASKING, "asking")         /* a person has to consent */                                      \
    X(COMPLETING, "completing") /* cells are being acquired */                                     \
    X(FAILED_OVER, "failed-over")                                                                  \
    X(FAILING_BACK, "failing-back") /* cells move home, one by one */

enum fm_failover_state {
#define X(id, name) FM_FAILOVER_##id,
    FM_FAILOVER_STATES(X)
#undef X
        FM_FAILOVER_STATE_COUNT
};

#define FM_FAILOVER_EVENTS(X)                                                                      \
    X(TICK, "tick")                                                                                \
    X(PREPARE, "prepare")       /* a person */                                                     \
    X(COMPLETE, "complete")     /* a person, with a quote */                                       \
    X(STAND_DOWN, "stand-down") /* a person */                                                     \
    X(STARTED, "started")       /* the standby is ready */                                         \
    X(START_FAILED, "start-failed")                                                                \
    X(TAKEN, "taken")       /* that region holds nothing any more */                               \
    X(FAILBACK, "failback") /* a person, or the policy in its window */                            \
    X(FOUND, "found")       /* a keeper before this one took cells by force, and they are here */  \
    X(RETURNED, "returned") /* every cell is home */                                               \
    X(BREACH, "breach")     /* the canary cell does badly at home */

enum fm_failover_event_kind {
#define X(id, name) FM_FAILOVER_ON_##id,
    FM_FAILOVER_EVENTS(X)
#undef X
        FM_FAILOVER_EVENT_COUNT
};

#define FM_FAILOVER_WHYS(X)                                                                        \
    X(NONE, "none", "")                                                                            \
    X(LOST, "holder-lost", "a majority of observers lost the holder")                              \
    X(ORDERED, "ordered", "a person said so")                                                      \
    X(READY, "standby-ready", "the standby is started and checked")                                \
    X(NOT_READY, "not-ready", "the successor is not ready")                                        \
    X(MODE, "mode", "the mode asks for a person")                                                  \
    X(NO_MAJORITY, "no-majority", "too few observers agree")                                       \
    X(NO_QUORUM, "no-quorum", "coordination does not answer")                                      \
    X(TWO_DOMAINS, "two-domains", "without a third domain a person attests the fence")             \
    X(CAPACITY, "capacity", "the successor has not the capacity")                                  \
    X(FENCES, "fences", "a fence is not proven")                                                   \
    X(LOSS, "loss", "the loss is above max-loss or not known")                                     \
    X(QUOTE, "quote", "the quote is void: it ran out, or the loss became worse")                   \
    X(HEALTHY, "holder-healthy", "observers see the holder healthy")                               \
    X(AT_MOST, "at-most", "the bound on automatic failovers is reached")                           \
    X(PAUSED, "paused", "automatic is paused")                                                     \
    X(ALL_CLEAR, "all-clear", "everything that automatic asks for holds")                          \
    X(BACK, "holder-back", "the holder is well again before anything was taken")                   \
    X(DONE, "done", "every cell was acquired")                                                     \
    X(LAG, "lag", "replication lags, or conflicts wait")                                           \
    X(ILL, "home-not-well", "home is not well")                                                    \
    X(SOAK, "soak", "home has not been well for long enough")                                      \
    X(WINDOW, "window", "the window of failback is shut")                                          \
    X(POLICY, "policy", "home was well for long enough, in the window")                            \
    X(HOME, "home", "every cell is home")                                                          \
    X(CANARY, "canary", "the canary did badly")

enum fm_failover_why {
#define X(id, name, text) FM_FAILOVER_WHY_##id,
    FM_FAILOVER_WHYS(X)
#undef X
        FM_FAILOVER_WHY_COUNT
};

const char *fm_failover_state_name(enum fm_failover_state s);
const char *fm_failover_event_name(enum fm_failover_event_kind k);
const char *fm_failover_why_name(enum fm_failover_why w);
const char *fm_failover_why_text(enum fm_failover_why w);

enum fm_failover_mode { FM_MODE_MANUAL, FM_MODE_ASSISTED, FM_MODE_AUTOMATIC };

struct fm_failover_policy {
    uint8_t mode; /* enum fm_failover_mode */
    int64_t grace_ms, ask_after_ms, soak_ms;
    uint64_t max_loss; /* bytes that automatic may lose */
    bool failback_automatic;
    uint64_t conflicts_max;
};

/* What a person was told that it would cost (valid for seconds). */
struct fm_quote {
    uint64_t loss;
    bool unbounded;
    struct fm_mono until;
};

/* The world, as the agent sees it at this moment. */
struct fm_failover_evidence {
    bool nothing;                /* the lost region holds nothing any more */
    bool heir;                   /* this region is the one that would take over */
    uint8_t observers;           /* regions that may vote, with mine */
    uint8_t lost_by, healthy_by; /* of them: saw the holder lost, saw it healthy */
    bool yielded; /* the holder itself has given it up, in coordination: no vote outweighs that */
    uint8_t domains; /* failure domains of coordination */
    bool quorum;     /* a linearizable read answered of late */
    bool ready, capacity, fenced;
    bool attested; /* a person attests that the holder is fenced */
    bool paused;   /* automatic was paused */
    uint8_t budget_left;
    uint64_t loss;
    bool unbounded;
    /* for failback */
    bool home_well, window;
    uint64_t lag, conflicts;
};

struct fm_failover_event {
    enum fm_failover_event_kind kind;
    const struct fm_failover_evidence *ev;
    struct fm_quote quote; /* COMPLETE */
    bool break_glass;      /* COMPLETE in spite of the health gate; loud */
};

#define FM_FAILOVER_ACTIONS(X)                                                                     \
    X(NOTHING)                                                                                     \
    X(START) /* the standby, and check it */                                                       \
    X(STOP)  /* the standby again: stand down */                                                   \
    X(ASK)   /* page a person, with a quote */                                                     \
    X(TAKE)  /* order the cells acquired; `automatic` says how it is counted */                    \
    X(DESIST)                                                                                      \
    X(MOVE_HOME) /* one cell after the other, a canary first */                                    \
    X(MOVE_BACK) /* the canary returns */

enum fm_failover_action {
#define X(id) FM_FAILOVER_DO_##id,
    FM_FAILOVER_ACTIONS(X)
#undef X
        FM_FAILOVER_ACTION_COUNT
};

struct fm_failover {
    uint8_t state;  /* enum fm_failover_state */
    uint8_t why;    /* of the last transition, or of what keeps it where it is */
    bool automatic; /* nobody was asked for this one */
    bool broke_glass;
    bool by_person;  /* it was prepared by a person while the holder was not lost */
    bool stood_down; /* by a person: not prepared again until the holder has been seen well */
    bool fell_back;  /* ASKING because what was begun did not work out, not only for consent */
    struct fm_quote accepted; /* COMPLETING: what may be lost by it; `until` says nothing */
    struct fm_mono since, lost_since, asked_at, home_since;
};

struct fm_failover_verdict {
    bool changed;
    uint8_t from, to, why;
    enum fm_failover_action action;
    bool refused; /* an order was refused, because of `why` */
};

void fm_failover_init(struct fm_failover *f, struct fm_mono now);

struct fm_failover_verdict fm_failover_step(struct fm_failover *f,
                                            const struct fm_failover_policy *p,
                                            const struct fm_failover_event *e, struct fm_mono now);

/* A failback as a person would order it now: whether it would begin, and what it waits for. */
struct fm_failover_home {
    struct fm_failover_verdict verdict; /* refused: because of its `why`, which is the first one */
    bool lags, ill, unsoaked, shut;     /* each for itself: what is not so yet */
    int64_t well_ms, left_ms; /* home has been well for so long; so much of `soak` is left */
};

/* Changes nothing: a step of a copy. One that is under way already is not refused. */
struct fm_failover_home fm_failover_home(const struct fm_failover *f,
                                         const struct fm_failover_policy *p,
                                         const struct fm_failover_evidence *ev, struct fm_mono now);

/* What a person has ordered, until it is fulfilled; the order survives whoever carries it out. */
enum fm_failover_wish {
    FM_FAILOVER_TO_PREPARE,
    FM_FAILOVER_TO_COMPLETE,
    FM_FAILOVER_TO_STAND_DOWN
};

/* The next event of that order. FM_FAILOVER_EVENT_COUNT = the wish has come true: who looks again
 * at an order to prepare must not take it for consent. TICK = wait: the standby is starting. */
enum fm_failover_event_kind fm_failover_towards(const struct fm_failover *f,
                                                enum fm_failover_wish wish);

/* Nothing is under way, and nothing of an earlier outage is remembered: it need not be stepped
 * while the holder is heard. */
bool fm_failover_is_idle(const struct fm_failover *f);
/* A person has it taken: is the holder asked to let go, where it is heard? While it lives it renews
 * its lease, and nobody else would ever get what it holds, however badly it does. */
bool fm_failover_asks_holder(const struct fm_failover *f);
/* Its heir is being prepared, is, or is taking over. */
bool fm_failover_prepares(const struct fm_failover *f);

/* Everything that automatic asks for; the first that is missing. */
enum fm_failover_why fm_failover_automatic(const struct fm_failover *f,
                                           const struct fm_failover_policy *p,
                                           const struct fm_failover_evidence *ev);

/* -------- the table -------- */

struct fm_failover_row {
    uint8_t from, event, to, why, action;
    bool (*guard)(const struct fm_failover *f, const struct fm_failover_policy *p,
                  const struct fm_failover_event *e, struct fm_mono now);
    const char *comment;
};
extern const struct fm_failover_row fm_failover_rows[];
extern const unsigned fm_failover_nrows;

#endif
