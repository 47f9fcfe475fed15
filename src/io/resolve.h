/* io/resolve.h: names to addresses off the loop.
 *
 * getaddrinfo(3) blocks, with a dead name server for many seconds, so it runs in a few threads of
 * its own: one name that hangs does not hold up the others. Answers come back to one loop through
 * its mailbox. Threads work on copies: a question belongs to its owner, and to the resolver only
 * from fm_resolver_ask to `done`, so there are never more questions than owners of them.
 *
 * new, ask and free are called on the thread of the mailbox's loop, and `done` is called there. */
#ifndef FM_IO_RESOLVE_H
#define FM_IO_RESOLVE_H

#include "io/addr.h"
#include "io/mailbox.h"

enum { FM_LOOKUP_ADDRS_MAX = 64, FM_LOOKUP_NAME_MAX = 255, FM_RESOLVER_THREADS = 4 };

struct fm_resolver;

struct fm_lookup {
    struct fm_lookup *next; /* the resolver's, while busy */
    char name[FM_LOOKUP_NAME_MAX + 1];
    uint16_t port;
    bool busy; /* between fm_resolver_ask and `done`: not to be changed, moved or freed */
    enum fm_err result;
    size_t n;
    struct fm_addr addr[FM_LOOKUP_ADDRS_MAX]; /* sorted, without doubles */
    char why[96];                             /* where it failed */
    void (*done)(struct fm_lookup *q);        /* may ask again */
};

/* Starts no thread yet. `to` outlives the resolver: close it after fm_resolver_free. */
struct fm_resolver *fm_resolver_new(struct fm_mailbox *to, struct fm_error *e) FM_WARN_UNUSED;
/* Does not wait for lookups that hang. From here on no `done` is called and no question is touched,
 * whatever its state; who owns one may free it. NULL is allowed. */
void fm_resolver_free(struct fm_resolver *r);

/* q->name, q->port and q->done are set. Where no thread can be started `done` comes with
 * FM_ERR_LIMIT. */
void fm_resolver_ask(struct fm_resolver *r, struct fm_lookup *q);

#endif
