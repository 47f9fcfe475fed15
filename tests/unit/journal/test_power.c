/* What a journal promises holds when the power goes at any moment: no acknowledged intent is lost,
 * no acknowledged outcome either, and no outcome is invented. And a failed sync is the end of it.
 *
 * More cuts with FM_POWER_CUTS=N, another run with FM_POWER_SEED=N. */
#include "desk.h"

#include "base/log.h"
#include "base/rand.h"
#include "driver.h"
#include "journal/look.h"
#include "power.h"

#include <stdio.h>
#include <stdlib.h>

enum { CUTS = 80, EACH = 300, IN_FLIGHT = 16, KEPT_BACK = 64, ASKED = 40 };

static struct desk desk;
static uint64_t seed = 20261121, cuts = CUTS;

static void number(const char *name, uint64_t *out)
{
    const char *text = getenv(name);
    if (text)
        assert_true(fm_str_u64(fm_str_z(text), out));
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    number("FM_POWER_SEED", &seed);
    number("FM_POWER_CUTS", &cuts);
    power_register(seed);
    fm_log_set_level(FM_LOG_OFF); /* each failure would be told */
    desk_open(&desk, POWER_VFS);
    desk.o.keys_kept_back = KEPT_BACK; /* so that power goes while keys are on their way, too */
    desk_start(&desk);
    return rc;
}

static int teardown(void **state)
{
    desk_close(&desk);
    power_reset();
    return fm_test_fds_after(state);
}

/* -------- what was acknowledged -------- */

struct life {
    char prefix[16];
    uint64_t begun;
    bool intent[EACH], outcome[EACH], seen[EACH];
    bool failed;
    uint64_t queued, token; /* id of its request in the queue, where that was acknowledged */
};

static struct life *lives;
static size_t nlives;
static struct driver driver;

static void note(void *user, enum driver_event what, const struct driver_command *c)
{
    struct life *l = user;
    if (what == DRIVER_INTENT)
        l->intent[c->n] = true;
    else if (what == DRIVER_OUTCOME)
        l->outcome[c->n] = true;
    else
        l->failed = true;
    if (l->failed)
        driver_stop(&driver);
}

/* Send commands until all are over or the journal has failed. */
static void live(struct life *l, uint64_t count)
{
    struct driver_options o = {.prefix = l->prefix,
                               .in_flight = IN_FLIGHT,
                               .count = count,
                               .body = 700,
                               .event = note,
                               .user = l};
    assert_int_equal(driver_open(&driver, &desk.net.loop, desk.j, &o, NULL), FM_ERR_OK);
    driver_start(&driver);
    NET_UNTIL(&desk.net, driver_is_over(&driver));
    l->begun = driver.begun;
    driver_close(&driver);
}

/* One request for the queue, in a lane that all lives share. */
static void enqueue(struct life *l)
{
    struct fm_journal_call c = desk_command(&desk, l->prefix, l->prefix);
    c.op = FM_JOURNAL_ENQUEUE;
    c.command.lane = FM_STR("all");
    c.command.request = FM_STR("POST /");
    if (desk_do(&desk, &c) != FM_ERR_OK || c.decision.action != FM_IDEM_RECORD)
        return;
    l->queued = c.seq;
    l->token = c.token;
}

static void check_queued(const struct life *l)
{
    struct fm_journal_call c = desk_call(&desk, FM_JOURNAL_ASK);
    c.seq = l->queued;
    c.token = l->token;
    if (desk_do(&desk, &c) != FM_ERR_OK)
        fail_msg("the queued request of %s is lost", l->prefix);
    assert_true(c.queued.state == FM_QUEUE_BEHIND || c.queued.state == FM_QUEUE_READY);
}

static struct life *new_life(void)
{
    struct life *l = &lives[nlives];
    memset(l, 0, sizeof *l);
    snprintf(l->prefix, sizeof l->prefix, "life%zu", nlives++);
    return l;
}

/* -------- what is there afterwards -------- */

static void look_at(const struct fm_journal_entry *e, void *user)
{
    (void)user;
    uint64_t n = 0;
    struct life *l = NULL;
    if (e->state == FM_IDEM_QUEUED)
        return;
    for (size_t i = 0; i < nlives && !l; i++)
        if (driver_number(lives[i].prefix, e->key, &n))
            l = &lives[i];
    if (!l || n >= l->begun || l->seen[n] || !driver_is_plausible(l->prefix, e))
        fail_msg("%.*s was invented", FM_STR_ARG(e->key));
    l->seen[n] = true;
    if (e->state == FM_IDEM_IN_FLIGHT)
        fail_msg("%.*s is in flight, and nobody is there", FM_STR_ARG(e->key));
    if (e->state == FM_IDEM_DONE && !l->intent[n])
        fail_msg("%.*s was never executed", FM_STR_ARG(e->key));
    if (e->state == FM_IDEM_UNKNOWN && l->outcome[n] && driver_state(n) == FM_IDEM_DONE)
        fail_msg("the outcome of %.*s is lost", FM_STR_ARG(e->key));
    if (e->state == FM_IDEM_DONE && !e->answer.kept)
        fail_msg("the answer of %.*s is lost", FM_STR_ARG(e->key));
}

static void check_all(void)
{
    struct fm_error e;
    struct fm_journal_filter f = {.limit = UINT32_MAX};
    struct fm_journal_look *look = fm_journal_look_open(desk.path, &e);
    if (!look)
        fail_msg("%s", e.msg);
    for (size_t i = 0; i < nlives; i++)
        memset(lives[i].seen, 0, sizeof lives[i].seen);
    if (fm_journal_look_list(look, &f, look_at, NULL, &e))
        fail_msg("%s", e.msg);
    fm_journal_look_close(look);
    for (size_t i = 0; i < nlives; i++)
        for (uint64_t n = 0; n < lives[i].begun; n++)
            if (lives[i].intent[n] && !lives[i].seen[n])
                fail_msg("the intent %s-%llu is lost (seed %llu)", lives[i].prefix,
                         (unsigned long long)n, (unsigned long long)seed);
}

/* A retry of what was acknowledged is none that could be forwarded again. */
static void check_key(const struct life *l, uint64_t n)
{
    char key[DRIVER_KEY_MAX];
    driver_key(l->prefix, n, key);
    struct fm_journal_call c = desk_command(&desk, key, "");
    c.command.context = driver_context(n);
    c.command.hash = driver_hash(n);
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    if (c.decision.situation != FM_IDEM_ANSWERED && c.decision.situation != FM_IDEM_LOST)
        fail_msg("the key %s is lost (seed %llu)", key, (unsigned long long)seed);
    fm_journal_forget(&c);
}

static void check_some_keys(struct fm_rand *dice)
{
    for (unsigned i = 0; i < ASKED; i++) {
        const struct life *l = &lives[fm_rand_below(dice, (uint32_t)nlives)];
        uint64_t n = fm_rand_below(dice, EACH);
        if (l->intent[n])
            check_key(l, n);
    }
}

/* Take the power away, put it back, start the journal again. */
static void cut_and_start(void)
{
    power_off_after(0);
    desk_stop(&desk);
    power_cut();
    desk_start(&desk);
}

static void no_cut_loses_what_was_acknowledged(void **state)
{
    (void)state;
    struct fm_rand dice = {seed + 1};
    uint64_t dropped = 0, torn = 0, in_the_middle = 0;
    lives = calloc(cuts, sizeof *lives);
    assert_non_null(lives);
    nlives = 0;
    for (uint64_t i = 0; i < cuts; i++) {
        struct life *l = new_life();
        power_off_after(1 + fm_rand_below(&dice, 500));
        enqueue(l);
        live(l, EACH);
        in_the_middle += l->failed;
        cut_and_start();
        check_all();
        check_some_keys(&dice);
        for (size_t k = 0; k < nlives; k++)
            if (lives[k].queued)
                check_queued(&lives[k]);
        dropped += power_last_cut().dropped;
        torn += power_last_cut().torn;
    }
    /* else this would show nothing */
    assert_true(in_the_middle * 2 > cuts && dropped > cuts && torn > cuts);
    free(lives);
}

/* -------- failed syncs -------- */

static void after_a_failed_sync_it_refuses_and_says_why(void **state)
{
    (void)state;
    struct life one[1];
    struct fm_error why = {0};
    lives = one;
    nlives = 0;
    struct life *l = new_life();
    assert_false(fm_journal_failure(desk.j, &why));
    power_fail_sync_after("-wal", 5);
    live(l, EACH);
    assert_true(l->failed && l->begun < EACH);
    assert_true(fm_journal_failure(desk.j, &why));
    assert_non_null(strstr(why.msg, "COMMIT"));
    assert_non_null(strstr(why.msg, "disk I/O error"));
    struct fm_journal_call c = desk_command(&desk, "k", "r");
    assert_int_equal(fm_journal_submit(desk.j, &c), FM_ERR_STATE); /* though syncs work again */
    assert_situation(c.decision, FM_IDEM_JOURNAL_FAILED);
    assert_int_equal(c.decision.status, 503);
    desk_restart(&desk);
    check_all();
    assert_situation(desk_begin(&desk, "k", "r", NULL), FM_IDEM_FIRST);
}

/* The page cache shows what the failed sync lost. Whoever appends to that and relies on it loses
 * what comes later as well, once the power goes. */
static void what_a_failed_sync_lost_takes_nothing_with_it_later(void **state)
{
    (void)state;
    enum { ROUNDS = 8 };
    static struct life all[2 * ROUNDS];
    struct fm_rand dice = {seed + 2};
    lives = all;
    nlives = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct life *l = new_life();
        power_fail_sync_after("-wal", 1 + fm_rand_below(&dice, 6));
        live(l, EACH);
        assert_true(l->failed);
        desk_restart(&desk);
        live(new_life(), EACH / 4);
        cut_and_start();
        check_all();
    }
}

static void a_failed_checkpoint_ends_it_too(void **state)
{
    (void)state;
    static struct life many[20];
    struct fm_error why;
    lives = many;
    nlives = 0;
    power_fail_sync_after("journal.db", 0); /* the database itself is synced by nobody else */
    while (nlives < FM_COUNT(many) && !fm_journal_failure(desk.j, &why))
        live(new_life(), EACH);
    assert_true(fm_journal_failure(desk.j, &why));
    assert_non_null(strstr(why.msg, "checkpoint"));
    desk_restart(&desk);
    check_all();
}

#define with_power(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_power(no_cut_loses_what_was_acknowledged),
             with_power(after_a_failed_sync_it_refuses_and_says_why),
             with_power(what_a_failed_sync_lost_takes_nothing_with_it_later),
             with_power(a_failed_checkpoint_ends_it_too))
