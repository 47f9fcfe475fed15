/* bench/load_stats.h: what the load generator counts.
 *
 * Latencies go into a log-linear histogram (128 steps per power of two: under 1% off) and are
 * counted from the *scheduled* time of a request, so that a request which had to wait for a stalled
 * proxy shows that wait. Only requests inside of the measuring window are counted; the caller
 * decides which those are. No I/O but stats_print. */
#ifndef FULMAR_BENCH_LOAD_STATS_H
#define FULMAR_BENCH_LOAD_STATS_H

#include "bench.h"

#include <stdio.h>

enum outcome {
    OUTCOME_OK,
    OUTCOME_CONNECT,   /* no connection */
    OUTCOME_RESET,     /* closed or reset before the whole answer was there */
    OUTCOME_TIMEOUT,   /* no whole answer in time */
    OUTCOME_STATUS,    /* an answer, but not 2xx */
    OUTCOME_MALFORMED, /* not HTTP, or a body of another length than expected */
    OUTCOME_MISMATCH,  /* the answer to another request */
    OUTCOME_BACKLOG,   /* never sent: every connection was busy for too long */
    OUTCOMES
};

extern const char *const outcome_name[OUTCOMES];

enum { HIST_SUB_BITS = 7, HIST_BUCKETS = (64 - HIST_SUB_BITS + 1) << HIST_SUB_BITS };

struct hist {
    uint64_t count, max;
    double sum;
    uint64_t bucket[HIST_BUCKETS];
};

struct stats {
    uint64_t outcome[OUTCOMES];
    uint64_t status[600]; /* answers that were no success, by status code */
    struct hist latency;  /* of successes, from the scheduled time */
    struct hist lag;      /* from scheduled to sent: noise of the machine, waits for a connection */
    uint64_t slow;        /* successes slower than 100 ms */
    int64_t last_ok_ns, gap_ns, gap_at_ns;
    bool ended;
    uint64_t sent, connects, backlog_max; /* of the whole run, with its warm-up */
};

void stats_begin(struct stats *s, int64_t begin_ns);
void stats_success(struct stats *s, int64_t scheduled_ns, int64_t now);
void stats_failure(struct stats *s, enum outcome o, unsigned status);
void stats_lag(struct stats *s, int64_t lag_ns);
/* The end of the schedule closes the longest gap; successes that come later only count. */
void stats_end(struct stats *s, int64_t end_ns);
void stats_print(const struct stats *s, FILE *out, const char *mode, double seconds);

#endif
