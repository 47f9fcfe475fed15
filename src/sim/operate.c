/* What an agent of the simulator does with the right to write: it watches the other regions, votes,
 * runs the failover machine of each region it might replace and the planned move of what it holds,
 * and does what operators press. The deciding is core's; the evidence is gathered here. */
#include "sim/world.h"

unsigned home_of(const struct world *w, unsigned ctx, unsigned cell)
{
    return w->cfg.cells[ctx] == 1 ? 0 : cell % SIM_REGIONS;
}

enum { ALL_REGIONS = (1 << SIM_REGIONS) - 1 };

static int64_t vote_ms(const struct world *w)
{
    return w->cfg.renew_ms < 500 ? 500 : w->cfg.renew_ms;
}

void operate_start(struct world *w, unsigned p)
{
    struct agent *a = agent_of(w, p);
    struct fm_mono now = local_now(w, p);
    for (unsigned c = 0; c < w->cfg.contexts; c++) {
        for (unsigned r = 0; r < SIM_REGIONS; r++) {
            fm_failover_init(&a->fo[c][r], now);
            a->started_at[c][r] = 0;
        }
        a->mv[c] = (struct fm_move){.late_at = FM_MONO_NEVER};
        a->drained[c] = 0;
    }
    struct fm_agent_id self = {
        (uint8_t)(w->proc[p].region * FM_AGENTS_PER_REGION + w->proc[p].index)};
    fm_votes_init(&a->votes, self, ALL_REGIONS, 3 * vote_ms(w), now);
    a->vote_at = now.ns;
    a->paused = false;
    yield_start(w, p);
}

/* -------- evidence -------- */

static struct msg *message(struct world *w, enum msg_kind kind, unsigned p, unsigned to,
                           unsigned ctx)
{
    struct msg *m = new_msg(w, kind, p, to);
    m->ctx = (uint8_t)ctx;
    return m;
}

static void vote(struct world *w, unsigned p)
{
    struct agent *a = agent_of(w, p);
    struct fm_mono now = local_now(w, p);
    struct fm_vote mine;
    if (now.ns < a->vote_at)
        return;
    a->vote_at = now.ns + vote_ms(w) * MS;
    (void)fm_votes_mine(&a->votes, now, &mine);
    uint8_t well = 0;
    for (unsigned x = 0; x < SIM_REGIONS; x++) /* in this world they serve all or nothing */
        well = (uint8_t)(well | fm_contexts_has(&mine.well[x], 0) << x);
    for (unsigned r = 0; r < SIM_REGIONS; r++)
        for (unsigned i = 0; i < SIM_AGENTS; i++) {
            unsigned to = proc_agent(r, i);
            if (to == p)
                continue;
            struct msg *m = message(w, MSG_VOTE, p, to, 0);
            m->agent = a->votes.self;
            m->cell = (uint8_t)mine.lost;
            m->answer = well;
            send_msg(w, m);
        }
}

static const struct fm_contexts everything = {{(1 << SIM_CONTEXTS) - 1}};

void operate_gate_asks(struct world *w, unsigned p, const struct msg *m)
{
    static const struct fm_load nothing;
    fm_votes_gate(&agent_of(w, p)->votes, m->sub.host, &everything, &nothing, local_now(w, p));
}

static unsigned heir_by_votes(const struct agent *a, unsigned lost)
{
    static const uint16_t rank[FM_AUTH_REGIONS_MAX] = {0, 1, 2};
    static const struct fm_startable none;
    return fm_votes_heir(&a->votes, lost, &everything, &none, ALL_REGIONS, rank);
}

static unsigned heir_of(const struct world *w, unsigned p, unsigned ctx, unsigned lost)
{
    const struct agent *a = agent_of((struct world *)w, p);
    unsigned heir = heir_by_votes(a, lost);
    return yield_is(w, &a->auth[ctx], ctx, lost) ? yield_next(w, p, heir) : heir;
}

/* Of my own region: what it has given up. */
static uint64_t cells_of(const struct fm_authority *x, unsigned region)
{
    uint64_t cells = 0;
    for (unsigned i = 0; i < x->cfg.ncells; i++) {
        const struct fm_cell_at *c = &x->cell[i].at;
        bool mine = region == x->region && c->r.state != FM_CELL_YIELDED;
        if (c->revision.n && c->r.region == region && !mine)
            cells |= UINT64_C(1) << i;
    }
    return cells;
}

static struct fm_failover_evidence evidence(const struct world *w, unsigned p, unsigned ctx,
                                            unsigned lost)
{
    const struct agent *a = agent_of((struct world *)w, p);
    const struct fm_authority *x = &a->auth[ctx];
    unsigned me = w->proc[p].region;
    struct fm_tally t = fm_votes_tally(&a->votes, lost, &everything, local_now(w, p));
    struct fm_failover_evidence ev = {.observers = t.observers,
                                      .lost_by = t.lost_by,
                                      .healthy_by = t.healthy_by,
                                      .domains = 3,
                                      .quorum = !x->frozen && x->k.state == FM_CHAIN_HOLD,
                                      .ready = true,
                                      .capacity = true,
                                      .fenced = w->cfg.fenced,
                                      .attested = true,
                                      .paused = a->paused,
                                      .budget_left = (uint8_t)fm_authority_budget_left(x),
                                      .window = w->now < w->end - 30 * S};
    ev.yielded = yield_is(w, x, ctx, lost);
    ev.nothing = cells_of(x, lost) == 0;
    ev.heir = heir_of(w, p, ctx, lost) == me;
    ev.home_well = !fm_votes_lost(&a->votes, lost);
    for (unsigned i = 0; i < x->cfg.ncells; i++) {
        if (x->cell[i].at.r.region == lost)
            ev.loss += data_lag(w, lost, me, ctx, i);
        if (x->cell[i].at.r.region == me && home_of(w, ctx, i) == lost)
            ev.lag += data_lag(w, me, lost, ctx, i);
    }
    if (w->group && ctx == 0 && x->cell[0].at.r.region == lost) {
        const struct fm_evidence *r = &x->cell[0].at.r.evidence;
        ev.ready = db_is_ready(w, me);
        ev.unbounded = !db_is_bounded(w, me, r);
        ev.loss += w->group->credit.bytes;
    }
    return ev;
}

/* -------- failover -------- */

/* by: the machine whose order it is; NULL: of a person who accepts whatever is lost. */
static void acquire(struct world *w, unsigned p, unsigned ctx, uint64_t cells,
                    const struct fm_failover *by)
{
    agent_order(w, p, ctx,
                &(struct fm_auth_event){.kind = FM_AUTH_ACQUIRE,
                                        .cells = cells,
                                        .automatic = by && by->automatic,
                                        .accepted = !by || by->accepted.unbounded});
}

static void failover_event(struct world *w, unsigned p, unsigned ctx, unsigned lost,
                           enum fm_failover_event_kind kind, struct fm_quote quote, bool glass)
{
    struct agent *a = agent_of(w, p);
    struct fm_failover *f = &a->fo[ctx][lost];
    struct fm_failover_policy policy = {.mode = w->cfg.mode,
                                        .grace_ms = w->cfg.grace_ms,
                                        .ask_after_ms = w->cfg.ask_after_ms,
                                        .soak_ms = 10000,
                                        .max_loss = w->cfg.max_loss,
                                        .failback_automatic = w->cfg.failback_automatic};
    struct fm_failover_evidence ev = evidence(w, p, ctx, lost);
    struct fm_failover_event e = {.kind = kind, .ev = &ev, .quote = quote, .break_glass = glass};
    struct fm_failover_verdict v = fm_failover_step(f, &policy, &e, local_now(w, p));
    if (v.changed)
        trace(w, "agent %u.%u ctx %u region %u: %s -> %s (%s)", w->proc[p].region, w->proc[p].index,
              ctx, lost, fm_failover_state_name(v.from), fm_failover_state_name(v.to),
              fm_failover_why_name(v.why));
    switch (v.action) {
    case FM_FAILOVER_DO_START:
        a->started_at[ctx][lost] = w->now + between(&w->net, 50, 3000) * MS;
        return;
    case FM_FAILOVER_DO_STOP:
        a->started_at[ctx][lost] = 0;
        return;
    case FM_FAILOVER_DO_TAKE:
        check_ordered(w, p, ctx, lost, f->broke_glass);
        return; /* the cells are ordered while it completes */
    case FM_FAILOVER_DO_DESIST:
        agent_order(w, p, ctx, &(struct fm_auth_event){.kind = FM_AUTH_DESIST});
        return;
    case FM_FAILOVER_DO_MOVE_HOME:
        if (ev.lag)
            broken(w, "invariant 7",
                   "failback of context %u to region %u begins with a lag of %llu", ctx, lost,
                   (unsigned long long)ev.lag);
        return;
    case FM_FAILOVER_DO_MOVE_BACK:
    case FM_FAILOVER_DO_ASK:
    case FM_FAILOVER_DO_NOTHING:
    case FM_FAILOVER_ACTION_COUNT:
        return;
    }
}

/* Cells that are held here and at home there; those that were taken by force, or all. */
static uint64_t away_from(const struct world *w, const struct fm_authority *x, unsigned ctx,
                          unsigned home, bool forced)
{
    uint64_t cells = fm_authority_holds(x) & w->at_home[ctx][home];
    for (unsigned i = 0; i < x->cfg.ncells && forced && cells; i++)
        if (!fm_cell_was_forced(&x->cell[i].at.r))
            cells &= ~(UINT64_C(1) << i);
    return cells;
}

static void failover_tick(struct world *w, unsigned p, unsigned ctx, unsigned lost)
{
    struct agent *a = agent_of(w, p);
    struct fm_failover *f = &a->fo[ctx][lost];
    const struct fm_authority *x = &a->auth[ctx];
    struct fm_quote none = {.until = FM_MONO_ZERO};
    bool own = lost == w->proc[p].region;
    uint64_t away = own ? 0 : away_from(w, x, ctx, lost, false);
    bool nothing = fm_failover_is_idle(f) && !away;
    if (nothing && !fm_votes_lost(&a->votes, lost) && !yield_is(w, x, ctx, lost))
        return;
    uint64_t cells = cells_of(x, lost);
    if (nothing && !cells)
        return;
    if (f->state == FM_FAILOVER_STEADY && !own && away_from(w, x, ctx, lost, true))
        failover_event(w, p, ctx, lost, FM_FAILOVER_ON_FOUND, none, false);
    else if (f->state == FM_FAILOVER_FAILED_OVER && !away)
        failover_event(w, p, ctx, lost, FM_FAILOVER_ON_RETURNED, none, false);
    if (f->state == FM_FAILOVER_PREPARING && a->started_at[ctx][lost] &&
        w->now >= a->started_at[ctx][lost])
        failover_event(w, p, ctx, lost, FM_FAILOVER_ON_STARTED, none, false);
    if (!cells) /* refused where nothing is under way */
        failover_event(w, p, ctx, lost, FM_FAILOVER_ON_TAKEN, none, false);
    failover_event(w, p, ctx, lost, FM_FAILOVER_ON_TICK, none, false);
    if (w->proc[p].up && cells && f->state == FM_FAILOVER_COMPLETING)
        acquire(w, p, ctx, cells, f);
}

/* -------- planned moves -------- */

static void move_event(struct world *w, unsigned p, unsigned ctx, enum fm_move_event e);

static void tell_gates(struct world *w, unsigned p, unsigned ctx, int32_t ms)
{
    struct agent *a = agent_of(w, p);
    for (unsigned i = 0; i < SIM_GATES; i++) {
        struct msg *m = message(w, MSG_QUIET, p, proc_gate(w->proc[p].region, i), ctx);
        m->cells = UINT64_C(1) << a->mv[ctx].cell;
        m->op = a->mv[ctx].serial;
        m->ms = ms;
        send_msg(w, m);
    }
    for (unsigned i = 0; w->group && ctx == 0 && i < w->group->n; i++) {
        if (w->group->region[i] != w->proc[p].region)
            continue;
        struct msg *m = message(w, MSG_QUIET, p, proc_db(i), ctx);
        m->cells = 1;
        m->ms = ms;
        send_msg(w, m);
    }
}

static void tell_heir(struct world *w, unsigned p, unsigned ctx, enum msg_kind kind)
{
    struct agent *a = agent_of(w, p);
    for (unsigned i = 0; i < SIM_AGENTS; i++) {
        struct msg *m = message(w, kind, p, proc_agent(a->mv[ctx].to, i), ctx);
        m->cell = a->mv[ctx].cell;
        m->op = a->mv[ctx].serial;
        m->region = w->proc[p].region;
        send_msg(w, m);
    }
}

/* What the state asks for, again and again while it lasts. */
static void move_do(struct world *w, unsigned p, unsigned ctx, enum fm_move_action action)
{
    struct agent *a = agent_of(w, p);
    const struct fm_move *m = &a->mv[ctx];
    struct fm_auth_event e = {.cell = m->cell, .to = m->to};
    a->repeat_at[ctx] = local_now(w, p).ns + w->cfg.retry_ms * MS;
    switch (action) {
    case FM_MOVE_DO_ASK_HEIR:
        tell_heir(w, p, ctx, MSG_HEIR_ASKED);
        return;
    case FM_MOVE_DO_HOLD:
        tell_gates(w, p, ctx, 3000);
        return;
    case FM_MOVE_DO_LET_GO:
        tell_gates(w, p, ctx, 0);
        return;
    case FM_MOVE_DO_SHIP:
        tell_heir(w, p, ctx, MSG_SHIP);
        return;
    case FM_MOVE_DO_STOP:
        e.kind = FM_AUTH_STOP;
        break;
    case FM_MOVE_DO_RELEASE:
        e.kind = FM_AUTH_RELEASE;
        break;
    case FM_MOVE_DO_RETAKE:
        e.kind = FM_AUTH_RETAKE;
        break;
    case FM_MOVE_DO_NOTHING:
    case FM_MOVE_ACTION_COUNT:
        return;
    }
    agent_order(w, p, ctx, &e);
}

static void move_event(struct world *w, unsigned p, unsigned ctx, enum fm_move_event e)
{
    struct agent *a = agent_of(w, p);
    struct fm_move_policy policy = {500, 500, 2 * w->cfg.lease_ms, 1000, 2000, 4000};
    uint8_t from = a->mv[ctx].state;
    struct fm_move_verdict v = fm_move_step(&a->mv[ctx], &policy, e, local_now(w, p));
    if (v.changed)
        trace(w, "agent %u.%u ctx %u cell %u move: %s -> %s", w->proc[p].region, w->proc[p].index,
              ctx, a->mv[ctx].cell, fm_move_state_name(from), fm_move_state_name(a->mv[ctx].state));
    move_do(w, p, ctx, v.action);
}

static void move_begin(struct world *w, unsigned p, unsigned ctx, unsigned cell, unsigned to)
{
    struct agent *a = agent_of(w, p);
    bool held = fm_authority_holds(&a->auth[ctx]) >> cell & 1;
    if (a->mv[ctx].state != FM_MOVE_IDLE || !held || to == w->proc[p].region)
        return;
    a->mv[ctx].cell = (uint8_t)cell;
    a->mv[ctx].to = (uint8_t)to;
    a->drained[ctx] = 0;
    move_event(w, p, ctx, FM_MOVE_ON_BEGIN);
}

static void move_tick(struct world *w, unsigned p, unsigned ctx)
{
    struct agent *a = agent_of(w, p);
    struct fm_move *m = &a->mv[ctx];
    const struct fm_cell_record *c = &a->auth[ctx].cell[m->cell].at.r;
    struct fm_mono now = local_now(w, p);
    bool drained = true;
    if (m->state == FM_MOVE_IDLE)
        return;
    for (unsigned i = 0; i < SIM_GATES; i++) {
        struct fm_sub s = gate_of(w, proc_gate(w->proc[p].region, i))->id;
        drained &= a->drained[ctx] >> i & 1 || !fm_authority_grants_to(&a->auth[ctx], s, now);
    }
    if (a->auth[ctx].k.state < FM_CHAIN_HOLD)
        move_event(w, p, ctx, FM_MOVE_ON_LOST);
    else if (c->region != w->proc[p].region)
        move_event(w, p, ctx, FM_MOVE_ON_TAKEN);
    else if (c->state == FM_CELL_RELEASED && m->state == FM_MOVE_RELEASING)
        move_event(w, p, ctx, FM_MOVE_ON_RELEASED);
    else if (!fm_mono_before(now, m->late_at))
        move_event(w, p, ctx, FM_MOVE_ON_LATE);
    else if (m->state == FM_MOVE_HOLDING && drained)
        move_event(w, p, ctx, FM_MOVE_ON_DRAINED);
    else if (now.ns >= a->repeat_at[ctx])
        move_do(w, p, ctx, fm_move_lasting(m));
}

/* One cell after the other, the first one being the canary. */
static void failback_tick(struct world *w, unsigned p, unsigned ctx, unsigned home)
{
    struct agent *a = agent_of(w, p);
    struct fm_quote none = {.until = FM_MONO_ZERO};
    bool busy = a->mv[ctx].state != FM_MOVE_IDLE || w->now > w->end - 20 * S;
    if (a->fo[ctx][home].state != FM_FAILOVER_FAILING_BACK || busy)
        return;
    uint64_t cells = away_from(w, &a->auth[ctx], ctx, home, false);
    for (unsigned i = 0; i < w->cfg.cells[ctx]; i++)
        if (cells >> i & 1) {
            move_begin(w, p, ctx, i, home);
            return;
        }
    failover_event(w, p, ctx, home, FM_FAILOVER_ON_RETURNED, none, false);
}

void operate_said(struct world *w, unsigned p, unsigned ctx, const struct fm_auth_action *act)
{
    for (unsigned i = 0; i < SIM_GATES && act->why == FM_AUTH_WHY_ACQUIRED; i++)
        send_msg(w, message(w, MSG_NUDGE, p, proc_gate(w->proc[p].region, i), ctx));
    bool hands = act->why == FM_AUTH_WHY_ACQUIRED || act->why == FM_AUTH_WHY_RETAKEN;
    for (unsigned i = 0; w->group && ctx == 0 && hands && i < w->group->n; i++)
        if (w->group->region[i] == w->proc[p].region)
            send_msg(w, message(w, MSG_NUDGE, p, proc_db(i), ctx));
    const struct fm_move *m = &agent_of(w, p)->mv[ctx];
    if (m->state == FM_MOVE_IDLE || act->cell != m->cell)
        return;
    if (act->why == FM_AUTH_WHY_STOPPED)
        move_event(w, p, ctx, FM_MOVE_ON_STOPPED);
    else if (act->why == FM_AUTH_WHY_RELEASED)
        move_event(w, p, ctx, FM_MOVE_ON_RELEASED);
    else if (act->why == FM_AUTH_WHY_RETAKEN)
        move_event(w, p, ctx, FM_MOVE_ON_RETAKEN);
}

/* -------- the whole -------- */

/* As if a person sat there who orders at the first moment at which a lease looks lapsed. */
static void be_eager(struct world *w, unsigned p, unsigned ctx)
{
    const struct fm_authority *x = &agent_of(w, p)->auth[ctx];
    struct fm_mono now = local_now(w, p);
    uint64_t cells = 0;
    for (unsigned r = 0; r < SIM_REGIONS && x->keeper; r++)
        if (r != w->proc[p].region && fm_authority_lapsed(x, r, now))
            cells |= cells_of(x, r);
    if (cells)
        acquire(w, p, ctx, cells, NULL);
}

void operate_eager(struct world *w, unsigned p)
{
    bool eager = w->cfg.eager && w->cfg.mode != FM_MODE_AUTOMATIC;
    for (unsigned c = 0; c < w->cfg.contexts && w->proc[p].up && eager; c++)
        be_eager(w, p, c);
}

void operate_tick(struct world *w, unsigned p)
{
    struct agent *a = agent_of(w, p);
    unsigned me = w->proc[p].region;
    vote(w, p);
    for (unsigned c = 0; c < w->cfg.contexts; c++) {
        const struct fm_authority *x = &a->auth[c];
        uint64_t given = 0;
        for (unsigned i = 0; i < x->cfg.ncells && x->keeper; i++)
            if (x->cell[i].at.r.state == FM_CELL_RELEASED && x->cell[i].at.r.to == me)
                given |= UINT64_C(1) << i;
        if (given)
            acquire(w, p, c, given, NULL);
        if (c == 0 && w->proc[p].up)
            yield_tick(w, p, heir_by_votes(a, me));
        for (unsigned r = 0; r < SIM_REGIONS && x->keeper && w->proc[p].up; r++) {
            failover_tick(w, p, c, r);
            if (r != me)
                failback_tick(w, p, c, r);
        }
        if (w->proc[p].up)
            move_tick(w, p, c);
    }
}

/* -------- buttons -------- */

static void press_move(struct world *w, unsigned p, uint32_t button)
{
    unsigned ctx = button >> 4 & 1, n = w->cfg.cells[ctx], cell = (button >> 6) % n;
    uint64_t holds = fm_authority_holds(&agent_of(w, p)->auth[ctx]);
    for (unsigned i = 0; i < n; i++, cell = (cell + 1) % n)
        if (holds >> cell & 1) {
            move_begin(w, p, ctx, cell, (w->proc[p].region + 1 + (button >> 5 & 1)) % SIM_REGIONS);
            return;
        }
}

static void press(struct world *w, unsigned p, uint32_t button)
{
    struct agent *a = agent_of(w, p);
    unsigned ctx = button >> 4 & 1,
             other = (w->proc[p].region + 1 + (button >> 5 & 1)) % SIM_REGIONS;
    struct fm_failover_evidence ev = evidence(w, p, ctx, other);
    bool any = ev.unbounded && button >> 21 & 1; /* a person accepts whatever it is */
    struct fm_quote quote = {ev.loss, any, fm_mono_add_ms(local_now(w, p), 5000)};
    static const uint8_t events[] = {FM_FAILOVER_ON_PREPARE,  FM_FAILOVER_ON_COMPLETE,
                                     FM_FAILOVER_ON_COMPLETE, FM_FAILOVER_ON_STAND_DOWN,
                                     FM_FAILOVER_ON_FAILBACK, FM_FAILOVER_ON_FAILBACK,
                                     FM_FAILOVER_ON_BREACH};
    unsigned what = button % 13;
    trace(w, "agent %u.%u ctx %u: button %u", w->proc[p].region, w->proc[p].index, ctx, what);
    if (what < FM_COUNT(events)) {
        failover_event(w, p, ctx, other, (enum fm_failover_event_kind)events[what], quote,
                       what == 2 && button >> 20 & 1);
    } else if (what < 11) {
        press_move(w, p, button);
    } else if (what == 11) {
        move_event(w, p, ctx, FM_MOVE_ON_ABORT);
    } else {
        a->paused = button >> 20 & 1;
    }
}

/* Consents, where the region would take over. */
static void on_call(struct world *w, unsigned p, unsigned lost)
{
    struct agent *a = agent_of(w, p);
    for (unsigned c = 0; c < w->cfg.contexts && a->auth[c].keeper && w->proc[p].up; c++) {
        struct fm_failover_evidence ev = evidence(w, p, c, lost);
        bool any = ev.unbounded && fm_rand_below(&w->net, 2);
        struct fm_quote quote = {ev.loss, any, fm_mono_add_ms(local_now(w, p), 5000)};
        if (ev.heir && a->fo[c][lost].state == FM_FAILOVER_STEADY)
            failover_event(w, p, c, lost, FM_FAILOVER_ON_PREPARE, quote, false);
        else if (ev.heir)
            failover_event(w, p, c, lost, FM_FAILOVER_ON_COMPLETE, quote, false);
    }
}

static void change_members(struct world *w, unsigned p, const struct msg *m)
{
    struct fm_auth_event e = {.kind = FM_AUTH_MEMBERS};
    for (unsigned r = 0; r < SIM_REGIONS; r++)
        for (unsigned i = 0; i < SIM_AGENTS; i++)
            if (!(m->cells >> (r * SIM_AGENTS + i) & 1))
                fm_members_add(&e.members,
                               (struct fm_agent_id){(uint8_t)(r * FM_AGENTS_PER_REGION + i)});
    for (unsigned c = 0; c < w->cfg.contexts; c++)
        agent_order(w, p, c, &e);
}

/* -------- messages -------- */

static void heir_asked(struct world *w, unsigned p, const struct msg *m)
{
    const struct fm_authority *x = &agent_of(w, p)->auth[m->ctx];
    enum fm_auth_why why = fm_authority_fit(x, m->cell, local_now(w, p));
    if (why == FM_AUTH_WHY_NOT_KEEPER || why == FM_AUTH_WHY_FROZEN)
        return;
    struct msg *a = message(w, MSG_HEIR, p, m->from, m->ctx);
    a->cell = m->cell;
    a->op = m->op;
    a->flag =
        why == FM_AUTH_WHY_NONE && data_lag(w, m->region, w->proc[p].region, m->ctx, m->cell) <= 4;
    if (w->group && m->ctx == 0)
        a->flag &= db_is_bounded(w, w->proc[p].region, &x->cell[0].at.r.evidence);
    send_msg(w, a);
}

static void ship(struct world *w, unsigned p, const struct msg *m)
{
    struct msg *s = message(w, MSG_SHIPPED, p, m->from, m->ctx);
    s->cell = m->cell;
    s->op = m->op;
    s->answer = data_shipped(w, m);
    send_msg(w, s);
}

static void voted(struct world *w, unsigned p, const struct msg *m)
{
    struct fm_vote v = {.lost = m->cell};
    for (unsigned r = 0; r < SIM_REGIONS; r++)
        if (m->answer >> r & 1)
            v.well[r] = everything;
    fm_votes_take(&agent_of(w, p)->votes, m->agent, &v, local_now(w, p));
}

void operate_take(struct world *w, struct msg *m)
{
    unsigned p = m->to;
    struct agent *a = agent_of(w, p);
    const struct fm_move *mv = &a->mv[m->ctx];
    bool of_this_move = m->op == mv->serial;
    if (m->kind == MSG_DB_RECORD)
        agent_order(w, p, 0,
                    &(struct fm_auth_event){.kind = FM_AUTH_EVIDENCE,
                                            .revision = {m->revision},
                                            .evidence = w->blobs[m->blob].db.evidence});
    else if (m->kind == MSG_DB_REPORT)
        yield_heard(w, m);
    else if (m->kind == MSG_VOTE)
        voted(w, p, m);
    else if (m->kind == MSG_PRESS && m->flag == 1)
        change_members(w, p, m);
    else if (m->kind == MSG_PRESS && m->flag == 2)
        on_call(w, p, m->region);
    else if (m->kind == MSG_PRESS && m->flag == 3)
        press_move(w, p, m->op);
    else if (m->kind == MSG_PRESS && m->flag == 4)
        agent_set_lease(w, p, (int32_t)m->op);
    else if (m->kind == MSG_PRESS && a->auth[0].keeper)
        press(w, p, m->op);
    else if (m->kind == MSG_HEIR_ASKED)
        heir_asked(w, p, m);
    else if (m->kind == MSG_SHIP)
        ship(w, p, m);
    else if (m->kind == MSG_QUIETED && of_this_move && m->cells)
        a->drained[m->ctx] = (uint8_t)(a->drained[m->ctx] | 1u << w->proc[m->from].index);
    else if (m->kind == MSG_HEIR && of_this_move)
        move_event(w, p, m->ctx, m->flag ? FM_MOVE_ON_READY : FM_MOVE_ON_UNFIT);
    else if (m->kind == MSG_SHIPPED && of_this_move &&
             fm_move_is_final((m->answer & 1) != 0, (m->answer & 2) != 0))
        move_event(w, p, m->ctx, FM_MOVE_ON_FINAL);
}
