/* A bound of the loss in time: what is older than it stops grants. Node 0 is the primary. */
#include "credit_scene.h"

static void begin_with(uint64_t bytes, int64_t time_ms, enum fm_credit_beyond beyond,
                       uint32_t nodes)
{
    const struct fm_credit_policy p = {.bytes = bytes,
                                       .time_ms = time_ms,
                                       .beyond = (uint8_t)beyond,
                                       .patience_ms = PATIENCE,
                                       .able = ONE | TWO};
    begin_as(&p, nodes);
}

static void what_is_older_than_the_time_stops_it(void **state)
{
    (void)state;
    begin_with(CREDIT, 1000, FM_CREDIT_BLOCKS, ONE | TWO);
    flushed(1, 0);
    flushed(2, 0);
    assert_int_equal(grant(), 0); /* nothing ahead of what is written */
    later(5000);
    assert_int_equal(grant(), 0); /* ... and nothing is missing, however long nobody writes */
    written(100);
    assert_int_equal(grant(), 100);
    flushed(1, 100);
    later(900);
    written(200);
    assert_int_equal(grant(), 200);
    later(100); /* the second one lacks what was written a second ago */
    written(300);
    assert_int_equal(grant(), 200);
    later(5000);
    written(400);
    flushed(1, 400);
    assert_int_equal(grant(), 200);
    assert_true(fm_credit_look(&c, now).used_up);
    assert_int_equal(fm_credit_look(&c, now).node, 2);
    flushed(2, 200); /* and what it lacks now was written five seconds ago */
    assert_int_equal(grant(), 200);
    flushed(2, 400);
    assert_int_equal(grant(), 400);
    check_bound(FM_CREDIT_ENFORCED, 0);
}

static void the_bytes_count_beside_the_time(void **state)
{
    (void)state;
    begin_with(CREDIT, 1000, FM_CREDIT_LEAVES, ONE);
    flushed(1, 0);
    grant();
    written(3 * CREDIT);
    assert_int_equal(grant(), CREDIT);
    check_bound(FM_CREDIT_ENFORCED, CREDIT);
    later(PATIENCE);
    assert_true(fm_credit_look(&c, now).used_up);
    assert_int_equal(wanted(), 0);
    record(0);
    assert_int_equal(grant(), 3 * CREDIT + FM_CREDIT_WINDOW); /* nobody counts */
    flushed(1, 3 * CREDIT);
    assert_int_equal(wanted(), 0); /* what it lacks may be of any age */
    written(3 * CREDIT + FM_CREDIT_WINDOW);
    flushed(1, 3 * CREDIT + FM_CREDIT_WINDOW);
    assert_int_equal(wanted(), ONE);
    record(ONE);
    written(4 * CREDIT + FM_CREDIT_WINDOW);
    assert_int_equal(grant(), 4 * CREDIT + FM_CREDIT_WINDOW);
}

/* A reader of its grants keeps all that was written with when; nothing older than the time, and a
 * sixteenth of it for the marks, is missing where a grant grows. */
static void a_walk_in_time_never_lies(void **state)
{
    enum { STEPS = 20000, TIME = 800 };
    static struct {
        int64_t at_ms;
        uint64_t end;
    } log[STEPS];
    struct fm_mono begun;
    uint64_t end = 0, flush = 0, granted = 0;
    unsigned n = 0, stopped = 0, grew = 0, seed = 5;
    (void)state;
    begin_with(CREDIT * 1000, TIME, FM_CREDIT_BLOCKS, ONE);
    begun = now;
    flushed(1, 0);
    for (unsigned i = 0; i < STEPS; i++) {
        seed = seed * 1103515245u + 12345u;
        later(seed >> 16 & 31);
        if (seed >> 21 & 1) {
            end += 10 + (seed >> 8 & 63);
            written(end);
            log[n].at_ms = fm_mono_sub_ms(now, begun);
            log[n++].end = end;
        }
        bool stands = (i / 100) % 3 == 0; /* it stands still now and then */
        if (!stands && seed >> 22 & 1) {
            uint64_t lacks = end - flush;
            flush += lacks > 50 ? lacks / 2 : lacks;
            flushed(1, flush);
        }
        uint64_t to = grant();
        assert_true(to >= granted && to <= end);
        stopped += to < end;
        if (to > granted) {
            unsigned first = 0;
            while (first < n && log[first].end <= flush)
                first++;
            if (first < n) /* the oldest that is missing */
                assert_true(fm_mono_sub_ms(now, begun) - log[first].at_ms <= TIME);
            grew++;
        }
        granted = to;
    }
    assert_true(stopped > 100 && grew > 1000);
}

FM_TEST_MAIN(fm_test(what_is_older_than_the_time_stops_it),
             fm_test(the_bytes_count_beside_the_time), fm_test(a_walk_in_time_never_lies))
