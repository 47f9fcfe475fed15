/* Files are replaced whole, and what was there survives every failure. */
#include "test.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/fulmar-file-XXXXXX";

static const char *at(const char *name)
{
    static char path[4][128];
    static unsigned next;
    char *to = path[next++ % 4];
    snprintf(to, 128, "%s/%s", folder, name);
    return to;
}

static void holds(const char *name, const char *text)
{
    char *bytes;
    size_t n;
    assert_int_equal(fm_file_read(at(name), 100, &bytes, &n, NULL), FM_ERR_OK);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(bytes, text, n + 1); /* terminated */
    free(bytes);
}

static bool is_there(const char *name)
{
    return access(at(name), F_OK) == 0;
}

static void replaces_what_is_there(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(fm_file_replace(at("a"), FM_STR("one"), 0644, NULL), FM_ERR_OK);
    holds("a", "one");
    assert_int_equal(fm_file_replace(at("a"), FM_STR(""), 0600, NULL), FM_ERR_OK);
    holds("a", "");
    assert_int_equal(stat(at("a"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_false(is_there("a.new"));
}

static void gives_the_mode_that_is_asked_for(void **state)
{
    (void)state;
    struct stat st;
    mode_t was = umask(0077);
    assert_int_equal(fm_file_replace(at("b"), FM_STR("x"), 0644, NULL), FM_ERR_OK);
    umask(was);
    assert_int_equal(stat(at("b"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644);
}

static void creates_only_what_is_not_there(void **state)
{
    (void)state;
    struct fm_error e;
    assert_int_equal(fm_file_create(at("c"), FM_STR("first"), 0600, NULL), FM_ERR_OK);
    assert_int_equal(fm_file_create(at("c"), FM_STR("second"), 0600, &e), FM_ERR_EXISTS);
    holds("c", "first");
    assert_false(is_there("c.new"));
}

static void goes_on_after_a_crash_left_half_a_file(void **state)
{
    (void)state;
    assert_int_equal(fm_file_create(at("d.new"), FM_STR("ha"), 0600, NULL), FM_ERR_OK);
    assert_int_equal(fm_file_replace(at("d"), FM_STR("whole"), 0600, NULL), FM_ERR_OK);
    holds("d", "whole");
    assert_false(is_there("d.new"));
}

static void says_which_file_it_was(void **state)
{
    (void)state;
    struct fm_error e;
    char *bytes;
    size_t n;
    assert_int_equal(fm_file_replace(at("no/such"), FM_STR("x"), 0600, &e), FM_ERR_IO);
    assert_non_null(strstr(e.msg, "no/such"));
    assert_int_equal(fm_file_read(at("nothing"), 10, &bytes, &n, &e), FM_ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "nothing"));
    assert_null(bytes);
    assert_int_equal(fm_file_read(folder, 10, &bytes, &n, &e), FM_ERR_IO);
    assert_int_equal(fm_file_replace(at("e"), FM_STR("0123456789a"), 0600, NULL), FM_ERR_OK);
    assert_int_equal(fm_file_read(at("e"), 10, &bytes, &n, &e), FM_ERR_LIMIT);
    assert_int_equal(fm_file_read(at("e"), 11, &bytes, &n, NULL), FM_ERR_OK);
    free(bytes);
}

/* A link in the place of the new file leads nowhere. */
static void follows_no_link(void **state)
{
    (void)state;
    assert_int_equal(symlink(at("victim"), at("f.new")), 0);
    assert_int_equal(fm_file_replace(at("f"), FM_STR("x"), 0600, NULL), FM_ERR_OK);
    assert_false(is_there("victim"));
    holds("f", "x");
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
    for (size_t i = 0; i < FM_COUNT(names); i++)
        (void)unlink(at(names[i]));
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fm_test(replaces_what_is_there),         fm_test(gives_the_mode_that_is_asked_for),
        fm_test(creates_only_what_is_not_there), fm_test(goes_on_after_a_crash_left_half_a_file),
        fm_test(says_which_file_it_was),         fm_test(follows_no_link),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, make_folder, remove_folder);
}
