/* What `when-away: {commands: queue}` needs around it: somebody who keeps the commands, one queue
 * for all that has to stay in order, and time to reach it. Each function is one rule. */
#include "base/assert.h"
#include "conf/decode.h"

static const struct fm_conf_route *first_route(const struct fm_conf_context *x)
{
    for (size_t i = 0; i < x->nroutes; i++)
        if (x->routes[i].when_away.commands == FM_CONF_AWAY_QUEUE)
            return &x->routes[i];
    return NULL;
}

static struct fm_conf_pos where(const struct fm_load *l, size_t context,
                                const struct fm_conf_route *r)
{
    const struct fm_node *away = fm_node_getz(l->context_node[context], "when-away");
    const struct fm_node *commands = fm_node_getz(away, "commands");
    bool of_context = l->conf->contexts[context].when_away.commands == FM_CONF_AWAY_QUEUE;
    return of_context && commands ? commands->pos : r->pos;
}

static void another_region(struct fm_load *l, const struct fm_conf_context *x,
                           struct fm_conf_pos at)
{
    unsigned serving = 0;
    for (size_t r = 0; r < l->conf->nregions; r++)
        serving += !l->conf->regions[r].witness;
    if (serving > 1)
        return;
    fm_report_error(l->report, at,
                    "commands of `%s` are to be queued while its region is away, and no other "
                    "region serves",
                    FM_Q(x->name));
    fm_report_advice(l->report, "write `commands: reject`, or add a region");
}

/* A journal belongs to one process, so that several of them are several orders. */
static void one_gate(struct fm_load *l, const struct fm_conf_context *x, struct fm_conf_pos at)
{
    for (unsigned r = 0; r < l->conf->nregions; r++) {
        unsigned n = 0;
        for (size_t i = 0; i < l->conf->nhosts; i++)
            n += l->conf->hosts[i].region == r && l->conf->hosts[i].roles & FM_ROLE_GATE;
        if (n < 2)
            continue;
        fm_report_warning(l->report, at,
                          "what is queued of `%s` in `%s` waits at one gate, the first of %u that "
                          "answers: where that one is lost, it waits for its return, and is "
                          "overtaken by what came later",
                          FM_Q(x->name), FM_Q(l->conf->regions[r].name), n);
        fm_report_advice(l->report, "one gate in `%s` keeps all of it in order",
                         FM_Q(l->conf->regions[r].name));
        return;
    }
}

static void in_time(struct fm_load *l, const struct fm_conf_context *x)
{
    for (size_t i = 0; i < x->nroutes; i++) {
        const struct fm_conf_route *r = &x->routes[i];
        FM_ASSERT(r->timeouts.total_ms > 0);
        if (r->when_away.commands != FM_CONF_AWAY_QUEUE ||
            r->when_away.hold_ms < r->timeouts.total_ms)
            continue;
        fm_report_error(l->report, r->pos,
                        "commands of `%s` are held for %s before they are queued, and given up "
                        "after %s (`timeouts.total`)",
                        FM_Q(x->name), fm_scalar_duration_text(r->when_away.hold_ms).s,
                        fm_scalar_duration_text(r->timeouts.total_ms).s);
        fm_report_advice(l->report, "raise `timeouts.total` above `hold`");
        return;
    }
}

void fm_queueing_check(struct fm_load *l, size_t context)
{
    const struct fm_conf_context *x = &l->conf->contexts[context];
    const struct fm_conf_route *r = first_route(x);
    FM_ASSERT(x->ncells > 0);
    if (!r)
        return;
    another_region(l, x, where(l, context, r));
    if (!l->hosts_bad)
        one_gate(l, x, where(l, context, r));
    in_time(l, x);
}
