/* Giving away, and what else a keeper changes of a cell: stop, release, yield, retake, members.
 *
 * Invariants: `released` and `yielded` are written only by a settled keeper, after every sub-lessee
 * has acknowledged that it stopped or has run out (rules 5, 7); a cell whose sub-lessees were told
 * to stop is never granted again under the same epoch; a change of unknown outcome is sent again as
 * the same compare-and-swap, or overtaken by another one. One change is on its way at a time. */
#include "core/authority_parts.h"
#include "core/lineage.h"

void fm_handover_stop(struct fm_authority *a, unsigned cell, struct fm_mono now)
{
    struct fm_keeper *k = &a->k;
    FM_ASSERT(cell < a->cfg.ncells);
    uint64_t bit = fm_bit(cell);
    if (!(fm_authority_holds(a) & bit) || k->stopping & bit)
        return;
    k->stopping |= bit;
    k->stopped &= ~bit;
    k->stop_wait[cell] = now;
    for (unsigned i = 0; i < FM_SUBS_MAX; i++) {
        struct fm_grantee *g = &k->grantee[i];
        g->stopped &= ~bit;
        if (g->used)
            k->stop_wait[cell] = fm_mono_max(k->stop_wait[cell], g->until);
    }
    k->stop_at = now;
}

void fm_handover_sub_stopped(struct fm_authority *a, const struct fm_auth_event *e)
{
    for (unsigned i = 0; i < FM_SUBS_MAX; i++) {
        struct fm_grantee *g = &a->k.grantee[i];
        if (!g->used || !fm_sub_same(g->sub, e->sub))
            continue;
        for (unsigned c = 0; c < a->cfg.ncells; c++)
            if (e->cells & fm_bit(c) && !fm_epoch_newer(a->cell[c].at.r.epoch, e->epochs[c]))
                g->stopped |= fm_bit(c);
    }
}

static bool all_stopped(const struct fm_authority *a, unsigned cell, struct fm_mono now)
{
    const struct fm_keeper *k = &a->k;
    if (!fm_mono_before(now, k->stop_wait[cell]))
        return true; /* whoever did not answer has run out */
    for (unsigned i = 0; i < FM_SUBS_MAX; i++) {
        const struct fm_grantee *g = &k->grantee[i];
        bool live = g->used && fm_mono_before(now, g->until);
        if (live && !FM_RULE(R7_STOPPED, (g->stopped & fm_bit(cell)) != 0))
            return false;
    }
    return true;
}

/* -------- changes of a cell -------- */

/* A cell that was released is taken back after so many leases. */
enum { ORPHANED = 4 };

static int64_t lease_ms(const struct fm_authority *a)
{
    return a->cfg.lease_ms;
}

bool fm_authority_is_settled(const struct fm_authority *a, struct fm_mono now)
{
    return a->k.state == FM_CHAIN_HOLD &&
           FM_RULE(R5_RELEASE, !fm_mono_before(now, a->k.settled_at)) &&
           !fm_mono_before(now, a->ready_at);
}

static struct fm_cell_record *begin_change(struct fm_authority *a, unsigned cell,
                                           enum fm_auth_why goal)
{
    struct fm_auth_slot *slot = &a->k.change;
    FM_ASSERT(!slot->busy && a->keeper);
    slot->txn = (struct fm_txn){0};
    slot->cell = (uint8_t)cell;
    slot->goal = goal;
    struct fm_record_key key = fm_auth_cell_key(a, cell);
    if (goal != FM_AUTH_WHY_RELEASED || FM_RULE_PICK(R2_RELEASE_CAS, true, false)) {
        fm_txn_compare(&slot->txn, key, a->cell[cell].at.revision);
        fm_txn_compare(&slot->txn, fm_auth_keeper_key(a), a->keeper_revision);
    }
    struct fm_cell_record *c = &fm_txn_write(&slot->txn, key)->to.cell;
    *c = a->cell[cell].at.r;
    return c;
}

bool fm_handover_is_let_go(const struct fm_authority *a, unsigned cell)
{
    const struct fm_cell_at *c = &a->cell[cell].at;
    bool ours = c->r.state != FM_CELL_HELD && c->r.region == a->region && c->revision.n;
    return ours && !fm_epoch_newer(a->marks.epoch[cell], c->r.epoch);
}

void fm_handover_record(struct fm_authority *a, const struct fm_auth_event *e)
{
    struct fm_keeper *k = &a->k;
    FM_ASSERT(e->cell < a->cfg.ncells);
    k->recording = true;
    k->recording_cell = e->cell;
    k->recording_over = e->revision;
    k->evidence = e->evidence;
}

/* Of the database agents of this region whoever comes first; a cell that is being stopped is left
 * as it is. Who asked sees the record, or asks again. */
static bool next_evidence(struct fm_authority *a)
{
    struct fm_keeper *k = &a->k;
    unsigned cell = k->recording_cell;
    const struct fm_cell_record *c = &a->cell[cell].at.r;
    if (!k->recording)
        return false;
    k->recording = false;
    if (fm_bit(cell) & (k->stopping | ~fm_authority_holds(a)) ||
        !fm_revision_same(a->cell[cell].at.revision, k->recording_over) ||
        !fm_group_may_record(&c->evidence, &k->evidence, c->epoch))
        return false;
    begin_change(a, cell, FM_AUTH_WHY_NONE)->evidence = k->evidence;
    return true;
}

/* Under another epoch another node of PostgreSQL may be the one that writes: so whoever does under
 * this one has to have stopped. Gates of one region may overlap. */
static bool may_retake(const struct fm_authority *a, unsigned cell, struct fm_mono now)
{
    const struct fm_cell_record *c = &a->cell[cell].at.r;
    bool settled = fm_authority_is_settled(a, now);
    if (c->state != FM_CELL_HELD)
        return c->state == FM_CELL_RELEASED || settled;
    return FM_RULE(R7_RETAKE, c->evidence.writer == 0 || (a->k.stopped & fm_bit(cell) && settled));
}

/* The first change that is due, or false. */
static bool next_change(struct fm_authority *a, struct fm_mono now)
{
    struct fm_keeper *k = &a->k;
    bool any = (k->retake | k->releasing | k->yielding) != 0 || k->members_wanted;
    uint64_t holds = any ? fm_authority_holds(a) : 0;
    for (unsigned i = 0; i < a->cfg.ncells && any; i++) {
        uint64_t bit = fm_bit(i);
        if (k->retake & bit && (holds & bit || fm_handover_is_let_go(a, i)) &&
            may_retake(a, i, now)) {
            struct fm_cell_record *c = begin_change(a, i, FM_AUTH_WHY_RETAKEN);
            bool yielded = c->state == FM_CELL_YIELDED;
            c->state = FM_CELL_HELD;
            c->epoch = FM_RULE_PICK(R16_ABORT, fm_epoch_next(c->epoch), c->epoch);
            if (yielded) /* who goes on may not be who wrote last */
                c->gentle_from = c->epoch;
            return true;
        }
        bool stopped = (k->stopped & bit) != 0;
        if (k->releasing & holds & bit && fm_authority_is_settled(a, now) && stopped) {
            struct fm_cell_record *c = begin_change(a, i, FM_AUTH_WHY_RELEASED);
            c->state = FM_CELL_RELEASED;
            c->to = k->release_to[i];
            FM_ASSERT(c->to != a->region);
            return true;
        }
        if (k->yielding & holds & bit && fm_authority_is_settled(a, now) &&
            FM_RULE(R7_YIELD, stopped)) {
            struct fm_cell_record *c = begin_change(a, i, FM_AUTH_WHY_YIELDED);
            c->state = FM_CELL_YIELDED;
            c->to = k->release_to[i];
            return true;
        }
        if (k->members_wanted && holds & bit && fm_authority_is_settled(a, now) &&
            !(k->stopping & bit) && !fm_members_same(&a->cell[i].at.r.members, &k->members)) {
            begin_change(a, i, FM_AUTH_WHY_NONE)->members = k->members;
            return true;
        }
    }
    return next_evidence(a);
}

void fm_handover_change_over(struct fm_authority *a, const struct fm_auth_event *e,
                             struct fm_mono now, struct fm_auth_actions *out)
{
    struct fm_auth_slot *slot = &a->k.change;
    FM_ASSERT(slot->busy && slot->cell < a->cfg.ncells);
    slot->busy = false;
    if (e->outcome == FM_TXN_DONE) {
        fm_seen_wrote(a, &slot->txn, e->revision, now);
        if (slot->goal != FM_AUTH_WHY_NONE)
            fm_auth_say(out, slot->goal, slot->cell);
        if (slot->goal == FM_AUTH_WHY_RETAKEN)
            a->k.retake &= ~fm_bit(slot->cell);
        return;
    }
    a->k.change_doubt = true;
    a->k.change_need = fm_auth_want_read(a);
}

void fm_handover_work(struct fm_authority *a, struct fm_mono now, struct fm_auth_actions *out)
{
    struct fm_keeper *k = &a->k;
    uint64_t again = k->retake & ~k->stopping;
    for (unsigned i = 0; i < a->cfg.ncells && again; i++)
        if (again & fm_bit(i) && !may_retake(a, i, now))
            fm_handover_stop(a, i, now);
    uint64_t waiting = k->stopping & ~k->stopped;
    if (waiting)
        waiting &= fm_authority_holds(a);
    for (unsigned i = 0; i < a->cfg.ncells && waiting; i++)
        if (waiting & fm_bit(i) && all_stopped(a, i, now)) {
            k->stopped |= fm_bit(i);
            fm_auth_say(out, FM_AUTH_WHY_STOPPED, i);
        }
    waiting &= ~k->stopped;
    if (waiting && !fm_mono_before(now, k->stop_at)) {
        k->stop_at = fm_mono_add_ms(now, a->cfg.retry_ms);
        fm_auth_do(out, FM_AUTH_DO_STOP)->cells = waiting;
    }
    /* released, and the heir does not come; not before what was granted under another store is
     * over, which may be longer than my lease has it */
    for (unsigned i = 0; i < a->cfg.ncells && !fm_mono_before(now, a->ready_at); i++)
        if (fm_handover_is_let_go(a, i) && a->cell[i].at.r.state == FM_CELL_RELEASED &&
            fm_mono_sub_ms(now, a->cell[i].since) >= ORPHANED * lease_ms(a))
            k->retake |= fm_bit(i);
    if (k->change_doubt && fm_auth_read_done(a, k->change_need))
        k->change_doubt = false;
    if (!k->change.busy && !k->change_doubt && a->keeper && !a->frozen &&
        k->state == FM_CHAIN_HOLD && next_change(a, now))
        fm_auth_commit(a, &k->change, now, out);
}
