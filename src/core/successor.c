/* Taking over, in one transaction.
 *
 * Invariants: an acquire is sent only where fm_authority_may_acquire finds nothing against it,
 * after a linearizable read that began when the wait was over (rule 3); it compares the cell, the
 * holder's lease and the own keeper's record, and sets the lease dead (6): so it applies to the
 * record that the order was given for, with what it says of the data, or not at all; while its
 * outcome is unknown nothing is promised (10), until a read shows that one of the compared records
 * has moved on. A cell that was released or yielded is nobody's: no lease is waited for. */
#include "core/authority_parts.h"

/* Its last holder let go of it, after everybody there had stopped. */
static bool is_nobodys(const struct fm_authority *a, unsigned cell)
{
    return a->cell[cell].at.r.state != FM_CELL_HELD;
}

static bool mine(const struct fm_authority *a, unsigned cell)
{
    const struct fm_cell_record *c = &a->cell[cell].at.r;
    return c->region == a->region && c->state == FM_CELL_HELD;
}

bool fm_authority_lapsed(const struct fm_authority *a, unsigned region, struct fm_mono now)
{
    FM_ASSERT(region < a->cfg.nregions);
    return fm_seen_lapsed(a, region, now) || fm_seen_all_dead(a, region);
}

/* An order that nobody was asked for is counted once for each region that it takes cells from. */
static bool to_count(const struct fm_authority *a, unsigned cell)
{
    const struct fm_cell_record *c = &a->cell[cell].at.r;
    bool forced = FM_RULE_PICK(I8_YIELDED, c->state != FM_CELL_RELEASED, c->state == FM_CELL_HELD);
    return forced && a->s.automatic & fm_bit(cell) && !(a->s.counted >> c->region & 1);
}

static void count(struct fm_authority *a, const struct fm_txn *t)
{
    for (unsigned i = 0; i < t->nwrite; i++)
        if (t->write[i].key.kind == FM_RECORD_BUDGET)
            a->s.counted = (uint16_t)(a->s.counted | 1u << a->s.counting);
}

/* The rules of a holder who did not consent. Its death, if witnessed for all that could act, also
 * frees me of my word: nothing is left that could count on it. */
static enum fm_auth_why against_holder(const struct fm_authority *a, unsigned cell,
                                       struct fm_mono now)
{
    unsigned holder = a->cell[cell].at.r.region;
    bool witnessed = fm_seen_all_dead(a, holder);
    if (!FM_RULE(R6_WAIT, witnessed || fm_seen_lapsed(a, holder, now)))
        return FM_AUTH_WHY_LEASE_RUNS;
    if (!FM_RULE(R10_OWN_WORD, witnessed || !fm_mono_before(now, a->given_until[holder])))
        return FM_AUTH_WHY_PROMISED;
    return FM_AUTH_WHY_NONE;
}

enum fm_auth_why fm_authority_fit(const struct fm_authority *a, unsigned cell, struct fm_mono now)
{
    FM_ASSERT(cell < a->cfg.ncells);
    const struct fm_cell_at *c = &a->cell[cell].at;
    if (!a->cfg.able)
        return FM_AUTH_WHY_NOT_ABLE;
    if (a->frozen)
        return FM_AUTH_WHY_FROZEN;
    if (!a->keeper)
        return FM_AUTH_WHY_NOT_KEEPER;
    if (a->k.state != FM_CHAIN_HOLD || !fm_mono_before(now, a->k.lease_until))
        return FM_AUTH_WHY_NO_LEASE;
    bool settled = !fm_mono_before(now, a->k.settled_at) && !fm_mono_before(now, a->ready_at);
    if (!FM_RULE(R5_ACQUIRE, settled))
        return FM_AUTH_WHY_UNSETTLED;
    if (c->revision.n == 0)
        return FM_AUTH_WHY_NO_RECORD;
    if (!FM_RULE(R11_MEMBER, fm_members_has(&c->r.members, a->cfg.self)))
        return FM_AUTH_WHY_NOT_MEMBER;
    if (fm_epoch_newer(a->marks.epoch[cell], c->r.epoch))
        return FM_AUTH_WHY_FROZEN;
    return FM_AUTH_WHY_NONE;
}

enum fm_auth_why fm_authority_may_acquire(const struct fm_authority *a, unsigned cell,
                                          struct fm_mono now)
{
    enum fm_auth_why why = fm_authority_fit(a, cell, now);
    if (why != FM_AUTH_WHY_NONE)
        return why;
    if (to_count(a, cell) && fm_authority_budget_left(a) == 0)
        return FM_AUTH_WHY_AT_MOST;
    return is_nobodys(a, cell) ? FM_AUTH_WHY_NONE : against_holder(a, cell, now);
}

static void write_cell(const struct fm_authority *a, unsigned cell, struct fm_txn *t)
{
    struct fm_cell_record *c = &fm_txn_write(t, fm_auth_cell_key(a, cell))->to.cell;
    *c = a->cell[cell].at.r;
    bool consent =
        c->state == FM_CELL_RELEASED || FM_RULE_PICK(R26_YIELDED, false, c->state != FM_CELL_HELD);
    bool gentle = consent && c->to == a->region; /* all data is here */
    c->region = a->region;
    c->state = FM_CELL_HELD;
    c->to = 0;
    c->epoch = FM_RULE_PICK(R6_EPOCH, fm_epoch_next(c->epoch), c->epoch);
    if (!gentle)
        c->gentle_from = c->epoch;
    bool accepted = !gentle && a->s.accepted & fm_bit(cell);
    c->accepted = accepted ? c->epoch : (struct fm_epoch){0};
}

static void acquire(struct fm_authority *a, unsigned cell, struct fm_mono now,
                    struct fm_auth_actions *out)
{
    struct fm_auth_slot *slot = &a->s.slot;
    struct fm_txn *t = &slot->txn;
    const struct fm_cell_at *c = &a->cell[cell].at;
    *t = (struct fm_txn){0};
    slot->cell = (uint8_t)cell;
    if (FM_RULE_PICK(R6_CELL, true, false))
        fm_txn_compare(t, fm_auth_cell_key(a, cell), c->revision);
    if (FM_RULE_PICK(R6_KEEPER, true, false))
        fm_txn_compare(t, fm_auth_keeper_key(a), a->keeper_revision);
    write_cell(a, cell, t);
    if (!is_nobodys(a, cell)) {
        const struct fm_lease_at *l = &a->lease[c->r.region].at;
        struct fm_record_key key = fm_auth_lease_key(a, c->r.region);
        if (FM_RULE_PICK(R6_LEASE, true, false))
            fm_txn_compare(t, key, l->revision);
        if (l->revision.n && !l->r.dead && FM_RULE_PICK(R6_DEAD, true, false)) {
            struct fm_lease_record *w = &fm_txn_write(t, key)->to.lease;
            *w = l->r;
            w->dead = true;
        }
    }
    if (FM_RULE_PICK(R6_AT_MOST, to_count(a, cell), false)) {
        fm_txn_compare(t, fm_auth_budget_key(a), a->budget.revision);
        fm_txn_write(t, fm_auth_budget_key(a))->to.budget =
            (struct fm_budget_record){a->budget.r.spent + 1, a->budget.r.freed};
        a->s.counting = c->r.region;
    }
    fm_auth_commit(a, slot, now, out);
}

/* What was compared is not what is there any more: it can not apply, or it has. */
static bool resolved(const struct fm_authority *a)
{
    const struct fm_txn *t = &a->s.slot.txn;
    for (unsigned i = 0; i < t->ncompare; i++) {
        const struct fm_compare *c = &t->compare[i];
        struct fm_revision seen = c->revision;
        if (c->key.kind == FM_RECORD_CELL)
            seen = a->cell[c->key.id.cell].at.revision;
        else if (c->key.kind == FM_RECORD_LEASE)
            seen = a->lease[c->key.region].at.revision;
        else if (c->key.kind == FM_RECORD_KEEPER)
            seen = a->keeper_revision;
        else if (c->key.kind == FM_RECORD_BUDGET)
            seen = a->budget.revision;
        if (fm_revision_newer(seen, c->revision))
            return true;
    }
    return false;
}

void fm_successor_over(struct fm_authority *a, const struct fm_auth_event *e, struct fm_mono now,
                       struct fm_auth_actions *out)
{
    struct fm_successor *s = &a->s;
    FM_ASSERT(s->slot.busy && s->slot.cell < a->cfg.ncells);
    s->slot.busy = false;
    s->confirmed = s->confirming = e->outcome == FM_TXN_DONE && s->confirmed;
    switch (e->outcome) {
    case FM_TXN_DONE:
        s->unresolved = false;
        count(a, &s->slot.txn);
        fm_seen_wrote(a, &s->slot.txn, e->revision, now);
        fm_auth_say(out, FM_AUTH_WHY_ACQUIRED, s->slot.cell);
        return;
    case FM_TXN_NOT_DONE:
        s->unresolved = false; /* revisions never come back: what was unknown can not apply now */
        fm_auth_want_read(a);
        s->retry_at = fm_mono_add_ms(now, a->cfg.retry_ms);
        return;
    case FM_TXN_UNKNOWN:
        s->unresolved = FM_RULE_PICK(R3_UNRESOLVED, true, false);
        s->resolve_need = fm_auth_want_read(a);
        s->retry_at = fm_mono_add_ms(now, a->cfg.retry_ms);
        return;
    case FM_TXN_COUNT:
        break;
    }
    FM_UNREACHABLE();
}

static void resolve(struct fm_authority *a)
{
    struct fm_successor *s = &a->s;
    if (!s->unresolved || !fm_auth_read_done(a, s->resolve_need))
        return;
    if (resolved(a)) {
        s->unresolved = false;
        unsigned cell = s->slot.cell;
        bool applied = mine(a, cell) && fm_revision_newer(a->cell[cell].at.revision,
                                                          s->slot.txn.compare[0].revision);
        if (applied)
            count(a, &s->slot.txn);
    } else if (fm_mono_before(s->retry_at, FM_MONO_NEVER)) {
        s->resolve_need = fm_auth_want_read(a); /* look again */
    }
}

/* The first ordered cell that nothing stands against; what stands against the others is said once.
 */
static int choose(struct fm_authority *a, struct fm_mono now, struct fm_auth_actions *out)
{
    enum fm_auth_why blocked = FM_AUTH_WHY_NONE;
    unsigned at = 0;
    for (unsigned i = 0; i < a->cfg.ncells; i++) {
        if (!(a->s.cells & fm_bit(i)))
            continue;
        if (mine(a, i)) {
            a->s.cells &= ~fm_bit(i);
            continue;
        }
        enum fm_auth_why why = fm_authority_may_acquire(a, i, now);
        if (why == FM_AUTH_WHY_NONE)
            return (int)i;
        blocked = why;
        at = i;
    }
    if (blocked != a->s.blocked && blocked != FM_AUTH_WHY_NONE)
        fm_auth_say(out, blocked, at);
    a->s.blocked = (uint8_t)blocked;
    return -1;
}

static struct fm_mono sooner(struct fm_mono best, struct fm_mono t, struct fm_mono now)
{
    return fm_mono_before(now, t) ? fm_mono_min(best, t) : best;
}

struct fm_mono fm_successor_next(const struct fm_authority *a, struct fm_mono now)
{
    struct fm_mono next = FM_MONO_NEVER;
    for (unsigned i = 0; i < a->cfg.ncells && a->s.cells; i++) {
        if (!(a->s.cells & fm_bit(i)))
            continue;
        unsigned holder = a->cell[i].at.r.region;
        next = sooner(next, fm_seen_lapses_at(a, holder), now);
        next = sooner(next, a->given_until[holder], now);
        next = sooner(next, a->k.settled_at, now);
        next = sooner(next, a->ready_at, now);
    }
    return next;
}

void fm_successor_work(struct fm_authority *a, struct fm_mono now, struct fm_auth_actions *out)
{
    struct fm_successor *s = &a->s;
    if (s->slot.busy)
        return;
    resolve(a);
    if (!s->cells || fm_mono_before(now, s->retry_at))
        return;
    int cell = choose(a, now, out);
    if (cell < 0) {
        s->confirming = s->confirmed = false;
        return;
    }
    if (s->unresolved && s->slot.cell != cell)
        return;
    if (!s->confirming && !s->confirmed) {
        s->confirming = true;
        s->need = fm_auth_want_read(a);
    }
    if (!FM_RULE(R3_CONFIRM, s->confirmed || fm_auth_read_done(a, s->need)))
        return;
    s->confirming = false;
    s->confirmed = true;
    acquire(a, (unsigned)cell, now, out);
}
