/* io/sock.h: stream sockets with completions and deadlines.
 *
 * The owner embeds struct fm_sock and keeps it until `closed` is called. At most one receive and
 * one send (or connect) are outstanding per socket. Every operation has a deadline, never
 * FM_MONO_NEVER; when it passes, the operation completes with -ETIMEDOUT and the socket stays open
 * (the owner closes it).
 *
 * Receiving takes its block from the loop's pool when there is something to receive, so that an
 * idle connection holds no buffer; or it goes on in a block that the owner already has. The block
 * belongs to the owner from then on.
 *
 * Sending completes when all is handed to the kernel, or at the first error.
 *
 * The same socket carries TLS (io/tls.h): one that connects is `connected` when the handshake is
 * done, one that was accepted asks for it with fm_sock_handshake; then the bytes above are those
 * inside of TLS. */
#ifndef FM_IO_SOCK_H
#define FM_IO_SOCK_H

#include "io/addr.h"
#include "io/loop.h"
#include "io/tls.h"

#include <sys/uio.h>

enum { FM_SOCK_IOV_MAX = 6 };

struct fm_sock;

struct fm_sock_ops {
    /* n > 0: bytes were put behind b->n, which has been advanced by n. n == 0: end of stream, b is
     * the owner's block or NULL. n < 0: -errno; -ETIMEDOUT for the deadline; -ENOBUFS when the pool
     * is empty. */
    void (*received)(struct fm_sock *s, struct fm_block *b, ssize_t n);
    /* 0 or -errno. s->sent says how many bytes the kernel took, also after an error. */
    void (*sent)(struct fm_sock *s, int err);
    /* Of fm_sock_connect and fm_sock_handshake: 0 or -errno; -EPROTO where TLS refuses the peer
     * (fm_sock_tls_failure says why). */
    void (*connected)(struct fm_sock *s, int err);
    /* Optional: what fm_sock_nudge asked for. */
    void (*nudged)(struct fm_sock *s);
    /* The last call for this socket; its memory may go. */
    void (*closed)(struct fm_sock *s);
    /* Optional: the peer is gone (reset, or an error) while nothing was being received. Called
     * once. The end of its stream (FIN) alone calls it only if `watch_fin` is set. */
    void (*lost)(struct fm_sock *s);
};

struct fm_sock {
    struct fm_watch watch; /* first: an event leads here */
    struct fm_loop *loop;
    const struct fm_sock_ops *ops;
    uint16_t flags;
    uint8_t iov_at, iov_n;
    struct fm_block *into; /* of the outstanding receive, or NULL for one of the pool */
    struct iovec iov[FM_SOCK_IOV_MAX];
    size_t sent;
    int send_result;
    struct fm_mono recv_deadline, send_deadline;
    struct fm_timer timer;
    struct fm_mono timer_at;
    struct fm_list pending; /* in loop->deferred or loop->dead */
    struct ssl_st *tls;     /* NULL for a plain connection */
    int64_t recv_age_ns;    /* with stamps: how long the newest byte of the last receive had waited
                               in the kernel; INT64_MAX where the wall clock went back */
};

enum fm_sock_flag {
    FM_SOCK_OPEN = 1,
    FM_SOCK_READABLE = 2,
    FM_SOCK_EOF = 4, /* the kernel told of an end or an error: read until it shows */
    FM_SOCK_RECEIVING = 8,
    FM_SOCK_SENDING = 16,
    FM_SOCK_CONNECTING = 32,
    FM_SOCK_SENT = 64,    /* a send completion is to be delivered */
    FM_SOCK_STAMPS = 128, /* kernel receive times are wanted */
    FM_SOCK_LOST_TOLD = 256,
    FM_SOCK_WATCH_FIN = 512,
    FM_SOCK_RESET = 1024, /* the connection is gone, not only the end of a direction */
    FM_SOCK_NUDGED = 2048,
    FM_SOCK_SHUT = 4096,            /* we have said all: fm_sock_shutdown */
    FM_SOCK_SHAKING = 8192,         /* the TLS handshake is outstanding */
    FM_SOCK_TLS_PENDING = 16384,    /* bytes wait in the TLS state rather than in the kernel */
    FM_SOCK_TLS_WANTS_ROOM = 32768, /* TLS has to write before it can read */
};

/* Take over a connected descriptor (nonblocking, close-on-exec); closed on failure. `stamps`: the
 * descriptor comes from a listener with FM_LISTEN_STAMPS; then recv_age_ns is filled in. */
enum fm_err fm_sock_open(struct fm_sock *s, struct fm_loop *l, int fd, bool stamps,
                         const struct fm_sock_ops *ops, struct fm_error *e) FM_WARN_UNUSED;

/* Create and connect. Errors that are known at once come back here, the others (and success)
 * through `connected`. */
enum fm_err fm_sock_connect(struct fm_sock *s, struct fm_loop *l, const struct fm_addr *to,
                            struct fm_mono deadline, const struct fm_sock_ops *ops,
                            struct fm_error *e) FM_WARN_UNUSED;

/* The same, with TLS: `peer` is the name or address that its certificate must be for. Completes
 * when the handshake is done. */
enum fm_err fm_sock_connect_tls(struct fm_sock *s, struct fm_loop *l, const struct fm_addr *to,
                                struct fm_mono deadline, struct fm_tls *tls, const char *peer,
                                const struct fm_sock_ops *ops, struct fm_error *e) FM_WARN_UNUSED;

/* The handshake may take until then, where the transport stands by the deadline above. Before
 * `connected`. */
void fm_sock_shake_by(struct fm_sock *s, struct fm_mono deadline);

/* TLS on a socket that was accepted, before anything is received; `connected` follows. False
 * without memory. */
bool fm_sock_handshake(struct fm_sock *s, struct fm_tls *tls,
                       struct fm_mono deadline) FM_WARN_UNUSED;

/* Receive at least one byte into `into` behind its n (it must have room), or into a block of the
 * pool where it is NULL. */
void fm_sock_recv(struct fm_sock *s, struct fm_block *into, struct fm_mono deadline);

/* Give up an outstanding receive; it will not complete. Returns the owner's block, if it had one.
 */
struct fm_block *fm_sock_recv_cancel(struct fm_sock *s);

void fm_sock_send(struct fm_sock *s, const struct iovec *iov, unsigned n, struct fm_mono deadline);

/* Hand a few bytes to the kernel at once, outside of the completions; only while no send is
 * outstanding. False where it did not take all of them. Where it took some, the stream is broken
 * and has been shut down: sends that follow fail with -EPIPE. */
bool fm_sock_send_now(struct fm_sock *s, struct fm_str bytes) FM_WARN_UNUSED;

/* Call `nudged` from the loop, in this turn: for an owner that has something to go on with but must
 * not do it from inside a call of its own user. */
void fm_sock_nudge(struct fm_sock *s);

/* Half close: no more will be sent (FIN). */
void fm_sock_shutdown(struct fm_sock *s);

/* Drop all outstanding operations and close; with unread input the kernel resets the connection.
 * `closed` follows at the end of the turn. The block of an outstanding receive is the owner's
 * again. */
void fm_sock_close(struct fm_sock *s);

/* The same, but at once and for the peer to see: what is not sent yet is dropped, and the
 * connection is reset. Inside of TLS nothing is said first. */
void fm_sock_reset(struct fm_sock *s);

/* -------- from one loop to another -------- */

/* A connection between two sockets: nobody's callbacks, no loop; any one thread may have it. */
struct fm_sock_parcel {
    int fd;
    struct ssl_st *tls;
};

/* Takes the connection out of a socket on which nothing is outstanding; `closed` follows at the end
 * of the turn, as of fm_sock_close. */
void fm_sock_release(struct fm_sock *s, struct fm_sock_parcel *out);
/* Goes on with it, on the thread of `l`; closed on failure. What it has received and nobody asked
 * for is not lost. */
enum fm_err fm_sock_adopt(struct fm_sock *s, struct fm_loop *l, const struct fm_sock_parcel *from,
                          const struct fm_sock_ops *ops, struct fm_error *e) FM_WARN_UNUSED;
/* Nobody goes on with it. */
void fm_sock_discard(struct fm_sock_parcel *p);

/* Move the deadline of the outstanding receive, either way. */
void fm_sock_recv_deadline(struct fm_sock *s, struct fm_mono deadline);

static inline bool fm_sock_is_open(const struct fm_sock *s)
{
    return s->flags & FM_SOCK_OPEN;
}

static inline bool fm_sock_is_receiving(const struct fm_sock *s)
{
    return s->flags & FM_SOCK_RECEIVING;
}

static inline bool fm_sock_is_sending(const struct fm_sock *s)
{
    return s->flags & (FM_SOCK_SENDING | FM_SOCK_SENT);
}

/* Bytes (or an end) wait in the kernel for the next receive, as far as the loop knows. */
static inline bool fm_sock_is_readable(const struct fm_sock *s)
{
    return s->flags & (FM_SOCK_READABLE | FM_SOCK_TLS_PENDING);
}

/* The same, asked of the kernel now. */
bool fm_sock_has_input(const struct fm_sock *s);

/* Has the peer ended its stream? Asks the kernel, too, which may know of it since the last event.
 */
bool fm_sock_has_ended(const struct fm_sock *s);

/* -------- listeners -------- */

struct fm_listener {
    struct fm_watch watch;
    struct fm_loop *loop;
    /* A new connection: nonblocking, close-on-exec, TCP_NODELAY. The callee owns fd. */
    void (*accepted)(struct fm_listener *ln, int fd, const struct fm_addr *from);
    struct fm_timer again; /* after EMFILE and the like */
    bool paused, refusing, any_port;
    uint64_t accept_errors;
    struct fm_addr address; /* as bound: with port 0 the real one */
};

enum fm_listen_flag {
    FM_LISTEN_SHARE = 1, /* SO_REUSEPORT, so that each worker can have its own */
    FM_LISTEN_STAMPS =
        2, /* connections keep the kernel's receive times (SO_TIMESTAMPNS, socket(7)) */
    FM_LISTEN_FIRST = 4, /* of those that share: FM_ERR_EXISTS where another process listens, also
                            one that shares; those that follow may share with it */
};

/* Could a server that does not share listen there at this moment? FM_ERR_EXISTS: another one does.
 */
enum fm_err fm_listener_probe(const struct fm_addr *at, struct fm_error *e) FM_WARN_UNUSED;

/* A unix path is created anew with mode 0600. */
enum fm_err fm_listener_open(struct fm_listener *ln, struct fm_loop *l, const struct fm_addr *at,
                             unsigned flags,
                             void (*accepted)(struct fm_listener *, int, const struct fm_addr *),
                             struct fm_error *e) FM_WARN_UNUSED;
/* Harmless where it is not open; allowed from inside `accepted`. A unix path is removed. */
void fm_listener_close(struct fm_listener *ln);
/* While it is open. Connections wait in the kernel's queue meanwhile. */
void fm_listener_pause(struct fm_listener *ln, bool pause);
/* The same, but whoever connects is refused by the kernel, as if nobody listened; the address stays
 * bound, and those that wait in the queue are reset. Not for a port that the kernel chose. */
enum fm_err fm_listener_refuse(struct fm_listener *ln, bool refuse,
                               struct fm_error *e) FM_WARN_UNUSED;

#endif
