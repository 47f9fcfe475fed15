/* cli/holders.h: who holds what, for people: the member `view` of a status document. */
#ifndef FM_CLI_HOLDERS_H
#define FM_CLI_HOLDERS_H

#include <jansson.h>

/* A line: which view it is, from whom, how old, and what is wrong with it. Nothing without one. */
void fm_print_view(const json_t *view);
/* A table of contexts; those that `only` (NULL: all) names, by context or holder. */
void fm_print_holders(const json_t *view, const char *only);

#endif
