/* Checks: what the top level and a region say of one, together. Keeps the invariant that every
 * check of a region has exactly one type, its target, and only the keys that fit it. */
#include "conf/addr.h"
#include "conf/decode.h"

#include "base/assert.h"

enum { HTTP = 1 << FM_CHECK_HTTP, TLS = 1 << FM_CHECK_TLS, POSTGRES = 1 << FM_CHECK_POSTGRES };

static const struct {
    const char *key;
    enum fm_conf_check_type type;
} targets[] = {
    {"tcp", FM_CHECK_TCP},           {"http", FM_CHECK_HTTP}, {"redis", FM_CHECK_REDIS},
    {"dns", FM_CHECK_DNS},           {"tls", FM_CHECK_TLS},   {"command", FM_CHECK_COMMAND},
    {"postgres", FM_CHECK_POSTGRES},
};

/* Keys that not every type has. */
static const struct {
    const char *key;
    unsigned types;
} particular[] = {
    {"status", HTTP},       {"body", HTTP},
    {"name", TLS},          {"warn", TLS},
    {"user", POSTGRES},     {"password-file", POSTGRES},
    {"database", POSTGRES}, {"query", POSTGRES},
    {"access", POSTGRES},   {"replay-lag", POSTGRES},
};

void fm_decode_check_file(struct fm_load *l, const struct fm_schema_row *row,
                          const struct fm_node *n, void *at)
{
    struct fm_schema_row plain = *row;
    struct fm_fault f = {.memory = false};
    struct fm_str s = {NULL, 0};
    plain.decode = NULL;
    plain.offset = 0;
    fm_decode_value(l, &plain, n, &s);
    if (!s.p)
        return;
    if (fm_decode_expand(l, s, &s, &f))
        memcpy((char *)at + row->offset, &s, sizeof s);
    else
        fm_decode_fault(l, row, n, &f);
}

void fm_decode_http_url(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                        void *at)
{
    struct fm_conf_check *c = at;
    struct fm_conf_addr target = {.pos = n->pos};
    struct fm_fault f = {.memory = false};
    struct fm_str s;
    if (!fm_decode_text(l, row, n, &s))
        return;
    if (fm_decode_expand(l, s, &s, &f) &&
        fm_conf_addr_http_url(l->arena, s, &target, &c->path, &c->host_header, &f))
        c->target = target;
    else
        fm_decode_fault(l, row, n, &f);
}

/* Index into targets of the map's target key; -1 where it has none or is no map. */
static int target_of(const struct fm_node *n)
{
    for (size_t i = 0; n && i < FM_COUNT(targets); i++)
        if (fm_node_getz(n, targets[i].key))
            return (int)i;
    return -1;
}

static bool has_later_target(const struct fm_node *n)
{
    return n && fm_node_getz(n, "kafka");
}

static bool one_target(struct fm_load *l, const struct fm_node *n)
{
    FM_ASSERT(n->kind == FM_NODE_MAP);
    const struct fm_node *first = NULL;
    for (size_t i = 0; i < FM_COUNT(targets); i++) {
        const struct fm_node *t = fm_node_getz(n, targets[i].key);
        if (first && t) {
            fm_report_error(l->report, t->key_pos, "a second target: `%s` besides `%s`",
                            FM_Q(t->key), FM_Q(first->key));
            fm_report_advice(l->report, "one check asks one thing; make two checks of it");
            return false;
        }
        first = first ? first : t;
    }
    return true;
}

/* A key of the type that the check has not. */
static void check_fit(struct fm_load *l, const struct fm_node *n, int target)
{
    FM_ASSERT(target >= 0 && (size_t)target < FM_COUNT(targets));
    for (size_t i = 0; n && i < FM_COUNT(particular); i++) {
        const struct fm_node *k = fm_node_getz(n, particular[i].key);
        if (!k || (particular[i].types & 1u << targets[target].type))
            continue;
        fm_report_error(l->report, k->key_pos, "`%s` does not fit a check of the type `%s`",
                        FM_Q(k->key), targets[target].key);
        fm_report_advice(l->report, "it belongs to checks of the type `%s`",
                         particular[i].types == HTTP  ? "http"
                         : particular[i].types == TLS ? "tls"
                                                      : "postgres");
    }
}

/* The place of a key: in the region's map, else in the top level's, else the check's name. */
static struct fm_conf_pos where(const struct fm_node *top, const struct fm_node *own,
                                const char *key)
{
    FM_ASSERT(top || own);
    const struct fm_node *n = fm_node_getz(own, key);
    n = n ? n : fm_node_getz(top, key);
    return n ? n->pos : own ? own->key_pos : top->key_pos;
}

static bool said(const struct fm_node *top, const struct fm_node *own, const char *key)
{
    return fm_node_getz(own, key) || fm_node_getz(top, key);
}

/* Room for a result that is late, twice. */
static int64_t default_max_age_ms(const struct fm_conf_check *c)
{
    int64_t runs = 6 * c->interval_ms, twice = 2 * (c->interval_ms + c->timeout_ms);
    int64_t most = runs > twice ? runs : twice;
    return most > 3000 ? most : 3000;
}

/* Defaults that depend on the type, and rules among the keys. */
static void complete(struct fm_load *l, const struct fm_node *top, const struct fm_node *own,
                     struct fm_conf_check *c)
{
    FM_ASSERT(c->interval_ms > 0 && c->timeout_ms > 0 && c->fall > 0 && c->rise > 0);
    if (c->type == FM_CHECK_COMMAND && !said(top, own, "timeout"))
        c->timeout_ms = 2000;
    if (!said(top, own, "max-age"))
        c->max_age_ms = default_max_age_ms(c);
    if (c->type == FM_CHECK_TLS && !c->server_name.p) {
        if (c->target.is_ip) {
            fm_report_error(l->report, where(top, own, "tls"),
                            "`%s` is an IP address, so the name to verify must be said",
                            FM_Q(c->target.host));
            fm_report_advice(l->report, "add `name: NAME-IN-THE-CERTIFICATE`");
        }
        c->server_name = c->target.host;
    }
    if (c->latency_ms > c->timeout_ms) {
        fm_report_error(l->report, where(top, own, "latency"),
                        "`latency` (%s) is more than `timeout` (%s), so it decides nothing",
                        fm_scalar_duration_text(c->latency_ms).s,
                        fm_scalar_duration_text(c->timeout_ms).s);
        fm_report_advice(l->report, "lower it, or raise `timeout`");
    }
    if (c->max_age_ms < c->interval_ms + c->timeout_ms) {
        fm_report_error(l->report, where(top, own, "max-age"),
                        "`max-age` (%s) is less than `interval` (%s) and `timeout` (%s) together, "
                        "so good results would expire before the next",
                        fm_scalar_duration_text(c->max_age_ms).s,
                        fm_scalar_duration_text(c->interval_ms).s,
                        fm_scalar_duration_text(c->timeout_ms).s);
        fm_report_advice(l->report, "raise it, or leave it away for the default");
    }
}

static void no_target(struct fm_load *l, const struct fm_node *n)
{
    fm_report_error(l->report, n->key_pos, "the check `%s` has no target", FM_Q(n->key));
    fm_report_advice(l->report, "add one of `tcp`, `http`, `redis`, `dns`, `tls`, `command`, "
                                "`postgres`");
}

/* One check of region `r` from the two maps, of which one may be missing. */
static void resolve(struct fm_load *l, const struct fm_node *top, const struct fm_node *own,
                    struct fm_conf_region *r)
{
    const struct fm_node *any = own ? own : top;
    FM_ASSERT(top || own);
    struct fm_conf_check *c = &r->checks[r->nchecks];
    size_t errors = l->report->errors;
    int target = target_of(own) >= 0 ? target_of(own) : target_of(top);
    if (target < 0) {
        if (own && !has_later_target(own) && !has_later_target(top))
            no_target(l, own);
        return;
    }
    *c = (struct fm_conf_check){.name = any->key, .pos = any->key_pos};
    fm_decode_defaults(l, &fm_schema_check, c);
    if (top)
        fm_decode_section(l, &fm_schema_check, top, c);
    if (top && target_of(own) >= 0) { /* the region's target, and nothing of the other */
        c->path = c->host_header = (struct fm_str){NULL, 0};
        c->command = NULL;
        c->ncommand = 0;
        if (!fm_node_getz(top, "name"))
            c->server_name = (struct fm_str){NULL, 0};
    }
    if (own)
        fm_decode_section(l, &fm_schema_check, own, c);
    FM_ASSERT((size_t)target < FM_COUNT(targets));
    c->type = targets[target].type;
    check_fit(l, top, target);
    check_fit(l, own, target);
    if (l->report->errors == errors)
        complete(l, top, own, c);
    r->nchecks++;
}

/* The map of checks, or NULL; each entry looked at by itself. */
static const struct fm_node *usable(struct fm_load *l, const struct fm_schema_row *row,
                                    const struct fm_node *n)
{
    if (!n || !fm_decode_want(l, row, n, FM_NODE_MAP) || !fm_decode_count(l, row, n))
        return NULL;
    return n;
}

/* Alone: syntax and at most one target. Whether it is whole shows in a region. */
static bool check_entry(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n)
{
    struct fm_conf_check scratch = {0};
    size_t errors = l->report->errors;
    fm_decode_defaults(l, &fm_schema_check, &scratch);
    if (fm_decode_name(l, n, "a check"))
        fm_decode_value(l, row->item, n, &scratch);
    return l->report->errors == errors && n->kind == FM_NODE_MAP && one_target(l, n);
}

void fm_decode_checks(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                      void *at)
{
    (void)at;
    l->region = FM_STR("region"); /* any: targets here are expanded again for each region */
    l->checks_bad = !usable(l, row, n);
    for (const struct fm_node *c = l->checks_bad ? NULL : n->first; c; c = c->next)
        l->checks_bad |= !check_entry(l, row, c);
    l->region = (struct fm_str){NULL, 0};
}

static void resolve_region(struct fm_load *l, const struct fm_node *top, unsigned index)
{
    const struct fm_schema_row *row = fm_schema_find(&fm_schema_region, FM_STR("checks"));
    FM_ASSERT(row && index < l->conf->nregions && !l->conf->regions[index].checks);
    struct fm_conf_region *r = &l->conf->regions[index];
    size_t errors = l->report->errors;
    const struct fm_node *own = fm_node_getz(l->region_node[index], "checks");
    l->region = r->name;
    bool bad = own && !usable(l, row, own);
    own = bad ? NULL : own;
    r->checks =
        fm_load_alloc(l, (size_t)(top ? top->n : 0) + (own ? own->n : 0), sizeof *r->checks);
    for (const struct fm_node *c = own ? own->first : NULL; r->checks && c; c = c->next) {
        if (!check_entry(l, row, c))
            bad = true;
        else if (!l->checks_bad)
            resolve(l, fm_node_get(top, c->key), c, r);
    }
    for (const struct fm_node *c = top ? top->first : NULL; r->checks && c; c = c->next)
        if (!l->checks_bad && !fm_node_get(own, c->key))
            resolve(l, c, NULL, r);
    FM_ASSERT(r->nchecks <= (top ? top->n : 0) + (own ? own->n : 0));
    if (r->nchecks > FM_CONF_CHECKS_MAX)
        fm_report_error(l->report, r->pos, "region `%s` has %zu checks, and the bound is %d",
                        FM_Q(r->name), r->nchecks, FM_CONF_CHECKS_MAX);
    l->region = (struct fm_str){NULL, 0};
    l->region_checks_known[index] = !bad && !l->checks_bad && l->report->errors == errors;
}

/* A check of the top level that no region can run. */
static void unused(struct fm_load *l, const struct fm_node *top)
{
    fm_node_each(c, top)
    {
        bool used = target_of(c) >= 0 || has_later_target(c) || c->kind != FM_NODE_MAP;
        for (size_t i = 0; i < l->conf->nregions; i++)
            used |= fm_node_get(fm_node_getz(l->region_node[i], "checks"), c->key) != NULL;
        if (!used) {
            fm_report_error(l->report, c->key_pos, "the check `%s` has no target in any region",
                            FM_Q(c->key));
            fm_report_advice(l->report, "add `regions.REGION.checks.%s: {tcp: \"HOST:PORT\"}`",
                             FM_Q(c->key));
        }
    }
}

void fm_checks_resolve(struct fm_load *l)
{
    const struct fm_node *top = fm_node_getz(l->root->node, "checks");
    if (top && top->kind != FM_NODE_MAP)
        top = NULL;
    for (unsigned i = 0; i < l->conf->nregions; i++)
        if (!l->conf->regions[i].witness)
            resolve_region(l, top, i);
    if (top && !l->checks_bad)
        unused(l, top);
}
