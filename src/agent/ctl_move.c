/* Planned moves, on both sides: the keeper of what is moved runs the machine of core/move.h, and
 * the keeper of the heir says whether it is ready. Invariant: a cell is released only after every
 * gate here has stopped, and every gate of the heir that the file names has the journals of all of
 * ours.
 */
#include "agent/ctl.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>

enum { QUIET_MS = 3000, TRIES_MS = 10 * 1000 /* of one order: no two of them are further apart */ };

static void move_event(struct ctl_context *c, enum fm_move_event e);

/* -------- at the holder -------- */

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

static bool is_shipped(const struct ctl_context *c);

/* Where no gate stops doubles, there is no journal; where no group carries them, no data. */
static bool is_final(const struct ctl_context *c)
{
    return fm_move_is_final(ctl_group_is_final(c, c->move.to) && ctl_external_is_final(c),
                            !stops_doubles(c) || is_shipped(c));
}

/* The journals of the heir's gates get what ours have accepted, also of those that do not serve
 * now: a key belongs to one of them, whichever is there. The data of a group get there by
 * themselves; where they are moved by commands, those run meanwhile. */
static void ship(struct ctl_context *c)
{
    struct fm_message m = ctl_message(c, FM_MESSAGE_SHIP);
    if (!stops_doubles(c)) {
        if (is_final(c))
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

static struct fm_move_policy move_policy(const struct ctl_context *c)
{
    const struct fm_conf_context *conf = ctl_conf(c);
    int64_t lease = c->auth.cfg.lease_ms;
    return (struct fm_move_policy){.ready_ms = 1000,
                                   .drain_ms = fm_clamp_i64(conf->when_away.hold_ms / 2, 500, 5000),
                                   .stop_ms = 2 * lease,
                                   .ship_ms = 2000 + ctl_external_ship_ms(c),
                                   .release_ms = 2000,
                                   .taken_ms = 2 * lease};
}

int64_t ctl_move_within_ms(const struct ctl_context *c)
{
    struct fm_move_policy p = move_policy(c);
    return p.ready_ms + p.drain_ms + p.stop_ms + p.ship_ms + p.release_ms;
}

/* An heir that is not ready is asked again and again: that is said once, and again where it lacks
 * something else. */
static bool is_news(struct ctl_context *c, enum fm_move_state from)
{
    if (from == FM_MOVE_IDLE)
        return !c->move_unfit[0];
    bool same = strcmp(c->move_unfit, c->move_why) == 0;
    bool ends = from == FM_MOVE_ASKED && c->move.state == FM_MOVE_IDLE;
    snprintf(c->move_unfit, sizeof c->move_unfit, "%s", ends ? c->move_why : "");
    return !ends || !same;
}

static void say_move(struct ctl_context *c, enum fm_move_state from, enum fm_move_event why)
{
    struct fm_controller *ctl = c->ctl;
    const struct fm_move *m = &c->move;
    if (from == FM_MOVE_IDLE)
        c->move_since = fm_mono_now();
    if (!is_news(c, from))
        return;
    struct ctl_event *e = ctl_event(ctl, "move", c);
    e->cell = m->cell;
    e->region = m->to;
    e->from = fm_move_state_name(from);
    e->to = fm_move_state_name((enum fm_move_state)m->state);
    e->why = fm_move_event_name(why);
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
    struct fm_move_verdict v = ctl_move_step(c, &policy, e);
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
    if (ctl_external_hands_over(c))
        return ctl_external_hands_over(c);
    if (c->move.cell != cell || c->move.to != to ||
        fm_mono_sub_ms(fm_mono_now(), c->move_since) > TRIES_MS)
        c->move_unfit[0] = 0;
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

bool ctl_move_is_stranded(const struct ctl_context *c, unsigned cell, unsigned from)
{
    return fm_move_is_stranded(fm_votes_lost(&c->ctl->votes, from),
                               c->auth.cell[cell].at.r.region == from);
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

void ctl_move_turn(struct ctl_context *c)
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
    else if (m->state == FM_MOVE_SHIPPING && is_final(c))
        move_event(c, FM_MOVE_ON_FINAL);
    else if (!fm_mono_before(now, c->repeat_at))
        move_do(c, fm_move_lasting(m));
    else
        ctl_arm(c->ctl, fm_mono_min(c->repeat_at, m->late_at));
}

void ctl_move_said(struct ctl_context *c, const struct fm_auth_action *act)
{
    const struct fm_move *m = &c->move;
    if (m->state == FM_MOVE_IDLE || act->cell != m->cell)
        return;
    if (act->why == FM_AUTH_WHY_STOPPED)
        move_event(c, FM_MOVE_ON_STOPPED);
    else if (act->why == FM_AUTH_WHY_RELEASED)
        move_event(c, FM_MOVE_ON_RELEASED);
    else if (act->why == FM_AUTH_WHY_RETAKEN)
        move_event(c, FM_MOVE_ON_RETAKEN);
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
    bool fit = why == FM_AUTH_WHY_NONE && well;
    int missing = fit ? missing_gate(c) : -1;
    if (fit)
        ctl_standby_asked(c);
    struct ctl_group_heir data = ctl_group_heir(c, ctl->region);
    const char *stopping = fit && missing < 0 && !data.ready ? data.why : NULL;
    if (fit && missing < 0 && !stopping)
        stopping = ctl_external_receive(c);
    if (fit && missing < 0 && !stopping)
        stopping = ctl_standby_receive(c);
    a.ok = fit && missing < 0 && !stopping;
    if (missing >= 0)
        snprintf(a.why, sizeof a.why, "its gate %.60s is not there, to which journals would go",
                 fm_roster_host_name(ctl->c.roster, (unsigned)missing));
    else if (!a.ok)
        snprintf(a.why, sizeof a.why, "%s",
                 stopping                  ? stopping
                 : why != FM_AUTH_WHY_NONE ? fm_auth_why_text(why)
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
    if (is_final(c))
        move_event(c, FM_MOVE_ON_FINAL);
}

void ctl_move_take(struct ctl_context *c, unsigned host, const struct fm_message *m)
{
    const struct ctl_host *from = &c->ctl->host[host];
    bool of_this_move = m->life_for == c->ctl->life.n && m->serial == c->move.serial &&
                        c->move.state != FM_MOVE_IDLE;
    if (m->kind == FM_MESSAGE_HEIR_ASK && from->agent)
        heir_asked(c, host, m);
    else if (m->kind == FM_MESSAGE_QUIETED && of_this_move &&
             (from->gate || ctl_group_has(c, host)))
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
