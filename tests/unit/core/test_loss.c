/* What a group has lost: items, and how two versions of one become one. */
#include "test.h"

#include "core/loss.h"

static struct fm_cell_record cell;
static struct fm_evidence to;

/* North took the cell of west by force, and node 2 of it has been promoted. */
static void forced(void)
{
    cell = (struct fm_cell_record){
        .region = 1,
        .state = FM_CELL_HELD,
        .epoch = {2},
        .gentle_from = {2},
        .evidence = {
            .system_id = 5, .epoch = {2}, .timeline = 1, .claimed = 2, .node = 2, .writer = 1}};
    to = cell.evidence;
    to.timeline = 2;
    to.fork_lsn = 1000;
    to.writer = 2;
}

static void a_history_opened_by_force_leaves_an_item(void **state)
{
    (void)state;
    forced();
    assert_true(fm_loss_is_due(&cell, &to));
    cell.gentle_from.n = 1; /* the holder before let go of it: the heir had all of it */
    assert_false(fm_loss_is_due(&cell, &to));
    forced();
    to = cell.evidence; /* a claim, or which standbys count */
    assert_false(fm_loss_is_due(&cell, &to));
    forced();
    cell.evidence.writer = 2; /* its own, which goes on */
    assert_false(fm_loss_is_due(&cell, &to));
    forced();
    cell.evidence.writer = 0; /* the first history of the group */
    assert_false(fm_loss_is_due(&cell, &to));
}

static struct fm_loss item(enum fm_loss_found found)
{
    return (struct fm_loss){.node = "west-1",
                            .timeline = {1},
                            .fork = {1000},
                            .at_most = FM_LOSS_UNBOUNDED,
                            .found = (uint8_t)found};
}

static struct fm_loss counted(uint64_t n)
{
    struct fm_loss l = item(FM_LOSS_COUNTED);
    l.transactions = n;
    l.end.n = 1000 + n;
    return l;
}

static void an_item_is_open_until_nothing_was_found_or_a_person_looked(void **state)
{
    (void)state;
    struct fm_loss l = item(FM_LOSS_PENDING);
    assert_int_equal(fm_loss_state(&l), FM_LOSS_OPEN);
    assert_false(fm_loss_is_settled(&l));
    l = item(FM_LOSS_UNREADABLE);
    assert_int_equal(fm_loss_state(&l), FM_LOSS_OPEN);
    assert_true(fm_loss_is_settled(&l));
    l = item(FM_LOSS_VOID);
    assert_int_equal(fm_loss_state(&l), FM_LOSS_NOTHING);
    l = counted(0);
    assert_int_equal(fm_loss_state(&l), FM_LOSS_NOTHING);
    l = counted(1);
    assert_int_equal(fm_loss_state(&l), FM_LOSS_OPEN);
    l.off_us = 7;
    assert_int_equal(fm_loss_state(&l), FM_LOSS_WRITTEN_OFF);
    l = item(FM_LOSS_PENDING);
    l.off_us = 7; /* it does not matter what is there */
    assert_true(fm_loss_is_settled(&l));
    assert_string_equal(fm_loss_state_name(FM_LOSS_WRITTEN_OFF), "written-off");
    assert_string_equal(fm_loss_found_name(FM_LOSS_UNREADABLE), "unreadable");
}

static void an_item_is_named_by_node_timeline_and_fork(void **state)
{
    (void)state;
    struct fm_loss a = item(FM_LOSS_PENDING), b = counted(3);
    assert_true(fm_loss_is_same(&a, &b));
    b.fork.n = 1001;
    assert_false(fm_loss_is_same(&a, &b));
    b = a;
    b.timeline.n = 2;
    assert_false(fm_loss_is_same(&a, &b));
    b = a;
    b.node[0] = 'e';
    assert_false(fm_loss_is_same(&a, &b));
}

static enum fm_loss_found settled(struct fm_loss_data d)
{
    struct fm_loss l = item(FM_LOSS_PENDING);
    return fm_loss_settle(&l, &d);
}

static void only_an_item_of_another_fork_is_void(void **state)
{
    (void)state;
    struct fm_loss_data d = {.timeline = {1}, .forked = true, .looked = true, .fork = {1000}};
    assert_int_equal(settled(d), FM_LOSS_PENDING);
    d.fork.n = 2000;
    assert_int_equal(settled(d), FM_LOSS_VOID);
    d.looked = false;
    assert_int_equal(settled(d), FM_LOSS_PENDING);
    d.looked = true;
    d.fork = FM_LSN_NONE; /* it goes on where it was */
    assert_int_equal(settled(d), FM_LOSS_VOID);
    d.forked = false;
    assert_int_equal(settled(d), FM_LOSS_PENDING);
    struct fm_loss l = counted(1);
    d.forked = true;
    assert_int_equal(fm_loss_settle(&l, &d), FM_LOSS_COUNTED);
}

static void who_went_on_to_another_timeline_tells_it_under_that(void **state)
{
    (void)state;
    struct fm_loss_data d = {.timeline = {3}, .forked = true, .fork = {1000}};
    assert_int_equal(settled(d), FM_LOSS_PENDING); /* it is there, and will be looked into */
    d.looked = true;
    assert_int_equal(settled(d), FM_LOSS_VOID);
    d.fork.n = 2000; /* another loss */
    assert_int_equal(settled(d), FM_LOSS_UNREADABLE);
}

static void nobody_will_look_into_data_that_are_gone(void **state)
{
    (void)state;
    struct fm_loss_data d = {.absent = false}; /* nothing is known yet */
    assert_int_equal(settled(d), FM_LOSS_PENDING);
    d.absent = true;
    assert_int_equal(settled(d), FM_LOSS_UNREADABLE);
    struct fm_loss l = counted(1);
    assert_int_equal(fm_loss_settle(&l, &d), FM_LOSS_COUNTED);
    d = (struct fm_loss_data){.timeline = {1}};
    assert_int_equal(settled(d), FM_LOSS_PENDING);
    d.timeline.n = 2; /* others are there now, or the same, rewound */
    assert_int_equal(settled(d), FM_LOSS_UNREADABLE);
    d.forked = true; /* they follow the history that counts */
    assert_int_equal(settled(d), FM_LOSS_UNREADABLE);
}

/* Whatever two hosts know of an item. */
static struct fm_loss version(unsigned i)
{
    static const uint64_t counts[] = {0, 3, 9};
    struct fm_loss l = i % 4 == 3 ? counted(counts[i / 4 % 3]) : item((enum fm_loss_found)(i % 4));
    if (l.found == FM_LOSS_UNREADABLE)
        memcpy(l.why, i & 4 ? "lost" : "torn", 5);
    l.seen_us = i & 8 ? 100 : 0;
    l.epoch.n = i & 2 ? 2 : 0;
    l.at_most = i & 8 ? 64 : FM_LOSS_UNBOUNDED;
    l.system_id = i & 1 ? 5 : 0;
    l.rows = i & 1 ? FM_LOSS_ROWS_SOME : FM_LOSS_ROWS_UNKNOWN;
    l.decoded = l.rows == FM_LOSS_ROWS_SOME ? i / 2 % 2 : 0;
    l.rows_sum = l.decoded ? i : 0;
    l.pruned_us = i & 4 ? i : 0;
    if (i & 16) {
        l.off_us = i & 4 ? 40 : 50;
        memcpy(l.off_by, i & 8 ? "eve" : "ann", 4);
    }
    return l;
}

static void items_are_equal_that_say_the_same(void **state)
{
    (void)state;
    struct fm_loss l = version(31);
    memcpy(l.copy, "/a", 3);
    assert_true(fm_loss_equals(&l, &l));
    for (unsigned i = 0; i < 25; i++) {
        struct fm_loss o = l;
        memcpy(o.copy + 4, "rest", 4); /* behind its end */
        assert_true(fm_loss_equals(&l, &o));
        char *const text[] = {o.node, o.why, o.copy, o.off_by, o.off_why, o.rows_why};
        if (i < FM_COUNT(text))
            text[i][0] = '!';
        o.timeline.n += i == 6;
        o.fork.n += i == 7;
        o.system_id += i == 8;
        o.epoch.n += i == 9;
        o.at_most += i == 10;
        o.found = i == 11 ? FM_LOSS_PENDING : o.found;
        o.end.n += i == 12;
        o.transactions += i == 13;
        o.prepared += i == 14;
        o.first_us += i == 15;
        o.last_us += i == 16;
        o.seen_us += i == 17;
        o.off_us += i == 18;
        o.pruned_us += i == 19;
        o.decoded += i == 20;
        o.changes += i == 21;
        o.rows_bytes += i == 22;
        o.rows_sum += i == 23;
        o.rows = i == 24 ? FM_LOSS_ROWS_NONE : o.rows;
        assert_false(fm_loss_equals(&l, &o));
    }
    struct fm_loss o = l;
    o.off_by[0] = 0;
    assert_false(fm_loss_equals(&l, &o));
}

static void what_hosts_know_becomes_the_same_in_any_order(void **state)
{
    (void)state;
    enum { N = 32 };
    for (unsigned i = 0; i < N; i++)
        for (unsigned k = 0; k < N; k++) {
            struct fm_loss a = version(i), b = version(k), ab = fm_loss_join(&a, &b),
                           ba = fm_loss_join(&b, &a), again = fm_loss_join(&ab, &b);
            assert_true(fm_loss_equals(&ab, &ba) && fm_loss_equals(&ab, &again));
            assert_true(ab.found >= a.found && ab.found >= b.found);
            assert_true(!(a.off_us || b.off_us) || ab.off_us);
            for (unsigned m = 0; m < N; m++) {
                struct fm_loss c = version(m), bc = fm_loss_join(&b, &c);
                struct fm_loss left = fm_loss_join(&ab, &c), right = fm_loss_join(&a, &bc);
                assert_true(fm_loss_equals(&left, &right));
            }
        }
}

static void rows_are_all_where_each_transaction_was_decoded(void **state)
{
    (void)state;
    struct fm_loss l = counted(3);
    assert_int_equal(fm_loss_rows_found(&l, 3, true), FM_LOSS_ROWS_ALL);
    assert_int_equal(fm_loss_rows_found(&l, 2, true), FM_LOSS_ROWS_SOME);
    assert_int_equal(fm_loss_rows_found(&l, 3, false), FM_LOSS_ROWS_SOME);
    assert_string_equal(fm_loss_rows_name(FM_LOSS_ROWS_UNKNOWN), "unknown");
}

static void a_copy_may_go_when_nobody_has_to_look_any_more(void **state)
{
    (void)state;
    struct fm_loss l = counted(3);
    assert_false(fm_loss_may_prune(&l));
    l.off_us = 7;
    assert_true(fm_loss_may_prune(&l));
    l.pruned_us = 9;
    assert_false(fm_loss_may_prune(&l));
    l = counted(0);
    assert_true(fm_loss_may_prune(&l));
    l = item(FM_LOSS_UNREADABLE);
    assert_false(fm_loss_may_prune(&l));
    l = item(FM_LOSS_PENDING);
    assert_false(fm_loss_may_prune(&l));
}

FM_TEST_MAIN(fm_test(rows_are_all_where_each_transaction_was_decoded),
             fm_test(a_copy_may_go_when_nobody_has_to_look_any_more),
             fm_test(a_history_opened_by_force_leaves_an_item),
             fm_test(an_item_is_open_until_nothing_was_found_or_a_person_looked),
             fm_test(an_item_is_named_by_node_timeline_and_fork),
             fm_test(only_an_item_of_another_fork_is_void),
             fm_test(who_went_on_to_another_timeline_tells_it_under_that),
             fm_test(nobody_will_look_into_data_that_are_gone),
             fm_test(items_are_equal_that_say_the_same),
             fm_test(what_hosts_know_becomes_the_same_in_any_order))
