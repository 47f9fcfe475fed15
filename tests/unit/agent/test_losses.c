/* The items that a host keeps: the file, and their forms. */
#include "test.h"

#include "agent/losses.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char folder[] = "/tmp/fulmar-losses-XXXXXX";
static char path[64], blocker[72];
static struct fm_losses *losses;
static struct fm_losses *opened(void)
{
    struct fm_losses *l;
    struct fm_error e = {0};
    if (fm_losses_open(&l, path, &e))
        fail_msg("%s", e.msg);
    return l;
}

static int begin(void **state)
{
    (void)state;
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/losses.json", folder);
    snprintf(blocker, sizeof blocker, "%s.new", path);
    losses = opened();
    return 0;
}

static int end(void **state)
{
    (void)state;
    fm_losses_free(losses);
    unlink(path);
    rmdir(blocker);
    return rmdir(folder);
}

static struct fm_loss item(unsigned i)
{
    return (struct fm_loss){.node = "west-1",
                            .timeline = {1},
                            .fork = {UINT64_C(0x100000000) + i},
                            .system_id = UINT64_MAX,
                            .epoch = {2},
                            .at_most = FM_LOSS_UNBOUNDED,
                            .seen_us = 1000 + i};
}

static struct fm_loss counted(unsigned i, uint64_t n)
{
    struct fm_loss l = item(i);
    l.found = FM_LOSS_COUNTED;
    l.transactions = n;
    l.prepared = n / 2;
    l.end.n = l.fork.n + 100;
    l.first_us = INT64_C(1795000000000000);
    l.last_us = l.first_us + 5;
    l.at_most = 77;
    snprintf(l.copy, sizeof l.copy, "/somewhere");
    l.rows = FM_LOSS_ROWS_SOME;
    l.decoded = n ? n - 1 : 0;
    l.changes = 2 * n;
    l.rows_bytes = 99;
    l.rows_sum = INT64_MAX;
    snprintf(l.rows_why, sizeof l.rows_why, "one is not");
    return l;
}

static atomic_bool slow;

/* Instead of that of the C library. */
int fsync(int fd)
{
    while (atomic_load(&slow))
        nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
    return fd < 0 ? -1 : 0;
}

/* A busy machine may not come to it within the moment that the loop waits. */
static enum fm_err keep_all(const struct fm_loss *l, unsigned n)
{
    struct fm_error e = {0};
    enum fm_err err;
    do
        err = fm_losses_keep(losses, l, n, &e);
    while (err == FM_ERR_TIMEOUT && !atomic_load(&slow));
    return err;
}

static bool keep(const struct fm_loss *l)
{
    return keep_all(l, 1) == FM_ERR_OK;
}

static void what_was_kept_is_there_after_a_restart(void **state)
{
    (void)state;
    assert_int_equal(fm_losses_version(losses), 1);
    struct fm_loss a = item(0), b = counted(1, 9), more = counted(0, 3);
    assert_true(keep(&a) && keep(&b));
    assert_int_equal(fm_losses_version(losses), 3);
    assert_true(keep(&a));
    assert_int_equal(fm_losses_version(losses), 3); /* nothing new */
    assert_true(keep(&more));
    assert_int_equal(fm_losses_find(losses, &a)->transactions, 3);
    fm_losses_free(losses);
    losses = opened();
    assert_int_equal(fm_losses_count(losses), 2);
    struct fm_loss got = *fm_losses_find(losses, &a);
    assert_int_equal(got.found, FM_LOSS_COUNTED);
    assert_true(got.system_id == UINT64_MAX && got.end.n == more.end.n && got.epoch.n == 2);
    assert_true(got.prepared == 1 && got.last_us == more.last_us && got.at_most == 77);
    assert_string_equal(got.copy, "/somewhere");
    assert_true(got.rows == FM_LOSS_ROWS_SOME && got.decoded == 2 && got.changes == 6);
    assert_true(got.rows_bytes == 99 && got.rows_sum == INT64_MAX);
    assert_string_equal(got.rows_why, "one is not");
    assert_true(fm_losses_find(losses, &b)->fork.n == b.fork.n);
}

static void what_cannot_be_written_has_not_happened(void **state)
{
    (void)state;
    struct fm_loss a = item(0), b = item(1);
    assert_true(keep(&a));
    assert_int_equal(mkdir(blocker, 0700), 0);
    assert_false(keep(&b));
    assert_int_equal(fm_losses_count(losses), 1);
    assert_int_equal(fm_losses_version(losses), 2);
    assert_int_equal(rmdir(blocker), 0);
    assert_true(keep(&b));
    assert_int_equal(fm_losses_count(losses), 2);
}

static void what_is_being_written_counts_when_it_is(void **state)
{
    (void)state;
    struct fm_loss a = item(0), b = item(1);
    struct fm_error e = {0};
    assert_true(keep(&a));
    atomic_store(&slow, true);
    for (unsigned i = 0; i < 3; i++) {
        b.seen_us++; /* as it was seen just now */
        assert_int_equal(fm_losses_keep(losses, &b, 1, &e), FM_ERR_TIMEOUT);
        assert_null(fm_losses_find(losses, &b));
        assert_int_equal(fm_losses_version(losses), 2);
    }
    atomic_store(&slow, false);
    for (unsigned i = 0; i < 5000 && !keep(&a); i++) /* whatever is kept then */
        nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
    assert_non_null(fm_losses_find(losses, &b));
    assert_int_equal(fm_losses_version(losses), 3);
    assert_true(keep(&b));
    assert_int_equal(fm_losses_version(losses), 3);
}

static void closed_items_make_room_and_open_ones_do_not(void **state)
{
    (void)state;
    static struct fm_loss all[FM_LOSSES_MAX];
    for (unsigned i = 0; i < FM_LOSSES_MAX; i++)
        all[i] = i == 5 || i == 7 ? counted(i, 0) : counted(i, 1);
    all[3].off_us = 1; /* a person's word goes after what was nothing */
    assert_int_equal(keep_all(all, FM_LOSSES_MAX), FM_ERR_OK);
    for (unsigned i = 0; i < 3; i++) {
        struct fm_loss fresh = item(1000 + i);
        assert_true(keep(&fresh));
        assert_null(fm_losses_find(losses, &all[i == 0 ? 5 : i == 1 ? 7 : 3]));
    }
    struct fm_loss last = item(2000);
    assert_false(keep(&last));
    assert_int_equal(fm_losses_count(losses), FM_LOSSES_MAX);
}

static void one_host_reads_what_another_says(void **state)
{
    (void)state;
    static struct fm_loss got[FM_LOSSES_MAX];
    struct fm_loss a = counted(0, 5), b = item(1);
    a.off_us = 9;
    snprintf(a.off_by, sizeof a.off_by, "eve");
    snprintf(a.off_why, sizeof a.off_why, "told");
    assert_true(keep(&a) && keep(&b));
    json_t *doc = fm_losses_doc(losses);
    assert_int_equal(fm_losses_read(doc, got), 2);
    assert_string_equal(got[0].off_why, "told");
    assert_true(got[1].at_most == FM_LOSS_UNBOUNDED);
    json_t *first = json_array_get(json_object_get(doc, "items"), 0);
    static const char *const keys[] = {
        "node", "timeline", "fork",    "system_id", "epoch",        "found",
        "end",  "first_us", "last_us", "why",       "transactions", "prepared",
        "copy", "seen_us",  "off_us",  "off_by",    "off_why"};
    for (size_t i = 0; i < FM_COUNT(keys); i++) {
        json_t *was = json_incref(json_object_get(first, keys[i]));
        json_object_set_new(first, keys[i], json_real(0.5));
        assert_int_equal(fm_losses_read(doc, got), -1);
        json_object_del(first, keys[i]);
        assert_int_equal(fm_losses_read(doc, got), -1);
        json_object_set_new(first, keys[i], was);
    }
    json_t *rows = json_object_get(first, "rows");
    static const char *const parts[] = {"known", "transactions", "changes", "bytes", "sum", "why"};
    for (size_t i = 0; i < FM_COUNT(parts); i++) {
        json_t *was = json_incref(json_object_get(rows, parts[i]));
        json_object_set_new(rows, parts[i], json_real(0.5));
        assert_int_equal(fm_losses_read(doc, got), -1);
        json_object_set_new(rows, parts[i], was);
    }
    json_object_set_new(rows, "bytes", json_integer(FM_LOSS_ROWS_BYTES_MAX + 1));
    assert_int_equal(fm_losses_read(doc, got), -1);
    json_object_del(first, "rows"); /* of a host that knows of none */
    assert_int_equal(fm_losses_read(doc, got), 2);
    json_object_set_new(first, "prepared", json_integer(6)); /* more than all of them */
    assert_int_equal(fm_losses_read(doc, got), -1);
    json_object_set_new(doc, "schema", json_string("another"));
    assert_int_equal(fm_losses_read(doc, got), -1);
    json_decref(doc);
}

static void a_file_that_is_none_of_ours_is_not_overwritten(void **state)
{
    (void)state;
    struct fm_losses *l;
    struct fm_error e = {0};
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs("{\"schema\": \"fulmar.losses-kept/1\", \"items\": 5}", f);
    fclose(f);
    assert_int_equal(fm_losses_open(&l, path, &e), FM_ERR_INVALID);
    assert_null(l);
}

static void people_see_what_is_known_and_no_more(void **state)
{
    (void)state;
    char id[FM_LOSS_ID_ROOM];
    struct fm_loss a = counted(0, 5), b = item(0);
    assert_string_equal(fm_loss_id(id, "ledger", &a), "ledger:west-1:1:1-0");
    json_t *o = fm_loss_json("ledger", &a);
    assert_int_equal(json_integer_value(json_object_get(o, "transactions")), 5);
    assert_int_equal(json_integer_value(json_object_get(o, "log_bytes")), 100);
    assert_int_equal(json_integer_value(json_object_get(o, "acknowledged_bytes_max")), 77);
    assert_string_equal(json_string_value(json_object_get(o, "state")), "open");
    const json_t *rows = json_object_get(o, "rows");
    assert_string_equal(json_string_value(json_object_get(rows, "known")), "some");
    assert_int_equal(json_integer_value(json_object_get(rows, "opaque_transactions")), 1);
    assert_string_equal(json_string_value(json_object_get(o, "fork_lsn")), "1/0");
    assert_string_equal(json_string_value(json_object_get(o, "last_commit_at")),
                        "2026-11-18T11:06:40.000005Z");
    json_decref(o);
    o = fm_loss_json("ledger", &b);
    static const char *const unknown[] = {
        "transactions",           "prepared",    "log_bytes",      "end_lsn",
        "first_commit_at",        "written_off", "copy",           "why",
        "acknowledged_bytes_max", "rows",        "copy_removed_at"};
    for (size_t i = 0; i < FM_COUNT(unknown); i++)
        assert_true(json_is_null(json_object_get(o, unknown[i])));
    json_decref(o);
}

FM_TEST_MAIN(fm_test_with(what_was_kept_is_there_after_a_restart, begin, end),
             fm_test_with(what_cannot_be_written_has_not_happened, begin, end),
             fm_test_with(what_is_being_written_counts_when_it_is, begin, end),
             fm_test_with(closed_items_make_room_and_open_ones_do_not, begin, end),
             fm_test_with(one_host_reads_what_another_says, begin, end),
             fm_test_with(a_file_that_is_none_of_ours_is_not_overwritten, begin, end),
             fm_test_with(people_see_what_is_known_and_no_more, begin, end))
