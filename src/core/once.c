/* At most once. Invariant: without `by: app` a command is forwarded only if no journal that could
 * know of an earlier try is missing: the key is not in this one, and the first try was under an
 * epoch whose journals were shipped here. */
#include "core/once.h"

const char *fm_entry_name(enum fm_entry e)
{
    static const char *const name[] = {
#define X(id, text) [FM_ENTRY_##id] = text,
        FM_ENTRIES(X)
#undef X
    };
    FM_ASSERT(e < FM_COUNT(name));
    return name[e];
}

const char *fm_once_name(enum fm_once o)
{
    static const char *const name[] = {
#define X(id, text) [FM_ONCE_##id] = text,
        FM_ONCES(X)
#undef X
    };
    FM_ASSERT(o < FM_COUNT(name));
    return name[o];
}

enum fm_once fm_once_decide(const struct fm_once_case *c)
{
    FM_ASSERT(c->entry < FM_ENTRY_COUNT);
    bool first_try = c->first.n == 0;
    bool shipped = !fm_epoch_newer(c->gentle_from, c->first);
    switch (c->entry) {
    case FM_ENTRY_NONE:
        if (first_try || c->by_app || FM_RULE(R20_CARRIED, shipped))
            return FM_ONCE_FORWARD;
        return FM_ONCE_UNKNOWN;
    case FM_ENTRY_INTENT:
        if (c->in_flight_here)
            return FM_ONCE_IN_FLIGHT;
        return FM_RULE(R19_UNKNOWN, c->by_app) ? FM_ONCE_FORWARD : FM_ONCE_UNKNOWN;
    case FM_ENTRY_DONE:
        return FM_ONCE_REPLAY;
    case FM_ENTRY_UNKNOWN:
        return FM_RULE(R19_UNKNOWN, c->by_app) ? FM_ONCE_FORWARD : FM_ONCE_UNKNOWN;
    case FM_ENTRY_COUNT:
        break;
    }
    FM_UNREACHABLE();
}
