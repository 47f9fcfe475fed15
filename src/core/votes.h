/* core/votes.h: what observers say of regions, and who would take over (SAFETY.md 12, 30).
 *
 * Agents tell each other, again and again, whom they hear. Not to hear a region for some time makes
 * it lost in the eyes of an observer; to hear it, and to hear that it can serve a context, makes it
 * well. A region speaks once, however many agents it has: it calls another one lost where all of
 * its agents do, and well where one of them does. Evidence for *whether*, never the safety of
 * *how*. Agents also say what their region has to do, so that nobody takes over what it cannot
 * carry. Pure; the structure is the caller's, about 70 KiB. */
#ifndef FM_CORE_VOTES_H
#define FM_CORE_VOTES_H

#include "core/epoch.h"

enum { FM_VOTE_CONTEXTS_MAX = 128, FM_VOTE_GATES_MAX = 32, FM_NO_REGION = 255 };

/* Some of the contexts, by number. */
struct fm_contexts {
    uint64_t bits[FM_VOTE_CONTEXTS_MAX / 64];
};

static inline void fm_contexts_add(struct fm_contexts *c, unsigned context)
{
    FM_ASSERT(context < FM_VOTE_CONTEXTS_MAX);
    c->bits[context / 64] |= UINT64_C(1) << context % 64;
}

static inline bool fm_contexts_has(const struct fm_contexts *c, unsigned context)
{
    FM_ASSERT(context < FM_VOTE_CONTEXTS_MAX);
    return c->bits[context / 64] >> context % 64 & 1;
}

static inline void fm_contexts_join(struct fm_contexts *c, const struct fm_contexts *other)
{
    for (unsigned i = 0; i < FM_VOTE_CONTEXTS_MAX / 64; i++)
        c->bits[i] |= other->bits[i];
}

static inline void fm_contexts_leave(struct fm_contexts *c, const struct fm_contexts *other)
{
    for (unsigned i = 0; i < FM_VOTE_CONTEXTS_MAX / 64; i++)
        c->bits[i] &= ~other->bits[i];
}

/* Does `c` have all of `these`? */
static inline bool fm_contexts_cover(const struct fm_contexts *c, const struct fm_contexts *these)
{
    for (unsigned i = 0; i < FM_VOTE_CONTEXTS_MAX / 64; i++)
        if (these->bits[i] & ~c->bits[i])
            return false;
    return true;
}

/* What one agent says. */
struct fm_vote {
    uint16_t lost; /* regions, one bit each */
    /* Of each region that it hears: what that one can serve, by its own word. Of its own region:
     * what its gates say. */
    struct fm_contexts well[FM_AUTH_REGIONS_MAX];
};

/* Requests a second that a region serves: in all, and of contexts with cells. */
struct fm_load {
    uint32_t total;
    uint32_t of[FM_VOTE_CONTEXTS_MAX];
};

struct fm_votes {
    struct fm_agent_id self;
    int64_t patience_ms; /* a region that was not heard for so long is lost */
    uint16_t observers;  /* regions that vote, one bit each, with my own */
    struct {
        struct fm_vote vote;
        struct fm_mono at;
        bool known;
    } of[FM_AGENTS_MAX];
    struct fm_mono heard[FM_AUTH_REGIONS_MAX];
    uint16_t gone; /* regions that somebody knows to be dead, one bit each */
    struct {       /* of my region */
        uint16_t host;
        bool used;
        struct fm_mono at;
        struct fm_contexts capable;
        struct fm_load load;
    } gate[FM_VOTE_GATES_MAX];
    struct fm_load load[FM_AUTH_REGIONS_MAX]; /* as was said last; that of my own from its gates */
};

/* Everybody counts as heard at the beginning. */
void fm_votes_init(struct fm_votes *v, struct fm_agent_id self, uint16_t observers,
                   int64_t patience_ms, struct fm_mono now);

/* Others vote from now on, or patience is another. Who is new counts as heard. */
void fm_votes_set(struct fm_votes *v, uint16_t observers, int64_t patience_ms, struct fm_mono now);

/* This process was away: that nobody was heard meanwhile says nothing about the others, but for
 * those of whom is known that they are gone. */
void fm_votes_stalled(struct fm_votes *v, struct fm_mono now);

/* A vote came from another agent. */
void fm_votes_take(struct fm_votes *v, struct fm_agent_id from, const struct fm_vote *vote,
                   struct fm_mono now);
/* The guards of all of its agents have testified that they are dead: nobody is waited for, until
 * one of them is heard again. */
void fm_votes_gone(struct fm_votes *v, unsigned region, struct fm_mono now);
/* ... with what its region has to do. */
void fm_votes_load(struct fm_votes *v, unsigned region, const struct fm_load *load);
/* A gate of my region says what it can serve, and does. The oldest one gives way where there is no
 * room. */
void fm_votes_gate(struct fm_votes *v, uint16_t host, const struct fm_contexts *capable,
                   const struct fm_load *load, struct fm_mono now);

/* My own vote of this moment, which counts from now on. True: it is another one than the last, and
 * others want to know at once. */
bool fm_votes_mine(struct fm_votes *v, struct fm_mono now, struct fm_vote *out);

/* Do I, in my last vote, call this region lost? */
bool fm_votes_lost(const struct fm_votes *v, unsigned region);

/* Of `observers` regions so many called it lost, and so many saw it well for all of `these`. */
struct fm_tally {
    uint8_t observers, lost_by, healthy_by;
};
struct fm_tally fm_votes_tally(const struct fm_votes *v, unsigned region,
                               const struct fm_contexts *these, struct fm_mono now);

/* Contexts whose apps are stopped until they are needed, and the regions where they would be. */
struct fm_startable {
    struct fm_contexts contexts;
    uint16_t regions;
};

/* Who would take over `these` contexts, which move together, from `lost`: of the regions that may
 * (`able`, one bit each) and that I see well for all of them the one of the lowest rank; ranks
 * differ. Where there is none: of those that could start what is missing, which I hear and see well
 * for the others. FM_NO_REGION: nobody. */
unsigned fm_votes_heir(const struct fm_votes *v, unsigned lost, const struct fm_contexts *these,
                       const struct fm_startable *startable, uint16_t able,
                       const uint16_t rank[FM_AUTH_REGIONS_MAX]);

/* Could region `to` carry what it has and these contexts of `from`, with this capacity in requests
 * a second? 0 = nothing was said about it. Of a region that is lost, what it did last counts. */
bool fm_votes_fits(const struct fm_votes *v, unsigned from, unsigned to,
                   const struct fm_contexts *these, uint32_t capacity);

#endif
