/* base/assert.h: an invariant that is broken ends the process with the evidence.
 *
 * FM_ASSERT stays in release builds. It is for what cannot happen unless this program is wrong;
 * an operation that failed is handled (base/err.h), never asserted.
 */
#ifndef FM_BASE_ASSERT_H
#define FM_BASE_ASSERT_H

_Noreturn void fm_assert_failed(const char *what, const char *file, int line, const char *func);

#define FM_ASSERT(cond)                                                                            \
    (__builtin_expect(!(cond), 0) ? fm_assert_failed(#cond, __FILE__, __LINE__, __func__) : (void)0)

#define FM_UNREACHABLE() fm_assert_failed("unreachable", __FILE__, __LINE__, __func__)

#endif
