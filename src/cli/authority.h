/* cli/authority.h: the section `authority` of an agent's status, for people. Tables go to stdout.
 */
#ifndef FM_CLI_AUTHORITY_H
#define FM_CLI_AUTHORITY_H

#include "cli/cli.h"

struct fm_conf;

/* Who holds what, what is under way and what is wrong; `only` a context or a region, or all where
 * it is NULL. `conf` (NULL is fine) has the modes. Nothing where the document has no such section.
 */
void fm_cli_authority_print(const struct fm_args *a, const json_t *status,
                            const struct fm_conf *conf, const char *only);

/* The contexts of the section that `only` names, in a new object of them. */
json_t *fm_cli_authority_contexts(const json_t *status, const char *only);

/* The generation that --expect-generation means; -1 where the document has none. */
long long fm_cli_authority_generation(const json_t *status);

/* Does it know a context or a region of this name? */
bool fm_cli_authority_knows(const json_t *status, const char *name);

/* Everything is held by somebody whose lease is not known to have lapsed, and nothing is wrong. */
bool fm_cli_authority_is_well(const json_t *status);

#endif
