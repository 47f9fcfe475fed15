/* Learning what is agreed: see the header. Invariant: at most one is asked at a time; what it says
 * is only told where it is whole (agent/agreed.h). Whether it counts is the owner's to say. */
#include "agent/learn.h"

#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

enum { ASK_MS = 2000, CONNECT_MS = 500, PATIENCE_MS = 1500 };

struct fm_learn_peer {
    struct fm_learn *l;
    struct fm_caller caller;
    struct fm_tls *tls;
    char host[256], name[256];
};

static void answered(struct fm_caller *c, unsigned status, struct fm_str body)
{
    struct fm_learn *l = fm_container_of(c, struct fm_learn_peer, caller)->l;
    struct fm_agreed a;
    const char *why;
    if (status != 200 || l->stopped)
        return;
    json_t *doc = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, NULL);
    json_t *agreed = json_object_get(doc, "agreed");
    char *text = json_is_object(agreed) ? json_dumps(agreed, JSON_COMPACT) : NULL;
    if (text && fm_agreed_read(fm_str_z(text), &a, &why)) {
        l->learnt(l->user, &a);
        fm_agreed_free(&a);
    }
    free(text);
    json_decref(doc);
}

static void failed(struct fm_caller *c, const char *why)
{
    (void)c; /* the next one is asked in its turn */
    (void)why;
}

/* False: it is still to be waited for. */
static bool bury(struct fm_learn *l, bool resolver_freed)
{
    struct fm_learn_peer *p = l->peer;
    if (!p)
        return true;
    fm_caller_close(&p->caller);
    if (!fm_caller_is_gone(&p->caller, resolver_freed))
        return false;
    fm_tls_unref(p->tls);
    free(p);
    l->peer = NULL;
    return true;
}

static const struct fm_conf_host *next_host(struct fm_learn *l)
{
    for (size_t i = 0; i < l->conf->nhosts; i++) {
        const struct fm_conf_host *h = &l->conf->hosts[l->next++ % l->conf->nhosts];
        if (h->roles & (FM_ROLE_CONTROLLER | FM_ROLE_WITNESS) && !fm_str_eqz(h->name, l->host))
            return h;
    }
    return NULL;
}

static void ask(struct fm_learn *l)
{
    const struct fm_conf_host *h = next_host(l);
    struct fm_learn_peer *p = h ? calloc(1, sizeof *p) : NULL;
    char target[64];
    if (!p)
        return;
    p->l = l;
    p->tls = l->peers->client ? fm_tls_ref(l->peers->client) : NULL;
    /* the file may be another one before the name is looked up */
    snprintf(p->host, sizeof p->host, "%.*s", FM_STR_ARG(h->peer.host));
    snprintf(p->name, sizeof p->name, "%.*s", FM_STR_ARG(h->name));
    struct fm_caller_to to = {
        .host = fm_str_z(p->host), .port = h->peer.port, .tls = p->tls, .peer = fm_str_z(p->name)};
    p->caller.answered = answered;
    p->caller.failed = failed;
    fm_caller_init(&p->caller, l->loop, l->resolver, &to);
    l->peer = p;
    snprintf(target, sizeof target, "/config/shared?newer=%llu",
             (unsigned long long)l->known(l->user));
    struct fm_caller_ask a = {.target = target,
                              .answer_max = FM_AGREED_TEXT_MAX + 4096,
                              .connect_ms = CONNECT_MS,
                              .timeout_ms = PATIENCE_MS};
    fm_caller_ask(&p->caller, &a);
}

static void due(struct fm_timer *t)
{
    struct fm_learn *l = fm_container_of(t, struct fm_learn, timer);
    FM_ASSERT(!l->stopped);
    fm_loop_timer_in_ms(l->loop, t, ASK_MS);
    bool free_now = l->peer ? !l->peer->caller.busy && bury(l, false) : true;
    if (free_now && l->conf && l->conf->nhosts)
        ask(l);
}

void fm_learn_from(struct fm_learn *l, const struct fm_conf *conf)
{
    l->conf = conf;
    if (conf && !l->stopped)
        fm_loop_timer_in_ms(l->loop, &l->timer, 0);
    else
        fm_loop_cancel(l->loop, &l->timer);
}

void fm_learn_begin(struct fm_learn *l)
{
    FM_ASSERT(l->loop && l->resolver && l->peers && l->host && l->known && l->learnt);
    fm_timer_init(&l->timer, due);
}

void fm_learn_stop(struct fm_learn *l)
{
    l->stopped = true;
    fm_loop_cancel(l->loop, &l->timer);
    if (l->peer)
        fm_caller_close(&l->peer->caller);
}

void fm_learn_end(struct fm_learn *l)
{
    FM_ASSERT(l->stopped);
    while (!bury(l, true))
        fm_loop_turn(l->loop, FM_NS_PER_MS);
}
