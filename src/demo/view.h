/* demo/view.h: the live terminal view of the demonstration, or plain lines where there is no
 * terminal. Reads the edge's /status document and the load generator's records. */
#ifndef FM_DEMO_VIEW_H
#define FM_DEMO_VIEW_H

#include "demo/demo.h"
#include "demo/holders.h"
#include "demo/load.h"

#include <jansson.h>

enum { FM_VIEW_LINES = 14, FM_VIEW_LINE_MAX = 160, FM_VIEW_REGIONS = 9, FM_VIEW_EXCLUSIVE = 2 };

/* Who holds what of a context, as it was told last. */
struct fm_view_holders {
    char context[64], text[FM_HOLDERS_TEXT_MAX];
};

struct fm_view_state {
    struct fm_demo_options options;
    char title[FM_VIEW_LINE_MAX];
    char line[FM_VIEW_LINES][FM_VIEW_LINE_MAX];
    unsigned nlines;
    uint64_t events_seen;
    int64_t started_ns, drawn_ns;
    uint64_t sent[FM_VIEW_REGIONS], errors[FM_VIEW_REGIONS];
    struct fm_view_holders holders[FM_VIEW_EXCLUSIVE];
    bool screen;
};

void fm_demo_view_init(struct fm_view_state *v, const struct fm_demo_options *o);
/* Something happened just now: a line of the event log. */
void fm_demo_view_say(struct fm_view_state *v, const char *fmt, ...) FM_PRINTF(2, 3);
/* Take in new events of the edge and draw. `status` may be NULL (the edge does not answer). */
void fm_demo_view_draw(struct fm_view_state *v, const json_t *status, const struct fm_load *l);
/* Give the terminal back. */
void fm_demo_view_end(struct fm_view_state *v);

#endif
