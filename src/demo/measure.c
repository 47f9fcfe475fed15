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

void fm_measure_clients(const struct fm_load_record *r, size_t first, size_t last, int64_t *scratch,
                        struct fm_measure *m)
{
    *m = (struct fm_measure){0};
    size_t ok = 0;
    FM_ASSERT(first <= last);
    for (size_t i = first; i < last; i++) {
        enum fm_load_outcome o = atomic_load_explicit(&r[i].outcome, memory_order_acquire);
        FM_ASSERT(o < FM_LOAD_OUTCOME_COUNT && (i == first || r[i].due_ns >= r[i - 1].due_ns));
        m->requests++;
        m->by_kind[o]++;
        if (o == FM_LOAD_OK) {
            int64_t took = r[i].done_ns - r[i].due_ns;
            m->slow += took > FM_MEASURE_SLOW_MS * FM_NS_PER_MS;
            m->worst_ns = took > m->worst_ns ? took : m->worst_ns;
            m->commands_acknowledged += r[i].command;
            scratch[ok++] = r[i].done_ns;
        } else {
            m->failed++;
            m->last_failed_ns = r[i].due_ns;
        }
    }
    FM_ASSERT(ok + m->failed == m->requests && m->requests == last - first);
    qsort(scratch, ok, sizeof *scratch, compare);
    int64_t before = last > first ? r[first].due_ns : 0;
    for (size_t i = 0; i < ok; i++) {
        if (scratch[i] - before > m->longest_gap_ns)
            m->longest_gap_ns = scratch[i] - before;
        before = scratch[i];
    }
    /* from the last success to the end of what was due */
    if (last > first && r[last - 1].due_ns - before > m->longest_gap_ns)
        m->longest_gap_ns = r[last - 1].due_ns - before;
}

void fm_measure_effects(const struct fm_load *l, size_t first, size_t last, const char *keys,
                        size_t keys_n, unsigned char *effects, struct fm_measure *m)
{
    char sample[40];
    FM_ASSERT(first <= last && last <= fm_load_count(l));
    fm_load_key(l, 0, sample);
    size_t prefix = strlen(sample) - 1; /* all but the number */
    memset(effects, 0, last);
    struct fm_str rest = fm_str(keys, keys_n);
    while (rest.n) {
        struct fm_str count, line = fm_str_cut(rest, '\n', &rest);
        struct fm_str key = fm_str_cut(line, ' ', &count);
        uint64_t i, n;
        if (key.n <= prefix || memcmp(key.p, sample, prefix) != 0 ||
            !fm_str_u64(fm_str(key.p + prefix, key.n - prefix), &i) || !fm_str_u64(count, &n) ||
            i >= last)
            continue;
        effects[i] = (unsigned char)fm_min_u64(n, 255);
    }
    const struct fm_load_record *r = fm_load_records(l);
    for (size_t i = first; i < last; i++) {
        bool acknowledged =
            r[i].command && atomic_load_explicit(&r[i].outcome, memory_order_acquire) == FM_LOAD_OK;
        m->commands_missing += acknowledged && effects[i] == 0;
        m->applied_twice += effects[i] > 1;
    }
    FM_ASSERT(m->commands_missing <= last - first && m->applied_twice <= last - first);
}
