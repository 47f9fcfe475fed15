/* May a running process take over another configuration? By the table's column `reload`: what is
 * FM_RELOAD_FIXED refuses, what is FM_RELOAD_RESTART warns. Sections are compared row by row; of
 * the named things only hosts have such rows (topology is fixed as well, but this version has one).
 */
#include "conf/schema.h"

#include "base/assert.h"

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

static void compare(struct change *c, const struct fm_schema_section *s, const char *from,
                    const char *to, const struct fm_node *map)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct fm_schema_row *row = &s->rows[i];
        if (row->kind == FM_KIND_SECTION && !row->decode)
            compare(c, row->section, from + row->offset, to + row->offset,
                    fm_node_getz(map, row->name));
        else if (row->kind != FM_KIND_LATER && row->kind != FM_KIND_NAMED &&
                 row->reload != FM_RELOAD_LIVE && (row->size || row->count) && !same(row, from, to))
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

/* What of a host needs a restart of that host. */
static void compare_host(struct change *c, const struct fm_conf *from, const struct fm_conf_host *a,
                         const struct fm_conf_host *b)
{
    const struct {
        const char *key;
        bool same;
    } parts[] = {
        {"region", fm_str_eq(from->regions[a->region].name, c->to->regions[b->region].name)},
        {"roles", a->roles == b->roles},
        {"gate", fm_str_eq(a->gate_bind.text, b->gate_bind.text)},
        {"peer", fm_str_eq(a->peer_bind.text, b->peer_bind.text)},
        {"admin", fm_str_eq(a->admin.text, b->admin.text)},
    };
    for (size_t i = 0; i < FM_COUNT(parts); i++)
        if (!parts[i].same)
            fm_report_warning(c->report, b->pos,
                              "`%s` of host `%s` changed, and takes effect at its next restart",
                              parts[i].key, FM_Q(b->name));
}

enum fm_err fm_conf_check_reload(const struct fm_conf *from, const struct fm_conf *to,
                                 struct fm_conf_report *report)
{
    struct change c = {.report = report, .to = to};
    const struct fm_root *a = fm_root_of(from), *b = fm_root_of(to);
    size_t first = fm_report_begin(report);
    FM_ASSERT(a->node && b->node && from != to);
    compare(&c, &fm_schema_root, (const char *)a, (const char *)b, b->node);
    compare_endpoints(&c, from, b->node);
    for (size_t i = 0; i < to->nhosts; i++) {
        int at = fm_conf_find_host(from, to->hosts[i].name);
        if (at >= 0)
            compare_host(&c, from, &from->hosts[at], &to->hosts[i]);
    }
    fm_report_finish(report, first, b->sources);
    return c.refused ? FM_ERR_INVALID : FM_ERR_OK;
}
