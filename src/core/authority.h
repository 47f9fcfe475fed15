/* core/authority.h: who may write the cells of one context, as one agent sees it.
 *
 * One machine per (agent, context). It is all that an agent is for that context at once:
 *   observer    what coordination was seen to hold, since when, and what this region has seen at
 * most keeper      renews the region's lease, grants sub-leases, stops and releases     (rules 3,
 * 5, 7) promiser    gives its word to holders elsewhere, and counts the words of others  (10, 11)
 *   successor   waits out a lease, and acquires in one transaction                   (6, 8)
 * It decides how and whether it is safe, never whether it is wanted: core/failover.h orders.
 *
 * Pure: step(state, event, now) -> ordered actions in a fixed array. The shell carries them out in
 * this order (PERSIST is durable before what follows it is sent), reports every transaction's
 * outcome once, and may repeat, delay or lose everything else. `now` is the agent's own
 * CLOCK_BOOTTIME (rule 1). Messages are answered by echo: what `asked_ns` means is known only to
 * who asked. No heap; the structure is the caller's, about 20 KiB. */
#ifndef FM_CORE_AUTHORITY_H
#define FM_CORE_AUTHORITY_H

#include "core/record.h"

enum { FM_AUTH_ACTIONS_MAX = 24, FM_BUDGET_SEEN_MAX = 16 };

struct fm_auth_config {
    uint16_t context;
    struct fm_agent_id self;
    struct fm_incarnation incarnation; /* of this agent; never 0 */
    uint8_t nregions, ncells;
    bool able;        /* its region may hold cells; a witness may not */
    int32_t lease_ms; /* L */
    uint32_t rho_ppm;
    int32_t renew_ms;
    int32_t retry_ms;       /* a read or a stop is tried again after so long */
    struct fm_members file; /* the members as the local file has them; never decides (rule 11) but
                               for cells that were never written */
    bool founds;            /* cells that were never written are created in their home */
    uint8_t home[FM_AUTH_CELLS_MAX]; /* a region each */
    uint8_t at_most;                 /* automatic failovers in a window; 0 = none */
    int64_t window_ms;
};

/* What the region has on its disk of what it has seen (rule 4). */
struct fm_marks {
    uint64_t store_id;
    struct fm_revision store;
    struct fm_incarnation incarnation; /* of the seed */
    struct fm_epoch epoch[FM_AUTH_CELLS_MAX];
    uint8_t holder[FM_AUTH_CELLS_MAX]; /* under that epoch: its region + 1; 0 = not known */
};

enum fm_auth_event_kind {
    FM_AUTH_TICK,
    FM_AUTH_SEEN,     /* snapshot, store_id: by a watch or a read that may be stale */
    FM_AUTH_READ,     /* op, ok; snapshot, store_id: a linearizable read is over */
    FM_AUTH_OVER,     /* op, outcome, revision: a transaction is over */
    FM_AUTH_OFFICE,   /* keeper, keeper_revision, resolved (core/office.h) */
    FM_AUTH_SUB_ASKS, /* sub, asked_ns; cells, epochs: those that it stopped, and at which epoch */
    FM_AUTH_SUB_STOPPED,   /* sub; cells, epochs: it acknowledges that it stopped them */
    FM_AUTH_PROMISE_ASKED, /* agent, incarnation, asked_ns; cells, epochs: what it holds */
    FM_AUTH_PROMISED,      /* agent, incarnation (mine, echoed), asked_ns, ms */
    FM_AUTH_TESTIFIED,     /* region, sub, everything: the guard on the spot has reaped it */
    /* orders */
    FM_AUTH_ACQUIRE,  /* cells, automatic: those that are not mine, with or without consent;
                         accepted: whatever is lost of their data */
    FM_AUTH_DESIST,   /* acquire nothing any more */
    FM_AUTH_STOP,     /* cell: stop its sub-lessees */
    FM_AUTH_RELEASE,  /* cell, to */
    FM_AUTH_RETAKE,   /* cell: hold it on, under another epoch (an abort after the stop, or what was
                         given up here is served again) */
    FM_AUTH_YIELD,    /* cell, to: stop its sub-lessees, then let go of it for whoever may take it;
                         nobody here serves it (core/yield.h) */
    FM_AUTH_MEMBERS,  /* members: for every cell that is held here */
    FM_AUTH_EVIDENCE, /* cell, revision, evidence: a database agent asks that it be recorded over
                         what it saw of the cell at that revision */
    FM_AUTH_EVENT_COUNT
};

struct fm_auth_event {
    enum fm_auth_event_kind kind;
    uint32_t op;
    bool ok, keeper, resolved, automatic, accepted, everything, refused;
    const struct fm_snapshot *snapshot;
    uint64_t store_id;
    enum fm_txn_outcome outcome;
    struct fm_revision revision;
    struct fm_sub sub;
    struct fm_agent_id agent;
    struct fm_incarnation incarnation;
    int64_t asked_ns;
    int32_t ms;
    uint8_t region, to, cell;
    struct fm_epoch epoch;
    uint64_t cells;                /* one bit a cell */
    const struct fm_epoch *epochs; /* one a cell */
    struct fm_members members;
    struct fm_evidence evidence;
};

enum fm_auth_action_kind {
    FM_AUTH_DO_PERSIST, /* the marks; durable before the next action */
    FM_AUTH_DO_READ,    /* op: read everything of the context, linearizably */
    FM_AUTH_DO_COMMIT,  /* op: the transaction fm_authority_txn(a, op) */
    FM_AUTH_DO_GRANT,   /* sub, asked_ns, ms, cells: with their epochs, fm_authority_epoch */
    FM_AUTH_DO_STOP,    /* cells: to every sub-lessee, with their epochs */
    FM_AUTH_DO_ASK,     /* members: ask each of them for a promise */
    FM_AUTH_DO_PROMISE, /* agent, incarnation, asked_ns, ms */
    FM_AUTH_DO_REFUSE,  /* agent: why */
    FM_AUTH_DO_SAY,     /* why, cell: for events and `why` */
    FM_AUTH_ACTION_COUNT
};

#define FM_AUTH_WHYS(X)                                                                            \
    X(NONE, "none", "nothing stands against it")                                                   \
    X(NOT_KEEPER, "not-keeper", "this agent is not its region's keeper")                           \
    X(NOT_ABLE, "not-able", "this region does not hold cells")                                     \
    X(NOT_HELD, "not-held", "this region does not hold the cell")                                  \
    X(UNPROVEN, "unproven",                                                                        \
      "this agent knows nothing of before, and nobody who does renews a lease in this store")      \
    X(FROZEN, "store-went-back", "coordination shows less than it had shown")                      \
    X(UNSETTLED, "unsettled", "a new keeper waits until what went before it has run out")          \
    X(NO_LEASE, "no-lease", "the lease of this region is not live")                                \
    X(NO_RECORD, "no-record", "the cell has never been written")                                   \
    X(NOT_MEMBER, "not-member", "this agent is not among the cell's members")                      \
    X(LEASE_RUNS, "lease-runs", "the holder's lease may still run")                                \
    X(PROMISED, "promised", "this agent gave its word to the holder")                              \
    X(AT_MOST, "at-most", "the bound on automatic failovers is reached")                           \
    X(UNRESOLVED, "unresolved", "an acquire of this agent has no known outcome")                   \
    X(WANTED, "wanted", "this agent has orders to take over")                                      \
    X(MOVED_ON, "moved-on", "the cell has a newer epoch than that of who asks")                    \
    X(IN_OFFICE, "in-office", "this agent replaced the one that asks")                             \
    X(EARLIER_LIFE, "earlier-life", "an earlier life of this agent may still act")                 \
    X(NOT_STOPPED, "not-stopped", "a sub-lessee has neither stopped nor run out")                  \
    X(FULL, "full", "no room to record another sub-lessee")                                        \
    X(TOOK, "took-lease", "the lease of the region is renewed here now")                           \
    X(LOST, "lost-lease", "the lease of the region is no longer renewed here")                     \
    X(HOLDS, "holds", "the cells of the region are known")                                         \
    X(STOPPED, "stopped", "every sub-lessee has stopped or run out")                               \
    X(RELEASED, "released", "the cell was released")                                               \
    X(YIELDED, "yielded", "the cell was given up: what serves it here does not come back")         \
    X(ACQUIRED, "acquired", "the cell was acquired")                                               \
    X(RETAKEN, "retaken", "the cell is held on under another epoch")                               \
    X(FOUNDED, "founded", "the cell was written for the first time")                               \
    X(RESEEDED, "reseeded", "the store was seeded anew")

enum fm_auth_why {
#define X(id, name, text) FM_AUTH_WHY_##id,
    FM_AUTH_WHYS(X)
#undef X
        FM_AUTH_WHY_COUNT
};

const char *fm_auth_why_name(enum fm_auth_why w);
const char *fm_auth_why_text(enum fm_auth_why w);

struct fm_auth_action {
    enum fm_auth_action_kind kind;
    enum fm_auth_why why;
    uint32_t op;
    uint8_t cell;
    struct fm_agent_id agent;
    struct fm_incarnation incarnation;
    struct fm_sub sub;
    int32_t ms;
    int64_t asked_ns;
    uint64_t cells;
    struct fm_epoch epoch;
    struct fm_members members;
};

struct fm_auth_actions {
    unsigned n;
    struct fm_mono wake; /* step a TICK at the latest then */
    struct fm_auth_action action[FM_AUTH_ACTIONS_MAX];
};

/* -------- state -------- */

#define FM_CHAIN_STATES(X)                                                                         \
    X(IDLE, "idle")         /* not in office */                                                    \
    X(LEARN, "learn")       /* reads the lease, to take it over */                                 \
    X(TAKE, "take")         /* its first renewal is on its way */                                  \
    X(HOLDINGS, "holdings") /* reads which cells the region holds */                               \
    X(HOLD, "hold")         /* renews and grants */                                                \
    X(DOUBT, "doubt")       /* a renewal failed: reads what became of the lease */

enum fm_chain_state {
#define X(id, name) FM_CHAIN_##id,
    FM_CHAIN_STATES(X)
#undef X
        FM_CHAIN_STATE_COUNT
};

const char *fm_chain_state_name(enum fm_chain_state s);

struct fm_seen_lease {
    struct fm_lease_at at;
    struct fm_mono since, since_before; /* seen at this revision; at the one before */
    uint16_t testified;                 /* of its sub-lessees, one bit each */
};

struct fm_seen_cell {
    struct fm_cell_at at;
    struct fm_mono since;
};

struct fm_auth_slot { /* a transaction on its way */
    bool busy;
    uint32_t op;
    uint8_t cell;
    enum fm_auth_why goal; /* RELEASED, RETAKEN, ... */
    struct fm_mono sent;
    struct fm_txn txn;
};

struct fm_grantee {
    struct fm_sub sub;
    struct fm_mono until; /* nothing that it was granted is live after this, by my clock */
    struct fm_mono asked;
    uint64_t stopped; /* cells that it acknowledged to have stopped */
    bool used;
};

struct fm_keeper {
    uint8_t state; /* enum fm_chain_state */
    uint32_t life;
    uint32_t need; /* of reads: see fm_authority.read_done */
    struct fm_mono lease_until, settled_at, renew_at, ask_at, stop_at;
    struct fm_mono shrink_at; /* a shorter lease than the recorded one may be recorded then */
    struct fm_auth_slot renewal, change;
    uint8_t nwant;
    struct fm_sub want[FM_SUBS_MAX]; /* to be recorded */
    struct fm_grantee grantee[FM_SUBS_MAX];
    uint64_t stopping, stopped; /* cells */
    uint64_t retake;            /* cells whose sub-lessees stopped for a keeper that is gone */
    struct fm_mono stop_wait[FM_AUTH_CELLS_MAX];
    uint8_t release_to[FM_AUTH_CELLS_MAX];
    uint64_t releasing, yielding;
    bool change_doubt;
    uint32_t change_need;
    bool members_wanted;
    struct fm_members members;
    bool recording; /* `evidence` is to be recorded over that revision of the cell */
    uint8_t recording_cell;
    struct fm_revision recording_over;
    struct fm_evidence evidence;
    struct fm_mono promise_until[FM_AGENTS_MAX];
};

struct fm_successor {
    uint64_t cells;     /* ordered */
    uint64_t automatic; /* of them: nobody was asked */
    uint64_t accepted;  /* of them: a person accepted that nothing bounds what is lost */
    uint16_t counted;   /* regions whose cells were counted against at-most, in this order */
    uint8_t counting;   /* the region that the transaction on its way counts */
    bool confirming, confirmed;
    bool unresolved; /* what slot.txn became is not known */
    uint32_t need, resolve_need;
    struct fm_mono retry_at;
    struct fm_auth_slot slot;
    uint8_t blocked; /* enum fm_auth_why, as said last */
};

struct fm_authority {
    struct fm_auth_config cfg;
    uint8_t region;
    /* the office */
    bool keeper, resolved;
    struct fm_revision keeper_revision;
    /* what was seen */
    struct fm_seen_lease lease[FM_AUTH_REGIONS_MAX];
    struct fm_seen_cell cell[FM_AUTH_CELLS_MAX];
    struct fm_budget_at budget;
    struct fm_mono spent_at[FM_BUDGET_SEEN_MAX]; /* when a unit was first seen spent */
    struct fm_view_at view;
    struct fm_revision whole; /* everything up to this revision of the store was seen */
    struct fm_marks marks;
    struct fm_marks floor; /* the marks when the read on its way was sent: it must show as much */
    bool marks_dirty, frozen;
    /* Without marks (a new host, a disk that was lost) a store that is not empty may be an older
     * copy, which those who have marks do not act upon. It is believed once somebody renews a lease
     * in it, or seeds it anew, between two linearizable reads. */
    bool unproven, has_base;
    struct fm_revision base[FM_AUTH_REGIONS_MAX]; /* of the leases, at the first read */
    struct fm_incarnation base_seed;
    /* linearizable reads: one at a time, numbered; who needs one waits for a number */
    uint32_t read_sent, read_done, read_wanted;
    bool reading;
    struct fm_mono read_retry;
    uint32_t next_op;
    /* promises given, by region of the holder */
    struct fm_mono given_until[FM_AUTH_REGIONS_MAX];
    struct fm_mono ready_at;        /* what an earlier life granted, promised or sent has run out */
    struct fm_auth_slot free_slot;  /* giving back a unit of the budget */
    struct fm_auth_slot found_slot; /* writing what never was */
    uint32_t found_need;
    struct fm_keeper k;
    struct fm_successor s;
};

/* `marks`: from the disk; NULL where there is none (a new host, or a disk that was lost). */
void fm_authority_init(struct fm_authority *a, const struct fm_auth_config *cfg,
                       const struct fm_marks *marks, struct fm_mono now);

void fm_authority_step(struct fm_authority *a, const struct fm_auth_event *e, struct fm_mono now,
                       struct fm_auth_actions *out);

/* Go by another L from the next grant on. A longer one is used when a renewal has recorded it; a
 * shorter one at once, and it is recorded when all that was granted under the longer one has run
 * out, so that observers never wait too short. Between two steps. */
void fm_authority_set_lease(struct fm_authority *a, int32_t lease_ms, int32_t renew_ms,
                            int32_t retry_ms, struct fm_mono now);

/* The transaction of a DO_COMMIT, valid until the next step. */
const struct fm_txn *fm_authority_txn(const struct fm_authority *a, uint32_t op);

struct fm_epoch fm_authority_epoch(const struct fm_authority *a, unsigned cell);

/* Cells that this region holds and may act for, as far as this agent knows, and until when: the
 * later of its lease and its promises (rule 11). */
uint64_t fm_authority_holds(const struct fm_authority *a);
struct fm_mono fm_authority_until(const struct fm_authority *a, struct fm_mono now);
struct fm_mono fm_authority_promised_until(const struct fm_authority *a, struct fm_mono now);

/* What keepers before this one granted has run out, so that it may let go of cells. */
bool fm_authority_is_settled(const struct fm_authority *a, struct fm_mono now);

/* Could this agent take the cell now if nobody held it, and if not, why? What an heir proves. */
enum fm_auth_why fm_authority_fit(const struct fm_authority *a, unsigned cell, struct fm_mono now);

/* May this agent acquire the cell now, and if not, why? */
enum fm_auth_why fm_authority_may_acquire(const struct fm_authority *a, unsigned cell,
                                          struct fm_mono now);

/* The sub-lessees that may have a live grant of this keeper, and how many. */
unsigned fm_authority_grantees(const struct fm_authority *a, struct fm_mono now,
                               struct fm_sub out[FM_SUBS_MAX]);
/* Is this one of them? */
bool fm_authority_grants_to(const struct fm_authority *a, struct fm_sub s, struct fm_mono now);

/* The lease of `region` cannot be live any more, by what this agent has seen. */
bool fm_authority_lapsed(const struct fm_authority *a, unsigned region, struct fm_mono now);

/* Automatic failovers of this context that are left in the window, by the record. */
unsigned fm_authority_budget_left(const struct fm_authority *a);

#endif
