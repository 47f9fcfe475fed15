/* Pin lists and directories: read by a loader, handed to workers, read again. */
#include "given.h"

#include "proxy/keyfiles.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct net kept;
static struct fm_mailbox control, inbox[2];
static struct fm_keyfiles *files;
static struct fm_conf *conf;
static char pins[64], directory[64];

static const char text[] =
    "fulmar: 1\nservice: bank\nedge: {listen: [{address: \"127.0.0.1:1\"}]}\n"
    "coordination: {sqlite: /tmp/none.db}\n"
    "hosts:\n"
    "  w: {region: west, roles: [gate, health, controller, coordination], address: 127.0.0.1,\n"
    "      gate: \"127.0.0.1:2\", peer: \"127.0.0.1:3\", admin: \"127.0.0.1:4\"}\n"
    "  n: {region: north, roles: [gate, health, controller], address: 127.0.0.1,\n"
    "      gate: \"127.0.0.1:5\", peer: \"127.0.0.1:6\", admin: \"127.0.0.1:7\"}\n"
    "regions: {west: {apps: [\"127.0.0.1:8\"]}, north: {apps: [\"127.0.0.1:9\"]}}\n"
    "contexts:\n"
    "  cards: {topology: affinity, cells: 4, key: {path: card}, routes: [\"/c/{card}\"],\n"
    "          homes: {by: hash, pins: %s}}\n"
    "  shops: {topology: affinity, cells: 4, key: {path: shop}, routes: [\"/s/{shop}\"],\n"
    "          homes: {by: directory, directory: %s}}\n"
    "  plain: {topology: affinity, cells: 4, key: {path: x}, routes: [\"/p/{x}\"]}\n";

static void put(const char *path, const char *what)
{
    char next[80];
    snprintf(next, sizeof next, "%s.new", path);
    FILE *f = fopen(next, "w");
    assert_non_null(f);
    assert_true(fputs(what, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(rename(next, path), 0);
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    char mem[4096];
    net_open(&kept, 4096, 4);
    assert_int_equal(fm_mailbox_open(&control, &kept.loop, NULL, NULL), FM_ERR_OK);
    for (unsigned w = 0; w < 2; w++)
        assert_int_equal(fm_mailbox_open(&inbox[w], &kept.loop, NULL, NULL), FM_ERR_OK);
    snprintf(pins, sizeof pins, "/tmp/fulmar-pins-%d.csv", (int)getpid());
    snprintf(directory, sizeof directory, "/tmp/fulmar-shops-%d.csv", (int)getpid());
    put(pins, "4711,0\n");
    put(directory, "acme,2\nother,north\n");
    snprintf(mem, sizeof mem, text, pins, directory);
    conf = given_conf(mem);
    files = fm_keyfiles_new(&control, 2);
    assert_non_null(files);
    for (unsigned w = 0; w < 2; w++)
        fm_keyfiles_worker(files, w, &inbox[w]);
    struct fm_error e;
    assert_int_equal(fm_keyfiles_load(files, conf, &e), FM_ERR_OK);
    return rc;
}

static int teardown(void **state)
{
    for (unsigned w = 0; w < 2; w++)
        fm_mailbox_close(&inbox[w]);
    fm_keyfiles_free(files, &kept.loop);
    fm_mailbox_close(&control);
    net_close(&kept);
    fm_conf_free(conf);
    (void)unlink(pins);
    (void)unlink(directory);
    return fm_test_fds_after(state);
}

static bool look(const char *context, unsigned worker, struct fm_cells *out)
{
    struct fm_keyfiles_entry *e = fm_keyfiles_find(files, fm_str_z(context));
    assert_non_null(e);
    *out = (struct fm_cells){.count = 4};
    bool cards = strcmp(context, "cards") == 0;
    return fm_keyfiles_cells(e, (struct fm_keyfiles_has){.pins = cards, .directory = !cards},
                             worker, out);
}

static uint32_t cell(const char *context, unsigned worker, const char *key, enum fm_cell_by by)
{
    struct fm_cells c;
    uint32_t at = 99;
    assert_true(look(context, worker, &c));
    assert_int_equal(fm_cell_find(&c, fm_str_z(key), &at), by);
    return at;
}

static void until_known(void)
{
    struct fm_cells c;
    for (unsigned w = 0; w < 2; w++) {
        NET_UNTIL(&kept, look("cards", w, &c));
        NET_UNTIL(&kept, look("shops", w, &c));
    }
}

static void nobody_knows_before_it_is_read(void **state)
{
    (void)state;
    struct fm_cells c;
    assert_null(fm_keyfiles_find(files, FM_STR("plain")));
    assert_false(look("cards", 0, &c)); /* nothing of it was handed out yet */
    until_known();
}

static void pins_go_before_the_hash_and_a_directory_replaces_it(void **state)
{
    (void)state;
    until_known();
    for (unsigned w = 0; w < 2; w++) {
        assert_int_equal(cell("cards", w, "4711", FM_CELL_BY_PIN), 0);
        assert_int_equal(cell("cards", w, "4712", FM_CELL_BY_HASH),
                         fm_cell_of(fm_cell_hash(FM_STR("4712")), 4));
        assert_int_equal(cell("shops", w, "acme", FM_CELL_BY_DIRECTORY), 2);
        assert_int_equal(cell("shops", w, "other", FM_CELL_BY_DIRECTORY) % 2,
                         1); /* at home there */
        (void)cell("shops", w, "nobody", FM_CELL_ABSENT);
    }
}

static bool is_cell_1(void)
{
    struct fm_cells c;
    uint32_t at = 0;
    return look("cards", 0, &c) && fm_cell_find(&c, FM_STR("4711"), &at) == FM_CELL_BY_PIN &&
           at == 1;
}

static bool has_error(void)
{
    json_t *all = fm_keyfiles_json(files);
    bool any = false;
    for (size_t i = 0; i < json_array_size(all); i++) {
        json_t *p = json_object_get(json_array_get(all, i), "pins");
        any |= p && json_is_string(json_object_get(p, "error"));
    }
    json_decref(all);
    return any;
}

static void a_file_is_read_again_and_a_broken_one_changes_nothing(void **state)
{
    (void)state;
    struct fm_error e;
    until_known();
    put(pins, "4711,1\n");
    assert_int_equal(fm_keyfiles_load(files, conf, &e), FM_ERR_OK);
    NET_UNTIL(&kept, is_cell_1());
    put(pins, "4711,99\n");
    assert_int_equal(fm_keyfiles_load(files, conf, &e), FM_ERR_OK);
    NET_UNTIL(&kept, has_error());
    assert_true(is_cell_1());
}

/* North before west, and cards without a file. */
static const char changed[] =
    "fulmar: 1\nservice: bank\nedge: {listen: [{address: \"127.0.0.1:1\"}]}\n"
    "coordination: {sqlite: /tmp/none.db}\n"
    "hosts:\n"
    "  w: {region: west, roles: [gate, health, controller, coordination], address: 127.0.0.1,\n"
    "      gate: \"127.0.0.1:2\", peer: \"127.0.0.1:3\", admin: \"127.0.0.1:4\"}\n"
    "  n: {region: north, roles: [gate, health, controller], address: 127.0.0.1,\n"
    "      gate: \"127.0.0.1:5\", peer: \"127.0.0.1:6\", admin: \"127.0.0.1:7\"}\n"
    "regions: {north: {apps: [\"127.0.0.1:9\"]}, west: {apps: [\"127.0.0.1:8\"]}}\n"
    "contexts:\n"
    "  cards: {topology: affinity, cells: 4, key: {path: card}, routes: [\"/c/{card}\"]}\n"
    "  shops: {topology: affinity, cells: 4, key: {path: shop}, routes: [\"/s/{shop}\"],\n"
    "          homes: {by: directory, directory: %s}}\n";

static bool is_at_home(const struct fm_conf *c, const char *key)
{
    struct fm_cells cells;
    uint32_t at = 99, want = 99;
    int context = fm_conf_find_context(c, FM_STR("shops"));
    int north = fm_conf_find_region(c, FM_STR("north"));
    assert_true(fm_cell_at_home(fm_cell_hash(fm_str_z(key)), c->contexts[context].cell_home, 4,
                                (unsigned)north, &want));
    return look("shops", 0, &cells) &&
           fm_cell_find(&cells, fm_str_z(key), &at) == FM_CELL_BY_DIRECTORY && at == want;
}

static void a_reload_changes_homes_and_which_files_there_are(void **state)
{
    (void)state;
    char mem[4096];
    struct fm_error e;
    until_known();
    assert_true(is_at_home(conf, "other"));
    snprintf(mem, sizeof mem, changed, directory);
    struct fm_board *board = given_board(mem, 2);
    struct fm_seats *seats = fm_seats_new(NULL, NULL, NULL);
    board->keyfiles = files;
    board->seats = seats;
    assert_false(is_at_home(board->conf, "other"));
    assert_int_equal(fm_keyfiles_load(files, board->conf, &e), FM_ERR_OK);
    /* who still goes by the view of before has what that view says */
    assert_int_equal(cell("cards", 0, "4711", FM_CELL_BY_PIN), 0);
    NET_UNTIL(&kept, is_at_home(board->conf, "other"));
    assert_int_equal(cell("cards", 0, "4711", FM_CELL_BY_PIN), 0);
    struct fm_view *v = fm_view_new(board, FM_PROXY_EDGE, 1, NULL, 0);
    assert_non_null(v);
    const struct fm_view_context *c = &v->contexts[fm_conf_find_context(v->conf, FM_STR("cards"))];
    assert_false(c->has_files.pins || c->has_files.directory);
    c = &v->contexts[fm_conf_find_context(v->conf, FM_STR("shops"))];
    assert_true(c->has_files.directory && !c->has_files.pins);
    assert_ptr_equal(c->keyfiles, fm_keyfiles_find(files, FM_STR("shops")));
    fm_view_unref(v);
    fm_board_unref(board);
    fm_seats_free(seats);
}

static void a_context_that_comes_back_with_other_cells_is_refused(void **state)
{
    (void)state;
    char mem[4096];
    struct fm_error e = {0};
    until_known();
    snprintf(mem, sizeof mem, text, pins, directory);
    char *cells = strstr(mem, "cells: 4");
    assert_non_null(cells);
    cells[7] = '8'; /* of cards: a reload has taken it out, and another one brings it back */
    struct fm_conf *other = given_conf(mem);
    assert_int_equal(fm_keyfiles_load(files, other, &e), FM_ERR_STATE);
    fm_conf_free(other);
    assert_int_equal(cell("cards", 0, "4711", FM_CELL_BY_PIN), 0); /* what is there goes on */
}

static void as_many_workers_as_a_large_machine_has(void **state)
{
    (void)state;
    struct fm_keyfiles *k = fm_keyfiles_new(&control, 1024);
    assert_non_null(k);
    fm_keyfiles_worker(k, 1023, &inbox[0]);
    fm_keyfiles_free(k, &kept.loop);
}

FM_TEST_MAIN(fm_test_with(a_context_that_comes_back_with_other_cells_is_refused, setup, teardown),
             fm_test_with(as_many_workers_as_a_large_machine_has, setup, teardown),
             fm_test_with(a_reload_changes_homes_and_which_files_there_are, setup, teardown),
             fm_test_with(nobody_knows_before_it_is_read, setup, teardown),
             fm_test_with(pins_go_before_the_hash_and_a_directory_replaces_it, setup, teardown),
             fm_test_with(a_file_is_read_again_and_a_broken_one_changes_nothing, setup, teardown))
