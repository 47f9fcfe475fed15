/* Commands that go to their holder by way of another region's gate (`relay: true`); core/onward.h
 * decides. The gate in between writes nothing down: it is no authority, and its journal would not
 * be the one that the next holder reads. */
#include "proxy/request.h"

#include "base/assert.h"

static const char relayed_mode[8] = "relayed "; /* as long as what it replaces: "normal  " */

/* Where no way is found, so seldom does one command look for it again: what is held is many. */
enum { ROUND_AGAIN_MS = 200 };

static bool is_gate(const struct fm_request *rq)
{
    return rq->w->config.mode == FM_PROXY_GATE;
}

/* -------- at a gate -------- */

/* A tunnel would be cut by the gate in between, which holds nothing. */
void fm_onward_prepare(struct fm_request *rq, const struct fm_http_head *h)
{
    if (!is_gate(rq) || !rq->seats || !rq->command)
        return;
    rq->relayed = fm_str_eq(fm_http_value(h, FM_HDR_FULMAR_MODE), FM_STR("relayed"));
    rq->may_relay = rq->route->relay && !rq->relayed && !rq->override && !rq->queue &&
                    !rq->delivered && !rq->upgrade;
}

bool fm_onward_go(struct fm_request *rq, enum fm_admit why)
{
    const struct fm_view *v = rq->vr->view;
    FM_ASSERT(is_gate(rq) && !rq->entered && why != FM_ADMIT_YES);
    struct fm_onward_case c = {.route = rq->may_relay,
                               .relayed = rq->relayed,
                               .admit = why,
                               .said = rq->epoch,
                               .region = (uint8_t)v->self};
    struct fm_sublease_cell cell;
    struct fm_route_plan plan = {.n = 1, .healthy = 1};
    fm_seats_read_sublease(rq->seats, rq->cell, &cell);
    if (!fm_onward_goes(&c, &cell, &plan.region[0], &rq->epoch))
        return false;
    if (plan.region[0] >= v->nregions || !v->regions[plan.region[0]].gates)
        return false;  /* none of its gates is known by an address */
    fm_record_end(rq); /* nothing was submitted: the other gate writes it down */
    FM_ASSERT(!rq->record && rq->at.mode > 0 && rq->at.authority > 0);
    rq->onward = true;
    memcpy(rq->out[0]->data + rq->at.mode, relayed_mode, sizeof relayed_mode);
    fm_heads_set_authority(rq->out[0]->data + rq->at.authority, rq->cell, rq->epoch.n);
    fm_counter_inc(&rq->w->metrics.relayed);
    fm_request_go(rq, &plan);
    return true;
}

bool fm_onward_answer_passes(const struct fm_try *t)
{
    const struct fm_request *rq = t->rq;
    struct fm_sublease_cell cell;
    FM_ASSERT(rq->onward && t->epoch.n > 0);
    fm_seats_read_sublease(rq->seats, rq->cell, &cell);
    return fm_onward_passes(&cell, t->epoch);
}

/* -------- at an edge -------- */

bool fm_onward_goes_round(const struct fm_request *rq, const struct fm_view_cell *cell)
{
    const struct fm_view *v = rq->vr->view;
    if (!rq->route->relay || cell->region >= v->nregions)
        return false;
    const struct fm_board_slot *slot = fm_board_slot(v->board, cell->region, rq->context);
    struct fm_mono round_at = fm_target(rq->vr, cell->region, rq->context)->round_at;
    struct fm_round_case c = {
        .route = true,
        .away = fm_plan_is_away(rq, cell->region),
        .unheard = atomic_load_explicit(&slot->unheard, memory_order_relaxed),
        .elsewhere = rq->override || rq->queue || rq->upgrade,
        .in_vain = fm_mono_before(fm_loop_now(&rq->w->loop), round_at),
    };
    return fm_onward_round(&c, cell);
}

bool fm_onward_go_round(struct fm_request *rq, const struct fm_view_cell *cell)
{
    struct fm_route_plan any, plan = {0};
    FM_ASSERT(!is_gate(rq) && !rq->held && rq->at.authority > 0 && cell->epoch.n > 0);
    fm_plan_route(rq, FM_CANARY_OF_NONE, &any);
    for (unsigned i = 0; i < any.n; i++)
        if (any.region[i] != cell->region && rq->vr->view->regions[any.region[i]].gates)
            plan.region[plan.n++] = any.region[i];
    plan.healthy = plan.n;
    if (plan.n == 0)
        return false;
    struct fm_target *target = fm_target(rq->vr, cell->region, rq->context);
    if (target->round_at.ns > 0)
        target->round_at = fm_mono_add_ms(fm_loop_now(&rq->w->loop), ROUND_AGAIN_MS);
    rq->round_of = (uint8_t)(cell->region + 1);
    rq->epoch = cell->epoch;
    rq->round = true; /* any gate will pass it on to the one that has its key */
    fm_heads_set_authority(rq->out[0]->data + rq->at.authority, rq->cell, cell->epoch.n);
    fm_counter_inc(&rq->w->metrics.relayed);
    fm_request_go(rq, &plan);
    return true;
}

void fm_onward_heard(const struct fm_try *t)
{
    const struct fm_request *rq = t->rq;
    if (rq->round_of == 0 || t->region == rq->round_of - 1u)
        return;
    struct fm_target *target = fm_target(rq->vr, rq->round_of - 1u, rq->context);
    bool in_vain = t->problem == FM_PROBLEM_UNREACHABLE;
    target->round_at =
        in_vain ? fm_mono_add_ms(fm_loop_now(&t->w->loop), ROUND_AGAIN_MS) : FM_MONO_ZERO;
}
