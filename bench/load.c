/* bench-load: an HTTP/1.1 load generator that costs next to nothing and does not flatter.
 *
 * Two modes. Saturated: each connection sends its next request as soon as it has its answer. Fixed
 * rate: request k is due at start + k/rate whatever became of the others (open loop); its latency
 * counts from that moment, so a stall is not hidden (no coordinated omission). With every
 * connection busy and no more allowed, due requests wait in a bounded backlog.
 *
 * Invariant: a connection has at most one request in flight, and a request is sent at most once: a
 * failure is counted and never repeated. A connection that is lost is opened again when needed.
 *
 * On stdout, one JSON document per line: {"event": "begin"}, {"event": "end"} at the edges of the
 * measuring window, then the result. */
#include "bench.h"
#include "load_app.h"
#include "load_options.h"
#include "load_stats.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BUFFER = 16384,
    EVENTS = 256,
    ID_LEN = 16,
    PREOPEN_MS = 2000,
    REFUSED_PAUSE_MS = 1, /* saturated: a dead proxy must not become a spinning loop */
    LOG_BUFFER = 1 << 20,
};

enum conn_state { CONN_CLOSED, CONN_CONNECTING, CONN_IDLE, CONN_BUSY };

struct conn {
    struct watched watched;
    struct conn *prev, *next; /* in the list of its state; connecting ones stand with the busy */
    enum conn_state state;
    int fd;
    bool has_request;
    uint64_t seq;
    int64_t scheduled_ns, sent_ns;
    size_t unsent; /* the last bytes of the request that the socket did not take */
    size_t have;   /* bytes in buf */
    bool head;     /* the answer's head was read: */
    bool close_after, until_close, chunked, wrong_id;
    unsigned status;
    uint64_t body_left, body;
    char origin; /* first letter of X-Origin */
    char *buf;
};

struct list {
    struct conn head;
    unsigned n;
};

struct load {
    struct options o;
    int epoll;
    struct conn *conns;
    struct list idle, busy, closed;
    char *request; /* the bytes of every request; id and key are patched in */
    size_t request_len, id_at, key_at;
    uint64_t next_seq, scheduled_total;
    int64_t start_ns, begin_ns, end_ns, pause_until_ns;
    bool begun, ended;
    FILE *log;
    struct app *app; /* NULL: there is none here */
    struct stats stats;
};

/* ---- lists ------------------------------------------------------------------------------- */

static void list_init(struct list *l)
{
    l->head.prev = l->head.next = &l->head;
    l->n = 0;
}

static void list_push(struct list *l, struct conn *c)
{
    c->prev = l->head.prev;
    c->next = &l->head;
    c->prev->next = c;
    l->head.prev = c;
    l->n++;
}

static void list_remove(struct list *l, struct conn *c)
{
    c->prev->next = c->next;
    c->next->prev = c->prev;
    l->n--;
}

static struct list *list_of(struct load *l, enum conn_state s)
{
    switch (s) {
    case CONN_CLOSED:
        return &l->closed;
    case CONN_IDLE:
        return &l->idle;
    case CONN_CONNECTING:
    case CONN_BUSY:
        return &l->busy;
    }
    abort();
}

static void move(struct load *l, struct conn *c, enum conn_state to)
{
    list_remove(list_of(l, c->state), c);
    c->state = to;
    list_push(list_of(l, to), c);
}

/* ---- requests ---------------------------------------------------------------------------- */

static void build_request(struct load *l)
{
    const struct options *o = &l->o;
    char head[2048];
    int n = snprintf(head, sizeof head,
                     "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench-load\r\nAccept: */*\r\n",
                     o->method, o->path, o->host);
    size_t at = (size_t)n;
    if (o->ids) {
        at += (size_t)snprintf(head + at, sizeof head - at, "X-Id: %0*d\r\n", ID_LEN, 0);
        l->id_at = at - ID_LEN - 2;
    }
    if (o->keys) {
        at += (size_t)snprintf(head + at, sizeof head - at, "Idempotency-Key: \"key-%0*d\"\r\n",
                               ID_LEN, 0);
        l->key_at = at - ID_LEN - 3;
    }
    if (o->body > 0)
        at += (size_t)snprintf(head + at, sizeof head - at,
                               "Content-Type: text/plain\r\nContent-Length: %zu\r\n", o->body);
    at += (size_t)snprintf(head + at, sizeof head - at, "\r\n");
    l->request_len = at + o->body;
    l->request = malloc(l->request_len);
    if (l->request == NULL)
        bench_die("out of memory");
    memcpy(l->request, head, at);
    memset(l->request + at, 'b', o->body);
}

static void format_id(const struct load *l, uint64_t seq, char out[ID_LEN])
{
    static const char hex[] = "0123456789abcdef";
    uint64_t v = (uint64_t)l->o.run << 32 | (seq & UINT32_MAX);
    for (unsigned i = 0; i < ID_LEN; i++)
        out[i] = hex[v >> (60 - 4 * i) & 15];
}

static const char *patched_request(struct load *l, uint64_t seq)
{
    char id[ID_LEN];
    if (!l->o.ids && !l->o.keys)
        return l->request;
    format_id(l, seq, id);
    if (l->o.ids)
        memcpy(l->request + l->id_at, id, ID_LEN);
    if (l->o.keys)
        memcpy(l->request + l->key_at, id, ID_LEN);
    return l->request;
}

static void log_request(struct load *l, const struct conn *c, enum outcome o, int64_t now)
{
    char id[ID_LEN + 1] = {0};
    format_id(l, c->seq, id);
    fprintf(l->log, "%s %lld %lld %lld %s %u %c\n", id, (long long)c->scheduled_ns,
            (long long)c->sent_ns, (long long)now, outcome_name[o], c->status,
            c->origin ? c->origin : '-');
}

/* The one place where a request ends. */
static void finish_request(struct load *l, struct conn *c, enum outcome o, int64_t now)
{
    int64_t counts_by = l->o.rate > 0 ? c->scheduled_ns : now;
    c->has_request = false;
    l->stats.sent += c->sent_ns > 0;
    if (l->log != NULL)
        log_request(l, c, o, now);
    if (counts_by < l->begin_ns || counts_by >= l->end_ns)
        return;
    if (o == OUTCOME_OK)
        stats_success(&l->stats, c->scheduled_ns, now);
    else
        stats_failure(&l->stats, o, c->status);
    if (l->o.rate > 0 && c->sent_ns > 0)
        stats_lag(&l->stats, c->sent_ns - c->scheduled_ns);
}

/* ---- connections ------------------------------------------------------------------------- */

static void close_conn(struct load *l, struct conn *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->have = 0;
    move(l, c, CONN_CLOSED);
}

static void fail(struct load *l, struct conn *c, enum outcome o, int64_t now)
{
    close_conn(l, c);
    if (o == OUTCOME_CONNECT)
        l->pause_until_ns = now + REFUSED_PAUSE_MS * BENCH_NS_PER_MS;
    if (c->has_request)
        finish_request(l, c, o, now);
}

/* Sends what is unsent. The socket takes a small request at once nearly always. */
static void flush(struct load *l, struct conn *c, const char *request, int64_t now)
{
    bool waited = c->unsent < l->request_len;
    ssize_t n = send(c->fd, request + l->request_len - c->unsent, c->unsent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        fail(l, c, OUTCOME_RESET, now);
        return;
    }
    c->unsent -= n > 0 ? (size_t)n : 0;
    if (c->unsent > 0)
        bench_rewatch(l->epoll, c->fd, EPOLLIN | EPOLLOUT, c);
    else if (waited)
        bench_rewatch(l->epoll, c->fd, EPOLLIN, c);
}

static void send_request(struct load *l, struct conn *c, int64_t now)
{
    c->sent_ns = now;
    c->unsent = l->request_len;
    c->have = 0;
    c->head = false;
    c->status = 0;
    c->origin = 0;
    move(l, c, CONN_BUSY);
    flush(l, c, patched_request(l, c->seq), now);
}

static void connected(struct load *l, struct conn *c, int64_t now)
{
    if (c->has_request)
        send_request(l, c, now);
    else
        move(l, c, CONN_IDLE);
}

static void open_conn(struct load *l, struct conn *c, int64_t now)
{
    bool done;
    if (c->buf == NULL && (c->buf = malloc(BUFFER)) == NULL)
        bench_die("out of memory");
    l->stats.connects++;
    move(l, c, CONN_CONNECTING);
    c->fd = bench_connect(&l->o.target, &done);
    if (c->fd < 0) {
        fail(l, c, OUTCOME_CONNECT, now);
        return;
    }
    bench_watch(l->epoll, c->fd, done ? EPOLLIN : EPOLLOUT, c);
    if (done)
        connected(l, c, now);
}

static void on_connect(struct load *l, struct conn *c, int64_t now)
{
    int error = 0;
    socklen_t n = sizeof error;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0 || error != 0) {
        fail(l, c, OUTCOME_CONNECT, now);
        return;
    }
    bench_rewatch(l->epoll, c->fd, EPOLLIN, c);
    connected(l, c, now);
}

static void assign(struct load *l, struct conn *c, int64_t scheduled_ns, int64_t now)
{
    c->has_request = true;
    c->seq = l->next_seq++;
    c->scheduled_ns = scheduled_ns;
    c->sent_ns = 0;
    c->status = 0;
    if (c->state == CONN_IDLE)
        send_request(l, c, now);
    else
        open_conn(l, c, now);
}

/* ---- answers ----------------------------------------------------------------------------- */

static void read_field(struct load *l, struct conn *c, struct bench_span name,
                       struct bench_span value, bool *length)
{
    if (bench_same(name, "Content-Length")) {
        *length = bench_decimal(value, &c->body_left);
    } else if (bench_same(name, "Connection")) {
        c->close_after = bench_same(value, "close");
    } else if (bench_same(name, "Transfer-Encoding")) {
        c->chunked = true;
    } else if (l->o.ids && bench_same(name, "X-Id")) {
        char id[ID_LEN];
        format_id(l, c->seq, id);
        c->wrong_id = value.n != ID_LEN || memcmp(value.p, id, ID_LEN) != 0;
    } else if (bench_same(name, "X-Origin") && value.n > 0) {
        c->origin = value.p[0];
    }
}

/* Reads the head in the buffer of `n` bytes; false where that is no HTTP answer. */
static bool read_head(struct load *l, struct conn *c, size_t n)
{
    uint64_t status;
    if (n < 15 || memcmp(c->buf, "HTTP/1.", 7) != 0 ||
        !bench_decimal((struct bench_span){c->buf + 9, 3}, &status) || status < 200)
        return false;
    bool length = false;
    c->head = true;
    c->status = (unsigned)status;
    c->chunked = c->wrong_id = false;
    c->close_after = c->buf[7] == '0';
    c->body = c->body_left = 0;
    struct bench_span rest = bench_headers(c->buf, n), name, value;
    while (bench_next_header(&rest, &name, &value))
        read_field(l, c, name, value, &length);
    c->until_close = !length && !c->chunked && status != 204 && status != 304;
    return true;
}

/* Counts what came of the body and keeps of it only the end that a chunked body needs.
 * 1: whole, 0: more to come, -1: malformed. */
static int read_body(struct conn *c)
{
    size_t n = c->have;
    if (c->chunked) {
        if (n >= 5 && memcmp(c->buf + n - 5, "0\r\n\r\n", 5) == 0)
            return 1;
        return n < BUFFER ? 0 : -1;
    }
    c->have = 0;
    c->body += n;
    if (c->until_close)
        return 0;
    if (n > c->body_left)
        return -1;
    c->body_left -= n;
    return c->body_left == 0;
}

static int read_answer(struct load *l, struct conn *c)
{
    if (!c->head) {
        size_t n = bench_head_length(c->buf, c->have);
        if (n == 0)
            return c->have < BUFFER ? 0 : -1;
        if (!read_head(l, c, n))
            return -1;
        c->have -= n;
        memmove(c->buf, c->buf + n, c->have);
    }
    return read_body(c);
}

static enum outcome judge(const struct load *l, const struct conn *c)
{
    if (c->status / 100 != 2)
        return OUTCOME_STATUS;
    if (c->wrong_id)
        return OUTCOME_MISMATCH;
    if (l->o.expect > 0 && !c->chunked && c->body != l->o.expect)
        return OUTCOME_MALFORMED;
    return OUTCOME_OK;
}

static void next_request(struct load *l, struct conn *c, int64_t now)
{
    if (l->o.rate == 0 && c->state == CONN_IDLE && !l->ended)
        assign(l, c, now, now);
}

static void answered(struct load *l, struct conn *c, int64_t now)
{
    if (c->close_after || c->until_close)
        close_conn(l, c);
    else
        move(l, c, CONN_IDLE);
    finish_request(l, c, judge(l, c), now);
    next_request(l, c, now);
}

static void on_readable(struct load *l, struct conn *c, int64_t now)
{
    ssize_t n = recv(c->fd, c->buf + c->have, BUFFER - c->have, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (c->state == CONN_IDLE) { /* closed by the other side, or an answer that nobody asked for */
        close_conn(l, c);
    } else if (n == 0 && c->head && c->until_close) {
        answered(l, c, now);
    } else if (n <= 0) {
        fail(l, c, OUTCOME_RESET, now);
    } else {
        c->have += (size_t)n;
        int whole = read_answer(l, c);
        if (whole > 0)
            answered(l, c, now);
        else if (whole < 0)
            fail(l, c, OUTCOME_MALFORMED, now);
    }
}

static void on_event(struct load *l, struct watched *w, uint32_t events, int64_t now)
{
    struct conn *c = (struct conn *)(void *)w;
    if (w->is_app) {
        app_event(l->app, w);
        return;
    }
    if (c->state == CONN_CLOSED)
        return;
    if (c->state == CONN_CONNECTING) {
        on_connect(l, c, now);
        return;
    }
    if (events & EPOLLOUT && c->unsent > 0)
        flush(l, c, patched_request(l, c->seq), now);
    if (c->state != CONN_CLOSED && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
        on_readable(l, c, now);
}

/* ---- the schedule ------------------------------------------------------------------------ */

/* Whole seconds apart from the rest: no product overflows. */
static int64_t due_ns(const struct load *l, uint64_t seq)
{
    int64_t rate = (int64_t)l->o.rate, n = (int64_t)seq;
    return l->start_ns + n / rate * BENCH_NS_PER_S + n % rate * BENCH_NS_PER_S / rate;
}

/* How many requests are due within the first `ns` of the schedule. */
static uint64_t due_within(const struct load *l, int64_t ns)
{
    int64_t rate = (int64_t)l->o.rate;
    return (uint64_t)(ns / BENCH_NS_PER_S * rate + ns % BENCH_NS_PER_S * rate / BENCH_NS_PER_S);
}

/* The oldest waiting request gives up: too many wait, or it waited for too long. */
static void give_up(struct load *l, int64_t now)
{
    struct conn nobody = {.seq = l->next_seq, .scheduled_ns = due_ns(l, l->next_seq)};
    l->next_seq++;
    finish_request(l, &nobody, OUTCOME_BACKLOG, now);
}

static struct conn *pick(struct load *l)
{
    if (l->idle.n > 0)
        return l->idle.head.next;
    return l->closed.n > 0 ? l->closed.head.next : NULL;
}

static void dispatch_fixed(struct load *l, int64_t now)
{
    while (l->next_seq < l->scheduled_total && due_ns(l, l->next_seq) <= now) {
        struct conn *c = pick(l);
        if (c == NULL)
            break;
        assign(l, c, due_ns(l, l->next_seq), now);
    }
    if (l->next_seq >= l->scheduled_total || due_ns(l, l->next_seq) > now)
        return;
    uint64_t due = due_within(l, now - l->start_ns);
    uint64_t last = due < l->scheduled_total ? due + 1 : l->scheduled_total;
    if (last - l->next_seq > l->stats.backlog_max)
        l->stats.backlog_max = last - l->next_seq;
    while (l->next_seq < last && (last - l->next_seq > l->o.backlog_max ||
                                  now - due_ns(l, l->next_seq) > l->o.timeout_ns))
        give_up(l, now);
}

static void dispatch_saturated(struct load *l, int64_t now)
{
    if (l->ended || now < l->pause_until_ns)
        return;
    while (l->idle.n > 0)
        assign(l, l->idle.head.next, now, now);
    for (unsigned n = l->closed.n; n > 0 && l->closed.n > 0 && now >= l->pause_until_ns; n--)
        assign(l, l->closed.head.next, now, now);
}

static void expire(struct load *l, int64_t now)
{
    while (l->busy.n > 0 && l->busy.head.next->has_request &&
           now - l->busy.head.next->scheduled_ns > l->o.timeout_ns)
        fail(l, l->busy.head.next, OUTCOME_TIMEOUT, now);
}

static void announce(const char *event, int64_t now)
{
    printf("{\"event\": \"%s\", \"boot_ns\": %lld}\n", event, (long long)now);
    fflush(stdout);
}

static void turn(struct load *l, int64_t now)
{
    if (!l->begun && now >= l->begin_ns) {
        l->begun = true;
        announce("begin", now);
    }
    if (!l->ended && now >= l->end_ns) {
        l->ended = true;
        stats_end(&l->stats, now);
        announce("end", now);
    }
    expire(l, now);
    if (l->o.rate > 0)
        dispatch_fixed(l, now);
    else if (l->idle.n + l->closed.n > 0)
        dispatch_saturated(l, now);
}

static bool finished(const struct load *l)
{
    if (!l->ended)
        return false;
    return l->o.rate == 0 || (l->next_seq >= l->scheduled_total && l->busy.n == 0);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t next_wake(const struct load *l)
{
    int64_t at = !l->begun ? l->begin_ns : !l->ended ? l->end_ns : BENCH_NEVER;
    if (l->busy.n > 0)
        at = earlier(at, l->busy.head.next->scheduled_ns + l->o.timeout_ns);
    if (l->o.rate == 0)
        return l->closed.n > 0 ? earlier(at, l->pause_until_ns) : at;
    if (l->next_seq < l->scheduled_total) {
        bool can_send = l->idle.n + l->closed.n > 0;
        at = earlier(at, due_ns(l, l->next_seq) + (can_send ? 0 : l->o.timeout_ns));
    }
    return at;
}

static void run(struct load *l)
{
    struct epoll_event events[EVENTS];
    int64_t now = bench_boot_ns();
    turn(l, now);
    while (!finished(l)) {
        int n = bench_wait(l->epoll, events, EVENTS, next_wake(l) - now);
        now = bench_boot_ns();
        for (int i = 0; i < n; i++) {
            on_event(l, events[i].data.ptr, events[i].events, now);
            now = bench_boot_ns();
            if (l->o.rate > 0)
                dispatch_fixed(l, now);
        }
        turn(l, now);
    }
}

/* The app serves at once, so that what stands between may be started; the load waits for a line. */
static void serve_until_told(struct load *l)
{
    struct epoll_event events[EVENTS];
    struct watched told = {0};
    char line[16];
    bench_watch(l->epoll, STDIN_FILENO, EPOLLIN, &told);
    announce("serving", bench_boot_ns());
    for (bool begin = false; !begin;) {
        int n = bench_wait(l->epoll, events, EVENTS, BENCH_NEVER);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr != &told)
                app_event(l->app, events[i].data.ptr);
            else if (read(STDIN_FILENO, line, sizeof line) > 0)
                begin = true;
            else
                bench_die("nobody said when to begin");
        }
    }
    bench_unwatch(l->epoll, STDIN_FILENO);
}

/* All connections stand before the first request, so that opening them is not measured. */
static void pre_open(struct load *l)
{
    struct epoll_event events[EVENTS];
    int64_t now = bench_boot_ns(), until = now + PREOPEN_MS * BENCH_NS_PER_MS;
    for (unsigned i = 0; i < l->o.connections; i++)
        open_conn(l, l->closed.head.next, now);
    while (l->idle.n < l->o.connections && l->busy.n > 0 && now < until) {
        int n = bench_wait(l->epoll, events, EVENTS, until - now);
        now = bench_boot_ns();
        for (int i = 0; i < n; i++)
            on_event(l, events[i].data.ptr, events[i].events, now);
    }
    if (l->idle.n < l->o.connections)
        bench_die("only %u of %u connections could be opened", l->idle.n, l->o.connections);
}

/* ---- set-up ------------------------------------------------------------------------------ */

static void set_up(struct load *l)
{
    list_init(&l->idle);
    list_init(&l->busy);
    list_init(&l->closed);
    l->epoll = bench_epoll();
    build_request(l);
    l->conns = calloc(l->o.connections_max, sizeof *l->conns);
    if (l->conns == NULL)
        bench_die("out of memory");
    for (unsigned i = 0; i < l->o.connections_max; i++) {
        l->conns[i].fd = -1;
        list_push(&l->closed, &l->conns[i]);
    }
    if (l->o.log != NULL) {
        l->log = fopen(l->o.log, "we");
        if (l->log == NULL)
            bench_die("%s: %s", l->o.log, strerror(errno));
        setvbuf(l->log, NULL, _IOFBF, LOG_BUFFER);
    }
    if (l->o.apps > 0)
        l->app = app_open(&l->o, l->epoll);
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); /* the schedule is kept to the microsecond */
}

int main(int argc, char **argv)
{
    static struct load l;
    l.o = options_parse(argc, argv);
    set_up(&l);
    if (l.app != NULL)
        serve_until_told(&l);
    pre_open(&l);
    l.start_ns = bench_boot_ns() + BENCH_NS_PER_MS;
    l.begin_ns = l.start_ns + l.o.warm_up_ns;
    l.end_ns = l.begin_ns + l.o.duration_ns;
    stats_begin(&l.stats, l.begin_ns);
    l.scheduled_total = due_within(&l, l.o.warm_up_ns + l.o.duration_ns);
    run(&l);
    stats_print(&l.stats, stdout, l.o.rate > 0 ? "fixed" : "saturated",
                (double)l.o.duration_ns / 1e9);
    if (l.log != NULL && fclose(l.log) != 0)
        bench_die("%s: %s", l.o.log, strerror(errno));
    return 0;
}
