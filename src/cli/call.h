/* cli/call.h: one exchange with a daemon, waited for. For commands alone: it blocks, and looks at
 * signals.
 *
 * A struct fm_call is a loop with what exchanges need; answers are the caller's. Until
 * fm_call_catch a signal ends the process as usual; from there on the first SIGINT, SIGTERM or
 * SIGHUP ends what is waited for (FM_ERR_STATE, fm_call_interrupted()), a second one the process.
 * One thread. */
#ifndef FM_CLI_CALL_H
#define FM_CLI_CALL_H

#include "base/err.h"
#include "base/time.h"
#include "io/addr.h"
#include "io/tls.h"

struct fm_call;

struct fm_call *fm_call_new(struct fm_error *e) FM_WARN_UNUSED;
void fm_call_free(struct fm_call *k); /* NULL is fine */

struct fm_call_for {
    const struct fm_addr *to;
    struct fm_tls *tls; /* NULL: plain */
    const char *peer;   /* with tls: whose certificate is expected */
    const char *target; /* a path with its query, up to 1,024 bytes */
    const char *body;   /* JSON, for a POST; NULL: a GET */
    int64_t connect_ms, /* to connect, with the handshake */
        whole_ms;       /* for all of it; both at most a day */
};

struct fm_called {
    unsigned status;
    char *body; /* from malloc, terminated; the caller's. NULL after an error */
    size_t n;
    bool sent; /* the other side may have seen it, also after an error */
};

/* At most 16 MiB come back. FM_ERR_UNREACHABLE, FM_ERR_TIMEOUT, FM_ERR_PERMISSION (TLS refuses),
 * FM_ERR_INVALID (what came is no answer), FM_ERR_STATE (a signal), FM_ERR_MEMORY. */
enum fm_err fm_call_ask(struct fm_call *k, const struct fm_call_for *f, struct fm_called *out,
                        struct fm_error *e) FM_WARN_UNUSED;

/* The addresses of a name, at most `max`. FM_ERR_UNREACHABLE where it has none, or not in time. */
enum fm_err fm_call_resolve(struct fm_call *k, struct fm_str name, uint16_t port, int64_t whole_ms,
                            struct fm_addr *out, size_t max, size_t *n,
                            struct fm_error *e) FM_WARN_UNUSED;

/* Wait. False where a signal ended it. */
bool fm_call_pause(int64_t ms);

void fm_call_catch(void);
bool fm_call_interrupted(void);

#endif
