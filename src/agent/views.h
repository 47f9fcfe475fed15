/* agent/views.h: what an agent hands out of who holds what, and where it has it from: its own
 * controller, or, where it has none, a controller that it follows (proxy/follow.h).
 *
 * Whatever is new goes to those who ask (agent/publish.h), to the webhook where this host renews
 * the leases of its region (agent/webhook.h), and to the gate of this host: there only what an
 * operator said and what the region has found, since its right to write is a sub-lease. Belongs to
 * the control loop. */
#ifndef FM_AGENT_VIEWS_H
#define FM_AGENT_VIEWS_H

#include "agent/publish.h"
#include "proxy/director.h"
#include "proxy/follow.h"

struct fm_views;

struct fm_views_config {
    struct fm_mailbox *mailbox; /* of the loop */
    struct fm_resolver *resolver;
    const char *folder, *host, *region; /* state folder; who this is */
    bool controller;                    /* it has one: nobody is followed */
    struct fm_director *director;       /* of the gate; NULL: there is none */
    void (*changed)(void *user);        /* what is handed out; NULL: nobody wants to know */
    bool (*keeps)(void *user); /* does this host renew the leases of its region? NULL: never */
    /* Of the webhook (struct fm_webhook_config); NULL: nobody wants to know. */
    void (*tell)(void *user, const char *why, const char *text, const char *evidence);
    void *user;
};

/* `conf` is the caller's until the next reset. */
struct fm_views *fm_views_new(const struct fm_views_config *c, const struct fm_conf *conf,
                              const struct fm_peers *peers, struct fm_error *e) FM_WARN_UNUSED;
/* After a reload, which the director has taken. An error is told in the log: what was handed out
 * goes on. */
void fm_views_reset(struct fm_views *v, const struct fm_conf *conf, const struct fm_peers *peers);

/* From the controller, whenever something changed. The document stays the caller's. */
void fm_views_take(struct fm_views *v, const struct fm_view_doc *d);

/* What is handed out now; NULL before the first. */
const struct fm_view_doc *fm_views_doc(const struct fm_views *v);
/* The same as the feed tells it, from malloc; NULL before the first, and without memory. */
char *fm_views_feed_text(const struct fm_views *v) FM_WARN_UNUSED;
/* Something seems to be newer elsewhere. */
void fm_views_hurry(struct fm_views *v);

/* The pages /authority/view and /authority/feed. */
void fm_views_page(struct fm_views *v, const struct fm_page_request *q, struct fm_page_answer *a);
void fm_views_feed_page(struct fm_views *v, const struct fm_page_request *q,
                        struct fm_page_answer *a);
/* For `status`: of what is followed. NULL where nobody is. */
json_t *fm_views_json(const struct fm_views *v);
/* The same of the webhook; NULL where there is none. */
json_t *fm_views_webhook_json(const struct fm_views *v);

/* Nobody is asked any more. NULL is fine, here and below. */
void fm_views_stop(struct fm_views *v);
/* After fm_views_stop, the pages were closed, the resolver freed, and the loop has turned. */
void fm_views_free(struct fm_views *v);

#endif
