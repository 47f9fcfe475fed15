/* core/keygate.h: which gate of a region takes the commands of a key (SAFETY.md 21).
 *
 * Where gates stop doubles, each has a journal of its own, and what one knows of a key another does
 * not. So every key has one gate in a region: all edges, all gates and who delivers what is queued
 * find the same one, from the names of the gates in the configuration alone. Health has no part in
 * it: the keys of a gate that is lost are refused until it is back, or taken out of the file.
 *
 * Highest random weight, or rendezvous, hashing (Thaler and Ravishankar, "Using Name-Based Mappings
 * to Increase Hit Rates", IEEE/ACM Transactions on Networking 6(1), 1998): the order in which gates
 * are listed does not matter; one more gate takes keys over and moves none between the others, and
 * of one that is taken out only its own keys move. The hashes are part of the agreement between
 * hosts of different versions: they never change. Pure. */
#ifndef FM_CORE_KEYGATE_H
#define FM_CORE_KEYGATE_H

#include "base/str.h"

struct fm_keygate {
    struct fm_str name; /* of the host */
    uint64_t id;        /* fm_keygate_id(name) */
};

uint64_t fm_keygate_id(struct fm_str name);

/* Keys of different contexts are different keys. */
uint64_t fm_keygate_key(struct fm_str context, struct fm_str key);

/* The one of `n` (at least one, of different names) that has `key`: its index. */
unsigned fm_keygate_of(const struct fm_keygate *gate, unsigned n, uint64_t key);

/* May a gate take a command with this key into its journal? `caught_up`: it knows what the other
 * gates of its region had taken before it was one of them. */
#define FM_KEYGATES(X)                                                                             \
    X(TAKE, "take")                                                                                \
    X(OTHER, "other")   /* another gate has it */                                                  \
    X(BEHIND, "behind") /* not yet */

enum fm_keygate_verdict {
#define X(id, name) FM_KEYGATE_##id,
    FM_KEYGATES(X)
#undef X
        FM_KEYGATE_COUNT
};

const char *fm_keygate_name(enum fm_keygate_verdict v);

enum fm_keygate_verdict fm_keygate_decide(unsigned self, unsigned owner, bool caught_up);

#endif
