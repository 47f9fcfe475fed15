/* agent/lane.h: one queued command after the other, sent to one gate: what each try heard.
 *
 * A lane makes the request out of what lies in the queue (proxy/queued.h), with what each try says
 * anew, sends it over a connection that it keeps, reads the answer to its end and tells what of it
 * counts (core/delivery.h). The owner embeds it; one try at a time; one loop. */
#ifndef FM_AGENT_LANE_H
#define FM_AGENT_LANE_H

#include "core/delivery.h"
#include "http/caller.h"
#include "journal/journal.h"

struct fm_lane {
    /* the owner's, set before fm_lane_init: the try is over; from the loop. Of `h` the lane sets
     * sent, answered, waits_there, strange, status and problem; `why` says why there was no answer
     */
    void (*heard)(struct fm_lane *l, struct fm_delivery_heard *h, const char *why);
    /* its own */
    struct fm_caller caller;
    struct fm_delivery_heard h;
};

void fm_lane_init(struct fm_lane *l, struct fm_loop *loop, struct fm_resolver *resolver,
                  const struct fm_caller_to *to);

struct fm_lane_try {
    const struct fm_journal_item *item; /* read before fm_lane_send returns */
    struct fm_str region;               /* whose queue it is in */
    struct fm_epoch epoch, first;       /* under which it is sent, and was sent first; 0 = never */
    int64_t patience_ms;                /* the gate's, and a little more is ours */
};

/* FM_ERR_INVALID: what is in the queue cannot be read by this version. FM_ERR_MEMORY. Then `heard`
 * does not follow. */
enum fm_err fm_lane_send(struct fm_lane *l, const struct fm_lane_try *t,
                         struct fm_error *e) FM_WARN_UNUSED;

/* Give up what is under way; nothing is told any more. */
void fm_lane_close(struct fm_lane *l);
static inline bool fm_lane_is_gone(const struct fm_lane *l, bool resolver_freed)
{
    return fm_caller_is_gone(&l->caller, resolver_freed);
}

#endif
