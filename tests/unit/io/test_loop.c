/* The loop: order within a turn, lateness, watches that go while their event waits. */
#include "net.h"

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

static struct net net;

static int setup(void **state)
{
    net_open(&net, 1024, 4);
    return fm_test_fds_before(state);
}

static int teardown(void **state)
{
    int rc = fm_test_fds_after(state);
    net_close(&net);
    return rc;
}

/* -------- timers -------- */

struct alarm {
    struct fm_timer timer;
    unsigned fired;
    struct fm_mono at;
};

static void alarm_fired(struct fm_timer *t)
{
    struct alarm *a = fm_container_of(t, struct alarm, timer);
    a->fired++;
    a->at = fm_loop_now(&net.loop);
}

static void stop_loop(struct fm_timer *t)
{
    alarm_fired(t);
    fm_loop_stop(&net.loop);
}

static void runs_until_it_is_stopped(void **state)
{
    (void)state;
    struct alarm early = {.fired = 0}, stop = {.fired = 0}, never = {.fired = 0};
    fm_timer_init(&early.timer, alarm_fired);
    fm_timer_init(&stop.timer, stop_loop);
    fm_timer_init(&never.timer, alarm_fired);
    struct fm_mono start = fm_mono_now();
    fm_loop_timer(&net.loop, &early.timer, fm_mono_add_ms(start, 3));
    fm_loop_timer(&net.loop, &stop.timer, fm_mono_add_ms(start, 8));
    fm_loop_timer(&net.loop, &never.timer, fm_mono_add_ms(start, 60000));
    fm_loop_run(&net.loop);
    assert_int_equal(early.fired + stop.fired, 2);
    assert_true(early.at.ns >= start.ns + 3 * FM_NS_PER_MS);
    assert_true(stop.at.ns >= start.ns + 8 * FM_NS_PER_MS);
    assert_int_equal(never.fired, 0);
    fm_loop_cancel(&net.loop, &never.timer);
    fm_loop_timer_in_ms(&net.loop, &stop.timer, 1); /* and once more */
    fm_loop_run(&net.loop);
    assert_int_equal(stop.fired, 2);
}

static void waits_no_longer_than_told(void **state)
{
    (void)state;
    struct fm_mono before = fm_mono_now();
    fm_loop_turn(&net.loop, 3 * FM_NS_PER_MS);
    int64_t took = fm_mono_sub_ns(fm_mono_now(), before);
    assert_in_range(took, 3 * FM_NS_PER_MS, 500 * FM_NS_PER_MS);
    assert_true(fm_loop_now(&net.loop).ns >= before.ns);
}

/* -------- watches -------- */

struct eye {
    struct fm_watch watch;
    unsigned ready;
    uint32_t events;
    struct eye *unwatches;
    struct alarm *fired_before;
};

static void eye_ready(struct fm_watch *w, uint32_t events)
{
    struct eye *e = fm_container_of(w, struct eye, watch);
    e->ready++;
    e->events = events;
    if (e->fired_before)
        assert_int_equal(e->fired_before->fired, 0);
    if (e->unwatches) {
        fm_loop_unwatch(&net.loop, &e->unwatches->watch);
        e->unwatches = NULL;
    }
}

static void open_eye(struct eye *e, unsigned count, uint32_t events)
{
    *e = (struct eye){.watch = {.ready = eye_ready}};
    int fd = eventfd(count, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fm_loop_watch(&net.loop, &e->watch, fd, events, NULL), FM_ERR_OK);
}

static void timers_come_after_input(void **state)
{
    (void)state;
    struct alarm a = {.fired = 0};
    struct eye e;
    fm_timer_init(&a.timer, alarm_fired);
    open_eye(&e, 1, EPOLLIN);
    e.fired_before = &a;
    fm_loop_timer_in_ms(&net.loop, &a.timer, 100);
    net_skip_ms(200);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(e.ready, 1);
    assert_int_equal(a.fired, 1);
    fm_loop_unwatch(&net.loop, &e.watch);
    close(e.watch.fd);
}

static void a_watch_repeats_unless_it_is_edge_triggered(void **state)
{
    (void)state;
    struct eye level, edge;
    open_eye(&level, 1, EPOLLIN);
    open_eye(&edge, 1, EPOLLIN | EPOLLET);
    for (int i = 0; i < 3; i++)
        fm_loop_turn(&net.loop, 0);
    assert_int_equal(level.ready, 3);
    assert_int_equal(edge.ready, 1);
    fm_loop_rewatch(&net.loop, &level.watch, 0);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(level.ready, 3);
    fm_loop_rewatch(&net.loop, &level.watch, EPOLLIN);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(level.ready, 4);
    fm_loop_unwatch(&net.loop, &level.watch);
    fm_loop_unwatch(&net.loop, &edge.watch);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(level.ready, 4);
    close(level.watch.fd);
    close(edge.watch.fd);
}

static void an_event_of_a_removed_watch_is_forgotten(void **state)
{
    (void)state;
    struct eye a, b;
    open_eye(&a, 1, EPOLLIN);
    open_eye(&b, 1, EPOLLIN);
    a.unwatches = &b;
    b.unwatches = &a;
    fm_loop_turn(&net.loop, 0); /* both are ready in it */
    assert_int_equal(a.ready + b.ready, 1);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(a.ready + b.ready, 2); /* the one that is left */
    fm_loop_unwatch(&net.loop, a.ready ? &a.watch : &b.watch);
    close(a.watch.fd);
    close(b.watch.fd);
}

static void says_what_it_cannot_watch(void **state)
{
    (void)state;
    struct eye e = {.watch = {.ready = eye_ready}};
    struct fm_error err;
    int fd = eventfd(0, EFD_CLOEXEC);
    close(fd);
    assert_int_equal(fm_loop_watch(&net.loop, &e.watch, fd, EPOLLIN, &err), FM_ERR_IO);
    assert_non_null(strstr(err.msg, "cannot watch"));
}

/* -------- lateness -------- */

static int64_t latest_ns;

static void note_lateness(struct fm_loop *l, int64_t late_ns, void *user)
{
    (void)l;
    assert_ptr_equal(user, &latest_ns);
    if (late_ns > latest_ns)
        latest_ns = late_ns;
}

static void dawdle(struct fm_timer *t)
{
    alarm_fired(t);
    net_skip_ms(250); /* a callback that takes long */
}

static void tells_how_late_it_is(void **state)
{
    (void)state;
    latest_ns = 0;
    net.loop.woke = note_lateness;
    net.loop.woke_user = &latest_ns;
    fm_loop_turn(&net.loop, 0);
    latest_ns = 0;
    fm_loop_turn(&net.loop, 20 * FM_NS_PER_MS); /* a wait as planned is not late */
    assert_true(latest_ns < 200 * FM_NS_PER_MS);
    net_skip_ms(300); /* stopped between two turns */
    fm_loop_turn(&net.loop, 0);
    assert_in_range(latest_ns, 300 * FM_NS_PER_MS, 500 * FM_NS_PER_MS);
    struct alarm a = {.fired = 0};
    fm_timer_init(&a.timer, dawdle);
    fm_loop_timer_in_ms(&net.loop, &a.timer, 0);
    latest_ns = 0;
    for (int i = 0; i < 3; i++)
        fm_loop_turn(&net.loop, FM_NS_PER_MS);
    assert_int_equal(a.fired, 1);
    assert_in_range(latest_ns, 250 * FM_NS_PER_MS, 450 * FM_NS_PER_MS);
}

static void one_that_cannot_be_made_can_be_undone(void **state)
{
    (void)state;
    struct fm_loop l;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    enum fm_err err = fm_loop_init(&l, &net.pool, NULL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(err, FM_ERR_LIMIT);
    fm_loop_deinit(&l);
}

#define with_net(fn) fm_test_with(fn, setup, teardown)

/* As a gate does that closes its connections because it was frozen. */
static void unwatch_late(struct fm_loop *l, int64_t late_ns, void *user)
{
    struct eye *e = user;
    if (late_ns > 0 && e->watch.fd >= 0) {
        fm_loop_unwatch(l, &e->watch);
        close(e->watch.fd);
        e->watch.fd = -1;
    }
}

static void what_goes_when_it_wakes_is_not_told_any_more(void **state)
{
    (void)state;
    struct eye gone, stays;
    open_eye(&gone, 1, EPOLLIN);
    open_eye(&stays, 1, EPOLLIN);
    net.loop.woke = unwatch_late;
    net.loop.woke_user = &gone;
    net_skip_ms(300);
    fm_loop_turn(&net.loop, 0); /* both were ready before it woke */
    assert_int_equal(gone.watch.fd, -1);
    assert_int_equal(gone.ready, 0);
    assert_int_equal(stays.ready, 1);
    net.loop.woke = NULL;
    fm_loop_unwatch(&net.loop, &stays.watch);
    close(stays.watch.fd);
}

FM_TEST_MAIN(with_net(runs_until_it_is_stopped), with_net(waits_no_longer_than_told),
             with_net(timers_come_after_input),
             with_net(a_watch_repeats_unless_it_is_edge_triggered),
             with_net(an_event_of_a_removed_watch_is_forgotten),
             with_net(says_what_it_cannot_watch), with_net(tells_how_late_it_is),
             with_net(what_goes_when_it_wakes_is_not_told_any_more),
             with_net(one_that_cannot_be_made_can_be_undone))
