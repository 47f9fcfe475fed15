/* The gate's half. Invariants: it acts only before `until` of a cell, under the epoch that was
 * granted, which is never below the highest one heard of nor at or below one that it stopped;
 * `known` and `stopped` never go back. */
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
    FM_ASSERT(cell < FM_CELLS_MAX);
    return UINT64_C(1) << cell;
}

void fm_sublease_init(struct fm_sublease *s, uint8_t region, unsigned ncells, uint32_t rho_ppm)
{
    FM_ASSERT(ncells > 0 && ncells <= FM_CELLS_MAX && rho_ppm <= FM_RATE_PPM_MAX);
    *s = (struct fm_sublease){.ncells = (uint8_t)ncells, .region = region, .rho_ppm = rho_ppm};
    for (unsigned i = 0; i < FM_CELLS_MAX; i++)
        s->holder[i] = FM_NOBODY;
}

void fm_sublease_granted(struct fm_sublease *s, int64_t asked_ns, int32_t ms, uint64_t cells,
                         const struct fm_epoch *epochs, struct fm_mono now)
{
    FM_ASSERT(ms >= 0 && asked_ns <= now.ns);
    int64_t from = FM_RULE_PICK(R5_FROM_ASK, asked_ns, now.ns);
    struct fm_mono until = fm_mono_add_ns((struct fm_mono){from}, fm_held_ns(ms, s->rho_ppm));
    for (unsigned i = 0; i < s->ncells; i++) {
        if (!(cells & bit(i)))
            continue;
        bool ended =
            fm_epoch_newer(s->epoch[i], epochs[i]) || fm_epoch_newer(s->known[i], epochs[i]);
        bool stopped = !fm_epoch_newer(epochs[i], s->stopped[i]);
        if (!FM_RULE(R15_HIGHER, !ended) || !FM_RULE(R7_STOP_STAYS, !stopped))
            continue;
        if (fm_epoch_newer(epochs[i], s->epoch[i])) {
            s->until[i] = until;
            s->quiet_until[i] = now; /* the move that it was held for is over */
        } else {
            s->until[i] = fm_mono_max(s->until[i], until);
        }
        s->epoch[i] = epochs[i];
        s->known[i] = epochs[i];
        s->holder[i] = s->region;
    }
}

uint64_t fm_sublease_stop(struct fm_sublease *s, uint64_t cells, const struct fm_epoch *epochs)
{
    uint64_t done = 0;
    for (unsigned i = 0; i < s->ncells; i++) {
        if (!(cells & bit(i)))
            continue;
        s->stopped[i] = fm_epoch_max(s->stopped[i], epochs[i]);
        if (!fm_epoch_newer(s->epoch[i], s->stopped[i]))
            s->until[i] = FM_MONO_ZERO;
        done |= bit(i);
    }
    return done;
}

uint64_t fm_sublease_stopped(const struct fm_sublease *s)
{
    uint64_t cells = 0;
    for (unsigned i = 0; i < s->ncells; i++)
        if (s->stopped[i].n && !fm_epoch_newer(s->known[i], s->stopped[i]))
            cells |= bit(i);
    return cells;
}

void fm_sublease_quiet(struct fm_sublease *s, uint64_t cells, int32_t ms, struct fm_mono now)
{
    FM_ASSERT(ms >= 0);
    for (unsigned i = 0; i < s->ncells; i++)
        if (cells & bit(i))
            s->quiet_until[i] = fm_mono_add_ms(now, FM_RULE_PICK(R16_HOLD, ms, 0));
}

void fm_sublease_saw(struct fm_sublease *s, unsigned cell, struct fm_epoch epoch, uint8_t holder)
{
    FM_ASSERT(cell < s->ncells);
    if (fm_epoch_newer(s->known[cell], epoch))
        return;
    bool news = fm_epoch_newer(epoch, s->known[cell]);
    s->known[cell] = epoch;
    if (news || holder == FM_NOBODY || s->holder[cell] == FM_NOBODY)
        s->holder[cell] = holder;
}

bool fm_sublease_live(const struct fm_sublease *s, unsigned cell, struct fm_epoch epoch,
                      struct fm_mono now)
{
    FM_ASSERT(cell < s->ncells);
    bool current = fm_epoch_same(s->epoch[cell], epoch) && epoch.n != 0;
    bool ended = FM_RULE_PICK(R15_HIGHER, fm_epoch_newer(s->known[cell], epoch), false);
    return current && !ended && FM_RULE(R13_LIVE, fm_mono_before(now, s->until[cell]));
}

enum fm_admit fm_sublease_admit(struct fm_sublease *s, const struct fm_command *c,
                                struct fm_mono now)
{
    unsigned i = c->cell;
    FM_ASSERT(i < s->ncells);
    if (!FM_RULE(R14_AGE, c->age_ns >= 0 && c->age_ns < c->left_ns))
        return FM_ADMIT_DEADLINE;
    if (fm_epoch_newer(c->epoch, s->known[i])) {
        s->known[i] = c->epoch; /* somebody knows more: this region holds, and asks */
        s->holder[i] = FM_NOBODY;
    }
    bool elsewhere = s->holder[i] != FM_NOBODY && s->holder[i] != s->region;
    if (!fm_sublease_live(s, i, s->epoch[i], now))
        return FM_RULE_PICK(R15_MOVING, elsewhere, true) ? FM_ADMIT_NOT_HOLDER : FM_ADMIT_MOVING;
    if (fm_mono_before(now, s->quiet_until[i]))
        return FM_ADMIT_MOVING;
    if (c->epoch.n != 0 && !FM_RULE(R13_EPOCH, fm_epoch_same(c->epoch, s->epoch[i])))
        return FM_ADMIT_NOT_HOLDER;
    return s->read_only ? FM_ADMIT_READ_ONLY : FM_ADMIT_YES;
}
