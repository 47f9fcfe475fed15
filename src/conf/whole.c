/* What a caller of fm_conf_load relies on, asserted: each loaded configuration is whole. Nothing
 * here can fail unless a rule is missing elsewhere in this folder, which is why it crashes instead
 * of reporting. Runs once per load. */
#include "conf/load.h"

#include "base/assert.h"

static void text(struct fm_str s)
{
    FM_ASSERT(s.p && s.n > 0 && s.p[s.n] == '\0');
}

static void address(const struct fm_conf_addr *a)
{
    text(a->text);
    text(a->host);
    FM_ASSERT(a->port > 0);
    FM_ASSERT(a->pos.file);
}

static void bound(const struct fm_conf_addr *a)
{
    address(a);
    FM_ASSERT(a->is_ip);
}

static void host(const struct fm_conf *c, const struct fm_conf_host *h)
{
    text(h->name);
    FM_ASSERT(h->region < c->nregions);
    FM_ASSERT(h->roles && !(h->roles & ~(unsigned)(FM_ROLE_EDGE | FM_ROLES_AGENT)));
    bound(&h->admin);
    bound(&h->edge_admin);
    if (h->roles & FM_ROLES_AGENT) {
        address(&h->gate);
        address(&h->peer);
        bound(&h->gate_bind);
        bound(&h->peer_bind);
    }
}

static void edge(const struct fm_conf_edge *e)
{
    bound(&e->admin);
    FM_ASSERT(!e->present || e->nlisten > 0);
    for (size_t i = 0; i < e->nlisten; i++)
        bound(&e->listen[i].address);
    for (size_t i = 0; i < e->ntrust_forwarded; i++)
        FM_ASSERT(e->trust_forwarded[i].bits <= 128);
    text(e->ready.path);
    if (e->ready.present)
        bound(&e->ready.address);
    if (e->access_log.present)
        text(e->access_log.path);
    FM_ASSERT(e->access_log.sample_ppm <= 1000000);
    FM_ASSERT(e->limits.connections && e->limits.headers && e->limits.header_bytes);
    FM_ASSERT(e->limits.replay_body_bytes <= e->limits.body_bytes);
    FM_ASSERT(e->timeouts.header_ms > 0 && e->timeouts.idle_ms > 0);
    FM_ASSERT(e->timeouts.tunnel_idle_ms > 0);
    FM_ASSERT(e->drain_announce_ms >= 0 && e->drain_finish_ms >= 0);
}

static void coordination(const struct fm_conf_coordination *k)
{
    if (!k->present)
        return;
    FM_ASSERT(k->etcd.present == !k->sqlite.p);
    if (k->sqlite.p) {
        text(k->sqlite);
        return;
    }
    FM_ASSERT(k->etcd.nendpoint > 0 && k->etcd.nendpoint <= FM_CONF_ENDPOINTS_MAX);
    FM_ASSERT(k->etcd.election_ms > 0 && (k->etcd.user.n > 0) == (k->etcd.password_file.n > 0));
    for (size_t i = 0; i < k->etcd.nendpoint; i++) {
        address(&k->etcd.endpoint[i].address);
        text(k->etcd.endpoint[i].region);
        text(k->etcd.endpoint[i].url);
    }
}

static void probe(const struct fm_conf_probe *p)
{
    FM_ASSERT((p->app == FM_PROBE_HTTP) == (p->app_path.n > 0));
    FM_ASSERT(p->fast_interval_ms > 0 && p->fast_interval_ms <= p->interval_ms);
    FM_ASSERT(p->successes > 0 && p->successes <= p->samples);
    FM_ASSERT(p->timeout_ms > 0 && p->rise > 0);
}

static void check(const struct fm_conf_check *k)
{
    text(k->name);
    FM_ASSERT(k->interval_ms > 0 && k->timeout_ms > 0 && k->fall > 0 && k->rise > 0);
    FM_ASSERT(k->max_age_ms >= k->interval_ms + k->timeout_ms);
    FM_ASSERT(k->latency_ms <= k->timeout_ms);
    FM_ASSERT((k->type == FM_CHECK_COMMAND) == (k->ncommand > 0));
    if (k->type == FM_CHECK_COMMAND)
        FM_ASSERT(!k->command[k->ncommand].p);
    else if (k->type == FM_CHECK_DNS)
        text(k->server_name);
    else
        address(&k->target);
    if (k->type == FM_CHECK_TLS)
        text(k->server_name);
    if (k->type == FM_CHECK_POSTGRES) {
        text(k->pg.user);
        text(k->pg.database);
    }
    if (k->type == FM_CHECK_HTTP) {
        text(k->path);
        text(k->host_header);
    } else {
        FM_ASSERT(!k->path.n && !k->body.n && !k->status);
    }
}

static void region(const struct fm_conf_region *r)
{
    text(r->name);
    FM_ASSERT(r->priority > 0 && r->weight > 0 && (r->npools == 0 || !r->witness));
    FM_ASSERT(!r->has_gates || r->has_health);
    FM_ASSERT(!r->witness || (!r->has_health && r->nchecks == 0));
    for (size_t i = 0; i < r->npools; i++) {
        const struct fm_conf_pool *p = &r->pools[i];
        text(p->name);
        FM_ASSERT(p->napps > 0 && p->refresh_ms > 0);
        FM_ASSERT(!p->dns || (p->napps == 1 && !p->apps[0].is_ip));
        for (size_t k = 0; k < p->napps; k++)
            address(&p->apps[k]);
    }
    FM_ASSERT(r->nchecks <= FM_CONF_CHECKS_MAX);
    for (size_t i = 0; i < r->nchecks; i++)
        check(&r->checks[i]);
}

static void policy(const struct fm_conf_timeouts *t, const struct fm_conf_retry *retry,
                   const struct fm_conf_routing *routing)
{
    FM_ASSERT(t->connect_ms > 0 && t->connect_ms <= t->first_byte_ms);
    FM_ASSERT(t->first_byte_ms <= t->total_ms);
    FM_ASSERT(retry->budget_ppm <= 1000000);
    FM_ASSERT(retry->hedge != FM_HEDGE_FIXED || retry->hedge_ms > 0);
    FM_ASSERT(routing->band_ms >= 0);
}

static void route(const struct fm_conf_route *r)
{
    text(r->path);
    FM_ASSERT(r->nsegments <= FM_CONF_SEGMENTS_MAX && r->pos.line > 0);
    for (size_t i = 0; i < r->nsegments; i++) {
        FM_ASSERT(r->segments[i].kind != FM_SEG_REST || i + 1 == r->nsegments);
        if (r->segments[i].kind != FM_SEG_REST)
            text(r->segments[i].text);
    }
    for (size_t i = 0; i < r->nmethods; i++)
        text(r->methods[i]);
    policy(&r->timeouts, &r->retry, &r->routing);
}

static void when_away(const struct fm_conf_when_away *w, bool route)
{
    FM_ASSERT(w->hold_ms >= 0);
    FM_ASSERT(route || w->commands != FM_CONF_AWAY_OVERRIDE);
}

static void standby(const struct fm_conf_standby *s, int group)
{
    FM_ASSERT(s->nstart > 0 && !s->start[s->nstart].p && s->nstop > 0 && !s->stop[s->nstop].p);
    FM_ASSERT(s->ncheck == 0 || !s->check[s->ncheck].p);
    FM_ASSERT(s->timeout_ms > 0 && s->ready_ms > 0);
    FM_ASSERT(!s->breaks || group >= 0);
}

/* Who may write. */
static void authority(const struct fm_conf *c, const struct fm_conf_context *x)
{
    bool exclusive = x->topology != FM_TOPOLOGY_MULTI_WRITE;
    FM_ASSERT(x->ncells <= FM_CONF_CELLS_MAX && (x->ncells > 0) == exclusive);
    FM_ASSERT(x->topology != FM_TOPOLOGY_ACTIVE_PASSIVE || x->ncells == 1);
    FM_ASSERT(x->topology != FM_TOPOLOGY_AFFINITY || (x->ncells > 1 && x->key.present));
    for (unsigned i = 0; i < x->ncells; i++)
        FM_ASSERT(x->cell_home[i] < c->nregions && !c->regions[x->cell_home[i]].witness);
    for (size_t i = 0; i < x->nmoves_with; i++)
        FM_ASSERT(x->moves_with[i] < c->ncontexts && &c->contexts[x->moves_with[i]] != x);
    FM_ASSERT((x->homes.by == FM_HOMES_DIRECTORY) == (x->homes.directory.n > 0));
    if (x->key.present)
        text(x->key.name);
    FM_ASSERT(x->queries_any || exclusive);
    FM_ASSERT(x->lease_ms > 0 && x->failover.grace_ms >= 0 && x->failover.ask_after_ms > 0);
    FM_ASSERT(x->failover.at_most > 0 && x->failover.at_most <= FM_CONF_AT_MOST_MAX);
    FM_ASSERT(x->failover.at_most_window_ms > 0 && x->failback.soak_ms >= 0);
    const struct fm_conf_window *w = &x->failback.window;
    FM_ASSERT(!w->present || (w->days && w->from_min < 1440 && w->to_min <= 1440));
    FM_ASSERT(!x->standby.present || x->topology == FM_TOPOLOGY_ACTIVE_PASSIVE);
    if (x->standby.present)
        standby(&x->standby, fm_conf_group_of(c, (unsigned)(x - c->contexts)));
    when_away(&x->when_away, false);
    for (size_t i = 0; i < x->nroutes; i++) {
        when_away(&x->routes[i].when_away, true);
        FM_ASSERT(exclusive || !x->routes[i].concurrent);
        FM_ASSERT(exclusive || !x->routes[i].relay);
    }
    FM_ASSERT(x->idempotency.key == FM_KEY_IGNORED || x->idempotency.by != FM_BY_NONE);
    FM_ASSERT(x->idempotency.by != FM_BY_GATE || exclusive);
    FM_ASSERT(x->idempotency.retention_ms > 0);
}

static void context(const struct fm_conf *c, const struct fm_conf_context *x)
{
    text(x->name);
    bool database = fm_conf_is_database(x);
    FM_ASSERT(x->in_flight_max > 0 && (x->app.n > 0) == !database);
    FM_ASSERT(!database || fm_conf_group_of(c, (unsigned)(x - c->contexts)) >= 0);
    for (size_t i = 0; i < c->nregions && !database; i++)
        FM_ASSERT(c->regions[i].witness || fm_conf_find_pool(&c->regions[i], x->app) >= 0);
    for (size_t i = 0; i < x->nhosts; i++)
        text(x->hosts[i]);
    for (size_t i = 0; i < x->ncommands; i++)
        text(x->commands[i]);
    for (size_t i = 0; i < x->nneeds; i++)
        for (size_t k = 0; k < c->nregions; k++)
            FM_ASSERT(!c->regions[k].has_health ||
                      fm_conf_find_check(&c->regions[k], x->needs[i]) >= 0);
    authority(c, x);
    if (x->sticky.kind == FM_STICKY_CLIENT)
        FM_ASSERT(x->sticky.client_bits >= 8 && x->sticky.client_bits <= 32);
    else if (x->sticky.kind != FM_STICKY_NONE)
        text(x->sticky.name);
    policy(&x->timeouts, &x->retry, &x->routing);
    for (size_t i = 0; i < x->nroutes; i++)
        route(&x->routes[i]);
}

static void hooks(const struct fm_conf_hooks *h)
{
    FM_ASSERT(h->nstatus > 0 && !h->status[h->nstatus].p && h->nlag > 0 && !h->lag[h->nlag].p);
    FM_ASSERT(h->nread_only > 0 && !h->read_only[h->nread_only].p);
    FM_ASSERT(h->npromote > 0 && !h->promote[h->npromote].p);
    FM_ASSERT(h->nfence > 0 && !h->fence[h->nfence].p);
    FM_ASSERT(h->timeout_ms > 0 && h->interval_ms > 0);
}

static void group(const struct fm_conf *c, const struct fm_conf_group *g)
{
    text(g->name);
    text(g->user);
    FM_ASSERT(g->ncontexts == 1 && g->nnodes <= FM_CONF_GROUP_NODES_MAX);
    FM_ASSERT((g->nnodes > 0) == !g->hooks.present);
    if (g->hooks.present)
        hooks(&g->hooks);
    FM_ASSERT(g->home < c->nregions && !c->regions[g->home].witness);
    for (size_t i = 0; i < g->ncontexts; i++) {
        FM_ASSERT(g->contexts[i] < c->ncontexts);
        FM_ASSERT(c->contexts[g->contexts[i]].topology == FM_TOPOLOGY_ACTIVE_PASSIVE);
        FM_ASSERT(c->contexts[g->contexts[i]].home == g->home);
    }
    for (size_t i = 0; i < g->nnodes; i++) {
        FM_ASSERT(g->nodes[i].host < c->nhosts);
        FM_ASSERT(c->hosts[g->nodes[i].host].roles & FM_ROLE_POSTGRES);
        text(g->nodes[i].data);
        address(&g->nodes[i].address);
    }
    FM_ASSERT((g->replication.mode == FM_CONF_SYNC) == (g->replication.credit_bytes == 0));
    FM_ASSERT(g->replication.in_region == FM_CONF_IN_REGION_ASYNC ||
              g->replication.credit_bytes > 0);
    if (g->listen.present)
        FM_ASSERT(g->listen.read_write.port || g->listen.read_only.port ||
                  g->listen.read_write_of || g->listen.read_only_of);
    for (size_t i = 0; i < g->nsettings; i++)
        text(g->settings[i].name);
}

void fm_load_assert_whole(const struct fm_conf *c)
{
    size_t routes = 0;
    text(c->service);
    FM_ASSERT(c->file.p);
    FM_ASSERT(c->nregions > 0 && c->nregions <= FM_CONF_REGIONS_MAX);
    FM_ASSERT(c->ncontexts > 0 && c->ncontexts <= FM_CONF_CONTEXTS_MAX);
    FM_ASSERT(c->nhosts <= FM_CONF_HOSTS_MAX);
    coordination(&c->coordination);
    if (c->peer_tls.present) {
        text(c->peer_tls.ca);
        text(c->peer_tls.cert);
        text(c->peer_tls.key);
    }
    if (c->webhook.present) {
        text(c->webhook.url);
        text(c->webhook.to.host);
        text(c->webhook.path);
        text(c->webhook.secret_file);
        FM_ASSERT(c->webhook.to.port > 0);
    }
    edge(&c->edge);
    probe(&c->probe);
    for (size_t i = 0; i < c->nhosts; i++)
        host(c, &c->hosts[i]);
    for (size_t i = 0; i < c->nregions; i++)
        region(&c->regions[i]);
    for (size_t i = 0; i < c->ncontexts; i++) {
        context(c, &c->contexts[i]);
        routes += c->contexts[i].nroutes;
    }
    FM_ASSERT(c->ngroups <= FM_CONF_GROUPS_MAX);
    for (size_t i = 0; i < c->ngroups; i++)
        group(c, &c->groups[i]);
    FM_ASSERT(routes == c->nroutes && routes <= FM_CONF_ROUTES_MAX);
}
