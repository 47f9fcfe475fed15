/* The application inside of the load generator: see the header. Invariant: of a connection there is
 * at most one event in a turn, and it is handled here alone, so that it may be freed at once. */
#include "load_app.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 4096, ANSWER_MAX = 4096 };

struct place { /* a door, or a connection that came through one */
    struct watched watched;
    bool is_door;
    int fd;
    size_t have;
    char buf[];
};

struct app {
    int epoll;
    size_t answer_len;
    char answer[ANSWER_MAX];
};

static struct place *watch(struct app *a, int fd, bool is_door)
{
    struct place *p = malloc(sizeof *p + (is_door ? 0 : BUFFER));
    if (p == NULL)
        bench_die("out of memory");
    *p = (struct place){.watched.is_app = true, .is_door = is_door, .fd = fd};
    bench_watch(a->epoll, fd, EPOLLIN, p);
    return p;
}

static void build_answer(struct app *a, size_t body)
{
    int n = snprintf(a->answer, sizeof a->answer,
                     "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n",
                     body);
    if (n < 0 || (size_t)n + body > sizeof a->answer)
        bench_die("the answer does not fit");
    memset(a->answer + n, 'x', body);
    a->answer_len = (size_t)n + body;
}

struct app *app_open(const struct options *o, int epoll)
{
    struct app *a = calloc(1, sizeof *a);
    if (a == NULL)
        bench_die("out of memory");
    a->epoll = epoll;
    build_answer(a, o->app_body);
    for (unsigned i = 0; i < o->apps; i++)
        (void)watch(a, bench_listen(o->app[i]), true);
    return a;
}

/* False where the connection is of no more use. */
static bool serve(struct app *a, struct place *p)
{
    ssize_t n = recv(p->fd, p->buf + p->have, BUFFER - p->have, 0);
    if (n < 0 && errno == EAGAIN)
        return true;
    if (n <= 0)
        return false;
    p->have += (size_t)n;
    for (size_t head; (head = bench_head_length(p->buf, p->have)) > 0;) {
        if (send(p->fd, a->answer, a->answer_len, MSG_NOSIGNAL) != (ssize_t)a->answer_len)
            return false;
        p->have -= head;
        memmove(p->buf, p->buf + head, p->have);
    }
    return p->have < BUFFER;
}

void app_event(struct app *a, struct watched *w)
{
    struct place *p = (struct place *)(void *)w;
    if (p->is_door) {
        for (int fd; (fd = bench_accept(p->fd)) >= 0;)
            (void)watch(a, fd, false);
    } else if (!serve(a, p)) {
        close(p->fd);
        free(p);
    }
}
