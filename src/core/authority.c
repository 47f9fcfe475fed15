/* One context as one agent sees it: takes events to the part they concern, then lets each part do
 * what is due. The order of the parts is the order of the actions: the marks are durable before
 * anything is granted or sent on the strength of what was seen. Invariants: at most one
 * linearizable read is on its way; an operation's number is never used twice. */
#include "core/authority_parts.h"

const char *fm_auth_why_name(enum fm_auth_why w)
{
    static const char *const name[] = {
#define X(id, text, sentence) [FM_AUTH_WHY_##id] = text,
        FM_AUTH_WHYS(X)
#undef X
    };
    FM_ASSERT(w < FM_COUNT(name));
    return name[w];
}

const char *fm_auth_why_text(enum fm_auth_why w)
{
    static const char *const text[] = {
#define X(id, name, sentence) [FM_AUTH_WHY_##id] = sentence,
        FM_AUTH_WHYS(X)
#undef X
    };
    FM_ASSERT(w < FM_COUNT(text));
    return text[w];
}

const char *fm_chain_state_name(enum fm_chain_state s)
{
    static const char *const name[] = {
#define X(id, text) [FM_CHAIN_##id] = text,
        FM_CHAIN_STATES(X)
#undef X
    };
    FM_ASSERT(s < FM_COUNT(name));
    return name[s];
}

struct fm_auth_action *fm_auth_do(struct fm_auth_actions *out, enum fm_auth_action_kind kind)
{
    FM_ASSERT(out->n < FM_AUTH_ACTIONS_MAX && kind < FM_AUTH_ACTION_COUNT);
    struct fm_auth_action *act = &out->action[out->n++];
    *act = (struct fm_auth_action){.kind = kind};
    return act;
}

/* What is said for people gives way where there is no room: it changes nothing. */
void fm_auth_say(struct fm_auth_actions *out, enum fm_auth_why why, unsigned cell)
{
    if (out->n >= FM_AUTH_ACTIONS_MAX / 2)
        return;
    struct fm_auth_action *act = fm_auth_do(out, FM_AUTH_DO_SAY);
    act->why = why;
    act->cell = (uint8_t)cell;
}

uint32_t fm_auth_want_read(struct fm_authority *a)
{
    a->read_wanted = a->read_sent + 1;
    return a->read_wanted;
}

void fm_auth_commit(struct fm_authority *a, struct fm_auth_slot *slot, struct fm_mono now,
                    struct fm_auth_actions *out)
{
    FM_ASSERT(!slot->busy && slot->txn.nwrite > 0);
    slot->busy = true;
    slot->op = ++a->next_op;
    slot->sent = now;
    fm_auth_do(out, FM_AUTH_DO_COMMIT)->op = slot->op;
}

void fm_authority_init(struct fm_authority *a, const struct fm_auth_config *cfg,
                       const struct fm_marks *marks, struct fm_mono now)
{
    FM_ASSERT(cfg->incarnation.n != 0 && cfg->ncells > 0 && cfg->ncells <= FM_AUTH_CELLS_MAX);
    FM_ASSERT(cfg->nregions > 0 && cfg->nregions <= FM_AUTH_REGIONS_MAX);
    FM_ASSERT(cfg->lease_ms > 0 && cfg->renew_ms > 0 && cfg->retry_ms > 0);
    FM_ASSERT(cfg->at_most <= FM_BUDGET_SEEN_MAX && fm_agent_region(cfg->self) < cfg->nregions);
    *a = (struct fm_authority){.cfg = *cfg, .region = fm_agent_region(cfg->self)};
    if (marks)
        a->marks = *marks;
    a->unproven = FM_RULE_PICK(R4_BLANK, a->marks.store_id == 0, false);
    a->ready_at = fm_mono_add_ns(now, fm_wait_ns(cfg->lease_ms, cfg->rho_ppm));
    for (unsigned r = 0; r < FM_AUTH_REGIONS_MAX; r++)
        a->lease[r].since = a->lease[r].since_before = now;
    fm_auth_want_read(a);
}

const struct fm_txn *fm_authority_txn(const struct fm_authority *a, uint32_t op)
{
    const struct fm_auth_slot *const slots[] = {&a->k.renewal, &a->k.change, &a->s.slot,
                                                &a->free_slot, &a->found_slot};
    for (unsigned i = 0; i < FM_COUNT(slots); i++)
        if (slots[i]->busy && slots[i]->op == op)
            return &slots[i]->txn;
    return NULL;
}

/* -------- events -------- */

static void over(struct fm_authority *a, const struct fm_auth_event *e, struct fm_mono now,
                 struct fm_auth_actions *out)
{
    FM_ASSERT(e->outcome < FM_TXN_COUNT);
    if (a->k.renewal.busy && a->k.renewal.op == e->op)
        fm_keeper_renewal_over(a, e, now, out);
    else if (a->k.change.busy && a->k.change.op == e->op)
        fm_handover_change_over(a, e, now, out);
    else if (a->s.slot.busy && a->s.slot.op == e->op)
        fm_successor_over(a, e, now, out);
    else if (a->free_slot.busy && a->free_slot.op == e->op) {
        a->free_slot.busy = false;
        if (e->outcome == FM_TXN_DONE)
            fm_seen_wrote(a, &a->free_slot.txn, e->revision, now);
    } else if (a->found_slot.busy && a->found_slot.op == e->op) {
        fm_found_over(a, e, now, out);
    }
    /* else it is of a store that was left, or told twice */
}

/* The next read waits for a moment even where the last one went well: what looks again and again
 * must not do nothing else. */
enum { AGAIN_PARTS = 16 };

static void read_over(struct fm_authority *a, const struct fm_auth_event *e, struct fm_mono now,
                      struct fm_auth_actions *out)
{
    if (!a->reading || e->op != a->read_sent)
        return;
    a->reading = false;
    a->read_retry = fm_mono_add_ms(now, a->cfg.retry_ms);
    if (!e->ok)
        return;
    fm_seen_take(a, e, true, now, out);
    if (a->frozen)
        return;
    a->read_done = a->read_sent;
    a->read_retry = fm_mono_add_ms(now, a->cfg.retry_ms / AGAIN_PARTS);
}

static void office(struct fm_authority *a, const struct fm_auth_event *e)
{
    bool other = a->keeper && !fm_revision_same(a->keeper_revision, e->revision);
    if (other && e->keeper)
        a->k.state = FM_CHAIN_LEARN, a->k.need = fm_auth_want_read(a);
    a->keeper = e->keeper;
    a->keeper_revision = e->revision;
    a->resolved |= e->resolved;
    FM_ASSERT(!a->keeper || a->keeper_revision.n > 0);
}

/* Orders, from core/failover.h and core/move.h. Each may come again. */

static void order_acquire(struct fm_authority *a, const struct fm_auth_event *e)
{
    struct fm_successor *s = &a->s;
    uint64_t fresh = e->cells & ~s->cells;
    for (unsigned i = 0; i < a->cfg.ncells; i++)
        if (fresh & fm_bit(i) && !fm_successor_wants(a, a->cell[i].at.r.region))
            s->counted = (uint16_t)(s->counted & ~(1u << a->cell[i].at.r.region));
    s->cells |= e->cells;
    s->automatic = e->automatic ? s->automatic | e->cells : s->automatic & ~e->cells;
    s->accepted = e->accepted ? s->accepted | e->cells : s->accepted & ~e->cells;
}

static void order_desist(struct fm_authority *a)
{
    a->s.cells = a->s.automatic = a->s.accepted = 0;
    a->s.counted = 0;
    a->s.confirming = a->s.confirmed = false;
}

static void order_release(struct fm_authority *a, const struct fm_auth_event *e)
{
    FM_ASSERT(e->to < a->cfg.nregions);
    if (!(a->k.stopping & fm_bit(e->cell)) || e->to == a->region)
        return;
    a->k.releasing |= fm_bit(e->cell);
    a->k.yielding &= ~fm_bit(e->cell);
    a->k.release_to[e->cell] = e->to;
}

/* Where a release is under way the data are final at its heir: that goes on. */
static void order_yield(struct fm_authority *a, const struct fm_auth_event *e, struct fm_mono now)
{
    FM_ASSERT(e->to < a->cfg.nregions);
    fm_handover_stop(a, e->cell, now);
    uint64_t bit = fm_bit(e->cell);
    if (!(a->k.stopping & bit) || a->k.releasing & bit)
        return;
    a->k.yielding |= bit;
    a->k.release_to[e->cell] = e->to;
}

/* What is not being stopped was retaken already, or never let go of. */
static void order_retake(struct fm_authority *a, unsigned cell)
{
    if (!(a->k.stopping & fm_bit(cell)) && !fm_handover_is_let_go(a, cell))
        return;
    a->k.releasing &= ~fm_bit(cell);
    a->k.yielding &= ~fm_bit(cell);
    a->k.retake |= fm_bit(cell);
}

static void take_in(struct fm_authority *a, const struct fm_auth_event *e, struct fm_mono now,
                    struct fm_auth_actions *out)
{
    switch (e->kind) {
    case FM_AUTH_TICK:
        return;
    case FM_AUTH_SEEN:
        fm_seen_take(a, e, false, now, out);
        return;
    case FM_AUTH_READ:
        read_over(a, e, now, out);
        return;
    case FM_AUTH_OVER:
        over(a, e, now, out);
        return;
    case FM_AUTH_OFFICE:
        office(a, e);
        return;
    case FM_AUTH_SUB_ASKS:
        fm_keeper_sub_asks(a, e, now, out);
        return;
    case FM_AUTH_SUB_STOPPED:
        fm_handover_sub_stopped(a, e);
        return;
    case FM_AUTH_PROMISE_ASKED:
        fm_promise_asked(a, e, now, out);
        return;
    case FM_AUTH_PROMISED:
        fm_promise_taken(a, e, now);
        return;
    case FM_AUTH_TESTIFIED:
        fm_seen_testimony(a, e);
        return;
    case FM_AUTH_ACQUIRE:
        order_acquire(a, e);
        return;
    case FM_AUTH_DESIST:
        order_desist(a);
        return;
    case FM_AUTH_STOP:
        fm_handover_stop(a, e->cell, now);
        return;
    case FM_AUTH_RELEASE:
        order_release(a, e);
        return;
    case FM_AUTH_RETAKE:
        order_retake(a, e->cell);
        return;
    case FM_AUTH_YIELD:
        order_yield(a, e, now);
        return;
    case FM_AUTH_MEMBERS:
        a->k.members_wanted = true;
        a->k.members = e->members;
        return;
    case FM_AUTH_EVIDENCE:
        fm_handover_record(a, e);
        return;
    case FM_AUTH_EVENT_COUNT:
        break;
    }
    FM_UNREACHABLE();
}

/* -------- work -------- */

static void persist(struct fm_authority *a, struct fm_auth_actions *out)
{
    if (!a->marks_dirty)
        return;
    a->marks_dirty = false;
    fm_auth_do(out, FM_AUTH_DO_PERSIST);
}

static void read_work(struct fm_authority *a, struct fm_mono now, struct fm_auth_actions *out)
{
    if (a->reading || a->read_wanted <= a->read_done || fm_mono_before(now, a->read_retry))
        return;
    a->reading = true;
    a->read_sent++;
    a->floor = a->marks;
    fm_auth_do(out, FM_AUTH_DO_READ)->op = a->read_sent;
}

static struct fm_mono wake(const struct fm_authority *a, struct fm_mono now)
{
    struct fm_mono w = fm_mono_add_ms(now, a->cfg.renew_ms);
    if (a->k.state == FM_CHAIN_HOLD && fm_mono_before(now, a->k.renew_at))
        w = fm_mono_min(w, a->k.renew_at);
    w = fm_mono_min(w, fm_successor_next(a, now));
    if (a->read_wanted > a->read_done && !a->reading && fm_mono_before(now, a->read_retry))
        w = fm_mono_min(w, a->read_retry);
    bool busy = a->k.stopping || a->s.cells || a->read_wanted > a->read_done;
    return busy ? fm_mono_min(w, fm_mono_add_ms(now, a->cfg.retry_ms)) : w;
}

void fm_authority_step(struct fm_authority *a, const struct fm_auth_event *e, struct fm_mono now,
                       struct fm_auth_actions *out)
{
    FM_ASSERT(e->kind < FM_AUTH_EVENT_COUNT && now.ns >= 0);
    out->n = 0;
    take_in(a, e, now, out);
    if (!a->frozen || a->k.state != FM_CHAIN_IDLE) {
        fm_keeper_work(a, now, out);
        persist(a, out);
        fm_handover_work(a, now, out);
        fm_promise_work(a, now, out);
        fm_successor_work(a, now, out);
        fm_budget_work(a, now, out);
        fm_found_work(a, now, out);
    }
    persist(a, out);
    read_work(a, now, out);
    out->wake = wake(a, now);
    FM_ASSERT(a->read_done <= a->read_sent);
    FM_ASSERT(!(a->k.stopped & ~a->k.stopping));
    FM_ASSERT(a->k.state != FM_CHAIN_HOLD || a->keeper);
}
