/* The zones in which the nodes of a group stand: what is lost with one of them is said before. */
#include "base/assert.h"
#include "conf/decode.h"

/* Of some hosts of a region. */
struct zone {
    struct fm_str name;                       /* that one of them says, or all */
    const struct fm_conf_host *silent, *said; /* one that says none, and one that does */
    bool several;                             /* they say different ones */
    size_t n;                                 /* how many hosts */
};

static void add_zone(struct zone *z, const struct fm_conf_host *h)
{
    z->n++;
    if (!h->zone.n) {
        z->silent = h;
        return;
    }
    z->several |= z->said && !fm_str_eq(z->said->zone, h->zone);
    z->said = h;
    z->name = h->zone;
}

static bool is_one(const struct zone *z)
{
    FM_ASSERT(z->n > 0 || !z->said);
    return z->said && !z->silent && !z->several;
}

/* Of those that could go on. */
static struct zone zone_of_nodes(const struct fm_conf *c, const struct fm_conf_group *g,
                                 unsigned region)
{
    struct zone z = {.n = 0};
    for (size_t i = 0; i < g->nnodes; i++)
        if (c->hosts[g->nodes[i].host].region == region && g->nodes[i].delay_ms == 0)
            add_zone(&z, &c->hosts[g->nodes[i].host]);
    return z;
}

static struct zone zone_of_controllers(const struct fm_conf *c, unsigned region)
{
    struct zone z = {.n = 0};
    for (size_t i = 0; i < c->nhosts; i++)
        if (c->hosts[i].region == region && c->hosts[i].roles & FM_ROLE_CONTROLLER)
            add_zone(&z, &c->hosts[i]);
    return z;
}

/* Whoever stands in a zone is lost with it. */
static void zones_of(struct fm_load *l, size_t group, unsigned region)
{
    const struct fm_conf *c = l->conf;
    const struct fm_conf_group *g = &c->groups[group];
    const struct fm_node *at = fm_node_getz(l->group_node[group], "nodes");
    struct zone nodes = zone_of_nodes(c, g, region), keepers = zone_of_controllers(c, region);
    struct fm_str where = c->regions[region].name;
    FM_ASSERT(at && nodes.n <= g->nnodes);
    if (nodes.said && nodes.silent) {
        fm_report_warning(l->report, nodes.silent->pos,
                          "host `%s` says no `zone`, and `%s` of the same region does",
                          FM_Q(nodes.silent->name), FM_Q(nodes.said->name));
        fm_report_advice(l->report, "add `zone` to `hosts.%s`", FM_Q(nodes.silent->name));
    } else if (nodes.n > 1 && is_one(&nodes)) {
        fm_report_warning(l->report, at->key_pos,
                          "all nodes of `%s` in `%s` stand in its zone `%s`, and are lost with it",
                          FM_Q(g->name), FM_Q(where), FM_Q(nodes.name));
        fm_report_advice(l->report, "let one of them stand in another zone");
    } else if (nodes.several && is_one(&keepers)) {
        fm_report_warning(l->report, at->key_pos,
                          "the nodes of `%s` in `%s` stand in several zones, and all hosts there "
                          "with the role `controller` in `%s`: nobody of `%s` goes on without it",
                          FM_Q(g->name), FM_Q(where), FM_Q(keepers.name), FM_Q(where));
        fm_report_advice(l->report, "give a host in another zone the role `controller`");
    }
}

/* `in-region: sync` is about the second node of a region. */
static void seconds(struct fm_load *l, size_t group)
{
    const struct fm_conf *c = l->conf;
    const struct fm_conf_group *g = &c->groups[group];
    const struct fm_node *replication = fm_node_getz(l->group_node[group], "replication");
    if (g->replication.in_region != FM_CONF_IN_REGION_SYNC)
        return;
    for (unsigned r = 0; r < c->nregions; r++)
        if (zone_of_nodes(c, g, r).n > 1)
            return;
    const struct fm_node *n = fm_node_getz(replication, "in-region");
    FM_ASSERT(n);
    fm_report_warning(l->report, n->pos,
                      "no region has two nodes of `%s` that could go on, and `in-region` says "
                      "nothing",
                      FM_Q(g->name));
    fm_report_advice(l->report, "add a second node of a region to `nodes`, or delete it");
}

void fm_groups_zones(struct fm_load *l, size_t group)
{
    FM_ASSERT(group < l->conf->ngroups && !l->group_bad[group]);
    seconds(l, group);
    for (unsigned r = 0; r < l->conf->nregions; r++)
        zones_of(l, group, r);
}
