/* A cancel request to one node: connect, say it, wait until the node hangs up. Invariant: each has
 * one deadline for all of it, and leaves the worker's list before its memory goes. */
#include "proxy/errand.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

enum { PACKET_MAX = 512, ERRAND_MS = 5000 };

struct errand {
    struct fm_list node;
    struct fm_sock sock;
    struct fm_door_worker *worker;
    struct fm_passage *for_whom; /* NULL: gone */
    struct fm_mono by;
    struct fm_block *heard;
    size_t n;
    char packet[PACKET_MAX];
};

static struct errand *of(struct fm_sock *s)
{
    return fm_container_of(s, struct errand, sock);
}

static void end(struct errand *x)
{
    if (x->heard)
        fm_pool_put(&x->worker->pool, x->heard);
    x->heard = NULL;
    fm_sock_close(&x->sock);
}

static void on_closed(struct fm_sock *s)
{
    struct errand *x = of(s);
    FM_ASSERT(x->worker->nerrands > 0 && !x->heard);
    fm_list_remove(&x->node);
    x->worker->nerrands--;
    if (x->for_whom)
        fm_passage_errand_over(x->for_whom);
    free(x);
}

static void on_connected(struct fm_sock *s, int err)
{
    struct errand *x = of(s);
    struct iovec v = {x->packet, x->n};
    if (err)
        end(x);
    else
        fm_sock_send(s, &v, 1, x->by);
}

static void on_sent(struct fm_sock *s, int err)
{
    if (err)
        end(of(s));
    else
        fm_sock_recv(s, NULL, of(s)->by);
}

/* A node says nothing here; whatever it does say ends it. */
static void on_received(struct fm_sock *s, struct fm_block *b, ssize_t n)
{
    FM_ASSERT(n <= 0 || b);
    of(s)->heard = b;
    end(of(s));
}

static const struct fm_sock_ops ops = {
    .received = on_received, .sent = on_sent, .connected = on_connected, .closed = on_closed};

static bool send_to(struct fm_door *d, unsigned node, struct fm_str packet,
                    struct fm_passage *for_whom)
{
    struct errand *x = calloc(1, sizeof *x);
    if (!x)
        return false;
    x->worker = d->worker;
    x->for_whom = for_whom;
    x->n = packet.n;
    x->by = fm_mono_add_ms(fm_loop_now(&d->worker->loop), ERRAND_MS);
    memcpy(x->packet, packet.p, packet.n);
    if (fm_sock_connect(&x->sock, &d->worker->loop, &d->at[node], x->by, &ops, NULL)) {
        free(x);
        return false;
    }
    fm_list_push_back(&d->worker->errands, &x->node);
    d->worker->nerrands++;
    return true;
}

unsigned fm_errands_send(struct fm_door *d, struct fm_str packet, struct fm_passage *for_whom)
{
    unsigned n = 0;
    FM_ASSERT(packet.n > 0 && packet.n <= PACKET_MAX && d->view.nnodes <= FM_DOOR_NODES_MAX);
    for (unsigned i = 0; i < d->view.nnodes; i++) {
        const struct fm_door_node *node = &d->view.node[i];
        if (node->role != FM_DOOR_AWAY && node->distance != FM_DOOR_NO_WAY)
            n += send_to(d, i, packet, for_whom);
    }
    return n;
}

void fm_errands_forget(struct fm_door_worker *w, const struct fm_passage *for_whom)
{
    fm_list_each_safe (at, next, &w->errands) {
        struct errand *x = fm_container_of(at, struct errand, node);
        if (x->for_whom == for_whom)
            x->for_whom = NULL;
    }
}

void fm_errands_close(struct fm_door_worker *w)
{
    fm_list_each_safe (at, next, &w->errands) {
        struct errand *x = fm_container_of(at, struct errand, node);
        x->for_whom = NULL;
        if (fm_sock_is_open(&x->sock))
            end(x);
    }
}
