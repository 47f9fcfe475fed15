/* What a director says of itself, as JSON: intent and health apart, unknown is null. */
#include "directed.h"

#include "proxy/status.h"

#include <stdlib.h>

static json_t *doc;

static json_t *at(json_t *v, const char *key)
{
    json_t *one = json_object_get(v, key);
    if (!one)
        fail_msg("there is no `%s`", key);
    return one;
}

static const char *text(json_t *v, const char *key)
{
    return json_string_value(at(v, key));
}

static json_int_t number(json_t *v, const char *key)
{
    assert_true(json_is_integer(at(v, key)));
    return json_integer_value(at(v, key));
}

static json_t *slot(unsigned region, unsigned context)
{
    return json_array_get(at(json_array_get(at(doc, "regions"), region), "contexts"), context);
}

static void take(void)
{
    json_decref(doc);
    doc = json_object();
    assert_true(fm_status_add(&director, doc));
}

static int teardown(void **state)
{
    json_decref(doc);
    doc = NULL;
    return directed_teardown(state);
}

static void what_is_unknown_is_null(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_EDGE, 0);
    take();
    assert_string_equal(text(doc, "service"), "shop");
    assert_int_equal(number(doc, "generation"), 1);
    assert_int_equal(json_array_size(at(doc, "regions")), 2);
    assert_int_equal(json_array_size(at(doc, "events")), 0);
    json_t *s = slot(0, 0);
    assert_string_equal(text(s, "context"), "ledger");
    assert_string_equal(text(s, "health"), "up");
    assert_string_equal(text(s, "reason"), "start");
    assert_string_equal(text(s, "probe"), "not probed yet");
    assert_true(json_is_null(at(s, "last_sent_at")));
    assert_true(json_is_null(at(s, "last_sent_boot_ns")));
    json_t *c = json_array_get(at(doc, "contexts"), 1);
    assert_string_equal(text(c, "context"), "pages");
    assert_true(json_is_null(at(c, "latency_p50_us")));
    assert_true(json_is_null(at(c, "latency_p99_us")));
    assert_true(json_is_false(at(c, "fail_open")));
}

static const char with_witness[] = "fulmar: 1\n"
                                   "service: shop\n"
                                   "edge: {listen: [{address: \"127.0.0.1:8080\"}]}\n"
                                   "regions:\n"
                                   "  west: {apps: [\"10.0.1.1:80\"]}\n"
                                   "  east: {witness: true}\n"
                                   "contexts:\n"
                                   "  pages: {topology: multi-write, routes: [\"/**\"]}\n";

/* It serves nothing, so that no alert may be raised about it, ever. */
static void a_witness_is_neither_well_nor_unwell(void **state)
{
    (void)state;
    directed_open(with_witness, FM_PROXY_EDGE, 0);
    take();
    json_t *east = json_array_get(at(doc, "regions"), 1);
    assert_string_equal(text(east, "region"), "east");
    assert_true(json_is_true(at(east, "witness")));
    assert_int_equal(json_array_size(at(east, "contexts")), 0);
    assert_true(json_is_false(at(json_array_get(at(doc, "regions"), 0), "witness")));
    size_t n;
    char *page = fm_status_metrics(&director, "edge", &n);
    assert_non_null(strstr(page, "health_share_permille{region=\"west\""));
    assert_null(strstr(page, "region=\"east\""));
    free(page);
}

static void counts_stand_where_they_belong(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_EDGE, 0);
    directed_count(1, 0, FM_OUTCOME_OK, 6);
    directed_count(1, 0, FM_OUTCOME_TIMEOUT, 1);
    struct fm_board_counts *c = fm_board_counts(director.board, 0, 1, 0);
    fm_counter_add(&c->sent, 9);
    fm_counter_add(&c->last_sent_ns, (uint64_t)fm_mono_now().ns);
    atomic_store(&fm_board_slot(director.board, 1, 0)->in_flight, 2);
    struct fm_board_context_stats *s = &director.board->context[0];
    fm_hist_add(&s->latency_us, 900);
    fm_counter_add(&s->status[2], 5);
    fm_counter_add(&s->status[0], 1);
    fm_counter_add(&s->commands, 4);
    fm_counter_add(&s->queries, 2);
    fm_counter_add(&director.workers[0].metrics.requests, 6);
    directed_ring();
    take();
    json_t *o = slot(1, 0), *other = slot(0, 0);
    assert_int_equal(number(o, "sent_total"), 9);
    assert_int_equal(number(o, "in_flight"), 2);
    assert_int_equal(number(at(o, "outcomes"), "ok"), 6);
    assert_int_equal(number(at(o, "last_second"), "timeout"), 1);
    assert_int_equal(strlen(text(o, "last_sent_at")), 27);
    assert_int_equal(number(other, "sent_total"), 0);
    json_t *ledger = json_array_get(at(doc, "contexts"), 0);
    assert_int_equal(number(at(ledger, "answers"), "2xx"), 5);
    assert_int_equal(number(at(ledger, "answers"), "none"), 1);
    assert_int_equal(number(ledger, "commands_total"), 4);
    assert_int_equal(number(ledger, "queries_total"), 2);
    assert_in_range(number(ledger, "latency_p50_us"), 900, 960);
    assert_int_equal(number(at(doc, "totals"), "requests_total"), 6);
}

static void intent_and_health_are_told_apart_with_the_evidence(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_EDGE, 0);
    directed_probe_down(0, 1, "status 503 \"from\" the app");
    take();
    assert_string_equal(text(json_array_get(at(doc, "regions"), 0), "intent"), "serve");
    json_t *s = slot(0, 1);
    assert_string_equal(text(s, "health"), "down");
    assert_string_equal(text(s, "reason"), "probes-fail");
    assert_string_equal(text(s, "probe"), "status 503 \"from\" the app");
    assert_int_equal(number(s, "share_permille"), 0);
    json_t *e = json_array_get(at(doc, "events"), 0);
    assert_int_equal(number(e, "number"), 1);
    assert_string_equal(text(e, "region"), "west");
    assert_string_equal(text(e, "context"), "pages");
    assert_string_equal(text(e, "from"), "up");
    assert_string_equal(text(e, "to"), "down");
    assert_string_equal(text(e, "evidence"), "status 503 \"from\" the app");
}

static void a_gate_speaks_of_its_region(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_GATE, 1);
    take();
    assert_int_equal(json_array_size(at(doc, "regions")), 1);
    json_t *north = json_array_get(at(doc, "regions"), 0);
    assert_string_equal(text(north, "region"), "north");
    assert_int_equal(json_array_size(at(north, "endpoints")), 2);
    json_t *e = json_array_get(at(north, "endpoints"), 0);
    assert_string_equal(text(e, "address"), "10.0.2.1:80");
    assert_string_equal(text(e, "pool"), "core");
    assert_true(json_is_false(at(e, "probe_down")));
}

static void only_the_last_events_are_shown(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_EDGE, 0);
    while (director.nevents < 100) {
        directed_probe_down(0, 0, "no");
        net_skip_ms(70 * 1000);
        fm_loop_turn(&net.loop, 0);
        for (int i = 0; i < 8 && directed_state(0, 0) == FM_HEALTH_DOWN; i++)
            fm_director_probe(&director, 0, 0, true, FM_STR("ok"));
    }
    take();
    json_t *events = at(doc, "events");
    assert_int_equal(json_array_size(events), 64);
    assert_int_equal(number(json_array_get(events, 63), "number"), director.nevents);
}

#define directed(fn) fm_test_with(fn, directed_setup, teardown)

FM_TEST_MAIN(directed(a_witness_is_neither_well_nor_unwell), directed(what_is_unknown_is_null),
             directed(counts_stand_where_they_belong),
             directed(intent_and_health_are_told_apart_with_the_evidence),
             directed(a_gate_speaks_of_its_region), directed(only_the_last_events_are_shown))
