/* core/once.h: may this command be forwarded to the application? (SAFETY.md 19 to 21)
 *
 * What the journal knows of its key, who stops doubles, and under which epoch it was first tried
 * decide. The intent is durable before FORWARD is carried out; a command whose outcome is unknown
 * is forwarded again only where the application stores the key in the transaction of the effect.
 * Pure. */
#ifndef FM_CORE_ONCE_H
#define FM_CORE_ONCE_H

#include "core/epoch.h"

#define FM_ENTRIES(X)                                                                              \
    X(NONE, "none")                                                                                \
    X(INTENT, "intent")   /* accepted; no outcome yet */                                           \
    X(DONE, "done")       /* its answer is stored */                                               \
    X(UNKNOWN, "unknown") /* it may have taken effect */

enum fm_entry {
#define X(id, name) FM_ENTRY_##id,
    FM_ENTRIES(X)
#undef X
        FM_ENTRY_COUNT
};

#define FM_ONCES(X)                                                                                \
    X(FORWARD, "forward")     /* after the intent is durable */                                    \
    X(REPLAY, "replay")       /* answer what is stored */                                          \
    X(IN_FLIGHT, "in-flight") /* 409 */                                                            \
    X(UNKNOWN, "unknown")     /* 409 outcome-unknown */

enum fm_once {
#define X(id, name) FM_ONCE_##id,
    FM_ONCES(X)
#undef X
        FM_ONCE_COUNT
};

const char *fm_entry_name(enum fm_entry e);
const char *fm_once_name(enum fm_once o);

struct fm_once_case {
    enum fm_entry entry;
    bool in_flight_here; /* an INTENT of this very process, whose answer may still come */
    bool by_app;
    struct fm_epoch first;       /* it was first tried under; 0 = this is the first try */
    struct fm_epoch gentle_from; /* every epoch from this one to the present one ended by release */
};

enum fm_once fm_once_decide(const struct fm_once_case *c);

/* The intent of a FORWARD is durable: it may go. */
static inline bool fm_once_may_forward(bool intent_durable)
{
    return FM_RULE(R19_INTENT, intent_durable);
}

#endif
