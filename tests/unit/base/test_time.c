/* Time: saturating sums, a clock that goes forward, RFC 3339. */
#include "test.h"

#include "base/time.h"

static void sums_saturate_at_never(void **state)
{
    (void)state;
    struct fm_mono t = {5};
    assert_int_equal(fm_mono_add_ms(t, 2).ns, 2000005);
    assert_true(fm_mono_is_never(fm_mono_add_ms(t, INT64_MAX)));
    assert_true(fm_mono_is_never(fm_mono_add_ns(t, INT64_MAX)));
    assert_true(fm_mono_is_never(fm_mono_add_ms(FM_MONO_NEVER, -1)));
    assert_int_equal(fm_mono_sub_ms(fm_mono_add_ms(t, 70), t), 70);
}

static void the_clock_goes_forward(void **state)
{
    (void)state;
    struct fm_mono a = fm_mono_now(), b = fm_mono_now();
    assert_true(b.ns >= a.ns && a.ns > 0);
}

static void formats_for_people(void **state)
{
    (void)state;
    char out[FM_RFC3339_LEN];
    fm_wall_format(out, INT64_C(1795270122123456789));
    assert_string_equal(out, "2026-11-21T14:08:42.123456Z");
    fm_wall_format(out, 0);
    assert_string_equal(out, "1970-01-01T00:00:00.000000Z");
}

FM_TEST_MAIN(fm_test(sums_saturate_at_never), fm_test(the_clock_goes_forward),
             fm_test(formats_for_people))
