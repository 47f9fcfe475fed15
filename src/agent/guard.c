/* The guard: see the header. Invariant: it testifies only after wait(2) said that there is nobody
 * left below it. */
#include "agent/guard.h"

#include "agent/message.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/log.h"
#include "conf/conf.h"
#include "http/caller.h"
#include "io/process.h"
#include "io/reap.h"
#include "proxy/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    BEAT_MS = 50,
    SILENCE_LEAST_MS = 400, /* a loop that was away for less is only busy */
    SILENCE_MOST_MS = 1000,
    REAP_MS = 3000,
    TELL_MS = 5000, /* in all */
    TELL_AGAIN_MS = 100,
    CALL_MS = 1000,
    BLOCK = 16 * 1024,
    BLOCKS = 64,
    LISTENERS_MAX = FM_CONF_CONTROLLERS_MAX * FM_CONF_REGIONS_MAX,
    EXIT_GUARDED_DIED = 1,
    EXIT_CONFIG = 78,
};

#define GUARD_FD_NAME "FULMAR_GUARD_FD"

struct listener {
    struct guard *guard;
    struct fm_caller caller;
    struct fm_timer again;
    bool told;
};

struct guard {
    struct fm_guard_options o;
    struct fm_conf *conf;
    struct fm_daemon names; /* only to find the host, as every daemon does */
    struct fm_peers peers;
    struct fm_pool pool;
    struct fm_loop loop;
    struct fm_mailbox mailbox;
    struct fm_signals signals;
    struct fm_resolver *resolver;
    struct fm_child agent, app;
    struct fm_watch beat;
    struct fm_timer silence, finish;
    int64_t silence_ms;
    char line[64];
    size_t line_n;
    uint64_t life; /* 0 = the agent has not said */
    bool ending, testifying;
    int code;
    struct listener *listener[LISTENERS_MAX];
    unsigned nlisteners, ntold;
};

/* -------- testifying -------- */

static void over(struct guard *g, int code)
{
    g->code = code;
    fm_loop_stop(&g->loop);
}

static void told(struct listener *l)
{
    if (l->told)
        return;
    l->told = true;
    if (++l->guard->ntold == l->guard->nlisteners)
        over(l->guard, EXIT_GUARDED_DIED);
}

static void tell(struct listener *l)
{
    const struct guard *g = l->guard;
    char *body = malloc(512);
    if (!body)
        return;
    struct fm_buf b = fm_buf(body, 512);
    fm_post_begin(&b, fm_str_z(g->names.host), g->life);
    fm_buf_printf(&b, "{\"kind\":\"testify\",\"life\":%llu,\"ok\":%s}", (unsigned long long)g->life,
                  g->o.app ? "true" : "false");
    fm_post_end(&b);
    FM_ASSERT(!b.full);
    struct fm_caller_ask a = {.target = "/peer/1/post",
                              .body = body,
                              .body_n = b.n,
                              .answer_max = 256 * 1024,
                              .connect_ms = CALL_MS,
                              .timeout_ms = CALL_MS};
    fm_caller_ask(&l->caller, &a);
}

static void tell_again(struct fm_timer *t)
{
    tell(fm_container_of(t, struct listener, again));
}

static void answered(struct fm_caller *c, unsigned status, struct fm_str body)
{
    struct listener *l = fm_container_of(c, struct listener, caller);
    (void)body;
    if (status == 200)
        told(l);
    else
        fm_loop_timer_in_ms(&l->guard->loop, &l->again, TELL_AGAIN_MS);
}

static void not_answered(struct fm_caller *c, const char *why)
{
    struct listener *l = fm_container_of(c, struct listener, caller);
    (void)why;
    fm_loop_timer_in_ms(&l->guard->loop, &l->again, TELL_AGAIN_MS);
}

static bool add_listener(struct guard *g, const struct fm_conf_host *h)
{
    struct listener *l = calloc(1, sizeof *l);
    if (!l)
        return false;
    g->listener[g->nlisteners++] = l;
    l->guard = g;
    l->caller.answered = answered;
    l->caller.failed = not_answered;
    fm_timer_init(&l->again, tell_again);
    struct fm_caller_to to = {
        .host = h->peer.host, .port = h->peer.port, .tls = g->peers.client, .peer = h->name};
    fm_caller_init(&l->caller, &g->loop, g->resolver, &to);
    return true;
}

static void told_enough(struct fm_timer *t)
{
    struct guard *g = fm_container_of(t, struct guard, finish);
    if (!g->testifying) {
        fm_log(FM_LOG_WARN, "application_killed", FM_KZ("why", "it does not end"));
        over(g, g->code);
        return;
    }
    fm_log(FM_LOG_WARN, "testimony_not_heard", FM_KU("told", g->ntold), FM_KU("of", g->nlisteners),
           FM_KZ("meaning", "the others wait until the lease has run out"));
    over(g, EXIT_GUARDED_DIED);
}

/* What was guarded is over, or has to be. */
static void end_it(struct guard *g, const char *why)
{
    if (g->testifying)
        return;
    g->testifying = true;
    fm_loop_cancel(&g->loop, &g->silence);
    fm_log(FM_LOG_ERROR, "guarded_ends", FM_KZ("why", why));
    bool all = fm_reap_all(REAP_MS);
    fm_child_forget(&g->agent);
    fm_child_forget(&g->app);
    if (!all)
        fm_log(FM_LOG_ERROR, "not_reaped",
               FM_KZ("meaning", "something below here does not die: nothing is testified"));
    if (!all || g->life == 0 || g->nlisteners == 0) {
        over(g, EXIT_GUARDED_DIED);
        return;
    }
    fm_log(FM_LOG_WARN, "testifies", FM_KU("life", g->life),
           FM_KZ("everything", g->o.app ? "yes" : "no, the application is not guarded"));
    fm_loop_timer_in_ms(&g->loop, &g->finish, TELL_MS);
    for (unsigned i = 0; i < g->nlisteners; i++)
        tell(g->listener[i]);
}

/* -------- watching -------- */

static void agent_exited(struct fm_child *c, int status)
{
    struct guard *g = fm_container_of(c, struct guard, agent);
    char why[64];
    /* before it has said which life it is, it holds nothing, and knows nothing of signals */
    if (g->ending && (WIFEXITED(status) || g->life == 0)) {
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
        fm_child_kill(&g->app, SIGTERM);
        if (!g->app.running)
            over(g, code);
        g->code = code;
        fm_loop_timer_in_ms(&g->loop, &g->finish, g->conf->edge.drain_finish_ms);
        return;
    }
    if (WIFEXITED(status))
        snprintf(why, sizeof why, "the agent ended with %d", WEXITSTATUS(status));
    else
        snprintf(why, sizeof why, "the agent was killed by signal %d", WTERMSIG(status));
    end_it(g, why);
}

static void app_exited(struct fm_child *c, int status)
{
    struct guard *g = fm_container_of(c, struct guard, app);
    if (g->ending) {
        if (!g->agent.running)
            over(g, g->code);
        return;
    }
    fm_log(FM_LOG_ERROR, "application_ended", FM_KI("status", status),
           FM_KZ("meaning", "the agent goes on, and finds no instance"));
}

static void silent(struct fm_timer *t)
{
    end_it(fm_container_of(t, struct guard, silence), "the agent is silent");
}

/* What others left behind is reaped as it ends. */
static void reap_orphans(const struct guard *g)
{
    siginfo_t info = {0};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid > 0 &&
           !(g->agent.running && info.si_pid == g->agent.pid) &&
           !(g->app.running && info.si_pid == g->app.pid)) {
        (void)waitpid(info.si_pid, NULL, WNOHANG);
        info = (siginfo_t){0};
    }
}

static void close_beat(struct guard *g)
{
    if (g->beat.fd < 0)
        return;
    int fd = g->beat.fd;
    fm_loop_unwatch(&g->loop, &g->beat);
    g->beat.fd = -1;
    close(fd);
}

/* "life N", then a dot each time its loop has turned. */
static void beats(struct fm_watch *w, uint32_t events)
{
    struct guard *g = fm_container_of(w, struct guard, beat);
    char text[256];
    (void)events;
    ssize_t n = read(w->fd, text, sizeof text);
    reap_orphans(g);
    if (n == 0) /* it has ended, and this would be ready for ever */
        close_beat(g);
    if (n <= 0)
        return;
    for (ssize_t i = 0; i < n; i++) {
        if (text[i] == '\n') {
            uint64_t life;
            struct fm_str line = fm_str(g->line, g->line_n), word = FM_STR("life ");
            if (fm_str_starts(line, word) &&
                fm_str_u64(fm_str(line.p + word.n, line.n - word.n), &life))
                g->life = life;
            g->line_n = 0;
        } else if (text[i] != '.' && g->line_n < sizeof g->line) {
            g->line[g->line_n++] = text[i];
        }
    }
    if (g->life && !g->testifying && !g->ending)
        fm_loop_timer_in_ms(&g->loop, &g->silence, g->silence_ms);
}

static void got_signal(struct fm_signals *s, int signo)
{
    struct guard *g = fm_container_of(s, struct guard, signals);
    if (signo == SIGHUP) {
        fm_child_kill(&g->agent, SIGHUP);
        return;
    }
    if (signo != SIGTERM && signo != SIGINT)
        return;
    g->ending = true; /* in order: what ends by itself says so to its keeper */
    fm_loop_cancel(&g->loop, &g->silence);
    fm_child_kill(&g->agent, signo);
    if (!g->agent.running)
        over(g, 0);
}

/* -------- life -------- */

/* Longer than a busy loop is away, shorter than what the others would wait anyway. */
static int64_t silence_ms(const struct fm_conf *c)
{
    int64_t ms = SILENCE_MOST_MS;
    for (size_t i = 0; i < c->ncontexts; i++)
        if (c->contexts[i].ncells && c->contexts[i].lease_ms / 4 < ms)
            ms = c->contexts[i].lease_ms / 4;
    return ms > SILENCE_LEAST_MS ? ms : SILENCE_LEAST_MS;
}

static enum fm_err start_children(struct guard *g, struct fm_error *e)
{
    int pipe_fd[2];
    if (pipe2(pipe_fd, O_CLOEXEC | O_NONBLOCK) < 0)
        return fm_error_errno(e, FM_ERR_LIMIT, errno, "cannot make a pipe to the agent");
    g->beat.ready = beats;
    enum fm_err err = fm_loop_watch(&g->loop, &g->beat, pipe_fd[0], EPOLLIN, e);
    char number[16];
    char *argv[] = {(char[]){"/proc/self/exe"},
                    (char[]){"agent"},
                    (char[]){"-c"},
                    (char *)(uintptr_t)g->o.config_path,
                    (char[]){"--host"},
                    g->names.host,
                    NULL};
    struct fm_child_options o = {.argv = argv, .out_fd = STDOUT_FILENO, .err_fd = STDERR_FILENO};
    snprintf(number, sizeof number, "%d", pipe_fd[1]);
    /* the only descriptor that is handed down, and only to the agent */
    if (!err && (fcntl(pipe_fd[1], F_SETFD, 0) < 0 || setenv(GUARD_FD_NAME, number, 1) < 0))
        err = fm_error_errno(e, FM_ERR_LIMIT, errno, "cannot hand a pipe to the agent");
    if (!err)
        err = fm_child_start(&g->agent, &g->loop, &o, agent_exited, e);
    (void)unsetenv(GUARD_FD_NAME);
    close(pipe_fd[1]);
    if (err || !g->o.app)
        return err;
    o.argv = g->o.app;
    return fm_child_start(&g->app, &g->loop, &o, app_exited, e);
}

static enum fm_err start(struct guard *g, int host, struct fm_error *e)
{
    const struct fm_conf *c = g->conf;
    enum fm_err err = fm_reap_begin(e);
    if (err)
        return err;
    fm_signals_block();
    fm_pool_init(&g->pool, BLOCK, BLOCKS);
    err = fm_loop_init(&g->loop, &g->pool, e);
    if (!err)
        err = fm_mailbox_open(&g->mailbox, &g->loop, g, e);
    if (!err)
        err = fm_signals_open(&g->signals, &g->loop, got_signal, e);
    if (!err)
        err = fm_peers_load(&g->peers, c, fm_str_z(g->names.host), fm_str_z(g->names.region), e);
    if (err)
        return err;
    g->resolver = fm_resolver_new(&g->mailbox, e);
    if (!g->resolver)
        return FM_ERR_LIMIT;
    /* who may take over, and whose votes that waits for */
    for (size_t i = 0; i < c->nhosts; i++)
        if ((int)i != host && (c->hosts[i].roles & (FM_ROLE_CONTROLLER | FM_ROLE_WITNESS)) &&
            g->nlisteners < LISTENERS_MAX && !add_listener(g, &c->hosts[i]))
            return fm_error_set(e, FM_ERR_MEMORY, "no memory for those who are told");
    return start_children(g, e);
}

static void bring_down(struct guard *g)
{
    if (!fm_reap_all(REAP_MS))
        fm_log(FM_LOG_ERROR, "not_reaped", FM_KZ("meaning", "something below here does not die"));
    fm_child_forget(&g->agent); /* there is nothing left to wait for */
    fm_child_forget(&g->app);
    close_beat(g);
    for (unsigned i = 0; i < g->nlisteners; i++)
        fm_caller_close(&g->listener[i]->caller);
    fm_resolver_free(g->resolver);
    if (g->loop.pool)
        fm_loop_turn(&g->loop, 0);
    for (unsigned i = 0; i < g->nlisteners; i++) {
        fm_loop_cancel(&g->loop, &g->listener[i]->again);
        free(g->listener[i]);
    }
    fm_signals_close(&g->signals);
    if (g->mailbox.loop)
        fm_mailbox_close(&g->mailbox);
    if (g->loop.pool)
        fm_loop_deinit(&g->loop);
    if (g->loop.pool)
        fm_pool_deinit(&g->pool);
    fm_peers_drop(&g->peers);
    fm_conf_free(g->conf);
}

int fm_guard_main(const struct fm_guard_options *o)
{
    struct guard *g = calloc(1, sizeof *g);
    struct fm_error e = {0};
    int host = -1;
    if (!g)
        return EXIT_GUARDED_DIED;
    g->o = *o;
    g->conf = fm_daemon_load_first(o->config_path);
    if (!g->conf) {
        free(g);
        return EXIT_CONFIG;
    }
    g->beat.fd = g->signals.watch.fd = -1; /* nothing is open yet */
    fm_timer_init(&g->silence, silent);
    fm_timer_init(&g->finish, told_enough);
    g->silence_ms = silence_ms(g->conf);
    g->names.options = (struct fm_daemon_options){.role = "agent",
                                                  .config_path = o->config_path,
                                                  .host = o->host,
                                                  .roles = FM_ROLES_AGENT,
                                                  .must_be_listed = true};
    enum fm_err err = fm_daemon_find_host(&g->names, g->conf, &host, &e);
    g->code = EXIT_CONFIG;
    if (!err) {
        g->code = EXIT_GUARDED_DIED;
        err = start(g, host, &e);
    }
    if (!err)
        fm_loop_run(&g->loop);
    else
        fprintf(stderr, "fulmar guard: %s\n", e.msg);
    int code = g->code;
    bring_down(g);
    free(g);
    return code;
}

/* -------- in the agent -------- */

static void say_alive(struct fm_timer *t)
{
    struct fm_guarded *g = fm_container_of(t, struct fm_guarded, timer);
    ssize_t n = write(g->fd, ".", 1);
    (void)n; /* a full pipe has beats enough */
    fm_loop_timer_in_ms(g->loop, t, BEAT_MS);
}

void fm_guarded_open(struct fm_guarded *g, struct fm_loop *l, uint64_t life)
{
    const char *text = getenv(GUARD_FD_NAME);
    uint64_t fd;
    *g = (struct fm_guarded){.loop = l, .fd = -1};
    fm_timer_init(&g->timer, say_alive);
    if (!text || !fm_str_u64(fm_str_z(text), &fd) || fd < 3 || fd > INT16_MAX)
        return;
    g->fd = (int)fd;
    (void)unsetenv(GUARD_FD_NAME); /* not for the commands of checks */
    char line[32];
    int n = snprintf(line, sizeof line, "life %llu\n", (unsigned long long)life);
    if (fcntl(g->fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(g->fd, F_SETFL, O_NONBLOCK) < 0 ||
        write(g->fd, line, (size_t)n) != n) {
        g->fd = -1;
        return;
    }
    fm_loop_timer_in_ms(l, &g->timer, BEAT_MS);
}

void fm_guarded_close(struct fm_guarded *g)
{
    if (g->fd < 0)
        return;
    fm_loop_cancel(g->loop, &g->timer);
    close(g->fd);
    g->fd = -1;
}
