/* core/check.h: dependency checks of a region and what they mean for its contexts. Pure.
 *
 * One machine per check: results come in, a state comes out that is bad only after `fall` failures
 * in a row and good again after `rise` successes. A result older than its bound counts as bad,
 * whatever it was: a check that hangs is a failing check. A context is capable when all checks it
 * needs are good. */
#ifndef FM_CORE_CHECK_H
#define FM_CORE_CHECK_H

#include "base/str.h"
#include "base/time.h"

enum fm_check_state {
    FM_CHECK_UNKNOWN, /* no result yet: counts as bad for capabilities */
    FM_CHECK_GOOD,
    FM_CHECK_WARN, /* good, with something to say (a certificate that expires soon) */
    FM_CHECK_BAD,
    FM_CHECK_STALE, /* the last result is older than its bound */
};

const char *fm_check_state_name(enum fm_check_state s);

struct fm_check_policy {
    uint8_t fall, rise;
    int64_t max_age_ms;
};

struct fm_check {
    bool known, good, warn;
    uint8_t failed_in_row, ok_in_row;
    struct fm_mono last, changed;
    int64_t latency_ns;
};

void fm_check_init(struct fm_check *c, struct fm_mono now);

/* A result. True when good turned into bad or back. The first result counts at once. */
bool fm_check_result(struct fm_check *c, const struct fm_check_policy *p, bool ok, bool warn,
                     int64_t latency_ns, struct fm_mono now);

enum fm_check_state fm_check_now(const struct fm_check *c, const struct fm_check_policy *p,
                                 struct fm_mono now);

static inline bool fm_check_is_good(enum fm_check_state s)
{
    return s == FM_CHECK_GOOD || s == FM_CHECK_WARN;
}

/* One sample of a region out of what its agents said about a context: a failure only when more of
 * those that answered say no than yes, or when nobody answered. */
bool fm_check_fold(unsigned said_yes, unsigned said_no);

#endif
