/* The sums of floor.h. What comes in was declared and is within the ranges of the configuration, so
 * nothing overflows. */
#include "core/floor.h"

#include "core/epoch.h"

static int64_t longer(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t fm_floor_lease_wait_ms(int64_t lease_ms)
{
    FM_ASSERT(lease_ms >= 0 && lease_ms <= FM_LEASE_MAX_MS);
    return lease_ms + (lease_ms * FM_RHO_PPM + 999999) / 1000000;
}

int64_t fm_floor_detection_ms(const struct fm_floor_probes *p)
{
    FM_ASSERT(p->successes > 0 && p->successes <= p->samples);
    FM_ASSERT(p->interval_ms >= 0 && p->interval_ms <= FM_FLOOR_INTERVALS_MAX);
    FM_ASSERT(p->fast_interval_ms >= 0 && p->fast_interval_ms <= FM_FLOOR_INTERVALS_MAX);
    FM_ASSERT(p->timeout_ms >= 0 && p->timeout_ms <= FM_FLOOR_INTERVALS_MAX);
    int64_t failures = (int64_t)p->samples - p->successes + 1;
    return p->interval_ms + failures * p->timeout_ms + (failures - 1) * p->fast_interval_ms;
}

int64_t fm_floor_hold_ms(int64_t lease_ms, int64_t grace_ms)
{
    FM_ASSERT(grace_ms >= 0);
    return longer(fm_floor_lease_wait_ms(lease_ms), grace_ms);
}

struct fm_floor fm_floor_of(const struct fm_floor_times *t)
{
    FM_ASSERT(t->grace_ms >= 0 && t->detection_ms >= 0 && t->election_ms >= 0);
    struct fm_floor f = {.wait_ms = fm_floor_lease_wait_ms(t->lease_ms),
                         .grace_ms = t->grace_ms,
                         .detection_ms = t->detection_ms,
                         .election_ms = t->election_ms,
                         .person_ms = t->person ? FM_FLOOR_PERSON_MS : 0};
    int64_t noticed = t->detection_ms + t->grace_ms;
    f.total_ms = longer(longer(f.wait_ms, noticed), t->election_ms) + f.person_ms;
    FM_ASSERT(f.total_ms >= fm_floor_hold_ms(t->lease_ms, t->grace_ms)); /* rule 9 */
    return f;
}

bool fm_floor_lease_short(int64_t lease_ms, int64_t election_ms)
{
    FM_ASSERT(lease_ms > 0 && election_ms >= 0);
    return lease_ms < 2 * election_ms;
}

bool fm_floor_quorum(unsigned members, unsigned lost)
{
    FM_ASSERT(lost <= members);
    return members - lost > members / 2;
}
