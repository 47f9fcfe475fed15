/* Intents of a view: see the header. Invariant: each (region, context) is there at most once, with
 * a share below the whole, and only where the intents have a version. */
#include "proxy/view_intent.h"

#include "base/assert.h"
#include "conf/scalar.h"

static bool concerns(const struct fm_view_doc *d, const struct fm_view_doc_intent *i,
                     struct fm_str region, struct fm_str context)
{
    FM_ASSERT(i->region < d->nregions && i->serve_permille < FM_VIEW_INTENT_ALL);
    return !i->address[0] && fm_str_eqz(region, d->region[i->region]) &&
           fm_str_eqz(context, i->context);
}

unsigned fm_view_intent_serve(const struct fm_view_doc *d, struct fm_str region,
                              struct fm_str context)
{
    unsigned serve = FM_VIEW_INTENT_ALL;
    FM_ASSERT(d->nintents <= FM_VIEW_DOC_INTENTS_MAX);
    for (unsigned k = 0; k < d->nintents; k++) {
        const struct fm_view_doc_intent *i = &d->intent[k];
        if ((concerns(d, i, region, context) || concerns(d, i, region, FM_STR(""))) &&
            i->serve_permille < serve)
            serve = i->serve_permille;
    }
    return serve;
}

bool fm_view_intent_add(struct fm_view_doc *d, struct fm_str region, struct fm_str context,
                        unsigned serve_permille)
{
    struct fm_fault f;
    FM_ASSERT(d->has_intents);
    if (d->nintents == FM_VIEW_DOC_INTENTS_MAX || serve_permille >= FM_VIEW_INTENT_ALL ||
        context.n > FM_VIEW_DOC_NAME_MAX || (context.n && !fm_scalar_name(context, &f)))
        return false;
    for (unsigned k = 0; k < d->nintents; k++)
        if (concerns(d, &d->intent[k], region, context))
            return false;
    struct fm_view_doc_intent *i = &d->intent[d->nintents];
    *i = (struct fm_view_doc_intent){.region = fm_view_doc_region(d, region),
                                     .serve_permille = (uint16_t)serve_permille};
    if (i->region == FM_VIEW_DOC_NOBODY)
        return false;
    if (context.n)
        memcpy(i->context, context.p, context.n);
    d->nintents++;
    return true;
}

/* -------- hosts and instances -------- */

bool fm_view_intent_drains_host(const struct fm_view_doc *d, struct fm_str region,
                                struct fm_str host)
{
    FM_ASSERT(host.n > 0);
    for (unsigned k = 0; k < d->nintents; k++)
        if (concerns(d, &d->intent[k], region, host) && d->intent[k].serve_permille == 0)
            return true;
    return false;
}

bool fm_view_intent_drains_instance(const struct fm_view_doc *d, struct fm_str region,
                                    struct fm_str pool, struct fm_str address)
{
    FM_ASSERT(d->nintents <= FM_VIEW_DOC_INTENTS_MAX);
    for (unsigned k = 0; k < d->nintents; k++) {
        const struct fm_view_doc_intent *i = &d->intent[k];
        if (i->address[0] && fm_str_eqz(region, d->region[i->region]) &&
            fm_str_eqz(pool, i->context) && fm_str_eqz(address, i->address))
            return true;
    }
    return false;
}

/* For terminals and logs, too. */
bool fm_view_intent_is_address(struct fm_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= 0x20 || (unsigned char)s.p[i] >= 0x7f || s.p[i] == '/')
            return false;
    return s.n > 0 && s.n <= FM_VIEW_DOC_ADDRESS_MAX;
}

bool fm_view_intent_add_instance(struct fm_view_doc *d, struct fm_str region, struct fm_str pool,
                                 struct fm_str address)
{
    struct fm_fault f;
    FM_ASSERT(d->has_intents);
    if (d->nintents == FM_VIEW_DOC_INTENTS_MAX || pool.n > FM_VIEW_DOC_NAME_MAX ||
        !fm_scalar_name(pool, &f) || !fm_view_intent_is_address(address) ||
        fm_view_intent_drains_instance(d, region, pool, address))
        return false;
    struct fm_view_doc_intent *i = &d->intent[d->nintents];
    *i = (struct fm_view_doc_intent){.region = fm_view_doc_region(d, region)};
    if (i->region == FM_VIEW_DOC_NOBODY)
        return false;
    FM_ASSERT(pool.p && address.p);
    memcpy(i->context, pool.p, pool.n);
    memcpy(i->address, address.p, address.n);
    d->nintents++;
    return true;
}

/* -------- as text -------- */

json_t *fm_view_intents_json(const struct fm_view_doc *d)
{
    json_t *of = json_array(), *instances = json_array(), *o;
    FM_ASSERT(d->has_intents);
    for (unsigned k = 0; k < d->nintents; k++) {
        const struct fm_view_doc_intent *i = &d->intent[k];
        const char *region = d->region[i->region];
        if (i->address[0])
            json_array_append_new(instances, json_pack("{s:s,s:s,s:s}", "region", region, "pool",
                                                       i->context, "address", i->address));
        else
            json_array_append_new(of, json_pack("{s:s,s:s?,s:i}", "region", region, "context",
                                                i->context[0] ? i->context : NULL, "serve_permille",
                                                (int)i->serve_permille));
    }
    bool all = json_array_size(of) + json_array_size(instances) == d->nintents;
    o = json_pack("{s:I,s:I,s:o}", "incarnation", (json_int_t)d->intents_incarnation.n,
                  "generation", (json_int_t)d->intents_generation.n, "of", of);
    if (json_array_size(instances) == 0)
        json_decref(instances);
    else
        all &= json_object_set_new(o, "instances", instances) == 0;
    if (o && all)
        return o;
    json_decref(o);
    return NULL;
}

static struct fm_str text_of(const json_t *v)
{
    return json_is_string(v) ? fm_str(json_string_value(v), json_string_length(v))
                             : fm_str(NULL, 0);
}

static bool read_one(struct fm_view_doc *d, const json_t *o)
{
    const json_t *context = json_object_get(o, "context"),
                 *serve = json_object_get(o, "serve_permille");
    struct fm_str name = text_of(context);
    if ((json_is_null(context) ? name.n != 0 : name.n == 0) || !json_is_integer(serve) ||
        json_integer_value(serve) < 0 || json_integer_value(serve) >= FM_VIEW_INTENT_ALL)
        return false;
    return fm_view_intent_add(d, text_of(json_object_get(o, "region")), name,
                              (unsigned)json_integer_value(serve));
}

static bool read_instances(struct fm_view_doc *d, const json_t *list)
{
    size_t k;
    const json_t *o;
    if (list && !json_is_array(list))
        return false;
    json_array_foreach(list, k, o)
    {
        if (!fm_view_intent_add_instance(d, text_of(json_object_get(o, "region")),
                                         text_of(json_object_get(o, "pool")),
                                         text_of(json_object_get(o, "address"))))
            return false;
    }
    return true;
}

bool fm_view_intents_read(struct fm_view_doc *d, const json_t *o)
{
    const json_t *list = json_object_get(o, "of"), *i = json_object_get(o, "incarnation"),
                 *g = json_object_get(o, "generation");
    FM_ASSERT(!d->has_intents && d->nintents == 0);
    if (!json_is_array(list) || !json_is_integer(i) || json_integer_value(i) < 0 ||
        !json_is_integer(g) || json_integer_value(g) < 0)
        return false;
    d->has_intents = true;
    d->intents_incarnation.n = (uint64_t)json_integer_value(i);
    d->intents_generation.n = (uint64_t)json_integer_value(g);
    if (fm_view_newer(d->intents_incarnation, d->intents_generation, d->incarnation, d->generation))
        return false;
    for (size_t k = 0; k < json_array_size(list); k++)
        if (!read_one(d, json_array_get(list, k)))
            return false;
    return read_instances(d, json_object_get(o, "instances"));
}

bool fm_view_intents_adopt(struct fm_view_doc *d, const struct fm_view_doc *from)
{
    FM_ASSERT(d != from && from->nintents <= FM_VIEW_DOC_INTENTS_MAX);
    if (!from->has_intents ||
        (d->has_intents && !fm_view_newer(from->intents_incarnation, from->intents_generation,
                                          d->intents_incarnation, d->intents_generation)))
        return false;
    struct fm_view_doc_intent next[FM_VIEW_DOC_INTENTS_MAX];
    for (unsigned k = 0; k < from->nintents; k++) {
        next[k] = from->intent[k];
        next[k].region = fm_view_doc_region(d, fm_str_z(from->region[from->intent[k].region]));
        if (next[k].region == FM_VIEW_DOC_NOBODY)
            return false; /* all of it or nothing */
    }
    d->has_intents = true;
    d->intents_incarnation = from->intents_incarnation;
    d->intents_generation = from->intents_generation;
    d->nintents = from->nintents;
    if (d->nintents)
        memcpy(d->intent, next, d->nintents * sizeof next[0]);
    return true;
}
