/* Sinks: lines in their order, bounded memory, drops counted, files that are moved away. */
#include "test.h"

#include "io/sink.h"

#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char path[64], moved[80];

static int setup(void **state)
{
    snprintf(path, sizeof path, "/tmp/fm-test-sink-%d", (int)getpid());
    snprintf(moved, sizeof moved, "%s.1", path);
    unlink(path);
    unlink(moved);
    return fm_test_fds_before(state);
}

static int teardown(void **state)
{
    unlink(path);
    unlink(moved);
    return fm_test_fds_after(state);
}

static size_t read_all(const char *name, char *out, size_t room)
{
    FILE *f = fopen(name, "r");
    assert_non_null(f);
    size_t n = fread(out, 1, room, f);
    fclose(f);
    return n;
}

static void holds(const char *name, const char *text)
{
    char out[4096];
    assert_str(fm_str(out, read_all(name, out, sizeof out)), text);
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
}

static void wait_for_size(const char *name, off_t size)
{
    struct stat st = {.st_size = -1};
    for (int i = 0; i < 5000 && (stat(name, &st) < 0 || st.st_size < size); i++)
        nap();
    assert_int_equal(st.st_size, size);
}

static void writes_in_order_and_appends(void **state)
{
    (void)state;
    for (int again = 0; again < 2; again++) {
        struct fm_sink *s = fm_sink_open(path, -1, 1000, NULL);
        assert_non_null(s);
        assert_true(fm_sink_write(s, FM_STR("one\n")));
        assert_true(fm_sink_write(s, FM_STR("")));
        assert_true(fm_sink_write(s, FM_STR("two\nthree\n")));
        assert_int_equal(fm_sink_dropped(s), 0);
        fm_sink_close(s, 5000); /* writes out what it has */
    }
    holds(path, "one\ntwo\nthree\none\ntwo\nthree\n");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07, 0); /* nothing for others */
}

static void says_what_it_cannot_open(void **state)
{
    (void)state;
    struct fm_error e;
    assert_null(fm_sink_open("/no/such/folder/log", -1, 1000, &e));
    assert_non_null(strstr(e.msg, "/no/such/folder/log"));
    fm_sink_close(NULL, 0);
}

/* A pipe that nobody reads: the bound is reached, and then lines are dropped and counted. */
static void drops_and_counts_past_its_bound(void **state)
{
    (void)state;
    enum { BOUND = 1000 };
    static char line[100], out[1 << 20];
    int fd[2];
    assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
    int room = fcntl(fd[1], F_SETPIPE_SZ, 4096);
    assert_true(room >= 4096);
    memset(line, 'x', sizeof line);
    struct fm_sink *s = fm_sink_open(NULL, fd[1], BOUND, NULL);
    assert_non_null(s);
    assert_false(fm_sink_write(s, fm_str(out, BOUND + 1))); /* more than there ever is room for */
    size_t taken = 0, refused = 1;
    for (int i = 0; i < 5000 && refused < 11; i++) {
        bool ok = fm_sink_write(s, fm_str(line, sizeof line));
        *(ok ? &taken : &refused) += 1;
        if (!ok)
            nap();
    }
    assert_int_equal(refused, 11);
    assert_int_equal(fm_sink_dropped(s), refused);
    assert_true(taken * sizeof line <= (size_t)room + BOUND + sizeof line);
    /* read on, and it takes lines again; none of those it took is lost */
    size_t n = 0;
    while (n < taken * sizeof line) {
        ssize_t got = read(fd[0], out + n, sizeof out - n);
        assert_true(got > 0);
        n += (size_t)got;
    }
    assert_true(fm_sink_write(s, FM_STR("end\n")));
    fm_sink_close(s, 5000);
    close(fd[1]);
    ssize_t got = read(fd[0], out, sizeof out);
    assert_int_equal(got, 4);
    close(fd[0]);
}

static void counts_what_cannot_be_written(void **state)
{
    (void)state;
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    struct fm_sink *s = fm_sink_open(NULL, fd, 1000, NULL);
    assert_non_null(s);
    assert_true(fm_sink_write(s, FM_STR("lost\n")));
    for (int i = 0; i < 5000 && fm_sink_dropped(s) == 0; i++)
        nap();
    assert_int_equal(fm_sink_dropped(s), 1);
    fm_sink_close(s, 5000);
    close(fd); /* was not closed for us */
}

static void goes_on_in_a_new_file(void **state)
{
    (void)state;
    struct fm_sink *s = fm_sink_open(path, -1, 1000, NULL);
    assert_non_null(s);
    assert_true(fm_sink_write(s, FM_STR("old\n")));
    wait_for_size(path, 4);
    assert_int_equal(rename(path, moved), 0);
    assert_true(fm_sink_write(s, FM_STR("still old\n")));
    wait_for_size(moved, 14);
    fm_sink_reopen(s);
    assert_true(fm_sink_write(s, FM_STR("new\n")));
    fm_sink_close(s, 5000);
    holds(moved, "old\nstill old\n");
    holds(path, "new\n");
}

static void goes_on_in_the_old_file_where_there_can_be_no_new_one(void **state)
{
    (void)state;
    char folder[sizeof path + 2], inside[sizeof path + 8];
    snprintf(folder, sizeof folder, "%s.d", path);
    snprintf(inside, sizeof inside, "%s/log", folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    struct fm_sink *s = fm_sink_open(inside, -1, 1000, NULL);
    assert_non_null(s);
    assert_int_equal(rename(inside, path), 0);
    assert_int_equal(rmdir(folder), 0);
    fm_sink_reopen(s);
    assert_true(fm_sink_write(s, FM_STR("kept\n")));
    fm_sink_close(s, 5000);
    holds(path, "kept\n");
}

/* Opening a pipe waits for a reader; who writes lines must not wait with it. */
static void a_path_that_cannot_be_opened_now_holds_nobody_up(void **state)
{
    (void)state;
    struct fm_sink *s = fm_sink_open(path, -1, 1000, NULL);
    assert_non_null(s);
    assert_true(fm_sink_write(s, FM_STR("old\n")));
    wait_for_size(path, 4);
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    fm_sink_reopen(s);
    for (int i = 0; i < 50; i++) {
        alarm(10); /* else a failure would be a hang */
        fm_sink_write(s, FM_STR("line\n"));
        alarm(0);
        nap();
    }
    int reader = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(reader >= 0);
    fm_sink_close(s, 5000);
    char out[1000];
    size_t n = 0;
    for (ssize_t got; (got = read(reader, out + n, sizeof out - n)) > 0;)
        n += (size_t)got;
    close(reader);
    struct stat st;
    assert_int_equal(stat(moved, &st), 0);
    /* those before the thread looked went to the old file, none is lost */
    assert_int_equal(n + (size_t)st.st_size, 4 + 50 * 5);
    assert_true(n > 0);
}

static size_t threads(void)
{
    glob_t g;
    assert_int_equal(glob("/proc/self/task/*", 0, NULL, &g), 0);
    size_t n = g.gl_pathc;
    globfree(&g);
    return n;
}

static void closes_in_time_although_nobody_reads(void **state)
{
    (void)state;
    static char much[100000];
    size_t before_it = threads(); /* a sanitizer may have one of its own */
    assert_int_equal(mkfifo(path, 0600), 0);
    int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(reader >= 0);
    struct fm_sink *s = fm_sink_open(path, -1, sizeof much, NULL);
    assert_non_null(s);
    assert_true(fm_sink_write(s, fm_str(much, sizeof much)));
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    fm_sink_close(s, 30);
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_in_range(after.tv_sec - before.tv_sec, 0, 3);
    close(reader); /* ends the thread that was left behind, which cleans up */
    for (int i = 0; i < 5000 && threads() > before_it; i++)
        nap();
    assert_int_equal(threads(), before_it);
}

enum { WRITERS = 4, LINES = 2000 };

static void *write_lines(void *sink)
{
    for (int i = 0; i < LINES; i++)
        if (!fm_sink_write(sink, FM_STR("0123456789\n")))
            nap();
    return NULL;
}

static void takes_lines_of_any_thread(void **state)
{
    (void)state;
    pthread_t thread[WRITERS];
    struct fm_sink *s = fm_sink_open(path, -1, 10000, NULL);
    assert_non_null(s);
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, write_lines, s), 0);
    for (int i = 0; i < WRITERS; i++)
        pthread_join(thread[i], NULL);
    size_t dropped = fm_sink_dropped(s);
    fm_sink_close(s, 5000);
    size_t expected = (WRITERS * LINES - dropped) * 11;
    char *all = malloc(expected + 1);
    assert_non_null(all);
    assert_int_equal(read_all(path, all, expected + 1), expected);
    for (size_t i = 0; i < expected; i += 11)
        assert_memory_equal(all + i, "0123456789\n", 11);
    free(all);
}

#define with_files(fn) fm_test_with(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_files(writes_in_order_and_appends),
        with_files(says_what_it_cannot_open),
        with_files(drops_and_counts_past_its_bound),
        with_files(counts_what_cannot_be_written),
        with_files(goes_on_in_a_new_file),
        with_files(goes_on_in_the_old_file_where_there_can_be_no_new_one),
        with_files(a_path_that_cannot_be_opened_now_holds_nobody_up),
        with_files(closes_in_time_although_nobody_reads),
        with_files(takes_lines_of_any_thread),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
