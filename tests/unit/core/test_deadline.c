/* Deadlines of requests that waited, and the difference between frozen and busy. */
#include "test.h"

#include "core/deadline.h"

#define MS FM_NS_PER_MS

static void what_is_left_is_what_was_given_less_the_age(void **state)
{
    (void)state;
    static const struct {
        const char *value; /* NULL: there is no such header */
        int64_t age_ns;
        bool given;
        int64_t left_ns;
    } cases[] = {
        {NULL, 0, false, 0},
        {NULL, -1, false, 0},
        {"500", 0, true, 500 * MS},
        {"500", 1, true, 500 * MS - 1},
        {"500", 499 * MS, true, MS},
        {"500", 500 * MS, true, 0},
        {"500", 500 * MS + 1, true, 0},
        {"500", INT64_MAX, true, 0},
        {"0", 0, true, 0},
        {"500", -1, true, 0}, /* the clock went back: nobody knows */
        {"500", INT64_MIN, true, 0},
        {"", 0, true, 0},
        {"-5", 0, true, 0},
        {"+5", 0, true, 0},
        {" 5", 0, true, 0},
        {"5ms", 0, true, 0},
        {"1e9", 0, true, 0},
        {"0500", 0, true, 500 * MS},
        {"86400000", 0, true, INT64_C(86400000) * MS},
        {"86400001", 0, true, INT64_C(86400000) * MS},
        {"18446744073709551615", 0, true, INT64_C(86400000) * MS},
        {"18446744073709551616", 0, true, 0}, /* it overflows: malformed */
        {"99999999999999999999999999999999", 0, true, 0},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_deadline d = fm_deadline_left(fm_str_z(cases[i].value), cases[i].age_ns);
        if (d.given != cases[i].given || d.left_ns != cases[i].left_ns)
            fail_msg("%s at %lld: %d, %lld", cases[i].value ? cases[i].value : "(none)",
                     (long long)cases[i].age_ns, d.given, (long long)d.left_ns);
    }
}

static void more_age_never_leaves_more(void **state)
{
    (void)state;
    int64_t left = INT64_MAX;
    for (int64_t age = 0; age < 2000 * MS; age += 7 * MS / 3) {
        struct fm_deadline d = fm_deadline_left(FM_STR("1500"), age);
        assert_true(d.given && d.left_ns <= left && d.left_ns >= 0);
        left = d.left_ns;
    }
    assert_int_equal(left, 0);
}

static void a_loop_that_was_away_for_a_fifth_of_a_second_was_frozen(void **state)
{
    (void)state;
    assert_false(fm_was_frozen(0));
    assert_false(fm_was_frozen(-5 * MS));
    assert_false(fm_was_frozen(200 * MS - 1));
    assert_true(fm_was_frozen(200 * MS));
    assert_true(fm_was_frozen(INT64_MAX));
}

FM_TEST_MAIN(fm_test(what_is_left_is_what_was_given_less_the_age),
             fm_test(more_age_never_leaves_more),
             fm_test(a_loop_that_was_away_for_a_fifth_of_a_second_was_frozen))
