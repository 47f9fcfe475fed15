/* Words given and counted. */
#include "rules.h"

static struct scene s;

static enum fm_auth_why answer(uint64_t epoch)
{
    ask_promise(&s, agent_id(0, 0), epoch);
    const struct fm_auth_action *no = did(&s, FM_AUTH_DO_REFUSE);
    assert_true((no != NULL) != (did(&s, FM_AUTH_DO_PROMISE) != NULL));
    return no ? no->why : FM_AUTH_WHY_NONE;
}

static void begin_ready(void)
{
    begin(&s, NULL);
    s.a.resolved = true;
    later(&s, 3000);
}

static void an_agent_promises_what_it_may(void **state)
{
    (void)state;
    begin_ready();
    assert_int_equal(answer(5), FM_AUTH_WHY_NONE);
    const struct fm_auth_action *p = did(&s, FM_AUTH_DO_PROMISE);
    assert_int_equal(p->ms, LEASE);
    assert_int_equal(p->asked_ns, 4242);
    assert_int_equal(p->incarnation.n, 9);
    assert_true(fm_mono_sub_ms(s.a.given_until[0], s.now) >= LEASE * 101 / 100);
}

static void a_restarted_agent_waits_before_it_promises(void **state)
{
    (void)state;
    begin(&s, NULL);
    s.a.resolved = true;
    assert_int_equal(answer(5), FM_AUTH_WHY_UNSETTLED);
    later(&s, LEASE);
    assert_int_equal(answer(5), FM_AUTH_WHY_UNSETTLED);
    later(&s, 21);
    assert_int_equal(answer(5), FM_AUTH_WHY_NONE);
}

static void nobody_promises_while_an_earlier_life_may_act(void **state)
{
    (void)state;
    begin_ready();
    s.a.resolved = false;
    assert_int_equal(answer(5), FM_AUTH_WHY_EARLIER_LIFE);
}

static void nobody_promises_to_one_whose_cell_has_moved_on(void **state)
{
    (void)state;
    begin_ready();
    assert_int_equal(answer(4), FM_AUTH_WHY_MOVED_ON);
    struct fm_marks marks = {.store_id = 7, .epoch = {{8}, {5}}};
    begin(&s, &marks); /* on the disk it knows more than coordination shows */
    s.a.resolved = true;
    s.a.frozen = false;
    later(&s, 3000);
    assert_int_equal(answer(5), FM_AUTH_WHY_MOVED_ON);
    assert_int_equal(answer(8), FM_AUTH_WHY_NONE);
}

static void who_replaced_a_keeper_promises_it_nothing(void **state)
{
    (void)state;
    begin_settled(&s);
    s.a.s.cells = 0;
    ask_promise(&s, agent_id(1, 1), 5);
    assert_int_equal(did(&s, FM_AUTH_DO_REFUSE)->why, FM_AUTH_WHY_IN_OFFICE);
    ask_promise(&s, agent_id(0, 0), 5);
    assert_non_null(did(&s, FM_AUTH_DO_PROMISE));
}

static void nobody_promises_who_is_taking_over(void **state)
{
    (void)state;
    begin_settled(&s);
    order(&s, FM_AUTH_ACQUIRE, 1, false);
    assert_int_equal(answer(5), FM_AUTH_WHY_WANTED);
    order(&s, FM_AUTH_DESIST, 0, false);
    assert_int_equal(answer(5), FM_AUTH_WHY_NONE);
}

static void an_agent_whose_store_went_back_still_promises(void **state)
{
    (void)state;
    begin_ready();
    s.store_id = 8;
    show(&s);
    assert_true(s.a.frozen);
    assert_int_equal(answer(5), FM_AUTH_WHY_NONE);
    struct fm_mono word = s.a.given_until[0];
    /* a new seed, at once: what was given still binds */
    s.view.r.incarnation.n = 2;
    s.cell[0].r.state = s.cell[1].r.state = FM_CELL_RELEASED;
    s.cell[0].r.to = s.cell[1].r.to = 1;
    s.cell[0].r.epoch.n = s.cell[1].r.epoch.n = 6;
    s.cell[0].revision.n = s.cell[1].revision.n = ++s.revision;
    later(&s, 200);
    tick(&s);
    answer_reads(&s);
    assert_false(s.a.frozen);
    office(&s, true);
    order(&s, FM_AUTH_ACQUIRE, 3, false);
    while (fm_mono_before(s.now, word)) {
        assert_int_not_equal(fm_authority_may_acquire(&s.a, 0, s.now), FM_AUTH_WHY_NONE);
        live_alone(&s, 100);
    }
    live_alone(&s, 3000);
    assert_int_equal(fm_authority_holds(&s.a), 3);
}

static void who_is_asked_learns_the_epoch_of_who_asks(void **state)
{
    (void)state;
    begin_ready(); /* it has no disk, and what it was shown is an older copy */
    assert_int_equal(answer(7), FM_AUTH_WHY_NONE);
    assert_non_null(did(&s, FM_AUTH_DO_PERSIST));
    assert_int_equal(s.a.marks.epoch[1].n, 7);
    assert_int_equal(s.a.marks.holder[1], 1);
    assert_int_equal(answer(6), FM_AUTH_WHY_MOVED_ON);
    live_alone(&s, 500);
    assert_true(s.a.frozen);
}

/* A copy in which a cell is released by this region, and nobody comes for it. */
static void what_is_known_to_have_moved_on_is_not_taken_back(void **state)
{
    (void)state;
    begin_keeper(&s);
    for (unsigned i = 0; i < CELLS; i++) {
        s.cell[i].r.region = 1;
        s.cell[i].r.state = FM_CELL_RELEASED;
        s.cell[i].r.to = 2;
        s.cell[i].r.epoch.n = 6;
        s.cell[i].revision.n = ++s.revision;
    }
    show(&s);
    ask_promise(&s, agent_id(2, 0), 7);
    s.a.read_wanted = 0; /* what it is told comes before what it reads */
    for (unsigned i = 0; i < 100; i++) {
        later(&s, 100);
        tick(&s);
        const struct fm_auth_action *c = did(&s, FM_AUTH_DO_COMMIT);
        if (!c)
            continue;
        const struct fm_txn *t = fm_authority_txn(&s.a, c->op);
        for (unsigned k = 0; k < t->nwrite; k++)
            assert_int_not_equal(t->write[k].key.kind, FM_RECORD_CELL);
        finish(&s, FM_TXN_DONE);
    }
}

static void promised(unsigned region, unsigned index, struct fm_mono asked)
{
    feed(&s, (struct fm_auth_event){.kind = FM_AUTH_PROMISED,
                                    .agent = agent_id(region, index),
                                    .incarnation = s.a.cfg.incarnation,
                                    .asked_ns = asked.ns,
                                    .ms = LEASE});
}

static int64_t promised_ms(void)
{
    return fm_mono_sub_ms(fm_authority_promised_until(&s.a, s.now), s.now);
}

static void a_holder_needs_every_other_member(void **state)
{
    (void)state;
    begin_holder(&s);
    assert_true(promised_ms() <= 0);
    struct fm_mono asked = s.now;
    for (unsigned r = 0; r < REGIONS; r++)
        for (unsigned i = 0; i < 2; i++) {
            if (r == 1 && i == 0)
                continue; /* itself */
            assert_true(promised_ms() <= 0);
            promised(r, i, asked);
        }
    assert_true(promised_ms() > LEASE * 98 / 100 && promised_ms() <= LEASE * 99 / 100);
    later(&s, 5000);
    assert_true(fm_mono_before(fm_authority_until(&s.a, s.now), s.now));
}

static void a_promise_counts_from_before_it_was_asked_for(void **state)
{
    (void)state;
    begin_holder(&s);
    struct fm_mono asked = s.now;
    later(&s, 1000);
    for (unsigned r = 0; r < REGIONS; r++)
        for (unsigned i = 0; i < 2; i++)
            promised(r, i, asked);
    assert_true(promised_ms() > 900 && promised_ms() <= 990);
}

static void a_promise_to_an_earlier_life_counts_for_nothing(void **state)
{
    (void)state;
    begin_holder(&s);
    feed(&s, (struct fm_auth_event){.kind = FM_AUTH_PROMISED,
                                    .agent = agent_id(0, 0),
                                    .incarnation = {76},
                                    .asked_ns = s.now.ns,
                                    .ms = LEASE});
    assert_int_equal(s.a.k.promise_until[0].ns, 0);
}

static void promises_are_asked_for_all_the_time(void **state)
{
    (void)state;
    begin_holder(&s);
    unsigned asked = 0;
    for (unsigned i = 0; i < 20; i++) {
        later(&s, 100);
        tick(&s);
        const struct fm_auth_action *ask = did(&s, FM_AUTH_DO_ASK);
        if (ask) {
            asked++;
            assert_int_equal(ask->cells, 3);
            assert_false(fm_members_has(&ask->members, s.a.cfg.self));
            assert_true(fm_members_has(&ask->members, agent_id(1, 1)));
            assert_true(fm_members_has(&ask->members, agent_id(2, 1)));
        }
        if (did(&s, FM_AUTH_DO_COMMIT))
            finish(&s, FM_TXN_DONE);
    }
    assert_true(asked >= 3 && asked <= 5);
}

FM_TEST_MAIN(fm_test(an_agent_promises_what_it_may),
             fm_test(a_restarted_agent_waits_before_it_promises),
             fm_test(nobody_promises_while_an_earlier_life_may_act),
             fm_test(nobody_promises_to_one_whose_cell_has_moved_on),
             fm_test(who_replaced_a_keeper_promises_it_nothing),
             fm_test(nobody_promises_who_is_taking_over),
             fm_test(an_agent_whose_store_went_back_still_promises),
             fm_test(who_is_asked_learns_the_epoch_of_who_asks),
             fm_test(what_is_known_to_have_moved_on_is_not_taken_back),
             fm_test(a_holder_needs_every_other_member),
             fm_test(a_promise_counts_from_before_it_was_asked_for),
             fm_test(a_promise_to_an_earlier_life_counts_for_nothing),
             fm_test(promises_are_asked_for_all_the_time))
