/* core/onward.h: commands that come to the wrong region's gate, where their route says `relay:
 * true` (SAFETY.md 13, 15, 20). May the gate pass one on, to whom, and under which epoch? And may
 * an edge that hears nothing of the holder's region send it to another region's gate for that?
 *
 * A relayed command is executed under the authority of the gate that it is passed on to, which
 * decides about it as about any other: it must hold the cell under the epoch that the command
 * carries. So nothing is decided by the gate in between but where it goes, once. Pure. */
#ifndef FM_CORE_ONWARD_H
#define FM_CORE_ONWARD_H

#include "core/answer.h"
#include "core/sublease.h"

struct fm_onward_case {
    bool route;           /* says `relay: true` */
    bool relayed;         /* it came from a gate that passed it on */
    enum fm_admit admit;  /* what this gate said of it */
    struct fm_epoch said; /* it was sent under; 0 = none was said */
    uint8_t region;       /* of this gate */
};

/* Pass it on to a gate of `*to`, under `*epoch`? Else the answer is what this gate said of it. */
bool fm_onward_goes(const struct fm_onward_case *c, const struct fm_sublease_cell *cell,
                    uint8_t *to, struct fm_epoch *epoch);

/* May its success, under `epoch`, go on to who asked this gate? Else the outcome is unknown. */
bool fm_onward_passes(const struct fm_sublease_cell *cell, struct fm_epoch epoch);

struct fm_round_case {
    bool route;     /* says `relay: true` */
    bool away;      /* this edge gives the holder's region nothing now */
    bool unheard;   /* nobody there has answered it, not even with a refusal */
    bool elsewhere; /* it goes somewhere else already: into a queue, or without authority */
    bool in_vain; /* this way was tried a moment ago, and nobody there reached the holder either */
};

/* At an edge: send a command of this cell to a gate of another region, under the cell's epoch? Not
 * around a region that says itself that it is not well. */
bool fm_onward_round(const struct fm_round_case *c, const struct fm_view_cell *cell);

#endif
