/* homes/turn.h: the turns of a thread that computes for seconds, internal to src/homes. Who is
 * preempted goes on until the kernel's clock ticks, and longer. So it rests at the end of a shorter
 * turn: a worker that waits for its CPU gets it then. To yield is not enough: the kernel may choose
 * the same thread again, ten times in a row where workers have used up more than their share. A
 * rest costs a tenth of the time where nobody waits. The caller's, on one thread. */
#ifndef FM_HOMES_TURN_H
#define FM_HOMES_TURN_H

#include "base/time.h"

#include <time.h>

#define FM_HOMES_TURN_NS FM_NS_PER_MS
#define FM_HOMES_REST_NS (50 * FM_NS_PER_US)

struct fm_homes_turn {
    struct fm_mono since; /* zeroed: it begins with a rest */
};

/* To be called again and again, within much less than a turn. */
static inline void fm_homes_turn_over(struct fm_homes_turn *t)
{
    if (fm_mono_sub_ns(fm_mono_now(), t->since) < FM_HOMES_TURN_NS)
        return;
    const struct timespec rest = {.tv_nsec = FM_HOMES_REST_NS};
    (void)nanosleep(&rest, NULL); /* a signal makes it shorter, no more */
    t->since = fm_mono_now();
}

#endif
