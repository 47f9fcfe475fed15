/* Routing decisions: see the header. Integers only, so that every compiler decides the same. */
#include "core/route.h"

#include "base/assert.h"
#include "base/hash.h"

/* -log2((h + 1) / 2^64) with 24 bits behind the point, by repeated squaring of the mantissa. Never
 * 0: the least is one unit. */
static uint64_t minus_log2(uint64_t h)
{
    if (h == UINT64_MAX)
        return 1;
    h++;
    unsigned lead = (unsigned)__builtin_clzll(h);
    uint64_t mantissa = h << lead; /* 1.x with 63 bits behind the point */
    uint64_t fraction = 0;
    for (unsigned bit = 0; bit < 24; bit++) {
        fm_u128 square = (fm_u128)mantissa * mantissa >> 63;
        bool carry = square >> 64 != 0; /* it is 2 or more */
        mantissa = (uint64_t)(carry ? square >> 1 : square);
        fraction = fraction << 1 | carry;
    }
    uint64_t log2 = ((uint64_t)(63 - lead) << 24) | fraction;
    uint64_t full = UINT64_C(64) << 24;
    FM_ASSERT(log2 < full);
    return full - log2;
}

uint64_t fm_rendezvous_cost(uint64_t key, uint64_t id, uint32_t weight)
{
    if (weight == 0)
        return UINT64_MAX;
    uint64_t h = fm_mix64(key ^ fm_mix64(id + UINT64_C(0x9e3779b97f4a7c15)));
    return (minus_log2(h) << 16) / weight;
}

/* Where a region stands: canary first, then well, then last resort. */
enum standing { CANARY, WELL, LAST_RESORT, EXCLUDED };

struct candidate {
    uint8_t region;
    enum standing standing;
    uint32_t tier;  /* of equals within the standing: priority, or latency beyond the band */
    uint64_t cost;  /* chance or affinity within the tier */
    int64_t age_ns; /* last resort: minus the time of the last success */
};

static bool dice(uint64_t random, unsigned salt, unsigned permille)
{
    return fm_mix64(random + salt) % 1000 < permille;
}

static enum standing stand(const struct fm_route_region *r, const struct fm_route_request *q,
                           unsigned i)
{
    uint64_t chance = q->sticky ? q->affinity : q->random;
    if (r->serve == 0 || (r->serve < 1000 && !dice(chance, 1000 + i, r->serve)))
        return EXCLUDED;
    if (r->trial && (q->repeatable || r->trial_any))
        return CANARY;
    if (r->share == 0 || !r->reachable)
        return LAST_RESORT;
    return r->share >= 1000 || dice(chance, 2000 + i, r->share) ? WELL : LAST_RESORT;
}

static uint32_t tier(const struct fm_route_region *r, const struct fm_route_request *q,
                     uint32_t fastest_us)
{
    switch (q->by) {
    case FM_ROUTE_PRIORITY:
        return r->priority;
    case FM_ROUTE_WEIGHT:
        return 0;
    case FM_ROUTE_LATENCY:
        /* one that was never measured is worth a look */
        return r->latency_us <= fastest_us + q->band_us ? 0 : r->latency_us;
    }
    FM_UNREACHABLE();
}

static bool before(const struct candidate *a, const struct candidate *b)
{
    if (a->standing != b->standing)
        return a->standing < b->standing;
    if (a->standing == LAST_RESORT && a->age_ns != b->age_ns)
        return a->age_ns < b->age_ns;
    if (a->tier != b->tier)
        return a->tier < b->tier;
    if (a->cost != b->cost)
        return a->cost < b->cost;
    return a->region < b->region;
}

static uint32_t fastest(const struct fm_route_region *r, unsigned n)
{
    uint32_t best = UINT32_MAX;
    for (unsigned i = 0; i < n; i++)
        if (r[i].latency_us && r[i].share && r[i].reachable && r[i].latency_us < best)
            best = r[i].latency_us;
    return best == UINT32_MAX ? 0 : best;
}

/* Chance and affinity decide among equals only; where priorities differ nobody needs their cost. */
static bool has_equal(const struct fm_route_region *r, unsigned n, unsigned i,
                      const struct fm_route_request *q)
{
    if (q->by != FM_ROUTE_PRIORITY)
        return true;
    for (unsigned j = 0; j < n; j++)
        if (j != i && r[j].priority == r[i].priority)
            return true;
    return false;
}

static void judge(struct candidate *c, const struct fm_route_region *r, unsigned n, unsigned i,
                  const struct fm_route_request *q, uint32_t fastest_us)
{
    uint64_t key = q->sticky ? q->affinity : q->random;
    c->region = (uint8_t)i;
    c->standing = stand(&r[i], q, i);
    c->tier = tier(&r[i], q, fastest_us);
    c->cost = has_equal(r, n, i, q) ? fm_rendezvous_cost(key, i, r[i].weight) : 0;
    c->age_ns = -r[i].last_ok.ns;
}

void fm_route(const struct fm_route_region *r, unsigned n, const struct fm_route_request *q,
              struct fm_route_plan *plan)
{
    FM_ASSERT(n <= FM_REGIONS_MAX);
    struct candidate c[FM_REGIONS_MAX];
    uint32_t fastest_us = fastest(r, n);
    unsigned kept = 0;
    *plan = (struct fm_route_plan){0};
    for (unsigned i = 0; i < n; i++) {
        struct candidate one;
        judge(&one, r, n, i, q, fastest_us);
        if (one.standing == EXCLUDED)
            continue;
        if (one.standing == CANARY && kept && c[0].standing == CANARY)
            one.standing = LAST_RESORT; /* one trial a request */
        unsigned at = kept++;
        for (; at > 0 && before(&one, &c[at - 1]); at--)
            c[at] = c[at - 1];
        c[at] = one;
    }
    for (unsigned i = 0; i < kept; i++) {
        plan->region[plan->n++] = c[i].region;
        if (c[i].standing == WELL)
            plan->healthy++;
    }
    plan->canary = kept && c[0].standing == CANARY;
    plan->fail_open = plan->healthy == 0 && kept > 0;
    if (plan->canary)
        plan->healthy++;
}
