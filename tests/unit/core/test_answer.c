/* The edge's half of authority. */
#include "test.h"

#include "core/answer.h"

static struct fm_authority_view view(uint64_t incarnation, uint64_t generation, uint64_t epoch)
{
    struct fm_authority_view v = {{incarnation}, {generation}, 1, {{{epoch}, {1}, 0, false}}};
    return v;
}

static void a_view_never_goes_back(void **state)
{
    (void)state;
    struct fm_authority_view v = {.ncells = 0}, next = view(1, 5, 3);
    assert_true(fm_view_adopt(&v, &next));
    assert_false(fm_view_adopt(&v, &next));
    next = view(1, 4, 4);
    assert_false(fm_view_adopt(&v, &next));
    next = view(1, 6, 2); /* newer as a whole, older for this cell */
    assert_true(fm_view_adopt(&v, &next));
    assert_int_equal(v.cell[0].epoch.n, 3);
    next = view(2, 1, 1); /* seeded anew */
    assert_true(fm_view_adopt(&v, &next));
    assert_int_equal(v.cell[0].epoch.n, 1);
    next = view(1, 99, 99);
    assert_false(fm_view_adopt(&v, &next));
}

static void a_success_of_an_epoch_that_ended_by_force_is_dropped(void **state)
{
    (void)state;
    struct fm_authority_view v = view(1, 1, 7);
    v.cell[0].gentle_from.n = 5;
    for (uint64_t e = 1; e < 10; e++)
        assert_int_equal(fm_answer_passes(&v.cell[0], (struct fm_epoch){e}), e >= 5);
}

static void a_command_is_held_within_bounds(void **state)
{
    (void)state;
    struct fm_held h = {.moving = true, .hold_ms = 1000, .held = 1, .held_max = 2};
    assert_int_equal(fm_hold_decide(&h), FM_HOLD_HOLD);
    h.held = 2;
    assert_int_equal(fm_hold_decide(&h), FM_HOLD_OVERLOADED);
    h.held_ms = 1000;
    assert_int_equal(fm_hold_decide(&h), FM_HOLD_WHEN_AWAY);
    h.client_gone = true;
    assert_int_equal(fm_hold_decide(&h), FM_HOLD_DROP);
    h = (struct fm_held){.view_newer = true, .hold_ms = 1000, .held_max = 2};
    assert_int_equal(fm_hold_decide(&h), FM_HOLD_SEND);
}

static void an_override_needs_the_regions_finding(void **state)
{
    (void)state;
    assert_int_equal(fm_when_away(FM_AWAY_OVERRIDE, false, false), FM_AWAY_REJECT);
    assert_int_equal(fm_when_away(FM_AWAY_OVERRIDE, true, false), FM_AWAY_OVERRIDE);
    assert_int_equal(fm_when_away(FM_AWAY_OVERRIDE, false, true), FM_AWAY_OVERRIDE);
    assert_int_equal(fm_when_away(FM_AWAY_QUEUE, false, false), FM_AWAY_QUEUE);
    for (unsigned i = 0; i < FM_HOLD_COUNT; i++)
        assert_true(strlen(fm_hold_name((enum fm_hold)i)) > 0);
    for (unsigned i = 0; i < FM_AWAY_COUNT; i++)
        assert_true(strlen(fm_away_name((enum fm_away)i)) > 0);
}

FM_TEST_MAIN(fm_test(a_view_never_goes_back),
             fm_test(a_success_of_an_epoch_that_ended_by_force_is_dropped),
             fm_test(a_command_is_held_within_bounds),
             fm_test(an_override_needs_the_regions_finding))
