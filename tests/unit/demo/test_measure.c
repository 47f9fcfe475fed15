/* What clients noticed, out of records made by hand. Times in ms here. */
#include "test.h"

#include "demo/measure.h"

enum { N = 64 };

static struct fm_load_record record[N];
static int64_t scratch[N];
static struct fm_measure m;

static void put(unsigned i, int64_t due_ms, int64_t took_ms, enum fm_load_outcome o)
{
    record[i] = (struct fm_load_record){.due_ns = due_ms * FM_NS_PER_MS,
                                        .done_ns = (due_ms + took_ms) * FM_NS_PER_MS,
                                        .outcome = (uint8_t)o};
}

static void measure(size_t first, size_t last)
{
    fm_measure_clients(record, first, last, scratch, &m);
}

static void nothing_is_nothing(void **state)
{
    (void)state;
    measure(3, 3);
    assert_memory_equal(&m, &(struct fm_measure){0}, sizeof m);
}

static void a_steady_stream_has_small_gaps(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++)
        put(i, 10 * i, 2, FM_LOAD_OK);
    record[4].kind = record[9].kind = FM_LOAD_COMMAND;
    measure(0, 10);
    assert_int_equal(m.requests, 10);
    assert_int_equal(m.failed, 0);
    assert_int_equal(m.last_failed_ns, 0);
    assert_int_equal(m.by_outcome[FM_LOAD_OK], 10);
    assert_int_equal(m.commands_acknowledged, 2);
    assert_int_equal(m.longest_gap_ns, 10 * FM_NS_PER_MS);
    assert_int_equal(m.worst_ns, 2 * FM_NS_PER_MS);
    assert_int_equal(m.slow, 0);
}

static void a_gap_is_between_answers_in_the_order_they_came(void **state)
{
    (void)state;
    put(0, 0, 50, FM_LOAD_OK);  /* at 50 */
    put(1, 10, 5, FM_LOAD_OK);  /* at 15 */
    put(2, 20, 10, FM_LOAD_OK); /* at 30 */
    put(3, 60, 13, FM_LOAD_OK); /* at 73 */
    measure(0, 4);
    assert_int_equal(m.longest_gap_ns, 23 * FM_NS_PER_MS);
    assert_int_equal(m.longest_gap_at_ns, record[3].done_ns - 23 * FM_NS_PER_MS);
    assert_int_equal(m.worst_ns, 50 * FM_NS_PER_MS);
}

static void a_gap_at_the_beginning_or_the_end_is_one_too(void **state)
{
    (void)state;
    put(0, 0, 40, FM_LOAD_OK);
    put(1, 10, 31, FM_LOAD_OK);
    measure(0, 2);
    assert_int_equal(m.longest_gap_ns, 40 * FM_NS_PER_MS);
    put(0, 0, 1, FM_LOAD_OK);
    put(1, 10, 1000, FM_LOAD_TIMEOUT);
    put(2, 70, 1000, FM_LOAD_TIMEOUT);
    measure(0, 3);
    assert_int_equal(m.longest_gap_ns, 69 * FM_NS_PER_MS);
    assert_int_equal(m.longest_gap_at_ns, record[0].done_ns);
    measure(1, 3); /* no success at all */
    assert_int_equal(m.longest_gap_ns, 60 * FM_NS_PER_MS);
}

static void failures_are_counted_by_kind(void **state)
{
    (void)state;
    static const enum fm_load_outcome kinds[] = {FM_LOAD_RESET,   FM_LOAD_OK, FM_LOAD_RESET,
                                                 FM_LOAD_TIMEOUT, FM_LOAD_OK, FM_LOAD_STATUS_5XX,
                                                 FM_LOAD_PENDING, FM_LOAD_OK};
    for (unsigned i = 0; i < FM_COUNT(kinds); i++)
        put(i, 10 * i, 1, kinds[i]);
    record[2].kind = record[4].kind = FM_LOAD_COMMAND; /* one of them was not acknowledged */
    measure(0, FM_COUNT(kinds));
    assert_int_equal(m.failed, 5);
    assert_int_equal(m.by_outcome[FM_LOAD_RESET], 2);
    assert_int_equal(m.by_outcome[FM_LOAD_TIMEOUT], 1);
    assert_int_equal(m.by_outcome[FM_LOAD_STATUS_5XX], 1);
    assert_int_equal(m.by_outcome[FM_LOAD_PENDING], 1); /* never answered is failed, too */
    assert_int_equal(m.last_failed_ns, 60 * FM_NS_PER_MS);
    assert_int_equal(m.commands_acknowledged, 1);
}

static void slow_is_over_100_ms_from_when_it_was_due(void **state)
{
    (void)state;
    put(0, 0, 100, FM_LOAD_OK);
    put(1, 10, 101, FM_LOAD_OK);
    put(2, 20, 5000, FM_LOAD_TIMEOUT); /* failed, not slow */
    measure(0, 3);
    assert_int_equal(m.slow, 1);
    assert_int_equal(m.worst_ns, 101 * FM_NS_PER_MS);
}

static void only_the_asked_range_counts(void **state)
{
    (void)state;
    put(0, 0, 9000, FM_LOAD_TIMEOUT);
    put(1, 10, 1, FM_LOAD_OK);
    put(2, 20, 1, FM_LOAD_OK);
    put(3, 30, 9000, FM_LOAD_RESET);
    measure(1, 3);
    assert_int_equal(m.requests, 2);
    assert_int_equal(m.failed, 0);
}

/* A region that takes over late is not hidden behind what the others answer, nor is theirs behind
 * what waits. */
static void commands_of_one_region_are_measured_apart(void **state)
{
    (void)state;
    put(0, 0, 1, FM_LOAD_OK);
    put(1, 10, 2300, FM_LOAD_OK);
    put(2, 20, 1, FM_LOAD_OK);
    put(3, 30, 2100, FM_LOAD_OK);
    put(4, 40, 1, FM_LOAD_OK);
    put(5, 50, 9000, FM_LOAD_STATUS_5XX);
    put(6, 60, 9000, FM_LOAD_TIMEOUT);
    record[1].kind = record[3].kind = record[5].kind = record[6].kind = FM_LOAD_EXCLUSIVE;
    record[5].status = 503;
    measure(0, 7);
    assert_int_equal(m.longest_pause_ns, 2300 * FM_NS_PER_MS);
    assert_int_equal(m.exclusive, 4);
    assert_int_equal(m.exclusive_failed, 2);
    assert_int_equal(m.exclusive_refused, 1);
    assert_int_equal(m.exclusive_unknown, 0);
    assert_int_equal(m.failed, 2);
    assert_int_equal(m.commands_acknowledged, 2);
    assert_int_equal(m.slow, 0);
    assert_int_equal(m.worst_ns, 1 * FM_NS_PER_MS);
    assert_int_equal(m.longest_gap_ns, 20 * FM_NS_PER_MS);
}

FM_TEST_MAIN(fm_test(nothing_is_nothing), fm_test(a_steady_stream_has_small_gaps),
             fm_test(a_gap_is_between_answers_in_the_order_they_came),
             fm_test(a_gap_at_the_beginning_or_the_end_is_one_too),
             fm_test(failures_are_counted_by_kind),
             fm_test(slow_is_over_100_ms_from_when_it_was_due),
             fm_test(only_the_asked_range_counts),
             fm_test(commands_of_one_region_are_measured_apart))
