/* The file of a recorder: whole lines, behind those of an earlier life, for nobody else. */
#include "test.h"

#include "agent/recorder.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/fulmar-recorder-XXXXXX", path[64];

static int begin(void **state)
{
    memcpy(folder, "/tmp/fulmar-recorder-XXXXXX", sizeof folder);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/trace", folder);
    return fm_test_fds_before(state);
}

static int end(void **state)
{
    unlink(path);
    rmdir(folder);
    return fm_test_fds_after(state);
}

static void one_life(const char *line)
{
    struct fm_error e = {0};
    struct fm_recorder *r = fm_recorder_open(path, &e);
    assert_non_null(r);
    fm_buf_str_add(fm_recorder_line(r), fm_str_z(line));
    fm_recorder_end(r);
    fm_recorder_close(r);
}

static void lives_stand_behind_each_other(void **state)
{
    (void)state;
    char got[256];
    struct stat st;
    one_life("a line");
    one_life("another");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, got, sizeof got - 1);
    close(fd);
    assert_true(n > 0);
    got[n] = 0;
    assert_string_equal(got, FM_TRACE_FIRST "\na line\n" FM_TRACE_FIRST "\nanother\n");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void what_does_not_fit_ends_it(void **state)
{
    (void)state;
    struct fm_error e = {0};
    struct stat st;
    struct fm_recorder *r = fm_recorder_open(path, &e);
    assert_non_null(r);
    struct fm_buf *b = fm_recorder_line(r);
    while (!b->full)
        fm_buf_ch(b, 'x');
    fm_recorder_end(r);
    fm_buf_lit(fm_recorder_line(r), "what comes then");
    fm_recorder_end(r);
    fm_recorder_close(r);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, sizeof FM_TRACE_FIRST);
}

static void a_full_disk_ends_it(void **state)
{
    (void)state;
    struct fm_error e = {0};
    struct fm_recorder *r = fm_recorder_open("/dev/full", &e);
    assert_non_null(r);
    fm_buf_lit(fm_recorder_line(r), "a line");
    fm_recorder_end(r);
    fm_recorder_close(r);
}

static void what_cannot_be_opened_is_said(void **state)
{
    (void)state;
    struct fm_error e = {0};
    assert_null(fm_recorder_open(folder, &e));
    assert_int_equal(e.code, FM_ERR_IO);
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_null(fm_recorder_open(path, &e)); /* somebody else's choice of a file */
    fm_recorder_close(NULL);
}

#define T(fn) fm_test_with(fn, begin, end)
FM_TEST_MAIN(T(lives_stand_behind_each_other), T(what_does_not_fit_ends_it), T(a_full_disk_ends_it),
             T(what_cannot_be_opened_is_said))
