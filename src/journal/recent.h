/* journal/recent.h: the newest keys of a journal, in memory: hash of a key -> numbers.
 *
 * Open addressing by the upper bits of the hash, so that whoever walks through the slots meets the
 * hashes in their order, but for neighbours that were in each other's way: what is moved to a
 * B-tree slice by slice touches each of its pages once. Of a fixed size, 32 bytes for each key that
 * it may hold. Private to src/journal; one thread at a time. */
#ifndef FM_JOURNAL_RECENT_H
#define FM_JOURNAL_RECENT_H

#include <stdbool.h>
#include <stdint.h>

struct fm_recent_slot {
    int64_t hash;
    uint64_t number; /* 0: free */
};

struct fm_recent {
    struct fm_recent_slot *slot;
    uint32_t max;  /* keys, those that were dropped included */
    uint32_t used; /* slots that are not free */
    uint32_t slots, slices;
    unsigned shift; /* from a hash to its slot */
};

/* For `max` keys, a power of two. False where there is no memory. */
bool fm_recent_init(struct fm_recent *r, uint32_t max);
void fm_recent_deinit(struct fm_recent *r);
void fm_recent_clear(struct fm_recent *r);

/* Not beyond `max`. A hash may have several numbers. */
void fm_recent_add(struct fm_recent *r, int64_t hash, uint64_t number);
/* False where it is not there. */
bool fm_recent_drop(struct fm_recent *r, int64_t hash, uint64_t number);

/* One number of a hash after the other. */
struct fm_recent_walk {
    int64_t hash;
    uint32_t at;
};
struct fm_recent_walk fm_recent_walk(const struct fm_recent *r, int64_t hash);
/* The next one, or 0. */
uint64_t fm_recent_next(const struct fm_recent *r, struct fm_recent_walk *w);

/* Slice i of `slices`: the hashes from *first to *last belong there, and in its slots stand those
 * and a few neighbours. */
void fm_recent_range(const struct fm_recent *r, uint32_t i, int64_t *first, int64_t *last);
/* The slots of slice i; numbers may be 0 or FM_RECENT_DROPPED. */
const struct fm_recent_slot *fm_recent_slice(const struct fm_recent *r, uint32_t i, uint32_t *n);
#define FM_RECENT_DROPPED UINT64_MAX

#endif
