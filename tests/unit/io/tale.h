/* tests/unit/io/tale.h: sockets that remember what they were told, each with a peer. */
#ifndef FM_TESTS_UNIT_IO_TALE_H
#define FM_TESTS_UNIT_IO_TALE_H

#include "net.h"

enum { TALE_BLOCK = 4096, FOREVER = 3600 * 1000 };

struct tale {
    struct fm_sock sock;
    unsigned received, sent, connected, nudged, closed, lost;
    ssize_t recv_result;
    int send_result, connect_result;
    struct fm_block *block; /* of the last receive */
    bool inside;            /* a submission is running: no completion may come */
    struct tale *closes;    /* what a receive closes */
};

extern struct net net;
extern struct tale t, u;
extern struct peer p, q;

extern const struct fm_sock_ops tale_ops;
void tale_received(struct fm_sock *s, struct fm_block *b, ssize_t n);

int tale_setup(void **state);
int tale_teardown(void **state);

#define with_tale(fn) fm_test_with(fn, tale_setup, tale_teardown)

struct fm_mono in_ms(int64_t ms);

/* A socket of the loop and its peer. */
void open_pair(struct tale *of, struct peer *to);
void open_tcp(struct tale *of, struct peer *to, bool stamps);
/* Drop its block, close it if it is open, see it closed; close its peer. */
void finish(struct tale *of, struct peer *to);

void recv_into(struct tale *of, struct fm_block *b, struct fm_mono by);
void send_text(struct tale *of, const char *text, struct fm_mono by);
void drop_block(struct tale *of);

#endif
