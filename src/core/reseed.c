/* A new seed: see the header. Invariant: an epoch or an incarnation that is written is above every
 * one that was fed in. It decides nothing about whether to seed. */
#include "core/reseed.h"

void fm_reseed_init(struct fm_reseed *s, unsigned ncells)
{
    FM_ASSERT(ncells > 0 && ncells <= FM_AUTH_CELLS_MAX);
    *s = (struct fm_reseed){.ncells = (uint8_t)ncells};
}

static void heard_of(struct fm_reseed_cell *c, struct fm_epoch epoch, unsigned holder)
{
    FM_ASSERT(holder <= FM_AUTH_REGIONS_MAX);
    c->most = fm_epoch_max(c->most, epoch);
    if (holder == 0 || (c->holder != 0 && !fm_epoch_newer(epoch, c->known)))
        return;
    c->known = epoch;
    c->holder = (uint8_t)holder;
}

void fm_reseed_stored(struct fm_reseed *s, unsigned cell, const struct fm_cell_record *r)
{
    FM_ASSERT(cell < s->ncells && r->epoch.n > 0);
    s->cell[cell].stored = r->epoch;
    heard_of(&s->cell[cell], r->epoch, fm_cell_owner(r) + 1u);
}

void fm_reseed_seen(struct fm_reseed *s, const struct fm_marks *m)
{
    if (m->incarnation.n > s->incarnation.n)
        s->incarnation = m->incarnation;
    for (unsigned i = 0; i < s->ncells; i++)
        if (m->epoch[i].n > 0)
            heard_of(&s->cell[i], m->epoch[i], m->holder[i]);
}

bool fm_reseed_is_behind(const struct fm_reseed *s, unsigned cell)
{
    FM_ASSERT(cell < s->ncells);
    return fm_epoch_newer(s->cell[cell].most, s->cell[cell].stored);
}

bool fm_reseed_is_sure(const struct fm_reseed *s, unsigned cell)
{
    const struct fm_reseed_cell *c = &s->cell[cell];
    FM_ASSERT(cell < s->ncells && !fm_epoch_newer(c->known, c->most));
    return c->holder != 0 && fm_epoch_same(c->known, c->most);
}

/* What an older copy says of a group is no ground for anything: not who wrote last, nor whose loss
 * is bounded. A person says which node's data count (core/group.h). */
static struct fm_evidence forgotten(struct fm_evidence stored)
{
    if (stored.system_id == 0)
        return stored;
    FM_ASSERT(stored.claimed <= UINT32_MAX - FM_RESEED_TIMELINES);
    return (struct fm_evidence){.system_id = stored.system_id,
                                .claimed = stored.claimed + FM_RESEED_TIMELINES};
}

void fm_reseed_write_cell(const struct fm_reseed *s, unsigned cell, uint8_t home, bool margin,
                          struct fm_cell_record *r)
{
    FM_ASSERT(cell < s->ncells && home < FM_AUTH_REGIONS_MAX);
    const struct fm_reseed_cell *c = &s->cell[cell];
    uint8_t owner = c->holder ? (uint8_t)(c->holder - 1) : home;
    /* not by another one, which would take it back from a holder that does not come: what then
     * becomes of it is a failover, by its policy */
    r->region = r->to = owner;
    r->state = FM_CELL_RELEASED;
    struct fm_epoch above = FM_RULE_PICK(R4_ABOVE, c->most, c->stored);
    r->epoch = fm_epoch_next((struct fm_epoch){above.n + (margin ? FM_RESEED_MARGIN : 0)});
    r->gentle_from = r->epoch;
    r->accepted.n = 0;
    r->evidence = FM_RULE_PICK(R4_EVIDENCE, forgotten(r->evidence), r->evidence);
    FM_ASSERT(fm_epoch_newer(r->epoch, c->stored));
}

struct fm_budget_record fm_reseed_budget(struct fm_budget_record stored, uint8_t at_most)
{
    FM_ASSERT(at_most <= FM_BUDGET_SEEN_MAX && stored.freed <= UINT32_MAX - at_most);
    return (struct fm_budget_record){.spent = stored.freed + at_most, .freed = stored.freed};
}

struct fm_view_record fm_reseed_view(struct fm_view_record stored, struct fm_incarnation most,
                                     bool margin)
{
    uint64_t n = most.n > stored.incarnation.n ? most.n : stored.incarnation.n;
    return (struct fm_view_record){
        .incarnation = {n + 1 + (margin ? FM_RESEED_MARGIN : 0)},
        .generation = {stored.generation.n ? stored.generation.n : 1},
    };
}
