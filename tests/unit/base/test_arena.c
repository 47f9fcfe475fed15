/* Arenas: bounded, aligned, zeroed, reset as a whole. */
#include "test.h"

#include "base/arena.h"

static void over_a_block_never_leaves_it(void **state)
{
    (void)state;
    char mem[256];
    struct fm_arena a;
    fm_arena_init(&a, mem, sizeof mem, 0);
    size_t got = 0;
    for (char *p; (p = fm_arena_alloc(&a, 24)); got++) {
        assert_true(p >= mem && p + 24 <= mem + sizeof mem);
        assert_int_equal((uintptr_t)p % 16, 0);
        memset(p, 0xff, 24);
    }
    assert_in_range(got, 6, 8);
    fm_arena_reset(&a);
    char *again = fm_arena_alloc(&a, 24);
    assert_non_null(again);
    for (int i = 0; i < 24; i++)
        assert_int_equal(again[i], 0);
    fm_arena_deinit(&a);
}

static void grows_up_to_its_cap(void **state)
{
    (void)state;
    struct fm_arena a;
    fm_arena_init(&a, NULL, 0, 64 * 1024);
    size_t total = 0;
    while (fm_arena_alloc(&a, 1000))
        total += 1000;
    assert_in_range(total, 48 * 1024, 64 * 1024);
    assert_null(fm_arena_alloc(&a, 64 * 1024));
    fm_arena_reset(&a);
    assert_non_null(fm_arena_alloc(&a, 60 * 1024));
    fm_arena_deinit(&a);
}

static void refuses_sizes_that_overflow(void **state)
{
    (void)state;
    struct fm_arena a;
    fm_arena_init(&a, NULL, 0, 1 << 20);
    assert_null(fm_arena_alloc(&a, SIZE_MAX));
    assert_null(fm_arena_alloc(&a, SIZE_MAX - 8));
    assert_null(fm_arena_array(&a, SIZE_MAX / 4, 8));
    assert_non_null(fm_arena_alloc(&a, 0));
    fm_arena_deinit(&a);
}

static void copies_and_formats(void **state)
{
    (void)state;
    struct fm_arena a;
    fm_arena_init(&a, NULL, 0, 1 << 20);
    struct fm_str s = fm_arena_str(&a, FM_STR("west"));
    assert_str(s, "west");
    assert_int_equal(s.p[4], 0);
    assert_string_equal(fm_arena_printf(&a, "%s-%d", "gate", 3), "gate-3");
    fm_arena_deinit(&a);
}

FM_TEST_MAIN(fm_test(over_a_block_never_leaves_it), fm_test(grows_up_to_its_cap),
             fm_test(refuses_sizes_that_overflow), fm_test(copies_and_formats))
