/* The failover machine: its table, its modes, and what stands against it. */
#include "test.h"

#include "base/rand.h"
#include "core/failover.h"

static struct fm_failover f;
static struct fm_failover_policy p;
static struct fm_failover_evidence ev;
static struct fm_mono now;

static void begin(enum fm_failover_mode mode)
{
    now = (struct fm_mono){FM_NS_PER_S};
    fm_failover_init(&f, now);
    p = (struct fm_failover_policy){
        .mode = mode, .grace_ms = 1000, .ask_after_ms = 5000, .soak_ms = 10000, .max_loss = 100};
    ev = (struct fm_failover_evidence){.heir = true,
                                       .observers = 3,
                                       .lost_by = 2,
                                       .domains = 3,
                                       .quorum = true,
                                       .ready = true,
                                       .capacity = true,
                                       .fenced = true,
                                       .budget_left = 1,
                                       .loss = 50,
                                       .window = true};
}

static struct fm_failover_verdict on(enum fm_failover_event_kind kind)
{
    struct fm_failover_event e = {
        .kind = kind, .ev = &ev, .quote = {ev.loss, false, fm_mono_add_ms(now, 5000)}};
    return fm_failover_step(&f, &p, &e, now);
}

static struct fm_failover_verdict after(int64_t ms)
{
    now = fm_mono_add_ms(now, ms);
    return on(FM_FAILOVER_ON_TICK);
}

static void prepare(void)
{
    after(0);
    assert_int_equal(after(1000).action, FM_FAILOVER_DO_START);
    assert_int_equal(on(FM_FAILOVER_ON_STARTED).to, FM_FAILOVER_PREPARED);
}

static void automatic_completes_when_all_is_clear(void **state)
{
    (void)state;
    begin(FM_MODE_AUTOMATIC);
    after(0);
    assert_int_equal(after(999).to, FM_FAILOVER_STEADY); /* grace */
    assert_int_equal(after(1).to, FM_FAILOVER_PREPARING);
    on(FM_FAILOVER_ON_STARTED);
    struct fm_failover_verdict v = after(1);
    assert_int_equal(v.action, FM_FAILOVER_DO_TAKE);
    assert_true(f.automatic);
    assert_int_equal(on(FM_FAILOVER_ON_TAKEN).to, FM_FAILOVER_FAILED_OVER);
}

static void whatever_is_missing_makes_automatic_ask(void **state)
{
    (void)state;
    struct {
        enum fm_failover_why why;
        size_t at;
        uint64_t value;
        unsigned size;
    } cases[] = {
#define CASE(WHY, field, v)                                                                        \
    {FM_FAILOVER_WHY_##WHY, offsetof(struct fm_failover_evidence, field), v, sizeof ev.field}
        CASE(NO_QUORUM, quorum, 0),  CASE(TWO_DOMAINS, domains, 2), CASE(NOT_READY, ready, 0),
        CASE(CAPACITY, capacity, 0), CASE(FENCES, fenced, 0),       CASE(LOSS, loss, 101),
        CASE(LOSS, unbounded, 1),    CASE(AT_MOST, budget_left, 0), CASE(PAUSED, paused, 1),
    };
    for (unsigned i = 0; i < FM_COUNT(cases); i++) {
        begin(FM_MODE_AUTOMATIC);
        struct fm_failover_evidence good = ev;
        memcpy((char *)&ev + cases[i].at, &cases[i].value, cases[i].size); /* little endian */
        prepare();
        struct fm_failover_verdict v = after(1);
        assert_int_equal(v.to, FM_FAILOVER_ASKING);
        assert_int_equal(v.action, FM_FAILOVER_DO_ASK);
        assert_int_equal(v.why, cases[i].why);
        assert_int_not_equal(after(3600 * 1000).to, FM_FAILOVER_COMPLETING); /* a timer only asks */
        ev = good;
        assert_int_equal(after(1).to, FM_FAILOVER_COMPLETING);
    }
}

static void one_observer_is_no_majority(void **state)
{
    (void)state;
    begin(FM_MODE_AUTOMATIC);
    ev.lost_by = 1;
    after(0);
    assert_int_equal(after(60000).to, FM_FAILOVER_STEADY);
}

/* It lives, everybody sees that it does, and two domains are enough: it let go itself. */
static void a_holder_that_gave_up_is_lost_whatever_is_seen_of_it(void **state)
{
    (void)state;
    begin(FM_MODE_AUTOMATIC);
    ev.lost_by = 0;
    ev.healthy_by = 3;
    ev.domains = 2;
    after(0);
    assert_int_equal(after(60000).to, FM_FAILOVER_STEADY);
    ev.yielded = true;
    assert_int_equal(after(1).to, FM_FAILOVER_PREPARING); /* grace has passed at the holder */
    on(FM_FAILOVER_ON_STARTED);
    assert_int_equal(after(1).to, FM_FAILOVER_COMPLETING);
    ev.yielded = false; /* it has taken it back */
    assert_int_equal(after(1).why, FM_FAILOVER_WHY_HEALTHY);
    begin(FM_MODE_AUTOMATIC);
    ev.yielded = true;
    ev.loss = 101;
    after(0);
    on(FM_FAILOVER_ON_STARTED);
    assert_int_equal(after(1).to,
                     FM_FAILOVER_ASKING); /* what may be lost is asked for all the same */
    begin(FM_MODE_ASSISTED);
    ev.yielded = true;
    after(0);
    on(FM_FAILOVER_ON_STARTED);
    assert_int_equal(after(1).to, FM_FAILOVER_ASKING);
    ev.domains = 2;
    ev.healthy_by = 3;
    assert_int_equal(on(FM_FAILOVER_ON_COMPLETE).to, FM_FAILOVER_COMPLETING);
}

/* Its cells went elsewhere before: there is nothing to be prepared, and nothing to be asked. */
static void what_holds_nothing_is_not_failed_over(void **state)
{
    (void)state;
    begin(FM_MODE_AUTOMATIC);
    ev.nothing = true;
    after(0);
    assert_int_equal(after(60000).to, FM_FAILOVER_STEADY);
    ev.yielded = true;
    assert_int_equal(after(1).to, FM_FAILOVER_STEADY);
    ev.nothing = false;
    assert_int_equal(after(1).to, FM_FAILOVER_PREPARING);
    on(FM_FAILOVER_ON_STARTED);
    ev.nothing = true;
    assert_int_equal(after(1).to, FM_FAILOVER_PREPARED);
}

static void from_preparing_to_completing_the_heir_is_prepared(void **state)
{
    (void)state;
    static const bool prepares[FM_FAILOVER_STATE_COUNT] = {[FM_FAILOVER_PREPARING] = true,
                                                           [FM_FAILOVER_PREPARED] = true,
                                                           [FM_FAILOVER_ASKING] = true,
                                                           [FM_FAILOVER_COMPLETING] = true};
    for (unsigned i = 0; i < FM_FAILOVER_STATE_COUNT; i++) {
        f.state = (uint8_t)i;
        assert_int_equal(fm_failover_prepares(&f), prepares[i]);
    }
}

static void a_holder_that_lives_is_asked_to_let_go_for_a_person_alone(void **state)
{
    (void)state;
    for (unsigned i = 0; i < FM_FAILOVER_STATE_COUNT; i++) {
        f.state = (uint8_t)i;
        f.automatic = true;
        assert_false(fm_failover_asks_holder(&f));
        f.automatic = false;
        assert_int_equal(fm_failover_asks_holder(&f), i == FM_FAILOVER_COMPLETING);
    }
}

static void assisted_asks_and_asks_again_and_never_consents(void **state)
{
    (void)state;
    begin(FM_MODE_ASSISTED);
    prepare();
    assert_int_equal(after(1).action, FM_FAILOVER_DO_ASK);
    unsigned asked = 0;
    for (unsigned i = 0; i < 100; i++) {
        struct fm_failover_verdict v = after(1000);
        asked += v.action == FM_FAILOVER_DO_ASK;
        assert_int_equal(f.state, FM_FAILOVER_ASKING);
    }
    assert_int_equal(asked, 20);
    assert_int_equal(on(FM_FAILOVER_ON_COMPLETE).action, FM_FAILOVER_DO_TAKE);
    assert_false(f.automatic);
}

static void manual_waits_for_a_person(void **state)
{
    (void)state;
    begin(FM_MODE_MANUAL);
    after(0);
    assert_int_equal(after(60000).to, FM_FAILOVER_STEADY);
    assert_int_equal(on(FM_FAILOVER_ON_PREPARE).action, FM_FAILOVER_DO_START);
    on(FM_FAILOVER_ON_STARTED);
    assert_int_equal(on(FM_FAILOVER_ON_STAND_DOWN).action, FM_FAILOVER_DO_STOP);
}

static struct fm_failover_verdict complete(uint64_t quoted, int64_t valid_ms, bool glass)
{
    struct fm_failover_event e = {.kind = FM_FAILOVER_ON_COMPLETE,
                                  .ev = &ev,
                                  .quote = {quoted, false, fm_mono_add_ms(now, valid_ms)},
                                  .break_glass = glass};
    return fm_failover_step(&f, &p, &e, now);
}

static void a_quote_that_has_become_worse_is_void(void **state)
{
    (void)state;
    begin(FM_MODE_ASSISTED);
    prepare();
    struct fm_failover_verdict v = complete(49, 5000, false);
    assert_true(v.refused);
    assert_int_equal(v.why, FM_FAILOVER_WHY_QUOTE);
    assert_true(complete(50, 0, false).refused);
    ev.unbounded = true;
    assert_true(complete(50, 5000, false).refused);
    ev.unbounded = false;
    assert_int_equal(complete(50, 5000, false).to, FM_FAILOVER_COMPLETING);
}

static void the_health_gate_refuses_and_glass_breaks_it(void **state)
{
    (void)state;
    begin(FM_MODE_ASSISTED);
    on(FM_FAILOVER_ON_PREPARE);
    on(FM_FAILOVER_ON_STARTED);
    ev.healthy_by = 2;
    ev.lost_by = 0;
    assert_int_equal(complete(50, 5000, false).why, FM_FAILOVER_WHY_HEALTHY);
    assert_int_equal(f.state, FM_FAILOVER_PREPARED);
    assert_int_equal(complete(50, 5000, true).to, FM_FAILOVER_COMPLETING);
    assert_int_equal(after(1).to, FM_FAILOVER_COMPLETING);
    begin(FM_MODE_AUTOMATIC);
    prepare();
    after(1);
    ev.healthy_by = 2;
    ev.lost_by = 0;
    struct fm_failover_verdict v = after(1); /* it is looked at again before anything is taken */
    assert_int_equal(v.action, FM_FAILOVER_DO_DESIST);
    assert_int_equal(after(1).to, FM_FAILOVER_STEADY);
}

static void with_two_domains_a_person_attests(void **state)
{
    (void)state;
    begin(FM_MODE_ASSISTED);
    ev.domains = 2;
    prepare();
    assert_int_equal(complete(50, 5000, false).why, FM_FAILOVER_WHY_TWO_DOMAINS);
    ev.attested = true;
    assert_int_equal(complete(50, 5000, false).to, FM_FAILOVER_COMPLETING);
}

static void failback_waits_for_soak_window_and_lag(void **state)
{
    (void)state;
    begin(FM_MODE_AUTOMATIC);
    prepare();
    after(1);
    on(FM_FAILOVER_ON_TAKEN);
    ev.lost_by = 0;
    ev.home_well = true;
    after(0);
    assert_int_equal(on(FM_FAILOVER_ON_FAILBACK).why, FM_FAILOVER_WHY_SOAK);
    after(10000);
    assert_int_equal(f.state, FM_FAILOVER_FAILED_OVER); /* never by itself unless told so */
    ev.lag = 1;
    assert_int_equal(on(FM_FAILOVER_ON_FAILBACK).why, FM_FAILOVER_WHY_LAG);
    ev.lag = 0;
    ev.window = false;
    assert_int_equal(on(FM_FAILOVER_ON_FAILBACK).why, FM_FAILOVER_WHY_WINDOW);
    ev.window = true;
    assert_int_equal(on(FM_FAILOVER_ON_FAILBACK).action, FM_FAILOVER_DO_MOVE_HOME);
    assert_int_equal(on(FM_FAILOVER_ON_BREACH).action, FM_FAILOVER_DO_MOVE_BACK);
    p.failback_automatic = true;
    assert_int_equal(after(1).to, FM_FAILOVER_FAILED_OVER); /* what went wrong is soaked anew */
    struct fm_failover_verdict v = after(10000);
    assert_int_equal(v.to, FM_FAILOVER_FAILING_BACK);
    assert_int_equal(v.why, FM_FAILOVER_WHY_POLICY);
    assert_int_equal(on(FM_FAILOVER_ON_RETURNED).to, FM_FAILOVER_STEADY);
}

static struct fm_failover_home home(void)
{
    return fm_failover_home(&f, &p, &ev, now);
}

/* A dry run and the order are answered by the same rows, and nothing but the order changes. */
static void what_a_failback_would_be_answered_is_what_it_is_answered(void **state)
{
    (void)state;
    struct fm_rand d = {7};
    for (unsigned round = 0; round < 2000; round++) {
        begin(FM_MODE_AUTOMATIC);
        on(fm_rand_below(&d, 2) ? FM_FAILOVER_ON_FOUND : FM_FAILOVER_ON_PREPARE);
        ev.home_well = true;
        after(0);
        ev.lost_by = (uint8_t)fm_rand_below(&d, 4);
        ev.home_well = fm_rand_below(&d, 4) > 0;
        ev.window = fm_rand_below(&d, 4) > 0;
        ev.lag = fm_rand_below(&d, 4) == 0;
        now = fm_mono_add_ms(now, 9990 + (int64_t)fm_rand_below(&d, 20));
        struct fm_failover was = f;
        struct fm_failover_home h = home();
        assert_memory_equal(&was, &f, sizeof f);
        struct fm_failover_verdict v = on(FM_FAILOVER_ON_FAILBACK);
        assert_int_equal(h.verdict.refused, v.refused);
        assert_int_equal(h.verdict.why, v.why);
        if (was.state == FM_FAILOVER_FAILED_OVER)
            assert_int_equal(h.lags || h.ill || h.unsoaked || h.shut, v.refused);
        if (!v.refused) {
            assert_false(home().verdict.refused); /* it is under way */
        }
    }
}

static void what_a_failback_waits_for_has_numbers(void **state)
{
    (void)state;
    begin(FM_MODE_AUTOMATIC);
    on(FM_FAILOVER_ON_FOUND);
    ev.lag = UINT64_MAX; /* nothing is heard of its data either */
    struct fm_failover_home h = home();
    assert_int_equal(h.verdict.why, FM_FAILOVER_WHY_ILL);
    assert_true(h.lags && h.ill && h.unsoaked && !h.shut);
    assert_true(h.well_ms == 0 && h.left_ms == 10000);
    ev.lost_by = 0;
    assert_int_equal(home().verdict.why, FM_FAILOVER_WHY_LAG);
    ev.lag = 0;
    assert_int_equal(home().verdict.why, FM_FAILOVER_WHY_ILL);
    ev.home_well = true;
    after(0);
    now = fm_mono_add_ms(now, 4000);
    h = home();
    assert_int_equal(h.verdict.why, FM_FAILOVER_WHY_SOAK);
    assert_true(!h.lags && !h.ill && h.unsoaked);
    assert_true(h.well_ms == 4000 && h.left_ms == 6000);
    now = fm_mono_add_ms(now, 6000);
    h = home();
    assert_true(!h.verdict.refused && h.left_ms == 0);
    ev.window = false;
    assert_int_equal(home().verdict.why, FM_FAILOVER_WHY_WINDOW);
    p.soak_ms = 0; /* it may be so, and home has to be well all the same */
    ev.home_well = false;
    assert_int_equal(home().verdict.why, FM_FAILOVER_WHY_ILL);
}

static void what_a_keeper_before_has_done_is_gone_on_with(void **state)
{
    (void)state;
    begin(FM_MODE_AUTOMATIC);
    ev.lost_by = 0;
    ev.home_well = true;
    assert_int_equal(on(FM_FAILOVER_ON_FOUND).to, FM_FAILOVER_FAILED_OVER); /* by force */
    assert_int_equal(on(FM_FAILOVER_ON_RETURNED).to, FM_FAILOVER_STEADY);
    /* moved away as planned: it returns when a person says so, and under the same conditions */
    after(0);
    assert_int_equal(on(FM_FAILOVER_ON_FAILBACK).why, FM_FAILOVER_WHY_SOAK);
    p.failback_automatic = true;
    after(10000);
    assert_int_equal(f.state, FM_FAILOVER_STEADY);
    assert_int_equal(on(FM_FAILOVER_ON_FAILBACK).to, FM_FAILOVER_FAILING_BACK);
}

/* An order is looked at more than once: its end may not have been written the first time. */
static void an_order_to_prepare_never_completes(void **state)
{
    (void)state;
    begin(FM_MODE_MANUAL);
    ev.lost_by = 2;
    ev.healthy_by = 0;
    assert_int_equal(fm_failover_towards(&f, FM_FAILOVER_TO_PREPARE), FM_FAILOVER_ON_PREPARE);
    assert_int_equal(fm_failover_towards(&f, FM_FAILOVER_TO_COMPLETE), FM_FAILOVER_ON_PREPARE);
    on(FM_FAILOVER_ON_PREPARE);
    assert_int_equal(fm_failover_towards(&f, FM_FAILOVER_TO_PREPARE), FM_FAILOVER_ON_TICK);
    assert_int_equal(fm_failover_towards(&f, FM_FAILOVER_TO_COMPLETE), FM_FAILOVER_ON_TICK);
    on(FM_FAILOVER_ON_STARTED);
    assert_int_equal(f.state, FM_FAILOVER_PREPARED);
    assert_int_equal(fm_failover_towards(&f, FM_FAILOVER_TO_PREPARE), FM_FAILOVER_EVENT_COUNT);
    assert_int_equal(fm_failover_towards(&f, FM_FAILOVER_TO_COMPLETE), FM_FAILOVER_ON_COMPLETE);
    assert_int_equal(fm_failover_towards(&f, FM_FAILOVER_TO_STAND_DOWN), FM_FAILOVER_ON_STAND_DOWN);
}

static void a_standby_that_does_not_start_asks_and_is_tried_again(void **state)
{
    (void)state;
    begin(FM_MODE_ASSISTED);
    after(0);
    after(1000);
    struct fm_failover_verdict v = on(FM_FAILOVER_ON_START_FAILED);
    assert_int_equal(v.action, FM_FAILOVER_DO_ASK);
    assert_int_equal(v.why, FM_FAILOVER_WHY_NOT_READY);
    assert_true(f.fell_back);
    ev.ready = false;
    assert_int_equal(on(FM_FAILOVER_ON_COMPLETE).why, FM_FAILOVER_WHY_NOT_READY);
    assert_int_equal(fm_failover_towards(&f, FM_FAILOVER_TO_PREPARE), FM_FAILOVER_ON_PREPARE);
    assert_int_equal(on(FM_FAILOVER_ON_PREPARE).action, FM_FAILOVER_DO_START);
    assert_false(f.fell_back);
    ev.ready = true;
    on(FM_FAILOVER_ON_STARTED);
    after(1);
    assert_int_equal(f.state, FM_FAILOVER_ASKING); /* for consent: that is no failure */
    assert_false(f.fell_back);
    assert_int_equal(fm_failover_towards(&f, FM_FAILOVER_TO_PREPARE), FM_FAILOVER_EVENT_COUNT);
}

/* The holder was not lost: it has nothing to come back from. */
static void what_a_person_prepares_while_all_is_well_waits_for_that_person(void **state)
{
    (void)state;
    begin(FM_MODE_ASSISTED);
    ev.lost_by = 0;
    ev.healthy_by = 3;
    on(FM_FAILOVER_ON_PREPARE);
    on(FM_FAILOVER_ON_STARTED);
    after(60000);
    assert_int_equal(f.state, FM_FAILOVER_PREPARED);
    ev.lost_by = 2; /* an outage comes, and goes */
    ev.healthy_by = 0;
    after(1000);
    ev.lost_by = 0;
    ev.healthy_by = 3;
    assert_int_equal(after(1000).action, FM_FAILOVER_DO_STOP);
    assert_int_equal(f.state, FM_FAILOVER_STEADY);
}

static void what_a_person_stands_down_is_not_prepared_again_in_the_same_outage(void **state)
{
    (void)state;
    begin(FM_MODE_AUTOMATIC);
    prepare();
    assert_int_equal(on(FM_FAILOVER_ON_STAND_DOWN).action, FM_FAILOVER_DO_STOP);
    assert_false(fm_failover_is_idle(&f));
    after(60000);
    assert_int_equal(f.state, FM_FAILOVER_STEADY);
    ev.lost_by = 0; /* it is heard, and not well */
    after(1);
    assert_false(fm_failover_is_idle(&f));
    ev.lost_by = 2;
    after(60000);
    assert_int_equal(f.state, FM_FAILOVER_STEADY);
    ev.lost_by = 0;
    ev.healthy_by = 3;
    after(1);
    assert_true(fm_failover_is_idle(&f));
    ev.lost_by = 2;
    ev.healthy_by = 0;
    prepare(); /* the next one */
}

/* The grace of an outage begins with that outage. */
static void a_short_outage_is_forgotten(void **state)
{
    (void)state;
    begin(FM_MODE_AUTOMATIC);
    after(0);
    assert_false(fm_failover_is_idle(&f));
    ev.lost_by = 0;
    after(500);
    assert_true(fm_failover_is_idle(&f));
    ev.lost_by = 2;
    after(60000);
    assert_int_equal(after(999).to, FM_FAILOVER_STEADY);
    assert_int_equal(after(1).to, FM_FAILOVER_PREPARING);
}

/* While the cells are being acquired the holder may go on without who bounded its loss. */
static void a_loss_that_becomes_worse_on_the_way_is_asked_for_again(void **state)
{
    (void)state;
    begin(FM_MODE_AUTOMATIC);
    prepare();
    assert_int_equal(after(1).to, FM_FAILOVER_COMPLETING);
    ev.loss = 100; /* still within max-loss */
    assert_int_equal(after(1).to, FM_FAILOVER_COMPLETING);
    ev.unbounded = true;
    struct fm_failover_verdict v = after(1);
    assert_int_equal(v.to, FM_FAILOVER_ASKING);
    assert_int_equal(v.action, FM_FAILOVER_DO_DESIST);
    assert_int_equal(v.why, FM_FAILOVER_WHY_LOSS);
    assert_true(f.fell_back);
    for (unsigned accepted = 0; accepted < 2; accepted++) {
        begin(FM_MODE_ASSISTED);
        prepare();
        after(1);
        ev.unbounded = accepted;
        struct fm_failover_event e = {.kind = FM_FAILOVER_ON_COMPLETE,
                                      .ev = &ev,
                                      .quote = {50, accepted, fm_mono_add_ms(now, 1)}};
        assert_int_equal(fm_failover_step(&f, &p, &e, now).to, FM_FAILOVER_COMPLETING);
        assert_int_equal(after(5000).to, FM_FAILOVER_COMPLETING); /* it was valid when it began */
        ev.loss = 51;
        v = after(1);
        assert_int_equal(v.to, accepted ? FM_FAILOVER_COMPLETING : FM_FAILOVER_ASKING);
        if (!accepted)
            assert_int_equal(v.why, FM_FAILOVER_WHY_QUOTE);
    }
}

static void what_was_moved_by_other_means_is_not_asked_for(void **state)
{
    static const enum fm_failover_state states[] = {FM_FAILOVER_PREPARING, FM_FAILOVER_PREPARED,
                                                    FM_FAILOVER_ASKING};
    (void)state;
    for (unsigned i = 0; i < FM_COUNT(states); i++) {
        begin(FM_MODE_ASSISTED);
        on(FM_FAILOVER_ON_PREPARE);
        if (i)
            on(FM_FAILOVER_ON_STARTED);
        if (i > 1)
            after(1000), after(1000);
        assert_int_equal(f.state, states[i]);
        assert_int_equal(on(FM_FAILOVER_ON_TAKEN).to, FM_FAILOVER_FAILED_OVER);
        assert_int_equal(on(FM_FAILOVER_ON_RETURNED).action, FM_FAILOVER_DO_STOP);
    }
}

static void every_state_is_reached_and_left_and_every_row_fires(void **state)
{
    (void)state;
    bool in[FM_FAILOVER_STATE_COUNT] = {false}, out[FM_FAILOVER_STATE_COUNT] = {false};
    for (unsigned i = 0; i < fm_failover_nrows; i++) {
        const struct fm_failover_row *r = &fm_failover_rows[i];
        assert_true(r->from < FM_FAILOVER_STATE_COUNT && r->to < FM_FAILOVER_STATE_COUNT);
        assert_true(strlen(r->comment) > 0 && r->guard);
        in[r->to] |= r->from != r->to;
        out[r->from] |= r->from != r->to;
    }
    for (unsigned i = 0; i < FM_FAILOVER_STATE_COUNT; i++) {
        assert_true(in[i] && out[i]);
        assert_true(strlen(fm_failover_state_name((enum fm_failover_state)i)) > 0);
    }
    /* a random life: the machine is total, and COMPLETING has a reason */
    struct fm_rand r = {5};
    unsigned seen[FM_FAILOVER_STATE_COUNT] = {0};
    begin(FM_MODE_AUTOMATIC);
    for (unsigned i = 0; i < 200000; i++) {
        now = fm_mono_add_ms(now, fm_rand_below(&r, 2000));
        p.mode = (uint8_t)fm_rand_below(&r, 3);
        f.automatic &= p.mode == FM_MODE_AUTOMATIC;
        ev.lost_by = (uint8_t)fm_rand_below(&r, 4);
        ev.healthy_by = (uint8_t)(fm_rand_below(&r, 4 - ev.lost_by));
        ev.fenced = fm_rand_below(&r, 2);
        ev.home_well = fm_rand_below(&r, 8) != 0;
        ev.lag = fm_rand_below(&r, 2);
        uint8_t was = f.state;
        on((enum fm_failover_event_kind)fm_rand_below(&r, FM_FAILOVER_EVENT_COUNT));
        if (was != f.state && f.state == FM_FAILOVER_COMPLETING && f.automatic)
            assert_true(2 * ev.lost_by > ev.observers && ev.fenced);
        seen[f.state]++;
    }
    for (unsigned i = 0; i < FM_FAILOVER_STATE_COUNT; i++)
        assert_true(seen[i] > 0);
    for (unsigned i = 0; i < FM_FAILOVER_EVENT_COUNT; i++)
        assert_true(strlen(fm_failover_event_name((enum fm_failover_event_kind)i)) > 0);
    for (unsigned i = 1; i < FM_FAILOVER_WHY_COUNT; i++) {
        assert_true(strlen(fm_failover_why_name((enum fm_failover_why)i)) > 0);
        assert_true(strlen(fm_failover_why_text((enum fm_failover_why)i)) > 0);
    }
}

FM_TEST_MAIN(fm_test(automatic_completes_when_all_is_clear),
             fm_test(whatever_is_missing_makes_automatic_ask), fm_test(one_observer_is_no_majority),
             fm_test(a_holder_that_gave_up_is_lost_whatever_is_seen_of_it),
             fm_test(what_holds_nothing_is_not_failed_over),
             fm_test(from_preparing_to_completing_the_heir_is_prepared),
             fm_test(a_holder_that_lives_is_asked_to_let_go_for_a_person_alone),
             fm_test(assisted_asks_and_asks_again_and_never_consents),
             fm_test(manual_waits_for_a_person), fm_test(a_quote_that_has_become_worse_is_void),
             fm_test(a_loss_that_becomes_worse_on_the_way_is_asked_for_again),
             fm_test(the_health_gate_refuses_and_glass_breaks_it),
             fm_test(with_two_domains_a_person_attests),
             fm_test(failback_waits_for_soak_window_and_lag),
             fm_test(what_a_failback_would_be_answered_is_what_it_is_answered),
             fm_test(what_a_failback_waits_for_has_numbers),
             fm_test(an_order_to_prepare_never_completes),
             fm_test(what_a_keeper_before_has_done_is_gone_on_with),
             fm_test(a_standby_that_does_not_start_asks_and_is_tried_again),
             fm_test(what_a_person_prepares_while_all_is_well_waits_for_that_person),
             fm_test(what_a_person_stands_down_is_not_prepared_again_in_the_same_outage),
             fm_test(a_short_outage_is_forgotten),
             fm_test(what_was_moved_by_other_means_is_not_asked_for),
             fm_test(every_state_is_reached_and_left_and_every_row_fires))
