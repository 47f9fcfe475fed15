/* http/parse.h: a strict parser for HTTP/1.1 messages (RFC 9112), incremental, in place, without
 * allocation. It rejects and never repairs: both Content-Length and Transfer-Encoding, repeated or
 * malformed lengths, a bare CR or LF, line folding, blanks before a colon, overflowing or oddly
 * written chunk sizes, control bytes. Pure; any thread. */
#ifndef FM_HTTP_PARSE_H
#define FM_HTTP_PARSE_H

#include "http/msg.h"

struct fm_http_limits {
    uint32_t head_bytes;    /* 431 past it; 414 where the request line alone is longer */
    uint32_t fields;        /* 431; at most FM_HTTP_FIELDS_MAX */
    uint64_t body_bytes;    /* 413 */
    uint32_t ext_bytes;     /* chunk extensions of one body: 400 */
    uint32_t trailer_bytes; /* 431 */
};

#define FM_HTTP_LIMITS_DEFAULT                                                                     \
    {                                                                                              \
        .head_bytes = 32 * 1024, .fields = 100, .body_bytes = UINT64_C(1) << 30,                   \
        .ext_bytes = 1024, .trailer_bytes = 8 * 1024                                               \
    }

enum fm_http_parse { FM_PARSE_DONE, FM_PARSE_MORE, FM_PARSE_BAD };

/* Why a message was refused: the status to answer a request with, and a reason that may be shown to
 * its sender. For a response the status is 502. */
struct fm_http_refusal {
    unsigned status;
    const char *why;
};

/* How far a head that is not whole yet has been looked at. A head is looked at again when another
 * of its lines has ended, so that what is wrong is refused at the end of its line at the latest and
 * the verdict is the same however the bytes arrive. */
struct fm_http_scan {
    size_t at;
};

/* Bytes [0, n) have arrived; `fields` has room for limits->fields. On FM_PARSE_DONE the head is
 * h->size bytes long. Empty lines before a request line are part of it (RFC 9112 section 2.2). */
enum fm_http_parse fm_http_parse_request(struct fm_http_scan *scan, const char *p, size_t n,
                                         const struct fm_http_limits *limits,
                                         struct fm_http_field *fields, struct fm_http_head *h,
                                         struct fm_http_refusal *why) FM_WARN_UNUSED;

/* `method` is that of the request, which decides about the body (RFC 9112 section 6.3). */
enum fm_http_parse fm_http_parse_response(struct fm_http_scan *scan, const char *p, size_t n,
                                          enum fm_http_method method,
                                          const struct fm_http_limits *limits,
                                          struct fm_http_field *fields, struct fm_http_head *h,
                                          struct fm_http_refusal *why) FM_WARN_UNUSED;

/* -------- bodies -------- */

struct fm_http_body {
    uint8_t framing; /* enum fm_http_framing */
    uint8_t state;
    uint8_t digits;
    uint8_t name_n;
    char name[20]; /* of a trailer field, to refuse those that frame */
    uint64_t left; /* of the body or chunk */
    uint64_t room; /* until body_bytes */
    uint32_t ext_left, trailer_left;
};

enum fm_http_body_step {
    FM_BODY_STEP_MORE,
    FM_BODY_STEP_DATA,
    FM_BODY_STEP_DONE,
    FM_BODY_STEP_BAD
};

void fm_http_body_init(struct fm_http_body *b, enum fm_http_framing framing, uint64_t length,
                       const struct fm_http_limits *limits);

/* Go on with the bytes of `in`. *used says how many belong to the body so far. DATA gives one run
 * of content in *data (call again for the rest of `in`), MORE wants more bytes, DONE is the end:
 * what is behind *used belongs to the next message. For FM_BODY_CLOSE the end is the connection's.
 */
enum fm_http_body_step fm_http_body_step(struct fm_http_body *b, struct fm_str in, size_t *used,
                                         struct fm_str *data,
                                         struct fm_http_refusal *why) FM_WARN_UNUSED;

/* How many bytes at the front of `in` are framing and content of this body: all steps in one, for
 * passing a body on as it is. Returns MORE, DONE or BAD. */
enum fm_http_body_step fm_http_body_skip(struct fm_http_body *b, struct fm_str in, size_t *used,
                                         struct fm_http_refusal *why) FM_WARN_UNUSED;

static inline bool fm_http_body_is_done(const struct fm_http_body *b)
{
    return b->framing == FM_BODY_NONE;
}

/* -------- targets -------- */

/* The path for matching: percent-escapes decoded, "//" and "/./" collapsed, "/../" resolved;
 * escaped slashes count as slashes. False for a broken escape, a NUL, or a path that leaves the
 * root. Writes to `out` (at least path.n bytes) only where something has to change. */
bool fm_http_normalise_path(struct fm_str path, char *out, struct fm_str *result) FM_WARN_UNUSED;

/* The host without port and brackets; a trailing dot is dropped. */
struct fm_str fm_http_host_name(struct fm_str host);

#endif
