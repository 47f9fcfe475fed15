/* See the header. */
#include "agent/views.h"

#include "agent/webhook.h"
#include "base/assert.h"
#include "base/log.h"
#include "proxy/seats_view.h"

#include <stdlib.h>

struct fm_views {
    struct fm_views_config config;
    const struct fm_conf *conf;
    struct fm_publish *publish;
    struct fm_webhook *hook;
    struct fm_follow *follow; /* NULL: it has a controller, or nothing is held by anybody */
};

static bool has_cells(const struct fm_conf *conf)
{
    for (size_t i = 0; i < conf->ncontexts; i++)
        if (conf->contexts[i].ncells)
            return true;
    return false;
}

static void to_gate(struct fm_views *v)
{
    const struct fm_view_doc *d = fm_publish_doc(v->publish);
    if (!d || !v->config.director)
        return;
    fm_seats_take_view(v->config.director->seats, v->conf, d);
    fm_director_take_intents(v->config.director, d); /* of regions: shown; it takes what comes */
    fm_director_authority_changed(v->config.director);
}

void fm_views_take(struct fm_views *v, const struct fm_view_doc *d)
{
    struct fm_error e = {0};
    if (fm_publish_set(v->publish, d, &e))
        fm_log(FM_LOG_ERROR, "view_not_handed_out", FM_KE(&e),
               FM_KU("generation", d->generation.n));
    to_gate(v);
    fm_webhook_look(v->hook);
    if (v->config.changed)
        v->config.changed(v->config.user);
}

/* -------- systems downstream -------- */

static bool hook_sends(void *user)
{
    struct fm_views *v = user;
    return v->config.keeps && v->config.keeps(v->config.user);
}

static char *hook_text(void *user)
{
    return fm_views_feed_text(user);
}

static const struct fm_view_doc *hook_view(void *user)
{
    return fm_views_doc(user);
}

static void hook_tells(void *user, const char *why, const char *text, const char *evidence)
{
    struct fm_views *v = user;
    if (v->config.tell)
        v->config.tell(v->config.user, why, text, evidence);
}

static bool open_hook(struct fm_views *v)
{
    struct fm_webhook_config c = {.loop = v->config.mailbox->loop,
                                  .resolver = v->config.resolver,
                                  .host = v->config.host,
                                  .region = v->config.region,
                                  .sends = hook_sends,
                                  .text = hook_text,
                                  .view = hook_view,
                                  .tell = hook_tells,
                                  .user = v};
    v->hook = fm_webhook_new(&c, v->conf);
    return v->hook != NULL;
}

/* -------- following -------- */

static void followed(void *user)
{
    struct fm_views *v = user;
    const struct fm_view_doc *d = fm_follow_doc(v->follow);
    if (d)
        fm_views_take(v, d);
}

static enum fm_err follow(struct fm_views *v, const struct fm_peers *peers, struct fm_error *e)
{
    const struct fm_follow_config c = {.mailbox = v->config.mailbox,
                                       .resolver = v->config.resolver,
                                       .folder = v->config.folder,
                                       .host = v->config.host,
                                       .region = v->config.region,
                                       .controllers = true,
                                       .changed = followed,
                                       .user = v};
    FM_ASSERT(!v->config.controller);
    if (v->follow) {
        if (fm_follow_reset(v->follow, v->conf, peers))
            return fm_error_set(e, FM_ERR_MEMORY, "out of memory");
        return FM_ERR_OK;
    }
    if (!has_cells(v->conf))
        return FM_ERR_OK;
    v->follow = fm_follow_new(&c, v->conf, peers, e);
    if (!v->follow)
        return e->code;
    followed(v); /* what it had on disk */
    return FM_ERR_OK;
}

void fm_views_reset(struct fm_views *v, const struct fm_conf *conf, const struct fm_peers *peers)
{
    struct fm_error e = {0};
    v->conf = conf;
    if (!v->config.controller && follow(v, peers, &e))
        fm_log(FM_LOG_ERROR, "view_not_followed", FM_KE(&e));
    fm_webhook_reset(v->hook, conf);
    to_gate(v);
}

struct fm_views *fm_views_new(const struct fm_views_config *c, const struct fm_conf *conf,
                              const struct fm_peers *peers, struct fm_error *e)
{
    struct fm_views *v = calloc(1, sizeof *v);
    if (!v) {
        fm_error_set(e, FM_ERR_MEMORY, "no memory to hand out views");
        return NULL;
    }
    v->config = *c;
    v->conf = conf;
    v->publish = fm_publish_new(c->mailbox->loop, e);
    bool hook = v->publish && open_hook(v);
    if (v->publish && !hook)
        fm_error_set(e, FM_ERR_MEMORY, "no memory to hand out views");
    if (hook && (c->controller || follow(v, peers, e) == FM_ERR_OK))
        return v;
    fm_views_stop(v);
    fm_views_free(v);
    return NULL;
}

const struct fm_view_doc *fm_views_doc(const struct fm_views *v)
{
    return fm_publish_doc(v->publish);
}

char *fm_views_feed_text(const struct fm_views *v)
{
    return fm_publish_feed_text(v->publish);
}

void fm_views_hurry(struct fm_views *v)
{
    if (v->follow)
        fm_follow_hurry(v->follow);
}

void fm_views_page(struct fm_views *v, const struct fm_page_request *q, struct fm_page_answer *a)
{
    fm_publish_view(v->publish, q, a);
}

void fm_views_feed_page(struct fm_views *v, const struct fm_page_request *q,
                        struct fm_page_answer *a)
{
    fm_publish_feed(v->publish, q, a);
}

json_t *fm_views_json(const struct fm_views *v)
{
    return v->follow ? fm_follow_json(v->follow) : NULL;
}

json_t *fm_views_webhook_json(const struct fm_views *v)
{
    return fm_webhook_json(v->hook);
}

void fm_views_stop(struct fm_views *v)
{
    if (!v)
        return;
    fm_webhook_stop(v->hook);
    fm_follow_stop(v->follow);
}

void fm_views_free(struct fm_views *v)
{
    if (!v)
        return;
    fm_follow_free(v->follow);
    fm_webhook_free(v->hook);
    fm_publish_free(v->publish);
    free(v);
}
