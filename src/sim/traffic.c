/* Gates, edges and clients of the simulator. Who may act is decided by core: sublease.h at the
 * gate, answer.h at the edge, once.h for what was tried before. What is modelled here is what a
 * command meets on its way. */
#include "sim/world.h"

#include "base/hash.h"

/* -------- gates -------- */

void gate_start(struct world *w, unsigned p)
{
    struct gate *g = gate_of(w, p);
    *g = (struct gate){.id = {(uint16_t)p, {++w->incarnations}}};
    for (unsigned c = 0; c < w->cfg.contexts; c++)
        fm_sublease_init(&g->sub[c], w->proc[p].region, w->cfg.cells[c], w->cfg.rho_ppm);
}

static void gate_ask(struct world *w, unsigned p, unsigned c)
{
    struct gate *g = gate_of(w, p);
    for (unsigned i = 0; i < SIM_AGENTS; i++) {
        struct msg *m = new_msg(w, MSG_SUB_ASKS, p, proc_agent(w->proc[p].region, i));
        m->ctx = (uint8_t)c;
        m->sub = g->id;
        m->asked_ns = local_now(w, p).ns;
        m->cells = fm_sublease_stopped(&g->sub[c]);
        for (unsigned k = 0; k < w->cfg.cells[c]; k++)
            m->epochs[k] = g->sub[c].cell[k].stopped;
        send_msg(w, m);
    }
}

static void gate_timer(struct world *w, unsigned p)
{
    struct proc *x = &w->proc[p];
    x->timer_at = 0;
    for (unsigned c = 0; c < w->cfg.contexts; c++)
        gate_ask(w, p, c);
    arm(w, p, w->now + real_after(x, w->cfg.renew_ms * MS));
}

static void gate_granted(struct world *w, unsigned p, const struct msg *m)
{
    struct fm_sublease *s = &gate_of(w, p)->sub[m->ctx];
    struct fm_mono now = local_now(w, p);
    uint64_t idle = 0;
    for (unsigned i = 0; i < w->cfg.cells[m->ctx]; i++)
        if (!fm_sublease_live(&s->cell[i], s->cell[i].epoch, now))
            idle |= UINT64_C(1) << i;
    struct fm_grant g = grant_of(m);
    fm_sublease_granted(s, &g, now);
    check_granted(w, p, m->ctx, m->cells & idle);
    if (m->ms < 2 * w->cfg.renew_ms) /* the keeper may go by a shorter lease already */
        arm(w, p, w->now + real_after(&w->proc[p], (m->ms > 75 ? m->ms / 3 : 25) * MS));
}

static void gate_stop(struct world *w, unsigned p, const struct msg *m)
{
    struct gate *g = gate_of(w, p);
    struct msg *a = new_msg(w, MSG_STOPPED, p, m->from);
    a->ctx = m->ctx;
    a->sub = g->id;
    a->cells = fm_sublease_stop(&g->sub[m->ctx], m->cells, m->epochs);
    for (unsigned i = 0; i < w->cfg.cells[m->ctx]; i++)
        a->epochs[i] = m->epochs[i];
    send_msg(w, a);
}

static void gate_quiet(struct world *w, unsigned p, const struct msg *m)
{
    struct gate *g = gate_of(w, p);
    fm_sublease_quiet(&g->sub[m->ctx], m->cells, m->ms, local_now(w, p));
    struct msg *a = new_msg(w, MSG_QUIETED, p, m->from);
    a->ctx = m->ctx;
    a->op = m->op;
    a->cells = m->cells;
    for (unsigned i = 0; i < w->cfg.cells[m->ctx]; i++)
        if (g->in_flight[m->ctx][i])
            a->cells &= ~(UINT64_C(1) << i);
    send_msg(w, a);
}

static void to_edge(struct world *w, const struct msg *q, unsigned p, enum answer answer,
                    struct fm_epoch epoch)
{
    struct msg *a = new_msg(w, MSG_ANSWER, p, q->region); /* region: the edge's process */
    a->ctx = q->ctx;
    a->cell = q->cell;
    a->op = q->op;
    a->tries = q->tries;
    a->answer = (uint8_t)answer;
    a->epoch = epoch;
    send_msg(w, a);
}

/* The same command, a step further on. */
static struct msg *carry(struct world *w, enum msg_kind kind, const struct msg *m, unsigned from,
                         unsigned to)
{
    struct msg *x = new_msg(w, kind, from, to);
    x->ctx = m->ctx;
    x->cell = m->cell;
    x->op = m->op;
    x->tries = m->tries;
    x->region = m->region;
    x->epoch = m->epoch;
    return x;
}

static enum answer admit(struct world *w, unsigned p, const struct msg *m)
{
    struct fm_mono now = local_now(w, p);
    struct fm_command c = {.cell = m->cell,
                           .epoch = m->epoch,
                           .left_ns = m->left_ns,
                           .age_ns = now.ns - local_at(&w->proc[p], m->received_at).ns};
    struct fm_sublease *s = &gate_of(w, p)->sub[m->ctx];
    struct fm_gate_now at = {s->region, s->read_only, now};
    bool higher;
    enum fm_admit verdict = fm_sublease_admit(&s->cell[m->cell], &c, &at, &higher);
    if (higher)
        fm_sublease_heard(s, m->cell, m->epoch);
    switch (verdict) {
    case FM_ADMIT_YES:
        return ANSWER_OK;
    case FM_ADMIT_MOVING:
        return ANSWER_MOVING;
    case FM_ADMIT_NOT_HOLDER:
        return ANSWER_ELSEWHERE;
    case FM_ADMIT_READ_ONLY:
    case FM_ADMIT_DEADLINE:
    case FM_ADMIT_COUNT:
        break;
    }
    return ANSWER_REFUSED;
}

static void forward(struct world *w, unsigned p, const struct msg *m)
{
    struct gate *g = gate_of(w, p);
    check_admitted(w, p, m->ctx, m->cell, m->epoch);
    w->r->admitted++;
    struct msg *x = carry(w, MSG_EXECUTE, m, p, proc_app(w->proc[p].region, w->proc[p].index));
    post(w, x, w->now + between(&w->net, 1, 40) * MS);
    g->in_flight[m->ctx][m->cell]++;
}

/* Where gates stop doubles, a key has one gate in each region. */
static unsigned gate_of_key(const struct world *w, unsigned region, uint32_t op)
{
    return fm_keygate_of(w->gates[region], SIM_GATES, fm_mix64(op));
}

static void gate_request(struct world *w, unsigned p, const struct msg *m)
{
    unsigned owner = gate_of_key(w, w->proc[p].region, m->op);
    if (!w->cfg.by_app[m->ctx] &&
        fm_keygate_decide(w->proc[p].index, owner, true) != FM_KEYGATE_TAKE) {
        to_edge(w, m, p, ANSWER_ELSEWHERE, m->epoch);
        return;
    }
    struct gate *g = gate_of(w, p);
    struct entry *e = entry_of(w, w->proc[p].region, w->proc[p].index, m->op);
    bool owned = w->proc[e->gate].up && e->life == w->proc[e->gate].life;
    if (e->state == FM_ENTRY_INTENT && !e->durable && !owned)
        e->state = FM_ENTRY_NONE; /* it died with its gate */
    enum answer a = admit(w, p, m);
    if (a != ANSWER_OK) {
        to_edge(w, m, p, a, m->epoch);
        return;
    }
    int64_t waited = w->now - m->received_at;
    if (waited > m->left_ns + m->left_ns / 20)
        broken(w, "rule 14", "a command that waited %.3f s is executed, %.3f s were left",
               (double)waited / 1e9, (double)m->left_ns / 1e9);
    const struct fm_view_cell *v = &w->edge[w->proc[m->region].index].view[m->ctx].cell[m->cell];
    struct fm_once_case once = {.entry = (enum fm_entry)e->state,
                                .in_flight_here = owned,
                                .by_app = w->cfg.by_app[m->ctx],
                                .first = {m->revision},
                                .gentle_from = v->gentle_from};
    switch (fm_once_decide(&once)) {
    case FM_ONCE_FORWARD:
        break;
    case FM_ONCE_REPLAY:
        if (fm_sublease_may_relay(&g->sub[m->ctx].cell[m->cell], m->epoch, local_now(w, p)))
            to_edge(w, m, p, ANSWER_OK, m->epoch);
        return;
    case FM_ONCE_IN_FLIGHT:
    case FM_ONCE_UNKNOWN:
    case FM_ONCE_COUNT:
        to_edge(w, m, p, ANSWER_UNKNOWN, m->epoch);
        return;
    }
    *e = (struct entry){FM_ENTRY_INTENT, (uint8_t)p, false, (uint16_t)w->proc[p].life};
    struct msg *d = carry(w, MSG_DURABLE, m, p, p);
    d->life = w->proc[p].life;
    d->left_ns = m->left_ns;
    d->epoch = g->sub[m->ctx].cell[m->cell].epoch;
    d->flag = !fm_once_may_forward(false);
    if (!d->flag)
        forward(w, p, d);
    post(w, d, w->now + between(&w->net, w->cfg.journal_us / 2, w->cfg.journal_us) * 1000);
}

/* The intent is durable. Time has passed: the authority is looked at again. */
static void gate_durable(struct world *w, unsigned p, const struct msg *m)
{
    struct entry *e = entry_of(w, w->proc[p].region, w->proc[p].index, m->op);
    e->durable = true;
    if (!m->flag)
        return; /* it is gone already */
    if (fm_sublease_live(&gate_of(w, p)->sub[m->ctx].cell[m->cell], m->epoch, local_now(w, p)))
        forward(w, p, m);
    else {
        e->state = FM_ENTRY_NONE; /* it was not forwarded, and is not in the journal any more */
        to_edge(w, m, p, ANSWER_MOVING, m->epoch);
    }
}

static void gate_executed(struct world *w, unsigned p, const struct msg *m)
{
    struct gate *g = gate_of(w, p);
    struct entry *e = entry_of(w, w->proc[p].region, w->proc[p].index, m->op);
    if (m->life == w->proc[p].life && g->in_flight[m->ctx][m->cell])
        g->in_flight[m->ctx][m->cell]--;
    e->state = FM_ENTRY_DONE;
    bool ok = fm_sublease_may_relay(&g->sub[m->ctx].cell[m->cell], m->epoch, local_now(w, p));
    if (ok)
        check_relayed(w, p, m->ctx, m->cell, m->epoch);
    to_edge(w, m, p, ok ? ANSWER_OK : ANSWER_UNKNOWN, m->epoch);
}

void gate_take(struct world *w, struct msg *m)
{
    struct gate *g = gate_of(w, m->to);
    unsigned p = m->to;
    if (m->kind == MSG_TIMER)
        gate_timer(w, p);
    else if (m->kind == MSG_GRANT && fm_sub_same(m->sub, g->id))
        gate_granted(w, p, m);
    else if (m->kind == MSG_NUDGE)
        gate_ask(w, p, m->ctx);
    else if (m->kind == MSG_STOP)
        gate_stop(w, p, m);
    else if (m->kind == MSG_QUIET)
        gate_quiet(w, p, m);
    else if (m->kind == MSG_REQUEST)
        gate_request(w, p, m);
    else if (m->kind == MSG_DURABLE)
        gate_durable(w, p, m);
    else if (m->kind == MSG_EXECUTED)
        gate_executed(w, p, m);
}

/* -------- edges and clients -------- */

void client_take(struct world *w, struct msg *m)
{
    (void)m;
    post(w, new_msg(w, MSG_CLIENT, 0, 0),
         w->now + between(&w->net, 1, 2 * w->cfg.command_gap_us) * 1000);
    if (w->ncommands >= SIM_COMMANDS_MAX - 1)
        return;
    uint32_t op = ++w->ncommands;
    struct command *c = &w->command[op];
    c->ctx = fm_rand_below(&w->net, 3) == 0 ? 0 : 1;
    c->cell = (uint8_t)fm_rand_below(&w->net, w->cfg.cells[c->ctx]);
    c->edge = (uint8_t)fm_rand_below(&w->net, SIM_EDGES);
    uint32_t *last = &w->last[c->ctx][c->cell];
    *(*last ? &w->command[*last].next : &w->first[c->ctx][c->cell]) = op;
    *last = op;
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
    struct fm_authority_view *v = &w->edge[w->proc[p].index].view[m->ctx], next;
    struct fm_incarnation seed = v->incarnation;
    struct fm_epoch old[SIM_CELLS];
    next.incarnation = m->incarnation;
    next.generation.n = m->revision;
    next.ncells = w->cfg.cells[m->ctx];
    for (unsigned i = 0; i < next.ncells; i++) {
        const struct fm_cell_at *c = &w->blobs[m->blob].read.ctx.cell[i];
        next.cell[i] = (struct fm_view_cell){c->r.epoch, c->r.gentle_from, c->r.region,
                                             c->r.state != FM_CELL_HELD};
        old[i] = v->cell[i].epoch;
    }
    if (w->edge_stale[w->proc[p].index] || !fm_view_adopt(v, &next))
        return;
    for (unsigned i = 0; i < next.ncells && fm_incarnation_same(seed, v->incarnation); i++)
        if (fm_epoch_newer(old[i], v->cell[i].epoch))
            broken(w, "invariant 6", "the view of edge %u goes back: cell %u.%u", p, m->ctx, i);
}

/* What still comes of the try before is not waited for any more. */
static void try_later(struct world *w, unsigned p, uint32_t op)
{
    struct msg *t = new_msg(w, MSG_TRY, p, p);
    t->op = op;
    w->command[op].tries++;
    post(w, t, w->now + between(&w->net, 50, 300) * MS);
}

static void refuse(struct world *w, struct command *c)
{
    c->state = CMD_REFUSED;
    w->r->refused++;
}

/* A command that no gate takes now. */
static void edge_hold(struct world *w, unsigned p, uint32_t op)
{
    struct command *c = &w->command[op];
    struct edge *e = &w->edge[w->proc[p].index];
    if (!c->held) {
        c->held = true;
        c->held_since = w->now;
        e->held++;
    }
    struct fm_held h = {.moving = true,
                        .held_ms = (w->now - c->held_since) / MS,
                        .hold_ms = w->cfg.hold_ms,
                        .held = e->held,
                        .held_max = 64};
    enum fm_hold what = fm_hold_decide(&h);
    if (h.held_ms > h.hold_ms + 1000 || h.held > h.held_max + 1)
        if (what == FM_HOLD_HOLD)
            broken(w, "invariant 10", "%u commands are held, this one for %lld ms", h.held,
                   (long long)h.held_ms);
    if (what == FM_HOLD_HOLD) {
        try_later(w, p, op);
        return;
    }
    e->held--;
    c->held = false;
    refuse(w, c);
}

/* Now and then an edge that does not know of the one gate: its file is another one. */
static unsigned edge_gate(struct world *w, const struct command *c, unsigned region, uint32_t op)
{
    unsigned any = fm_rand_below(&w->net, SIM_GATES);
    bool knows = fm_rand_below(&w->net, 8) > 0;
    return knows && !w->cfg.by_app[c->ctx] ? gate_of_key(w, region, op) : any;
}

static void edge_try(struct world *w, unsigned p, const struct msg *m)
{
    struct command *c = &w->command[m->op];
    if (c->state != CMD_OPEN)
        return;
    struct edge *e = &w->edge[w->proc[p].index];
    const struct fm_view_cell *v = &e->view[c->ctx].cell[c->cell];
    if (w->now >= c->deadline) {
        e->held -= c->held;
        refuse(w, c);
        return;
    }
    if (v->epoch.n == 0 || v->released) {
        edge_hold(w, p, m->op);
        return;
    }
    uint64_t carried = c->maybe_executed ? c->first.n : 0;
    if (!c->maybe_executed)
        c->first = v->epoch;
    c->tries++;
    unsigned gate = edge_gate(w, c, v->region, m->op);
    struct msg *q = new_msg(w, MSG_REQUEST, p, proc_gate(v->region, gate));
    q->ctx = c->ctx;
    q->cell = c->cell;
    q->op = m->op;
    q->tries = c->tries;
    q->region = (uint8_t)p;
    q->epoch = v->epoch;
    q->revision = carried;
    q->left_ns = c->deadline - w->now;
    send_msg(w, q);
    struct msg *t = new_msg(w, MSG_GIVE_UP, p, p);
    t->op = m->op;
    t->tries = c->tries;
    post(w, t, w->now + S);
}

/* No answer in time: it may have been executed. It is tried again with its key. */
static void edge_give_up(struct world *w, unsigned p, const struct msg *m)
{
    struct command *c = &w->command[m->op];
    if (c->state != CMD_OPEN || m->tries != c->tries)
        return;
    c->maybe_executed = true;
    try_later(w, p, m->op);
}

static void edge_answer(struct world *w, unsigned p, const struct msg *m)
{
    struct command *c = &w->command[m->op];
    struct edge *e = &w->edge[w->proc[p].index];
    const struct fm_authority_view *v = &e->view[c->ctx];
    if (c->state != CMD_OPEN)
        return;
    bool passes = m->answer == ANSWER_OK && fm_answer_passes(&v->cell[c->cell], m->epoch);
    bool forced = fm_epoch_newer(v->cell[c->cell].gentle_from, m->epoch);
    if (passes && forced)
        broken(w, "invariant 1", "a success of cell %u.%u under epoch %llu, which ended by force",
               c->ctx, c->cell, (unsigned long long)m->epoch.n);
    if (passes) {
        c->state = CMD_ACKED;
        c->epoch = m->epoch;
        e->held -= c->held;
        w->r->acknowledged++;
    } else if (m->answer == ANSWER_MOVING || m->answer == ANSWER_ELSEWHERE) {
        if (m->tries == c->tries)
            edge_hold(w, p, m->op);
    } else if (m->answer == ANSWER_UNKNOWN && m->tries == c->tries) {
        w->r->unknown++;
        c->maybe_executed = true;
        try_later(w, p, m->op);
    }
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
