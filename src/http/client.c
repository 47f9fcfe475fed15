/* Client connections: see the header. Invariant: after `failed` the handler hears only `closed`. */
#include "http/client.h"

#include "base/assert.h"

#include <errno.h>
#include <stdio.h>

enum { INTERIM_MAX = 16 };

void fm_http_client_close(struct fm_http_client *c)
{
    FM_ASSERT(fm_sock_is_open(&c->s.sock));
    (void)fm_sock_recv_cancel(&c->s.sock);
    fm_http_stream_drop(&c->s);
    fm_sock_close(&c->s.sock);
}

static void fail(struct fm_http_client *c, int err, const char *why)
{
    FM_ASSERT(err <= 0 && why);
    c->wants_head = c->wants_body = c->whole = c->parked = false;
    fm_http_client_close(c);
    c->handler->failed(c, err, why);
}

/* -------- heads -------- */

static void parse_head(struct fm_http_client *c)
{
    struct fm_http_head h;
    struct fm_http_refusal why;
    struct fm_str rest = fm_http_stream_rest(&c->s);
    FM_ASSERT(c->wants_head && !c->wants_body && !c->parked);
    switch (fm_http_parse_response(&c->s.scan, rest.p, rest.n, c->method, c->limits, c->fields, &h,
                                   &why)) {
    case FM_PARSE_BAD:
        fail(c, -EPROTO, why.why);
        return;
    case FM_PARSE_MORE:
        if (!fm_http_stream_more(&c->s, c->deadline))
            fail(c, -EPROTO, "a head larger than the limit");
        return;
    case FM_PARSE_DONE:
        break;
    }
    FM_ASSERT(h.size <= rest.n && h.status >= 100);
    fm_http_stream_use(&c->s, h.size);
    c->s.scan = (struct fm_http_scan){0};
    bool interim = h.status < 200 && h.status != 101;
    if (interim && ++c->interim > INTERIM_MAX) {
        fail(c, -EPROTO, "too many interim answers");
        return;
    }
    if (!interim) {
        c->wants_head = false;
        c->keep_alive = h.keep_alive && h.status != 101;
        fm_http_body_init(&c->s.body, h.framing, h.length, c->limits);
    }
    c->handler->head(c, &h);
    if (interim && c->wants_head && fm_sock_is_open(&c->s.sock)) {
        if (fm_http_stream_has(&c->s))
            fm_sock_nudge(&c->s.sock);
        else if (!fm_http_stream_more(&c->s, c->deadline))
            FM_UNREACHABLE();
    }
}

void fm_http_client_head(struct fm_http_client *c, enum fm_http_method method,
                         struct fm_mono deadline)
{
    FM_ASSERT(!c->wants_head && !c->wants_body && !c->parked && !c->tunnel);
    FM_ASSERT(!fm_http_stream_has(&c->s)); /* an answer before its request is none */
    c->method = (uint8_t)method;
    c->wants_head = true;
    c->any_byte = false;
    c->interim = 0;
    c->keep_alive = false;
    c->deadline = deadline;
    c->s.scan = (struct fm_http_scan){0};
    if (!c->connecting && !fm_http_stream_more(&c->s, deadline))
        FM_UNREACHABLE();
}

void fm_http_client_head_by(struct fm_http_client *c, struct fm_mono deadline)
{
    FM_ASSERT(c->wants_head && !c->parked);
    c->deadline = deadline;
    if (fm_sock_is_receiving(&c->s.sock))
        fm_sock_recv_deadline(&c->s.sock, deadline);
}

/* -------- bodies -------- */

static void give_piece(struct fm_http_client *c)
{
    struct fm_http_refusal why;
    struct fm_str piece;
    FM_ASSERT(c->wants_body && !c->wants_head);
    if (c->whole && fm_http_stream_rest(&c->s).n < c->s.body.left) {
        if (!fm_http_stream_more(&c->s, fm_mono_add_ms(fm_loop_now(c->loop), c->body_ms)))
            FM_UNREACHABLE(); /* it was checked to fit */
        return;
    }
    c->whole = false;
    switch (fm_http_stream_piece(&c->s, c->raw_bodies, &piece, &why)) {
    case FM_BODY_STEP_BAD:
        fail(c, -EPROTO, why.why);
        return;
    case FM_BODY_STEP_MORE:
        if (!fm_http_stream_more(&c->s, fm_mono_add_ms(fm_loop_now(c->loop), c->body_ms)))
            FM_UNREACHABLE();
        return;
    case FM_BODY_STEP_DATA:
    case FM_BODY_STEP_DONE:
        c->wants_body = false;
        c->handler->body(c, piece, fm_http_body_is_done(&c->s.body));
        return;
    }
}

bool fm_http_client_take(struct fm_http_client *c, struct fm_str *body)
{
    struct fm_str rest = fm_http_stream_rest(&c->s);
    FM_ASSERT(!c->wants_head && !c->wants_body);
    if (c->s.body.framing != FM_BODY_LENGTH || rest.n < c->s.body.left)
        return false;
    *body = fm_str(rest.p, (size_t)c->s.body.left);
    fm_http_stream_use(&c->s, body->n);
    c->s.body.left = 0;
    c->s.body.framing = FM_BODY_NONE;
    return true;
}

bool fm_http_client_hold(struct fm_http_client *c, int64_t idle_ms)
{
    FM_ASSERT(!c->whole && idle_ms > 0);
    if (c->s.body.framing != FM_BODY_LENGTH || c->s.body.left > c->loop->pool->block_size)
        return false;
    c->whole = true;
    fm_http_client_body(c, idle_ms);
    return true;
}

void fm_http_client_body(struct fm_http_client *c, int64_t idle_ms)
{
    FM_ASSERT(!c->wants_head && !c->wants_body && fm_http_client_has_body(c));
    FM_ASSERT(fm_http_client_is_open(c) && !c->parked);
    c->wants_body = true;
    c->body_ms = idle_ms;
    if (fm_http_stream_has(&c->s))
        fm_sock_nudge(&c->s.sock);
    else if (!fm_http_stream_more(&c->s, fm_mono_add_ms(fm_loop_now(c->loop), idle_ms)))
        FM_UNREACHABLE();
}

/* -------- completions -------- */

static void client_received(struct fm_sock *sock, struct fm_block *b, ssize_t n)
{
    struct fm_http_client *c = fm_container_of(sock, struct fm_http_client, s.sock);
    FM_ASSERT((c->wants_head || c->wants_body) && !c->connecting);
    fm_http_stream_got(&c->s, b);
    if (n > 0) {
        c->any_byte = true;
        if (c->wants_head)
            parse_head(c);
        else
            give_piece(c);
        return;
    }
    if (n == 0 && c->wants_body && c->s.body.framing == FM_BODY_CLOSE) {
        c->wants_body = false;
        c->s.body.framing = FM_BODY_NONE;
        c->handler->body(c, fm_str(NULL, 0), true);
        return;
    }
    if (n == -EPROTO) { /* a TLS server may refuse us only after our handshake */
        snprintf(c->tls_failure, sizeof c->tls_failure, "TLS: %s", fm_sock_tls_failure(sock));
        fail(c, (int)n, c->tls_failure);
        return;
    }
    fail(c, (int)n, n == 0 ? "the server closed the connection" : "the connection failed");
}

static void client_nudged(struct fm_sock *sock)
{
    struct fm_http_client *c = fm_container_of(sock, struct fm_http_client, s.sock);
    if (fm_sock_is_receiving(sock))
        return;
    if (c->wants_head)
        parse_head(c);
    else if (c->wants_body)
        give_piece(c);
}

static void client_sent(struct fm_sock *sock, int err)
{
    struct fm_http_client *c = fm_container_of(sock, struct fm_http_client, s.sock);
    FM_ASSERT(!c->parked && !c->connecting);
    c->sent_bytes = sock->sent;
    if (!err) {
        c->handler->sent(c);
        return;
    }
    c->cut = true;
    /* An answer may be there although the server does not read on (RFC 9112 section 9.5): the
     * receive that waits for it, or for the rest of it, will tell. */
    if (!c->tunnel && (c->wants_head || (err != -ETIMEDOUT && fm_http_client_has_body(c))))
        return;
    fail(c, err, "the request could not be sent");
}

static void client_connected(struct fm_sock *sock, int err)
{
    struct fm_http_client *c = fm_container_of(sock, struct fm_http_client, s.sock);
    FM_ASSERT(c->connecting && !c->wants_body);
    c->connecting = false;
    if (err == -EPROTO) {
        snprintf(c->tls_failure, sizeof c->tls_failure, "TLS: %s", fm_sock_tls_failure(sock));
        fail(c, err, c->tls_failure);
        return;
    }
    if (err) {
        fail(c, err, "cannot connect");
        return;
    }
    if (c->wants_head && !fm_http_stream_more(&c->s, c->deadline))
        FM_UNREACHABLE();
    c->keep_alive = !c->wants_head; /* else its answer says */
    c->handler->connected(c);
}

static void client_closed(struct fm_sock *sock)
{
    struct fm_http_client *c = fm_container_of(sock, struct fm_http_client, s.sock);
    FM_ASSERT(!c->s.in && !fm_http_client_is_open(c));
    c->handler->closed(c);
}

static void client_lost(struct fm_sock *sock)
{
    struct fm_http_client *c = fm_container_of(sock, struct fm_http_client, s.sock);
    if (c->parked)
        fail(c, 0, "the server closed an idle connection");
}

static const struct fm_sock_ops client_ops = {
    .received = client_received,
    .sent = client_sent,
    .connected = client_connected,
    .nudged = client_nudged,
    .closed = client_closed,
    .lost = client_lost,
};

enum fm_err fm_http_client_open(struct fm_http_client *c, struct fm_loop *l,
                                const struct fm_addr *to, struct fm_mono deadline,
                                const struct fm_http_client_handler *handler,
                                const struct fm_http_limits *limits, struct fm_http_field *fields,
                                struct fm_error *e)
{
    FM_ASSERT(handler->head && handler->failed && handler->closed && fields);
    FM_ASSERT(limits->fields <= FM_HTTP_FIELDS_MAX);
    struct fm_http_client set = {.raw_bodies = c->raw_bodies, .tls = c->tls, .peer = c->peer};
    *c = set;
    c->loop = l;
    c->handler = handler;
    c->limits = limits;
    c->fields = fields;
    c->connecting = true;
    if (!c->tls)
        return fm_sock_connect(&c->s.sock, l, to, deadline, &client_ops, e);
    return fm_sock_connect_tls(&c->s.sock, l, to, deadline, c->tls, c->peer, &client_ops, e);
}

void fm_http_client_shake_by(struct fm_http_client *c, struct fm_mono deadline)
{
    FM_ASSERT(c->connecting);
    fm_sock_shake_by(&c->s.sock, deadline);
}

void fm_http_client_send(struct fm_http_client *c, const struct iovec *iov, unsigned n,
                         struct fm_mono deadline)
{
    FM_ASSERT(!c->connecting && !c->parked && !c->cut);
    c->sent_bytes = 0;
    fm_sock_send(&c->s.sock, iov, n, deadline);
}

bool fm_http_client_is_reusable(const struct fm_http_client *c)
{
    return c->keep_alive && !c->cut && !c->wants_head && !c->wants_body &&
           !fm_http_client_has_body(c) && !fm_http_stream_has(&c->s) &&
           !fm_sock_is_readable(&c->s.sock) && !fm_sock_is_sending(&c->s.sock) &&
           !(c->s.sock.flags & FM_SOCK_EOF);
}

void fm_http_client_park(struct fm_http_client *c)
{
    FM_ASSERT(fm_http_client_is_reusable(c));
    fm_http_stream_drop(&c->s);
    FM_ASSERT(!c->parked && !fm_sock_is_receiving(&c->s.sock));
    c->parked = true;
    c->s.sock.flags |= FM_SOCK_WATCH_FIN;
}

bool fm_http_client_unpark(struct fm_http_client *c)
{
    FM_ASSERT(c->parked && !c->s.in && fm_http_client_is_open(c));
    c->parked = false;
    return !fm_sock_is_readable(&c->s.sock);
}

void fm_http_client_to_tunnel(struct fm_http_client *c)
{
    FM_ASSERT(!c->wants_head && !c->wants_body && !c->tunnel && !fm_http_client_has_body(c));
    c->s.body.framing = FM_BODY_CLOSE;
    c->tunnel = true;
    c->keep_alive = false;
}

void fm_http_client_touch(struct fm_http_client *c)
{
    if (fm_sock_is_receiving(&c->s.sock))
        fm_sock_recv_deadline(&c->s.sock, fm_mono_add_ms(fm_loop_now(c->loop), c->body_ms));
}

void fm_http_client_shutdown(struct fm_http_client *c)
{
    fm_sock_shutdown(&c->s.sock);
}
