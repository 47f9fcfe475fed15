/* One node of a group: the first row that fits decides, and TICK goes on until none does.
 * Invariants: PostgreSQL is started as a primary or promoted only where this node's claim is seen
 * recorded under a live sub-lease of that epoch; every state in which it may write is left for
 * KILLING in the step in which that does not hold any more; every failure waits before the next try
 * and is counted. */
#include "core/group_parts.h"

#define NAMES(function, type, LIST, ...)                                                           \
    const char *function(enum type x)                                                              \
    {                                                                                              \
        static const char *const name[] = {LIST(__VA_ARGS__)};                                     \
        FM_ASSERT(x < FM_COUNT(name));                                                             \
        return name[x];                                                                            \
    }
#define NAME2(id, name)        name,
#define NAME3(id, name, other) name,
#define TEXT3(id, name, text)  text,

NAMES(fm_group_state_name, fm_group_state, FM_GROUP_STATES, NAME3)
NAMES(fm_group_event_name, fm_group_event, FM_GROUP_EVENTS, NAME2)
NAMES(fm_group_why_name, fm_group_why, FM_GROUP_WHYS, NAME3)
NAMES(fm_group_why_text, fm_group_why, FM_GROUP_WHYS, TEXT3)

void fm_group_init(struct fm_group_node *g, uint8_t self, unsigned nnodes, struct fm_mono now)
{
    FM_ASSERT(nnodes <= FM_GROUP_NODES_MAX && self < nnodes);
    *g = (struct fm_group_node){.state = FM_GROUP_LOOKING,
                                .why = FM_GROUP_WHY_BEGUN,
                                .self = self,
                                .nnodes = (uint8_t)nnodes,
                                .since = now,
                                .stuck_since = now,
                                .held_at = now,
                                .retry_at = now,
                                .restarts_from = now};
}

/* -------- guards -------- */

#define GUARD(name)                                                                                \
    static bool name(const struct fm_group_node *g, const struct fm_group_policy *p,               \
                     const struct fm_group_evidence *ev, struct fm_mono now)
#define UNUSED (void)g, (void)p, (void)ev, (void)now

GUARD(always)
{
    UNUSED;
    return true;
}

GUARD(gone)
{
    UNUSED;
    return ev->process == FM_GROUP_GONE;
}

GUARD(lives)
{
    return !gone(g, p, ev, now);
}

GUARD(has_data)
{
    UNUSED;
    return ev->data;
}

GUARD(has_no_data)
{
    UNUSED;
    return !ev->data;
}

GUARD(crashed)
{
    UNUSED;
    return ev->process != FM_GROUP_UP;
}

GUARD(has_orphans)
{
    UNUSED;
    return ev->process == FM_GROUP_ORPHANS;
}

GUARD(writes)
{
    UNUSED;
    return ev->process == FM_GROUP_UP && ev->accepting && !ev->self.recovery;
}

GUARD(recovers)
{
    UNUSED;
    return ev->process == FM_GROUP_UP && ev->accepting && ev->self.recovery;
}

GUARD(unable)
{
    UNUSED;
    return fm_group_is_unable(ev);
}

GUARD(able)
{
    return !unable(g, p, ev, now);
}

GUARD(is_due)
{
    UNUSED;
    return !fm_mono_before(now, g->retry_at);
}

/* -------- guards of the right to write -------- */

GUARD(is_ordered_to_stop)
{
    UNUSED;
    return fm_group_is_told_to_stop(ev);
}

GUARD(has_no_right)
{
    (void)p;
    return !fm_group_holds_cell(ev, now) || !fm_group_is_claimed(g, ev);
}

/* It did not crash: it was ended in time, before a renewal came. */
GUARD(ran_short)
{
    UNUSED;
    return ev->process == FM_GROUP_GONE && ev->expired;
}

GUARD(is_recorded)
{
    (void)p, (void)now;
    return fm_group_is_opened(g, ev);
}

GUARD(is_not_recorded)
{
    return !is_recorded(g, p, ev, now);
}

/* The number may be one that another node was given, too. */
GUARD(is_on_another_line)
{
    const struct fm_evidence *r = fm_group_recorded(ev);
    if (!r || !writes(g, p, ev, now) || fm_group_is_opened(g, ev))
        return false;
    struct fm_evidence wanted = fm_group_wanted(g, ev);
    return !fm_group_may_record(r, &wanted, ev->sub->epoch);
}

/* Its sessions, its disk, or whoever lets sessions in. What never worked is the keeper's to judge.
 */
GUARD(is_hung)
{
    (void)g;
    bool known = ev->well_at.ns != 0 && ev->process == FM_GROUP_UP;
    return FM_RULE(R26_HUNG, known) && fm_mono_sub_ms(now, ev->well_at) >= p->hang_ms;
}

GUARD(is_quiet)
{
    UNUSED;
    return fm_mono_before(now, ev->sub->quiet_until);
}

GUARD(is_let_go)
{
    return !is_quiet(g, p, ev, now);
}

GUARD(may_create)
{
    (void)g, (void)p;
    const struct fm_evidence *r = fm_group_recorded(ev);
    return fm_group_holds_cell(ev, now) && (!r || r->writer == 0);
}

GUARD(may_adopt)
{
    return may_create(g, p, ev, now) && ev->data && ev->self.system_id && !ev->self.recovery;
}

GUARD(may_claim)
{
    return fm_group_is_candidate(g, p, ev, now);
}

GUARD(may_resume)
{
    return is_due(g, p, ev, now) && fm_group_is_resumable(g, ev) && may_claim(g, p, ev, now);
}

/* Its data are the best, but not a primary's that could go on: they are promoted. */
GUARD(may_be_promoted)
{
    return is_due(g, p, ev, now) && !fm_group_is_resumable(g, ev) && may_claim(g, p, ev, now);
}

GUARD(lost_claim_up)
{
    return ev->process == FM_GROUP_UP && !may_claim(g, p, ev, now);
}

GUARD(lost_claim_gone)
{
    bool resumable = fm_group_is_resumable(g, ev);
    return ev->process == FM_GROUP_GONE && (!resumable || !may_claim(g, p, ev, now));
}

GUARD(claimed_stopped)
{
    return gone(g, p, ev, now) && fm_group_is_claimed(g, ev);
}

GUARD(claimed_standby)
{
    return recovers(g, p, ev, now) && fm_group_is_claimed(g, ev);
}

/* -------- guards of a primary that crashed -------- */

static bool in_window(const struct fm_group_node *g, const struct fm_group_policy *p,
                      struct fm_mono now)
{
    return fm_mono_sub_ms(now, g->restarts_from) < p->restarts_ms;
}

static bool spent(const struct fm_group_node *g, const struct fm_group_policy *p,
                  struct fm_mono now)
{
    return in_window(g, p, now) && FM_RULE_PICK(R26_BUDGET, g->restarts > p->restarts_max, false);
}

/* It bounds what was acknowledged; that it lags for want of a primary says nothing. */
static bool another_is_ready(const struct fm_group_node *g, const struct fm_group_policy *p,
                             const struct fm_group_evidence *ev, struct fm_mono now)
{
    const struct fm_evidence *r = fm_group_recorded(ev);
    for (unsigned i = 0; r && i < ev->nnodes; i++)
        if (i != g->self && r->promotable >> i & 1 && ev->node[i].delay_ms == 0 &&
            (ev->node[i].state == FM_GROUP_STANDBY || ev->node[i].state == FM_GROUP_CATCHING_UP) &&
            fm_group_is_fresh(&ev->node[i], p->fresh_ms, now))
            return true;
    return false;
}

/* It crashed under the epoch that it would go on under. */
static bool may_go_on(const struct fm_group_node *g, const struct fm_group_evidence *ev,
                      struct fm_mono now)
{
    return g->restarts > 0 && fm_group_holds_cell(ev, now) && fm_group_is_claimed(g, ev) &&
           fm_epoch_newer(ev->sub->epoch, g->yielded);
}

GUARD(tried_enough)
{
    return may_go_on(g, ev, now) && spent(g, p, now);
}

GUARD(prefers_time)
{
    return may_go_on(g, ev, now) && in_window(g, p, now) && p->prefer == FM_PREFER_TIME &&
           another_is_ready(g, p, ev, now);
}

/* But for an epoch that its region took for another node, until that one has claimed it. */
GUARD(moved_on)
{
    return ev->cell && fm_epoch_newer(ev->cell->r.epoch, g->yielded) &&
           !fm_group_another_may_claim(g, p, ev, now);
}

GUARD(has_waited)
{
    (void)ev;
    return fm_mono_sub_ms(now, g->since) >= p->yield_ms;
}

/* -------- guards of a standby -------- */

GUARD(is_foreign)
{
    (void)p, (void)now;
    const struct fm_evidence *r = fm_group_recorded(ev);
    return r && r->writer && fm_group_fit(g, ev) == FM_GROUP_FIT_FOREIGN;
}

GUARD(is_diverged)
{
    (void)p, (void)now;
    return fm_group_fit(g, ev) == FM_GROUP_FIT_DIVERGED;
}

GUARD(has_source)
{
    return fm_group_source(g, p, ev, now) != FM_GROUP_NOBODY;
}

GUARD(may_copy)
{
    return is_due(g, p, ev, now) && has_source(g, p, ev, now);
}

/* Rule 28: nothing goes that nobody else has, before it is kept where it outlives this node. */
GUARD(loses_nothing)
{
    UNUSED;
    enum fm_group_fit fit = fm_group_fit(g, ev);
    bool nothing = fit == FM_GROUP_FIT_SAME || fit == FM_GROUP_FIT_FOREIGN;
    return FM_RULE(R28_KEPT, nothing || ev->kept);
}

GUARD(may_rewind)
{
    return is_diverged(g, p, ev, now) && may_copy(g, p, ev, now) && loses_nothing(g, p, ev, now);
}

GUARD(has_to_keep)
{
    return is_diverged(g, p, ev, now) && may_copy(g, p, ev, now) && !loses_nothing(g, p, ev, now);
}

GUARD(has_nothing_to_keep)
{
    return !has_to_keep(g, p, ev, now);
}

/* One copy: what still does not start after it has another cause, and is only tried again. */
GUARD(is_worn_out)
{
    return g->tries >= p->tries_max && !g->copied && may_copy(g, p, ev, now) &&
           loses_nothing(g, p, ev, now);
}

/* The last writer waits where it is, with all that there is: it becomes a standby only of another
 * one. */
GUARD(may_follow)
{
    return is_due(g, p, ev, now) && fm_group_fit(g, ev) == FM_GROUP_FIT_SAME &&
           fm_group_leader(g, ev) != FM_GROUP_NOBODY;
}

GUARD(may_reinit)
{
    const struct fm_evidence *r = fm_group_recorded(ev);
    return has_source(g, p, ev, now) && r->node != g->self + 1;
}

/* From where its data go at once. */
GUARD(may_reinit_now)
{
    return may_reinit(g, p, ev, now) && loses_nothing(g, p, ev, now);
}

GUARD(is_to_be_copied)
{
    return g->reinit && may_copy(g, p, ev, now) && loses_nothing(g, p, ev, now);
}

GUARD(has_gap)
{
    return g->gap && may_copy(g, p, ev, now) && loses_nothing(g, p, ev, now);
}

/* It has replayed all that it has, and what comes next is not there any more. (What it has may be
 * more than it says while it reads it: so it has to have stood still. One that is delayed reads,
 * and asks for more, only when what it has is old enough.) */
GUARD(is_cut_off)
{
    unsigned source = fm_group_source(g, p, ev, now);
    if (source == FM_GROUP_NOBODY || ev->self.streaming || !recovers(g, p, ev, now))
        return false;
    if (ev->apart) /* it is kept as it is, until it is to follow again */
        return false;
    return fm_lsn_before(ev->self.flush, ev->node[source].kept) &&
           fm_group_fit(g, ev) == FM_GROUP_FIT_SAME &&
           fm_mono_sub_ms(now, g->stuck_since) - ev->self.delay_ms >= p->stuck_ms;
}

GUARD(counts)
{
    const struct fm_evidence *r = fm_group_recorded(ev);
    unsigned source = fm_group_source(g, p, ev, now);
    return source != FM_GROUP_NOBODY &&
           fm_group_is_promotable(r, &ev->self, ev->node[source].flush, p->lag_max);
}

GUARD(falls_behind)
{
    return has_source(g, p, ev, now) && !counts(g, p, ev, now);
}

/* -------- other guards -------- */

GUARD(is_late)
{
    (void)ev;
    return fm_mono_sub_ms(now, g->since) >= p->stop_ms;
}

GUARD(copied_too_often)
{
    (void)ev, (void)now;
    return g->tries + 1 >= p->copies_max;
}

/* -------- the table -------- */

#define ROW(from_, event_, guard_, to_, why_, text)                                                \
    {                                                                                              \
        .from = FM_GROUP_##from_, .event = FM_GROUP_ON_##event_, .to = FM_GROUP_##to_,             \
        .why = FM_GROUP_WHY_##why_, .guard = (guard_), .comment = (text)                           \
    }

/* Every state in which PostgreSQL may write, or is about to. */
#define WRITER_ROWS(state)                                                                         \
    ROW(state, TICK, is_ordered_to_stop, STOPPING, STOP_ORDER, "the keeper says stop"),            \
        ROW(state, TICK, has_no_right, KILLING, LEASE_OVER, "no live sub-lease, or not its epoch")

const struct fm_group_row fm_group_rows[] = {
    ROW(LOOKING, TICK, recovers, CATCHING_UP, FOUND, "it runs as a standby"),
    ROW(LOOKING, TICK, lives, KILLING, UNBIDDEN, "what else runs was started by nobody"),
    ROW(LOOKING, TICK, unable, UNABLE, UNABLE, "whatever is there"),
    ROW(LOOKING, TICK, has_no_data, ABSENT, FOUND, "nothing is there"),
    ROW(LOOKING, TICK, always, STOPPED, FOUND, "data are there"),
    ROW(LOOKING, MAINTAIN, always, MAINTAINED, ORDERED, "hands off"),

    ROW(ABSENT, CREATE, may_create, CREATING, ORDERED, "the first node of the group"),
    ROW(ABSENT, TICK, unable, UNABLE, UNABLE, "it could neither be made nor copied"),
    ROW(ABSENT, TICK, has_data, STOPPED, FOUND, "somebody put data there"),
    ROW(ABSENT, TICK, may_copy, CLONING, BEHIND, "a copy of the primary"),
    ROW(ABSENT, MAINTAIN, always, MAINTAINED, ORDERED, "hands off"),

    ROW(CREATING, DONE, always, STOPPED, MADE, "it may claim the first epoch"),
    ROW(CREATING, FAILED, always, ABSENT, FAILED, "a person orders it again"),

    ROW(STOPPED, TICK, lives, KILLING, UNBIDDEN, "started by nobody"),
    ROW(STOPPED, TICK, unable, UNABLE, UNABLE, "nothing is tried that cannot be"),
    ROW(STOPPED, TICK, has_no_data, ABSENT, FOUND, "the data are gone"),
    ROW(STOPPED, TICK, is_to_be_copied, CLONING, ORDERED, "a person threw the data away"),
    ROW(STOPPED, TICK, has_gap, CLONING, GAP, "what it lacks is in a copy alone"),
    ROW(STOPPED, TICK, is_foreign, FENCED, FOREIGN, "nothing is done to data of others"),
    ROW(STOPPED, TICK, tried_enough, YIELDED, TRIES, "it crashed too often"),
    ROW(STOPPED, TICK, prefers_time, YIELDED, PREFERS_TIME, "a standby is sooner"),
    ROW(STOPPED, TICK, may_resume, CLAIMING, HOLDS, "the last writer goes on"),
    ROW(STOPPED, TICK, may_be_promoted, STARTING, HOLDS, "the best there is: to be promoted"),
    ROW(STOPPED, TICK, is_worn_out, CLONING, TRIES, "what fails again and again is made anew"),
    ROW(STOPPED, TICK, has_to_keep, KEEPING, DIVERGED, "what only it has is found first"),
    ROW(STOPPED, TICK, may_rewind, REWINDING, DIVERGED, "it has what the primary has not"),
    ROW(STOPPED, TICK, may_follow, STARTING, FOUND, "a standby"),
    ROW(STOPPED, CREATE, may_adopt, CLAIMING, ORDERED, "the group begins with these data"),
    ROW(STOPPED, REINIT, may_reinit_now, CLONING, ORDERED, "a person throws the data away"),
    ROW(STOPPED, MAINTAIN, always, MAINTAINED, ORDERED, "hands off"),

    ROW(STARTING, TICK, has_orphans, KILLING, CRASHED, "whatever is left of it"),
    ROW(STARTING, TICK, writes, KILLING, UNBIDDEN, "it came up as a primary"),
    ROW(STARTING, TICK, recovers, CATCHING_UP, UP, "it answers"),
    ROW(STARTING, FAILED, always, KILLING, FAILED, "whatever is left of it"),
    ROW(STARTING, MAINTAIN, always, MAINTAINED, ORDERED, "hands off"),

    ROW(CATCHING_UP, TICK, crashed, KILLING, CRASHED, "whatever is left of it"),
    ROW(CATCHING_UP, TICK, writes, KILLING, UNBIDDEN, "promoted by nobody"),
    ROW(CATCHING_UP, TICK, is_foreign, STOPPING, FOREIGN, "it belongs elsewhere"),
    ROW(CATCHING_UP, TICK, may_claim, CLAIMING, HOLDS, "the best there is"),
    ROW(CATCHING_UP, TICK, is_diverged, STOPPING, DIVERGED, "to be rewound"),
    ROW(CATCHING_UP, TICK, counts, STANDBY, CAUGHT_UP, "close enough"),
    ROW(CATCHING_UP, TICK, is_cut_off, STOPPING, GAP, "to be copied anew"),
    ROW(CATCHING_UP, REINIT, may_reinit, STOPPING, ORDERED, "a person throws the data away"),
    ROW(CATCHING_UP, MAINTAIN, always, MAINTAINED, ORDERED, "hands off"),

    ROW(STANDBY, TICK, crashed, KILLING, CRASHED, "whatever is left of it"),
    ROW(STANDBY, TICK, writes, KILLING, UNBIDDEN, "promoted by nobody"),
    ROW(STANDBY, TICK, is_foreign, STOPPING, FOREIGN, "it belongs elsewhere"),
    ROW(STANDBY, TICK, may_claim, CLAIMING, HOLDS, "the best there is"),
    ROW(STANDBY, TICK, is_diverged, STOPPING, DIVERGED, "to be rewound"),
    ROW(STANDBY, TICK, falls_behind, CATCHING_UP, BEHIND, "too far behind"),
    ROW(STANDBY, REINIT, may_reinit, STOPPING, ORDERED, "a person throws the data away"),
    ROW(STANDBY, MAINTAIN, always, MAINTAINED, ORDERED, "hands off"),

    ROW(CLAIMING, TICK, has_orphans, KILLING, CRASHED, "whatever is left of it"),
    ROW(CLAIMING, TICK, writes, KILLING, UNBIDDEN, "promoted by nobody"),
    ROW(CLAIMING, TICK, lost_claim_up, CATCHING_UP, NOT_MINE, "not this node, or not now"),
    ROW(CLAIMING, TICK, lost_claim_gone, STOPPED, NOT_MINE, "not this node, or not now"),
    ROW(CLAIMING, TICK, claimed_stopped, RESUMING, CLAIMED, "the last writer goes on"),
    ROW(CLAIMING, TICK, claimed_standby, PROMOTING, CLAIMED, "to the timeline that it was given"),

    WRITER_ROWS(RESUMING),
    ROW(RESUMING, TICK, has_orphans, KILLING, CRASHED, "whatever is left of it"),
    ROW(RESUMING, TICK, recovers, KILLING, UNBIDDEN, "it came up as a standby"),
    ROW(RESUMING, TICK, writes, OPENING, UP, "it answers"),
    ROW(RESUMING, FAILED, always, KILLING, CRASHED, "it counts as a crash"),

    WRITER_ROWS(PROMOTING),
    ROW(PROMOTING, TICK, ran_short, KILLING, LEASE_OVER, "in time, before the sub-lease ended"),
    ROW(PROMOTING, TICK, crashed, KILLING, CRASHED, "whatever is left of it"),
    ROW(PROMOTING, TICK, writes, OPENING, UP, "it is promoted"),
    ROW(PROMOTING, FAILED, always, KILLING, FAILED, "whatever it is now"),

    WRITER_ROWS(OPENING),
    ROW(OPENING, TICK, ran_short, KILLING, LEASE_OVER, "in time, before the sub-lease ended"),
    ROW(OPENING, TICK, crashed, KILLING, CRASHED, "before anybody was let in"),
    ROW(OPENING, TICK, is_hung, KILLING, HUNG, "before anybody was let in"),
    ROW(OPENING, TICK, is_on_another_line, KILLING, TIMELINE, "nobody may count on it"),
    ROW(OPENING, TICK, is_recorded, PRIMARY, RECORDED, "the doors open"),

    WRITER_ROWS(PRIMARY),
    ROW(PRIMARY, TICK, ran_short, KILLING, LEASE_OVER, "in time, before the sub-lease ended"),
    ROW(PRIMARY, TICK, crashed, KILLING, CRASHED, "backends may live: all of it is reaped first"),
    ROW(PRIMARY, TICK, is_not_recorded, KILLING, TIMELINE, "nobody may count on it any more"),
    ROW(PRIMARY, TICK, is_hung, KILLING, HUNG, "it is started again"),
    ROW(PRIMARY, TICK, is_quiet, DRAINING, QUIET, "a planned move begins"),

    WRITER_ROWS(DRAINING),
    ROW(DRAINING, TICK, ran_short, KILLING, LEASE_OVER, "in time, before the sub-lease ended"),
    ROW(DRAINING, TICK, crashed, KILLING, CRASHED, "the move will not be ready"),
    ROW(DRAINING, TICK, is_not_recorded, KILLING, TIMELINE, "nobody may count on it any more"),
    ROW(DRAINING, TICK, is_hung, KILLING, HUNG, "the move will not be ready"),
    ROW(DRAINING, TICK, is_let_go, PRIMARY, LET_GO, "the move is off"),

    ROW(STOPPING, TICK, gone, STOPPED, REAPED, "all of it"),
    ROW(STOPPING, TICK, crashed, KILLING, CRASHED, "whatever is left of it"),
    ROW(STOPPING, TICK, is_late, KILLING, TOO_LONG, "then at once"),

    ROW(KILLING, TICK, gone, STOPPED, REAPED, "all of it"),

    ROW(YIELDED, TICK, lives, KILLING, UNBIDDEN, "started by nobody"),
    ROW(YIELDED, TICK, moved_on, STOPPED, MOVED_ON, "somebody has taken over, or it is asked anew"),
    ROW(YIELDED, TICK, has_waited, STOPPED, FAILED, "nobody has come: it tries again"),
    ROW(YIELDED, RESUME, always, STOPPED, ORDERED, "a person lets it try again"),
    ROW(YIELDED, MAINTAIN, always, MAINTAINED, ORDERED, "hands off"),

    ROW(KEEPING, TICK, lives, KILLING, UNBIDDEN, "started by nobody"),
    ROW(KEEPING, TICK, unable, UNABLE, UNABLE, "it cannot be looked for, either"),
    ROW(KEEPING, TICK, has_no_data, ABSENT, FOUND, "the data are gone"),
    ROW(KEEPING, TICK, has_nothing_to_keep, STOPPED, KEPT, "it goes on, or waits for the primary"),
    ROW(KEEPING, MAINTAIN, always, MAINTAINED, ORDERED, "hands off"),

    ROW(REWINDING, DONE, is_diverged, STOPPED, DIVERGED, "it says so, and it is not so"),
    ROW(REWINDING, DONE, always, STOPPED, MADE, "it may follow now"),
    ROW(REWINDING, FAILED, always, STOPPED, FAILED, "again, or a copy"),

    ROW(CLONING, DONE, always, STOPPED, MADE, "a standby"),
    ROW(CLONING, FAILED, copied_too_often, FENCED, TRIES, "a person has to look"),
    ROW(CLONING, FAILED, always, ABSENT, FAILED, "again"),

    ROW(FENCED, TICK, lives, KILLING, UNBIDDEN, "started by nobody"),
    ROW(FENCED, RESUME, always, LOOKING, ORDERED, "a person has looked"),
    ROW(FENCED, REINIT, may_reinit_now, CLONING, ORDERED, "a person throws the data away"),
    ROW(FENCED, MAINTAIN, always, MAINTAINED, ORDERED, "hands off"),

    ROW(MAINTAINED, RESUME, always, LOOKING, ORDERED, "whatever is there now"),

    ROW(UNABLE, TICK, lives, KILLING, UNBIDDEN, "started by nobody"),
    ROW(UNABLE, TICK, able, LOOKING, FOUND, "it can be started again"),
    ROW(UNABLE, MAINTAIN, always, MAINTAINED, ORDERED, "hands off"),
};
const unsigned fm_group_nrows = FM_COUNT(fm_group_rows);

/* -------- the step -------- */

/* One that hangs is started again once: it counts as all that it may crash. */
static void count_crash(struct fm_group_node *g, const struct fm_group_policy *p, bool hung,
                        struct fm_mono now)
{
    unsigned by = hung && p->restarts_max > 1 ? p->restarts_max : 1;
    if (!in_window(g, p, now) || g->restarts == 0) {
        g->restarts = 0;
        g->restarts_from = now;
    }
    g->restarts = (uint8_t)(g->restarts > UINT8_MAX - by ? UINT8_MAX : g->restarts + by);
}

static void count_failure(struct fm_group_node *g, const struct fm_group_policy *p,
                          struct fm_mono now)
{
    enum { DOUBLED_MAX = 5 };
    unsigned doubled = g->tries < DOUBLED_MAX ? g->tries : DOUBLED_MAX;
    g->tries = (uint8_t)(g->tries + (g->tries < UINT8_MAX));
    g->retry_at = fm_mono_add_ms(now, p->retry_ms << doubled);
}

static void enter(struct fm_group_node *g, const struct fm_group_policy *p,
                  const struct fm_group_row *row, const struct fm_group_evidence *ev,
                  struct fm_mono now)
{
    bool hung = row->why == FM_GROUP_WHY_HUNG, crash = row->why == FM_GROUP_WHY_CRASHED || hung;
    if (crash && fm_group_is_writer_state(row->from))
        count_crash(g, p, hung, now);
    else if (crash || row->event == FM_GROUP_ON_FAILED || row->why == FM_GROUP_WHY_TIMELINE ||
             (row->from == FM_GROUP_REWINDING && row->why == FM_GROUP_WHY_DIVERGED))
        count_failure(g, p, now);
    if (row->to == FM_GROUP_YIELDED)
        g->yielded = ev->sub->epoch;
    if (row->from == FM_GROUP_YIELDED) {
        g->yielded.n = 0;
        g->restarts = 0;
    }
    if (row->to == FM_GROUP_STANDBY || row->to == FM_GROUP_PRIMARY ||
        row->event == FM_GROUP_ON_RESUME) {
        g->tries = 0;
        g->copied = false;
        g->retry_at = now;
    }
    if (row->from == FM_GROUP_CLONING && row->event == FM_GROUP_ON_DONE)
        g->copied = true;
    g->created |= row->from == FM_GROUP_CREATING && row->event == FM_GROUP_ON_DONE;
    g->adopted |= row->event == FM_GROUP_ON_CREATE && row->to == FM_GROUP_CLAIMING;
    g->created |= g->adopted;
    if (row->to == FM_GROUP_PRIMARY)
        g->created = g->adopted = false; /* from now on the record says whose data count */
    if (row->event == FM_GROUP_ON_REINIT)
        g->reinit = true;
    if (row->from == FM_GROUP_CLONING && row->event == FM_GROUP_ON_DONE)
        g->reinit = g->created = g->adopted = g->gap = false;
    if (row->from == FM_GROUP_CATCHING_UP)
        g->gap = row->why == FM_GROUP_WHY_GAP;
    g->state = row->to;
    g->why = row->why;
    g->since = now;
    g->serial++;
}

/* Does it get on? */
static void note_progress(struct fm_group_node *g, const struct fm_group_evidence *ev,
                          struct fm_mono now)
{
    bool stands = ev->accepting && ev->self.recovery && !ev->self.streaming && !ev->apart &&
                  fm_lsn_same(ev->self.flush, g->stuck_at);
    if (stands)
        return;
    g->stuck_at = ev->self.flush;
    g->stuck_since = now;
}

/* False: no row fits. */
static bool take(struct fm_group_node *g, const struct fm_group_policy *p,
                 enum fm_group_event event, const struct fm_group_evidence *ev, struct fm_mono now)
{
    for (unsigned i = 0; i < fm_group_nrows; i++) {
        const struct fm_group_row *row = &fm_group_rows[i];
        if (row->from != g->state || row->event != event || !row->guard(g, p, ev, now))
            continue;
        FM_ASSERT(row->from != row->to);
        enter(g, p, row, ev, now);
        return true;
    }
    return false;
}

static struct fm_mono later(struct fm_mono best, struct fm_mono t, struct fm_mono now)
{
    return fm_mono_before(now, t) ? fm_mono_min(best, t) : best;
}

static struct fm_mono wake(const struct fm_group_node *g, const struct fm_group_policy *p,
                           const struct fm_group_evidence *ev, struct fm_mono now)
{
    struct fm_mono w = later(FM_MONO_NEVER, ev->sub->until, now);
    w = later(w, ev->sub->quiet_until, now);
    w = later(w, g->retry_at, now);
    w = later(w, fm_mono_add_ms(g->held_at, p->wait_ms), now);
    if (ev->well_at.ns)
        w = later(w, fm_mono_add_ms(ev->well_at, p->hang_ms), now);
    if (g->state == FM_GROUP_STOPPING)
        w = later(w, fm_mono_add_ms(g->since, p->stop_ms), now);
    if (g->state == FM_GROUP_YIELDED)
        w = later(w, fm_mono_add_ms(g->since, p->yield_ms), now);
    return w;
}

static enum fm_group_action action_of(unsigned state)
{
    static const uint8_t action[] = {
#define X(id, name, does) [FM_GROUP_##id] = FM_GROUP_DO_##does,
        FM_GROUP_STATES(X)
#undef X
    };
    FM_ASSERT(state < FM_COUNT(action));
    return (enum fm_group_action)action[state];
}

/* What the action of the state needs. */
static void fill(struct fm_group_verdict *v, const struct fm_group_node *g,
                 const struct fm_group_policy *p, const struct fm_group_evidence *ev,
                 struct fm_mono now)
{
    static const struct fm_evidence nothing;
    const struct fm_evidence *r = fm_group_recorded(ev);
    v->node = FM_GROUP_NOBODY;
    if (v->action == FM_GROUP_DO_START_STANDBY || v->action == FM_GROUP_DO_FOLLOW)
        v->node = (uint8_t)fm_group_leader(g, ev);
    v->apart =
        ev->apart && (v->action == FM_GROUP_DO_FOLLOW || v->action == FM_GROUP_DO_START_STANDBY);
    if (v->action == FM_GROUP_DO_REWIND || v->action == FM_GROUP_DO_CLONE ||
        v->action == FM_GROUP_DO_KEEP)
        v->node = (uint8_t)fm_group_source(g, p, ev, now);
    v->timeline = v->action == FM_GROUP_DO_PROMOTE && r ? r->claimed : 0;
    if (v->action != FM_GROUP_DO_RECORD && v->action != FM_GROUP_DO_OPEN)
        return;
    v->record = fm_group_wanted(g, ev);
    v->revision = ev->cell ? ev->cell->revision : (struct fm_revision){0};
    v->records = v->record.system_id && !fm_evidence_same(&v->record, r ? r : &nothing);
}

/* From now on the others of the region have their time to claim. */
static void note_epoch(struct fm_group_node *g, const struct fm_group_evidence *ev,
                       struct fm_mono now)
{
    struct fm_epoch held = fm_group_holds_cell(ev, now) ? ev->sub->epoch : (struct fm_epoch){0};
    if (!fm_epoch_same(held, g->held))
        g->held_at = now;
    g->held = held;
}

static bool answers_earlier(const struct fm_group_node *g, enum fm_group_event event,
                            uint32_t serial)
{
    return (event == FM_GROUP_ON_DONE || event == FM_GROUP_ON_FAILED) && serial != g->serial;
}

struct fm_group_verdict fm_group_step(struct fm_group_node *g, const struct fm_group_policy *p,
                                      enum fm_group_event event, uint32_t serial,
                                      const struct fm_group_evidence *ev, struct fm_mono now)
{
    enum { PASSES_MAX = 8 };
    FM_ASSERT(g->state < FM_GROUP_STATE_COUNT && event < FM_GROUP_EVENT_COUNT);
    FM_ASSERT(ev->sub && ev->nnodes == g->nnodes && ev->node);
    FM_ASSERT(p->tries_max > 0 && p->copies_max > 0 && p->fresh_ms > 0 && p->retry_ms > 0 &&
              p->hang_ms > 0);
    struct fm_group_verdict v = {.from = g->state};
    note_progress(g, ev, now);
    bool order = event >= FM_GROUP_ON_CREATE;
    note_epoch(g, ev, now);
    if (!answers_earlier(g, event, serial) && event != FM_GROUP_ON_TICK)
        v.refused = !take(g, p, event, ev, now) && order;
    for (unsigned passes = 0; take(g, p, FM_GROUP_ON_TICK, ev, now); passes++)
        FM_ASSERT(passes < PASSES_MAX);
    FM_ASSERT(!fm_group_is_writer_state(g->state) ||
              (fm_group_holds_cell(ev, now) && fm_group_is_claimed(g, ev)));
    v.to = g->state;
    v.why = g->why;
    v.changed = v.from != v.to;
    v.serial = g->serial;
    v.action = action_of(g->state);
    fill(&v, g, p, ev, now);
    v.wake = wake(g, p, ev, now);
    return v;
}

struct fm_group_report fm_group_report(const struct fm_group_node *g,
                                       const struct fm_group_evidence *ev)
{
    struct fm_group_report r = ev->self;
    bool open = g->state == FM_GROUP_PRIMARY || g->state == FM_GROUP_DRAINING;
    r.state = g->state;
    r.epoch = open ? ev->sub->epoch : (struct fm_epoch){0};
    return r;
}
