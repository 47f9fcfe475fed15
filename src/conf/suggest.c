/* "did you mean": for an unknown key, what is near in its own section, then where else the table
 * has it, then what the section does have. Only keys that are accepted are suggested. */
#include "conf/decode.h"

#include "base/assert.h"

#include <stdio.h>

static unsigned near_enough(struct fm_str wrong)
{
    return wrong.n <= 1 ? 0 : wrong.n <= 5 ? 1 : wrong.n <= 8 ? 2 : 3;
}

struct fm_str fm_suggest_name(struct fm_str wrong, const struct fm_str *names, size_t n)
{
    struct fm_str best = {NULL, 0};
    FM_ASSERT(names || n == 0);
    unsigned least = near_enough(wrong) + 1;
    for (size_t i = 0; i < n; i++) {
        unsigned d = fm_str_distance(wrong, names[i]);
        if (d < least) {
            least = d;
            best = names[i];
        }
    }
    return best;
}

static const struct fm_schema_row *nearest(const struct fm_schema_section *s, struct fm_str wrong,
                                           unsigned bound, unsigned *distance)
{
    const struct fm_schema_row *best = NULL;
    FM_ASSERT(s->n > 0);
    for (size_t i = 0; i < s->n; i++) {
        if (s->rows[i].kind == FM_KIND_LATER)
            continue;
        unsigned d = fm_str_distance(wrong, fm_str_z(s->rows[i].name));
        if (d <= bound && (!best || d < *distance)) {
            best = &s->rows[i];
            *distance = d;
        }
    }
    return best;
}

struct place {
    const struct fm_schema_section *section;
    const struct fm_schema_row *row;
    unsigned distance;
};

static void search(const struct fm_schema_section *s, struct fm_str wrong, struct place *best);

static void search_row(const struct fm_schema_row *row, struct fm_str wrong, struct place *best)
{
    FM_ASSERT(row);
    if (row->section)
        search(row->section, wrong, best);
    for (size_t i = 0; i < row->nitem; i++)
        search_row(&row->item[i], wrong, best);
}

/* The best in `s` and below; what stands further up wins among equals. */
static void search(const struct fm_schema_section *s, struct fm_str wrong, struct place *best)
{
    unsigned d = 0;
    unsigned bound = wrong.n <= 3 ? 0 : wrong.n <= 5 ? 1 : 2; /* far away it must be nearer */
    const struct fm_schema_row *row = nearest(s, wrong, bound, &d);
    if (row && (!best->row || d < best->distance))
        *best = (struct place){s, row, d};
    for (size_t i = 0; i < s->n; i++)
        search_row(&s->rows[i], wrong, best);
}

void fm_suggest_keys(struct fm_load *l, const struct fm_schema_section *s)
{
    char text[512] = "";
    size_t used = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->rows[i].kind == FM_KIND_LATER)
            continue;
        int n =
            snprintf(text + used, sizeof text - used, "%s`%s`", used ? ", " : "", s->rows[i].name);
        if (n < 0 || (size_t)n >= sizeof text - used)
            break;
        used += (size_t)n;
        FM_ASSERT(used < sizeof text);
    }
    fm_report_advice(l->report, "the keys here are %s", text);
}

/* Where else the table has the key, or what the section does have. */
static void advise_elsewhere(struct fm_load *l, const struct fm_schema_section *s,
                             struct fm_str wrong)
{
    struct place best = {NULL, NULL, 0};
    search(s, wrong, &best);
    if (!best.row)
        search(&fm_schema_root, wrong, &best);
    if (!best.row) {
        fm_suggest_keys(l, s);
        return;
    }
    bool top = best.section == &fm_schema_root;
    const char *mean = best.distance ? "did you mean " : "", *open = best.distance ? "? (it" : "";
    fm_report_advice(l->report, "%s`%s`%s stands %s%s%s%s", mean, best.row->name, open,
                     top ? "at the top level" : "in `", top ? "" : best.section->title,
                     top ? "" : "`", best.distance ? ")" : "");
}

const struct fm_schema_row *fm_suggest_key(struct fm_load *l, const struct fm_schema_section *s,
                                           const struct fm_node *n)
{
    struct fm_conf_report *report = l->report;
    FM_ASSERT(n->key.p && n->parent && !fm_schema_find(s, n->key));
    const char *colon = n->key.n ? memchr(n->key.p, ':', n->key.n) : NULL;
    unsigned distance = 0;
    if (s == &fm_schema_root)
        fm_report_error(report, n->key_pos, "unknown key `%s`", FM_Q(n->key));
    else
        fm_report_error(report, n->key_pos, "unknown key `%s` in %s", FM_Q(n->key),
                        fm_decode_place(n->parent).s);
    if (fm_str_eqz(n->key, "<<")) {
        fm_report_advice(report, "Fulmar reads no merge keys: write the keys out");
        return NULL;
    }
    if (colon && colon > n->key.p && fm_node_is_null(n)) {
        struct fm_str key = fm_str(n->key.p, (size_t)(colon - n->key.p));
        fm_report_advice(report, "write a space behind the colon: `%s: %s`", FM_Q(key),
                         FM_Q(fm_str_z(colon + 1)));
        return fm_schema_find(s, key);
    }
    const struct fm_schema_row *here = nearest(s, n->key, near_enough(n->key), &distance);
    if (here)
        fm_report_advice(report, "did you mean `%s`?", here->name);
    else
        advise_elsewhere(l, s, n->key);
    return here;
}
