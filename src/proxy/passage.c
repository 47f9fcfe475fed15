/* A connection through a door: who comes, waits, is refused, and ends. Invariants: a socket that is
 * being closed is never used again before it is buried; whoever waits is looked at again, or
 * refused. What is decided about whom is core/door.h's. */
#include "base/hash.h"
#include "base/log.h"
#include "proxy/errand.h"
#include "proxy/passage_inside.h"
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

static void look(struct fm_passage *p);

/* -------- the end -------- */

void fm_passage_drop_block(struct fm_passage_end *x)
{
    if (x->says)
        fm_pool_put(&x->passage->door->worker->pool, x->says);
    x->says = NULL;
}

void fm_passage_wait_no_more(struct fm_passage *p)
{
    if (fm_list_empty(&p->in_looking))
        return;
    fm_list_remove(&p->in_looking);
    atomic_fetch_sub_explicit(&p->door->metrics.holding, 1, memory_order_relaxed);
}

void fm_passage_close(struct fm_passage *p, bool reset)
{
    FM_ASSERT(!p->closing && p->unburied > 0);
    p->closing = true;
    fm_passage_wait_no_more(p);
    fm_list_remove(&p->in_all);
    fm_reach_over(p);
    if (p->errands)
        fm_errands_forget(p->door->worker, p);
    for (unsigned i = 0; i < FM_PASSAGE_SIDES; i++)
        if (fm_sock_is_open(&p->end[i].sock))
            (reset ? fm_sock_reset : fm_sock_close)(&p->end[i].sock);
    for (unsigned i = 0; i < FM_PASSAGE_SIDES; i++)
        fm_passage_drop_block(&p->end[i]);
    atomic_fetch_sub_explicit(&p->door->metrics.connections, 1, memory_order_relaxed);
}

static void on_closed(struct fm_sock *s)
{
    struct fm_passage_end *x = fm_passage_end_of(s);
    struct fm_passage *p = x->passage;
    struct fm_door_worker *w = p->door->worker;
    FM_ASSERT(p->unburied > 0 && w->npassages > 0);
    p->unburied--;
    if (fm_passage_side(x) == FM_PASSAGE_NODE)
        p->node_open = false;
    if (!p->closing) {
        FM_ASSERT(fm_passage_side(x) == FM_PASSAGE_NODE);
        if (p->state == FM_PASSAGE_LOOKING)
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
void fm_passage_leave(struct fm_passage *p)
{
    struct fm_passage_end *c = &p->end[FM_PASSAGE_CLIENT];
    FM_ASSERT(!p->closing && !fm_sock_is_sending(&c->sock));
    fm_passage_wait_no_more(p);
    fm_list_remove(&p->in_sessions);
    p->state = FM_PASSAGE_LEAVING;
    if (p->node_open)
        fm_sock_close(&p->end[FM_PASSAGE_NODE].sock);
    fm_passage_drop_block(&p->end[FM_PASSAGE_NODE]);
    if (c->ended) {
        fm_passage_close(p, false);
        return;
    }
    fm_sock_shutdown(&c->sock);
    fm_passage_drop_block(c);
    if (fm_sock_is_receiving(&c->sock))
        fm_sock_recv_deadline(&c->sock, fm_passage_in_ms(p, LEAVE_MS));
    else
        fm_sock_recv(&c->sock, NULL, fm_passage_in_ms(p, LEAVE_MS));
}

/* -------- what is refused -------- */

static void answer(struct fm_passage *p, const char *bytes, size_t n)
{
    struct fm_passage_end *c = &p->end[FM_PASSAGE_CLIENT];
    FM_ASSERT(c->says && n <= c->says->size && !fm_sock_is_receiving(&c->sock));
    memcpy(c->says->data, bytes, n);
    c->says->n = (uint32_t)n;
    p->state = FM_PASSAGE_ANSWERING;
    struct iovec v = {c->says->data, n};
    fm_sock_send(&c->sock, &v, 1, fm_passage_in_ms(p, LEAVE_MS));
}

static void refuse_text(struct fm_passage *p, const char *state, const char *text)
{
    char message[160], error[FM_STARTUP_ERROR_MAX];
    (void)snprintf(message, sizeof message, "group %s: %s", p->door->config->name, text);
    size_t n = fm_startup_error(error, state, message);
    answer(p, error, n);
}

/* The gate that passes it on makes it wait, or tells the client. */
static void refuse_visit(struct fm_passage *p, enum fm_door_why why)
{
    char text[FM_TUNNEL_REFUSAL_MAX];
    size_t n = fm_tunnel_refusal(text, why);
    fm_counter_inc(&p->door->metrics.refused);
    if (fm_sock_send_now(&p->end[FM_PASSAGE_CLIENT].sock, fm_str(text, n)))
        fm_passage_leave(p);
    else
        fm_passage_close(p, true);
}

/* Who asks for encryption first is told that there is none: a client that can do without says then
 * who it is, in clear but without a password, and hears why it is refused. */
static void refuse(struct fm_passage *p, enum fm_door_why why)
{
    FM_ASSERT(why != FM_DOOR_WHY_NONE && !p->node_open);
    fm_passage_wait_no_more(p);
    p->why = why;
    if (p->visits) {
        refuse_visit(p, why);
        return;
    }
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
    struct fm_passage_end *c = &p->end[FM_PASSAGE_CLIENT];
    if (err) {
        fm_passage_close(p, true);
        return;
    }
    if (p->first == FM_STARTUP_SESSION || p->first == FM_STARTUP_BAD) {
        fm_passage_leave(p);
        return;
    }
    c->says->n = 0;
    p->state = FM_PASSAGE_FIRST;
    p->first_by = fm_passage_in_ms(p, p->door->worker->config->startup_ms);
    fm_sock_recv(&c->sock, c->says, p->first_by);
}

/* -------- looking for a node -------- */

static void start_tick(struct fm_door_worker *w)
{
    if (!fm_timer_is_set(&w->tick))
        fm_loop_timer_in_ms(&w->loop, &w->tick, TICK_MS);
}

void fm_passage_wait(struct fm_passage *p)
{
    FM_ASSERT(!p->closing);
    if (fm_list_empty(&p->in_looking)) {
        fm_list_push_back(&p->door->looking, &p->in_looking);
        atomic_fetch_add_explicit(&p->door->metrics.holding, 1, memory_order_relaxed);
    }
    start_tick(p->door->worker);
}

void fm_passage_hold(struct fm_passage *p)
{
    if (p->visits) {
        refuse(p, FM_DOOR_WHY_NO_ANSWER);
        return;
    }
    p->state = FM_PASSAGE_LOOKING;
    p->ask.failed = 0; /* whoever did not answer is tried again */
    if (!p->was_held)
        fm_counter_inc(&p->door->metrics.held);
    p->was_held = true;
    p->end[FM_PASSAGE_CLIENT].sock.flags |= FM_SOCK_WATCH_FIN;
    if (fm_sock_has_ended(&p->end[FM_PASSAGE_CLIENT].sock))
        fm_passage_close(p, false);
    else
        fm_passage_wait(p);
}

static void look(struct fm_passage *p)
{
    FM_ASSERT((p->state == FM_PASSAGE_FIRST || p->state == FM_PASSAGE_LOOKING) && !p->node_open &&
              !p->closing);
    fm_door_look(p->door);
    struct fm_mono now = fm_mono_now();
    if (p->door->worker->ending && p->why == FM_DOOR_WHY_NONE)
        p->why = FM_DOOR_WHY_ENDING;
    if (p->why != FM_DOOR_WHY_NONE) {
        refuse(p, p->why);
        return;
    }
    struct fm_door_ask ask = p->ask;
    fm_reach_note(p->door, now, &ask);
    struct fm_door_choice c = p->visits ? fm_door_receive(&p->door->view, &p->tunnel.visit, now)
                                        : fm_door_choose(&p->door->view, &ask, now);
    switch (c.verdict) {
    case FM_DOOR_CONNECT:
        fm_reach(p, &c);
        return;
    case FM_DOOR_HOLD:
        fm_passage_hold(p);
        return;
    case FM_DOOR_REFUSE:
        refuse(p, c.why);
        return;
    }
    FM_UNREACHABLE();
}

void fm_passage_keep_alive(const struct fm_sock *s)
{
    int one = 1, idle = KEEPALIVE_IDLE_S, every = KEEPALIVE_EVERY_S, times = KEEPALIVE_TIMES;
    int fd = s->watch.fd;
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof every);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
}

/* -------- the first packet -------- */

static void begin_cancel(struct fm_passage *p)
{
    const struct fm_block *b = p->end[FM_PASSAGE_CLIENT].says;
    fm_counter_inc(&p->door->metrics.cancels);
    p->state = FM_PASSAGE_CANCELLING;
    p->end[FM_PASSAGE_CLIENT].sock.flags |= FM_SOCK_WATCH_FIN;
    p->errands = (uint8_t)fm_errands_send(p->door, fm_str(b->data, b->n), p->visits, p);
    if (!p->errands)
        fm_passage_close(p, false);
}

void fm_passage_errand_over(struct fm_passage *p)
{
    FM_ASSERT(p->state == FM_PASSAGE_CANCELLING && p->errands > 0 && !p->closing);
    if (--p->errands == 0)
        fm_passage_close(p, false);
}

static void received_first(struct fm_passage_end *c, struct fm_block *b, ssize_t n)
{
    struct fm_passage *p = c->passage;
    if (n <= 0) {
        if (n == -ETIMEDOUT)
            fm_counter_inc(&p->door->metrics.slow);
        fm_passage_close(p, n < 0);
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
        if (p->visits) { /* it came to cancel */
            fm_passage_close(p, true);
            return;
        }
        p->first = (uint8_t)s.kind;
        p->ask.came = fm_mono_now();
        look(p);
        return;
    case FM_STARTUP_CANCEL:
        begin_cancel(p);
        return;
    case FM_STARTUP_BAD:
        fm_counter_inc(&p->door->metrics.malformed);
        if (p->visits) {
            fm_passage_close(p, true);
            return;
        }
        p->first = (uint8_t)s.kind;
        refuse_text(p, s.state, s.why);
        return;
    }
    FM_UNREACHABLE();
}

/* -------- what sockets say -------- */

static void received_last(struct fm_passage_end *c, struct fm_block *b, ssize_t n)
{
    struct fm_passage *p = c->passage;
    FM_ASSERT(fm_passage_side(c) == FM_PASSAGE_CLIENT);
    if (n <= 0) {
        fm_passage_close(p, n < 0);
        return;
    }
    fm_pool_put(&p->door->worker->pool, b);
    fm_sock_recv(&c->sock, NULL, c->sock.recv_deadline);
}

static void on_received(struct fm_sock *s, struct fm_block *b, ssize_t n)
{
    struct fm_passage_end *x = fm_passage_end_of(s);
    switch ((enum fm_passage_state)x->passage->state) {
    case FM_PASSAGE_PASSING:
        fm_session_received(x, b, n);
        return;
    case FM_PASSAGE_REACHING:
        FM_ASSERT(fm_passage_side(x) == FM_PASSAGE_NODE);
        fm_reach_received(x->passage, b, n);
        return;
    case FM_PASSAGE_FIRST:
        received_first(x, b, n);
        return;
    case FM_PASSAGE_LEAVING:
        received_last(x, b, n);
        return;
    case FM_PASSAGE_LOOKING:
    case FM_PASSAGE_CANCELLING:
    case FM_PASSAGE_ANSWERING:
        break;
    }
    FM_UNREACHABLE();
}

static void on_connected(struct fm_sock *s, int err)
{
    fm_reach_connected(fm_passage_end_of(s)->passage, err);
}

static void on_sent(struct fm_sock *s, int err)
{
    struct fm_passage_end *x = fm_passage_end_of(s);
    FM_ASSERT(x->passage->state == FM_PASSAGE_PASSING || x->passage->state == FM_PASSAGE_ANSWERING);
    if (x->passage->state == FM_PASSAGE_PASSING)
        fm_session_sent(x, err);
    else
        answered(x->passage, err);
}

/* In a session the next receive finds out. */
static void on_lost(struct fm_sock *s)
{
    struct fm_passage_end *x = fm_passage_end_of(s);
    struct fm_passage *p = x->passage;
    if (fm_passage_side(x) == FM_PASSAGE_NODE)
        return;
    if (p->state != FM_PASSAGE_PASSING || (s->flags & FM_SOCK_RESET))
        fm_passage_close(p, true);
}

const struct fm_sock_ops fm_passage_ops = {.received = on_received,
                                           .sent = on_sent,
                                           .connected = on_connected,
                                           .closed = on_closed,
                                           .lost = on_lost};

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

/* Of a connection that is counted already. NULL: it is closed. */
static struct fm_passage *make(struct fm_door *d, struct fm_sock_parcel *from)
{
    struct fm_door_worker *w = d->worker;
    struct fm_passage *p = calloc(1, sizeof *p);
    if (!p ||
        fm_sock_adopt(&p->end[FM_PASSAGE_CLIENT].sock, &w->loop, from, &fm_passage_ops, NULL)) {
        if (!p)
            fm_sock_discard(from);
        free(p);
        atomic_fetch_sub(w->connections, 1);
        return NULL;
    }
    p->door = d;
    p->end[FM_PASSAGE_CLIENT].passage = p->end[FM_PASSAGE_NODE].passage = p;
    p->unburied = 1;
    fm_list_init(&p->in_sessions);
    fm_list_init(&p->in_looking);
    fm_list_push_back(&w->all, &p->in_all);
    w->npassages++;
    atomic_fetch_add_explicit(&d->metrics.connections, 1, memory_order_relaxed);
    fm_passage_keep_alive(&p->end[FM_PASSAGE_CLIENT].sock);
    return p;
}

static void receive_first(struct fm_passage *p)
{
    p->first_by = fm_passage_in_ms(p, p->door->worker->config->startup_ms);
    fm_sock_recv(&p->end[FM_PASSAGE_CLIENT].sock, NULL, p->first_by);
}

void fm_passage_accepted(struct fm_door *d, enum fm_door_kind kind, int fd,
                         const struct fm_addr *from)
{
    uint8_t ip[16];
    bool full;
    if (!admit(d, fd, &full))
        return;
    struct fm_passage *p = make(d, &(struct fm_sock_parcel){.fd = fd});
    if (!p)
        return;
    fm_addr_bytes(from, ip);
    p->why = full ? FM_DOOR_WHY_FULL : FM_DOOR_WHY_NONE;
    p->ask = (struct fm_door_ask){
        .kind = kind, .salt = (uint32_t)fm_hash((struct fm_hash_key){0}, ip, sizeof ip)};
    receive_first(p);
}

/* PostgreSQL is reached before anything is answered, so that the gate can try again; a cancel
 * request, which nobody answers, is read first. */
void fm_passage_visits(struct fm_door *d, const struct fm_tunnel *by, struct fm_sock_parcel *from)
{
    struct fm_passage *p = make(d, from);
    if (!p)
        return;
    fm_counter_inc(&d->metrics.visits);
    p->visits = true;
    p->tunnel = *by;
    if (!by->cancels)
        look(p);
    else if (fm_sock_send_now(&p->end[FM_PASSAGE_CLIENT].sock, FM_STR(FM_TUNNEL_OPEN)))
        receive_first(p);
    else
        fm_passage_close(p, true);
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
        if (fm_door_passes(&d->view, &p->session, now, &why) != FM_DOOR_RESET)
            continue;
        if (p->state == FM_PASSAGE_REACHING)
            fm_reach_turn_back(p);
        else
            fm_session_reset(p, why);
    }
}

void fm_passages_look(struct fm_door *d, bool nodes_changed)
{
    fm_door_look(d);
    if (epochs_changed(d) || nodes_changed)
        look_at_sessions(d);
    fm_list_each_safe (at, next, &d->looking) {
        struct fm_passage *p = fm_container_of(at, struct fm_passage, in_looking);
        if (p->state == FM_PASSAGE_PASSING)
            fm_session_look(p);
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
        if (p->state == FM_PASSAGE_LOOKING && !p->node_open)
            refuse(p, why);
    }
}

void fm_passages_close(struct fm_door_worker *w)
{
    fm_list_each_safe (at, next, &w->all)
        fm_passage_close(fm_container_of(at, struct fm_passage, in_all), true);
    FM_ASSERT(fm_list_empty(&w->all));
}
