/* Commands with a key, in a gate's journal (SAFETY.md 19 to 21): the intent is durable before the
 * application sees anything, the outcome follows. core/idempotency.h decides, in the journal.
 * Invariants: a record is with the journal, with its request, or spare; an accepted one gets one
 * outcome, or is withdrawn where nothing of it was forwarded; what was admitted counts as in flight
 * until that is durable. */
#include "proxy/request.h"

#include "base/assert.h"

#include <openssl/evp.h>
#include <stdlib.h>

/* -------- life -------- */

static void done(struct fm_journal_call *c);

struct fm_record *fm_record_new(struct fm_request *rq)
{
    struct fm_worker *w = rq->w;
    struct fm_record *r = fm_list_first(&w->spare_records, struct fm_record, node);
    if (r)
        fm_list_remove(&r->node);
    else
        r = malloc(sizeof *r);
    if (!r)
        return NULL;
    memset(r, 0, offsetof(struct fm_record, context));
    fm_list_init(&r->node);
    r->w = w;
    r->rq = rq;
    r->call.to = &w->inbox;
    r->call.done = done;
    rq->record = r;
    w->records++;
    return r;
}

static void free_record(struct fm_record *r)
{
    struct fm_worker *w = r->w;
    FM_ASSERT(!r->rq && !r->call.busy && w->records > 0);
    fm_journal_forget(&r->call);
    if (r->answer)
        fm_pool_put(&w->pool, r->answer);
    r->answer = NULL;
    free(r->parcel);
    r->parcel = NULL;
    if (r->entered)
        fm_seats_leave(r->seats, r->cell);
    fm_list_push_front(&w->spare_records, &r->node);
    w->records--;
    fm_worker_maybe_stop(w);
}

/* -------- coming -------- */

enum { MADE_KEY_MAX = sizeof "override:" + FM_TICKET_LEN_MAX };

/* Does this command go into the journal? What is delivered is asked about again where its answer is
 * lost: by its client's key, or by its number in the queue. */
static bool is_recorded(const struct fm_request *rq, bool by_gate, bool has_key)
{
    if (rq->override || rq->queue)
        return true;
    return has_key ? by_gate : rq->delivered;
}

/* For one without a key: nobody outside can have used it. */
static struct fm_str make_key(struct fm_request *rq, char mem[MADE_KEY_MAX])
{
    struct fm_buf b = fm_buf(mem, MADE_KEY_MAX);
    if (rq->delivered) {
        fm_ticket_key(&b, &rq->ticket);
    } else {
        fm_buf_str_add(&b, rq->queue ? FM_STR("queue:") : FM_STR("override:"));
        fm_buf_add(&b, rq->ref, FM_REF_LEN);
        fm_buf_printf(&b, "-%016llx", (unsigned long long)fm_rand_u64(&rq->w->rand));
    }
    FM_ASSERT(!b.full);
    return fm_buf_str(&b);
}

enum fm_problem fm_record_prepare(struct fm_request *rq, const struct fm_http_head *h)
{
    const struct fm_view_context *c = &rq->vr->view->contexts[rq->context];
    struct fm_str key = fm_http_value(h, FM_HDR_IDEMPOTENCY_KEY);
    bool by_gate = c->conf->idempotency.by == FM_BY_GATE;
    if (c->conf->idempotency.key == FM_KEY_IGNORED)
        key.n = 0;
    if (rq->w->config.mode != FM_PROXY_GATE || !rq->command || !is_recorded(rq, by_gate, key.n > 0))
        return FM_PROBLEM_NONE;
    char made[MADE_KEY_MAX];
    bool has_key = key.n > 0;
    if (!has_key) { /* it has to be found again, with or without a key of its own */
        key = make_key(rq, made);
        by_gate |= rq->delivered;
    }
    if (!fm_idem_key_is_valid(key))
        return FM_PROBLEM_KEY_INVALID;
    if (!rq->w->config.journal)
        return FM_PROBLEM_JOURNAL_FAILED;
    struct fm_record *r = fm_record_new(rq);
    if (!r)
        return FM_PROBLEM_OVERLOADED;
    r->client_key = has_key;
    FM_ASSERT(c->name.n <= FM_JOURNAL_CONTEXT_MAX && key.n <= FM_IDEM_KEY_MAX);
    memcpy(r->context, c->name.p, c->name.n);
    memcpy(r->key, key.p, key.n);
    r->key_n = (uint16_t)key.n;
    r->call.command = (struct fm_journal_command){
        .context = fm_str(r->context, c->name.n),
        .facts = {.need = c->conf->idempotency.key == FM_KEY_REQUIRED ? FM_IDEM_REQUIRED
                                                                      : FM_IDEM_OPTIONAL,
                  .by = by_gate ? FM_IDEM_BY_GATE : FM_IDEM_BY_APP,
                  .key = fm_str(r->key, r->key_n),
                  .first_epoch = rq->first_epoch}};
    if (by_gate && !rq->override && !rq->queue)
        fm_place_key(rq, fm_str(r->key, r->key_n));
    const struct fm_view *v = rq->vr->view;
    if (rq->delivered && fm_str_eq(rq->ticket.region, v->regions[v->self].name))
        r->call.command.queued = rq->ticket.number;
    return FM_PROBLEM_NONE;
}

static void digest(void *user, struct fm_str piece)
{
    (void)EVP_DigestUpdate(user, piece.p, piece.n);
}

/* Method, target and what of the body is here before it is sent; of one that is streamed its
 * length, where that was said. */
static bool hash(const struct fm_request *rq, struct fm_idem_hash *out)
{
    _Static_assert(FM_IDEM_HASH_LEN == 32, "SHA-256");
    const struct fm_block *head = rq->out[0];
    const char *end = memchr(head->data, '\r', rq->body_at);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    FM_ASSERT(end && rq->nout > 0);
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) > 0 &&
              EVP_DigestUpdate(md, head->data, (size_t)(end - head->data)) > 0;
    if (ok && rq->streaming)
        ok = EVP_DigestUpdate(md, &rq->body_length, sizeof rq->body_length) > 0;
    else if (ok)
        fm_request_body(rq, digest, md);
    unsigned n = 0;
    ok = ok && EVP_DigestFinal_ex(md, out->b, &n) > 0 && n == sizeof out->b;
    EVP_MD_CTX_free(md);
    return ok;
}

void fm_record_begin(struct fm_request *rq)
{
    struct fm_record *r = rq->record;
    struct fm_journal_call *c = &r->call;
    FM_ASSERT(r && r->rq == rq && !c->busy && !r->accepted && !rq->queue);
    c->op = FM_JOURNAL_BEGIN;
    c->command.cell = rq->cell;
    c->command.facts.epoch = rq->epoch.n;
    if (!hash(rq, &c->command.hash)) {
        fm_relay_problem(rq, FM_PROBLEM_OVERLOADED);
        return;
    }
    if (fm_journal_submit(rq->w->config.journal, c) == FM_ERR_OK)
        fm_request_arm(rq);
    else
        fm_relay_problem_as(rq, c->decision.problem, c->decision.status);
}

/* Head without what each try sets anew, which stands at its end, and body. */
static bool make_parcel(struct fm_request *rq)
{
    static const char deadline[] = "Fulmar-Deadline: ";
    struct fm_record *r = rq->record;
    size_t head_n = rq->at.deadline - (sizeof deadline - 1);
    FM_ASSERT(memcmp(rq->out[0]->data + head_n, deadline, sizeof deadline - 1) == 0 && !r->parcel);
    size_t cap = FM_PARCEL_PREFIX + head_n;
    for (unsigned i = 0; i < rq->nout; i++)
        cap += rq->out[i]->n;
    r->parcel = malloc(cap);
    if (!r->parcel)
        return false;
    struct fm_buf b = fm_buf(r->parcel, cap);
    fm_parcel_begin(&b, r->client_key, head_n);
    fm_buf_add(&b, rq->out[0]->data, head_n);
    for (unsigned i = 0; i < rq->nout; i++) {
        size_t from = i == 0 ? rq->body_at : 0;
        fm_buf_add(&b, rq->out[i]->data + from, rq->out[i]->n - from);
    }
    FM_ASSERT(!b.full);
    r->call.command.request = fm_buf_str(&b);
    return true;
}

void fm_record_enqueue(struct fm_request *rq)
{
    struct fm_record *r = rq->record;
    struct fm_journal_call *c = &r->call;
    FM_ASSERT(r && r->rq == rq && rq->queue && !c->busy);
    if (rq->streaming || rq->upgrade ||
        atomic_load_explicit(&rq->seats->read_only, memory_order_relaxed)) {
        fm_relay_problem(rq, FM_PROBLEM_READ_ONLY);
        return;
    }
    c->op = FM_JOURNAL_ENQUEUE;
    c->command.cell = rq->cell;
    c->command.facts.need = FM_IDEM_OPTIONAL;
    c->command.lane = fm_key_str(&rq->lane); /* none: in order with all without one */
    if (!hash(rq, &c->command.hash) || !make_parcel(rq)) {
        fm_relay_problem(rq, FM_PROBLEM_OVERLOADED);
        return;
    }
    if (fm_journal_submit(rq->w->config.journal, c) == FM_ERR_OK)
        fm_request_arm(rq);
    else
        fm_relay_problem_as(rq, c->decision.problem, c->decision.status);
}

/* -------- going -------- */

static void settle(struct fm_record *r)
{
    struct fm_journal_call *c = &r->call;
    bool first = c->decision.action == FM_IDEM_RECORD;
    FM_ASSERT(r->accepted && !c->busy && c->seq > 0 && !r->rq);
    r->accepted = false;
    fm_journal_forget(c);
    if (!r->forwarded && first) {
        c->op = FM_JOURNAL_WITHDRAW;
    } else {
        c->op = FM_JOURNAL_OUTCOME;
        c->outcome = (struct fm_journal_outcome){.state = FM_IDEM_UNKNOWN};
        if (r->status) {
            bool kept = r->answer_whole && r->answer_kept;
            c->outcome.state = FM_IDEM_DONE;
            c->outcome.answer = (struct fm_journal_answer){.status = r->status, .kept = kept};
            if (kept) {
                c->outcome.answer.head = fm_str(r->answer->data, r->head_n);
                c->outcome.answer.body =
                    fm_str(r->answer->data + r->head_n, r->answer->n - r->head_n);
            }
        }
    }
    if (fm_journal_submit(r->w->config.journal, c) != FM_ERR_OK)
        free_record(r); /* it has failed: at its next start the intent is `unknown` */
}

/* It was executed, and the answer to it was kept. */
static void tell_again(const struct fm_record *r)
{
    struct fm_request *rq = r->rq;
    const struct fm_journal_call *c = &r->call;
    if (!c->answer.kept) { /* without memory for it */
        fm_relay_problem(rq, FM_PROBLEM_ANSWER_NOT_KEPT);
        return;
    }
    enum fm_problem p =
        c->answer.status < 400 ? fm_admit_repeat(rq, c->was.cell, c->was.epoch) : FM_PROBLEM_NONE;
    if (p == FM_PROBLEM_OUTCOME_UNKNOWN) {
        fm_relay_problem_as(rq, p, 409); /* as to any repeat (core/idempotency.c) */
    } else if (p != FM_PROBLEM_NONE) {
        fm_relay_problem(rq, p);
    } else {
        fm_counter_inc(&rq->w->metrics.answers_replayed);
        fm_relay_kept(rq, &c->answer);
    }
}

/* The intent is durable, or there is another answer. Time has passed: the authority is looked at
 * again before anything goes (SAFETY.md 13). */
static void go_on(struct fm_record *r)
{
    struct fm_request *rq = r->rq;
    const struct fm_idem_decision *d = &r->call.decision;
    bool live = !rq->seats || rq->override || rq->queue || fm_admit_is_live(rq);
    switch (d->action) {
    case FM_IDEM_RECORD:
    case FM_IDEM_FORWARD_AGAIN:
        if (rq->queue) {
            fm_counter_inc(&rq->w->metrics.queued);
            fm_queue_accepted(rq, &r->call);
            return;
        }
        r->accepted = true;
        if (!live) {
            fm_relay_problem(rq, FM_PROBLEM_MOVING);
            return;
        }
        {
            struct fm_route_plan plan;
            fm_plan_route(rq, FM_CANARY_OF_NONE, &plan);
            fm_request_go(rq, &plan);
        }
        return;
    case FM_IDEM_REPLAY:
        if (live)
            tell_again(r);
        else
            fm_relay_problem(rq, FM_PROBLEM_MOVING);
        return;
    case FM_IDEM_REFUSE:
        fm_relay_problem_as(rq, d->problem, d->status);
        return;
    case FM_IDEM_ACCEPTED:
        fm_queue_accepted(rq, &r->call);
        return;
    case FM_IDEM_FORWARD:
        break;
    }
    FM_UNREACHABLE();
}

static void done(struct fm_journal_call *c)
{
    struct fm_record *r = fm_container_of(c, struct fm_record, call);
    FM_ASSERT(!c->busy);
    bool began = c->op == FM_JOURNAL_BEGIN;
    if (r->rq && c->op == FM_JOURNAL_ASK) {
        fm_queue_told(r->rq, c);
        return;
    }
    if (r->rq) {
        FM_ASSERT(began || c->op == FM_JOURNAL_ENQUEUE);
        go_on(r);
        return;
    }
    bool is_intent =
        c->decision.action == FM_IDEM_RECORD || c->decision.action == FM_IDEM_FORWARD_AGAIN;
    if (began && c->err == FM_ERR_OK && is_intent) { /* its client has left meanwhile */
        r->accepted = true;
        settle(r);
        return;
    }
    free_record(r);
}

/* -------- its answer -------- */

/* The head as it is kept: without what belongs to one connection or one try. */
void fm_record_answer(struct fm_try *t, const struct fm_http_head *h)
{
    struct fm_record *r = t->rq->record;
    if (!r || !r->accepted)
        return;
    FM_ASSERT(r->forwarded && r->status == 0);
    r->status = t->status;
    if (!r->answer)
        r->answer = fm_pool_get(&r->w->pool);
    if (!r->answer)
        return;
    struct fm_buf b = fm_buf(r->answer->data, r->answer->size);
    struct fm_answer a = {.region = t->vr->view->regions[t->region].name};
    fm_heads_answer(&b, h, &a);
    r->head_n = r->answer->n = (uint32_t)b.n;
    /* what ends with its connection, goes on behind it, or lost its chunks on the way to HTTP/1.0
     */
    bool partial = h->framing == FM_BODY_CLOSE || h->status == 101 ||
                   (h->framing == FM_BODY_CHUNKED && t->rq->minor == 0);
    r->answer_kept = !b.full && !partial;
}

void fm_record_piece(struct fm_request *rq, struct fm_str piece, bool last)
{
    struct fm_record *r = rq->record;
    if (!r || !r->accepted)
        return;
    r->answer_whole = last;
    if (!r->answer_kept)
        return;
    struct fm_block *b = r->answer;
    if (piece.n > b->size - b->n) {
        r->answer_kept = false;
        return;
    }
    if (piece.n)
        memcpy(b->data + b->n, piece.p, piece.n);
    b->n += (uint32_t)piece.n;
}

void fm_record_end(struct fm_request *rq)
{
    struct fm_record *r = rq->record;
    if (!r)
        return;
    FM_ASSERT(r->rq == rq && !r->entered);
    rq->record = NULL;
    r->rq = NULL;
    /* who waits for the end of what is in flight waits for what the journal says of it, too */
    r->entered = rq->entered;
    r->seats = rq->seats;
    r->cell = rq->cell;
    rq->entered = false;
    if (r->call.busy)
        return;
    if (r->accepted)
        settle(r);
    else
        free_record(r);
}
