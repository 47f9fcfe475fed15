/* A keeper gives a context up whose data are in a PostgreSQL group that does not serve here any
 * more, and takes it back where nobody came for it. Whether is core's (yield.h); here is what this
 * agent hears of the nodes, and what moves together. */
#include "agent/ctl.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>

enum {
    FRESH_MS = 2000,
    UNWELL_MS = 60 * 1000, /* a node whose agent lives: recovery from a crash is among it */
};

/* Hosts of nodes that may have a live grant of this keeper. */
static uint32_t granted(const struct ctl_context *c)
{
    struct fm_sub sub[FM_SUBS_MAX];
    unsigned n = fm_authority_grantees(&c->auth, fm_mono_now(), sub);
    uint32_t nodes = 0;
    for (unsigned k = 0; k < n; k++)
        for (unsigned i = 0; i < c->group->nnodes; i++)
            if (c->group->node[i].in_file && c->group->node[i].host == sub[k].host)
                nodes |= 1u << i;
    return nodes;
}

static struct fm_yield_evidence see(const struct ctl_context *c,
                                    struct fm_group_report node[FM_GROUP_NODES_MAX])
{
    for (unsigned i = 0; i < c->group->nnodes; i++) {
        struct ctl_group_node n = c->group->node[i];
        if (!fm_group_is_looked_after(&n.report))
            n.report = (struct fm_group_report){.state = 0};
        node[i] = ctl_group_report(&n);
    }
    bool settled = fm_authority_is_settled(&c->auth, fm_mono_now());
    return (struct fm_yield_evidence){.holds = settled && fm_authority_holds(&c->auth) & 1 &&
                                               c->move.state == FM_MOVE_IDLE,
                                      .region = (uint8_t)c->ctl->region,
                                      .cell = &c->auth.cell[0].at.r,
                                      .node = node,
                                      .nnodes = c->group->nnodes,
                                      .granted = granted(c)};
}

static struct ctl_context *member(const struct fm_controller *ctl, const struct ctl_set *s,
                                  unsigned i)
{
    FM_ASSERT(i < s->n && ctl->context[s->member[i]]);
    return ctl->context[s->member[i]];
}

/* -------- giving up -------- */

static void say(struct ctl_context *c, enum fm_yield_why why, unsigned to)
{
    struct ctl_event *e = ctl_event(c->ctl, "yield", c);
    e->region = (int)c->ctl->region;
    e->why = fm_yield_why_name(why);
    e->text = fm_yield_why_text(why);
    snprintf(e->evidence, sizeof e->evidence, "epoch %llu is given up; %s is asked first",
             (unsigned long long)fm_authority_epoch(&c->auth, 0).n, c->ctl->c.roster->region[to]);
    fm_log(FM_LOG_ERROR, "context_given_up", FM_KZ("context", e->context), FM_KZ("why", e->why),
           FM_KZ("meaning", e->text), FM_KZ("evidence", e->evidence));
}

static void give_up(struct ctl_context *c, unsigned to)
{
    for (unsigned i = 0; i < c->auth.cfg.ncells; i++)
        if (fm_authority_holds(&c->auth) & ~c->auth.k.yielding & UINT64_C(1) << i)
            ctl_step(c, &(struct fm_auth_event){
                            .kind = FM_AUTH_YIELD, .cell = (uint8_t)i, .to = (uint8_t)to});
}

/* All that moves with it, so that it is taken together. */
static void give_up_set(struct ctl_context *c, enum fm_yield_why why, unsigned to)
{
    const struct ctl_set *s = c->set;
    if (c->auth.k.yielding & 1)
        return;
    for (unsigned i = 0; i < s->n; i++)
        if (member(c->ctl, s, i)->move.state != FM_MOVE_IDLE)
            return; /* it ends soon */
    say(c, why, to);
    for (unsigned i = 0; i < s->n; i++)
        give_up(member(c->ctl, s, i), to);
}

void ctl_yield_ask(struct fm_controller *ctl, struct ctl_set *s, unsigned lost)
{
    struct fm_mono now = fm_mono_now();
    if (fm_mono_before(now, s->ask_next))
        return;
    s->ask_next = fm_mono_add_ms(now, ctl->renew_ms);
    for (unsigned i = 0; i < s->n; i++) {
        struct ctl_context *c = member(ctl, s, i);
        struct fm_message m = ctl_message(c, FM_MESSAGE_YIELD);
        for (unsigned k = 0; k < c->auth.cfg.ncells; k++) {
            const struct fm_cell_record *r = &c->auth.cell[k].at.r;
            if (r->region != lost || r->state != FM_CELL_HELD || r->epoch.n == 0)
                continue;
            m.cells |= UINT64_C(1) << k;
            m.epoch[k] = r->epoch;
        }
        if (m.cells)
            ctl_send_agents(ctl, lost, &m);
    }
}

/* Of these epochs: what was asked long ago says nothing about now. */
void ctl_yield_take(struct ctl_context *c, unsigned host, const struct fm_message *m)
{
    const struct ctl_host *from = &c->ctl->host[host];
    uint64_t cells = 0;
    if (m->kind != FM_MESSAGE_YIELD || !from->agent || from->region == c->ctl->region ||
        !(c->ctl->holders >> from->region & 1))
        return;
    for (unsigned i = 0; i < c->auth.cfg.ncells; i++)
        if (m->cells >> i & 1 && fm_epoch_same(m->epoch[i], fm_authority_epoch(&c->auth, i)))
            cells |= UINT64_C(1) << i;
    if (cells & fm_authority_holds(&c->auth))
        give_up_set(c, FM_YIELD_WHY_ASKED, from->region);
}

/* -------- taking back -------- */

static bool is_given_up(const struct ctl_context *c, unsigned region)
{
    bool all = true;
    for (unsigned i = 0; i < c->auth.cfg.ncells; i++) {
        const struct fm_cell_at *at = &c->auth.cell[i].at;
        all &= at->revision.n && at->r.region == region && at->r.state == FM_CELL_YIELDED;
    }
    return all;
}

bool ctl_yield_is_given_up(const struct fm_controller *ctl, const struct ctl_set *s,
                           unsigned region)
{
    for (unsigned i = 0; i < s->n; i++)
        if (!is_given_up(member(ctl, s, i), region))
            return false;
    return true;
}

unsigned ctl_yield_next(const struct fm_controller *ctl, const struct ctl_set *s, unsigned heir)
{
    const struct ctl_context *c = member(ctl, s, 0);
    return fm_yield_next(&c->auth.cell[0].at.r, c->auth.cell[0].since, heir, c->auth.cfg.lease_ms,
                         fm_mono_now());
}

/* Those whose data are in groups have their last writers back here; the others follow. */
static bool is_back(const struct fm_controller *ctl, const struct ctl_set *s)
{
    struct fm_group_report node[FM_GROUP_NODES_MAX];
    bool any = false;
    for (unsigned i = 0; i < s->n; i++) {
        const struct ctl_context *c = member(ctl, s, i);
        const struct fm_seen_cell *cell = &c->auth.cell[0];
        if (cell->at.revision.n == 0 || cell->at.r.region != ctl->region)
            return false;
        if (cell->at.r.state != FM_CELL_YIELDED)
            continue;
        any = true;
        if (!c->group)
            continue;
        struct fm_yield_evidence ev = see(c, node);
        if (!fm_yield_is_back(&ev, cell->since, FRESH_MS, c->auth.cfg.lease_ms, fm_mono_now()))
            return false;
    }
    return any;
}

static void take_back(struct ctl_context *c)
{
    for (unsigned i = 0; i < c->auth.cfg.ncells; i++)
        if (c->auth.cell[i].at.r.state == FM_CELL_YIELDED && !(c->auth.k.retake >> i & 1))
            ctl_step(c, &(struct fm_auth_event){.kind = FM_AUTH_RETAKE, .cell = (uint8_t)i});
}

/* -------- the whole -------- */

static void look(struct ctl_context *c)
{
    const struct fm_conf_failover *f = &ctl_conf(c)->failover;
    struct fm_yield_policy policy = {.absent_ms = f->grace_ms,
                                     .unwell_ms = UNWELL_MS,
                                     .fresh_ms = FRESH_MS,
                                     .automatic = f->mode == FM_CONF_AUTOMATIC};
    struct fm_group_report node[FM_GROUP_NODES_MAX];
    struct fm_yield_evidence ev = see(c, node);
    struct fm_yield_verdict v = fm_yield_step(&c->group->yield, &policy, &ev, fm_mono_now());
    if (v.why != FM_YIELD_WHY_NONE)
        give_up_set(c, (enum fm_yield_why)v.why,
                    fm_yield_first(&ev, (enum fm_yield_why)v.why,
                                   ctl_heir(c->ctl, c->set, c->ctl->region), FRESH_MS,
                                   fm_mono_now()));
    if (!fm_mono_is_never(v.wake))
        ctl_arm(c->ctl, v.wake);
}

void ctl_yield_turn(struct ctl_context *c)
{
    if (!c->group || !c->auth.keeper || c->auth.cell[0].at.revision.n == 0)
        return;
    look(c);
    bool taken = c->set->fo[c->ctl->region].state == FM_FAILOVER_COMPLETING;
    if (!taken && is_back(c->ctl, c->set))
        for (unsigned i = 0; i < c->set->n; i++)
            take_back(member(c->ctl, c->set, i));
}
