/* agent/outlog.h: what a child prints, in a file that does not grow for ever, with the one before
 * it beside it (`.1`). Private to src/agent.
 *
 * The child keeps its descriptor as long as it lives, so the file cannot be put aside while it
 * runs: past `max` bytes it is copied, a slice a turn, and emptied when all of it was copied. What
 * the child prints between the last slice and that moment goes with it. Between two starts it is
 * renamed. So both together have little more than twice `max`; where the copy fails, the file is
 * emptied all the same.
 *
 * One loop. Only small calls of the file system, at most SLICE bytes each. */
#ifndef FM_AGENT_OUTLOG_H
#define FM_AGENT_OUTLOG_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FM_OUTLOG_SLICE = 256 * 1024, FM_OUTLOG_PATH_ROOM = PATH_MAX + 16 };

struct fm_outlog {
    char path[FM_OUTLOG_PATH_ROOM];
    int64_t max;
    int fd;         /* for the child: appends; -1 = it could not be opened, or is not yet */
    int64_t begins; /* where that of this start begins in it */
    /* its own */
    bool cut;           /* it was emptied since this start began */
    int64_t old_begins; /* then: where this start began in the one before */
    int from, to;       /* while it is copied */
    int64_t copied;
    int64_t read_to; /* fm_outlog_said has read so far, to the end of a line */
    bool missed;     /* ... and not all that was printed */
};

void fm_outlog_init(struct fm_outlog *o, const char *path, int64_t max);
/* A start begins. False: there is no file, and the child's output goes nowhere. */
bool fm_outlog_open(struct fm_outlog *o);
/* Now and then. */
void fm_outlog_turn(struct fm_outlog *o);
/* The end of what this start has printed, terminated; returns its length, less than `cap`. */
size_t fm_outlog_tail(const struct fm_outlog *o, char *out, size_t cap);
/* The beginning of it; nothing where that is not in the file any more. */
size_t fm_outlog_head(const struct fm_outlog *o, char *out, size_t cap);
/* Is one of these texts (each part of a line) in what it has printed since this was asked last?
 * True also where some of that cannot be read any more. A bounded part of it at each call. */
bool fm_outlog_said(struct fm_outlog *o, const char *const sign[], unsigned nsigns);
void fm_outlog_close(struct fm_outlog *o);

#endif
