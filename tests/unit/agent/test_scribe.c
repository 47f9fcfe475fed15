/* Files that are written off the loop; the disk takes as long as the test says. */
#include "test.h"

#include "agent/scribe.h"
#include "base/file.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char folder[] = "/tmp/fulmar-scribe-XXXXXX";
static char path[64], fresh[72];
static struct fm_scribe *scribe;
static struct fm_error e;
static atomic_bool slow;

static void pause_ms(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
}

/* Instead of that of the C library. */
int fsync(int fd)
{
    while (atomic_load(&slow))
        pause_ms();
    return fd < 0 ? -1 : 0; /* how long the disk takes is not for this test to wait for */
}

static int begin(void **state)
{
    (void)state;
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/file", folder);
    snprintf(fresh, sizeof fresh, "%s.new", path);
    return fm_scribe_new(&scribe, path, &e) ? -1 : 0;
}

static int end(void **state)
{
    (void)state;
    fm_scribe_free(scribe);
    unlink(path);
    unlink(fresh);
    return rmdir(folder);
}

static enum fm_err write_text(const char *text)
{
    return fm_scribe_write(scribe, fm_str_z(text), &e);
}

static void check_file(const char *text)
{
    char *bytes = NULL;
    size_t n;
    assert_int_equal(fm_file_read(path, 100, &bytes, &n, &e), FM_ERR_OK);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(bytes, text, n);
    free(bytes);
}

static enum fm_err come_to_an_end(void)
{
    enum fm_err err = FM_ERR_TIMEOUT;
    for (unsigned i = 0; i < 5000 && err == FM_ERR_TIMEOUT; i++, pause_ms())
        err = fm_scribe_look(scribe, &e);
    return err;
}

/* Whatever else the machine does. */
static enum fm_err in_the_end(enum fm_err err)
{
    return err == FM_ERR_TIMEOUT ? come_to_an_end() : err;
}

static void what_is_written_is_there(void **state)
{
    (void)state;
    assert_int_equal(in_the_end(write_text("one")), FM_ERR_OK);
    check_file("one");
    assert_int_equal(in_the_end(write_text("two")), FM_ERR_OK);
    check_file("two");
    assert_int_equal(unlink(path), 0); /* by somebody else */
    assert_int_equal(in_the_end(write_text("two")), FM_ERR_OK);
    check_file("two");
    assert_int_equal(in_the_end(fm_scribe_remove(scribe, &e)), FM_ERR_OK);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(in_the_end(fm_scribe_remove(scribe, &e)), FM_ERR_OK);
}

static void what_cannot_be_written_says_why(void **state)
{
    (void)state;
    assert_int_equal(in_the_end(write_text("one")), FM_ERR_OK);
    assert_int_equal(mkdir(fresh, 0700), 0);
    assert_int_equal(in_the_end(write_text("two")), FM_ERR_EXISTS);
    assert_non_null(strstr(e.msg, "cannot write"));
    check_file("one");
    assert_int_equal(rmdir(fresh), 0);
    assert_int_equal(in_the_end(write_text("two")), FM_ERR_OK);
}

static void a_disk_that_takes_long_holds_nobody_up(void **state)
{
    (void)state;
    assert_int_equal(in_the_end(write_text("one")), FM_ERR_OK);
    atomic_store(&slow, true);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(write_text(i ? "three" : "two"), FM_ERR_TIMEOUT);
        check_file("one");
    }
    assert_int_equal(fm_scribe_remove(scribe, &e), FM_ERR_TIMEOUT); /* it would come back */
    assert_int_equal(fm_scribe_look(scribe, &e), FM_ERR_TIMEOUT);
    atomic_store(&slow, false);
    assert_int_equal(come_to_an_end(), FM_ERR_OK);
    check_file("two"); /* as it was begun */
    assert_int_equal(fm_scribe_look(scribe, &e), FM_ERR_OK);
    assert_int_equal(in_the_end(write_text("three")), FM_ERR_OK);
    check_file("three");
}

static void who_looks_again_is_told_why_it_failed(void **state)
{
    (void)state;
    atomic_store(&slow, true);
    assert_int_equal(write_text("one"), FM_ERR_TIMEOUT);
    assert_int_equal(mkdir(path, 0700), 0); /* what is to be replaced */
    atomic_store(&slow, false);
    assert_int_equal(come_to_an_end(), FM_ERR_IO);
    assert_non_null(strstr(e.msg, "cannot write"));
    assert_int_equal(fm_scribe_look(scribe, &e), FM_ERR_OK); /* it was told once */
    assert_int_equal(rmdir(path), 0);
}

static void nothing_is_left_half_written_in_the_end(void **state)
{
    (void)state;
    atomic_store(&slow, true);
    assert_int_equal(write_text("one"), FM_ERR_TIMEOUT);
    atomic_store(&slow, false);
    fm_scribe_free(scribe);
    scribe = NULL;
    check_file("one");
}

#define with_scribe(fn) fm_test_with(fn, begin, end)

FM_TEST_MAIN(with_scribe(what_is_written_is_there), with_scribe(what_cannot_be_written_says_why),
             with_scribe(a_disk_that_takes_long_holds_nobody_up),
             with_scribe(who_looks_again_is_told_why_it_failed),
             with_scribe(nothing_is_left_half_written_in_the_end))
