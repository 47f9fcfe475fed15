/* bench-journal: durable idempotent commands per second through a journal, beside the fsync rate of
 * the device that it is on.
 *
 * Rounds alternate: the device alone (a block of a batch's size written to a file of its own, then
 * fdatasync, one after the other), then the journal, fed by the driver of its tests, which stands
 * in for a gate. A command counts when its intent *and* its outcome are durable. Clients in flight
 * wait for the intent, as a gate's do; with --strict for the outcome, too. */
#include "driver.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS_MAX = 31, BLOCK_MAX = 1 << 20 };

struct options {
    const char *dir;
    unsigned in_flight, rounds, seconds, body;
    bool json, strict;
};

struct round {
    double fsyncs, commands; /* per second */
};

static struct options o = {.dir = ".", .in_flight = 64, .rounds = 5, .seconds = 3, .body = 256};
static struct fm_hist to_intent, to_outcome; /* microseconds from the client's request */
static uint64_t refused;

_Noreturn static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench-journal: %s: %s\n", what, why);
    exit(1);
}

static double seconds_since(struct fm_mono t)
{
    return (double)fm_mono_sub_ns(fm_mono_now(), t) / 1e9;
}

/* -------- the device -------- */

/* As the write-ahead log does it: over a file that is there already, one block behind the other. */
static double device(size_t block)
{
    static char bytes[BLOCK_MAX];
    char path[PATH_MAX];
    const off_t size = 16 << 20;
    snprintf(path, sizeof path, "%s/bench-fsync", o.dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        die(path, strerror(errno));
    for (off_t at = 0; at < size; at += (off_t)sizeof bytes)
        if (pwrite(fd, bytes, sizeof bytes, at) != (ssize_t)sizeof bytes)
            die(path, strerror(errno));
    if (fsync(fd))
        die(path, strerror(errno));
    uint64_t n = 0;
    off_t at = 0;
    struct fm_mono start = fm_mono_now();
    while (seconds_since(start) < (double)o.seconds / 2) {
        bytes[n % sizeof bytes]++;
        if (pwrite(fd, bytes, block, at) != (ssize_t)block || fdatasync(fd))
            die(path, strerror(errno));
        at = at + 2 * (off_t)block > size ? 0 : at + (off_t)block;
        n++;
    }
    double rate = (double)n / seconds_since(start);
    close(fd);
    unlink(path);
    return rate;
}

/* -------- the journal -------- */

static void note(void *user, enum driver_event what, const struct driver_command *c)
{
    (void)user;
    uint64_t us = (uint64_t)(fm_mono_sub_ns(fm_mono_now(), c->began) / FM_NS_PER_US);
    if (what == DRIVER_INTENT)
        fm_hist_add(&to_intent, us);
    else if (what == DRIVER_OUTCOME)
        fm_hist_add(&to_outcome, us);
    else
        refused++;
}

static double run_journal(struct fm_journal *j, unsigned round)
{
    struct fm_pool pool;
    struct fm_loop loop;
    struct fm_error e;
    struct driver d;
    char prefix[32];
    snprintf(prefix, sizeof prefix, "%08x-0000-4000-8000-r%u", (unsigned)fm_wall_now_ns(), round);
    struct driver_options options = {.prefix = prefix,
                                     .in_flight = o.in_flight,
                                     .count = UINT64_MAX,
                                     .body = o.body,
                                     .strict = o.strict,
                                     .event = note};
    fm_pool_init(&pool, 1024, 1);
    if (fm_loop_init(&loop, &pool, &e) || driver_open(&d, &loop, j, &options, &e))
        die("cannot start", e.msg);
    struct fm_mono start = fm_mono_now();
    driver_start(&d);
    while (!driver_is_over(&d)) {
        fm_loop_turn(&loop, FM_NS_PER_S);
        if (seconds_since(start) >= o.seconds)
            driver_stop(&d); /* what is under way still ends, and counts with its time */
    }
    double rate = (double)d.ended / seconds_since(start);
    driver_close(&d);
    fm_loop_deinit(&loop);
    fm_pool_deinit(&pool);
    return rate;
}

static struct fm_journal *open_journal(char *path, size_t n)
{
    struct fm_error e;
    snprintf(path, n, "%s/bench-journal.db", o.dir);
    struct fm_journal *j =
        fm_journal_open(&(struct fm_journal_options){.path = path,
                                                     .service = "bench",
                                                     .retention_ms = INT64_C(24) * 3600 * 1000,
                                                     .calls_max = 100000,
                                                     .answer_max = 1 << 20,
                                                     .bytes_max = UINT64_C(1) << 40,
                                                     .queue_max = 1,
                                                     .queue_bytes_max = 1},
                        &e);
    if (!j)
        die("cannot open", e.msg);
    return j;
}

static void remove_files(const char *path)
{
    static const char *const suffix[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < FM_COUNT(suffix); i++) {
        char name[PATH_MAX + 8];
        snprintf(name, sizeof name, "%s%s", path, suffix[i]);
        unlink(name);
    }
}

/* -------- what came of it -------- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *v, unsigned n)
{
    double copy[ROUNDS_MAX];
    memcpy(copy, v, n * sizeof *v);
    qsort(copy, n, sizeof *copy, compare);
    return copy[n / 2];
}

struct figures {
    double fsyncs, commands, target, share, batch;
    double part[5]; /* of the thread's time, in percent */
    uint64_t intent[3], outcome[3], commit[3], checkpoints;
};

static const char *const part_name[5] = {"statements", "write and fsync the log",
                                         "tell the callers", "checkpoint", "nothing waits"};

static void quantiles(const struct fm_hist *h, uint64_t out[3])
{
    struct fm_hist_view v = {0};
    fm_hist_view_add(&v, h);
    out[0] = fm_hist_view_quantile(&v, 500);
    out[1] = fm_hist_view_quantile(&v, 990);
    out[2] = fm_hist_view_quantile(&v, 1000);
}

static struct figures figures_of(const struct round *r, unsigned n,
                                 const struct fm_journal_stats *s)
{
    struct figures f = {0};
    double v[ROUNDS_MAX];
    for (unsigned i = 0; i < n; i++)
        v[i] = r[i].fsyncs;
    f.fsyncs = median(v, n);
    for (unsigned i = 0; i < n; i++)
        v[i] = r[i].commands;
    f.commands = median(v, n);
    for (unsigned i = 0; i < n; i++) /* each round beside the device of its own time */
        v[i] = r[i].commands / (r[i].fsyncs * o.in_flight);
    f.share = median(v, n);
    f.target = 0.5 * o.in_flight * f.fsyncs;
    f.target = f.target < 50000 ? f.target : 50000;
    const struct fm_counter *part[5] = {&s->work_ns, &s->commit_ns, &s->post_ns, &s->checkpoint_ns,
                                        &s->idle_ns};
    double all = 0;
    for (unsigned i = 0; i < 5; i++)
        all += (double)fm_counter_get(part[i]);
    for (unsigned i = 0; i < 5; i++)
        f.part[i] = 100.0 * (double)fm_counter_get(part[i]) / all;
    f.batch = (double)fm_counter_get(&s->calls) / (double)fm_counter_get(&s->batches);
    f.checkpoints = fm_counter_get(&s->checkpoints);
    quantiles(&to_intent, f.intent);
    quantiles(&to_outcome, f.outcome);
    quantiles(&s->commit_us, f.commit);
    return f;
}

static void print_ms(const char *name, const uint64_t us[3])
{
    printf("  %-26s %8.2f %8.2f %8.2f ms\n", name, (double)us[0] / 1e3, (double)us[1] / 1e3,
           (double)us[2] / 1e3);
}

static void print_table(const struct figures *f, const struct round *r, unsigned n)
{
    printf("%u in flight, answers of %u bytes, %s, %u rounds of %u s in %s\n\n", o.in_flight,
           o.body, o.strict ? "clients wait for the outcome" : "clients wait for the intent", n,
           o.seconds, o.dir);
    printf("%8s %12s %14s %18s\n", "round", "fsyncs/s", "commands/s", "per fsync and slot");
    for (unsigned i = 0; i < n; i++)
        printf("%8u %12.0f %14.0f %18.2f\n", i + 1, r[i].fsyncs, r[i].commands,
               r[i].commands / (r[i].fsyncs * o.in_flight));
    printf("%8s %12.0f %14.0f %18.2f\n\n", "median", f->fsyncs, f->commands, f->share);
    printf("target: min(0.5 x %u x %.0f, 50000) = %.0f commands/s: %s\n\n", o.in_flight, f->fsyncs,
           f->target, f->commands >= f->target ? "met" : "MISSED");
    printf("The journal's thread, %.0f calls to a transaction, %llu checkpoints:\n", f->batch,
           (unsigned long long)f->checkpoints);
    for (unsigned i = 0; i < 5; i++)
        printf("  %-26s %7.1f%%\n", part_name[i], f->part[i]);
    printf("\n  %-26s %8s %8s %8s\n", "", "median", "p99", "most");
    print_ms("to a durable intent", f->intent);
    print_ms("to a durable outcome", f->outcome);
    print_ms("a commit", f->commit);
}

static void print_json(const struct figures *f, const struct round *r, unsigned n)
{
    printf("{\"schema\": \"fulmar.bench-journal/1\", \"in_flight\": %u, \"body_bytes\": %u, "
           "\"strict\": %s,\n \"rounds\": [",
           o.in_flight, o.body, o.strict ? "true" : "false");
    for (unsigned i = 0; i < n; i++)
        printf("%s\n  {\"fsyncs_per_s\": %.0f, \"commands_per_s\": %.0f}", i ? "," : "",
               r[i].fsyncs, r[i].commands);
    printf("],\n \"fsyncs_per_s\": %.0f, \"commands_per_s\": %.0f, \"share\": %.3f, "
           "\"target_per_s\": %.0f, \"met\": %s,\n \"calls_per_transaction\": %.1f, "
           "\"statements_percent\": %.1f, \"commit_percent\": %.1f, \"post_percent\": %.1f, "
           "\"checkpoint_percent\": %.1f, \"idle_percent\": %.1f,\n "
           "\"intent_us\": {\"p50\": %llu, \"p99\": %llu, \"max\": %llu}}\n",
           f->fsyncs, f->commands, f->share, f->target, f->commands >= f->target ? "true" : "false",
           f->batch, f->part[0], f->part[1], f->part[2], f->part[3], f->part[4],
           (unsigned long long)f->intent[0], (unsigned long long)f->intent[1],
           (unsigned long long)f->intent[2]);
}

/* -------- the command line -------- */

static unsigned number(const char *name, const char *text, unsigned least, unsigned most)
{
    uint64_t v;
    if (!text || !fm_str_u64(fm_str_z(text), &v) || v < least || v > most) {
        fprintf(stderr, "bench-journal: %s takes a number from %u to %u\n", name, least, most);
        exit(64);
    }
    return (unsigned)v;
}

static void parse(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
        bool takes = true;
        if (strcmp(a, "--dir") == 0 && v)
            o.dir = v;
        else if (strcmp(a, "--in-flight") == 0)
            o.in_flight = number(a, v, 1, 4096);
        else if (strcmp(a, "--rounds") == 0)
            o.rounds = number(a, v, 1, ROUNDS_MAX);
        else if (strcmp(a, "--seconds") == 0)
            o.seconds = number(a, v, 1, 600);
        else if (strcmp(a, "--body") == 0)
            o.body = number(a, v, 0, 1 << 19);
        else if (strcmp(a, "-o") == 0 && v && strcmp(v, "json") == 0)
            o.json = true;
        else {
            takes = false;
            if (strcmp(a, "--strict") == 0) {
                o.strict = true;
            } else if (strcmp(a, "--quick") == 0) {
                o.rounds = 3;
                o.seconds = 1;
            } else {
                fprintf(stderr, "usage: bench-journal [--dir DIR] [--in-flight N] [--rounds N] "
                                "[--seconds N] [--body BYTES] [--strict] [--quick] [-o json]\n");
                exit(64);
            }
        }
        i += takes;
    }
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    struct round r[ROUNDS_MAX];
    char path[PATH_MAX];
    /* what one transaction of these writes to the log, roughly: a page each for the places of its
     * keys, and what it appends */
    size_t block = (size_t)o.in_flight * (4096 + 256 + o.body);
    block = block < BLOCK_MAX ? block & ~(size_t)4095 : BLOCK_MAX;
    struct fm_journal *j = open_journal(path, sizeof path);
    for (unsigned i = 0; i < o.rounds; i++)
        r[i] = (struct round){.fsyncs = device(block), .commands = run_journal(j, i)};
    struct figures f = figures_of(r, o.rounds, fm_journal_stats(j));
    if (o.json)
        print_json(&f, r, o.rounds);
    else
        print_table(&f, r, o.rounds);
    fm_journal_close(j);
    remove_files(path);
    if (refused)
        fprintf(stderr, "bench-journal: %llu commands were refused\n", (unsigned long long)refused);
    return refused ? 2 : 0;
}
