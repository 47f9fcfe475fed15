/* Errors: context on the way up, never overrun. */
#include "test.h"

#include "base/err.h"

#include <errno.h>

static void wraps_from_the_inside_out(void **state)
{
    (void)state;
    struct fm_error e;
    assert_int_equal(fm_error_errno(&e, FM_ERR_IO, ENOENT, "open %s", "a.pem"), FM_ERR_IO);
    assert_int_equal(fm_error_wrap(&e, "listener %d", 1), FM_ERR_IO);
    assert_int_equal(fm_error_wrap(&e, "cannot start"), FM_ERR_IO);
    assert_string_equal(e.msg, "cannot start: listener 1: open a.pem: No such file or directory");
}

static void is_cut_not_overrun(void **state)
{
    (void)state;
    struct fm_error e;
    char longer[600];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    fm_error_set(&e, FM_ERR_LIMIT, "%s", longer);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
    fm_error_wrap(&e, "outer");
    assert_memory_equal(e.msg, "outer: xxx", 10);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
}

static void works_without_a_place_for_it(void **state)
{
    (void)state;
    assert_int_equal(fm_error_set(NULL, FM_ERR_TIMEOUT, "x"), FM_ERR_TIMEOUT);
    assert_string_equal(fm_err_text(FM_ERR_TIMEOUT), "timed out");
}

FM_TEST_MAIN(fm_test(wraps_from_the_inside_out), fm_test(is_cut_not_overrun),
             fm_test(works_without_a_place_for_it))
