/* The document: see the header. Invariant: a document that was read or made by these functions can
 * be written, and what was written is read as the same. */
#include "proxy/view_doc.h"

#include "base/assert.h"
#include "base/hash.h"
#include "conf/scalar.h"
#include "http/protocol.h"
#include "proxy/view_intent.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define SCHEMA "fulmar.view/1"

/* -------- making one -------- */

static bool is_name(struct fm_str s)
{
    struct fm_fault f;
    return s.n <= FM_VIEW_DOC_NAME_MAX && fm_scalar_name(s, &f);
}

static void set_name(char to[FM_VIEW_DOC_NAME_MAX + 1], struct fm_str name)
{
    FM_ASSERT(name.n <= FM_VIEW_DOC_NAME_MAX);
    if (name.n)
        memcpy(to, name.p, name.n);
    to[name.n] = 0;
}

void fm_view_doc_init(struct fm_view_doc *d, struct fm_str service)
{
    *d = (struct fm_view_doc){.found_by = FM_VIEW_DOC_NOBODY};
    set_name(d->service, service);
}

void fm_view_doc_deinit(struct fm_view_doc *d)
{
    free(d->context);
    d->context = NULL;
    d->ncontexts = d->cap = 0;
}

enum fm_err fm_view_doc_copy(struct fm_view_doc *to, const struct fm_view_doc *from)
{
    FM_ASSERT(from->ncontexts <= FM_VIEW_DOC_CONTEXTS_MAX);
    *to = *from;
    to->cap = from->ncontexts;
    to->context = NULL;
    if (to->cap == 0)
        return FM_ERR_OK;
    to->context = malloc(to->cap * sizeof *to->context);
    if (!to->context) {
        to->ncontexts = to->cap = 0;
        return FM_ERR_MEMORY;
    }
    memcpy(to->context, from->context, to->cap * sizeof *to->context);
    return FM_ERR_OK;
}

static uint8_t find_region(const struct fm_view_doc *d, struct fm_str name)
{
    FM_ASSERT(d->nregions <= FM_VIEW_DOC_REGIONS_MAX);
    for (unsigned i = 0; i < d->nregions; i++)
        if (fm_str_eqz(name, d->region[i]))
            return (uint8_t)i;
    return FM_VIEW_DOC_NOBODY;
}

uint8_t fm_view_doc_region(struct fm_view_doc *d, struct fm_str name)
{
    uint8_t found = find_region(d, name);
    if (found != FM_VIEW_DOC_NOBODY || d->nregions == FM_VIEW_DOC_REGIONS_MAX || !is_name(name))
        return found;
    set_name(d->region[d->nregions], name);
    return d->nregions++;
}

struct fm_view_doc_context *fm_view_doc_find(const struct fm_view_doc *d, struct fm_str name)
{
    for (size_t i = 0; i < d->ncontexts; i++)
        if (fm_str_eqz(name, d->context[i].name))
            return &d->context[i];
    return NULL;
}

struct fm_view_doc_context *fm_view_doc_add(struct fm_view_doc *d, struct fm_str name,
                                            unsigned ncells)
{
    if (d->ncontexts == FM_VIEW_DOC_CONTEXTS_MAX || ncells == 0 || ncells > FM_AUTH_CELLS_MAX ||
        !is_name(name) || fm_view_doc_find(d, name))
        return NULL;
    if (d->ncontexts == d->cap) {
        size_t cap = 2 * d->cap + 4;
        struct fm_view_doc_context *p = realloc(d->context, cap * sizeof *p);
        if (!p)
            return NULL;
        d->context = p;
        d->cap = cap;
    }
    struct fm_view_doc_context *c = &d->context[d->ncontexts++];
    memset(c, 0, sizeof *c);
    set_name(c->name, name);
    c->incarnation = d->incarnation;
    c->generation = d->generation;
    c->ncells = (uint8_t)ncells;
    for (unsigned i = 0; i < ncells; i++) {
        c->cell[i].c.region = FM_VIEW_DOC_NOBODY;
        c->cell[i].c.released = true;
    }
    return c;
}

const char *fm_view_doc_holder(const struct fm_view_doc *d, const struct fm_view_doc_cell *c)
{
    if (c->c.region == FM_VIEW_DOC_NOBODY)
        return "-";
    FM_ASSERT(c->c.region < d->nregions);
    return d->region[c->c.region];
}

/* -------- writing -------- */

static bool put(json_t *o, const char *key, json_t *value)
{
    return json_object_set_new(o, key, value) == 0;
}

static bool put_number(json_t *o, const char *key, uint64_t n)
{
    FM_ASSERT(n <= INT64_MAX);
    return put(o, key, json_integer((json_int_t)n));
}

static json_t *write_cell(const struct fm_view_doc *d, const struct fm_view_doc_cell *c)
{
    FM_ASSERT(!fm_epoch_newer(c->c.gentle_from, c->c.epoch));
    json_t *o = json_object();
    bool nobody = c->c.region == FM_VIEW_DOC_NOBODY || c->c.epoch.n == 0;
    bool held = !nobody && !c->c.released;
    bool ok = o && put(o, "region", nobody ? json_null() : json_string(fm_view_doc_holder(d, c))) &&
              put(o, "state", json_string(held ? "held" : "released")) &&
              put_number(o, "epoch", c->c.epoch.n) &&
              put_number(o, "gentle_from", c->c.gentle_from.n);
    if (ok)
        return o;
    json_decref(o);
    return NULL;
}

static json_t *write_context(const struct fm_view_doc *d, const struct fm_view_doc_context *c)
{
    json_t *o = json_object(), *cells = json_array();
    bool ok = put_number(o, "incarnation", c->incarnation.n) &&
              put_number(o, "generation", c->generation.n) &&
              put_number(o, "lease_ms", (uint64_t)c->lease_ms) &&
              put(o, "read_only", json_boolean(c->read_only)) &&
              put(o, "message", json_string(c->message));
    for (unsigned i = 0; ok && i < c->ncells; i++)
        ok = json_array_append_new(cells, write_cell(d, &c->cell[i])) == 0;
    if (!put(o, "cells", cells) || !ok) {
        json_decref(o);
        return NULL;
    }
    return o;
}

/* {"region": "north", "lapsed": {"cards": [0, 3]}} */
static json_t *write_found(const struct fm_view_doc *d)
{
    FM_ASSERT(d->found_by < d->nregions);
    json_t *o = json_object(), *lapsed = json_object();
    bool ok = put(o, "region", json_string(d->region[d->found_by]));
    for (size_t k = 0; ok && k < d->ncontexts; k++) {
        const struct fm_view_doc_context *c = &d->context[k];
        json_t *cells = json_array();
        for (unsigned i = 0; i < c->ncells && ok; i++)
            if (c->cell[i].lapsed)
                ok = json_array_append_new(cells, json_integer(i)) == 0;
        if (json_array_size(cells) == 0)
            json_decref(cells);
        else
            ok &= put(lapsed, c->name, cells);
    }
    if (!put(o, "lapsed", lapsed) || !ok) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static json_t *write_doc(const struct fm_view_doc *d)
{
    json_t *o = fm_protocol_stamp(json_pack("{s:s}", "schema", SCHEMA)), *contexts = json_object();
    bool ok = put(o, "service", json_string(d->service)) &&
              put_number(o, "incarnation", d->incarnation.n) &&
              put_number(o, "generation", d->generation.n);
    for (size_t k = 0; ok && k < d->ncontexts; k++)
        ok = put(contexts, d->context[k].name, write_context(d, &d->context[k]));
    ok = put(o, "contexts", contexts) && ok;
    if (d->has_intents)
        ok = ok && put(o, "intents", fm_view_intents_json(d));
    if (d->found_by != FM_VIEW_DOC_NOBODY)
        ok = ok && put(o, "found", write_found(d));
    if (ok)
        return o;
    json_decref(o);
    return NULL;
}

enum fm_err fm_view_doc_write(const struct fm_view_doc *d, char **text, size_t *n,
                              struct fm_error *e)
{
    FM_ASSERT(d->service[0]);
    json_t *o = write_doc(d);
    *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (!*text)
        return fm_error_set(e, FM_ERR_MEMORY, "no memory for a view of %zu contexts", d->ncontexts);
    *n = strlen(*text);
    if (*n <= FM_VIEW_DOC_TEXT_MAX)
        return FM_ERR_OK;
    free(*text);
    *text = NULL;
    return fm_error_set(e, FM_ERR_LIMIT, "the view has %zu bytes, and the bound is %d", *n,
                        FM_VIEW_DOC_TEXT_MAX);
}

uint64_t fm_view_doc_hash(struct fm_str text)
{
    static const struct fm_hash_key key = {UINT64_C(0x66756c6d61722e76),
                                           UINT64_C(0x6965772f31000000)};
    return fm_hash_str(key, text);
}

/* -------- reading -------- */

static enum fm_err bad(struct fm_error *e, const char *what, const char *where)
{
    return fm_error_set(e, FM_ERR_INVALID, "no view: %s%s%s", what, where ? " in " : "",
                        where ? where : "");
}

static struct fm_str text_of(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_string(v) ? fm_str(json_string_value(v), json_string_length(v))
                             : fm_str(NULL, 0);
}

static bool number_of(const json_t *o, const char *key, uint64_t max, uint64_t *out)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return *out <= max;
}

static bool read_cell(struct fm_view_doc *d, struct fm_view_doc_cell *to, const json_t *o)
{
    const json_t *region = json_object_get(o, "region");
    struct fm_str state = text_of(o, "state");
    bool held = fm_str_eqz(state, "held");
    *to = (struct fm_view_doc_cell){.c = {.region = FM_VIEW_DOC_NOBODY, .released = !held}};
    if ((!held && !fm_str_eqz(state, "released")) ||
        !number_of(o, "epoch", INT64_MAX, &to->c.epoch.n) ||
        !number_of(o, "gentle_from", to->c.epoch.n, &to->c.gentle_from.n))
        return false;
    if (json_is_null(region))
        return !held;
    to->c.region = fm_view_doc_region(d, text_of(o, "region"));
    return to->c.region != FM_VIEW_DOC_NOBODY && to->c.epoch.n > 0;
}

/* For people, on their terminals, too. */
static bool is_plain_text(struct fm_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    return s.p && s.n <= FM_VIEW_DOC_MESSAGE_MAX;
}

static enum fm_err read_context(struct fm_view_doc *d, const char *name, const json_t *o,
                                struct fm_error *e)
{
    const json_t *cells = json_object_get(o, "cells");
    size_t n = json_array_size(cells);
    uint64_t lease_ms;
    struct fm_view_doc_context *c =
        n <= FM_AUTH_CELLS_MAX ? fm_view_doc_add(d, fm_str_z(name), (unsigned)n) : NULL;
    if (!c)
        return bad(e, "a context with a wrong name or number of cells", NULL);
    struct fm_str message = text_of(o, "message");
    const json_t *read_only = json_object_get(o, "read_only");
    if (!number_of(o, "incarnation", INT64_MAX, &c->incarnation.n) ||
        !number_of(o, "generation", INT64_MAX, &c->generation.n) ||
        fm_view_newer(c->incarnation, c->generation, d->incarnation, d->generation))
        return bad(e, "a wrong version", c->name);
    if (!number_of(o, "lease_ms", FM_LEASE_MAX_MS, &lease_ms) || !json_is_boolean(read_only) ||
        !is_plain_text(message))
        return bad(e, "a wrong lease or mode", c->name);
    c->lease_ms = (int32_t)lease_ms;
    c->read_only = json_is_true(read_only);
    if (message.n)
        memcpy(c->message, message.p, message.n);
    c->message[message.n] = 0;
    for (size_t i = 0; i < n; i++)
        if (!read_cell(d, &c->cell[i], json_array_get(cells, i)))
            return bad(e, "a wrong cell", c->name);
    return FM_ERR_OK;
}

static bool read_lapsed(struct fm_view_doc_context *c, const json_t *cells)
{
    int64_t before = -1;
    if (!json_is_array(cells) || json_array_size(cells) == 0)
        return false;
    for (size_t i = 0; i < json_array_size(cells); i++) {
        const json_t *v = json_array_get(cells, i);
        int64_t n = json_is_integer(v) ? json_integer_value(v) : -1;
        if (n <= before || n >= c->ncells || c->cell[n].c.region == FM_VIEW_DOC_NOBODY)
            return false;
        c->cell[n].lapsed = true;
        before = n;
    }
    return true;
}

static enum fm_err read_found(struct fm_view_doc *d, json_t *o, struct fm_error *e)
{
    json_t *lapsed = json_object_get(o, "lapsed"), *cells;
    const char *name;
    if (!o)
        return FM_ERR_OK;
    d->found_by = fm_view_doc_region(d, text_of(o, "region"));
    if (d->found_by == FM_VIEW_DOC_NOBODY || !json_is_object(lapsed))
        return bad(e, "a wrong finding", NULL);
    json_object_foreach(lapsed, name, cells)
    {
        struct fm_view_doc_context *c = fm_view_doc_find(d, fm_str_z(name));
        if (!c || !read_lapsed(c, cells))
            return bad(e, "a finding about what is not there", NULL);
    }
    return FM_ERR_OK;
}

static enum fm_err read_doc(struct fm_view_doc *d, const json_t *o, struct fm_error *e)
{
    json_t *contexts = json_object_get(o, "contexts"), *c;
    const char *name;
    enum fm_err err = FM_ERR_OK;
    /* programs before the rule of http/protocol.h wrote no `v` */
    const char *refused = json_object_get(o, "v") ? fm_protocol_refuses(o) : NULL;
    if (refused)
        return bad(e, refused, NULL);
    if (!fm_str_eqz(text_of(o, "schema"), SCHEMA) || !is_name(text_of(o, "service")))
        return bad(e, "its schema is not `" SCHEMA "`, or it has no service", NULL);
    fm_view_doc_init(d, text_of(o, "service"));
    if (!number_of(o, "incarnation", INT64_MAX, &d->incarnation.n) ||
        !number_of(o, "generation", INT64_MAX, &d->generation.n))
        return bad(e, "a wrong version", NULL);
    if (!json_is_object(contexts) || json_object_size(contexts) > FM_VIEW_DOC_CONTEXTS_MAX)
        return bad(e, "no contexts, or too many", NULL);
    json_object_foreach(contexts, name, c)
    {
        err = err ? err : read_context(d, name, c, e);
    }
    const json_t *intents = json_object_get(o, "intents");
    if (!err && intents && !fm_view_intents_read(d, intents))
        err = bad(e, "wrong intents", NULL);
    return err ? err : read_found(d, json_object_get(o, "found"), e);
}

enum fm_err fm_view_doc_read(struct fm_view_doc *d, struct fm_str text, struct fm_error *e)
{
    *d = (struct fm_view_doc){.found_by = FM_VIEW_DOC_NOBODY};
    if (text.n == 0 || text.n > FM_VIEW_DOC_TEXT_MAX)
        return bad(e, "nothing, or too long", NULL);
    json_t *o = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    if (!o)
        return bad(e, "it is no JSON", NULL);
    enum fm_err err = read_doc(d, o, e);
    json_decref(o);
    if (err)
        fm_view_doc_deinit(d);
    return err;
}

/* -------- becoming newer -------- */

bool fm_view_doc_forget_found(struct fm_view_doc *d)
{
    bool any = d->found_by != FM_VIEW_DOC_NOBODY;
    for (size_t k = 0; k < d->ncontexts; k++)
        for (unsigned i = 0; i < d->context[k].ncells; i++) {
            any |= d->context[k].cell[i].lapsed;
            d->context[k].cell[i].lapsed = false;
        }
    d->found_by = FM_VIEW_DOC_NOBODY;
    return any;
}

static void to_core(const struct fm_view_doc_context *c, struct fm_authority_view *v)
{
    v->incarnation = c->incarnation;
    v->generation = c->generation;
    v->ncells = c->ncells;
    for (unsigned i = 0; i < c->ncells; i++)
        v->cell[i] = c->cell[i].c;
}

/* The numbers of regions are those of a document. False where a region does not fit in any more. */
static bool renumber(struct fm_view_doc *d, const struct fm_view_doc *from,
                     struct fm_authority_view *v)
{
    for (unsigned i = 0; i < v->ncells; i++) {
        uint8_t *region = &v->cell[i].region;
        if (*region == FM_VIEW_DOC_NOBODY)
            continue;
        *region = fm_view_doc_region(d, fm_str_z(from->region[*region]));
        if (*region == FM_VIEW_DOC_NOBODY)
            return false;
    }
    return true;
}

static bool adopt_context(struct fm_view_doc *d, const struct fm_view_doc *from,
                          const struct fm_view_doc_context *news, unsigned *misfits)
{
    struct fm_authority_view v = {.ncells = 0}, next = {.ncells = 0};
    struct fm_view_doc_context *c = fm_view_doc_find(d, fm_str_z(news->name));
    bool fits = !c || c->ncells == news->ncells;
    to_core(news, &next);
    fits = fits && renumber(d, from, &next);
    if (!fits) {
        if (misfits)
            (*misfits)++;
        return false;
    }
    if (c)
        to_core(c, &v);
    if (!fm_view_adopt(&v, &next))
        return false;
    if (!c)
        c = fm_view_doc_add(d, fm_str_z(news->name), news->ncells);
    if (!c)
        return false;
    c->incarnation = v.incarnation;
    c->generation = v.generation;
    c->lease_ms = news->lease_ms;
    c->read_only = news->read_only;
    memcpy(c->message, news->message, sizeof c->message);
    for (unsigned i = 0; i < c->ncells; i++)
        c->cell[i] = (struct fm_view_doc_cell){.c = v.cell[i]};
    return true;
}

/* Forget the names of regions that nothing speaks of any more. */
static void forget_regions(struct fm_view_doc *d)
{
    uint8_t to[FM_VIEW_DOC_REGIONS_MAX] = {0}, n = 0;
    bool used[FM_VIEW_DOC_REGIONS_MAX] = {false};
    if (d->found_by != FM_VIEW_DOC_NOBODY)
        used[d->found_by] = true;
    for (unsigned i = 0; i < d->nintents; i++)
        used[d->intent[i].region] = true;
    for (size_t k = 0; k < d->ncontexts; k++)
        for (unsigned i = 0; i < d->context[k].ncells; i++)
            if (d->context[k].cell[i].c.region != FM_VIEW_DOC_NOBODY)
                used[d->context[k].cell[i].c.region] = true;
    for (unsigned r = 0; r < d->nregions; r++) {
        to[r] = n;
        if (used[r])
            memmove(d->region[n++], d->region[r], sizeof d->region[r]);
    }
    d->nregions = n;
    if (d->found_by != FM_VIEW_DOC_NOBODY)
        d->found_by = to[d->found_by];
    for (unsigned i = 0; i < d->nintents; i++)
        d->intent[i].region = to[d->intent[i].region];
    for (size_t k = 0; k < d->ncontexts; k++)
        for (unsigned i = 0; i < d->context[k].ncells; i++) {
            uint8_t *region = &d->context[k].cell[i].c.region;
            *region = *region == FM_VIEW_DOC_NOBODY ? *region : to[*region];
        }
}

bool fm_view_doc_adopt(struct fm_view_doc *d, const struct fm_view_doc *from, unsigned *misfits)
{
    FM_ASSERT(strcmp(d->service, from->service) == 0 && d != from);
    bool changed = false;
    if (d->nregions + from->nregions > FM_VIEW_DOC_REGIONS_MAX)
        forget_regions(d);
    for (size_t i = 0; i < from->ncontexts; i++)
        changed |= adopt_context(d, from, &from->context[i], misfits);
    changed |= fm_view_intents_adopt(d, from);
    if (fm_view_newer(from->incarnation, from->generation, d->incarnation, d->generation)) {
        d->incarnation = from->incarnation;
        d->generation = from->generation;
        changed = true;
    }
    return changed;
}
