/* A node whose PostgreSQL cannot be started: what it says, and what it leaves alone. */
#include "group_scene.h"

static void is_unable(bool unable)
{
    ev.unable = unable;
    server(FM_GROUP_GONE, false, ev.self.recovery);
}

/* Whatever is there, and whatever it has a right to. */
static void nothing_is_tried_that_cannot_be(void **state)
{
    (void)state;
    static const char *const what[] = {"the last writer", "a standby", "no data", "data of others"};
    for (unsigned i = 0; i < FM_COUNT(what); i++) {
        begin(i == 1 ? B : A);
        ev.self.recovery = i == 1;
        if (i == 2)
            ev.data = false;
        if (i == 3)
            ev.self.system_id = 6;
        is_unable(true);
        live(1);
        struct fm_group_verdict v = tick();
        if (v.to != FM_GROUP_UNABLE || v.action != FM_GROUP_DO_YIELD || v.records)
            fail_msg("%s: %s", what[i], fm_group_state_name((enum fm_group_state)v.to));
        assert_int_equal(v.why, FM_GROUP_WHY_UNABLE);
        assert_int_equal(fm_group_report(&g, &ev).state, FM_GROUP_UNABLE);
        assert_true(fm_group_has_stopped(&g, &ev)); /* whoever asks it to give up is answered */
        assert_true(on(FM_GROUP_ON_CREATE).refused);
        assert_true(on(FM_GROUP_ON_REINIT).refused);
        assert_true(on(FM_GROUP_ON_RESUME).refused);
        now = fm_mono_add_ms(now, 3600 * 1000);
        live(1);
        assert_false(tick().changed);
    }
}

static void it_goes_on_where_it_was_when_it_can(void **state)
{
    (void)state;
    begin(A);
    ev.self.recovery = false;
    is_unable(true);
    live(1);
    assert_int_equal(tick().to, FM_GROUP_UNABLE);
    is_unable(false);
    assert_int_equal(tick().action, FM_GROUP_DO_START_PRIMARY);
    begin(B);
    is_unable(true);
    assert_int_equal(tick().to, FM_GROUP_UNABLE);
    is_unable(false);
    assert_int_equal(tick().action, FM_GROUP_DO_START_STANDBY);
}

/* Its programs went while it ran, or while its claim was on its way. */
static void what_runs_goes_on_without_its_programs(void **state)
{
    (void)state;
    primary();
    ev.unable = true;
    assert_int_equal(tick().to, FM_GROUP_PRIMARY);
    server(FM_GROUP_GONE, false, false); /* it has crashed */
    assert_int_equal(tick().to, FM_GROUP_UNABLE);
    standby(B);
    ev.unable = true;
    taken_by_force();
    struct fm_group_verdict v = tick();
    assert_int_equal(v.to, FM_GROUP_CLAIMING); /* a promotion needs none */
    record(v);
    assert_int_equal(tick().action, FM_GROUP_DO_PROMOTE);
    standby(B);
    taken_by_force();
    assert_int_equal(tick().to, FM_GROUP_CLAIMING);
    ev.unable = true;
    server(FM_GROUP_GONE, false, true);
    assert_int_equal(tick().to, FM_GROUP_UNABLE);
}

static void who_lives_is_ended_first(void **state)
{
    (void)state;
    begin(A);
    ev.unable = true;
    server(FM_GROUP_ORPHANS, false, false);
    assert_int_equal(tick().action, FM_GROUP_DO_STOP_IMMEDIATE);
    assert_false(fm_group_has_stopped(&g, &ev));
    server(FM_GROUP_GONE, false, false);
    assert_int_equal(tick().to, FM_GROUP_UNABLE);
    server(FM_GROUP_ORPHANS, false, false);
    assert_int_equal(tick().to, FM_GROUP_KILLING);
}

static void a_person_may_work_on_it(void **state)
{
    (void)state;
    begin(B);
    is_unable(true);
    tick();
    assert_int_equal(on(FM_GROUP_ON_MAINTAIN).to, FM_GROUP_MAINTAINED);
    assert_false(tick().changed);
    assert_int_equal(on(FM_GROUP_ON_RESUME).to, FM_GROUP_UNABLE);
}

FM_TEST_MAIN(fm_test(nothing_is_tried_that_cannot_be), fm_test(it_goes_on_where_it_was_when_it_can),
             fm_test(what_runs_goes_on_without_its_programs), fm_test(who_lives_is_ended_first),
             fm_test(a_person_may_work_on_it))
