/* core/exchange.h: what to do with one request, from its first attempt to its answer.
 *
 * One exchange has a plan (core/route.h) and up to FM_ATTEMPTS_MAX attempts, of which several may
 * be alive (hedges, requests that left a region that fell silent). The machine decides which region
 * is tried, which answer is relayed, what is cancelled and when to give up. It is the place of the
 * rule that a command which may have been executed is never repeated without a key (SAFETY.md E).
 *
 * What an attempt can come to:
 *   not sent             nothing reached anybody: may be tried anywhere
 *   refused unexecuted   a gate said so (core/problem.h): may be tried anywhere
 *   answered             relayed, unless it is a 502, 503 or 504 and may be repeated
 *   lost                 sent, then reset, silent past its time-out, or malformed: unknown outcome
 *
 * A command that one region alone may take has nowhere else to go. With `waits`, what is under way
 * in a region that is left, or was answered with a failure, and may be sent again, is given up: who
 * began it keeps it until somebody may take it, and then begins anew, saying whether it may have
 * been executed; so `maybe_executed` is his to look at when it is told that it has to wait.
 *
 * Pure: step(state, event) -> ordered actions in a fixed array. The shell executes them in order.
 */
#ifndef FM_CORE_EXCHANGE_H
#define FM_CORE_EXCHANGE_H

#include "core/problem.h"
#include "core/route.h"

enum fm_repeat {
    FM_REPEAT_SAFE,  /* a query: may be repeated and hedged */
    FM_REPEAT_KEYED, /* a command with a key that its application checks: may be repeated */
    FM_REPEAT_NEVER, /* a command without */
};

enum { FM_ATTEMPTS_MAX = 4, FM_EXCHANGE_ACTIONS_MAX = 8 };

enum fm_attempt_state {
    FM_ATTEMPT_NONE,
    FM_ATTEMPT_OPEN, /* not known to be sent yet */
    FM_ATTEMPT_SENT, /* some byte may have reached the other side */
    FM_ATTEMPT_OVER,
};

struct fm_attempt {
    uint8_t region, state; /* enum fm_attempt_state */
    bool hedge;
    bool budgeted; /* it was paid for from the retry budget */
};

struct fm_exchange {
    uint8_t repeat;    /* enum fm_repeat */
    bool hedging;      /* allowed by policy, and the request is safe */
    bool leave_region; /* false: a gate, which tries other instances for what was not sent only */
    bool replayable;   /* the whole request is in hand */
    bool waits;        /* nobody but this one region may take it, and it may wait */
    bool relaying;     /* an answer is on its way to the client */
    bool over;
    bool maybe_executed; /* some attempt that was sent has no known outcome */
    uint8_t nplan, next, plan[FM_ATTEMPTS_MAX];
    uint8_t nattempts, attempts_max;
    struct fm_attempt attempt[FM_ATTEMPTS_MAX];
    uint8_t last_problem; /* enum fm_problem of the last attempt that failed */
};

enum fm_exchange_event_kind {
    FM_EXCHANGE_BEGIN,
    FM_EXCHANGE_SENT,     /* attempt: bytes are with the kernel */
    FM_EXCHANGE_NOT_SENT, /* attempt */
    FM_EXCHANGE_ANSWER,   /* attempt, status, problem */
    FM_EXCHANGE_LOST,     /* attempt, problem: CONNECTION_LOST, TIMEOUT or BAD_ANSWER */
    FM_EXCHANGE_HEDGE_DUE,
    FM_EXCHANGE_REGION_LEFT, /* region: it was just marked down or fell silent */
    FM_EXCHANGE_TIMEOUT,     /* the whole request */
    FM_EXCHANGE_CLIENT_GONE,
    FM_EXCHANGE_NOT_REPLAYABLE, /* a part of the body is gone */
    FM_EXCHANGE_EVENT_COUNT
};

struct fm_exchange_event {
    enum fm_exchange_event_kind kind;
    uint8_t attempt;
    uint8_t region;
    uint16_t status;
    enum fm_problem problem; /* what a gate said of its answer */
    /* The world at this moment. */
    bool budget;       /* another retry or hedge may start */
    bool instance_out; /* the instance of `attempt` takes nothing now: leaving it is free, too */
    uint32_t left_regions; /* bit per region: marked down, leaving it is free */
};

enum fm_exchange_action_kind {
    FM_EXCHANGE_TRY,    /* start attempt `attempt` in `region` */
    FM_EXCHANGE_CANCEL, /* drop attempt `attempt` */
    FM_EXCHANGE_RELAY,  /* the answer of `attempt` goes to the client */
    FM_EXCHANGE_FAIL,   /* answer with `problem`; nothing is alive any more */
    FM_EXCHANGE_DROP,   /* the client is gone; nothing is alive any more */
};

struct fm_exchange_action {
    enum fm_exchange_action_kind kind;
    uint8_t attempt, region;
    enum fm_problem problem;
};

struct fm_exchange_actions {
    unsigned n;
    struct fm_exchange_action action[FM_EXCHANGE_ACTIONS_MAX];
};

struct fm_exchange_begin {
    enum fm_repeat repeat;
    bool hedging, leave_region, replayable, waits;
    bool maybe_executed;   /* before this exchange began */
    uint8_t other_regions; /* tried after the first */
};

void fm_exchange_init(struct fm_exchange *x, const struct fm_exchange_begin *b,
                      const struct fm_route_plan *plan);

void fm_exchange_step(struct fm_exchange *x, const struct fm_exchange_event *e,
                      struct fm_exchange_actions *out);

unsigned fm_exchange_alive(const struct fm_exchange *x);

#endif
