/* The writer thread: see the header. Invariants: bytes queued never exceed bytes_max; the lock is
 * never held in a call that may block; fd and path belong to the thread once it runs. */
#include "io/sink.h"

#include "base/assert.h"
#include "base/time.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct piece {
    struct piece *next;
    size_t n;
    char data[];
};

struct fm_sink {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t some, idle;
    struct piece *first, **last;
    size_t bytes, bytes_max;
    char *path;
    int fd;
    bool stop, reopen, writing, abandoned, orphan;
    _Atomic uint64_t dropped;
};

static void write_all(struct fm_sink *s, const char *p, size_t n)
{
    while (n && s->fd >= 0) {
        ssize_t done = write(s->fd, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0 && errno == EAGAIN) { /* somebody made our pipe nonblocking */
            struct pollfd pfd = {.fd = s->fd, .events = POLLOUT};
            (void)poll(&pfd, 1, 1000);
            continue;
        }
        if (done <= 0) {
            atomic_fetch_add(&s->dropped, 1);
            return;
        }
        FM_ASSERT((size_t)done <= n);
        p += done;
        n -= (size_t)done;
    }
}

static int open_path(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
}

static void do_reopen(struct fm_sink *s)
{
    FM_ASSERT(s->path);
    int fd = open_path(s->path);
    if (fd < 0)
        return; /* go on with the old file rather than with none */
    close(s->fd);
    s->fd = fd;
}

static void destroy(struct fm_sink *s)
{
    FM_ASSERT(s->stop && !s->writing);
    while (s->first) {
        struct piece *p = s->first;
        s->first = p->next;
        free(p);
    }
    if (s->path)
        close(s->fd);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->some);
    pthread_cond_destroy(&s->idle);
    free(s->path);
    free(s);
}

static void *sink_loop(void *arg)
{
    struct fm_sink *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        if (s->reopen && !s->abandoned) {
            s->reopen = false;
            s->writing = true; /* opening may take as long as writing: a pipe, a dead server */
            pthread_mutex_unlock(&s->lock);
            do_reopen(s);
            pthread_mutex_lock(&s->lock);
        }
        struct piece *list = s->first;
        if (!list || s->abandoned) {
            s->writing = false;
            pthread_cond_broadcast(&s->idle);
            FM_ASSERT(s->abandoned || s->bytes == 0);
            if (s->stop)
                break;
            pthread_cond_wait(&s->some, &s->lock);
            continue;
        }
        s->first = list->next;
        if (!s->first)
            s->last = &s->first;
        s->writing = true;
        pthread_mutex_unlock(&s->lock);
        write_all(s, list->data, list->n);
        pthread_mutex_lock(&s->lock);
        FM_ASSERT(s->bytes >= list->n && s->writing);
        s->bytes -= list->n;
        free(list);
    }
    bool orphan = s->orphan;
    pthread_mutex_unlock(&s->lock);
    if (orphan)
        destroy(s);
    return NULL;
}

struct fm_sink *fm_sink_open(const char *path, int fd, size_t bytes_max, struct fm_error *e)
{
    FM_ASSERT(path || fd >= 0);
    struct fm_sink *s = calloc(1, sizeof *s);
    if (s && path)
        s->path = strdup(path);
    if (!s || (path && !s->path)) {
        free(s);
        fm_error_set(e, FM_ERR_MEMORY, "no memory for a log");
        return NULL;
    }
    s->fd = path ? open_path(path) : fd;
    if (s->fd < 0) {
        fm_error_errno(e, FM_ERR_IO, errno, "cannot open %s", path ? path : "a log");
        free(s->path);
        free(s);
        return NULL;
    }
    s->last = &s->first;
    s->bytes_max = bytes_max;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->some, NULL);
    pthread_condattr_t monotonic; /* for the wait of fm_sink_close */
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->idle, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int rc = pthread_create(&s->thread, NULL, sink_loop, s);
    if (rc) {
        fm_error_errno(e, FM_ERR_LIMIT, rc, "cannot start a log thread");
        if (path)
            close(s->fd);
        free(s->path);
        free(s);
        return NULL;
    }
    return s;
}

void fm_sink_close(struct fm_sink *s, int64_t wait_ms)
{
    if (!s)
        return;
    FM_ASSERT(wait_ms >= 0);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + wait_ms * FM_NS_PER_MS;
    until.tv_sec += (time_t)(ns / FM_NS_PER_S);
    until.tv_nsec = (long)(ns % FM_NS_PER_S);
    pthread_mutex_lock(&s->lock);
    FM_ASSERT(!s->stop);
    s->stop = true;
    pthread_cond_signal(&s->some);
    int rc = 0;
    while ((s->first || s->writing) && rc == 0)
        rc = pthread_cond_timedwait(&s->idle, &s->lock, &until);
    s->abandoned = true;
    s->orphan = s->writing; /* inside a write that does not end: the thread cleans up, if ever */
    pthread_t thread = s->thread;
    bool orphan = s->orphan;
    pthread_mutex_unlock(&s->lock);
    if (orphan) {
        pthread_detach(thread);
        return;
    }
    pthread_join(thread, NULL);
    destroy(s);
}

bool fm_sink_write(struct fm_sink *s, struct fm_str lines)
{
    if (lines.n == 0)
        return true;
    struct piece *p = malloc(sizeof *p + lines.n);
    if (p) {
        p->next = NULL;
        p->n = lines.n;
        memcpy(p->data, lines.p, lines.n);
        pthread_mutex_lock(&s->lock);
        if (!s->stop && s->bytes + lines.n <= s->bytes_max) {
            s->bytes += lines.n;
            FM_ASSERT(s->bytes <= s->bytes_max && !*s->last);
            *s->last = p;
            s->last = &p->next;
            pthread_cond_signal(&s->some);
            pthread_mutex_unlock(&s->lock);
            return true;
        }
        pthread_mutex_unlock(&s->lock);
        free(p);
    }
    atomic_fetch_add(&s->dropped, 1);
    return false;
}

void fm_sink_reopen(struct fm_sink *s)
{
    if (!s->path)
        return;
    pthread_mutex_lock(&s->lock);
    s->reopen = true;
    pthread_cond_signal(&s->some);
    pthread_mutex_unlock(&s->lock);
}

uint64_t fm_sink_dropped(const struct fm_sink *s)
{
    return atomic_load(&s->dropped);
}
