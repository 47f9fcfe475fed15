/* proxy/passage_inside.h: a connection through a door, for its own files:
 *   passage.c  who comes: the first packet, waiting, being refused, the end
 *   reach.c    on the way to a node, on this host or through the agent of another one
 *   session.c  bytes both ways */
#ifndef FM_PROXY_PASSAGE_INSIDE_H
#define FM_PROXY_PASSAGE_INSIDE_H

#include "base/assert.h"
#include "proxy/passage.h"
#include "proxy/tunnel.h"

#define FM_PASSAGE_FAR_MS (INT64_C(10) * 365 * 24 * 3600 * 1000)

enum fm_passage_side { FM_PASSAGE_CLIENT, FM_PASSAGE_NODE, FM_PASSAGE_SIDES };

enum fm_passage_state {
    FM_PASSAGE_FIRST,      /* its first packet is read */
    FM_PASSAGE_LOOKING,    /* it waits for a node */
    FM_PASSAGE_REACHING,   /* the node is being connected to */
    FM_PASSAGE_PASSING,    /* it is a session */
    FM_PASSAGE_CANCELLING, /* its request is on the way to the nodes */
    FM_PASSAGE_ANSWERING,  /* it is told why not */
    FM_PASSAGE_LEAVING,    /* all is said; what it still says is dropped until it ends */
};

struct fm_passage_end {
    struct fm_sock sock;
    struct fm_passage *passage;
    struct fm_block *says; /* on its way to the other end */
    bool ended;
};

struct fm_passage {
    struct fm_list in_all, in_sessions, in_looking;
    struct fm_door *door;
    struct fm_passage_end end[FM_PASSAGE_SIDES];
    struct fm_door_session session;
    struct fm_door_ask ask;
    struct fm_tunnel tunnel; /* that it came by, where it visits */
    struct fm_mono first_by, reach_by;
    uint8_t state, first, denials, errands, unburied;
    bool closing, node_open, was_held;
    bool visits;          /* a gate of another host passes it on to the node of this one */
    bool sets_up;         /* it counts among those that the agent of a host is being asked for */
    enum fm_door_why why; /* it is refused as soon as it can be told */
};

static inline struct fm_passage_end *fm_passage_end_of(struct fm_sock *s)
{
    return fm_container_of(s, struct fm_passage_end, sock);
}

static inline enum fm_passage_side fm_passage_side(const struct fm_passage_end *x)
{
    return x == &x->passage->end[FM_PASSAGE_CLIENT] ? FM_PASSAGE_CLIENT : FM_PASSAGE_NODE;
}

static inline struct fm_passage_end *fm_passage_other(struct fm_passage_end *x)
{
    return &x->passage->end[fm_passage_side(x) == FM_PASSAGE_CLIENT ? FM_PASSAGE_NODE
                                                                    : FM_PASSAGE_CLIENT];
}

static inline struct fm_mono fm_passage_in_ms(const struct fm_passage *p, int64_t ms)
{
    return fm_mono_add_ms(fm_loop_now(&p->door->worker->loop), ms);
}

/* -------- passage.c -------- */

extern const struct fm_sock_ops fm_passage_ops;

void fm_passage_close(struct fm_passage *p, bool reset);
/* All is said to the client. */
void fm_passage_leave(struct fm_passage *p);
/* It waits for a node, or for the right to go on; and does not any more. */
void fm_passage_wait(struct fm_passage *p);
void fm_passage_wait_no_more(struct fm_passage *p);
/* No node could be reached. */
void fm_passage_hold(struct fm_passage *p);
void fm_passage_drop_block(struct fm_passage_end *x);
void fm_passage_keep_alive(const struct fm_sock *s);

/* -------- reach.c -------- */

/* Which nodes take no other connection now. */
void fm_reach_note(const struct fm_door *d, struct fm_mono now, struct fm_door_ask *ask);
void fm_reach(struct fm_passage *p, const struct fm_door_choice *c);
void fm_reach_connected(struct fm_passage *p, int err);
/* Of the agent of the node's host. */
void fm_reach_received(struct fm_passage *p, struct fm_block *b, ssize_t n);
/* Not to this node; look again. */
void fm_reach_turn_back(struct fm_passage *p);
/* It is over, one way or the other. */
void fm_reach_over(struct fm_passage *p);

/* -------- session.c -------- */

/* The node is reached. `first`: what it has said already, or NULL. */
void fm_session_begin(struct fm_passage *p, struct fm_block *first);
void fm_session_received(struct fm_passage_end *x, struct fm_block *b, ssize_t n);
void fm_session_sent(struct fm_passage_end *to, int err);
/* It waited for the right to go on: look again. */
void fm_session_look(struct fm_passage *p);
void fm_session_reset(struct fm_passage *p, enum fm_door_why why);

#endif
