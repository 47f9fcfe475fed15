/* cli/events.h: recorded events, as daemons hand them out. */
#ifndef FM_CLI_EVENTS_H
#define FM_CLI_EVENTS_H

#include "cli/cli.h"

/* Is it about this: a context, a region, a host, an operation, a request's reference, or several of
 * them with a slash between, a cell behind its context: west/ledger, cards/17? "" is everything. */
bool fm_event_is_about(const json_t *event, const char *what);

/* A line of a table. */
void fm_event_print(const json_t *event);

#endif
