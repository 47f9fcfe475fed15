/* agent/publish.h: the agent's half of handing out who holds what: `GET /authority/view` for edges
 * and agents, `GET /authority/feed` for systems downstream (docs/reference/wire.md), both as long
 * polls on the peer port.
 *
 * It is given a document whenever something changed, by the controller of this agent or by a
 * follower (proxy/follow.h), and keeps the newest one. Who asks is answered at once where there is
 * news for him, else when there is, at the latest after his `wait`. Bounds: 384 that wait, 30 s
 * each. Belongs to one loop; the pages that call it are closed before it is freed. */
#ifndef FM_AGENT_PUBLISH_H
#define FM_AGENT_PUBLISH_H

#include "http/pages.h"
#include "proxy/view_doc.h"

enum { FM_PUBLISH_WAITERS_MAX = 384, FM_PUBLISH_WAIT_MAX_MS = 30 * 1000 };

struct fm_publish;

struct fm_publish *fm_publish_new(struct fm_loop *l, struct fm_error *e) FM_WARN_UNUSED;
/* NULL is fine. */
void fm_publish_free(struct fm_publish *p);

/* Takes a copy. An older document than the present one is no news and left out; one of the same
 * version is taken for what its region has found (`lapsed`). FM_ERR_STATE: it was older;
 * FM_ERR_LIMIT, FM_ERR_MEMORY: the present one stays. */
enum fm_err fm_publish_set(struct fm_publish *p, const struct fm_view_doc *d,
                           struct fm_error *e) FM_WARN_UNUSED;

/* What is handed out now; NULL before the first. */
const struct fm_view_doc *fm_publish_doc(const struct fm_publish *p);

/* What the feed answers who asks for all of it, from malloc; NULL before the first, and without
 * memory. */
char *fm_publish_feed_text(const struct fm_publish *p) FM_WARN_UNUSED;

/* For the two pages: `write` of agent/agent.c calls them. */
void fm_publish_view(struct fm_publish *p, const struct fm_page_request *q,
                     struct fm_page_answer *a);
void fm_publish_feed(struct fm_publish *p, const struct fm_page_request *q,
                     struct fm_page_answer *a);

#endif
