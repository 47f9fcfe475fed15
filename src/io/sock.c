/* Sockets over edge-triggered epoll. Invariants: a completion is delivered once and never from
 * inside its submission; a short receive means that the kernel's buffer is empty unless an end or
 * an error was announced (epoll(7), "the read/write I/O space is exhausted"), so that a request
 * costs one receive and no EAGAIN; `timer` is set at the earliest deadline or before it. */
#include "io/sock.h"

#include "base/assert.h"
#include "io/sock_turn.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const uint32_t sock_events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

static void defer(struct fm_sock *s)
{
    FM_ASSERT(s->flags & FM_SOCK_OPEN);
    if (fm_list_empty(&s->pending))
        fm_list_push_back(&s->loop->deferred, &s->pending);
}

/* -------- deadlines -------- */

static struct fm_mono earliest(const struct fm_sock *s)
{
    struct fm_mono t = FM_MONO_NEVER;
    if (s->flags & FM_SOCK_RECEIVING)
        t = s->recv_deadline;
    if (s->flags & (FM_SOCK_SENDING | FM_SOCK_CONNECTING | FM_SOCK_SHAKING))
        t = fm_mono_min(t, s->send_deadline);
    return t;
}

/* Lazy: a timer that is early enough stays; when it fires for nothing it is set again. */
static void arm(struct fm_sock *s)
{
    struct fm_mono t = earliest(s);
    if (fm_mono_is_never(t) || (fm_timer_is_set(&s->timer) && s->timer_at.ns <= t.ns))
        return;
    FM_ASSERT(s->flags & FM_SOCK_OPEN);
    s->timer_at = t;
    fm_loop_timer(s->loop, &s->timer, t);
}

static void finish_connect(struct fm_sock *s, int err)
{
    FM_ASSERT((s->flags & (FM_SOCK_CONNECTING | FM_SOCK_SHAKING)) && err <= 0);
    s->flags &= (uint16_t) ~(FM_SOCK_CONNECTING | FM_SOCK_SHAKING);
    s->ops->connected(s, err);
}

static void finish_recv(struct fm_sock *s, struct fm_block *b, ssize_t n)
{
    FM_ASSERT((s->flags & FM_SOCK_RECEIVING) && (n <= 0 || b));
    FM_ASSERT(!s->into || s->into == b);
    s->flags &= (uint16_t)~FM_SOCK_RECEIVING;
    s->into = NULL;
    s->ops->received(s, b, n);
}

static void finish_send(struct fm_sock *s, int err)
{
    FM_ASSERT((s->flags & (FM_SOCK_SENDING | FM_SOCK_SENT)) && err <= 0);
    s->flags &= (uint16_t) ~(FM_SOCK_SENDING | FM_SOCK_SENT);
    s->ops->sent(s, err);
}

/* -------- receiving -------- */

static ssize_t recv_stamped(struct fm_sock *s, void *to, size_t room)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(struct timespec)) + 64];
    } control;
    struct iovec iov = {to, room};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof control};
    ssize_t n = recvmsg(s->watch.fd, &m, 0);
    s->recv_age_ns = 0;
    if (n <= 0)
        return n;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS)
            continue;
        struct timespec ts;
        memcpy(&ts, CMSG_DATA(c), sizeof ts);
        int64_t age = fm_wall_now_ns() - ((int64_t)ts.tv_sec * FM_NS_PER_S + ts.tv_nsec);
        s->recv_age_ns = age < 0 ? INT64_MAX : age;
    }
    return n;
}

ssize_t fm_sock_raw_recv(struct fm_sock *s, void *to, size_t room)
{
    FM_ASSERT(room > 0);
    if (s->tls && !(s->flags & FM_SOCK_READABLE))
        return -EAGAIN;
    ssize_t n;
    do
        n = s->flags & FM_SOCK_STAMPS ? recv_stamped(s, to, room) : recv(s->watch.fd, to, room, 0);
    while (n < 0 && errno == EINTR);
    int err = n < 0 ? errno : 0;
    if (n > 0 && ((size_t)n == room || (s->flags & FM_SOCK_EOF)))
        s->flags |= FM_SOCK_READABLE; /* also where a deadline looked before any event came */
    else if (n > 0 || err == EAGAIN || err == EWOULDBLOCK)
        s->flags &= (uint16_t)~FM_SOCK_READABLE;
    return n < 0 ? -err : n;
}

/* False where there is nothing to receive. */
static bool try_recv(struct fm_sock *s)
{
    struct fm_block *b = s->into;
    if (!b) {
        b = fm_pool_get(s->loop->pool);
        if (!b) {
            finish_recv(s, NULL, -ENOBUFS);
            return true;
        }
    }
    size_t room = b->size - b->n;
    FM_ASSERT(room > 0);
    ssize_t n =
        s->tls ? fm_tls_recv(s, b->data + b->n, room) : fm_sock_raw_recv(s, b->data + b->n, room);
    FM_ASSERT(n <= (ssize_t)room);
    if (n > 0) {
        b->n += (uint32_t)n;
        finish_recv(s, b, n);
        return true;
    }
    if (!s->into)
        fm_pool_put(s->loop->pool, b);
    if (n == -EAGAIN || n == -EWOULDBLOCK)
        return false;
    finish_recv(s, s->into, n);
    return true;
}

static void recv_or_wait(struct fm_sock *s)
{
    if (!try_recv(s))
        arm(s);
}

void fm_sock_recv(struct fm_sock *s, struct fm_block *into, struct fm_mono deadline)
{
    FM_ASSERT((s->flags & FM_SOCK_OPEN) && !(s->flags & FM_SOCK_RECEIVING));
    FM_ASSERT((!into || into->n < into->size) && !fm_mono_is_never(deadline));
    FM_ASSERT(!(s->flags & FM_SOCK_CONNECTING));
    s->into = into;
    s->recv_deadline = deadline;
    s->flags |= FM_SOCK_RECEIVING;
    if (fm_sock_is_readable(s))
        defer(s);
    else
        arm(s);
}

struct fm_block *fm_sock_recv_cancel(struct fm_sock *s)
{
    FM_ASSERT(!s->into || (s->flags & FM_SOCK_RECEIVING));
    struct fm_block *b = s->into;
    s->flags &= (uint16_t)~FM_SOCK_RECEIVING;
    s->into = NULL;
    return b;
}

bool fm_sock_has_input(const struct fm_sock *s)
{
    int n = 0;
    return fm_sock_is_readable(s) || (ioctl(s->watch.fd, FIONREAD, &n) == 0 && n > 0);
}

bool fm_sock_has_ended(const struct fm_sock *s)
{
    struct pollfd p = {.fd = s->watch.fd, .events = POLLRDHUP};
    return (s->flags & FM_SOCK_EOF) || (poll(&p, 1, 0) == 1 && p.revents != 0);
}

void fm_sock_recv_deadline(struct fm_sock *s, struct fm_mono deadline)
{
    FM_ASSERT((s->flags & FM_SOCK_RECEIVING) && !fm_mono_is_never(deadline));
    s->recv_deadline = deadline;
    arm(s);
}

/* -------- sending -------- */

ssize_t fm_sock_raw_send(struct fm_sock *s, const struct iovec *iov, unsigned n)
{
    FM_ASSERT(n > 0);
    ssize_t sent;
    do {
        if (n == 1) {
            sent = send(s->watch.fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL);
        } else {
            struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = n};
            sent = sendmsg(s->watch.fd, &m, MSG_NOSIGNAL);
        }
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

/* True when the send is over, one way or the other. */
static bool try_send(struct fm_sock *s)
{
    for (;;) {
        FM_ASSERT(s->iov_at < s->iov_n && s->iov_n <= FM_SOCK_IOV_MAX);
        struct iovec *v = &s->iov[s->iov_at];
        unsigned count = (unsigned)(s->iov_n - s->iov_at);
        ssize_t n = s->tls ? fm_tls_send(s, v, count) : fm_sock_raw_send(s, v, count);
        if (n == -EAGAIN || n == -EWOULDBLOCK)
            return false;
        if (n < 0) {
            s->send_result = (int)n;
            return true;
        }
        s->sent += (size_t)n;
        size_t left = (size_t)n;
        while (s->iov_at < s->iov_n && left >= s->iov[s->iov_at].iov_len)
            left -= s->iov[s->iov_at++].iov_len;
        FM_ASSERT(s->iov_at < s->iov_n ? left < s->iov[s->iov_at].iov_len : left == 0);
        if (s->iov_at == s->iov_n) {
            s->send_result = 0;
            return true;
        }
        s->iov[s->iov_at].iov_base = (char *)s->iov[s->iov_at].iov_base + left;
        s->iov[s->iov_at].iov_len -= left;
    }
}

void fm_sock_send(struct fm_sock *s, const struct iovec *iov, unsigned n, struct fm_mono deadline)
{
    FM_ASSERT((s->flags & FM_SOCK_OPEN) && !(s->flags & (FM_SOCK_SENDING | FM_SOCK_SENT)));
    FM_ASSERT(n > 0 && n <= FM_SOCK_IOV_MAX && !fm_mono_is_never(deadline));
    FM_ASSERT(!(s->flags & FM_SOCK_CONNECTING));
    s->iov_at = s->iov_n = 0;
    for (unsigned i = 0; i < n; i++)
        if (iov[i].iov_len)
            s->iov[s->iov_n++] = iov[i];
    s->sent = 0;
    s->send_deadline = deadline;
    s->send_result = 0;
    if (s->iov_n == 0 || try_send(s)) {
        s->flags |= FM_SOCK_SENT;
        defer(s);
        return;
    }
    s->flags |= FM_SOCK_SENDING;
    arm(s);
}

bool fm_sock_send_now(struct fm_sock *s, struct fm_str bytes)
{
    FM_ASSERT((s->flags & FM_SOCK_OPEN) && !(s->flags & (FM_SOCK_SENDING | FM_SOCK_SENT)));
    struct iovec v = {(void *)(uintptr_t)bytes.p, bytes.n};
    ssize_t n = s->tls ? fm_tls_send(s, &v, 1) : fm_sock_raw_send(s, &v, 1);
    if (n != (ssize_t)bytes.n && (n > 0 || s->tls))
        fm_sock_shutdown(s); /* what followed would be taken for the rest */
    return n == (ssize_t)bytes.n;
}

void fm_sock_nudge(struct fm_sock *s)
{
    FM_ASSERT((s->flags & FM_SOCK_OPEN) && s->ops->nudged);
    s->flags |= FM_SOCK_NUDGED;
    defer(s);
}

void fm_sock_shutdown(struct fm_sock *s)
{
    FM_ASSERT(s->flags & FM_SOCK_OPEN);
    if (s->tls)
        fm_tls_end(s->tls);
    int rc = shutdown(s->watch.fd, SHUT_WR);
    (void)rc; /* the peer may be gone already: then there is nothing to tell it */
    s->flags |= FM_SOCK_SHUT;
}

/* -------- connecting -------- */

static void shake(struct fm_sock *s)
{
    int r = fm_tls_handshake(s);
    if (r == -EAGAIN)
        arm(s);
    else
        finish_connect(s, r);
}

/* The transport stands, or does not. */
static void transport_ready(struct fm_sock *s, int err)
{
    if (err || !s->tls) {
        finish_connect(s, err);
        return;
    }
    s->flags &= (uint16_t)~FM_SOCK_CONNECTING;
    s->flags |= FM_SOCK_SHAKING;
    s->send_deadline = s->recv_deadline; /* fm_sock_shake_by */
    shake(s);
}

/* -------- deadlines that pass -------- */

static bool has_connected(const struct fm_sock *s)
{
    struct pollfd p = {.fd = s->watch.fd, .events = POLLOUT};
    return poll(&p, 1, 0) == 1;
}

/* The event that completes an operation may wait behind those of other sockets, above all when the
 * loop comes back from a stall: look once more before giving up. */
static void deadline_passed(struct fm_timer *t)
{
    struct fm_sock *s = fm_container_of(t, struct fm_sock, timer);
    struct fm_mono now = s->loop->now;
    FM_ASSERT(s->flags & FM_SOCK_OPEN);
    if ((s->flags & FM_SOCK_CONNECTING) && s->send_deadline.ns <= now.ns) {
        if (!has_connected(s))
            finish_connect(s, -ETIMEDOUT);
        return;
    }
    if ((s->flags & FM_SOCK_SHAKING) && s->send_deadline.ns <= now.ns) {
        shake(s);
        if (s->flags & FM_SOCK_SHAKING)
            finish_connect(s, -ETIMEDOUT);
        return;
    }
    if ((s->flags & FM_SOCK_SENDING) && s->send_deadline.ns <= now.ns)
        finish_send(s, try_send(s) ? s->send_result : -ETIMEDOUT);
    if ((s->flags & FM_SOCK_OPEN) && (s->flags & FM_SOCK_RECEIVING) &&
        s->recv_deadline.ns <= now.ns) {
        s->flags |= FM_SOCK_READABLE; /* perhaps */
        if (!try_recv(s))
            finish_recv(s, s->into, -ETIMEDOUT);
    }
    if (s->flags & FM_SOCK_OPEN)
        arm(s);
}

/* -------- events -------- */

static void maybe_lost(struct fm_sock *s)
{
    if (!s->ops->lost || (s->flags & (FM_SOCK_LOST_TOLD | FM_SOCK_RECEIVING)))
        return;
    bool fin = (s->flags & FM_SOCK_EOF) && (s->flags & FM_SOCK_WATCH_FIN);
    if ((s->flags & FM_SOCK_RESET) || fin) {
        s->flags |= FM_SOCK_LOST_TOLD;
        s->ops->lost(s);
    }
}

static void sock_ready(struct fm_watch *w, uint32_t events)
{
    struct fm_sock *s = fm_container_of(w, struct fm_sock, watch);
    FM_ASSERT((s->flags & FM_SOCK_OPEN) && w->fd >= 0);
    if (s->flags & FM_SOCK_CONNECTING) {
        if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
            return;
        int err = 0;
        socklen_t len = sizeof err;
        if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
            err = errno;
        transport_ready(s, -err);
        if (!(s->flags & FM_SOCK_OPEN) || err)
            return;
    }
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        s->flags |= FM_SOCK_READABLE;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        s->flags |= FM_SOCK_EOF;
    /* EPOLLHUP alone says that both directions have ended: no loss where we ended ours */
    if ((events & EPOLLERR) || ((events & EPOLLHUP) && !(s->flags & FM_SOCK_SHUT)))
        s->flags |= FM_SOCK_RESET;
    if (s->flags & FM_SOCK_SHAKING) {
        shake(s);
        if (!(s->flags & FM_SOCK_OPEN))
            return;
    }
    if ((events & EPOLLOUT) && (s->flags & FM_SOCK_TLS_WANTS_ROOM))
        s->flags |= FM_SOCK_TLS_PENDING;
    if ((s->flags & FM_SOCK_SENDING) && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) && try_send(s))
        finish_send(s, s->send_result);
    if ((s->flags & FM_SOCK_OPEN) && (s->flags & FM_SOCK_RECEIVING) && fm_sock_is_readable(s))
        recv_or_wait(s);
    else if (s->flags & FM_SOCK_OPEN)
        maybe_lost(s);
}

void fm_sock_deliver(struct fm_loop *l)
{
    struct fm_list now;
    fm_list_init(&now);
    fm_list_splice(&now, &l->deferred);
    while (!fm_list_empty(&now)) {
        struct fm_sock *s = fm_container_of(now.next, struct fm_sock, pending);
        fm_list_remove(&s->pending);
        FM_ASSERT((s->flags & FM_SOCK_OPEN) && s->loop == l);
        if (s->flags & FM_SOCK_SENT)
            finish_send(s, s->send_result);
        if (s->flags & FM_SOCK_NUDGED) {
            s->flags &= (uint16_t)~FM_SOCK_NUDGED;
            s->ops->nudged(s);
        }
        if ((s->flags & FM_SOCK_OPEN) && (s->flags & FM_SOCK_RECEIVING) && fm_sock_is_readable(s))
            recv_or_wait(s);
    }
}

/* -------- opening and closing -------- */

static enum fm_err start(struct fm_sock *s, struct fm_loop *l, int fd,
                         const struct fm_sock_ops *ops, struct fm_error *e)
{
    FM_ASSERT(fd >= 0 && ops->received && ops->sent && ops->closed);
    s->watch.ready = sock_ready;
    s->loop = l;
    s->ops = ops;
    s->flags = FM_SOCK_OPEN;
    s->into = NULL;
    s->iov_at = s->iov_n = 0;
    s->sent = 0;
    s->recv_age_ns = 0;
    s->tls = NULL;
    fm_timer_init(&s->timer, deadline_passed);
    fm_list_init(&s->pending);
    enum fm_err err = fm_loop_watch(l, &s->watch, fd, sock_events, e);
    if (err) {
        s->flags = 0;
        close(fd);
    }
    return err;
}

enum fm_err fm_sock_open(struct fm_sock *s, struct fm_loop *l, int fd, bool stamps,
                         const struct fm_sock_ops *ops, struct fm_error *e)
{
    enum fm_err err = start(s, l, fd, ops, e);
    if (!err && stamps)
        s->flags |= FM_SOCK_STAMPS;
    return err;
}

static int new_stream(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;
    if (fd >= 0 && family != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

enum fm_err fm_sock_connect(struct fm_sock *s, struct fm_loop *l, const struct fm_addr *to,
                            struct fm_mono deadline, const struct fm_sock_ops *ops,
                            struct fm_error *e)
{
    FM_ASSERT(ops->connected && !fm_mono_is_never(deadline));
    s->flags = 0;
    s->tls = NULL;
    int fd = new_stream(to->sa.sa_family);
    if (fd < 0)
        return fm_error_errno(e, FM_ERR_LIMIT, errno, "cannot create a socket");
    int rc;
    do
        rc = connect(fd, &to->sa, to->len);
    while (rc < 0 && errno == EINTR);
    if (rc < 0 && errno != EINPROGRESS) {
        int err = errno;
        close(fd);
        return fm_error_errno(e, FM_ERR_UNREACHABLE, err, "cannot connect");
    }
    enum fm_err err = start(s, l, fd, ops, e);
    if (err)
        return err;
    /* connected at once (unix) or not: the first EPOLLOUT tells */
    s->flags |= FM_SOCK_CONNECTING;
    s->send_deadline = deadline;
    arm(s);
    return FM_ERR_OK;
}

/* The loop hears nothing of it any more. */
static void leave_loop(struct fm_sock *s)
{
    fm_loop_unwatch(s->loop, &s->watch);
    s->watch.fd = -1;
    s->tls = NULL;
    s->flags = 0;
    s->into = NULL;
    fm_loop_cancel(s->loop, &s->timer);
    fm_list_remove(&s->pending);
}

/* Everything of it goes but the last call. */
static void forget(struct fm_sock *s)
{
    int fd = s->watch.fd;
    if (s->tls)
        fm_tls_detach(s->tls);
    leave_loop(s);
    close(fd);
}

enum fm_err fm_sock_connect_tls(struct fm_sock *s, struct fm_loop *l, const struct fm_addr *to,
                                struct fm_mono deadline, struct fm_tls *tls, const char *peer,
                                const struct fm_sock_ops *ops, struct fm_error *e)
{
    enum fm_err err = fm_sock_connect(s, l, to, deadline, ops, e);
    if (err)
        return err;
    s->recv_deadline = deadline;
    s->tls = fm_tls_attach(tls, s, peer);
    if (s->tls)
        return FM_ERR_OK;
    forget(s);
    return fm_error_set(e, FM_ERR_MEMORY, "cannot set up TLS to %s", peer);
}

void fm_sock_shake_by(struct fm_sock *s, struct fm_mono deadline)
{
    FM_ASSERT(s->tls && !(s->flags & FM_SOCK_RECEIVING));
    if (s->flags & FM_SOCK_CONNECTING)
        s->recv_deadline = deadline; /* nothing is received before; transport_ready takes it */
    else
        s->send_deadline = deadline;
}

bool fm_sock_handshake(struct fm_sock *s, struct fm_tls *tls, struct fm_mono deadline)
{
    FM_ASSERT((s->flags & FM_SOCK_OPEN) && !s->tls && !fm_sock_is_sending(s));
    FM_ASSERT(!(s->flags & (FM_SOCK_RECEIVING | FM_SOCK_CONNECTING)));
    s->tls = fm_tls_attach(tls, s, NULL);
    if (!s->tls)
        return false;
    s->flags |= FM_SOCK_SHAKING;
    s->send_deadline = deadline;
    arm(s);
    return true;
}

void fm_sock_close(struct fm_sock *s)
{
    FM_ASSERT(s->flags & FM_SOCK_OPEN);
    forget(s);
    fm_list_push_back(&s->loop->dead, &s->pending);
}

void fm_sock_reset(struct fm_sock *s)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    FM_ASSERT(s->flags & FM_SOCK_OPEN);
    (void)setsockopt(s->watch.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    if (s->tls)
        fm_tls_mute(s->tls);
    fm_sock_close(s);
}

void fm_sock_release(struct fm_sock *s, struct fm_sock_parcel *out)
{
    FM_ASSERT((s->flags & FM_SOCK_OPEN) && !fm_sock_is_sending(s));
    FM_ASSERT(
        !(s->flags & (FM_SOCK_RECEIVING | FM_SOCK_CONNECTING | FM_SOCK_SHAKING | FM_SOCK_SHUT)));
    *out = (struct fm_sock_parcel){.fd = s->watch.fd, .tls = s->tls};
    leave_loop(s);
    if (out->tls)
        fm_tls_move(out->tls, NULL);
    fm_list_push_back(&s->loop->dead, &s->pending);
}

enum fm_err fm_sock_adopt(struct fm_sock *s, struct fm_loop *l, const struct fm_sock_parcel *from,
                          const struct fm_sock_ops *ops, struct fm_error *e)
{
    enum fm_err err = start(s, l, from->fd, ops, e);
    if (err) {
        if (from->tls)
            fm_tls_discard(from->tls);
        return err;
    }
    s->tls = from->tls;
    if (s->tls && fm_tls_move(s->tls, s))
        s->flags |= FM_SOCK_TLS_PENDING;
    return FM_ERR_OK;
}

void fm_sock_discard(struct fm_sock_parcel *p)
{
    FM_ASSERT(p->fd >= 0);
    if (p->tls)
        fm_tls_discard(p->tls);
    close(p->fd);
    *p = (struct fm_sock_parcel){.fd = -1};
}

void fm_sock_bury(struct fm_loop *l)
{
    while (!fm_list_empty(&l->dead)) {
        struct fm_sock *s = fm_container_of(l->dead.next, struct fm_sock, pending);
        fm_list_remove(&s->pending);
        FM_ASSERT(!(s->flags & FM_SOCK_OPEN) && !fm_timer_is_set(&s->timer));
        s->ops->closed(s);
    }
}
