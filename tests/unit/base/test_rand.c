/* The seeded generator: the same seed gives the same run; bounds hold. */
#include "test.h"

#include "base/rand.h"

static void is_a_function_of_its_seed(void **state)
{
    (void)state;
    struct fm_rand a = {42}, b = {42}, c = {43};
    uint64_t x = fm_rand_u64(&a);
    assert_int_equal(x, fm_rand_u64(&b));
    assert_int_not_equal(x, fm_rand_u64(&c));
    struct fm_rand zero = {0};
    assert_int_equal(fm_rand_u64(&zero), UINT64_C(0xe220a8397b1dcdaf)); /* SplitMix64 of seed 0 */
}

static void stays_below_its_bound(void **state)
{
    (void)state;
    struct fm_rand r = {7};
    unsigned seen[5] = {0};
    for (int i = 0; i < 10000; i++) {
        uint32_t v = fm_rand_below(&r, 5);
        assert_true(v < 5);
        seen[v]++;
    }
    for (int i = 0; i < 5; i++)
        assert_in_range(seen[i], 1800, 2200);
    assert_int_equal(fm_rand_below(&r, 0), 0);
}

static void bytes_come_from_the_kernel(void **state)
{
    (void)state;
    unsigned char a[32] = {0}, b[32] = {0};
    fm_rand_bytes(a, sizeof a);
    fm_rand_bytes(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
}

FM_TEST_MAIN(fm_test(is_a_function_of_its_seed), fm_test(stays_below_its_bound),
             fm_test(bytes_come_from_the_kernel))
