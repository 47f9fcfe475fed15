/* What a host can do: see the header. */
#include "agent/deep.h"

#include "base/assert.h"

bool fm_deep_is_capable(const struct fm_deep *x, unsigned context, const char **why)
{
    FM_ASSERT(context < x->conf->ncontexts);
    if (x->checks && !fm_checks_capable(x->checks, &x->conf->contexts[context], why))
        return false;
    if (fm_conf_is_database(&x->conf->contexts[context]))
        return fm_rights_serve_data(x->rights, context, x->region, why);
    if (!x->director || fm_director_has_instance(x->director, x->region, context))
        return true;
    *why = "no instance of its application can be reached";
    return false;
}

static json_t *context_json(const struct fm_deep *x, unsigned context)
{
    const struct fm_conf_context *c = &x->conf->contexts[context];
    const char *why = NULL;
    bool capable = fm_deep_is_capable(x, context, &why);
    json_t *needs = json_array();
    for (size_t i = 0; i < c->nneeds; i++)
        json_array_append_new(needs, json_stringn(c->needs[i].p, c->needs[i].n));
    return json_pack("{s:b,s:s?,s:o,s:b}", "capable", (int)capable, "why", why, "needs", needs,
                     "shallow", (int)(c->nneeds == 0));
}

json_t *fm_deep_json(const struct fm_deep *x, struct fm_str only, bool *ok, bool *found)
{
    const struct fm_conf *conf = x->conf;
    FM_ASSERT(x->region < conf->nregions);
    json_t *contexts = json_object();
    *ok = true;
    *found = only.n == 0;
    for (unsigned c = 0; c < conf->ncontexts; c++) {
        if (only.n && !fm_str_eq(only, conf->contexts[c].name))
            continue;
        json_t *o = context_json(x, c);
        *ok &= json_is_true(json_object_get(o, "capable"));
        *found = true;
        json_object_set_new(contexts, conf->contexts[c].name.p, o);
    }
    char now[FM_RFC3339_LEN];
    fm_wall_format(now, fm_wall_now_ns());
    json_t *doc =
        json_pack("{s:s,s:s,s:s,s:s,s:b,s:o}", "schema", "fulmar.health/1", "host", x->host,
                  "region", x->region_name, "at", now, "healthy", (int)*ok, "contexts", contexts);
    if (x->checks)
        json_object_set_new(doc, "checks", fm_checks_json(x->checks));
    return doc;
}
