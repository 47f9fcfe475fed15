/* Telling a receiver what is newest: when. */
#include "test.h"

#include "core/telling.h"

static struct fm_telling t;
static struct fm_mono now;

static void begin(void)
{
    now = (struct fm_mono){1000 * FM_NS_PER_S};
    t = (struct fm_telling){0};
}

static enum fm_telling_now look(uint64_t hash)
{
    return fm_telling_look(&t, hash, now);
}

static void later(int64_t ms)
{
    now = fm_mono_add_ms(now, ms);
}

/* One try, which fails; the pause. */
static int64_t fails(uint64_t hash, uint64_t random)
{
    assert_int_equal(look(hash), FM_TELLING_TRY);
    fm_telling_begin(&t, now);
    return fm_telling_failed(&t, random, now);
}

static void what_was_acknowledged_is_not_told_again(void **state)
{
    (void)state;
    begin();
    assert_int_equal(look(0), FM_TELLING_TRY); /* a hash of 0 is one like others */
    assert_int_equal(look(7), FM_TELLING_TRY);
    fm_telling_begin(&t, now);
    assert_false(fm_telling_delivered(&t, 7));
    assert_int_equal(look(7), FM_TELLING_NOTHING);
    assert_int_equal(look(8), FM_TELLING_TRY);     /* news, at once */
    assert_int_equal(look(7), FM_TELLING_NOTHING); /* and taken back */
}

static void pauses_double_to_half_a_minute(void **state)
{
    (void)state;
    begin();
    int64_t pause = FM_TELLING_AGAIN_MS;
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(fails(7, 0), pause);
        later(pause - 1);
        assert_int_equal(look(7), FM_TELLING_WAIT);
        later(1);
        pause = pause < FM_TELLING_AGAIN_MAX_MS / 2 ? 2 * pause : FM_TELLING_AGAIN_MAX_MS;
    }
    assert_int_equal(look(7), FM_TELLING_TRY);
    fm_telling_begin(&t, now);
    assert_true(fm_telling_delivered(&t, 7));
    assert_int_equal(fails(8, 0), FM_TELLING_AGAIN_MS); /* as at first */
}

static void chance_takes_up_to_a_quarter(void **state)
{
    (void)state;
    for (uint64_t random = 0; random < 1000; random++) {
        begin();
        int64_t pause = fails(7, random * UINT64_C(0x9e3779b97f4a7c15));
        assert_in_range(pause, FM_TELLING_AGAIN_MS * 3 / 4, FM_TELLING_AGAIN_MS);
    }
    begin();
    assert_true(fails(7, UINT64_MAX) < FM_TELLING_AGAIN_MS);
}

static void news_shorten_a_pause_and_do_not_make_it_none(void **state)
{
    (void)state;
    begin();
    for (unsigned i = 0; i < 8; i++)
        later(fails(7, 0));
    (void)fails(7, 0);
    assert_int_equal(look(8), FM_TELLING_WAIT);
    assert_int_equal(fm_mono_sub_ms(t.not_before, now), FM_TELLING_NEWS_MS);
    later(FM_TELLING_NEWS_MS - 1);
    assert_int_equal(look(9), FM_TELLING_WAIT); /* news upon news */
    later(1);
    assert_int_equal(look(9), FM_TELLING_TRY);
    (void)fails(9, 0);
    later(FM_TELLING_NEWS_MS);
    assert_int_equal(look(9), FM_TELLING_WAIT); /* it is none any more */
}

static void begun_anew_its_failures_do_not_count(void **state)
{
    (void)state;
    begin();
    (void)fails(7, 0);
    assert_int_equal(look(7), FM_TELLING_WAIT);
    fm_telling_anew(&t);
    assert_int_equal(fails(7, 0), FM_TELLING_AGAIN_MS);
}

FM_TEST_MAIN(fm_test(what_was_acknowledged_is_not_told_again),
             fm_test(pauses_double_to_half_a_minute), fm_test(chance_takes_up_to_a_quarter),
             fm_test(news_shorten_a_pause_and_do_not_make_it_none),
             fm_test(begun_anew_its_failures_do_not_count))
