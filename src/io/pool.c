/* The block pool. Slabs of about a quarter of a mebibyte are mapped on demand; pages that were
 * never written cost no memory. It does not shrink: the peak of in-flight requests stays mapped. */
#include "io/pool.h"

#include "base/assert.h"

#include <sys/mman.h>

enum { SLAB = 256 * 1024, COLOUR = 192, ALIGN = 64 };

struct fm_slab {
    struct fm_slab *next;
    size_t size;
};

#if !defined(__SANITIZE_ADDRESS__) && defined(__has_feature)
#if __has_feature(address_sanitizer) /* the way of clang to say it */
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(b)   ASAN_POISON_MEMORY_REGION((b)->data, (b)->size)
#define UNPOISON(b) ASAN_UNPOISON_MEMORY_REGION((b)->data, (b)->size)
#else
#define POISON(b)   ((void)(b))
#define UNPOISON(b) ((void)(b))
#endif

void fm_pool_init(struct fm_pool *p, size_t block_size, size_t blocks_max)
{
    FM_ASSERT(block_size > 0 && block_size <= UINT32_MAX / 2);
    *p = (struct fm_pool){.block_size = block_size, .blocks_max = blocks_max};
}

static size_t stride(const struct fm_pool *p)
{
    size_t n = sizeof(struct fm_block) + p->block_size;
    return ((n + ALIGN - 1) & ~(size_t)(ALIGN - 1)) + COLOUR;
}

static void add_slab(struct fm_pool *p)
{
    FM_ASSERT(p->blocks <= p->blocks_max && !p->free);
    size_t room = p->blocks_max - p->blocks;
    size_t count = SLAB / stride(p);
    if (count == 0)
        count = 1;
    if (count > room)
        count = room;
    if (count == 0)
        return;
    size_t size = ALIGN + count * stride(p);
    struct fm_slab *slab =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (slab == MAP_FAILED)
        return;
    slab->next = p->slabs;
    slab->size = size;
    p->slabs = slab;
    p->blocks += count;
    for (size_t i = count; i-- > 0;) {
        struct fm_block *b = (void *)((char *)slab + ALIGN + i * stride(p));
        b->size = (uint32_t)p->block_size;
        b->next = p->free;
        p->free = b;
        POISON(b);
    }
}

struct fm_block *fm_pool_get(struct fm_pool *p)
{
    FM_ASSERT(p->in_use <= p->blocks && p->blocks <= p->blocks_max);
    if (fm_unlikely(!p->free))
        add_slab(p);
    struct fm_block *b = p->free;
    if (fm_unlikely(!b))
        return NULL;
    p->free = b->next;
    p->in_use++;
    FM_ASSERT(b->size == p->block_size);
    UNPOISON(b);
    b->next = NULL;
    b->n = 0;
    return b;
}

void fm_pool_put(struct fm_pool *p, struct fm_block *b)
{
    FM_ASSERT(p->in_use > 0 && b->size == p->block_size && b->n <= b->size);
    FM_ASSERT(p->free != b); /* the likeliest way of giving one back twice */
    p->in_use--;
    POISON(b);
    b->next = p->free;
    p->free = b;
}

void fm_pool_deinit(struct fm_pool *p)
{
    FM_ASSERT(p->in_use == 0);
    while (p->slabs) {
        struct fm_slab *s = p->slabs;
        p->slabs = s->next;
        size_t size = s->size;
#if defined(__SANITIZE_ADDRESS__)
        ASAN_UNPOISON_MEMORY_REGION(s, size);
#endif
        munmap(s, size);
    }
    *p = (struct fm_pool){0};
}
