/* agent/heard.h: what the nodes of PostgreSQL groups have said of themselves to this host. Where a
 * context is only a database the gates of a region say by it whether the region can serve it; what
 * it comes to core decides (fm_group_health). Private to src/agent.
 *
 * Bounded: as many nodes of a context as a group has; the oldest word gives way. One thread. */
#ifndef FM_AGENT_HEARD_H
#define FM_AGENT_HEARD_H

#include "agent/roster.h"
#include "conf/conf.h"
#include "core/group.h"

struct fm_heard;

/* NULL: no memory. The roster lives longer. */
struct fm_heard *fm_heard_new(const struct fm_roster *roster) FM_WARN_UNUSED;
void fm_heard_free(struct fm_heard *h);

/* Of the node on that host; `context` and `host` are numbers of the roster. `r->at` says when. */
void fm_heard_take(struct fm_heard *h, unsigned context, unsigned host,
                   const struct fm_group_report *r);

/* Of the nodes that the group of the context has in that region; both are indices of `conf`. */
enum fm_group_health fm_heard_health(const struct fm_heard *h, const struct fm_conf *conf,
                                     unsigned context, unsigned region, struct fm_mono now);

#endif
