/* The machine of one node of a group: what follows from where a node stands, and
 * from a delay. */
#include "group_scene.h"

/* The region of all three takes the cell over from A, which is not heard any more. B and C have the
 * same data. */
static void taken_in_one_region(unsigned self)
{
    standby(self);
    for (unsigned i = 0; i < NODES; i++) {
        node[i].region = NORTH;
        node[i].rank = (uint8_t)i;
    }
    ev.self.region = NORTH;
    ev.self.rank = (uint8_t)self;
    held_by(NORTH, 2);
    cell.r.gentle_from.n = 2;
    live(2);
    node[A].at = FM_MONO_ZERO;
}

static void stand(unsigned self, unsigned a, unsigned b, unsigned c)
{
    node[A].zone = (uint8_t)a;
    node[B].zone = (uint8_t)b;
    node[C].zone = (uint8_t)c;
    ev.self.zone = node[self].zone;
}

static void of_equals_one_in_another_zone_than_the_lost_one_goes_on(void **state)
{
    (void)state;
    static const struct {
        uint8_t a, b, c, who;
    } cases[] = {
        {1, 1, 2, C}, /* what took A away may take B */
        {1, 2, 1, B}, {1, 2, 3, B}, {1, 1, 1, B},
        {2, 1, 1, B}, {0, 1, 2, B}, /* it is not said where A stood */
        {0, 0, 0, B},
    };
    for (unsigned i = 0; i < FM_COUNT(cases); i++)
        for (unsigned self = B; self <= C; self++) {
            taken_in_one_region(self);
            stand(self, cases[i].a, cases[i].b, cases[i].c);
            assert_int_equal(tick().to,
                             self == cases[i].who ? FM_GROUP_CLAIMING : FM_GROUP_STANDBY);
        }
}

static void who_stands_in_the_zone_of_the_lost_one_goes_on_with_more_data_or_alone(void **state)
{
    (void)state;
    taken_in_one_region(B);
    stand(B, 1, 1, 2);
    ev.self.flush.n++; /* that would be lost */
    assert_int_equal(tick().to, FM_GROUP_CLAIMING);
    taken_in_one_region(B);
    stand(B, 1, 1, 2);
    node[C].at = FM_MONO_ZERO;
    assert_int_equal(tick().to, FM_GROUP_CLAIMING);
    taken_in_one_region(B); /* the other one does not come */
    stand(B, 1, 1, 2);
    assert_int_equal(tick().to, FM_GROUP_STANDBY);
    for (int64_t ms = 0; ms < p.wait_ms; ms += 1000) {
        now = fm_mono_add_ms(now, 1000);
        node[B].at = node[C].at = now;
        live(2);
    }
    assert_int_equal(tick().to, FM_GROUP_CLAIMING);
}

/* -------- delayed on purpose -------- */

enum { HOUR_MS = 3600 * 1000 };

static void a_delayed_node_follows_and_never_counts_or_goes_on(void **state)
{
    (void)state;
    begin(B);
    ev.self.delay_ms = HOUR_MS;
    assert_int_equal(tick().action, FM_GROUP_DO_START_STANDBY);
    server(FM_GROUP_UP, true, true);
    struct fm_group_verdict v = tick();
    assert_int_equal(v.to, FM_GROUP_CATCHING_UP);
    assert_int_equal(v.action, FM_GROUP_DO_FOLLOW);
    assert_int_equal(v.node, A);
    assert_false(
        fm_group_is_promotable(&cell.r.evidence, &ev.self, (struct fm_lsn){1000}, UINT64_MAX));
    held_by(NORTH, 2); /* its region takes over, and a record of before says that it counts */
    cell.r.gentle_from.n = cell.r.accepted.n = 2;
    live(2);
    node[A].at = FM_MONO_ZERO;
    node[C].at = FM_MONO_ZERO;
    for (int64_t ms = 0; ms <= p.wait_ms; ms += 1000) {
        assert_int_equal(tick().to, FM_GROUP_CATCHING_UP);
        now = fm_mono_add_ms(now, 1000);
        live(2);
    }
}

static void nobody_waits_for_a_delayed_node(void **state)
{
    (void)state;
    standby(C); /* B has more, and the lower rank */
    node[B].flush.n++;
    node[B].delay_ms = HOUR_MS;
    held_by(NORTH, 2);
    cell.r.gentle_from.n = 2;
    live(2);
    node[A].at = FM_MONO_ZERO;
    assert_int_equal(tick().to, FM_GROUP_CLAIMING);
    primary(); /* it prefers time to its own restart */
    p.prefer = FM_PREFER_TIME;
    node[B].delay_ms = node[C].delay_ms = HOUR_MS;
    server(FM_GROUP_ORPHANS, false, false);
    assert_int_equal(tick().to, FM_GROUP_KILLING);
    server(FM_GROUP_GONE, false, false);
    assert_int_equal(tick().to, FM_GROUP_RESUMING);
}

/* It could be that it is made one while it is primary. */
static void a_writer_that_is_delayed_from_now_on_goes_on_until_another_one_is(void **state)
{
    (void)state;
    primary();
    ev.self.delay_ms = HOUR_MS;
    assert_int_equal(tick().to, FM_GROUP_PRIMARY);
    server(FM_GROUP_GONE, false, false);
    assert_int_equal(tick().to, FM_GROUP_RESUMING);
}

/* What it applies now came long ago, and it asks for more when it has applied that. */
static void a_delayed_node_is_cut_off_when_all_that_it_has_must_be_applied(void **state)
{
    (void)state;
    for (unsigned gap = 0; gap <= 1; gap++) {
        begin(B);
        ev.self.delay_ms = HOUR_MS;
        (void)tick();
        server(FM_GROUP_UP, true, true);
        ev.self.streaming = false;
        node[A].flush.n = 5000;
        node[A].kept.n = 1000 + gap;
        assert_int_equal(tick().to, FM_GROUP_CATCHING_UP);
        now = fm_mono_add_ms(now, HOUR_MS + p.stuck_ms - 1);
        node[A].at = now;
        assert_int_equal(tick().to, FM_GROUP_CATCHING_UP);
        node[A].at = now = fm_mono_add_ms(now, 1);
        assert_int_equal(tick().to, gap ? FM_GROUP_STOPPING : FM_GROUP_CATCHING_UP);
    }
}

static void a_delayed_node_is_no_heir_whatever_it_has(void **state)
{
    (void)state;
    begin(A);
    const struct fm_evidence *r = &cell.r.evidence;
    assert_int_equal(
        fm_group_takeover(r, node, NODES, 1 << B | 1 << C, NORTH, p.fresh_ms, now).node, B);
    node[B].delay_ms = HOUR_MS;
    assert_int_equal(
        fm_group_takeover(r, node, NODES, 1 << B | 1 << C, NORTH, p.fresh_ms, now).node, C);
    node[C].delay_ms = HOUR_MS;
    struct fm_group_takeover t =
        fm_group_takeover(r, node, NODES, 1 << B | 1 << C, NORTH, p.fresh_ms, now);
    assert_false(t.ready);
    assert_int_equal(t.bound.kind, FM_CREDIT_UNBOUNDED);
    assert_true(fm_group_lag(&node[A], &node[B], now, p.fresh_ms, now) == UINT64_MAX);
}

FM_TEST_MAIN(fm_test(of_equals_one_in_another_zone_than_the_lost_one_goes_on),
             fm_test(who_stands_in_the_zone_of_the_lost_one_goes_on_with_more_data_or_alone),
             fm_test(a_delayed_node_follows_and_never_counts_or_goes_on),
             fm_test(nobody_waits_for_a_delayed_node),
             fm_test(a_writer_that_is_delayed_from_now_on_goes_on_until_another_one_is),
             fm_test(a_delayed_node_is_cut_off_when_all_that_it_has_must_be_applied),
             fm_test(a_delayed_node_is_no_heir_whatever_it_has))
