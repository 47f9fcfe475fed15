/* Callers: see the header. Invariant: while `busy`, exactly one of three will end it: the lookup
 * with its timer, the link, or the timer alone (a failure that has to be told from the loop). */
#include "http/caller.h"

#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fm_caller *caller_of(struct fm_http_link *l)
{
    return fm_container_of(l, struct fm_caller, link);
}

static void end(struct fm_caller *c)
{
    FM_ASSERT(c->busy);
    c->busy = c->begun = false;
    fm_loop_cancel(c->loop, &c->timer);
    free(c->body);
    c->body = NULL;
}

/* From the loop, a little later. */
static void fail_soon(struct fm_caller *c, const char *why)
{
    snprintf(c->why, sizeof c->why, "%s", why);
    c->begun = true; /* nobody else goes on with it */
    fm_loop_timer(c->loop, &c->timer, fm_loop_now(c->loop));
}

static void timed_out(struct fm_timer *t)
{
    struct fm_caller *c = fm_container_of(t, struct fm_caller, timer);
    if (!c->begun)
        snprintf(c->why, sizeof c->why, "`%.100s` was not found in time", c->host);
    end(c);
    c->failed(c, c->why);
}

/* -------- the link -------- */

static void answered(struct fm_http_link *l, unsigned status, struct fm_str body)
{
    struct fm_caller *c = caller_of(l);
    if (c->closed)
        return;
    end(c);
    c->answered(c, status, body);
}

static void failed(struct fm_http_link *l, int err, const char *why)
{
    struct fm_caller *c = caller_of(l);
    (void)err;
    if (c->closed)
        return;
    c->known = false; /* it may have moved */
    end(c);
    c->failed(c, why);
}

static void begin(struct fm_caller *c);

static void link_closed(struct fm_http_link *l)
{
    struct fm_caller *c = caller_of(l);
    if (!c->closed && c->busy && !c->begun && c->known)
        begin(c);
}

static void head(struct fm_http_link *l, const struct fm_http_head *h)
{
    struct fm_caller *c = caller_of(l);
    if (!c->closed && c->head)
        c->head(c, h);
}

static const struct fm_http_link_ops ops = {
    .head = head, .answered = answered, .failed = failed, .closed = link_closed};

static void begin(struct fm_caller *c)
{
    if (c->link.open && !c->link.ready) { /* the one before is closing */
        fm_loop_timer(c->loop, &c->timer, c->deadline);
        return;
    }
    struct fm_error e = {0};
    struct fm_http_ask a = {.to = &c->addr,
                            .tls = c->tls,
                            .peer = c->peer,
                            .target = c->target,
                            .host = c->header,
                            .headers = c->headers,
                            .body = c->is_raw ? NULL : c->body,
                            .body_n = c->is_raw ? 0 : c->body_n,
                            .raw = c->is_raw ? c->body : NULL,
                            .raw_n = c->is_raw ? c->body_n : 0,
                            .raw_method = c->raw_method,
                            .discard = c->discard,
                            .answer_max = c->answer_max,
                            .connect = fm_mono_add_ms(fm_loop_now(c->loop), c->connect_ms),
                            .deadline = c->deadline};
    FM_ASSERT(c->busy && !c->begun && c->known);
    c->begun = true;
    c->body = NULL; /* the link's */
    fm_loop_cancel(c->loop, &c->timer);
    if (fm_http_link_ask(&c->link, c->loop, &ops, &a, &e)) {
        c->known = false;
        fail_soon(c, e.msg);
    }
}

/* -------- names -------- */

static void looked_up(struct fm_lookup *q)
{
    struct fm_caller *c = fm_container_of(q, struct fm_caller, lookup);
    if (c->closed || !c->busy || c->begun)
        return;
    if (q->result || q->n == 0) {
        fail_soon(c, q->why[0] ? q->why : "the name has no address");
        return;
    }
    c->addr = q->addr[0];
    c->known = true;
    begin(c);
}

/* -------- for owners -------- */

static void copy(char *out, size_t cap, struct fm_str s)
{
    FM_ASSERT(s.n < cap);
    if (s.n)
        memcpy(out, s.p, s.n);
    out[s.n] = 0;
}

void fm_caller_init(struct fm_caller *c, struct fm_loop *l, struct fm_resolver *resolver,
                    const struct fm_caller_to *to)
{
    FM_ASSERT(c->answered && c->failed && to->host.n > 0 && !c->busy);
    c->loop = l;
    c->resolver = resolver;
    c->tls = to->tls;
    c->port = to->port;
    copy(c->host, sizeof c->host, to->host);
    copy(c->peer, sizeof c->peer, to->peer);
    bool v6 = memchr(c->host, ':', to->host.n) != NULL;
    snprintf(c->header, sizeof c->header, v6 ? "[%.250s]:%u" : "%.250s:%u", c->host, to->port);
    fm_timer_init(&c->timer, timed_out);
    snprintf(c->lookup.name, sizeof c->lookup.name, "%s", c->host);
    c->lookup.port = to->port;
    c->lookup.done = looked_up;
}

void fm_caller_ask(struct fm_caller *c, const struct fm_caller_ask *a)
{
    FM_ASSERT(!c->busy && !c->closed && a->answer_max > 0 && a->timeout_ms > 0);
    FM_ASSERT(a->raw ? !a->target && !a->body : strlen(a->target) < sizeof c->target);
    c->busy = true;
    c->begun = c->link.sent = false;
    snprintf(c->target, sizeof c->target, "%s", a->raw ? "" : a->target);
    FM_ASSERT(!a->headers || strlen(a->headers) < sizeof c->headers);
    snprintf(c->headers, sizeof c->headers, "%s", a->headers ? a->headers : "");
    c->is_raw = a->raw != NULL;
    c->body = a->raw ? a->raw : a->body;
    c->body_n = a->raw ? a->raw_n : a->body_n;
    c->raw_method = a->raw_method;
    c->discard = a->discard;
    c->answer_max = a->answer_max;
    c->connect_ms = a->connect_ms;
    c->deadline = fm_mono_add_ms(fm_loop_now(c->loop), a->timeout_ms);
    if (!c->known)
        c->known = fm_addr_ip(&c->addr, fm_str_z(c->host), c->port) == FM_ERR_OK;
    if (c->known) {
        begin(c);
        return;
    }
    fm_loop_timer(c->loop, &c->timer, c->deadline);
    if (!c->lookup.busy)
        fm_resolver_ask(c->resolver, &c->lookup);
}

void fm_caller_close(struct fm_caller *c)
{
    if (c->closed || !c->loop)
        return;
    c->closed = true;
    if (c->busy)
        end(c);
    if (c->link.open)
        fm_http_link_close(&c->link);
}

bool fm_caller_is_gone(const struct fm_caller *c, bool resolver_freed)
{
    return !c->loop || (c->closed && !c->link.open && (resolver_freed || !c->lookup.busy));
}
