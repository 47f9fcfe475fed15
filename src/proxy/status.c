/* Status as JSON: intent and health apart, why, since when, and what the evidence was. Unknown is
 * null, never 0; units are in the names; times are RFC 3339. */
#include "proxy/status.h"

#include "base/assert.h"
#include "proxy/groups.h"

#include <stdlib.h>

enum { EVENTS_SHOWN = 64 };

static json_t *str_json(struct fm_str s)
{
    return json_stringn(s.p ? s.p : "", s.n);
}

static json_t *time_json(int64_t wall_ns)
{
    char text[FM_RFC3339_LEN];
    fm_wall_format(text, wall_ns);
    return json_string(text);
}

/* An instant of the boot clock as a wall clock time. */
static json_t *mono_json(struct fm_mono t)
{
    FM_ASSERT(t.ns >= 0);
    if (t.ns == 0)
        return json_null();
    return time_json(fm_wall_now_ns() - (fm_mono_now().ns - t.ns));
}

static json_t *counts_json(const struct fm_health_counts *c)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "ok", (json_int_t)c->ok, "slow",
                     (json_int_t)c->slow, "error", (json_int_t)c->error, "connect",
                     (json_int_t)c->connect, "reset", (json_int_t)c->reset, "timeout",
                     (json_int_t)c->timeout);
}

static json_t *outcomes_json(const struct fm_board_sum *s)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "ok", (json_int_t)s->outcome[FM_OUTCOME_OK],
                     "error", (json_int_t)s->outcome[FM_OUTCOME_ERROR], "refused",
                     (json_int_t)s->outcome[FM_OUTCOME_REFUSED], "connect",
                     (json_int_t)s->outcome[FM_OUTCOME_CONNECT], "reset",
                     (json_int_t)s->outcome[FM_OUTCOME_RESET], "timeout",
                     (json_int_t)s->outcome[FM_OUTCOME_TIMEOUT], "cancelled",
                     (json_int_t)s->outcome[FM_OUTCOME_CANCELLED]);
}

static const char *intent_name(unsigned serve_permille)
{
    return serve_permille < 1000 ? "drain" : "serve";
}

static json_t *region_context_json(const struct fm_director *d, unsigned r, unsigned c)
{
    const struct fm_health *h = fm_director_health(d, r, c);
    const struct fm_board_slot *slot = fm_board_slot(d->board, r, c);
    struct fm_board_sum sum;
    fm_board_sum(d->board, r, c, &sum);
    FM_ASSERT(h->state < FM_HEALTH_STATE_COUNT && h->why < FM_HEALTH_WHY_COUNT);
    struct fm_health_counts window = fm_health_window(h);
    struct fm_mono last = {(int64_t)sum.last_sent_ns};
    json_t *o = json_object();
    json_object_set_new(o, "context", str_json(d->board->conf->contexts[c].name));
    json_object_set_new(o, "health", json_string(fm_health_state_name(h->state)));
    json_object_set_new(o, "reason", json_string(fm_health_reason_name(h->why)));
    json_object_set_new(o, "why", json_string(fm_health_reason_text(h->why)));
    json_object_set_new(o, "since", mono_json(h->since));
    json_object_set_new(o, "share_permille",
                        json_integer(fm_board_share(atomic_load(&slot->word))));
    json_object_set_new(o, "intent", json_string(intent_name(atomic_load(&slot->serve))));
    json_object_set_new(o, "serve_permille", json_integer(atomic_load(&slot->serve)));
    json_object_set_new(o, "in_flight", json_integer(atomic_load(&slot->in_flight)));
    json_object_set_new(o, "probe", json_string(d->evidence[r * d->board->ncontexts + c]));
    json_object_set_new(o, "last_second", counts_json(&window));
    json_object_set_new(o, "sent_total", json_integer((json_int_t)sum.sent));
    json_object_set_new(o, "last_sent_at", mono_json(last));
    json_object_set_new(o, "last_sent_boot_ns",
                        last.ns ? json_integer((json_int_t)last.ns) : json_null());
    json_object_set_new(o, "outcomes", outcomes_json(&sum));
    return o;
}

static json_t *endpoints_json(const struct fm_view *v, unsigned r)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < v->nendpoints; i++) {
        const struct fm_view_endpoint *e = &v->endpoints[i];
        if (e->region != r)
            continue;
        FM_ASSERT(e->pool < v->regions[r].npools);
        bool drained = atomic_load(&e->drained);
        json_array_append_new(list, json_pack("{s:s,s:o,s:s?,s:s,s:b}", "address", e->text, "pool",
                                              str_json(v->regions[r].pools[e->pool].name), "host",
                                              e->peer, "intent", intent_name(drained ? 0 : 1000),
                                              "probe_down", (int)atomic_load(&e->probe_down)));
    }
    return list;
}

/* The whole region is drained where every context of it is. */
static unsigned region_serve(const struct fm_board *b, unsigned r)
{
    unsigned most = 0;
    for (unsigned c = 0; c < b->ncontexts; c++) {
        unsigned serve = atomic_load(&fm_board_slot(b, r, c)->serve);
        most = serve > most ? serve : most;
    }
    return most;
}

static json_t *region_json(const struct fm_director *d, unsigned r)
{
    const struct fm_conf_region *cr = &d->board->conf->regions[r];
    json_t *contexts = json_array();
    for (unsigned c = 0; c < d->board->ncontexts && !cr->witness; c++)
        json_array_append_new(contexts, region_context_json(d, r, c));
    json_t *o = json_object();
    json_object_set_new(o, "region", str_json(cr->name));
    json_object_set_new(o, "witness", json_boolean(cr->witness));
    json_object_set_new(o, "intent", json_string(intent_name(region_serve(d->board, r))));
    json_object_set_new(o, "priority", json_integer((json_int_t)cr->priority));
    json_object_set_new(o, "weight", json_integer((json_int_t)cr->weight));
    json_object_set_new(o, "gates", json_boolean(d->view->regions[r].gates));
    json_object_set_new(o, "endpoints", endpoints_json(d->view, r));
    json_object_set_new(o, "contexts", contexts);
    return o;
}

static json_t *context_json(const struct fm_director *d, unsigned c)
{
    const struct fm_board *b = d->board;
    struct fm_hist_view *h = calloc(1, sizeof *h);
    uint64_t status[6] = {0}, commands = 0, queries = 0;
    for (unsigned w = 0; w < b->nworkers && h; w++) {
        const struct fm_board_context_stats *s = &b->context[w * b->ncontexts + c];
        fm_hist_view_add(h, &s->latency_us);
        for (unsigned i = 0; i < FM_COUNT(status); i++)
            status[i] += fm_counter_get(&s->status[i]);
        commands += fm_counter_get(&s->commands);
        queries += fm_counter_get(&s->queries);
    }
    json_t *o = json_object();
    json_object_set_new(o, "context", str_json(b->conf->contexts[c].name));
    json_object_set_new(o, "fail_open", json_boolean(d->all_down[c]));
    json_object_set_new(o, "commands_total", json_integer((json_int_t)commands));
    json_object_set_new(o, "queries_total", json_integer((json_int_t)queries));
    static const char *const cls[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    json_t *by_class = json_object();
    for (unsigned i = 0; i < FM_COUNT(status); i++)
        json_object_set_new(by_class, cls[i], json_integer((json_int_t)status[i]));
    json_object_set_new(o, "answers", by_class);
    bool any = h && h->count;
    json_object_set_new(o, "latency_p50_us",
                        any ? json_integer((json_int_t)fm_hist_view_quantile(h, 500))
                            : json_null());
    json_object_set_new(o, "latency_p99_us",
                        any ? json_integer((json_int_t)fm_hist_view_quantile(h, 990))
                            : json_null());
    free(h);
    return o;
}

static json_t *events_json(const struct fm_director *d)
{
    json_t *list = json_array();
    uint64_t n = d->nevents < EVENTS_SHOWN ? d->nevents : EVENTS_SHOWN;
    for (uint64_t i = d->nevents - n; i < d->nevents; i++) {
        const struct fm_event *e = &d->event[i % FM_EVENTS_MAX];
        FM_ASSERT(e->number == i + 1);
        json_array_append_new(
            list,
            json_pack("{s:I,s:o,s:I,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "number", (json_int_t)e->number,
                      "at", time_json(e->wall_ns), "boot_ns", (json_int_t)e->boot_ns, "region",
                      e->region, "context", e->context, "from", fm_health_state_name(e->from), "to",
                      fm_health_state_name(e->to), "reason", fm_health_reason_name(e->why), "why",
                      fm_health_reason_text(e->why), "evidence", e->text));
    }
    return list;
}

static json_t *totals_json(const struct fm_director *d)
{
    json_t *o = json_object();
#define X(field, name, help)                                                                       \
    {                                                                                              \
        uint64_t sum = 0;                                                                          \
        for (unsigned w = 0; w < d->nworkers; w++)                                                 \
            sum += fm_counter_get(&d->workers[w].metrics.field);                                   \
        json_object_set_new(o, name, json_integer((json_int_t)sum));                               \
    }
    FM_PROXY_METRICS(X)
#undef X
    return o;
}

bool fm_status_add(const struct fm_director *d, json_t *root)
{
    FM_ASSERT(d->view && d->view->board == d->board);
    json_t *regions = json_array(), *contexts = json_array();
    for (unsigned r = 0; r < d->board->nregions; r++)
        if (d->config.mode == FM_PROXY_EDGE || r == d->config.self)
            json_array_append_new(regions, region_json(d, r));
    for (unsigned c = 0; c < d->board->ncontexts; c++)
        json_array_append_new(contexts, context_json(d, c));
    int rc = json_object_set_new(root, "service", str_json(d->board->conf->service));
    rc |= json_object_set_new(root, "generation", json_integer((json_int_t)d->generation));
    rc |= json_object_set_new(root, "generation_in_use",
                              json_integer((json_int_t)fm_director_in_use(d)));
    rc |= json_object_set_new(root, "started_at", time_json(d->started_wall_ns));
    rc |= json_object_set_new(root, "workers", json_integer((json_int_t)d->nworkers));
    rc |= json_object_set_new(root, "connections",
                              json_integer((json_int_t)atomic_load(&d->connections)));
    rc |= json_object_set_new(root, "regions", regions);
    rc |= json_object_set_new(root, "contexts", contexts);
    rc |= json_object_set_new(root, "keys", fm_keyfiles_json(d->keyfiles));
    rc |= json_object_set_new(root, "totals", totals_json(d));
    rc |= json_object_set_new(root, "events", events_json(d));
    if (fm_groups_doors(d->groups))
        rc |= json_object_set_new(root, "doors", fm_doors_json(fm_groups_doors(d->groups)));
    return rc == 0;
}
