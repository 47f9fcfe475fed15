/* The bounded buffer: see the header. An append is whole or not at all. */
#include "base/buf.h"

#include <stdio.h>

void fm_buf_u64(struct fm_buf *b, uint64_t v)
{
    char tmp[20];
    fm_buf_add(b, tmp, fm_u64_write(tmp, v));
}

void fm_buf_i64(struct fm_buf *b, int64_t v)
{
    char tmp[21] = "-";
    if (v >= 0)
        fm_buf_u64(b, (uint64_t)v);
    else
        fm_buf_add(b, tmp, 1 + fm_u64_write(tmp + 1, 0 - (uint64_t)v));
}

void fm_buf_hex(struct fm_buf *b, const void *bytes, size_t n)
{
    static const char digit[] = "0123456789abcdef";
    const unsigned char *p = bytes;
    FM_ASSERT(b->n <= b->cap && n <= SIZE_MAX / 2);
    if (n * 2 > b->cap - b->n) {
        b->full = true;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        b->p[b->n++] = digit[p[i] >> 4];
        b->p[b->n++] = digit[p[i] & 15];
    }
}

void fm_buf_vprintf(struct fm_buf *b, const char *fmt, va_list ap)
{
    FM_ASSERT(b->n <= b->cap);
    size_t room = b->cap - b->n;
    /* vsnprintf wants one byte for its terminator, which may be the last one of the buffer */
    int n = vsnprintf(b->p + b->n, room, fmt, ap);
    if (n < 0 || (size_t)n >= room)
        b->full = true;
    else
        b->n += (size_t)n;
    FM_ASSERT(b->n <= b->cap);
}

void fm_buf_printf(struct fm_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fm_buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void fm_buf_json(struct fm_buf *b, struct fm_str s)
{
    size_t start = b->n;
    bool was_full = b->full;
    b->full = false;
    fm_buf_ch(b, '"');
    for (size_t i = 0; i < s.n && !b->full;) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\') {
            char esc[2] = {'\\', (char)c};
            fm_buf_add(b, esc, 2);
            i++;
        } else if (c < 0x20 || c == 0x7f) {
            char esc[6] = {'\\', 'u', '0', '0', 0, 0};
            static const char digit[] = "0123456789abcdef";
            esc[4] = digit[c >> 4];
            esc[5] = digit[c & 15];
            fm_buf_add(b, esc, 6);
            i++;
        } else {
            size_t len = fm_str_utf8(fm_str(s.p + i, s.n - i), NULL);
            if (len)
                fm_buf_add(b, s.p + i, len);
            else
                fm_buf_lit(b, "\\ufffd");
            i += len ? len : 1;
        }
    }
    fm_buf_ch(b, '"');
    if (b->full)
        b->n = start; /* whole or not at all */
    b->full |= was_full;
    FM_ASSERT(b->n >= start && b->n <= b->cap);
}

void fm_text_tame(char *z)
{
    size_t n = strlen(z);
    for (size_t i = 0; i < n;) {
        size_t len = fm_str_utf8(fm_str(z + i, n - i), NULL);
        unsigned char a = (unsigned char)z[i], b = (unsigned char)z[i + (len > 1)];
        bool control = a < 0x20 || a == 0x7f || (a == 0xc2 && len == 2 && b < 0xa0);
        if (len == 0 || control) {
            len = len ? len : 1;
            memset(z + i, '?', len);
        }
        i += len;
    }
}
