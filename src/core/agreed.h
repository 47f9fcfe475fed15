/* core/agreed.h: which version of what hosts agree upon an agent goes by, and whether another one
 * may take its place.
 *
 * A version has a generation, which grows by one with each change, and the digest of its text. It
 * lives in coordination (`config`); each agent keeps what it knows on its disk. Invariants: an
 * agent never goes back a generation; of two versions of one generation (written on both sides of a
 * backup that was restored) that of coordination counts for everybody. Pure. */
#ifndef FM_CORE_AGREED_H
#define FM_CORE_AGREED_H

#include "base/str.h"

enum { FM_AGREED_DIGEST_ROOM = 65 };

/* generation 0: there is none. The digest is filled up with zeros. */
struct fm_agreed_mark {
    uint64_t generation;
    char digest[FM_AGREED_DIGEST_ROOM];
};

enum fm_agreed_step {
    FM_AGREED_KEEP,
    FM_AGREED_TAKE,  /* what coordination has */
    FM_AGREED_FOUND, /* write what this host's file says, as the first generation */
    FM_AGREED_GIVE,  /* write what is known here: coordination shows less than it had shown */
};

/* `known` here, `seen` in coordination. `writes`: this agent is one of those that may. */
enum fm_agreed_step fm_agreed_next(const struct fm_agreed_mark *known,
                                   const struct fm_agreed_mark *seen, bool writes);

/* An operation of people that is under way. */
struct fm_agreed_op {
    bool brings; /* cells to a region: a move, a failover */
    bool there;  /* all of them are held where they are to be ... */
    bool open;   /* ... and so are their data open (core/opening.h) */
    bool known;  /* what is to be applied still has what it is about */
};

/* Does another version wait for its end? Not where it only waits until data are open: what keeps
 * them from that may be what is to be changed. */
bool fm_agreed_is_in_the_way(const struct fm_agreed_op *o);

#define FM_AGREED_WHYS(X)                                                                          \
    X(NONE, "none", "")                                                                            \
    X(UNSEEN, "no-quorum", "try again when coordination answers")                                  \
    X(OVERTAKEN, "generation", "see `fulmar config diff`, and apply again")                        \
    X(BUSY, "one-at-a-time", "wait for it, or abort it")                                           \
    X(INVALID, "invalid-config", "bring the same good file to this agent's host, and apply again") \
    X(REGION_HOLDS, "region-holds", "`fulmar evacuate` the region first, and apply again")

/* Why it may not be applied. */
enum fm_agreed_why {
#define X(id, name, remedy) FM_AGREED_WHY_##id,
    FM_AGREED_WHYS(X)
#undef X
        FM_AGREED_WHY_COUNT
};

const char *fm_agreed_why_name(enum fm_agreed_why w);
const char *fm_agreed_why_remedy(enum fm_agreed_why w);

struct fm_agreed_ask {
    uint64_t expected; /* the generation that is to be replaced */
    bool busy;         /* an operation is in the way, or a cell is between two regions */
    bool valid;        /* it is good, alone and with the file of who judges */
    uint16_t holders;  /* regions that hold cells, or are getting them; one bit each */
    uint16_t serving;  /* that may hold cells by what is to be applied */
};

enum fm_agreed_why fm_agreed_may_apply(const struct fm_agreed_mark *known,
                                       const struct fm_agreed_mark *seen,
                                       const struct fm_agreed_ask *ask);

#endif
