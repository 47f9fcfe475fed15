/* See the header. */
#include "tale.h"

#include <unistd.h>

struct net net;
struct tale t, u;
struct peer p, q;

static struct tale *tale_of(struct fm_sock *s)
{
    struct tale *of = fm_container_of(s, struct tale, sock);
    assert_false(of->inside);
    assert_int_equal(of->closed, 0);
    return of;
}

void tale_received(struct fm_sock *s, struct fm_block *b, ssize_t n)
{
    struct tale *of = tale_of(s);
    of->received++;
    of->recv_result = n;
    of->block = b;
    if (of->closes)
        fm_sock_close(&of->closes->sock);
}

static void on_sent(struct fm_sock *s, int err)
{
    struct tale *of = tale_of(s);
    of->sent++;
    of->send_result = err;
}

static void on_connected(struct fm_sock *s, int err)
{
    struct tale *of = tale_of(s);
    of->connected++;
    of->connect_result = err;
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

const struct fm_sock_ops tale_ops = {
    .received = tale_received,
    .sent = on_sent,
    .connected = on_connected,
    .nudged = on_nudged,
    .closed = on_closed,
    .lost = on_lost,
};

struct fm_mono in_ms(int64_t ms)
{
    return fm_mono_add_ms(fm_loop_now(&net.loop), ms);
}

void open_pair(struct tale *of, struct peer *to)
{
    int fd[2];
    *of = (struct tale){.recv_result = 1};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    assert_int_equal(fm_sock_open(&of->sock, &net.loop, fd[0], false, &tale_ops, NULL), FM_ERR_OK);
    peer_adopt(to, fd[1]);
}

void open_tcp(struct tale *of, struct peer *to, bool stamps)
{
    struct fm_addr at;
    int ln = raw_listen(&at), one = 1;
    peer_connect(to, &at);
    int fd = accept4(ln, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fd >= 0);
    if (stamps)
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one), 0);
    close(ln);
    *of = (struct tale){.recv_result = 1};
    assert_int_equal(fm_sock_open(&of->sock, &net.loop, fd, stamps, &tale_ops, NULL), FM_ERR_OK);
}

void recv_into(struct tale *of, struct fm_block *b, struct fm_mono by)
{
    of->inside = true;
    fm_sock_recv(&of->sock, b, by);
    of->inside = false;
}

void send_text(struct tale *of, const char *text, struct fm_mono by)
{
    struct iovec v = {(void *)(uintptr_t)text, strlen(text)};
    of->inside = true;
    fm_sock_send(&of->sock, &v, 1, by);
    of->inside = false;
}

void drop_block(struct tale *of)
{
    fm_pool_put(&net.pool, of->block);
    of->block = NULL;
}

void finish(struct tale *of, struct peer *to)
{
    if (of->block)
        drop_block(of);
    if (fm_sock_is_open(&of->sock))
        fm_sock_close(&of->sock);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(of->closed, 1);
    if (to->fd >= 0)
        peer_close(to);
}

int tale_setup(void **state)
{
    net_open(&net, TALE_BLOCK, 4);
    return fm_test_fds_before(state);
}

int tale_teardown(void **state)
{
    int rc = fm_test_fds_after(state);
    net_close(&net);
    return rc;
}
