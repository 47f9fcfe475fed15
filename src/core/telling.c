/* Telling: see the header. Invariants: what was acknowledged is not told again; a pause is never
 * longer than the longest, nor shorter than three quarters of the first. */
#include "core/telling.h"

#include "base/assert.h"
#include "base/bits.h"

enum { DOUBLED_MAX = 16 };

void fm_telling_anew(struct fm_telling *t)
{
    t->fails = 0;
    t->not_before = FM_MONO_ZERO;
}

enum fm_telling_now fm_telling_look(struct fm_telling *t, uint64_t hash, struct fm_mono now)
{
    if (t->has_done && hash == t->done)
        return FM_TELLING_NOTHING;
    if (hash != t->tried && t->fails > 0)
        t->not_before = fm_mono_min(t->not_before, fm_mono_add_ms(t->began, FM_TELLING_NEWS_MS));
    t->tried = hash;
    return fm_mono_before(now, t->not_before) ? FM_TELLING_WAIT : FM_TELLING_TRY;
}

void fm_telling_begin(struct fm_telling *t, struct fm_mono now)
{
    FM_ASSERT(!fm_mono_before(now, t->not_before));
    t->began = now;
}

int64_t fm_telling_failed(struct fm_telling *t, uint64_t random, struct fm_mono now)
{
    unsigned doubled = t->fails < DOUBLED_MAX ? t->fails : DOUBLED_MAX;
    int64_t ms = fm_clamp_i64((int64_t)FM_TELLING_AGAIN_MS << doubled, FM_TELLING_AGAIN_MS,
                              FM_TELLING_AGAIN_MAX_MS);
    FM_ASSERT(ms >= FM_TELLING_AGAIN_MS);
    ms -= (int64_t)(random % (uint64_t)(ms / 4));
    FM_ASSERT(4 * ms >= 3 * FM_TELLING_AGAIN_MS && ms <= FM_TELLING_AGAIN_MAX_MS);
    t->not_before = fm_mono_add_ms(now, ms);
    t->fails += t->fails < UINT32_MAX;
    return ms;
}

bool fm_telling_delivered(struct fm_telling *t, uint64_t hash)
{
    bool failed = t->fails > 0;
    t->done = hash;
    t->has_done = true;
    fm_telling_anew(t);
    return failed;
}
