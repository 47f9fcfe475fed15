/* cli/warden.h: a command that may run only until a given time.
 *
 * A process of its own, the warden, starts the command as a process group, sends it SIGTERM at
 * `term_at` and SIGKILL to everything below it at `kill_at`, and reaps. Both times are moved on
 * from here; where this process dies, is stopped or hangs they are not, and the command ends. Where
 * the warden dies, the command is killed by the kernel (PR_SET_PDEATHSIG), and fm_warden_end kills
 * and reaps what it had started. Times are CLOCK_BOOTTIME: a machine that was suspended past
 * `kill_at` kills within some tens of milliseconds after it resumed. For one thread, without
 * others. */
#ifndef FM_CLI_WARDEN_H
#define FM_CLI_WARDEN_H

#include "base/err.h"
#include "base/time.h"

#include <sys/types.h>

struct fm_warden {
    pid_t pid;
    int fd;
};

struct fm_warden_times {
    struct fm_mono term_at, kill_at;
};

struct fm_warden_end {
    bool forced; /* it was told to end, or the warden died */
    bool left;   /* something below it could not be reaped */
    int status;  /* of wait(2), where it was not killed */
};

/* This process becomes a subreaper. `argv` ends with NULL. A program that cannot be started ends
 * with 127 (there is none) or 126, as in shells. */
enum fm_err fm_warden_start(struct fm_warden *w, char *const *argv, const struct fm_warden_times *t,
                            struct fm_error *e) FM_WARN_UNUSED;
void fm_warden_set(const struct fm_warden *w, const struct fm_warden_times *t);
/* Waits at most `ms`. True when nothing of it is left; `w` is done with. */
bool fm_warden_wait(struct fm_warden *w, int64_t ms, struct fm_warden_end *out);
/* Ends it now; for a warden that does not do its work. */
void fm_warden_end(struct fm_warden *w, struct fm_warden_end *out);

#endif
