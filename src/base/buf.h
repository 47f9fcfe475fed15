/* base/buf.h: a bounded buffer to write text or bytes into.
 *
 * The caller owns the memory; nothing is ever allocated. What does not fit is dropped whole and
 * `full` is set, so a caller checks once at the end instead of at each append. fm_buf_printf needs
 * room for one byte more than it writes. */
#ifndef FM_BASE_BUF_H
#define FM_BASE_BUF_H

#include "base/assert.h"
#include "base/str.h"

#include <stdarg.h>

struct fm_buf {
    char *p;
    size_t n, cap;
    bool full; /* something did not fit */
};

static inline struct fm_buf fm_buf(char *mem, size_t cap)
{
    FM_ASSERT(mem || cap == 0);
    return (struct fm_buf){mem, 0, cap, false};
}

static inline struct fm_str fm_buf_str(const struct fm_buf *b)
{
    return fm_str(b->p, b->n);
}

static inline void fm_buf_add(struct fm_buf *b, const void *p, size_t n)
{
    FM_ASSERT(b->n <= b->cap);
    if (fm_unlikely(n > b->cap - b->n)) {
        b->full = true;
        return;
    }
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
}

static inline void fm_buf_str_add(struct fm_buf *b, struct fm_str s)
{
    fm_buf_add(b, s.p, s.n);
}

static inline void fm_buf_ch(struct fm_buf *b, char c)
{
    fm_buf_add(b, &c, 1);
}

#define fm_buf_lit(b, literal) fm_buf_add((b), "" literal, sizeof(literal) - 1)

void fm_buf_u64(struct fm_buf *b, uint64_t v);
void fm_buf_i64(struct fm_buf *b, int64_t v);
void fm_buf_hex(struct fm_buf *b, const void *bytes, size_t n);
void fm_buf_printf(struct fm_buf *b, const char *fmt, ...) FM_PRINTF(2, 3);
void fm_buf_vprintf(struct fm_buf *b, const char *fmt, va_list ap) FM_PRINTF(2, 0);

/* As a JSON string with its quotes (RFC 8259 section 7). Bytes that are not UTF-8 become U+FFFD. */
void fm_buf_json(struct fm_buf *b, struct fm_str s);

/* Make a text that came from elsewhere fit for documents and terminals, in place: control
 * characters and bytes that are not UTF-8 (as where a text was cut) become "?". */
void fm_text_tame(char *z);

#endif
