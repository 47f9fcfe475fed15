/* Deliveries: see the header. Invariants: what may have been executed is DONE only with the answer
 * that says so; it is sent again only as a question to who knows its key, and a bounded number of
 * times; a refusal never hides an earlier try of unknown outcome. */
#include "core/delivery.h"

#include "base/assert.h"
#include "core/rule.h"

const char *fm_delivery_name(enum fm_delivery d)
{
    static const char *const name[] = {
#define X(id, text) [FM_DELIVERY_##id] = text,
        FM_DELIVERIES(X)
#undef X
    };
    FM_ASSERT(d < FM_COUNT(name));
    return name[d];
}

/* Whoever is asked again knows its key. */
static enum fm_delivery ask_again(const struct fm_delivery_heard *h)
{
    return h->tries < FM_DELIVERY_TRIES_MAX ? FM_DELIVERY_AGAIN : FM_DELIVERY_UNKNOWN;
}

/* The gate does not know whether its application executed it. Its journal would say so to every
 * repeat; only an application that stops doubles can be asked. */
static enum fm_delivery lost_there(const struct fm_delivery_heard *h)
{
    return FM_RULE(R19_QUEUED, h->by_app) ? ask_again(h) : FM_DELIVERY_UNKNOWN;
}

static enum fm_delivery done(const struct fm_delivery_heard *h, uint16_t *status)
{
    *status = h->status;
    return FM_DELIVERY_DONE;
}

/* It will never be taken there, for a reason that lies in itself. */
static enum fm_delivery refused(const struct fm_delivery_heard *h, uint16_t *status)
{
    return h->sent_before ? FM_DELIVERY_UNKNOWN : done(h, status);
}

static enum fm_delivery of_the_application(const struct fm_delivery_heard *h, uint16_t *status)
{
    bool success = h->status < 400;
    return FM_RULE(R13_QUEUED, !success || h->passes) ? done(h, status) : FM_DELIVERY_UNKNOWN;
}

static enum fm_delivery of_the_gate(const struct fm_delivery_heard *h, uint16_t *status)
{
    switch (h->problem) {
    case FM_PROBLEM_MOVING:
    case FM_PROBLEM_NOT_HOLDER:
    case FM_PROBLEM_OTHER_GATE:
    case FM_PROBLEM_CATCHING_UP:
    case FM_PROBLEM_READ_ONLY:
    case FM_PROBLEM_OVERLOADED:
    case FM_PROBLEM_UNREACHABLE:
    case FM_PROBLEM_NO_INSTANCE:
    case FM_PROBLEM_JOURNAL_FAILED:
    case FM_PROBLEM_DEADLINE:
    case FM_PROBLEM_KEY_IN_FLIGHT: /* another try with its key is under way */
        return FM_DELIVERY_BACK;
    case FM_PROBLEM_NO_ROUTE:
    case FM_PROBLEM_BAD_PATH:
    case FM_PROBLEM_HEAD_TOO_LARGE:
    case FM_PROBLEM_KEY_MISSING:
    case FM_PROBLEM_KEY_INVALID:
    case FM_PROBLEM_KEY_REUSED:
    case FM_PROBLEM_ENTITY_MISSING:
    case FM_PROBLEM_ENTITY_REPEATED:
    case FM_PROBLEM_ENTITY_TOO_LONG:
    case FM_PROBLEM_ENTITY_MALFORMED:
    case FM_PROBLEM_ENTITY_OUT_OF_REACH:
    case FM_PROBLEM_ENTITY_UNKNOWN:
    case FM_PROBLEM_NOT_QUEUED:
        return refused(h, status);
    case FM_PROBLEM_ANSWER_NOT_KEPT:
        *status = FM_DELIVERY_ANSWER_GONE;
        return FM_DELIVERY_DONE;
    case FM_PROBLEM_UPSTREAM_ERROR:
    case FM_PROBLEM_CONNECTION_LOST:
    case FM_PROBLEM_BAD_ANSWER:
    case FM_PROBLEM_TIMEOUT:
    case FM_PROBLEM_OUTCOME_UNKNOWN:
        return lost_there(h);
    case FM_PROBLEM_NONE:
    case FM_PROBLEM_COUNT:
        break;
    }
    FM_UNREACHABLE();
}

enum fm_delivery fm_delivery_decide(const struct fm_delivery_heard *h, uint16_t *status)
{
    FM_ASSERT(h->problem < FM_PROBLEM_COUNT && (h->answered || !h->waits_there));
    FM_ASSERT(!h->answered || (h->sent && h->status >= 200 && h->status < 1000));
    *status = 0;
    if (!h->sent || h->waits_there)
        return FM_DELIVERY_BACK;
    if (!h->answered || h->strange)
        return ask_again(h);
    return h->problem == FM_PROBLEM_NONE ? of_the_application(h, status) : of_the_gate(h, status);
}

struct fm_epoch fm_delivery_first(const struct fm_view_cell *now, struct fm_epoch first)
{
    FM_ASSERT(now->epoch.n > 0 && !fm_epoch_newer(now->gentle_from, now->epoch));
    bool shipped = !fm_epoch_newer(now->gentle_from, first);
    if (first.n == 0 || fm_epoch_newer(first, now->epoch)) /* our view is older than that try */
        return first;
    return FM_RULE(R20_QUEUED, shipped) ? now->epoch : first;
}
