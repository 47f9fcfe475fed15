/* proxy/board.h: what control and workers tell each other about health, without locks.
 *
 * Control (one thread) publishes per (region, context): the share of traffic that it may get and
 * the canary tokens. Workers count per (region, context) what they saw, each in its own memory, and
 * ring an alarm when something failed; control reads the counts, steps core/health.h and publishes
 * again. A board belongs to one configuration; a reload makes a new one that carries the sums over.
 */
#ifndef FM_PROXY_BOARD_H
#define FM_PROXY_BOARD_H

#include "base/assert.h"
#include "base/metrics.h"
#include "core/breaker.h"
#include "core/health.h"
#include "io/mailbox.h"
#include "proxy/keyfiles.h"
#include "proxy/peers.h"
#include "proxy/seats.h"

#include <stdalign.h>

/* Published by control, read by every worker on each request. */
struct fm_board_slot {
    alignas(FM_CACHELINE) _Atomic uint64_t word; /* see fm_board_share and fm_board_epoch */
    _Atomic uint32_t canary;                     /* enum fm_board_canary */
    _Atomic uint32_t in_flight;                  /* the bulkhead */
    _Atomic bool trial;       /* it comes back: canaries go there, and what nobody else can take */
    _Atomic int64_t tried_ns; /* when its last trial began: what is older is no news */
    _Atomic bool unheard;     /* no agent of the region answered the last probe, not even with no */
    _Atomic uint16_t serve;   /* intent, permille: what operators let it have; never health */
};

/* The share (permille) in the low half, in the high half a number that grows with each transition.
 */
static inline uint32_t fm_board_share(uint64_t word)
{
    return (uint32_t)word;
}

static inline uint32_t fm_board_epoch(uint64_t word)
{
    return (uint32_t)(word >> 32);
}

enum fm_board_canary { FM_CANARY_NONE, FM_CANARY_REPEATABLE, FM_CANARY_ANY };

/* Written by one worker. */
struct fm_board_counts {
    alignas(FM_CACHELINE) struct fm_counter outcome[FM_OUTCOME_COUNT];
    struct fm_counter old[FM_OUTCOME_COUNT]; /* of these what was no news */
    struct fm_counter slow, silent, heard, nobody, left, sent;
    struct fm_counter last_sent_ns; /* CLOCK_BOOTTIME, of the last request sent there */
};

struct fm_board_context_stats {
    struct fm_hist latency_us;   /* of answers to clients, from the request's arrival */
    struct fm_counter status[6]; /* by class; [0]: none was sent */
    struct fm_counter commands, queries;
};

struct fm_board {
    struct fm_conf *conf;   /* owned */
    struct fm_peers peers;  /* owned; set before the first view: how hosts know each other */
    struct fm_seats *seats; /* the director's; set with peers. NULL where nothing is exclusive */
    struct fm_keyfiles *keyfiles; /* the same */
    unsigned nregions, ncontexts, nworkers;
    struct fm_board_slot *slot;             /* [region][context] */
    struct fm_board_counts *counts;         /* [worker][region][context] */
    struct fm_board_context_stats *context; /* [worker][context] */
    _Atomic bool alarm;
    struct fm_msg alarm_msg;
    struct fm_mailbox *control; /* where the alarm goes; may be NULL */
    void *owner;                /* for `alarmed` */
    _Atomic uint32_t refs;
};

/* Takes over conf. All regions start with their whole share. `before` may be NULL. `alarmed` runs
 * on control's loop with a reference of the board, which it drops. */
struct fm_board *fm_board_new(struct fm_conf *conf, unsigned nworkers, struct fm_mailbox *control,
                              void (*alarmed)(struct fm_msg *, void *), void *owner,
                              const struct fm_board *before) FM_WARN_UNUSED;
void fm_board_ref(struct fm_board *b);
void fm_board_unref(struct fm_board *b);

static inline struct fm_board_slot *fm_board_slot(const struct fm_board *b, unsigned region,
                                                  unsigned context)
{
    FM_ASSERT(region < b->nregions && context < b->ncontexts);
    return &b->slot[region * b->ncontexts + context];
}

static inline struct fm_board_counts *fm_board_counts(const struct fm_board *b, unsigned worker,
                                                      unsigned region, unsigned context)
{
    FM_ASSERT(worker < b->nworkers && region < b->nregions && context < b->ncontexts);
    return &b->counts[(worker * b->nregions + region) * b->ncontexts + context];
}

/* From a worker: something failed, look now. Costs a load when the alarm is already ringing. */
void fm_board_ring(struct fm_board *b);

/* Sum over the workers. */
struct fm_board_sum {
    uint64_t outcome[FM_OUTCOME_COUNT], old[FM_OUTCOME_COUNT], slow, silent, heard, nobody, left,
        sent, last_sent_ns;
};
void fm_board_sum(const struct fm_board *b, unsigned region, unsigned context,
                  struct fm_board_sum *out);

#endif
