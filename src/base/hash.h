/* base/hash.h: a fast keyed hash, SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input
 * PRF", 2012, with one compression and three finalisation rounds). Whoever does not know the key
 * cannot choose inputs that collide. Pure; any thread. */
#ifndef FM_BASE_HASH_H
#define FM_BASE_HASH_H

#include "base/str.h"

struct fm_hash_key {
    uint64_t k0, k1;
};

uint64_t fm_hash(struct fm_hash_key key, const void *data, size_t n);

static inline uint64_t fm_hash_str(struct fm_hash_key key, struct fm_str s)
{
    return fm_hash(key, s.p, s.n);
}

/* A good mixing of one word (the finaliser of SplitMix64, Steele et al. 2014); not keyed. */
static inline uint64_t fm_mix64(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

#endif
