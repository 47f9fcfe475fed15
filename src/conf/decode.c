/* The generic part of decoding: sections, lists, alternatives; single values are in kinds.c. See
 * the header. Keeps the invariant that each key of each map is either in the table or in the
 * report. */
#include "conf/decode.h"

#include "base/assert.h"

#include <stdio.h>

struct fm_subject fm_decode_subject(const struct fm_node *n)
{
    struct fm_subject out;
    if (n->key.p || !n->parent)
        snprintf(out.s, sizeof out.s, "`%s`", FM_Q(n->key));
    else
        snprintf(out.s, sizeof out.s, "an entry of `%s`", FM_Q(n->parent->key));
    return out;
}

struct fm_subject fm_decode_place(const struct fm_node *map)
{
    struct fm_subject out;
    struct fm_node_path path = fm_node_path(map);
    snprintf(out.s, sizeof out.s, path.s[0] ? "`%.120s`" : "the file%s", path.s);
    return out;
}

static const char *kind_name(enum fm_node_kind kind)
{
    return kind == FM_NODE_MAP ? "a map" : kind == FM_NODE_LIST ? "a list" : "a text";
}

/* `{host}` and `[::1]` without quotes are read as a map and a list of one. */
static bool advise_quotes(struct fm_load *l, const struct fm_node *n)
{
    const struct fm_node *one = n->n == 1 ? n->first : NULL;
    if (!one || one->kind != FM_NODE_SCALAR)
        return false;
    if (n->kind == FM_NODE_MAP && fm_node_is_null(one) && one->text.n == 0)
        fm_report_advice(l->report, "quote what begins with `{`: write \"{%s}\"", FM_Q(one->key));
    else if (n->kind == FM_NODE_LIST && memchr(one->text.p, ':', one->text.n))
        fm_report_advice(l->report, "quote what begins with `[`: write \"[%s]\"", FM_Q(one->text));
    else if (n->kind == FM_NODE_LIST)
        fm_report_advice(l->report, "write `%s` without the brackets", FM_Q(one->text));
    else
        return false;
    return true;
}

/* A value of another kind than `wanted`, which is called `expects`. */
static void wrong_kind(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                       enum fm_node_kind wanted, const char *expects)
{
    if (n->kind == FM_NODE_BAD)
        return;
    if (fm_node_is_null(n)) {
        fm_report_error(l->report, n->pos, "%s has no value, and must be %s",
                        fm_decode_subject(n).s, expects);
        fm_report_advice(l->report, row->flags & FM_ROW_REQUIRED ? "write one"
                                    : n->key.p                   ? "write one, or delete the key"
                                               : "write one, or delete the entry");
        return;
    }
    fm_report_error(l->report, n->pos, "%s must be %s, and here stands %s", fm_decode_subject(n).s,
                    expects, kind_name(n->kind));
    if (wanted == FM_NODE_SCALAR && advise_quotes(l, n))
        return;
    const char *colon = n->kind == FM_NODE_SCALAR && n->plain && wanted == FM_NODE_MAP
                            ? memchr(n->text.p, ':', n->text.n)
                            : NULL;
    if (colon)
        fm_report_advice(l->report, "write a space behind the colon: `%s: %s`",
                         FM_Q(fm_str(n->text.p, (size_t)(colon - n->text.p))),
                         FM_Q(fm_str_z(colon + 1)));
    else if (n->kind == FM_NODE_SCALAR && wanted == FM_NODE_LIST)
        fm_report_advice(l->report,
                         n->plain ? "write it in brackets: `[%s]`"
                                  : "write it in brackets: `[\"%s\"]`",
                         FM_Q(n->text));
}

/* "`tcp`, `none` or a path ..." */
static struct fm_subject expectation(const struct fm_schema_row *row)
{
    struct fm_subject out = {""};
    size_t used = 0, words = 0, last = 0;
    for (size_t i = 0; i < row->nwords; i++)
        if (!row->words[i].later) {
            words++;
            last = i;
        }
    bool more = row->kind != FM_KIND_WORD;
    FM_ASSERT(more || words > 0);
    for (size_t i = 0, said = 0; i < row->nwords; i++) {
        if (row->words[i].later)
            continue;
        const char *join = said++ == 0 ? "" : i == last && !more ? " or " : ", ";
        used +=
            (size_t)snprintf(out.s + used, sizeof out.s - used, "%s`%s`", join, row->words[i].name);
        FM_ASSERT(used < sizeof out.s);
    }
    if (more)
        snprintf(out.s + used, sizeof out.s - used, "%s%s", words ? " or " : "",
                 fm_kind_info(row->kind)->expects);
    return out;
}

bool fm_decode_want(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                    enum fm_node_kind kind)
{
    if (n->kind == kind)
        return true;
    if (row->kind == FM_KIND_EITHER)
        wrong_kind(l, row, n, kind, kind == FM_NODE_MAP ? "a map" : "a list");
    else
        wrong_kind(l, row, n, kind, expectation(row).s);
    return false;
}

bool fm_decode_text(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                    struct fm_str *out)
{
    if (n->kind != FM_NODE_SCALAR || fm_node_is_null(n)) {
        wrong_kind(l, row, n, FM_NODE_SCALAR, expectation(row).s);
        return false;
    }
    *out = n->text;
    return true;
}

void fm_decode_fault(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                     const struct fm_fault *f)
{
    FM_ASSERT(f->why[0]);
    l->oom |= f->memory;
    if (f->memory)
        return; /* told once, at the end */
    fm_report_error(l->report, n->pos, "%s must be %s: %s", fm_decode_subject(n).s,
                    expectation(row).s, f->why);
    if (f->advice[0])
        fm_report_advice(l->report, "%s", f->advice);
}

bool fm_decode_name(struct fm_load *l, const struct fm_node *n, const char *what)
{
    struct fm_fault f;
    if (fm_scalar_name(n->key, &f))
        return true;
    fm_report_error(l->report, n->key_pos, "the name of %s must be a name: %s", what, f.why);
    fm_report_advice(l->report, "%s", f.advice);
    return false;
}

bool fm_decode_count(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n)
{
    if (n->n < row->min) {
        fm_report_error(l->report, n->pos, "%s is empty", fm_decode_subject(n).s);
        fm_report_advice(l->report, "write at least one entry");
    } else if (row->max && n->n > row->max) {
        fm_report_error(l->report, fm_node_key_pos(n), "%s has %u entries, and the bound is %u",
                        fm_decode_subject(n).s, n->n, (unsigned)row->max);
    } else {
        return true;
    }
    return false;
}

void fm_decode_value(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                     void *at)
{
    fm_decode_fn *decode = row->decode ? row->decode : fm_kind_info(row->kind)->decode;
    FM_ASSERT(decode && at);
    FM_ASSERT(row->kind != FM_KIND_LATER);
    decode(l, row, n, at);
}

/* What a map has beside the keys that are read. */
struct others {
    bool alone;       /* a key with which nothing else is required */
    uint64_t guessed; /* rows that a mistyped key probably meant: not missing as well */
};

/* The keys that the section does not have, or not yet. */
static struct others check_keys(struct fm_load *l, const struct fm_schema_section *s,
                                const struct fm_node *map)
{
    struct others found = {false, 0};
    fm_node_each(n, map)
    {
        const struct fm_schema_row *row = fm_schema_find(s, n->key);
        if (!row) {
            const struct fm_schema_row *meant = fm_suggest_key(l, s, n);
            found.guessed |= meant ? UINT64_C(1) << (meant - s->rows) : 0;
        } else if (row->kind == FM_KIND_LATER) {
            fm_report_error(l->report, n->key_pos, "`%s` is not in this version of Fulmar (%s): %s",
                            row->name, FM_VERSION, row->help);
        } else if (row->flags & FM_ROW_ALONE) {
            found.alone |= n->kind == FM_NODE_SCALAR && fm_str_eqz(n->text, "true");
        }
    }
    return found;
}

void fm_decode_missing(struct fm_load *l, const struct fm_schema_row *row,
                       const struct fm_node *map)
{
    FM_ASSERT(row->example);
    fm_report_error(l->report, fm_node_key_pos(map), "the key `%s` is missing in %s", row->name,
                    fm_decode_place(map).s);
    fm_report_advice(l->report, "add `%s`", row->example);
}

void fm_decode_section(struct fm_load *l, const struct fm_schema_section *s,
                       const struct fm_node *map, void *at)
{
    FM_ASSERT(s->n <= 64 && map->kind == FM_NODE_MAP);
    struct others others = check_keys(l, s, map);
    for (size_t i = 0; i < s->n; i++) {
        const struct fm_schema_row *row = &s->rows[i];
        if (row->kind == FM_KIND_LATER)
            continue;
        const struct fm_node *n = fm_node_getz(map, row->name);
        if (n)
            fm_decode_value(l, row, n, at);
        else if (row->flags & FM_ROW_REQUIRED && !others.alone && !(others.guessed >> i & 1))
            fm_decode_missing(l, row, map);
    }
    if (s->exactly_one && map->n != 1) {
        fm_report_error(l->report, map->pos, "%s must have exactly one key, and has %u",
                        fm_decode_place(map).s, map->n);
        fm_suggest_keys(l, s);
    }
    if (s->check)
        s->check(l, map, at);
}

void fm_decode_section_value(struct fm_load *l, const struct fm_schema_row *row,
                             const struct fm_node *n, void *at)
{
    if (!fm_decode_want(l, row, n, FM_NODE_MAP))
        return;
    if (row->present)
        *((char *)at + row->present - 1) = true;
    fm_decode_section(l, row->section, n, (char *)at + row->offset);
}

static void check_unique(struct fm_load *l, const struct fm_node *list)
{
    fm_node_each(a, list)
    {
        for (const struct fm_node *b = list->first; b != a; b = b->next) {
            if (a->kind != FM_NODE_SCALAR || b->kind != FM_NODE_SCALAR ||
                !fm_str_eq_nocase(a->text, b->text))
                continue;
            fm_report_error(l->report, a->pos, "`%s` stands twice in `%s`", FM_Q(a->text),
                            FM_Q(list->key));
            fm_report_advice(l->report, "keep one of them");
            break;
        }
    }
}

void fm_decode_list_value(struct fm_load *l, const struct fm_schema_row *row,
                          const struct fm_node *n, void *at)
{
    if (!fm_decode_want(l, row, n, FM_NODE_LIST) || !fm_decode_count(l, row, n))
        return;
    if (row->flags & FM_ROW_UNIQUE)
        check_unique(l, n);
    FM_ASSERT(row->stride && row->nitem == 1);
    /* one more, zeroed: argv ends with NULL */
    char *array = fm_load_alloc(l, (size_t)n->n + 1, row->stride);
    if (!array)
        return;
    size_t i = 0;
    fm_node_each(item, n)
    {
        char *to = array + i++ * row->stride;
        if (row->item->section)
            fm_decode_defaults(l, row->item->section, to);
        fm_decode_value(l, row->item, item, to);
    }
    size_t count = n->n;
    FM_ASSERT(i == count);
    memcpy((char *)at + row->offset, &array, sizeof array);
    memcpy((char *)at + row->count, &count, sizeof count);
}

/* A word, or a value of the second row: `never` or `30ms`. */
void fm_decode_either_value(struct fm_load *l, const struct fm_schema_row *row,
                            const struct fm_node *n, void *at)
{
    FM_ASSERT(row->nitem == 2 && row->item[0].kind == FM_KIND_WORD);
    struct fm_schema_row one = row->item[0];
    struct fm_str names[8];
    bool word = false;
    FM_ASSERT(one.nwords <= FM_COUNT(names));
    for (size_t i = 0; i < one.nwords; i++) {
        names[i] = fm_str_z(one.words[i].name);
        word |= n->kind == FM_NODE_SCALAR && fm_str_eq(n->text, names[i]);
    }
    if (word) {
        fm_decode_value(l, &one, n, at);
        return;
    }
    one = row->item[1];
    one.words = row->item[0].words;
    one.nwords = row->item[0].nwords;
    struct fm_fault f;
    struct fm_str near = n->kind == FM_NODE_SCALAR ? fm_suggest_name(n->text, names, one.nwords)
                                                   : (struct fm_str){NULL, 0};
    if (near.p) {
        fm_fault(&f, "`%s` is unknown", FM_Q(n->text));
        fm_fault_advice(&f, "did you mean `%s`?", near.p);
        fm_decode_fault(l, &one, n, &f);
        return;
    }
    memcpy((char *)at + row->item[0].offset, &row->tag, sizeof row->tag);
    fm_decode_value(l, &one, n, at);
}

/* The default as a node, as if it stood in the file. */
static struct fm_node default_node(struct fm_load *l, const struct fm_schema_row *row)
{
    struct fm_conf_pos nowhere = {"", 0, 0};
    struct fm_node n = {.kind = FM_NODE_SCALAR, .plain = true, .pos = nowhere};
    n.key = fm_str_z(row->name);
    n.text = fm_str_z(row->def);
    if (row->kind != FM_KIND_LIST)
        return n;
    FM_ASSERT(n.text.n >= 2 && n.text.p[0] == '[' && n.text.p[n.text.n - 1] == ']');
    struct fm_str rest = fm_str(n.text.p + 1, n.text.n - 2), one;
    n.kind = FM_NODE_LIST;
    while (fm_str_list_next(&rest, &one)) {
        struct fm_node *item = fm_load_alloc(l, 1, sizeof *item);
        if (!item)
            break;
        *item = (struct fm_node){.kind = FM_NODE_SCALAR, .plain = true, .pos = nowhere};
        item->text = fm_load_str(l, one);
        fm_node_append(&n, item);
    }
    return n;
}

void fm_decode_defaults(struct fm_load *l, const struct fm_schema_section *s, void *at)
{
    size_t errors = l->report->errors;
    for (size_t i = 0; i < s->n; i++) {
        const struct fm_schema_row *row = &s->rows[i];
        if (row->flags & FM_ROW_INHERITS)
            continue;
        if (row->kind == FM_KIND_SECTION && !row->decode)
            fm_decode_defaults(l, row->section, (char *)at + row->offset);
        if (row->def) {
            struct fm_node n = default_node(l, row);
            fm_decode_value(l, row, &n, at);
        }
    }
    FM_ASSERT(l->report->errors == errors || l->oom);
}
