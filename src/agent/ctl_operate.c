/* What a controller does with the right to write: it votes, and runs the failover machine of each
 * region that it might replace. The deciding is core's (failover.h, votes.h); the evidence is
 * gathered here, as in sim/operate.c. What an answer calls for is done in the turn in which it
 * came; timers only repeat what may have been lost. */
#include "agent/ctl.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { CANARY_MS = 5000, BACK_PAUSE_MS = 1000, SQLITE_DOMAINS = 3 };

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

/* Of my own region: what it has given up. */
static uint64_t cells_of(const struct fm_authority *x, unsigned region)
{
    uint64_t cells = 0;
    for (unsigned i = 0; i < x->cfg.ncells; i++) {
        const struct fm_cell_at *at = &x->cell[i].at;
        bool kept = region == x->region && at->r.state != FM_CELL_YIELDED;
        if (at->revision.n && at->r.region == region && !kept)
            cells |= UINT64_C(1) << i;
    }
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

/* What of the set could be started where it is not well now. */
static struct fm_startable startable_of(const struct fm_controller *ctl, const struct ctl_set *s)
{
    struct fm_startable x = {.regions = ctl->holders};
    for (unsigned i = 0; i < s->n; i++) {
        const struct ctl_context *c = member(ctl, s, i);
        if (!ctl_conf(c)->standby.present)
            continue;
        fm_contexts_add(&x.contexts, c->number);
        x.regions = (uint16_t)(x.regions & ~(1u << c->auth.cfg.home[0]));
    }
    return x;
}

unsigned ctl_heir(const struct fm_controller *ctl, const struct ctl_set *s, unsigned lost)
{
    struct fm_startable startable = startable_of(ctl, s);
    return fm_votes_heir(&ctl->votes, lost, &s->contexts, &startable, ctl->holders, ctl->rank);
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
        .yielded = ctl_yield_is_given_up(ctl, s, lost),
        /* where it was served until now only its data are missing */
        .ready = to == lost || fm_contexts_cover(&mine->well[to], &s->contexts),
        .capacity =
            to == lost || fm_votes_fits(&ctl->votes, lost, to, &s->contexts, ctl_capacity(ctl, to)),
        .fenced = true, /* by the lease of its gates, and of its databases (io/ward.h) */
        .attested = s->attested[lost],
        .budget_left = UINT8_MAX,
        .home_well = fm_contexts_cover(&mine->well[lost], &s->contexts),
        .window = window_is_open(&conf->failback.window)};
    unsigned heir = ctl_heir(ctl, s, lost);
    ev.nothing = !any_of(ctl, s, lost);
    ev.heir = (ev.yielded ? ctl_yield_next(ctl, s, heir) : heir) == to;
    for (unsigned i = 0; i < s->n; i++) {
        const struct ctl_context *c = member(ctl, s, i);
        ev.quorum &= !c->auth.frozen && c->auth.k.state == FM_CHAIN_HOLD;
        ev.paused |= c->policy.p.paused_until_ms > wall_ms();
        struct fm_group_takeover takeover = ctl_group_takeover(c, to);
        ev.ready &= takeover.ready && ctl_external_is_ready(c, to);
        ev.unbounded |= takeover.bound.kind != FM_CREDIT_ENFORCED || ctl_external_has(c);
        ev.loss += takeover.bound.bytes;
        struct ctl_group_home home = ctl_group_home(c, lost);
        ev.home_well &= home.counts;
        ev.lag = home.lag > ev.lag ? home.lag : ev.lag;
        unsigned left = fm_authority_budget_left(&c->auth);
        ev.budget_left = (uint8_t)(left < ev.budget_left ? left : ev.budget_left);
    }
    return ev;
}

/* What automatic may lose, of all data of the set; a group that is bounded by nothing adds nothing.
 */
static uint64_t max_loss(const struct fm_controller *ctl, const struct ctl_set *s)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < s->n; i++) {
        int g = fm_conf_group_of(ctl->conf, (unsigned)member(ctl, s, i)->conf);
        int64_t credit = g < 0 ? 0 : ctl->conf->groups[g].replication.credit_bytes;
        all += credit > 0 ? (uint64_t)credit : 0;
    }
    return all;
}

struct fm_failover_policy ctl_failover_policy(const struct fm_controller *ctl,
                                              const struct ctl_set *s)
{
    static const uint8_t modes[] = {[FM_CONF_MANUAL] = FM_MODE_MANUAL,
                                    [FM_CONF_ASSISTED] = FM_MODE_ASSISTED,
                                    [FM_CONF_AUTOMATIC] = FM_MODE_AUTOMATIC};
    const struct fm_conf_context *conf = ctl_conf(member(ctl, s, 0));
    return (struct fm_failover_policy){.mode = modes[conf->failover.mode],
                                       .max_loss = max_loss(ctl, s),
                                       .grace_ms = conf->failover.grace_ms,
                                       .ask_after_ms = conf->failover.ask_after_ms,
                                       .soak_ms = conf->failback.soak_ms,
                                       .failback_automatic =
                                           conf->failback.mode == FM_FAILBACK_AUTOMATIC};
}

/* -------- failover -------- */

static void desist(const struct fm_controller *ctl, const struct ctl_set *s)
{
    for (unsigned i = 0; i < s->n; i++)
        ctl_step(member(ctl, s, i), &(struct fm_auth_event){.kind = FM_AUTH_DESIST});
}

/* Those that are not ordered like this yet. */
static void acquire(const struct fm_controller *ctl, const struct ctl_set *s, unsigned lost)
{
    const struct fm_failover *f = &s->fo[lost];
    bool accepted = f->accepted.unbounded;
    FM_ASSERT(f->state == FM_FAILOVER_COMPLETING && !(f->automatic && accepted));
    for (unsigned i = 0; i < s->n; i++) {
        struct ctl_context *c = member(ctl, s, i);
        const struct fm_successor *x = &c->auth.s;
        uint64_t cells = cells_of(&c->auth, lost);
        uint64_t ordered = x->cells & (f->automatic ? x->automatic : ~x->automatic) &
                           (accepted ? x->accepted : ~x->accepted);
        if (cells & ~ordered)
            ctl_step(c, &(struct fm_auth_event){.kind = FM_AUTH_ACQUIRE,
                                                .cells = cells,
                                                .automatic = f->automatic,
                                                .accepted = accepted});
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
    char loss[64] = "";
    if (ev->unbounded)
        snprintf(loss, sizeof loss, ", loss not bounded");
    else if (ev->loss)
        snprintf(loss, sizeof loss, ", at most %llu bytes lost", (unsigned long long)ev->loss);
    snprintf(e->evidence, sizeof e->evidence,
             "lost by %u and well by %u of %u observers, %u domains%s%s%s%s%s%s%s", ev->lost_by,
             ev->healthy_by, ev->observers, ev->domains, ev->yielded ? ", given up" : "",
             ev->heir ? ", heir" : "", ev->ready ? ", ready" : "", ev->quorum ? ", quorum" : "",
             ev->paused ? ", paused" : "", ev->attested ? ", fence attested" : "", loss);
    fm_log(FM_LOG_WARN, "failover", FM_KZ("context", e->context),
           FM_KZ("region", ctl->c.roster->region[lost]), FM_KZ("from", e->from), FM_KZ("to", e->to),
           FM_KZ("why", e->why), FM_KZ("evidence", e->evidence));
}

static bool begin_standby(const struct fm_controller *ctl, const struct ctl_set *s)
{
    bool any = false;
    for (unsigned i = 0; i < s->n; i++)
        any |= ctl_standby_begin(member(ctl, s, i));
    return any;
}

struct fm_failover_verdict ctl_failover_event(struct fm_controller *ctl, struct ctl_set *s,
                                              unsigned lost, enum fm_failover_event_kind kind,
                                              struct fm_quote quote, bool glass)
{
    struct fm_failover *f = &s->fo[lost];
    struct fm_failover_policy policy = ctl_failover_policy(ctl, s);
    struct fm_failover_evidence ev = ctl_evidence(ctl, s, lost, ctl->region);
    struct fm_failover_event e = {.kind = kind, .ev = &ev, .quote = quote, .break_glass = glass};
    uint8_t why = f->why;
    struct fm_failover_verdict v = ctl_failover_step(ctl, s, lost, &policy, &e);
    if (v.changed || v.action == FM_FAILOVER_DO_ASK || (!v.refused && v.why != why))
        say_failover(ctl, s, lost, &v, &ev);
    switch (v.action) {
    case FM_FAILOVER_DO_DESIST:
        desist(ctl, s);
        break;
    case FM_FAILOVER_DO_START:
        if (!begin_standby(ctl, s)) /* there is nothing to be started */
            return ctl_failover_event(ctl, s, lost, FM_FAILOVER_ON_STARTED, quote, false);
        break;
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
    case FM_FAILOVER_DO_STOP: /* follows from the state: ctl_standby.c */
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

/* Is everything of the set started that has to be? */
static void look_at_standby(struct fm_controller *ctl, struct ctl_set *s, unsigned lost)
{
    bool ready = true, failed = false;
    for (unsigned i = 0; i < s->n; i++) {
        ready &= ctl_standby_is_ready(member(ctl, s, i));
        failed |= ctl_standby_has_failed(member(ctl, s, i));
    }
    if (failed)
        feed(ctl, s, lost, FM_FAILOVER_ON_START_FAILED);
    else if (ready)
        feed(ctl, s, lost, FM_FAILOVER_ON_STARTED);
}

static void failover_turn(struct fm_controller *ctl, struct ctl_set *s, unsigned lost)
{
    struct fm_failover *f = &s->fo[lost];
    bool own = lost == ctl->region, holds = any_of(ctl, s, lost);
    bool away = !own && any_away(ctl, s, lost, false);
    bool steady = f->state == FM_FAILOVER_STEADY && !own;
    bool is_lost = fm_votes_lost(&ctl->votes, lost) || ctl_yield_is_given_up(ctl, s, lost);
    if (fm_failover_is_idle(f) && !away && (!holds || !is_lost))
        return;
    if (steady && any_away(ctl, s, lost, true))
        feed(ctl, s, lost, FM_FAILOVER_ON_FOUND);
    else if (f->state == FM_FAILOVER_FAILED_OVER && !away) {
        feed(ctl, s, lost, FM_FAILOVER_ON_RETURNED);
        return; /* whether there is anything to do is asked anew */
    }
    if (f->state == FM_FAILOVER_PREPARING)
        look_at_standby(ctl, s, lost);
    if (!holds) /* changes nothing where nothing is under way */
        feed(ctl, s, lost, FM_FAILOVER_ON_TAKEN);
    feed(ctl, s, lost, FM_FAILOVER_ON_TICK);
    if (holds && f->state == FM_FAILOVER_COMPLETING)
        acquire(ctl, s, lost);
    if (fm_failover_asks_holder(f) && !own)
        ctl_yield_ask(ctl, s, lost);
}

/* -------- failback -------- */

/* A step ended after commands had been held for it, and nothing has moved. Each try costs a pause:
 * so it is not tried again and again, and the home is soaked anew. */
static bool step_has_failed(const struct fm_controller *ctl, const struct ctl_set *s)
{
    bool failed = false;
    for (unsigned i = 0; i < s->n; i++) {
        struct ctl_context *c = member(ctl, s, i);
        if (!c->move_home || c->move.state != FM_MOVE_IDLE)
            continue;
        c->move_home = false;
        failed |= c->move_held && !c->move.moved;
    }
    return failed;
}

/* One cell after the other; the first one is the canary, and the others wait for it. */
static void failback_turn(struct fm_controller *ctl, struct ctl_set *s, unsigned home)
{
    struct fm_mono now = fm_mono_now();
    if (s->fo[home].state != FM_FAILOVER_FAILING_BACK)
        return;
    bool well = ctl_evidence(ctl, s, home, ctl->region).home_well;
    bool failed = step_has_failed(ctl, s);
    if (failed || (s->canary_went && !well && fm_mono_before(now, s->home_next))) {
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
            c->move_home = !ctl_move_begin(c, (unsigned)__builtin_ctzll(cells), home);
        if (cells && c->auth.cfg.ncells > 1)
            return;
    }
    if (canary) /* whole contexts have gone: there is nothing left to wait for */
        s->home_next = fm_mono_add_ms(now, BACK_PAUSE_MS);
}

/* -------- the whole -------- */

void ctl_operate_said(struct ctl_context *c, const struct fm_auth_action *act)
{
    if (act->why == FM_AUTH_WHY_ACQUIRED || act->why == FM_AUTH_WHY_RETAKEN ||
        act->why == FM_AUTH_WHY_FOUNDED || act->why == FM_AUTH_WHY_HOLDS) {
        struct fm_message nudge = ctl_message(c, FM_MESSAGE_NUDGE);
        ctl_send_gates(c, &nudge);
    }
    ctl_move_said(c, act);
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
        failover_turn(ctl, c->set, r);
        if (r != ctl->region)
            failback_turn(ctl, c->set, r);
    }
    ctl_yield_turn(c);
    ctl_standby_turn(c);
    ctl_external_turn(c);
    ctl_open_turn(c);
    ctl_move_turn(c);
}

/* -------- messages -------- */

void ctl_operate_take(struct fm_controller *ctl, unsigned host, uint64_t life,
                      const struct fm_message *m)
{
    const struct ctl_host *from = &ctl->host[host];
    struct ctl_context *c = ctl->context[m->context];
    if (m->kind == FM_MESSAGE_VOTE) {
        /* what was on its way while it died is no sign of life */
        if (from->agent && host != ctl->c.self && life != from->dead_life) {
            ctl->host[host].dead_life = 0;
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
        ctl_move_take(c, host, m);
        ctl_yield_take(c, host, m);
        ctl_home_take(c, host, m);
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
    ctl_record_sets(ctl, old, nold);
    free(old);
}
