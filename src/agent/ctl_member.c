/* Nodes that come into a PostgreSQL group, and that go from it (`fulmar group add|remove`). What
 * hosts agree upon is changed in the transaction by which the order is written down; so either
 * there is both or neither, whoever dies. The rest happens by itself, as after `fulmar config
 * apply`: the agents go by the new version, a node that has come copies the primary, one that has
 * gone is stopped, and the primary lets go of it. The keeper only asks the node's agent how that
 * stands, until it is over. */
#include "agent/ctl_node.h"

#include "base/assert.h"

#include <stdio.h>

/* -------- against the rules -------- */

/* By what all hosts have agreed. */
static bool may_be_node(struct ctl_order *o)
{
    const struct fm_conf *conf = o->ctl->conf;
    int i = fm_conf_find_host(conf, fm_str_z(o->op.node));
    if (i < 0) {
        ctl_refuse(
            &o->no, 404, "unknown-host",
            "add it to `hosts` with the role `postgres`, `fulmar config apply`, and start an "
            "agent there",
            "hosts have not agreed upon a host `%s`", o->op.node);
    } else if (!(conf->hosts[i].roles & FM_ROLE_POSTGRES)) {
        ctl_refuse(&o->no, 409, "no-role",
                   "add it to `roles`, `fulmar config apply`, and start its agent anew",
                   "the host %s has not the role `postgres`", o->op.node);
    } else if (ctl_node_find(o->c, o->op.node) >= 0) {
        ctl_refuse(&o->no, 409, "is-node", "`fulmar group status` shows how it is",
                   "%s is a node of the group already", o->op.node);
    }
    return !o->no.status;
}

/* As it is written down where hosts agree; NULL where the order does not say it. */
static json_t *node_json(const struct ctl_order *o)
{
    json_t *port = json_object_get(o->body, "port");
    const char *data = ctl_order_text(o, "data"), *delay = ctl_order_text(o, "delay");
    json_t *j =
        data && json_is_integer(port) ? json_pack("{s:s,s:O}", "data", data, "port", port) : NULL;
    if (j && delay)
        json_object_set_new(j, "delay", json_string(delay));
    return j;
}

void ctl_plan_add(struct ctl_order *o)
{
    struct fm_group_report report[FM_GROUP_NODES_MAX];
    const struct fm_conf_group *g = ctl_node_take_order(o);
    if (!g || !may_be_node(o))
        return;
    struct fm_group_order_case c = ctl_node_case(o, 0, report);
    const struct fm_roster *r = o->ctl->c.roster;
    c.agreed = (unsigned)g->nnodes;
    c.names = r->context[o->c->number].nnodes;
    c.met = fm_roster_node(r, o->c->number, fm_str_z(o->op.node)) >= 0;
    ctl_node_refuse(o, fm_group_order_may_join(&c, fm_mono_now()));
    json_t *node = o->no.status ? NULL : node_json(o);
    if (o->no.status)
        return;
    if (!node) {
        ctl_refuse(&o->no, 400, "malformed", "say `data` and `port`", "one of them is missing");
        return;
    }
    snprintf(o->op.text, sizeof o->op.text, "a copy of %s, into %.120s",
             fm_roster_host_name(o->ctl->c.roster, o->c->group->node[c.recorded->writer - 1].host),
             ctl_order_text(o, "data"));
    fm_text_tame(o->op.text);
    ctl_agreed_plan_node(o, g->name.p, o->op.node, node);
}

void ctl_plan_remove(struct ctl_order *o)
{
    struct fm_group_report report[FM_GROUP_NODES_MAX];
    const struct fm_conf_group *g = ctl_node_take_order(o);
    const char *confirm = ctl_order_text(o, "confirm");
    int node = g ? ctl_node_ordered(o) : -1;
    if (node < 0)
        return;
    struct fm_group_order_case c = ctl_node_case(o, (unsigned)node, report);
    bool confirmed = confirm && strcmp(confirm, o->op.node) == 0;
    ctl_node_refuse(o, fm_group_order_may_leave(&c, confirmed, fm_mono_now()));
    if (o->no.status)
        return;
    snprintf(o->op.text, sizeof o->op.text, "PostgreSQL is stopped there; its data stay");
    ctl_agreed_plan_node(o, g->name.p, o->op.node, NULL);
}

/* -------- carrying out -------- */

/* This agent may not go by the version yet that was written with the order. */
static bool is_new(const struct ctl_op *o)
{
    return !fm_agreement_is_used(o->ctl->c.agreement) ||
           fm_mono_sub_ms(fm_mono_now(), o->begun) <= CTL_NODE_SILENT_MS;
}

static void carry_add(struct ctl_op *o, struct fm_op *x, struct ctl_context *c)
{
    int node = ctl_node_find(c, x->node);
    if (x->state == FM_OP_ABORTING) {
        ctl_node_end(x, FM_OP_ABORTED,
                     "it is a node of the group, and is copied all the same: `fulmar group remove` "
                     "takes it out");
    } else if (node < 0 && !is_new(o)) {
        ctl_node_end(x, FM_OP_FAILED, "it is no node of the group any more");
    } else if (node < 0) {
        ctl_node_again(o);
    } else if (o->node.heard && !o->node.ok) {
        ctl_node_end(x, FM_OP_FAILED, o->node.why);
    } else if (o->node.heard && o->node.percent >= CTL_NODE_WHOLE) {
        ctl_node_end(x, FM_OP_DONE, o->node.why);
    } else {
        x->state = FM_OP_RUNNING;
        if (ctl_node_is_silent(o))
            ctl_node_end(x, FM_OP_RUNNING,
                         o->node.heard
                             ? "nothing is heard of its agent any more"
                             : "its agent runs no node of the group yet: it cannot be "
                               "reached, goes by another file, or has to be started anew");
        else if (o->node.heard)
            ctl_node_end(x, FM_OP_RUNNING, o->node.why);
        ctl_node_ask(o, c, c->group->node[node].host);
    }
}

/* Does anybody still count on it? */
static bool counts(const struct ctl_context *c, const char *name)
{
    const struct fm_evidence *e = ctl_group_recorded(c);
    int i = fm_roster_node(c->ctl->c.roster, c->number, fm_str_z(name));
    return e && i >= 0 && e->promotable >> i & 1;
}

static void carry_remove(struct ctl_op *o, struct fm_op *x, struct ctl_context *c)
{
    int host = fm_roster_find_host(o->ctl->c.roster, fm_str_z(x->node));
    bool gone = ctl_node_find(c, x->node) < 0;
    if (x->state == FM_OP_ABORTING) {
        ctl_node_end(x, FM_OP_ABORTED, "it is no node of the group any more all the same");
    } else if (!gone && !is_new(o)) {
        ctl_node_end(x, FM_OP_FAILED, "it is a node of the group again");
    } else if (!gone || counts(c, x->node)) {
        ctl_node_end(x, FM_OP_RUNNING, "its primary lets go of it");
        ctl_node_again(o);
    } else if (o->node.heard && o->node.percent >= CTL_NODE_WHOLE) {
        ctl_node_end(x, FM_OP_DONE, o->node.why);
    } else if (host < 0 || ctl_node_is_silent(o)) {
        ctl_node_end(x, FM_OP_DONE,
                     "it is no node of the group any more; nothing is heard of its agent, which "
                     "stops PostgreSQL there when it learns of that; its data stay");
    } else {
        ctl_node_end(x, FM_OP_RUNNING, o->node.heard ? o->node.why : "it is being stopped");
        ctl_node_ask(o, c, (unsigned)host);
    }
}

void ctl_member_carry(struct ctl_op *o, struct fm_op *x)
{
    struct ctl_context *c = ctl_node_acts(o, x);
    FM_ASSERT(x->kind == FM_OP_ADD || x->kind == FM_OP_REMOVE);
    if (!c)
        return;
    if (x->kind == FM_OP_ADD)
        carry_add(o, x, c);
    else
        carry_remove(o, x, c);
}
