/* tests/unit/journal/power.h: a SQLite VFS whose disk loses power.
 *
 * It stands in front of the system's. What a process reads back is always what it wrote (the page
 * cache), but what is on the disk is only what was synced, plus, at a cut, any part of what was
 * not: each write is kept, dropped, or kept in some of its sectors, in no order. A sync that failed
 * loses what it was to make durable though it can still be read, as Linux does.
 *
 * One journal at a time. The functions may be called from any thread. */
#ifndef FM_TESTS_JOURNAL_POWER_H
#define FM_TESTS_JOURNAL_POWER_H

#include <stdbool.h>
#include <stdint.h>

#define POWER_VFS "power"

void power_register(uint64_t seed);
/* Forget all files. */
void power_reset(void);

/* Off after so many writes and syncs (0: now): from then on everything fails and changes nothing.
 */
void power_off_after(uint32_t operations);
bool power_is_off(void);
/* The sync after so many others of the files whose names end so fails, once. */
void power_fail_sync_after(const char *ending, uint32_t syncs);

/* Put on the disk what a cut leaves, and switch on again. Nobody has the files open. */
void power_cut(void);
/* Of the last cut. */
struct power_cut {
    uint32_t kept, dropped, torn; /* writes that were not synced */
};
struct power_cut power_last_cut(void);

#endif
