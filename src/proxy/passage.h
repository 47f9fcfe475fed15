/* proxy/passage.h: one worker of the doors (proxy/door.h), and its connections. Private to the
 * doors; the inside of a passage is in proxy/passage_inside.h.
 *
 * A passage is a client, and the node that it is passed on to once there is one. It lives on the
 * loop of its worker, from accept until both sockets are buried. */
#ifndef FM_PROXY_PASSAGE_H
#define FM_PROXY_PASSAGE_H

#include "io/mailbox.h"
#include "io/sock.h"
#include "proxy/door.h"

#include <pthread.h>

struct fm_door_worker;

/* A group as one worker serves it. */
struct fm_door {
    struct fm_door_worker *worker;
    const struct fm_door_config *config;
    struct fm_door_view view; /* its cell is as of the last look */
    struct fm_addr at[FM_DOOR_NODES_MAX];
    uint16_t setups[FM_DOOR_NODES_MAX];      /* tunnels that are being set up */
    struct fm_mono rests[FM_DOOR_NODES_MAX]; /* none is begun before this */
    struct fm_listener listener[FM_DOOR_KIND_COUNT];
    struct fm_list sessions; /* that are passed on, or on the way to their node */
    struct fm_list looking;  /* that wait for a node, or for the right to go on */
    struct fm_epoch swept_known, swept_stopped;
    struct fm_door_metrics metrics;
};

struct fm_door_worker {
    const struct fm_doors_config *config;
    _Atomic uint32_t *connections; /* of all workers */
    unsigned index;
    bool running, ending;
    uint8_t region;     /* of this gate */
    struct fm_tls *tls; /* to agents of other hosts; a reference, or NULL: plain */
    pthread_t thread;
    struct fm_loop loop;
    struct fm_pool pool;
    struct fm_mailbox inbox;
    struct fm_msg stop;
    struct fm_timer tick; /* set while something is `looking` */
    struct fm_list all;   /* passages that are not being closed */
    unsigned npassages;   /* that are not buried */
    struct fm_list errands;
    unsigned nerrands; /* the same */
    unsigned ndoors;   /* that it serves */
    struct fm_door door[FM_DOORS_MAX];
};

/* A connection came to a listener of the door. */
void fm_passage_accepted(struct fm_door *d, enum fm_door_kind kind, int fd,
                         const struct fm_addr *from);
/* A gate of another host passes one on; it is counted already, and taken over. */
void fm_passage_visits(struct fm_door *d, const struct fm_tunnel *by, struct fm_sock_parcel *from);
/* The right, or the nodes, or the time are something else now: look at whatever waits and, where an
 * epoch or the nodes changed, at all sessions. */
void fm_passages_look(struct fm_door *d, bool nodes_changed);
/* Refuse whoever waits. */
void fm_passages_refuse(struct fm_door *d, enum fm_door_why why);
/* Close all, whatever they do. */
void fm_passages_close(struct fm_door_worker *w);

/* What the gate knows now; the node's part is as it was published. */
void fm_door_look(struct fm_door *d);

#endif
