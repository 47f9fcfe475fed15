/* What the tests of core/group.h stand in: three nodes, and all that one of them sees. */
#ifndef FM_TESTS_GROUP_SCENE_H
#define FM_TESTS_GROUP_SCENE_H

#include "test.h"

#include "core/group.h"

enum { WEST, NORTH };
enum { A, B, C, NODES }; /* A in west; B and C in north */

static struct fm_group_node g;
static struct fm_group_policy p;
static struct fm_group_evidence ev;
static struct fm_sublease_cell sub;
static struct fm_cell_at cell;
static struct fm_group_report node[NODES];
static struct fm_history mine, theirs;
static struct fm_mono now;

static inline struct fm_group_verdict on(enum fm_group_event e)
{
    return fm_group_step(&g, &p, e, g.serial, &ev, now);
}

static inline struct fm_group_verdict tick(void)
{
    return on(FM_GROUP_ON_TICK);
}

static inline void live(uint64_t epoch)
{
    sub.epoch = sub.known = (struct fm_epoch){epoch};
    sub.until = fm_mono_add_ms(now, 2000);
}

static inline void held_by(unsigned region, uint64_t epoch)
{
    cell.revision.n++;
    cell.r.region = (uint8_t)region;
    cell.r.state = FM_CELL_HELD;
    cell.r.epoch.n = epoch;
}

/* What was asked for is recorded. */
static inline void record(struct fm_group_verdict v)
{
    assert_true(v.records);
    assert_int_equal(v.revision.n, cell.revision.n);
    assert_true(fm_group_may_record(&cell.r.evidence, &v.record, cell.r.epoch));
    cell.r.evidence = v.record;
    cell.revision.n++;
}

static inline void server(enum fm_group_process process, bool accepting, bool recovery)
{
    ev.process = (uint8_t)process;
    ev.accepting = accepting;
    ev.self.recovery = recovery;
    ev.self.clean = false;
}

/* Node A has opened timeline 1 under epoch 1 and is primary; `self` follows it, stopped. */
static inline void begin(unsigned self)
{
    now = (struct fm_mono){100 * FM_NS_PER_S};
    p = (struct fm_group_policy){.restarts_max = 1,
                                 .restarts_ms = 60000,
                                 .hang_ms = 10000,
                                 .yield_ms = 60000,
                                 .tries_max = 2,
                                 .copies_max = 4,
                                 .retry_ms = 500,
                                 .stop_ms = 3000,
                                 .fresh_ms = 3000,
                                 .stuck_ms = 5000,
                                 .wait_ms = 5000,
                                 .lag_max = 100};
    sub = (struct fm_sublease_cell){.holder = FM_NOBODY};
    cell = (struct fm_cell_at){
        .revision = {1},
        .r = {.epoch = {1}, .gentle_from = {1}, .evidence = {5, 0, {1}, 1, 1, 6, 1, 1, 0, 0}}};
    mine = theirs = (struct fm_history){{1}, FM_STR("")};
    for (unsigned i = 0; i < NODES; i++)
        node[i] = (struct fm_group_report){.at = now,
                                           .region = i == A ? WEST : NORTH,
                                           .state = i == A ? FM_GROUP_PRIMARY : FM_GROUP_STANDBY,
                                           .system_id = 5,
                                           .timeline = {1},
                                           .recovery = i != A,
                                           .streaming = i != A,
                                           .flush = {1000},
                                           .replay = {1000}};
    ev = (struct fm_group_evidence){.sub = &sub,
                                    .cell = &cell,
                                    .data = true,
                                    .self = node[self],
                                    .history = &mine,
                                    .primary = self == A ? NULL : &theirs,
                                    .node = node,
                                    .nnodes = NODES};
    fm_group_init(&g, (uint8_t)self, NODES, now);
}

static inline void standby(unsigned self)
{
    begin(self);
    assert_int_equal(tick().action, FM_GROUP_DO_START_STANDBY);
    server(FM_GROUP_UP, true, true);
    struct fm_group_verdict v = tick();
    assert_int_equal(v.to, FM_GROUP_STANDBY);
    assert_int_equal(v.action, FM_GROUP_DO_FOLLOW);
    assert_int_equal(v.node, A);
}

static inline void primary(void)
{
    begin(A);
    ev.self.recovery = false;
    live(1);
    assert_int_equal(tick().action, FM_GROUP_DO_START_PRIMARY);
    server(FM_GROUP_UP, false, false);
    assert_int_equal(tick().to, FM_GROUP_RESUMING);
    server(FM_GROUP_UP, true, false);
    struct fm_group_verdict v = tick();
    assert_int_equal(v.to, FM_GROUP_PRIMARY);
    assert_int_equal(v.action, FM_GROUP_DO_OPEN);
    assert_true(fm_group_serves(&g, &ev, now));
}

/* Its region takes the cell over. */
static inline void taken_by_force(void)
{
    held_by(NORTH, 2);
    cell.r.gentle_from.n = 2;
    live(2);
    for (unsigned i = 0; i < NODES; i++)
        node[i].at = now;
    node[A].at = FM_MONO_ZERO;
}

#endif
