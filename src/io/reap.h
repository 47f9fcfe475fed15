/* io/reap.h: ending everything below a process that is a subreaper (prctl(2),
 * PR_SET_CHILD_SUBREAPER): those whose parents die become its children, so "nobody is left" is what
 * wait(2) says. Blocks; for processes that have nothing better to do. Needs /proc. */
#ifndef FM_IO_REAP_H
#define FM_IO_REAP_H

#include "base/bits.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Become the one that they are left to. IO: not here, or /proc does not name one's children. */
enum fm_err fm_reap_begin(struct fm_error *e) FM_WARN_UNUSED;

/* SIGKILL and reap until there is no child left. False where somebody cannot be reaped in time. */
bool fm_reap_all(int64_t within_ms);

#endif
