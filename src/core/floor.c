/* The sums of floor.h. */
#include "core/floor.h"

#include "core/epoch.h"

int64_t fm_floor_lease_wait_ms(int64_t lease_ms)
{
    FM_ASSERT(lease_ms >= 0 && lease_ms <= FM_LEASE_MAX_MS);
    return lease_ms + (lease_ms * FM_RHO_PPM + 999999) / 1000000;
}
