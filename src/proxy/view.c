/* Compiling a view: see the header. Everything hangs on the view's arena but the board. */
#include "proxy/view.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/rand.h"
#include "proxy/queued.h"

#include <stdlib.h>

enum { ARENA_MAX = 64 * 1024 * 1024 };

/* -------- routes -------- */

static enum fm_route_by by_of(enum fm_conf_routing_by by)
{
    switch (by) {
    case FM_ROUTING_PRIORITY:
        return FM_ROUTE_PRIORITY;
    case FM_ROUTING_LATENCY:
        return FM_ROUTE_LATENCY;
    case FM_ROUTING_WEIGHT:
        return FM_ROUTE_WEIGHT;
    }
    FM_UNREACHABLE();
}

static enum fm_class_as class_of(enum fm_conf_as as)
{
    switch (as) {
    case FM_AS_METHOD:
        return FM_CLASS_BY_METHOD;
    case FM_AS_QUERY:
        return FM_CLASS_QUERY;
    case FM_AS_COMMAND:
        return FM_CLASS_COMMAND;
    }
    FM_UNREACHABLE();
}

static struct fm_hedge_policy hedge_of(const struct fm_conf_route *r)
{
    struct fm_hedge_policy p = {.after_ns = r->retry.hedge_ms * FM_NS_PER_MS,
                                .first_byte_ns = r->timeouts.first_byte_ms * FM_NS_PER_MS};
    switch (r->retry.hedge) {
    case FM_HEDGE_P95:
        p.mode = FM_HEDGE_AT_P95;
        break;
    case FM_HEDGE_P99:
        p.mode = FM_HEDGE_AT_P99;
        break;
    case FM_HEDGE_FIXED:
        p.mode = FM_HEDGE_AFTER;
        break;
    case FM_HEDGE_NEVER:
        p.mode = FM_HEDGE_OFF;
        break;
    }
    return p;
}

static int16_t sticky_segment(const struct fm_conf_context *c, const struct fm_conf_route *r)
{
    if (c->sticky.kind == FM_STICKY_PATH)
        for (size_t i = 0; i < r->nsegments; i++)
            if (r->segments[i].kind == FM_SEG_NAMED &&
                fm_str_eq(r->segments[i].text, c->sticky.name))
                return (int16_t)i;
    return -1;
}

static enum fm_away away_of(enum fm_conf_away a)
{
    switch (a) {
    case FM_CONF_AWAY_REJECT:
        return FM_AWAY_REJECT;
    case FM_CONF_AWAY_QUEUE:
        return FM_AWAY_QUEUE;
    case FM_CONF_AWAY_OVERRIDE:
        return FM_AWAY_OVERRIDE;
    }
    FM_UNREACHABLE();
}

static enum fm_key_from key_from(enum fm_conf_key_from from)
{
    switch (from) {
    case FM_CONF_KEY_PATH:
        return FM_KEY_PATH;
    case FM_CONF_KEY_HEADER:
        return FM_KEY_HEADER;
    case FM_CONF_KEY_COOKIE:
        return FM_KEY_COOKIE;
    case FM_CONF_KEY_QUERY:
        return FM_KEY_QUERY;
    case FM_CONF_KEY_BODY:
        return FM_KEY_BODY;
    case FM_CONF_KEY_CLAIM:
        return FM_KEY_CLAIM;
    }
    FM_UNREACHABLE();
}

/* Where this route has the key of its context. A path without the segment has none, which only
 * queries and contexts of one cell can do without. */
static void compile_key(struct fm_view_route *to, const struct fm_conf_context *c,
                        const struct fm_conf_route *r)
{
    if (!c->key.present || c->ncells == 0)
        return;
    to->key.from = key_from(c->key.from);
    if (to->key.from == FM_KEY_PATH) {
        for (size_t i = 0; i < r->nsegments && !to->has_key; i++)
            if (r->segments[i].kind == FM_SEG_NAMED &&
                fm_str_eq(r->segments[i].text, c->key.name)) {
                to->key.segment = (unsigned)i;
                to->has_key = true;
            }
    } else if (to->key.from == FM_KEY_BODY || to->key.from == FM_KEY_CLAIM) {
        to->has_key = fm_key_split(c->key.name, &to->key);
    } else {
        to->key.name[0] = c->key.name;
        to->key.nnames = 1;
        to->has_key = true;
    }
}

static void compile_route(struct fm_view_route *to, unsigned context,
                          const struct fm_conf_context *c, const struct fm_conf_route *r)
{
    FM_ASSERT(r->timeouts.connect_ms > 0 && r->timeouts.first_byte_ms > 0);
    FM_ASSERT(r->timeouts.total_ms >= r->timeouts.first_byte_ms);
    FM_ASSERT(context <= UINT16_MAX && r->retry.other_regions <= UINT8_MAX);
    *to = (struct fm_view_route){
        .context = (uint16_t)context,
        .as = (uint8_t)class_of(r->as),
        .safe = r->safe,
        .path = r->path,
        .sticky_segment = sticky_segment(c, r),
        .by = by_of(r->routing.by),
        .band_us = (uint32_t)fm_clamp_i64(r->routing.band_ms * 1000, 0, UINT32_MAX / 2),
        .connect_ns = r->timeouts.connect_ms * FM_NS_PER_MS,
        .first_byte_ns = r->timeouts.first_byte_ms * FM_NS_PER_MS,
        .total_ns = r->timeouts.total_ms * FM_NS_PER_MS,
        .other_regions = (uint8_t)r->retry.other_regions,
        .budget_ppm = r->retry.budget_ppm,
        .budget_floor = r->retry.budget_floor,
        .hedge = hedge_of(r),
        .concurrent = r->concurrent,
        .relay = r->relay,
        .hold_ns = r->when_away.hold_ms * FM_NS_PER_MS,
        .away = (uint8_t)away_of(r->when_away.commands),
        .away_queries_any = r->when_away.queries_any,
        .away_message = r->when_away.message,
    };
    compile_key(to, c, r);
}

static struct fm_segment *compile_segments(struct fm_arena *a, const struct fm_conf_route *r)
{
    struct fm_segment *s = fm_arena_array(a, r->nsegments, sizeof *s);
    for (size_t i = 0; s && i < r->nsegments; i++) {
        s[i].text = r->segments[i].text;
        s[i].kind = r->segments[i].kind == FM_SEG_LITERAL ? FM_SEGMENT_LITERAL
                    : r->segments[i].kind == FM_SEG_NAMED ? FM_SEGMENT_NAMED
                                                          : FM_SEGMENT_REST;
    }
    return s;
}

/* Of the region that has most. */
static unsigned count_gates(const struct fm_conf *conf)
{
    unsigned n[FM_REGIONS_MAX] = {0}, most = 0;
    for (size_t i = 0; i < conf->nhosts; i++) {
        FM_ASSERT(conf->hosts[i].region < FM_REGIONS_MAX);
        n[conf->hosts[i].region] += (conf->hosts[i].roles & FM_ROLE_GATE) != 0;
        most = n[conf->hosts[i].region] > most ? n[conf->hosts[i].region] : most;
    }
    return most;
}

/* Where clients ask about queued commands: like the first route that queues, but a query. One gate
 * knows the place, so that there are tries for each, and one more for a connection that breaks. */
static void compile_places(struct fm_view *v)
{
    for (unsigned i = 0; i < v->nroutes && !v->has_places; i++) {
        if (v->routes[i].away != FM_AWAY_QUEUE)
            continue;
        v->has_places = true;
        v->places = v->routes[i];
        v->places.path = FM_STR(FM_QUEUED_PATH "**");
        v->places.as = FM_CLASS_QUERY;
        v->places.safe = true;
        v->places.has_key = false;
        v->places.sticky_segment = -1;
        v->places.hedge.mode = FM_HEDGE_OFF;
        v->places.other_regions = (uint8_t)fm_min_u64(count_gates(v->conf), FM_ATTEMPTS_MAX);
    }
}

/* One rule per host and route of each context. */
static bool compile_routes(struct fm_view *v)
{
    const struct fm_conf *conf = v->conf;
    size_t nrules = 0, nroutes = 0;
    for (size_t c = 0; c < conf->ncontexts; c++) {
        size_t hosts = conf->contexts[c].nhosts ? conf->contexts[c].nhosts : 1;
        nrules += hosts * conf->contexts[c].nroutes;
        nroutes += conf->contexts[c].nroutes;
    }
    struct fm_match_rule *rules = fm_arena_array(&v->arena, nrules, sizeof *rules);
    v->routes = fm_arena_array(&v->arena, nroutes, sizeof *v->routes);
    if (!rules || !v->routes)
        return false;
    unsigned n = 0;
    for (unsigned c = 0; c < conf->ncontexts; c++) {
        const struct fm_conf_context *cc = &conf->contexts[c];
        for (size_t i = 0; i < cc->nroutes; i++) {
            const struct fm_conf_route *r = &cc->routes[i];
            struct fm_segment *segments = compile_segments(&v->arena, r);
            if (!segments)
                return false;
            FM_ASSERT(v->nroutes < nroutes);
            compile_route(&v->routes[v->nroutes], c, cc, r);
            for (size_t h = 0; h < (cc->nhosts ? cc->nhosts : 1); h++)
                rules[n++] = (struct fm_match_rule){
                    .host = cc->nhosts ? cc->hosts[h] : FM_STR(""),
                    .segments = segments,
                    .nsegments = (unsigned)r->nsegments,
                    .methods = r->methods,
                    .nmethods = (unsigned)r->nmethods,
                    .route = v->nroutes,
                };
            v->nroutes++;
        }
    }
    FM_ASSERT(n == nrules && v->nroutes == nroutes);
    compile_places(v);
    void *mem = fm_arena_alloc(&v->arena, fm_match_size(rules, n));
    if (!mem)
        return false;
    struct fm_hash_key key;
    fm_rand_bytes(&key, sizeof key);
    v->match = fm_match_build(mem, rules, n, key);
    FM_ASSERT(v->match);
    return true;
}

/* -------- regions and endpoints -------- */

static int compare_addresses(const void *x, const void *y)
{
    const struct fm_view_address *a = x, *b = y;
    FM_ASSERT(a->addr.len > 0 && b->addr.len > 0);
    if (a->region != b->region)
        return a->region < b->region ? -1 : 1;
    if (a->pool != b->pool)
        return a->pool < b->pool ? -1 : 1;
    uint8_t p[16], q[16];
    fm_addr_bytes(&a->addr, p);
    fm_addr_bytes(&b->addr, q);
    int c = memcmp(p, q, sizeof p);
    return c ? c : (int)fm_addr_port(&a->addr) - (int)fm_addr_port(&b->addr);
}

static const struct fm_hash_key region_key = {UINT64_C(0x66756c6d61722d72),
                                              UINT64_C(0x6567696f6e2d3031)};

static bool compile_gates(struct fm_view *v, struct fm_view_region *to, unsigned r)
{
    to->gate = fm_arena_array(&v->arena, v->conf->nhosts, sizeof *to->gate);
    if (!to->gate && v->conf->nhosts > 0)
        return false;
    for (size_t i = 0; i < v->conf->nhosts; i++) {
        const struct fm_conf_host *h = &v->conf->hosts[i];
        if (h->region == r && h->roles & FM_ROLE_GATE)
            to->gate[to->ngates++] = (struct fm_keygate){h->name, fm_keygate_id(h->name)};
    }
    FM_ASSERT(to->ngates < FM_NO_GATE);
    return true;
}

uint16_t fm_view_find_gate(const struct fm_view_region *r, struct fm_str name)
{
    for (unsigned i = 0; i < r->ngates; i++)
        if (fm_str_eq(r->gate[i].name, name))
            return (uint16_t)i;
    return FM_NO_GATE;
}

/* Of a gate: a gate of another region, which it may pass commands on to. */
static bool has_gate(const struct fm_view_address *addrs, size_t n, unsigned region)
{
    for (size_t i = 0; i < n; i++)
        if (addrs[i].region == region && addrs[i].peer)
            return true;
    return false;
}

static bool any_database(const struct fm_view *v)
{
    bool any = false;
    for (unsigned c = 0; c < v->ncontexts; c++)
        any |= fm_conf_is_database(&v->conf->contexts[c]);
    return any;
}

static bool compile_region(struct fm_view *v, unsigned r, const struct fm_view_address *addrs,
                           size_t naddrs)
{
    const struct fm_conf_region *cr = &v->conf->regions[r];
    struct fm_view_region *to = &v->regions[r];
    *to = (struct fm_view_region){.name = cr->name,
                                  .id = fm_hash_str(region_key, cr->name),
                                  .priority = (uint16_t)cr->priority,
                                  .weight = (uint16_t)cr->weight,
                                  .gates = v->mode == FM_PROXY_EDGE ? cr->has_gates
                                                                    : has_gate(addrs, naddrs, r)};
    bool one = to->gates || cr->witness; /* a witness: one pool, empty */
    to->witness = cr->witness;
    /* what is only a database has an empty one, too: the last */
    to->npools = one ? 1 : (unsigned)cr->npools + any_database(v);
    FM_ASSERT(to->npools > 0 && cr->priority <= UINT16_MAX && cr->weight <= UINT16_MAX);
    to->pools = fm_arena_array(&v->arena, to->npools, sizeof *to->pools);
    if (!to->pools || !compile_gates(v, to, r))
        return false;
    for (unsigned p = 0; p < to->npools; p++)
        to->pools[p].name = to->gates                        ? FM_STR("gates")
                            : cr->witness || p == cr->npools ? FM_STR("none")
                                                             : cr->pools[p].name;
    for (unsigned c = 0; c < v->ncontexts; c++) {
        const struct fm_conf_context *cc = &v->conf->contexts[c];
        int pool = one                       ? 0
                   : fm_conf_is_database(cc) ? (int)cr->npools
                                             : fm_conf_find_pool(cr, cc->app);
        FM_ASSERT(pool >= 0 && (unsigned)pool < to->npools);
        v->contexts[c].pool[r] = (uint16_t)pool;
    }
    return true;
}

static bool compile_endpoints(struct fm_view *v, const struct fm_view_address *addrs, size_t n)
{
    struct fm_view_address *sorted = fm_arena_array(&v->arena, n, sizeof *sorted);
    v->endpoints = fm_arena_array(&v->arena, n, sizeof *v->endpoints);
    if (!sorted || !v->endpoints)
        return false;
    if (n)
        memcpy(sorted, addrs, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_addresses);
    for (size_t i = 0; i < n; i++) {
        if (i && compare_addresses(&sorted[i - 1], &sorted[i]) == 0)
            continue;
        FM_ASSERT(sorted[i].region < v->nregions);
        struct fm_view_region *r = &v->regions[sorted[i].region];
        FM_ASSERT(sorted[i].pool < r->npools);
        struct fm_view_pool *p = &r->pools[sorted[i].pool];
        struct fm_view_endpoint *e = &v->endpoints[v->nendpoints];
        if (p->n++ == 0)
            p->first = v->nendpoints;
        FM_ASSERT(p->first + p->n - 1 == v->nendpoints); /* they stand together */
        e->addr = sorted[i].addr;
        e->peer = sorted[i].peer;
        e->gate = e->peer ? fm_view_find_gate(r, fm_str_z(e->peer)) : FM_NO_GATE;
        e->region = sorted[i].region;
        e->pool = sorted[i].pool;
        fm_addr_format(&e->addr, e->text);
        v->nendpoints++;
    }
    return true;
}

static bool compile_cells(const struct fm_view *v, struct fm_view_context *to)
{
    const struct fm_conf_context *c = to->conf;
    to->queries_any = c->queries_any;
    if (c->ncells == 0)
        return true;
    FM_ASSERT(v->board->seats); /* without them every region would write */
    to->cells.count = c->ncells;
    if (c->ncells > 1)
        to->has_files = (struct fm_keyfiles_has){c->homes.pins.n > 0, c->homes.directory.n > 0};
    if (v->board->keyfiles)
        to->keyfiles = fm_keyfiles_find(v->board->keyfiles, c->name);
    struct fm_error e;
    enum fm_err err = fm_seats_context(v->board->seats, c->name, c->ncells, &to->seats, &e);
    if (err)
        fm_log(FM_LOG_ERROR, "view_not_made", FM_KE(&e));
    return err == FM_ERR_OK;
}

static bool compile(struct fm_view *v, const struct fm_view_address *addrs, size_t naddrs)
{
    v->nregions = (unsigned)v->conf->nregions;
    v->ncontexts = (unsigned)v->conf->ncontexts;
    FM_ASSERT(v->nregions > 0 && v->nregions <= FM_REGIONS_MAX && v->ncontexts > 0);
    v->regions = fm_arena_array(&v->arena, v->nregions, sizeof *v->regions);
    v->contexts = fm_arena_array(&v->arena, v->ncontexts, sizeof *v->contexts);
    if (!v->regions || !v->contexts)
        return false;
    for (unsigned c = 0; c < v->ncontexts; c++) {
        v->contexts[c].conf = &v->conf->contexts[c];
        v->contexts[c].name = v->conf->contexts[c].name;
        v->contexts[c].slow_ns = v->conf->contexts[c].objectives.latency_p99_ms * FM_NS_PER_MS;
        if (!compile_cells(v, &v->contexts[c]))
            return false;
    }
    for (unsigned r = 0; r < v->nregions; r++)
        if (!compile_region(v, r, addrs, naddrs))
            return false;
    return compile_routes(v) && compile_endpoints(v, addrs, naddrs);
}

static void destroy(struct fm_view *v)
{
    fm_board_unref(v->board);
    fm_arena_deinit(&v->arena);
    free(v);
}

struct fm_view *fm_view_new(struct fm_board *board, enum fm_proxy_mode mode, uint64_t generation,
                            const struct fm_view_address *addrs, size_t naddrs)
{
    FM_ASSERT(generation > 0 && (addrs || naddrs == 0));
    struct fm_view *v = calloc(1, sizeof *v);
    if (!v)
        return NULL;
    v->refs = 1;
    v->generation = generation;
    v->mode = mode;
    v->board = board;
    fm_board_ref(board);
    v->conf = board->conf;
    fm_arena_init(&v->arena, NULL, 0, ARENA_MAX);
    if (!compile(v, addrs, naddrs)) {
        destroy(v);
        return NULL;
    }
    return v;
}

void fm_view_ref(struct fm_view *v)
{
    uint32_t before = atomic_fetch_add(&v->refs, 1);
    FM_ASSERT(before > 0); /* nobody brings a dead one back */
}

void fm_view_unref(struct fm_view *v)
{
    if (!v)
        return;
    uint32_t before = atomic_fetch_sub(&v->refs, 1);
    FM_ASSERT(before > 0);
    if (before == 1)
        destroy(v);
}
