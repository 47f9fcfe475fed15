/* base/file.h: files that are there whole or not at all.
 *
 * Blocking: for start, commands and threads of their own, never from a loop. */
#ifndef FM_BASE_FILE_H
#define FM_BASE_FILE_H

#include "base/err.h"
#include "base/str.h"

#include <sys/types.h>

/* Put `bytes` at `path`, durable when it returns: a new file beside it is written, fsynced and
 * renamed over it, then the folder is fsynced. A failure leaves what was there before (and a crash
 * perhaps `path`.new). `mode` is that of the new file. */
enum fm_err fm_file_replace(const char *path, struct fm_str bytes, mode_t mode,
                            struct fm_error *e) FM_WARN_UNUSED;

/* The same, for a file that must not be there yet: FM_ERR_EXISTS. */
enum fm_err fm_file_create(const char *path, struct fm_str bytes, mode_t mode,
                           struct fm_error *e) FM_WARN_UNUSED;

/* All of a file of at most `max` bytes, in memory from malloc that the caller frees.
 * FM_ERR_NOT_FOUND, FM_ERR_LIMIT, FM_ERR_IO. */
enum fm_err fm_file_read(const char *path, size_t max, char **bytes, size_t *n,
                         struct fm_error *e) FM_WARN_UNUSED;

/* What is left of an open file, or as much as there is room for: `n` bytes in `to`. FM_ERR_IO, and
 * errno says why. */
enum fm_err fm_file_read_up_to(int fd, char *to, size_t room, size_t *n) FM_WARN_UNUSED;

/* A secret: a file that nobody but its owner may read, of less than `cap` bytes, put into `out`
 * without the line's end behind it. Short enough to be read by a loop that needs it now and then.
 * FM_ERR_PERMISSION where others may read it, or it is no plain file; FM_ERR_LIMIT, FM_ERR_IO. */
enum fm_err fm_file_secret(const char *path, char *out, size_t cap, size_t *n,
                           struct fm_error *e) FM_WARN_UNUSED;

#endif
