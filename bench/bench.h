/* bench/bench.h: what the load generator, the origin and the bare forwarder share.
 *
 * Clocks, loopback sockets, the few parts of HTTP/1.1 that a harness needs to read, and numbers on
 * the command line. It stands apart from src/ on purpose: a change there must not move the ruler.
 *
 * One thread per program. Times are nanoseconds (_ns). What goes wrong in the set-up ends the
 * program through bench_die: a harness that limps measures nothing. */
#ifndef FULMAR_BENCH_BENCH_H
#define FULMAR_BENCH_BENCH_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_NS_PER_S     INT64_C(1000000000)
#define BENCH_NS_PER_MS    INT64_C(1000000)
#define BENCH_NS_PER_US    INT64_C(1000)
#define BENCH_NEVER        INT64_MAX
#define BENCH_PRINTF(f, a) __attribute__((format(printf, f, a)))

struct bench_span {
    const char *p;
    size_t n;
};

_Noreturn void bench_die(const char *fmt, ...) BENCH_PRINTF(1, 2);

int64_t bench_boot_ns(void); /* CLOCK_BOOTTIME, as Fulmar's own deadlines */
int64_t bench_wall_ns(void); /* CLOCK_REALTIME, only to compare with the kernel's receive times */

/* A whole number of [min, max], or bench_die naming the option. */
uint64_t bench_number(const char *option, const char *text, uint64_t min, uint64_t max);
/* "PORT" (loopback) or "A.B.C.D:PORT". */
struct sockaddr_in bench_address(const char *text);

/* All sockets are non-blocking, close-on-exec and without Nagle's delay. */
int bench_listen(uint16_t port);
int bench_accept(int listener); /* -1 where nothing waits */
/* -1 with errno; *done says whether the connection stands already. */
int bench_connect(const struct sockaddr_in *to, bool *done);

int bench_epoll(void);
void bench_watch(int epoll, int fd, uint32_t events, void *who);   /* begin */
void bench_rewatch(int epoll, int fd, uint32_t events, void *who); /* change */
void bench_unwatch(int epoll, int fd);                             /* end */

/* epoll_wait with a time-out in ns: the usual millisecond is a whole schedule of 20 requests. */
struct epoll_event;
int bench_wait(int epoll, struct epoll_event *events, int max, int64_t timeout_ns);

/* Length of a message head with its blank line, 0 where that has not come yet. */
size_t bench_head_length(const char *p, size_t n);
/* Walks the header fields: *rest starts as the lines after the first one. */
bool bench_next_header(struct bench_span *rest, struct bench_span *name, struct bench_span *value);
/* The lines of a head after its first one. */
struct bench_span bench_headers(const char *head, size_t n);
bool bench_same(struct bench_span a, const char *word); /* whatever the case */
/* False where it is no plain decimal number below 2^40. */
bool bench_decimal(struct bench_span s, uint64_t *value);

#endif
