/* cli/agents.h: whom a command talks to.
 *
 * With --server that one. Else the daemon of this host, by its local socket; else the agents of the
 * configuration in turn, a region after the other, so that a region that died costs one attempt.
 * Between hosts it is TLS with the certificate of this host, or of --cert and --key. Who has
 * answered is asked first the next time.
 *
 * What goes wrong is printed here, as a document where one was asked for; callers pass on the exit
 * code. Blocks; one thread. */
#ifndef FM_CLI_AGENTS_H
#define FM_CLI_AGENTS_H

#include "cli/whom.h"

struct fm_agents;

/* FM_EXIT_OK: *out is the caller's. `command` is its name, as it is printed. */
int fm_agents_open(struct fm_agents **out, const struct fm_args *a, const char *command,
                   enum fm_whom_use use);
void fm_agents_close(struct fm_agents *g); /* NULL is fine */

/* The configuration; NULL where an address was enough, or its file has errors. */
const struct fm_conf *fm_agents_conf(const struct fm_agents *g);

struct fm_reply {
    unsigned status;
    json_t *doc;      /* an object, the caller's; NULL where the body is none */
    const char *from; /* who said it: a host, or an address. Until the next call */
};

/* How a question ended. */
enum fm_agents_end {
    FM_AGENTS_ANSWERED, /* whatever the status */
    FM_AGENTS_NOBODY,   /* fm_agents_fail says it */
    FM_AGENTS_UNKNOWN,  /* an order that may have arrived; fm_agents_fail says it */
    FM_AGENTS_SIGNAL,   /* before anybody answered */
};

/* GET. Who cannot be reached, has no such page or cannot say now (404 and 503 without a document of
 * ours) is passed over for the next one; that is the answer only where nobody has a better one. An
 * answer may take `wait_ms` longer than usual: for long polls. */
enum fm_agents_end fm_agents_get(struct fm_agents *g, const char *target, int64_t wait_ms,
                                 struct fm_reply *r) FM_WARN_UNUSED;
/* POST, to one alone: the next one is only asked where this one cannot have seen it, or has no such
 * page. `again`: it changes nothing, so that it may be asked of several. */
enum fm_agents_end fm_agents_post(struct fm_agents *g, const char *target, const json_t *body,
                                  bool again, struct fm_reply *r) FM_WARN_UNUSED;

/* The status document of the one that answers, or the exit code with what is wrong printed. */
int fm_agents_status(struct fm_agents *g, json_t **out) FM_WARN_UNUSED;

/* The whole of a command that shows something: opens, calls `show` once, or with --watch each
 * second on a cleared screen until it ends with a usage error or nobody reads what it prints, and
 * closes. Returns its exit code. */
int fm_agents_show(const struct fm_args *a, const char *command, enum fm_whom_use use,
                   int (*show)(const struct fm_args *a, struct fm_agents *g));

/* Prints why nobody answered; returns the exit code. */
int fm_agents_fail(const struct fm_agents *g, enum fm_agents_end how);

#endif
