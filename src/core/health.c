/* The health machine: evidence is taken in first, then the table decides. Invariants: only DOWN
 * leads to TRIAL, only TRIAL to RAMP, only RAMP to UP; a hold is never longer than hold_max_ms plus
 * its jitter; counts saturate. */
#include "core/health.h"

#include "base/assert.h"

const struct fm_health_policy fm_health_policy_default = {
    .samples = 4,
    .successes = 3,
    .rise = 3,
    .interval_ms = 500,
    .fast_interval_ms = 50,
    .failures_in_row = 5,
    .failures_min = 10,
    .failure_permille = 500,
    .slow_permille = 500,
    .suspect_ms = 150,
    .hold_ms = 1000,
    .hold_max_ms = 60 * 1000,
    .flap_window_ms = 10 * 60 * 1000,
    .canaries = 3,
    .canary_any_ms = 5000,
    .ramp_ms = 5000,
};

enum { SLOW_MIN = 20, RELAPSE_MIN = 3, RELAPSE_PERMILLE = 200, CANARY_RETRY_MS = 1000 };

const char *fm_health_state_name(enum fm_health_state s)
{
    static const char *const name[] = {
#define X(id, text) [FM_HEALTH_##id] = text,
        FM_HEALTH_STATES(X)
#undef X
    };
    FM_ASSERT(s < FM_COUNT(name));
    return name[s];
}

const char *fm_health_reason_name(enum fm_health_reason r)
{
    static const char *const name[] = {
#define X(id, text, sentence) [FM_HEALTH_WHY_##id] = text,
        FM_HEALTH_REASONS(X)
#undef X
    };
    FM_ASSERT(r < FM_COUNT(name));
    return name[r];
}

const char *fm_health_reason_text(enum fm_health_reason r)
{
    static const char *const text[] = {
#define X(id, name, sentence) [FM_HEALTH_WHY_##id] = sentence,
        FM_HEALTH_REASONS(X)
#undef X
    };
    FM_ASSERT(r < FM_COUNT(text));
    return text[r];
}

/* -------- evidence -------- */

static uint32_t add_sat(uint32_t a, uint32_t b)
{
    uint32_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT32_MAX : sum;
}

static void counts_add(struct fm_health_counts *to, const struct fm_health_counts *c)
{
    to->ok = add_sat(to->ok, c->ok);
    to->slow = add_sat(to->slow, c->slow);
    to->error = add_sat(to->error, c->error);
    to->connect = add_sat(to->connect, c->connect);
    to->reset = add_sat(to->reset, c->reset);
    to->timeout = add_sat(to->timeout, c->timeout);
}

static uint32_t failures(const struct fm_health_counts *c)
{
    return add_sat(add_sat(c->error, c->connect), add_sat(c->reset, c->timeout));
}

struct fm_health_counts fm_health_window(const struct fm_health *h)
{
    struct fm_health_counts sum = {0};
    for (unsigned i = 0; i < FM_HEALTH_BUCKETS; i++)
        counts_add(&sum, &h->bucket[i]);
    return sum;
}

static void roll_window(struct fm_health *h, struct fm_mono now)
{
    int64_t steps = fm_mono_sub_ms(now, h->bucket_start) / FM_HEALTH_BUCKET_MS;
    if (steps <= 0)
        return;
    for (int64_t i = 0; i < steps && i < FM_HEALTH_BUCKETS; i++) {
        h->bucket_at = (uint8_t)((h->bucket_at + 1) % FM_HEALTH_BUCKETS);
        h->bucket[h->bucket_at] = (struct fm_health_counts){0};
    }
    h->bucket_start = fm_mono_add_ms(h->bucket_start, steps * FM_HEALTH_BUCKET_MS);
}

static void take_probe(struct fm_health *h, bool ok)
{
    h->probe_bits = h->probe_bits << 1 | ok;
    if (h->probes < 32)
        h->probes++;
    h->probes_ok_in_row =
        ok ? (uint8_t)(h->probes_ok_in_row + (h->probes_ok_in_row < UINT8_MAX)) : 0;
}

static void take_traffic(struct fm_health *h, const struct fm_health_counts *c)
{
    counts_add(&h->bucket[h->bucket_at], c);
    uint32_t failed = failures(c);
    /* within one batch the order is not known: a success among failures breaks the row */
    h->failed_in_row = c->ok ? 0 : add_sat(h->failed_in_row, failed);
    if (h->state == FM_HEALTH_TRIAL && c->ok)
        h->canaries_ok = (uint8_t)(c->ok < 200u - h->canaries_ok ? h->canaries_ok + c->ok : 200u);
    if (h->state == FM_HEALTH_TRIAL || h->state == FM_HEALTH_RAMP)
        counts_add(&h->since_ramp, c);
}

/* -------- guards -------- */

static bool always(const struct fm_health *h, const struct fm_health_policy *p, struct fm_mono now)
{
    (void)h;
    (void)p;
    (void)now;
    return true;
}

static bool probes_fail(const struct fm_health *h, const struct fm_health_policy *p,
                        struct fm_mono now)
{
    (void)now;
    if (p->samples == 0)
        return false;
    /* those that were not made yet count as successes: a start is no outage */
    unsigned known = h->probes < p->samples ? h->probes : p->samples;
    unsigned ok = (unsigned)__builtin_popcount(h->probe_bits & ((1u << known) - 1));
    return ok + (p->samples - known) < p->successes;
}

static bool failed_in_row(const struct fm_health *h, const struct fm_health_policy *p,
                          struct fm_mono now)
{
    (void)now;
    return h->failed_in_row >= p->failures_in_row;
}

static bool ratio_bad(const struct fm_health *h, const struct fm_health_policy *p,
                      struct fm_mono now)
{
    (void)now;
    struct fm_health_counts w = fm_health_window(h);
    uint64_t failed = failures(&w), all = failed + w.ok;
    return failed >= p->failures_min && failed * 1000 >= all * p->failure_permille;
}

static bool too_slow(const struct fm_health *h, const struct fm_health_policy *p,
                     struct fm_mono now)
{
    (void)now;
    struct fm_health_counts w = fm_health_window(h);
    return w.slow >= SLOW_MIN && (uint64_t)w.slow * 1000 >= (uint64_t)w.ok * p->slow_permille;
}

static bool may_try(const struct fm_health *h, const struct fm_health_policy *p, struct fm_mono now)
{
    bool probed = p->samples == 0 || (h->probes_ok_in_row >= p->rise && !probes_fail(h, p, now));
    return !fm_mono_before(now, h->hold_until) && probed;
}

static bool canary_failed(const struct fm_health *h, const struct fm_health_policy *p,
                          struct fm_mono now)
{
    (void)p;
    (void)now;
    return failures(&h->since_ramp) > 0;
}

static bool canaries_ok(const struct fm_health *h, const struct fm_health_policy *p,
                        struct fm_mono now)
{
    (void)now;
    return h->canaries_ok >= p->canaries;
}

static bool relapsed(const struct fm_health *h, const struct fm_health_policy *p,
                     struct fm_mono now)
{
    (void)now;
    uint64_t failed = failures(&h->since_ramp), all = failed + h->since_ramp.ok;
    return h->failed_in_row >= p->failures_in_row ||
           (failed >= RELAPSE_MIN && failed * 1000 >= all * RELAPSE_PERMILLE);
}

static bool ramp_over(const struct fm_health *h, const struct fm_health_policy *p,
                      struct fm_mono now)
{
    return fm_mono_sub_ms(now, h->since) >= p->ramp_ms;
}

static bool silent_for_long(const struct fm_health *h, const struct fm_health_policy *p,
                            struct fm_mono now)
{
    return fm_mono_sub_ms(now, h->since) >= p->suspect_ms;
}

static bool was_ramping(const struct fm_health *h, const struct fm_health_policy *p,
                        struct fm_mono now)
{
    (void)p;
    (void)now;
    return h->was_ramping;
}

/* -------- the table -------- */

#define ROW(from, event, guard, to, why, comment)                                                  \
    {                                                                                              \
        FM_HEALTH_##from, FM_HEALTH_##event, FM_HEALTH_##to, FM_HEALTH_WHY_##why, guard, comment   \
    }

const struct fm_health_row fm_health_rows[] = {
    ROW(UP, PROBE, probes_fail, DOWN, PROBES_FAIL, "fewer than M of the last N"),
    ROW(UP, TRAFFIC, failed_in_row, DOWN, FAILURES, "no answer between them was a success"),
    ROW(UP, TRAFFIC, ratio_bad, DOWN, FAILURE_RATIO, "within a second"),
    ROW(UP, TRAFFIC, too_slow, DOWN, SLOW, "within a second"),
    ROW(UP, LEFT, always, DOWN, FAILURES, "seen by one worker, in the order of its answers"),
    ROW(UP, SILENCE, always, SUSPECT, SILENT, "frozen, cut off, or a pause"),
    ROW(UP, NOBODY, always, DOWN, UNREACHABLE, "connections are refused"),

    ROW(SUSPECT, HEARD, was_ramping, RAMP, HEARD, "it was a pause; the ramp begins anew"),
    ROW(SUSPECT, HEARD, always, UP, HEARD, "it was a pause"),
    ROW(SUSPECT, TICK, silent_for_long, DOWN, SILENT, "it was none"),
    ROW(SUSPECT, PROBE, probes_fail, DOWN, PROBES_FAIL, "fewer than M of the last N"),
    ROW(SUSPECT, TRAFFIC, failed_in_row, DOWN, FAILURES, "what was under way failed"),
    ROW(SUSPECT, LEFT, always, DOWN, FAILURES, "what was under way failed"),
    ROW(SUSPECT, NOBODY, always, DOWN, UNREACHABLE, "connections are refused"),

    ROW(DOWN, PROBE, may_try, TRIAL, HOLD_OVER, "the last of the probes that it needed"),
    ROW(DOWN, TICK, may_try, TRIAL, HOLD_OVER, "probes succeeded before the hold was over"),

    ROW(TRIAL, PROBE, probes_fail, DOWN, PROBES_FAIL, "fewer than M of the last N"),
    ROW(TRIAL, TRAFFIC, canary_failed, DOWN, CANARY_FAILED, "one is enough"),
    ROW(TRIAL, TRAFFIC, canaries_ok, RAMP, CANARIES_OK, "enough of them"),
    ROW(TRIAL, LEFT, always, DOWN, CANARY_FAILED, "what was sent before counts too"),
    ROW(TRIAL, SILENCE, always, DOWN, SILENT, "the canary is not answered"),
    ROW(TRIAL, NOBODY, always, DOWN, UNREACHABLE, "gone again"),

    ROW(RAMP, PROBE, probes_fail, DOWN, PROBES_FAIL, "fewer than M of the last N"),
    ROW(RAMP, TRAFFIC, relapsed, DOWN, RELAPSE, "fewer failures are enough than when it was up"),
    ROW(RAMP, TRAFFIC, too_slow, DOWN, SLOW, "within a second"),
    ROW(RAMP, LEFT, always, DOWN, RELAPSE, "seen by one worker, in the order of its answers"),
    ROW(RAMP, SILENCE, always, SUSPECT, SILENT, "frozen, cut off, or a pause"),
    ROW(RAMP, NOBODY, always, DOWN, UNREACHABLE, "gone again"),
    ROW(RAMP, TICK, ramp_over, UP, RAMP_OVER, "the whole share for the whole ramp"),
};
const unsigned fm_health_nrows = FM_COUNT(fm_health_rows);

/* -------- transitions -------- */

static int64_t jitter(int64_t ms, uint64_t random)
{
    return ms / 10 > 0 ? (int64_t)(random % (uint64_t)(ms / 10)) : 0;
}

static int64_t next_hold_ms(struct fm_health *h, const struct fm_health_policy *p,
                            struct fm_mono now, uint64_t random)
{
    unsigned recent = 0;
    for (unsigned i = 0; i < h->flips; i++)
        if (fm_mono_sub_ms(now, h->flip[i]) < p->flap_window_ms)
            h->flip[recent++] = h->flip[i];
    if (recent == FM_HEALTH_FLIPS) { /* forget the oldest */
        for (unsigned i = 1; i < FM_HEALTH_FLIPS; i++)
            h->flip[i - 1] = h->flip[i];
        recent--;
    }
    h->flip[recent++] = now;
    h->flips = (uint8_t)recent;
    FM_ASSERT(h->flips >= 1 && h->flips <= FM_HEALTH_FLIPS);
    int64_t hold = (int64_t)p->hold_ms << (h->flips - 1);
    hold = hold < p->hold_max_ms ? hold : p->hold_max_ms;
    return hold + jitter(hold, random);
}

static void enter(struct fm_health *h, const struct fm_health_policy *p, uint8_t to, uint8_t why,
                  struct fm_mono now, uint64_t random)
{
    h->was_ramping = h->state == FM_HEALTH_RAMP;
    h->state = to;
    h->why = why;
    h->since = now;
    switch ((enum fm_health_state)to) {
    case FM_HEALTH_SUSPECT:
        break;
    case FM_HEALTH_DOWN:
        h->hold_until = fm_mono_add_ms(now, next_hold_ms(h, p, now, random));
        h->failed_in_row = 0;
        break;
    case FM_HEALTH_TRIAL:
        h->canaries_ok = 0;
        h->canary_due = now;
        h->since_ramp = (struct fm_health_counts){0};
        break;
    case FM_HEALTH_RAMP:
    case FM_HEALTH_UP:
        h->since_ramp = (struct fm_health_counts){0};
        h->failed_in_row = 0;
        /* what it did before it went down must not bring it down again */
        for (unsigned i = 0; i < FM_HEALTH_BUCKETS; i++)
            h->bucket[i] = (struct fm_health_counts){0};
        break;
    case FM_HEALTH_STATE_COUNT:
        FM_UNREACHABLE();
    }
}

unsigned fm_health_share(const struct fm_health *h, const struct fm_health_policy *p,
                         struct fm_mono now)
{
    switch ((enum fm_health_state)h->state) {
    case FM_HEALTH_UP:
        return 1000;
    case FM_HEALTH_RAMP: {
        int64_t age = fm_clamp_i64(fm_mono_sub_ms(now, h->since), 0, p->ramp_ms);
        return 50 + (unsigned)(age * 950 / (p->ramp_ms > 0 ? p->ramp_ms : 1));
    }
    case FM_HEALTH_SUSPECT:
    case FM_HEALTH_DOWN:
    case FM_HEALTH_TRIAL:
    case FM_HEALTH_STATE_COUNT:
        break;
    }
    return 0;
}

static struct fm_mono next_wake(const struct fm_health *h, const struct fm_health_policy *p,
                                struct fm_mono now)
{
    switch ((enum fm_health_state)h->state) {
    case FM_HEALTH_SUSPECT:
        return fm_mono_add_ms(h->since, p->suspect_ms);
    case FM_HEALTH_DOWN:
        return fm_mono_before(now, h->hold_until) ? h->hold_until : FM_MONO_NEVER;
    case FM_HEALTH_TRIAL:
        return fm_mono_add_ms(h->canary_due, CANARY_RETRY_MS);
    case FM_HEALTH_RAMP:
        return fm_mono_min(fm_mono_add_ms(h->since, p->ramp_ms), fm_mono_add_ms(now, 100));
    case FM_HEALTH_UP:
    case FM_HEALTH_STATE_COUNT:
        break;
    }
    return FM_MONO_NEVER;
}

/* In TRIAL a new token is due on entry, after each success, and when one was not heard of again. */
static void give_canary(struct fm_health *h, const struct fm_health_policy *p,
                        struct fm_health_verdict *v, bool success, struct fm_mono now)
{
    bool lost = fm_mono_sub_ms(now, h->canary_due) >= CANARY_RETRY_MS;
    v->canary = v->changed || success || lost;
    v->canary_any = fm_mono_sub_ms(now, h->since) >= p->canary_any_ms;
    if (v->canary)
        h->canary_due = now;
}

struct fm_health_verdict fm_health_step(struct fm_health *h, const struct fm_health_policy *p,
                                        const struct fm_health_event *e, struct fm_mono now,
                                        uint64_t random)
{
    FM_ASSERT(h->state < FM_HEALTH_STATE_COUNT && e->kind < FM_HEALTH_EVENT_COUNT);
    FM_ASSERT(p->samples <= 32 && p->successes <= p->samples);
    roll_window(h, now);
    if (e->kind == FM_HEALTH_PROBE)
        take_probe(h, e->ok);
    else if (e->kind == FM_HEALTH_TRAFFIC)
        take_traffic(h, &e->counts);

    struct fm_health_verdict v = {
        .from = h->state, .to = h->state, .why = h->why, .window = fm_health_window(h)};
    for (unsigned i = 0; i < fm_health_nrows; i++) {
        const struct fm_health_row *r = &fm_health_rows[i];
        if (r->from != h->state || r->event != e->kind || !r->guard(h, p, now))
            continue;
        v.changed = true;
        v.to = r->to;
        v.why = r->why;
        enter(h, p, r->to, r->why, now, random);
        break;
    }
    if (h->state == FM_HEALTH_TRIAL)
        give_canary(h, p, &v, e->kind == FM_HEALTH_TRAFFIC && e->counts.ok, now);
    v.share = (uint16_t)fm_health_share(h, p, now);
    v.wake = next_wake(h, p, now);
    return v;
}

void fm_health_init(struct fm_health *h, struct fm_mono now)
{
    *h = (struct fm_health){
        .state = FM_HEALTH_UP, .why = FM_HEALTH_WHY_START, .since = now, .bucket_start = now};
}

static bool in_doubt(const struct fm_health *h, const struct fm_health_policy *p)
{
    if (h->probes < p->samples)
        return true;
    bool last_ok = h->probe_bits & 1;
    struct fm_health_counts w = fm_health_window(h);
    switch ((enum fm_health_state)h->state) {
    case FM_HEALTH_UP:
    case FM_HEALTH_RAMP:
        return !last_ok || failures(&w) > 0;
    case FM_HEALTH_DOWN:
        return last_ok && h->probes_ok_in_row < p->rise; /* a dead one is not hammered */
    case FM_HEALTH_SUSPECT:
    case FM_HEALTH_TRIAL:
        return true;
    case FM_HEALTH_STATE_COUNT:
        break;
    }
    FM_UNREACHABLE();
}

int64_t fm_health_probe_in_ms(const struct fm_health *h, const struct fm_health_policy *p,
                              uint64_t random)
{
    int64_t ms = in_doubt(h, p) ? p->fast_interval_ms : p->interval_ms;
    return ms + jitter(ms, random);
}
