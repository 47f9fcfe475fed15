/* Large pieces of memory: see the header. */
#include "homes/memory.h"

#include "base/assert.h"
#include "homes/turn.h"

#include <sys/mman.h>

/* Unmapping holds a lock that other threads need for page faults and mappings, and a CPU: by 4 MiB
 * at a time they wait for well under a millisecond. */
enum { HUGE = 2 << 20, STEP = 4 << 20 };

static size_t rounded(size_t bytes)
{
    return (bytes + HUGE - 1) & ~(size_t)(HUGE - 1);
}

static void give_back(char *at, size_t bytes)
{
    struct fm_homes_turn turn = {FM_MONO_ZERO};
    FM_ASSERT((uintptr_t)at % 4096 == 0);
    for (size_t n; bytes; bytes -= n) {
        n = bytes < STEP ? bytes : STEP;
        int rc = munmap(at + bytes - n, n);
        FM_ASSERT(rc == 0);
        fm_homes_turn_over(&turn);
    }
}

bool fm_tenants_memory_get(struct fm_tenants_memory *m, size_t bytes)
{
    *m = (struct fm_tenants_memory){NULL, 0};
    if (bytes > SIZE_MAX / 2)
        return false;
    size_t want = rounded(bytes ? bytes : 1);
    char *p = mmap(NULL, want + HUGE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return false;
    size_t before = (size_t)(-(uintptr_t)p & (HUGE - 1));
    give_back(p, before);
    give_back(p + before + want, HUGE - before);
    /* no huge pages to be had is no error: it is only slower */
    (void)madvise(p + before, want, MADV_HUGEPAGE);
    *m = (struct fm_tenants_memory){p + before, want};
    return true;
}

void fm_tenants_memory_cut(struct fm_tenants_memory *m, size_t bytes)
{
    size_t keep = rounded(bytes ? bytes : 1);
    FM_ASSERT(m->at && keep <= m->bytes);
    give_back((char *)m->at + keep, m->bytes - keep);
    m->bytes = keep;
}

void fm_tenants_memory_free(struct fm_tenants_memory *m)
{
    if (m->at)
        give_back(m->at, m->bytes);
    *m = (struct fm_tenants_memory){NULL, 0};
}
