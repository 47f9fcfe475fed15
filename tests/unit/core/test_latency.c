/* Running quantiles, the delays made of them, and silence: a world of requests in which a region
 * freezes, and others in which it only looks as if it did. */
#include "test.h"

#include "base/rand.h"
#include "core/latency.h"

#define MS FM_NS_PER_MS

static const struct fm_hedge_policy at_p95 = {FM_HEDGE_AT_P95, 0, 10000 * MS};

static void learn(struct fm_latency *l, int64_t ns, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        fm_latency_add(l, ns);
}

/* -------- quantiles -------- */

static void quantiles_are_known_to_a_quarter(void **state)
{
    (void)state;
    for (int64_t us = 1; us < INT64_C(200000000); us = us * 5 / 4 + 1) {
        struct fm_latency l = {0};
        learn(&l, us * FM_NS_PER_US, 100);
        int64_t q = fm_latency_quantile_ns(&l, 5000) / FM_NS_PER_US;
        assert_true(q > us && q <= us + us / 4 + 1);
    }
}

static void quantiles_grow_with_their_rank(void **state)
{
    (void)state;
    struct fm_rand r = {3};
    for (int round = 0; round < 200; round++) {
        struct fm_latency l = {0};
        unsigned n = 1 + fm_rand_below(&r, 9000);
        for (unsigned i = 0; i < n; i++)
            fm_latency_add(&l, (int64_t)(fm_rand_u64(&r) >> fm_rand_below(&r, 64)));
        int64_t last = 0;
        for (unsigned p = 0; p <= 10000; p += 100) {
            int64_t q = fm_latency_quantile_ns(&l, p);
            assert_true(q >= last && q > 0);
            last = q;
        }
        assert_true(l.total <= FM_LATENCY_MEMORY);
        assert_true(l.p50_ns <= l.p95_ns && l.p95_ns <= l.p99_ns && l.p99_ns <= l.p999_ns);
    }
}

static void no_value_is_too_odd(void **state)
{
    (void)state;
    struct fm_latency l = {0};
    assert_int_equal(fm_latency_quantile_ns(&l, 5000), 0);
    static const int64_t odd[] = {0, -1, INT64_MIN, 1, INT64_MAX};
    for (size_t i = 0; i < FM_COUNT(odd); i++)
        fm_latency_add(&l, odd[i]);
    assert_int_equal(l.total, FM_COUNT(odd));
    assert_int_equal(fm_latency_quantile_ns(&l, 0), FM_NS_PER_US);
    assert_true(fm_latency_quantile_ns(&l, 10000) > 200 * FM_NS_PER_S);
}

static void it_follows_the_last_few_thousand_answers(void **state)
{
    (void)state;
    struct fm_latency l = {0};
    learn(&l, 200 * MS, 100000);
    learn(&l, 2 * MS, FM_LATENCY_MEMORY);
    assert_true(l.p50_ns < 3 * MS);
    learn(&l, 2 * MS, 2 * FM_LATENCY_MEMORY);
    assert_true(l.p95_ns < 3 * MS);
    learn(&l, 2 * MS, 20 * FM_LATENCY_MEMORY);
    assert_true(l.p999_ns < 3 * MS);
}

/* What it keeps between updates is what its buckets say, a few answers late. */
static void what_it_keeps_is_what_it_holds(void **state)
{
    (void)state;
    struct fm_latency l = {0};
    for (int i = 0; i < 4000; i++) {
        fm_latency_add(&l, (i % 100) * MS + MS / 2);
        if (i < 500)
            continue;
        assert_in_range(l.p50_ns, 49 * MS, 64 * MS);
        assert_in_range(l.p95_ns, 94 * MS, 120 * MS);
        assert_true(l.p99_ns >= l.p95_ns && l.p999_ns >= l.p99_ns && l.p999_ns < 130 * MS);
    }
    assert_int_equal(l.p50_ns, fm_latency_quantile_ns(&l, 5000));
    assert_int_equal(l.p95_ns, fm_latency_quantile_ns(&l, 9500));
    assert_int_equal(l.p99_ns, fm_latency_quantile_ns(&l, 9900));
    assert_int_equal(l.p999_ns, fm_latency_quantile_ns(&l, 9990));
    fm_latency_add(&l, 0);
    assert_int_equal(fm_latency_quantile_ns(&l, 0), FM_NS_PER_US);
}

static void ranks_are_exact_where_buckets_are(void **state)
{
    (void)state;
    for (unsigned slow = 0; slow <= 100; slow++) {
        struct fm_latency l = {0};
        learn(&l, FM_NS_PER_US, 100 - slow);
        learn(&l, 900 * MS, slow);
        for (unsigned p = 1; p <= 100; p++)
            assert_int_equal(fm_latency_quantile_ns(&l, p * 100) > MS, p > 100 - slow);
    }
}

/* Half a dozen slow answers while it warmed up are no tail for the rest of its days. */
static void what_was_slow_once_is_forgotten(void **state)
{
    (void)state;
    struct fm_latency l = {0};
    for (int i = 0; i < 6; i++)
        fm_latency_add(&l, (100 << i) * MS);
    learn(&l, MS, 3 * FM_LATENCY_MEMORY);
    for (int i = 0; i < 100; i++) {
        learn(&l, MS, 5000);
        assert_true(l.p999_ns < 2 * MS);
    }
}

static void what_is_slow_now_and_then_is_the_tail(void **state)
{
    (void)state;
    struct fm_latency l = {0};
    learn(&l, MS, 1000);
    for (int i = 0; i < 200; i++) {
        learn(&l, MS, 399);
        fm_latency_add(&l, 50 * MS);
        assert_true(i < 20 || l.p999_ns >= 50 * MS);
        assert_true(l.p99_ns < 2 * MS);
    }
}

/* A long and thin tail, of which no two answers fall together. */
static void a_thin_tail_outlives_a_halving(void **state)
{
    (void)state;
    struct fm_latency l = {0};
    struct fm_rand r = {11};
    unsigned known = 0, times = 0;
    for (int i = 0; i < 400000; i++) {
        bool slow = fm_rand_below(&r, 400) == 0;
        fm_latency_add(&l, slow ? (int64_t)(50 + fm_rand_below(&r, 5000)) * MS : MS);
        if (i > 10000) {
            times++;
            known += l.p999_ns > 40 * MS;
        }
    }
    assert_true(known > times / 100 * 95);
}

/* -------- delays -------- */

static void hedges_wait_as_the_policy_says_and_within_bounds(void **state)
{
    (void)state;
    static const struct {
        enum fm_hedge_mode mode;
        int64_t after_ms, first_byte_ms;
        unsigned answers;
        int64_t fast_ms, slow_ms; /* nine of ten, one of ten */
        int64_t least_ms, most_ms;
    } cases[] = {
        {FM_HEDGE_AT_P95, 0, 10000, 0, 1, 1, 100, 100}, /* nothing is known */
        {FM_HEDGE_AT_P95, 0, 10000, 60, 1, 1, 100, 100},
        {FM_HEDGE_AT_P95, 0, 10000, 1000, 1, 1, 5, 5}, /* the least */
        {FM_HEDGE_AT_P95, 0, 10000, 64, 1, 1, 5, 5},   /* just enough is known */
        {FM_HEDGE_AT_P95, 0, 10000, 1000, 10, 80, 80, 100},
        {FM_HEDGE_AT_P99, 0, 10000, 1000, 10, 80, 80, 100},
        {FM_HEDGE_AT_P95, 0, 100, 1000, 10, 80, 50, 50}, /* half of the time-out */
        {FM_HEDGE_AT_P95, 0, 6, 1000, 10, 80, 3, 3},
        {FM_HEDGE_AFTER, 20, 10000, 1000, 10, 80, 20, 20},
        {FM_HEDGE_AFTER, 20, 10000, 0, 10, 80, 20, 20},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_latency l = {0};
        for (unsigned k = 0; k < cases[i].answers; k++)
            fm_latency_add(&l, (k % 10 ? cases[i].fast_ms : cases[i].slow_ms) * MS);
        struct fm_hedge_policy p = {cases[i].mode, cases[i].after_ms * MS,
                                    cases[i].first_byte_ms * MS};
        int64_t delay = fm_hedge_delay_ns(&l, &p);
        assert_in_range(delay, cases[i].least_ms * MS, cases[i].most_ms * MS);
    }
}

static void p95_and_p99_are_two_things(void **state)
{
    (void)state;
    struct fm_latency l = {0};
    struct fm_hedge_policy at_p99 = {FM_HEDGE_AT_P99, 0, 10000 * MS};
    for (int i = 0; i < 1000; i++)
        fm_latency_add(&l, (i % 100 < 97 ? 10 : 300) * MS);
    assert_in_range(fm_hedge_delay_ns(&l, &at_p95), 10 * MS, 13 * MS);
    assert_in_range(fm_hedge_delay_ns(&l, &at_p99), 300 * MS, 375 * MS);
}

static void silence_is_longer_than_any_usual_answer(void **state)
{
    (void)state;
    struct fm_latency l = {0};
    struct fm_hedge_policy off = {.mode = FM_HEDGE_OFF, .first_byte_ns = 10000 * MS};
    assert_true(fm_silence_limit_ns(&l, &off) == INT64_MAX);
    assert_true(fm_silence_check_ns(&l, &off) == INT64_MAX);
    assert_true(fm_hedge_delay_ns(&l, &off) == INT64_MAX);
    assert_true(fm_silence_limit_ns(&l, &at_p95) >= 200 * MS); /* nothing is known */
    learn(&l, MS, 100);
    assert_int_equal(fm_silence_limit_ns(&l, &at_p95), FM_SILENCE_UNKNOWN_MS * MS);
    learn(&l, MS, 1000);
    assert_int_equal(fm_silence_limit_ns(&l, &at_p95), FM_SILENCE_LEAST_MS * MS);
    for (int i = 0; i < 2000; i++)
        fm_latency_add(&l, (i % 100 ? 1 : 70) * MS);
    int64_t tail = fm_silence_limit_ns(&l, &at_p95);
    assert_in_range(tail, 105 * MS, 140 * MS); /* half as long again */
    struct fm_latency few = {0};
    learn(&few, 30 * MS, 200);
    assert_in_range(fm_silence_limit_ns(&few, &at_p95), 60 * MS, 75 * MS); /* twice the p95 */
    assert_in_range(fm_silence_check_ns(&few, &at_p95), 30 * MS, 38 * MS);
    struct fm_hedge_policy patient = {FM_HEDGE_AFTER, 400 * MS, 10000 * MS};
    assert_int_equal(fm_silence_limit_ns(&l, &patient), 400 * MS); /* not before a hedge */
    struct fm_hedge_policy hasty = {.mode = FM_HEDGE_AT_P95, .first_byte_ns = 50 * MS};
    assert_int_equal(fm_silence_limit_ns(&l, &hasty), 50 * MS);
    assert_in_range(fm_silence_check_ns(&l, &at_p95), FM_SILENCE_LEAST_MS * MS, 105 * MS);
}

/* -------- silence, as one worker lives it -------- */

enum { FLYING_MAX = 4096, TICK_US = 500 };

struct world {
    struct fm_rand r;
    int64_t now; /* ns */
    struct fm_latency heard;
    struct fm_mono last_heard, awake;
    int64_t pace_ns;
    struct flight {
        int64_t sent, due;
    } flying[FLYING_MAX];
    unsigned n;
    /* how the region and its clients are */
    unsigned per_s;
    int64_t latency_ns, tail_ns; /* two of a thousand take the tail */
    int64_t heap_ns;             /* answers come out in heaps, so far apart; 0 = one by one */
    bool frozen;
};

static struct world world(unsigned per_s, int64_t latency_ms)
{
    return (struct world){.r = {7},
                          .now = 1000 * FM_NS_PER_S,
                          .per_s = per_s,
                          .latency_ns = latency_ms * MS,
                          .tail_ns = 4 * latency_ms * MS};
}

static void send_one(struct world *w)
{
    assert_true(w->n < FLYING_MAX);
    bool slow = fm_rand_below(&w->r, 1000) < 2;
    int64_t take = slow
                       ? w->tail_ns
                       : w->latency_ns / 2 + (int64_t)fm_rand_below(&w->r, (uint32_t)w->latency_ns);
    int64_t due = w->now + take;
    if (w->heap_ns)
        due = (due / w->heap_ns + 1) * w->heap_ns;
    w->flying[w->n++] = (struct flight){w->now, due};
}

static void hear(struct world *w)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < w->n; i++) {
        if (w->frozen || w->flying[i].due > w->now) {
            w->flying[kept++] = w->flying[i];
            continue;
        }
        struct fm_mono now = {w->now};
        w->pace_ns = fm_pace_ns(w->pace_ns, w->last_heard, now);
        w->last_heard = now;
        fm_latency_add(&w->heard, w->now - w->flying[i].sent);
    }
    w->n = kept;
}

static bool is_silent(const struct world *w)
{
    if (w->n == 0)
        return false;
    struct fm_silence s = {.owed = w->n,
                           .last_heard = w->last_heard,
                           .oldest = {w->flying[0].sent},
                           .awake = w->awake,
                           .pace_ns = w->pace_ns};
    return fm_is_silent(&s, fm_silence_limit_ns(&w->heard, &at_p95), (struct fm_mono){w->now});
}

/* One tick; arrivals are independent of each other. Returns whether it looks silent. */
static bool turn(struct world *w)
{
    w->now += TICK_US * FM_NS_PER_US;
    uint32_t chance = (uint32_t)((uint64_t)w->per_s * TICK_US);
    for (unsigned i = 0; i < 8; i++)
        if (fm_rand_below(&w->r, 8000000) < chance)
            send_one(w);
    hear(w);
    return is_silent(w);
}

static unsigned turns_silent(struct world *w, int64_t ms)
{
    unsigned silent = 0;
    for (int64_t until = w->now + ms * MS; w->now < until;)
        silent += turn(w);
    return silent;
}

static void a_frozen_region_is_noticed(void **state)
{
    (void)state;
    static const struct {
        unsigned per_s;
        int64_t latency_ms, within_ms;
    } cases[] = {{4000, 1, 12}, {2000, 1, 15}, {1000, 1, 20},  {1000, 20, 60},
                 {500, 5, 40},  {100, 5, 150}, {50, 100, 700}, {20, 10, 700}};
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct world w = world(cases[i].per_s, cases[i].latency_ms);
        turns_silent(&w, 60000);
        int64_t worst = 0;
        for (int k = 0; k < 20; k++) {
            w.frozen = true;
            int64_t since = w.now;
            while (!turn(&w))
                assert_true(w.now - since < 5 * FM_NS_PER_S);
            worst = w.now - since > worst ? w.now - since : worst;
            w.frozen = false;
            w.n = 0; /* they went elsewhere */
            turns_silent(&w, 20000);
        }
        if (worst > cases[i].within_ms * MS)
            fail_msg("%u/s at %d ms: noticed after %d ms", cases[i].per_s, (int)cases[i].latency_ms,
                     (int)(worst / MS));
    }
}

static void ordinary_traffic_is_not_silence(void **state)
{
    (void)state;
    static const struct {
        unsigned per_s;
        int64_t latency_ms, tail_ms, heap_ms;
    } cases[] = {
        {4000, 1, 30, 0},   {2000, 1, 0, 0},   {1000, 20, 500, 0}, {200, 50, 200, 0},
        {20, 300, 2000, 0}, {1000, 2, 10, 20}, /* a database that commits in groups */
        {3000, 1, 5, 50},   {5, 100, 400, 0},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct world w = world(cases[i].per_s, cases[i].latency_ms);
        w.tail_ns = cases[i].tail_ms * MS;
        w.heap_ns = cases[i].heap_ms * MS;
        turns_silent(&w, 2000 + 1000000 / cases[i].per_s); /* until it is known a little */
        unsigned silent = turns_silent(&w, 300000);
        if (silent)
            fail_msg("%u/s at %d ms: silent for %u turns", cases[i].per_s, (int)cases[i].latency_ms,
                     silent);
    }
}

/* At three in the morning a job starts eight exports of two seconds each, and nothing else runs. */
static void a_burst_of_slow_requests_in_a_quiet_hour_is_not_silence(void **state)
{
    (void)state;
    struct world w = world(500, 5);
    turns_silent(&w, 60000);
    w.per_s = 1;
    turns_silent(&w, 60000);
    for (int round = 0; round < 10; round++) {
        w.per_s = 0;
        turns_silent(&w, 10000);
        for (int i = 0; i < 8; i++)
            w.flying[w.n++] = (struct flight){w.now, w.now + 2 * FM_NS_PER_S - MS};
        assert_int_equal(turns_silent(&w, 2500), 0);
    }
}

/* The machine of the edge was stopped for 300 ms: its region was not. */
static void a_pause_of_the_listener_is_not_silence(void **state)
{
    (void)state;
    struct world w = world(2000, 2);
    turns_silent(&w, 10000);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 10; i++)
            send_one(&w);
        w.now += 300 * MS;
        assert_true(fm_was_away(300 * MS) && is_silent(&w));
        w.awake = (struct fm_mono){w.now};
        assert_false(is_silent(&w));
        assert_int_equal(turns_silent(&w, 5000), 0);
    }
    assert_false(fm_was_away(FM_SILENCE_LEAST_MS * MS - 1));
}

static void silence_needs_several_answers_owed(void **state)
{
    (void)state;
    struct fm_mono now = {FM_NS_PER_S};
    for (unsigned owed = 0; owed < 12; owed++) {
        struct fm_silence s = {.owed = owed, .oldest = {now.ns - 100 * MS}, .pace_ns = MS};
        assert_int_equal(fm_is_silent(&s, 50 * MS, now), owed >= FM_SILENCE_OWED);
        assert_int_equal(fm_is_silent(&s, 200 * MS, now), owed >= FM_SILENCE_OWED_MANY);
        assert_false(fm_is_silent(&s, INT64_MAX, now)); /* nothing is speculated */
        s.last_heard = (struct fm_mono){now.ns - 5 * MS};
        assert_false(fm_is_silent(&s, 50 * MS, now));
    }
}

static void a_canary_may_take_a_while_but_not_for_ever(void **state)
{
    (void)state;
    struct fm_mono sent = {FM_NS_PER_S};
    assert_false(fm_canary_is_silent(sent, 20 * MS, fm_mono_add_ms(sent, 79)));
    assert_true(fm_canary_is_silent(sent, 20 * MS, fm_mono_add_ms(sent, 80)));
    assert_false(fm_canary_is_silent(sent, INT64_MAX, fm_mono_add_ms(sent, 100000)));
}

static void a_pace_is_between_its_gaps(void **state)
{
    (void)state;
    struct fm_rand r = {5};
    struct fm_mono last = {0}, now = {FM_NS_PER_S};
    int64_t pace = fm_pace_ns(0, last, now);
    assert_int_equal(pace, FM_PACE_MAX_NS);
    for (int i = 0; i < 100000; i++) {
        last = now;
        int64_t gap = (int64_t)(fm_rand_u64(&r) >> (20 + fm_rand_below(&r, 40)));
        now = fm_mono_add_ns(now, gap);
        int64_t before = pace;
        pace = fm_pace_ns(pace, last, now);
        gap = gap < FM_PACE_MAX_NS ? gap : FM_PACE_MAX_NS;
        assert_true(pace >= (before < gap ? before : gap) && pace <= (before > gap ? before : gap));
    }
    assert_true(fm_pace_ns(MS, now, last) <= MS); /* a clock of another thread */
}

FM_TEST_MAIN(
    fm_test(quantiles_are_known_to_a_quarter), fm_test(quantiles_grow_with_their_rank),
    fm_test(no_value_is_too_odd), fm_test(what_it_keeps_is_what_it_holds),
    fm_test(ranks_are_exact_where_buckets_are), fm_test(it_follows_the_last_few_thousand_answers),
    fm_test(what_was_slow_once_is_forgotten), fm_test(what_is_slow_now_and_then_is_the_tail),
    fm_test(a_thin_tail_outlives_a_halving), fm_test(p95_and_p99_are_two_things),
    fm_test(hedges_wait_as_the_policy_says_and_within_bounds),
    fm_test(silence_is_longer_than_any_usual_answer), fm_test(a_frozen_region_is_noticed),
    fm_test(ordinary_traffic_is_not_silence),
    fm_test(a_burst_of_slow_requests_in_a_quiet_hour_is_not_silence),
    fm_test(a_pause_of_the_listener_is_not_silence), fm_test(silence_needs_several_answers_owed),
    fm_test(a_canary_may_take_a_while_but_not_for_ever), fm_test(a_pace_is_between_its_gaps))
