/* Orders of people about one node of a PostgreSQL group. Node 0 is the primary. */
#include "test.h"

#include "core/group_order.h"

enum { FRESH_MS = 1000 };

static struct fm_evidence recorded;
static struct fm_group_report node[3];
static struct fm_group_order_case it;
static struct fm_mono now;

static void begin(void)
{
    now = (struct fm_mono){1000 * FM_NS_PER_S};
    recorded = (struct fm_evidence){
        .system_id = 5, .timeline = 2, .fork_lsn = 100, .node = 1, .writer = 1, .promotable = 2};
    for (unsigned i = 0; i < FM_COUNT(node); i++)
        node[i] = (struct fm_group_report){.at = now,
                                           .state = i ? FM_GROUP_STANDBY : FM_GROUP_PRIMARY,
                                           .system_id = 5,
                                           .timeline = {2},
                                           .begins = {100},
                                           .recovery = i != 0};
    it = (struct fm_group_order_case){.recorded = &recorded,
                                      .node = node,
                                      .nnodes = FM_COUNT(node),
                                      .which = 1,
                                      .fresh_ms = FRESH_MS};
}

static enum fm_group_order_no look(enum fm_group_event order)
{
    return fm_group_order_look(order, &it, now);
}

static void nothing_is_ordered_of_a_group_without_data(void **state)
{
    (void)state;
    static const enum fm_group_event orders[] = {FM_GROUP_ON_REINIT, FM_GROUP_ON_MAINTAIN,
                                                 FM_GROUP_ON_RESUME};
    for (unsigned i = 0; i < FM_COUNT(orders); i++) {
        begin();
        it.recorded = NULL;
        assert_int_equal(look(orders[i]), FM_GROUP_ORDER_NO_DATA);
        it.recorded = &recorded;
        recorded.writer = 0;
        assert_int_equal(look(orders[i]), FM_GROUP_ORDER_NO_DATA);
        recorded.writer = FM_COUNT(node) + 1; /* a node that is not known here */
        assert_int_equal(look(orders[i]), FM_GROUP_ORDER_NO_DATA);
    }
}

static void the_primary_is_neither_copied_nor_left(void **state)
{
    (void)state;
    begin();
    it.which = 0;
    assert_int_equal(look(FM_GROUP_ON_REINIT), FM_GROUP_ORDER_WRITER);
    assert_int_equal(look(FM_GROUP_ON_MAINTAIN), FM_GROUP_ORDER_WRITER);
    it.which = 1;
    assert_int_equal(look(FM_GROUP_ON_MAINTAIN), FM_GROUP_ORDER_FINE);
}

/* By what the node's own table takes. */
static void only_what_was_left_is_resumed(void **state)
{
    (void)state;
    for (unsigned s = 0; s < FM_GROUP_STATE_COUNT; s++) {
        begin();
        node[1].state = (uint8_t)s;
        bool left = s == FM_GROUP_MAINTAINED || s == FM_GROUP_FENCED || s == FM_GROUP_YIELDED;
        assert_int_equal(look(FM_GROUP_ON_RESUME),
                         left ? FM_GROUP_ORDER_FINE : FM_GROUP_ORDER_NOT_LEFT);
        now = fm_mono_add_ms(now, FRESH_MS + 1); /* nobody knows: it is asked */
        assert_int_equal(look(FM_GROUP_ON_RESUME), FM_GROUP_ORDER_FINE);
    }
}

static void a_copy_is_made_of_a_primary_that_is_open(void **state)
{
    (void)state;
    begin();
    assert_int_equal(look(FM_GROUP_ON_REINIT), FM_GROUP_ORDER_FINE);
    node[0].state = FM_GROUP_DRAINING;
    assert_int_equal(look(FM_GROUP_ON_REINIT), FM_GROUP_ORDER_FINE);
    node[0].state = FM_GROUP_STOPPED;
    assert_int_equal(look(FM_GROUP_ON_REINIT), FM_GROUP_ORDER_NO_SOURCE);
    begin();
    node[0].timeline.n = 1; /* not the history that counts */
    assert_int_equal(look(FM_GROUP_ON_REINIT), FM_GROUP_ORDER_NO_SOURCE);
    begin();
    now = fm_mono_add_ms(now, FRESH_MS + 1);
    assert_int_equal(look(FM_GROUP_ON_REINIT), FM_GROUP_ORDER_NO_SOURCE);
}

static void no_copy_is_made_while_commits_would_wait_for_it(void **state)
{
    (void)state;
    begin();
    it.waits = true;
    assert_int_equal(look(FM_GROUP_ON_REINIT), FM_GROUP_ORDER_COMMITS_WAIT);
    it.which = 2; /* does not count */
    assert_int_equal(look(FM_GROUP_ON_REINIT), FM_GROUP_ORDER_FINE);
    it.which = 1;
    assert_int_equal(look(FM_GROUP_ON_MAINTAIN), FM_GROUP_ORDER_FINE);
}

static void an_order_stands_by_the_state_of_the_node(void **state)
{
    (void)state;
    for (unsigned s = 0; s < FM_GROUP_STATE_COUNT; s++) {
        struct fm_group_node g = {.state = (uint8_t)s};
        bool follows = s == FM_GROUP_CATCHING_UP || s == FM_GROUP_STANDBY;
        enum fm_group_order_standing copied = s == FM_GROUP_FENCED ? FM_GROUP_ORDER_FAILED
                                              : follows            ? FM_GROUP_ORDER_DONE
                                                                   : FM_GROUP_ORDER_UNDER_WAY;
        bool left = s == FM_GROUP_MAINTAINED;
        assert_int_equal(fm_group_order_stands(FM_GROUP_ON_REINIT, &g), copied);
        assert_int_equal(fm_group_order_stands(FM_GROUP_ON_MAINTAIN, &g),
                         left ? FM_GROUP_ORDER_DONE : FM_GROUP_ORDER_UNDER_WAY);
        assert_int_equal(fm_group_order_stands(FM_GROUP_ON_RESUME, &g),
                         left ? FM_GROUP_ORDER_UNDER_WAY : FM_GROUP_ORDER_DONE);
        g.reinit = true; /* it follows still, by the data that are to go */
        if (follows)
            assert_int_equal(fm_group_order_stands(FM_GROUP_ON_REINIT, &g),
                             FM_GROUP_ORDER_UNDER_WAY);
    }
}

static void a_node_comes_in_where_it_can_copy_and_nobody_waits_for_it(void **state)
{
    (void)state;
    begin();
    assert_int_equal(fm_group_order_may_join(&it, now), FM_GROUP_ORDER_FINE);
    it.waits = true;
    assert_int_equal(fm_group_order_may_join(&it, now), FM_GROUP_ORDER_COMMITS_WAIT);
    node[0].state = FM_GROUP_OPENING;
    assert_int_equal(fm_group_order_may_join(&it, now), FM_GROUP_ORDER_NO_SOURCE);
    recorded.writer = 0;
    assert_int_equal(fm_group_order_may_join(&it, now), FM_GROUP_ORDER_NO_DATA);
    it.recorded = NULL;
    assert_int_equal(fm_group_order_may_join(&it, now), FM_GROUP_ORDER_NO_DATA);
}

static void a_node_comes_in_where_there_is_a_number_for_it(void **state)
{
    (void)state;
    begin();
    it.agreed = it.names = FM_GROUP_NODES_MAX - 1;
    assert_int_equal(fm_group_order_may_join(&it, now), FM_GROUP_ORDER_FINE);
    it.names = FM_GROUP_NODES_MAX; /* one has gone */
    assert_int_equal(fm_group_order_may_join(&it, now), FM_GROUP_ORDER_NAMES);
    it.met = true; /* it was this one */
    assert_int_equal(fm_group_order_may_join(&it, now), FM_GROUP_ORDER_FINE);
    it.agreed = FM_GROUP_NODES_MAX;
    it.recorded = NULL; /* whatever else would be in its way */
    assert_int_equal(fm_group_order_may_join(&it, now), FM_GROUP_ORDER_FULL);
}

static enum fm_group_order_no leaves(unsigned which, bool confirmed)
{
    it.which = which;
    return fm_group_order_may_leave(&it, confirmed, now);
}

static void who_writes_or_is_about_to_stays(void **state)
{
    (void)state;
    begin();
    assert_int_equal(leaves(0, true), FM_GROUP_ORDER_WRITER);
    node[0].at = FM_MONO_ZERO; /* it is the last writer all the same */
    assert_int_equal(leaves(0, true), FM_GROUP_ORDER_WRITER);
    recorded.node = 3; /* it has claimed the epoch */
    assert_int_equal(leaves(2, true), FM_GROUP_ORDER_WRITER);
    for (unsigned s = 0; s < FM_GROUP_STATE_COUNT; s++) {
        begin();
        node[2].state = (uint8_t)s;
        bool opens = s == FM_GROUP_RESUMING || s == FM_GROUP_PROMOTING || s == FM_GROUP_OPENING ||
                     s == FM_GROUP_PRIMARY || s == FM_GROUP_DRAINING;
        it.recorded = NULL;
        assert_int_equal(leaves(2, false), opens ? FM_GROUP_ORDER_WRITER : FM_GROUP_ORDER_FINE);
    }
}

static void the_last_one_that_could_be_promoted_goes_only_by_a_persons_word(void **state)
{
    (void)state;
    begin();
    assert_int_equal(leaves(2, false), FM_GROUP_ORDER_FINE); /* node 1 counts */
    assert_int_equal(leaves(1, false), FM_GROUP_ORDER_LAST); /* node 2 does not */
    assert_int_equal(leaves(1, true), FM_GROUP_ORDER_FINE);
    recorded.promotable = 6;
    assert_int_equal(leaves(1, false), FM_GROUP_ORDER_FINE);
    for (unsigned i = 0; i < 4; i++) { /* what the other one lacks */
        begin();
        recorded.promotable = 6;
        node[2].at.ns -= i == 0 ? 2 * FM_NS_PER_S : 0;
        node[2].delay_ms = i == 1 ? 1000 : 0;
        node[2].state = i == 2 ? FM_GROUP_MAINTAINED : FM_GROUP_STANDBY;
        node[2].recovery = i != 3;
        assert_int_equal(leaves(1, false), FM_GROUP_ORDER_LAST);
    }
    begin();
    recorded.promotable = 0; /* nobody counts, and it might */
    assert_int_equal(leaves(1, false), FM_GROUP_ORDER_LAST);
    node[1].delay_ms = 1000; /* it never will */
    assert_int_equal(leaves(1, false), FM_GROUP_ORDER_FINE);
    recorded.writer = 0; /* there are no data yet */
    node[1].delay_ms = 0;
    assert_int_equal(leaves(1, false), FM_GROUP_ORDER_FINE);
}

static void a_node_has_come_in_when_it_could_be_promoted_or_is_delayed_and_receives(void **state)
{
    (void)state;
    for (unsigned s = 0; s < FM_GROUP_STATE_COUNT; s++) {
        struct fm_group_report r = {.state = (uint8_t)s, .streaming = true};
        bool good = s == FM_GROUP_STANDBY || s == FM_GROUP_PRIMARY || s == FM_GROUP_DRAINING;
        enum fm_group_order_standing wanted = s == FM_GROUP_FENCED ? FM_GROUP_ORDER_FAILED
                                              : good               ? FM_GROUP_ORDER_DONE
                                                                   : FM_GROUP_ORDER_UNDER_WAY;
        assert_int_equal(fm_group_order_joins(&r), wanted);
        r.delay_ms = 1000;
        if (s == FM_GROUP_CATCHING_UP)
            assert_int_equal(fm_group_order_joins(&r), FM_GROUP_ORDER_DONE);
        r.streaming = false;
        assert_int_equal(fm_group_order_joins(&r), wanted);
    }
}

static void a_standby_is_told_what_it_does_not_do_yet(void **state)
{
    (void)state;
    for (unsigned s = 0; s < FM_GROUP_STATE_COUNT; s++)
        for (unsigned i = 0; i < 4; i++) {
            struct fm_group_report r = {
                .state = (uint8_t)s, .region = i & 1 ? 2 : 1, .apart_ms = i & 2 ? 1 : 0};
            bool ours = r.region == 2 && (s == FM_GROUP_CATCHING_UP || s == FM_GROUP_STANDBY);
            assert_int_equal(fm_group_order_apart(FM_STANDBY_LEAVE, &r, 2), FM_STANDBY_LEAVE);
            assert_int_equal(fm_group_order_apart(FM_STANDBY_ON, &r, 2),
                             ours && !r.apart_ms ? FM_STANDBY_ON : FM_STANDBY_LEAVE);
            assert_int_equal(fm_group_order_apart(FM_STANDBY_OFF, &r, 2),
                             ours && r.apart_ms ? FM_STANDBY_OFF : FM_STANDBY_LEAVE);
        }
}

static void who_is_asked_and_does_not_answer_is_silent(void **state)
{
    (void)state;
    struct fm_group_order_asks a = {.since = FM_MONO_ZERO};
    struct fm_mono t = {1000 * FM_NS_PER_S};
    assert_false(fm_group_order_is_silent(&a, 1000, t)); /* nobody has asked */
    for (int i = 0; i < 11; i++, t = fm_mono_add_ms(t, 100)) {
        fm_group_order_ask(&a, 1000, t);
        assert_false(fm_group_order_is_silent(&a, 1000, t));
    }
    assert_true(fm_group_order_is_silent(&a, 1000, t));
    a.heard = t; /* and from then on by its last answer */
    for (int i = 0; i < 11; i++, t = fm_mono_add_ms(t, 100)) {
        fm_group_order_ask(&a, 1000, t);
        assert_false(fm_group_order_is_silent(&a, 1000, t));
    }
    assert_true(fm_group_order_is_silent(&a, 1000, t));
    t = fm_mono_add_ms(t, 5000); /* somebody else had the right to ask, or nobody had */
    assert_false(fm_group_order_is_silent(&a, 1000, t));
    fm_group_order_ask(&a, 1000, t);
    assert_false(fm_group_order_is_silent(&a, 1000, t));
    fm_group_order_ask(&a, 1000, fm_mono_add_ms(t, 1000));
    assert_false(fm_group_order_is_silent(&a, 1000, fm_mono_add_ms(t, 1000)));
    assert_true(fm_group_order_is_silent(&a, 1000, fm_mono_add_ms(t, 1001)));
}

FM_TEST_MAIN(fm_test(nothing_is_ordered_of_a_group_without_data),
             fm_test(the_primary_is_neither_copied_nor_left),
             fm_test(only_what_was_left_is_resumed),
             fm_test(a_copy_is_made_of_a_primary_that_is_open),
             fm_test(no_copy_is_made_while_commits_would_wait_for_it),
             fm_test(an_order_stands_by_the_state_of_the_node),
             fm_test(a_node_comes_in_where_it_can_copy_and_nobody_waits_for_it),
             fm_test(a_node_comes_in_where_there_is_a_number_for_it),
             fm_test(who_writes_or_is_about_to_stays),
             fm_test(the_last_one_that_could_be_promoted_goes_only_by_a_persons_word),
             fm_test(a_standby_is_told_what_it_does_not_do_yet),
             fm_test(who_is_asked_and_does_not_answer_is_silent),
             fm_test(a_node_has_come_in_when_it_could_be_promoted_or_is_delayed_and_receives))
