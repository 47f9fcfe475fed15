/* io/sock_turn.h: what the loop calls in each turn, and what TLS needs of a socket; private to
 * src/io. */
#ifndef FM_IO_SOCK_TURN_H
#define FM_IO_SOCK_TURN_H

#include "io/sock.h"

/* Deliver the completions that are deferred now; new ones wait for the next call. */
void fm_sock_deliver(struct fm_loop *l);
/* Tell the owners of sockets that were closed. */
void fm_sock_bury(struct fm_loop *l);

/* The kernel's bytes, as they are on the wire: what recv and sendmsg return, or -errno. A receive
 * keeps FM_SOCK_READABLE and recv_age_ns true, and is -EAGAIN without asking the kernel where there
 * is nothing as far as the loop knows. */
ssize_t fm_sock_raw_recv(struct fm_sock *s, void *to, size_t room);
ssize_t fm_sock_raw_send(struct fm_sock *s, const struct iovec *iov, unsigned n);

#endif
