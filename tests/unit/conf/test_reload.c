/* What a running process may take over. */
#include "test.h"

#include "conf/conf.h"

#include <stdio.h>

#define SERVICE "fulmar: 1\nservice: shop\n"
#define EDGE    "edge: {listen: [{address: \"0.0.0.0:80\"}]}\n"
#define REST                                                                                       \
    "regions: {west: {apps: [\"10.0.1.10:8080\"]}, north: {apps: [\"10.0.2.10:8080\"]}}\n"         \
    "contexts: {shop: {topology: multi-write, routes: [\"/**\"], needs: []}}\n"
#define HOST(region, rest)                                                                         \
    "hosts: {h: {region: " region ", roles: [gate, health], address: 127.0.0.1" rest "}, "         \
    "n: {region: north, roles: [health], address: 127.0.0.2, admin: \"127.0.0.1:7302\"}}\n"

#define ETCD(last, election)                                                                       \
    "coordination: {etcd: {endpoints: {west: [\"http://10.0." last                                 \
    ":2379\"]}, election: " election "}}\n"
#define SQLITE(name)                                                                               \
    "coordination: {sqlite: /x/" name                                                              \
    "}\nhosts: {h: {region: west, roles: [coordination], address: 127.0.0.1}}\n"

static struct fm_conf *parse(const char *text)
{
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    struct fm_conf *c = fm_conf_parse(fm_str_z(text), "fulmar.yaml", &r);
    if (r.n)
        print_error("%s\n", r.finding[0].what);
    assert_non_null(c);
    fm_conf_report_deinit(&r);
    return c;
}

static const struct {
    const char *from, *to;
    const char *what; /* NULL = nothing to say */
    uint32_t line;
    bool refused;
} cases[] = {
    {SERVICE EDGE REST, SERVICE EDGE REST, NULL, 0, false},
    {SERVICE EDGE REST, "fulmar: 1\nservice: other\n" EDGE REST,
     "`service` is fixed for the life of the service", 2, true},
    {SERVICE EDGE REST, SERVICE EDGE "state: /x/{host}\n" REST,
     "`state` changed, and takes effect at the next restart", 4, false},
    {SERVICE EDGE REST, SERVICE "edge: {listen: [{address: \"0.0.0.0:81\"}]}\n" REST,
     "`edge.listen` changed, and takes effect at the next restart", 3, false},
    {SERVICE EDGE REST,
     SERVICE "edge: {listen: [{address: \"0.0.0.0:80\"}, {address: \"0.0.0.0:81\"}]}\n" REST,
     "`edge.listen` changed, and takes effect at the next restart", 3, false},
    {SERVICE EDGE REST, SERVICE "edge: {listen: [{address: \"0.0.0.0:80\"}], workers: 3}\n" REST,
     "`edge.workers` changed, and takes effect at the next restart", 3, false},
    {SERVICE "edge: {listen: [{address: \"0.0.0.0:80\"}], workers: 3}\n" REST, SERVICE EDGE REST,
     "`edge.workers` changed, and takes effect at the next restart", 3, false},
    {SERVICE EDGE REST,
     SERVICE "edge: {listen: [{address: \"0.0.0.0:80\"}], ready: {address: \"0.0.0.0:81\"}}\n" REST,
     "`edge.ready.address` changed, and takes effect at the next restart", 3, false},
    /* limits, time-outs, routes and regions are taken over */
    {SERVICE EDGE REST,
     SERVICE "edge: {listen: [{address: \"0.0.0.0:80\"}], limits: {headers: 50}}\n"
             "timeouts: {connect: 1s}\nprobe: {app: /x}\n" REST,
     NULL, 0, false},
    {SERVICE EDGE HOST("west", "") REST, SERVICE EDGE HOST("north", "") REST,
     "`region` of host `h` changed, and takes effect at its next restart", 4, false},
    {SERVICE EDGE HOST("west", "") REST,
     SERVICE EDGE HOST("west", ", gate: \"127.0.0.1:7200\"") REST,
     "`gate` of host `h` changed, and takes effect at its next restart", 4, false},
    {SERVICE EDGE HOST("west", "") REST, SERVICE EDGE REST, NULL, 0, false},
    {SERVICE EDGE ETCD("1.5", "1s") REST, SERVICE EDGE ETCD("1.5", "1s") REST, NULL, 0, false},
    {SERVICE EDGE ETCD("1.5", "1s") REST, SERVICE EDGE ETCD("1.6", "1s") REST,
     "`coordination.etcd.endpoints` changed, and takes effect at the next restart", 4, false},
    {SERVICE EDGE ETCD("1.5", "1s") REST, SERVICE EDGE ETCD("1.5", "2s") REST,
     "`coordination.etcd.election` changed, and takes effect at the next restart", 4, false},
    {SERVICE EDGE SQLITE("a") REST, SERVICE EDGE SQLITE("b") REST,
     "`coordination.sqlite` changed, and takes effect at the next restart", 4, false},
};

static void refuses_what_is_fixed_and_warns_of_restarts(void **state)
{
    (void)state;
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_conf *from = parse(cases[i].from), *to = parse(cases[i].to);
        struct fm_conf_report r;
        fm_conf_report_init(&r);
        enum fm_err err = fm_conf_check_reload(from, from, to, &r);
        assert_int_equal(err, cases[i].refused ? FM_ERR_INVALID : FM_ERR_OK);
        assert_int_equal(r.errors, cases[i].refused);
        assert_int_equal(r.n, cases[i].what != NULL);
        if (cases[i].what) {
            assert_string_equal(r.finding[0].what, cases[i].what);
            assert_int_equal(r.finding[0].pos.line, cases[i].line);
            assert_non_null(r.finding[0].source);
        }
        fm_conf_report_deinit(&r);
        fm_conf_free(from);
        fm_conf_free(to);
    }
}

/* What the process was started with counts, not what was read last. */
static void a_change_that_was_taken_back_needs_no_restart(void **state)
{
    (void)state;
    struct fm_conf *started = parse(SERVICE EDGE REST);
    struct fm_conf *changed = parse(SERVICE "edge: {listen: [{address: \"0.0.0.0:81\"}]}\n" REST);
    struct fm_conf *back = parse(SERVICE EDGE REST);
    const struct {
        const struct fm_conf *from, *to;
        size_t n;
    } steps[] = {{started, changed, 1}, {changed, back, 0}};
    for (size_t i = 0; i < FM_COUNT(steps); i++) {
        struct fm_conf_report r;
        fm_conf_report_init(&r);
        assert_int_equal(fm_conf_check_reload(started, steps[i].from, steps[i].to, &r), FM_ERR_OK);
        assert_int_equal(r.n, steps[i].n);
        fm_conf_report_deinit(&r);
    }
    struct fm_conf *other = parse(SERVICE "edge: {listen: [{address: \"0.0.0.0:81\"}]}\n" REST);
    struct fm_conf_report r;
    fm_conf_report_init(&r); /* read once more: it waits for the restart all the same */
    assert_int_equal(fm_conf_check_reload(started, changed, other, &r), FM_ERR_OK);
    assert_int_equal(r.n, 1);
    fm_conf_report_deinit(&r);
    fm_conf_free(other);
    fm_conf_free(back);
    fm_conf_free(changed);
    fm_conf_free(started);
}

/* -------- who may write -------- */

#define WORLD                                                                                      \
    "fulmar: 1\nservice: s\ncoordination: {sqlite: /x/c.db}\n"                                     \
    "regions: {a: {apps: [\"127.0.0.1:80\"]}, b: {apps: [\"127.0.0.1:80\"]}}\n"
#define HOSTS(more)                                                                                \
    "hosts: {h: {region: a, roles: [gate, health, controller, coordination], address: "            \
    "127.0.0.1}, i: {region: b, roles: [gate, health, controller], address: 127.0.0.2, admin: "    \
    "\"127.0.0.2:7102\"}" more "}\n"
#define CONTEXT(keys) "contexts:\n  x: {routes: [\"/x/{k}/{l}\"], needs: [], " keys "}\n"
#define PAIR(x_keys, y_keys)                                                                       \
    "contexts:\n  x: {routes: [/x], needs: [], topology: active-passive" x_keys "}\n"              \
    "  y: {routes: [/y], needs: [], topology: active-passive" y_keys "}\n"
#define ONE  "topology: active-passive"
#define MANY "topology: affinity, key: {path: k}"

static const struct {
    const char *from, *to;
    const char *key; /* of `x`; NULL = nothing to say */
    bool refused;
} contexts[] = {
    {CONTEXT(ONE), CONTEXT(ONE), NULL, false},
    {CONTEXT(ONE), CONTEXT(MANY), "topology", true},
    {CONTEXT(ONE), CONTEXT("topology: multi-write"), "topology", true},
    {CONTEXT("topology: multi-write"), CONTEXT(ONE), "topology", true},
    {CONTEXT(MANY), CONTEXT(MANY ", cells: 16"), NULL, false},
    {CONTEXT(MANY), CONTEXT(MANY ", cells: 17"), "cells", true},
    {CONTEXT(ONE), CONTEXT(ONE ", home: a"), NULL, false},
    {CONTEXT(ONE), CONTEXT(ONE ", home: b"), "home", false},
    {CONTEXT(MANY), CONTEXT(MANY ", homes: {pins: p.csv}"), NULL, false},
    {CONTEXT(MANY), CONTEXT(MANY ", homes: {by: directory, directory: e.csv}"), "homes.by", false},
    {CONTEXT(MANY), CONTEXT("topology: affinity, key: {path: l}"), "key", false},
    {CONTEXT(MANY), CONTEXT("topology: affinity, key: {header: k}"), "key", false},
    {CONTEXT(ONE), CONTEXT(ONE ", key: {path: k}"), "key", false},
    {CONTEXT(ONE), CONTEXT(ONE ", lease: 2s"), NULL, false},
    {CONTEXT(ONE), CONTEXT(ONE ", lease: 3s"), "lease", false},
    {CONTEXT(ONE), CONTEXT(ONE ", failover: {mode: manual}"), "failover.mode", false},
    {CONTEXT(ONE), CONTEXT(ONE ", failover: {grace: 1s}"), "failover.grace", false},
    {CONTEXT(ONE), CONTEXT(ONE ", failover: {ask-after: 1m}"), "failover.ask-after", false},
    {CONTEXT(ONE), CONTEXT(ONE ", failover: {at-most: 3 per 6h}"), "failover.at-most", false},
    {CONTEXT(ONE), CONTEXT(ONE ", failover: {at-most: 2 per 7h}"), "failover.at-most", false},
    {CONTEXT(ONE), CONTEXT(ONE ", failover: {prefer: data}"), NULL, false},
    {CONTEXT(ONE), CONTEXT(ONE ", failover: {prefer: time}"), "failover.prefer", false},
    {CONTEXT(ONE), CONTEXT(ONE ", failback: {mode: automatic}"), "failback.mode", false},
    {CONTEXT(ONE), CONTEXT(ONE ", failback: {soak: 1m}"), "failback.soak", false},
    {CONTEXT(ONE), CONTEXT(ONE ", failback: {window: \"02:00-05:00 UTC\"}"), "failback.window",
     false},
    {CONTEXT(ONE), CONTEXT(ONE ", when-away: {hold: 8s}, queries: any"), NULL, false},
    {PAIR("", ""), PAIR("", ""), NULL, false},
    {PAIR(", moves-with: [y]", ""), PAIR("", ", moves-with: [x]"), NULL, false},
    {PAIR("", ""), PAIR(", moves-with: [y]", ""), "moves-with", false},
    {PAIR(", moves-with: [y]", ""), PAIR("", ""), "moves-with", false},
};

static struct fm_conf *parse_world(const char *hosts, const char *text)
{
    static char whole[4096];
    int n = snprintf(whole, sizeof whole, "%s%s%s", WORLD, hosts, text);
    assert_true(n > 0 && (size_t)n < sizeof whole);
    return parse(whole);
}

static void what_must_be_agreed_is_said(void **state)
{
    (void)state;
    char what[160];
    for (size_t i = 0; i < FM_COUNT(contexts); i++) {
        struct fm_conf *from = parse_world(HOSTS(""), contexts[i].from);
        struct fm_conf *to = parse_world(HOSTS(""), contexts[i].to);
        const char *key = contexts[i].key;
        struct fm_conf_report r;
        fm_conf_report_init(&r);
        enum fm_err err = fm_conf_check_reload(from, from, to, &r);
        assert_int_equal(err, contexts[i].refused ? FM_ERR_INVALID : FM_ERR_OK);
        assert_int_equal(r.errors, contexts[i].refused);
        assert_true(key ? r.n > 0 : r.n == 0);
        if (key) {
            snprintf(what, sizeof what, "`%s` of context `x` %s", key,
                     contexts[i].refused ? "is fixed for the life of the service"
                                         : "changed: agents keep what is agreed until `fulmar "
                                           "config apply`");
            assert_string_equal(r.finding[0].what, what);
            assert_true(r.finding[0].pos.line >= 6 && r.finding[0].advice);
        }
        fm_conf_report_deinit(&r);
        fm_conf_free(from);
        fm_conf_free(to);
    }
}

/* The order of regions in the file is of no account, but where it makes other homes. */
static void homes_are_compared_by_name(void **state)
{
    (void)state;
    static const char turned[] =
        "fulmar: 1\nservice: s\ncoordination: {sqlite: /x/c.db}\n"
        "regions: {b: {apps: [\"127.0.0.1:80\"]}, a: {apps: [\"127.0.0.1:80\"]}}\n" HOSTS("")
            CONTEXT(ONE ", home: a");
    struct fm_conf *from = parse_world(HOSTS(""), CONTEXT(ONE ", home: a")), *to = parse(turned);
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    assert_int_equal(fm_conf_check_reload(from, from, to, &r), FM_ERR_OK);
    assert_int_equal(r.n, 0);
    fm_conf_free(to);
    fm_conf_free(from);
    fm_conf_report_deinit(&r);
}

static void members_that_come_and_go_are_said(void **state)
{
    (void)state;
    static const char more[] = HOSTS(", j: {region: b, roles: [controller], address: 127.0.0.3, "
                                     "admin: \"127.0.0.3:7102\"}");
    static const char edge[] = HOSTS(", j: {region: b, roles: [edge]}");
    static const char what[] = "the hosts with the role `controller` in `b` changed: agents keep "
                               "what is agreed until `fulmar config apply`";
    const struct {
        const char *from, *to, *context;
        bool said;
    } cases_of[] = {
        {HOSTS(""), more, CONTEXT(ONE), true},
        {more, HOSTS(""), CONTEXT(ONE), true},
        {HOSTS(""), edge, CONTEXT(ONE), false},
        {HOSTS(""), more, CONTEXT("topology: multi-write"), false},
    };
    for (size_t i = 0; i < FM_COUNT(cases_of); i++) {
        struct fm_conf *from = parse_world(cases_of[i].from, cases_of[i].context);
        struct fm_conf *to = parse_world(cases_of[i].to, cases_of[i].context);
        struct fm_conf_report r;
        fm_conf_report_init(&r);
        assert_int_equal(fm_conf_check_reload(from, from, to, &r), FM_ERR_OK);
        assert_int_equal(r.n, cases_of[i].said);
        if (cases_of[i].said)
            assert_string_equal(r.finding[0].what, what);
        fm_conf_report_deinit(&r);
        fm_conf_free(from);
        fm_conf_free(to);
    }
}

#define STORE                                                                                      \
    "hosts: {h: {region: a, roles: [gate, health, controller, coordination, postgres], address: "  \
    "127.0.0.1}, i: {region: b, roles: [gate, health, controller, postgres], address: "            \
    "127.0.0.2, admin: \"127.0.0.2:7102\"}}\n"
#define GROUP(keys)                                                                                \
    CONTEXT(ONE)                                                                                   \
    "groups:\n  g: {contexts: [x], nodes: {h: {data: /x/h}, i: {data: /x/i, port: 5433}}, "        \
    "replication: {mode: sync}, " keys "}\n"
#define USERS(admin, replication)                                                                  \
    "users: {admin: {password-file: " admin "}, replication: {password-file: " replication "}}"

#define AS "user: postgres, "

static void passwords_and_programs_of_groups_are_taken_over(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *key; /* that takes a restart; NULL = none does */
    } cases_of[] = {
        {GROUP(AS "bin: /a"), GROUP(AS "bin: /b"), NULL},
        {GROUP(AS "bin: /a"), GROUP(AS), NULL},
        {GROUP("user: postgres"), GROUP("user: pg"), "user"},
        {GROUP(AS USERS("a", "b")), GROUP(AS USERS("c", "b")), NULL},
        {GROUP(AS USERS("a", "b")), GROUP(AS), NULL},
        {GROUP(AS "listen: {read-write: {h: \"127.0.0.1:1\"}}"), GROUP(AS), "listen"},
    };
    char what[160];
    for (size_t i = 0; i < FM_COUNT(cases_of); i++) {
        struct fm_conf *from = parse_world(STORE, cases_of[i].from);
        struct fm_conf *to = parse_world(STORE, cases_of[i].to);
        struct fm_conf_report r;
        fm_conf_report_init(&r);
        assert_int_equal(fm_conf_check_reload(from, from, to, &r), FM_ERR_OK);
        snprintf(what, sizeof what,
                 "`%s` of group `g` changed, and takes effect at the next restart",
                 cases_of[i].key ? cases_of[i].key : "");
        if (r.n != (cases_of[i].key != NULL))
            fail_msg("%zu: %s", i, r.n ? r.finding[0].what : "nothing is said");
        if (cases_of[i].key)
            assert_string_equal(r.finding[0].what, what);
        fm_conf_report_deinit(&r);
        fm_conf_free(from);
        fm_conf_free(to);
    }
}

FM_TEST_MAIN(fm_test(passwords_and_programs_of_groups_are_taken_over),
             fm_test(refuses_what_is_fixed_and_warns_of_restarts),
             fm_test(a_change_that_was_taken_back_needs_no_restart),
             fm_test(what_must_be_agreed_is_said), fm_test(homes_are_compared_by_name),
             fm_test(members_that_come_and_go_are_said))
