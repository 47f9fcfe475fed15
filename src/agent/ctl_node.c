/* Orders of people about one node of a PostgreSQL group: its data made anew (reinit), the node left
 * to a person and back (maintain, resume). The holder's keeper asks the node's agent again and
 * again, which does it once and says how it stands; so whoever of the two starts anew in the middle
 * goes on. Whether it may be is decided at the node, by core/group.h; here it is refused what would
 * be refused there, at once and with what would make it pass. */
#include "agent/ctl_node.h"

#include "base/assert.h"
#include "base/hash.h"

#include <stdio.h>

enum { AGAIN_MS = 300, FRESH_MS = 2000 };

static bool is_about_node(const struct fm_op *o)
{
    return o->kind == FM_OP_REINIT || o->kind == FM_OP_MAINTAIN || o->kind == FM_OP_RESUME ||
           o->kind == FM_OP_ADD || o->kind == FM_OP_REMOVE;
}

/* The same at whoever is keeper. */
static uint32_t serial_of(const struct fm_op *o)
{
    static const struct fm_hash_key key = {0x66756c6d6172, 0x6e6f6465};
    return (uint32_t)fm_hash_str(key, fm_str_z(o->id));
}

int ctl_node_find(const struct ctl_context *c, const char *name)
{
    int host = fm_roster_find_host(c->ctl->c.roster, fm_str_z(name));
    for (unsigned i = 0; host >= 0 && i < c->group->nnodes; i++)
        if (c->group->node[i].in_file && c->group->node[i].host == (unsigned)host)
            return (int)i;
    return -1;
}

/* -------- against the rules -------- */

static enum fm_group_event event_of(const struct fm_op *o)
{
    FM_ASSERT(is_about_node(o) && o->kind != FM_OP_ADD && o->kind != FM_OP_REMOVE);
    return o->kind == FM_OP_REINIT     ? FM_GROUP_ON_REINIT
           : o->kind == FM_OP_MAINTAIN ? FM_GROUP_ON_MAINTAIN
                                       : FM_GROUP_ON_RESUME;
}

struct fm_group_order_case ctl_node_case(const struct ctl_order *o, unsigned node,
                                         struct fm_group_report report[FM_GROUP_NODES_MAX])
{
    int index = fm_conf_group_of(o->ctl->conf, (unsigned)o->c->conf);
    FM_ASSERT(index >= 0);
    const struct fm_conf_group *conf = &o->ctl->conf->groups[index];
    return (struct fm_group_order_case){.recorded = ctl_group_recorded(o->c),
                                        .node = report,
                                        .nnodes = ctl_group_reports(o->c, report),
                                        .which = node,
                                        .waits =
                                            conf->replication.mode == FM_CONF_SYNC &&
                                            conf->replication.beyond == FM_CONF_BEYOND_BLOCK_WRITES,
                                        .fresh_ms = FRESH_MS};
}

int ctl_node_ordered(struct ctl_order *o)
{
    int node = ctl_node_find(o->c, o->op.node);
    if (node < 0)
        ctl_refuse(&o->no, 404, "unknown-node",
                   "name one of its nodes: `fulmar group status` shows them",
                   "the group has no node `%s`", o->op.node);
    return node;
}

static const char *state_of(const struct ctl_order *o)
{
    int node = ctl_node_find(o->c, o->op.node);
    return node < 0
               ? "none"
               : fm_group_state_name((enum fm_group_state)o->c->group->node[node].report.state);
}

void ctl_node_refuse(struct ctl_order *o, enum fm_group_order_no why)
{
    const struct fm_evidence *e = ctl_group_recorded(o->c);
    const struct ctl_group *g = o->c->group;
    switch (why) {
    case FM_GROUP_ORDER_FINE:
        break;
    case FM_GROUP_ORDER_NO_DATA:
        ctl_refuse(&o->no, 409, "no-data", "make its first node: `fulmar group create`",
                   "the group has no data yet");
        break;
    case FM_GROUP_ORDER_NOT_LEFT:
        ctl_refuse(&o->no, 409, "not-maintained", "nothing has to be done",
                   "the agent of %s looks after it: it is %s", o->op.node, state_of(o));
        break;
    case FM_GROUP_ORDER_WRITER:
        ctl_refuse(&o->no, 409, "writer",
                   "move the group to another region first (`fulmar move`), or, so that nothing "
                   "fails over while you work on it, `fulmar automatic pause`",
                   "%s is the primary of the group", o->op.node);
        break;
    case FM_GROUP_ORDER_NO_SOURCE:
        FM_ASSERT(e);
        ctl_refuse(&o->no, 409, "no-source", "wait until the group has a primary that is open",
                   "%s, of which it would be copied, is not open as the primary",
                   fm_roster_host_name(o->ctl->c.roster, g->node[e->writer - 1].host));
        break;
    case FM_GROUP_ORDER_COMMITS_WAIT:
        ctl_refuse(&o->no, 409, "commits-wait",
                   "say `replication: {beyond: no-automatic}` while it is copied",
                   "commits of the group wait for %s: nobody could write until it is copied",
                   o->op.node);
        break;
    case FM_GROUP_ORDER_LAST:
        ctl_refuse(&o->no, 409, "last-standby",
                   "add another node first, or say its name once more, with --confirm",
                   "without %s nobody else could be promoted", o->op.node);
        break;
    case FM_GROUP_ORDER_FULL:
        ctl_refuse(&o->no, 409, "full", "take another node out first: `fulmar group remove`",
                   "the group has %d nodes, and there cannot be more", FM_GROUP_NODES_MAX);
        break;
    case FM_GROUP_ORDER_NAMES:
        ctl_refuse(&o->no, 409, "names",
                   "start the agents of the group's nodes, and those that may be keeper, anew, one "
                   "after the other",
                   "agents that run remember nodes that have gone, and this one knows %d of the "
                   "group: there is no number for another",
                   FM_GROUP_NODES_MAX);
        break;
    }
}

/* -------- which node -------- */

static bool is_in_use(struct ctl_order *o)
{
    for (unsigned i = 0; i < CTL_OPS_MAX; i++) {
        const struct ctl_op *x = &o->ctl->op[i];
        if (x->used && is_about_node(&x->op) && !fm_op_is_over((enum fm_op_state)x->op.state) &&
            strcmp(x->op.node, o->op.node) == 0 && x->op.context == o->op.context) {
            ctl_refuse(&o->no, 409, "one-at-a-time", "wait for it, or abort it",
                       "operation %s is about this node", x->op.id);
            return true;
        }
    }
    return false;
}

const struct fm_conf_group *ctl_node_take_order(struct ctl_order *o)
{
    const char *name = ctl_order_text(o, "node");
    if (!ctl_take_context(o, true))
        return NULL;
    int index = fm_conf_group_of(o->ctl->conf, (unsigned)o->c->conf);
    if (!o->c->group || index < 0) {
        ctl_refuse(&o->no, 409, "no-group", "name a group of the file",
                   "no PostgreSQL group carries the data of the context");
        return NULL;
    }
    if (!name || !fm_roster_is_name(fm_str_z(name))) {
        ctl_refuse(&o->no, 400, "malformed",
                   "name one of its nodes: `fulmar group status` shows them",
                   "`node` is missing, or no name");
        return NULL;
    }
    snprintf(o->op.node, sizeof o->op.node, "%s", name);
    return is_in_use(o) ? NULL : &o->ctl->conf->groups[index];
}

void ctl_plan_node(struct ctl_order *o)
{
    struct fm_group_report report[FM_GROUP_NODES_MAX];
    if (!ctl_node_take_order(o))
        return;
    int node = ctl_node_ordered(o);
    if (node < 0)
        return;
    struct fm_group_order_case c = ctl_node_case(o, (unsigned)node, report);
    ctl_node_refuse(o, fm_group_order_look(event_of(&o->op), &c, fm_mono_now()));
}

/* -------- carrying out -------- */

void ctl_node_end(struct fm_op *x, enum fm_op_state state, const char *text)
{
    x->state = (uint8_t)state;
    snprintf(x->text, sizeof x->text, "%s", text);
}

void ctl_node_again(struct ctl_op *o)
{
    o->next_at = fm_mono_add_ms(fm_mono_now(), AGAIN_MS);
    ctl_arm(o->ctl, o->next_at);
}

bool ctl_node_is_silent(const struct ctl_op *o)
{
    return fm_group_order_is_silent(&o->node.asks, CTL_NODE_SILENT_MS, fm_mono_now());
}

void ctl_node_ask(struct ctl_op *o, const struct ctl_context *c, unsigned host)
{
    struct fm_message m = ctl_message(c, FM_MESSAGE_ORDER);
    m.serial = serial_of(&o->op);
    m.ok = o->op.state != FM_OP_WAITING;
    snprintf(m.why, sizeof m.why, "%s", fm_op_kind_name((enum fm_op_kind)o->op.kind));
    fm_post_send(c->ctl->c.post, host, &m);
    fm_group_order_ask(&o->node.asks, CTL_NODE_SILENT_MS, fm_mono_now());
    ctl_node_again(o);
}

struct ctl_context *ctl_node_acts(const struct ctl_op *o, const struct fm_op *x)
{
    struct ctl_context *c = x->context < 0 ? NULL : o->ctl->context[x->context];
    bool keeps = c && c->conf >= 0 && c->set && c->group && c->auth.keeper &&
                 c->auth.k.state == FM_CHAIN_HOLD && fm_authority_holds(&c->auth);
    return keeps ? c : NULL;
}

void ctl_node_carry(struct ctl_op *o, struct fm_op *x)
{
    struct ctl_context *c = ctl_node_acts(o, x);
    int node = c ? ctl_node_find(c, x->node) : -1;
    if (!c)
        return;
    if (node < 0) {
        ctl_node_end(x, FM_OP_FAILED, "it is no node of the group any more");
    } else if (x->state == FM_OP_ABORTING) {
        ctl_node_end(x, FM_OP_ABORTED, "what its node has begun goes on");
    } else if (o->node.heard && !o->node.ok) {
        ctl_node_end(x, x->state == FM_OP_WAITING ? FM_OP_REFUSED : FM_OP_FAILED, o->node.why);
    } else if (o->node.heard && o->node.percent >= CTL_NODE_WHOLE) {
        ctl_node_end(x, FM_OP_DONE, o->node.why);
    } else {
        if (ctl_node_is_silent(o))
            snprintf(x->text, sizeof x->text, "nothing is heard of its agent");
        else if (o->node.heard)
            ctl_node_end(x, FM_OP_RUNNING, o->node.why);
        ctl_node_ask(o, c, c->group->node[node].host);
    }
}

void ctl_node_take(struct ctl_context *c, unsigned host, const struct fm_message *m)
{
    struct fm_controller *ctl = c->ctl;
    for (unsigned i = 0; i < CTL_OPS_MAX; i++) {
        struct ctl_op *o = &ctl->op[i];
        if (!o->used || !is_about_node(&o->op) || o->op.context != (int)c->number ||
            serial_of(&o->op) != m->serial ||
            fm_roster_find_host(ctl->c.roster, fm_str_z(o->op.node)) != (int)host)
            continue;
        o->node.heard = true;
        o->node.asks.heard = fm_mono_now();
        o->node.ok = m->ok;
        o->node.percent = m->ms;
        memcpy(o->node.why, m->why, sizeof o->node.why);
        fm_text_tame(o->node.why);
        o->next_at = FM_MONO_ZERO;
        ctl_touch(c);
    }
}
