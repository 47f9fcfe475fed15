/* Rules that look at more than one place of the configuration, after all of it is decoded. What had
 * errors of its own is passed over, so that one mistake is told once. Each function is one rule. */
#include "conf/addr.h"
#include "conf/decode.h"

#include "base/assert.h"

/* Has an agent, with an address that could be read. */
static bool is_agent(const struct fm_conf_host *h)
{
    return h->roles & FM_ROLES_AGENT && h->peer.host.p;
}

/* Regions, contexts and hosts share one namespace: a command names one of them. */
static void unique_names(struct fm_load *l)
{
    struct fm_conf *c = l->conf;
    size_t nfixed = c->nregions + c->ncontexts, n = nfixed + c->nhosts;
    for (size_t i = c->nregions; i < n; i++) {
        bool context = i < nfixed;
        struct fm_str name =
            context ? c->contexts[i - c->nregions].name : c->hosts[i - nfixed].name;
        struct fm_conf_pos pos =
            context ? c->contexts[i - c->nregions].pos : c->hosts[i - nfixed].pos;
        for (size_t k = 0; k < i; k++) {
            const char *what = k < c->nregions ? "region" : k < nfixed ? "context" : "host";
            struct fm_str other = k < c->nregions ? c->regions[k].name
                                  : k < nfixed    ? c->contexts[k - c->nregions].name
                                                  : c->hosts[k - nfixed].name;
            struct fm_conf_pos at = k < c->nregions ? c->regions[k].pos
                                    : k < nfixed    ? c->contexts[k - c->nregions].pos
                                                    : c->hosts[k - nfixed].pos;
            if (!fm_str_eq(name, other))
                continue;
            fm_report_error(l->report, pos, "the %s `%s` has the name of a %s (%s:%u:%u)",
                            context ? "context" : "host", FM_Q(name), what, FM_Q(fm_str_z(at.file)),
                            at.line, at.col);
            fm_report_advice(l->report, "names of regions, contexts and hosts must differ: a "
                                        "command may name any of them");
            break;
        }
    }
}

/* What two hosts are reached at, or bind on one machine, must differ. */
static void host_addresses(struct fm_load *l)
{
    struct fm_conf *c = l->conf;
    for (size_t i = 0; i < c->nhosts; i++) {
        const struct fm_conf_host *b = &c->hosts[i];
        if ((b->roles & FM_ROLE_GATE) && fm_conf_addr_overlap(&b->gate_bind, &b->peer_bind)) {
            fm_report_error(l->report, b->pos, "`gate` and `peer` of host `%s` are both `%s`",
                            FM_Q(b->name), FM_Q(b->gate_bind.text));
            fm_report_advice(l->report, "give each its own port");
        }
        for (size_t k = 0; k < i; k++) {
            const struct fm_conf_host *a = &c->hosts[k];
            bool agents = is_agent(a) && is_agent(b);
            bool gates = agents && a->roles & b->roles & FM_ROLE_GATE;
            const char *what = gates && fm_str_eq(a->gate.text, b->gate.text)    ? "gate"
                               : agents && fm_str_eq(a->peer.text, b->peer.text) ? "peer"
                                                                                 : NULL;
            if (!what)
                continue;
            fm_report_error(l->report, b->pos, "the hosts `%s` and `%s` have the same `%s`, `%s`",
                            FM_Q(a->name), FM_Q(b->name), what,
                            FM_Q(what[0] == 'g' ? b->gate.text : b->peer.text));
            fm_report_advice(l->report, "give them different addresses ({host} helps in a range) "
                                        "or, on one machine, different `gate` and `peer`");
            break;
        }
    }
}

/* Agents of one machine: loopback addresses are the same place, so `admin` must differ. */
static void host_admins(struct fm_load *l)
{
    struct fm_conf *c = l->conf;
    for (size_t i = 0; i < c->nhosts; i++) {
        const struct fm_conf_host *b = &c->hosts[i];
        if (!is_agent(b) || !fm_conf_addr_is_loopback(&b->peer))
            continue;
        for (size_t k = 0; k < i; k++) {
            const struct fm_conf_host *a = &c->hosts[k];
            if (!is_agent(a) || !fm_str_eq(a->admin.text, b->admin.text) ||
                !fm_conf_addr_is_loopback(&a->peer))
                continue;
            fm_report_error(l->report, b->pos,
                            "the agents of `%s` and `%s` run on one machine and have the same "
                            "`admin`, `%s`",
                            FM_Q(a->name), FM_Q(b->name), FM_Q(b->admin.text));
            fm_report_advice(l->report, "give one of them another `admin`");
            break;
        }
    }
}

/* Nobody sends traffic between machines in the clear without having said so. */
static void peer_tls(struct fm_load *l)
{
    if (fm_node_getz(l->root->node, "peer-tls"))
        return;
    for (size_t i = 0; i < l->conf->nhosts; i++) {
        const struct fm_conf_host *h = &l->conf->hosts[i];
        if (!is_agent(h) || fm_conf_addr_is_loopback(&h->peer))
            continue;
        fm_report_error(l->report, h->pos,
                        "the agent of `%s` is reached beyond loopback, and `peer-tls` is not said",
                        FM_Q(h->name));
        fm_report_advice(l->report,
                         "make certificates (`fulmar help certs init`) and add "
                         "`peer-tls: {ca: peers-ca.pem, cert: \"{host}.pem\", "
                         "key: \"{host}.key\"}`, or `peer-tls: plaintext` if the network between "
                         "the hosts is trusted");
        return;
    }
}

static void region_health(struct fm_load *l)
{
    for (size_t i = 0; i < l->conf->nregions; i++) {
        const struct fm_conf_region *r = &l->conf->regions[i];
        if (!r->has_gates || r->has_health || l->hosts_bad)
            continue;
        fm_report_error(l->report, r->pos,
                        "region `%s` has a gate, but no host with the role `health`",
                        FM_Q(r->name));
        fm_report_advice(l->report,
                         "edges ask the agents of a region with gates for its health: "
                         "add the role to a host of `%s`",
                         FM_Q(r->name));
    }
}

static void regions_serve(struct fm_load *l)
{
    const struct fm_conf *c = l->conf;
    for (size_t i = 0; i < c->nregions; i++)
        if (!c->regions[i].witness)
            return;
    if (!c->nregions)
        return; /* told: they are missing, or empty */
    fm_report_error(l->report, c->regions[0].pos, "no region serves: all of them are witnesses");
    fm_report_advice(l->report, "add a region with `apps`");
}

static bool all_have(const struct fm_conf *c, struct fm_str pool)
{
    for (size_t i = 0; i < c->nregions; i++)
        if (!c->regions[i].witness && fm_conf_find_pool(&c->regions[i], pool) < 0)
            return false;
    return true;
}

/* Without `app`: the pool `default`, or the only one. */
static void choose_pool(struct fm_load *l, struct fm_conf_context *ctx)
{
    struct fm_conf *c = l->conf;
    FM_ASSERT(c->nregions > 0 && !ctx->app.p);
    struct fm_str only = {NULL, 0};
    for (size_t i = 0; i < c->nregions; i++) {
        const struct fm_conf_region *r = &c->regions[i];
        if (!r->witness && (r->npools != 1 || !only.p))
            only = r->npools == 1 ? r->pools[0].name : FM_STR("default");
    }
    if (!only.p)
        return; /* told: no region serves */
    if (all_have(c, FM_STR("default")))
        ctx->app = FM_STR("default");
    else if (all_have(c, only))
        ctx->app = only;
    if (ctx->app.p)
        return;
    fm_report_error(l->report, ctx->pos, "the context `%s` does not say which pool serves it",
                    FM_Q(ctx->name));
    fm_report_advice(l->report, "add `app: POOL`: there is no pool that is the only one, or named "
                                "`default`, in every region");
}

static void context_pool(struct fm_load *l, struct fm_conf_context *ctx, const struct fm_node *n)
{
    struct fm_conf *c = l->conf;
    const struct fm_node *app = fm_node_getz(n, "app");
    bool all = c->nregions > 0;
    for (size_t i = 0; i < c->nregions; i++)
        all &= l->pools_known[i];
    if (fm_conf_is_database(ctx))
        return;
    if (!app && all)
        choose_pool(l, ctx);
    for (size_t i = 0; app && ctx->app.p && i < c->nregions; i++) {
        const struct fm_conf_region *r = &c->regions[i];
        struct fm_str names[FM_CONF_POOLS_MAX];
        FM_ASSERT(r->npools <= FM_CONF_POOLS_MAX);
        if (r->witness || !l->pools_known[i] || fm_conf_find_pool(r, ctx->app) >= 0)
            continue;
        for (size_t k = 0; k < r->npools; k++)
            names[k] = r->pools[k].name;
        struct fm_str near = fm_suggest_name(ctx->app, names, r->npools);
        fm_report_error(l->report, app->pos, "region `%s` has no pool `%s`", FM_Q(r->name),
                        FM_Q(ctx->app));
        if (near.p)
            fm_report_advice(l->report, "did you mean `%s`?", near.p);
        else
            fm_report_advice(l->report,
                             "add it to `regions.%s.apps`: every region serves every "
                             "context",
                             FM_Q(r->name));
    }
}

/* Each check that is needed exists where agents could run it. */
static void context_needs(struct fm_load *l, const struct fm_node *n)
{
    struct fm_conf *c = l->conf;
    struct fm_fault f;
    const struct fm_node *needs = fm_node_getz(n, "needs");
    for (const struct fm_node *need = needs ? needs->first : NULL; need; need = need->next) {
        if (need->kind != FM_NODE_SCALAR || !fm_scalar_name(need->text, &f))
            continue;
        for (size_t i = 0; i < c->nregions; i++) {
            const struct fm_conf_region *r = &c->regions[i];
            struct fm_str names[FM_CONF_CHECKS_MAX];
            FM_ASSERT(r->nchecks <= FM_CONF_CHECKS_MAX || !l->region_checks_known[i]);
            if (!r->has_health || !l->region_checks_known[i] ||
                fm_conf_find_check(r, need->text) >= 0)
                continue;
            for (size_t k = 0; k < r->nchecks; k++)
                names[k] = r->checks[k].name;
            struct fm_str near = fm_suggest_name(need->text, names, r->nchecks);
            fm_report_error(l->report, need->pos, "region `%s` has no check `%s`", FM_Q(r->name),
                            FM_Q(need->text));
            if (near.p)
                fm_report_advice(l->report, "did you mean `%s`?", near.p);
            else
                fm_report_advice(l->report, "add it to `regions.%s.checks`", FM_Q(r->name));
        }
    }
}

static bool any_health(const struct fm_conf *c)
{
    for (size_t i = 0; i < c->nregions; i++)
        if (c->regions[i].has_health)
            return true;
    return false;
}

/* What is allowed and probably not meant. */
static void context_warnings(struct fm_load *l, const struct fm_conf_context *ctx,
                             const struct fm_node *n)
{
    const struct fm_node *needs = fm_node_getz(n, "needs");
    bool health = any_health(l->conf);
    if (l->hosts_bad)
        return;
    if (ctx->nneeds && !health) {
        fm_report_warning(l->report, needs->key_pos,
                          "nobody checks what `%s` needs: no host has the role `health`",
                          FM_Q(ctx->name));
        fm_report_advice(l->report, "run an agent in each region, or leave `needs` away");
    }
    if (!ctx->nneeds && health && !needs && !fm_conf_is_database(ctx)) {
        fm_report_warning(l->report, ctx->pos,
                          "the health of `%s` is shallow: it needs no check, so a region whose "
                          "dependencies are down looks well",
                          FM_Q(ctx->name));
        fm_report_advice(l->report, "name its dependencies in `needs`, or write `needs: []`");
    }
    if (ctx->retry.hedge == FM_HEDGE_FIXED && ctx->retry.hedge_ms >= ctx->timeouts.first_byte_ms) {
        fm_report_warning(l->report, ctx->pos,
                          "`%s` never hedges: `hedge-after` is not below `timeouts.first-byte`",
                          FM_Q(ctx->name));
        fm_report_advice(l->report, "lower it, or write `never`");
    }
}

static void contexts(struct fm_load *l)
{
    for (size_t i = 0; i < l->conf->ncontexts; i++) {
        struct fm_conf_context *ctx = &l->conf->contexts[i];
        FM_ASSERT(l->context_node[i]);
        context_pool(l, ctx, l->context_node[i]);
        context_needs(l, l->context_node[i]);
        if (!l->context_bad[i])
            context_warnings(l, ctx, l->context_node[i]);
    }
}

/* Whoever may write X-Forwarded-For may be any client. */
static void trust(struct fm_load *l)
{
    const struct fm_conf_edge *e = &l->conf->edge;
    const struct fm_node *list =
        fm_node_getz(fm_node_getz(l->root->node, "edge"), "trust-forwarded");
    const struct fm_node *n = list && list->n == e->ntrust_forwarded ? list->first : NULL;
    for (size_t i = 0; n && i < e->ntrust_forwarded; i++, n = n->next) {
        bool all4 = e->trust_forwarded[i].bits == 96 && e->trust_forwarded[i].addr[10] == 0xff;
        bool all6 = e->trust_forwarded[i].bits == 0 && fm_str_eqz(n->text, "::/0");
        if (!all4 && !all6)
            continue;
        fm_report_warning(l->report, n->pos, "everybody's X-Forwarded-For is believed by `%s`",
                          FM_Q(n->text));
        fm_report_advice(l->report, "name the balancers in front of the edge");
    }
}

static void edges(struct fm_load *l)
{
    const struct fm_conf *c = l->conf;
    const struct fm_conf_host *edge = NULL;
    bool agents = false;
    for (size_t i = 0; i < c->nhosts; i++) {
        edge = !edge && c->hosts[i].roles & FM_ROLE_EDGE ? &c->hosts[i] : edge;
        agents |= is_agent(&c->hosts[i]);
    }
    if (fm_node_getz(l->root->node, "edge") || l->hosts_bad)
        return;
    if (edge) {
        fm_report_warning(l->report, edge->pos,
                          "host `%s` has the role `edge`, and there is no section `edge`",
                          FM_Q(edge->name));
        fm_report_advice(l->report, "add `edge: {listen: [{address: \"0.0.0.0:80\"}]}`");
    } else if (!agents) {
        fm_report_warning(l->report, (struct fm_conf_pos){c->file.p, 1, 1},
                          "nothing runs by this file: it has neither `edge` nor `hosts`");
        fm_report_advice(l->report, "add `edge: {listen: [{address: \"0.0.0.0:80\"}]}`");
    }
}

void fm_validate(struct fm_load *l)
{
    FM_ASSERT(l->conf->nregions <= FM_CONF_REGIONS_MAX &&
              l->conf->ncontexts <= FM_CONF_CONTEXTS_MAX);
    FM_ASSERT(l->conf->nhosts <= FM_CONF_HOSTS_MAX && l->conf->nroutes <= FM_CONF_ROUTES_MAX);
    fm_checks_resolve(l);
    unique_names(l);
    host_addresses(l);
    host_admins(l);
    peer_tls(l);
    fm_coordination_check(l);
    region_health(l);
    regions_serve(l);
    fm_alone_check(l);
    fm_authority_resolve(l);
    contexts(l);
    fm_groups_check(l);
    fm_exclusive_check(l);
    for (size_t i = 0; i < l->conf->ncontexts; i++)
        if (!l->context_bad[i])
            fm_onward_check(l, i);
    fm_webhook_check(l);
    fm_routes_check(l);
    edges(l);
    trust(l);
}
