/* Standbys of the primary's own region without a credit, beside others that have one. Node 0 is the
 * primary, 1 is of its region. */
#include "credit_scene.h"

#include "base/rand.h"

static const struct fm_credit_policy policy = {.bytes = CREDIT,
                                               .beyond = FM_CREDIT_LEAVES,
                                               .patience_ms = PATIENCE,
                                               .able = ONE | TWO | THREE,
                                               .near = ONE};

static void begin_with(const struct fm_credit_policy *p, uint32_t recorded, uint32_t near)
{
    const struct fm_evidence e = {.promotable = recorded, .near = near, .credit = p->bytes};
    now = (struct fm_mono){1000 * FM_NS_PER_S};
    until = fm_mono_add_ms(now, 3600 * 1000);
    fm_credit_init(&c, p, 0, &e, lsn(0), now);
    fm_credit_in_force(&c, true, lsn(0), now);
}

static void begin(enum fm_credit_beyond beyond)
{
    struct fm_credit_policy p = policy;
    p.beyond = (uint8_t)beyond;
    begin_with(&p, ONE | TWO, ONE);
}

static void record_both(uint32_t nodes, uint32_t near)
{
    fm_credit_recorded_near(&c, near, 0);
    fm_credit_recorded(&c, nodes, 0);
}

static uint32_t near(void)
{
    return fm_credit_look(&c, now).near;
}

/* -------- grants -------- */

static void nothing_is_granted_that_a_near_one_lacks(void **state)
{
    (void)state;
    begin(FM_CREDIT_LEAVES);
    flushed(1, 100);
    flushed(2, 0);
    assert_int_equal(grant(), 100);
    flushed(1, 900);
    assert_int_equal(grant(), 900);
    flushed(1, 5000); /* the other one is behind by all that it may */
    assert_int_equal(grant(), CREDIT);
    flushed(2, 300);
    assert_int_equal(grant(), 300 + CREDIT);
    assert_int_equal(near(), ONE);
}

static void the_server_waits_for_a_near_one_itself(void **state)
{
    (void)state;
    begin(FM_CREDIT_LEAVES);
    flushed(1, 0);
    flushed(2, 0);
    written(500);
    assert_int_equal(fm_credit_near_names(&c, 0), ONE);
    assert_int_equal(fm_credit_near_names(NULL, TWO), TWO);
    assert_int_equal(grant(), 0);
    fm_credit_native(&c, ONE);
    assert_int_equal(grant(), CREDIT); /* the others bound it */
    flushed(1, 499);
    check_bound(FM_CREDIT_ENFORCED, CREDIT);
    begin_with(&policy, ONE, ONE);
    fm_credit_native(&c, ONE);
    flushed(1, 0);
    written(500);
    assert_int_equal(grant(), CREDIT); /* what it may lack once that is recorded */
    flushed(1, 400);
    check_bound(FM_CREDIT_ENFORCED, 0); /* no commit behind it is acknowledged */
}

static void where_it_is_declared_nothing_is_granted_far_ahead(void **state)
{
    (void)state;
    struct fm_credit_policy p = policy;
    p.bytes = 100 * (uint64_t)FM_CREDIT_WINDOW;
    begin_with(&p, TWO, 0);
    flushed(2, 0);
    written(10);
    assert_int_equal(grant(), 10 + FM_CREDIT_WINDOW);
    p.near = 0;
    fm_credit_reset(&c, &p);
    assert_int_equal(grant(), p.bytes);
}

/* -------- joining and leaving -------- */

static void one_joins_when_it_has_all_that_was_granted(void **state)
{
    (void)state;
    begin_with(&policy, TWO, 0);
    c.hole = FM_LSN_NONE;
    flushed(2, 0);
    assert_int_equal(grant(), CREDIT);
    flushed(1, CREDIT - 1);
    written(CREDIT - 1);
    struct fm_credit_verdict v = fm_credit_look(&c, now);
    assert_int_equal(v.wanted, TWO);
    assert_int_equal(v.near, 0);
    assert_int_equal(v.joining, ONE);
    assert_int_equal(v.joins_at.n, lsn(CREDIT).n);
    flushed(2, 500);
    assert_int_equal(grant(), CREDIT); /* it holds it back from now on */
    flushed(1, CREDIT);
    v = fm_credit_look(&c, now);
    assert_int_equal(v.wanted, ONE | TWO);
    assert_int_equal(v.near, ONE);
    assert_int_equal(v.joining, 0);
    assert_int_equal(grant(), CREDIT);
    record_both(ONE | TWO, ONE);
    flushed(1, CREDIT + 1);
    assert_int_equal(grant(), CREDIT + 1);
}

/* The key is turned on: one that counts with a credit gets none when it has what was granted. */
static void one_that_counts_gives_its_credit_up(void **state)
{
    (void)state;
    struct fm_credit_policy p = policy;
    p.near = 0;
    begin_with(&p, ONE | TWO, 0);
    flushed(1, 0);
    flushed(2, 0);
    assert_int_equal(grant(), CREDIT);
    assert_int_equal(near(), 0);
    fm_credit_reset(&c, &policy);
    struct fm_credit_verdict v = fm_credit_look(&c, now);
    assert_int_equal(v.wanted, ONE | TWO);
    assert_int_equal(v.near, 0);
    assert_int_equal(v.joining, ONE);
    assert_int_equal(v.joins_at.n, lsn(CREDIT).n);
    assert_true(fm_credit_is_short(&c));
    written(CREDIT);
    flushed(2, CREDIT);
    flushed(1, CREDIT - 1);
    assert_int_equal(near(), 0);
    assert_int_equal(grant(), CREDIT);
    flushed(1, CREDIT);
    assert_int_equal(near(), ONE);
    fm_credit_recorded_near(&c, 0, ONE); /* on its way */
    flushed(1, CREDIT + 7);
    assert_int_equal(grant(), CREDIT + 7);
    record_both(ONE | TWO, ONE);
    assert_int_equal(grant(), CREDIT + 7);
}

static void no_log_is_written_for_a_credit_that_was_granted_before(void **state)
{
    (void)state;
    struct fm_credit_policy p = policy;
    p.near = 0;
    p.bytes = FM_CREDIT_MOVE_ON_MAX + 1;
    begin_with(&p, ONE | TWO, 0);
    flushed(1, 0);
    flushed(2, 0);
    assert_int_equal(grant(), FM_CREDIT_MOVE_ON_MAX + 1);
    p.near = ONE;
    fm_credit_reset(&c, &p);
    struct fm_credit_verdict v = fm_credit_look(&c, now);
    assert_int_equal(v.joining, ONE);
    assert_true(fm_lsn_is_none(v.joins_at));
    later(FM_CREDIT_MOVE_ON_MS);
    assert_int_equal(fm_credit_move_on(&c, &v, now), 0);
    written(1); /* others have written some of it */
    flushed(1, 1);
    v = fm_credit_look(&c, now);
    assert_int_equal(v.joins_at.n, lsn(FM_CREDIT_MOVE_ON_MAX + 1).n);
    later(FM_CREDIT_MOVE_ON_MS);
    assert_int_equal(fm_credit_move_on(&c, &v, now), FM_CREDIT_MOVE_ON_MAX);
}

/* The key is turned off: it is promised until that is not recorded any more. */
static void who_gets_a_credit_has_none_until_that_is_recorded(void **state)
{
    (void)state;
    begin(FM_CREDIT_LEAVES);
    flushed(1, 100);
    flushed(2, 100);
    assert_int_equal(grant(), 100);
    struct fm_credit_policy p = policy;
    p.near = 0;
    fm_credit_reset(&c, &p);
    assert_int_equal(near(), 0);
    assert_int_equal(wanted(), ONE | TWO);
    assert_int_equal(grant(), 100);
    fm_credit_recorded_near(&c, 0, ONE); /* what was asked before may yet be applied */
    assert_int_equal(grant(), 100);
    record_both(ONE | TWO, 0);
    assert_int_equal(grant(), 100 + CREDIT);
}

static void with_block_writes_commits_wait_for_it_at_once_and_for_ever(void **state)
{
    (void)state;
    begin(FM_CREDIT_BLOCKS);
    flushed(1, 100);
    flushed(2, 0);
    assert_int_equal(grant(), 100);
    written(101);
    struct fm_credit_verdict v = fm_credit_look(&c, now);
    assert_true(v.waiting);
    assert_int_equal(v.node, 1); /* the other one has less, and its credit */
    later(3600 * 1000 - 10);
    v = fm_credit_look(&c, now);
    assert_true(v.used_up);
    assert_int_equal(v.wanted, ONE | TWO);
    assert_int_equal(v.near, ONE);
    assert_int_equal(grant(), 100);
}

static void with_no_automatic_it_leaves_when_it_stands_still(void **state)
{
    (void)state;
    begin(FM_CREDIT_LEAVES);
    flushed(1, 100);
    flushed(2, 0);
    assert_int_equal(grant(), 100);
    written(600);
    (void)wanted();
    for (unsigned i = 0; i < 20; i++) { /* slowly, which commits always are without a credit */
        later(PATIENCE / 4);
        flushed(1, 101 + i);
        (void)grant();
        assert_int_equal(wanted(), ONE | TWO);
    }
    later(PATIENCE);
    struct fm_credit_verdict v = fm_credit_look(&c, now);
    assert_int_equal(v.node, 1);
    assert_int_equal(v.wanted, TWO);
    assert_int_equal(v.near, 0);
    assert_int_equal(grant(), 120);
    record_both(TWO, 0);
    assert_int_equal(grant(), CREDIT);
    flushed(1, 599); /* it joins when it has what was written then */
    assert_int_equal(fm_credit_look(&c, now).joining, 0);
    flushed(1, 600);
    assert_int_equal(fm_credit_look(&c, now).joining, ONE);
}

/* The one far away has used its credit up all the time, however the near one goes on: it leaves,
 * though it may have more than the near one at that moment. */
static void who_has_used_a_credit_up_leaves_for_itself(void **state)
{
    (void)state;
    begin(FM_CREDIT_LEAVES);
    for (uint64_t at = 0; at < 2 * PATIENCE; at += 50) {
        flushed(2, at);
        flushed(1, at + CREDIT - 10);
        (void)grant();
        written(at + CREDIT + 120); /* more than it acknowledges until the next time */
        struct fm_credit_verdict v = fm_credit_look(&c, now);
        assert_true(v.waiting);
        if (at < PATIENCE) {
            assert_int_equal(v.wanted, ONE | TWO);
        } else {
            assert_int_equal(v.node, 2);
            assert_int_equal(v.wanted, ONE);
            assert_int_equal(v.near, ONE);
            return;
        }
        later(50);
    }
    fail();
}

static void data_that_are_gone_promise_nothing(void **state)
{
    (void)state;
    begin(FM_CREDIT_LEAVES);
    flushed(1, 100);
    flushed(2, 100);
    fm_credit_lost(&c, 1);
    assert_int_equal(near(), 0);
    assert_int_equal(grant(), 0); /* as long as it is recorded */
    record_both(TWO, 0);
    assert_int_equal(grant(), 100 + CREDIT);
}

/* -------- what is recorded -------- */

static void a_server_that_begins_keeps_what_was_promised(void **state)
{
    (void)state;
    begin_with(&policy, TWO | UINT32_C(1), ONE | TWO); /* of who does not count it says nothing */
    assert_int_equal(c.near.recorded, TWO);
    assert_int_equal(c.near.wanted, TWO);
    flushed(2, 100);
    assert_int_equal(grant(), 100);
    assert_int_equal(near(), 0); /* it is not of this region any more */
    assert_int_equal(grant(), 100);
}

static void what_was_asked_may_yet_be_applied(void **state)
{
    (void)state;
    struct fm_credit_asked a = {0};
    const struct fm_evidence both = {.promotable = ONE | TWO, .near = ONE, .credit = CREDIT},
                             none = {.promotable = ONE | TWO, .credit = CREDIT};
    begin(FM_CREDIT_LEAVES);
    fm_credit_ask(&a, (struct fm_revision){7}, &both);
    fm_credit_ask(&a, (struct fm_revision){7}, &none); /* the first one is not gone by it */
    fm_credit_hear(&c, &a, (struct fm_revision){7}, &none, CREDIT, now);
    assert_int_equal(c.near.recorded, 0);
    assert_int_equal(c.near.may_be_recorded, ONE);
    fm_credit_hear(&c, &a, (struct fm_revision){8}, &both, CREDIT, now);
    assert_int_equal(c.near.recorded, ONE);
    assert_int_equal(c.near.may_be_recorded, 0);
    fm_credit_ask(&a, (struct fm_revision){8}, &none);
    fm_credit_hear(&c, &a, (struct fm_revision){8}, &none, CREDIT, now);
    assert_int_equal(c.near.recorded | c.near.may_be_recorded, 0);
}

static void a_survivor_knows_by_the_record_whether_it_has_a_credit(void **state)
{
    (void)state;
    static const struct {
        struct fm_evidence r;
        unsigned self;
        uint64_t flush;
        enum fm_credit_kind kind;
        uint64_t bytes;
    } cases[] = {
        {{.promotable = ONE | TWO, .near = ONE, .credit = 64}, 1, 500, FM_CREDIT_ENFORCED, 0},
        {{.promotable = ONE | TWO, .near = ONE, .credit = 64}, 2, 500, FM_CREDIT_ENFORCED, 64},
        {{.promotable = TWO, .near = ONE, .credit = 64}, 1, 500, FM_CREDIT_UNBOUNDED, 0},
        {{.promotable = ONE, .near = ONE, .credit = 64}, 1, 0, FM_CREDIT_UNBOUNDED, 0},
        {{.promotable = ONE, .near = ONE, .credit = 64, .holes_to = 520},
         1,
         500,
         FM_CREDIT_ESTIMATE,
         20},
        {{.promotable = ONE, .near = ONE, .credit = 64, .holes_to = 500},
         1,
         500,
         FM_CREDIT_ENFORCED,
         0},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct fm_credit_bound b = fm_credit_bound_of_survivor(&cases[i].r, (uint8_t)cases[i].self,
                                                               (struct fm_lsn){cases[i].flush});
        assert_int_equal(b.kind, cases[i].kind);
        assert_int_equal(b.bytes, cases[i].bytes);
    }
}

/* -------- a walk -------- */

struct model {
    uint64_t flush[4], written, released, acknowledged;
    uint32_t native;
    struct fm_evidence recorded;
};

static struct fm_rand dice;

static uint32_t draw(uint32_t below)
{
    return fm_rand_below(&dice, below);
}

/* By the record alone: never less than what it lacks. */
static void check_model(const struct model *m)
{
    for (unsigned i = 1; i <= 3; i++) {
        uint64_t lost = m->acknowledged > m->flush[i] ? m->acknowledged - m->flush[i] : 0;
        struct fm_evidence r = m->recorded;
        r.holes_to = 0;
        struct fm_credit_bound b =
            fm_credit_bound_of_survivor(&r, (uint8_t)i, (struct fm_lsn){m->flush[i]});
        if (b.kind == FM_CREDIT_ENFORCED)
            assert_true(lost <= b.bytes);
    }
}

/* What the server lets go: all that was granted, and that those have whom it waits for itself; what
 * it has let go once waits for nobody any more, also where it is written later. */
static void acknowledge(struct model *m)
{
    uint64_t to = c.granted.n;
    for (unsigned i = 1; i <= 3; i++)
        if (m->native >> i & 1)
            to = fm_min_u64(to, m->flush[i]);
    m->released = fm_max_u64(m->released, to);
    m->acknowledged = fm_max_u64(m->acknowledged, fm_min_u64(m->written, m->released));
}

static void move_standbys(struct model *m, unsigned step)
{
    for (unsigned i = 1; i <= 3; i++) {
        if (draw(4 + step / 100 * i))
            m->flush[i] += (m->written - m->flush[i]) * draw(9) / 8;
        if (draw(3))
            fm_credit_flushed(&c, i, (struct fm_lsn){m->flush[i]}, true, now);
    }
}

/* The same as that of test_credit.c, with the key turned on and off, and with a server that waits
 * for near ones itself, sooner or later, and does not stop to while they are near. */
static void walk(uint64_t seed)
{
    struct model m = {.recorded = {.promotable = ONE | TWO, .near = ONE, .credit = CREDIT}};
    struct fm_evidence on_its_way = m.recorded;
    struct fm_credit_policy p = policy;
    bool any = false;
    dice = (struct fm_rand){seed};
    p.beyond = (uint8_t)draw(2);
    begin_with(&p, m.recorded.promotable, m.recorded.near);
    m.flush[1] = m.flush[2] = m.flush[3] = m.written = m.acknowledged = START;
    for (unsigned step = 0; step < 400; step++) {
        later(draw(200));
        m.written += draw(3) ? draw(700) : 0;
        move_standbys(&m, step);
        fm_credit_written(&c, (struct fm_lsn){m.written}, now);
        if (draw(20) == 0) {
            p.near = draw(2) ? 0 : ONE | (draw(2) ? THREE : 0);
            fm_credit_reset(&c, &p);
        }
        if (draw(10) == 0) {
            uint32_t names = fm_credit_near_names(&c, 0);
            m.native = (m.native & names) | (draw(2) ? names : 0);
            fm_credit_native(&c, m.native);
        }
        (void)fm_credit_grant(&c, until, now);
        acknowledge(&m);
        check_model(&m);
        struct fm_credit_verdict v = fm_credit_look(&c, now);
        if (!any)
            on_its_way = (struct fm_evidence){
                .promotable = v.wanted, .near = v.near, .credit = fm_credit_counts_with(&c)};
        any = true;
        unsigned fate = draw(6);
        if (fate <= 1) /* done; its answer may be lost, and then both may be */
            m.recorded = on_its_way;
        if (fate == 0 || fate == 2) {
            any = fate != 0;
            fm_credit_recorded_near(&c, m.recorded.near, any ? on_its_way.near : 0);
            fm_credit_recorded(&c, m.recorded.promotable, any ? on_its_way.promotable : 0);
        } else if (fate == 1) {
            fm_credit_recorded_near(&c, c.near.recorded, on_its_way.near);
            fm_credit_recorded(&c, c.recorded, on_its_way.promotable);
        }
        check_model(&m);
    }
}

static void a_walk_never_lies(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 1000; seed++)
        walk(seed);
}

FM_TEST_MAIN(fm_test(nothing_is_granted_that_a_near_one_lacks),
             fm_test(the_server_waits_for_a_near_one_itself),
             fm_test(where_it_is_declared_nothing_is_granted_far_ahead),
             fm_test(one_joins_when_it_has_all_that_was_granted),
             fm_test(one_that_counts_gives_its_credit_up),
             fm_test(no_log_is_written_for_a_credit_that_was_granted_before),
             fm_test(who_gets_a_credit_has_none_until_that_is_recorded),
             fm_test(with_block_writes_commits_wait_for_it_at_once_and_for_ever),
             fm_test(with_no_automatic_it_leaves_when_it_stands_still),
             fm_test(who_has_used_a_credit_up_leaves_for_itself),
             fm_test(data_that_are_gone_promise_nothing),
             fm_test(a_server_that_begins_keeps_what_was_promised),
             fm_test(what_was_asked_may_yet_be_applied),
             fm_test(a_survivor_knows_by_the_record_whether_it_has_a_credit),
             fm_test(a_walk_never_lies))
