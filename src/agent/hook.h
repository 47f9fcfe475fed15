/* agent/hook.h: a command of the configuration that does something (and not only looks, as checks
 * do): run as a child with a time-out, the end of what it prints is kept. Private to src/agent.
 *
 * The owner embeds it; one run at a time; one loop. The child dies with this process: whatever is
 * run must be safe to be run again. */
#ifndef FM_AGENT_HOOK_H
#define FM_AGENT_HOOK_H

#include "io/process.h"

enum { FM_HOOK_OUTPUT_ROOM = 4096, FM_HOOK_WHY_ROOM = 320 };

struct fm_hook_run {
    const struct fm_str *argv; /* n of them, each with its terminator behind it */
    size_t n;
    int64_t timeout_ms;
    const char *const (*env)[2]; /* names and values, added to the environment; ends with NULL */
};

struct fm_hook {
    /* the owner's, set before the first run: it is over, and what is below says how. From the loop,
     * never from inside of fm_hook_start */
    void (*over)(struct fm_hook *h);
    /* of the last run */
    bool ok;
    int64_t took_ms;
    char why[FM_HOOK_WHY_ROOM];           /* how it ended, with the last of what it said, tame */
    char output[FM_HOOK_OUTPUT_ROOM + 1]; /* the end of what it printed, tame but for newlines */
    /* its own */
    struct fm_loop *loop;
    struct fm_child child;
    struct fm_timer soon; /* tells of what could not be started */
    struct fm_mono began;
    int64_t timeout_ms;
};

void fm_hook_init(struct fm_hook *h, struct fm_loop *l, void (*over)(struct fm_hook *h));
bool fm_hook_is_running(const struct fm_hook *h);
/* Not while it is running. What cannot be started has failed: `over` follows. */
void fm_hook_start(struct fm_hook *h, const struct fm_hook_run *r);
/* Kill what runs, with all of its process group; `over` does not follow. */
void fm_hook_stop(struct fm_hook *h);

#endif
