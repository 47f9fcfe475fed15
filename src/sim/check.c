/* The checker. It sees the whole world at once, which nobody in it can, and looks after each step
 * for what must never be: two regions that could admit the same cell, an epoch that goes back or
 * has two holders, a success under authority that has ended. */
#include "sim/world.h"

/* anyway: also while it waits for the data to be open, which it may hear of at any moment. */
static bool could_admit(const struct world *w, unsigned p, unsigned ctx, unsigned cell, bool anyway)
{
    if (!w->proc[p].up)
        return false;
    const struct fm_sublease *s =
        &w->gate[w->proc[p].region * SIM_GATES + w->proc[p].index].sub[ctx];
    struct fm_command c = {.cell = (uint8_t)cell, .left_ns = 1};
    struct fm_gate_now at = {s->region, s->read_only, local_now(w, p)};
    struct fm_sublease_cell x = s->cell[cell];
    bool higher;
    x.closed = x.closed && !anyway;
    return fm_sublease_admit(&x, &c, &at, &higher) == FM_ADMIT_YES;
}

/* Nobody in another region could admit at this instant. A process that is paused can not, but its
 * sub-lease has to have ended by the time that it goes on: that is looked at then. */
static void alone(struct world *w, unsigned gate, unsigned ctx, unsigned cell, const char *what)
{
    unsigned region = w->proc[gate].region;
    for (unsigned r = 0; r < SIM_REGIONS; r++)
        for (unsigned i = 0; i < SIM_GATES && r != region; i++) {
            unsigned p = proc_gate(r, i);
            if (w->proc[p].resume_at <= w->now && could_admit(w, p, ctx, cell, true))
                broken(w, "invariant 1", "%s of cell %u.%u in region %u, while %u could admit",
                       what, ctx, cell, region, r);
        }
}

/* A gate got something new to act for: at this moment nobody elsewhere may. */
void check_granted(struct world *w, unsigned gate, unsigned ctx, uint64_t cells)
{
    for (unsigned i = 0; i < w->cfg.cells[ctx]; i++)
        if (cells >> i & 1 && could_admit(w, gate, ctx, i, true))
            alone(w, gate, ctx, i, "activation");
}

void check_admitted(struct world *w, unsigned gate, unsigned ctx, unsigned cell,
                    struct fm_epoch epoch)
{
    unsigned region = w->proc[gate].region;
    struct fm_epoch last = w->admitted[ctx][cell].epoch, *first = &w->admitted[ctx][cell].first;
    bool same = w->admitted[ctx][cell].region == region && last.n;
    if (fm_epoch_newer(same ? *first : last, epoch))
        broken(w, "invariant 1", "cell %u.%u admitted in region %u under epoch %llu after %llu",
               ctx, cell, region, (unsigned long long)epoch.n, (unsigned long long)last.n);
    if (fm_epoch_same(last, epoch) && !same)
        broken(w, "invariant 2", "epoch %llu of cell %u.%u admitted by regions %u and %u",
               (unsigned long long)epoch.n, ctx, cell, w->admitted[ctx][cell].region, region);
    if (w->group && ctx == 0)
        db_check_admitted(w, epoch);
    if (!same)
        *first = epoch;
    w->admitted[ctx][cell].epoch = fm_epoch_max(last, epoch);
    w->admitted[ctx][cell].region = (uint8_t)region;
    alone(w, gate, ctx, cell, "admission");
}

void check_relayed(struct world *w, unsigned gate, unsigned ctx, unsigned cell,
                   struct fm_epoch epoch)
{
    if (fm_epoch_newer(w->admitted[ctx][cell].first, epoch))
        broken(w, "invariant 1", "a success of cell %u.%u under epoch %llu after %llu", ctx, cell,
               (unsigned long long)epoch.n, (unsigned long long)w->admitted[ctx][cell].epoch.n);
    alone(w, gate, ctx, cell, "relay of a success");
}

/* Invariant 8. An automatic failover is one order of one agent, however many cells it takes. */
static void count_automatic(struct world *w, unsigned p, unsigned ctx, unsigned lost)
{
    const struct agent *a = agent_of(w, p);
    const struct fm_failover *f = &a->fo[ctx][lost];
    unsigned n = w->nautomatic[ctx], within = 0;
    if (f->state != FM_FAILOVER_COMPLETING || !f->automatic || n == AUTOMATIC_MAX)
        return;
    for (unsigned i = 0; i < n; i++)
        if (w->automatic[ctx][i].agent == p && w->automatic[ctx][i].region == lost &&
            w->automatic[ctx][i].since == f->since.ns)
            return;
    w->automatic[ctx][n].agent = p;
    w->automatic[ctx][n].region = lost;
    w->automatic[ctx][n].since = f->since.ns;
    w->automatic[ctx][n].at = w->now;
    w->nautomatic[ctx]++;
    w->r->automatic++;
    for (unsigned i = 0; i <= n; i++)
        within += w->now - w->automatic[ctx][i].at < w->cfg.window_ms * MS;
    if (within > w->cfg.at_most)
        broken(w, "invariant 8", "%u automatic failovers of context %u in a window, %u at most",
               within, ctx, w->cfg.at_most);
}

static void changed_hands(struct world *w, const struct fm_cell_record *old,
                          const struct fm_cell_record *new, unsigned c, unsigned n, unsigned from)
{
    if (!fm_epoch_newer(new->epoch, old->epoch))
        broken(w, "invariant 2", "epoch %llu of cell %u.%u held by regions %u and %u",
               (unsigned long long)new->epoch.n, c, n, old->region, new->region);
    bool gentle = old->state == FM_CELL_RELEASED && old->to == new->region &&
                  !fm_epoch_same(old->epoch, w->seeded[c][n]);
    trace(w, "cell %u.%u: region %u epoch %llu -> region %u epoch %llu%s", c, n, old->region,
          (unsigned long long)old->epoch.n, new->region, (unsigned long long)new->epoch.n,
          gentle ? ", planned" : "");
    if (gentle)
        w->r->moves++;
    else
        w->r->failovers++;
    if (old->state != FM_CELL_RELEASED)
        count_automatic(w, from, c, old->region);
    data_acquired(w, old->region, new->region, c, n, gentle, new->epoch);
}

/* Rule 7: whoever lets go of a cell has nobody left who acts for it. */
static void check_let_go(struct world *w, const struct fm_cell_record *old, unsigned c, unsigned n)
{
    for (unsigned g = 0; g < SIM_GATES && w->store.id == 1; g++) {
        unsigned p = proc_gate(old->region, g);
        const struct fm_sublease_cell *s = &gate_of(w, p)->sub[c].cell[n];
        if (w->proc[p].up && fm_sublease_live(s, old->epoch, local_now(w, p)))
            broken(w, "rule 7", "region %u lets go of cell %u.%u, and gate %u acts for it",
                   old->region, c, n, g);
    }
}

void check_committed(struct world *w, const struct store *before, const struct fm_txn *t,
                     unsigned from)
{
    for (unsigned i = 0; i < t->nwrite; i++) {
        const struct fm_write *x = &t->write[i];
        if (x->key.kind != FM_RECORD_CELL)
            continue;
        unsigned c = x->key.id.context, n = x->key.id.cell;
        const struct fm_cell_record *old = &before->ctx[c].cell[n].r, *new = &x->to.cell;
        if (fm_epoch_newer(old->epoch, new->epoch))
            broken(w, "invariant 2", "the epoch of cell %u.%u goes back", c, n);
        bool was = before->ctx[c].cell[n].revision.n != 0;
        if (w->group && c == 0)
            db_recorded(w, old, new);
        bool taken = was && new->state == FM_CELL_HELD;
        if (was && old->state == FM_CELL_HELD && new->state != FM_CELL_HELD)
            check_let_go(w, old, c, n);
        if (was && w->group && c == 0 && fm_epoch_newer(new->epoch, old->epoch))
            db_check_ended(w, old);
        if (taken && old->region != new->region)
            changed_hands(w, old, new, c, n, from);
        else if (taken && old->state == FM_CELL_YIELDED)
            count_automatic(w, from, c, old->region);
    }
}

/* Rule 30: nobody forces a failover from a region that has long been well, and is seen to be; but
 * for what it has given up itself. */
void check_ordered(struct world *w, unsigned p, unsigned ctx, unsigned region, bool glass)
{
    bool calm = w->faults_on == 0 && w->now - w->calm_since > 20 * S;
    const struct fm_cell_record *c = &w->store.ctx[ctx].cell[0].r;
    bool yielded = c->state == FM_CELL_YIELDED && c->region == region;
    if (calm && !glass && !yielded)
        broken(w, "rule 30",
               "agent %u orders a failover of context %u from region %u, which is well", p, ctx,
               region);
}

/* For the trace: what everybody thinks of a cell. */
static void dump(struct world *w, unsigned c, unsigned i)
{
    for (unsigned r = 0; r < SIM_REGIONS; r++)
        for (unsigned k = 0; k < SIM_AGENTS; k++) {
            unsigned p = proc_agent(r, k);
            const struct agent *a = agent_of(w, p);
            const struct fm_authority *x = &a->auth[c];
            trace(w,
                  "agent %u.%u: up %d %s/%s rev %llu%s lease left %.3f holds %llx stopping %llx "
                  "stopped %llx retake %llx reading %d wanted %u done %u renewal %d doubt %d want "
                  "%u subs %u cell epoch %llu region %u state %u move %s",
                  r, k, w->proc[p].up, fm_office_state_name((enum fm_office_state)a->office.state),
                  fm_chain_state_name((enum fm_chain_state)x->k.state),
                  (unsigned long long)x->lease[r].at.revision.n, x->frozen ? " FROZEN" : "",
                  (double)fm_mono_sub_ns(x->k.lease_until, local_now(w, p)) / 1e9,
                  (unsigned long long)fm_authority_holds(x), (unsigned long long)x->k.stopping,
                  (unsigned long long)x->k.stopped, (unsigned long long)x->k.retake, x->reading,
                  x->read_wanted, x->read_done, x->k.renewal.busy, x->k.change_doubt, x->k.nwant,
                  x->lease[r].at.r.nsubs, (unsigned long long)x->cell[i].at.r.epoch.n,
                  x->cell[i].at.r.region, x->cell[i].at.r.state,
                  fm_move_state_name((enum fm_move_state)a->mv[c].state));
        }
    for (unsigned r = 0; r < SIM_REGIONS; r++)
        for (unsigned k = 0; k < SIM_GATES; k++) {
            unsigned p = proc_gate(r, k);
            const struct fm_sublease *s = &gate_of(w, p)->sub[c];
            trace(w, "gate %u.%u: up %d until %.3f epoch %llu known %llu stopped %llu quiet %.3f%s",
                  r, k, w->proc[p].up,
                  (double)fm_mono_sub_ns(s->cell[i].until, local_now(w, p)) / 1e9,
                  (unsigned long long)s->cell[i].epoch.n, (unsigned long long)s->cell[i].known.n,
                  (unsigned long long)s->cell[i].stopped.n,
                  (double)fm_mono_sub_ns(s->cell[i].quiet_until, local_now(w, p)) / 1e9,
                  s->cell[i].closed ? " closed" : "");
        }
}

/* Liveness: long after the last fault every cell is served by the region that holds it, and every
 * edge knows. */
void check_end(struct world *w)
{
    if (w->group)
        db_check_end(w);
    for (unsigned c = 0; c < w->cfg.contexts; c++)
        for (unsigned i = 0; i < w->cfg.cells[c]; i++) {
            const struct fm_cell_record *r = &w->store.ctx[c].cell[i].r;
            bool served = w->group && c == 0 && (yield_waits(w) || !db_any_serves(w));
            for (unsigned g = 0; g < SIM_GATES; g++)
                served |= could_admit(w, proc_gate(r->region, g), c, i, false);
            if (!served)
                dump(w, c, i);
            if (!served)
                broken(w, "liveness", "nobody serves cell %u.%u, held by region %u epoch %llu", c,
                       i, r->region, (unsigned long long)r->epoch.n);
            for (unsigned e = 0; e < SIM_EDGES; e++)
                if (!fm_epoch_same(w->edge[e].view[c].cell[i].epoch, r->epoch))
                    broken(w, "liveness", "edge %u does not know of epoch %llu of cell %u.%u", e,
                           (unsigned long long)r->epoch.n, c, i);
        }
}
