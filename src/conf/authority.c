/* Who may write a context: what the keys mean together with the topology. Keeps the invariants that
 * a context with cells has a home for each of them in a region that serves, and that `moves_with`
 * is symmetric and transitive. Whether the world around suffices (gates, coordination, times) is
 * asked in exclusive.c. */
#include "base/assert.h"
#include "conf/decode.h"
#include "core/key.h"

#include <stdio.h>

enum { CELLS_USUAL = 16, HOLD_USUAL_MS = 7000 };

static const char *topology_name(enum fm_conf_topology t)
{
    switch (t) {
    case FM_TOPOLOGY_MULTI_WRITE:
        return "multi-write";
    case FM_TOPOLOGY_ACTIVE_PASSIVE:
        return "active-passive";
    case FM_TOPOLOGY_AFFINITY:
        return "affinity";
    }
    FM_UNREACHABLE();
}

static bool exclusive(const struct fm_conf_context *c)
{
    return c->topology != FM_TOPOLOGY_MULTI_WRITE;
}

/* -------- single keys -------- */

void fm_decode_home(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                    void *at)
{
    struct fm_conf_context *c = at;
    struct fm_str name, names[FM_CONF_REGIONS_MAX];
    if (!fm_decode_text(l, row, n, &name) || !l->conf->nregions)
        return;
    int region = fm_conf_find_region(l->conf, name);
    FM_ASSERT(l->conf->nregions <= FM_CONF_REGIONS_MAX);
    if (region >= 0) {
        c->home = (unsigned)region;
        return;
    }
    for (size_t i = 0; i < l->conf->nregions; i++)
        names[i] = l->conf->regions[i].name;
    struct fm_str near = fm_suggest_name(name, names, l->conf->nregions);
    fm_report_error(l->report, n->pos, "there is no region `%s`", FM_Q(name));
    if (near.p)
        fm_report_advice(l->report, "did you mean `%s`?", near.p);
    else
        fm_report_advice(l->report, "the regions are those of `regions`");
}

/* Only looked at here: the names are found when all contexts are known. */
void fm_decode_moves_with(struct fm_load *l, const struct fm_schema_row *row,
                          const struct fm_node *n, void *at)
{
    struct {
        struct fm_str *name;
        size_t n;
    } unused = {NULL, 0};
    struct fm_schema_row list = *row;
    (void)at;
    list.decode = NULL;
    list.offset = 0;
    list.count = offsetof(__typeof__(unused), n);
    fm_decode_value(l, &list, n, &unused);
}

static const struct {
    const char *key;
    enum fm_conf_key_from from;
} key_kinds[] = {
    {"path", FM_CONF_KEY_PATH},   {"header", FM_CONF_KEY_HEADER}, {"cookie", FM_CONF_KEY_COOKIE},
    {"query", FM_CONF_KEY_QUERY}, {"body", FM_CONF_KEY_BODY},     {"claim", FM_CONF_KEY_CLAIM},
};

void fm_decode_key(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                   void *at)
{
    struct fm_conf_context *c = at;
    struct fm_key_spec spec;
    size_t errors = l->report->errors;
    if (!fm_decode_want(l, row, n, FM_NODE_MAP))
        return;
    fm_decode_section(l, row->section, n, c);
    c->key.present = true;
    const struct fm_node *said = NULL;
    for (size_t i = 0; i < FM_COUNT(key_kinds); i++) {
        const struct fm_node *one = fm_node_getz(n, key_kinds[i].key);
        if (!one)
            continue;
        said = one;
        c->key.from = key_kinds[i].from;
    }
    FM_ASSERT(said || l->report->errors > errors);
    bool field = c->key.from == FM_CONF_KEY_BODY || c->key.from == FM_CONF_KEY_CLAIM;
    if (l->report->errors > errors || !field || fm_key_split(c->key.name, &spec))
        return;
    fm_report_error(l->report, said->pos, "`%s` is not the name of a field", FM_Q(c->key.name));
    fm_report_advice(l->report,
                     "write `field`, or `field.inner` for a field of a field, up to %d "
                     "deep",
                     FM_KEY_NAMES_MAX);
}

void fm_decode_at_most(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                       void *at)
{
    enum { WINDOW_MIN_MS = 60 * 1000 };
    const int64_t window_max_ms = INT64_C(30) * 24 * 3600 * 1000;
    struct fm_conf_failover *to = at;
    struct fm_fault f = {.memory = false};
    struct fm_str s;
    uint64_t times;
    int64_t ms;
    if (!fm_decode_text(l, row, n, &s))
        return;
    bool good = fm_scalar_at_most(s, &times, &ms, &f);
    if (good && times == 0) {
        good = fm_fault(&f, "`%s` allows none", FM_Q(s));
        fm_fault_advice(&f, "write `mode: assisted`");
    } else if (good && times > FM_CONF_AT_MOST_MAX) {
        good =
            fm_fault(&f, "%llu are more than %d", (unsigned long long)times, FM_CONF_AT_MOST_MAX);
    } else if (good && (ms < WINDOW_MIN_MS || ms > window_max_ms)) {
        good = fm_fault(&f, "its time must be from 1m to 30d");
    }
    if (!good) {
        fm_decode_fault(l, row, n, &f);
        return;
    }
    FM_ASSERT(times > 0 && ms > 0);
    to->at_most = (unsigned)times;
    to->at_most_window_ms = ms;
}

/* `30s`, or `1MiB`. */
void fm_decode_rpo(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                   void *at)
{
    FM_ASSERT(row->nitem == 2 && row->item[0].kind == FM_KIND_DURATION);
    bool size = n->kind == FM_NODE_SCALAR && n->text.n && n->text.p[n->text.n - 1] == 'B';
    fm_decode_value(l, &row->item[size], n, at);
}

/* -------- what follows from the topology -------- */

static int64_t usual_hold_ms(const struct fm_conf_context *c)
{
    if (c->failover.mode != FM_CONF_AUTOMATIC)
        return HOLD_USUAL_MS;
    return fm_floor_hold_ms(c->lease_ms, c->failover.grace_ms) + FM_HOLD_BEYOND_MS;
}

void fm_authority_settle(struct fm_conf_context *c, const struct fm_node *n)
{
    const struct fm_node *doubles = fm_node_getz(n, "idempotency");
    if (!fm_node_getz(n, "queries"))
        c->queries_any = !exclusive(c);
    if (!fm_node_getz(doubles, "by"))
        c->idempotency.by = exclusive(c) ? FM_BY_GATE : FM_BY_NONE;
    if (fm_conf_is_database(c))
        c->idempotency.by = FM_BY_NONE; /* there are no commands, and no journal of them */
    if (!fm_node_getz(doubles, "key"))
        c->idempotency.key = c->idempotency.by == FM_BY_NONE ? FM_KEY_IGNORED : FM_KEY_OPTIONAL;
    if (c->topology == FM_TOPOLOGY_ACTIVE_PASSIVE)
        c->ncells = 1;
    else if (c->topology == FM_TOPOLOGY_AFFINITY && !fm_node_getz(n, "cells"))
        c->ncells = CELLS_USUAL;
    int64_t hold = usual_hold_ms(c);
    if (c->when_away.hold_ms < 0)
        c->when_away.hold_ms = hold;
    for (size_t i = 0; i < c->nroutes; i++)
        if (c->routes[i].when_away.hold_ms < 0)
            c->routes[i].when_away.hold_ms = hold;
    FM_ASSERT(c->when_away.hold_ms >= 0);
}

enum {
    ACTIVE_PASSIVE = 1 << FM_TOPOLOGY_ACTIVE_PASSIVE,
    AFFINITY = 1 << FM_TOPOLOGY_AFFINITY,
    EXCLUSIVE = ACTIVE_PASSIVE | AFFINITY,
};

/* Keys of a context that have a meaning only with some topologies. */
static const struct {
    const char *key;
    unsigned topologies;
    const char *advice;
} fits[] = {
    {"home", ACTIVE_PASSIVE,
     "delete it: the cells of `affinity` have their homes in all regions in turn"},
    {"cells", AFFINITY, "delete it: `active-passive` is one cell"},
    {"homes", AFFINITY, "delete it: `active-passive` is one cell, with its `home`"},
    {"key", EXCLUSIVE, "delete it; to keep a client in a region there is `sticky`"},
    {"moves-with", EXCLUSIVE, NULL},
    {"lease", EXCLUSIVE, NULL},
    {"failover", EXCLUSIVE, NULL},
    {"failback", EXCLUSIVE, NULL},
    {"when-away", EXCLUSIVE, NULL},
    {"standby", ACTIVE_PASSIVE, "delete it: each region is at home for some of the cells"},
};

static void check_key_fits(struct fm_load *l, const struct fm_conf_context *c,
                           const struct fm_node *n)
{
    static const char *const needed[] = {
        [ACTIVE_PASSIVE] = "active-passive",
        [AFFINITY] = "affinity",
        [EXCLUSIVE] = "active-passive` or `affinity",
    };
    for (size_t i = 0; i < FM_COUNT(fits); i++) {
        const struct fm_node *said = fm_node_getz(n, fits[i].key);
        if (!said || fits[i].topologies >> c->topology & 1)
            continue;
        fm_report_error(l->report, said->key_pos, "`%s` goes with `topology: %s`, and `%s` is `%s`",
                        fits[i].key, needed[fits[i].topologies], FM_Q(c->name),
                        topology_name(c->topology));
        fm_report_advice(l->report, "%s",
                         fits[i].advice && exclusive(c)
                             ? fits[i].advice
                             : "delete it: every region writes, and nobody is away");
    }
}

/* The same of the keys of its routes. */
static void check_routes(struct fm_load *l, const struct fm_conf_context *c,
                         const struct fm_node *n)
{
    static const char *const keys[] = {"concurrent", "when-away"};
    const struct fm_node *routes = fm_node_getz(n, "routes");
    const struct fm_conf_route *r = c->routes;
    FM_ASSERT(!routes || routes->n == c->nroutes);
    for (const struct fm_node *one = routes ? routes->first : NULL; one; one = one->next, r++) {
        for (size_t i = 0; i < FM_COUNT(keys) && !exclusive(c) && one->kind == FM_NODE_MAP; i++) {
            const struct fm_node *said = fm_node_getz(one, keys[i]);
            if (!said)
                continue;
            fm_report_error(l->report, said->key_pos,
                            "`%s` goes with `topology: active-passive` or `affinity`, and `%s` is "
                            "`multi-write`",
                            keys[i], FM_Q(c->name));
            fm_report_advice(l->report, "delete it: every region writes, and nobody is away");
        }
        if (!exclusive(c) || !r->concurrent || r->when_away.commands == FM_CONF_AWAY_OVERRIDE)
            continue;
        fm_report_error(l->report, fm_node_getz(one, "concurrent")->key_pos,
                        "`concurrent` is about commands that are overridden, and those of this "
                        "route are not");
        fm_report_advice(l->report, "add `when-away: {commands: override}`, or delete it");
    }
}

/* Of how many things a request of the context may be about: does each say which? */
static void check_key_path(struct fm_load *l, const struct fm_conf_context *c,
                           const struct fm_node *n)
{
    const struct fm_node *at = fm_node_getz(fm_node_getz(n, "key"), "path");
    bool some = false;
    if (!at || !exclusive(c) || fm_conf_is_database(c))
        return;
    FM_ASSERT(c->key.present && c->key.from == FM_CONF_KEY_PATH && c->nroutes > 0);
    for (size_t i = 0; i < c->nroutes; i++) {
        const struct fm_conf_route *r = &c->routes[i];
        bool anywhere = r->as == FM_AS_QUERY && c->queries_any;
        bool has = fm_route_has_segment(r, c->key.name);
        some |= has;
        if (has || anywhere || c->topology != FM_TOPOLOGY_AFFINITY)
            continue;
        fm_report_error(l->report, at->pos, "the route `%s` in line %u has no segment `{%s}`",
                        FM_Q(r->path), r->pos.line, FM_Q(c->key.name));
        fm_report_advice(l->report, "without its key a request has no cell: every route of the "
                                    "context must have the segment; or take the key from `header`, "
                                    "`cookie`, `query`, `body` or `claim`");
    }
    if (some || c->topology == FM_TOPOLOGY_AFFINITY)
        return;
    fm_report_error(l->report, at->pos, "no route of `%s` has a segment `{%s}`", FM_Q(c->name),
                    FM_Q(c->key.name));
    fm_report_advice(l->report, "name a segment of a route");
}

static void check_homes(struct fm_load *l, const struct fm_conf_context *c, const struct fm_node *n)
{
    const struct fm_node *homes = fm_node_getz(n, "homes"),
                         *file = fm_node_getz(homes, "directory");
    bool directory = c->homes.by == FM_HOMES_DIRECTORY;
    if (!homes || directory == (file != NULL))
        return;
    FM_ASSERT(!file || c->homes.directory.n > 0);
    if (file) {
        fm_report_error(l->report, file->key_pos, "`directory` needs `by: directory`");
        fm_report_advice(l->report, "add it, or delete the key; for a few keys there is `pins`");
    } else {
        fm_report_error(l->report, fm_node_getz(homes, "by")->pos,
                        "`by: directory` needs the file `directory`");
        fm_report_advice(l->report, "add `directory: FILE`, a file of lines `key,cell` or "
                                    "`key,region`");
    }
}

static void check_queries(struct fm_load *l, const struct fm_conf_context *c,
                          const struct fm_node *n)
{
    const struct fm_node *queries = fm_node_getz(n, "queries");
    if (exclusive(c) || c->queries_any)
        return;
    fm_report_error(l->report, queries->pos,
                    "`queries: home` needs a region that alone may write, and `%s` is "
                    "`multi-write`",
                    FM_Q(c->name));
    fm_report_advice(l->report, "write `queries: any`, or delete the key");
}

static void check_doubles(struct fm_load *l, const struct fm_conf_context *c,
                          const struct fm_node *n)
{
    const struct fm_node *doubles = fm_node_getz(n, "idempotency");
    const struct fm_node *key = fm_node_getz(doubles, "key"), *by = fm_node_getz(doubles, "by");
    const struct fm_node *retention = fm_node_getz(doubles, "retention");
    if (!exclusive(c) && c->idempotency.by == FM_BY_GATE) {
        fm_report_error(l->report, by->pos,
                        "`by: gate` cannot stop doubles of `%s`: with `multi-write` the same "
                        "command may arrive in another region, whose journal does not know it",
                        FM_Q(c->name));
        fm_report_advice(l->report, "write `by: app` if the app stores the key in the transaction "
                                    "of the effect; or choose another topology");
        return;
    }
    if (c->idempotency.key != FM_KEY_IGNORED && c->idempotency.by == FM_BY_NONE) {
        fm_report_error(l->report, key->pos, "`key: %s` needs somebody who stops doubles",
                        FM_Q(key->text));
        fm_report_advice(l->report, "add `by: app` if the app stores the key in the transaction of "
                                    "the effect");
    }
    if (retention && c->idempotency.by != FM_BY_GATE) {
        fm_report_error(l->report, retention->key_pos,
                        "`retention` is of the gate's journal, and the gate does not stop doubles "
                        "of `%s`",
                        FM_Q(c->name));
        fm_report_advice(l->report, "delete it, or write `by: gate`");
    }
}

void fm_authority_fits(struct fm_load *l, const struct fm_conf_context *c, const struct fm_node *n)
{
    const struct fm_node *away = fm_node_getz(fm_node_getz(n, "when-away"), "commands");
    check_key_fits(l, c, n);
    check_routes(l, c, n);
    check_key_path(l, c, n);
    check_homes(l, c, n);
    check_queries(l, c, n);
    check_doubles(l, c, n);
    if (c->topology == FM_TOPOLOGY_AFFINITY && !c->key.present) {
        fm_report_error(l->report, c->pos,
                        "`%s` is `affinity`, and does not say what a request is "
                        "about",
                        FM_Q(c->name));
        fm_report_advice(l->report, "add `key: {path: NAME}`, `{header: NAME}`, `{cookie: NAME}`, "
                                    "`{query: NAME}`, `{body: NAME}` or `{claim: NAME}`");
    }
    if (c->when_away.commands == FM_CONF_AWAY_OVERRIDE && exclusive(c)) {
        fm_report_error(l->report, away->pos,
                        "`override` is of single routes, never of a whole context");
        fm_report_advice(l->report, "say it of the routes that may be taken elsewhere in an "
                                    "emergency: each such command is a case for reconciliation");
    }
}

/* -------- when all of it is decoded -------- */

/* The region of the lowest priority that serves; -1 where none does. */
static int usual_home(const struct fm_conf *c)
{
    int best = -1;
    for (size_t i = 0; i < c->nregions; i++)
        if (!c->regions[i].witness &&
            (best < 0 || c->regions[i].priority < c->regions[best].priority))
            best = (int)i;
    return best;
}

static void set_homes(struct fm_load *l, struct fm_conf_context *c, const struct fm_node *n)
{
    uint8_t serving[FM_CONF_REGIONS_MAX];
    unsigned nserving = 0;
    int usual = usual_home(l->conf);
    const struct fm_node *home = fm_node_getz(n, "home");
    for (unsigned i = 0; i < l->conf->nregions; i++)
        if (!l->conf->regions[i].witness)
            serving[nserving++] = (uint8_t)i;
    if (usual < 0)
        return; /* told: no region serves */
    FM_ASSERT(nserving > 0);
    if (!home)
        c->home = (unsigned)usual;
    if (l->conf->regions[c->home].witness) {
        fm_report_error(l->report, home->pos,
                        "the home of `%s` is `%s`, a witness, which never "
                        "serves",
                        FM_Q(c->name), FM_Q(l->conf->regions[c->home].name));
        fm_report_advice(l->report, "name a region with `apps`");
        return;
    }
    FM_ASSERT(c->ncells <= FM_CONF_CELLS_MAX);
    for (unsigned i = 0; i < c->ncells; i++)
        c->cell_home[i] =
            c->topology == FM_TOPOLOGY_AFFINITY ? serving[i % nserving] : (uint8_t)c->home;
}

/* The context of this name for `moves-with` of `c`; -1, and an error, where there is none. */
static int find_partner(struct fm_load *l, const struct fm_conf_context *c, const struct fm_node *n)
{
    struct fm_str names[FM_CONF_CONTEXTS_MAX];
    FM_ASSERT(n->kind == FM_NODE_SCALAR && l->conf->ncontexts <= FM_CONF_CONTEXTS_MAX);
    int at = fm_conf_find_context(l->conf, n->text);
    if (at >= 0 && &l->conf->contexts[at] != c)
        return at;
    if (at >= 0) {
        fm_report_error(l->report, n->pos, "`%s` moves with itself in any case", FM_Q(c->name));
        fm_report_advice(l->report, "delete the entry");
        return -1;
    }
    for (size_t i = 0; i < l->conf->ncontexts; i++)
        names[i] = l->conf->contexts[i].name;
    struct fm_str near = fm_suggest_name(n->text, names, l->conf->ncontexts);
    fm_report_error(l->report, n->pos, "there is no context `%s`", FM_Q(n->text));
    if (near.p)
        fm_report_advice(l->report, "did you mean `%s`?", near.p);
    else
        fm_report_advice(l->report, "the contexts are those of `contexts`");
    return -1;
}

/* Everybody in the set of `from` is in the set of `to` from now on. */
static void join(unsigned *set, size_t n, unsigned from, unsigned to)
{
    for (size_t i = 0; i < n; i++)
        if (set[i] == from)
            set[i] = to;
}

static void list_partners(struct fm_load *l, const unsigned *set, size_t of)
{
    struct fm_conf_context *c = &l->conf->contexts[of];
    size_t n = 0;
    FM_ASSERT(!c->moves_with && c->nmoves_with == 0);
    for (size_t i = 0; i < l->conf->ncontexts; i++)
        n += i != of && set[i] == set[of];
    c->moves_with = n ? fm_load_alloc(l, n, sizeof *c->moves_with) : NULL;
    for (unsigned i = 0; c->moves_with && i < l->conf->ncontexts; i++)
        if (i != of && set[i] == set[of])
            c->moves_with[c->nmoves_with++] = i;
    FM_ASSERT(!c->moves_with || c->nmoves_with == n);
}

static void set_partners(struct fm_load *l)
{
    struct fm_conf *c = l->conf;
    unsigned set[FM_CONF_CONTEXTS_MAX];
    FM_ASSERT(c->ncontexts <= FM_CONF_CONTEXTS_MAX);
    for (unsigned i = 0; i < c->ncontexts; i++)
        set[i] = i;
    for (unsigned i = 0; i < c->ncontexts; i++) {
        const struct fm_node *list = fm_node_getz(l->context_node[i], "moves-with");
        if (!list || list->kind != FM_NODE_LIST || l->context_bad[i])
            continue;
        fm_node_each(n, list)
        {
            int other = find_partner(l, &c->contexts[i], n);
            if (other >= 0)
                join(set, c->ncontexts, set[other], set[i]);
        }
    }
    for (size_t i = 0; i < c->ncontexts; i++)
        list_partners(l, set, i);
}

void fm_authority_resolve(struct fm_load *l)
{
    for (size_t i = 0; i < l->conf->ncontexts; i++)
        if (exclusive(&l->conf->contexts[i]) && !l->context_bad[i])
            set_homes(l, &l->conf->contexts[i], l->context_node[i]);
    set_partners(l);
}
