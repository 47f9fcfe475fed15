/* Contexts that are only a database: they have a group with nodes, and neither routes nor an
 * application. Each function is one rule. What has errors of its own is passed over. */
#include "base/assert.h"
#include "conf/decode.h"

static bool has_routes(const struct fm_load *l, size_t context)
{
    return fm_node_getz(l->context_node[context], "routes") != NULL;
}

static bool has_apps(const struct fm_load *l, size_t region)
{
    return fm_node_getz(l->region_node[region], "apps") != NULL;
}

/* Also one that is not right yet. */
static bool is_in_a_group(const struct fm_load *l, size_t context)
{
    const struct fm_node *groups = fm_node_getz(l->root->node, "groups");
    for (const struct fm_node *g = groups ? groups->first : NULL; g; g = g->next) {
        const struct fm_node *list = fm_node_getz(g, "contexts");
        for (const struct fm_node *n = list ? list->first : NULL; n; n = n->next)
            if (n->kind == FM_NODE_SCALAR && fm_str_eq(n->text, l->conf->contexts[context].name))
                return true;
    }
    return false;
}

static void missing(struct fm_load *l, const struct fm_schema_section *s, const char *key,
                    const struct fm_node *map)
{
    const struct fm_schema_row *row = fm_schema_find(s, fm_str_z(key));
    FM_ASSERT(row);
    fm_decode_missing(l, row, map);
}

/* Requests without anybody to go to. */
static void needs_no_routes(struct fm_load *l, size_t context)
{
    const struct fm_conf_context *x = &l->conf->contexts[context];
    const struct fm_node *routes = fm_node_getz(l->context_node[context], "routes");
    l->context_bad[context] = true;
    fm_report_error(l->report, routes->key_pos,
                    "requests of `%s` have nowhere to go: no region has `apps`", FM_Q(x->name));
    fm_report_advice(l->report, "add `apps` to each region, or delete `routes`: a context that is "
                                "only a database has neither");
}

/* Keys that say something of an application, or of its requests. */
static void keys(struct fm_load *l, size_t context)
{
    static const char *const of_apps[] = {"app",     "hosts",       "key",    "commands", "queries",
                                          "standby", "idempotency", "sticky", "retry",    "limits"};
    const struct fm_conf_context *x = &l->conf->contexts[context];
    for (size_t i = 0; i < FM_COUNT(of_apps); i++) {
        const struct fm_node *said = fm_node_getz(l->context_node[context], of_apps[i]);
        if (!said)
            continue;
        l->context_bad[context] = true;
        fm_report_error(l->report, said->key_pos,
                        "`%s` means nothing in `%s`, which has no `routes`: it is only a database",
                        of_apps[i], FM_Q(x->name));
        fm_report_advice(l->report, "delete it, or add `routes`");
    }
}

static void without_routes(struct fm_load *l, size_t context)
{
    const struct fm_conf_context *x = &l->conf->contexts[context];
    int group = fm_conf_group_of(l->conf, (unsigned)context);
    if (!is_in_a_group(l, context)) {
        l->context_bad[context] = true;
        missing(l, &fm_schema_context, "routes", l->context_node[context]);
    } else if (l->context_bad[context]) {
        return;
    } else if (group >= 0 && !l->group_bad[group] && l->conf->groups[group].hooks.present) {
        l->context_bad[context] = true;
        fm_report_error(l->report, x->pos,
                        "`%s` has no `routes`, and Fulmar does not run the data of its group: "
                        "nothing would be left",
                        FM_Q(x->name));
        fm_report_advice(l->report, "add `routes: [\"/**\"]`, or give the group `nodes`");
    } else {
        keys(l, context);
    }
}

void fm_alone_check(struct fm_load *l)
{
    const struct fm_conf *c = l->conf;
    bool any_apps = false, any_routes = false, nowhere = false;
    for (size_t r = 0; r < c->nregions; r++)
        any_apps |= has_apps(l, r);
    for (size_t i = 0; i < c->ncontexts; i++) {
        bool routes = has_routes(l, i), alone = !any_apps && is_in_a_group(l, i);
        any_routes |= routes && !alone;
        nowhere |= routes && alone;
        if (!routes)
            without_routes(l, i);
        else if (alone && !l->context_bad[i])
            needs_no_routes(l, i);
    }
    for (size_t r = 0; r < c->nregions && (any_routes || nowhere); r++) {
        if (c->regions[r].witness || has_apps(l, r) || !l->pools_known[r])
            continue;
        l->pools_known[r] = false; /* told */
        if (any_routes)
            missing(l, &fm_schema_region, "apps", l->region_node[r]);
    }
}
