/* Data that Fulmar does not run itself: what is run when, and what is never run. */
#include "test.h"

#include "base/rand.h"
#include "core/external.h"

static const struct fm_external_policy p = {
    .interval_ms = 10000, .again_ms = 500, .retry_ms = 5000};
static struct fm_external x;
static struct fm_external_facts f;
static struct fm_mono now;

static void begin(void)
{
    now = (struct fm_mono){FM_NS_PER_S};
    f = (struct fm_external_facts){.epoch = {1}, .elsewhere = true};
    fm_external_init(&x, now);
}

static enum fm_external_action on(const struct fm_external_event *e)
{
    struct fm_external_verdict v = fm_external_step(&x, &p, &f, e, now);
    f.busy = x.state != FM_EXTERNAL_IDLE;
    return v.action;
}

static enum fm_external_action after(int64_t ms)
{
    now = fm_mono_add_ms(now, ms);
    return on(&(struct fm_external_event){.kind = FM_EXTERNAL_ON_LOOK});
}

static void ends(bool well)
{
    f.busy = false;
    on(&(struct fm_external_event){
        .kind = (uint8_t)(well ? FM_EXTERNAL_ON_ENDED_WELL : FM_EXTERNAL_ON_ENDED_BADLY)});
}

static void says(enum fm_external_role role, bool writable)
{
    assert_int_equal(x.state, FM_EXTERNAL_ASKING);
    f.busy = false;
    on(&(struct fm_external_event){.kind = FM_EXTERNAL_ON_ENDED_WELL,
                                   .status = {(uint8_t)role, writable, true}});
}

static void lacks(uint64_t bytes)
{
    assert_int_equal(x.state, FM_EXTERNAL_MEASURING);
    f.busy = false;
    on(&(struct fm_external_event){.kind = FM_EXTERNAL_ON_ENDED_WELL,
                                   .lag = {.has_bytes = true, .bytes = bytes}});
}

static void recorded(enum fm_external_stage stage)
{
    f.recorded = (struct fm_external_record){f.epoch, (uint8_t)stage};
}

static void hold(uint64_t epoch, bool forced)
{
    f.epoch.n = epoch;
    f.holds = true;
    f.elsewhere = false;
    f.forced = forced;
}

/* The right to write has come, and it is recorded that it is begun. */
static void come(uint64_t epoch, bool forced)
{
    hold(epoch, forced);
    assert_int_equal(after(0), FM_EXTERNAL_DO_NOTE_OPENING);
    recorded(FM_EXTERNAL_AT_OPENING);
}

static void open_here(void)
{
    begin();
    come(1, false);
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
    says(FM_EXTERNAL_PRIMARY, true);
    assert_int_equal(after(0), FM_EXTERNAL_DO_NOTE_OPEN);
    recorded(FM_EXTERNAL_AT_OPEN);
}

static void what_is_written_here_is_opened_without_a_change(void **state)
{
    (void)state;
    begin();
    come(1, false);
    assert_false(fm_external_is_open(&f.recorded, f.epoch));
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
    says(FM_EXTERNAL_PRIMARY, true);
    f.writing = true;
    assert_int_equal(after(0), FM_EXTERNAL_DO_NOTHING);
    f.writing = false;
    assert_int_equal(after(0), FM_EXTERNAL_DO_NOTE_OPEN);
    assert_int_equal(after(0), FM_EXTERNAL_DO_NOTE_OPEN); /* what was sent may have been lost */
    recorded(FM_EXTERNAL_AT_OPEN);
    assert_true(fm_external_is_open(&f.recorded, f.epoch));
    assert_false(fm_external_is_open(&f.recorded, (struct fm_epoch){2}));
    assert_false(fm_external_is_open(&f.recorded, (struct fm_epoch){0}));
    assert_int_equal(after(0), FM_EXTERNAL_DO_NOTHING);
    assert_int_equal(after(p.interval_ms), FM_EXTERNAL_DO_STATUS);
    says(FM_EXTERNAL_SECONDARY, false); /* by somebody's hand: a person decides */
    assert_int_equal(after(1), FM_EXTERNAL_DO_NOTHING);
    assert_int_equal(after(p.interval_ms), FM_EXTERNAL_DO_STATUS);
    says(FM_EXTERNAL_PRIMARY, false); /* whoever closed them, they are to be written here */
    assert_int_equal(after(1), FM_EXTERNAL_DO_PROMOTE);
    ends(true);
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
    says(FM_EXTERNAL_PRIMARY, false);
    assert_int_equal(after(0), FM_EXTERNAL_DO_NOTHING); /* not again at once */
    assert_int_equal(after(p.retry_ms), FM_EXTERNAL_DO_PROMOTE);
}

static void an_heir_looks_at_its_data_and_what_they_lack(void **state)
{
    (void)state;
    begin();
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
    assert_int_equal(after(1), FM_EXTERNAL_DO_NOTHING);
    says(FM_EXTERNAL_SECONDARY, false);
    assert_int_equal(after(0), FM_EXTERNAL_DO_LAG);
    lacks(7);
    assert_int_equal(x.lag.bytes, 7);
    assert_int_equal(after(p.interval_ms - 2), FM_EXTERNAL_DO_NOTHING);
    struct fm_external_event look = {.kind = FM_EXTERNAL_ON_LOOK};
    struct fm_external_verdict v = fm_external_step(&x, &p, &f, &look, now);
    assert_int_equal(fm_mono_sub_ms(v.wake, now), 2);
    assert_int_equal(after(2), FM_EXTERNAL_DO_STATUS);
    ends(false);
    assert_true(x.known); /* what was said before stays */
    assert_int_equal(after(0), FM_EXTERNAL_DO_LAG);
    ends(false);
    assert_int_equal(x.lag.bytes, 7);
    f.epoch.n = 2; /* of another writer: what they lack is not known */
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
    assert_false(fm_external_lag_is_known(&x.lag));
}

static void a_planned_move_closes_then_proves(void **state)
{
    (void)state;
    open_here();
    f.handing = true;
    assert_int_equal(after(0), FM_EXTERNAL_DO_NOTE_CLOSED);
    recorded(FM_EXTERNAL_AT_CLOSED);
    assert_false(fm_external_is_open(&f.recorded, f.epoch));
    assert_int_equal(after(0), FM_EXTERNAL_DO_CLOSE);
    ends(false);
    assert_int_equal(after(0), FM_EXTERNAL_DO_NOTHING);
    assert_int_equal(after(p.again_ms), FM_EXTERNAL_DO_CLOSE);
    ends(true);
    assert_false(fm_external_is_final(&x));
    assert_int_equal(after(0), FM_EXTERNAL_DO_LAG);
    lacks(1);
    assert_false(fm_external_is_final(&x));
    assert_int_equal(after(p.again_ms), FM_EXTERNAL_DO_LAG);
    lacks(0);
    assert_true(fm_external_is_final(&x));
    assert_int_equal(after(p.again_ms), FM_EXTERNAL_DO_NOTHING);
    f.holds = f.handing = false;
    f.elsewhere = true;
    f.epoch.n = 2;
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
    says(FM_EXTERNAL_SECONDARY, false);
    assert_false(fm_external_is_final(&x));
}

static void a_move_that_is_given_up_opens_again(void **state)
{
    (void)state;
    open_here();
    f.handing = true;
    after(0);
    recorded(FM_EXTERNAL_AT_CLOSED);
    assert_int_equal(after(0), FM_EXTERNAL_DO_CLOSE);
    f.handing = false;
    hold(2, false);
    assert_int_equal(after(0), FM_EXTERNAL_DO_NOTHING); /* what changes something ends first */
    ends(true);
    assert_false(fm_external_is_final(&x)); /* of a move that is over */
    come(2, false);
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
    says(FM_EXTERNAL_PRIMARY, false);
    assert_int_equal(after(0), FM_EXTERNAL_DO_NOTHING); /* right after the last change */
    assert_int_equal(after(p.again_ms), FM_EXTERNAL_DO_STATUS);
    says(FM_EXTERNAL_PRIMARY, false);
    assert_int_equal(after(p.retry_ms), FM_EXTERNAL_DO_PROMOTE);
    ends(true);
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
    says(FM_EXTERNAL_PRIMARY, true);
    assert_int_equal(after(0), FM_EXTERNAL_DO_NOTE_OPEN);
}

static void a_keeper_that_begins_after_read_only_opens_again(void **state)
{
    (void)state;
    begin();
    f.holds = true;
    f.elsewhere = false;
    f.forced = true; /* how it had come: it was opened since */
    recorded(FM_EXTERNAL_AT_CLOSED);
    assert_false(fm_external_needs_force(&f));
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
    says(FM_EXTERNAL_PRIMARY, false);
    assert_int_equal(after(0), FM_EXTERNAL_DO_PROMOTE);
}

static void what_came_by_force_is_fenced_first(void **state)
{
    (void)state;
    begin();
    come(2, true);
    assert_true(fm_external_needs_force(&f));
    assert_int_equal(after(0), FM_EXTERNAL_DO_FENCE);
    ends(false);
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
    says(FM_EXTERNAL_PRIMARY, true); /* the provider was quicker: who had it may write still */
    assert_int_equal(after(1), FM_EXTERNAL_DO_NOTHING);
    assert_int_equal(after(p.retry_ms), FM_EXTERNAL_DO_FENCE);
    ends(true);
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
    says(FM_EXTERNAL_SECONDARY, false);
    assert_int_equal(after(0), FM_EXTERNAL_DO_PROMOTE);
    ends(false);
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
    says(FM_EXTERNAL_PRIMARY, true); /* it was done all the same */
    assert_int_equal(after(0), FM_EXTERNAL_DO_NOTE_OPEN);
    recorded(FM_EXTERNAL_AT_OPEN);
    assert_false(fm_external_needs_force(&f));
}

static void a_person_who_attests_stands_for_the_fence(void **state)
{
    (void)state;
    begin();
    f.attested = true;
    come(2, true);
    assert_int_equal(after(0), FM_EXTERNAL_DO_FENCE); /* it is tried */
    ends(false);
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
    says(FM_EXTERNAL_SECONDARY, false);
    assert_int_equal(after(0), FM_EXTERNAL_DO_PROMOTE);
}

static void a_promotion_ends_with_the_right_to_write(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        begin();
        come(2, false);
        assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
        says(FM_EXTERNAL_SECONDARY, false);
        assert_int_equal(after(0), FM_EXTERNAL_DO_PROMOTE);
        if (i == 0)
            f.holds = false;
        else
            f.epoch.n = 3;
        assert_int_equal(after(0), FM_EXTERNAL_DO_KILL);
        assert_int_equal(x.state, FM_EXTERNAL_IDLE);
    }
}

static void what_is_written_without_the_right_is_closed(void **state)
{
    (void)state;
    begin();
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
    says(FM_EXTERNAL_PRIMARY, true);
    assert_int_equal(after(0), FM_EXTERNAL_DO_CLOSE);
    ends(true);
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
    says(FM_EXTERNAL_PRIMARY, true); /* it has not helped */
    assert_int_equal(after(0), FM_EXTERNAL_DO_LAG);
    lacks(0);
    assert_int_equal(after(p.retry_ms), FM_EXTERNAL_DO_CLOSE);
    ends(true);
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
    says(FM_EXTERNAL_SECONDARY, false);
    assert_int_equal(after(p.retry_ms - 1), FM_EXTERNAL_DO_NOTHING);
}

static void a_status_of_before_a_change_opens_nothing(void **state)
{
    (void)state;
    begin();
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS); /* runs while the right comes */
    hold(2, false);
    says(FM_EXTERNAL_PRIMARY, true);
    assert_false(x.fresh);
    come(2, false);
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
}

static void what_looks_and_hangs_holds_nobody_up(void **state)
{
    (void)state;
    begin();
    assert_int_equal(after(0), FM_EXTERNAL_DO_STATUS);
    says(FM_EXTERNAL_SECONDARY, false);
    assert_int_equal(after(0), FM_EXTERNAL_DO_LAG); /* of who is gone */
    hold(2, true);
    assert_int_equal(after(0), FM_EXTERNAL_DO_KILL);
    f.busy = false;
    come(2, true);
    assert_int_equal(after(0), FM_EXTERNAL_DO_FENCE);
}

static void an_estimate_grows_with_its_age(void **state)
{
    static const struct {
        struct fm_external_lag lag;
        int64_t age_ms;
        struct fm_external_estimate e;
        bool zero;
    } cases[] = {
        {{.bytes = 5, .ms = 6}, 7, {.known = false}, false},
        {{.has_bytes = true, .bytes = 5}, 7, {true, true, 5, 7}, false},
        {{.has_ms = true, .ms = 3}, 7, {true, false, 0, 10}, false},
        {{.has_ms = true, .has_bytes = true}, 0, {true, true, 0, 0}, true},
        {{.has_ms = true, .has_bytes = true, .bytes = 1}, 0, {true, true, 1, 0}, false},
        {{.has_bytes = true}, 1000, {true, true, 0, 1000}, true},
    };
    (void)state;
    for (unsigned i = 0; i < FM_COUNT(cases); i++) {
        struct fm_external_estimate e = fm_external_estimate(&cases[i].lag, cases[i].age_ms);
        assert_int_equal(e.known, cases[i].e.known);
        assert_int_equal(e.has_bytes, cases[i].e.has_bytes);
        assert_int_equal(e.bytes, cases[i].e.bytes);
        assert_int_equal(e.ms, cases[i].e.ms);
        assert_int_equal(fm_external_lag_is_zero(&cases[i].lag), cases[i].zero);
    }
}

/* -------- a random life -------- */

/* What a careful reader of its orders knows, beside the machine. */
static struct {
    bool fenced, closed, zero; /* under this epoch; in this move */
    uint64_t epoch;
} seen;

static void turn_of_the_world(struct fm_rand *r)
{
    if (fm_rand_below(r, 32) == 0) {
        f.epoch.n++;
        f.forced = fm_rand_below(r, 2);
        f.handing = false;
        f.holds = fm_rand_below(r, 2);
        f.elsewhere = !f.holds && fm_rand_below(r, 8);
    }
    if (f.holds && fm_rand_below(r, 16) == 0)
        f.holds = f.handing = false;
    if (f.holds && fm_external_is_open(&f.recorded, f.epoch))
        f.handing |= fm_rand_below(r, 4) == 0;
    else if (fm_rand_below(r, 16) == 0)
        f.handing = false;
    f.handing &= f.holds;
    f.attested = false;
    if (seen.epoch != f.epoch.n)
        seen.fenced = false;
    if (seen.epoch != f.epoch.n || !f.handing)
        seen.closed = seen.zero = false;
    seen.epoch = f.epoch.n;
}

static struct fm_external_event what_happens(struct fm_rand *r)
{
    struct fm_external_event e = {.kind = FM_EXTERNAL_ON_LOOK};
    if (x.state == FM_EXTERNAL_IDLE || fm_rand_below(r, 2))
        return e;
    e.kind = fm_rand_below(r, 4) ? FM_EXTERNAL_ON_ENDED_WELL : FM_EXTERNAL_ON_ENDED_BADLY;
    e.status = (struct fm_external_status){.role = fm_rand_below(r, 2) ? FM_EXTERNAL_PRIMARY
                                                                       : FM_EXTERNAL_SECONDARY,
                                           .writable = fm_rand_below(r, 2),
                                           .healthy = true};
    e.lag = (struct fm_external_lag){.has_ms = true, .ms = (int64_t)fm_rand_below(r, 2)};
    f.busy = false;
    bool well = e.kind == FM_EXTERNAL_ON_ENDED_WELL, same = x.run.n == f.epoch.n;
    seen.fenced |= x.state == FM_EXTERNAL_FENCING && well && same;
    seen.closed |= x.state == FM_EXTERNAL_CLOSING && well && same && f.handing;
    if (x.state == FM_EXTERNAL_MEASURING && well)
        seen.zero = seen.closed && same && e.lag.ms == 0;
    return e;
}

static void judge(enum fm_external_action a)
{
    if (a == FM_EXTERNAL_DO_PROMOTE || a == FM_EXTERNAL_DO_FENCE)
        assert_true(f.holds && !f.handing && f.recorded.epoch.n == f.epoch.n);
    if (a == FM_EXTERNAL_DO_PROMOTE || a == FM_EXTERNAL_DO_NOTE_OPEN)
        assert_true(seen.fenced || !f.forced || f.recorded.stage != FM_EXTERNAL_AT_OPENING);
    if (a == FM_EXTERNAL_DO_CLOSE)
        assert_true(f.handing || f.elsewhere);
    if (fm_external_is_final(&x))
        assert_true(seen.closed && seen.zero);
}

static void carry_out(struct fm_rand *r, enum fm_external_action a)
{
    if (a == FM_EXTERNAL_DO_KILL)
        f.busy = false;
    else if (a >= FM_EXTERNAL_DO_STATUS && a <= FM_EXTERNAL_DO_PROMOTE)
        f.busy = true;
    if (a >= FM_EXTERNAL_DO_NOTE_OPENING && fm_rand_below(r, 2))
        recorded(a == FM_EXTERNAL_DO_NOTE_OPENING ? FM_EXTERNAL_AT_OPENING
                 : a == FM_EXTERNAL_DO_NOTE_OPEN  ? FM_EXTERNAL_AT_OPEN
                                                  : FM_EXTERNAL_AT_CLOSED);
}

static void data_came_from_where_they_were_opened_last(void **state)
{
    (void)state;
    struct fm_external_record r[3] = {{.stage = FM_EXTERNAL_AT_NONE}};
    assert_int_equal(fm_external_came_from(r, 3, 1, 7), FM_NO_REGION);
    assert_int_equal(fm_external_came_from(r, 3, 1, 6), 2); /* the only other one that may hold */
    assert_int_equal(fm_external_came_from(r, 3, 1, 2), FM_NO_REGION);
    r[0].epoch.n = 4;
    r[1].epoch.n = 9; /* itself */
    assert_int_equal(fm_external_came_from(r, 3, 1, 6), 0);
    r[2].epoch.n = 3;
    assert_int_equal(fm_external_came_from(r, 3, 1, 7), 0);
    r[2].epoch.n = 5;
    assert_int_equal(fm_external_came_from(r, 3, 1, 7), 2);
    assert_int_equal(fm_external_came_from(r, 2, 1, 7), 0);
}

static void a_random_life_takes_every_row_and_breaks_nothing(void **state)
{
    (void)state;
    struct fm_rand r = {11};
    unsigned states[FM_EXTERNAL_STATE_COUNT] = {0}, actions[FM_EXTERNAL_ACTION_COUNT] = {0};
    begin();
    for (unsigned i = 0; i < 400000; i++) {
        now = fm_mono_add_ms(now, fm_rand_below(&r, 2000));
        turn_of_the_world(&r);
        struct fm_external_event e = what_happens(&r);
        struct fm_external_verdict v = fm_external_step(&x, &p, &f, &e, now);
        judge(v.action);
        carry_out(&r, v.action);
        states[x.state]++;
        actions[v.action]++;
    }
    for (unsigned i = 0; i < FM_EXTERNAL_ACTION_COUNT; i++)
        assert_true(actions[i] > 100);
    for (unsigned i = 0; i < FM_EXTERNAL_STATE_COUNT; i++) {
        assert_true(states[i] > 100);
        assert_true(strlen(fm_external_state_name((enum fm_external_state)i)) > 0);
    }
    for (unsigned i = 0; i < FM_EXTERNAL_EVENT_COUNT; i++)
        assert_true(strlen(fm_external_event_name((enum fm_external_event_kind)i)) > 0);
    for (unsigned i = 0; i < fm_external_nrows; i++)
        assert_true(fm_external_rows[i].guard && strlen(fm_external_rows[i].comment) > 0);
}

FM_TEST_MAIN(fm_test(what_is_written_here_is_opened_without_a_change),
             fm_test(an_heir_looks_at_its_data_and_what_they_lack),
             fm_test(a_planned_move_closes_then_proves),
             fm_test(a_move_that_is_given_up_opens_again),
             fm_test(a_keeper_that_begins_after_read_only_opens_again),
             fm_test(what_came_by_force_is_fenced_first),
             fm_test(a_person_who_attests_stands_for_the_fence),
             fm_test(a_promotion_ends_with_the_right_to_write),
             fm_test(what_is_written_without_the_right_is_closed),
             fm_test(a_status_of_before_a_change_opens_nothing),
             fm_test(what_looks_and_hangs_holds_nobody_up), fm_test(an_estimate_grows_with_its_age),
             fm_test(data_came_from_where_they_were_opened_last),
             fm_test(a_random_life_takes_every_row_and_breaks_nothing))
