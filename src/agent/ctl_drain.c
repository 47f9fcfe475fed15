/* `drain` and `undrain` against their guards: of a region, of one context of it, of a host, of one
 * instance. What is allowed becomes a record (ctl_intent.c). */
#include "agent/ctl_order.h"

#include "base/assert.h"
#include "base/buf.h"
#include "core/drain.h"
#include "proxy/view_intent.h"

#include <stdio.h>

enum { FOR_MAX_DAYS = 366 };

/* -------- what there would be -------- */

/* May any region answer something of it? */
static bool is_shared(const struct fm_conf_context *c)
{
    return c->ncells == 0 || c->queries_any;
}

static void text_of_name(char out[FM_ROSTER_NAME_ROOM], struct fm_str name)
{
    snprintf(out, FM_ROSTER_NAME_ROOM, "%.*s", FM_STR_ARG(name));
}

/* Drained already, or by this order. */
static bool would_drain(struct ctl_order *o, const struct fm_intent_about *at)
{
    return ctl_intent_drains(ctl_intent_find(o->ctl, at)) ||
           (o->intended.i.serve_permille == 0 && fm_intent_is_same(at, &o->intended.at));
}

/* Of a pool: who would be there, of how many. Where the order is about one of them, those of this
 * host's region are also looked at. */
static unsigned instances_left(struct ctl_order *o, unsigned r, unsigned p, unsigned *all)
{
    struct fm_controller *ctl = o->ctl;
    const struct fm_conf_region *cr = &ctl->conf->regions[r];
    const struct fm_conf_pool *pool = &cr->pools[p];
    struct fm_intent_about at = {.region = ""};
    bool looks = ctl->c.reaches && o->intended.at.address[0] && o->region == (int)ctl->region &&
                 fm_str_eqz(cr->name, ctl->c.roster->region[ctl->region]);
    unsigned left = 0;
    *all = pool->dns ? 0 : (unsigned)pool->napps; /* whose number nobody knows */
    text_of_name(at.region, cr->name);
    text_of_name(at.name, pool->name);
    for (unsigned i = 0; i < *all; i++) {
        struct fm_str address = pool->apps[i].text;
        if (address.n > FM_VIEW_DOC_ADDRESS_MAX)
            continue;
        memset(at.address, 0, sizeof at.address);
        memcpy(at.address, address.p, address.n);
        left += !would_drain(o, &at) && (!looks || ctl->c.reaches(ctl->c.user, p, address));
    }
    return left;
}

static unsigned gates_left(struct ctl_order *o, unsigned r, unsigned *all)
{
    const struct fm_controller *ctl = o->ctl;
    const struct fm_conf *conf = ctl->conf;
    struct fm_intent_about at = {.region = ""};
    unsigned left = 0;
    *all = 0;
    text_of_name(at.region, conf->regions[r].name);
    for (size_t i = 0; i < conf->nhosts; i++) {
        if (conf->hosts[i].region != r || !(conf->hosts[i].roles & FM_ROLE_GATE))
            continue;
        text_of_name(at.name, conf->hosts[i].name);
        int host = fm_roster_find_host(ctl->c.roster, conf->hosts[i].name);
        (*all)++;
        left += !would_drain(o, &at) && (host < 0 || !ctl->host[host].dead_life);
    }
    return left;
}

/* Permille of what the region may get of this context. */
static unsigned serve_of(struct ctl_order *o, unsigned r, const struct fm_conf_context *c)
{
    const struct fm_conf_region *cr = &o->ctl->conf->regions[r];
    const struct ctl_intended *x = &o->intended;
    struct fm_intent_about whole = {.region = ""}, one;
    unsigned serve = FM_INTENT_ALL, all;
    if (cr->witness)
        return 0;
    text_of_name(whole.region, cr->name);
    one = whole;
    text_of_name(one.name, c->name);
    const struct fm_intent_about *about[] = {&whole, &one};
    for (unsigned k = 0; k < FM_COUNT(about); k++) {
        const struct ctl_intent *i = ctl_intent_find(o->ctl, about[k]);
        if (i && i->i.serve_permille < serve)
            serve = i->i.serve_permille;
        if (fm_intent_is_same(about[k], &x->at) && x->i.serve_permille < serve)
            serve = x->i.serve_permille;
    }
    int pool = fm_conf_find_pool(cr, c->app);
    unsigned left = pool < 0 ? 0 : instances_left(o, r, (unsigned)pool, &all);
    if (pool >= 0)
        serve = fm_drain_share(serve, left, all);
    left = gates_left(o, r, &all);
    return fm_drain_share(serve, left, all);
}

/* Not heard for a while; or, of a context that agents vote about, no gate of it can serve it. */
static bool is_lost(const struct fm_controller *ctl, struct fm_str region, struct fm_str context)
{
    int r = fm_roster_region(ctl->c.roster, region), c = fm_roster_context(ctl->c.roster, context);
    if (r < 0 || !(ctl->observers >> r & 1))
        return false;
    const struct fm_vote *mine = &ctl->votes.of[ctl->self.n].vote;
    return fm_votes_lost(&ctl->votes, (unsigned)r) ||
           (c >= 0 && ctl->context[c] && !fm_contexts_has(&mine->well[r], (unsigned)c));
}

/* -------- guards -------- */

static bool overrides(const struct ctl_order *o, const char *rule)
{
    size_t i;
    const json_t *one, *list = json_object_get(o->body, "override");
    json_array_foreach(list, i, one)
    {
        if (json_is_string(one) && strcmp(json_string_value(one), rule) == 0)
            return true;
    }
    return false;
}

/* Is the order about this context? A host is about all of them, an instance about those of its
 * pool. */
static bool concerns(const struct ctl_order *o, const struct fm_conf_context *c)
{
    const struct fm_intent_about *at = &o->intended.at;
    if (at->address[0])
        return fm_str_eqz(c->app, at->name);
    return !at->name[0] || o->host >= 0 || fm_str_eqz(c->name, at->name);
}

/* As it would be for this context after the order. */
static enum fm_intent_verdict judge(struct ctl_order *o, const struct fm_conf_context *c,
                                    uint64_t *left, uint64_t *needed)
{
    const struct fm_conf *conf = o->ctl->conf;
    struct fm_intent_region r[FM_CONF_REGIONS_MAX];
    FM_ASSERT(conf->nregions <= FM_COUNT(r));
    for (unsigned i = 0; i < conf->nregions; i++) {
        const struct fm_conf_region *cr = &conf->regions[i];
        r[i] = (struct fm_intent_region){.capacity = cr->capacity_rps,
                                         .serve_permille = (uint16_t)serve_of(o, i, c),
                                         .witness = cr->witness,
                                         .lost = is_lost(o->ctl, cr->name, c->name)};
    }
    return fm_intent_judge(r, (unsigned)conf->nregions, left, needed);
}

/* Every context that the order is about; true where some is shared between regions. */
static bool check_regions(struct ctl_order *o, bool *unknown)
{
    const struct fm_conf *conf = o->ctl->conf;
    uint64_t left, needed;
    bool any = false;
    for (size_t i = 0; i < conf->ncontexts && !o->no.status; i++) {
        const struct fm_conf_context *c = &conf->contexts[i];
        if (!is_shared(c) || !concerns(o, c))
            continue;
        any = true;
        enum fm_intent_verdict v = judge(o, c, &left, &needed);
        *unknown |= v == FM_INTENT_UNKNOWN;
        if (v == FM_INTENT_LAST_REGION)
            ctl_refuse(&o->no, 409, "last-region", "bring another region up, or undrain one, first",
                       "nobody else would answer %.*s: the other regions are drained or lost",
                       FM_STR_ARG(c->name));
        else if (v == FM_INTENT_CAPACITY && !overrides(o, "capacity"))
            ctl_refuse(&o->no, 409, "capacity",
                       "bring another region up, undrain something, or drain a smaller share",
                       "%llu/s would be left for %.*s, and the loss of the largest region is to "
                       "leave %llu/s",
                       (unsigned long long)left, FM_STR_ARG(c->name), (unsigned long long)needed);
        else
            o->op.glass |= v == FM_INTENT_CAPACITY;
    }
    return any;
}

/* How many cells its region holds of contexts that the order is about. */
static unsigned cells_held(const struct ctl_order *o)
{
    unsigned n = 0;
    for (unsigned k = 0; k < o->ctl->ncontexts; k++) {
        const struct ctl_context *c = o->ctl->context[k];
        if (!c || c->conf < 0 || !concerns(o, ctl_conf(c)))
            continue;
        for (unsigned i = 0; i < c->auth.cfg.ncells; i++)
            n += c->auth.cell[i].at.revision.n && c->auth.cell[i].at.r.region == o->region;
    }
    return n;
}

/* Does one gate know what no other gate knows: keys, or what is queued and its order? */
static bool is_keyed(const struct fm_conf *conf)
{
    for (size_t i = 0; i < conf->ncontexts; i++) {
        const struct fm_conf_context *c = &conf->contexts[i];
        bool keys = c->idempotency.by == FM_BY_GATE && c->idempotency.key != FM_KEY_IGNORED;
        for (size_t k = 0; k < c->nroutes; k++)
            keys |= c->routes[k].when_away.commands == FM_CONF_AWAY_QUEUE;
        if (c->ncells && keys)
            return true;
    }
    return false;
}

/* One of several, in its region. */
static void check_one(struct ctl_order *o)
{
    const struct fm_conf *conf = o->ctl->conf;
    const struct fm_intent_about *at = &o->intended.at;
    struct fm_drain_case c = {.holds = cells_held(o) > 0, .gate = !at->address[0]};
    int r = fm_conf_find_region(conf, fm_str_z(at->region));
    unsigned all;
    char name[FM_INTENT_NAME_ROOM];
    FM_ASSERT(r >= 0);
    if (c.gate) {
        c.left = gates_left(o, (unsigned)r, &all);
        c.keyed = is_keyed(conf);
    } else {
        int p = fm_conf_find_pool(&conf->regions[r], fm_str_z(at->name));
        FM_ASSERT(p >= 0);
        c.left = instances_left(o, (unsigned)r, (unsigned)p, &all);
    }
    ctl_intent_name(conf, at, name);
    enum fm_drain_verdict v = fm_drain_judge(&c);
    while (v != FM_DRAIN_FINE && overrides(o, fm_drain_rule(v))) {
        o->op.glass = true;
        c.holds &= v != FM_DRAIN_LAST;
        c.keyed &= v != FM_DRAIN_ONE_GATE;
        v = fm_drain_judge(&c);
    }
    if (v == FM_DRAIN_LAST)
        ctl_refuse(&o->no, 409, fm_drain_rule(v),
                   "`fulmar move CONTEXT --to REGION` first, or bring another one up",
                   "%s holds the right to write, and besides %s no %s would take its commands: the "
                   "others are drained or down",
                   at->region, name, c.gate ? "gate" : "instance");
    else if (v == FM_DRAIN_ONE_GATE)
        ctl_refuse(&o->no, 409, fm_drain_rule(v),
                   "`fulmar evacuate REGION` moves the commands of the whole region",
                   "gates stop doubles here, or queue, and what %s has written down of its keys no "
                   "other gate knows",
                   name);
}

/* True where it may go on. */
static bool check(struct ctl_order *o, bool *unknown)
{
    const struct fm_intent_about *at = &o->intended.at;
    bool gate = o->host >= 0 && o->ctl->conf->hosts[o->host].roles & FM_ROLE_GATE;
    if (o->host >= 0 && !gate)
        return true; /* an edge: others may come and go without being listed */
    bool shared = check_regions(o, unknown);
    if (o->no.status)
        return false;
    if (gate || at->address[0])
        check_one(o);
    else if (!shared)
        ctl_refuse(&o->no, 409, "nothing-to-drain",
                   "`fulmar evacuate REGION` or `fulmar move CONTEXT --to REGION` moves commands",
                   "only the holder answers here, and a drain leaves the right to write alone");
    return !o->no.status;
}

/* -------- what is ordered -------- */

/* "; is it `west`?", or nothing. */
static const char *near(struct fm_str wrong, const struct fm_str *names, size_t n, char *out,
                        size_t cap)
{
    struct fm_str like = fm_suggest_name(wrong, names, n);
    out[0] = 0;
    if (like.p)
        snprintf(out, cap, "; is it `%.*s`?", FM_STR_ARG(like));
    return out;
}

static void unknown_name(struct ctl_order *o, const char *name)
{
    const struct fm_conf *conf = o->ctl->conf;
    struct fm_str names[FM_CONF_REGIONS_MAX + FM_CONF_HOSTS_MAX];
    char is_it[FM_ROSTER_NAME_ROOM + 16];
    size_t n = 0;
    for (size_t i = 0; i < conf->nregions; i++)
        names[n++] = conf->regions[i].name;
    for (size_t i = 0; i < conf->nhosts; i++)
        names[n++] = conf->hosts[i].name;
    FM_ASSERT(n <= FM_COUNT(names));
    ctl_refuse(&o->no, 404, "unknown-region", "name a region or a host of the file",
               "there is no region or host `%s`%s", name,
               near(fm_str_z(name), names, n, is_it, sizeof is_it));
}

/* Of a known region: is it the pool, or the address? */
static void unknown_instance(struct ctl_order *o, const struct fm_conf_region *cr)
{
    const struct fm_intent_about *at = &o->intended.at;
    struct fm_str names[FM_CONF_POOLS_MAX];
    char is_it[FM_VIEW_DOC_ADDRESS_MAX + 16];
    int p = fm_conf_find_pool(cr, fm_str_z(at->name));
    size_t n = 0, most = p < 0 ? cr->npools : cr->pools[p].napps;
    for (; n < most && n < FM_COUNT(names); n++)
        names[n] = p < 0 ? cr->pools[n].name : cr->pools[p].apps[n].text;
    struct fm_str wrong = fm_str_z(p < 0 ? at->name : at->address);
    ctl_refuse(&o->no, 404, p < 0 ? "unknown-pool" : "unknown-instance",
               "name it REGION/POOL/ADDRESS, as `regions` of the file does; what is a plain list "
               "is the pool `default`",
               p < 0 ? "%s has no pool `%.*s`%s" : "the pool of %s has no instance `%.*s`%s",
               at->region, FM_STR_ARG(wrong), near(wrong, names, n, is_it, sizeof is_it));
}

static void take_instance(struct ctl_order *o, const char *text)
{
    const struct fm_conf *conf = o->ctl->conf;
    struct fm_intent_about *at = &o->intended.at;
    size_t index;
    if (!fm_intent_instance_read(fm_str_z(text), at)) {
        ctl_refuse(&o->no, 400, "malformed", "name it REGION/POOL/ADDRESS, as the file does",
                   "`%s` is no instance", text);
        return;
    }
    int r = fm_conf_find_region(conf, fm_str_z(at->region));
    if (r < 0) {
        unknown_name(o, at->region);
        return;
    }
    const struct fm_conf_pool *pool = ctl_intent_pool(conf, at, &index);
    bool drained = ctl_intent_drains(ctl_intent_find(o->ctl, at));
    if (!pool && !drained)
        unknown_instance(o, &conf->regions[r]);
    else if (pool && pool->dns && !drained)
        ctl_refuse(
            &o->no, 409, "from-a-name", "take the address out of the name",
            "the instances of %s/%s are what a name says, which is looked up again and again",
            at->region, at->name);
}

static void take_host(struct ctl_order *o, int host)
{
    const struct fm_conf *conf = o->ctl->conf;
    const struct fm_conf_host *h = &conf->hosts[host];
    struct fm_intent_about *at = &o->intended.at;
    o->host = host;
    text_of_name(at->region, conf->regions[h->region].name);
    text_of_name(at->name, h->name);
    if (!(h->roles & (FM_ROLE_GATE | FM_ROLE_EDGE)))
        ctl_refuse(&o->no, 409, "no-traffic",
                   "stop its agent (SIGTERM): the other hosts of its role go on without it",
                   "no requests go through %s: it is neither a gate nor an edge", at->name);
    else if (!(h->roles & FM_ROLE_GATE) && !conf->edge.ready.present)
        ctl_refuse(&o->no, 409, "no-ready",
                   "stop it (SIGTERM), which ends what it has; or configure `edge.ready`",
                   "%s could not tell anybody to leave it alone: there is no `edge.ready`",
                   at->name);
}

static void take_region(struct ctl_order *o, const char *region, const char *context)
{
    const struct fm_conf *conf = o->ctl->conf;
    struct fm_intent_about *at = &o->intended.at;
    int r = fm_conf_find_region(conf, fm_str_z(region));
    if (r < 0)
        unknown_name(o, region);
    else if (conf->regions[r].witness)
        ctl_refuse(&o->no, 409, "witness", "choose a region that serves", "%s never serves",
                   region);
    else if (context && fm_conf_find_context(conf, fm_str_z(context)) < 0)
        ctl_refuse(&o->no, 404, "unknown-context", "name a context of the file",
                   "there is no context `%s`", context);
    if (o->no.status)
        return;
    snprintf(at->region, sizeof at->region, "%s", region);
    snprintf(at->name, sizeof at->name, "%s", context ? context : "");
}

static bool take_object(struct ctl_order *o)
{
    const char *instance = ctl_order_text(o, "instance"), *region = ctl_order_text(o, "region"),
               *context = ctl_order_text(o, "context");
    int host = region ? fm_conf_find_host(o->ctl->conf, fm_str_z(region)) : -1;
    bool part = instance || host >= 0;
    o->host = -1;
    if (part && (context || json_object_get(o->body, "percent") || (instance && region)))
        ctl_refuse(&o->no, 400, "malformed", "a context or a share is of a region",
                   "a host or an instance is drained whole");
    else if (instance)
        take_instance(o, instance);
    else if (host >= 0)
        take_host(o, host);
    else if (region)
        take_region(o, region, context);
    else
        ctl_refuse(&o->no, 400, "malformed", "say which region, host or instance of the file",
                   "`region` is missing");
    if (o->no.status)
        return false;
    o->op.region = o->region = fm_roster_region(o->ctl->c.roster, fm_str_z(o->intended.at.region));
    return true;
}

/* The record that is to be written. */
static void intend(struct ctl_order *o, unsigned serve_permille, int64_t for_ms)
{
    struct fm_intent *i = &o->intended.i;
    i->serve_permille = (uint16_t)serve_permille;
    i->for_ms = for_ms;
    i->until_ms = for_ms ? fm_wall_now_ns() / FM_NS_PER_MS + for_ms : 0;
    memcpy(i->by, o->op.by, sizeof i->by);
    memcpy(i->reason, o->op.reason, sizeof i->reason);
    memcpy(i->at, o->op.at, sizeof i->at);
    memcpy(i->op, o->op.id, sizeof i->op);
    if (!ctl_intend(o->ctl, &o->intended))
        ctl_refuse(&o->no, 409, "bounded", "drain whole regions", "more than %d intents",
                   CTL_INTENTS_MAX);
}

/* -------- for people -------- */

static void explain_one(struct ctl_order *o, struct fm_buf *b)
{
    const struct fm_intent_about *at = &o->intended.at;
    char name[FM_INTENT_NAME_ROOM];
    unsigned roles = o->host < 0 ? 0 : o->ctl->conf->hosts[o->host].roles;
    ctl_intent_name(o->ctl->conf, at, name);
    fm_buf_printf(b, "%s gets no new requests%s; what is under way ends by itself", name,
                  roles & FM_ROLE_EDGE ? " from a balancer that asks `edge.ready`" : "");
}

static void explain(struct ctl_order *o, bool unknown)
{
    struct fm_buf b = fm_buf(o->op.text, sizeof o->op.text - 1);
    const struct ctl_intended *x = &o->intended;
    char until[FM_RFC3339_LEN], name[FM_INTENT_NAME_ROOM];
    const char *end = ctl_intent_until(&x->i, until);
    bool one = x->at.address[0] || o->host >= 0;
    unsigned held = one ? 0 : cells_held(o);
    if (one)
        explain_one(o, &b);
    else
        fm_buf_printf(&b, "%s gets %u%% of what any region may answer",
                      ctl_intent_name(o->ctl->conf, &x->at, name), x->i.serve_permille / 10u);
    if (end)
        fm_buf_printf(&b, ", until %s", end);
    if (held)
        fm_buf_printf(&b, "; the right to write stays with it (%u cell%s): `fulmar %s %s` moves it",
                      held, held == 1 ? "" : "s", x->at.name[0] ? "move" : "evacuate",
                      x->at.name[0] ? x->at.name : x->at.region);
    if (unknown && !one)
        fm_buf_printf(&b, "; not every region has a `capacity`: can the others carry it?");
    o->op.text[b.n] = 0;
}

void ctl_plan_drain(struct ctl_order *o)
{
    json_t *percent = json_object_get(o->body, "percent"), *ms = json_object_get(o->body, "for_ms");
    json_int_t share = percent ? json_integer_value(percent) : 100;
    json_int_t length = ms ? json_integer_value(ms) : 0;
    bool unknown = false;
    if (!take_object(o))
        return;
    if (share < 1 || share > 100 ||
        (ms && (length <= 0 || length > INT64_C(86400) * 1000 * FOR_MAX_DAYS))) {
        ctl_refuse(&o->no, 400, "malformed", "`percent` from 1 to 100, and `for_ms` up to a year",
                   "`percent` or `for_ms` is none");
        return;
    }
    intend(o, (unsigned)(100 - share) * 10, length);
    if (!o->no.status && check(o, &unknown))
        explain(o, unknown);
}

void ctl_plan_undrain(struct ctl_order *o)
{
    if (!take_object(o))
        return;
    const struct fm_intent_about *at = &o->intended.at;
    struct fm_intent_about whole = {.region = ""};
    memcpy(whole.region, at->region, sizeof whole.region);
    bool one = at->address[0] || o->host >= 0;
    bool drained = ctl_intent_drains(ctl_intent_find(o->ctl, at));
    o->intended.is_so = !drained;
    intend(o, FM_INTENT_ALL, 0); /* written in any case: another agent may know more */
    if (o->no.status)
        return;
    struct fm_buf b = fm_buf(o->op.text, sizeof o->op.text - 1);
    char name[FM_INTENT_NAME_ROOM];
    fm_buf_printf(&b, "%s%s", ctl_intent_name(o->ctl->conf, at, name),
                  !drained ? " is not drained"
                  : one    ? " gets its share of requests again"
                           : " gets all of its share again");
    if (at->name[0] && ctl_intent_drains(ctl_intent_find(o->ctl, &whole)))
        fm_buf_printf(&b, ", but the whole region is: `fulmar undrain %s`", at->region);
    for (unsigned k = 0; k < CTL_INTENTS_ROOM && !at->name[0]; k++) {
        const struct ctl_intent *x = &o->ctl->intent[k];
        if (!ctl_intent_drains(x) || !x->at.name[0] || strcmp(x->at.region, at->region) != 0)
            continue;
        if (x->at.address[0] || ctl_intent_host(o->ctl->conf, &x->at) >= 0)
            fm_buf_printf(&b, "; %s still is", ctl_intent_name(o->ctl->conf, &x->at, name));
        else
            fm_buf_printf(&b, "; %s still is: --context %s", x->at.name, x->at.name);
    }
    o->op.text[b.n] = 0;
}
