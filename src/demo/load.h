/* demo/load.h: an open-loop load generator: requests leave by a constant schedule, whatever happens
 * to the ones before, and are timed from when they were due (no coordinated omission: a stall is
 * not hidden by waiting politely). Runs on a thread of its own.
 *
 * Of the bank four in five are queries, one in five is a command with an Idempotency-Key: of twenty
 * two for the ledger and one for a card, which one region may take, and one for a profile, which
 * every region may. Nothing is ever repeated here: a request that fails has failed. */
#ifndef FM_DEMO_LOAD_H
#define FM_DEMO_LOAD_H

#include "base/err.h"
#include "base/time.h"
#include "io/addr.h"

#define FM_LOAD_OUTCOMES(X)                                                                        \
    X(PENDING, "pending")                                                                          \
    X(OK, "ok")                                                                                    \
    X(CONNECT, "connect")                                                                          \
    X(RESET, "reset")                                                                              \
    X(TIMEOUT, "timeout")                                                                          \
    X(MALFORMED, "malformed")                                                                      \
    X(STATUS_4XX, "status_4xx")                                                                    \
    X(STATUS_5XX, "status_5xx")                                                                    \
    X(BACKLOG, "backlog") /* not sent: too many are under way */

enum fm_load_outcome {
#define X(id, name) FM_LOAD_##id,
    FM_LOAD_OUTCOMES(X)
#undef X
        FM_LOAD_OUTCOME_COUNT
};

enum fm_load_mix {
    FM_LOAD_BANK,
    FM_LOAD_SITE,        /* one in five is a command, which one region may take */
    FM_LOAD_SITE_LEDGER, /* ... of the ledger */
    FM_LOAD_LEDGER,      /* nothing else */
};

enum fm_load_kind {
    FM_LOAD_QUERY,
    FM_LOAD_COMMAND,   /* any region may take it */
    FM_LOAD_EXCLUSIVE, /* only the region that holds its cell may take it */
};

const char *fm_load_outcome_name(enum fm_load_outcome o);

/* One request. Written by the load thread, read by others once `outcome` is not PENDING. */
struct fm_load_record {
    int64_t due_ns, done_ns; /* CLOCK_BOOTTIME */
    _Atomic uint8_t outcome;
    uint8_t kind; /* enum fm_load_kind */
    uint16_t status;
    bool debit; /* of the ledger, by 1 */
};

struct fm_load;

/* `run` goes into the keys, `records_max` bounds the requests of the whole run. */
struct fm_load *fm_load_start(const struct fm_addr *to, enum fm_load_mix mix, unsigned rate,
                              uint32_t run, size_t records_max, struct fm_error *e) FM_WARN_UNUSED;
/* No new requests; waits at most `wait_ms` for those under way. */
void fm_load_stop(struct fm_load *l, int64_t wait_ms);
void fm_load_free(struct fm_load *l);

/* How many were sent so far; their records are [0, n). */
size_t fm_load_count(const struct fm_load *l);
/* It has sent all that there is room for: nothing comes any more. */
bool fm_load_is_spent(const struct fm_load *l);
const struct fm_load_record *fm_load_records(const struct fm_load *l);
/* The Idempotency-Key of command number i; terminated. */
void fm_load_key(const struct fm_load *l, size_t i, char out[40]);
/* How late the generator itself was at worst: beyond a few ms its figures are doubtful. */
int64_t fm_load_worst_lag_ns(const struct fm_load *l);

#endif
