/* Arenas: see the header. The bytes between `cur` and `end` are never handed out twice before a
 * reset. Alignment is 16 bytes everywhere. */
#include "base/arena.h"

#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define FM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FM_ASAN 1
#endif
#endif
#ifdef FM_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum { ALIGN = 16, CHUNK = 16 * 1024 };

struct fm_arena_chunk {
    struct fm_arena_chunk *next;
    size_t size; /* of the whole chunk with this head */
};

_Static_assert(sizeof(struct fm_arena_chunk) % ALIGN == 0, "blocks start aligned");

static void use_first(struct fm_arena *a)
{
    uintptr_t at = (uintptr_t)a->first;
    size_t pad = (size_t)(-at & (ALIGN - 1));
    if (a->first && a->first_size > pad) {
        a->cur = a->first + pad;
        a->end = a->first + a->first_size;
        POISON(a->cur, (size_t)(a->end - a->cur));
    } else {
        a->cur = a->end = NULL;
    }
}

void fm_arena_init(struct fm_arena *a, void *mem, size_t size, size_t cap)
{
    FM_ASSERT(mem || size == 0);
    *a = (struct fm_arena){.first = mem, .first_size = size, .cap = cap};
    use_first(a);
}

static void free_chunks(struct fm_arena *a)
{
    while (a->chunks) {
        struct fm_arena_chunk *c = a->chunks;
        a->chunks = c->next;
        FM_ASSERT(c->size <= a->used);
        a->used -= c->size;
        UNPOISON(c, c->size);
        free(c);
    }
    FM_ASSERT(a->used == 0);
}

void fm_arena_reset(struct fm_arena *a)
{
    free_chunks(a);
    use_first(a);
}

void fm_arena_deinit(struct fm_arena *a)
{
    free_chunks(a);
    if (a->first)
        UNPOISON(a->first, a->first_size);
    *a = (struct fm_arena){0};
}

static bool grow(struct fm_arena *a, size_t n)
{
    FM_ASSERT(n % ALIGN == 0 && a->used <= a->cap);
    size_t size = sizeof(struct fm_arena_chunk) + n;
    if (size < CHUNK)
        size = CHUNK;
    if (size > a->cap - a->used)
        size = sizeof(struct fm_arena_chunk) + n; /* the last piece under the cap */
    if (size > a->cap - a->used)
        return false;
    struct fm_arena_chunk *c = malloc(size);
    if (!c)
        return false;
    c->next = a->chunks;
    c->size = size;
    a->chunks = c;
    a->used += size;
    FM_ASSERT(a->used <= a->cap);
    a->cur = (char *)(c + 1);
    a->end = (char *)c + size;
    POISON(a->cur, (size_t)(a->end - a->cur));
    return true;
}

void *fm_arena_alloc(struct fm_arena *a, size_t n)
{
    if (n > SIZE_MAX / 2)
        return NULL;
    size_t room = (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (room == 0)
        room = ALIGN;
    if (room > (size_t)(a->end - a->cur) && (a->cap == 0 || !grow(a, room)))
        return NULL;
    char *p = a->cur;
    a->cur += room;
    FM_ASSERT(a->cur <= a->end && (uintptr_t)p % ALIGN == 0);
    UNPOISON(p, n);
    memset(p, 0, n);
    return p;
}

void *fm_arena_array(struct fm_arena *a, size_t count, size_t size)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        return NULL;
    return fm_arena_alloc(a, n);
}

struct fm_str fm_arena_str(struct fm_arena *a, struct fm_str s)
{
    FM_ASSERT(s.p || s.n == 0);
    char *p = fm_arena_alloc(a, s.n + 1);
    if (!p)
        return (struct fm_str){NULL, 0};
    if (s.n)
        memcpy(p, s.p, s.n);
    return fm_str(p, s.n);
}

char *fm_arena_printf(struct fm_arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : fm_arena_alloc(a, (size_t)n + 1);
    if (p)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}
