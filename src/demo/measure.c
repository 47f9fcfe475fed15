/* Measuring: see the header. */
#include "demo/measure.h"

#include "base/assert.h"
#include "base/str.h"

#include <stdatomic.h>
#include <stdlib.h>

static int compare(const void *x, const void *y)
{
    const int64_t *a = x, *b = y;
    return (*a > *b) - (*a < *b);
}

static void count_exclusive(const struct fm_load_record *r, bool ok, struct fm_measure *m)
{
    FM_ASSERT(r->kind == FM_LOAD_EXCLUSIVE);
    m->exclusive++;
    m->exclusive_failed += !ok;
    m->exclusive_refused += r->status == 503;
    m->exclusive_unknown += r->status == 504;
    int64_t took = r->done_ns - r->due_ns;
    if (ok && took > m->longest_pause_ns)
        m->longest_pause_ns = took;
}

static void count_gap(int64_t from, int64_t to, struct fm_measure *m)
{
    if (to - from <= m->longest_gap_ns)
        return;
    m->longest_gap_ns = to - from;
    m->longest_gap_at_ns = from;
}

/* The gap is from success to success, and to the end of what was due. */
static void find_gap(const struct fm_load_record *r, size_t first, size_t last, int64_t *done,
                     size_t n, struct fm_measure *m)
{
    FM_ASSERT(n <= last - first);
    qsort(done, n, sizeof *done, compare);
    int64_t before = last > first ? r[first].due_ns : 0;
    for (size_t i = 0; i < n; i++) {
        count_gap(before, done[i], m);
        before = done[i];
    }
    if (last > first)
        count_gap(before, r[last - 1].due_ns, m);
}

void fm_measure_clients(const struct fm_load_record *r, size_t first, size_t last, int64_t *scratch,
                        struct fm_measure *m)
{
    *m = (struct fm_measure){0};
    size_t n = 0;
    FM_ASSERT(first <= last);
    for (size_t i = first; i < last; i++) {
        enum fm_load_outcome o = atomic_load_explicit(&r[i].outcome, memory_order_acquire);
        FM_ASSERT(o < FM_LOAD_OUTCOME_COUNT && (i == first || r[i].due_ns >= r[i - 1].due_ns));
        bool ok = o == FM_LOAD_OK;
        m->requests++;
        m->by_outcome[o]++;
        m->failed += !ok;
        if (!ok)
            m->last_failed_ns = r[i].due_ns;
        m->commands_acknowledged += ok && r[i].kind != FM_LOAD_QUERY;
        if (r[i].kind == FM_LOAD_EXCLUSIVE) {
            count_exclusive(&r[i], ok, m);
        } else if (ok) {
            int64_t took = r[i].done_ns - r[i].due_ns;
            m->slow += took > FM_MEASURE_SLOW_MS * FM_NS_PER_MS;
            m->worst_ns = took > m->worst_ns ? took : m->worst_ns;
            scratch[n++] = r[i].done_ns;
        }
    }
    FM_ASSERT(n + m->exclusive <= m->requests && m->requests == last - first);
    find_gap(r, first, last, scratch, n, m);
}

void fm_measure_keys(const struct fm_load *l, size_t last, struct fm_str keys,
                     unsigned char *effects)
{
    char sample[40];
    FM_ASSERT(last <= fm_load_count(l));
    fm_load_key(l, 0, sample);
    size_t prefix = strlen(sample) - 1; /* all but the number */
    struct fm_str rest = keys;
    while (rest.n) {
        struct fm_str count, line = fm_str_cut(rest, '\n', &rest);
        struct fm_str key = fm_str_cut(line, ' ', &count);
        uint64_t i, n;
        if (key.n <= prefix || memcmp(key.p, sample, prefix) != 0 ||
            !fm_str_u64(fm_str(key.p + prefix, key.n - prefix), &i) || !fm_str_u64(count, &n) ||
            i >= last)
            continue;
        effects[i] = (unsigned char)fm_min_u64(effects[i] + fm_min_u64(n, 255), 255);
    }
}

void fm_measure_effects(const struct fm_load *l, size_t first, size_t last,
                        const unsigned char *effects, struct fm_measure *m)
{
    const struct fm_load_record *r = fm_load_records(l);
    FM_ASSERT(first <= last && last <= fm_load_count(l));
    for (size_t i = first; i < last; i++) {
        bool acknowledged = r[i].kind != FM_LOAD_QUERY &&
                            atomic_load_explicit(&r[i].outcome, memory_order_acquire) == FM_LOAD_OK;
        bool missing = acknowledged && effects[i] == 0;
        m->commands_missing += missing;
        m->applied_twice += effects[i] > 1;
        m->debits_acknowledged += r[i].debit && acknowledged;
        m->debits_missing += r[i].debit && missing;
        m->debits_there += r[i].debit ? effects[i] : 0;
    }
    FM_ASSERT(m->commands_missing <= last - first && m->applied_twice <= last - first);
    FM_ASSERT(m->debits_missing <= m->debits_acknowledged);
}
