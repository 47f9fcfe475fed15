/* proxy/door.h: the doors of PostgreSQL groups at a gate (groups.*.listen): applications connect
 * here, with one DSN, and are passed on to the node that core/door.h chooses, byte by byte.
 *
 * A node of another host of the region is reached through the peer port of the agent there
 * (proxy/tunnel.h). What comes to this host that way is a visit: it is passed on to the node here,
 * by the same rules, and never further. A host with nodes and without a gate has doors without
 * listeners, for visits alone.
 *
 * Beside the first packet of a connection (proxy/startup.h) nothing is read: TLS, passwords and
 * queries pass through. Workers (threads with a loop each) share nothing but the seats. What they
 * go by comes from control: which nodes there are and what they are (fm_doors_publish), and the
 * gate's own right in the seats of the group's context (proxy/seats.h), which is read again before
 * bytes of a reply go out. So a publication that is late costs time, never truth.
 *
 *   cancel requests   go to every node that may have issued the key, since in the start-up of a
 *                     session that is encrypted nobody can see who did; others ignore them
 *   while it waits    a client hears nothing; then it is refused with an error of the protocol
 *   another region    holds it: the read-write port refuses connections, as if nobody listened, and
 *                     a client goes on to the next host of its DSN
 *   time-outs         for the first packet, and for reaching a node; a session that stands has
 *                     none, but TCP keepalive
 *
 * Owned by whoever made it; all functions are for the control thread. Addresses that cannot be
 * listened on are FM_ERR_EXISTS or FM_ERR_IO. Times in milliseconds. */
#ifndef FM_PROXY_DOOR_H
#define FM_PROXY_DOOR_H

#include "base/metrics.h"
#include "core/door.h"
#include "io/sock.h"
#include "proxy/seats.h"
#include "proxy/tunnel.h"

#include <jansson.h>

enum { FM_DOORS_MAX = 16, FM_DOOR_WORKERS_MAX = 8 };

/* One group as it is declared. */
struct fm_door_config {
    char name[64];
    struct fm_seats_context *seats; /* of the group's context, which has one cell */
    struct fm_door_policy policy;
    bool listens[FM_DOOR_KIND_COUNT];
    struct fm_addr at[FM_DOOR_KIND_COUNT];
    char host[FM_DOOR_NODES_MAX][256]; /* of the nodes, which their certificates are for */
};

struct fm_doors_config {
    unsigned nworkers;
    uint8_t region;           /* of this gate, at first */
    uint32_t connections_max; /* of clients, of all doors */
    int64_t startup_ms;       /* for the first packet */
    int64_t connect_ms;       /* for reaching a node */
    unsigned ndoors;
    struct fm_door_config door[FM_DOORS_MAX];
};

/* The nodes of a group, each in its own place, as control knows them now. */
struct fm_door_nodes {
    unsigned n;
    struct fm_door_node node[FM_DOOR_NODES_MAX];
    /* PostgreSQL, where it is here; where it is near, the peer port of the agent there */
    struct fm_addr at[FM_DOOR_NODES_MAX];
};

#define FM_DOOR_METRICS(X)                                                                         \
    X(accepted, "door_connections_total", "Connections of clients to a PostgreSQL group")          \
    X(passed_on, "door_passed_on_total", "Connections that reached a node")                        \
    X(held, "door_held_total", "Connections that waited for a node")                               \
    X(tunnels, "door_tunnels_total", "Connections that reached a node of another host")            \
    X(visits, "door_visits_total",                                                                 \
      "Connections that gates of other hosts passed on to the node here")                          \
    X(refused, "door_refused_total", "Connections that were told why they cannot be served")       \
    X(malformed, "door_malformed_total", "Connections whose first packet was not understood")      \
    X(slow, "door_slow_total", "Connections that did not send their first packet in time")         \
    X(cancels, "door_cancels_total", "Cancel requests")                                            \
    X(resets, "door_resets_total", "Sessions ended because the right to write had gone")           \
    X(waited, "door_waited_total", "Times that a reply waited for the right to be renewed")        \
    X(bytes_in, "door_bytes_in_total", "Bytes from clients to nodes")                              \
    X(bytes_out, "door_bytes_out_total", "Bytes from nodes to clients")

struct fm_door_metrics {
#define X(field, name, help) struct fm_counter field;
    FM_DOOR_METRICS(X)
#undef X
    _Atomic uint32_t connections, holding; /* now */
};

struct fm_doors;

/* Listens; nobody is served before something was published. */
struct fm_doors *fm_doors_new(const struct fm_doors_config *c, struct fm_error *e) FM_WARN_UNUSED;

/* One more, which listens as soon as the workers have heard of it. FM_ERR_EXISTS: another process
 * listens there. */
enum fm_err fm_doors_add(struct fm_doors *d, const struct fm_door_config *c,
                         struct fm_error *e) FM_WARN_UNUSED;
/* The host of a node that door `at` has not had before: said before it is published. */
void fm_doors_name(struct fm_doors *d, unsigned at, unsigned node, const char *host);
/* What the nodes of door `at` are now. They keep their places: one that has gone has no way. */
void fm_doors_publish(struct fm_doors *d, unsigned at, const struct fm_door_nodes *nodes);
/* The number of this gate's region from now on, and how agents of other hosts are spoken to; NULL:
 * plainly. */
void fm_doors_peers(struct fm_doors *d, uint8_t region, struct fm_tls *client);
/* The place of a group; -1 = none. */
int fm_doors_find(const struct fm_doors *d, struct fm_str group);
/* Is there room for another connection? */
bool fm_doors_have_room(const struct fm_doors *d);
/* A gate of another host passes one on, which is taken over. */
void fm_doors_receive(struct fm_doors *d, unsigned at, const struct fm_tunnel *by,
                      struct fm_sock_parcel *from);
/* Something was published in the seats. */
void fm_doors_authority_changed(struct fm_doors *d);
/* Where the door listens. */
const struct fm_addr *fm_doors_address(const struct fm_doors *d, unsigned at,
                                       enum fm_door_kind kind);

/* No new connections, and an end of waiting; sessions go on. */
void fm_doors_drain(struct fm_doors *d);
/* Resets what is left and frees it. NULL is harmless. */
void fm_doors_free(struct fm_doors *d);

/* -------- for people -------- */

/* An array, one object a door. */
json_t *fm_doors_json(const struct fm_doors *d);
/* Appends to a text of /metrics; false without memory. */
bool fm_doors_metrics(const struct fm_doors *d, char **text, size_t *n) FM_WARN_UNUSED;

#endif
