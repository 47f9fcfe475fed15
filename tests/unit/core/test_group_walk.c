/* The machine of one node of a group where anything may happen: every row fires, and nothing is
 * opened without a right. */
#include "group_scene.h"

#include "base/rand.h"

static struct fm_rand dice;

static unsigned calm; /* how rarely things change in this run */

static bool one_in(unsigned n)
{
    return fm_rand_below(&dice, n) == 0;
}

static bool now_and_then(unsigned n)
{
    return one_in(n * calm);
}

/* Anything may change to anything: what is seen need not make sense. */
/* What was ordered happens, or not. */
static void obey(const struct fm_group_verdict *v)
{
    if (v->action == FM_GROUP_DO_START_PRIMARY || v->action == FM_GROUP_DO_PROMOTE)
        server(FM_GROUP_UP, !one_in(4), false);
    if (v->action == FM_GROUP_DO_START_STANDBY)
        server(FM_GROUP_UP, !one_in(4), true);
    if (v->action == FM_GROUP_DO_STOP_FAST || v->action == FM_GROUP_DO_STOP_IMMEDIATE)
        server(one_in(4) ? FM_GROUP_ORPHANS : FM_GROUP_GONE, false, ev.self.recovery);
    if (sub.until.ns <= now.ns && !now_and_then(2) && cell.r.region == ev.self.region)
        live(cell.r.epoch.n);
}

static void shake(void)
{
    static const struct fm_history one = {{1}, FM_STR_INIT("")},
                                   two = {{2}, FM_STR_INIT("1\t0/384\n")},
                                   third = {{3}, FM_STR_INIT("1\t0/3E8\n")};
    static const struct fm_history *const histories[] = {NULL, &one, &two, &third};
    if (one_in(20)) { /* nothing happens for long */
        now = fm_mono_add_ms(now, 10000);
        return;
    }
    now = fm_mono_add_ms(now, fm_rand_below(&dice, 4) ? fm_rand_below(&dice, 700) : 1);
    if (now_and_then(3))
        held_by(fm_rand_below(&dice, 2), cell.r.epoch.n + one_in(3));
    if (now_and_then(8))
        cell.r.gentle_from = cell.r.epoch;
    if (now_and_then(3))
        live(cell.r.epoch.n);
    if (now_and_then(12))
        sub.stopped = sub.epoch, sub.until = FM_MONO_ZERO;
    if (now_and_then(12))
        sub.quiet_until = fm_mono_add_ms(now, fm_rand_below(&dice, 1000));
    if (now_and_then(4))
        ev.process = (uint8_t)(one_in(4) ? FM_GROUP_ORPHANS : fm_rand_below(&dice, 2));
    if (now_and_then(3))
        ev.accepting = !one_in(3);
    if (now_and_then(4))
        ev.self.recovery = one_in(2);
    if (now_and_then(8))
        ev.data = !one_in(3);
    if (now_and_then(4))
        ev.kept = one_in(2);
    if (now_and_then(8))
        ev.well_at =
            one_in(2) ? FM_MONO_ZERO : fm_mono_add_ms(now, -(int64_t)fm_rand_below(&dice, 4000));
    if (now_and_then(30))
        ev.unable = one_in(2);
    ev.expired = now_and_then(4);
    if (ev.expired)
        ev.process = FM_GROUP_GONE;
    if (now_and_then(8))
        ev.self.streaming = !one_in(3);
    if (now_and_then(8))
        ev.self.system_id = one_in(3) ? 6 : 5;
    if (now_and_then(8))
        ev.self.clean = one_in(2), ev.self.final.n = 890 + fm_rand_below(&dice, 200);
    if (now_and_then(8))
        ev.history = histories[fm_rand_below(&dice, 4)];
    if (ev.history && !one_in(10)) {
        ev.self.timeline = ev.history->timeline;
        ev.self.begins = fm_history_origin(ev.history).end;
    }
    if (now_and_then(8))
        ev.primary = histories[fm_rand_below(&dice, 4)];
    if (now_and_then(4))
        ev.self.flush.n = ev.self.replay.n = 850 + fm_rand_below(&dice, 200);
    for (unsigned i = 0; i < NODES; i++) {
        if (now_and_then(2))
            node[i].at = now;
        if (now_and_then(6))
            node[i].state = (uint8_t)(one_in(2) ? FM_GROUP_PRIMARY
                                                : fm_rand_below(&dice, FM_GROUP_STATE_COUNT));
        if (now_and_then(8))
            node[i].kept.n = one_in(2) ? 2000 : 0;
        if (now_and_then(4)) {
            node[i].timeline.n = cell.r.evidence.timeline;
            node[i].begins.n = cell.r.evidence.fork_lsn;
        }
    }
    if (now_and_then(30)) {
        bool empty = one_in(3);
        const struct fm_history *h = histories[1 + fm_rand_below(&dice, 3)];
        cell.r.evidence = (struct fm_evidence){5,
                                               fm_history_origin(h).end.n,
                                               cell.r.epoch,
                                               h->timeline.n,
                                               3,
                                               7,
                                               (uint16_t)(1 + fm_rand_below(&dice, NODES)),
                                               (uint16_t)(1 + fm_rand_below(&dice, NODES)),
                                               64,
                                               0,
                                               2};
        if (empty)
            cell.r.evidence = (struct fm_evidence){0};
    }
}

static void see(const struct fm_group_verdict *v)
{
    bool writes = v->action == FM_GROUP_DO_START_PRIMARY || v->action == FM_GROUP_DO_PROMOTE ||
                  v->action == FM_GROUP_DO_OPEN || v->action == FM_GROUP_DO_DRAIN;
    const struct fm_evidence *r = &cell.r.evidence;
    if (writes) {
        assert_true(fm_sublease_live(&sub, cell.r.epoch, now));
        assert_int_equal(r->node, g.self + 1);
        assert_int_equal(r->epoch.n, cell.r.epoch.n);
        assert_int_equal(cell.r.region, ev.self.region);
    }
    if (v->action == FM_GROUP_DO_OPEN)
        assert_int_equal(r->timeline, ev.self.timeline.n);
    if (v->records && one_in(2)) {
        if (!fm_group_may_record(r, &v->record, cell.r.epoch))
            fail_msg("%s asks for what may not be recorded",
                     fm_group_state_name((enum fm_group_state)g.state));
        cell.r.evidence = v->record;
        cell.revision.n++;
    }
}

/* One row, as the step takes them. */
static bool walk(struct fm_group_node *at, enum fm_group_event e, bool *fired)
{
    for (unsigned k = 0; k < fm_group_nrows; k++) {
        const struct fm_group_row *r = &fm_group_rows[k];
        if (r->from != at->state || r->event != e || !r->guard(at, &p, &ev, now))
            continue;
        fired[k] = true;
        at->state = r->to;
        return true;
    }
    return false;
}

static void every_row_fires_and_nothing_is_opened_without_a_right(void **state)
{
    (void)state;
    static bool fired[256], in[FM_GROUP_STATE_COUNT], out[FM_GROUP_STATE_COUNT];
    assert_true(fm_group_nrows <= FM_COUNT(fired));
    dice.state = 7;
    for (unsigned run = 0; run < 9300; run++) {
        begin(run % NODES);
        calm = 1 + run % 31;
        p.restarts_ms = p.yield_ms = p.hang_ms = 2500;
        p.stuck_ms = 500;
        p.prefer = run & 1 ? FM_PREFER_TIME : FM_PREFER_DATA;
        for (unsigned i = 0; i < 300; i++) {
            shake();
            enum fm_group_event e =
                one_in(6) ? (enum fm_group_event)fm_rand_below(&dice, FM_GROUP_EVENT_COUNT)
                          : FM_GROUP_ON_TICK;
            struct fm_group_node before = g;
            struct fm_group_verdict v = on(e);
            struct fm_group_node walked = g; /* with what was counted */
            walked.state = before.state;
            walked.since = before.since;
            walked.yielded = before.yielded;
            if (walk(&walked, e, fired) || e != FM_GROUP_ON_TICK)
                for (unsigned k = 0; k < 8 && walk(&walked, FM_GROUP_ON_TICK, fired); k++) {
                }
            see(&v);
            if (one_in(1 + run % 5))
                obey(&v);
        }
    }
    for (unsigned i = 0; i < fm_group_nrows; i++) {
        const struct fm_group_row *r = &fm_group_rows[i];
        in[r->to] = out[r->from] = true;
        if (!fired[i])
            print_message("never: %s, %s: %s\n", fm_group_state_name((enum fm_group_state)r->from),
                          fm_group_event_name((enum fm_group_event)r->event), r->comment);
    }
    for (unsigned i = 0; i < fm_group_nrows; i++)
        assert_true(fired[i] && strlen(fm_group_rows[i].comment) > 0);
    for (unsigned i = 0; i < FM_GROUP_STATE_COUNT; i++) {
        assert_true(out[i] && (in[i] || i == FM_GROUP_LOOKING));
        assert_true(strlen(fm_group_state_name((enum fm_group_state)i)) > 0);
    }
    for (unsigned i = 0; i < FM_GROUP_WHY_COUNT; i++)
        assert_true(
            strlen(fm_group_why_name((enum fm_group_why)i)) > 0 &&
            (i == FM_GROUP_WHY_NONE || strlen(fm_group_why_text((enum fm_group_why)i)) > 0));
}

FM_TEST_MAIN(fm_test(every_row_fires_and_nothing_is_opened_without_a_right))
