/* The route table. Rules are kept in the order of their specificity, so the first that fits is the
 * most specific. Those whose first segment is a literal are found through a hash of it, the others
 * through one common list, which comes after: a literal beats what is not one. */
#include "core/match.h"

#include "base/assert.h"

enum { NONE = UINT16_MAX };

struct fm_match {
    struct fm_match_rule *rule; /* sorted */
    uint16_t *next;             /* of the same host and bucket, in order */
    uint16_t *bucket;           /* first rule of each bucket */
    unsigned n, buckets;        /* a power of two */
    struct fm_hash_key key;
    uint16_t *group_start; /* first rule of each host group; ngroups + 1 entries */
    uint16_t *group_tail;  /* first rule of each that does not begin with a literal */
    unsigned ngroups;
};

static unsigned round_up(unsigned n)
{
    unsigned p = 8;
    while (p < 2 * n)
        p *= 2;
    return p;
}

size_t fm_match_size(unsigned n)
{
    return sizeof(struct fm_match) + n * sizeof(struct fm_match_rule) +
           (n + round_up(n) + 2 * (n + 1)) * sizeof(uint16_t);
}

/* -------- order of specificity -------- */

static unsigned host_class(struct fm_str host)
{
    return host.n == 0 ? 2 : host.p[0] == '*' ? 1 : 0;
}

static int compare_hosts(struct fm_str a, struct fm_str b)
{
    unsigned x = host_class(a), y = host_class(b);
    if (x != y)
        return x < y ? -1 : 1;
    if (x == 1 && a.n != b.n)
        return a.n > b.n ? -1 : 1; /* the longer wildcard is the narrower */
    return fm_str_cmp(a, b);
}

static int compare_paths(const struct fm_match_rule *a, const struct fm_match_rule *b)
{
    for (unsigned i = 0; i < a->nsegments && i < b->nsegments; i++) {
        if (a->segments[i].kind != b->segments[i].kind)
            return a->segments[i].kind < b->segments[i].kind ? -1 : 1;
        if (a->segments[i].kind == FM_SEGMENT_LITERAL) {
            int c = fm_str_cmp(a->segments[i].text, b->segments[i].text);
            if (c)
                return c;
        }
    }
    /* one is the beginning of the other: /a/b goes before /a, and /a before /a with a rest */
    const struct fm_match_rule *longer = a->nsegments > b->nsegments ? a : b;
    if (a->nsegments == b->nsegments)
        return 0;
    unsigned shorter_n = a->nsegments < b->nsegments ? a->nsegments : b->nsegments;
    bool longer_wins = longer->segments[shorter_n].kind != FM_SEGMENT_REST;
    return (longer == a) == longer_wins ? -1 : 1;
}

static int compare(const struct fm_match_rule *a, const struct fm_match_rule *b)
{
    int c = compare_hosts(a->host, b->host);
    if (c == 0)
        c = compare_paths(a, b);
    if (c == 0)
        c = (b->nmethods > 0) - (a->nmethods > 0);
    return c;
}

/* -------- building -------- */

static void sort(struct fm_match_rule *r, unsigned n)
{
    for (unsigned i = 1; i < n; i++) {
        struct fm_match_rule one = r[i];
        unsigned at = i;
        for (; at > 0 && compare(&one, &r[at - 1]) < 0; at--)
            r[at] = r[at - 1];
        r[at] = one;
    }
}

static bool has_literal(const struct fm_match_rule *r)
{
    return r->nsegments > 0 && r->segments[0].kind == FM_SEGMENT_LITERAL;
}

static unsigned bucket_of(const struct fm_match *m, struct fm_str first, unsigned group)
{
    return (unsigned)(fm_mix64(fm_hash_str(m->key, first) + group) & (m->buckets - 1));
}

static void link_rule(struct fm_match *m, unsigned i, unsigned group)
{
    m->next[i] = NONE;
    if (!has_literal(&m->rule[i]))
        return; /* found by walking the tail of its group */
    uint16_t *at = &m->bucket[bucket_of(m, m->rule[i].segments[0].text, group)];
    while (*at != NONE)
        at = &m->next[*at];
    *at = (uint16_t)i;
}

struct fm_match *fm_match_build(void *mem, const struct fm_match_rule *rules, unsigned n,
                                struct fm_hash_key key)
{
    FM_ASSERT(n < NONE);
    struct fm_match *m = mem;
    *m = (struct fm_match){.n = n, .buckets = round_up(n), .key = key};
    m->rule = (struct fm_match_rule *)(void *)(m + 1);
    m->next = (uint16_t *)(void *)(m->rule + n);
    m->bucket = m->next + n;
    m->group_start = m->bucket + m->buckets;
    m->group_tail = m->group_start + n + 1;
    if (n)
        memcpy(m->rule, rules, n * sizeof *rules);
    sort(m->rule, n);
    for (unsigned i = 0; i < m->buckets; i++)
        m->bucket[i] = NONE;
    for (unsigned i = 0; i < n; i++) {
        if (i == 0 || compare_hosts(m->rule[i - 1].host, m->rule[i].host) != 0) {
            m->group_start[m->ngroups] = m->group_tail[m->ngroups] = (uint16_t)i;
            m->ngroups++;
        }
        if (has_literal(&m->rule[i]))
            m->group_tail[m->ngroups - 1] = (uint16_t)(i + 1);
        link_rule(m, i, m->ngroups - 1);
    }
    m->group_start[m->ngroups] = (uint16_t)n;
    return m;
}

/* -------- looking up -------- */

static bool host_fits(struct fm_str pattern, struct fm_str host)
{
    if (pattern.n == 0)
        return true;
    if (pattern.p[0] != '*')
        return fm_str_eq_nocase(pattern, host);
    struct fm_str suffix = fm_str(pattern.p + 1, pattern.n - 1); /* with its dot */
    return host.n > suffix.n &&
           fm_str_eq_nocase(suffix, fm_str(host.p + host.n - suffix.n, suffix.n));
}

static bool path_fits(const struct fm_match_rule *r, const struct fm_match_result *path)
{
    for (unsigned i = 0; i < r->nsegments; i++) {
        if (r->segments[i].kind == FM_SEGMENT_REST)
            return true;
        if (i >= path->nsegments)
            return false;
        if (r->segments[i].kind == FM_SEGMENT_LITERAL &&
            !fm_str_eq(r->segments[i].text, path->segment[i]))
            return false;
        if (r->segments[i].kind == FM_SEGMENT_NAMED && path->segment[i].n == 0)
            return false;
    }
    return r->nsegments == path->nsegments && !path->deeper;
}

static bool method_fits(const struct fm_match_rule *r, struct fm_str method)
{
    for (unsigned i = 0; i < r->nmethods; i++)
        if (fm_str_eq(r->methods[i], method))
            return true;
    return r->nmethods == 0;
}

/* "/a/b" has the segments a and b, "/" has none. A trailing slash counts as an empty last segment,
 * which only ** takes. */
static void split(struct fm_str path, struct fm_match_result *out)
{
    out->nsegments = 0;
    out->deeper = false;
    if (path.n <= 1)
        return;
    struct fm_str rest = fm_str(path.p + 1, path.n - 1);
    while (rest.p && out->nsegments < FM_MATCH_SEGMENTS_MAX)
        out->segment[out->nsegments++] = fm_str_cut(rest, '/', &rest);
    out->deeper = rest.p != NULL;
}

static bool try_rule(const struct fm_match *m, unsigned i, const struct fm_match_query *q,
                     struct fm_match_result *out)
{
    const struct fm_match_rule *r = &m->rule[i];
    if (!path_fits(r, out))
        return false;
    if (!method_fits(r, q->method)) {
        out->method_mismatch = true;
        return false;
    }
    out->route = r->route;
    out->found = true;
    return true;
}

static bool search_group(const struct fm_match *m, unsigned g, const struct fm_match_query *q,
                         struct fm_match_result *out)
{
    unsigned start = m->group_start[g], end = m->group_start[g + 1];
    if (!host_fits(m->rule[start].host, q->host))
        return false;
    if (out->nsegments) {
        unsigned b = bucket_of(m, out->segment[0], g);
        for (uint16_t i = m->bucket[b]; i != NONE; i = m->next[i])
            if (i >= start && i < end && try_rule(m, i, q, out))
                return true;
    }
    for (unsigned i = m->group_tail[g]; i < end; i++)
        if (try_rule(m, i, q, out))
            return true;
    return false;
}

void fm_match_find(const struct fm_match *m, const struct fm_match_query *q,
                   struct fm_match_result *out)
{
    out->found = out->method_mismatch = false;
    out->route = 0;
    split(q->path, out);
    for (unsigned g = 0; g < m->ngroups; g++)
        if (search_group(m, g, q, out))
            return;
}
