/* agent/loss_rows.h: the rows of lost writes (pg/decoded.h) that a host keeps, a file for each item
 * of core/loss.h that has some, and their form in JSON. Private to src/agent.
 *
 * A file is replaced as a whole, and known by what the item says of it: its size and a sum. What is
 * not that of the item counts as not there. It is written off the loop (agent/scribe.h): who was
 * told FM_ERR_TIMEOUT puts the same again, later. One thread. */
#ifndef FM_AGENT_LOSS_ROWS_H
#define FM_AGENT_LOSS_ROWS_H

#include "agent/losses.h"
#include "agent/scribe.h"

#include <limits.h>

struct fm_loss_store {
    char folder[PATH_MAX]; /* is there */
    unsigned n;
    uint64_t held[FM_LOSSES_MAX]; /* sums of those that are there */
    struct fm_scribe *pen;        /* while something is being written: ... */
    uint64_t writes;              /* ... what has this sum */
};

/* What is there of these items; what is of none of them is removed. */
void fm_loss_store_open(struct fm_loss_store *s, const char *folder, const struct fm_losses *items);

/* Waits for what is being written. Once, or before it was opened. */
void fm_loss_store_close(struct fm_loss_store *s);

/* Has it all rows that the item speaks of? */
bool fm_loss_store_has(const struct fm_loss_store *s, const struct fm_loss *l);

/* The rows that a look has left in the file `path`, as they are kept: cut to what is kept and made
 * fit for documents. From malloc; *whole: nothing was cut. FM_ERR_NOT_FOUND, FM_ERR_IO,
 * FM_ERR_MEMORY. */
enum fm_err fm_loss_rows_take(const char *path, char **text, size_t *n, bool *whole,
                              struct fm_error *e) FM_WARN_UNUSED;
/* Into l->rows_bytes and l->rows_sum. */
void fm_loss_rows_sign(struct fm_loss *l, struct fm_str text);

/* Keep the rows of an item; durable when it returns well. FM_ERR_TIMEOUT: not yet. FM_ERR_INVALID:
 * they are not what it speaks of, or its node cannot be the name of a file. */
enum fm_err fm_loss_store_put(struct fm_loss_store *s, const struct fm_loss *l, struct fm_str text,
                              struct fm_error *e) FM_WARN_UNUSED;
/* All of them, from malloc. */
enum fm_err fm_loss_store_get(const struct fm_loss_store *s, const struct fm_loss *l, char **text,
                              size_t *n, struct fm_error *e) FM_WARN_UNUSED;

/* For people: a list of transactions with what they changed. What cannot be taken apart stands
 * there as it is. */
json_t *fm_loss_rows_json(struct fm_str text);

#endif
