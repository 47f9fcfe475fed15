/* agent/controller.h: the roles `controller` and `witness` of an agent: the shell around office,
 * authority, failover and moves of core, for all contexts with cells.
 *
 * It reads and writes coordination, carries out what core orders in its order, votes, and tells
 * gates and other agents. What core decided to keep is durable before what follows it is sent
 * (agent/keep.h); every transaction's outcome is told to core once. It decides nothing about
 * epochs, leases or promises itself.
 *
 * A context that a record makes unreadable (another version, a region that this file does not know)
 * is not acted upon, and that is said. One loop, one thread; all of it belongs to its owner until
 * fm_controller_free. */
#ifndef FM_AGENT_CONTROLLER_H
#define FM_AGENT_CONTROLLER_H

#include "agent/agreement.h"
#include "agent/keep.h"
#include "agent/post.h"
#include "agent/said.h"
#include "proxy/view_doc.h"

struct fm_controller;

struct fm_controller_config {
    struct fm_loop *loop;
    struct fm_resolver *resolver;
    struct fm_roster *roster;
    struct fm_post *post;
    struct fm_keep *keep;
    struct fm_agreement *agreement;
    unsigned self;      /* number of this host in the roster */
    bool witness;       /* it votes, and its region never holds anything */
    const char *record; /* a file to record into (agent/recorder.h); NULL = nothing is recorded */
    /* What a view is made of has changed (fm_controller_view), or what it found. */
    void (*changed)(void *user);
    /* Can the instance of this address be reached from here? By the number of a pool of this host's
     * region in the configuration; NULL where the host has no gate. */
    bool (*reaches)(void *user, unsigned pool, struct fm_str address);
    void *user;
};

/* `conf` has coordination; it lives until the next reset or the end. */
struct fm_controller *fm_controller_new(const struct fm_controller_config *c,
                                        const struct fm_conf *conf,
                                        struct fm_error *e) FM_WARN_UNUSED;
/* After a reload, with the new configuration. What it does not let change takes a restart, which is
 * said in the log. */
void fm_controller_reset(struct fm_controller *ctl, const struct fm_conf *conf);

/* More of what was put is durable (fm_keep_durable). */
void fm_controller_durable(struct fm_controller *ctl);

/* A message for the controller from this life of a host of the file, and a stall of this process.
 */
void fm_controller_take(struct fm_controller *ctl, unsigned host, uint64_t life,
                        const struct fm_message *m);
void fm_controller_stalled(struct fm_controller *ctl);

/* The pages below /ops: what people order (docs/reference/wire.md). */
void fm_controller_ops(struct fm_controller *ctl, const struct fm_page_request *q,
                       struct fm_page_answer *a);

/* Who holds what, as this agent has read it; false where there is nothing to tell: nothing was
 * read, or the store went back. */
bool fm_controller_view(const struct fm_controller *ctl, struct fm_view_doc *d);

/* Does it renew the leases of its region? */
bool fm_controller_is_keeper(const struct fm_controller *ctl);

/* An event that is not the controller's own, for `fulmar events`. `what`, `why` and `text` (for
 * people) live as long as the program; `evidence` is copied, and cut. */
void fm_controller_tell(struct fm_controller *ctl, const char *what, const char *why,
                        const char *text, const char *evidence);

/* What it has seen, for the page /authority/marks. */
void fm_controller_said(const struct fm_controller *ctl, struct fm_said *out);

/* For `status`: an object of jansson. */
json_t *fm_controller_json(const struct fm_controller *ctl);

/* What carries the data of all contexts, as nodes and hooks say: a document fulmar.groups/1. */
json_t *fm_controller_groups(const struct fm_controller *ctl);
/* Of data that Fulmar does not run itself, behind *text, which is made longer. False: no memory. */
bool fm_controller_metrics(const struct fm_controller *ctl, char **text, size_t *n) FM_WARN_UNUSED;

/* Nothing is sent any more. */
void fm_controller_stop(struct fm_controller *ctl);
/* After fm_controller_stop, when the resolver was freed; turns the loop until coordination is
 * closed. */
void fm_controller_free(struct fm_controller *ctl);

#endif
