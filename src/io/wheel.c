/* The timing wheel. Invariant: a timer in level l, slot i has tick >> (8 l) & 255 == i and lies
 * less than 256^(l+1) ticks ahead, so that walking level 0 and cascading at each wrap meets it in
 * time. */
#include "io/wheel.h"

#include "base/assert.h"

enum { SLOT_BITS = 8, SLOT_MASK = FM_WHEEL_SLOTS - 1 };
_Static_assert(1 << SLOT_BITS == FM_WHEEL_SLOTS, "a slot index is a byte of the tick");

void fm_wheel_init(struct fm_wheel *w, struct fm_mono now)
{
    *w = (struct fm_wheel){.now = (uint64_t)now.ns >> FM_WHEEL_TICK_BITS};
    for (size_t i = 0; i < FM_COUNT(w->slot); i++)
        fm_list_init(&w->slot[i]);
}

static void put(struct fm_wheel *w, struct fm_timer *t)
{
    FM_ASSERT(t->tick >= w->now && t->fire);
    uint64_t ahead = t->tick - w->now;
    unsigned level = 0;
    while (level < FM_WHEEL_LEVELS - 1 && ahead >> (SLOT_BITS * (level + 1)))
        level++;
    uint64_t reach = (UINT64_C(1) << (SLOT_BITS * FM_WHEEL_LEVELS)) - 1;
    uint64_t at = ahead > reach ? w->now + reach : t->tick;
    unsigned i = (unsigned)(at >> (SLOT_BITS * level)) & SLOT_MASK;
    FM_ASSERT(level < FM_WHEEL_LEVELS);
    t->slot = (uint16_t)(level * FM_WHEEL_SLOTS + i);
    fm_list_push_back(&w->slot[t->slot], &t->node);
    w->bits[level][i / 64] |= UINT64_C(1) << (i % 64);
}

static void take(struct fm_wheel *w, struct fm_timer *t)
{
    FM_ASSERT(t->slot < FM_COUNT(w->slot));
    fm_list_remove(&t->node);
    if (fm_list_empty(&w->slot[t->slot])) {
        unsigned i = t->slot & SLOT_MASK;
        w->bits[t->slot / FM_WHEEL_SLOTS][i / 64] &= ~(UINT64_C(1) << (i % 64));
    }
}

void fm_wheel_cancel(struct fm_wheel *w, struct fm_timer *t)
{
    if (!fm_timer_is_set(t))
        return;
    FM_ASSERT(w->count > 0);
    take(w, t);
    w->count--;
}

void fm_wheel_set(struct fm_wheel *w, struct fm_timer *t, struct fm_mono when)
{
    if (fm_mono_is_never(when)) {
        fm_wheel_cancel(w, t);
        return;
    }
    uint64_t ns = when.ns > 0 ? (uint64_t)when.ns : 0;
    uint64_t tick = (ns + (UINT64_C(1) << FM_WHEEL_TICK_BITS) - 1) >> FM_WHEEL_TICK_BITS;
    if (tick <= w->now)
        tick = w->now + 1; /* its slot is still to come */
    if (fm_timer_is_set(t)) {
        if (t->tick == tick)
            return;
        take(w, t);
        w->count--;
    }
    t->tick = tick;
    put(w, t);
    w->count++;
}

/* The distance from `from` (0..255) to the first occupied slot of a level, going round; from itself
 * counts as 256 away. 0 where the level is empty. */
static unsigned distance(const uint64_t bits[FM_WHEEL_SLOTS / 64], unsigned from)
{
    for (unsigned d = 1; d <= FM_WHEEL_SLOTS;) {
        unsigned i = (from + d) & SLOT_MASK;
        uint64_t word = bits[i / 64] >> (i % 64);
        if (word) {
            unsigned step = (unsigned)__builtin_ctzll(word);
            return d + step <= FM_WHEEL_SLOTS ? d + step : 0;
        }
        d += 64 - i % 64;
    }
    return 0;
}

static void cascade(struct fm_wheel *w)
{
    for (unsigned level = 1; level < FM_WHEEL_LEVELS; level++) {
        unsigned i = (unsigned)(w->now >> (SLOT_BITS * level)) & SLOT_MASK;
        struct fm_list due;
        fm_list_init(&due);
        fm_list_splice(&due, &w->slot[level * FM_WHEEL_SLOTS + i]);
        w->bits[level][i / 64] &= ~(UINT64_C(1) << (i % 64));
        while (!fm_list_empty(&due)) {
            struct fm_timer *t = fm_container_of(due.next, struct fm_timer, node);
            fm_list_remove(&t->node);
            put(w, t);
        }
        if (i != 0)
            break;
    }
}

static void fire_slot(struct fm_wheel *w)
{
    unsigned i = (unsigned)w->now & SLOT_MASK;
    struct fm_list *slot = &w->slot[i];
    while (!fm_list_empty(slot)) {
        struct fm_timer *t = fm_container_of(slot->next, struct fm_timer, node);
        FM_ASSERT(t->tick <= w->now);
        fm_wheel_cancel(w, t);
        t->fire(t);
    }
}

/* The tick before which nothing has to be done: the first occupied slot of any level begins there.
 * A wrap of a level whose next slot is empty has nothing to cascade. */
static uint64_t next_tick(const struct fm_wheel *w)
{
    uint64_t best = UINT64_MAX;
    for (unsigned level = 0; level < FM_WHEEL_LEVELS; level++) {
        uint64_t block = w->now >> (SLOT_BITS * level);
        unsigned d = distance(w->bits[level], (unsigned)block & SLOT_MASK);
        if (d)
            best = fm_min_u64(best, (block + d) << (SLOT_BITS * level));
    }
    return best;
}

void fm_wheel_advance(struct fm_wheel *w, struct fm_mono now)
{
    uint64_t target = (uint64_t)now.ns >> FM_WHEEL_TICK_BITS;
    while (w->now < target) {
        uint64_t next = next_tick(w);
        FM_ASSERT(next > w->now);
        if (next > target) {
            w->now = target;
            break;
        }
        w->now = next;
        if ((w->now & SLOT_MASK) == 0)
            cascade(w);
        fire_slot(w);
    }
}

struct fm_mono fm_wheel_next(const struct fm_wheel *w)
{
    if (w->count == 0)
        return FM_MONO_NEVER;
    uint64_t next = next_tick(w);
    FM_ASSERT(next != UINT64_MAX);
    return (struct fm_mono){(int64_t)(next << FM_WHEEL_TICK_BITS)};
}
