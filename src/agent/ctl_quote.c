/* What a failover of a context with a PostgreSQL group would cost: the quote that a person is
 * shown, and consents to. What the bound is, and who would be promoted, core decides (credit.h,
 * lineage.h); here is what this agent has heard, and when. Nothing is changed. */
#include "agent/ctl_order.h"

#include "agent/message_group.h"
#include "base/bits.h"
#include "core/credit.h"

#include <stdlib.h>

/* -------- how old what a standby has is -------- */

void ctl_quote_heard(struct ctl_context *c, unsigned host)
{
    const struct fm_evidence *e = ctl_group_recorded(c);
    const struct fm_group_report *primary = e ? ctl_group_writer(c) : NULL;
    if (!primary || primary->at.ns == 0)
        return;
    for (unsigned i = 0; i < c->group->nnodes; i++) {
        struct ctl_group_node *n = &c->group->node[i];
        bool concerned =
            n->host == host || e->writer == i + 1 || c->group->node[e->writer - 1].host == host;
        bool level = n->report.at.ns && n->report.timeline.n == primary->timeline.n &&
                     !fm_lsn_before(n->report.flush, primary->flush);
        if (concerned && level)
            n->level_at = primary->at;
    }
}

/* The primary may have acknowledged until its lease was over, when it is not heard any more. -1: it
 * is not known since when the standby lacks something. */
static int64_t lost_ms(const struct ctl_context *c, const struct fm_group_report *primary,
                       const struct ctl_group_node *standby)
{
    struct fm_mono now = fm_mono_now(), until = now;
    if (!primary || standby->level_at.ns == 0)
        return -1;
    if (primary->at.ns) /* a report each tenth of a second, and the drift of its clock */
        until =
            fm_mono_min(now, fm_mono_add_ms(primary->at, ctl_conf(c)->lease_ms / 50 * 51 + 200));
    int64_t ms = fm_mono_sub_ms(until, standby->level_at);
    return ms > 0 ? ms : 0;
}

/* -------- the loss -------- */

struct cost {
    struct fm_credit_bound bound;
    bool by_time;  /* bytes and transactions are not known, and the time is */
    bool by_hooks; /* an estimate by a command of the user */
    int64_t ms;    /* written in so much time; -1 = not known */
    unsigned node; /* that would be promoted; FM_GROUP_NOBODY */
};

/* Of data that Fulmar does not run itself. */
static struct cost cost_of_external(const struct ctl_context *c, unsigned to)
{
    struct fm_external_estimate e = ctl_external_loss(c, to);
    struct cost x = {.by_hooks = true, .node = FM_GROUP_NOBODY, .ms = e.known ? e.ms : -1};
    x.bound.kind = e.known ? FM_CREDIT_ESTIMATE : FM_CREDIT_UNBOUNDED;
    x.bound.bytes = e.bytes;
    x.by_time = !e.has_bytes;
    return x;
}

static struct cost cost_of(const struct ctl_context *c, unsigned to)
{
    struct fm_group_takeover t = ctl_group_takeover(c, to);
    struct cost x = {.bound = t.bound, .node = t.node};
    bool exact = t.bound.kind == FM_CREDIT_ENFORCED && t.bound.bytes == 0;
    if (t.node == FM_GROUP_NOBODY)
        x.ms = t.ready ? 0 : -1;
    else if (!exact)
        x.ms = lost_ms(c, ctl_group_writer(c), &c->group->node[x.node]);
    return x;
}

/* All of it together; what is not known of one is not known of the whole. */
static void add(struct cost *all, const struct cost *x)
{
    if (x->bound.kind == FM_CREDIT_UNBOUNDED && !x->by_hooks)
        all->node = x->node;
    if (x->bound.kind > all->bound.kind)
        all->bound.kind = x->bound.kind;
    all->bound.bytes += x->bound.bytes;
    all->bound.transactions += x->bound.transactions;
    if (x->ms < 0 || (all->ms >= 0 && x->ms > all->ms))
        all->ms = x->ms;
    all->by_time |= x->by_time;
    all->by_hooks |= x->by_hooks;
}

/* -------- for people -------- */

static json_t *age(struct fm_mono at)
{
    return at.ns ? json_integer((json_int_t)fm_mono_sub_ms(fm_mono_now(), at)) : json_null();
}

static json_t *node_json(const struct ctl_context *c, const struct fm_evidence *e, unsigned i)
{
    const struct ctl_group_node *n = &c->group->node[i];
    const struct fm_group_report *primary = ctl_group_writer(c);
    json_t *o = fm_message_group_report_json(c->ctl->c.roster->region[n->region], n->zone_name,
                                             &n->report, fm_mono_now());
    bool heard = n->report.at.ns && primary && primary->at.ns;
    uint64_t behind = heard ? fm_lsn_ahead(primary->flush, n->report.flush) : 0;
    json_object_set_new(o, "node", json_string(fm_roster_host_name(c->ctl->c.roster, n->host)));
    const struct fm_credit_bound b = fm_group_bound(e, i, n->report.flush);
    json_object_set_new(o, "promotable", json_boolean(e->promotable >> i & 1));
    /* as the loss is said, would this one be promoted: the last writer bounds it, too */
    json_object_set_new(o, "bound_kind",
                        json_string(fm_credit_kind_name((enum fm_credit_kind)b.kind)));
    json_object_set_new(o, "behind_bytes", heard ? json_integer((json_int_t)behind) : json_null());
    json_object_set_new(o, "level_ms_ago", age(n->level_at));
    return o;
}

static json_t *group_json(const struct ctl_context *c, const struct cost *x)
{
    const struct fm_roster *r = c->ctl->c.roster;
    const struct fm_evidence *e = ctl_group_recorded(c);
    json_t *nodes = json_array();
    if (!e)
        return json_pack("{s:s,s:n,s:n,s:o}", "context", r->context[c->number].name, "primary",
                         "standby", "nodes", nodes);
    for (unsigned i = 0; i < c->group->nnodes; i++)
        if (c->group->node[i].in_file)
            json_array_append_new(nodes, node_json(c, e, i));
    const struct fm_group_report *primary = ctl_group_writer(c);
    json_t *standby = x->node < c->group->nnodes ? node_json(c, e, x->node) : json_null();
    const char *name = primary ? fm_roster_host_name(r, c->group->node[e->writer - 1].host) : NULL;
    bool claimed = e->node && e->node != e->writer && e->node <= c->group->nnodes;
    const char *next = claimed ? fm_roster_host_name(r, c->group->node[e->node - 1].host) : NULL;
    return json_pack("{s:s,s:s?,s:s?,s:o,s:I,s:o,s:o}", "context", r->context[c->number].name,
                     "primary", name, "claimed_by", next, "primary_heard_ms_ago",
                     primary ? age(primary->at) : json_null(), "timeline", (json_int_t)e->timeline,
                     "standby", standby, "nodes", nodes);
}

static json_t *external_json(const struct ctl_context *c)
{
    return json_pack("{s:s,s:s,s:o}", "context", c->ctl->c.roster->context[c->number].name, "kind",
                     "hooks", "regions", ctl_external_regions_json(c));
}

/* Who could still write, and by what each of them ends. */
static json_t *fences_json(const struct ctl_context *c, unsigned from)
{
    const struct fm_seen_lease *l = &c->auth.lease[from];
    bool lapsed = fm_authority_lapsed(&c->auth, from, fm_mono_now());
    json_t *list = json_array();
    for (unsigned i = 0; i < l->at.r.nsubs; i++) {
        unsigned host = l->at.r.sub[i].host;
        struct fm_mono heard = FM_MONO_ZERO;
        for (unsigned k = 0; c->group && k < c->group->nnodes; k++)
            if (c->group->node[k].host == host)
                heard = c->group->node[k].report.at;
        const char *by = l->testified >> i & 1 ? "testimony" : lapsed ? "lapsed" : "lease";
        json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:o}", "context",
                                              c->ctl->c.roster->context[c->number].name, "host",
                                              fm_roster_host_name(c->ctl->c.roster, host),
                                              "ended_by", by, "heard_ms_ago", age(heard)));
    }
    return list;
}

static const char *bound_text(const struct cost *x, bool any)
{
    if (!any)
        return "no data that Fulmar keeps moves with this context";
    if (x->bound.kind == FM_CREDIT_ENFORCED)
        return "enforced by PostgreSQL";
    if (x->by_hooks)
        return x->bound.kind == FM_CREDIT_ESTIMATE
                   ? "an estimate: as the command `lag` said, and older since"
                   : "nothing is known: the command `lag` has said nothing";
    if (x->bound.kind == FM_CREDIT_ESTIMATE)
        return "an estimate: commits may have been acknowledged that waited for nobody";
    return x->node == FM_GROUP_NOBODY ? "nobody of the region could be promoted"
                                      : "no standby of the region counts yet";
}

const char *ctl_quote_unready(const struct fm_controller *ctl, const struct ctl_set *s,
                              unsigned from, unsigned to)
{
    const struct fm_vote *mine = &ctl->votes.of[ctl->self.n].vote;
    if (to != from && !fm_contexts_cover(&mine->well[to], &s->contexts))
        return "no gate there says that it can serve the context";
    for (unsigned i = 0; i < s->n; i++) {
        const struct ctl_context *c = ctl->context[s->member[i]];
        if (!ctl_group_takeover(c, to).ready)
            return "no node of its PostgreSQL group there could be promoted";
        if (!ctl_external_is_ready(c, to))
            return "its data there cannot be promoted: see `fulmar group status`";
    }
    return NULL;
}

json_t *ctl_quote_json(const struct fm_controller *ctl, const struct ctl_set *s, unsigned from,
                       unsigned to)
{
    struct cost all = {.bound.kind = FM_CREDIT_ENFORCED, .node = FM_GROUP_NOBODY};
    json_t *groups = json_array(), *fences = json_array();
    bool any = false;
    for (unsigned i = 0; i < s->n; i++) {
        const struct ctl_context *c = ctl->context[s->member[i]];
        json_t *of = fences_json(c, from);
        (void)json_array_extend(fences, of);
        json_decref(of);
        if (!c->group && !ctl_external_has(c))
            continue;
        struct cost x = ctl_external_has(c) ? cost_of_external(c, to) : cost_of(c, to);
        json_array_append_new(groups, ctl_external_has(c) ? external_json(c) : group_json(c, &x));
        add(&all, &x);
        any = true;
    }
    bool known = all.bound.kind != FM_CREDIT_UNBOUNDED && !all.by_time;
    const char *kind = fm_credit_kind_name((enum fm_credit_kind)all.bound.kind);
    json_t *bytes = known ? json_integer((json_int_t)all.bound.bytes) : json_null();
    json_t *transactions =
        known && !all.by_hooks ? json_integer((json_int_t)all.bound.transactions) : json_null();
    return json_pack("{s:o,s:o,s:o,s:s?,s:s,s:o,s:o}", "loss_bytes", bytes, "loss_transactions",
                     transactions, "loss_ms", all.ms < 0 ? json_null() : json_integer(all.ms),
                     "bound_kind", any ? kind : NULL, "bound", bound_text(&all, any), "groups",
                     groups, "fences", fences);
}
