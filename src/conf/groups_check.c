/* What groups need around them: a context that fits, a node at home, ports and folders of their
 * own; and what they promise to their contexts. Each function is one rule. What has errors of its
 * own is passed over. */
#include "base/assert.h"
#include "conf/addr.h"
#include "conf/decode.h"

/* -------- contexts -------- */

/* True where the context is as it must be, so that the group has a home. */
static bool has_home(struct fm_load *l, size_t group)
{
    struct fm_conf_group *g = &l->conf->groups[group];
    FM_ASSERT(g->ncontexts == 1);
    const struct fm_conf_context *x = &l->conf->contexts[g->contexts[0]];
    const struct fm_node *list = fm_node_getz(l->group_node[group], "contexts");
    if (l->context_bad[g->contexts[0]])
        return false;
    if (x->topology != FM_TOPOLOGY_ACTIVE_PASSIVE) {
        fm_report_error(l->report, list->first->pos,
                        "the data of a group is written in one region, and `%s` is `%s`",
                        FM_Q(x->name),
                        x->topology == FM_TOPOLOGY_AFFINITY ? "affinity" : "multi-write");
        fm_report_advice(l->report, "only a context with `topology: active-passive` has a group");
        return false;
    }
    g->home = x->home;
    return true;
}

/* -------- nodes -------- */

/* One that could be primary: a delayed one never is. */
static bool has_node(const struct fm_conf *c, const struct fm_conf_group *g, unsigned region)
{
    for (size_t i = 0; i < g->nnodes; i++)
        if (c->hosts[g->nodes[i].host].region == region && g->nodes[i].delay_ms == 0)
            return true;
    return false;
}

static bool has_delayed(const struct fm_conf *c, const struct fm_conf_group *g, unsigned region)
{
    for (size_t i = 0; i < g->nnodes; i++)
        if (c->hosts[g->nodes[i].host].region == region && g->nodes[i].delay_ms)
            return true;
    return false;
}

static void regions(struct fm_load *l, size_t group)
{
    const struct fm_conf *c = l->conf;
    const struct fm_conf_group *g = &c->groups[group];
    const struct fm_node *nodes = fm_node_getz(l->group_node[group], "nodes");
    FM_ASSERT(nodes && g->home < c->nregions);
    for (unsigned r = 0; r < c->nregions; r++) {
        if (c->regions[r].witness || has_node(c, g, r))
            continue;
        const char *which = has_delayed(c, g, r) ? " without `delay`" : "";
        if (r == g->home) {
            fm_report_error(l->report, nodes->key_pos,
                            "the group `%s` has no node%s in `%s`, the home of `%s`", FM_Q(g->name),
                            which, FM_Q(c->regions[r].name),
                            FM_Q(c->contexts[g->contexts[0]].name));
            fm_report_advice(l->report, "add a host of `%s` with the role `postgres` to `nodes`",
                             FM_Q(c->regions[r].name));
            continue;
        }
        fm_report_warning(l->report, nodes->key_pos,
                          "the group `%s` has no node%s in `%s`, which can never take `%s` over",
                          FM_Q(g->name), which, FM_Q(c->regions[r].name),
                          FM_Q(c->contexts[g->contexts[0]].name));
        fm_report_advice(l->report, "add a host of `%s` with the role `postgres` to `nodes`",
                         FM_Q(c->regions[r].name));
    }
}

/* Do the two hosts run on one machine? */
static bool is_one_machine(const struct fm_conf_host *a, const struct fm_conf_host *b)
{
    bool local = fm_conf_addr_is_loopback(&a->peer) && fm_conf_addr_is_loopback(&b->peer);
    return a == b || local || fm_str_eq_nocase(a->peer.host, b->peer.host);
}

static bool same_data(const struct fm_conf *c, const struct fm_conf_group_node *a,
                      const struct fm_conf_group_node *b)
{
    char x[4096], y[4096];
    const struct fm_conf_host *h = &c->hosts[a->host], *i = &c->hosts[b->host];
    return fm_conf_expand(a->data, h->name, c->regions[h->region].name, x, sizeof x) == FM_ERR_OK &&
           fm_conf_expand(b->data, i->name, c->regions[i->region].name, y, sizeof y) == FM_ERR_OK &&
           strcmp(x, y) == 0;
}

static void clash(struct fm_load *l, const struct fm_conf_group *ga,
                  const struct fm_conf_group_node *a, const struct fm_conf_group *gb,
                  const struct fm_conf_group_node *b)
{
    const struct fm_conf_host *x = &l->conf->hosts[a->host], *y = &l->conf->hosts[b->host];
    if (!is_one_machine(x, y))
        return;
    if (a->port == b->port) {
        fm_report_error(l->report, b->pos,
                        "the nodes `%s` of `%s` and `%s` of `%s` run on one machine and have the "
                        "same port, %u",
                        FM_Q(x->name), FM_Q(ga->name), FM_Q(y->name), FM_Q(gb->name), b->port);
        fm_report_advice(l->report, "give one of them another `port`");
    }
    if (same_data(l->conf, a, b)) {
        fm_report_error(l->report, b->pos,
                        "the nodes `%s` of `%s` and `%s` of `%s` run on one machine and have the "
                        "same `data`",
                        FM_Q(x->name), FM_Q(ga->name), FM_Q(y->name), FM_Q(gb->name));
        fm_report_advice(l->report, "write `data: \"/var/lib/fulmar/{host}/pg/%s\"`",
                         FM_Q(gb->name));
    }
}

/* Each node against those before it, of all groups. */
static void nodes(struct fm_load *l, size_t group)
{
    const struct fm_conf *c = l->conf;
    const struct fm_conf_group *g = &c->groups[group];
    for (size_t k = 0; k < g->nnodes; k++) {
        const struct fm_conf_group_node *n = &g->nodes[k];
        const struct fm_conf_host *h = &c->hosts[n->host];
        const char *door = n->port == h->peer_bind.port                              ? "peer"
                           : n->port == h->admin.port                                ? "admin"
                           : h->roles & FM_ROLE_GATE && n->port == h->gate_bind.port ? "gate"
                                                                                     : NULL;
        if (door) {
            fm_report_error(l->report, n->pos, "the port %u is that of `%s` of host `%s`", n->port,
                            door, FM_Q(h->name));
            fm_report_advice(l->report, "give the node another `port`");
        }
        for (size_t i = 0; i <= group; i++) {
            const struct fm_conf_group *other = &c->groups[i];
            size_t before = i == group ? k : other->nnodes;
            for (size_t m = 0; m < before && !l->group_bad[i]; m++)
                clash(l, other, &other->nodes[m], g, n);
        }
    }
}

/* -------- listeners -------- */

static bool taken(struct fm_load *l, const struct fm_conf_addr *a, const struct fm_conf_addr *b,
                  struct fm_str host, const char *by)
{
    if (!fm_conf_addr_overlap(a, b))
        return false;
    fm_report_error(l->report, a->pos, "`%s` is taken on host `%s`: %s listens there",
                    FM_Q(a->text), FM_Q(host), by);
    fm_report_advice(l->report, "give each its own port or its own address");
    return true;
}

struct door {
    size_t group;
    unsigned host;
    bool read_only;
};

static const struct fm_conf_addr *address_of(const struct fm_conf *c, struct door d)
{
    return fm_conf_group_listen(c, &c->groups[d.group], d.host, d.read_only);
}

/* By what stands on host `other`, of the same machine. */
static bool taken_by(struct fm_load *l, struct door d, unsigned other)
{
    const struct fm_conf *c = l->conf;
    const struct fm_conf_addr *a = address_of(c, d);
    const struct fm_conf_host *h = &c->hosts[other];
    FM_ASSERT(a && is_one_machine(&c->hosts[d.host], h));
    if (h->roles & FM_ROLE_GATE && taken(l, a, &h->gate_bind, h->name, "its gate"))
        return true;
    if (h->roles & FM_ROLES_AGENT && (taken(l, a, &h->peer_bind, h->name, "its agent") ||
                                      taken(l, a, &h->admin, h->name, "`admin`")))
        return true;
    for (size_t i = 0; i < c->ngroups; i++) {
        int node = l->group_bad[i] ? -1 : fm_conf_find_group_node(&c->groups[i], other);
        if (node >= 0 && c->groups[i].nodes[node].port == a->port &&
            taken(l, a, a, h->name, "PostgreSQL"))
            return true;
    }
    for (size_t i = 0; i <= d.group; i++) {
        for (unsigned k = 0; k < 2 && !l->group_bad[i]; k++) {
            bool before = i < d.group || k < d.read_only || (k == d.read_only && other < d.host);
            struct door one = {i, other, k != 0};
            const struct fm_conf_addr *b = before ? address_of(c, one) : NULL;
            if (b && taken(l, a, b, h->name, k ? "a `read-only`" : "a `read-write`"))
                return true;
        }
    }
    return false;
}

static void listeners(struct fm_load *l, size_t group, bool read_only)
{
    const struct fm_conf *c = l->conf;
    const struct fm_conf_addr *told = NULL;
    for (unsigned i = 0; i < c->nhosts; i++) {
        struct door d = {group, i, read_only};
        const struct fm_conf_addr *a = address_of(c, d);
        if (!a || a == told) /* one line of the file is wrong once */
            continue;
        for (unsigned k = 0; k < c->nhosts && a != told; k++)
            if (is_one_machine(&c->hosts[i], &c->hosts[k]) && taken_by(l, d, k))
                told = a;
    }
}

/* A gate reaches the nodes of its own region. */
static void ways(struct fm_load *l, size_t group)
{
    const struct fm_conf *c = l->conf;
    const struct fm_conf_group *g = &c->groups[group];
    const struct fm_node *listen = fm_node_getz(l->group_node[group], "listen");
    const struct fm_conf_host *none = NULL;
    unsigned good = 0;
    for (unsigned i = 0; i < c->nhosts; i++) {
        if (!fm_conf_group_listen(c, g, i, false) && !fm_conf_group_listen(c, g, i, true))
            continue;
        bool node = has_node(c, g, c->hosts[i].region);
        good += node;
        none = node || none ? none : &c->hosts[i];
    }
    if (!none)
        return;
    FM_ASSERT(listen);
    struct fm_str region = c->regions[none->region].name;
    if (good)
        fm_report_warning(
            l->report, listen->key_pos,
            "`%s` has no node of `%s`, and the gate `%s` there does not listen for it",
            FM_Q(region), FM_Q(g->name), FM_Q(none->name));
    else
        fm_report_error(l->report, listen->key_pos,
                        "no gate that listens is in a region with a node of `%s`", FM_Q(g->name));
    fm_report_advice(
        l->report, "give a host in a region with nodes the role `gate`, and say which ones listen: "
                   "`read-write: {HOST: \"0.0.0.0:6432\"}`");
}

/* -------- promises -------- */

/* What nobody answers for is not given away without a person. */
static void automatic(struct fm_load *l, size_t group)
{
    const struct fm_conf_group *g = &l->conf->groups[group];
    const struct fm_conf_context *x = &l->conf->contexts[g->contexts[0]];
    const struct fm_node *mode =
        fm_node_getz(fm_node_getz(l->group_node[group], "replication"), "mode");
    if (g->hooks.present && x->failover.mode == FM_CONF_AUTOMATIC) {
        fm_report_error(l->report, fm_node_getz(l->group_node[group], "hooks")->key_pos,
                        "`%s` fails over by itself, and what that would lose is only estimated",
                        FM_Q(x->name));
        fm_report_advice(l->report, "let a person decide: `mode: assisted`");
        return;
    }
    FM_ASSERT(mode || g->hooks.present);
    if (g->hooks.present || x->failover.mode != FM_CONF_AUTOMATIC ||
        g->replication.credit_bytes >= 0)
        return;
    fm_report_error(l->report, mode->pos,
                    "`%s` fails over by itself, and nothing bounds what that would lose",
                    FM_Q(x->name));
    fm_report_advice(l->report, "add `max-loss: {bytes: 1MiB}`, write `mode: sync`, or let a "
                                "person decide: `mode: assisted`");
}

/* Whoever is kept apart on purpose must hold nobody up. */
static void breaks(struct fm_load *l, size_t context)
{
    const struct fm_conf_context *x = &l->conf->contexts[context];
    int group = fm_conf_group_of(l->conf, (unsigned)context);
    if (l->context_bad[context] || !x->standby.breaks || (group >= 0 && l->group_bad[group]))
        return;
    const struct fm_node *n =
        fm_node_getz(fm_node_getz(l->context_node[context], "standby"), "replication");
    FM_ASSERT(n && x->standby.present);
    const struct fm_conf_group *g = group >= 0 ? &l->conf->groups[group] : NULL;
    if (!g || g->hooks.present) {
        fm_report_error(l->report, n->pos,
                        "Fulmar replicates nothing of `%s`: there is nothing to "
                        "be broken",
                        FM_Q(x->name));
        fm_report_advice(l->report, g ? "delete it; what the commands `start` and `stop` do is "
                                        "yours"
                                      : "delete it, or add a group with `nodes` for the context");
    } else if (g->replication.beyond == FM_CONF_BEYOND_BLOCK_WRITES) {
        fm_report_error(l->report, n->pos,
                        "nobody could write to `%s` while it is prepared: its group `%s` waits for "
                        "every node (`beyond: block-writes`)",
                        FM_Q(x->name), FM_Q(g->name));
        fm_report_advice(l->report, "write `beyond: no-automatic`, or `replication: follow`");
    }
}

/* What may be lost is not within the objective. */
static bool exceeds(struct fm_load *l, size_t context, const struct fm_conf_group *g,
                    struct fm_conf_pos pos)
{
    const struct fm_conf_context *x = &l->conf->contexts[context];
    int64_t credit = g->replication.credit_bytes, time_ms = g->replication.max_loss.time_ms;
    bool by_time = x->objectives.rpo_bytes < 0 && time_ms > 0;
    if (credit == 0 || x->objectives.rpo_bytes >= credit)
        return false;
    if (by_time && time_ms <= x->objectives.rpo_ms)
        return false;
    if (by_time)
        fm_report_error(l->report, pos,
                        "the group `%s` may lose what was acknowledged within %s, more than the "
                        "`rpo` of `%s`",
                        FM_Q(g->name), fm_scalar_duration_text(time_ms).s, FM_Q(x->name));
    else if (x->objectives.rpo_bytes < 0)
        fm_report_error(l->report, pos,
                        "the `rpo` of `%s` is a time, and what its group `%s` may lose is "
                        "enforced in bytes: %s",
                        FM_Q(x->name), FM_Q(g->name), fm_scalar_size_text((uint64_t)credit).s);
    else
        fm_report_error(l->report, pos, "the group `%s` may lose %s, more than the `rpo` of `%s`",
                        FM_Q(g->name), fm_scalar_size_text((uint64_t)credit).s, FM_Q(x->name));
    fm_report_advice(l->report, "write an `rpo` of at least that much, a smaller `max-loss`, or "
                                "`mode: sync`");
    return true;
}

/* Somebody else replicates them. */
static void estimated_rpo(struct fm_load *l, size_t context, const struct fm_conf_group *g,
                          struct fm_conf_pos pos)
{
    const struct fm_conf_context *x = &l->conf->contexts[context];
    if (x->objectives.rpo_ms == 0 || x->objectives.rpo_bytes == 0) {
        fm_report_error(l->report, pos,
                        "nothing guarantees that `%s` loses nothing with a region: Fulmar does not "
                        "run the data of its group `%s`",
                        FM_Q(x->name), FM_Q(g->name));
        fm_report_advice(l->report, "delete `rpo`, or say what its own replication may lose");
        return;
    }
    fm_report_warning(l->report, pos,
                      "nothing enforces the `rpo` of `%s`: what its group `%s` may lose is "
                      "estimated by its command `lag`",
                      FM_Q(x->name), FM_Q(g->name));
    fm_report_advice(l->report, "it is what you expect of the replication of your own; watch "
                                "`loss-if-now` in `fulmar group status`");
}

/* With `sync` nothing is lost with a region where another one has a node that follows: within every
 * objective; with a `max-loss` at most that. */
void fm_groups_rpo(struct fm_load *l, size_t context, size_t group, struct fm_conf_pos pos)
{
    const struct fm_conf *c = l->conf;
    const struct fm_conf_group *g = &c->groups[group];
    unsigned elsewhere = 0;
    if (l->group_bad[group])
        return;
    if (g->hooks.present) {
        estimated_rpo(l, context, g, pos);
        return;
    }
    for (unsigned r = 0; r < c->nregions; r++)
        elsewhere += r != g->home && has_node(c, g, r);
    if (g->replication.credit_bytes < 0) {
        fm_report_error(l->report, pos,
                        "nothing enforces the `rpo` of `%s`: its group `%s` is "
                        "`async`",
                        FM_Q(c->contexts[context].name), FM_Q(g->name));
        fm_report_advice(l->report,
                         "write `mode: sync` in `groups.%s.replication`, or delete `rpo`",
                         FM_Q(g->name));
    } else if (exceeds(l, context, g, pos)) {
        return;
    } else if (!elsewhere) {
        fm_report_error(
            l->report, pos, "all of `%s` is lost with `%s`: its group `%s` has nodes there alone",
            FM_Q(c->contexts[context].name), FM_Q(c->regions[g->home].name), FM_Q(g->name));
        fm_report_advice(l->report, "add a node in another region, or delete `rpo`");
    } else if (g->replication.beyond == FM_CONF_BEYOND_NO_AUTOMATIC) {
        fm_report_warning(l->report, pos,
                          "the `rpo` of `%s` is kept while a node of its group `%s` in another "
                          "region follows: without one commits go on (`beyond: no-automatic`)",
                          FM_Q(c->contexts[context].name), FM_Q(g->name));
        fm_report_advice(l->report, "write `beyond: block-writes` if they shall wait instead");
    }
}

/* -------- all of it -------- */

/* Secrets that Fulmar makes leave a machine by TLS alone. */
static void secrets(struct fm_load *l, size_t group)
{
    const struct fm_conf *c = l->conf;
    const struct fm_conf_group *g = &c->groups[group];
    bool said = g->admin_password_file.n && g->replication_password_file.n;
    bool far = false;
    for (size_t i = 0; i < g->nnodes; i++)
        far |= !fm_conf_addr_is_loopback(&g->nodes[i].address);
    if (c->peer_tls.present || said || !far || g->nnodes < 2 ||
        l->root->peer_tls != FM_PEER_PLAINTEXT)
        return;
    fm_report_error(l->report, g->pos,
                    "the secrets of the group `%s` are not sent from host to host in the clear "
                    "(`peer-tls: plaintext`)",
                    FM_Q(g->name));
    fm_report_advice(
        l->report,
        "make certificates (`fulmar help certs init`), or bring the files yourself and say "
        "`users: {admin: {password-file: a}, replication: {password-file: r}}`");
}

static void idle_hosts(struct fm_load *l)
{
    const struct fm_conf *c = l->conf;
    for (size_t i = 0; i < c->ngroups; i++)
        if (l->group_bad[i])
            return;
    for (unsigned h = 0; h < c->nhosts && !l->hosts_bad; h++) {
        bool used = !(c->hosts[h].roles & FM_ROLE_POSTGRES);
        for (size_t i = 0; i < c->ngroups; i++)
            used |= fm_conf_find_group_node(&c->groups[i], h) >= 0;
        if (used)
            continue;
        fm_report_warning(l->report, c->hosts[h].pos,
                          "host `%s` has the role `postgres`, and no group has a node there",
                          FM_Q(c->hosts[h].name));
        fm_report_advice(l->report, "add it to `nodes` of a group, or take the role away");
    }
}

static void around_nodes(struct fm_load *l, size_t group)
{
    nodes(l, group);
    fm_groups_zones(l, group);
    listeners(l, group, false);
    listeners(l, group, true);
    ways(l, group);
    secrets(l, group);
}

void fm_groups_check(struct fm_load *l)
{
    const struct fm_conf *c = l->conf;
    FM_ASSERT(c->ngroups <= FM_CONF_GROUPS_MAX);
    for (size_t i = 0; i < c->ngroups; i++) {
        if (l->group_bad[i])
            continue;
        bool hooked = c->groups[i].hooks.present;
        FM_ASSERT(l->group_node[i] && (c->groups[i].nnodes > 0) == !hooked);
        if (!hooked)
            around_nodes(l, i);
        if (!has_home(l, i))
            continue;
        if (!hooked)
            regions(l, i);
        automatic(l, i);
    }
    for (size_t i = 0; i < c->ncontexts; i++)
        breaks(l, i);
    const struct fm_node *map = fm_node_getz(l->root->node, "groups");
    if (!map || map->n == c->ngroups)
        idle_hosts(l);
}
