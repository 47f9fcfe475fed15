/* Probing: rounds of questions. A round asks all its targets at once, waits for the last answer or
 * the time-out, tells the director, and sets its timer anew. One round per region with agents, one
 * per pool of a region without. A target that is asked when everything is reset is left alone until
 * its connection is closed (`stale`). */
#include "proxy/probes.h"

#include "base/assert.h"
#include "base/log.h"
#include "core/check.h"
#include "http/client.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { ANSWER_MAX = 256 * 1024, ENDPOINT_FALL = 2 };

struct target {
    struct fm_http_client http;
    struct target *next;
    struct round *round;
    struct fm_timer timer; /* the probe's time-out, over all of it */
    struct fm_addr addr;
    const struct fm_conf_addr *conf; /* of an agent: looked up anew each time */
    const char *peer;                /* the agent's host */
    char name[FM_ADDR_TEXT_MAX];
    int endpoint; /* index in the view, or -1 */
    bool open, asked, stale, ok, answered, refused;
    uint8_t failed_in_row;
    unsigned status;
    char why[FM_EVENT_TEXT_MAX];
    char *body; /* of /health/deep */
    size_t body_n;
    json_t *doc; /* the same, once it is whole */
};

struct round {
    struct fm_probes *all;
    struct round *next;
    struct fm_timer timer;
    unsigned region, pool;
    bool deep;    /* asks agents */
    bool samples; /* what it finds is a sample of the region's health */
    struct target *targets;
    unsigned pending;
};

struct fm_probes {
    struct fm_director *d;
    struct round *rounds;
    struct round *stale; /* of before a reset, until their connections are closed */
    struct fm_http_limits limits;
    struct fm_http_field *fields;
    uint64_t generation;
};

static void ask_all(struct fm_timer *t);

static const struct fm_conf *conf_of(const struct fm_probes *p)
{
    return p->d->board->conf;
}

static bool in_round(const struct round *r, unsigned context)
{
    FM_ASSERT(context < r->all->d->view->ncontexts && r->region < r->all->d->view->nregions);
    return r->deep || r->all->d->view->contexts[context].pool[r->region] == r->pool;
}

/* -------- the end of a round -------- */

static void set_timer(struct round *r)
{
    int64_t best = INT64_MAX;
    for (unsigned c = 0; c < r->all->d->board->ncontexts; c++) {
        if (!in_round(r, c))
            continue;
        int64_t ms = fm_director_probe_in_ms(r->all->d, r->region, c);
        FM_ASSERT(ms > 0);
        best = ms < best ? ms : best;
    }
    if (best != INT64_MAX)
        fm_loop_timer_in_ms(r->all->d->loop, &r->timer, best);
}

/* What one agent says about a context: 1 yes, 0 no, -1 nothing. */
static int agent_says(const struct target *t, const char *context, char *why, size_t why_n)
{
    json_t *c = json_object_get(json_object_get(t->doc, "contexts"), context);
    json_t *capable = json_object_get(c, "capable");
    if (!json_is_boolean(capable)) {
        snprintf(why, why_n, "%s: %s", t->name, t->doc ? "does not know this context" : t->why);
        return -1;
    }
    if (json_is_true(capable))
        return 1;
    const char *text = json_string_value(json_object_get(c, "why"));
    snprintf(why, why_n, "%s: %s", t->name, text ? text : "not capable");
    return 0;
}

static void tell_deep(struct round *r)
{
    struct fm_director *d = r->all->d;
    FM_ASSERT(r->deep && r->samples && r->pending == 0);
    for (unsigned c = 0; c < d->board->ncontexts; c++) {
        unsigned yes = 0, no = 0;
        char why[FM_EVENT_TEXT_MAX] = "";
        for (const struct target *t = r->targets; t; t = t->next) {
            int says = agent_says(t, d->board->conf->contexts[c].name.p, why, sizeof why);
            yes += says == 1;
            no += says == 0;
        }
        bool ok = fm_check_fold(yes, no);
        atomic_store_explicit(&fm_board_slot(d->board, r->region, c)->unheard, yes + no == 0,
                              memory_order_relaxed);
        fm_director_probe(d, r->region, c, ok, ok ? FM_STR("ok") : fm_str_z(why));
    }
}

static void tell_apps(struct round *r)
{
    struct fm_director *d = r->all->d;
    unsigned ok = 0, refused = 0, n = 0;
    FM_ASSERT(!r->deep && r->pending == 0);
    const char *why = "no address is known";
    for (struct target *t = r->targets; t; t = t->next, n++) {
        FM_ASSERT(t->endpoint >= 0 && !t->asked && !(t->ok && t->refused));
        t->failed_in_row = t->ok ? 0 : (uint8_t)(t->failed_in_row + (t->failed_in_row < 255));
        fm_director_endpoint(d, (unsigned)t->endpoint,
                             t->ok || (!t->refused && t->failed_in_row < ENDPOINT_FALL));
        ok += t->ok;
        refused += t->refused;
        if (!t->ok)
            why = t->why;
    }
    for (unsigned c = 0; c < d->board->ncontexts; c++) {
        if (!r->samples || !in_round(r, c))
            continue;
        fm_director_probe(d, r->region, c, ok > 0, ok ? FM_STR("ok") : fm_str_z(why));
        if (n && refused == n)
            fm_director_nobody(d, r->region, c);
    }
}

static void target_done(struct target *t)
{
    struct round *r = t->round;
    if (!t->asked)
        return;
    t->asked = false;
    fm_loop_cancel(r->all->d->loop, &t->timer);
    FM_ASSERT(r->pending > 0 && !t->stale);
    if (--r->pending > 0)
        return;
    if (r->deep)
        tell_deep(r);
    else
        tell_apps(r);
    set_timer(r);
}

/* -------- one target -------- */

static void give_up(struct target *t, const char *why)
{
    snprintf(t->why, sizeof t->why, "%s", why);
    if (t->open && fm_http_client_is_open(&t->http))
        fm_http_client_close(&t->http);
    target_done(t);
}

static void timed_out(struct fm_timer *timer)
{
    give_up(fm_container_of(timer, struct target, timer), "no answer in time");
}

static void send_question(struct target *t)
{
    char text[1024];
    const struct fm_probes *p = t->round->all;
    struct fm_buf b = fm_buf(text, sizeof text);
    fm_buf_lit(&b, "GET ");
    fm_buf_str_add(&b, t->round->deep ? FM_STR("/health/deep") : conf_of(p)->probe.app_path);
    fm_buf_lit(&b, " HTTP/1.1\r\nUser-Agent: fulmar-probe\r\nConnection: close\r\nHost: ");
    fm_buf_str_add(&b, fm_str_z(t->name));
    fm_buf_lit(&b, "\r\n\r\n");
    FM_ASSERT(t->open && t->asked);
    if (b.full) {
        give_up(t, "the path of probe.app is too long");
        return;
    }
    struct iovec iov = {text, b.n};
    struct fm_mono by = fm_mono_add_ms(fm_loop_now(p->d->loop), conf_of(p)->probe.timeout_ms);
    fm_http_client_send(&t->http, &iov, 1, by);
    fm_http_client_head(&t->http, FM_METHOD_GET, by);
}

static void on_connected(struct fm_http_client *h)
{
    struct target *t = fm_container_of(h, struct target, http);
    if (t->round->deep || conf_of(t->round->all)->probe.app == FM_PROBE_HTTP) {
        send_question(t);
        return;
    }
    t->ok = t->answered = true;
    fm_http_client_close(h);
    target_done(t);
}

static void on_sent(struct fm_http_client *h)
{
    (void)h;
}

static void answered(struct target *t)
{
    FM_ASSERT(t->asked && !t->answered && t->status >= 200);
    t->answered = true;
    t->ok = t->status >= 200 && t->status < 300;
    if (t->round->deep && t->body)
        t->doc = json_loadb(t->body, t->body_n, 0, NULL);
    if (t->round->deep && !t->doc)
        snprintf(t->why, sizeof t->why, "status %u without a health document", t->status);
    else if (!t->ok)
        snprintf(t->why, sizeof t->why, "status %u", t->status);
    if (fm_http_client_is_open(&t->http))
        fm_http_client_close(&t->http);
    target_done(t);
}

static void on_head(struct fm_http_client *h, const struct fm_http_head *head)
{
    struct target *t = fm_container_of(h, struct target, http);
    if (head->status < 200)
        return;
    t->status = head->status;
    if (!t->round->deep || !fm_http_client_has_body(h))
        answered(t);
    else
        fm_http_client_body(h, conf_of(t->round->all)->probe.timeout_ms);
}

static void on_body(struct fm_http_client *h, struct fm_str piece, bool last)
{
    struct target *t = fm_container_of(h, struct target, http);
    char *p = t->body_n + piece.n <= ANSWER_MAX ? realloc(t->body, t->body_n + piece.n + 1) : NULL;
    if (!p) {
        give_up(t, "an answer that is too long");
        return;
    }
    t->body = p;
    if (piece.n)
        memcpy(p + t->body_n, piece.p, piece.n);
    t->body_n += piece.n;
    if (last)
        answered(t);
    else
        fm_http_client_body(h, conf_of(t->round->all)->probe.timeout_ms);
}

static void on_failed(struct fm_http_client *h, int err, const char *why)
{
    struct target *t = fm_container_of(h, struct target, http);
    char text[FM_EVENT_TEXT_MAX], because[64];
    t->refused = err == -ECONNREFUSED;
    if (err == -ETIMEDOUT)
        snprintf(text, sizeof text, "no answer in time");
    else if (t->refused || err == 0 || err == -EPROTO)
        snprintf(text, sizeof text, "%s", t->refused ? "connection refused" : why);
    else
        snprintf(text, sizeof text, "%s: %s", why, strerror_r(-err, because, sizeof because));
    give_up(t, text);
}

static void free_round(struct round *r)
{
    while (r->targets) {
        struct target *t = r->targets;
        FM_ASSERT(!t->open && !fm_timer_is_set(&t->timer));
        r->targets = t->next;
        free(t->body);
        json_decref(t->doc);
        free(t);
    }
    free(r);
}

/* A stale round goes when the last of its connections is closed. */
static void bury_stale(struct fm_probes *p)
{
    for (struct round **at = &p->stale; *at;) {
        struct round *r = *at;
        bool open = false;
        for (const struct target *t = r->targets; t; t = t->next)
            open |= t->open;
        if (open) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        free_round(r);
    }
}

static void on_closed(struct fm_http_client *h)
{
    struct target *t = fm_container_of(h, struct target, http);
    FM_ASSERT(t->open && !t->asked);
    t->open = false;
    if (t->stale)
        bury_stale(t->round->all);
}

static const struct fm_http_client_handler probe_handler = {.connected = on_connected,
                                                            .sent = on_sent,
                                                            .head = on_head,
                                                            .body = on_body,
                                                            .failed = on_failed,
                                                            .closed = on_closed};

/* -------- asking -------- */

static void ask(struct target *t)
{
    struct fm_probes *p = t->round->all;
    FM_ASSERT(t->asked && !t->open && !t->stale);
    t->ok = t->answered = t->refused = false;
    t->status = 0;
    free(t->body);
    json_decref(t->doc);
    t->body = NULL;
    t->doc = NULL;
    t->body_n = 0;
    if (t->conf && !fm_names_find(&p->d->names, t->conf, &t->addr)) {
        give_up(t, "its name has no address");
        return;
    }
    int64_t ms = conf_of(p)->probe.timeout_ms;
    struct fm_error e;
    t->http.tls = t->peer ? p->d->board->peers.client : NULL;
    t->http.peer = t->peer;
    if (fm_http_client_open(&t->http, p->d->loop, &t->addr, fm_mono_add_ms(fm_mono_now(), ms),
                            &probe_handler, &p->limits, p->fields, &e)) {
        t->refused = e.code == FM_ERR_UNREACHABLE;
        give_up(t, e.msg);
        return;
    }
    t->open = true;
    fm_loop_timer(p->d->loop, &t->timer, fm_mono_add_ms(fm_mono_now(), ms));
}

static void ask_all(struct fm_timer *timer)
{
    struct round *r = fm_container_of(timer, struct round, timer);
    unsigned n = 0;
    FM_ASSERT(r->pending == 0);
    for (struct target *t = r->targets; t; t = t->next) {
        if (t->open) { /* the last connection is not buried yet: a turn later */
            fm_loop_timer_in_ms(r->all->d->loop, timer, 1);
            return;
        }
        n++;
    }
    if (n == 0) { /* nobody to ask: the region cannot be well */
        if (r->deep)
            tell_deep(r);
        else
            tell_apps(r);
        set_timer(r);
        return;
    }
    r->pending = n;
    for (struct target *t = r->targets; t; t = t->next)
        t->asked = true;
    for (struct target *t = r->targets, *next; t; t = next) {
        next = t->next;
        ask(t);
    }
}

/* -------- rounds -------- */

static struct round *new_round(struct fm_probes *p, unsigned region, unsigned pool, bool deep,
                               bool samples)
{
    struct round *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->all = p;
    r->region = region;
    r->pool = pool;
    r->deep = deep;
    r->samples = samples;
    fm_timer_init(&r->timer, ask_all);
    r->next = p->rounds;
    p->rounds = r;
    fm_loop_timer_in_ms(p->d->loop, &r->timer, 1);
    return r;
}

static struct target *new_target(struct round *r)
{
    struct target *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->round = r;
    t->endpoint = -1;
    fm_timer_init(&t->timer, timed_out);
    t->next = r->targets;
    r->targets = t;
    return t;
}

static void add_agents(struct fm_probes *p, unsigned region)
{
    const struct fm_conf *c = conf_of(p);
    struct round *r = new_round(p, region, 0, true, true);
    for (size_t h = 0; r && h < c->nhosts; h++) {
        if (c->hosts[h].region != region || !(c->hosts[h].roles & FM_ROLE_HEALTH))
            continue;
        struct target *t = new_target(r);
        if (!t)
            return;
        t->conf = &c->hosts[h].peer;
        t->peer = c->hosts[h].name.p;
        snprintf(t->name, sizeof t->name, "%.*s", FM_STR_ARG(c->hosts[h].name));
    }
}

static void add_apps(struct fm_probes *p, unsigned region)
{
    const struct fm_view *v = p->d->view;
    const struct fm_view_region *vr = &v->regions[region];
    FM_ASSERT(!vr->gates && region < v->nregions);
    for (unsigned pool = 0; pool < vr->npools; pool++) {
        struct round *r =
            new_round(p, region, pool, false, !conf_of(p)->regions[region].has_health);
        for (unsigned i = 0; r && i < vr->pools[pool].n; i++) {
            struct target *t = new_target(r);
            if (!t)
                return;
            unsigned e = vr->pools[pool].first + i;
            t->endpoint = (int)e;
            t->addr = v->endpoints[e].addr;
            memcpy(t->name, v->endpoints[e].text, sizeof t->name);
        }
    }
}

static void drop_rounds(struct fm_probes *p)
{
    while (p->rounds) {
        struct round *r = p->rounds;
        p->rounds = r->next;
        fm_loop_cancel(p->d->loop, &r->timer);
        for (struct target *t = r->targets; t; t = t->next) {
            t->stale = true;
            t->asked = false;
            fm_loop_cancel(p->d->loop, &t->timer);
            if (t->open && fm_http_client_is_open(&t->http))
                fm_http_client_close(&t->http);
        }
        r->next = p->stale;
        p->stale = r;
    }
    bury_stale(p);
}

void fm_probes_reset(struct fm_probes *p)
{
    drop_rounds(p);
    FM_ASSERT(!p->rounds && p->d->view->conf == conf_of(p));
    const struct fm_conf *c = conf_of(p);
    bool edge = p->d->config.mode == FM_PROXY_EDGE;
    for (unsigned r = 0; r < c->nregions; r++) {
        if (c->regions[r].witness) /* it serves nothing: it is neither well nor unwell */
            continue;
        if (edge && c->regions[r].has_health)
            add_agents(p, r);
        bool direct = edge ? !p->d->view->regions[r].gates : r == p->d->config.self;
        if (direct && c->probe.app != FM_PROBE_NONE)
            add_apps(p, r);
    }
}

struct fm_probes *fm_probes_new(struct fm_director *d, struct fm_error *e)
{
    struct fm_probes *p = calloc(1, sizeof *p);
    if (p)
        p->fields = calloc(FM_HTTP_FIELDS_MAX, sizeof *p->fields);
    if (!p || !p->fields) {
        free(p);
        fm_error_set(e, FM_ERR_MEMORY, "no memory for probes");
        return NULL;
    }
    p->d = d;
    p->limits = (struct fm_http_limits)FM_HTTP_LIMITS_DEFAULT;
    fm_probes_reset(p);
    return p;
}

void fm_probes_free(struct fm_probes *p)
{
    if (!p)
        return;
    drop_rounds(p);
    fm_loop_turn(p->d->loop, 0);
    FM_ASSERT(!p->stale);
    free(p->fields);
    free(p);
}
