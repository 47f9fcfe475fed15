/* core/group_order.h: what people order of one node of a PostgreSQL group: its data made anew
 * (REINIT), the node left to a person (MAINTAIN) and back (RESUME). Whether it may be is decided at
 * the node, by core/group.h, by the evidence of that moment; the keeper asks here first, with what
 * the nodes have said, so that what would be refused there is refused at once and with a reason.
 * Here is also how an order stands that the node was given; what the keeper tells its nodes by
 * itself, where replication to its region is broken (core/standby.h); and whether a node may come
 * into a group or go from it, which is no event of the node but a change of what hosts agree upon.
 *
 * Pure; values. An order is one of those three events of core/group.h. */
#ifndef FM_CORE_GROUP_ORDER_H
#define FM_CORE_GROUP_ORDER_H

#include "core/group.h"
#include "core/standby.h"

enum fm_group_order_no {
    FM_GROUP_ORDER_FINE,
    FM_GROUP_ORDER_NO_DATA,      /* the group has none yet */
    FM_GROUP_ORDER_NOT_LEFT,     /* RESUME: its agent looks after it */
    FM_GROUP_ORDER_WRITER,       /* it is the primary */
    FM_GROUP_ORDER_NO_SOURCE,    /* REINIT: nobody is open to be copied */
    FM_GROUP_ORDER_COMMITS_WAIT, /* ... and commits would wait until the copy is made */
    FM_GROUP_ORDER_LAST,         /* without it nobody else could be promoted */
    FM_GROUP_ORDER_FULL,         /* JOIN: the group has as many nodes as there can be */
    FM_GROUP_ORDER_NAMES         /* ... or had, and its agents still have a number for each */
};

struct fm_group_order_case {
    const struct fm_evidence *recorded; /* NULL: nothing is */
    const struct fm_group_report *node; /* what each of them has said */
    unsigned nnodes, which;
    bool waits; /* commits wait for each standby that counts, however long it takes */
    int64_t fresh_ms;
    /* JOIN */
    unsigned agreed; /* nodes that the group has, as hosts agree */
    unsigned names;  /* that were ever met of it here, of nodes that have gone among them */
    bool met;        /* this one's is among them */
};

/* Would the node refuse it, as far as is heard? */
enum fm_group_order_no fm_group_order_look(enum fm_group_event order,
                                           const struct fm_group_order_case *c, struct fm_mono now);

enum fm_group_order_standing {
    FM_GROUP_ORDER_UNDER_WAY,
    FM_GROUP_ORDER_DONE,
    FM_GROUP_ORDER_FAILED
};

/* May a node come in: is there a number for it, and somebody whom it would copy? `which` does not
 * matter. */
enum fm_group_order_no fm_group_order_may_join(const struct fm_group_order_case *c,
                                               struct fm_mono now);
/* May this one go? `confirmed`: a person says that nobody needs to be left who could be promoted.
 * The writer stays in any case. */
enum fm_group_order_no fm_group_order_may_leave(const struct fm_group_order_case *c, bool confirmed,
                                                struct fm_mono now);

/* What the keeper of that region tells this node now: ON, to receive nothing; OFF, to follow;
 * LEAVE: nothing. One that does so already is not told, nor one that is no standby, for whom it
 * would be an order for later. */
enum fm_standby_wish fm_group_order_apart(enum fm_standby_wish wish,
                                          const struct fm_group_report *node, unsigned region);

/* The agent of the node is asked again and again how an order stands. All 0: it was not yet. */
struct fm_group_order_asks {
    struct fm_mono since, last; /* it was asked, without a pause */
    struct fm_mono heard;       /* it answered last */
};

/* It is asked now. `silent_ms` is the longest that an answer takes, and that a pause may be. */
void fm_group_order_ask(struct fm_group_order_asks *a, int64_t silent_ms, struct fm_mono now);
/* Has it been asked for so long without an answer? Not who was not asked meanwhile. */
bool fm_group_order_is_silent(const struct fm_group_order_asks *a, int64_t silent_ms,
                              struct fm_mono now);

/* At the node: of an order that was not refused. */
enum fm_group_order_standing fm_group_order_stands(enum fm_group_event order,
                                                   const struct fm_group_node *g);

/* At a node that has come in, by what it says of itself: does it follow, and, if it is not delayed,
 * could it be promoted? */
enum fm_group_order_standing fm_group_order_joins(const struct fm_group_report *self);

#endif
