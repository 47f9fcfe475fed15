/* agent/lend.h: what a gate holds, lent to the commands of this host (`fulmar lease run`): the page
 * `GET /lease/CONTEXT[?cell=N][&after=EPOCH][&wait=MS]` of the local socket, and the locks by which
 * it knows that such a command may still run.
 *
 * A borrower first holds a read lock (fcntl(2), F_OFD_SETLK) on byte CELL of `lease-CONTEXT.lock`
 * in the state folder, then asks. While it holds that lock, and until what it was told has run out,
 * the cell is `busy`: the gate does not say that it has stopped. The lock is the kernel's and ends
 * with the last process that has the descriptor, so it outlives this agent, and what an agent of
 * an earlier start has lent counts, too.
 *
 * Belongs to the control loop. Bounded: FM_LEND_WAITERS_MAX that wait, FM_LEND_WAIT_MAX_MS each. */
#ifndef FM_AGENT_LEND_H
#define FM_AGENT_LEND_H

#include "agent/roster.h"
#include "core/sublease.h"
#include "http/pages.h"

enum { FM_LEND_WAITERS_MAX = 32, FM_LEND_WAIT_MAX_MS = 30 * 1000 };

struct fm_lend;

struct fm_lend_config {
    struct fm_loop *loop;
    const struct fm_roster *roster;
    const char *folder; /* of the state; copied */
    unsigned region;    /* this one, in the roster */
    /* What is held of a context (its number in the roster) now; NULL where nothing is served. */
    const struct fm_sublease *(*held)(void *user, unsigned context);
    void *user;
};

struct fm_lend *fm_lend_new(const struct fm_lend_config *c, struct fm_error *e) FM_WARN_UNUSED;
/* Who waits is answered, and who asks from now on is told to try again. `held` says NULL by now. */
void fm_lend_stop(struct fm_lend *l);
/* After fm_lend_stop. NULL is fine. */
void fm_lend_free(struct fm_lend *l);

/* A context is served from now on; again: its lease has changed. Until so much time has passed,
 * what an earlier start may have lent counts as lent. Where its file cannot be opened that is
 * logged, and nothing of it is lent. */
void fm_lend_context(struct fm_lend *l, unsigned context, int64_t lease_ms);

/* Those of these cells for which a borrower may still act. */
uint64_t fm_lend_busy(const struct fm_lend *l, unsigned context, uint64_t cells,
                      struct fm_mono now);

/* What is held has changed: who waits is answered, from the loop. */
void fm_lend_changed(struct fm_lend *l);

/* For the page. */
void fm_lend_page(struct fm_lend *l, const struct fm_page_request *q, struct fm_page_answer *a);

#endif
