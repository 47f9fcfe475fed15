/* What coordination was seen to hold, and since when. Invariants: a record is replaced by a newer
 * revision only, and `since` is the moment after the read that first showed it (rule 1); the marks
 * never go back; a linearizable read that shows less than was seen before freezes this agent until
 * the store was seeded anew (rule 4). It decides nothing else. */
#include "core/authority_parts.h"

static void take_lease(struct fm_authority *a, unsigned r, const struct fm_lease_at *at,
                       struct fm_mono now)
{
    struct fm_seen_lease *l = &a->lease[r];
    if (!fm_revision_newer(at->revision, l->at.revision))
        return;
    FM_ASSERT(at->r.nsubs <= FM_SUBS_MAX && at->r.lease_ms > 0);
    bool same_subs = l->at.r.nsubs == at->r.nsubs;
    for (unsigned i = 0; same_subs && i < at->r.nsubs; i++)
        same_subs = fm_sub_same(l->at.r.sub[i], at->r.sub[i]);
    if (!same_subs)
        l->testified = 0; /* they are sent again until the lease is dead */
    l->at = *at;
    l->since_before = l->since;
    l->since = now;
}

static void take_cell(struct fm_authority *a, unsigned i, const struct fm_cell_at *at,
                      struct fm_mono now)
{
    struct fm_seen_cell *c = &a->cell[i];
    if (!fm_revision_newer(at->revision, c->at.revision))
        return;
    FM_ASSERT(at->r.region < a->cfg.nregions && at->r.epoch.n > 0);
    FM_ASSERT(at->r.state == FM_CELL_HELD || at->r.to < a->cfg.nregions);
    bool other = at->r.region != c->at.r.region || !fm_epoch_same(at->r.epoch, c->at.r.epoch);
    /* whose data count and what bounds their loss is what an order to acquire was weighed by */
    bool weighed = fm_evidence_same(&at->r.evidence, &c->at.r.evidence);
    if (other || at->r.state != c->at.r.state || !FM_RULE(R6_EVIDENCE, weighed))
        a->s.cells &= ~fm_bit(i); /* the order was about what it was then */
    c->at = *at;
    c->since = now;
    if (other || at->r.state != FM_CELL_HELD) { /* what was going on with it is over */
        a->k.stopping &= ~fm_bit(i);
        a->k.stopped &= ~fm_bit(i);
        a->k.releasing &= ~fm_bit(i);
        a->k.yielding &= ~fm_bit(i);
        a->k.retake &= ~fm_bit(i);
        for (unsigned g = 0; g < FM_SUBS_MAX; g++)
            a->k.grantee[g].stopped &= ~fm_bit(i);
    }
    bool same = fm_epoch_same(at->r.epoch, a->marks.epoch[i]);
    if (fm_epoch_newer(at->r.epoch, a->marks.epoch[i]) || (same && a->marks.holder[i] == 0)) {
        a->marks.epoch[i] = at->r.epoch;
        a->marks.holder[i] = fm_cell_owner(&at->r) + 1;
        a->marks_dirty = true;
    }
}

static void take_budget(struct fm_authority *a, const struct fm_budget_at *at, struct fm_mono now)
{
    if (!fm_revision_newer(at->revision, a->budget.revision))
        return;
    FM_ASSERT(at->r.spent >= at->r.freed);
    bool first = a->budget.revision.n == 0;
    uint32_t from = first ? at->r.freed : a->budget.r.spent;
    for (uint32_t i = from; i != at->r.spent; i++)
        a->spent_at[i % FM_BUDGET_SEEN_MAX] = now;
    a->budget = *at;
}

/* Rule 4. A linearizable read shows all that was seen before it was sent, or the store went back.
 */
static bool shows_less(const struct fm_authority *a, const struct fm_snapshot *s)
{
    if (!FM_RULE(R4_STORE, !fm_revision_newer(a->floor.store, s->store)))
        return true;
    for (unsigned i = 0; i < a->cfg.ncells; i++)
        if (!FM_RULE(R4_EPOCH, !fm_epoch_newer(a->floor.epoch[i], s->cell[i].r.epoch)))
            return true;
    return false;
}

/* A store that was seeded anew: nothing that was seen of the other one counts. What was granted or
 * promised under it runs out first. */
static void begin_anew(struct fm_authority *a, const struct fm_auth_event *e, struct fm_mono now,
                       struct fm_auth_actions *out)
{
    FM_ASSERT(e->snapshot->view.r.incarnation.n > a->marks.incarnation.n);
    int32_t longest_ms = a->cfg.lease_ms;
    for (unsigned r = 0; r < FM_AUTH_REGIONS_MAX; r++)
        if (a->lease[r].at.r.lease_ms > longest_ms)
            longest_ms = a->lease[r].at.r.lease_ms;
    fm_keeper_lose(a, out);
    a->k = (struct fm_keeper){.state = FM_CHAIN_IDLE};
    a->s = (struct fm_successor){.cells = 0};
    a->free_slot.busy = a->found_slot.busy = false;
    for (unsigned r = 0; r < FM_AUTH_REGIONS_MAX; r++)
        a->lease[r] = (struct fm_seen_lease){.since = now};
    for (unsigned i = 0; i < FM_AUTH_CELLS_MAX; i++)
        a->cell[i] = (struct fm_seen_cell){.since = now};
    a->budget = (struct fm_budget_at){.revision = {0}};
    a->view = (struct fm_view_at){.revision = {0}};
    a->keeper = a->resolved = false;
    a->keeper_revision = a->whole = (struct fm_revision){0};
    a->marks.store_id = e->store_id;
    a->marks.store = e->snapshot->store;
    a->marks.incarnation = e->snapshot->view.r.incarnation;
    a->marks_dirty = true;
    struct fm_mono ready = fm_mono_add_ns(now, fm_wait_ns(longest_ms, a->cfg.rho_ppm));
    a->ready_at = FM_RULE_PICK(R4_RESEED, ready, now);
    a->frozen = false;
    fm_auth_want_read(a); /* also for who is in office now */
    fm_auth_say(out, FM_AUTH_WHY_RESEEDED, 0);
}

/* The first sight of a store, or of the record of its seed, which is written after the stamp. */
static void meet(struct fm_authority *a, const struct fm_auth_event *e)
{
    struct fm_incarnation seed = e->snapshot->view.r.incarnation;
    bool first = a->marks.store_id == 0;
    if (first)
        a->marks.store_id = e->store_id;
    if (e->store_id != a->marks.store_id || a->marks.incarnation.n != 0)
        return;
    a->marks.incarnation = seed;
    a->marks_dirty |= first || seed.n != 0;
}

/* Nobody was ever here for this context. */
static bool is_empty(const struct fm_snapshot *s)
{
    bool any = false;
    for (unsigned r = 0; r < s->nregions; r++)
        any |= s->lease[r].revision.n != 0;
    for (unsigned i = 0; i < s->ncells; i++)
        any |= s->cell[i].revision.n != 0;
    return !any;
}

/* For an agent without marks: is this the store that the others act upon? */
static bool prove(struct fm_authority *a, const struct fm_snapshot *s)
{
    bool moved = a->has_base && s->view.r.incarnation.n > a->base_seed.n;
    for (unsigned r = 0; r < s->nregions; r++) {
        moved |= a->has_base && fm_revision_newer(s->lease[r].revision, a->base[r]);
        a->base[r] = a->has_base ? a->base[r] : s->lease[r].revision;
    }
    if (!a->has_base)
        a->base_seed = s->view.r.incarnation;
    a->has_base = true;
    return moved || is_empty(s);
}

void fm_seen_take(struct fm_authority *a, const struct fm_auth_event *e, bool linear,
                  struct fm_mono now, struct fm_auth_actions *out)
{
    const struct fm_snapshot *s = e->snapshot;
    FM_ASSERT(s->nregions == a->cfg.nregions && s->ncells == a->cfg.ncells);
    if (a->unproven) {
        a->unproven = !linear || !prove(a, s);
        if (a->unproven && !a->frozen)
            fm_auth_say(out, FM_AUTH_WHY_UNPROVEN, 0);
        a->frozen = a->unproven;
        if (a->unproven) {
            fm_auth_want_read(a);
            return;
        }
    }
    meet(a, e);
    bool another = !FM_RULE(R4_STORE, e->store_id == a->marks.store_id);
    bool seeded = s->view.r.incarnation.n > a->marks.incarnation.n;
    if (seeded && linear)
        begin_anew(a, e, now, out);
    else if (another || seeded || (linear && shows_less(a, s))) {
        if (!a->frozen)
            fm_auth_say(out, FM_AUTH_WHY_FROZEN, 0);
        a->frozen = true;
        fm_auth_want_read(a); /* until a seed shows */
        return;
    }
    if (fm_revision_newer(s->store, a->marks.store)) /* on disk it may lag: epochs decide */
        a->marks.store = s->store;
    if (fm_revision_newer(s->store, a->whole))
        a->whole = s->store;
    for (unsigned r = 0; r < s->nregions; r++)
        take_lease(a, r, &s->lease[r], now);
    for (unsigned i = 0; i < s->ncells; i++)
        if (s->cell[i].revision.n != 0)
            take_cell(a, i, &s->cell[i], now);
    take_budget(a, &s->budget, now);
    if (fm_revision_newer(s->view.revision, a->view.revision))
        a->view = s->view;
}

void fm_seen_wrote(struct fm_authority *a, const struct fm_txn *t, struct fm_revision revision,
                   struct fm_mono now)
{
    for (unsigned w = 0; w < t->nwrite; w++) {
        const struct fm_write *x = &t->write[w];
        switch ((enum fm_record_kind)x->key.kind) {
        case FM_RECORD_LEASE:
            take_lease(a, x->key.region, &(struct fm_lease_at){revision, x->to.lease}, now);
            break;
        case FM_RECORD_CELL:
            take_cell(a, x->key.id.cell, &(struct fm_cell_at){revision, x->to.cell}, now);
            break;
        case FM_RECORD_BUDGET:
            take_budget(a, &(struct fm_budget_at){revision, x->to.budget}, now);
            break;
        case FM_RECORD_VIEW:
            a->view = (struct fm_view_at){revision, x->to.view};
            if (a->marks.incarnation.n == 0)
                a->marks.incarnation = x->to.view.incarnation;
            a->marks_dirty = true;
            break;
        case FM_RECORD_KEEPER:
        case FM_RECORD_KIND_COUNT:
            FM_UNREACHABLE();
        }
    }
    if (fm_revision_newer(revision, a->marks.store))
        a->marks.store = revision;
}

/* Rule 8: by the guard on the spot, for everything there that can write. A connection that fails is
 * no testimony, nor is the death of a gate whose application may live. */
void fm_seen_testimony(struct fm_authority *a, const struct fm_auth_event *e)
{
    FM_ASSERT(e->region < a->cfg.nregions);
    struct fm_seen_lease *l = &a->lease[e->region];
    if (!FM_RULE(R8_EVERYTHING, e->everything) || !FM_RULE(R8_REFUSED, !e->refused))
        return;
    for (unsigned i = 0; i < l->at.r.nsubs; i++) {
        struct fm_sub s = l->at.r.sub[i];
        if (s.host == e->sub.host &&
            FM_RULE(R8_LIFE, fm_incarnation_same(s.incarnation, e->sub.incarnation)))
            l->testified = (uint16_t)(l->testified | 1u << i);
    }
}

bool fm_seen_all_dead(const struct fm_authority *a, unsigned region)
{
    const struct fm_seen_lease *l = &a->lease[region];
    unsigned all = (1u << l->at.r.nsubs) - 1;
    if (l->at.revision.n == 0 || l->at.r.nsubs == 0)
        return false; /* nobody there could testify */
    return FM_RULE_PICK(R8_ALL, (l->testified & all) == all, l->testified != 0);
}

struct fm_mono fm_seen_lapses_at(const struct fm_authority *a, unsigned region)
{
    const struct fm_seen_lease *l = &a->lease[region];
    FM_ASSERT(region < a->cfg.nregions);
    struct fm_mono from = FM_RULE_PICK(R1_AFTER_READ, l->since, l->since_before);
    return fm_mono_add_ns(from, fm_wait_ns(l->at.r.lease_ms, a->cfg.rho_ppm));
}

bool fm_seen_lapsed(const struct fm_authority *a, unsigned region, struct fm_mono now)
{
    const struct fm_seen_lease *l = &a->lease[region];
    if (l->at.revision.n == 0 || l->at.r.dead)
        return true;
    return !fm_mono_before(now, fm_seen_lapses_at(a, region));
}

unsigned fm_authority_budget_left(const struct fm_authority *a)
{
    uint32_t live = a->budget.r.spent - a->budget.r.freed;
    return live < a->cfg.at_most ? a->cfg.at_most - live : 0;
}

/* The oldest unit that was spent is given back by whoever saw it for a whole window. */
void fm_budget_work(struct fm_authority *a, struct fm_mono now, struct fm_auth_actions *out)
{
    const struct fm_budget_record *b = &a->budget.r;
    if (a->free_slot.busy || !a->keeper || a->frozen || b->spent == b->freed)
        return;
    FM_ASSERT(b->spent - b->freed <= FM_BUDGET_SEEN_MAX);
    int64_t window_ns = a->cfg.window_ms * FM_NS_PER_MS;
    struct fm_mono since = a->spent_at[b->freed % FM_BUDGET_SEEN_MAX];
    if (fm_mono_sub_ns(now, since) < window_ns + window_ns / 1000 * a->cfg.rho_ppm / 1000)
        return;
    struct fm_auth_slot *slot = &a->free_slot;
    slot->txn = (struct fm_txn){0};
    fm_txn_compare(&slot->txn, fm_auth_budget_key(a), a->budget.revision);
    fm_txn_write(&slot->txn, fm_auth_budget_key(a))->to.budget =
        (struct fm_budget_record){b->spent, b->freed + 1};
    fm_auth_commit(a, slot, now, out);
}
