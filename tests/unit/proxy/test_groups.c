/* The groups that a gate has doors of: from the configuration, and from what nodes report. */
#include "net.h"

#include "core/group.h"
#include "proxy/groups.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static struct net net;
static struct fm_seats *seats;
static struct fm_seats_context *ledger;
static struct fm_conf *conf, *grown;
static struct fm_groups *groups;
static struct fm_names names;
static unsigned workers;
static struct peer client, server;
static int listener, agent; /* of the node of west-1, and the peer port of that host */
static struct fm_addr door[FM_DOOR_KIND_COUNT], second; /* of west-1, and of west-2 */
static struct fm_addr south, till; /* of south-1; and of west-1, for a group that comes later */

/* `grows`: with a node on west-2, and another group. */
static struct fm_conf *parse(unsigned postgres, unsigned peer, bool grows)
{
    static struct fm_conf_report report;
    char text[4096], more[512] = "";
    if (grows)
        snprintf(more, sizeof more,
                 "  till:\n    contexts: [till]\n    replication: {mode: sync}\n"
                 "    nodes: {west-1: {port: 11, data: /x/till}, north-1: {port: 12, data: /x/t}}\n"
                 "    listen: {read-write: {west-1: \"127.0.0.1:%u\"}}\n",
                 fm_addr_port(&till));
    snprintf(
        text, sizeof text,
        "fulmar: 1\nservice: bank\ncoordination: {sqlite: /x/c.db}\npeer-tls: plaintext\n"
        "edge: {listen: [{address: \"127.0.0.1:8090\"}]}\nhosts:\n"
        "  west-1: {region: west, roles: [gate, health, controller, coordination, postgres], "
        "address: 127.0.0.1, peer: \"127.0.0.1:%u\"}\n"
        "  north-1: {region: north, roles: [gate, health, controller, postgres], address: "
        "127.0.0.1, gate: \"127.0.0.1:7200\", peer: \"127.0.0.1:7201\", admin: "
        "\"127.0.0.1:7202\"}\n"
        "  west-2: {region: west, roles: [gate%s], address: 127.0.0.1, gate: \"127.0.0.1:7300\", "
        "peer: \"127.0.0.1:7301\", admin: \"127.0.0.1:7302\"}\n"
        "  south-1: {region: south, roles: [gate, health, controller], address: 127.0.0.1, gate: "
        "\"127.0.0.1:7400\", peer: \"127.0.0.1:7401\", admin: \"127.0.0.1:7402\"}\n"
        "regions: {west: {apps: [\"127.0.0.1:8080\"]}, north: {apps: [\"127.0.0.1:8081\"]}, "
        "south: {apps: [\"127.0.0.1:8082\"]}}\n"
        "contexts:\n  ledger: {topology: active-passive, home: west, routes: [/l], needs: [], "
        "when-away: {hold: 5s}}\n"
        "  till: {topology: active-passive, home: west, routes: [/t], needs: []}\n"
        "groups:\n  ledger:\n    contexts: [ledger]\n    replication: {mode: sync}\n"
        "    nodes: {%swest-1: {port: %u, data: /x/west}, north-1: {port: 9, data: /x/north}}\n"
        "    listen: {read-write: {west-1: \"127.0.0.1:%u\", west-2: \"127.0.0.1:%u\", south-1: "
        "\"127.0.0.1:%u\"}, read-only: {west-1: \"127.0.0.1:%u\"}}\n%s",
        peer, grows ? ", postgres" : "", grows ? "west-2: {port: 10, data: /x/west-2}, " : "",
        postgres, fm_addr_port(&door[FM_DOOR_READ_WRITE]), fm_addr_port(&second),
        fm_addr_port(&south), fm_addr_port(&door[FM_DOOR_READ_ONLY]), more);
    fm_conf_report_init(&report);
    struct fm_conf *c = fm_conf_parse(fm_str_z(text), "test.yaml", &report);
    for (size_t i = 0; i < report.n; i++)
        print_error("%u:%u: %s\n", report.finding[i].pos.line, report.finding[i].pos.col,
                    report.finding[i].what);
    assert_non_null(c);
    fm_conf_report_deinit(&report);
    return c;
}

static void free_ports(void)
{
    struct fm_addr *all[] = {&door[0], &door[1], &second, &south, &till};
    for (size_t i = 0; i < FM_COUNT(all); i++)
        close(raw_listen(all[i])); /* a port that nobody uses */
}

static enum fm_err open_groups(unsigned host, bool gate, struct fm_groups **out, struct fm_error *e)
{
    struct fm_groups_config c = {.conf = conf,
                                 .host = host,
                                 .seats = seats,
                                 .nworkers = workers,
                                 .names = gate ? &names : NULL};
    return fm_groups_open(&c, out, e);
}

static int setup(void **state)
{
    struct fm_error e = {0};
    struct fm_addr at, peer;
    net_open(&net, 1024, 4);
    int rc = fm_test_fds_before(state);
    listener = raw_listen(&at);
    agent = raw_listen(&peer);
    free_ports();
    workers = 1;
    conf = parse(fm_addr_port(&at), fm_addr_port(&peer), false);
    grown = parse(fm_addr_port(&at), fm_addr_port(&peer), true);
    seats = fm_seats_new(NULL, NULL, NULL);
    assert_int_equal(fm_seats_context(seats, FM_STR("ledger"), 1, &ledger, &e), FM_ERR_OK);
    fm_names_init(&names, NULL, &net.loop, NULL, NULL);
    if (open_groups(0, true, &groups, &e))
        fail_msg("%s", e.msg);
    assert_non_null(groups);
    return rc;
}

static int teardown(void **state)
{
    fm_groups_free(groups);
    fm_seats_free(seats);
    fm_conf_free(conf);
    fm_conf_free(grown);
    close(listener);
    close(agent);
    int rc = fm_test_fds_after(state);
    net_close(&net);
    return rc;
}

static void grant(uint64_t epoch)
{
    fm_seats_publish_sublease(
        ledger, 0,
        &(struct fm_sublease_cell){.until = fm_mono_add_ms(fm_mono_now(), 60000),
                                   .epoch = {epoch},
                                   .known = {epoch},
                                   .holder = (uint8_t)conf->hosts[0].region});
    fm_doors_authority_changed(fm_groups_doors(groups));
}

static void report(const char *host, enum fm_group_state state, uint64_t epoch)
{
    struct fm_group_report r = {.at = fm_mono_now(),
                                .state = (uint8_t)state,
                                .epoch = {epoch},
                                .recovery = state == FM_GROUP_STANDBY,
                                .flush = {1000},
                                .replay = {1000}};
    fm_groups_reported(groups, FM_STR("ledger"), fm_str_z(host), &r);
}

/* What the status says of a door: "" where it is open. */
static bool says(const char *kind, const char *why)
{
    json_t *all = fm_doors_json(fm_groups_doors(groups));
    json_t *of = json_object_get(json_array_get(all, 0), kind);
    const char *said = json_string_value(json_object_get(of, "why"));
    bool same = strcmp(said ? said : "", why) == 0;
    assert_int_equal(json_is_true(json_object_get(of, "open")), said == NULL);
    json_decref(all);
    return same;
}

static void a_door_leads_to_the_node_of_its_host(void **state)
{
    (void)state;
    static const char hello[] = "\0\0\0\x17\0\x03\0\0user\0ann\0db\0x\0";
    assert_true(says("read_write", "moving"));
    grant(5);
    assert_true(says("read_write", "no-primary"));
    report("west-1", FM_GROUP_PRIMARY, 5);
    report("west-2", FM_GROUP_PRIMARY, 6); /* nobody of this group */
    assert_true(says("read_write", ""));
    peer_connect(&client, &door[FM_DOOR_READ_WRITE]);
    peer_send(&net, &client, hello, sizeof hello);
    peer_accept(&net, &server, listener);
    peer_close(&client);
    NET_UNTIL(&net, peer_is_over(&server));
    peer_close(&server);
}

static void a_node_of_another_region_is_out_of_reach(void **state)
{
    (void)state;
    grant(5);
    report("north-1", FM_GROUP_PRIMARY, 5);
    assert_true(says("read_write", "no-way"));
    assert_true(says("read_only", "no-way"));
}

static void readers_get_a_standby_that_has_what_the_primary_had(void **state)
{
    (void)state;
    grant(5);
    report("west-1", FM_GROUP_STANDBY, 0);
    assert_true(says("read_only", "no-primary")); /* how old it is nobody knows */
    report("north-1", FM_GROUP_PRIMARY, 5);
    report("west-1", FM_GROUP_STANDBY, 0);
    assert_true(says("read_only", ""));
    net_skip_ms(conf->groups[0].listen.read_lag_ms + 1);
    assert_false(says("read_only", ""));
}

/* west-2 is a gate without a node: it reaches the agent of west-1. */
static void a_gate_without_a_node_asks_the_agent_of_its_host(void **state)
{
    (void)state;
    static const char hello[] = "\0\0\0\x17\0\x03\0\0user\0ann\0db\0x\0";
    struct fm_error e;
    fm_groups_free(groups);
    if (open_groups(2, true, &groups, &e))
        fail_msg("%s", e.msg);
    grant(5);
    report("north-1", FM_GROUP_PRIMARY, 5);
    assert_true(says("read_write", "no-way")); /* a stamp does not reach across */
    report("north-1", FM_GROUP_STANDBY, 0);
    report("west-1", FM_GROUP_PRIMARY, 5);
    assert_true(says("read_write", ""));
    peer_connect(&client, &second);
    peer_send(&net, &client, hello, sizeof hello);
    peer_accept(&net, &server, agent);
    NET_UNTIL(&net, (peer_poll(&server), server.n > 4 && memcmp(server.in, "GET ", 4) == 0));
    assert_non_null(memmem(server.in, server.n, "/groups/ledger/door?as=primary&epoch=5 ", 39));
    assert_non_null(memmem(server.in, server.n, "Host: west-1\r\n", 14));
    peer_close(&client);
    NET_UNTIL(&net, peer_is_over(&server));
    peer_close(&server);
}

/* north-1 listens nowhere. */
static void who_has_a_node_has_a_door(void **state)
{
    (void)state;
    struct fm_groups *of_node = NULL;
    struct fm_error e;
    assert_int_equal(open_groups(1, true, &of_node, &e), FM_ERR_OK);
    assert_non_null(fm_groups_doors(of_node));
    fm_groups_free(of_node);
    assert_int_equal(open_groups(1, false, &of_node, &e), FM_ERR_OK); /* a host without a gate */
    assert_non_null(fm_groups_doors(of_node));
    fm_groups_free(of_node);
}

static bool refuses(const struct fm_addr *at)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    bool refused = connect(fd, &at->sa, at->len) < 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

/* A client goes on to the next host of its DSN. */
static void where_no_node_is_near_nobody_listens(void **state)
{
    (void)state;
    struct fm_error e;
    fm_groups_free(groups);
    assert_int_equal(open_groups(3, true, &groups, &e), FM_ERR_OK);
    NET_UNTIL(&net, refuses(&south));
}

static void reset(unsigned host, const struct fm_conf *to)
{
    struct fm_groups_config c = {
        .conf = to, .host = host, .seats = seats, .nworkers = workers, .names = &names};
    fm_groups_reset(groups, &c);
}

/* The node of west-2 stands before the others in what is agreed now. */
static void a_node_that_came_later_is_reached(void **state)
{
    (void)state;
    static const char hello[] = "\0\0\0\x17\0\x03\0\0user\0ann\0db\0x\0";
    grant(5);
    report("west-1", FM_GROUP_PRIMARY, 5);
    peer_connect(&client, &door[FM_DOOR_READ_WRITE]);
    peer_send(&net, &client, hello, sizeof hello);
    peer_accept(&net, &server, listener);
    reset(0, grown);
    assert_true(says("read_write", ""));
    peer_send(&net, &client, "x", 1);
    NET_UNTIL(&net, (peer_poll(&server), server.n == sizeof hello + 1)); /* it goes on */
    report("west-1", FM_GROUP_STANDBY, 0);
    NET_UNTIL(&net, peer_is_over(&client));
    peer_close(&client);
    peer_close(&server);
    report("west-2", FM_GROUP_PRIMARY, 5);
    assert_true(says("read_write", ""));
    reset(0, conf); /* and leaves: the primary goes on until the group was moved */
    assert_true(says("read_write", ""));
    report("west-2", FM_GROUP_PRIMARY, 5);
    assert_true(says("read_write", ""));
    report("west-2", FM_GROUP_STANDBY, 0);
    report("west-1", FM_GROUP_STANDBY, 0);
    assert_true(says("read_write", "no-primary"));
    reset(0, grown);
    report("west-2", FM_GROUP_PRIMARY, 5);
    assert_true(says("read_write", ""));
}

/* How many sockets listen there. */
static unsigned listeners(const struct fm_addr *at)
{
    char line[512], want[32];
    unsigned n = 0;
    FILE *f = fopen("/proc/net/tcp", "re");
    assert_non_null(f);
    snprintf(want, sizeof want, "0100007F:%04X 00000000:0000 0A", fm_addr_port(at));
    while (fgets(line, sizeof line, f))
        n += strstr(line, want) != NULL;
    assert_int_equal(fclose(f), 0);
    return n;
}

static void a_group_that_came_later_has_a_door(void **state)
{
    (void)state;
    struct fm_seats_context *context;
    struct fm_error e;
    fm_groups_free(groups);
    workers = 4; /* each of them listens */
    assert_int_equal(open_groups(0, true, &groups, &e), FM_ERR_OK);
    assert_true(refuses(&till));
    assert_int_equal(listeners(&door[FM_DOOR_READ_WRITE]), 4);
    reset(0, grown);
    NET_UNTIL(&net, listeners(&till) == 4);
    reset(0, grown);
    NET_UNTIL(&net, !refuses(&till));
    assert_int_equal(fm_seats_context(seats, FM_STR("till"), 1, &context, &e), FM_ERR_OK);
    assert_int_equal(fm_doors_find(fm_groups_doors(groups), FM_STR("till")), 1);
    reset(0, conf);
    NET_UNTIL(&net, refuses(&till)); /* it has no node any more */
    reset(0, grown);
    NET_UNTIL(&net, !refuses(&till));
}

#define TEST(name) fm_test_with(name, setup, teardown)

FM_TEST_MAIN(TEST(a_door_leads_to_the_node_of_its_host),
             TEST(a_node_of_another_region_is_out_of_reach),
             TEST(readers_get_a_standby_that_has_what_the_primary_had),
             TEST(a_gate_without_a_node_asks_the_agent_of_its_host),
             TEST(who_has_a_node_has_a_door), TEST(where_no_node_is_near_nobody_listens),
             TEST(a_node_that_came_later_is_reached), TEST(a_group_that_came_later_has_a_door))
