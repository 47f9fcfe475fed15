/* At most once: every case. */
#include "test.h"

#include "core/once.h"

static void every_case_is_decided(void **state)
{
    (void)state;
    static const struct {
        struct fm_once_case c;
        enum fm_once wanted;
    } cases[] = {
        {{FM_ENTRY_NONE, false, false, {0}, {3}}, FM_ONCE_FORWARD},
        {{FM_ENTRY_NONE, false, false, {3}, {3}}, FM_ONCE_FORWARD}, /* the journals were shipped */
        {{FM_ENTRY_NONE, false, false, {2}, {3}}, FM_ONCE_UNKNOWN}, /* ended by force: who knows? */
        {{FM_ENTRY_NONE, false, true, {2}, {3}}, FM_ONCE_FORWARD},
        {{FM_ENTRY_INTENT, true, false, {0}, {1}}, FM_ONCE_IN_FLIGHT},
        {{FM_ENTRY_INTENT, true, true, {0}, {1}}, FM_ONCE_IN_FLIGHT},
        {{FM_ENTRY_INTENT, false, false, {0}, {1}}, FM_ONCE_UNKNOWN},
        {{FM_ENTRY_INTENT, false, true, {0}, {1}}, FM_ONCE_FORWARD},
        {{FM_ENTRY_DONE, false, false, {1}, {3}}, FM_ONCE_REPLAY},
        {{FM_ENTRY_DONE, false, true, {1}, {3}}, FM_ONCE_REPLAY},
        {{FM_ENTRY_UNKNOWN, false, false, {0}, {1}}, FM_ONCE_UNKNOWN},
        {{FM_ENTRY_UNKNOWN, false, true, {0}, {1}}, FM_ONCE_FORWARD},
    };
    for (unsigned i = 0; i < FM_COUNT(cases); i++)
        if (fm_once_decide(&cases[i].c) != cases[i].wanted)
            fail_msg("case %u: %s", i, fm_once_name(fm_once_decide(&cases[i].c)));
    for (unsigned i = 0; i < FM_ENTRY_COUNT; i++)
        assert_true(strlen(fm_entry_name((enum fm_entry)i)) > 0);
    for (unsigned i = 0; i < FM_ONCE_COUNT; i++)
        assert_true(strlen(fm_once_name((enum fm_once)i)) > 0);
}

static void nothing_is_forwarded_before_its_intent_is_durable(void **state)
{
    (void)state;
    assert_true(fm_once_may_forward(true));
    assert_false(fm_once_may_forward(false));
}

FM_TEST_MAIN(fm_test(every_case_is_decided),
             fm_test(nothing_is_forwarded_before_its_intent_is_durable))
