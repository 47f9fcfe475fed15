/* Words of a line: see the header. */
#include "trace/text.h"

#include "base/assert.h"

static uint64_t get(const struct fm_trace_field *f, const void *from)
{
    const char *p = (const char *)from + f->at;
    uint8_t b;
    uint16_t h;
    uint32_t w;
    uint64_t q;
    switch (f->size) {
    case sizeof b:
        memcpy(&b, p, sizeof b);
        return b;
    case sizeof h:
        memcpy(&h, p, sizeof h);
        return h;
    case sizeof w:
        memcpy(&w, p, sizeof w);
        return w;
    default:
        FM_ASSERT(f->size == sizeof q);
        memcpy(&q, p, sizeof q);
        return q;
    }
}

static bool set(const struct fm_trace_field *f, uint64_t v, void *to)
{
    char *p = (char *)to + f->at;
    uint8_t b = (uint8_t)v;
    uint16_t h = (uint16_t)v;
    uint32_t w = (uint32_t)v;
    if (f->size < sizeof v && v >> (8 * f->size))
        return false;
    if (f->size == sizeof b)
        memcpy(p, &b, sizeof b);
    else if (f->size == sizeof h)
        memcpy(p, &h, sizeof h);
    else if (f->size == sizeof w)
        memcpy(p, &w, sizeof w);
    else
        memcpy(p, &v, sizeof v);
    return true;
}

void fm_trace_put(struct fm_buf *out, const struct fm_trace_field *f, unsigned n, const void *from)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t v = get(&f[i], from);
        if (v)
            fm_buf_printf(out, " %s=%llu", f[i].name, (unsigned long long)v);
    }
}

void fm_trace_put_list(struct fm_buf *out, const struct fm_trace_field *f, unsigned n,
                       const void *from)
{
    FM_ASSERT(n > 0 && n <= FM_TRACE_NUMBERS_MAX);
    for (unsigned i = 0; i < n; i++)
        fm_buf_printf(out, i ? ",%llu" : "%llu", (unsigned long long)get(&f[i], from));
}

bool fm_trace_next(struct fm_str *line, struct fm_trace_word *w)
{
    struct fm_str word, rest = {NULL, 0}, value, number;
    if (line->n < 2 || line->p[0] != ' ')
        return false;
    word = fm_str_cut(fm_str(line->p + 1, line->n - 1), ' ', &rest);
    w->name = fm_str_cut(word, '=', &value);
    w->n = 0;
    if (!w->name.n || !value.n)
        return false;
    while (value.p) {
        number = fm_str_cut(value, ',', &value);
        if (w->n == FM_TRACE_NUMBERS_MAX || !fm_str_u64(number, &w->of[w->n++]))
            return false;
    }
    size_t used = 1 + word.n;
    *line = fm_str(line->p + used, line->n - used);
    return true;
}

bool fm_trace_take(const struct fm_trace_word *w, const struct fm_trace_field *f, unsigned n,
                   void *to)
{
    for (unsigned i = 0; i < n; i++)
        if (fm_str_eqz(w->name, f[i].name))
            return w->n == 1 && set(&f[i], w->of[0], to);
    return false;
}

bool fm_trace_take_list(const uint64_t *of, const struct fm_trace_field *f, unsigned n, void *to)
{
    bool good = true;
    for (unsigned i = 0; i < n; i++)
        good &= set(&f[i], of[i], to);
    return good;
}
