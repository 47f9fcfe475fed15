/* Histories of timelines, and what the record of a cell may say of them. */
#include "test.h"

#include "core/lineage.h"

static struct fm_history history(const struct fm_timeline *step, unsigned n)
{
    return (struct fm_history){step, n};
}

static void histories_part_where_the_first_of_them_left(void **state)
{
    (void)state;
    static const struct fm_timeline one[] = {{1, 0}}, two[] = {{1, 0}, {2, 100}},
                                    three[] = {{1, 0}, {3, 90}},
                                    four[] = {{1, 0}, {2, 100}, {4, 200}}, other[] = {{7, 0}};
    static const struct {
        struct fm_history a, b;
        uint64_t at;
    } rows[] = {
        {{one, 1}, {one, 1}, UINT64_MAX}, {{two, 2}, {two, 2}, UINT64_MAX},
        {{one, 1}, {two, 2}, 100},        {{two, 2}, {three, 2}, 90},
        {{two, 2}, {four, 3}, 200},       {{three, 2}, {four, 3}, 90},
        {{one, 1}, {four, 3}, 100},       {{one, 1}, {other, 1}, 0},
        {{one, 1}, {NULL, 0}, 0},
    };
    for (size_t i = 0; i < FM_COUNT(rows); i++) {
        assert_int_equal(fm_group_parts_at(rows[i].a, rows[i].b), rows[i].at);
        assert_int_equal(fm_group_parts_at(rows[i].b, rows[i].a), rows[i].at);
    }
    struct fm_evidence recorded = {.system_id = 5, .timeline = 2, .fork_lsn = 100};
    assert_true(fm_group_holds(history(two, 2), &recorded));
    assert_true(fm_group_holds(history(four, 3), &recorded));
    assert_false(fm_group_holds(history(one, 1), &recorded));
    recorded.fork_lsn = 99; /* the same number, another history */
    assert_false(fm_group_holds(history(two, 2), &recorded));
}

static const struct fm_group_report old = {
    .system_id = 5, .line = {2, 100}, .clean = true, .flush_lsn = 501, .final_lsn = 500};

static void data_are_final_past_the_shutdown_checkpoint(void **state)
{
    (void)state;
    struct fm_group_report heir = {
        .system_id = 5, .line = {2, 100}, .recovery = true, .flush_lsn = 501, .replay_lsn = 501};
    assert_true(fm_group_is_final(&old, &heir));
    for (unsigned i = 0; i < 6; i++) {
        struct fm_group_report a = old, h = heir;
        h.flush_lsn -= i == 0;
        h.replay_lsn -= i == 1;
        h.system_id += i == 2;
        h.line.begins_lsn += i == 3;
        a.clean = i != 4;
        a.final_lsn = i == 5 ? 0 : a.final_lsn;
        assert_false(fm_group_is_final(&a, &h));
    }
}

static void a_standby_counts_that_follows_closely(void **state)
{
    (void)state;
    const struct fm_evidence recorded = {.system_id = 5, .timeline = 2, .fork_lsn = 100};
    const struct fm_group_report good = {
        .system_id = 5, .line = {2, 100}, .recovery = true, .streaming = true, .flush_lsn = 900};
    assert_true(fm_group_is_promotable(&recorded, &good, 1000, 100));
    assert_true(fm_group_is_promotable(&recorded, &good, 800, 0)); /* an older report */
    assert_false(fm_group_is_promotable(&recorded, &good, 1001, 100));
    assert_false(fm_group_is_promotable(&recorded, &good, 0, 100));
    for (unsigned i = 0; i < 4; i++) {
        struct fm_group_report r = good;
        r.recovery = i != 0;
        r.streaming = i != 1;
        r.line.id -= i == 2;
        r.system_id -= i == 3;
        assert_false(fm_group_is_promotable(&recorded, &r, 1000, 100));
    }
}

static void the_most_advanced_by_lsn_rank_and_number(void **state)
{
    (void)state;
    struct fm_mono now = {10 * FM_NS_PER_S}, late = {8 * FM_NS_PER_S};
    const struct fm_evidence recorded = {.system_id = 5, .timeline = 2, .fork_lsn = 100};
    struct fm_group_report n[4];
    for (unsigned i = 0; i < 4; i++)
        n[i] = (struct fm_group_report){
            .at = now, .system_id = 5, .line = {2, 100}, .rank = 1, .flush_lsn = 700};
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xf, 1000, now), 0);
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xe, 1000, now), 1);
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0, 1000, now), FM_GROUP_NOBODY);
    n[3].rank = 0;
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xf, 1000, now), 3);
    n[2].flush_lsn++;
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xf, 1000, now), 2);
    n[2].at = late;
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xf, 1000, now), 3);
    n[3].line.id = 1;
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xf, 1000, now), 0);
    n[0].at = FM_MONO_ZERO;
    n[1].system_id = 6;
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xf, 1000, now), FM_GROUP_NOBODY);
}

/* What stands: node 1 opened timeline 2 under epoch 7; timeline 3 was claimed and never opened. */
static const struct fm_evidence stands = {.system_id = 5,
                                          .fork_lsn = 100,
                                          .epoch = {7},
                                          .timeline = 2,
                                          .claimed = 3,
                                          .promotable = 2,
                                          .node = 1,
                                          .writer = 1};

static void the_record_takes_a_claim_and_then_what_came_of_it(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        bool good;
        uint64_t epoch;
        struct fm_evidence to;
    } rows[] = {
        /* system, fork, epoch, timeline, claimed, promotable, node, writer */
        {"the standby claims a new timeline", true, 8, {5, 100, {8}, 2, 4, 2, 2, 1}},
        {"one that was claimed before", false, 8, {5, 100, {8}, 2, 3, 2, 2, 1}},
        {"the writer goes on", true, 8, {5, 100, {8}, 2, 3, 2, 1, 1}},
        {"a claim that opens at once", false, 8, {5, 300, {8}, 4, 4, 2, 2, 2}},
        {"a claim that changes who bounds the loss", false, 8, {5, 100, {8}, 2, 4, 0, 2, 1}},
        {"a claim of another system", false, 8, {6, 100, {8}, 2, 4, 2, 2, 1}},
        {"a claim of nobody", false, 8, {5, 100, {8}, 2, 4, 2, 0, 1}},
        {"for an epoch that the cell has not", false, 9, {5, 100, {8}, 2, 4, 2, 2, 1}},
        {"for an epoch that is over", false, 6, {5, 100, {6}, 2, 4, 2, 2, 1}},
        {"a second node in the same epoch", false, 7, {5, 100, {7}, 2, 4, 2, 2, 1}},
        {"the node opens what was claimed", true, 7, {5, 300, {7}, 3, 3, 0, 1, 1}},
        {"it opens one that is higher still", true, 7, {5, 300, {7}, 5, 5, 0, 1, 1}},
        {"it opens one that another may have had", false, 7, {5, 300, {7}, 4, 5, 0, 1, 1}},
        {"it opens a lower one", false, 7, {5, 300, {7}, 1, 3, 0, 1, 1}},
        {"other standbys bound the loss", true, 7, {5, 100, {7}, 2, 3, 6, 1, 1}},
        {"the same timeline from elsewhere", false, 7, {5, 101, {7}, 2, 3, 2, 1, 1}},
    };
    for (size_t i = 0; i < FM_COUNT(rows); i++)
        if (fm_group_may_record(&stands, &rows[i].to, (struct fm_epoch){rows[i].epoch}) !=
            rows[i].good)
            fail_msg("%s: %d", rows[i].what, !rows[i].good);
    const struct fm_evidence none = {0}, first = {5, 0, {1}, 0, 1, 0, 2, 0},
                             nothing = {0, 0, {1}, 0, 1, 0, 2, 0};
    assert_true(fm_group_may_record(&none, &first, (struct fm_epoch){1}));
    assert_false(fm_group_may_record(&none, &nothing, (struct fm_epoch){1}));
}

FM_TEST_MAIN(fm_test(histories_part_where_the_first_of_them_left),
             fm_test(data_are_final_past_the_shutdown_checkpoint),
             fm_test(a_standby_counts_that_follows_closely),
             fm_test(the_most_advanced_by_lsn_rank_and_number),
             fm_test(the_record_takes_a_claim_and_then_what_came_of_it))
