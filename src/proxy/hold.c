/* Commands at an edge that only one region may take (SAFETY.md 13, 15 to 17). They go to the holder
 * that the view names; where nobody takes one now it waits, bounded in number and time, and looks
 * again when the view changes and now and then. core/answer.h decides. */
#include "proxy/request.h"

#include "base/assert.h"
#include "core/answer.h"

enum {
    LOOK_MS = 40,
    /* Where it was sent in vain: more seldom, since who fails is not helped by more; and not for
     * ever to one who is there. If it is not only this command his region is left by then. */
    UNKNOWN_LOOK_MS = 200,
    UNKNOWN_MS = 1000,
    /* So many are let go at once, and so long after the ones before. */
    LET_GO = 16,
    LET_GO_MS = 2,
};

static bool is_edge(const struct fm_request *rq)
{
    return rq->w->config.mode == FM_PROXY_EDGE;
}

/* -------- the queue -------- */

static void out_of_queue(struct fm_request *rq)
{
    FM_ASSERT(rq->held && rq->w->nheld > 0);
    rq->held = false;
    rq->w->nheld--;
    fm_list_remove(&rq->hold_node);
}

void fm_hold_drop(struct fm_request *rq)
{
    if (rq->held)
        out_of_queue(rq);
}

static void look_at(struct fm_request *rq, struct fm_mono at)
{
    struct fm_mono end = fm_mono_add_ns(rq->held_since, rq->route->hold_ns);
    rq->look_at = at;
    fm_loop_timer(&rq->w->loop, &rq->timer, fm_mono_min(at, fm_mono_min(end, rq->total_deadline)));
}

static void arm(struct fm_request *rq)
{
    struct fm_mono now = fm_loop_now(&rq->w->loop);
    bool in_vain = rq->unknown_at.n > 0 && fm_epoch_same(rq->unknown_at, rq->epoch);
    unsigned ms = in_vain ? UNKNOWN_LOOK_MS : LOOK_MS;
    int64_t jitter_ns = (int64_t)fm_rand_below(&rq->w->rand, ms / 2 * 1000) * 1000;
    look_at(rq, fm_mono_add_ns(fm_mono_add_ms(now, ms), jitter_ns));
}

static void into_queue(struct fm_request *rq)
{
    struct fm_worker *w = rq->w;
    if (!rq->held) {
        rq->held = true;
        fm_list_push_back(&w->held, &rq->hold_node);
        w->nheld++;
        if (!rq->was_held) {
            rq->was_held = true;
            fm_counter_inc(&w->metrics.held);
        }
    }
    arm(rq);
}

/* -------- deciding -------- */

/* What the view says of its cell. False: nobody may take it now. */
static bool holder_of(const struct fm_request *rq, struct fm_view_cell *cell)
{
    fm_seats_read_view(rq->seats, rq->cell, cell);
    return cell->epoch.n > 0 && !cell->released && cell->region < rq->vr->view->nregions;
}

static void send_to(struct fm_request *rq, const struct fm_view_cell *cell)
{
    FM_ASSERT(!rq->held && rq->at.authority > 0);
    rq->round_of = 0;
    rq->epoch = cell->epoch;
    rq->round = false;
    fm_heads_set_authority(rq->out[0]->data + rq->at.authority, rq->cell, cell->epoch.n);
    struct fm_route_plan plan = {.n = 1, .healthy = 1};
    plan.region[0] = cell->region;
    fm_request_go(rq, &plan);
}

/* The best region but the one that has the cell. */
static bool other_region(struct fm_request *rq, struct fm_route_plan *out)
{
    struct fm_view_cell cell;
    struct fm_route_plan any;
    bool known = holder_of(rq, &cell) || cell.epoch.n > 0;
    fm_plan_route(rq, FM_CANARY_OF_NONE, &any);
    *out = (struct fm_route_plan){.healthy = any.healthy};
    for (unsigned i = 0; i < any.n; i++)
        if (!known || any.region[i] != cell.region)
            out->region[out->n++] = any.region[i];
    return out->n > 0;
}

/* To another region, which takes it in another way, and under no epoch. */
static void go_elsewhere(struct fm_request *rq, const char mode[8], struct fm_route_plan *plan)
{
    FM_ASSERT(rq->at.mode > 0 && rq->at.authority > 0 && !rq->held);
    rq->round_of = 0;
    rq->epoch = (struct fm_epoch){0};
    memcpy(rq->out[0]->data + rq->at.mode, mode, 8);
    fm_heads_set_authority(rq->out[0]->data + rq->at.authority, rq->cell, 0);
    fm_request_go(rq, plan);
}

/* It is taken without authority, where the route says so; the gate looks at the finding of its own
 * region again, writes it down and tells the application. */
static bool overridden(struct fm_request *rq)
{
    struct fm_route_plan plan;
    if (rq->override || rq->maybe_executed || rq->at.mode == 0 || !other_region(rq, &plan))
        return false;
    rq->override = true; /* once */
    go_elsewhere(rq, "override", &plan);
    return true;
}

/* All regions but the holder's, those that are well first, and in an order that is the same at
 * every edge: so commands of one key come to one queue, in their order, and a repeat comes to its
 * first. */
static void queue_plan(const struct fm_request *rq, struct fm_route_plan *out)
{
    const struct fm_view *v = rq->vr->view;
    struct fm_mono now = fm_loop_now(&rq->w->loop);
    struct fm_view_cell cell;
    fm_seats_read_view(rq->seats, rq->cell, &cell);
    *out = (struct fm_route_plan){0};
    for (unsigned well = 2; well-- > 0;) {
        unsigned from = out->n;
        for (unsigned r = 0; r < v->nregions; r++) {
            bool is_well =
                !fm_plan_is_left(rq, r) && fm_pool_is_reachable(rq->vr, r, rq->context, now);
            if (v->regions[r].witness || (cell.epoch.n > 0 && r == cell.region) || is_well != well)
                continue;
            unsigned at = out->n++;
            for (; at > from && v->regions[out->region[at - 1]].priority > v->regions[r].priority;
                 at--)
                out->region[at] = out->region[at - 1];
            out->region[at] = (uint8_t)r;
        }
        out->healthy = well ? out->n : out->healthy;
    }
    FM_ASSERT(out->n <= v->nregions);
}

/* It is kept by another region until its holder is back, where the route says so. */
static bool queued(struct fm_request *rq)
{
    struct fm_route_plan plan;
    if (rq->queue || rq->at.mode == 0 || rq->streaming || rq->upgrade)
        return false;
    queue_plan(rq, &plan);
    if (plan.n == 0)
        return false;
    rq->queue = true; /* once */
    fm_counter_inc(&rq->w->metrics.queued);
    go_elsewhere(rq, "queue   ", &plan);
    return true;
}

/* What may have been executed is never called failed. */
static void refuse(struct fm_request *rq, enum fm_problem p)
{
    fm_relay_problem(rq, rq->maybe_executed ? FM_PROBLEM_OUTCOME_UNKNOWN : p);
}

static void away(struct fm_request *rq)
{
    bool lapsed = fm_seats_has_lapsed(rq->seats, rq->cell);
    switch (fm_when_away((enum fm_away)rq->route->away, lapsed, rq->route->concurrent)) {
    case FM_AWAY_OVERRIDE:
        if (overridden(rq))
            return;
        break;
    case FM_AWAY_QUEUE:
        if (queued(rq))
            return;
        break;
    case FM_AWAY_REJECT:
    case FM_AWAY_COUNT:
        break;
    }
    fm_counter_inc(&rq->w->metrics.held_in_vain);
    refuse(rq, FM_PROBLEM_READ_ONLY);
}

/* `look`: news, or time to try again. */
static void decide(struct fm_request *rq, bool look)
{
    struct fm_worker *w = rq->w;
    struct fm_mono now = fm_loop_now(&w->loop);
    struct fm_view_cell cell;
    bool moving = !holder_of(rq, &cell) || fm_plan_is_away(rq, cell.region);
    bool round = moving && fm_onward_goes_round(rq, &cell);
    struct fm_held h = {
        .moving = moving && !round,
        .client_gone = rq->client_gone,
        .view_newer = look,
        .held_ms = fm_clamp_i64(fm_mono_sub_ms(now, rq->held_since), 0, INT64_MAX),
        .hold_ms = rq->route->hold_ns / FM_NS_PER_MS,
        .held = w->nheld - rq->held,
        .held_max = rq->vr->view->contexts[rq->context].conf->in_flight_max,
    };
    enum fm_hold what = fm_hold_decide(&h);
    if (what == FM_HOLD_HOLD && now.ns < rq->total_deadline.ns) {
        into_queue(rq);
        return;
    }
    fm_hold_drop(rq);
    switch (what) {
    case FM_HOLD_SEND:
        if (!round)
            send_to(rq, &cell);
        else if (!fm_onward_go_round(rq, &cell))
            into_queue(rq); /* there is nobody else either */
        return;
    case FM_HOLD_HOLD:
    case FM_HOLD_WHEN_AWAY:
        away(rq);
        return;
    case FM_HOLD_OVERLOADED:
        if (rq->route->away != FM_AWAY_QUEUE || !queued(rq))
            refuse(rq, FM_PROBLEM_OVERLOADED);
        return;
    case FM_HOLD_DROP:
        fm_request_free(rq);
        return;
    case FM_HOLD_COUNT:
        break;
    }
    FM_UNREACHABLE();
}

void fm_hold_go(struct fm_request *rq)
{
    FM_ASSERT(is_edge(rq) && rq->command && rq->seats && rq->placed && !rq->held);
    rq->held_since = fm_loop_now(&rq->w->loop);
    if (atomic_load_explicit(&rq->seats->read_only, memory_order_relaxed)) {
        fm_relay_problem(rq, FM_PROBLEM_READ_ONLY);
        return;
    }
    struct fm_view_cell cell;
    if (holder_of(rq, &cell) && !fm_plan_is_away(rq, cell.region)) {
        send_to(rq, &cell);
        return;
    }
    decide(rq, fm_onward_goes_round(rq, &cell));
}

bool fm_hold_waits(const struct fm_request *rq)
{
    return is_edge(rq) && rq->command && rq->seats && rq->placed && !rq->override && !rq->queue;
}

/* It was not executed; or it may have been, and the application stops doubles of it. */
static bool may_be_sent_again(const struct fm_request *rq, enum fm_problem why)
{
    return fm_problem_is_misdirected(why) || why == FM_PROBLEM_UNREACHABLE ||
           why == FM_PROBLEM_NO_INSTANCE ||
           (why == FM_PROBLEM_OUTCOME_UNKNOWN && rq->repeat == FM_REPEAT_KEYED);
}

/* It may have been executed. False: it fails again and again under one epoch, whose holder is
 * there: that is how it is. */
static bool may_wait_unknown(struct fm_request *rq)
{
    struct fm_mono now = fm_loop_now(&rq->w->loop);
    struct fm_view_cell cell;
    if (!fm_epoch_same(rq->unknown_at, rq->epoch)) {
        rq->unknown_at = rq->epoch;
        rq->unknown_since = now;
    }
    return fm_mono_sub_ms(now, rq->unknown_since) < UNKNOWN_MS || !holder_of(rq, &cell) ||
           fm_plan_is_left(rq, cell.region);
}

bool fm_hold_take(struct fm_request *rq, enum fm_problem why)
{
    if (!fm_hold_waits(rq) || !may_be_sent_again(rq, why))
        return false;
    bool unknown = why == FM_PROBLEM_OUTCOME_UNKNOWN;
    if (unknown || rq->x.maybe_executed)
        rq->maybe_executed = true;
    if (!rq->x.replayable || rq->client_gone || (unknown && !may_wait_unknown(rq)))
        return false;
    if (why == FM_PROBLEM_MOVING || why == FM_PROBLEM_NOT_HOLDER || unknown)
        fm_seats_ring(rq->w->config.seats);
    decide(rq, false);
    return true;
}

void fm_hold_timer(struct fm_request *rq)
{
    FM_ASSERT(rq->held);
    decide(rq, !fm_mono_before(fm_loop_now(&rq->w->loop), rq->look_at));
}

/* What waited for seconds would come to the region that has just taken over as one wave, and make
 * all else wait there: it is let go in the order in which it came, a few at a time. */
void fm_hold_look_again(struct fm_worker *w)
{
    struct fm_list todo;
    struct fm_mono now = fm_loop_now(&w->loop);
    unsigned n = 0;
    fm_list_init(&todo);
    fm_list_splice(&todo, &w->held);
    while (!fm_list_empty(&todo)) {
        struct fm_request *rq = fm_list_first(&todo, struct fm_request, hold_node);
        FM_ASSERT(rq->held);
        fm_list_remove(&rq->hold_node);
        fm_list_push_back(&w->held, &rq->hold_node);
        if (n < LET_GO)
            decide(rq, true);
        else
            look_at(rq, fm_mono_add_ms(now, n / LET_GO * LET_GO_MS));
        n++;
    }
}

/* -------- answers -------- */

bool fm_hold_passes(const struct fm_try *t)
{
    const struct fm_request *rq = t->rq;
    if (!rq->seats || !rq->command || !rq->placed || t->epoch.n == 0)
        return true;
    struct fm_view_cell cell;
    fm_seats_read_view(rq->seats, rq->cell, &cell);
    return fm_answer_passes(&cell, t->epoch);
}
