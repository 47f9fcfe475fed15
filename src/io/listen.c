/* Listeners. Level-triggered, a bounded number of accepts a turn, so that a flood of connections
 * does not starve those that are there; out of descriptors it rests instead of spinning. */
#include "base/assert.h"
#include "io/sock.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ACCEPTS_PER_TURN = 32, REST_MS = 50, BACKLOG = 4096 };

static void listener_ready(struct fm_watch *w, uint32_t events)
{
    (void)events;
    struct fm_listener *ln = fm_container_of(w, struct fm_listener, watch);
    FM_ASSERT(w->fd >= 0 && ln->accepted);
    for (int i = 0; i < ACCEPTS_PER_TURN && !ln->paused && w->fd >= 0; i++) {
        struct fm_addr from = {.len = sizeof from.un};
        int fd = accept4(w->fd, &from.sa, &from.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                ln->accept_errors++;
                fm_loop_rewatch(ln->loop, w, 0);
                fm_loop_timer_in_ms(ln->loop, &ln->again, REST_MS);
            }
            return;
        }
        int one = 1;
        if (from.sa.sa_family != AF_UNIX)
            (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        FM_ASSERT(from.len <= sizeof from.un);
        ln->accepted(ln, fd, &from);
    }
}

static void rested(struct fm_timer *t)
{
    struct fm_listener *ln = fm_container_of(t, struct fm_listener, again);
    FM_ASSERT(ln->watch.fd >= 0 && ln->watch.events == 0);
    if (!ln->paused)
        fm_loop_rewatch(ln->loop, &ln->watch, EPOLLIN);
}

static enum fm_err not_here(const struct fm_addr *at, int err, struct fm_error *e)
{
    char text[FM_ADDR_TEXT_MAX];
    const char *more = err == EACCES       ? " (ports below 1024 need CAP_NET_BIND_SERVICE)"
                       : err == EADDRINUSE ? " (another process listens there)"
                                           : "";
    fm_addr_format(at, text);
    return fm_error_errno(e, err == EADDRINUSE ? FM_ERR_EXISTS : FM_ERR_IO, err,
                          "cannot listen on %s%s", text, more);
}

static enum fm_err bind_to(int fd, const struct fm_addr *at, unsigned flags, struct fm_error *e)
{
    int one = 1;
    char text[FM_ADDR_TEXT_MAX];
    bool shares = flags & FM_LISTEN_SHARE && !(flags & FM_LISTEN_FIRST);
    fm_addr_format(at, text);
    if (at->sa.sa_family == AF_UNIX) {
        (void)unlink(at->un.sun_path);
        mode_t before = umask(0177);
        int rc = bind(fd, &at->sa, at->len);
        int err = errno;
        umask(before);
        if (rc < 0)
            return fm_error_errno(e, FM_ERR_IO, err, "cannot listen on %s", text);
        return FM_ERR_OK;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        (shares && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0) ||
        ((flags & FM_LISTEN_STAMPS) &&
         setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one) < 0))
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot set up a listener on %s", text);
    return bind(fd, &at->sa, at->len) == 0 ? FM_ERR_OK : not_here(at, errno, e);
}

/* Where two processes begin at once the kernel lets both bind and one of them listen. The others of
 * this process come after that. */
static enum fm_err begin_to_listen(int fd, const struct fm_addr *at, unsigned flags,
                                   struct fm_error *e)
{
    int one = 1;
    if (listen(fd, BACKLOG) < 0)
        return not_here(at, errno, e);
    if ((flags & FM_LISTEN_FIRST) && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot share a listener");
    return FM_ERR_OK;
}

enum fm_err fm_listener_probe(const struct fm_addr *at, struct fm_error *e)
{
    FM_ASSERT(at->sa.sa_family != AF_UNIX && fm_addr_port(at) > 0);
    int fd = socket(at->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fm_error_errno(e, FM_ERR_LIMIT, errno, "cannot create a socket");
    enum fm_err err = bind_to(fd, at, 0, e);
    close(fd);
    return err;
}

enum fm_err fm_listener_open(struct fm_listener *ln, struct fm_loop *l, const struct fm_addr *at,
                             unsigned flags,
                             void (*accepted)(struct fm_listener *, int, const struct fm_addr *),
                             struct fm_error *e)
{
    FM_ASSERT(accepted && at->len > 0 && at->len <= sizeof at->un);
    FM_ASSERT(!(flags & FM_LISTEN_FIRST) || at->sa.sa_family != AF_UNIX);
    *ln = (struct fm_listener){
        .watch = {.fd = -1, .ready = listener_ready}, .loop = l, .accepted = accepted};
    fm_timer_init(&ln->again, rested);
    ln->any_port = at->sa.sa_family != AF_UNIX && fm_addr_port(at) == 0;
    int fd = socket(at->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fm_error_errno(e, FM_ERR_LIMIT, errno, "cannot create a socket");
    enum fm_err err = bind_to(fd, at, flags, e);
    if (!err)
        err = begin_to_listen(fd, at, flags, e);
    ln->address.len = sizeof ln->address.un;
    if (!err && getsockname(fd, &ln->address.sa, &ln->address.len) < 0)
        err = fm_error_errno(e, FM_ERR_IO, errno, "cannot read the address of a listener");
    if (!err)
        err = fm_loop_watch(l, &ln->watch, fd, EPOLLIN, e);
    if (err) {
        close(fd);
        ln->watch.fd = -1;
    }
    return err;
}

void fm_listener_close(struct fm_listener *ln)
{
    if (ln->watch.fd < 0)
        return;
    if (!ln->refusing)
        fm_loop_unwatch(ln->loop, &ln->watch);
    fm_loop_cancel(ln->loop, &ln->again);
    FM_ASSERT(!fm_timer_is_set(&ln->again));
    close(ln->watch.fd);
    ln->watch.fd = -1;
    if (ln->address.sa.sa_family == AF_UNIX)
        (void)unlink(ln->address.un.sun_path);
}

void fm_listener_pause(struct fm_listener *ln, bool pause)
{
    FM_ASSERT(ln->watch.fd >= 0 && !ln->refusing);
    if (ln->paused == pause)
        return;
    ln->paused = pause;
    fm_loop_cancel(ln->loop, &ln->again);
    fm_loop_rewatch(ln->loop, &ln->watch, pause ? 0 : EPOLLIN);
}

/* Linux ends a listening state by shutdown and keeps the binding (but to a port that it chose
 * itself); listen begins it anew. Nothing is
 * watched meanwhile, since a socket without that state is always ready for its end. */
enum fm_err fm_listener_refuse(struct fm_listener *ln, bool refuse, struct fm_error *e)
{
    int fd = ln->watch.fd;
    FM_ASSERT(fd >= 0 && !ln->paused && !ln->any_port && ln->address.sa.sa_family != AF_UNIX);
    if (ln->refusing == refuse)
        return FM_ERR_OK;
    if (refuse) {
        fm_loop_unwatch(ln->loop, &ln->watch);
        fm_loop_cancel(ln->loop, &ln->again);
        int rc = shutdown(fd, SHUT_RD);
        FM_ASSERT(rc == 0);
        ln->refusing = true;
        return FM_ERR_OK;
    }
    if (listen(fd, BACKLOG) < 0)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot listen again");
    enum fm_err err = fm_loop_watch(ln->loop, &ln->watch, fd, EPOLLIN, e);
    ln->watch.fd = fd;
    ln->refusing = err != FM_ERR_OK;
    if (err)
        (void)shutdown(fd, SHUT_RD);
    return err;
}
