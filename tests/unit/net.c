/* See the header. */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_S = 30 };

/* -------- time -------- */

enum { TICK_MS = 2 };

/* More than a thread that only ticks is ever late, and less than what the program calls a stall of
 * its own (core/deadline.h). */
#define STALL_NS (20 * FM_NS_PER_MS)

static struct {
    pthread_mutex_t lock;
    pid_t ticks_in;  /* a child that was forked has no ticks */
    int64_t seen_ns; /* at the last tick or look */
    int64_t lost_ns; /* in which the machine did not let this process run */
    int64_t skipped_ns;
} boot = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int64_t of_timespec(const struct timespec *t)
{
    return (int64_t)t->tv_sec * FM_NS_PER_S + t->tv_nsec;
}

static int64_t look(void)
{
    struct timespec t;
    pthread_mutex_lock(&boot.lock);
    (void)syscall(SYS_clock_gettime, CLOCK_BOOTTIME, &t);
    int64_t now_ns = of_timespec(&t), gap_ns = now_ns - boot.seen_ns;
    if (boot.seen_ns != 0 && gap_ns > STALL_NS && boot.ticks_in == getpid())
        boot.lost_ns += gap_ns - STALL_NS;
    boot.seen_ns = now_ns;
    int64_t told_ns = now_ns - boot.lost_ns + boot.skipped_ns;
    pthread_mutex_unlock(&boot.lock);
    return told_ns;
}

static void *tick(void *arg)
{
    for (;;) {
        nanosleep(&(struct timespec){.tv_nsec = TICK_MS * FM_NS_PER_MS}, NULL);
        (void)look();
    }
    return arg;
}

static void hold(void)
{
    pthread_mutex_lock(&boot.lock);
}

static void let_go(void)
{
    pthread_mutex_unlock(&boot.lock);
}

/* It takes no signal that another thread is to get, and no child is forked while it looks. */
static void begin_to_tick(void)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_atfork(hold, let_go, let_go) == 0 &&
        pthread_create(&thread, NULL, tick, NULL) == 0 && pthread_detach(thread) == 0)
        boot.ticks_in = getpid();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* In the place of libc's: the clock of fm_mono_now can be moved on, and while the machine does not
 * let this process run it stands still; the others stay. */
int clock_gettime(clockid_t id, struct timespec *t)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (id != CLOCK_BOOTTIME)
        return (int)syscall(SYS_clock_gettime, id, t);
    pthread_once(&once, begin_to_tick);
    int64_t ns = look();
    t->tv_sec = (time_t)(ns / FM_NS_PER_S);
    t->tv_nsec = (long)(ns % FM_NS_PER_S);
    return 0;
}

void net_skip_ms(int64_t ms)
{
    pthread_mutex_lock(&boot.lock);
    boot.skipped_ns += ms * FM_NS_PER_MS;
    pthread_mutex_unlock(&boot.lock);
}

static int64_t real_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return of_timespec(&t);
}

int64_t net_patience(void)
{
    return real_ns() + PATIENCE_S * FM_NS_PER_S;
}

bool net_is_over(int64_t patience)
{
    return real_ns() > patience;
}

/* -------- the loop -------- */

void net_open(struct net *n, size_t block_size, size_t blocks)
{
    struct fm_error e;
    fm_pool_init(&n->pool, block_size, blocks);
    if (fm_loop_init(&n->loop, &n->pool, &e))
        fail_msg("%s", e.msg);
}

void net_close(struct net *n)
{
    fm_loop_turn(&n->loop, 0); /* buries what was closed */
    assert_int_equal(n->loop.wheel.count, 0);
    fm_loop_deinit(&n->loop);
    assert_int_equal(n->pool.in_use, 0);
    fm_pool_deinit(&n->pool);
}

void net_turn_ms(struct net *n, int64_t ms)
{
    int64_t end = real_ns() + ms * FM_NS_PER_MS;
    for (int64_t turns = 0; turns < ms || real_ns() < end; turns++)
        fm_loop_turn(&n->loop, FM_NS_PER_MS);
}

void net_sleep_ms(int64_t ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * FM_NS_PER_MS};
    while (nanosleep(&left, &left) != 0)
        assert_int_equal(errno, EINTR);
}

/* -------- peers -------- */

int raw_listen(struct fm_addr *at)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(fm_addr_parse(at, FM_STR("127.0.0.1:0")), FM_ERR_OK);
    assert_int_equal(bind(fd, &at->sa, at->len), 0);
    assert_int_equal(listen(fd, 64), 0);
    at->len = sizeof at->un;
    assert_int_equal(getsockname(fd, &at->sa, &at->len), 0);
    return fd;
}

void peer_adopt(struct peer *p, int fd)
{
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
    p->fd = fd;
    p->ended = false;
    p->err = 0;
    p->n = 0;
}

void peer_connect(struct peer *p, const struct fm_addr *to)
{
    int fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &to->sa, to->len), 0);
    peer_adopt(p, fd);
}

static bool accepts(int listener, int *fd)
{
    *fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(*fd >= 0 || errno == EAGAIN);
    return *fd >= 0;
}

void peer_accept(struct net *n, struct peer *p, int listener)
{
    int fd;
    NET_UNTIL(n, accepts(listener, &fd));
    peer_adopt(p, fd);
}

void peer_close(struct peer *p)
{
    assert_int_equal(close(p->fd), 0);
    p->fd = -1;
}

void peer_reset(struct peer *p)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    peer_close(p);
}

static size_t send_some(struct peer *p, const char *bytes, size_t len)
{
    ssize_t n = send(p->fd, bytes, len, MSG_NOSIGNAL);
    if (n < 0)
        assert_int_equal(errno, EAGAIN);
    return n > 0 ? (size_t)n : 0;
}

void peer_send(struct net *n, struct peer *p, const char *bytes, size_t len)
{
    size_t at = 0;
    NET_UNTIL(n, (at += send_some(p, bytes + at, len - at)) == len);
}

void peer_say(struct net *n, struct peer *p, const char *text)
{
    peer_send(n, p, text, strlen(text));
}

void peer_poll(struct peer *p)
{
    while (!p->ended && !p->err && p->n < sizeof p->in) {
        ssize_t n = recv(p->fd, p->in + p->n, sizeof p->in - p->n, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            p->err = errno;
        else if (n == 0)
            p->ended = true;
        else
            p->n += (size_t)n;
    }
}

bool peer_heard(struct peer *p, const char *text)
{
    peer_poll(p);
    return fm_str_eqz(fm_str(p->in, p->n), text);
}

bool peer_heard_last(struct peer *p, const char *text)
{
    peer_poll(p);
    return fm_str_ends(fm_str(p->in, p->n), fm_str_z(text));
}

bool peer_is_over(struct peer *p)
{
    peer_poll(p);
    return p->ended || p->err;
}

void peer_drop(struct peer *p, size_t n)
{
    assert_true(n <= p->n);
    memmove(p->in, p->in + n, p->n - n);
    p->n -= n;
}
