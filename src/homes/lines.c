/* Lines of pin lists and directories: see homes/tenants.h for what they look like. What is accepted
 * has one meaning; what a spreadsheet or a hand may have meant otherwise is refused. */
#include "homes/lines.h"

#include "base/assert.h"
#include "base/buf.h"
#include "conf/report.h"
#include "conf/source.h"

#include <stdarg.h>

struct parser {
    const struct fm_tenants_spec *spec;
    struct fm_conf_report *report;
    struct fm_str text;
    uint32_t number;
};

static bool wrong(struct parser *p, size_t at, const char *fmt, ...) FM_PRINTF(3, 4);

static bool report_wrong(const struct parser *p, size_t at, const char *fmt, va_list ap)
    FM_PRINTF(3, 0);

static bool report_wrong(const struct parser *p, size_t at, const char *fmt, va_list ap)
{
    char what[512];
    struct fm_buf b = fm_buf(what, sizeof what - 1);
    fm_buf_vprintf(&b, fmt, ap);
    what[b.n] = 0;
    uint32_t shown = (uint32_t)fm_min_size(p->text.n, FM_TENANTS_LINE_MAX);
    struct fm_str line = fm_str(p->text.p, shown);
    fm_report_error(p->report,
                    (struct fm_conf_pos){p->spec->path, p->number, fm_source_col(line, at)}, "%s",
                    what);
    fm_report_source(p->report, line);
    return false;
}

static bool wrong(struct parser *p, size_t at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    report_wrong(p, at, fmt, ap);
    va_end(ap);
    return false;
}

void fm_tenants_line_error(const struct fm_tenants_spec *spec, struct fm_conf_report *report,
                           struct fm_str text, uint32_t number, size_t at, const char *fmt, ...)
{
    struct parser p = {spec, report, text, number};
    va_list ap;
    va_start(ap, fmt);
    report_wrong(&p, at, fmt, ap);
    va_end(ap);
}

/* UTF-8 without control characters. */
static bool check_text(struct parser *p)
{
    for (size_t i = 0; i < p->text.n;) {
        unsigned char c = (unsigned char)p->text.p[i];
        if (c >= 0x20 && c < 0x7f) {
            i++;
            continue;
        }
        uint32_t cp = 0;
        size_t len = fm_str_utf8(fm_str(p->text.p + i, p->text.n - i), &cp);
        if (len == 0 || cp < 0xa0) {
            if (len == 0)
                wrong(p, i, "byte 0x%02x is not UTF-8", c);
            else
                wrong(p, i, "the control character U+%04X has no place here", (unsigned)cp);
            fm_report_source(p->report, fm_str(p->text.p, i)); /* what can be shown */
            return false;
        }
        i += len;
    }
    return true;
}

/* A field in quotes, from its first quote at *at on; *at is behind its last one afterwards. */
static bool quoted(struct parser *p, size_t *at, struct fm_buf *mem, struct fm_str *out)
{
    size_t open = *at, start = mem->n;
    for (size_t i = open + 1; i < p->text.n; i++) {
        if (p->text.p[i] == '"') {
            if (i + 1 == p->text.n || p->text.p[i + 1] != '"') {
                *out = fm_str(mem->p + start, mem->n - start);
                *at = i + 1;
                return true;
            }
            i++; /* two of them are one */
        }
        fm_buf_ch(mem, p->text.p[i]);
    }
    return wrong(p, open, "this quote is not closed on its line");
}

static bool plain(struct parser *p, size_t *at, const char *what, struct fm_str *out)
{
    size_t start = *at, end = start;
    while (end < p->text.n && p->text.p[end] != ',')
        end++;
    *out = fm_str(p->text.p + start, end - start);
    *at = end;
    const char *quote = out->n ? memchr(out->p, '"', out->n) : NULL;
    if (quote) {
        wrong(p, start + (size_t)(quote - out->p), "a quote inside the %s", what);
        fm_report_advice(p->report, "put all of it in quotes, and each quote in it twice");
        return false;
    }
    if (out->n != fm_str_trim(*out).n) {
        wrong(p, start, "blanks around the %s", what);
        fm_report_advice(p->report, "remove them, or put it in quotes if they belong to it");
        return false;
    }
    return true;
}

static bool field(struct parser *p, size_t *at, const char *what, struct fm_buf *mem,
                  struct fm_str *out)
{
    size_t start = *at;
    *out = (struct fm_str){NULL, 0};
    if (start < p->text.n && p->text.p[start] == '"') {
        if (!quoted(p, at, mem, out))
            return false;
        if (*at < p->text.n && p->text.p[*at] != ',')
            return wrong(p, *at, "expected a comma or the end behind the quotes");
    } else if (!plain(p, at, what, out)) {
        return false;
    }
    return out->n ? true : wrong(p, start, "the %s is empty", what);
}

static void list_regions(const struct parser *p)
{
    char names[256];
    struct fm_buf b = fm_buf(names, sizeof names - 1);
    for (unsigned i = 0; i < p->spec->nregions; i++) {
        if (i)
            fm_buf_lit(&b, ", ");
        fm_buf_str_add(&b, p->spec->regions[i]);
    }
    names[b.n] = 0;
    fm_report_advice(p->report, "the regions are %s", names);
}

static bool region_cell(struct parser *p, size_t at, struct fm_str name, uint64_t hash,
                        uint32_t *cell)
{
    const struct fm_tenants_spec *spec = p->spec;
    for (unsigned r = 0; r < spec->nregions; r++) {
        if (!fm_str_eq(spec->regions[r], name))
            continue;
        if (fm_cell_at_home(hash, spec->home, spec->cells, r, cell))
            return true;
        return wrong(p, at, "no cell of this context has its home in `%s`", FM_Q(name));
    }
    wrong(p, at, "there is no region `%s`", FM_Q(name));
    if (p->number == 1 && (fm_str_eqz(name, "cell") || fm_str_eqz(name, "region")))
        fm_report_advice(p->report, "the file has no headline: delete this line");
    else
        list_regions(p);
    return false;
}

static bool place(struct parser *p, size_t at, struct fm_str text, uint64_t hash, uint32_t *cell)
{
    uint64_t number;
    FM_ASSERT(text.p && text.n > 0);
    if (text.p[0] < '0' || text.p[0] > '9')
        return region_cell(p, at, text, hash, cell);
    if (!fm_str_u64(text, &number))
        return wrong(p, at, "`%s` is neither the number of a cell nor a region", FM_Q(text));
    if (number >= p->spec->cells)
        return wrong(p, at, "there is no cell %s: this context has %u, from 0", FM_Q(text),
                     p->spec->cells);
    *cell = (uint32_t)number;
    return true;
}

bool fm_tenants_line_parse(const struct fm_tenants_spec *spec, struct fm_str text, uint32_t number,
                           struct fm_tenants_line *out, struct fm_conf_report *report)
{
    struct parser p = {spec, report, text, number};
    struct fm_buf mem = fm_buf(out->mem, sizeof out->mem);
    FM_ASSERT(text.n <= sizeof out->mem);
    if (text.n == 0) {
        wrong(&p, 0, "the line is empty");
        fm_report_advice(report, "delete it");
        return false;
    }
    if (!check_text(&p))
        return false;
    size_t at = 0;
    struct fm_str where;
    if (!field(&p, &at, "key", &mem, &out->key))
        return false;
    if (out->key.n > FM_DIRECTORY_KEY_MAX)
        return wrong(&p, 0, "the key has %zu bytes; %d at most", out->key.n, FM_DIRECTORY_KEY_MAX);
    if (at == text.n)
        return wrong(&p, at, "expected a comma and a cell or a region");
    size_t second = ++at;
    if (!field(&p, &at, "cell or region", &mem, &where))
        return false;
    if (at < text.n)
        return wrong(&p, at, "more than a key and a cell or region");
    FM_ASSERT(!mem.full);
    out->hash = fm_cell_hash(out->key);
    return place(&p, second, where, out->hash, &out->cell);
}
