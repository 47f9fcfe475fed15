/* Cells that were never written: who creates them, how, and who does not. */
#include "rules.h"

static struct scene s;

/* A keeper of region 1, home of cell 1, before a store in which nobody has written a cell; with
 * what the region has on disk. */
static void begin_founder(const struct fm_marks *marks)
{
    begin(&s, marks);
    s.a.cfg.founds = true;
    s.a.cfg.home[0] = 0;
    s.a.cfg.home[1] = 1;
    s.view = (struct fm_view_at){{0}, {{0}, {0}}};
    s.lease[0] = (struct fm_lease_at){.revision = {0}};
    memset(s.cell, 0, sizeof s.cell);
    struct fm_auth_config cfg = s.a.cfg;
    fm_authority_init(&s.a, &cfg, marks, s.now);
    tick(&s);
    answer_reads(&s);
    office(&s, true);
    later(&s, 200);
    tick(&s);
    answer_reads(&s);
    finish(&s, FM_TXN_DONE); /* it takes the lease */
    later(&s, 200);
    tick(&s);
    answer_reads(&s);
    assert_int_equal(s.a.k.state, FM_CHAIN_HOLD);
}

static bool founds(void)
{
    const struct fm_auth_action *c = did(&s, FM_AUTH_DO_COMMIT);
    return c && fm_authority_txn(&s.a, c->op) == &s.a.found_slot.txn;
}

static bool absent(const struct fm_txn *t, enum fm_record_kind kind, unsigned cell)
{
    for (unsigned i = 0; i < t->ncompare; i++)
        if (t->compare[i].key.kind == kind && t->compare[i].key.id.cell == cell)
            return t->compare[i].revision.n == 0;
    return false;
}

static void a_home_creates_its_own_cells_at_epoch_1(void **state)
{
    (void)state;
    begin_founder(NULL);
    assert_true(founds());
    struct fm_txn t = finish(&s, FM_TXN_DONE);
    assert_int_equal(t.nwrite, 2); /* the seed's record, and cell 1; cell 0 is at home elsewhere */
    assert_true(absent(&t, FM_RECORD_VIEW, 0) && absent(&t, FM_RECORD_CELL, 1));
    assert_true(compares(&t, FM_RECORD_KEEPER, 1));
    assert_int_equal(t.write[0].to.view.incarnation.n, 1);
    const struct fm_cell_record *c = &t.write[1].to.cell;
    assert_int_equal(c->region, 1);
    assert_int_equal(c->state, FM_CELL_HELD);
    assert_int_equal(c->epoch.n, 1);
    assert_int_equal(c->gentle_from.n, 1);
    assert_true(fm_members_has(&c->members, agent_id(0, 0)));
    assert_true(fm_members_has(&c->members, s.a.cfg.self));
    assert_true(said(&s, FM_AUTH_WHY_FOUNDED));
    assert_non_null(did(&s, FM_AUTH_DO_PERSIST));
    assert_int_equal(fm_authority_holds(&s.a), 2);
    tick(&s);
    assert_false(founds()); /* once */
}

static void who_was_slower_reads_and_finds_it(void **state)
{
    (void)state;
    begin_founder(NULL);
    finish(&s, FM_TXN_NOT_DONE);
    assert_false(founds());
    s.view = (struct fm_view_at){{++s.revision}, {{1}, {1}}};
    s.cell[1].revision.n = ++s.revision;
    s.cell[1].r = (struct fm_cell_record){
        .region = 1, .epoch = {1}, .gentle_from = {1}, .members = everybody()};
    later(&s, 200);
    tick(&s);
    answer_reads(&s);
    assert_false(founds());
    assert_false(s.a.frozen);
    assert_int_equal(fm_authority_holds(&s.a), 2);
}

static void an_unknown_outcome_is_looked_at(void **state)
{
    (void)state;
    begin_founder(NULL);
    finish(&s, FM_TXN_UNKNOWN);
    assert_false(founds());
    assert_int_equal(fm_authority_holds(&s.a), 0);
    later(&s, 200);
    tick(&s);
    assert_false(founds()); /* not before it was read */
    answer_reads(&s);
    assert_true(founds());
}

static void a_cell_that_was_seen_is_never_new(void **state)
{
    (void)state;
    struct fm_marks marks = {.store_id = 7, .incarnation = {1}};
    begin_founder(&marks);
    assert_true(founds());
    struct fm_txn t = finish(&s, FM_TXN_DONE);
    assert_int_equal(t.nwrite, 1); /* the record of the seed was seen: it is not new, either */
    assert_int_equal(t.write[0].key.kind, FM_RECORD_CELL);
    begin_founder(NULL);
    s.a.marks.epoch[1].n = 4;
    s.view = (struct fm_view_at){{++s.revision}, {{1}, {1}}};
    finish(&s, FM_TXN_UNKNOWN);
    later(&s, 200);
    tick(&s);
    s.a.floor.epoch[1].n = 0; /* even where the read did not say so */
    answer_reads(&s);
    assert_false(founds());
}

static void nobody_else_creates(void **state)
{
    (void)state;
    begin_founder(NULL);
    finish(&s, FM_TXN_UNKNOWN);
    s.a.cfg.founds = false;
    later(&s, 200);
    tick(&s);
    answer_reads(&s);
    assert_false(founds());
    s.a.cfg.founds = true;
    office(&s, false);
    tick(&s);
    assert_false(founds());
}

static void a_seed_that_came_after_the_first_sight_is_no_new_seed(void **state)
{
    (void)state;
    begin_founder(NULL);
    assert_int_equal(s.a.marks.incarnation.n, 0);
    s.view = (struct fm_view_at){{++s.revision}, {{1}, {1}}}; /* another region was first */
    show(&s);
    assert_false(s.a.frozen);
    assert_int_equal(s.a.marks.incarnation.n, 1);
    assert_non_null(did(&s, FM_AUTH_DO_PERSIST));
    s.view.r.incarnation.n = 2;
    s.view.revision.n = ++s.revision;
    show(&s);
    assert_true(s.a.frozen); /* but this one is */
}

FM_TEST_MAIN(fm_test(a_home_creates_its_own_cells_at_epoch_1),
             fm_test(who_was_slower_reads_and_finds_it), fm_test(an_unknown_outcome_is_looked_at),
             fm_test(a_cell_that_was_seen_is_never_new), fm_test(nobody_else_creates),
             fm_test(a_seed_that_came_after_the_first_sight_is_no_new_seed))
