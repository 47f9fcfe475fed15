/* io/resolve.h: names to addresses off the loop.
 *
 * getaddrinfo(3) blocks, so it runs in a thread of its own; the answer comes back to the asking
 * loop as a message. One thread serves all who ask, one after the other; there are never more
 * questions than there are owners of struct fm_lookup. */
#ifndef FM_IO_RESOLVE_H
#define FM_IO_RESOLVE_H

#include "io/addr.h"
#include "io/mailbox.h"

enum { FM_LOOKUP_ADDRS_MAX = 64, FM_LOOKUP_NAME_MAX = 255 };

struct fm_resolver;

struct fm_lookup {
    struct fm_msg msg;
    struct fm_lookup *next;
    struct fm_mailbox *to;
    char name[FM_LOOKUP_NAME_MAX + 1];
    uint16_t port;
    bool busy; /* between fm_resolver_ask and `done`: the resolver's */
    enum fm_err result;
    size_t n;
    struct fm_addr addr[FM_LOOKUP_ADDRS_MAX]; /* sorted, without doubles */
    char why[96];                             /* where it failed */
    void (*done)(struct fm_lookup *q);        /* on the loop of `to` */
};

struct fm_resolver *fm_resolver_new(struct fm_error *e) FM_WARN_UNUSED;
/* Waits for the question that is being answered. Answers that were posted by then are still in
 * their mailboxes: fm_mailbox_deliver before a lookup is freed. The others are not answered. */
void fm_resolver_free(struct fm_resolver *r);

void fm_resolver_ask(struct fm_resolver *r, struct fm_lookup *q);

#endif
