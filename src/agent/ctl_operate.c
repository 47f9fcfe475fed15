/* What a controller does with the right to write: it votes, runs the failover machine of each
 * region that it might replace and the planned move of what it holds. The deciding is core's
 * (failover.h, move.h, votes.h); the evidence is gathered here, as in sim/operate.c. What an answer
 * calls for is done in the turn in which it came; timers only repeat what may have been lost. */
#include "agent/ctl.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { CANARY_MS = 5000, BACK_PAUSE_MS = 1000, QUIET_MS = 3000, SQLITE_DOMAINS = 3 };

/* -------- votes -------- */

static void tell_vote(struct fm_controller *ctl, bool always)
{
    struct fm_message m = {.kind = FM_MESSAGE_VOTE};
    bool news = fm_votes_mine(&ctl->votes, fm_mono_now(), &m.vote);
    m.load = ctl->votes.load[ctl->region];
    if (news || always)
        ctl_send_agents(ctl, FM_NO_REGION, &m);
    if (news)
        ctl_touch_all(ctl);
}

void ctl_operate_vote(struct fm_controller *ctl)
{
    tell_vote(ctl, false);
    ctl_touch_all(ctl);
}

void ctl_operate_tick(struct fm_controller *ctl)
{
    struct fm_mono now = fm_mono_now();
    if (!fm_mono_before(now, ctl->vote_at)) {
        ctl->vote_at = fm_mono_add_ms(now, ctl->vote_ms);
        tell_vote(ctl, true);
    }
    ctl_arm(ctl, ctl->vote_at);
    ctl_touch_all(ctl);
}

/* -------- evidence -------- */

static int64_t wall_ms(void)
{
    return fm_wall_now_ns() / FM_NS_PER_MS;
}

static bool window_is_open(const struct fm_conf_window *w)
{
    if (!w->present)
        return true;
    time_t now = (time_t)(wall_ms() / 1000);
    struct tm t;
    if (!gmtime_r(&now, &t))
        return false;
    int minute = t.tm_hour * 60 + t.tm_min;
    bool today = w->days >> t.tm_wday & 1, yesterday = w->days >> (t.tm_wday + 6) % 7 & 1;
    if (w->from_min <= w->to_min)
        return today && minute >= w->from_min && minute < w->to_min;
    return (today && minute >= w->from_min) || (yesterday && minute < w->to_min);
}

static struct ctl_context *member(const struct fm_controller *ctl, const struct ctl_set *s,
                                  unsigned i)
{
    FM_ASSERT(i < s->n && ctl->context[s->member[i]]);
    return ctl->context[s->member[i]];
}

static uint64_t cells_of(const struct fm_authority *x, unsigned region)
{
    uint64_t cells = 0;
    for (unsigned i = 0; i < x->cfg.ncells; i++)
        if (x->cell[i].at.revision.n && x->cell[i].at.r.region == region)
            cells |= UINT64_C(1) << i;
    return cells;
}

uint64_t ctl_away_from(const struct fm_authority *x, unsigned home, bool forced)
{
    uint64_t cells = fm_authority_holds(x);
    for (unsigned i = 0; i < x->cfg.ncells; i++)
        if (x->cfg.home[i] != home || (forced && !fm_cell_was_forced(&x->cell[i].at.r)))
            cells &= ~(UINT64_C(1) << i);
    return cells;
}

static bool any_of(const struct fm_controller *ctl, const struct ctl_set *s, unsigned region)
{
    for (unsigned i = 0; i < s->n; i++)
        if (cells_of(&member(ctl, s, i)->auth, region))
            return true;
    return false;
}

static bool any_away(const struct fm_controller *ctl, const struct ctl_set *s, unsigned home,
                     bool forced)
{
    for (unsigned i = 0; i < s->n; i++)
        if (ctl_away_from(&member(ctl, s, i)->auth, home, forced))
            return true;
    return false;
}

uint32_t ctl_capacity(const struct fm_controller *ctl, unsigned region)
{
    int i = fm_conf_find_region(ctl->conf, fm_str_z(ctl->c.roster->region[region]));
    return i < 0 ? 0 : ctl->conf->regions[i].capacity_rps;
}

struct fm_failover_evidence ctl_evidence(const struct fm_controller *ctl, const struct ctl_set *s,
                                         unsigned lost, unsigned to)
{
    const struct fm_conf_context *conf = ctl_conf(member(ctl, s, 0));
    struct fm_tally t = fm_votes_tally(&ctl->votes, lost, &s->contexts, fm_mono_now());
    const struct fm_vote *mine = &ctl->votes.of[ctl->self.n].vote;
    struct fm_failover_evidence ev = {
        .observers = t.observers,
        .lost_by = t.lost_by,
        .healthy_by = t.healthy_by,
        .domains = (uint8_t)ctl->domains,
        .quorum = true,
        .ready = fm_contexts_cover(&mine->well[to], &s->contexts),
        .capacity =
            to == lost || fm_votes_fits(&ctl->votes, lost, to, &s->contexts, ctl_capacity(ctl, to)),
        .fenced = true, /* by the lease of its gates; there is no data here that writes by itself */
        .attested = s->attested[lost],
        .budget_left = UINT8_MAX,
        .home_well = fm_contexts_cover(&mine->well[lost], &s->contexts),
        .window = window_is_open(&conf->failback.window)};
    ev.heir = fm_votes_heir(&ctl->votes, lost, &s->contexts, ctl->holders, ctl->rank) == to;
    for (unsigned i = 0; i < s->n; i++) {
        const struct ctl_context *c = member(ctl, s, i);
        ev.quorum &= !c->auth.frozen && c->auth.k.state == FM_CHAIN_HOLD;
        ev.paused |= c->policy.p.paused_until_ms > wall_ms();
        unsigned left = fm_authority_budget_left(&c->auth);
        ev.budget_left = (uint8_t)(left < ev.budget_left ? left : ev.budget_left);
    }
    return ev;
}

static struct fm_failover_policy policy_of(const struct fm_controller *ctl, const struct ctl_set *s)
{
    static const uint8_t modes[] = {[FM_CONF_MANUAL] = FM_MODE_MANUAL,
                                    [FM_CONF_ASSISTED] = FM_MODE_ASSISTED,
                                    [FM_CONF_AUTOMATIC] = FM_MODE_AUTOMATIC};
    const struct fm_conf_context *conf = ctl_conf(member(ctl, s, 0));
    return (struct fm_failover_policy){.mode = modes[conf->failover.mode],
                                       .grace_ms = conf->failover.grace_ms,
                                       .ask_after_ms = conf->failover.ask_after_ms,
                                       .soak_ms = conf->failback.soak_ms,
                                       .failback_automatic =
                                           conf->failback.mode == FM_FAILBACK_AUTOMATIC};
}

/* -------- failover -------- */

static void order(const struct fm_controller *ctl, const struct ctl_set *s, unsigned lost,
                  enum fm_auth_event_kind kind, bool automatic)
{
    for (unsigned i = 0; i < s->n; i++) {
        struct ctl_context *c = member(ctl, s, i);
        const struct fm_successor *x = &c->auth.s;
        uint64_t cells = kind == FM_AUTH_ACQUIRE ? cells_of(&c->auth, lost) : 0;
        uint64_t ordered = x->cells & (automatic ? x->automatic : ~x->automatic);
        if (cells & ~ordered || kind != FM_AUTH_ACQUIRE)
            ctl_step(c,
                     &(struct fm_auth_event){.kind = kind, .cells = cells, .automatic = automatic});
    }
}

static void say_failover(struct fm_controller *ctl, const struct ctl_set *s, unsigned lost,
                         const struct fm_failover_verdict *v, const struct fm_failover_evidence *ev)
{
    struct ctl_event *e = ctl_event(ctl, "failover", member(ctl, s, 0));
    e->region = (int)lost;
    e->from = fm_failover_state_name((enum fm_failover_state)v->from);
    e->to = fm_failover_state_name((enum fm_failover_state)v->to);
    e->why = fm_failover_why_name((enum fm_failover_why)v->why);
    e->text = fm_failover_why_text((enum fm_failover_why)v->why);
    snprintf(e->evidence, sizeof e->evidence,
             "lost by %u and well by %u of %u observers, %u domains%s%s%s%s%s", ev->lost_by,
             ev->healthy_by, ev->observers, ev->domains, ev->heir ? ", heir" : "",
             ev->ready ? ", ready" : "", ev->quorum ? ", quorum" : "", ev->paused ? ", paused" : "",
             ev->attested ? ", fence attested" : "");
    fm_log(FM_LOG_WARN, "failover", FM_KZ("context", e->context),
           FM_KZ("region", ctl->c.roster->region[lost]), FM_KZ("from", e->from), FM_KZ("to", e->to),
           FM_KZ("why", e->why), FM_KZ("evidence", e->evidence));
}

struct fm_failover_verdict ctl_failover_event(struct fm_controller *ctl, struct ctl_set *s,
                                              unsigned lost, enum fm_failover_event_kind kind,
                                              struct fm_quote quote, bool glass)
{
    struct fm_failover *f = &s->fo[lost];
    struct fm_failover_policy policy = policy_of(ctl, s);
    struct fm_failover_evidence ev = ctl_evidence(ctl, s, lost, ctl->region);
    struct fm_failover_event e = {.kind = kind, .ev = &ev, .quote = quote, .break_glass = glass};
    uint8_t why = f->why;
    struct fm_failover_verdict v = fm_failover_step(f, &policy, &e, fm_mono_now());
    if (v.changed || v.action == FM_FAILOVER_DO_ASK || (!v.refused && v.why != why))
        say_failover(ctl, s, lost, &v, &ev);
    switch (v.action) {
    case FM_FAILOVER_DO_DESIST:
        order(ctl, s, lost, FM_AUTH_DESIST, false);
        break;
    case FM_FAILOVER_DO_START: /* nothing has to be started: this version has no standby hooks */
        return ctl_failover_event(ctl, s, lost, FM_FAILOVER_ON_STARTED, quote, false);
    case FM_FAILOVER_DO_MOVE_HOME:
        s->canary_went = false;
        s->home_next = FM_MONO_ZERO;
        break;
    case FM_FAILOVER_DO_ASK:
        fm_log(FM_LOG_ERROR, "failover_needs_a_person",
               FM_KZ("context", ctl->c.roster->context[s->member[0]].name),
               FM_KZ("region", ctl->c.roster->region[lost]),
               FM_KZ("why", fm_failover_why_text((enum fm_failover_why)v.why)));
        break;
    case FM_FAILOVER_DO_TAKE: /* the cells are ordered while it completes */
    case FM_FAILOVER_DO_STOP:
    case FM_FAILOVER_DO_MOVE_BACK:
    case FM_FAILOVER_DO_NOTHING:
    case FM_FAILOVER_ACTION_COUNT:
        break;
    }
    if (v.changed && v.to == FM_FAILOVER_STEADY)
        s->attested[lost] = false;
    for (unsigned i = 0; i < s->n && v.changed; i++)
        ctl_touch(member(ctl, s, i)); /* the next state may have something to do at once */
    return v;
}

static void feed(struct fm_controller *ctl, struct ctl_set *s, unsigned lost,
                 enum fm_failover_event_kind kind)
{
    struct fm_quote none = {.until = FM_MONO_ZERO};
    (void)ctl_failover_event(ctl, s, lost, kind, none, false);
}

static void failover_turn(struct fm_controller *ctl, struct ctl_set *s, unsigned lost)
{
    struct fm_failover *f = &s->fo[lost];
    bool holds = any_of(ctl, s, lost), away = any_away(ctl, s, lost, false);
    bool steady = f->state == FM_FAILOVER_STEADY;
    if (steady && !away && (!holds || !fm_votes_lost(&ctl->votes, lost)))
        return;
    if (steady && any_away(ctl, s, lost, true))
        feed(ctl, s, lost, FM_FAILOVER_ON_FOUND);
    else if (f->state == FM_FAILOVER_FAILED_OVER && !away) {
        feed(ctl, s, lost, FM_FAILOVER_ON_RETURNED);
        return; /* whether there is anything to do is asked anew */
    }
    feed(ctl, s, lost, FM_FAILOVER_ON_TICK);
    if (f->state != FM_FAILOVER_COMPLETING)
        return;
    if (holds)
        order(ctl, s, lost, FM_AUTH_ACQUIRE, f->automatic);
    else
        feed(ctl, s, lost, FM_FAILOVER_ON_TAKEN);
}

/* -------- planned moves -------- */

static void move_event(struct ctl_context *c, enum fm_move_event e);

static void tell_gates_to_hold(struct ctl_context *c, int32_t ms)
{
    struct fm_message m = ctl_message(c, FM_MESSAGE_QUIET);
    m.serial = c->move.serial;
    m.ms = ms;
    m.cells = UINT64_C(1) << c->move.cell;
    ctl_send_gates(c, &m);
}

static void ask_heir(struct ctl_context *c)
{
    struct fm_message m = ctl_message(c, FM_MESSAGE_HEIR_ASK);
    m.serial = c->move.serial;
    m.cell = c->move.cell;
    ctl_send_agents(c->ctl, c->move.to, &m);
}

static bool stops_doubles(const struct ctl_context *c)
{
    return ctl_conf(c)->idempotency.by == FM_BY_GATE;
}

/* The journals of the heir's gates get what ours have accepted, also of those that do not serve
 * now: a key belongs to one of them, whichever is there. Where no gate stops doubles, there is no
 * journal; and no data of this version moves with a cell. */
static void ship(struct ctl_context *c)
{
    struct fm_message m = ctl_message(c, FM_MESSAGE_SHIP);
    if (!stops_doubles(c)) {
        if (fm_move_is_final(true, true))
            move_event(c, FM_MOVE_ON_FINAL);
        return;
    }
    m.serial = c->move.serial;
    m.cell = c->move.cell;
    m.region = (uint8_t)c->ctl->region;
    for (unsigned i = 0; i < c->ctl->c.roster->nhosts; i++)
        if (c->ctl->host[i].door && c->ctl->host[i].region == c->move.to)
            fm_post_send(c->ctl->c.post, i, &m);
}

static void move_do(struct ctl_context *c, enum fm_move_action action)
{
    struct fm_auth_event e = {.cell = c->move.cell, .to = c->move.to};
    c->repeat_at = fm_mono_add_ms(fm_mono_now(), c->auth.cfg.retry_ms);
    if (c->move.state != FM_MOVE_IDLE)
        ctl_arm(c->ctl, c->repeat_at);
    switch (action) {
    case FM_MOVE_DO_ASK_HEIR:
        ask_heir(c);
        return;
    case FM_MOVE_DO_HOLD:
        tell_gates_to_hold(c, QUIET_MS);
        return;
    case FM_MOVE_DO_LET_GO:
        tell_gates_to_hold(c, 0);
        return;
    case FM_MOVE_DO_SHIP:
        ship(c);
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
    ctl_step(c, &e);
}

static enum fm_move_action lasting(enum fm_move_state s)
{
    switch (s) {
    case FM_MOVE_ASKED:
        return FM_MOVE_DO_ASK_HEIR;
    case FM_MOVE_HOLDING:
        return FM_MOVE_DO_HOLD;
    case FM_MOVE_STOPPING:
        return FM_MOVE_DO_STOP;
    case FM_MOVE_SHIPPING:
        return FM_MOVE_DO_SHIP;
    case FM_MOVE_RELEASING:
        return FM_MOVE_DO_RELEASE;
    case FM_MOVE_RETAKING:
        return FM_MOVE_DO_RETAKE;
    case FM_MOVE_IDLE:
    case FM_MOVE_HANDED:
    case FM_MOVE_STATE_COUNT:
        break;
    }
    return FM_MOVE_DO_NOTHING;
}

static struct fm_move_policy move_policy(const struct ctl_context *c)
{
    const struct fm_conf_context *conf = ctl_conf(c);
    int64_t lease = c->auth.cfg.lease_ms;
    return (struct fm_move_policy){.ready_ms = 1000,
                                   .drain_ms = fm_clamp_i64(conf->when_away.hold_ms / 2, 500, 5000),
                                   .stop_ms = 2 * lease,
                                   .ship_ms = 2000,
                                   .release_ms = 2000,
                                   .taken_ms = 2 * lease};
}

static void say_move(struct ctl_context *c, enum fm_move_state from, enum fm_move_event why)
{
    struct fm_controller *ctl = c->ctl;
    const struct fm_move *m = &c->move;
    struct ctl_event *e = ctl_event(ctl, "move", c);
    e->cell = m->cell;
    e->region = m->to;
    e->from = fm_move_state_name(from);
    e->to = fm_move_state_name((enum fm_move_state)m->state);
    e->why = fm_move_event_name(why);
    if (from == FM_MOVE_IDLE)
        c->move_since = fm_mono_now();
    snprintf(e->evidence, sizeof e->evidence, "%s%s%lld ms since it began", c->move_why,
             c->move_why[0] ? ", " : "", (long long)fm_mono_sub_ms(fm_mono_now(), c->move_since));
    fm_log(FM_LOG_INFO, "move", FM_KZ("context", e->context), FM_KU("cell", m->cell),
           FM_KZ("to_region", ctl->c.roster->region[m->to]), FM_KZ("from", e->from),
           FM_KZ("to", e->to), FM_KZ("why", e->why),
           FM_KMS("after_ms", fm_mono_sub_ns(fm_mono_now(), c->move_since)));
}

/* Why it ended without having moved anything: what the heir said, else what the row says. */
static void say_why(struct ctl_context *c, enum fm_move_state from, enum fm_move_event e)
{
    for (unsigned i = 0; i < fm_move_nrows && !c->move_why[0]; i++)
        if (fm_move_rows[i].from == from && fm_move_rows[i].event == e)
            snprintf(c->move_why, sizeof c->move_why, "%s", fm_move_rows[i].comment);
}

static void move_event(struct ctl_context *c, enum fm_move_event e)
{
    struct fm_move_policy policy = move_policy(c);
    enum fm_move_state from = (enum fm_move_state)c->move.state;
    struct fm_move_verdict v = fm_move_step(&c->move, &policy, e, fm_mono_now());
    c->move_held |= c->move.state == FM_MOVE_HOLDING;
    if (v.over && !c->move.moved && from != FM_MOVE_IDLE)
        say_why(c, from, e);
    if (v.changed)
        say_move(c, from, e);
    if (!v.over && v.changed)
        ctl_arm(c->ctl, c->move.late_at);
    move_do(c, v.action);
}

/* A gate of ours that is not there: neither can its journal be shipped, nor another one to it. -1:
 * all are, or no gate stops doubles. */
static int missing_gate(const struct ctl_context *c)
{
    const struct fm_controller *ctl = c->ctl;
    struct fm_mono now = fm_mono_now();
    for (unsigned i = 0; i < ctl->c.roster->nhosts && stops_doubles(c); i++)
        if (ctl->host[i].gate && (ctl->host[i].asked.ns == 0 ||
                                  fm_mono_sub_ms(now, ctl->host[i].asked) > c->auth.cfg.lease_ms))
            return (int)i;
    return -1;
}

const char *ctl_move_begin(struct ctl_context *c, unsigned cell, unsigned to)
{
    FM_ASSERT(cell < c->auth.cfg.ncells && to < FM_AUTH_REGIONS_MAX);
    if (c->move.state != FM_MOVE_IDLE)
        return "another move of this context is under way";
    if (!(fm_authority_holds(&c->auth) >> cell & 1))
        return "this region does not hold the cell";
    if (to == c->ctl->region || !(c->ctl->holders >> to & 1))
        return "the cell cannot go there";
    if (missing_gate(c) >= 0)
        return "a gate of this region is not there, whose journal would have to go along";
    c->move.cell = (uint8_t)cell;
    c->move.to = (uint8_t)to;
    c->ndrained = c->nshipped = 0;
    c->move_why[0] = 0;
    c->move_held = false;
    move_event(c, FM_MOVE_ON_BEGIN);
    return NULL;
}

void ctl_move_abort(struct ctl_context *c)
{
    move_event(c, FM_MOVE_ON_ABORT);
}

/* Every gate that may have a live grant holds, and nothing is in flight there. */
static bool is_drained(const struct ctl_context *c)
{
    struct fm_sub live[FM_SUBS_MAX];
    unsigned n = fm_authority_grantees(&c->auth, fm_mono_now(), live);
    for (unsigned i = 0; i < n; i++) {
        bool is = false;
        for (unsigned k = 0; k < c->ndrained; k++)
            is |= fm_sub_same(live[i], c->drained[k]);
        if (!is)
            return false;
    }
    return true;
}

/* Every gate of the heir has what ours accepted. */
static bool is_shipped(const struct ctl_context *c)
{
    bool any = false;
    for (unsigned i = 0; i < c->ctl->c.roster->nhosts; i++) {
        if (!c->ctl->host[i].door || c->ctl->host[i].region != c->move.to)
            continue;
        bool is = false;
        for (unsigned k = 0; k < c->nshipped; k++)
            is |= c->shipped[k] == i;
        if (!is)
            return false;
        any = true;
    }
    return any;
}

static void move_turn(struct ctl_context *c)
{
    const struct fm_move *m = &c->move;
    const struct fm_cell_record *cell = &c->auth.cell[m->cell].at.r;
    struct fm_mono now = fm_mono_now();
    if (m->state == FM_MOVE_IDLE)
        return;
    if (c->auth.k.state < FM_CHAIN_HOLD)
        move_event(c, FM_MOVE_ON_LOST);
    else if (cell->region != c->ctl->region)
        move_event(c, FM_MOVE_ON_TAKEN);
    else if (cell->state == FM_CELL_RELEASED && m->state == FM_MOVE_RELEASING)
        move_event(c, FM_MOVE_ON_RELEASED);
    else if (!fm_mono_before(now, m->late_at))
        move_event(c, FM_MOVE_ON_LATE);
    else if (m->state == FM_MOVE_HOLDING && is_drained(c))
        move_event(c, FM_MOVE_ON_DRAINED);
    else if (!fm_mono_before(now, c->repeat_at))
        move_do(c, lasting((enum fm_move_state)m->state));
    else
        ctl_arm(c->ctl, fm_mono_min(c->repeat_at, m->late_at));
}

/* One cell after the other; the first one is the canary, and the others wait for it. */
static void failback_turn(struct fm_controller *ctl, struct ctl_set *s, unsigned home)
{
    struct fm_mono now = fm_mono_now();
    if (s->fo[home].state != FM_FAILOVER_FAILING_BACK)
        return;
    bool well = ctl_evidence(ctl, s, home, ctl->region).home_well;
    if (s->canary_went && !well && fm_mono_before(now, s->home_next)) {
        feed(ctl, s, home, FM_FAILOVER_ON_BREACH);
        return;
    }
    bool left = false, busy = false;
    for (unsigned i = 0; i < s->n; i++) {
        busy |= member(ctl, s, i)->move.state != FM_MOVE_IDLE;
        left |= ctl_away_from(&member(ctl, s, i)->auth, home, false) != 0;
    }
    if (!left && !busy)
        feed(ctl, s, home, FM_FAILOVER_ON_RETURNED);
    if (!left || busy || fm_mono_before(now, s->home_next))
        return;
    bool canary = !s->canary_went;
    s->canary_went = true;
    s->home_next = fm_mono_add_ms(now, canary ? CANARY_MS : BACK_PAUSE_MS);
    for (unsigned i = 0; i < s->n; i++) {
        struct ctl_context *c = member(ctl, s, i);
        uint64_t cells = ctl_away_from(&c->auth, home, false);
        if (cells)
            (void)ctl_move_begin(c, (unsigned)__builtin_ctzll(cells), home);
        if (cells && c->auth.cfg.ncells > 1)
            return;
    }
    if (canary) /* whole contexts have gone: there is nothing left to wait for */
        s->home_next = fm_mono_add_ms(now, BACK_PAUSE_MS);
}

/* -------- the whole -------- */

void ctl_operate_said(struct ctl_context *c, const struct fm_auth_action *act)
{
    const struct fm_move *m = &c->move;
    if (act->why == FM_AUTH_WHY_ACQUIRED || act->why == FM_AUTH_WHY_RETAKEN ||
        act->why == FM_AUTH_WHY_FOUNDED || act->why == FM_AUTH_WHY_HOLDS) {
        struct fm_message nudge = ctl_message(c, FM_MESSAGE_NUDGE);
        ctl_send_gates(c, &nudge);
    }
    if (m->state == FM_MOVE_IDLE || act->cell != m->cell)
        return;
    if (act->why == FM_AUTH_WHY_STOPPED)
        move_event(c, FM_MOVE_ON_STOPPED);
    else if (act->why == FM_AUTH_WHY_RELEASED)
        move_event(c, FM_MOVE_ON_RELEASED);
    else if (act->why == FM_AUTH_WHY_RETAKEN)
        move_event(c, FM_MOVE_ON_RETAKEN);
}

void ctl_operate_turn(struct ctl_context *c)
{
    struct fm_controller *ctl = c->ctl;
    const struct fm_authority *x = &c->auth;
    uint64_t given = 0;
    if (c->conf < 0 || !c->set)
        return;
    ctl_tell_changes(c);
    for (unsigned i = 0; i < x->cfg.ncells; i++)
        if (x->cell[i].at.r.state == FM_CELL_RELEASED && x->cell[i].at.r.to == ctl->region)
            given |= UINT64_C(1) << i;
    if (x->keeper && given & ~x->s.cells)
        ctl_step(c, &(struct fm_auth_event){.kind = FM_AUTH_ACQUIRE, .cells = given});
    for (unsigned r = 0; r < ctl->c.roster->nregions && x->keeper; r++) {
        if (r == ctl->region)
            continue;
        failover_turn(ctl, c->set, r);
        failback_turn(ctl, c->set, r);
    }
    move_turn(c);
}

/* -------- messages -------- */

static void heir_asked(struct ctl_context *c, unsigned host, const struct fm_message *m)
{
    struct fm_controller *ctl = c->ctl;
    enum fm_auth_why why = fm_authority_fit(&c->auth, m->cell, fm_mono_now());
    if (why == FM_AUTH_WHY_NOT_KEEPER || why == FM_AUTH_WHY_FROZEN || why == FM_AUTH_WHY_NOT_ABLE)
        return; /* another agent of the region may know better */
    const struct fm_vote *mine = &ctl->votes.of[ctl->self.n].vote;
    bool well = fm_contexts_has(&mine->well[ctl->region], c->number);
    struct fm_message a = ctl_message(c, FM_MESSAGE_HEIR);
    a.life_for = m->life;
    a.serial = m->serial;
    a.cell = m->cell;
    int missing = missing_gate(c);
    a.ok = why == FM_AUTH_WHY_NONE && well && missing < 0;
    if (why == FM_AUTH_WHY_NONE && well && missing >= 0)
        snprintf(a.why, sizeof a.why, "its gate %.60s is not there, to which journals would go",
                 fm_roster_host_name(ctl->c.roster, (unsigned)missing));
    else if (!a.ok)
        snprintf(a.why, sizeof a.why, "%s",
                 why != FM_AUTH_WHY_NONE ? fm_auth_why_text(why)
                                         : "no gate of the region can serve the context");
    fm_post_send(ctl->c.post, host, &a);
}

static void quieted(struct ctl_context *c, unsigned host, const struct fm_message *m)
{
    struct fm_sub s = {(uint16_t)host, {m->life}};
    if (!(m->cells >> c->move.cell & 1) || c->ndrained == FM_SUBS_MAX)
        return;
    for (unsigned i = 0; i < c->ndrained; i++)
        if (fm_sub_same(c->drained[i], s))
            return;
    c->drained[c->ndrained++] = s;
}

static void shipped(struct ctl_context *c, unsigned host, const struct fm_message *m)
{
    if (!m->ok || c->move.state != FM_MOVE_SHIPPING || c->nshipped == FM_SUBS_MAX)
        return;
    for (unsigned i = 0; i < c->nshipped; i++)
        if (c->shipped[i] == host)
            return;
    c->shipped[c->nshipped++] = (uint16_t)host;
    if (fm_move_is_final(true, is_shipped(c)))
        move_event(c, FM_MOVE_ON_FINAL);
}

static void take_of_move(struct ctl_context *c, unsigned host, const struct fm_message *m)
{
    const struct ctl_host *from = &c->ctl->host[host];
    bool of_this_move = m->life_for == c->ctl->life.n && m->serial == c->move.serial &&
                        c->move.state != FM_MOVE_IDLE;
    if (m->kind == FM_MESSAGE_HEIR_ASK && from->agent)
        heir_asked(c, host, m);
    else if (m->kind == FM_MESSAGE_QUIETED && of_this_move && from->gate)
        quieted(c, host, m);
    else if (m->kind == FM_MESSAGE_SHIPPED && of_this_move)
        shipped(c, host, m);
    else if (m->kind == FM_MESSAGE_HEIR && of_this_move && from->agent &&
             fm_agent_region(from->id) == c->move.to) {
        snprintf(c->move_why, sizeof c->move_why, "%s", m->why);
        move_event(c, m->ok ? FM_MOVE_ON_READY : FM_MOVE_ON_UNFIT);
    }
    ctl_touch(c);
}

void ctl_operate_take(struct fm_controller *ctl, unsigned host, const struct fm_message *m)
{
    const struct ctl_host *from = &ctl->host[host];
    struct ctl_context *c = ctl->context[m->context];
    if (m->kind == FM_MESSAGE_VOTE) {
        if (from->agent && host != ctl->c.self) {
            ctl->host[host].dead = false;
            fm_votes_take(&ctl->votes, from->id, &m->vote, fm_mono_now());
            if (fm_agent_region(from->id) != ctl->region)
                fm_votes_load(&ctl->votes, fm_agent_region(from->id), &m->load);
            tell_vote(ctl, false);
            ctl_touch_all(ctl);
        }
    } else if (m->kind == FM_MESSAGE_CAPABLE) {
        if (from->gate) {
            fm_votes_gate(&ctl->votes, (uint16_t)host, &m->vote.well[ctl->region], &m->load,
                          fm_mono_now());
            tell_vote(ctl, false);
        }
    } else if (c && c->conf >= 0 && c->set) {
        take_of_move(c, host, m);
    }
}

/* -------- sets, ranks, domains -------- */

static unsigned count_domains(const struct fm_conf *conf)
{
    const struct fm_conf_etcd *k = &conf->coordination.etcd;
    unsigned n = 0;
    for (size_t i = 0; i < k->nendpoint; i++) {
        bool again = false;
        for (size_t j = 0; j < i; j++)
            again |= fm_str_eq(k->endpoint[i].region, k->endpoint[j].region);
        n += !again;
    }
    return k->present ? n : SQLITE_DOMAINS; /* one machine: it counts so in a demonstration */
}

/* By priority, then by name: the same everywhere. */
static void take_ranks(struct fm_controller *ctl)
{
    const struct fm_conf *conf = ctl->conf;
    for (size_t i = 0; i < conf->nregions; i++) {
        const struct fm_conf_region *a = &conf->regions[i];
        int number = fm_roster_region(ctl->c.roster, a->name);
        uint16_t rank = 0;
        for (size_t j = 0; j < conf->nregions; j++) {
            const struct fm_conf_region *b = &conf->regions[j];
            bool before = b->priority != a->priority ? b->priority < a->priority
                                                     : fm_str_cmp(b->name, a->name) < 0;
            rank = (uint16_t)(rank + before);
        }
        if (number >= 0)
            ctl->rank[number] = rank;
    }
}

static bool moves_with(const struct ctl_context *a, const struct ctl_context *b)
{
    const struct fm_conf_context *conf = ctl_conf(a);
    for (size_t i = 0; i < conf->nmoves_with; i++)
        if (conf->moves_with[i] == (unsigned)b->conf)
            return true;
    return a == b;
}

static void fill_set(struct fm_controller *ctl, struct ctl_set *s, struct ctl_context *first)
{
    *s = (struct ctl_set){.n = 0};
    for (unsigned i = 0; i < ctl->ncontexts; i++) {
        struct ctl_context *c = ctl->context[i];
        if (!c || c->conf < 0 || c->set || !moves_with(first, c))
            continue;
        c->set = s;
        s->member[s->n++] = i;
        fm_contexts_add(&s->contexts, i);
    }
    for (unsigned r = 0; r < FM_AUTH_REGIONS_MAX; r++)
        fm_failover_init(&s->fo[r], fm_mono_now());
}

static void keep_state(struct ctl_set *s, const struct ctl_set *old, unsigned nold)
{
    for (unsigned i = 0; i < nold; i++)
        if (fm_contexts_cover(&old[i].contexts, &s->contexts) &&
            fm_contexts_cover(&s->contexts, &old[i].contexts))
            *s = old[i];
}

void ctl_operate_start(struct fm_controller *ctl)
{
    size_t bytes = ctl->nsets * sizeof ctl->set[0];
    struct ctl_set *old = bytes ? malloc(bytes) : NULL;
    unsigned nold = old ? ctl->nsets : 0;
    if (old)
        memcpy(old, ctl->set, bytes);
    ctl->domains = count_domains(ctl->conf);
    ctl->votes.observers = ctl->observers;
    take_ranks(ctl);
    ctl->nsets = 0;
    for (unsigned i = 0; i < ctl->ncontexts; i++)
        if (ctl->context[i])
            ctl->context[i]->set = NULL;
    for (unsigned i = 0; i < ctl->ncontexts; i++) {
        struct ctl_context *c = ctl->context[i];
        if (!c || c->conf < 0 || c->set)
            continue;
        fill_set(ctl, &ctl->set[ctl->nsets], c);
        keep_state(&ctl->set[ctl->nsets++], old, nold);
    }
    free(old);
}
