/* Passing on: see the header. Invariants: what was passed on is not passed on again; it goes to
 * another region than this gate's, under the epoch that this gate knows to be the newest, and only
 * if that is the one, if any, under which it was tried before. */
#include "core/onward.h"

bool fm_onward_goes(const struct fm_onward_case *c, const struct fm_sublease_cell *cell,
                    uint8_t *to, struct fm_epoch *epoch)
{
    FM_ASSERT(c->admit < FM_ADMIT_COUNT && c->region != FM_NOBODY);
    bool elsewhere = cell->holder != FM_NOBODY && cell->holder != c->region && cell->known.n != 0;
    if (!c->route || c->admit != FM_ADMIT_NOT_HOLDER || !elsewhere)
        return false;
    if (!FM_RULE(R15_ONE_HOP, !c->relayed))
        return false;
    if (!FM_RULE(R20_RELAYED, c->said.n == 0 || fm_epoch_same(c->said, cell->known)))
        return false; /* who sent it learns of the newer one first */
    *to = cell->holder;
    *epoch = cell->known;
    FM_ASSERT(*to != c->region && epoch->n != 0);
    return true;
}

bool fm_onward_passes(const struct fm_sublease_cell *cell, struct fm_epoch epoch)
{
    FM_ASSERT(epoch.n != 0);
    return FM_RULE(R13_RELAYED, !fm_epoch_newer(cell->known, epoch));
}

bool fm_onward_round(const struct fm_round_case *c, const struct fm_view_cell *cell)
{
    FM_ASSERT(!fm_epoch_newer(cell->gentle_from, cell->epoch));
    bool held = cell->epoch.n != 0 && !cell->released;
    return c->route && held && c->away && c->unheard && !c->elsewhere && !c->in_vain;
}
