/* http/server.h: the server side of HTTP/1.1 connections on a loop.
 *
 * A server belongs to one loop. For each request it calls `request` with the parsed head; from then
 * on the handler owns the connection until it calls fm_http_conn_done (or is told `failed`). It may
 * ask for the body piece by piece (nothing is read ahead of the asking, so a slow consumer slows
 * the sender) and sends the answer with fm_http_conn_send, one send at a time.
 *
 * Views handed to the handler (head, pieces) are valid until it returns, pieces until the next call
 * to fm_http_conn_body or fm_http_conn_done.
 *
 * What is refused before a handler sees it (malformed, too large, too slow) is answered here with
 * application/problem+json and closed; `refused` only tells. Deadlines: header_ms for a TLS
 * handshake and from the first byte of a request, idle_ms between requests, and min_body_bps for
 * bodies in both directions. */
#ifndef FM_HTTP_SERVER_H
#define FM_HTTP_SERVER_H

#include "base/time.h"
#include "http/stream.h"

struct fm_http_conn;
struct fm_http_server;

struct fm_http_handler {
    void (*request)(struct fm_http_conn *c, const struct fm_http_head *h);
    /* A piece of the body that was asked for; `last` with the end of it (the piece may be empty).
     */
    void (*body)(struct fm_http_conn *c, struct fm_str piece, bool last);
    /* All of fm_http_conn_send is with the kernel. */
    void (*sent)(struct fm_http_conn *c);
    /* The connection is lost, or its body is malformed or too slow. The handler lets go: it must
     * not use the connection any more. why->status is 0 where the client is gone. */
    void (*failed)(struct fm_http_conn *c, const struct fm_http_refusal *why);
    /* Optional: something was answered without the handler. */
    void (*refused)(struct fm_http_conn *c, const struct fm_http_refusal *why);
};

struct fm_http_server_config {
    struct fm_http_limits limits;
    int64_t header_ms, idle_ms;
    uint64_t min_body_bps; /* 0 = no minimum */
    bool raw_bodies;       /* pieces keep the framing of chunks */
    bool stamps;           /* the listener has FM_LISTEN_STAMPS */
    struct fm_tls *tls;    /* what new connections speak; NULL for plain. The owner's, at least
                              while connections are accepted */
};

struct fm_http_server {
    struct fm_loop *loop;
    struct fm_http_server_config config; /* may be replaced between requests */
    const struct fm_http_handler *handler;
    void *user;
    struct fm_list conns; /* open ones */
    struct fm_list spare; /* memory to use again */
    size_t nconns;
    bool draining;
    struct fm_http_field *fields;                 /* of the head being parsed */
    void (*closed_one)(struct fm_http_server *s); /* optional: a connection less */
    /* Optional: TLS refused a peer, or its handshake took too long. */
    void (*refused_peer)(struct fm_http_server *s, const struct fm_addr *peer, const char *why);
};

enum fm_http_conn_state {
    FM_CONN_HANDSHAKE, /* of TLS: nothing of HTTP yet */
    FM_CONN_IDLE,      /* no byte of a request yet */
    FM_CONN_HEAD,      /* some bytes of a head */
    FM_CONN_BUSY,      /* with the handler */
    FM_CONN_LINGER,    /* answered; reading what still comes so that the answer is not reset away */
    FM_CONN_CLOSED,
};

struct fm_http_conn {
    struct fm_http_stream s;
    struct fm_http_server *server;
    struct fm_list node;
    struct fm_addr peer;
    char peer_ip[46]; /* of the peer, as text; not terminated */
    uint8_t peer_ip_n;
    uint8_t state;        /* enum fm_http_conn_state */
    bool keep_alive;      /* the client allows it */
    bool expect_continue; /* a 100 is still due */
    bool wants_body;      /* fm_http_conn_body without its piece yet */
    bool answering;       /* bytes of an answer are on their way */
    bool released;        /* the handler has let go; what is sent is ours */
    bool close_after, tunnel, over_limit;
    uint8_t minor, method;
    struct fm_block *out; /* a short answer of our own */
    char *out_heap;       /* a long one */
    struct fm_mono head_deadline;
    struct fm_mono received_at; /* the last bytes, from the kernel */
    struct fm_mono body_asked;
    int64_t body_waited_ns; /* for the client, in this body */
    uint64_t body_bytes;
    int64_t tunnel_idle_ms;
    uint32_t requests;
    int64_t
        head_age_ns; /* with stamps: how long the head had waited in the kernel when it was read */
    struct fm_mono head_at; /* when the head was whole */
    void *data;             /* the handler's */
};

enum fm_err fm_http_server_init(struct fm_http_server *s, struct fm_loop *l,
                                const struct fm_http_server_config *config,
                                const struct fm_http_handler *handler, void *user,
                                struct fm_error *e) FM_WARN_UNUSED;
/* Closes what is open (handlers are told `failed`). Run the loop once more before deinit. */
void fm_http_server_close_all(struct fm_http_server *s);
void fm_http_server_deinit(struct fm_http_server *s);

/* No keep-alive from now on; idle connections are closed. */
void fm_http_server_drain(struct fm_http_server *s);

/* Serve an accepted descriptor; owns it. NULL where that failed. With `over_limit` its first
 * request is answered 503 and nothing else. */
struct fm_http_conn *fm_http_server_accept(struct fm_http_server *s, int fd,
                                           const struct fm_addr *from, bool over_limit);

/* -------- for handlers -------- */

/* Is there a body that has not been read to its end? */
static inline bool fm_http_conn_has_body(const struct fm_http_conn *c)
{
    return !fm_http_body_is_done(&c->s.body);
}

/* The client has ended its stream. To a gate or an application behind one that means: whoever asked
 * has given up. (The kernel joins the end of a stream with data that waits, and stamps both with
 * the later time, so that the age of such a request cannot be trusted either. The end may have come
 * between the event and the receive: hence a look at the kernel, for each request that asks.) */
static inline bool fm_http_conn_hung_up(const struct fm_http_conn *c)
{
    return fm_sock_has_ended(&c->s.sock);
}

/* Ask for the next piece: one call of `body` follows, never from inside this. Answers
 * Expect: 100-continue first. */
void fm_http_conn_body(struct fm_http_conn *c);

/* From here until the answer begins, a client that ends its stream has left: the handler is told
 * `failed`. False where it has left already (the handler is not told; it aborts). */
bool fm_http_conn_watch_end(struct fm_http_conn *c) FM_WARN_UNUSED;

void fm_http_conn_send(struct fm_http_conn *c, const struct iovec *iov, unsigned n);

/* A whole 1xx head, before the answer. Left out where it cannot go out at once; where only a part
 * of it goes out the answer will fail, so that nothing is taken for the rest. */
void fm_http_conn_interim(struct fm_http_conn *c, struct fm_str head);

/* The answer is complete. The connection serves its next request or closes, when the client or
 * `close` wants it or the request's body was not read. */
void fm_http_conn_done(struct fm_http_conn *c, bool close);

/* The Connection header line that an answer to this request needs, with its CRLF, or nothing. */
struct fm_str fm_http_conn_header(const struct fm_http_conn *c, bool close);

/* Throw the connection away; the client sees that the answer was cut short. */
void fm_http_conn_abort(struct fm_http_conn *c);

/* A whole answer at once, then done. `headers` are extra lines, each with its CRLF. For HEAD the
 * body is left out. */
void fm_http_conn_answer(struct fm_http_conn *c, unsigned status, struct fm_str content_type,
                         struct fm_str headers, struct fm_str body);
/* The same with a body of any size from malloc, which is freed. */
void fm_http_conn_answer_heap(struct fm_http_conn *c, unsigned status, struct fm_str content_type,
                              struct fm_str headers, char *body, size_t n);
/* application/problem+json (RFC 9457). `type` is the part behind urn:fulmar:, or empty for
 * about:blank. */
void fm_http_conn_problem(struct fm_http_conn *c, unsigned status, struct fm_str type,
                          struct fm_str headers, struct fm_str detail);

/* From here on the bytes of the client are passed on as they come, until its end (RFC 9110 section
 * 7.8). Pieces come as of a body; `idle_ms` is how long it may be silent. */
void fm_http_conn_to_tunnel(struct fm_http_conn *c, int64_t idle_ms);
void fm_http_conn_shutdown(struct fm_http_conn *c);
/* The other direction was active: its silence is counted anew. */
void fm_http_conn_touch(struct fm_http_conn *c);

/* The connection goes on as something else, elsewhere, and is not this server's any more: from
 * inside `request`, before anything was answered. False where the client has said more than its
 * request, which nobody would hear: answer it. */
bool fm_http_conn_release(struct fm_http_conn *c, struct fm_sock_parcel *out) FM_WARN_UNUSED;

/* The body of a problem, for those who send it themselves. */
struct fm_buf;
void fm_http_problem_body(struct fm_buf *b, unsigned status, struct fm_str type,
                          struct fm_str detail, struct fm_str ref);

#endif
