/* Breakers, leaving a region, balancing and the retry budget. */
#include "test.h"

#include "base/rand.h"
#include "core/breaker.h"

static const struct fm_breaker_policy policy = {.failures = 3,
                                                .connects = 2,
                                                .trials = 2,
                                                .hold_ms = 100,
                                                .hold_max_ms = 1000,
                                                .slow_start_ms = 500};

static const enum fm_outcome bad[] = {FM_OUTCOME_ERROR, FM_OUTCOME_CONNECT, FM_OUTCOME_RESET,
                                      FM_OUTCOME_TIMEOUT};

static struct fm_mono at(int64_t ms)
{
    return (struct fm_mono){(1000 + ms) * FM_NS_PER_MS};
}

/* An outcome of what began just now. */
static bool report(struct fm_breaker *b, enum fm_outcome o, int64_t ms)
{
    return fm_breaker_report(b, &policy, o, at(ms), at(ms));
}

static struct fm_breaker opened(int64_t ms)
{
    struct fm_breaker b = {0};
    for (unsigned i = 0; i < policy.failures; i++)
        report(&b, FM_OUTCOME_ERROR, ms);
    assert_int_equal(b.state, FM_BREAKER_OPEN);
    return b;
}

static void failures_in_a_row_open_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < FM_COUNT(bad); i++) {
        struct fm_breaker b = {0};
        unsigned needed = bad[i] == FM_OUTCOME_CONNECT ? policy.connects : policy.failures;
        for (unsigned k = 1; k < needed; k++)
            assert_false(report(&b, bad[i], 0));
        assert_true(fm_breaker_would(&b, &policy, at(0)));
        assert_true(report(&b, bad[i], 0));
        assert_false(fm_breaker_would(&b, &policy, at(0)));
        assert_false(fm_breaker_try(&b, &policy, at(99)));
        assert_false(report(&b, bad[i], 0)); /* it was open already */
    }
}

static void what_is_no_sign_of_death_opens_nothing(void **state)
{
    (void)state;
    static const struct {
        enum fm_outcome between;
        bool breaks_the_row;
    } cases[] = {{FM_OUTCOME_OK, true}, {FM_OUTCOME_REFUSED, true}, {FM_OUTCOME_CANCELLED, false}};
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_breaker b = {0};
        for (int k = 0; k < 1000; k++)
            assert_false(report(&b, cases[i].between, k));
        report(&b, FM_OUTCOME_ERROR, 0);
        report(&b, FM_OUTCOME_ERROR, 0);
        report(&b, cases[i].between, 0);
        assert_int_equal(report(&b, FM_OUTCOME_ERROR, 0), !cases[i].breaks_the_row);
    }
}

static void trials_close_it_and_one_failure_opens_it_again(void **state)
{
    (void)state;
    struct fm_breaker b = opened(0);
    assert_true(fm_breaker_try(&b, &policy, at(100)));
    assert_int_equal(b.state, FM_BREAKER_HALF_OPEN);
    assert_true(fm_breaker_try(&b, &policy, at(100)));
    assert_false(fm_breaker_try(&b, &policy, at(100))); /* two are out */
    struct fm_breaker again = b;
    assert_false(report(&b, FM_OUTCOME_OK, 101));
    assert_false(fm_breaker_would(&b, &policy, at(101))); /* one is out, one was good */
    assert_false(report(&b, FM_OUTCOME_OK, 102));
    assert_int_equal(b.state, FM_BREAKER_CLOSED);
    for (unsigned i = 1; i < policy.connects; i++) /* it begins anew */
        assert_false(report(&b, FM_OUTCOME_CONNECT, 103));
    for (size_t i = 0; i < FM_COUNT(bad); i++) {
        struct fm_breaker c = again;
        report(&c, FM_OUTCOME_OK, 101);
        assert_true(report(&c, bad[i], 101));
        assert_int_equal(c.state, FM_BREAKER_OPEN);
        assert_true(fm_breaker_try(&c, &policy, at(1000))); /* all its trials again */
        assert_false(report(&c, FM_OUTCOME_OK, 1001));
        assert_int_equal(c.state, FM_BREAKER_HALF_OPEN);
    }
    report(&again, FM_OUTCOME_CANCELLED, 101); /* a trial that said nothing: another one */
    assert_true(fm_breaker_try(&again, &policy, at(101)));
}

static void a_trial_without_an_outcome_is_given_up(void **state)
{
    (void)state;
    struct fm_breaker b = opened(0);
    assert_true(fm_breaker_try(&b, &policy, at(100)));
    assert_true(fm_breaker_try(&b, &policy, at(100)));
    assert_false(fm_breaker_try(&b, &policy, at(299)));
    assert_true(fm_breaker_try(&b, &policy, at(300)));
    assert_true(fm_breaker_try(&b, &policy, at(300)));
    assert_false(fm_breaker_try(&b, &policy, at(301))); /* two again, not any number */
    report(&b, FM_OUTCOME_OK, 310);
    report(&b, FM_OUTCOME_OK, 320);
    assert_int_equal(b.state, FM_BREAKER_CLOSED);
}

/* Fifty requests hung when it was opened; it is well again, and then they time out. */
static void what_began_before_the_trials_proves_nothing(void **state)
{
    (void)state;
    struct fm_breaker b = opened(0);
    assert_true(fm_breaker_try(&b, &policy, at(150)));
    for (int i = 0; i < 50; i++) {
        assert_false(fm_breaker_report(&b, &policy, FM_OUTCOME_TIMEOUT, at(-10), at(160)));
        fm_breaker_report(&b, &policy, FM_OUTCOME_OK, at(-10), at(160));
    }
    assert_int_equal(b.state, FM_BREAKER_HALF_OPEN);
    assert_true(fm_breaker_try(&b, &policy, at(160)));
    assert_false(fm_breaker_try(&b, &policy, at(160))); /* they free no trial either */
    for (int i = 0; i < 2; i++)
        fm_breaker_report(&b, &policy, FM_OUTCOME_OK, at(150), at(170));
    assert_int_equal(b.state, FM_BREAKER_CLOSED);
    for (int i = 0; i < 50; i++)
        assert_false(fm_breaker_report(&b, &policy, FM_OUTCOME_TIMEOUT, at(149), at(180)));
    assert_int_equal(b.state, FM_BREAKER_CLOSED);
}

/* Answers that take longer than the hold: a trial that was given up still counts when it comes. */
static void a_slow_target_can_come_back(void **state)
{
    (void)state;
    struct fm_breaker b = opened(0);
    int64_t now = 100;
    for (; now < 100000 && b.state != FM_BREAKER_CLOSED; now += 50) {
        fm_breaker_try(&b, &policy, at(now));
        if (now >= 1600) /* each takes 1.5 s */
            fm_breaker_report(&b, &policy, FM_OUTCOME_OK, at(now - 1500), at(now));
    }
    assert_in_range(now, 1600, 2000);
}

static void holds_double_within_their_bound_and_are_forgotten(void **state)
{
    (void)state;
    static const int64_t hold_ms[] = {100, 200, 400, 800, 1000, 1000, 1000};
    struct fm_breaker b = opened(0);
    int64_t now = 0;
    for (size_t i = 0; i < FM_COUNT(hold_ms); i++) {
        assert_int_equal(b.until.ns, at(now + hold_ms[i]).ns);
        assert_false(fm_breaker_would(&b, &policy, at(now + hold_ms[i] - 1)));
        now += hold_ms[i];
        assert_true(fm_breaker_try(&b, &policy, at(now)));
        if (i + 1 < FM_COUNT(hold_ms))
            assert_true(report(&b, FM_OUTCOME_RESET, now));
    }
    for (unsigned i = 0; i < 300; i++) { /* far beyond what a relapse counter holds */
        struct fm_breaker c = b;
        c.relapses = (uint8_t)(i < UINT8_MAX ? i : UINT8_MAX);
        report(&c, FM_OUTCOME_RESET, now);
        assert_true(fm_mono_sub_ms(c.until, at(now)) <= policy.hold_max_ms);
    }
    report(&b, FM_OUTCOME_OK, now);
    report(&b, FM_OUTCOME_OK, now);
    assert_int_equal(b.state, FM_BREAKER_CLOSED);
    struct fm_breaker soon = b, late = b;
    for (unsigned i = 0; i < policy.failures; i++) {
        report(&soon, FM_OUTCOME_ERROR, now + 1000);
        report(&late, FM_OUTCOME_ERROR, now + 8 * 1000 + 1);
    }
    assert_int_equal(fm_mono_sub_ms(soon.until, at(now + 1000)), 1000);
    assert_int_equal(fm_mono_sub_ms(late.until, at(now + 8001)), 100);
}

static void a_slow_start_only_grows(void **state)
{
    (void)state;
    struct fm_breaker b = {0};
    assert_int_equal(fm_breaker_share(&b, &policy, at(0)), 1000); /* it never failed */
    assert_int_equal(fm_breaker_share(&b, &policy, at(-999)), 1000);
    b = opened(0);
    fm_breaker_try(&b, &policy, at(100));
    report(&b, FM_OUTCOME_OK, 100);
    report(&b, FM_OUTCOME_OK, 100);
    unsigned share = 0;
    for (int64_t ms = 0; ms <= 600; ms++) {
        unsigned s = fm_breaker_share(&b, &policy, at(100 + ms));
        assert_true(s >= share && s >= 100 && s <= 1000);
        share = s;
    }
    assert_int_equal(share, 1000);
    assert_int_equal(fm_breaker_share(&b, &policy, at(50)), 100); /* a clock a little behind */
    assert_int_equal(fm_breaker_share(&b, &policy, at(100)), 100);
    assert_int_equal(fm_breaker_share(&b, &policy, at(350)), 550);
    struct fm_breaker_policy at_once = policy;
    at_once.slow_start_ms = 0;
    assert_int_equal(fm_breaker_share(&b, &at_once, at(100)), 1000);
}

/* -------- long walks -------- */

struct flight {
    int64_t began;
    bool trial;
};

static void walk(uint64_t seed)
{
    struct fm_rand r = {seed};
    struct fm_breaker_policy p = {.failures = (uint8_t)(1 + fm_rand_below(&r, 6)),
                                  .connects = (uint8_t)(1 + fm_rand_below(&r, 6)),
                                  .trials = (uint8_t)(1 + fm_rand_below(&r, 4)),
                                  .hold_ms = 1 + (int32_t)fm_rand_below(&r, 500),
                                  .slow_start_ms = (int32_t)fm_rand_below(&r, 3000)};
    p.hold_max_ms = p.hold_ms + (int32_t)fm_rand_below(&r, 5000);
    struct fm_breaker b = {0};
    struct flight flying[64];
    unsigned n = 0, admitted = 0, answered = 0, given_up = 0;
    int64_t now = 0, opened_at = 0;
    for (int i = 0; i < 3000; i++) {
        now += fm_rand_below(&r, 8) ? fm_rand_below(&r, 20) : fm_rand_below(&r, 3000);
        unsigned before = b.state;
        if (n < FM_COUNT(flying) && fm_rand_below(&r, 2)) {
            bool would = fm_breaker_would(&b, &p, at(now));
            bool over = before == FM_BREAKER_HALF_OPEN && !fm_mono_before(at(now), b.until);
            assert_int_equal(fm_breaker_try(&b, &p, at(now)), would);
            if (before == FM_BREAKER_OPEN && would) {
                assert_int_equal(b.state, FM_BREAKER_HALF_OPEN);
                admitted = answered = given_up = 0;
            }
            if (would && b.state == FM_BREAKER_HALF_OPEN) {
                given_up += over;
                admitted++;
                assert_true(admitted <= answered + p.trials * (1 + given_up));
            }
            if (would)
                flying[n++] = (struct flight){now, b.state == FM_BREAKER_HALF_OPEN};
        } else if (n) {
            unsigned k = fm_rand_below(&r, n);
            struct flight f = flying[k];
            flying[k] = flying[--n];
            bool mood = now / 10000 % 2 == 0;
            enum fm_outcome o = fm_rand_below(&r, 10) == 0
                                    ? (enum fm_outcome)fm_rand_below(&r, FM_OUTCOME_COUNT)
                                : mood ? FM_OUTCOME_OK
                                       : bad[fm_rand_below(&r, FM_COUNT(bad))];
            answered += f.trial;
            bool tripped = fm_breaker_report(&b, &p, o, at(f.began), at(now));
            assert_int_equal(tripped, before != FM_BREAKER_OPEN && b.state == FM_BREAKER_OPEN);
            if (before == FM_BREAKER_OPEN)
                assert_int_equal(b.state, FM_BREAKER_OPEN); /* only time ends a hold */
            if (tripped)
                opened_at = now;
        }
        if (b.state == FM_BREAKER_OPEN) {
            int64_t hold = fm_mono_sub_ms(b.until, at(opened_at));
            assert_in_range(hold, p.hold_ms, p.hold_max_ms);
        }
        assert_in_range(fm_breaker_share(&b, &p, at(now)), 100, 1000);
    }
}

static void no_walk_leaves_the_rules(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 1000; seed++)
        walk(seed);
}

/* -------- leaving -------- */

/* An outcome of what began `age` before. */
static bool leaves(struct fm_leave *l, enum fm_outcome o, uint32_t epoch, int64_t ms, int64_t age)
{
    return fm_leave_report(l, o, epoch, at(ms - age), at(ms));
}

static void a_worker_leaves_after_failures_in_a_row_and_for_a_second(void **state)
{
    (void)state;
    struct fm_leave l = {0};
    for (unsigned i = 1; i < FM_LEAVE_FAILURES; i++)
        assert_false(leaves(&l, bad[i % FM_COUNT(bad)], 7, 0, 5));
    assert_false(fm_leave_is_left(&l, 7, at(0)));
    assert_true(leaves(&l, FM_OUTCOME_ERROR, 7, 0, 5));
    assert_true(fm_leave_is_left(&l, 7, at(FM_LEAVE_MS - 1)));
    assert_false(fm_leave_is_left(&l, 7, at(FM_LEAVE_MS)));
    assert_false(fm_leave_now(&l, 7, at(10))); /* it has */
    assert_true(fm_leave_now(&l, 7, at(FM_LEAVE_MS)));
}

static void health_has_the_last_word_about_leaving(void **state)
{
    (void)state;
    struct fm_leave l = {0};
    assert_true(fm_leave_now(&l, 1, at(0)));
    assert_false(fm_leave_is_left(&l, 2, at(0)));
    for (unsigned i = 0; i < 300; i++) /* those that were under way */
        leaves(&l, FM_OUTCOME_RESET, 1, 1, 5);
    for (unsigned i = 1; i < FM_LEAVE_FAILURES; i++)
        assert_false(leaves(&l, FM_OUTCOME_ERROR, 2, 2, 0));
    assert_true(leaves(&l, FM_OUTCOME_ERROR, 2, 2, 0));
    assert_true(fm_leave_now(&l, 3, at(3)));
    assert_true(fm_leave_is_left(&l, 3, at(3)) && !l.sure);
}

static void a_success_breaks_the_row_and_a_cancelled_request_does_not(void **state)
{
    (void)state;
    struct fm_leave l = {0};
    for (unsigned i = 0; i < 10 * FM_LEAVE_FAILURES; i++) {
        assert_false(leaves(&l, FM_OUTCOME_TIMEOUT, 0, 0, 0));
        if (i % (FM_LEAVE_FAILURES - 1) == 2)
            leaves(&l, i % 2 ? FM_OUTCOME_OK : FM_OUTCOME_REFUSED, 0, 0, 0);
    }
    l = (struct fm_leave){0};
    for (unsigned i = 1; i < FM_LEAVE_FAILURES; i++) {
        leaves(&l, FM_OUTCOME_TIMEOUT, 0, 0, 0);
        assert_false(leaves(&l, FM_OUTCOME_CANCELLED, 0, 0, 0));
    }
    assert_true(leaves(&l, FM_OUTCOME_TIMEOUT, 0, 0, 0));
}

/* One of ten instances dies with two hundred requests in it: reason to leave, and for what is under
 * way to go elsewhere, but no outage of the region. */
static void what_fails_all_at_once_makes_nobody_sure(void **state)
{
    (void)state;
    struct fm_leave l = {0};
    unsigned left = 0;
    for (int i = 0; i < 200; i++)
        left += leaves(&l, FM_OUTCOME_RESET, 0, 10 + i / 50, 100);
    assert_int_equal(left, 1);
    assert_false(l.sure);
    /* the other nine answer */
    leaves(&l, FM_OUTCOME_OK, 0, 20, 100);
    for (unsigned i = 1; i < FM_LEAVE_FAILURES; i++)
        leaves(&l, FM_OUTCOME_RESET, 0, 2000, 100);
    assert_false(l.sure);

    /* all ten died: after a second one more tries, and then it is sure */
    l = (struct fm_leave){0};
    for (int i = 0; i < 200; i++)
        leaves(&l, FM_OUTCOME_RESET, 0, 10, 100);
    assert_false(l.sure);
    assert_true(leaves(&l, FM_OUTCOME_ERROR, 0, 1020, 1));
    assert_true(l.sure);
}

/* 2,000 requests a second that are all answered with 503 after a millisecond. */
static void a_region_that_keeps_failing_makes_sure_at_once(void **state)
{
    (void)state;
    struct fm_leave l = {0};
    int64_t us = 0;
    bool left = false;
    for (; !left; us += 500) {
        struct fm_mono now = {at(0).ns + us * FM_NS_PER_US};
        struct fm_mono began = fm_mono_add_ns(now, -FM_NS_PER_MS);
        left = fm_leave_report(&l, FM_OUTCOME_ERROR, 0, began, now);
    }
    assert_true(l.sure && us <= 3000);
}

/* -------- balancing -------- */

static void only_what_is_usable_is_chosen_and_what_was_tried_comes_last(void **state)
{
    (void)state;
    struct fm_rand r = {1};
    assert_int_equal(fm_balance(NULL, 0, 5), -1);
    for (int i = 0; i < 100000; i++) {
        struct fm_instance in[9];
        unsigned n = fm_rand_below(&r, FM_COUNT(in) + 1);
        bool usable = false, fresh = false;
        for (unsigned k = 0; k < n; k++) {
            in[k] = (struct fm_instance){.usable = fm_rand_below(&r, 2),
                                         .tried = fm_rand_below(&r, 2),
                                         .in_flight = fm_rand_below(&r, 5),
                                         .share = (uint16_t)(1 + fm_rand_below(&r, 1000))};
            usable |= in[k].usable;
            fresh |= in[k].usable && !in[k].tried;
        }
        int got = fm_balance(in, n, fm_rand_u64(&r));
        assert_int_equal(got >= 0, usable);
        if (!usable)
            continue;
        assert_true((unsigned)got < n && in[got].usable);
        assert_int_equal(!in[got].tried, fresh);
    }
}

static void of_two_the_less_loaded_is_chosen(void **state)
{
    (void)state;
    static const struct {
        uint32_t a_flight, b_flight;
        uint16_t a_share, b_share;
        int expected; /* -1: either */
    } cases[] = {
        {0, 1, 1000, 1000, 0}, {5, 4, 1000, 1000, 1}, {3, 3, 1000, 1000, -1}, {0, 0, 100, 1000, 1},
        {0, 8, 100, 1000, 1},  {0, 10, 100, 1000, 0}, {0, 9, 100, 1000, -1},  {0, 0, 1, 1, -1},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_instance in[2] = {
            {.usable = true, .in_flight = cases[i].a_flight, .share = cases[i].a_share},
            {.usable = true, .in_flight = cases[i].b_flight, .share = cases[i].b_share}};
        bool seen[2] = {false, false};
        struct fm_rand r = {i};
        for (int k = 0; k < 200; k++)
            seen[fm_balance(in, 2, fm_rand_u64(&r))] = true;
        if (cases[i].expected < 0)
            assert_true(seen[0] && seen[1]);
        else
            assert_true(seen[cases[i].expected] && !seen[1 - cases[i].expected]);
    }
}

/* Each pair of them is drawn equally often. */
static void the_two_are_drawn_evenly(void **state)
{
    (void)state;
    enum { DRAWS = 30000 };
    struct fm_rand r = {8};
    for (unsigned n = 2; n <= 8; n++)
        for (unsigned idle = 0; idle < n; idle++) {
            struct fm_instance in[8];
            for (unsigned i = 0; i < n; i++)
                in[i] = (struct fm_instance){.usable = true, .in_flight = i != idle, .share = 1000};
            unsigned found = 0;
            for (unsigned k = 0; k < DRAWS; k++)
                found += fm_balance(in, n, fm_rand_u64(&r)) == (int)idle;
            assert_in_range(found, DRAWS * 2 / n * 95 / 100, DRAWS * 2 / n * 105 / 100);
        }
}

/* Arrivals at instances that are equally fast: nobody gets far more than his part, and one that
 * starts slowly gets about the share that it may have. */
static void load_is_spread_by_share(void **state)
{
    (void)state;
    enum { N = 10, ROUNDS = 200000, SLOTS = 64 };
    struct fm_instance in[N];
    for (unsigned i = 0; i < N; i++)
        in[i] = (struct fm_instance){.usable = true, .share = 1000};
    in[3].share = 250;
    unsigned chosen[N] = {0};
    int slot[SLOTS];
    struct fm_rand r = {99};
    for (unsigned i = 0; i < SLOTS; i++)
        slot[i] = -1;
    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned s = fm_rand_below(&r, SLOTS); /* the request that was there is over */
        if (slot[s] >= 0)
            in[slot[s]].in_flight--;
        slot[s] = fm_balance(in, N, fm_rand_u64(&r));
        assert_true(slot[s] >= 0);
        in[slot[s]].in_flight++;
        chosen[slot[s]]++;
        assert_true(in[slot[s]].in_flight < 20);
    }
    for (unsigned i = 0; i < N; i++)
        if (i != 3)
            assert_in_range(chosen[i], ROUNDS / N * 85 / 100, ROUNDS / N * 125 / 100);
    assert_in_range(chosen[3], ROUNDS / N * 15 / 100, ROUNDS / N * 45 / 100);
}

/* -------- the budget -------- */

static void the_budget_is_a_share_with_a_floor(void **state)
{
    (void)state;
    static const struct {
        uint32_t in_flight, retrying, ppm, floor;
        bool allowed;
    } cases[] = {
        {0, 0, 200000, 10, true},
        {0, 9, 200000, 10, true},
        {0, 10, 200000, 10, false},
        {100, 19, 200000, 10, true},
        {100, 20, 200000, 10, false},
        {100, 0, 0, 0, false},
        {4, 0, 200000, 0, false}, /* less than one */
        {UINT32_MAX, 858993458, 200000, 0, true},
        {UINT32_MAX, UINT32_MAX, 1000000, 0, false},
        {UINT32_MAX, UINT32_MAX - 1, 1000000, 0, true},
        {10, 5, 200000, UINT32_MAX, true},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++)
        assert_int_equal(
            fm_budget_allows(cases[i].in_flight, cases[i].retrying, cases[i].ppm, cases[i].floor),
            cases[i].allowed);
}

static void hedges_leave_half_of_the_budget_to_retries(void **state)
{
    (void)state;
    static const struct {
        uint32_t in_flight, retrying, ppm, floor;
        bool allowed;
    } cases[] = {
        {0, 4, 200000, 10, true},       {0, 5, 200000, 10, false}, {100, 9, 200000, 10, true},
        {100, 10, 200000, 10, false},   {0, 0, 0, 0, false},       {0, 0, 200000, 1, true},
        {0, 1, 200000, 1, false},       {0, 1, 200000, 3, true},   {0, 2, 200000, 3, false},
        {0, 0x80000000u, 0, 10, false}, {9, 0, 1000000, 0, true},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++)
        assert_int_equal(fm_budget_allows_hedge(cases[i].in_flight, cases[i].retrying, cases[i].ppm,
                                                cases[i].floor),
                         cases[i].allowed);
}

static void another_instance_vouches_for_its_region(void **state)
{
    (void)state;
    const struct fm_instance free = {.usable = true}, dead = {.in_flight = 0},
                             taken = {.usable = true, .in_flight = 1},
                             drained = {.usable = true, .spared = true};
    assert_true(fm_instance_vouches(&free, true) && fm_instance_vouches(&free, false));
    assert_true(fm_instance_vouches(&taken, false));
    assert_false(fm_instance_vouches(&taken, true));
    assert_false(fm_instance_vouches(&dead, false));
    assert_false(fm_instance_vouches(&drained, false)); /* it takes nothing of what comes */
    for (unsigned i = 0; i < FM_OUTCOME_COUNT; i++) {
        enum fm_outcome o = (enum fm_outcome)i;
        bool of_one = o == FM_OUTCOME_CONNECT || o == FM_OUTCOME_TIMEOUT;
        assert_int_equal(fm_outcome_of_region(o, false), o);
        assert_int_equal(fm_outcome_of_region(o, true), of_one ? FM_OUTCOME_CANCELLED : o);
    }
}

FM_TEST_MAIN(fm_test(failures_in_a_row_open_it), fm_test(what_is_no_sign_of_death_opens_nothing),
             fm_test(trials_close_it_and_one_failure_opens_it_again),
             fm_test(a_trial_without_an_outcome_is_given_up),
             fm_test(what_began_before_the_trials_proves_nothing),
             fm_test(a_slow_target_can_come_back),
             fm_test(holds_double_within_their_bound_and_are_forgotten),
             fm_test(a_slow_start_only_grows), fm_test(no_walk_leaves_the_rules),
             fm_test(a_worker_leaves_after_failures_in_a_row_and_for_a_second),
             fm_test(health_has_the_last_word_about_leaving),
             fm_test(a_success_breaks_the_row_and_a_cancelled_request_does_not),
             fm_test(what_fails_all_at_once_makes_nobody_sure),
             fm_test(a_region_that_keeps_failing_makes_sure_at_once),
             fm_test(only_what_is_usable_is_chosen_and_what_was_tried_comes_last),
             fm_test(of_two_the_less_loaded_is_chosen), fm_test(the_two_are_drawn_evenly),
             fm_test(load_is_spread_by_share), fm_test(the_budget_is_a_share_with_a_floor),
             fm_test(hedges_leave_half_of_the_budget_to_retries),
             fm_test(another_instance_vouches_for_its_region))
