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

static void a_silent_loss_takes_all_its_probes(void **state)
{
    (void)state;
    struct fm_floor_probes p = {500, 50, 300, 4, 3};
    assert_int_equal(fm_floor_detection_ms(&p), 500 + 300 + 50 + 300);
    p.successes = 4; /* the first that fails is enough */
    assert_int_equal(fm_floor_detection_ms(&p), 800);
    p.successes = 1;
    assert_int_equal(fm_floor_detection_ms(&p), 500 + 4 * 300 + 3 * 50);
}

static void the_slowest_of_what_runs_together_counts(void **state)
{
    (void)state;
    static const struct {
        struct fm_floor_times t;
        int64_t total_ms;
    } cases[] = {
        {{2000, 0, 0, 0, false}, 2020},            /* the lease */
        {{2000, 0, 1150, 1000, false}, 2020},      /* noticed and elected meanwhile */
        {{2000, 0, 2100, 1000, false}, 2100},      /* a slow detection */
        {{2000, 1000, 1150, 1000, false}, 2150},   /* grace begins when it is noticed */
        {{2000, 1000, 1150, 10000, false}, 10000}, /* coordination elects a leader */
        {{2000, 5000, 1150, 0, false}, 6150},
        {{2000, 0, 1150, 1000, true}, 62020}, /* and then a person */
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_floor f = fm_floor_of(&cases[i].t);
        assert_int_equal(f.total_ms, cases[i].total_ms);
        assert_int_equal(f.wait_ms, 2020);
        assert_int_equal(f.grace_ms, cases[i].t.grace_ms);
        assert_int_equal(f.detection_ms, cases[i].t.detection_ms);
        assert_int_equal(f.election_ms, cases[i].t.election_ms);
        assert_int_equal(f.person_ms, cases[i].t.person ? 60000 : 0);
    }
}

static void the_least_hold_covers_the_lease_and_the_grace(void **state)
{
    (void)state;
    assert_int_equal(fm_floor_hold_ms(2000, 0), 2020);
    assert_int_equal(fm_floor_hold_ms(2000, 2020), 2020);
    assert_int_equal(fm_floor_hold_ms(2000, 2021), 2021);
}

static void a_lease_below_two_elections_is_short(void **state)
{
    (void)state;
    assert_false(fm_floor_lease_short(2000, 1000));
    assert_true(fm_floor_lease_short(1999, 1000));
    assert_false(fm_floor_lease_short(1, 0));
}

static void a_quorum_is_more_than_half_of_all(void **state)
{
    (void)state;
    static const struct {
        unsigned members, lost;
        bool kept;
    } cases[] = {
        {1, 0, true}, {1, 1, false}, {2, 1, false}, {3, 1, true},  {3, 2, false},
        {4, 1, true}, {4, 2, false}, {5, 2, true},  {5, 3, false},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++)
        assert_int_equal(fm_floor_quorum(cases[i].members, cases[i].lost), cases[i].kept);
}

FM_TEST_MAIN(fm_test(the_wait_is_what_core_waits), fm_test(a_silent_loss_takes_all_its_probes),
             fm_test(the_slowest_of_what_runs_together_counts),
             fm_test(the_least_hold_covers_the_lease_and_the_grace),
             fm_test(a_lease_below_two_elections_is_short),
             fm_test(a_quorum_is_more_than_half_of_all))
