/* Endpoints and their connections: see the header. Invariant: a connection is parked (in up->idle),
 * used (data set) or closing; nconns counts all three. */
#include "proxy/upstream.h"

#include "base/assert.h"
#include "base/hash.h"

#include <stdlib.h>

enum { IDLE_MS = 30 * 1000, REAP_MS = 5 * 1000 };

const struct fm_breaker_policy fm_upstream_link_policy = {
    .failures = 1, .connects = 1, .trials = 1, .hold_ms = 200, .hold_max_ms = 5000};
const struct fm_breaker_policy fm_upstream_answers_policy = {.failures = 5,
                                                             .connects = 255,
                                                             .trials = 3,
                                                             .hold_ms = 500,
                                                             .hold_max_ms = 30 * 1000,
                                                             .slow_start_ms = 5000};

static unsigned bucket_of(const struct fm_addr *a)
{
    uint8_t b[16];
    fm_addr_bytes(a, b);
    uint64_t x, y;
    memcpy(&x, b, 8);
    memcpy(&y, b + 8, 8);
    return (unsigned)(fm_mix64(x ^ fm_mix64(y + fm_addr_port(a))) % FM_UPSTREAM_BUCKETS);
}

struct fm_upstream *fm_upstream_get(struct fm_upstreams *u, const struct fm_addr *addr)
{
    struct fm_list *bucket = &u->bucket[bucket_of(addr)];
    fm_list_each (at, bucket) {
        struct fm_upstream *up = fm_container_of(at, struct fm_upstream, node);
        if (fm_addr_eq(&up->addr, addr))
            return up;
    }
    FM_ASSERT(addr->len > 0);
    struct fm_upstream *up = calloc(1, sizeof *up);
    if (!up)
        return NULL;
    up->addr = *addr;
    fm_list_init(&up->idle);
    fm_list_push_back(bucket, &up->node);
    return up;
}

static void forget_if_unused(struct fm_upstream *up)
{
    if (up->views || up->nconns || up->in_flight)
        return;
    FM_ASSERT(fm_list_empty(&up->idle) && up->nidle == 0);
    fm_list_remove(&up->node);
    fm_tls_unref(up->tls);
    free(up);
}

void fm_upstream_listed(struct fm_upstream *up)
{
    up->views++;
}

void fm_upstream_unlisted(struct fm_upstream *up)
{
    FM_ASSERT(up->views > 0);
    up->views--;
    forget_if_unused(up);
}

void fm_upstream_request_over(struct fm_upstream *up)
{
    FM_ASSERT(up->in_flight > 0);
    up->in_flight--;
    forget_if_unused(up);
}

static void close_idle(struct fm_upstream *up)
{
    while (!fm_list_empty(&up->idle))
        fm_upconn_close(fm_list_first(&up->idle, struct fm_upconn, node));
    FM_ASSERT(up->nidle == 0);
}

void fm_upstream_speak(struct fm_upstream *up, struct fm_tls *tls, const char *peer)
{
    FM_ASSERT(!tls || (peer && strlen(peer) < sizeof up->peer));
    struct fm_tls *was = up->tls;
    if (!was != !tls)
        close_idle(up);
    up->tls = tls ? fm_tls_ref(tls) : NULL;
    fm_tls_unref(was);
    if (tls)
        memcpy(up->peer, peer, strlen(peer) + 1);
}

void fm_upstreams_sweep(struct fm_upstreams *u)
{
    for (unsigned b = 0; b < FM_UPSTREAM_BUCKETS; b++) {
        fm_list_each_safe (at, next, &u->bucket[b]) {
            struct fm_upstream *up = fm_container_of(at, struct fm_upstream, node);
            if (!up->current)
                close_idle(up);
        }
    }
}

static void reap(struct fm_timer *t)
{
    struct fm_upstreams *u = fm_container_of(t, struct fm_upstreams, reaper);
    struct fm_mono now = fm_loop_now(u->loop);
    FM_ASSERT(!u->stopping);
    for (unsigned b = 0; b < FM_UPSTREAM_BUCKETS; b++) {
        fm_list_each (at, &u->bucket[b]) {
            struct fm_upstream *up = fm_container_of(at, struct fm_upstream, node);
            for (;;) {
                struct fm_upconn *oldest = fm_list_last(&up->idle, struct fm_upconn, node);
                if (!oldest || fm_mono_sub_ms(now, oldest->idle_since) < IDLE_MS)
                    break;
                fm_upconn_close(oldest);
            }
        }
    }
    fm_loop_timer_in_ms(u->loop, t, REAP_MS);
}

void fm_upstreams_init(struct fm_upstreams *u, struct fm_loop *l,
                       const struct fm_http_client_handler *handler,
                       const struct fm_http_limits *limits, struct fm_http_field *fields)
{
    *u = (struct fm_upstreams){.loop = l, .limits = limits, .fields = fields, .handler = handler};
    for (unsigned b = 0; b < FM_UPSTREAM_BUCKETS; b++)
        fm_list_init(&u->bucket[b]);
    fm_list_init(&u->spare);
    fm_timer_init(&u->reaper, reap);
    fm_loop_timer_in_ms(l, &u->reaper, REAP_MS);
}

void fm_upstreams_stop(struct fm_upstreams *u)
{
    u->stopping = true;
    fm_loop_cancel(u->loop, &u->reaper);
    for (unsigned b = 0; b < FM_UPSTREAM_BUCKETS; b++) {
        fm_list_each_safe (at, next, &u->bucket[b]) {
            struct fm_upstream *up = fm_container_of(at, struct fm_upstream, node);
            up->current = false;
            close_idle(up);
        }
    }
}

void fm_upstreams_deinit(struct fm_upstreams *u)
{
    FM_ASSERT(u->nconns == 0);
    for (unsigned b = 0; b < FM_UPSTREAM_BUCKETS; b++)
        FM_ASSERT(fm_list_empty(&u->bucket[b]));
    while (!fm_list_empty(&u->spare)) {
        struct fm_upconn *c = fm_list_first(&u->spare, struct fm_upconn, node);
        fm_list_remove(&c->node);
        free(c);
    }
}

/* -------- connections -------- */

static struct fm_upconn *take_parked(struct fm_upstreams *u, struct fm_upstream *up,
                                     int64_t fresh_ns)
{
    for (;;) {
        struct fm_upconn *c = fm_list_first(&up->idle, struct fm_upconn, node);
        if (!c || fm_mono_sub_ns(fm_loop_now(u->loop), c->idle_since) >= fresh_ns)
            return NULL;
        FM_ASSERT(c->up == up && !c->data && up->nidle > 0);
        fm_list_remove(&c->node);
        up->nidle--;
        if (fm_http_client_unpark(&c->http)) {
            c->reused = true;
            return c;
        }
        fm_http_client_close(&c->http); /* something unasked for came on it */
    }
}

static struct fm_upconn *new_conn(struct fm_upstreams *u, struct fm_upstream *up,
                                  struct fm_mono deadline, enum fm_err *err)
{
    struct fm_upconn *c = fm_list_first(&u->spare, struct fm_upconn, node);
    if (c)
        fm_list_remove(&c->node);
    else
        c = malloc(sizeof *c);
    if (!c) {
        *err = FM_ERR_MEMORY;
        return NULL;
    }
    memset(c, 0, sizeof *c);
    fm_list_init(&c->node);
    c->all = u;
    c->up = up;
    c->http.raw_bodies = true;
    c->http.tls = up->tls;
    c->http.peer = up->peer;
    *err = fm_http_client_open(&c->http, u->loop, &up->addr, deadline, u->handler, u->limits,
                               u->fields, NULL);
    if (*err) {
        fm_list_push_front(&u->spare, &c->node);
        return NULL;
    }
    u->nconns++;
    up->nconns++;
    return c;
}

struct fm_upconn *fm_upconn_acquire(struct fm_upstreams *u, struct fm_upstream *up,
                                    int64_t fresh_ns, struct fm_mono connect_deadline,
                                    enum fm_err *err)
{
    FM_ASSERT(!u->stopping && up->nidle <= up->nconns && fresh_ns >= 0);
    struct fm_upconn *c = take_parked(u, up, fresh_ns);
    return c ? c : new_conn(u, up, connect_deadline, err);
}

void fm_upconn_close(struct fm_upconn *c)
{
    if (!fm_list_empty(&c->node)) {
        fm_list_remove(&c->node);
        FM_ASSERT(c->up->nidle > 0);
        c->up->nidle--;
    }
    c->data = NULL;
    fm_http_client_close(&c->http);
}

void fm_upconn_release(struct fm_upconn *c)
{
    FM_ASSERT(fm_list_empty(&c->node) && c->up->nidle < c->up->nconns);
    c->data = NULL;
    c->reused = false;
    if (c->all->stopping || !c->up->current || c->up->nidle >= FM_UPSTREAM_IDLE_MAX ||
        !fm_http_client_is_reusable(&c->http)) {
        fm_http_client_close(&c->http);
        return;
    }
    fm_http_client_park(&c->http);
    c->idle_since = fm_loop_now(c->all->loop);
    fm_list_push_front(&c->up->idle, &c->node);
    c->up->nidle++;
    FM_ASSERT(c->up->nidle <= FM_UPSTREAM_IDLE_MAX);
}

void fm_upconn_failed_idle(struct fm_upconn *c)
{
    if (fm_list_empty(&c->node))
        return;
    fm_list_remove(&c->node);
    FM_ASSERT(c->up->nidle > 0);
    c->up->nidle--;
}

void fm_upconn_closed(struct fm_upconn *c)
{
    FM_ASSERT(c->all->nconns > 0 && c->up->nconns > 0 && fm_list_empty(&c->node));
    FM_ASSERT(!c->data && c->all->nconns >= c->up->nconns);
    c->all->nconns--;
    c->up->nconns--;
    forget_if_unused(c->up);
    fm_list_push_front(&c->all->spare, &c->node);
}
