/* trace/text.h: numbers of plain structures as words of a line, and back. Private to src/trace.
 *
 * A word is NAME=N or NAME=N,N,...; words have one space before them. Numbers are the bits of the
 * member, unsigned and decimal; what is zero is left out of a line, and is zero when it is read. */
#ifndef FM_TRACE_TEXT_H
#define FM_TRACE_TEXT_H

#include "base/buf.h"

#include <stddef.h>

struct fm_trace_field {
    const char *name;
    uint16_t at, size;
};

#define FM_TRACE_FIELD(type, member)                                                               \
    {                                                                                              \
#member, offsetof(type, member), sizeof((type *)NULL)->member                              \
    }

/* NAME=N for each member that is not zero. */
void fm_trace_put(struct fm_buf *out, const struct fm_trace_field *f, unsigned n, const void *from);
/* N,N,... of all members. */
void fm_trace_put_list(struct fm_buf *out, const struct fm_trace_field *f, unsigned n,
                       const void *from);

enum { FM_TRACE_NUMBERS_MAX = 64 };

struct fm_trace_word {
    struct fm_str name;
    unsigned n;
    uint64_t of[FM_TRACE_NUMBERS_MAX];
};

/* The next word of a line, and what is left of it. False at its end, and where it is none: then
 * *line is not empty. */
bool fm_trace_next(struct fm_str *line, struct fm_trace_word *w) FM_WARN_UNUSED;

/* Into the member of that name; false where there is none, or the number does not fit. */
bool fm_trace_take(const struct fm_trace_word *w, const struct fm_trace_field *f, unsigned n,
                   void *to) FM_WARN_UNUSED;
/* Members in their order, from the first `n` numbers of of[]. */
bool fm_trace_take_list(const uint64_t *of, const struct fm_trace_field *f, unsigned n,
                        void *to) FM_WARN_UNUSED;

#endif
