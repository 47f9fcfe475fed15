/* Orders about one node: see the header. Invariant: nothing is refused here that the node's table
 * would take in the state that it has said, but what would make every commit of the group wait. */
#include "core/group_order.h"

static bool is_order(enum fm_group_event e)
{
    return e == FM_GROUP_ON_REINIT || e == FM_GROUP_ON_MAINTAIN || e == FM_GROUP_ON_RESUME;
}

static bool takes(unsigned state, enum fm_group_event event)
{
    for (unsigned i = 0; i < fm_group_nrows; i++)
        if (fm_group_rows[i].from == state && fm_group_rows[i].event == event)
            return true;
    return false;
}

enum fm_group_order_no fm_group_order_look(enum fm_group_event order,
                                           const struct fm_group_order_case *c, struct fm_mono now)
{
    const struct fm_evidence *r = c->recorded;
    FM_ASSERT(is_order(order) && c->which < c->nnodes && c->nnodes <= FM_GROUP_NODES_MAX);
    if (!r || r->writer == 0 || r->writer > c->nnodes)
        return FM_GROUP_ORDER_NO_DATA;
    const struct fm_group_report *n = &c->node[c->which], *w = &c->node[r->writer - 1];
    if (order == FM_GROUP_ON_RESUME)
        return fm_group_is_fresh(n, c->fresh_ms, now) && !takes(n->state, order)
                   ? FM_GROUP_ORDER_NOT_LEFT
                   : FM_GROUP_ORDER_FINE;
    if (r->writer == c->which + 1)
        return FM_GROUP_ORDER_WRITER;
    if (order == FM_GROUP_ON_MAINTAIN)
        return FM_GROUP_ORDER_FINE;
    if (!fm_group_is_source(r, w, c->fresh_ms, now))
        return FM_GROUP_ORDER_NO_SOURCE;
    return c->waits && r->promotable >> c->which & 1 ? FM_GROUP_ORDER_COMMITS_WAIT
                                                     : FM_GROUP_ORDER_FINE;
}

/* -------- coming and going -------- */

enum fm_group_order_no fm_group_order_may_join(const struct fm_group_order_case *c,
                                               struct fm_mono now)
{
    const struct fm_evidence *r = c->recorded;
    FM_ASSERT(c->nnodes <= FM_GROUP_NODES_MAX && c->fresh_ms > 0);
    if (c->agreed >= FM_GROUP_NODES_MAX)
        return FM_GROUP_ORDER_FULL;
    if (!c->met && c->names >= FM_GROUP_NODES_MAX)
        return FM_GROUP_ORDER_NAMES;
    if (!r || r->writer == 0 || r->writer > c->nnodes)
        return FM_GROUP_ORDER_NO_DATA;
    if (!fm_group_is_source(r, &c->node[r->writer - 1], c->fresh_ms, now))
        return FM_GROUP_ORDER_NO_SOURCE;
    return c->waits ? FM_GROUP_ORDER_COMMITS_WAIT : FM_GROUP_ORDER_FINE;
}

/* By the record alone: it bounds what was acknowledged, and is heard to follow. */
static bool is_spare(const struct fm_group_order_case *c, unsigned i, struct fm_mono now)
{
    const struct fm_group_report *n = &c->node[i];
    bool counts = c->recorded->promotable >> i & 1 && c->recorded->writer != i + 1;
    return counts && fm_group_goes_on(c->recorded, n, i) && fm_group_is_looked_after(n) &&
           fm_group_is_fresh(n, c->fresh_ms, now);
}

enum fm_group_order_no fm_group_order_may_leave(const struct fm_group_order_case *c, bool confirmed,
                                                struct fm_mono now)
{
    const struct fm_evidence *r = c->recorded;
    FM_ASSERT(c->which < c->nnodes && c->nnodes <= FM_GROUP_NODES_MAX);
    const struct fm_group_report *n = &c->node[c->which];
    if (fm_group_is_writer_state(n->state) && fm_group_is_fresh(n, c->fresh_ms, now))
        return FM_GROUP_ORDER_WRITER;
    if (!r || r->writer == 0)
        return FM_GROUP_ORDER_FINE;
    if (r->writer == c->which + 1 || r->node == c->which + 1)
        return FM_GROUP_ORDER_WRITER;
    if (confirmed || n->delay_ms)
        return FM_GROUP_ORDER_FINE;
    for (unsigned i = 0; i < c->nnodes; i++)
        if (i != c->which && is_spare(c, i, now))
            return FM_GROUP_ORDER_FINE;
    return FM_GROUP_ORDER_LAST;
}

enum fm_group_order_standing fm_group_order_joins(const struct fm_group_report *self)
{
    FM_ASSERT(self->state < FM_GROUP_STATE_COUNT);
    bool delayed = self->state == FM_GROUP_CATCHING_UP && self->delay_ms && self->streaming;
    bool writes = self->state == FM_GROUP_PRIMARY || self->state == FM_GROUP_DRAINING;
    if (self->state == FM_GROUP_FENCED)
        return FM_GROUP_ORDER_FAILED;
    return self->state == FM_GROUP_STANDBY || delayed || writes ? FM_GROUP_ORDER_DONE
                                                                : FM_GROUP_ORDER_UNDER_WAY;
}

/* -------- replication that is broken -------- */

enum fm_standby_wish fm_group_order_apart(enum fm_standby_wish wish,
                                          const struct fm_group_report *node, unsigned region)
{
    FM_ASSERT(node->state < FM_GROUP_STATE_COUNT);
    bool so = (wish == FM_STANDBY_ON) == (node->apart_ms > 0);
    return node->region == region && fm_group_stands_by(node->state) && !so ? wish
                                                                            : FM_STANDBY_LEAVE;
}

/* -------- who does not answer -------- */

static bool asks_on(const struct fm_group_order_asks *a, int64_t silent_ms, struct fm_mono now)
{
    return a->last.ns && fm_mono_sub_ms(now, a->last) <= silent_ms;
}

void fm_group_order_ask(struct fm_group_order_asks *a, int64_t silent_ms, struct fm_mono now)
{
    FM_ASSERT(silent_ms > 0 && !fm_mono_before(now, a->last));
    if (!asks_on(a, silent_ms, now))
        a->since = now;
    a->last = now;
}

bool fm_group_order_is_silent(const struct fm_group_order_asks *a, int64_t silent_ms,
                              struct fm_mono now)
{
    struct fm_mono from = fm_mono_before(a->since, a->heard) ? a->heard : a->since;
    FM_ASSERT(silent_ms > 0 && !fm_mono_before(a->last, a->since));
    return asks_on(a, silent_ms, now) && fm_mono_sub_ms(now, from) > silent_ms;
}

/* -------- how it stands -------- */

enum fm_group_order_standing fm_group_order_stands(enum fm_group_event order,
                                                   const struct fm_group_node *g)
{
    bool follows = fm_group_stands_by(g->state);
    bool left = g->state == FM_GROUP_MAINTAINED;
    FM_ASSERT(is_order(order) && g->state < FM_GROUP_STATE_COUNT);
    if (order == FM_GROUP_ON_REINIT && g->state == FM_GROUP_FENCED)
        return FM_GROUP_ORDER_FAILED;
    bool done = order == FM_GROUP_ON_REINIT     ? follows && !g->reinit
                : order == FM_GROUP_ON_MAINTAIN ? left
                                                : !left;
    return done ? FM_GROUP_ORDER_DONE : FM_GROUP_ORDER_UNDER_WAY;
}
