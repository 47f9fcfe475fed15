/* The checker. It sees the whole world at once, which nobody in it can, and looks after each step
 * for what must never be: two regions that could admit the same cell, an epoch that goes back or
 * has two holders, a success under authority that has ended. */
#include "sim/world.h"

static bool could_admit(const struct world *w, unsigned p, unsigned ctx, unsigned cell)
{
    if (!w->proc[p].up)
        return false;
    struct fm_sublease s = w->gate[w->proc[p].region * SIM_GATES + w->proc[p].index].sub[ctx];
    struct fm_command c = {.cell = (uint8_t)cell, .left_ns = 1};
    return fm_sublease_admit(&s, &c, local_now(w, p)) == FM_ADMIT_YES;
}

/* Nobody in another region could admit at this instant. A process that is paused can not, but its
 * sub-lease has to have ended by the time that it goes on: that is looked at then. */
static void alone(struct world *w, unsigned gate, unsigned ctx, unsigned cell, const char *what)
{
    unsigned region = w->proc[gate].region;
    for (unsigned r = 0; r < SIM_REGIONS; r++)
        for (unsigned i = 0; i < SIM_GATES && r != region; i++) {
            unsigned p = proc_gate(r, i);
            if (w->proc[p].resume_at <= w->now && could_admit(w, p, ctx, cell))
                broken(w, "invariant 1", "%s of cell %u.%u in region %u, while %u could admit",
                       what, ctx, cell, region, r);
        }
}

void check_admitted(struct world *w, unsigned gate, unsigned ctx, unsigned cell,
                    struct fm_epoch epoch)
{
    unsigned region = w->proc[gate].region;
    struct fm_epoch *last = &w->admitted[ctx][cell].epoch;
    if (fm_epoch_newer(*last, epoch))
        broken(w, "invariant 1", "cell %u.%u admitted in region %u under epoch %llu after %llu",
               ctx, cell, region, (unsigned long long)epoch.n, (unsigned long long)last->n);
    if (fm_epoch_same(*last, epoch) && w->admitted[ctx][cell].region != region)
        broken(w, "invariant 2", "epoch %llu of cell %u.%u admitted by regions %u and %u",
               (unsigned long long)epoch.n, ctx, cell, w->admitted[ctx][cell].region, region);
    *last = epoch;
    w->admitted[ctx][cell].region = (uint8_t)region;
    alone(w, gate, ctx, cell, "admission");
}

void check_relayed(struct world *w, unsigned gate, unsigned ctx, unsigned cell,
                   struct fm_epoch epoch)
{
    if (fm_epoch_newer(w->admitted[ctx][cell].epoch, epoch))
        broken(w, "invariant 1", "a success of cell %u.%u under epoch %llu after %llu", ctx, cell,
               (unsigned long long)epoch.n, (unsigned long long)w->admitted[ctx][cell].epoch.n);
    alone(w, gate, ctx, cell, "relay of a success");
}

void check_committed(struct world *w, const struct store *before, const struct fm_txn *t)
{
    for (unsigned i = 0; i < t->nwrite; i++) {
        const struct fm_write *x = &t->write[i];
        if (x->key.kind != FM_KEY_CELL)
            continue;
        unsigned c = x->key.id.context, n = x->key.id.cell;
        const struct fm_cell_record *old = &before->ctx[c].cell[n].r, *new = &x->to.cell;
        if (fm_epoch_newer(old->epoch, new->epoch))
            broken(w, "invariant 2", "the epoch of cell %u.%u goes back", c, n);
        bool other = old->region != new->region &&new->state == FM_CELL_HELD;
        if (other && !fm_epoch_newer(new->epoch, old->epoch))
            broken(w, "invariant 2", "epoch %llu of cell %u.%u held by regions %u and %u",
                   (unsigned long long)new->epoch.n, c, n, old->region, new->region);
        if (other && old->state == FM_CELL_HELD)
            w->r->failovers++;
        if (other && old->state == FM_CELL_RELEASED)
            w->r->moves++;
        if (other)
            trace(w, "cell %u.%u: region %u epoch %llu -> region %u epoch %llu", c, n, old->region,
                  (unsigned long long)old->epoch.n, new->region, (unsigned long long)new->epoch.n);
    }
}
