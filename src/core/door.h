/* core/door.h: the door of a PostgreSQL group at a gate (SAFETY.md 25): which node a connection is
 * passed on to, whether it waits for one, and whether one that stands may go on.
 *
 * Whoever connects to the read-write listener gets the primary, under an epoch that this gate's own
 * sub-lease carries, and only in the region that holds the cell: a stamp does not reach across.
 * Whoever connects to the read-only listener gets the nearest standby within the bound of lag, else
 * the primary on the terms of the read-write listener. What waits for a move or a promotion waits
 * `hold_ms` at most, and is then refused.
 *
 * A node of another host is reached through the database agent there, which joins the connection
 * with PostgreSQL by the same rules, on its own sub-lease: who comes to it as a visit says what the
 * gate takes the node for, and is refused where that is not so. It does not wait there: the gate
 * does, and asks again.
 *
 * A session with a primary is bound to its epoch. Before bytes of a reply go out it is looked at
 * again: its epoch is over, or its node is something else by now, and it is reset; the sub-lease
 * has merely lapsed, and the bytes wait, until it is renewed under the same epoch or `hold_ms` have
 * gone. A reply that waited is still a true one then: nobody else can have held the cell meanwhile.
 *
 * Pure; values, nothing owned. Times in milliseconds unless they say otherwise. `now` is
 * CLOCK_BOOTTIME of this process. */
#ifndef FM_CORE_DOOR_H
#define FM_CORE_DOOR_H

#include "core/lineage.h"
#include "core/sublease.h"

enum {
    FM_DOOR_NODES_MAX = FM_GROUP_NODES_MAX,
    FM_DOOR_HERE = 0, /* on this host */
    FM_DOOR_ZONE = 1, /* on another one of this zone */
    FM_DOOR_NEAR = 2, /* ... of this region */
    FM_DOOR_NO_WAY = 255,
};

/* Of a node, by its host, region and zone. A stamp does not reach across: another region's nodes,
 * its standbys too, are for the gates there. */
static inline unsigned fm_door_distance(bool same_host, bool same_region, bool same_zone)
{
    unsigned there = same_zone ? FM_DOOR_ZONE : FM_DOOR_NEAR;
    return same_host ? FM_DOOR_HERE : same_region ? there : FM_DOOR_NO_WAY;
}

/* ... as it is now. `known`: its address is. `gone`: it is none of the group's nodes any more; a
 * primary goes on until the group was moved, and so do its clients. */
static inline unsigned fm_door_way(unsigned distance, bool known, bool gone, bool primary)
{
    return known && (!gone || primary) ? distance : FM_DOOR_NO_WAY;
}

enum fm_door_kind { FM_DOOR_READ_WRITE, FM_DOOR_READ_ONLY, FM_DOOR_KIND_COUNT };

const char *fm_door_kind_name(enum fm_door_kind k);

enum fm_door_role {
    FM_DOOR_AWAY, /* stopped, starting, rewinding, or not heard of */
    FM_DOOR_PRIMARY,
    FM_DOOR_STANDBY,
};

/* Why somebody is not passed on: name, SQLSTATE (PostgreSQL, appendix A), text. 57P03 is the one
 * that makes libpq try the next host of a DSN. */
#define FM_DOOR_WHYS(X)                                                                            \
    X(NONE, "none", "00000", "nothing stands against it")                                          \
    X(MOVING, "moving", "57P03", "it is moving, or nobody is known to hold it")                    \
    X(ELSEWHERE, "elsewhere", "57P03", "another region holds it")                                  \
    X(NO_PRIMARY, "no-primary", "57P03", "its primary is not open yet")                            \
    X(NO_WAY, "no-way", "57P03", "this gate has no way to its primary")                            \
    X(NO_STANDBY, "no-standby", "57P03", "no standby is near and up to date")                      \
    X(NO_ANSWER, "no-answer", "57P03", "its node takes no connections")                            \
    X(READ_ONLY, "read-only", "25006", "an operator lets nobody write")                            \
    X(FULL, "full", "53300", "this gate has too many connections")                                 \
    X(ENDING, "ending", "57P01", "this gate is stopping")                                          \
    X(EPOCH_OVER, "epoch-over", "57P01", "the right to write has moved on")                        \
    X(ROLE_CHANGED, "role-changed", "57P01", "the node is something else by now")                  \
    X(LAPSED, "lapsed", "57P01", "the right to write was not renewed in time")

enum fm_door_why {
#define X(id, name, state, text) FM_DOOR_WHY_##id,
    FM_DOOR_WHYS(X)
#undef X
        FM_DOOR_WHY_COUNT
};

const char *fm_door_why_name(enum fm_door_why w);
const char *fm_door_why_state(enum fm_door_why w);
const char *fm_door_why_text(enum fm_door_why w);

/* A node of the group, as its agent told of it at `seen`. */
struct fm_door_node {
    uint8_t role;          /* enum fm_door_role */
    uint8_t distance;      /* fm_door_distance */
    struct fm_epoch epoch; /* of a primary: it is open under this one */
    int64_t lag_ms;        /* of a standby: how old what it has replayed is; negative: not known */
    struct fm_mono seen;
};

struct fm_door_policy {
    int64_t hold_ms;     /* the longest wait */
    int64_t read_lag_ms; /* of a standby that readers get */
};

/* All that decides, as the gate knows it. */
struct fm_door_view {
    struct fm_sublease_cell cell; /* the gate's own right */
    uint8_t region;               /* the gate's */
    bool read_only;               /* an operator said so */
    uint8_t nnodes;
    struct fm_door_node node[FM_DOOR_NODES_MAX];
    struct fm_door_policy policy;
};

/* -------- who comes -------- */

struct fm_door_ask {
    enum fm_door_kind kind;
    uint32_t failed;     /* nodes that did not take this connection, one bit each */
    uint32_t busy;       /* those that take no other one at this moment: it waits for its turn */
    uint32_t salt;       /* of who asks: spreads readers over equal standbys */
    struct fm_mono came; /* when it began to wait */
};

enum fm_door_verdict { FM_DOOR_CONNECT, FM_DOOR_HOLD, FM_DOOR_REFUSE };

struct fm_door_choice {
    enum fm_door_verdict verdict;
    enum fm_door_why why;  /* it waits, or is refused */
    uint8_t node, role;    /* it is passed on to: a node as it is now */
    struct fm_epoch epoch; /* ... of a primary */
};

struct fm_door_choice fm_door_choose(const struct fm_door_view *v, const struct fm_door_ask *a,
                                     struct fm_mono now);

/* A gate of another host passes a connection on to the node of this one, which it takes for this.
 */
struct fm_door_visit {
    uint8_t role;          /* primary or standby */
    struct fm_epoch epoch; /* of a primary */
};

/* Connect, or refuse. */
struct fm_door_choice fm_door_receive(const struct fm_door_view *v, const struct fm_door_visit *x,
                                      struct fm_mono now);

/* Does the listener take connections at all? Where no node can be reached none does, and where
 * another region is known to hold the cell the read-write one does not: a client then goes on to
 * the next host of its DSN, with TLS or without, which no answer of PostgreSQL's protocol can make
 * all of them do. */
bool fm_door_listens(const struct fm_door_view *v, enum fm_door_kind kind, struct fm_mono now);

/* -------- who is there -------- */

struct fm_door_session {
    uint8_t node, role; /* as it was chosen */
    struct fm_epoch epoch;
    struct fm_mono waits; /* since when its bytes wait; FM_MONO_NEVER: they do not */
};

enum fm_door_pass { FM_DOOR_PASS, FM_DOOR_WAIT, FM_DOOR_RESET };

/* May bytes of this session go out now? `why` is set for a reset. */
enum fm_door_pass fm_door_passes(const struct fm_door_view *v, const struct fm_door_session *s,
                                 struct fm_mono now, enum fm_door_why *why);

/* -------- what nodes report -------- */

/* Where the primary was at which time, to tell how old is what a standby has applied: positions say
 * how much it lacks, not since when. One of a group; some 400 bytes. */
enum { FM_DOOR_TIDE = 16, FM_DOOR_TIDE_MS = 100 };

struct fm_door_tide {
    unsigned n, at; /* ring: `at` is the next to be written */
    struct {
        struct fm_lsn flush;
        struct fm_mono seen;
    } mark[FM_DOOR_TIDE];
};

/* A primary was there, as it said itself: it flushes nothing below that later. */
void fm_door_tide_rises(struct fm_door_tide *t, struct fm_lsn flush, struct fm_mono now);

/* The node as a door sees it, from what its agent last said. One that is delayed on purpose is
 * away. A standby is as old as the newest mark that it has applied; not known where it has applied
 * none. */
struct fm_door_node fm_door_node_of(const struct fm_group_report *r, const struct fm_door_tide *t,
                                    unsigned distance);

#endif
