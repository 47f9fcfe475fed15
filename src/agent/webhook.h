/* agent/webhook.h: `authority-webhook`: the document of `GET /authority/feed`, posted to a system
 * downstream whenever it changes (docs/reference/wire.md).
 *
 * There is no queue: one post is under way at a time, and the next one is of what is so by then; so
 * a receiver may miss states, never the last one. A post that was not answered with 2xx is tried
 * again, after a pause that grows (core/telling.h). Who sends, and
 * what he had sent before, is known to nobody else: a receiver hears the same more than once, from
 * several regions, in any order, and goes by incarnation and generation.
 *
 * A receiver that cannot be reached, or a file that cannot be read, is told in the log, in `status`
 * and as an event, and disturbs nothing else. Belongs to one control loop. */
#ifndef FM_AGENT_WEBHOOK_H
#define FM_AGENT_WEBHOOK_H

#include "conf/conf.h"
#include "io/resolve.h"
#include "proxy/view_doc.h"

#include <jansson.h>

struct fm_webhook;

struct fm_webhook_config {
    struct fm_loop *loop;
    struct fm_resolver *resolver;
    const char *host, *region; /* who this is; copied */
    /* Is it this host that tells? Asked about once a second while it is not. */
    bool (*sends)(void *user);
    /* What is to be told, from malloc; NULL: nothing yet. */
    char *(*text)(void *user);
    /* Its version; NULL as above. */
    const struct fm_view_doc *(*view)(void *user);
    /* It begins to fail, or works again. `why` and `text` live as long as the program. May be NULL.
     */
    void (*tell)(void *user, const char *why, const char *text, const char *evidence);
    void *user;
};

enum { FM_WEBHOOK_TIMEOUT_MS = 5 * 1000 };
enum {
    FM_WEBHOOK_SECRET_LEAST = 16,
    FM_WEBHOOK_SECRET_ROOM = 1024,
    FM_WEBHOOK_SIGNATURE_ROOM = 128
};

/* `conf` is only read here and in reset. Nothing is sent before the loop runs. NULL: no memory. */
struct fm_webhook *fm_webhook_new(const struct fm_webhook_config *c,
                                  const struct fm_conf *conf) FM_WARN_UNUSED;
/* After a reload. What was delivered to the same URL is not told again. */
void fm_webhook_reset(struct fm_webhook *h, const struct fm_conf *conf);
/* What is to be told may have changed. */
void fm_webhook_look(struct fm_webhook *h);

/* For `status`; NULL where no webhook is configured. */
json_t *fm_webhook_json(const struct fm_webhook *h);

/* Nothing is sent or told any more. NULL is fine, here and below. */
void fm_webhook_stop(struct fm_webhook *h);
/* After fm_webhook_stop, the resolver was freed and the loop has turned once more. */
void fm_webhook_free(struct fm_webhook *h);

/* `t=SECONDS,v1=HEX`: HMAC-SHA256 (RFC 2104) with `secret` over the seconds since 1970 as they
 * stand there, a dot, and the body. */
void fm_webhook_sign(char out[FM_WEBHOOK_SIGNATURE_ROOM], struct fm_str secret, int64_t seconds,
                     struct fm_str body);

#endif
