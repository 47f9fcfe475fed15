/* Which gate of a region has a key: the same for everybody, whatever order the gates are listed in,
 * and as few keys as possible move when the list changes. */
#include "test.h"

#include "core/keygate.h"

#include <stdio.h>

enum { KEYS = 20000, MOST = 16 };

static char names[MOST][16];

static void make(struct fm_keygate *g, unsigned n)
{
    assert_true(n <= MOST);
    for (unsigned i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "west-gate-%u", i + 1);
        g[i].name = fm_str_z(names[i]);
        g[i].id = fm_keygate_id(g[i].name);
    }
}

static uint64_t key(unsigned i)
{
    char text[32];
    snprintf(text, sizeof text, "key-%u", i);
    return fm_keygate_key(FM_STR("ledger"), fm_str_z(text));
}

static void the_order_of_gates_does_not_matter(void **state)
{
    (void)state;
    struct fm_keygate g[5], turned[5];
    make(g, 5);
    for (unsigned shift = 1; shift < 5; shift++) {
        for (unsigned i = 0; i < 5; i++)
            turned[i] = g[(5 - i + shift) % 5];
        for (unsigned i = 0; i < KEYS; i++)
            assert_str(turned[fm_keygate_of(turned, 5, key(i))].name,
                       g[fm_keygate_of(g, 5, key(i))].name.p);
    }
}

static void every_gate_has_its_share(void **state)
{
    (void)state;
    struct fm_keygate g[MOST];
    make(g, MOST);
    for (unsigned n = 1; n <= MOST; n++) {
        unsigned of[MOST] = {0};
        for (unsigned i = 0; i < KEYS; i++)
            of[fm_keygate_of(g, n, key(i))]++;
        for (unsigned i = 0; i < n; i++) { /* the same keys each time: no chance is in it */
            assert_true(of[i] > KEYS / n * 8 / 10);
            assert_true(of[i] < KEYS / n * 12 / 10 + 1);
        }
    }
}

static void one_more_gate_takes_keys_and_moves_no_other(void **state)
{
    (void)state;
    struct fm_keygate g[MOST];
    make(g, MOST);
    for (unsigned n = 1; n < MOST; n++)
        for (unsigned i = 0; i < KEYS; i++) {
            unsigned was = fm_keygate_of(g, n, key(i)), is = fm_keygate_of(g, n + 1, key(i));
            assert_true(is == was || is == n);
        }
}

static void of_one_that_is_taken_out_only_its_keys_move(void **state)
{
    (void)state;
    struct fm_keygate g[4], left[3];
    make(g, 4);
    for (unsigned gone = 0; gone < 4; gone++) {
        unsigned moved = 0;
        for (unsigned i = 0, n = 0; i < 4; i++)
            if (i != gone)
                left[n++] = g[i];
        for (unsigned i = 0; i < KEYS; i++) {
            unsigned was = fm_keygate_of(g, 4, key(i)), is = fm_keygate_of(left, 3, key(i));
            moved += was == gone;
            if (was != gone)
                assert_ptr_equal(left[is].name.p, g[was].name.p);
        }
        assert_true(moved > 0);
    }
}

static void contexts_do_not_share_keys(void **state)
{
    (void)state;
    struct fm_keygate g[4];
    unsigned differ = 0;
    make(g, 4);
    for (unsigned i = 0; i < 1000; i++) {
        char text[32];
        snprintf(text, sizeof text, "key-%u", i);
        uint64_t a = fm_keygate_key(FM_STR("ledger"), fm_str_z(text));
        uint64_t b = fm_keygate_key(FM_STR("cards"), fm_str_z(text));
        assert_true(a != b);
        differ += fm_keygate_of(g, 4, a) != fm_keygate_of(g, 4, b);
    }
    assert_true(differ > 600 && differ < 900);
    assert_true(fm_keygate_key(FM_STR("ab"), FM_STR("c")) !=
                fm_keygate_key(FM_STR("a"), FM_STR("bc")));
}

/* Where ids collide the names decide, in whatever order they stand. */
static void a_tie_is_decided_by_name(void **state)
{
    (void)state;
    const struct fm_keygate ab[] = {{FM_STR_INIT("a"), 7}, {FM_STR_INIT("ab"), 7}};
    const struct fm_keygate ba[] = {{FM_STR_INIT("ab"), 7}, {FM_STR_INIT("a"), 7}};
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(fm_keygate_of(ab, 2, key(i)), 0);
        assert_int_equal(fm_keygate_of(ba, 2, key(i)), 1);
    }
}

/* Edges and gates of different versions have to agree: these never change. */
static void the_hashes_are_an_agreement(void **state)
{
    (void)state;
    struct fm_keygate g[3];
    make(g, 3);
    assert_true(fm_keygate_id(FM_STR("west-gate-1")) == UINT64_C(0xf6288a73b9c39b81));
    assert_true(fm_keygate_key(FM_STR("ledger"), FM_STR("key-1")) == UINT64_C(0xc902b1462738d2dc));
    static const unsigned expected[] = {2, 1, 2, 1, 1, 0, 1, 2};
    for (unsigned i = 0; i < FM_COUNT(expected); i++)
        assert_int_equal(fm_keygate_of(g, 3, key(i)), expected[i]);
}

static void a_gate_takes_its_own_keys_when_it_knows_enough(void **state)
{
    (void)state;
    assert_int_equal(fm_keygate_decide(1, 1, true), FM_KEYGATE_TAKE);
    assert_int_equal(fm_keygate_decide(1, 1, false), FM_KEYGATE_BEHIND);
    assert_int_equal(fm_keygate_decide(1, 0, true), FM_KEYGATE_OTHER);
    assert_int_equal(fm_keygate_decide(1, 0, false), FM_KEYGATE_OTHER);
    assert_string_equal(fm_keygate_name(FM_KEYGATE_TAKE), "take");
    assert_string_equal(fm_keygate_name(FM_KEYGATE_BEHIND), "behind");
}

FM_TEST_MAIN(fm_test(the_order_of_gates_does_not_matter), fm_test(every_gate_has_its_share),
             fm_test(one_more_gate_takes_keys_and_moves_no_other),
             fm_test(of_one_that_is_taken_out_only_its_keys_move),
             fm_test(contexts_do_not_share_keys), fm_test(a_tie_is_decided_by_name),
             fm_test(the_hashes_are_an_agreement),
             fm_test(a_gate_takes_its_own_keys_when_it_knows_enough))
