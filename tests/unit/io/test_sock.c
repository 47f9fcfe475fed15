/* Sockets: receiving, sending, connecting; each operation completes once and from the loop.
 * Deadlines and ends are in test_sock_ends.c. */
#include "tale.h"

#include "base/rand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* -------- receiving -------- */

static void receives_into_a_block_of_the_pool(void **state)
{
    (void)state;
    open_pair(&t, &p);
    recv_into(&t, NULL, in_ms(FOREVER));
    net_turn_ms(&net, 2);
    assert_int_equal(net.pool.in_use, 0); /* idle: no buffer */
    peer_say(&net, &p, "hello");
    NET_UNTIL(&net, t.received == 1);
    assert_int_equal(t.recv_result, 5);
    assert_int_equal(net.pool.in_use, 1);
    assert_str(fm_str(t.block->data, t.block->n), "hello");
    finish(&t, &p);
}

static void goes_on_in_the_block_of_the_owner(void **state)
{
    (void)state;
    open_pair(&t, &p);
    struct fm_block *b = fm_pool_get(&net.pool);
    memcpy(b->data, "hel", 3);
    b->n = 3;
    recv_into(&t, b, in_ms(FOREVER));
    peer_say(&net, &p, "lo");
    NET_UNTIL(&net, t.received == 1);
    assert_ptr_equal(t.block, b);
    assert_int_equal(t.recv_result, 2);
    assert_str(fm_str(b->data, b->n), "hello");
    finish(&t, &p);
}

static void receives_no_more_than_fits(void **state)
{
    (void)state;
    open_pair(&t, &p);
    static char bytes[TALE_BLOCK + 100];
    memset(bytes, 'x', sizeof bytes);
    peer_send(&net, &p, bytes, sizeof bytes);
    recv_into(&t, NULL, in_ms(FOREVER));
    NET_UNTIL(&net, t.received == 1);
    assert_int_equal(t.recv_result, TALE_BLOCK);
    drop_block(&t);
    recv_into(&t, NULL, in_ms(FOREVER)); /* no event tells of the rest: it is known */
    NET_UNTIL(&net, t.received == 2);
    assert_int_equal(t.recv_result, 100);
    finish(&t, &p);
}

static void leaves_in_the_kernel_what_nobody_asked_for(void **state)
{
    (void)state;
    open_pair(&t, &p);
    assert_false(fm_sock_has_input(&t.sock));
    peer_say(&net, &p, "hello");
    assert_true(fm_sock_has_input(&t.sock));
    net_turn_ms(&net, 5);
    int waiting;
    assert_int_equal(ioctl(t.sock.watch.fd, FIONREAD, &waiting), 0);
    assert_int_equal(waiting, 5);
    assert_int_equal(t.received, 0);
    assert_true(fm_sock_is_readable(&t.sock));
    assert_true(fm_sock_has_input(&t.sock));
    recv_into(&t, NULL, in_ms(FOREVER));
    NET_UNTIL(&net, t.received == 1);
    finish(&t, &p);
}

static void gives_the_last_bytes_before_the_end(void **state)
{
    (void)state;
    open_tcp(&t, &p, false);
    peer_say(&net, &p, "bye");
    peer_close(&p);
    net_turn_ms(&net, 2); /* both have arrived before anything is asked for */
    recv_into(&t, NULL, in_ms(FOREVER));
    NET_UNTIL(&net, t.received == 1);
    assert_int_equal(t.recv_result, 3);
    drop_block(&t);
    recv_into(&t, NULL, in_ms(FOREVER));
    NET_UNTIL(&net, t.received == 2);
    assert_int_equal(t.recv_result, 0);
    assert_null(t.block);
    recv_into(&t, NULL, in_ms(FOREVER)); /* and again */
    NET_UNTIL(&net, t.received == 3);
    assert_int_equal(t.recv_result, 0);
    finish(&t, &p);
}

static void sees_an_end_that_comes_alone(void **state)
{
    (void)state;
    open_tcp(&t, &p, false);
    peer_say(&net, &p, "bye");
    recv_into(&t, NULL, in_ms(FOREVER));
    NET_UNTIL(&net, t.received == 1);
    recv_into(&t, t.block, in_ms(FOREVER));
    net_turn_ms(&net, 2);
    peer_close(&p);
    NET_UNTIL(&net, t.received == 2);
    assert_int_equal(t.recv_result, 0);
    assert_non_null(t.block); /* the owner's */
    finish(&t, &p);
}

static void tells_of_a_reset(void **state)
{
    (void)state;
    open_tcp(&t, &p, false);
    recv_into(&t, NULL, in_ms(FOREVER));
    net_turn_ms(&net, 2);
    peer_reset(&p);
    NET_UNTIL(&net, t.received == 1);
    assert_int_equal(t.recv_result, -ECONNRESET);
    assert_int_equal(t.lost, 0);
    finish(&t, &p);
}

static void says_when_the_pool_is_empty(void **state)
{
    (void)state;
    open_pair(&t, &p);
    struct fm_block *all[4];
    for (size_t i = 0; i < FM_COUNT(all); i++)
        all[i] = fm_pool_get(&net.pool);
    recv_into(&t, NULL, in_ms(FOREVER));
    peer_say(&net, &p, "hello");
    NET_UNTIL(&net, t.received == 1);
    assert_int_equal(t.recv_result, -ENOBUFS);
    for (size_t i = 0; i < FM_COUNT(all); i++)
        fm_pool_put(&net.pool, all[i]);
    recv_into(&t, NULL, in_ms(FOREVER)); /* nothing is lost */
    NET_UNTIL(&net, t.received == 2);
    assert_int_equal(t.recv_result, 5);
    finish(&t, &p);
}

static void a_cancelled_receive_does_not_complete(void **state)
{
    (void)state;
    open_pair(&t, &p);
    struct fm_block *b = fm_pool_get(&net.pool);
    recv_into(&t, b, in_ms(5));
    assert_ptr_equal(fm_sock_recv_cancel(&t.sock), b);
    peer_say(&net, &p, "hello");
    net_skip_ms(10);
    net_turn_ms(&net, 5);
    assert_int_equal(t.received, 0);
    recv_into(&t, b, in_ms(FOREVER));
    NET_UNTIL(&net, t.received == 1);
    assert_int_equal(t.recv_result, 5);
    finish(&t, &p);
}

/* How long a receive says that its bytes had waited, after `wait_ms`. */
static int64_t age_after(int64_t wait_ms)
{
    unsigned before = t.received;
    peer_say(&net, &p, "hello");
    net_sleep_ms(wait_ms);
    recv_into(&t, NULL, in_ms(FOREVER));
    NET_UNTIL(&net, t.received > before);
    drop_block(&t);
    return t.sock.recv_age_ns;
}

static void measures_how_long_bytes_waited_in_the_kernel(void **state)
{
    (void)state;
    open_tcp(&t, &p, true);
    NET_UNTIL(&net, age_after(2) > 0); /* the kernel begins with its stamps a moment later */
    assert_in_range(age_after(30), 30 * FM_NS_PER_MS, FM_NS_PER_S);
    assert_in_range(age_after(0), 0, 25 * FM_NS_PER_MS);
    finish(&t, &p);
}

/* -------- sending -------- */

static void sends_all_through_a_small_buffer(void **state)
{
    (void)state;
    enum { TOTAL = 1 << 20 };
    open_tcp(&t, &p, false);
    int small = 4096;
    assert_int_equal(setsockopt(t.sock.watch.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    char *bytes = malloc(TOTAL);
    assert_non_null(bytes);
    struct fm_rand r = {1};
    for (size_t i = 0; i < TOTAL; i++)
        bytes[i] = (char)fm_rand_u64(&r);
    struct iovec v[FM_SOCK_IOV_MAX] = {{bytes, 1},           {bytes + 1, 0},
                                       {bytes + 1, 9999},    {bytes + 10000, 300000},
                                       {bytes + 310000, 33}, {bytes + 310033, TOTAL - 310033}};
    t.inside = true;
    fm_sock_send(&t.sock, v, FM_COUNT(v), in_ms(FOREVER));
    t.inside = false;
    size_t at = 0;
    int64_t patience = net_patience();
    while (at < TOTAL && !net_is_over(patience)) {
        peer_poll(&p);
        size_t n = fm_min_size(p.n, 1 + fm_rand_below(&r, 30000));
        assert_memory_equal(p.in, bytes + at, n);
        peer_drop(&p, n);
        at += n;
        fm_loop_turn(&net.loop, FM_NS_PER_MS / 10);
    }
    assert_int_equal(at, TOTAL);
    NET_UNTIL(&net, t.sent == 1);
    assert_int_equal(t.send_result, 0);
    assert_int_equal(t.sock.sent, TOTAL);
    free(bytes);
    finish(&t, &p);
}

static void completes_a_send_of_nothing(void **state)
{
    (void)state;
    open_pair(&t, &p);
    send_text(&t, "", in_ms(FOREVER));
    assert_true(fm_sock_is_sending(&t.sock));
    NET_UNTIL(&net, t.sent == 1);
    assert_int_equal(t.send_result, 0);
    assert_false(fm_sock_is_sending(&t.sock));
    finish(&t, &p);
}

static void tells_how_much_was_sent_before_an_error(void **state)
{
    (void)state;
    static char bytes[1 << 20];
    open_pair(&t, &p);
    struct iovec v = {bytes, sizeof bytes};
    fm_sock_send(&t.sock, &v, 1, in_ms(100));
    net_turn_ms(&net, 2);
    assert_int_equal(t.sent, 0);
    size_t taken = t.sock.sent;
    assert_in_range(taken, 1, sizeof bytes - 1);
    net_skip_ms(101);
    NET_UNTIL(&net, t.sent == 1);
    assert_int_equal(t.send_result, -ETIMEDOUT);
    assert_int_equal(t.sock.sent, taken);
    peer_close(&p);
    send_text(&t, "x", in_ms(FOREVER));
    NET_UNTIL(&net, t.sent == 2);
    assert_int_equal(t.send_result, -EPIPE);
    assert_int_equal(t.sock.sent, 0);
    finish(&t, &p);
}

static void sends_a_few_bytes_at_once(void **state)
{
    (void)state;
    static char bytes[1 << 20];
    open_pair(&t, &p);
    assert_true(fm_sock_send_now(&t.sock, FM_STR("now")));
    assert_true(peer_heard(&p, "now"));
    assert_false(fm_sock_send_now(&t.sock, fm_str(bytes, sizeof bytes)));
    net_turn_ms(&net, 2);
    assert_int_equal(t.sent, 0);
    /* it took a part: nothing may follow, or the peer would take it for the rest */
    peer_drop(&p, p.n);
    NET_UNTIL(&net, (peer_is_over(&p) || (peer_drop(&p, p.n), false)));
    assert_true(p.ended);
    send_text(&t, "more", in_ms(FOREVER));
    NET_UNTIL(&net, t.sent == 1);
    assert_int_equal(t.send_result, -EPIPE);
    finish(&t, &p);
}

static void a_few_bytes_that_do_not_go_out_do_no_harm(void **state)
{
    (void)state;
    static char bytes[1 << 20];
    open_pair(&t, &p);
    while (send(t.sock.watch.fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0) {
    }
    assert_false(fm_sock_send_now(&t.sock, FM_STR("not said")));
    send_text(&t, "the end", in_ms(FOREVER));
    NET_UNTIL(&net, t.sent == 1 || (peer_poll(&p), peer_drop(&p, p.n), false));
    assert_int_equal(t.send_result, 0);
    NET_UNTIL(&net, peer_heard_last(&p, "the end"));
    finish(&t, &p);
}

static void half_closes(void **state)
{
    (void)state;
    open_tcp(&t, &p, false);
    fm_sock_shutdown(&t.sock);
    NET_UNTIL(&net, peer_is_over(&p));
    assert_true(p.ended);
    peer_say(&net, &p, "still here");
    recv_into(&t, NULL, in_ms(FOREVER));
    NET_UNTIL(&net, t.received == 1);
    assert_int_equal(t.recv_result, 10);
    finish(&t, &p);
}

/* -------- nudges -------- */

static void a_nudge_comes_in_the_same_turn_but_not_from_inside(void **state)
{
    (void)state;
    open_pair(&t, &p);
    t.inside = true;
    fm_sock_nudge(&t.sock);
    fm_sock_nudge(&t.sock);
    t.inside = false;
    assert_int_equal(t.nudged, 0);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(t.nudged, 1);
    finish(&t, &p);
}

/* -------- connecting -------- */

static void connects(void **state)
{
    (void)state;
    struct fm_addr at;
    int ln = raw_listen(&at);
    t = (struct tale){.connect_result = 1};
    assert_int_equal(fm_sock_connect(&t.sock, &net.loop, &at, in_ms(FOREVER), &tale_ops, NULL),
                     FM_ERR_OK);
    assert_int_equal(t.connected, 0);
    NET_UNTIL(&net, t.connected == 1);
    assert_int_equal(t.connect_result, 0);
    peer_accept(&net, &p, ln);
    send_text(&t, "hello", in_ms(FOREVER));
    NET_UNTIL(&net, peer_heard(&p, "hello"));
    close(ln);
    finish(&t, &p);
}

static void connects_to_a_path(void **state)
{
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "/tmp/fm-test-sock-%d", (int)getpid());
    struct fm_addr at;
    assert_int_equal(fm_addr_unix(&at, fm_str_z(path)), FM_ERR_OK);
    int ln = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(ln, &at.sa, at.len), 0);
    assert_int_equal(listen(ln, 1), 0);
    t = (struct tale){.connect_result = 1};
    assert_int_equal(fm_sock_connect(&t.sock, &net.loop, &at, in_ms(FOREVER), &tale_ops, NULL),
                     FM_ERR_OK);
    NET_UNTIL(&net, t.connected == 1);
    assert_int_equal(t.connect_result, 0);
    peer_accept(&net, &p, ln);
    close(ln);
    unlink(path);
    finish(&t, &p);
    struct fm_error e; /* nobody listens any more: known at once */
    assert_int_equal(fm_sock_connect(&t.sock, &net.loop, &at, in_ms(FOREVER), &tale_ops, &e),
                     FM_ERR_UNREACHABLE);
    assert_false(fm_sock_is_open(&t.sock));
}

static void is_refused(void **state)
{
    (void)state;
    struct fm_addr at;
    close(raw_listen(&at)); /* a port where nobody listens */
    t = (struct tale){.connect_result = 1};
    assert_int_equal(fm_sock_connect(&t.sock, &net.loop, &at, in_ms(FOREVER), &tale_ops, NULL),
                     FM_ERR_OK);
    NET_UNTIL(&net, t.connected == 1);
    assert_int_equal(t.connect_result, -ECONNREFUSED);
    p.fd = -1;
    finish(&t, &p);
}

static void gives_up_a_connection_at_its_deadline(void **state)
{
    (void)state;
    struct fm_addr at;
    int ln = raw_listen(&at);
    assert_int_equal(listen(ln, 0), 0);
    peer_connect(&p, &at); /* fills the queue of the listener: the next one gets no answer */
    t = (struct tale){.connect_result = 1};
    assert_int_equal(fm_sock_connect(&t.sock, &net.loop, &at, in_ms(500), &tale_ops, NULL),
                     FM_ERR_OK);
    net_turn_ms(&net, 5);
    assert_int_equal(t.connected, 0);
    net_skip_ms(501);
    NET_UNTIL(&net, t.connected == 1);
    assert_int_equal(t.connect_result, -ETIMEDOUT);
    close(ln);
    finish(&t, &p);
}

FM_TEST_MAIN(with_tale(receives_into_a_block_of_the_pool),
             with_tale(goes_on_in_the_block_of_the_owner), with_tale(receives_no_more_than_fits),
             with_tale(leaves_in_the_kernel_what_nobody_asked_for),
             with_tale(gives_the_last_bytes_before_the_end),
             with_tale(sees_an_end_that_comes_alone), with_tale(tells_of_a_reset),
             with_tale(says_when_the_pool_is_empty),
             with_tale(a_cancelled_receive_does_not_complete),
             with_tale(measures_how_long_bytes_waited_in_the_kernel),
             with_tale(sends_all_through_a_small_buffer), with_tale(completes_a_send_of_nothing),
             with_tale(tells_how_much_was_sent_before_an_error),
             with_tale(sends_a_few_bytes_at_once),
             with_tale(a_few_bytes_that_do_not_go_out_do_no_harm), with_tale(half_closes),
             with_tale(a_nudge_comes_in_the_same_turn_but_not_from_inside), with_tale(connects),
             with_tale(connects_to_a_path), with_tale(is_refused),
             with_tale(gives_up_a_connection_at_its_deadline))
