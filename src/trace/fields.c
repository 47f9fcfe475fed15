/* The tables of members: see the header. */
#include "trace/fields.h"

#include "base/assert.h"
#include "base/err.h"

#define CHECK(name) _Static_assert(FM_COUNT(name) == name##_n, #name)

#define F(member) FM_TRACE_FIELD(struct fm_auth_config, member)
const struct fm_trace_field fm_trace_cfg[] = {
    F(context), F(self.n),   F(incarnation.n), F(nregions), F(ncells),  F(able),     F(lease_ms),
    F(rho_ppm), F(renew_ms), F(retry_ms),      F(founds),   F(at_most), F(window_ms)};
CHECK(fm_trace_cfg);
#undef F

#define F(member) FM_TRACE_FIELD(struct fm_marks, member)
const struct fm_trace_field fm_trace_marks[] = {F(store_id), F(store.n), F(incarnation.n)};
CHECK(fm_trace_marks);
#undef F

#define F(member) FM_TRACE_FIELD(struct fm_auth_event, member)
const struct fm_trace_field fm_trace_event[] = {F(kind),
                                                F(op),
                                                F(ok),
                                                F(keeper),
                                                F(resolved),
                                                F(automatic),
                                                F(accepted),
                                                F(everything),
                                                F(refused),
                                                F(store_id),
                                                F(outcome),
                                                F(revision.n),
                                                F(sub.host),
                                                F(sub.incarnation.n),
                                                F(agent.n),
                                                F(incarnation.n),
                                                F(asked_ns),
                                                F(ms),
                                                F(region),
                                                F(to),
                                                F(cell),
                                                F(epoch.n),
                                                F(cells),
                                                F(evidence.system_id),
                                                F(evidence.fork_lsn),
                                                F(evidence.epoch.n),
                                                F(evidence.timeline),
                                                F(evidence.claimed),
                                                F(evidence.promotable),
                                                F(evidence.node),
                                                F(evidence.writer),
                                                F(evidence.credit),
                                                F(evidence.holes_to),
                                                F(evidence.near)};
CHECK(fm_trace_event);
#undef F

#define F(member) FM_TRACE_FIELD(struct fm_snapshot, member)
const struct fm_trace_field fm_trace_snapshot[] = {
    F(store.n),           F(view.revision.n),  F(view.r.incarnation.n),   F(view.r.generation.n),
    F(keeper.revision.n), F(keeper.r.agent.n), F(keeper.r.incarnation.n), F(budget.revision.n),
    F(budget.r.spent),    F(budget.r.freed)};
CHECK(fm_trace_snapshot);
#undef F

#define F(member) FM_TRACE_FIELD(struct fm_lease_at, member)
const struct fm_trace_field fm_trace_lease[] = {F(revision.n), F(r.keeper.n), F(r.incarnation.n),
                                                F(r.counter),  F(r.life),     F(r.lease_ms),
                                                F(r.dead)};
CHECK(fm_trace_lease);
#undef F

#define F(member) FM_TRACE_FIELD(struct fm_sub, member)
const struct fm_trace_field fm_trace_sub[] = {F(host), F(incarnation.n)};
CHECK(fm_trace_sub);
#undef F

#define F(member) FM_TRACE_FIELD(struct fm_cell_at, member)
const struct fm_trace_field fm_trace_cell[] = {F(revision.n),
                                               F(r.region),
                                               F(r.state),
                                               F(r.to),
                                               F(r.epoch.n),
                                               F(r.gentle_from.n),
                                               F(r.accepted.n),
                                               F(r.evidence.system_id),
                                               F(r.evidence.fork_lsn),
                                               F(r.evidence.timeline),
                                               F(r.evidence.epoch.n),
                                               F(r.evidence.claimed),
                                               F(r.evidence.promotable),
                                               F(r.evidence.node),
                                               F(r.evidence.writer),
                                               F(r.evidence.credit),
                                               F(r.evidence.holes_to),
                                               F(r.evidence.near)};
CHECK(fm_trace_cell);
#undef F

#define F(member) FM_TRACE_FIELD(struct fm_office_config, member)
const struct fm_trace_field fm_trace_office_cfg[] = {F(self.n), F(incarnation.n), F(silence_ms),
                                                     F(retry_ms)};
CHECK(fm_trace_office_cfg);
#undef F

#define F(member) FM_TRACE_FIELD(struct fm_office_event, member)
const struct fm_trace_field fm_trace_office_event[] = {
    F(kind),   F(at.revision.n), F(at.r.agent.n), F(at.r.incarnation.n),
    F(linear), F(frozen),        F(outcome),      F(revision.n)};
CHECK(fm_trace_office_event);
#undef F

#define F(member) FM_TRACE_FIELD(struct fm_failover_policy, member)
const struct fm_trace_field fm_trace_policy[] = {
    F(mode),     F(grace_ms),           F(ask_after_ms), F(soak_ms),
    F(max_loss), F(failback_automatic), F(conflicts_max)};
CHECK(fm_trace_policy);
#undef F

#define F(member) FM_TRACE_FIELD(struct fm_failover_event, member)
const struct fm_trace_field fm_trace_failover_event[] = {F(kind), F(quote.loss), F(quote.unbounded),
                                                         F(quote.until.ns), F(break_glass)};
CHECK(fm_trace_failover_event);
#undef F

#define F(member) FM_TRACE_FIELD(struct fm_failover_evidence, member)
const struct fm_trace_field fm_trace_evidence[] = {
    F(nothing), F(heir),      F(observers), F(lost_by), F(healthy_by), F(yielded),  F(domains),
    F(quorum),  F(ready),     F(capacity),  F(fenced),  F(attested),   F(paused),   F(budget_left),
    F(loss),    F(unbounded), F(home_well), F(window),  F(lag),        F(conflicts)};
CHECK(fm_trace_evidence);
#undef F

#define F(member) FM_TRACE_FIELD(struct fm_move_policy, member)
const struct fm_trace_field fm_trace_move_policy[] = {F(ready_ms), F(drain_ms),   F(stop_ms),
                                                      F(ship_ms),  F(release_ms), F(taken_ms)};
CHECK(fm_trace_move_policy);
#undef F

void fm_trace_put_members(struct fm_buf *out, const char *name, const struct fm_members *m)
{
    char sep = '=';
    for (unsigned r = 0; r < FM_AUTH_REGIONS_MAX; r++) {
        if (!m->of[r])
            continue;
        if (sep == '=')
            fm_buf_printf(out, " %s", name);
        fm_buf_printf(out, "%c%u,%u", sep, r, m->of[r]);
        sep = ',';
    }
}
