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

static void only_an_item_of_another_fork_is_void(void **state)
{
    (void)state;
    struct fm_loss l = item(FM_LOSS_PENDING);
    assert_false(fm_loss_is_void(&l, l.timeline, l.fork));
    assert_true(fm_loss_is_void(&l, l.timeline, (struct fm_lsn){2000}));
    assert_true(fm_loss_is_void(&l, l.timeline, FM_LSN_NONE)); /* it goes on where it was */
    assert_false(fm_loss_is_void(&l, (struct fm_timeline){3}, (struct fm_lsn){2000}));
    assert_false(fm_loss_is_told(&l, l.timeline, l.fork));
    assert_true(fm_loss_is_told(&l, (struct fm_timeline){3}, l.fork)); /* it went on to another */
    assert_false(fm_loss_is_told(&l, (struct fm_timeline){3}, (struct fm_lsn){2000}));
    l.found = FM_LOSS_COUNTED;
    assert_false(fm_loss_is_void(&l, l.timeline, (struct fm_lsn){2000}));
    assert_false(fm_loss_is_told(&l, (struct fm_timeline){3}, l.fork));
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

static bool equal(const struct fm_loss *a, const struct fm_loss *b)
{
    return fm_loss_is_same(a, b) && a->found == b->found && fm_lsn_same(a->end, b->end) &&
           a->transactions == b->transactions && strcmp(a->why, b->why) == 0 &&
           a->seen_us == b->seen_us && a->at_most == b->at_most && a->epoch.n == b->epoch.n &&
           a->system_id == b->system_id && a->rows == b->rows && a->decoded == b->decoded &&
           a->rows_sum == b->rows_sum && a->pruned_us == b->pruned_us && a->off_us == b->off_us &&
           strcmp(a->off_by, b->off_by) == 0;
}

static void what_hosts_know_becomes_the_same_in_any_order(void **state)
{
    (void)state;
    enum { N = 32 };
    for (unsigned i = 0; i < N; i++)
        for (unsigned k = 0; k < N; k++) {
            struct fm_loss a = version(i), b = version(k), ab = fm_loss_join(&a, &b),
                           ba = fm_loss_join(&b, &a), again = fm_loss_join(&ab, &b);
            assert_true(equal(&ab, &ba) && equal(&ab, &again));
            assert_true(ab.found >= a.found && ab.found >= b.found);
            assert_true(!(a.off_us || b.off_us) || ab.off_us);
            for (unsigned m = 0; m < N; m++) {
                struct fm_loss c = version(m), bc = fm_loss_join(&b, &c);
                struct fm_loss left = fm_loss_join(&ab, &c), right = fm_loss_join(&a, &bc);
                assert_true(equal(&left, &right));
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
             fm_test(what_hosts_know_becomes_the_same_in_any_order))
