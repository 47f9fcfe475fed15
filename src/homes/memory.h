/* homes/memory.h: large pieces of memory for directories, internal to src/homes. Zeroed, aligned to
 * huge pages and backed by them where the kernel has some (fewer TLB misses: half of a look-up's
 * cost otherwise), and given back in steps so that nobody waits long for the address space. */
#ifndef FM_HOMES_MEMORY_H
#define FM_HOMES_MEMORY_H

#include "homes/tenants.h"

/* False where there is none. Costs address space only, until it is written to. */
bool fm_tenants_memory_get(struct fm_tenants_memory *m, size_t bytes) FM_WARN_UNUSED;
/* Give back what is behind the first `bytes`. */
void fm_tenants_memory_cut(struct fm_tenants_memory *m, size_t bytes);
void fm_tenants_memory_free(struct fm_tenants_memory *m);

#endif
