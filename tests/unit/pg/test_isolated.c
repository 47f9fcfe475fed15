/* An isolated look at data that cannot be, and what it says. (One that can is made with a real
 * server: tests/system/test_group_loss.py.) */
#include "test.h"

#include "pg/isolated.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void rows_are_told_in_a_line(void **state)
{
    (void)state;
    struct fm_pg_rows r = {.known = true, .transactions = 7, .changes = 9, .why = "a reason"}, got;
    char line[FM_PG_ROWS_LINE_ROOM];
    fm_pg_rows_say(line, &r);
    fm_pg_rows_parse(fm_str_z(line), &got);
    assert_true(got.known && got.transactions == 7 && got.changes == 9);
    assert_string_equal(got.why, "a reason");
    static const struct fm_str none[] = {FM_STR_INIT(""), FM_STR_INIT("lost-rows"),
                                         FM_STR_INIT("lost-rows 1 2\n"),
                                         FM_STR_INIT("lost-rows 1 -2 3 x\n")};
    for (size_t i = 0; i < FM_COUNT(none); i++) {
        fm_pg_rows_parse(none[i], &got);
        assert_false(got.known);
    }
}

/* The folder of programs is empty, so that no server can be started. */
static void a_look_that_cannot_be_says_why(void **state)
{
    (void)state;
    struct fm_pg_isolated_job j = {.admin = "admin", .fork = {1}};
    struct fm_pg_rows r;
    char path[64], cut[2] = "x";
    char dir[] = "/tmp/fulmar-look-XXXXXX";
    assert_non_null(mkdtemp(dir));
    snprintf(j.bin, sizeof j.bin, "%s", dir);
    snprintf(j.data, sizeof j.data, "%s", dir);
    snprintf(j.folder, sizeof j.folder, "%s", dir);
    fm_pg_isolated_look(&j, &r);
    assert_false(r.known);
    assert_non_null(strstr(r.why, "the server that looks at it ended"));
    snprintf(path, sizeof path, "%s/look.tries", dir); /* three that were interrupted */
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    for (int i = 0; i < FM_PG_LOOKS_MAX; i++)
        assert_int_equal(write(fd, cut, 1), 1);
    close(fd);
    fm_pg_isolated_look(&j, &r);
    assert_non_null(strstr(r.why, "3 looks at its data did not end"));
    snprintf(path, sizeof path, "%s/standby.signal", dir);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    close(fd);
    fm_pg_isolated_look(&j, &r);
    assert_non_null(strstr(r.why, "it was a standby"));
    assert_int_equal(unlink(path), 0);
    memset(j.folder + strlen(j.folder), '/', 100); /* the same folder, by a longer path */
    fm_pg_isolated_look(&j, &r);
    assert_non_null(strstr(r.why, "too long for a socket"));
    snprintf(j.folder, sizeof j.folder, "%s/none", dir);
    fm_pg_isolated_look(&j, &r);
    assert_non_null(strstr(r.why, "cannot open"));
    snprintf(path, sizeof path, "%s/look.log", dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0); /* nothing else is left */
}

FM_TEST_MAIN(fm_test(rows_are_told_in_a_line), fm_test(a_look_that_cannot_be_says_why))
