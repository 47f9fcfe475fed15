/* The one way in which this program gives up: it says what was broken, to stderr, with nothing but
 * write(2), and aborts so that a core or a supervisor sees it. It does not unwind or flush. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void fm_assert_failed(const char *what, const char *file, int line, const char *func)
{
    char msg[512];
    int n =
        snprintf(msg, sizeof msg, "fulmar: broken invariant `%s` in %s, %s:%d (a bug of ours)\n",
                 what, func, file, line);
    if (n > 0) {
        size_t len = (size_t)n < sizeof msg ? (size_t)n : sizeof msg - 1;
        ssize_t ignored = write(STDERR_FILENO, msg, len);
        (void)ignored;
    }
    abort();
}
