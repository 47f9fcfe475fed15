/* Where keys stand: in memory, on their way, in the index of the file. A key is known wherever it
 * is, and forgotten wherever it was. Few are kept back here, so that they are always on their way.
 */
#include "desk.h"

#include "base/rand.h"
#include "journal/db.h"
#include "journal/look.h"

#include <stdio.h>

enum { KEPT_BACK = 16 };

static struct desk desk;

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    desk_open(&desk, NULL);
    desk.o.keys_kept_back = KEPT_BACK;
    desk_start(&desk);
    return rc;
}

static int teardown(void **state)
{
    desk_close(&desk);
    return fm_test_fds_after(state);
}

/* A number out of the file, or what has to be done to it, while the journal is stopped. */
static int64_t sql(const char *text)
{
    sqlite3 *h;
    sqlite3_stmt *s;
    int64_t v = -1;
    assert_int_equal(sqlite3_open(desk.path, &h), SQLITE_OK);
    if (sqlite3_prepare_v2(h, text, -1, &s, NULL) != SQLITE_OK)
        fail_msg("%s: %s", text, sqlite3_errmsg(h));
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        v = sqlite3_column_int64(s, 0);
    else if (rc != SQLITE_DONE)
        fail_msg("%s: %s", text, sqlite3_errmsg(h));
    sqlite3_finalize(s);
    assert_int_equal(sqlite3_close(h), SQLITE_OK);
    return v;
}

#define NOT_INDEXED                                                                                \
    "SELECT count(*) FROM command WHERE seq<=(SELECT value FROM meta WHERE name='indexed')"        \
    " AND seq NOT IN (SELECT number FROM key_at)"

/* -------- against a model -------- */

enum { KEYS = 300, OPERATIONS = 6000 };

struct known {
    char key[8];
    enum fm_idem_known state;
    uint64_t seq;
};

static struct known model[KEYS];

static const enum fm_idem_situation situation[] = {
    [FM_IDEM_ABSENT] = FM_IDEM_FIRST,        [FM_IDEM_QUEUED] = FM_IDEM_WAITS,
    [FM_IDEM_IN_FLIGHT] = FM_IDEM_UNDER_WAY, [FM_IDEM_UNKNOWN] = FM_IDEM_LOST,
    [FM_IDEM_DONE] = FM_IDEM_ANSWERED,
};

static void begin(struct known *k)
{
    struct fm_idem_decision d = desk_begin(&desk, k->key, k->key, &k->seq);
    if (d.situation != situation[k->state])
        fail_msg("%s, %s: situation %d", k->key, fm_idem_known_name(k->state), (int)d.situation);
    if (k->state == FM_IDEM_ABSENT)
        k->state = FM_IDEM_IN_FLIGHT;
}

static void enqueue(struct known *k)
{
    struct fm_journal_call c = desk_command(&desk, k->key, k->key);
    c.op = FM_JOURNAL_ENQUEUE;
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_int_equal(c.decision.action, FM_IDEM_RECORD);
    k->state = FM_IDEM_QUEUED;
}

static void withdraw(struct known *k, bool at_once_again)
{
    struct fm_journal_call c = desk_call(&desk, FM_JOURNAL_WITHDRAW);
    c.seq = k->seq;
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    k->state = FM_IDEM_ABSENT;
    if (at_once_again)
        begin(k);
}

static void restart(void)
{
    desk_restart(&desk);
    for (unsigned i = 0; i < KEYS; i++)
        if (model[i].state == FM_IDEM_IN_FLIGHT)
            model[i].state = FM_IDEM_UNKNOWN;
}

/* Let all that is settled get too old. */
static void wait_long(unsigned *nudges)
{
    static unsigned named;
    unsigned n = *nudges;
    char key[16];
    const struct fm_counter *expired = &fm_journal_stats(desk.j)->expired;
    for (unsigned i = 0; i < KEYS; i++) {
        if (model[i].state == FM_IDEM_IN_FLIGHT) /* else it would stay, until the next start */
            assert_int_equal(desk_unknown(&desk, model[i].seq), FM_ERR_OK);
        if (model[i].state >= FM_IDEM_IN_FLIGHT) {
            model[i].state = FM_IDEM_ABSENT;
            n++;
        }
    }
    uint64_t until = fm_counter_get(expired) + n;
    net_skip_ms(3601 * 1000);
    snprintf(key, sizeof key, "n%u", named++);
    desk_whole(&desk, key, 200, "x"); /* wakes it, and is too young itself */
    NET_UNTIL(&desk.net, fm_counter_get(expired) >= until);
    assert_int_equal(fm_counter_get(expired), until);
    *nudges = 1;
}

static void each_key_is_known_for_what_it_is_wherever_it_stands(void **state)
{
    (void)state;
    struct fm_rand dice = {20261122};
    unsigned nudges = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        model[i] = (struct known){.state = FM_IDEM_ABSENT};
        snprintf(model[i].key, sizeof model[i].key, "k%u", i);
    }
    for (unsigned i = 0; i < OPERATIONS; i++) {
        struct known *k = &model[fm_rand_below(&dice, KEYS)];
        uint32_t what = fm_rand_below(&dice, 1000);
        if (what < 2)
            wait_long(&nudges);
        else if (what < 12)
            restart();
        else if (k->state == FM_IDEM_IN_FLIGHT && what < 100)
            withdraw(k, what % 2);
        else if (k->state == FM_IDEM_IN_FLIGHT && what < 700 &&
                 desk_done(&desk, k->seq, 200, "x") == FM_ERR_OK)
            k->state = FM_IDEM_DONE;
        else if (k->state == FM_IDEM_ABSENT && what < 30)
            enqueue(k);
        else
            begin(k);
    }
    for (unsigned i = 0; i < KEYS; i++)
        begin(&model[i]);
    desk_stop(&desk);
    assert_true(sql("SELECT value FROM meta WHERE name='indexed'") > OPERATIONS / 4);
    assert_true(sql("SELECT value FROM meta WHERE name='swept'") > 0);
    assert_int_equal(sql(NOT_INDEXED), 0);
    desk_start(&desk);
}

/* -------- forgotten ones -------- */

static void the_index_gets_rid_of_what_was_forgotten(void **state)
{
    (void)state;
    enum { MANY = 50 * KEPT_BACK };
    char key[16];
    const struct fm_counter *expired = &fm_journal_stats(desk.j)->expired;
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "old%u", i);
        desk_whole(&desk, key, 200, "x");
        if (i == MANY / 2) /* not to be forgotten: it is in flight */
            assert_situation(desk_begin(&desk, "open", "open", NULL), FM_IDEM_FIRST);
    }
    net_skip_ms(3601 * 1000);
    desk_whole(&desk, "nudge", 200, "x");
    NET_UNTIL(&desk.net, fm_counter_get(expired) == MANY);
    for (unsigned i = 0; i < 4 * KEPT_BACK; i++) {
        snprintf(key, sizeof key, "new%u", i);
        desk_whole(&desk, key, 200, "x");
    }
    desk_replays(&desk, "new0", "new0", 200, "x");
    assert_situation(desk_begin(&desk, "open", "open", NULL), FM_IDEM_UNDER_WAY);
    assert_situation(desk_begin(&desk, "old0", "old0", NULL), FM_IDEM_FIRST);
    desk_stop(&desk);
    assert_true(sql("SELECT count(*) FROM key_at") <= 5 * KEPT_BACK);
    assert_int_equal(sql(NOT_INDEXED), 0);
    desk_start(&desk);
}

/* -------- looked at from outside -------- */

static void one_seen(const struct fm_journal_entry *e, void *user)
{
    (void)e;
    ++*(unsigned *)user;
}

static void whoever_looks_finds_each_key_once(void **state)
{
    (void)state;
    struct fm_error e;
    char key[16];
    struct fm_journal_look *l = fm_journal_look_open(desk.path, &e);
    assert_non_null(l);
    for (unsigned i = 0; i < 5 * KEPT_BACK; i++) {
        snprintf(key, sizeof key, "k%u", i);
        struct fm_journal_call c = desk_command(&desk, key, key);
        c.op = i % 5 ? FM_JOURNAL_BEGIN : FM_JOURNAL_ENQUEUE;
        assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
        for (unsigned k = 0; k <= i; k++) {
            unsigned seen = 0;
            snprintf(key, sizeof key, "k%u", k);
            assert_int_equal(
                fm_journal_look_find(l, FM_STR("ledger"), fm_str_z(key), one_seen, &seen, &e), 0);
            assert_int_equal(seen, 1);
        }
    }
    fm_journal_look_close(l);
}

/* -------- files of the version before -------- */

static void a_file_of_version_1_is_taken_over(void **state)
{
    (void)state;
    char text[200], key[16];
    for (unsigned i = 0; i < 10; i++) {
        snprintf(key, sizeof key, "k%u", i);
        desk_whole(&desk, key, 200, "x");
    }
    desk_stop(&desk);
    struct fm_hash_key k = {(uint64_t)sql("SELECT value FROM meta WHERE name='k0'"),
                            (uint64_t)sql("SELECT value FROM meta WHERE name='k1'")};
    int64_t last = sql("SELECT max(seq) FROM command");
    for (int64_t seq = 1, i = 0; seq <= last; seq++) { /* there all keys are in the index */
        snprintf(text, sizeof text, "SELECT count(*) FROM command WHERE seq=%lld", (long long)seq);
        if (sql(text) == 0)
            continue;
        snprintf(key, sizeof key, "k%u", (unsigned)i++);
        snprintf(text, sizeof text, "INSERT INTO key_at VALUES(%lld,%lld)",
                 (long long)fm_db_key_hash(k, FM_STR("ledger"), fm_str_z(key)), (long long)seq);
        sql(text);
    }
    sql("DELETE FROM meta WHERE name IN ('indexed','swept')");
    sql("PRAGMA user_version=1");
    desk_start(&desk);
    for (unsigned i = 0; i < 10; i++) {
        snprintf(key, sizeof key, "k%u", i);
        desk_replays(&desk, key, key, 200, "x");
    }
    assert_situation(desk_begin(&desk, "new", "new", NULL), FM_IDEM_FIRST);
    desk_stop(&desk);
    assert_int_equal(sql("PRAGMA user_version"), 2);
    assert_int_equal(sql("SELECT value FROM meta WHERE name='indexed'"), last);
    desk_start(&desk);
}

#define with_desk(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_desk(each_key_is_known_for_what_it_is_wherever_it_stands),
             with_desk(the_index_gets_rid_of_what_was_forgotten),
             with_desk(whoever_looks_finds_each_key_once),
             with_desk(a_file_of_version_1_is_taken_over))
