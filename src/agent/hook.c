/* Commands that do something: see the header. Invariant: each start is followed by one `over`, or
 * by fm_hook_stop. */
#include "agent/hook.h"

#include "base/assert.h"
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TEXT_ROOM = 200, ENV_MAX = 16 };

/* -------- how it ended -------- */

/* Line by line, so that the lines stay. */
static void tame_output(struct fm_hook *h)
{
    size_t n = h->child.output_n;
    FM_ASSERT(n <= FM_HOOK_OUTPUT_ROOM);
    h->output[n] = 0;
    for (size_t i = 0; i < n; i++)
        if (h->output[i] == 0)
            h->output[i] = '?';
    for (char *line = h->output; *line;) {
        size_t length = strcspn(line, "\n");
        char end = line[length];
        line[length] = 0;
        fm_text_tame(line);
        line[length] = end;
        line += length + (end != 0);
    }
}

/* The last words, on one line. */
static void last_words(const struct fm_hook *h, char out[TEXT_ROOM])
{
    size_t n = strlen(h->output);
    while (n > 0 && h->output[n - 1] == '\n')
        n--;
    size_t skip = n >= TEXT_ROOM ? n - TEXT_ROOM + 1 : 0;
    memcpy(out, h->output + skip, n - skip);
    out[n - skip] = 0;
    for (char *p = out; *p; p++)
        if (*p == '\n')
            *p = ' ';
    fm_text_tame(out); /* the first character may be cut */
}

static void ended(struct fm_hook *h, const char *how)
{
    char words[TEXT_ROOM];
    last_words(h, words);
    snprintf(h->why, sizeof h->why, "%s%s%s", how, words[0] ? "; it said: " : "", words);
}

static void exited(struct fm_child *c, int status)
{
    struct fm_hook *h = fm_container_of(c, struct fm_hook, child);
    char how[96];
    FM_ASSERT(!c->running && h->over);
    tame_output(h);
    h->took_ms = fm_mono_sub_ms(fm_mono_now(), h->began);
    h->ok = !c->timed_out && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (c->timed_out)
        snprintf(how, sizeof how, "it did not end within %lld ms and was killed",
                 (long long)h->timeout_ms);
    else if (WIFEXITED(status))
        snprintf(how, sizeof how, "exit code %d after %lld ms", WEXITSTATUS(status),
                 (long long)h->took_ms);
    else
        snprintf(how, sizeof how, "ended by signal %d after %lld ms", WTERMSIG(status),
                 (long long)h->took_ms);
    ended(h, how);
    h->over(h);
}

static void could_not(struct fm_timer *t)
{
    struct fm_hook *h = fm_container_of(t, struct fm_hook, soon);
    FM_ASSERT(!h->child.running && !h->ok);
    h->over(h);
}

/* -------- running it -------- */

void fm_hook_init(struct fm_hook *h, struct fm_loop *l, void (*over)(struct fm_hook *h))
{
    FM_ASSERT(l && over);
    *h = (struct fm_hook){.over = over, .loop = l};
    fm_timer_init(&h->soon, could_not);
}

bool fm_hook_is_running(const struct fm_hook *h)
{
    return h->child.running || fm_timer_is_set(&h->soon);
}

static bool is_replaced(const struct fm_hook_run *r, const char *entry)
{
    for (size_t i = 0; r->env && r->env[i][0]; i++) {
        size_t n = strlen(r->env[i][0]);
        if (strncmp(entry, r->env[i][0], n) == 0 && entry[n] == '=')
            return true;
    }
    return false;
}

/* What is added, and the rest of this process's environment; one block of memory, to be freed. */
static char **environment(const struct fm_hook_run *r)
{
    size_t have = 0, add = 0, bytes = 0, n = 0;
    while (environ[have])
        have++;
    for (; r->env && r->env[add][0]; add++)
        bytes += strlen(r->env[add][0]) + strlen(r->env[add][1]) + 2;
    FM_ASSERT(add <= ENV_MAX);
    size_t pointers = (have + add + 1) * sizeof(char *);
    char **all = calloc(1, pointers + bytes);
    if (!all)
        return NULL;
    char *at = (char *)all + pointers;
    for (; n < add; n++) {
        all[n] = at;
        at = stpcpy(stpcpy(stpcpy(at, r->env[n][0]), "="), r->env[n][1]) + 1;
    }
    FM_ASSERT(at == (char *)all + pointers + bytes);
    for (size_t i = 0; i < have; i++)
        if (!is_replaced(r, environ[i]))
            all[n++] = environ[i];
    FM_ASSERT(n <= have + add && !all[n]);
    return all;
}

static enum fm_err spawn(struct fm_hook *h, const struct fm_hook_run *r, struct fm_error *e)
{
    char **envp = environment(r), **argv = calloc(r->n + 1, sizeof *argv);
    enum fm_err err = FM_ERR_MEMORY;
    if (!envp || !argv) {
        fm_error_set(e, err, "out of memory");
    } else {
        for (size_t i = 0; i < r->n; i++)
            argv[i] = (char *)(uintptr_t)r->argv[i].p;
        struct fm_child_options o = {.argv = argv,
                                     .envp = envp,
                                     .out_fd = -1,
                                     .err_fd = -1,
                                     .output = h->output,
                                     .output_cap = FM_HOOK_OUTPUT_ROOM,
                                     .output_last = true,
                                     .timeout_ms = r->timeout_ms};
        err = fm_child_start(&h->child, h->loop, &o, exited, e);
    }
    free(argv);
    free(envp);
    return err;
}

void fm_hook_start(struct fm_hook *h, const struct fm_hook_run *r)
{
    struct fm_error e;
    FM_ASSERT(!fm_hook_is_running(h) && r->n > 0 && r->timeout_ms > 0);
    h->began = fm_mono_now();
    h->timeout_ms = r->timeout_ms;
    h->ok = false;
    h->took_ms = 0;
    h->why[0] = h->output[0] = 0;
    if (spawn(h, r, &e) == FM_ERR_OK)
        return;
    snprintf(h->why, sizeof h->why, "%s", e.msg);
    fm_text_tame(h->why);
    fm_loop_timer(h->loop, &h->soon, fm_loop_now(h->loop));
}

void fm_hook_stop(struct fm_hook *h)
{
    if (!h->loop)
        return;
    fm_loop_cancel(h->loop, &h->soon);
    fm_child_discard(&h->child);
}
