/* proxy/startup.h: the first packet of a connection to PostgreSQL (its documentation, "Message
 * Formats"; protocol 3.0), as far as somebody who passes it on must know it: whether it is whole,
 * and of which kind. All that comes after it is the business of client and server alone, TLS and
 * passwords included.
 *
 * Strict: what is not well-formed is refused, never repaired and passed on. Pure; any thread; what
 * is returned points nowhere. Lengths in bytes. */
#ifndef FM_PROXY_STARTUP_H
#define FM_PROXY_STARTUP_H

#include "base/str.h"

#include <stdbool.h>

/* PostgreSQL takes no longer ones either (MAX_STARTUP_PACKET_LENGTH). */
enum { FM_STARTUP_BYTES_MAX = 10000, FM_STARTUP_ERROR_MAX = 512 };

enum fm_startup_kind {
    FM_STARTUP_MORE,    /* not whole yet */
    FM_STARTUP_SESSION, /* a StartupMessage of protocol 3 */
    FM_STARTUP_TLS,     /* SSLRequest: a byte of answer, then TLS or another first packet */
    FM_STARTUP_GSS,     /* GSSENCRequest: the same */
    FM_STARTUP_CANCEL,  /* CancelRequest; no answer */
    FM_STARTUP_BAD,     /* `why` says it */
};

struct fm_startup {
    enum fm_startup_kind kind;
    size_t n;          /* of the packet */
    const char *why;   /* of BAD, for people */
    const char *state; /* ... and its SQLSTATE */
};

struct fm_startup fm_startup_parse(struct fm_str bytes);

/* An ErrorResponse that ends the connection (severity FATAL). Returns its length. The message is
 * cut to what fits. */
size_t fm_startup_error(char out[FM_STARTUP_ERROR_MAX], const char *state, const char *message);

#endif
