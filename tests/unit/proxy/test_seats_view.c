/* Putting a view into seats. */
#include "given.h"

#include "proxy/seats_view.h"

#include <stdatomic.h>

static struct fm_conf *conf;
static struct fm_seats *seats;
static struct fm_view_doc doc;

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    conf = given_conf(
        "fulmar: 1\nservice: bank\npeer-tls: plaintext\n"
        "coordination: {etcd: {endpoints: {west: [\"http://127.0.0.1:2379\"]}}}\n"
        "hosts:\n  w: {region: west, roles: [gate, health, controller], address: 10.0.0.1}\n"
        "  n: {region: north, roles: [gate, health, controller], address: 10.0.0.2}\n"
        "edge: {listen: [{address: \"127.0.0.1:1\"}]}\n"
        "regions: {west: {apps: [\"127.0.0.1:9\"]}, north: {apps: [\"127.0.0.1:9\"]}}\n"
        "contexts:\n"
        "  ledger: {topology: active-passive, home: west, routes: [/ledger], needs: [], "
        "idempotency: {key: required, by: app}}\n"
        "  cards: {topology: affinity, cells: 2, routes: [\"/cards/{id}\"], needs: [], "
        "key: {path: id}, idempotency: {key: required, by: app}}\n"
        "  profile: {topology: multi-write, routes: [/profile], needs: []}\n");
    seats = fm_seats_new(NULL, NULL, NULL);
    assert_non_null(seats);
    fm_view_doc_init(&doc, FM_STR("bank"));
    return rc;
}

static int teardown(void **state)
{
    fm_view_doc_deinit(&doc);
    fm_seats_free(seats);
    fm_conf_free(conf);
    return fm_test_fds_after(state);
}

static struct fm_view_doc_context *add(const char *name, unsigned ncells)
{
    struct fm_view_doc_context *c = fm_view_doc_add(&doc, fm_str_z(name), ncells);
    assert_non_null(c);
    return c;
}

static void hold(struct fm_view_doc_cell *cell, const char *region, uint64_t epoch, bool released)
{
    cell->c = (struct fm_view_cell){.region = fm_view_doc_region(&doc, fm_str_z(region)),
                                    .epoch = {epoch},
                                    .gentle_from = {epoch - 1},
                                    .released = released};
}

static struct fm_seats_context *seats_of(const char *name, unsigned ncells)
{
    struct fm_seats_context *c;
    assert_int_equal(fm_seats_context(seats, fm_str_z(name), ncells, &c, NULL), FM_ERR_OK);
    return c;
}

static struct fm_view_cell seat(const char *name, unsigned ncells, unsigned cell)
{
    struct fm_view_cell v;
    fm_seats_read_view(seats_of(name, ncells), cell, &v);
    return v;
}

static void all_of_it_is_taken_in_the_numbers_of_the_file(void **state)
{
    (void)state;
    struct fm_view_doc_context *cards = add("cards", 2);
    hold(&cards->cell[0], "south", 5, false); /* this file knows of no such region */
    hold(&cards->cell[1], "north", 6, true);
    cards->cell[1].lapsed = true;
    struct fm_view_doc_context *ledger = add("ledger", 1);
    hold(&ledger->cell[0], "west", 7, false);
    ledger->read_only = true;
    add("other", 9);
    fm_seats_take_view(seats, conf, &doc);
    struct fm_view_cell v = seat("ledger", 1, 0);
    assert_int_equal(v.region, fm_conf_find_region(conf, FM_STR("west")));
    assert_int_equal(v.epoch.n, 7);
    assert_int_equal(v.gentle_from.n, 6);
    assert_false(v.released);
    assert_true(atomic_load(&seats_of("ledger", 1)->read_only));
    v = seat("cards", 2, 0);
    assert_true(v.released && v.region >= conf->nregions);
    v = seat("cards", 2, 1);
    assert_true(v.released && v.epoch.n == 6);
    assert_true(fm_seats_has_lapsed(seats_of("cards", 2), 1));
    assert_false(fm_seats_has_lapsed(seats_of("cards", 2), 0));

    cards->cell[1].lapsed = false;
    ledger->read_only = false;
    fm_seats_take_view(seats, conf, &doc);
    assert_false(fm_seats_has_lapsed(seats_of("cards", 2), 1));
    assert_false(atomic_load(&seats_of("ledger", 1)->read_only));
}

static void a_sublease_stays_as_it_is(void **state)
{
    (void)state;
    struct fm_sublease_cell mine = {.epoch = {3}};
    fm_seats_publish_sublease(seats_of("ledger", 1), 0, &mine);
    struct fm_view_doc_context *ledger = add("ledger", 1);
    hold(&ledger->cell[0], "north", 9, false);
    ledger->cell[0].lapsed = ledger->read_only = true;
    fm_seats_take_view(seats, conf, &doc);
    struct fm_sublease_cell after;
    fm_seats_read_sublease(seats_of("ledger", 1), 0, &after);
    assert_int_equal(after.epoch.n, 3);
    assert_int_equal(seat("ledger", 1, 0).epoch.n, 9);
    assert_true(fm_seats_has_lapsed(seats_of("ledger", 1), 0));
    assert_true(atomic_load(&seats_of("ledger", 1)->read_only));
}

static void what_does_not_fit_is_left_alone(void **state)
{
    (void)state;
    struct fm_view_doc_context *ledger = add("ledger", 2);
    hold(&ledger->cell[0], "north", 9, false);
    fm_seats_take_view(seats, conf, &doc);
    assert_int_equal(seat("ledger", 1, 0).epoch.n, 0);
}

#define with_seats(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_seats(all_of_it_is_taken_in_the_numbers_of_the_file),
             with_seats(a_sublease_stays_as_it_is), with_seats(what_does_not_fit_is_left_alone))
