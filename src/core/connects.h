/* core/connects.h: how many connections are made for requests that find none to use. Pure.
 *
 * Making one may cost its peer more than the request does (a TLS handshake, RFC 8446 section 2):
 * where each request waits for one of its own, a burst, such as all the traffic of a region that
 * died, keeps the peer so busy with handshakes that none is done in time, and those that are given
 * up were made for nothing: it does not end by itself. So requests wait in line for whatever
 * connection is there first, made or given back; one is made for who joins the line where none is
 * being made for him already. How many are made at once follows from how long they take: where that
 * is much longer than at best, the peer or this side has more to do than it can, and requests come
 * first. */
#ifndef FM_CORE_CONNECTS_H
#define FM_CORE_CONNECTS_H

#include "base/time.h"

enum {
    FM_CONNECTS_MAX = 256,       /* being made at once by a worker, to one endpoint */
    FM_CONNECTS_TLS_MAX = 32,    /* ... with TLS */
    FM_CONNECTS_TLS_MIN = 2,     /* ... where they take long */
    FM_CONNECTS_TLS_FIRST = 8,   /* ... as long as nobody knows */
    FM_CONNECTS_SHAKE_MS = 2000, /* a handshake may take so long, also where who asked has gone */
    FM_CONNECTS_BEST_MS = 60 * 1000
};

/* How long connections to one endpoint take to be made. Zero: nobody knows. */
struct fm_connects_pace {
    int64_t recent_ns;        /* a moving average */
    int64_t best_ns, last_ns; /* the best of this minute or so, and of the one before */
    struct fm_mono since;
};

void fm_connects_took(struct fm_connects_pace *p, int64_t ns, struct fm_mono now);
/* One was given up after so long. A handshake that has used up its time was as slow as that; where
 * the transport did not even stand, nothing is known of handshakes. */
void fm_connects_gave_up(struct fm_connects_pace *p, int64_t ns, struct fm_mono now);

/* So many are made at once, at most. */
unsigned fm_connects_most(const struct fm_connects_pace *p, bool tls);

/* How many more are made, for so many in line and with this bound. Of those that are being made
 * `late` have taken longer than who asked for them waits: they may be stuck, so nobody relies on
 * them, and with them it may be twice as many. */
unsigned fm_connects_more(unsigned waiting, unsigned making, unsigned late, unsigned most);

/* One failed, and `making` others are left: so many of those in line, the last ones, go on waiting.
 * Each that is made stands for its part of the line, so that all know when all have failed. */
unsigned fm_connects_keep(unsigned waiting, unsigned making);

#endif
