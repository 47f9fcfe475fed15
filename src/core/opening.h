/* core/opening.h: may commands of a context begin, by its data? Where data follow the right to
 * write, that right comes first: the epoch is the fence (SAFETY.md 26). Then a primary is promoted
 * (core/group.h), or the commands of a provider are run (core/external.h), and so it is where a
 * primary crashed and starts again. What an application gets meanwhile it can only fail, or hang
 * upon, and edges that see it hang leave the whole region.
 *
 * So the keeper says with each sub-lease whether the data are open (struct fm_grant, `closed`):
 * databases act upon one that is closed, gates hold commands until it is not, and queries go on.
 * It is about order and never about safety: who is not told admits as if they were open.
 *
 * One that cannot know yet (UNHEARD) says that: a gate goes on as it was told of that epoch, while
 * its sub-lease lives (core/sublease.h).
 *
 * Nothing is remembered: each keeper, also one that has just begun, finds the same in the record of
 * the cell and in what the node that has claimed its epoch said last. That node is heard by the
 * posts that ask for its own sub-lease: where it is silent for longer than that lasts it has ended,
 * and its cell is given up (core/yield.h). Pure. */
#ifndef FM_CORE_OPENING_H
#define FM_CORE_OPENING_H

#include "core/external.h"
#include "core/group.h"

#define FM_OPENINGS(X)                                                                             \
    X(OPEN, "open", "")                                                                            \
    X(UNCLAIMED, "unclaimed", "no node of its PostgreSQL group is primary under its epoch yet")    \
    X(UNHEARD, "unheard", "nothing is heard yet of the node that is to be its primary")            \
    X(AWAY, "away", "its PostgreSQL primary is not open")                                          \
    X(HOOKS, "hooks", "its data are not open yet: see `fulmar group status`")

enum fm_opening {
#define X(id, name, text) FM_OPENING_##id,
    FM_OPENINGS(X)
#undef X
        FM_OPENING_COUNT
};

const char *fm_opening_name(enum fm_opening o);
const char *fm_opening_text(enum fm_opening o);

/* A PostgreSQL group. `heard`: the nodes whose reports are taken, one bit each; of others nothing
 * is known (they are not in the file any more), and nobody waits for them. Before there are data at
 * all nobody waits, either. */
enum fm_opening fm_opening_of_group(const struct fm_cell_record *c,
                                    const struct fm_group_report *node, unsigned nnodes,
                                    uint32_t heard);

/* Data that are moved by commands: what is recorded of the region, and the epoch that counts. */
enum fm_opening fm_opening_of_external(const struct fm_external_record *r, struct fm_epoch epoch);

#endif
