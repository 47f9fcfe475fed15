/* http/client.h: the client side of HTTP/1.1 connections on a loop.
 *
 * The owner embeds struct fm_http_client, sets what is marked `before open` (or leaves it zero),
 * opens it, sends the bytes of a request (head and body are
 * the owner's business), asks for the head of the answer, then for its body piece by piece. Between
 * requests the connection may be parked: it holds no memory then and tells `failed` when the server
 * closes it. One owner, one loop. Views are valid until the handler returns, pieces until the next
 * call. After `failed` or fm_http_client_close the owner waits for `closed` before it frees. */
#ifndef FM_HTTP_CLIENT_H
#define FM_HTTP_CLIENT_H

#include "http/stream.h"

struct fm_http_client;

struct fm_http_client_handler {
    void (*connected)(struct fm_http_client *c);
    void (*sent)(struct fm_http_client *c);
    /* A head; for a 1xx other than 101 another one follows by itself. */
    void (*head)(struct fm_http_client *c, const struct fm_http_head *h);
    void (*body)(struct fm_http_client *c, struct fm_str piece, bool last);
    /* The connection is of no use any more: err is -errno, 0 for an end of stream at a wrong place,
     * -EPROTO for a malformed message or a server that TLS refuses (`why` says what). It is closed;
     * `closed` follows. */
    void (*failed)(struct fm_http_client *c, int err, const char *why);
    void (*closed)(struct fm_http_client *c);
};

struct fm_http_client {
    struct fm_http_stream s;
    struct fm_loop *loop;
    const struct fm_http_client_handler *handler;
    const struct fm_http_limits *limits;
    struct fm_http_field *fields; /* scratch for heads, the owner's, shared by all of a loop */
    struct fm_tls *tls;           /* before open: speak TLS; the owner's until `connected` */
    const char *peer;             /* before open: whose certificate is expected, with tls */
    uint8_t method;               /* of the request whose answer is expected */
    bool connecting, wants_head, wants_body, whole, raw_bodies, tunnel, parked;
    bool keep_alive;         /* the answer allows another request, or nothing was asked yet */
    bool any_byte;           /* of the answer has come */
    bool cut;                /* a send failed: what follows would be taken for the rest of it */
    uint8_t interim;         /* 1xx answers so far */
    struct fm_mono deadline; /* of what is waited for */
    int64_t body_ms;         /* longest silence within a body */
    size_t sent_bytes;       /* of the last send, whether it completed or not */
    char tls_failure[96];    /* what `failed` is told where TLS refuses the server */
};

enum fm_err fm_http_client_open(struct fm_http_client *c, struct fm_loop *l,
                                const struct fm_addr *to, struct fm_mono deadline,
                                const struct fm_http_client_handler *handler,
                                const struct fm_http_limits *limits, struct fm_http_field *fields,
                                struct fm_error *e) FM_WARN_UNUSED;

/* Once the transport stands, which `deadline` is for, a TLS handshake may take until then. While it
 * connects. */
void fm_http_client_shake_by(struct fm_http_client *c, struct fm_mono deadline);

static inline bool fm_http_client_is_open(const struct fm_http_client *c)
{
    return fm_sock_is_open(&c->s.sock);
}

/* Once `connected`. `sent` follows when all is with the kernel. */
void fm_http_client_send(struct fm_http_client *c, const struct iovec *iov, unsigned n,
                         struct fm_mono deadline);

/* Expect an answer to a request of this method; its first byte and its head by `deadline`. */
void fm_http_client_head(struct fm_http_client *c, enum fm_http_method method,
                         struct fm_mono deadline);

/* The head that is expected may take until then. */
void fm_http_client_head_by(struct fm_http_client *c, struct fm_mono deadline);

static inline bool fm_http_client_has_body(const struct fm_http_client *c)
{
    return !fm_http_body_is_done(&c->s.body);
}
/* All of the body, where its length is known and all of it is in hand already; then it is read to
 * its end. The view is valid until the next call. */
bool fm_http_client_take(struct fm_http_client *c, struct fm_str *body);
/* Ask for a body of known length as a single piece. False where it does not fit into a block. */
bool fm_http_client_hold(struct fm_http_client *c, int64_t idle_ms);
/* The next piece; silent for at most `idle_ms`. `body` follows, never from inside this. */
void fm_http_client_body(struct fm_http_client *c, int64_t idle_ms);

/* The answer is read to its end, nothing unexpected came behind it, and both sides keep the
 * connection. */
bool fm_http_client_is_reusable(const struct fm_http_client *c);
void fm_http_client_park(struct fm_http_client *c);
/* False where something has happened to it while it was parked: close it. */
bool fm_http_client_unpark(struct fm_http_client *c);

/* After a 101: bytes as they come, until the end. */
void fm_http_client_to_tunnel(struct fm_http_client *c);
void fm_http_client_shutdown(struct fm_http_client *c);
/* The other direction was active: its silence is counted anew. */
void fm_http_client_touch(struct fm_http_client *c);

/* Drops everything; `closed` follows, `failed` does not. */
void fm_http_client_close(struct fm_http_client *c);

#endif
