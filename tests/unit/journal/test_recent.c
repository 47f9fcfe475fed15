/* The table of the newest keys: nothing is lost among neighbours, and slices are in order. */
#include "test.h"

#include "base/hash.h"
#include "journal/recent.h"

enum { MAX = 1024 };

static struct fm_recent table;

static int setup(void **state)
{
    (void)state;
    return fm_recent_init(&table, MAX) ? 0 : 1;
}

static int teardown(void **state)
{
    (void)state;
    fm_recent_deinit(&table);
    return 0;
}

static int64_t hash_of(uint64_t n)
{
    return (int64_t)fm_mix64(n + 1);
}

static unsigned count(int64_t hash, uint64_t number)
{
    unsigned n = 0;
    struct fm_recent_walk w = fm_recent_walk(&table, hash);
    for (uint64_t found; (found = fm_recent_next(&table, &w)) != 0;)
        n += found == number;
    return n;
}

static void a_full_table_finds_each_key_once_and_no_other(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < MAX; i++)
        fm_recent_add(&table, hash_of(i), i + 1);
    for (uint64_t i = 0; i < MAX; i++)
        assert_int_equal(count(hash_of(i), i + 1), 1);
    for (uint64_t i = MAX; i < 2 * MAX; i++) {
        struct fm_recent_walk w = fm_recent_walk(&table, hash_of(i));
        assert_int_equal(fm_recent_next(&table, &w), 0);
    }
    fm_recent_clear(&table);
    assert_int_equal(table.used, 0);
    assert_int_equal(count(hash_of(0), 1), 0);
}

/* One hash has several numbers, at the end of the table so that they go on at its beginning. */
static void neighbours_and_equal_hashes_survive_what_is_dropped_between_them(void **state)
{
    (void)state;
    const int64_t last = INT64_MAX, before = INT64_MAX - 1;
    for (uint64_t i = 1; i <= 10; i++)
        fm_recent_add(&table, i % 2 ? last : before, i);
    assert_true(fm_recent_drop(&table, last, 3));
    assert_true(fm_recent_drop(&table, before, 2));
    assert_false(fm_recent_drop(&table, last, 3));
    assert_false(fm_recent_drop(&table, last, 4)); /* of the other hash */
    for (uint64_t i = 1; i <= 10; i++)
        assert_int_equal(count(i % 2 ? last : before, i), i != 2 && i != 3);
}

static void slices_are_the_whole_table_in_the_order_of_hashes(void **state)
{
    (void)state;
    unsigned inside = 0, all = 0;
    int64_t behind = INT64_MIN;
    for (uint64_t i = 0; i < MAX; i++)
        fm_recent_add(&table, hash_of(i), i + 1);
    assert_true(fm_recent_drop(&table, hash_of(7), 8));
    assert_true(table.slices > 1);
    for (uint32_t i = 0; i < table.slices; i++) {
        int64_t first, last;
        uint32_t n;
        fm_recent_range(&table, i, &first, &last);
        assert_true(first == behind && last > first); /* no hash is in none, or in two */
        behind = last + (i + 1 < table.slices);
        const struct fm_recent_slot *slot = fm_recent_slice(&table, i, &n);
        for (uint32_t k = 0; k < n; k++) {
            bool there = slot[k].number && slot[k].number != FM_RECENT_DROPPED;
            all += there;
            inside += there && slot[k].hash >= first && slot[k].hash <= last;
        }
    }
    assert_true(behind == INT64_MAX);
    assert_int_equal(all, MAX - 1);
    assert_true(inside > MAX * 9 / 10);
}

static void the_smallest_one_holds_one(void **state)
{
    (void)state;
    struct fm_recent one;
    int64_t first, last;
    assert_true(fm_recent_init(&one, 1));
    fm_recent_add(&one, -5, 9);
    struct fm_recent_walk w = fm_recent_walk(&one, -5);
    assert_int_equal(fm_recent_next(&one, &w), 9);
    fm_recent_range(&one, 0, &first, &last);
    assert_true(one.slices == 2 && first == INT64_MIN && last == -1);
    fm_recent_deinit(&one);
}

#define with_table(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_table(a_full_table_finds_each_key_once_and_no_other),
             with_table(neighbours_and_equal_hashes_survive_what_is_dropped_between_them),
             with_table(slices_are_the_whole_table_in_the_order_of_hashes),
             fm_test(the_smallest_one_holds_one))
