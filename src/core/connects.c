/* Connections for a line of requests: see the header. */
#include "core/connects.h"

#include "base/assert.h"
#include "base/bits.h"

void fm_connects_took(struct fm_connects_pace *p, int64_t ns, struct fm_mono now)
{
    FM_ASSERT(ns >= 0);
    ns += ns == 0; /* 0: nobody knows */
    if (fm_mono_sub_ms(now, p->since) >= FM_CONNECTS_BEST_MS) {
        p->last_ns = p->best_ns;
        p->best_ns = 0;
        p->since = now;
    }
    if (p->best_ns == 0 || ns < p->best_ns)
        p->best_ns = ns;
    p->recent_ns = p->recent_ns ? p->recent_ns + (ns - p->recent_ns) / 4 : ns;
}

void fm_connects_gave_up(struct fm_connects_pace *p, int64_t ns, struct fm_mono now)
{
    if (ns >= FM_CONNECTS_SHAKE_MS * FM_NS_PER_MS)
        fm_connects_took(p, ns, now);
}

unsigned fm_connects_most(const struct fm_connects_pace *p, bool tls)
{
    if (!tls)
        return FM_CONNECTS_MAX;
    if (p->recent_ns == 0)
        return FM_CONNECTS_TLS_FIRST;
    int64_t best = p->last_ns && p->last_ns < p->best_ns ? p->last_ns : p->best_ns;
    FM_ASSERT(best > 0 && p->recent_ns > 0);
    return (unsigned)fm_clamp_i64(best * FM_CONNECTS_TLS_MAX / p->recent_ns, FM_CONNECTS_TLS_MIN,
                                  FM_CONNECTS_TLS_MAX);
}

unsigned fm_connects_more(unsigned waiting, unsigned making, unsigned late, unsigned most)
{
    FM_ASSERT(late <= making);
    unsigned timely = making - late, want = waiting > timely ? waiting - timely : 0;
    unsigned room = timely < most ? most - timely : 0;
    unsigned all = making < 2 * most ? 2 * most - making : 0;
    room = room < all ? room : all;
    return want < room ? want : room;
}

unsigned fm_connects_keep(unsigned waiting, unsigned making)
{
    if (waiting <= making)
        return waiting;
    return (unsigned)((uint64_t)waiting * making / (making + UINT64_C(1)));
}
