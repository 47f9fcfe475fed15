/* cli/coord_io.h: the store of `coordination` itself, waited for. For commands alone: it blocks.
 *
 * It only observes until fm_coord_io_to_write: from there on it is the same store that was read, or
 * nothing is written. Answers are valid until the next call. One thread. */
#ifndef FM_CLI_COORD_IO_H
#define FM_CLI_COORD_IO_H

#include "cli/cli.h"
#include "coord/setup.h"

struct fm_coord_io;

/* For the host that the arguments name; `ms` = for each thing that is asked for. */
enum fm_err fm_coord_io_open(struct fm_coord_io **out, const struct fm_conf *conf,
                             const struct fm_args *a, int64_t ms,
                             struct fm_error *e) FM_WARN_UNUSED;
void fm_coord_io_close(struct fm_coord_io *k); /* NULL is fine */

const struct fm_coord_setup *fm_coord_io_setup(const struct fm_coord_io *k);

struct fm_coord_io_end {
    enum fm_coord_outcome outcome;
    enum fm_coord_why why;
    struct fm_error error; /* where it is not DONE */
    uint64_t revision;
};

/* A linearizable read of a key, or of all that begin with it; `take` is called for each. */
void fm_coord_io_read(struct fm_coord_io *k, const char *key, bool prefix,
                      void (*take)(void *user, const struct fm_coord_kv *kv), void *user,
                      struct fm_coord_io_end *out);

/* Begin to look at all endpoints, and wait for what was seen of them: one a place of the setup. */
enum fm_err fm_coord_io_survey(struct fm_coord_io *k, struct fm_error *e) FM_WARN_UNUSED;
const struct fm_coord_seen *fm_coord_io_surveyed(struct fm_coord_io *k, size_t *n);

/* What was read, by its stamp: after a read that was DONE. */
struct fm_coord_known fm_coord_io_known(const struct fm_coord_io *k);

enum fm_err fm_coord_io_to_write(struct fm_coord_io *k, struct fm_error *e) FM_WARN_UNUSED;
void fm_coord_io_commit(struct fm_coord_io *k, const struct fm_coord_txn *txn,
                        struct fm_coord_io_end *out);

/* The exit code of something that was not DONE. */
int fm_coord_io_exit(const struct fm_coord_io_end *end);

#endif
