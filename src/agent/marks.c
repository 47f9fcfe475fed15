/* Marks as text: see the header. */
#include "agent/marks.h"

#include "base/assert.h"
#include "http/protocol.h"

#include <stdio.h>

#define NUMBER_MAX ((UINT64_C(1) << 53) - 1)

struct fm_marks_context *fm_marks_place(struct fm_marks_doc *d, struct fm_str name, unsigned ncells)
{
    FM_ASSERT(ncells > 0 && ncells <= FM_AUTH_CELLS_MAX && fm_roster_is_name(name));
    for (unsigned i = 0; i < d->n; i++)
        if (fm_str_eqz(name, d->context[i].name))
            return d->context[i].ncells == ncells ? &d->context[i] : NULL;
    if (d->n == FM_ROSTER_CONTEXTS_MAX)
        return NULL;
    struct fm_marks_context *c = &d->context[d->n++];
    *c = (struct fm_marks_context){.ncells = (uint8_t)ncells};
    memcpy(c->name, name.p, name.n);
    return c;
}

/* -------- writing -------- */

static json_t *number(uint64_t n)
{
    FM_ASSERT(n <= NUMBER_MAX);
    return json_integer((json_int_t)n);
}

static json_t *holder(const struct fm_roster *r, unsigned number)
{
    FM_ASSERT(number <= r->nregions);
    return number ? json_string(r->region[number - 1]) : json_null();
}

json_t *fm_marks_context_json(const struct fm_roster *r, const struct fm_marks_context *c)
{
    char store[20];
    snprintf(store, sizeof store, "%016llx", (unsigned long long)c->marks.store_id);
    json_t *epochs = json_array(), *holders = json_array(), *o = json_object();
    for (unsigned i = 0; i < c->ncells; i++) {
        json_array_append_new(epochs, number(c->marks.epoch[i].n));
        json_array_append_new(holders, holder(r, c->marks.holder[i]));
    }
    json_object_set_new(o, "store", json_string(store));
    json_object_set_new(o, "revision", number(c->marks.store.n));
    json_object_set_new(o, "seed", number(c->marks.incarnation.n));
    json_object_set_new(o, "epochs", epochs);
    json_object_set_new(o, "holders", holders);
    return o;
}

char *fm_marks_write(const struct fm_roster *r, const struct fm_marks_doc *d)
{
    json_t *o = fm_protocol_stamp(json_object()), *contexts = json_object();
    size_t before = json_object_size(o);
    for (unsigned i = 0; i < d->n; i++)
        json_object_set_new(contexts, d->context[i].name, fm_marks_context_json(r, &d->context[i]));
    json_object_set_new(o, "service", json_string(d->service));
    json_object_set_new(o, "life", number(d->life));
    /* whatever could not be made for want of memory is missed here */
    bool whole = json_object_size(contexts) == d->n;
    json_object_set_new(o, "contexts", contexts);
    char *text = whole && json_object_size(o) == before + 3 ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return text;
}

/* -------- reading -------- */

static bool is_number(json_int_t n)
{
    return n >= 0 && (uint64_t)n <= NUMBER_MAX;
}

static bool read_holders(const struct fm_roster *r, json_t *holders, size_t n, struct fm_marks *m)
{
    if (!holders)
        return true;
    if (!json_is_array(holders) || json_array_size(holders) != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(holders, i));
        if (!name && !json_is_null(json_array_get(holders, i)))
            return false;
        int region = name ? fm_roster_region(r, fm_str_z(name)) : -1;
        m->holder[i] = (uint8_t)(region + 1);
    }
    return true;
}

bool fm_marks_context_read(const struct fm_roster *r, struct fm_marks_doc *d, const char *name,
                           json_t *o)
{
    const char *store;
    json_int_t revision, seed;
    json_t *epochs, *holders = NULL;
    if (!fm_roster_is_name(fm_str_z(name)) ||
        json_unpack(o, "{s:s,s:I,s:I,s:o,s?o}", "store", &store, "revision", &revision, "seed",
                    &seed, "epochs", &epochs, "holders", &holders) ||
        !json_is_array(epochs) || !is_number(revision) || !is_number(seed))
        return false;
    size_t n = json_array_size(epochs);
    if (n == 0 || n > FM_AUTH_CELLS_MAX)
        return false;
    struct fm_marks_context *c = fm_marks_place(d, fm_str_z(name), (unsigned)n);
    if (!c || strlen(store) != 16 || !fm_str_u64_hex(fm_str_z(store), &c->marks.store_id))
        return false;
    c->marks.store.n = (uint64_t)revision;
    c->marks.incarnation.n = (uint64_t)seed;
    for (size_t i = 0; i < n; i++) {
        json_t *epoch = json_array_get(epochs, i);
        if (!json_is_integer(epoch) || !is_number(json_integer_value(epoch)))
            return false;
        c->marks.epoch[i].n = (uint64_t)json_integer_value(epoch);
    }
    return read_holders(r, holders, n, &c->marks);
}

static bool read_doc(const struct fm_roster *r, struct fm_marks_doc *d, json_t *o)
{
    const char *service, *name;
    json_int_t life;
    json_t *contexts, *c;
    if (json_unpack(o, "{s:s,s:I,s:o}", "service", &service, "life", &life, "contexts",
                    &contexts) ||
        !is_number(life) || !json_is_object(contexts) || !fm_roster_is_name(fm_str_z(service)))
        return false;
    d->life = (uint64_t)life;
    memcpy(d->service, service, strlen(service) + 1);
    json_object_foreach(contexts, name, c)
    {
        if (!fm_marks_context_read(r, d, name, c))
            return false;
    }
    return true;
}

enum fm_err fm_marks_read(const struct fm_roster *r, struct fm_marks_doc *d, struct fm_str text,
                          struct fm_error *e)
{
    json_error_t why;
    memset(d, 0, sizeof *d);
    json_t *o = text.n <= FM_MARKS_TEXT_MAX
                    ? json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &why)
                    : NULL;
    const char *refused = o ? fm_protocol_refuses(o) : "no JSON";
    if (!refused && !read_doc(r, d, o))
        refused = "it is not what an agent writes";
    json_decref(o);
    return refused ? fm_error_set(e, FM_ERR_INVALID, "%s", refused) : FM_ERR_OK;
}
