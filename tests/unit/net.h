/* tests/unit/net.h: a loop and raw peers, for tests of what lives on sockets.
 *
 * Everything runs in one thread: who waits turns the loop. A wait ends the test after some real
 * seconds, so that a broken promise is a failure and not a hang. The clock of loops can be moved
 * on, so that a time-out costs no time. */
#ifndef FM_TESTS_UNIT_NET_H
#define FM_TESTS_UNIT_NET_H

#include "test.h"

#include "io/sock.h"

struct net {
    struct fm_pool pool;
    struct fm_loop loop;
};

void net_open(struct net *n, size_t block_size, size_t blocks);
/* All blocks must be back in the pool. */
void net_close(struct net *n);

/* For the loops of this process it is later from now on. */
void net_skip_ms(int64_t ms);

/* Turn for some real milliseconds, to show that something does not happen. */
void net_turn_ms(struct net *n, int64_t ms);

/* Sleep without turning the loop. */
void net_sleep_ms(int64_t ms);

/* A real deadline of a few seconds, and whether it has passed. */
int64_t net_patience(void);
bool net_is_over(int64_t patience);

/* Turn until the condition holds. */
#define NET_UNTIL(n, condition)                                                                    \
    do {                                                                                           \
        int64_t net_end_ = net_patience();                                                         \
        while (!(condition)) {                                                                     \
            if (net_is_over(net_end_))                                                             \
                fail_msg("never: %s", #condition);                                                 \
            fm_loop_turn(&(n)->loop, FM_NS_PER_MS);                                                \
        }                                                                                          \
    } while (0)

/* -------- the other side: a plain nonblocking descriptor -------- */

enum { PEER_ROOM = 128 * 1024 };

struct peer {
    int fd;
    bool ended; /* end of stream */
    int err;    /* ECONNRESET and the like */
    size_t n;   /* bytes received and not dropped */
    char in[PEER_ROOM];
};

/* A listening socket on a free port of the loopback. */
int raw_listen(struct fm_addr *at);

void peer_connect(struct peer *p, const struct fm_addr *to);
/* Take over a descriptor. */
void peer_adopt(struct peer *p, int fd);
void peer_accept(struct net *n, struct peer *p, int listener);
void peer_close(struct peer *p);
/* With a reset. */
void peer_reset(struct peer *p);

/* Hand over all of it, turning the loop where the kernel takes no more. */
void peer_send(struct net *n, struct peer *p, const char *bytes, size_t len);
void peer_say(struct net *n, struct peer *p, const char *text);
/* Read what is there, as far as it fits. */
void peer_poll(struct peer *p);
/* Poll; has exactly this text come, or this at the end of it? */
bool peer_heard(struct peer *p, const char *text);
bool peer_heard_last(struct peer *p, const char *text);
/* Poll; has the stream ended, or been reset? */
bool peer_is_over(struct peer *p);
/* Forget the first `n` bytes. */
void peer_drop(struct peer *p, size_t n);

#endif
