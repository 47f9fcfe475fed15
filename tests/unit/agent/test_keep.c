/* Keeping marks on the disk: what is durable, what the next start finds, what happens where the
 * disk does not take it. */
#include "net.h"

#include "agent/keep.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct net net;
static struct fm_mailbox mailbox;
static char folder[64], path[128];
static unsigned told;
static struct fm_roster *roster;

static void written(void *user)
{
    assert_ptr_equal(user, &net);
    told++;
}

static int begin(void **state)
{
    int rc = fm_test_fds_before(state);
    struct fm_error e;
    snprintf(folder, sizeof folder, "/tmp/fulmar-keep-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/" FM_KEEP_FILE, folder);
    roster = fm_roster_new();
    assert_non_null(roster);
    net_open(&net, 4096, 4);
    assert_int_equal(fm_mailbox_open(&mailbox, &net.loop, NULL, &e), FM_ERR_OK);
    told = 0;
    return rc;
}

static int end(void **state)
{
    fm_mailbox_close(&mailbox);
    net_close(&net);
    fm_roster_free(roster);
    (void)unlink(path);
    assert_int_equal(rmdir(folder), 0);
    return fm_test_fds_after(state);
}

static struct fm_keep *keep_open(const char *service, struct fm_error *e)
{
    struct fm_keep_config c = {.path = path,
                               .service = service,
                               .roster = roster,
                               .mailbox = &mailbox,
                               .written = written,
                               .user = &net};
    return fm_keep_open(&c, e);
}

static struct fm_keep *opened(void)
{
    struct fm_error e = {.msg = ""};
    struct fm_keep *k = keep_open("bank", &e);
    if (!k)
        fail_msg("%s", e.msg);
    return k;
}

static struct fm_marks marks(uint64_t epoch)
{
    return (struct fm_marks){.store_id = 9, .store = {100}, .incarnation = {1}, .epoch = {{epoch}}};
}

static void what_is_durable_is_found_by_the_next_life(void **state)
{
    (void)state;
    struct fm_keep *k = opened();
    uint64_t life = fm_keep_life(k);
    assert_true(life != 0);
    assert_null(fm_keep_marks(k, FM_STR("ledger")));
    struct fm_marks m = marks(7);
    uint64_t ticket = fm_keep_put(k, FM_STR("ledger"), 1, &m);
    assert_true(ticket > fm_keep_durable(k));
    NET_UNTIL(&net, fm_keep_durable(k) >= ticket);
    assert_true(told > 0);
    fm_keep_close(k);
    k = opened();
    assert_true(fm_keep_life(k) != life);
    assert_non_null(fm_keep_marks(k, FM_STR("ledger")));
    assert_memory_equal(fm_keep_marks(k, FM_STR("ledger")), &m, sizeof m);
    assert_null(fm_keep_marks(k, FM_STR("cards")));
    fm_keep_close(k);
}

static void many_are_written_together(void **state)
{
    (void)state;
    struct fm_keep *k = opened();
    uint64_t ticket = 0;
    for (uint64_t i = 1; i <= 200; i++) {
        struct fm_marks m = marks(i);
        ticket = fm_keep_put(k, FM_STR("ledger"), 1, &m);
    }
    NET_UNTIL(&net, fm_keep_durable(k) == ticket);
    assert_true(told <= 3); /* the first, and all that came meanwhile */
    fm_keep_close(k);
    k = opened();
    assert_int_equal(fm_keep_marks(k, FM_STR("ledger"))->epoch[0].n, 200);
    fm_keep_close(k);
}

static void nothing_is_durable_that_could_not_be_written(void **state)
{
    (void)state;
    struct fm_keep *k = opened();
    char aside[80];
    snprintf(aside, sizeof aside, "%s.aside", folder);
    assert_int_equal(rename(folder, aside), 0);
    struct fm_marks m = marks(7);
    uint64_t ticket = fm_keep_put(k, FM_STR("ledger"), 1, &m);
    NET_UNTIL(&net, fm_keep_trouble(k));
    assert_true(fm_keep_durable(k) < ticket);
    assert_int_equal(told, 0);
    assert_int_equal(rename(aside, folder), 0);
    net_skip_ms(1000);
    NET_UNTIL(&net, fm_keep_durable(k) == ticket);
    assert_null(fm_keep_trouble(k));
    fm_keep_close(k);
}

static void an_end_in_the_middle_of_a_write(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct fm_keep *k = opened();
        struct fm_marks m = marks((uint64_t)i + 1);
        fm_keep_put(k, FM_STR("ledger"), 1, &m);
        if (i % 3 == 0)
            net_sleep_ms(1);
        fm_keep_close(k);
    }
}

static void a_file_that_is_damaged_or_anothers_is_refused(void **state)
{
    (void)state;
    struct fm_error e = {.msg = ""};
    fm_keep_close(opened());
    assert_null(keep_open("shop", &e));
    assert_non_null(strstr(e.msg, "bank"));
    assert_int_equal(fm_file_replace(path, FM_STR("{\"v\":1"), 0600, &e), FM_ERR_OK);
    assert_null(keep_open("bank", &e));
    assert_non_null(strstr(e.msg, FM_KEEP_FILE));
    (void)unlink(path);
    fm_keep_close(opened()); /* a person made it a new host */
}

FM_TEST_MAIN(fm_test_with(what_is_durable_is_found_by_the_next_life, begin, end),
             fm_test_with(many_are_written_together, begin, end),
             fm_test_with(nothing_is_durable_that_could_not_be_written, begin, end),
             fm_test_with(an_end_in_the_middle_of_a_write, begin, end),
             fm_test_with(a_file_that_is_damaged_or_anothers_is_refused, begin, end))
