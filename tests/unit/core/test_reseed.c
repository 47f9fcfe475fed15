/* What a store is seeded with after it went back. */
#include "rules.h"

#include "core/reseed.h"

static struct fm_reseed r;

static struct fm_cell_record stored(uint64_t epoch, uint8_t region)
{
    return (struct fm_cell_record){
        .region = region,
        .epoch = {epoch},
        .gentle_from = {1},
        .members = everybody(),
        .evidence = {.system_id = 99, .timeline = 4, .claimed = 5, .promotable = 6, .writer = 1}};
}

static void store(unsigned cell, uint64_t epoch, uint8_t region)
{
    struct fm_cell_record c = stored(epoch, region);
    fm_reseed_stored(&r, cell, &c);
}

/* holder: a region; -1 = its disk does not say */
static void seen(uint64_t seed, uint64_t epoch0, int holder0, uint64_t epoch1, int holder1)
{
    struct fm_marks m = {.incarnation = {seed},
                         .epoch = {{epoch0}, {epoch1}},
                         .holder = {(uint8_t)(holder0 + 1), (uint8_t)(holder1 + 1)}};
    fm_reseed_seen(&r, &m);
}

static struct fm_cell_record written(unsigned cell, bool margin)
{
    struct fm_cell_record c = stored(3, 0);
    fm_reseed_write_cell(&r, cell, 2, margin, &c);
    assert_int_equal(c.state, FM_CELL_RELEASED);
    assert_int_equal(c.gentle_from.n, c.epoch.n); /* nothing of before ended by consent */
    assert_int_equal(c.region, c.to);
    assert_int_equal(c.evidence.system_id, 99);
    assert_int_equal(c.evidence.writer, 0); /* nor does anybody's history count by it */
    assert_int_equal(c.evidence.promotable, 0);
    assert_int_equal(c.evidence.claimed, 5 + FM_RESEED_TIMELINES);
    struct fm_members m = everybody();
    assert_true(fm_members_same(&c.members, &m));
    return c;
}

static void a_cell_is_released_for_its_newest_holder_above_everything(void **state)
{
    (void)state;
    static const struct {
        uint64_t stored, a, b;
        int holder_a, holder_b;
        uint64_t want;
        unsigned to;
        bool behind, sure;
    } cases[] = {
        {3, 7, 5, 1, 0, 8, 1, true, true},    /* the newest of them */
        {3, 5, 7, 1, 2, 8, 2, true, true},    /* in whatever order */
        {3, 3, 3, 0, 0, 4, 0, false, true},   /* nobody has seen more: it is above all the same */
        {9, 7, 5, 1, 2, 10, 0, false, true},  /* the store knows most */
        {3, 7, 5, -1, 1, 8, 1, true, false},  /* who held it under 7 nobody knows */
        {3, 7, 7, -1, 1, 8, 1, true, true},   /* but one does */
        {0, 7, 0, -1, -1, 8, 2, true, false}, /* nobody ever knew: its home */
        {0, 0, 0, -1, -1, 1, 2, false, false},
        {0, 7, 0, 1, -1, 8, 1, true, true}, /* it is not in the copy at all */
    };
    for (unsigned i = 0; i < FM_COUNT(cases); i++) {
        fm_reseed_init(&r, CELLS);
        if (cases[i].stored)
            store(0, cases[i].stored, 0);
        seen(1, cases[i].a, cases[i].holder_a, 1, 0);
        seen(1, cases[i].b, cases[i].holder_b, 1, 0);
        struct fm_cell_record c = written(0, false);
        assert_int_equal(c.epoch.n, cases[i].want);
        assert_int_equal(c.to, cases[i].to);
        assert_int_equal(fm_reseed_is_behind(&r, 0), cases[i].behind);
        assert_int_equal(fm_reseed_is_sure(&r, 0), cases[i].sure);
        assert_int_equal(written(0, true).epoch.n, cases[i].want + FM_RESEED_MARGIN);
    }
}

static void a_released_cell_is_of_whom_it_was_released_for(void **state)
{
    (void)state;
    fm_reseed_init(&r, CELLS);
    struct fm_cell_record c = stored(4, 0);
    c.state = FM_CELL_RELEASED;
    c.to = 1;
    fm_reseed_stored(&r, 1, &c);
    assert_int_equal(written(1, false).to, 1);
}

static void the_view_is_above_every_seed_that_was_seen(void **state)
{
    (void)state;
    fm_reseed_init(&r, CELLS);
    seen(4, 1, 0, 1, 0);
    seen(2, 1, 0, 1, 0);
    assert_int_equal(r.incarnation.n, 4);
    struct fm_view_record old = {{1}, {6}}, none = {{0}, {0}};
    struct fm_view_record v = fm_reseed_view(old, r.incarnation, false);
    assert_int_equal(v.incarnation.n, 5);
    assert_int_equal(v.generation.n, 6);
    assert_int_equal(fm_reseed_view(old, r.incarnation, true).incarnation.n, 5 + FM_RESEED_MARGIN);
    v = fm_reseed_view(none, (struct fm_incarnation){0}, false);
    assert_int_equal(v.incarnation.n, 1);
    assert_int_equal(v.generation.n, 1);
    old.incarnation.n = 9;
    assert_int_equal(fm_reseed_view(old, r.incarnation, false).incarnation.n, 10);
}

static void the_budget_is_used_up(void **state)
{
    (void)state;
    struct fm_budget_record b = fm_reseed_budget((struct fm_budget_record){5, 4}, 3);
    assert_int_equal(b.freed, 4);
    assert_int_equal(b.spent, 7);
    b = fm_reseed_budget((struct fm_budget_record){0, 0}, 0);
    assert_int_equal(b.spent, b.freed);
}

/* What agents make of it: nobody had this epoch, and who held the cell takes it without asking. */
static void who_held_it_acquires_what_was_seeded(void **state)
{
    (void)state;
    static struct scene s;
    begin_holder(&s);
    fm_reseed_init(&r, CELLS);
    fm_reseed_seen(&r, &s.a.marks);
    s.store_id = 8; /* a copy of before it took the cells */
    for (unsigned i = 0; i < CELLS; i++) {
        s.cell[i].r.region = 0;
        s.cell[i].r.epoch.n = 5;
        fm_reseed_stored(&r, i, &s.cell[i].r);
        assert_true(fm_reseed_is_behind(&r, i));
        fm_reseed_write_cell(&r, i, 0, false, &s.cell[i].r);
        s.cell[i].revision.n = ++s.revision;
    }
    s.view.r = fm_reseed_view(s.view.r, r.incarnation, false);
    later(&s, 200);
    show(&s);
    tick(&s);
    answer_reads(&s);
    assert_false(s.a.frozen);
    assert_int_equal(fm_authority_holds(&s.a), 0);
    office(&s, true);
    order(&s, FM_AUTH_ACQUIRE, 3, false);
    live_alone(&s, 5000);
    assert_int_equal(fm_authority_holds(&s.a), 3);
    for (unsigned i = 0; i < CELLS; i++) {
        assert_int_equal(s.cell[i].r.epoch.n, 8); /* 7 was the seed's, and nobody's */
        assert_false(fm_cell_was_forced(&s.cell[i].r));
    }
}

FM_TEST_MAIN(fm_test(a_cell_is_released_for_its_newest_holder_above_everything),
             fm_test(a_released_cell_is_of_whom_it_was_released_for),
             fm_test(the_view_is_above_every_seed_that_was_seen), fm_test(the_budget_is_used_up),
             fm_test(who_held_it_acquires_what_was_seeded))
