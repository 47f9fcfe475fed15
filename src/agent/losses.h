/* agent/losses.h: the items of core/loss.h that a host keeps of one PostgreSQL group: a file that
 * is replaced as a whole, and their form in JSON. Private to src/agent.
 *
 * What is in memory is durable: a change that cannot be written has not happened, nor has one that
 * is still being written (agent/scribe.h): keep it again. One thread. */
#ifndef FM_AGENT_LOSSES_H
#define FM_AGENT_LOSSES_H

#include "base/err.h"
#include "core/loss.h"

#include <jansson.h>

enum {
    FM_LOSSES_MAX = 256,
    FM_LOSS_ID_ROOM = 192,
    FM_LOSS_ROWS_BYTES_MAX = 256 * 1024, /* of the rows of an item that hosts keep */
};

struct fm_losses;

/* A file that is not there is an empty one. FM_ERR_INVALID: it is none of ours. */
enum fm_err fm_losses_open(struct fm_losses **out, const char *path,
                           struct fm_error *e) FM_WARN_UNUSED;
void fm_losses_free(struct fm_losses *l); /* NULL is fine */

unsigned fm_losses_count(const struct fm_losses *l);
/* By its place: until the next change. */
const struct fm_loss *fm_losses_at(const struct fm_losses *l, unsigned i);
/* NULL: there is none. */
const struct fm_loss *fm_losses_find(const struct fm_losses *l, const struct fm_loss *like);
/* From 1 on, one more at each change. */
uint64_t fm_losses_version(const struct fm_losses *l);

/* Join these; durable when it returns well, else nothing has changed. Items that are closed make
 * room for new ones; FM_ERR_LIMIT where there is none. FM_ERR_TIMEOUT: the disk takes long. */
enum fm_err fm_losses_keep(struct fm_losses *l, const struct fm_loss *item, unsigned n,
                           struct fm_error *e) FM_WARN_UNUSED;

/* All of them, for another host. */
json_t *fm_losses_doc(const struct fm_losses *l);
/* What fm_losses_doc of another one says, into room for FM_LOSSES_MAX; -1: it is none. */
int fm_losses_read(const json_t *doc, struct fm_loss *out) FM_WARN_UNUSED;

/* GROUP:NODE:TIMELINE:FORK, as people name an item. */
char *fm_loss_id(char out[FM_LOSS_ID_ROOM], const char *group, const struct fm_loss *l);
/* For people. */
json_t *fm_loss_json(const char *group, const struct fm_loss *l);

#endif
