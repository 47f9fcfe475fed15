/* Dependency checks on a loop: what their results mean for the contexts that need them, when they
 * run, and what a reload keeps. The clock is moved on, so nothing here waits. */
#include "net.h"

#include "agent/checks.h"

#include <stdio.h>

static struct net net;
static struct fm_mailbox box;
static struct fm_resolver *resolver;
static struct fm_checks *checks;
static struct fm_conf *conf;
static struct fm_addr at;
static int listener;

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    net_open(&net, 16 * 1024, 64);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(fm_mailbox_open(&box, &net.loop, NULL, NULL), FM_ERR_OK);
    resolver = fm_resolver_new(&box, NULL);
    assert_non_null(resolver);
    listener = raw_listen(&at);
    return rc;
}

static void stop_listening(void)
{
    struct peer l = {.fd = listener};
    if (listener >= 0)
        peer_close(&l);
    listener = -1;
}

static int teardown(void **state)
{
    fm_resolver_free(resolver);
    fm_checks_free(checks);
    fm_conf_free(conf);
    stop_listening();
    fm_mailbox_close(&box);
    net_close(&net);
    return fm_test_fds_after(state);
}

/* A configuration with these checks in the region; %u is the listener's port. */
static struct fm_conf *with_checks(const char *format)
{
    static char inner[1024], text[2048];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(inner, sizeof inner, format, fm_addr_port(&at), fm_addr_port(&at));
#pragma GCC diagnostic pop
    (void)snprintf(text, sizeof text,
                   "fulmar: 1\nservice: shop\n"
                   "hosts: {west-1: {region: west, roles: [health], address: 127.0.0.1}}\n"
                   "regions: {west: {apps: [\"127.0.0.1:1\"], checks: {%s}}}\n"
                   "contexts:\n"
                   "  nothing: {topology: multi-write, routes: [\"/0\"], needs: []}\n"
                   "  one: {topology: multi-write, routes: [\"/1\"], needs: [a]}\n"
                   "  both: {topology: multi-write, routes: [\"/2\"], needs: [a, b]}\n",
                   inner);
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    struct fm_conf *c = fm_conf_parse(fm_str_z(text), "given.yaml", &r);
    for (size_t i = 0; i < r.n && !c; i++)
        print_error("%u:%u: %s\n", r.finding[i].pos.line, r.finding[i].pos.col, r.finding[i].what);
    fm_conf_report_deinit(&r);
    assert_non_null(c);
    return c;
}

static void open_checks(const char *format)
{
    conf = with_checks(format);
    checks = fm_checks_new(&net.loop, resolver, conf, 0, NULL);
    assert_non_null(checks);
}

static bool capable(unsigned context)
{
    const char *why;
    return fm_checks_capable(checks, &conf->contexts[context], &why);
}

static bool why_not(unsigned context, const char *expected)
{
    const char *why = "";
    if (fm_checks_capable(checks, &conf->contexts[context], &why))
        return false;
    return strncmp(why, expected, strlen(expected)) == 0;
}

/* {state, last_error} of a check. */
static bool is_state(const char *name, const char *state)
{
    json_t *all = fm_checks_json(checks);
    const char *s = json_string_value(json_object_get(json_object_get(all, name), "state"));
    bool same = s && strcmp(s, state) == 0;
    json_decref(all);
    return same;
}

#define GOOD_A                                                                                     \
    "a: {tcp: \"127.0.0.1:%u\", interval: 10s, timeout: 1s, max-age: 30s, fall: 2, rise: 2}"
#define FALSE_B ", b: {command: [\"false\"], interval: 10s, timeout: 5s, max-age: 30s, fall: 1}"

static void a_context_is_capable_when_all_it_needs_is_good(void **state)
{
    (void)state;
    open_checks(GOOD_A FALSE_B);
    assert_true(capable(0));
    assert_true(why_not(1, "a is unknown"));
    NET_UNTIL(&net, capable(1));
    NET_UNTIL(&net, why_not(2, "b is bad: exit code 1"));
    assert_true(is_state("a", "good"));
}

static void failures_in_a_row_count(void **state)
{
    (void)state;
    open_checks(GOOD_A FALSE_B);
    NET_UNTIL(&net, capable(1));
    stop_listening();
    net_skip_ms(10 * 1000);
    net_turn_ms(&net, 10);
    assert_true(capable(1)); /* once */
    net_skip_ms(10 * 1000);
    NET_UNTIL(&net, why_not(1, "a is bad: "));
    assert_true(why_not(1, "a is bad: nobody") || why_not(1, "a is bad: cannot connect"));
}

static void an_old_result_counts_as_bad(void **state)
{
    (void)state;
    open_checks(GOOD_A FALSE_B);
    NET_UNTIL(&net, capable(1));
    net_skip_ms(31 * 1000); /* the loop was away: no turn, so no new result */
    assert_true(why_not(1, "a is stale"));
    assert_true(is_state("a", "stale"));
    NET_UNTIL(&net, capable(1));
}

static unsigned accepted(void)
{
    unsigned n = 0;
    struct peer p;
    for (int fd; (fd = accept(listener, NULL, NULL)) >= 0; n++) {
        peer_adopt(&p, fd);
        peer_close(&p);
    }
    return n;
}

static void the_pause_is_never_longer_than_the_interval(void **state)
{
    (void)state;
    open_checks(GOOD_A FALSE_B);
    unsigned runs = 0;
    NET_UNTIL(&net, (runs += accepted()) == 1);
    for (unsigned i = 2; i < 30; i++) {
        net_turn_ms(&net, 2);
        net_skip_ms(8 * 1000);
        net_turn_ms(&net, 2);
        assert_int_equal(accepted(), 0); /* nor much shorter */
        net_skip_ms(2 * 1000);
        runs = 0;
        NET_UNTIL(&net, (runs += accepted()) == 1);
    }
}

static void results_are_told_with_age_and_latency(void **state)
{
    (void)state;
    open_checks(GOOD_A FALSE_B);
    json_t *all = fm_checks_json(checks), *a = json_object_get(all, "a");
    assert_int_equal(json_object_size(all), 2);
    assert_string_equal(json_string_value(json_object_get(a, "type")), "tcp");
    assert_string_equal(json_string_value(json_object_get(a, "state")), "unknown");
    assert_true(json_is_null(json_object_get(a, "age_ms")));
    assert_true(json_is_null(json_object_get(a, "latency_ms")));
    assert_true(json_is_null(json_object_get(a, "last_error")));
    json_decref(all);
    NET_UNTIL(&net, is_state("a", "good") && is_state("b", "bad"));
    net_skip_ms(4000);
    all = fm_checks_json(checks);
    a = json_object_get(all, "a");
    assert_in_range(json_integer_value(json_object_get(a, "age_ms")), 4000, 14000);
    assert_true(json_is_real(json_object_get(a, "latency_ms")));
    assert_true(json_is_null(json_object_get(a, "last_error")));
    json_t *b = json_object_get(all, "b");
    assert_string_equal(json_string_value(json_object_get(b, "last_error")), "exit code 1: ");
    json_decref(all);
}

static void a_reload_keeps_what_is_known_by_name(void **state)
{
    (void)state;
    open_checks(GOOD_A FALSE_B);
    NET_UNTIL(&net, capable(1) && is_state("b", "bad"));
    struct fm_conf *next = with_checks(
        "c: {command: [\"true\"]}, b: {tcp: \"127.0.0.1:%u\", interval: 10s, timeout: 1s, "
        "max-age: 30s}, a: {tcp: \"127.0.0.1:%u\", interval: 10s, timeout: 1s, max-age: 30s}");
    assert_int_equal(fm_checks_reset(checks, next, 0, NULL), FM_ERR_OK);
    fm_conf_free(conf); /* nothing may look at it any more */
    conf = next;
    assert_true(capable(1));
    assert_true(is_state("b", "bad")); /* another target, but nothing is known of it yet */
    assert_true(is_state("c", "unknown"));
    NET_UNTIL(&net, is_state("c", "good"));
}

static void a_reload_in_the_middle_of_runs_leaves_nothing(void **state)
{
    (void)state;
    static const char busy[] =
        "a: {http: \"http://127.0.0.1:%u/\", timeout: 60s}, b: {tls: \"localhost:%u\", name: x, "
        "timeout: 60s}, c: {command: [sleep, \"1000\"], timeout: 60s}, "
        "d: {dns: localhost, interval: 50ms}";
    open_checks(busy);
    for (int i = 0; i < 10; i++) {
        net_turn_ms(&net, i % 3);
        struct fm_conf *next = with_checks(busy);
        assert_int_equal(fm_checks_reset(checks, next, 0, NULL), FM_ERR_OK);
        fm_conf_free(conf);
        conf = next;
    }
    NET_UNTIL(&net, is_state("d", "good"));
    assert_true(is_state("a", "unknown"));
}

#define with_loop(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_loop(a_context_is_capable_when_all_it_needs_is_good),
             with_loop(failures_in_a_row_count), with_loop(an_old_result_counts_as_bad),
             with_loop(the_pause_is_never_longer_than_the_interval),
             with_loop(results_are_told_with_age_and_latency),
             with_loop(a_reload_keeps_what_is_known_by_name),
             with_loop(a_reload_in_the_middle_of_runs_leaves_nothing))
