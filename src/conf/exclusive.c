/* What contexts that one region alone may write need around them: gates, controllers, coordination
 * that outlives a region, times that go together, objectives that can be met (SAFETY.md 3, 9, 12,
 * 18). Each function is one rule. What has errors of its own is passed over. */
#include "base/assert.h"
#include "conf/addr.h"
#include "conf/decode.h"

#include <stdio.h>

static bool exclusive(const struct fm_conf_context *c)
{
    return c->ncells > 0;
}

static bool usable(const struct fm_load *l, size_t i)
{
    return exclusive(&l->conf->contexts[i]) && !l->context_bad[i];
}

/* Where a key was said, or the context. */
static struct fm_conf_pos at_key(const struct fm_load *l, size_t context, const char *map,
                                 const char *key)
{
    const struct fm_node *n = fm_node_getz(l->context_node[context], map);
    n = key ? fm_node_getz(n, key) : n;
    return n ? n->pos : l->conf->contexts[context].pos;
}

static struct fm_conf_pos at_mode(const struct fm_load *l, size_t context)
{
    return at_key(l, context, "failover", "mode");
}

/* The index of the first context that is written by one region alone (with `automatic`: that also
 * fails over by itself); -1 where there is none. */
static int first(const struct fm_load *l, bool automatic)
{
    for (size_t i = 0; i < l->conf->ncontexts; i++)
        if (usable(l, i) && (!automatic || l->conf->contexts[i].failover.mode == FM_CONF_AUTOMATIC))
            return (int)i;
    return -1;
}

/* -------- hosts and coordination -------- */

static unsigned count_role(const struct fm_conf *c, unsigned region, enum fm_conf_role role)
{
    unsigned n = 0;
    for (size_t i = 0; i < c->nhosts; i++)
        n += c->hosts[i].region == region && c->hosts[i].roles & role;
    return n;
}

/* Is there somebody in the region who may say that he lost another one? */
static bool votes(const struct fm_conf *c, unsigned region)
{
    FM_ASSERT(region < c->nregions);
    bool witness = c->regions[region].witness;
    return count_role(c, region, witness ? FM_ROLE_WITNESS : FM_ROLE_CONTROLLER) > 0;
}

static void need_role(struct fm_load *l, const struct fm_conf_context *x, unsigned region,
                      enum fm_conf_role role, const char *name, const char *why)
{
    FM_ASSERT(region < l->conf->nregions && exclusive(x));
    const struct fm_conf_region *r = &l->conf->regions[region];
    if (r->witness || count_role(l->conf, region, role))
        return;
    fm_report_error(l->report, x->pos,
                    "one region alone may write `%s`, and `%s` has no host with the role `%s`",
                    FM_Q(x->name), FM_Q(r->name), name);
    fm_report_advice(l->report, "%s: add the role to a host of `%s`", why, FM_Q(r->name));
}

static void hosts(struct fm_load *l, const struct fm_conf_context *x)
{
    for (unsigned i = 0; i < l->conf->nregions && !l->hosts_bad; i++) {
        need_role(l, x, i, FM_ROLE_GATE, "gate", "the right to write is checked at the gates");
        need_role(l, x, i, FM_ROLE_CONTROLLER, "controller",
                  "without one a region can neither hold the right to write nor take it over");
    }
    if (l->conf->coordination.present || fm_node_getz(l->root->node, "coordination"))
        return;
    fm_report_error(l->report, x->pos,
                    "one region alone may write `%s`, and there is no `coordination`, where "
                    "regions agree on which",
                    FM_Q(x->name));
    fm_report_advice(l->report, "add `coordination: {etcd: {endpoints: {REGION: "
                                "[\"http://HOST:2379\"]}}}`, or, on one machine, `coordination: "
                                "{sqlite: FILE}`");
}

/* What core can count. */
static void bound_role(struct fm_load *l, enum fm_conf_role role, unsigned most, const char *name,
                       const char *advice)
{
    for (unsigned r = 0; r < l->conf->nregions; r++) {
        unsigned n = 0;
        for (size_t i = 0; i < l->conf->nhosts; i++) {
            const struct fm_conf_host *h = &l->conf->hosts[i];
            if (h->region != r || !(h->roles & role) || ++n != most + 1)
                continue;
            fm_report_error(l->report, h->pos,
                            "region `%s` has more than %u hosts with the role `%s`",
                            FM_Q(l->conf->regions[r].name), most, name);
            fm_report_advice(l->report, "%s", advice);
        }
    }
}

/* The first region without which coordination has no quorum; NULL where it outlives any one. */
static const char *fatal_region(const struct fm_conf_etcd *etcd, unsigned *left)
{
    for (size_t i = 0; i < etcd->nendpoint; i++) {
        unsigned there = 0;
        for (size_t k = 0; k < etcd->nendpoint; k++)
            there += fm_str_eq(etcd->endpoint[k].region, etcd->endpoint[i].region);
        FM_ASSERT(there > 0 && there <= etcd->nendpoint);
        *left = (unsigned)etcd->nendpoint - there;
        if (!fm_floor_quorum((unsigned)etcd->nendpoint, there))
            return etcd->endpoint[i].region.p;
    }
    return NULL;
}

static void etcd_domains(struct fm_load *l, int automatic, int any)
{
    const struct fm_conf_etcd *etcd = &l->conf->coordination.etcd;
    const struct fm_node *endpoints = fm_node_getz(
        fm_node_getz(fm_node_getz(l->root->node, "coordination"), "etcd"), "endpoints");
    unsigned left = 0, voting = 0;
    const char *fatal = fatal_region(etcd, &left);
    FM_ASSERT(any >= 0 && endpoints);
    for (unsigned i = 0; i < l->conf->nregions; i++)
        voting += votes(l->conf, i);
    if (fatal && automatic >= 0) {
        fm_report_error(l->report, at_mode(l, (size_t)automatic),
                        "`automatic` needs coordination that outlives any one region, and without "
                        "`%s` %u of %zu members are left",
                        fatal, left, etcd->nendpoint);
        fm_report_advice(l->report, "spread the members over three regions, with less than half of "
                                    "them in each; the third may be a witness. Or write `mode: "
                                    "assisted`");
    } else if (fatal) {
        fm_report_warning(l->report, endpoints->key_pos,
                          "coordination does not outlive `%s` (%u of %zu members are left): then "
                          "nobody can take over `%s`",
                          fatal, left, etcd->nendpoint, FM_Q(l->conf->contexts[any].name));
        fm_report_advice(l->report, "spread the members over three regions, with less than half of "
                                    "them in each");
    }
    if (automatic < 0 || l->hosts_bad || voting >= 3)
        return;
    fm_report_error(l->report, at_mode(l, (size_t)automatic),
                    "`automatic` needs a majority of regions that see the holder lost, and only %u "
                    "can say so",
                    voting);
    fm_report_advice(l->report, "have a third region: one that serves, with a host with the role "
                                "`controller`, or `witness: true` with a host with `roles: "
                                "[witness]`. Or write `mode: assisted`");
}

static void domains(struct fm_load *l)
{
    int any = first(l, false), automatic = first(l, true);
    const struct fm_conf_coordination *k = &l->conf->coordination;
    if (any < 0 || !k->present)
        return;
    if (k->etcd.present && k->etcd.nendpoint)
        etcd_domains(l, automatic, any);
    if (automatic < 0 || !k->sqlite.p)
        return;
    fm_report_warning(l->report, at_mode(l, (size_t)automatic),
                      "on one machine `coordination.sqlite` counts as a third failure domain, for "
                      "a demonstration: there `automatic` proves nothing about a lost machine");
    fm_report_advice(l->report, "in production use `coordination.etcd`, over three regions");
}

/* -------- times -------- */

/* A reason why a holder cannot live by promises; false where there is none. */
static bool no_promises(const struct fm_conf *c, char *why, size_t n)
{
    const struct fm_conf_host *near = NULL, *far = NULL;
    for (unsigned i = 0; i < c->nregions; i++)
        if (!c->regions[i].witness && !count_role(c, i, FM_ROLE_CONTROLLER)) {
            snprintf(why, n, "`%s` has no host with the role `controller`",
                     FM_Q(c->regions[i].name));
            return true;
        }
    for (size_t i = 0; i < c->nhosts; i++) {
        const struct fm_conf_host *h = &c->hosts[i];
        if (!(h->roles & FM_ROLE_CONTROLLER) || !h->peer.host.p)
            continue;
        if (fm_conf_addr_is_loopback(&h->peer))
            near = h;
        else
            far = h;
    }
    if (near && far)
        snprintf(why, n, "`%s`, on loopback, is out of reach for `%s`", FM_Q(near->name),
                 FM_Q(far->name));
    return near && far;
}

static void lease(struct fm_load *l, size_t i)
{
    const struct fm_conf_context *x = &l->conf->contexts[i];
    const struct fm_conf_etcd *etcd = &l->conf->coordination.etcd;
    char why[256];
    if (!etcd->present || l->hosts_bad || !fm_floor_lease_short(x->lease_ms, etcd->election_ms))
        return;
    struct fm_scalar_text lease = fm_scalar_duration_text(x->lease_ms);
    struct fm_scalar_text election = fm_scalar_duration_text(etcd->election_ms);
    struct fm_scalar_text least = fm_scalar_duration_text(2 * etcd->election_ms);
    struct fm_conf_pos pos = at_key(l, i, "lease", NULL);
    if (no_promises(l->conf, why, sizeof why)) {
        fm_report_error(l->report, pos,
                        "the lease of `%s` (%s) is less than two elections (%s each), and the "
                        "promises that would bridge one are impossible: %s",
                        FM_Q(x->name), lease.s, election.s, why);
        fm_report_advice(l->report, "write `lease: %s`, or more", least.s);
        return;
    }
    fm_report_warning(l->report, pos,
                      "the lease of `%s` (%s) is less than two elections (%s each): during one "
                      "the holder lives by the promises of all other controllers, and where one of "
                      "them is down, commands stop",
                      FM_Q(x->name), lease.s, election.s);
    fm_report_advice(l->report,
                     "write `lease: %s`, or more, or lower `coordination.etcd.election` "
                     "if your etcd is faster",
                     least.s);
}

/* Commands that are held must find somebody at the end of it. */
static void hold_of(struct fm_load *l, const struct fm_conf_context *x, struct fm_conf_pos pos,
                    int64_t hold_ms, int64_t total_ms, bool said)
{
    bool automatic = x->failover.mode == FM_CONF_AUTOMATIC;
    int64_t least_ms = fm_floor_hold_ms(x->lease_ms, x->failover.grace_ms);
    struct fm_scalar_text hold = fm_scalar_duration_text(hold_ms);
    FM_ASSERT(least_ms > 0 && total_ms > 0);
    if (automatic && hold_ms < least_ms) {
        fm_report_error(l->report, pos,
                        "commands of `%s` are held for %s, and nobody can take over before %s: the "
                        "lease with its drift (%s) or `grace` (%s), whichever is more",
                        FM_Q(x->name), hold.s, fm_scalar_duration_text(least_ms).s,
                        fm_scalar_duration_text(fm_floor_lease_wait_ms(x->lease_ms)).s,
                        fm_scalar_duration_text(x->failover.grace_ms).s);
        fm_report_advice(l->report, "write `hold: %s`",
                         fm_scalar_duration_text(least_ms + FM_HOLD_BEYOND_MS).s);
    } else if (hold_ms >= total_ms && (said || automatic)) {
        fm_report_warning(l->report, pos,
                          "commands of `%s` are held for %s, and given up after %s "
                          "(`timeouts.total`)",
                          FM_Q(x->name), hold.s, fm_scalar_duration_text(total_ms).s);
        fm_report_advice(l->report, "raise `timeouts.total` above `hold`");
    }
}

static void hold(struct fm_load *l, size_t i)
{
    const struct fm_conf_context *x = &l->conf->contexts[i];
    const struct fm_node *n = l->context_node[i];
    bool said = fm_node_getz(fm_node_getz(n, "when-away"), "hold");
    hold_of(l, x, at_key(l, i, "when-away", "hold"), x->when_away.hold_ms, x->timeouts.total_ms,
            said);
    const struct fm_conf_route *r = x->routes;
    const struct fm_node *routes = fm_node_getz(n, "routes");
    FM_ASSERT(!routes || routes->n == x->nroutes);
    for (const struct fm_node *one = routes ? routes->first : NULL; one; one = one->next, r++) {
        FM_ASSERT(r < x->routes + x->nroutes);
        const struct fm_node *own = fm_node_getz(fm_node_getz(one, "when-away"), "hold");
        bool other_total = r->timeouts.total_ms != x->timeouts.total_ms;
        /* such an override waits for nobody to take over */
        bool at_once = r->concurrent && r->when_away.commands == FM_CONF_AWAY_OVERRIDE;
        if (r->as != FM_AS_QUERY && !at_once && (own || other_total))
            hold_of(l, x, own ? own->pos : r->pos, r->when_away.hold_ms, r->timeouts.total_ms,
                    said || own);
    }
}

/* -------- objectives -------- */

struct fm_floor fm_conf_floor(const struct fm_conf *c, unsigned context)
{
    FM_ASSERT(context < c->ncontexts && exclusive(&c->contexts[context]));
    const struct fm_conf_context *x = &c->contexts[context];
    const struct fm_conf_probe *p = &c->probe;
    struct fm_floor_probes probes = {p->interval_ms, p->fast_interval_ms, p->timeout_ms, p->samples,
                                     p->successes};
    struct fm_floor_times t = {
        .lease_ms = x->lease_ms,
        .grace_ms = x->failover.grace_ms,
        .detection_ms = fm_floor_detection_ms(&probes),
        .election_ms = c->coordination.etcd.present ? c->coordination.etcd.election_ms : 0,
        .person = x->failover.mode != FM_CONF_AUTOMATIC,
    };
    return fm_floor_of(&t);
}

/* "the lease with its drift 2020ms; detection 1150ms and grace 0s; an election 1s" */
static void made_of(const struct fm_floor *f, char *out, size_t n)
{
    char election[64] = "";
    if (f->election_ms)
        snprintf(election, sizeof election, "; an election %s",
                 fm_scalar_duration_text(f->election_ms).s);
    snprintf(out, n, "the lease with its drift %s; detection %s and grace %s%s%s",
             fm_scalar_duration_text(f->wait_ms).s, fm_scalar_duration_text(f->detection_ms).s,
             fm_scalar_duration_text(f->grace_ms).s, election,
             f->person_ms ? "; then a person who consents, 1m" : "");
}

static void rto(struct fm_load *l, size_t i)
{
    const struct fm_conf_context *x = &l->conf->contexts[i];
    struct fm_conf_pos pos = at_key(l, i, "objectives", "rto");
    char parts[256];
    if (x->objectives.rto_ms < 0)
        return;
    struct fm_floor f = fm_conf_floor(l->conf, (unsigned)i);
    struct fm_scalar_text said = fm_scalar_duration_text(x->objectives.rto_ms);
    if (x->objectives.rto_ms < f.total_ms) {
        made_of(&f, parts, sizeof parts);
        fm_report_error(l->report, pos,
                        "`%s` cannot be back within %s: taking over takes at least %s (the longest "
                        "of: %s)",
                        FM_Q(x->name), said.s, fm_scalar_duration_text(f.total_ms).s, parts);
        fm_report_advice(l->report, "%s",
                         f.person_ms ? "write `mode: automatic`, or raise `rto`"
                                     : "lower what takes longest, or raise `rto`");
    } else if (f.person_ms && x->objectives.rto_ms <= x->failover.ask_after_ms) {
        fm_report_warning(l->report, pos,
                          "`%s` is back within %s only if somebody hears the first page: the "
                          "next one comes after %s",
                          FM_Q(x->name), said.s,
                          fm_scalar_duration_text(x->failover.ask_after_ms).s);
        fm_report_advice(l->report, "lower `failover.ask-after`, or write `mode: automatic`");
    }
}

/* Without a group Fulmar moves no data, and can bound no loss. */
static void rpo(struct fm_load *l, size_t i)
{
    const struct fm_conf_context *x = &l->conf->contexts[i];
    const struct fm_conf_objectives *o = &x->objectives;
    struct fm_conf_pos pos = at_key(l, i, "objectives", "rpo");
    FM_ASSERT(o->rpo_ms < 0 || o->rpo_bytes < 0); /* it is said in one of the two */
    if (o->rpo_ms < 0 && o->rpo_bytes < 0)
        return;
    int group = fm_conf_group_of(l->conf, (unsigned)i);
    if (group >= 0) {
        fm_groups_rpo(l, i, (size_t)group, pos);
        return;
    }
    if (o->rpo_ms == 0 || o->rpo_bytes == 0) {
        fm_report_error(l->report, pos,
                        "nothing guarantees that `%s` loses nothing with a region: Fulmar does not "
                        "move its data",
                        FM_Q(x->name));
        fm_report_advice(l->report, "delete `rpo`, or say what your own replication may lose");
        return;
    }
    fm_report_warning(
        l->report, pos,
        "nothing enforces the `rpo` of `%s`: Fulmar does not move its data, and calls "
        "what may be lost unbounded",
        FM_Q(x->name));
    fm_report_advice(l->report, "measure your own replication against it");
}

/* -------- who moves together -------- */

static bool same_homes(const struct fm_conf_context *a, const struct fm_conf_context *b)
{
    return a->topology == b->topology && a->ncells == b->ncells &&
           memcmp(a->cell_home, b->cell_home, a->ncells) == 0 && a->homes.by == b->homes.by &&
           fm_str_eq(a->homes.pins, b->homes.pins) &&
           fm_str_eq(a->homes.directory, b->homes.directory);
}

static bool same_failover(const struct fm_conf_failover *a, const struct fm_conf_failover *b)
{
    return a->mode == b->mode && a->grace_ms == b->grace_ms && a->ask_after_ms == b->ask_after_ms &&
           a->at_most == b->at_most && a->at_most_window_ms == b->at_most_window_ms &&
           a->prefer == b->prefer;
}

static void differ(struct fm_load *l, const struct fm_node *n, const struct fm_conf_context *a,
                   const struct fm_conf_context *b, const char *what)
{
    fm_report_error(l->report, n->pos, "`%s` moves with `%s`, and their %s", FM_Q(a->name),
                    FM_Q(b->name), what);
    fm_report_advice(l->report, "say the same of both, or let each move by itself");
}

static void partners(struct fm_load *l, size_t i)
{
    const struct fm_conf_context *a = &l->conf->contexts[i];
    const struct fm_node *list = fm_node_getz(l->context_node[i], "moves-with");
    FM_ASSERT(!list || list->kind == FM_NODE_LIST);
    for (const struct fm_node *n = list ? list->first : NULL; n; n = n->next) {
        int at = fm_conf_find_context(l->conf, n->text);
        if (at < 0 || (size_t)at == i || l->context_bad[at])
            continue; /* told */
        const struct fm_conf_context *b = &l->conf->contexts[at];
        if (a->topology != b->topology) {
            differ(l, n, a, b, "topologies differ");
            continue;
        }
        if (!same_homes(a, b))
            differ(l, n, a, b, "homes differ");
        if (a->lease_ms != b->lease_ms)
            differ(l, n, a, b, "leases differ");
        if (!same_failover(&a->failover, &b->failover))
            differ(l, n, a, b, "`failover` differs");
    }
}

/* -------- all of it -------- */

/* Fewer cells than regions leave some without any. */
static void cells(struct fm_load *l, size_t i)
{
    const struct fm_conf_context *x = &l->conf->contexts[i];
    unsigned serving = 0;
    for (size_t r = 0; r < l->conf->nregions; r++)
        serving += !l->conf->regions[r].witness;
    if (x->topology != FM_TOPOLOGY_AFFINITY || x->ncells >= serving)
        return;
    fm_report_warning(l->report, at_key(l, i, "cells", NULL),
                      "`%s` has %u cells for %u regions: some are home to nothing", FM_Q(x->name),
                      x->ncells, serving);
    fm_report_advice(l->report,
                     "write `cells: %u`, or more; the number is fixed for the life of "
                     "the service",
                     serving);
}

void fm_exclusive_check(struct fm_load *l)
{
    int any = first(l, false);
    bound_role(l, FM_ROLE_CONTROLLER, FM_CONF_CONTROLLERS_MAX, "controller",
               "take the role from some of them: three are plenty");
    if (any < 0)
        return;
    bound_role(l, FM_ROLE_GATE, FM_CONF_GATES_MAX, "gate",
               "take the role from some of them: a lease knows so many at the most");
    hosts(l, &l->conf->contexts[any]);
    domains(l);
    for (size_t i = 0; i < l->conf->ncontexts; i++) {
        if (!usable(l, i))
            continue;
        lease(l, i);
        hold(l, i);
        rto(l, i);
        rpo(l, i);
        partners(l, i);
        cells(l, i);
        fm_queueing_check(l, i);
    }
}
