/* What a child prints: kept, bounded, and its last words are found. */
#include "test.h"

#include "agent/outlog.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX = 1000 * 1000 };

static char dir[64], path[96], old[96];
static struct fm_outlog log_;

static int begin(void **state)
{
    snprintf(dir, sizeof dir, "/tmp/fulmar-outlog-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/data.log", dir);
    snprintf(old, sizeof old, "%s.1", path);
    fm_outlog_init(&log_, path, MAX);
    return fm_test_fds_before(state);
}

static int end(void **state)
{
    fm_outlog_close(&log_);
    fm_outlog_close(&log_);
    int rc = fm_test_fds_after(state);
    (void)unlink(path);
    if (unlink(old))
        (void)rmdir(old);
    rmdir(dir);
    return rc;
}

static void print(const char *text)
{
    assert_int_equal(write(log_.fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void print_much(int64_t n)
{
    static char block[1000];
    memset(block, '.', sizeof block);
    for (; n > 0; n -= (int64_t)sizeof block)
        assert_int_equal(write(log_.fd, block, sizeof block), (ssize_t)sizeof block);
}

static int64_t size_of(const char *name)
{
    struct stat st;
    return stat(name, &st) == 0 ? st.st_size : -1;
}

static void turns(unsigned n)
{
    while (n-- > 0)
        fm_outlog_turn(&log_);
}

static void assert_tail(size_t cap, const char *expected)
{
    char out[64];
    assert_true(cap <= sizeof out);
    assert_int_equal(fm_outlog_tail(&log_, out, cap), strlen(expected));
    assert_string_equal(out, expected);
}

static void only_this_start_counts(void **state)
{
    (void)state;
    fm_outlog_turn(&log_); /* before anything was opened */
    assert_true(fm_outlog_open(&log_));
    print("FATAL: of before\n");
    assert_true(fm_outlog_open(&log_));
    assert_tail(32, "");
    print("of now\n");
    turns(3);
    char out[8];
    assert_int_equal(fm_outlog_head(&log_, out, sizeof out), 7);
    assert_string_equal(out, "of now\n");
    assert_int_equal(fm_outlog_head(&log_, out, 4), 3);
    assert_string_equal(out, "of ");
    assert_tail(32, "of now\n");
    assert_tail(4, "ow\n");
    assert_int_equal(size_of(old), -1);
}

/* The child goes on with the descriptor that it has. */
static void a_long_one_is_emptied_while_it_is_written(void **state)
{
    (void)state;
    assert_true(fm_outlog_open(&log_));
    print("of before\n");
    assert_true(fm_outlog_open(&log_));
    print_much(MAX - 2000);
    turns(10);
    assert_int_equal(size_of(old), -1);
    print_much(3000);
    fm_outlog_turn(&log_);
    assert_int_equal(size_of(old), FM_OUTLOG_SLICE);
    print("while it is copied\n");
    int64_t whole = size_of(path);
    turns(10);
    assert_int_equal(size_of(path), 0);
    assert_int_equal(size_of(old), whole);
    assert_tail(20, "while it is copied\n");
    print("then\n");
    assert_int_equal(size_of(path), 5);
    assert_tail(20, " it is copied\nthen\n");
    assert_tail(6, "then\n");
    /* and again: the one before goes */
    print_much(MAX + 1000);
    turns(10);
    assert_int_equal(size_of(old), MAX + 1005);
    assert_int_equal(size_of(path), 0);
}

static void a_short_start_does_not_speak_with_words_of_before(void **state)
{
    (void)state;
    assert_true(fm_outlog_open(&log_));
    print_much(MAX - 1000);
    print("FATAL: of before\n");
    assert_true(fm_outlog_open(&log_));
    print_much(1000);
    print("now\n");
    turns(10);
    assert_int_equal(size_of(path), 0);
    char out[4096];
    assert_int_equal(fm_outlog_tail(&log_, out, sizeof out), 1004);
    assert_null(strstr(out, "FATAL"));
    assert_int_equal(fm_outlog_head(&log_, out, sizeof out), 0); /* it was moved away */
}

static void what_it_says_is_noticed_once(void **state)
{
    (void)state;
    static const char *const signs[] = {"one thing", "another"};
    assert_false(fm_outlog_said(&log_, signs, 2)); /* nothing is open */
    assert_true(fm_outlog_open(&log_));
    print("one thing of before\n");
    assert_true(fm_outlog_open(&log_));
    assert_false(fm_outlog_said(&log_, signs, 2));
    print("LOG: one thi");
    assert_false(fm_outlog_said(&log_, signs, 2)); /* not yet */
    print("ng\nand");
    assert_true(fm_outlog_said(&log_, signs, 2));
    assert_false(fm_outlog_said(&log_, signs, 2));
    print(" another\n");
    assert_false(fm_outlog_said(&log_, signs, 1));
    print_much(100 * 1000); /* a line without an end, longer than what is read at once */
    print("\nanother\n");
    assert_true(fm_outlog_said(&log_, signs, 2));
    /* what is put away unread may have said it */
    print_much(MAX + 1000);
    turns(10);
    assert_int_equal(size_of(path), 0);
    assert_true(fm_outlog_said(&log_, signs, 2));
    assert_false(fm_outlog_said(&log_, signs, 2));
    print("another\n");
    assert_true(fm_outlog_said(&log_, signs, 2));
}

static void a_long_one_is_put_aside_between_two_starts(void **state)
{
    (void)state;
    assert_true(fm_outlog_open(&log_));
    print_much(MAX + 1000);
    assert_true(fm_outlog_open(&log_));
    assert_int_equal(size_of(path), 0);
    assert_int_equal(size_of(old), MAX + 1000);
    print("new\n");
    assert_tail(32, "new\n");
}

static void what_cannot_be_kept_is_bounded_all_the_same(void **state)
{
    (void)state;
    assert_int_equal(mkdir(old, 0700), 0);
    assert_true(fm_outlog_open(&log_));
    print_much(MAX + 1000);
    turns(10);
    assert_int_equal(size_of(path), 0);
    print("after\n");
    assert_tail(32, "after\n");
}

#define T(fn) fm_test_with(fn, begin, end)
FM_TEST_MAIN(T(only_this_start_counts), T(a_long_one_is_emptied_while_it_is_written),
             T(a_short_start_does_not_speak_with_words_of_before),
             T(a_long_one_is_put_aside_between_two_starts),
             T(what_cannot_be_kept_is_bounded_all_the_same), T(what_it_says_is_noticed_once))
