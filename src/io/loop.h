/* io/loop.h: one event loop per thread, with a completion interface.
 *
 * A caller submits an operation (io/sock.h) and gets exactly one completion for it later, from the
 * loop and never from inside the submission; after fm_sock_close it gets none but the close's own.
 * Memory named in an operation stays valid until its completion. This is the shape of io_uring; the
 * backend here is edge-triggered epoll (epoll(7)).
 *
 * A turn of the loop: wait, read the clock once, complete input and output, then fire timers. So a
 * timer does not overtake an answer that has already arrived; the deadline of a socket never does,
 * also where more has arrived than a turn can hand out.
 *
 * One thread owns a loop; only fm_mailbox_post (io/mailbox.h) may be called from another. */
#ifndef FM_IO_LOOP_H
#define FM_IO_LOOP_H

#include "base/err.h"
#include "io/pool.h"
#include "io/wheel.h"

#include <pthread.h>
#include <sys/epoll.h>

/* A file descriptor whose readiness is watched. Internal to src/io and the few units beside sockets
 * that live on readiness (signals, children, mailboxes, listeners). */
struct fm_watch {
    int fd; /* -1: not watched */
    uint32_t events;
    void (*ready)(struct fm_watch *w, uint32_t events);
};

struct fm_loop {
    int epfd;
    bool stop, running;
    pthread_t thread;     /* that runs it, while it does */
    struct fm_mono now;   /* the clock of this turn */
    struct fm_mono slept; /* when the last wait began */
    int64_t planned_ns;   /* how long that wait was allowed to take */
    struct fm_wheel wheel;
    struct fm_pool *pool;      /* what sockets receive into; the owner's */
    struct fm_list deferred;   /* sockets with completions to deliver in this turn */
    struct fm_list dead;       /* closed in this turn, told at its end */
    struct epoll_event *batch; /* events that wait to be handled in this turn */
    size_t batch_at, batch_n;
    uint64_t turns;
    /* Called after each wait, before any completion: `late_ns` is how much longer the loop was away
     * than it had planned (0 = not at all): a stopped process, a stolen CPU, a slow callback. */
    void (*woke)(struct fm_loop *l, int64_t late_ns, void *user);
    void *woke_user;
};

/* `pool` must outlive the loop and belong to the same thread. A loop that could not be made may be
 * deinitialised like one that was. */
enum fm_err fm_loop_init(struct fm_loop *l, struct fm_pool *pool,
                         struct fm_error *e) FM_WARN_UNUSED;
void fm_loop_deinit(struct fm_loop *l);

/* Until fm_loop_stop. */
void fm_loop_run(struct fm_loop *l);
void fm_loop_stop(struct fm_loop *l);

/* One turn that waits at most `wait_ns`; for tests and for draining at the end. */
void fm_loop_turn(struct fm_loop *l, int64_t wait_ns);

static inline struct fm_mono fm_loop_now(const struct fm_loop *l)
{
    return l->now;
}

static inline void fm_loop_timer(struct fm_loop *l, struct fm_timer *t, struct fm_mono when)
{
    fm_wheel_set(&l->wheel, t, when);
}

static inline void fm_loop_timer_in_ms(struct fm_loop *l, struct fm_timer *t, int64_t ms)
{
    fm_wheel_set(&l->wheel, t, fm_mono_add_ms(l->now, ms));
}

static inline void fm_loop_cancel(struct fm_loop *l, struct fm_timer *t)
{
    fm_wheel_cancel(&l->wheel, t);
}

/* Level-triggered unless EPOLLET is among the events. w->ready is set before; w->fd is `fd` from
 * here on, or -1 where this failed (the descriptor stays the caller's). */
enum fm_err fm_loop_watch(struct fm_loop *l, struct fm_watch *w, int fd, uint32_t events,
                          struct fm_error *e) FM_WARN_UNUSED;
void fm_loop_rewatch(struct fm_loop *l, struct fm_watch *w, uint32_t events);
/* Forget it, also what of it waits in this turn. Does not close the descriptor. */
void fm_loop_unwatch(struct fm_loop *l, struct fm_watch *w);

#endif
