/* core/latency.h: running quantiles of latencies, and the delays that follow from them.
 *
 * A small log-linear histogram (four steps per power of two of microseconds) that halves itself
 * from time to time, so that it follows the last few thousand answers. Feed it with unhedged
 * successes only (SAFETY.md rule 22): a hedge that wins would teach it that slow regions are fast.
 * Pure, no floating point; one owner. */
#ifndef FM_CORE_LATENCY_H
#define FM_CORE_LATENCY_H

#include "base/time.h"

enum { FM_LATENCY_BUCKETS = 112, FM_LATENCY_MEMORY = 8192 };

struct fm_latency {
    uint32_t total;
    uint16_t bucket[FM_LATENCY_BUCKETS];
    uint16_t until_update;
    int64_t p50_ns, p95_ns, p99_ns, p999_ns; /* of the last update; 0 before the first */
};

void fm_latency_add(struct fm_latency *l, int64_t ns);

/* Upper end of the bucket in which the quantile lies; 0 without data. */
int64_t fm_latency_quantile_ns(const struct fm_latency *l, unsigned permille10);

enum fm_hedge_mode { FM_HEDGE_AT_P95, FM_HEDGE_AT_P99, FM_HEDGE_AFTER, FM_HEDGE_OFF };

struct fm_hedge_policy {
    enum fm_hedge_mode mode;
    int64_t after_ns;      /* for FM_HEDGE_AFTER */
    int64_t first_byte_ns; /* the time-out that bounds every delay */
};

enum { FM_HEDGE_LEAST_MS = 5, FM_HEDGE_UNKNOWN_MS = 100 };
enum { FM_SILENCE_LEAST_MS = 10, FM_SILENCE_UNKNOWN_MS = 40 };

/* How long to wait for a first byte before a second region is asked. */
int64_t fm_hedge_delay_ns(const struct fm_latency *l, const struct fm_hedge_policy *p);

/* How long a region that owes several answers may be silent before it is taken for frozen: well
 * past the slowest of its recent answers. INT64_MAX where hedging is off: then nothing is
 * speculated. */
int64_t fm_silence_limit_ns(const struct fm_latency *l, const struct fm_hedge_policy *p);

/* A region owes answers and has been silent: for longer than the limit, or, where it owes many, for
 * so long that many answers are missing which would have come at its usual pace (with independent
 * arrivals the chance of missing sixteen is e^-16). */
struct fm_silence {
    unsigned owed;             /* requests sent and not answered by a single byte */
    struct fm_mono last_heard; /* the last byte of it for this context */
    struct fm_mono oldest;     /* when the oldest of them was sent */
    int64_t gap_ns;            /* running mean of the time between two first bytes of it */
};
enum { FM_SILENCE_OWED = 4, FM_SILENCE_OWED_MANY = 8, FM_SILENCE_MISSED = 16 };
/* How long after sending a request to look for silence the first time. */
int64_t fm_silence_check_ns(const struct fm_latency *l, const struct fm_hedge_policy *p);
bool fm_is_silent(const struct fm_silence *s, int64_t limit_ns, struct fm_mono now);

#endif
