/* Commands wait for the data: two nodes, A in west, which held the cell under epoch 6, and B in
 * north, which it has gone to under epoch 7. */
#include "test.h"

#include "core/opening.h"

enum { WEST, NORTH };
enum { A, B, NODES };
enum { BOTH = 1 << A | 1 << B };

static struct fm_cell_record cell;
static struct fm_group_report node[NODES];

static void begin(void)
{
    cell = (struct fm_cell_record){.region = NORTH,
                                   .epoch = {7},
                                   .evidence = {.system_id = 5,
                                                .fork_lsn = 100,
                                                .epoch = {6},
                                                .timeline = 2,
                                                .claimed = 2,
                                                .promotable = 1 << B,
                                                .node = A + 1,
                                                .writer = A + 1}};
    node[A] = (struct fm_group_report){.at = {FM_NS_PER_S},
                                       .region = WEST,
                                       .state = FM_GROUP_PRIMARY,
                                       .epoch = {6},
                                       .system_id = 5};
    node[B] = (struct fm_group_report){.at = {FM_NS_PER_S},
                                       .region = NORTH,
                                       .state = FM_GROUP_STANDBY,
                                       .system_id = 5,
                                       .recovery = true};
}

static enum fm_opening look(void)
{
    return fm_opening_of_group(&cell, node, NODES, BOTH);
}

static void claim(unsigned who)
{
    cell.evidence.epoch = cell.epoch;
    cell.evidence.node = (uint16_t)(who + 1);
}

static void is_primary(unsigned who, uint64_t epoch)
{
    node[who].state = FM_GROUP_PRIMARY;
    node[who].epoch.n = epoch;
    node[who].recovery = false;
}

static void a_group_that_has_moved_opens_with_its_primary(void **state)
{
    (void)state;
    begin();
    assert_int_equal(look(), FM_OPENING_UNCLAIMED);
    claim(B);
    assert_int_equal(look(), FM_OPENING_AWAY);
    for (unsigned i = 0; i < FM_GROUP_STATE_COUNT; i++) {
        node[B].state = (uint8_t)i;
        bool open = i == FM_GROUP_PRIMARY || i == FM_GROUP_DRAINING;
        node[B].epoch.n = open ? 7 : 0;
        assert_int_equal(look(), open ? FM_OPENING_OPEN : FM_OPENING_AWAY);
    }
}

/* By whatever an earlier claim or report was. */
static void what_was_open_under_another_epoch_is_not_open(void **state)
{
    (void)state;
    begin();
    is_primary(B, 7);
    assert_int_equal(look(), FM_OPENING_UNCLAIMED); /* it cannot be: nobody has claimed it */
    claim(B);
    is_primary(B, 6);
    assert_int_equal(look(), FM_OPENING_AWAY);
    is_primary(A, 7); /* another one than who has claimed it */
    assert_int_equal(look(), FM_OPENING_AWAY);
    is_primary(B, 7);
    assert_int_equal(look(), FM_OPENING_OPEN);
    cell.epoch.n = 8; /* held on under another epoch, after a move that was given up */
    assert_int_equal(look(), FM_OPENING_UNCLAIMED);
    claim(B);
    assert_int_equal(look(), FM_OPENING_AWAY);
    is_primary(B, 8);
    assert_int_equal(look(), FM_OPENING_OPEN);
}

static void a_primary_that_starts_again_is_waited_for(void **state)
{
    (void)state;
    static const uint8_t way[] = {FM_GROUP_KILLING, FM_GROUP_STOPPED, FM_GROUP_CLAIMING,
                                  FM_GROUP_RESUMING};
    begin();
    claim(B);
    cell.evidence.writer = B + 1;
    is_primary(B, 7);
    assert_int_equal(look(), FM_OPENING_OPEN);
    for (unsigned i = 0; i < FM_COUNT(way); i++) {
        node[B].state = way[i];
        node[B].epoch.n = 0;
        assert_int_equal(look(), FM_OPENING_AWAY);
    }
    is_primary(B, 7);
    assert_int_equal(look(), FM_OPENING_OPEN);
}

/* A keeper that has just begun has heard of nobody; one that hears nothing more has heard. */
static void silence_closes_nothing_that_was_open(void **state)
{
    (void)state;
    begin();
    claim(B);
    is_primary(B, 7);
    node[B].at.ns = 0;
    assert_int_equal(look(), FM_OPENING_UNHEARD);
    node[B].at.ns = 1;
    assert_int_equal(look(), FM_OPENING_OPEN);
}

static void nobody_waits_for_what_is_not_known(void **state)
{
    (void)state;
    begin();
    claim(B);
    assert_int_equal(fm_opening_of_group(&cell, node, NODES, 1 << A), FM_OPENING_OPEN);
    assert_int_equal(fm_opening_of_group(&cell, node, 1, BOTH), FM_OPENING_OPEN);
    cell.evidence = (struct fm_evidence){.system_id = 0}; /* the group was not made yet */
    assert_int_equal(look(), FM_OPENING_OPEN);
    cell.evidence.system_id = 5; /* it was, and a person has to say whose data count */
    assert_int_equal(look(), FM_OPENING_UNCLAIMED);
}

static void data_that_commands_move_open_by_their_record(void **state)
{
    (void)state;
    struct fm_epoch epoch = {7};
    struct fm_external_record r = {.epoch = {6}, .stage = FM_EXTERNAL_AT_OPEN};
    assert_int_equal(fm_opening_of_external(&r, epoch), FM_OPENING_HOOKS);
    r.epoch = epoch;
    assert_int_equal(fm_opening_of_external(&r, epoch), FM_OPENING_OPEN);
    r.stage = FM_EXTERNAL_AT_OPENING;
    assert_int_equal(fm_opening_of_external(&r, epoch), FM_OPENING_HOOKS);
}

static void each_has_a_name_and_all_but_open_a_text(void **state)
{
    (void)state;
    for (unsigned i = 0; i < FM_OPENING_COUNT; i++) {
        assert_true(strlen(fm_opening_name((enum fm_opening)i)) > 0);
        assert_int_equal(strlen(fm_opening_text((enum fm_opening)i)) > 0, i != FM_OPENING_OPEN);
    }
}

FM_TEST_MAIN(fm_test(a_group_that_has_moved_opens_with_its_primary),
             fm_test(what_was_open_under_another_epoch_is_not_open),
             fm_test(a_primary_that_starts_again_is_waited_for),
             fm_test(silence_closes_nothing_that_was_open),
             fm_test(nobody_waits_for_what_is_not_known),
             fm_test(data_that_commands_move_open_by_their_record),
             fm_test(each_has_a_name_and_all_but_open_a_text))
