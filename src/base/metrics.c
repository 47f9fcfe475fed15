/* Histograms: reading and merging. Writing is inline in the header. */
#include "base/metrics.h"

#include "base/assert.h"

uint64_t fm_hist_upper(unsigned i)
{
    FM_ASSERT(i < FM_HIST_BUCKETS);
    if (i < (1u << FM_HIST_SUB_BITS))
        return i;
    unsigned shift = (i >> FM_HIST_SUB_BITS) - 1;
    uint64_t sub = i & ((1u << FM_HIST_SUB_BITS) - 1);
    uint64_t low = ((UINT64_C(1) << FM_HIST_SUB_BITS) + sub) << shift;
    return low + (UINT64_C(1) << shift) - 1;
}

void fm_hist_view_add(struct fm_hist_view *into, const struct fm_hist *h)
{
    for (unsigned i = 0; i < FM_HIST_BUCKETS; i++) {
        uint64_t n = fm_counter_get(&h->bucket[i]);
        into->bucket[i] += n;
        into->count += n;
    }
    FM_ASSERT(into->count >= into->bucket[0]);
    into->sum += fm_counter_get(&h->sum);
}

void fm_hist_view_sub(struct fm_hist_view *into, const struct fm_hist_view *earlier)
{
    into->count = 0;
    for (unsigned i = 0; i < FM_HIST_BUCKETS; i++) {
        FM_ASSERT(into->bucket[i] >= earlier->bucket[i]);
        into->bucket[i] -= earlier->bucket[i];
        into->count += into->bucket[i];
    }
    into->sum -= fm_min_u64(into->sum, earlier->sum);
}

uint64_t fm_hist_view_quantile(const struct fm_hist_view *h, unsigned permille)
{
    FM_ASSERT(permille <= 1000);
    if (h->count == 0)
        return 0;
    uint64_t rank = (h->count * permille + 999) / 1000;
    uint64_t seen = 0;
    for (unsigned i = 0; i < FM_HIST_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen >= rank && seen > 0)
            return fm_hist_upper(i);
    }
    FM_UNREACHABLE(); /* the buckets add up to the count */
}
