/* base/metrics.h: counters and latency histograms for share-nothing workers.
 *
 * Each has one writer, the worker that owns it; any thread may read. Writes are a relaxed load and
 * store, no locked instruction. Readers merge the workers' copies; a merge taken while a worker
 * writes may miss the last few events, never invents one.
 *
 * The histogram is log-linear: exact below 16, above it 16 steps per power of two, so that a value
 * is known to 1/16 (6.25%). Units are the caller's; latencies are in microseconds here. */
#ifndef FM_BASE_METRICS_H
#define FM_BASE_METRICS_H

#include "base/buf.h"

#include <stdatomic.h>

struct fm_counter {
    _Atomic uint64_t v;
};

static inline void fm_counter_add(struct fm_counter *c, uint64_t n)
{
    atomic_store_explicit(&c->v, atomic_load_explicit(&c->v, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline void fm_counter_inc(struct fm_counter *c)
{
    fm_counter_add(c, 1);
}

static inline void fm_counter_sub(struct fm_counter *c, uint64_t n)
{
    fm_counter_add(c, 0 - n);
}

static inline uint64_t fm_counter_get(const struct fm_counter *c)
{
    return atomic_load_explicit(&c->v, memory_order_relaxed);
}

enum { FM_HIST_SUB_BITS = 4, FM_HIST_OCTAVES = 28 };
enum { FM_HIST_BUCKETS = FM_HIST_OCTAVES << FM_HIST_SUB_BITS };
_Static_assert(FM_HIST_OCTAVES + FM_HIST_SUB_BITS <= 64, "a bucket ends within 64 bits");

struct fm_hist {
    struct fm_counter bucket[FM_HIST_BUCKETS];
    struct fm_counter sum;
};

/* A merged copy, for one reader. */
struct fm_hist_view {
    uint64_t bucket[FM_HIST_BUCKETS];
    uint64_t count, sum;
};

static inline unsigned fm_hist_index(uint64_t v)
{
    if (v < (1u << FM_HIST_SUB_BITS))
        return (unsigned)v;
    unsigned msb = 63u - (unsigned)__builtin_clzll(v);
    unsigned shift = msb - FM_HIST_SUB_BITS;
    unsigned i =
        ((shift + 1) << FM_HIST_SUB_BITS) + (unsigned)(v >> shift & ((1u << FM_HIST_SUB_BITS) - 1));
    return i < FM_HIST_BUCKETS ? i : FM_HIST_BUCKETS - 1;
}

static inline void fm_hist_add(struct fm_hist *h, uint64_t v)
{
    fm_counter_inc(&h->bucket[fm_hist_index(v)]);
    fm_counter_add(&h->sum, v);
}

/* The largest value that falls into bucket i. */
uint64_t fm_hist_upper(unsigned i);

void fm_hist_view_add(struct fm_hist_view *into, const struct fm_hist *h);
/* into -= earlier: what came between two merges of the same histogram. */
void fm_hist_view_sub(struct fm_hist_view *into, const struct fm_hist_view *earlier);

/* The value below which `permille` of the entries lie (upper end of its bucket); 0 when empty. */
uint64_t fm_hist_view_quantile(const struct fm_hist_view *h, unsigned permille);

#endif
