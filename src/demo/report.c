/* What a scenario came to, as JSON. Pure but for reading the load generator's lateness. */
#include "demo/stage.h"

#include "base/assert.h"

#include <stdio.h>
#include <string.h>

/* -------- what the edge did -------- */

/* What the edge says of the first time it took the context (NULL: any) out of the region. A moment
 * of silence (`suspect`, over with the first byte that is heard) is taken for the beginning of
 * that, and with `for_good` it is not. NULL: it did not. */
static const json_t *first_left(const json_t *status, const char *region, const char *context,
                                int64_t after_ns, bool for_good)
{
    size_t i;
    json_t *e;
    FM_ASSERT(region && after_ns > 0);
    json_array_foreach(json_object_get(status, "events"), i, e)
    {
        const char *r = json_string_value(json_object_get(e, "region"));
        const char *c = json_string_value(json_object_get(e, "context"));
        const char *to = json_string_value(json_object_get(e, "to"));
        int64_t at = json_integer_value(json_object_get(e, "boot_ns"));
        bool left = to && (strcmp(to, "down") == 0 || (!for_good && strcmp(to, "suspect") == 0));
        if (r && c && left && at >= after_ns && strcmp(r, region) == 0 &&
            (!context || strcmp(c, context) == 0))
            return e;
    }
    return NULL;
}

static int64_t last_sent(const json_t *status, const char *region, const char *context)
{
    int64_t best = 0;
    size_t i, k;
    json_t *r, *c;
    json_array_foreach(json_object_get(status, "regions"), i, r)
    {
        if (strcmp(json_string_value(json_object_get(r, "region")), region) != 0)
            continue;
        json_array_foreach(json_object_get(r, "contexts"), k, c)
        {
            int64_t at = json_integer_value(json_object_get(c, "last_sent_boot_ns"));
            if ((!context ||
                 strcmp(json_string_value(json_object_get(c, "context")), context) == 0) &&
                at > best)
                best = at;
        }
    }
    return best;
}

struct fm_edge_view fm_report_edge(const json_t *status, const char *region, const char *context,
                                   int64_t fault_ns)
{
    FM_ASSERT(fault_ns > 0);
    struct fm_edge_view v = {.detect_ms = -1, .quiet_ms = -1};
    const json_t *left = first_left(status, region, context, fault_ns, false);
    int64_t down = json_integer_value(json_object_get(left, "boot_ns"));
    if (down)
        v.detect_ms = (double)(down - fault_ns) / 1e6;
    int64_t sent = last_sent(status, region, context);
    if (down && sent)
        v.quiet_ms = sent > fault_ns ? (double)(sent - fault_ns) / 1e6 : 0;
    static const char *const others[] = {"ledger", "profile", "catalog"};
    for (size_t i = 0; i < FM_COUNT(others) && !v.moved[0]; i++) {
        left = first_left(status, region, others[i], fault_ns, true);
        const char *reason = json_string_value(json_object_get(left, "reason"));
        if (left)
            snprintf(v.moved, sizeof v.moved, "%s: %s", others[i], reason ? reason : "no reason");
    }
    return v;
}

/* -------- documents -------- */

json_t *fm_report_ms(double ms)
{
    return ms < 0 ? json_null() : json_real((double)(int64_t)(ms * 10 + 0.5) / 10);
}

static void set_count(json_t *o, const char *key, size_t n)
{
    json_object_set_new(o, key, json_integer((json_int_t)n));
}

static json_t *kinds_json(const struct fm_measure *m)
{
    json_t *kinds = json_object();
    FM_ASSERT(m->by_outcome[FM_LOAD_OK] + m->failed == m->requests);
    for (unsigned k = 0; k < FM_LOAD_OUTCOME_COUNT; k++)
        if (k != FM_LOAD_OK && m->by_outcome[k])
            set_count(kinds, fm_load_outcome_name(k), m->by_outcome[k]);
    return kinds;
}

static json_t *objectives_json(const struct fm_objectives *o)
{
    json_t *j = json_object();
    FM_ASSERT(o->gap_ms >= 0 && o->pause_ms >= 0);
    if (o->gap_ms)
        json_object_set_new(j, "longest_gap_ms", json_integer(o->gap_ms));
    if (o->pause_ms)
        json_object_set_new(j, "longest_command_pause_ms", json_integer(o->pause_ms));
    if (o->judged) {
        json_object_set_new(j, "queries_failed_when_ready", json_integer(0));
        json_object_set_new(j, "failed_when_taken", json_integer(0));
    } else {
        json_object_set_new(j, o->read_only ? "queries_failed" : "failed", json_integer(0));
    }
    if (o->only_cards)
        json_object_set_new(j, "only_broken_context_moved", json_true());
    return j;
}

/* Commands that were refused, or whose outcome is unknown and which were told so, have not failed
 * where nobody may take any. */
static bool failures_are_allowed(const struct fm_objectives *o, const struct fm_measure *m)
{
    if (o->judged)
        return true;
    size_t told = m->exclusive_refused + m->exclusive_unknown;
    FM_ASSERT(m->exclusive_failed <= m->failed);
    return m->failed == (o->read_only ? m->exclusive_failed : 0) &&
           (!o->read_only || told == m->exclusive_failed);
}

json_t *fm_report_scenario(const struct fm_demo *d, const char *name, const char *region,
                           const struct fm_objectives *objectives, const struct fm_measure *m,
                           const struct fm_edge_view *v, bool effects)
{
    double gap = (double)m->longest_gap_ns / 1e6, pause = (double)m->longest_pause_ns / 1e6;
    FM_ASSERT(m->failed <= m->requests && m->longest_gap_ns >= 0);
    size_t may_miss = objectives->may_lose ? m->debits_missing : 0;
    bool pass = failures_are_allowed(objectives, m) && effects && m->commands_missing == may_miss &&
                m->applied_twice == 0 && (!objectives->detected || v->detect_ms >= 0) &&
                (!objectives->gap_ms || gap <= (double)objectives->gap_ms) &&
                (!objectives->pause_ms || pause <= (double)objectives->pause_ms) &&
                (!objectives->only_cards || !v->moved[0]);
    json_t *o = json_object();
    json_object_set_new(o, "name", json_string(name));
    json_object_set_new(o, "region", json_string(region));
    json_object_set_new(o, "rate", json_integer(d->options.rate));
    set_count(o, "requests", m->requests);
    set_count(o, "failed", m->failed);
    json_object_set_new(o, "failed_by_kind", kinds_json(m));
    if (objectives->read_only) {
        set_count(o, "queries_failed", m->failed - m->exclusive_failed);
        set_count(o, "commands_refused", m->exclusive_refused);
        set_count(o, "commands_unknown", m->exclusive_unknown);
    }
    json_object_set_new(o, "detect_ms", fm_report_ms(v->detect_ms));
    json_object_set_new(o, "quiet_ms", fm_report_ms(v->quiet_ms));
    json_object_set_new(o, "longest_gap_ms", fm_report_ms(gap));
    json_object_set_new(o, "slowest_ms", fm_report_ms((double)m->worst_ns / 1e6));
    set_count(o, "slow_over_100ms", m->slow);
    set_count(o, "exclusive_commands", m->exclusive);
    set_count(o, "exclusive_commands_failed", m->exclusive_failed);
    json_object_set_new(o, "longest_command_pause_ms", fm_report_ms(pause));
    set_count(o, "acknowledged_writes", m->commands_acknowledged);
    json_object_set_new(o, "acknowledged_writes_missing",
                        effects ? json_integer((json_int_t)m->commands_missing) : json_null());
    json_object_set_new(o, "writes_applied_twice",
                        effects ? json_integer((json_int_t)m->applied_twice) : json_null());
    if (objectives->only_cards) {
        json_object_set_new(o, "only_broken_context_moved", json_boolean(!v->moved[0]));
        json_object_set_new(o, "also_moved", v->moved[0] ? json_string(v->moved) : json_null());
    }
    json_object_set_new(o, "load_generator_late_ms",
                        fm_report_ms((double)fm_load_worst_lag_ns(d->load) / 1e6));
    json_object_set_new(o, "objectives", objectives_json(objectives));
    json_object_set_new(o, "pass", json_boolean(pass));
    return o;
}
