/* Tries: one attempt at one endpoint, from choosing the instance to giving the connection back.
 * Invariants: a try reports its outcome at most once; it is in its target's `owed` list exactly
 * while it was sent and no byte has come back; counters of flight are given back in fm_try_finish
 * only. */
#include "proxy/request.h"

#include "base/assert.h"

#include <errno.h>
#include <stdlib.h>

enum { FRESH_FOR_UNSAFE_MS = 1000, POOL_SCAN_MAX = 16 };
enum { ORPHAN_LEAST_MS = 100, ORPHAN_MOST_MS = 1000 };

/* -------- life -------- */

static void orphan_expired(struct fm_timer *timer);

static struct fm_try *new_try(struct fm_request *rq, unsigned index, unsigned region)
{
    struct fm_worker *w = rq->w;
    FM_ASSERT(index < FM_ATTEMPTS_MAX && !rq->attempt[index]);
    FM_ASSERT(rq->route && rq->route->context == rq->context);
    struct fm_try *t = fm_list_first(&w->spare_tries, struct fm_try, node);
    if (t)
        fm_list_remove(&t->node);
    else
        t = malloc(sizeof *t);
    if (!t)
        return NULL;
    memset(t, 0, sizeof *t);
    fm_list_init(&t->node);
    fm_list_init(&t->all);
    fm_list_push_back(&w->tries, &t->all);
    fm_timer_init(&t->orphan_timer, orphan_expired);
    fm_upwait_init(&t->wait);
    t->rq = rq;
    t->w = w;
    t->vr = rq->vr;
    t->route = rq->route;
    fm_view_ref_use(t->vr);
    t->region = (uint16_t)region;
    t->context = rq->context;
    t->began = fm_loop_now(&w->loop);
    t->index = (uint8_t)index;
    t->target = fm_target(rq->vr, region, rq->context);
    rq->attempt[index] = t;
    t->epoch = rq->epoch;
    t->one_gate = fm_place_has_one(rq, region);
    rq->tries++;
    return t;
}

static void free_try(struct fm_try *t)
{
    struct fm_worker *w = t->w;
    FM_ASSERT(!t->conn && t->reported);
    FM_ASSERT(!t->rq || t->rq->attempt[t->index] == t);
    fm_try_not_owed(t);
    fm_list_remove(&t->node); /* of what is held */
    fm_list_remove(&t->all);
    fm_loop_cancel(&w->loop, &t->orphan_timer);
    fm_upwait_leave(&t->wait);
    if (t->head)
        fm_pool_put(&w->pool, t->head);
    if (t->rq)
        t->rq->attempt[t->index] = NULL;
    if (t->budgeted) {
        FM_ASSERT(w->retrying > 0);
        w->retrying--;
    }
    uint32_t flew = atomic_fetch_sub_explicit(&fm_try_slot(t)->in_flight, 1, memory_order_relaxed);
    FM_ASSERT(flew > 0);
    if (t->up)
        fm_upstream_request_over(t->up);
    fm_view_ref_drop(w, t->vr);
    fm_list_push_front(&w->spare_tries, &t->node);
}

/* -------- choosing -------- */

static int first_of(const struct fm_instance *in, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (in[i].usable && !in[i].tried)
            return (int)i;
    return -1;
}

/* Intent: it is asked nothing new. But what is queued at a gate, and the keys that it has, are
 * known only there. */
static bool is_spared(const struct fm_view_endpoint *e, bool only_there)
{
    return !only_there && atomic_load_explicit(&e->drained, memory_order_relaxed);
}

static struct fm_upstream *choose(struct fm_request *rq, unsigned region, uint64_t random)
{
    const struct fm_view *v = rq->vr->view;
    const struct fm_view_pool *p = fm_view_pool(v, region, rq->context);
    struct fm_mono now = fm_loop_now(&rq->w->loop);
    if (p->n == 0)
        return NULL;
    FM_ASSERT(p->first + p->n <= v->nendpoints);
    /* of a large pool a random window is enough */
    bool first = rq->queue || rq->asks_place; /* of several gates one, and the same for all edges */
    unsigned start = p->n > POOL_SCAN_MAX && !first ? (unsigned)(random % p->n) : 0, n = 0;
    uint16_t gate = fm_place_gate(rq, region);
    struct fm_upstream *up[POOL_SCAN_MAX];
    struct fm_instance in[POOL_SCAN_MAX];
    for (unsigned i = 0; i < p->n && n < POOL_SCAN_MAX; i++) {
        const struct fm_view_endpoint *e = &v->endpoints[p->first + (start + i) % p->n];
        up[n] = rq->vr->up[e - v->endpoints];
        if (!up[n] || is_spared(e, rq->asks_place || gate != FM_NO_GATE) ||
            (gate != FM_NO_GATE && e->gate != gate))
            continue;
        in[n] = fm_try_look_at(rq, e, up[n], now);
        n++;
    }
    if (n == 0)
        return NULL;
    int at = first ? first_of(in, n) : fm_balance(in, n, random);
    /* asking a doubtful one is better than asking nobody, or who was asked already */
    if (at < 0 || in[at].tried) {
        for (unsigned i = 0; i < n; i++)
            in[i].usable = true;
        at = fm_balance(in, n, random);
    }
    if (at < 0)
        return NULL;
    FM_ASSERT((unsigned)at < n);
    (void)fm_breaker_try(&up[at]->link, &fm_upstream_link_policy, now);
    (void)fm_breaker_try(&up[at]->answers, &fm_upstream_answers_policy, now);
    return up[at];
}

/* -------- sending -------- */

/* All of the request is with the kernel: from here on an answer is due, and its clocks run. */
static void owe(struct fm_try *t, struct fm_mono now)
{
    struct fm_request *rq = t->rq;
    FM_ASSERT(!t->owed && !t->whole && t->status == 0 && fm_list_empty(&t->node));
    t->whole = t->owed = true;
    t->sent_at = now;
    fm_list_push_back(&t->target->owed, &t->node);
    t->target->nowed++;
    int64_t delay = fm_hedge_delay_ns(&t->target->answers, &rq->route->hedge);
    int64_t look = fm_silence_check_ns(&t->target->heard, &rq->route->hedge);
    if (rq->x.hedging && delay != INT64_MAX && !t->is_hedge)
        rq->hedge_at = fm_mono_add_ns(now, delay);
    if (t->w->config.mode == FM_PROXY_EDGE && look != INT64_MAX && !t->is_hedge)
        rq->silence_at = fm_mono_add_ns(now, look);
}

static void use(struct fm_try *t, struct fm_upconn *c)
{
    FM_ASSERT(!t->conn && !c->data);
    t->conn = c;
    c->data = t;
    c->http.raw_bodies = t->rq->minor == 1;
    if (c->reused)
        fm_counter_inc(&t->w->metrics.upstream_reused);
}

static enum fm_problem transmit(struct fm_try *t)
{
    struct fm_request *rq = t->rq;
    struct fm_worker *w = t->w;
    FM_ASSERT(t->conn && t->sent_at.ns == 0 && rq->attempt[t->index] == t);
    FM_ASSERT(rq->nout > 0 && rq->at.deadline + FM_DEADLINE_DIGITS <= rq->out[0]->n);
    struct fm_mono now = fm_loop_now(&w->loop);
    if (w->config.mode == FM_PROXY_GATE)
        now = fm_mono_now(); /* this turn may have been a long one (rule 14) */
    struct fm_mono by =
        fm_mono_min(fm_mono_add_ns(now, rq->route->first_byte_ns), rq->total_deadline);
    int64_t left_ms = fm_mono_sub_ms(by, now);
    if (left_ms <= 0)
        return FM_PROBLEM_DEADLINE;
    if (rq->entered && !fm_admit_is_live(rq))
        return FM_PROBLEM_MOVING; /* it ended while there was no connection (rule 13) */
    fm_heads_set_deadline(rq->out[0]->data + rq->at.deadline, (uint64_t)left_ms);

    struct fm_exchange_actions none;
    fm_exchange_step(
        &rq->x, &(struct fm_exchange_event){.kind = FM_EXCHANGE_SENT, .attempt = t->index}, &none);
    FM_ASSERT(none.n == 0);
    struct iovec iov[FM_REPLAY_BLOCKS];
    for (unsigned i = 0; i < rq->nout; i++)
        iov[i] = (struct iovec){rq->out[i]->data, rq->out[i]->n};
    fm_http_client_send(&t->conn->http, iov, rq->nout, by);
    fm_http_client_head(&t->conn->http, rq->method, by);

    t->sent_at = now;
    if (rq->record)
        rq->record->forwarded = true;
    struct fm_board_counts *counts =
        fm_board_counts(t->vr->view->board, w->config.index, t->region, t->context);
    fm_counter_inc(&counts->sent);
    atomic_store_explicit(&counts->last_sent_ns.v, (uint64_t)now.ns, memory_order_relaxed);

    if (!rq->streaming)
        owe(t, now);
    fm_request_arm(rq);
    return FM_PROBLEM_NONE;
}

/* A connection that is parked, or made: one of its own for a canary, which shows that a new one can
 * be made. FM_ERR_OK and no t->conn: it waits. */
static enum fm_err connect_to(struct fm_try *t)
{
    const struct fm_request *rq = t->rq;
    struct fm_mono now = fm_loop_now(&t->w->loop);
    struct fm_mono by = fm_mono_min(fm_mono_add_ns(now, rq->route->connect_ns), rq->total_deadline);
    int64_t fresh_ns =
        rq->x.repeat == FM_REPEAT_NEVER ? FRESH_FOR_UNSAFE_MS * FM_NS_PER_MS : INT64_MAX;
    enum fm_err err = FM_ERR_OK;
    struct fm_upconn *c = t->canary ? fm_upconn_new(t->up, by, &err)
                                    : fm_upconn_acquire(t->up, &t->wait, fresh_ns, by, &err);
    if (c)
        use(t, c);
    return err;
}

enum fm_problem fm_try_start(struct fm_request *rq, unsigned index, unsigned region, bool hedge,
                             bool budgeted, bool canary, bool *started)
{
    struct fm_worker *w = rq->w;
    const struct fm_view *v = rq->vr->view;
    struct fm_board_slot *slot = fm_board_slot(v->board, region, rq->context);
    FM_ASSERT(region < v->nregions && rq->x.attempt[index].region == region);
    FM_ASSERT(!hedge || budgeted);
    *started = false;
    uint32_t flying = atomic_fetch_add_explicit(&slot->in_flight, 1, memory_order_relaxed);
    if (w->config.mode == FM_PROXY_EDGE && flying >= v->contexts[rq->context].conf->in_flight_max) {
        atomic_fetch_sub_explicit(&slot->in_flight, 1, memory_order_relaxed);
        fm_counter_inc(&w->metrics.bulkhead_full);
        return FM_PROBLEM_OVERLOADED;
    }
    struct fm_try *t = new_try(rq, index, region);
    if (!t) {
        atomic_fetch_sub_explicit(&slot->in_flight, 1, memory_order_relaxed);
        return FM_PROBLEM_OVERLOADED;
    }
    t->is_hedge = hedge;
    t->canary = canary;
    t->budgeted = budgeted;
    w->retrying += budgeted;
    fm_counter_inc(&w->metrics.tries);
    if (hedge)
        fm_counter_inc(&w->metrics.hedges);
    else if (index > 0)
        fm_counter_inc(&w->metrics.retries);

    t->up = choose(rq, region, fm_rand_u64(&w->rand));
    if (!t->up) {
        fm_try_report_refused(t);
        free_try(t);
        return FM_PROBLEM_NONE;
    }
    t->up->in_flight++;
    rq->tried[index] = t->up;
    enum fm_err err = connect_to(t);
    if (err) {
        if (err == FM_ERR_UNREACHABLE)
            fm_try_report_refused(t);
        else
            fm_try_report(t, FM_OUTCOME_CANCELLED);
        free_try(t);
        return err == FM_ERR_UNREACHABLE ? FM_PROBLEM_NONE : FM_PROBLEM_OVERLOADED;
    }
    if (!t->conn || t->conn->http.connecting) {
        *started = true;
        return FM_PROBLEM_NONE;
    }
    enum fm_problem problem = transmit(t);
    if (problem != FM_PROBLEM_NONE) {
        fm_try_report(t, FM_OUTCOME_CANCELLED);
        fm_try_finish(t);
        return problem;
    }
    *started = true;
    return FM_PROBLEM_NONE;
}

/* -------- streamed bodies --------
 *
 * While a body is on its way no answer is due, however long that takes: a region that is sent
 * uploads is not silent, and the time-outs for answers do not run. What bounds it is how slow the
 * client may be (edge.min-body-rate) and how long the upstream may refuse to take a piece. */

void fm_try_upload(struct fm_try *t, struct fm_str piece)
{
    FM_ASSERT(t->rq && t->conn && piece.n > 0);
    FM_ASSERT(t->rq->tunnel || t->rq->streaming);
    struct iovec iov = {(void *)(uintptr_t)piece.p, piece.n};
    struct fm_mono by = fm_mono_add_ms(fm_loop_now(&t->w->loop), t->w->config.body_idle_ms);
    fm_http_client_send(&t->conn->http, &iov, 1, by);
    if (t->status == 0)
        fm_http_client_head_by(&t->conn->http, by);
}

void fm_try_between_pieces(struct fm_try *t)
{
    FM_ASSERT(t->rq->streaming && !t->rq->body_done && !t->owed && !t->whole);
    if (t->status)
        return; /* it answers already */
    /* the client's own deadline for its next piece is the nearer one */
    fm_http_client_head_by(&t->conn->http,
                           fm_mono_add_ms(fm_loop_now(&t->w->loop), 2 * t->w->config.body_idle_ms));
    t->rq->total_deadline = FM_MONO_NEVER;
    fm_request_arm(t->rq);
}

void fm_try_all_sent(struct fm_try *t)
{
    struct fm_request *rq = t->rq;
    FM_ASSERT(rq->streaming && rq->body_done);
    if (t->status || t->whole)
        return;
    struct fm_mono now = fm_loop_now(&t->w->loop);
    rq->total_deadline = fm_mono_add_ns(now, rq->patience_ns);
    fm_http_client_head_by(
        &t->conn->http,
        fm_mono_min(fm_mono_add_ns(now, rq->route->first_byte_ns), rq->total_deadline));
    owe(t, now);
    fm_request_arm(rq);
}

/* -------- ending -------- */

void fm_try_finish(struct fm_try *t)
{
    fm_try_report(t, FM_OUTCOME_CANCELLED);
    if (t->conn)
        fm_upconn_release(t->conn);
    t->conn = NULL;
    free_try(t);
}

void fm_try_give_up(struct fm_try *t, enum fm_problem why)
{
    struct fm_request *rq = t->rq;
    FM_ASSERT(rq && !rq->relay && t->conn && t->sent_at.ns != 0);
    uint8_t index = t->index;
    fm_upconn_close(t->conn);
    t->conn = NULL;
    fm_try_finish(t);
    fm_request_feed(
        rq, (struct fm_exchange_event){.kind = FM_EXCHANGE_LOST, .attempt = index, .problem = why});
}

static void orphan_expired(struct fm_timer *timer)
{
    struct fm_try *t = fm_container_of(timer, struct fm_try, orphan_timer);
    FM_ASSERT(!t->rq && t->conn);
    fm_try_check_silence(t);
    fm_try_finish(t);
}

void fm_try_end_orphans(struct fm_worker *w)
{
    fm_list_each_safe (at, next, &w->tries) {
        struct fm_try *t = fm_container_of(at, struct fm_try, all);
        if (!t->rq)
            fm_try_finish(t);
    }
}

void fm_try_cancel(struct fm_try *t)
{
    struct fm_request *rq = t->rq;
    FM_ASSERT(rq && rq->attempt[t->index] == t);
    if (t->owed && rq->x.relaying) {
        FM_ASSERT(t->conn && rq->relay != t);
        /* lost a race: what it still says, or does not, is evidence */
        rq->attempt[t->index] = NULL;
        t->rq = NULL;
        int64_t limit = fm_silence_limit_ns(&t->target->heard, &rq->route->hedge);
        int64_t wait = fm_clamp_i64(limit, ORPHAN_LEAST_MS * FM_NS_PER_MS / 4,
                                    ORPHAN_MOST_MS * FM_NS_PER_MS / 4) *
                       4;
        fm_loop_timer(&t->w->loop, &t->orphan_timer,
                      fm_mono_add_ns(fm_loop_now(&t->w->loop), wait));
        fm_try_check_silence(t);
        return;
    }
    if (t->holding && rq->x.relaying)
        fm_try_learn(t); /* at least so long */
    fm_try_finish(t);
}

/* -------- what upstreams say -------- */

static void send_it(struct fm_try *t)
{
    FM_ASSERT(t->rq && t->conn);
    enum fm_problem problem = transmit(t);
    if (problem == FM_PROBLEM_NONE)
        return;
    struct fm_request *rq = t->rq;
    uint8_t index = t->index;
    fm_try_report(t, FM_OUTCOME_CANCELLED);
    fm_try_finish(t);
    fm_request_feed(rq, (struct fm_exchange_event){
                            .kind = FM_EXCHANGE_NOT_SENT, .attempt = index, .problem = problem});
}

static void on_connected(struct fm_http_client *h)
{
    struct fm_upconn *c = fm_upconn_of(h);
    if (c->data)
        send_it(c->data);
    else
        fm_upconn_made(c);
}

static void on_given(struct fm_upwait *w, struct fm_upconn *c)
{
    struct fm_try *t = fm_container_of(w, struct fm_try, wait);
    use(t, c);
    send_it(t);
}

static void on_sent(struct fm_http_client *h)
{
    struct fm_try *t = fm_upconn_of(h)->data;
    if (!t || !t->rq)
        return;
    t->sent_all = true;
    fm_relay_upload_sent(t);
}

static enum fm_outcome outcome_of(unsigned status, enum fm_problem p)
{
    if (p == FM_PROBLEM_OVERLOADED)
        return FM_OUTCOME_REFUSED;
    if (p == FM_PROBLEM_DEADLINE)
        return FM_OUTCOME_CANCELLED;
    if (status == 500 || (status >= 502 && status <= 504))
        return FM_OUTCOME_ERROR;
    return FM_OUTCOME_OK;
}

/* An orphan has answered: that is all that was wanted. Keep its connection if that costs nothing.
 */
static void orphan_answered(struct fm_try *t)
{
    FM_ASSERT(!t->rq && !t->owed);
    struct fm_http_client *h = &t->conn->http;
    bool body = fm_http_client_has_body(h) && !fm_http_client_take(h, &t->piece);
    t->holding = body && fm_http_client_hold(h, ORPHAN_LEAST_MS);
    if (t->holding)
        return;
    fm_try_learn(t);
    if (body)
        fm_http_client_body(h, ORPHAN_LEAST_MS);
    else
        fm_try_finish(t);
}

/* What an application did is not told to its client under authority that has ended (SAFETY.md 13).
 */
static bool passes(const struct fm_try *t)
{
    return t->w->config.mode == FM_PROXY_GATE ? fm_admit_passes(t) : fm_hold_passes(t);
}

static bool is_success(const struct fm_try *t)
{
    return t->status < 400;
}

static void on_head(struct fm_http_client *h, const struct fm_http_head *head)
{
    struct fm_try *t = fm_upconn_of(h)->data;
    FM_ASSERT(t && t->conn == fm_upconn_of(h) && t->status == 0);
    fm_try_heard(t);
    if (head->status < 200 && head->status != 101) {
        if (t->rq)
            fm_relay_interim(t, head);
        return;
    }
    bool gates = t->vr->view->regions[t->region].gates;
    t->status = (uint16_t)head->status;
    t->problem = gates ? (uint8_t)fm_problem_find(fm_http_value(head, FM_HDR_FULMAR_PROBLEM))
                       : FM_PROBLEM_NONE;
    fm_try_report(t, outcome_of(t->status, t->problem));
    struct fm_request *rq = t->rq;
    if (!rq) {
        orphan_answered(t);
        return;
    }
    fm_onward_heard(t);
    if (is_success(t) && !passes(t)) {
        fm_counter_inc(&t->w->metrics.answers_dropped);
        fm_try_give_up(t, FM_PROBLEM_OUTCOME_UNKNOWN);
        return;
    }
    if ((head->status == 101 && !rq->upgrade) || !fm_relay_prepare(t, head)) {
        fm_try_give_up(t, FM_PROBLEM_BAD_ANSWER);
        return;
    }
    fm_record_answer(t, head);
    if (fm_http_client_take(h, &t->piece)) {
        t->has_piece = t->piece_is_last = true;
    } else if (rq->x.repeat != FM_REPEAT_NEVER && rq->x.leave_region &&
               fm_http_client_hold(h, t->w->config.body_idle_ms)) {
        /* A small answer to what may be repeated is relayed when it is whole: if its sender dies in
         * the middle of it, the client never learns. */
        t->holding = true;
        fm_list_push_back(&t->target->held, &t->node);
        return;
    }
    fm_try_learn(t);
    fm_request_feed(rq, (struct fm_exchange_event){.kind = FM_EXCHANGE_ANSWER,
                                                   .attempt = t->index,
                                                   .status = t->status,
                                                   .problem = t->problem});
}

static void on_body(struct fm_http_client *h, struct fm_str piece, bool last)
{
    struct fm_try *t = fm_upconn_of(h)->data;
    FM_ASSERT(t && t->conn == fm_upconn_of(h) && t->status != 0);
    struct fm_request *rq = t->rq;
    if (t->holding && last)
        fm_try_learn(t);
    if (!rq) {
        if (last)
            fm_try_finish(t);
        else
            fm_http_client_body(h, ORPHAN_LEAST_MS);
        return;
    }
    if (!t->holding) {
        fm_relay_piece(t, piece, last);
        return;
    }
    FM_ASSERT(last);
    t->holding = false;
    fm_list_remove(&t->node);
    t->piece = piece;
    t->has_piece = t->piece_is_last = true;
    fm_request_feed(rq, (struct fm_exchange_event){.kind = FM_EXCHANGE_ANSWER,
                                                   .attempt = t->index,
                                                   .status = t->status,
                                                   .problem = t->problem});
}

/* Its instance refuses, or has failed so often that nothing new is sent to it. */
static bool instance_is_out(const struct fm_try *t)
{
    struct fm_mono now = fm_loop_now(&t->w->loop);
    return !fm_breaker_would(&t->up->link, &fm_upstream_link_policy, now) ||
           !fm_breaker_would(&t->up->answers, &fm_upstream_answers_policy, now);
}

/* It has got no connection. Where others got theirs meanwhile, that says nothing of its instance
 * but that there is too much to do. */
static void not_connected(struct fm_try *t, int err, bool alive)
{
    struct fm_request *rq = t->rq;
    uint8_t index = t->index;
    FM_ASSERT(rq && !t->conn && t->sent_at.ns == 0);
    if (err != -ETIMEDOUT) {
        fm_try_report_refused(t);
    } else if (!alive) {
        fm_try_report(t, FM_OUTCOME_CONNECT);
    } else { /* a link that was tried again holds */
        (void)fm_breaker_report(&t->up->link, &fm_upstream_link_policy, FM_OUTCOME_OK, t->began,
                                fm_loop_now(&t->w->loop));
        fm_try_report(t, FM_OUTCOME_CANCELLED);
    }
    bool out = instance_is_out(t);
    fm_try_finish(t);
    fm_request_feed(rq, (struct fm_exchange_event){.kind = FM_EXCHANGE_NOT_SENT,
                                                   .attempt = index,
                                                   .problem = FM_PROBLEM_NONE,
                                                   .instance_out = out});
}

static void on_denied(struct fm_upwait *w, int err, bool alive)
{
    not_connected(fm_container_of(w, struct fm_try, wait), err, alive);
}

static void on_failed(struct fm_http_client *h, int err, const char *why)
{
    (void)why;
    struct fm_upconn *c = fm_upconn_of(h);
    struct fm_try *t = c->data;
    if (!t) {
        fm_upconn_failed(c, err);
        return;
    }
    FM_ASSERT(t->conn == c);
    c->data = NULL;
    t->conn = NULL;
    if (t->sent_at.ns == 0) {
        FM_ASSERT(!t->owed);
        not_connected(t, err, false);
        return;
    }
    struct fm_request *rq = t->rq;
    bool sent = t->sent_all || h->s.sock.sent > 0;
    uint8_t index = t->index;
    enum fm_problem problem = err == -ETIMEDOUT ? FM_PROBLEM_TIMEOUT
                              : err == -EPROTO  ? FM_PROBLEM_BAD_ANSWER
                                                : FM_PROBLEM_CONNECTION_LOST;
    fm_try_report(t, !sent                              ? FM_OUTCOME_RESET
                     : problem == FM_PROBLEM_TIMEOUT    ? FM_OUTCOME_TIMEOUT
                     : problem == FM_PROBLEM_BAD_ANSWER ? FM_OUTCOME_ERROR
                                                        : FM_OUTCOME_RESET);
    if (!rq) {
        fm_try_finish(t);
    } else if (rq->relay == t) {
        fm_relay_broken(rq);
    } else {
        bool out = instance_is_out(t);
        fm_try_finish(t);
        fm_request_feed(
            rq, (struct fm_exchange_event){.kind = sent ? FM_EXCHANGE_LOST : FM_EXCHANGE_NOT_SENT,
                                           .attempt = index,
                                           .problem = sent ? problem : FM_PROBLEM_NONE,
                                           .instance_out = out});
    }
}

static void on_closed(struct fm_http_client *h)
{
    fm_upconn_closed(fm_upconn_of(h));
}

const struct fm_http_client_handler fm_try_handler = {
    .connected = on_connected,
    .sent = on_sent,
    .head = on_head,
    .body = on_body,
    .failed = on_failed,
    .closed = on_closed,
};

const struct fm_upwait_handler fm_try_waits = {.given = on_given, .denied = on_denied};
