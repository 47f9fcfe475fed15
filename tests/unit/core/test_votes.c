/* Votes: who is lost, who is well, who would take over. */
#include "test.h"

#include "core/votes.h"

enum { ME = 0, WEST = 0, NORTH = 1, EAST = 2, PATIENCE = 900 };

static struct fm_votes v;
static struct fm_mono now;
static const struct fm_load idle;
static const struct fm_contexts both = {{3}}, first = {{1}}, none = {{0}};
static const struct fm_startable nowhere;
static const uint16_t rank[FM_AUTH_REGIONS_MAX] = {3, 2, 1};

static struct fm_agent_id agent(unsigned region, unsigned i)
{
    return (struct fm_agent_id){(uint8_t)(region * FM_AGENTS_PER_REGION + i)};
}

static int begin(void **state)
{
    (void)state;
    now = (struct fm_mono){FM_NS_PER_S};
    fm_votes_init(&v, agent(WEST, ME), 7, PATIENCE, now);
    return 0;
}

static void later(int64_t ms)
{
    now = fm_mono_add_ms(now, ms);
}

static struct fm_vote mine(void)
{
    struct fm_vote m;
    (void)fm_votes_mine(&v, now, &m);
    return m;
}

/* An agent says that it serves this itself, and that those are lost. */
static void says(unsigned region, unsigned i, struct fm_contexts capable, uint16_t lost)
{
    struct fm_vote x = {.lost = lost};
    x.well[region] = capable;
    fm_votes_take(&v, agent(region, i), &x, now);
}

static void who_is_silent_is_lost_after_the_patience(void **state)
{
    (void)state;
    later(PATIENCE - 1);
    assert_int_equal(mine().lost, 0);
    says(EAST, 0, both, 0);
    later(1);
    assert_int_equal(mine().lost, 1 << NORTH);
    assert_true(fm_votes_lost(&v, NORTH));
    assert_false(fm_votes_lost(&v, EAST));
    says(NORTH, 1, both, 0);
    assert_int_equal(mine().lost, 0);
    fm_votes_stalled(&v, now);
    later(PATIENCE);
    assert_int_equal(mine().lost, (1 << NORTH) | (1 << EAST)); /* never my own region */
}

static void a_stall_of_my_own_makes_nobody_lost(void **state)
{
    (void)state;
    later(60 * 1000);
    fm_votes_stalled(&v, now);
    assert_int_equal(mine().lost, 0);
    assert_true(fm_contexts_cover(&none, &mine().well[NORTH])); /* nor well */
}

static void well_is_heard_of_late_and_capable(void **state)
{
    (void)state;
    says(NORTH, 0, first, 0);
    says(NORTH, 1, none, 0);
    struct fm_vote m = mine();
    assert_true(fm_contexts_cover(&m.well[NORTH], &first));
    assert_false(fm_contexts_cover(&m.well[NORTH], &both));
    later(PATIENCE * 2 / 3);
    m = mine();
    assert_false(fm_contexts_cover(&m.well[NORTH], &first));
    assert_int_equal(m.lost, 0); /* neither */
}

static void my_region_is_as_well_as_its_gates_say(void **state)
{
    (void)state;
    assert_false(fm_contexts_cover(&mine().well[WEST], &first));
    fm_votes_gate(&v, 7, &first, &idle, now);
    fm_votes_gate(&v, 8, &(struct fm_contexts){{2}}, &idle, now);
    assert_true(fm_contexts_cover(&mine().well[WEST], &both));
    fm_votes_gate(&v, 8, &none, &idle, now);
    assert_false(fm_contexts_cover(&mine().well[WEST], &both));
    later(2 * PATIENCE);
    assert_false(fm_contexts_cover(&mine().well[WEST], &first));
    for (uint16_t i = 0; i < 3 * FM_VOTE_GATES_MAX; i++) { /* bounded */
        later(1);
        fm_votes_gate(&v, i, &first, &idle, now);
    }
    assert_true(fm_contexts_cover(&mine().well[WEST], &first));
}

static void a_region_speaks_once(void **state)
{
    (void)state;
    later(PATIENCE);
    says(EAST, 0, both, 1 << NORTH);
    says(EAST, 1, both, 1 << NORTH);
    (void)mine();
    struct fm_tally t = fm_votes_tally(&v, NORTH, &first, now);
    assert_int_equal(t.observers, 3);
    assert_int_equal(t.lost_by, 2); /* west and east, whose two agents agree */
    assert_int_equal(t.healthy_by, 0);
    struct fm_vote hears = {.lost = 0};
    hears.well[NORTH] = first;
    fm_votes_take(&v, agent(EAST, 1), &hears, now);
    t = fm_votes_tally(&v, NORTH, &first, now);
    assert_int_equal(t.lost_by, 1); /* not all of east's agents lost it */
    assert_int_equal(t.healthy_by, 1);
    t = fm_votes_tally(&v, NORTH, &both, now);
    assert_int_equal(t.healthy_by, 0); /* not for both */
    later(PATIENCE);
    t = fm_votes_tally(&v, NORTH, &first, now);
    assert_int_equal(t.lost_by + t.healthy_by, 0); /* votes grow old, mine too */
}

static void news_is_told_at_once(void **state)
{
    (void)state;
    struct fm_vote m;
    assert_true(fm_votes_mine(&v, now, &m));
    assert_false(fm_votes_mine(&v, now, &m));
    says(NORTH, 0, both, 0);
    assert_true(fm_votes_mine(&v, now, &m));
    assert_false(fm_votes_mine(&v, now, &m));
    later(PATIENCE);
    assert_true(fm_votes_mine(&v, now, &m));
}

static void the_heir_is_well_able_and_of_the_lowest_rank(void **state)
{
    (void)state;
    fm_votes_gate(&v, 1, &both, &idle, now);
    says(NORTH, 0, both, 0);
    says(EAST, 0, both, 0);
    (void)mine();
    assert_int_equal(fm_votes_heir(&v, NORTH, &both, &nowhere, 7, rank), EAST);
    assert_int_equal(fm_votes_heir(&v, NORTH, &both, &nowhere, 3, rank),
                     WEST); /* east is a witness */
    assert_int_equal(fm_votes_heir(&v, EAST, &both, &nowhere, 7, rank), NORTH);
    says(EAST, 0, first, 0);
    (void)mine();
    assert_int_equal(fm_votes_heir(&v, NORTH, &first, &nowhere, 7, rank), EAST);
    assert_int_equal(fm_votes_heir(&v, NORTH, &both, &nowhere, 7, rank), WEST);
    assert_int_equal(fm_votes_heir(&v, NORTH, &both, &nowhere, 1 << NORTH, rank), FM_NO_REGION);
}

/* An app that is stopped until it is needed does not keep its region from being the heir. */
static void who_could_start_it_is_the_heir_where_nobody_is_well(void **state)
{
    struct fm_startable x = {.contexts = first, .regions = 1 << WEST | 1 << EAST};
    struct fm_contexts second = both;
    (void)state;
    fm_contexts_leave(&second, &first);
    fm_votes_gate(&v, 1, &second, &idle, now);
    says(NORTH, 0, both, 0);
    says(EAST, 0, second, 0);
    (void)mine();
    assert_int_equal(fm_votes_heir(&v, WEST, &first, &x, 7, rank), NORTH); /* it is well */
    assert_int_equal(fm_votes_heir(&v, NORTH, &first, &x, 7, rank), EAST);
    assert_int_equal(fm_votes_heir(&v, NORTH, &both, &x, 7, rank), EAST);
    assert_int_equal(fm_votes_heir(&v, NORTH, &both, &x, 3, rank), WEST);
    x.regions = 1 << WEST; /* at home in east, which is not well: that is no standby */
    assert_int_equal(fm_votes_heir(&v, NORTH, &both, &x, 7, rank), WEST);
    x = (struct fm_startable){.contexts = second, .regions = 7};
    assert_int_equal(fm_votes_heir(&v, NORTH, &both, &x, 7, rank), FM_NO_REGION);
    x = (struct fm_startable){.contexts = both, .regions = 7};
    later(2 * PATIENCE);
    (void)mine();
    assert_int_equal(fm_votes_heir(&v, NORTH, &both, &x, 7, rank), WEST); /* east is not heard */
}

static void whom_a_guard_calls_dead_is_lost_at_once(void **state)
{
    (void)state;
    says(NORTH, 0, both, 0);
    assert_int_equal(mine().lost, 0);
    fm_votes_gone(&v, NORTH, now);
    assert_int_equal(mine().lost, 1 << NORTH);
    later(10);
    fm_votes_stalled(&v, now); /* that I was away is no reason to wait for the dead */
    assert_int_equal(mine().lost, 1 << NORTH);
    says(NORTH, 0, both, 0); /* another life of it */
    assert_int_equal(mine().lost, 0);
    later(PATIENCE);
    fm_votes_stalled(&v, now); /* which is as good as any */
    assert_int_equal(mine().lost, 0);
}

static void nobody_takes_more_than_it_can_carry(void **state)
{
    (void)state;
    struct fm_load a = {.total = 400, .of = {100, 250}}, b = {.total = 100, .of = {50}};
    fm_votes_gate(&v, 1, &both, &a, now);
    fm_votes_gate(&v, 2, &both, &b, now);
    (void)mine();
    fm_votes_load(&v, NORTH, &(struct fm_load){.total = 900, .of = {300, 600}});
    assert_true(fm_votes_fits(&v, NORTH, WEST, &first, 800)); /* 500 and 300 */
    assert_false(fm_votes_fits(&v, NORTH, WEST, &first, 799));
    assert_false(fm_votes_fits(&v, NORTH, WEST, &both, 800));
    assert_true(fm_votes_fits(&v, NORTH, WEST, &both, 0)); /* nothing was said */
    assert_true(fm_votes_fits(&v, WEST, NORTH, &both, 900 + 150 + 250));
    assert_false(fm_votes_fits(&v, WEST, NORTH, &both, 900 + 150 + 249));
    fm_votes_load(&v, NORTH, &(struct fm_load){.total = UINT32_MAX});
    assert_false(fm_votes_fits(&v, WEST, NORTH, &both, UINT32_MAX - 1)); /* no overflow */
    later(2 * PATIENCE); /* of my own region, old words do not count */
    (void)mine();
    assert_true(fm_votes_fits(&v, EAST, WEST, &both, 1));
}

#define T(fn) fm_test_with(fn, begin, NULL)
FM_TEST_MAIN(T(who_is_silent_is_lost_after_the_patience), T(a_stall_of_my_own_makes_nobody_lost),
             T(well_is_heard_of_late_and_capable), T(my_region_is_as_well_as_its_gates_say),
             T(whom_a_guard_calls_dead_is_lost_at_once), T(a_region_speaks_once),
             T(news_is_told_at_once), T(the_heir_is_well_able_and_of_the_lowest_rank),
             T(who_could_start_it_is_the_heir_where_nobody_is_well),
             T(nobody_takes_more_than_it_can_carry))
