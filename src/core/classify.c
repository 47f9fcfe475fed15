/* Classification: see the header. */
#include "core/classify.h"

#include "base/assert.h"

bool fm_class_is_command(enum fm_class_as as, const struct fm_str *commands, size_t ncommands,
                         struct fm_str method)
{
    switch (as) {
    case FM_CLASS_QUERY:
        return false;
    case FM_CLASS_COMMAND:
        return true;
    case FM_CLASS_BY_METHOD:
        for (size_t i = 0; i < ncommands; i++)
            if (fm_str_eq(commands[i], method))
                return true;
        return false;
    }
    FM_UNREACHABLE();
}

void fm_class_place(const struct fm_class_rule *rule, const struct fm_key_request *rq,
                    struct fm_class_place *out)
{
    enum fm_key_outcome outcome = FM_KEY_MISSING;
    out->problem = FM_PROBLEM_NONE;
    out->by = FM_CELL_ABSENT;
    out->cell = 0;
    out->key.n = 0;
    if (rule->key)
        outcome = fm_key_find(rule->key, rq, &out->key);
    if (!rule->cells)
        return;
    FM_ASSERT(rule->key || rule->cells->count == 1);
    if (rule->cells->count == 1)
        out->by = FM_CELL_BY_HASH;
    else if (outcome != FM_KEY_FOUND)
        out->problem = fm_key_problem(outcome);
    else
        out->by = fm_cell_find(rule->cells, fm_key_str(&out->key), &out->cell);
    if (out->by == FM_CELL_ABSENT && out->problem == FM_PROBLEM_NONE)
        out->problem = FM_PROBLEM_ENTITY_UNKNOWN;
    FM_ASSERT((out->by == FM_CELL_ABSENT) == (out->problem != FM_PROBLEM_NONE));
    FM_ASSERT(out->cell < rule->cells->count);
}
