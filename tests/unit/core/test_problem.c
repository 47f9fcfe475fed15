/* The table of problems: names, statuses, and what may be concluded about execution. */
#include "test.h"

#include "core/problem.h"

static void every_problem_is_complete_and_found_by_its_name(void **state)
{
    (void)state;
    for (unsigned p = FM_PROBLEM_NONE + 1; p < FM_PROBLEM_COUNT; p++) {
        const struct fm_problem_info *info = fm_problem_info((enum fm_problem)p);
        assert_true(info->name.n > 0 && info->detail.n > 0);
        assert_true(info->status >= 400 && info->status < 600);
        assert_int_equal(fm_problem_find(info->name), p);
        for (size_t i = 0; i < info->name.n; i++) { /* it stands in a URN and in a header */
            char c = info->name.p[i];
            assert_true((c >= 'a' && c <= 'z') || c == '-');
        }
        for (size_t i = 0; i < info->detail.n; i++) { /* it stands in JSON as it is */
            char c = info->detail.p[i];
            assert_true(c >= ' ' && c < 127 && c != '"' && c != '\\');
        }
    }
}

static void from_a_name_that_is_not_known_nothing_is_concluded(void **state)
{
    (void)state;
    static const char *const unknown[] = {"",     "Overloaded", "overloaded ",
                                          "over", "none",       "urn:fulmar:overloaded"};
    for (size_t i = 0; i < FM_COUNT(unknown); i++)
        assert_int_equal(fm_problem_find(fm_str_z(unknown[i])), FM_PROBLEM_NONE);
    assert_int_equal(fm_problem_find(fm_str(NULL, 0)), FM_PROBLEM_NONE);
    assert_int_equal(fm_problem_info(FM_PROBLEM_NONE)->executed, FM_EXECUTED_UNKNOWN);
    assert_int_equal(fm_problem_info(FM_PROBLEM_NONE)->status, 0);
}

/* On this table rests that a command is never repeated which may have been executed. */
static void only_what_is_surely_not_executed_says_so(void **state)
{
    (void)state;
    static const struct {
        enum fm_problem problem;
        unsigned status;
        enum fm_executed executed;
    } expected[] = {
        {FM_PROBLEM_NO_ROUTE, 404, FM_EXECUTED_NO},
        {FM_PROBLEM_BAD_PATH, 400, FM_EXECUTED_NO},
        {FM_PROBLEM_HEAD_TOO_LARGE, 431, FM_EXECUTED_NO},
        {FM_PROBLEM_KEY_MISSING, 400, FM_EXECUTED_NO},
        {FM_PROBLEM_KEY_INVALID, 400, FM_EXECUTED_UNKNOWN},
        {FM_PROBLEM_KEY_IN_FLIGHT, 409, FM_EXECUTED_UNKNOWN},
        {FM_PROBLEM_KEY_REUSED, 422, FM_EXECUTED_UNKNOWN},
        {FM_PROBLEM_ANSWER_NOT_KEPT, 409, FM_EXECUTED_UNKNOWN},
        {FM_PROBLEM_JOURNAL_FAILED, 503, FM_EXECUTED_NO},
        {FM_PROBLEM_ENTITY_MISSING, 400, FM_EXECUTED_NO},
        {FM_PROBLEM_ENTITY_REPEATED, 400, FM_EXECUTED_NO},
        {FM_PROBLEM_ENTITY_TOO_LONG, 400, FM_EXECUTED_NO},
        {FM_PROBLEM_ENTITY_MALFORMED, 400, FM_EXECUTED_NO},
        {FM_PROBLEM_ENTITY_OUT_OF_REACH, 413, FM_EXECUTED_NO},
        {FM_PROBLEM_ENTITY_UNKNOWN, 404, FM_EXECUTED_NO},
        {FM_PROBLEM_NOT_QUEUED, 404, FM_EXECUTED_NO}, /* another gate may know the place */
        {FM_PROBLEM_MOVING, 421, FM_EXECUTED_NO},
        {FM_PROBLEM_NOT_HOLDER, 421, FM_EXECUTED_NO},
        {FM_PROBLEM_OTHER_GATE, 421, FM_EXECUTED_NO},
        {FM_PROBLEM_CATCHING_UP, 421, FM_EXECUTED_NO},
        {FM_PROBLEM_READ_ONLY, 503, FM_EXECUTED_NO},
        {FM_PROBLEM_OVERLOADED, 503, FM_EXECUTED_NO},
        {FM_PROBLEM_UNREACHABLE, 503, FM_EXECUTED_NO},
        {FM_PROBLEM_NO_INSTANCE, 503, FM_EXECUTED_NO},
        {FM_PROBLEM_DEADLINE, 504, FM_EXECUTED_NO},
        {FM_PROBLEM_UPSTREAM_ERROR, 502, FM_EXECUTED_UNKNOWN},
        {FM_PROBLEM_CONNECTION_LOST, 502, FM_EXECUTED_UNKNOWN},
        {FM_PROBLEM_BAD_ANSWER, 502, FM_EXECUTED_UNKNOWN},
        {FM_PROBLEM_TIMEOUT, 504, FM_EXECUTED_UNKNOWN},
        {FM_PROBLEM_OUTCOME_UNKNOWN, 504, FM_EXECUTED_UNKNOWN},
    };
    assert_int_equal(FM_COUNT(expected), FM_PROBLEM_COUNT - 1);
    for (size_t i = 0; i < FM_COUNT(expected); i++) {
        const struct fm_problem_info *info = fm_problem_info(expected[i].problem);
        assert_int_equal(info->status, expected[i].status);
        assert_int_equal(info->executed, expected[i].executed);
    }
}

static void only_who_takes_it_nowhere_is_misdirected(void **state)
{
    (void)state;
    for (unsigned p = 0; p < FM_PROBLEM_COUNT; p++) {
        bool is = fm_problem_is_misdirected(p);
        assert_int_equal(is, fm_problem_info(p)->status == 421);
        assert_true(!is || fm_problem_info(p)->executed == FM_EXECUTED_NO);
    }
}

FM_TEST_MAIN(fm_test(every_problem_is_complete_and_found_by_its_name),
             fm_test(from_a_name_that_is_not_known_nothing_is_concluded),
             fm_test(only_what_is_surely_not_executed_says_so),
             fm_test(only_who_takes_it_nowhere_is_misdirected))
