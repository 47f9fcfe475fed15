/* core/deadline.h: rules about time that has already passed (SAFETY.md rule 14). Pure.
 *
 * A process that was stopped finds old requests in its sockets. Two independent rules keep it from
 * executing them: what waited longer than its deadline is dropped, and a loop that was away for
 * long does not parse what came in meanwhile. */
#ifndef FM_CORE_DEADLINE_H
#define FM_CORE_DEADLINE_H

#include "base/str.h"
#include "base/time.h"

/* A loop that came back this much later than planned was frozen, not busy. */
enum { FM_FREEZE_MS = 200 };

static inline bool fm_was_frozen(int64_t late_ns)
{
    return late_ns >= FM_FREEZE_MS * FM_NS_PER_MS;
}

enum { FM_DEADLINE_MAX_MS = 24 * 3600 * 1000 };

struct fm_deadline {
    bool given;
    int64_t left_ns; /* at the moment of the call; 0 or less has passed */
};

/* `value` is that of Fulmar-Deadline (milliseconds that were left when it was sent), `age_ns` how
 * long the request has been here, counted from the kernel's receive time; an age that is not known
 * to be right (the clock went back) counts as passed. A malformed value counts as passed too. */
struct fm_deadline fm_deadline_left(struct fm_str value, int64_t age_ns);

#endif
