/* See the header. Invariants: from the place of a hash to the slot where it stands none is free, so
 * a search ends at the first free one; at most half of the slots are used, so there is one. */
#include "journal/recent.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

enum { SLICE = 512, SLICES_LEAST = 16, MAX_MAX = 1 << 30 };

static uint32_t slice_of(const struct fm_recent *r)
{
    return r->slots / r->slices;
}

bool fm_recent_init(struct fm_recent *r, uint32_t max)
{
    FM_ASSERT(max >= 1 && max <= MAX_MAX && (max & (max - 1)) == 0);
    *r = (struct fm_recent){.max = max, .slots = 2 * max};
    r->slices = r->slots > SLICES_LEAST * SLICE ? r->slots / SLICE : SLICES_LEAST;
    r->slices = r->slices < r->slots ? r->slices : r->slots;
    r->shift = 63 - (unsigned)__builtin_ctz(max); /* 64 less the bits of a slot's place */
    r->slot = calloc(r->slots, sizeof *r->slot);
    return r->slot != NULL;
}

void fm_recent_deinit(struct fm_recent *r)
{
    free(r->slot);
    *r = (struct fm_recent){0};
}

void fm_recent_clear(struct fm_recent *r)
{
    if (r->used)
        memset(r->slot, 0, r->slots * sizeof *r->slot);
    r->used = 0;
}

/* In the order of hashes as SQLite has them: signed. */
static uint32_t place_of(const struct fm_recent *r, int64_t hash)
{
    return (uint32_t)(((uint64_t)hash ^ (UINT64_C(1) << 63)) >> r->shift);
}

static uint32_t after(const struct fm_recent *r, uint32_t at)
{
    FM_ASSERT(at < r->slots);
    return (at + 1) & (r->slots - 1);
}

void fm_recent_add(struct fm_recent *r, int64_t hash, uint64_t number)
{
    FM_ASSERT(r->used < r->max && number > 0 && number < FM_RECENT_DROPPED);
    uint32_t at = place_of(r, hash);
    while (r->slot[at].number)
        at = after(r, at);
    r->slot[at] = (struct fm_recent_slot){hash, number};
    r->used++;
}

bool fm_recent_drop(struct fm_recent *r, int64_t hash, uint64_t number)
{
    FM_ASSERT(number > 0 && number < FM_RECENT_DROPPED);
    for (uint32_t at = place_of(r, hash); r->slot[at].number; at = after(r, at))
        if (r->slot[at].number == number && r->slot[at].hash == hash) {
            r->slot[at].number = FM_RECENT_DROPPED; /* not free: others stand behind it */
            return true;
        }
    return false;
}

struct fm_recent_walk fm_recent_walk(const struct fm_recent *r, int64_t hash)
{
    return (struct fm_recent_walk){hash, place_of(r, hash)};
}

uint64_t fm_recent_next(const struct fm_recent *r, struct fm_recent_walk *w)
{
    while (r->slot[w->at].number) {
        const struct fm_recent_slot *s = &r->slot[w->at];
        w->at = after(r, w->at);
        if (s->hash == w->hash && s->number != FM_RECENT_DROPPED)
            return s->number;
    }
    return 0;
}

void fm_recent_range(const struct fm_recent *r, uint32_t i, int64_t *first, int64_t *last)
{
    const uint64_t half = UINT64_C(1) << 63, from = (uint64_t)i * slice_of(r);
    FM_ASSERT(i < r->slices);
    *first = (int64_t)((from << r->shift) ^ half);
    *last = (int64_t)((((from + slice_of(r)) << r->shift) - 1) ^ half); /* of the last one: wraps */
    FM_ASSERT(*first < *last);
}

const struct fm_recent_slot *fm_recent_slice(const struct fm_recent *r, uint32_t i, uint32_t *n)
{
    FM_ASSERT(i < r->slices);
    *n = slice_of(r);
    return r->slot + (size_t)i * *n;
}
