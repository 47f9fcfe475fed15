/* Routing: which regions, in which order. Most tests are rows: how the regions stand, and the plan
 * that has to come out. */
#include "test.h"

#include "base/rand.h"
#include "core/route.h"

#include <stdio.h>

static struct fm_mono ok_at(int64_t ms)
{
    return (struct fm_mono){ms * FM_NS_PER_MS};
}

/* A region that is well. Its id is what a shell makes of its name. */
static struct fm_route_region region(char name)
{
    return (struct fm_route_region){.id = fm_mix64((uint64_t)name),
                                    .priority = 1,
                                    .weight = 1,
                                    .serve = 1000,
                                    .share = 1000,
                                    .reachable = true,
                                    .last_ok = ok_at(1000)};
}

/* Rows are written as text, one word a region: its name (whose place in the plan is checked), then
 * p<priority> w<weight> v<serve> s<share> l<latency ms> o<last ok ms>, u (unreachable), t (trial),
 * T (any may be the canary). */
static unsigned parse(const char *text, struct fm_route_region *r, char *name)
{
    unsigned n = 0;
    for (const char *at = text; *at; n++) {
        assert_true(n < FM_REGIONS_MAX);
        name[n] = *at++;
        r[n] = region(name[n]);
        while (*at && *at != ' ') {
            char kind = *at++;
            uint32_t v = 0;
            while (*at >= '0' && *at <= '9')
                v = 10 * v + (uint32_t)(*at++ - '0');
            switch (kind) {
            case 'p':
                r[n].priority = (uint16_t)v;
                break;
            case 'w':
                r[n].weight = (uint16_t)v;
                break;
            case 'v':
                r[n].serve = (uint16_t)v;
                break;
            case 's':
                r[n].share = (uint16_t)v;
                break;
            case 'l':
                r[n].latency_us = v * 1000;
                break;
            case 'o':
                r[n].last_ok = ok_at(v);
                break;
            case 'u':
                r[n].reachable = false;
                break;
            case 'T':
                r[n].trial_any = true; /* fall through */
            case 't':
                r[n].trial = true;
                r[n].share = 0;
                break;
            default:
                fail();
            }
        }
        at += *at == ' ';
    }
    return n;
}

static void names_of(const struct fm_route_plan *plan, const char *name, char *out)
{
    for (unsigned i = 0; i < plan->n; i++)
        out[i] = name[plan->region[i]];
    out[plan->n] = 0;
}

struct row {
    const char *regions, *plan; /* names in order; '|' ends those that are up */
    enum fm_route_by by;
    bool never; /* must not be repeated */
};

static void check_row(const struct row *row)
{
    struct fm_route_region r[FM_REGIONS_MAX];
    char name[FM_REGIONS_MAX], got[2 * FM_REGIONS_MAX + 2];
    unsigned n = parse(row->regions, r, name);
    for (uint64_t random = 0; random < 50; random++) {
        struct fm_route_request q = {
            .by = row->by, .band_us = 20000, .repeatable = !row->never, .random = fm_mix64(random)};
        struct fm_route_plan plan;
        fm_route(r, n, &q, &plan);
        names_of(&plan, name, got);
        memmove(got + plan.healthy + 1, got + plan.healthy, strlen(got + plan.healthy) + 1);
        got[plan.healthy] = '|';
        if (strcmp(got, row->plan) != 0)
            fail_msg("%s: expected %s, got %s", row->regions, row->plan, got);
        assert_int_equal(plan.fail_open, plan.n > 0 && plan.healthy == (unsigned)plan.canary);
    }
}

#define check_rows(rows)                                                                           \
    for (size_t i_ = 0; i_ < FM_COUNT(rows); i_++)                                                 \
    check_row(&(rows)[i_])

/* -------- order -------- */

static void the_lowest_priority_that_is_up_goes_first(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"ap1 bp2 cp3", "abc|", FM_ROUTE_PRIORITY, false},
        {"ap3 bp1 cp2", "bca|", FM_ROUTE_PRIORITY, false},
        {"ap1s0 bp2 cp3", "bc|a", FM_ROUTE_PRIORITY, false},
        {"ap1u bp2 cp3", "bc|a", FM_ROUTE_PRIORITY, false},
        {"ap1w1 bp2w1000", "ab|", FM_ROUTE_PRIORITY, false},
        {"ap7", "a|", FM_ROUTE_PRIORITY, false},
        {"", "|", FM_ROUTE_PRIORITY, false},
    };
    check_rows(rows);
}

static void latency_counts_beyond_the_band_only(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"al10 bl31", "ab|", FM_ROUTE_LATENCY, false},
        {"al31 bl10", "ba|", FM_ROUTE_LATENCY, false},
        {"al10 bl80 cl50", "acb|", FM_ROUTE_LATENCY, false},
        {"al10s0 bl80 cl50", "cb|a", FM_ROUTE_LATENCY, false},
        {"al1v0 bl30w1 cl80", "bc|", FM_ROUTE_LATENCY, false}, /* drained, it sets no band */
    };
    check_rows(rows);
}

/* How often each region is first, in permille. */
static void firsts(const char *regions, struct fm_route_request q, unsigned *permille)
{
    enum { DRAWS = 200000 };
    struct fm_route_region r[FM_REGIONS_MAX];
    char name[FM_REGIONS_MAX];
    unsigned n = parse(regions, r, name), first[FM_REGIONS_MAX] = {0};
    struct fm_rand rand = {4711};
    for (unsigned i = 0; i < DRAWS; i++) {
        struct fm_route_plan plan;
        q.random = fm_rand_u64(&rand);
        q.affinity = fm_rand_u64(&rand);
        fm_route(r, n, &q, &plan);
        assert_true(plan.n > 0);
        first[plan.region[0]]++;
    }
    for (unsigned i = 0; i < n; i++)
        permille[i] = (first[i] * 1000 + DRAWS / 2) / DRAWS;
}

static void weights_share_what_is_equal(void **state)
{
    (void)state;
    static const struct {
        const char *regions;
        enum fm_route_by by;
        unsigned permille[FM_REGIONS_MAX];
    } cases[] = {
        {"aw1 bw1", FM_ROUTE_WEIGHT, {500, 500}},
        {"aw90 bw10", FM_ROUTE_WEIGHT, {900, 100}},
        {"aw1 bw2 cw3", FM_ROUTE_WEIGHT, {167, 333, 500}},
        {"aw65535 bw65535 cw1", FM_ROUTE_WEIGHT, {500, 500, 0}},
        {"aw1 bw1 cw1 dw1 ew1 fw1 gw1 hw3",
         FM_ROUTE_WEIGHT,
         {100, 100, 100, 100, 100, 100, 100, 300}},
        {"aw1 bw2s0 cw3", FM_ROUTE_WEIGHT, {250, 0, 750}},
        {"ap1w3 bp1w1 cp2w100", FM_ROUTE_PRIORITY, {750, 250, 0}},
        {"ap1s0 bp2w1 cp2w4", FM_ROUTE_PRIORITY, {0, 200, 800}},
        {"aw3l10 bw1l30 cw9l31", FM_ROUTE_LATENCY, {750, 250, 0}},
        {"aw1l100 bw1 cw2", FM_ROUTE_LATENCY, {250, 250, 500}}, /* two were never measured */
        {"aw1v0l1 bw1l30 cw1l40", FM_ROUTE_LATENCY, {0, 500, 500}},
        {"aw1s50l1 bw1l30 cw1l40", FM_ROUTE_LATENCY, {50, 475, 475}},
        {"aw1 bw1s250", FM_ROUTE_WEIGHT, {875, 125}},
        {"aw1 bw1v250", FM_ROUTE_WEIGHT, {875, 125}},
        {"ap1v900 bp2", FM_ROUTE_PRIORITY, {900, 100}},
        {"aw1s0 bw3s0", FM_ROUTE_WEIGHT, {250, 750}}, /* both failed: the usual order */
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++)
        for (int sticky = 0; sticky <= 1; sticky++) {
            unsigned got[FM_REGIONS_MAX] = {0};
            struct fm_route_request q = {
                .by = cases[i].by, .band_us = 20000, .repeatable = true, .sticky = sticky};
            firsts(cases[i].regions, q, got);
            for (unsigned k = 0; k < FM_REGIONS_MAX; k++) {
                int off = (int)got[k] - (int)cases[i].permille[k];
                if (off < -5 || off > 5)
                    fail_msg("%s: region %u got %u permille", cases[i].regions, k, got[k]);
            }
        }
}

/* -------- last resorts -------- */

static void with_none_up_the_last_good_one_that_can_be_reached_goes_first(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"ap1s0o1000 bp2s0o90000", "|ba", FM_ROUTE_PRIORITY, false},
        {"ap1s0o90000 bp2s0o1000", "|ab", FM_ROUTE_PRIORITY, false},
        {"ap1s0o88000 bp2s0o90000", "|ab", FM_ROUTE_PRIORITY, false}, /* as good */
        {"ap2s0o90000 bp1s0o88000", "|ba", FM_ROUTE_PRIORITY, false},
        {"ap1s0uo90000 bp2s0o1000", "|ba", FM_ROUTE_PRIORITY, false}, /* it refuses connections */
        {"ap1uo90000 bp2uo1000", "|ab", FM_ROUTE_PRIORITY, false},
        {"ap1uo90000 bp2s0o60000 cp1s0o59000", "|cba", FM_ROUTE_PRIORITY, false},
        {"ap1s0o0 bp2s0o0", "|ab", FM_ROUTE_PRIORITY, false}, /* nothing is known */
        {"ap1s0 bp2v0", "|a", FM_ROUTE_PRIORITY, false},      /* off is off */
        {"ap1v0 bp2v0", "|", FM_ROUTE_PRIORITY, false},
    };
    check_rows(rows);
}

/* West died while north was still getting its share back, or had only half of it left: north. */
static void what_may_get_only_a_share_gets_all_before_what_is_down(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"ap1s0o90000 bp2s50o1000", "b|a", FM_ROUTE_PRIORITY, false},
        {"ap1s0uo90000 bp2s1o1000", "b|a", FM_ROUTE_PRIORITY, true},
        {"ap1s0o90000 bp2v500o1000", "b|a", FM_ROUTE_PRIORITY, false},
        {"ap1s0 bp2v1", "b|a", FM_ROUTE_PRIORITY, true},
        {"ap1v1", "a|", FM_ROUTE_PRIORITY, false}, /* never "no region" */
        {"ap1v1s0", "|a", FM_ROUTE_PRIORITY, false},
    };
    check_rows(rows);
}

/* -------- canaries -------- */

static void a_canary_goes_first_and_alone(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"ap1 bp2t", "ba|", FM_ROUTE_PRIORITY, false},
        {"ap1 bp2t", "a|b", FM_ROUTE_PRIORITY, true}, /* a command is none ... */
        {"ap1 bp2T", "ba|", FM_ROUTE_PRIORITY, true}, /* ... unless there is nothing else */
        {"ap1to1 bp2to1 cp3", "ac|b", FM_ROUTE_PRIORITY, false},
        {"ap1s0 bp2t", "b|a", FM_ROUTE_PRIORITY, false},
        {"ap1 bp2tv0", "a|", FM_ROUTE_PRIORITY, false}, /* drained */
        {"at", "a|", FM_ROUTE_PRIORITY, false},
    };
    check_rows(rows);
    struct fm_route_region r = region('a');
    r.share = 0;
    r.trial = true;
    struct fm_route_plan plan;
    fm_route(&r, 1, &(struct fm_route_request){.repeatable = true}, &plan);
    assert_true(plan.canary && plan.fail_open);
}

/* -------- stickiness -------- */

enum { KEYS = 3000 };

static unsigned home(const struct fm_route_region *r, unsigned n, enum fm_route_by by, uint64_t key)
{
    struct fm_route_request q = {
        .by = by, .band_us = 20000, .repeatable = true, .sticky = true, .affinity = fm_mix64(key)};
    struct fm_route_plan plan;
    q.random = fm_mix64(key * 77 + r[0].share); /* must not matter */
    fm_route(r, n, &q, &plan);
    assert_true(plan.n > 0);
    return plan.region[0];
}

static void a_key_moves_only_when_its_own_region_leaves(void **state)
{
    (void)state;
    static const char *const rows[] = {"aw1 bw1", "aw3 bw1 cw2", "aw1 bw1 cw1 dw1 ew1 fw5 gw1 hw1"};
    for (size_t i = 0; i < FM_COUNT(rows); i++) {
        struct fm_route_region r[FM_REGIONS_MAX];
        char name[FM_REGIONS_MAX];
        unsigned n = parse(rows[i], r, name), moved[FM_REGIONS_MAX] = {0};
        for (uint64_t key = 0; key < KEYS; key++) {
            unsigned was = home(r, n, FM_ROUTE_WEIGHT, key);
            for (unsigned gone = 0; gone < n; gone++)
                for (int how = 0; how < 3; how++) {
                    struct fm_route_region then[FM_REGIONS_MAX];
                    memcpy(then, r, sizeof then);
                    then[gone].share = how == 0 ? 0 : 1000;
                    then[gone].serve = how == 1 ? 0 : 1000;
                    then[gone].reachable = how != 2;
                    unsigned is = home(then, n, FM_ROUTE_WEIGHT, key);
                    assert_int_equal(is != was, gone == was);
                    moved[is] += is != was;
                }
        }
        for (unsigned k = 0; k < n; k++)
            assert_true(moved[k] > 0); /* everyone takes over some */
    }
}

static void a_key_does_not_care_for_the_order_of_the_list(void **state)
{
    (void)state;
    struct fm_route_region r[FM_REGIONS_MAX], other[FM_REGIONS_MAX];
    char name[FM_REGIONS_MAX], other_name[FM_REGIONS_MAX];
    unsigned n = parse("aw1 bw2 cw1 dw1", r, name);
    unsigned m = parse("dw1 cw1 xw1s0 bw2 aw1", other, other_name);
    for (uint64_t key = 0; key < KEYS; key++)
        assert_int_equal(name[home(r, n, FM_ROUTE_WEIGHT, key)],
                         other_name[home(other, m, FM_ROUTE_WEIGHT, key)]);
}

/* As the share of one region grows from nothing to all, each key moves to it once or never. */
static void a_growing_share_moves_each_key_once(void **state)
{
    (void)state;
    static const struct {
        const char *regions;
        enum fm_route_by by;
    } cases[] = {{"aw1 bw1 cw2", FM_ROUTE_WEIGHT},
                 {"ap1 bp2 cp2", FM_ROUTE_PRIORITY},
                 {"al1 bl30 cl40", FM_ROUTE_LATENCY}};
    for (size_t i = 0; i < FM_COUNT(cases); i++)
        for (int intent = 0; intent <= 1; intent++) {
            struct fm_route_region r[FM_REGIONS_MAX];
            char name[FM_REGIONS_MAX];
            unsigned n = parse(cases[i].regions, r, name);
            for (uint64_t key = 0; key < KEYS; key++) {
                unsigned was = UINT32_MAX, moves = 0;
                for (unsigned share = 0; share <= 1000; share += 50) {
                    *(intent ? &r[0].serve : &r[0].share) = (uint16_t)share;
                    unsigned is = home(r, n, cases[i].by, key);
                    moves += was != UINT32_MAX && is != was;
                    assert_true(was == UINT32_MAX || is == was || is == 0);
                    was = is;
                }
                assert_true(moves <= 1);
            }
        }
}

/* -------- anything -------- */

static struct fm_route_region any_region(struct fm_rand *r, unsigned i)
{
    struct fm_route_region one = {
        .id = fm_mix64(i),
        .priority = (uint16_t)(1 + fm_rand_below(r, 3)),
        .weight = (uint16_t)fm_rand_below(r, 4),
        .serve = (uint16_t)(fm_rand_below(r, 3) ? 1000 : fm_rand_below(r, 1001)),
        .share = (uint16_t)(fm_rand_below(r, 3) ? 1000 : fm_rand_below(r, 1001)),
        .reachable = fm_rand_below(r, 4) != 0,
        .latency_us = fm_rand_below(r, 4) ? fm_rand_below(r, 200000) : 0,
        .last_ok = ok_at(fm_rand_below(r, 60000)),
    };
    if (fm_rand_below(r, 4) == 0)
        one.share = one.serve = 0;
    if (fm_rand_below(r, 4) == 0) {
        one.share = 0;
        one.trial = true;
        one.trial_any = fm_rand_below(r, 2);
    }
    return one;
}

static bool is_surely_well(const struct fm_route_region *r)
{
    return r->serve == 1000 && r->share == 1000 && r->reachable && !r->trial;
}

static bool is_up(const struct fm_route_region *r)
{
    return r->serve > 0 && r->share > 0 && r->reachable;
}

static void every_plan_keeps_the_rules(void **state)
{
    (void)state;
    struct fm_rand rand = {2026};
    for (int round = 0; round < 100000; round++) {
        struct fm_route_region r[FM_REGIONS_MAX];
        unsigned n = fm_rand_below(&rand, FM_REGIONS_MAX + 1), seen = 0;
        for (unsigned i = 0; i < n; i++)
            r[i] = any_region(&rand, i);
        struct fm_route_request q = {.by = (enum fm_route_by)fm_rand_below(&rand, 3),
                                     .band_us = fm_rand_below(&rand, 50000),
                                     .repeatable = fm_rand_below(&rand, 2),
                                     .sticky = fm_rand_below(&rand, 2),
                                     .affinity = fm_rand_u64(&rand),
                                     .random = fm_rand_u64(&rand)};
        struct fm_route_plan plan, again;
        fm_route(r, n, &q, &plan);
        fm_route(r, n, &q, &again);
        assert_memory_equal(&plan, &again, sizeof plan);
        bool any_up = false;
        unsigned served = 0;
        for (unsigned i = 0; i < n; i++) {
            any_up |= is_up(&r[i]);
            served += r[i].serve > 0;
        }
        assert_int_equal(plan.n, served);
        assert_true(plan.healthy <= plan.n);
        assert_true(plan.fail_open == (plan.n > 0 && !any_up));
        for (unsigned i = 0; i < plan.n; i++) {
            const struct fm_route_region *one = &r[plan.region[i]];
            assert_true(one->serve > 0 && !(seen >> plan.region[i] & 1));
            seen |= 1u << plan.region[i];
            bool canary = plan.canary && i == 0;
            if (canary)
                assert_true(one->trial && (q.repeatable || one->trial_any));
            else
                assert_int_equal(i < plan.healthy, is_up(one) && !(one->trial && i == 0));
            for (unsigned k = i + 1; k < plan.n; k++) {
                const struct fm_route_region *later = &r[plan.region[k]];
                assert_false(!canary && is_surely_well(later) && !is_surely_well(one) &&
                             one->share == 0);
                if (q.by == FM_ROUTE_PRIORITY && !canary && is_surely_well(one) &&
                    is_surely_well(later))
                    assert_true(one->priority <= later->priority);
            }
        }
    }
}

static void a_cost_is_less_for_more_weight_and_none_without(void **state)
{
    (void)state;
    for (uint64_t key = 0; key < 1000; key++) {
        assert_true(fm_rendezvous_cost(key, 1, 0) == UINT64_MAX);
        uint64_t cost = UINT64_MAX;
        for (uint32_t weight = 1; weight < UINT16_MAX; weight = 3 * weight + 1) {
            uint64_t c = fm_rendezvous_cost(key, 1, weight);
            assert_true(c < cost && c > 0);
            cost = c;
        }
    }
}

FM_TEST_MAIN(fm_test(the_lowest_priority_that_is_up_goes_first),
             fm_test(latency_counts_beyond_the_band_only), fm_test(weights_share_what_is_equal),
             fm_test(with_none_up_the_last_good_one_that_can_be_reached_goes_first),
             fm_test(what_may_get_only_a_share_gets_all_before_what_is_down),
             fm_test(a_canary_goes_first_and_alone),
             fm_test(a_key_moves_only_when_its_own_region_leaves),
             fm_test(a_key_does_not_care_for_the_order_of_the_list),
             fm_test(a_growing_share_moves_each_key_once), fm_test(every_plan_keeps_the_rules),
             fm_test(a_cost_is_less_for_more_weight_and_none_without))
