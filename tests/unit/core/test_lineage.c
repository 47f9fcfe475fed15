/* Histories of timelines, and what the record of a cell may say of them. */
#include "test.h"

#include "core/group.h"

static void what_is_recorded_is_part_of_a_history_or_not(void **state)
{
    (void)state;
    const struct fm_history one = {{1}, FM_STR("")}, two = {{2}, FM_STR("1\t0/64\n")},
                            four = {{4}, FM_STR("1\t0/64\n2\t0/C8\n")};
    struct fm_evidence recorded = {.system_id = 5, .timeline = 2, .fork_lsn = 100};
    assert_true(fm_group_holds(&two, &recorded));
    assert_true(fm_group_holds(&four, &recorded));
    assert_false(fm_group_holds(&one, &recorded));
    recorded.fork_lsn = 99; /* the same number, another history */
    assert_false(fm_group_holds(&two, &recorded));
    assert_false(fm_group_holds(&four, &recorded));
    const struct fm_evidence first = {.system_id = 5, .timeline = 1};
    assert_true(fm_group_holds(&one, &first));
    assert_true(fm_group_holds(&four, &first));
}

static void a_message_that_was_overtaken_does_not_count(void **state)
{
    (void)state;
    const struct fm_cell_at known = {.revision = {7}, .r = {.epoch = {3}}};
    struct fm_cell_at told = known;
    assert_false(fm_group_is_outdated(&told, &known));
    assert_false(fm_group_is_outdated(&told, &(struct fm_cell_at){.revision = {0}}));
    told.revision.n = 6;
    assert_true(fm_group_is_outdated(&told, &known));
    told.r.epoch.n = 2;
    assert_true(fm_group_is_outdated(&told, &known));
    told.r.epoch.n = 4; /* of a store that was seeded anew */
    assert_false(fm_group_is_outdated(&told, &known));
    told = (struct fm_cell_at){.revision = {8}, .r = {.epoch = {2}}};
    assert_false(fm_group_is_outdated(&told, &known)); /* written later: what it says is so */
}

static const struct fm_group_report old = {.system_id = 5,
                                           .timeline = {2},
                                           .begins = {100},
                                           .clean = true,
                                           .flush = {501},
                                           .final = {500}};

static void data_are_final_past_the_shutdown_checkpoint(void **state)
{
    (void)state;
    struct fm_group_report heir = {.system_id = 5,
                                   .timeline = {2},
                                   .begins = {100},
                                   .recovery = true,
                                   .flush = {501},
                                   .replay = {501}};
    assert_true(fm_group_is_final(&old, &heir));
    for (unsigned i = 0; i < 6; i++) {
        struct fm_group_report a = old, h = heir;
        h.flush.n -= i == 0;
        h.replay.n -= i == 1;
        h.system_id += i == 2;
        h.begins.n += i == 3;
        a.clean = i != 4;
        a.final.n = i == 5 ? 0 : a.final.n;
        assert_false(fm_group_is_final(&a, &h));
    }
}

static void a_standby_counts_that_follows_closely(void **state)
{
    (void)state;
    const struct fm_evidence recorded = {.system_id = 5, .timeline = 2, .fork_lsn = 100};
    const struct fm_group_report good = {.system_id = 5,
                                         .timeline = {2},
                                         .begins = {100},
                                         .recovery = true,
                                         .streaming = true,
                                         .flush = {900}};
    assert_true(fm_group_is_promotable(&recorded, &good, (struct fm_lsn){1000}, 100));
    assert_true(
        fm_group_is_promotable(&recorded, &good, (struct fm_lsn){800}, 0)); /* an older report */
    assert_false(fm_group_is_promotable(&recorded, &good, (struct fm_lsn){1001}, 100));
    assert_false(fm_group_is_promotable(&recorded, &good, (struct fm_lsn){0}, 100));
    for (unsigned i = 0; i < 4; i++) {
        struct fm_group_report r = good;
        r.recovery = i != 0;
        r.streaming = i != 1;
        r.timeline.n -= i == 2;
        r.system_id -= i == 3;
        assert_false(fm_group_is_promotable(&recorded, &r, (struct fm_lsn){1000}, 100));
    }
}

static void home_is_level_or_behind(void **state)
{
    (void)state;
    const struct fm_mono now = {10 * FM_NS_PER_S}, late = {7 * FM_NS_PER_S};
    const struct fm_group_report primary = {
        .at = now, .system_id = 5, .timeline = {2}, .flush = {1000}};
    struct fm_group_report node = primary;
    node.flush.n = 900;
    assert_int_equal(fm_group_lag(&primary, &node, now, 1000, now), 0); /* written since */
    assert_int_equal(fm_group_lag(&primary, &node, late, 1000, now), 100);
    assert_int_equal(fm_group_lag(&primary, &node, FM_MONO_ZERO, 1000, now), 100);
    node.flush.n = 1000;
    assert_int_equal(fm_group_lag(&primary, &node, late, 1000, now), 1);
    for (unsigned i = 0; i < 4; i++) {
        struct fm_group_report p = primary, n = node;
        n.at = i == 0 ? late : n.at;
        n.timeline.n -= i == 1;
        n.system_id -= i == 2;
        p.flush.n = i == 3 ? 0 : p.flush.n;
        assert_true(fm_group_lag(&p, &n, now, 1000, now) == UINT64_MAX);
    }
}

static void a_region_counts_by_the_record(void **state)
{
    (void)state;
    const struct fm_mono now = {10 * FM_NS_PER_S};
    const struct fm_evidence recorded = {.writer = 1, .promotable = 2};
    struct fm_group_report n[3] = {
        {.at = now, .region = 0}, {.at = now, .region = 1}, {.at = now, .region = 2}};
    assert_true(fm_group_counts_in(&recorded, n, 3, 0, 1000, now));
    assert_true(fm_group_counts_in(&recorded, n, 3, 1, 1000, now));
    assert_false(fm_group_counts_in(&recorded, n, 3, 2, 1000, now));
    n[1].at.ns -= 2 * FM_NS_PER_S;
    assert_false(fm_group_counts_in(&recorded, n, 3, 1, 1000, now));
}

static void the_most_advanced_by_lsn_rank_and_number(void **state)
{
    (void)state;
    struct fm_mono now = {10 * FM_NS_PER_S}, late = {8 * FM_NS_PER_S};
    const struct fm_evidence recorded = {.system_id = 5, .timeline = 2, .fork_lsn = 100};
    struct fm_group_report n[4];
    for (unsigned i = 0; i < 4; i++)
        n[i] = (struct fm_group_report){
            .at = now, .system_id = 5, .timeline = {2}, .begins = {100}, .rank = 1, .flush = {700}};
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xf, 1000, now), 0);
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xe, 1000, now), 1);
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0, 1000, now), FM_GROUP_NOBODY);
    n[3].rank = 0;
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xf, 1000, now), 3);
    n[2].flush.n++;
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xf, 1000, now), 2);
    n[2].at = late;
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xf, 1000, now), 3);
    n[3].timeline.n = 1;
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xf, 1000, now), 0);
    n[0].at = FM_MONO_ZERO;
    n[1].system_id = 6;
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xf, 1000, now), FM_GROUP_NOBODY);
}

static void of_those_that_are_equal_one_in_another_zone_than_the_writer(void **state)
{
    (void)state;
    struct fm_mono now = {10 * FM_NS_PER_S};
    struct fm_evidence recorded = {.system_id = 5, .timeline = 2, .fork_lsn = 100, .writer = 1};
    struct fm_group_report n[4];
    static const uint8_t zone[] = {1, 1, 2, 0};
    for (unsigned i = 0; i < 4; i++)
        n[i] = (struct fm_group_report){.at = now,
                                        .system_id = 5,
                                        .timeline = {2},
                                        .begins = {100},
                                        .zone = zone[i],
                                        .rank = (uint8_t)i,
                                        .flush = {700}};
    assert_int_equal(fm_group_zone_of_writer(&recorded, n, 4), 1);
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xe, 1000, now), 2);
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xa, 1000, now), 3);
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0x2, 1000, now), 1);
    n[1].flush.n++; /* what only it has would be lost */
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xe, 1000, now), 1);
    n[1].flush.n--;
    n[0].zone = 2;
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xe, 1000, now), 1);
    n[0].zone = 0; /* not known */
    assert_int_equal(fm_group_most_advanced(&recorded, n, 4, 0xc, 1000, now), 2);
    recorded.writer = 0;
    assert_int_equal(fm_group_zone_of_writer(&recorded, n, 4), 0);
}

/* Node 0 of region 0 writes, the others follow in region 1; each has a byte more than the one
 * before, and none has all. */
static struct fm_evidence held;
static struct fm_group_report n[4];
static struct fm_mono now;
static uint32_t mask;

static void begin(void)
{
    now = (struct fm_mono){10 * FM_NS_PER_S};
    held = (struct fm_evidence){.system_id = 5,
                                .timeline = 2,
                                .fork_lsn = 100,
                                .promotable = 1 << 1,
                                .credit = 64,
                                .writer = 1};
    for (unsigned i = 0; i < 4; i++)
        n[i] = (struct fm_group_report){.at = now,
                                        .region = i > 0,
                                        .system_id = 5,
                                        .timeline = {2},
                                        .begins = {100},
                                        .recovery = i > 0,
                                        .state = i ? FM_GROUP_STANDBY : FM_GROUP_STOPPED,
                                        .flush = {i ? 700 + i : 800}};
    mask = 0xf;
}

static void check_takeover(unsigned region, unsigned who, enum fm_credit_kind kind, uint64_t bytes)
{
    struct fm_group_takeover t = fm_group_takeover(&held, n, 4, mask, region, 1000, now);
    assert_int_equal(t.node, who);
    assert_int_equal(t.ready, who != FM_GROUP_NOBODY);
    assert_int_equal(t.bound.kind, kind);
    assert_int_equal(t.bound.bytes, bytes);
}

static void who_would_be_promoted_bounds_the_loss_if_any_does(void **state)
{
    (void)state;
    begin();
    check_takeover(1, 1, FM_CREDIT_ENFORCED, 64);
    n[1].at = FM_MONO_ZERO; /* it is not heard */
    check_takeover(1, 3, FM_CREDIT_UNBOUNDED, 0);
    held.promotable = 1 << 2;
    check_takeover(1, 2, FM_CREDIT_ENFORCED, 64);
    check_takeover(0, 0, FM_CREDIT_ENFORCED, 0); /* who has written it all */
    n[0].state = FM_GROUP_YIELDED;               /* it does not go on */
    check_takeover(0, FM_GROUP_NOBODY, FM_CREDIT_UNBOUNDED, 0);
    n[0].state = FM_GROUP_STOPPED;
    n[0].at = FM_MONO_ZERO;
    check_takeover(0, FM_GROUP_NOBODY, FM_CREDIT_UNBOUNDED, 0);
    n[2].state = FM_GROUP_UNABLE; /* PostgreSQL cannot be started there */
    check_takeover(1, 3, FM_CREDIT_UNBOUNDED, 0);
    n[2].state = FM_GROUP_STANDBY;
    held.promotable = 0;
    n[3].recovery = false; /* a primary of before, which has not followed yet */
    check_takeover(1, 2, FM_CREDIT_UNBOUNDED, 0);
}

/* A person works on the one that bounds it: another one would be promoted, which does not. */
static void who_is_left_to_a_person_bounds_nothing(void **state)
{
    (void)state;
    begin();
    mask = 0xf & ~(1u << 1);
    check_takeover(1, 3, FM_CREDIT_UNBOUNDED, 0);
}

static void what_is_known_to_be_lacking_is_in_an_estimate(void **state)
{
    (void)state;
    begin();
    held.holes_to = 720;
    check_takeover(1, 1, FM_CREDIT_ESTIMATE, 99);
    n[0].flush.n = 750;
    check_takeover(1, 1, FM_CREDIT_ESTIMATE, 64);
    n[0].flush = FM_LSN_NONE; /* it was never heard */
    check_takeover(1, 1, FM_CREDIT_ESTIMATE, 64);
}

static void without_data_there_is_nothing_to_be_lost(void **state)
{
    (void)state;
    begin();
    struct fm_group_takeover t = fm_group_takeover(NULL, n, 4, mask, 1, 1000, now);
    assert_true(t.ready && t.node == FM_GROUP_NOBODY);
    assert_true(t.bound.kind == FM_CREDIT_ENFORCED && t.bound.bytes == 0);
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
        /* system, fork, epoch, timeline, claimed, promotable, node, writer, credit, holes_to, near
         */
        {"the standby claims a new timeline", true, 8, {5, 100, {8}, 2, 4, 2, 2, 1, 0, 0, 0}},
        {"one that was claimed before", false, 8, {5, 100, {8}, 2, 3, 2, 2, 1, 0, 0, 0}},
        {"the writer goes on", true, 8, {5, 100, {8}, 2, 3, 2, 1, 1, 0, 0, 0}},
        {"a claim that opens at once", false, 8, {5, 300, {8}, 4, 4, 2, 2, 2, 0, 0, 0}},
        {"a claim that changes who bounds the loss",
         false,
         8,
         {5, 100, {8}, 2, 4, 0, 2, 1, 0, 0, 0}},
        {"a claim of another system", false, 8, {6, 100, {8}, 2, 4, 2, 2, 1, 0, 0, 0}},
        {"a claim of nobody", false, 8, {5, 100, {8}, 2, 4, 2, 0, 1, 0, 0, 0}},
        {"for an epoch that the cell has not", false, 9, {5, 100, {8}, 2, 4, 2, 2, 1, 0, 0, 0}},
        {"for an epoch that is over", false, 6, {5, 100, {6}, 2, 4, 2, 2, 1, 0, 0, 0}},
        {"a second node in the same epoch", false, 7, {5, 100, {7}, 2, 4, 2, 2, 1, 0, 0, 0}},
        {"a second node opens it", false, 7, {5, 300, {7}, 3, 3, 0, 2, 2, 0, 0, 0}},
        {"the node opens what was claimed", true, 7, {5, 300, {7}, 3, 3, 0, 1, 1, 0, 0, 0}},
        {"it opens one that is higher still", true, 7, {5, 300, {7}, 5, 5, 0, 1, 1, 0, 0, 0}},
        {"it opens one that another may have had", false, 7, {5, 300, {7}, 4, 5, 0, 1, 1, 0, 0, 0}},
        {"it opens a lower one", false, 7, {5, 300, {7}, 1, 3, 0, 1, 1, 0, 0, 0}},
        {"other standbys bound the loss", true, 7, {5, 100, {7}, 2, 3, 6, 1, 1, 0, 0, 0}},
        {"one that has no credit", true, 7, {5, 100, {7}, 2, 3, 2, 1, 1, 64, 0, 2}},
        {"no credit for one that does not count", false, 7, {5, 100, {7}, 2, 3, 2, 1, 1, 64, 0, 4}},
        {"a claim that takes a credit away", false, 8, {5, 100, {8}, 2, 4, 2, 2, 1, 0, 0, 2}},
        {"a credit", true, 7, {5, 100, {7}, 2, 3, 2, 1, 1, 64, 0, 0}},
        {"a hole", true, 7, {5, 100, {7}, 2, 3, 2, 1, 1, 0, 900, 0}},
        {"a claim that lowers the credit", false, 8, {5, 100, {8}, 2, 4, 2, 2, 1, 1, 0, 0}},
        {"a claim that fills a hole", false, 8, {5, 100, {8}, 2, 4, 2, 2, 1, 0, 900, 0}},
        {"the same timeline from elsewhere", false, 7, {5, 101, {7}, 2, 3, 2, 1, 1, 0, 0, 0}},
    };
    for (size_t i = 0; i < FM_COUNT(rows); i++)
        if (fm_group_may_record(&stands, &rows[i].to, (struct fm_epoch){rows[i].epoch}) !=
            rows[i].good)
            fail_msg("%s: %d", rows[i].what, !rows[i].good);
    const struct fm_evidence none = {0}, first = {5, 0, {1}, 0, 1, 0, 2, 0, 0, 0, 0},
                             nothing = {0, 0, {1}, 0, 1, 0, 2, 0, 0, 0, 0};
    assert_true(fm_group_may_record(&none, &first, (struct fm_epoch){1}));
    assert_false(fm_group_may_record(&none, &nothing, (struct fm_epoch){1}));
}

static void the_writer_lacks_nothing_and_others_what_is_recorded(void **state)
{
    (void)state;
    const struct fm_evidence r = {.writer = 1, .promotable = 2, .credit = 4096, .holes_to = 500};
    struct fm_credit_bound b = fm_group_bound(&r, 0, FM_LSN_NONE);
    assert_true(b.kind == FM_CREDIT_ENFORCED && b.bytes == 0);
    b = fm_group_bound(&r, 1, (struct fm_lsn){500});
    assert_true(b.kind == FM_CREDIT_ENFORCED && b.bytes == 4096);
    b = fm_group_bound(&r, 1, (struct fm_lsn){499});
    assert_int_equal(b.kind, FM_CREDIT_ESTIMATE);
    b = fm_group_bound(&r, 2, (struct fm_lsn){500});
    assert_int_equal(b.kind, FM_CREDIT_UNBOUNDED);
    const struct fm_evidence one = {.writer = 1, .promotable = 6, .near = 4, .credit = 4096};
    assert_int_equal(fm_group_bound(&one, 1, (struct fm_lsn){500}).bytes, 4096);
    b = fm_group_bound(&one, 2, (struct fm_lsn){500});
    assert_true(b.kind == FM_CREDIT_ENFORCED && b.bytes == 0);
}

static void what_is_broken_on_purpose_lacks_more_and_more(void **state)
{
    (void)state;
    const struct fm_mono at = {100 * FM_NS_PER_S};
    const struct fm_evidence r = {.system_id = 5, .writer = 1};
    struct fm_group_report node[3] = {
        {.at = at, .flush = {900}},
        {.at = fm_mono_add_ms(at, -50), .flush = {700}, .apart_ms = 100},
        {.at = at, .flush = {600}}};
    struct fm_group_apart a = fm_group_apart(&r, node, 3, at);
    assert_true(a.node == 1 && a.ms == 150 && a.lacks == 200);
    node[0].flush.n = 1000;
    a = fm_group_apart(&r, node, 3, fm_mono_add_ms(at, 1000)); /* it is silent, and still apart */
    assert_true(a.node == 1 && a.ms == 1150 && a.lacks == 300);
    node[2].apart_ms = 5000; /* for longer */
    a = fm_group_apart(&r, node, 3, at);
    assert_true(a.node == 2 && a.ms == 5000 && a.lacks == 400);
    a = fm_group_apart(NULL, node, 3, at);
    assert_true(a.node == 2 && a.lacks == 0);
    node[1].apart_ms = 0;
    node[2].at = FM_MONO_ZERO; /* it has never said anything */
    assert_int_equal(fm_group_apart(&r, node, 3, at).node, FM_GROUP_NOBODY);
}

static void evidence_moves_on_with_those_that_commits_wait_for(void **state)
{
    (void)state;
    const struct fm_group_report base = {.at = {1}, .system_id = 5, .timeline = {2}};
    struct fm_group_report node[3] = {base, base, base};
    struct fm_evidence r = {.writer = 1, .promotable = 2};
    node[1].replay.n = 300;
    node[2].replay.n = 200;
    assert_int_equal(fm_group_all_replayed(&r, &base, 0, node, 3, 6).n, 300);
    r.promotable = 1; /* itself: commits wait for nobody */
    assert_int_equal(fm_group_all_replayed(&r, &base, 0, node, 3, 6).n, 200);
    assert_int_equal(fm_group_all_replayed(&r, &base, 0, node, 3, 2).n, 300);
    assert_int_equal(fm_group_all_replayed(&r, &base, 0, node, 3, 1).n, 0);
    for (unsigned i = 0; i < 4; i++) {
        struct fm_group_report of[3] = {node[0], node[1], node[2]};
        of[2].at.ns *= i != 0;
        of[2].system_id += i == 1;
        of[2].timeline.n += i == 2;
        of[2].replay.n *= i != 3;
        assert_int_equal(fm_group_all_replayed(&r, &base, 0, of, 3, 6).n, 0);
        r.promotable = 2;
        assert_int_equal(fm_group_all_replayed(&r, &base, 0, of, 3, 6).n, 300);
        r.promotable = 0;
    }
}

FM_TEST_MAIN(fm_test(what_is_broken_on_purpose_lacks_more_and_more),
             fm_test(what_is_recorded_is_part_of_a_history_or_not),
             fm_test(a_message_that_was_overtaken_does_not_count),
             fm_test(data_are_final_past_the_shutdown_checkpoint),
             fm_test(a_standby_counts_that_follows_closely), fm_test(home_is_level_or_behind),
             fm_test(a_region_counts_by_the_record),
             fm_test(the_most_advanced_by_lsn_rank_and_number),
             fm_test(of_those_that_are_equal_one_in_another_zone_than_the_writer),
             fm_test(who_would_be_promoted_bounds_the_loss_if_any_does),
             fm_test(who_is_left_to_a_person_bounds_nothing),
             fm_test(what_is_known_to_be_lacking_is_in_an_estimate),
             fm_test(without_data_there_is_nothing_to_be_lost),
             fm_test(the_writer_lacks_nothing_and_others_what_is_recorded),
             fm_test(evidence_moves_on_with_those_that_commits_wait_for),
             fm_test(the_record_takes_a_claim_and_then_what_came_of_it))
