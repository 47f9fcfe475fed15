/* A connection through a door. Invariants: bytes of a node go to a client only after the right of
 * the session was looked at, at that moment; a client has one block of memory per direction, and
 * only while something of it is under way; a socket that is being closed is never used again before
 * it is buried. What is sent to whom is decided in core/door.h. */
#include "proxy/passage.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/log.h"
#include "proxy/errand.h"
#include "proxy/startup.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    TICK_MS = 50,
    LEAVE_MS = 2000,       /* for a client to end after it was told all */
    POLITE_MAX = 64,       /* connections above the bound that are told so */
    DENIALS_MAX = 3,       /* of encryption, to a client that is to be refused */
    KEEPALIVE_IDLE_S = 60, /* a peer that is gone is found out after about two minutes */
    KEEPALIVE_EVERY_S = 10,
    KEEPALIVE_TIMES = 6,
};
#define FAR_MS (INT64_C(10) * 365 * 24 * 3600 * 1000)

enum side { CLIENT, NODE, SIDES };

enum state {
    FIRST,      /* its first packet is read */
    LOOKING,    /* it waits for a node */
    REACHING,   /* the node is being connected to */
    PASSING,    /* it is a session */
    CANCELLING, /* its request is on the way to the nodes */
    ANSWERING,  /* it is told why not */
    LEAVING,    /* all is said; what it still says is dropped until it ends */
};

struct end {
    struct fm_sock sock;
    struct fm_passage *passage;
    struct fm_block *says; /* on its way to the other end */
    bool ended;
};

struct fm_passage {
    struct fm_list in_all, in_sessions, in_looking;
    struct fm_door *door;
    struct end end[SIDES];
    struct fm_door_session session;
    struct fm_door_ask ask;
    struct fm_mono first_by;
    uint8_t state, first, denials, errands, unburied;
    bool closing, node_open, was_held;
    enum fm_door_why why; /* it is refused as soon as it can be told */
};

static struct end *end_of(struct fm_sock *s)
{
    return fm_container_of(s, struct end, sock);
}

static enum side side_of(const struct end *x)
{
    return x == &x->passage->end[CLIENT] ? CLIENT : NODE;
}

static struct end *other(struct end *x)
{
    return &x->passage->end[side_of(x) == CLIENT ? NODE : CLIENT];
}

static struct fm_loop *loop_of(const struct fm_passage *p)
{
    return &p->door->worker->loop;
}

static struct fm_mono in_ms(const struct fm_passage *p, int64_t ms)
{
    return fm_mono_add_ms(fm_loop_now(loop_of(p)), ms);
}

static void look(struct fm_passage *p);
static void pass_on(struct end *x);

/* -------- the end -------- */

static void drop_block(struct end *x)
{
    if (x->says)
        fm_pool_put(&x->passage->door->worker->pool, x->says);
    x->says = NULL;
}

static void leave_looking(struct fm_passage *p)
{
    if (fm_list_empty(&p->in_looking))
        return;
    fm_list_remove(&p->in_looking);
    atomic_fetch_sub_explicit(&p->door->metrics.holding, 1, memory_order_relaxed);
}

static void close_end(struct end *x, bool reset)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    if (!fm_sock_is_open(&x->sock))
        return;
    if (reset)
        (void)setsockopt(x->sock.watch.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    fm_sock_close(&x->sock);
}

static void close_passage(struct fm_passage *p, bool reset)
{
    FM_ASSERT(!p->closing && p->unburied > 0);
    p->closing = true;
    leave_looking(p);
    fm_list_remove(&p->in_sessions);
    fm_list_remove(&p->in_all);
    if (p->errands)
        fm_errands_forget(p->door->worker, p);
    for (unsigned i = 0; i < SIDES; i++)
        close_end(&p->end[i], reset);
    for (unsigned i = 0; i < SIDES; i++)
        drop_block(&p->end[i]);
    atomic_fetch_sub_explicit(&p->door->metrics.connections, 1, memory_order_relaxed);
}

static void reset_session(struct fm_passage *p, enum fm_door_why why)
{
    FM_ASSERT(p->state == PASSING);
    fm_counter_inc(&p->door->metrics.resets);
    fm_log(FM_LOG_DEBUG, "door_session_reset", FM_KZ("group", p->door->config->name),
           FM_KZ("why", fm_door_why_name(why)));
    close_passage(p, true);
}

static void on_closed(struct fm_sock *s)
{
    struct end *x = end_of(s);
    struct fm_passage *p = x->passage;
    struct fm_door_worker *w = p->door->worker;
    FM_ASSERT(p->unburied > 0 && w->npassages > 0);
    p->unburied--;
    if (side_of(x) == NODE)
        p->node_open = false;
    if (!p->closing) {
        FM_ASSERT(side_of(x) == NODE);
        if (p->state == LOOKING)
            look(p);
        return;
    }
    if (p->unburied > 0)
        return;
    uint32_t before = atomic_fetch_sub(w->connections, 1);
    FM_ASSERT(before > 0);
    w->npassages--;
    free(p);
}

/* All is said to the client. It is not closed at once: what it has sent and nobody read would make
 * of it a reset, which can overtake what was said. */
static void leave(struct fm_passage *p)
{
    struct end *c = &p->end[CLIENT];
    FM_ASSERT(!p->closing && !fm_sock_is_sending(&c->sock));
    leave_looking(p);
    fm_list_remove(&p->in_sessions);
    p->state = LEAVING;
    if (p->node_open)
        close_end(&p->end[NODE], false);
    drop_block(&p->end[NODE]);
    if (c->ended) {
        close_passage(p, false);
        return;
    }
    fm_sock_shutdown(&c->sock);
    drop_block(c);
    if (fm_sock_is_receiving(&c->sock))
        fm_sock_recv_deadline(&c->sock, in_ms(p, LEAVE_MS));
    else
        fm_sock_recv(&c->sock, NULL, in_ms(p, LEAVE_MS));
}

/* -------- what is refused -------- */

static void answer(struct fm_passage *p, const char *bytes, size_t n)
{
    struct end *c = &p->end[CLIENT];
    FM_ASSERT(c->says && n <= c->says->size && !fm_sock_is_receiving(&c->sock));
    memcpy(c->says->data, bytes, n);
    c->says->n = (uint32_t)n;
    p->state = ANSWERING;
    struct iovec v = {c->says->data, n};
    fm_sock_send(&c->sock, &v, 1, in_ms(p, LEAVE_MS));
}

static void refuse_text(struct fm_passage *p, const char *state, const char *text)
{
    char message[160], error[FM_STARTUP_ERROR_MAX];
    (void)snprintf(message, sizeof message, "group %s: %s", p->door->config->name, text);
    answer(p, error, fm_startup_error(error, state, message));
}

/* Who asks for encryption first is told that there is none: a client that can do without says then
 * who it is, in clear but without a password, and hears why it is refused. */
static void refuse(struct fm_passage *p, enum fm_door_why why)
{
    FM_ASSERT(why != FM_DOOR_WHY_NONE && !p->node_open);
    leave_looking(p);
    p->why = why;
    if (p->first != FM_STARTUP_SESSION && p->denials < DENIALS_MAX) {
        p->denials++;
        answer(p, "N", 1);
        return;
    }
    fm_counter_inc(&p->door->metrics.refused);
    p->first = FM_STARTUP_SESSION;
    refuse_text(p, fm_door_why_state(why), fm_door_why_text(why));
}

static void answered(struct fm_passage *p, int err)
{
    struct end *c = &p->end[CLIENT];
    if (err) {
        close_passage(p, true);
        return;
    }
    if (p->first == FM_STARTUP_SESSION || p->first == FM_STARTUP_BAD) {
        leave(p);
        return;
    }
    c->says->n = 0;
    p->state = FIRST;
    p->first_by = in_ms(p, p->door->worker->config->startup_ms);
    fm_sock_recv(&c->sock, c->says, p->first_by);
}

/* -------- looking for a node -------- */

static void start_tick(struct fm_door_worker *w)
{
    if (!fm_timer_is_set(&w->tick))
        fm_loop_timer_in_ms(&w->loop, &w->tick, TICK_MS);
}

static void wait_for_more(struct fm_passage *p)
{
    FM_ASSERT(!p->closing);
    if (fm_list_empty(&p->in_looking)) {
        fm_list_push_back(&p->door->looking, &p->in_looking);
        atomic_fetch_add_explicit(&p->door->metrics.holding, 1, memory_order_relaxed);
    }
    start_tick(p->door->worker);
}

static void hold(struct fm_passage *p)
{
    p->state = LOOKING;
    p->ask.failed = 0; /* whoever did not answer is tried again */
    if (!p->was_held)
        fm_counter_inc(&p->door->metrics.held);
    p->was_held = true;
    p->end[CLIENT].sock.flags |= FM_SOCK_WATCH_FIN;
    if (fm_sock_has_ended(&p->end[CLIENT].sock))
        close_passage(p, false);
    else
        wait_for_more(p);
}

static void on_connected(struct fm_sock *s, int err);
static void on_received(struct fm_sock *s, struct fm_block *b, ssize_t n);
static void on_sent(struct fm_sock *s, int err);
static void on_lost(struct fm_sock *s);

static const struct fm_sock_ops ops = {.received = on_received,
                                       .sent = on_sent,
                                       .connected = on_connected,
                                       .closed = on_closed,
                                       .lost = on_lost};

static void reach(struct fm_passage *p, const struct fm_door_choice *c)
{
    struct fm_error e = {0};
    FM_ASSERT(!p->node_open && c->node < FM_DOOR_NODES_MAX);
    leave_looking(p);
    p->session = (struct fm_door_session){
        .node = c->node, .role = c->role, .epoch = c->epoch, .waits = FM_MONO_NEVER};
    p->state = REACHING;
    if (fm_sock_connect(&p->end[NODE].sock, loop_of(p), &p->door->at[c->node],
                        in_ms(p, p->door->worker->config->connect_ms), &ops, &e)) {
        hold(p);
        return;
    }
    p->node_open = true;
    p->unburied++;
}

static void look(struct fm_passage *p)
{
    FM_ASSERT((p->state == FIRST || p->state == LOOKING) && !p->node_open && !p->closing);
    fm_door_look(p->door);
    struct fm_mono now = fm_mono_now();
    if (p->door->worker->ending && p->why == FM_DOOR_WHY_NONE)
        p->why = FM_DOOR_WHY_ENDING;
    if (p->why != FM_DOOR_WHY_NONE) {
        refuse(p, p->why);
        return;
    }
    struct fm_door_choice c = fm_door_choose(&p->door->view, &p->ask, now);
    switch (c.verdict) {
    case FM_DOOR_CONNECT:
        reach(p, &c);
        return;
    case FM_DOOR_HOLD:
        hold(p);
        return;
    case FM_DOOR_REFUSE:
        refuse(p, c.why);
        return;
    }
    FM_UNREACHABLE();
}

static void keep_alive(const struct fm_sock *s)
{
    int one = 1, idle = KEEPALIVE_IDLE_S, every = KEEPALIVE_EVERY_S, times = KEEPALIVE_TIMES;
    int fd = s->watch.fd;
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof every);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
}

static void on_connected(struct fm_sock *s, int err)
{
    struct fm_passage *p = end_of(s)->passage;
    enum fm_door_why why;
    FM_ASSERT(p->state == REACHING && p->node_open && p->end[CLIENT].says);
    fm_door_look(p->door);
    if (err)
        p->ask.failed |= 1u << p->session.node;
    if (err || fm_door_passes(&p->door->view, &p->session, fm_mono_now(), &why) != FM_DOOR_PASS) {
        p->state = LOOKING; /* again, when this socket is buried */
        fm_sock_close(s);
        return;
    }
    p->state = PASSING;
    fm_counter_inc(&p->door->metrics.passed_on);
    keep_alive(s);
    fm_list_push_back(&p->door->sessions, &p->in_sessions);
    pass_on(&p->end[CLIENT]);
    fm_sock_recv(s, NULL, in_ms(p, FAR_MS));
}

/* -------- a session -------- */

/* The second check, right before bytes go to the client. */
static bool may_pass(struct fm_passage *p)
{
    struct fm_door *d = p->door;
    enum fm_door_why why;
    struct fm_mono now = fm_mono_now();
    fm_door_look(d);
    switch (fm_door_passes(&d->view, &p->session, now, &why)) {
    case FM_DOOR_PASS:
        p->session.waits = FM_MONO_NEVER;
        leave_looking(p);
        return true;
    case FM_DOOR_WAIT:
        if (fm_mono_is_never(p->session.waits)) {
            p->session.waits = now;
            fm_counter_inc(&d->metrics.waited);
        }
        wait_for_more(p);
        return false;
    case FM_DOOR_RESET:
        reset_session(p, why);
        return false;
    }
    FM_UNREACHABLE();
}

static void pass_on(struct end *x)
{
    struct fm_passage *p = x->passage;
    FM_ASSERT(p->state == PASSING && x->says && !fm_sock_is_sending(&other(x)->sock));
    if (side_of(x) == NODE && !may_pass(p))
        return;
    struct iovec v = {x->says->data, x->says->n};
    fm_sock_send(&other(x)->sock, &v, 1, in_ms(p, FAR_MS));
}

/* The node says no more: it never ends one direction alone. */
static void node_ended(struct fm_passage *p)
{
    FM_ASSERT(!p->end[NODE].says);
    leave(p);
}

static void passed(struct end *to, int err)
{
    struct fm_passage *p = to->passage;
    struct end *x = other(to);
    FM_ASSERT(x->says);
    fm_counter_add(side_of(x) == CLIENT ? &p->door->metrics.bytes_in : &p->door->metrics.bytes_out,
                   to->sock.sent);
    drop_block(x);
    if (!err)
        fm_sock_recv(&x->sock, NULL, in_ms(p, FAR_MS));
    else if (side_of(to) == CLIENT)
        close_passage(p, true);
    /* else: a node that takes no more may still have said why; that it ended is read after it */
}

static void client_ended(struct fm_passage *p)
{
    p->end[CLIENT].ended = true;
    fm_sock_shutdown(&p->end[NODE].sock);
}

static void received(struct end *x, struct fm_block *b, ssize_t n)
{
    struct fm_passage *p = x->passage;
    FM_ASSERT(!x->says && !x->ended);
    if (n > 0) {
        x->says = b;
        pass_on(x);
    } else if (n == -ETIMEDOUT) {
        fm_sock_recv(&x->sock, NULL, in_ms(p, FAR_MS));
    } else if (side_of(x) == NODE) {
        node_ended(p);
    } else if (n == 0) {
        client_ended(p);
    } else {
        close_passage(p, true);
    }
}

/* -------- the first packet -------- */

static void begin_cancel(struct fm_passage *p)
{
    const struct fm_block *b = p->end[CLIENT].says;
    fm_counter_inc(&p->door->metrics.cancels);
    p->state = CANCELLING;
    p->end[CLIENT].sock.flags |= FM_SOCK_WATCH_FIN;
    p->errands = (uint8_t)fm_errands_send(p->door, fm_str(b->data, b->n), p);
    if (!p->errands)
        close_passage(p, false);
}

void fm_passage_errand_over(struct fm_passage *p)
{
    FM_ASSERT(p->state == CANCELLING && p->errands > 0 && !p->closing);
    if (--p->errands == 0)
        close_passage(p, false);
}

static void received_first(struct end *c, struct fm_block *b, ssize_t n)
{
    struct fm_passage *p = c->passage;
    if (n <= 0) {
        if (n == -ETIMEDOUT)
            fm_counter_inc(&p->door->metrics.slow);
        close_passage(p, n < 0);
        return;
    }
    c->says = b;
    struct fm_startup s = fm_startup_parse(fm_str(b->data, b->n));
    switch (s.kind) {
    case FM_STARTUP_MORE:
        FM_ASSERT(b->n < b->size);
        fm_sock_recv(&c->sock, b, p->first_by);
        return;
    case FM_STARTUP_SESSION:
    case FM_STARTUP_TLS:
    case FM_STARTUP_GSS:
        p->first = (uint8_t)s.kind;
        p->ask.came = fm_mono_now();
        look(p);
        return;
    case FM_STARTUP_CANCEL:
        begin_cancel(p);
        return;
    case FM_STARTUP_BAD:
        p->first = (uint8_t)s.kind;
        fm_counter_inc(&p->door->metrics.malformed);
        refuse_text(p, s.state, s.why);
        return;
    }
    FM_UNREACHABLE();
}

/* -------- what sockets say -------- */

static void received_last(struct end *c, struct fm_block *b, ssize_t n)
{
    struct fm_passage *p = c->passage;
    FM_ASSERT(side_of(c) == CLIENT);
    if (n <= 0) {
        close_passage(p, n < 0);
        return;
    }
    fm_pool_put(&p->door->worker->pool, b);
    fm_sock_recv(&c->sock, NULL, c->sock.recv_deadline);
}

static void on_received(struct fm_sock *s, struct fm_block *b, ssize_t n)
{
    struct end *x = end_of(s);
    switch ((enum state)x->passage->state) {
    case PASSING:
        received(x, b, n);
        return;
    case FIRST:
        received_first(x, b, n);
        return;
    case LEAVING:
        received_last(x, b, n);
        return;
    case LOOKING:
    case REACHING:
    case CANCELLING:
    case ANSWERING:
        break;
    }
    FM_UNREACHABLE();
}

static void on_sent(struct fm_sock *s, int err)
{
    struct end *x = end_of(s);
    FM_ASSERT(x->passage->state == PASSING || x->passage->state == ANSWERING);
    if (x->passage->state == PASSING)
        passed(x, err);
    else
        answered(x->passage, err);
}

/* In a session the next receive finds out. */
static void on_lost(struct fm_sock *s)
{
    struct end *x = end_of(s);
    struct fm_passage *p = x->passage;
    if (side_of(x) == NODE)
        return;
    if (p->state != PASSING || (s->flags & FM_SOCK_RESET))
        close_passage(p, true);
}

/* -------- who comes, and who is looked at -------- */

static bool admit(struct fm_door *d, int fd, bool *full)
{
    uint32_t most = d->worker->config->connections_max;
    uint32_t before = atomic_fetch_add(d->worker->connections, 1);
    fm_counter_inc(&d->metrics.accepted);
    *full = before >= most;
    if (before < most + POLITE_MAX)
        return true;
    atomic_fetch_sub(d->worker->connections, 1);
    fm_counter_inc(&d->metrics.refused);
    close(fd);
    return false;
}

void fm_passage_accepted(struct fm_door *d, enum fm_door_kind kind, int fd,
                         const struct fm_addr *from)
{
    struct fm_door_worker *w = d->worker;
    uint8_t ip[16];
    bool full;
    if (!admit(d, fd, &full))
        return;
    struct fm_passage *p = calloc(1, sizeof *p);
    if (!p || fm_sock_open(&p->end[CLIENT].sock, &w->loop, fd, false, &ops, NULL)) {
        if (!p)
            close(fd);
        free(p);
        atomic_fetch_sub(w->connections, 1);
        return;
    }
    fm_addr_bytes(from, ip);
    p->door = d;
    p->end[CLIENT].passage = p->end[NODE].passage = p;
    p->unburied = 1;
    p->why = full ? FM_DOOR_WHY_FULL : FM_DOOR_WHY_NONE;
    p->ask = (struct fm_door_ask){
        .kind = kind, .salt = (uint32_t)fm_hash((struct fm_hash_key){0}, ip, sizeof ip)};
    fm_list_init(&p->in_sessions);
    fm_list_init(&p->in_looking);
    fm_list_push_back(&w->all, &p->in_all);
    w->npassages++;
    atomic_fetch_add_explicit(&d->metrics.connections, 1, memory_order_relaxed);
    keep_alive(&p->end[CLIENT].sock);
    p->first_by = in_ms(p, w->config->startup_ms);
    fm_sock_recv(&p->end[CLIENT].sock, NULL, p->first_by);
}

static bool epochs_changed(struct fm_door *d)
{
    const struct fm_sublease_cell *c = &d->view.cell;
    bool changed =
        !fm_epoch_same(c->known, d->swept_known) || !fm_epoch_same(c->stopped, d->swept_stopped);
    d->swept_known = c->known;
    d->swept_stopped = c->stopped;
    return changed;
}

static void look_at_sessions(struct fm_door *d)
{
    struct fm_mono now = fm_mono_now();
    fm_list_each_safe (at, next, &d->sessions) {
        struct fm_passage *p = fm_container_of(at, struct fm_passage, in_sessions);
        enum fm_door_why why;
        if (fm_door_passes(&d->view, &p->session, now, &why) == FM_DOOR_RESET)
            reset_session(p, why);
    }
}

void fm_passages_look(struct fm_door *d, bool nodes_changed)
{
    fm_door_look(d);
    if (epochs_changed(d) || nodes_changed)
        look_at_sessions(d);
    fm_list_each_safe (at, next, &d->looking) {
        struct fm_passage *p = fm_container_of(at, struct fm_passage, in_looking);
        if (p->state == PASSING)
            pass_on(&p->end[NODE]);
        else if (!p->node_open)
            look(p);
    }
    if (!fm_list_empty(&d->looking))
        start_tick(d->worker);
}

void fm_passages_refuse(struct fm_door *d, enum fm_door_why why)
{
    fm_list_each_safe (at, next, &d->looking) {
        struct fm_passage *p = fm_container_of(at, struct fm_passage, in_looking);
        if (p->state == LOOKING && !p->node_open)
            refuse(p, why);
    }
}

void fm_passages_close(struct fm_door_worker *w)
{
    fm_list_each_safe (at, next, &w->all)
        close_passage(fm_container_of(at, struct fm_passage, in_all), true);
    FM_ASSERT(fm_list_empty(&w->all));
}
