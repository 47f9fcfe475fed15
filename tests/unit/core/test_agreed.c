/* Versions of what is agreed: which one counts, and what may replace it. */
#include "test.h"

#include "core/agreed.h"

static struct fm_agreed_mark mark(uint64_t generation, const char *digest)
{
    struct fm_agreed_mark m = {.generation = generation};
    strncpy(m.digest, digest, sizeof m.digest - 1);
    return m;
}

static void the_newest_version_counts(void **state)
{
    (void)state;
    static const struct {
        uint64_t known, seen;
        const char *known_digest, *seen_digest;
        bool writes;
        enum fm_agreed_step step;
    } cases[] = {
        {0, 0, "", "", true, FM_AGREED_FOUND},
        {0, 0, "", "", false, FM_AGREED_KEEP},
        {0, 1, "", "a", true, FM_AGREED_TAKE},
        {0, 7, "", "a", false, FM_AGREED_TAKE},
        {3, 3, "a", "a", true, FM_AGREED_KEEP},
        {3, 4, "a", "b", true, FM_AGREED_TAKE},
        {3, 4, "a", "a", false, FM_AGREED_TAKE},
        /* coordination shows less than it had shown: never back */
        {3, 2, "a", "b", true, FM_AGREED_GIVE},
        {3, 0, "a", "", true, FM_AGREED_GIVE},
        {3, 2, "a", "b", false, FM_AGREED_KEEP},
        {3, 0, "a", "", false, FM_AGREED_KEEP},
        /* two of one generation: one of them for everybody */
        {3, 3, "a", "b", true, FM_AGREED_TAKE},
        {3, 3, "a", "b", false, FM_AGREED_TAKE},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_agreed_mark known = mark(cases[i].known, cases[i].known_digest),
                              seen = mark(cases[i].seen, cases[i].seen_digest);
        assert_int_equal(fm_agreed_next(&known, &seen, cases[i].writes), cases[i].step);
    }
}

/* Whoever writes what the step says ends where the step says KEEP, for each agent. */
static void agents_end_with_the_same_version(void **state)
{
    (void)state;
    for (uint64_t a = 0; a < 4; a++)
        for (uint64_t b = 0; b < 4; b++)
            for (uint64_t s = 0; s < 4; s++) {
                struct fm_agreed_mark of[2] = {mark(a, a ? "a" : ""), mark(b, b ? "b" : "")};
                struct fm_agreed_mark store = mark(s, s ? "s" : "");
                for (unsigned round = 0; round < 8; round++) {
                    struct fm_agreed_mark *x = &of[round % 2];
                    uint64_t before = x->generation;
                    enum fm_agreed_step step = fm_agreed_next(x, &store, true);
                    if (step == FM_AGREED_FOUND)
                        store = mark(1, "f");
                    else if (step == FM_AGREED_GIVE)
                        store = *x;
                    else if (step == FM_AGREED_TAKE)
                        *x = store;
                    assert_true(x->generation >= before);
                }
                for (unsigned k = 0; k < 2; k++)
                    assert_int_equal(fm_agreed_next(&of[k], &store, true), FM_AGREED_KEEP);
            }
}

static void what_stands_against_it_is_said(void **state)
{
    (void)state;
    const struct fm_agreed_ask good = {.expected = 3, .valid = true, .holders = 1, .serving = 3};
    struct fm_agreed_mark known = mark(3, "a"), seen = known;
    struct fm_agreed_ask ask = good;
    assert_int_equal(fm_agreed_may_apply(&known, &seen, &ask), FM_AGREED_WHY_NONE);
    ask.holders = 4;
    assert_int_equal(fm_agreed_may_apply(&known, &seen, &ask), FM_AGREED_WHY_REGION_HOLDS);
    ask.valid = false;
    assert_int_equal(fm_agreed_may_apply(&known, &seen, &ask), FM_AGREED_WHY_INVALID);
    ask.busy = true;
    assert_int_equal(fm_agreed_may_apply(&known, &seen, &ask), FM_AGREED_WHY_BUSY);
    ask.expected = 2;
    assert_int_equal(fm_agreed_may_apply(&known, &seen, &ask), FM_AGREED_WHY_OVERTAKEN);
    seen = mark(4, "b");
    assert_int_equal(fm_agreed_may_apply(&known, &seen, &ask), FM_AGREED_WHY_UNSEEN);
    seen = mark(0, "");
    assert_int_equal(fm_agreed_may_apply(&known, &seen, &good), FM_AGREED_WHY_UNSEEN);
    for (unsigned w = 1; w < FM_AGREED_WHY_COUNT; w++)
        assert_true(fm_agreed_why_name((enum fm_agreed_why)w)[0] &&
                    fm_agreed_why_remedy((enum fm_agreed_why)w)[0]);
}

static void what_only_waits_until_data_are_open_is_in_nobodys_way(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 16; i++) {
        struct fm_agreed_op o = {.brings = i & 1, .there = i & 2, .open = i & 4, .known = i & 8};
        bool only_waits = o.brings && o.there && o.known && !o.open;
        assert_int_equal(fm_agreed_is_in_the_way(&o), !only_waits);
    }
}

FM_TEST_MAIN(fm_test(the_newest_version_counts), fm_test(agents_end_with_the_same_version),
             fm_test(what_stands_against_it_is_said),
             fm_test(what_only_waits_until_data_are_open_is_in_nobodys_way))
