/* agent/deliver.h: what a region keeps in its queue (`when-away: queue`) goes to whoever holds its
 * cell, as soon as somebody does.
 *
 * The agent with the journal asks it which cells have something due, looks at the view for who
 * holds them, and sends the first of each lane to the gate of that region, its own included; what
 * becomes of each try core/delivery.h decides, and the journal keeps. In order per key; 16 at once
 * to a region. A region that does not answer is asked twice a second whether it is there; of a cell
 * whose gate refuses one is sent so often. Looks at once when the view changes, else each 500 ms.
 *
 * Where a region has several gates it is the one that has the key (core/keygate.h), since what a
 * gate's journal knows of a delivery, another gate does not. While that one is away, what is for
 * the others goes on. Belongs to the control loop. */
#ifndef FM_AGENT_DELIVER_H
#define FM_AGENT_DELIVER_H

#include "conf/conf.h"
#include "io/resolve.h"
#include "journal/journal.h"
#include "proxy/peers.h"
#include "proxy/view_doc.h"

#include <jansson.h>

enum { FM_DELIVER_LANES = 16 };

struct fm_deliver;

struct fm_deliver_config {
    struct fm_loop *loop;
    struct fm_mailbox *mailbox; /* of the loop, for the journal's answers */
    struct fm_resolver *resolver;
    struct fm_journal *journal;
    unsigned region; /* one's own */
    /* Who holds what, by names; NULL: nobody knows yet. Valid until the next turn of the loop. */
    const struct fm_view_doc *(*view)(void *user);
    void *user;
};

/* `conf` lives until the next reset or the end. */
struct fm_deliver *fm_deliver_new(const struct fm_deliver_config *c, const struct fm_conf *conf,
                                  const struct fm_peers *peers, struct fm_error *e) FM_WARN_UNUSED;
/* After a reload. FM_ERR_MEMORY: nothing is delivered until the next one. */
enum fm_err fm_deliver_reset(struct fm_deliver *d, const struct fm_conf *conf,
                             const struct fm_peers *peers, struct fm_error *e) FM_WARN_UNUSED;

/* The view has changed. NULL is fine, here and below. */
void fm_deliver_look(struct fm_deliver *d);

/* For `status`: how many wait, since when, and what was delivered. */
json_t *fm_deliver_json(const struct fm_deliver *d);
/* Add the metrics to a text from malloc (docs/operations.md). False without memory. */
bool fm_deliver_metrics(const struct fm_deliver *d, char **text, size_t *n) FM_WARN_UNUSED;

void fm_deliver_stop(struct fm_deliver *d);
/* After fm_deliver_stop, the journal's calls are over (fm_journal_close) and the loop has turned
 * once more; the resolver was freed. */
void fm_deliver_free(struct fm_deliver *d);

#endif
