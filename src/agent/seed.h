/* agent/seed.h: the plan of a new seed of coordination (SAFETY.md 4): from what stands in the store
 * and what controllers say that they have seen, to the transactions that are to be written.
 *
 * fm_seed_new, then everything that was read (fm_seed_take) and everybody who answered
 * (fm_seed_hear), then fm_seed_refusal for what stands against it, fm_seed_make, and fm_seed_txn
 * one after the other. Each transaction compares what it writes, and `view`, with what was read;
 * the last one writes `view`, with which agents begin anew, and `reseed/INCARNATION`, the record of
 * who, why and when:
 *
 *   {"v":1,"by":"ann@west-1","reason":"etcd was restored","at":"2026-11-21T21:08:11.402Z",
 *    "overridden":["unreachable"],"silent":["north-1"]}
 *
 * What is computed is core's (core/reseed.h). No I/O; everything belongs to the plan until
 * fm_seed_free. `conf` outlives it. */
#ifndef FM_AGENT_SEED_H
#define FM_AGENT_SEED_H

#include "agent/records.h"
#include "agent/said.h"
#include "conf/conf.h"
#include "coord/coord.h"
#include "core/reseed.h"

enum { FM_SEED_TEXT_ROOM = 600 };

struct fm_seed_cell {
    struct fm_cell_at at; /* as it was read; revision 0: it is absent */
    bool writes;
    struct fm_cell_record to; /* after fm_seed_make, where it writes */
};

struct fm_seed_context {
    const struct fm_conf_context *conf;
    unsigned number; /* in the roster */
    struct fm_reseed seen;
    bool writes;
    struct fm_budget_at budget;
    struct fm_budget_record budget_to;
    struct fm_seed_cell cell[FM_AUTH_CELLS_MAX];
};

struct fm_seed;

struct fm_seed *fm_seed_new(const struct fm_conf *conf, struct fm_error *e) FM_WARN_UNUSED;
void fm_seed_free(struct fm_seed *s); /* NULL is fine */

/* For reading what controllers say: regions, contexts and agents of the file. */
const struct fm_roster *fm_seed_roster(const struct fm_seed *s);

/* A record of the store; what is none of ours is skipped. */
void fm_seed_take(struct fm_seed *s, const struct fm_coord_kv *kv);
/* A controller, and what it said; NULL where it did not answer. Once for each of the file. */
void fm_seed_hear(struct fm_seed *s, const struct fm_conf_host *host, const struct fm_said *said);

/* What stands against it. */
#define FM_SEED_RULES(X)                                                                           \
    X(UNREADABLE, "unreadable", false)  /* a record of the store cannot be read */                 \
    X(TWO_STORES, "two-stores", false)  /* a controller renews its lease in another one */         \
    X(UNREACHABLE, "unreachable", true) /* nobody answers for a region that may hold cells */      \
    X(NOT_FROZEN, "not-frozen", true)   /* nobody has seen more than the store shows */            \
    X(HOLDER_UNKNOWN, "holder-unknown", true) /* who held a cell under its newest epoch */

enum fm_seed_rule {
#define X(id, name, yields) FM_SEED_##id,
    FM_SEED_RULES(X)
#undef X
        FM_SEED_RULE_COUNT
};

const char *fm_seed_rule_name(enum fm_seed_rule rule);
/* It may be overridden by an operator. */
bool fm_seed_rule_yields(enum fm_seed_rule rule);

struct fm_seed_refusal {
    char evidence[FM_SEED_TEXT_ROOM], remedy[FM_SEED_TEXT_ROOM];
};
/* `store`: that which was read (fm_coord_store_id). False where the rule has nothing against it. */
bool fm_seed_refuses(const struct fm_seed *s, enum fm_seed_rule rule, uint64_t store,
                     struct fm_seed_refusal *out);

struct fm_seed_who {
    const char *by, *reason;
    int64_t wall_ns;
    unsigned overridden; /* one bit a rule */
};
/* Computes all that is to be written, once. Where a controller that may have seen more is silent,
 * numbers are raised by a margin. FM_ERR_LIMIT: a number, or a text, that no record can hold. */
enum fm_err fm_seed_make(struct fm_seed *s, const struct fm_seed_who *who,
                         struct fm_error *e) FM_WARN_UNUSED;

/* Of the new `view`. */
uint64_t fm_seed_incarnation(const struct fm_seed *s);
/* Contexts with cells, in the order of the file. */
unsigned fm_seed_ncontexts(const struct fm_seed *s);
const struct fm_seed_context *fm_seed_context(const struct fm_seed *s, unsigned i);

/* The i-th transaction; false past the last one. Its texts and arrays are the plan's, until the
 * next call. */
bool fm_seed_txn(struct fm_seed *s, unsigned i, struct fm_coord_txn *out);
/* Where nobody knows whether it was done: the write of it that tells. Its value differs from what
 * stood there, as that of a budget need not, and nobody else writes it before all is done. */
const struct fm_coord_write *fm_seed_proof(const struct fm_coord_txn *t);

#endif
