/* Commands at the wrong region's gate: every case. */
#include "test.h"

#include "core/onward.h"

enum { WEST, NORTH };

static const struct fm_sublease_cell held_by_north = {.known = {7}, .holder = NORTH};

static struct fm_onward_case a_case(void)
{
    return (struct fm_onward_case){
        .route = true, .admit = FM_ADMIT_NOT_HOLDER, .said = {7}, .region = WEST};
}

static bool goes(const struct fm_onward_case *c, const struct fm_sublease_cell *cell)
{
    uint8_t to = FM_NOBODY;
    struct fm_epoch epoch = {0};
    bool yes = fm_onward_goes(c, cell, &to, &epoch);
    assert_int_equal(to, yes ? cell->holder : FM_NOBODY);
    assert_int_equal(epoch.n, yes ? cell->known.n : 0);
    return yes;
}

static void goes_to_the_holder_under_its_epoch(void **state)
{
    (void)state;
    struct fm_onward_case c = a_case();
    assert_true(goes(&c, &held_by_north));
    c.said.n = 0; /* it came from a client that knows of no epochs */
    assert_true(goes(&c, &held_by_north));
}

static void only_where_the_route_says_so(void **state)
{
    (void)state;
    struct fm_onward_case c = a_case();
    c.route = false;
    assert_false(goes(&c, &held_by_north));
}

static void once(void **state)
{
    (void)state;
    struct fm_onward_case c = a_case();
    c.relayed = true;
    assert_false(goes(&c, &held_by_north));
}

/* Of what else a gate can say, nothing is about another region. */
static void only_what_another_region_takes(void **state)
{
    (void)state;
    for (unsigned a = 0; a < FM_ADMIT_COUNT; a++) {
        struct fm_onward_case c = a_case();
        c.admit = (enum fm_admit)a;
        assert_int_equal(goes(&c, &held_by_north), a == FM_ADMIT_NOT_HOLDER);
    }
}

static void only_to_another_region_that_holds_it(void **state)
{
    (void)state;
    struct fm_onward_case c = a_case();
    struct fm_sublease_cell cell = held_by_north;
    cell.holder = WEST; /* another epoch was refused here */
    assert_false(goes(&c, &cell));
    cell.holder = FM_NOBODY; /* it moves */
    assert_false(goes(&c, &cell));
    cell = (struct fm_sublease_cell){.holder = NORTH}; /* nothing was ever heard of it */
    c.said.n = 0;
    assert_false(goes(&c, &cell));
}

/* What may have been executed under an epoch is not sent under another one (rule 20). */
static void under_no_other_epoch_than_it_was_tried_under(void **state)
{
    (void)state;
    struct fm_onward_case c = a_case();
    c.said.n = 6;
    assert_false(goes(&c, &held_by_north));
    c.said.n = 8;
    assert_false(goes(&c, &held_by_north));
}

static void a_success_of_an_epoch_that_has_ended_is_none(void **state)
{
    (void)state;
    assert_true(fm_onward_passes(&held_by_north, (struct fm_epoch){7}));
    assert_true(fm_onward_passes(&held_by_north, (struct fm_epoch){8}));
    assert_false(fm_onward_passes(&held_by_north, (struct fm_epoch){6}));
}

static void edges_go_round_a_region_that_they_do_not_hear(void **state)
{
    (void)state;
    const struct fm_view_cell held = {.epoch = {7}, .region = NORTH};
    const struct fm_round_case yes = {.route = true, .away = true, .unheard = true};
    struct fm_round_case c;
    assert_true(fm_onward_round(&yes, &held));
    c = yes, c.route = false;
    assert_false(fm_onward_round(&c, &held));
    c = yes, c.away = false;
    assert_false(fm_onward_round(&c, &held));
    c = yes, c.unheard = false; /* it says that it is not well: a failover may help, a way not */
    assert_false(fm_onward_round(&c, &held));
    c = yes, c.elsewhere = true;
    assert_false(fm_onward_round(&c, &held));
    c = yes, c.in_vain = true;
    assert_false(fm_onward_round(&c, &held));
    assert_false(fm_onward_round(&yes, &(struct fm_view_cell){.epoch = {7}, .released = true}));
    assert_false(fm_onward_round(&yes, &(struct fm_view_cell){.released = true}));
    assert_false(fm_onward_round(&yes, &(struct fm_view_cell){.region = NORTH}));
}

FM_TEST_MAIN(fm_test(goes_to_the_holder_under_its_epoch), fm_test(only_where_the_route_says_so),
             fm_test(once), fm_test(only_what_another_region_takes),
             fm_test(only_to_another_region_that_holds_it),
             fm_test(under_no_other_epoch_than_it_was_tried_under),
             fm_test(a_success_of_an_epoch_that_has_ended_is_none),
             fm_test(edges_go_round_a_region_that_they_do_not_hear))
