/* bench-origin: an application that costs next to nothing, misbehaves on demand and remembers.
 *
 * It answers any request with a small body. GET /mode/NAME on its admin port changes what it
 * answers: ok, traffic (503 for all but the health path), health (503 for that path only), both.
 * It is a plain app: after having been frozen it reads and executes all that waits in its sockets.
 * With --good-citizen it shows what an app can do: after a stall of its loop it closes its inbound
 * connections before it parses what waits there, and drops what is past its Fulmar-Deadline.
 *
 * Invariant: a request is recorded in the moment of its effect, before it is answered (with
 * --delay-us: that much before). It reads bodies by Content-Length only and one request at a time
 * per connection; what is pipelined waits. */
#include "bench.h"
#include "origin_record.h"

#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    BUFFER = 16384,
    ANSWER_MAX = 4096,
    EVENTS = 256,
    PORTS_MAX = 16,
    TICK_MS = 50,
    STALL_MS = 200,
};

struct watched { /* what an event points to: first in both */
    bool is_door;
};

struct door { /* a listening port */
    struct watched watched;
    bool admin;
    int fd;
};

struct conn {
    struct watched watched;
    bool admin, dead, waiting;
    int fd;
    size_t have, body_left;
    struct conn *prev, *next; /* all connections */
    struct conn *wait_next;   /* those whose answer is delayed, in order */
    struct conn *dead_next;
    int64_t due_ns, wall_ns, age_ns;
    size_t answer_len, answer_sent;
    char answer[ANSWER_MAX];
    char buf[BUFFER];
};

struct request {
    struct bench_span method, path, id, key;
    int64_t deadline_ms; /* -1: none */
    uint64_t body;
    bool close;
};

struct origin {
    int epoll;
    struct door door[PORTS_MAX];
    unsigned doors;
    char name;
    size_t body;
    bool good_citizen, recording, stamps, traffic_bad, health_bad;
    const char *health_path;
    int64_t delay_ns, turn_ns;
    struct conn all, *dead, *wait_first, *wait_last;
    struct record record;
    struct store store;
    char *plain; /* the whole answer to a request without an id */
    size_t plain_len;
    char *filler;
};

/* ---- connections ------------------------------------------------------------------------- */

static void kill_conn(struct origin *o, struct conn *c)
{
    if (c->dead)
        return;
    close(c->fd);
    c->dead = true;
    c->prev->next = c->next;
    c->next->prev = c->prev;
    c->dead_next = o->dead;
    o->dead = c;
}

/* At the end of a turn nothing points to a dead connection any more but the line of delayed
 * answers, which lets go of it when its time comes. */
static void bury(struct origin *o)
{
    struct conn **at = &o->dead;
    while (*at != NULL) {
        struct conn *c = *at;
        if (c->waiting) {
            at = &c->dead_next;
        } else {
            *at = c->dead_next;
            free(c);
        }
    }
}

static void admit(struct origin *o, const struct door *d, int fd)
{
    struct conn *c = malloc(sizeof *c);
    if (c == NULL)
        bench_die("out of memory");
    memset(c, 0, offsetof(struct conn, answer));
    c->admin = d->admin;
    c->fd = fd;
    c->age_ns = -1;
    c->prev = &o->all;
    c->next = o->all.next;
    c->next->prev = c->prev->next = c;
    int on = 1;
    if (o->stamps && setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) != 0)
        bench_die("SO_TIMESTAMPNS: %s", strerror(errno));
    bench_watch(o->epoll, fd, EPOLLIN, c);
}

/* ---- reading ----------------------------------------------------------------------------- */

static int64_t receive_time(struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec ts;
            memcpy(&ts, CMSG_DATA(c), sizeof ts);
            return (int64_t)ts.tv_sec * BENCH_NS_PER_S + ts.tv_nsec;
        }
    }
    return 0;
}

/* The time stamp is that of the last segment merged into what is read, and a FIN merges too: a
 * request whose sender hung up looks as young as the hang-up. The age of the last data, coarse as
 * it is (jiffies), tells. */
static void take_age(struct conn *c, struct msghdr *m)
{
    enum { COARSE_MS = 8 };
    struct tcp_info info = {0};
    socklen_t n = sizeof info;
    int64_t now = bench_wall_ns();
    c->wall_ns = receive_time(m);
    c->age_ns = c->wall_ns > 0 ? now - c->wall_ns : -1;
    if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0)
        return;
    int64_t data_age_ns = info.tcpi_last_data_recv * BENCH_NS_PER_MS;
    if (data_age_ns > c->age_ns + COARSE_MS * BENCH_NS_PER_MS) {
        c->age_ns = data_age_ns;
        c->wall_ns = now - data_age_ns;
    }
}

/* Reads what waits and takes its age at once. */
static ssize_t receive(struct origin *o, struct conn *c)
{
    char *to = c->buf + c->have;
    size_t room = sizeof c->buf - c->have;
    if (!o->stamps)
        return recv(c->fd, to, room, 0);
    union {
        char bytes[128];
        struct cmsghdr align;
    } control;
    struct iovec iov = {to, room};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(c->fd, &m, 0);
    if (n > 0)
        take_age(c, &m);
    return n;
}

static void parse_first_line(const char *p, size_t n, struct request *r)
{
    const char *sp = memchr(p, ' ', n);
    if (sp == NULL)
        return;
    r->method = (struct bench_span){p, (size_t)(sp - p)};
    const char *path = sp + 1, *end = memchr(path, ' ', n - r->method.n - 1);
    if (end != NULL)
        r->path = (struct bench_span){path, (size_t)(end - path)};
}

static void parse(const char *p, size_t n, struct request *r)
{
    *r = (struct request){.deadline_ms = -1};
    parse_first_line(p, n, r);
    struct bench_span rest = bench_headers(p, n), name, value;
    while (bench_next_header(&rest, &name, &value)) {
        uint64_t v;
        if (bench_same(name, "X-Id"))
            r->id = value;
        else if (bench_same(name, "Idempotency-Key"))
            r->key = value;
        else if (bench_same(name, "Content-Length"))
            (void)bench_decimal(value, &r->body);
        else if (bench_same(name, "Connection"))
            r->close = bench_same(value, "close");
        else if (bench_same(name, "Fulmar-Deadline") && bench_decimal(value, &v))
            r->deadline_ms = (int64_t)v;
    }
}

/* ---- answering --------------------------------------------------------------------------- */

static void flush(struct origin *o, struct conn *c)
{
    bool waited = c->answer_sent > 0;
    ssize_t n =
        send(c->fd, c->answer + c->answer_sent, c->answer_len - c->answer_sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        kill_conn(o, c);
        return;
    }
    c->answer_sent += n > 0 ? (size_t)n : 0;
    if (c->answer_sent == c->answer_len) {
        c->answer_len = c->answer_sent = 0;
        if (waited)
            bench_rewatch(o->epoll, c->fd, EPOLLIN, c);
    } else {
        bench_rewatch(o->epoll, c->fd, EPOLLOUT, c);
    }
}

static void answer(struct origin *o, struct conn *c, const char *status, const struct request *r)
{
    int n = snprintf(c->answer, sizeof c->answer,
                     "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                     "X-Origin: %c\r\n%s%.*s%s\r\n%s",
                     status, o->body, o->name, r->id.n > 0 ? "X-Id: " : "", (int)r->id.n, r->id.p,
                     r->id.n > 0 ? "\r\n" : "", o->filler);
    if (n < 0 || (size_t)n >= sizeof c->answer)
        bench_die("the answer does not fit");
    c->answer_len = (size_t)n;
}

static void delay(struct origin *o, struct conn *c)
{
    c->waiting = true;
    c->due_ns = bench_boot_ns() + o->delay_ns;
    c->wait_next = NULL;
    if (o->wait_first == NULL)
        o->wait_first = c;
    else
        o->wait_last->wait_next = c;
    o->wait_last = c;
}

static void record(struct origin *o, const struct conn *c, const struct request *r, bool health,
                   enum executed outcome)
{
    struct record_line line = {.boot_ns = bench_boot_ns(),
                               .wall_ns = c->wall_ns,
                               .age_ns = c->age_ns,
                               .health = health,
                               .outcome = outcome,
                               .id = r->id,
                               .method = r->method};
    record_add(&o->record, &line);
}

static enum executed execute(struct origin *o, const struct request *r)
{
    if (r->method.n > 0 && (r->method.p[0] == 'G' || r->method.p[0] == 'H'))
        return EXECUTED_SAFE;
    if (o->store.slot != NULL && r->key.n > 0 && !store_apply(&o->store, r->key))
        return EXECUTED_REPLAYED;
    return EXECUTED_APPLIED;
}

/* An age that is unknown or negative (the clock was set back) counts as passed. */
static bool expired(const struct origin *o, const struct conn *c, const struct request *r)
{
    return o->good_citizen && r->deadline_ms >= 0 &&
           (c->age_ns < 0 || c->age_ns / BENCH_NS_PER_MS >= r->deadline_ms);
}

static void serve_recorded(struct origin *o, struct conn *c, const struct request *r)
{
    bool health = bench_same(r->path, o->health_path);
    enum executed outcome;
    if (health ? o->health_bad : o->traffic_bad)
        outcome = EXECUTED_REFUSED;
    else if (expired(o, c, r))
        outcome = EXECUTED_EXPIRED;
    else
        outcome = health ? EXECUTED_SAFE : execute(o, r);
    bool executed = outcome != EXECUTED_REFUSED && outcome != EXECUTED_EXPIRED;
    record(o, c, r, health, outcome);
    answer(o, c, executed ? "200 OK" : "503 Service Unavailable", r);
    if (executed && o->delay_ns > 0 && !health)
        delay(o, c);
    else
        flush(o, c);
}

static void serve_admin(struct origin *o, struct conn *c, const struct request *r)
{
    bool known = true;
    if (bench_same(r->path, "/mode/ok"))
        o->traffic_bad = o->health_bad = false;
    else if (bench_same(r->path, "/mode/traffic"))
        o->traffic_bad = true;
    else if (bench_same(r->path, "/mode/health"))
        o->health_bad = true;
    else if (bench_same(r->path, "/mode/both"))
        o->traffic_bad = o->health_bad = true;
    else
        known = false;
    char now[32];
    int body = snprintf(now, sizeof now, "%lld\n", (long long)bench_boot_ns());
    int n = snprintf(c->answer, sizeof c->answer,
                     "HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
                     known ? "200 OK" : "404 Not Found", body, now);
    c->answer_len = (size_t)n;
    flush(o, c);
}

/* The fast way of the throughput bench: nothing to note, one constant answer. */
static void serve_plain(struct origin *o, struct conn *c)
{
    ssize_t n = send(c->fd, o->plain, o->plain_len, MSG_NOSIGNAL);
    if (n != (ssize_t)o->plain_len)
        kill_conn(o, c);
}

/* Consumes one request of the buffer; false where there is no whole one or it must wait. */
static bool serve_one(struct origin *o, struct conn *c)
{
    if (c->dead || c->waiting || c->answer_len > 0 || c->have == 0)
        return false;
    size_t head = bench_head_length(c->buf, c->have);
    if (head == 0) {
        if (c->have == sizeof c->buf)
            kill_conn(o, c);
        return false;
    }
    struct request r = {.deadline_ms = -1};
    if (c->admin || o->recording || c->buf[0] != 'G')
        parse(c->buf, head, &r);
    size_t total = head + r.body;
    if (total > sizeof c->buf) {
        kill_conn(o, c);
        return false;
    }
    if (c->have < total)
        return false;
    if (c->admin)
        serve_admin(o, c, &r);
    else if (o->recording)
        serve_recorded(o, c, &r);
    else
        serve_plain(o, c);
    c->have -= total;
    if (c->have > 0)
        memmove(c->buf, c->buf + total, c->have);
    return true;
}

/* ---- after a freeze ---------------------------------------------------------------------- */

/* Notes what waits in a socket that is closed unparsed: for the harness, not for the app. */
static void drop(struct origin *o, struct conn *c)
{
    struct request r;
    ssize_t n = receive(o, c);
    c->have += n > 0 ? (size_t)n : 0;
    size_t head = bench_head_length(c->buf, c->have);
    if (head > 0 && !c->admin && !c->waiting) {
        parse(c->buf, head, &r);
        record(o, c, &r, bench_same(r.path, o->health_path), EXECUTED_DROPPED);
    }
    kill_conn(o, c);
}

static void drop_all(struct origin *o)
{
    for (unsigned i = 0; i < o->doors; i++) {
        int fd;
        while ((fd = bench_accept(o->door[i].fd)) >= 0)
            admit(o, &o->door[i], fd);
    }
    while (o->all.next != &o->all)
        drop(o, o->all.next);
}

/* Is called right before anything is parsed: a process can be frozen between any two calls. */
static bool stalled(struct origin *o)
{
    if (!o->good_citizen)
        return false;
    int64_t now = bench_boot_ns(), since = now - o->turn_ns;
    o->turn_ns = now;
    if (since < (STALL_MS + TICK_MS) * BENCH_NS_PER_MS)
        return false;
    drop_all(o);
    return true;
}

/* ---- the loop ---------------------------------------------------------------------------- */

static void on_conn(struct origin *o, struct conn *c, uint32_t events)
{
    if (c->dead)
        return;
    if (events & EPOLLOUT && c->answer_len > 0 && !c->waiting)
        flush(o, c);
    if (c->dead || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    ssize_t n = receive(o, c);
    int error = errno;
    c->have += n > 0 ? (size_t)n : 0;
    if (stalled(o) || (n < 0 && error == EAGAIN))
        return;
    if (n <= 0) {
        kill_conn(o, c);
        return;
    }
    while (serve_one(o, c))
        continue;
}

static void send_delayed(struct origin *o, int64_t now)
{
    while (o->wait_first != NULL && o->wait_first->due_ns <= now) {
        struct conn *c = o->wait_first;
        o->wait_first = c->wait_next;
        c->waiting = false;
        if (!c->dead)
            flush(o, c);
        while (serve_one(o, c))
            continue;
    }
}

static int64_t next_wake(const struct origin *o)
{
    int64_t wake = o->good_citizen ? TICK_MS * BENCH_NS_PER_MS : BENCH_NEVER;
    if (o->wait_first != NULL) {
        int64_t due = o->wait_first->due_ns - bench_boot_ns();
        if (due < wake)
            wake = due;
    }
    return wake;
}

static void on_event(struct origin *o, struct watched *w, uint32_t events)
{
    if (!w->is_door) {
        on_conn(o, (struct conn *)(void *)w, events);
        return;
    }
    struct door *d = (struct door *)(void *)w;
    int fd;
    while ((fd = bench_accept(d->fd)) >= 0)
        admit(o, d, fd);
}

static void run(struct origin *o)
{
    struct epoll_event events[EVENTS];
    o->turn_ns = bench_boot_ns();
    for (;;) {
        int n = bench_wait(o->epoll, events, EVENTS, next_wake(o));
        if (stalled(o))
            n = 0;
        for (int i = 0; i < n; i++)
            on_event(o, events[i].data.ptr, events[i].events);
        if (o->wait_first != NULL && !stalled(o))
            send_delayed(o, bench_boot_ns());
        if (o->dead != NULL)
            bury(o);
    }
}

/* ---- set-up ------------------------------------------------------------------------------ */

static const char usage[] =
    "usage: bench-origin [OPTION...] PORT...\n"
    "  --body N             bytes of an answer (128)\n"
    "  --name C             one letter, sent as X-Origin\n"
    "  --admin PORT         GET /mode/ok, /mode/traffic, /mode/health, /mode/both\n"
    "  --record FILE        a line per request: executed_boot_ns received_wall_ns age_ns kind\n"
    "                       outcome id method\n"
    "  --store FILE         shared with other origins: an Idempotency-Key is applied once\n"
    "  --health PATH        (/health)\n"
    "  --delay-us N         from the effect to the answer (0)\n"
    "  --good-citizen       honours Fulmar-Deadline; closes its connections after a stall\n";

enum opt {
    OPT_BODY = 256,
    OPT_NAME,
    OPT_ADMIN,
    OPT_RECORD,
    OPT_STORE,
    OPT_HEALTH,
    OPT_DELAY,
    OPT_CITIZEN,
    OPT_HELP
};

static const struct option long_options[] = {
    {"body", required_argument, NULL, OPT_BODY},
    {"name", required_argument, NULL, OPT_NAME},
    {"admin", required_argument, NULL, OPT_ADMIN},
    {"record", required_argument, NULL, OPT_RECORD},
    {"store", required_argument, NULL, OPT_STORE},
    {"health", required_argument, NULL, OPT_HEALTH},
    {"delay-us", required_argument, NULL, OPT_DELAY},
    {"good-citizen", no_argument, NULL, OPT_CITIZEN},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static void open_door(struct origin *o, const char *port, bool admin)
{
    if (o->doors == PORTS_MAX)
        bench_die("too many ports");
    struct door *d = &o->door[o->doors++];
    *d = (struct door){.watched.is_door = true, .admin = admin};
    d->fd = bench_listen((uint16_t)bench_number("port", port, 1, UINT16_MAX));
    bench_watch(o->epoll, d->fd, EPOLLIN, d);
}

static void set_option(struct origin *o, int opt, const char *v)
{
    switch ((enum opt)opt) {
    case OPT_BODY:
        o->body = bench_number("body", v, 0, 2048);
        break;
    case OPT_NAME:
        o->name = v[0];
        break;
    case OPT_ADMIN:
        open_door(o, v, true);
        break;
    case OPT_RECORD:
        record_open(&o->record, v);
        o->recording = o->stamps = true;
        break;
    case OPT_STORE:
        store_open(&o->store, v);
        o->recording = true;
        break;
    case OPT_HEALTH:
        o->health_path = v;
        break;
    case OPT_DELAY:
        o->delay_ns = (int64_t)bench_number("delay-us", v, 0, 60000000) * BENCH_NS_PER_US;
        o->recording = true;
        break;
    case OPT_CITIZEN:
        o->good_citizen = o->recording = o->stamps = true;
        break;
    case OPT_HELP:
        fputs(usage, stdout);
        exit(0);
    }
}

static void build_plain(struct origin *o)
{
    o->filler = malloc(o->body + 1);
    o->plain = malloc(ANSWER_MAX);
    if (o->filler == NULL || o->plain == NULL)
        bench_die("out of memory");
    memset(o->filler, 'x', o->body);
    o->filler[o->body] = 0;
    int n = snprintf(o->plain, ANSWER_MAX,
                     "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s",
                     o->body, o->filler);
    o->plain_len = (size_t)n;
}

int main(int argc, char **argv)
{
    static struct origin o = {.name = 'o', .body = 128, .health_path = "/health"};
    o.epoll = bench_epoll();
    o.all.prev = o.all.next = &o.all;
    int opt;
    while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (opt == '?')
            bench_die("unknown option; see --help");
        set_option(&o, opt, optarg);
    }
    if (optind == argc)
        bench_die("a port is needed; see --help");
    for (int i = optind; i < argc; i++)
        open_door(&o, argv[i], false);
    build_plain(&o);
    run(&o);
}
