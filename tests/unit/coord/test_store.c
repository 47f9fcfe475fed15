/* The file of coordination without its thread: batches, what a file keeps when it is opened again,
 * history and its end, and a file that fails. */
#include "test.h"

#include "coord/store.h"
#include "coord/wire.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* In the place of libc's, for SQLite too: how often something was made durable. */
static unsigned syncs;

int fdatasync(int fd)
{
    syncs++;
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    syncs++;
    return (int)syscall(SYS_fsync, fd);
}

static const struct fm_str prefix = FM_STR_INIT("/fulmar/s/");
static char dir[32], file[48];
static struct fm_store_file *f;
static struct fm_error e;

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    snprintf(dir, sizeof dir, "/tmp/fulmar-store-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/c.db", dir);
    f = fm_store_file_open(file, "s", &e);
    assert_non_null(f);
    return rc;
}

static int teardown(void **state)
{
    static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
    if (f)
        fm_store_file_close(f);
    for (size_t i = 0; i < FM_COUNT(ends); i++) {
        char path[64];
        snprintf(path, sizeof path, "%s%s", file, ends[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(dir), 0);
    return fm_test_fds_after(state);
}

static void reopen(void)
{
    fm_store_file_close(f);
    f = fm_store_file_open(file, "s", &e);
    assert_non_null(f);
}

/* -------- jobs -------- */

struct job {
    struct fm_store_job job;
    struct fm_ask ask;
    struct fm_coord_answer answer;
    bool has_answer;
};

static void ask(struct job *j, enum fm_ask_kind kind, const char *text, size_t n)
{
    const char *why;
    bool other;
    memset(j, 0, sizeof *j);
    if (!fm_ask_read(&j->ask, kind, fm_str(text, n), prefix, &why, &other))
        fail_msg("%s: %.*s", why, (int)n, text);
    j->job.ask = &j->ask;
}

static void swap(struct job *j, const char *key, uint64_t revision, const char *value)
{
    char mem[2048];
    struct fm_buf b = fm_buf(mem, sizeof mem);
    struct fm_coord_compare c = {fm_str_z(key), revision};
    struct fm_coord_write w = {
        .key = c.key, .value = fm_str_z(value ? value : ""), .erase = value == NULL};
    fm_coord_wire_txn(&b, prefix, &(struct fm_coord_txn){&c, 1, &w, 1}, 0);
    ask(j, FM_ASK_TXN, b.p, b.n);
}

static void get(struct job *j, const char *key, bool all)
{
    char mem[2048];
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_coord_wire_range(&b, prefix, fm_str_z(key), all, false);
    ask(j, FM_ASK_RANGE, b.p, b.n);
}

static void since(struct job *j, uint64_t revision)
{
    char mem[2048];
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_coord_wire_watch(&b, prefix, FM_STR(""), revision);
    ask(j, FM_ASK_WATCH, b.p, b.n);
}

static void work(struct job *const *j, size_t n)
{
    struct fm_store_job *jobs[64];
    assert_true(n <= FM_COUNT(jobs));
    for (size_t i = 0; i < n; i++)
        jobs[i] = &j[i]->job;
    fm_store_file_work(f, jobs, n);
    for (size_t i = 0; i < n; i++) {
        static const enum fm_coord_wire_kind kinds[] = {[FM_ASK_RANGE] = FM_COORD_WIRE_RANGE,
                                                        [FM_ASK_TXN] = FM_COORD_WIRE_TXN,
                                                        [FM_ASK_WATCH] = FM_COORD_WIRE_WATCH};
        const char *why;
        struct fm_str text = fm_str(j[i]->job.text, j[i]->job.n);
        fm_ask_free(&j[i]->ask);
        if (j[i]->job.failed || j[i]->job.empty)
            continue;
        j[i]->has_answer = true;
        if (!fm_coord_wire_read(&j[i]->answer, kinds[j[i]->ask.kind], text, prefix, &why))
            fail_msg("%s: %.*s", why, FM_STR_ARG(text));
    }
}

static void drop(struct job *j)
{
    free(j->job.text);
    if (j->has_answer)
        fm_coord_wire_free(&j->answer);
}

/* The revision of a swap that must succeed. */
static uint64_t swapped(const char *key, uint64_t revision, const char *value)
{
    struct job j, *one = &j;
    swap(&j, key, revision, value);
    work(&one, 1);
    assert_true(j.answer.succeeded);
    uint64_t r = j.answer.revision;
    drop(&j);
    return r;
}

/* -------- tests -------- */

static void a_batch_works_in_order_and_sees_itself(void **state)
{
    (void)state;
    struct job j[4], *all[] = {&j[0], &j[1], &j[2], &j[3]};
    swap(&j[0], "a", 0, "1");
    swap(&j[1], "a", 0, "2");
    swap(&j[2], "a", 2, "3");
    get(&j[3], "a", false);
    work(all, 4);
    assert_true(j[0].answer.succeeded);
    assert_int_equal(j[0].answer.revision, 2);
    assert_false(j[1].answer.succeeded);
    assert_str(j[1].answer.kv[1].value, "1");
    assert_true(j[2].answer.succeeded);
    assert_str(j[3].answer.kv[0].value, "3");
    assert_int_equal(j[3].answer.kv[0].revision, 3);
    for (size_t i = 0; i < 4; i++)
        drop(&j[i]);
}

static void a_batch_that_writes_is_durable_with_one_sync(void **state)
{
    (void)state;
    struct job j[8], *all[8];
    char key[8];
    (void)swapped("first", 0, "1"); /* the WAL is begun */
    for (unsigned round = 0; round < 5; round++) {
        unsigned before = syncs;
        for (unsigned i = 0; i < 8; i++) {
            all[i] = &j[i];
            snprintf(key, sizeof key, "%u-%u", round, i);
            swap(&j[i], key, 0, "v");
        }
        work(all, 8);
        assert_int_equal(syncs - before, 1);
        for (unsigned i = 0; i < 8; i++)
            drop(&j[i]);
        get(&j[0], "", true);
        work(all, 1);
        assert_int_equal(syncs - before, 1); /* reading costs none */
        drop(&j[0]);
    }
}

static void a_file_keeps_all_of_it(void **state)
{
    (void)state;
    uint64_t cluster, revision, again;
    fm_store_file_shows(f, &cluster, &revision);
    assert_int_equal(revision, 1);
    assert_true(cluster > 0);
    uint64_t a = swapped("a", 0, "1"), b = swapped("b", 0, "2"), gone = swapped("a", a, NULL);
    reopen();
    fm_store_file_shows(f, &again, &revision);
    assert_int_equal(again, cluster);
    assert_int_equal(revision, gone);
    struct job j, *one = &j;
    get(&j, "", true);
    work(&one, 1);
    assert_int_equal(j.answer.nkv, 1);
    assert_str(j.answer.kv[0].key, "b");
    assert_int_equal(j.answer.kv[0].revision, b);
    drop(&j);
}

static void history_is_told_from_any_revision(void **state)
{
    (void)state;
    uint64_t a = swapped("a", 0, "1"), b = swapped("b", 0, "2"), gone = swapped("a", a, NULL);
    struct job j, *one = &j;
    since(&j, b);
    work(&one, 1);
    assert_int_equal(j.answer.nevent, 2);
    assert_str(j.answer.event[0].kv.key, "b");
    assert_true(j.answer.event[1].erased);
    assert_int_equal(j.answer.event[1].kv.revision, gone);
    assert_int_equal(j.job.through, gone);
    drop(&j);
    since(&j, gone + 1);
    work(&one, 1);
    assert_true(j.job.empty);
    drop(&j);
}

static void what_is_forgotten_is_said_to_be(void **state)
{
    (void)state;
    struct job j, *one = &j;
    uint64_t a = swapped("a", 0, "1"), b = swapped("b", 0, "2");
    char text[64];
    snprintf(text, sizeof text, "{\"revision\":\"%llu\"}", (unsigned long long)b);
    ask(&j, FM_ASK_COMPACT, text, strlen(text));
    j.job.empty = true; /* its answer is only a header */
    work(&one, 1);
    drop(&j);
    reopen();
    since(&j, a);
    work(&one, 1);
    assert_true(j.job.compacted && j.answer.canceled);
    assert_int_equal(j.answer.compacted, b);
    drop(&j);
    since(&j, b);
    work(&one, 1);
    assert_int_equal(j.answer.nevent, 1);
    drop(&j);
}

static void history_is_bounded(void **state)
{
    (void)state;
    enum { BATCHES = (FM_STORE_HISTORY + FM_STORE_HISTORY / 4) / 50 };
    static struct job j[50];
    struct job *all[50];
    char key[8];
    (void)swapped("first", 0, "1");
    for (unsigned n = 0, r = 2; n < BATCHES; n++) {
        for (unsigned i = 0; i < 50; i++) {
            all[i] = &j[i];
            snprintf(key, sizeof key, "k%u", i);
            swap(&j[i], key, n ? r - 49 : 0, "v");
            r++;
        }
        work(all, 50);
        for (unsigned i = 0; i < 50; i++) {
            assert_true(j[i].answer.succeeded);
            drop(&j[i]);
        }
    }
    since(&j[0], 2);
    work(all, 1);
    assert_true(j[0].job.compacted);
    drop(&j[0]);
}

/* A long history is told in parts, and no revision is cut in two. */
static void a_long_history_comes_in_parts(void **state)
{
    (void)state;
    static char value[FM_COORD_VALUE_MAX * 2];
    static char body[sizeof value + 4096];
    struct job j, *one = &j;
    memset(value, 'A', sizeof value); /* base64 of something */
    for (int i = 0; i < 8; i++) {
        int n =
            snprintf(body, sizeof body,
                     "{\"success\":[{\"request_put\":{\"key\":\"L2Z1bG1hci9zL2E=\",\"value\":\"%."
                     "*s\"}},{\"request_put\":{\"key\":\"L2Z1bG1hci9zL2I=\"}}]}",
                     300000, value);
        ask(&j, FM_ASK_TXN, body, (size_t)n);
        work(&one, 1);
        drop(&j);
    }
    uint64_t from = 2;
    unsigned parts = 0, events = 0;
    while (from <= 9) {
        since(&j, from);
        work(&one, 1);
        assert_true(j.answer.nevent > 0 && j.answer.nevent % 2 == 0);
        assert_int_equal(j.answer.event[0].kv.revision, from);
        assert_int_equal(j.answer.event[j.answer.nevent - 1].kv.revision, j.job.through);
        from = j.job.through + 1;
        events += (unsigned)j.answer.nevent;
        parts++;
        drop(&j);
    }
    assert_int_equal(events, 16);
    assert_true(parts > 1 && parts < 8);
}

/* The disk takes no more: what was being written is of unknown outcome, and nothing is done after
 * it; opened anew, the file has all that was acknowledged. */
static void after_a_failed_write_nothing_is_done(void **state)
{
    (void)state;
    struct rlimit before, none = {.rlim_cur = 0};
    struct job j[2], *all[] = {&j[0], &j[1]};
    uint64_t a = swapped("a", 0, "1");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none.rlim_max = before.rlim_max;
    void (*old)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    swap(&j[0], "b", 0, "2");
    get(&j[1], "a", false);
    work(all, 2);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, old);
    assert_true(j[0].job.failed && j[1].job.failed);
    assert_null(j[0].job.text);
    assert_true(j[0].job.why[0]);
    drop(&j[0]);
    drop(&j[1]);
    get(&j[0], "a", false);
    work(all, 1);
    assert_true(j[0].job.failed);
    drop(&j[0]);
    reopen();
    get(&j[0], "", true);
    work(all, 1);
    assert_false(j[0].job.failed);
    assert_int_equal(j[0].answer.nkv, 1);
    assert_int_equal(j[0].answer.kv[0].revision, a);
    drop(&j[0]);
}

static void a_later_format_is_refused(void **state)
{
    (void)state;
    sqlite3 *db;
    fm_store_file_close(f);
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "UPDATE meta SET v = 2 WHERE k = 'format'", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    f = fm_store_file_open(file, "s", &e);
    assert_null(f);
    assert_int_equal(e.code, FM_ERR_STATE);
    assert_non_null(strstr(e.msg, "format 2"));
}

static void what_is_no_database_is_refused(void **state)
{
    (void)state;
    fm_store_file_close(f);
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    for (int i = 0; i < 1000; i++)
        fputs("this is no database\n", out);
    fclose(out);
    f = fm_store_file_open(file, "s", &e);
    assert_null(f);
    assert_int_equal(e.code, FM_ERR_IO);
    f = fm_store_file_open("/nonexistent/c.db", "s", &e);
    assert_null(f);
    assert_int_equal(e.code, FM_ERR_IO);
}

#define with_file(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_file(a_batch_works_in_order_and_sees_itself),
             with_file(a_batch_that_writes_is_durable_with_one_sync),
             with_file(a_file_keeps_all_of_it), with_file(history_is_told_from_any_revision),
             with_file(what_is_forgotten_is_said_to_be), with_file(history_is_bounded),
             with_file(a_long_history_comes_in_parts),
             with_file(after_a_failed_write_nothing_is_done), with_file(a_later_format_is_refused),
             with_file(what_is_no_database_is_refused))
