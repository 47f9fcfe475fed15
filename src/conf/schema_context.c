/* The table of the language: contexts and routes, and what they inherit. See schema.h;
 * constant data. Rows with FM_ROW_INHERITS take their default from the level above. */
#include "conf/schema_rows.h"

/* routing, timeouts, limits, retry: at the top level, in contexts, and (not limits) in routes */

static const struct fm_word routing_words[] = {
    {"priority", FM_ROUTING_PRIORITY, "the lowest `priority` that is well, then by `weight`",
     false},
    {"latency", FM_ROUTING_LATENCY, "the nearest by measured latency, within `band`", false},
    {"weight", FM_ROUTING_WEIGHT, "by `weight` over all that are well", false},
};

static const struct fm_schema_row routing_rows[] = {
    {.name = "by",
     .kind = FM_KIND_WORD,
     AT(struct fm_conf_routing, by),
     WORDS(routing_words),
     .def = "priority",
     .help = "What decides between regions that may answer."},
    {.name = "band",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_routing, band_ms),
     RANGE(0, 10 * SECOND),
     .def = "20ms",
     .help = "With `latency`: regions that are slower than the best by less than this count as "
             "equally near."},
};

const struct fm_schema_section fm_schema_routing = {
    .id = "routing",
    .title = "routing",
    ROWS(routing_rows),
    .help = "Which region answers, where more than one may.",
};

static const struct fm_schema_row timeouts_rows[] = {
    {.name = "connect",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_timeouts, connect_ms),
     RANGE(1, MINUTE),
     .def = "250ms",
     .help = "Opening a connection; at most `first-byte`."},
    {.name = "first-byte",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_timeouts, first_byte_ms),
     RANGE(1, HOUR),
     .def = "10s",
     .help = "From the end of the request to the first byte of the answer, of one try; at most "
             "`total`."},
    {.name = "total",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_timeouts, total_ms),
     RANGE(1, DAY),
     .def = "60s",
     .help = "From the end of the request to the head of the answer, over all tries; bodies obey "
             "`edge.min-body-rate`."},
};

const struct fm_schema_section fm_schema_timeouts = {
    .id = "timeouts",
    .title = "timeouts",
    ROWS(timeouts_rows),
    .help = "Towards apps and gates.",
    .check = fm_check_timeouts,
};

static const struct fm_schema_row limits_rows[] = {
    {.name = "in-flight",
     .kind = FM_KIND_UINT,
     .size = sizeof(uint32_t),
     RANGE(1, 1000000),
     .def = "2000",
     .help = "Requests at once, of one edge, to one region and context; more get 503."},
};

const struct fm_schema_section fm_schema_limits = {
    .id = "limits",
    .title = "limits",
    ROWS(limits_rows),
    .help = "Bulkheads: one context cannot take what the others need.",
};

static const struct fm_word hedge_words[] = {
    {"p95", FM_HEDGE_P95, "slower than 95% of its like", false},
    {"p99", FM_HEDGE_P99, "slower than 99% of its like", false},
    {"never", FM_HEDGE_NEVER, "no second request", false},
};

static const struct fm_schema_row hedge_items[] = {
    {.kind = FM_KIND_WORD, AT(struct fm_conf_retry, hedge), WORDS(hedge_words)},
    {.kind = FM_KIND_DURATION, AT(struct fm_conf_retry, hedge_ms), RANGE(1, MINUTE)},
};

static const struct fm_schema_row retry_rows[] = {
    {.name = "other-regions",
     .kind = FM_KIND_UINT,
     AT(struct fm_conf_retry, other_regions),
     RANGE(0, FM_CONF_REGIONS_MAX - 1),
     .def = "2",
     .help = "Regions tried after the first."},
    {.name = "budget",
     .kind = FM_KIND_PERCENT,
     AT(struct fm_conf_retry, budget_ppm),
     .def = "20%",
     .help = "Second tries and hedges, as a share of the requests in flight."},
    {.name = "budget-floor",
     .kind = FM_KIND_UINT,
     AT(struct fm_conf_retry, budget_floor),
     RANGE(0, 10000),
     .def = "10",
     .help = "So many at once are allowed in any case, per worker."},
    {.name = "hedge-after",
     .kind = FM_KIND_EITHER,
     ITEMS(hedge_items),
     .tag = FM_HEDGE_FIXED,
     .def = "p95",
     .help =
         "A query that takes longer is sent to a second region as well; the first answer wins."},
};

const struct fm_schema_section fm_schema_retry = {
    .id = "retry",
    .title = "retry",
    ROWS(retry_rows),
    .help = "Trying again elsewhere, within a budget so that it never makes an outage worse.",
};

/* routes */

static const struct fm_word as_words[] = {
    {"query", FM_AS_QUERY, "changes nothing, whatever the method", false},
    {"command", FM_AS_COMMAND, "may change state, whatever the method", false},
};

static const struct fm_schema_row method_item = {.kind = FM_KIND_METHOD};

static const struct fm_schema_row route_rows[] = {
    {.name = "path",
     .kind = FM_KIND_ROUTE_PATH,
     .flags = FM_ROW_REQUIRED,
     AT(struct fm_conf_route, path),
     .example = "path: /**",
     .help = "Literal segments, `{name}` for any one segment, `**` at the end for any number, also "
             "none."},
    {.name = "methods",
     .kind = FM_KIND_LIST,
     .flags = FM_ROW_UNIQUE,
     LIST_AT(struct fm_conf_route, methods, nmethods),
     RANGE(1, FM_CONF_LIST_MAX),
     ITEM(method_item),
     .def_note = "every method",
     .help = "A route with methods is more specific than the same path without."},
    {.name = "as",
     .kind = FM_KIND_WORD,
     AT(struct fm_conf_route, as),
     WORDS(as_words),
     .def_note = "by the method, see `commands`",
     .help = "What the requests of this route are."},
    {.name = "safe",
     .kind = FM_KIND_BOOL,
     AT(struct fm_conf_route, safe),
     .def = "true",
     .help = "With `false` a request is never repeated and never hedged."},
    {.name = "timeouts",
     .kind = FM_KIND_SECTION,
     .flags = FM_ROW_INHERITS,
     AT(struct fm_conf_route, timeouts),
     .section = &fm_schema_timeouts,
     .help = "Replaces single keys."},
    {.name = "retry",
     .kind = FM_KIND_SECTION,
     .flags = FM_ROW_INHERITS,
     AT(struct fm_conf_route, retry),
     .section = &fm_schema_retry,
     .help = "Replaces single keys."},
    {.name = "routing",
     .kind = FM_KIND_SECTION,
     .flags = FM_ROW_INHERITS,
     AT(struct fm_conf_route, routing),
     .section = &fm_schema_routing,
     .help = "Replaces single keys."},
    {.name = "relay",
     .kind = FM_KIND_BOOL,
     AT(struct fm_conf_route, relay),
     .def = "false",
     .help = "With `true` a gate that may not take a command, because another region holds its "
             "cell, passes it on to a gate of that region; and an edge that reaches no gate of the "
             "holder's region sends it to another region's."},
    {.name = "when-away",
     .kind = FM_KIND_SECTION,
     .flags = FM_ROW_INHERITS,
     AT(struct fm_conf_route, when_away),
     .section = &fm_schema_when_away,
     .help = "Replaces single keys."},
    {.name = "concurrent",
     .kind = FM_KIND_BOOL,
     AT(struct fm_conf_route, concurrent),
     .def = "false",
     .help = "With `when-away: {commands: override}`: the override does not wait until the "
             "holder's lease is known to have run out; both may take commands then."},
};

const struct fm_schema_section fm_schema_route = {
    .id = "route",
    .title = "contexts.NAME.routes[]",
    ROWS(route_rows),
    .help = "The most specific route wins: by host (exact, then the longest `*.`, then any), then "
            "by path from the left (literal, `{name}`, `**`), then by method. Two that are equally "
            "specific are an error. No match is 404.",
};

static const struct fm_schema_row route_items[] = {
    {.kind = FM_KIND_ROUTE_PATH},
    {.kind = FM_KIND_SECTION, .section = &fm_schema_route},
};
static const struct fm_schema_row route_item = {.kind = FM_KIND_EITHER, ITEMS(route_items)};

/* contexts */

static const struct fm_word topology_words[] = {
    {"multi-write", FM_TOPOLOGY_MULTI_WRITE, "every region may write; the app resolves conflicts",
     false},
    {"active-passive", FM_TOPOLOGY_ACTIVE_PASSIVE, "one region writes, failover moves it", false},
    {"affinity", FM_TOPOLOGY_AFFINITY, "each key has a home region, which alone writes it", false},
};

static const struct fm_word queries_words[] = {
    {"any", true, "every region may answer", false},
    {"home", false, "only the region that may write answers", false},
};

static const struct fm_schema_row sticky_rows[] = {
    {.name = "cookie",
     .kind = FM_KIND_TOKEN,
     AT(struct fm_conf_context, sticky.name),
     .help = "The value of this cookie."},
    {.name = "header",
     .kind = FM_KIND_TOKEN,
     AT(struct fm_conf_context, sticky.name),
     .help = "The value of this request header."},
    {.name = "path",
     .kind = FM_KIND_TEXT,
     AT(struct fm_conf_context, sticky.name),
     RANGE(1, 64),
     .help = "The segment `{name}` of the path; every route of the context must have it."},
    {.name = "client",
     .kind = FM_KIND_UINT,
     AT(struct fm_conf_context, sticky.client_bits),
     RANGE(8, 32),
     .help = "The first so many bits of the client's IPv4 address; of IPv6 twice as many."},
};

const struct fm_schema_section fm_schema_sticky = {
    .id = "sticky",
    .title = "contexts.NAME.sticky",
    ROWS(sticky_rows),
    .help = "Exactly one of these. The same value goes to the same region, by rendezvous hashing "
            "over the regions that may answer.",
    .exactly_one = true,
};

static const struct fm_schema_row pattern_item = {.kind = FM_KIND_HOST_PATTERN};
static const struct fm_schema_row name_item = {.kind = FM_KIND_NAME};

static const struct fm_schema_row context_rows[] = {
    {.name = "topology",
     .kind = FM_KIND_WORD,
     .flags = FM_ROW_REQUIRED,
     AT(struct fm_conf_context, topology),
     .reload = FM_RELOAD_FIXED,
     WORDS(topology_words),
     .example = "topology: multi-write",
     .help = "Who may write. Always said."},
    {.name = "app",
     .kind = FM_KIND_NAME,
     AT(struct fm_conf_context, app),
     .def_note = "`default`, or the only pool",
     .help = "The pool that serves it; every region must have it."},
    {.name = "hosts",
     .kind = FM_KIND_LIST,
     .flags = FM_ROW_UNIQUE,
     LIST_AT(struct fm_conf_context, hosts, nhosts),
     RANGE(1, FM_CONF_LIST_MAX),
     ITEM(pattern_item),
     .def_note = "any",
     .help =
         "The Host of its requests, compared before the path; `\"*.x\"` is every name below x."},
    {.name = "home",
     .kind = FM_KIND_NAME,
     AT(struct fm_conf_context, home),
     .reload = FM_RELOAD_SHARED,
     .decode = fm_decode_home,
     .def_note = "the region of the lowest `priority`",
     .help = "`active-passive`: the region that writes first, and the goal of failback. Editing it "
             "moves nothing."},
    {.name = "cells",
     .kind = FM_KIND_UINT,
     AT(struct fm_conf_context, ncells),
     .reload = FM_RELOAD_FIXED,
     RANGE(2, FM_CONF_CELLS_MAX),
     .def_note = "`16`",
     .help = "`affinity`: the units of write authority. A region's cells move one by one."},
    {.name = "homes",
     .kind = FM_KIND_SECTION,
     .reload = FM_RELOAD_SHARED,
     .section = &fm_schema_homes,
     .help = "`affinity`: which key lives where."},
    {.name = "key",
     .kind = FM_KIND_SECTION,
     .reload = FM_RELOAD_SHARED,
     .section = &fm_schema_key,
     .decode = fm_decode_key,
     .def_note = "required with `affinity`",
     .help = "Where a request says what it is about. With `active-passive` it only keeps what is "
             "queued in order per key."},
    {.name = "moves-with",
     .kind = FM_KIND_LIST,
     .flags = FM_ROW_UNIQUE,
     .stride = sizeof(struct fm_str),
     .reload = FM_RELOAD_SHARED,
     RANGE(0, FM_CONF_LIST_MAX),
     ITEM(name_item),
     .decode = fm_decode_moves_with,
     .def_note = "none",
     .help = "Contexts that fail over together with this one; said of one, it holds for all of "
             "them. Their homes, leases and `failover` must agree."},
    {.name = "lease",
     .kind = FM_KIND_DURATION,
     AT(struct fm_conf_context, lease_ms),
     .reload = FM_RELOAD_SHARED,
     RANGE(100, 10 * MINUTE),
     .def = "2s",
     .help = "How long a grant to write lasts. Nobody else may write before it has run out; a "
             "region that cannot renew it stops."},
    {.name = "failover",
     .kind = FM_KIND_SECTION,
     AT(struct fm_conf_context, failover),
     .section = &fm_schema_failover,
     .help = "When and by whom the right to write moves."},
    {.name = "failback",
     .kind = FM_KIND_SECTION,
     AT(struct fm_conf_context, failback),
     .section = &fm_schema_failback,
     .help = "How it returns home."},
    {.name = "standby",
     .kind = FM_KIND_SECTION,
     AT(struct fm_conf_context, standby),
     PRESENT(struct fm_conf_context, standby.present),
     .section = &fm_schema_standby,
     .def_note = "none: the app runs everywhere",
     .help = "`active-passive`: the app is stopped in the regions that stand by."},
    {.name = "when-away",
     .kind = FM_KIND_SECTION,
     AT(struct fm_conf_context, when_away),
     .section = &fm_schema_when_away,
     .help = "What happens while nobody may write."},
    {.name = "routing",
     .kind = FM_KIND_SECTION,
     .flags = FM_ROW_INHERITS,
     AT(struct fm_conf_context, routing),
     .section = &fm_schema_routing,
     .help = "Replaces single keys."},
    {.name = "timeouts",
     .kind = FM_KIND_SECTION,
     .flags = FM_ROW_INHERITS,
     AT(struct fm_conf_context, timeouts),
     .section = &fm_schema_timeouts,
     .help = "Replaces single keys."},
    {.name = "limits",
     .kind = FM_KIND_SECTION,
     .flags = FM_ROW_INHERITS,
     AT(struct fm_conf_context, in_flight_max),
     .section = &fm_schema_limits,
     .help = "Replaces single keys."},
    {.name = "retry",
     .kind = FM_KIND_SECTION,
     .flags = FM_ROW_INHERITS,
     AT(struct fm_conf_context, retry),
     .section = &fm_schema_retry,
     .help = "Replaces single keys."},
    {.name = "routes",
     .kind = FM_KIND_LIST,
     LIST_AT(struct fm_conf_context, routes, nroutes),
     RANGE(1, FM_CONF_ROUTES_MAX),
     ITEM(route_item),
     .decode = fm_decode_routes,
     .example = "routes: [\"/**\"]",
     .def_note = "none: a context with a group is only a database then; every other one says it",
     .help = "Which requests are its own: paths, or maps with more to say."},
    {.name = "commands",
     .kind = FM_KIND_LIST,
     .flags = FM_ROW_UNIQUE,
     LIST_AT(struct fm_conf_context, commands, ncommands),
     RANGE(0, FM_CONF_LIST_MAX),
     ITEM(method_item),
     .def = "[POST, PUT, PATCH, DELETE]",
     .help = "Methods that may change state; the rest are queries."},
    {.name = "queries",
     .kind = FM_KIND_WORD,
     AT(struct fm_conf_context, queries_any),
     WORDS(queries_words),
     .def_note = "`home`; with `multi-write` `any`",
     .help = "Which regions may answer queries."},
    LATER("queries-max-staleness", "how old the data behind an answer may be"),
    {.name = "idempotency",
     .kind = FM_KIND_SECTION,
     .section = &fm_schema_idempotency,
     .help = "How doubles of a command are stopped."},
    {.name = "needs",
     .kind = FM_KIND_LIST,
     .flags = FM_ROW_UNIQUE,
     LIST_AT(struct fm_conf_context, needs, nneeds),
     RANGE(0, FM_CONF_LIST_MAX),
     ITEM(name_item),
     .def_note = "none",
     .help = "The checks without which it cannot be served."},
    {.name = "sticky",
     .kind = FM_KIND_SECTION,
     .section = &fm_schema_sticky,
     .decode = fm_decode_sticky,
     .def_note = "none",
     .help = "Keeps a client in its region."},
    {.name = "objectives",
     .kind = FM_KIND_SECTION,
     .section = &fm_schema_objectives,
     .help = "What it promises."},
};

const struct fm_schema_section fm_schema_context = {
    .id = "context",
    .title = "contexts.NAME",
    ROWS(context_rows),
    .help = "A bounded context of the business: its routes, and how they are served.",
};
