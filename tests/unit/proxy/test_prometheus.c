/* The metrics page, read as Prometheus reads it (text format 0.0.4). */
#include "directed.h"

#include "proxy/status.h"

#include <stdio.h>
#include <stdlib.h>

static char *page;
static size_t page_n;

static void take(const char *role)
{
    free(page);
    page = fm_status_metrics(&director, role, &page_n);
    assert_non_null(page);
    assert_int_equal(strlen(page), page_n);
}

static int teardown(void **state)
{
    free(page);
    page = NULL;
    return directed_teardown(state);
}

/* The value of a sample by its whole name with labels; -1 where there is none. */
static double value(const char *sample)
{
    struct fm_str rest = fm_str(page, page_n);
    while (rest.n) {
        struct fm_str line = fm_str_cut(rest, '\n', &rest);
        size_t n = strlen(sample);
        if (line.n > n && line.p[n] == ' ' && memcmp(line.p, sample, n) == 0)
            return strtod(line.p + n, NULL);
    }
    return -1;
}

static void every_sample_has_help_and_type_before_it(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_EDGE, 0);
    take("edge");
    struct fm_str rest = fm_str(page, page_n), family = {"", 0};
    unsigned samples = 0;
    assert_true(page[page_n - 1] == '\n');
    while (rest.n) {
        struct fm_str line = fm_str_cut(rest, '\n', &rest), after;
        if (fm_str_starts(line, FM_STR("# HELP "))) {
            family = fm_str_cut(fm_str(line.p + 7, line.n - 7), ' ', &after);
            assert_true(after.n > 10); /* it says something */
            struct fm_str type = fm_str_cut(rest, '\n', &rest);
            assert_true(fm_str_starts(type, FM_STR("# TYPE ")));
            assert_true(fm_str_starts(fm_str(type.p + 7, type.n - 7), family));
            assert_true(fm_str_starts(family, FM_STR("fulmar_edge_")));
            bool counter = fm_str_ends(type, FM_STR(" counter"));
            assert_true(counter == fm_str_ends(family, FM_STR("_total")));
            continue;
        }
        assert_true(fm_str_starts(line, family));
        samples++;
    }
    assert_in_range(samples, 60, 1000);
}

static void samples_are_what_was_counted(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_EDGE, 0);
    fm_counter_add(&director.workers[0].metrics.requests, 12);
    atomic_store(&director.connections, 3);
    directed_count(1, 0, FM_OUTCOME_RESET, 7);
    fm_counter_add(&fm_board_counts(director.board, 0, 1, 0)->sent, 8);
    atomic_store(&fm_board_slot(director.board, 1, 0)->in_flight, 2);
    atomic_store(&fm_board_slot(director.board, 1, 0)->word, UINT64_C(5) << 32 | 250);
    fm_counter_add(&director.board->context[1].status[4], 6);
    take("edge");
    static const struct {
        const char *sample;
        double value;
    } cases[] = {
        {"fulmar_edge_requests_total", 12},
        {"fulmar_edge_connections", 3},
        {"fulmar_edge_view_generation", 1},
        {"fulmar_edge_health_share_permille{region=\"north\",context=\"ledger\"}", 250},
        {"fulmar_edge_health_share_permille{region=\"west\",context=\"ledger\"}", 1000},
        {"fulmar_edge_in_flight{region=\"north\",context=\"ledger\"}", 2},
        {"fulmar_edge_sent_total{region=\"north\",context=\"ledger\"}", 8},
        {"fulmar_edge_outcomes_total{region=\"north\",context=\"ledger\",outcome=\"reset\"}", 7},
        {"fulmar_edge_outcomes_total{region=\"north\",context=\"ledger\",outcome=\"ok\"}", 0},
        {"fulmar_edge_answers_total{context=\"pages\",class=\"4xx\"}", 6},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++)
        if (value(cases[i].sample) != cases[i].value)
            fail_msg("%s is %f, not %f", cases[i].sample, value(cases[i].sample), cases[i].value);
}

static void the_histogram_is_cumulative(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_EDGE, 0);
    struct fm_hist *h = &director.board->context[0].latency_us;
    static const unsigned us[] = {50, 90, 400, 3000, 60000, 20000000};
    double sum = 0;
    for (size_t i = 0; i < FM_COUNT(us); i++) {
        fm_hist_add(h, us[i]);
        sum += us[i];
    }
    take("edge");
    static const struct {
        const char *le;
        double n;
    } cases[] = {{"0.0001", 2}, {"0.00025", 2}, {"0.0005", 3}, {"0.0025", 3}, {"0.005", 4},
                 {"0.025", 4},  {"0.1", 5},     {"10", 5},     {"+Inf", 6}};
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char name[128];
        (void)snprintf(name, sizeof name,
                       "fulmar_edge_latency_seconds_bucket{context=\"ledger\",le=\"%s\"}",
                       cases[i].le);
        if (value(name) != cases[i].n)
            fail_msg("%s is %f, not %f", name, value(name), cases[i].n);
    }
    assert_true(value("fulmar_edge_latency_seconds_count{context=\"ledger\"}") == 6);
    double told = value("fulmar_edge_latency_seconds_sum{context=\"ledger\"}");
    assert_true(told > sum / 1e6 - 0.001 && told < sum / 1e6 + 0.001);
}

static void a_gate_tells_of_its_region_only(void **state)
{
    (void)state;
    directed_open(given_two_regions, FM_PROXY_GATE, 1);
    take("gate");
    assert_true(value("fulmar_gate_sent_total{region=\"north\",context=\"pages\"}") == 0);
    assert_true(value("fulmar_gate_sent_total{region=\"west\",context=\"pages\"}") < 0);
    assert_null(strstr(page, "fulmar_edge_"));
    assert_null(strstr(page, "\"west\""));
}

/* More than the page's first room: it grows. */
static void many_regions_fit(void **state)
{
    (void)state;
    static char text[16 * 1024];
    struct fm_buf b = fm_buf(text, sizeof text - 1);
    fm_buf_lit(&b, "fulmar: 1\nservice: shop\nedge: {listen: [{address: \"127.0.0.1:80\"}]}\n"
                   "regions:\n");
    for (int r = 0; r < 12; r++)
        fm_buf_printf(&b, "  region-number-%d: {apps: [\"10.0.%d.1:80\"]}\n", r, r);
    fm_buf_lit(&b, "contexts:\n");
    for (int c = 0; c < 20; c++)
        fm_buf_printf(&b,
                      "  context-number-%d: {topology: multi-write, routes: [\"/%d/**\"], "
                      "needs: []}\n",
                      c, c);
    assert_false(b.full);
    directed_open(text, FM_PROXY_EDGE, 0);
    take("edge");
    assert_true(page_n > 64 * 1024);
    assert_true(value("fulmar_edge_outcomes_total{region=\"region-number-11\","
                      "context=\"context-number-19\",outcome=\"cancelled\"}") == 0);
}

#define directed(fn) fm_test_with(fn, directed_setup, teardown)

FM_TEST_MAIN(directed(every_sample_has_help_and_type_before_it),
             directed(samples_are_what_was_counted), directed(the_histogram_is_cumulative),
             directed(a_gate_tells_of_its_region_only), directed(many_regions_fit))
