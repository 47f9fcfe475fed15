/* Which rule is switched off in this run of a test: the number in FM_MUTANT. */
#include "core/rule.h"

#include <stdlib.h>

unsigned fm_mutant, fm_mutant_hits;

__attribute__((constructor)) static void choose(void)
{
    const char *text = getenv("FM_MUTANT");
    fm_mutant = text ? (unsigned)strtoul(text, NULL, 10) : FM_RULE_NONE;
}
