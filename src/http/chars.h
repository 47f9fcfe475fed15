/* http/chars.h: which bytes may stand where in a message; private to src/http. */
#ifndef FM_HTTP_CHARS_H
#define FM_HTTP_CHARS_H

#include <stdbool.h>
#include <stdint.h>

enum fm_http_char {
    FM_CH_TOKEN = 1,  /* tchar, RFC 9110 section 5.6.2 */
    FM_CH_VALUE = 2,  /* field-vchar, SP, HTAB, obs-text, RFC 9110 section 5.5 */
    FM_CH_TARGET = 4, /* visible ASCII but "#": a request target, RFC 9112 section 3.2 */
    FM_CH_HOST = 8,   /* uri-host and port, RFC 3986 section 3.2.2 */
    FM_CH_HEX = 16,
};

extern const uint8_t fm_http_class[256];

static inline bool fm_http_is(char c, enum fm_http_char cls)
{
    return fm_http_class[(unsigned char)c] & cls;
}

#endif
