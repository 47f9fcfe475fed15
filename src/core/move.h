/* core/move.h: a planned move of one cell, at the keeper of its holder (SAFETY.md 15, 16).
 *
 * The order is the safety: the heir proves ready; gates and edges hold new commands; what is in
 * flight ends; the sub-lessees stop; journal and data are final at the heir; the cell is released;
 * the heir acquires. Until the stop an abort gives the cell back as it was. After it, an abort is
 * another epoch. Every step has a bound. It loses nothing or does not happen.
 *
 * Pure; a table of rows. The shell carries out actions and repeats them on its own while the state
 * lasts (they are idempotent); a failback is many of these, a canary first. */
#ifndef FM_CORE_MOVE_H
#define FM_CORE_MOVE_H

#include "core/epoch.h"

#define FM_MOVE_STATES(X)                                                                          \
    X(IDLE, "idle")                                                                                \
    X(ASKED, "asked")         /* is the heir ready? */                                             \
    X(HOLDING, "holding")     /* new commands are held, those in flight end */                     \
    X(STOPPING, "stopping")   /* the sub-lessees stop */                                           \
    X(SHIPPING, "shipping")   /* journal and data become final at the heir */                      \
    X(RELEASING, "releasing") /* the release is on its way */                                      \
    X(HANDED, "handed")       /* released; the heir acquires */                                    \
    X(RETAKING, "retaking")   /* aborted after the stop: another epoch */

enum fm_move_state {
#define X(id, name) FM_MOVE_##id,
    FM_MOVE_STATES(X)
#undef X
        FM_MOVE_STATE_COUNT
};

#define FM_MOVE_EVENTS(X)                                                                          \
    X(BEGIN, "begin")                                                                              \
    X(READY, "ready")     /* the heir: lag, health, capacity are good */                           \
    X(UNFIT, "unfit")     /* the heir says no */                                                   \
    X(DRAINED, "drained") /* every gate holds, and nothing is in flight */                         \
    X(STOPPED, "stopped") /* by core/authority.h */                                                \
    X(FINAL, "final")     /* data and journal are whole at the heir */                             \
    X(RELEASED, "released")                                                                        \
    X(TAKEN, "taken")     /* the cell was seen with another holder */                              \
    X(RETAKEN, "retaken") /* the cell is held here under another epoch */                          \
    X(ABORT, "abort")     /* a person */                                                           \
    X(LATE, "late")       /* the bound of the state has passed */                                  \
    X(LOST, "lost")       /* not keeper any more */

enum fm_move_event {
#define X(id, name) FM_MOVE_ON_##id,
    FM_MOVE_EVENTS(X)
#undef X
        FM_MOVE_EVENT_COUNT
};

#define FM_MOVE_ACTIONS(X)                                                                         \
    X(NOTHING)                                                                                     \
    X(ASK_HEIR)                                                                                    \
    X(HOLD)    /* tell the gates to hold new commands of the cell */                               \
    X(LET_GO)  /* ... and to hold no more */                                                       \
    X(STOP)    /* order core/authority.h to stop the sub-lessees */                                \
    X(SHIP)    /* journal and data to the heir */                                                  \
    X(RELEASE) /* order core/authority.h */                                                        \
    X(RETAKE)

enum fm_move_action {
#define X(id) FM_MOVE_DO_##id,
    FM_MOVE_ACTIONS(X)
#undef X
        FM_MOVE_ACTION_COUNT
};

const char *fm_move_state_name(enum fm_move_state s);
const char *fm_move_event_name(enum fm_move_event e);

struct fm_move_policy {
    int64_t ready_ms, drain_ms, stop_ms, ship_ms, release_ms, taken_ms;
};

struct fm_move {
    uint8_t state; /* enum fm_move_state */
    uint8_t cell, to;
    uint32_t serial;        /* of the move: what answers an earlier one counts for nothing */
    bool moved;             /* how the last one ended */
    struct fm_mono late_at; /* feed LATE then */
};

struct fm_move_verdict {
    bool changed, over;
    enum fm_move_action action;
};

/* BEGIN while one is under way is refused: nothing changes. */
struct fm_move_verdict fm_move_step(struct fm_move *m, const struct fm_move_policy *p,
                                    enum fm_move_event e, struct fm_mono now);

/* What is carried out again and again while the state lasts: what was sent may have been lost. */
enum fm_move_action fm_move_lasting(const struct fm_move *m);

/* Step (4): both have to be whole at the heir before FINAL is fed. */
static inline bool fm_move_is_final(bool data, bool journal)
{
    return FM_RULE(R16_FINAL, data) && FM_RULE(R21_SHIPPED, journal);
}

/* Its cell is where it was, and who would hand it over is lost: no such move is ordered, one that
 * waits is in the way of no failover, and one that is to be aborted is over. */
static inline bool fm_move_is_stranded(bool holder_lost, bool still_there)
{
    return holder_lost && still_there;
}

struct fm_move_row {
    uint8_t from, event, to, action;
    const char *comment;
};
extern const struct fm_move_row fm_move_rows[];
extern const unsigned fm_move_nrows;

#endif
