/* base/rand.h: a small seeded generator (SplitMix64). Pure: the caller holds the state, so that the
 * same seed gives the same run. Not for secrets; those come from fm_rand_bytes. */
#ifndef FM_BASE_RAND_H
#define FM_BASE_RAND_H

#include "base/hash.h"

struct fm_rand {
    uint64_t state;
};

static inline uint64_t fm_rand_u64(struct fm_rand *r)
{
    r->state += UINT64_C(0x9e3779b97f4a7c15);
    return fm_mix64(r->state);
}

/* 0 <= result < bound; a bound of 0 gives 0. The bias is below bound / 2^32. */
static inline uint32_t fm_rand_below(struct fm_rand *r, uint32_t bound)
{
    return (uint32_t)(((fm_rand_u64(r) >> 32) * bound) >> 32);
}

/* Bytes of the kernel (getrandom), for keys and ids; crashes where the kernel has none. */
void fm_rand_bytes(void *out, size_t n);

#endif
