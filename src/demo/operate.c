/* What an operator types, typed by the demonstration: the command itself runs, as a child. */
#include "demo/stage.h"

#include "base/assert.h"

#include <stdio.h>
#include <string.h>

enum { MOVE_MS = 20000, OUTPUT_MAX = 2048, LAST_MS = 1000 };

struct command {
    struct fm_child child;
    bool over;
    int status;
    struct fm_mono ended;
    char output[OUTPUT_MAX];
};

static void exited(struct fm_child *c, int status)
{
    struct command *k = fm_container_of(c, struct command, child);
    k->over = true;
    k->status = status;
    k->ended = fm_mono_now();
}

static struct command *running; /* the one that until_over waits for */

static bool is_over(struct fm_demo *d)
{
    (void)d;
    return running->over;
}

bool fm_operate_move(struct fm_demo *d, const char *context, unsigned to, const char *cells,
                     double *took_ms)
{
    static struct command k; /* one at a time; large */
    struct fm_world *w = &d->world;
    char *argv[] = {w->fulmar,
                    (char *)(uintptr_t) "move",
                    (char *)(uintptr_t)context,
                    (char *)(uintptr_t) "--to",
                    w->region[to].name,
                    (char *)(uintptr_t) "--reason",
                    (char *)(uintptr_t) "demonstration",
                    (char *)(uintptr_t) "-c",
                    w->config,
                    (char *)(uintptr_t) "--host",
                    w->region[to].process[FM_WORLD_AGENT].name,
                    cells ? (char *)(uintptr_t) "--cells" : NULL,
                    (char *)(uintptr_t)cells,
                    NULL};
    FM_ASSERT(to < w->nregions && !running);
    memset(&k, 0, sizeof k);
    struct fm_child_options o = {.argv = argv,
                                 .out_fd = -1,
                                 .err_fd = -1,
                                 .output = k.output,
                                 .output_cap = sizeof k.output - 1,
                                 .timeout_ms = MOVE_MS};
    struct fm_mono began = fm_mono_now();
    if (fm_child_start(&k.child, &d->loop, &o, exited, &d->error))
        return false;
    running = &k;
    fm_demo_view_say(&d->view, "$ fulmar move %s --to %s%s%s", context, w->region[to].name,
                     cells ? " --cells " : "", cells ? cells : "");
    bool done = fm_stage_wait(d, MOVE_MS + LAST_MS, is_over);
    running = NULL;
    if (!k.over)
        fm_child_discard(&k.child);
    if (!done || !k.over || k.status != 0) {
        fm_error_set(&d->error, FM_ERR_STATE, "`fulmar move %s --to %s` failed: %s", context,
                     w->region[to].name, k.output);
        return false;
    }
    FM_ASSERT(!fm_mono_before(k.ended, began));
    *took_ms = (double)fm_mono_sub_ns(k.ended, began) / 1e6;
    return true;
}
