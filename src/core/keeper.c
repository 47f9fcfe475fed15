/* The keeper: the chain of renewals of one lease, and the sub-leases that hang on it.
 *
 * Invariants: the region's lease counts from before a renewal was sent (rule 1) and only where the
 * outcome is known (3); cells are granted only after a linearizable read that began when the chain
 * did (nobody can acquire without consent while it is unbroken, rule 6); nothing is granted beyond
 * what is left (5), to anybody who is not recorded (5), or for a cell that is being stopped (7).
 * It does not decide that a cell moves. */
#include "core/authority_parts.h"

static int32_t longest_lease_ms(const struct fm_authority *a)
{
    int32_t recorded = a->lease[a->region].at.r.lease_ms;
    return recorded > a->cfg.lease_ms ? recorded : a->cfg.lease_ms;
}

int32_t fm_keeper_bound_ms(const struct fm_authority *a)
{
    const struct fm_lease_at *l = &a->lease[a->region].at;
    bool shorter = l->revision.n && !l->r.dead && l->r.lease_ms < a->cfg.lease_ms;
    return FM_RULE_PICK(R5_RECORDED_LEASE, shorter ? l->r.lease_ms : a->cfg.lease_ms,
                        a->cfg.lease_ms);
}

static bool acts(const struct fm_keeper *k)
{
    return k->state == FM_CHAIN_HOLD || k->state == FM_CHAIN_DOUBT;
}

void fm_keeper_lose(struct fm_authority *a, struct fm_auth_actions *out)
{
    struct fm_keeper *k = &a->k;
    if (k->state == FM_CHAIN_IDLE)
        return;
    if (k->state != FM_CHAIN_LEARN)
        fm_auth_say(out, FM_AUTH_WHY_LOST, 0);
    struct fm_auth_slot renewal = k->renewal, change = k->change; /* their outcomes still come */
    *k = (struct fm_keeper){.state = FM_CHAIN_IDLE, .renewal = renewal, .change = change};
}

/* -------- the chain -------- */

/* How long observers have to wait for what hangs on the next renewal. A shorter lease than before
 * is only recorded when all that was granted under the longer one has run out. */
static int32_t next_lease_ms(const struct fm_authority *a, struct fm_mono now)
{
    const struct fm_lease_at *seen = &a->lease[a->region].at;
    bool settled = acts(&a->k) && !fm_mono_before(now, a->k.shrink_at);
    if (seen->revision.n == 0 || seen->r.dead || FM_RULE(R5_SHRINK, settled))
        return a->cfg.lease_ms;
    return longest_lease_ms(a);
}

static struct fm_lease_record next_lease(const struct fm_authority *a, struct fm_mono now)
{
    struct fm_lease_record l = a->lease[a->region].at.r;
    l.keeper = a->cfg.self;
    l.incarnation = a->cfg.incarnation;
    l.counter++;
    l.lease_ms = next_lease_ms(a, now);
    l.dead = false;
    return l;
}

/* The first renewal: of a lease that another keeper held, that is dead, or that never was. It is
 * compared with the office, so that only who is in office begins a chain. */
static void take(struct fm_authority *a, struct fm_mono now, struct fm_auth_actions *out)
{
    struct fm_keeper *k = &a->k;
    const struct fm_lease_at *seen = &a->lease[a->region].at;
    struct fm_txn *t = &k->renewal.txn;
    *t = (struct fm_txn){0};
    fm_txn_compare(t, fm_auth_lease_key(a, a->region), seen->revision);
    fm_txn_compare(t, fm_auth_keeper_key(a), a->keeper_revision);
    struct fm_lease_record *l = &fm_txn_write(t, fm_auth_lease_key(a, a->region))->to.lease;
    *l = next_lease(a, now);
    if (seen->revision.n == 0 || seen->r.dead) {
        l->life++;
        l->nsubs = 0; /* those of the life before have run out, or testified */
    }
    k->state = FM_CHAIN_TAKE;
    fm_auth_commit(a, &k->renewal, now, out);
}

static void record_sub(struct fm_lease_record *l, struct fm_sub s)
{
    for (unsigned i = 0; i < l->nsubs; i++)
        if (l->sub[i].host ==
            s.host) { /* a new life of a host is the testimony of the old one's end */
            l->sub[i] = s;
            return;
        }
    if (l->nsubs < FM_SUBS_MAX)
        l->sub[l->nsubs++] = s;
}

/* Who goes by a longer lease than this agent, as long as it has not heard of the new one, asks
 * seldom and has to be found recorded when it does. */
enum { IDLE_LEAST_MS = 10 * 1000 };

/* Who has not asked for long, and whose last grant is over, need not be waited for any more. Only a
 * settled keeper knows all grants. */
static void drop_idle(const struct fm_authority *a, struct fm_lease_record *l, struct fm_mono now)
{
    if (fm_mono_before(now, a->k.settled_at))
        return;
    unsigned kept = 0;
    int64_t idle_ms = fm_clamp_i64(2 * (int64_t)a->cfg.lease_ms, IDLE_LEAST_MS, INT64_MAX);
    for (unsigned i = 0; i < l->nsubs; i++) {
        const struct fm_grantee *g = NULL;
        for (unsigned j = 0; j < FM_SUBS_MAX; j++)
            if (a->k.grantee[j].used && fm_sub_same(a->k.grantee[j].sub, l->sub[i]))
                g = &a->k.grantee[j];
        bool live = g && (fm_mono_before(now, g->until) || fm_mono_sub_ms(now, g->asked) < idle_ms);
        if (live)
            l->sub[kept++] = l->sub[i];
    }
    l->nsubs = (uint8_t)kept;
}

static void renew(struct fm_authority *a, struct fm_mono now, struct fm_auth_actions *out)
{
    struct fm_keeper *k = &a->k;
    struct fm_txn *t = &k->renewal.txn;
    struct fm_record_key key = fm_auth_lease_key(a, a->region);
    *t = (struct fm_txn){0};
    if (FM_RULE_PICK(R2_RENEW_CAS, true, false))
        fm_txn_compare(t, key, a->lease[a->region].at.revision);
    struct fm_lease_record *l = &fm_txn_write(t, key)->to.lease;
    *l = next_lease(a, now);
    FM_ASSERT(l->life == k->life || FM_RULE_PICK(R6_DEAD_STAYS, false, true));
    drop_idle(a, l, now);
    for (unsigned i = 0; i < k->nwant; i++)
        record_sub(l, k->want[i]);
    k->nwant = 0;
    k->renew_at = fm_mono_add_ms(now, a->cfg.renew_ms);
    fm_auth_commit(a, &k->renewal, now, out);
}

void fm_keeper_renewal_over(struct fm_authority *a, const struct fm_auth_event *e,
                            struct fm_mono now, struct fm_auth_actions *out)
{
    struct fm_keeper *k = &a->k;
    FM_ASSERT(k->renewal.busy);
    k->renewal.busy = false;
    int32_t written_ms = k->renewal.txn.write[0].to.lease.lease_ms;
    FM_ASSERT(k->renewal.txn.nwrite > 0 && written_ms > 0);
    bool done = e->outcome == FM_TXN_DONE;
    if (done)
        fm_seen_wrote(a, &k->renewal.txn, e->revision, now);
    bool mine = fm_revision_same(a->lease[a->region].at.revision, e->revision);
    bool counts =
        e->outcome == FM_TXN_UNKNOWN ? FM_RULE_PICK(R3_UNKNOWN_NOT_DONE, false, true) : done;
    struct fm_mono from = FM_RULE_PICK(R1_FROM_SEND, k->renewal.sent, now);
    int32_t ms = written_ms < a->cfg.lease_ms ? written_ms : a->cfg.lease_ms;
    struct fm_mono until = fm_mono_add_ns(from, fm_held_ns(ms, a->cfg.rho_ppm));
    if (k->state == FM_CHAIN_TAKE) {
        if (!done || !mine) {
            k->state = FM_CHAIN_LEARN;
            k->need = fm_auth_want_read(a);
            return;
        }
        k->life = a->lease[a->region].at.r.life;
        k->lease_until = until;
        k->settled_at = fm_mono_add_ns(now, fm_wait_ns(longest_lease_ms(a), a->cfg.rho_ppm));
        k->settled_at = fm_mono_max(k->settled_at, FM_RULE_PICK(R4_RESEED, a->ready_at, now));
        k->shrink_at = k->settled_at;
        k->renew_at = fm_mono_add_ms(now, a->cfg.renew_ms);
        k->state = FM_CHAIN_HOLDINGS;
        k->need = fm_auth_want_read(a);
        fm_auth_say(out, FM_AUTH_WHY_TOOK, 0);
        return;
    }
    if (!acts(k) && k->state != FM_CHAIN_HOLDINGS)
        return; /* of a chain that was lost meanwhile */
    if (counts)
        k->lease_until = fm_mono_max(k->lease_until, until);
    if (!done) {
        k->state = FM_CHAIN_DOUBT;
        k->need = fm_auth_want_read(a);
    }
}

/* The chain is unbroken while the lease lives its present life and names me. */
static bool chain_holds(const struct fm_authority *a)
{
    const struct fm_lease_record *l = &a->lease[a->region].at.r;
    return FM_RULE(R6_DEAD_STAYS, !l->dead && l->life == a->k.life) &&
           fm_agent_same(l->keeper, a->cfg.self) &&
           fm_incarnation_same(l->incarnation, a->cfg.incarnation);
}

static bool in_chain(const struct fm_keeper *k)
{
    return acts(k) || k->state == FM_CHAIN_HOLDINGS;
}

void fm_keeper_work(struct fm_authority *a, struct fm_mono now, struct fm_auth_actions *out)
{
    struct fm_keeper *k = &a->k;
    FM_ASSERT(k->state < FM_CHAIN_STATE_COUNT);
    bool broken = in_chain(k) && !chain_holds(a);
    if (!a->keeper || !a->cfg.able || broken)
        fm_keeper_lose(a, out);
    if (k->state == FM_CHAIN_IDLE && a->keeper && a->cfg.able && !a->frozen) {
        k->state = FM_CHAIN_LEARN;
        k->need = fm_auth_want_read(a);
    }
    bool read = fm_auth_read_done(a, k->need);
    if (k->state == FM_CHAIN_LEARN && read && !k->renewal.busy && !a->frozen)
        take(a, now, out);
    if (k->state == FM_CHAIN_HOLDINGS && FM_RULE(R5_HOLDINGS, read)) {
        k->state = FM_CHAIN_HOLD;
        fm_auth_say(out, FM_AUTH_WHY_HOLDS, 0);
    }
    if (k->state == FM_CHAIN_DOUBT && read) {
        k->state = FM_CHAIN_HOLD;
        k->renew_at = now;
    }
    if (k->state == FM_CHAIN_HOLD && !k->renewal.busy && !a->frozen &&
        (!fm_mono_before(now, k->renew_at) || k->nwant))
        renew(a, now, out);
    FM_ASSERT(k->state == FM_CHAIN_IDLE || (a->keeper && a->cfg.able));
}

/* -------- another lease -------- */

void fm_authority_set_lease(struct fm_authority *a, int32_t lease_ms, int32_t renew_ms,
                            int32_t retry_ms, struct fm_mono now)
{
    struct fm_keeper *k = &a->k;
    int32_t was_ms = a->cfg.lease_ms;
    FM_ASSERT(lease_ms > 0 && lease_ms <= FM_LEASE_MAX_MS && renew_ms > 0 && retry_ms > 0);
    a->cfg.lease_ms = lease_ms;
    a->cfg.renew_ms = renew_ms;
    a->cfg.retry_ms = retry_ms;
    k->renew_at = fm_mono_min(k->renew_at, fm_mono_add_ms(now, renew_ms));
    k->ask_at = fm_mono_min(k->ask_at, fm_mono_add_ms(now, renew_ms));
    if (lease_ms >= was_ms)
        return; /* a longer one counts from the renewal that records it */
    struct fm_mono until = fm_mono_add_ns(now, fm_held_ns(lease_ms, a->cfg.rho_ppm));
    k->lease_until = fm_mono_min(k->lease_until, until);
    for (unsigned i = 0; i < FM_AGENTS_MAX; i++)
        k->promise_until[i] = fm_mono_min(k->promise_until[i], until);
    struct fm_mono over = fm_mono_add_ns(now, fm_wait_ns(was_ms, a->cfg.rho_ppm));
    k->shrink_at = fm_mono_max(k->shrink_at, over);
}

/* -------- what is held -------- */

uint64_t fm_authority_holds(const struct fm_authority *a)
{
    uint64_t cells = 0;
    if (!acts(&a->k))
        return 0;
    for (unsigned i = 0; i < a->cfg.ncells; i++) {
        const struct fm_cell_at *c = &a->cell[i].at;
        bool mine = c->revision.n && c->r.region == a->region && c->r.state == FM_CELL_HELD;
        if (mine && !fm_epoch_newer(a->marks.epoch[i], c->r.epoch))
            cells |= fm_bit(i);
    }
    return cells;
}

struct fm_mono fm_authority_until(const struct fm_authority *a, struct fm_mono now)
{
    if (!acts(&a->k))
        return FM_MONO_ZERO;
    return fm_mono_max(a->k.lease_until, fm_authority_promised_until(a, now));
}

struct fm_epoch fm_authority_epoch(const struct fm_authority *a, unsigned cell)
{
    FM_ASSERT(cell < a->cfg.ncells);
    return a->cell[cell].at.r.epoch;
}

/* -------- sub-leases -------- */

unsigned fm_authority_grantees(const struct fm_authority *a, struct fm_mono now,
                               struct fm_sub out[FM_SUBS_MAX])
{
    unsigned n = 0;
    for (unsigned i = 0; i < FM_SUBS_MAX; i++) {
        const struct fm_grantee *g = &a->k.grantee[i];
        if (g->used && fm_mono_before(now, g->until))
            out[n++] = g->sub;
    }
    return n;
}

bool fm_authority_grants_to(const struct fm_authority *a, struct fm_sub s, struct fm_mono now)
{
    struct fm_sub live[FM_SUBS_MAX];
    unsigned n = fm_authority_grantees(a, now, live);
    for (unsigned i = 0; i < n; i++)
        if (fm_sub_same(live[i], s))
            return true;
    return false;
}

static struct fm_grantee *grantee(struct fm_keeper *k, struct fm_sub s, struct fm_mono now)
{
    struct fm_grantee *free = NULL;
    for (unsigned i = 0; i < FM_SUBS_MAX; i++) {
        struct fm_grantee *g = &k->grantee[i];
        if (g->used && fm_sub_same(g->sub, s))
            return g;
        bool over = !g->used || !fm_mono_before(now, g->until);
        bool recent =
            g->used && fm_mono_before(g->asked, now) && fm_mono_sub_ms(now, g->asked) < 1000;
        if (over && !recent && (!free || (free->used && !g->used)))
            free = g;
    }
    if (free)
        *free = (struct fm_grantee){.sub = s, .used = true, .until = FM_MONO_ZERO};
    return free;
}

static void remember_want(struct fm_keeper *k, struct fm_sub s)
{
    for (unsigned i = 0; i < k->nwant; i++)
        if (fm_sub_same(k->want[i], s))
            return;
    if (k->nwant < FM_SUBS_MAX)
        k->want[k->nwant++] = s;
}

void fm_keeper_sub_asks(struct fm_authority *a, const struct fm_auth_event *e, struct fm_mono now,
                        struct fm_auth_actions *out)
{
    struct fm_keeper *k = &a->k;
    FM_ASSERT(e->sub.incarnation.n != 0);
    if (!acts(k))
        return;
    const struct fm_lease_record *l = &a->lease[a->region].at.r;
    struct fm_grantee *g = grantee(k, e->sub, now);
    if (!g)
        return;
    g->asked = now;
    if (!FM_RULE(R5_RECORDED, fm_lease_find_sub(l, e->sub) >= 0)) {
        remember_want(k, e->sub); /* recorded first; it will ask again */
        return;
    }
    uint64_t holds = fm_authority_holds(a);
    for (unsigned i = 0; i < a->cfg.ncells && e->cells; i++) {
        bool stopped = e->cells & fm_bit(i) && !fm_epoch_newer(a->cell[i].at.r.epoch, e->epochs[i]);
        if (stopped && holds & fm_bit(i) & ~k->stopping)
            k->retake |= fm_bit(i); /* for a keeper that is gone: only another epoch serves again */
    }
    uint64_t cells = holds & ~FM_RULE_PICK(R7_NEW_ASKS, k->stopping, UINT64_C(0));
    int64_t left_ms = fm_mono_sub_ms(fm_authority_until(a, now), now);
    int32_t bound_ms = fm_keeper_bound_ms(a);
    int64_t ms = fm_clamp_i64(FM_RULE_PICK(R5_LEFT, left_ms, bound_ms), 0, bound_ms);
    if (ms == 0 || cells == 0)
        return;
    g->until = fm_mono_max(g->until, fm_mono_add_ns(now, fm_wait_ns(ms, a->cfg.rho_ppm)));
    struct fm_auth_action *act = fm_auth_do(out, FM_AUTH_DO_GRANT);
    act->sub = e->sub;
    act->asked_ns = e->asked_ns;
    act->ms = (int32_t)ms;
    act->cells = cells;
}
