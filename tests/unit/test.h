/* tests/unit/test.h: what every unit test includes.
 *
 * cmocka with one addition: each test is checked for leaked file descriptors (leaked memory is the
 * business of the sanitizer build). A test file ends with
 *
 *     FM_TEST_MAIN(fm_test(decodes_chunks), fm_test(refuses_bare_lf))
 */
#ifndef FM_TESTS_UNIT_TEST_H
#define FM_TESTS_UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "base/bits.h"
#include "base/str.h"

int fm_test_fds_before(void **state);
int fm_test_fds_after(void **state);

#define fm_test(fn)                                                                                \
    {                                                                                              \
#fn, fn, fm_test_fds_before, fm_test_fds_after, NULL                                       \
    }

/* With fixtures of its own, which call the two above. */
#define fm_test_with(fn, setup, teardown)                                                          \
    {                                                                                              \
#fn, fn, setup, teardown, NULL                                                             \
    }

#define FM_TEST_MAIN(...)                                                                          \
    int main(void)                                                                                 \
    {                                                                                              \
        const struct CMUnitTest tests[] = {__VA_ARGS__};                                           \
        return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);                           \
    }

#define assert_str(view, literal)                                                                  \
    do {                                                                                           \
        struct fm_str fm_view_ = (view);                                                           \
        assert_int_equal(fm_view_.n, strlen(literal));                                             \
        assert_memory_equal(fm_view_.p, literal, fm_view_.n);                                      \
    } while (0)

#endif
