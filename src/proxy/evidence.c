/* What a try says of the instance and of the region that it went to: how it ended, that something
 * came, that nothing came for too long. Invariants: each is counted once, for the instance's
 * breakers and on the board; old news does not overrule newer. */
#include "proxy/request.h"

#include "base/assert.h"

void fm_try_not_owed(struct fm_try *t)
{
    if (!t->owed)
        return;
    t->owed = false;
    fm_list_remove(&t->node);
    FM_ASSERT(t->target->nowed > 0);
    t->target->nowed--;
    FM_ASSERT(t->target->nowed > 0 || fm_list_empty(&t->target->owed));
}

struct fm_board_slot *fm_try_slot(const struct fm_try *t)
{
    return fm_board_slot(t->vr->view->board, t->region, t->context);
}

/* What is known of one instance; for one request (or NULL) also whether it was tried. */
struct fm_instance fm_try_look_at(const struct fm_request *rq, const struct fm_view_endpoint *e,
                                  const struct fm_upstream *up, struct fm_mono now)
{
    struct fm_instance in = {.share = 1};
    if (!up)
        return in;
    in.spared = atomic_load_explicit(&e->drained, memory_order_relaxed);
    bool down = atomic_load_explicit(&e->probe_down, memory_order_relaxed);
    in.usable = !down && fm_breaker_would(&up->link, &fm_upstream_link_policy, now) &&
                fm_breaker_would(&up->answers, &fm_upstream_answers_policy, now);
    in.in_flight = up->in_flight;
    in.share = (uint16_t)fm_breaker_share(&up->answers, &fm_upstream_answers_policy, now);
    for (unsigned a = 0; rq && a < FM_ATTEMPTS_MAX; a++)
        in.tried |= rq->tried[a] == up;
    return in;
}

static bool is_bad(enum fm_outcome o)
{
    return o == FM_OUTCOME_ERROR || o == FM_OUTCOME_CONNECT || o == FM_OUTCOME_RESET ||
           o == FM_OUTCOME_TIMEOUT;
}

void fm_target_leave(struct fm_worker *w, struct fm_view_ref *vr, unsigned region, unsigned context)
{
    struct fm_target *target = fm_target(vr, region, context);
    if (fm_list_empty(&target->sweep)) {
        fm_view_ref_use(vr);
        fm_list_push_back(&w->sweeps, &target->sweep);
    }
    fm_loop_timer(&w->loop, &w->sweeper, fm_loop_now(&w->loop));
}

/* Does another gate of the region say that it is there, where only one may take the request? */
static bool others_are_there(const struct fm_try *t, bool idle)
{
    const struct fm_view *v = t->vr->view;
    struct fm_mono now = fm_loop_now(&t->w->loop);
    const struct fm_view_pool *p = fm_view_pool(v, t->region, t->context);
    for (unsigned e = p->first; e < p->first + p->n && t->one_gate; e++) {
        const struct fm_upstream *up = t->vr->up[e];
        if (!up || up == t->up)
            continue;
        struct fm_instance other = fm_try_look_at(NULL, &v->endpoints[e], up, now);
        if (fm_instance_vouches(&other, idle))
            return true;
    }
    return false;
}

void fm_try_report(struct fm_try *t, enum fm_outcome o)
{
    FM_ASSERT(o < FM_OUTCOME_COUNT);
    if (t->reported)
        return;
    t->reported = true;
    enum fm_outcome of_instance = o;
    if (is_bad(o)) /* not looked at for each success */
        o = fm_outcome_of_region(o, others_are_there(t, false));
    struct fm_worker *w = t->w;
    struct fm_mono now = fm_loop_now(&w->loop);
    struct fm_board *board = t->vr->view->board;
    struct fm_board_counts *counts = fm_board_counts(board, w->config.index, t->region, t->context);
    struct fm_mono tried_at = {
        atomic_load_explicit(&fm_try_slot(t)->tried_ns, memory_order_relaxed)};
    bool is_news = fm_health_is_news(t->began, tried_at);
    if (!is_news)
        fm_counter_inc(&counts->old[o]);
    fm_counter_inc(&counts->outcome[o]);
    if (t->up) {
        bool gone = of_instance == FM_OUTCOME_CONNECT;
        if (of_instance != FM_OUTCOME_CANCELLED)
            fm_breaker_report(&t->up->link, &fm_upstream_link_policy,
                              gone ? FM_OUTCOME_CONNECT : FM_OUTCOME_OK, t->began, now);
        fm_breaker_report(&t->up->answers, &fm_upstream_answers_policy,
                          gone ? FM_OUTCOME_CANCELLED : of_instance, t->began, now);
    }
    uint64_t word = atomic_load_explicit(&fm_try_slot(t)->word, memory_order_relaxed);
    if (o == FM_OUTCOME_OK) {
        t->target->last_ok = now;
        t->succeeded = true;
        int64_t slow_ns = t->vr->view->contexts[t->context].slow_ns;
        if (slow_ns && is_news && fm_mono_sub_ns(now, t->sent_at) > slow_ns)
            fm_counter_inc(&counts->slow);
    }
    if (w->config.mode == FM_PROXY_EDGE && is_news &&
        fm_leave_report(&t->target->leave, o, fm_board_epoch(word), t->began, now)) {
        fm_counter_inc(&w->metrics.regions_left);
        if (t->target->leave.sure)
            fm_counter_inc(&counts->left);
        fm_target_leave(w, t->vr, t->region, t->context);
    }
    /* while a region comes back its successes are news, too */
    if (is_bad(o) || (o == FM_OUTCOME_OK && fm_board_share(word) < 1000))
        fm_board_ring(board);
}

/* Nobody listens there: it said so, other than a connection that only took too long. */
void fm_try_report_refused(struct fm_try *t)
{
    fm_try_report(t, FM_OUTCOME_CONNECT);
    if (fm_pool_is_reachable(t->vr, t->region, t->context, fm_loop_now(&t->w->loop)))
        return;
    struct fm_board *board = t->vr->view->board;
    fm_counter_inc(&fm_board_counts(board, t->w->config.index, t->region, t->context)->nobody);
    fm_board_ring(board);
}

/* A first byte has come: the region is alive, whatever it says. */
void fm_try_heard(struct fm_try *t)
{
    FM_ASSERT(t->conn && t->sent_at.ns != 0);
    struct fm_mono now = fm_loop_now(&t->w->loop);
    t->target->pace_ns = fm_pace_ns(t->target->pace_ns, t->target->last_heard, now);
    t->target->last_heard = now;
    if (!t->owed)
        return;
    fm_try_not_owed(t);
    uint64_t word = atomic_load_explicit(&fm_try_slot(t)->word, memory_order_relaxed);
    if (fm_board_share(word) == 0 && t->w->config.mode == FM_PROXY_EDGE) {
        /* it may be suspect only, and was just heard */
        struct fm_board *board = t->vr->view->board;
        fm_counter_inc(&fm_board_counts(board, t->w->config.index, t->region, t->context)->heard);
        fm_board_ring(board);
    }
    fm_latency_add(&t->target->heard, fm_mono_sub_ns(now, t->sent_at));
}

/* Its answer could be relayed from now on: that is what hedges wait for. Of a first try it counts
 * also when a hedge overtook it, else only the fast ones would be known, and ever more hedged. */
void fm_try_learn(struct fm_try *t)
{
    if (t->succeeded && !t->is_hedge && t->whole)
        fm_latency_add(&t->target->answers, fm_mono_sub_ns(fm_loop_now(&t->w->loop), t->sent_at));
}

static bool region_is_silent(const struct fm_try *t)
{
    const struct fm_target *target = t->target;
    const struct fm_try *oldest = fm_list_first(&target->owed, struct fm_try, node);
    FM_ASSERT(!oldest || target->nowed > 0);
    if (others_are_there(t, true))
        return false; /* those owe nothing */
    struct fm_silence s = {.owed = target->nowed,
                           .last_heard = target->last_heard,
                           .oldest = oldest ? oldest->sent_at : FM_MONO_ZERO,
                           .awake = t->w->awake,
                           .pace_ns = target->pace_ns};
    int64_t limit_ns = fm_silence_limit_ns(&target->heard, &t->route->hedge);
    return fm_is_silent(&s, limit_ns, fm_loop_now(&t->w->loop));
}

/* What silence says of a region that is up, one unanswered canary says of one that comes back. */
static bool canary_is_silent(const struct fm_try *t)
{
    int64_t limit_ns = fm_silence_limit_ns(&t->target->heard, &t->route->hedge);
    return t->canary && t->owed &&
           fm_canary_is_silent(t->sent_at, limit_ns, fm_loop_now(&t->w->loop));
}

void fm_try_check_silence(const struct fm_try *t)
{
    struct fm_worker *w = t->w;
    if (w->config.mode != FM_PROXY_EDGE)
        return;
    struct fm_board *board = t->vr->view->board;
    uint64_t word = atomic_load_explicit(&fm_try_slot(t)->word, memory_order_relaxed);
    if (fm_board_share(word) == 0) {
        if (!canary_is_silent(t))
            return;
    } else {
        if (!region_is_silent(t) ||
            !fm_leave_now(&t->target->leave, fm_board_epoch(word), fm_loop_now(&w->loop)))
            return;
        fm_counter_inc(&w->metrics.silences);
        fm_counter_inc(&w->metrics.regions_left);
        fm_target_leave(w, t->vr, t->region, t->context);
    }
    fm_counter_inc(&fm_board_counts(board, w->config.index, t->region, t->context)->silent);
    fm_board_ring(board);
}
