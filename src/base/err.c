/* Errors as values: see the header. Keeps msg terminated whatever happens. */
#include "base/err.h"

#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *fm_err_text(enum fm_err code)
{
    static const char *const text[] = {
#define X(code, text) [FM_ERR_##code] = text,
        FM_ERR_CODES(X)
#undef X
    };
    FM_ASSERT((size_t)code < FM_COUNT(text));
    return text[code];
}

enum fm_err fm_error_set(struct fm_error *e, enum fm_err code, const char *fmt, ...)
{
    FM_ASSERT(code != FM_ERR_OK);
    if (e) {
        e->code = code;
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(e->msg, sizeof e->msg, fmt, ap);
        va_end(ap);
    }
    return code;
}

enum fm_err fm_error_errno(struct fm_error *e, enum fm_err code, int err, const char *fmt, ...)
{
    FM_ASSERT(code != FM_ERR_OK);
    if (e) {
        e->code = code;
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(e->msg, sizeof e->msg, fmt, ap);
        va_end(ap);
        size_t used = strlen(e->msg);
        char buf[128];
        /* the GNU strerror_r returns the text, which is not always in buf */
        snprintf(e->msg + used, sizeof e->msg - used, ": %s", strerror_r(err, buf, sizeof buf));
    }
    return code;
}

enum fm_err fm_error_wrap(struct fm_error *e, const char *fmt, ...)
{
    if (!e)
        return FM_ERR_INVALID;
    FM_ASSERT(e->code != FM_ERR_OK);
    struct fm_error inner = *e;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    size_t used = strlen(e->msg);
    snprintf(e->msg + used, sizeof e->msg - used, ": %s", inner.msg);
    return e->code;
}
