/* What `groups` become: defaults, what is said, and what follows from it. What is refused is in
 * broken/groups*.yaml. */
#include "test.h"

#include "conf/conf.h"

#include <stdio.h>

static struct fm_conf_report report;

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

#define GROUP_HEAD                                                                                 \
    "fulmar: 1\nservice: bank\ncoordination: {sqlite: /x/c.db}\npeer-tls: plaintext\n"             \
    "edge: {listen: [{address: \"127.0.0.1:8090\"}]}\nhosts:\n"                                    \
    "  west-1: {region: west, roles: [gate, health, controller, coordination, postgres], "         \
    "address: 127.0.0.1}\n"                                                                        \
    "  north-1: {region: north, roles: [gate, health, controller, postgres], address: "            \
    "127.0.0.1, gate: \"127.0.0.1:7200\", peer: \"127.0.0.1:7201\", admin: "                       \
    "\"127.0.0.1:7202\"}\n"                                                                        \
    "regions: {west: {apps: [\"127.0.0.1:8080\"]}, north: {apps: [\"127.0.0.1:8081\"]}}\n"         \
    "contexts:\n  other: {topology: multi-write, routes: [/o], needs: []}\n"                       \
    "  notes: {topology: active-passive, home: north, routes: [/n], needs: []}\n"                  \
    "  ledger: {topology: active-passive, home: north, routes: [/l], needs: []}\n"

static struct fm_conf *parse_group(const char *more)
{
    char text[4096];
    snprintf(text, sizeof text,
             GROUP_HEAD "groups:\n  bank:\n    contexts: [ledger]\n"
                        "    nodes: {west-1: {data: \"/d/{host}\"}, north-1: {port: 5433}}\n%s",
             more);
    return parse(text);
}

/* The way to a node may be another one for each who dials; the port is the node's. */
static void a_node_is_dialed_as_the_file_says(void **state)
{
    (void)state;
    struct fm_conf *c = parse_group("    replication: {mode: sync}\n"
                                    "dial: {north-1: {postgres: 127.0.0.9}}\n");
    const struct fm_conf_group *g = c->groups;
    assert_str(g->nodes[0].address.text, "127.0.0.1:5432");
    assert_str(g->nodes[1].address.text, "127.0.0.9:5433");
    assert_str(c->hosts[g->nodes[1].host].peer.text, "127.0.0.1:7201");
    fm_conf_free(c);
}

static void a_group_of_hooks_has_neither_nodes_nor_a_bound(void **state)
{
    (void)state;
    struct fm_conf *c = parse(GROUP_HEAD "groups:\n  bank:\n    contexts: [ledger]\n    hooks:\n"
                                         "      status: [/bin/s, a b]\n      lag: [/bin/l]\n"
                                         "      read-only: [/bin/r]\n      promote: [/bin/p]\n"
                                         "      fence: [/bin/f]\n      interval: 1m\n");
    const struct fm_conf_group *g = c->groups;
    assert_true(g->hooks.present && g->nnodes == 0 && !g->listen.present);
    assert_int_equal(g->hooks.nstatus, 2);
    assert_str(g->hooks.status[1], "a b");
    assert_null(g->hooks.status[2].p); /* argv */
    assert_str(g->hooks.fence[0], "/bin/f");
    assert_int_equal(g->hooks.timeout_ms, 30000);
    assert_int_equal(g->hooks.interval_ms, 60000);
    assert_int_equal(g->replication.credit_bytes, -1);
    assert_str(c->regions[g->home].name, "north");
    assert_int_equal(fm_conf_group_of(c, g->contexts[0]), 0);
    fm_conf_free(c);
}

#define ALL "[gate, health, controller, postgres]"

/* A number is one of a zone of a region: `a` of another region is another one. */
static void nodes_of_a_zone_have_its_number(void **state)
{
    (void)state;
    struct fm_conf *c = parse(
        "fulmar: 1\nservice: bank\ncoordination: {etcd: {endpoints: {w: "
        "[\"https://10.0.1.9:2379\"], "
        "n: [\"https://10.0.2.9:2379\"], e: [\"https://10.0.3.9:2379\"]}, tls: {ca: ca.pem}}}\n"
        "peer-tls: {ca: p.pem, cert: c.pem, key: k.pem}\nhosts:\n"
        "  w-1: {region: w, zone: a, roles: " ALL ", address: 10.0.1.1}\n"
        "  w-2: {region: w, zone: b, roles: " ALL ", address: 10.0.1.2}\n"
        "  w-3: {region: w, zone: a, roles: " ALL ", address: 10.0.1.3}\n"
        "  n-1: {region: n, zone: a, roles: " ALL ", address: 10.0.2.1}\n"
        "  n-2: {region: n, roles: " ALL ", address: 10.0.2.2}\n"
        "  e-1: {region: e, roles: [witness], address: 10.0.3.1}\n"
        "regions: {w: {apps: [\"10.0.1.1:80\"]}, n: {apps: [\"10.0.2.1:80\"]}, e: {witness: "
        "true}}\n"
        "contexts: {x: {topology: active-passive, home: w, routes: [/x], needs: []}}\n"
        "groups: {g: {contexts: [x], nodes: {w-1: {}, w-2: {}, w-3: {}, n-1: {}, n-2: {delay: "
        "1h}}, replication: {mode: sync}}}\n");
    const struct fm_conf_group *g = c->groups;
    static const unsigned zone[] = {1, 2, 1, 4, 0};
    assert_int_equal(g->nnodes, FM_COUNT(zone));
    for (size_t i = 0; i < g->nnodes; i++)
        assert_int_equal(fm_conf_group_zone(c, g, i), zone[i]);
    assert_int_equal(g->nodes[3].delay_ms, 0);
    assert_int_equal(g->nodes[4].delay_ms, 3600 * 1000);
    fm_conf_free(c);
}

static void a_group_has_its_defaults(void **state)
{
    (void)state;
    struct fm_conf *c = parse_group("    replication: {mode: sync}\n");
    const struct fm_conf_group *g = c->groups;
    assert_int_equal(c->ngroups, 1);
    assert_str(g->name, "bank");
    assert_str(g->user, "postgres");
    assert_int_equal(g->bin.n, 0);
    assert_int_equal(g->ncontexts, 1);
    assert_str(c->contexts[g->contexts[0]].name, "ledger");
    assert_str(c->regions[g->home].name, "north");
    assert_int_equal(g->nnodes, 2);
    assert_str(g->nodes[0].data, "/d/{host}");
    assert_int_equal(g->nodes[0].port, 5432);
    assert_str(g->nodes[0].address.text, "127.0.0.1:5432");
    assert_str(c->hosts[g->nodes[1].host].name, "north-1");
    /* by their names, whatever the order of the file */
    assert_ptr_equal(fm_conf_group_nth(c, g, 0), &g->nodes[1]);
    assert_ptr_equal(fm_conf_group_nth(c, g, 1), &g->nodes[0]);
    assert_str(g->nodes[1].data, "/var/lib/fulmar/pg/bank");
    assert_str(g->nodes[1].address.text, "127.0.0.1:5433");
    assert_int_equal(g->replication.mode, FM_CONF_SYNC);
    assert_int_equal(g->replication.beyond, FM_CONF_BEYOND_NO_AUTOMATIC);
    assert_int_equal(g->replication.credit_bytes, 0);
    assert_false(g->listen.present);
    assert_int_equal(g->nsettings, 0);
    assert_null(fm_conf_group_listen(c, g, g->nodes[0].host, false));
    fm_conf_free(c);
}

static void the_credit_is_the_least_that_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *replication;
        int64_t credit;
    } cases[] = {
        {"{mode: sync}", 0},
        {"{mode: async}", -1},
        {"{mode: async, max-loss: {bytes: 1MiB}}", 1024 * 1024},
        {"{mode: async, max-loss: {transactions: 100}}", 3400},
        {"{mode: async, max-loss: {bytes: 1MiB, transactions: 100}}", 3400},
        {"{mode: async, max-loss: {bytes: 1KiB, transactions: 100}, beyond: block-writes}", 1024},
        {"{mode: async, max-loss: {transactions: 1000000000}}", INT64_C(34000000000)},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char text[200];
        snprintf(text, sizeof text, "    replication: %s\n", cases[i].replication);
        struct fm_conf *c = parse_group(text);
        if (c->groups[0].replication.credit_bytes != cases[i].credit)
            fail_msg("%s: %lld", cases[i].replication,
                     (long long)c->groups[0].replication.credit_bytes);
        fm_conf_free(c);
    }
}

static void nodes_of_the_region_of_the_primary_may_have_no_credit(void **state)
{
    (void)state;
    struct fm_conf *c =
        parse_group("    replication: {mode: async, max-loss: {bytes: 1MiB}, in-region: sync}\n");
    assert_int_equal(c->groups[0].replication.in_region, FM_CONF_IN_REGION_SYNC);
    assert_int_equal(c->groups[0].replication.credit_bytes, 1024 * 1024);
    fm_conf_free(c);
    c = parse_group("    replication: {mode: async, in-region: async}\n");
    assert_int_equal(c->groups[0].replication.in_region, FM_CONF_IN_REGION_ASYNC);
    fm_conf_free(c);
    c = parse_group("    replication: {mode: sync}\n");
    assert_int_equal(c->groups[0].replication.in_region, FM_CONF_IN_REGION_ASYNC);
    fm_conf_free(c);
}

static void a_group_has_what_is_said(void **state)
{
    (void)state;
    struct fm_conf *c = parse_group(
        "    bin: /pg/bin\n    user: pg\n    users: {admin: {password-file: \"/s/{region}.a\"}}\n"
        "    replication: {mode: sync, beyond: block-writes}\n"
        "    settings: {Shared_Buffers: 1GB, max_connections: 200, log_statement: ddl, x.y: on}\n");
    const struct fm_conf_group *g = c->groups;
    assert_str(g->bin, "/pg/bin");
    assert_str(g->user, "pg");
    assert_str(g->admin_password_file, "/s/{region}.a");
    assert_int_equal(g->replication_password_file.n, 0);
    assert_int_equal(g->replication.mode, FM_CONF_SYNC);
    assert_int_equal(g->replication.beyond, FM_CONF_BEYOND_BLOCK_WRITES);
    assert_int_equal(g->replication.credit_bytes, 0);
    assert_int_equal(g->nsettings, 4);
    assert_str(g->settings[0].name, "shared_buffers");
    assert_str(g->settings[0].value, "1GB");
    assert_str(g->settings[1].value, "200");
    assert_str(g->settings[3].name, "x.y");
    fm_conf_free(c);
}

static void a_group_is_found_by_its_context_and_its_hosts(void **state)
{
    (void)state;
    struct fm_conf *c = parse_group("    replication: {mode: sync}\n");
    int ledger = fm_conf_find_context(c, FM_STR("ledger"));
    assert_int_equal(fm_conf_group_of(c, (unsigned)ledger), 0);
    assert_int_equal(fm_conf_group_of(c, 0), -1);
    assert_int_equal(fm_conf_find_group(c, FM_STR("bank")), 0);
    assert_int_equal(fm_conf_find_group(c, FM_STR("ledger")), -1);
    assert_int_equal(fm_conf_find_group_node(&c->groups[0], c->groups[0].nodes[1].host), 1);
    fm_conf_free(c);
}

static void secrets_are_where_they_were_said_or_in_the_state(void **state)
{
    (void)state;
    char path[256];
    struct fm_error e;
    struct fm_conf *c = parse_group("    users: {admin: {password-file: \"/s/{host}.a\"}}\n"
                                    "    replication: {mode: sync}\n");
    const struct fm_conf_host *h = &c->hosts[c->groups[0].nodes[1].host];
    c->state = FM_STR("/var/x/{host}");
    assert_int_equal(
        fm_conf_group_secret(c, c->groups, h, FM_CONF_SECRET_ADMIN, path, sizeof path, &e),
        FM_ERR_OK);
    assert_string_equal(path, "/s/north-1.a");
    assert_int_equal(
        fm_conf_group_secret(c, c->groups, h, FM_CONF_SECRET_REPLICATION, path, sizeof path, &e),
        FM_ERR_OK);
    assert_string_equal(path, "/var/x/north-1/groups/bank/replication.password");
    assert_int_equal(
        fm_conf_group_secret(c, c->groups, h, FM_CONF_SECRET_REPLICATION, path, 20, &e),
        FM_ERR_LIMIT);
    fm_conf_free(c);
}

static void a_changed_group_is_kept_as_it_is_agreed(void **state)
{
    (void)state;
    static const struct {
        const char *to;
        const char *said;
    } cases[] = {
        {"    replication: {mode: sync}\n    settings: {b: 2, a: 1}\n", NULL}, /* another order */
        {"    replication: {mode: async}\n    settings: {a: 1, b: 2}\n",
         "`replication` of group `bank` changed: agents keep what is agreed until `fulmar config "
         "apply`"},
        {"    replication: {mode: sync}\n    settings: {a: 1, b: 3}\n",
         "`settings` of group `bank` changed: agents keep what is agreed until `fulmar config "
         "apply`"},
        {"    replication: {mode: sync}\n    settings: {a: 1, b: 2}\n    user: pg\n",
         "`user` of group `bank` changed, and takes effect at the next restart"},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_conf *from =
            parse_group("    replication: {mode: sync}\n    settings: {a: 1, b: 2}\n");
        struct fm_conf *to = parse_group(cases[i].to);
        fm_conf_report_init(&report);
        assert_int_equal(fm_conf_check_reload(from, from, to, &report), FM_ERR_OK);
        assert_int_equal(report.n, cases[i].said ? 1 : 0);
        if (cases[i].said)
            assert_string_equal(report.finding[0].what, cases[i].said);
        fm_conf_report_deinit(&report);
        fm_conf_free(from);
        fm_conf_free(to);
    }
}

static bool is_said(const char *what, uint32_t line)
{
    for (size_t i = 0; i < report.n; i++)
        if (strcmp(report.finding[i].what, what) == 0 && report.finding[i].pos.line == line)
            return true;
    return false;
}

static void a_group_that_comes_or_goes_is_kept_as_it_is_agreed(void **state)
{
    (void)state;
    struct fm_conf *with = parse_group("    replication: {mode: sync}\n");
    fm_conf_report_init(&report);
    struct fm_conf *without = fm_conf_parse(FM_STR(GROUP_HEAD), "test.yaml", &report);
    assert_non_null(without);
    fm_conf_report_deinit(&report);
    fm_conf_report_init(&report);
    assert_int_equal(fm_conf_check_reload(without, without, with, &report), FM_ERR_OK);
    assert_int_equal(report.n, 1);
    assert_true(is_said(
        "the group `bank` changed: agents keep what is agreed until `fulmar config apply`", 15));
    assert_int_equal(fm_conf_check_reload(with, with, without, &report), FM_ERR_OK);
    assert_int_equal(report.n, 2);
    assert_true(is_said(
        "the group `bank` changed: agents keep what is agreed until `fulmar config apply`", 1));
    fm_conf_report_deinit(&report);
    fm_conf_free(with);
    fm_conf_free(without);
}

static void gates_listen_where_it_was_said(void **state)
{
    (void)state;
    struct fm_conf *c = parse_group("    replication: {mode: sync}\n"
                                    "    listen: {read-write: {west-1: \"127.0.0.1:6432\", "
                                    "north-1: \"127.0.0.1:6433\"}, "
                                    "read-only: {north-1: \"127.0.0.1:6434\"}, read-lag: 5s}\n");
    const struct fm_conf_group *g = c->groups;
    unsigned west = g->nodes[0].host, north = g->nodes[1].host;
    assert_true(g->listen.present);
    assert_int_equal(g->listen.read_lag_ms, 5000);
    assert_str(fm_conf_group_listen(c, g, west, false)->text, "127.0.0.1:6432");
    assert_str(fm_conf_group_listen(c, g, north, false)->text, "127.0.0.1:6433");
    assert_str(fm_conf_group_listen(c, g, north, true)->text, "127.0.0.1:6434");
    assert_null(fm_conf_group_listen(c, g, west, true));
    fm_conf_free(c);
}

/* No application, no routes: alone, and beside a context that has both. */
static void a_context_may_be_only_a_database(void **state)
{
    (void)state;
#define ALONE(regions, contexts)                                                                   \
    "fulmar: 1\nservice: bank\ncoordination: {sqlite: /x/c.db}\npeer-tls: plaintext\nhosts:\n"     \
    "  west-1: {region: west, roles: [gate, health, controller, coordination, postgres], "         \
    "address: 127.0.0.1}\n"                                                                        \
    "  north-1: {region: north, roles: [gate, health, controller, postgres], address: "            \
    "127.0.0.1, gate: \"127.0.0.1:7200\", peer: \"127.0.0.1:7201\", admin: "                       \
    "\"127.0.0.1:7202\"}\n" regions                                                                \
    "contexts:\n  ledger: {topology: active-passive, home: west}\n" contexts                       \
    "groups:\n  ledger:\n    contexts: [ledger]\n"                                                 \
    "    nodes: {west-1: {data: /d/w}, north-1: {data: /d/n, port: 5433}}\n"                       \
    "    replication: {mode: sync}\n"
    struct fm_conf *c = parse(ALONE("regions: {west: {}, north: {}}\n", ""));
    assert_true(fm_conf_is_database(&c->contexts[0]));
    assert_int_equal(c->contexts[0].app.n, 0);
    assert_int_equal(c->contexts[0].idempotency.key, FM_KEY_IGNORED);
    assert_false(fm_conf_is_journaled(&c->contexts[0]));
    assert_int_equal(c->regions[0].npools, 0);
    fm_conf_free(c);
    c = parse(
        ALONE("regions: {west: {apps: [\"10.0.0.1:80\"]}, north: {apps: [\"10.0.0.2:80\"]}}\n",
              "  shop: {topology: multi-write, routes: [\"/**\"], needs: []}\n"));
    assert_true(fm_conf_is_database(&c->contexts[0]));
    assert_false(fm_conf_is_database(&c->contexts[1]));
    assert_str(c->contexts[1].app, "default");
    assert_int_equal(c->contexts[0].app.n, 0);
    fm_conf_free(c);
}

FM_TEST_MAIN(fm_test(a_context_may_be_only_a_database), fm_test(gates_listen_where_it_was_said),
             fm_test(a_changed_group_is_kept_as_it_is_agreed),
             fm_test(a_group_that_comes_or_goes_is_kept_as_it_is_agreed),
             fm_test(a_group_of_hooks_has_neither_nodes_nor_a_bound),
             fm_test(nodes_of_a_zone_have_its_number), fm_test(a_group_has_its_defaults),
             fm_test(a_node_is_dialed_as_the_file_says),
             fm_test(the_credit_is_the_least_that_is_said),
             fm_test(nodes_of_the_region_of_the_primary_may_have_no_credit),
             fm_test(a_group_has_what_is_said),
             fm_test(a_group_is_found_by_its_context_and_its_hosts),
             fm_test(secrets_are_where_they_were_said_or_in_the_state))
