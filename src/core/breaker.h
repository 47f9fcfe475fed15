/* core/breaker.h: circuit breakers, bulkheads, and the choice between instances. Pure.
 *
 * A breaker keeps requests away from one target (an application instance, a gate, or a region as
 * one worker sees it) as soon as that target fails, without asking anybody. It is closed, open for
 * a hold that doubles with each relapse, or half-open: a few trial requests decide. Coming back, a
 * target gets its share slowly. Health (core/health.h) decides for everybody and more slowly. (M.
 * Nygard, "Release It!", 2007, for the pattern.) */
#ifndef FM_CORE_BREAKER_H
#define FM_CORE_BREAKER_H

#include "base/time.h"

enum fm_breaker_state { FM_BREAKER_CLOSED, FM_BREAKER_OPEN, FM_BREAKER_HALF_OPEN };

enum fm_outcome {
    FM_OUTCOME_OK,        /* an answer below 500 */
    FM_OUTCOME_ERROR,     /* 500, 502, 503, 504 or a malformed answer */
    FM_OUTCOME_REFUSED,   /* refused unexecuted by a gate (overloaded, ...): no sign of death */
    FM_OUTCOME_CONNECT,   /* could not connect: nobody listens */
    FM_OUTCOME_RESET,     /* the connection broke before the answer */
    FM_OUTCOME_TIMEOUT,   /* no first byte in time, or silence */
    FM_OUTCOME_CANCELLED, /* we gave up for reasons of our own: no evidence */
    FM_OUTCOME_COUNT
};

struct fm_breaker_policy {
    uint8_t failures; /* in a row that open it */
    uint8_t connects; /* connect failures in a row that open it */
    uint8_t trials;   /* successes in half-open that close it */
    int32_t hold_ms, hold_max_ms;
    int32_t slow_start_ms; /* after closing: 0 = full share at once */
};

struct fm_breaker {
    uint8_t state; /* enum fm_breaker_state */
    uint8_t failed, connects_failed, trials_out, trials_ok, relapses;
    struct fm_mono until;     /* open: when trials may begin */
    struct fm_mono tried_at;  /* when it last became half-open */
    struct fm_mono closed_at; /* for the slow start and for forgetting relapses */
};

/* May a request go there now? In half-open this takes one of the trials; report its outcome. */
bool fm_breaker_try(struct fm_breaker *b, const struct fm_breaker_policy *p, struct fm_mono now);
/* Would fm_breaker_try say yes? Takes nothing. */
bool fm_breaker_would(const struct fm_breaker *b, const struct fm_breaker_policy *p,
                      struct fm_mono now);
/* True when this outcome opened it. What began before the breaker last became half-open proves
 * nothing: its outcome is about the time before. */
bool fm_breaker_report(struct fm_breaker *b, const struct fm_breaker_policy *p, enum fm_outcome o,
                       struct fm_mono began, struct fm_mono now);
/* 1000 once the slow start is over. */
unsigned fm_breaker_share(const struct fm_breaker *b, const struct fm_breaker_policy *p,
                          struct fm_mono now);

/* -------- leaving a region --------
 *
 * What one worker concludes by itself about a (region, context) before control has spoken: after a
 * few failures in a row, or silence, it sends nothing more there and what is under way leaves at no
 * cost. It ends when health has spoken (`epoch` moved on), or by itself after a second.
 *
 * Requests that were under way when one of several instances died all fail at once. That is reason
 * to leave, but not to tell everybody that the region is down: `sure` it is only when a request has
 * failed that began after the first failure was known. */
struct fm_leave {
    uint8_t failed_in_row;
    bool left, sure;
    uint32_t epoch;
    struct fm_mono row_began; /* zero: the last answer was a success */
    struct fm_mono until;
};
enum { FM_LEAVE_FAILURES = 5, FM_LEAVE_MS = 1000 };

/* True when this outcome made it leave. */
bool fm_leave_report(struct fm_leave *l, enum fm_outcome o, uint32_t epoch, struct fm_mono began,
                     struct fm_mono now);
/* True if it had not left before. */
bool fm_leave_now(struct fm_leave *l, uint32_t epoch, struct fm_mono now);
bool fm_leave_is_left(const struct fm_leave *l, uint32_t epoch, struct fm_mono now);

/* -------- balancing: the less loaded of two (Mitzenmacher 2001) -------- */

struct fm_instance {
    bool usable; /* not known dead, its breaker would let a request pass */
    bool tried;  /* by this request already */
    bool spared; /* people drain it: it is asked only for what it alone has */
    uint32_t in_flight;
    uint16_t share; /* permille of the slow start, 1 to 1000 */
};

/* Index of the instance to ask, -1 where none is usable. Untried ones first. */
int fm_balance(const struct fm_instance *i, unsigned n, uint64_t random);

/* What only one instance of a region may take goes to that one again and again, also where anything
 * else would leave it alone: that it is away, or slow, says nothing of a region whose others are
 * there. Does this other one say so? `idle`: only one that nothing is under way at does. */
bool fm_instance_vouches(const struct fm_instance *other, bool idle);
/* What the outcome at one instance is evidence of for its region. */
enum fm_outcome fm_outcome_of_region(enum fm_outcome o, bool vouched);

/* -------- retry budget (SAFETY.md rule 22) -------- */

/* May another retry start while `retrying` of `in_flight` requests are retried ones? */
bool fm_budget_allows(uint32_t in_flight, uint32_t retrying, uint32_t share_ppm, uint32_t floor);
/* The same for a hedge, which nobody would fail without: half of the budget is left to retries. */
bool fm_budget_allows_hedge(uint32_t in_flight, uint32_t retrying, uint32_t share_ppm,
                            uint32_t floor);

#endif
