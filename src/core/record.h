/* core/record.h: what coordination holds (rule 2), and the one way it is changed: a transaction
 * that compares revisions and writes whole records. Plain values, nothing owned; the shell gives
 * them bytes. Times are durations in milliseconds: an instant of one host means nothing to another.
 *
 *   region/R/keeper   who renews the leases of region R
 *   lease/C/R         the lease of context C in region R
 *   cell/C/N          who holds cell N of context C
 *   budget/C          automatic failovers of C, spent and given back (the bound `at-most`)
 *   view              of which seed of the store this is, and the generation of the routing view
 *
 * Not in rule 2, and here for a reason: `life` of a lease (a dead lease that is made anew is
 * another one), `gentle_from` of a cell (which epochs ended by release, for the edge's check of
 * rule 13) and `budget` (docs/decisions/0010-authority.md). */
#ifndef FM_CORE_RECORD_H
#define FM_CORE_RECORD_H

#include "core/epoch.h"

enum { FM_AUTH_CELLS_MAX = 64, FM_SUBS_MAX = 16, FM_TXN_COMPARES_MAX = 6, FM_TXN_WRITES_MAX = 3 };

struct fm_keeper_record {
    struct fm_agent_id agent;
    struct fm_incarnation incarnation;
};

/* One that acts under a sub-lease: a gate or a database agent. A new start is a new one. */
struct fm_sub {
    uint16_t host;
    struct fm_incarnation incarnation;
};

struct fm_lease_record {
    struct fm_agent_id keeper;
    struct fm_incarnation incarnation; /* of the keeper */
    uint64_t counter;                  /* of renewals */
    uint32_t life;                     /* one more each time a dead lease is made anew */
    int32_t lease_ms;                  /* L, of every grant and promise under this lease */
    bool dead;
    uint8_t nsubs;
    struct fm_sub sub[FM_SUBS_MAX]; /* recorded before their first grant */
};

/* Only who holds a cell acts for it. Released: by a planned move, for one region, which has all of
 * its data. Yielded: by a keeper whose region does not serve it any more; who goes on may lack of
 * the data what a forced failover may lack. */
enum fm_cell_state { FM_CELL_HELD, FM_CELL_RELEASED, FM_CELL_YIELDED };

/* For PostgreSQL (rule 26, core/group.h); zeros elsewhere. It stays through changes of hands: what
 * was recorded under an earlier epoch is the history that the next holder goes on from. */
struct fm_evidence {
    uint64_t system_id, fork_lsn; /* of the history that counts; `timeline` began at that LSN */
    struct fm_epoch epoch;        /* the last one that a node claimed */
    uint32_t timeline;            /* acknowledgements were made on it */
    uint32_t claimed;             /* the highest that any node was given to promote to */
    uint32_t promotable;          /* nodes that bound what is acknowledged; one bit each */
    uint16_t node;                /* claimed `epoch`: its number + 1; 0 = nobody */
    uint16_t writer;              /* opened `timeline`, and has all of it; its number + 1 */
    uint64_t credit;   /* bytes that may be acknowledged beyond what each promotable node has
                          flushed (core/credit.h); FM_CREDIT_UNLIMITED: nothing enforces a bound */
    uint64_t holes_to; /* until this LSN commits may have been acknowledged that waited for nobody
                          (rule 24): `credit` holds for a node that has passed it; 0 = none */
    uint32_t near;     /* of the promotable ones: those for which it is 0, whatever `credit` says */
};

struct fm_cell_record {
    uint8_t region; /* holds it, or let go of it */
    uint8_t state;  /* enum fm_cell_state */
    uint8_t to;     /* released for this region; yielded: it is asked first */
    struct fm_epoch epoch;
    struct fm_epoch
        gentle_from;           /* every epoch from this one on, but the present, ended by release */
    struct fm_members members; /* who has to promise, and who may acquire */
    struct fm_epoch accepted;  /* taken by force at this one: a person accepted that nothing bounds
                                  what is lost; 0 = nobody did */
    struct fm_evidence evidence;
};

/* `spent` is counted in the transaction that acquires; whoever saw a unit spent for a whole window
 * of its own clock gives it back. So the bound needs no clock that is shared. */
struct fm_budget_record {
    uint32_t spent, freed;
};

struct fm_view_record {
    struct fm_incarnation incarnation; /* of the seed of the store */
    struct fm_generation generation;
};

/* -------- records as they were read -------- */

struct fm_keeper_at {
    struct fm_revision revision;
    struct fm_keeper_record r;
};
struct fm_lease_at {
    struct fm_revision revision;
    struct fm_lease_record r;
};
struct fm_cell_at {
    struct fm_revision revision;
    struct fm_cell_record r;
};
struct fm_budget_at {
    struct fm_revision revision;
    struct fm_budget_record r;
};
struct fm_view_at {
    struct fm_revision revision;
    struct fm_view_record r;
};

/* What was read for one context; the arrays are the caller's and need to live during the step. */
struct fm_snapshot {
    struct fm_revision store; /* of the whole store, when this was read */
    struct fm_view_at view;
    struct fm_keeper_at keeper; /* of one's own region */
    struct fm_budget_at budget;
    const struct fm_lease_at *lease; /* one a region */
    const struct fm_cell_at *cell;   /* one a cell */
    unsigned nregions, ncells;
};

/* -------- transactions -------- */

enum fm_record_kind {
    FM_RECORD_KEEPER, /* region */
    FM_RECORD_LEASE,  /* context, region */
    FM_RECORD_CELL,   /* context, cell */
    FM_RECORD_BUDGET, /* context */
    FM_RECORD_VIEW,
    FM_RECORD_KIND_COUNT
};

struct fm_record_key {
    uint8_t kind; /* enum fm_record_kind */
    uint8_t region;
    struct fm_cell_id id;
};

struct fm_compare {
    struct fm_record_key key;
    struct fm_revision revision; /* 0 = must be absent */
};

struct fm_write {
    struct fm_record_key key;
    union {
        struct fm_keeper_record keeper;
        struct fm_lease_record lease;
        struct fm_cell_record cell;
        struct fm_budget_record budget;
        struct fm_view_record view;
    } to;
};

struct fm_txn {
    uint8_t ncompare, nwrite;
    struct fm_compare compare[FM_TXN_COMPARES_MAX];
    struct fm_write write[FM_TXN_WRITES_MAX];
};

enum fm_txn_outcome { FM_TXN_DONE, FM_TXN_NOT_DONE, FM_TXN_UNKNOWN, FM_TXN_COUNT };

static inline void fm_txn_compare(struct fm_txn *t, struct fm_record_key key,
                                  struct fm_revision revision)
{
    FM_ASSERT(t->ncompare < FM_TXN_COMPARES_MAX && key.kind < FM_RECORD_KIND_COUNT);
    t->compare[t->ncompare++] = (struct fm_compare){key, revision};
}

/* The write to fill in. Every record that is written is compared, too (rule 2). */
static inline struct fm_write *fm_txn_write(struct fm_txn *t, struct fm_record_key key)
{
    FM_ASSERT(t->nwrite < FM_TXN_WRITES_MAX && key.kind < FM_RECORD_KIND_COUNT);
    t->write[t->nwrite].key = key;
    return &t->write[t->nwrite++];
}

/* Nothing that is recorded differs. */
static inline bool fm_evidence_same(const struct fm_evidence *a, const struct fm_evidence *b)
{
    return a->system_id == b->system_id && a->fork_lsn == b->fork_lsn &&
           fm_epoch_same(a->epoch, b->epoch) && a->timeline == b->timeline &&
           a->claimed == b->claimed && a->promotable == b->promotable && a->node == b->node &&
           a->writer == b->writer && a->credit == b->credit && a->holes_to == b->holes_to &&
           a->near == b->near;
}

static inline bool fm_sub_same(struct fm_sub a, struct fm_sub b)
{
    return a.host == b.host && fm_incarnation_same(a.incarnation, b.incarnation);
}

/* Did its present holder take it without the consent of the one before? A first holder did not. */
static inline bool fm_cell_was_forced(const struct fm_cell_record *c)
{
    return c->state == FM_CELL_HELD && c->epoch.n > 1 && fm_epoch_same(c->gentle_from, c->epoch);
}

/* May a node of PostgreSQL go on that does not bound what was acknowledged? By what a person
 * accepted, until a node has opened the data under it. */
static inline bool fm_cell_accepts_loss(const struct fm_cell_record *c)
{
    const struct fm_evidence *e = &c->evidence;
    bool opened = e->node && e->node == e->writer && !fm_epoch_newer(c->accepted, e->epoch);
    return c->accepted.n && !opened;
}

/* The region that has all of its data: the holder, or for whom it was released. */
static inline uint8_t fm_cell_owner(const struct fm_cell_record *c)
{
    return c->state == FM_CELL_RELEASED ? c->to : c->region;
}

/* -1 = it is not recorded. */
static inline int fm_lease_find_sub(const struct fm_lease_record *l, struct fm_sub s)
{
    FM_ASSERT(l->nsubs <= FM_SUBS_MAX);
    for (unsigned i = 0; i < l->nsubs; i++)
        if (fm_sub_same(l->sub[i], s))
            return (int)i;
    return -1;
}

#endif
