/* bench-pg-writer: writes rows to a PostgreSQL that may be behind any of several doors, and logs
 * every write that was acknowledged, with its time.
 *
 * Each door (an address of a server, or of a listener in front of it) has workers of its own, which
 * try to write there always, one row at a time: where a server refuses writes they ask again soon.
 * So what is seen is when *any* door acknowledges a write, whoever is the primary, and whether two
 * do; and no client's way of choosing among hosts comes into it.
 *
 * The log has a line for each write that was acknowledged ("ack DOOR ID SENT-NS DONE-NS", on
 * CLOCK_BOOTTIME) and for each whose outcome nobody knows ("unknown ..."). With --returning the
 * former has one word more, the value of that expression in the write's transaction. A write is
 * sent once. At its end, which is that of its standard input, it says how often it was refused, by
 * SQLSTATE. */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DOORS_MAX = 4, WORKERS_MAX = 16, STATES_MAX = 24, SQLSTATE = 6, VALUE_ROOM = 64 };
enum { AGAIN_MS = 10 }; /* after a refusal */

enum state { WAITING, CONNECTING, IDLE, WRITING };

struct worker {
    unsigned door;
    enum state state;
    PGconn *conn;
    PostgresPollingStatusType wants; /* while connecting */
    int64_t at_ns;                   /* waiting, idle: goes on then; else: gives up then */
    int64_t sent_ns;
    uint64_t id;
    bool acknowledged;      /* the write */
    char value[VALUE_ROOM]; /* that it returned */
};

struct refusal {
    unsigned door;
    char why[SQLSTATE];
    uint64_t n;
};

static struct {
    unsigned doors, workers, refusals;
    const char *name[DOORS_MAX], *dsn[DOORS_MAX], *returning;
    struct worker worker[DOORS_MAX * WORKERS_MAX];
    struct refusal refusal[STATES_MAX];
    int64_t interval_ns, timeout_ns, connect_ns;
    uint64_t next_id, acknowledged, unknown;
    FILE *log;
} w = {.workers = 4,
       .timeout_ns = 5000 * BENCH_NS_PER_MS,
       .connect_ns = 1000 * BENCH_NS_PER_MS,
       .next_id = 1};

static void refused(unsigned door, const char *why)
{
    unsigned i = 0;
    while (i < w.refusals &&
           (w.refusal[i].door != door || strncmp(w.refusal[i].why, why, SQLSTATE - 1) != 0))
        i++;
    if (i == STATES_MAX)
        i--; /* the last one stands for the others */
    else if (i == w.refusals) {
        w.refusal[i].door = door;
        snprintf(w.refusal[i].why, SQLSTATE, "%s", why);
        w.refusals++;
    }
    w.refusal[i].n++;
}

static void hang_up(struct worker *k, int64_t now)
{
    if (k->conn)
        PQfinish(k->conn);
    k->conn = NULL;
    k->state = WAITING;
    k->at_ns = now + AGAIN_MS * BENCH_NS_PER_MS;
}

static void dial(struct worker *k, int64_t now)
{
    k->conn = PQconnectStart(w.dsn[k->door]);
    if (!k->conn)
        bench_die("out of memory");
    k->state = CONNECTING;
    k->wants = PGRES_POLLING_WRITING;
    k->at_ns = now + w.connect_ns;
    if (PQstatus(k->conn) == CONNECTION_BAD)
        hang_up(k, now);
}

static void go_on_connecting(struct worker *k, int64_t now)
{
    k->wants = PQconnectPoll(k->conn);
    if (k->wants == PGRES_POLLING_FAILED) {
        refused(k->door, "dial");
        hang_up(k, now);
    } else if (k->wants == PGRES_POLLING_OK) {
        if (PQsetnonblocking(k->conn, 1) != 0)
            bench_die("libpq: %s", PQerrorMessage(k->conn));
        k->state = IDLE;
        k->at_ns = now;
    }
}

/* Nobody knows whether it took effect. */
static void lose_sight(struct worker *k, int64_t now)
{
    fprintf(w.log, "unknown %s %llu %lld %lld\n", w.name[k->door], (unsigned long long)k->id,
            (long long)k->sent_ns, (long long)now);
    w.unknown++;
    hang_up(k, now);
}

static void write_row(struct worker *k, int64_t now)
{
    char text[256];
    k->id = w.next_id++;
    snprintf(text, sizeof text, "insert into bench_writes (id) values (%llu)%s%s",
             (unsigned long long)k->id, w.returning ? " returning " : "",
             w.returning ? w.returning : "");
    k->value[0] = 0;
    k->sent_ns = now;
    k->acknowledged = false;
    if (!PQsendQuery(k->conn, text)) {
        refused(k->door, "send"); /* before a byte of it went out */
        hang_up(k, now);
        return;
    }
    k->state = WRITING;
    k->at_ns = now + w.timeout_ns;
}

static void note_result(struct worker *k, const PGresult *r)
{
    if (PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK) {
        k->acknowledged = true;
        if (PQntuples(r) > 0)
            snprintf(k->value, sizeof k->value, " %s", PQgetvalue(r, 0, 0));
        return;
    }
    const char *why = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    refused(k->door, why ? why : "lost");
}

static void finish_write(struct worker *k, int64_t now)
{
    if (k->acknowledged) {
        fprintf(w.log, "ack %s %llu %lld %lld%s\n", w.name[k->door], (unsigned long long)k->id,
                (long long)k->sent_ns, (long long)now, k->value);
        w.acknowledged++;
    }
    k->state = IDLE;
    k->at_ns = k->acknowledged ? k->sent_ns + w.interval_ns : now + AGAIN_MS * BENCH_NS_PER_MS;
}

static void go_on_writing(struct worker *k, int64_t now)
{
    bool alive = PQconsumeInput(k->conn) && PQflush(k->conn) >= 0;
    while (!PQisBusy(k->conn)) {
        PGresult *r = PQgetResult(k->conn);
        if (!r) {
            alive = alive && PQstatus(k->conn) == CONNECTION_OK;
            if (alive || k->acknowledged)
                finish_write(k, now);
            else
                lose_sight(k, now); /* an error that ends the session says nothing of the write */
            if (!alive && k->conn)
                hang_up(k, now);
            return;
        }
        note_result(k, r);
        PQclear(r);
    }
    if (!alive)
        lose_sight(k, now);
}

static void when_due(struct worker *k, int64_t now)
{
    if (k->at_ns > now)
        return;
    switch (k->state) {
    case WAITING:
        dial(k, now);
        break;
    case CONNECTING:
        refused(k->door, "slow");
        hang_up(k, now);
        break;
    case IDLE:
        write_row(k, now);
        break;
    case WRITING:
        lose_sight(k, now);
        break;
    }
}

static void when_ready(struct worker *k, int64_t now)
{
    switch (k->state) {
    case WAITING:
        break;
    case CONNECTING:
        go_on_connecting(k, now);
        break;
    case IDLE: /* the server said something by itself: that it ends */
        if (!PQconsumeInput(k->conn) || PQstatus(k->conn) != CONNECTION_OK)
            hang_up(k, now);
        break;
    case WRITING:
        go_on_writing(k, now);
        break;
    }
}

static struct pollfd watch(const struct worker *k)
{
    struct pollfd p = {.fd = k->conn ? PQsocket(k->conn) : -1, .events = POLLIN};
    if (k->state == CONNECTING && k->wants == PGRES_POLLING_WRITING)
        p.events = POLLOUT;
    return p;
}

/* Until the standard input ends. */
static void run(void)
{
    enum { INPUT = DOORS_MAX * WORKERS_MAX };
    unsigned n = w.doors * w.workers;
    struct pollfd p[INPUT + 1];
    for (;;) {
        int64_t now = bench_boot_ns(), wake = BENCH_NEVER;
        for (unsigned i = 0; i < n; i++) {
            when_due(&w.worker[i], now);
            p[i] = watch(&w.worker[i]);
            if (w.worker[i].at_ns < wake)
                wake = w.worker[i].at_ns;
        }
        p[n] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
        fflush(w.log);
        int64_t left = wake - bench_boot_ns();
        struct timespec t = {.tv_sec = left > 0 ? left / BENCH_NS_PER_S : 0,
                             .tv_nsec = left > 0 ? left % BENCH_NS_PER_S : 0};
        if (ppoll(p, n + 1, &t, NULL) < 0 && errno != EINTR)
            bench_die("ppoll: %s", strerror(errno));
        if (p[n].revents)
            return;
        now = bench_boot_ns();
        for (unsigned i = 0; i < n; i++)
            if (p[i].revents)
                when_ready(&w.worker[i], now);
    }
}

static void say_what_happened(void)
{
    printf("{\"acknowledged\": %llu, \"unknown\": %llu, \"refused\": {",
           (unsigned long long)w.acknowledged, (unsigned long long)w.unknown);
    for (unsigned i = 0; i < w.refusals; i++)
        printf("%s\"%s %s\": %llu", i ? ", " : "", w.name[w.refusal[i].door], w.refusal[i].why,
               (unsigned long long)w.refusal[i].n);
    puts("}}");
}

static void add_door(char *text)
{
    char *equals = strchr(text, '=');
    if (!equals || w.doors == DOORS_MAX)
        bench_die("at most %d doors of the form NAME=DSN", DOORS_MAX);
    *equals = 0;
    w.name[w.doors] = text;
    w.dsn[w.doors++] = equals + 1;
}

static void read_options(int argc, char **argv)
{
    static const struct option options[] = {
        {"rate", required_argument, NULL, 'r'},       {"workers", required_argument, NULL, 'w'},
        {"timeout-ms", required_argument, NULL, 't'}, {"connect-ms", required_argument, NULL, 'c'},
        {"first", required_argument, NULL, 'f'},      {"returning", required_argument, NULL, 'v'},
        {"log", required_argument, NULL, 'l'},        {0}};
    uint64_t rate = 1000;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'r')
            rate = bench_number("rate", optarg, 1, 1000000);
        else if (c == 'w')
            w.workers = (unsigned)bench_number("workers", optarg, 1, WORKERS_MAX);
        else if (c == 't')
            w.timeout_ns = (int64_t)bench_number("timeout-ms", optarg, 1, 600000) * BENCH_NS_PER_MS;
        else if (c == 'c')
            w.connect_ns = (int64_t)bench_number("connect-ms", optarg, 1, 600000) * BENCH_NS_PER_MS;
        else if (c == 'f')
            w.next_id = bench_number("first", optarg, 1, UINT64_C(1) << 39);
        else if (c == 'v' && strlen(optarg) < 128)
            w.returning = optarg;
        else if (c != 'l')
            exit(1);
        else if (!(w.log = fopen(optarg, "we")))
            bench_die("%s: %s", optarg, strerror(errno));
    }
    if (!w.log || optind == argc)
        bench_die("usage: bench-pg-writer --log=FILE [--rate=N] [--workers=N] [--timeout-ms=N] "
                  "[--connect-ms=N] [--first=ID] [--returning=SQL] NAME=DSN...");
    while (optind < argc)
        add_door(argv[optind++]);
    w.interval_ns = (int64_t)w.workers * BENCH_NS_PER_S / (int64_t)rate;
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    for (unsigned i = 0; i < w.doors * w.workers; i++)
        w.worker[i] = (struct worker){.door = i / w.workers, .state = WAITING};
    run();
    say_what_happened();
    fclose(w.log);
    return 0;
}
