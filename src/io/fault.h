/* io/fault.h: the fault proxy: forwards the connections of one address to another, and can cut
 * them, slow them down or make them lossy, each direction by itself. For demonstrations and drills:
 * a partition between two places of one machine, without root.
 *
 * What TCP makes of a bad network is shown, not the network itself:
 *   cut     no byte and no end of a connection passes, in either way of a connection that stands;
 *           new ones are taken by the kernel and hear nothing. When it heals, what had been said
 *           arrives late, as retransmissions do.
 *   delay   each piece arrives so much later, and never before what was said earlier.
 *   loss    a piece arrives a retransmission (200 ms, then twice that, ...) later.
 *
 * Ownership: the struct is the caller's. Belongs to one loop, from whose pool it takes a block for
 * each piece on its way: at most FM_FAULT_QUEUE_MAX of a direction of a connection, beyond that the
 * sender is made to wait. At most FM_FAULT_PAIRS_MAX connections, more are closed at once. Times in
 * milliseconds, loss in parts per million. Errors: those of a listener. */
#ifndef FM_IO_FAULT_H
#define FM_IO_FAULT_H

#include "base/rand.h"
#include "io/sock.h"

enum { FM_FAULT_PAIRS_MAX = 512, FM_FAULT_QUEUE_MAX = 8 };

enum fm_fault_way {
    FM_FAULT_THERE, /* from who connected to whom it wanted */
    FM_FAULT_BACK,
    FM_FAULT_WAYS
};

/* Zeros: a good network. */
struct fm_fault_rule {
    bool cut;
    int32_t delay_ms, jitter_ms; /* delay_ms up to delay_ms + jitter_ms */
    uint32_t loss_ppm;
};

struct fm_fault {
    struct fm_listener listener; /* listener.address: where it listens */
    struct fm_loop *loop;
    struct fm_addr to;
    struct fm_fault_rule rule[FM_FAULT_WAYS];
    struct fm_rand rand;
    struct fm_list pairs;
    unsigned npairs;               /* connections now */
    uint64_t bytes[FM_FAULT_WAYS]; /* passed on */
};

/* Listens on `at` (TCP or unix); `seed` decides about jitter and loss. */
enum fm_err fm_fault_open(struct fm_fault *f, struct fm_loop *l, const struct fm_addr *at,
                          const struct fm_addr *to, uint64_t seed,
                          struct fm_error *e) FM_WARN_UNUSED;

/* From now on, also for connections that stand. */
void fm_fault_set(struct fm_fault *f, enum fm_fault_way way, const struct fm_fault_rule *r);

/* Resets all connections; the loop buries them at the end of its turn. Harmless where it could not
 * be opened, and a second time. */
void fm_fault_close(struct fm_fault *f);

#endif
