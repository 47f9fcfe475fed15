/* Queued commands (`when-away: queue`), but for keeping them, which record.c does: whether one is
 * to be kept, whether one is being delivered, and the place where its client asks what became of
 * it. */
#include "proxy/request.h"

#include "base/assert.h"

static bool is_gate(const struct fm_request *rq)
{
    return rq->w->config.mode == FM_PROXY_GATE;
}

/* -------- coming -------- */

bool fm_queue_wanted(const struct fm_request *rq, const struct fm_http_head *h)
{
    return is_gate(rq) && rq->command && rq->route->away == FM_AWAY_QUEUE &&
           rq->vr->view->contexts[rq->context].seats && rq->w->config.journal &&
           fm_str_eq(fm_http_value(h, FM_HDR_FULMAR_MODE), FM_STR("queue"));
}

void fm_queue_delivery(struct fm_request *rq, const struct fm_http_head *h)
{
    struct fm_str said = fm_http_value(h, FM_HDR_FULMAR_QUEUED);
    struct fm_ticket t;
    uint64_t first_epoch;
    if (!is_gate(rq) || !rq->command || rq->queue || !fm_delivery_read(said, &t, &first_epoch))
        return;
    FM_ASSERT(t.region.n <= sizeof rq->ticket_region);
    memcpy(rq->ticket_region, t.region.p, t.region.n);
    rq->delivered = true;
    rq->first_epoch = first_epoch;
    rq->ticket = t;
    rq->ticket.region.p = rq->ticket_region;
}

/* -------- the place -------- */

static int find_region(const struct fm_view *v, struct fm_str name)
{
    for (unsigned r = 0; r < v->nregions; r++)
        if (!v->regions[r].witness && fm_str_eq(v->regions[r].name, name))
            return (int)r;
    return -1;
}

enum fm_problem fm_queue_route(struct fm_request *rq, const struct fm_http_head *h,
                               struct fm_str path)
{
    const struct fm_view *v = rq->vr->view;
    struct fm_str prefix = FM_STR(FM_QUEUED_PATH);
    if (!v->has_places || (h->method != FM_METHOD_GET && h->method != FM_METHOD_HEAD) ||
        !fm_str_starts(path, prefix))
        return FM_PROBLEM_NO_ROUTE;
    struct fm_ticket t;
    if (!fm_ticket_read(fm_str(path.p + prefix.n, path.n - prefix.n), &t))
        return FM_PROBLEM_NOT_QUEUED;
    int region = find_region(v, t.region);
    if (region < 0 || (is_gate(rq) && ((unsigned)region != v->self || !rq->w->config.journal)))
        return FM_PROBLEM_NOT_QUEUED;
    rq->asks_place = true;
    rq->place_region = (uint8_t)region;
    rq->route = &v->places;
    rq->context = v->places.context;
    rq->ticket = t;
    rq->ticket.region = v->regions[region].name;
    return FM_PROBLEM_NONE;
}

void fm_queue_ask(struct fm_request *rq)
{
    FM_ASSERT(rq->asks_place && rq->ticket.number > 0);
    if (!is_gate(rq)) {
        struct fm_route_plan plan = {.n = 1, .healthy = 1};
        plan.region[0] = rq->place_region;
        fm_request_go(rq, &plan);
        return;
    }
    struct fm_record *r = fm_record_new(rq);
    if (!r) {
        fm_relay_problem(rq, FM_PROBLEM_OVERLOADED);
        return;
    }
    rq->total_deadline = fm_mono_add_ns(fm_loop_now(&rq->w->loop), rq->route->total_ns);
    r->call.op = FM_JOURNAL_ASK;
    r->call.seq = rq->ticket.number;
    r->call.token = rq->ticket.token;
    if (fm_journal_submit(rq->w->config.journal, &r->call) == FM_ERR_OK)
        fm_request_arm(rq);
    else
        fm_relay_problem(rq, FM_PROBLEM_OVERLOADED);
}

/* -------- answers -------- */

static enum fm_ticket_state state_of(const struct fm_journal_call *c)
{
    switch (c->queued.state) {
    case FM_QUEUE_BEHIND:
    case FM_QUEUE_READY:
        return FM_TICKET_WAITS;
    case FM_QUEUE_TAKEN:
        return FM_TICKET_BEING_DELIVERED;
    case FM_QUEUE_DELIVERED:
        return FM_TICKET_OVER;
    }
    FM_UNREACHABLE();
}

/* What is with `t`; of a command that came also where to ask, and for who delivers the number. */
static void answer(struct fm_request *rq, unsigned status, const struct fm_ticket *t,
                   const struct fm_journal_call *call)
{
    struct fm_http_conn *c = rq->conn;
    char headers[512], body[512];
    struct fm_buf h = fm_buf(headers, sizeof headers), b = fm_buf(body, sizeof body);
    FM_ASSERT(c && !rq->head_sent && !rq->client_gone && is_gate(rq));
    rq->status = (uint16_t)status;
    fm_buf_lit(&h, "Fulmar-Ref: ");
    fm_buf_add(&h, rq->ref, FM_REF_LEN);
    fm_buf_lit(&h, "\r\nFulmar-Region: ");
    fm_buf_str_add(&h, t->region);
    fm_buf_lit(&h, "\r\nCache-Control: no-store\r\n");
    if (!rq->asks_place) {
        fm_buf_lit(&h, "Location: " FM_QUEUED_PATH);
        fm_ticket_write(&h, t);
        fm_buf_lit(&h, "\r\nFulmar-Queued: ");
        fm_ticket_write(&h, t);
        fm_buf_lit(&h, "\r\n");
    }
    fm_ticket_json(&b, t, state_of(call), call->queued.status);
    FM_ASSERT(!h.full && !b.full);
    fm_request_free(rq);
    fm_http_conn_answer(c, status, FM_STR("application/json"), fm_buf_str(&h), fm_buf_str(&b));
}

void fm_queue_accepted(struct fm_request *rq, const struct fm_journal_call *c)
{
    const struct fm_view *v = rq->vr->view;
    struct fm_ticket t = {v->regions[v->self].name, c->seq, c->token};
    answer(rq, 202, &t, c);
}

void fm_queue_told(struct fm_request *rq, const struct fm_journal_call *c)
{
    FM_ASSERT(rq->asks_place && !c->busy);
    if (c->err == FM_ERR_OK)
        answer(rq, 200, &rq->ticket, c);
    else
        fm_relay_problem(rq, c->err == FM_ERR_NOT_FOUND ? FM_PROBLEM_NOT_QUEUED
                                                        : FM_PROBLEM_JOURNAL_FAILED);
}
