/* Compiling a configuration and addresses into what workers route by. */
#include "given.h"

static struct fm_view *view_of(const char *text, enum fm_proxy_mode mode,
                               const struct fm_view_address *a, size_t n)
{
    struct fm_board *b = given_board(text, 1);
    struct fm_view *v = fm_view_new(b, mode, 7, a, n);
    fm_board_unref(b); /* the view has a reference of its own */
    assert_non_null(v);
    assert_int_equal(v->generation, 7);
    return v;
}

static void endpoints_are_sorted_by_pool_without_doubles(void **state)
{
    (void)state;
    const struct fm_view_address a[] = {
        given_address(1, 1, "10.0.2.2:81"), given_address(0, 1, "10.0.1.2:80"),
        given_address(1, 0, "10.0.2.1:80"), given_address(1, 1, "10.0.2.2:80"),
        given_address(0, 0, "10.0.1.1:80"), given_address(1, 1, "10.0.2.2:81"),
        given_address(0, 0, "[::1]:80"),
    };
    struct fm_view *v = view_of(given_two_regions, FM_PROXY_EDGE, a, FM_COUNT(a));
    assert_int_equal(v->nregions, 2);
    assert_int_equal(v->nendpoints, 6);
    static const struct {
        unsigned region, pool, n;
        const char *first;
    } pools[] = {
        {0, 0, 2, "[::1]:80"},
        {0, 1, 1, "10.0.1.2:80"},
        {1, 0, 1, "10.0.2.1:80"},
        {1, 1, 2, "10.0.2.2:80"},
    };
    unsigned at = 0;
    for (size_t i = 0; i < FM_COUNT(pools); i++) {
        const struct fm_view_pool *p = &v->regions[pools[i].region].pools[pools[i].pool];
        assert_int_equal(p->first, at);
        assert_int_equal(p->n, pools[i].n);
        assert_string_equal(v->endpoints[at].text, pools[i].first);
        for (unsigned k = 0; k < p->n; k++, at++) {
            assert_int_equal(v->endpoints[at].region, pools[i].region);
            assert_int_equal(v->endpoints[at].pool, pools[i].pool);
            assert_false(atomic_load(&v->endpoints[at].probe_down));
        }
    }
    fm_view_unref(v);
}

static void each_context_has_its_pool_in_each_region(void **state)
{
    (void)state;
    struct fm_view *v = view_of(given_two_regions, FM_PROXY_EDGE, NULL, 0);
    assert_str(v->contexts[0].name, "ledger");
    for (unsigned r = 0; r < 2; r++) {
        assert_str(fm_view_pool(v, r, 0)->name, "core");
        assert_str(fm_view_pool(v, r, 1)->name, "web");
        assert_int_equal(fm_view_pool(v, r, 1)->n, 0); /* no address is known yet */
        assert_false(v->regions[r].gates);
    }
    assert_int_equal(v->regions[0].priority, 1);
    assert_int_equal(v->regions[1].weight, 70);
    fm_view_unref(v);
}

/* It has a place in each region, where nobody is. */
static void what_is_only_a_database_has_an_empty_pool(void **state)
{
    (void)state;
    static const char text[] =
        "fulmar: 1\nservice: shop\npeer-tls: plaintext\ncoordination: {sqlite: /x/c.db}\n"
        "hosts:\n"
        "  west-1: {region: west, roles: [gate, health, controller, coordination, postgres],"
        " address: 127.0.0.1}\n"
        "  north-1: {region: north, roles: [gate, health, controller, postgres], address:"
        " 127.0.0.1, gate: \"127.0.0.1:7200\", peer: \"127.0.0.1:7201\", admin: "
        "\"127.0.0.1:7202\"}\n"
        "regions: {west: {apps: [\"10.0.1.1:80\"]}, north: {apps: [\"10.0.2.1:80\"]}}\n"
        "contexts:\n  shop: {topology: multi-write, routes: [\"/**\"], needs: []}\n"
        "  ledger: {topology: active-passive, home: west}\n"
        "groups: {ledger: {contexts: [ledger], nodes: {west-1: {data: /a}, north-1: {data: /b,"
        " port: 5433}}, replication: {mode: sync}}}\n";
    const struct fm_view_address a[] = {given_address(0, 0, "10.0.1.1:80")};
    struct fm_conf *c = given_conf(text);
    assert_true(fm_conf_is_database(&c->contexts[1]));
    fm_conf_free(c);
    struct fm_board *b = given_board(text, 1);
    b->seats = fm_seats_new(NULL, NULL, NULL);
    assert_non_null(b->seats);
    struct fm_view *v = fm_view_new(b, FM_PROXY_GATE, 7, a, FM_COUNT(a));
    assert_non_null(v);
    for (unsigned r = 0; r < 2; r++) {
        assert_str(fm_view_pool(v, r, 0)->name, "default");
        assert_str(fm_view_pool(v, r, 1)->name, "none");
        assert_int_equal(fm_view_pool(v, r, 1)->n, 0);
    }
    assert_int_equal(fm_view_pool(v, 0, 0)->n, 1);
    assert_int_equal(v->nroutes, 1);
    fm_view_unref(v);
    fm_seats_free(b->seats);
    fm_board_unref(b);
}

static void a_region_is_the_same_in_every_edge(void **state)
{
    (void)state;
    static const char turned[] =
        "fulmar: 1\nservice: shop\nedge: {listen: [{address: \"127.0.0.1:80\"}]}\n"
        "regions: {north: {apps: [\"10.0.2.1:80\"]}, west: {apps: [\"10.0.1.1:80\"]}}\n"
        "contexts: {all: {topology: multi-write, routes: [\"/**\"], needs: []}}\n";
    struct fm_view *v = view_of(given_two_regions, FM_PROXY_EDGE, NULL, 0);
    struct fm_view *w = view_of(turned, FM_PROXY_EDGE, NULL, 0);
    assert_true(v->regions[0].id == w->regions[1].id);
    assert_true(v->regions[1].id == w->regions[0].id);
    assert_true(v->regions[0].id != v->regions[1].id);
    fm_view_unref(v);
    fm_view_unref(w);
}

static const char agents[] =
    "fulmar: 1\nservice: shop\nedge: {listen: [{address: \"127.0.0.1:80\"}]}\n"
    "peer-tls: plaintext\n"
    "hosts: {west-1: {region: west, roles: [gate, health], address: 10.0.1.9}}\n"
    "regions:\n"
    "  west: {apps: {core: [\"10.0.1.1:80\"], web: [\"10.0.1.2:80\"]}}\n"
    "  north: {apps: {core: [\"10.0.2.1:80\"], web: [\"10.0.2.2:80\"]}}\n"
    "contexts:\n"
    "  one: {topology: multi-write, app: core, routes: [\"/one\"], needs: []}\n"
    "  two: {topology: multi-write, app: web, routes: [\"/two\"], needs: []}\n";

static void an_edge_goes_to_gates_and_a_gate_to_apps(void **state)
{
    (void)state;
    const struct fm_view_address gate = given_address(0, 0, "10.0.1.9:7100");
    struct fm_view *v = view_of(agents, FM_PROXY_EDGE, &gate, 1);
    assert_true(v->regions[0].gates);
    assert_false(v->regions[1].gates);
    assert_int_equal(v->regions[0].npools, 1);
    assert_str(fm_view_pool(v, 0, 0)->name, "gates");
    assert_ptr_equal(fm_view_pool(v, 0, 0), fm_view_pool(v, 0, 1));
    assert_str(fm_view_pool(v, 1, 1)->name, "web");
    fm_view_unref(v);
    const struct fm_view_address app = given_address(0, 1, "10.0.1.2:80");
    v = view_of(agents, FM_PROXY_GATE, &app, 1);
    assert_false(v->regions[0].gates);
    assert_str(fm_view_pool(v, 0, 0)->name, "core");
    assert_int_equal(fm_view_pool(v, 0, 1)->n, 1);
    fm_view_unref(v);
    /* and, to pass commands on, to gates of other regions */
    struct fm_view_address both[] = {app, given_address(1, 0, "10.0.2.9:7100")};
    both[1].peer = "north-1";
    v = view_of(agents, FM_PROXY_GATE, both, 2);
    assert_false(v->regions[0].gates);
    assert_true(v->regions[1].gates);
    assert_str(fm_view_pool(v, 1, 1)->name, "gates");
    assert_int_equal(fm_view_pool(v, 1, 1)->n, 1);
    fm_view_unref(v);
}

static const char routes[] =
    "fulmar: 1\nservice: shop\nedge: {listen: [{address: \"127.0.0.1:80\"}]}\n"
    "regions: {west: {apps: [\"10.0.1.1:80\"]}}\n"
    "timeouts: {connect: 100ms, first-byte: 2s, total: 9s}\n"
    "routing: {by: latency, band: 15ms}\n"
    "contexts:\n"
    "  api:\n"
    "    topology: multi-write\n"
    "    hosts: [api.example, \"*.api.example\"]\n"
    "    sticky: {path: id}\n"
    "    needs: []\n"
    "    objectives: {latency-p99: 250ms}\n"
    "    retry: {other-regions: 1, budget: 25%, budget-floor: 3, hedge-after: p99}\n"
    "    routes:\n"
    "      - {path: \"/a/{x}/{id}\"}\n"
    "      - {path: \"/find/{id}\", methods: [POST], as: query, timeouts: {first-byte: 30s, total: "
    "40s}}\n"
    "      - {path: \"/now/{id}\", retry: {hedge-after: 20ms}}\n"
    "      - {path: \"/once/{id}\", safe: false, retry: {hedge-after: never}}\n"
    "  rest: {topology: multi-write, routes: [\"/**\"], needs: [], routing: {by: weight}}\n";

static const struct fm_view_route *find(const struct fm_view *v, const char *host,
                                        const char *method, const char *path,
                                        struct fm_match_result *m)
{
    struct fm_match_query q = {fm_str_z(host), fm_str_z(method), fm_str_z(path)};
    fm_match_find(v->match, &q, m);
    return m->found ? &v->routes[m->route] : NULL;
}

static void routes_carry_what_was_said_of_them(void **state)
{
    (void)state;
    struct fm_view *v = view_of(routes, FM_PROXY_EDGE, NULL, 0);
    struct fm_match_result m;
    assert_int_equal(v->nroutes, 5);
    assert_int_equal(v->contexts[0].slow_ns, 250 * FM_NS_PER_MS);
    assert_int_equal(v->contexts[1].slow_ns, 0);

    const struct fm_view_route *r = find(v, "api.example", "GET", "/a/b/c", &m);
    assert_non_null(r);
    assert_str(r->path, "/a/{x}/{id}");
    assert_int_equal(r->sticky_segment, 2);
    assert_str(m.segment[r->sticky_segment], "c");
    assert_int_equal(r->by, FM_ROUTE_LATENCY);
    assert_int_equal(r->band_us, 15000);
    assert_int_equal(r->connect_ns, 100 * FM_NS_PER_MS);
    assert_int_equal(r->first_byte_ns, 2 * FM_NS_PER_S);
    assert_int_equal(r->total_ns, 9 * FM_NS_PER_S);
    assert_int_equal(r->other_regions, 1);
    assert_int_equal(r->budget_ppm, 250000);
    assert_int_equal(r->budget_floor, 3);
    assert_int_equal(r->hedge.mode, FM_HEDGE_AT_P99);
    assert_int_equal(r->hedge.first_byte_ns, 2 * FM_NS_PER_S);
    assert_true(r->safe);

    r = find(v, "x.api.example", "POST", "/find/1", &m);
    assert_non_null(r);
    assert_int_equal(r->as, FM_AS_QUERY);
    assert_int_equal(r->sticky_segment, 1);
    assert_int_equal(r->first_byte_ns, 30 * FM_NS_PER_S);
    assert_int_equal(r->hedge.first_byte_ns, 30 * FM_NS_PER_S);
    r = find(v, "api.example", "GET", "/now/1", &m);
    assert_int_equal(r->hedge.mode, FM_HEDGE_AFTER);
    assert_int_equal(r->hedge.after_ns, 20 * FM_NS_PER_MS);
    r = find(v, "api.example", "GET", "/once/1", &m);
    assert_int_equal(r->hedge.mode, FM_HEDGE_OFF);
    assert_false(r->safe);

    r = find(v, "other.example", "GET", "/a/b/c", &m);
    assert_int_equal(r->context, 1);
    assert_int_equal(r->sticky_segment, -1);
    assert_int_equal(r->by, FM_ROUTE_WEIGHT);
    assert_int_equal(r->hedge.mode, FM_HEDGE_AT_P95);
    fm_view_unref(v);
}

static void the_last_reference_frees_it_with_its_board(void **state)
{
    (void)state;
    struct fm_board *b = given_board(given_two_regions, 1);
    struct fm_view *v = fm_view_new(b, FM_PROXY_EDGE, 1, NULL, 0);
    assert_int_equal(atomic_load(&b->refs), 2);
    fm_view_ref(v);
    fm_view_unref(v);
    assert_int_equal(atomic_load(&b->refs), 2);
    fm_view_unref(v);
    assert_int_equal(atomic_load(&b->refs), 1);
    fm_board_unref(b);
    fm_view_unref(NULL);
}

FM_TEST_MAIN(fm_test(endpoints_are_sorted_by_pool_without_doubles),
             fm_test(each_context_has_its_pool_in_each_region),
             fm_test(what_is_only_a_database_has_an_empty_pool),
             fm_test(a_region_is_the_same_in_every_edge),
             fm_test(an_edge_goes_to_gates_and_a_gate_to_apps),
             fm_test(routes_carry_what_was_said_of_them),
             fm_test(the_last_reference_frees_it_with_its_board))
