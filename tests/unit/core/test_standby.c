/* The app of a region that stands by: its table, and what is never done to it. */
#include "test.h"

#include "base/rand.h"
#include "core/standby.h"

static const struct fm_standby_policy p = {
    .ready_ms = 1000, .linger_ms = 100, .check_ms = 50, .retry_ms = 200};
static struct fm_standby s;
static struct fm_standby_facts x;
static struct fm_mono now;

static void begin(void)
{
    now = (struct fm_mono){FM_NS_PER_S};
    x = (struct fm_standby_facts){.holder_well = true};
    fm_standby_init(&s, now);
}

static struct fm_standby_verdict on(enum fm_standby_event e)
{
    return fm_standby_step(&s, &p, &x, e, now);
}

static struct fm_standby_verdict after(int64_t ms)
{
    now = fm_mono_add_ms(now, ms);
    return on(FM_STANDBY_ON_LOOK);
}

static void an_outage(void)
{
    x.holder_well = false;
    x.engaged = true;
}

static void start(void)
{
    an_outage();
    assert_int_equal(after(0).action, FM_STANDBY_DO_NOTE);
    x.recorded = true;
    assert_int_equal(after(0).action, FM_STANDBY_DO_START);
    on(FM_STANDBY_ON_ENDED_WELL);
    x.capable = true;
    assert_int_equal(after(0).to, FM_STANDBY_WARM);
}

static void the_wish_follows_from_who_holds_and_what_is_prepared(void **state)
{
    static const struct {
        struct fm_standby_facts facts;
        enum fm_standby_wish wish;
    } cases[] = {
        {{.holder_well = true}, FM_STANDBY_OFF},
        {{.holder_well = false}, FM_STANDBY_LEAVE},
        {{.stood_down = true}, FM_STANDBY_OFF},
        {{.holder_well = true, .promised = true}, FM_STANDBY_LEAVE},
        {{.stood_down = true, .promised = true}, FM_STANDBY_LEAVE},
        {{.engaged = true}, FM_STANDBY_ON},
        {{.engaged = true, .holder_well = true}, FM_STANDBY_ON},
        {{.holds = true, .holder_well = true, .stood_down = true}, FM_STANDBY_ON},
        {{.home = true, .engaged = true}, FM_STANDBY_LEAVE},
        {{.home = true, .holder_well = true}, FM_STANDBY_LEAVE},
    };
    (void)state;
    for (unsigned i = 0; i < FM_COUNT(cases); i++)
        assert_int_equal(fm_standby_wish(&cases[i].facts), cases[i].wish);
}

static void replication_is_broken_where_it_is_prepared_and_nowhere_else(void **state)
{
    static const struct {
        struct fm_standby_facts facts;
        enum fm_standby_wish wish;
    } cases[] = {
        {{.holder_well = true}, FM_STANDBY_OFF},
        {{.holder_well = false}, FM_STANDBY_LEAVE},
        {{.stood_down = true}, FM_STANDBY_OFF},
        {{.recorded = true}, FM_STANDBY_LEAVE}, /* a keeper that knows nothing yet */
        {{.recorded = true, .promised = true, .holder_well = true}, FM_STANDBY_OFF},
        {{.prepared = true, .engaged = true}, FM_STANDBY_LEAVE}, /* it is being recorded */
        {{.prepared = true, .engaged = true, .recorded = true}, FM_STANDBY_ON},
        {{.prepared = true, .engaged = true, .recorded = true, .holder_well = true}, FM_STANDBY_ON},
        {{.prepared = true, .engaged = true, .recorded = true, .promised = true}, FM_STANDBY_ON},
        {{.prepared = true, .engaged = true, .recorded = true, .moves = true}, FM_STANDBY_OFF},
        {{.prepared = true, .engaged = true, .recorded = true, .holds = true}, FM_STANDBY_OFF},
        {{.engaged = true, .recorded = true}, FM_STANDBY_OFF}, /* it goes home from here */
        {{.home = true, .prepared = true, .engaged = true, .recorded = true}, FM_STANDBY_OFF},
    };
    (void)state;
    for (unsigned i = 0; i < FM_COUNT(cases); i++)
        if (fm_standby_wish_apart(&cases[i].facts) != cases[i].wish)
            fail_msg("case %u", i);
}

static struct fm_standby_link link_of;

static enum fm_standby_link_state link_after(int64_t ms, enum fm_standby_wish wish, bool apart,
                                             bool counts)
{
    uint8_t was = link_of.is;
    now = fm_mono_add_ms(now, ms);
    bool changed = fm_standby_link_look(
        &link_of, wish, (struct fm_standby_seen){.apart = apart, .counts = counts}, 1000, now);
    assert_int_equal(changed, was != link_of.is);
    if (changed)
        assert_int_equal(link_of.since.ns, now.ns);
    return (enum fm_standby_link_state)link_of.is;
}

static void it_is_not_restored_before_a_node_counts_again(void **state)
{
    (void)state;
    begin();
    link_of = (struct fm_standby_link){.known = false};
    fm_standby_link_begin(&link_of, FM_STANDBY_LINK_FOLLOWS, now);
    for (unsigned i = 0; i < FM_STANDBY_LINK_COUNT; i++)
        assert_true(strlen(fm_standby_link_name((enum fm_standby_link_state)i)) > 0);
    assert_int_equal(link_after(0, FM_STANDBY_OFF, false, false), FM_STANDBY_LINK_FOLLOWS);
    assert_int_equal(link_after(0, FM_STANDBY_LEAVE, false, true), FM_STANDBY_LINK_FOLLOWS);
    assert_int_equal(link_after(0, FM_STANDBY_ON, false, true), FM_STANDBY_LINK_BROKEN);
    assert_int_equal(link_after(9000, FM_STANDBY_LEAVE, true, true), FM_STANDBY_LINK_BROKEN);
    /* it counts by the record, and has not heard yet */
    assert_int_equal(link_after(0, FM_STANDBY_OFF, true, true), FM_STANDBY_LINK_RESTORING);
    assert_int_equal(link_after(999, FM_STANDBY_OFF, false, false), FM_STANDBY_LINK_RESTORING);
    assert_int_equal(link_after(1, FM_STANDBY_OFF, false, false), FM_STANDBY_LINK_OVERDUE);
    assert_int_equal(link_after(9000, FM_STANDBY_OFF, false, false), FM_STANDBY_LINK_OVERDUE);
    assert_int_equal(link_after(0, FM_STANDBY_LEAVE, false, false), FM_STANDBY_LINK_OVERDUE);
    assert_int_equal(link_after(0, FM_STANDBY_OFF, false, true), FM_STANDBY_LINK_FOLLOWS);
    /* a keeper that did not break it */
    assert_int_equal(link_after(0, FM_STANDBY_OFF, true, true), FM_STANDBY_LINK_RESTORING);
    assert_int_equal(link_after(0, FM_STANDBY_OFF, false, true), FM_STANDBY_LINK_FOLLOWS);
    assert_int_equal(link_after(0, FM_STANDBY_LEAVE, true, true), FM_STANDBY_LINK_BROKEN);
}

/* What nodes say does not tell a standby that was kept apart from one that never counted. */
static void a_keeper_that_begins_anew_restores_what_is_recorded(void **state)
{
    (void)state;
    static const struct {
        enum fm_standby_link_state recorded;
        enum fm_standby_wish wish;
        bool apart, counts;
        enum fm_standby_link_state is;
    } cases[] = {
        {FM_STANDBY_LINK_FOLLOWS, FM_STANDBY_OFF, false, false, FM_STANDBY_LINK_FOLLOWS},
        {FM_STANDBY_LINK_FOLLOWS, FM_STANDBY_OFF, true, false, FM_STANDBY_LINK_RESTORING},
        {FM_STANDBY_LINK_BROKEN, FM_STANDBY_OFF, false, false, FM_STANDBY_LINK_RESTORING},
        {FM_STANDBY_LINK_BROKEN, FM_STANDBY_OFF, false, true, FM_STANDBY_LINK_FOLLOWS},
        {FM_STANDBY_LINK_BROKEN, FM_STANDBY_LEAVE, false, true, FM_STANDBY_LINK_BROKEN},
        {FM_STANDBY_LINK_BROKEN, FM_STANDBY_ON, false, false, FM_STANDBY_LINK_BROKEN},
        {FM_STANDBY_LINK_RESTORING, FM_STANDBY_OFF, false, false, FM_STANDBY_LINK_RESTORING},
        {FM_STANDBY_LINK_RESTORING, FM_STANDBY_OFF, false, true, FM_STANDBY_LINK_FOLLOWS},
        /* who stood it down is forgotten, and whether the holder is well is not known yet */
        {FM_STANDBY_LINK_RESTORING, FM_STANDBY_LEAVE, false, false, FM_STANDBY_LINK_RESTORING},
        {FM_STANDBY_LINK_RESTORING, FM_STANDBY_LEAVE, false, true, FM_STANDBY_LINK_FOLLOWS},
        {FM_STANDBY_LINK_OVERDUE, FM_STANDBY_OFF, false, false, FM_STANDBY_LINK_OVERDUE},
        {FM_STANDBY_LINK_OVERDUE, FM_STANDBY_LEAVE, false, false, FM_STANDBY_LINK_OVERDUE},
        {FM_STANDBY_LINK_OVERDUE, FM_STANDBY_LEAVE, false, true, FM_STANDBY_LINK_FOLLOWS},
        {FM_STANDBY_LINK_OVERDUE, FM_STANDBY_OFF, true, true, FM_STANDBY_LINK_OVERDUE},
    };
    for (unsigned i = 0; i < FM_COUNT(cases); i++) {
        begin();
        link_of = (struct fm_standby_link){.is = FM_STANDBY_LINK_OVERDUE};
        fm_standby_link_begin(&link_of, cases[i].recorded, now);
        if (link_after(0, cases[i].wish, cases[i].apart, cases[i].counts) != cases[i].is)
            fail_msg("case %u: %s", i,
                     fm_standby_link_name((enum fm_standby_link_state)link_of.is));
    }
    begin();
    link_of = (struct fm_standby_link){.known = false};
    fm_standby_link_begin(&link_of, FM_STANDBY_LINK_RESTORING, now);
    assert_int_equal(link_after(999, FM_STANDBY_LEAVE, false, false), FM_STANDBY_LINK_RESTORING);
    assert_int_equal(link_after(1, FM_STANDBY_LEAVE, false, false), FM_STANDBY_LINK_OVERDUE);
    for (unsigned i = 0; i < FM_STANDBY_LINK_COUNT; i++)
        assert_int_equal(
            fm_standby_link_named(fm_str_z(fm_standby_link_name((enum fm_standby_link_state)i))),
            i);
    assert_int_equal(fm_standby_link_named(FM_STR("of-another-version")),
                     FM_STANDBY_LINK_RESTORING);
}

static void what_stands_by_together_is_restored_together(void **state)
{
    (void)state;
    struct fm_standby_link of[2] = {{.is = FM_STANDBY_LINK_BROKEN}};
    assert_int_equal(fm_standby_is_restored(of, 0), FM_STANDBY_RESTORED);
    for (unsigned a = 0; a < FM_STANDBY_LINK_COUNT; a++)
        for (unsigned b = 0; b < FM_STANDBY_LINK_COUNT; b++) {
            of[0] = (struct fm_standby_link){.is = (uint8_t)a, .known = true};
            of[1] = (struct fm_standby_link){.is = (uint8_t)b, .known = true};
            bool late = a == FM_STANDBY_LINK_OVERDUE || b == FM_STANDBY_LINK_OVERDUE;
            bool both = a == FM_STANDBY_LINK_FOLLOWS && b == FM_STANDBY_LINK_FOLLOWS;
            assert_int_equal(fm_standby_is_restored(of, 2), late   ? FM_STANDBY_NOT_IN_TIME
                                                            : both ? FM_STANDBY_RESTORED
                                                                   : FM_STANDBY_NOT_YET);
            of[0].known = of[1].known = false; /* to a keeper that has just begun */
            assert_int_equal(fm_standby_is_restored(of, 2), FM_STANDBY_NOT_YET);
        }
}

static void it_is_recorded_then_started_then_its_health_decides(void **state)
{
    (void)state;
    begin();
    assert_int_equal(after(1000).action, FM_STANDBY_DO_NOTHING);
    an_outage();
    assert_int_equal(after(0).action, FM_STANDBY_DO_NOTE);
    assert_int_equal(after(10).action, FM_STANDBY_DO_NOTE); /* what was sent may have been lost */
    x.recorded = true;
    assert_int_equal(after(10).action, FM_STANDBY_DO_START);
    x.busy = true;
    x.capable = true; /* a gate may be quicker than the command */
    assert_int_equal(after(10).to, FM_STANDBY_STARTING);
    x.busy = x.capable = false;
    struct fm_standby_verdict v = on(FM_STANDBY_ON_ENDED_WELL);
    assert_int_equal(v.to, FM_STANDBY_WAITING);
    assert_int_equal(fm_mono_sub_ms(v.wake, now), p.ready_ms);
    assert_int_equal(after(999).to, FM_STANDBY_WAITING);
    x.capable = true;
    assert_int_equal(after(0).to, FM_STANDBY_WARM);
}

static void the_command_check_has_a_say_too(void **state)
{
    (void)state;
    begin();
    x.checks = true;
    an_outage();
    x.recorded = x.capable = true;
    after(0);
    on(FM_STANDBY_ON_ENDED_WELL);
    assert_int_equal(after(0).action, FM_STANDBY_DO_CHECK);
    x.busy = true;
    assert_int_equal(after(1).action, FM_STANDBY_DO_NOTHING);
    x.busy = false;
    on(FM_STANDBY_ON_ENDED_BADLY);
    assert_int_equal(after(49).action, FM_STANDBY_DO_NOTHING);
    assert_int_equal(after(1).action, FM_STANDBY_DO_CHECK);
    on(FM_STANDBY_ON_ENDED_WELL);
    assert_int_equal(after(0).to, FM_STANDBY_WARM);
}

static void nothing_is_run_where_the_context_has_come_home(void **state)
{
    (void)state;
    begin();
    an_outage();
    x.checks = true;
    after(0);
    x.recorded = true;
    after(0);
    on(FM_STANDBY_ON_ENDED_WELL);
    assert_int_equal(after(0).action, FM_STANDBY_DO_CHECK);
    on(FM_STANDBY_ON_ENDED_BADLY);
    x.home = true; /* another home was agreed upon, in the middle of it */
    struct fm_standby_verdict v = after(60);
    assert_int_equal(v.action, FM_STANDBY_DO_NOTHING);
    assert_int_equal(v.to, FM_STANDBY_WAITING);
    v = after(1000);
    assert_int_equal(v.to, FM_STANDBY_FAILED);
    assert_int_equal(after(60).action, FM_STANDBY_DO_NOTHING);
    x.home = false;
    assert_int_equal(after(60).action, FM_STANDBY_DO_CHECK);
}

static void what_does_not_start_or_is_not_well_in_time_has_failed(void **state)
{
    (void)state;
    begin();
    an_outage();
    x.recorded = true;
    after(0);
    assert_int_equal(on(FM_STANDBY_ON_ENDED_BADLY).to, FM_STANDBY_FAILED);
    x.capable = true;
    assert_int_equal(after(10000).to, FM_STANDBY_FAILED); /* whatever answers there */
    x.capable = false;
    on(FM_STANDBY_ON_AGAIN);
    assert_int_equal(after(0).action, FM_STANDBY_DO_START);
    on(FM_STANDBY_ON_ENDED_WELL);
    assert_int_equal(after(1000).to, FM_STANDBY_FAILED);
    x.capable = true;
    assert_int_equal(after(5000).to, FM_STANDBY_WARM); /* late */
}

static void it_is_stopped_when_nobody_has_needed_it_for_a_while(void **state)
{
    (void)state;
    begin();
    start();
    x.engaged = false;
    x.holder_well = true;
    struct fm_standby_verdict v = after(0);
    assert_int_equal(v.action, FM_STANDBY_DO_NOTHING);
    assert_int_equal(fm_mono_sub_ms(v.wake, now), p.linger_ms);
    after(99);
    x.engaged = true; /* needed again: it counts anew */
    after(0);
    x.engaged = false;
    after(0);
    assert_int_equal(after(99).action, FM_STANDBY_DO_NOTHING);
    assert_true(fm_standby_may_receive(&s));
    assert_int_equal(after(1).action, FM_STANDBY_DO_STOP);
    assert_false(fm_standby_may_receive(&s));
    assert_int_equal(on(FM_STANDBY_ON_ENDED_WELL).action, FM_STANDBY_DO_FORGET);
    assert_int_equal(after(1).action, FM_STANDBY_DO_FORGET);
    x.recorded = false;
    assert_int_equal(after(1).to, FM_STANDBY_COLD);
    assert_true(fm_standby_may_receive(&s));
}

static void a_stop_that_fails_is_tried_again_until_it_is_needed(void **state)
{
    (void)state;
    begin();
    start();
    x.engaged = false;
    x.holder_well = true;
    after(0);
    after(100);
    struct fm_standby_verdict v = on(FM_STANDBY_ON_ENDED_BADLY);
    assert_int_equal(v.to, FM_STANDBY_STUCK);
    assert_int_equal(fm_mono_sub_ms(v.wake, now), p.retry_ms);
    assert_int_equal(after(199).action, FM_STANDBY_DO_NOTHING);
    assert_int_equal(after(1).action, FM_STANDBY_DO_STOP);
    on(FM_STANDBY_ON_ENDED_BADLY);
    an_outage();
    after(0);
    assert_int_equal(after(0).action, FM_STANDBY_DO_START);
}

/* Invariant: never under the feet of a region that writes. */
static void the_app_of_a_region_that_holds_is_never_stopped(void **state)
{
    (void)state;
    begin();
    start();
    x.engaged = false;
    x.holds = true;
    x.holder_well = x.stood_down = true; /* whatever anybody says */
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(after(1000).to, FM_STANDBY_WARM);
    x.holds = false;
    after(0);
    assert_int_equal(after(100).action, FM_STANDBY_DO_STOP);
}

static void a_keeper_that_begins_in_the_middle_goes_on(void **state)
{
    (void)state;
    begin(); /* while it was prepared */
    an_outage();
    x.recorded = true;
    assert_int_equal(after(0).action, FM_STANDBY_DO_START);
    begin(); /* after it was completed */
    x.recorded = x.holds = true;
    assert_int_equal(after(0).action, FM_STANDBY_DO_START);
    begin(); /* nobody knows how the holder is */
    x.recorded = true;
    x.holder_well = false;
    assert_int_equal(after(100000).to, FM_STANDBY_COLD);
    x.holder_well = true; /* it is well again: what was started is stopped */
    after(0);
    assert_int_equal(after(100).action, FM_STANDBY_DO_STOP);
    begin(); /* what somebody else has started is not ours to stop */
    x.capable = true;
    after(0);
    assert_int_equal(after(100000).action, FM_STANDBY_DO_NOTHING);
}

static void what_ends_while_it_is_needed_is_started_by_the_next_preparation(void **state)
{
    (void)state;
    begin();
    start();
    assert_int_equal(on(FM_STANDBY_ON_AGAIN).to, FM_STANDBY_WARM);
    x.capable = false;
    assert_int_equal(after(100000).to, FM_STANDBY_WARM); /* who supervises it restarts it */
    assert_int_equal(on(FM_STANDBY_ON_AGAIN).to, FM_STANDBY_NOTING);
    assert_int_equal(after(0).action, FM_STANDBY_DO_START);
}

static void every_state_is_reached_and_left_in_a_random_life(void **state)
{
    (void)state;
    struct fm_rand r = {7};
    unsigned seen[FM_STANDBY_STATE_COUNT] = {0}, fired = 0;
    begin();
    for (unsigned i = 0; i < 200000; i++) {
        bool runs = s.state == FM_STANDBY_STARTING || s.state == FM_STANDBY_STOPPING || x.busy;
        now = fm_mono_add_ms(now, fm_rand_below(&r, 200));
        x.engaged ^= fm_rand_below(&r, 16) == 0;
        x.holds ^= fm_rand_below(&r, 16) == 0;
        x.holder_well ^= fm_rand_below(&r, 8) == 0;
        x.capable ^= fm_rand_below(&r, 8) == 0;
        x.checks = true;
        enum fm_standby_event e =
            fm_rand_below(&r, 16) == 0 ? FM_STANDBY_ON_AGAIN : FM_STANDBY_ON_LOOK;
        if (runs && fm_rand_below(&r, 2)) {
            e = fm_rand_below(&r, 2) ? FM_STANDBY_ON_ENDED_WELL : FM_STANDBY_ON_ENDED_BADLY;
            x.busy = false;
        }
        struct fm_standby_verdict v = on(e);
        fired += v.changed;
        if (v.action == FM_STANDBY_DO_STOP)
            assert_true(!x.holds && !x.engaged);
        x.busy |= v.action == FM_STANDBY_DO_START || v.action == FM_STANDBY_DO_STOP ||
                  v.action == FM_STANDBY_DO_CHECK;
        if (fm_rand_below(&r, 2) && v.action == FM_STANDBY_DO_NOTE)
            x.recorded = true;
        if (fm_rand_below(&r, 2) && v.action == FM_STANDBY_DO_FORGET)
            x.recorded = false;
        seen[s.state]++;
    }
    assert_true(fired > 1000);
    for (unsigned i = 0; i < FM_STANDBY_STATE_COUNT; i++) {
        assert_true(seen[i] > 0);
        assert_true(strlen(fm_standby_state_name((enum fm_standby_state)i)) > 0);
    }
    for (unsigned i = 0; i < FM_STANDBY_EVENT_COUNT; i++)
        assert_true(strlen(fm_standby_event_name((enum fm_standby_event)i)) > 0);
    for (unsigned i = 0; i < fm_standby_nrows; i++)
        assert_true(fm_standby_rows[i].guard && strlen(fm_standby_rows[i].comment) > 0);
}

FM_TEST_MAIN(fm_test(the_wish_follows_from_who_holds_and_what_is_prepared),
             fm_test(replication_is_broken_where_it_is_prepared_and_nowhere_else),
             fm_test(it_is_not_restored_before_a_node_counts_again),
             fm_test(a_keeper_that_begins_anew_restores_what_is_recorded),
             fm_test(what_stands_by_together_is_restored_together),
             fm_test(it_is_recorded_then_started_then_its_health_decides),
             fm_test(the_command_check_has_a_say_too),
             fm_test(nothing_is_run_where_the_context_has_come_home),
             fm_test(what_does_not_start_or_is_not_well_in_time_has_failed),
             fm_test(it_is_stopped_when_nobody_has_needed_it_for_a_while),
             fm_test(a_stop_that_fails_is_tried_again_until_it_is_needed),
             fm_test(the_app_of_a_region_that_holds_is_never_stopped),
             fm_test(a_keeper_that_begins_in_the_middle_goes_on),
             fm_test(what_ends_while_it_is_needed_is_started_by_the_next_preparation),
             fm_test(every_state_is_reached_and_left_in_a_random_life))
