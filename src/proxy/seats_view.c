/* See the header. */
#include "proxy/seats_view.h"

#include "base/assert.h"
#include "proxy/view_intent.h"

#include <stdatomic.h>

/* The cell with the number that its region has in the local file. */
static struct fm_view_cell here(const struct fm_conf *conf, const struct fm_view_doc *d,
                                const struct fm_view_doc_cell *cell)
{
    struct fm_view_cell c = cell->c;
    int region = -1;
    if (c.region != FM_VIEW_DOC_NOBODY)
        region = fm_conf_find_region(conf, fm_str_z(fm_view_doc_holder(d, cell)));
    FM_ASSERT(region < (int)conf->nregions);
    c.region = region < 0 ? FM_VIEW_DOC_NOBODY : (uint8_t)region;
    c.released |= region < 0;
    return c;
}

void fm_seats_take_view(struct fm_seats *s, const struct fm_conf *conf, const struct fm_view_doc *d)
{
    for (size_t i = 0; i < conf->ncontexts; i++) {
        const struct fm_conf_context *c = &conf->contexts[i];
        const struct fm_view_doc_context *v = fm_view_doc_find(d, c->name);
        struct fm_seats_context *seats;
        if (!v || v->ncells != c->ncells ||
            fm_seats_context(s, c->name, c->ncells, &seats, NULL) != FM_ERR_OK)
            continue;
        atomic_store(&seats->read_only, v->read_only);
        fm_seats_publish_message(seats, fm_str_z(v->message));
        for (unsigned k = 0; k < v->ncells; k++) {
            struct fm_view_cell cell = here(conf, d, &v->cell[k]);
            fm_seats_publish_view(seats, k, &cell);
            fm_seats_publish_lapsed(seats, k, v->cell[k].lapsed);
        }
    }
}

void fm_board_take_intents(struct fm_board *b, const struct fm_view_doc *d)
{
    if (!d->has_intents)
        return;
    for (unsigned r = 0; r < b->nregions; r++)
        for (unsigned c = 0; c < b->ncontexts; c++) {
            unsigned serve =
                fm_view_intent_serve(d, b->conf->regions[r].name, b->conf->contexts[c].name);
            FM_ASSERT(serve <= FM_VIEW_INTENT_ALL);
            atomic_store(&fm_board_slot(b, r, c)->serve, (uint16_t)serve);
        }
}
