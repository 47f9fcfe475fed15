/* core/answer.h: the edge's half of authority (SAFETY.md 13, 15 to 17; DESIGN.md invariant 6).
 *
 * An edge holds no authority. It has a view of who holds what, which never goes back; it drops a
 * success of an epoch that was ended by force; it holds commands while a cell moves, within bounds;
 * and it begins an override only on a region's finding. Pure functions of what they are given. */
#ifndef FM_CORE_ANSWER_H
#define FM_CORE_ANSWER_H

#include "core/record.h"

struct fm_view_cell {
    struct fm_epoch epoch, gentle_from;
    uint8_t region;
    bool released; /* it is on its way: nobody may take its commands now */
};

struct fm_authority_view {
    struct fm_incarnation incarnation;
    struct fm_generation generation;
    uint8_t ncells;
    struct fm_view_cell cell[FM_AUTH_CELLS_MAX];
};

/* Replace `v` by `next` if that is newer; per cell nothing goes back either, unless the store was
 * seeded anew. True: something changed. */
bool fm_view_adopt(struct fm_authority_view *v, const struct fm_authority_view *next);

/* May a success under `epoch` go to the client? Else the outcome is unknown. */
bool fm_answer_passes(const struct fm_view_cell *c, struct fm_epoch epoch);

#define FM_HOLDS(X)                                                                                \
    X(SEND, "send")                                                                                \
    X(HOLD, "hold")                                                                                \
    X(WHEN_AWAY, "when-away") /* the hold is over: what the route says happens */                  \
    X(OVERLOADED, "overloaded")                                                                    \
    X(DROP, "drop") /* its client left */

enum fm_hold {
#define X(id, name) FM_HOLD_##id,
    FM_HOLDS(X)
#undef X
        FM_HOLD_COUNT
};

const char *fm_hold_name(enum fm_hold h);

struct fm_held {
    bool moving; /* the last answer was `moving`, or the view says so */
    bool client_gone;
    bool view_newer; /* a view came since it was answered */
    int64_t held_ms, hold_ms;
    uint32_t held, held_max; /* commands in the queue, and its end */
};

/* What to do with a command that no gate takes now. */
enum fm_hold fm_hold_decide(const struct fm_held *h);

#define FM_AWAYS(X)                                                                                \
    X(REJECT, "reject")                                                                            \
    X(QUEUE, "queue")                                                                              \
    X(OVERRIDE, "override")

enum fm_away {
#define X(id, name) FM_AWAY_##id,
    FM_AWAYS(X)
#undef X
        FM_AWAY_COUNT
};

const char *fm_away_name(enum fm_away a);

/* After the hold. An override needs the region's own finding that the lease has lapsed, or a route
 * that is declared concurrent; that one edge lost its path is no finding (rule 17). */
enum fm_away fm_when_away(enum fm_away configured, bool region_found_lapsed, bool concurrent);

#endif
