/* Versions of what is agreed: see the header. It does not know what they say. */
#include "core/agreed.h"

#include "base/assert.h"

static bool is_same(const struct fm_agreed_mark *a, const struct fm_agreed_mark *b)
{
    return a->generation == b->generation && memcmp(a->digest, b->digest, sizeof a->digest) == 0;
}

enum fm_agreed_step fm_agreed_next(const struct fm_agreed_mark *known,
                                   const struct fm_agreed_mark *seen, bool writes)
{
    FM_ASSERT(known->generation == 0 || known->digest[0]);
    FM_ASSERT(seen->generation == 0 || seen->digest[0]);
    if (seen->generation > known->generation)
        return FM_AGREED_TAKE;
    if (seen->generation == known->generation && seen->generation > 0)
        return is_same(known, seen) ? FM_AGREED_KEEP : FM_AGREED_TAKE;
    if (!writes)
        return FM_AGREED_KEEP;
    return known->generation == 0 ? FM_AGREED_FOUND : FM_AGREED_GIVE;
}

static const struct {
    const char *name, *remedy;
} whys[] = {
#define X(id, name, remedy) {name, remedy},
    FM_AGREED_WHYS(X)
#undef X
};

const char *fm_agreed_why_name(enum fm_agreed_why w)
{
    FM_ASSERT(w < FM_AGREED_WHY_COUNT);
    return whys[w].name;
}

const char *fm_agreed_why_remedy(enum fm_agreed_why w)
{
    FM_ASSERT(w < FM_AGREED_WHY_COUNT);
    return whys[w].remedy;
}

bool fm_agreed_is_in_the_way(const struct fm_agreed_op *o)
{
    bool only_waits = o->brings && o->there && !o->open;
    return !only_waits || !o->known;
}

enum fm_agreed_why fm_agreed_may_apply(const struct fm_agreed_mark *known,
                                       const struct fm_agreed_mark *seen,
                                       const struct fm_agreed_ask *ask)
{
    /* what this agent goes by is what it judges with */
    if (seen->generation == 0 || !is_same(known, seen))
        return FM_AGREED_WHY_UNSEEN;
    if (ask->expected != seen->generation)
        return FM_AGREED_WHY_OVERTAKEN;
    if (ask->busy)
        return FM_AGREED_WHY_BUSY;
    if (!ask->valid)
        return FM_AGREED_WHY_INVALID;
    if (ask->holders & ~ask->serving)
        return FM_AGREED_WHY_REGION_HOLDS;
    return FM_AGREED_WHY_NONE;
}
