/* journal/entry.h: one accepted command as the journal tells of it. Views: valid as long as what
 * they were read from. */
#ifndef FM_JOURNAL_ENTRY_H
#define FM_JOURNAL_ENTRY_H

#include "core/idempotency.h"

enum { FM_JOURNAL_CONTEXT_MAX = 63, FM_JOURNAL_LANE_MAX = 255 };

/* What the application answered, as it is to be repeated. */
struct fm_journal_answer {
    uint16_t status; /* 0 where the outcome is unknown */
    bool kept;       /* head and body are whole; else both are empty */
    struct fm_str head, body;
};

struct fm_journal_entry {
    uint64_t seq; /* in the order of acceptance here */
    struct fm_str context, key;
    struct fm_idem_hash hash;
    uint32_t cell;
    uint64_t epoch;           /* under which it was forwarded last */
    uint32_t tries;           /* how often it was forwarded */
    int64_t at_ms;            /* wall clock, for people */
    enum fm_idem_known state; /* IN_FLIGHT, UNKNOWN or DONE */
    int64_t settled_ms;       /* wall clock; 0 while in flight */
    struct fm_journal_answer answer;
};

#endif
