/* Rows of lost writes: as they are kept, and as people see them. */
#include "test.h"

#include "agent/loss_rows.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char folder[] = "/tmp/fulmar-loss-rows-XXXXXX";
static char path[64];
static struct fm_losses *losses;
static struct fm_loss_store store;

static int begin(void **state)
{
    struct fm_error e;
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    if (fm_test_fds_before(state) || !mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/rows", folder);
    return fm_losses_open(&losses, "/tmp/there-is-no-such-file", &e) ? -1 : 0;
}

static int end(void **state)
{
    char command[96];
    snprintf(command, sizeof command, "%s/rows-west-1-1-1-10", folder);
    unlink(command);
    unlink(path);
    fm_losses_free(losses);
    return rmdir(folder) || fm_test_fds_after(state);
}

static void write_file(const char *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    close(fd);
}

static struct fm_loss item(struct fm_str rows)
{
    struct fm_loss l = {.node = "west-1", .timeline = {1}, .fork = {UINT64_C(0x100000010)}};
    fm_loss_rows_sign(&l, rows);
    return l;
}

static void what_a_look_left_is_made_fit_for_documents(void **state)
{
    (void)state;
    static const char bytes[] = "C\ta\tb\t\xc3\xa4\x01\xff\n"
                                "half a li";
    struct fm_error e;
    char *text;
    size_t n;
    bool whole;
    write_file(bytes, sizeof bytes - 1);
    assert_int_equal(fm_loss_rows_take(path, &text, &n, &whole, &e), FM_ERR_OK);
    assert_str(fm_str(text, n), "C\ta\tb\t\xc3\xa4??\n");
    assert_false(whole);
    free(text);
    static char much[FM_LOSS_ROWS_BYTES_MAX + 100];
    memset(much, 'x', sizeof much);
    for (size_t i = 99; i < sizeof much; i += 100)
        much[i] = '\n';
    write_file(much, sizeof much);
    assert_int_equal(fm_loss_rows_take(path, &text, &n, &whole, &e), FM_ERR_OK);
    assert_int_equal(n, FM_LOSS_ROWS_BYTES_MAX / 100 * 100);
    assert_false(whole);
    free(text);
    write_file("C\t1\t2\t3\n", 8);
    assert_int_equal(fm_loss_rows_take(path, &text, &n, &whole, &e), FM_ERR_OK);
    assert_true(whole && n == 8);
    free(text);
    unlink(path);
    assert_int_equal(fm_loss_rows_take(path, &text, &n, &whole, &e), FM_ERR_NOT_FOUND);
    assert_int_equal(symlink("/etc/passwd", path), 0); /* somebody else's file is not shown */
    assert_int_equal(fm_loss_rows_take(path, &text, &n, &whole, &e), FM_ERR_NOT_FOUND);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0); /* nobody is waited for */
    assert_int_equal(fm_loss_rows_take(path, &text, &n, &whole, &e), FM_ERR_IO);
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
static enum fm_err put(const struct fm_loss *l, struct fm_str rows, struct fm_error *e)
{
    enum fm_err err;
    do
        err = fm_loss_store_put(&store, l, rows, e);
    while (err == FM_ERR_TIMEOUT && !atomic_load(&slow));
    return err;
}

static void only_what_the_item_speaks_of_is_kept(void **state)
{
    (void)state;
    struct fm_str rows = FM_STR("D\tpostgres\t\t\n"), other = FM_STR("D\tanother\t\t\n");
    struct fm_loss l = item(rows);
    struct fm_error e;
    char *text;
    size_t n;
    fm_loss_store_open(&store, folder, losses);
    assert_false(fm_loss_store_has(&store, &l));
    assert_int_equal(put(&l, other, &e), FM_ERR_INVALID);
    assert_int_equal(put(&l, rows, &e), FM_ERR_OK);
    assert_true(fm_loss_store_has(&store, &l));
    assert_int_equal(fm_loss_store_get(&store, &l, &text, &n, &e), FM_ERR_OK);
    assert_str(fm_str(text, n), "D\tpostgres\t\t\n");
    free(text);
    struct fm_loss better = item(other); /* the same item, of a later look */
    assert_false(fm_loss_store_has(&store, &better));
    assert_int_equal(fm_loss_store_get(&store, &better, &text, &n, &e), FM_ERR_NOT_FOUND);
    fm_loss_store_close(&store);
    struct fm_loss_store again; /* the host knows of no item any more */
    fm_loss_store_open(&again, folder, losses);
    assert_false(fm_loss_store_has(&again, &l));
    assert_int_equal(fm_loss_store_get(&again, &l, &text, &n, &e), FM_ERR_NOT_FOUND);
    struct fm_loss none = item(rows);
    none.rows_bytes = 0;
    assert_true(fm_loss_store_has(&store, &none));
    static const char *const bad[] = {"", "..", "a/b", ".x", "a b"};
    for (size_t i = 0; i < FM_COUNT(bad); i++) {
        snprintf(l.node, sizeof l.node, "%s", bad[i]);
        assert_int_equal(put(&l, rows, &e), FM_ERR_INVALID);
    }
}

static void what_is_still_being_written_is_not_kept_yet(void **state)
{
    (void)state;
    struct fm_str rows = FM_STR("D\tpostgres\t\t\n");
    struct fm_loss l = item(rows);
    struct fm_error e;
    fm_loss_store_open(&store, folder, losses);
    atomic_store(&slow, true);
    assert_int_equal(put(&l, rows, &e), FM_ERR_TIMEOUT);
    assert_int_equal(put(&l, rows, &e), FM_ERR_TIMEOUT);
    assert_false(fm_loss_store_has(&store, &l));
    atomic_store(&slow, false);
    enum fm_err err = FM_ERR_TIMEOUT;
    while (err == FM_ERR_TIMEOUT)
        err = put(&l, rows, &e);
    assert_int_equal(err, FM_ERR_OK);
    assert_true(fm_loss_store_has(&store, &l));
    fm_loss_store_close(&store);
}

static const char *text_at(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static void people_see_transactions_with_keys_and_values(void **state)
{
    (void)state;
    json_t *list = fm_loss_rows_json(FM_STR(
        "D\tmy\\\\db\t\t\n"
        "K\tpublic.\"T\"\tid,\"Key\"\t\n"
        "C\t7\t0/10\tBEGIN 7\n"
        "C\t7\t0/11\ttable public.\"T\": INSERT: id[integer]:1 \"Key\"[text]:'a\\tb' v[text]:null\n"
        "C\t7\t0/12\ttable public.\"T\": UPDATE: old-key: id[integer]:1 \"Key\"[text]:'x' "
        "new-tuple: id[integer]:2 \"Key\"[text]:'y' v[text]:unchanged-toast-datum\n"
        "C\t7\t0/13\ttable public.\"T\": DELETE: id[integer]:2 \"Key\"[text]:'y'\n"
        "C\t7\t0/14\tCOMMIT 7 (at 2026-11-22 10:00:00+00)\n"
        "S\t1\t3\t\n"
        "C\t8\t0/20\ttable public.k: INSERT: v[text]:'cut\n"
        "what is this\n"));
    assert_int_equal(json_array_size(list), 3);
    json_t *t = json_array_get(list, 0), *changes = json_object_get(t, "changes");
    assert_string_equal(text_at(t, "database"), "my\\db");
    assert_string_equal(text_at(t, "commit_lsn"), "0/14");
    assert_string_equal(text_at(t, "committed_at"), "2026-11-22 10:00:00+00");
    assert_int_equal(json_array_size(changes), 3);
    json_t *c = json_array_get(changes, 0);
    assert_string_equal(text_at(c, "op"), "insert");
    assert_string_equal(text_at(json_object_get(c, "key"), "Key"), "a\tb");
    assert_int_equal(json_object_size(json_object_get(c, "key")), 2);
    assert_true(json_is_null(json_object_get(json_object_get(c, "new"), "v")));
    assert_null(json_object_get(c, "old"));
    c = json_array_get(changes, 1);
    assert_string_equal(text_at(json_object_get(c, "key"), "id"), "1");
    assert_string_equal(text_at(json_object_get(c, "new"), "id"), "2");
    assert_null(json_object_get(json_object_get(c, "new"), "v")); /* nobody knows it here */
    c = json_array_get(changes, 2);
    assert_true(json_is_null(json_object_get(c, "new")));
    assert_string_equal(text_at(json_object_get(c, "old"), "id"), "2");
    t = json_array_get(list, 1);
    c = json_array_get(json_object_get(t, "changes"), 0);
    assert_true(json_is_null(json_object_get(t, "commit_lsn"))); /* it was cut off */
    assert_true(json_is_null(json_object_get(c, "key")));
    assert_string_equal(text_at(c, "text"), "table public.k: INSERT: v[text]:'cut");
    assert_string_equal(text_at(json_array_get(list, 2), "text"), "what is this");
    json_decref(list);
}

FM_TEST_MAIN(fm_test_with(what_a_look_left_is_made_fit_for_documents, begin, end),
             fm_test_with(only_what_the_item_speaks_of_is_kept, begin, end),
             fm_test_with(what_is_still_being_written_is_not_kept_yet, begin, end),
             fm_test(people_see_transactions_with_keys_and_values))
