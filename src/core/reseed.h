/* core/reseed.h: what a store of coordination is seeded with after it went back to an older copy
 * (SAFETY.md 4; docs/decisions/0010): one of these a context, fed with what stands in the store and
 * with the marks that agents have on their disks.
 *
 * A seed gives nothing to anybody by itself. Every cell is released for the region that held it by
 * the newest that is known, under an epoch above all that was ever seen or stored, so that nothing
 * of before counts; that region acquires it after everybody has waited a lease. The automatic
 * failovers of the window count as used up, since what was spent after the copy was made is not in
 * it. Agents begin anew when they see the record `view` with a higher incarnation: whoever writes
 * all this writes that last.
 *
 * Where somebody who may have seen more could not be asked, numbers are raised by a margin that no
 * region reaches unseen. Pure; values, nothing owned. */
#ifndef FM_CORE_RESEED_H
#define FM_CORE_RESEED_H

#include "core/authority.h"

/* Timelines of PostgreSQL that may have been given out since the copy was made. */
enum { FM_RESEED_MARGIN = 1000, FM_RESEED_TIMELINES = 16 };

struct fm_reseed_cell {
    struct fm_epoch most;   /* that was seen or stored; 0 = nothing was */
    struct fm_epoch stored; /* 0 = the record is absent */
    struct fm_epoch known;  /* the newest one of which it is known who held it */
    uint8_t holder;         /* under that: its region + 1; 0 = nobody knows */
};

struct fm_reseed {
    uint8_t ncells;
    struct fm_incarnation incarnation; /* the highest one of a seed that was seen */
    struct fm_reseed_cell cell[FM_AUTH_CELLS_MAX];
};

void fm_reseed_init(struct fm_reseed *s, unsigned ncells);
/* A record of the store. */
void fm_reseed_stored(struct fm_reseed *s, unsigned cell, const struct fm_cell_record *r);
/* What an agent has seen, whether it lives or not. */
void fm_reseed_seen(struct fm_reseed *s, const struct fm_marks *m);

/* Somebody has seen a higher epoch than the store shows. */
bool fm_reseed_is_behind(const struct fm_reseed *s, unsigned cell);
/* It is known who held the cell under the newest epoch. */
bool fm_reseed_is_sure(const struct fm_reseed *s, unsigned cell);

/* The record to write: *r is what is stored, or what is new with its members, and stays as it is
 * but for who holds it, and whose data count in a group of PostgreSQL nodes: a person says so anew.
 * `home`: for whom, where nobody knows. */
void fm_reseed_write_cell(const struct fm_reseed *s, unsigned cell, uint8_t home, bool margin,
                          struct fm_cell_record *r);
struct fm_budget_record fm_reseed_budget(struct fm_budget_record stored, uint8_t at_most);
/* `most`: of all contexts. */
struct fm_view_record fm_reseed_view(struct fm_view_record stored, struct fm_incarnation most,
                                     bool margin);

#endif
