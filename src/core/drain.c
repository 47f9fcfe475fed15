/* Drains of one among several: see the header. */
#include "core/drain.h"

#include "base/assert.h"

const char *fm_drain_rule(enum fm_drain_verdict v)
{
    static const char *const rules[] = {
#define X(id, rule) [FM_DRAIN_##id] = (rule),
        FM_DRAINS(X)
#undef X
    };
    FM_ASSERT(v < FM_DRAIN_COUNT);
    return rules[v];
}

enum fm_drain_verdict fm_drain_judge(const struct fm_drain_case *c)
{
    FM_ASSERT(c->gate || !c->keyed); /* only gates have journals */
    if (c->left == 0 && c->holds)
        return FM_DRAIN_LAST;
    return c->gate && c->keyed ? FM_DRAIN_ONE_GATE : FM_DRAIN_FINE;
}

unsigned fm_drain_share(unsigned serve_permille, unsigned left, unsigned all)
{
    FM_ASSERT(serve_permille <= 1000 && left <= all);
    if (all == 0)
        return serve_permille; /* there are none that could be missed */
    unsigned share = (unsigned)((unsigned long long)serve_permille * left / all);
    FM_ASSERT(share <= serve_permille);
    return share == 0 && left > 0 && serve_permille > 0 ? 1 : share; /* a little is not nothing */
}
