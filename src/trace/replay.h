/* trace/replay.h: a recorded trace, fed once more through the same objects of core.
 *
 * Lines come in the order of the file. Each machine begins where its `init` stands (a move, and
 * everything after a first line, as new), is given what was put in, and has to say what was said
 * then. The owner frees; memory from malloc; one thread. */
#ifndef FM_TRACE_REPLAY_H
#define FM_TRACE_REPLAY_H

#include "trace/trace.h"

struct fm_replay;

/* NULL without memory. */
struct fm_replay *fm_replay_new(void);
void fm_replay_free(struct fm_replay *r);

enum fm_replay_verdict {
    FM_REPLAY_SAME,    /* or nothing was to be said */
    FM_REPLAY_DIFFERS, /* `now` is what core says now, `then` what it said then */
    FM_REPLAY_MALFORMED,
};

struct fm_replay_answer {
    enum fm_replay_verdict verdict;
    bool step; /* a step of a machine was compared */
    struct fm_str then, now;
    const char *why; /* MALFORMED */
};

/* One line, without its end. The answer lives until the next call. */
struct fm_replay_answer fm_replay_line(struct fm_replay *r, struct fm_str line);

#endif
