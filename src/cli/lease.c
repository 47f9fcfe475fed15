/* fulmar lease run: a command that runs only while this host's region holds a cell.
 *
 * Invariant: from before the question whose answer lets it begin until nothing is left of it, a
 * read lock is held on the cell's byte of the lock file (agent/lend.h), and what it was told is
 * counted from before it was asked. The time is kept by the warden, not here. */
#include "base/assert.h"
#include "cli/call.h"
#include "cli/cli.h"
#include "cli/warden.h"
#include "conf/conf.h"
#include "conf/load.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    WAIT_MS = 1000,   /* for the lease, in one question */
    AGAIN_MS = 50,    /* after an answer that is none */
    RENEW_PARTS = 10, /* of a lease: how often it is asked again */
    TERM_PARTS = 4,   /* before the end: SIGTERM */
    KILL_PARTS = 8,   /* before the end: SIGKILL */
    REFUSED_MS = 10,  /* before it is asked again by a command that runs */
    SIGNALLED = 128,
    ANSWER_ROOM = 1024,
};

struct run {
    const struct fm_args *a;
    char context[64];
    unsigned cell;
    char lock_path[PATH_MAX + 96];
    struct fm_addr agent;
    struct fm_call *call;
    int lock_fd;
    bool answered; /* an agent did, ever */
    char why[256]; /* what was last in the way */
};

struct lease {
    bool held, moving;
    uint64_t epoch;
    int64_t lease_ms;
    struct fm_mono until;
};

static int fail(const struct run *r, int code, const char *what, const char *remedy)
{
    return fm_print_error(r->a, "lease run", code, what, remedy);
}

/* -------- the agent -------- */

enum heard { HEARD, NOT_HEARD, REFUSED };

static bool read_lease(const char *text, struct fm_mono asked, struct lease *out)
{
    json_t *o = json_loads(text, 0, NULL);
    json_int_t epoch = 0, left_ms = 0, lease_ms = 0;
    int held = 0, moving = 0;
    bool ok = o && json_unpack(o, "{s:b,s:b,s:I,s:I,s:I}", "held", &held, "moving", &moving,
                               "epoch", &epoch, "left_ms", &left_ms, "lease_ms", &lease_ms) == 0;
    ok = ok && epoch >= 0 && left_ms >= 0 && lease_ms > 0 && left_ms <= lease_ms;
    json_decref(o);
    if (!ok)
        return false;
    *out = (struct lease){.held = held,
                          .moving = moving,
                          .epoch = (uint64_t)epoch,
                          .lease_ms = lease_ms,
                          .until = fm_mono_add_ms(asked, left_ms)};
    return true;
}

/* `after`: what is thought to be held; it is answered when that is not so, else after `wait_ms`. An
 * answer may take `more_ms` on its way. */
static enum heard ask(struct run *r, uint64_t after, int64_t wait_ms, int64_t more_ms,
                      struct lease *out)
{
    char target[ANSWER_ROOM];
    struct fm_called got = {0};
    struct fm_error e = {0};
    snprintf(target, sizeof target, "/lease/%s?cell=%u&after=%llu&wait=%lld", r->context, r->cell,
             (unsigned long long)after, (long long)wait_ms);
    struct fm_call_for f = {
        .to = &r->agent, .target = target, .connect_ms = more_ms, .whole_ms = wait_ms + more_ms};
    struct fm_mono asked = fm_mono_now();
    if (fm_call_ask(r->call, &f, &got, &e)) {
        snprintf(r->why, sizeof r->why, "%s", e.msg);
        return NOT_HEARD;
    }
    r->answered = true;
    enum heard h = got.status == 200 && read_lease(got.body, asked, out) ? HEARD : NOT_HEARD;
    if (h != HEARD)
        snprintf(r->why, sizeof r->why, "%u: %.200s", got.status, got.body ? got.body : "");
    if (got.status == 404 || got.status == 409)
        h = REFUSED;
    free(got.body);
    return h;
}

/* -------- the lock -------- */

static bool lock(struct run *r)
{
    struct flock f = {
        .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = (off_t)r->cell, .l_len = 1};
    FM_ASSERT(r->lock_fd < 0);
    /* handed down on purpose: the lock lasts as long as anything of the command */
    r->lock_fd = open(r->lock_path, O_RDONLY | O_NOFOLLOW); /* NOLINT(android-cloexec-open) */
    if (r->lock_fd >= 0 && fcntl(r->lock_fd, F_OFD_SETLK, &f) == 0)
        return true;
    snprintf(r->why, sizeof r->why, "%.200s: %s", r->lock_path, strerror(errno));
    if (r->lock_fd >= 0)
        close(r->lock_fd);
    r->lock_fd = -1;
    return false;
}

static void unlock(struct run *r)
{
    if (r->lock_fd >= 0)
        close(r->lock_fd);
    r->lock_fd = -1;
}

/* -------- until it may begin -------- */

static bool is_enough(const struct lease *x)
{
    return x->held && !x->moving && fm_mono_sub_ms(x->until, fm_mono_now()) > x->lease_ms / 2;
}

/* FM_EXIT_OK: the lock is held, and *out says how long it may run. */
static int wait_for_lease(struct run *r, struct lease *out)
{
    struct fm_mono deadline =
        r->a->timeout_text ? fm_mono_add_ms(fm_mono_now(), r->a->timeout_ms) : FM_MONO_NEVER;
    for (;;) {
        struct fm_mono now = fm_mono_now();
        if (!fm_mono_before(now, deadline))
            return r->answered ? fail(r, FM_EXIT_NO_QUORUM, "the lease was not had in time", r->why)
                               : fail(r, FM_EXIT_UNREACHABLE, r->why,
                                      "It needs the agent of this host, with the role gate.");
        if (fm_call_interrupted())
            return fail(r, FM_EXIT_FAILED, "ended by a signal before the command began", NULL);
        int64_t left_ms = fm_mono_is_never(deadline) ? WAIT_MS : fm_mono_sub_ms(deadline, now) + 1;
        enum heard h = ask(r, 0, fm_clamp_i64(left_ms, 1, WAIT_MS), WAIT_MS, out);
        if (h == REFUSED)
            return fail(r, FM_EXIT_REFUSED, r->why, NULL);
        if (h == HEARD && out->held && lock(r)) {
            /* what was said before the lock was there does not count */
            if (ask(r, 0, 0, WAIT_MS, out) == HEARD && is_enough(out))
                return FM_EXIT_OK;
            unlock(r);
        }
        if (h != HEARD || out->held)
            (void)fm_call_pause(AGAIN_MS);
    }
}

/* -------- while it runs -------- */

static struct fm_warden_times times_of(const struct lease *x)
{
    return (struct fm_warden_times){
        .term_at = fm_mono_add_ms(x->until, -(x->lease_ms / TERM_PARTS)),
        .kill_at = fm_mono_add_ms(x->until, -(x->lease_ms / KILL_PARTS))};
}

static void say_lost(const struct run *r, const struct lease *x, const char *why)
{
    fprintf(stderr, "fulmar lease run: %s/%u at epoch %llu is over: %s\n", r->context, r->cell,
            (unsigned long long)x->epoch, why);
}

/* It has to end, in any case in time; somebody may wait for it. */
static void end_it(const struct fm_warden *w, const struct lease *x, bool soon)
{
    struct fm_mono now = fm_mono_now();
    struct fm_warden_times t = times_of(x);
    t.term_at = now;
    if (soon)
        t.kill_at = fm_mono_min(t.kill_at, fm_mono_add_ms(now, x->lease_ms / TERM_PARTS));
    t.kill_at = fm_mono_before(t.kill_at, now) ? now : t.kill_at;
    fm_warden_set(w, &t);
}

/* The warden ends it in time; if not, so do we. */
static void wait_for_end(struct fm_warden *w, const struct lease *x, struct fm_warden_end *end)
{
    struct fm_mono last = times_of(x).kill_at;
    int64_t ms = fm_mono_sub_ms(last, fm_mono_now());
    if (!fm_warden_wait(w, ms > 0 ? ms + 1 : 0, end) && !fm_warden_wait(w, REFUSED_MS, end))
        fm_warden_end(w, end);
}

static int code_of(const struct run *r, const struct fm_warden_end *end, bool asked)
{
    if (end->left)
        (void)fail(r, FM_EXIT_PARTIAL, "something that the command started cannot be ended",
                   "The gate counts it as running until its lease is over.");
    if (end->forced && !asked)
        return FM_EXIT_PARTIAL;
    return WIFSIGNALED(end->status) ? SIGNALLED + WTERMSIG(end->status) : WEXITSTATUS(end->status);
}

static int run_it(struct run *r, struct lease x, char *const *argv)
{
    struct fm_warden w;
    struct fm_warden_end end = {0};
    struct fm_error e = {0};
    struct fm_warden_times t = times_of(&x);
    if (fm_warden_start(&w, argv, &t, &e))
        return fail(r, FM_EXIT_FAILED, e.msg, NULL);
    int64_t pause_ms = 0;
    while (!fm_warden_wait(&w, pause_ms, &end)) {
        struct lease y;
        if (fm_call_interrupted()) {
            end_it(&w, &x, false);
            wait_for_end(&w, &x, &end);
            return code_of(r, &end, true);
        }
        int64_t part_ms = x.lease_ms / RENEW_PARTS;
        enum heard h = ask(r, x.epoch, part_ms, part_ms, &y);
        pause_ms = h == HEARD ? 0 : REFUSED_MS;
        if (h == REFUSED || (h == HEARD && (!y.held || y.epoch != x.epoch))) {
            say_lost(r, &x, h == HEARD ? "the region does not hold it any more" : r->why);
            end_it(&w, &x, true);
            wait_for_end(&w, &x, &end);
            return code_of(r, &end, false);
        }
        if (h == HEARD) {
            x.until = fm_mono_before(x.until, y.until) ? y.until : x.until;
            t = times_of(&x);
            fm_warden_set(&w, &t);
        } else if (!fm_mono_before(fm_mono_now(), t.kill_at)) {
            wait_for_end(&w, &x, &end);
            break;
        }
    }
    if (end.forced)
        say_lost(r, &x, r->why[0] ? r->why : "it was not renewed in time");
    return code_of(r, &end, false);
}

/* -------- what is asked for -------- */

static bool read_name(struct run *r, const char *text)
{
    struct fm_str cell, name = fm_str_cut(fm_str_z(text), '/', &cell);
    uint64_t n = 0;
    if (name.n == 0 || name.n >= sizeof r->context || (cell.p && !fm_str_u64(cell, &n)) ||
        n > INT16_MAX)
        return false;
    snprintf(r->context, sizeof r->context, "%.*s", FM_STR_ARG(name));
    r->cell = (unsigned)n;
    return true;
}

static int find(struct run *r, const struct fm_conf *c, const char *text)
{
    char host[256], dir[PATH_MAX], path[PATH_MAX + 16];
    struct fm_error e = {0};
    if (!read_name(r, text))
        return fm_usage("lease run: `%s` is not CONTEXT or CONTEXT/CELL", text);
    const struct fm_conf_context *x = NULL;
    for (size_t i = 0; i < c->ncontexts; i++)
        if (fm_str_eqz(c->contexts[i].name, r->context))
            x = &c->contexts[i];
    if (!x || x->ncells == 0)
        return fm_usage("lease run: `%s` is not a context that one region alone may write",
                        r->context);
    if (r->cell >= x->ncells || (x->ncells > 1 && !strchr(text, '/')))
        return fm_usage("lease run: `%s` has the cells 0 to %u; say which: %s/0", r->context,
                        (unsigned)x->ncells - 1, r->context);
    fm_cli_this_host(c, r->a, host, sizeof host);
    int h = fm_conf_find_host(c, fm_str_z(host));
    if (h < 0 || !(c->hosts[h].roles & FM_ROLE_GATE))
        return fail(r, FM_EXIT_CONFIG, "this host has no gate in the configuration",
                    "Run it on a host with the role gate, or name one with --host.");
    struct fm_str region = c->regions[c->hosts[h].region].name;
    if (fm_conf_state_dir(c, fm_str_z(host), region, dir, sizeof dir, &e))
        return fail(r, FM_EXIT_CONFIG, e.msg, NULL);
    snprintf(path, sizeof path, "%s/agent.sock", dir);
    snprintf(r->lock_path, sizeof r->lock_path, "%s/lease-%s.lock", dir, r->context);
    if (fm_addr_unix(&r->agent, fm_str_z(path)))
        return fail(r, FM_EXIT_CONFIG, "the path of the agent's socket is too long", path);
    return FM_EXIT_OK;
}

static int lease_run(struct run *r, char *const *argv)
{
    struct lease x = {0};
    struct fm_error e = {0};
    char epoch[24], cell[12];
    r->call = fm_call_new(&e);
    if (!r->call)
        return fail(r, FM_EXIT_FAILED, e.msg, NULL);
    fm_call_catch();
    int code = wait_for_lease(r, &x);
    if (!code) {
        snprintf(epoch, sizeof epoch, "%llu", (unsigned long long)x.epoch);
        snprintf(cell, sizeof cell, "%u", r->cell);
        bool set = setenv("FULMAR_EPOCH", epoch, 1) == 0 && setenv("FULMAR_CELL", cell, 1) == 0 &&
                   setenv("FULMAR_CONTEXT", r->context, 1) == 0;
        r->why[0] = 0;
        code = set ? run_it(r, x, argv) : fail(r, FM_EXIT_FAILED, "out of memory", NULL);
    }
    unlock(r);
    fm_call_free(r->call);
    return code;
}

int fm_cmd_lease_run(const struct fm_args *a)
{
    char *argv[FM_ARGS_MAX + 1] = {NULL};
    struct run r = {.a = a, .lock_fd = -1};
    struct fm_conf_report report;
    if (a->nargs < 2)
        return fm_usage("lease run: say what to run: fulmar lease run CONTEXT -- COMMAND...");
    for (int i = 1; i < a->nargs; i++)
        argv[i - 1] = (char *)(uintptr_t)a->arg[i];
    fm_conf_report_init(&report);
    struct fm_conf *c = fm_conf_load(a->config, &report);
    int code = c ? find(&r, c, a->arg[0])
                 : fail(&r, FM_EXIT_CONFIG,
                        report.n ? report.finding[0].what : "the configuration cannot be read",
                        "fulmar config check says all of it.");
    fm_conf_free(c);
    fm_conf_report_deinit(&report);
    return code ? code : lease_run(&r, argv);
}
