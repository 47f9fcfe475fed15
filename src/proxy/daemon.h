/* proxy/daemon.h: what edge and agent have in common as processes: the configuration file and its
 * reload, the state folder with its lock, the log, signals, the control loop, the resolver, the
 * admin listener and the local socket.
 *
 * One per process, on the main thread. */
#ifndef FM_PROXY_DAEMON_H
#define FM_PROXY_DAEMON_H

#include "conf/conf.h"
#include "http/pages.h"
#include "io/process.h"
#include "io/resolve.h"
#include "io/sink.h"
#include "proxy/peers.h"

#include <jansson.h>
#include <limits.h>

struct fm_daemon_options {
    const char *role; /* "edge" or "agent" */
    const char *config_path;
    const char *host;   /* NULL = this machine's name, short or full */
    const char *region; /* NULL = that of the host, if it is listed */
    unsigned roles;     /* of enum fm_conf_role: a listed host must have one of them */
    bool must_be_listed;
    void *user; /* for pages */
};

struct fm_daemon {
    struct fm_daemon_options options;
    char host[256], region[64];
    char state_dir[PATH_MAX];
    int lock_fd;
    struct fm_pool pool;
    struct fm_loop loop;
    struct fm_mailbox mailbox;
    struct fm_signals signals;
    struct fm_resolver *resolver;
    struct fm_sink *log;
    struct fm_pages pages, local_pages;
    struct fm_listener admin, local;
    bool has_admin, has_local;
    bool ending;
    int64_t loaded_wall_ns;
    char *reload_error;      /* NULL = the last one was good */
    char *reload_warnings;   /* of the last that was good; NULL = none */
    struct fm_conf *started; /* a copy of what it was started with */
    struct fm_peers peers;   /* of the configuration that is loaded */
    /* Set by the owner. */
    const struct fm_page *local_table; /* pages of the local socket; NULL = the same */
    /* Takes over conf, also on failure, which leaves everything as it was. */
    enum fm_err (*reload)(struct fm_daemon *d, struct fm_conf *conf, struct fm_error *e);
    void (*terminate)(struct fm_daemon *d, bool at_once);
    const struct fm_conf *(*current)(struct fm_daemon *d);
};

/* Load the configuration for the first time; findings go to stderr for people. NULL: exit 78. */
struct fm_conf *fm_daemon_load_first(const char *path) FM_WARN_UNUSED;

/* Which host of the configuration this is: index, or -1 where it is not listed. */
enum fm_err fm_daemon_find_host(struct fm_daemon *d, const struct fm_conf *conf, int *host,
                                struct fm_error *e) FM_WARN_UNUSED;

/* State folder, lock, log, loop, signals, resolver. */
enum fm_err fm_daemon_init(struct fm_daemon *d, const struct fm_conf *conf,
                           struct fm_error *e) FM_WARN_UNUSED;
/* The pages at `admin` and at ROLE.sock in the state folder. */
enum fm_err fm_daemon_serve(struct fm_daemon *d, const struct fm_conf_addr *admin,
                            const struct fm_page *pages, struct fm_error *e) FM_WARN_UNUSED;
void fm_daemon_run(struct fm_daemon *d);
void fm_daemon_stop(struct fm_daemon *d);
/* Nobody is answered any more; what pages look at may be freed after it. */
void fm_daemon_end_pages(struct fm_daemon *d);
/* Ends the resolver; names may be freed after it. */
void fm_daemon_end_resolver(struct fm_daemon *d);
void fm_daemon_deinit(struct fm_daemon *d);

/* The common members of a status document, as a JSON object of jansson. */
json_t *fm_daemon_status(const struct fm_daemon *d);

#endif
