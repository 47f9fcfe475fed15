/* The control side: what it is told becomes health, health becomes shares that workers read, and a
 * reload forgets nothing that goes on. */
#include "directed.h"

#include <stdio.h>
#include <stdlib.h>

enum { WEST, NORTH };
enum { LEDGER, PAGES };

static const struct fm_event *last_event(void)
{
    assert_true(director.nevents > 0);
    return &director.event[(director.nevents - 1) % FM_EVENTS_MAX];
}

static void everything_is_up_until_something_is_known(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_EDGE, 0);
    for (unsigned r = 0; r < 2; r++)
        for (unsigned c = 0; c < 2; c++) {
            assert_int_equal(directed_state(r, c), FM_HEALTH_UP);
            assert_int_equal(directed_share(r, c), 1000);
        }
    assert_int_equal(director.generation, 1);
    assert_int_equal(director.view->nendpoints, 4);
    assert_true(director.names_known);
    assert_int_equal(director.nevents, 0);
}

static unsigned told;

static void transition(struct fm_director *d, const struct fm_event *e)
{
    assert_ptr_equal(d, &director);
    assert_int_equal(e->number, d->nevents);
    told++;
}

static void failing_probes_move_one_context(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_EDGE, 0);
    told = 0;
    director.transition = transition;
    directed_probe_down(WEST, LEDGER, "west-1: card-network is bad");
    assert_int_equal(directed_share(WEST, LEDGER), 0);
    assert_int_equal(directed_share(WEST, PAGES), 1000);
    assert_int_equal(directed_share(NORTH, LEDGER), 1000);
    uint64_t word = atomic_load(&fm_board_slot(director.board, WEST, LEDGER)->word);
    assert_int_equal(fm_board_epoch(word), 1);
    assert_int_equal(told, 1);
    const struct fm_event *e = last_event();
    assert_string_equal(e->region, "west");
    assert_string_equal(e->context, "ledger");
    assert_int_equal(e->from, FM_HEALTH_UP);
    assert_int_equal(e->to, FM_HEALTH_DOWN);
    assert_int_equal(e->why, FM_HEALTH_WHY_PROBES_FAIL);
    assert_string_equal(e->text, "west-1: card-network is bad");
    assert_true(e->wall_ns > 0 && e->boot_ns > 0);
}

static void it_says_when_no_region_is_well(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_EDGE, 0);
    directed_probe_down(WEST, LEDGER, "no");
    assert_false(director.all_down[LEDGER]);
    directed_probe_down(NORTH, LEDGER, "no");
    assert_true(director.all_down[LEDGER]);
    assert_false(director.all_down[PAGES]);
}

/* Errors one after the other, as long as it is up. */
static void traffic_fails(unsigned region, unsigned context)
{
    for (int i = 0; i < 20 && directed_state(region, context) == FM_HEALTH_UP; i++) {
        directed_count(region, context, FM_OUTCOME_ERROR, 1);
        directed_ring();
        net_skip_ms(10);
    }
    assert_int_equal(directed_state(region, context), FM_HEALTH_DOWN);
}

static void what_workers_count_takes_a_region_down(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_EDGE, 0);
    traffic_fails(NORTH, PAGES);
    assert_in_range(last_event()->why, FM_HEALTH_WHY_FAILURES, FM_HEALTH_WHY_FAILURE_RATIO);
    assert_non_null(strstr(last_event()->text, "errors"));
    assert_int_equal(directed_state(NORTH, LEDGER), FM_HEALTH_UP);
}

static void counts_are_news_once_and_old_ones_never(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_EDGE, 0);
    directed_count(WEST, LEDGER, FM_OUTCOME_ERROR, 4);
    directed_ring();
    struct fm_health_counts w = fm_health_window(fm_director_health(&director, WEST, LEDGER));
    assert_int_equal(w.error, 4);
    directed_ring(); /* nothing new */
    w = fm_health_window(fm_director_health(&director, WEST, LEDGER));
    assert_int_equal(w.error, 4);
    directed_count(WEST, LEDGER, FM_OUTCOME_RESET, 3);
    struct fm_board_counts *c = fm_board_counts(director.board, 0, WEST, LEDGER);
    fm_counter_add(&c->old[FM_OUTCOME_RESET], 3); /* of requests from before its last trial */
    directed_ring();
    w = fm_health_window(fm_director_health(&director, WEST, LEDGER));
    assert_int_equal(w.reset, 0);
}

static void all_who_use_a_pool_learn_that_nobody_is_there(void **state)
{
    (void)state;
    static const char shared[] =
        "fulmar: 1\nservice: shop\nedge: {listen: [{address: \"127.0.0.1:80\"}]}\n"
        "regions: {west: {apps: {a: [\"10.0.1.1:80\"], b: [\"10.0.1.2:80\"]}}}\n"
        "contexts:\n"
        "  one: {topology: multi-write, app: a, routes: [\"/1\"], needs: []}\n"
        "  two: {topology: multi-write, app: a, routes: [\"/2\"], needs: []}\n"
        "  three: {topology: multi-write, app: b, routes: [\"/3\"], needs: []}\n";
    directed_open(shared, FM_PROXY_EDGE, 0);
    fm_counter_inc(&fm_board_counts(director.board, 0, 0, 1)->nobody);
    directed_ring();
    assert_int_equal(directed_state(0, 0), FM_HEALTH_DOWN);
    assert_int_equal(directed_state(0, 1), FM_HEALTH_DOWN);
    assert_int_equal(directed_state(0, 2), FM_HEALTH_UP);
    assert_int_equal(last_event()->why, FM_HEALTH_WHY_UNREACHABLE);
}

static void a_region_comes_back_over_canaries(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_EDGE, 0);
    directed_probe_down(WEST, LEDGER, "no");
    net_skip_ms(70 * 1000); /* the longest hold */
    fm_loop_turn(&net.loop, 0);
    for (int i = 0; i < 8 && directed_state(WEST, LEDGER) == FM_HEALTH_DOWN; i++)
        fm_director_probe(&director, WEST, LEDGER, true, FM_STR("ok"));
    assert_int_equal(directed_state(WEST, LEDGER), FM_HEALTH_TRIAL);
    assert_int_equal(directed_share(WEST, LEDGER), 0);
    struct fm_board_slot *slot = fm_board_slot(director.board, WEST, LEDGER);
    assert_true(atomic_load(&slot->tried_ns) > 0);
    for (int i = 0; i < 8 && directed_state(WEST, LEDGER) == FM_HEALTH_TRIAL; i++) {
        assert_int_equal(atomic_exchange(&slot->canary, FM_CANARY_NONE), FM_CANARY_REPEATABLE);
        directed_count(WEST, LEDGER, FM_OUTCOME_OK, 1);
        directed_ring();
    }
    assert_int_equal(directed_state(WEST, LEDGER), FM_HEALTH_RAMP);
    unsigned share = directed_share(WEST, LEDGER);
    assert_in_range(share, 1, 200);
    for (int i = 0; i < 20 && directed_state(WEST, LEDGER) == FM_HEALTH_RAMP; i++) {
        net_skip_ms(500);
        directed_count(WEST, LEDGER, FM_OUTCOME_OK, 5);
        directed_ring();
        assert_true(directed_share(WEST, LEDGER) >= share);
        share = directed_share(WEST, LEDGER);
    }
    assert_int_equal(directed_state(WEST, LEDGER), FM_HEALTH_UP);
    assert_int_equal(share, 1000);
}

static void probes_are_quicker_in_doubt(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_EDGE, 0);
    for (int i = 0; i < 8; i++)
        fm_director_probe(&director, WEST, LEDGER, true, FM_STR("ok"));
    directed_probe_down(NORTH, LEDGER, "no");
    for (int i = 0; i < 50; i++) {
        assert_in_range(fm_director_probe_in_ms(&director, WEST, LEDGER), 250, 750);
        assert_in_range(fm_director_probe_in_ms(&director, NORTH, LEDGER), 1, 100);
    }
}

static void a_gate_leaves_nobody_but_knows_its_instances(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_GATE, NORTH);
    for (int i = 0; i < 8; i++)
        fm_director_probe(&director, NORTH, LEDGER, false, FM_STR("no"));
    fm_director_nobody(&director, NORTH, LEDGER);
    directed_count(NORTH, LEDGER, FM_OUTCOME_ERROR, 100);
    directed_ring();
    net_skip_ms(200);
    net_turn_ms(&net, 5);
    assert_int_equal(directed_state(NORTH, LEDGER), FM_HEALTH_UP);
    assert_true(fm_director_has_instance(&director, NORTH, LEDGER));
    unsigned e = fm_view_pool(director.view, NORTH, LEDGER)->first;
    fm_director_endpoint(&director, e, false);
    assert_false(fm_director_has_instance(&director, NORTH, LEDGER));
    assert_true(fm_director_has_instance(&director, NORTH, PAGES));
    fm_director_endpoint(&director, e, true);
    assert_true(fm_director_has_instance(&director, NORTH, LEDGER));
    fm_director_endpoint(&director, 4711, false); /* of a view that is gone */
}

static const char turned[] =
    "fulmar: 1\n"
    "service: shop\n"
    "edge: {listen: [{address: \"127.0.0.1:8080\"}]}\n"
    "regions:\n"
    "  east: {apps: {core: [\"10.0.3.1:80\"]}}\n"
    "  west: {apps: {core: [\"10.0.1.1:80\", \"10.0.1.7:80\"]}}\n"
    "contexts:\n"
    "  cards: {topology: multi-write, app: core, routes: [\"/cards\"], needs: []}\n"
    "  ledger: {topology: multi-write, app: core, routes: [\"/ledger\"], needs: []}\n";

static void a_reload_keeps_what_is_known_by_name(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_EDGE, 0);
    directed_probe_down(WEST, LEDGER, "the evidence");
    directed_probe_down(NORTH, LEDGER, "of another");
    fm_director_endpoint(&director, 0, false); /* 10.0.1.1 */
    uint64_t events = director.nevents;
    struct fm_director_config c = director.config;
    struct fm_error e;
    assert_int_equal(fm_director_reload(&director, given_conf(turned), &c, &e), FM_ERR_OK);
    assert_int_equal(director.generation, 2);
    assert_int_equal(director.nevents, events);
    assert_int_equal(directed_state(1, 1), FM_HEALTH_DOWN);
    assert_int_equal(directed_share(1, 1), 0);
    assert_string_equal(director.evidence[1 * 2 + 1], "the evidence");
    assert_int_equal(directed_state(0, 0), FM_HEALTH_UP);
    assert_int_equal(directed_state(0, 1), FM_HEALTH_UP);
    assert_int_equal(directed_state(1, 0), FM_HEALTH_UP);
    assert_int_equal(director.view->nendpoints, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(atomic_load(&director.view->endpoints[i].probe_down),
                         strcmp(director.view->endpoints[i].text, "10.0.1.1:80") == 0);
    traffic_fails(1, 0); /* it goes on with the new board */
}

static const char celled[] =
    "fulmar: 1\n"
    "service: bank\n"
    "edge: {listen: [{address: \"127.0.0.1:1\"}]}\n"
    "coordination: {sqlite: /tmp/none.db}\n"
    "hosts:\n"
    "  w: {region: west, roles: [gate, health, controller, coordination], address: 127.0.0.1,\n"
    "      gate: \"127.0.0.1:%u\", peer: \"127.0.0.1:3\", admin: \"127.0.0.1:4\"}\n"
    "  n: {region: north, roles: [gate, health, controller], address: 127.0.0.1,\n"
    "      gate: \"127.0.0.1:5\", peer: \"127.0.0.1:6\", admin: \"127.0.0.1:7\"}\n"
    "regions: {west: {apps: [\"127.0.0.1:8\"]}, north: {apps: [\"127.0.0.1:9\"]}}\n"
    "contexts:\n"
    "  %s: {topology: affinity, cells: %u, key: {path: card}, routes: [\"/c/{card}\"]}\n";

static enum fm_err reload_celled(unsigned gate, const char *context, unsigned cells)
{
    char text[2048];
    struct fm_director_config c = director.config;
    struct fm_error e;
    snprintf(text, sizeof text, celled, gate, context, cells);
    return fm_director_reload(&director, given_conf(text), &c, &e);
}

static void a_reload_that_fails_leaves_the_names_of_before(void **state)
{
    (void)state;
    char text[2048];
    size_t n;
    snprintf(text, sizeof text, celled, 2, "cards", 4);
    directed_open(text, FM_PROXY_EDGE, 0);
    assert_int_equal(reload_celled(2, "others", 4), FM_ERR_OK);
    const struct fm_board *board = director.board;
    assert_int_equal(reload_celled(99, "cards", 8), FM_ERR_STATE); /* it has 4 for ever */
    assert_ptr_equal(director.board, board);
    struct fm_view_address *a = fm_names_addresses(&director.names, &n);
    assert_non_null(a);
    assert_int_equal(n, 2);
    for (size_t i = 0; i < n; i++) {
        char addr[FM_ADDR_TEXT_MAX];
        fm_addr_format(&a[i].addr, addr);
        assert_string_equal(addr, a[i].region == 0 ? "127.0.0.1:2" : "127.0.0.1:5");
        assert_string_equal(a[i].peer, a[i].region == 0 ? "w" : "n");
    }
    free(a);
}

static void old_events_make_room(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_EDGE, 0);
    while (director.nevents < FM_EVENTS_MAX + 10) {
        directed_probe_down(WEST, LEDGER, "no");
        net_skip_ms(70 * 1000);
        fm_loop_turn(&net.loop, 0);
        for (int i = 0; i < 8 && directed_state(WEST, LEDGER) == FM_HEALTH_DOWN; i++)
            fm_director_probe(&director, WEST, LEDGER, true, FM_STR("ok"));
        assert_int_equal(directed_state(WEST, LEDGER), FM_HEALTH_TRIAL);
    }
    for (uint64_t n = director.nevents; n > director.nevents - FM_EVENTS_MAX; n--)
        assert_int_equal(director.event[(n - 1) % FM_EVENTS_MAX].number, n);
}

#define directed(fn) fm_test_with(fn, directed_setup, directed_teardown)

FM_TEST_MAIN(directed(everything_is_up_until_something_is_known),
             directed(failing_probes_move_one_context), directed(it_says_when_no_region_is_well),
             directed(what_workers_count_takes_a_region_down),
             directed(counts_are_news_once_and_old_ones_never),
             directed(all_who_use_a_pool_learn_that_nobody_is_there),
             directed(a_region_comes_back_over_canaries), directed(probes_are_quicker_in_doubt),
             directed(a_reload_that_fails_leaves_the_names_of_before),
             directed(a_gate_leaves_nobody_but_knows_its_instances),
             directed(a_reload_keeps_what_is_known_by_name), directed(old_events_make_room))
