/* From configuration and reports to doors. Invariant: a node that has not reported yet is away. */
#include "proxy/groups.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdlib.h>

enum { STARTUP_MS = 10 * 1000, CONNECT_MS = 2000, REFRESH_MS = 100 };

struct group {
    char name[64];
    struct fm_door_tide tide;
    struct fm_epoch epoch; /* of the primary that the tide is of */
    char host[FM_DOOR_NODES_MAX][256];
    uint8_t distance[FM_DOOR_NODES_MAX];
    struct fm_door_nodes nodes;
};

struct fm_groups {
    struct fm_doors *doors;
    unsigned n;
    struct group group[FM_DOORS_MAX];
};

static enum fm_err take_nodes(struct group *g, const struct fm_conf *c,
                              const struct fm_conf_group *from, unsigned host, struct fm_error *e)
{
    FM_ASSERT(from->nnodes <= FM_DOOR_NODES_MAX);
    g->nodes.n = (unsigned)from->nnodes;
    for (unsigned i = 0; i < from->nnodes; i++) {
        const struct fm_conf_group_node *n = &from->nodes[i];
        struct fm_str name = c->hosts[n->host].name;
        g->distance[i] = n->host == host ? 0 : FM_DOOR_NO_WAY;
        g->nodes.node[i].distance = g->distance[i];
        FM_ASSERT(name.n < sizeof g->host[i]);
        memcpy(g->host[i], name.p, name.n);
        if (n->host == host && fm_addr_ip(&g->nodes.at[i], FM_STR("127.0.0.1"), (uint16_t)n->port))
            return fm_error_set(e, FM_ERR_INVALID, "no address of a node");
    }
    return FM_ERR_OK;
}

static enum fm_err listen_at(struct fm_door_config *d, enum fm_door_kind kind,
                             const struct fm_conf_addr *a, struct fm_error *e)
{
    d->listens[kind] = a != NULL;
    if (a && fm_addr_ip(&d->at[kind], a->host, a->port))
        return fm_error_set(e, FM_ERR_INVALID, "%.*s is not an IP address and a port",
                            FM_STR_ARG(a->text));
    return FM_ERR_OK;
}

static enum fm_err add(struct fm_groups *g, struct fm_doors_config *dc, const struct fm_conf *c,
                       const struct fm_conf_group *from, unsigned host, struct fm_seats *seats,
                       struct fm_error *e)
{
    struct group *to = &g->group[g->n];
    struct fm_door_config *d = &dc->door[g->n];
    const struct fm_conf_context *context = &c->contexts[from->contexts[0]];
    FM_ASSERT(from->ncontexts > 0 && context->ncells == 1 && from->name.n < sizeof to->name);
    memcpy(to->name, from->name.p, from->name.n);
    memcpy(d->name, to->name, sizeof d->name);
    d->policy.hold_ms = context->when_away.hold_ms;
    d->policy.read_lag_ms = from->listen.read_lag_ms;
    g->n++;
    dc->ndoors = g->n;
    enum fm_err err = fm_seats_context(seats, context->name, 1, &d->seats, e);
    if (!err)
        err = listen_at(d, FM_DOOR_READ_WRITE, fm_conf_group_listen(c, from, host, false), e);
    if (!err)
        err = listen_at(d, FM_DOOR_READ_ONLY, fm_conf_group_listen(c, from, host, true), e);
    return err ? err : take_nodes(to, c, from, host, e);
}

static enum fm_err add_all(struct fm_groups *g, struct fm_doors_config *dc, const struct fm_conf *c,
                           unsigned host, struct fm_seats *seats, struct fm_error *e)
{
    for (size_t i = 0; i < c->ngroups; i++) {
        const struct fm_conf_group *from = &c->groups[i];
        bool listens =
            fm_conf_group_listen(c, from, host, false) || fm_conf_group_listen(c, from, host, true);
        /* who is refused by the kernel goes on to the next host of its DSN */
        if (!listens || fm_conf_find_group_node(from, host) < 0)
            continue;
        if (g->n == FM_DOORS_MAX)
            return fm_error_set(e, FM_ERR_LIMIT, "a gate has doors of %d groups at most",
                                FM_DOORS_MAX);
        enum fm_err err = add(g, dc, c, from, host, seats, e);
        if (err)
            return fm_error_wrap(e, "group %.*s", FM_STR_ARG(from->name));
    }
    return FM_ERR_OK;
}

enum fm_err fm_groups_open(const struct fm_conf *c, unsigned host, struct fm_seats *seats,
                           unsigned nworkers, struct fm_groups **out, struct fm_error *e)
{
    FM_ASSERT(host < c->nhosts && nworkers > 0);
    struct fm_groups *g = calloc(1, sizeof *g);
    struct fm_doors_config *dc = calloc(1, sizeof *dc);
    *out = NULL;
    if (!g || !dc) {
        free(g);
        free(dc);
        return fm_error_set(e, FM_ERR_MEMORY, "no memory for groups");
    }
    dc->nworkers = nworkers < FM_DOOR_WORKERS_MAX ? nworkers : FM_DOOR_WORKERS_MAX;
    dc->region = (uint8_t)c->hosts[host].region;
    dc->connections_max = c->edge.limits.connections;
    dc->startup_ms = STARTUP_MS;
    dc->connect_ms = CONNECT_MS;
    enum fm_err err = add_all(g, dc, c, host, seats, e);
    if (!err && g->n > 0) {
        g->doors = fm_doors_new(dc, e);
        err = g->doors ? FM_ERR_OK : e->code;
    }
    free(dc);
    if (err || g->n == 0) {
        free(g);
        return err;
    }
    for (unsigned i = 0; i < g->n; i++) {
        fm_doors_publish(g->doors, i, &g->group[i].nodes);
        fm_log(FM_LOG_INFO, "group_listening", FM_KZ("group", g->group[i].name));
    }
    *out = g;
    return FM_ERR_OK;
}

void fm_groups_free(struct fm_groups *g)
{
    if (!g)
        return;
    fm_doors_free(g->doors);
    free(g);
}

static void reported(struct fm_groups *g, unsigned at, unsigned node,
                     const struct fm_group_report *r)
{
    struct group *x = &g->group[at];
    struct fm_door_node now = fm_door_node_of(r, &x->tide, x->distance[node]);
    if (now.role == FM_DOOR_PRIMARY) {
        if (!fm_epoch_same(x->epoch, now.epoch))
            x->tide = (struct fm_door_tide){.n = 0}; /* positions of another history */
        x->epoch = now.epoch;
        fm_door_tide_rises(&x->tide, r->flush, r->at);
    }
    struct fm_door_node *was = &x->nodes.node[node];
    bool same = was->role == now.role && fm_epoch_same(was->epoch, now.epoch);
    bool newer = now.role == FM_DOOR_STANDBY &&
                 (was->lag_ms != now.lag_ms || fm_mono_sub_ms(now.seen, was->seen) >= REFRESH_MS);
    if (same && !newer)
        return;
    *was = now;
    fm_doors_publish(g->doors, at, &x->nodes);
}

void fm_groups_reported(struct fm_groups *g, struct fm_str group, struct fm_str host,
                        const struct fm_group_report *r)
{
    FM_ASSERT(!fm_mono_is_never(r->at));
    for (unsigned i = 0; i < g->n; i++)
        for (unsigned n = 0; n < g->group[i].nodes.n; n++)
            if (fm_str_eqz(group, g->group[i].name) && fm_str_eqz(host, g->group[i].host[n]))
                reported(g, i, n, r);
}

struct fm_doors *fm_groups_doors(struct fm_groups *g)
{
    return g->doors;
}
