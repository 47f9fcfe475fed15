/* Message bodies (RFC 9112 sections 6 and 7): where a body ends, byte by byte for the framing of
 * chunks, in one stride for content. Invariant: never says DONE before the last byte of framing. */
#include "http/parse.h"

#include "base/assert.h"
#include "http/chars.h"

enum state {
    SIZE_FIRST, /* at least one digit is due */
    SIZE,
    EXT,     /* behind ";" until CR */
    SIZE_LF, /* the LF behind a chunk's size */
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF, /* the LF behind the empty line */
};

void fm_http_body_init(struct fm_http_body *b, enum fm_http_framing framing, uint64_t length,
                       const struct fm_http_limits *limits)
{
    FM_ASSERT(framing <= FM_BODY_CLOSE);
    *b = (struct fm_http_body){.framing = (uint8_t)framing,
                               .left = length,
                               .room = limits->body_bytes,
                               .ext_left = limits->ext_bytes,
                               .trailer_left = limits->trailer_bytes};
    if (framing == FM_BODY_LENGTH && length == 0)
        b->framing = FM_BODY_NONE;
}

static enum fm_http_body_step bad(struct fm_http_refusal *why, unsigned status, const char *reason)
{
    why->status = status;
    why->why = reason;
    return FM_BODY_STEP_BAD;
}

static bool hex_digit(struct fm_http_body *b, char c)
{
    unsigned d = c <= '9' ? (unsigned)(c - '0') : (unsigned)(fm_lower(c) - 'a') + 10;
    if (++b->digits > 16)
        return false;
    FM_ASSERT(d < 16 && b->left >> 60 == 0);
    b->left = b->left << 4 | d;
    return true;
}

/* A trailer that frames or routes is refused (RFC 9110 section 6.5.1). */
static bool trailer_is_forbidden(const struct fm_http_body *b)
{
    switch (fm_http_field_id(fm_str(b->name, b->name_n))) {
    case FM_HDR_HOST:
    case FM_HDR_CONNECTION:
    case FM_HDR_CONTENT_LENGTH:
    case FM_HDR_TRANSFER_ENCODING:
    case FM_HDR_TE:
    case FM_HDR_TRAILER:
    case FM_HDR_UPGRADE:
    case FM_HDR_EXPECT:
    case FM_HDR_KEEP_ALIVE:
    case FM_HDR_PROXY_CONNECTION:
    case FM_HDR_FORWARDED:
    case FM_HDR_X_FORWARDED_FOR:
    case FM_HDR_X_FORWARDED_PROTO:
    case FM_HDR_X_FORWARDED_HOST:
    case FM_HDR_IDEMPOTENCY_KEY:
    case FM_HDR_AUTHORIZATION:
    case FM_HDR_COOKIE:
    case FM_HDR_CONTENT_TYPE:
    case FM_HDR_FULMAR_AUTHORITY:
    case FM_HDR_FULMAR_DEADLINE:
    case FM_HDR_FULMAR_MODE:
    case FM_HDR_FULMAR_OTHER:
    case FM_HDR_FULMAR_PROBLEM:
    case FM_HDR_FULMAR_QUEUED:
    case FM_HDR_FULMAR_REF:
    case FM_HDR_FULMAR_REGION:
    case FM_HDR_DISGUISED:
        return true;
    case FM_HDR_OTHER:
    case FM_HDR_VIA:
    case FM_HDR_TRACEPARENT:
    case FM_HDR_RETRY_AFTER:
    case FM_HDR_COUNT:
        break;
    }
    return false;
}

static const char broken_chunk[] = "a malformed chunk";

/* One byte of a chunk's head. */
static const char *chunk_head(struct fm_http_body *b, char c)
{
    switch ((enum state)b->state) {
    case SIZE_FIRST:
    case SIZE:
        if (fm_http_is(c, FM_CH_HEX)) {
            b->state = SIZE;
            return hex_digit(b, c) ? NULL : "a chunk size that overflows";
        }
        if (b->state == SIZE_FIRST)
            return broken_chunk;
        b->state = c == '\r' ? SIZE_LF : EXT;
        return c == '\r' || c == ';' ? NULL : broken_chunk;
    case EXT:
        if (c == '\r') {
            b->state = SIZE_LF;
            return NULL;
        }
        if (!fm_http_is(c, FM_CH_VALUE))
            return broken_chunk;
        if (b->ext_left == 0)
            return "chunk extensions over the limit";
        b->ext_left--;
        return NULL;
    case SIZE_LF:
        if (c != '\n')
            return broken_chunk;
        FM_ASSERT(b->digits > 0);
        b->digits = 0;
        b->state = b->left ? DATA : TRAILER_START;
        return NULL;
    case DATA_CR:
        b->state = DATA_LF;
        return c == '\r' ? NULL : broken_chunk;
    case DATA_LF:
        b->state = SIZE_FIRST;
        return c == '\n' ? NULL : broken_chunk;
    case DATA:
    case TRAILER_START:
    case TRAILER_NAME:
    case TRAILER_VALUE:
    case TRAILER_LF:
    case END_LF:
        break;
    }
    FM_UNREACHABLE();
}

static const char broken_trailer[] = "a malformed trailer";

/* One byte of the trailer section; *done at its end. */
static const char *trailer(struct fm_http_body *b, char c, bool *done)
{
    switch ((enum state)b->state) {
    case TRAILER_START:
        b->name_n = 0;
        if (c == '\r') {
            b->state = END_LF;
            return NULL;
        }
        b->state = TRAILER_NAME;
        if (c == ':')
            return broken_trailer;
        __attribute__((fallthrough));
    case TRAILER_NAME:
        if (c == ':') {
            b->state = TRAILER_VALUE;
            return trailer_is_forbidden(b) ? "a trailer that may only stand in the header" : NULL;
        }
        if (!fm_http_is(c, FM_CH_TOKEN))
            return broken_trailer;
        FM_ASSERT(b->name_n <= sizeof b->name);
        if (b->name_n < sizeof b->name)
            b->name[b->name_n++] = c;
        return NULL;
    case TRAILER_VALUE:
        if (c == '\r')
            b->state = TRAILER_LF;
        else if (!fm_http_is(c, FM_CH_VALUE))
            return broken_trailer;
        return NULL;
    case TRAILER_LF:
        b->state = TRAILER_START;
        return c == '\n' ? NULL : broken_trailer;
    case END_LF:
        *done = true;
        return c == '\n' ? NULL : broken_trailer;
    case SIZE_FIRST:
    case SIZE:
    case EXT:
    case SIZE_LF:
    case DATA:
    case DATA_CR:
    case DATA_LF:
        break;
    }
    FM_UNREACHABLE();
}

static enum fm_http_body_step chunked(struct fm_http_body *b, struct fm_str in, size_t *used,
                                      struct fm_str *data, struct fm_http_refusal *why)
{
    for (size_t i = 0; i < in.n;) {
        if (b->state == DATA) {
            size_t n = (size_t)fm_min_u64(b->left, in.n - i);
            *data = fm_str(in.p + i, n);
            *used = i + n;
            FM_ASSERT(n > 0 && n <= b->left);
            b->left -= n;
            if (b->left == 0)
                b->state = DATA_CR;
            return FM_BODY_STEP_DATA;
        }
        char c = in.p[i++];
        if (b->state < TRAILER_START) {
            const char *broken = chunk_head(b, c);
            if (broken)
                return bad(why, 400, broken);
            if (b->state == DATA) {
                if (b->left > b->room)
                    return bad(why, 413, "a body larger than the limit");
                b->room -= b->left;
            }
            continue;
        }
        FM_ASSERT(b->state <= END_LF && b->left == 0);
        if (b->trailer_left-- == 0)
            return bad(why, 431, "a trailer section larger than the limit");
        bool done = false;
        const char *broken = trailer(b, c, &done);
        if (broken)
            return bad(why, 400, broken);
        if (done) {
            FM_ASSERT(i <= in.n);
            b->framing = FM_BODY_NONE;
            *used = i;
            return FM_BODY_STEP_DONE;
        }
    }
    *used = in.n;
    return FM_BODY_STEP_MORE;
}

enum fm_http_body_step fm_http_body_step(struct fm_http_body *b, struct fm_str in, size_t *used,
                                         struct fm_str *data, struct fm_http_refusal *why)
{
    *used = 0;
    *data = fm_str(in.p, 0);
    switch ((enum fm_http_framing)b->framing) {
    case FM_BODY_NONE:
        return FM_BODY_STEP_DONE;
    case FM_BODY_CHUNKED:
        return chunked(b, in, used, data, why);
    case FM_BODY_CLOSE:
        *used = in.n;
        *data = in;
        return in.n ? FM_BODY_STEP_DATA : FM_BODY_STEP_MORE;
    case FM_BODY_LENGTH:
        break;
    }
    FM_ASSERT(b->left > 0);
    if (in.n == 0)
        return FM_BODY_STEP_MORE;
    *used = (size_t)fm_min_u64(b->left, in.n);
    *data = fm_str(in.p, *used);
    b->left -= *used;
    if (b->left == 0)
        b->framing = FM_BODY_NONE;
    return FM_BODY_STEP_DATA;
}

enum fm_http_body_step fm_http_body_skip(struct fm_http_body *b, struct fm_str in, size_t *used,
                                         struct fm_http_refusal *why)
{
    *used = 0;
    for (;;) {
        size_t n;
        struct fm_str data;
        enum fm_http_body_step r =
            fm_http_body_step(b, fm_str(in.p + *used, in.n - *used), &n, &data, why);
        FM_ASSERT(n <= in.n - *used);
        *used += n;
        if (r == FM_BODY_STEP_DATA && b->framing == FM_BODY_NONE)
            return FM_BODY_STEP_DONE;
        if (r == FM_BODY_STEP_DATA && *used < in.n)
            continue;
        return r == FM_BODY_STEP_DATA ? FM_BODY_STEP_MORE : r;
    }
}
