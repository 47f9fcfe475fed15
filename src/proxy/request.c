/* Requests: routing one, collecting its body, feeding core/exchange.h and doing what it says.
 * Invariant: a request is freed exactly once, by fm_request_free, after its last try has let go of
 * it and its connection has been answered or is gone. */
#include "proxy/request.h"

#include "base/assert.h"

#include <stdlib.h>

static const struct fm_hash_key sticky_key = {UINT64_C(0x66756c6d61722d73),
                                              UINT64_C(0x7469636b792d3031)};

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
    if (!rq->head_sent && rq->total_deadline.ns <= now.ns) {
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
    struct fm_mono now = fm_loop_now(&rq->w->loop);
    for (unsigned r = 0; r < rq->vr->view->nregions; r++) {
        uint64_t word = atomic_load_explicit(
            &fm_board_slot(rq->vr->view->board, r, rq->context)->word, memory_order_relaxed);
        const struct fm_target *t = fm_target(rq->vr, r, rq->context);
        if (fm_board_share(word) == 0 || fm_leave_is_left(&t->leave, fm_board_epoch(word), now))
            left |= UINT32_C(1) << r;
    }
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
        fm_relay_problem(rq, a->problem);
        return false;
    case FM_EXCHANGE_DROP:
        fm_request_free(rq);
        return false;
    }
    FM_UNREACHABLE();
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

/* -------- routing -------- */

bool fm_pool_is_reachable(const struct fm_view_ref *vr, unsigned region, unsigned context,
                          struct fm_mono now)
{
    const struct fm_view *v = vr->view;
    const struct fm_view_pool *p = fm_view_pool(v, region, context);
    FM_ASSERT(p->first + p->n <= v->nendpoints);
    for (unsigned i = p->first; i < p->first + p->n; i++)
        if (vr->up[i] && !atomic_load_explicit(&v->endpoints[i].probe_down, memory_order_relaxed) &&
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
        .serve = 1000,
        .share = left ? 0 : (uint16_t)fm_board_share(word),
        .reachable = fm_pool_is_reachable(rq->vr, r, rq->context, now),
        .trial = canary != FM_CANARY_NONE,
        .trial_any = canary == FM_CANARY_ANY,
        .latency_us = (uint32_t)fm_clamp_i64(t->heard.p50_ns / FM_NS_PER_US, 0, UINT32_MAX),
        .last_ok = t->last_ok,
    };
}

static uint64_t sticky_hash(struct fm_request *rq, const struct fm_http_head *h,
                            const struct fm_match_result *m, bool *sticky)
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
    *sticky = key.p != NULL;
    return key.p ? fm_hash_str(sticky_key, key) : 0;
}

/* Take the canary token of the first region of the plan, or plan again without canaries. */
static bool claim_canary(const struct fm_request *rq, const struct fm_route_plan *plan)
{
    FM_ASSERT(plan->canary && plan->n > 0);
    struct fm_board_slot *slot = fm_board_slot(rq->vr->view->board, plan->region[0], rq->context);
    uint32_t had = atomic_exchange_explicit(&slot->canary, FM_CANARY_NONE, memory_order_relaxed);
    return had != FM_CANARY_NONE;
}

static void plan_route(struct fm_request *rq, const struct fm_http_head *h,
                       const struct fm_match_result *m, enum fm_repeat repeat,
                       struct fm_route_plan *plan)
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
                                 .repeatable = repeat != FM_REPEAT_NEVER,
                                 .random = fm_rand_u64(&w->rand)};
    q.affinity = sticky_hash(rq, h, m, &q.sticky);
    for (int canaries = 1; canaries >= 0; canaries--) {
        struct fm_route_region region[FM_REGIONS_MAX];
        for (unsigned r = 0; r < v->nregions; r++)
            look_at_region(rq, r, canaries, &region[r]);
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

/* -------- what kind of request it is -------- */

static enum fm_repeat repeat_of(struct fm_request *rq, const struct fm_http_head *h,
                                enum fm_problem *problem)
{
    const struct fm_view_context *c = &rq->vr->view->contexts[rq->context];
    const struct fm_view_route *r = rq->route;
    bool key = fm_http_value(h, FM_HDR_IDEMPOTENCY_KEY).n > 0;
    rq->command = fm_class_is_command((enum fm_class_as)r->as, c->conf->commands,
                                      c->conf->ncommands, h->method_name);
    *problem = FM_PROBLEM_NONE;
    if (rq->command && !key && c->conf->idempotency.key == FM_KEY_REQUIRED)
        *problem = FM_PROBLEM_KEY_MISSING;
    bool keyed =
        key && c->conf->idempotency.key != FM_KEY_IGNORED && c->conf->idempotency.by == FM_BY_APP;
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
    };
    struct fm_str came = fm_http_value(h, FM_HDR_TRACEPARENT);
    bool ok = fm_heads_traceparent_ok(came);
    if (!ok) {
        fm_heads_traceparent_new(trace, fm_rand_u64(&w->rand), fm_rand_u64(&w->rand),
                                 fm_rand_u64(&w->rand));
        f.traceparent = fm_str(trace, sizeof trace);
    }
    if (rq->log)
        memcpy(rq->log_trace, (ok ? came.p : trace) + 3, sizeof rq->log_trace);
    struct fm_buf out = fm_buf(b->data, b->size);
    fm_heads_request(&out, h, &f, &rq->deadline_at);
    b->n = (uint32_t)out.n;
    return !out.full;
}

/* -------- bodies: kept for replay up to a bound, then streamed -------- */

static bool keep_piece(struct fm_request *rq, struct fm_str piece)
{
    FM_ASSERT(rq->collecting && rq->nout > 0 && rq->nout <= FM_REPLAY_BLOCKS);
    if (rq->collected + piece.n > rq->w->config.replay_body_bytes)
        return false;
    while (piece.n) {
        struct fm_block *b = rq->out[rq->nout - 1];
        if (b->n == b->size) {
            if (rq->nout == FM_REPLAY_BLOCKS || !(b = fm_pool_get(&rq->w->pool)))
                return false;
            rq->out[rq->nout++] = b;
        }
        size_t n = fm_min_size(piece.n, b->size - b->n);
        memcpy(b->data + b->n, piece.p, n);
        b->n += (uint32_t)n;
        rq->collected += (uint32_t)n;
        piece = fm_str(piece.p + n, piece.n - n);
    }
    return true;
}

static void begin(struct fm_request *rq)
{
    FM_ASSERT(rq->x.nattempts == 0 && rq->patience_ns > 0 && rq->nout > 0);
    FM_ASSERT(rq->streaming != rq->body_done);
    rq->collecting = false;
    /* the time that its body took to come was bounded by edge.min-body-rate */
    rq->total_deadline = fm_mono_add_ns(fm_loop_now(&rq->w->loop), rq->patience_ns);
    if (rq->streaming)
        rq->x.hedging = false; /* there is no second copy to send */
    fm_request_feed(rq, (struct fm_exchange_event){.kind = FM_EXCHANGE_BEGIN});
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

    struct fm_match_result m;
    enum fm_problem problem = find_route(rq, h, &m);
    if (problem == FM_PROBLEM_NONE && !take_deadline(rq, h)) {
        fm_counter_inc(&w->metrics.deadline_dropped);
        problem = FM_PROBLEM_DEADLINE;
    }
    enum fm_repeat repeat = FM_REPEAT_NEVER;
    if (problem == FM_PROBLEM_NONE)
        repeat = repeat_of(rq, h, &problem);
    if (problem == FM_PROBLEM_NONE && !build_head(rq, h))
        problem = FM_PROBLEM_HEAD_TOO_LARGE;
    if (problem != FM_PROBLEM_NONE) {
        fm_relay_problem(rq, problem);
        return;
    }
    struct fm_route_plan plan;
    plan_route(rq, h, &m, repeat, &plan);
    struct fm_exchange_begin b = {
        .repeat = repeat,
        .hedging = rq->route->hedge.mode != FM_HEDGE_OFF && !rq->upgrade,
        .leave_region = w->config.mode == FM_PROXY_EDGE,
        .replayable = true,
        .other_regions = w->config.mode == FM_PROXY_EDGE ? rq->route->other_regions : 1};
    fm_exchange_init(&rq->x, &b, &plan);
    start_body(rq, h);
}

static void on_failed(struct fm_http_conn *c, const struct fm_http_refusal *why)
{
    struct fm_request *rq = c->data;
    FM_ASSERT(rq && rq->conn == c);
    rq->client_gone = why->status == 0; /* else the server answers with it */
    if (!rq->head_sent)
        rq->status = (uint16_t)why->status;
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
