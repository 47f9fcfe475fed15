/* Health, as an SRE would try to fool it: what takes a region down, what must not, and that it
 * comes back only by DOWN, TRIAL, RAMP, UP, with canaries. The world around the machine (clients,
 * probes, tokens) is in test_health_walk.c; here are the rules one by one. */
#include "test.h"

#include "core/health.h"

/* One machine with its clock. */
struct patient {
    struct fm_health h;
    struct fm_health_policy p;
    struct fm_mono now;
    struct fm_health_verdict v;
};

static const struct fm_health_counts one_ok = {.ok = 1}, one_error = {.error = 1};

static struct patient fresh(void)
{
    struct patient x = {.p = fm_health_policy_default, .now = {5 * FM_NS_PER_S}};
    fm_health_init(&x.h, x.now);
    return x;
}

static void step(struct patient *x, struct fm_health_event e)
{
    x->v = fm_health_step(&x->h, &x->p, &e, x->now, 0);
}

static void pass(struct patient *x, int64_t ms)
{
    x->now = fm_mono_add_ms(x->now, ms);
}

static void probe(struct patient *x, bool ok)
{
    step(x, (struct fm_health_event){.kind = FM_HEALTH_PROBE, .ok = ok});
}

static void traffic(struct patient *x, struct fm_health_counts c)
{
    step(x, (struct fm_health_event){.kind = FM_HEALTH_TRAFFIC, .counts = c});
}

static void tick(struct patient *x)
{
    step(x, (struct fm_health_event){.kind = FM_HEALTH_TICK});
}

static void nobody(struct patient *x)
{
    step(x, (struct fm_health_event){.kind = FM_HEALTH_NOBODY});
}

static void silence(struct patient *x)
{
    step(x, (struct fm_health_event){.kind = FM_HEALTH_SILENCE});
}

static void heard(struct patient *x)
{
    step(x, (struct fm_health_event){.kind = FM_HEALTH_HEARD});
}

#define assert_state(x, expected)                                                                  \
    assert_string_equal(fm_health_state_name((x)->h.state),                                        \
                        fm_health_state_name(FM_HEALTH_##expected))
#define assert_why(x, expected)                                                                    \
    assert_string_equal(fm_health_reason_name((x)->h.why),                                         \
                        fm_health_reason_name(FM_HEALTH_WHY_##expected))

static void good_probes(struct patient *x)
{
    for (unsigned i = 0; i < x->p.samples || i < x->p.rise; i++)
        probe(x, true);
}

/* Into TRIAL by way of refused connections; probes, if there are any, succeed. */
static struct patient in_trial(void)
{
    struct patient x = fresh();
    nobody(&x);
    assert_state(&x, DOWN);
    good_probes(&x);
    pass(&x, x.p.hold_ms + x.p.hold_ms / 10);
    tick(&x);
    assert_state(&x, TRIAL);
    return x;
}

static struct patient in_ramp(void)
{
    struct patient x = in_trial();
    for (unsigned i = 0; i < x.p.canaries; i++)
        traffic(&x, one_ok);
    assert_state(&x, RAMP);
    return x;
}

/* -------- probes -------- */

static void a_start_is_no_outage(void **state)
{
    (void)state;
    struct patient x = fresh();
    assert_int_equal(fm_health_share(&x.h, &x.p, x.now), 1000);
    probe(&x, false); /* 1 of 4 may fail, and the other three are not known yet */
    assert_state(&x, UP);
    probe(&x, false);
    assert_state(&x, DOWN);
    assert_why(&x, PROBES_FAIL);
    assert_true(x.v.changed && x.v.from == FM_HEALTH_UP && x.v.share == 0);
}

static void n_of_m_probes_decide(void **state)
{
    (void)state;
    static const struct {
        uint8_t samples, successes;
        const char *probes; /* oldest first */
        bool down;
    } cases[] = {
        {4, 3, "1110", false},     {4, 3, "11100", true},     {4, 3, "1010", true},
        {4, 3, "01110111", false}, {4, 4, "11110", true},     {4, 1, "0001", false},
        {4, 1, "1000", false},     {4, 1, "10000", true},     {1, 1, "0", true},
        {1, 1, "1", false},        {8, 1, "100000000", true}, {8, 1, "10000000", false},
        {3, 2, "110110", false},   {3, 2, "1100", true},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct patient x = fresh();
        x.p.samples = cases[i].samples;
        x.p.successes = cases[i].successes;
        bool down = false;
        for (const char *c = cases[i].probes; *c; c++) {
            assert_false(down); /* only the last of them may decide */
            probe(&x, *c == '1');
            down = x.h.state == FM_HEALTH_DOWN;
        }
        assert_int_equal(down, cases[i].down);
    }
}

static void every_allowed_number_of_samples_works(void **state)
{
    (void)state;
    for (unsigned samples = 1; samples <= FM_HEALTH_SAMPLES_MAX; samples++) {
        for (unsigned successes = 1; successes <= samples; successes++) {
            struct patient x = fresh();
            x.p.samples = (uint8_t)samples;
            x.p.successes = (uint8_t)successes;
            for (unsigned i = 0; i < 70; i++)
                probe(&x, true);
            for (unsigned i = 0; i < samples - successes; i++)
                probe(&x, false);
            assert_state(&x, UP);
            probe(&x, false);
            assert_state(&x, DOWN);
        }
    }
}

static void probes_are_fast_only_in_doubt(void **state)
{
    (void)state;
    struct patient x = fresh();
    assert_int_equal(fm_health_probe_in_ms(&x.h, &x.p, 0), x.p.fast_interval_ms); /* few so far */
    good_probes(&x);
    assert_int_equal(fm_health_probe_in_ms(&x.h, &x.p, 0), x.p.interval_ms);
    probe(&x, false);
    assert_int_equal(fm_health_probe_in_ms(&x.h, &x.p, 0), x.p.fast_interval_ms);
    good_probes(&x);
    traffic(&x, one_error);
    assert_int_equal(fm_health_probe_in_ms(&x.h, &x.p, 0), x.p.fast_interval_ms);
    pass(&x, 2000);
    probe(&x, true); /* the failure is out of the window */
    assert_int_equal(fm_health_probe_in_ms(&x.h, &x.p, 0), x.p.interval_ms);
    for (unsigned i = 0; i < 4; i++)
        probe(&x, false);
    assert_state(&x, DOWN);
    assert_int_equal(fm_health_probe_in_ms(&x.h, &x.p, 0), x.p.interval_ms); /* not hammered */
    probe(&x, true);
    assert_int_equal(fm_health_probe_in_ms(&x.h, &x.p, 0), x.p.fast_interval_ms);
    for (uint64_t random = 0; random < 1000; random++) {
        int64_t ms = fm_health_probe_in_ms(&x.h, &x.p, random);
        assert_in_range(ms, x.p.fast_interval_ms, x.p.fast_interval_ms + x.p.fast_interval_ms / 10);
    }
}

/* -------- traffic -------- */

static void traffic_alone_takes_a_region_down(void **state)
{
    (void)state;
    static const struct {
        struct fm_health_counts batch[3]; /* 60 ms apart */
        enum fm_health_reason why;        /* COUNT: stays up */
    } cases[] = {
        {{{.error = 2}, {.error = 1}, {.error = 2}}, FM_HEALTH_WHY_FAILURES},
        {{{.error = 2}, {.connect = 1}, {.reset = 1, .timeout = 1}}, FM_HEALTH_WHY_FAILURES},
        {{{.error = 1}, {.error = 1}, {.error = 2}}, FM_HEALTH_WHY_COUNT},
        {{{.error = 4}, {.ok = 1}, {.error = 4}}, FM_HEALTH_WHY_COUNT},
        {{{.ok = 1, .error = 9}}, FM_HEALTH_WHY_COUNT}, /* too few to speak of a ratio */
        {{{.ok = 1, .error = 10}}, FM_HEALTH_WHY_FAILURE_RATIO},
        {{{.ok = 10, .error = 10}}, FM_HEALTH_WHY_FAILURE_RATIO},
        {{{.ok = 11, .error = 10}}, FM_HEALTH_WHY_COUNT},
        {{{.ok = 39, .slow = 20}}, FM_HEALTH_WHY_SLOW},
        {{{.ok = 41, .slow = 20}}, FM_HEALTH_WHY_COUNT},
        {{{.ok = 19, .slow = 19}}, FM_HEALTH_WHY_COUNT}, /* too few */
        {{{.ok = UINT32_MAX}, {.ok = UINT32_MAX, .error = UINT32_MAX}},
         FM_HEALTH_WHY_FAILURE_RATIO},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct patient x = fresh();
        for (size_t k = 0; k < FM_COUNT(cases[i].batch) && x.h.state == FM_HEALTH_UP; k++) {
            traffic(&x, cases[i].batch[k]);
            pass(&x, 60);
        }
        bool down = cases[i].why != FM_HEALTH_WHY_COUNT;
        assert_int_equal(x.h.state == FM_HEALTH_DOWN, down);
        if (down)
            assert_int_equal(x.h.why, cases[i].why);
    }
}

/* One of several instances dies, and all that was under way there fails in one moment. */
static void failures_of_one_moment_are_no_outage(void **state)
{
    (void)state;
    struct patient x = fresh();
    traffic(&x, (struct fm_health_counts){.ok = 200});
    pass(&x, 50);
    traffic(&x, (struct fm_health_counts){.reset = 150});
    assert_state(&x, UP);
    pass(&x, 20);
    traffic(&x, (struct fm_health_counts){.ok = 10});
    pass(&x, 200);
    traffic(&x, one_error);
    assert_state(&x, UP);
    struct patient ramp = in_ramp();
    traffic(&ramp, (struct fm_health_counts){.ok = 2000});
    pass(&ramp, 1100);
    traffic(&ramp, (struct fm_health_counts){.reset = 9});
    assert_state(&ramp, RAMP);
}

static void what_began_before_a_trial_is_no_news(void **state)
{
    (void)state;
    struct patient x = in_trial();
    struct fm_mono tried = x.h.tried_at;
    assert_int_equal(tried.ns, x.now.ns);
    assert_true(fm_health_is_news(tried, tried));
    assert_true(fm_health_is_news(fm_mono_add_ms(tried, -50), tried)); /* of the same turn */
    assert_false(fm_health_is_news(fm_mono_add_ms(tried, -500), tried));
    assert_true(fm_health_is_news(FM_MONO_ZERO, FM_MONO_ZERO)); /* it never had one */
    for (unsigned i = 0; i < x.p.canaries; i++)
        traffic(&x, one_ok);
    assert_int_equal(x.h.tried_at.ns, tried.ns);
}

static void the_ratio_forgets_after_a_second(void **state)
{
    (void)state;
    struct patient x = fresh();
    traffic(&x, (struct fm_health_counts){.ok = 1, .error = 9});
    pass(&x, 1000);
    traffic(&x, (struct fm_health_counts){.ok = 1, .error = 9});
    assert_state(&x, UP);
    assert_int_equal(fm_health_window(&x.h).error, 9);
    pass(&x, 300);
    traffic(&x, (struct fm_health_counts){.ok = 1, .error = 1});
    assert_state(&x, DOWN);
}

static void a_step_of_a_clock_that_stood_still_or_leapt_is_harmless(void **state)
{
    (void)state;
    struct patient x = fresh();
    traffic(&x, (struct fm_health_counts){.ok = 5, .error = 2});
    pass(&x, 10LL * 365 * 24 * 3600 * 1000);
    traffic(&x, one_ok);
    assert_int_equal(fm_health_window(&x.h).ok, 1);
    pass(&x, -50); /* another thread read the clock a little earlier */
    traffic(&x, one_ok);
    assert_int_equal(fm_health_window(&x.h).ok, 2);
}

/* -------- silence -------- */

static void a_pause_is_left_and_forgiven(void **state)
{
    (void)state;
    struct patient x = fresh();
    silence(&x);
    assert_state(&x, SUSPECT);
    assert_int_equal(x.v.share, 0);
    assert_int_equal(x.v.wake.ns, fm_mono_add_ms(x.now, x.p.suspect_ms).ns);
    pass(&x, x.p.suspect_ms - 1);
    tick(&x);
    assert_state(&x, SUSPECT);
    heard(&x);
    assert_state(&x, UP);
    assert_int_equal(x.v.share, 1000);
    assert_int_equal(x.h.flips, 0); /* no outage */
}

static void silence_that_lasts_is_an_outage(void **state)
{
    (void)state;
    struct patient x = fresh();
    silence(&x);
    pass(&x, x.p.suspect_ms);
    tick(&x);
    assert_state(&x, DOWN);
    assert_why(&x, SILENT);
    heard(&x); /* too late: now canaries have to show it */
    assert_state(&x, DOWN);
}

static void a_suspect_that_fails_is_down(void **state)
{
    (void)state;
    struct patient x = fresh();
    silence(&x);
    traffic(&x, (struct fm_health_counts){.reset = 5});
    assert_state(&x, DOWN);
    x = fresh();
    silence(&x);
    for (unsigned i = 0; i < x.p.samples; i++)
        probe(&x, false);
    assert_state(&x, DOWN);
    assert_why(&x, PROBES_FAIL);
}

static void after_a_pause_a_ramp_begins_anew(void **state)
{
    (void)state;
    struct patient x = in_ramp();
    pass(&x, x.p.ramp_ms / 2);
    tick(&x);
    assert_in_range(x.v.share, 400, 600);
    silence(&x);
    assert_state(&x, SUSPECT);
    heard(&x);
    assert_state(&x, RAMP);
    assert_int_equal(x.v.share, 50);
    silence(&x);
    pass(&x, x.p.suspect_ms);
    tick(&x);
    assert_state(&x, DOWN);
}

static void a_pause_wipes_no_evidence_out(void **state)
{
    (void)state;
    struct patient x = fresh();
    for (unsigned i = 0; i < x.p.failures_in_row - 1; i++) {
        assert_state(&x, UP);
        traffic(&x, one_error);
        pass(&x, 30);
        silence(&x);
        heard(&x);
    }
    traffic(&x, one_error);
    assert_state(&x, DOWN);
    assert_why(&x, FAILURES);
}

/* An application that is cut off its processor ten times a second, for most of the time. */
static void pause_after_pause_is_an_outage(void **state)
{
    (void)state;
    static const struct {
        int64_t silent_ms, heard_ms;
        int64_t least_ms, most_ms; /* until it is down; 0 = never */
    } cases[] = {
        {70, 30, 1500, 3000}, {140, 60, 1500, 3500}, {40, 60, 4000, 8000},
        {20, 80, 0, 0},       {30, 1000, 0, 0}, /* a collector of garbage */
        {140, 2000, 0, 0},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct patient x = fresh();
        struct fm_mono start = x.now;
        while (x.h.state != FM_HEALTH_DOWN && fm_mono_sub_ms(x.now, start) < 600 * 1000) {
            pass(&x, cases[i].heard_ms);
            silence(&x);
            pass(&x, cases[i].silent_ms);
            heard(&x);
        }
        if (cases[i].most_ms) {
            assert_why(&x, PAUSES);
            assert_in_range(fm_mono_sub_ms(x.now, start), cases[i].least_ms, cases[i].most_ms);
        } else {
            assert_state(&x, UP);
        }
    }
}

/* -------- the way back -------- */

static void passing_probes_alone_never_bring_it_back(void **state)
{
    (void)state;
    struct patient x = fresh();
    traffic(&x, (struct fm_health_counts){.error = 15});
    for (int i = 0; i < 24 * 3600 * 2; i++) { /* a day */
        pass(&x, 500);
        probe(&x, true);
        tick(&x);
        assert_true(x.h.state == FM_HEALTH_DOWN || x.h.state == FM_HEALTH_TRIAL);
        assert_int_equal(x.v.share, 0);
    }
    assert_state(&x, TRIAL);
}

static void canaries_and_time_bring_it_back(void **state)
{
    (void)state;
    struct patient x = in_trial();
    assert_true(x.v.canary && !x.v.canary_any);
    assert_int_equal(x.v.share, 0);
    for (unsigned i = 1; i < x.p.canaries; i++) {
        traffic(&x, one_ok);
        assert_state(&x, TRIAL);
        assert_true(x.v.canary); /* the next one at once */
    }
    traffic(&x, one_ok);
    assert_state(&x, RAMP);
    assert_false(x.v.canary);
    unsigned share = x.v.share;
    assert_int_equal(share, 50);
    for (int64_t ms = 0; ms < x.p.ramp_ms; ms += 100) {
        assert_state(&x, RAMP);
        pass(&x, 100);
        tick(&x);
        assert_true(x.v.share >= share && x.v.share <= 1000);
        share = x.v.share;
    }
    assert_state(&x, UP);
    assert_why(&x, RAMP_OVER);
    assert_int_equal(x.v.share, 1000);
}

static void one_failed_canary_is_enough(void **state)
{
    (void)state;
    static const struct fm_health_counts failures[] = {
        {.error = 1}, {.connect = 1}, {.reset = 1}, {.timeout = 1}, {.ok = 2, .error = 1}};
    for (size_t i = 0; i < FM_COUNT(failures); i++) {
        struct patient x = in_trial();
        traffic(&x, failures[i]);
        assert_state(&x, DOWN);
        assert_why(&x, CANARY_FAILED);
        assert_false(x.v.canary);
    }
}

static void a_hold_is_kept_and_probes_must_have_passed(void **state)
{
    (void)state;
    struct patient x = fresh();
    nobody(&x);
    good_probes(&x);
    pass(&x, x.p.hold_ms - 1);
    tick(&x);
    assert_state(&x, DOWN);
    pass(&x, 1);
    tick(&x);
    assert_state(&x, TRIAL);

    x = fresh();
    nobody(&x);
    pass(&x, 3600 * 1000);
    tick(&x);
    assert_state(&x, DOWN); /* the hold is over; nothing was heard from its probes */
    for (unsigned i = 1; i < x.p.rise; i++)
        probe(&x, true);
    assert_state(&x, DOWN);
    probe(&x, true);
    assert_state(&x, TRIAL);
}

static void without_probes_time_and_canaries_bring_it_back(void **state)
{
    (void)state;
    struct patient x = fresh();
    x.p.samples = x.p.successes = x.p.rise = 0;
    traffic(&x, (struct fm_health_counts){.connect = 10});
    assert_state(&x, DOWN);
    assert_int_equal(x.v.wake.ns, fm_mono_add_ms(x.now, x.p.hold_ms).ns);
    pass(&x, x.p.hold_ms);
    tick(&x);
    assert_state(&x, TRIAL);
    for (unsigned i = 0; i < x.p.canaries; i++)
        traffic(&x, one_ok);
    assert_state(&x, RAMP);
}

static void each_relapse_doubles_the_hold_within_bounds(void **state)
{
    (void)state;
    static const int64_t hold_s[] = {1, 2, 4, 8, 16, 32, 60, 60, 60, 60};
    struct patient x = fresh();
    x.p.samples = x.p.successes = x.p.rise = 0;
    nobody(&x);
    for (size_t i = 0; i < FM_COUNT(hold_s); i++) {
        assert_state(&x, DOWN);
        assert_int_equal(fm_mono_sub_ms(x.h.hold_until, x.now), hold_s[i] * 1000);
        x.now = x.h.hold_until;
        tick(&x);
        traffic(&x, one_error);
    }
    x = fresh();
    for (uint64_t random = 0; random < 5000; random += 7) { /* the jitter only adds a tenth */
        struct patient y = x;
        y.v = fm_health_step(&y.h, &y.p, &(struct fm_health_event){.kind = FM_HEALTH_NOBODY}, y.now,
                             random);
        int64_t hold = fm_mono_sub_ms(y.h.hold_until, y.now);
        assert_in_range(hold, y.p.hold_ms, y.p.hold_ms + y.p.hold_ms / 10);
    }
}

static void flaps_are_forgotten_after_their_window(void **state)
{
    (void)state;
    struct patient x = fresh();
    x.p.samples = x.p.successes = x.p.rise = 0;
    for (int i = 0; i < 20; i++) {
        nobody(&x);
        assert_int_equal(fm_mono_sub_ms(x.h.hold_until, x.now), x.p.hold_ms);
        x.now = x.h.hold_until;
        tick(&x);
        for (unsigned k = 0; k < x.p.canaries; k++)
            traffic(&x, one_ok);
        pass(&x, x.p.flap_window_ms);
        tick(&x);
        assert_state(&x, UP);
    }
}

static void a_canary_token_that_was_lost_is_replaced_more_and_more_rarely(void **state)
{
    (void)state;
    struct patient x = in_trial();
    unsigned tokens = 1;
    for (int i = 0; i < 300; i++) {
        pass(&x, 100);
        tick(&x);
        tokens += x.v.canary;
    }
    assert_in_range(tokens, 3, 5); /* in 30 s: whatever becomes of them, few can be lost */
    traffic(&x, one_ok);
    assert_true(x.v.canary);
    pass(&x, 1000);
    tick(&x);
    assert_true(x.v.canary); /* it answers: patience begins anew */
}

static void without_repeatable_requests_any_may_be_the_canary(void **state)
{
    (void)state;
    struct patient x = in_trial();
    for (int64_t ms = 0; ms < x.p.canary_any_ms; ms += 100) {
        assert_false(x.v.canary && x.v.canary_any);
        pass(&x, 100);
        tick(&x);
    }
    assert_true(x.v.canary && x.v.canary_any); /* at that moment, not at the next token's turn */
    traffic(&x, one_ok);
    assert_true(x.v.canary && x.v.canary_any);
}

static void slow_canaries_do_not_bring_back_what_went_down_for_being_slow(void **state)
{
    (void)state;
    struct patient x = fresh();
    traffic(&x, (struct fm_health_counts){.ok = 40, .slow = 40});
    assert_why(&x, SLOW);
    good_probes(&x);
    pass(&x, x.p.hold_ms);
    tick(&x);
    unsigned tokens = 0;
    for (int i = 0; i < 100; i++) {
        tokens += x.v.canary;
        traffic(&x, (struct fm_health_counts){.ok = 1, .slow = 1});
        assert_state(&x, TRIAL);
        pass(&x, 100);
        tick(&x);
    }
    assert_in_range(tokens, 1, 5);
    for (unsigned i = 0; i < x.p.canaries; i++) {
        assert_state(&x, TRIAL);
        traffic(&x, one_ok); /* fast again */
    }
    assert_state(&x, RAMP);
}

static void what_was_before_does_not_count_against_the_one_that_came_back(void **state)
{
    (void)state;
    struct patient x = fresh();
    x.p.samples = x.p.successes = x.p.rise = 0;
    traffic(&x, (struct fm_health_counts){.ok = 3, .error = 4});
    traffic(&x, (struct fm_health_counts){.error = 15});
    assert_state(&x, DOWN);
    pass(&x, 900);
    traffic(&x, (struct fm_health_counts){.error = 30}); /* it failed open */
    pass(&x, 100);
    tick(&x);
    for (unsigned i = 0; i < x.p.canaries; i++)
        traffic(&x, one_ok);
    assert_state(&x, RAMP);
    assert_int_equal(fm_health_window(&x.h).error, 0);
    traffic(&x, (struct fm_health_counts){.ok = 10, .error = 2});
    assert_state(&x, RAMP);
}

static void coming_back_it_is_judged_at_least_as_strictly_as_when_it_was_up(void **state)
{
    (void)state;
    for (uint32_t ok = 0; ok < 200; ok += 7)
        for (uint32_t before = 0; before < 5000; before += 500)
            for (uint32_t failed = 0; failed < 200; failed += 3) {
                struct patient up = fresh(), ramp = in_ramp();
                traffic(&up, (struct fm_health_counts){.ok = before});
                traffic(&ramp, (struct fm_health_counts){.ok = before});
                pass(&up, 2000);
                pass(&ramp, 2000);
                traffic(&up, (struct fm_health_counts){.ok = ok, .error = failed});
                traffic(&ramp, (struct fm_health_counts){.ok = ok, .error = failed});
                if (up.h.state == FM_HEALTH_DOWN)
                    assert_state(&ramp, DOWN);
            }
}

/* -------- the table -------- */

static bool is_a_way(unsigned from, unsigned to)
{
    switch (from) {
    case FM_HEALTH_UP:
        return to == FM_HEALTH_DOWN || to == FM_HEALTH_SUSPECT;
    case FM_HEALTH_SUSPECT: /* back to where it was, or down */
        return to == FM_HEALTH_UP || to == FM_HEALTH_RAMP || to == FM_HEALTH_DOWN;
    case FM_HEALTH_DOWN:
        return to == FM_HEALTH_TRIAL;
    case FM_HEALTH_TRIAL:
        return to == FM_HEALTH_RAMP || to == FM_HEALTH_DOWN;
    case FM_HEALTH_RAMP:
        return to == FM_HEALTH_UP || to == FM_HEALTH_DOWN || to == FM_HEALTH_SUSPECT;
    default:
        return false;
    }
}

static void the_table_leads_back_by_trial_and_ramp_only(void **state)
{
    (void)state;
    bool reached[FM_HEALTH_STATE_COUNT] = {[FM_HEALTH_UP] = true};
    bool left[FM_HEALTH_STATE_COUNT] = {false};
    for (unsigned round = 0; round < FM_HEALTH_STATE_COUNT; round++)
        for (unsigned i = 0; i < fm_health_nrows; i++)
            if (reached[fm_health_rows[i].from])
                reached[fm_health_rows[i].to] = true;
    for (unsigned i = 0; i < fm_health_nrows; i++) {
        const struct fm_health_row *r = &fm_health_rows[i];
        assert_true(r->from < FM_HEALTH_STATE_COUNT && r->event < FM_HEALTH_EVENT_COUNT);
        assert_true(is_a_way(r->from, r->to));
        assert_true(r->why < FM_HEALTH_WHY_COUNT && r->guard && r->comment && *r->comment);
        left[r->from] = true;
    }
    for (unsigned s = 0; s < FM_HEALTH_STATE_COUNT; s++)
        assert_true(reached[s] && left[s]);
}

static void no_row_hides_behind_another(void **state)
{
    (void)state;
    for (unsigned i = 0; i < fm_health_nrows; i++)
        for (unsigned j = 0; j < i; j++) {
            const struct fm_health_row *a = &fm_health_rows[j], *b = &fm_health_rows[i];
            assert_false(a->from == b->from && a->event == b->event && a->guard == b->guard);
        }
}

static void what_says_that_it_is_gone_takes_it_down_from_everywhere(void **state)
{
    (void)state;
    struct patient suspect = fresh();
    silence(&suspect);
    struct patient from[] = {fresh(), suspect, in_trial(), in_ramp()};
    static const enum fm_health_event_kind gone[] = {FM_HEALTH_NOBODY, FM_HEALTH_LEFT};
    for (size_t i = 0; i < FM_COUNT(from); i++)
        for (size_t k = 0; k < FM_COUNT(gone); k++) {
            struct patient x = from[i];
            step(&x, (struct fm_health_event){.kind = gone[k]});
            assert_state(&x, DOWN);
        }
    struct patient trial = in_trial();
    silence(&trial);
    assert_state(&trial, DOWN); /* a canary has no pauses */
}

static void every_name_is_its_own(void **state)
{
    (void)state;
    for (unsigned a = 0; a < FM_HEALTH_STATE_COUNT; a++)
        for (unsigned b = 0; b < a; b++)
            assert_string_not_equal(fm_health_state_name(a), fm_health_state_name(b));
    for (unsigned a = 0; a < FM_HEALTH_WHY_COUNT; a++) {
        assert_true(strlen(fm_health_reason_text(a)) > 0);
        for (unsigned b = 0; b < a; b++) {
            assert_string_not_equal(fm_health_reason_name(a), fm_health_reason_name(b));
            assert_string_not_equal(fm_health_reason_text(a), fm_health_reason_text(b));
        }
    }
}

FM_TEST_MAIN(
    fm_test(a_start_is_no_outage), fm_test(n_of_m_probes_decide),
    fm_test(every_allowed_number_of_samples_works), fm_test(probes_are_fast_only_in_doubt),
    fm_test(traffic_alone_takes_a_region_down), fm_test(failures_of_one_moment_are_no_outage),
    fm_test(what_began_before_a_trial_is_no_news), fm_test(the_ratio_forgets_after_a_second),
    fm_test(a_step_of_a_clock_that_stood_still_or_leapt_is_harmless),
    fm_test(a_pause_is_left_and_forgiven), fm_test(silence_that_lasts_is_an_outage),
    fm_test(a_suspect_that_fails_is_down), fm_test(after_a_pause_a_ramp_begins_anew),
    fm_test(a_pause_wipes_no_evidence_out), fm_test(pause_after_pause_is_an_outage),
    fm_test(passing_probes_alone_never_bring_it_back), fm_test(canaries_and_time_bring_it_back),
    fm_test(one_failed_canary_is_enough), fm_test(a_hold_is_kept_and_probes_must_have_passed),
    fm_test(without_probes_time_and_canaries_bring_it_back),
    fm_test(each_relapse_doubles_the_hold_within_bounds),
    fm_test(flaps_are_forgotten_after_their_window),
    fm_test(a_canary_token_that_was_lost_is_replaced_more_and_more_rarely),
    fm_test(without_repeatable_requests_any_may_be_the_canary),
    fm_test(slow_canaries_do_not_bring_back_what_went_down_for_being_slow),
    fm_test(what_was_before_does_not_count_against_the_one_that_came_back),
    fm_test(coming_back_it_is_judged_at_least_as_strictly_as_when_it_was_up),
    fm_test(the_table_leads_back_by_trial_and_ramp_only), fm_test(no_row_hides_behind_another),
    fm_test(what_says_that_it_is_gone_takes_it_down_from_everywhere),
    fm_test(every_name_is_its_own))
