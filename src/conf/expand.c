/* {host} and {region} in addresses and paths. Only these two; a `{` of anything else is an error
 * while reading (fm_decode_expand), so that fm_conf_expand meets none. */
#include "conf/decode.h"

#include "base/assert.h"
#include "base/buf.h"

/* The placeholder at the beginning of s: its length, and what it stands for. */
static size_t placeholder(struct fm_str s, struct fm_str host, struct fm_str region,
                          struct fm_str *put)
{
    FM_ASSERT(s.n > 0);
    if (fm_str_starts(s, FM_STR("{host}"))) {
        *put = host;
        return 6;
    }
    if (fm_str_starts(s, FM_STR("{region}"))) {
        *put = region;
        return 8;
    }
    *put = fm_str(s.p, 1);
    return 1;
}

static void expand(struct fm_str text, struct fm_str host, struct fm_str region, struct fm_buf *out)
{
    while (text.n) {
        struct fm_str put;
        size_t used = placeholder(text, host, region, &put);
        FM_ASSERT(used > 0 && used <= text.n);
        fm_buf_str_add(out, put);
        text = fm_str(text.p + used, text.n - used);
    }
}

bool fm_decode_expand(struct fm_load *l, struct fm_str text, struct fm_str *out, struct fm_fault *f)
{
    enum { LONGEST = 4096 };
    char mem[LONGEST];
    bool any = false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] != '{')
            continue;
        struct fm_str put;
        if (placeholder(fm_str(text.p + i, text.n - i), l->host, l->region, &put) == 1) {
            fm_fault(f, "`%s` has a `{` that is neither {host} nor {region}", FM_Q(text));
            return fm_fault_advice(f, "only these two expand");
        }
        if (put.n == 0)
            return fm_fault(f, "{%s} stands for nothing here",
                            text.p[i + 1] == 'h' ? "host" : "region");
        any = true;
    }
    FM_ASSERT(text.p);
    *out = text;
    if (!any)
        return true;
    struct fm_buf b = fm_buf(mem, sizeof mem);
    expand(text, l->host, l->region, &b);
    if (b.full)
        return fm_fault(f, "it is longer than %d bytes", LONGEST);
    *out = fm_load_str(l, fm_buf_str(&b));
    return out->p || fm_fault_memory(f);
}

enum fm_err fm_conf_expand(struct fm_str text, struct fm_str host, struct fm_str region, char *out,
                           size_t cap)
{
    struct fm_buf b = fm_buf(out, cap);
    expand(text, host, region, &b);
    fm_buf_ch(&b, '\0');
    FM_ASSERT(b.full || b.p[b.n - 1] == '\0');
    return b.full ? FM_ERR_LIMIT : FM_ERR_OK;
}
