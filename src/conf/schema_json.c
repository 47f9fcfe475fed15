/* The table as a JSON Schema (draft 2020-12), for editors. A section is a definition; a value is
 * described as far as the schema language goes, the rest (ranges of durations, rules among keys) is
 * in words. */
#include "conf/schema.h"

#include "base/assert.h"
#include "base/buf.h"

enum { SECTIONS_MAX = 80 };

struct walk {
    const struct fm_schema_section *seen[SECTIONS_MAX];
    size_t n;
};

static void collect(struct walk *w, const struct fm_schema_section *s);

static void collect_row(struct walk *w, const struct fm_schema_row *row)
{
    if (row->section)
        collect(w, row->section);
    for (size_t i = 0; i < row->nitem; i++)
        collect_row(w, &row->item[i]);
}

static void collect(struct walk *w, const struct fm_schema_section *s)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->seen[i] == s)
            return;
    FM_ASSERT(w->n < SECTIONS_MAX && s->id && s->rows && s->n > 0);
    w->seen[w->n++] = s;
    for (size_t i = 0; i < s->n; i++)
        collect_row(w, &s->rows[i]);
}

static void member(struct fm_buf *b, const char *name, const char *value)
{
    fm_buf_printf(b, ", \"%s\": ", name);
    fm_buf_json(b, fm_str_z(value));
}

static void bounds(struct fm_buf *b, const struct fm_schema_row *row, const char *least,
                   const char *most)
{
    if (row->min)
        fm_buf_printf(b, ", \"%s\": %llu", least, (unsigned long long)row->min);
    if (row->max)
        fm_buf_printf(b, ", \"%s\": %llu", most, (unsigned long long)row->max);
}

static void value(struct fm_buf *b, const struct fm_schema_row *row);

static void words(struct fm_buf *b, const struct fm_schema_row *row)
{
    const char *comma = "";
    FM_ASSERT(row->words && row->nwords > 0);
    fm_buf_lit(b, "\"enum\": [");
    for (size_t i = 0; i < row->nwords; i++) {
        if (row->words[i].later)
            continue;
        fm_buf_printf(b, "%s\"%s\"", comma, row->words[i].name);
        comma = ", ";
    }
    fm_buf_lit(b, "]");
}

static void named(struct fm_buf *b, const struct fm_schema_row *row)
{
    bool ranges = row->flags & FM_ROW_RANGES, parameters = row->flags & FM_ROW_PARAMETERS;
    fm_buf_lit(b, "\"type\": \"object\", \"propertyNames\": {\"pattern\": ");
    fm_buf_json(b, ranges       ? FM_STR("^[a-z]([a-z0-9-]|\\[[0-9]+-[0-9]+\\])*$")
                   : parameters ? FM_STR("^[A-Za-z_][A-Za-z0-9_.]{0,62}$")
                                : fm_str_z(fm_kind_info(FM_KIND_NAME)->pattern));
    fm_buf_lit(b, "}, \"additionalProperties\": {");
    value(b, row->item);
    fm_buf_lit(b, "}");
    bounds(b, row, "minProperties", "maxProperties");
}

static void either(struct fm_buf *b, const struct fm_schema_row *row)
{
    FM_ASSERT(row->nitem > 1);
    fm_buf_lit(b, "\"anyOf\": [");
    for (size_t i = 0; i < row->nitem; i++) {
        fm_buf_printf(b, "%s{", i ? ", " : "");
        value(b, &row->item[i]);
        fm_buf_lit(b, "}");
    }
    fm_buf_lit(b, "]");
}

/* The inside of the object that describes a value of the row. */
static void value(struct fm_buf *b, const struct fm_schema_row *row)
{
    switch ((int)row->kind) {
    case FM_KIND_BOOL:
        fm_buf_lit(b, "\"type\": \"boolean\"");
        return;
    case FM_KIND_UINT:
        fm_buf_lit(b, "\"type\": \"integer\"");
        bounds(b, row, "minimum", "maximum");
        return;
    case FM_KIND_WORD:
        words(b, row);
        return;
    case FM_KIND_TEXT:
        fm_buf_lit(b, "\"type\": \"string\"");
        bounds(b, row, "minLength", "maxLength");
        return;
    case FM_KIND_SECTION:
        fm_buf_printf(b, "\"$ref\": \"#/$defs/%s\"", row->section->id);
        return;
    case FM_KIND_NAMED:
        named(b, row);
        return;
    case FM_KIND_LIST:
        fm_buf_lit(b, "\"type\": \"array\", \"items\": {");
        value(b, row->item);
        fm_buf_lit(b, "}");
        bounds(b, row, "minItems", "maxItems");
        if (row->flags & FM_ROW_UNIQUE)
            fm_buf_lit(b, ", \"uniqueItems\": true");
        return;
    case FM_KIND_EITHER:
        either(b, row);
        return;
    default:
        FM_ASSERT(fm_kind_info(row->kind)->id);
        fm_buf_printf(b, "\"$ref\": \"#/$defs/%s\"", fm_kind_info(row->kind)->id);
        return;
    }
}

static void default_value(struct fm_buf *b, const struct fm_schema_row *row)
{
    fm_buf_lit(b, ", \"default\": ");
    if (row->kind == FM_KIND_UINT || row->kind == FM_KIND_BOOL) {
        fm_buf_str_add(b, fm_str_z(row->def));
    } else if (row->kind == FM_KIND_LIST) {
        struct fm_str rest = fm_str(row->def + 1, strlen(row->def) - 2), one;
        const char *comma = "[";
        for (; fm_str_list_next(&rest, &one); comma = ", ") {
            fm_buf_str_add(b, fm_str_z(comma));
            fm_buf_json(b, one);
        }
        fm_buf_lit(b, "]");
    } else {
        fm_buf_json(b, fm_str_z(row->def));
    }
}

static void required(struct fm_buf *b, const struct fm_schema_section *s)
{
    const char *comma = "";
    fm_buf_lit(b, "\"required\": [");
    for (size_t i = 0; i < s->n; i++) {
        if (!(s->rows[i].flags & FM_ROW_REQUIRED))
            continue;
        fm_buf_printf(b, "%s\"%s\"", comma, s->rows[i].name);
        comma = ", ";
    }
    fm_buf_lit(b, "]");
}

/* The key with which nothing is required, where the section has one. */
static const struct fm_schema_row *alone(const struct fm_schema_section *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->rows[i].flags & FM_ROW_ALONE)
            return &s->rows[i];
    return NULL;
}

static void section(struct fm_buf *b, const struct fm_schema_section *s)
{
    const struct fm_schema_row *single = alone(s);
    const char *comma = "";
    fm_buf_printf(b, "    \"%s\": {\n      \"type\": \"object\"", s->id);
    if (s->help[0])
        member(b, "description", s->help);
    if (s->exactly_one)
        fm_buf_lit(b, ", \"minProperties\": 1, \"maxProperties\": 1");
    fm_buf_lit(b, ",\n      \"additionalProperties\": false, ");
    if (s == &fm_schema_root) /* a file that includes others, and one of them, is not the whole */
        fm_buf_lit(b, "\"if\": {\"required\": [\"fulmar\"], "
                      "\"not\": {\"required\": [\"include\"]}},\n      \"then\": {");
    if (single)
        fm_buf_printf(b,
                      "\"if\": {\"required\": [\"%s\"], \"properties\": {\"%s\": {\"const\": "
                      "true}}},\n      \"else\": {",
                      single->name, single->name);
    required(b, s);
    if (s == &fm_schema_root || single)
        fm_buf_lit(b, "}");
    fm_buf_lit(b, ",\n      \"properties\": {");
    for (size_t i = 0; i < s->n; i++) {
        const struct fm_schema_row *row = &s->rows[i];
        if (row->kind == FM_KIND_LATER)
            continue;
        fm_buf_printf(b, "%s\n        \"%s\": {", comma, row->name);
        value(b, row);
        member(b, "description", row->help);
        if (row->def && !row->def_note)
            default_value(b, row);
        fm_buf_lit(b, "}");
        comma = ",";
    }
    fm_buf_lit(b, "\n      }\n    }");
}

static void kinds(struct fm_buf *b)
{
    for (int k = 0; k < FM_KINDS; k++) {
        const struct fm_kind_info *info = fm_kind_info((enum fm_kind)k);
        if (!info->id || k == FM_KIND_BOOL || k == FM_KIND_UINT || k == FM_KIND_TEXT)
            continue;
        fm_buf_printf(b, "    \"%s\": {\"type\": %s", info->id,
                      k == FM_KIND_SETTING ? "[\"string\", \"number\", \"boolean\"]"
                                           : "\"string\"");
        if (info->pattern)
            member(b, "pattern", info->pattern);
        member(b, "description", info->help);
        fm_buf_lit(b, "},\n");
    }
}

enum fm_err fm_conf_schema_json(struct fm_buf *out)
{
    struct walk w = {.n = 0};
    collect(&w, &fm_schema_root);
    fm_buf_lit(out, "{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"
                    "  \"$id\": \"urn:fulmar:configuration:1\",\n"
                    "  \"title\": \"fulmar.yaml\",\n  \"$ref\": \"#/$defs/fulmar\",\n"
                    "  \"$defs\": {\n");
    kinds(out);
    for (size_t i = 0; i < w.n; i++) {
        section(out, w.seen[i]);
        fm_buf_str_add(out, fm_str_z(i + 1 < w.n ? ",\n" : "\n"));
    }
    fm_buf_lit(out, "  }\n}\n");
    return out->full ? FM_ERR_LIMIT : FM_ERR_OK;
}
