/* When a keeper gives a group up: three nodes, A and B in west, which holds the cell; C in north.
 */
#include "test.h"

#include "core/yield.h"

enum { WEST, NORTH };
enum { A, B, C, NODES };
enum { FRESH_MS = 1000, LEASE_MS = 2000 };

static struct fm_yield y;
static struct fm_yield_policy p;
static struct fm_yield_evidence ev;
static struct fm_cell_record cell;
static struct fm_group_report node[NODES];
static struct fm_mono now;

/* A has claimed and opened epoch 7 in west; the others follow closely. */
static void begin(void)
{
    now = (struct fm_mono){100 * FM_NS_PER_S};
    y = (struct fm_yield){.epoch = {0}};
    p = (struct fm_yield_policy){
        .absent_ms = 3000, .unwell_ms = 20000, .fresh_ms = FRESH_MS, .automatic = true};
    cell = (struct fm_cell_record){.region = WEST,
                                   .epoch = {7},
                                   .evidence = {.system_id = 5,
                                                .fork_lsn = 100,
                                                .epoch = {7},
                                                .timeline = 2,
                                                .claimed = 2,
                                                .promotable = 1 << B | 1 << C,
                                                .node = A + 1,
                                                .writer = A + 1}};
    for (unsigned i = 0; i < NODES; i++)
        node[i] = (struct fm_group_report){.region = i == C ? NORTH : WEST,
                                           .state = FM_GROUP_STANDBY,
                                           .system_id = 5,
                                           .timeline = {2},
                                           .begins = {100},
                                           .recovery = true,
                                           .flush = {700}};
    node[A].state = FM_GROUP_PRIMARY;
    node[A].recovery = false;
    node[A].epoch.n = 7;
    ev = (struct fm_yield_evidence){.holds = true,
                                    .region = WEST,
                                    .cell = &cell,
                                    .node = node,
                                    .nnodes = NODES,
                                    .granted = 1 << A | 1 << B};
}

static uint8_t look(void)
{
    return fm_yield_step(&y, &p, &ev, now).why;
}

static void hear(uint32_t nodes)
{
    for (unsigned i = 0; i < NODES; i++)
        if (nodes >> i & 1)
            node[i].at = now;
}

/* Time passes, and these are heard all the while. */
static uint8_t after(int64_t ms, uint32_t nodes)
{
    uint8_t why = FM_YIELD_WHY_NONE;
    for (; ms > 0; ms -= 500) {
        now = fm_mono_add_ms(now, ms < 500 ? ms : 500);
        hear(nodes);
        why = look();
    }
    return why;
}

static void what_is_served_is_kept(void **state)
{
    (void)state;
    begin();
    hear(7);
    assert_int_equal(look(), FM_YIELD_WHY_NONE);
    assert_int_equal(after(3600 * 1000, 7), FM_YIELD_WHY_NONE);
    node[A].state = FM_GROUP_DRAINING;
    assert_int_equal(after(60 * 1000, 7), FM_YIELD_WHY_NONE);
}

static void a_silent_host_is_given_up_when_nothing_of_it_is_live(void **state)
{
    (void)state;
    begin();
    hear(7);
    look();
    assert_int_equal(after(3000, 1 << B | 1 << C), FM_YIELD_WHY_NONE); /* its sub-lease runs */
    ev.granted = 1 << B;
    assert_int_equal(after(500, 1 << B | 1 << C), FM_YIELD_WHY_ABSENT);

    begin(); /* the bound, from when it served last */
    hear(7);
    look();
    ev.granted = 0;
    assert_int_equal(after(2999, 1 << C), FM_YIELD_WHY_NONE);
    assert_int_equal(after(1, 1 << C), FM_YIELD_WHY_ABSENT);
    struct fm_yield before = y;
    now = fm_mono_add_ms(now, 1);
    hear(7);
    assert_int_equal(look(), FM_YIELD_WHY_NONE); /* it is back, and open */
    assert_true(fm_mono_before(before.served, y.served));
}

static void nobody_gains_so_it_is_kept(void **state)
{
    (void)state;
    begin();
    hear(7);
    look();
    ev.granted = 0;
    assert_int_equal(after(60 * 1000, 0), FM_YIELD_WHY_NONE); /* nobody is heard */
    node[C].timeline.n = 1;
    assert_int_equal(after(60 * 1000, 1 << C), FM_YIELD_WHY_NONE); /* it is on another history */
    cell.evidence.writer = 0;
    node[C].timeline.n = 2;
    assert_int_equal(after(60 * 1000, 1 << C), FM_YIELD_WHY_NONE); /* there are no data yet */
    cell.evidence.writer = A + 1;
    ev.holds = false;
    assert_int_equal(after(60 * 1000, 1 << C), FM_YIELD_WHY_NONE); /* it is not held, or moves */
    ev.holds = true;
    assert_int_equal(look(), FM_YIELD_WHY_NONE); /* from now on */
    assert_int_equal(after(3000, 1 << C), FM_YIELD_WHY_ABSENT);
}

static void who_says_that_it_does_not_serve_is_believed_at_once(void **state)
{
    (void)state;
    begin();
    hear(7);
    look();
    node[A].state = FM_GROUP_YIELDED;
    node[A].epoch.n = 0;
    assert_int_equal(after(1, 7), FM_YIELD_WHY_SAID);
    p.automatic = false;
    assert_int_equal(look(), FM_YIELD_WHY_SAID);
}

static void who_cannot_serve_is_given_up_whatever_its_host_was_granted(void **state)
{
    (void)state;
    begin();
    hear(7);
    look();
    node[A] = (struct fm_group_report){.region = WEST, .state = FM_GROUP_UNABLE};
    p.automatic = false;
    assert_int_equal(after(1, 7), FM_YIELD_WHY_SAID);
    node[B].state = node[C].state = FM_GROUP_UNABLE; /* nobody else could */
    assert_int_equal(after(60 * 1000, 7), FM_YIELD_WHY_NONE);

    begin(); /* nobody has claimed the epoch yet */
    cell.epoch.n = 8;
    node[A].state = FM_GROUP_UNABLE;
    hear(7);
    look();
    assert_int_equal(after(1000, 7), FM_YIELD_WHY_NONE); /* B may */
    node[B].state = FM_GROUP_UNABLE;
    assert_int_equal(after(1, 7), FM_YIELD_WHY_SAID);
    assert_int_equal(fm_yield_first(&ev, FM_YIELD_WHY_SAID, NORTH, FRESH_MS, now), NORTH);
}

static void who_does_not_open_in_time_is_given_up_for_one_that_goes_on_by_itself(void **state)
{
    (void)state;
    begin();
    hear(7);
    look();
    node[A].state = FM_GROUP_RESUMING;
    node[A].epoch.n = 0;
    assert_int_equal(after(19999, 7), FM_YIELD_WHY_NONE);
    assert_int_equal(after(1, 7), FM_YIELD_WHY_UNWELL);
    p.automatic = false;
    assert_int_equal(look(), FM_YIELD_WHY_NONE);
    p.automatic = true;
    cell.evidence.promotable = 0; /* a person would have to accept the loss */
    assert_int_equal(look(), FM_YIELD_WHY_NONE);
    cell.evidence.promotable = 1 << C;
    node[A].state = FM_GROUP_PRIMARY;
    node[A].epoch.n = 6; /* what it was open under before */
    assert_int_equal(look(), FM_YIELD_WHY_UNWELL);
}

static void an_epoch_that_nobody_claims_is_given_up_too(void **state)
{
    (void)state;
    begin();
    cell.epoch.n = 8; /* west has just taken it, from itself or another */
    hear(7);
    look();
    assert_int_equal(after(19999, 7), FM_YIELD_WHY_NONE);
    assert_int_equal(after(1, 7), FM_YIELD_WHY_UNWELL);
    begin();
    cell.epoch.n = 8;
    hear(7);
    look();
    ev.granted = 0;
    assert_int_equal(after(3000, 1 << C), FM_YIELD_WHY_ABSENT); /* nobody in west */
}

static void the_writer_that_has_stopped_may_go_on(void **state)
{
    (void)state;
    begin();
    cell.region = NORTH; /* north has taken it, and its node has claimed, and died */
    cell.epoch.n = cell.evidence.epoch.n = 8;
    cell.evidence.node = C + 1;
    ev.region = NORTH;
    ev.granted = 0;
    node[A].state = FM_GROUP_STOPPED;
    node[A].epoch.n = 0;
    hear(1 << A);
    look();
    assert_int_equal(after(3000, 1 << A), FM_YIELD_WHY_ABSENT);
    assert_int_equal(fm_yield_heir(&ev, FRESH_MS, WEST, now), A);
    node[A].state = FM_GROUP_FENCED;
    assert_int_equal(look(), FM_YIELD_WHY_NONE);
    assert_int_equal(fm_yield_heir(&ev, FRESH_MS, WEST, now), FM_GROUP_NOBODY);
}

static void the_heir_bounds_the_loss(void **state)
{
    (void)state;
    begin();
    hear(7);
    assert_int_equal(fm_yield_heir(&ev, FRESH_MS, WEST, now), B);
    assert_int_equal(fm_yield_heir(&ev, FRESH_MS, NORTH, now), C);
    node[C].flush.n++;
    assert_int_equal(fm_yield_heir(&ev, FRESH_MS, FM_GROUP_NOBODY, now), C);
    cell.evidence.promotable = 1 << C;
    assert_int_equal(fm_yield_heir(&ev, FRESH_MS, WEST, now), FM_GROUP_NOBODY);
    node[C].at = FM_MONO_ZERO;
    assert_int_equal(fm_yield_heir(&ev, FRESH_MS, FM_GROUP_NOBODY, now), FM_GROUP_NOBODY);
}

static void the_own_region_is_asked_first_where_a_standby_of_it_counts(void **state)
{
    (void)state;
    begin();
    hear(7);
#define FIRST(why, heir) fm_yield_first(&ev, FM_YIELD_WHY_##why, heir, FRESH_MS, now)
    assert_int_equal(FIRST(ABSENT, NORTH), WEST);
    assert_int_equal(FIRST(SAID, NORTH), WEST);
    assert_int_equal(FIRST(UNWELL, NORTH), NORTH);
    assert_int_equal(FIRST(UNWELL, FM_NO_REGION), WEST);
    cell.evidence.promotable = 1 << C;
    assert_int_equal(FIRST(ABSENT, NORTH), NORTH);
    assert_int_equal(FIRST(ABSENT, FM_NO_REGION), WEST);
    cell.evidence.promotable = 1 << B;
    assert_int_equal(FIRST(UNWELL, NORTH), WEST); /* nobody there bounds the loss */
}

static void who_is_asked_first_has_its_time(void **state)
{
    (void)state;
    begin();
    struct fm_mono since = now;
    assert_int_equal(fm_yield_next(&cell, since, 2, LEASE_MS, now), 2); /* it is held */
    cell.state = FM_CELL_YIELDED;
    cell.to = NORTH;
    assert_int_equal(fm_yield_next(&cell, since, 2, LEASE_MS, now), NORTH);
    now = fm_mono_add_ms(now, 4 * LEASE_MS - 1);
    assert_int_equal(fm_yield_next(&cell, since, 2, LEASE_MS, now), NORTH);
    now = fm_mono_add_ms(now, 1);
    assert_int_equal(fm_yield_next(&cell, since, 2, LEASE_MS, now), 2);
}

static void the_last_writer_goes_on_where_nobody_came(void **state)
{
    (void)state;
    begin();
    struct fm_mono since = now;
    cell.state = FM_CELL_YIELDED;
    ev.holds = false;
    node[A].state = FM_GROUP_STOPPED;
    node[A].epoch.n = 0;
    hear(7);
    assert_false(fm_yield_is_back(&ev, since, FRESH_MS, LEASE_MS, now));
    now = fm_mono_add_ms(now, 4 * LEASE_MS);
    hear(7);
    assert_true(fm_yield_is_back(&ev, since, FRESH_MS, LEASE_MS, now));
    struct fm_group_report good = node[A];
#define NOT(field, value)                                                                          \
    node[A].field = value;                                                                         \
    assert_false(fm_yield_is_back(&ev, since, FRESH_MS, LEASE_MS, now));                           \
    node[A] = good
    NOT(state, FM_GROUP_YIELDED);
    NOT(state, FM_GROUP_UNABLE);
    NOT(recovery, true);
    NOT(region, NORTH);
    NOT(timeline.n, 1);
    NOT(begins.n, 1);
    NOT(system_id, 6);
    NOT(at, FM_MONO_ZERO);
    cell.state = FM_CELL_HELD;
    assert_false(fm_yield_is_back(&ev, since, FRESH_MS, LEASE_MS, now));
    cell.state = FM_CELL_YIELDED;
    cell.region = NORTH; /* given up by another one: that is a failover */
    assert_false(fm_yield_is_back(&ev, since, FRESH_MS, LEASE_MS, now));
}

static void every_reason_has_a_name(void **state)
{
    (void)state;
    for (unsigned i = 1; i < FM_YIELD_WHY_COUNT; i++) {
        assert_true(strlen(fm_yield_why_name((enum fm_yield_why)i)) > 0);
        assert_true(strlen(fm_yield_why_text((enum fm_yield_why)i)) > 0);
    }
}

FM_TEST_MAIN(fm_test(what_is_served_is_kept),
             fm_test(a_silent_host_is_given_up_when_nothing_of_it_is_live),
             fm_test(nobody_gains_so_it_is_kept),
             fm_test(who_says_that_it_does_not_serve_is_believed_at_once),
             fm_test(who_cannot_serve_is_given_up_whatever_its_host_was_granted),
             fm_test(who_does_not_open_in_time_is_given_up_for_one_that_goes_on_by_itself),
             fm_test(an_epoch_that_nobody_claims_is_given_up_too),
             fm_test(the_writer_that_has_stopped_may_go_on), fm_test(the_heir_bounds_the_loss),
             fm_test(the_own_region_is_asked_first_where_a_standby_of_it_counts),
             fm_test(who_is_asked_first_has_its_time),
             fm_test(the_last_writer_goes_on_where_nobody_came), fm_test(every_reason_has_a_name))
