/* http/fetch.h: one GET, waited for, on a loop of its own; for commands and scripts that ask a
 * daemon. Blocks: never from a loop that serves. */
#ifndef FM_HTTP_FETCH_H
#define FM_HTTP_FETCH_H

#include "base/err.h"
#include "io/addr.h"

struct fm_fetched {
    unsigned status;
    char *body; /* from malloc, terminated; NULL where there is none, and after an error */
    size_t n;
};

/* `target` is a path with its query, of up to 1,024 bytes. At most 16 MiB come back, whatever the
 * status; the caller frees body. FM_ERR_UNREACHABLE, FM_ERR_TIMEOUT (of the whole, connecting
 * included; at most a day), FM_ERR_INVALID for a target or an answer that is malformed,
 * FM_ERR_LIMIT. */
enum fm_err fm_fetch(const struct fm_addr *to, const char *target, int64_t timeout_ms,
                     struct fm_fetched *out, struct fm_error *e) FM_WARN_UNUSED;

#endif
