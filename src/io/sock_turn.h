/* io/sock_turn.h: what the loop calls in each turn; private to src/io. */
#ifndef FM_IO_SOCK_TURN_H
#define FM_IO_SOCK_TURN_H

#include "io/loop.h"

/* Deliver the completions that are deferred now; new ones wait for the next call. */
void fm_sock_deliver(struct fm_loop *l);
/* Tell the owners of sockets that were closed. */
void fm_sock_bury(struct fm_loop *l);

#endif
