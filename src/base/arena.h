/* base/arena.h: memory that is freed all at once.
 *
 * Two uses with one set of calls: over a block of the caller's (no heap; a request), or growing
 * from the heap up to a cap (a configuration). What is returned is aligned to 16 bytes and zeroed,
 * and lives until fm_arena_reset or fm_arena_deinit; under ASan the rest is poisoned. A request
 * that does not fit returns NULL. One owner; not for several threads. */
#ifndef FM_BASE_ARENA_H
#define FM_BASE_ARENA_H

#include "base/str.h"

struct fm_arena_chunk;

struct fm_arena {
    char *cur, *end; /* free part of the current block */
    char *first;     /* the caller's block, or NULL */
    size_t first_size;
    struct fm_arena_chunk *chunks; /* from the heap, newest first */
    size_t used, cap;              /* bytes from the heap; 0 = never from the heap */
};

/* Over `mem` alone (cap 0), or also from the heap up to `cap` bytes. mem may be NULL. */
void fm_arena_init(struct fm_arena *a, void *mem, size_t size, size_t cap);
void fm_arena_reset(struct fm_arena *a);
void fm_arena_deinit(struct fm_arena *a);

void *fm_arena_alloc(struct fm_arena *a, size_t n) FM_WARN_UNUSED;
void *fm_arena_array(struct fm_arena *a, size_t count, size_t size) FM_WARN_UNUSED;

/* A terminated copy of s; p is NULL where it does not fit. */
struct fm_str fm_arena_str(struct fm_arena *a, struct fm_str s) FM_WARN_UNUSED;
char *fm_arena_printf(struct fm_arena *a, const char *fmt, ...) FM_PRINTF(2, 3) FM_WARN_UNUSED;

#define fm_arena_new(a, type) ((type *)fm_arena_alloc((a), sizeof(type)))

#endif
