/* The edge's half. Invariants: a view is replaced by a newer one only, and no cell of it goes back;
 * a success passes only if every epoch from its own to the view's ended by release; a queue of held
 * commands has an end in length and in time. */
#include "core/answer.h"

#define NAMES(function, type, LIST)                                                                \
    const char *function(enum type x)                                                              \
    {                                                                                              \
        static const char *const name[] = {LIST(NAME2)};                                           \
        FM_ASSERT(x < FM_COUNT(name));                                                             \
        return name[x];                                                                            \
    }
#define NAME2(id, name) name,

NAMES(fm_hold_name, fm_hold, FM_HOLDS)
NAMES(fm_away_name, fm_away, FM_AWAYS)

bool fm_view_adopt(struct fm_authority_view *v, const struct fm_authority_view *next)
{
    FM_ASSERT(next->ncells > 0 && next->ncells <= FM_AUTH_CELLS_MAX);
    FM_ASSERT(v->ncells == 0 || v->ncells == next->ncells);
    bool newer = v->ncells == 0 ||
                 fm_view_newer(next->incarnation, next->generation, v->incarnation, v->generation);
    if (!FM_RULE(I6_VIEW, newer))
        return false;
    bool seeded = v->incarnation.n != next->incarnation.n;
    for (unsigned i = 0; i < next->ncells; i++) {
        bool back = fm_epoch_newer(v->cell[i].epoch, next->cell[i].epoch);
        if (seeded || FM_RULE(I6_VIEW, !back))
            v->cell[i] = next->cell[i];
    }
    v->incarnation = next->incarnation;
    v->generation = next->generation;
    v->ncells = next->ncells;
    return true;
}

bool fm_answer_passes(const struct fm_view_cell *c, struct fm_epoch epoch)
{
    FM_ASSERT(!fm_epoch_newer(c->gentle_from, c->epoch));
    bool older = fm_epoch_newer(c->epoch, epoch);
    bool by_release = !fm_epoch_newer(c->gentle_from, epoch);
    return FM_RULE(R13_EDGE, !older || by_release);
}

enum fm_hold fm_hold_decide(const struct fm_held *h)
{
    FM_ASSERT(h->held_ms >= 0 && h->hold_ms >= 0);
    if (h->client_gone)
        return FM_HOLD_DROP;
    if (!FM_RULE(I10_HOLD, h->held_ms < h->hold_ms))
        return FM_HOLD_WHEN_AWAY;
    if (h->view_newer && !h->moving)
        return FM_HOLD_SEND;
    if (!FM_RULE(I10_HOLD, h->held < h->held_max))
        return FM_HOLD_OVERLOADED;
    return FM_HOLD_HOLD;
}

enum fm_away fm_when_away(enum fm_away configured, bool region_found_lapsed, bool concurrent)
{
    FM_ASSERT(configured < FM_AWAY_COUNT);
    if (configured == FM_AWAY_OVERRIDE && !FM_RULE(R17_FINDING, region_found_lapsed || concurrent))
        return FM_AWAY_REJECT;
    return configured;
}
