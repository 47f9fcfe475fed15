/* The block pool: bounded, last in first out, lazily mapped. */
#include "test.h"

#include "io/pool.h"

static void gives_blocks_up_to_its_bound(void **state)
{
    (void)state;
    struct fm_pool p;
    struct fm_block *b[100];
    fm_pool_init(&p, 1000, FM_COUNT(b));
    assert_int_equal(p.blocks, 0);
    for (size_t i = 0; i < FM_COUNT(b); i++) {
        b[i] = fm_pool_get(&p);
        assert_non_null(b[i]);
        assert_int_equal(b[i]->size, 1000);
        assert_int_equal(b[i]->n, 0);
        memset(b[i]->data, (int)i, 1000);
        b[i]->n = 1000;
    }
    assert_null(fm_pool_get(&p));
    assert_int_equal(p.in_use, FM_COUNT(b));
    for (size_t i = 0; i < FM_COUNT(b); i++) {
        for (size_t j = 0; j < 1000; j++)
            assert_int_equal((unsigned char)b[i]->data[j], i);
        fm_pool_put(&p, b[i]);
    }
    assert_int_equal(p.in_use, 0);
    assert_int_equal(p.blocks, FM_COUNT(b));
    fm_pool_deinit(&p);
}

static void gives_the_warmest_block_first(void **state)
{
    (void)state;
    struct fm_pool p;
    fm_pool_init(&p, 16 * 1024, 64);
    struct fm_block *a = fm_pool_get(&p), *b = fm_pool_get(&p);
    a->n = 5;
    fm_pool_put(&p, b);
    fm_pool_put(&p, a);
    assert_ptr_equal(fm_pool_get(&p), a);
    assert_int_equal(a->n, 0);
    assert_null(a->next);
    assert_ptr_equal(fm_pool_get(&p), b);
    fm_pool_put(&p, a);
    fm_pool_put(&p, b);
    fm_pool_deinit(&p);
}

static void takes_any_size(void **state)
{
    (void)state;
    static const size_t size[] = {1, 63, 64, 4096, 300 * 1024};
    for (size_t i = 0; i < FM_COUNT(size); i++) {
        struct fm_pool p;
        fm_pool_init(&p, size[i], 3);
        struct fm_block *b[3];
        for (size_t j = 0; j < FM_COUNT(b); j++) {
            b[j] = fm_pool_get(&p);
            assert_non_null(b[j]);
            assert_int_equal((uintptr_t)b[j] % _Alignof(struct fm_block), 0);
            memset(b[j]->data, 1, size[i]);
        }
        assert_null(fm_pool_get(&p));
        for (size_t j = 0; j < FM_COUNT(b); j++)
            fm_pool_put(&p, b[j]);
        fm_pool_deinit(&p);
    }
}

static void a_bound_of_nothing_gives_nothing(void **state)
{
    (void)state;
    struct fm_pool p;
    fm_pool_init(&p, 100, 0);
    assert_null(fm_pool_get(&p));
    fm_pool_deinit(&p);
}

FM_TEST_MAIN(fm_test(gives_blocks_up_to_its_bound), fm_test(gives_the_warmest_block_first),
             fm_test(takes_any_size), fm_test(a_bound_of_nothing_gives_nothing))
