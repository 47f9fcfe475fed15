/* Giving up: see the header. Invariants: a cell is never given up while its node is heard to serve
 * it, nor while nobody is heard who could go on; one that is silent is waited for until what it was
 * granted is over. */
#include "core/yield.h"

#define NAMES(function, LIST)                                                                      \
    const char *function(enum fm_yield_why x)                                                      \
    {                                                                                              \
        static const char *const name[] = {FM_YIELD_WHYS(LIST)};                                   \
        FM_ASSERT(x < FM_COUNT(name));                                                             \
        return name[x];                                                                            \
    }
#define NAME3(id, name, text) name,
#define TEXT3(id, name, text) text,

NAMES(fm_yield_why_name, NAME3)
NAMES(fm_yield_why_text, TEXT3)

/* Who alone may serve under this epoch; FM_GROUP_NOBODY where it is not claimed yet. */
static unsigned claimant(const struct fm_yield_evidence *ev)
{
    const struct fm_evidence *e = &ev->cell->evidence;
    bool claimed = e->node && fm_epoch_same(e->epoch, ev->cell->epoch);
    return claimed && e->node <= ev->nnodes ? e->node - 1u : FM_GROUP_NOBODY;
}

/* The others that have the history that counts, of one region or (FM_GROUP_NOBODY) of all. */
static uint32_t followers(const struct fm_yield_evidence *ev, unsigned region)
{
    unsigned who = claimant(ev);
    uint32_t mask = 0;
    for (unsigned i = 0; i < ev->nnodes; i++)
        if (i != who && fm_group_goes_on(&ev->cell->evidence, &ev->node[i], i) &&
            (region == FM_GROUP_NOBODY || ev->node[i].region == region))
            mask |= 1u << i;
    return mask;
}

static unsigned follower(const struct fm_yield_evidence *ev, int64_t fresh_ms, uint32_t mask,
                         struct fm_mono now)
{
    return fm_group_most_advanced(&ev->cell->evidence, ev->node, ev->nnodes, mask, fresh_ms, now);
}

unsigned fm_yield_heir(const struct fm_yield_evidence *ev, int64_t fresh_ms, unsigned region,
                       struct fm_mono now)
{
    FM_ASSERT(ev->nnodes <= FM_GROUP_NODES_MAX && ev->cell);
    const struct fm_evidence *e = &ev->cell->evidence;
    uint32_t bounds = e->promotable | (e->writer ? 1u << (e->writer - 1) : 0);
    uint32_t mask = followers(ev, region) & bounds;
    return follower(ev, fresh_ms, mask, now);
}

enum here { NOBODY_HERE, ONLY_UNABLE, SOMEBODY_HERE };

/* Who may serve under this epoch, or may claim it. One that says that nothing of it lives, and that
 * nothing can be started, does neither, whatever its host was granted. */
static enum here who_is_here(const struct fm_yield_evidence *ev, const struct fm_yield_policy *p,
                             struct fm_mono now)
{
    unsigned who = claimant(ev);
    enum here here = NOBODY_HERE;
    for (unsigned i = 0; i < ev->nnodes; i++) {
        bool may = who == FM_GROUP_NOBODY ? ev->node[i].region == ev->region : i == who;
        bool heard = fm_group_is_fresh(&ev->node[i], p->fresh_ms, now);
        if (may && heard && ev->node[i].state == FM_GROUP_UNABLE)
            here = ONLY_UNABLE;
        else if (may && (ev->granted >> i & 1 || heard))
            return SOMEBODY_HERE;
    }
    return here;
}

static enum fm_yield_why why(const struct fm_yield_policy *p, const struct fm_yield_evidence *ev,
                             int64_t unserved_ms, struct fm_mono now)
{
    unsigned who = claimant(ev);
    bool heard = who != FM_GROUP_NOBODY && fm_group_is_fresh(&ev->node[who], p->fresh_ms, now);
    if (follower(ev, p->fresh_ms, followers(ev, FM_GROUP_NOBODY), now) == FM_GROUP_NOBODY)
        return FM_YIELD_WHY_NONE; /* it would help nobody */
    if (heard && ev->node[who].state == FM_GROUP_YIELDED)
        return FM_YIELD_WHY_SAID;
    enum here here = who_is_here(ev, p, now);
    if (here == ONLY_UNABLE)
        return FM_YIELD_WHY_SAID;
    if (here == NOBODY_HERE)
        return unserved_ms >= p->absent_ms ? FM_YIELD_WHY_ABSENT : FM_YIELD_WHY_NONE;
    /* to stop what is on its way up helps only where another one goes on by itself */
    bool sure =
        p->automatic && fm_yield_heir(ev, p->fresh_ms, FM_GROUP_NOBODY, now) != FM_GROUP_NOBODY;
    return sure && unserved_ms >= p->unwell_ms ? FM_YIELD_WHY_UNWELL : FM_YIELD_WHY_NONE;
}

static struct fm_mono later(struct fm_mono best, struct fm_mono t, struct fm_mono now)
{
    return fm_mono_before(now, t) ? fm_mono_min(best, t) : best;
}

struct fm_yield_verdict fm_yield_step(struct fm_yield *y, const struct fm_yield_policy *p,
                                      const struct fm_yield_evidence *ev, struct fm_mono now)
{
    FM_ASSERT(p->absent_ms >= 0 && p->unwell_ms > 0 && p->fresh_ms > 0);
    FM_ASSERT(ev->nnodes <= FM_GROUP_NODES_MAX && ev->cell);
    struct fm_yield_verdict v = {.why = FM_YIELD_WHY_NONE, .wake = FM_MONO_NEVER};
    unsigned who = claimant(ev);
    bool heard = who != FM_GROUP_NOBODY && fm_group_is_fresh(&ev->node[who], p->fresh_ms, now);
    bool served =
        FM_RULE_PICK(R30_SERVED, heard && fm_group_is_open(&ev->node[who], ev->cell->epoch), false);
    if (!ev->holds || !fm_epoch_same(y->epoch, ev->cell->epoch)) {
        y->epoch = ev->holds ? ev->cell->epoch : (struct fm_epoch){0};
        y->served = now;
        return v;
    }
    if (served)
        y->served = fm_mono_max(y->served, ev->node[who].at);
    if (served || ev->cell->evidence.writer == 0)
        return v; /* there is nothing to be served yet */
    v.why = (uint8_t)why(p, ev, fm_mono_sub_ms(now, y->served), now);
    v.wake = later(v.wake, fm_mono_add_ms(y->served, p->absent_ms), now);
    v.wake = later(v.wake, fm_mono_add_ms(y->served, p->unwell_ms), now);
    return v;
}

unsigned fm_yield_first(const struct fm_yield_evidence *ev, enum fm_yield_why why, unsigned heir,
                        int64_t fresh_ms, struct fm_mono now)
{
    FM_ASSERT(why != FM_YIELD_WHY_NONE && ev->cell);
    if (heir == FM_NO_REGION)
        return ev->region;
    bool there = fm_yield_heir(ev, fresh_ms, heir, now) != FM_GROUP_NOBODY;
    bool here = fm_yield_heir(ev, fresh_ms, ev->region, now) != FM_GROUP_NOBODY;
    bool elsewhere = why == FM_YIELD_WHY_UNWELL ? there : !here;
    return elsewhere ? heir : ev->region;
}

/* -------- afterwards -------- */

/* Who is asked first, or has all of the data, is waited for so many leases. */
enum { PATIENCE = 4 };

static bool is_late(struct fm_mono since, int64_t lease_ms, struct fm_mono now)
{
    FM_ASSERT(lease_ms > 0);
    return fm_mono_sub_ms(now, since) >= PATIENCE * lease_ms;
}

unsigned fm_yield_next(const struct fm_cell_record *c, struct fm_mono since, unsigned heir,
                       int64_t lease_ms, struct fm_mono now)
{
    bool first = c->state == FM_CELL_YIELDED && !is_late(since, lease_ms, now);
    return first ? c->to : heir;
}

bool fm_yield_is_back(const struct fm_yield_evidence *ev, struct fm_mono since, int64_t fresh_ms,
                      int64_t lease_ms, struct fm_mono now)
{
    const struct fm_evidence *e = &ev->cell->evidence;
    bool ours = ev->cell->state == FM_CELL_YIELDED && ev->cell->region == ev->region;
    if (!ours || e->writer == 0 || e->writer > ev->nnodes || !is_late(since, lease_ms, now))
        return false;
    const struct fm_group_report *r = &ev->node[e->writer - 1];
    return r->region == ev->region && !r->recovery && fm_group_goes_on(e, r, e->writer - 1u) &&
           fm_group_is_fresh(r, fresh_ms, now) && r->system_id == e->system_id &&
           r->timeline.n == e->timeline && r->begins.n == e->fork_lsn;
}
