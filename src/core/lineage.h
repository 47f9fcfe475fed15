/* core/lineage.h: whose data are whose continuation, in a PostgreSQL failover group (SAFETY.md 23,
 * 26): histories of timelines, what nodes say of their data, and what the record of the cell may
 * say of them. Single decisions without a state; core/group.h is the machine that they serve, the
 * keeper and the quote ask them, too.
 *
 * A number of a timeline is claimed once, by compare-and-swap of the cell's record, before anybody
 * promotes to it: so two nodes with the same numbers in their histories have the same history.
 *
 * LSN 0 = not known. Nodes are numbered in the order of their names, the same for everybody. Pure;
 * values. */
#ifndef FM_CORE_LINEAGE_H
#define FM_CORE_LINEAGE_H

#include "core/credit.h"
#include "core/lsn.h"
#include "core/record.h"

enum { FM_GROUP_NODES_MAX = 16, FM_GROUP_NOBODY = 255 };

/* What a node says of itself, to the others and to the keeper. */
struct fm_group_report {
    struct fm_mono at; /* when it came, by my clock; 0 = never */
    /* by the file of who hears it, not by what it says */
    uint8_t region;
    uint8_t zone;          /* a number of its own for each zone of a region; 0 = not said */
    uint8_t rank;          /* among those that are equal: least first */
    uint8_t state;         /* enum fm_group_state */
    struct fm_epoch epoch; /* PRIMARY: the one that it is open under */
    uint64_t system_id;    /* 0 = it has no data */
    struct fm_timeline timeline;
    struct fm_lsn begins;        /* where its timeline began */
    bool recovery;               /* in recovery (or stopped as a standby) */
    bool streaming;              /* it receives from the primary */
    int64_t delay_ms;            /* it applies so much later on purpose: nobody counts on it */
    bool clean;                  /* stopped, by a shutdown checkpoint */
    struct fm_lsn flush;         /* received or written, and durable */
    struct fm_lsn replay;        /* applied */
    struct fm_lsn final;         /* clean: where the shutdown checkpoint's record *begins* */
    struct fm_lsn kept;          /* a primary that runs: the log before it is gone there */
    struct fm_credit_bound loss; /* PRIMARY: what would be lost with it at this moment */
    int64_t apart_ms; /* it receives nothing, on purpose, for so long by then; 0 = it is not so */
};

/* A planned move: has the heir flushed and applied everything that the old primary wrote, which was
 * stopped cleanly? FM_MOVE_ON_FINAL asks for it (rules 16, 26). */
bool fm_group_is_final(const struct fm_group_report *old, const struct fm_group_report *heir);

/* Was the record of a cell that a message brings changed before the one that is known? A store that
 * was seeded anew counts its revisions anew, and not its epochs. */
bool fm_group_is_outdated(const struct fm_cell_at *told, const struct fm_cell_at *known);

/* Is what is recorded a part of this history? */
bool fm_group_holds(const struct fm_history *h, const struct fm_evidence *recorded);

/* May this node count as promotable: in recovery on the recorded timeline, receiving, at most `lag`
 * behind `flushed` of the primary (none: no), and not delayed? */
bool fm_group_is_promotable(const struct fm_evidence *recorded, const struct fm_group_report *r,
                            struct fm_lsn flushed, uint64_t lag_max);

bool fm_group_is_fresh(const struct fm_group_report *r, int64_t fresh_ms, struct fm_mono now);

/* Where the recorded writer stands: what ended it may end others there; 0 = not known. */
unsigned fm_group_zone_of_writer(const struct fm_evidence *recorded,
                                 const struct fm_group_report *node, unsigned nnodes);

/* By LSN; then who does not stand in `zone`, that of the writer; then by rank and number. */
bool fm_group_has_more(const struct fm_group_report *a, unsigned number_a,
                       const struct fm_group_report *b, unsigned number_b, unsigned zone);

/* The node that has most among `mask`, of those whose history holds what is recorded and whose
 * report is at most fresh_ms old: as above. FM_GROUP_NOBODY. */
unsigned fm_group_most_advanced(const struct fm_evidence *recorded,
                                const struct fm_group_report *node, unsigned nnodes, uint32_t mask,
                                int64_t fresh_ms, struct fm_mono now);

/* Has this node what it takes to go on: does it follow without a delay, or has it stopped with all
 * that it wrote itself as the last one? */
bool fm_group_goes_on(const struct fm_evidence *recorded, const struct fm_group_report *r,
                      unsigned number);

/* A failover to a region, as it would be now. */
struct fm_group_takeover {
    bool ready;    /* somebody is there to be promoted, or there is nothing to be lost */
    unsigned node; /* who would be; FM_GROUP_NOBODY */
    struct fm_credit_bound bound; /* of what it may lack of what was acknowledged */
};

/* By what is heard of those of `mask`: the one that has most of those of the region that bound what
 * was acknowledged; where there is none, of all of them. `recorded` NULL: there are no data yet. */
struct fm_group_takeover fm_group_takeover(const struct fm_evidence *recorded,
                                           const struct fm_group_report *node, unsigned nnodes,
                                           uint32_t mask, unsigned region, int64_t fresh_ms,
                                           struct fm_mono now);

/* Failback: what the node of the home region lacks of what the primary has, in bytes. 0: it had all
 * that the primary had a moment ago, at `level_at` (0 = never), at most fresh_ms. UINT64_MAX: it is
 * not known, it has another history, or it is delayed. */
uint64_t fm_group_lag(const struct fm_group_report *primary, const struct fm_group_report *node,
                      struct fm_mono level_at, int64_t fresh_ms, struct fm_mono now);

/* Failback: does a node of that region, heard of late, count by what is recorded, or is it the one
 * that writes? It stays so while a move goes there. */
bool fm_group_counts_in(const struct fm_evidence *recorded, const struct fm_group_report *node,
                        unsigned nnodes, unsigned region, int64_t fresh_ms, struct fm_mono now);

/* A planned move to a region: how near its nearest node is to being able to go on with all of the
 * data, as far as is heard. From APART on it gets there by itself, or is let to; what is before
 * that does not pass by waiting for a moment. */
#define FM_GROUP_HEIRS(X)                                                                          \
    X(NO_DATA, "its PostgreSQL group has no data yet")                                             \
    X(NO_PRIMARY, "nothing is heard of its primary")                                               \
    X(AWAY, "its primary is not open")                                                             \
    X(NOBODY, "no node of the region is in its PostgreSQL group")                                  \
    X(SILENT, "nothing is heard of it")                                                            \
    X(LEFT, "it is left to a person")                                                              \
    X(DELAYED, "it is delayed on purpose")                                                         \
    X(NO_STANDBY, "it does not stand by")                                                          \
    X(DEAF, "it receives nothing from the primary")                                                \
    X(APART, "replication to it is broken on purpose")                                             \
    X(BEHIND, "it is behind")                                                                      \
    X(UNCOUNTED, "it follows, and is not recorded as promotable yet")                              \
    X(READY, "it follows closely, and is recorded as promotable")

enum fm_group_heir_is {
#define X(id, text) FM_GROUP_HEIR_##id,
    FM_GROUP_HEIRS(X)
#undef X
        FM_GROUP_HEIR_COUNT
};

const char *fm_group_heir_text(enum fm_group_heir_is h);

struct fm_group_heir {
    uint8_t is;    /* enum fm_group_heir_is */
    unsigned node; /* whom it is about: the primary, one of the region; FM_GROUP_NOBODY */
};

struct fm_group_heir fm_group_heir(const struct fm_evidence *recorded,
                                   const struct fm_group_report *node, unsigned nnodes,
                                   uint32_t members, unsigned region, uint64_t lag_max,
                                   int64_t fresh_ms, struct fm_mono now);
/* ... and is it worth to wait for a moment? */
static inline bool fm_group_heir_comes(const struct fm_group_heir *h)
{
    return h->is >= FM_GROUP_HEIR_APART;
}

/* Replication that is broken on purpose: the node for which it has been so for longest. What it
 * lacks grows from then on, and is no bound: the primary may have written more. */
struct fm_group_apart {
    unsigned node;  /* FM_GROUP_NOBODY: nowhere */
    int64_t ms;     /* for so long */
    uint64_t lacks; /* bytes that the primary was heard to have, and it has not */
};

struct fm_group_apart fm_group_apart(const struct fm_evidence *recorded,
                                     const struct fm_group_report *node, unsigned nnodes,
                                     struct fm_mono now);

/* How far what is kept of the log so that rows that get lost can be read may move on (rule 27): the
 * least place that is replayed, on the timeline of `self`, by those for whom acknowledged commits
 * wait; where they wait for nobody, by all `members`. None: that is not known of one of them, or
 * there is nobody. `self` is the primary, number `number` of `node`. */
struct fm_lsn fm_group_all_replayed(const struct fm_evidence *recorded,
                                    const struct fm_group_report *self, unsigned number,
                                    const struct fm_group_report *node, unsigned nnodes,
                                    uint32_t members);

/* What a node that has `flush` may lack of what was acknowledged, by nothing but the record and
 * itself (rule 23). The writer lacks nothing. */
struct fm_credit_bound fm_group_bound(const struct fm_evidence *recorded, unsigned node,
                                      struct fm_lsn flush);

/* May `to` be recorded over `old` for `epoch`? What the keeper looks at before it writes: one node
 * an epoch, timelines that only grow, a history that is claimed before it is opened. */
bool fm_group_may_record(const struct fm_evidence *old, const struct fm_evidence *to,
                         struct fm_epoch epoch);

#endif
