/* What a follower knows, for `status`: see follow.h. */
#include "proxy/follow_inside.h"

#include "base/assert.h"

static json_t *cells_json(const struct fm_view_doc *d, const struct fm_view_doc_context *c)
{
    json_t *cells = json_array();
    for (unsigned i = 0; i < c->ncells; i++) {
        const struct fm_view_doc_cell *cell = &c->cell[i];
        bool nobody = cell->c.region == FM_VIEW_DOC_NOBODY;
        json_t *o =
            json_pack("{s:s?,s:s,s:I,s:b}", "region", nobody ? NULL : fm_view_doc_holder(d, cell),
                      "state", cell->c.released ? "released" : "held", "epoch",
                      (json_int_t)cell->c.epoch.n, "lapsed", (int)cell->lapsed);
        json_array_append_new(cells, o);
    }
    return cells;
}

/* Those that the file knows; the view may have none of them. */
static json_t *contexts_json(const struct fm_follow *f)
{
    json_t *all = json_object();
    for (size_t i = 0; i < f->conf->ncontexts; i++) {
        const struct fm_conf_context *c = &f->conf->contexts[i];
        if (c->ncells == 0)
            continue;
        const struct fm_view_doc_context *v = fm_view_doc_find(&f->doc, c->name);
        json_t *o = json_pack("{s:b}", "known", (int)(v != NULL));
        if (v)
            (void)json_object_update_new(
                o, json_pack("{s:I,s:I,s:b,s:s,s:o}", "generation", (json_int_t)v->generation.n,
                             "lease_ms", (json_int_t)v->lease_ms, "read_only", (int)v->read_only,
                             "message", v->message, "cells", cells_json(&f->doc, v)));
        json_object_set_new(all, c->name.p, o);
    }
    return all;
}

static json_t *sources_json(const struct fm_follow *f)
{
    json_t *all = json_array();
    for (const struct source *s = f->sources; s; s = s->next) {
        if (s->stale || (!s->slot && s->fails == 0))
            continue;
        json_array_append_new(all, json_pack("{s:s,s:s,s:b,s:i,s:s?}", "host", s->host, "region",
                                             s->region, "asked", (int)(s->slot != NULL), "failures",
                                             (int)s->fails, "why", s->why[0] ? s->why : NULL));
    }
    return all;
}

static json_t *file_json(const struct fm_follow *f)
{
    return json_pack("{s:b,s:s?,s:s?}", "older_used", (int)f->file.old, "refused",
                     f->file.wrong.msg[0] ? f->file.wrong.msg : NULL, "trouble",
                     fm_view_store_trouble(f->store));
}

json_t *fm_follow_json(const struct fm_follow *f)
{
    FM_ASSERT(f->conf);
    char adopted[FM_RFC3339_LEN];
    const char *found_by = NULL;
    if (f->doc.found_by != FM_VIEW_DOC_NOBODY)
        found_by = f->doc.region[f->doc.found_by];
    if (f->adopted_wall_ns)
        fm_wall_format(adopted, f->adopted_wall_ns);
    json_t *age = json_null();
    if (f->was_heard)
        age = json_integer(fm_mono_sub_ms(fm_loop_now(f->loop), f->heard_at));
    return json_pack("{s:b,s:I,s:I,s:b,s:s?,s:s?,s:o,s:s?,s:s?,s:o,s:o,s:o}", "known",
                     (int)f->has_doc, "incarnation", (json_int_t)f->doc.incarnation.n, "generation",
                     (json_int_t)f->doc.generation.n, "stored", (int)f->stored, "from",
                     f->from[0] ? f->from : NULL, "adopted_at", f->adopted_wall_ns ? adopted : NULL,
                     "age_ms", age, "found_by", found_by, "misfit", f->misfit[0] ? f->misfit : NULL,
                     "file", file_json(f), "sources", sources_json(f), "contexts",
                     contexts_json(f));
}
