/* Histograms: bounded error, merge, difference. */
#include "test.h"

#include "base/metrics.h"
#include "base/rand.h"

static void every_value_lies_in_its_bucket(void **state)
{
    (void)state;
    struct fm_rand r = {1};
    for (int i = 0; i < 200000; i++) {
        uint64_t v = fm_rand_u64(&r) >> (37 + fm_rand_below(&r, 27));
        unsigned b = fm_hist_index(v);
        assert_true(v <= fm_hist_upper(b));
        assert_true(b == 0 || v > fm_hist_upper(b - 1));
        assert_true(fm_hist_upper(b) - v <= v / 16);
    }
    assert_int_equal(fm_hist_index(UINT64_MAX), FM_HIST_BUCKETS - 1);
}

static void quantiles_of_a_ramp(void **state)
{
    (void)state;
    static struct fm_hist h;
    for (uint64_t v = 1; v <= 10000; v++)
        fm_hist_add(&h, v);
    static struct fm_hist_view v;
    fm_hist_view_add(&v, &h);
    assert_int_equal(v.count, 10000);
    assert_int_equal(v.sum, 50005000);
    assert_in_range(fm_hist_view_quantile(&v, 500), 5000, 5320);
    assert_in_range(fm_hist_view_quantile(&v, 990), 9900, 10530);
    assert_in_range(fm_hist_view_quantile(&v, 1000), 10000, 10630);
    static struct fm_hist_view none;
    assert_int_equal(fm_hist_view_quantile(&none, 990), 0);
}

static void a_difference_is_what_came_between(void **state)
{
    (void)state;
    static struct fm_hist h;
    static struct fm_hist_view before, after;
    for (int i = 0; i < 100; i++)
        fm_hist_add(&h, 10);
    fm_hist_view_add(&before, &h);
    for (int i = 0; i < 50; i++)
        fm_hist_add(&h, 1000);
    fm_hist_view_add(&after, &h);
    fm_hist_view_sub(&after, &before);
    assert_int_equal(after.count, 50);
    assert_int_equal(after.sum, 50000);
    assert_in_range(fm_hist_view_quantile(&after, 1), 1000, 1062);
}

FM_TEST_MAIN(fm_test(every_value_lies_in_its_bucket), fm_test(quantiles_of_a_ramp),
             fm_test(a_difference_is_what_came_between))
