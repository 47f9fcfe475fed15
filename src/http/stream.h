/* http/stream.h: what server and client connections share: a socket, the bytes that have come in
 * and not been used, and where in a message they are. Private to src/http. */
#ifndef FM_HTTP_STREAM_H
#define FM_HTTP_STREAM_H

#include "base/assert.h"
#include "http/parse.h"
#include "io/sock.h"

struct fm_http_stream {
    struct fm_sock sock;
    struct fm_block *in; /* NULL while there is nothing in hand */
    uint32_t at;         /* how much of `in` has been used */
    struct fm_http_scan scan;
    struct fm_http_body body;
};

static inline struct fm_str fm_http_stream_rest(const struct fm_http_stream *s)
{
    return s->in ? fm_str(s->in->data + s->at, s->in->n - s->at) : fm_str(NULL, 0);
}

static inline bool fm_http_stream_has(const struct fm_http_stream *s)
{
    return s->in && s->in->n > s->at;
}

/* Give the block back if all of it was used. */
void fm_http_stream_tidy(struct fm_http_stream *s);
/* Give the block back, used or not. */
void fm_http_stream_drop(struct fm_http_stream *s);

/* Receive more behind what is unused. Makes room by moving it to the front; false where the block
 * is full of unused bytes. */
bool fm_http_stream_more(struct fm_http_stream *s, struct fm_mono deadline) FM_WARN_UNUSED;

/* Take over the block of a completed receive. */
static inline void fm_http_stream_got(struct fm_http_stream *s, struct fm_block *b)
{
    FM_ASSERT(!s->in || s->in == b);
    FM_ASSERT(!b || b->n <= b->size);
    s->in = b;
}

/* Mark n bytes as used. */
static inline void fm_http_stream_use(struct fm_http_stream *s, size_t n)
{
    FM_ASSERT(n == 0 || n <= s->in->n - s->at);
    s->at += (uint32_t)n;
}

/* The next piece of the body out of what is in hand. `raw` keeps the framing of chunks in it. */
enum fm_http_body_step fm_http_stream_piece(struct fm_http_stream *s, bool raw,
                                            struct fm_str *piece,
                                            struct fm_http_refusal *why) FM_WARN_UNUSED;

#endif
