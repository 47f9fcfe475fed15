/* agent/ctl_node.h: what orders about one node of a PostgreSQL group have in common. Private to
 * ctl_node.c and ctl_member.c. The keeper of the holder asks the node's agent again and again,
 * which does it once and says how it stands: whoever of the two starts anew in the middle goes on.
 */
#ifndef FM_AGENT_CTL_NODE_H
#define FM_AGENT_CTL_NODE_H

#include "agent/ctl_order.h"
#include "core/group_order.h"

enum { CTL_NODE_SILENT_MS = 5000, CTL_NODE_WHOLE = 100 }; /* WHOLE: percent of it */

/* The number of the node of this name; -1 = it is none (any more). */
int ctl_node_find(const struct ctl_context *c, const char *name);
/* ... of the one that an order is about; where there is none, it is refused. */
int ctl_node_ordered(struct ctl_order *o);

/* What core/group_order.h is asked with; `report` has what was heard. */
struct fm_group_order_case ctl_node_case(const struct ctl_order *o, unsigned node,
                                         struct fm_group_report report[FM_GROUP_NODES_MAX]);
/* What it says, as a refusal. */
void ctl_node_refuse(struct ctl_order *o, enum fm_group_order_no why);

/* The group, and the name of the node, of an order; its operation is about it from now on. NULL: it
 * is refused. */
const struct fm_conf_group *ctl_node_take_order(struct ctl_order *o);

/* May this agent carry the operation out? NULL: no. */
struct ctl_context *ctl_node_acts(const struct ctl_op *o, const struct fm_op *x);
/* The agent of that host is asked, and again a moment later. */
void ctl_node_ask(struct ctl_op *o, const struct ctl_context *c, unsigned host);
/* It looks at the operation again a moment later. */
void ctl_node_again(struct ctl_op *o);
/* Has its agent not answered for a while, though it is asked? */
bool ctl_node_is_silent(const struct ctl_op *o);
void ctl_node_end(struct fm_op *x, enum fm_op_state state, const char *text);

#endif
