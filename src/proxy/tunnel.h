/* proxy/tunnel.h: how a gate reaches the node of a PostgreSQL group on another host of its region:
 * what it says to the peer port of the agent there, and what it is answered
 * (docs/reference/wire.md). From the answer on the connection carries the bytes of one client.
 *
 * A request of HTTP/1.1 to be upgraded. The gate says what it takes the node for, and under which
 * epoch; the answer comes when PostgreSQL has been reached. Pure; any thread; texts in bytes. */
#ifndef FM_PROXY_TUNNEL_H
#define FM_PROXY_TUNNEL_H

#include "core/door.h"
#include "io/pool.h"

/* With a number: versions that change what is said say another one. */
#define FM_TUNNEL_PROTOCOL "fulmar-door/1"
#define FM_TUNNEL_OPEN                                                                             \
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: " FM_TUNNEL_PROTOCOL      \
    "\r\n\r\n"

enum { FM_TUNNEL_REQUEST_MAX = 768, FM_TUNNEL_REFUSAL_MAX = 256, FM_TUNNEL_HEAD_MAX = 4096 };

/* Also a cancel request goes this way: it is for whatever the node is. */
struct fm_tunnel {
    bool cancels;
    struct fm_door_visit visit; /* else */
};

/* Returns its length. `host`: whose agent it is. */
size_t fm_tunnel_request(char out[FM_TUNNEL_REQUEST_MAX], const char *group, const char *host,
                         const struct fm_tunnel *t);
/* /groups/GROUP/door with its query; false where it is none. `group` looks into the path. */
bool fm_tunnel_read(struct fm_str path, struct fm_str query, struct fm_str *group,
                    struct fm_tunnel *t) FM_WARN_UNUSED;

/* 503, and why. Returns its length. */
size_t fm_tunnel_refusal(char out[FM_TUNNEL_REFUSAL_MAX], enum fm_door_why why);

enum fm_tunnel_is { FM_TUNNEL_IS_COMING, FM_TUNNEL_IS_OPEN, FM_TUNNEL_IS_SHUT };

/* What has been answered so far. Where it is open what came behind the answer, the first bytes of
 * PostgreSQL, is all that is left in the block. */
enum fm_tunnel_is fm_tunnel_answered(struct fm_block *b) FM_WARN_UNUSED;

#endif
