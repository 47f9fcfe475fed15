/* proxy/groups.h: the PostgreSQL groups that a gate has doors of (groups.*.listen): the doors as
 * the configuration declares them, and what the nodes of each group report.
 *
 * A gate reaches only a node of its own host, and has no doors of groups without one there:
 * PostgreSQL takes clients from the loopback alone, so that nobody goes around the doors (SAFETY.md
 * 25).
 *
 * Lives from the start of a gate to its end: what a reload changes in groups takes effect at the
 * next restart. All on the control thread; errors as in proxy/door.h. */
#ifndef FM_PROXY_GROUPS_H
#define FM_PROXY_GROUPS_H

#include "conf/conf.h"
#include "core/lineage.h"
#include "proxy/door.h"

struct fm_groups;

/* `*out` is NULL where the gate of this host listens for no group. */
enum fm_err fm_groups_open(const struct fm_conf *c, unsigned host, struct fm_seats *seats,
                           unsigned nworkers, struct fm_groups **out,
                           struct fm_error *e) FM_WARN_UNUSED;
void fm_groups_free(struct fm_groups *g);

/* What the node of a group on this host (by their names) says of itself. */
void fm_groups_reported(struct fm_groups *g, struct fm_str group, struct fm_str host,
                        const struct fm_group_report *r);

struct fm_doors *fm_groups_doors(struct fm_groups *g);

#endif
