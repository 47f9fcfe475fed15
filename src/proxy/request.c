/* Requests: routing one, collecting its body, feeding core/exchange.h and doing what it says.
 * Invariant: a request is freed exactly once, by fm_request_free, after its last try has let go of
 * it and its connection has been answered or is gone. */
#include "proxy/request.h"

#include "base/assert.h"

#include <stdlib.h>

/* -------- life -------- */

static void timer_fired(struct fm_timer *t);

static struct fm_request *new_request(struct fm_worker *w, struct fm_http_conn *c)
{
    struct fm_request *rq = fm_list_first(&w->spare_requests, struct fm_request, node);
    if (rq)
        fm_list_remove(&rq->node);
    else
        rq = malloc(sizeof *rq);
    if (!rq)
        return NULL;
    FM_ASSERT(w->view && !c->data);
    memset(rq, 0, offsetof(struct fm_request, log_method));
    rq->w = w;
    rq->conn = c;
    rq->vr = w->view;
    fm_view_ref_use(rq->vr);
    fm_list_init(&rq->node);
    fm_list_init(&rq->hold_node);
    fm_list_push_back(&w->requests, &rq->node);
    fm_timer_init(&rq->timer, timer_fired);
    rq->start = c->head_at;
    rq->hedge_at = rq->silence_at = rq->total_deadline = FM_MONO_NEVER;
    c->data = rq;
    w->in_flight++;
    return rq;
}

void fm_request_free(struct fm_request *rq)
{
    struct fm_worker *w = rq->w;
    for (unsigned i = 0; i < FM_ATTEMPTS_MAX; i++)
        FM_ASSERT(!rq->attempt[i]);
    FM_ASSERT(rq->nout <= FM_REPLAY_BLOCKS && !fm_list_empty(&rq->node));
    fm_access_log(rq);
    fm_hold_drop(rq);
    fm_record_end(rq);
    fm_admit_leave(rq);
    fm_loop_cancel(&w->loop, &rq->timer);
    for (unsigned i = 0; i < rq->nout; i++)
        fm_pool_put(&w->pool, rq->out[i]);
    fm_view_ref_drop(w, rq->vr);
    FM_ASSERT(w->in_flight > 0);
    w->in_flight--;
    fm_list_remove(&rq->node);
    fm_list_push_front(&w->spare_requests, &rq->node);
}

/* -------- time -------- */

void fm_request_arm(struct fm_request *rq)
{
    struct fm_mono next = rq->head_sent ? FM_MONO_NEVER : rq->total_deadline;
    next = fm_mono_min(next, fm_mono_min(rq->hedge_at, rq->silence_at));
    fm_loop_timer(&rq->w->loop, &rq->timer, next);
}

static void check_silence(struct fm_request *rq, struct fm_mono now)
{
    rq->silence_at = FM_MONO_NEVER;
    for (unsigned i = 0; i < FM_ATTEMPTS_MAX; i++) {
        struct fm_try *t = rq->attempt[i];
        if (!t || !t->owed)
            continue;
        fm_try_check_silence(t);
        int64_t limit = fm_silence_limit_ns(&t->target->heard, &rq->route->hedge);
        if (limit != INT64_MAX)
            rq->silence_at = fm_mono_add_ns(now, limit / 2);
        return;
    }
}

static void timer_fired(struct fm_timer *timer)
{
    struct fm_request *rq = fm_container_of(timer, struct fm_request, timer);
    struct fm_mono now = fm_loop_now(&rq->w->loop);
    if (rq->held) {
        fm_hold_timer(rq);
        return;
    }
    if (!rq->head_sent && rq->total_deadline.ns <= now.ns) {
        if (rq->x.nattempts == 0) { /* the journal has it; what it is to keep it may keep yet */
            fm_relay_problem(rq, rq->queue ? FM_PROBLEM_OUTCOME_UNKNOWN : FM_PROBLEM_DEADLINE);
            return;
        }
        fm_request_feed(rq, (struct fm_exchange_event){.kind = FM_EXCHANGE_TIMEOUT});
        return;
    }
    bool hedge = rq->hedge_at.ns <= now.ns;
    if (rq->silence_at.ns <= now.ns)
        check_silence(rq, now);
    if (hedge)
        rq->hedge_at = FM_MONO_NEVER;
    fm_request_arm(rq);
    if (hedge)
        fm_request_feed(rq, (struct fm_exchange_event){.kind = FM_EXCHANGE_HEDGE_DUE});
}

/* -------- deciding -------- */

uint32_t fm_request_left_regions(const struct fm_request *rq)
{
    if (rq->vr->view->mode == FM_PROXY_GATE)
        return 0;
    uint32_t left = 0;
    for (unsigned r = 0; r < rq->vr->view->nregions; r++)
        if (fm_plan_is_left(rq, r))
            left |= UINT32_C(1) << r;
    return left;
}

/* Do one action. Returns false where the request is gone. A try that could not start sets *failed.
 */
static bool act(struct fm_request *rq, const struct fm_exchange_action *a, int *failed,
                enum fm_problem *problem)
{
    FM_ASSERT(a->attempt < FM_ATTEMPTS_MAX);
    switch (a->kind) {
    case FM_EXCHANGE_TRY: {
        FM_ASSERT(*failed < 0); /* one a step */
        const struct fm_attempt *at = &rq->x.attempt[a->attempt];
        bool started = false, canary = rq->canary_region == a->region + 1;
        rq->canary_region = 0;
        *problem = fm_try_start(rq, a->attempt, a->region, at->hedge, at->budgeted || at->hedge,
                                canary, &started);
        if (!started)
            *failed = a->attempt;
        return true;
    }
    case FM_EXCHANGE_CANCEL:
        FM_ASSERT(rq->attempt[a->attempt]);
        fm_try_cancel(rq->attempt[a->attempt]);
        return true;
    case FM_EXCHANGE_RELAY:
        fm_relay_start(rq, rq->attempt[a->attempt]);
        return true;
    case FM_EXCHANGE_FAIL:
        fm_request_fail(rq, a->problem);
        return false;
    case FM_EXCHANGE_DROP:
        fm_request_free(rq);
        return false;
    }
    FM_UNREACHABLE();
}

void fm_request_fail(struct fm_request *rq, enum fm_problem p)
{
    FM_ASSERT(fm_exchange_alive(&rq->x) == 0);
    if (fm_hold_take(rq, p))
        return;
    if (rq->onward && p == FM_PROBLEM_NO_INSTANCE)
        p = FM_PROBLEM_UNREACHABLE; /* it was to go to a gate */
    bool misdirected = fm_problem_is_misdirected(p) || (rq->queue && p == FM_PROBLEM_UNREACHABLE);
    if (misdirected && rq->w->config.mode == FM_PROXY_EDGE)
        p = FM_PROBLEM_READ_ONLY; /* the client can do nothing about where it goes */
    fm_relay_problem(rq, rq->maybe_executed ? FM_PROBLEM_OUTCOME_UNKNOWN : p);
}

static bool wants_budget(enum fm_exchange_event_kind k)
{
    return k == FM_EXCHANGE_HEDGE_DUE || k == FM_EXCHANGE_NOT_SENT || k == FM_EXCHANGE_LOST;
}

static bool has_budget(const struct fm_request *rq, enum fm_exchange_event_kind k)
{
    const struct fm_worker *w = rq->w;
    const struct fm_view_route *r = rq->route;
    if (!r)
        return true;
    return (k == FM_EXCHANGE_HEDGE_DUE ? fm_budget_allows_hedge : fm_budget_allows)(
        w->in_flight, w->retrying, r->budget_ppm, r->budget_floor);
}

void fm_request_feed(struct fm_request *rq, struct fm_exchange_event ev)
{
    struct fm_worker *w = rq->w;
    FM_ASSERT(ev.kind < FM_EXCHANGE_EVENT_COUNT && ev.attempt < FM_ATTEMPTS_MAX);
    for (unsigned rounds = 0;; rounds++) {
        FM_ASSERT(rounds <= FM_ATTEMPTS_MAX); /* each ends with one attempt less to make */
        struct fm_exchange_actions todo;
        int failed = -1;
        enum fm_problem problem = FM_PROBLEM_NONE;
        ev.left_regions = fm_request_left_regions(rq);
        if (ev.kind == FM_EXCHANGE_NOT_SENT && rq->record)
            rq->record->forwarded = false;
        ev.budget = has_budget(rq, ev.kind);
        fm_exchange_step(&rq->x, &ev, &todo);
        if (!ev.budget && wants_budget(ev.kind) && todo.n == 0)
            fm_counter_inc(&w->metrics.budget_denied);
        for (unsigned i = 0; i < todo.n; i++)
            if (!act(rq, &todo.action[i], &failed, &problem))
                return;
        if (failed < 0)
            return;
        ev = (struct fm_exchange_event){.kind = FM_EXCHANGE_NOT_SENT,
                                        .attempt = (uint8_t)failed,
                                        .problem = problem,
                                        .instance_out = problem == FM_PROBLEM_NONE}; /* refused */
    }
}

/* -------- what kind of request it is -------- */

static enum fm_repeat repeat_of(struct fm_request *rq, const struct fm_http_head *h,
                                enum fm_problem *problem)
{
    const struct fm_view_context *c = &rq->vr->view->contexts[rq->context];
    const struct fm_view_route *r = rq->route;
    struct fm_str idem = fm_http_value(h, FM_HDR_IDEMPOTENCY_KEY);
    bool key = idem.n > 0;
    rq->command = fm_class_is_command((enum fm_class_as)r->as, c->conf->commands,
                                      c->conf->ncommands, h->method_name);
    *problem = FM_PROBLEM_NONE;
    if (rq->command && !key && c->conf->idempotency.key == FM_KEY_REQUIRED)
        *problem = FM_PROBLEM_KEY_MISSING;
    bool counts = key && c->conf->idempotency.key != FM_KEY_IGNORED;
    bool keyed = counts && c->conf->idempotency.by == FM_BY_APP;
    if (rq->command && counts && !keyed && rq->w->config.mode == FM_PROXY_EDGE)
        fm_place_key(rq, idem);
    if (!rq->command && r->safe && (r->as == FM_CLASS_QUERY || fm_http_method_is_safe(h->method)))
        return FM_REPEAT_SAFE;
    return keyed ? FM_REPEAT_KEYED : FM_REPEAT_NEVER;
}

/* -------- the request as it is sent on -------- */

/* As an edge makes them: anything else would have to be escaped in logs and documents. */
static bool is_ref(struct fm_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!(s.p[i] >= '0' && s.p[i] <= '9') && !(s.p[i] >= 'a' && s.p[i] <= 'f') && s.p[i] != '-')
            return false;
    return s.n == FM_REF_LEN;
}

static void make_ref(struct fm_request *rq, const struct fm_http_head *h)
{
    struct fm_worker *w = rq->w;
    struct fm_str given = fm_http_value(h, FM_HDR_FULMAR_REF);
    if (w->config.mode == FM_PROXY_GATE && is_ref(given)) {
        memcpy(rq->ref, given.p, FM_REF_LEN);
        return;
    }
    static const char digit[] = "0123456789abcdef";
    for (unsigned i = 0; i < 8; i++)
        rq->ref[i] = digit[w->ref_prefix >> (28 - 4 * i) & 15];
    rq->ref[8] = '-';
    uint64_t n = ++w->ref_counter;
    for (unsigned i = 0; i < 11; i++)
        rq->ref[9 + i] = digit[n >> (40 - 4 * i) & 15];
}

static bool client_is_trusted(const struct fm_worker *w, const struct fm_view *v,
                              const struct fm_addr *peer)
{
    if (w->config.mode == FM_PROXY_GATE)
        return true;
    const struct fm_conf_edge *e = &v->conf->edge;
    uint8_t addr[16];
    if (e->ntrust_forwarded)
        fm_addr_bytes(peer, addr);
    for (size_t i = 0; i < e->ntrust_forwarded; i++) {
        const struct fm_conf_cidr *c = &e->trust_forwarded[i];
        unsigned whole = c->bits / 8, rest = c->bits % 8;
        if (memcmp(addr, c->addr, whole) == 0 &&
            (rest == 0 || ((addr[whole] ^ c->addr[whole]) & (0xff00u >> rest) & 0xff) == 0))
            return true;
    }
    return false;
}

/* At an edge, and where a gate may pass it on, only what may be changed into something else later;
 * the gate says it to the application. */
static struct fm_str mode_of(const struct fm_request *rq)
{
    bool gate = rq->w->config.mode == FM_PROXY_GATE;
    if (gate && !rq->may_relay)
        return fm_admit_mode(rq);
    bool may = gate || (rq->seats && rq->command && rq->route->away != FM_AWAY_REJECT);
    return may ? FM_STR("normal  ") : fm_str(NULL, 0);
}

static bool build_head(struct fm_request *rq, const struct fm_http_head *h)
{
    struct fm_worker *w = rq->w;
    struct fm_block *b = fm_pool_get(&w->pool);
    if (!b)
        return false;
    FM_ASSERT(rq->nout == 0);
    rq->out[rq->nout++] = b;
    char trace[FM_TRACEPARENT_LEN];
    struct fm_forward f = {
        .client_ip = fm_str(rq->conn->peer_ip, rq->conn->peer_ip_n),
        .client_is_trusted = client_is_trusted(w, rq->vr->view, &rq->conn->peer),
        .from_edge = w->config.mode == FM_PROXY_GATE,
        .ref = fm_str(rq->ref, FM_REF_LEN),
        .deadline = true,
        .authority = rq->seats && rq->command && !rq->override
                         ? rq->vr->view->contexts[rq->context].name
                         : fm_str(NULL, 0),
        .mode = mode_of(rq),
        .no_authority = rq->override || (rq->seats && !rq->command),
    };
    struct fm_str came = fm_http_value(h, FM_HDR_TRACEPARENT);
    bool ok = fm_heads_traceparent_ok(came);
    if (!ok) {
        fm_heads_traceparent_new(trace, fm_rand_u64(&w->rand), fm_rand_u64(&w->rand),
                                 fm_rand_u64(&w->rand));
        f.traceparent = fm_str(trace, sizeof trace);
    }
    FM_ASSERT(!ok || came.p);
    if (rq->log)
        memcpy(rq->log_trace, (ok ? came.p : trace) + 3, sizeof rq->log_trace);
    struct fm_buf out = fm_buf(b->data, b->size);
    fm_heads_request(&out, h, &f, &rq->at);
    b->n = (uint32_t)out.n;
    rq->body_at = out.n;
    rq->framing = (uint8_t)h->framing;
    rq->body_length = h->length;
    return !out.full;
}

/* -------- bodies: kept for replay up to a bound, then streamed -------- */

/* Blocks for so much more behind what is kept; none where there are not enough. */
static bool make_room(struct fm_request *rq, size_t n)
{
    const struct fm_block *last = rq->out[rq->nout - 1];
    size_t room = last->size - last->n;
    unsigned had = rq->nout;
    while (room < n) {
        struct fm_block *b = rq->nout < FM_REPLAY_BLOCKS ? fm_pool_get(&rq->w->pool) : NULL;
        if (!b)
            break;
        rq->out[rq->nout++] = b;
        room += b->size;
    }
    while (room < n && rq->nout > had)
        fm_pool_put(&rq->w->pool, rq->out[--rq->nout]);
    return room >= n;
}

/* All of a piece or nothing: one that is not kept is sent on behind what was. */
static bool keep_piece(struct fm_request *rq, struct fm_str piece)
{
    FM_ASSERT(rq->collecting && rq->nout > 0 && rq->nout <= FM_REPLAY_BLOCKS);
    unsigned at = rq->nout - 1;
    if (rq->collected + piece.n > rq->w->config.replay_body_bytes || !make_room(rq, piece.n))
        return false;
    for (; piece.n; at++) {
        FM_ASSERT(at < rq->nout);
        struct fm_block *b = rq->out[at];
        size_t n = fm_min_size(piece.n, b->size - b->n);
        if (n)
            memcpy(b->data + b->n, piece.p, n);
        b->n += (uint32_t)n;
        rq->collected += (uint32_t)n;
        piece = fm_str(piece.p + n, piece.n - n);
    }
    return true;
}

void fm_request_body(const struct fm_request *rq, void (*take)(void *user, struct fm_str piece),
                     void *user)
{
    static const struct fm_http_limits any = {
        .body_bytes = UINT64_MAX, .ext_bytes = UINT32_MAX, .trailer_bytes = UINT32_MAX};
    struct fm_http_body body;
    fm_http_body_init(&body, (enum fm_http_framing)rq->framing, rq->body_length, &any);
    FM_ASSERT(rq->nout > 0 && rq->body_at <= rq->out[0]->n);
    for (unsigned i = 0; i < rq->nout; i++) {
        size_t from = i == 0 ? rq->body_at : 0;
        struct fm_str in = fm_str(rq->out[i]->data + from, rq->out[i]->n - from);
        while (in.n && !fm_http_body_is_done(&body)) {
            size_t used;
            struct fm_str data;
            struct fm_http_refusal why;
            enum fm_http_body_step s = fm_http_body_step(&body, in, &used, &data, &why);
            if (s == FM_BODY_STEP_DATA)
                take(user, data);
            else if (s != FM_BODY_STEP_MORE)
                return; /* its end: what came is well-formed */
            in = fm_str(in.p + used, in.n - used);
        }
    }
}

void fm_request_go(struct fm_request *rq, const struct fm_route_plan *plan)
{
    bool edge = rq->w->config.mode == FM_PROXY_EDGE;
    FM_ASSERT(plan->n > 0 || rq->round_of == 0);
    unsigned others = edge ? rq->route->other_regions : 1;
    if (rq->round_of)
        others = plan->n - 1u; /* each region once: what finds no way is held */
    struct fm_exchange_begin b = {.repeat = (enum fm_repeat)rq->repeat,
                                  .hedging = rq->route->hedge.mode != FM_HEDGE_OFF &&
                                             !rq->upgrade && !rq->streaming, /* one copy */
                                  .leave_region = edge,
                                  .replayable = true,
                                  .waits = fm_hold_waits(rq),
                                  .maybe_executed = rq->maybe_executed,
                                  .other_regions = (uint8_t)others};
    rq->hedge_at = rq->silence_at = FM_MONO_NEVER;
    fm_exchange_init(&rq->x, &b, plan);
    fm_request_feed(rq, (struct fm_exchange_event){.kind = FM_EXCHANGE_BEGIN});
}

/* False: it is not. Then `problem` is to be answered, or NONE: it was passed on. */
static bool let_in(struct fm_request *rq, enum fm_problem *problem)
{
    enum fm_admit admit = FM_ADMIT_YES;
    if (rq->override && !fm_admit_overrides(rq))
        admit = FM_ADMIT_NOT_HOLDER;
    else if (rq->override)
        fm_counter_inc(&rq->w->metrics.overrides);
    else if (rq->seats && rq->command)
        admit = fm_admit_command(rq);
    if (admit == FM_ADMIT_YES)
        *problem = fm_admit_key(rq);
    else if (!fm_onward_go(rq, admit))
        *problem = fm_admit_problem(admit);
    return admit == FM_ADMIT_YES && *problem == FM_PROBLEM_NONE;
}

/* What only one region may take, at a gate: let in, then recorded, then sent on. */
static void begin_at_gate(struct fm_request *rq)
{
    if (rq->queue) {
        fm_record_enqueue(rq);
        return;
    }
    enum fm_problem problem = FM_PROBLEM_NONE;
    if (!let_in(rq, &problem)) {
        if (problem != FM_PROBLEM_NONE)
            fm_relay_problem(rq, problem);
        return;
    }
    if (rq->at.authority > 0 && rq->epoch.n > 0)
        fm_heads_set_authority(rq->out[0]->data + rq->at.authority, rq->cell, rq->epoch.n);
    if (rq->record) {
        fm_record_begin(rq);
        return;
    }
    struct fm_route_plan plan;
    fm_plan_route(rq, FM_CANARY_OF_NONE, &plan);
    fm_request_go(rq, &plan);
}

static void begin_at_edge(struct fm_request *rq)
{
    if (rq->asks_place) {
        fm_queue_ask(rq);
        return;
    }
    if (rq->seats && rq->command) {
        fm_hold_go(rq);
        return;
    }
    struct fm_route_plan plan;
    if (rq->seats)
        fm_place_plan_query(rq, &plan);
    else
        fm_plan_route(rq, FM_CANARY_OF_ANY, &plan);
    fm_request_go(rq, &plan);
}

/* Does the edge mean the cell that we found? Where that is in the body it is known later. */
static bool is_said_cell(const struct fm_request *rq)
{
    return !rq->said || !rq->placed || rq->said_cell == rq->cell;
}

static void begin(struct fm_request *rq)
{
    FM_ASSERT(rq->x.nattempts == 0 && rq->patience_ns > 0 && rq->nout > 0);
    FM_ASSERT(rq->streaming != rq->body_done);
    rq->collecting = false;
    /* the time that its body took to come was bounded by edge.min-body-rate */
    rq->total_deadline = fm_mono_add_ns(fm_loop_now(&rq->w->loop), rq->patience_ns);
    enum fm_problem problem = fm_place_body(rq);
    if (problem == FM_PROBLEM_NONE && !is_said_cell(rq))
        problem = FM_PROBLEM_NOT_HOLDER;
    if (problem != FM_PROBLEM_NONE)
        fm_relay_problem(rq, problem);
    else if (rq->w->config.mode == FM_PROXY_GATE)
        begin_at_gate(rq);
    else
        begin_at_edge(rq);
}

static void on_body(struct fm_http_conn *c, struct fm_str piece, bool last)
{
    struct fm_request *rq = c->data;
    FM_ASSERT(rq && rq->conn == c && !rq->client_gone);
    fm_counter_add(&rq->w->metrics.bytes_in, piece.n);
    if (!rq->collecting) {
        fm_relay_client_piece(rq, piece, last);
        return;
    }
    if (!keep_piece(rq, piece)) {
        rq->streaming = true;
        rq->pending = piece;
        rq->pending_last = last;
        begin(rq);
        return;
    }
    rq->body_done = last;
    if (last)
        begin(rq);
    else
        fm_http_conn_body(c);
}

/* -------- entrance -------- */

static void start_log(struct fm_request *rq, const struct fm_http_head *h)
{
    struct fm_worker *w = rq->w;
    rq->log =
        w->config.access_log && fm_rand_below(&w->rand, 1000000) < w->config.access_sample_ppm;
    if (!rq->log)
        return;
    rq->log_method_n = (uint8_t)fm_min_size(h->method_name.n, sizeof rq->log_method);
    memcpy(rq->log_method, h->method_name.p, rq->log_method_n);
    rq->log_path_n = (uint8_t)fm_min_size(h->path.n, sizeof rq->log_path);
    memcpy(rq->log_path, h->path.p, rq->log_path_n);
    memset(rq->log_trace, '0', sizeof rq->log_trace);
}

/* The deadline that came with the request, at a gate. */
static bool take_deadline(struct fm_request *rq, const struct fm_http_head *h)
{
    rq->patience_ns = rq->route->total_ns;
    if (rq->w->config.mode != FM_PROXY_GATE)
        return true;
    int64_t since = fm_mono_sub_ns(fm_mono_now(), rq->start);
    int64_t age = rq->conn->head_age_ns == INT64_MAX ? -1 : rq->conn->head_age_ns + since;
    struct fm_deadline d = fm_deadline_left(fm_http_value(h, FM_HDR_FULMAR_DEADLINE), age);
    if (!d.given)
        return true;
    if (d.left_ns <= 0)
        return false;
    if (d.left_ns + since < rq->patience_ns) /* counted from the clock of this turn */
        rq->patience_ns = d.left_ns + since;
    return true;
}

/* What an edge says that it believes. One that names another cell than we find, or a command where
 * we see none, has another file: it is told to look again. */
static enum fm_problem take_authority(struct fm_request *rq, const struct fm_http_head *h)
{
    struct fm_str said = fm_http_value(h, FM_HDR_FULMAR_AUTHORITY);
    struct fm_authority_said a;
    if (rq->w->config.mode != FM_PROXY_GATE || said.n == 0)
        return FM_PROBLEM_NONE;
    bool good = fm_heads_authority(said, &a);
    if (!rq->seats || !rq->command)
        return good && a.epoch ? FM_PROBLEM_NOT_HOLDER : FM_PROBLEM_NONE;
    if (!good || a.cell >= rq->seats->ncells ||
        !fm_str_eq(a.context, rq->vr->view->contexts[rq->context].name))
        return FM_PROBLEM_NOT_HOLDER;
    rq->said = true;
    rq->said_cell = (uint8_t)a.cell;
    rq->epoch.n = a.epoch;
    return is_said_cell(rq) ? FM_PROBLEM_NONE : FM_PROBLEM_NOT_HOLDER;
}

static void start_body(struct fm_request *rq, const struct fm_http_head *h)
{
    if (!fm_http_conn_has_body(rq->conn)) {
        rq->body_done = true;
        begin(rq);
    } else if (h->framing == FM_BODY_LENGTH && h->length > rq->w->config.replay_body_bytes) {
        rq->streaming = true;
        begin(rq);
    } else {
        rq->collecting = true;
        fm_http_conn_body(rq->conn);
    }
}

static enum fm_problem find_route(struct fm_request *rq, const struct fm_http_head *h,
                                  struct fm_match_result *m)
{
    struct fm_str path;
    if (!fm_http_normalise_path(h->path, rq->w->scratch, &path))
        return FM_PROBLEM_BAD_PATH;
    if (fm_str_starts(path, FM_STR(FM_QUEUED_RESERVED)))
        return fm_queue_route(rq, h, path);
    struct fm_match_query q = {fm_http_host_name(h->host), h->method_name, path};
    fm_match_find(rq->vr->view->match, &q, m);
    if (!m->found)
        return FM_PROBLEM_NO_ROUTE;
    FM_ASSERT(m->route < rq->vr->view->nroutes);
    rq->route = &rq->vr->view->routes[m->route];
    rq->context = rq->route->context;
    FM_ASSERT(rq->context < rq->vr->view->ncontexts);
    return FM_PROBLEM_NONE;
}

static void on_request(struct fm_http_conn *c, const struct fm_http_head *h)
{
    struct fm_worker *w = c->server->user;
    if (w->config.mode == FM_PROXY_GATE && fm_http_conn_hung_up(c)) {
        fm_counter_inc(&w->metrics.deadline_dropped); /* nobody waits for it any more (rule 14) */
        fm_http_conn_abort(c);
        return;
    }
    struct fm_request *rq = new_request(w, c);
    if (!rq) {
        fm_http_conn_problem(c, 503, FM_STR("overloaded"), FM_STR("Retry-After: 1\r\n"),
                             FM_STR("out of memory"));
        return;
    }
    fm_counter_inc(&w->metrics.requests);
    rq->method = h->method;
    rq->minor = (uint8_t)h->minor;
    rq->upgrade = h->upgrade;
    make_ref(rq, h);
    start_log(rq, h);

    struct fm_match_result m = {0};
    enum fm_problem problem = find_route(rq, h, &m);
    if (problem == FM_PROBLEM_NONE && rq->asks_place && w->config.mode == FM_PROXY_GATE) {
        fm_queue_ask(rq);
        return;
    }
    if (problem == FM_PROBLEM_NONE && !take_deadline(rq, h)) {
        fm_counter_inc(&w->metrics.deadline_dropped);
        problem = FM_PROBLEM_DEADLINE;
    }
    if (problem == FM_PROBLEM_NONE)
        rq->repeat = (uint8_t)repeat_of(rq, h, &problem);
    if (problem == FM_PROBLEM_NONE && !rq->asks_place) {
        rq->queue = fm_queue_wanted(rq, h);
        fm_queue_delivery(rq, h);
        problem = fm_place_head(rq, h, &m);
    }
    if (problem == FM_PROBLEM_NONE)
        rq->override = fm_admit_override(rq, h);
    if (problem == FM_PROBLEM_NONE && !rq->override)
        problem = take_authority(rq, h);
    if (problem == FM_PROBLEM_NONE)
        fm_onward_prepare(rq, h);
    if (problem == FM_PROBLEM_NONE && !build_head(rq, h))
        problem = FM_PROBLEM_HEAD_TOO_LARGE;
    if (problem == FM_PROBLEM_NONE)
        problem = fm_record_prepare(rq, h);
    if (problem != FM_PROBLEM_NONE) {
        fm_relay_problem(rq, problem);
        return;
    }
    if (!rq->asks_place)
        fm_plan_prepare(rq, h, &m);
    start_body(rq, h);
}

static void on_failed(struct fm_http_conn *c, const struct fm_http_refusal *why)
{
    struct fm_request *rq = c->data;
    FM_ASSERT(rq && rq->conn == c);
    rq->client_gone = why->status == 0; /* else the server answers with it */
    if (!rq->head_sent)
        rq->status = (uint16_t)why->status;
    if (rq->held || rq->x.nattempts == 0) { /* nobody works at it */
        fm_request_free(rq);
        return;
    }
    fm_request_feed(rq, (struct fm_exchange_event){.kind = FM_EXCHANGE_CLIENT_GONE});
}

static void on_sent(struct fm_http_conn *c)
{
    fm_relay_sent(c->data);
}

static void on_refused(struct fm_http_conn *c, const struct fm_http_refusal *why)
{
    (void)why;
    struct fm_worker *w = c->server->user;
    fm_counter_inc(&w->metrics.requests_malformed);
}

const struct fm_http_handler fm_request_handler = {
    .request = on_request,
    .body = on_body,
    .sent = on_sent,
    .failed = on_failed,
    .refused = on_refused,
};
