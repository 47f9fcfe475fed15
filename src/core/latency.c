/* Running quantiles: see the header. Invariant: total is the sum of the buckets, at most
 * FM_LATENCY_MEMORY; a bucket therefore fits in 16 bits. */
#include "core/latency.h"

#include "base/assert.h"

enum { SUB_BITS = 2, UPDATE_EVERY = 32, ENOUGH = 64, ENOUGH_FOR_TAIL = 500 };
_Static_assert(FM_LATENCY_MEMORY <= UINT16_MAX, "a bucket can hold all of it");

static unsigned index_of(uint64_t us)
{
    if (us < 1u << SUB_BITS)
        return (unsigned)us;
    unsigned msb = 63u - (unsigned)__builtin_clzll(us);
    unsigned i = (msb - SUB_BITS + 1) << SUB_BITS |
                 (unsigned)(us >> (msb - SUB_BITS) & ((1u << SUB_BITS) - 1));
    return i < FM_LATENCY_BUCKETS ? i : FM_LATENCY_BUCKETS - 1;
}

static int64_t upper_ns(unsigned i)
{
    uint64_t us = i;
    if (i >= 1u << SUB_BITS) {
        unsigned shift = (i >> SUB_BITS) - 1;
        us = (((UINT64_C(1) << SUB_BITS) + (i & ((1u << SUB_BITS) - 1)) + 1) << shift) - 1;
    }
    return (int64_t)(us + 1) * FM_NS_PER_US;
}

static void halve(struct fm_latency *l)
{
    l->total = 0;
    for (unsigned i = 0; i < FM_LATENCY_BUCKETS; i++) {
        l->bucket[i] =
            (uint16_t)((l->bucket[i] + 1) / 2); /* a rare slow one is not forgotten first */
        l->total += l->bucket[i];
    }
}

int64_t fm_latency_quantile_ns(const struct fm_latency *l, unsigned permille10)
{
    FM_ASSERT(permille10 <= 10000);
    uint64_t rank = ((uint64_t)l->total * permille10 + 9999) / 10000, seen = 0;
    for (unsigned i = 0; i < FM_LATENCY_BUCKETS && l->total; i++) {
        seen += l->bucket[i];
        if (seen >= rank && seen)
            return upper_ns(i);
    }
    return 0;
}

void fm_latency_add(struct fm_latency *l, int64_t ns)
{
    FM_ASSERT(l->total <= FM_LATENCY_MEMORY);
    l->bucket[index_of(ns > 0 ? (uint64_t)(ns / FM_NS_PER_US) : 0)]++;
    l->total++;
    if (l->until_update-- == 0) {
        l->until_update = UPDATE_EVERY;
        l->p50_ns = fm_latency_quantile_ns(l, 5000);
        l->p95_ns = fm_latency_quantile_ns(l, 9500);
        l->p99_ns = fm_latency_quantile_ns(l, 9900);
        l->p999_ns = fm_latency_quantile_ns(l, 9990);
    }
    if (l->total >= FM_LATENCY_MEMORY)
        halve(l);
}

int64_t fm_hedge_delay_ns(const struct fm_latency *l, const struct fm_hedge_policy *p)
{
    int64_t learnt = p->mode == FM_HEDGE_AT_P95 ? l->p95_ns : l->p99_ns;
    switch (p->mode) {
    case FM_HEDGE_OFF:
        return INT64_MAX;
    case FM_HEDGE_AFTER:
        return p->after_ns;
    case FM_HEDGE_AT_P95:
    case FM_HEDGE_AT_P99:
        break;
    }
    if (l->total < ENOUGH)
        learnt = FM_HEDGE_UNKNOWN_MS * FM_NS_PER_MS;
    int64_t most = p->first_byte_ns / 2;
    int64_t least = FM_HEDGE_LEAST_MS * FM_NS_PER_MS;
    return fm_clamp_i64(learnt, least < most ? least : most, most);
}

int64_t fm_silence_limit_ns(const struct fm_latency *l, const struct fm_hedge_policy *p)
{
    if (p->mode == FM_HEDGE_OFF)
        return INT64_MAX;
    int64_t delay = fm_hedge_delay_ns(l, p);
    int64_t unknown = FM_SILENCE_UNKNOWN_MS * FM_NS_PER_MS;
    int64_t tail = l->total >= ENOUGH_FOR_TAIL ? l->p999_ns + l->p999_ns / 2
                   : 2 * delay > unknown       ? 2 * delay
                                               : unknown;
    int64_t least = FM_SILENCE_LEAST_MS * FM_NS_PER_MS;
    int64_t limit = tail > delay ? tail : delay;
    limit = limit > least ? limit : least;
    return limit < p->first_byte_ns ? limit : p->first_byte_ns;
}

int64_t fm_silence_check_ns(const struct fm_latency *l, const struct fm_hedge_policy *p)
{
    int64_t limit = fm_silence_limit_ns(l, p);
    if (limit == INT64_MAX)
        return INT64_MAX;
    int64_t least = FM_SILENCE_LEAST_MS * FM_NS_PER_MS;
    int64_t usual = l->total >= ENOUGH && l->p95_ns > least ? l->p95_ns : least;
    return usual < limit ? usual : limit;
}

bool fm_is_silent(const struct fm_silence *s, int64_t limit_ns, struct fm_mono now)
{
    if (s->owed < FM_SILENCE_OWED || limit_ns == INT64_MAX)
        return false;
    struct fm_mono since = fm_mono_before(s->last_heard, s->oldest) ? s->oldest : s->last_heard;
    int64_t silent_ns = fm_mono_sub_ns(now, since);
    if (silent_ns >= limit_ns)
        return true;
    return s->owed >= FM_SILENCE_OWED_MANY && silent_ns >= FM_SILENCE_LEAST_MS * FM_NS_PER_MS &&
           silent_ns / FM_SILENCE_MISSED >= s->gap_ns;
}
