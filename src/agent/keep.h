/* agent/keep.h: the marks of an agent on its disk, written beside the loop. Private to src/agent.
 *
 * What core wants durable is put here and gets a ticket; a thread writes all that was put in one
 * file (atomic, fsynced) and tells. What core ordered to follow waits until its ticket is durable;
 * the loop does not: an fsync on a busy disk takes longer than a lease has. A write that fails is
 * tried again with a new file, and until it succeeds nothing more is durable: the agent grows
 * silent, and its leases run out. The file also has the number of the agent's life: new at each
 * start, drawn at random, durable before it is used.
 *
 * One loop owns it; only the writing is the thread's. */
#ifndef FM_AGENT_KEEP_H
#define FM_AGENT_KEEP_H

#include "agent/marks.h"
#include "io/mailbox.h"

#define FM_KEEP_FILE "authority.json" /* in the folder of a host's state */

struct fm_keep;

struct fm_keep_config {
    const char *path;
    const char *service;
    const struct fm_roster *roster; /* with the regions of the file */
    struct fm_mailbox *mailbox;     /* of the loop */
    /* More is durable than before: see fm_keep_durable. From the loop. */
    void (*written)(void *user);
    void *user;
};

/* Reads the file and writes it with the new life (blocks). FM_ERR_INVALID: it is damaged, or of
 * another service. */
struct fm_keep *fm_keep_open(const struct fm_keep_config *c, struct fm_error *e) FM_WARN_UNUSED;
/* What was put and is not durable yet may be lost: nothing was built upon it. */
void fm_keep_close(struct fm_keep *k);

/* Of this start; never 0. */
uint64_t fm_keep_life(const struct fm_keep *k);
/* What the disk had at the start; NULL where the context is new to this host. */
const struct fm_marks *fm_keep_marks(const struct fm_keep *k, struct fm_str context);

/* All that was put, durable or not, and all that the disk had and was not put again. */
const struct fm_marks_doc *fm_keep_doc(const struct fm_keep *k);

/* Keep these. The ticket is durable when fm_keep_durable has reached it; tickets grow. 0: there is
 * no room for another context, it will never be. */
uint64_t fm_keep_put(struct fm_keep *k, struct fm_str context, unsigned ncells,
                     const struct fm_marks *m);
uint64_t fm_keep_durable(const struct fm_keep *k);
/* Why the last write failed; NULL where it did not. */
const char *fm_keep_trouble(const struct fm_keep *k);

#endif
