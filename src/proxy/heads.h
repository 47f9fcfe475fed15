/* proxy/heads.h: the heads that a proxy sends on (RFC 9110 section 7.6, RFC 7239, W3C Trace
 * Context).
 *
 * Fields are copied in runs of the bytes as they came; what is hop-by-hop, what frames the body,
 * what Connection names, what we set ourselves and the Fulmar- family of whoever must not set it
 * are left out. Pure. */
#ifndef FM_PROXY_HEADS_H
#define FM_PROXY_HEADS_H

#include "base/buf.h"
#include "http/msg.h"

enum { FM_REF_LEN = 20, FM_TRACEPARENT_LEN = 55, FM_DEADLINE_DIGITS = 10, FM_AUTHORITY_LEN = 24 };

struct fm_forward {
    struct fm_str client_ip; /* without brackets */
    bool client_is_trusted;  /* its X-Forwarded-For and Forwarded are continued */
    bool from_edge;          /* we are a gate: Fulmar- fields are believed and passed on */
    struct fm_str ref;
    struct fm_str traceparent; /* to set; empty = what came is passed on */
    bool deadline;             /* leave a Fulmar-Deadline to be filled in */
    struct fm_str authority;   /* of which context one is to be filled in; empty = none */
    struct fm_str mode;        /* Fulmar-Mode; empty = what came is passed on, from an edge */
    bool no_authority;         /* what came is left out: this one has none */
};

/* Where there is something to be filled in, in what was written. */
struct fm_forward_at {
    size_t deadline;  /* digits: fm_heads_set_deadline */
    size_t authority; /* cell and epoch: fm_heads_set_authority; 0 = none */
    size_t mode;      /* where the value of Fulmar-Mode stands; 0 = none */
};

void fm_heads_request(struct fm_buf *out, const struct fm_http_head *h, const struct fm_forward *f,
                      struct fm_forward_at *at);

/* Milliseconds, right-aligned in the place that fm_heads_request left for them. */
void fm_heads_set_deadline(char *digits, uint64_t ms);

/* CELL@EPOCH behind the name of its context; padded with blanks, which are no part of it (RFC 9110
 * section 5.5). */
void fm_heads_set_authority(char *place, unsigned cell, uint64_t epoch);

/* CONTEXT/CELL@EPOCH, exactly so. */
struct fm_authority_said {
    struct fm_str context;
    unsigned cell;
    uint64_t epoch;
};
bool fm_heads_authority(struct fm_str value, struct fm_authority_said *out) FM_WARN_UNUSED;

struct fm_answer {
    bool from_gate; /* its Fulmar- fields are passed on (but Fulmar-Problem to clients) */
    bool to_edge;   /* ... and Fulmar-Problem, too: we are a gate that asked another one */
    bool decoded;   /* the body goes out without chunks (to an HTTP/1.0 client) */
    struct fm_str ref, region; /* empty = not set */
    struct fm_str connection;  /* the Connection line with its CRLF, or nothing */
    bool upgrade;              /* 101: keep Upgrade */
};

void fm_heads_answer(struct fm_buf *out, const struct fm_http_head *h, const struct fm_answer *a);

/* Is this a traceparent of version 00 that may be continued? */
bool fm_heads_traceparent_ok(struct fm_str v);
void fm_heads_traceparent_new(char out[FM_TRACEPARENT_LEN], uint64_t a, uint64_t b, uint64_t c);

#endif
