/* May commands begin: see the header. Invariant: never before a node has said that it is open as
 * primary under the epoch of the cell. */
#include "core/opening.h"

#include "base/assert.h"

const char *fm_opening_name(enum fm_opening o)
{
    static const char *const name[] = {
#define X(id, text, meaning) text,
        FM_OPENINGS(X)
#undef X
    };
    FM_ASSERT(o < FM_COUNT(name));
    return name[o];
}

const char *fm_opening_text(enum fm_opening o)
{
    static const char *const text[] = {
#define X(id, name, meaning) meaning,
        FM_OPENINGS(X)
#undef X
    };
    FM_ASSERT(o < FM_COUNT(text));
    return text[o];
}

static enum fm_opening of_group(const struct fm_cell_record *c, const struct fm_group_report *node,
                                unsigned nnodes, uint32_t heard)
{
    const struct fm_evidence *e = &c->evidence;
    if (e->system_id == 0)
        return FM_OPENING_OPEN; /* there are no data that anybody could wait for */
    if (e->node == 0 || !fm_epoch_same(e->epoch, c->epoch))
        return FM_OPENING_UNCLAIMED;
    unsigned who = e->node - 1u;
    if (who >= nnodes || !(heard >> who & 1))
        return FM_OPENING_OPEN;
    if (node[who].at.ns == 0)
        return FM_OPENING_UNHEARD;
    /* however long ago: silence alone closes nothing that was open */
    return fm_group_is_open(&node[who], c->epoch) ? FM_OPENING_OPEN : FM_OPENING_AWAY;
}

enum fm_opening fm_opening_of_group(const struct fm_cell_record *c,
                                    const struct fm_group_report *node, unsigned nnodes,
                                    uint32_t heard)
{
    FM_ASSERT(nnodes <= FM_GROUP_NODES_MAX && c->epoch.n > 0);
    enum fm_opening o = of_group(c, node, nnodes, heard);
    return FM_RULE(R7_PRIMARY, o == FM_OPENING_OPEN) ? FM_OPENING_OPEN : o;
}

enum fm_opening fm_opening_of_external(const struct fm_external_record *r, struct fm_epoch epoch)
{
    return fm_external_is_open(r, epoch) ? FM_OPENING_OPEN : FM_OPENING_HOOKS;
}
