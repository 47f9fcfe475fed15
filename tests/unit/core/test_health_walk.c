/* Health on long random walks, checked after every step against what the test knows by itself, and
 * in a small world of clients, tokens and probes that lie. */
#include "test.h"

#include "base/rand.h"
#include "core/health.h"

#include <stdio.h>

/* What the walker has seen, to prove that it walked everywhere. */
static bool met[FM_HEALTH_STATE_COUNT][FM_HEALTH_EVENT_COUNT];
static unsigned fired[FM_HEALTH_STATE_COUNT][FM_HEALTH_EVENT_COUNT][FM_HEALTH_WHY_COUNT];

enum mood { WELL, SHAKY, BROKEN, GREY, SLOW, DEAD, STUTTERS, MOODS };

struct walker {
    struct fm_health h;
    struct fm_health_policy p;
    struct fm_mono now;
    struct fm_rand r;
    enum mood mood;
    /* the test's own memory */
    uint64_t good_in_trial, failed_in_trial;
    bool suspect_from_ramp;
    unsigned good_probes_in_row;
    struct fm_mono down_at[64];
    unsigned downs;
};

static uint32_t below(struct walker *w, uint32_t n)
{
    return fm_rand_below(&w->r, n);
}

static struct fm_health_policy any_policy(struct walker *w)
{
    struct fm_health_policy p = fm_health_policy_default;
    p.samples = (uint8_t)(below(w, 4) ? 1 + below(w, FM_HEALTH_SAMPLES_MAX) : 0);
    p.samples = below(w, 2) && p.samples ? 4 : p.samples;
    p.successes = (uint8_t)(p.samples ? 1 + below(w, p.samples) : 0);
    p.rise = (uint8_t)(p.samples ? 1 + below(w, 6) : 0);
    p.fast_interval_ms = 1 + (int32_t)below(w, 100);
    p.interval_ms = p.fast_interval_ms + (int32_t)below(w, 1000);
    p.failures_in_row = 1 + below(w, 8);
    p.failures_min = 1 + below(w, 20);
    p.failure_permille = 1 + below(w, 1000);
    p.suspect_ms = (int32_t)below(w, 300);
    p.hold_ms = 1 + (int32_t)below(w, 2000);
    p.hold_max_ms = p.hold_ms + (int32_t)below(w, 60000);
    p.flap_window_ms = 1 + (int32_t)below(w, 600000);
    p.canaries = (uint8_t)(1 + below(w, 5));
    p.canary_any_ms = (int32_t)below(w, 8000);
    p.ramp_ms = (int32_t)below(w, 8000);
    return p;
}

/* What a configuration can change of a machine that lives. */
static void reload(struct walker *w)
{
    struct fm_health_policy p = any_policy(w);
    w->p.samples = p.samples;
    w->p.successes = p.successes;
    w->p.rise = p.rise;
    w->p.interval_ms = p.interval_ms;
    w->p.fast_interval_ms = p.fast_interval_ms;
}

static struct fm_health_counts any_counts(struct walker *w)
{
    struct fm_health_counts c = {0};
    uint32_t n = below(w, 20) ? 1 + below(w, 30) : below(w, 2) ? UINT32_MAX : 0;
    switch (w->mood) {
    case WELL:
    case STUTTERS:
        c.ok = n;
        break;
    case SHAKY:
        c.ok = n;
        c.error = below(w, 3);
        break;
    case BROKEN:
    case GREY:
        c.error = below(w, 2) ? n : 0;
        c.timeout = below(w, 2) ? n : 0;
        c.ok = below(w, 4) ? 0 : 1;
        break;
    case SLOW:
        c.ok = n;
        c.slow = n;
        break;
    case DEAD:
        c.connect = n;
        c.reset = below(w, 2);
        break;
    case MOODS:
        break;
    }
    return c;
}

static struct fm_health_event any_event(struct walker *w)
{
    bool probes_pass = w->mood != BROKEN && w->mood != DEAD;
    struct fm_health_event e = {.kind = (enum fm_health_event_kind)below(w, FM_HEALTH_EVENT_COUNT)};
    bool rare =
        e.kind != FM_HEALTH_PROBE && e.kind != FM_HEALTH_TRAFFIC && e.kind != FM_HEALTH_TICK;
    if (w->mood == STUTTERS && below(w, 10))
        e.kind = w->h.state == FM_HEALTH_SUSPECT ? FM_HEALTH_HEARD : FM_HEALTH_SILENCE;
    else if (rare && below(w, 40))
        e.kind = FM_HEALTH_TICK;
    if (e.kind == FM_HEALTH_PROBE)
        e.ok = below(w, 30) ? probes_pass : !probes_pass;
    if (e.kind == FM_HEALTH_TRAFFIC)
        e.counts = any_counts(w);
    return e;
}

static uint64_t failures(const struct fm_health_counts *c)
{
    return (uint64_t)c->error + c->connect + c->reset + c->timeout;
}

static void remember(struct walker *w, const struct fm_health_event *e,
                     const struct fm_health_verdict *v)
{
    if (e->kind == FM_HEALTH_PROBE)
        w->good_probes_in_row = e->ok ? w->good_probes_in_row + 1 : 0;
    if (v->from == FM_HEALTH_TRIAL && e->kind == FM_HEALTH_TRAFFIC) {
        w->good_in_trial += e->counts.ok > e->counts.slow ? e->counts.ok - e->counts.slow : 0;
        w->failed_in_trial += failures(&e->counts);
    }
}

/* A hold grows with what happened within the window and never beyond its bound. */
static void check_hold(struct walker *w)
{
    unsigned recent = 1;
    for (unsigned i = 0; i < w->downs && i < FM_COUNT(w->down_at); i++)
        recent += fm_mono_sub_ms(w->now, w->down_at[i]) < w->p.flap_window_ms;
    w->down_at[w->downs++ % FM_COUNT(w->down_at)] = w->now;
    unsigned shift = recent < FM_HEALTH_FLIPS ? recent - 1 : FM_HEALTH_FLIPS - 1;
    int64_t expected = (int64_t)w->p.hold_ms << shift;
    expected = expected < w->p.hold_max_ms ? expected : w->p.hold_max_ms;
    int64_t hold = fm_mono_sub_ms(w->h.hold_until, w->now);
    assert_in_range(hold, expected, expected + expected / 10);
}

static void check_transition(struct walker *w, const struct fm_health_verdict *v,
                             const struct fm_health_event *e, struct fm_mono since,
                             struct fm_mono hold_until)
{
    fired[v->from][e->kind][v->why]++;
    assert_true(v->from != v->to && v->why == w->h.why && w->h.since.ns == w->now.ns);
    switch ((enum fm_health_state)v->to) {
    case FM_HEALTH_SUSPECT:
        assert_true(v->from == FM_HEALTH_UP || v->from == FM_HEALTH_RAMP);
        w->suspect_from_ramp = v->from == FM_HEALTH_RAMP;
        break;
    case FM_HEALTH_DOWN:
        assert_int_not_equal(v->from, FM_HEALTH_DOWN);
        check_hold(w);
        break;
    case FM_HEALTH_TRIAL:
        assert_int_equal(v->from, FM_HEALTH_DOWN);
        assert_false(fm_mono_before(w->now, hold_until));
        assert_true(w->p.samples == 0 || w->good_probes_in_row >= w->p.rise);
        w->good_in_trial = w->failed_in_trial = 0;
        assert_true(v->canary);
        break;
    case FM_HEALTH_RAMP:
        if (v->from == FM_HEALTH_SUSPECT) {
            assert_true(w->suspect_from_ramp);
            break;
        }
        assert_int_equal(v->from, FM_HEALTH_TRIAL);
        assert_true(w->good_in_trial >= w->p.canaries && w->failed_in_trial == 0);
        break;
    case FM_HEALTH_UP:
        if (v->from == FM_HEALTH_SUSPECT) {
            assert_false(w->suspect_from_ramp);
            break;
        }
        assert_int_equal(v->from, FM_HEALTH_RAMP);
        assert_true(fm_mono_sub_ms(w->now, since) >= w->p.ramp_ms);
        break;
    case FM_HEALTH_STATE_COUNT:
        fail();
    }
}

static void check_verdict(const struct walker *w, const struct fm_health_verdict *v)
{
    assert_int_equal(v->share, fm_health_share(&w->h, &w->p, w->now));
    switch ((enum fm_health_state)w->h.state) {
    case FM_HEALTH_UP:
        assert_int_equal(v->share, 1000);
        break;
    case FM_HEALTH_RAMP:
        assert_in_range(v->share, 50, 1000);
        break;
    case FM_HEALTH_SUSPECT:
    case FM_HEALTH_DOWN:
    case FM_HEALTH_TRIAL:
        assert_int_equal(v->share, 0);
        break;
    case FM_HEALTH_STATE_COUNT:
        fail();
    }
    bool trial = w->h.state == FM_HEALTH_TRIAL;
    assert_true(trial || !v->canary);
    bool early = fm_mono_sub_ms(w->now, w->h.since) < w->p.canary_any_ms;
    assert_false(trial && early && v->canary_any);
    bool due = fm_mono_before(v->wake, w->now); /* what waits for nothing but its tick */
    assert_true(!due || w->h.state == FM_HEALTH_RAMP || w->h.state == FM_HEALTH_SUSPECT);
    assert_true(!trial || !fm_mono_is_never(v->wake));
    assert_true(w->h.flips <= FM_HEALTH_FLIPS);
    int64_t in = fm_health_probe_in_ms(&w->h, &w->p, w->r.state);
    assert_in_range(in, w->p.fast_interval_ms, w->p.interval_ms + w->p.interval_ms / 10);
}

static void walk(uint64_t seed, unsigned steps)
{
    struct walker w = {.r = {seed}, .now = {(int64_t)(seed % 1000) * FM_NS_PER_S}};
    w.p = any_policy(&w);
    fm_health_init(&w.h, w.now);
    for (unsigned i = 0; i < steps; i++) {
        if (below(&w, 60) == 0)
            w.mood = (enum mood)below(&w, MOODS);
        if (below(&w, 400) == 0)
            reload(&w);
        uint32_t often = below(&w, 10);
        w.now = fm_mono_add_ms(w.now, often ? below(&w, 120) : below(&w, 20000));
        struct fm_health_event e = any_event(&w);
        struct fm_mono since = w.h.since, hold_until = w.h.hold_until;
        met[w.h.state][e.kind] = true;
        struct fm_health_verdict v = fm_health_step(&w.h, &w.p, &e, w.now, fm_rand_u64(&w.r));
        assert_int_equal(v.to, w.h.state);
        assert_int_equal(v.changed, v.from != v.to);
        remember(&w, &e, &v);
        if (v.changed)
            check_transition(&w, &v, &e, since, hold_until);
        check_verdict(&w, &v);
    }
}

static void no_walk_leaves_the_rules(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 1500; seed++)
        walk(seed, 1000);
    for (unsigned s = 0; s < FM_HEALTH_STATE_COUNT; s++)
        for (unsigned e = 0; e < FM_HEALTH_EVENT_COUNT; e++)
            if (!met[s][e])
                fail_msg("state %u never met event %u", s, e);
    for (unsigned i = 0; i < fm_health_nrows; i++) {
        const struct fm_health_row *r = &fm_health_rows[i];
        if (!fired[r->from][r->event][r->why])
            fail_msg("the row \"%s\" never fired", r->comment);
    }
}

/* -------- a world: clients, a token, probes that pass whatever happens -------- */

enum illness { ANSWERS_503, HANGS, TIMES_OUT, IS_WELL };

struct world {
    struct fm_health h;
    struct fm_health_policy p;
    struct fm_mono now, next_probe, next_poll;
    struct fm_rand r;
    enum illness illness;
    unsigned repeatable_percent;
    bool token, token_any;
    unsigned sent; /* to the region */
    struct fm_health_counts unseen;
    struct fm_mono times_out[4096]; /* a ring of what will */
    unsigned timeouts_from, timeouts_to;
};

static void tell(struct world *w, struct fm_health_event e)
{
    struct fm_health_verdict v = fm_health_step(&w->h, &w->p, &e, w->now, fm_rand_u64(&w->r));
    if (v.canary) {
        w->token = true;
        w->token_any = v.canary_any;
    } else if (v.changed) {
        w->token = false;
    }
}

static void one_request(struct world *w)
{
    bool repeatable = fm_rand_below(&w->r, 100) < w->repeatable_percent;
    bool canary = w->token && (repeatable || w->token_any);
    if (!canary && fm_rand_below(&w->r, 1000) >= fm_health_share(&w->h, &w->p, w->now))
        return; /* another region takes it */
    w->token = w->token && !canary;
    w->sent++;
    switch (w->illness) {
    case ANSWERS_503:
        w->unseen.error++;
        break;
    case HANGS: /* a hedge answers, and nobody waits for this one */
        break;
    case TIMES_OUT:
        w->times_out[w->timeouts_to++ % FM_COUNT(w->times_out)] = fm_mono_add_ms(w->now, 10000);
        break;
    case IS_WELL:
        w->unseen.ok++;
        break;
    }
}

static void one_ms(struct world *w, unsigned requests)
{
    for (unsigned i = 0; i < requests; i++)
        one_request(w);
    while (w->timeouts_from != w->timeouts_to &&
           !fm_mono_before(w->now, w->times_out[w->timeouts_from % FM_COUNT(w->times_out)])) {
        w->timeouts_from++;
        w->unseen.timeout++;
    }
    bool rings = failures(&w->unseen) > 0 || (w->unseen.ok && w->h.state != FM_HEALTH_UP);
    bool polls = !fm_mono_before(w->now, w->next_poll);
    if (rings || (polls && w->unseen.ok)) {
        tell(w, (struct fm_health_event){.kind = FM_HEALTH_TRAFFIC, .counts = w->unseen});
        w->unseen = (struct fm_health_counts){0};
    }
    if (polls) {
        tell(w, (struct fm_health_event){.kind = FM_HEALTH_TICK});
        w->next_poll = fm_mono_add_ms(w->now, 100);
    }
    if (!fm_mono_before(w->now, w->next_probe)) {
        tell(w, (struct fm_health_event){.kind = FM_HEALTH_PROBE, .ok = true});
        w->next_probe =
            fm_mono_add_ms(w->now, fm_health_probe_in_ms(&w->h, &w->p, fm_rand_u64(&w->r)));
    }
    w->now = fm_mono_add_ms(w->now, 1);
}

static unsigned rate_at(struct world *w, unsigned per_s)
{
    return per_s / 1000 + (fm_rand_below(&w->r, 1000) < per_s % 1000);
}

static const struct grey {
    enum illness illness;
    unsigned per_s, repeatable_percent;
    bool probed;
} greys[] = {
    {ANSWERS_503, 2000, 100, true}, {ANSWERS_503, 2000, 0, true}, {ANSWERS_503, 20, 50, true},
    {ANSWERS_503, 2000, 1, false},  {HANGS, 2000, 100, true},     {HANGS, 2000, 0, false},
    {HANGS, 50, 30, true},          {TIMES_OUT, 2000, 100, true}, {TIMES_OUT, 2000, 0, true},
    {TIMES_OUT, 100, 50, false},
};

/* Every probe passes, every request fails: at most ten are spent on it in 30 s once it is known,
 * and when it is well again it comes back by itself. */
static void a_grey_region_gets_ten_requests_in_thirty_seconds(void **state)
{
    (void)state;
    for (size_t i = 0; i < FM_COUNT(greys); i++) {
        const struct grey *g = &greys[i];
        for (uint64_t seed = 1; seed <= 5; seed++) {
            struct world w = {.p = fm_health_policy_default,
                              .now = {(int64_t)seed * FM_NS_PER_S},
                              .r = {seed},
                              .illness = IS_WELL,
                              .repeatable_percent = g->repeatable_percent};
            if (!g->probed)
                w.p.samples = w.p.successes = w.p.rise = 0;
            w.next_poll = w.next_probe = w.now;
            fm_health_init(&w.h, w.now);
            for (int ms = 0; ms < 3000; ms++)
                one_ms(&w, rate_at(&w, g->per_s));
            assert_int_equal(w.h.state, FM_HEALTH_UP);
            w.illness = g->illness;
            tell(&w, (struct fm_health_event){.kind = FM_HEALTH_LEFT}); /* found out */
            w.sent = 0;
            for (int ms = 0; ms < 30000; ms++) {
                one_ms(&w, rate_at(&w, g->per_s));
                assert_true(w.h.state == FM_HEALTH_DOWN || w.h.state == FM_HEALTH_TRIAL);
            }
            if (w.sent > 10)
                fail_msg("case %zu, seed %d: %u requests were sent to it", i, (int)seed, w.sent);
            w.illness = IS_WELL;
            int ms = 0;
            for (; ms < 120000 && w.h.state != FM_HEALTH_UP; ms++)
                one_ms(&w, rate_at(&w, g->per_s));
            if (ms == 120000)
                fail_msg("case %zu, seed %d: it did not come back", i, (int)seed);
        }
    }
}

/* Nobody asks for it for an hour; then it serves at the first demand, step by step. */
static void without_traffic_it_waits_in_trial(void **state)
{
    (void)state;
    struct world w = {.p = fm_health_policy_default,
                      .now = {FM_NS_PER_S},
                      .r = {1},
                      .illness = IS_WELL,
                      .repeatable_percent = 100};
    w.next_poll = w.next_probe = w.now;
    fm_health_init(&w.h, w.now);
    tell(&w, (struct fm_health_event){.kind = FM_HEALTH_NOBODY});
    for (int ms = 0; ms < 3600 * 1000; ms++)
        one_ms(&w, 0);
    assert_int_equal(w.h.state, FM_HEALTH_TRIAL);
    assert_true(w.token && w.token_any);
    for (int ms = 0; ms < 100; ms++)
        one_ms(&w, 1);
    assert_int_equal(w.h.state, FM_HEALTH_RAMP);
    for (int ms = 0; ms < 6000; ms++)
        one_ms(&w, 1);
    assert_int_equal(w.h.state, FM_HEALTH_UP);
}

FM_TEST_MAIN(fm_test(no_walk_leaves_the_rules),
             fm_test(a_grey_region_gets_ten_requests_in_thirty_seconds),
             fm_test(without_traffic_it_waits_in_trial))
