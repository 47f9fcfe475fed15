/* core/sublease.h: the gate's half of authority (SAFETY.md 5, 7, 13 to 15). One machine per gate
 * (or database agent) and context.
 *
 * It knows until when it may act for which cell and under which epoch; it admits commands, checks
 * again before a success is relayed, stops when its keeper says so, and never takes up again what
 * it stopped. A grant counts from the moment its request was sent. Whatever tells it of a higher
 * epoch (a view, a request's header) makes it hold: it is then not the holder any more, or not yet.
 * A grant may be closed: the region holds, and its data are not open; it is as good for a database.
 *
 * Pure; the structure is the caller's, about 3 KiB. `now` is CLOCK_BOOTTIME of this process. */
#ifndef FM_CORE_SUBLEASE_H
#define FM_CORE_SUBLEASE_H

#include "core/deadline.h"
#include "core/record.h"

#define FM_ADMITS(X)                                                                               \
    X(YES, "admitted")                                                                             \
    X(MOVING, "moving")         /* 421: hold it; nobody may take it now */                         \
    X(NOT_HOLDER, "not-holder") /* 421: another region, or another epoch, takes it */              \
    X(READ_ONLY, "read-only")                                                                      \
    X(DEADLINE, "deadline") /* its time had passed before it was looked at */

enum fm_admit {
#define X(id, name) FM_ADMIT_##id,
    FM_ADMITS(X)
#undef X
        FM_ADMIT_COUNT
};

const char *fm_admit_name(enum fm_admit a);

enum { FM_NOBODY = 255 };

/* One cell, small enough to be copied to who decides about a command. */
struct fm_sublease_cell {
    struct fm_mono until;       /* it may act before this */
    struct fm_mono quiet_until; /* new commands are held for a planned move */
    struct fm_epoch epoch;      /* granted */
    struct fm_epoch known;      /* the highest that was heard of */
    struct fm_epoch stopped;    /* never again at or below this one */
    struct fm_mono said;        /* when that was asked which the keeper has answered last, ... */
    bool closed;                /* ... and the data are not open: new commands are held */
    uint8_t holder;             /* of the known epoch; FM_NOBODY while it moves */
};

struct fm_sublease {
    uint8_t ncells, region;
    uint32_t rho_ppm;
    bool read_only;
    struct fm_sublease_cell cell[FM_AUTH_CELLS_MAX];
};

void fm_sublease_init(struct fm_sublease *s, uint8_t region, unsigned ncells, uint32_t rho_ppm);

struct fm_grant {
    int64_t asked_ns; /* this gate's own number from its request */
    int32_t ms;
    bool closed;  /* the data are not open (core/opening.h): databases act, gates hold commands */
    bool unheard; /* closed: the keeper does not know yet; what it has said of that epoch stays */
    uint64_t cells;
    const struct fm_epoch *epochs; /* one a cell */
};

void fm_sublease_granted(struct fm_sublease *s, const struct fm_grant *g, struct fm_mono now);

/* Stop these cells at these epochs, for good. Acknowledge what is returned. */
uint64_t fm_sublease_stop(struct fm_sublease *s, uint64_t cells, const struct fm_epoch *epochs);

/* Cells that were stopped at the epoch that is known: for the next request, so that a keeper that
 * took over learns of it. */
uint64_t fm_sublease_stopped(const struct fm_sublease *s);

/* Hold new commands of these cells for a planned move (rule 16), so long; 0 = no more. It ends by
 * itself: a keeper that dies leaves nothing held. */
void fm_sublease_quiet(struct fm_sublease *s, uint64_t cells, int32_t ms, struct fm_mono now);

/* What a view says of a cell; a holder of FM_NOBODY = it was released and is not yet acquired. */
void fm_sublease_saw(struct fm_sublease *s, unsigned cell, struct fm_epoch epoch, uint8_t holder);

struct fm_command {
    uint8_t cell;
    struct fm_epoch epoch; /* the one it was sent under; 0 = none was said */
    int64_t left_ns;       /* of its deadline, when it was sent on */
    int64_t age_ns;        /* since the kernel received it; negative = not known */
};

/* Who asks: its region, and whether it is in read-only mode. */
struct fm_gate_now {
    uint8_t region;
    bool read_only;
    struct fm_mono now;
};

/* May this command be executed now? (rule 13) A YES is under c->epoch. `higher`: the command knows
 * of an epoch that this gate does not; tell fm_sublease_heard, and ask the keeper. */
enum fm_admit fm_sublease_admit(const struct fm_sublease_cell *c, const struct fm_command *q,
                                const struct fm_gate_now *at, bool *higher);

/* Somebody knows of this epoch: where it is a higher one, this region holds, and asks. */
void fm_sublease_heard(struct fm_sublease *s, unsigned cell, struct fm_epoch epoch);

/* Is the authority of `epoch` live at this moment? The second check, before a success goes out; the
 * first one is made of it, too. */
bool fm_sublease_live(const struct fm_sublease_cell *c, struct fm_epoch epoch, struct fm_mono now);
static inline bool fm_sublease_may_relay(const struct fm_sublease_cell *c, struct fm_epoch epoch,
                                         struct fm_mono now)
{
    return FM_RULE(R13_RELAY, fm_sublease_live(c, epoch, now));
}

/* A loop that was away for so long closes its inbound connections before it parses (rule 14). */
static inline bool fm_sublease_parses(int64_t late_ns)
{
    return FM_RULE(R14_STALL, !fm_was_frozen(late_ns));
}

#endif
