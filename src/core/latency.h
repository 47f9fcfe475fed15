/* core/latency.h: running quantiles of latencies, and the delays that follow from them.
 *
 * A small log-linear histogram (four steps per power of two of microseconds) that halves itself
 * from time to time, so that it follows the last few thousand answers. Hedge delays need it fed
 * with what first attempts took by themselves (SAFETY.md rule 22): a hedge that wins would teach
 * that slow regions are fast, and so would leaving out the attempts that a hedge overtook. Pure, no
 * floating point; one owner. */
#ifndef FM_CORE_LATENCY_H
#define FM_CORE_LATENCY_H

#include "base/time.h"

enum { FM_LATENCY_BUCKETS = 112, FM_LATENCY_MEMORY = 8192 };

struct fm_latency {
    uint32_t total;
    uint16_t bucket[FM_LATENCY_BUCKETS];
    uint16_t until_update;
    bool round_up; /* at the next halving: what is rare lives through one, not through all */
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

/* The pace of a region: the mean time between two first bytes of it, each gap counting for as long
 * as it lasts. (Where answers come in heaps, the time between heaps.) FM_PACE_MAX_NS before the
 * first; call it at each first byte, with the time of the one before. */
#define FM_PACE_MAX_NS (60 * FM_NS_PER_S)
int64_t fm_pace_ns(int64_t pace_ns, struct fm_mono last_heard, struct fm_mono now);

/* A region owes answers and has been silent: for longer than the limit and than is usual between
 * its answers, or, where it owes many, for so long that many answers are missing. (With independent
 * arrivals the pace is twice the mean gap, and the chance of missing eight paces is e^-16.) */
struct fm_silence {
    unsigned owed;             /* requests sent and not answered by a single byte */
    struct fm_mono last_heard; /* the last byte of it for this context */
    struct fm_mono oldest;     /* when the oldest of them was sent */
    struct fm_mono awake;      /* who listens was away itself until then */
    int64_t pace_ns;
};
enum { FM_SILENCE_OWED = 4, FM_SILENCE_PACES = 2 };
enum { FM_SILENCE_OWED_MANY = 8, FM_SILENCE_PACES_MANY = 8 };
/* How long after sending a request to look for silence the first time. */
int64_t fm_silence_check_ns(const struct fm_latency *l, const struct fm_hedge_policy *p);
bool fm_is_silent(const struct fm_silence *s, int64_t limit_ns, struct fm_mono now);

/* A loop that came back this much later than planned heard nobody meanwhile. */
static inline bool fm_was_away(int64_t late_ns)
{
    return late_ns >= FM_SILENCE_LEAST_MS * FM_NS_PER_MS;
}

/* A canary that was sent at `sent` and not answered by a byte is taken for lost: alone, so later
 * than the several that a region which is up may owe. */
enum { FM_SILENCE_CANARY = 4 };
bool fm_canary_is_silent(struct fm_mono sent, int64_t limit_ns, struct fm_mono now);

#endif
