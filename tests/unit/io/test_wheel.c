/* The timing wheel against a naive model: a table of timers and when each is due. */
#include "test.h"

#include "base/rand.h"
#include "io/wheel.h"

#define TICK_NS (INT64_C(1) << FM_WHEEL_TICK_BITS)
#define DAY_NS  (86400 * FM_NS_PER_S)

enum { TIMERS = 64 };

struct model {
    struct fm_timer timer;
    bool set;
    struct fm_mono when;
    uint64_t due; /* the tick at which it has to fire */
    unsigned fired;
};

static struct fm_wheel wheel;
static struct model model[TIMERS];
static struct fm_rand rnd;
static struct fm_mono now;  /* of the advance that runs */
static uint64_t last_due;   /* of the timer that fired last in this advance */
static bool meddle;         /* callbacks set and cancel */
static unsigned long seed_; /* for messages */

static uint64_t tick_up(struct fm_mono t)
{
    return t.ns <= 0 ? 0 : ((uint64_t)t.ns + (uint64_t)TICK_NS - 1) / (uint64_t)TICK_NS;
}

static void set(struct model *m, struct fm_mono when)
{
    fm_wheel_set(&wheel, &m->timer, when);
    m->set = !fm_mono_is_never(when);
    m->when = when;
    m->due = tick_up(when) > wheel.now ? tick_up(when) : wheel.now + 1;
}

static void cancel(struct model *m)
{
    fm_wheel_cancel(&wheel, &m->timer);
    m->set = false;
}

static struct fm_mono random_time(void)
{
    static const int64_t scale[] = {TICK_NS,     FM_NS_PER_MS,      50 * FM_NS_PER_MS,
                                    FM_NS_PER_S, 100 * FM_NS_PER_S, 3600 * FM_NS_PER_S,
                                    5 * DAY_NS,  40 * DAY_NS};
    int64_t most = scale[fm_rand_below(&rnd, FM_COUNT(scale))];
    int64_t ns = (int64_t)(fm_rand_u64(&rnd) % (uint64_t)most);
    uint32_t special = fm_rand_below(&rnd, 40);
    if (special == 0)
        return FM_MONO_NEVER;
    if (special == 1)
        return (struct fm_mono){now.ns - ns}; /* in the past, perhaps before the boot */
    if (special == 2)
        return (struct fm_mono){(now.ns + ns) / TICK_NS * TICK_NS}; /* at the edge of a tick */
    return fm_mono_add_ns(now, ns);
}

static void meddle_with(struct model *self)
{
    struct model *other = &model[fm_rand_below(&rnd, TIMERS)];
    switch (fm_rand_below(&rnd, 6)) {
    case 0:
        cancel(other);
        break;
    case 1:
        set(other, random_time());
        break;
    case 2:
        set(self, random_time());
        break;
    case 3:
        cancel(self); /* it is not set any more: nothing happens */
        break;
    default:
        break;
    }
}

static void fired(struct fm_timer *t)
{
    struct model *m = fm_container_of(t, struct model, timer);
    if (!m->set || m->when.ns > now.ns || m->due < last_due || fm_timer_is_set(t))
        fail_msg("seed %lu: fired %s, due %lld, now %lld", seed_, m->set ? "early" : "twice",
                 (long long)m->when.ns, (long long)now.ns);
    last_due = m->due;
    m->set = false;
    m->fired++;
    if (meddle)
        meddle_with(m);
}

static void start(struct fm_mono at)
{
    now = at;
    fm_wheel_init(&wheel, at);
    memset(model, 0, sizeof model);
    for (size_t i = 0; i < TIMERS; i++)
        fm_timer_init(&model[i].timer, fired);
}

static void advance(struct fm_mono to)
{
    now = to;
    last_due = 0;
    fm_wheel_advance(&wheel, to);
}

/* Nothing that is due is left, and the wheel knows how many there are and when the next is. */
static void compare(void)
{
    size_t count = 0;
    uint64_t next = UINT64_MAX;
    for (size_t i = 0; i < TIMERS; i++) {
        const struct model *m = &model[i];
        assert_int_equal(fm_timer_is_set(&m->timer), m->set);
        if (!m->set)
            continue;
        count++;
        if (m->due < next)
            next = m->due;
        if (m->due <= (uint64_t)(now.ns / TICK_NS))
            fail_msg("seed %lu: late, due %lld, now %lld", seed_, (long long)m->when.ns,
                     (long long)now.ns);
    }
    assert_int_equal(wheel.count, count);
    struct fm_mono told = fm_wheel_next(&wheel);
    assert_int_equal(fm_mono_is_never(told), count == 0);
    if (count)
        assert_true((uint64_t)told.ns / (uint64_t)TICK_NS <= next && told.ns > now.ns - TICK_NS);
}

static void agrees_with_the_model(void **state)
{
    (void)state;
    for (seed_ = 1; seed_ <= 400; seed_++) {
        rnd = (struct fm_rand){seed_};
        meddle = seed_ % 2 == 0;
        start((struct fm_mono){(int64_t)(fm_rand_u64(&rnd) % (uint64_t)(100 * DAY_NS))});
        for (int step = 0; step < 200; step++) {
            struct model *m = &model[fm_rand_below(&rnd, TIMERS)];
            switch (fm_rand_below(&rnd, 4)) {
            case 0:
            case 1:
                set(m, random_time());
                break;
            case 2:
                cancel(m);
                break;
            default:
                advance(fm_mono_add_ns(
                    now, (int64_t)(fm_rand_u64(&rnd) % (uint64_t)(fm_rand_below(&rnd, 20)
                                                                      ? FM_NS_PER_S
                                                                      : 3600 * FM_NS_PER_S))));
                break;
            }
            compare();
        }
    }
}

/* As a loop does it that has nothing else to do: sleep until `next`, advance, a few times. */
static void next_leads_to_each_timer_in_time(void **state)
{
    (void)state;
    meddle = false;
    for (seed_ = 1; seed_ <= 2000; seed_++) {
        rnd = (struct fm_rand){seed_};
        start((struct fm_mono){(int64_t)(fm_rand_u64(&rnd) % (uint64_t)(100 * DAY_NS))});
        struct model *m = &model[0];
        set(m, fm_mono_add_ns(now, (int64_t)(fm_rand_u64(&rnd) % (uint64_t)(10 * DAY_NS))));
        int hops = 0;
        while (m->set) {
            struct fm_mono to = fm_wheel_next(&wheel);
            assert_true(to.ns > now.ns && hops++ < FM_WHEEL_LEVELS + 1);
            advance(to);
        }
        assert_in_range(now.ns - m->when.ns, 0, TICK_NS);
    }
}

static void a_timer_beyond_the_wheel_fires_in_its_time(void **state)
{
    (void)state;
    meddle = false;
    start((struct fm_mono){DAY_NS});
    set(&model[0], (struct fm_mono){41 * DAY_NS});
    set(&model[1], (struct fm_mono){INT64_MAX - 1});
    for (int day = 2; day <= 40; day++) {
        advance((struct fm_mono){day * DAY_NS});
        compare();
    }
    assert_int_equal(model[0].fired, 0);
    advance((struct fm_mono){41 * DAY_NS + TICK_NS});
    assert_int_equal(model[0].fired, 1);
    cancel(&model[1]);
    assert_int_equal(wheel.count, 0);
}

static void a_long_sleep_fires_all_in_order(void **state)
{
    (void)state;
    meddle = false;
    rnd = (struct fm_rand){7};
    start((struct fm_mono){DAY_NS});
    for (size_t i = 0; i < TIMERS; i++)
        set(&model[i], fm_mono_add_ns(now, (int64_t)(fm_rand_u64(&rnd) % (uint64_t)(9 * DAY_NS))));
    advance((struct fm_mono){10 * DAY_NS + TICK_NS}); /* `fired` looks at the order */
    for (size_t i = 0; i < TIMERS; i++)
        assert_int_equal(model[i].fired, 1);
}

static void each_edge_of_a_slot_is_exact(void **state)
{
    (void)state;
    meddle = false;
    static const int64_t edge[] = {1,     255,   256,           257,     65535,
                                   65536, 65537, (1 << 24) - 1, 1 << 24, (1 << 24) + 1};
    static const int64_t from[] = {0, 1, 254, 255, 256, 65535, (1 << 24) - 1};
    for (size_t f = 0; f < FM_COUNT(from); f++) {
        for (size_t i = 0; i < FM_COUNT(edge); i++) {
            start((struct fm_mono){from[f] * TICK_NS});
            set(&model[0], fm_mono_add_ns(now, edge[i] * TICK_NS));
            advance(fm_mono_add_ns(now, edge[i] * TICK_NS - 1));
            assert_int_equal(model[0].fired, 0);
            advance(fm_mono_add_ns(now, 1));
            assert_int_equal(model[0].fired, 1);
        }
    }
}

static void a_clock_that_stands_still_fires_nothing(void **state)
{
    (void)state;
    meddle = false;
    start((struct fm_mono){DAY_NS});
    set(&model[0], now);
    advance(now);
    assert_int_equal(model[0].fired, 0); /* at the next tick */
    advance(fm_mono_add_ns(now, TICK_NS));
    assert_int_equal(model[0].fired, 1);
    advance((struct fm_mono){0}); /* backwards: nothing */
    set(&model[0], (struct fm_mono){-5});
    advance(fm_mono_add_ns((struct fm_mono){DAY_NS}, 3 * TICK_NS));
    assert_int_equal(model[0].fired, 2);
}

FM_TEST_MAIN(fm_test(agrees_with_the_model), fm_test(next_leads_to_each_timer_in_time),
             fm_test(a_timer_beyond_the_wheel_fires_in_its_time),
             fm_test(a_long_sleep_fires_all_in_order), fm_test(each_edge_of_a_slot_is_exact),
             fm_test(a_clock_that_stands_still_fires_nothing))
