/* agent/heir.h: what a gate knows of the commands that others accepted (SAFETY.md 20, 21).
 *
 * The agent with a journal reads the journals of all other gates, again and again
 * (GET /journal/changes on the peer port), and imports what is new. So a planned move has little
 * left to wait for: the last changes, after the old holder has stopped. Both halves are here.
 *
 * Of the gates of its own region (siblings) it has to have read, once after each start, all that
 * they had taken before they knew it as one of them: keys may have been theirs (core/keygate.h),
 * and while it was away cells may have been moved here. Until then it is not caught up, and takes
 * no command with a key that it would have to know. A sibling that does not answer is not waited
 * for by a gate that has a journal of before: it was one of them.
 *
 * Belongs to the control loop. Bounded: one request to each gate, chunks of the journal's size. */
#ifndef FM_AGENT_HEIR_H
#define FM_AGENT_HEIR_H

#include "conf/conf.h"
#include "http/caller.h"
#include "http/pages.h"
#include "journal/journal.h"
#include "proxy/peers.h"

struct fm_heir;

struct fm_heir_config {
    struct fm_loop *loop;
    struct fm_mailbox *mailbox; /* of the loop, for the journal's answers */
    struct fm_resolver *resolver;
    struct fm_journal *journal;
    const char *host; /* one's own name; lives as long */
    /* Does everything that takes commands here know this host as a gate of this region? NULL: yes.
     */
    bool (*knows)(void *user, struct fm_str host);
    void *user;
};

struct fm_heir *fm_heir_new(const struct fm_heir_config *c, const struct fm_conf *conf,
                            const struct fm_peers *peers, struct fm_error *e) FM_WARN_UNUSED;
/* After a reload; who waits is told that it is not the whole. FM_ERR_MEMORY: some sources are
 * missing, and nothing is whole until the next one. */
enum fm_err fm_heir_reset(struct fm_heir *h, const struct fm_conf *conf,
                          const struct fm_peers *peers, struct fm_error *e) FM_WARN_UNUSED;

/* Everything that the gates of `region` had accepted and settled by now is here: told once, from
 * the loop, or that it could not be had within the time. A region without gates has nothing. */
void fm_heir_catch_up(struct fm_heir *h, struct fm_str region, int64_t timeout_ms,
                      void (*done)(void *user, bool whole), void *user);

/* True from the moment on at which it is caught up; any thread reads it. */
const _Atomic bool *fm_heir_caught_up(const struct fm_heir *h);

/* The page /journal/changes?since=N[&gate=HOST]; 409 where HOST asks as a sibling, and is not known
 * as one (yet). */
void fm_heir_changes(struct fm_heir *h, const struct fm_page_request *q, struct fm_page_answer *a);

void fm_heir_stop(struct fm_heir *h);
/* After fm_heir_stop, the journal's calls are over (fm_journal_close) and the loop has turned once
 * more; the resolver was freed. */
void fm_heir_free(struct fm_heir *h);

#endif
