/* io/pool.h: a bounded pool of equal blocks to receive into.
 *
 * One owner thread. Blocks come from the operating system in slabs, are handed out last in first
 * out (the warmest first) and are never given back before fm_pool_deinit. A connection holds a
 * block only while it holds bytes, so idle connections cost none. Blocks are spaced so that equal
 * offsets of different blocks do not share cache sets. */
#ifndef FM_IO_POOL_H
#define FM_IO_POOL_H

#include "base/bits.h"

struct fm_block {
    struct fm_block *next; /* in the pool, or the owner's */
    uint32_t size;         /* of data */
    uint32_t n;            /* the owner's: bytes in use */
    char data[];
};

struct fm_pool {
    struct fm_block *free;
    size_t block_size; /* of data */
    size_t blocks, blocks_max, in_use;
    struct fm_slab *slabs;
};

/* Allocates nothing yet. */
void fm_pool_init(struct fm_pool *p, size_t block_size, size_t blocks_max);
/* Every block must be back. */
void fm_pool_deinit(struct fm_pool *p);

/* NULL at the bound or out of memory: shed something. `n` is 0. */
struct fm_block *fm_pool_get(struct fm_pool *p) FM_WARN_UNUSED;
void fm_pool_put(struct fm_pool *p, struct fm_block *b);

#endif
