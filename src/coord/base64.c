/* Base64: see the header. */
#include "coord/base64.h"

#include "base/assert.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void fm_base64_add(struct fm_buf *b, struct fm_str bytes)
{
    if (b->full || fm_base64_len(bytes.n) > b->cap - b->n) {
        b->full = true;
        return;
    }
    const uint8_t *p = (const uint8_t *)bytes.p;
    for (size_t i = 0; i < bytes.n; i += 3) {
        size_t left = bytes.n - i;
        uint32_t v = (uint32_t)p[i] << 16;
        v |= left > 1 ? (uint32_t)p[i + 1] << 8 : 0;
        v |= left > 2 ? p[i + 2] : 0;
        char *out = b->p + b->n;
        out[0] = digits[v >> 18];
        out[1] = digits[v >> 12 & 63];
        out[2] = left > 1 ? digits[v >> 6 & 63] : '=';
        out[3] = left > 2 ? digits[v & 63] : '=';
        b->n += 4;
    }
    FM_ASSERT(b->n <= b->cap);
}

static int value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

size_t fm_base64_decode(struct fm_str text, char *out)
{
    size_t n = 0;
    if (text.n % 4)
        return SIZE_MAX;
    for (size_t i = 0; i < text.n; i += 4) {
        bool last = i + 4 == text.n;
        unsigned pad = !last || text.p[i + 3] != '=' ? 0 : text.p[i + 2] != '=' ? 1 : 2;
        uint32_t v = 0;
        for (unsigned k = 0; k < 4; k++) {
            int d = k + pad >= 4 ? 0 : value(text.p[i + k]);
            if (d < 0)
                return SIZE_MAX;
            v = v << 6 | (uint32_t)d;
        }
        if ((pad == 1 && v & 0xff) || (pad == 2 && v & 0xffff))
            return SIZE_MAX;
        out[n++] = (char)(v >> 16);
        if (pad < 2)
            out[n++] = (char)(v >> 8);
        if (pad < 1)
            out[n++] = (char)v;
    }
    FM_ASSERT(n <= text.n / 4 * 3);
    return n;
}
