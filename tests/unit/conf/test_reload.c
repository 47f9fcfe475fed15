/* What a running process may take over. */
#include "test.h"

#include "conf/conf.h"

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
        enum fm_err err = fm_conf_check_reload(from, to, &r);
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

FM_TEST_MAIN(fm_test(refuses_what_is_fixed_and_warns_of_restarts))
