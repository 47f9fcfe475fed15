/* The board: see the header. */
#include "proxy/board.h"

#include "base/assert.h"

#include <stdlib.h>

static void *zeroed(size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        return NULL;
    bytes = (bytes + FM_CACHELINE - 1) & ~(size_t)(FM_CACHELINE - 1);
    void *p = aligned_alloc(FM_CACHELINE, bytes ? bytes : FM_CACHELINE);
    if (p)
        memset(p, 0, bytes);
    return p;
}

static void destroy(struct fm_board *b)
{
    free(b->slot);
    free(b->counts);
    free(b->context);
    fm_peers_drop(&b->peers);
    fm_conf_free(b->conf);
    free(b);
}

void fm_board_sum(const struct fm_board *b, unsigned region, unsigned context,
                  struct fm_board_sum *out)
{
    *out = (struct fm_board_sum){0};
    for (unsigned w = 0; w < b->nworkers; w++) {
        const struct fm_board_counts *c = fm_board_counts(b, w, region, context);
        for (unsigned o = 0; o < FM_OUTCOME_COUNT; o++) {
            out->outcome[o] += fm_counter_get(&c->outcome[o]);
            out->old[o] += fm_counter_get(&c->old[o]);
        }
        out->slow += fm_counter_get(&c->slow);
        out->silent += fm_counter_get(&c->silent);
        out->heard += fm_counter_get(&c->heard);
        out->nobody += fm_counter_get(&c->nobody);
        out->left += fm_counter_get(&c->left);
        out->sent += fm_counter_get(&c->sent);
        out->last_sent_ns = fm_max_u64(out->last_sent_ns, fm_counter_get(&c->last_sent_ns));
    }
}

/* Counters do not go back because of a reload: the first worker inherits the sums. */
static void inherit_slot(struct fm_board *to, unsigned r, unsigned c, const struct fm_board *from,
                         unsigned from_r, unsigned from_c)
{
    struct fm_board_sum sum;
    FM_ASSERT(to != from);
    fm_board_sum(from, from_r, from_c, &sum);
    struct fm_board_counts *counts = fm_board_counts(to, 0, r, c);
    for (unsigned o = 0; o < FM_OUTCOME_COUNT; o++) {
        fm_counter_add(&counts->outcome[o], sum.outcome[o]);
        fm_counter_add(&counts->old[o], sum.old[o]);
    }
    fm_counter_add(&counts->slow, sum.slow);
    fm_counter_add(&counts->silent, sum.silent);
    fm_counter_add(&counts->heard, sum.heard);
    fm_counter_add(&counts->nobody, sum.nobody);
    fm_counter_add(&counts->left, sum.left);
    fm_counter_add(&counts->sent, sum.sent);
    fm_counter_add(&counts->last_sent_ns, sum.last_sent_ns);
    const struct fm_board_slot *old = fm_board_slot(from, from_r, from_c);
    struct fm_board_slot *slot = fm_board_slot(to, r, c);
    atomic_store(&slot->word, atomic_load(&old->word));
    FM_ASSERT(fm_board_share(atomic_load(&slot->word)) <= 1000);
    atomic_store(&slot->tried_ns, atomic_load(&old->tried_ns));
    atomic_store(&slot->serve, atomic_load(&old->serve));
}

static void inherit_context(struct fm_board *to, unsigned c, const struct fm_board *from,
                            unsigned from_c)
{
    struct fm_board_context_stats *s = &to->context[c];
    for (unsigned w = 0; w < from->nworkers; w++) {
        const struct fm_board_context_stats *o = &from->context[w * from->ncontexts + from_c];
        for (unsigned i = 0; i < FM_HIST_BUCKETS; i++)
            fm_counter_add(&s->latency_us.bucket[i], fm_counter_get(&o->latency_us.bucket[i]));
        fm_counter_add(&s->latency_us.sum, fm_counter_get(&o->latency_us.sum));
        for (unsigned i = 0; i < FM_COUNT(s->status); i++)
            fm_counter_add(&s->status[i], fm_counter_get(&o->status[i]));
        fm_counter_add(&s->commands, fm_counter_get(&o->commands));
        fm_counter_add(&s->queries, fm_counter_get(&o->queries));
    }
}

static void inherit(struct fm_board *to, const struct fm_board *from)
{
    for (unsigned c = 0; c < to->ncontexts; c++) {
        int from_c = fm_conf_find_context(from->conf, to->conf->contexts[c].name);
        if (from_c < 0)
            continue;
        inherit_context(to, c, from, (unsigned)from_c);
        for (unsigned r = 0; r < to->nregions; r++) {
            int from_r = fm_conf_find_region(from->conf, to->conf->regions[r].name);
            if (from_r >= 0)
                inherit_slot(to, r, c, from, (unsigned)from_r, (unsigned)from_c);
        }
    }
}

struct fm_board *fm_board_new(struct fm_conf *conf, unsigned nworkers, struct fm_mailbox *control,
                              void (*alarmed)(struct fm_msg *, void *), void *owner,
                              const struct fm_board *before)
{
    FM_ASSERT(nworkers > 0 && conf->nregions > 0 && conf->ncontexts > 0);
    _Static_assert(sizeof(struct fm_board_slot) % FM_CACHELINE == 0 &&
                       sizeof(struct fm_board_counts) % FM_CACHELINE == 0,
                   "what one writes is not on a line that another reads");
    struct fm_board *b = calloc(1, sizeof *b);
    if (!b) {
        fm_conf_free(conf);
        return NULL;
    }
    b->conf = conf;
    b->nregions = (unsigned)conf->nregions;
    b->ncontexts = (unsigned)conf->ncontexts;
    b->nworkers = nworkers;
    b->control = control;
    b->owner = owner;
    b->alarm_msg.deliver = alarmed;
    b->refs = 1;
    size_t slots = (size_t)b->nregions * b->ncontexts;
    b->slot = zeroed(slots, sizeof *b->slot);
    b->counts = zeroed(slots * nworkers, sizeof *b->counts);
    b->context = zeroed((size_t)b->ncontexts * nworkers, sizeof *b->context);
    if (!b->slot || !b->counts || !b->context) {
        destroy(b);
        return NULL;
    }
    for (size_t i = 0; i < slots; i++) {
        atomic_store(&b->slot[i].word, 1000);
        atomic_store(&b->slot[i].serve, 1000);
    }
    if (before)
        inherit(b, before);
    return b;
}

void fm_board_ref(struct fm_board *b)
{
    uint32_t before = atomic_fetch_add(&b->refs, 1);
    FM_ASSERT(before > 0);
}

void fm_board_unref(struct fm_board *b)
{
    if (!b)
        return;
    uint32_t before = atomic_fetch_sub(&b->refs, 1);
    FM_ASSERT(before > 0);
    if (before == 1)
        destroy(b);
}

void fm_board_ring(struct fm_board *b)
{
    if (!b->control || atomic_load_explicit(&b->alarm, memory_order_relaxed))
        return;
    if (atomic_exchange(&b->alarm, true))
        return;
    fm_board_ref(b); /* until the alarm is heard */
    fm_mailbox_post(b->control, &b->alarm_msg);
}
