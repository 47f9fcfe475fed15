/* The fault proxy: see the header. A connection is a pair of sockets with a stream in each
 * direction; a stream is a short queue of pieces, each with the time at which it is due. Invariant:
 * whatever a side does (bytes, end, reset) reaches the other through the queue of its stream, in
 * order, and only while that direction is not cut. */
#include "io/fault.h"

#include "base/assert.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    FAR_MS = 3600 * 1000,
    CONNECT_MS = 10 * 1000,
    AGAIN_MS = 10, /* after the pool was empty */
    RESEND_MS = 200,
    RESENDS_MAX = 6,
};

enum ending { NOT_ENDED, ENDED, BROKEN };

/* What one side says and the other hears. */
struct stream {
    struct fm_timer timer;
    struct fm_block *block[FM_FAULT_QUEUE_MAX];
    struct fm_mono due[FM_FAULT_QUEUE_MAX];
    unsigned at, n;
    struct fm_mono latest; /* of what was said so far: nothing is due before it */
    enum ending ending;    /* of who speaks */
    bool told;             /* who hears knows of it */
    bool deaf;             /* who hears is gone: nothing more is read */
};

struct end {
    struct fm_sock sock;
    struct pair *pair;
    struct stream says;
};

struct pair {
    struct fm_fault *fault;
    struct fm_list node;
    struct end end[FM_FAULT_WAYS]; /* who connected, whom it wanted */
    unsigned unburied;
    bool connected, closing;
};

static struct end *of(struct fm_sock *s)
{
    return fm_container_of(s, struct end, sock);
}

static enum fm_fault_way way_of(const struct end *x)
{
    return x == &x->pair->end[FM_FAULT_THERE] ? FM_FAULT_THERE : FM_FAULT_BACK;
}

static struct end *other(struct end *x)
{
    return &x->pair->end[way_of(x) == FM_FAULT_THERE ? FM_FAULT_BACK : FM_FAULT_THERE];
}

static const struct fm_fault_rule *rule_of(const struct end *x)
{
    return &x->pair->fault->rule[way_of(x)];
}

static struct fm_mono far(const struct end *x)
{
    return fm_mono_add_ms(fm_loop_now(x->pair->fault->loop), FAR_MS);
}

/* -------- the end of a pair -------- */

static void drop_pieces(struct end *x)
{
    struct stream *s = &x->says;
    for (; s->n > 0; s->n--) {
        fm_pool_put(x->pair->fault->loop->pool, s->block[s->at]);
        s->at = (s->at + 1) % FM_FAULT_QUEUE_MAX;
    }
}

static void close_end(struct end *x, bool reset)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    fm_loop_cancel(x->pair->fault->loop, &x->says.timer);
    if (reset)
        (void)setsockopt(x->sock.watch.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    fm_sock_close(&x->sock);
}

static void leave(struct pair *p)
{
    FM_ASSERT(!p->closing && p->fault->npairs > 0);
    p->closing = true;
    p->fault->npairs--;
    fm_list_remove(&p->node);
}

static void close_pair(struct pair *p, bool reset)
{
    leave(p);
    for (unsigned i = 0; i < FM_FAULT_WAYS; i++)
        close_end(&p->end[i], reset);
    for (unsigned i = 0; i < FM_FAULT_WAYS; i++) /* nothing is sent from them any more */
        drop_pieces(&p->end[i]);
}

static void on_closed(struct fm_sock *s)
{
    struct pair *p = of(s)->pair;
    FM_ASSERT(p && p->closing && p->unburied > 0);
    if (--p->unburied == 0)
        free(p);
}

/* -------- streams -------- */

/* When a piece that was said now arrives. */
static struct fm_mono arrival(struct end *x)
{
    const struct fm_fault_rule *r = rule_of(x);
    struct fm_rand *rand = &x->pair->fault->rand;
    int64_t ms = (int64_t)r->delay_ms + fm_rand_below(rand, (uint32_t)r->jitter_ms + 1);
    FM_ASSERT(r->delay_ms >= 0 && r->jitter_ms >= 0);
    for (unsigned i = 0; i < RESENDS_MAX && fm_rand_below(rand, 1000000) < r->loss_ppm; i++)
        ms += (int64_t)RESEND_MS << i;
    struct fm_mono at = fm_mono_add_ms(fm_loop_now(x->pair->fault->loop), ms);
    if (fm_mono_before(at, x->says.latest))
        at = x->says.latest;
    x->says.latest = at;
    return at;
}

/* Pieces are passed on, then the end, if both are due. False: the pair is closed. */
static bool pass_on(struct end *x)
{
    struct stream *s = &x->says;
    struct end *to = other(x);
    struct fm_mono now = fm_loop_now(x->pair->fault->loop);
    if (fm_sock_is_sending(&to->sock) || (s->n == 0 && (s->ending == NOT_ENDED || s->told)))
        return true;
    struct fm_mono due = s->n > 0 ? s->due[s->at] : s->latest;
    if (fm_mono_before(now, due)) {
        fm_loop_timer(x->pair->fault->loop, &s->timer, due);
        return true;
    }
    if (s->n > 0) {
        struct fm_block *b = s->block[s->at];
        struct iovec v = {b->data, b->n};
        fm_sock_send(&to->sock, &v, 1, far(x));
        return true;
    }
    s->told = true;
    if (s->ending == BROKEN || to->says.told) {
        close_pair(x->pair, s->ending == BROKEN);
        return false;
    }
    fm_sock_shutdown(&to->sock);
    return true;
}

/* Whatever can be done about what `x` says. False: the pair is closed. */
static bool go_on(struct end *x)
{
    struct stream *s = &x->says;
    FM_ASSERT(!x->pair->closing && s->n <= FM_FAULT_QUEUE_MAX);
    if (!x->pair->connected || rule_of(x)->cut)
        return true;
    if (!pass_on(x))
        return false;
    if (s->ending == NOT_ENDED && !s->deaf && s->n < FM_FAULT_QUEUE_MAX &&
        !fm_sock_is_receiving(&x->sock))
        fm_sock_recv(&x->sock, NULL, far(x));
    return true;
}

static void due(struct fm_timer *t)
{
    struct stream *s = fm_container_of(t, struct stream, timer);
    (void)go_on(fm_container_of(s, struct end, says));
}

static void ended(struct end *x, enum ending how)
{
    if (x->says.ending == BROKEN)
        return;
    if (x->says.ending == NOT_ENDED)
        (void)arrival(x);
    x->says.ending = how;
    if (how == BROKEN) {
        x->says.told = false; /* an end alone may have been told before */
        if (fm_sock_is_receiving(&x->sock))
            (void)fm_sock_recv_cancel(&x->sock);
    }
    (void)go_on(x);
}

static void on_received(struct fm_sock *sock, struct fm_block *b, ssize_t n)
{
    struct end *x = of(sock);
    struct stream *s = &x->says;
    FM_ASSERT(s->n < FM_FAULT_QUEUE_MAX && s->ending == NOT_ENDED);
    if (n > 0) {
        unsigned i = (s->at + s->n++) % FM_FAULT_QUEUE_MAX;
        s->block[i] = b;
        s->due[i] = arrival(x);
        (void)go_on(x);
    } else if (n == -ENOBUFS) {
        fm_loop_timer_in_ms(x->pair->fault->loop, &s->timer, AGAIN_MS);
    } else if (n == -ETIMEDOUT) {
        (void)go_on(x);
    } else {
        ended(x, n == 0 ? ENDED : BROKEN);
    }
}

/* Something that the other one said has been handed to this one. */
static void on_sent(struct fm_sock *sock, int err)
{
    struct end *to = of(sock), *x = other(to);
    struct stream *s = &x->says;
    FM_ASSERT(s->n > 0);
    if (err) { /* it is gone: that is something it says */
        drop_pieces(x);
        s->deaf = true;
        ended(to, BROKEN);
        return;
    }
    fm_pool_put(x->pair->fault->loop->pool, s->block[s->at]);
    s->at = (s->at + 1) % FM_FAULT_QUEUE_MAX;
    s->n--;
    x->pair->fault->bytes[way_of(x)] += sock->sent;
    (void)go_on(x);
}

static void on_connected(struct fm_sock *sock, int err)
{
    struct pair *p = of(sock)->pair;
    FM_ASSERT(!p->connected);
    if (err) {
        close_pair(p, true);
        return;
    }
    p->connected = true;
    if (go_on(&p->end[FM_FAULT_THERE]))
        (void)go_on(&p->end[FM_FAULT_BACK]);
}

static const struct fm_sock_ops ops = {
    .received = on_received, .sent = on_sent, .connected = on_connected, .closed = on_closed};

/* -------- connections -------- */

static void accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    (void)from;
    struct fm_fault *f = fm_container_of(ln, struct fm_fault, listener);
    struct pair *p = f->npairs < FM_FAULT_PAIRS_MAX ? calloc(1, sizeof *p) : NULL;
    if (!p) {
        close(fd);
        return;
    }
    p->fault = f;
    for (unsigned i = 0; i < FM_FAULT_WAYS; i++) {
        p->end[i].pair = p;
        fm_timer_init(&p->end[i].says.timer, due);
    }
    if (fm_sock_open(&p->end[FM_FAULT_THERE].sock, f->loop, fd, false, &ops, NULL)) {
        free(p);
        return;
    }
    fm_list_push_back(&f->pairs, &p->node);
    f->npairs++;
    p->unburied = FM_FAULT_WAYS;
    if (fm_sock_connect(&p->end[FM_FAULT_BACK].sock, f->loop, &f->to,
                        fm_mono_add_ms(fm_loop_now(f->loop), CONNECT_MS), &ops, NULL) == FM_ERR_OK)
        return;
    p->unburied = 1;
    leave(p);
    close_end(&p->end[FM_FAULT_THERE], true);
}

enum fm_err fm_fault_open(struct fm_fault *f, struct fm_loop *l, const struct fm_addr *at,
                          const struct fm_addr *to, uint64_t seed, struct fm_error *e)
{
    *f = (struct fm_fault){.loop = l, .to = *to, .rand = {seed}};
    fm_list_init(&f->pairs);
    return fm_listener_open(&f->listener, l, at, 0, accepted, e);
}

void fm_fault_set(struct fm_fault *f, enum fm_fault_way way, const struct fm_fault_rule *r)
{
    FM_ASSERT(way < FM_FAULT_WAYS && r->delay_ms >= 0 && r->jitter_ms >= 0);
    FM_ASSERT(r->loss_ppm <= 1000000 && f->listener.watch.fd >= 0);
    f->rule[way] = *r;
    /* no connection is made while either of its directions is cut */
    fm_listener_pause(&f->listener, f->rule[FM_FAULT_THERE].cut || f->rule[FM_FAULT_BACK].cut);
    fm_list_each_safe (at, next, &f->pairs) {
        struct pair *p = fm_container_of(at, struct pair, node);
        (void)go_on(&p->end[way]);
    }
}

void fm_fault_close(struct fm_fault *f)
{
    if (!f->loop)
        return;
    fm_listener_close(&f->listener);
    fm_list_each_safe (at, next, &f->pairs)
        close_pair(fm_container_of(at, struct pair, node), true);
    FM_ASSERT(f->npairs == 0);
}
