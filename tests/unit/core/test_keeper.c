/* The keeper: the chain of renewals and the sub-leases, rule by rule. */
#include "rules.h"

static struct scene s;
static const struct fm_sub gate = {3, {31}}, other = {4, {41}};

static int64_t left_ms(void)
{
    return fm_mono_sub_ms(s.a.k.lease_until, s.now);
}

static void renew_at_once(void)
{
    later(&s, 500);
    tick(&s);
    if (!did(&s, FM_AUTH_DO_COMMIT))
        tick(&s);
}

static void a_lease_counts_from_before_its_renewal_was_sent(void **state)
{
    (void)state;
    begin_holder(&s);
    renew_at_once();
    assert_non_null(did(&s, FM_AUTH_DO_COMMIT));
    struct fm_mono sent = s.now;
    struct fm_auth_actions sent_out = s.out;
    later(&s, 300);
    s.out = sent_out;
    finish(&s, FM_TXN_DONE);
    int64_t from_send = fm_mono_sub_ns(s.a.k.lease_until, sent);
    assert_true(from_send <= LEASE * FM_NS_PER_MS - LEASE * (int64_t)RHO);
    assert_true(from_send > LEASE * FM_NS_PER_MS - LEASE * (int64_t)RHO - 10);
}

static void a_renewal_of_unknown_outcome_is_not_done_for_the_holder(void **state)
{
    (void)state;
    begin_holder(&s);
    renew_at_once();
    int64_t before = left_ms();
    finish(&s, FM_TXN_UNKNOWN);
    assert_true(left_ms() <= before);
    assert_int_equal(s.a.k.state, FM_CHAIN_DOUBT);
    assert_true(fm_authority_holds(&s.a) != 0); /* what it had goes on */
}

static void a_renewal_compares_the_revision(void **state)
{
    (void)state;
    begin_holder(&s);
    renew_at_once();
    struct fm_txn t = finish(&s, FM_TXN_DONE);
    assert_true(compares(&t, FM_RECORD_LEASE, 1));
    assert_int_equal(t.nwrite, 1);
}

static void a_new_keeper_knows_its_cells_only_from_a_read_after_its_first_renewal(void **state)
{
    (void)state;
    begin(&s, NULL);
    for (unsigned i = 0; i < CELLS; i++) {
        s.cell[i].r.region = 1;
        s.cell[i].revision.n = ++s.revision;
    }
    show(&s);
    office(&s, true);
    later(&s, 200);
    tick(&s);
    answer_reads(&s);
    finish(&s, FM_TXN_DONE);
    assert_int_equal(s.a.k.state, FM_CHAIN_HOLDINGS);
    assert_int_equal(fm_authority_holds(&s.a), 0);
    later(&s, 200);
    tick(&s);
    answer_reads(&s);
    assert_int_equal(fm_authority_holds(&s.a), 3);
}

static void a_dead_lease_is_made_anew_and_its_cells_are_read_again(void **state)
{
    (void)state;
    begin_holder(&s);
    with_sub(&s, gate);
    s.lease[1].r = s.a.lease[1].at.r;
    s.lease[1].r.dead = true;
    s.lease[1].revision.n = ++s.revision;
    uint32_t life = s.a.k.life;
    show(&s);
    assert_int_equal(fm_authority_holds(&s.a), 0);
    sub_asks(&s, gate, 0);
    assert_null(did(&s, FM_AUTH_DO_GRANT));
    answer_reads(&s);
    for (unsigned i = 0; i < 10 && !did(&s, FM_AUTH_DO_COMMIT); i++) {
        later(&s, 100);
        tick(&s);
        answer_reads(&s);
    }
    struct fm_txn t = finish(&s, FM_TXN_DONE);
    assert_int_equal(t.write[0].to.lease.life, life + 1);
    assert_int_equal(t.write[0].to.lease.nsubs, 0);
    assert_true(compares(&t, FM_RECORD_KEEPER, 1));
    assert_int_equal(s.a.k.state, FM_CHAIN_HOLDINGS);
}

static void a_sub_lessee_is_recorded_before_its_first_grant(void **state)
{
    (void)state;
    begin_holder(&s);
    sub_asks(&s, gate, 0);
    assert_null(did(&s, FM_AUTH_DO_GRANT));
    struct fm_txn t = finish(&s, FM_TXN_DONE);
    assert_true(fm_lease_find_sub(&t.write[0].to.lease, gate) >= 0);
    sub_asks(&s, gate, 0);
    const struct fm_auth_action *g = did(&s, FM_AUTH_DO_GRANT);
    assert_non_null(g);
    assert_int_equal(g->cells, 3);
    assert_int_equal(g->asked_ns, 4242);
}

static void nothing_is_granted_beyond_what_is_left(void **state)
{
    (void)state;
    begin_holder(&s);
    with_sub(&s, gate);
    later(&s, 1500);
    sub_asks(&s, gate, 0);
    const struct fm_auth_action *g = did(&s, FM_AUTH_DO_GRANT);
    assert_non_null(g);
    assert_true(g->ms <= left_ms() && g->ms > 0);
    later(&s, 1000);
    sub_asks(&s, gate, 0);
    assert_null(did(&s, FM_AUTH_DO_GRANT)); /* run out */
}

static void two_that_ask_in_turn_both_stay_recorded(void **state)
{
    (void)state;
    begin_holder(&s);
    for (unsigned i = 0; i < 12; i++) {
        later(&s, 250);
        sub_asks(&s, i % 2 ? gate : other, 0);
        if (did(&s, FM_AUTH_DO_COMMIT))
            finish(&s, FM_TXN_DONE);
    }
    assert_true(fm_lease_find_sub(&s.lease[1].r, gate) >= 0);
    assert_true(fm_lease_find_sub(&s.lease[1].r, other) >= 0);
}

static void a_new_life_of_a_host_replaces_the_old_one(void **state)
{
    (void)state;
    begin_holder(&s);
    with_sub(&s, gate);
    struct fm_sub again = {gate.host, {32}};
    with_sub(&s, again);
    assert_true(fm_lease_find_sub(&s.lease[1].r, again) >= 0);
    assert_true(fm_lease_find_sub(&s.lease[1].r, gate) < 0);
}

static void who_has_been_silent_for_long_is_not_waited_for(void **state)
{
    (void)state;
    begin_holder(&s);
    with_sub(&s, gate);
    live(&s, 8000, true); /* it may go by a longer lease, and ask seldom */
    assert_true(fm_lease_find_sub(&s.lease[1].r, gate) >= 0);
    live(&s, 8000, true);
    assert_true(fm_lease_find_sub(&s.lease[1].r, gate) < 0);
}

static void a_cell_stopped_for_a_keeper_that_is_gone_gets_another_epoch(void **state)
{
    (void)state;
    begin_holder(&s);
    with_sub(&s, gate);
    sub_asks(&s, gate, 1);
    struct fm_txn t = finish(&s, FM_TXN_DONE);
    assert_int_equal(t.write[0].key.kind, FM_RECORD_CELL);
    assert_int_equal(t.write[0].to.cell.epoch.n, 7);
    assert_int_equal(t.write[0].to.cell.region, 1);
}

static void who_loses_the_office_grants_nothing(void **state)
{
    (void)state;
    begin_holder(&s);
    with_sub(&s, gate);
    feed(&s, (struct fm_auth_event){
                 .kind = FM_AUTH_OFFICE, .keeper = false, .revision = {++s.revision}});
    assert_true(said(&s, FM_AUTH_WHY_LOST));
    sub_asks(&s, gate, 0);
    assert_null(did(&s, FM_AUTH_DO_GRANT));
    assert_int_equal(fm_authority_holds(&s.a), 0);
}

/* -------- another lease -------- */

static void everybody_promises(int32_t ms)
{
    for (unsigned r = 0; r < REGIONS; r++)
        for (unsigned i = 0; i < 2; i++)
            feed(&s, (struct fm_auth_event){.kind = FM_AUTH_PROMISED,
                                            .agent = agent_id(r, i),
                                            .incarnation = s.a.cfg.incarnation,
                                            .asked_ns = s.now.ns,
                                            .ms = ms});
}

static int32_t granted_ms(void)
{
    sub_asks(&s, gate, 0);
    const struct fm_auth_action *g = did(&s, FM_AUTH_DO_GRANT);
    assert_non_null(g);
    return g->ms;
}

static void a_shorter_lease_counts_at_once_and_is_recorded_when_the_longer_one_is_over(void **state)
{
    (void)state;
    begin_holder(&s);
    with_sub(&s, gate);
    everybody_promises(LEASE);
    assert_true(granted_ms() > 1000);
    struct fm_mono changed = s.now;
    fm_authority_set_lease(&s.a, 1000, 250, 60, s.now);
    assert_true(left_ms() < 1000);
    assert_true(granted_ms() < 1000);
    unsigned longer = 0, shorter = 0;
    for (unsigned i = 0; i < 20; i++) {
        later(&s, 200);
        tick(&s);
        if (!did(&s, FM_AUTH_DO_COMMIT))
            continue;
        int64_t after_ms = fm_mono_sub_ms(s.now, changed);
        struct fm_txn t = finish(&s, FM_TXN_DONE);
        assert_int_equal(t.write[0].to.lease.lease_ms,
                         after_ms < LEASE + LEASE / 100 ? LEASE : 1000);
        longer += t.write[0].to.lease.lease_ms == LEASE;
        shorter += t.write[0].to.lease.lease_ms == 1000;
        everybody_promises(LEASE); /* who has not heard of it */
        assert_true(left_ms() < 1000 && granted_ms() < 1000);
    }
    assert_true(longer > 3 && shorter > 3);
}

static void a_longer_lease_is_granted_when_it_is_recorded(void **state)
{
    (void)state;
    begin_holder(&s);
    with_sub(&s, gate);
    fm_authority_set_lease(&s.a, 5000, 1250, 310, s.now);
    everybody_promises(5000);
    assert_true(granted_ms() <= LEASE);
    later(&s, 500);
    tick(&s);
    if (!did(&s, FM_AUTH_DO_COMMIT)) {
        later(&s, 800);
        tick(&s);
    }
    everybody_promises(5000);
    sub_asks(&s, gate, 0);
    const struct fm_auth_action *g = did(&s, FM_AUTH_DO_GRANT);
    assert_true(g && g->ms <= LEASE); /* its renewal is on its way */
    const struct fm_auth_slot *slot = &s.a.k.renewal;
    assert_true(slot->busy && slot->txn.write[0].to.lease.lease_ms == 5000);
    s.lease[1] = (struct fm_lease_at){{++s.revision}, slot->txn.write[0].to.lease};
    feed(&s, (struct fm_auth_event){.kind = FM_AUTH_OVER,
                                    .op = slot->op,
                                    .outcome = FM_TXN_DONE,
                                    .revision = {s.revision}});
    assert_true(left_ms() > LEASE && left_ms() < 5000);
    assert_true(granted_ms() > LEASE);
}

/* What is on its way was sent under the lease before. */
static void a_renewal_counts_no_longer_than_what_it_recorded_and_what_is_gone_by(void **state)
{
    (void)state;
    static const int32_t leases[] = {500, 5000};
    for (unsigned i = 0; i < FM_COUNT(leases); i++) {
        begin_holder(&s);
        renew_at_once();
        assert_non_null(did(&s, FM_AUTH_DO_COMMIT));
        struct fm_mono sent = s.now;
        fm_authority_set_lease(&s.a, leases[i], leases[i] / 4, 50, s.now);
        finish(&s, FM_TXN_DONE);
        int64_t ms = fm_mono_sub_ms(s.a.k.lease_until, sent);
        assert_true(ms < leases[i] && ms < LEASE);
    }
}

static void a_new_keeper_records_the_longer_lease_of_the_one_before(void **state)
{
    (void)state;
    begin(&s, NULL);
    s.lease[1].r.lease_ms = 2 * LEASE;
    s.lease[1].revision.n = ++s.revision;
    show(&s);
    office(&s, true);
    later(&s, 200);
    tick(&s);
    answer_reads(&s);
    struct fm_txn t = finish(&s, FM_TXN_DONE);
    assert_int_equal(t.write[0].to.lease.lease_ms, 2 * LEASE);
    assert_true(fm_mono_sub_ms(s.a.k.shrink_at, s.now) > 2 * LEASE);
}

FM_TEST_MAIN(fm_test(a_lease_counts_from_before_its_renewal_was_sent),
             fm_test(a_renewal_of_unknown_outcome_is_not_done_for_the_holder),
             fm_test(a_renewal_compares_the_revision),
             fm_test(a_new_keeper_knows_its_cells_only_from_a_read_after_its_first_renewal),
             fm_test(a_dead_lease_is_made_anew_and_its_cells_are_read_again),
             fm_test(a_sub_lessee_is_recorded_before_its_first_grant),
             fm_test(nothing_is_granted_beyond_what_is_left),
             fm_test(two_that_ask_in_turn_both_stay_recorded),
             fm_test(a_new_life_of_a_host_replaces_the_old_one),
             fm_test(who_has_been_silent_for_long_is_not_waited_for),
             fm_test(a_cell_stopped_for_a_keeper_that_is_gone_gets_another_epoch),
             fm_test(who_loses_the_office_grants_nothing),
             fm_test(a_shorter_lease_counts_at_once_and_is_recorded_when_the_longer_one_is_over),
             fm_test(a_longer_lease_is_granted_when_it_is_recorded),
             fm_test(a_renewal_counts_no_longer_than_what_it_recorded_and_what_is_gone_by),
             fm_test(a_new_keeper_records_the_longer_lease_of_the_one_before))
