/* What operators asked, done: endpoints that get nothing new, and regions that get a share. Of an
 * instance and of a gate the new requests are taken away, nothing else: what is under way ends by
 * itself, connections and tunnels stay, probes go on. Invariant: intent is never health; nothing
 * here reads or writes what probes or answers have found. */
#include "proxy/director.h"

#include "base/assert.h"
#include "proxy/seats_view.h"
#include "proxy/view_intent.h"

#include <stdlib.h>

static bool is_instance(const struct fm_director *d, const struct fm_view_endpoint *e,
                        const struct fm_view_doc_intent *i)
{
    const struct fm_view_region *r = &d->view->regions[e->region];
    FM_ASSERT(e->pool < r->npools && i->region < d->asked->nregions);
    return i->address[0] && fm_str_eqz(r->name, d->asked->region[i->region]) &&
           fm_str_eqz(r->pools[e->pool].name, i->context) &&
           fm_names_is(&d->names, e->region, e->pool, fm_str_z(i->address), &e->addr);
}

static bool is_drained(const struct fm_director *d, const struct fm_view_endpoint *e)
{
    FM_ASSERT(e->region < d->view->nregions && d->asked);
    if (e->peer)
        return fm_view_intent_drains_host(d->asked, d->view->regions[e->region].name,
                                          fm_str_z(e->peer));
    for (unsigned k = 0; k < d->asked->nintents; k++)
        if (is_instance(d, e, &d->asked->intent[k]))
            return true;
    return false;
}

/* Where all of a pool is drained there is nothing that its region could be asked. */
static bool is_all_drained(const struct fm_view *v, unsigned region, unsigned context)
{
    const struct fm_view_pool *p = fm_view_pool(v, region, context);
    for (unsigned i = 0; i < p->n; i++)
        if (!atomic_load(&v->endpoints[p->first + i].drained))
            return false;
    return p->n > 0;
}

void fm_director_obey(struct fm_director *d)
{
    const struct fm_view *v = d->view;
    if (!d->asked)
        return;
    FM_ASSERT(v->board == d->board && d->asked->has_intents);
    for (unsigned i = 0; i < v->nendpoints; i++)
        atomic_store_explicit(&v->endpoints[i].drained, is_drained(d, &v->endpoints[i]),
                              memory_order_relaxed);
    fm_board_take_intents(d->board, d->asked);
    for (unsigned r = 0; r < v->nregions; r++)
        for (unsigned c = 0; c < v->ncontexts; c++)
            if (is_all_drained(v, r, c))
                atomic_store(&fm_board_slot(d->board, r, c)->serve, 0);
}

void fm_director_take_intents(struct fm_director *d, const struct fm_view_doc *doc)
{
    if (!doc->has_intents)
        return;
    if (!d->asked)
        d->asked = malloc(sizeof *d->asked);
    if (!d->asked)
        return; /* the next view is tried again */
    *d->asked = *doc;
    d->asked->context = NULL; /* they are the document's */
    d->asked->ncontexts = d->asked->cap = 0;
    fm_director_obey(d);
}
