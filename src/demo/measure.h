/* demo/measure.h: what clients noticed, out of the records of the load generator. Pure. */
#ifndef FM_DEMO_MEASURE_H
#define FM_DEMO_MEASURE_H

#include "demo/load.h"

struct fm_measure {
    size_t requests, failed;
    size_t by_outcome[FM_LOAD_OUTCOME_COUNT];
    int64_t last_failed_ns; /* when the last failed request was due; 0 = none failed */
    /* of what any region may answer */
    size_t slow;
    int64_t longest_gap_ns;    /* without a success */
    int64_t longest_gap_at_ns; /* when it began */
    int64_t worst_ns;          /* slowest success */
    /* of the commands that one region may take */
    size_t exclusive, exclusive_failed, exclusive_refused, exclusive_unknown; /* 503, 504 */
    int64_t longest_pause_ns; /* the longest that one of them waited for its success */
    size_t commands_acknowledged, commands_missing, applied_twice;
    /* of the ledger, which are among the commands; each is by 1 */
    size_t debits_acknowledged, debits_missing, debits_there;
};

enum { FM_MEASURE_SLOW_MS = 100 };

/* Of the requests [first, last). `scratch` has room for last - first times. */
void fm_measure_clients(const struct fm_load_record *r, size_t first, size_t last, int64_t *scratch,
                        struct fm_measure *m);

/* How often each command took effect, from a store's list of keys ("KEY COUNT\n"). `effects`, of
 * `last` bytes, is added to. */
void fm_measure_keys(const struct fm_load *l, size_t last, struct fm_str keys,
                     unsigned char *effects);

/* Those of [first, last) that were acknowledged: did each take effect, once? */
void fm_measure_effects(const struct fm_load *l, size_t first, size_t last,
                        const unsigned char *effects, struct fm_measure *m);

#endif
