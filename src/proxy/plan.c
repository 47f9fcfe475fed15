/* Which regions a request may go to, and in which order: core/route.h decides from what control and
 * this worker know of each. */
#include "proxy/request.h"

#include "base/assert.h"

static const struct fm_hash_key sticky_key = {UINT64_C(0x66756c6d61722d73),
                                              UINT64_C(0x7469636b792d3031)};

/* -------- what is known of a region -------- */

bool fm_pool_is_reachable(const struct fm_view_ref *vr, unsigned region, unsigned context,
                          struct fm_mono now)
{
    const struct fm_view *v = vr->view;
    const struct fm_view_pool *p = fm_view_pool(v, region, context);
    FM_ASSERT(p->first + p->n <= v->nendpoints);
    for (unsigned i = p->first; i < p->first + p->n; i++)
        if (vr->up[i] && !atomic_load_explicit(&v->endpoints[i].drained, memory_order_relaxed) &&
            !atomic_load_explicit(&v->endpoints[i].probe_down, memory_order_relaxed) &&
            fm_breaker_would(&vr->up[i]->link, &fm_upstream_link_policy, now))
            return true;
    return false;
}

static void look_at_region(const struct fm_request *rq, unsigned r, bool canaries,
                           struct fm_route_region *out)
{
    const struct fm_view *v = rq->vr->view;
    const struct fm_target *t = fm_target(rq->vr, r, rq->context);
    struct fm_board_slot *slot = fm_board_slot(v->board, r, rq->context);
    struct fm_mono now = fm_loop_now(&rq->w->loop);
    uint64_t word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    FM_ASSERT(fm_board_share(word) <= 1000);
    bool left = fm_leave_is_left(&t->leave, fm_board_epoch(word), now);
    uint32_t canary = FM_CANARY_NONE;
    if (canaries && fm_board_share(word) == 0)
        canary = atomic_load_explicit(&slot->canary, memory_order_relaxed);
    *out = (struct fm_route_region){
        .id = v->regions[r].id,
        .priority = v->regions[r].priority,
        .weight = v->regions[r].weight,
        .serve =
            v->regions[r].witness ? 0 : atomic_load_explicit(&slot->serve, memory_order_relaxed),
        .share = left ? 0 : (uint16_t)fm_board_share(word),
        .reachable = fm_pool_is_reachable(rq->vr, r, rq->context, now),
        .trial = canary != FM_CANARY_NONE,
        .trial_any = canary == FM_CANARY_ANY,
        .latency_us = (uint32_t)fm_clamp_i64(t->heard.p50_ns / FM_NS_PER_US, 0, UINT32_MAX),
        .last_ok = t->last_ok,
    };
}

void fm_plan_prepare(struct fm_request *rq, const struct fm_http_head *h,
                     const struct fm_match_result *m)
{
    const struct fm_conf_context *c = rq->vr->view->contexts[rq->context].conf;
    struct fm_str key = {NULL, 0};
    uint8_t addr[16];
    switch (c->sticky.kind) {
    case FM_STICKY_NONE:
        break;
    case FM_STICKY_HEADER:
        key = fm_http_find(h, c->sticky.name);
        break;
    case FM_STICKY_COOKIE:
        key = fm_http_cookie(h, c->sticky.name);
        break;
    case FM_STICKY_PATH:
        if (rq->route->sticky_segment >= 0 && (unsigned)rq->route->sticky_segment < m->nsegments)
            key = m->segment[rq->route->sticky_segment];
        break;
    case FM_STICKY_CLIENT: {
        fm_addr_bytes(&rq->conn->peer, addr);
        bool v4 = rq->conn->peer.sa.sa_family == AF_INET ||
                  memcmp(addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0;
        unsigned bits = v4 ? 96 + c->sticky.client_bits : 2 * c->sticky.client_bits;
        for (unsigned i = 0; i < 16; i++) {
            unsigned keep = bits > 8 * i ? bits - 8 * i : 0;
            if (keep < 8)
                addr[i] &= (uint8_t)(0xff00u >> keep);
        }
        key = fm_str((const char *)addr, sizeof addr);
        break;
    }
    }
    rq->sticky = key.p != NULL;
    rq->affinity = key.p ? fm_hash_str(sticky_key, key) : 0;
}

/* Take the canary token of the first region of the plan, or plan again without canaries. */
static bool claim_canary(const struct fm_request *rq, const struct fm_route_plan *plan)
{
    FM_ASSERT(plan->canary && plan->n > 0);
    struct fm_board_slot *slot = fm_board_slot(rq->vr->view->board, plan->region[0], rq->context);
    uint32_t had = atomic_exchange_explicit(&slot->canary, FM_CANARY_NONE, memory_order_relaxed);
    return had != FM_CANARY_NONE;
}

bool fm_plan_is_left(const struct fm_request *rq, unsigned region)
{
    const struct fm_target *t = fm_target(rq->vr, region, rq->context);
    uint64_t word = atomic_load_explicit(
        &fm_board_slot(rq->vr->view->board, region, rq->context)->word, memory_order_relaxed);
    struct fm_mono now = fm_loop_now(&rq->w->loop);
    return fm_board_share(word) == 0 || fm_leave_is_left(&t->leave, fm_board_epoch(word), now);
}

bool fm_plan_is_away(const struct fm_request *rq, unsigned region)
{
    const struct fm_board_slot *slot = fm_board_slot(rq->vr->view->board, region, rq->context);
    const struct fm_target *t = fm_target(rq->vr, region, rq->context);
    uint64_t word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    bool trial = atomic_load_explicit(&slot->trial, memory_order_relaxed);
    return (fm_board_share(word) == 0 && !trial) ||
           fm_leave_is_left(&t->leave, fm_board_epoch(word), fm_loop_now(&rq->w->loop));
}

void fm_plan_route(struct fm_request *rq, int canary, struct fm_route_plan *plan)
{
    struct fm_worker *w = rq->w;
    const struct fm_view *v = rq->vr->view;
    FM_ASSERT(v->nregions > 0 && v->nregions <= FM_REGIONS_MAX);
    if (v->mode == FM_PROXY_GATE) {
        FM_ASSERT(v->self < v->nregions);
        *plan = (struct fm_route_plan){.n = 1, .healthy = 1};
        plan->region[0] = (uint8_t)v->self;
        return;
    }
    struct fm_route_request q = {.by = rq->route->by,
                                 .band_us = rq->route->band_us,
                                 .repeatable = rq->repeat != FM_REPEAT_NEVER,
                                 .affinity = rq->affinity,
                                 .sticky = rq->sticky,
                                 .random = fm_rand_u64(&w->rand)};
    for (int canaries = 1; canaries >= 0; canaries--) {
        struct fm_route_region region[FM_REGIONS_MAX];
        for (unsigned r = 0; r < v->nregions; r++)
            look_at_region(rq, r, canaries && (canary == FM_CANARY_OF_ANY || canary == (int)r),
                           &region[r]);
        fm_route(region, v->nregions, &q, plan);
        if (!plan->canary)
            break;
        if (claim_canary(rq, plan)) {
            rq->canary_region = (uint8_t)(plan->region[0] + 1);
            fm_counter_inc(&w->metrics.canaries);
            break;
        }
    }
    FM_ASSERT(plan->n <= v->nregions && plan->healthy <= plan->n);
    if (plan->fail_open && !plan->canary) {
        rq->fail_open = true;
        fm_counter_inc(&w->metrics.fail_open);
    }
}
