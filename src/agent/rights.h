/* agent/rights.h: all that an agent has to do with the right to write, by its roles: the controller
 * or witness, the gate's sub-leases and the messages between hosts. It makes them, passes messages
 * to whom they are for, and ends them.
 *
 * One control loop. A host of other roles, and a file without contexts that have cells, needs none
 * of it. */
#ifndef FM_AGENT_RIGHTS_H
#define FM_AGENT_RIGHTS_H

#include "http/pages.h"
#include "io/resolve.h"
#include "proxy/peers.h"
#include "proxy/seats.h"

#include <jansson.h>

struct fm_rights;
struct fm_heir;
struct fm_views;
struct fm_agreement;
struct fm_groups;

struct fm_rights_config {
    struct fm_loop *loop;
    struct fm_mailbox *mailbox; /* of the loop */
    struct fm_resolver *resolver;
    const char *state_dir;
    const char *host;
    struct fm_views *views; /* where the controller's view goes */
    struct fm_agreement *agreement;
    bool database;     /* role postgres */
    unsigned nworkers; /* that pass connections on to it, where there is no gate */
    /* of a gate; else NULL */
    struct fm_seats *seats;
    struct fm_heir *heir;           /* NULL where no journal is kept */
    struct fm_groups *const *doors; /* of PostgreSQL groups: there from its start to its end */
    /* What is published in the seats has changed, but for time. */
    void (*published)(void *user);
    /* Can this host serve the context (its index in the configuration)? */
    bool (*capable)(void *user, unsigned context);
    /* Requests that this host's gate has served so far: of a context, or (-1) of all. */
    uint64_t (*served)(void *user, int context);
    /* Of a gate: does any address of this instance, of a pool of its region, answer its probes? */
    bool (*reaches)(void *user, unsigned pool, struct fm_str address);
    void *user;
};

/* Is there anything to do for a host of these roles (enum fm_conf_role)? */
bool fm_rights_are_needed(const struct fm_conf *conf, unsigned roles);

/* Can its region serve a context that is only a database, by what its nodes say? Both are indices
 * of the configuration. Else *why. Without rights (NULL) nothing is known, and it counts as well.
 */
bool fm_rights_serve_data(const struct fm_rights *r, unsigned context, unsigned region,
                          const char **why);

/* Reads what is on the disk (which blocks). `conf` lives until the next reset, or the end. */
struct fm_rights *fm_rights_new(const struct fm_rights_config *c, const struct fm_conf *conf,
                                const struct fm_peers *peers, struct fm_error *e) FM_WARN_UNUSED;
/* Could it be reset to this? What another configuration says of this host's groups may not fit what
 * there is. */
enum fm_err fm_rights_check(const struct fm_rights *r, const struct fm_conf *conf,
                            struct fm_error *e) FM_WARN_UNUSED;
void fm_rights_reset(struct fm_rights *r, const struct fm_conf *conf, const struct fm_peers *peers);

/* Of this start; what this host's sub-leases are recorded with. */
uint64_t fm_rights_life(const struct fm_rights *r);

/* Workers met what is not published (struct fm_director.authority_wanted). */
void fm_rights_wanted(struct fm_rights *r);
/* The loop was away for so long (struct fm_loop.woke). */
void fm_rights_woke(struct fm_rights *r, int64_t late_ns);

/* Does this host renew the leases of its region? */
bool fm_rights_is_keeper(const struct fm_rights *r);
/* fm_controller_tell, where there is one. */
void fm_rights_tell(struct fm_rights *r, const char *what, const char *why, const char *text,
                    const char *evidence);

/* The page /peer/1/post of the peer port. Without rights (NULL) there is none: 404, as of the pages
 * that follow. */
void fm_rights_post(struct fm_rights *r, const struct fm_page_request *q, struct fm_page_answer *a);

/* The page /authority/marks of the peer port: what the controller of this host has seen. */
void fm_rights_marks(struct fm_rights *r, const struct fm_page_request *q,
                     struct fm_page_answer *a);

/* The pages below /ops; 404 where there is no controller. And /groups/loss/write-off and
 * /groups/room, an order to a database agent and a question before one. */
void fm_rights_ops(struct fm_rights *r, const struct fm_page_request *q, struct fm_page_answer *a);

/* The pages /groups and below. /groups itself: as a controller has heard of the nodes; with ?here:
 * as the nodes of this host see themselves. 404 where there is none. */
void fm_rights_groups(const struct fm_rights *r, const struct fm_page_request *q,
                      struct fm_page_answer *a);

/* The page /groups/GROUP/door of the peer port (proxy/groups.h). */
void fm_rights_door(const struct fm_rights *r, const struct fm_page_request *q,
                    struct fm_page_answer *a);

/* The page /lease/CONTEXT of the local socket; 404 where there is no gate. */
void fm_rights_lease(struct fm_rights *r, const struct fm_page_request *q,
                     struct fm_page_answer *a);

/* For `status`: members `authority` and `sub_leases` of `root`; without a gate `doors`, too. */
void fm_rights_add_status(const struct fm_rights *r, json_t *root);
/* For /metrics, of a host without a gate; false without memory. */
bool fm_rights_metrics(const struct fm_rights *r, char **text, size_t *n) FM_WARN_UNUSED;

/* Nothing is sent any more. NULL is fine, here and below. */
void fm_rights_stop(struct fm_rights *r);
/* After fm_rights_stop, when pages, resolver and heir are gone; turns the loop. */
void fm_rights_free(struct fm_rights *r);

#endif
