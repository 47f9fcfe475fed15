/* Data that Fulmar does not run itself: when which command is run. Invariants: nothing is promoted
 * or fenced without the live right to write; after a forced epoch nothing is promoted before it was
 * fenced; data count as final only when their lag was found zero after they were made read-only;
 * they are open only by the record of the epoch that counts. */
#include "core/external.h"

#include "base/assert.h"

#define NAMES(function, type, LIST)                                                                \
    const char *function(enum type x)                                                              \
    {                                                                                              \
        static const char *const name[] = {LIST(NAME)};                                            \
        FM_ASSERT(x < FM_COUNT(name));                                                             \
        return name[x];                                                                            \
    }
#define NAME(id, name) name,

NAMES(fm_external_role_name, fm_external_role, FM_EXTERNAL_ROLES)
NAMES(fm_external_stage_name, fm_external_stage, FM_EXTERNAL_STAGES)
NAMES(fm_external_state_name, fm_external_state, FM_EXTERNAL_STATES)
NAMES(fm_external_event_name, fm_external_event_kind, FM_EXTERNAL_EVENTS)

/* -------- questions -------- */

bool fm_external_lag_is_zero(const struct fm_external_lag *l)
{
    FM_ASSERT(!l->has_ms || l->ms >= 0);
    return fm_external_lag_is_known(l) && (!l->has_bytes || l->bytes == 0) &&
           (!l->has_ms || l->ms == 0);
}

bool fm_external_is_open(const struct fm_external_record *r, struct fm_epoch epoch)
{
    FM_ASSERT(r->stage < FM_EXTERNAL_STAGE_COUNT);
    bool open = epoch.n && r->stage == FM_EXTERNAL_AT_OPEN && fm_epoch_same(r->epoch, epoch);
    return FM_RULE(R7_OPEN, open);
}

/* Recorded under the epoch that counts. */
static bool is_at(const struct fm_external_facts *f, enum fm_external_stage s)
{
    return f->recorded.stage == s && fm_epoch_same(f->recorded.epoch, f->epoch);
}

static bool is_open(const struct fm_external_facts *f)
{
    return fm_external_is_open(&f->recorded, f->epoch);
}

bool fm_external_needs_force(const struct fm_external_facts *f)
{
    return f->forced && !is_open(f) && !is_at(f, FM_EXTERNAL_AT_CLOSED);
}

unsigned fm_external_came_from(const struct fm_external_record *record, unsigned nregions,
                               unsigned self, uint32_t holders)
{
    FM_ASSERT(nregions <= FM_AUTH_REGIONS_MAX && self < nregions);
    unsigned best = FM_NO_REGION, others = 0, other = FM_NO_REGION;
    for (unsigned r = 0; r < nregions; r++) {
        if (r == self)
            continue;
        if (record[r].epoch.n &&
            (best == FM_NO_REGION || fm_epoch_newer(record[r].epoch, record[best].epoch)))
            best = r;
        if (holders >> r & 1) {
            others++;
            other = r;
        }
    }
    return best == FM_NO_REGION && others == 1 ? other : best;
}

bool fm_external_is_final(const struct fm_external *x)
{
    FM_ASSERT(!x->measured || x->closed);
    return x->closed && x->measured && fm_external_lag_is_zero(&x->lag);
}

struct fm_external_estimate fm_external_estimate(const struct fm_external_lag *l, int64_t age_ms)
{
    FM_ASSERT(age_ms >= 0);
    struct fm_external_estimate e = {.known = fm_external_lag_is_known(l)};
    if (!e.known)
        return e;
    e.has_bytes = l->has_bytes;
    e.bytes = l->has_bytes ? l->bytes : 0;
    e.ms = age_ms + (l->has_ms ? l->ms : 0);
    return e;
}

static bool is_served(const struct fm_external *x)
{
    return x->status.role == FM_EXTERNAL_PRIMARY && x->status.writable;
}

/* -------- guards -------- */

#define GUARD(name)                                                                                \
    static bool name(const struct fm_external *x, const struct fm_external_facts *f,               \
                     struct fm_mono now)

GUARD(always)
{
    (void)x, (void)f, (void)now;
    return true;
}

GUARD(may_retry)
{
    (void)f;
    return !fm_mono_before(now, x->retry_at);
}

/* A planned move, and it is not recorded yet that they are closed. */
GUARD(hands_over)
{
    (void)x, (void)now;
    return f->holds && f->handing && !f->writing && !is_at(f, FM_EXTERNAL_AT_CLOSED);
}

GUARD(must_close)
{
    return f->holds && f->handing && !f->busy && is_at(f, FM_EXTERNAL_AT_CLOSED) && !x->closed &&
           may_retry(x, f, now);
}

GUARD(must_measure)
{
    return f->holds && f->handing && !f->busy && x->closed && !fm_external_is_final(x) &&
           !fm_mono_before(now, x->lag_next);
}

/* What is held has to be opened. */
static bool opens(const struct fm_external_facts *f)
{
    return f->holds && !f->handing && !is_open(f);
}

GUARD(must_begin)
{
    (void)x, (void)now;
    return opens(f) && !f->writing && !fm_epoch_same(f->recorded.epoch, f->epoch);
}

static bool has_begun(const struct fm_external_facts *f)
{
    return opens(f) && fm_epoch_same(f->recorded.epoch, f->epoch);
}

static bool is_fenced(const struct fm_external *x, const struct fm_external_facts *f)
{
    return FM_RULE(R30_FENCED, x->fenced || !fm_external_needs_force(f));
}

GUARD(must_fence)
{
    return has_begun(f) && !f->busy && !is_fenced(x, f) && may_retry(x, f, now);
}

GUARD(has_opened)
{
    (void)now;
    return has_begun(f) && !f->writing && is_fenced(x, f) && x->fresh && is_served(x);
}

GUARD(must_promote)
{
    return has_begun(f) && !f->busy && is_fenced(x, f) && x->fresh && !is_served(x) &&
           may_retry(x, f, now);
}

/* Opened, and read-only since: a keeper that was late to learn something, or a hand. */
GUARD(must_reopen)
{
    bool closed = x->status.role == FM_EXTERNAL_PRIMARY && !x->status.writable;
    return f->holds && !f->handing && is_open(f) && !f->busy && x->fresh && closed &&
           may_retry(x, f, now);
}

/* Written without the right to: a former holder that is back. */
GUARD(must_cut)
{
    return f->elsewhere && !f->holds && !f->busy && x->fresh && x->status.writable &&
           may_retry(x, f, now);
}

GUARD(status_is_due)
{
    return !f->busy && !f->handing && !fm_mono_before(now, x->status_next);
}

/* Who holds lacks nothing. */
GUARD(lag_is_due)
{
    return !f->busy && f->elsewhere && !f->holds && !fm_mono_before(now, x->lag_next);
}

/* What runs looks at data of another epoch, and may hang for as long as it may. */
GUARD(is_overtaken)
{
    (void)now;
    return f->busy && !fm_epoch_same(f->epoch, x->run);
}

GUARD(has_lost_the_right)
{
    (void)now;
    bool lost = !f->holds || !fm_epoch_same(f->epoch, x->run);
    return f->busy && FM_RULE_PICK(R6_PROMOTED, lost, false);
}

/* -------- the table -------- */

#define ROW(from_, event_, guard_, action_, to_, text)                                             \
    {                                                                                              \
        .from = FM_EXTERNAL_##from_, .event = FM_EXTERNAL_ON_##event_, .to = FM_EXTERNAL_##to_,    \
        .action = FM_EXTERNAL_DO_##action_, .guard = (guard_), .comment = (text)                   \
    }

const struct fm_external_row fm_external_rows[] = {
    ROW(IDLE, LOOK, hands_over, NOTE_CLOSED, IDLE, "a planned move: they are closed from now on"),
    ROW(IDLE, LOOK, must_close, CLOSE, CLOSING, "a planned move: nothing is to be written here"),
    ROW(IDLE, LOOK, must_measure, LAG, MEASURING, "a planned move: does the heir lack anything?"),
    ROW(IDLE, LOOK, must_begin, NOTE_OPENING, IDLE, "the right to write has come here"),
    ROW(IDLE, LOOK, must_fence, FENCE, FENCING, "it came by force: cut off who had it before"),
    ROW(IDLE, LOOK, has_opened, NOTE_OPEN, IDLE, "they are written here"),
    ROW(IDLE, LOOK, must_promote, PROMOTE, PROMOTING, "they have to be written here"),
    ROW(IDLE, LOOK, must_reopen, PROMOTE, PROMOTING, "they have been made read-only"),
    ROW(IDLE, LOOK, must_cut, CLOSE, CLOSING, "they are written here without the right to"),
    ROW(IDLE, LOOK, status_is_due, STATUS, ASKING, "how are they?"),
    ROW(IDLE, LOOK, lag_is_due, LAG, MEASURING, "what do they lack?"),

    ROW(ASKING, LOOK, is_overtaken, KILL, IDLE, "the right to write has changed hands"),
    ROW(ASKING, ENDED_WELL, always, NOTHING, IDLE, "it has said how they are"),
    ROW(ASKING, ENDED_BADLY, always, NOTHING, IDLE, "how they are is not known"),
    ROW(MEASURING, LOOK, is_overtaken, KILL, IDLE, "the right to write has changed hands"),
    ROW(MEASURING, ENDED_WELL, always, NOTHING, IDLE, "it has said what they lack"),
    ROW(MEASURING, ENDED_BADLY, always, NOTHING, IDLE, "what they lack is not known"),
    ROW(CLOSING, ENDED_WELL, always, NOTHING, IDLE, "nothing is written here"),
    ROW(CLOSING, ENDED_BADLY, always, NOTHING, IDLE, "it may be written here still"),

    ROW(FENCING, LOOK, has_lost_the_right, KILL, IDLE, "it is another one's to fence"),
    ROW(FENCING, ENDED_WELL, always, NOTHING, IDLE, "who had them before is cut off"),
    ROW(FENCING, ENDED_BADLY, always, NOTHING, IDLE, "who had them before may write still"),
    ROW(PROMOTING, LOOK, has_lost_the_right, KILL, IDLE, "it is another one's to promote"),
    ROW(PROMOTING, ENDED_WELL, always, NOTHING, IDLE, "now their status decides"),
    ROW(PROMOTING, ENDED_BADLY, always, NOTHING, IDLE, "it may have been done; their status says"),
};
const unsigned fm_external_nrows = FM_COUNT(fm_external_rows);

/* -------- the step -------- */

void fm_external_init(struct fm_external *x, struct fm_mono now)
{
    FM_ASSERT(!fm_mono_is_never(now));
    *x = (struct fm_external){.since = now, .status_next = now, .lag_next = now, .retry_at = now};
}

/* What was seen of them may not be so any more. */
static void look_again(struct fm_external *x, struct fm_mono now)
{
    x->fresh = false;
    x->status_next = now;
}

static void take_facts(struct fm_external *x, const struct fm_external_facts *f, struct fm_mono now)
{
    if (!fm_epoch_same(x->epoch, f->epoch)) {
        x->epoch = f->epoch;
        x->fenced = x->closed = x->measured = false;
        x->lag = (struct fm_external_lag){.has_bytes = false}; /* of another writer */
        x->lag_at = FM_MONO_ZERO;
        x->retry_at = x->lag_next = now;
        look_again(x, now);
    }
    if (!f->handing || !f->holds)
        x->closed = x->measured = false;
    FM_ASSERT(!x->measured || x->closed);
}

static void take_status(struct fm_external *x, const struct fm_external_policy *p,
                        const struct fm_external_facts *f, const struct fm_external_event *e,
                        struct fm_mono now)
{
    bool same = fm_epoch_same(x->run, f->epoch);
    x->status_next = same ? fm_mono_add_ms(now, opens(f) ? p->again_ms : p->interval_ms) : now;
    if (e->kind != FM_EXTERNAL_ON_ENDED_WELL)
        return;
    FM_ASSERT(e->status.role < FM_EXTERNAL_ROLE_COUNT);
    x->status = e->status;
    x->known = true;
    x->fresh = same; /* else it was begun before the change */
}

static void take_lag(struct fm_external *x, const struct fm_external_policy *p,
                     const struct fm_external_facts *f, const struct fm_external_event *e,
                     struct fm_mono now)
{
    bool same = fm_epoch_same(x->run, f->epoch);
    x->lag_next = same ? fm_mono_add_ms(now, f->handing ? p->again_ms : p->interval_ms) : now;
    if (e->kind != FM_EXTERNAL_ON_ENDED_WELL || !same)
        return;
    FM_ASSERT(fm_external_lag_is_known(&e->lag));
    x->lag = e->lag;
    x->lag_at = now;
    /* what ran before they were closed proves nothing */
    x->measured = FM_RULE(R16_MISSING, x->closed);
}

/* What a command that changes something has left behind. */
static void take_change(struct fm_external *x, const struct fm_external_policy *p,
                        const struct fm_external_facts *f, const struct fm_external_event *e,
                        struct fm_mono now)
{
    bool well = e->kind == FM_EXTERNAL_ON_ENDED_WELL;
    bool same = fm_epoch_same(x->run, f->epoch);
    if (x->state == FM_EXTERNAL_FENCING)
        x->fenced = same && (well || f->attested);
    if (x->state == FM_EXTERNAL_CLOSING && FM_RULE(R16_CLOSED, well) && same && f->handing &&
        f->holds) {
        x->closed = true;
        x->lag_next = now;
    }
    bool hurry = x->state == FM_EXTERNAL_CLOSING && f->handing;
    bool done = x->fenced && x->state == FM_EXTERNAL_FENCING;
    x->retry_at = done ? now : fm_mono_add_ms(now, hurry ? p->again_ms : p->retry_ms);
    look_again(x, now);
}

static void enter(struct fm_external *x, const struct fm_external_policy *p,
                  const struct fm_external_row *row, const struct fm_external_facts *f,
                  const struct fm_external_event *e, struct fm_mono now)
{
    FM_ASSERT(row->from == x->state && row->to < FM_EXTERNAL_STATE_COUNT);
    if (row->from == FM_EXTERNAL_ASKING)
        take_status(x, p, f, e, now);
    else if (row->from == FM_EXTERNAL_MEASURING)
        take_lag(x, p, f, e, now);
    else if (row->from != FM_EXTERNAL_IDLE)
        take_change(x, p, f, e, now);
    if (row->from != row->to)
        x->since = now;
    if (row->from == FM_EXTERNAL_IDLE)
        x->run = f->epoch;
    x->state = row->to;
}

/* The earlier one of those to come: what is due already waits for something else than time. */
static struct fm_mono sooner(struct fm_mono at, struct fm_mono other, struct fm_mono now)
{
    return fm_mono_before(now, other) ? fm_mono_min(at, other) : at;
}

static void check(const struct fm_external *x, const struct fm_external_facts *f,
                  enum fm_external_action action)
{
    bool runs = action >= FM_EXTERNAL_DO_STATUS && action <= FM_EXTERNAL_DO_PROMOTE;
    bool notes = action >= FM_EXTERNAL_DO_NOTE_OPENING;
    bool changes = action == FM_EXTERNAL_DO_FENCE || action == FM_EXTERNAL_DO_PROMOTE;
    FM_ASSERT(!runs || (!f->busy && x->state != FM_EXTERNAL_IDLE));
    FM_ASSERT(!notes || (f->holds && !f->writing));
    FM_ASSERT(!changes || (f->holds && !f->handing));
    FM_ASSERT(action != FM_EXTERNAL_DO_FENCE || has_begun(f));
    FM_ASSERT(action != FM_EXTERNAL_DO_PROMOTE || is_fenced(x, f));
    FM_ASSERT(action != FM_EXTERNAL_DO_NOTE_OPEN || (is_served(x) && is_fenced(x, f)));
    FM_ASSERT(action != FM_EXTERNAL_DO_CLOSE || f->handing || !f->holds);
}

struct fm_external_verdict fm_external_step(struct fm_external *x,
                                            const struct fm_external_policy *p,
                                            const struct fm_external_facts *f,
                                            const struct fm_external_event *e, struct fm_mono now)
{
    FM_ASSERT(x->state < FM_EXTERNAL_STATE_COUNT && e->kind < FM_EXTERNAL_EVENT_COUNT);
    FM_ASSERT(p->interval_ms > 0 && p->again_ms > 0 && p->retry_ms > 0);
    FM_ASSERT(!(f->holds && f->elsewhere));
    struct fm_external_verdict v = {.from = x->state, .to = x->state};
    take_facts(x, f, now);
    for (unsigned i = 0; i < fm_external_nrows; i++) {
        const struct fm_external_row *row = &fm_external_rows[i];
        if (row->from != x->state || row->event != e->kind || !row->guard(x, f, now))
            continue;
        enter(x, p, row, f, e, now);
        v.changed = row->from != row->to;
        v.to = x->state;
        v.action = (enum fm_external_action)row->action;
        v.why = row->comment;
        check(x, f, v.action);
        break;
    }
    v.wake = sooner(sooner(sooner(FM_MONO_NEVER, x->status_next, now), x->lag_next, now),
                    x->retry_at, now);
    return v;
}
