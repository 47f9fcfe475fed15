/* Breakers, balancing and budgets: see the header. */
#include "core/breaker.h"

#include "base/assert.h"

enum { RELAPSES_MAX = 16, FORGET_HOLDS = 8 };

static int64_t hold_ms(const struct fm_breaker *b, const struct fm_breaker_policy *p)
{
    unsigned shift = b->relapses < 16 ? b->relapses : 16;
    int64_t ms = (int64_t)p->hold_ms << shift;
    return ms < p->hold_max_ms ? ms : p->hold_max_ms;
}

static void open_it(struct fm_breaker *b, const struct fm_breaker_policy *p, struct fm_mono now)
{
    FM_ASSERT(p->hold_ms > 0 && p->hold_ms <= p->hold_max_ms);
    bool stable = b->state == FM_BREAKER_CLOSED &&
                  fm_mono_sub_ms(now, b->closed_at) > FORGET_HOLDS * hold_ms(b, p);
    if (stable)
        b->relapses = 0;
    b->until = fm_mono_add_ms(now, hold_ms(b, p));
    if (b->relapses < RELAPSES_MAX)
        b->relapses++;
    b->state = FM_BREAKER_OPEN;
    b->failed = b->connects_failed = b->trials_out = b->trials_ok = 0;
}

bool fm_breaker_would(const struct fm_breaker *b, const struct fm_breaker_policy *p,
                      struct fm_mono now)
{
    switch ((enum fm_breaker_state)b->state) {
    case FM_BREAKER_CLOSED:
        return true;
    case FM_BREAKER_OPEN:
        return !fm_mono_before(now, b->until);
    case FM_BREAKER_HALF_OPEN:
        /* a trial whose outcome never came is given up after another hold */
        return b->trials_out + b->trials_ok < p->trials || !fm_mono_before(now, b->until);
    }
    FM_UNREACHABLE();
}

bool fm_breaker_try(struct fm_breaker *b, const struct fm_breaker_policy *p, struct fm_mono now)
{
    if (!fm_breaker_would(b, p, now))
        return false;
    if (b->state == FM_BREAKER_CLOSED)
        return true;
    if (b->state == FM_BREAKER_OPEN || !fm_mono_before(now, b->until)) {
        if (b->state == FM_BREAKER_OPEN)
            b->tried_at = now;
        b->state = FM_BREAKER_HALF_OPEN;
        b->trials_out = 0;
        b->until = fm_mono_add_ms(now, hold_ms(b, p));
    }
    FM_ASSERT(b->trials_out < UINT8_MAX);
    b->trials_out++;
    return true;
}

static bool is_failure(enum fm_outcome o)
{
    return o == FM_OUTCOME_ERROR || o == FM_OUTCOME_CONNECT || o == FM_OUTCOME_RESET ||
           o == FM_OUTCOME_TIMEOUT;
}

static void succeeded(struct fm_breaker *b, const struct fm_breaker_policy *p, struct fm_mono now)
{
    b->failed = b->connects_failed = 0;
    if (b->state != FM_BREAKER_HALF_OPEN)
        return;
    if (++b->trials_ok < p->trials)
        return;
    b->state = FM_BREAKER_CLOSED;
    b->closed_at = now;
    b->trials_out = b->trials_ok = 0;
}

bool fm_breaker_report(struct fm_breaker *b, const struct fm_breaker_policy *p, enum fm_outcome o,
                       struct fm_mono began, struct fm_mono now)
{
    FM_ASSERT(o < FM_OUTCOME_COUNT);
    FM_ASSERT(p->failures > 0 && p->connects > 0 && p->trials > 0);
    if (fm_mono_before(began, b->tried_at))
        return false;
    if (b->state == FM_BREAKER_HALF_OPEN && b->trials_out)
        b->trials_out--;
    if (o == FM_OUTCOME_OK || o == FM_OUTCOME_REFUSED) {
        succeeded(b, p, now);
        return false;
    }
    if (!is_failure(o) || b->state == FM_BREAKER_OPEN)
        return false;
    if (b->failed < UINT8_MAX)
        b->failed++;
    if (o == FM_OUTCOME_CONNECT && b->connects_failed < UINT8_MAX)
        b->connects_failed++;
    if (b->state == FM_BREAKER_HALF_OPEN || b->failed >= p->failures ||
        b->connects_failed >= p->connects) {
        open_it(b, p, now);
        return true;
    }
    return false;
}

unsigned fm_breaker_share(const struct fm_breaker *b, const struct fm_breaker_policy *p,
                          struct fm_mono now)
{
    if (p->slow_start_ms == 0 || b->closed_at.ns == 0)
        return 1000;
    FM_ASSERT(p->slow_start_ms > 0);
    int64_t age = fm_mono_sub_ms(now, b->closed_at);
    if (age >= p->slow_start_ms)
        return 1000;
    return 100 + (unsigned)(fm_clamp_i64(age, 0, p->slow_start_ms) * 900 / p->slow_start_ms);
}

/* -------- leaving -------- */

bool fm_leave_is_left(const struct fm_leave *l, uint32_t epoch, struct fm_mono now)
{
    return l->left && l->epoch == epoch && fm_mono_before(now, l->until);
}

bool fm_leave_now(struct fm_leave *l, uint32_t epoch, struct fm_mono now)
{
    if (fm_leave_is_left(l, epoch, now))
        return false;
    if (l->epoch != epoch)
        *l = (struct fm_leave){.epoch = epoch};
    l->left = true;
    l->until = fm_mono_add_ms(now, FM_LEAVE_MS);
    l->failed_in_row = 0;
    return true;
}

bool fm_leave_report(struct fm_leave *l, enum fm_outcome o, uint32_t epoch, struct fm_mono began,
                     struct fm_mono now)
{
    if (l->epoch != epoch)
        *l = (struct fm_leave){.epoch = epoch}; /* health has spoken: that is counted */
    if (!is_failure(o)) {
        if (o != FM_OUTCOME_CANCELLED) {
            l->failed_in_row = 0;
            l->sure = false;
            l->row_began = FM_MONO_ZERO;
        }
        return false;
    }
    FM_ASSERT(o < FM_OUTCOME_COUNT);
    if (l->row_began.ns == 0)
        l->row_began = now;
    l->sure |= !fm_mono_before(began, l->row_began);
    if (l->failed_in_row < UINT8_MAX)
        l->failed_in_row++;
    return l->failed_in_row >= FM_LEAVE_FAILURES && fm_leave_now(l, epoch, now);
}

/* -------- balancing -------- */

/* Is a the better choice? Compares (in_flight + 1) / share without dividing. */
static bool less_loaded(const struct fm_instance *a, const struct fm_instance *b)
{
    FM_ASSERT(a->share && b->share);
    return (uint64_t)(a->in_flight + 1) * b->share < (uint64_t)(b->in_flight + 1) * a->share;
}

int fm_balance(const struct fm_instance *in, unsigned n, uint64_t random)
{
    for (int tried = 0; tried <= 1; tried++) {
        unsigned fit = 0;
        for (unsigned i = 0; i < n; i++)
            fit += in[i].usable && in[i].tried == tried;
        if (fit == 0)
            continue;
        unsigned a = (unsigned)((random & UINT32_MAX) * fit >> 32);
        unsigned b = fit > 1 ? (a + 1 + (unsigned)((random >> 32) * (fit - 1) >> 32)) % fit : a;
        int found[2] = {-1, -1};
        for (unsigned i = 0, k = 0; i < n; i++) {
            if (!in[i].usable || in[i].tried != tried)
                continue;
            if (k == a)
                found[0] = (int)i;
            if (k == b)
                found[1] = (int)i;
            k++;
        }
        FM_ASSERT(found[0] >= 0 && found[1] >= 0);
        FM_ASSERT((found[0] == found[1]) == (fit == 1));
        return less_loaded(&in[found[1]], &in[found[0]]) ? found[1] : found[0];
    }
    return -1;
}

bool fm_instance_vouches(const struct fm_instance *other, bool idle)
{
    return other->usable && !other->spared && !(idle && other->in_flight > 0);
}

enum fm_outcome fm_outcome_of_region(enum fm_outcome o, bool vouched)
{
    FM_ASSERT(o < FM_OUTCOME_COUNT);
    bool of_one = o == FM_OUTCOME_CONNECT || o == FM_OUTCOME_TIMEOUT;
    return of_one && vouched ? FM_OUTCOME_CANCELLED : o;
}

static uint64_t budget(uint32_t in_flight, uint32_t share_ppm, uint32_t floor)
{
    uint64_t allowed = (uint64_t)in_flight * share_ppm / 1000000;
    return allowed > floor ? allowed : floor;
}

bool fm_budget_allows(uint32_t in_flight, uint32_t retrying, uint32_t share_ppm, uint32_t floor)
{
    return retrying < budget(in_flight, share_ppm, floor);
}

bool fm_budget_allows_hedge(uint32_t in_flight, uint32_t retrying, uint32_t share_ppm,
                            uint32_t floor)
{
    return UINT64_C(2) * retrying < budget(in_flight, share_ppm, floor);
}
