/* The machine of one node of a group: the ways through it. */
#include "group_scene.h"

#include "core/reseed.h"

/* -------- the first node -------- */

static void a_group_begins_where_a_person_says_so(void **state)
{
    (void)state;
    begin(A);
    cell.r.evidence = (struct fm_evidence){0};
    ev.data = false;
    ev.self = (struct fm_group_report){.region = WEST};
    ev.history = NULL;
    assert_int_equal(tick().to, FM_GROUP_ABSENT);
    assert_true(on(FM_GROUP_ON_CREATE).refused); /* without authority */
    live(1);
    assert_int_equal(on(FM_GROUP_ON_CREATE).action, FM_GROUP_DO_CREATE);
    ev.data = true;
    ev.self.system_id = 5;
    ev.self.timeline.n = 1;
    ev.history = &mine;
    struct fm_group_verdict v = on(FM_GROUP_ON_DONE);
    assert_int_equal(v.to, FM_GROUP_CLAIMING);
    assert_int_equal(v.record.claimed, 1);
    record(v);
    assert_int_equal(tick().action, FM_GROUP_DO_START_PRIMARY);
    server(FM_GROUP_UP, true, false);
    v = tick();
    assert_int_equal(v.to, FM_GROUP_OPENING);
    assert_int_equal(v.record.timeline, 1);
    assert_int_equal(v.record.writer, A + 1);
    assert_false(fm_group_serves(&g, &ev, now));
    record(v);
    assert_int_equal(tick().to, FM_GROUP_PRIMARY);
    assert_true(fm_group_serves(&g, &ev, now));
}

static void nothing_is_created_or_taken_over_what_is_recorded(void **state)
{
    (void)state;
    begin(A);
    live(1);
    ev.data = false;
    ev.self.system_id = 0;
    tick();
    assert_true(on(FM_GROUP_ON_CREATE).refused);
    begin(A);
    cell.r.evidence = (struct fm_evidence){0};
    ev.self.recovery = false;
    live(1);
    assert_int_equal(tick().to, FM_GROUP_STOPPED); /* data that nobody spoke of */
    struct fm_group_verdict v = on(FM_GROUP_ON_CREATE);
    assert_int_equal(v.to, FM_GROUP_CLAIMING);
    /* of a store that forgot the group: a node that is away may have gone on from timeline 1 */
    assert_int_equal(v.record.claimed, 1 + FM_RESEED_TIMELINES);
}

/* -------- a standby becomes the primary -------- */

static void a_promotion_is_claimed_done_recorded_and_opened(void **state)
{
    (void)state;
    standby(B);
    assert_false(tick().changed);
    taken_by_force();
    struct fm_group_verdict v = tick();
    assert_int_equal(v.to, FM_GROUP_CLAIMING);
    assert_int_equal(v.record.claimed, 2);
    assert_int_equal(v.record.timeline, 1);
    assert_int_equal(tick().to, FM_GROUP_CLAIMING); /* an outcome that is not known starts nobody */
    record(v);
    v = tick();
    assert_int_equal(v.action, FM_GROUP_DO_PROMOTE);
    assert_int_equal(v.timeline, 2);
    assert_int_equal(tick().to, FM_GROUP_PROMOTING);
    server(FM_GROUP_UP, true, false);
    ev.self.timeline.n = 2;
    ev.self.begins.n = 1000;
    v = tick();
    assert_int_equal(v.to, FM_GROUP_OPENING);
    assert_int_equal(v.record.fork_lsn, 1000);
    assert_false(fm_group_serves(&g, &ev, now));
    record(v);
    assert_int_equal(tick().to, FM_GROUP_PRIMARY);
    ev.counted = 1 << C | 1 << B;
    ev.near = 1 << A | 1 << C;
    ev.credit = 64;
    ev.holes_to.n = 900;
    v = tick();
    assert_true(v.records);
    assert_int_equal(v.record.promotable, 1 << C);
    assert_int_equal(v.record.near, 1 << C); /* nobody that does not count */
    assert_true(v.record.credit == 64 && v.record.holes_to == 900);
    record(v);
    assert_false(tick().records);
    ev.holes_to = FM_LSN_NONE;
    v = tick();
    assert_true(v.records && v.record.holes_to == 0);
    record(v);
    assert_false(tick().records);
}

static void who_may_not_claim_stays_a_standby(void **state)
{
    (void)state;
    static const char *const what[] = {"no sub-lease",
                                       "the sub-lease ran out",
                                       "another region",
                                       "released",
                                       "a record of another epoch",
                                       "another node has the epoch",
                                       "another node has more",
                                       "nothing bounds the loss, and nobody consented",
                                       "another history",
                                       "the writer is here and comes back",
                                       "the record is not known"};
    for (unsigned i = 0; i < FM_COUNT(what); i++) {
        standby(B);
        taken_by_force();
        if (i == 0)
            sub = (struct fm_sublease_cell){0};
        else if (i == 1)
            sub.until = now;
        else if (i == 2)
            cell.r.region = WEST;
        else if (i == 3)
            cell.r.state = FM_CELL_RELEASED;
        else if (i == 4)
            cell.r.epoch.n = 3;
        else if (i == 5)
            cell.r.evidence.epoch.n = 2;
        else if (i == 6)
            node[C].flush.n = 1001;
        else if (i == 7)
            cell.r.evidence.promotable = 0;
        else if (i == 8)
            cell.r.evidence.fork_lsn = 10, theirs.timeline.n = 9;
        else if (i == 9)
            node[A] = (struct fm_group_report){.at = now,
                                               .region = NORTH,
                                               .state = FM_GROUP_STOPPED,
                                               .system_id = 5,
                                               .timeline = {1}};
        else
            ev.cell = NULL;
        if (tick().to == FM_GROUP_CLAIMING)
            fail_msg("%s", what[i]);
    }
    standby(B); /* of equals the first one */
    taken_by_force();
    assert_int_equal(tick().to, FM_GROUP_CLAIMING);
    standby(C);
    taken_by_force();
    assert_int_equal(tick().to, FM_GROUP_STANDBY);
    standby(C); /* the other one may not */
    taken_by_force();
    cell.r.evidence.promotable = 1 << C;
    assert_int_equal(tick().to, FM_GROUP_CLAIMING);
    standby(C); /* it has what bounds the loss */
    taken_by_force();
    node[B].at = FM_MONO_ZERO;
    assert_int_equal(tick().to, FM_GROUP_CLAIMING);
}

/* The better one reports, and does not claim: its agent may have no sub-lease. */
static void who_has_less_waits_for_the_better_one_and_not_for_ever(void **state)
{
    (void)state;
    standby(B);
    taken_by_force();
    node[C].flush.n = 1001;
    struct fm_group_verdict v = tick();
    assert_int_equal(v.to, FM_GROUP_STANDBY);
    assert_int_equal(fm_mono_sub_ms(v.wake, now), 2000); /* of the sub-lease, renewed until then */
    for (int64_t ms = 0; ms < p.wait_ms; ms += 1000) {
        assert_int_equal(tick().to, FM_GROUP_STANDBY);
        now = fm_mono_add_ms(now, 1000);
        node[B].at = node[C].at = now;
        live(2);
    }
    assert_int_equal(tick().to, FM_GROUP_CLAIMING);
    assert_int_equal(tick().to, FM_GROUP_CLAIMING); /* and it stays with that */
}

/* A person's consent is to one loss of this data: it is over when they are open again. */
static void what_a_person_accepted_lets_a_node_claim_that_bounds_nothing(void **state)
{
    (void)state;
    standby(B);
    taken_by_force();
    cell.r.evidence.promotable = 1 << C;
    node[C].at = FM_MONO_ZERO; /* what bounds the loss is gone */
    assert_int_equal(tick().to, FM_GROUP_STANDBY);
    cell.r.accepted.n = 2;
    node[C].at = now;
    node[C].flush.n = 1001;
    assert_int_equal(tick().to, FM_GROUP_STANDBY); /* the better one, as ever */
    node[C].at = FM_MONO_ZERO;
    held_by(NORTH, 3); /* its keeper was replaced, or had to take it again: nobody has opened it */
    live(3);
    assert_int_equal(tick().to, FM_GROUP_CLAIMING);
    cell.r.evidence.epoch.n = 2;
    cell.r.evidence.node = cell.r.evidence.writer = C + 1; /* ... somebody has */
    assert_false(fm_cell_accepts_loss(&cell.r));
    assert_int_equal(tick().to, FM_GROUP_CATCHING_UP);
}

static void a_claim_that_another_got_is_given_up(void **state)
{
    (void)state;
    standby(B);
    taken_by_force();
    tick();
    cell.r.evidence.epoch.n = 2;
    cell.r.evidence.node = C + 1;
    assert_int_equal(tick().action, FM_GROUP_DO_FOLLOW);
}

static void authority_is_looked_at_again_at_each_step(void **state)
{
    (void)state;
    for (unsigned at = 0; at < 3; at++) {
        standby(B);
        taken_by_force();
        record(tick());
        assert_int_equal(tick().to, FM_GROUP_PROMOTING);
        if (at > 0) {
            server(FM_GROUP_UP, true, false);
            ev.self.timeline.n = 2;
            ev.self.begins.n = 1000;
            struct fm_group_verdict v = tick();
            assert_int_equal(v.to, FM_GROUP_OPENING);
            if (at > 1) {
                record(v);
                assert_int_equal(tick().to, FM_GROUP_PRIMARY);
            }
        }
        now = sub.until;
        assert_false(fm_group_serves(&g, &ev, now));
        struct fm_group_verdict v = tick();
        assert_int_equal(v.action, FM_GROUP_DO_STOP_IMMEDIATE);
        assert_int_equal(v.why, FM_GROUP_WHY_LEASE_OVER);
    }
}

/* The number may have been given to another node: what it is then is nobody's history. */
static void a_promotion_to_a_lower_timeline_never_opens(void **state)
{
    (void)state;
    standby(B);
    cell.r.evidence.claimed = 4;
    taken_by_force();
    record(tick());
    assert_int_equal(tick().timeline, 5);
    server(FM_GROUP_UP, true, false);
    ev.self.timeline.n = 2;
    ev.self.begins.n = 1000;
    assert_int_equal(tick().why, FM_GROUP_WHY_TIMELINE);
    assert_int_equal(g.state, FM_GROUP_KILLING);
}

/* It died between its promotion and its record: the same claim goes on, a new one promotes again.
 */
static void a_promotion_half_way_goes_on_under_its_claim_only(void **state)
{
    (void)state;
    for (unsigned later = 0; later < 3; later++) {
        standby(B);
        taken_by_force();
        record(tick());
        tick();
        server(FM_GROUP_GONE, false, false);
        ev.self.timeline.n = 2;
        ev.self.begins.n = 1000;
        mine = (struct fm_history){{2}, FM_STR("1\t0/3E8\n")};
        if (later < 2)
            ev.primary = NULL; /* else the old writer is there, on a history without this one */
        if (later) {
            held_by(NORTH, 3);
            live(3);
        }
        struct fm_group_verdict v = tick();
        if (!later) {
            assert_int_equal(v.action, FM_GROUP_DO_START_PRIMARY);
            continue;
        }
        assert_int_equal(v.action, FM_GROUP_DO_START_STANDBY);
        server(FM_GROUP_UP, true, true);
        v = tick();
        assert_int_equal(v.to, FM_GROUP_CLAIMING);
        assert_int_equal(v.record.claimed, 3);
    }
}

/* -------- the primary stops -------- */

static void a_planned_move_drains_stops_and_is_final(void **state)
{
    (void)state;
    primary();
    sub.quiet_until = fm_mono_add_ms(now, 1000);
    assert_int_equal(tick().action, FM_GROUP_DO_DRAIN);
    assert_true(fm_group_serves(&g, &ev, now)); /* what is in flight ends */
    sub.quiet_until = now;
    assert_int_equal(tick().to, FM_GROUP_PRIMARY);
    sub.quiet_until = fm_mono_add_ms(now, 1000);
    tick();
    sub.stopped = sub.epoch;
    sub.until = FM_MONO_ZERO;
    assert_int_equal(tick().action, FM_GROUP_DO_STOP_FAST);
    assert_false(fm_group_serves(&g, &ev, now));
    assert_false(fm_group_has_stopped(&g, &ev));
    server(FM_GROUP_ORPHANS, false, false);
    assert_false(fm_group_has_stopped(&g, &ev));
    server(FM_GROUP_GONE, false, false);
    ev.self.clean = true;
    ev.self.final.n = 1000;
    assert_int_equal(tick().to, FM_GROUP_STOPPED);
    assert_true(fm_group_has_stopped(&g, &ev));
    struct fm_group_report heir = node[B];
    assert_false(fm_group_is_final(&ev.self, &heir));
    heir.flush.n = heir.replay.n = 1001;
    assert_true(fm_group_is_final(&ev.self, &heir));
    held_by(WEST, 2); /* it is called off: another epoch, the same node goes on */
    live(2);
    struct fm_group_verdict v = tick();
    assert_int_equal(v.to, FM_GROUP_CLAIMING);
    assert_int_equal(v.record.claimed, 1);
    record(v);
    assert_int_equal(tick().action, FM_GROUP_DO_START_PRIMARY);
}

static void a_fast_stop_that_takes_too_long_is_made_an_immediate_one(void **state)
{
    (void)state;
    primary();
    sub.stopped = sub.epoch;
    struct fm_group_verdict v = tick();
    assert_int_equal(v.to, FM_GROUP_STOPPING);
    assert_int_equal(fm_mono_sub_ms(v.wake, now) <= p.stop_ms, 1);
    now = fm_mono_add_ms(now, p.stop_ms);
    assert_int_equal(tick().action, FM_GROUP_DO_STOP_IMMEDIATE);
    assert_int_equal(g.why, FM_GROUP_WHY_TOO_LONG);
}

static void a_standby_has_stopped_at_once_and_a_node_of_unknown_state_has_not(void **state)
{
    (void)state;
    standby(B);
    assert_true(fm_group_has_stopped(&g, &ev));
    server(FM_GROUP_UP, true, false);
    assert_false(fm_group_has_stopped(&g, &ev));
    begin(B);
    server(FM_GROUP_UP, true, true);
    assert_false(fm_group_has_stopped(&g, &ev)); /* nobody has looked yet */
}

/* -------- a crash of the primary -------- */

static void crash(void)
{
    server(FM_GROUP_ORPHANS, false, false);
    assert_int_equal(tick().action, FM_GROUP_DO_STOP_IMMEDIATE);
    assert_false(fm_group_serves(&g, &ev, now));
    server(FM_GROUP_GONE, false, false);
}

static void a_primary_that_crashed_is_started_first_within_its_budget(void **state)
{
    (void)state;
    primary();
    crash();
    assert_int_equal(tick().action, FM_GROUP_DO_START_PRIMARY);
    server(FM_GROUP_UP, true, false);
    assert_int_equal(tick().to, FM_GROUP_PRIMARY);
    crash();
    struct fm_group_verdict v = tick();
    assert_int_equal(v.action, FM_GROUP_DO_YIELD);
    assert_int_equal(v.why, FM_GROUP_WHY_TRIES);
    assert_int_equal(tick().to, FM_GROUP_YIELDED);
    live(2);
    held_by(WEST, 2);
    assert_int_equal(tick().to, FM_GROUP_CLAIMING); /* asked anew */
    primary();
    crash();
    tick();
    assert_int_equal(on(FM_GROUP_ON_FAILED).to, FM_GROUP_YIELDED); /* a failed start counts */
    assert_int_equal(on(FM_GROUP_ON_RESUME).to, FM_GROUP_RESUMING);
    on(FM_GROUP_ON_FAILED);
    assert_int_equal(g.state, FM_GROUP_RESUMING); /* the count begins anew */
    on(FM_GROUP_ON_FAILED);
    assert_int_equal(g.state, FM_GROUP_YIELDED);
    now = fm_mono_add_ms(now, p.yield_ms);
    live(1);
    assert_int_equal(tick().to, FM_GROUP_RESUMING); /* nobody came */
}

static void a_primary_that_hangs_is_started_again_once(void **state)
{
    (void)state;
    primary();
    p.restarts_max = 3;
    assert_int_equal(tick().to, FM_GROUP_PRIMARY); /* nobody has asked it yet */
    for (unsigned i = 0; i < 2; i++) {
        ev.well_at = now;
        now = fm_mono_add_ms(now, p.hang_ms - 1);
        live(1);
        assert_int_equal(tick().to, FM_GROUP_PRIMARY);
        now = fm_mono_add_ms(now, 1);
        assert_int_equal(tick().why, FM_GROUP_WHY_HUNG);
        ev.well_at = FM_MONO_ZERO;
        server(FM_GROUP_GONE, false, false);
        assert_int_equal(tick().to, i ? FM_GROUP_YIELDED : FM_GROUP_RESUMING);
        server(FM_GROUP_UP, true, false);
        assert_true(i || tick().to == FM_GROUP_PRIMARY);
    }
}

static void who_was_ended_in_time_did_not_crash(void **state)
{
    (void)state;
    primary();
    for (unsigned i = 0; i < 5; i++) {
        server(FM_GROUP_GONE, false, false);
        ev.expired = true;
        assert_int_equal(tick().action, FM_GROUP_DO_START_PRIMARY); /* the lease was renewed */
        ev.expired = false;
        server(FM_GROUP_UP, true, false);
        assert_int_equal(tick().to, FM_GROUP_PRIMARY);
    }
    crash();
    assert_int_equal(tick().to, FM_GROUP_RESUMING);
}

static void who_prefers_time_yields_to_a_standby_that_is_ready(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        primary();
        p.prefer = FM_PREFER_TIME;
        if (i == 1)
            cell.r.evidence.promotable = 0;
        if (i == 2)
            node[B].at = node[C].at = FM_MONO_ZERO;
        if (i == 3)
            node[B].state = node[C].state = FM_GROUP_FENCED;
        crash();
        assert_int_equal(tick().to, i ? FM_GROUP_RESUMING : FM_GROUP_YIELDED);
        assert_true(i || g.why == FM_GROUP_WHY_PREFERS_TIME);
    }
}

static void who_yielded_leaves_the_next_epoch_to_a_node_of_its_region(void **state)
{
    (void)state;
    enum { FREE, ELSEWHERE, UNABLE, CLAIMED, LATE, CASES };
    for (unsigned i = 0; i < CASES; i++) {
        primary();
        p.prefer = FM_PREFER_TIME;
        node[B].region = i == ELSEWHERE ? NORTH : WEST;
        crash();
        assert_int_equal(tick().to, FM_GROUP_YIELDED);
        held_by(WEST, 2);
        node[B].state = i == UNABLE ? FM_GROUP_FENCED : FM_GROUP_CATCHING_UP;
        if (i == CLAIMED)
            cell.r.evidence.epoch.n = cell.r.evidence.node = B + 1;
        now = fm_mono_add_ms(now, i == LATE ? p.yield_ms : 0);
        live(2);
        assert_int_equal(tick().to, i == FREE      ? FM_GROUP_YIELDED
                                    : i == CLAIMED ? FM_GROUP_STOPPED
                                                   : FM_GROUP_CLAIMING);
    }
}

/* -------- an old primary comes back -------- */

static void b_has_opened(uint64_t fork)
{
    static struct fm_history two;
    two = (struct fm_history){{2}, fork == 1000 ? FM_STR("1\t0/3E8\n") : FM_STR("1\t0/384\n")};
    held_by(NORTH, 2);
    cell.r.evidence = (struct fm_evidence){5, fork, {2}, 2, 2, 0, B + 1, B + 1, 0, 0, 0};
    node[B].state = FM_GROUP_PRIMARY;
    node[B].timeline.n = 2;
    node[B].begins.n = fork;
    node[B].recovery = false;
    ev.primary = &two;
}

static void an_old_primary_follows_rewinds_or_waits(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        bool clean, known, open, kept;
        uint64_t final, fork;
        enum fm_group_state to;
    } rows[] = {
        {"stopped in order, all of it is there", true, true, true, false, 999, 1000,
         FM_GROUP_STARTING},
        {"its last record is missing there", true, true, true, true, 1000, 1000,
         FM_GROUP_REWINDING},
        {"it has more", true, true, true, true, 999, 900, FM_GROUP_REWINDING},
        {"it has more that nobody else knows of", true, true, true, false, 999, 900,
         FM_GROUP_KEEPING},
        {"it crashed: who knows", false, true, true, true, 0, 1000, FM_GROUP_REWINDING},
        {"it crashed, and nobody has looked", false, true, true, false, 0, 1000, FM_GROUP_KEEPING},
        {"the history is not known yet", true, false, true, true, 999, 1000, FM_GROUP_STOPPED},
        {"nobody to rewind from", false, true, false, true, 0, 1000, FM_GROUP_STOPPED},
    };
    for (size_t i = 0; i < FM_COUNT(rows); i++) {
        begin(A);
        b_has_opened(rows[i].fork);
        ev.self.recovery = false;
        ev.self.clean = rows[i].clean;
        ev.kept = rows[i].kept;
        ev.self.final.n = rows[i].final;
        if (!rows[i].known)
            ev.primary = NULL;
        if (!rows[i].open)
            node[B].state = FM_GROUP_OPENING;
        struct fm_group_verdict v = tick();
        if (v.to != rows[i].to)
            fail_msg("%s: %s", rows[i].what, fm_group_state_name((enum fm_group_state)v.to));
        assert_true(v.to == FM_GROUP_STOPPED || v.node == B);
    }
}

/* Rule 28: neither a rewind, nor a copy of whatever kind, before somebody else knows. */
static void what_only_it_has_is_kept_before_it_goes(void **state)
{
    (void)state;
    begin(A);
    b_has_opened(900);
    ev.self.recovery = false;
    g.tries = p.tries_max; /* else it would be copied anew */
    struct fm_group_verdict v = tick();
    assert_int_equal(v.action, FM_GROUP_DO_KEEP);
    assert_int_equal(v.node, B);
    assert_true(on(FM_GROUP_ON_REINIT).refused);
    node[B].state = FM_GROUP_OPENING; /* nobody who could keep it */
    assert_int_equal(tick().to, FM_GROUP_STOPPED);
    node[B].state = FM_GROUP_PRIMARY;
    assert_int_equal(tick().to, FM_GROUP_KEEPING);
    ev.kept = true;
    assert_int_equal(tick().action, FM_GROUP_DO_CLONE);
    /* a person throws it away */
    standby(C);
    b_has_opened(900);
    assert_int_equal(on(FM_GROUP_ON_REINIT).action, FM_GROUP_DO_STOP_FAST);
    server(FM_GROUP_GONE, false, true);
    assert_int_equal(tick().action, FM_GROUP_DO_KEEP);
    ev.kept = true;
    assert_int_equal(tick().action, FM_GROUP_DO_CLONE);
    begin(A);
    b_has_opened(900);
    ev.self.recovery = false;
    ev.primary = NULL; /* nobody knows what it has */
    assert_int_equal(tick().to, FM_GROUP_STOPPED);
    assert_true(on(FM_GROUP_ON_REINIT).refused);
    ev.self.system_id = 6; /* nothing of this group */
    assert_int_equal(tick().to, FM_GROUP_FENCED);
    assert_int_equal(on(FM_GROUP_ON_REINIT).action, FM_GROUP_DO_CLONE);
}

static void a_standby_that_went_too_far_is_stopped_and_rewound(void **state)
{
    (void)state;
    standby(C);
    b_has_opened(900);
    ev.kept = true;
    assert_int_equal(tick().action, FM_GROUP_DO_STOP_FAST);
    server(FM_GROUP_GONE, false, true);
    struct fm_group_verdict v = tick();
    assert_int_equal(v.action, FM_GROUP_DO_REWIND);
    ev.self.flush.n = ev.self.replay.n = 900;
    assert_int_equal(on(FM_GROUP_ON_DONE).to, FM_GROUP_STARTING);
    standby(C);
    b_has_opened(1000);
    assert_int_equal(tick().node, B);
    assert_int_equal(g.state, FM_GROUP_CATCHING_UP); /* until it is on the new timeline */
}

static void a_rewind_that_was_not_done_counts_as_a_failure(void **state)
{
    (void)state;
    standby(C);
    b_has_opened(900);
    ev.kept = true;
    tick();
    server(FM_GROUP_GONE, false, true);
    assert_int_equal(tick().to, FM_GROUP_REWINDING);
    for (unsigned i = 0; i < p.tries_max; i++) {
        assert_int_equal(on(FM_GROUP_ON_DONE).to, FM_GROUP_STOPPED); /* diverged as before */
        node[B].at = now = fm_mono_add_ms(now, p.retry_ms << i);
        assert_int_equal(tick().to, i + 1 < p.tries_max ? FM_GROUP_REWINDING : FM_GROUP_CLONING);
    }
}

static void what_is_gone_at_the_primary_comes_with_a_copy(void **state)
{
    (void)state;
    static const char *const what[] = {"it is gone", "it is there",     "it receives",
                                       "it gets on", "not long enough", "nobody to copy from"};
    for (unsigned i = 0; i < FM_COUNT(what); i++) {
        standby(B);
        ev.self.streaming = i == 2;
        node[A].flush.n = 5000;
        node[A].kept.n = i == 1 ? 1000 : 1001;
        tick();
        for (unsigned k = 1; k <= 5; k++) {
            now = fm_mono_add_ms(now, i == 4 && k == 5 ? p.stuck_ms / 5 - 1 : p.stuck_ms / 5);
            node[A].at = now;
            if (i == 5)
                node[A].state = FM_GROUP_OPENING;
            if (i == 3 && k == 3)
                ev.self.flush.n = 1000 - 1, ev.self.replay.n = 1000 - 1;
            tick();
        }
        if ((g.state == FM_GROUP_STOPPING) != (i == 0))
            fail_msg("%s: %s", what[i], fm_group_state_name((enum fm_group_state)g.state));
        if (i)
            continue;
        server(FM_GROUP_GONE, false, true);
        struct fm_group_verdict v = tick();
        assert_int_equal(v.action, FM_GROUP_DO_CLONE);
        assert_int_equal(v.node, A);
        ev.self.flush.n = ev.self.replay.n = 5000;
        assert_int_equal(on(FM_GROUP_ON_DONE).to, FM_GROUP_STARTING);
        assert_false(g.gap);
    }
}

/* So many times the first pause, and nothing happens before. */
static void wait_for_retry(unsigned times)
{
    now = fm_mono_add_ms(now, p.retry_ms * times - 1);
    node[B].at = now;
    assert_false(tick().changed);
    now = fm_mono_add_ms(now, 1);
}

static void what_fails_waits_is_tried_again_and_then_made_anew(void **state)
{
    (void)state;
    begin(A);
    b_has_opened(900);
    ev.self.recovery = false;
    ev.kept = true;
    assert_int_equal(tick().to, FM_GROUP_REWINDING);
    assert_int_equal(on(FM_GROUP_ON_FAILED).to, FM_GROUP_STOPPED);
    uint32_t serial = g.serial;
    wait_for_retry(1);
    assert_int_equal(tick().to, FM_GROUP_REWINDING);
    fm_group_step(&g, &p, FM_GROUP_ON_DONE, serial, &ev, now); /* of an earlier visit */
    assert_int_equal(g.state, FM_GROUP_REWINDING);
    on(FM_GROUP_ON_FAILED);
    for (unsigned i = 0; i < 2; i++) {
        wait_for_retry(2U << i);
        struct fm_group_verdict v = tick();
        assert_int_equal(v.action, FM_GROUP_DO_CLONE);
        assert_int_equal(v.node, B);
        ev.data = false;
        ev.self.system_id = 0;
        assert_int_equal(on(FM_GROUP_ON_FAILED).to, i ? FM_GROUP_FENCED : FM_GROUP_ABSENT);
    }
    assert_int_equal(on(FM_GROUP_ON_RESUME).to, FM_GROUP_CLONING);
    ev.data = true;
    ev.self = node[C];
    mine = *ev.primary;
    ev.self.timeline.n = 2;
    ev.self.begins.n = 900;
    assert_int_equal(on(FM_GROUP_ON_DONE).to, FM_GROUP_STARTING);
    for (unsigned i = 0; i < 2U * p.tries_max; i++) { /* of which a copy is not the remedy */
        assert_int_equal(on(FM_GROUP_ON_FAILED).to, FM_GROUP_STOPPED);
        wait_for_retry(i < 5 ? 1U << i : 32);
        assert_int_equal(tick().to, FM_GROUP_STARTING);
    }
}

static void data_of_others_are_left_alone(void **state)
{
    (void)state;
    begin(B);
    ev.self.system_id = 6;
    assert_int_equal(tick().to, FM_GROUP_FENCED);
    assert_int_equal(tick().action, FM_GROUP_DO_NOTHING);
    assert_int_equal(on(FM_GROUP_ON_REINIT).action, FM_GROUP_DO_CLONE);
}

static void a_person_works_on_a_standby_but_not_on_the_primary(void **state)
{
    (void)state;
    primary();
    assert_true(on(FM_GROUP_ON_MAINTAIN).refused);
    assert_true(on(FM_GROUP_ON_REINIT).refused);
    standby(B);
    assert_int_equal(on(FM_GROUP_ON_MAINTAIN).action, FM_GROUP_DO_NOTHING);
    taken_by_force();
    server(FM_GROUP_GONE, false, true);
    assert_int_equal(tick().to, FM_GROUP_MAINTAINED);
    server(FM_GROUP_UP, true, true);
    assert_int_equal(on(FM_GROUP_ON_RESUME).to, FM_GROUP_CLAIMING);
    standby(B);
    assert_int_equal(on(FM_GROUP_ON_REINIT).action, FM_GROUP_DO_STOP_FAST);
    server(FM_GROUP_GONE, false, true);
    assert_int_equal(tick().action, FM_GROUP_DO_CLONE);
}

static void what_writes_unbidden_is_killed(void **state)
{
    (void)state;
    standby(B);
    server(FM_GROUP_UP, true, false);
    assert_int_equal(tick().action, FM_GROUP_DO_STOP_IMMEDIATE);
    begin(B);
    server(FM_GROUP_UP, true, false);
    assert_int_equal(tick().action, FM_GROUP_DO_STOP_IMMEDIATE);
    assert_int_equal(fm_group_report(&g, &ev).state, FM_GROUP_KILLING);
}

static void a_standby_counts_while_it_is_close(void **state)
{
    (void)state;
    standby(B);
    node[A].flush.n = 1101;
    assert_int_equal(tick().to, FM_GROUP_CATCHING_UP);
    ev.self.flush.n = 1001;
    assert_int_equal(tick().to, FM_GROUP_STANDBY);
    node[A].flush.n = 2000;
    node[A].at = FM_MONO_ZERO; /* nobody says that it is behind */
    assert_int_equal(tick().to, FM_GROUP_STANDBY);
}

/* Node A says it while it is heard; then it is what the best of the others lacks. */
static void what_would_be_lost_is_said_by_who_knows_it(void **state)
{
    (void)state;
    begin(A);
    cell.r.evidence.promotable = 1u << B;
    cell.r.evidence.credit = 64;
    const struct fm_evidence *r = &cell.r.evidence;
    node[A].recovery = false;
    node[A].loss = (struct fm_credit_bound){FM_CREDIT_ENFORCED, 9, 1};
    assert_int_equal(fm_group_loss_if_now(r, node, NODES, 2, p.fresh_ms, now).bytes, 9);
    node[A].state = FM_GROUP_DRAINING;
    assert_int_equal(fm_group_loss_if_now(r, node, NODES, 2, p.fresh_ms, now).bytes, 9);
    node[A].at = FM_MONO_ZERO;
    assert_int_equal(fm_group_loss_if_now(r, node, NODES, 2, p.fresh_ms, now).bytes, 64);
    node[B].state = FM_GROUP_MAINTAINED; /* C would be promoted */
    assert_false(fm_group_is_looked_after(&node[B]));
    assert_int_equal(fm_group_loss_if_now(r, node, NODES, 2, p.fresh_ms, now).kind,
                     FM_CREDIT_UNBOUNDED);
    node[A].at = now; /* it crashed: it has all of it, and may be lost for good */
    node[A].state = FM_GROUP_STOPPED;
    assert_int_equal(fm_group_loss_if_now(r, node, NODES, 2, p.fresh_ms, now).kind,
                     FM_CREDIT_UNBOUNDED);
    assert_int_equal(fm_group_loss_if_now(NULL, node, NODES, 2, p.fresh_ms, now).kind,
                     FM_CREDIT_UNBOUNDED);
}

FM_TEST_MAIN(fm_test(a_group_begins_where_a_person_says_so),
             fm_test(nothing_is_created_or_taken_over_what_is_recorded),
             fm_test(a_promotion_is_claimed_done_recorded_and_opened),
             fm_test(who_may_not_claim_stays_a_standby),
             fm_test(who_has_less_waits_for_the_better_one_and_not_for_ever),
             fm_test(what_a_person_accepted_lets_a_node_claim_that_bounds_nothing),
             fm_test(a_claim_that_another_got_is_given_up),
             fm_test(authority_is_looked_at_again_at_each_step),
             fm_test(a_promotion_to_a_lower_timeline_never_opens),
             fm_test(a_promotion_half_way_goes_on_under_its_claim_only),
             fm_test(a_planned_move_drains_stops_and_is_final),
             fm_test(a_fast_stop_that_takes_too_long_is_made_an_immediate_one),
             fm_test(a_standby_has_stopped_at_once_and_a_node_of_unknown_state_has_not),
             fm_test(a_primary_that_crashed_is_started_first_within_its_budget),
             fm_test(a_primary_that_hangs_is_started_again_once),
             fm_test(who_yielded_leaves_the_next_epoch_to_a_node_of_its_region),
             fm_test(who_was_ended_in_time_did_not_crash),
             fm_test(who_prefers_time_yields_to_a_standby_that_is_ready),
             fm_test(an_old_primary_follows_rewinds_or_waits),
             fm_test(what_only_it_has_is_kept_before_it_goes),
             fm_test(a_standby_that_went_too_far_is_stopped_and_rewound),
             fm_test(a_rewind_that_was_not_done_counts_as_a_failure),
             fm_test(what_is_gone_at_the_primary_comes_with_a_copy),
             fm_test(what_fails_waits_is_tried_again_and_then_made_anew),
             fm_test(data_of_others_are_left_alone),
             fm_test(a_person_works_on_a_standby_but_not_on_the_primary),
             fm_test(what_writes_unbidden_is_killed), fm_test(a_standby_counts_while_it_is_close),
             fm_test(what_would_be_lost_is_said_by_who_knows_it))
