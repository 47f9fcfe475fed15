/* The gate's half. Invariants: it acts only before `until` of a cell, under the epoch that was
 * granted, which is never below the highest one heard of nor at or below one that it stopped;
 * `known` and `stopped` never go back; nothing is admitted while the newest grant is a closed one.
 */
#include "core/sublease.h"

const char *fm_admit_name(enum fm_admit a)
{
    static const char *const name[] = {
#define X(id, text) [FM_ADMIT_##id] = text,
        FM_ADMITS(X)
#undef X
    };
    FM_ASSERT(a < FM_COUNT(name));
    return name[a];
}

static uint64_t bit(unsigned cell)
{
    FM_ASSERT(cell < FM_AUTH_CELLS_MAX);
    return UINT64_C(1) << cell;
}

void fm_sublease_init(struct fm_sublease *s, uint8_t region, unsigned ncells, uint32_t rho_ppm)
{
    FM_ASSERT(ncells > 0 && ncells <= FM_AUTH_CELLS_MAX && rho_ppm <= FM_RATE_PPM_MAX);
    *s = (struct fm_sublease){.ncells = (uint8_t)ncells, .region = region, .rho_ppm = rho_ppm};
    for (unsigned i = 0; i < FM_AUTH_CELLS_MAX; i++)
        s->cell[i].holder = FM_NOBODY;
}

/* A grant of an epoch that was granted before may have been overtaken on its way: what it says of
 * the data is then of before. A keeper that has just begun says nothing of them: that is no reason
 * to close what was open, but to one whose sub-lease has run out since it was told so. */
static void take_cell(struct fm_sublease_cell *c, const struct fm_grant *g, struct fm_epoch epoch,
                      struct fm_mono until, struct fm_mono now)
{
    bool news = fm_epoch_newer(epoch, c->epoch);
    bool told = !news && fm_mono_before(now, c->until);
    bool stays = g->unheard && FM_RULE(R15_UNHEARD, told);
    if (!stays && (news || c->said.ns <= g->asked_ns)) {
        c->said.ns = g->asked_ns;
        c->closed = g->closed;
    }
    c->until = news ? until : fm_mono_max(c->until, until);
    if (news)
        c->quiet_until = now; /* the move that it was held for is over */
    c->epoch = c->known = epoch;
}

void fm_sublease_granted(struct fm_sublease *s, const struct fm_grant *g, struct fm_mono now)
{
    FM_ASSERT(g->ms >= 0 && g->asked_ns <= now.ns && g->epochs);
    FM_ASSERT(!g->unheard || g->closed);
    int64_t from = FM_RULE_PICK(R5_FROM_ASK, g->asked_ns, now.ns);
    struct fm_mono until = fm_mono_add_ns((struct fm_mono){from}, fm_held_ns(g->ms, s->rho_ppm));
    for (unsigned i = 0; i < s->ncells; i++) {
        struct fm_sublease_cell *c = &s->cell[i];
        if (!(g->cells & bit(i)))
            continue;
        bool ended =
            fm_epoch_newer(c->epoch, g->epochs[i]) || fm_epoch_newer(c->known, g->epochs[i]);
        bool stopped = !fm_epoch_newer(g->epochs[i], c->stopped);
        if (!FM_RULE(R15_HIGHER, !ended) || !FM_RULE(R7_STOP_STAYS, !stopped))
            continue;
        take_cell(c, g, g->epochs[i], until, now);
        c->holder = s->region;
    }
}

uint64_t fm_sublease_stop(struct fm_sublease *s, uint64_t cells, const struct fm_epoch *epochs)
{
    uint64_t done = 0;
    for (unsigned i = 0; i < s->ncells; i++) {
        if (!(cells & bit(i)))
            continue;
        s->cell[i].stopped = fm_epoch_max(s->cell[i].stopped, epochs[i]);
        if (!fm_epoch_newer(s->cell[i].epoch, s->cell[i].stopped))
            s->cell[i].until = FM_MONO_ZERO;
        done |= bit(i);
    }
    return done;
}

uint64_t fm_sublease_stopped(const struct fm_sublease *s)
{
    uint64_t cells = 0;
    for (unsigned i = 0; i < s->ncells; i++)
        if (s->cell[i].stopped.n && !fm_epoch_newer(s->cell[i].known, s->cell[i].stopped))
            cells |= bit(i);
    return cells;
}

void fm_sublease_quiet(struct fm_sublease *s, uint64_t cells, int32_t ms, struct fm_mono now)
{
    FM_ASSERT(ms >= 0);
    for (unsigned i = 0; i < s->ncells; i++)
        if (cells & bit(i))
            s->cell[i].quiet_until = fm_mono_add_ms(now, FM_RULE_PICK(R16_HOLD, ms, 0));
}

void fm_sublease_saw(struct fm_sublease *s, unsigned cell, struct fm_epoch epoch, uint8_t holder)
{
    FM_ASSERT(cell < s->ncells);
    if (fm_epoch_newer(s->cell[cell].known, epoch))
        return;
    bool news = fm_epoch_newer(epoch, s->cell[cell].known);
    s->cell[cell].known = epoch;
    if (news || holder == FM_NOBODY || s->cell[cell].holder == FM_NOBODY)
        s->cell[cell].holder = holder;
}

void fm_sublease_heard(struct fm_sublease *s, unsigned cell, struct fm_epoch epoch)
{
    FM_ASSERT(cell < s->ncells);
    if (!fm_epoch_newer(epoch, s->cell[cell].known))
        return;
    s->cell[cell].known = epoch;
    s->cell[cell].holder = FM_NOBODY;
}

bool fm_sublease_live(const struct fm_sublease_cell *c, struct fm_epoch epoch, struct fm_mono now)
{
    bool current = fm_epoch_same(c->epoch, epoch) && epoch.n != 0;
    bool ended = FM_RULE_PICK(R15_HIGHER, fm_epoch_newer(c->known, epoch), false);
    return current && !ended && FM_RULE(R13_LIVE, fm_mono_before(now, c->until));
}

enum fm_admit fm_sublease_admit(const struct fm_sublease_cell *c, const struct fm_command *q,
                                const struct fm_gate_now *at, bool *higher)
{
    *higher = fm_epoch_newer(q->epoch, c->known);
    if (!FM_RULE(R14_AGE, q->age_ns >= 0 && q->age_ns < q->left_ns))
        return FM_ADMIT_DEADLINE;
    if (FM_RULE_PICK(R15_HIGHER, *higher, false))
        return FM_ADMIT_MOVING; /* this region holds, and asks */
    bool elsewhere = c->holder != FM_NOBODY && c->holder != at->region;
    if (!fm_sublease_live(c, c->epoch, at->now))
        return FM_RULE_PICK(R15_MOVING, elsewhere, true) ? FM_ADMIT_NOT_HOLDER : FM_ADMIT_MOVING;
    if (fm_mono_before(at->now, c->quiet_until) || FM_RULE_PICK(R15_CLOSED, c->closed, false))
        return FM_ADMIT_MOVING;
    if (q->epoch.n != 0 && !FM_RULE(R13_EPOCH, fm_epoch_same(q->epoch, c->epoch)))
        return FM_ADMIT_NOT_HOLDER;
    return at->read_only ? FM_ADMIT_READ_ONLY : FM_ADMIT_YES;
}
