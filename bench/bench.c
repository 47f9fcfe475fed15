/* What the programs of the bench share; see bench.h. It never waits but in bench_wait, and reads
 * no more of HTTP than the messages that these programs and the proxies between them send. */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LISTEN_BACKLOG = 4096 };

void bench_die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("bench: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;
    if (clock_gettime(id, &ts) != 0)
        bench_die("clock_gettime: %s", strerror(errno));
    return (int64_t)ts.tv_sec * BENCH_NS_PER_S + ts.tv_nsec;
}

int64_t bench_boot_ns(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

int64_t bench_wall_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

bool bench_decimal(struct bench_span s, uint64_t *value)
{
    enum { DIGITS_MAX = 12 };
    uint64_t v = 0;
    if (s.n == 0 || s.n > DIGITS_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    }
    *value = v;
    return true;
}

uint64_t bench_number(const char *option, const char *text, uint64_t min, uint64_t max)
{
    uint64_t v = 0;
    if (!bench_decimal((struct bench_span){text, strlen(text)}, &v) || v < min || v > max)
        bench_die("--%s wants a number of %llu to %llu, not '%s'", option, (unsigned long long)min,
                  (unsigned long long)max, text);
    return v;
}

struct sockaddr_in bench_address(const char *text)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char host[INET_ADDRSTRLEN];
    const char *colon = strchr(text, ':');
    if (colon != NULL) {
        size_t n = (size_t)(colon - text);
        if (n >= sizeof host)
            bench_die("'%s' is no IPv4 address with a port", text);
        memcpy(host, text, n);
        host[n] = 0;
        if (inet_pton(AF_INET, host, &to.sin_addr) != 1)
            bench_die("'%s' is no IPv4 address with a port", text);
    }
    to.sin_port = htons((uint16_t)bench_number("port", colon ? colon + 1 : text, 1, UINT16_MAX));
    return to;
}

static void set_nodelay(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int bench_listen(uint16_t port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, LISTEN_BACKLOG) != 0)
        bench_die("cannot listen on port %u: %s", port, strerror(errno));
    return fd;
}

int bench_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        set_nodelay(fd);
        return fd;
    }
    if (errno == EMFILE || errno == ENFILE)
        bench_die("out of file descriptors: raise `ulimit -n`");
    return -1;
}

int bench_connect(const struct sockaddr_in *to, bool *done)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        bench_die("socket: %s", strerror(errno));
    set_nodelay(fd);
    *done = connect(fd, (const struct sockaddr *)to, sizeof *to) == 0;
    if (*done || errno == EINPROGRESS)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

int bench_epoll(void)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        bench_die("epoll_create1: %s", strerror(errno));
    return fd;
}

static void control(int epoll, int op, int fd, uint32_t events, void *who)
{
    struct epoll_event ev = {.events = events, .data.ptr = who};
    if (epoll_ctl(epoll, op, fd, &ev) != 0)
        bench_die("epoll_ctl: %s", strerror(errno));
}

void bench_watch(int epoll, int fd, uint32_t events, void *who)
{
    control(epoll, EPOLL_CTL_ADD, fd, events, who);
}

void bench_rewatch(int epoll, int fd, uint32_t events, void *who)
{
    control(epoll, EPOLL_CTL_MOD, fd, events, who);
}

void bench_unwatch(int epoll, int fd)
{
    control(epoll, EPOLL_CTL_DEL, fd, 0, NULL);
}

int bench_wait(int epoll, struct epoll_event *events, int max, int64_t timeout_ns)
{
    int64_t t = timeout_ns > 0 ? timeout_ns : 0;
    struct timespec ts = {.tv_sec = (time_t)(t / BENCH_NS_PER_S),
                          .tv_nsec = (long)(t % BENCH_NS_PER_S)};
    int n = epoll_pwait2(epoll, events, max, timeout_ns == BENCH_NEVER ? NULL : &ts, NULL);
    if (n >= 0)
        return n;
    if (errno != EINTR)
        bench_die("epoll_pwait2: %s", strerror(errno));
    return 0;
}

size_t bench_head_length(const char *p, size_t n)
{
    const char *end = memmem(p, n, "\r\n\r\n", 4);
    return end == NULL ? 0 : (size_t)(end - p) + 4;
}

struct bench_span bench_headers(const char *head, size_t n)
{
    const char *nl = memchr(head, '\n', n);
    if (nl == NULL)
        return (struct bench_span){head, 0};
    size_t skip = (size_t)(nl - head) + 1;
    return (struct bench_span){head + skip, n - skip};
}

bool bench_next_header(struct bench_span *rest, struct bench_span *name, struct bench_span *value)
{
    const char *cr = memchr(rest->p, '\r', rest->n);
    if (cr == NULL || cr == rest->p)
        return false;
    size_t line = (size_t)(cr - rest->p);
    const char *colon = memchr(rest->p, ':', line);
    if (colon == NULL)
        return false;
    *name = (struct bench_span){rest->p, (size_t)(colon - rest->p)};
    const char *v = colon + 1;
    while (v < cr && *v == ' ')
        v++;
    *value = (struct bench_span){v, (size_t)(cr - v)};
    size_t skip = line + 2 <= rest->n ? line + 2 : rest->n;
    rest->p += skip;
    rest->n -= skip;
    return true;
}

bool bench_same(struct bench_span a, const char *word)
{
    return strlen(word) == a.n && strncasecmp(a.p, word, a.n) == 0;
}
