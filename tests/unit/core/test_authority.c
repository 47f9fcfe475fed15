/* The whole machine: names, numbers of operations, reads, and a random life that must never trip an
 * assertion of core. */
#include "rules.h"

#include "base/rand.h"

static struct scene s;

static void everything_has_a_name(void **state)
{
    (void)state;
    for (unsigned i = 0; i < FM_AUTH_WHY_COUNT; i++) {
        assert_true(strlen(fm_auth_why_name((enum fm_auth_why)i)) > 0);
        assert_true(strlen(fm_auth_why_text((enum fm_auth_why)i)) > 0);
    }
    for (unsigned i = 0; i < FM_CHAIN_STATE_COUNT; i++)
        assert_true(strlen(fm_chain_state_name((enum fm_chain_state)i)) > 0);
}

static void a_read_answers_only_those_who_asked_before_it_was_sent(void **state)
{
    (void)state;
    begin(&s, NULL);
    s.a.read_wanted = s.a.read_sent + 1;
    later(&s, 200);
    tick(&s);
    assert_true(s.a.reading);
    uint32_t need = s.a.read_sent + 1; /* of somebody who wants one now */
    s.a.read_wanted = need;
    struct fm_snapshot snap = shown(&s);
    feed(&s, (struct fm_auth_event){.kind = FM_AUTH_READ,
                                    .op = s.a.read_sent,
                                    .ok = true,
                                    .snapshot = &snap,
                                    .store_id = 7});
    assert_true(s.a.read_done < need);
    later(&s, 200);
    tick(&s);
    answer_reads(&s);
    assert_true(s.a.read_done >= need);
}

static void an_outcome_that_nobody_waits_for_changes_nothing(void **state)
{
    (void)state;
    begin_holder(&s);
    struct fm_authority before = s.a;
    feed(&s, (struct fm_auth_event){
                 .kind = FM_AUTH_OVER, .op = 99999, .outcome = FM_TXN_DONE, .revision = {9999}});
    assert_int_equal(before.k.state, s.a.k.state);
    assert_int_equal(before.marks.store.n, s.a.marks.store.n);
}

static bool met[FM_CHAIN_STATE_COUNT][FM_AUTH_EVENT_COUNT];

static struct fm_auth_event any_event(struct fm_rand *r, struct fm_snapshot *snap)
{
    static struct fm_epoch epochs[CELLS];
    for (unsigned i = 0; i < CELLS; i++)
        epochs[i].n = s.cell[i].r.epoch.n + fm_rand_below(r, 2);
    *snap = shown(&s);
    struct fm_auth_event e = {.kind =
                                  (enum fm_auth_event_kind)fm_rand_below(r, FM_AUTH_EVENT_COUNT),
                              .op = s.a.read_sent,
                              .ok = fm_rand_below(r, 4) != 0,
                              .keeper = fm_rand_below(r, 4) != 0,
                              .resolved = true,
                              .automatic = fm_rand_below(r, 2),
                              .everything = fm_rand_below(r, 2),
                              .snapshot = snap,
                              .store_id = 7,
                              .outcome = (enum fm_txn_outcome)fm_rand_below(r, 3),
                              .revision = {s.revision},
                              .sub = {(uint16_t)fm_rand_below(r, 20), {1 + fm_rand_below(r, 3)}},
                              .agent = agent_id(fm_rand_below(r, REGIONS), fm_rand_below(r, 2)),
                              .incarnation = s.a.cfg.incarnation,
                              .asked_ns = s.now.ns - fm_rand_below(r, 1000000000),
                              .ms = 1 + (int32_t)fm_rand_below(r, LEASE),
                              .region = (uint8_t)fm_rand_below(r, REGIONS),
                              .to = (uint8_t)fm_rand_below(r, REGIONS),
                              .cell = (uint8_t)fm_rand_below(r, CELLS),
                              .cells = fm_rand_below(r, 1 << CELLS),
                              .epochs = epochs,
                              .members = everybody()};
    if (e.kind == FM_AUTH_OFFICE && fm_rand_below(r, 6))
        e.kind = FM_AUTH_TICK;
    if (e.kind == FM_AUTH_OFFICE)
        e.revision.n = ++s.revision;
    return e;
}

static void others_do_something(struct fm_rand *r)
{
    if (fm_rand_below(r, 4) == 0) {
        s.lease[0].revision.n = ++s.revision;
        s.lease[0].r.dead = fm_rand_below(r, 3) == 0;
    }
    if (fm_rand_below(r, 16) == 0) {
        struct fm_cell_at *c = &s.cell[fm_rand_below(r, CELLS)];
        c->revision.n = ++s.revision;
        c->r.epoch.n++;
        c->r.region = (uint8_t)fm_rand_below(r, REGIONS);
        c->r.state = (uint8_t)fm_rand_below(r, 2);
    }
}

static void a_random_life_keeps_every_assertion(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct fm_rand r = {seed};
        begin(&s, NULL);
        for (unsigned i = 0; i < 2000; i++) {
            later(&s, fm_rand_below(&r, 200));
            others_do_something(&r);
            struct fm_snapshot snap;
            struct fm_auth_event e = any_event(&r, &snap);
            met[s.a.k.state][e.kind] = true;
            feed(&s, e);
            if (did(&s, FM_AUTH_DO_COMMIT) && fm_rand_below(&r, 2))
                finish(&s, (enum fm_txn_outcome)fm_rand_below(&r, 2));
            assert_true(s.out.n <= FM_AUTH_ACTIONS_MAX);
            assert_false(fm_mono_before(s.out.wake, s.now));
        }
    }
    for (unsigned i = 0; i < FM_CHAIN_STATE_COUNT; i++)
        for (unsigned k = 0; k < FM_AUTH_EVENT_COUNT; k++)
            if (!met[i][k])
                fail_msg("%s never met event %u", fm_chain_state_name((enum fm_chain_state)i), k);
}

FM_TEST_MAIN(fm_test(everything_has_a_name),
             fm_test(a_read_answers_only_those_who_asked_before_it_was_sent),
             fm_test(an_outcome_that_nobody_waits_for_changes_nothing),
             fm_test(a_random_life_keeps_every_assertion))
