/* Rendezvous hashing of keys over gates: see the header. Invariant: the answer depends on the set
 * of names and the key, on nothing else. */
#include "core/keygate.h"

#include "base/assert.h"
#include "base/hash.h"
#include "core/rule.h"

static const struct fm_hash_key gate_key = {UINT64_C(0x66756c6d61722d67),
                                            UINT64_C(0x6174652d6e616d65)};
static const struct fm_hash_key context_key = {UINT64_C(0x66756c6d61722d63),
                                               UINT64_C(0x6f6e746578742d31)};
static const struct fm_hash_key idem_key = {UINT64_C(0x66756c6d61722d69),
                                            UINT64_C(0x64656d2d6b65792d)};

const char *fm_keygate_name(enum fm_keygate_verdict v)
{
    static const char *const name[] = {
#define X(id, text) text,
        FM_KEYGATES(X)
#undef X
    };
    FM_ASSERT(v < FM_COUNT(name));
    return name[v];
}

uint64_t fm_keygate_id(struct fm_str name)
{
    FM_ASSERT(name.n > 0);
    return fm_hash_str(gate_key, name);
}

uint64_t fm_keygate_key(struct fm_str context, struct fm_str key)
{
    FM_ASSERT(context.n > 0 && key.n > 0);
    return fm_mix64(fm_hash_str(context_key, context)) ^ fm_hash_str(idem_key, key);
}

static uint64_t weight(const struct fm_keygate *g, uint64_t key)
{
    return fm_mix64(key ^ fm_mix64(g->id));
}

/* Ids that are the same, of names that are not: the names decide. */
static bool before(const struct fm_keygate *a, const struct fm_keygate *b)
{
    size_t n = a->name.n < b->name.n ? a->name.n : b->name.n;
    int order = memcmp(a->name.p, b->name.p, n);
    return order ? order < 0 : a->name.n < b->name.n;
}

unsigned fm_keygate_of(const struct fm_keygate *gate, unsigned n, uint64_t key)
{
    FM_ASSERT(gate && n > 0);
    unsigned best = 0;
    uint64_t most = weight(&gate[0], key);
    for (unsigned i = 1; i < n; i++) {
        uint64_t w = weight(&gate[i], key);
        if (w < most || (w == most && !before(&gate[i], &gate[best])))
            continue;
        best = i;
        most = w;
    }
    FM_ASSERT(best < n);
    return best;
}

enum fm_keygate_verdict fm_keygate_decide(unsigned self, unsigned owner, bool caught_up)
{
    if (!FM_RULE(R21_ONE_GATE, self == owner))
        return FM_KEYGATE_OTHER;
    return caught_up ? FM_KEYGATE_TAKE : FM_KEYGATE_BEHIND;
}
