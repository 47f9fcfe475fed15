/* The table of problems. */
#include "core/problem.h"

#include "base/assert.h"

static const struct fm_problem_info problems[FM_PROBLEM_COUNT] = {
    [FM_PROBLEM_NONE] = {FM_STR_INIT(""), FM_STR_INIT(""), 0, FM_EXECUTED_UNKNOWN},
#define X(id, name, status, executed, detail)                                                      \
    [FM_PROBLEM_##id] = {FM_STR_INIT(name), FM_STR_INIT(detail), status, FM_EXECUTED_##executed},
    FM_PROBLEMS(X)
#undef X
};

const struct fm_problem_info *fm_problem_info(enum fm_problem p)
{
    FM_ASSERT(p < FM_PROBLEM_COUNT);
    return &problems[p];
}

bool fm_problem_is_misdirected(enum fm_problem p)
{
    FM_ASSERT(p < FM_PROBLEM_COUNT);
    return p == FM_PROBLEM_MOVING || p == FM_PROBLEM_NOT_HOLDER || p == FM_PROBLEM_OTHER_GATE ||
           p == FM_PROBLEM_CATCHING_UP;
}

enum fm_problem fm_problem_find(struct fm_str name)
{
    for (unsigned p = FM_PROBLEM_NONE + 1; p < FM_PROBLEM_COUNT; p++)
        if (fm_str_eq(problems[p].name, name))
            return p;
    return FM_PROBLEM_NONE;
}
