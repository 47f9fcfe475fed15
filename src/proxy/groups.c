/* From configuration and reports to doors. Invariants: a node that has not reported yet is away;
 * one whose host has no known address cannot be reached. */
#include "proxy/groups.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdlib.h>

enum { STARTUP_MS = 10 * 1000, CONNECT_MS = 2000, REFRESH_MS = 100 };

/* A host of a node. */
struct host {
    char name[256];
    struct fm_conf_addr agent; /* its peer port; the text is `at` */
    char at[256];
};

struct group {
    char name[64];
    struct fm_door_tide tide;
    struct fm_epoch epoch; /* of the primary that the tide is of */
    struct host host[FM_DOOR_NODES_MAX];
    uint8_t distance[FM_DOOR_NODES_MAX]; /* where its address is known */
    struct fm_door_nodes nodes;
};

struct fm_groups {
    struct fm_doors *doors;
    const struct fm_names *names; /* NULL: of no gate */
    unsigned n;
    struct group group[FM_DOORS_MAX];
};

/* The address of a node that is near, as it is known now. */
static void locate(const struct fm_groups *g, struct group *x, unsigned i)
{
    const struct fm_conf_addr *a = &x->host[i].agent;
    struct fm_addr *at = &x->nodes.at[i];
    if (x->distance[i] != FM_DOOR_NEAR && x->distance[i] != FM_DOOR_ZONE)
        return;
    bool known =
        a->is_ip ? fm_addr_ip(at, a->host, a->port) == FM_ERR_OK : fm_names_find(g->names, a, at);
    x->nodes.node[i].distance = known ? x->distance[i] : FM_DOOR_NO_WAY;
}

static enum fm_err take_node(const struct fm_groups *g, struct group *x, unsigned i,
                             const struct fm_groups_config *c, const struct fm_conf_group_node *n,
                             struct fm_error *e)
{
    const struct fm_conf_host *h = &c->conf->hosts[n->host], *mine = &c->conf->hosts[c->host];
    bool same_region = g->names && h->region == mine->region;
    bool same_zone = mine->zone.n && fm_str_eq(h->zone, mine->zone);
    struct host *to = &x->host[i];
    FM_ASSERT(h->name.n < sizeof to->name);
    memcpy(to->name, h->name.p, h->name.n);
    if (h->peer.host.n >= sizeof to->at)
        return fm_error_set(e, FM_ERR_LIMIT, "the address of a host is too long");
    memcpy(to->at, h->peer.host.p, h->peer.host.n);
    to->agent = (struct fm_conf_addr){
        .host = fm_str(to->at, h->peer.host.n), .port = h->peer.port, .is_ip = h->peer.is_ip};
    x->distance[i] = (uint8_t)fm_door_distance(n->host == c->host, same_region, same_zone);
    x->nodes.node[i].distance = x->distance[i];
    locate(g, x, i);
    if (n->host == c->host && fm_addr_ip(&x->nodes.at[i], FM_STR("127.0.0.1"), (uint16_t)n->port))
        return fm_error_set(e, FM_ERR_INVALID, "no address of a node");
    return FM_ERR_OK;
}

static enum fm_err take_nodes(const struct fm_groups *g, struct group *x, struct fm_door_config *d,
                              const struct fm_groups_config *c, const struct fm_conf_group *from,
                              struct fm_error *e)
{
    enum fm_err err = FM_ERR_OK;
    FM_ASSERT(from->nnodes <= FM_DOOR_NODES_MAX);
    x->nodes.n = (unsigned)from->nnodes;
    for (unsigned i = 0; i < from->nnodes && !err; i++) {
        err = take_node(g, x, i, c, &from->nodes[i], e);
        memcpy(d->host[i], x->host[i].name, sizeof d->host[i]);
    }
    return err;
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

static enum fm_err add(struct fm_groups *g, struct fm_doors_config *dc,
                       const struct fm_groups_config *c, const struct fm_conf_group *from,
                       struct fm_error *e)
{
    struct group *to = &g->group[g->n];
    struct fm_door_config *d = &dc->door[g->n];
    const struct fm_conf_context *context = &c->conf->contexts[from->contexts[0]];
    FM_ASSERT(from->ncontexts > 0 && context->ncells == 1 && from->name.n < sizeof to->name);
    memcpy(to->name, from->name.p, from->name.n);
    memcpy(d->name, to->name, sizeof d->name);
    d->policy.hold_ms = context->when_away.hold_ms;
    d->policy.read_lag_ms = from->listen.read_lag_ms;
    g->n++;
    dc->ndoors = g->n;
    enum fm_err err = fm_seats_context(c->seats, context->name, 1, &d->seats, e);
    for (unsigned k = 0; k < FM_DOOR_KIND_COUNT && !err && c->names; k++)
        err = listen_at(d, (enum fm_door_kind)k,
                        fm_conf_group_listen(c->conf, from, c->host, k == FM_DOOR_READ_ONLY), e);
    return err ? err : take_nodes(g, to, d, c, from, e);
}

/* Who is refused by the kernel goes on to the next host of its DSN. */
static bool has_door(const struct fm_groups_config *c, const struct fm_conf_group *from)
{
    bool node = fm_conf_find_group_node(from, c->host) >= 0, near = false;
    for (size_t i = 0; i < from->nnodes; i++)
        near |= c->conf->hosts[from->nodes[i].host].region == c->conf->hosts[c->host].region;
    bool listens = c->names && (fm_conf_group_listen(c->conf, from, c->host, false) ||
                                fm_conf_group_listen(c->conf, from, c->host, true));
    return node || (near && listens);
}

static enum fm_err add_all(struct fm_groups *g, struct fm_doors_config *dc,
                           const struct fm_groups_config *c, struct fm_error *e)
{
    for (size_t i = 0; i < c->conf->ngroups; i++) {
        const struct fm_conf_group *from = &c->conf->groups[i];
        if (!has_door(c, from))
            continue;
        if (g->n == FM_DOORS_MAX)
            return fm_error_set(e, FM_ERR_LIMIT, "a host has doors of %d groups at most",
                                FM_DOORS_MAX);
        enum fm_err err = add(g, dc, c, from, e);
        if (err)
            return fm_error_wrap(e, "group %.*s", FM_STR_ARG(from->name));
    }
    return FM_ERR_OK;
}

enum fm_err fm_groups_open(const struct fm_groups_config *c, struct fm_groups **out,
                           struct fm_error *e)
{
    FM_ASSERT(c->host < c->conf->nhosts && c->nworkers > 0 && c->seats);
    struct fm_groups *g = calloc(1, sizeof *g);
    struct fm_doors_config *dc = calloc(1, sizeof *dc);
    *out = NULL;
    if (!g || !dc) {
        free(g);
        free(dc);
        return fm_error_set(e, FM_ERR_MEMORY, "no memory for groups");
    }
    g->names = c->names;
    dc->nworkers = c->nworkers < FM_DOOR_WORKERS_MAX ? c->nworkers : FM_DOOR_WORKERS_MAX;
    dc->region = (uint8_t)c->conf->hosts[c->host].region;
    dc->connections_max = c->conf->edge.limits.connections;
    dc->startup_ms = STARTUP_MS;
    dc->connect_ms = CONNECT_MS;
    enum fm_err err = add_all(g, dc, c, e);
    if (!err && g->n > 0) {
        g->doors = fm_doors_new(dc, e);
        err = g->doors ? FM_ERR_OK : e->code;
    }
    free(dc);
    if (err || g->n == 0) {
        free(g);
        return err;
    }
    fm_doors_peers(g->doors, c->tls);
    for (unsigned i = 0; i < g->n; i++) {
        fm_doors_publish(g->doors, i, &g->group[i].nodes);
        fm_log(FM_LOG_INFO, "group_door", FM_KZ("group", g->group[i].name));
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

void fm_groups_names_changed(struct fm_groups *g)
{
    for (unsigned i = 0; i < g->n; i++) {
        struct group *x = &g->group[i];
        for (unsigned n = 0; n < x->nodes.n; n++)
            locate(g, x, n);
        fm_doors_publish(g->doors, i, &x->nodes);
    }
}

void fm_groups_page(struct fm_groups *g, bool gate, const struct fm_page_request *q,
                    struct fm_page_answer *a)
{
    struct fm_tunnel by;
    struct fm_str group;
    struct fm_sock_parcel from;
    int at =
        g && fm_tunnel_read(q->path, q->query, &group, &by) ? fm_doors_find(g->doors, group) : -1;
    if (at < 0)
        a->status = 404;
    else if (!gate)
        a->status = 403;
    else if (!fm_doors_have_room(g->doors))
        a->status = 503;
    else if (!fm_str_eqz(q->upgrade, FM_TUNNEL_PROTOCOL) || !fm_page_take(q, &from))
        a->status = 400;
    else
        fm_doors_receive(g->doors, (unsigned)at, &by, &from);
}

static void reported(struct fm_groups *g, unsigned at, unsigned node,
                     const struct fm_group_report *r)
{
    struct group *x = &g->group[at];
    struct fm_door_node now = fm_door_node_of(r, &x->tide, x->nodes.node[node].distance);
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
            if (fm_str_eqz(group, g->group[i].name) && fm_str_eqz(host, g->group[i].host[n].name))
                reported(g, i, n, r);
}

struct fm_doors *fm_groups_doors(struct fm_groups *g)
{
    return g->doors;
}
