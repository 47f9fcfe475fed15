/* core/drain.h: may one of several that do the same be left without new work? An instance of a pool
 * beside the others of its region, or a gate beside the other gates.
 *
 * Intent only: whether it is well has no part in it, but those that stay must be. What the rest of
 * a region can carry is a share of it (N-1 is judged over all regions by whoever asks). Pure. */
#ifndef FM_CORE_DRAIN_H
#define FM_CORE_DRAIN_H

#include "base/time.h"

struct fm_drain_case {
    unsigned left; /* beside it: not drained, and not seen down */
    bool holds;    /* its region holds the right to write of a context that is served by it */
    bool gate;     /* it is a gate, and so are the others */
    bool keyed; /* gates stop doubles of some context, or queue: each key is known to one of them */
};

/* Of two that are in the way the first. */
#define FM_DRAINS(X)                                                                               \
    X(FINE, "")                                                                                    \
    X(LAST, "last-instance")      /* nobody would take the commands that only go there */          \
    X(ONE_GATE, "one-gate-a-key") /* nobody else may take the commands of its keys */

enum fm_drain_verdict {
#define X(id, rule) FM_DRAIN_##id,
    FM_DRAINS(X)
#undef X
        FM_DRAIN_COUNT
};

/* The name of the rule; "" where it may go on. */
const char *fm_drain_rule(enum fm_drain_verdict v);

enum fm_drain_verdict fm_drain_judge(const struct fm_drain_case *c);

/* Permille of what `serve` of a region is, where `left` of its `all` are there. */
unsigned fm_drain_share(unsigned serve_permille, unsigned left, unsigned all);

#endif
