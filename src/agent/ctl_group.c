/* What a keeper has to do with the PostgreSQL group of a context: its database agents are told the
 * record of the cell, what they claim is handed to core to be recorded, and what their nodes say is
 * the evidence of a planned move: is an heir close, has it all of what the old primary wrote?
 * Nothing here decides who may be primary: core/group.h does, at the node, by that record. */
#include "agent/ctl.h"
#include "agent/message_group.h"
#include "agent/unbounded.h"

#include "base/assert.h"
#include "core/group.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    FRESH_MS = 2000,
    LAG_MAX = 1024 * 1024, /* bytes that an heir may be behind when a move begins */
};

static struct ctl_group_node *find(const struct ctl_context *c, unsigned host)
{
    for (unsigned i = 0; c->group && i < c->group->nnodes; i++)
        if (c->group->node[i].in_file && c->group->node[i].host == host)
            return &c->group->node[i];
    return NULL;
}

bool ctl_group_has(const struct ctl_context *c, unsigned host)
{
    const struct ctl_group_node *n = find(c, host);
    return n && n->region == c->ctl->region;
}

/* -------- from the file -------- */

static void place(struct ctl_group_node *n, const struct fm_conf *conf,
                  const struct fm_conf_group *g, unsigned at)
{
    const struct fm_conf_group_node *x = fm_conf_group_nth(conf, g, at);
    n->in_file = true;
    n->rank = (uint8_t)at;
    n->delayed = x->delay_ms > 0;
    n->zone = (uint8_t)fm_conf_group_zone(conf, g, (size_t)(x - g->nodes));
    snprintf(n->zone_name, sizeof n->zone_name, "%.*s", FM_STR_ARG(conf->hosts[x->host].zone));
}

/* A node keeps its number as long as this process lives: the record is understood by names. */
static void take_nodes(struct ctl_context *c, const struct fm_conf_group *g)
{
    const struct fm_conf *conf = c->ctl->conf;
    struct fm_roster *r = c->ctl->c.roster;
    struct ctl_group was = *c->group;
    for (unsigned at = 0; at < g->nnodes; at++)
        (void)fm_roster_add_node(r, c->number,
                                 conf->hosts[fm_conf_group_nth(conf, g, at)->host].name);
    c->group->nnodes = r->context[c->number].nnodes;
    for (unsigned i = 0; i < c->group->nnodes; i++)
        c->group->node[i] =
            (struct ctl_group_node){.host = r->context[c->number].node[i], .region = FM_NO_REGION};
    for (unsigned at = 0; at < g->nnodes; at++) {
        const struct fm_conf_host *h = &conf->hosts[fm_conf_group_nth(conf, g, at)->host];
        int i = fm_roster_node(r, c->number, h->name);
        int region = fm_roster_region(r, conf->regions[h->region].name);
        FM_ASSERT(region >= 0);
        if (i < 0) /* more than there is room for, with those that were taken out */
            continue;
        c->group->node[i].region = (unsigned)region;
        place(&c->group->node[i], conf, g, at);
        if ((unsigned)i >= was.nnodes)
            continue;
        c->group->node[i].report = was.node[i].report;
        c->group->node[i].level_at = was.node[i].level_at;
    }
}

void ctl_group_reset(struct ctl_context *c)
{
    ctl_external_reset(c);
    int index = c->conf < 0 ? -1 : fm_conf_group_of(c->ctl->conf, (unsigned)c->conf);
    if (index < 0 || c->ctl->conf->groups[index].hooks.present) {
        free(c->group);
        c->group = NULL;
        return;
    }
    if (!c->group)
        c->group = calloc(1, sizeof *c->group);
    FM_ASSERT(c->group);
    take_nodes(c, &c->ctl->conf->groups[index]);
}

void ctl_group_free(struct ctl_context *c)
{
    ctl_external_free(c);
    free(c->group);
    c->group = NULL;
}

/* -------- what database agents are told -------- */

static void tell(struct ctl_context *c, unsigned host)
{
    struct fm_message m = ctl_message(c, FM_MESSAGE_CELL);
    m.at = c->auth.cell[0].at;
    if (m.at.revision.n && !c->auth.frozen)
        fm_post_send(c->ctl->c.post, host, &m);
}

void ctl_group_tell(struct ctl_context *c, unsigned host)
{
    if (find(c, host))
        tell(c, host);
}

void ctl_group_tell_changes(struct ctl_context *c)
{
    struct fm_revision now = c->auth.cell[0].at.revision;
    if (!c->group || fm_revision_same(now, c->group->told))
        return;
    c->group->told = now;
    for (unsigned i = 0; i < c->group->nnodes; i++)
        if (c->group->node[i].in_file)
            tell(c, c->group->node[i].host);
}

/* A standby of this region that does otherwise is told again, until it does so. */
static void tell_apart(struct ctl_context *c, const struct ctl_group_node *n)
{
    struct fm_message m = ctl_message(c, FM_MESSAGE_APART);
    enum fm_standby_wish wish =
        fm_group_order_apart(ctl_standby_apart(c), &n->report, c->ctl->region);
    m.ok = wish == FM_STANDBY_ON;
    if (wish != FM_STANDBY_LEAVE)
        fm_post_send(c->ctl->c.post, n->host, &m);
}

void ctl_group_create(struct ctl_context *c)
{
    struct fm_message m = ctl_message(c, FM_MESSAGE_CREATE);
    FM_ASSERT(c->group);
    for (unsigned i = 0; i < c->group->nnodes; i++)
        if (c->group->node[i].region == c->ctl->region && !c->group->node[i].delayed) {
            fm_post_send(c->ctl->c.post, c->group->node[i].host, &m);
            return;
        }
}

const struct fm_evidence *ctl_group_recorded(const struct ctl_context *c)
{
    const struct fm_evidence *e = &c->auth.cell[0].at.r.evidence;
    return c->auth.cell[0].at.revision.n && e->writer ? e : NULL;
}

/* -------- what they say -------- */

const struct fm_group_report *ctl_group_writer(const struct ctl_context *c)
{
    const struct fm_evidence *e = ctl_group_recorded(c);
    return e && e->writer <= c->group->nnodes ? &c->group->node[e->writer - 1].report : NULL;
}

void ctl_group_take(struct ctl_context *c, unsigned host, const struct fm_message *m)
{
    struct ctl_group_node *n = find(c, host);
    if (m->kind == FM_MESSAGE_ORDERED && c->group) {
        ctl_node_take(c, host, m); /* it may be of one that has gone */
        return;
    }
    if (!n)
        return;
    if (m->kind == FM_MESSAGE_REPORT) {
        n->report = m->report;
        n->report.at = fm_mono_now();
        n->report.region = (uint8_t)n->region;
        ctl_quote_heard(c, host);
        tell_apart(c, n);
        ctl_touch(c);
    } else if (m->kind == FM_MESSAGE_RECORD && n->region == c->ctl->region) {
        ctl_step(c, &(struct fm_auth_event){.kind = FM_AUTH_EVIDENCE,
                                            .cell = 0,
                                            .revision = m->at.revision,
                                            .evidence = m->at.r.evidence});
    }
}

/* -------- for people -------- */

/* Where nothing bounds it: who does not count, and why. */
static void add_why(const struct ctl_context *c, const struct fm_evidence *e,
                    const struct fm_group_report *report, unsigned n,
                    const struct fm_credit_bound *b, json_t *loss)
{
    char why[FM_UNBOUNDED_ROOM];
    const char *name[FM_GROUP_NODES_MAX];
    if (b->kind != FM_CREDIT_UNBOUNDED)
        return;
    for (unsigned i = 0; i < n; i++)
        name[i] = c->group->node[i].in_file
                      ? fm_roster_host_name(c->ctl->c.roster, c->group->node[i].host)
                      : NULL;
    fm_unbounded_say(e, report, name, n, FRESH_MS, fm_mono_now(), why);
    json_object_set_new(loss, "why", json_string(why));
}

json_t *ctl_group_loss_json(const struct ctl_context *c)
{
    struct fm_group_report report[FM_GROUP_NODES_MAX];
    const struct fm_evidence *e = c->group ? ctl_group_recorded(c) : NULL;
    if (ctl_external_has(c)) {
        struct fm_external_estimate x = ctl_external_loss_if_now(c);
        return ctl_external_loss_json(&x);
    }
    if (!e)
        return json_null();
    unsigned n = ctl_group_reports(c, report);
    struct fm_mono now = fm_mono_now();
    struct fm_credit_bound b =
        fm_group_loss_if_now(e, report, n, c->ctl->c.roster->nregions, FRESH_MS, now);
    struct fm_group_apart a = fm_group_apart(e, report, n, now);
    const char *to = NULL;
    if (a.node != FM_GROUP_NOBODY)
        to = fm_roster_host_name(c->ctl->c.roster, c->group->node[a.node].host);
    json_t *loss = fm_message_group_loss_json(&b);
    add_why(c, e, report, n, &b, loss);
    fm_message_group_apart_add(loss, to, &a);
    bool any = fm_group_loss_in_region(e, report, n, FRESH_MS, now, &b);
    fm_message_group_in_region_add(loss, any ? &b : NULL);
    return loss;
}

static json_t *group_json(const struct ctl_context *c)
{
    const struct fm_roster *r = c->ctl->c.roster;
    const struct fm_evidence *e = ctl_group_recorded(c);
    json_t *nodes = json_object();
    for (unsigned i = 0; i < c->group->nnodes; i++) {
        const struct ctl_group_node *n = &c->group->node[i];
        if (!n->in_file)
            continue;
        json_object_set_new(nodes, fm_roster_host_name(r, n->host),
                            fm_message_group_report_json(r->region[n->region], n->zone_name,
                                                         &n->report, fm_mono_now()));
    }
    bool known = e && e->writer <= c->group->nnodes;
    char system[24] = "";
    if (e)
        snprintf(system, sizeof system, "%llu", (unsigned long long)e->system_id);
    return json_pack("{s:s,s:s?,s:s?,s:I,s:I,s:o,s:o}", "context", r->context[c->number].name,
                     "system_id", e ? system : NULL, "primary",
                     known ? fm_roster_host_name(r, c->group->node[e->writer - 1].host) : NULL,
                     "epoch", (json_int_t)fm_authority_epoch(&c->auth, 0).n, "timeline",
                     (json_int_t)(e ? e->timeline : 0), "loss_if_now", ctl_group_loss_json(c),
                     "nodes", nodes);
}

/* Data that Fulmar does not run itself. */
static json_t *external_json(const struct ctl_context *c)
{
    const struct fm_controller *ctl = c->ctl;
    const struct fm_cell_at *at = &c->auth.cell[0].at;
    const char *name = at->revision.n ? ctl->c.roster->region[fm_cell_owner(&at->r)] : NULL;
    return json_pack("{s:s,s:s,s:s?,s:I,s:o,s:o,s:o}", "context",
                     ctl->c.roster->context[c->number].name, "kind", "hooks", "holder", name,
                     "epoch", (json_int_t)fm_authority_epoch(&c->auth, 0).n, "loss_if_now",
                     ctl_group_loss_json(c), "here", ctl_external_json(c), "regions",
                     ctl_external_regions_json(c));
}

json_t *fm_controller_groups(const struct fm_controller *ctl)
{
    json_t *groups = json_object();
    for (unsigned i = 0; i < ctl->ncontexts; i++) {
        const struct ctl_context *c = ctl->context[i];
        int index = c && c->conf >= 0 ? fm_conf_group_of(ctl->conf, (unsigned)c->conf) : -1;
        if (index < 0 || (!c->group && !ctl_external_has(c)))
            continue;
        char name[FM_ROSTER_NAME_ROOM];
        snprintf(name, sizeof name, "%.*s", FM_STR_ARG(ctl->conf->groups[index].name));
        json_object_set_new(groups, name, c->group ? group_json(c) : external_json(c));
    }
    return json_pack("{s:s,s:o}", "schema", "fulmar.groups/1", "groups", groups);
}

/* -------- a planned move -------- */

static const char *remedy(enum fm_group_heir_is h)
{
    static const char *const text[FM_GROUP_HEIR_COUNT] = {
        [FM_GROUP_HEIR_NO_DATA] = "make them: `fulmar group create`",
        [FM_GROUP_HEIR_NO_PRIMARY] =
            "see to its agent, or use `fulmar quote` and `fulmar failover`",
        [FM_GROUP_HEIR_AWAY] = "wait until it is; `fulmar group status` says what is in its way",
        [FM_GROUP_HEIR_NOBODY] = "choose a region that has one",
        [FM_GROUP_HEIR_SILENT] = "see to its agent, or choose another region",
        [FM_GROUP_HEIR_LEFT] = "`fulmar group maintain` with `off` gives it back",
        [FM_GROUP_HEIR_DELAYED] = "choose a region with a node that is not",
        [FM_GROUP_HEIR_NO_STANDBY] = "`fulmar group status` says what is in its way",
        [FM_GROUP_HEIR_DEAF] = "`fulmar group status` says what is in its way"};
    return text[h] ? text[h] : "wait";
}

struct ctl_group_heir ctl_group_heir(const struct ctl_context *c, unsigned region)
{
    struct fm_group_report report[FM_GROUP_NODES_MAX];
    struct ctl_group_heir to = {.ready = true, .comes = true};
    uint32_t members = 0;
    if (!c->group)
        return to;
    unsigned n = ctl_group_reports(c, report);
    for (unsigned i = 0; i < n; i++)
        members |= c->group->node[i].in_file ? 1u << i : 0;
    struct fm_group_heir h = fm_group_heir(ctl_group_recorded(c), report, n, members, region,
                                           LAG_MAX, FRESH_MS, fm_mono_now());
    const char *name = h.node == FM_GROUP_NOBODY
                           ? NULL
                           : fm_roster_host_name(c->ctl->c.roster, c->group->node[h.node].host);
    bool state = h.is == FM_GROUP_HEIR_NO_STANDBY || h.is == FM_GROUP_HEIR_AWAY;
    to.ready = h.is == FM_GROUP_HEIR_READY;
    to.comes = fm_group_heir_comes(&h);
    to.remedy = remedy((enum fm_group_heir_is)h.is);
    snprintf(to.why, sizeof to.why, "%.64s%s%s%s%s", name ? name : "", name ? ": " : "",
             fm_group_heir_text((enum fm_group_heir_is)h.is), state ? ", and is " : "",
             state ? fm_group_state_name((enum fm_group_state)report[h.node].state) : "");
    return to;
}

struct fm_standby_seen ctl_group_seen(const struct ctl_context *c)
{
    struct fm_mono now = fm_mono_now();
    struct fm_standby_seen seen = {.counts = ctl_group_heir(c, c->ctl->region).ready};
    const struct fm_evidence *e = ctl_group_recorded(c);
    const struct fm_group_report *w = e ? ctl_group_writer(c) : NULL;
    if (w && w->region == c->ctl->region)
        seen.counts |= fm_group_is_source(e, w, FRESH_MS, now);
    for (unsigned i = 0; c->group && i < c->group->nnodes; i++) {
        const struct ctl_group_node *n = &c->group->node[i];
        seen.apart |= n->region == c->ctl->region && n->report.apart_ms > 0 &&
                      fm_group_is_fresh(&n->report, FRESH_MS, now);
    }
    return seen;
}

struct fm_group_report ctl_group_report(const struct ctl_group_node *n)
{
    struct fm_group_report r = n->report;
    FM_ASSERT(n->region < FM_AUTH_REGIONS_MAX || !n->in_file);
    r.region = (uint8_t)n->region;
    r.zone = n->zone;
    r.rank = n->rank;
    return r;
}

unsigned ctl_group_reports(const struct ctl_context *c,
                           struct fm_group_report out[FM_GROUP_NODES_MAX])
{
    unsigned n = c->group ? c->group->nnodes : 0;
    for (unsigned i = 0; i < n; i++)
        out[i] = ctl_group_report(&c->group->node[i]);
    return n;
}

struct fm_group_takeover ctl_group_takeover(const struct ctl_context *c, unsigned to)
{
    struct fm_group_report report[FM_GROUP_NODES_MAX];
    unsigned n = ctl_group_reports(c, report);
    return fm_group_takeover(c->group ? ctl_group_recorded(c) : NULL, report, n,
                             fm_group_looked_after(report, n), to, FRESH_MS, fm_mono_now());
}

/* -------- home again -------- */

static void say_home(const struct ctl_context *c, unsigned node, struct ctl_group_home *h)
{
    const struct ctl_group_node *n = &c->group->node[node];
    const char *name = fm_roster_host_name(c->ctl->c.roster, n->host);
    if (n->delayed)
        snprintf(h->why, sizeof h->why, "%.64s is delayed on purpose", name);
    else if (!fm_group_is_fresh(&n->report, FRESH_MS, fm_mono_now()))
        snprintf(h->why, sizeof h->why, "nothing is heard of %.64s", name);
    else if (h->lag == UINT64_MAX)
        snprintf(h->why, sizeof h->why, "%.64s is %s", name,
                 fm_group_state_name((enum fm_group_state)n->report.state));
    else
        snprintf(h->why, sizeof h->why, "%.64s is %llu bytes behind", name,
                 (unsigned long long)h->lag);
}

/* The best of its nodes. */
struct ctl_group_home ctl_group_home(const struct ctl_context *c, unsigned home)
{
    struct fm_mono now = fm_mono_now();
    const struct fm_evidence *e = c->group ? ctl_group_recorded(c) : NULL;
    const struct fm_group_report *w = e ? ctl_group_writer(c) : NULL;
    struct fm_group_report report[FM_GROUP_NODES_MAX] = {{.state = 0}};
    struct ctl_group_home h = {.counts = true};
    if (!e || !w)
        return h; /* there is nothing that would have to follow */
    h.lag = UINT64_MAX;
    snprintf(h.why, sizeof h.why, "no node of its PostgreSQL group is there");
    for (unsigned i = 0; i < c->group->nnodes; i++) {
        const struct ctl_group_node *n = &c->group->node[i];
        report[i] = ctl_group_report(n);
        if (!n->in_file || n->region != home)
            continue;
        uint64_t lag =
            e->writer == i + 1 ? 0 : fm_group_lag(w, &n->report, n->level_at, FRESH_MS, now);
        if (lag < h.lag || h.lag == UINT64_MAX) {
            h.lag = lag;
            say_home(c, i, &h);
        }
    }
    h.counts = fm_group_counts_in(e, report, c->group->nnodes, home, FRESH_MS, now);
    return h;
}

bool ctl_group_is_final(const struct ctl_context *c, unsigned to)
{
    struct fm_mono now = fm_mono_now();
    const struct fm_group_report *old = c->group ? ctl_group_writer(c) : NULL;
    if (!c->group)
        return true;
    const struct fm_evidence *e = ctl_group_recorded(c);
    if (!old || !e || !fm_group_is_fresh(old, FRESH_MS, now))
        return false;
    for (unsigned i = 0; i < c->group->nnodes; i++) {
        const struct ctl_group_node *n = &c->group->node[i];
        /* one that is not recorded would not be let to claim what is released for it */
        if (n->region == to && e->promotable >> i & 1 && fm_group_is_looked_after(&n->report) &&
            fm_group_is_fresh(&n->report, FRESH_MS, now) && fm_group_is_final(old, &n->report))
            return true;
    }
    return false;
}
