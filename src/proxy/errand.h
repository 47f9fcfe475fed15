/* proxy/errand.h: cancel requests of clients on their way to the nodes of a group. Private to the
 * doors.
 *
 * Who issued a key is not known: the start-up of a session that is encrypted cannot be read, and a
 * table of keys would have to be shared by workers and bounded. A node ignores a key that is not
 * its own, and the nodes of a group that this gate can reach are few, so each is asked. */
#ifndef FM_PROXY_ERRAND_H
#define FM_PROXY_ERRAND_H

#include "proxy/passage.h"

struct fm_passage;

/* To each node that can be reached, or (`here`) to that of this host; returns to how many.
 * fm_passage_errand_over is called for each, later. The packet is copied. */
unsigned fm_errands_send(struct fm_door *d, struct fm_str packet, bool here,
                         struct fm_passage *for_whom);
/* They go on, but nobody is told. */
void fm_errands_forget(struct fm_door_worker *w, const struct fm_passage *for_whom);
void fm_errands_close(struct fm_door_worker *w);

/* The node has closed its connection: PostgreSQL's way to say that the request was looked at. */
void fm_passage_errand_over(struct fm_passage *p);

#endif
