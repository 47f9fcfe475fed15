/* How many connections are made for a line of requests, and who of it learns that one failed. */
#include "test.h"

#include "core/connects.h"

static void one_is_made_for_each_in_line_up_to_a_bound(void **state)
{
    (void)state;
    assert_int_equal(fm_connects_more(0, 0, 0, FM_CONNECTS_TLS_MAX), 0);
    assert_int_equal(fm_connects_more(1, 0, 0, FM_CONNECTS_TLS_MAX), 1);
    assert_int_equal(fm_connects_more(5, 5, 0, FM_CONNECTS_TLS_MAX), 0);
    assert_int_equal(fm_connects_more(5, 9, 0, FM_CONNECTS_TLS_MAX), 0);
    assert_int_equal(fm_connects_more(1000, FM_CONNECTS_TLS_MAX - 1, 0, FM_CONNECTS_TLS_MAX), 1);
    assert_int_equal(fm_connects_more(1000, FM_CONNECTS_TLS_MAX, 0, FM_CONNECTS_TLS_MAX), 0);
    assert_int_equal(fm_connects_more(1000, 5, 0, 4), 0); /* it has become less meanwhile */
}

static void on_what_is_late_nobody_relies(void **state)
{
    (void)state;
    assert_int_equal(fm_connects_more(1, 9, 9, FM_CONNECTS_TLS_MAX), 1);
    assert_int_equal(fm_connects_more(3, 9, 8, FM_CONNECTS_TLS_MAX), 2);
    assert_int_equal(fm_connects_more(0, 9, 9, FM_CONNECTS_TLS_MAX), 0);
    assert_int_equal(fm_connects_more(9, 8, 8, 8), 8);
    assert_int_equal(fm_connects_more(9, 10, 8, 8), 6);
    assert_int_equal(fm_connects_more(9, 15, 8, 8), 1);
    assert_int_equal(fm_connects_more(9, 16, 16, 8), 0); /* twice as many, and no more */
}

static void a_failure_is_for_its_part_of_the_line(void **state)
{
    (void)state;
    assert_int_equal(fm_connects_keep(0, 0), 0);
    assert_int_equal(fm_connects_keep(1, 0), 0); /* its own */
    assert_int_equal(fm_connects_keep(2, 5), 2); /* others are made for them */
    assert_int_equal(fm_connects_keep(5, 4), 4);
    assert_int_equal(fm_connects_keep(1000, 31), 968);
    assert_int_equal(fm_connects_keep(UINT32_MAX, UINT32_MAX - 1), UINT32_MAX - 1);
}

#define MS FM_NS_PER_MS

static struct fm_mono at_ms(int64_t ms)
{
    return fm_mono_add_ms(FM_MONO_ZERO, ms);
}

static void fewer_are_made_where_they_take_longer_than_at_best(void **state)
{
    (void)state;
    struct fm_connects_pace p = {0};
    assert_int_equal(fm_connects_most(&p, true), FM_CONNECTS_TLS_FIRST);
    fm_connects_took(&p, 100 * MS, at_ms(1)); /* far away */
    assert_int_equal(fm_connects_most(&p, true), FM_CONNECTS_TLS_MAX);
    for (unsigned i = 0; i < 50; i++)
        fm_connects_took(&p, 130 * MS, at_ms(100));
    assert_in_range(fm_connects_most(&p, true), 20, 28);
    for (unsigned i = 0; i < 50; i++)
        fm_connects_took(&p, 2000 * MS, at_ms(100));
    assert_int_equal(fm_connects_most(&p, true), FM_CONNECTS_TLS_MIN);
    for (unsigned i = 0; i < 50; i++)
        fm_connects_took(&p, 99 * MS, at_ms(100));
    assert_in_range(fm_connects_most(&p, true), FM_CONNECTS_TLS_MAX - 1, FM_CONNECTS_TLS_MAX);
    assert_int_equal(fm_connects_most(&p, false), FM_CONNECTS_MAX);
}

static void a_handshake_that_is_given_up_was_a_slow_one(void **state)
{
    (void)state;
    struct fm_connects_pace p = {0};
    fm_connects_took(&p, MS, at_ms(1));
    fm_connects_gave_up(&p, FM_CONNECTS_SHAKE_MS * MS - 1, at_ms(2)); /* no transport */
    assert_int_equal(fm_connects_most(&p, true), FM_CONNECTS_TLS_MAX);
    fm_connects_gave_up(&p, FM_CONNECTS_SHAKE_MS * MS, at_ms(3));
    assert_int_equal(fm_connects_most(&p, true), FM_CONNECTS_TLS_MIN);
    p = (struct fm_connects_pace){0}; /* also where none was ever done */
    fm_connects_gave_up(&p, FM_CONNECTS_SHAKE_MS * MS, at_ms(3));
    fm_connects_took(&p, MS, at_ms(4));
    assert_int_equal(fm_connects_most(&p, true), FM_CONNECTS_TLS_MIN);
}

/* The way may have become a longer one; but a minute of overload is not taken for that. */
static void what_was_best_is_forgotten_after_two_minutes(void **state)
{
    (void)state;
    struct fm_connects_pace p = {0};
    fm_connects_took(&p, MS, at_ms(FM_CONNECTS_BEST_MS)); /* the first minute begins */
    for (unsigned i = 0; i < 50; i++)
        fm_connects_took(&p, 100 * MS, at_ms(2 * FM_CONNECTS_BEST_MS - 1));
    assert_int_equal(fm_connects_most(&p, true), FM_CONNECTS_TLS_MIN);
    fm_connects_took(&p, 100 * MS, at_ms(2 * FM_CONNECTS_BEST_MS));
    assert_int_equal(fm_connects_most(&p, true), FM_CONNECTS_TLS_MIN);
    fm_connects_took(&p, 100 * MS, at_ms(3 * FM_CONNECTS_BEST_MS));
    assert_in_range(fm_connects_most(&p, true), FM_CONNECTS_TLS_MAX - 2, FM_CONNECTS_TLS_MAX);
    fm_connects_took(&p, 0, at_ms(3 * FM_CONNECTS_BEST_MS)); /* the clock is no finer */
    assert_true(fm_connects_most(&p, true) >= FM_CONNECTS_TLS_MIN);
}

/* Whatever the line and the number that is made: when all have failed, all know, and each failure
 * that more wait for than are left is told to somebody. */
static void when_all_have_failed_all_know(void **state)
{
    (void)state;
    for (unsigned waiting = 0; waiting < 300; waiting += 7) {
        for (unsigned making = 1; making <= FM_CONNECTS_TLS_MAX; making++) {
            unsigned line = waiting;
            for (unsigned left = making; left-- > 0;) {
                unsigned keep = fm_connects_keep(line, left);
                assert_true(keep <= line);
                assert_true(keep < line || line <= left);
                line = keep;
            }
            assert_int_equal(line, 0);
        }
    }
}

FM_TEST_MAIN(fm_test(one_is_made_for_each_in_line_up_to_a_bound),
             fm_test(on_what_is_late_nobody_relies),
             fm_test(fewer_are_made_where_they_take_longer_than_at_best),
             fm_test(a_handshake_that_is_given_up_was_a_slow_one),
             fm_test(what_was_best_is_forgotten_after_two_minutes),
             fm_test(a_failure_is_for_its_part_of_the_line), fm_test(when_all_have_failed_all_know))
