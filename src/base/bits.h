/* base/bits.h: the small macros that everything uses. No state, no dependencies. */
#ifndef FM_BASE_BITS_H
#define FM_BASE_BITS_H

#include <stddef.h>
#include <stdint.h>

#define FM_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define fm_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define fm_likely(x)   __builtin_expect(!!(x), 1)
#define fm_unlikely(x) __builtin_expect(!!(x), 0)

#define FM_WARN_UNUSED        __attribute__((warn_unused_result))
#define FM_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define FM_CACHELINE          64

__extension__ typedef unsigned __int128 fm_u128;

static inline uint64_t fm_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t fm_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline size_t fm_min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline int64_t fm_clamp_i64(int64_t v, int64_t lo, int64_t hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

#endif
