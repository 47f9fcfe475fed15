/* Signals and children: see the header. Between fork and exec only async-signal-safe calls are
 * made, because other threads may hold any lock. */
#include "io/process.h"

#include "base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READS_A_TURN = 16, READS_AT_END = 64, DESCRIPTORS_MAX = 64 * 1024 };

/* -------- signals -------- */

static void our_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGUSR1);
}

void fm_signals_block(void)
{
    sigset_t set;
    our_signals(&set);
    sigaddset(&set, SIGCHLD);
    int rc = sigprocmask(SIG_BLOCK, &set, NULL);
    FM_ASSERT(rc == 0);
    struct sigaction ignore = {.sa_handler = SIG_IGN}, dfl = {.sa_handler = SIG_DFL};
    rc = sigaction(SIGPIPE, &ignore, NULL);
    FM_ASSERT(rc == 0);
    /* a parent may have left it ignored: then the kernel reaps, and there is nothing to wait for */
    rc = sigaction(SIGCHLD, &dfl, NULL);
    FM_ASSERT(rc == 0);
}

bool fm_std_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR); /* the lowest that is free; to be inherited */
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

bool fm_descriptors_raise(void)
{
    struct rlimit lim;
    bool raised = getrlimit(RLIMIT_NOFILE, &lim) == 0;
    FM_ASSERT(raised && lim.rlim_cur <= lim.rlim_max);
    if (lim.rlim_cur < lim.rlim_max) {
        rlim_t before = lim.rlim_cur;
        lim.rlim_cur = lim.rlim_max;
        raised = setrlimit(RLIMIT_NOFILE, &lim) == 0;
        lim.rlim_cur = raised ? lim.rlim_max : before;
    }
    rlim_t n = lim.rlim_cur < DESCRIPTORS_MAX ? lim.rlim_cur : DESCRIPTORS_MAX;
    int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, (int)n - 1);
    if (fd >= 0)
        close(fd);
    return raised;
}

static void signals_ready(struct fm_watch *w, uint32_t events)
{
    (void)events;
    struct fm_signals *s = fm_container_of(w, struct fm_signals, watch);
    FM_ASSERT(w->fd >= 0 && s->got);
    struct signalfd_siginfo info;
    if (read(w->fd, &info, sizeof info) == sizeof info)
        s->got(s, (int)info.ssi_signo);
}

enum fm_err fm_signals_open(struct fm_signals *s, struct fm_loop *l,
                            void (*got)(struct fm_signals *, int), struct fm_error *e)
{
    sigset_t set;
    our_signals(&set);
    *s = (struct fm_signals){.watch = {.fd = -1, .ready = signals_ready}, .loop = l, .got = got};
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return fm_error_errno(e, FM_ERR_LIMIT, errno, "cannot create a signalfd");
    enum fm_err err = fm_loop_watch(l, &s->watch, fd, EPOLLIN, e);
    if (err)
        close(fd);
    return err;
}

void fm_signals_close(struct fm_signals *s)
{
    if (s->watch.fd < 0)
        return;
    fm_loop_unwatch(s->loop, &s->watch);
    close(s->watch.fd);
    s->watch.fd = -1;
}

/* -------- children -------- */

static void close_output(struct fm_child *c)
{
    if (c->out.fd < 0)
        return;
    fm_loop_unwatch(c->loop, &c->out);
    close(c->out.fd);
    c->out.fd = -1;
}

/* What is older gives way. */
static void keep_last(struct fm_child *c, const char *said, size_t n)
{
    size_t from = n > c->output_cap ? n - c->output_cap : 0;
    n -= from;
    size_t keep = fm_min_size(c->output_n, c->output_cap - n);
    memmove(c->output, c->output + c->output_n - keep, keep);
    memcpy(c->output + keep, said + from, n);
    c->output_n = keep + n;
    FM_ASSERT(c->output_n <= c->output_cap);
}

/* Returns whether there may be more. What is beyond the cap is read and dropped, so that the child
 * does not wait for us. */
static bool read_output(struct fm_child *c)
{
    char scratch[4096];
    FM_ASSERT(c->out.fd >= 0 && c->output_n <= c->output_cap);
    bool direct = !c->last && c->output_n < c->output_cap;
    char *to = direct ? c->output + c->output_n : scratch;
    size_t room = direct ? c->output_cap - c->output_n : sizeof scratch;
    ssize_t n = read(c->out.fd, to, room);
    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0) {
        close_output(c);
        return false;
    }
    FM_ASSERT((size_t)n <= room);
    if (direct)
        c->output_n += (size_t)n;
    else if (c->last)
        keep_last(c, scratch, (size_t)n);
    return true;
}

/* A child that never stops talking must not hold the loop. */
static void output_ready(struct fm_watch *w, uint32_t events)
{
    (void)events;
    struct fm_child *c = fm_container_of(w, struct fm_child, out);
    for (int i = 0; i < READS_A_TURN && read_output(c); i++) {
    }
}

static void forget(struct fm_child *c)
{
    FM_ASSERT(c->running && c->watch.fd >= 0);
    fm_loop_cancel(c->loop, &c->timer);
    fm_loop_unwatch(c->loop, &c->watch);
    close(c->watch.fd);
    c->watch.fd = -1;
    c->running = false;
}

static int reap(struct fm_child *c)
{
    FM_ASSERT(c->pid > 0);
    int status = 0;
    pid_t got;
    do
        got = waitpid(c->pid, &status, 0);
    while (got < 0 && errno == EINTR);
    FM_ASSERT(got == c->pid);
    return status;
}

static void child_ready(struct fm_watch *w, uint32_t events)
{
    (void)events;
    struct fm_child *c = fm_container_of(w, struct fm_child, watch);
    FM_ASSERT(c->running && c->exited);
    int status = reap(c);
    for (size_t i = 0; i < READS_AT_END && c->out.fd >= 0; i++) /* its own children may talk on */
        if ((!c->last && c->output_n == c->output_cap) || !read_output(c))
            break;
    close_output(c);
    forget(c);
    FM_ASSERT(!fm_timer_is_set(&c->timer) && c->out.fd < 0);
    c->exited(c, status);
}

static void child_timed_out(struct fm_timer *t)
{
    struct fm_child *c = fm_container_of(t, struct fm_child, timer);
    FM_ASSERT(c->running && !c->timed_out);
    c->timed_out = true;
    fm_child_kill(c, SIGKILL);
}

/* In the child, which has one thread: the system calls themselves, since those of the C library
 * tell other threads. */
static bool become_user(const struct fm_child_user *u)
{
    if (u->uid == geteuid() && u->uid != 0)
        return true; /* not root: it has its groups already */
    return syscall(SYS_setgroups, (size_t)u->ngroups, u->groups) == 0 &&
           syscall(SYS_setresgid, u->gid, u->gid, u->gid) == 0 &&
           syscall(SYS_setresuid, u->uid, u->uid, u->uid) == 0;
}

/* Nothing of this process may be kept open by it; that the report is closed says that it began. */
_Noreturn static void run_body(const struct fm_child_options *o)
{
    (void)syscall(SYS_close_range, 3u, ~0u, 0u);
    _exit(o->body(o->arg));
}

/* In the child. Never returns; on failure errno goes to the parent. */
_Noreturn static void become(const struct fm_child_options *o, int in, int out, int err, int report,
                             pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigaction(SIGPIPE, &dfl, NULL);
    setpgid(0, 0);
    bool good = !o->user || become_user(o->user);
    /* only now: a change of user takes it back */
    int signo = o->death_signal ? o->death_signal : SIGKILL;
    if (!o->outlive && (prctl(PR_SET_PDEATHSIG, signo) < 0 || getppid() != parent))
        _exit(127);
    if (good && dup2(in, 0) >= 0 && dup2(out, 1) >= 0 && dup2(err, 2) >= 0 &&
        (!o->cwd || chdir(o->cwd) == 0)) {
        if (o->body)
            run_body(o);
        if (o->envp)
            execvpe(o->argv[0], o->argv, o->envp);
        else
            execvp(o->argv[0], o->argv);
    }
    int e = errno;
    ssize_t n = write(report, &e, sizeof e);
    _exit(n == sizeof e ? 126 : 127);
}

/* The errno of a failed exec, 0 where it worked: the pipe closes on exec. */
static int exec_result(int report)
{
    int e = 0;
    ssize_t n;
    do
        n = read(report, &e, sizeof e);
    while (n < 0 && errno == EINTR);
    return n == sizeof e ? e : 0;
}

static enum fm_err spawn(struct fm_child *c, const struct fm_child_options *o, int null, int out_w,
                         struct fm_error *e)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0)
        return fm_error_errno(e, FM_ERR_LIMIT, errno, "cannot start %s", o->argv[0]);
    int out = out_w >= 0 ? out_w : o->out_fd >= 0 ? o->out_fd : null;
    int err_fd = out_w >= 0 ? out_w : o->err_fd >= 0 ? o->err_fd : null;
    pid_t parent = getpid();
    c->pid = fork();
    if (c->pid == 0)
        become(o, null, out, err_fd, report[1], parent);
    int fork_errno = errno;
    close(report[1]);
    enum fm_err err = FM_ERR_OK;
    if (c->pid < 0) {
        err = fm_error_errno(e, FM_ERR_LIMIT, fork_errno, "cannot start %s", o->argv[0]);
    } else {
        int failed = exec_result(report[0]);
        if (failed) {
            reap(c);
            err = fm_error_errno(e, failed == ENOENT ? FM_ERR_NOT_FOUND : FM_ERR_PERMISSION, failed,
                                 "cannot start %s", o->argv[0]);
        }
    }
    close(report[0]);
    return err;
}

enum fm_err fm_child_user_find(struct fm_child_user *u, const char *name, struct fm_error *e)
{
    char text[4096];
    struct passwd entry, *found = NULL;
    *u = (struct fm_child_user){.ngroups = FM_CHILD_GROUPS_MAX};
    int failed = getpwnam_r(name, &entry, text, sizeof text, &found);
    if (failed)
        return fm_error_errno(e, FM_ERR_LIMIT, failed, "cannot look up the user `%.64s`", name);
    if (!found)
        return fm_error_set(e, FM_ERR_NOT_FOUND, "there is no user `%.64s` on this host", name);
    u->uid = found->pw_uid;
    u->gid = found->pw_gid;
    if (getgrouplist(name, u->gid, u->groups, &u->ngroups) < 0)
        return fm_error_set(e, FM_ERR_LIMIT, "the user `%.64s` is in more than %d groups", name,
                            FM_CHILD_GROUPS_MAX);
    FM_ASSERT(u->ngroups >= 0 && u->ngroups <= FM_CHILD_GROUPS_MAX);
    return FM_ERR_OK;
}

bool fm_child_user_may(const struct fm_child_user *u)
{
    return geteuid() == 0 || geteuid() == u->uid;
}

enum fm_err fm_child_start(struct fm_child *c, struct fm_loop *l, const struct fm_child_options *o,
                           void (*exited)(struct fm_child *, int), struct fm_error *e)
{
    FM_ASSERT(o->argv && o->argv[0] && exited && (o->output || o->output_cap == 0));
    *c = (struct fm_child){.watch = {.fd = -1, .ready = child_ready},
                           .out = {.fd = -1, .ready = output_ready},
                           .loop = l,
                           .output = o->output,
                           .output_cap = o->output_cap,
                           .last = o->output_last,
                           .exited = exited};
    fm_timer_init(&c->timer, child_timed_out);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int pipe_fd[2] = {-1, -1};
    if (null < 0 || (o->output && pipe2(pipe_fd, O_CLOEXEC) < 0)) {
        int saved = errno;
        if (null >= 0)
            close(null);
        return fm_error_errno(e, FM_ERR_LIMIT, saved, "cannot start %s", o->argv[0]);
    }
    enum fm_err err = spawn(c, o, null, pipe_fd[1], e);
    close(null);
    if (pipe_fd[1] >= 0)
        close(pipe_fd[1]);
    if (err) {
        if (pipe_fd[0] >= 0)
            close(pipe_fd[0]);
        return err;
    }
    c->running = true;
    if (pipe_fd[0] >= 0) {
        int rc = fcntl(pipe_fd[0], F_SETFL, O_NONBLOCK);
        FM_ASSERT(rc == 0);
        err = fm_loop_watch(l, &c->out, pipe_fd[0], EPOLLIN, e);
        if (err) {
            close(pipe_fd[0]);
            c->out.fd = -1;
        }
    }
    int pidfd = err ? -1 : pidfd_open(c->pid, 0);
    if (!err && pidfd < 0)
        err = fm_error_errno(e, FM_ERR_LIMIT, errno, "cannot watch %s", o->argv[0]);
    if (!err)
        err = fm_loop_watch(l, &c->watch, pidfd, EPOLLIN, e);
    if (err) {
        if (pidfd >= 0)
            close(pidfd);
        c->watch.fd = -1;
        fm_child_discard(c);
        return err;
    }
    if (o->timeout_ms > 0)
        fm_loop_timer(l, &c->timer, fm_mono_add_ms(fm_mono_now(), o->timeout_ms));
    return FM_ERR_OK;
}

void fm_child_kill(struct fm_child *c, int signo)
{
    if (!c->running)
        return;
    FM_ASSERT(c->pid > 1); /* -1 would be everybody */
    if (kill(-c->pid, signo) < 0)
        (void)kill(c->pid, signo);
}

void fm_child_discard(struct fm_child *c)
{
    if (!c->running)
        return;
    fm_child_kill(c, SIGKILL);
    reap(c);
    close_output(c);
    if (c->watch.fd >= 0)
        forget(c);
    c->running = false;
}

void fm_child_forget(struct fm_child *c)
{
    if (!c->running)
        return;
    close_output(c);
    if (c->watch.fd >= 0)
        forget(c);
    c->running = false;
}
