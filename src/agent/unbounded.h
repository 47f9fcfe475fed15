/* agent/unbounded.h: why nothing bounds what would be lost with a primary, for people. Private to
 * src/agent.
 *
 * That it is so core says (core/lineage.h, credit.h); here is which standbys do not count, and what
 * is seen of them. Pure. */
#ifndef FM_AGENT_UNBOUNDED_H
#define FM_AGENT_UNBOUNDED_H

#include "core/lineage.h"

enum { FM_UNBOUNDED_ROOM = 200 };

/* `name` of each node; NULL = it is not of the group any more. */
void fm_unbounded_say(const struct fm_evidence *recorded, const struct fm_group_report *node,
                      const char *const *name, unsigned nnodes, int64_t fresh_ms,
                      struct fm_mono now, char out[FM_UNBOUNDED_ROOM]);

#endif
