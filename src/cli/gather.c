/* Asking all controllers at once: see the header. Invariant: a visit that is over has an answer or
 * a reason; its link may still be closing. */
#include "cli/gather.h"

#include "base/assert.h"
#include "base/buf.h"
#include "cli/room.h"
#include "cli/whom.h"
#include "http/link.h"

#include <stdio.h>
#include <stdlib.h>

enum { ANSWER_MAX = 4 << 20 };

struct visit {
    struct fm_http_link link; /* first */
    struct crew *crew;
    struct fm_gathered *out;
    struct fm_lookup lookup;
    bool over;
};

struct crew {
    struct fm_room room;
    const struct fm_roster *roster;
    struct fm_str service;
    struct fm_tls *tls; /* NULL: plain */
    struct fm_mono deadline;
    struct visit *visit;
    unsigned n;
};

/* -------- one host -------- */

static void fail(struct visit *v, const char *why)
{
    FM_ASSERT(why);
    if (v->over)
        return;
    v->over = true;
    snprintf(v->out->why, sizeof v->out->why, "%s", why);
    fm_text_tame(v->out->why);
}

/* Is it the host that was meant, and of this service? */
static enum fm_err judge(const struct visit *v, const struct fm_said *said, struct fm_error *e)
{
    const struct fm_conf_host *h = v->out->host;
    if (!fm_str_eqz(v->crew->service, said->marks.service))
        return fm_error_set(e, FM_ERR_INVALID, "it is of the service `%s`", said->marks.service);
    if (!fm_str_eqz(h->name, said->host))
        return fm_error_set(e, FM_ERR_INVALID, "it says that it is `%s`", said->host);
    return FM_ERR_OK;
}

static void take(struct visit *v, struct fm_str body)
{
    struct fm_error e = {.msg = ""};
    struct fm_said *said = malloc(sizeof *said);
    json_t *o = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, NULL);
    enum fm_err err = said ? fm_said_read(v->crew->roster, said, o, &e) : FM_ERR_MEMORY;
    json_decref(o);
    if (!err)
        err = judge(v, said, &e);
    if (err) {
        free(said);
        fail(v, e.msg[0] ? e.msg : "out of memory");
        return;
    }
    v->out->said = said;
    v->over = true;
}

static struct visit *visit_of(struct fm_http_link *l)
{
    return fm_container_of(l, struct visit, link);
}

static void on_answered(struct fm_http_link *l, unsigned status, struct fm_str body)
{
    struct visit *v = visit_of(l);
    char why[64];
    if (v->over)
        return;
    if (status == 200) {
        take(v, body);
        return;
    }
    snprintf(why, sizeof why,
             status == 404 ? "it has no controller, or an older one" : "it answers with status %u",
             status);
    fail(v, why);
}

static void on_failed(struct fm_http_link *l, int err, const char *why)
{
    (void)err;
    fail(visit_of(l), why);
}

static void on_closed(struct fm_http_link *l)
{
    FM_ASSERT(!l->open);
}

static const struct fm_http_link_ops ops = {
    .answered = on_answered, .failed = on_failed, .closed = on_closed};

static void ask(struct visit *v, const struct fm_addr *to)
{
    struct crew *c = v->crew;
    struct fm_error e = {0};
    struct fm_http_ask a = {.to = to,
                            .tls = c->tls,
                            .peer = v->out->host->name.p,
                            .target = "/authority/marks",
                            .host = "fulmar",
                            .headers = "Connection: close\r\n",
                            .answer_max = ANSWER_MAX,
                            .connect = c->deadline,
                            .deadline = c->deadline};
    if (fm_http_link_ask(&v->link, &c->room.loop, &ops, &a, &e))
        fail(v, e.msg);
}

static void on_found(struct fm_lookup *q)
{
    struct visit *v = fm_container_of(q, struct visit, lookup);
    if (v->over)
        return;
    if (q->result || q->n == 0)
        fail(v, q->result ? q->why : "its name has no address");
    else
        ask(v, &q->addr[0]);
}

static void begin(struct visit *v)
{
    FM_ASSERT(v->out->host);
    const struct fm_conf_addr *at = &v->out->host->peer;
    struct fm_addr to;
    if (fm_addr_ip(&to, at->host, at->port) == FM_ERR_OK) {
        ask(v, &to);
    } else if (at->host.n > FM_LOOKUP_NAME_MAX) {
        fail(v, "its name is too long");
    } else {
        memcpy(v->lookup.name, at->host.p, at->host.n);
        v->lookup.port = at->port;
        v->lookup.done = on_found;
        fm_resolver_ask(v->crew->room.resolver, &v->lookup);
    }
}

/* -------- all of them -------- */

static bool all_over(const struct crew *c, bool closed)
{
    bool over = true;
    for (unsigned i = 0; i < c->n; i++)
        over &= c->visit[i].over && !(closed && c->visit[i].link.open);
    return over;
}

static void gather(struct crew *c, struct fm_gather *g)
{
    fm_loop_turn(&c->room.loop, 0); /* its clock: the deadline is of now */
    for (unsigned i = 0; i < c->n; i++) {
        c->visit[i].crew = c;
        c->visit[i].out = &g->of[i];
        begin(&c->visit[i]);
    }
    while (!all_over(c, false) && fm_mono_before(fm_mono_now(), c->deadline))
        fm_loop_turn(&c->room.loop,
                     fm_clamp_i64(fm_mono_sub_ns(c->deadline, fm_mono_now()), 0, FM_NS_PER_S) + 1);
    fm_room_forget_names(&c->room);
    for (unsigned i = 0; i < c->n; i++) {
        fail(&c->visit[i], "no answer in time");
        if (c->visit[i].link.open)
            fm_http_link_close(&c->visit[i].link);
    }
    while (!all_over(c, true))
        fm_loop_turn(&c->room.loop, FM_NS_PER_S);
}

static bool list(struct fm_gather *g, const struct fm_conf *conf)
{
    g->of = calloc(conf->nhosts + 1, sizeof *g->of);
    for (size_t i = 0; g->of && i < conf->nhosts; i++)
        if (conf->hosts[i].roles & (FM_ROLE_CONTROLLER | FM_ROLE_WITNESS))
            g->of[g->n++].host = &conf->hosts[i];
    return g->of != NULL;
}

enum fm_err fm_gather(struct fm_gather *g, const struct fm_args *a, struct fm_conf *conf,
                      const struct fm_roster *r, int64_t ms, struct fm_error *e)
{
    struct fm_whom whom = {.conf = conf}; /* for the settings of TLS alone */
    struct crew c = {
        .roster = r, .service = conf->service, .deadline = fm_mono_add_ms(fm_mono_now(), ms)};
    *g = (struct fm_gather){.n = 0};
    FM_ASSERT(ms > 0);
    bool listed = list(g, conf);
    c.n = g->n;
    c.visit = calloc(c.n + 1u, sizeof *c.visit);
    enum fm_err err = FM_ERR_OK;
    if (!listed || !c.visit)
        err = fm_error_set(e, FM_ERR_MEMORY, "out of memory");
    if (!err && conf->peer_tls.present)
        err = fm_whom_tls(&whom, a, &c.tls, e);
    if (!err)
        err = fm_room_open(&c.room, e);
    if (!err) {
        gather(&c, g);
        fm_room_close(&c.room);
    }
    for (unsigned i = 0; i < c.n && c.visit; i++)
        free(c.visit[i].link.out); /* still there where it could not even begin */
    free(c.visit);
    fm_tls_unref(c.tls);
    return err;
}

void fm_gather_free(struct fm_gather *g)
{
    for (unsigned i = 0; i < g->n; i++)
        free(g->of[i].said);
    free(g->of);
    *g = (struct fm_gather){.n = 0};
}
