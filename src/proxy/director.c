/* The director: see the header. Decisions about health are core/health.h's; this file feeds it with
 * what workers counted and probes found, and publishes its verdicts. Invariant: workers only ever
 * see a view that is whole, and its board is alive as long as the view is. */
#include "proxy/director.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/log.h"
#include "proxy/groups.h"

#include <stdio.h>
#include <stdlib.h>

enum { POLL_MS = 100, PATIENCE_MS = 3000, GATE_HEAD_BYTES = 64 * 1024, GATE_IDLE_MS = 60 * 1000 };

/* -------- what workers are told -------- */

static void edge_worker_config(struct fm_worker_config *w, const struct fm_conf_edge *e)
{
    w->http = (struct fm_http_server_config){
        .limits = {.head_bytes = e->limits.header_bytes,
                   .fields = e->limits.headers < FM_HTTP_FIELDS_MAX ? e->limits.headers
                                                                    : FM_HTTP_FIELDS_MAX,
                   .body_bytes = e->limits.body_bytes,
                   .ext_bytes = 4 * 1024,
                   .trailer_bytes = 8 * 1024},
        .header_ms = e->timeouts.header_ms,
        .idle_ms = e->timeouts.idle_ms,
        .min_body_bps = e->min_body_bps,
        .raw_bodies = true,
    };
    w->connections_max = e->limits.connections;
    _Static_assert(FM_REPLAY_BLOCKS == FM_CONF_REPLAY_BLOCKS + 1, "and one for the head");
    w->replay_body_bytes = e->limits.replay_body_bytes;
    w->tunnel_idle_ms = e->timeouts.tunnel_idle_ms;
    w->body_idle_ms = e->timeouts.idle_ms;
}

/* Gates stand behind edges: their bounds are wider, the edge's are the ones that clients meet. */
static void gate_worker_config(struct fm_worker_config *w, const struct fm_conf_edge *e)
{
    edge_worker_config(w, e);
    w->http.limits.head_bytes = GATE_HEAD_BYTES;
    w->http.limits.fields = FM_HTTP_FIELDS_MAX;
    w->http.idle_ms = GATE_IDLE_MS;
    w->http.stamps = true;
    w->http.min_body_bps = 0;
}

static void worker_ended(struct fm_msg *m, void *user)
{
    (void)user;
    struct fm_worker *w = fm_container_of(m, struct fm_worker, ended_msg);
    struct fm_director *d = fm_container_of(w->config.connections, struct fm_director, connections);
    FM_ASSERT(d->nended < d->nrunning);
    if (++d->nended == d->nrunning && d->ended)
        d->ended(d);
}

static struct fm_worker_config worker_config(struct fm_director *d, const struct fm_conf *conf,
                                             unsigned index)
{
    struct fm_worker_config w = {
        .mode = d->config.mode,
        .index = index,
        .access_log = d->config.access_log,
        .access_sample_ppm = d->config.access_sample_ppm,
        .connections = &d->connections,
        .control = d->mailbox,
        .ended = worker_ended,
        .seats = d->seats,
        .journal = d->config.journal,
        .caught_up = d->config.caught_up,
    };
    if (d->config.mode == FM_PROXY_GATE)
        gate_worker_config(&w, &conf->edge);
    else
        edge_worker_config(&w, &conf->edge);
    return w;
}

static struct fm_health_policy policy_of(const struct fm_conf *c, enum fm_proxy_mode mode)
{
    struct fm_health_policy p = fm_health_policy_default;
    p.samples = (uint8_t)c->probe.samples;
    p.successes = (uint8_t)c->probe.successes;
    p.rise = (uint8_t)c->probe.rise;
    p.interval_ms = (int32_t)c->probe.interval_ms;
    p.fast_interval_ms = (int32_t)c->probe.fast_interval_ms;
    if (mode == FM_PROXY_GATE)
        p.samples = p.successes = p.rise = 0;
    return p;
}

/* Does anybody probe this region? Without probes only time and canaries bring it back. */
static bool is_probed(const struct fm_director *d, unsigned region)
{
    const struct fm_conf *c = d->board->conf;
    return d->config.mode == FM_PROXY_EDGE &&
           (c->regions[region].has_health || c->probe.app != FM_PROBE_NONE);
}

static struct fm_health_policy region_policy(const struct fm_director *d, unsigned region)
{
    struct fm_health_policy p = d->policy;
    FM_ASSERT(region < d->board->nregions);
    if (!is_probed(d, region))
        p.samples = p.successes = p.rise = 0;
    return p;
}

/* -------- events -------- */

static void describe(const struct fm_director *d, unsigned region, unsigned context,
                     const struct fm_health_verdict *v, char out[FM_EVENT_TEXT_MAX])
{
    const struct fm_health_counts *w = &v->window;
    const char *probe = d->evidence[region * d->board->ncontexts + context];
    bool silent_window = !(w->ok || w->error || w->connect || w->reset || w->timeout);
    if (v->why == FM_HEALTH_WHY_PROBES_FAIL ||
        (v->why == FM_HEALTH_WHY_UNREACHABLE && w->connect == 0))
        snprintf(out, FM_EVENT_TEXT_MAX, "%s", probe);
    else if (silent_window && is_probed(d, region)) /* it was not traffic that has told */
        snprintf(out, FM_EVENT_TEXT_MAX, "no requests in the last second; the last probe: %.80s",
                 probe);
    else
        snprintf(
            out, FM_EVENT_TEXT_MAX,
            "in the last second: %u ok, %u errors, %u connects failed, %u resets, %u time-outs",
            w->ok, w->error, w->connect, w->reset, w->timeout);
}

static void record(struct fm_director *d, unsigned region, unsigned context,
                   const struct fm_health_verdict *v)
{
    struct fm_event *e = &d->event[d->nevents % FM_EVENTS_MAX];
    struct fm_str region_name = d->board->conf->regions[region].name;
    struct fm_str context_name = d->board->conf->contexts[context].name;
    FM_ASSERT(v->from != v->to);
    *e = (struct fm_event){.number = ++d->nevents,
                           .wall_ns = fm_wall_now_ns(),
                           .boot_ns = fm_mono_now().ns,
                           .from = v->from,
                           .to = v->to,
                           .why = v->why};
    snprintf(e->region, sizeof e->region, "%.*s", FM_STR_ARG(region_name));
    snprintf(e->context, sizeof e->context, "%.*s", FM_STR_ARG(context_name));
    describe(d, region, context, v, e->text);
    fm_log(v->to == FM_HEALTH_DOWN ? FM_LOG_WARN : FM_LOG_INFO, "health_changed",
           FM_KS("region", region_name), FM_KS("context", context_name),
           FM_KZ("from", fm_health_state_name(v->from)), FM_KZ("to", fm_health_state_name(v->to)),
           FM_KZ("reason", fm_health_reason_name(v->why)), FM_KZ("evidence", e->text));
    if (d->transition)
        d->transition(d, e);
}

static void watch_fail_open(struct fm_director *d, unsigned context)
{
    bool all = d->config.mode == FM_PROXY_EDGE;
    for (unsigned r = 0; r < d->board->nregions; r++)
        all &= d->board->conf->regions[r].witness ||
               fm_director_health(d, r, context)->state == FM_HEALTH_DOWN ||
               fm_director_health(d, r, context)->state == FM_HEALTH_SUSPECT;
    if (all == d->all_down[context])
        return;
    d->all_down[context] = all;
    fm_log(all ? FM_LOG_ERROR : FM_LOG_INFO, all ? "fail_open" : "fail_open_over",
           FM_KS("context", d->board->conf->contexts[context].name),
           FM_KZ("meaning", all ? "no region is well; requests go to the one that answered last"
                                : "a region is well again"));
}

/* -------- stepping health -------- */

static void publish(struct fm_director *d, unsigned region, unsigned context,
                    const struct fm_health_verdict *v)
{
    struct fm_board_slot *slot = fm_board_slot(d->board, region, context);
    uint64_t word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    uint64_t epoch = fm_board_epoch(word) + (uint64_t)v->changed;
    FM_ASSERT(v->share <= 1000);
    atomic_store_explicit(&slot->tried_ns, fm_director_health(d, region, context)->tried_at.ns,
                          memory_order_relaxed);
    atomic_store_explicit(&slot->word, (epoch & UINT32_MAX) << 32 | v->share, memory_order_release);
    atomic_store_explicit(&slot->trial, v->to == FM_HEALTH_TRIAL, memory_order_relaxed);
    if (v->canary)
        atomic_store(&slot->canary, v->canary_any ? FM_CANARY_ANY : FM_CANARY_REPEATABLE);
    else if (v->changed)
        atomic_store(&slot->canary, FM_CANARY_NONE);
}

static void step(struct fm_director *d, unsigned region, unsigned context,
                 const struct fm_health_event *e)
{
    struct fm_health_policy p = region_policy(d, region);
    struct fm_health_verdict v = fm_health_step(fm_director_health(d, region, context), &p, e,
                                                fm_mono_now(), fm_rand_u64(&d->rand));
    publish(d, region, context, &v);
    if (!v.changed)
        return;
    record(d, region, context, &v);
    if ((v.to == FM_HEALTH_DOWN || v.to == FM_HEALTH_SUSPECT) && d->view)
        for (unsigned w = 0; w < d->nrunning; w++)
            fm_worker_region_left(&d->workers[w], d->view, region, context);
    watch_fail_open(d, context);
}

static uint32_t delta(uint64_t now, uint64_t *seen)
{
    FM_ASSERT(now >= *seen); /* counters only grow, also over a reload */
    uint64_t n = now - *seen;
    *seen = now;
    return (uint32_t)fm_min_u64(n, UINT32_MAX);
}

static uint32_t news(const struct fm_board_sum *now, struct fm_board_sum *seen, enum fm_outcome o)
{
    uint32_t all = delta(now->outcome[o], &seen->outcome[o]),
             old = delta(now->old[o], &seen->old[o]);
    return all > old ? all - old : 0;
}

/* A worker found that nothing of a pool accepts connections: that is so for all who use it. */
static void nobody(struct fm_director *d, unsigned region, unsigned context)
{
    FM_ASSERT(d->view && d->view->board == d->board);
    const struct fm_view_context *v = d->view->contexts;
    for (unsigned c = 0; c < d->board->ncontexts; c++)
        if (v[c].pool[region] == v[context].pool[region])
            step(d, region, c, &(struct fm_health_event){.kind = FM_HEALTH_NOBODY});
}

/* Feed what the workers counted since the last look. */
static void collect(struct fm_director *d)
{
    for (unsigned r = 0; r < d->board->nregions; r++) {
        for (unsigned c = 0; c < d->board->ncontexts; c++) {
            struct fm_board_sum now, *seen = &d->seen[r * d->board->ncontexts + c];
            fm_board_sum(d->board, r, c, &now);
            struct fm_health_event e = {.kind = FM_HEALTH_TRAFFIC};
            e.counts.ok = news(&now, seen, FM_OUTCOME_OK);
            e.counts.error = news(&now, seen, FM_OUTCOME_ERROR);
            e.counts.connect = news(&now, seen, FM_OUTCOME_CONNECT);
            e.counts.reset = news(&now, seen, FM_OUTCOME_RESET);
            e.counts.timeout = news(&now, seen, FM_OUTCOME_TIMEOUT);
            e.counts.slow = delta(now.slow, &seen->slow);
            uint32_t silent = delta(now.silent, &seen->silent);
            uint32_t heard = delta(now.heard, &seen->heard);
            uint32_t gone = delta(now.nobody, &seen->nobody);
            uint32_t left = delta(now.left, &seen->left);
            bool any = e.counts.ok || e.counts.error || e.counts.connect || e.counts.reset ||
                       e.counts.timeout;
            if (any)
                step(d, r, c, &e);
            if (gone)
                nobody(d, r, c);
            if (left)
                step(d, r, c, &(struct fm_health_event){.kind = FM_HEALTH_LEFT});
            if (heard)
                step(d, r, c, &(struct fm_health_event){.kind = FM_HEALTH_HEARD});
            if (silent)
                step(d, r, c, &(struct fm_health_event){.kind = FM_HEALTH_SILENCE});
            if (fm_director_health(d, r, c)->state != FM_HEALTH_UP)
                step(d, r, c, &(struct fm_health_event){.kind = FM_HEALTH_TICK});
        }
    }
}

static void alarmed(struct fm_msg *m, void *user)
{
    (void)user;
    struct fm_board *b = fm_container_of(m, struct fm_board, alarm_msg);
    struct fm_director *d = b->owner;
    atomic_store(&b->alarm, false);
    if (b == d->board && d->config.mode == FM_PROXY_EDGE)
        collect(d);
    fm_board_unref(b);
}

static void polled(struct fm_timer *t)
{
    struct fm_director *d = fm_container_of(t, struct fm_director, poll);
    if (d->config.mode == FM_PROXY_EDGE)
        collect(d);
    fm_loop_timer_in_ms(d->loop, t, POLL_MS);
}

void fm_director_probe(struct fm_director *d, unsigned region, unsigned context, bool ok,
                       struct fm_str detail)
{
    FM_ASSERT(region < d->board->nregions && context < d->board->ncontexts);
    size_t at = region * d->board->ncontexts + context;
    snprintf(d->evidence[at], FM_EVENT_TEXT_MAX, "%.*s", FM_STR_ARG(detail));
    fm_text_tame(d->evidence[at]); /* what an agent said, cut to fit */
    if (d->config.mode == FM_PROXY_GATE)
        return; /* a gate has nobody to leave its region for */
    step(d, region, context, &(struct fm_health_event){.kind = FM_HEALTH_PROBE, .ok = ok});
}

bool fm_director_has_instance(const struct fm_director *d, unsigned region, unsigned context)
{
    const struct fm_view_pool *p = fm_view_pool(d->view, region, context);
    for (unsigned i = 0; i < p->n; i++) {
        const struct fm_view_endpoint *e = &d->view->endpoints[p->first + i];
        if (!atomic_load(&e->drained) && !atomic_load(&e->probe_down))
            return true;
    }
    return false;
}

bool fm_director_reaches(const struct fm_director *d, unsigned region, unsigned pool,
                         struct fm_str address)
{
    for (unsigned i = 0; d->view && i < d->view->nendpoints; i++) {
        const struct fm_view_endpoint *e = &d->view->endpoints[i];
        if (!atomic_load(&e->probe_down) && e->region == region && e->pool == pool &&
            fm_names_is(&d->names, region, pool, address, &e->addr))
            return true;
    }
    return false;
}

void fm_director_nobody(struct fm_director *d, unsigned region, unsigned context)
{
    if (d->config.mode == FM_PROXY_EDGE)
        step(d, region, context, &(struct fm_health_event){.kind = FM_HEALTH_NOBODY});
}

void fm_director_endpoint(struct fm_director *d, unsigned endpoint, bool ok)
{
    if (d->view && endpoint < d->view->nendpoints)
        atomic_store_explicit(&d->view->endpoints[endpoint].probe_down, !ok, memory_order_relaxed);
}

int64_t fm_director_probe_in_ms(struct fm_director *d, unsigned region, unsigned context)
{
    struct fm_health_policy p = region_policy(d, region);
    FM_ASSERT(context < d->board->ncontexts);
    return fm_health_probe_in_ms(fm_director_health(d, region, context), &p, fm_rand_u64(&d->rand));
}

/* -------- views -------- */

/* A new view over the present board and addresses; the workers get it if they run. */
static enum fm_err remake_view(struct fm_director *d)
{
    size_t n;
    struct fm_view_address *a = fm_names_addresses(&d->names, &n);
    if (!a)
        return FM_ERR_MEMORY;
    struct fm_view *v = fm_view_new(d->board, d->config.mode, d->generation + 1, a, n);
    free(a);
    if (!v)
        return FM_ERR_MEMORY;
    FM_ASSERT(d->config.self < v->nregions);
    v->self = (uint16_t)d->config.self;
    v->self_gate = FM_NO_GATE;
    if (d->config.mode == FM_PROXY_GATE)
        v->self_gate = fm_view_find_gate(&v->regions[v->self], fm_str_z(d->config.self_host));
    d->generation++;
    FM_ASSERT(v->generation == d->generation && v->board == d->board);
    for (unsigned i = 0; d->view && i < v->nendpoints; i++)
        for (unsigned j = 0; j < d->view->nendpoints; j++)
            if (fm_addr_eq(&v->endpoints[i].addr, &d->view->endpoints[j].addr))
                atomic_store(&v->endpoints[i].probe_down,
                             atomic_load(&d->view->endpoints[j].probe_down));
    fm_view_unref(d->view);
    d->view = v;
    fm_director_obey(d);
    for (unsigned w = 0; w < d->nrunning; w++)
        fm_worker_set_view(&d->workers[w], v);
    return FM_ERR_OK;
}

uint64_t fm_director_in_use(const struct fm_director *d)
{
    uint64_t oldest = d->generation;
    for (unsigned w = 0; w < d->nrunning; w++)
        oldest = fm_min_u64(oldest,
                            atomic_load_explicit(&d->workers[w].generation, memory_order_acquire));
    return oldest;
}

bool fm_director_knows_gate(const struct fm_director *d, struct fm_str host)
{
    if (!d->view || fm_director_in_use(d) != d->generation)
        return false;
    return fm_view_find_gate(&d->view->regions[d->view->self], host) != FM_NO_GATE;
}

static void names_changed(void *user)
{
    struct fm_director *d = user;
    if (d->names.waiting == 0)
        d->names_known = true;
    if (remake_view(d))
        fm_log(FM_LOG_ERROR, "view_not_made", FM_KZ("why", "out of memory; the old one goes on"));
    else if (d->view_changed)
        d->view_changed(d);
    if (d->groups)
        fm_groups_names_changed(d->groups);
}

void fm_director_authority_changed(struct fm_director *d)
{
    for (unsigned w = 0; w < d->nrunning; w++)
        fm_worker_authority_changed(&d->workers[w]);
    if (fm_groups_doors(d->groups))
        fm_doors_authority_changed(fm_groups_doors(d->groups));
}

static void authority_wanted(void *user)
{
    struct fm_director *d = user;
    if (d->authority_wanted)
        d->authority_wanted(d);
}

static void out_of_patience(struct fm_timer *t)
{
    fm_container_of(t, struct fm_director, patience)->names_known = true;
}

/* -------- life -------- */

struct slots {
    struct fm_health *health;
    struct fm_board_sum *seen;
    char (*evidence)[FM_EVENT_TEXT_MAX];
    bool *all_down;
};

static void free_slots(struct slots *s)
{
    free(s->health);
    free(s->seen);
    free(s->evidence);
    free(s->all_down);
}

static bool make_slots(struct slots *s, const struct fm_board *b)
{
    size_t n = (size_t)b->nregions * b->ncontexts;
    s->health = calloc(n + 1, sizeof *s->health);
    s->seen = calloc(n + 1, sizeof *s->seen);
    s->evidence = calloc(n + 1, sizeof *s->evidence);
    s->all_down = calloc(b->ncontexts + 1u, sizeof *s->all_down);
    if (!s->health || !s->seen || !s->evidence || !s->all_down) {
        free_slots(s);
        return false;
    }
    struct fm_mono now = fm_mono_now();
    for (unsigned r = 0; r < b->nregions; r++)
        for (unsigned c = 0; c < b->ncontexts; c++) {
            size_t at = r * b->ncontexts + c;
            fm_health_init(&s->health[at], now);
            fm_board_sum(b, r, c, &s->seen[at]);
            snprintf(s->evidence[at], FM_EVENT_TEXT_MAX, "not probed yet");
        }
    return true;
}

static void use_slots(struct fm_director *d, struct fm_board *board, const struct slots *s)
{
    d->board = board;
    d->health = s->health;
    d->seen = s->seen;
    d->evidence = s->evidence;
    d->all_down = s->all_down;
    d->policy = policy_of(board->conf, d->config.mode);
}

enum fm_err fm_director_init(struct fm_director *d, struct fm_loop *l, struct fm_mailbox *m,
                             struct fm_resolver *resolver, struct fm_conf *conf,
                             const struct fm_director_config *c, struct fm_error *e)
{
    FM_ASSERT(conf && c->nworkers > 0 && c->self < conf->nregions);
    FM_ASSERT(c->mode == FM_PROXY_EDGE || c->self_host);
    memset(d, 0, sizeof *d);
    d->config = *c;
    d->config.peers = (struct fm_peers){NULL, NULL}; /* the board has its own */
    d->loop = l;
    d->mailbox = m;
    d->resolver = resolver;
    d->nworkers = c->nworkers;
    d->started = fm_mono_now();
    d->started_wall_ns = fm_wall_now_ns();
    fm_rand_bytes(&d->rand, sizeof d->rand);
    fm_timer_init(&d->poll, polled);
    fm_timer_init(&d->patience, out_of_patience);
    fm_names_init(&d->names, resolver, l, names_changed, d);
    d->seats = fm_seats_new(m, authority_wanted, d);
    d->keyfiles = fm_keyfiles_new(m, c->nworkers);
    if (!d->seats || !d->keyfiles) {
        fm_conf_free(conf);
        return fm_error_set(e, FM_ERR_MEMORY, "no memory for the cells of contexts");
    }
    struct fm_board *board = fm_board_new(conf, c->nworkers, m, alarmed, d, NULL);
    struct slots s;
    if (!board || !make_slots(&s, board)) {
        fm_board_unref(board);
        return fm_error_set(e, FM_ERR_MEMORY, "no memory for the state of regions");
    }
    board->peers = fm_peers_ref(&c->peers);
    board->seats = d->seats;
    board->keyfiles = d->keyfiles;
    use_slots(d, board, &s);
    enum fm_err loads = fm_keyfiles_load(d->keyfiles, conf, e);
    if (loads)
        return loads;
    if (fm_names_set(&d->names, conf, c->mode, c->self) || remake_view(d))
        return fm_error_set(e, FM_ERR_MEMORY, "no memory for a view");
    d->names_known = d->names.waiting == 0;
    d->workers = calloc(c->nworkers, sizeof *d->workers);
    if (!d->workers)
        return fm_error_set(e, FM_ERR_MEMORY, "no memory for workers");
    for (unsigned w = 0; w < c->nworkers; w++) {
        struct fm_worker_config wc = worker_config(d, conf, w);
        enum fm_err err = fm_worker_init(&d->workers[w], &wc, d->view, e);
        if (err)
            return err;
        fm_keyfiles_worker(d->keyfiles, w, &d->workers[w].inbox);
    }
    fm_loop_timer_in_ms(l, &d->poll, POLL_MS);
    fm_loop_timer_in_ms(l, &d->patience, PATIENCE_MS);
    return FM_ERR_OK;
}

enum fm_err fm_director_listen(struct fm_director *d, const struct fm_addr *at, struct fm_error *e)
{
    FM_ASSERT(d->nrunning == 0);
    for (unsigned w = 0; w < d->nworkers; w++) {
        enum fm_err err = fm_worker_listen(&d->workers[w], at, e);
        if (err)
            return err;
    }
    return FM_ERR_OK;
}

static struct fm_groups_config groups_config(const struct fm_director *d,
                                             const struct fm_conf *conf)
{
    return (struct fm_groups_config){
        .conf = conf,
        .host = (unsigned)fm_conf_find_host(conf, fm_str_z(d->config.self_host)),
        .seats = d->seats,
        .nworkers = d->nworkers,
        .names = &d->names,
        .tls = d->board->peers.client};
}

enum fm_err fm_director_start(struct fm_director *d, struct fm_error *e)
{
    FM_ASSERT(d->nrunning == 0 && d->view && !d->groups);
    if (d->config.mode == FM_PROXY_GATE) {
        const struct fm_conf *conf = d->board->conf;
        struct fm_groups_config c = groups_config(d, conf);
        bool named = fm_conf_find_host(conf, fm_str_z(d->config.self_host)) >= 0;
        enum fm_err err = named ? fm_groups_open(&c, &d->groups, e) : FM_ERR_OK;
        if (err)
            return err;
    }
    for (; d->nrunning < d->nworkers; d->nrunning++) {
        enum fm_err err = fm_worker_start(&d->workers[d->nrunning], e);
        if (err) {
            fm_director_drain(d, 0); /* those that run must end before they are joined */
            return err;
        }
    }
    return FM_ERR_OK;
}

/* The machines of regions and contexts that go on under the same names go on too. */
static void inherit_health(const struct fm_director *d, const struct slots *to,
                           const struct fm_board *board)
{
    const struct fm_conf *now = d->board->conf, *next = board->conf;
    for (unsigned c = 0; c < board->ncontexts; c++) {
        int fc = fm_conf_find_context(now, next->contexts[c].name);
        to->all_down[c] = fc >= 0 && d->all_down[fc];
    }
    for (unsigned r = 0; r < board->nregions; r++) {
        int fr = fm_conf_find_region(now, next->regions[r].name);
        for (unsigned c = 0; fr >= 0 && c < board->ncontexts; c++) {
            int fc = fm_conf_find_context(now, next->contexts[c].name);
            if (fc < 0)
                continue;
            size_t from = (size_t)fr * d->board->ncontexts + (size_t)fc;
            size_t at = (size_t)r * board->ncontexts + c;
            to->health[at] = d->health[from];
            memcpy(to->evidence[at], d->evidence[from], FM_EVENT_TEXT_MAX);
        }
    }
}

/* Names point into their configuration: those of the one that goes are not kept. */
static void go_back(struct fm_director *d)
{
    struct fm_error e = {0};
    const struct fm_conf *conf = d->board->conf;
    enum fm_err err = fm_names_set(&d->names, conf, d->config.mode, d->config.self);
    FM_ASSERT(!err); /* as much memory as a moment ago */
    if (fm_keyfiles_load(d->keyfiles, conf, &e))
        fm_log(FM_LOG_ERROR, "keys_not_loaded", FM_KE(&e));
}

enum fm_err fm_director_reload(struct fm_director *d, struct fm_conf *conf,
                               const struct fm_director_config *c, struct fm_error *e)
{
    struct fm_board *old = d->board;
    FM_ASSERT(conf && conf != old->conf && c->self < conf->nregions);
    struct fm_board *board = fm_board_new(conf, d->nworkers, d->mailbox, alarmed, d, old);
    struct slots s, before = {d->health, d->seen, d->evidence, d->all_down};
    if (!board || !make_slots(&s, board)) {
        fm_board_unref(board);
        return fm_error_set(e, FM_ERR_MEMORY, "no memory for the state of regions");
    }
    board->peers = fm_peers_ref(&c->peers);
    board->seats = d->seats;
    board->keyfiles = d->keyfiles;
    inherit_health(d, &s, board);
    struct fm_director_config was = d->config;
    use_slots(d, board, &s);
    struct fm_error keys = {0};
    if (fm_keyfiles_load(d->keyfiles, conf, &keys))
        fm_log(FM_LOG_ERROR, "keys_not_loaded", FM_KE(&keys));
    d->config.self = c->self;
    d->config.access_sample_ppm = c->access_sample_ppm;
    if (fm_names_set(&d->names, conf, d->config.mode, c->self) || remake_view(d)) {
        d->config = was;
        use_slots(d, old, &before);
        free_slots(&s);
        go_back(d);
        fm_board_unref(board);
        return fm_error_set(e, FM_ERR_STATE, "no view can be made of it; the old one goes on");
    }
    free_slots(&before);
    fm_board_unref(old);
    for (unsigned at = 0; at < board->ncontexts; at++)
        watch_fail_open(d, at); /* there may be other regions now */
    for (unsigned w = 0; w < d->nrunning; w++) {
        struct fm_worker_config wc = worker_config(d, conf, w);
        fm_worker_set_config(&d->workers[w], &wc);
    }
    if (d->groups) {
        struct fm_groups_config g = groups_config(d, conf);
        fm_groups_reset(d->groups, &g);
    }
    return FM_ERR_OK;
}

void fm_director_drain(struct fm_director *d, int64_t finish_ms)
{
    FM_ASSERT(finish_ms >= 0 && d->nrunning <= d->nworkers);
    for (unsigned w = 0; w < d->nrunning; w++)
        fm_worker_drain(&d->workers[w], finish_ms);
    if (fm_groups_doors(d->groups))
        fm_doors_drain(fm_groups_doors(d->groups));
}

void fm_director_join(struct fm_director *d)
{
    for (unsigned w = 0; w < d->nrunning; w++)
        fm_worker_join(&d->workers[w]);
    d->nrunning = 0;
    fm_groups_free(d->groups);
    d->groups = NULL;
}

void fm_director_deinit(struct fm_director *d)
{
    FM_ASSERT(d->nrunning == 0 && !d->groups);
    fm_loop_cancel(d->loop, &d->poll);
    fm_loop_cancel(d->loop, &d->patience);
    for (unsigned w = 0; d->workers && w < d->nworkers; w++)
        if (d->workers[w].scratch)
            fm_worker_deinit(&d->workers[w]);
    free(d->workers);
    fm_keyfiles_free(d->keyfiles, d->loop);
    fm_names_deinit(&d->names);
    struct slots s = {d->health, d->seen, d->evidence, d->all_down};
    free_slots(&s);
    free(d->asked);
    fm_view_unref(d->view);
    fm_board_unref(d->board);
    fm_seats_free(d->seats);
}
