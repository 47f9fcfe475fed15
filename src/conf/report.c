/* The report: see the headers. Keeps the invariant that a finding's texts live in the report's own
 * arena, so that it outlives the configuration. It does not decide what is an error. */
#include "conf/report.h"

#include "base/assert.h"
#include "base/buf.h"
#include "conf/source.h"

#include <stdarg.h>
#include <stdio.h>

enum { REPORT_BYTES_MAX = 4 << 20, WHAT_MAX = 1024 };

void fm_conf_report_init(struct fm_conf_report *r)
{
    *r = (struct fm_conf_report){.last = FM_CONF_FINDINGS_MAX};
    fm_arena_init(&r->arena, NULL, 0, REPORT_BYTES_MAX);
}

void fm_conf_report_deinit(struct fm_conf_report *r)
{
    fm_arena_deinit(&r->arena);
    *r = (struct fm_conf_report){0};
}

struct fm_quoted fm_quoted(struct fm_str text)
{
    enum { CUT = 80 };
    struct fm_quoted q;
    size_t n = 0;
    bool cut = text.n > CUT;
    size_t use = cut ? CUT : text.n;
    while (cut && use && ((unsigned char)text.p[use] & 0xc0) == 0x80)
        use--; /* not in the middle of a character */
    for (size_t i = 0; i < use; i++) {
        unsigned char c = (unsigned char)text.p[i];
        q.s[n++] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
    }
    FM_ASSERT(n + 4 <= sizeof q.s);
    memcpy(q.s + n, cut ? "..." : "", cut ? 4 : 1);
    return q;
}

size_t fm_report_begin(struct fm_conf_report *r)
{
    r->first = r->n;
    return r->first;
}

static bool same_place(struct fm_conf_pos a, struct fm_conf_pos b)
{
    return a.line == b.line && a.col == b.col && strcmp(a.file, b.file) == 0;
}

static const struct fm_conf_finding *find(const struct fm_conf_report *r, struct fm_conf_pos pos,
                                          const char *what)
{
    for (size_t i = r->first; i < r->n; i++)
        if (same_place(r->finding[i].pos, pos) && strcmp(r->finding[i].what, what) == 0)
            return &r->finding[i];
    return NULL;
}

/* The report's own copy of a file name; the same copy for all findings of a file. */
static const char *own_file(struct fm_conf_report *r, const char *file)
{
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->finding[i].pos.file, file) == 0)
            return r->finding[i].pos.file;
    const char *copy = fm_arena_str(&r->arena, fm_str_z(file)).p;
    return copy ? copy : "";
}

static void add(struct fm_conf_report *r, enum fm_conf_severity severity, struct fm_conf_pos pos,
                const char *fmt, va_list ap) FM_PRINTF(4, 0);

static void add(struct fm_conf_report *r, enum fm_conf_severity severity, struct fm_conf_pos pos,
                const char *fmt, va_list ap)
{
    char what[WHAT_MAX];
    FM_ASSERT(r->n <= FM_CONF_FINDINGS_MAX && r->n <= r->errors + r->warnings);
    r->last = FM_CONF_FINDINGS_MAX;
    if (r->n < FM_CONF_FINDINGS_MAX) {
        vsnprintf(what, sizeof what, fmt, ap);
        pos.file = pos.file ? own_file(r, pos.file) : "";
        if (find(r, pos, what))
            return;
        const char *copy = fm_arena_str(&r->arena, fm_str_z(what)).p;
        r->finding[r->n] = (struct fm_conf_finding){
            .severity = severity, .pos = pos, .what = copy ? copy : "out of memory"};
        r->last = r->n++;
        FM_ASSERT(r->finding[r->last].what && r->finding[r->last].pos.file);
    }
    if (severity == FM_CONF_ERROR)
        r->errors++;
    else
        r->warnings++;
}

void fm_report_error(struct fm_conf_report *r, struct fm_conf_pos pos, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(r, FM_CONF_ERROR, pos, fmt, ap);
    va_end(ap);
}

void fm_report_warning(struct fm_conf_report *r, struct fm_conf_pos pos, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(r, FM_CONF_WARNING, pos, fmt, ap);
    va_end(ap);
}

void fm_report_advice(struct fm_conf_report *r, const char *fmt, ...)
{
    FM_ASSERT(r->last == FM_CONF_FINDINGS_MAX || r->last + 1 == r->n);
    if (r->last >= r->n)
        return;
    char text[WHAT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (text[0])
        r->finding[r->last].advice = fm_arena_str(&r->arena, fm_str_z(text)).p;
}

void fm_report_source(struct fm_conf_report *r, struct fm_str line)
{
    size_t n = 0;
    while (n < line.n && (line.p[n] == '\t' || (unsigned char)line.p[n] >= ' '))
        n++; /* a terminal would obey what is behind */
    if (r->last < r->n)
        r->finding[r->last].source = fm_arena_str(&r->arena, fm_str(line.p, n)).p;
}

/* Is a before b, by file in the order of reading, then line and column? */
static bool before(const struct fm_source *sources, const struct fm_conf_pos *a,
                   const struct fm_conf_pos *b)
{
    size_t fa = fm_source_rank(sources, a->file), fb = fm_source_rank(sources, b->file);
    if (fa != fb)
        return fa < fb;
    return a->line != b->line ? a->line < b->line : a->col < b->col;
}

static void sort(struct fm_conf_finding *f, size_t n, const struct fm_source *sources)
{
    for (size_t i = 1; i < n; i++) { /* stable, and there are at most a hundred */
        struct fm_conf_finding x = f[i];
        size_t at = i;
        for (; at > 0 && before(sources, &x.pos, &f[at - 1].pos); at--)
            f[at] = f[at - 1];
        f[at] = x;
    }
}

void fm_report_finish(struct fm_conf_report *r, size_t first, const struct fm_source *sources)
{
    FM_ASSERT(first == r->first && first <= r->n && r->n <= FM_CONF_FINDINGS_MAX);
    sort(r->finding + first, r->n - first, sources);
    r->last = FM_CONF_FINDINGS_MAX;
    for (size_t i = first; i < r->n; i++) {
        struct fm_conf_finding *f = &r->finding[i];
        struct fm_str line = fm_source_line(fm_source_find(sources, f->pos.file), f->pos.line);
        if (line.p)
            f->source = fm_arena_str(&r->arena, line).p;
    }
}

/* The line with a caret under the column; nothing for lines too long for a terminal. */
static void print_source(const struct fm_conf_finding *f, struct fm_buf *out)
{
    enum { WIDTH = 200 };
    if (!f->source || strlen(f->source) > WIDTH || f->pos.col > WIDTH)
        return;
    fm_buf_printf(out, "%6u | ", f->pos.line);
    for (const char *p = f->source; *p; p++)
        fm_buf_ch(out, *p == '\t' ? ' ' : *p);
    fm_buf_printf(out, "\n       | %*s\n", (int)f->pos.col, "^");
}

void fm_conf_report_print(const struct fm_conf_report *r, struct fm_buf *out)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct fm_conf_finding *f = &r->finding[i];
        if (f->pos.file[0])
            fm_buf_printf(out, "%s:", f->pos.file);
        if (f->pos.line)
            fm_buf_printf(out, "%u:%u:", f->pos.line, f->pos.col);
        fm_buf_printf(out, "%s%s: %s\n", f->pos.file[0] ? " " : "",
                      f->severity == FM_CONF_ERROR ? "error" : "warning", f->what);
        print_source(f, out);
        if (f->advice)
            fm_buf_printf(out, "       = %s\n", f->advice);
    }
    size_t all = r->errors + r->warnings;
    FM_ASSERT(r->n <= all);
    if (all > r->n)
        fm_buf_printf(out, "(%zu more are not shown)\n", all - r->n);
    if (all)
        fm_buf_printf(out, "%zu error%s, %zu warning%s\n", r->errors, r->errors == 1 ? "" : "s",
                      r->warnings, r->warnings == 1 ? "" : "s");
}
