/* The epoll backend of the loop: waiting, handing events to watches, delivering what was deferred.
 * Invariant: a watch that was removed is never called again, also when its event was already
 * fetched in this turn. What sockets do with events is in sock.c. */
#include "io/loop.h"

#include "base/assert.h"
#include "io/sock_turn.h"

#include <errno.h>
#include <unistd.h>

enum { BATCH = 256, BATCHES_MAX = 16, DEFERRED_ROUNDS = 16, STALL_MS = 5 };

/* While a thread runs the loop nobody else may touch it. */
static bool is_ours(const struct fm_loop *l)
{
    return !l->running || pthread_equal(l->thread, pthread_self());
}

enum fm_err fm_loop_init(struct fm_loop *l, struct fm_pool *pool, struct fm_error *e)
{
    *l = (struct fm_loop){.epfd = epoll_create1(EPOLL_CLOEXEC), .pool = pool};
    int err = l->epfd < 0 ? errno : 0;
    l->now = fm_mono_now();
    l->slept = l->now;
    fm_wheel_init(&l->wheel, l->now);
    fm_list_init(&l->deferred);
    fm_list_init(&l->dead);
    if (err)
        return fm_error_errno(e, FM_ERR_LIMIT, err, "cannot create an event loop");
    return FM_ERR_OK;
}

void fm_loop_deinit(struct fm_loop *l)
{
    FM_ASSERT(fm_list_empty(&l->deferred) && !l->running && !l->batch);
    fm_sock_bury(l);
    FM_ASSERT(fm_list_empty(&l->dead));
    if (l->epfd >= 0)
        close(l->epfd);
    l->epfd = -1;
}

enum fm_err fm_loop_watch(struct fm_loop *l, struct fm_watch *w, int fd, uint32_t events,
                          struct fm_error *e)
{
    FM_ASSERT(w->ready && fd >= 0 && is_ours(l));
    w->fd = -1;
    w->events = events;
    struct epoll_event ev = {.events = events, .data.ptr = w};
    if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot watch a descriptor");
    w->fd = fd;
    return FM_ERR_OK;
}

void fm_loop_rewatch(struct fm_loop *l, struct fm_watch *w, uint32_t events)
{
    FM_ASSERT(w->fd >= 0 && is_ours(l));
    if (w->events == events)
        return;
    struct epoll_event ev = {.events = events, .data.ptr = w};
    int rc = epoll_ctl(l->epfd, EPOLL_CTL_MOD, w->fd, &ev);
    FM_ASSERT(rc == 0);
    w->events = events;
}

void fm_loop_unwatch(struct fm_loop *l, struct fm_watch *w)
{
    FM_ASSERT(w->fd >= 0 && is_ours(l));
    /* Explicitly, not by close alone: a child between fork and exec still holds the descriptor and
     * would keep the registration alive. */
    int rc = epoll_ctl(l->epfd, EPOLL_CTL_DEL, w->fd, NULL);
    FM_ASSERT(rc == 0);
    for (size_t i = l->batch_at; i < l->batch_n; i++)
        if (l->batch[i].data.ptr == w)
            l->batch[i].data.ptr = NULL;
}

static int wait_for(struct fm_loop *l, struct epoll_event *ev, int64_t wait_ns)
{
    FM_ASSERT(wait_ns >= 0);
    struct timespec ts = {.tv_sec = (time_t)(wait_ns / FM_NS_PER_S),
                          .tv_nsec = (long)(wait_ns % FM_NS_PER_S)};
    static _Thread_local bool no_pwait2; /* a kernel before 5.11 */
    if (!no_pwait2) {
        int n = epoll_pwait2(l->epfd, ev, BATCH, &ts, NULL);
        if (n >= 0 || errno != ENOSYS)
            return n;
        no_pwait2 = true;
    }
    int64_t ms = (wait_ns + FM_NS_PER_MS - 1) / FM_NS_PER_MS;
    return epoll_wait(l->epfd, ev, BATCH, (int)(ms > INT32_MAX ? INT32_MAX : ms));
}

/* How long to wait when nothing else is to be done. */
static int64_t plan(const struct fm_loop *l, int64_t most_ns)
{
    if (!fm_list_empty(&l->deferred) || !fm_list_empty(&l->dead))
        return 0;
    struct fm_mono next = fm_wheel_next(&l->wheel);
    int64_t ns = fm_mono_is_never(next) ? most_ns : fm_mono_sub_ns(next, l->now);
    return fm_clamp_i64(ns, 0, most_ns);
}

static int64_t lateness(const struct fm_loop *l)
{
    int64_t late = fm_mono_sub_ns(l->now, l->slept) - l->planned_ns;
    return late > 0 ? late : 0;
}

/* From here on a watch that goes takes its event with it. */
static void take(struct fm_loop *l, struct epoll_event *ev, int n)
{
    FM_ASSERT(!l->batch && n <= BATCH); /* a loop is never turned from inside of itself */
    l->batch = ev;
    l->batch_n = n > 0 ? (size_t)n : 0;
    l->batch_at = 0;
}

static void handle(struct fm_loop *l)
{
    FM_ASSERT(l->batch && l->batch_at == 0);
    for (; l->batch_at < l->batch_n; l->batch_at++) {
        struct fm_watch *w = l->batch[l->batch_at].data.ptr;
        if (w)
            w->ready(w, l->batch[l->batch_at].events);
    }
    l->batch = NULL;
    l->batch_n = l->batch_at = 0;

    for (int i = 0; i < DEFERRED_ROUNDS && !fm_list_empty(&l->deferred); i++)
        fm_sock_deliver(l);
}

void fm_loop_turn(struct fm_loop *l, int64_t wait_ns)
{
    struct epoll_event ev[BATCH];
    int64_t planned = plan(l, wait_ns);
    int n = wait_for(l, ev, planned);
    FM_ASSERT(n >= 0 || errno == EINTR);
    l->planned_ns = planned;
    l->now = fm_mono_now();
    l->turns++;
    int64_t late = lateness(l);
    l->slept = l->now; /* from here on lateness counts: work of this turn and the next wait */
    take(l, ev, n);
    if (l->woke)
        l->woke(l, late, l->woke_user); /* may close what is ready */
    handle(l);
    /* After a stall more is ready than a batch holds, and many a timer is due */
    for (int i = 1; n == BATCH && late > STALL_MS * FM_NS_PER_MS && i < BATCHES_MAX; i++) {
        n = wait_for(l, ev, 0);
        FM_ASSERT(n >= 0 || errno == EINTR);
        take(l, ev, n);
        handle(l);
    }
    fm_wheel_advance(&l->wheel, l->now);
    if (!fm_list_empty(&l->deferred))
        fm_sock_deliver(l);
    fm_sock_bury(l);
}

void fm_loop_run(struct fm_loop *l)
{
    FM_ASSERT(!l->running);
    l->thread = pthread_self();
    l->running = true;
    l->stop = false;
    l->now = l->slept = fm_mono_now();
    while (!l->stop)
        fm_loop_turn(l, 3600 * FM_NS_PER_S);
    l->running = false;
}

void fm_loop_stop(struct fm_loop *l)
{
    l->stop = true;
}
