/* From a choice to a node that bytes may be passed on to: PostgreSQL of this host, or the agent of
 * another one, which is asked for a tunnel (proxy/tunnel.h). Invariants: all of it has one
 * deadline; at most SETUPS_MAX tunnels to a node are being set up by a worker at once, since each
 * costs the agent there a handshake on the loop that also renews its leases; and one that was
 * refused is not asked for at once again. */
#include "proxy/passage_inside.h"

enum { SETUPS_MAX = 8, REST_MS = 100, NEXT_MS = 5 };

static bool is_far(const struct fm_door *d, unsigned node)
{
    FM_ASSERT(node < d->view.nnodes);
    return d->view.node[node].distance != FM_DOOR_HERE;
}

void fm_reach_note(const struct fm_door *d, struct fm_mono now, struct fm_door_ask *ask)
{
    unsigned n = d->view.nnodes;
    FM_ASSERT(n <= FM_DOOR_NODES_MAX);
    for (unsigned i = 0; i < n; i++) {
        ask->failed |= (uint32_t)fm_mono_before(now, d->rests[i]) << i;
        ask->busy |= (uint32_t)(d->setups[i] >= SETUPS_MAX) << i;
    }
}

/* Whoever waits for a turn gets it soon. */
void fm_reach_over(struct fm_passage *p)
{
    struct fm_door_worker *w = p->door->worker;
    fm_list_remove(&p->in_sessions);
    if (!p->sets_up)
        return;
    FM_ASSERT(p->session.node < FM_DOOR_NODES_MAX && p->door->setups[p->session.node] > 0);
    p->sets_up = false;
    p->door->setups[p->session.node]--;
    if (!fm_list_empty(&p->door->looking))
        fm_loop_timer_in_ms(&w->loop, &w->tick, NEXT_MS);
}

void fm_reach_turn_back(struct fm_passage *p)
{
    FM_ASSERT(p->state == FM_PASSAGE_REACHING && p->node_open);
    fm_reach_over(p);
    p->state = FM_PASSAGE_LOOKING; /* again, when this socket is buried */
    if (p->visits)
        p->why = FM_DOOR_WHY_NO_ANSWER; /* the gate asks again */
    fm_sock_close(&p->end[FM_PASSAGE_NODE].sock);
}

static void failed(struct fm_passage *p)
{
    unsigned node = p->session.node;
    p->ask.failed |= 1u << node;
    if (p->sets_up)
        p->door->rests[node] = fm_passage_in_ms(p, REST_MS);
    fm_reach_turn_back(p);
}

static enum fm_err connect_to(struct fm_passage *p, bool far)
{
    struct fm_door *d = p->door;
    struct fm_sock *s = &p->end[FM_PASSAGE_NODE].sock;
    unsigned node = p->session.node;
    struct fm_error e = {0};
    if (far && d->worker->tls)
        return fm_sock_connect_tls(s, &d->worker->loop, &d->at[node], p->reach_by, d->worker->tls,
                                   d->config->host[node], &fm_passage_ops, &e);
    return fm_sock_connect(s, &d->worker->loop, &d->at[node], p->reach_by, &fm_passage_ops, &e);
}

void fm_reach(struct fm_passage *p, const struct fm_door_choice *c)
{
    struct fm_door *d = p->door;
    FM_ASSERT(!p->node_open && !p->sets_up && c->node < FM_DOOR_NODES_MAX);
    bool far = is_far(d, c->node);
    FM_ASSERT(!far || !p->visits); /* from gate to node, and no further */
    fm_passage_wait_no_more(p);
    p->session = (struct fm_door_session){
        .node = c->node, .role = c->role, .epoch = c->epoch, .waits = FM_MONO_NEVER};
    p->state = FM_PASSAGE_REACHING;
    p->reach_by = fm_passage_in_ms(p, d->worker->config->connect_ms);
    if (connect_to(p, far)) {
        fm_passage_hold(p);
        return;
    }
    p->node_open = true;
    p->unburied++;
    fm_list_push_back(&d->sessions, &p->in_sessions);
    p->sets_up = far;
    d->setups[c->node] += far;
    p->end[FM_PASSAGE_CLIENT].sock.flags |= far || p->visits ? FM_SOCK_WATCH_FIN : 0;
}

/* It may have taken a while. */
static void reached(struct fm_passage *p, struct fm_block *first)
{
    enum fm_door_why why;
    fm_door_look(p->door);
    if (fm_door_passes(&p->door->view, &p->session, fm_mono_now(), &why) != FM_DOOR_PASS) {
        if (first)
            fm_pool_put(&p->door->worker->pool, first);
        fm_reach_turn_back(p);
        return;
    }
    fm_reach_over(p);
    fm_session_begin(p, first);
}

void fm_reach_connected(struct fm_passage *p, int err)
{
    struct fm_sock *s = &p->end[FM_PASSAGE_NODE].sock;
    const struct fm_tunnel t = {.visit = {p->session.role, p->session.epoch}};
    char text[FM_TUNNEL_REQUEST_MAX];
    FM_ASSERT(p->state == FM_PASSAGE_REACHING && p->node_open);
    if (err) {
        failed(p);
        return;
    }
    if (!p->sets_up) {
        reached(p, NULL);
        return;
    }
    size_t n =
        fm_tunnel_request(text, p->door->config->name, p->door->config->host[p->session.node], &t);
    if (fm_sock_send_now(s, fm_str(text, n)))
        fm_sock_recv(s, NULL, p->reach_by);
    else
        failed(p);
}

void fm_reach_received(struct fm_passage *p, struct fm_block *b, ssize_t n)
{
    struct fm_pool *pool = &p->door->worker->pool;
    FM_ASSERT(p->state == FM_PASSAGE_REACHING && p->sets_up);
    switch (n > 0 ? fm_tunnel_answered(b) : FM_TUNNEL_IS_SHUT) {
    case FM_TUNNEL_IS_COMING:
        fm_sock_recv(&p->end[FM_PASSAGE_NODE].sock, b, p->reach_by);
        return;
    case FM_TUNNEL_IS_SHUT:
        if (b)
            fm_pool_put(pool, b);
        failed(p);
        return;
    case FM_TUNNEL_IS_OPEN:
        if (b->n == 0) {
            fm_pool_put(pool, b);
            b = NULL;
        }
        fm_counter_inc(&p->door->metrics.tunnels);
        reached(p, b);
        return;
    }
    FM_UNREACHABLE();
}
