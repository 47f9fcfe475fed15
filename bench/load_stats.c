/* The counts of the load generator and their JSON; see load_stats.h. */
#include "load_stats.h"

enum { SLOW_MS = 100 };

const char *const outcome_name[OUTCOMES] = {
    [OUTCOME_OK] = "ok",
    [OUTCOME_CONNECT] = "connect",
    [OUTCOME_RESET] = "reset",
    [OUTCOME_TIMEOUT] = "timeout",
    [OUTCOME_STATUS] = "status",
    [OUTCOME_MALFORMED] = "malformed",
    [OUTCOME_MISMATCH] = "mismatch",
    [OUTCOME_BACKLOG] = "backlog",
};

static unsigned bucket_of(uint64_t v)
{
    if (v < (1u << HIST_SUB_BITS))
        return (unsigned)v;
    unsigned shift = 63u - (unsigned)__builtin_clzll(v) - HIST_SUB_BITS;
    return ((shift + 1) << HIST_SUB_BITS) + (unsigned)((v >> shift) & ((1u << HIST_SUB_BITS) - 1));
}

/* The middle of a bucket: over many values its error cancels out. */
static double bucket_value(unsigned i)
{
    if (i < (1u << HIST_SUB_BITS))
        return i;
    unsigned shift = (i >> HIST_SUB_BITS) - 1;
    uint64_t low = (uint64_t)((i & ((1u << HIST_SUB_BITS) - 1)) + (1u << HIST_SUB_BITS)) << shift;
    return (double)low + (double)(UINT64_C(1) << shift) / 2;
}

static void hist_add(struct hist *h, int64_t ns)
{
    uint64_t v = ns > 0 ? (uint64_t)ns : 0;
    h->count++;
    h->sum += (double)v;
    h->bucket[bucket_of(v)]++;
    if (v > h->max)
        h->max = v;
}

static double hist_quantile(const struct hist *h, double q)
{
    double rank = q * (double)h->count;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen > 0 && (double)seen >= rank)
            return bucket_value(i) < (double)h->max ? bucket_value(i) : (double)h->max;
    }
    return 0;
}

void stats_begin(struct stats *s, int64_t begin_ns)
{
    s->last_ok_ns = begin_ns;
}

static void end_gap(struct stats *s, int64_t now)
{
    if (now - s->last_ok_ns > s->gap_ns) {
        s->gap_ns = now - s->last_ok_ns;
        s->gap_at_ns = s->last_ok_ns;
    }
    s->last_ok_ns = now;
}

void stats_success(struct stats *s, int64_t scheduled_ns, int64_t now)
{
    s->outcome[OUTCOME_OK]++;
    hist_add(&s->latency, now - scheduled_ns);
    s->slow += now - scheduled_ns > SLOW_MS * BENCH_NS_PER_MS;
    if (!s->ended)
        end_gap(s, now);
}

void stats_failure(struct stats *s, enum outcome o, unsigned status)
{
    s->outcome[o]++;
    if (o == OUTCOME_STATUS && status < sizeof s->status / sizeof s->status[0])
        s->status[status]++;
}

void stats_lag(struct stats *s, int64_t lag_ns)
{
    hist_add(&s->lag, lag_ns);
}

void stats_end(struct stats *s, int64_t end_ns)
{
    if (end_ns > s->last_ok_ns)
        end_gap(s, end_ns);
    s->ended = true;
}

static void print_hist(const struct hist *h, FILE *out, const char *name)
{
    static const struct {
        const char *name;
        double q;
    } points[] = {{"p50", 0.50}, {"p90", 0.90}, {"p99", 0.99}, {"p999", 0.999}};
    fprintf(out, ", \"%s_us\": {", name);
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        fprintf(out, "\"%s\": %.1f, ", points[i].name, hist_quantile(h, points[i].q) / 1e3);
    fprintf(out, "\"mean\": %.1f, ", h->count > 0 ? h->sum / (double)h->count / 1e3 : 0);
    fprintf(out, "\"max\": %.1f}", (double)h->max / 1e3);
}

static void print_failures(const struct stats *s, FILE *out)
{
    fputs(", \"failures\": {", out);
    for (unsigned i = OUTCOME_OK + 1; i < OUTCOMES; i++)
        fprintf(out, "%s\"%s\": %llu", i > 1 ? ", " : "", outcome_name[i],
                (unsigned long long)s->outcome[i]);
    fputs("}, \"status\": {", out);
    const char *comma = "";
    for (unsigned i = 0; i < sizeof s->status / sizeof s->status[0]; i++) {
        if (s->status[i] == 0)
            continue;
        fprintf(out, "%s\"%u\": %llu", comma, i, (unsigned long long)s->status[i]);
        comma = ", ";
    }
    fputc('}', out);
}

void stats_print(const struct stats *s, FILE *out, const char *mode, double seconds)
{
    uint64_t ok = s->outcome[OUTCOME_OK], failed = 0;
    for (unsigned i = OUTCOME_OK + 1; i < OUTCOMES; i++)
        failed += s->outcome[i];
    fprintf(out, "{\"event\": \"result\", \"mode\": \"%s\", \"seconds\": %.6f", mode, seconds);
    fprintf(out, ", \"requests\": %llu, \"ok\": %llu, \"failed\": %llu, \"ok_per_second\": %.1f",
            (unsigned long long)(ok + failed), (unsigned long long)ok, (unsigned long long)failed,
            (double)ok / seconds);
    print_failures(s, out);
    print_hist(&s->latency, out, "latency");
    print_hist(&s->lag, out, "send_lag");
    fprintf(out,
            ", \"slow_over_100ms\": %llu, \"longest_gap_ms\": %.3f, \"longest_gap_at_ns\": %lld",
            (unsigned long long)s->slow, (double)s->gap_ns / 1e6, (long long)s->gap_at_ns);
    fprintf(out, ", \"sent_with_warm_up\": %llu, \"connects\": %llu, \"backlog_max\": %llu}\n",
            (unsigned long long)s->sent, (unsigned long long)s->connects,
            (unsigned long long)s->backlog_max);
}
