/* coord/base64.h: base64 (RFC 4648 section 4, with padding), as etcd writes bytes into JSON. Pure;
 * any thread. Decoding is strict: no blanks, no missing padding, no bits that stand for nothing. */
#ifndef FM_COORD_BASE64_H
#define FM_COORD_BASE64_H

#include "base/buf.h"

static inline size_t fm_base64_len(size_t n)
{
    return (n + 2) / 3 * 4;
}

void fm_base64_add(struct fm_buf *b, struct fm_str bytes);

/* `out` has room for text.n / 4 * 3 bytes; returns how many there are, or SIZE_MAX where `text` is
 * no base64. `out` may be where `text` is. */
size_t fm_base64_decode(struct fm_str text, char *out) FM_WARN_UNUSED;

#endif
