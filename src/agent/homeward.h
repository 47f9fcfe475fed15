/* agent/homeward.h: a failback for people: what it waits for, with its numbers, and what would make
 * it pass. Private to src/agent.
 *
 * Whether it may begin core/failover.h decides; here are the words for its answer, the same for an
 * order that was refused and for a dry run. Pure. */
#ifndef FM_AGENT_HOMEWARD_H
#define FM_AGENT_HOMEWARD_H

#include "core/failover.h"

/* One line, to stand in a message (FM_MESSAGE_WHY_ROOM). */
enum { FM_HOMEWARD_ROOM = 160 };

struct fm_homeward {
    const char *home;  /* the region */
    int64_t soak_ms;   /* as the file says it */
    bool lost;         /* it was not heard for a while */
    bool counts;       /* a standby of it counts, or there is no group */
    const char *lacks; /* what its data lack; "" = that is not known */
};

/* All that stands against it, the rule by which it was refused among them. */
void fm_homeward_say(const struct fm_failover_home *h, const struct fm_homeward *x,
                     char out[FM_HOMEWARD_ROOM]);

/* What helps where it was refused by the rule of this name; NULL: it is none of these. */
const char *fm_homeward_remedy(const char *rule);

#endif
