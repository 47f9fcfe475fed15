/* What a primary may acknowledge, and what a failover can lose. Node 0 is the primary. */
#include "credit_scene.h"

static void begin_with(uint64_t bytes, enum fm_credit_beyond beyond, uint32_t recorded)
{
    const struct fm_credit_policy p = {.bytes = bytes,
                                       .beyond = (uint8_t)beyond,
                                       .patience_ms = PATIENCE,
                                       .able = ONE | TWO | THREE};
    begin_as(&p, recorded);
}

/* -------- grants -------- */

static void the_least_of_those_that_count_bounds_it(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_BLOCKS, ONE | TWO);
    assert_int_equal(grant(), 0); /* nobody is heard of */
    flushed(1, 300);
    assert_int_equal(grant(), 0);
    flushed(2, 200);
    assert_int_equal(grant(), 200 + CREDIT);
    flushed(3, 50); /* does not count */
    assert_int_equal(grant(), 200 + CREDIT);
    flushed(2, 700);
    assert_int_equal(grant(), 300 + CREDIT);
    flushed(1, 250); /* a late one: it has flushed more than that */
    assert_int_equal(grant(), 300 + CREDIT);
}

static void no_credit_grants_what_all_have(void **state)
{
    (void)state;
    begin_with(0, FM_CREDIT_BLOCKS, ONE);
    written(500);
    flushed(1, 400);
    assert_int_equal(grant(), 400);
    check_bound(FM_CREDIT_ENFORCED, 0);
}

static void without_a_live_sub_lease_nothing_more_is_granted(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_BLOCKS, ONE);
    flushed(1, 100);
    assert_int_equal(grant(), 100 + CREDIT);
    until = now; /* its last instant is over */
    flushed(1, 200);
    assert_int_equal(grant(), 100 + CREDIT);
    until = fm_mono_add_ms(now, 1);
    assert_int_equal(grant(), 200 + CREDIT);
    until = FM_MONO_ZERO; /* stopped */
    flushed(1, 300);
    assert_int_equal(grant(), 200 + CREDIT);
}

static void block_writes_waits_without_end(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_BLOCKS, ONE);
    flushed(1, 0);
    assert_int_equal(grant(), CREDIT);
    written(CREDIT);
    assert_false(fm_credit_look(&c, now).waiting);
    written(CREDIT + 1);
    struct fm_credit_verdict v = fm_credit_look(&c, now);
    assert_true(v.waiting);
    assert_false(v.used_up);
    assert_int_equal(v.node, 1);
    assert_int_equal(fm_mono_sub_ms(v.wake, now), PATIENCE);
    later(3600 * 1000 - 10);
    v = fm_credit_look(&c, now);
    assert_true(v.used_up);
    assert_int_equal(v.wanted, ONE);
    assert_int_equal(grant(), CREDIT);
    check_bound(FM_CREDIT_ENFORCED, CREDIT);
    flushed(1, 900); /* it wakes up */
    assert_int_equal(grant(), 900 + CREDIT);
    assert_false(fm_credit_look(&c, now).waiting);
}

static void block_writes_grants_nothing_where_nobody_counts(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_BLOCKS, 0);
    assert_int_equal(grant(), 0);
    check_bound(FM_CREDIT_UNBOUNDED, 0);
    flushed(1, 0);
    assert_int_equal(wanted(), ONE);
    assert_int_equal(grant(), CREDIT); /* from when it may be recorded */
    check_bound(FM_CREDIT_UNBOUNDED, 0);
    record(ONE);
    check_bound(FM_CREDIT_ENFORCED, CREDIT);
}

/* -------- leaving and joining -------- */

/* A standby that stands still is ignored only when it is recorded that it has left. */
static void who_leaves_counts_until_that_is_recorded(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_LEAVES, ONE | TWO);
    flushed(1, 0);
    flushed(2, 0);
    assert_int_equal(grant(), CREDIT);
    written(CREDIT + 10);
    flushed(2, CREDIT + 10);
    later(PATIENCE - 1);
    assert_int_equal(wanted(), ONE | TWO);
    written(CREDIT + 10); /* over since the look before */
    later(1);
    assert_int_equal(wanted(), TWO);
    assert_int_equal(grant(), CREDIT);
    fm_credit_recorded(&c, ONE | TWO, TWO); /* on its way, or its outcome is not known */
    assert_int_equal(grant(), CREDIT);
    record(TWO);
    assert_int_equal(grant(), 2 * CREDIT + 10);
    check_bound(FM_CREDIT_ENFORCED, CREDIT);
}

static void nobody_waits_for_one_that_receives_nothing_on_purpose(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_LEAVES, ONE | TWO);
    flushed(1, 0);
    flushed(2, 0);
    fm_credit_apart(&c, ONE | UINT32_C(1)); /* the primary itself is not one of them */
    assert_int_equal(c.apart, ONE);
    assert_int_equal(grant(), CREDIT);
    fm_credit_flushed(&c, 1, lsn(0), false, now);
    written(CREDIT); /* the credit lasts: it counts, and the bound is the same */
    flushed(2, CREDIT);
    later(10 * PATIENCE);
    assert_int_equal(wanted(), ONE | TWO);
    check_bound(FM_CREDIT_ENFORCED, CREDIT);
    written(CREDIT + 10);
    flushed(2, CREDIT + 10);
    assert_int_equal(wanted(), TWO); /* at once */
    assert_int_equal(grant(), CREDIT);
    record(TWO);
    assert_int_equal(grant(), 2 * CREDIT + 10);
    fm_credit_apart(&c, 0);
    flushed(1, CREDIT + 10); /* it follows again */
    assert_int_equal(wanted(), ONE | TWO);
    begin_with(CREDIT, FM_CREDIT_BLOCKS, ONE);
    flushed(1, 0);
    assert_int_equal(grant(), CREDIT);
    fm_credit_apart(&c, ONE);
    written(CREDIT + 10);
    assert_int_equal(wanted(), ONE); /* declared is declared */
}

static void one_that_holds_nobody_up_does_not_leave_with_it(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_LEAVES, ONE | TWO);
    flushed(1, 0);
    flushed(2, CREDIT);
    assert_int_equal(grant(), CREDIT);
    written(CREDIT + 500);
    later(PATIENCE);
    assert_int_equal(wanted(), TWO);
    record(TWO);
    assert_int_equal(wanted(), TWO); /* before anything more was granted */
    assert_int_equal(grant(), 2 * CREDIT);
    assert_false(fm_credit_look(&c, now).waiting);
}

static void without_anybody_it_goes_a_window_ahead(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_LEAVES, ONE);
    flushed(1, 0);
    assert_int_equal(grant(), CREDIT);
    written(CREDIT + 1);
    later(PATIENCE);
    assert_int_equal(wanted(), 0);
    check_bound(FM_CREDIT_UNBOUNDED, 0);
    record(0);
    assert_int_equal(grant(), CREDIT + 1 + FM_CREDIT_WINDOW);
    check_bound(FM_CREDIT_UNBOUNDED, 0);
    until = now; /* and fails closed */
    written(CREDIT + 1 + FM_CREDIT_WINDOW);
    assert_int_equal(grant(), CREDIT + 1 + FM_CREDIT_WINDOW);
}

/* What was granted meanwhile cannot be taken back: it joins when it has that. */
static void who_returns_joins_within_its_credit(void **state)
{
    (void)state;
    uint64_t far = 100 * FM_CREDIT_WINDOW;
    begin_with(CREDIT, FM_CREDIT_LEAVES, 0);
    written(far);
    uint64_t granted = grant();
    assert_int_equal(granted, far + FM_CREDIT_WINDOW);
    flushed(1, 10);
    assert_int_equal(wanted(), 0);
    flushed(1, far - FM_CREDIT_WINDOW); /* near: it holds back what is granted from now on */
    struct fm_credit_verdict v = fm_credit_look(&c, now);
    assert_int_equal(v.wanted, 0);
    assert_int_equal(v.joining, ONE);
    assert_int_equal(v.joins_at.n, lsn(granted - CREDIT).n);
    written(far + FM_CREDIT_WINDOW);
    assert_int_equal(grant(), granted);
    flushed(1, granted - CREDIT - 1);
    assert_int_equal(wanted(), 0);
    flushed(1, granted - CREDIT);
    assert_int_equal(wanted(), ONE);
    assert_int_equal(grant(), granted);
    record(ONE);
    check_bound(FM_CREDIT_ENFORCED, CREDIT);
}

static void one_that_stands_still_while_it_joins_is_let_go(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_LEAVES, 0);
    uint64_t granted = grant();
    flushed(1, 0);
    (void)wanted();
    c.hole = FM_LSN_NONE;
    assert_int_equal(fm_credit_look(&c, now).joining, ONE);
    written(granted + 1);
    assert_int_equal(grant(), granted); /* commits wait for it */
    later(PATIENCE);
    assert_int_equal(fm_credit_look(&c, now).joining, 0);
    assert_int_equal(grant(), granted + 1 + FM_CREDIT_WINDOW);
}

static void only_those_that_are_able_and_receive_join(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_BLOCKS, 0);
    c.policy.able = TWO;
    flushed(1, 0); /* delayed on purpose */
    fm_credit_flushed(&c, 2, lsn(0), false, now);
    assert_int_equal(wanted(), 0);
    fm_credit_flushed(&c, 2, lsn(0), true, now);
    assert_int_equal(wanted(), TWO);
    /* it is not heard any more: it counts all the same */
    record(TWO);
    fm_credit_flushed(&c, 2, lsn(0), false, now);
    assert_int_equal(wanted(), TWO);
}

static void data_that_are_thrown_away_stop_grants_until_that_is_recorded(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_LEAVES, ONE | TWO);
    flushed(1, 500);
    flushed(2, 500);
    assert_int_equal(grant(), 500 + CREDIT);
    fm_credit_lost(&c, 1);
    flushed(2, 600);
    assert_int_equal(grant(), 500 + CREDIT);
    assert_int_equal(wanted(), TWO);
    record(TWO);
    assert_int_equal(grant(), 600 + CREDIT);
}

/* -------- sync -------- */

static void commits_that_always_wait_a_little_have_not_used_it_up(void **state)
{
    (void)state;
    begin_with(0, FM_CREDIT_LEAVES, ONE);
    for (uint64_t at = 0; at < 100; at++) {
        flushed(1, at);
        (void)grant();
        written(at + 1);
        later(PATIENCE / 10);
        assert_int_equal(wanted(), ONE);
    }
    later(PATIENCE);
    assert_int_equal(wanted(), 0);
}

/* PostgreSQL waits for the standby itself; the grant carries the sub-lease. */
static void what_the_server_waits_for_itself_needs_no_poll(void **state)
{
    (void)state;
    begin_with(0, FM_CREDIT_LEAVES, ONE);
    flushed(1, 0);
    written(500);
    assert_int_equal(grant(), 0);
    fm_credit_native(&c, ONE);
    assert_int_equal(grant(), 500 + FM_CREDIT_WINDOW);
    check_bound(FM_CREDIT_ENFORCED, 500); /* it may have acknowledged that before it waited */
    flushed(1, 499);
    check_bound(FM_CREDIT_ENFORCED, 1);
    flushed(1, 500);
    check_bound(FM_CREDIT_ENFORCED, 0);
    written(900);
    check_bound(FM_CREDIT_ENFORCED, 0);
    assert_true(fm_credit_look(&c, now).waiting);
    later(PATIENCE);
    assert_int_equal(wanted(), 0);
    /* not any more: all that was granted may be acknowledged */
    c.wanted = ONE;
    fm_credit_native(&c, 0);
    check_bound(FM_CREDIT_ENFORCED, FM_CREDIT_WINDOW);
}

/* -------- the bound -------- */

static void where_nothing_is_bounded_it_is_an_estimate(void **state)
{
    (void)state;
    begin_with(FM_CREDIT_UNLIMITED, FM_CREDIT_LEAVES, ONE);
    flushed(1, 0);
    written(5000);
    assert_int_equal(grant(), 5000 + FM_CREDIT_WINDOW);
    check_bound(FM_CREDIT_ESTIMATE, 5000);
}

static void a_hole_makes_it_an_estimate_until_it_is_passed(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_LEAVES, ONE | TWO);
    flushed(1, 500);
    flushed(2, 500);
    written(600);
    assert_int_equal(grant(), 500 + CREDIT);
    check_bound(FM_CREDIT_ENFORCED, CREDIT);
    fm_credit_hole(&c, lsn(600));
    check_bound(FM_CREDIT_ESTIMATE, CREDIT);
    assert_int_equal(fm_credit_holes_to(&c).n, lsn(600).n);
    flushed(1, 600);
    check_bound(FM_CREDIT_ESTIMATE, CREDIT);
    flushed(2, 599);
    assert_int_equal(fm_credit_holes_to(&c).n, lsn(600).n);
    check_bound(FM_CREDIT_ESTIMATE, 901);
    flushed(2, 600);
    check_bound(FM_CREDIT_ENFORCED, 900);
    assert_true(fm_lsn_is_none(fm_credit_holes_to(&c)));
}

static void while_the_server_does_not_wait_all_is_a_hole(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_LEAVES, ONE);
    flushed(1, 500);
    assert_int_equal(grant(), 500 + CREDIT);
    check_bound(FM_CREDIT_ENFORCED, CREDIT);
    fm_credit_in_force(&c, false, lsn(700), now);
    check_bound(FM_CREDIT_ESTIMATE, CREDIT);
    written(5000);
    check_bound(FM_CREDIT_ESTIMATE, 4500);
    assert_true(fm_lsn_same(fm_credit_holes_to(&c), FM_LSN_END)); /* nobody can pass that */
    fm_credit_in_force(&c, true, lsn(6000), now);
    assert_int_equal(fm_credit_holes_to(&c).n, lsn(6000).n);
    flushed(1, 5999);
    check_bound(FM_CREDIT_ESTIMATE, 1); /* what was granted is far behind */
    flushed(1, 6000);
    check_bound(FM_CREDIT_ENFORCED, 0);
    fm_credit_in_force(&c, true, lsn(7000), now); /* nothing new */
    check_bound(FM_CREDIT_ENFORCED, 0);
    assert_int_equal(grant(), 6000 + CREDIT);
    check_bound(FM_CREDIT_ENFORCED, CREDIT);
}

static void transactions_fit_into_it(void **state)
{
    (void)state;
    begin_with(FM_CREDIT_COMMIT_LEAST * 10, FM_CREDIT_BLOCKS, ONE);
    flushed(1, 100);
    (void)grant();
    assert_int_equal(fm_credit_bound(&c).transactions, 10);
    flushed(1, 101);
    assert_int_equal(fm_credit_bound(&c).transactions, 10);
    flushed(1, 100 + FM_CREDIT_COMMIT_LEAST);
    assert_int_equal(fm_credit_bound(&c).transactions, 9);
}

static void a_bound_that_is_recorded_is_kept(void **state)
{
    (void)state;
    struct fm_evidence e = {.promotable = ONE, .credit = 0};
    assert_true(fm_credit_guards(true, &e));
    assert_true(fm_credit_guards(false, &e));
    e.credit = CREDIT;
    assert_true(fm_credit_guards(false, &e));
    e.credit = FM_CREDIT_UNLIMITED;
    assert_false(fm_credit_guards(false, &e));
    assert_true(fm_credit_guards(true, &e));
    e.near = ONE; /* has none, whatever is said of the others */
    assert_true(fm_credit_guards(false, &e));
    e = (struct fm_evidence){.credit = 0}; /* of nobody */
    assert_false(fm_credit_guards(false, &e));
    assert_true(fm_credit_guards(true, &e));
}

static void one_that_is_recorded_and_not_heard_of_bounds_nothing(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_BLOCKS, ONE | TWO);
    flushed(1, 500);
    check_bound(FM_CREDIT_UNBOUNDED, 0);
}

static void a_smaller_credit_counts_when_it_is_reached(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_BLOCKS, ONE);
    flushed(1, 500);
    assert_int_equal(grant(), 500 + CREDIT);
    assert_int_equal(fm_credit_counts_with(&c), CREDIT);
    fm_credit_change(&c, 10, now);
    assert_int_equal(grant(), 500 + CREDIT);
    assert_int_equal(fm_credit_counts_with(&c), CREDIT);
    check_bound(FM_CREDIT_ENFORCED, CREDIT);
    flushed(1, 500 + CREDIT - 20);
    assert_int_equal(fm_credit_counts_with(&c), 20);
    flushed(1, 500 + CREDIT);
    assert_int_equal(fm_credit_counts_with(&c), 10);
    assert_int_equal(grant(), 500 + CREDIT + 10);
}

static void a_survivor_computes_it_alone(void **state)
{
    (void)state;
    static const struct {
        uint64_t credit;
        uint32_t recorded;
        uint64_t flush, hole;
        enum fm_credit_kind kind;
        uint64_t bytes;
    } cases[] = {
        {CREDIT, ONE | TWO, 500, 0, FM_CREDIT_ENFORCED, CREDIT},
        {0, ONE, 500, 500, FM_CREDIT_ENFORCED, 0},
        {CREDIT, TWO, 500, 0, FM_CREDIT_UNBOUNDED, 0}, /* it did not count */
        {CREDIT, 0, 500, 0, FM_CREDIT_UNBOUNDED, 0},
        {CREDIT, ONE, 0, 0, FM_CREDIT_UNBOUNDED, 0}, /* it has nothing */
        {FM_CREDIT_UNLIMITED, ONE, 500, 0, FM_CREDIT_ESTIMATE, 0},
        {CREDIT, ONE, 500, 501, FM_CREDIT_ESTIMATE, CREDIT},
        {CREDIT, ONE, 500, 9500, FM_CREDIT_ESTIMATE, 9000},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        const struct fm_evidence r = {
            .promotable = cases[i].recorded, .credit = cases[i].credit, .holes_to = cases[i].hole};
        struct fm_credit_bound b =
            fm_credit_bound_of_survivor(&r, 1, (struct fm_lsn){cases[i].flush});
        assert_int_equal(b.kind, cases[i].kind);
        assert_int_equal(b.bytes, cases[i].bytes);
    }
    assert_string_equal(fm_credit_kind_name(FM_CREDIT_ESTIMATE), "estimate");
}

/* -------- what is recorded -------- */

static void hear(const struct fm_credit_asked *a, uint64_t newest, uint32_t nodes, uint64_t credit,
                 uint64_t declared)
{
    const struct fm_evidence r = {.promotable = nodes, .credit = credit};
    fm_credit_hear(&c, a, (struct fm_revision){newest}, &r, declared, now);
}

static void ask(struct fm_credit_asked *a, uint64_t over, uint32_t nodes, uint64_t credit)
{
    const struct fm_evidence e = {.promotable = nodes, .credit = credit};
    fm_credit_ask(a, (struct fm_revision){over}, &e);
}

static void what_was_asked_over_the_newest_record_may_yet_be_applied(void **state)
{
    (void)state;
    struct fm_credit_asked a = {0};
    begin_with(CREDIT, FM_CREDIT_LEAVES, ONE);
    ask(&a, 7, ONE | TWO, CREDIT);
    ask(&a, 7, TWO, CREDIT); /* the first one is not gone by it */
    hear(&a, 7, ONE, CREDIT, CREDIT);
    assert_int_equal(c.may_be_recorded, ONE | TWO);
    hear(&a, 8, ONE, CREDIT, CREDIT); /* it was that, or nothing */
    assert_int_equal(c.may_be_recorded, 0);
    ask(&a, 8, THREE, CREDIT);
    hear(&a, 8, ONE, CREDIT, CREDIT);
    assert_int_equal(c.may_be_recorded, THREE);
    c.policy.able = ONE; /* a configuration has no other node any more */
    hear(&a, 8, ONE | TWO, CREDIT, CREDIT);
    assert_int_equal(c.recorded | c.may_be_recorded, ONE | TWO | THREE); /* may be promoted yet */
    assert_int_equal(wanted(), ONE);
}

static void who_is_able_no_more_holds_commits_until_it_is_recorded_no_more(void **state)
{
    (void)state;
    for (unsigned beyond = FM_CREDIT_BLOCKS; beyond <= FM_CREDIT_LEAVES; beyond++) {
        begin_with(CREDIT, (enum fm_credit_beyond)beyond, ONE | TWO);
        flushed(1, 100);
        flushed(2, 50);
        assert_int_equal(wanted(), ONE | TWO);
        uint64_t before = grant();
        c.policy.able = ONE; /* the other one is delayed from now on, or was taken out */
        assert_int_equal(wanted(), ONE);
        flushed(1, 1000);
        assert_int_equal(grant(), before);
        record(ONE);
        assert_int_equal(grant(), 1000 + CREDIT);
        assert_int_equal(wanted(), ONE);
    }
}

static void a_larger_credit_is_in_force_once_that_is_recorded(void **state)
{
    (void)state;
    struct fm_credit_asked a = {0};
    begin_with(CREDIT, FM_CREDIT_LEAVES, ONE);
    hear(&a, 7, ONE, CREDIT, 3 * CREDIT);
    assert_int_equal(c.policy.bytes, CREDIT);
    hear(&a, 8, ONE, 3 * CREDIT, 3 * CREDIT);
    assert_int_equal(c.policy.bytes, 3 * CREDIT);
    hear(&a, 8, ONE, 3 * CREDIT, 10); /* a smaller one at once */
    assert_int_equal(c.policy.bytes, 10);
    ask(&a, 8, ONE, 10);
    hear(&a, 8, ONE, 3 * CREDIT, 2 * CREDIT); /* ... until that cannot be recorded any more */
    assert_int_equal(c.policy.bytes, 10);
    hear(&a, 9, 0, 10, 2 * CREDIT); /* nobody counts by it */
    assert_int_equal(c.policy.bytes, 2 * CREDIT);
}

/* -------- another configuration -------- */

static void a_primary_that_runs_goes_by_another_policy(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_BLOCKS, ONE);
    flushed(1, 0);
    (void)grant();
    written(CREDIT + 1);
    (void)wanted();
    later(PATIENCE);
    assert_int_equal(wanted(), ONE);
    struct fm_credit_policy p = c.policy;
    p.beyond = FM_CREDIT_LEAVES;
    p.bytes = 7; /* is told with what is recorded */
    fm_credit_reset(&c, &p);
    assert_int_equal(c.policy.bytes, CREDIT);
    assert_int_equal(wanted(), 0);
}

/* -------- carrying it out -------- */

static void a_grant_is_reported_before_commits_would_wait_for_it(void **state)
{
    (void)state;
    struct fm_lsn said = lsn(FM_CREDIT_WINDOW), more = lsn(2 * FM_CREDIT_WINDOW);
    assert_true(fm_credit_is_due(lsn(1), FM_LSN_NONE, lsn(0)));
    assert_false(fm_credit_is_due(said, said, lsn(FM_CREDIT_WINDOW)));
    assert_false(fm_credit_is_due(lsn(1), said, lsn(FM_CREDIT_WINDOW)));
    assert_false(fm_credit_is_due(more, said, lsn(FM_CREDIT_WINDOW / 2 - 1)));
    assert_true(fm_credit_is_due(more, said, lsn(FM_CREDIT_WINDOW / 2)));
    assert_true(fm_credit_is_due(more, said, lsn(3 * FM_CREDIT_WINDOW)));
}

static void what_was_said_is_said_again_while_the_right_lasts(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_LEAVES, ONE);
    struct fm_mono at = now;
    later(FM_CREDIT_AGAIN_MS - 1);
    assert_false(fm_credit_is_due_again(lsn(1), at, until, now));
    later(1);
    assert_true(fm_credit_is_due_again(lsn(1), at, until, now));
    assert_false(fm_credit_is_due_again(FM_LSN_NONE, at, until, now));
    assert_false(fm_credit_is_due_again(lsn(1), at, now, now)); /* the sub-lease is over */
}

static void half_of_a_grant_is_left_when_it_becomes_short(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_LEAVES, ONE);
    flushed(1, 0);
    (void)grant();
    written(CREDIT / 2 - 1);
    assert_false(fm_credit_is_short(&c));
    written(CREDIT / 2);
    assert_true(fm_credit_is_short(&c));
    begin_with(FM_CREDIT_UNLIMITED, FM_CREDIT_LEAVES, ONE); /* of a window */
    flushed(1, 0);
    (void)grant();
    assert_false(fm_credit_is_short(&c));
    c.joining = TWO;
    assert_true(fm_credit_is_short(&c));
    c.joining = 0;
    written(FM_CREDIT_WINDOW / 2);
    assert_true(fm_credit_is_short(&c));
}

/* 0/5000028 at the primary is 0/5000000 at a standby that has all of it. */
static void a_log_that_ends_behind_a_header_moves_on(void **state)
{
    (void)state;
    const struct fm_credit_verdict v = {0};
    begin_with(CREDIT, FM_CREDIT_LEAVES, ONE);
    uint64_t page = 0x5000000 - START;
    flushed(1, page);
    written(page + 40);
    (void)fm_credit_move_on(&c, &v, now);
    later(FM_CREDIT_MOVE_ON_MS - 1);
    assert_int_equal(fm_credit_move_on(&c, &v, now), 0);
    later(1);
    assert_int_equal(fm_credit_move_on(&c, &v, now), 1);
    written(page + 41); /* more than a header */
    later(FM_CREDIT_MOVE_ON_MS);
    assert_int_equal(fm_credit_move_on(&c, &v, now), 0);
    flushed(1, page + 41);
    later(FM_CREDIT_MOVE_ON_MS);
    assert_int_equal(fm_credit_move_on(&c, &v, now), 0);
}

static void a_log_that_nobody_writes_moves_on_for_who_joins(void **state)
{
    (void)state;
    begin_with(CREDIT, FM_CREDIT_LEAVES, 0);
    struct fm_credit_verdict v = {.joins_at = lsn(500)};
    later(FM_CREDIT_MOVE_ON_MS);
    assert_int_equal(fm_credit_move_on(&c, &v, now), 0); /* nobody joins */
    v.joining = ONE;
    later(FM_CREDIT_MOVE_ON_MS - 1);
    assert_int_equal(fm_credit_move_on(&c, &v, now), 0);
    later(1);
    assert_int_equal(fm_credit_move_on(&c, &v, now), 500);
    assert_int_equal(fm_credit_move_on(&c, &v, now), 0); /* on its way */
    written(200);
    later(FM_CREDIT_MOVE_ON_MS);
    assert_int_equal(fm_credit_move_on(&c, &v, now), 300);
    written(500);
    later(FM_CREDIT_MOVE_ON_MS);
    assert_int_equal(fm_credit_move_on(&c, &v, now), 0); /* it is there */
    v.joins_at = lsn(500 + 10 * FM_CREDIT_WINDOW);
    later(FM_CREDIT_MOVE_ON_MS);
    assert_int_equal(fm_credit_move_on(&c, &v, now), FM_CREDIT_MOVE_ON_MAX);
}

static void the_server_waits_for_all_that_may_count(void **state)
{
    (void)state;
    begin_with(0, FM_CREDIT_LEAVES, ONE);
    struct fm_credit_policy p = c.policy;
    assert_int_equal(fm_credit_names(&p, NULL, TWO), TWO);
    assert_int_equal(fm_credit_names(&p, &c, TWO), ONE); /* it knows more than the record */
    fm_credit_recorded(&c, ONE, TWO);
    c.joining = THREE;
    assert_int_equal(fm_credit_names(&p, &c, ONE), ONE | TWO | THREE);
    p.able = ONE | THREE; /* the other one is waited for until it is not recorded any more */
    assert_int_equal(fm_credit_names(&p, &c, ONE), ONE | TWO | THREE);
    p.beyond = FM_CREDIT_BLOCKS;
    assert_int_equal(fm_credit_names(&p, &c, ONE), ONE | TWO | THREE);
    fm_credit_recorded(&c, ONE, 0);
    c.joining = 0;
    assert_int_equal(fm_credit_names(&p, &c, 0), ONE | THREE); /* each of them, whoever counts */
    p.beyond = FM_CREDIT_LEAVES;
    assert_int_equal(fm_credit_names(&p, &c, 0), ONE);
}

static void a_stream_does_not_outlive_the_names_that_it_was_begun_by(void **state)
{
    (void)state;
    struct fm_credit_stream s = {0};
    assert_true(fm_credit_stream_fits(&s, false, ONE)); /* closed: it reads them later */
    assert_int_equal(s.names, 0);
    assert_true(fm_credit_stream_fits(&s, true, TWO));
    assert_int_equal(s.names, TWO);
    assert_true(fm_credit_stream_fits(&s, true, TWO));
    assert_true(fm_credit_stream_fits(&s, false, ONE)); /* closed again: it acknowledges nothing */
    assert_false(fm_credit_stream_fits(&s, true, ONE | TWO));
    assert_true(fm_credit_stream_fits(&s, true, ONE | TWO)); /* another one was begun */
}

/* -------- a walk -------- */

struct model {
    uint64_t flush[4], written, acknowledged;
    uint32_t recorded;
    uint64_t reported;
};

static uint32_t chance;

static uint32_t draw(uint32_t below)
{
    chance = chance * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)(chance >> 8) * below >> 24);
}

/* What a survivor says by the record and its own flush is never less than what it lacks, and never
 * is the bound of the primary. */
static void check_model(const struct model *m, uint64_t credit)
{
    struct fm_credit_bound of_primary = fm_credit_bound(&c);
    for (unsigned i = 1; i <= 3; i++) {
        if (!(m->recorded >> i & 1))
            continue;
        uint64_t lost = m->acknowledged > m->flush[i] ? m->acknowledged - m->flush[i] : 0;
        assert_true(lost <= credit);
        if (of_primary.kind == FM_CREDIT_ENFORCED && c.wanted & UINT32_C(1) << i)
            assert_true(lost <= of_primary.bytes);
    }
}

/* A primary that acknowledges all it may at any time, standbys that stop, go on and throw their
 * data away, a record that is written late or whose outcome is not known. */
static void walk(uint32_t seed, uint64_t credit, enum fm_credit_beyond beyond)
{
    struct model m = {.recorded = ONE | TWO};
    uint32_t on_its_way = 0;
    chance = seed;
    begin_with(credit, beyond, m.recorded);
    for (unsigned i = 1; i <= 3; i++)
        m.flush[i] = START;
    m.written = m.acknowledged = START;
    for (unsigned step = 0; step < 400; step++) {
        later(draw(200));
        m.written += draw(3) ? draw(700) : 0;
        for (unsigned i = 1; i <= 3; i++) {
            if (draw(4 + step / 100 * i))
                m.flush[i] += (m.written - m.flush[i]) * draw(9) / 8;
            if (draw(3))
                fm_credit_flushed(&c, i, (struct fm_lsn){m.flush[i]}, true, now);
        }
        fm_credit_written(&c, (struct fm_lsn){m.written}, now);
        m.reported = fm_credit_grant(&c, until, now).n;
        m.acknowledged = fm_max_u64(m.acknowledged, fm_min_u64(m.written, m.reported));
        check_model(&m, credit);
        uint32_t set = fm_credit_look(&c, now).wanted;
        if (!on_its_way)
            on_its_way = set;
        unsigned fate = draw(6);
        if (fate <= 1) /* done; its answer may be lost, and then both may be */
            m.recorded = on_its_way;
        if (fate == 0 || fate == 2) {
            on_its_way = fate == 0 ? 0 : on_its_way;
            fm_credit_recorded(&c, m.recorded, on_its_way);
        } else if (fate == 1) {
            fm_credit_recorded(&c, c.recorded, on_its_way);
        }
        check_model(&m, credit);
    }
}

static void a_walk_never_lies(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 300; seed++) {
        walk(seed, 0, seed & 1 ? FM_CREDIT_LEAVES : FM_CREDIT_BLOCKS);
        walk(seed, CREDIT, seed & 1 ? FM_CREDIT_LEAVES : FM_CREDIT_BLOCKS);
    }
}

static void a_bound_that_is_known_is_less_than_one_that_is_not(void **state)
{
    (void)state;
    static const struct fm_credit_bound up[] = {{.kind = FM_CREDIT_ENFORCED, .bytes = 8},
                                                {.kind = FM_CREDIT_ENFORCED, .bytes = 9},
                                                {.kind = FM_CREDIT_ESTIMATE, .bytes = 0},
                                                {.kind = FM_CREDIT_UNBOUNDED, .bytes = 0}};
    for (unsigned i = 0; i < FM_COUNT(up); i++)
        for (unsigned k = 0; k < FM_COUNT(up); k++)
            assert_int_equal(fm_credit_bound_is_less(&up[i], &up[k]), i < k);
}

FM_TEST_MAIN(
    fm_test(a_bound_that_is_recorded_is_kept), fm_test(the_least_of_those_that_count_bounds_it),
    fm_test(no_credit_grants_what_all_have),
    fm_test(without_a_live_sub_lease_nothing_more_is_granted),
    fm_test(block_writes_waits_without_end),
    fm_test(block_writes_grants_nothing_where_nobody_counts),
    fm_test(who_leaves_counts_until_that_is_recorded),
    fm_test(nobody_waits_for_one_that_receives_nothing_on_purpose),
    fm_test(one_that_holds_nobody_up_does_not_leave_with_it),
    fm_test(without_anybody_it_goes_a_window_ahead), fm_test(who_returns_joins_within_its_credit),
    fm_test(one_that_stands_still_while_it_joins_is_let_go),
    fm_test(only_those_that_are_able_and_receive_join),
    fm_test(who_is_able_no_more_holds_commits_until_it_is_recorded_no_more),
    fm_test(data_that_are_thrown_away_stop_grants_until_that_is_recorded),
    fm_test(commits_that_always_wait_a_little_have_not_used_it_up),
    fm_test(what_the_server_waits_for_itself_needs_no_poll),
    fm_test(where_nothing_is_bounded_it_is_an_estimate),
    fm_test(a_hole_makes_it_an_estimate_until_it_is_passed),
    fm_test(while_the_server_does_not_wait_all_is_a_hole), fm_test(transactions_fit_into_it),
    fm_test(one_that_is_recorded_and_not_heard_of_bounds_nothing),
    fm_test(a_smaller_credit_counts_when_it_is_reached), fm_test(a_survivor_computes_it_alone),
    fm_test(what_was_asked_over_the_newest_record_may_yet_be_applied),
    fm_test(a_larger_credit_is_in_force_once_that_is_recorded),
    fm_test(a_primary_that_runs_goes_by_another_policy),
    fm_test(a_grant_is_reported_before_commits_would_wait_for_it),
    fm_test(what_was_said_is_said_again_while_the_right_lasts),
    fm_test(half_of_a_grant_is_left_when_it_becomes_short),
    fm_test(a_log_that_ends_behind_a_header_moves_on),
    fm_test(a_log_that_nobody_writes_moves_on_for_who_joins),
    fm_test(the_server_waits_for_all_that_may_count),
    fm_test(a_stream_does_not_outlive_the_names_that_it_was_begun_by),
    fm_test(a_bound_that_is_known_is_less_than_one_that_is_not), fm_test(a_walk_never_lies))
