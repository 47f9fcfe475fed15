/* pg/chore.h: a list of small things that are done to files, by a child that is the owner of the
 * files (io/process.h, `body`): so a loop never waits for a disk, and nobody who is root follows a
 * link that somebody else has put there.
 *
 * The list is filled first and run afterwards, in order, until something fails; then the child says
 * on its standard error what and why, and ends with 1. What was added and did not fit is seen by
 * `full`. Each step may be done again: a list that was interrupted is run from its beginning.
 * Owner: one block from malloc, about 300 KiB, freed by fm_chore_free once its child has been
 * started. Private to src/pg. */
#ifndef FM_PG_CHORE_H
#define FM_PG_CHORE_H

#include "base/str.h"

#include <stdbool.h>
#include <sys/types.h>

struct fm_chore;

/* NULL: no memory. */
struct fm_chore *fm_chore_new(void);
void fm_chore_free(struct fm_chore *c);

/* Folders and files have mode 0700 and 0600. */
void fm_chore_folder(struct fm_chore *c, const char *path);  /* there already: fine */
void fm_chore_private(struct fm_chore *c, const char *path); /* a folder: 0700 where it is open */
/* All of it or nothing, durable; the same bytes there already: nothing is done. */
void fm_chore_write(struct fm_chore *c, const char *path, struct fm_str bytes);
/* The same for a line at the end of a text file that has it nowhere. */
void fm_chore_line(struct fm_chore *c, const char *path, const char *line);
void fm_chore_write_new(struct fm_chore *c, const char *path, struct fm_str bytes); /* if none */
void fm_chore_remove(struct fm_chore *c,
                     const char *path); /* a file, or an empty folder; none: fine */
/* `from` that is not there is fine where `to` is. */
void fm_chore_rename(struct fm_chore *c, const char *from, const char *to);
void fm_chore_sync(struct fm_chore *c, const char *folder);
/* All of the file system that it is in. */
void fm_chore_sync_all(struct fm_chore *c, const char *folder);
void fm_chore_signal(struct fm_chore *c, pid_t pid, int signo); /* nobody: fine */

/* Something did not fit: it must not be run. */
bool fm_chore_is_full(const struct fm_chore *c);
/* What the child runs; `chore` is the list. Only async-signal-safe calls. */
int fm_chore_run(void *chore);

#endif
