/* Forwarded heads: see the header. */
#include "proxy/heads.h"

#include "base/assert.h"

/* Copy the fields that stay, run by run: consecutive ones are one memcpy of the bytes as they came.
 */
static inline __attribute__((always_inline)) void copy_fields(
    struct fm_buf *out, const struct fm_http_head *h,
    bool (*drops)(const struct fm_http_field *f, const void *o), const void *o)
{
    const char *run = NULL;
    FM_ASSERT(h->nfields <= FM_HTTP_FIELDS_MAX);
    for (unsigned i = 0; i < h->nfields; i++) {
        const struct fm_http_field *f = &h->field[i];
        bool drop = drops(f, o) || (h->names_fields && fm_http_connection_names(h, f->name));
        if (!drop && !run)
            run = f->name.p;
        FM_ASSERT(f->name.n > 0 && (!run || run <= f->name.p)); /* as they came, in one buffer */
        if (drop && run) {
            fm_buf_add(out, run, (size_t)(f->name.p - run));
            run = NULL;
        }
    }
    if (run) {
        const struct fm_http_field *last = &h->field[h->nfields - 1];
        const char *end = last->value.p + last->value.n;
        while (*end++ != '\n') {
        }
        fm_buf_add(out, run, (size_t)(end - run));
    }
}

/* Where the body ends is said in our own words: another blank, case or leading zero than usual is
 * read in another way by somebody. */
static void add_framing(struct fm_buf *out, const struct fm_http_head *h)
{
    if (fm_http_has(h, FM_HDR_TRANSFER_ENCODING))
        fm_buf_lit(out, "Transfer-Encoding: chunked\r\n");
    if (fm_http_has(h, FM_HDR_CONTENT_LENGTH)) {
        fm_buf_lit(out, "Content-Length: ");
        fm_buf_u64(out, h->length);
        fm_buf_lit(out, "\r\n");
    }
}

/* With the version that the message came in (RFC 9110 section 7.6.3). */
static void add_via(struct fm_buf *out, const struct fm_http_head *h)
{
    fm_buf_str_add(out, h->minor ? FM_STR("Via: 1.1 fulmar\r\n") : FM_STR("Via: 1.0 fulmar\r\n"));
}

/* -------- requests -------- */

static bool request_drops(const struct fm_http_field *f, const void *user)
{
    const struct fm_forward *o = user;
    switch ((enum fm_http_field_id)f->id) {
    case FM_HDR_CONNECTION:
    case FM_HDR_KEEP_ALIVE:
    case FM_HDR_PROXY_CONNECTION:
    case FM_HDR_TE:
    case FM_HDR_UPGRADE:
    case FM_HDR_EXPECT:
    case FM_HDR_HOST:
    case FM_HDR_FORWARDED:
    case FM_HDR_X_FORWARDED_FOR:
    case FM_HDR_X_FORWARDED_PROTO:
    case FM_HDR_X_FORWARDED_HOST:
    case FM_HDR_FULMAR_REF:
    case FM_HDR_FULMAR_DEADLINE:
    case FM_HDR_FULMAR_PROBLEM:
    case FM_HDR_FULMAR_QUEUED:
    case FM_HDR_DISGUISED:
    case FM_HDR_CONTENT_LENGTH:
    case FM_HDR_TRANSFER_ENCODING:
        return true;
    case FM_HDR_TRACEPARENT:
        return o->traceparent.n > 0;
    case FM_HDR_FULMAR_AUTHORITY:
        return !o->from_edge || o->authority.n > 0 || o->no_authority;
    case FM_HDR_FULMAR_MODE:
        return !o->from_edge || o->mode.n > 0;
    case FM_HDR_FULMAR_REGION:
    case FM_HDR_FULMAR_OTHER:
        return !o->from_edge;
    case FM_HDR_OTHER:
    case FM_HDR_TRAILER:
    case FM_HDR_VIA:
    case FM_HDR_IDEMPOTENCY_KEY:
    case FM_HDR_AUTHORIZATION:
    case FM_HDR_COOKIE:
    case FM_HDR_CONTENT_TYPE:
    case FM_HDR_RETRY_AFTER:
    case FM_HDR_COUNT:
        break;
    }
    return false;
}

static void add_list(struct fm_buf *out, const struct fm_http_head *h, enum fm_http_field_id id)
{
    if (!fm_http_has(h, id))
        return;
    FM_ASSERT((unsigned)h->known[id] < h->nfields && h->field[h->known[id]].id == id);
    for (unsigned i = (unsigned)h->known[id]; i < h->nfields; i++) {
        if (h->field[i].id != id || h->field[i].value.n == 0)
            continue;
        fm_buf_str_add(out, h->field[i].value);
        fm_buf_lit(out, ", ");
    }
}

static void add_forwarded(struct fm_buf *out, const struct fm_http_head *h,
                          const struct fm_forward *f)
{
    bool trust = f->client_is_trusted;
    fm_buf_lit(out, "X-Forwarded-For: ");
    if (trust)
        add_list(out, h, FM_HDR_X_FORWARDED_FOR);
    fm_buf_str_add(out, f->client_ip);
    fm_buf_lit(out, "\r\nX-Forwarded-Proto: ");
    if (trust && fm_http_has(h, FM_HDR_X_FORWARDED_PROTO))
        fm_buf_str_add(out, fm_http_value(h, FM_HDR_X_FORWARDED_PROTO));
    else
        fm_buf_lit(out, "http");
    fm_buf_lit(out, "\r\nX-Forwarded-Host: ");
    if (trust && fm_http_has(h, FM_HDR_X_FORWARDED_HOST))
        fm_buf_str_add(out, fm_http_value(h, FM_HDR_X_FORWARDED_HOST));
    else
        fm_buf_str_add(out, h->host);
    fm_buf_lit(out, "\r\nForwarded: ");
    if (trust)
        add_list(out, h, FM_HDR_FORWARDED);
    bool v6 = f->client_ip.n && memchr(f->client_ip.p, ':', f->client_ip.n);
    fm_buf_str_add(out, v6 ? FM_STR("for=\"[") : FM_STR("for="));
    fm_buf_str_add(out, f->client_ip);
    fm_buf_str_add(out, v6 ? FM_STR("]\"") : FM_STR(""));
    fm_buf_lit(out, ";host=\"");
    fm_buf_str_add(out, h->host);
    fm_buf_lit(out, "\";proto=http\r\n");
}

static void add_authority(struct fm_buf *out, const struct fm_forward *f, struct fm_forward_at *at)
{
    at->mode = at->authority = 0;
    if (f->mode.n) {
        fm_buf_lit(out, "\r\nFulmar-Mode: ");
        at->mode = out->n;
        fm_buf_str_add(out, f->mode);
    }
    if (!f->authority.n)
        return;
    fm_buf_lit(out, "\r\nFulmar-Authority: ");
    fm_buf_str_add(out, f->authority);
    fm_buf_ch(out, '/');
    at->authority = out->n;
    fm_buf_lit(out, "0@0                     ");
    FM_ASSERT(out->full || out->n == at->authority + FM_AUTHORITY_LEN);
}

void fm_heads_request(struct fm_buf *out, const struct fm_http_head *h, const struct fm_forward *f,
                      struct fm_forward_at *at)
{
    FM_ASSERT(h->method_name.n > 0 && f->ref.n > 0 && out->n == 0);
    fm_buf_str_add(out, h->method_name);
    fm_buf_ch(out, ' ');
    if (h->absolute) {
        fm_buf_str_add(out, h->path);
        fm_buf_str_add(out, h->query);
    } else {
        fm_buf_str_add(out, h->target);
    }
    fm_buf_lit(out, " HTTP/1.1\r\nHost: ");
    fm_buf_str_add(out, h->host);
    fm_buf_lit(out, "\r\n");
    copy_fields(out, h, request_drops, f);
    add_framing(out, h);
    add_via(out, h);
    add_forwarded(out, h, f);
    if (h->upgrade) {
        fm_buf_lit(out, "Connection: upgrade\r\nUpgrade: ");
        fm_buf_str_add(out, fm_http_value(h, FM_HDR_UPGRADE));
        fm_buf_lit(out, "\r\n");
    }
    if (f->traceparent.n) {
        fm_buf_lit(out, "traceparent: ");
        fm_buf_str_add(out, f->traceparent);
        fm_buf_lit(out, "\r\n");
    }
    fm_buf_lit(out, "Fulmar-Ref: ");
    fm_buf_str_add(out, f->ref);
    if (f->deadline) {
        fm_buf_lit(out, "\r\nFulmar-Deadline: ");
        at->deadline = out->n;
        fm_buf_lit(out, "0000000000");
    }
    add_authority(out, f, at);
    fm_buf_lit(out, "\r\n\r\n");
}

void fm_heads_set_deadline(char *digits, uint64_t ms)
{
    char text[20];
    size_t n = fm_u64_write(text, fm_min_u64(ms, UINT64_C(9999999999)));
    FM_ASSERT(n <= FM_DEADLINE_DIGITS);
    memset(digits, ' ', FM_DEADLINE_DIGITS);
    memcpy(digits + FM_DEADLINE_DIGITS - n, text, n);
}

void fm_heads_set_authority(char *place, unsigned cell, uint64_t epoch)
{
    FM_ASSERT(cell < 100);
    struct fm_buf b = fm_buf(place, FM_AUTHORITY_LEN);
    fm_buf_u64(&b, cell);
    fm_buf_ch(&b, '@');
    fm_buf_u64(&b, epoch);
    FM_ASSERT(!b.full);
    memset(place + b.n, ' ', FM_AUTHORITY_LEN - b.n);
}

bool fm_heads_authority(struct fm_str value, struct fm_authority_said *out)
{
    const char *slash = value.n ? memchr(value.p, '/', value.n) : NULL;
    const char *at = value.n ? memchr(value.p, '@', value.n) : NULL;
    uint64_t cell;
    if (!slash || !at || at < slash || slash == value.p)
        return false;
    out->context = fm_str(value.p, (size_t)(slash - value.p));
    if (!fm_str_u64(fm_str(slash + 1, (size_t)(at - slash - 1)), &cell) || cell > UINT16_MAX ||
        !fm_str_u64(fm_str(at + 1, (size_t)(value.p + value.n - at - 1)), &out->epoch))
        return false;
    out->cell = (unsigned)cell;
    return true;
}

/* -------- answers -------- */

static bool answer_drops(const struct fm_http_field *f, const void *user)
{
    const struct fm_answer *a = user;
    switch ((enum fm_http_field_id)f->id) {
    case FM_HDR_CONNECTION:
    case FM_HDR_KEEP_ALIVE:
    case FM_HDR_PROXY_CONNECTION:
    case FM_HDR_TE:
    case FM_HDR_FULMAR_REF:
    case FM_HDR_FULMAR_QUEUED:
    case FM_HDR_CONTENT_LENGTH:
    case FM_HDR_TRANSFER_ENCODING:
        return true;
    case FM_HDR_FULMAR_PROBLEM:
        return !a->from_gate || !a->to_edge;
    case FM_HDR_UPGRADE:
        return !a->upgrade;
    case FM_HDR_TRAILER:
        return a->decoded;
    case FM_HDR_FULMAR_REGION:
    case FM_HDR_FULMAR_AUTHORITY:
    case FM_HDR_FULMAR_DEADLINE:
    case FM_HDR_FULMAR_MODE:
    case FM_HDR_FULMAR_OTHER:
        return !a->from_gate;
    case FM_HDR_OTHER:
    case FM_HDR_HOST:
    case FM_HDR_EXPECT:
    case FM_HDR_VIA:
    case FM_HDR_FORWARDED:
    case FM_HDR_X_FORWARDED_FOR:
    case FM_HDR_X_FORWARDED_PROTO:
    case FM_HDR_X_FORWARDED_HOST:
    case FM_HDR_TRACEPARENT:
    case FM_HDR_IDEMPOTENCY_KEY:
    case FM_HDR_AUTHORIZATION:
    case FM_HDR_COOKIE:
    case FM_HDR_CONTENT_TYPE:
    case FM_HDR_RETRY_AFTER:
    case FM_HDR_DISGUISED:
    case FM_HDR_COUNT:
        break;
    }
    return false;
}

void fm_heads_answer(struct fm_buf *out, const struct fm_http_head *h, const struct fm_answer *a)
{
    FM_ASSERT(h->status >= 100 && h->status_text.n >= 3);
    fm_buf_lit(out, "HTTP/1.1 ");
    fm_buf_str_add(out, h->status_text);
    fm_buf_lit(out, "\r\n");
    copy_fields(out, h, answer_drops, a);
    /* 1xx and 204 have none, whatever came (RFC 9110 section 8.6) */
    if (h->status >= 200 && h->status != 204 &&
        !(a->decoded && fm_http_has(h, FM_HDR_TRANSFER_ENCODING)))
        add_framing(out, h);
    add_via(out, h);
    fm_buf_str_add(out, a->connection);
    if (a->ref.n) {
        fm_buf_lit(out, "Fulmar-Ref: ");
        fm_buf_str_add(out, a->ref);
        fm_buf_lit(out, "\r\n");
    }
    if (a->region.n) {
        fm_buf_lit(out, "Fulmar-Region: ");
        fm_buf_str_add(out, a->region);
        fm_buf_lit(out, "\r\n");
    }
    fm_buf_lit(out, "\r\n");
}

/* -------- traces -------- */

static bool lower_hex(struct fm_str s, bool not_zero)
{
    bool some = false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        some |= c != '0';
    }
    return some || !not_zero;
}

bool fm_heads_traceparent_ok(struct fm_str v)
{
    return v.n == FM_TRACEPARENT_LEN && memcmp(v.p, "00-", 3) == 0 && v.p[35] == '-' &&
           v.p[52] == '-' && lower_hex(fm_str(v.p + 3, 32), true) &&
           lower_hex(fm_str(v.p + 36, 16), true) && lower_hex(fm_str(v.p + 53, 2), false);
}

static char *put_hex(char *p, uint64_t v)
{
    static const char digit[] = "0123456789abcdef";
    for (int shift = 60; shift >= 0; shift -= 4)
        *p++ = digit[v >> shift & 15];
    return p;
}

void fm_heads_traceparent_new(char out[FM_TRACEPARENT_LEN], uint64_t a, uint64_t b, uint64_t c)
{
    char *p = out;
    memcpy(p, "00-", 3);
    p = put_hex(p + 3, a | 1);
    p = put_hex(p, b);
    *p++ = '-';
    p = put_hex(p, c | 1);
    memcpy(p, "-00", 3);
    FM_ASSERT(p + 3 == out + FM_TRACEPARENT_LEN);
}
