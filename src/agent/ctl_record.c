/* The steps of core's machines of the controller, and what a recorder is told of them (recorder.h):
 * what they were asked, when, and what they answered. Where nothing is recorded that is a
 * comparison with NULL. Decides nothing. */
#include "agent/ctl.h"

#include "base/assert.h"

/* -------- steps -------- */

void ctl_authority_step(struct ctl_context *c, const struct fm_auth_event *e,
                        struct fm_auth_actions *out)
{
    struct fm_recorder *r = c->ctl->recorder;
    struct fm_mono now = fm_mono_now();
    fm_authority_step(&c->auth, e, now, out);
    if (!r)
        return;
    fm_trace_authority_step(fm_recorder_line(r), &c->auth, e, now, out);
    fm_recorder_end(r);
}

struct fm_office_verdict ctl_office_step(struct fm_controller *ctl, const struct fm_office_event *e)
{
    struct fm_mono now = fm_mono_now();
    uint64_t random = fm_rand_u64(&ctl->rand);
    struct fm_office_verdict v;
    fm_office_step(&ctl->office, e, now, random, &v);
    if (ctl->recorder) {
        fm_trace_office_step(fm_recorder_line(ctl->recorder), &ctl->office, e, now, random, &v);
        fm_recorder_end(ctl->recorder);
    }
    return v;
}

/* A set is named by its first context. */
static struct fm_trace_failover name_of(const struct ctl_set *s, unsigned lost)
{
    FM_ASSERT(s->n > 0 && lost < FM_AUTH_REGIONS_MAX);
    return (struct fm_trace_failover){s->member[0], lost};
}

struct fm_failover_verdict ctl_failover_step(const struct fm_controller *ctl, struct ctl_set *s,
                                             unsigned lost, const struct fm_failover_policy *p,
                                             const struct fm_failover_event *e)
{
    struct fm_failover *f = &s->fo[lost];
    struct fm_mono now = fm_mono_now();
    struct fm_failover_verdict v = fm_failover_step(f, p, e, now);
    if (ctl->recorder) {
        fm_trace_failover_step(fm_recorder_line(ctl->recorder), name_of(s, lost), f, p, e, now, &v);
        fm_recorder_end(ctl->recorder);
    }
    return v;
}

struct fm_move_verdict ctl_move_step(struct ctl_context *c, const struct fm_move_policy *p,
                                     enum fm_move_event e)
{
    struct fm_recorder *r = c->ctl->recorder;
    struct fm_mono now = fm_mono_now();
    struct fm_move_verdict v = fm_move_step(&c->move, p, e, now);
    if (r) {
        fm_trace_move_step(fm_recorder_line(r), c->number, &c->move, p, e, now, &v);
        fm_recorder_end(r);
    }
    return v;
}

/* -------- other times -------- */

void ctl_authority_set_lease(struct ctl_context *c, int32_t lease_ms, int32_t renew_ms,
                             int32_t retry_ms)
{
    struct fm_recorder *r = c->ctl->recorder;
    struct fm_mono now = fm_mono_now();
    fm_authority_set_lease(&c->auth, lease_ms, renew_ms, retry_ms, now);
    if (!r)
        return;
    fm_trace_authority_lease(fm_recorder_line(r), &c->auth.cfg, now);
    fm_recorder_end(r);
}

void ctl_office_set_times(struct fm_controller *ctl, int64_t silence_ms, int64_t retry_ms)
{
    fm_office_set_times(&ctl->office, silence_ms, retry_ms);
    if (!ctl->recorder)
        return;
    fm_trace_office_times(fm_recorder_line(ctl->recorder), &ctl->office.cfg, fm_mono_now());
    fm_recorder_end(ctl->recorder);
}

/* -------- beginnings -------- */

void ctl_record_begin(const struct ctl_context *c, const struct fm_marks *marks, struct fm_mono now)
{
    struct fm_recorder *r = c->ctl->recorder;
    if (!r)
        return;
    fm_trace_authority_init(fm_recorder_line(r), &c->auth.cfg, marks, now);
    fm_recorder_end(r);
}

void ctl_record_conf(const struct ctl_context *c)
{
    struct fm_recorder *r = c->ctl->recorder;
    if (!r)
        return;
    fm_trace_authority_conf(fm_recorder_line(r), &c->auth.cfg, fm_mono_now());
    fm_recorder_end(r);
}

void ctl_record_begin_office(const struct fm_controller *ctl, struct fm_mono now)
{
    if (!ctl->recorder)
        return;
    fm_trace_office_init(fm_recorder_line(ctl->recorder), &ctl->office.cfg, now);
    fm_recorder_end(ctl->recorder);
}

static bool was_there(const struct ctl_set *s, const struct ctl_set *old, unsigned nold)
{
    for (unsigned i = 0; i < nold; i++)
        if (fm_contexts_cover(&old[i].contexts, &s->contexts) &&
            fm_contexts_cover(&s->contexts, &old[i].contexts))
            return true;
    return false;
}

void ctl_record_sets(const struct fm_controller *ctl, const struct ctl_set *old, unsigned nold)
{
    for (unsigned i = 0; ctl->recorder && i < ctl->nsets; i++) {
        const struct ctl_set *s = &ctl->set[i];
        for (unsigned r = 0; r < FM_AUTH_REGIONS_MAX && !was_there(s, old, nold); r++) {
            fm_trace_failover_init(fm_recorder_line(ctl->recorder), name_of(s, r), s->fo[r].since);
            fm_recorder_end(ctl->recorder);
        }
    }
}
