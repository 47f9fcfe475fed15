/* http/caller.h: asking one peer that a file names, again and again: its name is looked up, its
 * connection kept, and both are made anew after a failure.
 *
 * One request at a time. Each ends with one call of `answered` or `failed`, from the loop and never
 * from inside fm_caller_ask, by its deadline at the latest (a name server that hangs included).
 * The owner embeds it and keeps it until fm_caller_is_gone. One loop, one thread. */
#ifndef FM_HTTP_CALLER_H
#define FM_HTTP_CALLER_H

#include "http/link.h"
#include "io/resolve.h"

struct fm_caller {
    /* the owner's, set before fm_caller_init */
    /* `body` is valid until this returns; the next request may be made from either. */
    void (*answered)(struct fm_caller *c, unsigned status, struct fm_str body);
    void (*head)(struct fm_caller *c, const struct fm_http_head *h); /* before that; may be NULL */
    void (*failed)(struct fm_caller *c, const char *why);
    void *user;
    /* its own */
    struct fm_http_link link;
    struct fm_loop *loop;
    struct fm_resolver *resolver;
    struct fm_lookup lookup;
    struct fm_timer timer; /* the deadline while the name is looked up; failing from the loop */
    struct fm_tls *tls;
    char host[256], header[272], peer[256], why[160];
    uint16_t port;
    bool known; /* addr is good */
    bool busy;  /* between ask and its end */
    bool begun; /* with the link */
    bool closed;
    struct fm_addr addr;
    char target[FM_HTTP_LINK_TARGET_MAX], headers[FM_HTTP_LINK_HEADERS_MAX + 1];
    char *body; /* or raw */
    size_t body_n, answer_max;
    bool is_raw, discard;
    enum fm_http_method raw_method;
    int64_t connect_ms;
    struct fm_mono deadline;
};

/* `tls` (NULL: plain) is the caller's and lives as long as this; `peer` is the name that its
 * certificate must be for. */
struct fm_caller_to {
    struct fm_str host; /* a name, or an IP literal without brackets */
    uint16_t port;
    struct fm_tls *tls;
    struct fm_str peer;
};
void fm_caller_init(struct fm_caller *c, struct fm_loop *l, struct fm_resolver *resolver,
                    const struct fm_caller_to *to);

struct fm_caller_ask {
    const char *target; /* path with query, up to FM_HTTP_LINK_TARGET_MAX - 1 bytes */
    char *body;         /* from malloc, JSON; taken over. NULL: a GET */
    size_t body_n;
    const char *headers; /* more lines, as in struct fm_http_ask; NULL: none */
    /* Or, with target NULL, a whole request, as in struct fm_http_ask. */
    char *raw;
    size_t raw_n;
    enum fm_http_method raw_method;
    bool discard; /* nothing of the answer's body is kept */
    size_t answer_max;
    int64_t connect_ms, timeout_ms; /* of the whole */
};
void fm_caller_ask(struct fm_caller *c, const struct fm_caller_ask *a);

/* Of the last one: may the peer have seen a byte of it? */
static inline bool fm_caller_has_sent(const struct fm_caller *c)
{
    return c->link.sent;
}

/* Give up what is under way; nothing is told any more. */
void fm_caller_close(struct fm_caller *c);
/* After fm_caller_close: its memory may go. Where the resolver was freed, its question does not
 * count. */
bool fm_caller_is_gone(const struct fm_caller *c, bool resolver_freed);

#endif
