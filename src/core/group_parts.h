/* core/group_parts.h: what the rows of core/group.c ask of the evidence; see there. Private. */
#ifndef FM_CORE_GROUP_PARTS_H
#define FM_CORE_GROUP_PARTS_H

#include "core/group.h"

/* What is recorded; NULL: the cell was not seen, or it says nothing of a group yet. */
const struct fm_evidence *fm_group_recorded(const struct fm_group_evidence *ev);

/* The keeper has said stop, of the epoch that was granted. */
bool fm_group_is_told_to_stop(const struct fm_group_evidence *ev);

/* The sub-lease is live, and the record that was seen is of its epoch and region. */
bool fm_group_holds_cell(const struct fm_group_evidence *ev, struct fm_mono now);

/* ... and this node's claim of that epoch is recorded. */
bool fm_group_is_claimed(const struct fm_group_node *g, const struct fm_group_evidence *ev);

/* ... and so is the history that its PostgreSQL is on. */
bool fm_group_is_opened(const struct fm_group_node *g, const struct fm_group_evidence *ev);

/* Nothing of it lives, and nothing can be started. (What runs goes on: a promotion, and being the
 * primary, need no program.) */
bool fm_group_is_unable(const struct fm_group_evidence *ev);

/* May this node claim the epoch, or go on with its claim? */
bool fm_group_is_candidate(const struct fm_group_node *g, const struct fm_group_policy *p,
                           const struct fm_group_evidence *ev, struct fm_mono now);

/* Of the holder's region, which is this one, another node could claim an epoch that nobody has. */
bool fm_group_another_may_claim(const struct fm_group_node *g, const struct fm_group_policy *p,
                                const struct fm_group_evidence *ev, struct fm_mono now);

/* Stopped: may its data go on as those of a primary, without another promotion? */
bool fm_group_is_resumable(const struct fm_group_node *g, const struct fm_group_evidence *ev);

/* The node that opened the recorded history, if it is another one. */
unsigned fm_group_leader(const struct fm_group_node *g, const struct fm_group_evidence *ev);

/* The same, if it is open now, as it says. */
unsigned fm_group_source(const struct fm_group_node *g, const struct fm_group_policy *p,
                         const struct fm_group_evidence *ev, struct fm_mono now);

/* What this node wants recorded: its claim, its history, the standbys that bound its loss. */
struct fm_evidence fm_group_wanted(const struct fm_group_node *g,
                                   const struct fm_group_evidence *ev);

#endif
