/* The requests of one connection. Promises: the verdict and the ends of requests are the same
 * whole, cut in two, byte by byte, and whether bodies are decoded or passed on; what is accepted
 * has no byte that another parser could take for a line end; and what a proxy makes of it is one
 * request with the same meaning. */
#include "fuzz.h"

#include "proxy/heads.h"
#include "verdict.h"

enum { BYTEWISE_MAX = 2048, OUT_MAX = 128 * 1024 };

static const struct fm_http_limits limits = {.head_bytes = 8 * 1024,
                                             .fields = 30,
                                             .body_bytes = 100 * 1000,
                                             .ext_bytes = 64,
                                             .trailer_bytes = 256};

static void is_clean(struct fm_str s, const char *what)
{
    for (size_t i = 0; i < s.n; i++)
        HOLDS(((unsigned char)s.p[i] >= 0x20 || s.p[i] == '\t') && s.p[i] != 0x7f, "%s", what);
}

static void head_is_clean(const struct fm_http_head *h)
{
    HOLDS(h->target.n > 0 && h->path.n > 0, "an empty target");
    for (size_t i = 0; i < h->target.n; i++)
        HOLDS((unsigned char)h->target.p[i] > 0x20 && (unsigned char)h->target.p[i] < 0x7f,
              "target byte %zu", i);
    for (unsigned i = 0; i < h->nfields; i++) {
        HOLDS(h->field[i].name.n > 0, "an empty name");
        HOLDS(!memchr(h->field[i].name.p, ' ', h->field[i].name.n), "a blank in a name");
        is_clean(h->field[i].name, "a name");
        is_clean(h->field[i].value, "a value");
        int first = h->known[h->field[i].id];
        HOLDS(first >= 0 && first <= (int)i && h->field[first].id == h->field[i].id, "known[%u]",
              h->field[i].id);
    }
    bool te = fm_http_has(h, FM_HDR_TRANSFER_ENCODING), cl = fm_http_has(h, FM_HDR_CONTENT_LENGTH);
    HOLDS(!te || !cl, "two framings");
    HOLDS(te == (h->framing == FM_BODY_CHUNKED), "chunked");
    HOLDS(cl || h->framing != FM_BODY_LENGTH, "length");
    HOLDS(!h->upgrade || h->framing == FM_BODY_NONE, "an upgrade with a body");
}

static void forwards_the_same(const struct fm_http_head *h)
{
    static char mem[OUT_MAX];
    static struct fm_http_field field[FM_HTTP_FIELDS_MAX];
    struct fm_http_limits wide = limits;
    wide.head_bytes = OUT_MAX;
    wide.fields = FM_HTTP_FIELDS_MAX;
    for (int trusted = 0; trusted < 2; trusted++) {
        struct fm_buf out = fm_buf(mem, sizeof mem);
        struct fm_forward f = {.client_ip = FM_STR("192.0.2.7"),
                               .client_is_trusted = trusted,
                               .from_edge = trusted,
                               .ref = FM_STR("0123abcd-00000000001"),
                               .deadline = true};
        struct fm_forward_at at;
        fm_heads_request(&out, h, &f, &at);
        HOLDS(!out.full, "%zu bytes", out.n);
        fm_heads_set_deadline(out.p + at.deadline, 1);
        if (h->host.n == 0)
            return; /* HTTP/1.0 without a host: an empty Host is refused here */
        struct fm_http_scan scan = {0};
        struct fm_http_head g;
        struct fm_http_refusal why = {0, ""};
        HOLDS(fm_http_parse_request(&scan, out.p, out.n, &wide, field, &g, &why) == FM_PARSE_DONE,
              "%s in:\n%.*s", why.why, (int)out.n, out.p);
        HOLDS(g.size == out.n, "%zu of %zu bytes", g.size, out.n);
        HOLDS(g.framing == h->framing && g.length == h->length, "framing");
        HOLDS(fm_str_eq(g.method_name, h->method_name), "method");
        HOLDS(fm_str_eq(g.path, h->path) && fm_str_eq(g.query, h->query), "target");
        HOLDS(fm_str_eq(g.host, h->host), "host");
        HOLDS(g.upgrade == h->upgrade, "upgrade");
        HOLDS(!fm_http_has(&g, FM_HDR_EXPECT) && !fm_http_has(&g, FM_HDR_TE), "hop by hop");
        head_is_clean(&g);
    }
}

static void first_head(const char *p, size_t n)
{
    static struct fm_http_field field[FM_HTTP_FIELDS_MAX];
    struct fm_http_scan scan = {0};
    struct fm_http_head h;
    struct fm_http_refusal why = {0, NULL};
    switch (fm_http_parse_request(&scan, p, n, &limits, field, &h, &why)) {
    case FM_PARSE_DONE:
        HOLDS(h.size <= n && h.size <= limits.head_bytes, "size %zu", h.size);
        head_is_clean(&h);
        forwards_the_same(&h);
        break;
    case FM_PARSE_BAD:
        HOLDS(why.status >= 400 && why.status < 600 && why.why, "status %u", why.status);
        break;
    case FM_PARSE_MORE:
        break;
    }
}

static void same(const struct fm_verdict *a, const struct fm_verdict *b, bool content,
                 const char *how, size_t cut)
{
    HOLDS(fm_verdict_eq(a, b, content), "%s at %zu: %u (%s) after %u, whole %u (%s) after %u", how,
          cut, b->status, b->why ? b->why : "", b->requests, a->status, a->why ? a->why : "",
          a->requests);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A line that is wrong may be refused before it ends, and must be when it ends: end it */
    size_t n = size + 1, cut = fuzz_cut(data, size, n);
    char *p = malloc(n);
    if (!p)
        abort();
    memcpy(p, data, size);
    p[size] = '\n';
    struct fm_str bytes = fm_str(p, n);
    struct fm_verdict whole = fm_verdict_of(bytes, NULL, 0, FM_VERDICT_DECODED, &limits);
    struct fm_verdict raw = fm_verdict_of(bytes, NULL, 0, FM_VERDICT_RAW, &limits);
    same(&whole, &raw, false, "raw", 0);
    if (cut) {
        struct fm_verdict split = fm_verdict_of(bytes, &cut, 1, FM_VERDICT_DECODED, &limits);
        same(&whole, &split, true, "cut", cut);
        split = fm_verdict_of(bytes, &cut, 1, FM_VERDICT_RAW, &limits);
        same(&whole, &split, false, "raw, cut", cut);
    }
    if (n <= BYTEWISE_MAX) {
        struct fm_verdict split = fm_verdict_bytewise(bytes, FM_VERDICT_DECODED, &limits);
        same(&whole, &split, true, "byte by byte", 0);
    }
    first_head(p, n);
    free(p);
    return 0;
}
