/* May a running process take over another configuration? By the table's column `reload`: what is
 * FM_RELOAD_FIXED refuses; what is FM_RELOAD_RESTART warns, and so does what is FM_RELOAD_SHARED,
 * which agents keep as it is agreed (conf/shared.h). Sections are compared row by row; of the named
 * things hosts and contexts have such rows. A context is the same one as long as it has its name.
 */
#include "conf/schema.h"
#include "conf/shared.h"

#include "base/assert.h"

#define KEPT "changed: agents keep what is agreed until `fulmar config apply`"
#define KEPT_ADVICE                                                                                \
    "bring the same file to every host; then `fulmar config diff` shows what `fulmar config "      \
    "apply` would change"

struct change {
    struct fm_conf_report *report;
    const struct fm_conf *to;
    bool refused;
};

static bool same_section(const struct fm_schema_section *s, const char *a, const char *b);

static bool same(const struct fm_schema_row *row, const char *a, const char *b)
{
    struct fm_str sa, sb;
    struct fm_conf_addr x, y;
    size_t na, nb;
    switch ((int)row->kind) {
    case FM_KIND_NAME:
    case FM_KIND_TEXT:
    case FM_KIND_FILE:
        memcpy(&sa, a + row->offset, sizeof sa);
        memcpy(&sb, b + row->offset, sizeof sb);
        return fm_str_eq(sa, sb);
    case FM_KIND_BIND:
    case FM_KIND_TARGET:
    case FM_KIND_HOST:
        memcpy(&x, a + row->offset, sizeof x);
        memcpy(&y, b + row->offset, sizeof y);
        return fm_str_eq(x.text, y.text);
    case FM_KIND_LIST:
        memcpy(&na, a + row->count, sizeof na);
        memcpy(&nb, b + row->count, sizeof nb);
        memcpy(&sa.p, a + row->offset, sizeof sa.p);
        memcpy(&sb.p, b + row->offset, sizeof sb.p);
        FM_ASSERT(row->stride && row->item->section);
        for (size_t i = 0; na == nb && i < na; i++)
            if (!same_section(row->item->section, sa.p + i * row->stride, sb.p + i * row->stride))
                return false;
        return na == nb;
    default:
        FM_ASSERT(row->size <= sizeof(uint64_t)); /* a plain value, no pointers */
        return memcmp(a + row->offset, b + row->offset, row->size) == 0;
    }
}

static bool same_section(const struct fm_schema_section *s, const char *a, const char *b)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->rows[i].kind != FM_KIND_LATER && !same(&s->rows[i], a, b))
            return false;
    return true;
}

static void changed(struct change *c, const struct fm_schema_section *s,
                    const struct fm_schema_row *row, const struct fm_node *map)
{
    const struct fm_node *n = fm_node_getz(map, row->name);
    struct fm_conf_pos whole = {c->to->file.p, 1, 1};
    struct fm_conf_pos pos = n ? n->key_pos : map ? fm_node_key_pos(map) : whole;
    const char *in = s == &fm_schema_root ? "" : s->title, *dot = in[0] ? "." : "";
    if (row->reload == FM_RELOAD_FIXED) {
        fm_report_error(c->report, pos, "`%s%s%s` is fixed for the life of the service", in, dot,
                        row->name);
        fm_report_advice(c->report, "put the old value back; another service is set up anew");
        c->refused = true;
    } else {
        fm_report_warning(c->report, pos, "`%s%s%s` changed, and takes effect at the next restart",
                          in, dot, row->name);
    }
}

/* What takes a restart is compared with what the process was started with. */
static void compare(struct change *c, const struct fm_schema_section *s, const char *started,
                    const char *from, const char *to, const struct fm_node *map)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct fm_schema_row *row = &s->rows[i];
        const char *was = row->reload == FM_RELOAD_RESTART ? started : from;
        if (row->kind == FM_KIND_SECTION && !row->decode)
            compare(c, row->section, started + row->offset, from + row->offset, to + row->offset,
                    fm_node_getz(map, row->name));
        else if (row->kind != FM_KIND_LATER && row->kind != FM_KIND_NAMED &&
                 row->reload != FM_RELOAD_LIVE && (row->size || row->count) && !same(row, was, to))
            changed(c, s, row, map);
    }
}

static void compare_endpoints(struct change *c, const struct fm_conf *from,
                              const struct fm_node *root)
{
    const struct fm_conf_etcd *a = &from->coordination.etcd, *b = &c->to->coordination.etcd;
    const struct fm_node *n =
        fm_node_getz(fm_node_getz(fm_node_getz(root, "coordination"), "etcd"), "endpoints");
    bool same_ones = a->nendpoint == b->nendpoint;
    for (size_t i = 0; same_ones && i < a->nendpoint; i++)
        same_ones = fm_str_eq(a->endpoint[i].url, b->endpoint[i].url) &&
                    fm_str_eq(a->endpoint[i].region, b->endpoint[i].region);
    if (!same_ones)
        fm_report_warning(c->report, n ? n->key_pos : (struct fm_conf_pos){c->to->file.p, 1, 1},
                          "`coordination.etcd.endpoints` changed, and takes effect at the next "
                          "restart");
}

/* What of a host needs a restart of that host; in a service where hosts agree, what is agreed. */
static void compare_host(struct change *c, const struct fm_conf *from, const struct fm_conf_host *a,
                         const struct fm_conf_host *b)
{
    const struct {
        const char *key;
        bool same, live;
    } parts[] = {
        {"region", fm_str_eq(from->regions[a->region].name, c->to->regions[b->region].name), false},
        {"roles", a->roles == b->roles, false},
        {"gate", fm_str_eq(a->gate_bind.text, b->gate_bind.text), false},
        {"peer", fm_str_eq(a->peer_bind.text, b->peer_bind.text), false},
        {"admin", fm_str_eq(a->admin.text, b->admin.text), false},
        {"address", fm_str_eq(a->address, b->address), true},
    };
    for (size_t i = 0; i < FM_COUNT(parts); i++) {
        if (parts[i].same || (parts[i].live && !fm_conf_is_shared(c->to)))
            continue;
        if (fm_conf_is_shared(c->to)) {
            fm_report_warning(c->report, b->pos, "`%s` of host `%s` " KEPT, parts[i].key,
                              FM_Q(b->name));
            fm_report_advice(c->report, KEPT_ADVICE);
        } else {
            fm_report_warning(c->report, b->pos,
                              "`%s` of host `%s` changed, and takes effect at its next restart",
                              parts[i].key, FM_Q(b->name));
        }
    }
}

/* -------- contexts -------- */

static struct fm_conf_pos key_pos(const struct fm_node *map, const char *key,
                                  struct fm_conf_pos or_else)
{
    const struct fm_node *n = fm_node_getz(map, key);
    return n ? n->key_pos : or_else;
}

static void fixed(struct change *c, const struct fm_conf_context *x, const struct fm_node *n,
                  const char *key)
{
    fm_report_error(c->report, key_pos(n, key, x->pos),
                    "`%s` of context `%s` is fixed for the life of the service", key,
                    FM_Q(x->name));
    fm_report_advice(c->report, "put the old value back; a context with another name begins anew");
    c->refused = true;
}

static void shared(struct change *c, const struct fm_conf_context *x, struct fm_conf_pos pos,
                   const char *in, const char *key)
{
    fm_report_warning(c->report, pos, "`%s%s%s` of context `%s` " KEPT, in, in[0] ? "." : "", key,
                      FM_Q(x->name));
    fm_report_advice(c->report, KEPT_ADVICE);
}

/* The rows of a section of both contexts that are FM_RELOAD_SHARED and plain values. */
static void shared_rows(struct change *c, const struct fm_schema_section *s, const char *in,
                        const struct fm_conf_context *x, const void *from, const void *to,
                        const struct fm_node *map)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct fm_schema_row *row = &s->rows[i];
        if (row->reload == FM_RELOAD_SHARED && row->size && !row->decode && !same(row, from, to))
            shared(c, x, key_pos(map, row->name, x->pos), in, row->name);
    }
}

/* Are the homes of the cells the same regions? By name: their order in the file is of no account.
 */
static bool same_homes(const struct fm_conf *from, const struct fm_conf_context *a,
                       const struct fm_conf *to, const struct fm_conf_context *b)
{
    FM_ASSERT(a->ncells == b->ncells);
    for (unsigned i = 0; i < a->ncells; i++)
        if (!fm_str_eq(from->regions[a->cell_home[i]].name, to->regions[b->cell_home[i]].name))
            return false;
    return true;
}

static bool same_partners(const struct fm_conf *from, const struct fm_conf_context *a,
                          const struct fm_conf *to, const struct fm_conf_context *b)
{
    size_t found = 0;
    for (size_t i = 0; i < a->nmoves_with; i++)
        for (size_t k = 0; k < b->nmoves_with; k++)
            found += fm_str_eq(from->contexts[a->moves_with[i]].name,
                               to->contexts[b->moves_with[k]].name);
    return found == a->nmoves_with && found == b->nmoves_with;
}

static void compare_context(struct change *c, const struct fm_conf *from,
                            const struct fm_conf_context *a, const struct fm_conf_context *b,
                            const struct fm_node *n)
{
    const struct fm_node *failover = fm_node_getz(n, "failover");
    FM_ASSERT(n && fm_str_eq(a->name, b->name));
    if (a->topology != b->topology) {
        fixed(c, b, n, "topology");
        return;
    }
    if (a->ncells != b->ncells) {
        fixed(c, b, n, "cells");
        return;
    }
    if (!same_homes(from, a, c->to, b)) {
        bool affinity = b->topology == FM_TOPOLOGY_AFFINITY;
        shared(c, b, key_pos(n, "home", b->pos), "", affinity ? "homes" : "home");
    }
    shared_rows(c, &fm_schema_homes, "homes", b, a, b, fm_node_getz(n, "homes"));
    if (a->key.present != b->key.present || a->key.from != b->key.from ||
        !fm_str_eq(a->key.name, b->key.name))
        shared(c, b, key_pos(n, "key", b->pos), "", "key");
    if (!same_partners(from, a, c->to, b))
        shared(c, b, key_pos(n, "moves-with", b->pos), "", "moves-with");
    if (a->lease_ms != b->lease_ms)
        shared(c, b, key_pos(n, "lease", b->pos), "", "lease");
    shared_rows(c, &fm_schema_failover, "failover", b, &a->failover, &b->failover, failover);
    if (a->failover.at_most != b->failover.at_most ||
        a->failover.at_most_window_ms != b->failover.at_most_window_ms)
        shared(c, b, key_pos(failover, "at-most", b->pos), "failover", "at-most");
    shared_rows(c, &fm_schema_failback, "failback", b, &a->failback, &b->failback,
                fm_node_getz(n, "failback"));
}

static void compare_contexts(struct change *c, const struct fm_conf *from,
                             const struct fm_node *root)
{
    for (size_t i = 0; i < c->to->ncontexts; i++) {
        const struct fm_conf_context *x = &c->to->contexts[i];
        int at = fm_conf_find_context(from, x->name);
        if (at >= 0)
            compare_context(c, from, &from->contexts[at], x,
                            fm_node_get(fm_node_getz(root, "contexts"), x->name));
    }
}

/* -------- groups -------- */

/* Do the two say the same? As written, but for the order of keys. */
static bool same_node(const struct fm_node *a, const struct fm_node *b)
{
    if (a->kind != b->kind || a->n != b->n || !fm_str_eq(a->text, b->text))
        return false;
    const struct fm_node *other = b->first;
    fm_node_each(n, a)
    {
        const struct fm_node *match = a->kind == FM_NODE_MAP ? fm_node_get(b, n->key) : other;
        if (!match || !same_node(n, match))
            return false;
        other = other ? other->next : NULL;
    }
    return true;
}

/* All of it, the rows of a section included. */
static bool is_live(const struct fm_schema_row *row)
{
    if (row->kind != FM_KIND_SECTION)
        return row->reload == FM_RELOAD_LIVE;
    for (size_t i = 0; i < row->section->n; i++)
        if (!is_live(&row->section->rows[i]))
            return false;
    return true;
}

static void group_key(struct change *c, const struct fm_node *group,
                      const struct fm_schema_row *row, const struct fm_node *a,
                      const struct fm_node *b)
{
    struct fm_conf_pos pos = b ? b->key_pos : group->key_pos;
    if (!a == !b && (!a || same_node(a, b)))
        return;
    if (is_live(row) && (row->section != &fm_schema_hooks || (a && b)))
        return; /* hooks are looked up when they are run; that a group has some is another thing */
    if (row->reload == FM_RELOAD_SHARED || row->section == &fm_schema_replication) {
        fm_report_warning(c->report, pos, "`%s` of group `%s` " KEPT, row->name, FM_Q(group->key));
        fm_report_advice(c->report, KEPT_ADVICE);
    } else {
        fm_report_warning(c->report, pos,
                          "`%s` of group `%s` changed, and takes effect at the next restart",
                          row->name, FM_Q(group->key));
    }
}

static void compare_groups(struct change *c, const struct fm_node *from, const struct fm_node *to)
{
    const struct fm_node *a = fm_node_getz(from, "groups"), *b = fm_node_getz(to, "groups");
    struct fm_conf_pos whole = {c->to->file.p, 1, 1};
    for (const struct fm_node *n = b ? b->first : NULL; n; n = n->next) {
        const struct fm_node *old = fm_node_get(a, n->key);
        for (size_t i = 0; old && i < fm_schema_group.n; i++) {
            const struct fm_schema_row *row = &fm_schema_group.rows[i];
            group_key(c, n, row, fm_node_getz(old, row->name), fm_node_getz(n, row->name));
        }
        if (old)
            continue;
        fm_report_warning(c->report, n->key_pos, "the group `%s` " KEPT, FM_Q(n->key));
        fm_report_advice(c->report, KEPT_ADVICE);
    }
    for (const struct fm_node *n = a ? a->first : NULL; n; n = n->next) {
        if (fm_node_get(b, n->key))
            continue;
        fm_report_warning(c->report, b ? b->key_pos : whole, "the group `%s` " KEPT, FM_Q(n->key));
        fm_report_advice(c->report, KEPT_ADVICE);
    }
}

/* -------- who holds and who votes -------- */

static bool is_member(const struct fm_conf *c, struct fm_str host, struct fm_str region,
                      unsigned role)
{
    int at = fm_conf_find_host(c, host);
    return at >= 0 && c->hosts[at].roles & role &&
           fm_str_eq(c->regions[c->hosts[at].region].name, region);
}

/* Has the region in `a` a host with the role that it has not in `b`? */
static bool has_more(const struct fm_conf *a, const struct fm_conf *b, struct fm_str region,
                     unsigned role)
{
    for (size_t i = 0; i < a->nhosts; i++)
        if (is_member(a, a->hosts[i].name, region, role) &&
            !is_member(b, a->hosts[i].name, region, role))
            return true;
    return false;
}

static void compare_members(struct change *c, const struct fm_conf *from,
                            const struct fm_node *root)
{
    static const struct {
        unsigned role;
        const char *name;
    } roles[] = {{FM_ROLE_CONTROLLER, "controller"}, {FM_ROLE_WITNESS, "witness"}};
    for (size_t r = 0; r < c->to->nregions && fm_conf_is_shared(c->to); r++) {
        struct fm_str region = c->to->regions[r].name;
        for (size_t i = 0; i < FM_COUNT(roles); i++) {
            if (!has_more(from, c->to, region, roles[i].role) &&
                !has_more(c->to, from, region, roles[i].role))
                continue;
            fm_report_warning(c->report, key_pos(root, "hosts", c->to->regions[r].pos),
                              "the hosts with the role `%s` in `%s` " KEPT, roles[i].name,
                              FM_Q(region));
            fm_report_advice(c->report, KEPT_ADVICE);
        }
    }
}

enum fm_err fm_conf_check_reload(const struct fm_conf *started, const struct fm_conf *from,
                                 const struct fm_conf *to, struct fm_conf_report *report)
{
    struct change c = {.report = report, .to = to};
    const struct fm_root *first = fm_root_of(started), *a = fm_root_of(from), *b = fm_root_of(to);
    size_t begin = fm_report_begin(report);
    FM_ASSERT(a->node && b->node && from != to && started != to);
    compare(&c, &fm_schema_root, (const char *)first, (const char *)a, (const char *)b, b->node);
    compare_endpoints(&c, started, b->node);
    compare_contexts(&c, from, b->node);
    compare_groups(&c, a->node, b->node);
    compare_members(&c, from, b->node);
    const struct fm_conf *was = fm_conf_is_shared(to) ? from : started; /* who is what is agreed */
    for (size_t i = 0; i < to->nhosts; i++) {
        int at = fm_conf_find_host(was, to->hosts[i].name);
        if (at >= 0)
            compare_host(&c, was, &was->hosts[at], &to->hosts[i]);
    }
    fm_report_finish(report, begin, b->sources);
    return c.refused ? FM_ERR_INVALID : FM_ERR_OK;
}
