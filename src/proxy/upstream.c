/* Endpoints and their connections: see the header. Invariants: a connection is being made (in
 * up->making), parked (in up->idle), used (data set) or closing; nconns counts them all. Who waits
 * has a request in flight there, so the upstream is there as long; what is made or parked may be
 * there without anybody. */
#include "proxy/upstream.h"

#include "base/assert.h"
#include "base/hash.h"

#include <errno.h>

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

static void match(struct fm_timer *t);
static enum fm_err make_more(struct fm_upstream *up);

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
    up->all = u;
    up->addr = *addr;
    fm_list_init(&up->idle);
    fm_list_init(&up->making);
    fm_list_init(&up->waiting);
    fm_timer_init(&up->matcher, match);
    fm_list_push_back(bucket, &up->node);
    return up;
}

static void forget_if_unused(struct fm_upstream *up)
{
    if (up->views || up->nconns || up->in_flight)
        return;
    FM_ASSERT(fm_list_empty(&up->idle) && up->nidle == 0);
    FM_ASSERT(fm_list_empty(&up->making) && up->nmaking == 0);
    FM_ASSERT(fm_list_empty(&up->waiting) && up->nwaiting == 0);
    fm_loop_cancel(up->all->loop, &up->matcher);
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

static void close_making(struct fm_upstream *up)
{
    while (!fm_list_empty(&up->making))
        fm_upconn_close(fm_list_first(&up->making, struct fm_upconn, node));
    FM_ASSERT(up->nmaking == 0);
}

void fm_upstream_speak(struct fm_upstream *up, struct fm_tls *tls, const char *peer)
{
    FM_ASSERT(!tls || (peer && strlen(peer) < sizeof up->peer));
    struct fm_tls *was = up->tls;
    if (!was != !tls) {
        close_idle(up);
        close_making(up);
        up->pace = (struct fm_connects_pace){0}; /* of the others */
    }
    up->tls = tls ? fm_tls_ref(tls) : NULL;
    fm_tls_unref(was);
    if (tls)
        memcpy(up->peer, peer, strlen(peer) + 1);
    (void)make_more(up); /* where somebody waited for those */
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
                       const struct fm_upwait_handler *waits, const struct fm_http_limits *limits,
                       struct fm_http_field *fields, struct fm_counter *made)
{
    *u = (struct fm_upstreams){.loop = l,
                               .limits = limits,
                               .fields = fields,
                               .handler = handler,
                               .waits = waits,
                               .made = made};
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
            close_making(up);
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

static bool fits(const struct fm_upstream *up, const struct fm_upconn *c, int64_t fresh_ns)
{
    return c && fm_mono_sub_ns(fm_loop_now(up->all->loop), c->idle_since) < fresh_ns;
}

static struct fm_upconn *first_parked(const struct fm_upstream *up)
{
    return fm_list_first(&up->idle, struct fm_upconn, node);
}

static struct fm_upconn *take_parked(struct fm_upstream *up, int64_t fresh_ns)
{
    for (;;) {
        struct fm_upconn *c = first_parked(up);
        if (!fits(up, c, fresh_ns))
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

struct fm_upconn *fm_upconn_new(struct fm_upstream *up, struct fm_mono by, enum fm_err *err)
{
    struct fm_upstreams *u = up->all;
    FM_ASSERT(!u->stopping);
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
    *err = fm_http_client_open(&c->http, u->loop, &up->addr, by, u->handler, u->limits, u->fields,
                               NULL);
    if (*err) {
        fm_list_push_front(&u->spare, &c->node);
        return NULL;
    }
    u->nconns++;
    up->nconns++;
    fm_counter_inc(u->made);
    return c;
}

/* For whoever is the first in line then. */
static enum fm_err make_one(struct fm_upstream *up)
{
    enum fm_err err;
    struct fm_mono now = fm_loop_now(up->all->loop);
    struct fm_mono shaken = fm_mono_add_ms(now, FM_CONNECTS_SHAKE_MS);
    struct fm_upconn *c = fm_upconn_new(up, up->by, &err);
    if (!c)
        return err;
    if (up->tls)
        fm_http_client_shake_by(&c->http, fm_mono_max(shaken, up->by));
    c->making = true;
    c->idle_since = now;
    c->by = up->by;
    fm_list_push_back(&up->making, &c->node);
    up->nmaking++;
    return FM_ERR_OK;
}

/* The line as it will be when `match` has run. */
static unsigned unserved(const struct fm_upstream *up)
{
    return up->nwaiting > up->nback ? up->nwaiting - up->nback : 0;
}

static unsigned late(const struct fm_upstream *up)
{
    unsigned n = 0;
    fm_list_each (at, &up->making) {
        const struct fm_upconn *c = fm_container_of(at, struct fm_upconn, node);
        n += !fm_mono_before(fm_loop_now(up->all->loop), c->by);
    }
    FM_ASSERT(n <= up->nmaking);
    return n;
}

/* What the line wants, where there is one. */
static enum fm_err make_more(struct fm_upstream *up)
{
    enum fm_err err = FM_ERR_OK;
    bool in_time = fm_mono_before(fm_loop_now(up->all->loop), up->by);
    if (up->nwaiting == 0 || !in_time || up->all->stopping)
        return err;
    unsigned most = fm_connects_most(&up->pace, up->tls != NULL);
    unsigned n = fm_connects_more(unserved(up), up->nmaking, late(up), most);
    for (; n > 0 && !err; n--)
        err = make_one(up);
    return err;
}

/* Out of the list that it is in, if it is in one. */
static void leave_list(struct fm_upconn *c)
{
    if (fm_list_empty(&c->node))
        return;
    fm_list_remove(&c->node);
    uint32_t *n = c->making ? &c->up->nmaking : &c->up->nidle;
    FM_ASSERT(*n > 0);
    (*n)--;
    c->making = false;
}

void fm_upconn_close(struct fm_upconn *c)
{
    leave_list(c);
    c->data = NULL;
    fm_http_client_close(&c->http);
}

void fm_upconn_release(struct fm_upconn *c)
{
    struct fm_upstream *up = c->up;
    FM_ASSERT(fm_list_empty(&c->node) && up->nidle < up->nconns);
    c->data = NULL;
    c->reused = false;
    bool spoken = !c->http.tls == !up->tls; /* as new ones do */
    bool kept = spoken && up->current && !c->all->stopping;
    if (!kept || up->nidle >= FM_UPSTREAM_IDLE_MAX + up->nwaiting ||
        !fm_http_client_is_reusable(&c->http)) {
        fm_http_client_close(&c->http);
        return;
    }
    fm_http_client_park(&c->http);
    c->idle_since = fm_loop_now(c->all->loop);
    fm_list_push_front(&up->idle, &c->node);
    up->nidle++;
    up->ready++;
    if (up->nwaiting > 0) { /* not from within the request that gave it back */
        up->nback++;
        fm_loop_timer(c->all->loop, &up->matcher, FM_MONO_ZERO); /* with the next tick */
    }
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

/* -------- waiting -------- */

void fm_upwait_leave(struct fm_upwait *w)
{
    if (fm_list_empty(&w->node))
        return;
    FM_ASSERT(w->up->nwaiting > 0);
    fm_list_remove(&w->node);
    w->up->nwaiting--;
    fm_loop_cancel(w->up->all->loop, &w->timer);
}

/* The last that is done here: its owner may go on to anything. */
static void give(struct fm_upwait *w, struct fm_upconn *c)
{
    fm_upwait_leave(w);
    c->all->waits->given(w, c);
}

static void deny(struct fm_upwait *w, int err)
{
    const struct fm_upstream *up = w->up;
    bool alive = up->ready != w->seen;
    fm_upwait_leave(w);
    up->all->waits->denied(w, err, alive);
}

/* One who would take what is parked; the first in line, unless it takes only what is fresher. */
static struct fm_upwait *first_that_fits(const struct fm_upstream *up)
{
    const struct fm_upconn *c = first_parked(up);
    fm_list_each (at, &up->waiting) {
        struct fm_upwait *w = fm_container_of(at, struct fm_upwait, node);
        if (fits(up, c, w->fresh_ns))
            return w;
    }
    return NULL;
}

/* What is parked goes to those who wait, each time anew: whoever was given one may have done
 * anything. The upstream is there as long as one of these is not `closed`. */
static void match(struct fm_timer *t)
{
    struct fm_upstream *up = fm_container_of(t, struct fm_upstream, matcher);
    unsigned n = up->nidle;
    up->nback = 0;
    for (; n > 0 && up->nidle > 0; n--) {
        struct fm_upwait *w = first_that_fits(up);
        if (!w)
            break;
        struct fm_upconn *c = take_parked(up, w->fresh_ns);
        if (c)
            give(w, c);
    }
    (void)make_more(up); /* one that was given back may have been of no use */
}

/* Its time is over: look once more. */
static void waited(struct fm_timer *t)
{
    struct fm_upwait *w = fm_container_of(t, struct fm_upwait, timer);
    struct fm_upconn *c = take_parked(w->up, w->fresh_ns);
    if (c)
        give(w, c);
    else
        deny(w, -ETIMEDOUT);
}

void fm_upwait_init(struct fm_upwait *w)
{
    fm_list_init(&w->node);
    fm_timer_init(&w->timer, waited);
}

static void join(struct fm_upstream *up, struct fm_upwait *w, int64_t fresh_ns, struct fm_mono by)
{
    w->up = up;
    w->fresh_ns = fresh_ns;
    w->seen = up->ready;
    fm_list_push_back(&up->waiting, &w->node);
    up->nwaiting++;
    up->by = up->nwaiting > 1 ? fm_mono_max(up->by, by) : by;
    /* the connection itself is looked at first, when its own time is over */
    fm_loop_timer(up->all->loop, &w->timer, fm_mono_add_ms(by, 1));
}

struct fm_upconn *fm_upconn_acquire(struct fm_upstream *up, struct fm_upwait *w, int64_t fresh_ns,
                                    struct fm_mono by, enum fm_err *err)
{
    FM_ASSERT(!up->all->stopping && up->nidle <= up->nconns && fresh_ns >= 0);
    FM_ASSERT(fm_list_empty(&w->node));
    *err = FM_ERR_OK;
    bool promised = up->nback > 0 && up->nwaiting > 0;
    struct fm_upconn *c = promised ? NULL : take_parked(up, fresh_ns);
    if (c)
        return c;
    join(up, w, fresh_ns, by);
    *err = make_more(up);
    if (*err && up->nmaking > 0)
        *err = FM_ERR_OK; /* there is another one to wait for */
    if (*err)
        fm_upwait_leave(w);
    return NULL;
}

void fm_upconn_made(struct fm_upconn *c)
{
    struct fm_upstream *up = c->up;
    FM_ASSERT(c->making && !c->data);
    leave_list(c);
    up->ready++;
    struct fm_mono now = fm_loop_now(up->all->loop);
    fm_connects_took(&up->pace, fm_mono_sub_ns(now, c->idle_since), now);
    struct fm_upwait *w = fm_list_first(&up->waiting, struct fm_upwait, node);
    if (!w) {
        fm_upconn_release(c);
        return;
    }
    fm_upwait_leave(w);
    (void)make_more(up); /* else they learn it when their time is over */
    up->all->waits->given(w, c);
}

void fm_upconn_failed(struct fm_upconn *c, int err)
{
    struct fm_upstream *up = c->up;
    bool making = c->making;
    leave_list(c);
    if (!making)
        return;
    if (err == -ETIMEDOUT) {
        struct fm_mono now = fm_loop_now(up->all->loop);
        fm_connects_gave_up(&up->pace, fm_mono_sub_ns(now, c->idle_since), now);
        (void)make_more(up); /* who waits has a time of his own, and may have come later */
        return;
    }
    unsigned n = up->nwaiting - fm_connects_keep(up->nwaiting, up->nmaking);
    for (; n > 0; n--) { /* this one keeps the upstream until it is closed */
        struct fm_upwait *w = fm_list_first(&up->waiting, struct fm_upwait, node);
        if (!w)
            return;
        deny(w, err);
    }
}
