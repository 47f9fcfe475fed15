/* Names and addresses: literals at once, names when they are answered, what is known is kept.
 * Nothing here leaves the machine: `localhost` is in /etc/hosts, `.invalid` is nowhere. */
#include "given.h"

#include "proxy/names.h"

#include <stdio.h>
#include <stdlib.h>

static struct net net;
static struct fm_mailbox box;
static struct fm_resolver *resolver;
static struct fm_names names;
static unsigned changes;

static void changed(void *user)
{
    assert_ptr_equal(user, &changes);
    changes++;
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    net_open(&net, 1024, 4);
    assert_int_equal(fm_mailbox_open(&box, &net.loop, NULL, NULL), FM_ERR_OK);
    resolver = fm_resolver_new(&box, NULL);
    assert_non_null(resolver);
    fm_names_init(&names, resolver, &net.loop, changed, &changes);
    changes = 0;
    return rc;
}

static int teardown(void **state)
{
    struct fm_conf *c = given_conf(given_two_regions);
    assert_int_equal(fm_names_set(&names, c, FM_PROXY_EDGE, 0), FM_ERR_OK);
    NET_UNTIL(&net, names.abandoned == NULL); /* no thread has a descriptor open any more */
    fm_conf_free(c);
    fm_resolver_free(resolver);
    fm_names_deinit(&names);
    fm_mailbox_close(&box);
    net_close(&net);
    return fm_test_fds_after(state);
}

#define HEAD "fulmar: 1\nservice: shop\nedge: {listen: [{address: \"127.0.0.1:80\"}]}\n"
#define TAIL "contexts: {all: {topology: multi-write, routes: [\"/**\"], needs: []}}\n"

static bool has(unsigned region, const char *addr)
{
    size_t n;
    bool found = false;
    struct fm_addr want = given_addr(addr);
    struct fm_view_address *a = fm_names_addresses(&names, &n);
    assert_non_null(a);
    for (size_t i = 0; i < n; i++)
        found |= a[i].region == region && fm_addr_eq(&a[i].addr, &want);
    free(a);
    return found;
}

static size_t known(void)
{
    size_t n;
    free(fm_names_addresses(&names, &n));
    return n;
}

static void literals_are_known_at_once(void **state)
{
    (void)state;
    struct fm_conf *c = given_conf(given_two_regions);
    assert_int_equal(fm_names_set(&names, c, FM_PROXY_EDGE, 0), FM_ERR_OK);
    assert_int_equal(names.waiting, 0);
    assert_int_equal(known(), 4);
    assert_true(has(0, "10.0.1.2:80") && has(1, "10.0.2.1:80"));
    net_turn_ms(&net, 5);
    assert_int_equal(changes, 0);
    assert_int_equal(fm_names_set(&names, c, FM_PROXY_GATE, 1), FM_ERR_OK); /* only its own */
    assert_int_equal(known(), 2);
    assert_false(has(0, "10.0.1.2:80"));
    fm_conf_free(c);
}

static const char named[] = HEAD
    "regions: {west: {apps: [\"localhost:81\", \"127.0.0.9:82\", \"nowhere.invalid:83\"]}}\n" TAIL;

static void names_are_told_when_they_are_answered(void **state)
{
    (void)state;
    struct fm_conf *c = given_conf(named);
    assert_int_equal(fm_names_set(&names, c, FM_PROXY_EDGE, 0), FM_ERR_OK);
    assert_int_equal(names.waiting, 2);
    assert_int_equal(known(), 1);
    NET_UNTIL(&net, names.waiting == 0);
    assert_true(changes >= 1 && changes <= 2);
    assert_true(has(0, "127.0.0.1:81") || has(0, "[::1]:81"));
    assert_true(has(0, "127.0.0.9:82"));
    struct fm_addr at;
    const struct fm_conf_pool *p = &c->regions[0].pools[0];
    assert_true(fm_names_find(&names, &p->apps[0], &at));
    assert_int_equal(fm_addr_port(&at), 81);
    assert_true(fm_names_find(&names, &p->apps[1], &at));
    assert_false(fm_names_find(&names, &p->apps[2], &at)); /* it has no address */
    fm_conf_free(c);
}

static void a_reload_keeps_what_is_known_of_a_name(void **state)
{
    (void)state;
    struct fm_conf *c = given_conf(named);
    assert_int_equal(fm_names_set(&names, c, FM_PROXY_EDGE, 0), FM_ERR_OK);
    NET_UNTIL(&net, names.waiting == 0);
    size_t n = known();
    fm_conf_free(c);
    static const char next[] =
        HEAD "regions:\n  north: {apps: [\"127.0.0.5:80\"]}\n"
             "  west: {apps: [\"127.0.0.9:82\", \"localhost:81\", \"localhost:84\"]}\n" TAIL;
    c = given_conf(next);
    assert_int_equal(fm_names_set(&names, c, FM_PROXY_EDGE, 0), FM_ERR_OK);
    assert_int_equal(known(), n + 1); /* also before anybody has answered */
    assert_true(has(1, "127.0.0.1:81") || has(1, "[::1]:81"));
    assert_int_equal(names.waiting, 1); /* the same name at another port */
    changes = 0;
    NET_UNTIL(&net, changes > 0);
    assert_true(has(1, "127.0.0.1:84") || has(1, "[::1]:84"));
    fm_conf_free(c);
}

static void a_name_is_asked_again_and_only_news_are_told(void **state)
{
    (void)state;
    struct fm_conf *c = given_conf(HEAD "regions: {west: {apps: [\"localhost:81\"]}}\n" TAIL);
    assert_int_equal(fm_names_set(&names, c, FM_PROXY_EDGE, 0), FM_ERR_OK);
    NET_UNTIL(&net, names.waiting == 0);
    assert_int_equal(changes, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(net.loop.wheel.count, 1); /* the refresh */
        net_skip_ms(60 * 1000);
        NET_UNTIL(&net, net.loop.wheel.count == 0);
        NET_UNTIL(&net, net.loop.wheel.count == 1);
    }
    assert_int_equal(changes, 1);
    fm_conf_free(c);
}

static void what_is_asked_while_it_is_dropped_is_freed_later(void **state)
{
    (void)state;
    struct fm_conf *c = given_conf(named), *d = given_conf(given_two_regions);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(fm_names_set(&names, c, FM_PROXY_EDGE, 0), FM_ERR_OK);
        if (i % 3 == 0)
            fm_loop_turn(&net.loop, 0);
        assert_int_equal(fm_names_set(&names, d, FM_PROXY_EDGE, 0), FM_ERR_OK);
        assert_int_equal(names.waiting, 0);
    }
    assert_non_null(names.abandoned);
    NET_UNTIL(&net, names.abandoned == NULL);
    assert_int_equal(known(), 4);
    fm_conf_free(c);
    fm_conf_free(d);
}

static const char hosts[] =
    HEAD "peer-tls: plaintext\n"
         "hosts:\n"
         "  west-1: {region: west, roles: [gate, health], address: 10.0.1.9}\n"
         "  west-2: {region: west, roles: [health], address: 10.0.1.8}\n"
         "regions: {west: {apps: [\"10.0.1.1:80\"]}, north: {apps: [\"10.0.2.1:80\"]}}\n" TAIL;

static void an_edge_wants_gates_and_finds_peers(void **state)
{
    (void)state;
    struct fm_conf *c = given_conf(hosts);
    struct fm_addr at, peer = given_addr("10.0.1.8:7101");
    assert_int_equal(fm_names_set(&names, c, FM_PROXY_EDGE, 0), FM_ERR_OK);
    assert_int_equal(known(), 2);
    assert_true(has(0, "10.0.1.9:7100") && has(1, "10.0.2.1:80"));
    assert_true(fm_names_find(&names, &c->hosts[1].peer, &at)); /* for probes only */
    assert_true(fm_addr_eq(&at, &peer));
    assert_int_equal(fm_names_set(&names, c, FM_PROXY_GATE, 0), FM_ERR_OK);
    assert_int_equal(known(), 1);
    assert_true(has(0, "10.0.1.1:80"));
    assert_false(fm_names_find(&names, &c->hosts[1].peer, &at));
    fm_conf_free(c);
}

static const char relaying[] =
    HEAD "coordination: {sqlite: /tmp/none.db}\n"
         "hosts:\n"
         "  w: {region: west, roles: [gate, health, controller, coordination], "
         "address: 127.0.0.1}\n"
         "  n-1: {region: north, roles: [gate, health, controller], address: 127.0.0.2, "
         "admin: \"127.0.0.2:7102\"}\n"
         "  n-2: {region: north, roles: [health], address: 127.0.0.3, "
         "admin: \"127.0.0.3:7102\"}\n"
         "regions: {west: {apps: [\"10.0.1.1:80\"]}, north: {apps: [\"10.0.2.1:80\"]}}\n"
         "contexts: {all: {topology: active-passive, needs: [], "
         "routes: [\"/**\", {path: /on, relay: %s}]}}\n";

/* Only to be passed on to, and never its own region's. */
static void a_gate_wants_the_gates_of_others_where_it_may_relay(void **state)
{
    (void)state;
    static const char *const says[] = {"false", "true"};
    for (unsigned on = 0; on < 2; on++) {
        char text[2048];
        snprintf(text, sizeof text, relaying, says[on]);
        struct fm_conf *c = given_conf(text);
        assert_int_equal(fm_conf_relays(c), on);
        assert_int_equal(fm_names_set(&names, c, FM_PROXY_GATE, 0), FM_ERR_OK);
        assert_int_equal(known(), 1 + on);
        assert_true(has(0, "10.0.1.1:80"));
        assert_int_equal(has(1, "127.0.0.2:7100"), on);
        size_t n;
        struct fm_view_address *a = fm_names_addresses(&names, &n);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(a[i].peer != NULL, a[i].region == 1);
        free(a);
        fm_conf_free(c);
    }
}

#define with_names(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_names(literals_are_known_at_once),
             with_names(names_are_told_when_they_are_answered),
             with_names(a_reload_keeps_what_is_known_of_a_name),
             with_names(a_name_is_asked_again_and_only_news_are_told),
             with_names(what_is_asked_while_it_is_dropped_is_freed_later),
             with_names(an_edge_wants_gates_and_finds_peers),
             with_names(a_gate_wants_the_gates_of_others_where_it_may_relay))
