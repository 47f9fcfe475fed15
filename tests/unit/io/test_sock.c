/* Sockets: each operation completes once, from the loop, in time; nothing comes after a close. */
#include "net.h"

#include "base/rand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BLOCK = 4096, FOREVER = 3600 * 1000 };

/* A socket that remembers what it was told. */
struct tale {
    struct fm_sock sock;
    unsigned received, sent, connected, nudged, closed, lost;
    ssize_t recv_result;
    int send_result, connect_result;
    struct fm_block *block; /* of the last receive */
    bool inside;            /* a submission is running: no completion may come */
    struct tale *closes;    /* what a receive closes */
};

static struct net net;

static struct tale *tale_of(struct fm_sock *s)
{
    struct tale *t = fm_container_of(s, struct tale, sock);
    assert_false(t->inside);
    assert_int_equal(t->closed, 0);
    return t;
}

static void on_received(struct fm_sock *s, struct fm_block *b, ssize_t n)
{
    struct tale *t = tale_of(s);
    t->received++;
    t->recv_result = n;
    t->block = b;
    if (t->closes)
        fm_sock_close(&t->closes->sock);
}

static void on_sent(struct fm_sock *s, int err)
{
    struct tale *t = tale_of(s);
    t->sent++;
    t->send_result = err;
}

static void on_connected(struct fm_sock *s, int err)
{
    struct tale *t = tale_of(s);
    t->connected++;
    t->connect_result = err;
}

static void on_nudged(struct fm_sock *s)
{
    tale_of(s)->nudged++;
}

static void on_closed(struct fm_sock *s)
{
    tale_of(s)->closed++;
}

static void on_lost(struct fm_sock *s)
{
    tale_of(s)->lost++;
}

static const struct fm_sock_ops ops = {
    .received = on_received,
    .sent = on_sent,
    .connected = on_connected,
    .nudged = on_nudged,
    .closed = on_closed,
    .lost = on_lost,
};

static struct fm_mono in_ms(int64_t ms)
{
    return fm_mono_add_ms(fm_loop_now(&net.loop), ms);
}

/* A socket of the loop and its peer. */
static void open_pair(struct tale *t, struct peer *p)
{
    int fd[2];
    *t = (struct tale){.recv_result = 1};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    assert_int_equal(fm_sock_open(&t->sock, &net.loop, fd[0], false, &ops, NULL), FM_ERR_OK);
    peer_adopt(p, fd[1]);
}

static void open_tcp(struct tale *t, struct peer *p, bool stamps)
{
    struct fm_addr at;
    int ln = raw_listen(&at), one = 1;
    peer_connect(p, &at);
    int fd = accept4(ln, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fd >= 0);
    if (stamps)
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one), 0);
    close(ln);
    *t = (struct tale){.recv_result = 1};
    assert_int_equal(fm_sock_open(&t->sock, &net.loop, fd, stamps, &ops, NULL), FM_ERR_OK);
}

static void recv_into(struct tale *t, struct fm_block *b, struct fm_mono by)
{
    t->inside = true;
    fm_sock_recv(&t->sock, b, by);
    t->inside = false;
}

static void send_text(struct tale *t, const char *text, struct fm_mono by)
{
    struct iovec v = {(void *)(uintptr_t)text, strlen(text)};
    t->inside = true;
    fm_sock_send(&t->sock, &v, 1, by);
    t->inside = false;
}

static void drop_block(struct tale *t)
{
    fm_pool_put(&net.pool, t->block);
    t->block = NULL;
}

static void finish(struct tale *t, struct peer *p)
{
    if (t->block)
        drop_block(t);
    if (fm_sock_is_open(&t->sock))
        fm_sock_close(&t->sock);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(t->closed, 1);
    if (p->fd >= 0)
        peer_close(p);
}

static int setup(void **state)
{
    net_open(&net, BLOCK, 4);
    return fm_test_fds_before(state);
}

static int teardown(void **state)
{
    int rc = fm_test_fds_after(state);
    net_close(&net);
    return rc;
}

static struct tale t, u;
static struct peer p, q;

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
    static char bytes[BLOCK + 100];
    memset(bytes, 'x', sizeof bytes);
    peer_send(&net, &p, bytes, sizeof bytes);
    recv_into(&t, NULL, in_ms(FOREVER));
    NET_UNTIL(&net, t.received == 1);
    assert_int_equal(t.recv_result, BLOCK);
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
    usleep((useconds_t)wait_ms * 1000);
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
    peer_close(&p);
    assert_false(fm_sock_send_now(&t.sock, FM_STR("x")));
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

/* -------- deadlines -------- */

static void a_receive_ends_at_its_deadline(void **state)
{
    (void)state;
    open_pair(&t, &p);
    recv_into(&t, NULL, in_ms(1000));
    net_skip_ms(990);
    net_turn_ms(&net, 2);
    assert_int_equal(t.received, 0);
    net_skip_ms(10);
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
    on_received(s, b, n);
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
    static const struct fm_sock_ops reopen = {
        .received = on_received_reopen, .sent = on_sent, .closed = on_closed};
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
    assert_int_equal(fm_sock_connect(&t.sock, &net.loop, &at, in_ms(FOREVER), &ops, NULL),
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
    assert_int_equal(fm_sock_connect(&t.sock, &net.loop, &at, in_ms(FOREVER), &ops, NULL),
                     FM_ERR_OK);
    NET_UNTIL(&net, t.connected == 1);
    assert_int_equal(t.connect_result, 0);
    peer_accept(&net, &p, ln);
    close(ln);
    unlink(path);
    finish(&t, &p);
    struct fm_error e; /* nobody listens any more: known at once */
    assert_int_equal(fm_sock_connect(&t.sock, &net.loop, &at, in_ms(FOREVER), &ops, &e),
                     FM_ERR_UNREACHABLE);
    assert_false(fm_sock_is_open(&t.sock));
}

static void is_refused(void **state)
{
    (void)state;
    struct fm_addr at;
    close(raw_listen(&at)); /* a port where nobody listens */
    t = (struct tale){.connect_result = 1};
    assert_int_equal(fm_sock_connect(&t.sock, &net.loop, &at, in_ms(FOREVER), &ops, NULL),
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
    assert_int_equal(fm_sock_connect(&t.sock, &net.loop, &at, in_ms(500), &ops, NULL), FM_ERR_OK);
    net_turn_ms(&net, 5);
    assert_int_equal(t.connected, 0);
    net_skip_ms(501);
    NET_UNTIL(&net, t.connected == 1);
    assert_int_equal(t.connect_result, -ETIMEDOUT);
    close(ln);
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
        assert_int_equal(fm_sock_open(&crowd[i].sock, &net.loop, pair[0], false, &ops, NULL),
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

#define with_net(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(
    with_net(receives_into_a_block_of_the_pool), with_net(goes_on_in_the_block_of_the_owner),
    with_net(receives_no_more_than_fits), with_net(leaves_in_the_kernel_what_nobody_asked_for),
    with_net(gives_the_last_bytes_before_the_end), with_net(sees_an_end_that_comes_alone),
    with_net(tells_of_a_reset), with_net(says_when_the_pool_is_empty),
    with_net(a_cancelled_receive_does_not_complete),
    with_net(measures_how_long_bytes_waited_in_the_kernel),
    with_net(sends_all_through_a_small_buffer), with_net(completes_a_send_of_nothing),
    with_net(tells_how_much_was_sent_before_an_error), with_net(sends_a_few_bytes_at_once),
    with_net(half_closes), with_net(a_receive_ends_at_its_deadline),
    with_net(a_deadline_can_be_moved_both_ways), with_net(each_direction_has_its_own_deadline),
    with_net(a_deadline_does_not_overtake_what_has_arrived),
    with_net(a_deadline_does_not_overtake_what_a_timer_asks_for),
    with_net(a_close_drops_all_operations), with_net(a_close_drops_a_completion_that_is_due),
    with_net(an_event_of_a_closed_socket_is_forgotten),
    with_net(an_event_does_not_reach_the_next_socket_of_that_number),
    with_net(is_told_once_when_the_peer_is_gone),
    with_net(an_end_of_stream_is_no_loss_unless_it_is_watched_for),
    with_net(an_end_from_both_sides_is_no_loss),
    with_net(a_nudge_comes_in_the_same_turn_but_not_from_inside), with_net(connects),
    with_net(connects_to_a_path), with_net(is_refused),
    with_net(gives_up_a_connection_at_its_deadline), with_net(deadlines_do_not_overtake_a_crowd))
