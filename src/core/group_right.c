/* What a node has a right to, by the evidence of one moment. Invariants: nothing here trusts what
 * was asked for and not seen recorded; a node that is not the last writer gets a timeline of its
 * own before anybody may count on what it writes. */
#include "core/group_parts.h"
#include "core/reseed.h"

static const struct fm_cell_record *cell_of(const struct fm_group_evidence *ev)
{
    return ev->cell && ev->cell->revision.n ? &ev->cell->r : NULL;
}

const struct fm_evidence *fm_group_recorded(const struct fm_group_evidence *ev)
{
    const struct fm_cell_record *c = cell_of(ev);
    return c && c->evidence.system_id ? &c->evidence : NULL;
}

static bool is_live(const struct fm_group_evidence *ev, struct fm_mono now)
{
    return fm_sublease_live(ev->sub, ev->sub->epoch, now);
}

bool fm_group_is_told_to_stop(const struct fm_group_evidence *ev)
{
    return ev->sub->stopped.n && !fm_epoch_newer(ev->sub->epoch, ev->sub->stopped);
}

bool fm_group_holds_cell(const struct fm_group_evidence *ev, struct fm_mono now)
{
    const struct fm_cell_record *c = cell_of(ev);
    return FM_RULE(R25_LEASE, is_live(ev, now)) && !fm_group_is_told_to_stop(ev) && c &&
           c->state == FM_CELL_HELD && c->region == ev->self.region &&
           fm_epoch_same(c->epoch, ev->sub->epoch);
}

bool fm_group_is_claimed(const struct fm_group_node *g, const struct fm_group_evidence *ev)
{
    const struct fm_evidence *r = fm_group_recorded(ev);
    return FM_RULE(R26_RECORDED,
                   r && fm_epoch_same(r->epoch, ev->sub->epoch) && r->node == g->self + 1);
}

static bool on_recorded_line(const struct fm_evidence *r, const struct fm_group_report *self)
{
    return self->timeline.n == r->timeline && self->begins.n == r->fork_lsn;
}

bool fm_group_is_opened(const struct fm_group_node *g, const struct fm_group_evidence *ev)
{
    const struct fm_evidence *r = fm_group_recorded(ev);
    return FM_RULE(R26_OPEN, r && r->writer == g->self + 1 && on_recorded_line(r, &ev->self));
}

/* -------- whose data -------- */

/* It wrote all of the recorded history, and nobody has made another one since. */
static bool is_writer(const struct fm_group_node *g, const struct fm_group_evidence *ev)
{
    const struct fm_evidence *r = fm_group_recorded(ev);
    return r && r->writer == g->self + 1 && r->system_id == ev->self.system_id &&
           !ev->self.recovery && on_recorded_line(r, &ev->self);
}

/* It founds the group: nothing was ever opened, and a person said so, or its claim does. */
static bool is_founder(const struct fm_group_node *g, const struct fm_group_evidence *ev)
{
    const struct fm_evidence *r = fm_group_recorded(ev);
    if (!cell_of(ev) || ev->self.system_id == 0 || ev->self.recovery || (r && r->writer != 0))
        return false;
    bool claimed = r && r->node == g->self + 1 && r->system_id == ev->self.system_id &&
                   r->claimed >= ev->self.timeline.n;
    return g->created || claimed;
}

/* It was promoted under the claim that stands, and died before it was opened. */
static bool is_half_way(const struct fm_group_node *g, const struct fm_group_evidence *ev)
{
    const struct fm_evidence *r = fm_group_recorded(ev);
    return r && r->writer && fm_group_is_claimed(g, ev) && !ev->self.recovery &&
           r->timeline < r->claimed && ev->self.timeline.n == r->claimed;
}

bool fm_group_is_resumable(const struct fm_group_node *g, const struct fm_group_evidence *ev)
{
    bool own = is_writer(g, ev) || is_founder(g, ev) || is_half_way(g, ev);
    return ev->process == FM_GROUP_GONE && ev->data && !ev->self.recovery &&
           FM_RULE(R26_WRITER, own);
}

bool fm_group_is_writer_state(unsigned state)
{
    return state == FM_GROUP_RESUMING || state == FM_GROUP_PROMOTING || state == FM_GROUP_OPENING ||
           state == FM_GROUP_PRIMARY || state == FM_GROUP_DRAINING;
}

bool fm_group_stands_by(unsigned state)
{
    return state == FM_GROUP_CATCHING_UP || state == FM_GROUP_STANDBY;
}

static bool is_able(const struct fm_group_report *r)
{
    bool follows = fm_group_stands_by(r->state) || r->state == FM_GROUP_CLAIMING;
    return follows && FM_RULE(R23_DELAYED, r->delay_ms == 0);
}

/* Who has written it all is here, and comes back. */
static bool awaits_writer(const struct fm_group_node *g, const struct fm_group_policy *p,
                          const struct fm_group_evidence *ev, const struct fm_evidence *r,
                          struct fm_mono now)
{
    unsigned w = r->writer - 1u;
    if (r->writer == 0 || w == g->self || w >= ev->nnodes)
        return false;
    const struct fm_group_report *n = &ev->node[w];
    bool comes = n->state == FM_GROUP_STOPPED || n->state == FM_GROUP_CLAIMING ||
                 n->state == FM_GROUP_KILLING || n->state == FM_GROUP_STOPPING;
    return comes && n->region == ev->self.region && fm_group_is_fresh(n, p->fresh_ms, now) &&
           n->timeline.n == r->timeline && !n->recovery;
}

/* Rule 23: what was acknowledged is bounded by what this node has; or a person accepted, when the
 * cell was taken, that it is not. */
static bool is_bounded(unsigned node, const struct fm_group_evidence *ev,
                       const struct fm_evidence *r)
{
    return r->promotable >> node & 1 || fm_cell_accepts_loss(&ev->cell->r);
}

/* Of the nodes of the holder's region that could do it, this one has most; or who would do better
 * has not come in time. */
static bool is_best(const struct fm_group_node *g, const struct fm_group_policy *p,
                    const struct fm_group_evidence *ev, const struct fm_evidence *r,
                    struct fm_mono now)
{
    uint32_t mask = 0;
    for (unsigned i = 0; i < ev->nnodes; i++)
        if (i != g->self && ev->node[i].region == ev->self.region && is_able(&ev->node[i]) &&
            is_bounded(i, ev, r))
            mask |= 1u << i;
    unsigned other = fm_group_most_advanced(r, ev->node, ev->nnodes, mask, p->fresh_ms, now);
    bool late = fm_mono_sub_ms(now, g->held_at) >= p->wait_ms;
    return late || (!awaits_writer(g, p, ev, r, now) &&
                    (other == FM_GROUP_NOBODY ||
                     fm_group_has_more(&ev->self, g->self, &ev->node[other], other,
                                       fm_group_zone_of_writer(r, ev->node, ev->nnodes))));
}

bool fm_group_another_may_claim(const struct fm_group_node *g, const struct fm_group_policy *p,
                                const struct fm_group_evidence *ev, struct fm_mono now)
{
    const struct fm_evidence *r = fm_group_recorded(ev);
    const struct fm_cell_record *c = cell_of(ev);
    if (!r || c->state != FM_CELL_HELD || c->region != ev->self.region ||
        fm_epoch_same(r->epoch, c->epoch))
        return false;
    for (unsigned i = 0; i < ev->nnodes; i++)
        if (i != g->self && ev->node[i].region == ev->self.region && is_able(&ev->node[i]) &&
            is_bounded(i, ev, r) && fm_group_is_fresh(&ev->node[i], p->fresh_ms, now))
            return true;
    return false;
}

bool fm_group_is_unable(const struct fm_group_evidence *ev)
{
    return ev->unable && ev->process == FM_GROUP_GONE;
}

bool fm_group_is_candidate(const struct fm_group_node *g, const struct fm_group_policy *p,
                           const struct fm_group_evidence *ev, struct fm_mono now)
{
    const struct fm_evidence *r = fm_group_recorded(ev);
    if (!fm_group_holds_cell(ev, now) || !fm_epoch_newer(ev->sub->epoch, g->yielded) ||
        !FM_RULE(R26_ABLE, !fm_group_is_unable(ev)))
        return false;
    if (r && fm_epoch_same(r->epoch, ev->sub->epoch) && r->node != g->self + 1)
        return false;
    if (is_writer(g, ev) || is_founder(g, ev))
        return true;
    if (!r || r->writer == 0 || r->system_id != ev->self.system_id)
        return false;
    if (!FM_RULE(R26_HISTORY, ev->history && fm_group_holds(ev->history, r)) ||
        !FM_RULE(R23_DELAYED, ev->self.delay_ms == 0))
        return false;
    return fm_epoch_same(r->epoch, ev->sub->epoch) ||
           (FM_RULE(R26_BEST, is_best(g, p, ev, r, now)) &&
            FM_RULE(R23_BOUND, is_bounded(g->self, ev, r)));
}

/* -------- to follow -------- */

unsigned fm_group_leader(const struct fm_group_node *g, const struct fm_group_evidence *ev)
{
    const struct fm_evidence *r = fm_group_recorded(ev);
    bool other = r && r->writer != 0 && r->writer != g->self + 1;
    return other && r->writer <= ev->nnodes ? r->writer - 1u : FM_GROUP_NOBODY;
}

bool fm_group_is_source(const struct fm_evidence *recorded, const struct fm_group_report *r,
                        int64_t fresh_ms, struct fm_mono now)
{
    bool open = r->state == FM_GROUP_PRIMARY || r->state == FM_GROUP_DRAINING;
    return open && on_recorded_line(recorded, r) && fm_group_is_fresh(r, fresh_ms, now);
}

bool fm_group_is_open(const struct fm_group_report *r, struct fm_epoch epoch)
{
    FM_ASSERT(r->state < FM_GROUP_STATE_COUNT);
    bool open = r->state == FM_GROUP_PRIMARY || r->state == FM_GROUP_DRAINING;
    return open && fm_epoch_same(r->epoch, epoch);
}

bool fm_group_is_looked_after(const struct fm_group_report *r)
{
    return r->state != FM_GROUP_MAINTAINED && r->state != FM_GROUP_FENCED;
}

uint32_t fm_group_looked_after(const struct fm_group_report *node, unsigned nnodes)
{
    uint32_t mask = 0;
    FM_ASSERT(nnodes <= FM_GROUP_NODES_MAX);
    for (unsigned i = 0; i < nnodes; i++)
        mask |= fm_group_is_looked_after(&node[i]) ? 1u << i : 0;
    return mask;
}

const char *fm_group_health_text(enum fm_group_health h)
{
    static const char *const text[] = {
#define X(id, words) [FM_GROUP_HEALTH_##id] = words,
        FM_GROUP_HEALTHS(X)
#undef X
    };
    FM_ASSERT(h < FM_COUNT(text));
    return text[h];
}

enum fm_group_health fm_group_health(const struct fm_group_report *node, unsigned nnodes,
                                     int64_t fresh_ms, struct fm_mono now)
{
    bool heard = false;
    FM_ASSERT(nnodes <= FM_GROUP_NODES_MAX);
    for (unsigned i = 0; i < nnodes; i++) {
        if (!fm_group_is_fresh(&node[i], fresh_ms, now))
            continue;
        if (fm_group_is_writer_state(node[i].state) || is_able(&node[i]))
            return FM_GROUP_HEALTH_WELL;
        heard = true;
    }
    return heard ? FM_GROUP_HEALTH_DOWN : FM_GROUP_HEALTH_SILENT;
}

struct fm_credit_bound fm_group_loss_if_now(const struct fm_evidence *recorded,
                                            const struct fm_group_report *node, unsigned nnodes,
                                            unsigned nregions, int64_t fresh_ms, struct fm_mono now)
{
    struct fm_credit_bound best = {.kind = FM_CREDIT_UNBOUNDED};
    if (!recorded || recorded->writer == 0 || recorded->writer > nnodes)
        return best;
    const struct fm_group_report *w = &node[recorded->writer - 1];
    if (fm_group_is_source(recorded, w, fresh_ms, now))
        return w->loss;
    uint32_t others = fm_group_looked_after(node, nnodes) & ~(1u << (recorded->writer - 1));
    for (unsigned r = 0; r < nregions; r++) {
        struct fm_group_takeover t =
            fm_group_takeover(recorded, node, nnodes, others, r, fresh_ms, now);
        if (t.ready && fm_credit_bound_is_less(&t.bound, &best))
            best = t.bound;
    }
    return best;
}

bool fm_group_loss_in_region(const struct fm_evidence *recorded, const struct fm_group_report *node,
                             unsigned nnodes, int64_t fresh_ms, struct fm_mono now,
                             struct fm_credit_bound *out)
{
    FM_ASSERT(nnodes <= FM_GROUP_NODES_MAX);
    if (!recorded || recorded->writer == 0 || recorded->writer > nnodes)
        return false;
    unsigned w = recorded->writer - 1u;
    uint32_t others = fm_group_looked_after(node, nnodes) & ~(1u << w);
    struct fm_group_takeover t =
        fm_group_takeover(recorded, node, nnodes, others, node[w].region, fresh_ms, now);
    *out = t.bound;
    return t.ready;
}

unsigned fm_group_source(const struct fm_group_node *g, const struct fm_group_policy *p,
                         const struct fm_group_evidence *ev, struct fm_mono now)
{
    unsigned leader = fm_group_leader(g, ev);
    if (leader == FM_GROUP_NOBODY)
        return FM_GROUP_NOBODY;
    bool source = fm_group_is_source(fm_group_recorded(ev), &ev->node[leader], p->fresh_ms, now);
    return source ? leader : FM_GROUP_NOBODY;
}

/* How far its log goes, for who would follow another history. Stopped in order: past the beginning
 * of the last record; crashed as a primary: nobody knows. */
static struct fm_lsn end_of_log(const struct fm_group_report *self)
{
    if (self->recovery)
        return fm_lsn_max(self->flush, self->replay);
    return self->clean ? fm_lsn_add(self->final, 1) : FM_LSN_END;
}

static enum fm_group_fit against(const struct fm_group_evidence *ev)
{
    struct fm_past fork = fm_history_fork(ev->history, ev->primary);
    if (fork.timeline.n == 0)
        return FM_GROUP_FIT_DIVERGED;
    struct fm_lsn end = end_of_log(&ev->self);
    /* nobody but the writer has written to its history */
    bool wrote = fm_lsn_same(fork.end, FM_LSN_END) && !ev->self.recovery;
    bool shares = !fm_lsn_before(fork.end, end) && !wrote;
    return FM_RULE(R26_DIVERGED, shares) ? FM_GROUP_FIT_SAME : FM_GROUP_FIT_DIVERGED;
}

enum fm_group_fit fm_group_fit(const struct fm_group_node *g, const struct fm_group_evidence *ev)
{
    const struct fm_evidence *r = fm_group_recorded(ev);
    if (!r || ev->self.system_id == 0)
        return FM_GROUP_FIT_UNKNOWN;
    if (ev->self.system_id != r->system_id)
        return FM_GROUP_FIT_FOREIGN;
    if (is_writer(g, ev))
        return FM_GROUP_FIT_SAME;
    if (ev->history && ev->primary && ev->primary->timeline.n == r->timeline)
        return against(ev);
    return ev->self.recovery && on_recorded_line(r, &ev->self) ? FM_GROUP_FIT_SAME
                                                               : FM_GROUP_FIT_UNKNOWN;
}

/* -------- what is to be recorded -------- */

/* The highest timeline that a node of the same system is heard to have. */
static uint32_t highest_heard(const struct fm_group_evidence *ev)
{
    uint32_t highest = ev->self.timeline.n;
    for (unsigned i = 0; i < ev->nnodes; i++)
        if (ev->node[i].system_id == ev->self.system_id && ev->node[i].timeline.n > highest)
            highest = ev->node[i].timeline.n;
    return highest;
}

static struct fm_evidence claim(const struct fm_group_node *g, const struct fm_group_evidence *ev)
{
    const struct fm_evidence *r = fm_group_recorded(ev);
    struct fm_evidence w = r ? *r : (struct fm_evidence){0};
    w.system_id = ev->self.system_id;
    w.epoch = ev->sub->epoch;
    w.node = (uint16_t)(g->self + 1);
    if (is_writer(g, ev))
        return w;
    uint32_t highest = w.claimed > ev->self.timeline.n ? w.claimed : ev->self.timeline.n;
    if (g->adopted && !fm_group_is_claimed(g, ev)) { /* another node may have been on from there */
        uint32_t heard = highest_heard(ev);
        highest = heard > highest ? heard : highest;
        FM_ASSERT(highest < UINT32_MAX - FM_RESEED_TIMELINES);
        highest += FM_RESEED_TIMELINES;
    }
    FM_ASSERT(highest < UINT32_MAX);
    w.claimed = is_founder(g, ev) ? highest : highest + 1;
    return w;
}

struct fm_evidence fm_group_wanted(const struct fm_group_node *g,
                                   const struct fm_group_evidence *ev)
{
    const struct fm_evidence *r = fm_group_recorded(ev);
    bool open = g->state == FM_GROUP_PRIMARY || g->state == FM_GROUP_DRAINING;
    if (g->state == FM_GROUP_CLAIMING && !fm_group_is_claimed(g, ev))
        return claim(g, ev);
    if (!r)
        return (struct fm_evidence){0};
    struct fm_evidence w = *r;
    bool promoted = ev->accepting && !ev->self.recovery; /* else its timeline is not known */
    if (g->state == FM_GROUP_OPENING && promoted && !fm_group_is_opened(g, ev)) {
        w.timeline = ev->self.timeline.n;
        w.fork_lsn = ev->self.begins.n;
        w.claimed = w.claimed > w.timeline ? w.claimed : w.timeline;
        w.writer = (uint16_t)(g->self + 1);
        w.promotable = w.near = 0; /* nobody has anything of it yet */
        w.credit = w.holes_to = 0;
    } else if (open) {
        w.promotable = ev->counted & ~(1u << g->self);
        w.near = ev->near & w.promotable;
        w.credit = ev->credit;
        w.holes_to = ev->holes_to.n;
    }
    return w;
}

/* -------- doors -------- */

bool fm_group_serves(const struct fm_group_node *g, const struct fm_group_evidence *ev,
                     struct fm_mono now)
{
    bool open = g->state == FM_GROUP_PRIMARY || g->state == FM_GROUP_DRAINING;
    return open && fm_group_is_claimed(g, ev) && fm_group_is_opened(g, ev) &&
           FM_RULE(R25_SERVES, is_live(ev, now));
}

/* What runs in recovery acknowledges nothing; of all else nothing may live. */
bool fm_group_has_stopped(const struct fm_group_node *g, const struct fm_group_evidence *ev)
{
    bool standby = g->state == FM_GROUP_STARTING || g->state == FM_GROUP_CATCHING_UP ||
                   g->state == FM_GROUP_STANDBY ||
                   (g->state == FM_GROUP_MAINTAINED && ev->accepting);
    bool writes = ev->accepting && !ev->self.recovery;
    bool gone = FM_RULE_PICK(R25_REAPED, ev->process == FM_GROUP_GONE, ev->process != FM_GROUP_UP);
    return gone || (standby && ev->process == FM_GROUP_UP && !writes);
}
