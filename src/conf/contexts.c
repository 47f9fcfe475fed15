/* Contexts, and the rules inside of one section (timeouts, probe, edge). Keeps the
 * invariant that a context has inherited before its own keys are read, and its routes after. */
#include "conf/addr.h"
#include "conf/decode.h"

#include "base/assert.h"

static const struct {
    const char *key;
    enum fm_conf_sticky kind;
} sticky_kinds[] = {
    {"cookie", FM_STICKY_COOKIE},
    {"header", FM_STICKY_HEADER},
    {"path", FM_STICKY_PATH},
    {"client", FM_STICKY_CLIENT},
};

void fm_decode_sticky(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                      void *at)
{
    struct fm_conf_context *c = at;
    if (!fm_decode_want(l, row, n, FM_NODE_MAP))
        return;
    fm_decode_section(l, row->section, n, c);
    for (size_t i = 0; i < FM_COUNT(sticky_kinds); i++)
        if (fm_node_getz(n, sticky_kinds[i].key))
            c->sticky.kind = sticky_kinds[i].kind;
    FM_ASSERT(c->sticky.kind <= FM_STICKY_CLIENT);
}

/* With `sticky: {path: id}` every route must have {id}. */
static void check_sticky(struct fm_load *l, const struct fm_node *n,
                         const struct fm_conf_context *c)
{
    const struct fm_node *at = fm_node_getz(fm_node_getz(n, "sticky"), "path");
    if (c->sticky.kind != FM_STICKY_PATH || !at)
        return;
    for (size_t i = 0; i < c->nroutes; i++) {
        if (!c->routes[i].path.p || fm_route_has_segment(&c->routes[i], c->sticky.name))
            continue;
        fm_report_error(l->report, at->pos, "the route `%s` in line %u has no segment `{%s}`",
                        FM_Q(c->routes[i].path), c->routes[i].pos.line, FM_Q(c->sticky.name));
        fm_report_advice(l->report, "every route of the context must have it; or be sticky by "
                                    "`cookie`, `header` or `client`");
    }
}

static void decode_context(struct fm_load *l, const struct fm_schema_row *row,
                           const struct fm_node *n, unsigned index)
{
    FM_ASSERT(index < FM_CONF_CONTEXTS_MAX);
    struct fm_conf_context *c = &l->conf->contexts[index];
    const struct fm_policy *policy = &l->root->policy;
    size_t errors = l->report->errors;
    *c = (struct fm_conf_context){
        .name = n->key,
        .routing = policy->routing,
        .timeouts = policy->timeouts,
        .retry = policy->retry,
        .in_flight_max = policy->in_flight_max,
        .when_away.hold_ms = -1,
        .objectives = {.rto_ms = -1, .rpo_ms = -1, .rpo_bytes = -1},
        .pos = n->key_pos,
    };
    FM_ASSERT(!l->context_node[index] && n->key.p);
    l->context_node[index] = n;
    if (fm_decode_name(l, n, "a context")) {
        fm_decode_defaults(l, &fm_schema_context, c);
        fm_decode_value(l, row->item, n, c);
    }
    fm_authority_settle(c, n);
    bool sound = l->report->errors == errors && fm_node_is_sound(n);
    if (sound) {
        check_sticky(l, n, c);
        fm_authority_fits(l, c, n);
    }
    l->context_bad[index] = !sound || l->report->errors > errors;
}

void fm_decode_contexts(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                        void *at)
{
    (void)at;
    if (!fm_decode_want(l, row, n, FM_NODE_MAP) || !fm_decode_count(l, row, n))
        return;
    l->conf->contexts = fm_load_alloc(l, n->n, sizeof *l->conf->contexts);
    if (!l->conf->contexts)
        return;
    fm_node_each(child, n) decode_context(l, row, child, (unsigned)l->conf->ncontexts++);
    FM_ASSERT(l->conf->ncontexts == n->n);
}

/* `key` of the map where it says it, else the map: the place of a contradiction. */
static struct fm_conf_pos place(const struct fm_node *map, const char *key, const char *or_key)
{
    const struct fm_node *n = fm_node_getz(map, key);
    n = n ? n : fm_node_getz(map, or_key);
    FM_ASSERT(n || map);
    return n ? n->pos : map->pos;
}

void fm_check_timeouts(struct fm_load *l, const struct fm_node *map, void *at)
{
    const struct fm_conf_timeouts *t = at;
    FM_ASSERT(t->connect_ms > 0 && t->first_byte_ms > 0 && t->total_ms > 0);
    if (t->connect_ms > t->first_byte_ms)
        fm_report_error(l->report, place(map, "connect", "first-byte"),
                        "`connect` (%s) is more than `first-byte` (%s)",
                        fm_scalar_duration_text(t->connect_ms).s,
                        fm_scalar_duration_text(t->first_byte_ms).s);
    if (t->first_byte_ms > t->total_ms) {
        fm_report_error(l->report, place(map, "first-byte", "total"),
                        "`first-byte` (%s) is more than `total` (%s)",
                        fm_scalar_duration_text(t->first_byte_ms).s,
                        fm_scalar_duration_text(t->total_ms).s);
        fm_report_advice(l->report, "say both here: what is not said is inherited");
    }
}

void fm_check_probe(struct fm_load *l, const struct fm_node *map, void *at)
{
    const struct fm_conf_probe *p = at;
    FM_ASSERT(p->samples > 0 && p->successes > 0 && p->fast_interval_ms > 0);
    if (p->successes > p->samples)
        fm_report_error(l->report, place(map, "successes", "samples"),
                        "`successes` (%u) is more than `samples` (%u), so nothing would ever count "
                        "as well",
                        p->successes, p->samples);
    if (p->fast_interval_ms > p->interval_ms)
        fm_report_error(l->report, place(map, "fast-interval", "interval"),
                        "`fast-interval` (%s) is more than `interval` (%s)",
                        fm_scalar_duration_text(p->fast_interval_ms).s,
                        fm_scalar_duration_text(p->interval_ms).s);
}

/* What one edge process binds: each pair must be different places. */
void fm_check_edge(struct fm_load *l, const struct fm_node *map, void *at)
{
    const struct fm_conf_edge *e = at;
    const struct fm_conf_addr *all[FM_CONF_LISTEN_MAX + 2];
    size_t n = 0;
    FM_ASSERT(e->nlisten <= FM_CONF_LISTEN_MAX);
    for (size_t i = 0; i < e->nlisten; i++)
        all[n++] = &e->listen[i].address;
    if (e->ready.present)
        all[n++] = &e->ready.address;
    all[n++] = &e->admin;
    FM_ASSERT(n <= FM_COUNT(all));
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++) {
            const struct fm_conf_addr *a = all[i], *b = all[k];
            if (!fm_conf_addr_overlap(a, b))
                continue;
            bool place_known = a->pos.line != 0; /* a default has no place: blame the other */
            fm_report_error(l->report, place_known ? a->pos : b->pos,
                            "`%s` is taken by `%s`%s of the same edge",
                            FM_Q((place_known ? a : b)->text), FM_Q((place_known ? b : a)->text),
                            place_known ? "" : " (`admin`, by default)");
            fm_report_advice(l->report, "give each its own port or its own address");
            break;
        }
    }
    if (e->limits.replay_body_bytes > e->limits.body_bytes) {
        const struct fm_node *limits = fm_node_getz(map, "limits");
        fm_report_error(l->report, place(limits, "replay-body", "body"),
                        "`replay-body` (%s) is more than `body` (%s)",
                        fm_scalar_size_text(e->limits.replay_body_bytes).s,
                        fm_scalar_size_text(e->limits.body_bytes).s);
        fm_report_advice(l->report, "what is larger than `body` never comes in: say both");
    }
    uint32_t block = e->limits.header_bytes > FM_CONF_BLOCK_BYTES_MIN ? e->limits.header_bytes
                                                                      : FM_CONF_BLOCK_BYTES_MIN;
    if (e->limits.replay_body_bytes > FM_CONF_REPLAY_BLOCKS * block) {
        fm_report_error(l->report, place(fm_node_getz(map, "limits"), "replay-body", "header"),
                        "`replay-body` (%s) is more than four times `header` (%s), and more than "
                        "64KiB",
                        fm_scalar_size_text(e->limits.replay_body_bytes).s,
                        fm_scalar_size_text(e->limits.header_bytes).s);
        fm_report_advice(l->report, "write `replay-body: %s`, or raise `header`",
                         fm_scalar_size_text(FM_CONF_REPLAY_BLOCKS * block).s);
    }
}
