/* http/fetch.h: one GET, waited for, on a loop of its own; for commands and scripts that ask a
 * daemon. Blocks: never from a loop that serves. */
#ifndef FM_HTTP_FETCH_H
#define FM_HTTP_FETCH_H

#include "base/err.h"
#include "io/addr.h"

struct fm_fetched {
    unsigned status;
    char *body; /* from malloc, terminated */
    size_t n;
};

/* At most 16 MiB. The caller frees body. FM_ERR_UNREACHABLE, FM_ERR_TIMEOUT, FM_ERR_INVALID. */
enum fm_err fm_fetch(const struct fm_addr *to, const char *target, int64_t timeout_ms,
                     struct fm_fetched *out, struct fm_error *e) FM_WARN_UNUSED;

#endif
