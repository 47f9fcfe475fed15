/* base/time.h: monotonic time.
 *
 * struct fm_mono is an instant on CLOCK_BOOTTIME (it runs through suspend; SAFETY.md A.1), in
 * nanoseconds since boot. It is a struct so that an instant, a duration and a wall clock time can
 * not be mixed up. Durations are int64_t with the unit in the name (_ns, _us, _ms). Everything
 * inline here is pure and may be used by core; the two functions that read a clock may not. */
#ifndef FM_BASE_TIME_H
#define FM_BASE_TIME_H

#include "base/bits.h"

#include <stdbool.h>

#define FM_NS_PER_US INT64_C(1000)
#define FM_NS_PER_MS INT64_C(1000000)
#define FM_NS_PER_S  INT64_C(1000000000)

struct fm_mono {
    int64_t ns;
};

#define FM_MONO_NEVER ((struct fm_mono){INT64_MAX})
#define FM_MONO_ZERO  ((struct fm_mono){0})

static inline struct fm_mono fm_mono_add_ns(struct fm_mono t, int64_t ns)
{
    int64_t sum;
    if (t.ns == INT64_MAX || __builtin_add_overflow(t.ns, ns, &sum))
        return FM_MONO_NEVER;
    return (struct fm_mono){sum};
}

static inline struct fm_mono fm_mono_add_ms(struct fm_mono t, int64_t ms)
{
    int64_t ns;
    if (__builtin_mul_overflow(ms, FM_NS_PER_MS, &ns))
        return FM_MONO_NEVER;
    return fm_mono_add_ns(t, ns);
}

/* a - b */
static inline int64_t fm_mono_sub_ns(struct fm_mono a, struct fm_mono b)
{
    return a.ns - b.ns;
}

static inline int64_t fm_mono_sub_ms(struct fm_mono a, struct fm_mono b)
{
    return (a.ns - b.ns) / FM_NS_PER_MS;
}

static inline bool fm_mono_before(struct fm_mono a, struct fm_mono b)
{
    return a.ns < b.ns;
}

static inline struct fm_mono fm_mono_max(struct fm_mono a, struct fm_mono b)
{
    return a.ns > b.ns ? a : b;
}

static inline struct fm_mono fm_mono_min(struct fm_mono a, struct fm_mono b)
{
    return a.ns < b.ns ? a : b;
}

static inline bool fm_mono_is_never(struct fm_mono t)
{
    return t.ns == INT64_MAX;
}

struct fm_mono fm_mono_now(void);

/* Nanoseconds since the epoch of CLOCK_REALTIME: for people and for the kernel's receive stamps,
 * never for a time-out. */
int64_t fm_wall_now_ns(void);

/* RFC 3339 in UTC with microseconds, "2026-11-21T14:08:42.123456Z"; out holds at least 28 bytes and
 * is terminated. */
enum { FM_RFC3339_LEN = 28 };
void fm_wall_format(char out[FM_RFC3339_LEN], int64_t wall_ns);

#endif
