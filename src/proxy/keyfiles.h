/* proxy/keyfiles.h: the pin lists and directories of contexts, as workers look keys up in them.
 *
 * One entry per context that has such files (`homes: {pins, directory}`), for as long as the
 * process lives. A loader's thread reads files (homes/loader.h); control hands each new snapshot to
 * every worker. A file that cannot be read leaves the one before in use, and is told in the log and
 * in /status. Until a file was read for the first time nobody knows the cell of any key. Which
 * files a context has is said by the view that a request is routed by: a reload changes it as a
 * whole.
 *
 * Control's functions on control's thread; fm_keyfiles_cells on a worker's. */
#ifndef FM_PROXY_KEYFILES_H
#define FM_PROXY_KEYFILES_H

#include "conf/conf.h"
#include "homes/loader.h"

#include <jansson.h>

struct fm_keyfiles;
struct fm_keyfiles_entry;

/* No thread is started before the first file. */
struct fm_keyfiles *fm_keyfiles_new(struct fm_mailbox *control, unsigned nworkers) FM_WARN_UNUSED;
/* The workers' mailboxes are closed. Turns `control`'s loop. */
void fm_keyfiles_free(struct fm_keyfiles *k, struct fm_loop *control);

/* Where the snapshots for worker `index` go. */
void fm_keyfiles_worker(struct fm_keyfiles *k, unsigned index, struct fm_mailbox *inbox);

/* The files of this configuration, read (again). FM_ERR_MEMORY, FM_ERR_LIMIT. */
enum fm_err fm_keyfiles_load(struct fm_keyfiles *k, const struct fm_conf *conf,
                             struct fm_error *e) FM_WARN_UNUSED;

/* NULL where this context has no files. */
struct fm_keyfiles_entry *fm_keyfiles_find(struct fm_keyfiles *k, struct fm_str context);

/* Which of them a context has. */
struct fm_keyfiles_has {
    bool pins, directory;
};

/* How worker `index` finds the cell of a key now, where its context has these; false where a file
 * was not read yet. Valid until its loop turns. */
bool fm_keyfiles_cells(const struct fm_keyfiles_entry *e, struct fm_keyfiles_has has,
                       unsigned index, struct fm_cells *out);

/* For /status: an array. */
json_t *fm_keyfiles_json(const struct fm_keyfiles *k);

#endif
