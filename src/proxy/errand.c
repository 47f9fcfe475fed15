/* A cancel request to one node: connect (through the agent of its host, where that is another one),
 * say it, wait until the node hangs up. Invariant: each has one deadline for all of it, and leaves
 * the worker's list before its memory goes. */
#include "proxy/errand.h"

#include "base/assert.h"
#include "proxy/tunnel.h"

#include <stdlib.h>
#include <string.h>

/* PostgreSQL promises of no cancel request that it has an effect. */
enum { PACKET_MAX = 512, ERRAND_MS = 5000, ERRANDS_MAX = 256 };

struct errand {
    struct fm_list node;
    struct fm_sock sock;
    struct fm_door_worker *worker;
    const struct fm_door_config *config;
    unsigned number;             /* of the node */
    bool far, open;              /* of another host; and its agent has let it in */
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

static void say(struct errand *x)
{
    struct iovec v = {x->packet, x->n};
    x->open = true;
    fm_sock_send(&x->sock, &v, 1, x->by);
}

static void on_connected(struct fm_sock *s, int err)
{
    struct errand *x = of(s);
    const struct fm_tunnel t = {.cancels = true};
    char text[FM_TUNNEL_REQUEST_MAX];
    if (err) {
        end(x);
    } else if (!x->far) {
        say(x);
    } else {
        size_t n = fm_tunnel_request(text, x->config->name, x->config->host[x->number], &t);
        if (fm_sock_send_now(s, fm_str(text, n)))
            fm_sock_recv(s, NULL, x->by);
        else
            end(x);
    }
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
    struct errand *x = of(s);
    FM_ASSERT(n <= 0 || b);
    x->heard = b;
    bool answered = n > 0 && !x->open;
    enum fm_tunnel_is is = answered ? fm_tunnel_answered(b) : FM_TUNNEL_IS_SHUT;
    if (is == FM_TUNNEL_IS_COMING) {
        x->heard = NULL;
        fm_sock_recv(s, b, x->by);
    } else if (is == FM_TUNNEL_IS_OPEN && b->n == 0) {
        fm_pool_put(&x->worker->pool, b);
        x->heard = NULL;
        say(x);
    } else {
        end(x);
    }
}

static const struct fm_sock_ops ops = {
    .received = on_received, .sent = on_sent, .connected = on_connected, .closed = on_closed};

static bool send_to(struct fm_door *d, unsigned node, struct fm_str packet,
                    struct fm_passage *for_whom)
{
    struct errand *x = calloc(1, sizeof *x);
    if (!x)
        return false;
    bool far = d->view.node[node].distance != FM_DOOR_HERE;
    struct fm_tls *tls = far ? d->worker->tls : NULL;
    x->worker = d->worker;
    x->config = d->config;
    x->number = node;
    x->far = far;
    x->for_whom = for_whom;
    x->n = packet.n;
    x->by = fm_mono_add_ms(fm_loop_now(&d->worker->loop), ERRAND_MS);
    memcpy(x->packet, packet.p, packet.n);
    struct fm_loop *l = &d->worker->loop;
    if (tls ? fm_sock_connect_tls(&x->sock, l, &d->at[node], x->by, tls, d->config->host[node],
                                  &ops, NULL)
            : fm_sock_connect(&x->sock, l, &d->at[node], x->by, &ops, NULL)) {
        free(x);
        return false;
    }
    fm_list_push_back(&d->worker->errands, &x->node);
    d->worker->nerrands++;
    return true;
}

unsigned fm_errands_send(struct fm_door *d, struct fm_str packet, bool here,
                         struct fm_passage *for_whom)
{
    unsigned n = 0;
    FM_ASSERT(packet.n > 0 && packet.n <= PACKET_MAX && d->view.nnodes <= FM_DOOR_NODES_MAX);
    for (unsigned i = 0; i < d->view.nnodes; i++) {
        const struct fm_door_node *node = &d->view.node[i];
        bool goes = node->role != FM_DOOR_AWAY && node->distance != FM_DOOR_NO_WAY;
        goes = goes && (!here || node->distance == FM_DOOR_HERE);
        if (goes && d->worker->nerrands < ERRANDS_MAX)
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
