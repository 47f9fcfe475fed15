/* tests/http/verdict.h: what the parser makes of all the bytes of one connection, for tests that
 * compare: the corpus, the fuzzer. The bytes arrive in pieces of the caller's choice and are handed
 * to the parser as a server would do it. Pure. */
#ifndef FM_TESTS_HTTP_VERDICT_H
#define FM_TESTS_HTTP_VERDICT_H

#include "http/parse.h"

enum { FM_VERDICT_REQUESTS_MAX = 16 };

struct fm_verdict {
    /* 0: the requests are whole; 408: the last one is not; else the status of the refusal. What
     * follows the last request of a connection (Connection: close, HTTP/1.0) is not looked at. */
    unsigned status;
    const char *why;
    unsigned requests;                   /* whole ones; counting stops at the bound */
    size_t end[FM_VERDICT_REQUESTS_MAX]; /* behind each of them */
    uint64_t content;                    /* a hash of all content, without framing */
};

enum fm_verdict_bodies { FM_VERDICT_DECODED, FM_VERDICT_RAW };

/* The pieces end at cut[0] < cut[1] < ... < n; the last one is what is left. RAW skips bodies
 * together with their framing, as a proxy does; then `content` stays 0. */
struct fm_verdict fm_verdict_of(struct fm_str bytes, const size_t *cut, size_t ncuts,
                                enum fm_verdict_bodies bodies, const struct fm_http_limits *limits);
/* Each byte a piece. */
struct fm_verdict fm_verdict_bytewise(struct fm_str bytes, enum fm_verdict_bodies bodies,
                                      const struct fm_http_limits *limits);

/* All but `why` and, where the bodies were read in different ways, `content`. */
bool fm_verdict_eq(const struct fm_verdict *a, const struct fm_verdict *b, bool content);

#endif
