/* The conformance suite; watches are in watches.c. See suite.h. */
#include "suite.h"

#include "base/rand.h"

#include <stdio.h>
#include <stdlib.h>

static char run_prefix[64];

struct one {
    const struct suite_case *c;
    const struct drive_target *target;
};

static void run_one(void *arg)
{
    struct one *one = arg;
    one->c->run(one->target);
}

bool suite_run(const struct suite_case *c, const struct drive_target *t)
{
    uint32_t id;
    struct one one = {c, t};
    fm_rand_bytes(&id, sizeof id);
    snprintf(run_prefix, sizeof run_prefix, "%.30s/%08x", c->name, id);
    return drive_try(run_one, &one);
}

const char *suite_key(const char *key)
{
    static char ring[96][128];
    static unsigned at;
    char *out = ring[at++ % FM_COUNT(ring)];
    snprintf(out, sizeof ring[0], "%s/%s", run_prefix, key);
    return out;
}

static bool is(struct fm_coord_kv kv, const char *key, const char *value, uint64_t revision)
{
    return fm_str_eqz(kv.key, suite_key(key)) && fm_str_eqz(kv.value, value) &&
           kv.revision == revision;
}

/* -------- reading and writing -------- */

static void what_is_not_there_is_absent(const struct drive_target *t)
{
    struct drive d;
    drive_open(&d, t, NULL);
    drive_get(&d, suite_key("a"), false, false);
    CHECK_EQ(result.outcome, FM_COORD_DONE);
    CHECK_EQ(result.n, 0);
    CHECK(result.revision >= 1);
    drive_close(&d);
}

static void what_was_written_is_read(const struct drive_target *t)
{
    struct drive d;
    drive_open(&d, t, NULL);
    uint64_t first = drive_put(&d, suite_key("a"), "1"),
             second = drive_put(&d, suite_key("a"), "2");
    CHECK(second > first);
    drive_get(&d, suite_key("a"), false, false);
    CHECK_EQ(result.n, 1);
    CHECK(is(result.kv[0], "a", "2", second));
    CHECK(result.revision >= second);
    drive_get(&d, suite_key("a"), false, true);
    CHECK_EQ(result.outcome, FM_COORD_DONE);
    drive_close(&d);
}

static void others_see_it_at_once(const struct drive_target *t)
{
    struct drive a, b;
    drive_open(&a, t, NULL);
    drive_open(&b, t, NULL);
    for (int i = 0; i < 20; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        uint64_t r = drive_put(&a, suite_key("a"), text);
        drive_get(&b, suite_key("a"), false, false);
        CHECK_EQ(result.n, 1);
        CHECK(is(result.kv[0], "a", text, r));
    }
    drive_close(&b);
    drive_close(&a);
}

static void a_prefix_is_read_in_order_and_nothing_else(const struct drive_target *t)
{
    struct drive d;
    drive_open(&d, t, NULL);
    uint64_t c = drive_put(&d, suite_key("p/c"), "3");
    uint64_t a = drive_put(&d, suite_key("p/a"), "1");
    uint64_t b = drive_put(&d, suite_key("p/b/x"), "2");
    (void)drive_put(&d, suite_key("p"), "not this");
    (void)drive_put(&d, suite_key("p0"), "nor this");
    drive_get(&d, suite_key("p/"), true, false);
    CHECK_EQ(result.n, 3);
    CHECK(is(result.kv[0], "p/a", "1", a));
    CHECK(is(result.kv[1], "p/b/x", "2", b));
    CHECK(is(result.kv[2], "p/c", "3", c));
    drive_close(&d);
}

static void all_bytes_come_back(const struct drive_target *t)
{
    struct drive d;
    char all[256];
    for (unsigned i = 0; i < sizeof all; i++)
        all[i] = (char)i;
    drive_open(&d, t, NULL);
    for (size_t n = 0; n <= sizeof all; n += n < 5 ? 1 : 251) {
        struct fm_coord_write w = {.key = fm_str_z(suite_key("a")), .value = fm_str(all, n)};
        drive_commit(&d, &(struct fm_coord_txn){.write = &w, .nwrite = 1}, DRIVE_DEADLINE_MS);
        CHECK_EQ(result.outcome, FM_COORD_DONE);
        drive_get(&d, suite_key("a"), false, false);
        CHECK_EQ(result.n, 1);
        CHECK(fm_str_eq(result.kv[0].value, fm_str(all, n)));
    }
    drive_close(&d);
}

static void the_longest_value_comes_back(const struct drive_target *t)
{
    struct drive d;
    char *big = malloc(FM_COORD_VALUE_MAX + 1);
    CHECK(big);
    memset(big, 'x', FM_COORD_VALUE_MAX + 1);
    drive_open(&d, t, NULL);
    struct fm_coord_write w = {.key = fm_str_z(suite_key("a")),
                               .value = fm_str(big, FM_COORD_VALUE_MAX)};
    struct fm_coord_txn txn = {.write = &w, .nwrite = 1};
    drive_commit(&d, &txn, DRIVE_DEADLINE_MS);
    CHECK_EQ(result.outcome, FM_COORD_DONE);
    drive_get(&d, suite_key("a"), false, false);
    CHECK_EQ(result.n, 1);
    CHECK(fm_str_eq(result.kv[0].value, w.value));
    w.value.n++;
    drive_commit(&d, &txn, DRIVE_DEADLINE_MS);
    CHECK_EQ(result.outcome, FM_COORD_NOT_DONE);
    CHECK_EQ(result.why, FM_COORD_WHY_INVALID);
    drive_close(&d);
    free(big);
}

/* -------- transactions -------- */

static void only_one_creates(const struct drive_target *t)
{
    struct drive d;
    drive_open(&d, t, NULL);
    CHECK(drive_swap(&d, suite_key("a"), 0, "first"));
    uint64_t r = result.revision;
    CHECK(!drive_swap(&d, suite_key("a"), 0, "second"));
    CHECK_EQ(result.outcome, FM_COORD_NOT_DONE);
    CHECK_EQ(result.n, 1);
    CHECK(is(result.kv[0], "a", "first", r));
    drive_close(&d);
}

static void a_swap_needs_the_last_revision(const struct drive_target *t)
{
    struct drive d;
    drive_open(&d, t, NULL);
    uint64_t old = drive_put(&d, suite_key("a"), "1"), now = drive_put(&d, suite_key("a"), "2");
    CHECK(!drive_swap(&d, suite_key("a"), old, "3"));
    CHECK(is(result.kv[0], "a", "2", now));
    CHECK(drive_swap(&d, suite_key("a"), now, "3"));
    CHECK(result.revision > now);
    (void)drive_erase(&d, suite_key("a"));
    CHECK(!drive_swap(&d, suite_key("a"), now, "4"));
    CHECK_EQ(result.n, 1);
    CHECK(is(result.kv[0], "a", "", 0));
    drive_close(&d);
}

static void one_wrong_compare_stops_all(const struct drive_target *t)
{
    struct drive d;
    drive_open(&d, t, NULL);
    uint64_t a = drive_put(&d, suite_key("a"), "1"), b = drive_put(&d, suite_key("b"), "2");
    struct fm_coord_compare c[] = {{fm_str_z(suite_key("a")), a},
                                   {fm_str_z(suite_key("b")), b - 1},
                                   {fm_str_z(suite_key("c")), 0}};
    struct fm_coord_write w[] = {{.key = fm_str_z(suite_key("a")), .erase = true},
                                 {.key = fm_str_z(suite_key("d")), .value = FM_STR("4")}};
    struct fm_coord_txn txn = {c, 3, w, 2};
    drive_commit(&d, &txn, DRIVE_DEADLINE_MS);
    CHECK_EQ(result.outcome, FM_COORD_NOT_DONE);
    CHECK_EQ(result.why, FM_COORD_WHY_COMPARE);
    CHECK_EQ(result.n, 3);
    CHECK(is(result.kv[0], "a", "1", a));
    CHECK(is(result.kv[1], "b", "2", b));
    CHECK(is(result.kv[2], "c", "", 0));
    drive_get(&d, suite_key(""), true, false);
    CHECK_EQ(result.n, 2);
    c[1].revision = b;
    drive_commit(&d, &txn, DRIVE_DEADLINE_MS);
    CHECK_EQ(result.outcome, FM_COORD_DONE);
    uint64_t r = result.revision;
    drive_get(&d, suite_key(""), true, false);
    CHECK_EQ(result.n, 2);
    CHECK(is(result.kv[0], "b", "2", b));
    CHECK(is(result.kv[1], "d", "4", r));
    drive_close(&d);
}

static void what_changes_nothing_has_no_revision(const struct drive_target *t)
{
    struct drive d;
    drive_open(&d, t, NULL);
    uint64_t a = drive_put(&d, suite_key("a"), "1");
    uint64_t same = drive_erase(&d, suite_key("b"));
    CHECK(same >= a);
    struct fm_coord_compare c = {fm_str_z(suite_key("a")), a};
    drive_commit(&d, &(struct fm_coord_txn){.compare = &c, .ncompare = 1}, DRIVE_DEADLINE_MS);
    CHECK_EQ(result.outcome, FM_COORD_DONE);
    drive_get(&d, suite_key("a"), false, false);
    CHECK(is(result.kv[0], "a", "1", a));
    uint64_t before = result.revision;
    uint64_t again = drive_put(&d, suite_key("a"), "1");
    CHECK(again > before); /* the same value is a change */
    drive_close(&d);
}

static void the_largest_transaction_works(const struct drive_target *t)
{
    struct drive d;
    char keys[FM_COORD_TXN_MAX + 1][128];
    struct fm_coord_compare c[FM_COORD_TXN_MAX];
    struct fm_coord_write w[FM_COORD_TXN_MAX + 1];
    for (size_t i = 0; i <= FM_COORD_TXN_MAX; i++) {
        snprintf(keys[i], sizeof keys[i], "%s%zu", suite_key("k"), i);
        w[i] = (struct fm_coord_write){.key = fm_str_z(keys[i]), .value = FM_STR("v")};
        if (i < FM_COORD_TXN_MAX)
            c[i] = (struct fm_coord_compare){fm_str_z(keys[i]), 0};
    }
    struct fm_coord_txn txn = {c, FM_COORD_TXN_MAX, w, FM_COORD_TXN_MAX};
    drive_open(&d, t, NULL);
    drive_commit(&d, &txn, DRIVE_DEADLINE_MS);
    CHECK_EQ(result.outcome, FM_COORD_DONE);
    drive_get(&d, suite_key("k"), true, false);
    CHECK_EQ(result.n, FM_COORD_TXN_MAX);
    drive_commit(&d, &txn, DRIVE_DEADLINE_MS);
    CHECK_EQ(result.why, FM_COORD_WHY_COMPARE);
    CHECK_EQ(result.n, FM_COORD_TXN_MAX);
    txn.nwrite++;
    drive_commit(&d, &txn, DRIVE_DEADLINE_MS);
    CHECK_EQ(result.why, FM_COORD_WHY_INVALID);
    drive_close(&d);
}

static void what_is_out_of_bounds_is_never_sent(const struct drive_target *t)
{
    char longest[FM_COORD_KEY_MAX + 2];
    memset(longest, 'k', sizeof longest);
    longest[sizeof longest - 1] = 0;
    const char *const bad[] = {"", "with blank", "caf\xc3\xa9", "stamp", longest, "nl\n"};
    struct drive d;
    drive_open(&d, t, NULL);
    for (size_t i = 0; i < FM_COUNT(bad); i++) {
        struct fm_coord_write w = {.key = fm_str_z(bad[i])};
        drive_commit(&d, &(struct fm_coord_txn){.write = &w, .nwrite = 1}, DRIVE_DEADLINE_MS);
        CHECK_EQ(result.outcome, FM_COORD_NOT_DONE);
        CHECK_EQ(result.why, FM_COORD_WHY_INVALID);
    }
    struct fm_coord_write twice[] = {{.key = FM_STR("a")}, {.key = FM_STR("a"), .erase = true}};
    drive_commit(&d, &(struct fm_coord_txn){.write = twice, .nwrite = 2}, DRIVE_DEADLINE_MS);
    CHECK_EQ(result.why, FM_COORD_WHY_INVALID);
    drive_commit(&d, &(struct fm_coord_txn){.write = twice, .nwrite = 1}, -1000);
    CHECK_EQ(result.outcome, FM_COORD_NOT_DONE);
    CHECK_EQ(result.why, FM_COORD_WHY_TIMEOUT);
    drive_close(&d);
}

/* -------- many at once -------- */

enum { CLIENTS = 3, ROUNDS = 40 };

struct counter {
    struct fm_coord_op op;
    struct fm_coord *coord;
    struct fm_coord_compare compare;
    struct fm_coord_write write;
    struct fm_coord_txn txn;
    char text[24];
    unsigned added, lost;
    bool over;
};

static void count_on(struct fm_coord_op *op);

static void counter_read(struct counter *k)
{
    k->op.done = count_on;
    k->op.user = k;
    fm_coord_get(k->coord, &k->op, k->compare.key, false, false,
                 fm_mono_add_ms(fm_mono_now(), DRIVE_DEADLINE_MS));
}

/* Read, then add one by a swap; where that fails, from what was found. */
static void count_on(struct fm_coord_op *op)
{
    struct counter *k = op->user;
    uint64_t v = 0;
    CHECK(op->outcome == FM_COORD_DONE || op->why == FM_COORD_WHY_COMPARE);
    k->lost += op->why == FM_COORD_WHY_COMPARE;
    if (op->txn && op->outcome == FM_COORD_DONE) {
        k->over = ++k->added == ROUNDS;
        if (!k->over)
            counter_read(k);
        return;
    }
    k->compare.revision = op->nkv ? op->kv[0].revision : 0;
    if (k->compare.revision)
        CHECK(fm_str_u64(op->kv[0].value, &v));
    snprintf(k->text, sizeof k->text, "%llu", (unsigned long long)(v + 1));
    k->write.value = fm_str_z(k->text);
    fm_coord_commit(k->coord, op, &k->txn, fm_mono_add_ms(fm_mono_now(), DRIVE_DEADLINE_MS));
}

static void nobody_overwrites_another(const struct drive_target *t)
{
    static struct counter k[CLIENTS];
    struct drive d[CLIENTS];
    unsigned lost = 0;
    struct fm_str key = fm_str_z(suite_key("counter"));
    memset(k, 0, sizeof k);
    for (size_t i = 0; i < CLIENTS; i++) {
        drive_open(&d[i], t, NULL);
        k[i] = (struct counter){.coord = d[i].coord, .compare.key = key, .write.key = key};
        k[i].txn = (struct fm_coord_txn){&k[i].compare, 1, &k[i].write, 1};
        counter_read(&k[i]);
    }
    struct fm_mono end = drive_in_ms(&d[0], 2 * DRIVE_DEADLINE_MS);
    for (bool over = false; !over;) {
        CHECK(fm_mono_before(fm_mono_now(), end));
        over = true;
        for (size_t i = 0; i < CLIENTS; i++) {
            fm_loop_turn(&d[i].loop, FM_NS_PER_MS);
            over &= k[i].over;
        }
    }
    for (size_t i = 0; i < CLIENTS; i++)
        lost += k[i].lost;
    CHECK(lost > 0); /* they met */
    char expected[16];
    snprintf(expected, sizeof expected, "%d", CLIENTS * ROUNDS);
    drive_get(&d[0], suite_key("counter"), false, false);
    CHECK(fm_str_eqz(result.kv[0].value, expected));
    for (size_t i = 0; i < CLIENTS; i++)
        drive_close(&d[i]);
}

struct tally {
    unsigned done, full, closed, unknown, other;
};

static void tallied(struct fm_coord_op *op)
{
    struct tally *n = op->user;
    if (op->outcome == FM_COORD_DONE)
        n->done++;
    else if (op->why == FM_COORD_WHY_FULL)
        n->full++;
    else if (op->outcome == FM_COORD_UNKNOWN)
        n->unknown++;
    else if (op->why == FM_COORD_WHY_CLOSED)
        n->closed++;
    else
        n->other++;
}

enum { FLOOD = FM_COORD_QUEUE_MAX + 44 };

static void the_queue_is_bounded(const struct drive_target *t)
{
    static struct fm_coord_op op[FLOOD];
    struct tally n = {0};
    struct drive d;
    drive_open(&d, t, NULL);
    for (size_t i = 0; i < FLOOD; i++) {
        op[i] = (struct fm_coord_op){.done = tallied, .user = &n};
        fm_coord_get(d.coord, &op[i], FM_STR("a"), false, false,
                     drive_in_ms(&d, DRIVE_DEADLINE_MS));
    }
    struct fm_mono end = drive_in_ms(&d, 2 * DRIVE_DEADLINE_MS);
    while (n.done + n.full + n.other < FLOOD && fm_mono_before(fm_mono_now(), end))
        fm_loop_turn(&d.loop, FM_NS_PER_MS);
    CHECK_EQ(n.other, 0);
    CHECK_EQ(n.full, FLOOD - FM_COORD_QUEUE_MAX);
    CHECK_EQ(n.done, FM_COORD_QUEUE_MAX);
    drive_close(&d);
}

static void closing_completes_everything_once(const struct drive_target *t)
{
    enum { SOME = 40 };
    static struct fm_coord_op op[SOME];
    struct tally n = {0};
    struct drive d;
    struct fm_coord_write w = {.key = fm_str_z(suite_key("a")), .value = FM_STR("1")};
    struct fm_coord_txn txn = {.write = &w, .nwrite = 1};
    drive_open(&d, t, NULL);
    (void)drive_put(&d, suite_key("b"), "1"); /* so that some are on their way */
    for (size_t i = 0; i < SOME; i++) {
        op[i] = (struct fm_coord_op){.done = tallied, .user = &n};
        fm_coord_commit(d.coord, &op[i], &txn, drive_in_ms(&d, DRIVE_DEADLINE_MS));
    }
    drive_close(&d);
    CHECK_EQ(n.done + n.full + n.other, 0);
    CHECK(n.unknown > 0);
    CHECK_EQ(n.unknown + n.closed, SOME);
}

/* -------- whose store it is -------- */

static void another_services_store_is_refused(const struct drive_target *t)
{
    struct drive d;
    /* where the store takes it at all, a stamp of ours under the prefix of another one:
     * /fulmar/another/stamp = {"fulmar":1,"service":"theirs","incarnation":"aa"} */
    drive_open(&d, t, NULL);
    (void)drive_put(&d, suite_key("a"), "1");
    (void)drive_post(
        &d, t, "/v3/kv/txn",
        "{\"success\":[{\"request_put\":{\"key\":\"L2Z1bG1hci9hbm90aGVyL3N0YW1w\","
        "\"value\":\"eyJmdWxtYXIiOjEsInNlcnZpY2UiOiJ0aGVpcnMiLCJpbmNhcm5hdGlvbiI6ImFhIn"
        "0=\"}}]}");
    drive_close(&d);
    drive_open(&d, t, &(struct fm_coord_config){.service = "another"});
    for (int i = 0; i < 2; i++) {
        drive_get(&d, suite_key("a"), false, false);
        CHECK_EQ(result.outcome, FM_COORD_NOT_DONE);
        CHECK_EQ(result.why, FM_COORD_WHY_SERVICE);
        CHECK(strstr(result.error, "another"));
    }
    struct fm_error e;
    CHECK_EQ(fm_coord_trouble(d.coord, &e), FM_COORD_WHY_SERVICE);
    drive_close(&d);
}

static void a_store_that_shows_less_is_noticed(const struct drive_target *t)
{
    struct drive d;
    drive_open(&d, t, NULL);
    (void)drive_put(&d, suite_key("a"), "1");
    struct fm_coord_known known = fm_coord_known(d.coord);
    CHECK(known.incarnation[0] && known.revision > 0);
    drive_close(&d);
    drive_open(&d, t, &(struct fm_coord_config){.known = known});
    drive_get(&d, suite_key("a"), false, false);
    CHECK_EQ(result.outcome, FM_COORD_DONE);
    drive_close(&d);
    struct fm_coord_known ahead = known, other = known;
    ahead.revision += 1000000;
    other.incarnation[0] = other.incarnation[0] == 'f' ? 'e' : 'f';
    for (int i = 0; i < 2; i++) {
        drive_open(&d, t, &(struct fm_coord_config){.known = i ? other : ahead});
        drive_get(&d, suite_key("a"), false, false);
        CHECK_EQ(result.outcome, FM_COORD_NOT_DONE);
        CHECK_EQ(result.why, FM_COORD_WHY_WENT_BACK);
        drive_close(&d);
    }
}

static void an_observer_writes_nothing(const struct drive_target *t)
{
    struct drive d;
    struct fm_coord_write w = {.key = fm_str_z(suite_key("a"))};
    drive_open(&d, t, &(struct fm_coord_config){.observe = true});
    drive_get(&d, "stamp", false, false);
    CHECK_EQ(result.outcome, FM_COORD_DONE);
    drive_commit(&d, &(struct fm_coord_txn){.write = &w, .nwrite = 1}, DRIVE_DEADLINE_MS);
    CHECK_EQ(result.outcome, FM_COORD_NOT_DONE);
    CHECK_EQ(result.why, FM_COORD_WHY_INVALID);
    drive_close(&d);
}

struct survey {
    bool over;
    size_t n, reachable, leading;
};

static void surveyed(void *user, const struct fm_coord_seen *seen, size_t n)
{
    struct survey *s = user;
    s->over = true;
    s->n = n;
    for (size_t i = 0; i < n; i++) {
        s->reachable += seen[i].reachable;
        s->leading += seen[i].leads;
        CHECK(!seen[i].reachable || (seen[i].version[0] && seen[i].revision && seen[i].cluster));
    }
}

static void the_endpoints_tell_of_themselves(const struct drive_target *t)
{
    struct drive d;
    struct survey s = {0};
    struct fm_error e;
    drive_open(&d, t, NULL);
    drive_get(&d, suite_key("a"), false, false);
    CHECK_EQ(fm_coord_survey(d.coord, drive_in_ms(&d, 5000), surveyed, &s, &e), FM_ERR_OK);
    CHECK_EQ(fm_coord_survey(d.coord, drive_in_ms(&d, 5000), surveyed, &s, &e), FM_ERR_STATE);
    drive_until(&d, &s.over);
    CHECK_EQ(s.n, t->n);
    CHECK_EQ(s.reachable, t->n);
    CHECK_EQ(s.leading, 1);
    drive_close(&d);
}

#define CASE(name)                                                                                 \
    {                                                                                              \
#name, name                                                                                \
    }

const struct suite_case suite[] = {
    CASE(what_is_not_there_is_absent),
    CASE(what_was_written_is_read),
    CASE(others_see_it_at_once),
    CASE(a_prefix_is_read_in_order_and_nothing_else),
    CASE(all_bytes_come_back),
    CASE(the_longest_value_comes_back),
    CASE(only_one_creates),
    CASE(a_swap_needs_the_last_revision),
    CASE(one_wrong_compare_stops_all),
    CASE(what_changes_nothing_has_no_revision),
    CASE(the_largest_transaction_works),
    CASE(what_is_out_of_bounds_is_never_sent),
    CASE(nobody_overwrites_another),
    CASE(the_queue_is_bounded),
    CASE(closing_completes_everything_once),
    CASE(another_services_store_is_refused),
    CASE(a_store_that_shows_less_is_noticed),
    CASE(an_observer_writes_nothing),
    CASE(the_endpoints_tell_of_themselves),
    CASE(watch_begins_fresh),
    CASE(watch_goes_on_from_a_revision),
    CASE(watch_survives_being_silent),
    CASE(watches_that_come_and_go_leave_nothing),
    CASE(watch_of_what_is_forgotten_begins_fresh),
    CASE(watch_keeps_transactions_whole),
    {NULL, NULL},
};
