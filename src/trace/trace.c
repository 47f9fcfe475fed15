/* Lines of a trace: see the header. Invariant: what is behind ` => ` depends on the machine and its
 * answer alone, so that a replay makes the same text where it does the same. */
#include "trace/trace.h"

#include "base/assert.h"
#include "trace/fields.h"

/* -------- beginnings -------- */

static void begin(struct fm_buf *out, const char *machine, unsigned whose, const char *what,
                  struct fm_mono now)
{
    fm_buf_printf(out, "%s %u %s now=%lld", machine, whose, what, (long long)now.ns);
}

static void put_epoch(struct fm_buf *out, unsigned cell, struct fm_epoch e)
{
    fm_buf_printf(out, " @epoch=%u,%llu", cell, (unsigned long long)e.n);
}

/* -------- records -------- */

static void put_lease(struct fm_buf *out, unsigned region, const struct fm_lease_at *l)
{
    FM_ASSERT(l->r.nsubs <= FM_SUBS_MAX);
    if (l->revision.n == 0)
        return;
    fm_buf_printf(out, " @lease=%u,", region);
    fm_trace_put_list(out, fm_trace_lease, fm_trace_lease_n, l);
    for (unsigned i = 0; i < l->r.nsubs; i++) {
        fm_buf_ch(out, ',');
        fm_trace_put_list(out, fm_trace_sub, fm_trace_sub_n, &l->r.sub[i]);
    }
}

static void put_cell(struct fm_buf *out, unsigned number, const struct fm_cell_at *c)
{
    if (c->revision.n == 0)
        return;
    fm_buf_printf(out, " @cell=%u,", number);
    fm_trace_put_list(out, fm_trace_cell, fm_trace_cell_n, c);
    for (unsigned r = 0; r < FM_AUTH_REGIONS_MAX; r++)
        if (c->r.members.of[r])
            fm_buf_printf(out, ",%u,%u", r, c->r.members.of[r]);
}

static void put_snapshot(struct fm_buf *out, const struct fm_snapshot *s)
{
    FM_ASSERT(s->nregions <= FM_AUTH_REGIONS_MAX && s->ncells <= FM_AUTH_CELLS_MAX);
    fm_buf_printf(out, " @seen=%u,%u", s->nregions, s->ncells);
    fm_trace_put(out, fm_trace_snapshot, fm_trace_snapshot_n, s);
    for (unsigned r = 0; r < s->nregions; r++)
        put_lease(out, r, &s->lease[r]);
    for (unsigned i = 0; i < s->ncells; i++)
        put_cell(out, i, &s->cell[i]);
}

static void put_write(struct fm_buf *out, const struct fm_write *w)
{
    switch ((enum fm_record_kind)w->key.kind) {
    case FM_RECORD_KEEPER:
        fm_buf_printf(out, " @keeper=%u,%llu", w->to.keeper.agent.n,
                      (unsigned long long)w->to.keeper.incarnation.n);
        return;
    case FM_RECORD_LEASE:
        put_lease(out, w->key.region, &(struct fm_lease_at){{1}, w->to.lease});
        return;
    case FM_RECORD_CELL:
        put_cell(out, w->key.id.cell, &(struct fm_cell_at){{1}, w->to.cell});
        return;
    case FM_RECORD_BUDGET:
        fm_buf_printf(out, " @budget=%u,%u", w->to.budget.spent, w->to.budget.freed);
        return;
    case FM_RECORD_VIEW:
        fm_buf_printf(out, " @view=%llu,%llu", (unsigned long long)w->to.view.incarnation.n,
                      (unsigned long long)w->to.view.generation.n);
        return;
    case FM_RECORD_KIND_COUNT:
        break;
    }
    FM_UNREACHABLE();
}

static void put_txn(struct fm_buf *out, const struct fm_txn *t)
{
    FM_ASSERT(t->ncompare <= FM_TXN_COMPARES_MAX && t->nwrite <= FM_TXN_WRITES_MAX);
    for (unsigned i = 0; i < t->ncompare; i++) {
        const struct fm_compare *c = &t->compare[i];
        fm_buf_printf(out, " if=%u,%u,%u,%llu", c->key.kind, c->key.region, c->key.id.cell,
                      (unsigned long long)c->revision.n);
    }
    for (unsigned i = 0; i < t->nwrite; i++)
        put_write(out, &t->write[i]);
}

/* -------- authority -------- */

static void put_cfg(struct fm_buf *out, const struct fm_auth_config *cfg)
{
    FM_ASSERT(cfg->ncells > 0 && cfg->ncells <= FM_AUTH_CELLS_MAX);
    fm_trace_put(out, fm_trace_cfg, fm_trace_cfg_n, cfg);
    fm_trace_put_members(out, "file", &cfg->file);
    fm_buf_lit(out, " home");
    for (unsigned i = 0; i < cfg->ncells; i++)
        fm_buf_printf(out, i ? ",%u" : "=%u", cfg->home[i]);
}

void fm_trace_authority_init(struct fm_buf *out, const struct fm_auth_config *cfg,
                             const struct fm_marks *marks, struct fm_mono now)
{
    begin(out, "authority", cfg->context, "init", now);
    put_cfg(out, cfg);
    if (!marks)
        return;
    fm_buf_lit(out, " marks=");
    fm_trace_put_list(out, fm_trace_marks, fm_trace_marks_n, marks);
    for (unsigned i = 0; i < cfg->ncells; i++)
        fm_buf_printf(out, " mark=%u,%llu,%u", i, (unsigned long long)marks->epoch[i].n,
                      marks->holder[i]);
}

void fm_trace_authority_conf(struct fm_buf *out, const struct fm_auth_config *cfg,
                             struct fm_mono now)
{
    begin(out, "authority", cfg->context, "conf", now);
    put_cfg(out, cfg);
}

void fm_trace_authority_lease(struct fm_buf *out, const struct fm_auth_config *cfg,
                              struct fm_mono now)
{
    begin(out, "authority", cfg->context, "lease", now);
    put_cfg(out, cfg);
}

static void put_act(struct fm_buf *out, const struct fm_authority *a,
                    const struct fm_auth_action *act)
{
    FM_ASSERT(act->kind < FM_AUTH_ACTION_COUNT);
    fm_buf_printf(out, "; %u why=%s", (unsigned)act->kind, fm_auth_why_name(act->why));
    fm_buf_printf(out, " op=%u cell=%u agent=%u,%llu sub=%u,%llu ms=%d asked=%lld cells=%llu",
                  act->op, act->cell, act->agent.n, (unsigned long long)act->incarnation.n,
                  act->sub.host, (unsigned long long)act->sub.incarnation.n, act->ms,
                  (long long)act->asked_ns, (unsigned long long)act->cells);
    fm_trace_put_members(out, "members", &act->members);
    for (unsigned i = 0; i < a->cfg.ncells; i++)
        if (act->cells >> i & 1)
            put_epoch(out, i, fm_authority_epoch(a, i));
    if (act->kind == FM_AUTH_DO_COMMIT)
        put_txn(out, fm_authority_txn(a, act->op));
}

void fm_trace_acts(struct fm_buf *out, const struct fm_authority *a,
                   const struct fm_auth_actions *acts)
{
    FM_ASSERT(acts->n <= FM_AUTH_ACTIONS_MAX);
    fm_buf_printf(out, "wake=%lld holds=%llu frozen=%u", (long long)acts->wake.ns,
                  (unsigned long long)fm_authority_holds(a), a->frozen);
    for (unsigned i = 0; i < acts->n; i++)
        put_act(out, a, &acts->action[i]);
}

void fm_trace_authority_step(struct fm_buf *out, const struct fm_authority *a,
                             const struct fm_auth_event *in, struct fm_mono now,
                             const struct fm_auth_actions *acts)
{
    FM_ASSERT(in->kind < FM_AUTH_EVENT_COUNT);
    begin(out, "authority", a->cfg.context, "step", now);
    fm_trace_put(out, fm_trace_event, fm_trace_event_n, in);
    fm_trace_put_members(out, "members", &in->members);
    for (unsigned i = 0; in->epochs && i < FM_AUTH_CELLS_MAX; i++)
        if (in->cells >> i & 1)
            put_epoch(out, i, in->epochs[i]);
    if (in->snapshot)
        put_snapshot(out, in->snapshot);
    fm_buf_lit(out, " => ");
    fm_trace_acts(out, a, acts);
}

/* -------- the office -------- */

void fm_trace_office_init(struct fm_buf *out, const struct fm_office_config *cfg,
                          struct fm_mono now)
{
    FM_ASSERT(cfg->incarnation.n > 0);
    begin(out, "office", 0, "init", now);
    fm_trace_put(out, fm_trace_office_cfg, fm_trace_office_cfg_n, cfg);
}

void fm_trace_office_times(struct fm_buf *out, const struct fm_office_config *cfg,
                           struct fm_mono now)
{
    begin(out, "office", 0, "times", now);
    fm_trace_put(out, fm_trace_office_cfg, fm_trace_office_cfg_n, cfg);
}

void fm_trace_office_said(struct fm_buf *out, const struct fm_office *o,
                          const struct fm_office_verdict *v)
{
    fm_buf_printf(out, "wake=%lld state=%s resolved=%u changed=%u claim=%u", (long long)v->wake.ns,
                  fm_office_state_name((enum fm_office_state)o->state), o->resolved, v->changed,
                  v->claim);
    if (v->claim)
        put_txn(out, &v->txn);
}

void fm_trace_office_step(struct fm_buf *out, const struct fm_office *o,
                          const struct fm_office_event *in, struct fm_mono now, uint64_t random,
                          const struct fm_office_verdict *v)
{
    FM_ASSERT(in->kind < FM_OFFICE_EVENT_COUNT);
    begin(out, "office", 0, "step", now);
    fm_trace_put(out, fm_trace_office_event, fm_trace_office_event_n, in);
    fm_buf_printf(out, " random=%llu => ", (unsigned long long)random);
    fm_trace_office_said(out, o, v);
}

/* -------- failover -------- */

void fm_trace_failover_init(struct fm_buf *out, struct fm_trace_failover whose, struct fm_mono now)
{
    FM_ASSERT(whose.region < FM_AUTH_REGIONS_MAX);
    begin(out, "failover", whose.context, "init", now);
    fm_buf_printf(out, " lost=%u", whose.region);
}

void fm_trace_failover_said(struct fm_buf *out, const struct fm_failover *f,
                            const struct fm_failover_verdict *v)
{
    fm_buf_printf(out, "state=%s why=%s automatic=%u changed=%u from=%u to=%u act=%u refused=%u",
                  fm_failover_state_name((enum fm_failover_state)f->state),
                  fm_failover_why_name((enum fm_failover_why)v->why), f->automatic, v->changed,
                  v->from, v->to, (unsigned)v->action, v->refused);
}

void fm_trace_failover_step(struct fm_buf *out, struct fm_trace_failover whose,
                            const struct fm_failover *f, const struct fm_failover_policy *p,
                            const struct fm_failover_event *in, struct fm_mono now,
                            const struct fm_failover_verdict *v)
{
    FM_ASSERT(in->kind < FM_FAILOVER_EVENT_COUNT && in->ev);
    begin(out, "failover", whose.context, "step", now);
    fm_buf_printf(out, " lost=%u", whose.region);
    fm_trace_put(out, fm_trace_failover_event, fm_trace_failover_event_n, in);
    fm_trace_put(out, fm_trace_policy, fm_trace_policy_n, p);
    fm_trace_put(out, fm_trace_evidence, fm_trace_evidence_n, in->ev);
    fm_buf_lit(out, " => ");
    fm_trace_failover_said(out, f, v);
}

/* -------- moves -------- */

void fm_trace_move_said(struct fm_buf *out, const struct fm_move *m,
                        const struct fm_move_verdict *v)
{
    fm_buf_printf(out, "state=%s serial=%u moved=%u late_at=%lld changed=%u over=%u act=%u",
                  fm_move_state_name((enum fm_move_state)m->state), m->serial, m->moved,
                  (long long)m->late_at.ns, v->changed, v->over, (unsigned)v->action);
}

void fm_trace_move_step(struct fm_buf *out, unsigned context, const struct fm_move *m,
                        const struct fm_move_policy *p, enum fm_move_event in, struct fm_mono now,
                        const struct fm_move_verdict *v)
{
    FM_ASSERT(in < FM_MOVE_EVENT_COUNT);
    begin(out, "move", context, "step", now);
    fm_buf_printf(out, " kind=%u cell=%u to=%u", (unsigned)in, m->cell, m->to);
    fm_trace_put(out, fm_trace_move_policy, fm_trace_move_policy_n, p);
    fm_buf_lit(out, " => ");
    fm_trace_move_said(out, m, v);
}
