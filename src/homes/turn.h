/* homes/turn.h: the turns of a thread that computes for seconds, internal to src/homes. Who is
 * preempted goes on until the kernel's clock ticks, and longer; who gives way by itself at the end
 * of a shorter turn keeps a worker from its CPU more seldom for long. Costs little where nobody
 * waits. It is no bound: the kernel may choose the same thread again. The caller's, on one thread.
 */
#ifndef FM_HOMES_TURN_H
#define FM_HOMES_TURN_H

#include "base/time.h"

#include <sched.h>

#define FM_HOMES_TURN_NS (500 * FM_NS_PER_US)

struct fm_homes_turn {
    struct fm_mono since; /* zeroed: it begins with giving way */
};

/* To be called again and again, within much less than a turn. */
static inline void fm_homes_turn_over(struct fm_homes_turn *t)
{
    if (fm_mono_sub_ns(fm_mono_now(), t->since) < FM_HOMES_TURN_NS)
        return;
    (void)sched_yield(); /* it has no failure */
    t->since = fm_mono_now();
}

#endif
