/* cli/events.h: recorded events, as daemons hand them out. */
#ifndef FM_CLI_EVENTS_H
#define FM_CLI_EVENTS_H

#include "cli/cli.h"

/* Is it about this: a context, a region, or both with a slash between, a cell behind its context:
 * west/ledger, cards/17? "" is everything. */
bool fm_event_is_about(const json_t *event, const char *what);

/* All of a status document, what was seen and what was done about the right to write, by time. A
 * new list of the same events. */
json_t *fm_events_of(const json_t *status);

/* A line of a table. */
void fm_event_print(const json_t *event);

#endif
