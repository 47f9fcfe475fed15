/* Who is keeper of a region. */
#include "test.h"

#include "core/office.h"

static const struct fm_office_config cfg = {{9}, {50}, 1000, 100};
static struct fm_office o;
static struct fm_mono now;

static struct fm_office_verdict step(struct fm_office_event e)
{
    struct fm_office_verdict v;
    fm_office_step(&o, &e, now, 0, &v);
    return v;
}

static struct fm_office_verdict saw(uint64_t revision, uint8_t agent, uint64_t incarnation,
                                    bool linear)
{
    return step((struct fm_office_event){
        .kind = FM_OFFICE_SEEN, .at = {{revision}, {{agent}, {incarnation}}}, .linear = linear});
}

static struct fm_office_verdict tick_after(int64_t ms)
{
    now = fm_mono_add_ms(now, ms);
    return step((struct fm_office_event){.kind = FM_OFFICE_TICK});
}

static void begin(void)
{
    now = (struct fm_mono){FM_NS_PER_S};
    fm_office_init(&o, &cfg, now);
}

static void an_empty_office_is_claimed_with_what_was_seen(void **state)
{
    (void)state;
    begin();
    assert_false(tick_after(5000).claim); /* nothing was read yet */
    saw(0, 0, 0, true);
    struct fm_office_verdict v = tick_after(1);
    assert_true(v.claim);
    assert_int_equal(v.txn.compare[0].revision.n, 0);
    assert_int_equal(v.txn.write[0].to.keeper.incarnation.n, 50);
    v = step((struct fm_office_event){.kind = FM_OFFICE_CLAIM_OVER, .revision = {7}});
    assert_true(v.changed && fm_office_is_keeper(&o));
}

static void a_keeper_that_gives_signs_is_left_alone(void **state)
{
    (void)state;
    begin();
    saw(5, 8, 3, true);
    for (unsigned i = 0; i < 20; i++) {
        assert_false(tick_after(900).claim);
        step((struct fm_office_event){.kind = FM_OFFICE_MOVED});
    }
    assert_true(tick_after(1000).claim);
    assert_false(tick_after(50).claim); /* one at a time */
    assert_true(tick_after(60).claim);
}

static void a_claim_of_unknown_outcome_is_settled_by_a_read(void **state)
{
    (void)state;
    begin();
    saw(5, 8, 3, true);
    assert_true(tick_after(1500).claim);
    step((struct fm_office_event){.kind = FM_OFFICE_CLAIM_OVER, .outcome = FM_TXN_UNKNOWN});
    assert_false(fm_office_is_keeper(&o));
    saw(6, 9, 50, false);
    assert_true(fm_office_is_keeper(&o));
    saw(7, 8, 4, false);
    assert_false(fm_office_is_keeper(&o));
}

static void an_earlier_life_in_office_may_still_act(void **state)
{
    (void)state;
    begin();
    saw(5, 9, 49, true);
    assert_false(o.resolved);
    assert_true(tick_after(1).claim); /* it is certainly gone: no wait */
    step((struct fm_office_event){.kind = FM_OFFICE_CLAIM_OVER, .revision = {6}});
    assert_true(o.resolved);
}

static void only_a_linearizable_read_says_that_no_earlier_life_acts(void **state)
{
    (void)state;
    begin();
    saw(5, 8, 3, false);
    assert_false(o.resolved);
    saw(5, 8, 3, true);
    assert_true(o.resolved);
}

static void nobody_takes_office_in_a_store_that_went_back(void **state)
{
    (void)state;
    begin();
    saw(5, 8, 3, true);
    now = fm_mono_add_ms(now, 5000);
    struct fm_office_event e = {.kind = FM_OFFICE_TICK, .frozen = true};
    assert_false(step(e).claim);
    e.frozen = false;
    assert_true(step(e).claim);
}

static void every_state_is_reached_and_left(void **state)
{
    (void)state;
    begin();
    saw(5, 8, 3, true);
    assert_int_equal(o.state, FM_OFFICE_DEPUTY);
    tick_after(2000);
    assert_int_equal(o.state, FM_OFFICE_CLAIMING);
    step((struct fm_office_event){.kind = FM_OFFICE_CLAIM_OVER, .revision = {6}});
    assert_int_equal(o.state, FM_OFFICE_KEEPER);
    step((struct fm_office_event){.kind = FM_OFFICE_RESEEDED});
    assert_int_equal(o.state, FM_OFFICE_DEPUTY);
    assert_false(o.seen || o.resolved);
    for (unsigned i = 0; i < FM_OFFICE_STATE_COUNT; i++)
        assert_true(strlen(fm_office_state_name((enum fm_office_state)i)) > 0);
}

FM_TEST_MAIN(fm_test(an_empty_office_is_claimed_with_what_was_seen),
             fm_test(a_keeper_that_gives_signs_is_left_alone),
             fm_test(a_claim_of_unknown_outcome_is_settled_by_a_read),
             fm_test(an_earlier_life_in_office_may_still_act),
             fm_test(only_a_linearizable_read_says_that_no_earlier_life_acts),
             fm_test(nobody_takes_office_in_a_store_that_went_back),
             fm_test(every_state_is_reached_and_left))
