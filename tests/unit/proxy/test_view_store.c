/* Writing views beside the loop. */
#include "net.h"

#include "proxy/view_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct net net;
static struct fm_mailbox box;
static char folder[64];
static struct fm_view_doc doc;
static struct fm_view_store *store;

static char *path(const char *name)
{
    static char p[2][128];
    static unsigned next;
    char *to = p[next++ % 2];
    snprintf(to, sizeof p[0], "%s/%s", folder, name);
    return to;
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    struct fm_error e;
    net_open(&net, 16 * 1024, 4);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(fm_mailbox_open(&box, &net.loop, NULL, NULL), FM_ERR_OK);
    snprintf(folder, sizeof folder, "/tmp/fulmar-store-XXXXXX");
    assert_non_null(mkdtemp(folder));
    fm_view_doc_init(&doc, FM_STR("bank"));
    assert_non_null(fm_view_doc_add(&doc, FM_STR("ledger"), 1));
    store = fm_view_store_open(&box, folder, false, &e);
    assert_non_null(store);
    return rc;
}

static int teardown(void **state)
{
    static const char *const names[] = {"view", "view.old", "view.new"};
    fm_view_store_close(store);
    store = NULL;
    fm_mailbox_close(&box);
    fm_view_doc_deinit(&doc);
    net_close(&net);
    for (size_t i = 0; i < FM_COUNT(names); i++)
        (void)unlink(path(names[i]));
    (void)rmdir(path("view.new"));
    assert_int_equal(rmdir(folder), 0);
    return fm_test_fds_after(state);
}

static void put(uint64_t generation)
{
    char *bytes;
    size_t n;
    doc.generation.n = doc.context[0].generation.n = generation;
    assert_int_equal(fm_view_file_pack(&doc, &bytes, &n, NULL), FM_ERR_OK);
    fm_view_store_put(store, bytes, n);
}

static uint64_t on_disk(void)
{
    struct fm_view_doc back;
    struct fm_view_found found;
    if (fm_view_file_load(folder, FM_STR("bank"), &back, &found, NULL))
        return 0;
    uint64_t generation = back.generation.n;
    fm_view_doc_deinit(&back);
    return generation;
}

static void writes_the_newest(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 50; i++)
        put(i);
    assert_true(fm_view_store_is_busy(store));
    NET_UNTIL(&net, !fm_view_store_is_busy(store));
    assert_int_equal(on_disk(), 50);
    assert_null(fm_view_store_trouble(store));
}

static void what_waits_at_the_end_is_written(void **state)
{
    (void)state;
    put(1);
    put(2);
    put(3);
    fm_view_store_close(store);
    store = NULL;
    assert_int_equal(on_disk(), 3);
}

static void tries_again(void **state)
{
    (void)state;
    assert_int_equal(mkdir(path("view.new"), 0700), 0); /* in the way */
    put(1);
    NET_UNTIL(&net, fm_view_store_trouble(store));
    assert_non_null(strstr(fm_view_store_trouble(store), "cannot write"));
    assert_int_equal(rmdir(path("view.new")), 0);
    net_skip_ms(1500);
    NET_UNTIL(&net, !fm_view_store_is_busy(store));
    assert_null(fm_view_store_trouble(store));
    assert_int_equal(on_disk(), 1);
    assert_int_equal(mkdir(path("view.new"), 0700), 0);
    put(2);
    NET_UNTIL(&net, fm_view_store_trouble(store));
    put(3); /* newer than what failed */
    assert_int_equal(rmdir(path("view.new")), 0);
    net_skip_ms(1500);
    NET_UNTIL(&net, !fm_view_store_is_busy(store));
    assert_int_equal(on_disk(), 3);
}

static void the_end_does_not_wait_for_a_disk_that_fails(void **state)
{
    (void)state;
    assert_int_equal(mkdir(path("view.new"), 0700), 0);
    put(1);
    fm_view_store_close(store);
    store = NULL;
    assert_int_equal(on_disk(), 0);
}

#define with_store(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_store(writes_the_newest), with_store(what_waits_at_the_end_is_written),
             with_store(tries_again), with_store(the_end_does_not_wait_for_a_disk_that_fails))
