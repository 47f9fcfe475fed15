/* A planned move of one cell. */
#include "test.h"

#include "core/move.h"

static const struct fm_move_policy p = {100, 200, 300, 400, 500, 600};
static struct fm_move m;
static struct fm_mono now;

static enum fm_move_action on(enum fm_move_event e)
{
    return fm_move_step(&m, &p, e, now).action;
}

static void begin(void)
{
    m = (struct fm_move){.late_at = FM_MONO_NEVER};
    now = (struct fm_mono){FM_NS_PER_S};
    assert_int_equal(on(FM_MOVE_ON_BEGIN), FM_MOVE_DO_ASK_HEIR);
}

static void the_steps_come_in_their_order(void **state)
{
    (void)state;
    begin();
    assert_int_equal(on(FM_MOVE_ON_DRAINED), FM_MOVE_DO_NOTHING);
    assert_int_equal(on(FM_MOVE_ON_READY), FM_MOVE_DO_HOLD);
    assert_int_equal(on(FM_MOVE_ON_FINAL), FM_MOVE_DO_NOTHING);
    assert_int_equal(on(FM_MOVE_ON_DRAINED), FM_MOVE_DO_STOP);
    assert_int_equal(on(FM_MOVE_ON_FINAL), FM_MOVE_DO_NOTHING);
    assert_int_equal(on(FM_MOVE_ON_STOPPED), FM_MOVE_DO_SHIP);
    assert_int_equal(on(FM_MOVE_ON_FINAL), FM_MOVE_DO_RELEASE);
    on(FM_MOVE_ON_RELEASED);
    assert_int_equal(m.state, FM_MOVE_HANDED);
    on(FM_MOVE_ON_TAKEN);
    assert_int_equal(m.state, FM_MOVE_IDLE);
    assert_true(m.moved);
}

/* Whatever a step asks for is asked for again while its state lasts. */
static void what_lasts_is_done_again(void **state)
{
    (void)state;
    static const struct {
        enum fm_move_state state;
        enum fm_move_action action;
    } lasts[] = {
        {FM_MOVE_IDLE, FM_MOVE_DO_NOTHING},    {FM_MOVE_ASKED, FM_MOVE_DO_ASK_HEIR},
        {FM_MOVE_HOLDING, FM_MOVE_DO_HOLD},    {FM_MOVE_STOPPING, FM_MOVE_DO_STOP},
        {FM_MOVE_SHIPPING, FM_MOVE_DO_SHIP},   {FM_MOVE_RELEASING, FM_MOVE_DO_RELEASE},
        {FM_MOVE_RETAKING, FM_MOVE_DO_RETAKE}, {FM_MOVE_HANDED, FM_MOVE_DO_NOTHING},
    };
    assert_int_equal(FM_COUNT(lasts), FM_MOVE_STATE_COUNT);
    for (size_t i = 0; i < FM_COUNT(lasts); i++)
        assert_int_equal(fm_move_lasting(&(struct fm_move){.state = (uint8_t)lasts[i].state}),
                         lasts[i].action);
}

static void an_unfit_heir_ends_it_before_anything_is_held(void **state)
{
    (void)state;
    begin();
    assert_int_equal(on(FM_MOVE_ON_UNFIT), FM_MOVE_DO_NOTHING);
    assert_int_equal(m.state, FM_MOVE_IDLE);
    assert_false(m.moved);
}

static void before_the_stop_an_abort_gives_back_after_it_it_retakes(void **state)
{
    (void)state;
    begin();
    on(FM_MOVE_ON_READY);
    assert_int_equal(on(FM_MOVE_ON_LATE), FM_MOVE_DO_LET_GO);
    assert_int_equal(m.state, FM_MOVE_IDLE);
    static const enum fm_move_event way[] = {FM_MOVE_ON_READY, FM_MOVE_ON_DRAINED,
                                             FM_MOVE_ON_STOPPED, FM_MOVE_ON_FINAL,
                                             FM_MOVE_ON_RELEASED};
    for (unsigned n = 2; n <= FM_COUNT(way); n++)
        for (unsigned late = 0; late < 2; late++) {
            begin();
            for (unsigned i = 0; i < n; i++)
                on(way[i]);
            assert_int_equal(on(late ? FM_MOVE_ON_LATE : FM_MOVE_ON_ABORT), FM_MOVE_DO_RETAKE);
            assert_int_equal(on(FM_MOVE_ON_LATE), FM_MOVE_DO_RETAKE);
            assert_int_equal(on(FM_MOVE_ON_RETAKEN), FM_MOVE_DO_LET_GO);
            assert_int_equal(m.state, FM_MOVE_IDLE);
        }
}

static void every_move_has_a_number_of_its_own(void **state)
{
    (void)state;
    begin();
    uint32_t first = m.serial;
    on(FM_MOVE_ON_BEGIN); /* one at a time */
    assert_int_equal(m.serial, first);
    on(FM_MOVE_ON_ABORT);
    on(FM_MOVE_ON_BEGIN);
    assert_int_equal(m.serial, first + 1);
}

static void data_and_journal_have_to_be_final(void **state)
{
    (void)state;
    assert_true(fm_move_is_final(true, true));
    assert_false(fm_move_is_final(true, false));
    assert_false(fm_move_is_final(false, true));
}

static void every_state_has_a_bound_and_an_end(void **state)
{
    (void)state;
    bool in[FM_MOVE_STATE_COUNT] = {false}, lost[FM_MOVE_STATE_COUNT] = {false},
         late[FM_MOVE_STATE_COUNT] = {false};
    for (unsigned i = 0; i < fm_move_nrows; i++) {
        const struct fm_move_row *r = &fm_move_rows[i];
        in[r->to] |= r->from != r->to;
        lost[r->from] |= r->event == FM_MOVE_ON_LOST && r->to == FM_MOVE_IDLE;
        late[r->from] |= r->event == FM_MOVE_ON_LATE;
        assert_true(strlen(r->comment) > 0);
        for (unsigned k = 0; k < i; k++) /* no row hides another */
            assert_false(fm_move_rows[k].from == r->from && fm_move_rows[k].event == r->event);
    }
    for (unsigned i = 0; i < FM_MOVE_STATE_COUNT; i++) {
        assert_true(in[i]);
        assert_true(i == FM_MOVE_IDLE || (lost[i] && late[i]));
        assert_true(strlen(fm_move_state_name((enum fm_move_state)i)) > 0);
    }
    for (unsigned i = 0; i < FM_MOVE_EVENT_COUNT; i++)
        assert_true(strlen(fm_move_event_name((enum fm_move_event)i)) > 0);
    begin();
    assert_int_equal(fm_mono_sub_ms(m.late_at, now), 100);
    on(FM_MOVE_ON_READY);
    assert_int_equal(fm_mono_sub_ms(m.late_at, now), 200);
}

static void who_is_lost_hands_nothing_over(void **state)
{
    (void)state;
    assert_true(fm_move_is_stranded(true, true));
    assert_false(fm_move_is_stranded(false, true));
    assert_false(fm_move_is_stranded(true, false)); /* it has gone before */
}

FM_TEST_MAIN(fm_test(who_is_lost_hands_nothing_over), fm_test(the_steps_come_in_their_order),
             fm_test(what_lasts_is_done_again),
             fm_test(an_unfit_heir_ends_it_before_anything_is_held),
             fm_test(before_the_stop_an_abort_gives_back_after_it_it_retakes),
             fm_test(every_move_has_a_number_of_its_own),
             fm_test(data_and_journal_have_to_be_final),
             fm_test(every_state_has_a_bound_and_an_end))
