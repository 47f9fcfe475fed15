/* Giving a cell away: stop, release, retake, members. */
#include "rules.h"

static struct scene s;
static const struct fm_sub gate = {3, {31}}, other = {4, {41}};

static void stopped(struct fm_sub sub, uint64_t cells, uint64_t epoch)
{
    struct fm_epoch epochs[CELLS] = {{epoch}, {epoch}};
    feed(&s, (struct fm_auth_event){
                 .kind = FM_AUTH_SUB_STOPPED, .sub = sub, .cells = cells, .epochs = epochs});
}

static void cell_order(enum fm_auth_event_kind kind, uint8_t cell, uint8_t to)
{
    feed(&s, (struct fm_auth_event){.kind = kind, .cell = cell, .to = to});
}

static const struct fm_txn *change(void)
{
    for (unsigned i = 0; i < s.out.n; i++) {
        const struct fm_auth_action *c = &s.out.action[i];
        const struct fm_txn *t =
            c->kind == FM_AUTH_DO_COMMIT ? fm_authority_txn(&s.a, c->op) : NULL;
        if (t && t->write[0].key.kind == FM_RECORD_CELL)
            return t;
    }
    return NULL;
}

static void begin_with_two(void)
{
    begin_holder(&s);
    with_sub(&s, gate);
    with_sub(&s, other);
}

static void a_cell_is_released_when_all_have_stopped(void **state)
{
    (void)state;
    begin_with_two();
    cell_order(FM_AUTH_STOP, 0, 0);
    const struct fm_auth_action *stop = did(&s, FM_AUTH_DO_STOP);
    assert_non_null(stop);
    assert_int_equal(stop->cells, 1);
    cell_order(FM_AUTH_RELEASE, 0, 2);
    assert_null(change());
    stopped(gate, 1, 6);
    assert_null(change());
    stopped(other, 1, 5); /* of the epoch before: says nothing about this one */
    assert_null(change());
    stopped(other, 1, 6);
    assert_true(said(&s, FM_AUTH_WHY_STOPPED));
    const struct fm_txn *t = change();
    assert_non_null(t);
    assert_int_equal(t->write[0].to.cell.state, FM_CELL_RELEASED);
    assert_int_equal(t->write[0].to.cell.to, 2);
    assert_int_equal(t->write[0].to.cell.epoch.n, 6);
    assert_true(compares(t, FM_RECORD_CELL, 0) && compares(t, FM_RECORD_KEEPER, 1));
    finish(&s, FM_TXN_DONE);
    assert_true(said(&s, FM_AUTH_WHY_RELEASED));
    assert_int_equal(fm_authority_holds(&s.a), 2);
}

static void who_does_not_answer_is_waited_for_until_it_has_run_out(void **state)
{
    (void)state;
    begin_with_two();
    cell_order(FM_AUTH_STOP, 0, 0);
    cell_order(FM_AUTH_RELEASE, 0, 2);
    stopped(gate, 1, 6);
    bool released = false;
    for (unsigned i = 0; i < 40 && !released; i++) {
        later(&s, 100);
        tick(&s);
        released = change() != NULL;
        assert_true(!released || i >= 15); /* its grant was for almost the whole lease */
        if (!released && did(&s, FM_AUTH_DO_COMMIT))
            finish(&s, FM_TXN_DONE);
    }
    assert_true(released);
}

static void nobody_gets_a_cell_that_is_being_stopped(void **state)
{
    (void)state;
    begin_with_two();
    cell_order(FM_AUTH_STOP, 0, 0);
    sub_asks(&s, gate, 0);
    const struct fm_auth_action *g = did(&s, FM_AUTH_DO_GRANT);
    assert_non_null(g);
    assert_int_equal(g->cells, 2);
}

static void a_new_keeper_does_not_release(void **state)
{
    (void)state;
    begin_keeper(&s);
    s.a.ready_at = FM_MONO_ZERO; /* the agent has been up for long: it is new in office only */
    for (unsigned i = 0; i < CELLS; i++) {
        s.cell[i].revision.n = ++s.revision;
        s.cell[i].r.region = 1;
        s.cell[i].r.epoch.n = 6;
    }
    show(&s);
    cell_order(FM_AUTH_STOP, 0, 0);
    cell_order(FM_AUTH_RELEASE, 0, 2);
    tick(&s);
    assert_null(change());
    struct fm_mono begun = s.now;
    for (unsigned i = 0; i < 40 && !change(); i++) {
        later(&s, 100);
        tick(&s);
        if (did(&s, FM_AUTH_DO_COMMIT) && !change())
            finish(&s, FM_TXN_DONE);
    }
    assert_non_null(change());
    assert_true(fm_mono_sub_ms(s.now, begun) >= 1500);
}

static void an_abort_after_the_stop_is_another_epoch(void **state)
{
    (void)state;
    begin_with_two();
    cell_order(FM_AUTH_STOP, 0, 0);
    stopped(gate, 1, 6);
    cell_order(FM_AUTH_RETAKE, 0, 0);
    const struct fm_txn *t = change();
    assert_non_null(t);
    assert_int_equal(t->write[0].to.cell.epoch.n, 7);
    assert_int_equal(t->write[0].to.cell.state, FM_CELL_HELD);
    finish(&s, FM_TXN_DONE);
    assert_true(said(&s, FM_AUTH_WHY_RETAKEN));
    sub_asks(&s, gate, 0);
    assert_int_equal(did(&s, FM_AUTH_DO_GRANT)->cells, 3);
}

static void a_release_of_unknown_outcome_is_sent_again(void **state)
{
    (void)state;
    begin_holder(&s);
    cell_order(FM_AUTH_STOP, 0, 0);
    cell_order(FM_AUTH_RELEASE, 0, 2);
    struct fm_txn first = finish(&s, FM_TXN_UNKNOWN);
    assert_int_equal(first.write[0].to.cell.state, FM_CELL_RELEASED);
    with_sub(&s, gate);
    const struct fm_auth_action *g = did(&s, FM_AUTH_DO_GRANT);
    assert_true(!g || !(g->cells & 1)); /* it may be released by now */
    for (unsigned i = 0; i < 10 && !change(); i++) {
        if (did(&s, FM_AUTH_DO_COMMIT))
            finish(&s, FM_TXN_DONE);
        later(&s, 100);
        tick(&s);
        answer_reads(&s);
    }
    assert_non_null(change());
    assert_int_equal(change()->compare[0].revision.n, first.compare[0].revision.n);
}

static void a_cell_whose_heir_does_not_come_is_taken_back(void **state)
{
    (void)state;
    begin_holder(&s);
    s.cell[0].r.state = FM_CELL_RELEASED;
    s.cell[0].r.to = 2;
    s.cell[0].revision.n = ++s.revision;
    show(&s);
    for (unsigned i = 0; i < 200 && !change(); i++) {
        if (did(&s, FM_AUTH_DO_COMMIT))
            finish(&s, FM_TXN_DONE);
        later(&s, 100);
        tick(&s);
    }
    assert_non_null(change());
    assert_int_equal(change()->write[0].to.cell.epoch.n, 7);
}

static void members_are_written_with_the_cell(void **state)
{
    (void)state;
    begin_holder(&s);
    struct fm_members fewer = everybody();
    fm_members_remove(&fewer, agent_id(2, 1));
    feed(&s, (struct fm_auth_event){.kind = FM_AUTH_MEMBERS, .members = fewer});
    for (unsigned i = 0; i < CELLS; i++) {
        struct fm_txn t = finish(&s, FM_TXN_DONE);
        assert_int_equal(t.write[0].key.kind, FM_RECORD_CELL);
        assert_true(fm_members_same(&t.write[0].to.cell.members, &fewer));
        assert_int_equal(t.write[0].to.cell.epoch.n, 6);
    }
    assert_null(change());
}

static void a_claim_is_recorded_over_what_was_seen(void **state)
{
    (void)state;
    begin_with_two();
    struct fm_revision seen = s.a.cell[0].at.revision;
    struct fm_auth_event e = {
        .kind = FM_AUTH_EVIDENCE, .revision = {seen.n - 1}, .evidence = {9, 0, {6}, 0, 1, 0, 1, 0}};
    feed(&s, e);
    assert_null(change()); /* it has changed since */
    e.revision = seen;
    e.evidence.epoch.n = 5;
    feed(&s, e);
    assert_null(change()); /* not what may be recorded: core/lineage.h */
    e.evidence.epoch.n = 6;
    feed(&s, e);
    const struct fm_txn *t = change();
    assert_non_null(t);
    assert_int_equal(t->write[0].to.cell.evidence.node, 1);
    assert_int_equal(t->write[0].to.cell.epoch.n, 6);
    assert_true(compares(t, FM_RECORD_CELL, 0) && compares(t, FM_RECORD_KEEPER, 1));
    finish(&s, FM_TXN_DONE);
    e.evidence.node = 2;
    e.revision = s.a.cell[0].at.revision;
    feed(&s, e);
    assert_null(change()); /* one node an epoch */
    e.evidence.node = 1;
    e.evidence.timeline = 1;
    e.evidence.writer = 1;
    cell_order(FM_AUTH_STOP, 0, 0);
    feed(&s, e);
    assert_null(change()); /* it is being stopped */
}

static void a_cell_is_given_up_when_all_have_stopped(void **state)
{
    (void)state;
    begin_with_two();
    cell_order(FM_AUTH_YIELD, 0, 1); /* for whoever comes: its own region, too */
    assert_int_equal(did(&s, FM_AUTH_DO_STOP)->cells, 1);
    stopped(gate, 1, 6);
    assert_null(change());
    stopped(other, 1, 6);
    const struct fm_txn *t = change();
    assert_non_null(t);
    assert_int_equal(t->write[0].to.cell.state, FM_CELL_YIELDED);
    assert_int_equal(t->write[0].to.cell.to, 1);
    assert_int_equal(t->write[0].to.cell.epoch.n, 6);
    assert_true(compares(t, FM_RECORD_CELL, 0) && compares(t, FM_RECORD_KEEPER, 1));
    finish(&s, FM_TXN_DONE);
    assert_true(said(&s, FM_AUTH_WHY_YIELDED));
    assert_int_equal(fm_authority_holds(&s.a), 2);
    assert_int_equal(s.a.k.yielding | s.a.k.stopping, 0);
    later(&s, 1000); /* it is not taken back by itself, as one that was released is */
    tick(&s);
    assert_null(change());
    cell_order(FM_AUTH_RETAKE, 0, 0);
    t = change();
    assert_non_null(t);
    assert_int_equal(t->write[0].to.cell.state, FM_CELL_HELD);
    assert_int_equal(t->write[0].to.cell.epoch.n, 7);
    assert_int_equal(t->write[0].to.cell.gentle_from.n, 7); /* another node may go on */
    finish(&s, FM_TXN_DONE);
    cell_order(FM_AUTH_RETAKE, 0, 0); /* said again, before it was heard that it is done */
    assert_null(change());
}

static void who_writes_has_stopped_before_another_epoch_begins(void **state)
{
    (void)state;
    begin_with_two();
    s.a.cell[0].at.r.evidence.writer = 1;
    cell_order(FM_AUTH_STOP, 0, 0);
    cell_order(FM_AUTH_RETAKE, 0, 0);
    stopped(gate, 1, 6);
    assert_null(change());
    stopped(other, 1, 6);
    assert_int_equal(change()->write[0].to.cell.epoch.n, 7);
    finish(&s, FM_TXN_DONE);
    begin_with_two(); /* a sub-lessee has stopped for a keeper that is gone */
    s.a.cell[0].at.r.evidence.writer = 1;
    struct fm_epoch epochs[CELLS] = {{6}, {0}};
    feed(&s, (struct fm_auth_event){
                 .kind = FM_AUTH_SUB_ASKS, .sub = gate, .cells = 1, .epochs = epochs});
    assert_int_equal(did(&s, FM_AUTH_DO_STOP)->cells, 1); /* so do the others first */
    assert_null(change());
    stopped(gate, 1, 6);
    stopped(other, 1, 6);
    assert_int_equal(change()->write[0].to.cell.epoch.n, 7);
}

static void a_move_and_a_cell_that_is_given_up_do_not_mix(void **state)
{
    (void)state;
    begin_with_two();
    cell_order(FM_AUTH_YIELD, 0, 1);
    cell_order(FM_AUTH_RELEASE, 0, 2); /* its data are final at 2 */
    cell_order(FM_AUTH_YIELD, 0, 1);
    stopped(gate, 1, 6);
    stopped(other, 1, 6);
    assert_int_equal(change()->write[0].to.cell.state, FM_CELL_RELEASED);
    begin_with_two();
    cell_order(FM_AUTH_YIELD, 0, 1);
    cell_order(FM_AUTH_RETAKE, 0, 0);
    assert_int_equal(change()->write[0].to.cell.state, FM_CELL_HELD);
    assert_int_equal(change()->write[0].to.cell.epoch.n, 7);
    begin_with_two();
    s.a.cell[0].at.r.region = 2;
    cell_order(FM_AUTH_YIELD, 0, 1); /* not held here */
    assert_int_equal(s.a.k.yielding | s.a.k.stopping, 0);
}

FM_TEST_MAIN(fm_test(a_cell_is_given_up_when_all_have_stopped),
             fm_test(a_move_and_a_cell_that_is_given_up_do_not_mix),
             fm_test(who_writes_has_stopped_before_another_epoch_begins),
             fm_test(a_claim_is_recorded_over_what_was_seen),
             fm_test(a_cell_is_released_when_all_have_stopped),
             fm_test(who_does_not_answer_is_waited_for_until_it_has_run_out),
             fm_test(nobody_gets_a_cell_that_is_being_stopped),
             fm_test(a_new_keeper_does_not_release),
             fm_test(an_abort_after_the_stop_is_another_epoch),
             fm_test(a_release_of_unknown_outcome_is_sent_again),
             fm_test(a_cell_whose_heir_does_not_come_is_taken_back),
             fm_test(members_are_written_with_the_cell))
