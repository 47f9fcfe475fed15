/* Who would receive the data of a planned move, and what is in the way: A writes in west, B and C
 * stand by in north. */
#include "group_scene.h"

enum { LAG = 100, ALL = 1 << A | 1 << B | 1 << C };

static struct fm_group_heir heir(unsigned region)
{
    return fm_group_heir(&cell.r.evidence, node, NODES, ALL, region, LAG, p.fresh_ms, now);
}

static void scene(void)
{
    begin(A);
    cell.r.evidence.promotable = 1 << B | 1 << C;
    node[A].recovery = false;
}

static void check_is(unsigned is, unsigned who)
{
    struct fm_group_heir h = heir(NORTH);
    if (h.is != is || h.node != who)
        fail_msg("node %u: %s", h.node, fm_group_heir_text((enum fm_group_heir_is)h.is));
    assert_int_equal(fm_group_heir_comes(&h), is >= FM_GROUP_HEIR_APART);
}

static void who_follows_closely_and_is_recorded_is_ready(void **state)
{
    (void)state;
    scene();
    check_is(FM_GROUP_HEIR_READY, B);
    node[A].state = FM_GROUP_DRAINING;
    check_is(FM_GROUP_HEIR_READY, B);
}

/* Of C nothing is heard all the while. */
static void what_one_lacks_is_said(void **state)
{
    (void)state;
    static const struct {
        unsigned is;
        struct fm_group_report r;
    } rows[] = {
        {FM_GROUP_HEIR_LEFT, {.state = FM_GROUP_MAINTAINED, .streaming = true}},
        {FM_GROUP_HEIR_LEFT, {.state = FM_GROUP_FENCED}},
        {FM_GROUP_HEIR_DELAYED, {.state = FM_GROUP_CATCHING_UP, .streaming = true, .delay_ms = 1}},
        {FM_GROUP_HEIR_NO_STANDBY, {.state = FM_GROUP_UNABLE}},
        {FM_GROUP_HEIR_NO_STANDBY, {.state = FM_GROUP_REWINDING}},
        {FM_GROUP_HEIR_NO_STANDBY, {.state = FM_GROUP_ABSENT}},
        {FM_GROUP_HEIR_DEAF, {.state = FM_GROUP_CATCHING_UP}},
        {FM_GROUP_HEIR_DEAF, {.state = FM_GROUP_STANDBY}},
        {FM_GROUP_HEIR_APART, {.state = FM_GROUP_CATCHING_UP, .apart_ms = 5}},
        {FM_GROUP_HEIR_BEHIND, {.state = FM_GROUP_STANDBY, .streaming = true, .flush = {899}}},
        {FM_GROUP_HEIR_READY, {.state = FM_GROUP_STANDBY, .streaming = true, .flush = {900}}},
    };
    for (unsigned i = 0; i < FM_COUNT(rows); i++) {
        scene();
        struct fm_group_report was = node[B];
        node[B] = rows[i].r;
        node[B].at = now;
        node[B].region = NORTH;
        node[B].system_id = was.system_id;
        node[B].timeline = was.timeline;
        node[B].recovery = true;
        node[C].at = FM_MONO_ZERO;
        check_is(rows[i].is, B);
    }
    scene();
    cell.r.evidence.promotable = 0;
    check_is(FM_GROUP_HEIR_UNCOUNTED, B);
    node[B].at = node[C].at = FM_MONO_ZERO;
    check_is(FM_GROUP_HEIR_SILENT, B);
}

static void the_nearest_of_a_region_counts(void **state)
{
    (void)state;
    scene();
    node[B].streaming = false;
    check_is(FM_GROUP_HEIR_READY, C);
    node[C].state = FM_GROUP_UNABLE;
    node[C].streaming = false;
    check_is(FM_GROUP_HEIR_DEAF, B);
    assert_int_equal(heir(WEST).is, FM_GROUP_HEIR_NOBODY); /* but for the primary */
    assert_int_equal(heir(7).is, FM_GROUP_HEIR_NOBODY);
    /* who was taken out is nobody */
    struct fm_group_heir h =
        fm_group_heir(&cell.r.evidence, node, NODES, 1 << A | 1 << C, NORTH, LAG, p.fresh_ms, now);
    assert_int_equal(h.node, C);
}

static void without_a_primary_nobody_follows(void **state)
{
    (void)state;
    scene();
    node[A].state = FM_GROUP_RESUMING; /* it says so before they notice */
    check_is(FM_GROUP_HEIR_READY, B);
    node[B].streaming = node[C].streaming = false;
    check_is(FM_GROUP_HEIR_AWAY, A);
    node[B].state = node[C].state = FM_GROUP_FENCED; /* that would not help */
    check_is(FM_GROUP_HEIR_LEFT, B);
    node[A].at = FM_MONO_ZERO;
    check_is(FM_GROUP_HEIR_NO_PRIMARY, A);
    cell.r.evidence.writer = 0;
    check_is(FM_GROUP_HEIR_NO_DATA, FM_GROUP_NOBODY);
    struct fm_group_heir h = fm_group_heir(NULL, node, NODES, ALL, NORTH, LAG, p.fresh_ms, now);
    assert_int_equal(h.is, FM_GROUP_HEIR_NO_DATA);
}

static void each_has_words(void **state)
{
    (void)state;
    for (unsigned i = 0; i < FM_GROUP_HEIR_COUNT; i++)
        assert_true(strlen(fm_group_heir_text((enum fm_group_heir_is)i)) > 0);
}

FM_TEST_MAIN(fm_test(who_follows_closely_and_is_recorded_is_ready), fm_test(what_one_lacks_is_said),
             fm_test(the_nearest_of_a_region_counts), fm_test(without_a_primary_nobody_follows),
             fm_test(each_has_words))
