/* What an agent of the simulator hears of the nodes of a group, gives up for their sake, and lets
 * commands wait for. The deciding is core's (yield.h, opening.h). */
#include "sim/world.h"

#include <string.h>

enum { FRESH_MS = 2000, UNWELL_MS = 8000 };

void yield_start(struct world *w, unsigned p)
{
    struct agent *a = agent_of(w, p);
    a->yield = (struct fm_yield){.epoch = {0}};
    a->opening = FM_OPENING_OPEN;
    memset(a->node, 0, sizeof a->node);
}

void yield_heard(struct world *w, const struct msg *m)
{
    struct agent *a = agent_of(w, m->to);
    unsigned i = w->proc[m->from].index;
    FM_ASSERT(w->group && i < w->group->n);
    a->node[i] = w->blobs[m->blob].db.report;
    a->node[i].at = local_now(w, m->to);
}

enum fm_opening yield_opening(const struct world *w, unsigned p)
{
    const struct agent *a = agent_of((struct world *)w, p);
    const struct fm_cell_at *at = &a->auth[0].cell[0].at;
    FM_ASSERT(w->group);
    if (at->revision.n == 0)
        return FM_OPENING_OPEN;
    return fm_opening_of_group(&at->r, a->node, w->group->n, (1u << w->group->n) - 1);
}

/* Gates are told to ask again where it has changed. */
static void tell_opening(struct world *w, unsigned p)
{
    struct agent *a = agent_of(w, p);
    bool holds = fm_authority_holds(&a->auth[0]) & 1;
    enum fm_opening was = (enum fm_opening)a->opening;
    a->opening = (uint8_t)(holds ? yield_opening(w, p) : FM_OPENING_OPEN);
    bool news = (was == FM_OPENING_OPEN) != (a->opening == FM_OPENING_OPEN);
    for (unsigned i = 0; i < SIM_GATES && holds && news; i++)
        send_msg(w, new_msg(w, MSG_NUDGE, p, proc_gate(w->proc[p].region, i)));
}

static uint32_t granted(const struct world *w, unsigned p, const struct fm_authority *x)
{
    struct fm_sub sub[FM_SUBS_MAX];
    unsigned n = fm_authority_grantees(x, local_now(w, p), sub);
    uint32_t nodes = 0;
    for (unsigned k = 0; k < n; k++)
        for (unsigned i = 0; i < w->group->n; i++)
            if (sub[k].host == proc_db(i))
                nodes |= 1u << i;
    return nodes;
}

static struct fm_yield_evidence see(struct world *w, unsigned p)
{
    struct agent *a = agent_of(w, p);
    const struct fm_authority *x = &a->auth[0];
    for (unsigned i = 0; i < w->group->n; i++)
        a->node[i].region = w->group->region[i];
    bool settled = fm_authority_is_settled(x, local_now(w, p));
    return (struct fm_yield_evidence){.holds = settled && fm_authority_holds(x) & 1 &&
                                               a->mv[0].state == FM_MOVE_IDLE,
                                      .region = w->proc[p].region,
                                      .cell = &x->cell[0].at.r,
                                      .node = a->node,
                                      .nnodes = w->group->n,
                                      .granted = granted(w, p, x)};
}

bool yield_is(const struct world *w, const struct fm_authority *x, unsigned ctx, unsigned region)
{
    const struct fm_cell_at *c = &x->cell[0].at;
    return w->group && ctx == 0 && c->revision.n && c->r.region == region &&
           c->r.state == FM_CELL_YIELDED;
}

unsigned yield_next(const struct world *w, unsigned p, unsigned heir)
{
    const struct fm_authority *x = &agent_of((struct world *)w, p)->auth[0];
    return fm_yield_next(&x->cell[0].at.r, x->cell[0].since, heir, x->cfg.lease_ms,
                         local_now(w, p));
}

static void give_up(struct world *w, unsigned p, const struct fm_yield_evidence *ev,
                    enum fm_yield_why why, unsigned heir)
{
    const struct fm_authority *x = &agent_of(w, p)->auth[0];
    unsigned me = w->proc[p].region;
    if (x->k.yielding & 1)
        return;
    trace(w, "agent %u.%u gives up the cell of the group: %s", me, w->proc[p].index,
          fm_yield_why_name(why));
    agent_order(w, p, 0,
                &(struct fm_auth_event){
                    .kind = FM_AUTH_YIELD,
                    .to = (uint8_t)fm_yield_first(ev, why, heir, FRESH_MS, local_now(w, p))});
}

void yield_tick(struct world *w, unsigned p, unsigned heir)
{
    struct agent *a = agent_of(w, p);
    struct fm_yield_policy policy = {.absent_ms = w->cfg.grace_ms,
                                     .unwell_ms = UNWELL_MS,
                                     .fresh_ms = FRESH_MS,
                                     .automatic = w->cfg.mode == FM_MODE_AUTOMATIC};
    struct fm_mono now = local_now(w, p);
    if (!w->group || a->auth[0].cell[0].at.revision.n == 0)
        return;
    tell_opening(w, p);
    struct fm_yield_evidence ev = see(w, p);
    struct fm_yield_verdict v = fm_yield_step(&a->yield, &policy, &ev, now);
    if (v.why != FM_YIELD_WHY_NONE)
        give_up(w, p, &ev, (enum fm_yield_why)v.why, heir);
    bool back = a->auth[0].keeper && fm_yield_is_back(&ev, a->auth[0].cell[0].since, FRESH_MS,
                                                      a->auth[0].cfg.lease_ms, now);
    bool taken = a->fo[0][w->proc[p].region].state == FM_FAILOVER_COMPLETING;
    if (back && w->proc[p].up && !taken)
        agent_order(w, p, 0, &(struct fm_auth_event){.kind = FM_AUTH_RETAKE});
}

/* -------- the checker -------- */

static bool goes_on_by_itself(const struct world *w, const struct fm_cell_record *c, unsigned i)
{
    const struct group *x = w->group;
    const struct fm_budget_record *b = &w->store.ctx[0].budget.r;
    const struct db *d = &x->db[i];
    bool asked =
        w->cfg.mode != FM_MODE_AUTOMATIC || !w->cfg.fenced || b->spent - b->freed >= w->cfg.at_most;
    for (unsigned a = 0; a < FM_COUNT(w->agent); a++)
        asked |= w->agent[a].paused;
    uint64_t loss = x->credit.bytes + data_lag(w, c->region, x->region[i], 0, 0);
    return !asked && loss <= w->cfg.max_loss && c->evidence.promotable >> i & 1 &&
           d->g.state == FM_GROUP_STANDBY && c->evidence.node != i + 1;
}

bool yield_waits(const struct world *w)
{
    const struct fm_cell_record *c = &w->store.ctx[0].cell[0].r;
    const struct group *x = w->group;
    enum { SETTLES_S = 20, LEASES = 4 };
    int32_t lease_ms = w->cfg.lease_ms;
    for (unsigned a = 0; a < FM_COUNT(w->agent); a++)
        if (w->agent[a].auth[0].cfg.lease_ms > lease_ms)
            lease_ms = w->agent[a].auth[0].cfg.lease_ms;
    /* a unit of the budget came back, and it was taken, so nobody follows yet; or the last writer
     * waits for who was asked first */
    if (x && w->now - x->changed_at < SETTLES_S * S + LEASES * lease_ms * MS)
        return true;
    if (!x || c->state != FM_CELL_YIELDED)
        return false;
    for (unsigned i = 0; i < x->n; i++) {
        bool back = c->evidence.writer == i + 1 && x->region[i] == c->region &&
                    x->db[i].g.state == FM_GROUP_STOPPED;
        if (back || goes_on_by_itself(w, c, i))
            return false;
    }
    return true;
}
