/* The nodes of a region: of one that stands by, kept apart from the primary on purpose; whether
 * they can serve; what would be lost with the primary among them. */
#include "group_scene.h"

/* It stays a standby, and a candidate; nothing is done about what it lacks until it follows. */
static void who_is_kept_apart_receives_nothing_and_loses_nothing(void **state)
{
    (void)state;
    standby(B);
    assert_false(tick().apart);
    ev.apart = true;
    struct fm_group_verdict v = tick();
    assert_true(v.apart && v.action == FM_GROUP_DO_FOLLOW && v.node == A);
    ev.self.streaming = false;
    node[A].kept.n = 2000; /* the log that it needs next is gone */
    for (unsigned i = 0; i < 3; i++) {
        now = fm_mono_add_ms(now, 10 * p.stuck_ms);
        node[A].at = now;
        v = tick();
        assert_int_equal(v.to, FM_GROUP_CATCHING_UP);
        assert_true(v.apart);
        assert_int_equal(fm_group_report(&g, &ev).state, FM_GROUP_CATCHING_UP);
    }
    ev.apart = false; /* from now on it has its time */
    node[A].at = now;
    assert_int_equal(tick().to, FM_GROUP_CATCHING_UP);
    now = fm_mono_add_ms(now, p.stuck_ms);
    node[A].at = now;
    assert_int_equal(tick().to, FM_GROUP_STOPPING);
    assert_int_equal(g.why, FM_GROUP_WHY_GAP);
    standby(B);
    ev.apart = true;
    ev.self.streaming = false;
    tick();
    taken_by_force();
    v = tick();
    assert_int_equal(v.to, FM_GROUP_CLAIMING);
    assert_false(v.apart);
    standby(B);
    ev.apart = true;
    server(FM_GROUP_UP, true, false); /* whoever let it write */
    assert_int_equal(tick().action, FM_GROUP_DO_STOP_IMMEDIATE);
    standby(B);
    ev.apart = true;
    server(FM_GROUP_GONE, false, true); /* PostgreSQL crashed: it is started apart as well */
    tick();
    now = fm_mono_add_ms(now, p.retry_ms);
    node[A].at = now;
    v = tick();
    assert_true(v.action == FM_GROUP_DO_START_STANDBY && v.apart);
}

static void a_region_is_well_where_a_node_serves_or_could(void **state)
{
    (void)state;
    static const enum fm_group_state well[] = {
        FM_GROUP_CATCHING_UP, FM_GROUP_STANDBY, FM_GROUP_CLAIMING, FM_GROUP_RESUMING,
        FM_GROUP_PROMOTING,   FM_GROUP_OPENING, FM_GROUP_PRIMARY,  FM_GROUP_DRAINING};
    begin(B);
    struct fm_group_report here[2] = {node[B], node[C]};
    for (unsigned s = 0; s < FM_GROUP_STATE_COUNT; s++) {
        bool good = false;
        for (unsigned i = 0; i < FM_COUNT(well); i++)
            good |= well[i] == s;
        here[0].state = here[1].state = (uint8_t)s;
        assert_int_equal(fm_group_health(here, 2, p.fresh_ms, now),
                         good ? FM_GROUP_HEALTH_WELL : FM_GROUP_HEALTH_DOWN);
    }
    here[0].state = FM_GROUP_STANDBY; /* one of them does */
    here[1].state = FM_GROUP_FENCED;
    assert_int_equal(fm_group_health(here, 2, p.fresh_ms, now), FM_GROUP_HEALTH_WELL);
    here[0].at = fm_mono_add_ms(now, -p.fresh_ms - 1); /* ... and is not heard any more */
    assert_int_equal(fm_group_health(here, 2, p.fresh_ms, now), FM_GROUP_HEALTH_DOWN);
    here[1].at = FM_MONO_ZERO;
    assert_int_equal(fm_group_health(here, 2, p.fresh_ms, now), FM_GROUP_HEALTH_SILENT);
    assert_int_equal(fm_group_health(here, 0, p.fresh_ms, now), FM_GROUP_HEALTH_SILENT);
    here[1].at = now;
    here[1].state = FM_GROUP_CATCHING_UP;
    here[1].delay_ms = 3600 * 1000; /* it never takes over */
    assert_int_equal(fm_group_health(here, 2, p.fresh_ms, now), FM_GROUP_HEALTH_DOWN);
    here[1].state = FM_GROUP_PRIMARY;
    assert_int_equal(fm_group_health(here, 2, p.fresh_ms, now), FM_GROUP_HEALTH_WELL);
    for (unsigned h = 0; h < FM_GROUP_HEALTH_COUNT; h++)
        assert_true(strlen(fm_group_health_text((enum fm_group_health)h)) > 0);
}

/* What a node of the primary's own region would lose stands in the record, whoever is heard. */
static void in_the_region_of_the_primary_another_one_may_lose_nothing(void **state)
{
    (void)state;
    begin(A);
    struct fm_evidence *r = &cell.r.evidence;
    struct fm_credit_bound b;
    r->promotable = 1u << B | 1u << C;
    r->credit = 64;
    for (unsigned i = 0; i < NODES; i++)
        node[i].region = i == C;
    assert_true(fm_group_loss_in_region(r, node, NODES, p.fresh_ms, now, &b));
    assert_true(b.kind == FM_CREDIT_ENFORCED && b.bytes == 64);
    r->near = 1u << B;
    assert_true(fm_group_loss_in_region(r, node, NODES, p.fresh_ms, now, &b));
    assert_true(b.kind == FM_CREDIT_ENFORCED && b.bytes == 0);
    node[A].at = FM_MONO_ZERO; /* the primary is not heard: the best that there is */
    assert_int_equal(fm_group_loss_if_now(r, node, NODES, 2, p.fresh_ms, now).bytes, 0);
    node[B].at = FM_MONO_ZERO;
    assert_false(fm_group_loss_in_region(r, node, NODES, p.fresh_ms, now, &b));
    assert_int_equal(fm_group_loss_if_now(r, node, NODES, 2, p.fresh_ms, now).bytes, 64);
    assert_false(fm_group_loss_in_region(NULL, node, NODES, p.fresh_ms, now, &b));
    r->writer = 0;
    assert_false(fm_group_loss_in_region(r, node, NODES, p.fresh_ms, now, &b));
}

FM_TEST_MAIN(fm_test(who_is_kept_apart_receives_nothing_and_loses_nothing),
             fm_test(a_region_is_well_where_a_node_serves_or_could),
             fm_test(in_the_region_of_the_primary_another_one_may_lose_nothing))
