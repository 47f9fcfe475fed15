/* Dependency checks: falling and rising, age, and what several agents say together. */
#include "test.h"

#include "base/rand.h"
#include "core/check.h"

static const struct fm_check_policy policy = {.fall = 2, .rise = 3, .max_age_ms = 3000};

static struct fm_mono at(int64_t ms)
{
    return (struct fm_mono){(100000 + ms) * FM_NS_PER_MS};
}

static struct fm_check fresh(void)
{
    struct fm_check c;
    fm_check_init(&c, at(0));
    return c;
}

/* Results as text: + good, w good with a warning, - bad; then G(ood) W(arn) B(ad) is expected, and
 * whether the last of them turned it. */
static void results_turn_it_after_so_many_in_a_row(void **state)
{
    (void)state;
    static const struct {
        const char *results;
        uint8_t fall, rise;
        enum fm_check_state expected;
        bool turned;
    } cases[] = {
        {"+", 2, 3, FM_CHECK_GOOD, true}, /* the first counts at once */
        {"-", 2, 3, FM_CHECK_BAD, true},
        {"++", 2, 3, FM_CHECK_GOOD, false},
        {"+-", 2, 3, FM_CHECK_GOOD, false},
        {"+--", 2, 3, FM_CHECK_BAD, true},
        {"+-+-+-", 2, 3, FM_CHECK_GOOD, false},
        {"+---", 2, 3, FM_CHECK_BAD, false},
        {"-++", 2, 3, FM_CHECK_BAD, false},
        {"-+++", 2, 3, FM_CHECK_GOOD, true},
        {"-++-+++", 2, 3, FM_CHECK_GOOD, true},
        {"-++-++", 2, 3, FM_CHECK_BAD, false},
        {"w", 2, 3, FM_CHECK_WARN, true},
        {"+w", 2, 3, FM_CHECK_WARN, false},
        {"w+", 2, 3, FM_CHECK_GOOD, false},
        {"w-", 2, 3, FM_CHECK_WARN, false}, /* a failure says nothing of certificates */
        {"-ww", 2, 3, FM_CHECK_BAD, false},
        {"-www", 2, 3, FM_CHECK_WARN, true},
        {"+-", 1, 1, FM_CHECK_BAD, true},
        {"+-+", 1, 1, FM_CHECK_GOOD, true},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_check_policy p = policy;
        p.fall = cases[i].fall;
        p.rise = cases[i].rise;
        struct fm_check c = fresh();
        bool turned = false;
        int64_t now = 0;
        for (const char *r = cases[i].results; *r; r++)
            turned = fm_check_result(&c, &p, *r != '-', *r == 'w', 1000, at(now += 10));
        if (fm_check_now(&c, &p, at(now)) != cases[i].expected || turned != cases[i].turned)
            fail_msg("%s: %s", cases[i].results,
                     fm_check_state_name(fm_check_now(&c, &p, at(now))));
        if (turned)
            assert_int_equal(c.changed.ns, at(now).ns);
        assert_int_equal(c.latency_ns, 1000);
    }
}

static void an_old_result_is_a_failure_whatever_it_was(void **state)
{
    (void)state;
    struct fm_check c = fresh();
    assert_int_equal(fm_check_now(&c, &policy, at(0)), FM_CHECK_UNKNOWN);
    assert_int_equal(fm_check_now(&c, &policy, at(999999)), FM_CHECK_UNKNOWN);
    fm_check_result(&c, &policy, true, false, 0, at(0));
    assert_int_equal(fm_check_now(&c, &policy, at(policy.max_age_ms)), FM_CHECK_GOOD);
    assert_int_equal(fm_check_now(&c, &policy, at(policy.max_age_ms + 1)), FM_CHECK_STALE);
    fm_check_result(&c, &policy, true, false, 0, at(9000));
    assert_int_equal(fm_check_now(&c, &policy, at(9000)), FM_CHECK_GOOD);
    fm_check_result(&c, &policy, false, false, 0, at(9000));
    fm_check_result(&c, &policy, false, false, 0, at(9000));
    assert_int_equal(fm_check_now(&c, &policy, at(13000)), FM_CHECK_STALE);
}

static void only_good_and_warn_are_good(void **state)
{
    (void)state;
    static const bool good[] = {[FM_CHECK_UNKNOWN] = false,
                                [FM_CHECK_GOOD] = true,
                                [FM_CHECK_WARN] = true,
                                [FM_CHECK_BAD] = false,
                                [FM_CHECK_STALE] = false};
    for (unsigned s = 0; s < FM_COUNT(good); s++) {
        assert_int_equal(fm_check_is_good((enum fm_check_state)s), good[s]);
        for (unsigned o = 0; o < s; o++)
            assert_string_not_equal(fm_check_state_name((enum fm_check_state)s),
                                    fm_check_state_name((enum fm_check_state)o));
    }
}

/* The least that is promised, whatever comes: it is bad only after `fall` failures in a row, good
 * again only after `rise` successes, and long rows do not overflow. */
static void no_walk_turns_it_too_early(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 500; seed++) {
        struct fm_rand r = {seed};
        struct fm_check_policy p = {.fall = (uint8_t)(1 + fm_rand_below(&r, 255)),
                                    .rise = (uint8_t)(1 + fm_rand_below(&r, 255)),
                                    .max_age_ms = 1000};
        if (seed % 2)
            p.fall = p.rise = (uint8_t)(1 + seed % 5);
        struct fm_check c = fresh();
        unsigned row = 0;
        bool last = false, good = false;
        for (int i = 0; i < 1500; i++) {
            bool ok = fm_rand_below(&r, 20) ? last : !last; /* long rows */
            row = i && ok == last ? row + 1 : 1;
            last = ok;
            bool turned = fm_check_result(&c, &p, ok, false, 0, at(i));
            bool now = fm_check_now(&c, &p, at(i)) == FM_CHECK_GOOD;
            bool expected = i == 0        ? ok
                            : good && !ok ? row < p.fall
                            : !good && ok ? row >= p.rise
                                          : good;
            assert_int_equal(now, expected);
            assert_int_equal(turned, i == 0 || now != good);
            good = now;
        }
    }
}

static void agents_are_believed_by_majority_and_silence_is_a_failure(void **state)
{
    (void)state;
    static const struct {
        unsigned yes, no;
        bool good;
    } cases[] = {{0, 0, false}, {1, 0, true},          {0, 1, false},
                 {1, 1, true},  {1, 2, false},         {2, 1, true},
                 {3, 3, true},  {UINT32_MAX, 1, true}, {0, UINT32_MAX, false}};
    for (size_t i = 0; i < FM_COUNT(cases); i++)
        assert_int_equal(fm_check_fold(cases[i].yes, cases[i].no), cases[i].good);
}

FM_TEST_MAIN(fm_test(results_turn_it_after_so_many_in_a_row),
             fm_test(an_old_result_is_a_failure_whatever_it_was),
             fm_test(only_good_and_warn_are_good), fm_test(no_walk_turns_it_too_early),
             fm_test(agents_are_believed_by_majority_and_silence_is_a_failure))
