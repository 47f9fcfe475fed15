/* Whose data are whose continuation. Invariants: what is recorded of an epoch names one node; the
 * numbers of timelines in the record only grow; a timeline counts only after it was claimed. */
#include "core/lineage.h"

#include "core/group.h"

bool fm_group_is_final(const struct fm_group_report *old, const struct fm_group_report *heir)
{
    if (old->system_id == 0 || heir->system_id != old->system_id || fm_lsn_is_none(old->final))
        return false;
    bool same = fm_timeline_same(old->timeline, heir->timeline) &&
                fm_lsn_same(old->begins, heir->begins) && old->clean && heir->recovery &&
                FM_RULE(R26_ABLE, heir->state != FM_GROUP_UNABLE);
    /* past its beginning is past all of it: records are applied as a whole */
    return same && FM_RULE(R26_FINAL, fm_lsn_before(old->final, heir->flush)) &&
           FM_RULE(R26_APPLIED, fm_lsn_before(old->final, heir->replay));
}

bool fm_group_is_outdated(const struct fm_cell_at *told, const struct fm_cell_at *known)
{
    return fm_revision_newer(known->revision, told->revision) &&
           !fm_epoch_newer(told->r.epoch, known->r.epoch);
}

bool fm_group_holds(const struct fm_history *h, const struct fm_evidence *recorded)
{
    struct fm_past p = {{0}, FM_LSN_NONE};
    struct fm_lsn begins = FM_LSN_NONE;
    struct fm_str rest = h->text;
    while (fm_history_next(&rest, &p)) {
        if (p.timeline.n == recorded->timeline)
            return begins.n == recorded->fork_lsn;
        begins = p.end;
    }
    return h->timeline.n == recorded->timeline && begins.n == recorded->fork_lsn;
}

static bool on_recorded(const struct fm_evidence *recorded, const struct fm_group_report *r)
{
    return recorded->system_id != 0 && r->system_id == recorded->system_id &&
           r->timeline.n == recorded->timeline && r->begins.n == recorded->fork_lsn;
}

bool fm_group_is_promotable(const struct fm_evidence *recorded, const struct fm_group_report *r,
                            struct fm_lsn flushed, uint64_t lag_max)
{
    if (!on_recorded(recorded, r) || !r->recovery || fm_lsn_is_none(flushed))
        return false;
    bool follows = r->streaming && r->delay_ms == 0;
    return FM_RULE(R23_PROMOTABLE, follows && fm_lsn_ahead(flushed, r->flush) <= lag_max);
}

bool fm_group_is_fresh(const struct fm_group_report *r, int64_t fresh_ms, struct fm_mono now)
{
    FM_ASSERT(fresh_ms > 0);
    return r->at.ns != 0 && fm_mono_sub_ms(now, r->at) <= fresh_ms;
}

unsigned fm_group_zone_of_writer(const struct fm_evidence *recorded,
                                 const struct fm_group_report *node, unsigned nnodes)
{
    FM_ASSERT(nnodes <= FM_GROUP_NODES_MAX);
    return recorded->writer && recorded->writer <= nnodes ? node[recorded->writer - 1].zone : 0;
}

bool fm_group_has_more(const struct fm_group_report *a, unsigned number_a,
                       const struct fm_group_report *b, unsigned number_b, unsigned zone)
{
    bool a_there = zone && a->zone == zone, b_there = zone && b->zone == zone;
    FM_ASSERT(number_a != number_b);
    if (!fm_lsn_same(a->flush, b->flush))
        return fm_lsn_before(b->flush, a->flush);
    if (a_there != b_there)
        return b_there;
    return a->rank != b->rank ? a->rank < b->rank : number_a < number_b;
}

unsigned fm_group_most_advanced(const struct fm_evidence *recorded,
                                const struct fm_group_report *node, unsigned nnodes, uint32_t mask,
                                int64_t fresh_ms, struct fm_mono now)
{
    FM_ASSERT(nnodes <= FM_GROUP_NODES_MAX);
    unsigned best = FM_GROUP_NOBODY, zone = fm_group_zone_of_writer(recorded, node, nnodes);
    for (unsigned i = 0; i < nnodes; i++) {
        if (!(mask >> i & 1) || !on_recorded(recorded, &node[i]) ||
            !fm_group_is_fresh(&node[i], fresh_ms, now))
            continue;
        if (best == FM_GROUP_NOBODY || fm_group_has_more(&node[i], i, &node[best], best, zone))
            best = i;
    }
    return best;
}

bool fm_group_goes_on(const struct fm_evidence *recorded, const struct fm_group_report *r,
                      unsigned number)
{
    FM_ASSERT(number < FM_GROUP_NODES_MAX);
    bool able = FM_RULE(R26_ABLE, r->state != FM_GROUP_UNABLE);
    bool follows = able && r->recovery && FM_RULE(R23_DELAYED, r->delay_ms == 0);
    return follows || (recorded->writer == number + 1 && r->state == FM_GROUP_STOPPED);
}

static unsigned heir(const struct fm_evidence *recorded, const struct fm_group_report *node,
                     unsigned nnodes, uint32_t mask, int64_t fresh_ms, struct fm_mono now)
{
    uint32_t bounds = recorded->promotable | (recorded->writer ? 1u << (recorded->writer - 1) : 0);
    unsigned best = fm_group_most_advanced(recorded, node, nnodes, mask & bounds, fresh_ms, now);
    if (best != FM_GROUP_NOBODY)
        return best;
    return fm_group_most_advanced(recorded, node, nnodes, mask, fresh_ms, now);
}

uint64_t fm_group_lag(const struct fm_group_report *primary, const struct fm_group_report *node,
                      struct fm_mono level_at, int64_t fresh_ms, struct fm_mono now)
{
    FM_ASSERT(fresh_ms > 0);
    bool same = node->system_id != 0 && node->system_id == primary->system_id &&
                fm_timeline_same(node->timeline, primary->timeline);
    if (!same || node->delay_ms || fm_lsn_is_none(primary->flush) ||
        !fm_group_is_fresh(node, fresh_ms, now))
        return UINT64_MAX;
    if (level_at.ns != 0 && fm_mono_sub_ms(now, level_at) <= fresh_ms)
        return 0;
    uint64_t bytes = fm_lsn_ahead(primary->flush, node->flush);
    return bytes > 0 ? bytes : 1; /* level as far as is known, which is not enough */
}

bool fm_group_counts_in(const struct fm_evidence *recorded, const struct fm_group_report *node,
                        unsigned nnodes, unsigned region, int64_t fresh_ms, struct fm_mono now)
{
    FM_ASSERT(nnodes <= FM_GROUP_NODES_MAX);
    for (unsigned i = 0; i < nnodes; i++) {
        bool counts = (recorded->promotable >> i & 1) || recorded->writer == i + 1;
        if (counts && node[i].region == region && fm_group_is_fresh(&node[i], fresh_ms, now))
            return true;
    }
    return false;
}

/* -------- the heir of a planned move -------- */

const char *fm_group_heir_text(enum fm_group_heir_is h)
{
    static const char *const text[] = {
#define X(id, words) [FM_GROUP_HEIR_##id] = words,
        FM_GROUP_HEIRS(X)
#undef X
    };
    FM_ASSERT(h < FM_COUNT(text));
    return text[h];
}

static enum fm_group_heir_is heir_is(const struct fm_evidence *recorded,
                                     const struct fm_group_report *r, bool counts,
                                     struct fm_lsn flushed, uint64_t lag_max, int64_t fresh_ms,
                                     struct fm_mono now)
{
    if (!fm_group_is_fresh(r, fresh_ms, now))
        return FM_GROUP_HEIR_SILENT;
    if (!fm_group_is_looked_after(r))
        return FM_GROUP_HEIR_LEFT;
    if (r->delay_ms)
        return FM_GROUP_HEIR_DELAYED;
    if (r->apart_ms)
        return FM_GROUP_HEIR_APART;
    if (!r->streaming)
        return fm_group_stands_by(r->state) ? FM_GROUP_HEIR_DEAF : FM_GROUP_HEIR_NO_STANDBY;
    if (!fm_group_is_promotable(recorded, r, flushed, lag_max))
        return FM_GROUP_HEIR_BEHIND;
    return counts ? FM_GROUP_HEIR_READY : FM_GROUP_HEIR_UNCOUNTED;
}

/* Who streams says more of the primary than its own word, which may have been a moment ago. */
struct fm_group_heir fm_group_heir(const struct fm_evidence *recorded,
                                   const struct fm_group_report *node, unsigned nnodes,
                                   uint32_t members, unsigned region, uint64_t lag_max,
                                   int64_t fresh_ms, struct fm_mono now)
{
    struct fm_group_heir h = {FM_GROUP_HEIR_NO_DATA, FM_GROUP_NOBODY};
    FM_ASSERT(nnodes <= FM_GROUP_NODES_MAX);
    if (!recorded || recorded->writer == 0 || recorded->writer > nnodes)
        return h;
    unsigned writer = recorded->writer - 1u;
    const struct fm_group_report *w = &node[writer];
    if (!fm_group_is_fresh(w, fresh_ms, now))
        return (struct fm_group_heir){FM_GROUP_HEIR_NO_PRIMARY, writer};
    h.is = FM_GROUP_HEIR_NOBODY;
    for (unsigned i = 0; i < nnodes; i++) {
        bool there = members >> i & 1 && node[i].region == region && i != writer;
        bool counts = recorded->promotable >> i & 1;
        enum fm_group_heir_is is =
            there ? heir_is(recorded, &node[i], counts, w->flush, lag_max, fresh_ms, now)
                  : FM_GROUP_HEIR_NOBODY;
        if (there && is > h.is)
            h = (struct fm_group_heir){(uint8_t)is, i};
    }
    bool deaf = h.is == FM_GROUP_HEIR_DEAF || h.is == FM_GROUP_HEIR_NO_STANDBY;
    if (deaf && !fm_group_is_source(recorded, w, fresh_ms, now))
        return (struct fm_group_heir){FM_GROUP_HEIR_AWAY, writer};
    return h;
}

struct fm_group_apart fm_group_apart(const struct fm_evidence *recorded,
                                     const struct fm_group_report *node, unsigned nnodes,
                                     struct fm_mono now)
{
    struct fm_group_apart a = {.node = FM_GROUP_NOBODY};
    FM_ASSERT(nnodes <= FM_GROUP_NODES_MAX);
    for (unsigned i = 0; i < nnodes; i++) {
        if (node[i].apart_ms <= 0 || node[i].at.ns == 0)
            continue;
        int64_t ms = node[i].apart_ms + fm_mono_sub_ms(now, node[i].at);
        if (ms <= a.ms)
            continue;
        a.node = i;
        a.ms = ms;
    }
    bool known = recorded && recorded->writer && recorded->writer <= nnodes;
    if (a.node != FM_GROUP_NOBODY && known)
        a.lacks = fm_lsn_ahead(node[recorded->writer - 1].flush, node[a.node].flush);
    return a;
}

struct fm_lsn fm_group_all_replayed(const struct fm_evidence *recorded,
                                    const struct fm_group_report *self, unsigned number,
                                    const struct fm_group_report *node, unsigned nnodes,
                                    uint32_t members)
{
    FM_ASSERT(nnodes <= FM_GROUP_NODES_MAX && number < nnodes);
    uint32_t me = UINT32_C(1) << number;
    uint32_t mask = recorded->promotable & ~me ? recorded->promotable & ~me : members & ~me;
    struct fm_lsn least = FM_LSN_END;
    for (unsigned i = 0; i < nnodes; i++) {
        const struct fm_group_report *r = &node[i];
        bool same = r->at.ns && r->system_id == self->system_id &&
                    fm_timeline_same(r->timeline, self->timeline);
        if (mask >> i & 1)
            least = fm_lsn_min(least, same ? r->replay : FM_LSN_NONE);
    }
    return fm_lsn_same(least, FM_LSN_END) ? FM_LSN_NONE : least;
}

struct fm_credit_bound fm_group_bound(const struct fm_evidence *recorded, unsigned node,
                                      struct fm_lsn flush)
{
    FM_ASSERT(node < FM_GROUP_NODES_MAX);
    if (recorded->writer == node + 1)
        return (struct fm_credit_bound){.kind = FM_CREDIT_ENFORCED};
    return fm_credit_bound_of_survivor(recorded, (uint8_t)node, flush);
}

/* What the writer said last is known to be lacking. */
static struct fm_credit_bound bound_of(const struct fm_evidence *recorded,
                                       const struct fm_group_report *node, unsigned nnodes,
                                       unsigned i)
{
    struct fm_credit_bound b = fm_group_bound(recorded, i, node[i].flush);
    if (b.kind != FM_CREDIT_ESTIMATE || recorded->writer == 0 || recorded->writer > nnodes)
        return b;
    uint64_t lacking = fm_lsn_ahead(node[recorded->writer - 1].flush, node[i].flush);
    return fm_credit_bound_at_least(b, lacking);
}

struct fm_group_takeover fm_group_takeover(const struct fm_evidence *recorded,
                                           const struct fm_group_report *node, unsigned nnodes,
                                           uint32_t mask, unsigned region, int64_t fresh_ms,
                                           struct fm_mono now)
{
    struct fm_group_takeover t = {
        .ready = !recorded, .node = FM_GROUP_NOBODY, .bound = {.kind = FM_CREDIT_ENFORCED}};
    FM_ASSERT(nnodes <= FM_GROUP_NODES_MAX);
    if (!recorded)
        return t;
    uint32_t there = 0;
    for (unsigned i = 0; i < nnodes; i++)
        if (node[i].region == region && fm_group_goes_on(recorded, &node[i], i))
            there |= 1u << i;
    t.node = heir(recorded, node, nnodes, there & mask, fresh_ms, now);
    t.ready = t.node != FM_GROUP_NOBODY;
    if (t.ready)
        t.bound = bound_of(recorded, node, nnodes, t.node);
    else
        t.bound.kind = FM_CREDIT_UNBOUNDED;
    return t;
}

/* What bounds the loss of what was acknowledged before. */
static bool same_bound(const struct fm_evidence *old, const struct fm_evidence *to)
{
    return to->promotable == old->promotable && to->credit == old->credit &&
           to->holes_to == old->holes_to && to->near == old->near;
}

/* A claim takes the history over as it is; what it may add is the number of a timeline. */
static bool may_claim(const struct fm_evidence *old, const struct fm_evidence *to)
{
    bool resumes = old->writer != 0 && to->node == old->writer && to->claimed == old->claimed;
    bool unused = old->writer == 0 ? to->claimed >= old->claimed
                                   : FM_RULE(R26_NUMBER, to->claimed > old->claimed);
    return to->timeline == old->timeline && to->fork_lsn == old->fork_lsn &&
           to->writer == old->writer && FM_RULE(R23_CLAIM, same_bound(old, to)) &&
           (resumes || unused);
}

/* The claimed timeline becomes the history that counts; or only the standbys that bound it. */
static bool may_open(const struct fm_evidence *old, const struct fm_evidence *to)
{
    if (to->timeline == old->timeline)
        return to->fork_lsn == old->fork_lsn && to->writer == old->writer &&
               to->claimed == old->claimed && to->writer == to->node;
    bool given = to->timeline == old->claimed || to->timeline == to->claimed || old->writer == 0;
    return to->timeline > old->timeline && to->writer == to->node && to->claimed >= old->claimed &&
           FM_RULE(R26_GIVEN, given);
}

bool fm_group_may_record(const struct fm_evidence *old, const struct fm_evidence *to,
                         struct fm_epoch epoch)
{
    bool same_system = old->writer == 0 || old->system_id == to->system_id;
    if (to->system_id == 0 || to->node == 0 || !same_system || !fm_epoch_same(to->epoch, epoch) ||
        to->near & ~to->promotable)
        return false;
    if (fm_epoch_newer(epoch, old->epoch))
        return may_claim(old, to);
    if (!FM_RULE(R26_ONE, to->node == old->node))
        return false;
    return fm_epoch_same(epoch, old->epoch) && may_open(old, to);
}
