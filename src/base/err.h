/* base/err.h: errors as values, with the context of every level that they passed.
 *
 * A function that can fail returns enum fm_err and, where a person will read it, fills a
 * struct fm_error of the caller's. On the way up each level prepends what it was doing:
 * "cannot start edge: listener 0.0.0.0:80: address already in use". No heap, any thread.
 */
#ifndef FM_BASE_ERR_H
#define FM_BASE_ERR_H

#include "base/bits.h"

#define FM_ERR_CODES(X)                                                                            \
    X(OK, "ok")                                                                                    \
    X(INVALID, "invalid") /* the input is wrong; the same again fails the same */                  \
    X(NOT_FOUND, "not found")                                                                      \
    X(EXISTS, "exists already")                                                                    \
    X(LIMIT, "limit reached")     /* a bound of ours; say which */                                 \
    X(TIMEOUT, "timed out")       /* the outcome is unknown unless said otherwise */               \
    X(UNREACHABLE, "unreachable") /* not sent, nothing happened */                                 \
    X(PERMISSION, "not permitted")                                                                 \
    X(IO, "input/output error")                                                                    \
    X(MEMORY, "out of memory")                                                                     \
    X(STATE, "wrong state") /* refused because of what is, not of what was asked */

enum fm_err {
#define X(code, text) FM_ERR_##code,
    FM_ERR_CODES(X)
#undef X
};

struct fm_error {
    enum fm_err code;
    char msg[256]; /* always terminated; cut, never overrun */
};

const char *fm_err_text(enum fm_err code);

/* Set the innermost message of an error (`code` is not FM_ERR_OK). Returns `code`, so that `return
 * fm_error_set(...)` reads well. A NULL `e` is allowed. */
enum fm_err fm_error_set(struct fm_error *e, enum fm_err code, const char *fmt, ...)
    FM_PRINTF(3, 4);

/* The same with the text of an errno value behind it. */
enum fm_err fm_error_errno(struct fm_error *e, enum fm_err code, int err, const char *fmt, ...)
    FM_PRINTF(4, 5);

/* Put "context: " in front of the message of an error; keeps the code and returns it, or
 * FM_ERR_INVALID where `e` is NULL. */
enum fm_err fm_error_wrap(struct fm_error *e, const char *fmt, ...) FM_PRINTF(2, 3);

#endif
