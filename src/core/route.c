/* Routing decisions: see the header. Integers only, so that every compiler decides the same. */
#include "core/route.h"

#include "base/assert.h"
#include "base/hash.h"

/* Numbers with 30 bits behind the point. */
enum { POINT = 30 };
#define ONE (UINT64_C(1) << POINT)

static uint64_t times(uint64_t x, uint64_t y)
{
    return x * y >> POINT;
}

/* log2(1 + x) for 0 <= x < 1: a polynomial that is exact at both ends, with its slope, and off by
 * at most 0.00005 between them. */
static uint64_t log2_of_1_plus(uint64_t x)
{
    FM_ASSERT(x < ONE);
    static const uint64_t a = 475340181, b = 290779699, c = 163793579, d = 49153239;
    return x + times(times(x, ONE - x), a - times(x, b - times(x, c - times(x, d))));
}

/* -log2(h / 2^64). Never 0: the least is one unit. */
static uint64_t minus_log2(uint64_t h)
{
    h |= 1;
    unsigned lead = (unsigned)__builtin_clzll(h);
    uint64_t fraction = h << lead << 1 >> (64 - POINT); /* behind the leading one */
    uint64_t log2 = ((uint64_t)(63 - lead) << POINT) + log2_of_1_plus(fraction);
    FM_ASSERT(log2 <= 64 * ONE);
    return fm_max_u64(64 * ONE - log2, 1);
}

uint64_t fm_rendezvous_cost(uint64_t key, uint64_t id, uint32_t weight)
{
    if (weight == 0)
        return UINT64_MAX;
    uint64_t h = fm_mix64(key ^ fm_mix64(id + UINT64_C(0x9e3779b97f4a7c15)));
    return (minus_log2(h) << 16) / weight;
}

/* Where a region stands for this request, the best first. */
enum standing {
    CANARY,
    WELL,
    COMING,      /* comes back, and this request is not in its share yet */
    SPARED,      /* well, and this request is not in the share that operators left it */
    LAST_RESORT, /* down, or nothing of it can be reached */
    EXCLUDED,
};

struct candidate {
    uint8_t region;
    enum standing standing;
    uint64_t doubt; /* last resort: one that can be reached first, then the last good one */
    uint32_t tier;  /* of equals within the standing: priority, or latency beyond the band */
    uint64_t cost;  /* chance or affinity within the tier */
};

/* Of several that are down, those are equally good that answered so shortly before the last one. */
enum { LAST_GOOD_MS = 5000 };

static bool dice(uint64_t chance, uint64_t salt, unsigned permille)
{
    return permille >= 1000 || fm_mix64(chance ^ fm_mix64(salt)) % 1000 < permille;
}

static enum standing stand(const struct fm_route_region *r, const struct fm_route_request *q)
{
    FM_ASSERT(r->serve <= 1000 && r->share <= 1000);
    uint64_t chance = q->sticky ? q->affinity : q->random;
    if (r->serve == 0)
        return EXCLUDED;
    bool spared = !dice(chance, r->id + 1, r->serve);
    if (r->trial && !spared && (q->repeatable || r->trial_any))
        return CANARY;
    if (r->share == 0 || !r->reachable)
        return LAST_RESORT;
    if (spared)
        return SPARED;
    return dice(chance, r->id + 2, r->share) ? WELL : COMING;
}

/* The standing of each region that operators have not excluded; one trial a request. */
static unsigned gather(const struct fm_route_region *r, unsigned n,
                       const struct fm_route_request *q, struct candidate *c)
{
    unsigned kept = 0;
    bool canary = false;
    for (unsigned i = 0; i < n; i++) {
        enum standing s = stand(&r[i], q);
        if (s == EXCLUDED)
            continue;
        if (s == CANARY && canary)
            s = LAST_RESORT;
        canary |= s == CANARY;
        c[kept++] = (struct candidate){.region = (uint8_t)i, .standing = s};
    }
    return kept;
}

/* The least latency among those that stand best; 0 where none was measured. */
static uint32_t fastest(const struct fm_route_region *r, const struct candidate *c, unsigned kept)
{
    enum standing best = EXCLUDED;
    uint32_t us = 0;
    for (unsigned k = 0; k < kept; k++) {
        uint32_t latency_us = r[c[k].region].latency_us;
        if (latency_us == 0 || c[k].standing == CANARY || c[k].standing > best)
            continue;
        us = c[k].standing < best || latency_us < us ? latency_us : us;
        best = c[k].standing;
    }
    return us;
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

/* When the last answer of those came that are a last resort and can be reached, or can not. */
static struct fm_mono last_good(const struct fm_route_region *r, const struct candidate *c,
                                unsigned kept, bool reachable)
{
    struct fm_mono newest = FM_MONO_ZERO;
    for (unsigned k = 0; k < kept; k++) {
        const struct fm_route_region *one = &r[c[k].region];
        if (c[k].standing == LAST_RESORT && one->reachable == reachable &&
            fm_mono_before(newest, one->last_ok))
            newest = one->last_ok;
    }
    return newest;
}

static uint64_t doubt(const struct fm_route_region *r, const struct candidate *c, unsigned kept,
                      unsigned k)
{
    const struct fm_route_region *one = &r[c[k].region];
    struct fm_mono newest = last_good(r, c, kept, one->reachable);
    int64_t age_ns = fm_mono_sub_ns(newest, one->last_ok);
    uint64_t age = age_ns <= LAST_GOOD_MS * FM_NS_PER_MS ? 0 : (uint64_t)age_ns;
    FM_ASSERT(age >> 63 == 0);
    return age | (uint64_t)!one->reachable << 63;
}

static bool before(const struct candidate *a, const struct candidate *b)
{
    if (a->standing != b->standing)
        return a->standing < b->standing;
    if (a->doubt != b->doubt)
        return a->doubt < b->doubt;
    if (a->tier != b->tier)
        return a->tier < b->tier;
    if (a->cost != b->cost)
        return a->cost < b->cost;
    return a->region < b->region;
}

static void sort(struct candidate *c, unsigned n)
{
    for (unsigned i = 1; i < n; i++) {
        struct candidate one = c[i];
        unsigned at = i;
        for (; at > 0 && before(&one, &c[at - 1]); at--)
            c[at] = c[at - 1];
        c[at] = one;
    }
}

void fm_route(const struct fm_route_region *r, unsigned n, const struct fm_route_request *q,
              struct fm_route_plan *plan)
{
    FM_ASSERT(n <= FM_REGIONS_MAX);
    struct candidate c[FM_REGIONS_MAX];
    unsigned kept = gather(r, n, q, c);
    uint64_t key = q->sticky ? q->affinity : q->random;
    uint32_t fastest_us = q->by == FM_ROUTE_LATENCY ? fastest(r, c, kept) : 0;
    for (unsigned k = 0; k < kept; k++) {
        const struct fm_route_region *one = &r[c[k].region];
        c[k].tier = tier(one, q, fastest_us);
        if (has_equal(r, n, c[k].region, q))
            c[k].cost = fm_rendezvous_cost(key, one->id, one->weight);
        if (c[k].standing == LAST_RESORT)
            c[k].doubt = doubt(r, c, kept, k);
    }
    sort(c, kept);
    FM_ASSERT(kept <= n && (kept < 2 || c[0].standing <= c[kept - 1].standing));
    *plan = (struct fm_route_plan){.n = (uint8_t)kept};
    for (unsigned k = 0; k < kept; k++) {
        plan->region[k] = c[k].region;
        if (c[k].standing < LAST_RESORT)
            plan->healthy++;
    }
    plan->canary = kept && c[0].standing == CANARY;
    FM_ASSERT(plan->healthy <= plan->n);
    plan->fail_open = kept && plan->healthy == plan->canary;
}
