/* Metrics in the Prometheus text format (exposition format 0.0.4). The names come from the table in
 * metrics.h and from the board. */
#include "proxy/status.h"

#include "base/assert.h"
#include "proxy/groups.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct text {
    char *p;
    size_t n, cap;
    bool failed;
    const char *role;
};

static void put(struct text *t, const char *fmt, ...) FM_PRINTF(2, 3);

static void put(struct text *t, const char *fmt, ...)
{
    FM_ASSERT(t->failed || t->n < t->cap);
    for (int again = 0; again < 2 && !t->failed; again++) {
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(t->p + t->n, t->cap - t->n, fmt, ap);
        va_end(ap);
        if (n < 0)
            break;
        if ((size_t)n < t->cap - t->n) {
            t->n += (size_t)n;
            return;
        }
        size_t cap = t->cap * 2 + (size_t)n;
        char *p = realloc(t->p, cap);
        if (!p)
            break;
        t->p = p;
        t->cap = cap;
    }
    t->failed = true;
}

static void head(struct text *t, const char *name, const char *type, const char *help)
{
    put(t, "# HELP fulmar_%s_%s %s\n# TYPE fulmar_%s_%s %s\n", t->role, name, help, t->role, name,
        type);
}

static void totals(struct text *t, const struct fm_director *d)
{
#define X(field, name, help)                                                                       \
    {                                                                                              \
        uint64_t sum = 0;                                                                          \
        for (unsigned w = 0; w < d->nworkers; w++)                                                 \
            sum += fm_counter_get(&d->workers[w].metrics.field);                                   \
        head(t, name, "counter", help);                                                            \
        put(t, "fulmar_%s_%s %llu\n", t->role, name, (unsigned long long)sum);                     \
    }
    FM_PROXY_METRICS(X)
#undef X
    head(t, "connections", "gauge", "Client connections open now");
    put(t, "fulmar_%s_connections %u\n", t->role, atomic_load(&d->connections));
    head(t, "view_generation", "gauge", "Generation of the routing view");
    put(t, "fulmar_%s_view_generation %llu\n", t->role, (unsigned long long)d->generation);
}

/* A gate speaks of its own region; of a witness, which serves nothing, there is nothing to say. */
static bool speaks_of(const struct fm_director *d, unsigned r)
{
    return !d->board->conf->regions[r].witness &&
           (d->config.mode == FM_PROXY_EDGE || r == d->config.self);
}

/* One gauge or counter per (region, context). */
static void per_slot(struct text *t, const struct fm_director *d, const char *name,
                     const char *type, const char *help,
                     unsigned long long (*value)(const struct fm_director *, unsigned, unsigned))
{
    head(t, name, type, help);
    for (unsigned r = 0; r < d->board->nregions; r++)
        for (unsigned c = 0; c < d->board->ncontexts; c++) {
            if (!speaks_of(d, r))
                continue;
            struct fm_str rn = d->board->conf->regions[r].name;
            struct fm_str cn = d->board->conf->contexts[c].name;
            put(t, "fulmar_%s_%s{region=\"%.*s\",context=\"%.*s\"} %llu\n", t->role, name,
                FM_STR_ARG(rn), FM_STR_ARG(cn), value(d, r, c));
        }
}

static unsigned long long share_of(const struct fm_director *d, unsigned r, unsigned c)
{
    return fm_board_share(atomic_load(&fm_board_slot(d->board, r, c)->word));
}

static unsigned long long intent_of(const struct fm_director *d, unsigned r, unsigned c)
{
    return atomic_load(&fm_board_slot(d->board, r, c)->serve);
}

static unsigned long long flying_of(const struct fm_director *d, unsigned r, unsigned c)
{
    return atomic_load(&fm_board_slot(d->board, r, c)->in_flight);
}

static unsigned long long sent_of(const struct fm_director *d, unsigned r, unsigned c)
{
    struct fm_board_sum s;
    fm_board_sum(d->board, r, c, &s);
    return s.sent;
}

static void outcomes(struct text *t, const struct fm_director *d)
{
    static const char *const name[FM_OUTCOME_COUNT] = {[FM_OUTCOME_OK] = "ok",
                                                       [FM_OUTCOME_ERROR] = "error",
                                                       [FM_OUTCOME_REFUSED] = "refused",
                                                       [FM_OUTCOME_CONNECT] = "connect",
                                                       [FM_OUTCOME_RESET] = "reset",
                                                       [FM_OUTCOME_TIMEOUT] = "timeout",
                                                       [FM_OUTCOME_CANCELLED] = "cancelled"};
    head(t, "outcomes_total", "counter", "What attempts came to");
    for (unsigned r = 0; r < d->board->nregions; r++)
        for (unsigned c = 0; c < d->board->ncontexts; c++) {
            if (!speaks_of(d, r))
                continue;
            struct fm_board_sum s;
            fm_board_sum(d->board, r, c, &s);
            struct fm_str rn = d->board->conf->regions[r].name;
            struct fm_str cn = d->board->conf->contexts[c].name;
            for (unsigned o = 0; o < FM_OUTCOME_COUNT; o++)
                put(t,
                    "fulmar_%s_outcomes_total{region=\"%.*s\",context=\"%.*s\",outcome=\"%s\"} "
                    "%llu\n",
                    t->role, FM_STR_ARG(rn), FM_STR_ARG(cn), name[o],
                    (unsigned long long)s.outcome[o]);
        }
}

static void answers(struct text *t, const struct fm_director *d)
{
    const struct fm_board *b = d->board;
    head(t, "answers_total", "counter", "Answers to clients by class of status");
    for (unsigned c = 0; c < b->ncontexts; c++)
        for (unsigned cls = 1; cls < 6; cls++) {
            uint64_t sum = 0;
            for (unsigned w = 0; w < b->nworkers; w++)
                sum += fm_counter_get(&b->context[w * b->ncontexts + c].status[cls]);
            put(t, "fulmar_%s_answers_total{context=\"%.*s\",class=\"%uxx\"} %llu\n", t->role,
                FM_STR_ARG(b->conf->contexts[c].name), cls, (unsigned long long)sum);
        }
}

/* Ten bounds between 100 us and 10 s out of the many of the log-linear histogram. */
static void latency(struct text *t, const struct fm_director *d, struct fm_hist_view *h)
{
    static const uint64_t bound_us[] = {100,   250,    500,    1000,    2500,    5000,    10000,
                                        25000, 100000, 250000, 1000000, 2500000, 10000000};
    const struct fm_board *b = d->board;
    head(t, "latency_seconds", "histogram",
         "From the arrival of a request to the end of its answer");
    for (unsigned c = 0; c < b->ncontexts; c++) {
        struct fm_str cn = b->conf->contexts[c].name;
        memset(h, 0, sizeof *h);
        for (unsigned w = 0; w < b->nworkers; w++)
            fm_hist_view_add(h, &b->context[w * b->ncontexts + c].latency_us);
        uint64_t sum = 0;
        unsigned i = 0;
        for (unsigned k = 0; k < FM_COUNT(bound_us); k++) {
            for (; i < FM_HIST_BUCKETS && fm_hist_upper(i) <= bound_us[k]; i++)
                sum += h->bucket[i];
            put(t, "fulmar_%s_latency_seconds_bucket{context=\"%.*s\",le=\"%g\"} %llu\n", t->role,
                FM_STR_ARG(cn), (double)bound_us[k] / 1e6, (unsigned long long)sum);
        }
        FM_ASSERT(sum <= h->count); /* buckets are cumulative */
        put(t,
            "fulmar_%s_latency_seconds_bucket{context=\"%.*s\",le=\"+Inf\"} %llu\n"
            "fulmar_%s_latency_seconds_sum{context=\"%.*s\"} %.6f\n"
            "fulmar_%s_latency_seconds_count{context=\"%.*s\"} %llu\n",
            t->role, FM_STR_ARG(cn), (unsigned long long)h->count, t->role, FM_STR_ARG(cn),
            (double)h->sum / 1e6, t->role, FM_STR_ARG(cn), (unsigned long long)h->count);
    }
}

char *fm_status_metrics(const struct fm_director *d, const char *role, size_t *n)
{
    FM_ASSERT(role && d->board);
    struct text t = {.p = malloc(16 * 1024), .cap = 16 * 1024, .role = role};
    struct fm_hist_view *h = calloc(1, sizeof *h);
    t.failed = !t.p || !h;
    if (!t.failed) {
        totals(&t, d);
        per_slot(&t, d, "health_share_permille", "gauge",
                 "Share of its traffic that a region may get: 0 is down, 1000 is well", share_of);
        per_slot(&t, d, "intent_serve_permille", "gauge",
                 "Share of its traffic that operators let a region have: 1000 is all", intent_of);
        per_slot(&t, d, "in_flight", "gauge", "Attempts under way", flying_of);
        per_slot(&t, d, "sent_total", "counter", "Attempts sent", sent_of);
        outcomes(&t, d);
        answers(&t, d);
        latency(&t, d, h);
        if (fm_groups_doors(d->groups) && !t.failed)
            t.failed = !fm_doors_metrics(fm_groups_doors(d->groups), &t.p, &t.n);
    }
    free(h);
    if (t.failed) {
        free(t.p);
        return NULL;
    }
    *n = t.n;
    return t.p;
}
