/* proxy/groups.h: the PostgreSQL groups that a host has doors of: the doors as the configuration
 * declares them (groups.*.listen, of a gate), and what the nodes of each group report.
 *
 * PostgreSQL takes clients from the loopback alone, so that nobody goes around the doors (SAFETY.md
 * 25). So a gate reaches a node of another host of its region through the peer port of the agent
 * there; its doors of groups that have no node in its region take no connections. A host with the
 * role `postgres` has a door of each group, for such gates; without listeners where it is no gate,
 * or does not listen.
 *
 * Lives from the start of a gate (or database agent) to its end. A reload brings nodes and groups,
 * and takes nodes away; where a door of before listens takes effect at the next restart. All on the
 * control thread; errors as in proxy/door.h. */
#ifndef FM_PROXY_GROUPS_H
#define FM_PROXY_GROUPS_H

#include "conf/conf.h"
#include "core/lineage.h"
#include "http/pages.h"
#include "proxy/door.h"
#include "proxy/names.h"

struct fm_groups;

struct fm_groups_config {
    const struct fm_conf *conf; /* read during the call */
    unsigned host;              /* this one, in it */
    struct fm_seats *seats;
    unsigned nworkers;
    /* of a gate */
    const struct fm_names *names; /* where agents of other hosts are; NULL: no gate */
    struct fm_tls *tls;           /* how they are spoken to; NULL: plainly */
};

/* The doors listen when it returns. A host may have none, until a group comes. */
enum fm_err fm_groups_open(const struct fm_groups_config *c, struct fm_groups **out,
                           struct fm_error *e) FM_WARN_UNUSED;
void fm_groups_free(struct fm_groups *g);

/* Another configuration, with the same seats and names: nodes that have come or gone, groups that
 * have come. What cannot listen is logged, and the rest goes on. */
void fm_groups_reset(struct fm_groups *g, const struct fm_groups_config *c);

/* Some host may have another address. */
void fm_groups_names_changed(struct fm_groups *g);

/* The page /groups/GROUP/door of the peer port: a gate passes a connection on (proxy/tunnel.h).
 * `g` NULL: there are none. `gate`: who asks is a gate of this region. */
void fm_groups_page(struct fm_groups *g, bool gate, const struct fm_page_request *q,
                    struct fm_page_answer *a);

/* What the node of a group on a host (by their names) says of itself. */
void fm_groups_reported(struct fm_groups *g, struct fm_str group, struct fm_str host,
                        const struct fm_group_report *r);

/* NULL where there are none, yet. */
struct fm_doors *fm_groups_doors(const struct fm_groups *g);

#endif
