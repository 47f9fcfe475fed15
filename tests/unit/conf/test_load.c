/* What a file becomes: defaults, every accepted key, inheritance, includes. */
#include "test.h"

#include "conf/conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATA FM_SOURCE_ROOT "/tests/unit/conf/data/"

static struct fm_conf_report report;

static struct fm_conf *load_warned(const char *path, size_t warnings)
{
    fm_conf_report_init(&report);
    struct fm_conf *c = fm_conf_load(path, &report);
    for (size_t i = 0; i < report.n && report.n != warnings; i++)
        print_error("%s:%u:%u: %s\n", report.finding[i].pos.file, report.finding[i].pos.line,
                    report.finding[i].pos.col, report.finding[i].what);
    assert_non_null(c);
    assert_int_equal(report.n, warnings);
    fm_conf_report_deinit(&report);
    return c;
}

static struct fm_conf *load(const char *path)
{
    return load_warned(path, 0);
}

/* Of two contexts it says that nothing enforces their `rpo`. */
static struct fm_conf *load_everything(void)
{
    return load_warned(DATA "everything/fulmar.yaml", 3);
}

static struct fm_conf *parse(const char *text)
{
    fm_conf_report_init(&report);
    struct fm_conf *c = fm_conf_parse(fm_str_z(text), "test.yaml", &report);
    for (size_t i = 0; i < report.n; i++)
        print_error("%u:%u: %s\n", report.finding[i].pos.line, report.finding[i].pos.col,
                    report.finding[i].what);
    assert_non_null(c);
    fm_conf_report_deinit(&report);
    return c;
}

static void the_smallest_file_has_all_defaults(void **state)
{
    (void)state;
    struct fm_conf *c = load(DATA "smallest.yaml");
    assert_str(c->service, "shop");
    assert_int_equal(c->state.n, 0);
    assert_int_equal(c->nhosts, 0);
    assert_true(c->edge.present);
    assert_int_equal(c->edge.workers, 0);
    assert_int_equal(c->edge.nlisten, 1);
    assert_str(c->edge.listen[0].address.text, "0.0.0.0:80");
    assert_int_equal(c->edge.listen[0].address.pos.line, 3);
    assert_int_equal(c->edge.listen[0].address.pos.col, 27);
    assert_int_equal(c->edge.ntrust_forwarded, 0);
    assert_false(c->edge.ready.present);
    assert_false(c->edge.access_log.present);
    assert_str(c->edge.admin.text, "127.0.0.1:7104");
    assert_int_equal(c->edge.drain_announce_ms, 5000);
    assert_int_equal(c->edge.drain_finish_ms, 30000);
    assert_int_equal(c->edge.limits.connections, 20000);
    assert_int_equal(c->edge.limits.header_bytes, 32768);
    assert_int_equal(c->edge.limits.headers, 100);
    assert_int_equal(c->edge.limits.body_bytes, 1 << 30);
    assert_int_equal(c->edge.limits.replay_body_bytes, 65536);
    assert_int_equal(c->edge.timeouts.header_ms, 5000);
    assert_int_equal(c->edge.timeouts.idle_ms, 60000);
    assert_int_equal(c->edge.timeouts.tunnel_idle_ms, 3600000);
    assert_int_equal(c->edge.min_body_bps, 1024);
    assert_int_equal(c->probe.app, FM_PROBE_TCP);
    assert_int_equal(c->probe.interval_ms, 500);
    assert_int_equal(c->probe.fast_interval_ms, 50);
    assert_int_equal(c->probe.timeout_ms, 300);
    assert_int_equal(c->probe.samples, 4);
    assert_int_equal(c->probe.successes, 3);
    assert_int_equal(c->probe.rise, 3);
    assert_int_equal(c->nregions, 2);
    assert_str(c->regions[1].name, "north");
    assert_int_equal(c->regions[1].priority, 1);
    assert_int_equal(c->regions[1].weight, 100);
    assert_int_equal(c->regions[1].npools, 1);
    assert_str(c->regions[1].pools[0].name, "default");
    assert_int_equal(c->regions[1].pools[0].napps, 1);
    assert_false(c->regions[1].pools[0].dns);
    assert_int_equal(c->regions[1].pools[0].refresh_ms, 5000);
    assert_str(c->regions[1].pools[0].apps[0].host, "10.0.2.10");
    assert_int_equal(c->regions[1].pools[0].apps[0].port, 8080);
    assert_int_equal(c->regions[1].nchecks, 0);
    assert_int_equal(c->ncontexts, 1);
    assert_int_equal(c->nroutes, 1);
    const struct fm_conf_context *x = &c->contexts[0];
    assert_str(x->name, "shop");
    assert_str(x->app, "default");
    assert_int_equal(x->nhosts, 0);
    assert_int_equal(x->nroutes, 1);
    assert_str(x->routes[0].path, "/**");
    assert_int_equal(x->routes[0].nsegments, 1);
    assert_int_equal(x->routes[0].segments[0].kind, FM_SEG_REST);
    assert_int_equal(x->routes[0].nmethods, 0);
    assert_int_equal(x->routes[0].as, FM_AS_METHOD);
    assert_true(x->routes[0].safe);
    assert_int_equal(x->ncommands, 4);
    assert_str(x->commands[0], "POST");
    assert_str(x->commands[3], "DELETE");
    assert_int_equal(x->idempotency.key, FM_KEY_IGNORED);
    assert_int_equal(x->idempotency.by, FM_BY_NONE);
    assert_int_equal(x->nneeds, 0);
    assert_int_equal(x->sticky.kind, FM_STICKY_NONE);
    assert_int_equal(x->routing.by, FM_ROUTING_PRIORITY);
    assert_int_equal(x->routing.band_ms, 20);
    assert_int_equal(x->timeouts.connect_ms, 250);
    assert_int_equal(x->timeouts.first_byte_ms, 10000);
    assert_int_equal(x->timeouts.total_ms, 60000);
    assert_int_equal(x->retry.other_regions, 2);
    assert_int_equal(x->retry.budget_ppm, 200000);
    assert_int_equal(x->retry.budget_floor, 10);
    assert_int_equal(x->retry.hedge, FM_HEDGE_P95);
    assert_int_equal(x->in_flight_max, 2000);
    assert_int_equal(x->objectives.latency_p99_ms, 0);
    assert_memory_equal(&x->routes[0].timeouts, &x->timeouts, sizeof x->timeouts);
    assert_int_equal(fm_conf_find_region(c, FM_STR("north")), 1);
    assert_int_equal(fm_conf_find_region(c, FM_STR("south")), -1);
    assert_int_equal(fm_conf_find_context(c, FM_STR("shop")), 0);
    assert_int_equal(fm_conf_find_pool(&c->regions[0], FM_STR("default")), 0);
    fm_conf_free(c);
}

static void check_hosts(const struct fm_conf *c)
{
    assert_int_equal(c->nhosts, 7);
    const struct fm_conf_host *e = &c->hosts[fm_conf_find_host(c, FM_STR("west-edge-2"))];
    assert_int_equal(e->roles, FM_ROLE_EDGE);
    assert_str(e->admin.text, "127.0.0.1:7204");
    assert_str(e->edge_admin.text, "127.0.0.1:7204");
    const struct fm_conf_host *g = &c->hosts[fm_conf_find_host(c, FM_STR("west-gate-08"))];
    assert_int_equal(fm_conf_find_host(c, FM_STR("west-gate-8")), -1);
    assert_true(fm_conf_find_host(c, FM_STR("west-gate-10")) > 0);
    assert_int_equal(g->roles, FM_ROLE_GATE | FM_ROLE_HEALTH | FM_ROLE_CONTROLLER);
    assert_int_equal(g->region, 0);
    assert_str(g->zone, "a");
    assert_str(g->gate.text, "west-gate-08.west.internal:7100");
    assert_str(g->gate.host, "west-gate-08.west.internal");
    assert_int_equal(g->gate.port, 7100);
    assert_str(g->gate_bind.text, "0.0.0.0:7100");
    assert_true(g->gate_bind.is_ip);
    assert_str(g->peer.text, "west-gate-08.west.internal:7101");
    assert_str(g->peer_bind.text, "0.0.0.0:7101");
    assert_str(g->admin.text, "127.0.0.1:7102");
    const struct fm_conf_host *n = &c->hosts[fm_conf_find_host(c, FM_STR("north-1"))];
    assert_int_equal(n->region, 1);
    assert_str(n->gate.text, "[fd00::1]:7200");
    assert_str(n->gate.host, "fd00::1");
    assert_str(n->gate_bind.text, "[fd00::1]:7200");
    assert_str(n->peer.text, "[fd00::1]:7201");
    assert_str(n->peer_bind.text, "0.0.0.0:7201");
    assert_str(n->admin.text, "[::1]:7202");
    assert_str(n->edge_admin.text, "127.0.0.1:7304");
    assert_true(c->regions[0].has_gates && c->regions[0].has_health);
    const struct fm_conf_host *w = &c->hosts[fm_conf_find_host(c, FM_STR("east-1"))];
    assert_int_equal(w->roles, FM_ROLE_WITNESS);
    assert_str(w->peer.text, "10.0.3.9:7101");
    assert_str(w->admin.text, "127.0.0.1:7102");
}

static void check_webhook(const struct fm_conf_webhook *w)
{
    assert_true(w->present && w->https);
    assert_str(w->url, "https://events.bank.example/authority?of=bank");
    assert_str(w->to.host, "events.bank.example");
    assert_int_equal(w->to.port, 443);
    assert_str(w->path, "/authority?of=bank");
    assert_str(w->secret_file, DATA "everything/secrets/{host}.hook");
    assert_str(w->ca, DATA "everything/events-ca.pem");
}

static void check_coordination(const struct fm_conf_coordination *k)
{
    assert_true(k->present && k->etcd.present);
    assert_null(k->sqlite.p);
    assert_int_equal(k->etcd.nendpoint, 5);
    assert_str(k->etcd.endpoint[0].region, "west");
    assert_str(k->etcd.endpoint[0].url, "http://127.0.0.1:2379");
    assert_str(k->etcd.endpoint[0].address.host, "127.0.0.1");
    assert_int_equal(k->etcd.endpoint[0].address.port, 2379);
    assert_str(k->etcd.endpoint[1].address.host, "localhost");
    assert_str(k->etcd.endpoint[2].region, "north");
    assert_str(k->etcd.endpoint[2].address.host, "::1");
    assert_int_equal(k->etcd.endpoint[2].address.port, 80);
    assert_int_equal(k->etcd.election_ms, 2000);
    assert_str(k->etcd.user, "fulmar");
    assert_str(k->etcd.password_file, DATA "everything/secrets/{host}.password");
}

static void a_file_for_one_machine(void **state)
{
    (void)state;
    struct fm_conf *c =
        parse("fulmar: 1\nservice: shop\ncoordination: {sqlite: /x/c.db}\n"
              "hosts: {c: {region: west, roles: [coordination], address: 127.0.0.1}}\n"
              "regions: {west: {apps: [\"127.0.0.1:8080\"]}}\n"
              "contexts: {shop: {topology: multi-write, routes: [\"/**\"]}}\n");
    assert_str(c->coordination.sqlite, "/x/c.db");
    assert_false(c->coordination.etcd.present);
    assert_int_equal(c->hosts[0].roles, FM_ROLE_COORDINATION);
    assert_str(c->hosts[0].peer.text, "127.0.0.1:7101");
    assert_str(c->hosts[0].admin.text, "127.0.0.1:7102");
    assert_false(c->regions[0].has_health);
    fm_conf_free(c);
}

static void check_edge(const struct fm_conf_edge *e)
{
    static const uint8_t one[16] = {[10] = 0xff, 0xff, 10, 1, 2, 3};
    assert_int_equal(e->workers, 2);
    assert_int_equal(e->nlisten, 2);
    assert_str(e->listen[1].address.host, "::1");
    assert_int_equal(e->ntrust_forwarded, 3);
    assert_int_equal(e->trust_forwarded[0].bits, 120);
    assert_memory_equal(e->trust_forwarded[1].addr, one, 16);
    assert_int_equal(e->trust_forwarded[2].bits, 8);
    assert_true(e->ready.present);
    assert_str(e->ready.address.text, "0.0.0.0:7103");
    assert_str(e->ready.path, "/up");
    assert_int_equal(e->drain_announce_ms, 6000);
    assert_int_equal(e->drain_finish_ms, 31000);
    assert_int_equal(e->limits.connections, 30000);
    assert_int_equal(e->limits.header_bytes, 16384);
    assert_int_equal(e->limits.headers, 90);
    assert_int_equal(e->limits.body_bytes, INT64_C(2) << 30);
    assert_int_equal(e->limits.replay_body_bytes, 61440);
    assert_int_equal(e->timeouts.header_ms, 4000);
    assert_int_equal(e->timeouts.idle_ms, 50000);
    assert_int_equal(e->timeouts.tunnel_idle_ms, 7200000);
    assert_int_equal(e->min_body_bps, 2048);
    assert_true(e->access_log.present);
    assert_str(e->access_log.path, "/var/log/fulmar/{host}.log");
    assert_int_equal(e->access_log.sample_ppm, 5000);
    assert_str(e->admin.text, "127.0.0.1:7304");
}

static const struct fm_conf_check *find_check(const struct fm_conf *c, unsigned region,
                                              const char *name)
{
    int i = fm_conf_find_check(&c->regions[region], fm_str_z(name));
    assert_true(i >= 0);
    return &c->regions[region].checks[i];
}

static void check_checks(const struct fm_conf *c)
{
    assert_int_equal(c->regions[0].nchecks, 7);
    assert_int_equal(c->regions[1].nchecks, 6);
    const struct fm_conf_check *k = find_check(c, 0, "ledger-db");
    assert_int_equal(k->type, FM_CHECK_TCP);
    assert_str(k->target.text, "127.0.0.1:6432");
    assert_int_equal(k->interval_ms, 600);
    assert_int_equal(k->timeout_ms, 350);
    assert_int_equal(k->max_age_ms, 4000);
    assert_int_equal(k->fall, 3);
    assert_int_equal(k->rise, 4);
    assert_int_equal(find_check(c, 1, "ledger-db")->fall, 9);
    k = find_check(c, 0, "card-network");
    assert_int_equal(k->type, FM_CHECK_HTTP);
    assert_str(k->target.host, "west.cards.internal");
    assert_int_equal(k->target.port, 80);
    assert_str(k->path, "/ping?deep=1");
    assert_str(k->host_header, "west.cards.internal");
    assert_int_equal(k->status, 204);
    assert_str(k->body, "pong");
    assert_int_equal(k->latency_ms, 250);
    assert_int_equal(k->max_age_ms, 3000);
    assert_str(find_check(c, 1, "card-network")->path, "/");
    assert_int_equal(find_check(c, 1, "card-network")->target.port, 8090);
    k = find_check(c, 0, "certificate");
    assert_int_equal(k->type, FM_CHECK_TLS);
    assert_str(k->server_name, "bank.example");
    assert_int_equal(k->warn_ms, INT64_C(30) * 86400000);
    assert_str(find_check(c, 1, "certificate")->server_name, "north.bank.example");
    assert_int_equal(find_check(c, 0, "cache")->type, FM_CHECK_REDIS);
    assert_str(find_check(c, 0, "cache")->target.host, "::1");
    assert_int_equal(find_check(c, 0, "cache")->interval_ms, 500);
    k = find_check(c, 0, "orders-db");
    assert_int_equal(k->type, FM_CHECK_POSTGRES);
    assert_str(k->target.host, "db.west.internal");
    assert_int_equal(k->target.port, 6432);
    assert_str(k->pg.user, "check");
    assert_str(k->pg.database, "orders");
    assert_str(k->pg.password_file, DATA "everything/secrets/west.password");
    assert_str(k->pg.query, "select 1 from orders limit 1");
    assert_int_equal(k->pg.access, FM_ACCESS_READ_WRITE);
    assert_int_equal(k->pg.replay_lag_ms, 5000);
    k = find_check(c, 1, "orders-db");
    assert_str(k->pg.user, "fulmar");
    assert_int_equal(k->pg.password_file.n, 0);
    assert_int_equal(k->pg.access, FM_ACCESS_READ_ONLY);
    assert_int_equal(find_check(c, 0, "names")->type, FM_CHECK_DNS);
    assert_str(find_check(c, 0, "names")->server_name, "db.west.internal");
    k = find_check(c, 1, "disk");
    assert_int_equal(k->type, FM_CHECK_COMMAND);
    assert_int_equal(k->ncommand, 3);
    assert_str(k->command[2], "10%");
    assert_null(k->command[3].p);
    assert_int_equal(k->timeout_ms, 2000);
    assert_int_equal(k->max_age_ms, 180000);
    assert_int_equal(k->interval_ms, 30000);
}

static void check_ledger(const struct fm_conf_context *x)
{
    assert_str(x->app, "core");
    assert_int_equal(x->nhosts, 2);
    assert_str(x->hosts[1], "*.ledger.bank.example");
    assert_int_equal(x->ncommands, 2);
    assert_int_equal(x->idempotency.key, FM_KEY_REQUIRED);
    assert_int_equal(x->idempotency.by, FM_BY_APP);
    assert_int_equal(x->nneeds, 2);
    assert_str(x->needs[1], "disk");
    assert_int_equal(x->sticky.kind, FM_STICKY_HEADER);
    assert_str(x->sticky.name, "X-User");
    assert_int_equal(x->objectives.latency_p99_ms, 300);
    assert_int_equal(x->in_flight_max, 500);
    /* the context replaces single keys of the top level */
    assert_int_equal(x->routing.by, FM_ROUTING_PRIORITY);
    assert_int_equal(x->routing.band_ms, 30);
    assert_int_equal(x->timeouts.connect_ms, 100);
    assert_int_equal(x->timeouts.first_byte_ms, 9000);
    assert_int_equal(x->retry.budget_ppm, 50000);
    assert_int_equal(x->retry.budget_floor, 5);
    assert_int_equal(x->retry.hedge, FM_HEDGE_FIXED);
    assert_int_equal(x->retry.hedge_ms, 20);
    /* the route replaces single keys of the context */
    const struct fm_conf_route *r = &x->routes[1];
    assert_int_equal(x->nroutes, 3);
    assert_str(r->path, "/ledger/search%20all");
    assert_str(r->segments[1].text, "search all");
    assert_int_equal(r->nmethods, 2);
    assert_str(r->methods[1], "QUERY");
    assert_int_equal(r->as, FM_AS_QUERY);
    assert_false(r->safe);
    assert_int_equal(r->timeouts.connect_ms, 100);
    assert_int_equal(r->timeouts.first_byte_ms, 30000);
    assert_int_equal(r->timeouts.total_ms, 59000);
    assert_int_equal(r->retry.hedge, FM_HEDGE_NEVER);
    assert_int_equal(r->retry.budget_ppm, 50000);
    assert_int_equal(r->routing.by, FM_ROUTING_LATENCY);
    assert_int_equal(r->routing.band_ms, 30);
    assert_int_equal(r->pos.line, 8);
    assert_int_equal(x->routes[2].as, FM_AS_COMMAND);
    assert_int_equal(x->routes[2].retry.hedge_ms, 20);
    assert_int_equal(x->routes[0].nsegments, 3);
    assert_int_equal(x->routes[0].segments[1].kind, FM_SEG_NAMED);
    assert_str(x->routes[0].segments[1].text, "account");
}

static const struct fm_conf_context *find(const struct fm_conf *c, const char *name)
{
    int i = fm_conf_find_context(c, fm_str_z(name));
    assert_true(i >= 0);
    return &c->contexts[i];
}

static void check_accounts_routes(const struct fm_conf_context *x)
{
    const struct fm_conf_route *r = x->routes;
    assert_int_equal(x->nroutes, 4);
    assert_memory_equal(&r[0].when_away, &x->when_away, sizeof x->when_away);
    assert_false(r[0].concurrent);
    /* the route replaces single keys of the context */
    assert_true(r[1].concurrent);
    assert_int_equal(r[1].when_away.commands, FM_CONF_AWAY_OVERRIDE);
    assert_int_equal(r[1].when_away.hold_ms, 3000);
    assert_false(r[1].when_away.queries_any);
    assert_str(r[1].when_away.message, "Accounts are read-only for a moment.");
    assert_true(r[2].relay && !r[0].relay && !r[1].relay && !r[3].relay);
    assert_int_equal(r[3].when_away.commands, FM_CONF_AWAY_QUEUE);
    assert_str(r[3].when_away.message, "Not now.");
}

static void check_authority(const struct fm_conf *c)
{
    const struct fm_conf_context *x = find(c, "accounts"), *y = find(c, "limits");
    assert_int_equal(x->topology, FM_TOPOLOGY_ACTIVE_PASSIVE);
    assert_int_equal(x->home, 1);
    assert_int_equal(x->ncells, 1);
    assert_int_equal(x->cell_home[0], 1);
    assert_int_equal(x->nmoves_with, 1);
    assert_ptr_equal(&c->contexts[x->moves_with[0]], y);
    assert_int_equal(y->nmoves_with, 1);
    assert_ptr_equal(&c->contexts[y->moves_with[0]], x);
    assert_true(x->key.present);
    assert_int_equal(x->key.from, FM_CONF_KEY_HEADER);
    assert_str(x->key.name, "X-Account");
    assert_true(x->queries_any);
    assert_int_equal(x->idempotency.key, FM_KEY_REQUIRED);
    assert_int_equal(x->idempotency.by, FM_BY_GATE);
    assert_int_equal(x->idempotency.retention_ms, INT64_C(48) * 3600000);
    assert_int_equal(x->lease_ms, 5000);
    assert_int_equal(x->failover.mode, FM_CONF_AUTOMATIC);
    assert_int_equal(x->failover.grace_ms, 4000);
    assert_int_equal(x->failover.ask_after_ms, 1200000);
    assert_int_equal(x->failover.at_most, 3);
    assert_int_equal(x->failover.at_most_window_ms, INT64_C(12) * 3600000);
    assert_int_equal(x->failover.prefer, FM_CONF_PREFER_TIME);
    assert_int_equal(x->failback.mode, FM_FAILBACK_AUTOMATIC);
    assert_int_equal(x->failback.soak_ms, 1200000);
    assert_true(x->failback.window.present);
    assert_int_equal(x->failback.window.days, 0x3f);
    assert_int_equal(x->failback.window.from_min, 22 * 60 + 30);
    assert_int_equal(x->failback.window.to_min, 120);
    assert_int_equal(x->when_away.hold_ms, 8000);
    assert_int_equal(x->when_away.commands, FM_CONF_AWAY_QUEUE);
    assert_false(x->when_away.queries_any);
    assert_int_equal(x->objectives.rto_ms, 1200000);
    assert_int_equal(x->objectives.rpo_bytes, 1 << 20);
    assert_int_equal(x->objectives.rpo_ms, -1);
    assert_int_equal(x->objectives.availability_ppm, 999500);
    check_accounts_routes(x);
    struct fm_floor f = fm_conf_floor(c, (unsigned)fm_conf_find_context(c, FM_STR("accounts")));
    assert_int_equal(f.wait_ms, 5050);
    assert_int_equal(f.detection_ms, 400 + 250 + 40 + 250);
    assert_int_equal(f.grace_ms, 4000);
    assert_int_equal(f.election_ms, 2000);
    assert_int_equal(f.person_ms, 0);
    assert_int_equal(f.total_ms, 5050);
    /* with automatic, a second more than the lease and its drift */
    assert_int_equal(y->when_away.hold_ms, 6050);
    assert_int_equal(y->routes[0].when_away.hold_ms, 6050);
    assert_int_equal(y->objectives.rpo_ms, 30000);
    assert_int_equal(y->objectives.rpo_bytes, -1);
}

static void check_cells(const struct fm_conf *c)
{
    const struct fm_conf_context *x = find(c, "cards"), *y = find(c, "tokens");
    const struct fm_conf_context *z = find(c, "cards-log");
    assert_int_equal(x->topology, FM_TOPOLOGY_AFFINITY);
    assert_int_equal(x->ncells, 5);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(x->cell_home[i], i % 2); /* never the witness */
    assert_int_equal(x->homes.by, FM_HOMES_DIRECTORY);
    assert_str(x->homes.pins, DATA "everything/contexts/pins.csv");
    assert_str(x->homes.directory, DATA "everything/contexts/../cards.csv");
    assert_int_equal(x->key.from, FM_CONF_KEY_PATH);
    assert_str(x->key.name, "card");
    assert_int_equal(y->ncells, 16);
    assert_int_equal(y->homes.by, FM_HOMES_HASH);
    assert_int_equal(y->key.from, FM_CONF_KEY_BODY);
    assert_str(y->key.name, "card.id");
    assert_int_equal(y->nmoves_with, 1);
    assert_int_equal(z->nmoves_with, 1);
    assert_int_equal(fm_conf_floor(c, z->moves_with[0]).total_ms, 4040 + 60000); /* and a person */
    assert_int_equal(z->key.from, FM_CONF_KEY_CLAIM);
    assert_int_equal(z->idempotency.by, FM_BY_APP);
}

static void every_key_arrives(void **state)
{
    (void)state;
    struct fm_conf *c = load_everything();
    assert_str(c->service, "bank");
    assert_str(c->state, DATA "everything/state/{host}");
    check_hosts(c);
    check_coordination(&c->coordination);
    check_webhook(&c->webhook);
    check_edge(&c->edge);
    assert_int_equal(c->probe.app, FM_PROBE_HTTP);
    assert_str(c->probe.app_path, "/health");
    assert_int_equal(c->probe.interval_ms, 400);
    assert_int_equal(c->probe.fast_interval_ms, 40);
    assert_int_equal(c->probe.timeout_ms, 250);
    assert_int_equal(c->probe.samples, 5);
    assert_int_equal(c->probe.successes, 4);
    assert_int_equal(c->probe.rise, 2);
    assert_int_equal(c->regions[1].priority, 2);
    assert_int_equal(c->regions[0].weight, 60);
    assert_int_equal(c->regions[0].npools, 2);
    assert_str(c->regions[0].pools[0].apps[1].text, "core-2.west.internal:9001");
    const struct fm_conf_pool *p = &c->regions[0].pools[1];
    assert_true(p->dns);
    assert_int_equal(p->napps, 1);
    assert_str(p->apps[0].host, "profile.west.svc");
    assert_int_equal(p->refresh_ms, 7000);
    check_checks(c);
    assert_int_equal(c->nregions, 3);
    assert_int_equal(c->regions[0].capacity_rps, 5000);
    assert_int_equal(c->regions[1].capacity_rps, 0);
    assert_true(c->regions[2].witness && !c->regions[0].witness);
    assert_int_equal(c->regions[2].npools, 0);
    assert_int_equal(c->ncontexts, 9);
    assert_int_equal(c->nroutes, 16);
    check_authority(c);
    check_cells(c);
    check_ledger(&c->contexts[fm_conf_find_context(c, FM_STR("ledger"))]);
    const struct fm_conf_context *x = &c->contexts[fm_conf_find_context(c, FM_STR("profile"))];
    assert_int_equal(x->sticky.kind, FM_STICKY_PATH);
    assert_str(x->sticky.name, "id");
    assert_int_equal(x->idempotency.key, FM_KEY_OPTIONAL);
    assert_int_equal(x->retry.hedge, FM_HEDGE_P99);
    assert_int_equal(x->routing.by, FM_ROUTING_WEIGHT);
    x = &c->contexts[fm_conf_find_context(c, FM_STR("catalog"))];
    assert_int_equal(x->sticky.kind, FM_STICKY_CLIENT);
    assert_int_equal(x->sticky.client_bits, 24);
    assert_int_equal(x->ncommands, 0);
    assert_int_equal(x->routes[0].nsegments, 0);
    assert_str(x->routes[0].path, "/");
    x = &c->contexts[fm_conf_find_context(c, FM_STR("basket"))];
    assert_int_equal(x->sticky.kind, FM_STICKY_COOKIE);
    fm_conf_free(c);
}

/* What is not said of an exclusive context. */
static void who_may_write_has_defaults(void **state)
{
    (void)state;
    struct fm_conf *c = parse(
        "fulmar: 1\nservice: s\ncoordination: {sqlite: /x/c.db}\n"
        "hosts:\n"
        "  h: {region: a, roles: [gate, health, controller, coordination], address: 127.0.0.1}\n"
        "  i: {region: b, roles: [gate, health, controller], address: 127.0.0.2, "
        "admin: \"127.0.0.2:7102\"}\n"
        "  j: {region: c, roles: [gate, health, controller], address: 127.0.0.3, "
        "admin: \"127.0.0.3:7102\"}\n"
        "regions:\n"
        "  a: {apps: [\"127.0.0.1:80\"], priority: 3}\n"
        "  b: {apps: [\"127.0.0.1:80\"], priority: 2}\n"
        "  c: {apps: [\"127.0.0.1:80\"], priority: 2}\n"
        "contexts:\n"
        "  x: {topology: active-passive, routes: [/x], moves-with: [y]}\n"
        "  y: {topology: active-passive, routes: [/y], moves-with: [z]}\n"
        "  z: {topology: active-passive, routes: [/z]}\n"
        "  u: {topology: affinity, routes: [/u], key: {query: k}}\n"
        "  v: {topology: active-passive, routes: [/v], failover: {mode: automatic, grace: 9s}}\n"
        "  w: {topology: active-passive, routes: [/w], idempotency: {key: ignored}}\n"
        "  m: {topology: multi-write, routes: [/m]}\n");
    const struct fm_conf_context *x = find(c, "x"), *z = find(c, "z"), *u = find(c, "u");
    assert_int_equal(x->home, 1); /* of the lowest priority the first */
    assert_int_equal(x->cell_home[0], 1);
    assert_int_equal(x->lease_ms, 2000);
    assert_int_equal(x->failover.mode, FM_CONF_ASSISTED);
    assert_int_equal(x->failover.grace_ms, 0);
    assert_int_equal(x->failover.ask_after_ms, 900000);
    assert_int_equal(x->failover.at_most, 2);
    assert_int_equal(x->failover.at_most_window_ms, INT64_C(6) * 3600000);
    assert_int_equal(x->failover.prefer, FM_CONF_PREFER_DATA);
    assert_int_equal(x->failback.mode, FM_FAILBACK_MANUAL);
    assert_int_equal(x->failback.soak_ms, 600000);
    assert_false(x->failback.window.present);
    assert_int_equal(x->when_away.hold_ms, 7000);
    assert_int_equal(x->when_away.commands, FM_CONF_AWAY_REJECT);
    assert_true(x->when_away.queries_any);
    assert_int_equal(x->when_away.message.n, 0);
    assert_false(x->queries_any);
    assert_false(x->key.present);
    assert_int_equal(x->idempotency.by, FM_BY_GATE);
    assert_int_equal(x->idempotency.key, FM_KEY_OPTIONAL);
    assert_int_equal(x->idempotency.retention_ms, INT64_C(24) * 3600000);
    assert_int_equal(x->objectives.rto_ms, -1);
    assert_int_equal(x->objectives.rpo_bytes, -1);
    assert_int_equal(x->objectives.availability_ppm, 0);
    assert_false(x->routes[0].concurrent);
    /* moves-with goes both ways and on */
    assert_int_equal(x->nmoves_with, 2);
    assert_int_equal(z->nmoves_with, 2);
    assert_int_equal(z->moves_with[0], 0);
    assert_int_equal(z->moves_with[1], 1);
    assert_int_equal(u->nmoves_with, 0);
    assert_int_equal(u->ncells, 16);
    for (unsigned i = 0; i < u->ncells; i++)
        assert_int_equal(u->cell_home[i], i % 3);
    assert_int_equal(find(c, "v")->when_away.hold_ms, 10000); /* grace is more than the lease */
    assert_int_equal(find(c, "w")->idempotency.key, FM_KEY_IGNORED);
    assert_int_equal(find(c, "w")->idempotency.by, FM_BY_GATE);
    assert_int_equal(find(c, "m")->ncells, 0);
    assert_true(find(c, "m")->queries_any);
    assert_int_equal(find(c, "m")->idempotency.by, FM_BY_NONE);
    fm_conf_free(c);
}

static void strings_are_terminated(void **state)
{
    (void)state;
    struct fm_conf *c = load_everything();
    const struct fm_conf_context *x = find(c, "ledger");
    assert_string_equal(c->service.p, "bank");
    assert_string_equal(x->routes[0].segments[1].text.p, "account");
    assert_string_equal(x->routes[1].segments[1].text.p, "search all");
    assert_string_equal(x->hosts[1].p, "*.ledger.bank.example");
    assert_string_equal(c->regions[0].pools[1].apps[0].host.p, "profile.west.svc");
    assert_string_equal(c->hosts[0].name.p, "west-edge-1");
    fm_conf_free(c);
}

#define REGIONS                                                                                    \
    "regions: {a: {apps: {core: [\"10.0.0.1:80\"]}}, b: {apps: {core: [\"10.0.0.2:80\"]}}}\n"
#define HEAD "fulmar: 1\nservice: s\nedge: {listen: [{address: \"0.0.0.0:80\"}]}\n"

static void the_only_pool_is_the_default(void **state)
{
    (void)state;
    struct fm_conf *c =
        parse(HEAD REGIONS "contexts: {x: {topology: multi-write, routes: [/x]}}\n");
    assert_str(c->contexts[0].app, "core");
    fm_conf_free(c);
}

static void small_forms_mean_what_they_say(void **state)
{
    (void)state;
    struct fm_conf *c = parse("\xef\xbb\xbf" HEAD REGIONS
                              "probe: {app: none}\nretry: {hedge-after: never, budget: 0%}\n"
                              "contexts:\r\n  x: {topology: multi-write, routes: [/x]}\r\n");
    assert_int_equal(c->probe.app, FM_PROBE_NONE);
    assert_int_equal(c->contexts[0].retry.hedge, FM_HEDGE_NEVER);
    assert_int_equal(c->contexts[0].retry.budget_ppm, 0);
    fm_conf_free(c);
    c = parse("fulmar: 1\nservice: s\n" REGIONS
              "edge: {listen: [{address: \"[::]:80\"}], min-body-rate: none, "
              "access-log: {path: stdout}}\n"
              "contexts: {x: {topology: multi-write, routes: [/x]}}\n");
    assert_int_equal(c->edge.min_body_bps, 0);
    assert_str(c->edge.access_log.path, "stdout");
    assert_int_equal(c->edge.access_log.sample_ppm, 1000000);
    fm_conf_free(c);
}

static void wildcards_of_hosts_differ_in_length(void **state)
{
    (void)state;
    struct fm_conf *c = parse(
        HEAD REGIONS "contexts:\n"
                     "  x: {topology: multi-write, routes: [/x], hosts: [\"*.b.c\"]}\n"
                     "  y: {topology: multi-write, routes: [/x], hosts: [\"*.a.b.c\"]}\n"
                     "  z: {topology: multi-write, routes: [/x], hosts: [a.b.c]}\n"
                     "  u: {topology: multi-write, routes: [/x, {path: /x, methods: [GET]}]}\n");
    assert_int_equal(c->ncontexts, 4);
    fm_conf_free(c);
}

static void memory_has_no_includes(void **state)
{
    (void)state;
    fm_conf_report_init(&report);
    assert_null(fm_conf_parse(FM_STR("fulmar: 1\ninclude: [/etc/passwd]\n"), "x", &report));
    bool said = false;
    for (size_t i = 0; i < report.n; i++)
        said |= strcmp(report.finding[i].what, "`include` is not possible here") == 0;
    assert_true(said);
    fm_conf_report_deinit(&report);
    fm_conf_report_init(&report);
    assert_null(fm_conf_parse(fm_str(NULL, 0), "x", &report));
    assert_string_equal(report.finding[0].what, "the file is empty");
    fm_conf_report_deinit(&report);
}

/* What was wrong before and is still wrong is an error of this call, too. */
static void one_report_serves_many_loads(void **state)
{
    (void)state;
    fm_conf_report_init(&report);
    for (size_t i = 1; i <= 3; i++) {
        assert_null(fm_conf_parse(FM_STR("fulmar: 1\nservice: Shop\n"), "x", &report));
        assert_int_equal(report.errors, 3 * i);
        assert_int_equal(report.n, 4 * i); /* and a warning */
    }
    fm_conf_report_deinit(&report);
}

static void files_that_cannot_be_read_are_said(void **state)
{
    (void)state;
    static const struct {
        const char *path, *what;
    } cases[] = {
        {"/nowhere/fulmar.yaml",
         "cannot read the configuration: cannot open it: No such file or directory"},
        {"/tmp", "cannot read the configuration: it is a folder"},
        {"/dev/null", "cannot read the configuration: it is not a regular file"},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        fm_conf_report_init(&report);
        assert_null(fm_conf_load(cases[i].path, &report));
        assert_int_equal(report.n, 1);
        assert_string_equal(report.finding[0].what, cases[i].what);
        assert_string_equal(report.finding[0].pos.file, cases[i].path);
        assert_int_equal(report.finding[0].pos.line, 0);
        assert_non_null(strstr(report.finding[0].advice, "-c FILE"));
        fm_conf_report_deinit(&report);
    }
}

static void the_state_is_found_in_spite_of_errors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *is;
    } cases[] = {
        {"fulmar: 1\nstate: /var/lib/x/{host}\nprobes: {}\n", "/var/lib/x/{host}"},
        {"fulmar: 1\nstate: /x\nedge: {listen: [\n", ""}, /* a syntax error: nothing is believed */
        {"fulmar: 1\nstate: [x]\n", ""},
        {"fulmar: 1\n", ""},
        {"", ""},
    };
    char path[] = "/tmp/fulmar-state-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        size_t n = strlen(cases[i].text);
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, cases[i].text, n, 0), (int)n);
        struct fm_conf *c = fm_conf_load_state(path);
        assert_non_null(c);
        assert_int_equal(c->state.n, strlen(cases[i].is));
        assert_memory_equal(c->state.p ? c->state.p : "", cases[i].is, c->state.n);
        fm_conf_free(c);
    }
    close(fd);
    assert_int_equal(unlink(path), 0);
}

static void huge_texts_are_refused(void **state)
{
    (void)state;
    size_t n = (4 << 20) + 1;
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, '\n', n);
    fm_conf_report_init(&report);
    assert_null(fm_conf_parse(fm_str(text, n), "x", &report));
    assert_string_equal(report.finding[0].what, "the text is larger than 4 MiB");
    fm_conf_report_deinit(&report);
    /* as many errors as one likes: the first hundred are kept, all are counted */
    static const char line[] = "x1: 1\n";
    size_t used = 0;
    for (unsigned i = 0; i < 500; i++)
        used += (size_t)snprintf(text + used, n - used, "%c%u: 1\n", line[0], i);
    fm_conf_report_init(&report);
    assert_null(fm_conf_parse(fm_str(text, used), "x", &report));
    assert_int_equal(report.n, FM_CONF_FINDINGS_MAX);
    assert_true(report.errors >= 500);
    fm_conf_report_deinit(&report);
    free(text);
}

static void the_state_folder_follows_the_file_or_the_system(void **state)
{
    (void)state;
    char out[256];
    struct fm_error e;
    struct fm_conf *c = load_everything();
    assert_int_equal(fm_conf_state_dir(c, FM_STR("west-1"), FM_STR("west"), out, sizeof out, &e),
                     FM_ERR_OK);
    assert_string_equal(out, DATA "everything/state/west-1");
    assert_int_equal(fm_conf_state_dir(c, FM_STR("west-1"), FM_STR("west"), out, 10, &e),
                     FM_ERR_LIMIT);
    fm_conf_free(c);
    c = load(DATA "smallest.yaml");
    setenv("XDG_STATE_HOME", "/x/state", 1);
    assert_int_equal(fm_conf_state_dir(c, FM_STR("h"), FM_STR("r"), out, sizeof out, &e),
                     FM_ERR_OK);
    assert_string_equal(out, geteuid() == 0 ? "/var/lib/fulmar/h" : "/x/state/fulmar/h");
    assert_int_equal(
        fm_conf_expand(FM_STR("{host}.{region}/{host}"), FM_STR("h"), FM_STR("r"), out, sizeof out),
        FM_ERR_OK);
    assert_string_equal(out, "h.r/h");
    assert_int_equal(fm_conf_expand(FM_STR("{host}"), FM_STR("host"), FM_STR(""), out, 4),
                     FM_ERR_LIMIT);
    fm_conf_free(c);
}

FM_TEST_MAIN(fm_test(a_file_for_one_machine), fm_test(the_smallest_file_has_all_defaults),
             fm_test(every_key_arrives), fm_test(who_may_write_has_defaults),
             fm_test(strings_are_terminated), fm_test(the_only_pool_is_the_default),
             fm_test(small_forms_mean_what_they_say), fm_test(wildcards_of_hosts_differ_in_length),
             fm_test(memory_has_no_includes), fm_test(one_report_serves_many_loads),
             fm_test(files_that_cannot_be_read_are_said),
             fm_test(the_state_is_found_in_spite_of_errors), fm_test(huge_texts_are_refused),
             fm_test(the_state_folder_follows_the_file_or_the_system))
