/* proxy/seats.h: what control and workers tell each other about the right to write, without locks.
 *
 * One seat per (context, cell) that only one region may hold. It holds what the view says of that
 * cell (core/answer.h), and at a gate the gate's sub-lease of it (core/sublease.h). Control
 * (one thread) publishes whole cells behind a sequence lock; workers copy one out on each command
 * and hand it to core. Workers count what is in flight *before* they read a cell, control reads the
 * counts *after* it published one (both in one total order), so that a command is either seen by
 * who drains, or has seen that it must not begin (SAFETY.md 16).
 *
 * Seats live as long as the process, by the name of their context, whatever reloads do: authority
 * does not restart with a configuration. Owned by whoever made them; freed after the workers ended.
 * Errors: FM_ERR_LIMIT past FM_SEATS_CONTEXTS_MAX names, FM_ERR_MEMORY. */
#ifndef FM_PROXY_SEATS_H
#define FM_PROXY_SEATS_H

#include "core/answer.h"
#include "core/sublease.h"
#include "io/mailbox.h"

#include <stdalign.h>

enum { FM_SEATS_CONTEXTS_MAX = 256, FM_SEAT_WORDS = 7, FM_SEATS_MESSAGE_ROOM = 256 };

/* One cell as it was published. */
struct fm_seat {
    alignas(FM_CACHELINE) _Atomic uint32_t sequence; /* odd while it is written */
    _Atomic uint64_t word[FM_SEAT_WORDS];
    alignas(FM_CACHELINE) _Atomic uint32_t in_flight; /* commands admitted, or being admitted */
    _Atomic uint64_t heard;                           /* the highest epoch that a command knew of */
};

struct fm_seats_context {
    char name[64];
    unsigned ncells;
    _Atomic bool read_only; /* an operator said so */
    _Atomic uint64_t lapsed_cells;
    /* What an operator tells those whose commands are refused; written as a cell is. */
    _Atomic uint32_t message_sequence;
    _Atomic uint64_t message[FM_SEATS_MESSAGE_ROOM / 8];
    struct fm_seat *seat; /* [ncells], then [ncells] for what views say */
};

struct fm_seats;

/* `wanted` runs on the loop of `control` after workers rang; it may be rung again meanwhile. */
struct fm_seats *fm_seats_new(struct fm_mailbox *control, void (*wanted)(void *user),
                              void *user) FM_WARN_UNUSED;
/* After the workers ended; the mailbox is open. */
void fm_seats_free(struct fm_seats *s);

/* The seats of this context; made where there are none yet. The number of cells of a name never
 * changes: another one is FM_ERR_STATE. Control only. */
enum fm_err fm_seats_context(struct fm_seats *s, struct fm_str name, unsigned ncells,
                             struct fm_seats_context **out, struct fm_error *e) FM_WARN_UNUSED;

/* -------- control -------- */

void fm_seats_publish_sublease(struct fm_seats_context *c, unsigned cell,
                               const struct fm_sublease_cell *s);
void fm_seats_publish_view(struct fm_seats_context *c, unsigned cell, const struct fm_view_cell *v);
/* Commands that were admitted and are not over; after a publication none begins that it forbids. */
uint32_t fm_seats_in_flight(const struct fm_seats_context *c, unsigned cell);
/* One's own region has found that the lease of the cell's holder has lapsed (rule 17), or not. */
void fm_seats_publish_lapsed(struct fm_seats_context *c, unsigned cell, bool lapsed);
/* The highest epoch that a worker met in a command; 0 = none. For fm_sublease_heard. */
struct fm_epoch fm_seats_heard(const struct fm_seats_context *c, unsigned cell);

/* Cut to what fits; empty = nothing to say. */
void fm_seats_publish_message(struct fm_seats_context *c, struct fm_str message);

/* -------- workers -------- */

/* Terminated. */
void fm_seats_read_message(const struct fm_seats_context *c, char out[FM_SEATS_MESSAGE_ROOM]);

void fm_seats_read_sublease(const struct fm_seats_context *c, unsigned cell,
                            struct fm_sublease_cell *out);
void fm_seats_read_view(const struct fm_seats_context *c, unsigned cell, struct fm_view_cell *out);
bool fm_seats_has_lapsed(const struct fm_seats_context *c, unsigned cell);
/* Around each command at a gate; enter is before the cell is read. */
void fm_seats_enter(struct fm_seats_context *c, unsigned cell);
void fm_seats_leave(struct fm_seats_context *c, unsigned cell);
/* A command knew of an epoch that is higher than what is published. Rings, too. */
void fm_seats_met(struct fm_seats *s, struct fm_seats_context *c, unsigned cell,
                  struct fm_epoch epoch);
/* What is published seems old: somebody should ask. Costs a load when it rings already. */
void fm_seats_ring(struct fm_seats *s);

#endif
