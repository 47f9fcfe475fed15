/* A command with an end: see the header. Invariant: the warden says that it is over only after
 * wait(2) said that nothing is left below it, or could not be reaped. */
#include "cli/warden.h"

#include "base/assert.h"
#include "io/reap.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TICK_MS = 20, /* poll's clock does not run through suspend */
    REAP_MS = 1000,
    EXIT_NOT_STARTED = 126,
    EXIT_NO_PROGRAM = 127,
};

/* -------- the command -------- */

static void signals_as_usual(void)
{
    static const int all[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGCHLD};
    sigset_t none;
    sigemptyset(&none);
    for (size_t i = 0; i < FM_COUNT(all); i++)
        (void)signal(all[i], SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

_Noreturn static void become(char *const *argv, pid_t warden, const struct fm_warden_times *t)
{
    (void)setpgid(0, 0);
    bool bound = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == warden;
    if (!bound || !fm_mono_before(fm_mono_now(), t->term_at))
        _exit(EXIT_NOT_STARTED);
    (void)execvp(argv[0], argv);
    int err = errno;
    (void)fprintf(stderr, "fulmar lease run: %s: %s\n", argv[0], strerror(err));
    _exit(err == ENOENT ? EXIT_NO_PROGRAM : EXIT_NOT_STARTED);
}

/* -------- the warden -------- */

static void report(int fd, const struct fm_warden_end *end)
{
    ssize_t n = send(fd, end, sizeof *end, MSG_NOSIGNAL);
    (void)n; /* nobody listens: there is nobody to tell */
}

/* New times; who sets them is gone: end it, within the time that is left. */
static void hear(int *fd, struct fm_warden_times *t)
{
    struct fm_warden_times m;
    ssize_t n = recv(*fd, &m, sizeof m, MSG_DONTWAIT);
    if (n == (ssize_t)sizeof m) {
        *t = m;
    } else if (n == 0) {
        close(*fd);
        *fd = -1;
        t->term_at = FM_MONO_ZERO;
    }
}

static int ms_until(struct fm_mono at, struct fm_mono now)
{
    return (int)fm_clamp_i64(fm_mono_sub_ms(at, now) + 1, 0, TICK_MS);
}

/* Until the command has ended, or its time. */
static void watch(int *fd, pid_t child, struct fm_warden_times t, struct fm_warden_end *end)
{
    int pidfd = pidfd_open(child, 0);
    for (;;) {
        struct fm_mono now = fm_mono_now();
        if (!fm_mono_before(now, t.kill_at)) {
            (void)kill(-child, SIGKILL);
            end->forced = true;
            end->status = SIGKILL;
            break;
        }
        if (!end->forced && !fm_mono_before(now, t.term_at)) {
            (void)kill(-child, SIGTERM);
            (void)kill(-child, SIGCONT);
            end->forced = true;
        }
        struct fm_mono next = end->forced ? t.kill_at : fm_mono_min(t.term_at, t.kill_at);
        struct pollfd p[2] = {{.fd = *fd, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
        (void)poll(p, 2, ms_until(next, now));
        if (*fd >= 0 && p[0].revents)
            hear(fd, &t);
        if (waitpid(child, &end->status, WNOHANG) == child)
            break;
    }
    if (pidfd >= 0)
        close(pidfd);
}

_Noreturn static void be_warden(int fd, char *const *argv, const struct fm_warden_times *t)
{
    struct fm_warden_end end = {0};
    pid_t me = getpid();
    (void)setpgid(0, 0); /* what the terminal sends is for who asked */
    signals_as_usual();
    struct fm_error none;
    if (fm_reap_begin(&none))
        _exit(EXIT_NOT_STARTED);
    pid_t child = fork();
    if (child == 0)
        become(argv, me, t);
    if (child < 0) {
        end.status = EXIT_NOT_STARTED << 8;
    } else {
        (void)setpgid(child, child); /* whoever is first */
        watch(&fd, child, *t, &end);
        end.left = !fm_reap_all(REAP_MS);
    }
    if (fd >= 0)
        report(fd, &end);
    _exit(0);
}

/* -------- who asked -------- */

enum fm_err fm_warden_start(struct fm_warden *w, char *const *argv, const struct fm_warden_times *t,
                            struct fm_error *e)
{
    int pair[2];
    FM_ASSERT(argv[0] && !fm_mono_before(t->kill_at, t->term_at));
    enum fm_err err = fm_reap_begin(e);
    if (err)
        return err;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return fm_error_errno(e, FM_ERR_LIMIT, errno, "cannot make a pair of sockets");
    w->pid = fork();
    if (w->pid == 0) {
        close(pair[0]);
        be_warden(pair[1], argv, t);
    }
    close(pair[1]);
    w->fd = pair[0];
    if (w->pid > 0)
        return FM_ERR_OK;
    close(pair[0]);
    return fm_error_errno(e, FM_ERR_LIMIT, errno, "cannot make a process");
}

void fm_warden_set(const struct fm_warden *w, const struct fm_warden_times *t)
{
    FM_ASSERT(w->fd >= 0 && !fm_mono_before(t->kill_at, t->term_at));
    ssize_t n = send(w->fd, t, sizeof *t, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)n; /* a warden that does not read ends the command when its time is over */
}

void fm_warden_end(struct fm_warden *w, struct fm_warden_end *out)
{
    FM_ASSERT(w->pid > 0);
    (void)kill(w->pid, SIGKILL);
    *out = (struct fm_warden_end){.forced = true, .left = !fm_reap_all(REAP_MS), .status = SIGKILL};
    close(w->fd);
    *w = (struct fm_warden){.fd = -1};
}

bool fm_warden_wait(struct fm_warden *w, int64_t ms, struct fm_warden_end *out)
{
    struct pollfd p = {.fd = w->fd, .events = POLLIN};
    FM_ASSERT(w->pid > 0 && w->fd >= 0 && ms >= 0);
    if (poll(&p, 1, (int)fm_clamp_i64(ms, 0, INT32_MAX)) <= 0)
        return false;
    struct fm_warden_end end;
    if (recv(w->fd, &end, sizeof end, 0) != (ssize_t)sizeof end) {
        fm_warden_end(w, out); /* it died, and could not say anything */
        return true;
    }
    fm_warden_end(w, out); /* what still waits to be reaped, the warden itself */
    end.left |= out->left;
    *out = end;
    return true;
}
