/* Deadlines: see the header. */
#include "core/deadline.h"

#include "base/assert.h"

struct fm_deadline fm_deadline_left(struct fm_str value, int64_t age_ns)
{
    uint64_t ms;
    if (!value.p)
        return (struct fm_deadline){false, 0};
    if (!fm_str_u64(value, &ms) || age_ns < 0)
        return (struct fm_deadline){true, 0};
    int64_t given_ns = (int64_t)fm_min_u64(ms, FM_DEADLINE_MAX_MS) * FM_NS_PER_MS;
    int64_t left_ns = age_ns >= given_ns ? 0 : given_ns - age_ns;
    FM_ASSERT(left_ns >= 0 && left_ns <= given_ns);
    return (struct fm_deadline){true, left_ns};
}
