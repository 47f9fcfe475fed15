/* io/tls.h: TLS under sockets (io/sock.h), by OpenSSL.
 *
 * A struct fm_tls is one side's settings: whom it trusts, who it is. It is made once, shared by all
 * threads and never changed; a reload makes another one, and connections keep the one that they
 * began with. Versions: TLS 1.2 and 1.3 (RFC 8446), ciphers as OpenSSL's defaults have them, no
 * renegotiation, no compression, no session tickets from our servers.
 *
 * Between hosts of a service TLS is mutual: both sides show a certificate of the service's own
 * authority, and who connects checks the name of the host that it meant to reach (RFC 9525). */
#ifndef FM_IO_TLS_H
#define FM_IO_TLS_H

#include "base/err.h"
#include "base/str.h"

#include <sys/types.h>
#include <sys/uio.h>

struct fm_sock;
struct fm_tls;

enum fm_tls_side { FM_TLS_CLIENT, FM_TLS_SERVER };

/* Paths of PEM files. `ca` NULL: a client trusts the system's authorities, a server asks nobody for
 * a certificate. `cert` (the leaf first, then the chain) and `key` go together; a server needs
 * them. A key that others may read is refused. */
struct fm_tls_files {
    const char *ca, *cert, *key;
};

/* One reference, the caller's. FM_ERR_INVALID with the file and what is wrong with it. */
enum fm_err fm_tls_new(struct fm_tls **out, enum fm_tls_side side, const struct fm_tls_files *files,
                       struct fm_error *e) FM_WARN_UNUSED;
struct fm_tls *fm_tls_ref(struct fm_tls *t);
void fm_tls_unref(struct fm_tls *t); /* NULL is fine */

/* -------- for io/sock.c -------- */

struct ssl_st;

/* The TLS state of a connection; a client expects a certificate for `peer`: a name or an address.
 * NULL without memory. */
struct ssl_st *fm_tls_attach(struct fm_tls *t, struct fm_sock *s, const char *peer);
/* Tells the peer (close_notify) where the stream is in order, and frees. */
void fm_tls_detach(struct ssl_st *ssl);
/* Frees without a word to the peer; also of one that belongs to no socket. */
void fm_tls_discard(struct ssl_st *ssl);
/* Nothing is said to the peer at the end. */
void fm_tls_mute(struct ssl_st *ssl);
/* It belongs to another socket from now on, or (NULL) to none. Does it hold bytes that came and
 * were not read? */
bool fm_tls_move(struct ssl_st *ssl, struct fm_sock *s);

/* 0: done; -EAGAIN: when there is more to read, or room to write. */
int fm_tls_handshake(struct fm_sock *s);
/* Like recv and sendmsg, but -errno: -EAGAIN as above, -EPROTO for what TLS refuses, -ECONNRESET
 * for an end without the peer's close_notify. */
ssize_t fm_tls_recv(struct fm_sock *s, void *to, size_t room);
ssize_t fm_tls_send(struct fm_sock *s, const struct iovec *iov, unsigned n);
/* Half close: close_notify. */
void fm_tls_end(struct ssl_st *ssl);

/* -------- of a connection -------- */

/* Why its handshake failed, for people; empty where it did not. Valid until the socket closes. */
const char *fm_sock_tls_failure(const struct fm_sock *s);
/* The first DNS name of the peer's verified certificate, put into `name`; false where it has none.
 */
bool fm_sock_peer_name(const struct fm_sock *s, char *name, size_t size);

#endif
