/* agent/scribe.h: a small file that is replaced as a whole, durably, without holding up a control
 * loop: fsync takes seconds on a disk that is ill, and the loop has leases to renew. A thread
 * writes; the loop waits for it a moment at most (FM_SCRIBE_WAIT_MS), which is enough where the
 * disk is well. Who was told FM_ERR_TIMEOUT looks again, later: nothing is promised until then.
 *
 * One file each; belongs to one thread. */
#ifndef FM_AGENT_SCRIBE_H
#define FM_AGENT_SCRIBE_H

#include "base/err.h"
#include "base/str.h"

enum { FM_SCRIBE_WAIT_MS = 50 };

struct fm_scribe;

/* The path is copied; nothing is written. */
enum fm_err fm_scribe_new(struct fm_scribe **out, const char *path,
                          struct fm_error *e) FM_WARN_UNUSED;
/* Waits for what is being written, however long. NULL is fine. */
void fm_scribe_free(struct fm_scribe *s);

/* FM_ERR_OK: it is durable. FM_ERR_TIMEOUT: this is being written, or what was to be before. Else
 * it is not, and what was there before still is (see fm_file_replace). */
enum fm_err fm_scribe_write(struct fm_scribe *s, struct fm_str text,
                            struct fm_error *e) FM_WARN_UNUSED;

/* What came of a write that has timed out, once; FM_ERR_OK where there is none. Does not wait. */
enum fm_err fm_scribe_look(struct fm_scribe *s, struct fm_error *e) FM_WARN_UNUSED;

/* The file is not there any more, which is not durable. FM_ERR_TIMEOUT: it would come back. */
enum fm_err fm_scribe_remove(struct fm_scribe *s, struct fm_error *e) FM_WARN_UNUSED;

#endif
