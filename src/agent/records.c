/* Records as JSON: see the header. Invariant: what was read can be handed to core, whose asserts
 * are about what it knows itself. */
#include "agent/records.h"

#include "base/assert.h"
#include "base/err.h"
#include "core/credit.h"
#include "http/protocol.h"

#include <jansson.h>
#include <stdio.h>

#define NUMBER_MAX ((UINT64_C(1) << 53) - 1) /* what every reader of JSON keeps exactly */

/* -------- keys -------- */

void fm_record_key_write(const struct fm_roster *r, const struct fm_record_key *key,
                         char out[FM_RECORD_KEY_ROOM])
{
    const char *context = r->context[key->id.context].name;
    struct fm_buf b = fm_buf(out, FM_RECORD_KEY_ROOM - 1);
    switch ((enum fm_record_kind)key->kind) {
    case FM_RECORD_KEEPER:
        fm_buf_printf(&b, "region/%s/keeper", r->region[key->region]);
        break;
    case FM_RECORD_LEASE:
        fm_buf_printf(&b, "lease/%s/%s", context, r->region[key->region]);
        break;
    case FM_RECORD_CELL:
        fm_buf_printf(&b, "cell/%s/%u", context, key->id.cell);
        break;
    case FM_RECORD_BUDGET:
        fm_buf_printf(&b, "budget/%s", context);
        break;
    case FM_RECORD_VIEW:
        fm_buf_lit(&b, "view");
        break;
    case FM_RECORD_KIND_COUNT:
        FM_UNREACHABLE();
    }
    FM_ASSERT(!b.full);
    out[b.n] = 0;
}

/* A cell's number, written in the one way. */
static bool cell_number(struct fm_str s, unsigned ncells, uint16_t *out)
{
    uint64_t n;
    if (!fm_str_u64(s, &n) || n >= ncells || (s.n > 1 && s.p[0] == '0'))
        return false;
    *out = (uint16_t)n;
    return true;
}

bool fm_record_key_read(const struct fm_roster *r, struct fm_str text, struct fm_record_key *out)
{
    struct fm_str rest, last, kind = fm_str_cut(text, '/', &rest);
    struct fm_str first = fm_str_cut(rest, '/', &last);
    *out = (struct fm_record_key){0};
    if (fm_str_eqz(text, "view")) {
        out->kind = FM_RECORD_VIEW;
        return true;
    }
    if (fm_str_eqz(kind, "region")) {
        int region = fm_roster_region(r, first);
        out->kind = FM_RECORD_KEEPER;
        out->region = (uint8_t)region;
        return region >= 0 && fm_str_eqz(last, "keeper");
    }
    int context = fm_roster_context(r, first);
    if (context < 0)
        return false;
    out->id.context = (uint16_t)context;
    if (fm_str_eqz(kind, "budget")) {
        out->kind = FM_RECORD_BUDGET;
        return !last.p;
    }
    if (fm_str_eqz(kind, "lease")) {
        int region = fm_roster_region(r, last);
        out->kind = FM_RECORD_LEASE;
        out->region = (uint8_t)region;
        return region >= 0;
    }
    out->kind = FM_RECORD_CELL;
    return fm_str_eqz(kind, "cell") && cell_number(last, r->context[context].ncells, &out->id.cell);
}

/* -------- writing -------- */

static const char *agent_name(const struct fm_roster *r, struct fm_agent_id a)
{
    return fm_roster_host_name(r, fm_roster_agent_host(r, a));
}

static void write_lease(const struct fm_roster *r, const struct fm_lease_record *l,
                        struct fm_buf *b)
{
    FM_ASSERT(l->nsubs <= FM_SUBS_MAX);
    fm_buf_printf(b,
                  ",\"keeper\":\"%s\",\"incarnation\":%llu,\"counter\":%llu,\"life\":%u,"
                  "\"lease_ms\":%d,\"state\":\"%s\",\"subs\":[",
                  agent_name(r, l->keeper), (unsigned long long)l->incarnation.n,
                  (unsigned long long)l->counter, l->life, l->lease_ms, l->dead ? "dead" : "live");
    for (unsigned i = 0; i < l->nsubs; i++)
        fm_buf_printf(b, "%s{\"host\":\"%s\",\"incarnation\":%llu}", i ? "," : "",
                      fm_roster_host_name(r, l->sub[i].host),
                      (unsigned long long)l->sub[i].incarnation.n);
    fm_buf_lit(b, "]}");
}

static void write_members(const struct fm_roster *r, const struct fm_members *m, struct fm_buf *b)
{
    const char *comma = "";
    fm_buf_lit(b, ",\"members\":{");
    for (unsigned region = 0; region < r->nregions; region++) {
        if (!m->of[region])
            continue;
        fm_buf_printf(b, "%s\"%s\":[", comma, r->region[region]);
        comma = ",";
        const char *inner = "";
        for (unsigned i = 0; i < FM_AGENTS_PER_REGION; i++) {
            struct fm_agent_id a = {(uint8_t)(region * FM_AGENTS_PER_REGION + i)};
            if (!fm_members_has(m, a))
                continue;
            fm_buf_printf(b, "%s\"%s\"", inner, agent_name(r, a));
            inner = ",";
        }
        fm_buf_ch(b, ']');
    }
    fm_buf_ch(b, '}');
}

static uint32_t bit_of(const struct fm_roster_context *c, unsigned number)
{
    return number > 0 && number <= c->nnodes ? UINT32_C(1) << (number - 1) : 0;
}

/* The nodes that it is about. No others are named: what a record names has a number wherever it is
 * read, and those of nodes that have gone would never be free again. */
static uint32_t named_in(const struct fm_roster_context *c, const struct fm_evidence *e)
{
    uint32_t all = (UINT32_C(1) << c->nnodes) - 1;
    FM_ASSERT(c->nnodes <= FM_GROUP_NODES_MAX);
    return (e->promotable & all) | bit_of(c, e->node) | bit_of(c, e->writer);
}

/* Its number among those that are named; 0 = nobody. Who has no name has no number there either. */
static unsigned number_there(const struct fm_roster_context *c, uint32_t named, unsigned here)
{
    unsigned n = (unsigned)__builtin_popcount(named);
    if (c->nnodes == 0 || here == 0)
        return here; /* without a list */
    return here <= c->nnodes ? (unsigned)__builtin_popcount(named & (bit_of(c, here) * 2 - 1))
                             : n + 1;
}

static uint32_t mask_there(const struct fm_roster_context *c, uint32_t named, uint32_t here)
{
    uint32_t mask = 0;
    if (c->nnodes == 0)
        return here;
    for (unsigned i = 0; i < c->nnodes; i++)
        if (here >> i & 1)
            mask |= UINT32_C(1) << (number_there(c, named, i + 1) - 1);
    return mask;
}

static void write_nodes(const struct fm_roster *r, const struct fm_roster_context *c,
                        uint32_t named, struct fm_buf *b)
{
    const char *inner = "";
    fm_buf_lit(b, ",\"nodes\":[");
    for (unsigned i = 0; i < c->nnodes; i++) {
        if (!(named >> i & 1))
            continue;
        fm_buf_printf(b, "%s\"%s\"", inner, r->host[c->node[i]]);
        inner = ",";
    }
    fm_buf_ch(b, ']');
}

/* Who knows of no nodes without a credit would give them one: it cannot read an object here. */
static void write_credit(const struct fm_roster_context *c, uint32_t named,
                         const struct fm_evidence *e, struct fm_buf *b)
{
    uint32_t near = mask_there(c, named, e->near & e->promotable);
    if (near)
        fm_buf_printf(b, ",\"credit\":{\"bytes\":\"%llu\",\"near\":%u}",
                      (unsigned long long)e->credit, near);
    else
        fm_buf_printf(b, ",\"credit\":\"%llu\"", (unsigned long long)e->credit);
}

void fm_evidence_write(const struct fm_roster *r, unsigned context, const struct fm_evidence *e,
                       struct fm_buf *b)
{
    FM_ASSERT(context < r->ncontexts);
    const struct fm_roster_context *c = &r->context[context];
    uint32_t named = named_in(c, e);
    if (!e->system_id)
        return;
    fm_buf_printf(b,
                  ",\"evidence\":{\"system\":\"%llu\",\"timeline\":%u,\"fork\":\"%llu\","
                  "\"epoch\":%llu,\"claimed\":%u,\"promotable\":%u,\"node\":%u,\"writer\":%u",
                  (unsigned long long)e->system_id, e->timeline, (unsigned long long)e->fork_lsn,
                  (unsigned long long)e->epoch.n, e->claimed, mask_there(c, named, e->promotable),
                  number_there(c, named, e->node), number_there(c, named, e->writer));
    write_credit(c, named, e, b);
    fm_buf_printf(b, ",\"holes_to\":\"%llu\"", (unsigned long long)e->holes_to);
    if (c->nnodes)
        write_nodes(r, c, named, b);
    fm_buf_ch(b, '}');
}

static const char *const cell_states[] = {
    [FM_CELL_HELD] = "held", [FM_CELL_RELEASED] = "released", [FM_CELL_YIELDED] = "yielded"};

static void write_cell(const struct fm_roster *r, unsigned context, const struct fm_cell_record *c,
                       struct fm_buf *b)
{
    FM_ASSERT(c->state < FM_COUNT(cell_states));
    fm_buf_printf(b, ",\"region\":\"%s\",\"state\":\"%s\"", r->region[c->region],
                  cell_states[c->state]);
    if (c->state != FM_CELL_HELD)
        fm_buf_printf(b, ",\"to\":\"%s\"", r->region[c->to]);
    fm_buf_printf(b, ",\"epoch\":%llu,\"gentle_from\":%llu", (unsigned long long)c->epoch.n,
                  (unsigned long long)c->gentle_from.n);
    if (c->accepted.n)
        fm_buf_printf(b, ",\"accepted\":%llu", (unsigned long long)c->accepted.n);
    write_members(r, &c->members, b);
    fm_evidence_write(r, context, &c->evidence, b);
    fm_buf_ch(b, '}');
}

void fm_record_write(const struct fm_roster *r, const struct fm_write *w, struct fm_buf *out)
{
    fm_protocol_begin(out);
    switch ((enum fm_record_kind)w->key.kind) {
    case FM_RECORD_KEEPER:
        fm_buf_printf(out, ",\"agent\":\"%s\",\"incarnation\":%llu}",
                      agent_name(r, w->to.keeper.agent),
                      (unsigned long long)w->to.keeper.incarnation.n);
        break;
    case FM_RECORD_LEASE:
        write_lease(r, &w->to.lease, out);
        break;
    case FM_RECORD_CELL:
        write_cell(r, w->key.id.context, &w->to.cell, out);
        break;
    case FM_RECORD_BUDGET:
        fm_buf_printf(out, ",\"spent\":%u,\"freed\":%u}", w->to.budget.spent, w->to.budget.freed);
        break;
    case FM_RECORD_VIEW:
        fm_buf_printf(out, ",\"incarnation\":%llu,\"generation\":%llu}",
                      (unsigned long long)w->to.view.incarnation.n,
                      (unsigned long long)w->to.view.generation.n);
        break;
    case FM_RECORD_KIND_COUNT:
        FM_UNREACHABLE();
    }
    FM_ASSERT(!out->full);
}

/* -------- reading -------- */

static bool wrong(char why[FM_RECORD_WHY_ROOM], const char *what)
{
    snprintf(why, FM_RECORD_WHY_ROOM, "%s", what);
    return false;
}

static bool in_range(json_int_t v, uint64_t least, uint64_t most)
{
    return v >= 0 && (uint64_t)v >= least && (uint64_t)v <= most;
}

static struct fm_str text_of(const json_t *s)
{
    return fm_str(json_string_value(s), json_string_length(s));
}

/* A name as a view; empty where it is none. */
static struct fm_str name_of(const json_t *s)
{
    struct fm_str name = json_is_string(s) ? text_of(s) : fm_str(NULL, 0);
    return fm_roster_is_name(name) ? name : fm_str(NULL, 0);
}

static bool read_agent(struct fm_roster *r, unsigned region, const json_t *name,
                       struct fm_agent_id *out, char why[FM_RECORD_WHY_ROOM])
{
    struct fm_str s = name_of(name);
    if (!s.n)
        return wrong(why, "an agent without a name");
    return fm_roster_add_agent(r, region, s, out) ||
           wrong(why, "more agents of one region than can be counted");
}

static bool read_keeper(struct fm_roster *r, json_t *o, struct fm_write *w,
                        char why[FM_RECORD_WHY_ROOM])
{
    json_t *agent;
    json_int_t incarnation;
    if (json_unpack(o, "{s:o,s:I}", "agent", &agent, "incarnation", &incarnation) ||
        !in_range(incarnation, 1, NUMBER_MAX))
        return wrong(why, "not a keeper");
    w->to.keeper = (struct fm_keeper_record){.incarnation = {(uint64_t)incarnation}};
    return read_agent(r, w->key.region, agent, &w->to.keeper.agent, why);
}

static bool read_subs(struct fm_roster *r, json_t *subs, struct fm_lease_record *l,
                      char why[FM_RECORD_WHY_ROOM])
{
    size_t n = json_array_size(subs);
    if (!json_is_array(subs) || n > FM_SUBS_MAX)
        return wrong(why, "too many sub-lessees, or none that are a list");
    for (size_t i = 0; i < n; i++) {
        json_t *host;
        json_int_t incarnation;
        if (json_unpack(json_array_get(subs, i), "{s:o,s:I}", "host", &host, "incarnation",
                        &incarnation) ||
            !in_range(incarnation, 1, NUMBER_MAX) || !name_of(host).n)
            return wrong(why, "not a sub-lessee");
        int number = fm_roster_add_host(r, name_of(host));
        if (number < 0)
            return wrong(why, "more hosts than can be counted");
        l->sub[l->nsubs] = (struct fm_sub){(uint16_t)number, {(uint64_t)incarnation}};
        if (fm_lease_find_sub(l, l->sub[l->nsubs]) >= 0)
            return wrong(why, "a sub-lessee that stands twice");
        l->nsubs++;
    }
    return true;
}

static bool read_lease(struct fm_roster *r, json_t *o, struct fm_write *w,
                       char why[FM_RECORD_WHY_ROOM])
{
    struct fm_lease_record *l = &w->to.lease;
    json_t *keeper, *subs;
    json_int_t incarnation, counter, life, ms;
    const char *state;
    *l = (struct fm_lease_record){0};
    if (json_unpack(o, "{s:o,s:I,s:I,s:I,s:I,s:s,s:o}", "keeper", &keeper, "incarnation",
                    &incarnation, "counter", &counter, "life", &life, "lease_ms", &ms, "state",
                    &state, "subs", &subs))
        return wrong(why, "not a lease");
    bool dead = strcmp(state, "dead") == 0;
    if (!in_range(incarnation, 1, NUMBER_MAX) || !in_range(counter, 0, NUMBER_MAX) ||
        !in_range(life, 1, UINT32_MAX) || !in_range(ms, 1, FM_LEASE_MAX_MS))
        return wrong(why, "a lease with a number out of its range");
    if (!dead && strcmp(state, "live") != 0)
        return wrong(why, "a lease neither live nor dead");
    l->incarnation.n = (uint64_t)incarnation;
    l->counter = (uint64_t)counter;
    l->life = (uint32_t)life;
    l->lease_ms = (int32_t)ms;
    l->dead = dead;
    return read_agent(r, w->key.region, keeper, &l->keeper, why) && read_subs(r, subs, l, why);
}

static bool read_members(struct fm_roster *r, json_t *members, struct fm_members *m,
                         char why[FM_RECORD_WHY_ROOM])
{
    const char *name;
    json_t *list;
    if (!json_is_object(members))
        return wrong(why, "members that are none");
    json_object_foreach(members, name, list)
    {
        int region = fm_roster_region(r, fm_str_z(name));
        if (region < 0)
            return wrong(why, "a member in a region that this file does not know");
        size_t n = json_array_size(list);
        if (!json_is_array(list) || n == 0 || n > FM_AGENTS_PER_REGION)
            return wrong(why, "a region with too many members, or none");
        for (size_t i = 0; i < n; i++) {
            struct fm_agent_id a;
            if (!read_agent(r, (unsigned)region, json_array_get(list, i), &a, why))
                return false;
            if (fm_members_has(m, a))
                return wrong(why, "a member that stands twice");
            fm_members_add(m, a);
        }
    }
    return true;
}

static bool read_u64_text(const char *s, uint64_t *out)
{
    return fm_str_u64(fm_str_z(s), out) && (s[0] != '0' || s[1] == 0);
}

/* Which node here is the one with that number there; 0 = nobody. Without a list they are numbered
 * as here: by their names, as all versions begin. False: it is not known here. */
static bool number_here(const struct fm_roster *r, unsigned context, const json_t *nodes,
                        json_int_t there, uint16_t *here)
{
    const char *name = there ? json_string_value(json_array_get(nodes, (size_t)there - 1)) : NULL;
    int i = name ? fm_roster_node(r, context, fm_str_z(name)) : -1;
    *here = nodes ? (uint16_t)(i + 1) : (uint16_t)there;
    return !nodes || there == 0 || i >= 0;
}

/* Whoever is promotable and not known here is not promoted by who does not know it. */
static uint32_t mask_here(const struct fm_roster *r, unsigned context, const json_t *nodes,
                          uint32_t there)
{
    uint32_t mask = 0;
    uint16_t here;
    if (!nodes)
        return there;
    for (unsigned i = 0; i < FM_GROUP_NODES_MAX; i++)
        if (there >> i & 1 && number_here(r, context, nodes, (json_int_t)i + 1, &here))
            mask |= UINT32_C(1) << (here - 1);
    return mask;
}

static bool are_nodes(const json_t *nodes, json_int_t node, json_int_t writer)
{
    size_t n = json_array_size(nodes);
    if (!nodes)
        return true;
    if (!json_is_array(nodes) || n > FM_GROUP_NODES_MAX || node > (json_int_t)n ||
        writer > (json_int_t)n)
        return false;
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_array_get(nodes, i));
        if (!name || !fm_roster_is_name(fm_str_z(name)))
            return false;
    }
    return true;
}

/* Versions without a credit enforced nothing. */
static bool read_credit(json_t *credit, uint64_t *bytes, json_int_t *near)
{
    const char *text = json_string_value(credit);
    *bytes = FM_CREDIT_UNLIMITED;
    *near = 0;
    if (credit && !text && json_unpack(credit, "{s:s,s:I}", "bytes", &text, "near", near))
        return false;
    return (!credit || read_u64_text(text, bytes)) && in_range(*near, 0, UINT32_MAX);
}

int fm_evidence_read(const struct fm_roster *r, unsigned context, json_t *evidence,
                     struct fm_evidence *e)
{
    const char *system, *fork, *holes_to = "0";
    json_int_t timeline, epoch = 0, claimed = -1, promotable = 0, node = 0, writer = 0;
    json_int_t near = 0;
    json_t *nodes = NULL, *credit = NULL;
    if (!evidence)
        return 1;
    /* versions that knew no groups wrote the first three */
    bool whole =
        json_unpack(evidence, "{s:s,s:I,s:s,s?I,s?I,s?I,s?I,s?I,s?o,s?s,s?o}", "system", &system,
                    "timeline", &timeline, "fork", &fork, "epoch", &epoch, "claimed", &claimed,
                    "promotable", &promotable, "node", &node, "writer", &writer, "credit", &credit,
                    "holes_to", &holes_to, "nodes", &nodes) == 0;
    if (!whole || !read_credit(credit, &e->credit, &near))
        return -1;
    if (claimed < 0 && !json_object_get(evidence, "claimed"))
        claimed = timeline;
    if (!in_range(timeline, 0, UINT32_MAX) || !in_range(epoch, 0, INT64_MAX) ||
        !in_range(claimed, (uint64_t)timeline, UINT32_MAX) ||
        !in_range(promotable, 0, UINT32_MAX) || !in_range(node, 0, UINT16_MAX) ||
        !in_range(writer, 0, UINT16_MAX) || !are_nodes(nodes, node, writer) ||
        !read_u64_text(system, &e->system_id) || !read_u64_text(fork, &e->fork_lsn) ||
        !read_u64_text(holes_to, &e->holes_to) || e->system_id == 0)
        return -1;
    e->timeline = (uint32_t)timeline;
    e->epoch.n = (uint64_t)epoch;
    e->claimed = (uint32_t)claimed;
    e->promotable = mask_here(r, context, nodes, (uint32_t)promotable);
    e->near = mask_here(r, context, nodes, (uint32_t)near) & e->promotable;
    bool known = number_here(r, context, nodes, node, &e->node);
    return number_here(r, context, nodes, writer, &e->writer) && known;
}

/* What a record names has a number, whether this file knows it or not. */
static void meet_nodes(struct fm_roster *r, unsigned context, const json_t *evidence)
{
    const json_t *nodes = json_object_get(evidence, "nodes");
    size_t n = json_array_size(nodes);
    for (size_t i = 0; i < n && i < FM_GROUP_NODES_MAX; i++) {
        const char *name = json_string_value(json_array_get(nodes, i));
        if (name)
            (void)fm_roster_add_node(r, context, fm_str_z(name));
    }
}

static bool read_cell(struct fm_roster *r, json_t *o, struct fm_write *w,
                      char why[FM_RECORD_WHY_ROOM])
{
    struct fm_cell_record *c = &w->to.cell;
    const char *region, *state, *to = NULL;
    json_int_t epoch, gentle_from, accepted = 0;
    json_t *members, *evidence = NULL;
    *c = (struct fm_cell_record){0};
    if (json_unpack(o, "{s:s,s:s,s?s,s:I,s:I,s?I,s:o,s?o}", "region", &region, "state", &state,
                    "to", &to, "epoch", &epoch, "gentle_from", &gentle_from, "accepted", &accepted,
                    "members", &members, "evidence", &evidence))
        return wrong(why, "not a cell");
    unsigned s = 0;
    while (s < FM_COUNT(cell_states) && strcmp(state, cell_states[s]) != 0)
        s++;
    if (s == FM_COUNT(cell_states) || (s != FM_CELL_HELD) != (to != NULL))
        return wrong(why, "a cell neither held nor let go of for somebody");
    int holder = fm_roster_region(r, fm_str_z(region));
    int heir = to ? fm_roster_region(r, fm_str_z(to)) : 0;
    if (holder < 0 || heir < 0)
        return wrong(why, "a cell of a region that this file does not know");
    if (!in_range(epoch, 1, NUMBER_MAX) || !in_range(gentle_from, 1, (uint64_t)epoch) ||
        !in_range(accepted, 0, (uint64_t)epoch))
        return wrong(why, "a cell with an epoch out of its range");
    meet_nodes(r, w->key.id.context, evidence);
    int known = fm_evidence_read(r, w->key.id.context, evidence, &c->evidence);
    if (known <= 0)
        return wrong(why, known ? "evidence that is none" : "evidence of too many nodes");
    c->region = (uint8_t)holder;
    c->to = (uint8_t)heir;
    c->state = (uint8_t)s;
    c->epoch.n = (uint64_t)epoch;
    c->gentle_from.n = (uint64_t)gentle_from;
    c->accepted.n = (uint64_t)accepted;
    return read_members(r, members, &c->members, why);
}

static bool read_budget(json_t *o, struct fm_write *w, char why[FM_RECORD_WHY_ROOM])
{
    json_int_t spent, freed;
    if (json_unpack(o, "{s:I,s:I}", "spent", &spent, "freed", &freed) ||
        !in_range(spent, 0, UINT32_MAX) || !in_range(freed, 0, (uint64_t)spent) ||
        spent - freed > FM_BUDGET_SEEN_MAX)
        return wrong(why, "not a budget");
    w->to.budget = (struct fm_budget_record){(uint32_t)spent, (uint32_t)freed};
    return true;
}

static bool read_view(json_t *o, struct fm_write *w, char why[FM_RECORD_WHY_ROOM])
{
    json_int_t incarnation, generation;
    if (json_unpack(o, "{s:I,s:I}", "incarnation", &incarnation, "generation", &generation) ||
        !in_range(incarnation, 1, NUMBER_MAX) || !in_range(generation, 1, NUMBER_MAX))
        return wrong(why, "not a view");
    w->to.view = (struct fm_view_record){{(uint64_t)incarnation}, {(uint64_t)generation}};
    return true;
}

static bool read_kind(struct fm_roster *r, json_t *o, struct fm_write *w,
                      char why[FM_RECORD_WHY_ROOM])
{
    switch ((enum fm_record_kind)w->key.kind) {
    case FM_RECORD_KEEPER:
        return read_keeper(r, o, w, why);
    case FM_RECORD_LEASE:
        return read_lease(r, o, w, why);
    case FM_RECORD_CELL:
        return read_cell(r, o, w, why);
    case FM_RECORD_BUDGET:
        return read_budget(o, w, why);
    case FM_RECORD_VIEW:
        return read_view(o, w, why);
    case FM_RECORD_KIND_COUNT:
        break;
    }
    FM_UNREACHABLE();
}

bool fm_record_read(struct fm_roster *r, struct fm_str text, struct fm_write *w,
                    char why[FM_RECORD_WHY_ROOM])
{
    if (text.n > FM_RECORD_TEXT_MAX)
        return wrong(why, "too long");
    json_t *o = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    const char *refused = json_is_object(o) ? fm_protocol_refuses(o) : "no object of JSON";
    bool good = !refused || wrong(why, refused);
    good = good && read_kind(r, o, w, why);
    json_decref(o);
    return good;
}
