/* io/wheel.h: a hierarchical timing wheel (Varghese and Lauck, "Hashed and hierarchical timing
 * wheels", 1987), four levels of 256 slots with a tick of about a quarter of a millisecond.
 *
 * Setting and cancelling cost a few list operations. A timer never fires early and at most a tick
 * (plus the lateness of its loop) late; one that is further away than the wheel reaches (13 days)
 * goes round again. The owner of a timer owns its memory and must cancel it before it goes.
 * One thread. Pure but for the callbacks: time comes in as an argument. */
#ifndef FM_IO_WHEEL_H
#define FM_IO_WHEEL_H

#include "base/list.h"
#include "base/time.h"

enum { FM_WHEEL_LEVELS = 4, FM_WHEEL_SLOTS = 256, FM_WHEEL_TICK_BITS = 18 };

struct fm_timer {
    struct fm_list node;
    uint64_t tick;
    void (*fire)(struct fm_timer *t);
    uint16_t slot; /* level * SLOTS + index while set */
};

struct fm_wheel {
    uint64_t now; /* in ticks */
    uint64_t count;
    struct fm_list slot[FM_WHEEL_LEVELS * FM_WHEEL_SLOTS];
    uint64_t bits[FM_WHEEL_LEVELS][FM_WHEEL_SLOTS / 64]; /* which slots hold timers */
};

static inline void fm_timer_init(struct fm_timer *t, void (*fire)(struct fm_timer *))
{
    fm_list_init(&t->node);
    t->fire = fire;
}

static inline bool fm_timer_is_set(const struct fm_timer *t)
{
    return !fm_list_empty(&t->node);
}

void fm_wheel_init(struct fm_wheel *w, struct fm_mono now);

/* Set or move a timer. One that is due already fires at the next advance. FM_MONO_NEVER cancels. */
void fm_wheel_set(struct fm_wheel *w, struct fm_timer *t, struct fm_mono when);
void fm_wheel_cancel(struct fm_wheel *w, struct fm_timer *t);

/* Fire all that is due. Callbacks may set and cancel any timer, also their own. */
void fm_wheel_advance(struct fm_wheel *w, struct fm_mono now);

/* When to call advance next: not after the next timer is due, perhaps before. */
struct fm_mono fm_wheel_next(const struct fm_wheel *w);

#endif
