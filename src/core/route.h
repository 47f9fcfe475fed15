/* core/route.h: which regions a request may be sent to, in which order.
 *
 * From the view (priorities, weights, intents), from health and latency, and from the class of the
 * request to an ordered plan. Pure: chance comes in as a number. O(regions squared), no allocation.
 *
 * Intent and health are apart: what operators asked for (serve, a share of it, off) is obeyed also
 * when everything is unhealthy; health only orders. A region that was left a share gets more only
 * where nobody else is well. With every region unhealthy the plan fails open to those that can be
 * reached, the last good ones first, in their usual order (static stability: never "no region"). */
#ifndef FM_CORE_ROUTE_H
#define FM_CORE_ROUTE_H

#include "base/str.h"
#include "base/time.h"

enum { FM_REGIONS_MAX = 16 };

enum fm_route_by { FM_ROUTE_PRIORITY, FM_ROUTE_LATENCY, FM_ROUTE_WEIGHT };

/* One region as seen for one context by one worker. */
struct fm_route_region {
    uint64_t id;            /* what keys stick to: a hash of its name, not its place in a list */
    uint16_t priority;      /* lower first */
    uint16_t weight;        /* 0 = nothing unless no other is left */
    uint16_t serve;         /* intent: permille of its traffic it may get; 0 = drained */
    uint16_t share;         /* health: permille, 0 = down, 1000 = well, between = coming back */
    bool reachable;         /* some endpoint of it is not known dead */
    bool trial;             /* a canary request may be sent there now */
    bool trial_any;         /* ... even one that could not be repeated */
    uint32_t latency_us;    /* running median; 0 = not known */
    struct fm_mono last_ok; /* last answer that was a success */
};

struct fm_route_request {
    enum fm_route_by by;
    uint32_t band_us; /* by latency: so much slower than the fastest is as good */
    bool repeatable;  /* safe, or with a key that makes it so */
    bool sticky;      /* `affinity` is a hash of what it sticks to */
    uint64_t affinity;
    uint64_t random;
};

struct fm_route_plan {
    uint8_t region[FM_REGIONS_MAX]; /* in the order to try */
    uint8_t n;                      /* of them */
    uint8_t healthy;                /* the first so many are up; the rest is a last resort */
    bool canary;                    /* the first is a trial of a region that comes back */
    bool fail_open;                 /* but for that trial none is up */
};

/* `n` regions. The plan is empty only where intent leaves nothing. */
void fm_route(const struct fm_route_region *r, unsigned n, const struct fm_route_request *q,
              struct fm_route_plan *plan);

/* Weighted rendezvous hashing (Schindelhauer and Schomaker 2005; draft-ietf-bess-weighted-hrw): the
 * candidate with the smallest cost wins; removing one moves only its own keys. Cost of candidate
 * `id` with `weight` for `key`, comparable among equal keys; UINT64_MAX for weight 0. */
uint64_t fm_rendezvous_cost(uint64_t key, uint64_t id, uint32_t weight);

#endif
