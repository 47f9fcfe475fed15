/* From configuration and reports to doors. Invariants: a node that has not reported yet is away;
 * one whose host has no known address, or that has left the group, cannot be reached. A host keeps
 * its place among the nodes of a door for good: sessions and messages speak of places. */
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
    bool gone[FM_DOOR_NODES_MAX];
    struct fm_door_nodes nodes;
};

struct fm_groups {
    struct fm_doors *doors;       /* NULL: there was no group yet */
    const struct fm_names *names; /* NULL: of no gate */
    struct fm_seats *seats;
    unsigned nworkers, n;
    struct group group[FM_DOORS_MAX];
};

/* -------- nodes -------- */

/* The way to a node, as its address is known now. */
static void locate(const struct fm_groups *g, struct group *x, unsigned i)
{
    const struct fm_conf_addr *a = &x->host[i].agent;
    struct fm_addr *at = &x->nodes.at[i];
    bool near = x->distance[i] == FM_DOOR_NEAR || x->distance[i] == FM_DOOR_ZONE;
    bool known = !near || (a->is_ip ? fm_addr_ip(at, a->host, a->port) == FM_ERR_OK
                                    : fm_names_find(g->names, a, at));
    struct fm_door_node *n = &x->nodes.node[i];
    n->distance =
        (uint8_t)fm_door_way(x->distance[i], known, x->gone[i], n->role == FM_DOOR_PRIMARY);
}

/* The place of a host; -1 = there is none left. */
static int place_of(struct fm_groups *g, unsigned at, struct fm_str name)
{
    struct group *x = &g->group[at];
    for (unsigned i = 0; i < x->nodes.n; i++)
        if (fm_str_eqz(name, x->host[i].name))
            return (int)i;
    unsigned i = x->nodes.n;
    FM_ASSERT(name.n > 0 && name.n < sizeof x->host[i].name);
    if (i == FM_DOOR_NODES_MAX)
        return -1;
    memcpy(x->host[i].name, name.p, name.n);
    fm_doors_name(g->doors, at, i, x->host[i].name);
    x->distance[i] = x->nodes.node[i].distance = FM_DOOR_NO_WAY; /* until it is taken */
    x->nodes.n++;
    return (int)i;
}

static void take_node(struct fm_groups *g, unsigned at, const struct fm_groups_config *c,
                      const struct fm_conf_group_node *n)
{
    const struct fm_conf_host *h = &c->conf->hosts[n->host], *mine = &c->conf->hosts[c->host];
    bool same_region = g->names && h->region == mine->region;
    bool same_zone = mine->zone.n && fm_str_eq(h->zone, mine->zone);
    struct group *x = &g->group[at];
    int place = place_of(g, at, h->name);
    struct host *to = place < 0 ? NULL : &x->host[place];
    if (!to || h->peer.host.n >= sizeof to->at) {
        fm_log(FM_LOG_ERROR, "door_without_node", FM_KZ("group", x->name), FM_KS("node", h->name),
               FM_KZ("why", to ? "its address is too long" : "the group had too many nodes"),
               FM_KZ("meaning", to ? "give it a shorter one" : "restart this agent"));
        return;
    }
    memcpy(to->at, h->peer.host.p, h->peer.host.n);
    to->agent = (struct fm_conf_addr){
        .host = fm_str(to->at, h->peer.host.n), .port = h->peer.port, .is_ip = h->peer.is_ip};
    x->distance[place] = (uint8_t)fm_door_distance(n->host == c->host, same_region, same_zone);
    x->gone[place] = false;
    locate(g, x, (unsigned)place);
    if (n->host == c->host &&
        fm_addr_ip(&x->nodes.at[place], FM_STR("127.0.0.1"), (uint16_t)n->port))
        FM_UNREACHABLE();
}

static bool is_node(const struct fm_conf *conf, const struct fm_conf_group *from, const char *name)
{
    int host = fm_conf_find_host(conf, fm_str_z(name));
    return from && host >= 0 && fm_conf_find_group_node(from, (unsigned)host) >= 0;
}

/* Of a group that is not there any more all have gone. */
static void take_nodes(struct fm_groups *g, unsigned at, const struct fm_groups_config *c)
{
    struct group *x = &g->group[at];
    int index = fm_conf_find_group(c->conf, fm_str_z(x->name));
    const struct fm_conf_group *from = index < 0 ? NULL : &c->conf->groups[index];
    for (unsigned i = 0; i < x->nodes.n; i++)
        if (!is_node(c->conf, from, x->host[i].name)) {
            x->gone[i] = true;
            locate(g, x, i);
        }
    for (size_t i = 0; from && i < from->nnodes; i++)
        take_node(g, at, c, &from->nodes[i]);
    fm_doors_publish(g->doors, at, &x->nodes);
}

/* -------- doors -------- */

static enum fm_err listen_at(struct fm_door_config *d, enum fm_door_kind kind,
                             const struct fm_conf_addr *a, struct fm_error *e)
{
    d->listens[kind] = a != NULL;
    if (a && fm_addr_ip(&d->at[kind], a->host, a->port))
        return fm_error_set(e, FM_ERR_INVALID, "%.*s is not an IP address and a port",
                            FM_STR_ARG(a->text));
    return FM_ERR_OK;
}

static enum fm_err declare(const struct fm_groups *g, struct fm_door_config *d,
                           const struct fm_groups_config *c, const struct fm_conf_group *from,
                           struct fm_error *e)
{
    const struct fm_conf_context *context = &c->conf->contexts[from->contexts[0]];
    FM_ASSERT(from->ncontexts > 0 && context->ncells == 1 && from->name.n < sizeof d->name);
    *d = (struct fm_door_config){
        .policy = {.hold_ms = context->when_away.hold_ms, .read_lag_ms = from->listen.read_lag_ms}};
    memcpy(d->name, from->name.p, from->name.n);
    enum fm_err err = fm_seats_context(g->seats, context->name, 1, &d->seats, e);
    for (unsigned k = 0; k < FM_DOOR_KIND_COUNT && !err && g->names; k++)
        err = listen_at(d, (enum fm_door_kind)k,
                        fm_conf_group_listen(c->conf, from, c->host, k == FM_DOOR_READ_ONLY), e);
    return err;
}

/* Who may get a node is ready for its visits. */
static bool wants_door(const struct fm_groups *g, const struct fm_groups_config *c,
                       const struct fm_conf_group *from)
{
    bool listens = g->names && (fm_conf_group_listen(c->conf, from, c->host, false) ||
                                fm_conf_group_listen(c->conf, from, c->host, true));
    return from->nnodes > 0 && (listens || c->conf->hosts[c->host].roles & FM_ROLE_POSTGRES);
}

static bool has_door(const struct fm_groups *g, struct fm_str name)
{
    for (unsigned i = 0; i < g->n; i++)
        if (fm_str_eqz(name, g->group[i].name))
            return true;
    return false;
}

static void without_door(const struct fm_error *e)
{
    fm_log(FM_LOG_ERROR, "group_without_door", FM_KE(e),
           FM_KZ("meaning", "clients do not reach it here until this agent restarts"));
}

/* All that are there at first begin as one, so that whoever waits for it finds them listening. */
static enum fm_err begin(struct fm_groups *g, const struct fm_groups_config *c,
                         struct fm_doors_config *dc, struct fm_error *e)
{
    FM_ASSERT(!g->doors);
    dc->nworkers = g->nworkers < FM_DOOR_WORKERS_MAX ? g->nworkers : FM_DOOR_WORKERS_MAX;
    dc->region = (uint8_t)c->conf->hosts[c->host].region;
    dc->connections_max = c->conf->edge.limits.connections;
    dc->startup_ms = STARTUP_MS;
    dc->connect_ms = CONNECT_MS;
    g->doors = fm_doors_new(dc, e);
    return g->doors ? FM_ERR_OK : e->code;
}

static enum fm_err add(struct fm_groups *g, const struct fm_groups_config *c,
                       struct fm_doors_config *dc, const struct fm_conf_group *from,
                       struct fm_error *e)
{
    if (g->n == FM_DOORS_MAX)
        return fm_error_set(e, FM_ERR_LIMIT, "a host has doors of %d groups at most", FM_DOORS_MAX);
    struct fm_door_config *d = &dc->door[dc->ndoors];
    enum fm_err err = declare(g, d, c, from, e);
    if (!err && g->doors)
        err = fm_doors_add(g->doors, d, e);
    if (err)
        return fm_error_wrap(e, "group %.*s", FM_STR_ARG(from->name));
    dc->ndoors += !g->doors;
    memcpy(g->group[g->n++].name, d->name, sizeof d->name);
    return FM_ERR_OK;
}

/* `all`: at once, or none, since nobody has begun yet. Else one by one. */
static enum fm_err add_all(struct fm_groups *g, const struct fm_groups_config *c, bool all,
                           struct fm_error *e)
{
    struct fm_doors_config *dc = calloc(1, sizeof *dc);
    unsigned had = g->n;
    if (!dc) {
        fm_error_set(e, FM_ERR_MEMORY, "no memory for groups");
        if (!all)
            without_door(e);
        return FM_ERR_MEMORY;
    }
    enum fm_err err = FM_ERR_OK;
    for (size_t i = 0; i < c->conf->ngroups && !(err && all); i++) {
        const struct fm_conf_group *from = &c->conf->groups[i];
        if (!wants_door(g, c, from) || has_door(g, from->name))
            continue;
        err = all || g->doors ? FM_ERR_OK : begin(g, c, dc, e);
        if (!err)
            err = add(g, c, dc, from, e);
        if (err && !all)
            without_door(e);
    }
    if (all && !err && dc->ndoors > 0)
        err = begin(g, c, dc, e);
    free(dc);
    if (!g->doors)
        g->n = 0;
    for (unsigned i = had; i < g->n; i++)
        fm_log(FM_LOG_INFO, "group_door", FM_KZ("group", g->group[i].name));
    return err;
}

static void take(struct fm_groups *g, const struct fm_groups_config *c)
{
    if (!g->doors)
        return;
    fm_doors_peers(g->doors, (uint8_t)c->conf->hosts[c->host].region, c->tls);
    for (unsigned i = 0; i < g->n; i++)
        take_nodes(g, i, c);
}

/* -------- life -------- */

enum fm_err fm_groups_open(const struct fm_groups_config *c, struct fm_groups **out,
                           struct fm_error *e)
{
    FM_ASSERT(c->host < c->conf->nhosts && c->nworkers > 0 && c->seats);
    struct fm_groups *g = calloc(1, sizeof *g);
    *out = NULL;
    if (!g)
        return fm_error_set(e, FM_ERR_MEMORY, "no memory for groups");
    g->names = c->names;
    g->seats = c->seats;
    g->nworkers = c->nworkers;
    enum fm_err err = add_all(g, c, true, e);
    if (err) {
        fm_groups_free(g);
        return err;
    }
    take(g, c);
    *out = g;
    return FM_ERR_OK;
}

void fm_groups_reset(struct fm_groups *g, const struct fm_groups_config *c)
{
    struct fm_error e = {0};
    FM_ASSERT(c->seats == g->seats && c->names == g->names && c->host < c->conf->nhosts);
    (void)add_all(g, c, false, &e); /* what could not be is logged */
    take(g, c);
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
    int at = fm_groups_doors(g) && fm_tunnel_read(q->path, q->query, &group, &by)
                 ? fm_doors_find(g->doors, group)
                 : -1;
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
    locate(g, x, node);
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

struct fm_doors *fm_groups_doors(const struct fm_groups *g)
{
    return g ? g->doors : NULL;
}
