/* bench-forwarder: the floor. One thread, one upstream connection per client connection, bytes
 * copied both ways: two receives and two sends per request and not one feature. What a proxy costs
 * beyond this is what it does.
 *
 * Invariant: a direction holds at most one buffer; while that cannot be sent, nothing more of it is
 * read. It does not parse, retry, time out or balance (connections go round robin). */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 16384, EVENTS = 256, UPSTREAMS_MAX = 16 };

struct side {
    struct pair *pair;
    struct side *other;
    int fd;
    size_t held, sent; /* what was read here and waits for the other side */
    bool blocked;
    char buf[BUFFER];
};

struct pair {
    struct side client, server;
    struct pair *next_dead;
    bool dead;
};

struct forwarder {
    int epoll, listener;
    struct sockaddr_in upstream[UPSTREAMS_MAX];
    unsigned upstreams, next;
    struct pair *dead; /* freed at the end of the turn: later events of it may still point there */
};

static void kill_pair(struct forwarder *f, struct pair *p)
{
    if (p->dead)
        return;
    close(p->client.fd);
    close(p->server.fd);
    p->dead = true;
    p->next_dead = f->dead;
    f->dead = p;
}

static void bury(struct forwarder *f)
{
    while (f->dead != NULL) {
        struct pair *p = f->dead;
        f->dead = p->next_dead;
        free(p);
    }
}

static void admit(struct forwarder *f, int fd)
{
    struct pair *p = calloc(1, sizeof *p);
    if (p == NULL)
        bench_die("out of memory");
    bool done;
    int up = bench_connect(&f->upstream[f->next++ % f->upstreams], &done);
    if (up < 0) {
        close(fd);
        free(p);
        return;
    }
    p->client = (struct side){.pair = p, .other = &p->server, .fd = fd};
    p->server = (struct side){.pair = p, .other = &p->client, .fd = up};
    bench_watch(f->epoll, fd, EPOLLIN, &p->client);
    bench_watch(f->epoll, up, EPOLLIN, &p->server);
}

static void rewatch(struct forwarder *f, struct side *s)
{
    uint32_t in = s->held > 0 ? 0 : EPOLLIN;
    bench_rewatch(f->epoll, s->fd, in | (s->other->held > 0 ? EPOLLOUT : 0), s);
}

/* What `from` holds goes to the other side. False where the pair is lost. */
static bool flush(struct forwarder *f, struct side *from)
{
    struct side *to = from->other;
    ssize_t n = send(to->fd, from->buf + from->sent, from->held - from->sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != ENOTCONN)
        return false;
    from->sent += n > 0 ? (size_t)n : 0;
    bool blocked = from->sent < from->held;
    if (!blocked)
        from->held = from->sent = 0;
    if (blocked != from->blocked) {
        from->blocked = blocked;
        rewatch(f, from);
        rewatch(f, to);
    }
    return true;
}

static bool pump(struct forwarder *f, struct side *s)
{
    if (s->held > 0)
        return true;
    ssize_t n = recv(s->fd, s->buf, sizeof s->buf, 0);
    if (n < 0 && errno == EAGAIN)
        return true;
    if (n <= 0)
        return false;
    s->held = (size_t)n;
    return flush(f, s);
}

static void on_event(struct forwarder *f, struct side *s, uint32_t events)
{
    if (s->pair->dead)
        return;
    bool alive = true;
    if (events & EPOLLOUT && s->other->held > 0)
        alive = flush(f, s->other);
    if (alive && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        alive = pump(f, s);
    if (!alive)
        kill_pair(f, s->pair);
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 2 + UPSTREAMS_MAX)
        bench_die("usage: bench-forwarder LISTEN-PORT UPSTREAM...");
    struct forwarder f = {.epoll = bench_epoll()};
    f.listener = bench_listen((uint16_t)bench_number("port", argv[1], 1, UINT16_MAX));
    for (int i = 2; i < argc; i++)
        f.upstream[f.upstreams++] = bench_address(argv[i]);
    bench_watch(f.epoll, f.listener, EPOLLIN, NULL);
    struct epoll_event events[EVENTS];
    for (;;) {
        int n = bench_wait(f.epoll, events, EVENTS, BENCH_NEVER);
        for (int i = 0; i < n; i++) {
            int fd;
            if (events[i].data.ptr != NULL)
                on_event(&f, events[i].data.ptr, events[i].events);
            else
                while ((fd = bench_accept(f.listener)) >= 0)
                    admit(&f, fd);
        }
        bury(&f);
    }
}
