/* bench-core: nanoseconds per decision of src/core, on this machine, in one thread.
 *
 * Each case runs so many times that one sample takes about ten milliseconds; shown are the median
 * and the extremes of several samples. Inputs are drawn from a seeded generator and differ from
 * call to call, so that no branch is learnt by heart. */
#include "base/rand.h"
#include "core/breaker.h"
#include "core/exchange.h"
#include "core/health.h"
#include "core/latency.h"
#include "core/match.h"
#include "core/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SAMPLES_MAX = 101, INPUTS = 1024 };

static struct fm_rand dice = {20261121};

/* What was computed goes here, so that it has to be computed. */
static volatile uint64_t sink;

/* -------- routes -------- */

struct route_case {
    unsigned regions;
    enum fm_route_by by;
    bool sticky;
};

static void run_route(const void *arg, unsigned long n)
{
    const struct route_case *c = arg;
    struct fm_route_region r[FM_REGIONS_MAX];
    for (unsigned i = 0; i < c->regions; i++)
        r[i] = (struct fm_route_region){.id = fm_rand_u64(&dice),
                                        .priority = (uint16_t)(i + 1),
                                        .weight = (uint16_t)(10 + i),
                                        .serve = 1000,
                                        .share = 1000,
                                        .reachable = true,
                                        .latency_us = 10000 + 3000 * i,
                                        .last_ok = {FM_NS_PER_S}};
    struct fm_route_request q = {
        .by = c->by, .band_us = 20000, .repeatable = true, .sticky = c->sticky};
    for (unsigned long k = 0; k < n; k++) {
        struct fm_route_plan plan;
        q.random = fm_rand_u64(&dice);
        q.affinity = q.random >> 1;
        fm_route(r, c->regions, &q, &plan);
        sink += plan.region[0];
    }
}

/* -------- matching -------- */

struct match_case {
    unsigned routes;
    enum { SPREAD, ONE_PREFIX, MANY_HOSTS } shape;
};

enum { ROUTES_MAX = 1000, TEXT_MAX = 64 };

struct routes {
    struct fm_match_rule rule[ROUTES_MAX];
    struct fm_segment segment[ROUTES_MAX][4];
    char text[ROUTES_MAX][2][TEXT_MAX]; /* what the segment and the host are made of */
    char path[ROUTES_MAX][TEXT_MAX], host[ROUTES_MAX][TEXT_MAX];
};

static struct fm_str numbered(char *at, const char *before, unsigned i, const char *behind)
{
    int n = snprintf(at, TEXT_MAX, "%s%u%s", before, i, behind);
    return fm_str(at, (size_t)n);
}

/* /thing-N/{id}/parts, or /api/v1/thing-N/{id}, or the first under N host names; the queries fit.
 */
static void make_route(struct routes *t, unsigned i, const struct match_case *c)
{
    struct fm_segment *s = t->segment[i];
    struct fm_str thing = numbered(t->text[i][0], "thing-", i, "");
    bool prefix = c->shape == ONE_PREFIX;
    s[0] = (struct fm_segment){FM_SEGMENT_LITERAL, prefix ? FM_STR("api") : thing};
    s[1] = prefix ? (struct fm_segment){FM_SEGMENT_LITERAL, FM_STR("v1")}
                  : (struct fm_segment){.kind = FM_SEGMENT_NAMED};
    s[2] = (struct fm_segment){FM_SEGMENT_LITERAL, prefix ? thing : FM_STR("parts")};
    s[3] = (struct fm_segment){.kind = FM_SEGMENT_NAMED};
    bool hosts = c->shape == MANY_HOSTS;
    t->rule[i] = (struct fm_match_rule){
        .host = hosts ? numbered(t->text[i][1], "tenant-", i, ".example.com") : FM_STR(""),
        .segments = s,
        .nsegments = prefix ? 4 : 3,
        .route = i};
    numbered(t->path[i], prefix ? "/api/v1/thing-" : "/thing-", i,
             prefix ? "/4711" : "/4711/parts");
    numbered(t->host[i], hosts ? "Tenant-" : "api-", i, ".example.com");
}

static void run_match(const void *arg, unsigned long n)
{
    static struct routes t;
    const struct match_case *c = arg;
    for (unsigned i = 0; i < c->routes; i++)
        make_route(&t, i, c);
    void *mem = malloc(fm_match_size(t.rule, c->routes));
    if (!mem)
        abort();
    struct fm_hash_key key = {1, 2};
    struct fm_match *m = fm_match_build(mem, t.rule, c->routes, key);
    for (unsigned long k = 0; k < n; k++) {
        unsigned i = fm_rand_below(&dice, c->routes);
        struct fm_match_query q = {fm_str_z(t.host[i]), FM_STR("GET"), fm_str_z(t.path[i])};
        struct fm_match_result out;
        fm_match_find(m, &q, &out);
        if (!out.found || out.route != i)
            abort();
        sink += out.route;
    }
    free(mem);
}

static void run_match_build(const void *arg, unsigned long n)
{
    static struct routes t;
    const struct match_case *c = arg;
    for (unsigned i = 0; i < c->routes; i++)
        make_route(&t, i, c);
    void *mem = malloc(fm_match_size(t.rule, c->routes));
    if (!mem)
        abort();
    struct fm_hash_key key = {1, 2};
    for (unsigned long k = 0; k < n; k++)
        sink += fm_match_build(mem, t.rule, c->routes, key) != NULL;
    free(mem);
}

/* -------- one request -------- */

static void run_exchange(const void *arg, unsigned long n)
{
    bool fails_first = *(const bool *)arg;
    struct fm_route_plan plan = {.region = {0, 1}, .n = 2, .healthy = 2};
    struct fm_exchange_begin b = {.repeat = FM_REPEAT_SAFE,
                                  .hedging = true,
                                  .leave_region = true,
                                  .replayable = true,
                                  .other_regions = 2};
    for (unsigned long k = 0; k < n; k++) {
        struct fm_exchange x;
        struct fm_exchange_actions todo;
        struct fm_exchange_event e = {.kind = FM_EXCHANGE_BEGIN, .budget = true};
        fm_exchange_init(&x, &b, &plan);
        fm_exchange_step(&x, &e, &todo);
        e.kind = FM_EXCHANGE_SENT;
        fm_exchange_step(&x, &e, &todo);
        if (fails_first) {
            e.kind = FM_EXCHANGE_LOST;
            e.problem = FM_PROBLEM_CONNECTION_LOST;
            fm_exchange_step(&x, &e, &todo);
            e = (struct fm_exchange_event){.kind = FM_EXCHANGE_SENT, .attempt = 1, .budget = true};
            fm_exchange_step(&x, &e, &todo);
        }
        e.kind = FM_EXCHANGE_ANSWER;
        e.status = 200;
        fm_exchange_step(&x, &e, &todo);
        if (!x.relaying)
            abort();
        sink += todo.action[0].attempt;
    }
}

/* -------- the rest -------- */

static void run_health(const void *arg, unsigned long n)
{
    struct fm_health_event e = {
        .kind = *(const enum fm_health_event_kind *)arg, .ok = true, .counts = {.ok = 200}};
    struct fm_health_policy p = fm_health_policy_default;
    struct fm_mono now = {FM_NS_PER_S};
    struct fm_health h;
    fm_health_init(&h, now);
    for (unsigned long k = 0; k < n; k++) {
        now = fm_mono_add_ms(now, 20);
        sink += fm_health_step(&h, &p, &e, now, k).share;
    }
}

static void run_balance(const void *arg, unsigned long n)
{
    unsigned instances = *(const unsigned *)arg;
    struct fm_instance in[16];
    for (unsigned i = 0; i < instances; i++)
        in[i] = (struct fm_instance){
            .usable = true, .in_flight = fm_rand_below(&dice, 8), .share = 1000};
    for (unsigned long k = 0; k < n; k++)
        sink += (uint64_t)fm_balance(in, instances, fm_rand_u64(&dice));
}

static void run_latency(const void *arg, unsigned long n)
{
    (void)arg;
    int64_t ns[INPUTS];
    for (unsigned i = 0; i < INPUTS; i++)
        ns[i] = (int64_t)fm_rand_below(&dice, 50000) * 1000;
    struct fm_latency l = {0};
    for (unsigned long k = 0; k < n; k++)
        fm_latency_add(&l, ns[k % INPUTS]);
    sink += (uint64_t)l.p95_ns;
}

static void run_pace(const void *arg, unsigned long n)
{
    (void)arg;
    struct fm_mono last = {FM_NS_PER_S}, now = last;
    int64_t pace = 0;
    for (unsigned long k = 0; k < n; k++) {
        now = fm_mono_add_ns(last, (int64_t)fm_rand_below(&dice, 1000000));
        pace = fm_pace_ns(pace, last, now);
        last = now;
    }
    sink += (uint64_t)pace;
}

static void run_draw(const void *arg, unsigned long n)
{
    (void)arg;
    for (unsigned long k = 0; k < n; k++)
        sink += fm_rand_u64(&dice);
}

/* -------- measuring -------- */

#define ROUTE(n, by_, sticky_)                                                                     \
    run_route, &(struct route_case)                                                                \
    {                                                                                              \
        n, FM_ROUTE_##by_, sticky_                                                                 \
    }
#define MATCH(n, shape_)                                                                           \
    run_match, &(struct match_case)                                                                \
    {                                                                                              \
        n, shape_                                                                                  \
    }

static const struct {
    const char *name;
    void (*run)(const void *arg, unsigned long n);
    const void *arg;
} cases[] = {
    {"route  2 regions, priority", ROUTE(2, PRIORITY, false)},
    {"route  3 regions, priority", ROUTE(3, PRIORITY, false)},
    {"route  8 regions, priority", ROUTE(8, PRIORITY, false)},
    {"route  2 regions, latency", ROUTE(2, LATENCY, false)},
    {"route  3 regions, latency", ROUTE(3, LATENCY, false)},
    {"route  8 regions, latency", ROUTE(8, LATENCY, false)},
    {"route  2 regions, weight", ROUTE(2, WEIGHT, false)},
    {"route  3 regions, weight", ROUTE(3, WEIGHT, false)},
    {"route  8 regions, weight", ROUTE(8, WEIGHT, false)},
    {"route  2 regions, sticky", ROUTE(2, WEIGHT, true)},
    {"route  3 regions, sticky", ROUTE(3, WEIGHT, true)},
    {"route  8 regions, sticky", ROUTE(8, WEIGHT, true)},
    {"match  10 routes", MATCH(10, SPREAD)},
    {"match  100 routes", MATCH(100, SPREAD)},
    {"match  1000 routes", MATCH(1000, SPREAD)},
    {"match  10 routes, one prefix", MATCH(10, ONE_PREFIX)},
    {"match  100 routes, one prefix", MATCH(100, ONE_PREFIX)},
    {"match  1000 routes, one prefix", MATCH(1000, ONE_PREFIX)},
    {"match  10 routes, a host each", MATCH(10, MANY_HOSTS)},
    {"match  1000 routes, a host each", MATCH(1000, MANY_HOSTS)},
    {"match  build of 1000 routes", run_match_build, &(struct match_case){1000, ONE_PREFIX}},
    {"exchange  begin to relay", run_exchange, &(bool){false}},
    {"exchange  with a retry", run_exchange, &(bool){true}},
    {"health  traffic", run_health, &(enum fm_health_event_kind){FM_HEALTH_TRAFFIC}},
    {"health  probe", run_health, &(enum fm_health_event_kind){FM_HEALTH_PROBE}},
    {"health  tick", run_health, &(enum fm_health_event_kind){FM_HEALTH_TICK}},
    {"balance  2 instances", run_balance, &(unsigned){2}},
    {"balance  8 instances", run_balance, &(unsigned){8}},
    {"latency  add", run_latency, NULL},
    {"latency  pace", run_pace, NULL},
    {"(drawing a number)", run_draw, NULL},
};

static double now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static double time_of(size_t i, unsigned long n)
{
    double start = now_ns();
    cases[i].run(cases[i].arg, n);
    return now_ns() - start;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct figure {
    double median, least, most;
};

static struct figure measure(size_t i, unsigned samples)
{
    unsigned long n = 1;
    while (time_of(i, n) < 5e6 && n < 1ul << 30)
        n *= 2;
    double ns[SAMPLES_MAX];
    for (unsigned k = 0; k < samples; k++)
        ns[k] = time_of(i, n) / (double)n;
    qsort(ns, samples, sizeof *ns, compare);
    return (struct figure){ns[samples / 2], ns[0], ns[samples - 1]};
}

int main(int argc, char **argv)
{
    unsigned samples = 15;
    bool json = false;
    const char *only = "";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-o") == 0 && i + 1 < argc && strcmp(argv[i + 1], "json") == 0) {
            json = true;
            i++;
        } else if (strcmp(argv[i], "--quick") == 0) {
            samples = 3;
        } else if (argv[i][0] != '-') {
            only = argv[i];
        } else {
            fprintf(stderr, "usage: bench-core [--quick] [-o json] [WORD]\n");
            return 64;
        }
    }
    if (json)
        printf("{\"schema\": \"fulmar.bench-core/1\", \"ns_per_decision\": {");
    else
        printf("%-34s %9s %9s %9s   ns per decision, %u samples\n", "", "median", "least", "most",
               samples);
    const char *comma = "";
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        if (!strstr(cases[i].name, only))
            continue;
        struct figure f = measure(i, samples);
        if (json)
            printf("%s\n  \"%s\": {\"median\": %.1f, \"least\": %.1f, \"most\": %.1f}", comma,
                   cases[i].name, f.median, f.least, f.most);
        else
            printf("%-34s %9.1f %9.1f %9.1f\n", cases[i].name, f.median, f.least, f.most);
        comma = ",";
        fflush(stdout);
    }
    if (json)
        printf("\n}}\n");
    return 0;
}
