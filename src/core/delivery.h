/* core/delivery.h: what becomes of a queued command when somebody has been asked to take it
 * (`when-away: queue`; SAFETY.md 13, 19 to 21).
 *
 * It is sent to a gate of the region that holds its cell. Either its application stops doubles by
 * its key, or that gate's journal does, under the client's key or under the number that it has in
 * the queue: so what may have been executed may be *asked about* again, and is never executed again
 * blindly. What is certain not to have been executed goes back to the front of its lane. Pure. */
#ifndef FM_CORE_DELIVERY_H
#define FM_CORE_DELIVERY_H

#include "core/answer.h"
#include "core/problem.h"

#define FM_DELIVERIES(X)                                                                           \
    X(DONE, "done")       /* it is over, with a status */                                          \
    X(UNKNOWN, "unknown") /* it is over, and nobody knows how; never sent again */                 \
    X(BACK, "back")       /* this try executed nothing: as if it had not been made */              \
    X(AGAIN, "again")     /* it may have been executed; to be sent again, which says so */

enum fm_delivery {
#define X(id, name) FM_DELIVERY_##id,
    FM_DELIVERIES(X)
#undef X
        FM_DELIVERY_COUNT
};

const char *fm_delivery_name(enum fm_delivery d);

enum {
    FM_DELIVERY_TRIES_MAX = 8, /* that end as AGAIN; then it is UNKNOWN */
    /* Instead of a status: it was executed, and what was answered is not known any more. */
    FM_DELIVERY_ANSWER_GONE = 1,
};

/* What came of a try. */
struct fm_delivery_heard {
    bool sent;        /* a byte may have reached the gate */
    bool answered;    /* a status came back */
    bool waits_there; /* ... which says that the key waits in a queue over there */
    bool strange;     /* ... with a problem of the gate that this version does not know */
    bool passes;      /* of a success: fm_answer_passes, under the view of now */
    bool by_app;      /* its application stops doubles, by a key that its client gave */
    bool sent_before; /* an earlier try may have been executed */
    uint16_t status;
    enum fm_problem problem; /* of the gate; NONE: the application answered */
    unsigned tries;          /* that ended as AGAIN */
};

/* *status is set with DONE. */
enum fm_delivery fm_delivery_decide(const struct fm_delivery_heard *h, uint16_t *status);

/* The epoch that a try under the present one says it was first sent under (rule 20), where it was
 * sent before: where every epoch since ended by release, journals were shipped, and it is as good
 * as the present one. 0: it was not sent before. */
struct fm_epoch fm_delivery_first(const struct fm_view_cell *now, struct fm_epoch first);

#endif
