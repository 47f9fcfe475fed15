/* What an operator types, typed by the demonstration: the command itself runs, as a child. */
#include "demo/stage.h"

#include "base/assert.h"
#include "base/buf.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

enum { MOVE_MS = 30000, OUTPUT_MAX = 32 * 1024, LAST_MS = 1000, WORDS_MAX = 16 };

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

static void say_it(struct fm_demo *d, const char *const *words)
{
    char line[FM_VIEW_LINE_MAX];
    struct fm_buf b = fm_buf(line, sizeof line - 1);
    fm_buf_printf(&b, "$ fulmar");
    for (unsigned i = 0; words[i]; i++)
        fm_buf_printf(&b, strchr(words[i], ' ') ? " \"%s\"" : " %s", words[i]);
    line[b.n] = 0;
    fm_demo_view_say(&d->view, "%s", line);
}

int fm_operate_code(struct fm_demo *d, unsigned region, const char *const *words, double *took_ms,
                    const char **printed)
{
    static struct command k; /* one at a time; large */
    struct fm_world *w = &d->world;
    const char *const where[] = {"-c", w->config, "--host",
                                 w->region[region].process[FM_WORLD_AGENT].name};
    char *argv[WORDS_MAX + FM_COUNT(where) + 2] = {w->fulmar};
    unsigned n = 1;
    FM_ASSERT(region < w->nregions && !running);
    for (unsigned i = 0; words[i]; i++) {
        FM_ASSERT(i < WORDS_MAX);
        argv[n++] = (char *)(uintptr_t)words[i];
    }
    for (unsigned i = 0; i < FM_COUNT(where); i++)
        argv[n++] = (char *)(uintptr_t)where[i];
    memset(&k, 0, sizeof k);
    struct fm_child_options o = {.argv = argv,
                                 .out_fd = -1,
                                 .err_fd = -1,
                                 .output = k.output,
                                 .output_cap = sizeof k.output - 1,
                                 .timeout_ms = MOVE_MS};
    struct fm_mono began = fm_mono_now();
    *took_ms = -1;
    if (fm_child_start(&k.child, &d->loop, &o, exited, &d->error))
        return FM_OPERATE_FAILED;
    running = &k;
    say_it(d, words);
    bool done = fm_stage_wait(d, MOVE_MS + LAST_MS, is_over);
    running = NULL;
    if (!k.over)
        fm_child_discard(&k.child);
    int code = done && k.over && WIFEXITED(k.status) ? WEXITSTATUS(k.status) : FM_OPERATE_FAILED;
    if (code != 0)
        fm_error_set(&d->error, FM_ERR_STATE, "`fulmar %s %s` failed: %s", words[0],
                     words[1] ? words[1] : "", k.output);
    if (printed)
        *printed = k.output;
    if (code == FM_OPERATE_FAILED)
        return code;
    FM_ASSERT(!fm_mono_before(k.ended, began));
    *took_ms = (double)fm_mono_sub_ns(k.ended, began) / 1e6;
    return code;
}

bool fm_operate(struct fm_demo *d, unsigned region, const char *const *words, double *took_ms,
                const char **printed)
{
    return fm_operate_code(d, region, words, took_ms, printed) == 0;
}

bool fm_operate_move(struct fm_demo *d, const char *context, unsigned to, const char *cells,
                     double *took_ms)
{
    const char *const words[] = {"move",
                                 context,
                                 "--to",
                                 d->world.region[to].name,
                                 "--reason",
                                 "demonstration",
                                 cells ? "--cells" : NULL,
                                 cells,
                                 NULL};
    return fm_operate(d, to, words, took_ms, NULL);
}
