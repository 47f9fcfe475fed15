/* One answer of a server: the first byte chooses the method of the request, the rest arrives whole
 * or cut in two. Promises: the same verdict and the same end, decoded or raw; and what a proxy
 * makes of the head is a head with the same meaning. */
#include "fuzz.h"

#include "http/parse.h"
#include "proxy/heads.h"

enum { OUT_MAX = 64 * 1024 };

static const struct fm_http_limits limits = {.head_bytes = 8 * 1024,
                                             .fields = 30,
                                             .body_bytes = UINT64_MAX,
                                             .ext_bytes = 64,
                                             .trailer_bytes = 256};

/* How an answer ended. */
struct end {
    enum { NEEDS_MORE, BAD_HEAD, BAD_BODY, WHOLE, UNTIL_CLOSE } kind;
    size_t at;
};

static struct fm_http_field field[FM_HTTP_FIELDS_MAX];
static struct fm_http_head head;

static struct end read_answer(const char *p, size_t cut, size_t n, enum fm_http_method method,
                              bool raw)
{
    struct fm_http_scan scan = {0};
    struct fm_http_refusal why = {0, NULL};
    size_t have = cut ? cut : n, at;
    enum fm_http_parse r;
    while ((r = fm_http_parse_response(&scan, p, have, method, &limits, field, &head, &why)) ==
               FM_PARSE_MORE &&
           have < n)
        have = n;
    if (r == FM_PARSE_BAD)
        HOLDS(why.status == 502 && why.why, "status %u", why.status);
    if (r != FM_PARSE_DONE)
        return (struct end){r == FM_PARSE_BAD ? BAD_HEAD : NEEDS_MORE, 0};
    at = head.size;
    struct fm_http_body b;
    fm_http_body_init(&b, head.framing, head.length, &limits);
    while (!fm_http_body_is_done(&b)) {
        size_t used;
        struct fm_str data, rest = fm_str(p + at, have - at);
        enum fm_http_body_step s = raw ? fm_http_body_skip(&b, rest, &used, &why)
                                       : fm_http_body_step(&b, rest, &used, &data, &why);
        HOLDS(used <= rest.n, "%zu of %zu", used, rest.n);
        at += used;
        if (s == FM_BODY_STEP_BAD)
            return (struct end){BAD_BODY, at};
        if (s != FM_BODY_STEP_MORE)
            continue;
        if (have == n)
            return (struct end){head.framing == FM_BODY_CLOSE ? UNTIL_CLOSE : NEEDS_MORE, at};
        have = n;
    }
    return (struct end){WHOLE, at};
}

static void forwards_the_same(enum fm_http_method method)
{
    static char mem[OUT_MAX];
    static struct fm_http_field again_field[FM_HTTP_FIELDS_MAX];
    struct fm_http_limits wide = limits;
    wide.head_bytes = OUT_MAX;
    wide.fields = FM_HTTP_FIELDS_MAX;
    struct fm_buf out = fm_buf(mem, sizeof mem);
    struct fm_answer a = {.ref = FM_STR("0123abcd-00000000001"), .region = FM_STR("west")};
    fm_heads_answer(&out, &head, &a);
    HOLDS(!out.full, "%zu bytes", out.n);
    struct fm_http_scan scan = {0};
    struct fm_http_head g;
    struct fm_http_refusal why = {0, ""};
    HOLDS(fm_http_parse_response(&scan, out.p, out.n, method, &wide, again_field, &g, &why) ==
              FM_PARSE_DONE,
          "%s in:\n%.*s", why.why, (int)out.n, out.p);
    HOLDS(g.size == out.n && g.status == head.status && g.framing == head.framing,
          "another answer");
    HOLDS(g.framing != FM_BODY_LENGTH || g.length == head.length, "another length");
    HOLDS(fm_str_eq(fm_http_value(&g, FM_HDR_FULMAR_REGION), FM_STR("west")), "region");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    enum fm_http_method method = data[0] % FM_METHOD_COUNT;
    /* as for requests: let the last line end */
    size_t n = size, cut = fuzz_cut(data, size, n);
    char *p = malloc(n);
    if (!p)
        abort();
    memcpy(p, data + 1, n - 1);
    p[n - 1] = '\n';
    struct end whole = read_answer(p, 0, n, method, false);
    struct end raw = read_answer(p, 0, n, method, true);
    /* decoded content is given before an error behind it is seen: only its place may differ */
    HOLDS(whole.kind == raw.kind && (whole.kind == BAD_BODY || whole.at == raw.at),
          "%d at %zu raw, %d at %zu decoded", raw.kind, raw.at, whole.kind, whole.at);
    for (int i = 0; cut && i < 2; i++) {
        struct end split = read_answer(p, cut, n, method, i == 1);
        HOLDS(whole.kind == split.kind && (whole.kind == BAD_BODY || whole.at == split.at),
              "%d at %zu cut at %zu, %d at %zu whole", split.kind, split.at, cut, whole.kind,
              whole.at);
    }
    if (whole.kind != NEEDS_MORE && whole.kind != BAD_HEAD)
        forwards_the_same(method);
    free(p);
    return 0;
}
