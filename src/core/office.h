/* core/office.h: which agent of a region is its keeper (SAFETY.md 5, 6; the record
 * region/R/keeper).
 *
 * One machine per agent that may become keeper. It claims the office by compare-and-swap when
 * nobody has it, or when the leases of the region have not moved for a while. Safety never rests on
 * who is in office, only on the revisions that are compared; two agents that both think so do no
 * harm. It also knows whether an earlier life of this very agent may still be in office: then
 * something that it sent could apply late, and it must not promise anything (rule 10).
 *
 * Pure: step(state, event, now) -> at most one transaction. */
#ifndef FM_CORE_OFFICE_H
#define FM_CORE_OFFICE_H

#include "core/record.h"

#define FM_OFFICE_STATES(X)                                                                        \
    X(DEPUTY, "deputy")     /* another agent is in office, or nobody */                            \
    X(CLAIMING, "claiming") /* a claim is on its way, or its outcome is not known */               \
    X(KEEPER, "keeper")

enum fm_office_state {
#define X(id, name) FM_OFFICE_##id,
    FM_OFFICE_STATES(X)
#undef X
        FM_OFFICE_STATE_COUNT
};

const char *fm_office_state_name(enum fm_office_state s);

struct fm_office_config {
    struct fm_agent_id self;
    struct fm_incarnation incarnation;
    int64_t silence_ms; /* no lease of the region moved for so long: the keeper is gone */
    int64_t retry_ms;
};

struct fm_office {
    struct fm_office_config cfg;
    uint8_t state; /* enum fm_office_state */
    bool seen;     /* anything was read since the start */
    bool resolved; /* no earlier life of this agent can act any more */
    struct fm_keeper_at at;
    struct fm_mono moved_at; /* the region's keeper gave a sign */
    struct fm_mono claimed_at;
};

enum fm_office_event_kind {
    FM_OFFICE_TICK,       /* frozen */
    FM_OFFICE_SEEN,       /* at, linear */
    FM_OFFICE_MOVED,      /* a lease of this region was renewed by another */
    FM_OFFICE_CLAIM_OVER, /* outcome, revision */
    FM_OFFICE_RESEEDED,   /* the store is another one: what was seen counts no more */
    FM_OFFICE_EVENT_COUNT
};

struct fm_office_event {
    enum fm_office_event_kind kind;
    struct fm_keeper_at at;
    bool linear;
    bool frozen; /* the store went back: nobody takes office in it before a new seed (rule 4) */
    enum fm_txn_outcome outcome;
    struct fm_revision revision;
};

struct fm_office_verdict {
    bool claim;        /* send `txn` */
    struct fm_txn txn; /* else empty: of what is not counted in it nothing is set */
    bool changed;      /* of state or revision: tell the contexts */
    struct fm_mono wake;
};

void fm_office_init(struct fm_office *o, const struct fm_office_config *cfg, struct fm_mono now);

/* Other times from now on. */
void fm_office_set_times(struct fm_office *o, int64_t silence_ms, int64_t retry_ms);

void fm_office_step(struct fm_office *o, const struct fm_office_event *e, struct fm_mono now,
                    uint64_t random, struct fm_office_verdict *out);

static inline bool fm_office_is_keeper(const struct fm_office *o)
{
    return o->state == FM_OFFICE_KEEPER;
}

#endif
