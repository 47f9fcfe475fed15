/* The machine of a standby app: see the header. Invariants: `start` runs only after it was recorded
 * that the app may be running; `stop` only where the region neither holds nor is about to, and no
 * command runs beside another; every wait has an end. */
#include "core/standby.h"

const char *fm_standby_state_name(enum fm_standby_state s)
{
    static const char *const name[] = {
#define X(id, text) [FM_STANDBY_##id] = text,
        FM_STANDBY_STATES(X)
#undef X
    };
    FM_ASSERT(s < FM_COUNT(name));
    return name[s];
}

const char *fm_standby_event_name(enum fm_standby_event e)
{
    static const char *const name[] = {
#define X(id, text) [FM_STANDBY_ON_##id] = text,
        FM_STANDBY_EVENTS(X)
#undef X
    };
    FM_ASSERT(e < FM_COUNT(name));
    return name[e];
}

enum fm_standby_wish fm_standby_wish(const struct fm_standby_facts *x)
{
    if (x->home)
        return FM_STANDBY_LEAVE;
    if (FM_RULE_PICK(I1_STANDBY, x->holds, false) || x->engaged)
        return FM_STANDBY_ON;
    bool over = x->stood_down || x->holder_well;
    return over && !x->promised ? FM_STANDBY_OFF : FM_STANDBY_LEAVE;
}

/* -------- replication to this region -------- */

enum fm_standby_wish fm_standby_wish_apart(const struct fm_standby_facts *x)
{
    bool taken = x->holds || (x->engaged && !x->prepared); /* it is here, or goes home from here */
    FM_ASSERT(!x->prepared || x->engaged);
    if (x->home || taken || x->moves)
        return FM_STANDBY_OFF;
    if (x->prepared)
        return x->recorded ? FM_STANDBY_ON : FM_STANDBY_LEAVE;
    return x->stood_down || x->holder_well ? FM_STANDBY_OFF : FM_STANDBY_LEAVE;
}

const char *fm_standby_link_name(enum fm_standby_link_state s)
{
    static const char *const name[] = {
#define X(id, text) [FM_STANDBY_LINK_##id] = text,
        FM_STANDBY_LINKS(X)
#undef X
    };
    FM_ASSERT(s < FM_COUNT(name));
    return name[s];
}

enum fm_standby_link_state fm_standby_link_named(struct fm_str name)
{
    for (unsigned i = 0; i < FM_STANDBY_LINK_COUNT; i++)
        if (fm_str_eqz(name, fm_standby_link_name((enum fm_standby_link_state)i)))
            return (enum fm_standby_link_state)i;
    return FM_STANDBY_LINK_RESTORING;
}

void fm_standby_link_begin(struct fm_standby_link *l, enum fm_standby_link_state recorded,
                           struct fm_mono now)
{
    FM_ASSERT(recorded < FM_STANDBY_LINK_COUNT && !l->known);
    *l = (struct fm_standby_link){.is = (uint8_t)recorded, .known = true, .since = now};
}

static enum fm_standby_link_state next_link(const struct fm_standby_link *l,
                                            enum fm_standby_wish wish, struct fm_standby_seen seen,
                                            int64_t restore_ms, struct fm_mono now)
{
    enum fm_standby_link_state is = (enum fm_standby_link_state)l->is;
    if (wish == FM_STANDBY_ON || (wish == FM_STANDBY_LEAVE && seen.apart))
        return FM_STANDBY_LINK_BROKEN;
    if (wish == FM_STANDBY_LEAVE && is == FM_STANDBY_LINK_BROKEN)
        return is;
    bool was_broken = is != FM_STANDBY_LINK_FOLLOWS || seen.apart;
    if (!was_broken || (seen.counts && !seen.apart))
        return FM_STANDBY_LINK_FOLLOWS;
    if (is == FM_STANDBY_LINK_FOLLOWS || is == FM_STANDBY_LINK_BROKEN)
        return FM_STANDBY_LINK_RESTORING;
    bool late = is == FM_STANDBY_LINK_OVERDUE || fm_mono_sub_ms(now, l->since) >= restore_ms;
    return late ? FM_STANDBY_LINK_OVERDUE : FM_STANDBY_LINK_RESTORING;
}

bool fm_standby_link_look(struct fm_standby_link *l, enum fm_standby_wish wish,
                          struct fm_standby_seen seen, int64_t restore_ms, struct fm_mono now)
{
    FM_ASSERT(l->is < FM_STANDBY_LINK_COUNT && l->known && restore_ms > 0);
    enum fm_standby_link_state is = next_link(l, wish, seen, restore_ms, now);
    if (is == l->is)
        return false;
    *l = (struct fm_standby_link){.is = (uint8_t)is, .known = true, .since = now};
    return true;
}

enum fm_standby_restored fm_standby_is_restored(const struct fm_standby_link *of, unsigned n)
{
    enum fm_standby_restored all = FM_STANDBY_RESTORED;
    for (unsigned i = 0; i < n; i++) {
        FM_ASSERT(of[i].is < FM_STANDBY_LINK_COUNT);
        if (of[i].known && of[i].is == FM_STANDBY_LINK_OVERDUE)
            return FM_STANDBY_NOT_IN_TIME;
        if (!of[i].known || of[i].is != FM_STANDBY_LINK_FOLLOWS)
            all = FM_STANDBY_NOT_YET;
    }
    return all;
}

/* -------- guards -------- */

#define GUARD(name)                                                                                \
    static bool name(const struct fm_standby *s, const struct fm_standby_policy *p,                \
                     const struct fm_standby_facts *x, struct fm_mono now)

GUARD(always)
{
    (void)s, (void)p, (void)x, (void)now;
    return true;
}

GUARD(wanted)
{
    (void)s, (void)p, (void)now;
    return fm_standby_wish(x) == FM_STANDBY_ON;
}

GUARD(not_wanted)
{
    return !wanted(s, p, x, now);
}

GUARD(wanted_and_recorded)
{
    return wanted(s, p, x, now) && x->recorded;
}

GUARD(may_stop)
{
    (void)now;
    return s->unwanted && x->recorded && !x->busy && FM_RULE(I1_STANDBY, !x->holds) &&
           fm_mono_sub_ms(now, s->off_since) >= p->linger_ms;
}

GUARD(may_stop_again)
{
    return may_stop(s, p, x, now) && !fm_mono_before(now, s->next_at);
}

GUARD(is_up)
{
    (void)p, (void)now;
    return s->started && x->capable && (s->checked || !x->checks);
}

GUARD(is_late)
{
    (void)x;
    return fm_mono_sub_ms(now, s->since) >= p->ready_ms;
}

GUARD(check_is_due)
{
    (void)p;
    bool due = !fm_mono_before(now, s->next_at);
    return !x->home && s->started && x->checks && !s->checked && !x->busy && due;
}

GUARD(is_down)
{
    (void)s, (void)p, (void)now;
    return !x->capable && !x->busy;
}

GUARD(idle)
{
    (void)s, (void)p, (void)now;
    return !x->busy;
}

GUARD(is_forgotten)
{
    (void)s, (void)p, (void)now;
    return !x->recorded;
}

/* -------- the table -------- */

#define ROW(from_, event_, guard_, action_, to_, text)                                             \
    {                                                                                              \
        .from = FM_STANDBY_##from_, .event = FM_STANDBY_ON_##event_, .to = FM_STANDBY_##to_,       \
        .action = FM_STANDBY_DO_##action_, .guard = (guard_), .comment = (text)                    \
    }

const struct fm_standby_row fm_standby_rows[] = {
    ROW(COLD, LOOK, wanted_and_recorded, START, STARTING, "a keeper before this one has begun"),
    ROW(COLD, LOOK, wanted, NOTE, NOTING, "it is needed"),
    ROW(COLD, LOOK, may_stop, STOP, STOPPING, "a keeper before this one has left it running"),

    ROW(NOTING, LOOK, not_wanted, NOTHING, COLD, "it is not needed any more"),
    ROW(NOTING, LOOK, wanted_and_recorded, START, STARTING, "everybody knows that it may run"),
    ROW(NOTING, LOOK, wanted, NOTE, NOTING, "what was sent may have been lost"),

    ROW(STARTING, ENDED_WELL, always, NOTHING, WAITING, "now its health decides"),
    ROW(STARTING, ENDED_BADLY, always, NOTHING, FAILED, "it does not start"),

    ROW(WAITING, LOOK, may_stop, STOP, STOPPING, "it is not needed any more"),
    ROW(WAITING, LOOK, is_up, NOTHING, WARM, "it is started and checked"),
    ROW(WAITING, LOOK, is_late, NOTHING, FAILED, "it is not well in time"),
    ROW(WAITING, LOOK, check_is_due, CHECK, WAITING, "is it well?"),
    ROW(WAITING, ENDED_WELL, always, NOTHING, WAITING, "`check` says so"),
    ROW(WAITING, ENDED_BADLY, always, NOTHING, WAITING, "not yet"),

    ROW(WARM, LOOK, may_stop, STOP, STOPPING, "it is not needed any more"),
    ROW(WARM, AGAIN, is_down, NOTHING, NOTING, "it has ended meanwhile"),

    ROW(FAILED, LOOK, may_stop, STOP, STOPPING, "what is left of it"),
    ROW(FAILED, LOOK, is_up, NOTHING, WARM, "late, but it is well"),
    ROW(FAILED, LOOK, check_is_due, CHECK, FAILED, "late, but is it well?"),
    ROW(FAILED, ENDED_WELL, always, NOTHING, FAILED, "`check` says so"),
    ROW(FAILED, ENDED_BADLY, always, NOTHING, FAILED, "still not"),
    ROW(FAILED, AGAIN, idle, NOTHING, NOTING, "a person tries again"),

    ROW(STOPPING, ENDED_WELL, always, FORGET, FORGETTING, "it is stopped"),
    ROW(STOPPING, ENDED_BADLY, always, NOTHING, STUCK, "it may be running still"),

    ROW(FORGETTING, LOOK, is_forgotten, NOTHING, COLD, "everybody knows that it is stopped"),
    ROW(FORGETTING, LOOK, always, FORGET, FORGETTING, "what was sent may have been lost"),

    ROW(STUCK, LOOK, wanted, NOTHING, NOTING, "it is needed again"),
    ROW(STUCK, LOOK, may_stop_again, STOP, STOPPING, "once more"),
};
const unsigned fm_standby_nrows = FM_COUNT(fm_standby_rows);

/* -------- the step -------- */

void fm_standby_init(struct fm_standby *s, struct fm_mono now)
{
    FM_ASSERT(!fm_mono_is_never(now));
    *s = (struct fm_standby){.since = now, .off_since = now, .next_at = now};
}

static void take_facts(struct fm_standby *s, const struct fm_standby_facts *x, struct fm_mono now)
{
    bool off = fm_standby_wish(x) == FM_STANDBY_OFF;
    if (off && !s->unwanted)
        s->off_since = now;
    s->unwanted = off;
}

static void enter(struct fm_standby *s, const struct fm_standby_policy *p,
                  const struct fm_standby_row *row, struct fm_mono now)
{
    FM_ASSERT(row->from == s->state && row->to < FM_STANDBY_STATE_COUNT);
    bool of_check = row->from == row->to && row->event != FM_STANDBY_ON_LOOK;
    if (row->action == FM_STANDBY_DO_START)
        s->started = s->checked = false;
    if (row->from == FM_STANDBY_STARTING)
        s->started = row->to == FM_STANDBY_WAITING;
    if (of_check && row->event == FM_STANDBY_ON_ENDED_WELL)
        s->checked = true;
    if (of_check && row->event == FM_STANDBY_ON_ENDED_BADLY)
        s->next_at = fm_mono_add_ms(now, p->check_ms);
    if (row->to == FM_STANDBY_STUCK)
        s->next_at = fm_mono_add_ms(now, p->retry_ms);
    if (row->to == FM_STANDBY_WAITING && row->from != row->to)
        s->next_at = now;
    if (row->from != row->to)
        s->since = now;
    s->state = row->to;
}

/* The earlier one of those to come: what is due already waits for something else than time. */
static struct fm_mono sooner(struct fm_mono at, struct fm_mono other, struct fm_mono now)
{
    return fm_mono_before(now, other) ? fm_mono_min(at, other) : at;
}

/* When the table may say something else by time alone. */
static struct fm_mono wake_of(const struct fm_standby *s, const struct fm_standby_policy *p,
                              const struct fm_standby_facts *x, struct fm_mono now)
{
    struct fm_mono at = FM_MONO_NEVER;
    if (s->state == FM_STANDBY_WAITING)
        at = sooner(at, fm_mono_add_ms(s->since, p->ready_ms), now);
    bool checks = !x->home && s->started && x->checks && !s->checked;
    if (checks || s->state == FM_STANDBY_STUCK)
        at = sooner(at, s->next_at, now);
    if (s->unwanted && x->recorded && !x->holds)
        at = sooner(at, fm_mono_add_ms(s->off_since, p->linger_ms), now);
    return at;
}

struct fm_standby_verdict fm_standby_step(struct fm_standby *s, const struct fm_standby_policy *p,
                                          const struct fm_standby_facts *x, enum fm_standby_event e,
                                          struct fm_mono now)
{
    FM_ASSERT(s->state < FM_STANDBY_STATE_COUNT && e < FM_STANDBY_EVENT_COUNT);
    FM_ASSERT(p->ready_ms > 0 && p->linger_ms >= 0 && p->check_ms > 0 && p->retry_ms > 0);
    struct fm_standby_verdict v = {.from = s->state, .to = s->state};
    take_facts(s, x, now);
    for (unsigned i = 0; i < fm_standby_nrows; i++) {
        const struct fm_standby_row *row = &fm_standby_rows[i];
        if (row->from != s->state || row->event != e || !row->guard(s, p, x, now))
            continue;
        enter(s, p, row, now);
        v.changed = row->from != row->to;
        v.to = s->state;
        v.action = (enum fm_standby_action)row->action;
        bool runs = v.action == FM_STANDBY_DO_START || v.action == FM_STANDBY_DO_STOP ||
                    v.action == FM_STANDBY_DO_CHECK;
        FM_ASSERT(!runs || (!x->busy && !x->home));
        FM_ASSERT(v.action != FM_STANDBY_DO_NOTE || fm_standby_wish(x) == FM_STANDBY_ON);
        FM_ASSERT(v.action != FM_STANDBY_DO_STOP || (x->recorded && !x->engaged));
        FM_ASSERT(v.action != FM_STANDBY_DO_START || x->recorded);
        break;
    }
    v.wake = wake_of(s, p, x, now);
    return v;
}

bool fm_standby_may_receive(const struct fm_standby *s)
{
    return s->state != FM_STANDBY_STOPPING && s->state != FM_STANDBY_FORGETTING &&
           s->state != FM_STANDBY_STUCK;
}
