/* Applications and their data: one history a region and cell, replicated in its order, cut where
 * another region took over without it; and the journals of the gates. */
#include "sim/world.h"

#include <string.h>

static bool has_effect(const struct data *d, uint32_t op)
{
    for (uint32_t i = d->n; i-- > 0;)
        if (d->op[i] == op)
            return true;
    return false;
}

/* With `by: app` it stores the key in the transaction of the effect. */
void app_take(struct world *w, struct msg *m)
{
    if (m->kind != MSG_EXECUTE)
        return;
    struct data *d = &w->data[w->proc[m->to].region][m->ctx][m->cell];
    struct command *c = &w->command[m->op];
    bool twice = w->cfg.by_app[m->ctx] && has_effect(d, m->op);
    if (!twice && d->n < FM_COUNT(d->op)) {
        d->op[d->n++] = (uint16_t)m->op;
        c->effects++;
        if (!w->cfg.by_app[m->ctx] && c->effects > 1)
            broken(w, "invariant 5", "command %u of cell %u.%u takes effect twice, in region %u",
                   m->op, m->ctx, m->cell, w->proc[m->to].region);
    }
    struct msg *a = new_msg(w, MSG_EXECUTED, m->to, m->from);
    a->ctx = m->ctx;
    a->cell = m->cell;
    a->op = m->op;
    a->tries = m->tries;
    a->region = m->region;
    a->epoch = m->epoch;
    a->life = w->proc[m->from].life;
    post(w, a, w->now + transit(w, 0, 0));
}

uint32_t data_lag(const struct world *w, unsigned from, unsigned to, unsigned ctx, unsigned cell)
{
    const struct data *a = &w->data[from][ctx][cell], *b = &w->data[to][ctx][cell];
    if (a->line != b->line)
        return a->line > b->line ? a->n + 1 : 0;
    return a->n > b->n ? a->n - b->n : 0;
}

static void copy(struct data *to, const struct data *from)
{
    to->n = from->n;
    to->line = from->line;
    memcpy(to->op, from->op, from->n * sizeof from->op[0]);
}

/* -------- journals -------- */

/* All that gate g of one region knows of the cell, gate h of the other knows. */
static bool journal_whole(struct world *w, const struct msg *m, unsigned to, unsigned g, unsigned h)
{
    for (uint32_t op = w->first[m->ctx][m->cell]; op; op = w->command[op].next)
        if (entry_of(w, m->region, g, op)->state != FM_ENTRY_NONE &&
            entry_of(w, to, h, op)->state == FM_ENTRY_NONE)
            return false;
    return true;
}

static void ship_journal(struct world *w, const struct msg *m, unsigned to, unsigned g, unsigned h)
{
    for (uint32_t op = w->first[m->ctx][m->cell]; op; op = w->command[op].next) {
        const struct entry *e = entry_of(w, m->region, g, op);
        struct entry *t = entry_of(w, to, h, op);
        if (e->state == FM_ENTRY_NONE || t->state == FM_ENTRY_DONE)
            continue;
        t->state = e->state == FM_ENTRY_DONE ? FM_ENTRY_DONE : FM_ENTRY_UNKNOWN;
    }
}

/* Each gate of the heir reads each of the holder's, if both are there. */
static bool journals_shipped(struct world *w, const struct msg *m, unsigned to)
{
    bool whole = true;
    for (unsigned g = 0; g < SIM_GATES; g++)
        for (unsigned h = 0; h < SIM_GATES; h++) {
            bool there = w->proc[proc_gate(m->region, g)].up && w->proc[proc_gate(to, h)].up;
            if (there && fm_rand_below(&w->net, 6))
                ship_journal(w, m, to, g, h);
            whole &= journal_whole(w, m, to, g, h);
        }
    return whole;
}

/* One of the two may be late. */
uint8_t data_shipped(struct world *w, const struct msg *m)
{
    unsigned from = m->region, to = w->proc[m->to].region;
    struct data *a = &w->data[from][m->ctx][m->cell], *b = &w->data[to][m->ctx][m->cell];
    if (fm_rand_below(&w->net, 3) && b->line <= a->line)
        copy(b, a);
    bool journal = journals_shipped(w, m, to);
    bool data = b->line == a->line && b->n == a->n;
    if (w->group && m->ctx == 0)
        data &= db_is_final(w, from, to);
    return (uint8_t)((data ? 1 : 0) | (journal ? 2 : 0));
}

/* -------- replication -------- */

static void count_lost(struct world *w, const struct data *old, const struct data *new,
                       unsigned ctx, unsigned cell, bool gentle)
{
    static bool there[SIM_COMMANDS_MAX];
    memset(there, 0, sizeof there);
    for (uint32_t i = 0; i < new->n; i++)
        there[new->op[i]] = true;
    for (uint32_t i = 0; i < old->n; i++) {
        uint32_t op = old->op[i];
        if (there[op] || w->command[op].state != CMD_ACKED)
            continue;
        w->r->lost++;
        if (gentle)
            broken(w, "invariant 3",
                   "command %u of cell %u.%u was acknowledged, and is lost by a "
                   "planned move",
                   op, ctx, cell);
    }
}

/* A region took a cell over: its history is the one from now on. */
void data_acquired(struct world *w, unsigned from, unsigned region, unsigned ctx, unsigned cell,
                   bool gentle, struct fm_epoch epoch)
{
    count_lost(w, &w->data[from][ctx][cell], &w->data[region][ctx][cell], ctx, cell, gentle);
    w->data[region][ctx][cell].line = epoch.n;
}

void data_replicate(struct world *w, struct msg *m)
{
    unsigned from = m->from, to = m->to;
    struct msg *next = new_msg(w, MSG_REPLICATE, from, to);
    post(w, next, w->now + between(&w->net, 100, 400) * MS);
    if (w->cut[from][to])
        return;
    for (unsigned c = 0; c < w->cfg.contexts; c++)
        for (unsigned i = 0; i < w->cfg.cells[c]; i++) {
            struct data *a = &w->data[from][c][i], *b = &w->data[to][c][i];
            bool source = w->store.ctx[c].cell[i].r.region == from && b->line <= a->line;
            if (source && (b->n != a->n || b->line != a->line))
                copy(b, a);
        }
}
