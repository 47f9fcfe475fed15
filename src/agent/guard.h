/* agent/guard.h: `fulmar guard`: a small process that starts what can write on its host (the agent
 * with its gate, and an application), ends all of it when the agent dies or falls silent, and then
 * testifies for its host (SAFETY.md 8): whoever wants to take over need not wait for the lease.
 *
 * It is the subreaper of everything below it (prctl(2), PR_SET_CHILD_SUBREAPER), so that what its
 * children leave behind is reaped here too: "all dead" means that wait(2) has nothing left. Without
 * an application its testimony says nothing, since that may go on writing. It testifies once for a
 * life of the agent, to every agent that may take over or votes, and ends: what started it starts
 * it again. PostgreSQL of the agent (io/ward.h) is below it, too.
 *
 * Messages: one of kind `testify` in a post (docs/reference/wire.md). */
#ifndef FM_AGENT_GUARD_H
#define FM_AGENT_GUARD_H

#include "io/loop.h"

struct fm_guard_options {
    const char *config_path;
    const char *host; /* NULL = this machine's name */
    char *const *app; /* argv of the application, NULL-terminated; NULL = none */
};

/* Runs until what it guards is over. Returns an exit code of CLI.md. */
int fm_guard_main(const struct fm_guard_options *o);

/* -------- in the agent -------- */

struct fm_guarded {
    struct fm_loop *loop;
    struct fm_timer timer;
    int fd; /* -1: nobody guards this process */
};

/* Tell the guard, if there is one, which life this is, and from now on that the loop turns. */
void fm_guarded_open(struct fm_guarded *g, struct fm_loop *l, uint64_t life);
void fm_guarded_close(struct fm_guarded *g);

#endif
