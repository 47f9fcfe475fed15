/* core/loss.h: what a PostgreSQL group has lost, or may have (SAFETY.md 27 to 29): one item for
 * each time that a node's log left the history that goes on. Single decisions and the way that two
 * versions of an item become one; the shell keeps them (agent/losses.h).
 *
 * An item begins PENDING, where a node opens a history without the consent of who wrote the one
 * before: nobody has looked at that one's log yet. The node that it is about looks, when it comes
 * back; or finds by itself that it has more than the primary. Its item is durable where the history
 * goes on before anything of its data is thrown away. Items only gain: what is known is never
 * forgotten for what is not, and a person's word stays.
 *
 * An item is named by the node, its timeline and the fork, which are its alone: a node leaves a
 * timeline once, and never comes back to it. Pure; values. Times are microseconds since 1970, by
 * the clock of who wrote them; 0 = not known. */
#ifndef FM_CORE_LOSS_H
#define FM_CORE_LOSS_H

#include "core/lineage.h"

#define FM_LOSS_UNBOUNDED UINT64_MAX

enum { FM_LOSS_NAME_ROOM = 64, FM_LOSS_WHY_ROOM = 160, FM_LOSS_TEXT_ROOM = 256 };

#define FM_LOSS_FOUNDS(X)                                                                          \
    X(PENDING, "pending")       /* nobody has looked */                                            \
    X(VOID, "void")             /* the history that it would have left was never opened */         \
    X(UNREADABLE, "unreadable") /* its log cannot be counted: `why` */                             \
    X(COUNTED, "counted")

/* In the order of what is known. */
enum fm_loss_found {
#define X(id, name) FM_LOSS_##id,
    FM_LOSS_FOUNDS(X)
#undef X
        FM_LOSS_FOUND_COUNT
};

#define FM_LOSS_ROWS(X)                                                                            \
    X(NONE, "none")       /* there is nothing to read, or nobody has tried */                      \
    X(UNKNOWN, "unknown") /* they cannot be read: `rows_why` */                                    \
    X(SOME, "some")       /* of some transactions, or not all that changed: `rows_why` */          \
    X(ALL, "all")         /* of each transaction */

/* In the order of what is known of its rows. */
enum fm_loss_rows {
#define X(id, name) FM_LOSS_ROWS_##id,
    FM_LOSS_ROWS(X)
#undef X
        FM_LOSS_ROWS_COUNT
};

enum fm_loss_state {
    FM_LOSS_OPEN,       /* a person has to look */
    FM_LOSS_NOTHING,    /* there was nothing */
    FM_LOSS_WRITTEN_OFF /* a person has looked */
};

const char *fm_loss_found_name(enum fm_loss_found f);
const char *fm_loss_rows_name(enum fm_loss_rows r);
const char *fm_loss_state_name(enum fm_loss_state s);

struct fm_loss {
    char node[FM_LOSS_NAME_ROOM];
    struct fm_timeline timeline; /* on which it wrote */
    struct fm_lsn fork;          /* behind which nobody else has it */
    uint64_t system_id;
    struct fm_epoch epoch; /* of the history that goes on; 0 = not known */
    uint64_t at_most;      /* bytes of what was acknowledged; FM_LOSS_UNBOUNDED = not known */
    uint8_t found;         /* enum fm_loss_found */
    /* COUNTED */
    struct fm_lsn end;
    uint64_t transactions, prepared;
    int64_t first_us, last_us;
    char why[FM_LOSS_WHY_ROOM];   /* UNREADABLE, VOID */
    char copy[FM_LOSS_TEXT_ROOM]; /* where that part of the log is, on the host of the node */
    int64_t pruned_us;            /* ... until then; 0 = it is there */
    int64_t seen_us;              /* when the item began */
    /* COUNTED: what is known of its rows */
    uint8_t rows;              /* enum fm_loss_rows */
    uint64_t decoded, changes; /* transactions of which they are known, and how many changed */
    uint64_t rows_bytes;       /* of the text that hosts keep; 0 = there is none */
    uint64_t rows_sum;         /* ... and what tells it from another */
    char rows_why[FM_LOSS_WHY_ROOM];
    /* written off */
    int64_t off_us;
    char off_by[FM_LOSS_NAME_ROOM], off_why[FM_LOSS_TEXT_ROOM];
};

/* A node asks for `to` to be recorded over what the cell holds: is there an item to be kept before?
 * True: another node wrote what was acknowledged so far, and it did not let go of it. */
bool fm_loss_is_due(const struct fm_cell_record *cell, const struct fm_evidence *to);

enum fm_loss_state fm_loss_state(const struct fm_loss *l);

bool fm_loss_is_same(const struct fm_loss *a, const struct fm_loss *b);

/* What both know. They are the same item. In any order, and however often, the same comes of it. */
struct fm_loss fm_loss_join(const struct fm_loss *a, const struct fm_loss *b);

/* Do both say the same, all of it? */
bool fm_loss_equals(const struct fm_loss *a, const struct fm_loss *b);

/* Is it known what there was, or has a person said that it does not matter? Then the data may go.
 */
bool fm_loss_is_settled(const struct fm_loss *l);

/* How much of its rows is known, where `decoded` of its transactions were found; `whole`: and all
 * of what they changed. */
enum fm_loss_rows fm_loss_rows_found(const struct fm_loss *l, uint64_t decoded, bool whole);

/* Does nobody need the copy of its log any more: was it written off, or was there nothing? */
bool fm_loss_may_prune(const struct fm_loss *l);

/* What a node knows of its own data. */
struct fm_loss_data {
    bool absent;                 /* there are none */
    struct fm_timeline timeline; /* that they are on; 0 = not known */
    bool forked; /* it is known where they left the history that counts: at `fork`, none: nowhere */
    bool looked; /* ... and what is behind it was looked into */
    struct fm_lsn fork;
};

/* What becomes of a pending item of that node: VOID, what it would have lost was never behind a
 * fork, or is an item of a later timeline, which the node went on to behind the same fork;
 * UNREADABLE, the data that it is about are not there any more, so nobody will ever look; or
 * nothing yet. An item that is not pending stays what it is. */
enum fm_loss_found fm_loss_settle(const struct fm_loss *l, const struct fm_loss_data *d);

#endif
