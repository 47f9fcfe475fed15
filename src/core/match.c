/* The route table: a tree. Its roots are hosts, its edges are segments; literal edges of all nodes
 * share one hash table, which also leads from a host to its root. Invariant: node 0 is nobody, so 0
 * says "none" wherever a node or a rule is named. */
#include "core/match.h"

#include "base/assert.h"

struct node {
    uint32_t named;   /* the node behind {name} */
    uint32_t ends;    /* rules that end here, linked, those that list methods first */
    uint32_t rest;    /* the same for those that go on with ** */
    uint32_t literal; /* how many edges are literals */
};

struct edge {
    uint32_t from, to; /* to 0: a free slot */
    struct fm_str text;
};

struct rule {
    const struct fm_str *methods;
    unsigned nmethods, route;
    uint32_t next;
};

struct fm_match {
    struct node *node; /* 0 is nobody; hosts are edges from it */
    struct edge *edge; /* open addressing */
    struct rule *rule; /* from 1 */
    uint32_t nnodes, nodes_max;
    uint32_t mask; /* slots - 1, slots being a power of two */
    uint32_t any;  /* the root of any host */
    struct fm_hash_key key;
};

/* -------- memory -------- */

static size_t nodes_max(const struct fm_match_rule *rules, unsigned n)
{
    size_t most = 2; /* nobody and any host */
    for (unsigned i = 0; i < n; i++)
        most += 1u + rules[i].nsegments;
    return most;
}

static size_t slots_for(size_t nodes)
{
    size_t slots = 8;
    while (slots < 2 * nodes)
        slots *= 2;
    return slots;
}

size_t fm_match_size(const struct fm_match_rule *rules, unsigned n)
{
    size_t nodes = nodes_max(rules, n);
    return sizeof(struct fm_match) + slots_for(nodes) * sizeof(struct edge) +
           (n + 1u) * sizeof(struct rule) + nodes * sizeof(struct node);
}

/* -------- literal edges -------- */

/* The slot where this edge is, or where it would go. */
static struct edge *edge_of(const struct fm_match *m, uint32_t from, struct fm_str text)
{
    uint64_t hash = fm_mix64(fm_hash_str(m->key, text) + from);
    for (uint32_t at = (uint32_t)hash & m->mask;; at = (at + 1) & m->mask) {
        struct edge *e = &m->edge[at];
        if (e->to == 0 || (e->from == from && fm_str_eq(e->text, text)))
            return e;
    }
}

static uint32_t new_node(struct fm_match *m)
{
    FM_ASSERT(m->nnodes < m->nodes_max);
    m->node[m->nnodes] = (struct node){0};
    return m->nnodes++;
}

static uint32_t grow_literal(struct fm_match *m, uint32_t from, struct fm_str text)
{
    struct edge *e = edge_of(m, from, text);
    if (e->to == 0) {
        *e = (struct edge){from, new_node(m), text};
        m->node[from].literal++;
    }
    return e->to;
}

/* -------- building -------- */

static void link_rule(struct fm_match *m, uint32_t *list, uint32_t rule)
{
    FM_ASSERT(rule > 0);
    bool lists = m->rule[rule].nmethods > 0;
    while (*list && (!lists || m->rule[*list].nmethods > 0))
        list = &m->rule[*list].next;
    m->rule[rule].next = *list;
    *list = rule;
}

static void add_rule(struct fm_match *m, const struct fm_match_rule *r, uint32_t index)
{
    FM_ASSERT(r->host.n <= FM_MATCH_HOST_MAX && r->nsegments <= FM_MATCH_SEGMENTS_MAX);
    m->rule[index] =
        (struct rule){.methods = r->methods, .nmethods = r->nmethods, .route = r->route};
    uint32_t at = r->host.n ? grow_literal(m, 0, r->host) : m->any;
    for (unsigned i = 0; i < r->nsegments; i++) {
        const struct fm_segment *s = &r->segments[i];
        switch (s->kind) {
        case FM_SEGMENT_LITERAL:
            at = grow_literal(m, at, s->text);
            break;
        case FM_SEGMENT_NAMED:
            if (m->node[at].named == 0)
                m->node[at].named = new_node(m);
            at = m->node[at].named;
            break;
        case FM_SEGMENT_REST:
            FM_ASSERT(i + 1 == r->nsegments);
            link_rule(m, &m->node[at].rest, index);
            return;
        }
    }
    link_rule(m, &m->node[at].ends, index);
}

struct fm_match *fm_match_build(void *mem, const struct fm_match_rule *rules, unsigned n,
                                struct fm_hash_key key)
{
    size_t nodes = nodes_max(rules, n), slots = slots_for(nodes);
    FM_ASSERT(slots <= UINT32_MAX);
    struct fm_match *m = mem;
    *m = (struct fm_match){.nodes_max = (uint32_t)nodes, .mask = (uint32_t)slots - 1, .key = key};
    m->edge = (struct edge *)(void *)(m + 1);
    m->rule = (struct rule *)(void *)(m->edge + slots);
    m->node = (struct node *)(void *)(m->rule + n + 1);
    memset(m->edge, 0, slots * sizeof *m->edge);
    (void)new_node(m);
    m->any = new_node(m);
    FM_ASSERT(m->any == 1);
    for (unsigned i = 0; i < n; i++)
        add_rule(m, &rules[i], i + 1);
    FM_ASSERT(m->nnodes <= m->nodes_max && m->nnodes <= m->mask);
    return m;
}

/* -------- looking up -------- */

static bool method_fits(const struct rule *r, struct fm_str method)
{
    for (unsigned i = 0; i < r->nmethods; i++)
        if (fm_str_eq(r->methods[i], method))
            return true;
    return r->nmethods == 0;
}

static bool try_rules(const struct fm_match *m, uint32_t list, struct fm_str method,
                      struct fm_match_result *out)
{
    for (; list; list = m->rule[list].next) {
        if (method_fits(&m->rule[list], method)) {
            out->route = m->rule[list].route;
            out->found = true;
            return true;
        }
        out->method_mismatch = true;
    }
    return false;
}

/* "/a/b" has the segments a and b, "/" has none. A trailing slash counts as an empty last segment,
 * which only ** takes. "*" is no path: it has no segments, and only ** takes what it has. */
static void split(struct fm_str path, struct fm_match_result *out)
{
    out->nsegments = 0;
    out->deeper = fm_str_eq(path, FM_STR("*"));
    if (path.n <= 1)
        return;
    struct fm_str rest = fm_str(path.p + 1, path.n - 1);
    while (rest.p && out->nsegments < FM_MATCH_SEGMENTS_MAX)
        out->segment[out->nsegments++] = fm_str_cut(rest, '/', &rest);
    out->deeper = rest.p != NULL;
}

/* From a node on, with `depth` segments behind: literal, then {name}, then the end, then **. As
 * deep as a path at most, and no node is seen twice. */
static bool search(const struct fm_match *m, uint32_t at, unsigned depth, struct fm_str method,
                   struct fm_match_result *out)
{
    FM_ASSERT(at > 0 && at < m->nnodes && depth <= out->nsegments);
    const struct node *node = &m->node[at];
    if (depth < out->nsegments) {
        struct fm_str segment = out->segment[depth];
        uint32_t to = node->literal ? edge_of(m, at, segment)->to : 0;
        if (to && search(m, to, depth + 1, method, out))
            return true;
        if (node->named && segment.n && search(m, node->named, depth + 1, method, out))
            return true;
    } else if (!out->deeper && try_rules(m, node->ends, method, out)) {
        return true;
    }
    return try_rules(m, node->rest, method, out);
}

/* The rules of this very host, then of *.name with the longer name first. */
static bool search_hosts(const struct fm_match *m, const struct fm_match_query *q,
                         struct fm_match_result *out)
{
    char lower[FM_MATCH_HOST_MAX];
    size_t n = q->host.n;
    if (n > sizeof lower)
        return false; /* no rule names it */
    for (size_t i = 0; i < n; i++)
        lower[i] = fm_lower(q->host.p[i]);
    uint32_t root = edge_of(m, 0, fm_str(lower, n))->to;
    if (root && search(m, root, 0, q->method, out))
        return true;
    for (size_t i = 1; i < n; i++) {
        if (lower[i] != '.')
            continue;
        lower[i - 1] = '*';
        root = edge_of(m, 0, fm_str(lower + i - 1, n - i + 1))->to;
        if (root && search(m, root, 0, q->method, out))
            return true;
    }
    return false;
}

void fm_match_find(const struct fm_match *m, const struct fm_match_query *q,
                   struct fm_match_result *out)
{
    out->found = out->method_mismatch = false;
    out->route = 0;
    split(q->path, out);
    if (m->node[0].literal && search_hosts(m, q, out))
        return;
    (void)search(m, m->any, 0, q->method, out);
}
