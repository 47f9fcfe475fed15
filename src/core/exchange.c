/* The machine of one request: see the header. Invariants: at most one answer is relayed; after
 * FAIL, DROP or RELAY no other attempt is alive; a FM_REPEAT_NEVER request has at most one attempt
 * that was sent, ever. */
#include "core/exchange.h"

#include "base/assert.h"
#include "core/rule.h"

void fm_exchange_init(struct fm_exchange *x, const struct fm_exchange_begin *b,
                      const struct fm_route_plan *plan)
{
    *x = (struct fm_exchange){.repeat = (uint8_t)b->repeat,
                              .hedging = b->hedging && b->repeat == FM_REPEAT_SAFE,
                              .leave_region = b->leave_region,
                              .replayable = b->replayable,
                              .waits = b->waits,
                              .maybe_executed = b->maybe_executed};
    FM_ASSERT(b->repeat <= FM_REPEAT_NEVER && plan->n <= FM_REGIONS_MAX);
    FM_ASSERT(!b->maybe_executed || b->repeat == FM_REPEAT_KEYED);
    unsigned most = 1u + b->other_regions;
    x->attempts_max = (uint8_t)(most < FM_ATTEMPTS_MAX ? most : FM_ATTEMPTS_MAX);
    for (unsigned i = 0; i < plan->n && x->nplan < x->attempts_max; i++)
        x->plan[x->nplan++] = plan->region[i];
    /* regions are fewer than tries: then their other instances */
    for (unsigned i = 0; x->nplan > 0 && x->nplan < x->attempts_max; i++)
        x->plan[x->nplan++] = x->plan[i];
}

unsigned fm_exchange_alive(const struct fm_exchange *x)
{
    unsigned n = 0;
    for (unsigned i = 0; i < x->nattempts; i++)
        n += x->attempt[i].state == FM_ATTEMPT_OPEN || x->attempt[i].state == FM_ATTEMPT_SENT;
    return n;
}

static bool is_alive(const struct fm_exchange *x, unsigned i)
{
    return i < x->nattempts && x->attempt[i].state != FM_ATTEMPT_OVER;
}

static void act(struct fm_exchange_actions *out, struct fm_exchange_action a)
{
    FM_ASSERT(out->n < FM_EXCHANGE_ACTIONS_MAX);
    out->action[out->n++] = a;
}

static void cancel_others(struct fm_exchange *x, int keep, struct fm_exchange_actions *out)
{
    for (unsigned i = 0; i < x->nattempts; i++) {
        if ((int)i == keep || !is_alive(x, i))
            continue;
        x->attempt[i].state = FM_ATTEMPT_OVER;
        act(out, (struct fm_exchange_action){.kind = FM_EXCHANGE_CANCEL, .attempt = (uint8_t)i});
    }
}

static void give_up(struct fm_exchange *x, enum fm_problem problem, struct fm_exchange_actions *out)
{
    FM_ASSERT(problem != FM_PROBLEM_NONE && !x->relaying);
    cancel_others(x, -1, out);
    x->over = true;
    act(out, (struct fm_exchange_action){.kind = FM_EXCHANGE_FAIL, .problem = problem});
}

static void relay(struct fm_exchange *x, unsigned i, struct fm_exchange_actions *out)
{
    FM_ASSERT(!x->relaying && is_alive(x, i));
    cancel_others(x, (int)i, out);
    x->relaying = true;
    act(out, (struct fm_exchange_action){.kind = FM_EXCHANGE_RELAY, .attempt = (uint8_t)i});
}

static bool can_try(const struct fm_exchange *x)
{
    return x->replayable && !x->relaying && !x->over && x->next < x->nplan &&
           x->nattempts < FM_ATTEMPTS_MAX;
}

static void try_next(struct fm_exchange *x, bool hedge, bool budgeted,
                     struct fm_exchange_actions *out)
{
    FM_ASSERT(x->next < x->nplan && x->nattempts < FM_ATTEMPTS_MAX);
    uint8_t i = x->nattempts++;
    x->attempt[i] = (struct fm_attempt){.region = x->plan[x->next++],
                                        .state = FM_ATTEMPT_OPEN,
                                        .hedge = hedge,
                                        .budgeted = budgeted};
    act(out, (struct fm_exchange_action){
                 .kind = FM_EXCHANGE_TRY, .attempt = i, .region = x->attempt[i].region});
}

static bool region_is_left(const struct fm_exchange_event *e, unsigned region)
{
    return e->left_regions >> region & 1;
}

/* Bring the next region of the plan that was not left to the front of what is still to be tried.
 * False where there is none: then speculating is pointless. */
static bool promote_good(struct fm_exchange *x, const struct fm_exchange_event *e)
{
    for (unsigned i = x->next; i < x->nplan; i++) {
        if (region_is_left(e, x->plan[i]))
            continue;
        uint8_t good = x->plan[i];
        for (; i > x->next; i--)
            x->plan[i] = x->plan[i - 1];
        x->plan[x->next] = good;
        return true;
    }
    return false;
}

/* Where all that is still to be tried was left, and every region has had its turn, one that was not
 * left is more likely to answer: a connection that only took too long may be made the next time. */
static void prefer_good(struct fm_exchange *x, const struct fm_exchange_event *e)
{
    FM_ASSERT(x->next < x->nplan && x->nattempts <= x->next);
    int good = -1;
    bool again = false;
    if (promote_good(x, e))
        return;
    for (unsigned i = 0; i < x->nattempts; i++) {
        again |= x->attempt[i].region == x->plan[x->next];
        if (!region_is_left(e, x->attempt[i].region))
            good = x->attempt[i].region;
    }
    if (again && good >= 0)
        x->plan[x->next] = (uint8_t)good;
}

/* Somebody besides attempt `but` may still answer: alive, and not in a region that was left. */
static bool hope(const struct fm_exchange *x, const struct fm_exchange_event *e, int but)
{
    for (unsigned i = 0; i < x->nattempts; i++)
        if ((int)i != but && is_alive(x, i) && !region_is_left(e, x->attempt[i].region))
            return true;
    return false;
}

/* May another attempt than `but` have executed the command, or execute it yet? */
static bool is_unknown(const struct fm_exchange *x, int but)
{
    bool maybe = x->maybe_executed;
    for (unsigned i = 0; i < x->nattempts; i++)
        maybe |= (int)i != but && x->attempt[i].state == FM_ATTEMPT_SENT;
    return maybe && x->repeat != FM_REPEAT_SAFE;
}

/* What the client is told when nothing more can be tried. A command that may have been executed is
 * never called failed. */
static enum fm_problem final_problem(const struct fm_exchange *x)
{
    if (is_unknown(x, -1))
        return FM_PROBLEM_OUTCOME_UNKNOWN;
    return x->last_problem != FM_PROBLEM_NONE ? x->last_problem : FM_PROBLEM_UNREACHABLE;
}

/* May this request be sent again after what has happened to attempt i? */
static bool repeatable(const struct fm_exchange *x, bool executed_no)
{
    if (executed_no)
        return true;
    return x->repeat != FM_REPEAT_NEVER && x->leave_region;
}

/* Attempt i is over without an answer to relay. Wait for another, try elsewhere, or give up.
 * Leaving a region that is marked down is free, and so is leaving an instance that is out: nothing
 * would be asked twice that still works. Anything else is paid for. */
static void after_failure(struct fm_exchange *x, unsigned i, bool executed_no,
                          const struct fm_exchange_event *e, struct fm_exchange_actions *out)
{
    FM_ASSERT(!x->relaying && i < x->nattempts);
    x->attempt[i].state = FM_ATTEMPT_OVER;
    if (!executed_no)
        x->maybe_executed = true;
    if (hope(x, e, -1))
        return;
    bool left = region_is_left(e, x->attempt[i].region);
    bool free = left || e->instance_out;
    bool pointless = left && x->waits; /* there is no other region */
    if (can_try(x) && repeatable(x, executed_no) && (free || e->budget) && !pointless) {
        prefer_good(x, e);
        try_next(x, false, !free, out);
    } else if (fm_exchange_alive(x) == 0)
        give_up(x, final_problem(x), out);
}

/* May it be sent again later, to whoever may take it then? A refusal by the gate is the answer,
 * unless it is for want of an instance, or of a way to the gate that it was to be passed on to. */
static bool may_wait(const struct fm_exchange *x, const struct fm_exchange_event *e,
                     bool executed_no)
{
    if (!x->waits || !x->replayable)
        return false;
    if (!executed_no)
        return x->repeat == FM_REPEAT_KEYED;
    return e->problem == FM_PROBLEM_NO_INSTANCE || e->problem == FM_PROBLEM_UNREACHABLE;
}

/* The answer of attempt i is the last word. It may not call failed what another attempt may have
 * executed. */
static void last_word(struct fm_exchange *x, const struct fm_exchange_event *e, bool failed,
                      bool executed_no, struct fm_exchange_actions *out)
{
    unsigned i = e->attempt;
    if (failed && may_wait(x, e, executed_no))
        give_up(x, executed_no && !is_unknown(x, (int)i) ? e->problem : FM_PROBLEM_OUTCOME_UNKNOWN,
                out);
    else if (failed && is_unknown(x, (int)i))
        give_up(x, FM_PROBLEM_OUTCOME_UNKNOWN, out);
    else
        relay(x, i, out);
}

/* An answer that another attempt might better: a refusal of what was not executed, or a 502, 503 or
 * 504 for what may be repeated. It is not thrown away for a region that was left, unless its own
 * was left as well. */
static void answered(struct fm_exchange *x, const struct fm_exchange_event *e,
                     struct fm_exchange_actions *out)
{
    unsigned i = e->attempt;
    FM_ASSERT(!x->relaying && e->problem < FM_PROBLEM_COUNT);
    bool executed_no =
        e->problem != FM_PROBLEM_NONE && fm_problem_info(e->problem)->executed == FM_EXECUTED_NO;
    if (x->leave_region && fm_problem_is_misdirected(e->problem)) {
        /* nobody else may take it either: whoever asked waits for news of who may, or says what is
         * known of it */
        bool unknown = is_unknown(x, (int)i) && !x->waits;
        give_up(x, unknown ? FM_PROBLEM_OUTCOME_UNKNOWN : e->problem, out);
        return;
    }
    bool failed = e->status == 502 || e->status == 503 || e->status == 504 || executed_no;
    bool again = failed && x->leave_region && repeatable(x, executed_no);
    bool free = region_is_left(e, x->attempt[i].region);
    bool better =
        again && (hope(x, e, (int)i) || (can_try(x) && (FM_RULE_PICK(R22_FLOOR, free, false) ||
                                                        (e->budget && promote_good(x, e)))));
    if (!better) {
        last_word(x, e, failed, executed_no, out);
        return;
    }
    act(out, (struct fm_exchange_action){.kind = FM_EXCHANGE_CANCEL, .attempt = (uint8_t)i});
    x->last_problem =
        e->problem != FM_PROBLEM_NONE ? (uint8_t)e->problem : FM_PROBLEM_UPSTREAM_ERROR;
    after_failure(x, i, executed_no, e, out);
}

/* What is under way in a region that was left goes elsewhere at once if it may; the old attempt may
 * still win. A command without a key moves only while no byte of it has been sent. */
static void region_left(struct fm_exchange *x, const struct fm_exchange_event *e,
                        struct fm_exchange_actions *out)
{
    int in_it = -1;
    for (unsigned i = 0; i < x->nattempts; i++)
        if (is_alive(x, i) && x->attempt[i].region == e->region)
            in_it = (int)i;
    if (in_it < 0 || !x->leave_region || hope(x, e, -1))
        return;
    bool unsent = x->attempt[in_it].state == FM_ATTEMPT_OPEN;
    if (x->waits && x->replayable && (unsent || x->repeat == FM_REPEAT_KEYED)) {
        give_up(x, final_problem(x), out);
        return;
    }
    if (!can_try(x) || !promote_good(x, e))
        return;
    if (x->repeat == FM_REPEAT_NEVER) {
        if (!unsent)
            return;
        cancel_others(x, -1, out);
    }
    try_next(x, false, false, out);
}

static void step(struct fm_exchange *x, const struct fm_exchange_event *e,
                 struct fm_exchange_actions *out)
{
    switch (e->kind) {
    case FM_EXCHANGE_BEGIN:
        FM_ASSERT(x->nattempts == 0);
        if (x->nplan == 0)
            give_up(x, FM_PROBLEM_UNREACHABLE, out);
        else
            try_next(x, false, false, out);
        return;
    case FM_EXCHANGE_SENT:
        if (is_alive(x, e->attempt))
            x->attempt[e->attempt].state = FM_ATTEMPT_SENT;
        return;
    case FM_EXCHANGE_NOT_SENT:
        FM_ASSERT(is_alive(x, e->attempt));
        x->last_problem = e->problem != FM_PROBLEM_NONE ? (uint8_t)e->problem
                          : x->leave_region             ? FM_PROBLEM_UNREACHABLE
                                                        : FM_PROBLEM_NO_INSTANCE;
        after_failure(x, e->attempt, true, e, out);
        return;
    case FM_EXCHANGE_ANSWER:
        FM_ASSERT(is_alive(x, e->attempt));
        answered(x, e, out);
        return;
    case FM_EXCHANGE_LOST:
        FM_ASSERT(is_alive(x, e->attempt));
        x->last_problem = (uint8_t)e->problem;
        after_failure(x, e->attempt, false, e, out);
        return;
    case FM_EXCHANGE_HEDGE_DUE:
        if (x->hedging && e->budget && can_try(x) && fm_exchange_alive(x) == 1 &&
            promote_good(x, e))
            try_next(x, true, true, out);
        return;
    case FM_EXCHANGE_REGION_LEFT:
        if (!x->relaying)
            region_left(x, e, out);
        return;
    case FM_EXCHANGE_TIMEOUT:
        if (x->relaying)
            return;
        x->last_problem = FM_PROBLEM_TIMEOUT;
        give_up(x, final_problem(x), out);
        return;
    case FM_EXCHANGE_CLIENT_GONE:
        cancel_others(x, -1, out);
        x->over = true;
        act(out, (struct fm_exchange_action){.kind = FM_EXCHANGE_DROP});
        return;
    case FM_EXCHANGE_NOT_REPLAYABLE:
        x->replayable = false;
        return;
    case FM_EXCHANGE_EVENT_COUNT:
        break;
    }
    FM_UNREACHABLE();
}

/* What must hold after every step. */
static void check(const struct fm_exchange *x, const struct fm_exchange_actions *out)
{
    unsigned alive = fm_exchange_alive(x);
    FM_ASSERT(x->next <= x->nplan && x->nplan <= x->attempts_max);
    FM_ASSERT(x->nattempts <= x->attempts_max && x->attempts_max <= FM_ATTEMPTS_MAX);
    FM_ASSERT(x->nattempts <= x->next); /* each try was planned */
    FM_ASSERT(!x->over || alive == 0);
    FM_ASSERT(!x->relaying || x->over || alive == 1);
    FM_ASSERT(x->repeat != FM_REPEAT_NEVER || alive <= 1);
    FM_ASSERT(x->over || x->nattempts == 0 || alive > 0); /* never in limbo */
    FM_ASSERT(out->n <= FM_EXCHANGE_ACTIONS_MAX);
}

void fm_exchange_step(struct fm_exchange *x, const struct fm_exchange_event *e,
                      struct fm_exchange_actions *out)
{
    FM_ASSERT(e->kind < FM_EXCHANGE_EVENT_COUNT);
    out->n = 0;
    if (x->over)
        return;
    step(x, e, out);
    check(x, out);
}
