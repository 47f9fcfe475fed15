/* Bytes between a client and its node. Invariants: bytes of a node go to a client only after the
 * right of the session was looked at, at that moment; each direction has one block of memory, and
 * only while something of it is under way. */
#include "base/log.h"
#include "proxy/passage_inside.h"

#include <errno.h>

static void pass_on(struct fm_passage_end *x);

void fm_session_reset(struct fm_passage *p, enum fm_door_why why)
{
    FM_ASSERT(p->state == FM_PASSAGE_PASSING);
    fm_counter_inc(&p->door->metrics.resets);
    fm_log(FM_LOG_DEBUG, "door_session_reset", FM_KZ("group", p->door->config->name),
           FM_KZ("why", fm_door_why_name(why)));
    fm_passage_close(p, true);
}

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
        fm_passage_wait_no_more(p);
        return true;
    case FM_DOOR_WAIT:
        if (fm_mono_is_never(p->session.waits)) {
            p->session.waits = now;
            fm_counter_inc(&d->metrics.waited);
        }
        fm_passage_wait(p);
        return false;
    case FM_DOOR_RESET:
        fm_session_reset(p, why);
        return false;
    }
    FM_UNREACHABLE();
}

static void pass_on(struct fm_passage_end *x)
{
    struct fm_passage *p = x->passage;
    struct fm_sock *to = &fm_passage_other(x)->sock;
    FM_ASSERT(p->state == FM_PASSAGE_PASSING && x->says && !fm_sock_is_sending(to));
    if (fm_passage_side(x) == FM_PASSAGE_NODE && !may_pass(p))
        return;
    struct iovec v = {x->says->data, x->says->n};
    fm_sock_send(to, &v, 1, fm_passage_in_ms(p, FM_PASSAGE_FAR_MS));
}

static void receive(struct fm_passage_end *x)
{
    fm_sock_recv(&x->sock, NULL, fm_passage_in_ms(x->passage, FM_PASSAGE_FAR_MS));
}

void fm_session_begin(struct fm_passage *p, struct fm_block *first)
{
    struct fm_passage_end *client = &p->end[FM_PASSAGE_CLIENT], *node = &p->end[FM_PASSAGE_NODE];
    FM_ASSERT(p->state == FM_PASSAGE_REACHING && !p->sets_up && !client->says == p->visits);
    p->state = FM_PASSAGE_PASSING;
    fm_list_push_back(&p->door->sessions, &p->in_sessions);
    node->says = first;
    if (p->visits && !fm_sock_send_now(&client->sock, FM_STR(FM_TUNNEL_OPEN))) {
        fm_passage_close(p, true);
        return;
    }
    fm_counter_inc(&p->door->metrics.passed_on);
    fm_passage_keep_alive(&node->sock);
    if (client->says)
        pass_on(client);
    else
        receive(client);
    if (first)
        pass_on(node);
    else
        receive(node);
}

void fm_session_look(struct fm_passage *p)
{
    pass_on(&p->end[FM_PASSAGE_NODE]);
}

/* The node says no more: it never ends one direction alone. */
static void node_ended(struct fm_passage *p)
{
    FM_ASSERT(!p->end[FM_PASSAGE_NODE].says);
    fm_passage_leave(p);
}

void fm_session_sent(struct fm_passage_end *to, int err)
{
    struct fm_passage *p = to->passage;
    struct fm_passage_end *x = fm_passage_other(to);
    struct fm_door_metrics *m = &p->door->metrics;
    FM_ASSERT(x->says);
    fm_counter_add(fm_passage_side(x) == FM_PASSAGE_CLIENT ? &m->bytes_in : &m->bytes_out,
                   to->sock.sent);
    fm_passage_drop_block(x);
    if (!err)
        receive(x);
    else if (fm_passage_side(to) == FM_PASSAGE_CLIENT)
        fm_passage_close(p, true);
    /* else: a node that takes no more may still have said why; that it ended is read after it */
}

static void client_ended(struct fm_passage *p)
{
    p->end[FM_PASSAGE_CLIENT].ended = true;
    fm_sock_shutdown(&p->end[FM_PASSAGE_NODE].sock);
}

void fm_session_received(struct fm_passage_end *x, struct fm_block *b, ssize_t n)
{
    struct fm_passage *p = x->passage;
    FM_ASSERT(!x->says && !x->ended);
    if (n > 0) {
        x->says = b;
        pass_on(x);
    } else if (n == -ETIMEDOUT) {
        receive(x);
    } else if (fm_passage_side(x) == FM_PASSAGE_NODE) {
        node_ended(p);
    } else if (n == 0) {
        client_ended(p);
    } else {
        fm_passage_close(p, true);
    }
}
