/* The table as the reference page, docs/reference/configuration.md. Only the introduction is
 * written by hand, below; everything that a row says comes from the row. */
#include "conf/scalar.h"
#include "conf/schema.h"

#include "base/assert.h"
#include "base/buf.h"

static const char introduction[] =
    "# Configuration reference\n"
    "\n"
    "<!-- Made from the schema table in src/conf; do not edit. -->\n"
    "\n"
    "All of Fulmar is configured by one file, `fulmar.yaml`, the same on every host. This page "
    "lists every key that\nthis version accepts. A key that is not here is an error.\n"
    "\n"
    "The smallest file that is useful:\n"
    "\n"
    "```yaml\n"
    "fulmar: 1\n"
    "service: shop\n"
    "edge: {listen: [{address: \"0.0.0.0:80\"}]}\n"
    "regions: {west: {apps: [\"10.0.1.10:8080\"]}, north: {apps: [\"10.0.2.10:8080\"]}}\n"
    "contexts: {shop: {topology: multi-write, routes: [\"/**\"]}}\n"
    "```\n"
    "\n"
    "## Rules\n"
    "\n"
    "- Strict YAML in UTF-8: one document, no anchors, aliases, tags, directives or merge keys, no "
    "key twice, no text\n  without quotes over several lines. `true` and `false` are the only "
    "booleans.\n"
    "- Quote what begins with `[`, `{` or `*`, and any `{name}` or `name-[1-3]` inside of braces "
    "and brackets.\n"
    "- The unit is in the value: `2s`, `64KiB`, `20%`, `1KiB/s`.\n"
    "- `{host}` and `{region}` expand in addresses and paths. Relative paths begin at the file in "
    "which they stand.\n"
    "- `include` joins files to one: maps are joined, and a key that is set in two files is an "
    "error. Files may include\n  each other 4 deep, 256 files and 16MiB in all, 4MiB each.\n"
    "- All errors are told in one run, each with file, line and column. Only an error of YAML "
    "itself hides what stands\n  behind it.\n"
    "- *On reload* says what a running process does with a changed value: `yes`, it takes it over; "
    "`restart`, it says so\n  and goes on with the old one; `never`, it refuses the file; "
    "`shared`, an agent keeps what is\n  agreed and says so: hosts agree through coordination, "
    "and `fulmar config apply` changes it for all of them, after\n  the new file was brought to "
    "each. Where no context has cells there is nothing to agree upon: what is `shared` of\n  hosts "
    "takes effect at a restart.\n"
    "\n";

enum { SECTIONS_MAX = 80 };

struct pages {
    const struct fm_schema_section *seen[SECTIONS_MAX];
    size_t n;
    struct fm_buf *out;
};

/* In a cell of a table a `|` would end it. */
static void cell(struct fm_buf *b, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            fm_buf_ch(b, '\\');
        fm_buf_ch(b, *text);
    }
}

static void range(struct fm_buf *b, const struct fm_schema_row *row)
{
    unsigned long long min = row->min, max = row->max;
    FM_ASSERT(min <= max);
    if (row->kind == FM_KIND_DURATION)
        fm_buf_printf(b, ", `%s` to `%s`", fm_scalar_duration_text((int64_t)min).s,
                      fm_scalar_duration_text((int64_t)max).s);
    else if (row->kind == FM_KIND_SIZE || row->kind == FM_KIND_RATE)
        fm_buf_printf(b, ", `%s%s` to `%s%s`", fm_scalar_size_text(min).s,
                      row->kind == FM_KIND_RATE ? "/s" : "", fm_scalar_size_text(max).s,
                      row->kind == FM_KIND_RATE ? "/s" : "");
    else if (row->kind == FM_KIND_TEXT)
        fm_buf_printf(b, " of %llu to %llu bytes", min, max);
    else if (row->kind == FM_KIND_UINT && min == max)
        fm_buf_printf(b, " `%llu`", min);
    else if (row->kind == FM_KIND_UINT)
        fm_buf_printf(b, ", %llu to %llu", min, max);
}

static void words(struct fm_buf *b, const struct fm_schema_row *row)
{
    const char *join = "";
    for (size_t i = 0; i < row->nwords; i++) {
        if (row->words[i].later)
            continue;
        fm_buf_printf(b, "%s`%s`", join, row->words[i].name);
        join = ", ";
    }
}

/* What one may write for the row. */
static void value(struct fm_buf *b, const struct fm_schema_row *row)
{
    switch ((int)row->kind) {
    case FM_KIND_WORD:
        words(b, row);
        return;
    case FM_KIND_SECTION:
        fm_buf_printf(b, "map, see `%s`", row->section->title);
        return;
    case FM_KIND_NAMED:
        fm_buf_printf(b, "map of up to %llu names: ", (unsigned long long)row->max);
        value(b, row->item);
        return;
    case FM_KIND_LIST:
        fm_buf_printf(b, "list of up to %llu: ",
                      (unsigned long long)(row->max ? row->max : FM_CONF_LIST_MAX));
        value(b, row->item);
        return;
    case FM_KIND_EITHER:
        for (size_t i = 0; i < row->nitem; i++) {
            fm_buf_str_add(b, fm_str_z(i ? "; or " : ""));
            value(b, &row->item[i]);
        }
        return;
    default:
        fm_buf_str_add(b, fm_str_z(fm_kind_info(row->kind)->title));
        if (row->max)
            range(b, row);
        return;
    }
}

static void default_value(struct fm_buf *b, const struct fm_schema_row *row)
{
    if (row->flags & FM_ROW_REQUIRED)
        fm_buf_lit(b, "**required**");
    else if (row->flags & FM_ROW_INHERITS)
        fm_buf_lit(b, "inherited");
    else if (row->def && row->def_note)
        fm_buf_printf(b, "`%s`; %s", row->def, row->def_note);
    else if (row->def)
        fm_buf_printf(b, "`%s`", row->def);
    else if (row->def_note)
        fm_buf_str_add(b, fm_str_z(row->def_note));
}

/* The words of the row with what they mean, as the end of the cell. */
static void meanings(struct fm_buf *b, const struct fm_schema_row *row)
{
    const struct fm_schema_row *has = row->nwords ? row : row->nitem ? &row->item[0] : row;
    for (size_t i = 0; i < has->nwords; i++)
        if (!has->words[i].later)
            fm_buf_printf(b, " `%s`: %s.", has->words[i].name, has->words[i].help);
}

static void table(struct fm_buf *b, const struct fm_schema_section *s)
{
    static const char *const reload[] = {"yes", "restart", "never", "shared"};
    fm_buf_lit(b, "| Key | Value | Default | On reload | Meaning |\n|---|---|---|---|---|\n");
    for (size_t i = 0; i < s->n; i++) {
        const struct fm_schema_row *row = &s->rows[i];
        if (row->kind == FM_KIND_LATER)
            continue;
        fm_buf_printf(b, "| `%s` | ", row->name);
        value(b, row);
        fm_buf_lit(b, " | ");
        default_value(b, row);
        bool map = row->section && row->reload == FM_RELOAD_LIVE;
        fm_buf_printf(b, " | %s | ", map ? "see there" : reload[row->reload]);
        cell(b, row->help);
        meanings(b, row);
        fm_buf_lit(b, " |\n");
    }
    fm_buf_lit(b, "\n");
}

static void page(struct pages *p, const struct fm_schema_section *s);

static void page_row(struct pages *p, const struct fm_schema_row *row)
{
    if (row->section)
        page(p, row->section);
    for (size_t i = 0; i < row->nitem; i++)
        page_row(p, &row->item[i]);
}

static void page(struct pages *p, const struct fm_schema_section *s)
{
    bool whole = s == &fm_schema_root;
    for (size_t i = 0; i < p->n; i++)
        if (p->seen[i] == s)
            return;
    FM_ASSERT(p->n < SECTIONS_MAX);
    p->seen[p->n++] = s;
    fm_buf_printf(p->out, whole ? "## %s\n\n" : "## `%s`\n\n", s->title);
    if (s->help[0])
        fm_buf_printf(p->out, "%s\n\n", s->help);
    table(p->out, s);
    for (size_t i = 0; i < s->n; i++)
        page_row(p, &s->rows[i]);
}

static void kinds(struct fm_buf *b)
{
    fm_buf_lit(b, "## Values\n\n| Value | How it is written |\n|---|---|\n");
    for (int k = 0; k < FM_KINDS; k++) {
        const struct fm_kind_info *info = fm_kind_info((enum fm_kind)k);
        if (!info->help)
            continue;
        fm_buf_printf(b, "| %s | ", info->title);
        cell(b, info->help);
        fm_buf_lit(b, " |\n");
    }
    fm_buf_lit(b, "\n");
}

enum fm_err fm_conf_reference_md(struct fm_buf *out)
{
    struct pages p = {.n = 0, .out = out};
    fm_buf_add(out, introduction, sizeof introduction - 1);
    kinds(out);
    page(&p, &fm_schema_root);
    while (out->n > 1 && out->p[out->n - 1] == '\n' && out->p[out->n - 2] == '\n')
        out->n--;
    return out->full ? FM_ERR_LIMIT : FM_ERR_OK;
}
