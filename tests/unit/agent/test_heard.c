/* What nodes of groups have said to a host: who counts for which region, and for how long. */
#include "test.h"

#include "agent/heard.h"

static const char text[] =
    "fulmar: 1\nservice: bank\ncoordination: {sqlite: /x/c.db}\npeer-tls: plaintext\nhosts:\n"
    "  west-1: {region: west, roles: [gate, health, controller, coordination, postgres],"
    " address: 127.0.0.1}\n"
    "  north-1: {region: north, roles: [gate, health, controller, postgres], address: 127.0.0.1,"
    " gate: \"127.0.0.1:7200\", peer: \"127.0.0.1:7201\", admin: \"127.0.0.1:7202\"}\n"
    "regions: {west: {}, north: {}}\n"
    "contexts: {ledger: {topology: active-passive, home: west}}\n"
    "groups: {ledger: {contexts: [ledger], replication: {mode: sync},"
    " nodes: {west-1: {data: /w}, north-1: {data: /n, port: 5433}}}}\n";

enum { WEST, NORTH };

static void a_region_is_as_its_own_nodes_say(void **state)
{
    (void)state;
    struct fm_conf_report report;
    fm_conf_report_init(&report);
    struct fm_conf *conf = fm_conf_parse(fm_str_z(text), "test.yaml", &report);
    assert_non_null(conf);
    fm_conf_report_deinit(&report);
    struct fm_roster *r = fm_roster_new();
    struct fm_heard *h = fm_heard_new(r);
    assert_true(r && h);
    struct fm_mono now = {100 * FM_NS_PER_S};
    assert_int_equal(fm_heard_health(h, conf, 0, WEST, now), FM_GROUP_HEALTH_SILENT);
    int context = fm_roster_add_context(r, FM_STR("ledger"), 1);
    int west = fm_roster_add_host(r, FM_STR("west-1")),
        north = fm_roster_add_host(r, FM_STR("north-1"));
    assert_true(context >= 0 && west >= 0 && north >= 0);
    struct fm_group_report said = {.at = now, .state = FM_GROUP_PRIMARY};
    fm_heard_take(h, (unsigned)context, (unsigned)west, &said);
    assert_int_equal(fm_heard_health(h, conf, 0, WEST, now), FM_GROUP_HEALTH_WELL);
    assert_int_equal(fm_heard_health(h, conf, 0, NORTH, now), FM_GROUP_HEALTH_SILENT);
    said.state = FM_GROUP_CLONING;
    fm_heard_take(h, (unsigned)context, (unsigned)north, &said);
    assert_int_equal(fm_heard_health(h, conf, 0, NORTH, now), FM_GROUP_HEALTH_DOWN);
    said.state = FM_GROUP_STANDBY;
    fm_heard_take(h, (unsigned)context, (unsigned)north, &said);
    assert_int_equal(fm_heard_health(h, conf, 0, NORTH, now), FM_GROUP_HEALTH_WELL);
    now = fm_mono_add_ms(now, 2001);
    assert_int_equal(fm_heard_health(h, conf, 0, NORTH, now), FM_GROUP_HEALTH_SILENT);
    /* hosts that are in the file no more give way */
    said.at = now;
    for (unsigned i = 0; i < 2 * FM_GROUP_NODES_MAX; i++)
        fm_heard_take(h, (unsigned)context, 100 + i, &said);
    said.at = fm_mono_add_ms(now, 1);
    fm_heard_take(h, (unsigned)context, (unsigned)west, &said);
    assert_int_equal(fm_heard_health(h, conf, 0, WEST, said.at), FM_GROUP_HEALTH_WELL);
    fm_heard_free(h);
    fm_roster_free(r);
    fm_conf_free(conf);
}

FM_TEST_MAIN(fm_test(a_region_is_as_its_own_nodes_say))
