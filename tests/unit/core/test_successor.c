/* Taking over: what stands against it, and what the one transaction compares and writes. */
#include "rules.h"

static struct scene s;

static enum fm_auth_why against(unsigned cell)
{
    return fm_authority_may_acquire(&s.a, cell, s.now);
}

/* The holder is silent for so long; our own lease lives. */
static void silence(int64_t ms)
{
    live(&s, ms, false);
}

static struct fm_txn acquire_txn(void)
{
    for (unsigned i = 0; i < 20; i++) {
        const struct fm_auth_action *c = did(&s, FM_AUTH_DO_COMMIT);
        const struct fm_txn *t = c ? fm_authority_txn(&s.a, c->op) : NULL;
        if (t && t == &s.a.s.slot.txn)
            return *t;
        if (c)
            finish(&s, FM_TXN_DONE);
        answer_reads(&s);
        if (did(&s, FM_AUTH_DO_COMMIT))
            continue;
        later(&s, 20);
        tick(&s);
    }
    fail_msg("nothing was acquired: %s", fm_auth_why_text((enum fm_auth_why)s.a.s.blocked));
    return (struct fm_txn){0};
}

static void a_holder_that_renews_is_left_alone(void **state)
{
    (void)state;
    begin_settled(&s);
    order(&s, FM_AUTH_ACQUIRE, 1, false);
    live(&s, 4000, true);
    assert_int_equal(against(0), FM_AUTH_WHY_LEASE_RUNS);
    assert_int_equal(s.a.cell[0].at.r.region, 0);
}

static void the_wait_is_a_lease_and_the_drift_after_the_read(void **state)
{
    (void)state;
    begin_settled(&s);
    s.lease[0].revision.n = ++s.revision;
    show(&s);
    later(&s, 2019);
    assert_int_equal(fm_authority_lapsed(&s.a, 0, s.now), false);
    later(&s, 2);
    assert_int_equal(fm_authority_lapsed(&s.a, 0, s.now), true);
}

static void one_transaction_compares_and_writes_everything(void **state)
{
    (void)state;
    begin_settled(&s);
    silence(2500);
    order(&s, FM_AUTH_ACQUIRE, 1, true);
    assert_null(did(&s, FM_AUTH_DO_COMMIT)); /* a linearizable read confirms first */
    assert_true(s.a.reading);
    struct fm_txn t = acquire_txn();
    assert_true(compares(&t, FM_RECORD_CELL, 0) && compares(&t, FM_RECORD_LEASE, 0));
    assert_true(compares(&t, FM_RECORD_KEEPER, 1) && compares(&t, FM_RECORD_BUDGET, 0));
    assert_int_equal(t.nwrite, 3);
    assert_int_equal(t.write[0].to.cell.region, 1);
    assert_int_equal(t.write[0].to.cell.epoch.n, 6);
    assert_int_equal(t.write[0].to.cell.gentle_from.n, 6); /* the one before ended by force */
    assert_true(t.write[1].to.lease.dead);
    assert_int_equal(t.write[2].to.budget.spent, 1);
    finish(&s, FM_TXN_DONE);
    assert_true(said(&s, FM_AUTH_WHY_ACQUIRED));
    assert_int_equal(fm_authority_holds(&s.a) & 1, 1);
}

static void an_heir_is_fit_while_another_holds(void **state)
{
    (void)state;
    begin_keeper(&s);
    assert_int_equal(fm_authority_fit(&s.a, 0, s.now), FM_AUTH_WHY_UNSETTLED);
    begin_settled(&s);
    live(&s, 1000, true);
    assert_int_equal(fm_authority_fit(&s.a, 0, s.now), FM_AUTH_WHY_NONE);
    assert_int_equal(against(0), FM_AUTH_WHY_LEASE_RUNS);
    later(&s, 5000); /* its own lease is over */
    assert_int_equal(fm_authority_fit(&s.a, 0, s.now), FM_AUTH_WHY_NO_LEASE);
    assert_false(fm_cell_was_forced(&(struct fm_cell_record){.epoch = {1}, .gentle_from = {1}}));
    assert_false(fm_cell_was_forced(&(struct fm_cell_record){.epoch = {3}, .gentle_from = {2}}));
    assert_true(fm_cell_was_forced(&(struct fm_cell_record){.epoch = {3}, .gentle_from = {3}}));
}

static void an_order_is_counted_once_and_the_bound_holds(void **state)
{
    (void)state;
    begin_settled(&s);
    silence(2500);
    order(&s, FM_AUTH_ACQUIRE, 3, true);
    acquire_txn();
    finish(&s, FM_TXN_DONE);
    struct fm_txn second = acquire_txn(); /* the same order, from a lease that is dead */
    assert_false(compares(&second, FM_RECORD_BUDGET, 0));
    finish(&s, FM_TXN_DONE);
    assert_int_equal(fm_authority_budget_left(&s.a), 0);
    s.cell[0].r = (struct fm_cell_record){
        .region = 2, .epoch = {9}, .gentle_from = {1}, .members = everybody()};
    s.cell[0].revision.n = ++s.revision;
    show(&s);
    silence(2500);
    order(&s, FM_AUTH_ACQUIRE, 1, true);
    assert_int_equal(against(0), FM_AUTH_WHY_AT_MOST);
    order(&s, FM_AUTH_ACQUIRE, 1, false); /* a person */
    assert_int_equal(against(0), FM_AUTH_WHY_NONE);
    order(&s, FM_AUTH_DESIST, 0, false);
    silence(62000); /* a window later it is given back */
    assert_int_equal(fm_authority_budget_left(&s.a), 1);
}

static void a_new_keeper_does_not_acquire(void **state)
{
    (void)state;
    begin_keeper(&s);
    s.lease[0].r.dead = true;
    s.lease[0].revision.n = ++s.revision;
    show(&s);
    assert_int_equal(against(0), FM_AUTH_WHY_UNSETTLED);
    silence(2500);
    assert_int_equal(against(0), FM_AUTH_WHY_NONE);
}

static void who_gave_its_word_waits(void **state)
{
    (void)state;
    begin_settled(&s);
    silence(1500);
    ask_promise(&s, agent_id(0, 0), 5);
    assert_non_null(did(&s, FM_AUTH_DO_PROMISE));
    silence(1000);
    assert_int_equal(against(0), FM_AUTH_WHY_PROMISED);
    silence(1100);
    assert_int_equal(against(0), FM_AUTH_WHY_NONE);
}

static void testify(uint16_t host, uint64_t incarnation, bool everything)
{
    feed(&s, (struct fm_auth_event){.kind = FM_AUTH_TESTIFIED,
                                    .region = 0,
                                    .sub = {host, {incarnation}},
                                    .everything = everything});
}

static void a_death_that_all_guards_witnessed_frees_at_once(void **state)
{
    (void)state;
    begin_settled(&s);
    ask_promise(&s, agent_id(0, 0), 5);
    testify(1, 11, true);
    assert_int_equal(against(0), FM_AUTH_WHY_LEASE_RUNS);
    testify(2, 13, true); /* another life */
    assert_int_equal(against(0), FM_AUTH_WHY_LEASE_RUNS);
    testify(2, 12, false); /* a gate alone */
    assert_int_equal(against(0), FM_AUTH_WHY_LEASE_RUNS);
    testify(2, 12, true);
    assert_int_equal(against(0), FM_AUTH_WHY_NONE);
    s.lease[0].r.sub[1].incarnation.n = 14; /* it is back, and was recorded */
    s.lease[0].revision.n = ++s.revision;
    show(&s);
    assert_int_equal(against(0), FM_AUTH_WHY_LEASE_RUNS);
}

static void who_is_no_member_does_not_acquire(void **state)
{
    (void)state;
    begin_settled(&s);
    fm_members_remove(&s.cell[0].r.members, s.a.cfg.self);
    s.cell[0].revision.n = ++s.revision;
    show(&s);
    silence(2500);
    assert_int_equal(against(0), FM_AUTH_WHY_NOT_MEMBER);
    assert_int_equal(against(1), FM_AUTH_WHY_NONE);
}

static void an_acquire_of_unknown_outcome_forbids_promises_until_it_is_resolved(void **state)
{
    (void)state;
    begin_settled(&s);
    silence(2500);
    order(&s, FM_AUTH_ACQUIRE, 1, false);
    acquire_txn();
    finish(&s, FM_TXN_UNKNOWN);
    order(&s, FM_AUTH_DESIST, 0, false);
    ask_promise(&s, agent_id(2, 0), 5);
    assert_int_equal(did(&s, FM_AUTH_DO_REFUSE)->why, FM_AUTH_WHY_UNRESOLVED);
    silence(1000); /* reads show the old revision: it may still apply */
    ask_promise(&s, agent_id(2, 0), 5);
    assert_int_equal(did(&s, FM_AUTH_DO_REFUSE)->why, FM_AUTH_WHY_UNRESOLVED);
    s.lease[0].revision.n = ++s.revision; /* the holder renewed: now it can not */
    silence(1000);
    ask_promise(&s, agent_id(2, 0), 5);
    assert_non_null(did(&s, FM_AUTH_DO_PROMISE));
}

static void a_released_cell_is_taken_without_a_wait_and_gently(void **state)
{
    (void)state;
    begin_settled(&s);
    s.cell[0].r.state = FM_CELL_RELEASED;
    s.cell[0].r.to = 1;
    s.cell[0].revision.n = ++s.revision;
    show(&s);
    order(&s, FM_AUTH_ACQUIRE, 1, false);
    struct fm_txn t = acquire_txn();
    assert_int_equal(t.nwrite, 1); /* the old lease lives on: its region may hold other cells */
    assert_int_equal(t.write[0].to.cell.epoch.n, 6);
    assert_int_equal(t.write[0].to.cell.gentle_from.n, 1);
}

static void a_cell_released_for_another_is_taken_by_force(void **state)
{
    (void)state;
    begin_settled(&s);
    s.cell[0].r.state = FM_CELL_RELEASED;
    s.cell[0].r.to = 2;
    s.cell[0].revision.n = ++s.revision;
    show(&s);
    order(&s, FM_AUTH_ACQUIRE, 1, false);
    struct fm_txn t = acquire_txn();
    assert_int_equal(t.write[0].to.cell.gentle_from.n, 6);
}

/* By whom, for whom: nothing is waited for, it is counted, and nobody says that all data are here.
 */
static void what_was_given_up_is_taken_by_force_without_a_wait(void **state)
{
    (void)state;
    for (uint8_t by = 0; by < 2; by++)
        for (uint8_t to = 0; to < 3; to++) {
            begin_settled(&s);
            s.cell[0].r.state = FM_CELL_YIELDED;
            s.cell[0].r.region = by; /* 1: my own */
            s.cell[0].r.to = to;
            s.cell[0].revision.n = ++s.revision;
            show(&s);
            order(&s, FM_AUTH_ACQUIRE, 1, true);
            struct fm_txn t = acquire_txn();
            assert_int_equal(t.nwrite, 2);
            assert_true(compares(&t, FM_RECORD_CELL, 0) && compares(&t, FM_RECORD_KEEPER, 1));
            assert_true(compares(&t, FM_RECORD_BUDGET, 0));
            assert_int_equal(t.write[0].to.cell.region, 1);
            assert_int_equal(t.write[0].to.cell.state, FM_CELL_HELD);
            assert_int_equal(t.write[0].to.cell.epoch.n, 6);
            assert_true(fm_cell_was_forced(&t.write[0].to.cell));
            finish(&s, FM_TXN_DONE);
            assert_int_equal(fm_authority_budget_left(&s.a), 0);
        }
}

static void an_order_is_about_the_cell_as_it_was(void **state)
{
    (void)state;
    begin_settled(&s);
    order(&s, FM_AUTH_ACQUIRE, 1, false);
    assert_int_equal(s.a.s.cells, 1);
    s.cell[0].r.region = 2;
    s.cell[0].r.epoch.n = 6;
    s.cell[0].revision.n = ++s.revision;
    show(&s);
    assert_int_equal(s.a.s.cells, 0); /* region 2 has it now: that would be another order */
}

/* Rule 6: what bounds the loss is in the record that the transaction compares. So what was weighed
 * is what is taken, or nothing is; and an order does not last longer than what it was weighed by.
 */
static void an_order_is_about_the_data_as_they_were_recorded(void **state)
{
    (void)state;
    begin_settled(&s);
    s.cell[0].r.evidence = (struct fm_evidence){.system_id = 5, .promotable = 6, .writer = 1};
    s.cell[0].revision.n = ++s.revision;
    show(&s);
    silence(2500);
    order(&s, FM_AUTH_ACQUIRE, 1, true);
    struct fm_txn t = acquire_txn();
    assert_int_equal(t.compare[0].key.kind, FM_RECORD_CELL);
    assert_int_equal(t.compare[0].revision.n, s.cell[0].revision.n);
    assert_int_equal(t.write[0].to.cell.evidence.promotable, 6);
    /* the primary goes on without one of them, before this arrives: it does not apply */
    s.cell[0].r.evidence.promotable = 4;
    s.cell[0].revision.n = ++s.revision;
    assert_true(t.compare[0].revision.n < s.cell[0].revision.n);
    finish(&s, FM_TXN_NOT_DONE);
    assert_int_equal(s.a.s.cells, 1); /* it does not know why */
    live(&s, 1000, false);
    assert_int_equal(s.a.s.cells, 0); /* now it does: whoever ordered it has to weigh it again */
    assert_int_equal(s.a.cell[0].at.r.region, 0);
    order(&s, FM_AUTH_ACQUIRE, 1, true);
    acquire_txn();
    finish(&s, FM_TXN_DONE);
    assert_int_equal(s.cell[0].r.region, 1);
    assert_int_equal(s.cell[0].r.accepted.n, 0);
}

static void what_a_person_accepted_is_in_the_record(void **state)
{
    (void)state;
    for (unsigned released = 0; released < 2; released++) {
        begin_settled(&s);
        s.cell[0].r.accepted.n = 3; /* of an earlier one */
        if (released) {
            s.cell[0].r.state = FM_CELL_RELEASED;
            s.cell[0].r.to = 1;
        }
        s.cell[0].revision.n = ++s.revision;
        show(&s);
        silence(2500);
        feed(&s, (struct fm_auth_event){.kind = FM_AUTH_ACQUIRE, .cells = 3, .accepted = true});
        feed(&s, (struct fm_auth_event){.kind = FM_AUTH_ACQUIRE, .cells = 2});
        acquire_txn();
        finish(&s, FM_TXN_DONE);
        assert_int_equal(s.cell[0].r.epoch.n, 6); /* with a release nothing is lost */
        assert_int_equal(s.cell[0].r.accepted.n, released ? 0 : 6);
        acquire_txn();
        finish(&s, FM_TXN_DONE);
        assert_int_equal(s.cell[1].r.region, 1);
        assert_int_equal(s.cell[1].r.accepted.n, 0);
    }
}

static void without_office_or_lease_nobody_acquires(void **state)
{
    (void)state;
    begin(&s, NULL);
    assert_int_equal(against(0), FM_AUTH_WHY_NOT_KEEPER);
    begin_settled(&s);
    silence(2500);
    assert_int_equal(against(0), FM_AUTH_WHY_NONE);
    later(&s, 2500);
    assert_int_equal(against(0), FM_AUTH_WHY_NO_LEASE);
    s.a.cfg.able = false;
    assert_int_equal(against(0), FM_AUTH_WHY_NOT_ABLE);
}

FM_TEST_MAIN(fm_test(an_heir_is_fit_while_another_holds),
             fm_test(a_holder_that_renews_is_left_alone),
             fm_test(the_wait_is_a_lease_and_the_drift_after_the_read),
             fm_test(one_transaction_compares_and_writes_everything),
             fm_test(an_order_is_counted_once_and_the_bound_holds),
             fm_test(a_new_keeper_does_not_acquire), fm_test(who_gave_its_word_waits),
             fm_test(a_death_that_all_guards_witnessed_frees_at_once),
             fm_test(who_is_no_member_does_not_acquire),
             fm_test(an_acquire_of_unknown_outcome_forbids_promises_until_it_is_resolved),
             fm_test(a_released_cell_is_taken_without_a_wait_and_gently),
             fm_test(a_cell_released_for_another_is_taken_by_force),
             fm_test(what_was_given_up_is_taken_by_force_without_a_wait),
             fm_test(an_order_is_about_the_cell_as_it_was),
             fm_test(an_order_is_about_the_data_as_they_were_recorded),
             fm_test(what_a_person_accepted_is_in_the_record),
             fm_test(without_office_or_lease_nobody_acquires))
