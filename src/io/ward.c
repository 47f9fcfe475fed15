/* The owner's side of a ward: see the header. Invariant: `over` says `reaped` only where one of the
 * two processes said so after wait(2). */
#include "io/ward.h"

#include "base/assert.h"
#include "base/log.h"
#include "io/ward_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <unistd.h>

enum {
    LATE_MS = 500,  /* after the end that was set: they do not do their work */
    LATER_MS = 500, /* after they were woken, and after the guard was killed */
    STEPS = 3,
    ARGS_MAX = 64,
    DISCARD_MS = 2000,
};

static void close_said(struct fm_ward *w)
{
    if (w->said.fd < 0)
        return;
    int fd = w->said.fd;
    fm_loop_unwatch(w->loop, &w->said);
    close(fd);
    w->said.fd = -1;
}

static void forget(struct fm_ward *w)
{
    fm_loop_cancel(w->loop, &w->late);
    close_said(w);
    if (w->guard_pidfd >= 0)
        close(w->guard_pidfd);
    w->guard_pidfd = -1;
    w->running = false;
}

/* Both are gone, or one of them has said what there is to say. */
static void over(struct fm_ward *w)
{
    FM_ASSERT(w->running);
    forget(w);
    fm_child_discard(&w->second); /* it has said its last word */
    w->over(w, &w->end);
}

/* -------- what they say -------- */

static void heard(struct fm_ward *w, const struct fm_ward_report *r)
{
    switch (r->kind) {
    case FM_WARD_STARTED:
        w->guard = r->guard;
        w->program = r->program;
        if (w->guard_pidfd < 0)
            w->guard_pidfd = pidfd_open(r->guard, 0);
        break;
    case FM_WARD_ENDED: /* between the two */
        break;
    case FM_WARD_OVER:
        w->end = r->end;
        over(w);
        break;
    }
}

static void said(struct fm_watch *watch, uint32_t events)
{
    struct fm_ward *w = fm_container_of(watch, struct fm_ward, said);
    struct fm_ward_report r;
    (void)events;
    ssize_t n = fm_ward_recv(w->said.fd, &r, sizeof r, MSG_DONTWAIT);
    if (n == (ssize_t)sizeof r) {
        heard(w, &r);
        return;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    /* both have let go without a word: nobody knows what they left behind */
    w->end = (struct fm_ward_end){.reaped = false, .forced = true};
    over(w);
}

/* The second alone is gone: the guard ends all of it and says so, or is gone, too, which is seen
 * above. */
static void second_exited(struct fm_child *c, int status)
{
    const struct fm_ward *w = fm_container_of(c, struct fm_ward, second);
    FM_ASSERT(w->running);
    if (status != 0)
        fm_log(FM_LOG_WARN, "ward_second_died", FM_KI("status", status));
}

/* They ought to have ended it, and have not. One that was stopped does so as soon as it goes on; a
 * guard that does not is killed, and the second ends what it leaves. */
static void late(struct fm_timer *t)
{
    struct fm_ward *w = fm_container_of(t, struct fm_ward, late);
    struct fm_mono due = fm_mono_add_ms(w->times.kill_at, LATE_MS);
    if (w->steps == 0 && fm_mono_before(fm_loop_now(w->loop), due)) {
        fm_loop_timer(w->loop, t, due);
        return;
    }
    fm_log(FM_LOG_ERROR, "ward_is_late", FM_KU("step", w->steps));
    int signo = w->steps++ == 0 ? SIGCONT : SIGKILL;
    if (w->guard_pidfd >= 0)
        (void)pidfd_send_signal(w->guard_pidfd, signo, NULL, 0);
    fm_child_kill(&w->second, SIGCONT);
    if (w->steps < STEPS) {
        fm_loop_timer_in_ms(w->loop, t, LATER_MS);
        return;
    }
    w->end = (struct fm_ward_end){.reaped = false, .forced = true};
    over(w);
}

/* -------- orders -------- */

static void send_order(struct fm_ward *w, int signo)
{
    struct fm_ward_order o = {.times = w->times, .signo = signo};
    FM_ASSERT(w->running && !fm_mono_before(w->times.kill_at, w->times.term_at));
    ssize_t n = send(w->said.fd, &o, sizeof o, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)n; /* one that does not read ends it when its time is over */
    if (w->steps > 0)
        return;
    if (fm_mono_is_never(w->times.kill_at))
        fm_loop_cancel(w->loop, &w->late);
    else
        fm_loop_timer(w->loop, &w->late, fm_mono_add_ms(w->times.kill_at, LATE_MS));
}

void fm_ward_set(struct fm_ward *w, const struct fm_ward_times *t)
{
    if (!w->running || !fm_mono_before(fm_mono_now(), w->times.term_at))
        return;
    w->times = *t;
    send_order(w, 0);
}

void fm_ward_end(struct fm_ward *w, int signo, int64_t within_ms)
{
    FM_ASSERT(within_ms >= 0);
    if (!w->running)
        return;
    struct fm_mono end = fm_mono_add_ms(fm_mono_now(), within_ms);
    w->times.kill_at = fm_mono_min(w->times.kill_at, end);
    w->times.term_at = fm_mono_min(w->times.term_at, w->times.kill_at);
    send_order(w, signo);
}

/* -------- start -------- */

/* [this program] ward FD UID SIGNO -- argv */
static enum fm_err start_second(struct fm_ward *w, const struct fm_ward_options *o, int theirs,
                                struct fm_error *e)
{
    char fd[12], uid[12], signo[12];
    char *argv[ARGS_MAX + 8] = {
        (char *)(uintptr_t)(o->executable ? o->executable : "/proc/self/exe"),
        (char[]){FM_WARD_COMMAND},
        fd,
        uid,
        signo,
        (char[]){"--"}};
    unsigned n = 6;
    snprintf(fd, sizeof fd, "%d", theirs);
    snprintf(uid, sizeof uid, "%u", o->uid);
    snprintf(signo, sizeof signo, "%d", o->term_signo);
    for (unsigned i = 0; o->argv[i]; i++, n++) {
        if (i == ARGS_MAX)
            return fm_error_set(e, FM_ERR_LIMIT, "more than %d arguments", ARGS_MAX);
        argv[n] = o->argv[i];
    }
    argv[n] = NULL;
    struct fm_child_options c = {
        .argv = argv, .envp = o->envp, .out_fd = o->out_fd, .err_fd = o->out_fd, .outlive = true};
    if (fcntl(theirs, F_SETFD, 0) < 0) /* the only descriptor that is handed down */
        return fm_error_errno(e, FM_ERR_LIMIT, errno, "cannot hand a socket down");
    return fm_child_start(&w->second, w->loop, &c, second_exited, e);
}

enum fm_err fm_ward_start(struct fm_ward *w, struct fm_loop *l, const struct fm_ward_options *o,
                          void (*over_)(struct fm_ward *, const struct fm_ward_end *),
                          struct fm_error *e)
{
    int pair[2];
    FM_ASSERT(o->argv[0] && o->argv[0][0] == '/' && over_ && o->term_signo > 0);
    *w = (struct fm_ward){.loop = l,
                          .said = {.fd = -1, .ready = said},
                          .times = o->times,
                          .guard_pidfd = -1,
                          .over = over_};
    fm_timer_init(&w->late, late);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return fm_error_errno(e, FM_ERR_LIMIT, errno, "cannot make a pair of sockets");
    enum fm_err err = fm_loop_watch(l, &w->said, pair[0], EPOLLIN, e);
    if (err) {
        close(pair[0]);
        close(pair[1]);
        return err;
    }
    w->running = true;
    send_order(w, 0); /* the first thing that they read */
    err = start_second(w, o, pair[1], e);
    close(pair[1]);
    if (err)
        forget(w);
    return err;
}

bool fm_ward_discard(struct fm_ward *w)
{
    if (!w->running)
        return true;
    w->times = (struct fm_ward_times){FM_MONO_ZERO, FM_MONO_ZERO};
    send_order(w, 0);
    struct fm_mono until = fm_mono_add_ms(fm_mono_now(), DISCARD_MS);
    struct fm_ward_report r = {.kind = FM_WARD_STARTED};
    struct timeval patience = {.tv_usec = 50 * 1000};
    (void)setsockopt(w->said.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ssize_t n = 0;
    do
        n = fm_ward_recv(w->said.fd, &r, sizeof r, 0);
    while ((n == (ssize_t)sizeof r ? r.kind != FM_WARD_OVER : n < 0) &&
           fm_mono_before(fm_mono_now(), until));
    forget(w);
    fm_child_discard(&w->second);
    return n == (ssize_t)sizeof r && r.kind == FM_WARD_OVER && r.end.reaped;
}
