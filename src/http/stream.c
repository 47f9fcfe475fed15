/* The shared half of connections: see the header. Invariant: at <= in->n, and a block that is held
 * across a wait holds unused bytes (or the body is being streamed through it). */
#include "http/stream.h"

#include "base/assert.h"

void fm_http_stream_drop(struct fm_http_stream *s)
{
    FM_ASSERT(s->in || s->at == 0);
    if (s->in)
        fm_pool_put(s->sock.loop->pool, s->in);
    s->in = NULL;
    s->at = 0;
}

void fm_http_stream_tidy(struct fm_http_stream *s)
{
    FM_ASSERT(!s->in || s->at <= s->in->n);
    if (s->in && s->at == s->in->n)
        fm_http_stream_drop(s);
}

bool fm_http_stream_more(struct fm_http_stream *s, struct fm_mono deadline)
{
    fm_http_stream_tidy(s); /* nothing in hand: the pool's warmest block when something comes */
    if (s->in && s->at) {
        s->in->n -= s->at;
        memmove(s->in->data, s->in->data + s->at, s->in->n);
        s->at = 0;
    }
    FM_ASSERT(s->at == 0 && !fm_sock_is_receiving(&s->sock));
    if (s->in && s->in->n == s->in->size)
        return false;
    fm_sock_recv(&s->sock, s->in, deadline);
    return true;
}

enum fm_http_body_step fm_http_stream_piece(struct fm_http_stream *s, bool raw,
                                            struct fm_str *piece, struct fm_http_refusal *why)
{
    struct fm_str rest = fm_http_stream_rest(s);
    size_t used;
    FM_ASSERT(!fm_http_body_is_done(&s->body) && !fm_sock_is_receiving(&s->sock));
    if (!raw) {
        enum fm_http_body_step r = fm_http_body_step(&s->body, rest, &used, piece, why);
        fm_http_stream_use(s, used);
        return r;
    }
    enum fm_http_body_step r = fm_http_body_skip(&s->body, rest, &used, why);
    FM_ASSERT(used <= rest.n);
    *piece = fm_str(rest.p, used);
    fm_http_stream_use(s, used);
    if (r == FM_BODY_STEP_MORE && used)
        return FM_BODY_STEP_DATA;
    return r; /* DONE may come with bytes in *piece */
}
