/* Listeners: accepting, resting when descriptors run out, pausing, paths. */
#include "net.h"

#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CLIENTS = 100 };

static struct net net;
static int accepted_fd[CLIENTS];
static unsigned naccepted;
static bool close_on_accept;
static struct peer p;

static void on_accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    assert_true(naccepted < CLIENTS);
    assert_true(fm_addr_is_loopback(from));
    accepted_fd[naccepted++] = fd;
    if (close_on_accept)
        fm_listener_close(ln);
}

static void close_accepted(void)
{
    while (naccepted)
        close(accepted_fd[--naccepted]);
}

static int setup(void **state)
{
    net_open(&net, 1024, 4);
    close_on_accept = false;
    return fm_test_fds_before(state);
}

static int teardown(void **state)
{
    int rc = fm_test_fds_after(state);
    net_close(&net);
    return rc;
}

static void open_listener(struct fm_listener *ln, const char *text, unsigned flags)
{
    struct fm_addr at;
    struct fm_error e;
    assert_int_equal(fm_addr_parse(&at, fm_str_z(text)), FM_ERR_OK);
    if (fm_listener_open(ln, &net.loop, &at, flags, on_accepted, &e))
        fail_msg("%s", e.msg);
}

static void accepts_on_the_port_it_says(void **state)
{
    (void)state;
    static const char *const where[] = {"127.0.0.1:0", "[::1]:0"};
    for (size_t i = 0; i < FM_COUNT(where); i++) {
        struct fm_listener ln;
        open_listener(&ln, where[i], 0);
        assert_int_not_equal(fm_addr_port(&ln.address), 0);
        peer_connect(&p, &ln.address);
        NET_UNTIL(&net, naccepted == 1);
        assert_int_equal(send(accepted_fd[0], "hi", 2, 0), 2);
        NET_UNTIL(&net, peer_heard(&p, "hi"));
        fm_listener_close(&ln);
        fm_listener_close(&ln); /* twice is as good */
        close_accepted();
        peer_close(&p);
    }
}

static void accepts_a_crowd_in_several_turns(void **state)
{
    (void)state;
    static struct peer crowd[CLIENTS / 2];
    struct fm_listener ln;
    open_listener(&ln, "127.0.0.1:0", 0);
    for (size_t i = 0; i < FM_COUNT(crowd); i++)
        peer_connect(&crowd[i], &ln.address);
    fm_loop_turn(&net.loop, 0);
    assert_in_range(naccepted, 1, FM_COUNT(crowd) - 1);
    NET_UNTIL(&net, naccepted == FM_COUNT(crowd));
    for (size_t i = 0; i < FM_COUNT(crowd); i++)
        peer_close(&crowd[i]);
    close_accepted();
    fm_listener_close(&ln);
}

static void a_pause_leaves_clients_in_the_queue(void **state)
{
    (void)state;
    struct fm_listener ln;
    open_listener(&ln, "127.0.0.1:0", 0);
    fm_listener_pause(&ln, true);
    peer_connect(&p, &ln.address);
    net_turn_ms(&net, 5);
    assert_int_equal(naccepted, 0);
    fm_listener_pause(&ln, false);
    NET_UNTIL(&net, naccepted == 1);
    fm_listener_pause(&ln, true);
    fm_listener_close(&ln);
    close_accepted();
    peer_close(&p);
}

static void may_be_closed_from_inside(void **state)
{
    (void)state;
    static struct peer q;
    struct fm_listener ln;
    open_listener(&ln, "127.0.0.1:0", 0);
    close_on_accept = true;
    peer_connect(&p, &ln.address);
    peer_connect(&q, &ln.address);
    NET_UNTIL(&net, naccepted == 1);
    net_turn_ms(&net, 2);
    assert_int_equal(naccepted, 1);
    close_accepted();
    peer_close(&p);
    peer_close(&q);
}

/* Out of descriptors it must not spin, and it must go on when there are some again. */
static void rests_when_descriptors_run_out(void **state)
{
    (void)state;
    struct fm_listener ln;
    struct rlimit before;
    open_listener(&ln, "127.0.0.1:0", 0);
    peer_connect(&p, &ln.address);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(naccepted, 0);
    assert_int_equal(ln.accept_errors, 1);
    assert_int_equal(ln.watch.events, 0); /* no event comes, so it cannot spin */
    assert_true(fm_timer_is_set(&ln.again));
    net_skip_ms(60);
    NET_UNTIL(&net, naccepted == 1);
    fm_listener_close(&ln);
    close_accepted();
    peer_close(&p);
}

static void a_port_can_be_taken_once_unless_it_is_shared(void **state)
{
    (void)state;
    struct fm_listener a, b;
    struct fm_error e;
    open_listener(&a, "127.0.0.1:0", 0);
    assert_int_equal(fm_listener_open(&b, &net.loop, &a.address, 0, on_accepted, &e),
                     FM_ERR_EXISTS);
    char text[FM_ADDR_TEXT_MAX];
    fm_addr_format(&a.address, text);
    assert_non_null(strstr(e.msg, text));
    fm_listener_close(&b); /* was never open */
    fm_listener_close(&a);
    open_listener(&a, "127.0.0.1:0", FM_LISTEN_SHARE);
    assert_int_equal(fm_listener_open(&b, &net.loop, &a.address, FM_LISTEN_SHARE, on_accepted, &e),
                     FM_ERR_OK);
    fm_listener_close(&a);
    peer_connect(&p, &b.address);
    NET_UNTIL(&net, naccepted == 1);
    fm_listener_close(&b);
    close_accepted();
    peer_close(&p);
}

static void an_address_is_looked_at_before_another_program_is_started_there(void **state)
{
    (void)state;
    struct fm_listener ln;
    struct fm_error e;
    struct fm_addr at;
    open_listener(&ln, "127.0.0.1:0", 0);
    peer_connect(&p, &ln.address);
    NET_UNTIL(&net, naccepted == 1);
    assert_int_equal(fm_listener_probe(&ln.address, &e), FM_ERR_EXISTS);
    assert_non_null(strstr(e.msg, "another process listens there"));
    at = ln.address;
    fm_listener_close(&ln);
    assert_int_equal(fm_listener_probe(&at, &e), FM_ERR_OK); /* whoever is in is no obstacle */
    assert_int_equal(fm_addr_parse(&at, FM_STR("192.0.2.1:5432")), FM_ERR_OK); /* RFC 5737 */
    assert_int_equal(fm_listener_probe(&at, &e), FM_ERR_IO);
    assert_non_null(strstr(e.msg, "192.0.2.1:5432"));
    close_accepted();
    peer_close(&p);
}

/* As the workers of a process have it: nobody else gets in between, not even who would share. */
static void the_first_of_those_that_share_finds_out_whether_another_is_there(void **state)
{
    (void)state;
    struct fm_listener first, second, other;
    struct fm_error e;
    struct fm_addr at;
    char text[FM_ADDR_TEXT_MAX];
    static struct peer crowd[CLIENTS / 2];
    close(raw_listen(&at)); /* a port that is free */
    fm_addr_format(&at, text);
    open_listener(&first, text, FM_LISTEN_SHARE | FM_LISTEN_FIRST);
    open_listener(&second, text, FM_LISTEN_SHARE);
    assert_int_equal(fm_listener_open(&other, &net.loop, &at, FM_LISTEN_SHARE | FM_LISTEN_FIRST,
                                      on_accepted, &e),
                     FM_ERR_EXISTS);
    assert_non_null(strstr(e.msg, text));
    assert_non_null(strstr(e.msg, "another process listens there"));
    fm_listener_pause(&second, true);
    for (size_t i = 0; i < FM_COUNT(crowd); i++)
        peer_connect(&crowd[i], &at);
    net_turn_ms(&net, 5);
    assert_in_range(naccepted, 1, FM_COUNT(crowd) - 1); /* each of the two has some */
    fm_listener_pause(&second, false);
    NET_UNTIL(&net, naccepted == FM_COUNT(crowd));
    fm_listener_close(&first);
    fm_listener_close(&second);
    /* sessions that go on are no obstacle for the next process */
    open_listener(&other, text, FM_LISTEN_SHARE | FM_LISTEN_FIRST);
    fm_listener_close(&other);
    for (size_t i = 0; i < FM_COUNT(crowd); i++)
        peer_close(&crowd[i]);
    close_accepted();
}

/* Both have bound before either listens: one of them is told. */
static void of_two_that_begin_at_once_one_is_refused(void **state)
{
    (void)state;
    struct fm_listener ln;
    struct fm_error e;
    struct fm_addr at;
    int one = 1;
    close(raw_listen(&at));
    int fd = socket(at.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), 0);
    assert_int_equal(bind(fd, &at.sa, at.len), 0);
    assert_int_equal(
        fm_listener_open(&ln, &net.loop, &at, FM_LISTEN_SHARE | FM_LISTEN_FIRST, on_accepted, &e),
        FM_ERR_OK);
    assert_int_equal(listen(fd, 1), -1);
    assert_int_equal(errno, EADDRINUSE);
    close(fd);
    fm_listener_close(&ln);
}

static void a_path_is_for_its_owner_alone_and_goes_with_the_listener(void **state)
{
    (void)state;
    char path[64];
    struct fm_addr at;
    struct fm_listener ln;
    struct stat st;
    snprintf(path, sizeof path, "/tmp/fm-test-listen-%d", (int)getpid());
    assert_int_equal(fm_addr_unix(&at, fm_str_z(path)), FM_ERR_OK);
    for (int again = 0; again < 2; again++) { /* a path that was left behind is no obstacle */
        assert_int_equal(fm_listener_open(&ln, &net.loop, &at, 0, on_accepted, NULL), FM_ERR_OK);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        peer_connect(&p, &at);
        NET_UNTIL(&net, naccepted == 1);
        close_accepted();
        peer_close(&p);
        if (again) {
            fm_listener_close(&ln);
        } else { /* as if this process had been killed */
            fm_loop_unwatch(&net.loop, &ln.watch);
            close(ln.watch.fd);
        }
    }
    assert_int_equal(stat(path, &st), -1);
    assert_int_equal(errno, ENOENT);
}

static bool is_refused(const struct fm_addr *at)
{
    int fd = socket(at->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool refused = connect(fd, &at->sa, at->len) < 0;
    assert_true(!refused || errno == ECONNREFUSED);
    close(fd);
    return refused;
}

static void who_connects_may_be_refused_by_the_kernel(void **state)
{
    (void)state;
    struct fm_listener ln;
    struct fm_error e;
    struct fm_addr at;
    close(raw_listen(&at)); /* a port that is free */
    assert_int_equal(fm_listener_open(&ln, &net.loop, &at, 0, on_accepted, &e), FM_ERR_OK);
    for (int again = 0; again < 2; again++) {
        uint64_t turns = net.loop.turns;
        assert_int_equal(fm_listener_refuse(&ln, true, &e), FM_ERR_OK);
        assert_int_equal(fm_listener_refuse(&ln, true, &e), FM_ERR_OK);
        assert_true(is_refused(&ln.address));
        net_turn_ms(&net, 20);
        assert_in_range(net.loop.turns - turns, 1, 200); /* it does not spin */
        assert_int_equal(fm_listener_refuse(&ln, false, &e), FM_ERR_OK);
        peer_connect(&p, &ln.address);
        NET_UNTIL(&net, naccepted == 1);
        close_accepted();
        peer_close(&p);
    }
    assert_int_equal(fm_listener_refuse(&ln, true, &e), FM_ERR_OK);
    fm_listener_close(&ln);
}

#define with_net(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_net(accepts_on_the_port_it_says), with_net(accepts_a_crowd_in_several_turns),
             with_net(a_pause_leaves_clients_in_the_queue),
             with_net(who_connects_may_be_refused_by_the_kernel),
             with_net(may_be_closed_from_inside), with_net(rests_when_descriptors_run_out),
             with_net(a_port_can_be_taken_once_unless_it_is_shared),
             with_net(the_first_of_those_that_share_finds_out_whether_another_is_there),
             with_net(of_two_that_begin_at_once_one_is_refused),
             with_net(an_address_is_looked_at_before_another_program_is_started_there),
             with_net(a_path_is_for_its_owner_alone_and_goes_with_the_listener))
