/* The plan of a new seed: what is written and compared, and what stands against it. */
#include "given.h"

#include "agent/seed.h"

#include <stdio.h>
#include <stdlib.h>

static const char text[] =
    "fulmar: 1\n"
    "service: bank\n"
    "peer-tls: plaintext\n"
    "coordination: {etcd: {endpoints: {west: [\"http://10.0.1.5:2379\"], north: "
    "[\"http://10.0.2.5:2379\"], east: [\"http://10.0.3.5:2379\"]}}}\n"
    "hosts:\n"
    "  west-1: {region: west, roles: [gate, health, controller], address: 10.0.1.1}\n"
    "  west-2: {region: west, roles: [gate, health, controller], address: 10.0.1.2}\n"
    "  north-1: {region: north, roles: [gate, health, controller], address: 10.0.2.1}\n"
    "  east-1: {region: east, roles: [witness], address: 10.0.3.1}\n"
    "regions:\n"
    "  west: {priority: 1, apps: [\"10.0.1.1:9000\"]}\n"
    "  north: {priority: 2, apps: [\"10.0.2.1:9000\"]}\n"
    "  east: {witness: true}\n"
    "contexts:\n"
    "  ledger: {topology: active-passive, home: west, routes: [\"/ledger/**\"], needs: [], "
    "failover: {at-most: 3 per 1h}}\n"
    "  cards: {topology: affinity, cells: 64, key: {path: card}, routes: [\"/cards/{card}/**\"], "
    "needs: []}\n"
    "  profile: {topology: multi-write, routes: [\"/profile/**\"]}\n";

enum { WEST, NORTH, EAST, STORE = 0xabc };

static struct fm_conf *conf;
static struct fm_seed *seed;
static struct fm_error error;
static const struct fm_seed_who who = {"ann@west-1", "a test", 1000, 0};

static int begin(void **state)
{
    int rc = fm_test_fds_before(state);
    conf = given_conf(text);
    seed = fm_seed_new(conf, &error);
    assert_non_null(seed);
    return rc;
}

static int end(void **state)
{
    fm_seed_free(seed);
    fm_conf_free(conf);
    return fm_test_fds_after(state);
}

static void stands(const char *key, const char *value, uint64_t revision)
{
    fm_seed_take(seed, &(struct fm_coord_kv){fm_str_z(key), fm_str_z(value), revision});
}

#define CELL(region, epoch)                                                                        \
    "{\"v\":1,\"region\":\"" region "\",\"state\":\"held\",\"epoch\":" epoch                       \
    ",\"gentle_from\":1,\"members\":{\"west\":[\"west-1\"],\"north\":[\"north-1\",\"gone-1\"]}}"

static void cards_stand(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        char key[32];
        snprintf(key, sizeof key, "cell/cards/%u", i);
        stands(key, CELL("north", "2"), 10 + i);
    }
}

static void a_copy_stands(void)
{
    stands("stamp", "whatever", 2);
    stands("view", "{\"v\":1,\"incarnation\":1,\"generation\":1}", 3);
    stands("cell/ledger/0", CELL("west", "3"), 5);
    stands("budget/ledger", "{\"v\":1,\"spent\":2,\"freed\":1}", 6);
    stands("region/west/keeper", "{\"v\":1,\"agent\":\"west-1\",\"incarnation\":4}", 7);
    cards_stand(0, 60); /* the last ones are not in the copy */
}

/* All of the file in their order. A host that `said` is 0 for is silent. */
static void everybody_says(const uint64_t said[4], const char *holder, bool frozen)
{
    static struct fm_said s;
    for (unsigned i = 0; i < 4; i++) {
        s = (struct fm_said){.reads = STORE};
        if (said[i] == 0) {
            fm_seed_hear(seed, &conf->hosts[i], NULL);
            continue;
        }
        struct fm_marks_context *c = fm_marks_place(&s.marks, FM_STR("ledger"), 1);
        c->marks.incarnation.n = 1;
        c->marks.epoch[0].n = said[i];
        if (holder)
            c->marks.holder[0] =
                (uint8_t)(fm_roster_region(fm_seed_roster(seed), fm_str_z(holder)) + 1);
        s.context[0] = (struct fm_said_context){true, frozen, false, 0};
        c = fm_marks_place(&s.marks, FM_STR("cards"), 64);
        for (unsigned k = 0; k < 64; k++) {
            c->marks.epoch[k].n = k == 63 ? 0 : 2; /* one was never founded */
            c->marks.holder[k] = NORTH + 1;
        }
        fm_marks_place(&s.marks, FM_STR("of-an-earlier-file"), 5);
        fm_seed_hear(seed, &conf->hosts[i], &s);
    }
}

static void make(void)
{
    if (fm_seed_make(seed, &who, &error))
        fail_msg("%s", error.msg);
}

/* The value that is written to this key, and the revision that it is compared with. */
static char *written(const char *key, uint64_t *compared, unsigned *in)
{
    struct fm_coord_txn t;
    char *value = NULL;
    for (unsigned i = 0; fm_seed_txn(seed, i, &t); i++) {
        for (size_t k = 0; k < t.nwrite; k++) {
            if (!fm_str_eqz(t.write[k].key, key))
                continue;
            assert_null(value);
            value = strndup(t.write[k].value.p, t.write[k].value.n);
            *in = i;
            *compared = UINT64_MAX;
            for (size_t c = 0; c < t.ncompare; c++)
                if (fm_str_eqz(t.compare[c].key, key))
                    *compared = t.compare[c].revision;
        }
    }
    return value;
}

static void is_written(const char *key, uint64_t revision, const char *value)
{
    uint64_t compared;
    unsigned in;
    char *is = written(key, &compared, &in);
    if (!is)
        fail_msg("%s is not written", key);
    assert_string_equal(is, value);
    assert_int_equal(compared, revision);
    free(is);
}

static void what_is_written_is_above_everything(void **state)
{
    (void)state;
    a_copy_stands();
    everybody_says((uint64_t[]){7, 7, 6, 5}, "north", true);
    make();
    assert_int_equal(fm_seed_incarnation(seed), 2);
    is_written("cell/ledger/0", 5,
               "{\"v\":1,\"region\":\"north\",\"state\":\"released\",\"to\":\"north\",\"epoch\":8,"
               "\"gentle_from\":8,\"members\":{\"west\":[\"west-1\"],\"north\":[\"north-1\","
               "\"gone-1\"]}}");
    /* what is not in the copy has the members of the file */
    is_written("cell/cards/62", 0,
               "{\"v\":1,\"region\":\"north\",\"state\":\"released\",\"to\":\"north\",\"epoch\":3,"
               "\"gentle_from\":3,\"members\":{\"west\":[\"west-1\",\"west-2\"],\"north\":["
               "\"north-1\"]}}");
    is_written("budget/ledger", 6, "{\"v\":1,\"spent\":4,\"freed\":1}");
    is_written("view", 3, "{\"v\":1,\"incarnation\":2,\"generation\":1}");
    uint64_t compared;
    unsigned in;
    assert_null(written("cell/cards/63", &compared, &in)); /* its home founds it */
    char *audit = written("reseed/2", &compared, &in);
    json_t *o = json_loads(audit, 0, NULL);
    free(audit);
    assert_int_equal(compared, 0);
    assert_string_equal(json_string_value(json_object_get(o, "by")), "ann@west-1");
    assert_string_equal(json_string_value(json_object_get(o, "reason")), "a test");
    assert_string_equal(json_string_value(json_object_get(o, "at")), "1970-01-01T00:00:00.000001Z");
    assert_int_equal(json_array_size(json_object_get(o, "silent")), 0);
    json_decref(o);
}

static void the_view_comes_last_and_every_part_depends_on_it(void **state)
{
    (void)state;
    struct fm_coord_txn t;
    unsigned n = 0, view = 0, audit = 0, in;
    uint64_t compared;
    a_copy_stands();
    everybody_says((uint64_t[]){7, 7, 6, 5}, "north", true);
    make();
    size_t writes = 0;
    for (; fm_seed_txn(seed, n, &t); n++) {
        bool on_view = false;
        assert_true(t.nwrite > 0 && t.ncompare < FM_COORD_TXN_MAX);
        for (size_t k = 0; k < t.ncompare; k++)
            on_view |= fm_str_eqz(t.compare[k].key, "view") && t.compare[k].revision == 3;
        assert_true(on_view);
        assert_true(t.ncompare >= t.nwrite);
        writes += t.nwrite;
    }
    assert_int_equal(n, 2);
    assert_int_equal(writes, 1 + 63 + 2 + 2); /* cells, budgets, the record of who, the view */
    free(written("view", &compared, &view));
    free(written("reseed/2", &compared, &audit));
    assert_true(view == n - 1 && audit == n - 1);
    free(written("cell/ledger/0", &compared, &in));
    assert_int_equal(in, 0);
}

/* As many cells as let the first transaction end with a budget. */
static void what_tells_of_a_transaction_is_what_it_changes(void **state)
{
    (void)state;
    struct fm_coord_txn t;
    char mem[sizeof text];
    memcpy(mem, text, sizeof text);
    char *cells = strstr(mem, "cells: 64");
    assert_non_null(cells);
    memcpy(cells, "cells: 45", 9);
    fm_seed_free(seed);
    fm_conf_free(conf);
    conf = given_conf(mem);
    seed = fm_seed_new(conf, &error);
    assert_non_null(seed);
    stands("view", "{\"v\":1,\"incarnation\":1,\"generation\":5}", 3);
    stands("cell/ledger/0", CELL("west", "4"), 7);
    stands("budget/ledger", "{\"v\":1,\"spent\":3,\"freed\":0}", 8); /* it is used up already */
    for (unsigned i = 0; i < 45; i++) {
        char key[32];
        snprintf(key, sizeof key, "cell/cards/%u", i);
        stands(key, CELL("west", "4"), 9);
    }
    make();
    assert_true(fm_seed_txn(seed, 0, &t));
    assert_true(fm_str_eqz(t.write[t.nwrite - 1].key, "budget/ledger"));
    assert_true(fm_str_eqz(t.write[t.nwrite - 1].value, "{\"v\":1,\"spent\":3,\"freed\":0}"));
    assert_true(fm_str_eqz(fm_seed_proof(&t)->key, "cell/ledger/0"));
    assert_true(fm_seed_txn(seed, 1, &t));
    assert_true(fm_str_eqz(fm_seed_proof(&t)->key, "reseed/2"));
    assert_false(fm_seed_txn(seed, 2, &t));
}

static void a_store_without_anything_is_seeded_from_what_was_seen(void **state)
{
    (void)state;
    everybody_says((uint64_t[]){7, 7, 6, 5}, "west", true);
    make();
    is_written("view", 0, "{\"v\":1,\"incarnation\":2,\"generation\":1}");
    is_written("budget/ledger", 0, "{\"v\":1,\"spent\":3,\"freed\":0}");
}

static void where_somebody_is_silent_there_is_a_margin(void **state)
{
    (void)state;
    a_copy_stands();
    everybody_says((uint64_t[]){7, 0, 6, 5}, "north", true); /* its region answers, it does not */
    struct fm_seed_refusal no;
    assert_false(fm_seed_refuses(seed, FM_SEED_UNREACHABLE, STORE, &no));
    make();
    const struct fm_seed_context *c = fm_seed_context(seed, 0);
    assert_int_equal(c->cell[0].to.epoch.n, 8 + FM_RESEED_MARGIN);
    assert_int_equal(fm_seed_incarnation(seed), 2 + FM_RESEED_MARGIN);
}

/* The rules that refuse, by their names. */
static const char *refused(uint64_t store)
{
    static char list[256];
    struct fm_seed_refusal no;
    list[0] = 0;
    for (unsigned i = 0; i < FM_SEED_RULE_COUNT; i++) {
        enum fm_seed_rule rule = (enum fm_seed_rule)i;
        if (!fm_seed_refuses(seed, rule, store, &no))
            continue;
        assert_true(no.evidence[0] && no.remedy[0]);
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", list[0] ? " " : "",
                 fm_seed_rule_name(rule));
    }
    return list;
}

static void what_is_frozen_and_known_may_be_seeded(void **state)
{
    (void)state;
    a_copy_stands();
    everybody_says((uint64_t[]){7, 7, 6, 5}, "north", true);
    assert_string_equal(refused(STORE), "");
}

static void a_region_of_which_nobody_answers_refuses(void **state)
{
    (void)state;
    a_copy_stands();
    everybody_says((uint64_t[]){7, 7, 0, 0}, "north", true); /* a witness need not */
    struct fm_seed_refusal no;
    assert_string_equal(refused(STORE), "unreachable");
    assert_true(fm_seed_refuses(seed, FM_SEED_UNREACHABLE, STORE, &no));
    assert_non_null(strstr(no.evidence, "no controller answers in north:"));
    assert_true(fm_seed_rule_yields(FM_SEED_UNREACHABLE));
}

static void what_shows_all_that_was_seen_is_left_alone(void **state)
{
    (void)state;
    a_copy_stands();
    cards_stand(60, 63);
    everybody_says((uint64_t[]){3, 3, 2, 3}, "west", false);
    assert_string_equal(refused(STORE), "not-frozen");
}

/* All disks were lost: nobody could say that it is older, and nobody acts upon it. */
static void what_nobody_knows_anything_of_may_be_seeded(void **state)
{
    (void)state;
    static struct fm_said s = {.reads = STORE};
    a_copy_stands();
    fm_marks_place(&s.marks, FM_STR("ledger"), 1);
    s.context[0] = (struct fm_said_context){true, false, true, 0};
    for (unsigned i = 0; i < 4; i++)
        fm_seed_hear(seed, &conf->hosts[i], &s);
    assert_string_equal(refused(STORE), "");
    make();
    assert_int_equal(fm_seed_context(seed, 0)->cell[0].to.epoch.n, 4);
}

/* Nobody has noticed yet. */
static void a_store_that_shows_less_may_be_seeded_before_it_was_noticed(void **state)
{
    (void)state;
    a_copy_stands();
    cards_stand(60, 63);
    everybody_says((uint64_t[]){3, 4, 2, 3}, "west", false);
    assert_string_equal(refused(STORE), "");
}

static void nobody_knows_who_held_it(void **state)
{
    (void)state;
    a_copy_stands();
    everybody_says((uint64_t[]){7, 7, 6, 5}, NULL, true);
    assert_string_equal(refused(STORE), "holder-unknown");
    struct fm_seed_refusal no;
    assert_true(fm_seed_refuses(seed, FM_SEED_HOLDER_UNKNOWN, STORE, &no));
    assert_non_null(strstr(no.evidence, "ledger/0 was held under epoch 7"));
    assert_non_null(strstr(no.evidence, "west, under epoch 3"));
}

static void two_stores_in_use_do_not_yield(void **state)
{
    (void)state;
    static struct fm_said s = {.reads = STORE + 1};
    a_copy_stands();
    struct fm_marks_context *c = fm_marks_place(&s.marks, FM_STR("ledger"), 1);
    c->marks.epoch[0].n = 7;
    c->marks.holder[0] = WEST + 1;
    s.context[0] = (struct fm_said_context){true, false, false, 1200};
    for (unsigned i = 0; i < 4; i++)
        fm_seed_hear(seed, &conf->hosts[i], &s);
    assert_string_equal(refused(STORE), "two-stores");
    assert_string_equal(refused(STORE + 1), "");
    assert_false(fm_seed_rule_yields(FM_SEED_TWO_STORES));
}

static void what_cannot_be_read_does_not_yield(void **state)
{
    (void)state;
    a_copy_stands();
    stands("cell/ledger/0", "{\"v\":2}", 99);
    everybody_says((uint64_t[]){7, 7, 6, 5}, "north", true);
    assert_string_equal(refused(STORE), "unreadable");
    assert_false(fm_seed_rule_yields(FM_SEED_UNREADABLE));
}

static void what_no_record_can_hold_is_not_written(void **state)
{
    (void)state;
    a_copy_stands();
    everybody_says((uint64_t[]){(UINT64_C(1) << 53) - 1, 7, 6, 5}, "north", true);
    assert_int_equal(fm_seed_make(seed, &who, &error), FM_ERR_LIMIT);
    assert_non_null(strstr(error.msg, "ledger/0"));
    fm_seed_free(seed);
    seed = fm_seed_new(conf, &error);
    assert_non_null(seed);
    struct fm_seed_who bad = who;
    bad.reason = "\xff";
    assert_int_equal(fm_seed_make(seed, &bad, &error), FM_ERR_INVALID);
}

FM_TEST_MAIN(fm_test_with(what_is_written_is_above_everything, begin, end),
             fm_test_with(the_view_comes_last_and_every_part_depends_on_it, begin, end),
             fm_test_with(what_tells_of_a_transaction_is_what_it_changes, begin, end),
             fm_test_with(a_store_without_anything_is_seeded_from_what_was_seen, begin, end),
             fm_test_with(where_somebody_is_silent_there_is_a_margin, begin, end),
             fm_test_with(what_is_frozen_and_known_may_be_seeded, begin, end),
             fm_test_with(a_region_of_which_nobody_answers_refuses, begin, end),
             fm_test_with(what_shows_all_that_was_seen_is_left_alone, begin, end),
             fm_test_with(what_nobody_knows_anything_of_may_be_seeded, begin, end),
             fm_test_with(a_store_that_shows_less_may_be_seeded_before_it_was_noticed, begin, end),
             fm_test_with(nobody_knows_who_held_it, begin, end),
             fm_test_with(two_stores_in_use_do_not_yield, begin, end),
             fm_test_with(what_cannot_be_read_does_not_yield, begin, end),
             fm_test_with(what_no_record_can_hold_is_not_written, begin, end))
