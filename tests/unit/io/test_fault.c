/* The fault proxy between two raw peers: what passes, what does not, and what arrives late. */
#include "net.h"

#include "io/fault.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BLOCK = 1024, BLOCKS = 64, SOON_MS = 20 };

static struct net net;
static struct fm_fault fault;
static struct peer p, q; /* who connects, whom it wanted */
static int target;

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    struct fm_addr at, to;
    net_open(&net, BLOCK, BLOCKS);
    target = raw_listen(&to);
    assert_int_equal(fm_addr_parse(&at, FM_STR("127.0.0.1:0")), FM_ERR_OK);
    assert_int_equal(fm_fault_open(&fault, &net.loop, &at, &to, 7, NULL), FM_ERR_OK);
    return rc;
}

static int teardown(void **state)
{
    fm_fault_close(&fault);
    fm_fault_close(&fault);
    assert_int_equal(fault.npairs, 0);
    close(target);
    net_close(&net); /* all blocks are back, no timer is left */
    return fm_test_fds_after(state);
}

static void rule(enum fm_fault_way way, struct fm_fault_rule r)
{
    fm_fault_set(&fault, way, &r);
}

static void cut(bool there, bool back)
{
    rule(FM_FAULT_THERE, (struct fm_fault_rule){.cut = there});
    rule(FM_FAULT_BACK, (struct fm_fault_rule){.cut = back});
}

static void open_both(void)
{
    peer_connect(&p, &fault.listener.address);
    peer_accept(&net, &q, target);
}

static void close_both(void)
{
    peer_close(&p);
    peer_close(&q);
}

static bool silent(struct peer *x)
{
    net_turn_ms(&net, SOON_MS);
    peer_poll(x);
    return x->n == 0 && !x->ended && !x->err;
}

static void passes_what_is_said_in_both_directions(void **state)
{
    (void)state;
    open_both();
    peer_say(&net, &p, "hello");
    NET_UNTIL(&net, peer_heard(&q, "hello"));
    peer_say(&net, &q, "and hello to you");
    NET_UNTIL(&net, peer_heard(&p, "and hello to you"));
    assert_int_equal(fault.npairs, 1);
    NET_UNTIL(&net, fault.bytes[FM_FAULT_THERE] == 5 && fault.bytes[FM_FAULT_BACK] == 16);
    close_both();
    NET_UNTIL(&net, fault.npairs == 0);
}

static void passes_an_end_and_what_follows_the_other_way(void **state)
{
    (void)state;
    open_both();
    peer_say(&net, &p, "all");
    assert_int_equal(shutdown(p.fd, SHUT_WR), 0);
    NET_UNTIL(&net, peer_is_over(&q));
    assert_true(q.ended && peer_heard(&q, "all"));
    assert_int_equal(fault.npairs, 1);
    peer_say(&net, &q, "heard");
    peer_close(&q);
    NET_UNTIL(&net, peer_is_over(&p));
    assert_true(p.ended && peer_heard(&p, "heard"));
    NET_UNTIL(&net, fault.npairs == 0);
    peer_close(&p);
}

static void passes_a_reset(void **state)
{
    (void)state;
    open_both();
    peer_reset(&p);
    NET_UNTIL(&net, peer_is_over(&q));
    assert_int_equal(q.err, ECONNRESET);
    NET_UNTIL(&net, fault.npairs == 0);
    peer_close(&q);
}

static void passes_much_more_than_it_holds(void **state)
{
    (void)state;
    enum { MUCH = 100 * 1000 };
    static char bytes[MUCH];
    for (unsigned i = 0; i < MUCH; i++)
        bytes[i] = (char)(i * 31 + i / 256);
    open_both();
    peer_send(&net, &p, bytes, MUCH);
    NET_UNTIL(&net, (peer_poll(&q), q.n == MUCH));
    assert_memory_equal(q.in, bytes, MUCH);
    close_both();
}

static void a_cut_lets_nothing_pass_and_what_was_said_arrives_late(void **state)
{
    (void)state;
    open_both();
    cut(true, true);
    peer_say(&net, &p, "late");
    peer_say(&net, &q, "too late");
    assert_true(silent(&q) && silent(&p));
    cut(false, false);
    NET_UNTIL(&net, peer_heard(&q, "late") && peer_heard(&p, "too late"));
    close_both();
}

static void a_cut_can_be_of_one_direction(void **state)
{
    (void)state;
    open_both();
    cut(true, false);
    peer_say(&net, &q, "do you hear me");
    NET_UNTIL(&net, peer_heard(&p, "do you hear me"));
    peer_say(&net, &p, "yes");
    assert_true(silent(&q));
    cut(false, true);
    NET_UNTIL(&net, peer_heard(&q, "yes"));
    peer_drop(&p, p.n);
    peer_say(&net, &q, "fine");
    assert_true(silent(&p));
    close_both();
}

static void a_connection_made_during_a_cut_hears_nothing_until_it_heals(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 2; way++) {
        cut(way == 0, way == 1);
        peer_connect(&p, &fault.listener.address);
        peer_say(&net, &p, "anybody");
        assert_true(silent(&p));
        assert_int_equal(accept4(target, NULL, NULL, SOCK_CLOEXEC), -1);
        cut(false, false);
        peer_accept(&net, &q, target);
        NET_UNTIL(&net, peer_heard(&q, "anybody"));
        close_both();
    }
}

static void nobody_learns_of_an_end_through_a_cut(void **state)
{
    (void)state;
    open_both();
    cut(true, true);
    peer_close(&p);
    assert_true(silent(&q));
    cut(false, false);
    NET_UNTIL(&net, peer_is_over(&q));
    peer_close(&q);
}

static void nobody_learns_of_a_reset_through_a_cut(void **state)
{
    (void)state;
    open_both();
    cut(true, false);
    peer_reset(&p);
    assert_true(silent(&q));
    peer_say(&net, &q, "are you there"); /* the proxy finds out, the other side does not */
    assert_true(silent(&q));
    peer_say(&net, &q, "well");
    assert_true(silent(&q));
    assert_int_equal(fault.npairs, 1);
    cut(false, false);
    NET_UNTIL(&net, peer_is_over(&q));
    assert_int_equal(q.err, ECONNRESET);
    peer_close(&q);
}

static void a_sender_waits_for_who_does_not_hear(void **state)
{
    (void)state;
    static char bytes[BLOCK * FM_FAULT_QUEUE_MAX * 4];
    open_both();
    rule(FM_FAULT_THERE, (struct fm_fault_rule){.delay_ms = 1000});
    peer_send(&net, &p, bytes, sizeof bytes);
    net_turn_ms(&net, SOON_MS);
    assert_int_equal(net.pool.in_use, FM_FAULT_QUEUE_MAX);
    for (int i = 0; i < 8; i++) {
        net_skip_ms(1000);
        net_turn_ms(&net, 2);
    }
    NET_UNTIL(&net, (peer_poll(&q), q.n == sizeof bytes));
    close_both();
}

static void goes_on_when_the_pool_has_blocks_again(void **state)
{
    (void)state;
    struct fm_block *b[BLOCKS];
    open_both();
    for (unsigned i = 0; i < BLOCKS; i++)
        assert_non_null(b[i] = fm_pool_get(&net.pool));
    peer_say(&net, &p, "patience");
    assert_true(silent(&q));
    for (unsigned i = 0; i < BLOCKS; i++)
        fm_pool_put(&net.pool, b[i]);
    net_skip_ms(20);
    NET_UNTIL(&net, peer_heard(&q, "patience"));
    close_both();
}

static void a_delay_is_kept_and_nothing_overtakes(void **state)
{
    (void)state;
    open_both();
    rule(FM_FAULT_THERE, (struct fm_fault_rule){.delay_ms = 60 * 1000, .jitter_ms = 1000});
    peer_say(&net, &p, "first ");
    net_turn_ms(&net, SOON_MS);
    rule(FM_FAULT_THERE, (struct fm_fault_rule){0});
    peer_say(&net, &p, "second");
    peer_say(&net, &q, "at once");
    NET_UNTIL(&net, peer_heard(&p, "at once"));
    net_skip_ms(59 * 1000);
    assert_true(silent(&q));
    net_skip_ms(2 * 1000);
    NET_UNTIL(&net, peer_heard(&q, "first second"));
    close_both();
}

static void an_end_does_not_overtake_either(void **state)
{
    (void)state;
    open_both();
    rule(FM_FAULT_THERE, (struct fm_fault_rule){.delay_ms = 5000});
    peer_say(&net, &p, "bye");
    assert_int_equal(shutdown(p.fd, SHUT_WR), 0);
    assert_true(silent(&q));
    net_skip_ms(6000);
    NET_UNTIL(&net, peer_is_over(&q));
    assert_true(q.ended && peer_heard(&q, "bye"));
    close_both();
}

static void what_is_lost_comes_a_retransmission_later(void **state)
{
    (void)state;
    open_both();
    rule(FM_FAULT_BACK, (struct fm_fault_rule){.loss_ppm = 1000000});
    peer_say(&net, &q, "again and again");
    net_turn_ms(&net, SOON_MS);
    net_skip_ms(12000); /* 200 + 400 + ... + 6400 ms: the network gives in before it is for ever */
    assert_true(silent(&p));
    net_skip_ms(600);
    NET_UNTIL(&net, peer_heard(&p, "again and again"));
    close_both();
}

static void about_as_much_is_lost_as_was_said(void **state)
{
    (void)state;
    unsigned late = 0;
    open_both();
    rule(FM_FAULT_THERE, (struct fm_fault_rule){.loss_ppm = 300000});
    for (unsigned i = 0; i < 200; i++) {
        peer_say(&net, &p, "x");
        /* one piece at a time: it has come, or it is on its way to come later */
        NET_UNTIL(&net, (peer_poll(&q), q.n == 1) || net.pool.in_use > 0);
        net_turn_ms(&net, 1);
        peer_poll(&q);
        late += q.n == 0;
        while (q.n == 0) {
            net_skip_ms(200);
            net_turn_ms(&net, 1);
            peer_poll(&q);
        }
        peer_drop(&q, 1);
    }
    assert_in_range(late, 30, 90);
    close_both();
}

static void whom_nobody_takes_in_is_reset(void **state)
{
    (void)state;
    close(target);
    peer_connect(&p, &fault.listener.address);
    NET_UNTIL(&net, peer_is_over(&p));
    assert_int_equal(p.err, ECONNRESET);
    NET_UNTIL(&net, fault.npairs == 0);
    peer_close(&p);
    struct fm_addr any;
    target = raw_listen(&any);
}

static void closing_resets_all(void **state)
{
    (void)state;
    open_both();
    rule(FM_FAULT_THERE, (struct fm_fault_rule){.delay_ms = 1000});
    peer_say(&net, &p, "never");
    net_turn_ms(&net, SOON_MS);
    fm_fault_close(&fault);
    NET_UNTIL(&net, peer_is_over(&p) && peer_is_over(&q));
    assert_true(p.err == ECONNRESET && q.err == ECONNRESET && q.n == 0);
    close_both();
}

static void unix_sockets_are_forwarded_too(void **state)
{
    (void)state;
    char dir[] = "/tmp/fulmar-fault-XXXXXX", path[2][64];
    struct fm_addr at[2];
    struct fm_fault f;
    assert_non_null(mkdtemp(dir));
    for (unsigned i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/%u.sock", dir, i);
        assert_int_equal(fm_addr_unix(&at[i], fm_str_z(path[i])), FM_ERR_OK);
    }
    int ln = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(ln, &at[1].sa, at[1].len), 0);
    assert_int_equal(listen(ln, 1), 0);
    assert_int_equal(fm_fault_open(&f, &net.loop, &at[0], &at[1], 7, NULL), FM_ERR_OK);
    peer_connect(&p, &at[0]);
    peer_accept(&net, &q, ln);
    peer_say(&net, &p, "hello");
    NET_UNTIL(&net, peer_heard(&q, "hello"));
    close_both();
    NET_UNTIL(&net, f.npairs == 0);
    fm_fault_close(&f);
    close(ln);
    assert_int_equal(unlink(path[1]), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void where_it_cannot_listen_it_says_why(void **state)
{
    (void)state;
    struct fm_fault f;
    struct fm_error e;
    assert_int_equal(fm_fault_open(&f, &net.loop, &fault.listener.address, &fault.to, 7, &e),
                     FM_ERR_EXISTS);
    fm_fault_close(&f);
}

#define with_fault(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_fault(passes_what_is_said_in_both_directions),
             with_fault(passes_an_end_and_what_follows_the_other_way), with_fault(passes_a_reset),
             with_fault(passes_much_more_than_it_holds),
             with_fault(a_cut_lets_nothing_pass_and_what_was_said_arrives_late),
             with_fault(a_cut_can_be_of_one_direction),
             with_fault(a_connection_made_during_a_cut_hears_nothing_until_it_heals),
             with_fault(nobody_learns_of_an_end_through_a_cut),
             with_fault(nobody_learns_of_a_reset_through_a_cut),
             with_fault(a_sender_waits_for_who_does_not_hear),
             with_fault(goes_on_when_the_pool_has_blocks_again),
             with_fault(a_delay_is_kept_and_nothing_overtakes),
             with_fault(an_end_does_not_overtake_either),
             with_fault(what_is_lost_comes_a_retransmission_later),
             with_fault(about_as_much_is_lost_as_was_said),
             with_fault(whom_nobody_takes_in_is_reset), with_fault(closing_resets_all),
             with_fault(unix_sockets_are_forwarded_too),
             with_fault(where_it_cannot_listen_it_says_why))
