/* Draining one of several. */
#include "test.h"

#include "core/drain.h"

static void every_case_is_decided(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 16; bits++) {
        struct fm_drain_case c = {.left = bits & 1 ? 2 : 0,
                                  .holds = bits >> 1 & 1,
                                  .gate = bits >> 2 & 1,
                                  .keyed = bits >> 3 & 1};
        if (c.keyed && !c.gate)
            continue;
        enum fm_drain_verdict wanted = c.holds && !c.left ? FM_DRAIN_LAST
                                       : c.keyed          ? FM_DRAIN_ONE_GATE
                                                          : FM_DRAIN_FINE;
        if (fm_drain_judge(&c) != wanted)
            fail_msg("case %u: `%s`", bits, fm_drain_rule(fm_drain_judge(&c)));
    }
    assert_string_equal(fm_drain_rule(FM_DRAIN_FINE), "");
    assert_string_equal(fm_drain_rule(FM_DRAIN_LAST), "last-instance");
    assert_string_equal(fm_drain_rule(FM_DRAIN_ONE_GATE), "one-gate-a-key");
}

static void the_rest_is_a_share_of_the_region(void **state)
{
    (void)state;
    static const struct {
        unsigned serve, left, all, wanted;
    } cases[] = {
        {1000, 2, 2, 1000}, {1000, 1, 2, 500},  {1000, 0, 2, 0}, {600, 1, 3, 200},
        {0, 1, 2, 0},       {1000, 0, 0, 1000}, /* what is not counted is not missed */
        {1, 1, 2, 1},                           /* a little is not nothing */
    };
    for (unsigned i = 0; i < FM_COUNT(cases); i++)
        assert_int_equal(fm_drain_share(cases[i].serve, cases[i].left, cases[i].all),
                         cases[i].wanted);
}

FM_TEST_MAIN(fm_test(every_case_is_decided), fm_test(the_rest_is_a_share_of_the_region))
