/* An agent of the simulator: the shell around the office and the authority of core, as the
 * program's agent is one. It carries out actions in their order, and may die between any two. */
#include "sim/world.h"

#include <string.h>

static uint64_t incarnation(struct world *w)
{
    return ++w->incarnations;
}

/* In a store that is not new it has been here before. */
static void been_here(struct world *w, struct agent *a)
{
    const struct store *s = &w->store;
    a->has_disk = true;
    for (unsigned c = 0; c < w->cfg.contexts; c++) {
        a->disk[c] = (struct fm_marks){
            .store_id = s->id, .store = {s->revision}, .incarnation = s->view.r.incarnation};
        for (unsigned i = 0; i < w->cfg.cells[c]; i++)
            a->disk[c].epoch[i] = s->ctx[c].cell[i].r.epoch;
    }
}

/* As often as with the first lease at least: votes go with it. */
static int32_t of_lease(const struct world *w, int32_t ms, int32_t lease_ms)
{
    int64_t scaled = (int64_t)ms * lease_ms / w->cfg.lease_ms;
    return (int32_t)fm_clamp_i64(scaled, 50, ms > 50 ? ms : 50);
}

void agent_set_lease(struct world *w, unsigned p, int32_t lease_ms)
{
    struct agent *a = agent_of(w, p);
    trace(w, "agent %u/%u goes by a lease of %d ms", w->proc[p].region, w->proc[p].index, lease_ms);
    a->lease_ms = lease_ms;
    fm_office_set_times(&a->office, 2 * (int64_t)of_lease(w, w->cfg.renew_ms, lease_ms),
                        of_lease(w, w->cfg.retry_ms, lease_ms));
    for (unsigned c = 0; c < w->cfg.contexts; c++)
        fm_authority_set_lease(&a->auth[c], lease_ms, of_lease(w, w->cfg.renew_ms, lease_ms),
                               of_lease(w, w->cfg.retry_ms, lease_ms), local_now(w, p));
}

void agent_start(struct world *w, unsigned p)
{
    struct agent *a = agent_of(w, p);
    struct proc *x = &w->proc[p];
    struct fm_mono now = local_now(w, p);
    struct fm_agent_id self = {(uint8_t)(x->region * FM_AGENTS_PER_REGION + x->index)};
    struct fm_incarnation inc = {incarnation(w)};
    int32_t lease_ms = a->lease_ms ? a->lease_ms : w->cfg.lease_ms;
    if (x->life == 1 && !w->cfg.empty)
        been_here(w, a);
    struct fm_office_config oc = {.self = self,
                                  .incarnation = inc,
                                  .silence_ms = 2 * of_lease(w, w->cfg.renew_ms, lease_ms),
                                  .retry_ms = of_lease(w, w->cfg.retry_ms, lease_ms)};
    fm_office_init(&a->office, &oc, now);
    for (unsigned c = 0; c < w->cfg.contexts; c++) {
        struct fm_auth_config ac = {.context = (uint16_t)c,
                                    .self = self,
                                    .incarnation = inc,
                                    .nregions = SIM_REGIONS,
                                    .ncells = w->cfg.cells[c],
                                    .able = true,
                                    .lease_ms = lease_ms,
                                    .rho_ppm = w->cfg.rho_ppm,
                                    .renew_ms = of_lease(w, w->cfg.renew_ms, lease_ms),
                                    .retry_ms = of_lease(w, w->cfg.retry_ms, lease_ms),
                                    .founds = w->cfg.empty,
                                    .at_most = w->cfg.at_most,
                                    .window_ms = w->cfg.window_ms};
        /* a file that knows one agent of each region; all of them where it writes the first records
         */
        for (unsigned r = 0; r < SIM_REGIONS; r++)
            for (unsigned i = 0; i < (w->cfg.empty ? SIM_AGENTS : 1); i++)
                fm_members_add(&ac.file,
                               (struct fm_agent_id){(uint8_t)(r * FM_AGENTS_PER_REGION + i)});
        for (unsigned i = 0; i < w->cfg.cells[c]; i++)
            ac.home[i] = (uint8_t)home_of(w, c, i);
        fm_authority_init(&a->auth[c], &ac, a->has_disk ? &a->disk[c] : NULL, now);
        a->lease_seen[c].n = 0;
    }
    operate_start(w, p);
    w->watch_due[x->region * SIM_AGENTS + x->index] = false;
}

/* -------- actions -------- */

static void to_store(struct world *w, unsigned p, unsigned ctx, uint32_t op, enum msg_kind kind,
                     const struct fm_txn *t)
{
    struct msg *m = new_msg(w, kind, p, p);
    m->ctx = (uint8_t)ctx;
    m->op = op;
    m->life = w->proc[p].life;
    m->asked_ns = (int64_t)w->store.id;
    if (t) {
        m->blob = new_blob(w);
        w->blobs[m->blob].txn = *t;
    }
    unsigned home = w->proc[p].region, leader = w->leader >= 0 ? (unsigned)w->leader : home;
    int64_t sent = w->now;
    if (t && chance(w, w->dup_ppm)) { /* a copy that somebody on the way sends again */
        struct msg *twin = new_msg(w, kind, p, p);
        *twin = *m;
        twin->flag = 1;
        twin->blob = new_blob(w);
        w->blobs[twin->blob].txn = *t;
        post(w, twin, w->now + between(&w->net, 1, 3 * S));
    }
    post(w, m, w->now + transit(w, home, leader));
    m->sent_at = sent;
}

static struct msg *peer_msg(struct world *w, enum msg_kind kind, unsigned p, unsigned to,
                            unsigned ctx)
{
    struct msg *m = new_msg(w, kind, p, to);
    m->ctx = (uint8_t)ctx;
    return m;
}

static void put_epochs(struct msg *m, const struct fm_authority *a)
{
    for (unsigned i = 0; i < a->cfg.ncells; i++)
        m->epochs[i] = fm_authority_epoch(a, i);
}

static unsigned proc_of_agent(struct fm_agent_id id)
{
    return proc_agent(fm_agent_region(id), id.n % FM_AGENTS_PER_REGION);
}

static void ask_members(struct world *w, unsigned p, unsigned ctx, const struct fm_auth_action *act)
{
    const struct fm_authority *a = &agent_of(w, p)->auth[ctx];
    for (unsigned r = 0; r < SIM_REGIONS; r++)
        for (unsigned i = 0; i < SIM_AGENTS; i++) {
            struct fm_agent_id id = {(uint8_t)(r * FM_AGENTS_PER_REGION + i)};
            if (!fm_members_has(&act->members, id))
                continue;
            struct msg *m = peer_msg(w, MSG_PROMISE_ASKED, p, proc_of_agent(id), ctx);
            m->agent = a->cfg.self;
            m->incarnation = act->incarnation;
            m->asked_ns = act->asked_ns;
            m->cells = act->cells;
            put_epochs(m, a);
            send_msg(w, m);
        }
}

static void grant(struct world *w, unsigned p, unsigned ctx, const struct fm_auth_action *act)
{
    struct msg *m = peer_msg(w, MSG_GRANT, p, act->sub.host, ctx);
    m->sub = act->sub;
    m->asked_ns = act->asked_ns;
    m->ms = act->ms;
    m->cells = act->cells;
    enum fm_opening o = w->group && ctx == 0 ? yield_opening(w, p) : FM_OPENING_OPEN;
    m->flag = o == FM_OPENING_OPEN      ? 0
              : o == FM_OPENING_UNHEARD ? SIM_CLOSED | SIM_UNHEARD
                                        : SIM_CLOSED;
    put_epochs(m, &agent_of(w, p)->auth[ctx]);
    send_msg(w, m);
}

static void stop(struct world *w, unsigned p, unsigned ctx, uint64_t cells)
{
    for (unsigned i = 0; i < SIM_GATES; i++) {
        struct msg *m = peer_msg(w, MSG_STOP, p, proc_gate(w->proc[p].region, i), ctx);
        m->cells = cells;
        put_epochs(m, &agent_of(w, p)->auth[ctx]);
        send_msg(w, m);
    }
    for (unsigned i = 0; w->group && ctx == 0 && i < w->group->n; i++) {
        if (w->group->region[i] != w->proc[p].region)
            continue;
        struct msg *m = peer_msg(w, MSG_STOP, p, proc_db(i), ctx);
        m->cells = cells;
        put_epochs(m, &agent_of(w, p)->auth[ctx]);
        send_msg(w, m);
    }
}

static void promise(struct world *w, unsigned p, unsigned ctx, const struct fm_auth_action *act)
{
    struct msg *m = peer_msg(w, MSG_PROMISED, p, proc_of_agent(act->agent), ctx);
    m->agent = agent_of(w, p)->auth[ctx].cfg.self;
    m->incarnation = act->incarnation;
    m->asked_ns = act->asked_ns;
    m->ms = act->ms;
    send_msg(w, m);
}

static void say(struct world *w, unsigned p, unsigned ctx, const struct fm_auth_action *act)
{
    const struct fm_authority *a = &agent_of(w, p)->auth[ctx];
    trace(w, "agent %u.%u ctx %u: %s (cell %u epoch %llu)", w->proc[p].region, w->proc[p].index,
          ctx, fm_auth_why_name(act->why), act->cell,
          (unsigned long long)fm_authority_epoch(a, act->cell).n);
    agent_of(w, p)->reseeded |= act->why == FM_AUTH_WHY_RESEEDED;
    operate_said(w, p, ctx, act);
}

/* False: it died on the way. */
static bool carry_out(struct world *w, unsigned p, unsigned ctx, const struct fm_auth_actions *out)
{
    struct agent *a = agent_of(w, p);
    for (unsigned i = 0; i < out->n; i++) {
        struct proc *x = &w->proc[p];
        const struct fm_auth_action *act = &out->action[i];
        if (x->crash_after >= 0 && act->kind != FM_AUTH_DO_SAY && x->crash_after-- == 0) {
            proc_kill(w, p);
            return false;
        }
        switch (act->kind) {
        case FM_AUTH_DO_PERSIST:
            a->disk[ctx] = a->auth[ctx].marks;
            a->has_disk = true;
            break;
        case FM_AUTH_DO_READ:
            to_store(w, p, ctx, act->op, MSG_READ, NULL);
            break;
        case FM_AUTH_DO_COMMIT:
            to_store(w, p, ctx, act->op, MSG_COMMIT, fm_authority_txn(&a->auth[ctx], act->op));
            break;
        case FM_AUTH_DO_GRANT:
            grant(w, p, ctx, act);
            break;
        case FM_AUTH_DO_STOP:
            stop(w, p, ctx, act->cells);
            break;
        case FM_AUTH_DO_ASK:
            ask_members(w, p, ctx, act);
            break;
        case FM_AUTH_DO_PROMISE:
            promise(w, p, ctx, act);
            break;
        case FM_AUTH_DO_SAY:
            say(w, p, ctx, act);
            break;
        case FM_AUTH_DO_REFUSE:
        case FM_AUTH_ACTION_COUNT:
            break;
        }
    }
    return true;
}

static bool step(struct world *w, unsigned p, unsigned ctx, const struct fm_auth_event *e)
{
    struct fm_auth_actions out;
    fm_authority_step(&agent_of(w, p)->auth[ctx], e, local_now(w, p), &out);
    if (!carry_out(w, p, ctx, &out))
        return false;
    int64_t in = fm_mono_sub_ns(out.wake, local_now(w, p));
    arm(w, p, w->now + real_after(&w->proc[p], in > 0 ? in : 1));
    return true;
}

void agent_order(struct world *w, unsigned p, unsigned ctx, const struct fm_auth_event *e)
{
    if (w->proc[p].up)
        step(w, p, ctx, e);
}

/* -------- the office -------- */

static void office(struct world *w, unsigned p, const struct fm_office_event *e)
{
    struct agent *a = agent_of(w, p);
    struct fm_office_verdict v;
    fm_office_step(&a->office, e, local_now(w, p), fm_rand_u64(&w->net), &v);
    if (v.claim)
        to_store(w, p, 0, 0, MSG_COMMIT, &v.txn);
    if (!v.changed)
        return;
    if (fm_office_is_keeper(&a->office))
        trace(w, "agent %u.%u is keeper", w->proc[p].region, w->proc[p].index);
    for (unsigned c = 0; c < w->cfg.contexts && w->proc[p].up; c++)
        step(w, p, c,
             &(struct fm_auth_event){.kind = FM_AUTH_OFFICE,
                                     .keeper = fm_office_is_keeper(&a->office),
                                     .resolved = a->office.resolved,
                                     .revision = a->office.at.revision});
}

static void office_saw(struct world *w, unsigned p, const struct fm_keeper_at *at, bool linear)
{
    bool was = agent_of(w, p)->office.resolved;
    office(w, p, &(struct fm_office_event){.kind = FM_OFFICE_SEEN, .at = *at, .linear = linear});
    struct agent *a = agent_of(w, p);
    if (was || !a->office.resolved || !w->proc[p].up)
        return;
    for (unsigned c = 0; c < w->cfg.contexts && w->proc[p].up; c++)
        step(w, p, c,
             &(struct fm_auth_event){.kind = FM_AUTH_OFFICE,
                                     .keeper = fm_office_is_keeper(&a->office),
                                     .resolved = true,
                                     .revision = a->office.at.revision});
}

/* -------- what arrives -------- */

static void seen(struct world *w, unsigned p, unsigned ctx, enum fm_auth_event_kind kind,
                 uint64_t id, const struct fm_snapshot *s, uint32_t op, bool linear)
{
    struct agent *a = agent_of(w, p);
    if (!a->auth[ctx].frozen || linear)
        office_saw(w, p, &s->keeper, linear);
    if (!w->proc[p].up ||
        !step(w, p, ctx,
              &(struct fm_auth_event){
                  .kind = kind, .op = op, .ok = true, .snapshot = s, .store_id = id}))
        return;
    const struct fm_lease_at *l = &a->auth[ctx].lease[w->proc[p].region].at;
    if (fm_revision_newer(l->revision, a->lease_seen[ctx])) {
        a->lease_seen[ctx] = l->revision;
        office(w, p, &(struct fm_office_event){.kind = FM_OFFICE_MOVED});
    }
}

static void watch(struct world *w, unsigned p)
{
    unsigned n = (unsigned)(agent_of(w, p) - w->agent);
    w->watch_due[n] = false;
    if (w->watch_gap[n] || !store_reached(w, w->proc[p].region, true))
        return;
    const struct store *s = &w->store;
    if (chance(w, w->stale_ppm))
        s = &w->stale[fm_rand_below(&w->net, SIM_STALE)];
    for (unsigned c = 0; c < w->cfg.contexts && w->proc[p].up; c++) {
        struct fm_snapshot snap = {{s->revision},    s->view,         s->keeper[w->proc[p].region],
                                   s->ctx[c].budget, s->ctx[c].lease, s->ctx[c].cell,
                                   SIM_REGIONS,      w->cfg.cells[c]};
        seen(w, p, c, FM_AUTH_SEEN, s->id, &snap, 0, false);
    }
}

static void read_done(struct world *w, unsigned p, const struct msg *m)
{
    if (!m->flag) {
        step(w, p, m->ctx, &(struct fm_auth_event){.kind = FM_AUTH_READ, .op = m->op});
        return;
    }
    const union blob *b = &w->blobs[m->blob];
    struct fm_snapshot snap = {{b->read.revision}, b->read.view,        b->read.keeper,
                               b->read.ctx.budget, b->read.ctx.lease,   b->read.ctx.cell,
                               SIM_REGIONS,        w->cfg.cells[m->ctx]};
    seen(w, p, m->ctx, FM_AUTH_READ, b->read.id, &snap, m->op, true);
}

static void committed(struct world *w, unsigned p, const struct msg *m)
{
    if (m->op == 0) {
        office(w, p,
               &(struct fm_office_event){.kind = FM_OFFICE_CLAIM_OVER,
                                         .outcome = (enum fm_txn_outcome)m->answer,
                                         .revision = {m->revision}});
        return;
    }
    step(w, p, m->ctx,
         &(struct fm_auth_event){.kind = FM_AUTH_OVER,
                                 .op = m->op,
                                 .outcome = (enum fm_txn_outcome)m->answer,
                                 .revision = {m->revision}});
}

static void timer(struct world *w, unsigned p)
{
    w->proc[p].timer_at = 0;
    bool frozen = false;
    for (unsigned c = 0; c < w->cfg.contexts; c++)
        frozen |= agent_of(w, p)->auth[c].frozen;
    office(w, p, &(struct fm_office_event){.kind = FM_OFFICE_TICK, .frozen = frozen});
    static const struct fm_auth_event tick = {.kind = FM_AUTH_TICK};
    for (unsigned c = 0; c < w->cfg.contexts && w->proc[p].up; c++)
        step(w, p, c, &tick);
    if (w->proc[p].up)
        operate_tick(w, p);
}

static void view_asked(struct world *w, unsigned p, const struct msg *m)
{
    const struct fm_authority *a = &agent_of(w, p)->auth[m->ctx];
    if (a->frozen)
        return;
    struct msg *v = peer_msg(w, MSG_VIEW, p, m->from, m->ctx);
    v->revision = a->whole.n;
    v->incarnation = a->marks.incarnation;
    v->blob = new_blob(w);
    for (unsigned i = 0; i < a->cfg.ncells; i++)
        w->blobs[v->blob].read.ctx.cell[i] = a->cell[i].at;
    send_msg(w, v);
}

/* What another process says to the authority of a context, if it is that. */
static void told(struct world *w, unsigned p, const struct msg *m)
{
    static const uint8_t event_of[MSG_KINDS] = {
        [MSG_SUB_ASKS] = FM_AUTH_SUB_ASKS,           [MSG_STOPPED] = FM_AUTH_SUB_STOPPED,
        [MSG_PROMISE_ASKED] = FM_AUTH_PROMISE_ASKED, [MSG_PROMISED] = FM_AUTH_PROMISED,
        [MSG_TESTIMONY] = FM_AUTH_TESTIFIED,
    };
    if (!event_of[m->kind])
        return;
    if (m->kind == MSG_SUB_ASKS && w->proc[m->from].kind == PROC_GATE)
        operate_gate_asks(w, p, m);
    struct fm_auth_event *e = &w->told; /* what is not set here stays 0 */
    e->kind = (enum fm_auth_event_kind)event_of[m->kind];
    e->sub = m->sub;
    e->agent = m->agent;
    e->incarnation = m->incarnation;
    e->asked_ns = m->asked_ns;
    e->ms = m->ms;
    e->cells = m->cells;
    e->epochs = m->epochs;
    e->region = m->region;
    e->everything = m->flag;
    step(w, p, m->ctx, e);
}

void agent_take(struct world *w, struct msg *m)
{
    unsigned p = m->to;
    if (m->kind == MSG_TIMER)
        timer(w, p);
    else if (m->kind == MSG_WATCH)
        watch(w, p);
    else if (m->kind == MSG_READ_DONE)
        read_done(w, p, m);
    else if (m->kind == MSG_COMMITTED)
        committed(w, p, m);
    else if (m->kind == MSG_VIEW_ASKED)
        view_asked(w, p, m);
    else if (m->kind >= MSG_QUIETED)
        operate_take(w, m);
    else
        told(w, p, m);
    operate_eager(w, p);
    if (agent_of(w, p)->reseeded && w->proc[p].up) {
        agent_of(w, p)->reseeded = false;
        for (unsigned c = 0; c < w->cfg.contexts; c++)
            agent_of(w, p)->lease_seen[c].n = 0; /* it counts anew */
        office(w, p, &(struct fm_office_event){.kind = FM_OFFICE_RESEEDED});
    }
}
