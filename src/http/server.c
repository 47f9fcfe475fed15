/* Server connections. A connection is in one state (FM_CONN_*); while BUSY its handler decides what
 * happens next and this file only moves bytes. Invariants: at most one receive and one send are
 * outstanding; a handler hears `failed` at most once and nothing after it; an answer that was cut
 * short is never followed by another on the same connection. Short answers of our own are in
 * answer.c. */
#include "http/server.h"

#include "base/assert.h"
#include "http/server_answer.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { LINGER_MS = 1000, SEND_GRACE_MS = 10 * 1000, BODY_GRACE_MS = 5 * 1000 };

static struct fm_mono in_ms(const struct fm_http_conn *c, int64_t ms)
{
    return fm_mono_add_ms(fm_loop_now(c->server->loop), ms);
}

/* -------- deadlines of bodies -------- */

/* By when the next byte has to be there so that the average stays above the minimum. Only the time
 * in which we wait for the client counts, not what the handler takes between its pieces. */
static struct fm_mono body_deadline(const struct fm_http_conn *c)
{
    if (c->tunnel)
        return in_ms(c, c->tunnel_idle_ms);
    FM_ASSERT(c->body_waited_ns >= 0);
    struct fm_mono idle = in_ms(c, c->server->config.idle_ms);
    uint64_t bps = c->server->config.min_body_bps;
    if (bps == 0)
        return idle;
    int64_t earned_ms = (int64_t)fm_min_u64(c->body_bytes / bps, INT32_MAX) * 1000;
    struct fm_mono rate = fm_mono_add_ns(in_ms(c, BODY_GRACE_MS + earned_ms), -c->body_waited_ns);
    return fm_mono_min(idle, rate);
}

static void receive_body(struct fm_http_conn *c)
{
    FM_ASSERT(c->state == FM_CONN_BUSY && c->wants_body);
    c->body_asked = fm_loop_now(c->server->loop);
    if (!fm_http_stream_more(&c->s, body_deadline(c)))
        FM_UNREACHABLE(); /* all that was in hand has been used */
}

static struct fm_mono send_deadline(const struct fm_http_conn *c, size_t bytes)
{
    uint64_t bps = c->server->config.min_body_bps;
    int64_t ms = SEND_GRACE_MS;
    if (bps)
        ms += (int64_t)fm_min_u64(bytes * 1000 / bps, INT32_MAX);
    if (c->tunnel && ms < c->tunnel_idle_ms)
        ms = c->tunnel_idle_ms;
    return in_ms(c, ms);
}

/* -------- the end of a connection -------- */

static void close_now(struct fm_http_conn *c)
{
    FM_ASSERT(c->state != FM_CONN_CLOSED);
    c->state = FM_CONN_CLOSED;
    (void)fm_sock_recv_cancel(&c->s.sock);
    fm_http_stream_drop(&c->s);
    fm_http_conn_free_answer(c);
    fm_sock_close(&c->s.sock);
}

static void conn_closed(struct fm_sock *sock)
{
    struct fm_http_conn *c = fm_container_of(sock, struct fm_http_conn, s.sock);
    struct fm_http_server *s = c->server;
    FM_ASSERT(s->nconns > 0 && c->state == FM_CONN_CLOSED);
    FM_ASSERT(!c->s.in && !c->out && !c->out_heap);
    fm_list_remove(&c->node);
    fm_list_push_front(&s->spare, &c->node);
    s->nconns--;
    if (s->closed_one)
        s->closed_one(s);
}

/* Tell the handler, once, that the connection is of no use any more. */
static void fail(struct fm_http_conn *c, const struct fm_http_refusal *why)
{
    if (c->state != FM_CONN_BUSY || c->released)
        return;
    c->released = true;
    c->server->handler->failed(c, why);
}

static void lose(struct fm_http_conn *c, const char *why)
{
    struct fm_http_refusal r = {0, why};
    fail(c, &r);
    close_now(c);
}

static void start_linger(struct fm_http_conn *c)
{
    FM_ASSERT(c->state == FM_CONN_BUSY && !c->out && !c->out_heap);
    c->state = FM_CONN_LINGER;
    fm_sock_shutdown(&c->s.sock);
    (void)fm_sock_recv_cancel(&c->s.sock);
    fm_http_stream_drop(&c->s);
    c->head_deadline = in_ms(c, LINGER_MS);
    fm_sock_recv(&c->s.sock, NULL, c->head_deadline);
}

/* Answer without a handler and close. */
static void refuse(struct fm_http_conn *c, const struct fm_http_refusal *why)
{
    FM_ASSERT(c->state != FM_CONN_CLOSED && c->state != FM_CONN_LINGER);
    FM_ASSERT(why->status >= 400 && why->why);
    if (c->server->handler->refused)
        c->server->handler->refused(c, why);
    if (c->answering || fm_sock_is_sending(&c->s.sock)) {
        close_now(c);
        return;
    }
    c->state = FM_CONN_BUSY;
    c->released = true;
    c->close_after = true;
    fm_http_conn_problem(c, why->status, FM_STR(""), FM_STR(""), fm_str_z(why->why));
}

/* The handler is told first; it may not touch the connection in `failed`. */
static void fail_and_refuse(struct fm_http_conn *c, const struct fm_http_refusal *why)
{
    fail(c, why);
    refuse(c, why);
}

/* -------- requests -------- */

static void handle_head(struct fm_http_conn *c, const struct fm_http_head *h)
{
    FM_ASSERT((c->state == FM_CONN_IDLE || c->state == FM_CONN_HEAD) && !c->released);
    c->state = FM_CONN_BUSY;
    c->minor = (uint8_t)h->minor;
    c->method = h->method;
    c->keep_alive = h->keep_alive && !c->server->draining;
    c->expect_continue = h->expect_continue;
    c->requests++;
    c->head_at = fm_loop_now(c->server->loop);
    c->body_bytes = 0;
    c->body_waited_ns = 0;
    c->head_age_ns = c->s.sock.recv_age_ns;
    if (c->head_age_ns != INT64_MAX) /* it may have waited here, behind another request */
        c->head_age_ns += fm_mono_sub_ns(c->head_at, c->received_at);
    fm_http_body_init(&c->s.body, h->framing, h->length, &c->server->config.limits);
    fm_http_stream_use(&c->s, h->size);
    if (c->over_limit) {
        c->close_after = true;
        fm_http_conn_problem(c, 503, FM_STR("overloaded"), FM_STR("Retry-After: 1\r\n"),
                             FM_STR("too many connections are open; try again"));
        return;
    }
    c->server->handler->request(c, h);
    /* it may have thrown the connection away, but the memory stays until the end of the turn */
    if (c->state == FM_CONN_BUSY)
        fm_http_stream_tidy(&c->s); /* who waits for an answer holds no block */
}

/* So far nothing but empty lines, as some clients send them behind a body: still between requests,
 * where silence is answered by closing and not by 408, which could be taken for the answer to a
 * request that is on its way. */
static bool is_empty_lines(struct fm_str s)
{
    size_t i = 0;
    while (i < s.n && (s.p[i] == '\r' || s.p[i] == '\n'))
        i++;
    return i == s.n;
}

static void parse_head(struct fm_http_conn *c)
{
    struct fm_http_server *s = c->server;
    struct fm_http_head h;
    struct fm_http_refusal why;
    struct fm_str rest = fm_http_stream_rest(&c->s);
    FM_ASSERT(c->state == FM_CONN_IDLE || c->state == FM_CONN_HEAD);
    enum fm_http_parse r =
        fm_http_parse_request(&c->s.scan, rest.p, rest.n, &s->config.limits, s->fields, &h, &why);
    if (r == FM_PARSE_DONE) {
        handle_head(c, &h);
        return;
    }
    if (r == FM_PARSE_MORE) {
        if (c->state == FM_CONN_IDLE && !is_empty_lines(rest)) {
            c->state = FM_CONN_HEAD;
            c->head_deadline = in_ms(c, s->config.header_ms);
        }
        if (fm_http_stream_more(&c->s, c->head_deadline))
            return;
        why = (struct fm_http_refusal){431, "a header section larger than the limit"};
    }
    refuse(c, &why);
}

static void next_request(struct fm_http_conn *c)
{
    FM_ASSERT(c->state != FM_CONN_CLOSED && !c->out && !c->out_heap);
    FM_ASSERT(fm_http_body_is_done(&c->s.body) && !c->wants_body);
    c->state = FM_CONN_IDLE;
    c->s.scan = (struct fm_http_scan){0};
    c->wants_body = c->answering = c->released = c->close_after = c->tunnel = false;
    c->method = FM_METHOD_OTHER; /* a refusal of what comes is no answer to HEAD */
    c->data = NULL;
    c->head_deadline = in_ms(c, c->server->config.idle_ms);
    if (fm_http_stream_has(&c->s)) {
        parse_head(c);
        return;
    }
    fm_http_stream_drop(&c->s);
    fm_sock_recv(&c->s.sock, NULL, c->head_deadline);
}

static void head_not_received(struct fm_http_conn *c, ssize_t n)
{
    struct fm_http_refusal why;
    if (n == -ETIMEDOUT && c->state == FM_CONN_HEAD)
        why = (struct fm_http_refusal){408, "the request took too long to arrive"};
    else if (n == -ENOBUFS)
        why = (struct fm_http_refusal){503, "out of buffers"};
    else {
        close_now(c);
        return;
    }
    refuse(c, &why);
}

/* -------- bodies -------- */

static void give_piece(struct fm_http_conn *c)
{
    struct fm_http_refusal why;
    struct fm_str piece;
    FM_ASSERT(c->wants_body && !c->released && c->state == FM_CONN_BUSY);
    switch (fm_http_stream_piece(&c->s, c->server->config.raw_bodies, &piece, &why)) {
    case FM_BODY_STEP_BAD:
        c->wants_body = false;
        fail_and_refuse(c, &why);
        return;
    case FM_BODY_STEP_MORE:
        receive_body(c);
        return;
    case FM_BODY_STEP_DATA:
    case FM_BODY_STEP_DONE:
        c->wants_body = false;
        c->server->handler->body(c, piece, fm_http_body_is_done(&c->s.body));
        return;
    }
}

static void body_received(struct fm_http_conn *c, ssize_t n)
{
    FM_ASSERT(c->wants_body);
    c->body_waited_ns += fm_mono_sub_ns(fm_loop_now(c->server->loop), c->body_asked);
    if (n > 0) {
        c->body_bytes += (uint64_t)n;
        give_piece(c);
    } else if (n == 0 && c->tunnel) {
        c->wants_body = false;
        c->s.body.framing = FM_BODY_NONE;
        c->server->handler->body(c, fm_str(NULL, 0), true);
    } else if (!c->tunnel && (n == -ETIMEDOUT || n == -ENOBUFS)) {
        c->wants_body = false;
        struct fm_http_refusal why = {503, "out of buffers"};
        if (n == -ETIMEDOUT)
            why = (struct fm_http_refusal){408, "the body came too slowly"};
        fail_and_refuse(c, &why);
    } else {
        lose(c, n == 0 ? "the client ended in the middle of its request" : "the client is gone");
    }
}

static void conn_received(struct fm_sock *sock, struct fm_block *b, ssize_t n)
{
    struct fm_http_conn *c = fm_container_of(sock, struct fm_http_conn, s.sock);
    struct fm_mono now = fm_loop_now(c->server->loop);
    fm_http_stream_got(&c->s, b);
    c->received_at = now;
    switch ((enum fm_http_conn_state)c->state) {
    case FM_CONN_LINGER:
        fm_http_stream_drop(&c->s);
        if (n > 0 && fm_mono_before(now, c->head_deadline))
            fm_sock_recv(&c->s.sock, NULL, c->head_deadline);
        else
            close_now(c);
        return;
    case FM_CONN_IDLE:
    case FM_CONN_HEAD:
        if (n > 0)
            parse_head(c);
        else
            head_not_received(c, n);
        return;
    case FM_CONN_BUSY:
        body_received(c, n);
        return;
    case FM_CONN_HANDSHAKE:
    case FM_CONN_CLOSED:
        FM_UNREACHABLE();
    }
}

/* An interim answer. One that cannot go out at once is left out, which its sender may do (RFC 9110
 * sections 10.1.1 and 15.2); one that went out in part lets everything behind it fail. */
static void say_now(struct fm_http_conn *c, struct fm_str head)
{
    bool said = fm_sock_send_now(&c->s.sock, head);
    (void)said;
}

void fm_http_conn_body(struct fm_http_conn *c)
{
    FM_ASSERT(c->state == FM_CONN_BUSY && !c->wants_body && fm_http_conn_has_body(c));
    c->wants_body = true;
    if (fm_http_stream_has(&c->s)) {
        fm_sock_nudge(&c->s.sock); /* what is in hand is given from the loop */
        return;
    }
    if (c->expect_continue && !c->answering) {
        c->expect_continue = false;
        say_now(c, FM_STR("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    receive_body(c);
}

static void conn_nudged(struct fm_sock *sock)
{
    struct fm_http_conn *c = fm_container_of(sock, struct fm_http_conn, s.sock);
    if (c->state == FM_CONN_BUSY && c->wants_body && !fm_sock_is_receiving(sock))
        give_piece(c);
}

bool fm_http_conn_watch_end(struct fm_http_conn *c)
{
    FM_ASSERT(c->state == FM_CONN_BUSY && !c->wants_body && !c->answering && !c->released);
    c->s.sock.flags |= FM_SOCK_WATCH_FIN;
    return !fm_sock_has_ended(&c->s.sock);
}

/* -------- answers -------- */

void fm_http_conn_send(struct fm_http_conn *c, const struct iovec *iov, unsigned n)
{
    FM_ASSERT(c->state == FM_CONN_BUSY && !fm_sock_is_sending(&c->s.sock));
    size_t bytes = 0;
    for (unsigned i = 0; i < n; i++)
        bytes += iov[i].iov_len;
    c->answering = true;
    c->s.sock.flags &= (uint16_t)~FM_SOCK_WATCH_FIN;
    fm_sock_send(&c->s.sock, iov, n, send_deadline(c, bytes));
}

void fm_http_conn_interim(struct fm_http_conn *c, struct fm_str head)
{
    FM_ASSERT(c->state == FM_CONN_BUSY && !c->answering);
    if (!fm_sock_is_sending(&c->s.sock))
        say_now(c, head);
}

void fm_http_conn_done(struct fm_http_conn *c, bool close)
{
    FM_ASSERT(c->state == FM_CONN_BUSY && !fm_sock_is_sending(&c->s.sock));
    fm_http_conn_free_answer(c);
    bool unread = fm_http_conn_has_body(c) || c->wants_body;
    if (close || c->close_after || unread || !c->keep_alive || c->server->draining)
        start_linger(c);
    else
        next_request(c);
}

void fm_http_conn_abort(struct fm_http_conn *c)
{
    FM_ASSERT(c->state == FM_CONN_BUSY);
    close_now(c);
}

static void conn_sent(struct fm_sock *sock, int err)
{
    struct fm_http_conn *c = fm_container_of(sock, struct fm_http_conn, s.sock);
    FM_ASSERT(c->state == FM_CONN_BUSY && c->answering);
    if (err)
        lose(c, err == -ETIMEDOUT ? "the client read too slowly" : "the client is gone");
    else if (c->released)
        fm_http_conn_done(c, false);
    else
        c->server->handler->sent(c);
}

static void conn_lost(struct fm_sock *sock)
{
    struct fm_http_conn *c = fm_container_of(sock, struct fm_http_conn, s.sock);
    if (c->state == FM_CONN_BUSY)
        lose(c, "the client is gone");
}

static void conn_connected(struct fm_sock *sock, int err)
{
    struct fm_http_conn *c = fm_container_of(sock, struct fm_http_conn, s.sock);
    struct fm_http_server *s = c->server;
    FM_ASSERT(c->state == FM_CONN_HANDSHAKE);
    if (!err) {
        next_request(c);
        return;
    }
    if (s->refused_peer && (err == -EPROTO || err == -ETIMEDOUT))
        s->refused_peer(s, &c->peer,
                        err == -ETIMEDOUT ? "no handshake in time" : fm_sock_tls_failure(sock));
    close_now(c);
}

static const struct fm_sock_ops conn_ops = {
    .received = conn_received,
    .sent = conn_sent,
    .connected = conn_connected,
    .nudged = conn_nudged,
    .closed = conn_closed,
    .lost = conn_lost,
};

void fm_http_conn_to_tunnel(struct fm_http_conn *c, int64_t idle_ms)
{
    FM_ASSERT(c->state == FM_CONN_BUSY && !c->wants_body && !fm_http_conn_has_body(c));
    FM_ASSERT(!c->tunnel && !c->released && idle_ms > 0);
    c->tunnel = true;
    c->tunnel_idle_ms = idle_ms;
    c->close_after = true;
    c->s.body.framing = FM_BODY_CLOSE;
}

void fm_http_conn_touch(struct fm_http_conn *c)
{
    FM_ASSERT(c->state == FM_CONN_BUSY && c->tunnel);
    if (fm_sock_is_receiving(&c->s.sock))
        fm_sock_recv_deadline(&c->s.sock, body_deadline(c));
}

void fm_http_conn_shutdown(struct fm_http_conn *c)
{
    FM_ASSERT(c->state == FM_CONN_BUSY && c->tunnel);
    fm_sock_shutdown(&c->s.sock);
}

bool fm_http_conn_release(struct fm_http_conn *c, struct fm_sock_parcel *out)
{
    FM_ASSERT(c->state == FM_CONN_BUSY && !c->answering && !c->wants_body && !c->released);
    if (fm_http_conn_has_body(c) || fm_http_stream_has(&c->s))
        return false;
    c->state = FM_CONN_CLOSED;
    fm_http_stream_drop(&c->s);
    fm_sock_release(&c->s.sock, out);
    return true;
}

/* -------- the server -------- */

enum fm_err fm_http_server_init(struct fm_http_server *s, struct fm_loop *l,
                                const struct fm_http_server_config *config,
                                const struct fm_http_handler *handler, void *user,
                                struct fm_error *e)
{
    FM_ASSERT(config->limits.head_bytes <= l->pool->block_size);
    FM_ASSERT(config->limits.fields > 0 && config->limits.fields <= FM_HTTP_FIELDS_MAX);
    FM_ASSERT(config->header_ms > 0 && config->idle_ms > 0);
    FM_ASSERT(handler->request && handler->body && handler->sent && handler->failed);
    *s = (struct fm_http_server){.loop = l, .config = *config, .handler = handler, .user = user};
    fm_list_init(&s->conns);
    fm_list_init(&s->spare);
    s->fields = calloc(FM_HTTP_FIELDS_MAX, sizeof s->fields[0]);
    if (!s->fields)
        return fm_error_set(e, FM_ERR_MEMORY, "no memory for an HTTP server");
    return FM_ERR_OK;
}

struct fm_http_conn *fm_http_server_accept(struct fm_http_server *s, int fd,
                                           const struct fm_addr *from, bool over_limit)
{
    struct fm_http_conn *c = fm_list_first(&s->spare, struct fm_http_conn, node);
    if (c)
        fm_list_remove(&c->node);
    else
        c = malloc(sizeof *c);
    if (!c) {
        close(fd);
        return NULL;
    }
    memset(c, 0, sizeof *c);
    fm_list_init(&c->node);
    c->server = s;
    c->peer = *from;
    char ip[FM_ADDR_TEXT_MAX];
    size_t n = fm_addr_format_ip(from, ip);
    c->peer_ip_n = (uint8_t)fm_min_size(n, sizeof c->peer_ip);
    memcpy(c->peer_ip, ip, c->peer_ip_n);
    if (fm_sock_open(&c->s.sock, s->loop, fd, s->config.stamps, &conn_ops, NULL)) {
        fm_list_push_front(&s->spare, &c->node);
        return NULL;
    }
    c->over_limit = over_limit;
    fm_list_push_back(&s->conns, &c->node);
    s->nconns++;
    if (!s->config.tls) {
        next_request(c);
        return c;
    }
    c->state = FM_CONN_HANDSHAKE;
    if (fm_sock_handshake(&c->s.sock, s->config.tls, in_ms(c, s->config.header_ms)))
        return c;
    close_now(c);
    return NULL;
}

void fm_http_server_drain(struct fm_http_server *s)
{
    s->draining = true;
    fm_list_each_safe (at, next, &s->conns) {
        struct fm_http_conn *c = fm_container_of(at, struct fm_http_conn, node);
        /* a request that has arrived is answered, and told that it was the last */
        bool idle = c->state == FM_CONN_IDLE && !fm_sock_has_input(&c->s.sock);
        if (idle || c->state == FM_CONN_HANDSHAKE)
            close_now(c);
    }
}

void fm_http_server_close_all(struct fm_http_server *s)
{
    fm_list_each_safe (at, next, &s->conns) {
        struct fm_http_conn *c = fm_container_of(at, struct fm_http_conn, node);
        if (c->state != FM_CONN_CLOSED)
            lose(c, "the server closes its connections");
    }
}

void fm_http_server_deinit(struct fm_http_server *s)
{
    FM_ASSERT(s->nconns == 0 && fm_list_empty(&s->conns));
    while (!fm_list_empty(&s->spare)) {
        struct fm_http_conn *c = fm_list_first(&s->spare, struct fm_http_conn, node);
        fm_list_remove(&c->node);
        free(c);
    }
    free(s->fields);
    s->fields = NULL;
}
