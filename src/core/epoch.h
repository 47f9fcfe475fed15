/* core/epoch.h: the numbers of authority, each a type of its own so that none is taken for another,
 * and every comparison of them in one place. Pure; values, nothing owned.
 *
 *   epoch        the fencing token of a cell; grows by one with each change of hands
 *   revision     of a record in coordination; 0 = the record is absent
 *   incarnation  of a process (new at each start, never used again) or of the store
 *   generation   of the routing view
 *
 * Implements the durations of rule 1: what a holder may count, and what an observer must wait. */
#ifndef FM_CORE_EPOCH_H
#define FM_CORE_EPOCH_H

#include "base/assert.h"
#include "core/rule.h"

struct fm_epoch {
    uint64_t n;
};

struct fm_revision {
    uint64_t n;
};

struct fm_incarnation {
    uint64_t n;
};

struct fm_generation {
    uint64_t n;
};

struct fm_cell_id {
    uint16_t context, cell;
};

static inline bool fm_epoch_same(struct fm_epoch a, struct fm_epoch b)
{
    return a.n == b.n;
}

static inline bool fm_epoch_newer(struct fm_epoch a, struct fm_epoch than)
{
    return a.n > than.n;
}

static inline struct fm_epoch fm_epoch_max(struct fm_epoch a, struct fm_epoch b)
{
    return a.n > b.n ? a : b;
}

static inline struct fm_epoch fm_epoch_next(struct fm_epoch e)
{
    FM_ASSERT(e.n < UINT64_MAX);
    return (struct fm_epoch){e.n + 1};
}

static inline bool fm_revision_same(struct fm_revision a, struct fm_revision b)
{
    return a.n == b.n;
}

static inline bool fm_revision_newer(struct fm_revision a, struct fm_revision than)
{
    return a.n > than.n;
}

static inline bool fm_incarnation_same(struct fm_incarnation a, struct fm_incarnation b)
{
    return a.n == b.n;
}

/* A view is newer by incarnation first: a store that was seeded anew begins another count. */
static inline bool fm_view_newer(struct fm_incarnation ia, struct fm_generation ga,
                                 struct fm_incarnation ib, struct fm_generation gb)
{
    return ia.n != ib.n ? ia.n > ib.n : ga.n > gb.n;
}

/* -------- agents -------- */

/* An agent that may become keeper: its region and its place there, in one number that means the
 * same to everybody, whatever a local file says. */
enum { FM_AGENTS_PER_REGION = 8, FM_AUTH_REGIONS_MAX = 16 };
enum { FM_AGENTS_MAX = FM_AGENTS_PER_REGION * FM_AUTH_REGIONS_MAX };

struct fm_agent_id {
    uint8_t n;
};

static inline uint8_t fm_agent_region(struct fm_agent_id a)
{
    FM_ASSERT(a.n < FM_AGENTS_MAX);
    return a.n / FM_AGENTS_PER_REGION;
}

static inline bool fm_agent_same(struct fm_agent_id a, struct fm_agent_id b)
{
    return a.n == b.n;
}

/* Who may become keeper of a region that may hold a cell: one bit an agent, by region. */
struct fm_members {
    uint8_t of[FM_AUTH_REGIONS_MAX];
};

static inline bool fm_members_has(const struct fm_members *m, struct fm_agent_id a)
{
    return m->of[fm_agent_region(a)] >> a.n % FM_AGENTS_PER_REGION & 1;
}

static inline void fm_members_add(struct fm_members *m, struct fm_agent_id a)
{
    uint8_t *of = &m->of[fm_agent_region(a)];
    *of = (uint8_t)(*of | 1u << a.n % FM_AGENTS_PER_REGION);
}

static inline void fm_members_remove(struct fm_members *m, struct fm_agent_id a)
{
    uint8_t *of = &m->of[fm_agent_region(a)];
    *of = (uint8_t)(*of & ~(1u << a.n % FM_AGENTS_PER_REGION));
}

static inline void fm_members_join(struct fm_members *m, const struct fm_members *other)
{
    for (unsigned r = 0; r < FM_AUTH_REGIONS_MAX; r++)
        m->of[r] |= other->of[r];
}

static inline bool fm_members_same(const struct fm_members *a, const struct fm_members *b)
{
    for (unsigned r = 0; r < FM_AUTH_REGIONS_MAX; r++)
        if (a->of[r] != b->of[r])
            return false;
    return true;
}

/* -------- durations (rule 1) -------- */

enum { FM_RATE_PPM_MAX = 100 * 1000, FM_LEASE_MAX_MS = 3600 * 1000 };

static inline int64_t fm_drift_ns(int64_t lease_ms, uint32_t rho_ppm)
{
    FM_ASSERT(lease_ms >= 0 && lease_ms <= FM_LEASE_MAX_MS && rho_ppm <= FM_RATE_PPM_MAX);
    return lease_ms * rho_ppm + 1; /* ms x millionths = ns; one more than rounding can lose */
}

/* What a holder may count of a lease: L(1-rho). */
static inline int64_t fm_held_ns(int64_t lease_ms, uint32_t rho_ppm)
{
    int64_t drift = fm_drift_ns(lease_ms, rho_ppm);
    return lease_ms * FM_NS_PER_MS - FM_RULE_PICK(R1_HELD_RATE, drift, -drift);
}

/* What everybody else waits: L(1+rho). */
static inline int64_t fm_wait_ns(int64_t lease_ms, uint32_t rho_ppm)
{
    int64_t drift = fm_drift_ns(lease_ms, rho_ppm);
    return lease_ms * FM_NS_PER_MS + FM_RULE_PICK(R1_WAIT_RATE, drift, -drift);
}

#endif
