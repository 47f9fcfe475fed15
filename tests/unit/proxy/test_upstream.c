/* Endpoints and their connections: found again by address, parked and used again, closed when
 * nobody wants them any more. */
#include "given.h"

#include "proxy/upstream.h"

#include <errno.h>

enum { BLOCK = 16 * 1024, BLOCKS = 64, FRESH_MS = 1000 };

#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

static struct net net;
static struct fm_upstreams all;
static struct fm_http_field fields[FM_HTTP_FIELDS_MAX];
static struct fm_http_limits limits = FM_HTTP_LIMITS_DEFAULT;
static struct fm_addr at;
static int listener;
static struct peer server;
static unsigned connected, answered, failed, closed;
static struct fm_counter made;

/* Somebody who waits, and what came of it. */
struct waiter {
    struct fm_upwait wait;
    struct fm_upconn *got;
    unsigned given, denied, turn; /* turn: the how manieth to be given one */
    int err;
    bool alive;
};
static unsigned turns;

static void on_given(struct fm_upwait *w, struct fm_upconn *c)
{
    struct waiter *x = fm_container_of(w, struct waiter, wait);
    x->got = c;
    x->given++;
    x->turn = ++turns;
}

static void on_denied(struct fm_upwait *w, int err, bool alive)
{
    struct waiter *x = fm_container_of(w, struct waiter, wait);
    x->denied++;
    x->err = err;
    x->alive = alive;
}

static const struct fm_upwait_handler waits = {.given = on_given, .denied = on_denied};

static void on_connected(struct fm_http_client *h)
{
    connected++;
    fm_upconn_made(fm_upconn_of(h));
}

static void on_sent(struct fm_http_client *h)
{
    (void)h;
}

static void on_head(struct fm_http_client *h, const struct fm_http_head *head)
{
    (void)h;
    assert_int_equal(head->status, 200);
    answered++;
}

static void on_body(struct fm_http_client *h, struct fm_str piece, bool last)
{
    (void)h;
    (void)piece;
    (void)last;
}

static void on_failed(struct fm_http_client *h, int err, const char *why)
{
    (void)why;
    failed++;
    fm_upconn_failed(fm_upconn_of(h), err);
}

static void on_closed(struct fm_http_client *h)
{
    closed++;
    fm_upconn_closed(fm_upconn_of(h));
}

static const struct fm_http_client_handler handler = {.connected = on_connected,
                                                      .sent = on_sent,
                                                      .head = on_head,
                                                      .body = on_body,
                                                      .failed = on_failed,
                                                      .closed = on_closed};

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    net_open(&net, BLOCK, BLOCKS);
    limits.head_bytes = BLOCK;
    fm_loop_turn(&net.loop, 0);
    made = (struct fm_counter){0};
    turns = 0;
    fm_upstreams_init(&all, &net.loop, &handler, &waits, &limits, fields, &made);
    listener = raw_listen(&at);
    connected = answered = failed = closed = 0;
    server.fd = -1;
    return rc;
}

static int teardown(void **state)
{
    if (!all.stopping)
        fm_upstreams_stop(&all);
    NET_UNTIL(&net, all.nconns == 0);
    fm_upstreams_deinit(&all);
    if (server.fd >= 0)
        peer_close(&server);
    struct peer l = {.fd = listener};
    peer_close(&l);
    net_close(&net);
    return fm_test_fds_after(state);
}

static struct fm_upstream *listed(void)
{
    struct fm_upstream *up = fm_upstream_get(&all, &at);
    assert_non_null(up);
    fm_upstream_listed(up);
    up->current = true;
    return up;
}

static struct fm_mono in_ms(int64_t ms)
{
    return fm_mono_add_ms(fm_loop_now(&net.loop), ms);
}

static bool is_over(const struct waiter *x)
{
    return x->given + x->denied > 0;
}

/* What is parked at once, or in line; how long it waits. */
static void ask(struct fm_upstream *up, struct waiter *x, int64_t fresh_ms, int64_t ms)
{
    enum fm_err err;
    *x = (struct waiter){.err = 0};
    fm_upwait_init(&x->wait);
    x->got = fm_upconn_acquire(up, &x->wait, fresh_ms * FM_NS_PER_MS, in_ms(ms), &err);
    assert_int_equal(err, FM_ERR_OK);
}

static struct fm_upconn *acquire(struct fm_upstream *up)
{
    struct waiter x;
    ask(up, &x, FRESH_MS, 5000);
    if (!x.got)
        NET_UNTIL(&net, is_over(&x));
    assert_non_null(x.got);
    return x.got;
}

/* A new connection that has had one request and its answer. */
static struct fm_upconn *used(struct fm_upstream *up)
{
    struct fm_upconn *c = acquire(up);
    assert_false(c->reused);
    unsigned before = answered;
    static struct iovec iov = {(char *)(uintptr_t) "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27};
    struct fm_mono by = fm_mono_add_ms(fm_loop_now(&net.loop), 5000);
    fm_http_client_send(&c->http, &iov, 1, by);
    fm_http_client_head(&c->http, FM_METHOD_GET, by);
    if (server.fd >= 0)
        peer_close(&server);
    peer_accept(&net, &server, listener);
    peer_say(&net, &server, ANSWER);
    NET_UNTIL(&net, answered == before + 1);
    struct fm_str body;
    if (fm_http_client_has_body(&c->http))
        assert_true(fm_http_client_take(&c->http, &body));
    return c;
}

static void an_address_has_one_upstream(void **state)
{
    (void)state;
    struct fm_addr other = given_addr("127.0.0.1:1"), six = given_addr("[::1]:1");
    struct fm_upstream *up = listed(), *o = fm_upstream_get(&all, &other);
    struct fm_upstream *s = fm_upstream_get(&all, &six);
    fm_upstream_listed(o);
    fm_upstream_listed(s);
    assert_ptr_equal(fm_upstream_get(&all, &at), up);
    assert_ptr_equal(fm_upstream_get(&all, &other), o);
    assert_true(up != o && o != s);
    fm_upstream_listed(up); /* a second view */
    fm_upstream_unlisted(up);
    assert_ptr_equal(fm_upstream_get(&all, &at), up);
    fm_upstream_unlisted(up);
    fm_upstream_unlisted(o);
    fm_upstream_unlisted(s);
}

static void it_lives_as_long_as_a_request_is_under_way(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    up->in_flight++;
    fm_upstream_unlisted(up);
    assert_ptr_equal(fm_upstream_get(&all, &at), up); /* its breakers go on */
    fm_upstream_request_over(up);
}

static void a_connection_is_parked_and_used_again(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct fm_upconn *c = used(up);
    fm_upconn_release(c);
    assert_int_equal(up->nidle, 1);
    assert_ptr_equal(acquire(up), c);
    assert_true(c->reused);
    assert_int_equal(up->nidle, 0);
    assert_int_equal(all.nconns, 1);
    fm_upconn_release(c);
    assert_false(c->reused);
    fm_upstream_unlisted(up);
}

static void the_last_parked_is_the_first_used(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct fm_upconn *first = used(up);
    struct peer held = server;
    server.fd = -1; /* the first connection stays open */
    struct fm_upconn *second = used(up);
    fm_upconn_release(first);
    fm_upconn_release(second);
    assert_int_equal(up->nidle, 2);
    assert_ptr_equal(acquire(up), second);
    assert_ptr_equal(acquire(up), first);
    fm_upconn_release(first);
    fm_upconn_release(second);
    fm_upstream_unlisted(up);
    peer_close(&held);
}

static void what_was_parked_for_long_is_not_trusted(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct fm_upconn *c = used(up);
    fm_upconn_release(c);
    net_skip_ms(FRESH_MS + 1);
    fm_loop_turn(&net.loop, 0);
    struct fm_upconn *d = acquire(up);
    assert_true(d != c && !d->reused);
    assert_int_equal(up->nidle, 1); /* it may still do for a request that can be repeated */
    fm_upconn_close(d);
    fm_upstream_unlisted(up);
}

static void what_is_parked_too_long_is_closed(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    fm_upconn_release(used(up));
    net_skip_ms(20 * 1000);
    fm_loop_turn(&net.loop, 0);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(up->nidle, 1);
    net_skip_ms(20 * 1000);
    NET_UNTIL(&net, up->nidle == 0);
    NET_UNTIL(&net, closed == 1);
    assert_int_equal(all.nconns, 0);
    assert_true(peer_is_over(&server));
    fm_upstream_unlisted(up);
}

static void a_server_that_hangs_up_is_noticed_while_parked(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    fm_upconn_release(used(up));
    peer_close(&server);
    NET_UNTIL(&net, closed == 1);
    assert_int_equal(failed, 1);
    assert_int_equal(up->nidle, 0);
    fm_upstream_unlisted(up);
}

static void unasked_bytes_end_a_parked_connection(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct fm_upconn *c = used(up);
    fm_upconn_release(c);
    peer_say(&net, &server, ANSWER); /* would be taken for the next one's answer */
    NET_UNTIL(&net, fm_sock_is_readable(&c->http.s.sock));
    struct fm_upconn *d = acquire(up);
    assert_true(d != c && !d->reused);
    fm_upconn_close(d);
    fm_upstream_unlisted(up);
    NET_UNTIL(&net, closed == 2);
}

static void what_no_view_wants_is_closed(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct fm_upconn *c = used(up);
    struct peer held = server;
    server.fd = -1;
    fm_upconn_release(used(up));
    up->current = false;
    fm_upstreams_sweep(&all);
    assert_int_equal(up->nidle, 0);
    NET_UNTIL(&net, closed == 1);
    fm_upconn_release(c); /* what was in use is closed when it is given back */
    assert_int_equal(up->nidle, 0);
    NET_UNTIL(&net, closed == 2);
    fm_upstream_unlisted(up);
    peer_close(&held);
}

static void a_half_read_answer_is_not_parked(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct fm_upconn *c = acquire(up);
    static struct iovec iov = {(char *)(uintptr_t) "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27};
    struct fm_mono by = fm_mono_add_ms(fm_loop_now(&net.loop), 5000);
    fm_http_client_send(&c->http, &iov, 1, by);
    fm_http_client_head(&c->http, FM_METHOD_GET, by);
    peer_accept(&net, &server, listener);
    peer_say(&net, &server, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    NET_UNTIL(&net, answered == 1);
    fm_upconn_release(c);
    assert_int_equal(up->nidle, 0);
    NET_UNTIL(&net, closed == 1);
    fm_upstream_unlisted(up);
}

static void after_the_stop_nothing_is_parked(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct fm_upconn *c = used(up);
    fm_upstreams_stop(&all);
    fm_upconn_release(c);
    NET_UNTIL(&net, all.nconns == 0);
    fm_upstream_unlisted(up);
}

/* -------- waiting in line -------- */

/* As if so many were being made, and hung. */
static void hang(struct fm_upstream *up, bool so)
{
    up->nmaking = so ? up->nmaking + FM_CONNECTS_MAX : up->nmaking - FM_CONNECTS_MAX;
}

static void what_is_given_back_goes_to_the_first_in_line(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct fm_upconn *c = used(up);
    struct waiter x[3];
    turns = 0;
    hang(up, true);
    ask(up, &x[0], FRESH_MS, 5000);
    ask(up, &x[1], FRESH_MS, 5000);
    fm_upconn_release(c);
    assert_false(is_over(&x[0])); /* not from within */
    ask(up, &x[2], FRESH_MS, 5000);
    assert_null(x[2].got); /* it is promised to who came before */
    for (unsigned i = 0; i < 3; i++) {
        NET_UNTIL(&net, is_over(&x[i]));
        assert_true(x[i].got == c && c->reused && x[i].turn == i + 1);
        fm_upconn_release(c);
    }
    hang(up, false);
    assert_true(up->nidle == 1 && up->nconns == 1);
    fm_upstream_unlisted(up);
}

static void each_in_line_has_one_made(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct waiter x[3];
    for (unsigned i = 0; i < 3; i++) {
        ask(up, &x[i], FRESH_MS, 5000);
        assert_int_equal(up->nmaking, i + 1);
    }
    for (unsigned i = 0; i < 3; i++) {
        NET_UNTIL(&net, is_over(&x[i]));
        assert_true(x[i].got && !x[i].got->reused && x[i].turn == i + 1);
    }
    assert_int_equal(fm_counter_get(&made), 3);
    for (unsigned i = 0; i < 3; i++)
        fm_upconn_close(x[i].got);
    fm_upstream_unlisted(up);
}

static void what_is_made_for_somebody_who_left_is_parked(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct waiter a;
    ask(up, &a, FRESH_MS, 5000);
    fm_upwait_leave(&a.wait);
    fm_upwait_leave(&a.wait); /* as often as one likes */
    assert_int_equal(up->nwaiting, 0);
    NET_UNTIL(&net, up->nidle == 1);
    assert_false(is_over(&a));
    struct fm_upconn *c = acquire(up);
    assert_true(c->reused && fm_counter_get(&made) == 1);
    fm_upconn_close(c);
    fm_upstream_unlisted(up);
}

static void one_that_nobody_may_use_any_more_stays_parked(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    fm_upconn_release(used(up));
    net_skip_ms(FRESH_MS + 1);
    fm_loop_turn(&net.loop, 0);
    struct waiter fresh, any;
    ask(up, &fresh, FRESH_MS, 5000);
    assert_null(fresh.got);
    ask(up, &any, INT32_MAX, 5000); /* it overtakes who cannot use it */
    assert_true(any.got && any.got->reused);
    NET_UNTIL(&net, is_over(&fresh));
    assert_true(fresh.given == 1 && !fresh.got->reused);
    fm_upconn_close(fresh.got);
    fm_upconn_close(any.got);
    fm_upstream_unlisted(up);
}

static void nobody_waits_for_longer_than_he_may(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct fm_upconn *c = used(up);
    struct waiter a, b;
    hang(up, true);
    ask(up, &a, FRESH_MS, 20);
    NET_UNTIL(&net, is_over(&a));
    assert_true(a.denied == 1 && a.err == -ETIMEDOUT && !a.alive);
    ask(up, &a, FRESH_MS, 5000);
    ask(up, &b, FRESH_MS, 20);
    fm_upconn_release(c);
    NET_UNTIL(&net, is_over(&a) && is_over(&b));
    assert_true(a.got == c && b.denied == 1 && b.err == -ETIMEDOUT);
    assert_true(b.alive); /* others got theirs */
    hang(up, false);
    fm_upconn_close(c);
    fm_upstream_unlisted(up);
}

static void what_hangs_does_not_stand_for_who_comes_later(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct waiter a;
    ask(up, &a, FRESH_MS, 5000);
    fm_upwait_leave(&a.wait);
    struct fm_upconn *c = fm_list_first(&up->making, struct fm_upconn, node);
    c->by = fm_loop_now(&net.loop); /* who asked for it does not wait any more */
    ask(up, &a, FRESH_MS, 5000);
    assert_int_equal(up->nmaking, 2);
    NET_UNTIL(&net, is_over(&a) && up->nmaking == 0);
    fm_upconn_close(a.got);
    fm_upstream_unlisted(up);
}

static void a_connection_that_takes_too_long_says_nothing_of_who_came_later(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct waiter a, b;
    ask(up, &a, FRESH_MS, 5000);
    struct fm_upconn *stuck = fm_list_first(&up->making, struct fm_upconn, node);
    fm_upwait_leave(&a.wait);
    hang(up, true);
    ask(up, &b, FRESH_MS, 5000);
    hang(up, false);
    assert_int_equal(up->nmaking, 1);
    fm_upconn_failed(stuck, -ETIMEDOUT);
    fm_upconn_close(stuck);
    assert_true(!is_over(&b) && up->nmaking == 1); /* another one is made */
    NET_UNTIL(&net, is_over(&b));
    assert_true(b.given == 1);
    fm_upconn_close(b.got);
    fm_upstream_unlisted(up);
}

/* After a stall of the loop: whose time is over gets what is there, and nothing is made for him. */
static void nothing_is_made_for_those_whose_time_is_over(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct waiter x[20];
    for (unsigned i = 0; i < 20; i++)
        ask(up, &x[i], FRESH_MS, 250);
    net_skip_ms(300);
    for (unsigned i = 0; i < 20; i++)
        NET_UNTIL(&net, is_over(&x[i]));
    assert_int_equal(fm_counter_get(&made), 20);
    for (unsigned i = 0; i < 20; i++)
        if (x[i].got)
            fm_upconn_close(x[i].got);
    NET_UNTIL(&net, up->nmaking == 0);
    fm_upstream_unlisted(up);
}

static void when_nobody_listens_all_in_line_know(void **state)
{
    (void)state;
    struct fm_addr gone = given_addr("127.0.0.1:1");
    struct fm_upstream *up = fm_upstream_get(&all, &gone);
    fm_upstream_listed(up);
    up->current = true;
    struct waiter x[FM_CONNECTS_MAX + 44];
    for (unsigned i = 0; i < sizeof x / sizeof *x; i++)
        ask(up, &x[i], FRESH_MS, 5000);
    assert_int_equal(up->nmaking, FM_CONNECTS_MAX);
    NET_UNTIL(&net, up->nwaiting == 0);
    for (unsigned i = 0; i < sizeof x / sizeof *x; i++)
        assert_true(x[i].denied == 1 && x[i].err == -ECONNREFUSED && !x[i].alive);
    NET_UNTIL(&net, up->nconns == 0);
    assert_int_equal(fm_counter_get(&made), FM_CONNECTS_MAX);
    fm_upstream_unlisted(up);
}

/* As if so many were parked. */
static void fill(struct fm_upstream *up, bool so)
{
    up->nidle = so ? up->nidle + FM_UPSTREAM_IDLE_MAX : up->nidle - FM_UPSTREAM_IDLE_MAX;
    up->nconns = so ? up->nconns + FM_UPSTREAM_IDLE_MAX : up->nconns - FM_UPSTREAM_IDLE_MAX;
}

static void more_are_kept_while_somebody_waits(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct fm_upconn *c = used(up);
    struct waiter a;
    hang(up, true);
    ask(up, &a, FRESH_MS, 5000);
    fill(up, true);
    fm_upconn_release(c);
    fill(up, false);
    NET_UNTIL(&net, is_over(&a));
    assert_ptr_equal(a.got, c);
    hang(up, false);
    all.nconns += FM_UPSTREAM_IDLE_MAX;
    fill(up, true);
    fm_upconn_release(c); /* nobody waits: it is one too many */
    NET_UNTIL(&net, closed == 1);
    fill(up, false);
    all.nconns -= FM_UPSTREAM_IDLE_MAX;
    fm_upstream_unlisted(up);
}

static void what_is_being_made_ends_with_the_stop(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct waiter a;
    ask(up, &a, FRESH_MS, 5000);
    fm_upwait_leave(&a.wait);
    fm_upstreams_stop(&all);
    NET_UNTIL(&net, all.nconns == 0);
    assert_int_equal(connected, 0);
    fm_upstream_unlisted(up);
}

#define with_upstreams(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_upstreams(an_address_has_one_upstream),
             with_upstreams(it_lives_as_long_as_a_request_is_under_way),
             with_upstreams(a_connection_is_parked_and_used_again),
             with_upstreams(the_last_parked_is_the_first_used),
             with_upstreams(what_was_parked_for_long_is_not_trusted),
             with_upstreams(what_is_parked_too_long_is_closed),
             with_upstreams(a_server_that_hangs_up_is_noticed_while_parked),
             with_upstreams(unasked_bytes_end_a_parked_connection),
             with_upstreams(what_no_view_wants_is_closed),
             with_upstreams(a_half_read_answer_is_not_parked),
             with_upstreams(after_the_stop_nothing_is_parked),
             with_upstreams(what_is_given_back_goes_to_the_first_in_line),
             with_upstreams(each_in_line_has_one_made),
             with_upstreams(what_is_made_for_somebody_who_left_is_parked),
             with_upstreams(one_that_nobody_may_use_any_more_stays_parked),
             with_upstreams(nobody_waits_for_longer_than_he_may),
             with_upstreams(what_hangs_does_not_stand_for_who_comes_later),
             with_upstreams(a_connection_that_takes_too_long_says_nothing_of_who_came_later),
             with_upstreams(nothing_is_made_for_those_whose_time_is_over),
             with_upstreams(when_nobody_listens_all_in_line_know),
             with_upstreams(more_are_kept_while_somebody_waits),
             with_upstreams(what_is_being_made_ends_with_the_stop))
