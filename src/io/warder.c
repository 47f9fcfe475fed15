/* The two processes of a ward: see ward.h. Both are of one thread and may block for some tens of
 * milliseconds. Invariant: OVER is said after wait(2) had nobody left, and says so.
 *
 * It knows nothing of what it guards but how to ask it to end. */
#include "base/assert.h"
#include "base/str.h"
#include "io/reap.h"
#include "io/ward_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
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
    REAP_MS = 3000,
    ALONE_MS = 5000, /* an owner that had set no end has died: so long for an end in order */
    SECOND_MS = 60,  /* the second leaves the end to the guard for so long */
    EXIT_NOT_STARTED = 126,
    EXIT_NO_PROGRAM = 127,
    EXIT_USAGE = 64,
};

struct warder {
    int owner;  /* the owner's socket; the guard only speaks there where the second is gone */
    int other;  /* between guard and second; -1 = the other is gone, or the owner is */
    bool alone; /* the guard's: it has heard the owner's end */
    pid_t child;
    struct fm_ward_order order;
    struct fm_ward_end end;
};

static void say(int fd, const struct fm_ward_report *r)
{
    ssize_t n = send(fd, r, sizeof *r, MSG_NOSIGNAL);
    (void)n; /* nobody listens: there is nobody to tell */
}

static int ms_until(struct fm_mono at, struct fm_mono now)
{
    return (int)fm_clamp_i64(fm_mono_sub_ms(at, now) + 1, 0, TICK_MS);
}

/* Nobody sets times any more: ask it to end, within the time that is left. */
static void alone(struct fm_ward_order *o)
{
    struct fm_mono now = fm_mono_now();
    if (fm_mono_before(now, o->times.term_at))
        o->times.term_at = now;
    o->times.kill_at = fm_mono_min(o->times.kill_at, fm_mono_add_ms(now, ALONE_MS));
}

/* True: an order. A socket that has ended is closed. */
static bool hear(int *fd, struct fm_ward_order *o)
{
    struct fm_ward_order m;
    ssize_t n = *fd < 0 ? -1 : fm_ward_recv(*fd, &m, sizeof m, MSG_DONTWAIT);
    if (n == (ssize_t)sizeof m) {
        m.term_signo = o->term_signo;
        *o = m;
        return true;
    }
    if (n == 0 || (n < 0 && *fd >= 0 && errno != EAGAIN && errno != EINTR)) {
        close(*fd);
        *fd = -1;
        alone(o);
    }
    return false;
}

/* -------- the program -------- */

static void signals_as_usual(void)
{
    static const int all[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGCHLD, SIGUSR1};
    sigset_t none;
    sigemptyset(&none);
    for (size_t i = 0; i < FM_COUNT(all); i++)
        (void)signal(all[i], SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool become_user(uid_t uid)
{
    if (uid == geteuid())
        return true;
    struct passwd entry, *p = NULL;
    char texts[4096];
    return getpwuid_r(uid, &entry, texts, sizeof texts, &p) == 0 && p &&
           initgroups(p->pw_name, p->pw_gid) == 0 && setgid(p->pw_gid) == 0 && setuid(uid) == 0 &&
           geteuid() == uid && getuid() == uid;
}

/* The kernel forgets PR_SET_PDEATHSIG when the user changes: it is set after that. SIGQUIT, because
 * a database takes its children with it then, which SIGKILL would leave to write on. */
_Noreturn static void become(char *const *argv, uid_t uid, pid_t guard, struct fm_mono end)
{
    (void)setsid();
    bool bound = become_user(uid) && prctl(PR_SET_PDEATHSIG, SIGQUIT) == 0 && getppid() == guard;
    if (!bound || !fm_mono_before(fm_mono_now(), end)) {
        (void)fprintf(stderr, "fulmar ward: %s cannot be started as user %u\n", argv[0],
                      (unsigned)uid);
        _exit(EXIT_NOT_STARTED);
    }
    (void)execv(argv[0], argv);
    int err = errno;
    (void)fprintf(stderr, "fulmar ward: %s: %s\n", argv[0], strerror(err));
    _exit(err == ENOENT ? EXIT_NO_PROGRAM : EXIT_NOT_STARTED);
}

/* -------- the guard -------- */

static void signal_program(const struct warder *w, int signo)
{
    (void)kill(w->child, signo);
    (void)kill(w->child, SIGCONT);
}

/* Until the program has died, or its time has come. */
static void guard_it(struct warder *w)
{
    bool asked = false;
    struct fm_mono last = FM_MONO_NEVER; /* what was on its way when it was asked came too late */
    int pidfd = pidfd_open(w->child, 0);
    for (;;) {
        struct fm_mono now = fm_mono_now(), kill_at = fm_mono_min(w->order.times.kill_at, last);
        if (!fm_mono_before(now, kill_at)) {
            w->end.forced = true;
            w->end.status = SIGKILL;
            break;
        }
        if (!asked && !fm_mono_before(now, w->order.times.term_at)) {
            asked = true;
            last = kill_at;
            signal_program(w, w->order.term_signo);
        }
        /* an owner that has died is seen as the end of its socket, which is not read here */
        struct pollfd p[3] = {{.fd = w->other, .events = POLLIN},
                              {.fd = pidfd, .events = POLLIN},
                              {.fd = w->alone ? -1 : w->owner, .events = 0}};
        struct fm_mono next = asked ? kill_at : fm_mono_min(w->order.times.term_at, kill_at);
        (void)poll(p, 3, ms_until(next, now));
        if (p[0].revents && hear(&w->other, &w->order) && w->order.signo)
            signal_program(w, w->order.signo);
        if (p[2].revents & POLLHUP) {
            w->alone = true;
            alone(&w->order);
        }
        if (waitpid(w->child, &w->end.status, WNOHANG) == w->child)
            break;
    }
    if (pidfd >= 0)
        close(pidfd);
}

_Noreturn static void be_guard(struct warder *w, char *const *argv, uid_t uid)
{
    pid_t second = getppid(), me = getpid();
    struct fm_error e;
    (void)setsid();
    if (fm_reap_begin(&e))
        _exit(EXIT_NOT_STARTED);
    w->child = fork();
    if (w->child == 0)
        become(argv, uid, me, w->order.times.kill_at);
    if (w->child < 0) {
        w->end.status = EXIT_NOT_STARTED << 8;
    } else {
        struct fm_ward_report r = {.kind = FM_WARD_STARTED, .guard = me, .program = w->child};
        say(w->owner, &r);
        guard_it(w);
    }
    /* a program that has died may have left others that write on */
    w->end.reaped = fm_reap_all(REAP_MS);
    struct fm_ward_report r = {.kind = FM_WARD_ENDED, .guard = me, .end = w->end};
    if (w->other >= 0 && getppid() == second)
        say(w->other, &r);
    else {
        r.kind = FM_WARD_OVER;
        say(w->owner, &r);
    }
    _exit(0);
}

/* -------- the second -------- */

/* Pass on what is said, until the guard is gone or has not done what it should have. */
static void watch_guard(struct warder *w)
{
    int pidfd = pidfd_open(w->child, 0);
    bool said = false;
    for (;;) {
        struct fm_mono now = fm_mono_now();
        struct fm_mono end = fm_mono_add_ms(w->order.times.kill_at, SECOND_MS);
        if (!fm_mono_before(now, end)) {
            w->end.forced = true;
            break;
        }
        struct pollfd p[3] = {{.fd = w->owner, .events = POLLIN},
                              {.fd = w->other, .events = POLLIN},
                              {.fd = pidfd, .events = POLLIN}};
        (void)poll(p, 3, ms_until(end, now));
        if (p[0].revents && hear(&w->owner, &w->order)) {
            ssize_t n = send(w->other, &w->order, sizeof w->order, MSG_NOSIGNAL | MSG_DONTWAIT);
            (void)n; /* one that does not read is ended above */
        }
        struct fm_ward_report r;
        if (p[1].revents &&
            fm_ward_recv(w->other, &r, sizeof r, MSG_DONTWAIT) == (ssize_t)sizeof r) {
            w->end = r.end;
            said = true;
        }
        if (waitpid(w->child, NULL, WNOHANG) == w->child) {
            while (fm_ward_recv(w->other, &r, sizeof r, MSG_DONTWAIT) == (ssize_t)sizeof r) {
                w->end = r.end;
                said = true;
            }
            w->end.forced |= !said;
            break;
        }
    }
    if (pidfd >= 0)
        close(pidfd);
}

static int be_second(struct warder *w, char *const *argv, uid_t uid)
{
    int pair[2];
    struct fm_error e;
    if (fm_reap_begin(&e) || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return EXIT_NOT_STARTED;
    w->child = fork();
    if (w->child == 0) {
        close(pair[0]);
        w->other = pair[1];
        be_guard(w, argv, uid);
    }
    close(pair[1]);
    w->other = pair[0];
    if (w->child < 0)
        w->end = (struct fm_ward_end){.status = EXIT_NOT_STARTED << 8};
    else
        watch_guard(w);
    w->end.reaped = fm_reap_all(REAP_MS);
    struct fm_ward_report r = {.kind = FM_WARD_OVER, .end = w->end};
    if (w->owner >= 0)
        say(w->owner, &r);
    return 0;
}

/* ward FD UID SIGNO -- PROGRAM... */
int fm_ward_main(int argc, char **argv)
{
    uint64_t fd, uid, signo;
    if (argc < 7 || !fm_str_u64(fm_str_z(argv[2]), &fd) || fd > INT16_MAX ||
        !fm_str_u64(fm_str_z(argv[3]), &uid) || uid > UINT32_MAX - 1 ||
        !fm_str_u64(fm_str_z(argv[4]), &signo) || signo < 1 || signo > 64 ||
        strcmp(argv[5], "--") != 0 || argv[6][0] != '/') {
        fputs("fulmar ward: this is for an agent to call\n", stderr);
        return EXIT_USAGE;
    }
    struct warder w = {.owner = (int)fd, .other = -1};
    w.order.term_signo = (int)signo;
    signals_as_usual();
    (void)signal(SIGPIPE, SIG_IGN);
    if (fcntl(w.owner, F_SETFD, FD_CLOEXEC) < 0 ||
        recv(w.owner, &w.order, sizeof w.order, MSG_DONTWAIT) != (ssize_t)sizeof w.order) {
        fputs("fulmar ward: nobody says until when\n", stderr);
        return EXIT_USAGE;
    }
    w.order.term_signo = (int)signo;
    return be_second(&w, argv + 6, (uid_t)uid);
}
