/* Votes: see the header. Invariants: a vote counts while it is younger than the patience; whom I
 * call lost I do not call well. */
#include "core/votes.h"

static bool young(struct fm_mono at, int64_t ms, struct fm_mono now)
{
    return fm_mono_sub_ns(now, at) < ms * FM_NS_PER_MS;
}

void fm_votes_init(struct fm_votes *v, struct fm_agent_id self, uint16_t observers,
                   int64_t patience_ms, struct fm_mono now)
{
    FM_ASSERT(patience_ms > 0 && observers >> fm_agent_region(self) & 1);
    *v = (struct fm_votes){.self = self, .observers = observers, .patience_ms = patience_ms};
    fm_votes_stalled(v, now);
}

void fm_votes_set(struct fm_votes *v, uint16_t observers, int64_t patience_ms, struct fm_mono now)
{
    FM_ASSERT(patience_ms > 0 && observers >> fm_agent_region(v->self) & 1);
    for (unsigned r = 0; r < FM_AUTH_REGIONS_MAX; r++)
        if (observers >> r & 1 && !(v->observers >> r & 1))
            v->heard[r] = fm_mono_max(v->heard[r], now);
    v->observers = observers;
    v->patience_ms = patience_ms;
}

void fm_votes_stalled(struct fm_votes *v, struct fm_mono now)
{
    for (unsigned r = 0; r < FM_AUTH_REGIONS_MAX; r++)
        if (!(v->gone >> r & 1))
            v->heard[r] = now;
}

void fm_votes_take(struct fm_votes *v, struct fm_agent_id from, const struct fm_vote *vote,
                   struct fm_mono now)
{
    unsigned region = fm_agent_region(from);
    FM_ASSERT(!fm_agent_same(from, v->self));
    v->of[from.n].vote = *vote;
    v->of[from.n].at = now;
    v->of[from.n].known = true;
    v->heard[region] = now;
    v->gone = (uint16_t)(v->gone & ~(1u << region));
}

void fm_votes_gone(struct fm_votes *v, unsigned region, struct fm_mono now)
{
    FM_ASSERT(region < FM_AUTH_REGIONS_MAX);
    v->heard[region] = fm_mono_add_ms(now, -v->patience_ms);
    v->gone = (uint16_t)(v->gone | 1u << region);
}

void fm_votes_load(struct fm_votes *v, unsigned region, const struct fm_load *load)
{
    FM_ASSERT(region < FM_AUTH_REGIONS_MAX && region != fm_agent_region(v->self));
    v->load[region] = *load;
}

void fm_votes_gate(struct fm_votes *v, uint16_t host, const struct fm_contexts *capable,
                   const struct fm_load *load, struct fm_mono now)
{
    unsigned at = 0;
    for (unsigned i = 0; i < FM_VOTE_GATES_MAX; i++) {
        if (v->gate[i].used && v->gate[i].host == host) {
            at = i;
            break;
        }
        bool better =
            v->gate[at].used && (!v->gate[i].used || fm_mono_before(v->gate[i].at, v->gate[at].at));
        if (better)
            at = i;
    }
    v->gate[at].host = host;
    v->gate[at].used = true;
    v->gate[at].at = now;
    v->gate[at].capable = *capable;
    v->gate[at].load = *load;
}

static uint32_t sum(uint32_t a, uint32_t b)
{
    return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

static struct fm_load gates_do(const struct fm_votes *v, struct fm_mono now)
{
    struct fm_load l = {0};
    for (unsigned i = 0; i < FM_VOTE_GATES_MAX; i++) {
        if (!v->gate[i].used || !young(v->gate[i].at, 2 * v->patience_ms, now))
            continue;
        l.total = sum(l.total, v->gate[i].load.total);
        for (unsigned c = 0; c < FM_VOTE_CONTEXTS_MAX; c++)
            l.of[c] = sum(l.of[c], v->gate[i].load.of[c]);
    }
    return l;
}

bool fm_votes_fits(const struct fm_votes *v, unsigned from, unsigned to,
                   const struct fm_contexts *these, uint32_t capacity)
{
    FM_ASSERT(from < FM_AUTH_REGIONS_MAX && to < FM_AUTH_REGIONS_MAX && from != to);
    uint32_t load = v->load[to].total;
    for (unsigned c = 0; c < FM_VOTE_CONTEXTS_MAX; c++)
        if (fm_contexts_has(these, c))
            load = sum(load, v->load[from].of[c]);
    return capacity == 0 || load <= capacity;
}

/* What the agents of a region say that it can serve; they are its own words. */
static struct fm_contexts own_word(const struct fm_votes *v, unsigned region, struct fm_mono now)
{
    struct fm_contexts c = {{0}};
    for (unsigned i = 0; i < FM_AGENTS_PER_REGION; i++) {
        unsigned a = region * FM_AGENTS_PER_REGION + i;
        if (v->of[a].known && a != v->self.n && young(v->of[a].at, v->patience_ms, now))
            fm_contexts_join(&c, &v->of[a].vote.well[region]);
    }
    return c;
}

static struct fm_contexts gates_say(const struct fm_votes *v, struct fm_mono now)
{
    struct fm_contexts c = {{0}};
    for (unsigned i = 0; i < FM_VOTE_GATES_MAX; i++)
        if (v->gate[i].used && young(v->gate[i].at, 2 * v->patience_ms, now))
            fm_contexts_join(&c, &v->gate[i].capable);
    return c;
}

static bool differs(const struct fm_vote *a, const struct fm_vote *b)
{
    for (unsigned r = 0; r < FM_AUTH_REGIONS_MAX; r++)
        if (!fm_contexts_cover(&a->well[r], &b->well[r]) ||
            !fm_contexts_cover(&b->well[r], &a->well[r]))
            return true;
    return a->lost != b->lost;
}

bool fm_votes_mine(struct fm_votes *v, struct fm_mono now, struct fm_vote *out)
{
    unsigned me = fm_agent_region(v->self);
    struct fm_vote x = {.lost = 0};
    v->heard[me] = now;
    v->load[me] = gates_do(v, now);
    for (unsigned r = 0; r < FM_AUTH_REGIONS_MAX; r++) {
        if (!(v->observers >> r & 1))
            continue;
        if (!young(v->heard[r], v->patience_ms, now))
            x.lost = (uint16_t)(x.lost | 1u << r);
        else if (r == me)
            x.well[r] = gates_say(v, now);
        else if (young(v->heard[r], v->patience_ms * 2 / 3, now))
            x.well[r] = own_word(v, r, now);
    }
    bool news = !v->of[v->self.n].known || differs(&x, &v->of[v->self.n].vote);
    v->of[v->self.n].vote = x;
    v->of[v->self.n].at = now;
    v->of[v->self.n].known = true;
    *out = x;
    FM_ASSERT(!(x.lost >> me & 1));
    return news;
}

bool fm_votes_lost(const struct fm_votes *v, unsigned region)
{
    FM_ASSERT(region < FM_AUTH_REGIONS_MAX);
    return v->of[v->self.n].vote.lost >> region & 1;
}

struct fm_tally fm_votes_tally(const struct fm_votes *v, unsigned region,
                               const struct fm_contexts *these, struct fm_mono now)
{
    FM_ASSERT(region < FM_AUTH_REGIONS_MAX);
    struct fm_tally t = {0};
    for (unsigned r = 0; r < FM_AUTH_REGIONS_MAX; r++) {
        if (!(v->observers >> r & 1))
            continue;
        bool any = false, all_lost = true, one_well = false;
        for (unsigned i = 0; i < FM_AGENTS_PER_REGION; i++) {
            unsigned a = r * FM_AGENTS_PER_REGION + i;
            if (!v->of[a].known || !young(v->of[a].at, v->patience_ms, now))
                continue;
            any = true;
            all_lost &= v->of[a].vote.lost >> region & 1;
            one_well |= fm_contexts_cover(&v->of[a].vote.well[region], these);
        }
        t.observers++;
        t.lost_by = (uint8_t)(t.lost_by + (any && all_lost));
        t.healthy_by = (uint8_t)(t.healthy_by + one_well);
    }
    FM_ASSERT(t.lost_by + t.healthy_by <= t.observers + t.observers);
    return t;
}

unsigned fm_votes_heir(const struct fm_votes *v, unsigned lost, const struct fm_contexts *these,
                       const struct fm_startable *startable, uint16_t able,
                       const uint16_t rank[FM_AUTH_REGIONS_MAX])
{
    const struct fm_vote *mine = &v->of[v->self.n].vote;
    struct fm_contexts needed = *these;
    unsigned warm = FM_NO_REGION, cold = FM_NO_REGION;
    fm_contexts_leave(&needed, &startable->contexts);
    for (unsigned r = 0; r < FM_AUTH_REGIONS_MAX; r++) {
        bool may = able >> r & 1 && r != lost;
        bool well = may && fm_contexts_cover(&mine->well[r], these);
        bool there = may && startable->regions >> r & 1 && !(mine->lost >> r & 1) &&
                     fm_contexts_cover(&mine->well[r], &needed);
        if (well && (warm == FM_NO_REGION || rank[r] < rank[warm]))
            warm = r;
        if (there && (cold == FM_NO_REGION || rank[r] < rank[cold]))
            cold = r;
    }
    return warm != FM_NO_REGION ? warm : cold;
}
