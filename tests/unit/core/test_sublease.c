/* The gate's half of authority. */
#include "test.h"

#include "core/sublease.h"

static struct fm_sublease s;
static struct fm_mono now;

static void begin(void)
{
    fm_sublease_init(&s, 1, 2, 10000);
    now = (struct fm_mono){100 * FM_NS_PER_S};
}

static void grant_asked(int64_t asked_ns, uint64_t epoch, int32_t ms, bool closed)
{
    struct fm_epoch epochs[2] = {{epoch}, {epoch}};
    struct fm_grant g = {
        .asked_ns = asked_ns, .ms = ms, .closed = closed, .cells = 3, .epochs = epochs};
    fm_sublease_granted(&s, &g, now);
}

/* By a keeper that has heard nothing yet. */
static void grant_unheard(uint64_t epoch, int32_t ms)
{
    struct fm_epoch epochs[2] = {{epoch}, {epoch}};
    struct fm_grant g = {.asked_ns = now.ns,
                         .ms = ms,
                         .closed = true,
                         .unheard = true,
                         .cells = 3,
                         .epochs = epochs};
    fm_sublease_granted(&s, &g, now);
}

static void grant(uint64_t epoch, int32_t ms)
{
    grant_asked(now.ns, epoch, ms, false);
}

static enum fm_admit ask(const struct fm_command *c)
{
    struct fm_gate_now at = {s.region, s.read_only, now};
    bool higher;
    enum fm_admit verdict = fm_sublease_admit(&s.cell[c->cell], c, &at, &higher);
    if (higher)
        fm_sublease_heard(&s, c->cell, c->epoch);
    return verdict;
}

static enum fm_admit admit(uint64_t epoch)
{
    struct fm_command c = {.cell = 0, .epoch = {epoch}, .left_ns = FM_NS_PER_S};
    return ask(&c);
}

static void a_grant_counts_from_its_request(void **state)
{
    (void)state;
    begin();
    grant_asked(now.ns - 500 * FM_NS_PER_MS, 5, 1000, false);
    assert_int_equal(admit(5), FM_ADMIT_YES);
    now = fm_mono_add_ms(now, 489);
    assert_int_equal(admit(5), FM_ADMIT_YES);
    now = fm_mono_add_ms(now, 2);
    assert_int_equal(admit(5), FM_ADMIT_MOVING);
    assert_false(fm_sublease_may_relay(&s.cell[0], (struct fm_epoch){5}, now));
}

static void only_the_granted_epoch_is_admitted(void **state)
{
    (void)state;
    begin();
    assert_int_equal(admit(5), FM_ADMIT_MOVING);
    grant(5, 1000);
    assert_int_equal(admit(4), FM_ADMIT_NOT_HOLDER);
    assert_int_equal(admit(0), FM_ADMIT_YES);
    assert_true(fm_sublease_may_relay(&s.cell[0], (struct fm_epoch){5}, now));
    assert_false(fm_sublease_may_relay(&s.cell[0], (struct fm_epoch){4}, now));
}

static void a_higher_epoch_makes_it_hold(void **state)
{
    (void)state;
    begin();
    grant(5, 1000);
    assert_int_equal(admit(6), FM_ADMIT_MOVING);
    assert_int_equal(admit(5), FM_ADMIT_MOVING); /* it remembers */
    grant(5, 1000);
    assert_int_equal(admit(5), FM_ADMIT_MOVING); /* from a keeper that does not know yet */
    grant(6, 1000);
    assert_int_equal(admit(6), FM_ADMIT_YES);
}

static void a_view_says_who_takes_it(void **state)
{
    (void)state;
    begin();
    grant(5, 1000);
    fm_sublease_saw(&s, 0, (struct fm_epoch){6}, 2);
    assert_int_equal(admit(6), FM_ADMIT_NOT_HOLDER);
    fm_sublease_saw(&s, 0, (struct fm_epoch){5}, 1); /* an old one */
    assert_int_equal(admit(6), FM_ADMIT_NOT_HOLDER);
    fm_sublease_saw(&s, 0, (struct fm_epoch){6}, FM_NOBODY); /* released */
    assert_int_equal(admit(6), FM_ADMIT_MOVING);
}

static void what_was_stopped_is_not_taken_up_again(void **state)
{
    (void)state;
    begin();
    grant(5, 1000);
    struct fm_epoch epochs[2] = {{5}, {5}};
    assert_int_equal(fm_sublease_stop(&s, 1, epochs), 1);
    assert_int_equal(admit(5), FM_ADMIT_MOVING);
    assert_int_equal(fm_sublease_stopped(&s), 1);
    grant(5, 1000);
    assert_int_equal(admit(5), FM_ADMIT_MOVING);
    grant(6, 1000);
    assert_int_equal(admit(6), FM_ADMIT_YES);
    assert_int_equal(fm_sublease_stopped(&s), 0);
}

static void new_commands_are_held_for_a_while(void **state)
{
    (void)state;
    begin();
    grant(5, 1000);
    fm_sublease_quiet(&s, 1, 300, now);
    assert_int_equal(admit(5), FM_ADMIT_MOVING);
    assert_true(
        fm_sublease_may_relay(&s.cell[0], (struct fm_epoch){5}, now)); /* what is in flight ends */
    now = fm_mono_add_ms(now, 301);
    assert_int_equal(admit(5), FM_ADMIT_YES);
    fm_sublease_quiet(&s, 1, 300, now);
    fm_sublease_quiet(&s, 1, 0, now);
    assert_int_equal(admit(5), FM_ADMIT_YES);
}

static bool may_relay(uint64_t epoch)
{
    return fm_sublease_may_relay(&s.cell[0], (struct fm_epoch){epoch}, now);
}

static void a_closed_grant_lets_no_command_begin(void **state)
{
    (void)state;
    begin();
    grant_asked(now.ns, 5, 1000, true);
    assert_int_equal(admit(5), FM_ADMIT_MOVING);
    assert_int_equal(admit(0), FM_ADMIT_MOVING);
    assert_true(fm_sublease_live(&s.cell[0], (struct fm_epoch){5}, now)); /* for a database */
    now = fm_mono_add_ms(now, 10);
    grant(5, 1000);
    assert_int_equal(admit(5), FM_ADMIT_YES);
    now = fm_mono_add_ms(now, 10);
    grant_asked(now.ns, 5, 1000, true); /* its primary starts again */
    assert_int_equal(admit(5), FM_ADMIT_MOVING);
    assert_true(may_relay(5)); /* what is in flight ends */
    grant(6, 1000);
    assert_int_equal(admit(6), FM_ADMIT_YES);
}

static void a_keeper_that_has_just_begun_closes_nothing(void **state)
{
    (void)state;
    begin();
    grant_unheard(5, 1000); /* this gate was told nothing either */
    assert_int_equal(admit(5), FM_ADMIT_MOVING);
    grant(5, 1000);
    now = fm_mono_add_ms(now, 10);
    grant_unheard(5, 1000);
    assert_int_equal(admit(5), FM_ADMIT_YES);
    now = fm_mono_add_ms(now, 10);
    grant_asked(now.ns, 5, 1000, true); /* it has heard */
    assert_int_equal(admit(5), FM_ADMIT_MOVING);
    now = fm_mono_add_ms(now, 10);
    grant_unheard(5, 1000);
    assert_int_equal(admit(5), FM_ADMIT_MOVING);
    grant_asked(now.ns, 5, 1000, false);
    assert_int_equal(admit(5), FM_ADMIT_YES);
    grant_unheard(6, 1000); /* another epoch */
    assert_int_equal(admit(6), FM_ADMIT_MOVING);
    now = fm_mono_add_ms(now, 10);
    grant(6, 1000);
    assert_int_equal(admit(6), FM_ADMIT_YES);
    now = fm_mono_add_ms(now, 1000); /* longer than the sub-lease, and that of a database */
    grant_unheard(6, 1000);
    assert_int_equal(admit(6), FM_ADMIT_MOVING);
}

/* What it says later of what was asked before counts, for it has said nothing. */
static void who_says_nothing_has_not_spoken_last(void **state)
{
    (void)state;
    begin();
    grant(5, 1000);
    now = fm_mono_add_ms(now, 10);
    int64_t early = now.ns;
    now = fm_mono_add_ms(now, 10);
    grant_unheard(5, 1000);
    grant_asked(early, 5, 1000, true);
    assert_int_equal(admit(5), FM_ADMIT_MOVING);
}

static void the_word_that_was_asked_for_last_counts(void **state)
{
    (void)state;
    begin();
    int64_t early = now.ns;
    now = fm_mono_add_ms(now, 10);
    grant(5, 1000);
    grant_asked(early, 5, 1000, true); /* it was overtaken on its way */
    assert_int_equal(admit(5), FM_ADMIT_YES);
    grant_asked(early, 6, 1000, true); /* not of what it says of another epoch */
    assert_int_equal(admit(6), FM_ADMIT_MOVING);
    grant_asked(early, 6, 1000, false);
    assert_int_equal(admit(6), FM_ADMIT_YES);
}

static void what_waited_past_its_deadline_is_dropped(void **state)
{
    (void)state;
    begin();
    grant(5, 1000);
    struct fm_command c = {.epoch = {5}, .left_ns = 1000, .age_ns = 999};
    assert_int_equal(ask(&c), FM_ADMIT_YES);
    c.age_ns = 1000;
    assert_int_equal(ask(&c), FM_ADMIT_DEADLINE);
    c.age_ns = -1;
    assert_int_equal(ask(&c), FM_ADMIT_DEADLINE);
}

static void a_gate_that_was_frozen_parses_nothing_that_waited(void **state)
{
    (void)state;
    assert_true(fm_sublease_parses(199 * FM_NS_PER_MS));
    assert_false(fm_sublease_parses(200 * FM_NS_PER_MS));
}

static void read_only_refuses_commands(void **state)
{
    (void)state;
    begin();
    grant(5, 1000);
    s.read_only = true;
    assert_int_equal(admit(5), FM_ADMIT_READ_ONLY);
    for (unsigned i = 0; i < FM_ADMIT_COUNT; i++)
        assert_true(strlen(fm_admit_name((enum fm_admit)i)) > 0);
}

FM_TEST_MAIN(fm_test(a_grant_counts_from_its_request), fm_test(only_the_granted_epoch_is_admitted),
             fm_test(a_higher_epoch_makes_it_hold), fm_test(a_view_says_who_takes_it),
             fm_test(what_was_stopped_is_not_taken_up_again),
             fm_test(new_commands_are_held_for_a_while),
             fm_test(a_closed_grant_lets_no_command_begin),
             fm_test(a_keeper_that_has_just_begun_closes_nothing),
             fm_test(who_says_nothing_has_not_spoken_last),
             fm_test(the_word_that_was_asked_for_last_counts),
             fm_test(what_waited_past_its_deadline_is_dropped),
             fm_test(a_gate_that_was_frozen_parses_nothing_that_waited),
             fm_test(read_only_refuses_commands))
