/* coord/ask.h: what an owner of a file is asked, read from the JSON of a client. Pure; any thread.
 *
 * It is the part of etcd's gateway that coord/wire.h writes, and no more: transactions compare
 * revisions (MOD, EQUAL), write or erase single keys, and read single keys where they fail. The
 * bytes come from peers: what is not of this shape, or over a bound, is refused whole. */
#ifndef FM_COORD_ASK_H
#define FM_COORD_ASK_H

#include "base/arena.h"
#include "coord/coord.h"

enum fm_ask_kind {
    FM_ASK_RANGE,
    FM_ASK_TXN,
    FM_ASK_WATCH,
    FM_ASK_COMPACT,
    FM_ASK_STATUS,
    FM_ASK_KINDS
};

/* The path on which it is asked; FM_ASK_KINDS where there is no such thing. */
enum fm_ask_kind fm_ask_kind(struct fm_str path);

/* More than a transaction of coord.h has: it compares the stamp, too. */
enum { FM_ASK_OPS_MAX = FM_COORD_TXN_MAX + 1, FM_ASK_BODY_MAX = 4 << 20 };

/* All views look into the arena; keys are whole, with their prefix. */
struct fm_ask {
    struct fm_arena arena;
    enum fm_ask_kind kind;
    struct fm_str key, end; /* range and watch: end.n 0 = that key alone, else [key, end) */
    uint64_t revision;      /* watch: the first one wanted; compact: the bound */
    struct fm_coord_compare compare[FM_ASK_OPS_MAX];
    size_t ncompare;
    struct fm_coord_write write[FM_ASK_OPS_MAX];
    size_t nwrite;
    struct fm_str read[FM_ASK_OPS_MAX];
    size_t nread;
};

/* Either way to be freed. False: `why` says what is wrong with it. Every key lies under `prefix`;
 * one that does not is told by *other. */
bool fm_ask_read(struct fm_ask *a, enum fm_ask_kind kind, struct fm_str body, struct fm_str prefix,
                 const char **why, bool *other) FM_WARN_UNUSED;
void fm_ask_free(struct fm_ask *a);

#endif
