/* What was seen: revisions, times, marks, and a store that goes back. */
#include "rules.h"

static struct scene s;

static void read_linear(void)
{
    for (unsigned i = 0; i < 5 && !s.a.reading; i++) {
        s.a.read_wanted = s.a.read_sent + 1;
        later(&s, 200);
        tick(&s);
    }
    assert_true(s.a.reading);
    answer_reads(&s);
}

static void an_older_revision_is_no_news(void **state)
{
    (void)state;
    begin(&s, NULL);
    struct fm_mono since = s.a.lease[0].since;
    later(&s, 500);
    s.lease[0].revision.n--;
    s.cell[0].revision.n--;
    s.cell[0].r.epoch.n = 3;
    show(&s);
    assert_int_equal(s.a.lease[0].since.ns, since.ns);
    assert_int_equal(s.a.cell[0].at.r.epoch.n, 5);
    s.lease[0].revision.n += 5;
    show(&s);
    assert_int_equal(s.a.lease[0].since.ns, s.now.ns);
}

static void the_lease_is_timed_from_the_record_that_was_read(void **state)
{
    (void)state;
    begin(&s, NULL);
    later(&s, 1500);
    s.lease[0].revision.n = ++s.revision;
    show(&s);
    later(&s, 1500);
    assert_false(fm_authority_lapsed(&s.a, 0, s.now));
}

static void what_is_new_is_durable_first(void **state)
{
    (void)state;
    begin(&s, NULL);
    s.cell[0].r.epoch.n = 9;
    s.cell[0].revision.n = ++s.revision;
    show(&s);
    assert_true(s.out.n > 0);
    assert_int_equal(s.out.action[0].kind, FM_AUTH_DO_PERSIST);
    assert_int_equal(s.a.marks.epoch[0].n, 9);
}

static void who_held_what_is_kept_with_the_epoch(void **state)
{
    (void)state;
    begin(&s, NULL);
    assert_int_equal(s.a.marks.holder[0], 1);
    s.cell[0].r.epoch.n = 6;
    s.cell[0].r.region = 2;
    s.cell[0].revision.n = ++s.revision;
    s.cell[1].r.epoch.n = 6; /* seen first when it is given away: the heir has it all */
    s.cell[1].r.state = FM_CELL_RELEASED;
    s.cell[1].r.to = 1;
    s.cell[1].revision.n = s.revision;
    show(&s);
    assert_int_equal(s.a.marks.holder[0], 3);
    assert_int_equal(s.a.marks.holder[1], 2);
    struct fm_marks of_old = {.store_id = 7, .incarnation = {1}, .epoch = {{5}, {5}}};
    begin(&s, &of_old); /* a disk that does not say */
    assert_int_equal(s.a.marks.holder[0], 1);
}

static void a_store_that_shows_less_freezes(void **state)
{
    (void)state;
    begin_settled(&s);
    s.revision -= 20;
    struct fm_snapshot snap = shown(&s);
    feed(&s, (struct fm_auth_event){.kind = FM_AUTH_SEEN, .snapshot = &snap, .store_id = 7});
    assert_false(s.a.frozen); /* a read that may be stale proves nothing */
    read_linear();
    assert_true(s.a.frozen);
    assert_int_equal(fm_authority_may_acquire(&s.a, 0, s.now), FM_AUTH_WHY_FROZEN);
}

static void a_lower_epoch_freezes(void **state)
{
    (void)state;
    struct fm_marks marks = {.store_id = 7, .incarnation = {1}, .epoch = {{6}, {5}}};
    begin(&s, &marks);
    assert_true(s.a.frozen);
    marks.epoch[0].n = 5;
    begin(&s, &marks);
    assert_false(s.a.frozen);
}

static void another_store_freezes_until_it_is_seeded_anew(void **state)
{
    (void)state;
    begin_settled(&s);
    s.store_id = 8;
    show(&s);
    assert_true(s.a.frozen);
    assert_true(said(&s, FM_AUTH_WHY_FROZEN));
    s.view.r.incarnation.n = 2;
    read_linear();
    assert_false(s.a.frozen);
    assert_int_equal(s.a.marks.store_id, 8);
    assert_int_equal(s.a.k.state, FM_CHAIN_IDLE);
    assert_true(fm_mono_sub_ms(s.a.ready_at, s.now) >= LEASE); /* what was granted runs out first */
}

static void testimony_is_of_this_life_and_of_everything(void **state)
{
    (void)state;
    begin(&s, NULL);
    struct fm_auth_event e = {.kind = FM_AUTH_TESTIFIED, .sub = {1, {11}}, .everything = true};
    feed(&s, e);
    assert_false(fm_authority_lapsed(&s.a, 0, s.now));
    e.sub = (struct fm_sub){2, {12}};
    e.refused = true; /* connections that fail */
    feed(&s, e);
    assert_false(fm_authority_lapsed(&s.a, 0, s.now));
    e.refused = false;
    feed(&s, e);
    assert_true(fm_authority_lapsed(&s.a, 0, s.now));
    s.lease[0].revision.n = ++s.revision; /* a renewal on its way: the same sub-lessees */
    show(&s);
    assert_true(fm_authority_lapsed(&s.a, 0, s.now));
}

static void a_read_that_was_asked_for_before_a_write_may_not_show_it(void **state)
{
    (void)state;
    begin_settled(&s);
    s.a.read_wanted = s.a.read_sent + 1;
    later(&s, 200);
    tick(&s);
    struct fm_snapshot before = shown(&s);
    before.store.n = s.a.floor.store.n;
    s.revision += 10;
    show(&s);
    feed(&s, (struct fm_auth_event){.kind = FM_AUTH_READ,
                                    .op = s.a.read_sent,
                                    .ok = true,
                                    .snapshot = &before,
                                    .store_id = 7});
    assert_false(s.a.frozen);
}

/* Its disk was lost: what stands in the store may be of an older copy. */
static void without_marks_a_store_is_believed_that_others_renew_in(void **state)
{
    (void)state;
    static const struct fm_marks blank;
    begin(&s, &blank);
    assert_true(s.a.frozen);
    read_linear();
    assert_true(s.a.frozen); /* nobody does anything in it */
    s.lease[0].revision.n = ++s.revision;
    show(&s); /* a watch may tell of long ago */
    assert_true(s.a.frozen);
    assert_int_equal(s.a.marks.store_id, 0);
    read_linear();
    assert_false(s.a.frozen);
    assert_int_equal(s.a.marks.store_id, 7);
    assert_int_equal(s.a.cell[0].at.r.epoch.n, 5);
}

static void without_marks_a_new_seed_is_believed(void **state)
{
    (void)state;
    static const struct fm_marks blank;
    begin(&s, &blank);
    read_linear();
    assert_true(s.a.frozen);
    s.view.r.incarnation.n++;
    s.view.revision.n = ++s.revision;
    read_linear();
    assert_false(s.a.frozen);
}

FM_TEST_MAIN(fm_test(without_marks_a_store_is_believed_that_others_renew_in),
             fm_test(without_marks_a_new_seed_is_believed), fm_test(an_older_revision_is_no_news),
             fm_test(the_lease_is_timed_from_the_record_that_was_read),
             fm_test(what_is_new_is_durable_first), fm_test(who_held_what_is_kept_with_the_epoch),
             fm_test(a_store_that_shows_less_freezes), fm_test(a_lower_epoch_freezes),
             fm_test(another_store_freezes_until_it_is_seeded_anew),
             fm_test(testimony_is_of_this_life_and_of_everything),
             fm_test(a_read_that_was_asked_for_before_a_write_may_not_show_it))
