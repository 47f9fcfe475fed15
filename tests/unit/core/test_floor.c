/* What declared times allow at best. */
#include "test.h"

#include "core/epoch.h"
#include "core/floor.h"

static void the_wait_is_what_core_waits(void **state)
{
    (void)state;
    for (int64_t lease = 1; lease <= 600000; lease += lease < 5000 ? 1 : 997) {
        int64_t ms = fm_floor_lease_wait_ms(lease), ns = fm_wait_ns(lease, FM_RHO_PPM);
        assert_true(ms * FM_NS_PER_MS >= ns - 1); /* core's own margin: a nanosecond */
        assert_true((ms - 1) * FM_NS_PER_MS < ns);
    }
    assert_int_equal(fm_floor_lease_wait_ms(2000), 2020);
    assert_int_equal(fm_floor_lease_wait_ms(101), 103);
}

FM_TEST_MAIN(fm_test(the_wait_is_what_core_waits))
