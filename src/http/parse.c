/* Parsing message heads. One walk from left to right with a cursor; the first thing that is wrong
 * decides, so that a head gets the same verdict however it was split. The framing of the body is
 * derived at the end (RFC 9112 section 6.3). Bodies are in body.c. */
#include "http/parse.h"

#include "base/assert.h"
#include "http/chars.h"

enum { EMPTY_LINES_MAX = 4, METHOD_MAX = 32 };

struct cursor {
    const char *p, *end;
    struct fm_http_refusal *why;
};

static enum fm_http_parse bad(struct cursor *c, unsigned status, const char *reason)
{
    FM_ASSERT(status >= 400 && status <= 505 && c->p <= c->end);
    c->why->status = status;
    c->why->why = reason;
    return FM_PARSE_BAD;
}

/* The first byte at or behind p that is not of the class. */
static const char *span(const char *p, const char *end, enum fm_http_char cls)
{
    while (p < end && fm_http_is(*p, cls))
        p++;
    return p;
}

/* The same for FM_CH_VALUE, eight bytes at a time: a byte below 0x20 or equal to 0x7f ends a stride
 * (Lamport's subword tricks); tabs are rare and go the slow way. */
static const char *span_value(const char *p, const char *end)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = UINT64_C(0x8080808080808080);
    for (;;) {
        while (end - p >= 8) {
            uint64_t x;
            memcpy(&x, p, 8);
            uint64_t del = x ^ (ones * 0x7f);
            uint64_t low = (x - ones * 0x20) & ~x & high;
            if (low | ((del - ones) & ~del & high))
                break;
            p += 8;
        }
        const char *stop = end - p >= 8 ? p + 8 : end;
        p = span(p, stop, FM_CH_VALUE);
        if (p < stop || p == end)
            return p;
    }
}

/* CRLF at the cursor, or the verdict about what stands there instead. */
static enum fm_http_parse crlf(struct cursor *c, const char *reason)
{
    if (c->p == c->end)
        return FM_PARSE_MORE;
    if (*c->p == '\r') {
        if (c->p + 1 == c->end)
            return FM_PARSE_MORE;
        if (c->p[1] == '\n') {
            c->p += 2;
            return FM_PARSE_DONE;
        }
        return bad(c, 400, "a carriage return without a line feed");
    }
    if (*c->p == '\n')
        return bad(c, 400, "a line feed without a carriage return");
    return bad(c, 400, reason);
}

/* "HTTP/1.x" at the cursor. */
static enum fm_http_parse version(struct cursor *c, struct fm_http_head *h)
{
    static const char name[] = "HTTP/";
    size_t have = (size_t)(c->end - c->p);
    for (size_t i = 0; i < 8; i++) {
        if (i == have)
            return FM_PARSE_MORE;
        bool digit = c->p[i] >= '0' && c->p[i] <= '9';
        if (i < 5 ? c->p[i] != name[i] : i == 6 ? c->p[i] != '.' : !digit)
            return bad(c, 400, "a malformed protocol version");
    }
    if (c->p[5] != '1')
        return bad(c, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    h->minor = c->p[7] == '0' ? 0 : 1;
    c->p += 8;
    return FM_PARSE_DONE;
}

/* -------- fields -------- */

static enum fm_http_parse one_field(struct cursor *c, struct fm_http_field *f)
{
    const char *start = c->p, *colon = span(start, c->end, FM_CH_TOKEN);
    if (colon == c->end)
        return FM_PARSE_MORE;
    if (colon == start)
        return *start == ' ' || *start == '\t' ? bad(c, 400, "a folded header line")
                                               : bad(c, 400, "a malformed header name");
    if (*colon != ':')
        return *colon == ' ' || *colon == '\t'
                   ? bad(c, 400, "blanks between a header name and its colon")
               : *colon == '\r' || *colon == '\n' ? bad(c, 400, "a header line without a colon")
                                                  : bad(c, 400, "a malformed header name");
    const char *value = colon + 1;
    c->p = span_value(value, c->end);
    const char *last = c->p;
    enum fm_http_parse end = crlf(c, "a control character in a header value");
    if (end != FM_PARSE_DONE)
        return end;
    FM_ASSERT(colon > start && last > colon && c->p == last + 2);
    f->name = fm_str(start, (size_t)(colon - start));
    f->value = fm_str_trim(fm_str(value, (size_t)(last - value)));
    f->id = (uint8_t)fm_http_field_id(f->name);
    return FM_PARSE_DONE;
}

static enum fm_http_parse all_fields(struct cursor *c, unsigned max, struct fm_http_head *h)
{
    for (;;) {
        if (c->p == c->end)
            return FM_PARSE_MORE;
        if (*c->p == '\r' || *c->p == '\n')
            return crlf(c, "");
        if (h->nfields == max)
            return bad(c, 431, "too many header lines");
        FM_ASSERT(h->nfields < max);
        struct fm_http_field *f = &h->field[h->nfields];
        enum fm_http_parse r = one_field(c, f);
        if (r != FM_PARSE_DONE)
            return r;
        if (h->known[f->id] < 0)
            h->known[f->id] = (int16_t)h->nfields;
        h->nfields++;
    }
}

/* -------- what the fields mean together -------- */

static unsigned count(const struct fm_http_head *h, enum fm_http_field_id id)
{
    unsigned n = 0;
    if (h->known[id] >= 0)
        for (unsigned i = (unsigned)h->known[id]; i < h->nfields; i++)
            n += h->field[i].id == id;
    return n;
}

/* The hop-by-hop mechanism must not be used to strip what others rely on. */
static bool is_protected(struct fm_str option)
{
    switch (fm_http_field_id(option)) {
    case FM_HDR_HOST:
    case FM_HDR_CONTENT_LENGTH:
    case FM_HDR_TRANSFER_ENCODING:
    case FM_HDR_IDEMPOTENCY_KEY:
    case FM_HDR_AUTHORIZATION:
    case FM_HDR_COOKIE:
    case FM_HDR_CONTENT_TYPE:
    case FM_HDR_FORWARDED:
    case FM_HDR_X_FORWARDED_FOR:
    case FM_HDR_X_FORWARDED_HOST:
    case FM_HDR_X_FORWARDED_PROTO:
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
    case FM_HDR_CONNECTION:
    case FM_HDR_TE:
    case FM_HDR_TRAILER:
    case FM_HDR_UPGRADE:
    case FM_HDR_EXPECT:
    case FM_HDR_KEEP_ALIVE:
    case FM_HDR_PROXY_CONNECTION:
    case FM_HDR_VIA:
    case FM_HDR_TRACEPARENT:
    case FM_HDR_RETRY_AFTER:
    case FM_HDR_COUNT:
        break;
    }
    return false;
}

static enum fm_http_parse connection(struct cursor *c, struct fm_http_head *h)
{
    bool close = false, keep = false, upgrade = false, te = false;
    for (unsigned i = 0; i < h->nfields; i++) {
        if (h->field[i].id != FM_HDR_CONNECTION)
            continue;
        struct fm_str rest = h->field[i].value, item;
        while (fm_str_list_next(&rest, &item)) {
            if (span(item.p, item.p + item.n, FM_CH_TOKEN) != item.p + item.n)
                return bad(c, 400, "a malformed Connection header");
            if (is_protected(item))
                return bad(c, 400,
                           "a Connection header that names a header which may not be removed");
            if (fm_str_eq_nocase(item, FM_STR("close")))
                close = true;
            else if (fm_str_eq_nocase(item, FM_STR("keep-alive")))
                keep = true;
            else if (fm_str_eq_nocase(item, FM_STR("upgrade")))
                upgrade = true;
            else if (fm_str_eq_nocase(item, FM_STR("te")))
                te = true;
            else
                h->names_fields = true;
        }
    }
    h->keep_alive = !close && (h->minor == 1 || keep);
    h->upgrade = upgrade && h->minor == 1 && count(h, FM_HDR_UPGRADE) == 1 &&
                 fm_str_eq_nocase(fm_http_value(h, FM_HDR_UPGRADE), FM_STR("websocket"));
    if (te && fm_http_has(h, FM_HDR_TE)) {
        struct fm_str rest = fm_http_value(h, FM_HDR_TE), item;
        while (fm_str_list_next(&rest, &item))
            h->te_trailers |= fm_str_eq_nocase(item, FM_STR("trailers"));
    }
    return FM_PARSE_DONE;
}

static enum fm_http_parse transfer_encoding(struct cursor *c, struct fm_http_head *h)
{
    FM_ASSERT(h->known[FM_HDR_TRANSFER_ENCODING] >= 0);
    unsigned codings = 0, chunked = 0;
    bool last_chunked = false;
    for (unsigned i = (unsigned)h->known[FM_HDR_TRANSFER_ENCODING]; i < h->nfields; i++) {
        if (h->field[i].id != FM_HDR_TRANSFER_ENCODING)
            continue;
        struct fm_str rest = h->field[i].value, item;
        while (fm_str_list_next(&rest, &item)) {
            codings++;
            last_chunked = fm_str_eq_nocase(item, FM_STR("chunked"));
            chunked += last_chunked;
        }
    }
    if (h->minor == 0)
        return bad(c, 400, "Transfer-Encoding in an HTTP/1.0 message");
    if (codings == 0 || !last_chunked || chunked != 1)
        return bad(c, 400, "a Transfer-Encoding that does not end in one `chunked`");
    if (codings > 1)
        return bad(c, 501, "a transfer coding other than `chunked`");
    /* nothing around it that the next server might read in another way, as in "chunked," */
    if (fm_http_value(h, FM_HDR_TRANSFER_ENCODING).n != strlen("chunked") ||
        count(h, FM_HDR_TRANSFER_ENCODING) > 1)
        return bad(c, 400, "a malformed Transfer-Encoding");
    FM_ASSERT(chunked == 1 && codings == 1 && h->minor == 1);
    h->framing = FM_BODY_CHUNKED;
    return FM_PARSE_DONE;
}

/* What both kinds of message share: Transfer-Encoding and Content-Length. Leaves FM_BODY_NONE where
 * there is neither. */
static enum fm_http_parse framing(struct cursor *c, struct fm_http_head *h)
{
    bool te = fm_http_has(h, FM_HDR_TRANSFER_ENCODING), cl = fm_http_has(h, FM_HDR_CONTENT_LENGTH);
    h->framing = FM_BODY_NONE;
    h->length = 0;
    if (te && cl)
        return bad(c, 400, "both Content-Length and Transfer-Encoding");
    if (te)
        return transfer_encoding(c, h);
    if (!cl)
        return FM_PARSE_DONE;
    if (count(h, FM_HDR_CONTENT_LENGTH) > 1)
        return bad(c, 400, "more than one Content-Length");
    if (!fm_str_u64(fm_http_value(h, FM_HDR_CONTENT_LENGTH), &h->length))
        return bad(c, 400, "a malformed Content-Length");
    h->framing = FM_BODY_LENGTH;
    return FM_PARSE_DONE;
}

/* -------- requests -------- */

static enum fm_http_parse split_target(struct cursor *c, struct fm_http_head *h)
{
    struct fm_str t = h->target;
    FM_ASSERT(t.n > 0);
    h->absolute = false;
    if (fm_str_eq(t, FM_STR("*"))) {
        if (h->method != FM_METHOD_OPTIONS)
            return bad(c, 400, "the target * with a method other than OPTIONS");
        h->path = t;
        h->query = fm_str(t.p + t.n, 0);
        return FM_PARSE_DONE;
    }
    if (t.p[0] != '/') {
        size_t scheme = t.n > 7 && fm_str_eq_nocase(fm_str(t.p, 7), FM_STR("http://"))    ? 7
                        : t.n > 8 && fm_str_eq_nocase(fm_str(t.p, 8), FM_STR("https://")) ? 8
                                                                                          : 0;
        if (!scheme)
            return bad(c, 400, "a target that is neither a path nor an http URI");
        size_t i = scheme;
        while (i < t.n && t.p[i] != '/' && t.p[i] != '?')
            i++;
        h->absolute = true;
        h->host = fm_str(t.p + scheme, i - scheme);
        t = fm_str(t.p + i, t.n - i);
    }
    const char *q = t.n ? memchr(t.p, '?', t.n) : NULL;
    size_t path_n = q ? (size_t)(q - t.p) : t.n;
    h->path = path_n ? fm_str(t.p, path_n) : FM_STR("/");
    FM_ASSERT(path_n <= t.n && (!q || *q == '?'));
    h->query = fm_str(t.p + path_n, t.n - path_n);
    return FM_PARSE_DONE;
}

/* A few are allowed before a request: old clients send one behind a body (RFC 9112 section 2.2). */
static enum fm_http_parse empty_lines(struct cursor *c)
{
    for (int n = 0; c->p < c->end && *c->p == '\r'; n++) {
        if (n == EMPTY_LINES_MAX)
            return bad(c, 400, "empty lines instead of a request");
        enum fm_http_parse r = crlf(c, "");
        if (r != FM_PARSE_DONE)
            return r;
    }
    return FM_PARSE_DONE;
}

static enum fm_http_parse request_line(struct cursor *c, struct fm_http_head *h)
{
    const char *start = c->p;
    c->p = span(start, c->end, FM_CH_TOKEN);
    size_t n = (size_t)(c->p - start);
    if (n > METHOD_MAX)
        return bad(c, 501, "a method longer than 32 characters");
    if (c->p == c->end)
        return FM_PARSE_MORE;
    if (n == 0 || *c->p != ' ')
        return bad(c, 400, "a malformed method");
    h->method_name = fm_str(start, n);
    h->method = (uint8_t)fm_http_method_id(h->method_name);
    start = ++c->p;
    c->p = span(start, c->end, FM_CH_TARGET);
    if (c->p == c->end)
        return FM_PARSE_MORE;
    if (c->p == start || *c->p != ' ')
        return *c->p == '\r' && c->p > start ? bad(c, 400, "a request line without a version")
                                             : bad(c, 400, "a malformed request target");
    h->target = fm_str(start, (size_t)(c->p - start));
    c->p++;
    enum fm_http_parse r = version(c, h);
    if (r != FM_PARSE_DONE)
        return r;
    r = crlf(c, "something behind the protocol version");
    if (r != FM_PARSE_DONE)
        return r;
    if (h->method == FM_METHOD_CONNECT)
        return bad(c, 501, "CONNECT is not served here");
    return split_target(c, h);
}

/* An IPv6 address of a URI as far as its characters go, RFC 3986 section 3.2.2. */
static bool is_ip_literal(struct fm_str inside)
{
    for (size_t i = 0; i < inside.n; i++)
        if (!fm_http_is(inside.p[i], FM_CH_HEX) && inside.p[i] != ':' && inside.p[i] != '.')
            return false;
    return inside.n && memchr(inside.p, ':', inside.n);
}

static bool is_reg_name(struct fm_str name)
{
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '[' || name.p[i] == ']')
            return false;
        if (name.p[i] == '%' && (name.n - i < 3 || !fm_http_is(name.p[i + 1], FM_CH_HEX) ||
                                 !fm_http_is(name.p[i + 2], FM_CH_HEX)))
            return false;
    }
    return name.n > 0;
}

static bool host_is_valid(struct fm_str host)
{
    if (host.n == 0 || span(host.p, host.p + host.n, FM_CH_HOST) != host.p + host.n)
        return false;
    bool literal = host.p[0] == '[';
    const char *name_end = memchr(host.p, literal ? ']' : ':', host.n);
    if (literal && !name_end)
        return false;
    size_t n = name_end ? (size_t)(name_end - host.p) : host.n;
    if (literal ? !is_ip_literal(fm_str(host.p + 1, n - 1)) : !is_reg_name(fm_str(host.p, n)))
        return false;
    n += literal;
    FM_ASSERT(n <= host.n);
    struct fm_str port = fm_str(host.p + n, host.n - n);
    uint64_t number;
    return port.n == 0 || (port.p[0] == ':' &&
                           (port.n == 1 || (fm_str_u64(fm_str(port.p + 1, port.n - 1), &number) &&
                                            number <= 65535)));
}

static enum fm_http_parse request_meaning(struct cursor *c, const struct fm_http_limits *limits,
                                          struct fm_http_head *h)
{
    if (count(h, FM_HDR_HOST) > 1)
        return bad(c, 400, "more than one Host");
    if (!fm_http_has(h, FM_HDR_HOST) && h->minor == 1)
        return bad(c, 400, "an HTTP/1.1 request without a Host");
    if (fm_http_has(h, FM_HDR_HOST) && !host_is_valid(fm_http_value(h, FM_HDR_HOST)))
        return bad(c, 400, "a malformed Host");
    if (h->absolute && !host_is_valid(h->host))
        return bad(c, 400, "a malformed host in the request target");
    if (!h->absolute)
        h->host = fm_http_value(h, FM_HDR_HOST);
    if (fm_http_has(h, FM_HDR_DISGUISED))
        return bad(c, 400, "a header name with an underscore in the place of a hyphen");
    enum fm_http_parse r = connection(c, h);
    if (r == FM_PARSE_DONE)
        r = framing(c, h);
    if (r != FM_PARSE_DONE)
        return r;
    if (h->framing == FM_BODY_LENGTH && h->length > limits->body_bytes)
        return bad(c, 413, "a body larger than the limit");
    if (h->framing == FM_BODY_LENGTH && h->length == 0)
        h->framing = FM_BODY_NONE;
    if (h->framing != FM_BODY_NONE)
        h->upgrade = false; /* who switches early would take the body for the new protocol */
    if (fm_http_has(h, FM_HDR_EXPECT)) {
        if (!fm_str_eq_nocase(fm_http_value(h, FM_HDR_EXPECT), FM_STR("100-continue")) ||
            count(h, FM_HDR_EXPECT) > 1)
            return bad(c, 417, "an expectation other than 100-continue");
        h->expect_continue = h->minor == 1 && h->framing != FM_BODY_NONE;
    }
    return FM_PARSE_DONE;
}

/* -------- responses -------- */

static enum fm_http_parse status_line(struct cursor *c, struct fm_http_head *h)
{
    enum fm_http_parse r = version(c, h);
    if (r != FM_PARSE_DONE)
        return r;
    h->status = 0;
    for (size_t i = 0; i < 4; i++) {
        if (c->p + i == c->end)
            return FM_PARSE_MORE;
        char ch = c->p[i];
        if (i == 0 ? ch != ' ' : ch < '0' || ch > '9')
            return bad(c, 502, "a malformed status line");
        if (i)
            h->status = h->status * 10 + (unsigned)(ch - '0');
    }
    if (h->status < 100 || h->status > 599)
        return bad(c, 502, "a status outside of 100 to 599");
    const char *text = c->p + 1;
    c->p += 4;
    if (c->p < c->end && *c->p == ' ')
        c->p = span_value(c->p, c->end);
    h->status_text = fm_str(text, (size_t)(c->p - text));
    return crlf(c, "a malformed status line");
}

static enum fm_http_parse response_meaning(struct cursor *c, enum fm_http_method method,
                                           const struct fm_http_limits *limits,
                                           struct fm_http_head *h)
{
    (void)limits;
    enum fm_http_parse r = connection(c, h);
    if (r == FM_PARSE_DONE)
        r = framing(c, h);
    if (r != FM_PARSE_DONE)
        return r;
    bool bodiless =
        h->status < 200 || h->status == 204 || h->status == 304 || method == FM_METHOD_HEAD;
    if (bodiless)
        h->framing = FM_BODY_NONE;
    else if (h->framing == FM_BODY_LENGTH && h->length == 0)
        h->framing = FM_BODY_NONE;
    else if (h->framing == FM_BODY_NONE)
        h->framing = FM_BODY_CLOSE;
    if (h->framing == FM_BODY_CLOSE)
        h->keep_alive = false;
    return FM_PARSE_DONE;
}

/* -------- the two entrances -------- */

static void clear(struct fm_http_head *h, struct fm_http_field *fields)
{
    FM_ASSERT(fields);
    *h = (struct fm_http_head){.field = fields};
    memset(h->known, 0xff, sizeof h->known); /* -1 */
}

/* Is there more to say than at the last look? The first bytes may be of another protocol; from then
 * on a verdict is due when a line ends or the limit is reached. So each line costs one parse at
 * most, whatever the pieces, and the verdict does not depend on them. */
static bool worth_parsing(const struct fm_http_scan *scan, const char *p, size_t n, size_t limit)
{
    FM_ASSERT(scan->at <= n || n == limit); /* a lower limit may come between two looks */
    if (n == scan->at)
        return false;
    return scan->at == 0 || n == limit || memchr(p + scan->at, '\n', n - scan->at) != NULL;
}

static enum fm_http_parse incomplete(struct fm_http_scan *scan, size_t n,
                                     const struct fm_http_limits *limits, bool in_first_line,
                                     struct cursor *c)
{
    FM_ASSERT(n <= limits->head_bytes);
    scan->at = n;
    if (n < limits->head_bytes)
        return FM_PARSE_MORE;
    return in_first_line ? bad(c, 414, "a request line longer than the limit")
                         : bad(c, 431, "a header section larger than the limit");
}

enum fm_http_parse fm_http_parse_request(struct fm_http_scan *scan, const char *p, size_t n,
                                         const struct fm_http_limits *limits,
                                         struct fm_http_field *fields, struct fm_http_head *h,
                                         struct fm_http_refusal *why)
{
    FM_ASSERT(limits->fields <= FM_HTTP_FIELDS_MAX);
    n = fm_min_size(n, limits->head_bytes);
    struct cursor c = {p, p + n, why};
    if (!worth_parsing(scan, p, n, limits->head_bytes)) {
        scan->at = n;
        return FM_PARSE_MORE;
    }
    clear(h, fields);
    enum fm_http_parse r = empty_lines(&c);
    if (r == FM_PARSE_DONE)
        r = request_line(&c, h);
    bool in_first_line = r == FM_PARSE_MORE;
    if (r == FM_PARSE_DONE)
        r = all_fields(&c, limits->fields, h);
    if (r == FM_PARSE_MORE)
        return incomplete(scan, n, limits, in_first_line, &c);
    FM_ASSERT(c.p <= c.end && h->nfields <= limits->fields);
    if (r == FM_PARSE_DONE)
        r = request_meaning(&c, limits, h);
    h->size = (size_t)(c.p - p);
    return r;
}

enum fm_http_parse fm_http_parse_response(struct fm_http_scan *scan, const char *p, size_t n,
                                          enum fm_http_method method,
                                          const struct fm_http_limits *limits,
                                          struct fm_http_field *fields, struct fm_http_head *h,
                                          struct fm_http_refusal *why)
{
    FM_ASSERT(limits->fields <= FM_HTTP_FIELDS_MAX);
    n = fm_min_size(n, limits->head_bytes);
    struct cursor c = {p, p + n, why};
    if (!worth_parsing(scan, p, n, limits->head_bytes)) {
        scan->at = n;
        return FM_PARSE_MORE;
    }
    clear(h, fields);
    enum fm_http_parse r = status_line(&c, h);
    if (r == FM_PARSE_DONE)
        r = all_fields(&c, limits->fields, h);
    if (r == FM_PARSE_MORE)
        r = incomplete(scan, n, limits, false, &c);
    else if (r == FM_PARSE_DONE)
        r = response_meaning(&c, method, limits, h);
    FM_ASSERT(c.p <= c.end && h->nfields <= limits->fields);
    h->size = (size_t)(c.p - p);
    if (r == FM_PARSE_BAD)
        why->status = 502;
    return r;
}
