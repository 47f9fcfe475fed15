/* The journal through its public calls: what is known of a key, across restarts, at its bounds. */
#include "desk.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver.h"

static struct desk desk;

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    desk_open(&desk, NULL);
    desk_start(&desk);
    return rc;
}

static int teardown(void **state)
{
    desk_close(&desk);
    return fm_test_fds_after(state);
}

/* -------- keys -------- */

static void a_command_is_recorded_once_and_then_answered_from_the_record(void **state)
{
    (void)state;
    uint64_t seq, again;
    assert_situation(desk_begin(&desk, "k1", "POST /a", &seq), FM_IDEM_FIRST);
    assert_true(seq > 0);
    assert_situation(desk_begin(&desk, "k1", "POST /a", &again), FM_IDEM_UNDER_WAY);
    assert_int_equal(again, seq);
    assert_situation(desk_begin(&desk, "k1", "POST /b", NULL), FM_IDEM_OTHER_REQUEST);
    assert_int_equal(desk_done(&desk, seq, 201, "made"), FM_ERR_OK);
    desk_replays(&desk, "k1", "POST /a", 201, "made");
    desk_replays(&desk, "k1", "POST /a", 201, "made");
    assert_situation(desk_begin(&desk, "k1", "POST /b", NULL), FM_IDEM_OTHER_REQUEST);
}

static void keys_of_two_contexts_have_nothing_to_do_with_each_other(void **state)
{
    (void)state;
    desk_whole(&desk, "k", 200, "ledger");
    struct fm_journal_call c = desk_command(&desk, "k", "other");
    c.command.context = FM_STR("cards");
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_situation(c.decision, FM_IDEM_FIRST);
    c = desk_command(&desk, "erk", "other"); /* the same letters, cut elsewhere */
    c.command.context = FM_STR("ledg");
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_situation(c.decision, FM_IDEM_FIRST);
}

static void what_needs_no_journal_is_decided_at_once(void **state)
{
    (void)state;
    struct fm_journal_call c = desk_command(&desk, "", "r");
    assert_int_equal(fm_journal_submit(desk.j, &c), FM_ERR_INVALID);
    assert_situation(c.decision, FM_IDEM_KEY_MISSING);
    c.command.facts.need = FM_IDEM_OPTIONAL;
    assert_int_equal(fm_journal_submit(desk.j, &c), FM_ERR_INVALID);
    assert_int_equal(c.decision.action, FM_IDEM_FORWARD);
    c.command.facts.key = FM_STR("a\nb");
    assert_int_equal(fm_journal_submit(desk.j, &c), FM_ERR_INVALID);
    assert_situation(c.decision, FM_IDEM_KEY_INVALID);
    assert_false(c.busy);
}

static void a_key_that_another_epoch_tried_first_is_refused_unless_the_app_knows(void **state)
{
    (void)state;
    struct fm_journal_call c = desk_command(&desk, "k", "r");
    c.command.facts.first_epoch = 6;
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_situation(c.decision, FM_IDEM_FIRST_ELSEWHERE);
    assert_int_equal(c.seq, 0);
    c.command.facts.by = FM_IDEM_BY_APP;
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_int_equal(c.decision.action, FM_IDEM_RECORD);
    assert_int_equal(desk_done(&desk, c.seq, 200, "x"), FM_ERR_OK);
    c.command.facts.by = FM_IDEM_BY_GATE; /* now it is in the journal */
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_situation(c.decision, FM_IDEM_ANSWERED);
    fm_journal_forget(&c);
}

/* -------- outcomes -------- */

static void an_unknown_outcome_may_turn_out_but_a_known_one_stays(void **state)
{
    (void)state;
    uint64_t seq;
    desk_begin(&desk, "k", "r", &seq);
    assert_int_equal(desk_unknown(&desk, seq), FM_ERR_OK);
    assert_situation(desk_begin(&desk, "k", "r", NULL), FM_IDEM_LOST);
    assert_int_equal(desk_unknown(&desk, seq), FM_ERR_EXISTS);
    assert_int_equal(desk_done(&desk, seq, 200, "late"), FM_ERR_OK);
    desk_replays(&desk, "k", "r", 200, "late");
    assert_int_equal(desk_done(&desk, seq, 500, "later"), FM_ERR_EXISTS);
    assert_int_equal(desk_unknown(&desk, seq), FM_ERR_EXISTS);
    desk_replays(&desk, "k", "r", 200, "late");
    assert_int_equal(desk_done(&desk, seq + 1000, 200, "whose?"), FM_ERR_NOT_FOUND);
}

static void an_app_that_stops_doubles_gets_a_lost_command_again(void **state)
{
    (void)state;
    struct fm_journal_call c = desk_command(&desk, "k", "r");
    c.command.facts.by = FM_IDEM_BY_APP;
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    uint64_t seq = c.seq;
    assert_int_equal(desk_unknown(&desk, seq), FM_ERR_OK);
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_int_equal(c.decision.action, FM_IDEM_FORWARD_AGAIN);
    assert_int_equal(c.seq, seq);
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_situation(c.decision, FM_IDEM_UNDER_WAY); /* one at a time */
    desk_restart(&desk);
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_situation(c.decision, FM_IDEM_LOST);
    assert_int_equal(desk_done(&desk, seq, 200, "at last"), FM_ERR_OK);
    desk_replays(&desk, "k", "r", 200, "at last");
}

static void an_answer_that_is_too_long_is_known_but_not_kept(void **state)
{
    (void)state;
    char body[4096];
    memset(body, 'b', sizeof body - 1);
    body[sizeof body - 1] = 0;
    body[4096 - 6] = 0; /* with its head exactly at the bound */
    desk_whole(&desk, "fits", 200, body);
    desk_replays(&desk, "fits", "fits", 200, body);
    body[4096 - 6] = 'b';
    uint64_t seq = desk_whole(&desk, "long", 200, body);
    struct fm_journal_call c = desk_command(&desk, "long", "long");
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_situation(c.decision, FM_IDEM_ANSWER_GONE);
    assert_int_equal(c.decision.status, 409);
    c.command.facts.by = FM_IDEM_BY_APP;
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_int_equal(c.decision.action, FM_IDEM_FORWARD_AGAIN);
    assert_int_equal(c.seq, seq);
    desk_restart(&desk); /* it was done, and stays so */
    c.command.facts.by = FM_IDEM_BY_GATE;
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_situation(c.decision, FM_IDEM_ANSWER_GONE);
}

/* -------- restarts -------- */

static void what_was_in_flight_is_unknown_after_a_restart(void **state)
{
    (void)state;
    uint64_t seq;
    desk_whole(&desk, "done", 200, "x");
    desk_begin(&desk, "open", "r", &seq);
    desk_restart(&desk);
    desk_replays(&desk, "done", "done", 200, "x");
    struct fm_idem_decision d = desk_begin(&desk, "open", "r", NULL);
    assert_situation(d, FM_IDEM_LOST);
    assert_int_equal(d.status, 409);
    assert_int_equal(d.problem, FM_PROBLEM_OUTCOME_UNKNOWN);
    uint64_t newer = desk_whole(&desk, "new", 200, "y");
    assert_true(newer > seq);
}

static void one_process_owns_it_and_strangers_are_refused(void **state)
{
    (void)state;
    struct fm_error e;
    assert_null(fm_journal_open(&desk.o, &e));
    assert_int_equal(e.code, FM_ERR_STATE);
    desk_stop(&desk);
    struct fm_journal_options other = desk.o;
    other.service = "shop";
    assert_null(fm_journal_open(&other, &e));
    assert_int_equal(e.code, FM_ERR_INVALID);
    assert_non_null(strstr(e.msg, "bank"));
    struct stat st;
    assert_int_equal(stat(desk.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600); /* answers are nobody else's business */
    FILE *f = fopen(desk.path, "w");
    assert_non_null(f);
    fputs("this is a letter and not a database, and it is longer than a header of one is, too", f);
    fclose(f);
    assert_null(fm_journal_open(&desk.o, &e));
    assert_non_null(strstr(e.msg, "journal.db"));
    desk.o.path = "/nonexistent/journal.db";
    assert_null(fm_journal_open(&desk.o, &e));
    desk.o.path = desk.path;
}

/* -------- bounds -------- */

static unsigned told_n;

static void count_told(struct fm_journal_call *c)
{
    (void)c;
    told_n++;
}

static void too_many_that_wait_are_refused_but_outcomes_never_are(void **state)
{
    (void)state;
    enum { MAX = 8 };
    static struct fm_journal_call call[3 * MAX];
    static char key[3 * MAX][8];
    uint64_t open[MAX];
    for (unsigned i = 0; i < MAX; i++) {
        snprintf(key[i], sizeof key[i], "o%u", i);
        desk_begin(&desk, key[i], "r", &open[i]);
    }
    desk_stop(&desk);
    desk.o.calls_max = MAX;
    desk_start(&desk);
    unsigned refused = 0, submitted = 0;
    for (unsigned round = 0; round < 1000 && refused == 0; round++) {
        told_n = submitted = 0;
        for (unsigned i = 0; i < 2 * MAX; i++) { /* one of the rounds is faster than an fsync */
            snprintf(key[i], sizeof key[i], "%u.%u", round, i);
            call[i] = desk_command(&desk, key[i], "r");
            call[i].done = count_told;
            enum fm_err err = fm_journal_submit(desk.j, &call[i]);
            submitted += err == FM_ERR_OK;
            refused += err == FM_ERR_LIMIT;
            if (err) {
                assert_int_equal(err, FM_ERR_LIMIT);
                assert_int_equal(call[i].decision.status, 503);
                assert_int_equal(call[i].decision.problem, FM_PROBLEM_OVERLOADED);
            }
        }
        for (unsigned i = 0; refused && i < MAX; i++) {
            call[2 * MAX + i] = desk_call(&desk, FM_JOURNAL_OUTCOME);
            call[2 * MAX + i].done = count_told;
            call[2 * MAX + i].seq = open[i];
            call[2 * MAX + i].outcome.state = FM_IDEM_UNKNOWN;
            assert_int_equal(fm_journal_submit(desk.j, &call[2 * MAX + i]), FM_ERR_OK);
            submitted++;
        }
        NET_UNTIL(&desk.net, told_n == submitted);
    }
    assert_true(refused > 0);
    assert_int_equal(fm_counter_get(&fm_journal_stats(desk.j)->refused), refused);
}

static void a_file_at_its_bound_takes_no_new_key_but_answers_old_ones(void **state)
{
    (void)state;
    desk_whole(&desk, "old", 200, "x");
    uint64_t open;
    desk_begin(&desk, "open", "r", &open);
    desk_stop(&desk);
    desk.o.bytes_max = 4096;
    desk_start(&desk);
    struct fm_idem_decision d = desk_begin(&desk, "new", "r", NULL);
    assert_situation(d, FM_IDEM_JOURNAL_FULL);
    assert_int_equal(d.status, 503);
    desk_replays(&desk, "old", "old", 200, "x");
    assert_int_equal(desk_done(&desk, open, 200, "late"), FM_ERR_OK);
    desk_stop(&desk);
    desk.o.bytes_max = 1 << 30;
    desk_start(&desk);
    assert_situation(desk_begin(&desk, "new", "r", NULL), FM_IDEM_FIRST);
}

/* -------- retention -------- */

static void keys_are_forgotten_after_their_time_in_small_steps(void **state)
{
    (void)state;
    enum { OLD = 300 };
    char key[16];
    for (unsigned i = 0; i < OLD; i++) {
        snprintf(key, sizeof key, "old-%u", i);
        desk_whole(&desk, key, 200, "x");
    }
    uint64_t open;
    desk_begin(&desk, "open", "r", &open);
    net_skip_ms(3590 * 1000);
    uint64_t young = desk_whole(&desk, "young", 200, "x");
    desk_replays(&desk, "old-0", "old-0", 200, "x");
    net_skip_ms(60 * 1000);
    const struct fm_journal_stats *stats = fm_journal_stats(desk.j);
    desk_whole(&desk, "nudge", 200, "x"); /* wakes it; the rest goes by itself */
    NET_UNTIL(&desk.net, fm_counter_get(&stats->expired) >= OLD);
    assert_situation(desk_begin(&desk, "old-0", "old-0", NULL), FM_IDEM_FIRST);
    assert_situation(desk_begin(&desk, "old-299", "old-299", NULL), FM_IDEM_FIRST);
    desk_replays(&desk, "young", "young", 200, "x");
    /* what is in flight is not forgotten under the feet of who waits for it */
    assert_situation(desk_begin(&desk, "open", "r", NULL), FM_IDEM_UNDER_WAY);
    assert_int_equal(desk_done(&desk, open, 200, "slow"), FM_ERR_OK);
    assert_int_equal(fm_counter_get(&stats->expired), OLD);
    assert_true(desk_whole(&desk, "next", 200, "x") > young);
}

/* Only the time in which it was open counts: who was down for a day forgets nothing of that day. */
static void time_that_it_was_closed_does_not_age_a_key(void **state)
{
    (void)state;
    desk_whole(&desk, "k", 200, "x");
    net_skip_ms(3500 * 1000);
    desk_stop(&desk);
    net_skip_ms(INT64_C(86400) * 1000);
    desk_start(&desk);
    desk_whole(&desk, "other", 200, "x");
    desk_replays(&desk, "k", "k", 200, "x");
    net_skip_ms(3500 * 1000);
    const struct fm_journal_stats *stats = fm_journal_stats(desk.j);
    desk_whole(&desk, "nudge", 200, "x");
    NET_UNTIL(&desk.net, fm_counter_get(&stats->expired) == 1);
    desk_replays(&desk, "other", "other", 200, "x");
    assert_situation(desk_begin(&desk, "k", "k", NULL), FM_IDEM_FIRST);
}

static void numbers_are_not_given_out_again_after_everything_was_forgotten(void **state)
{
    (void)state;
    uint64_t seq = desk_whole(&desk, "k", 200, "x");
    net_skip_ms(3601 * 1000);
    desk_restart(&desk); /* forgets it on its way out, or on its way in */
    desk_restart(&desk);
    assert_true(desk_whole(&desk, "k", 200, "x") > seq);
}

/* -------- several loops -------- */

enum { WORKERS = 3, EACH = 400 };

struct worker {
    pthread_t thread;
    char prefix[8];
    unsigned intents, outcomes, others;
};

static void count_event(void *user, enum driver_event what, const struct driver_command *c)
{
    struct worker *w = user;
    (void)c;
    w->intents += what == DRIVER_INTENT;
    w->outcomes += what == DRIVER_OUTCOME;
    w->others += what != DRIVER_INTENT && what != DRIVER_OUTCOME;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct fm_pool pool;
    struct fm_loop loop;
    struct driver d;
    fm_pool_init(&pool, 1024, 1);
    if (fm_loop_init(&loop, &pool, NULL))
        return NULL;
    struct driver_options o = {.prefix = w->prefix,
                               .in_flight = 16,
                               .count = EACH,
                               .body = 100,
                               .event = count_event,
                               .user = w};
    if (driver_open(&d, &loop, desk.j, &o, NULL) == FM_ERR_OK) {
        driver_start(&d);
        while (!driver_is_over(&d))
            fm_loop_turn(&loop, FM_NS_PER_MS);
        driver_close(&d);
    }
    fm_loop_deinit(&loop);
    fm_pool_deinit(&pool);
    return NULL;
}

static void several_loops_share_it(void **state)
{
    (void)state;
    static struct worker w[WORKERS];
    memset(w, 0, sizeof w);
    for (unsigned i = 0; i < WORKERS; i++) {
        snprintf(w[i].prefix, sizeof w[i].prefix, "w%u", i);
        assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        pthread_join(w[i].thread, NULL);
        assert_int_equal(w[i].intents, EACH);
        assert_int_equal(w[i].outcomes, EACH);
        assert_int_equal(w[i].others, 0);
    }
    const struct fm_journal_stats *s = fm_journal_stats(desk.j);
    assert_int_equal(fm_counter_get(&s->calls), 2 * WORKERS * EACH);
    assert_true(fm_counter_get(&s->batches) < 2 * WORKERS * EACH); /* they were grouped */
}

#define with_desk(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_desk(a_command_is_recorded_once_and_then_answered_from_the_record),
             with_desk(keys_of_two_contexts_have_nothing_to_do_with_each_other),
             with_desk(what_needs_no_journal_is_decided_at_once),
             with_desk(a_key_that_another_epoch_tried_first_is_refused_unless_the_app_knows),
             with_desk(an_unknown_outcome_may_turn_out_but_a_known_one_stays),
             with_desk(an_app_that_stops_doubles_gets_a_lost_command_again),
             with_desk(an_answer_that_is_too_long_is_known_but_not_kept),
             with_desk(what_was_in_flight_is_unknown_after_a_restart),
             with_desk(one_process_owns_it_and_strangers_are_refused),
             with_desk(too_many_that_wait_are_refused_but_outcomes_never_are),
             with_desk(a_file_at_its_bound_takes_no_new_key_but_answers_old_ones),
             with_desk(keys_are_forgotten_after_their_time_in_small_steps),
             with_desk(time_that_it_was_closed_does_not_age_a_key),
             with_desk(numbers_are_not_given_out_again_after_everything_was_forgotten),
             with_desk(several_loops_share_it))
