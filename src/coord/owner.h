/* coord/owner.h: the owner of a coordination file: the one process that has it open, serving it to
 * all clients of the machine, its own process among them, on a unix socket (SAFETY.md G.31 in the
 * design notes).
 *
 * What it speaks is the part of etcd's JSON gateway that coord.h uses, so that there is one client.
 * It belongs to a process that nothing kills together with what is being failed over; it counts as
 * a failure domain of its own on one machine only, in a demonstration.
 *
 * One loop; SQLite works in a thread of its own. Bounded: FM_OWNER_CONNS_MAX connections, one
 * request each. */
#ifndef FM_COORD_OWNER_H
#define FM_COORD_OWNER_H

#include "io/sock.h"

enum { FM_OWNER_CONNS_MAX = 256 };

struct fm_owner;

struct fm_owner_config {
    const char *path;    /* of the file */
    const char *service; /* a file of another one is refused */
    /* The file has failed, and no request is served any more. Called once, from the loop. */
    void (*failed)(void *user, const char *why);
    void *user;
};

/* Where clients find it: beside the file. FM_ERR_LIMIT where that is too long for a socket. */
enum { FM_OWNER_PATH_MAX = 100 };
enum fm_err fm_owner_socket(const char *path, char out[FM_OWNER_PATH_MAX + 8],
                            struct fm_error *e) FM_WARN_UNUSED;

/* Opens, or makes, the file (which blocks) and listens. */
struct fm_owner *fm_owner_open(struct fm_loop *l, const struct fm_owner_config *config,
                               struct fm_error *e) FM_WARN_UNUSED;
/* Finishes what is with the thread; turns the loop until connections are gone. */
void fm_owner_close(struct fm_owner *o);

#endif
