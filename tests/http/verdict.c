/* See the header. A reader is between requests, in a head or in a body; `at` is where its message
 * goes on. It looks at nothing behind the bytes that have arrived. */
#include "verdict.h"

struct reader {
    const struct fm_http_limits *limits;
    enum fm_verdict_bodies bodies;
    struct fm_http_field field[FM_HTTP_FIELDS_MAX];
    struct fm_http_scan scan;
    struct fm_http_body body;
    bool in_body, over;
    bool last; /* the connection ends with this request */
    size_t at;
    struct fm_verdict v;
};

static void refused(struct reader *r, const struct fm_http_refusal *why)
{
    r->over = true;
    r->v.status = why->status;
    r->v.why = why->why;
}

static void request_is_whole(struct reader *r)
{
    r->in_body = false;
    r->scan = (struct fm_http_scan){0};
    r->v.end[r->v.requests++] = r->at;
    r->over = r->last || r->v.requests == FM_VERDICT_REQUESTS_MAX;
}

/* Returns whether there may be more to do with the same bytes. */
static bool read_head(struct reader *r, struct fm_str rest)
{
    struct fm_http_head h;
    struct fm_http_refusal why;
    switch (fm_http_parse_request(&r->scan, rest.p, rest.n, r->limits, r->field, &h, &why)) {
    case FM_PARSE_MORE:
        return false;
    case FM_PARSE_BAD:
        refused(r, &why);
        return false;
    case FM_PARSE_DONE:
        break;
    }
    r->at += h.size;
    r->last = !h.keep_alive || h.upgrade;
    fm_http_body_init(&r->body, h.framing, h.length, r->limits);
    r->in_body = true;
    if (fm_http_body_is_done(&r->body))
        request_is_whole(r);
    return true;
}

static void add_content(struct fm_verdict *v, struct fm_str data)
{
    for (size_t i = 0; i < data.n; i++) /* FNV-1a */
        v->content = (v->content ^ (unsigned char)data.p[i]) * UINT64_C(0x100000001b3);
}

static bool read_body(struct reader *r, struct fm_str rest)
{
    struct fm_http_refusal why;
    struct fm_str data = {NULL, 0};
    size_t used;
    enum fm_http_body_step step = r->bodies == FM_VERDICT_RAW
                                      ? fm_http_body_skip(&r->body, rest, &used, &why)
                                      : fm_http_body_step(&r->body, rest, &used, &data, &why);
    r->at += used;
    add_content(&r->v, data);
    if (step == FM_BODY_STEP_BAD)
        refused(r, &why);
    else if (fm_http_body_is_done(&r->body))
        request_is_whole(r);
    return step != FM_BODY_STEP_MORE && step != FM_BODY_STEP_BAD;
}

static void arrived(struct reader *r, const char *p, size_t n)
{
    bool more = true;
    while (more && !r->over && (r->at < n || r->in_body)) {
        struct fm_str rest = fm_str(p + r->at, n - r->at);
        more = r->in_body ? read_body(r, rest) : read_head(r, rest);
    }
}

static struct fm_verdict ended(struct reader *r, struct fm_str bytes)
{
    size_t i = r->at;
    while (i < bytes.n && (bytes.p[i] == '\r' || bytes.p[i] == '\n'))
        i++;
    bool half_a_line = i > r->at && bytes.p[i - 1] != '\n';
    bool between = !r->in_body && r->v.requests && i == bytes.n && !half_a_line;
    if (!r->over && !between)
        r->v.status = 408;
    return r->v;
}

struct fm_verdict fm_verdict_of(struct fm_str bytes, const size_t *cut, size_t ncuts,
                                enum fm_verdict_bodies bodies, const struct fm_http_limits *limits)
{
    struct reader r = {.limits = limits, .bodies = bodies};
    for (size_t i = 0; i < ncuts; i++)
        arrived(&r, bytes.p, cut[i]);
    arrived(&r, bytes.p, bytes.n);
    return ended(&r, bytes);
}

struct fm_verdict fm_verdict_bytewise(struct fm_str bytes, enum fm_verdict_bodies bodies,
                                      const struct fm_http_limits *limits)
{
    struct reader r = {.limits = limits, .bodies = bodies};
    for (size_t n = 1; n <= bytes.n; n++)
        arrived(&r, bytes.p, n);
    return ended(&r, bytes);
}

bool fm_verdict_eq(const struct fm_verdict *a, const struct fm_verdict *b, bool content)
{
    return a->status == b->status && a->requests == b->requests &&
           memcmp(a->end, b->end, sizeof a->end) == 0 && (!content || a->content == b->content);
}
