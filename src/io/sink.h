/* io/sink.h: writing lines to a file or pipe without ever blocking a loop.
 *
 * One thread writes; whoever has lines hands over whole buffers. The memory in flight is bounded:
 * past the bound lines are dropped and counted, which a reader of the log sees as the `dropped`
 * counter. fm_sink_reopen opens the path anew (log rotation). Any thread. */
#ifndef FM_IO_SINK_H
#define FM_IO_SINK_H

#include "base/err.h"
#include "base/str.h"

struct fm_sink;

/* Append to `path` (created with mode 0640), or to `fd` where path is NULL (not closed). */
struct fm_sink *fm_sink_open(const char *path, int fd, size_t bytes_max,
                             struct fm_error *e) FM_WARN_UNUSED;
/* Writes out what it has, waiting at most `wait_ms` for it, and ends the thread. */
void fm_sink_close(struct fm_sink *s, int64_t wait_ms);

/* Copies. False where the bound is reached: the lines are dropped and counted. */
bool fm_sink_write(struct fm_sink *s, struct fm_str lines);
void fm_sink_reopen(struct fm_sink *s);
uint64_t fm_sink_dropped(const struct fm_sink *s); /* in calls to fm_sink_write */

#endif
