/* core/health.h: is this region well, for this context?
 *
 * One machine per (region, context). It is fed with the results of probes, with what traffic saw,
 * with silence, and with time; it answers how much of the traffic the region may get. Probes and
 * traffic count both: a region whose probes pass but whose answers fail is down (a grey failure),
 * and it is never passing probes alone that bring it back: a few canary requests have to succeed
 * first, then its share grows slowly. Each relapse within the flap window lengthens the next hold,
 * bounded.
 *
 * Pure: no I/O, no clock, no heap; chance (jitter) comes in as a number. */
#ifndef FM_CORE_HEALTH_H
#define FM_CORE_HEALTH_H

#include "base/str.h"
#include "base/time.h"

#define FM_HEALTH_STATES(X)                                                                        \
    X(UP, "up")                                                                                    \
    X(SUSPECT, "suspect") /* fell silent a moment ago: gets nothing until it is heard */           \
    X(DOWN, "down")       /* gets nothing while another is well */                                 \
    X(TRIAL, "trial")     /* gets one canary request at a time */                                  \
    X(RAMP, "ramp")       /* gets a growing share */

enum fm_health_state {
#define X(id, name) FM_HEALTH_##id,
    FM_HEALTH_STATES(X)
#undef X
        FM_HEALTH_STATE_COUNT
};

#define FM_HEALTH_REASONS(X)                                                                       \
    X(START, "start", "nothing bad was seen since the start")                                      \
    X(PROBES_FAIL, "probes-fail", "too few of the last probes succeeded")                          \
    X(FAILURES, "failures", "several requests in a row failed")                                    \
    X(FAILURE_RATIO, "failure-ratio", "too many of the recent requests failed")                    \
    X(SLOW, "slow", "too many of the recent answers were slower than the objective")               \
    X(SILENT, "silent", "it owes answers and says nothing")                                        \
    X(PAUSES, "pauses", "it fell silent for a moment again and again")                             \
    X(UNREACHABLE, "unreachable", "nothing of it accepts connections")                             \
    X(HEARD, "heard", "it answered again before it was given up")                                  \
    X(HOLD_OVER, "hold-over", "the hold is over and probes succeed: canaries may go")              \
    X(CANARIES_OK, "canaries-ok", "the canary requests succeeded")                                 \
    X(CANARY_FAILED, "canary-failed", "a canary request failed")                                   \
    X(RELAPSE, "relapse", "requests failed again while it came back")                              \
    X(RAMP_OVER, "ramp-over", "it carried its whole share")

enum fm_health_reason {
#define X(id, name, text) FM_HEALTH_WHY_##id,
    FM_HEALTH_REASONS(X)
#undef X
        FM_HEALTH_WHY_COUNT
};

const char *fm_health_state_name(enum fm_health_state s);
const char *fm_health_reason_name(enum fm_health_reason r);
const char *fm_health_reason_text(enum fm_health_reason r);

struct fm_health_policy {
    /* probes; samples 0 = there are none; at most FM_HEALTH_SAMPLES_MAX */
    uint8_t samples, successes, rise;
    int32_t interval_ms, fast_interval_ms;
    /* traffic */
    uint32_t failures_in_row;  /* over a moment */
    uint32_t failures_min;     /* the ratio counts from so many failures */
    uint32_t failure_permille; /* of the answers of the window */
    uint32_t slow_permille;
    int32_t suspect_ms; /* silence of this length is no pause any more */
    /* coming back */
    int32_t hold_ms, hold_max_ms, flap_window_ms;
    uint8_t canaries;
    int32_t canary_any_ms; /* no repeatable request in so long: any may be the canary */
    int32_t ramp_ms;
};

/* The defaults that everything uses; probe figures come from the configuration. */
extern const struct fm_health_policy fm_health_policy_default;

enum fm_health_event_kind {
    FM_HEALTH_PROBE,   /* ok */
    FM_HEALTH_TRAFFIC, /* counts since the last such event */
    FM_HEALTH_LEFT,    /* a worker saw several failures in a row, and is sure (core/breaker.h) */
    FM_HEALTH_SILENCE, /* the region owes answers and is silent (core/latency.h) */
    FM_HEALTH_HEARD,   /* a byte came from it while it was not up */
    FM_HEALTH_NOBODY,  /* nothing of it accepts connections */
    FM_HEALTH_TICK,
    FM_HEALTH_EVENT_COUNT
};

struct fm_health_counts {
    uint32_t ok, slow, error, connect, reset, timeout;
};

struct fm_health_event {
    enum fm_health_event_kind kind;
    bool ok;
    struct fm_health_counts counts;
};

enum { FM_HEALTH_BUCKETS = 10, FM_HEALTH_BUCKET_MS = 100, FM_HEALTH_FLIPS = 8 };
enum { FM_HEALTH_SAMPLES_MAX = 64 };

struct fm_health {
    uint8_t state; /* enum fm_health_state */
    uint8_t why;   /* enum fm_health_reason of the last transition */
    struct fm_mono since;
    /* probes, newest in bit 0 */
    uint64_t probe_bits;
    uint8_t probes, probes_ok_in_row;
    /* traffic of the last second */
    struct fm_health_counts bucket[FM_HEALTH_BUCKETS];
    struct fm_mono bucket_start;
    uint8_t bucket_at;
    uint32_t failed_in_row;
    struct fm_mono row_began; /* of them */
    int64_t paused_ms;        /* of late: the pauses, less a quarter of the time in between */
    struct fm_mono paused_at;
    /* coming back */
    struct fm_mono hold_until, canary_given, flip[FM_HEALTH_FLIPS];
    struct fm_mono tried_at; /* when it last entered TRIAL; see fm_health_is_news */
    uint8_t flips, canaries_ok, canaries_lost;
    bool canary_any;  /* the last token was for any request */
    bool was_ramping; /* when it became suspect */
    struct fm_health_counts since_ramp;
};

struct fm_health_verdict {
    bool changed;
    uint8_t from, to, why;
    struct fm_health_counts window; /* what traffic had shown when it was decided */
    uint16_t share;                 /* permille of the traffic it may get now */
    bool canary;         /* give out one canary token (it replaces one that was not used) */
    bool canary_any;     /* ... that need not be repeatable */
    struct fm_mono wake; /* step a TICK at the latest then */
};

void fm_health_init(struct fm_health *h, struct fm_mono now);

struct fm_health_verdict fm_health_step(struct fm_health *h, const struct fm_health_policy *p,
                                        const struct fm_health_event *e, struct fm_mono now,
                                        uint64_t random);

/* What began before the region's last trial did is about the time before it, and is not fed. (The
 * clock of a worker may be a turn of its loop behind; a hold is much longer.) */
enum { FM_HEALTH_TURN_MS = 100 };
static inline bool fm_health_is_news(struct fm_mono began, struct fm_mono tried_at)
{
    return !fm_mono_before(fm_mono_add_ms(began, FM_HEALTH_TURN_MS), tried_at);
}

/* Permille of the traffic at this moment. */
unsigned fm_health_share(const struct fm_health *h, const struct fm_health_policy *p,
                         struct fm_mono now);

/* How long until the next probe, with up to a tenth of jitter: fast while in doubt. */
int64_t fm_health_probe_in_ms(const struct fm_health *h, const struct fm_health_policy *p,
                              uint64_t random);

/* What the window holds, for `status`. */
struct fm_health_counts fm_health_window(const struct fm_health *h);

/* The transition table, for tests and for the diagram in the docs. A row fires when its guard holds
 * after the event was taken in; the first row that fits wins; without one the state stays. */
struct fm_health_row {
    uint8_t from, event, to, why;
    bool (*guard)(const struct fm_health *h, const struct fm_health_policy *p, struct fm_mono now);
    const char *comment;
};
extern const struct fm_health_row fm_health_rows[];
extern const unsigned fm_health_nrows;

#endif
