/* The first records of a context: a cell that was never written is created held by its home, at
 * epoch 1, by the keeper of that region; the record of the seed by whichever keeper is first.
 *
 * Invariants: only where a linearizable read has shown nothing, and this region has never seen
 * anything there either (a store that lost its cells has gone back, rule 4); every record is
 * compared as absent, and the office of who writes it, too. No lease has been granted for what
 * never was, so nothing is waited for. */
#include "core/authority_parts.h"

static bool missing(const struct fm_authority *a, unsigned cell)
{
    FM_ASSERT(cell < a->cfg.ncells);
    return a->cfg.home[cell] == a->region && a->cell[cell].at.revision.n == 0 &&
           FM_RULE(R4_FOUND, a->marks.epoch[cell].n == 0);
}

static bool no_seed(const struct fm_authority *a)
{
    return a->view.revision.n == 0 && a->marks.incarnation.n == 0;
}

static bool anything_missing(const struct fm_authority *a)
{
    bool any = no_seed(a);
    for (unsigned i = 0; i < a->cfg.ncells && !any; i++)
        any = missing(a, i);
    return any;
}

/* Where the record is absent, a write of it that says so. */
static struct fm_write *create(struct fm_txn *t, struct fm_record_key key)
{
    if (FM_RULE_PICK(R2_FOUND_CAS, true, false))
        fm_txn_compare(t, key, (struct fm_revision){0});
    return fm_txn_write(t, key);
}

static void first_cell(const struct fm_authority *a, unsigned cell, struct fm_txn *t)
{
    struct fm_cell_record *c = &create(t, fm_auth_cell_key(a, cell))->to.cell;
    *c = (struct fm_cell_record){.region = a->region,
                                 .state = FM_CELL_HELD,
                                 .epoch = {1},
                                 .gentle_from = {1},
                                 .members = a->cfg.file};
    fm_members_add(&c->members, a->cfg.self);
}

void fm_found_over(struct fm_authority *a, const struct fm_auth_event *e, struct fm_mono now,
                   struct fm_auth_actions *out)
{
    struct fm_auth_slot *slot = &a->found_slot;
    FM_ASSERT(slot->busy);
    slot->busy = false;
    if (e->outcome == FM_TXN_DONE) {
        fm_seen_wrote(a, &slot->txn, e->revision, now);
        fm_auth_say(out, FM_AUTH_WHY_FOUNDED, slot->cell);
        return;
    }
    a->found_need = fm_auth_want_read(a); /* somebody was quicker, or it is not known */
}

void fm_found_work(struct fm_authority *a, struct fm_mono now, struct fm_auth_actions *out)
{
    struct fm_auth_slot *slot = &a->found_slot;
    bool read = a->read_done > 0 && fm_auth_read_done(a, a->found_need);
    if (!a->cfg.founds || a->frozen || !read || slot->busy || a->k.state != FM_CHAIN_HOLD)
        return;
    if (!anything_missing(a))
        return;
    struct fm_txn *t = &slot->txn;
    *t = (struct fm_txn){0};
    fm_txn_compare(t, fm_auth_keeper_key(a), a->keeper_revision);
    if (no_seed(a))
        create(t, (struct fm_record_key){.kind = FM_RECORD_VIEW})->to.view =
            (struct fm_view_record){{1}, {1}};
    for (unsigned i = 0; i < a->cfg.ncells && t->nwrite < FM_TXN_WRITES_MAX; i++) {
        if (!missing(a, i))
            continue;
        first_cell(a, i, t);
        slot->cell = (uint8_t)i;
    }
    fm_auth_commit(a, slot, now, out);
}
