/* `relay: true` of a route: where it would never do anything (a rule each). */
#include "base/assert.h"
#include "conf/decode.h"

/* Where it is said. */
static struct fm_conf_pos where(const struct fm_load *l, size_t context, size_t route)
{
    const struct fm_node *routes = fm_node_getz(l->context_node[context], "routes");
    const struct fm_node *one = routes ? routes->first : NULL;
    for (size_t i = 0; one && i < route; i++)
        one = one->next;
    const struct fm_node *key = one ? fm_node_getz(one, "relay") : NULL;
    return key ? key->key_pos : l->conf->contexts[context].routes[route].pos;
}

static bool takes_commands(const struct fm_conf_context *x, const struct fm_conf_route *r)
{
    if (r->as != FM_AS_METHOD)
        return r->as == FM_AS_COMMAND;
    for (size_t i = 0; i < r->nmethods; i++)
        for (size_t k = 0; k < x->ncommands; k++)
            if (fm_str_eq(r->methods[i], x->commands[k]))
                return true;
    return r->nmethods == 0 && x->ncommands > 0;
}

static unsigned serving(const struct fm_conf *c)
{
    unsigned n = 0;
    for (size_t r = 0; r < c->nregions; r++)
        n += !c->regions[r].witness;
    return n;
}

void fm_onward_check(struct fm_load *l, size_t context)
{
    const struct fm_conf_context *x = &l->conf->contexts[context];
    for (size_t i = 0; i < x->nroutes; i++) {
        const struct fm_conf_route *r = &x->routes[i];
        if (!r->relay)
            continue;
        struct fm_conf_pos at = where(l, context, i);
        if (x->ncells == 0) {
            fm_report_error(l->report, at,
                            "every region takes commands of `%s`: there is nobody to relay them to",
                            FM_Q(x->name));
            fm_report_advice(l->report, "delete the key: `relay` is for contexts that one region "
                                        "alone may write");
        } else if (!takes_commands(x, r)) {
            fm_report_error(l->report, at,
                            "only commands are relayed, and this route of `%s` takes none",
                            FM_Q(x->name));
            fm_report_advice(l->report, "delete the key; for queries there is `queries: any`");
        } else if (serving(l->conf) < 2) {
            fm_report_error(l->report, at,
                            "commands of `%s` are to be relayed to the region that holds them, and "
                            "only one region serves",
                            FM_Q(x->name));
            fm_report_advice(l->report, "delete the key, or add a region");
        }
        FM_ASSERT(l->report->errors > 0 || x->ncells > 0);
    }
}
