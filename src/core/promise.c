/* Words given and counted, for when coordination is gone.
 *
 * A promise of an agent to the keeper of region H: "I acquire no cell that H holds before T." It is
 * asked of every member but the keeper itself, those of its own region too: an agent that took over
 * the office gives none, so what hangs on the words of others ends for a keeper that was replaced
 * and does not know it. An agent whose store went back (rule 4) still gives its word: it acquires
 * nothing before a new seed, and nothing for a whole lease after that. Who is asked learns the
 * epoch of who asks. Invariants: nobody promises who may still acquire by something sent before
 * (rule 10), or who knows better than the one who asks; a word is counted from before it was asked
 * for (1). */
#include "core/authority_parts.h"

static enum fm_auth_why may_promise(const struct fm_authority *a, const struct fm_auth_event *e,
                                    struct fm_mono now)
{
    uint8_t holder = fm_agent_region(e->agent);
    if (!FM_RULE(R5_PROMISE, !fm_mono_before(now, a->ready_at)))
        return FM_AUTH_WHY_UNSETTLED;
    if (!FM_RULE(R10_EARLIER_LIFE, a->resolved))
        return FM_AUTH_WHY_EARLIER_LIFE;
    if (holder == a->region && a->keeper)
        return FM_AUTH_WHY_IN_OFFICE;
    if (!FM_RULE(R10_UNRESOLVED, !a->s.slot.busy && !a->s.unresolved))
        return FM_AUTH_WHY_UNRESOLVED;
    if (holder != a->region && fm_successor_wants(a, holder))
        return FM_AUTH_WHY_WANTED;
    for (unsigned i = 0; i < a->cfg.ncells; i++) {
        bool newer =
            fm_epoch_newer(fm_epoch_max(a->marks.epoch[i], a->cell[i].at.r.epoch), e->epochs[i]);
        if (e->cells & fm_bit(i) && !FM_RULE(R10_HIGHER, !newer))
            return FM_AUTH_WHY_MOVED_ON;
    }
    return FM_AUTH_WHY_NONE;
}

/* What it holds it was given by coordination, which must show as much from now on (rule 4): who has
 * lost its disk, and meets an older copy, would not know. */
static void learn(struct fm_authority *a, const struct fm_auth_event *e)
{
    for (unsigned i = 0; i < a->cfg.ncells; i++) {
        if (!(e->cells & fm_bit(i)) || !fm_epoch_newer(e->epochs[i], a->marks.epoch[i]))
            continue;
        a->marks.epoch[i] = e->epochs[i];
        a->marks.holder[i] = fm_agent_region(e->agent) + 1;
        a->marks_dirty = true;
        fm_auth_want_read(a);
    }
}

void fm_promise_asked(struct fm_authority *a, const struct fm_auth_event *e, struct fm_mono now,
                      struct fm_auth_actions *out)
{
    uint8_t holder = fm_agent_region(e->agent);
    FM_ASSERT(holder < a->cfg.nregions);
    if (FM_RULE_PICK(R4_LEARN, true, false))
        learn(a, e);
    enum fm_auth_why why = may_promise(a, e, now);
    struct fm_auth_action *act =
        fm_auth_do(out, why == FM_AUTH_WHY_NONE ? FM_AUTH_DO_PROMISE : FM_AUTH_DO_REFUSE);
    act->why = why;
    act->agent = e->agent;
    act->incarnation = e->incarnation;
    act->asked_ns = e->asked_ns;
    if (why != FM_AUTH_WHY_NONE)
        return;
    act->ms = a->cfg.lease_ms;
    struct fm_mono until = fm_mono_add_ns(now, fm_wait_ns(act->ms, a->cfg.rho_ppm));
    a->given_until[holder] = fm_mono_max(a->given_until[holder], until);
}

void fm_promise_taken(struct fm_authority *a, const struct fm_auth_event *e, struct fm_mono now)
{
    struct fm_keeper *k = &a->k;
    bool acts = k->state == FM_CHAIN_HOLD || k->state == FM_CHAIN_DOUBT;
    if (!acts || !fm_incarnation_same(e->incarnation, a->cfg.incarnation) || e->ms <= 0)
        return;
    FM_ASSERT(e->asked_ns <= now.ns); /* it is my own number, from this life */
    struct fm_mono from = FM_RULE_PICK(R10_FROM_ASK, (struct fm_mono){e->asked_ns}, now);
    /* never longer than observers wait for my lease: a life of its giver that knows nothing of it
     * waits as long */
    int32_t ms = e->ms < fm_keeper_bound_ms(a) ? e->ms : fm_keeper_bound_ms(a);
    struct fm_mono until = fm_mono_add_ns(from, fm_held_ns(ms, a->cfg.rho_ppm));
    k->promise_until[e->agent.n] = fm_mono_max(k->promise_until[e->agent.n], until);
}

/* Who has to promise: every member of every cell that is held, by what is stored with the cells,
 * and of the membership that is being written. */
static struct fm_members needed(const struct fm_authority *a)
{
    struct fm_members m = {{0}};
    uint64_t holds = fm_authority_holds(a);
    for (unsigned i = 0; i < a->cfg.ncells; i++)
        if (holds & fm_bit(i))
            fm_members_join(&m, &a->cell[i].at.r.members);
    if (a->k.members_wanted)
        fm_members_join(&m, &a->k.members);
    if (FM_RULE_PICK(R11_STORED, false, true))
        m = a->cfg.file;
    fm_members_remove(&m, a->cfg.self);
    if (FM_RULE_PICK(R10_OWN_REGION, false, true))
        m.of[a->region] = 0;
    return m;
}

struct fm_mono fm_authority_promised_until(const struct fm_authority *a, struct fm_mono now)
{
    struct fm_members m = needed(a);
    /* with nobody to ask it is bounded by the lease that nobody can take */
    struct fm_mono until = fm_mono_add_ns(now, fm_held_ns(fm_keeper_bound_ms(a), a->cfg.rho_ppm));
    for (unsigned r = 0; r < a->cfg.nregions; r++) {
        struct fm_mono latest = FM_MONO_ZERO;
        for (unsigned i = 0; i < FM_AGENTS_PER_REGION; i++) {
            if (!(m.of[r] >> i & 1))
                continue;
            struct fm_mono p = a->k.promise_until[r * FM_AGENTS_PER_REGION + i];
            until = FM_RULE_PICK(R11_EVERY, fm_mono_min(until, p), until);
            latest = fm_mono_max(latest, p);
        }
        if (m.of[r] && FM_RULE_PICK(R11_EVERY, false, true))
            until = fm_mono_min(until, latest);
    }
    return until;
}

void fm_promise_work(struct fm_authority *a, struct fm_mono now, struct fm_auth_actions *out)
{
    struct fm_keeper *k = &a->k;
    bool acts = k->state == FM_CHAIN_HOLD || k->state == FM_CHAIN_DOUBT;
    if (!acts || fm_mono_before(now, k->ask_at) || !fm_authority_holds(a))
        return;
    k->ask_at = fm_mono_add_ms(now, a->cfg.renew_ms);
    struct fm_auth_action *act = fm_auth_do(out, FM_AUTH_DO_ASK);
    act->members = needed(a);
    act->cells = fm_authority_holds(a);
    act->asked_ns = now.ns;
    act->incarnation = a->cfg.incarnation;
}
