/* proxy/seats_view.h: putting a view (proxy/view_doc.h) into the seats and the board of a process.
 */
#ifndef FM_PROXY_SEATS_VIEW_H
#define FM_PROXY_SEATS_VIEW_H

#include "proxy/board.h"
#include "proxy/seats.h"
#include "proxy/view.h"
#include "proxy/view_doc.h"

/* What the view says of the contexts that `conf` knows: who holds each cell, what an operator said
 * (read-only) and what one's region has found (lapsed). What a gate may do is in its sub-leases and
 * not here. A holder that this file does not know of can take no commands here. Contexts that the
 * view does not have stay as they are. Control only; then tell the workers
 * (fm_director_authority_changed). */
void fm_seats_take_view(struct fm_seats *s, const struct fm_conf *conf,
                        const struct fm_view_doc *d);

/* What operators asked of regions: an edge obeys it, a gate only shows it. A view that does not
 * speak of it changes nothing. Control only. */
void fm_board_take_intents(struct fm_board *b, const struct fm_view_doc *d);

#endif
