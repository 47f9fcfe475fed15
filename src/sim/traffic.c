/* Clients, edges, gates and applications of the simulator, and the data of the regions. Who may act
 * is decided by core/sublease.h; what is modelled here is what a command meets on its way, and when
 * it takes effect. */
#include "sim/world.h"

/* -------- gates -------- */

void gate_start(struct world *w, unsigned p)
{
    struct gate *g = gate_of(w, p);
    g->id = (struct fm_sub){(uint16_t)p, {++w->incarnations}};
    for (unsigned c = 0; c < w->cfg.contexts; c++)
        fm_sublease_init(&g->sub[c], w->proc[p].region, w->cfg.cells[c], w->cfg.rho_ppm);
}

static void gate_timer(struct world *w, unsigned p)
{
    struct gate *g = gate_of(w, p);
    struct proc *x = &w->proc[p];
    x->timer_at = 0;
    for (unsigned c = 0; c < w->cfg.contexts; c++)
        for (unsigned i = 0; i < SIM_AGENTS; i++) {
            struct msg *m = new_msg(w, MSG_SUB_ASKS, p, proc_agent(x->region, i));
            m->ctx = (uint8_t)c;
            m->sub = g->id;
            m->asked_ns = local_now(w, p).ns;
            m->cells = fm_sublease_stopped(&g->sub[c]);
            send_msg(w, m);
        }
    arm(w, p, w->now + real_after(x, w->cfg.renew_ms * MS));
}

static void gate_stop(struct world *w, unsigned p, const struct msg *m)
{
    struct gate *g = gate_of(w, p);
    struct msg *a = new_msg(w, MSG_STOPPED, p, m->from);
    a->ctx = m->ctx;
    a->sub = g->id;
    a->cells = fm_sublease_stop(&g->sub[m->ctx], m->cells, m->epochs);
    for (unsigned i = 0; i < SIM_CELLS; i++)
        a->epochs[i] = m->epochs[i];
    send_msg(w, a);
}

static void to_edge(struct world *w, const struct msg *q, unsigned p, enum answer answer,
                    struct fm_epoch epoch)
{
    struct msg *a = new_msg(w, MSG_ANSWER, p, q->flag); /* flag: the edge's process */
    a->ctx = q->ctx;
    a->cell = q->cell;
    a->op = q->op;
    a->tries = q->tries;
    a->answer = (uint8_t)answer;
    a->epoch = epoch;
    send_msg(w, a);
}

static void gate_request(struct world *w, unsigned p, const struct msg *m)
{
    struct gate *g = gate_of(w, p);
    struct fm_mono now = local_now(w, p);
    struct fm_command c = {.cell = m->cell,
                           .epoch = m->epoch,
                           .left_ns = m->left_ns,
                           .age_ns = now.ns - local_at(&w->proc[p], m->received_at).ns};
    struct fm_sublease *s = &g->sub[m->ctx];
    switch (fm_sublease_admit(s, &c, now)) {
    case FM_ADMIT_YES:
        break;
    case FM_ADMIT_MOVING:
        to_edge(w, m, p, ANSWER_MOVING, m->epoch);
        return;
    case FM_ADMIT_NOT_HOLDER:
        to_edge(w, m, p, ANSWER_ELSEWHERE, m->epoch);
        return;
    case FM_ADMIT_READ_ONLY:
    case FM_ADMIT_DEADLINE:
    case FM_ADMIT_COUNT:
        to_edge(w, m, p, ANSWER_REFUSED, m->epoch);
        return;
    }
    check_admitted(w, p, m->ctx, m->cell, s->epoch[m->cell]);
    w->r->admitted++;
    struct msg *x = new_msg(w, MSG_EXECUTE, p, proc_app(w->proc[p].region, w->proc[p].index));
    x->ctx = m->ctx;
    x->cell = m->cell;
    x->op = m->op;
    x->tries = m->tries;
    x->flag = m->flag;
    x->epoch = s->epoch[m->cell];
    x->life = 0;
    post(w, x, w->now + between(&w->net, 1, 40) * MS);
}

static void gate_executed(struct world *w, unsigned p, const struct msg *m)
{
    struct fm_sublease *s = &gate_of(w, p)->sub[m->ctx];
    bool ok =
        m->answer == ANSWER_OK && fm_sublease_may_relay(s, m->cell, m->epoch, local_now(w, p));
    if (ok)
        check_relayed(w, p, m->ctx, m->cell, m->epoch);
    to_edge(w, m, p, ok ? ANSWER_OK : ANSWER_UNKNOWN, m->epoch);
}

void gate_take(struct world *w, struct msg *m)
{
    struct gate *g = gate_of(w, m->to);
    if (m->kind == MSG_TIMER)
        gate_timer(w, m->to);
    else if (m->kind == MSG_GRANT && fm_sub_same(m->sub, g->id))
        fm_sublease_granted(&g->sub[m->ctx], m->asked_ns, m->ms, m->cells, m->epochs,
                            local_now(w, m->to));
    else if (m->kind == MSG_STOP)
        gate_stop(w, m->to, m);
    else if (m->kind == MSG_REQUEST)
        gate_request(w, m->to, m);
    else if (m->kind == MSG_EXECUTED)
        gate_executed(w, m->to, m);
}

/* -------- the application and its data -------- */

static bool has_effect(const struct data *d, uint32_t op)
{
    for (uint32_t i = d->n; i-- > 0;)
        if (d->op[i] == op)
            return true;
    return false;
}

/* It stores the key in the transaction of the effect (`by: app`). */
void app_take(struct world *w, struct msg *m)
{
    if (m->kind != MSG_EXECUTE)
        return;
    struct data *d = &w->data[w->proc[m->to].region][m->ctx][m->cell];
    if (!has_effect(d, m->op) && d->n < FM_COUNT(d->op))
        d->op[d->n++] = (uint16_t)m->op;
    struct msg *a = new_msg(w, MSG_EXECUTED, m->to, m->from);
    a->ctx = m->ctx;
    a->cell = m->cell;
    a->op = m->op;
    a->tries = m->tries;
    a->flag = m->flag;
    a->epoch = m->epoch;
    a->answer = ANSWER_OK;
    send_msg(w, a);
}

/* -------- edges and clients -------- */

static void client_next(struct world *w)
{
    struct msg *m = new_msg(w, MSG_CLIENT, 0, 0);
    post(w, m, w->now + between(&w->net, 1, 2 * w->cfg.command_gap_us) * 1000);
}

void client_take(struct world *w, struct msg *m)
{
    (void)m;
    client_next(w);
    if (w->ncommands >= SIM_COMMANDS_MAX - 1)
        return;
    uint32_t op = ++w->ncommands;
    struct command *c = &w->command[op];
    c->ctx = fm_rand_below(&w->net, 3) == 0 ? 0 : 1;
    c->cell = (uint8_t)fm_rand_below(&w->net, w->cfg.cells[c->ctx]);
    c->edge = (uint8_t)fm_rand_below(&w->net, SIM_EDGES);
    c->deadline = w->now + 10 * S;
    struct msg *t = new_msg(w, MSG_TRY, proc_edge(c->edge), proc_edge(c->edge));
    t->op = op;
    post(w, t, w->now);
}

static void edge_timer(struct world *w, unsigned p)
{
    struct proc *x = &w->proc[p];
    x->timer_at = 0;
    unsigned r = fm_rand_below(&w->net, SIM_REGIONS), i = fm_rand_below(&w->net, SIM_AGENTS);
    for (unsigned c = 0; c < w->cfg.contexts && !w->edge_stale[x->index]; c++) {
        struct msg *m = new_msg(w, MSG_VIEW_ASKED, p, proc_agent(r, i));
        m->ctx = (uint8_t)c;
        send_msg(w, m);
    }
    arm(w, p, w->now + between(&w->net, 200, 600) * MS);
}

static void edge_view(struct world *w, unsigned p, const struct msg *m)
{
    struct edge *e = &w->edge[w->proc[p].index];
    if (w->edge_stale[w->proc[p].index])
        return;
    for (unsigned i = 0; i < w->cfg.cells[m->ctx]; i++) {
        const struct fm_cell_at *c = &w->blobs[m->blob].read.ctx.cell[i];
        struct edge_cell *to = &e->cell[m->ctx][i];
        if (c->revision.n == 0 || fm_epoch_newer(to->epoch, c->r.epoch))
            continue;
        *to = (struct edge_cell){c->r.epoch, c->r.gentle_from, c->r.region,
                                 c->r.state == FM_CELL_RELEASED};
    }
}

/* What still comes of the try before is not waited for any more. */
static void try_later(struct world *w, unsigned p, uint32_t op)
{
    struct msg *t = new_msg(w, MSG_TRY, p, p);
    t->op = op;
    w->command[op].tries++;
    post(w, t, w->now + between(&w->net, 50, 300) * MS);
}

static void edge_try(struct world *w, unsigned p, const struct msg *m)
{
    struct command *c = &w->command[m->op];
    if (c->state != CMD_OPEN)
        return;
    if (w->now >= c->deadline) {
        c->state = CMD_REFUSED;
        w->r->refused++;
        return;
    }
    const struct edge_cell *v = &w->edge[w->proc[p].index].cell[c->ctx][c->cell];
    if (v->epoch.n == 0 || v->released) {
        try_later(w, p, m->op);
        return;
    }
    c->tries++;
    struct msg *q = new_msg(w, MSG_REQUEST, p, proc_gate(v->region, fm_rand_below(&w->net, 2)));
    q->ctx = c->ctx;
    q->cell = c->cell;
    q->op = m->op;
    q->tries = c->tries;
    q->flag = (uint8_t)p;
    q->epoch = v->epoch;
    q->left_ns = c->deadline - w->now;
    send_msg(w, q);
    struct msg *t = new_msg(w, MSG_GIVE_UP, p, p);
    t->op = m->op;
    t->tries = c->tries;
    post(w, t, w->now + S);
}

/* No answer in time: it may have been executed. With `by: app` it is tried again. */
static void edge_give_up(struct world *w, unsigned p, const struct msg *m)
{
    if (w->command[m->op].state == CMD_OPEN && m->tries == w->command[m->op].tries)
        try_later(w, p, m->op);
}

static void edge_answer(struct world *w, unsigned p, const struct msg *m)
{
    struct command *c = &w->command[m->op];
    if (c->state != CMD_OPEN)
        return;
    const struct edge_cell *v = &w->edge[w->proc[p].index].cell[c->ctx][c->cell];
    if (m->answer != ANSWER_OK) {
        if (m->answer != ANSWER_UNKNOWN && m->tries == c->tries)
            try_later(w, p, m->op);
        return;
    }
    bool ended_by_force =
        fm_epoch_newer(v->epoch, m->epoch) && fm_epoch_newer(v->gentle_from, m->epoch);
    if (ended_by_force)
        return;
    c->state = CMD_ACKED;
    c->epoch = m->epoch;
    w->r->acknowledged++;
}

void edge_take(struct world *w, struct msg *m)
{
    if (m->kind == MSG_TIMER)
        edge_timer(w, m->to);
    else if (m->kind == MSG_VIEW)
        edge_view(w, m->to, m);
    else if (m->kind == MSG_TRY)
        edge_try(w, m->to, m);
    else if (m->kind == MSG_ANSWER)
        edge_answer(w, m->to, m);
    else if (m->kind == MSG_GIVE_UP)
        edge_give_up(w, m->to, m);
}

void data_acquired(struct world *w, unsigned region, unsigned ctx, unsigned cell, bool gentle)
{
    (void)gentle;
    w->data[region][ctx][cell].line = w->store.ctx[ctx].cell[cell].r.epoch.n;
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
            if (w->store.ctx[c].cell[i].r.region == from && b->line <= a->line)
                *b = *a;
        }
}
