/* Sockets: deadlines, closing, being told of the end; nothing comes after a close. */
#include "tale.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* -------- deadlines -------- */

static void a_receive_ends_at_its_deadline(void **state)
{
    (void)state;
    open_pair(&t, &p);
    recv_into(&t, NULL, in_ms(1000));
    net_skip_ms(500); /* what remains is more than a busy machine takes from us */
    net_turn_ms(&net, 2);
    assert_int_equal(t.received, 0);
    net_skip_ms(500);
    NET_UNTIL(&net, t.received == 1);
    assert_int_equal(t.recv_result, -ETIMEDOUT);
    assert_true(fm_sock_is_open(&t.sock));
    peer_say(&net, &p, "late");
    recv_into(&t, NULL, in_ms(1000)); /* the socket can be used on */
    NET_UNTIL(&net, t.received == 2);
    assert_int_equal(t.recv_result, 4);
    finish(&t, &p);
}

static void a_deadline_can_be_moved_both_ways(void **state)
{
    (void)state;
    open_pair(&t, &p);
    recv_into(&t, NULL, in_ms(1000));
    fm_sock_recv_deadline(&t.sock, in_ms(5000));
    net_skip_ms(2000);
    net_turn_ms(&net, 2);
    assert_int_equal(t.received, 0);
    fm_sock_recv_deadline(&t.sock, in_ms(100));
    net_skip_ms(101);
    NET_UNTIL(&net, t.received == 1);
    assert_int_equal(t.recv_result, -ETIMEDOUT);
    finish(&t, &p);
}

static void each_direction_has_its_own_deadline(void **state)
{
    (void)state;
    static char bytes[1 << 20];
    open_pair(&t, &p);
    struct iovec v = {bytes, sizeof bytes};
    recv_into(&t, NULL, in_ms(2000));
    fm_sock_send(&t.sock, &v, 1, in_ms(1000));
    net_skip_ms(1001);
    NET_UNTIL(&net, t.sent == 1);
    assert_int_equal(t.send_result, -ETIMEDOUT);
    assert_int_equal(t.received, 0);
    net_skip_ms(1000);
    NET_UNTIL(&net, t.received == 1);
    assert_int_equal(t.recv_result, -ETIMEDOUT);
    finish(&t, &p);
}

/* What has arrived is given, also where the deadline had passed before it was asked for. */
static void a_deadline_does_not_overtake_what_has_arrived(void **state)
{
    (void)state;
    open_pair(&t, &p);
    recv_into(&t, NULL, in_ms(10));
    peer_say(&net, &p, "hello");
    net_skip_ms(1000);
    NET_UNTIL(&net, t.received == 1);
    assert_int_equal(t.recv_result, 5);
    drop_block(&t);
    peer_say(&net, &p, "again");
    net_turn_ms(&net, 2);
    recv_into(&t, NULL, FM_MONO_ZERO);
    NET_UNTIL(&net, t.received == 2);
    assert_int_equal(t.recv_result, 5);
    finish(&t, &p);
}

static void take_from_a_timer(struct fm_timer *timer)
{
    (void)timer;
    recv_into(&t, NULL, FM_MONO_ZERO);
}

static void a_deadline_does_not_overtake_what_a_timer_asks_for(void **state)
{
    (void)state;
    struct fm_timer timer;
    fm_timer_init(&timer, take_from_a_timer);
    open_pair(&t, &p);
    recv_into(&t, NULL, in_ms(50)); /* leaves its timer behind */
    peer_say(&net, &p, "a");
    NET_UNTIL(&net, t.received == 1);
    drop_block(&t);
    peer_say(&net, &p, "hello");
    net_turn_ms(&net, 2);
    fm_loop_timer_in_ms(&net.loop, &timer, 1);
    net_skip_ms(100); /* both timers in one turn */
    NET_UNTIL(&net, t.received == 2);
    assert_int_equal(t.recv_result, 5);
    finish(&t, &p);
}

/* -------- closing -------- */

static void a_close_drops_all_operations(void **state)
{
    (void)state;
    static char bytes[1 << 20];
    open_pair(&t, &p);
    struct fm_block *b = fm_pool_get(&net.pool);
    struct iovec v = {bytes, sizeof bytes};
    recv_into(&t, b, in_ms(50));
    fm_sock_send(&t.sock, &v, 1, in_ms(50));
    fm_sock_nudge(&t.sock);
    peer_say(&net, &p, "hello");
    fm_sock_close(&t.sock);
    assert_int_equal(t.closed, 0); /* never from inside */
    net_skip_ms(100);
    net_turn_ms(&net, 5);
    assert_int_equal(t.closed, 1);
    assert_int_equal(t.received + t.sent + t.nudged + t.lost, 0);
    fm_pool_put(&net.pool, b);
    NET_UNTIL(&net, (peer_drop(&p, p.n), peer_is_over(&p)));
    peer_close(&p);
}

static void a_close_drops_a_completion_that_is_due(void **state)
{
    (void)state;
    open_pair(&t, &p);
    send_text(&t, "hello", in_ms(FOREVER));
    fm_sock_close(&t.sock);
    net_turn_ms(&net, 2);
    assert_int_equal(t.sent, 0);
    assert_int_equal(t.closed, 1);
    peer_close(&p);
}

/* Two are ready in the same turn; the callback of one closes the other. */
static void an_event_of_a_closed_socket_is_forgotten(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        open_pair(&t, &p);
        open_pair(&u, &q);
        t.closes = &u;
        u.closes = &t;
        recv_into(&t, NULL, in_ms(FOREVER));
        recv_into(&u, NULL, in_ms(FOREVER));
        peer_say(&net, i ? &p : &q, "one");
        peer_say(&net, i ? &q : &p, "two");
        fm_loop_turn(&net.loop, FM_NS_PER_MS);
        assert_int_equal(t.received + u.received, 1);
        assert_int_equal(t.closed + u.closed, 1);
        struct tale *left = t.received ? &t : &u;
        finish(left, &p);
        peer_close(&q);
    }
}

static struct tale next_tale;
static struct peer next_peer;

static void on_received_reopen(struct fm_sock *s, struct fm_block *b, ssize_t n)
{
    tale_received(s, b, n);
    if (fm_sock_is_open(&u.sock)) {
        int old = u.sock.watch.fd;
        fm_sock_close(&u.sock);
        open_pair(&next_tale, &next_peer);
        assert_int_equal(next_tale.sock.watch.fd, old); /* the lowest free number */
        recv_into(&next_tale, NULL, in_ms(FOREVER));
    }
}

static void an_event_does_not_reach_the_next_socket_of_that_number(void **state)
{
    (void)state;
    struct fm_sock_ops reopen = tale_ops;
    reopen.received = on_received_reopen;
    open_pair(&u, &q);
    open_pair(&t, &p);
    t.sock.ops = &reopen;
    recv_into(&t, NULL, in_ms(FOREVER));
    recv_into(&u, NULL, in_ms(FOREVER));
    net_turn_ms(&net, 2);
    peer_say(&net, &p, "one"); /* ready first, so handled first */
    peer_say(&net, &q, "two");
    fm_loop_turn(&net.loop, FM_NS_PER_MS);
    assert_int_equal(t.received, 1);
    assert_int_equal(u.received, 0);
    assert_int_equal(u.closed, 1);
    net_turn_ms(&net, 2);
    assert_int_equal(next_tale.received, 0);
    finish(&next_tale, &next_peer);
    finish(&t, &p);
    peer_close(&q);
}

/* -------- being told of the end -------- */

static void is_told_once_when_the_peer_is_gone(void **state)
{
    (void)state;
    open_tcp(&t, &p, false);
    net_turn_ms(&net, 2);
    peer_reset(&p);
    NET_UNTIL(&net, t.lost == 1);
    net_turn_ms(&net, 2);
    assert_int_equal(t.lost, 1);
    finish(&t, &p);
}

static void an_end_of_stream_is_no_loss_unless_it_is_watched_for(void **state)
{
    (void)state;
    for (int watch = 0; watch < 2; watch++) {
        open_tcp(&t, &p, false);
        if (watch)
            t.sock.flags |= FM_SOCK_WATCH_FIN;
        peer_close(&p);
        net_turn_ms(&net, 5);
        assert_int_equal(t.lost, watch);
        finish(&t, &p);
    }
}

/* Both sides have said all: nothing is lost, the last bytes are still to be read. */
static void an_end_from_both_sides_is_no_loss(void **state)
{
    (void)state;
    open_tcp(&t, &p, false);
    fm_sock_shutdown(&t.sock);
    peer_say(&net, &p, "last words");
    peer_close(&p);
    net_turn_ms(&net, 5);
    assert_int_equal(t.lost, 0);
    recv_into(&t, NULL, in_ms(FOREVER));
    NET_UNTIL(&net, t.received == 1);
    assert_int_equal(t.recv_result, 10);
    drop_block(&t);
    recv_into(&t, NULL, in_ms(FOREVER));
    NET_UNTIL(&net, t.received == 2);
    assert_int_equal(t.recv_result, 0);
    finish(&t, &p);
}

/* -------- many -------- */

/* A stall of the loop, and then more sockets are ready than one wait returns: their deadlines have
 * passed, but they have answered in time. */
static void deadlines_do_not_overtake_a_crowd(void **state)
{
    (void)state;
    enum { CROWD = 700 };
    struct tale *crowd = calloc(CROWD, sizeof *crowd);
    int *fd = calloc(CROWD, sizeof *fd);
    assert_non_null(crowd);
    assert_non_null(fd);
    struct fm_pool pool = net.loop.pool[0];
    fm_pool_init(net.loop.pool, 64, CROWD);
    for (size_t i = 0; i < CROWD; i++) {
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
                         0);
        assert_int_equal(fm_sock_open(&crowd[i].sock, &net.loop, pair[0], false, &tale_ops, NULL),
                         FM_ERR_OK);
        fd[i] = pair[1];
        recv_into(&crowd[i], NULL, in_ms(1000));
    }
    net_turn_ms(&net, 2);
    for (size_t i = 0; i < CROWD; i++)
        assert_int_equal(send(fd[i], "hello", 5, 0), 5);
    net_skip_ms(1500);
    unsigned done = 0;
    int64_t patience = net_patience();
    while (done < CROWD && !net_is_over(patience)) {
        fm_loop_turn(&net.loop, FM_NS_PER_MS);
        done = 0;
        for (size_t i = 0; i < CROWD; i++)
            done += crowd[i].received;
    }
    for (size_t i = 0; i < CROWD; i++) {
        assert_int_equal(crowd[i].recv_result, 5);
        fm_pool_put(net.loop.pool, crowd[i].block);
        fm_sock_close(&crowd[i].sock);
        close(fd[i]);
    }
    fm_loop_turn(&net.loop, 0);
    fm_pool_deinit(net.loop.pool);
    net.loop.pool[0] = pool;
    free(crowd);
    free(fd);
}

FM_TEST_MAIN(with_tale(a_receive_ends_at_its_deadline),
             with_tale(a_deadline_can_be_moved_both_ways),
             with_tale(each_direction_has_its_own_deadline),
             with_tale(a_deadline_does_not_overtake_what_has_arrived),
             with_tale(a_deadline_does_not_overtake_what_a_timer_asks_for),
             with_tale(a_close_drops_all_operations),
             with_tale(a_close_drops_a_completion_that_is_due),
             with_tale(an_event_of_a_closed_socket_is_forgotten),
             with_tale(an_event_does_not_reach_the_next_socket_of_that_number),
             with_tale(is_told_once_when_the_peer_is_gone),
             with_tale(an_end_of_stream_is_no_loss_unless_it_is_watched_for),
             with_tale(an_end_from_both_sides_is_no_loss),
             with_tale(deadlines_do_not_overtake_a_crowd))
