/* The failover machine: evidence is taken in, then the first row that fits decides. Invariants:
 * COMPLETING is entered by a person with a valid quote, or by everything that automatic asks for;
 * it is left as soon as observers see the holder healthy again; a timer leads to ASK at most. */
#include "core/failover.h"

#define NAMES(function, type, LIST, ...)                                                           \
    const char *function(enum type x)                                                              \
    {                                                                                              \
        static const char *const name[] = {LIST(__VA_ARGS__)};                                     \
        FM_ASSERT(x < FM_COUNT(name));                                                             \
        return name[x];                                                                            \
    }
#define NAME2(id, name)       name,
#define NAME3(id, name, text) name,
#define TEXT3(id, name, text) text,

NAMES(fm_failover_state_name, fm_failover_state, FM_FAILOVER_STATES, NAME2)
NAMES(fm_failover_event_name, fm_failover_event_kind, FM_FAILOVER_EVENTS, NAME2)
NAMES(fm_failover_why_name, fm_failover_why, FM_FAILOVER_WHYS, NAME3)
NAMES(fm_failover_why_text, fm_failover_why, FM_FAILOVER_WHYS, TEXT3)

void fm_failover_init(struct fm_failover *f, struct fm_mono now)
{
    *f = (struct fm_failover){
        .since = now, .lost_since = FM_MONO_NEVER, .asked_at = now, .home_since = FM_MONO_NEVER};
}

/* -------- guards -------- */

#define GUARD(name)                                                                                \
    static bool name(const struct fm_failover *f, const struct fm_failover_policy *p,              \
                     const struct fm_failover_event *e, struct fm_mono now)

/* Is what would be lost now within what was accepted? */
static bool is_covered(const struct fm_quote *by, const struct fm_failover_evidence *ev)
{
    return by->unbounded || (!ev->unbounded && ev->loss <= by->loss);
}

static bool majority(uint8_t votes, uint8_t of)
{
    FM_ASSERT(votes <= of);
    return 2 * votes > of;
}

static bool lost(const struct fm_failover_evidence *ev)
{
    return ev->yielded ||
           FM_RULE_PICK(R12_MAJORITY, majority(ev->lost_by, ev->observers), ev->lost_by > 0);
}

/* Rule 30. One observer that sees the holder healthy outweighs a majority that does not know. */
static bool healthy(const struct fm_failover_evidence *ev)
{
    return !FM_RULE(R30_HEALTHY, ev->yielded || !majority(ev->healthy_by, ev->observers));
}

enum fm_failover_why fm_failover_automatic(const struct fm_failover *f,
                                           const struct fm_failover_policy *p,
                                           const struct fm_failover_evidence *ev)
{
    (void)f;
    if (p->mode != FM_MODE_AUTOMATIC)
        return FM_FAILOVER_WHY_MODE;
    if (!FM_RULE(I8_PAUSED, !ev->paused))
        return FM_FAILOVER_WHY_PAUSED;
    if (!lost(ev))
        return FM_FAILOVER_WHY_NO_MAJORITY;
    if (healthy(ev))
        return FM_FAILOVER_WHY_HEALTHY;
    if (!ev->quorum)
        return FM_FAILOVER_WHY_NO_QUORUM;
    if (!FM_RULE(R12_ATTEST, ev->domains >= 3 || ev->yielded))
        return FM_FAILOVER_WHY_TWO_DOMAINS;
    if (!ev->ready)
        return FM_FAILOVER_WHY_NOT_READY;
    if (!ev->capacity)
        return FM_FAILOVER_WHY_CAPACITY;
    if (!ev->fenced)
        return FM_FAILOVER_WHY_FENCES;
    if (!FM_RULE(R30_LOSS, !ev->unbounded && ev->loss <= p->max_loss))
        return FM_FAILOVER_WHY_LOSS;
    if (ev->budget_left == 0)
        return FM_FAILOVER_WHY_AT_MOST;
    return FM_FAILOVER_WHY_NONE;
}

/* What stands against a person's order to complete. */
static enum fm_failover_why against_order(const struct fm_failover_event *e, struct fm_mono now)
{
    const struct fm_failover_evidence *ev = e->ev;
    if (healthy(ev) && !e->break_glass)
        return FM_FAILOVER_WHY_HEALTHY;
    if (!ev->quorum)
        return FM_FAILOVER_WHY_NO_QUORUM;
    if (!FM_RULE(R12_ATTEST, ev->domains >= 3 || ev->attested || ev->yielded))
        return FM_FAILOVER_WHY_TWO_DOMAINS;
    if (!ev->ready)
        return FM_FAILOVER_WHY_NOT_READY;
    bool covered = fm_mono_before(now, e->quote.until) && is_covered(&e->quote, ev);
    return FM_RULE(R30_QUOTE, covered) ? FM_FAILOVER_WHY_NONE : FM_FAILOVER_WHY_QUOTE;
}

static int64_t well_ms(const struct fm_failover *f, struct fm_mono now)
{
    return fm_mono_is_never(f->home_since) ? 0 : fm_mono_sub_ms(now, f->home_since);
}

static bool has_soaked(const struct fm_failover *f, const struct fm_failover_policy *p,
                       struct fm_mono now)
{
    return !fm_mono_is_never(f->home_since) && well_ms(f, now) >= p->soak_ms;
}

static bool lags(const struct fm_failover_policy *p, const struct fm_failover_evidence *ev)
{
    return ev->lag > 0 || ev->conflicts > p->conflicts_max;
}

/* A home that is lost lags, too: who looks at its data first looks at the wrong end. */
static enum fm_failover_why against_failback(const struct fm_failover *f,
                                             const struct fm_failover_policy *p,
                                             const struct fm_failover_event *e, struct fm_mono now)
{
    const struct fm_failover_evidence *ev = e->ev;
    if (!ev->home_well && lost(ev))
        return FM_FAILOVER_WHY_ILL;
    if (!FM_RULE(I7_LAG, !lags(p, ev)))
        return FM_FAILOVER_WHY_LAG;
    if (!ev->home_well)
        return FM_FAILOVER_WHY_ILL;
    if (!has_soaked(f, p, now))
        return FM_FAILOVER_WHY_SOAK;
    return ev->window ? FM_FAILOVER_WHY_NONE : FM_FAILOVER_WHY_WINDOW;
}

GUARD(always)
{
    (void)f, (void)p, (void)e, (void)now;
    return true;
}

GUARD(lost_for_grace)
{
    /* who gave it up has waited for so long before */
    int64_t grace_ms = e->ev->yielded ? 0 : p->grace_ms;
    return FM_RULE(I8_NOTHING, !e->ev->nothing) && p->mode != FM_MODE_MANUAL && e->ev->heir &&
           lost(e->ev) && !healthy(e->ev) && !fm_mono_is_never(f->lost_since) &&
           fm_mono_sub_ms(now, f->lost_since) >= grace_ms;
}

/* What a person stood down is not prepared again in the same outage. */
GUARD(prepares_by_itself)
{
    return !f->stood_down && lost_for_grace(f, p, e, now);
}

GUARD(all_clear)
{
    return lost_for_grace(f, p, e, now) &&
           fm_failover_automatic(f, p, e->ev) == FM_FAILOVER_WHY_NONE;
}

/* What a person prepared while all was well waits for that person, and for no outage to end. */
GUARD(holder_back)
{
    (void)p, (void)now;
    return healthy(e->ev) && !f->by_person;
}

/* An order with broken glass goes through a healthy holder. */
GUARD(back_unless_ordered)
{
    (void)p, (void)now;
    return healthy(e->ev) && !f->broke_glass;
}

/* The holder went on meanwhile without those that bounded it, or they are not heard any more. */
static bool worse(const struct fm_failover *f, const struct fm_failover_event *e)
{
    return !FM_RULE(R30_WORSE, is_covered(&f->accepted, e->ev));
}

GUARD(worse_than_automatic_may)
{
    (void)p, (void)now;
    return f->automatic && worse(f, e);
}

GUARD(worse_than_quoted)
{
    (void)p, (void)now;
    return !f->automatic && worse(f, e);
}

GUARD(ask_again)
{
    (void)e;
    return p->ask_after_ms > 0 && fm_mono_sub_ms(now, f->asked_at) >= p->ask_after_ms;
}

GUARD(order_stands)
{
    (void)f, (void)p;
    return against_order(e, now) == FM_FAILOVER_WHY_NONE;
}

GUARD(may_fail_back)
{
    return against_failback(f, p, e, now) == FM_FAILOVER_WHY_NONE;
}

GUARD(fails_back_by_itself)
{
    return p->failback_automatic && may_fail_back(f, p, e, now);
}

/* -------- the table -------- */

#define ROW(from_, event_, guard_, action_, to_, why_, text)                                       \
    {                                                                                              \
        .from = FM_FAILOVER_##from_, .event = FM_FAILOVER_ON_##event_, .to = FM_FAILOVER_##to_,    \
        .why = FM_FAILOVER_WHY_##why_, .action = FM_FAILOVER_DO_##action_, .guard = (guard_),      \
        .comment = (text)                                                                          \
    }

const struct fm_failover_row fm_failover_rows[] = {
    ROW(STEADY, TICK, prepares_by_itself, START, PREPARING, LOST, "prepares by itself"),
    ROW(STEADY, PREPARE, always, START, PREPARING, ORDERED, "a person prepares"),
    ROW(STEADY, FOUND, always, NOTHING, FAILED_OVER, DONE, "another keeper has failed it over"),
    ROW(STEADY, FAILBACK, may_fail_back, MOVE_HOME, FAILING_BACK, ORDERED, "what was moved away"),

    ROW(PREPARING, STARTED, always, NOTHING, PREPARED, READY, "the standby is up"),
    ROW(PREPARING, START_FAILED, always, ASK, ASKING, NOT_READY, "the standby does not start"),
    ROW(PREPARING, TAKEN, always, NOTHING, FAILED_OVER, DONE, "moved by other means"),
    ROW(PREPARING, STAND_DOWN, always, STOP, STEADY, ORDERED, "a person stands it down"),
    ROW(PREPARING, TICK, holder_back, STOP, STEADY, BACK, "the outage is over"),

    ROW(PREPARED, TAKEN, always, NOTHING, FAILED_OVER, DONE, "moved by other means"),
    ROW(PREPARED, STAND_DOWN, always, STOP, STEADY, ORDERED, "a person stands it down"),
    ROW(PREPARED, TICK, holder_back, STOP, STEADY, BACK, "the outage is over"),
    ROW(PREPARED, TICK, all_clear, TAKE, COMPLETING, ALL_CLEAR, "automatic"),
    ROW(PREPARED, TICK, lost_for_grace, ASK, ASKING, MODE, "a person has to consent"),
    ROW(PREPARED, COMPLETE, order_stands, TAKE, COMPLETING, ORDERED, "a person consents"),

    ROW(ASKING, TAKEN, always, NOTHING, FAILED_OVER, DONE, "moved by other means"),
    ROW(ASKING, PREPARE, always, START, PREPARING, ORDERED, "a person tries to start it again"),
    ROW(ASKING, STAND_DOWN, always, STOP, STEADY, ORDERED, "a person stands it down"),
    ROW(ASKING, TICK, holder_back, STOP, STEADY, BACK, "the outage is over"),
    ROW(ASKING, TICK, all_clear, TAKE, COMPLETING, ALL_CLEAR, "what was missing is there"),
    ROW(ASKING, TICK, ask_again, ASK, ASKING, MODE, "asks again, and escalates"),
    ROW(ASKING, COMPLETE, order_stands, TAKE, COMPLETING, ORDERED, "a person consents"),

    ROW(COMPLETING, TAKEN, always, NOTHING, FAILED_OVER, DONE, "all cells were acquired"),
    ROW(COMPLETING, STAND_DOWN, always, DESIST, ASKING, ORDERED, "a person stops it half way"),
    ROW(COMPLETING, TICK, back_unless_ordered, DESIST, ASKING, HEALTHY, "the health gate, again"),
    ROW(COMPLETING, TICK, worse_than_automatic_may, DESIST, ASKING, LOSS, "it needs a person now"),
    ROW(COMPLETING, TICK, worse_than_quoted, DESIST, ASKING, QUOTE, "not what was accepted"),

    ROW(FAILED_OVER, FAILBACK, may_fail_back, MOVE_HOME, FAILING_BACK, ORDERED, "a person"),
    ROW(FAILED_OVER, TICK, fails_back_by_itself, MOVE_HOME, FAILING_BACK, POLICY, "the policy"),
    ROW(FAILED_OVER, RETURNED, always, STOP, STEADY, HOME, "moved home by other means"),

    ROW(FAILING_BACK, RETURNED, always, STOP, STEADY, HOME, "everything is home"),
    ROW(FAILING_BACK, BREACH, always, MOVE_BACK, FAILED_OVER, CANARY, "the canary did badly"),
    ROW(FAILING_BACK, STAND_DOWN, always, MOVE_BACK, FAILED_OVER, ORDERED, "a person stops it"),
};
const unsigned fm_failover_nrows = FM_COUNT(fm_failover_rows);

/* -------- the step -------- */

static void take_evidence(struct fm_failover *f, const struct fm_failover_evidence *ev,
                          struct fm_mono now)
{
    f->by_person &= !lost(ev);
    f->stood_down &= !healthy(ev);
    if (!lost(ev))
        f->lost_since = FM_MONO_NEVER;
    else if (fm_mono_is_never(f->lost_since))
        f->lost_since = now;
    if (!ev->home_well)
        f->home_since = FM_MONO_NEVER;
    else if (fm_mono_is_never(f->home_since))
        f->home_since = now;
}

static enum fm_failover_why why_refused(const struct fm_failover *f,
                                        const struct fm_failover_policy *p,
                                        const struct fm_failover_event *e, struct fm_mono now)
{
    if (e->kind == FM_FAILOVER_ON_COMPLETE)
        return against_order(e, now);
    if (e->kind == FM_FAILOVER_ON_FAILBACK)
        return against_failback(f, p, e, now);
    return FM_FAILOVER_WHY_NONE;
}

static void enter(struct fm_failover *f, const struct fm_failover_policy *p,
                  const struct fm_failover_row *row, const struct fm_failover_event *e,
                  struct fm_mono now)
{
    if (row->action == FM_FAILOVER_DO_ASK)
        f->asked_at = now;
    if (row->to == FM_FAILOVER_COMPLETING) {
        f->automatic = row->event == FM_FAILOVER_ON_TICK;
        f->broke_glass = !f->automatic && e->break_glass;
        f->accepted = e->quote;
        if (f->automatic)
            f->accepted = (struct fm_quote){.loss = p->max_loss};
    }
    if (row->to == FM_FAILOVER_PREPARING)
        f->by_person = row->event == FM_FAILOVER_ON_PREPARE && !lost(e->ev);
    if (row->to == FM_FAILOVER_STEADY)
        f->stood_down = row->event == FM_FAILOVER_ON_STAND_DOWN && !healthy(e->ev);
    if (row->event == FM_FAILOVER_ON_BREACH)
        f->home_since = FM_MONO_NEVER; /* what seemed well was not: it is soaked anew */
    if (row->from != row->to) {
        f->fell_back = row->to == FM_FAILOVER_ASKING &&
                       (row->from == FM_FAILOVER_COMPLETING || row->from == FM_FAILOVER_PREPARING);
        f->since = now;
    }
    f->state = row->to;
    f->why = row->why;
}

struct fm_failover_verdict fm_failover_step(struct fm_failover *f,
                                            const struct fm_failover_policy *p,
                                            const struct fm_failover_event *e, struct fm_mono now)
{
    FM_ASSERT(f->state < FM_FAILOVER_STATE_COUNT && e->kind < FM_FAILOVER_EVENT_COUNT);
    FM_ASSERT(p->grace_ms >= 0 && e->ev != NULL);
    struct fm_failover_verdict v = {.from = f->state, .to = f->state, .why = f->why};
    take_evidence(f, e->ev, now);
    for (unsigned i = 0; i < fm_failover_nrows; i++) {
        const struct fm_failover_row *row = &fm_failover_rows[i];
        if (row->from != f->state || row->event != e->kind || !row->guard(f, p, e, now))
            continue;
        enter(f, p, row, e, now);
        if (row->to == FM_FAILOVER_ASKING && row->why == FM_FAILOVER_WHY_MODE) {
            enum fm_failover_why missing = fm_failover_automatic(f, p, e->ev);
            f->why = (uint8_t)(missing ? missing : FM_FAILOVER_WHY_MODE);
        }
        v.changed = row->from != row->to;
        v.to = f->state;
        v.why = f->why;
        v.action = (enum fm_failover_action)row->action;
        FM_ASSERT(f->state != FM_FAILOVER_COMPLETING || !f->automatic ||
                  p->mode == FM_MODE_AUTOMATIC);
        return v;
    }
    enum fm_failover_why why = why_refused(f, p, e, now);
    bool order = e->kind == FM_FAILOVER_ON_PREPARE || e->kind == FM_FAILOVER_ON_COMPLETE ||
                 e->kind == FM_FAILOVER_ON_STAND_DOWN || e->kind == FM_FAILOVER_ON_FAILBACK;
    v.refused = order;
    if (order && why != FM_FAILOVER_WHY_NONE)
        v.why = (uint8_t)why;
    return v;
}

struct fm_failover_home fm_failover_home(const struct fm_failover *f,
                                         const struct fm_failover_policy *p,
                                         const struct fm_failover_evidence *ev, struct fm_mono now)
{
    struct fm_failover copy = *f;
    struct fm_failover_event e = {.kind = FM_FAILOVER_ON_FAILBACK, .ev = ev};
    struct fm_failover_home h = {.verdict = fm_failover_step(&copy, p, &e, now)};
    if (f->state == FM_FAILOVER_FAILING_BACK)
        h.verdict.refused = false;
    h.lags = lags(p, ev);
    h.ill = !ev->home_well;
    h.unsoaked = !has_soaked(&copy, p, now);
    h.shut = !ev->window;
    h.well_ms = well_ms(&copy, now);
    h.left_ms = fm_clamp_i64(p->soak_ms - h.well_ms, 0, p->soak_ms);
    FM_ASSERT(h.verdict.refused || f->state == FM_FAILOVER_FAILING_BACK || h.left_ms == 0);
    return h;
}

enum fm_failover_event_kind fm_failover_towards(const struct fm_failover *f,
                                                enum fm_failover_wish wish)
{
    bool failed = f->state == FM_FAILOVER_ASKING && f->why == FM_FAILOVER_WHY_NOT_READY;
    if (wish == FM_FAILOVER_TO_STAND_DOWN)
        return FM_FAILOVER_ON_STAND_DOWN;
    if (f->state == FM_FAILOVER_STEADY || (failed && wish == FM_FAILOVER_TO_PREPARE))
        return FM_FAILOVER_ON_PREPARE;
    if (f->state == FM_FAILOVER_PREPARING)
        return FM_FAILOVER_ON_TICK;
    return wish == FM_FAILOVER_TO_COMPLETE ? FM_FAILOVER_ON_COMPLETE : FM_FAILOVER_EVENT_COUNT;
}

bool fm_failover_prepares(const struct fm_failover *f)
{
    return f->state == FM_FAILOVER_PREPARING || f->state == FM_FAILOVER_PREPARED ||
           f->state == FM_FAILOVER_ASKING || f->state == FM_FAILOVER_COMPLETING;
}

bool fm_failover_asks_holder(const struct fm_failover *f)
{
    return f->state == FM_FAILOVER_COMPLETING && !f->automatic;
}

bool fm_failover_is_idle(const struct fm_failover *f)
{
    return f->state == FM_FAILOVER_STEADY && fm_mono_is_never(f->lost_since) && !f->stood_down;
}
