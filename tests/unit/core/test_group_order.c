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

FM_TEST_MAIN(fm_test(nothing_is_ordered_of_a_group_without_data),
             fm_test(the_primary_is_neither_copied_nor_left),
             fm_test(only_what_was_left_is_resumed),
             fm_test(a_copy_is_made_of_a_primary_that_is_open),
             fm_test(no_copy_is_made_while_commits_would_wait_for_it),
             fm_test(an_order_stands_by_the_state_of_the_node))
