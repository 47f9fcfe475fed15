/* Passing answers to clients, and bodies and tunnels both ways. A piece is sent before the next one
 * is asked for, in each direction, so that memory stays constant and a slow side slows the other.
 * Invariant: after the first byte of an answer nothing but the rest of that answer is sent. */
#include "proxy/request.h"

#include "base/assert.h"

enum { COPY_MAX = 4096, INTERIM_MAX = 8192 };

/* -------- heads -------- */

/* RFC 9110 section 15.2: a proxy forwards 1xx answers, but a 100 that it asked for itself. One that
 * might come from an attempt that loses is not for the client. */
void fm_relay_interim(struct fm_try *t, const struct fm_http_head *h)
{
    struct fm_request *rq = t->rq;
    char text[INTERIM_MAX];
    FM_ASSERT(rq && !rq->head_sent && h->status < 200);
    if (h->status == 100 || rq->minor == 0 || fm_exchange_alive(&rq->x) != 1)
        return;
    struct fm_buf b = fm_buf(text, sizeof text);
    struct fm_answer a = {.from_gate = t->vr->view->regions[t->region].gates};
    fm_heads_answer(&b, h, &a);
    if (!b.full)
        fm_http_conn_interim(rq->conn, fm_buf_str(&b));
}

bool fm_relay_prepare(struct fm_try *t, const struct fm_http_head *h)
{
    struct fm_request *rq = t->rq;
    struct fm_worker *w = t->w;
    const struct fm_view_region *region = &t->vr->view->regions[t->region];
    FM_ASSERT(rq && !rq->relay && !rq->head_sent);
    if (!t->head)
        t->head = fm_pool_get(&w->pool);
    if (!t->head)
        return false;
    bool to_old = rq->minor == 0; /* HTTP/1.0 knows no chunks */
    bool close = h->framing == FM_BODY_CLOSE || (to_old && h->framing == FM_BODY_CHUNKED) ||
                 w->draining || (!rq->body_done && rq->streaming);
    t->answer_close = close;
    struct fm_answer a = {
        .from_gate = region->gates,
        .to_edge = rq->onward,
        .decoded = to_old,
        .ref = fm_str(rq->ref, FM_REF_LEN),
        .region = region->gates ? fm_str(NULL, 0) : region->name,
        .connection = h->status == 101 ? FM_STR("Connection: upgrade\r\n")
                                       : fm_http_conn_header(rq->conn, close),
        .upgrade = h->status == 101,
    };
    struct fm_buf b = fm_buf(t->head->data, t->head->size);
    fm_heads_answer(&b, h, &a);
    t->head->n = (uint32_t)b.n;
    return !b.full;
}

/* -------- answers -------- */

static void send_to_client(struct fm_request *rq, const struct iovec *iov, unsigned n)
{
    FM_ASSERT(n > 0 && rq->head_sent && rq->relay);
    for (unsigned i = 0; i < n; i++)
        rq->bytes_out += iov[i].iov_len;
    fm_http_conn_send(rq->conn, iov, n);
}

/* The answer is with the kernel to its last byte. */
static void finish(struct fm_request *rq)
{
    struct fm_http_conn *c = rq->conn;
    struct fm_try *t = rq->relay;
    FM_ASSERT(t && t->rq == rq && rq->head_sent && t->conn);
    bool close = t->answer_close || rq->tunnel;
    if (rq->streaming && !rq->body_done) { /* it answered before it had all of the request */
        fm_upconn_close(t->conn);
        t->conn = NULL;
    }
    fm_try_finish(t);
    fm_request_free(rq);
    fm_http_conn_done(c, close);
}

static void send_head(struct fm_request *rq, struct fm_try *t)
{
    FM_ASSERT(!rq->head_sent && rq->relay == t && t->head->n > 0);
    rq->head_sent = true;
    fm_loop_cancel(&rq->w->loop, &rq->timer);
    struct iovec iov[2] = {{t->head->data, t->head->n}, {NULL, 0}};
    unsigned n = 1;
    if (t->has_piece && t->piece.n <= COPY_MAX && t->piece.n <= t->head->size - t->head->n) {
        memcpy(t->head->data + t->head->n, t->piece.p, t->piece.n);
        iov[0].iov_len += t->piece.n;
    } else if (t->has_piece && t->piece.n) {
        iov[n++] = (struct iovec){(void *)(uintptr_t)t->piece.p, t->piece.n};
    }
    if (t->has_piece || t->piece_is_last)
        fm_record_piece(rq, t->has_piece ? t->piece : fm_str(NULL, 0), t->piece_is_last);
    t->has_piece = false;
    send_to_client(rq, iov, n);
}

void fm_relay_start(struct fm_request *rq, struct fm_try *t)
{
    FM_ASSERT(!rq->relay && t && t->head && rq->conn);
    rq->relay = t;
    rq->status = t->status;
    rq->problem = t->problem;
    rq->answered_region = (uint16_t)(t->region + 1);
    if (t->is_hedge)
        fm_counter_inc(&rq->w->metrics.hedges_won);
    bool body = fm_http_client_has_body(&t->conn->http);
    t->piece_is_last = !body;
    if (body && fm_http_stream_has(&t->conn->http.s))
        fm_http_client_body(&t->conn->http, t->w->config.body_idle_ms); /* goes with the head */
    else
        send_head(rq, t);
}

void fm_relay_piece(struct fm_try *t, struct fm_str piece, bool last)
{
    struct fm_request *rq = t->rq;
    FM_ASSERT(rq && rq->relay == t);
    t->piece_is_last = last;
    if (!rq->head_sent) {
        t->piece = piece;
        t->has_piece = true;
        send_head(rq, t);
        return;
    }
    if (rq->tunnel && !fm_admit_stays(rq)) {
        fm_relay_cut(rq);
        return;
    }
    if (rq->tunnel)
        fm_http_conn_touch(rq->conn);
    else
        fm_record_piece(rq, piece, last);
    if (rq->tunnel && last) {
        rq->tunnel_down_done = true;
        fm_http_conn_shutdown(rq->conn);
        if (rq->tunnel_up_done)
            finish(rq);
        return;
    }
    if (piece.n == 0) {
        fm_relay_sent(rq);
        return;
    }
    struct iovec iov = {(void *)(uintptr_t)piece.p, piece.n};
    send_to_client(rq, &iov, 1);
}

static void start_tunnel(struct fm_request *rq)
{
    struct fm_try *t = rq->relay;
    FM_ASSERT(rq->upgrade && rq->body_done && rq->head_sent && !rq->tunnel);
    rq->tunnel = true;
    fm_admit_tunnel(rq);
    fm_counter_inc(&rq->w->metrics.tunnels);
    fm_http_conn_to_tunnel(rq->conn, rq->w->config.tunnel_idle_ms);
    fm_http_client_to_tunnel(&t->conn->http);
    fm_http_conn_body(rq->conn);
    fm_http_client_body(&t->conn->http, rq->w->config.tunnel_idle_ms);
}

/* What was kept begins with a status line, ends with an empty line, and has no fields that belong
 * to a connection. The request's own head is not needed any more, and its place is used. */
void fm_relay_kept(struct fm_request *rq, const struct fm_journal_answer *a)
{
    FM_ASSERT(!rq->relay && !rq->head_sent && a->kept && a->head.n > 2);
    if (rq->minor == 0) { /* it may be in chunks */
        fm_relay_problem(rq, FM_PROBLEM_ANSWER_NOT_KEPT);
        return;
    }
    rq->kept_close = !rq->body_done || rq->w->draining;
    struct fm_buf b = fm_buf(rq->out[0]->data, rq->out[0]->size);
    fm_buf_add(&b, a->head.p, a->head.n - 2);
    fm_buf_str_add(&b, fm_http_conn_header(rq->conn, rq->kept_close));
    fm_buf_lit(&b, "Fulmar-Ref: ");
    fm_buf_add(&b, rq->ref, FM_REF_LEN);
    fm_buf_lit(&b, "\r\n\r\n");
    if (b.full) {
        fm_relay_problem(rq, FM_PROBLEM_ANSWER_NOT_KEPT);
        return;
    }
    rq->status = a->status;
    rq->head_sent = rq->from_journal = true;
    fm_loop_cancel(&rq->w->loop, &rq->timer);
    struct iovec iov[2] = {{rq->out[0]->data, b.n}, {(void *)(uintptr_t)a->body.p, a->body.n}};
    rq->bytes_out += b.n + a->body.n;
    fm_http_conn_send(rq->conn, iov, a->body.n ? 2 : 1);
}

void fm_relay_sent(struct fm_request *rq)
{
    struct fm_try *t = rq->relay;
    if (rq->from_journal) {
        struct fm_http_conn *c = rq->conn;
        bool close = rq->kept_close;
        fm_request_free(rq);
        fm_http_conn_done(c, close);
        return;
    }
    FM_ASSERT(t && rq->head_sent && !rq->client_gone);
    if (rq->status == 101 && !rq->tunnel) {
        start_tunnel(rq);
        return;
    }
    if (t->piece_is_last && !rq->tunnel)
        finish(rq);
    else if (!rq->tunnel_down_done)
        fm_http_client_body(&t->conn->http,
                            rq->tunnel ? rq->w->config.tunnel_idle_ms : t->w->config.body_idle_ms);
}

void fm_relay_broken(struct fm_request *rq)
{
    struct fm_try *t = rq->relay;
    struct fm_http_conn *c = rq->conn;
    FM_ASSERT(t && t->rq == rq && !t->conn);
    rq->relay = NULL;
    fm_try_finish(t);
    if (!rq->head_sent) { /* the first of its body was malformed: nothing of it was passed on */
        fm_relay_problem(rq, rq->x.repeat == FM_REPEAT_SAFE ? FM_PROBLEM_BAD_ANSWER
                                                            : FM_PROBLEM_OUTCOME_UNKNOWN);
        return;
    }
    if (!rq->tunnel)
        fm_counter_inc(&rq->w->metrics.answers_cut);
    fm_request_free(rq);
    fm_http_conn_abort(c);
}

void fm_relay_cut(struct fm_request *rq)
{
    struct fm_try *t = rq->relay;
    FM_ASSERT(rq->tunnel && t && t->conn);
    fm_counter_inc(&rq->w->metrics.answers_cut);
    fm_upconn_close(t->conn);
    t->conn = NULL;
    fm_relay_broken(rq);
}

/* -------- problems -------- */

void fm_relay_problem(struct fm_request *rq, enum fm_problem p)
{
    fm_relay_problem_as(rq, p, fm_problem_info(p)->status);
}

/* An operator may have something better to say: now, or in the configuration. */
static struct fm_str detail_of(const struct fm_request *rq, enum fm_problem p,
                               char mem[FM_SEATS_MESSAGE_ROOM])
{
    if (p != FM_PROBLEM_READ_ONLY || !rq->seats)
        return fm_problem_info(p)->detail;
    fm_seats_read_message(rq->seats, mem);
    if (mem[0])
        return fm_str_z(mem);
    return rq->route->away_message.n ? rq->route->away_message : fm_problem_info(p)->detail;
}

void fm_relay_problem_as(struct fm_request *rq, enum fm_problem p, unsigned status)
{
    FM_ASSERT(p != FM_PROBLEM_NONE && !rq->relay && status >= 400);
    const struct fm_problem_info *info = fm_problem_info(p);
    struct fm_http_conn *c = rq->conn;
    struct fm_worker *w = rq->w;
    FM_ASSERT(c && !rq->head_sent && !rq->client_gone);
    rq->status = (uint16_t)status;
    rq->problem = (uint8_t)p;
    char headers[256], body[4096], message[FM_SEATS_MESSAGE_ROOM];
    struct fm_buf h = fm_buf(headers, sizeof headers), b = fm_buf(body, sizeof body);
    fm_buf_lit(&h, "Fulmar-Ref: ");
    fm_buf_add(&h, rq->ref, FM_REF_LEN);
    fm_buf_lit(&h, "\r\n");
    if (status == 503 || status == 429)
        fm_buf_lit(&h, "Retry-After: 1\r\n");
    if (w->config.mode == FM_PROXY_GATE) {
        fm_buf_lit(&h, "Fulmar-Problem: ");
        fm_buf_str_add(&h, info->name);
        fm_buf_lit(&h, "\r\nFulmar-Region: ");
        fm_buf_str_add(&h, rq->vr->view->regions[rq->vr->view->self].name);
        fm_buf_lit(&h, "\r\n");
    }
    fm_http_problem_body(&b, status, info->name, detail_of(rq, p, message),
                         fm_str(rq->ref, FM_REF_LEN));
    FM_ASSERT(!h.full && !b.full);
    fm_request_free(rq);
    fm_http_conn_answer(c, status, FM_STR("application/problem+json"), fm_buf_str(&h),
                        fm_buf_str(&b));
}

/* -------- request bodies -------- */

/* A piece of the client's body (or tunnel) is in hand and goes up. */
void fm_relay_client_piece(struct fm_request *rq, struct fm_str piece, bool last)
{
    struct fm_try *t = rq->tunnel ? rq->relay : rq->upload;
    if (!t || !t->conn) {
        /* the answer is already there; the rest of the body is not wanted */
        return;
    }
    FM_ASSERT(t->rq == rq && (rq->tunnel || (rq->streaming && !rq->body_done)));
    if (rq->entered && !rq->relay && !fm_admit_is_live(rq)) {
        fm_try_give_up(t, FM_PROBLEM_OUTCOME_UNKNOWN); /* it is not whole there, and will not be */
        return;
    }
    if (rq->tunnel && !fm_admit_stays(rq)) {
        fm_relay_cut(rq);
        return;
    }
    rq->body_done = last;
    if (rq->tunnel)
        fm_http_client_touch(&t->conn->http);
    if (rq->tunnel && last) {
        rq->tunnel_up_done = true;
        fm_http_client_shutdown(&t->conn->http);
        if (rq->tunnel_down_done)
            finish(rq);
        return;
    }
    if (piece.n)
        fm_try_upload(t, piece);
    else if (!last)
        fm_http_conn_body(rq->conn);
    else if (!rq->tunnel)
        fm_try_all_sent(t);
}

void fm_relay_upload_sent(struct fm_try *t)
{
    struct fm_request *rq = t->rq;
    FM_ASSERT(rq && (!rq->upload || rq->upload == t));
    if (rq->tunnel) {
        FM_ASSERT(rq->relay == t);
        if (!rq->tunnel_up_done)
            fm_http_conn_body(rq->conn);
        return;
    }
    if (!rq->streaming)
        return;
    if (rq->body_done) {
        fm_try_all_sent(t);
        return;
    }
    /* from here on the request cannot be sent again */
    rq->upload = t;
    fm_try_between_pieces(t);
    if (rq->x.replayable) {
        struct fm_exchange_actions none;
        fm_exchange_step(&rq->x, &(struct fm_exchange_event){.kind = FM_EXCHANGE_NOT_REPLAYABLE},
                         &none);
    }
    if (rq->pending.n) {
        FM_ASSERT(!rq->x.replayable);
        struct fm_str piece = rq->pending;
        rq->pending = fm_str(NULL, 0);
        rq->body_done = rq->pending_last;
        fm_try_upload(t, piece);
    } else {
        fm_http_conn_body(rq->conn);
    }
}
