/* cli/order.h: an order to the agents: it is sent to one of them, what it says is printed, and an
 * operation is followed until it is over, or until a signal or --timeout leaves it to itself.
 *
 * Everything here prints, and returns the exit code: 0 done; 1 failed or aborted; 2 --dry-run would
 * change something; 3 refused; 4 accepted and not over; 5 partly done; 64, 69, 75, 77 as
 * everywhere.
 */
#ifndef FM_CLI_ORDER_H
#define FM_CLI_ORDER_H

#include "cli/agents.h"

/* POST /ops/`verb` with `body`, which is taken over; --reason, --dry-run and the like are added to
 * it. `safe`: it changes nothing, so that it needs no reason and may be asked of several. */
int fm_order(const struct fm_args *a, const char *command, const char *verb, json_t *body,
             bool safe);

/* Follow an operation by its number. */
int fm_order_follow(const struct fm_args *a, const char *command, const char *id);

/* What changes something says why: FM_EXIT_OK, or that it does not. */
int fm_order_check_reason(const struct fm_args *a, const char *command);
/* Who gives it, why, and --dry-run and --expect-generation, into its body. */
void fm_order_sign(const struct fm_args *a, json_t *body);

/* Is this the name of a guard that a person can override? */
bool fm_order_yields(struct fm_str rule);

/* What an answer that is no document of the kind that was asked for comes to: refusals, problems.
 */
int fm_order_unwanted(const struct fm_args *a, const char *command, const struct fm_reply *r);

#endif
