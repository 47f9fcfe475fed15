/* Regions and their pools of apps. Checks of regions are in checks.c. */
#include "conf/decode.h"

#include "base/assert.h"

static void decode_region(struct fm_load *l, const struct fm_schema_row *row,
                          const struct fm_node *n, unsigned index)
{
    FM_ASSERT(index < FM_CONF_REGIONS_MAX);
    struct fm_conf_region *r = &l->conf->regions[index];
    FM_ASSERT(!l->region_node[index] && n->key.p && !l->region.p);
    r->name = n->key;
    r->pos = n->key_pos;
    size_t errors = l->report->errors;
    l->region_node[index] = n;
    l->region = n->key;
    if (fm_decode_name(l, n, "a region")) {
        fm_decode_defaults(l, row->item->section, r);
        fm_decode_value(l, row->item, n, r);
    }
    if (r->witness || !fm_node_getz(n, "apps"))
        l->pools_known[index] = l->report->errors == errors;
    l->region = (struct fm_str){NULL, 0};
}

void fm_check_region(struct fm_load *l, const struct fm_node *map, void *at)
{
    const struct fm_conf_region *r = at;
    fm_node_each(n, map)
    {
        if (!r->witness || fm_str_eqz(n->key, "witness") ||
            !fm_schema_find(&fm_schema_region, n->key))
            continue;
        fm_report_error(l->report, n->key_pos, "`%s` has no meaning in `%s`, a witness",
                        FM_Q(n->key), FM_Q(r->name));
        fm_report_advice(l->report, "a witness votes and never serves: delete this key, or "
                                    "`witness: true`");
    }
}

void fm_decode_regions(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                       void *at)
{
    (void)at;
    if (!fm_decode_want(l, row, n, FM_NODE_MAP) || !fm_decode_count(l, row, n))
        return;
    l->conf->regions = fm_load_alloc(l, n->n, sizeof *l->conf->regions);
    if (!l->conf->regions)
        return;
    fm_node_each(child, n) decode_region(l, row, child, (unsigned)l->conf->nregions++);
}

static void decode_pool(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                        struct fm_conf_pool *pool)
{
    const struct fm_schema_row *list = &row->item[0], *section = &row->item[1];
    FM_ASSERT(row->nitem == 2 && section->section);
    if (n->kind == FM_NODE_LIST) {
        fm_decode_value(l, list, n, pool);
        return;
    }
    if (n->kind == FM_NODE_BAD)
        return;
    if (n->kind != FM_NODE_MAP) {
        fm_report_error(l->report, n->pos,
                        "the pool `%s` must be a list of addresses or a map with `dns`",
                        FM_Q(n->key));
        fm_report_advice(l->report, "write `[\"10.0.1.10:8080\"]` or `{dns: \"HOST:PORT\"}`");
        return;
    }
    struct fm_pool_dns by_name = {0};
    fm_decode_defaults(l, section->section, &by_name);
    fm_decode_section(l, section->section, n, &by_name);
    pool->apps = fm_load_alloc(l, 1, sizeof *pool->apps);
    if (!pool->apps || !by_name.dns.port)
        return;
    if (by_name.dns.is_ip) {
        fm_report_error(l->report, by_name.dns.pos, "`dns` must be a name, and `%s` is an address",
                        FM_Q(by_name.dns.host));
        fm_report_advice(l->report, "write the addresses as a list: `[\"%s\"]`",
                         FM_Q(by_name.dns.text));
    }
    pool->apps[0] = by_name.dns;
    pool->napps = 1;
    pool->dns = true;
    pool->refresh_ms = by_name.refresh_ms;
}

void fm_decode_pools(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                     void *at)
{
    enum { NAMES_REFRESH_MS = 5000 }; /* of host names in a list of addresses */
    struct fm_conf_region *r = at;
    FM_ASSERT(row->nitem == 2 && !r->pools);
    const struct fm_schema_row *list = &row->item[0], *named = &row->item[1];
    bool plain = n->kind == FM_NODE_LIST;
    const struct fm_node *dns = fm_node_getz(n, "dns");
    size_t errors = l->report->errors;
    if (n->kind == FM_NODE_SCALAR) {
        if (!fm_decode_want(l, list, n, FM_NODE_LIST))
            return;
    } else if (dns && dns->kind == FM_NODE_SCALAR) {
        fm_report_error(l->report, dns->key_pos, "the pool of this `dns` has no name");
        fm_report_advice(l->report, "write `apps: {default: {dns: \"%s\"}}`", FM_Q(dns->text));
        return;
    } else if (!plain &&
               (!fm_decode_want(l, row, n, FM_NODE_MAP) || !fm_decode_count(l, named, n))) {
        return;
    }
    r->pools = fm_load_alloc(l, plain ? 1 : n->n, sizeof *r->pools);
    if (!r->pools)
        return;
    if (plain) {
        r->pools[0] =
            (struct fm_conf_pool){.name = FM_STR("default"), .refresh_ms = NAMES_REFRESH_MS};
        fm_decode_value(l, list, n, &r->pools[0]);
        r->npools = 1;
    }
    for (const struct fm_node *child = plain ? NULL : n->first; child; child = child->next) {
        struct fm_conf_pool *pool = &r->pools[r->npools++];
        *pool = (struct fm_conf_pool){.name = child->key, .refresh_ms = NAMES_REFRESH_MS};
        if (fm_decode_name(l, child, "a pool"))
            decode_pool(l, named->item, child, pool);
    }
    FM_ASSERT(r >= l->conf->regions && r - l->conf->regions < FM_CONF_REGIONS_MAX);
    l->pools_known[r - l->conf->regions] = l->report->errors == errors;
}
