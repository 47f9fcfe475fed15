/* The door of a PostgreSQL group. */
#include "test.h"

#include "core/door.h"
#include "core/group.h"

enum { WEST, NORTH };

static struct fm_door_view v;
static struct fm_door_ask ask;
static struct fm_mono now;

/* West holds it under epoch 5; node 0 is its primary, nodes 1 and 2 are standbys. */
static void begin(void)
{
    now = (struct fm_mono){100 * FM_NS_PER_S};
    v = (struct fm_door_view){
        .cell = {.until = fm_mono_add_ms(now, 2000), .epoch = {5}, .known = {5}, .holder = WEST},
        .region = WEST,
        .nnodes = 3,
        .policy = {.hold_ms = 3000, .read_lag_ms = 1000}};
    v.node[0] = (struct fm_door_node){FM_DOOR_PRIMARY, 0, {5}, -1, now};
    v.node[1] = (struct fm_door_node){FM_DOOR_STANDBY, 1, {0}, 10, now};
    v.node[2] = (struct fm_door_node){FM_DOOR_STANDBY, 1, {0}, 10, now};
    ask = (struct fm_door_ask){.kind = FM_DOOR_READ_WRITE, .came = now};
}

static struct fm_door_choice choose(void)
{
    return fm_door_choose(&v, &ask, now);
}

static void is(enum fm_door_verdict verdict, enum fm_door_why why)
{
    struct fm_door_choice c = choose();
    assert_int_equal(c.verdict, verdict);
    assert_int_equal(c.why, why);
}

static void a_writer_gets_the_primary_of_the_live_epoch(void **state)
{
    (void)state;
    begin();
    struct fm_door_choice c = choose();
    assert_int_equal(c.verdict, FM_DOOR_CONNECT);
    assert_int_equal(c.node, 0);
    assert_int_equal(c.role, FM_DOOR_PRIMARY);
    assert_int_equal(c.epoch.n, 5);
    v.node[0].epoch.n = 4; /* it has not opened under this one */
    is(FM_DOOR_HOLD, FM_DOOR_WHY_NO_PRIMARY);
    v.node[0].role = FM_DOOR_AWAY;
    v.node[0].epoch.n = 5;
    is(FM_DOOR_HOLD, FM_DOOR_WHY_NO_PRIMARY);
    v.node[0] = (struct fm_door_node){FM_DOOR_PRIMARY, FM_DOOR_NO_WAY, {5}, -1, now};
    is(FM_DOOR_REFUSE, FM_DOOR_WHY_NO_WAY);
}

static void a_move_makes_writers_wait_for_a_while(void **state)
{
    (void)state;
    begin();
    v.cell.quiet_until = fm_mono_add_ms(now, 500);
    is(FM_DOOR_HOLD, FM_DOOR_WHY_MOVING);
    now = fm_mono_add_ms(now, 501);
    is(FM_DOOR_CONNECT, FM_DOOR_WHY_NONE);
    v.cell.stopped.n = 5;
    v.cell.until = FM_MONO_ZERO;
    v.cell.known.n = 6;
    v.cell.holder = FM_NOBODY;
    is(FM_DOOR_HOLD, FM_DOOR_WHY_MOVING);
    now = fm_mono_add_ms(ask.came, 2999);
    is(FM_DOOR_HOLD, FM_DOOR_WHY_MOVING);
    now = fm_mono_add_ms(ask.came, 3000);
    is(FM_DOOR_REFUSE, FM_DOOR_WHY_MOVING);
}

static void a_lapsed_right_passes_nobody_on(void **state)
{
    (void)state;
    begin();
    now = fm_mono_add_ms(now, 2001);
    is(FM_DOOR_HOLD, FM_DOOR_WHY_MOVING);
    assert_true(fm_door_listens(&v, FM_DOOR_READ_WRITE, now));
}

static void writers_are_not_served_across_regions(void **state)
{
    (void)state;
    begin();
    v.cell.known.n = 6;
    v.cell.holder = NORTH;
    is(FM_DOOR_REFUSE, FM_DOOR_WHY_ELSEWHERE);
    assert_false(fm_door_listens(&v, FM_DOOR_READ_WRITE, now));
    assert_true(fm_door_listens(&v, FM_DOOR_READ_ONLY, now));
    v.cell.holder = FM_NOBODY; /* released: this region may be next */
    is(FM_DOOR_HOLD, FM_DOOR_WHY_MOVING);
    assert_true(fm_door_listens(&v, FM_DOOR_READ_WRITE, now));
}

/* Another region's nodes are for the gates there. */
static void where_no_node_can_be_reached_nobody_listens(void **state)
{
    (void)state;
    begin();
    for (unsigned i = 0; i < v.nnodes; i++)
        v.node[i].distance = FM_DOOR_NO_WAY;
    assert_false(fm_door_listens(&v, FM_DOOR_READ_WRITE, now));
    assert_false(fm_door_listens(&v, FM_DOOR_READ_ONLY, now));
    v.node[0].distance = FM_DOOR_NEAR;
    assert_true(fm_door_listens(&v, FM_DOOR_READ_ONLY, now));
    v.nnodes = 0; /* nobody has told of any yet */
    assert_true(fm_door_listens(&v, FM_DOOR_READ_ONLY, now));
}

static void a_primary_that_left_the_group_is_reached_as_long_as_it_is_one(void **state)
{
    (void)state;
    assert_int_equal(fm_door_way(FM_DOOR_NEAR, true, false, false), FM_DOOR_NEAR);
    assert_int_equal(fm_door_way(FM_DOOR_NEAR, false, false, true), FM_DOOR_NO_WAY);
    assert_int_equal(fm_door_way(FM_DOOR_HERE, true, true, true), FM_DOOR_HERE);
    assert_int_equal(fm_door_way(FM_DOOR_HERE, true, true, false), FM_DOOR_NO_WAY);
}

static void nobody_writes_where_an_operator_says_so(void **state)
{
    (void)state;
    begin();
    v.read_only = true;
    is(FM_DOOR_REFUSE, FM_DOOR_WHY_READ_ONLY);
    ask.kind = FM_DOOR_READ_ONLY;
    is(FM_DOOR_CONNECT, FM_DOOR_WHY_NONE);
}

static void a_node_that_does_not_answer_is_tried_again_later(void **state)
{
    (void)state;
    begin();
    ask.failed = 1;
    is(FM_DOOR_HOLD, FM_DOOR_WHY_NO_ANSWER);
    now = fm_mono_add_ms(now, 1500);
    ask.failed = 0;
    is(FM_DOOR_CONNECT, FM_DOOR_WHY_NONE);
}

static void readers_get_the_nearest_standby_in_the_bound(void **state)
{
    (void)state;
    begin();
    ask.kind = FM_DOOR_READ_ONLY;
    assert_int_equal(choose().node, 1);
    assert_int_equal(choose().role, FM_DOOR_STANDBY);
    ask.salt = 7;
    assert_int_equal(choose().node, 2);
    assert_int_equal(choose().node, 2); /* the same again */
    v.node[1].distance = 0;
    assert_int_equal(choose().node, 1);
    ask.failed = 1u << 1;
    assert_int_equal(choose().node, 2);
    v.node[2].distance = FM_DOOR_NO_WAY;
    assert_int_equal(choose().node, 0);
}

static void what_was_seen_long_ago_lags(void **state)
{
    (void)state;
    begin();
    ask.kind = FM_DOOR_READ_ONLY;
    v.node[1].lag_ms = 1001;
    assert_int_equal(choose().node, 2);
    v.node[2].lag_ms = -1;
    assert_int_equal(choose().role, FM_DOOR_PRIMARY);
    v.node[2].lag_ms = 400;
    now = fm_mono_add_ms(now, 600);
    assert_int_equal(choose().node, 2);
    now = fm_mono_add_ms(now, 1);
    assert_int_equal(choose().role, FM_DOOR_PRIMARY);
}

static void readers_get_the_primary_else(void **state)
{
    (void)state;
    begin();
    ask.kind = FM_DOOR_READ_ONLY;
    v.node[1].role = v.node[2].role = FM_DOOR_AWAY;
    struct fm_door_choice c = choose();
    assert_int_equal(c.role, FM_DOOR_PRIMARY);
    assert_int_equal(c.epoch.n, 5);
    v.cell.until = now;
    is(FM_DOOR_HOLD, FM_DOOR_WHY_MOVING);
    v.cell.known.n = 6;
    v.cell.holder = NORTH;
    is(FM_DOOR_REFUSE, FM_DOOR_WHY_NO_STANDBY);
}

/* -------- sessions -------- */

static struct fm_door_session session;

static void passes(enum fm_door_pass want, enum fm_door_why why)
{
    enum fm_door_why said;
    assert_int_equal(fm_door_passes(&v, &session, now, &said), want);
    assert_int_equal(said, why);
}

static void begin_session(uint8_t node, uint8_t role, uint64_t epoch)
{
    begin();
    session = (struct fm_door_session){node, role, {epoch}, FM_MONO_NEVER};
}

static void a_session_ends_with_its_epoch(void **state)
{
    (void)state;
    begin_session(0, FM_DOOR_PRIMARY, 5);
    passes(FM_DOOR_PASS, FM_DOOR_WHY_NONE);
    v.cell.quiet_until = fm_mono_add_ms(now, 500);
    passes(FM_DOOR_PASS, FM_DOOR_WHY_NONE); /* what is under way ends */
    v.cell.known.n = 6;
    passes(FM_DOOR_RESET, FM_DOOR_WHY_EPOCH_OVER);
    begin_session(0, FM_DOOR_PRIMARY, 5);
    v.cell.stopped.n = 5;
    v.cell.until = FM_MONO_ZERO;
    passes(FM_DOOR_RESET, FM_DOOR_WHY_EPOCH_OVER);
    begin_session(0, FM_DOOR_PRIMARY, 5);
    v.cell.epoch.n = v.cell.known.n = 7; /* it came back to this region */
    v.node[0].epoch.n = 7;
    passes(FM_DOOR_RESET, FM_DOOR_WHY_EPOCH_OVER);
}

static void a_session_waits_out_a_lapse(void **state)
{
    (void)state;
    begin_session(0, FM_DOOR_PRIMARY, 5);
    now = v.cell.until;
    passes(FM_DOOR_WAIT, FM_DOOR_WHY_NONE);
    session.waits = now;
    now = fm_mono_add_ms(now, 2999);
    passes(FM_DOOR_WAIT, FM_DOOR_WHY_NONE);
    v.cell.until = fm_mono_add_ms(now, 2000); /* renewed */
    passes(FM_DOOR_PASS, FM_DOOR_WHY_NONE);
    v.cell.until = now;
    now = fm_mono_add_ms(now, 1);
    passes(FM_DOOR_RESET, FM_DOOR_WHY_LAPSED);
}

static void a_session_ends_where_its_node_is_something_else(void **state)
{
    (void)state;
    begin_session(0, FM_DOOR_PRIMARY, 5);
    v.node[0].role = FM_DOOR_AWAY; /* perhaps only not heard of */
    passes(FM_DOOR_PASS, FM_DOOR_WHY_NONE);
    v.node[0].role = FM_DOOR_STANDBY;
    passes(FM_DOOR_RESET, FM_DOOR_WHY_ROLE_CHANGED);
    begin_session(0, FM_DOOR_PRIMARY, 5);
    v.node[0].epoch.n = 6; /* it knows more than this gate */
    passes(FM_DOOR_RESET, FM_DOOR_WHY_ROLE_CHANGED);
    begin_session(2, FM_DOOR_PRIMARY, 5);
    v.nnodes = 2;
    passes(FM_DOOR_RESET, FM_DOOR_WHY_ROLE_CHANGED);
}

static void a_reader_never_comes_to_write(void **state)
{
    (void)state;
    begin_session(1, FM_DOOR_STANDBY, 0);
    v.cell.until = now; /* readers of a standby need no right to write */
    v.node[1].lag_ms = 100000;
    passes(FM_DOOR_PASS, FM_DOOR_WHY_NONE);
    v.node[1].role = FM_DOOR_PRIMARY;
    passes(FM_DOOR_RESET, FM_DOOR_WHY_ROLE_CHANGED);
}

/* -------- reports -------- */

static void a_standby_is_as_old_as_what_it_has_applied(void **state)
{
    (void)state;
    begin();
    struct fm_door_tide t = {0};
    struct fm_group_report r = {
        .at = now, .state = FM_GROUP_STANDBY, .recovery = true, .replay = {5000}};
    assert_int_equal(fm_door_node_of(&r, &t, 0).role, FM_DOOR_STANDBY);
    assert_int_equal(fm_door_node_of(&r, &t, 0).lag_ms, -1); /* nothing to compare it with */
    for (unsigned i = 0; i < 3 * FM_DOOR_TIDE; i++) {        /* 100 bytes each 100 ms */
        fm_door_tide_rises(&t, (struct fm_lsn){100 * i}, fm_mono_add_ms(now, 100 * i));
        fm_door_tide_rises(&t, (struct fm_lsn){100 * i + 50}, fm_mono_add_ms(now, 100 * i + 50));
    }
    struct fm_door_node n = fm_door_node_of(&r, &t, 3);
    assert_int_equal(n.lag_ms, 0);
    assert_int_equal(n.distance, 3);
    assert_int_equal(fm_mono_sub_ms(n.seen, now), 100 * (3 * FM_DOOR_TIDE - 1));
    r.replay.n = 100 * (3 * FM_DOOR_TIDE - 4) + 60;
    assert_int_equal(fm_mono_sub_ms(fm_door_node_of(&r, &t, 3).seen, now),
                     100 * (3 * FM_DOOR_TIDE - 4));
    r.replay.n = 100; /* further back than the marks */
    assert_int_equal(fm_door_node_of(&r, &t, 3).lag_ms, -1);
    r.recovery = false;
    assert_int_equal(fm_door_node_of(&r, &t, 3).role, FM_DOOR_AWAY);
}

static void a_delayed_node_is_away_for_readers_however_level_it_is(void **state)
{
    (void)state;
    begin();
    struct fm_door_tide t = {0};
    struct fm_group_report r = {.at = now,
                                .state = FM_GROUP_CATCHING_UP,
                                .recovery = true,
                                .flush = {500},
                                .replay = {500},
                                .delay_ms = 60000};
    fm_door_tide_rises(&t, (struct fm_lsn){500}, now);
    assert_int_equal(fm_door_node_of(&r, &t, FM_DOOR_HERE).role, FM_DOOR_AWAY);
    r.delay_ms = 0;
    assert_int_equal(fm_door_node_of(&r, &t, FM_DOOR_HERE).role, FM_DOOR_STANDBY);
}

static void a_primary_is_one_when_it_is_open(void **state)
{
    (void)state;
    begin();
    struct fm_door_tide t = {0};
    for (unsigned s = 0; s < FM_GROUP_STATE_COUNT; s++) {
        struct fm_group_report r = {.at = now, .state = (uint8_t)s, .epoch = {7}};
        bool open = s == FM_GROUP_PRIMARY || s == FM_GROUP_DRAINING;
        struct fm_door_node n = fm_door_node_of(&r, &t, FM_DOOR_NO_WAY);
        assert_int_equal(n.role, open ? FM_DOOR_PRIMARY : FM_DOOR_AWAY);
        assert_int_equal(n.epoch.n, open ? 7 : 0);
    }
}

static void a_crowd_of_readers_waits_for_its_standby(void **state)
{
    (void)state;
    begin();
    ask.kind = FM_DOOR_READ_ONLY;
    v.node[2].role = FM_DOOR_AWAY;
    ask.busy = 1u << 1;
    is(FM_DOOR_HOLD, FM_DOOR_WHY_NO_ANSWER);
    ask.kind = FM_DOOR_READ_WRITE;
    is(FM_DOOR_CONNECT, FM_DOOR_WHY_NONE);
    ask.busy = 1u << 0;
    is(FM_DOOR_HOLD, FM_DOOR_WHY_NO_ANSWER);
    now = fm_mono_add_ms(now, v.policy.hold_ms);
    v.cell.until = fm_mono_add_ms(now, 1);
    is(FM_DOOR_REFUSE, FM_DOOR_WHY_NO_ANSWER);
}

/* -------- who comes from a gate of another host -------- */

static void is_received(struct fm_door_visit x, enum fm_door_verdict verdict, enum fm_door_why why)
{
    struct fm_door_choice c = fm_door_receive(&v, &x, now);
    assert_int_equal(c.verdict, verdict);
    assert_int_equal(c.why, why);
    if (verdict != FM_DOOR_CONNECT)
        return;
    assert_int_equal(v.node[c.node].distance, FM_DOOR_HERE);
    assert_int_equal(c.role, x.role);
    assert_int_equal(c.epoch.n, x.epoch.n);
}

static void a_visit_gets_the_primary_here_under_the_epoch_that_it_names(void **state)
{
    (void)state;
    static const struct fm_door_visit writer = {FM_DOOR_PRIMARY, {5}};
    begin();
    is_received(writer, FM_DOOR_CONNECT, FM_DOOR_WHY_NONE);
    is_received((struct fm_door_visit){FM_DOOR_PRIMARY, {4}}, FM_DOOR_REFUSE,
                FM_DOOR_WHY_EPOCH_OVER);
    is_received((struct fm_door_visit){FM_DOOR_PRIMARY, {6}}, FM_DOOR_REFUSE,
                FM_DOOR_WHY_EPOCH_OVER);
    v.cell.quiet_until = fm_mono_add_ms(now, 1);
    is_received(writer, FM_DOOR_REFUSE, FM_DOOR_WHY_MOVING);
    begin();
    v.cell.until = now; /* by this host's own sub-lease, whatever the gate's says */
    is_received(writer, FM_DOOR_REFUSE, FM_DOOR_WHY_MOVING);
    begin();
    v.cell.known.n = 6;
    is_received(writer, FM_DOOR_REFUSE, FM_DOOR_WHY_MOVING);
    begin();
    v.node[0].epoch.n = 4;
    is_received(writer, FM_DOOR_REFUSE, FM_DOOR_WHY_NO_PRIMARY);
    v.node[0].role = FM_DOOR_AWAY;
    is_received(writer, FM_DOOR_REFUSE, FM_DOOR_WHY_NO_PRIMARY);
}

static void a_visit_goes_no_further_than_here(void **state)
{
    (void)state;
    begin();
    v.node[0].distance = FM_DOOR_NEAR;
    is_received((struct fm_door_visit){FM_DOOR_PRIMARY, {5}}, FM_DOOR_REFUSE, FM_DOOR_WHY_NO_WAY);
    is_received((struct fm_door_visit){FM_DOOR_STANDBY, {0}}, FM_DOOR_REFUSE, FM_DOOR_WHY_NO_WAY);
    v.node[2].distance = FM_DOOR_HERE;
    is_received((struct fm_door_visit){FM_DOOR_STANDBY, {0}}, FM_DOOR_CONNECT, FM_DOOR_WHY_NONE);
    is_received((struct fm_door_visit){FM_DOOR_PRIMARY, {5}}, FM_DOOR_REFUSE,
                FM_DOOR_WHY_NO_PRIMARY);
    v.node[2].role = FM_DOOR_PRIMARY; /* a reader would find itself able to write */
    v.node[2].epoch.n = 5;
    is_received((struct fm_door_visit){FM_DOOR_STANDBY, {0}}, FM_DOOR_REFUSE,
                FM_DOOR_WHY_ROLE_CHANGED);
}

static void a_stamp_does_not_reach_across(void **state)
{
    (void)state;
    assert_int_equal(fm_door_distance(true, true, true), FM_DOOR_HERE);
    assert_int_equal(fm_door_distance(false, true, true), FM_DOOR_ZONE);
    assert_int_equal(fm_door_distance(false, true, false), FM_DOOR_NEAR);
    assert_true(FM_DOOR_HERE < FM_DOOR_ZONE && FM_DOOR_ZONE < FM_DOOR_NEAR); /* the nearest first */
    assert_int_equal(fm_door_distance(false, false, true), FM_DOOR_NO_WAY);  /* another one's `a` */
    assert_int_equal(fm_door_distance(false, false, false), FM_DOOR_NO_WAY);
}

static void every_reason_has_a_name_and_a_state(void **state)
{
    (void)state;
    for (unsigned w = 0; w < FM_DOOR_WHY_COUNT; w++) {
        assert_true(strlen(fm_door_why_name((enum fm_door_why)w)) > 0);
        assert_int_equal(strlen(fm_door_why_state((enum fm_door_why)w)), 5);
        assert_true(strlen(fm_door_why_text((enum fm_door_why)w)) > 0);
    }
    assert_string_equal(fm_door_kind_name(FM_DOOR_READ_WRITE), "read-write");
    assert_string_equal(fm_door_kind_name(FM_DOOR_READ_ONLY), "read-only");
}

FM_TEST_MAIN(
    fm_test(a_writer_gets_the_primary_of_the_live_epoch),
    fm_test(a_move_makes_writers_wait_for_a_while), fm_test(a_lapsed_right_passes_nobody_on),
    fm_test(writers_are_not_served_across_regions),
    fm_test(where_no_node_can_be_reached_nobody_listens),
    fm_test(a_primary_that_left_the_group_is_reached_as_long_as_it_is_one),
    fm_test(nobody_writes_where_an_operator_says_so),
    fm_test(a_node_that_does_not_answer_is_tried_again_later),
    fm_test(readers_get_the_nearest_standby_in_the_bound), fm_test(what_was_seen_long_ago_lags),
    fm_test(readers_get_the_primary_else), fm_test(a_session_ends_with_its_epoch),
    fm_test(a_session_waits_out_a_lapse), fm_test(a_session_ends_where_its_node_is_something_else),
    fm_test(a_reader_never_comes_to_write), fm_test(a_standby_is_as_old_as_what_it_has_applied),
    fm_test(a_delayed_node_is_away_for_readers_however_level_it_is),
    fm_test(a_primary_is_one_when_it_is_open), fm_test(a_crowd_of_readers_waits_for_its_standby),
    fm_test(a_visit_gets_the_primary_here_under_the_epoch_that_it_names),
    fm_test(a_visit_goes_no_further_than_here), fm_test(a_stamp_does_not_reach_across),
    fm_test(every_reason_has_a_name_and_a_state))
