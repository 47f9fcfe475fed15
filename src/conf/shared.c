/* The canonical text of what is agreed: see the header. Invariant: it depends on what the
 * configuration means and on nothing else, neither on the order of keys in the file nor on where a
 * default was said. The way back is in shared_apply.c. */
#include "conf/shared.h"

#include "base/assert.h"
#include "base/buf.h"
#include "conf/scalar.h"
#include "conf/schema.h"

#include <openssl/evp.h>
#include <stdlib.h>

enum { ROWS_MAX = 64, DAYS_ALL = 127 };

/* -------- members in their order -------- */

static void name_of(struct fm_buf *b, bool *first, const char *name)
{
    if (!*first)
        fm_buf_ch(b, ',');
    *first = false;
    fm_buf_json(b, fm_str_z(name));
    fm_buf_ch(b, ':');
}

static void text_member(struct fm_buf *b, bool *first, const char *name, struct fm_str value)
{
    name_of(b, first, name);
    fm_buf_json(b, value);
}

static int by_text(const void *a, const void *b)
{
    const struct fm_str *x = a, *y = b;
    int c = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    return c ? c : (x->n > y->n) - (x->n < y->n);
}

static void list(struct fm_buf *b, struct fm_str *item, size_t n, bool sorted)
{
    if (sorted)
        qsort(item, n, sizeof *item, by_text);
    fm_buf_ch(b, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            fm_buf_ch(b, ',');
        fm_buf_json(b, item[i]);
    }
    fm_buf_ch(b, ']');
}

/* -------- values -------- */

static const char *word_of(const struct fm_schema_row *row, uint64_t value)
{
    for (size_t i = 0; i < row->nwords; i++)
        if (row->words[i].value == value)
            return row->words[i].name;
    FM_UNREACHABLE();
}

static uint64_t number_at(const struct fm_schema_row *row, const char *at)
{
    uint64_t wide = 0;
    uint32_t narrow = 0;
    uint8_t byte = 0;
    if (row->size == sizeof wide) {
        memcpy(&wide, at + row->offset, sizeof wide);
        return wide;
    }
    if (row->size == sizeof narrow) {
        memcpy(&narrow, at + row->offset, sizeof narrow);
        return narrow;
    }
    FM_ASSERT(row->size == sizeof byte);
    memcpy(&byte, at + row->offset, sizeof byte);
    return byte;
}

/* `Mon,Tue 02:00-05:00 UTC`; days are left out where they are all. */
static void window_member(struct fm_buf *b, bool *first, const char *name,
                          const struct fm_conf_window *w)
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    char text[96];
    struct fm_buf t = fm_buf(text, sizeof text);
    if (!w->present)
        return;
    for (unsigned i = 0; w->days != DAYS_ALL && i < FM_COUNT(days); i++)
        if (w->days >> i & 1)
            fm_buf_printf(&t, "%s%s", t.n ? "," : "", days[i]);
    fm_buf_printf(&t, "%s%02u:%02u-%02u:%02u UTC", t.n ? " " : "", w->from_min / 60u,
                  w->from_min % 60u, w->to_min / 60u, w->to_min % 60u);
    FM_ASSERT(!t.full);
    text_member(b, first, name, fm_buf_str(&t));
}

static void at_most_member(struct fm_buf *b, bool *first, const char *name,
                           const struct fm_conf_failover *f)
{
    char text[64];
    struct fm_buf t = fm_buf(text, sizeof text);
    fm_buf_printf(&t, "%u per %s", f->at_most, fm_scalar_duration_text(f->at_most_window_ms).s);
    FM_ASSERT(!t.full);
    text_member(b, first, name, fm_buf_str(&t));
}

/* A row of a section whose values lie at `at`, by its kind. */
static void plain_member(struct fm_buf *b, bool *first, const struct fm_schema_row *row,
                         const void *at)
{
    struct fm_conf_window w;
    switch ((int)row->kind) {
    case FM_KIND_DURATION:
        text_member(b, first, row->name,
                    fm_str_z(fm_scalar_duration_text((int64_t)number_at(row, at)).s));
        return;
    case FM_KIND_WORD:
        text_member(b, first, row->name, fm_str_z(word_of(row, number_at(row, at))));
        return;
    case FM_KIND_AT_MOST:
        at_most_member(b, first, row->name, at);
        return;
    case FM_KIND_HOURS:
        memcpy(&w, (const char *)at + row->offset, sizeof w);
        window_member(b, first, row->name, &w);
        return;
    default:
        FM_UNREACHABLE(); /* a shared row of another kind needs a text here */
    }
}

/* The rows that are marked, in the order of their names. */
static size_t shared_rows(const struct fm_schema_section *s, const struct fm_schema_row **row)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (s->rows[i].kind == FM_KIND_LATER || s->rows[i].reload != FM_RELOAD_SHARED)
            continue;
        FM_ASSERT(n < ROWS_MAX);
        size_t to = n++;
        for (; to > 0 && strcmp(row[to - 1]->name, s->rows[i].name) > 0; to--)
            row[to] = row[to - 1];
        row[to] = &s->rows[i];
    }
    return n;
}

static void plain_section(struct fm_buf *b, const struct fm_schema_section *s, const void *at)
{
    const struct fm_schema_row *row[ROWS_MAX];
    bool first = true;
    size_t n = shared_rows(s, row);
    FM_ASSERT(n > 0);
    fm_buf_ch(b, '{');
    for (size_t i = 0; i < n; i++)
        plain_member(b, &first, row[i], at);
    fm_buf_ch(b, '}');
}

/* -------- contexts -------- */

static void key_member(struct fm_buf *b, bool *first, const struct fm_conf_context *c)
{
    static const char *const kinds[] = {
        [FM_CONF_KEY_PATH] = "path",     [FM_CONF_KEY_HEADER] = "header",
        [FM_CONF_KEY_COOKIE] = "cookie", [FM_CONF_KEY_QUERY] = "query",
        [FM_CONF_KEY_BODY] = "body",     [FM_CONF_KEY_CLAIM] = "claim"};
    bool only = true;
    if (!c->key.present)
        return;
    name_of(b, first, "key");
    fm_buf_ch(b, '{');
    text_member(b, &only, kinds[c->key.from], c->key.name);
    fm_buf_ch(b, '}');
}

static void partners_member(struct fm_buf *b, bool *first, const struct fm_conf *conf,
                            const struct fm_conf_context *c)
{
    struct fm_str name[FM_CONF_CONTEXTS_MAX] = {{0}};
    if (!c->nmoves_with)
        return;
    for (size_t i = 0; i < c->nmoves_with; i++)
        name[i] = conf->contexts[c->moves_with[i]].name;
    name_of(b, first, "moves-with");
    list(b, name, c->nmoves_with, true);
}

/* In the order of the names of its members. */
static void context(struct fm_buf *b, const struct fm_conf *conf, const struct fm_conf_context *c)
{
    bool first = true, affinity = c->topology == FM_TOPOLOGY_AFFINITY;
    FM_ASSERT(c->ncells > 0 && c->topology != FM_TOPOLOGY_MULTI_WRITE);
    fm_buf_ch(b, '{');
    name_of(b, &first, "cells");
    fm_buf_printf(b, "\"%u\"", c->ncells);
    name_of(b, &first, "failback");
    plain_section(b, &fm_schema_failback, &c->failback);
    name_of(b, &first, "failover");
    plain_section(b, &fm_schema_failover, &c->failover);
    if (affinity) {
        name_of(b, &first, "homes");
        plain_section(b, &fm_schema_homes, c);
    } else {
        text_member(b, &first, "home", conf->regions[c->home].name);
    }
    key_member(b, &first, c);
    text_member(b, &first, "lease", fm_str_z(fm_scalar_duration_text(c->lease_ms).s));
    partners_member(b, &first, conf, c);
    text_member(b, &first, "topology", affinity ? FM_STR("affinity") : FM_STR("active-passive"));
    fm_buf_ch(b, '}');
}

struct named {
    struct fm_str name; /* first: by_text looks at it */
    size_t at;
};

static void contexts(struct fm_buf *b, const struct fm_conf *conf)
{
    struct named order[FM_CONF_CONTEXTS_MAX] = {{{0}, 0}};
    bool first = true;
    size_t n = 0;
    FM_ASSERT(conf->ncontexts <= FM_CONF_CONTEXTS_MAX);
    for (size_t i = 0; i < conf->ncontexts; i++)
        if (conf->contexts[i].ncells)
            order[n++] = (struct named){conf->contexts[i].name, i};
    qsort(order, n, sizeof *order, by_text);
    fm_buf_ch(b, '{');
    for (size_t i = 0; i < n; i++) {
        name_of(b, &first, order[i].name.p);
        context(b, conf, &conf->contexts[order[i].at]);
    }
    fm_buf_ch(b, '}');
}

/* -------- groups -------- */

static void nodes(struct fm_buf *b, const struct fm_conf *conf, const struct fm_conf_group *g)
{
    struct named order[FM_CONF_GROUP_NODES_MAX] = {{{0}, 0}};
    bool first = true;
    FM_ASSERT(g->nnodes > 0 && g->nnodes <= FM_COUNT(order));
    for (size_t i = 0; i < g->nnodes; i++)
        order[i] = (struct named){conf->hosts[g->nodes[i].host].name, i};
    qsort(order, g->nnodes, sizeof *order, by_text);
    fm_buf_ch(b, '{');
    for (size_t i = 0; i < g->nnodes; i++) {
        bool one = true;
        name_of(b, &first, order[i].name.p);
        fm_buf_ch(b, '{');
        text_member(b, &one, "data", g->nodes[order[i].at].data);
        if (g->nodes[order[i].at].delay_ms)
            text_member(b, &one, "delay",
                        fm_str_z(fm_scalar_duration_text(g->nodes[order[i].at].delay_ms).s));
        name_of(b, &one, "port");
        fm_buf_printf(b, "%u}", g->nodes[order[i].at].port);
    }
    fm_buf_ch(b, '}');
}

static void settings(struct fm_buf *b, const struct fm_conf_group *g)
{
    struct named order[FM_CONF_SETTINGS_MAX] = {{{0}, 0}};
    bool first = true;
    FM_ASSERT(g->nsettings <= FM_COUNT(order));
    for (size_t i = 0; i < g->nsettings; i++)
        order[i] = (struct named){g->settings[i].name, i};
    qsort(order, g->nsettings, sizeof *order, by_text);
    fm_buf_ch(b, '{');
    for (size_t i = 0; i < g->nsettings; i++)
        text_member(b, &first, order[i].name.p, g->settings[order[i].at].value);
    fm_buf_ch(b, '}');
}

static void max_loss(struct fm_buf *b, const struct fm_conf_group *g)
{
    bool first = true;
    fm_buf_ch(b, '{');
    if (g->replication.max_loss.bytes)
        text_member(b, &first, "bytes",
                    fm_str_z(fm_scalar_size_text(g->replication.max_loss.bytes).s));
    if (g->replication.max_loss.time_ms)
        text_member(b, &first, "time",
                    fm_str_z(fm_scalar_duration_text(g->replication.max_loss.time_ms).s));
    if (g->replication.max_loss.transactions) {
        name_of(b, &first, "transactions");
        fm_buf_printf(b, "%llu", (unsigned long long)g->replication.max_loss.transactions);
    }
    fm_buf_ch(b, '}');
}

static void replication(struct fm_buf *b, const struct fm_conf_group *g)
{
    const struct fm_schema_row *row[ROWS_MAX];
    size_t n = shared_rows(&fm_schema_replication, row);
    bool first = true;
    fm_buf_ch(b, '{');
    for (size_t i = 0; i < n; i++) {
        bool in_region = fm_str_eqz(FM_STR("in-region"), row[i]->name);
        if (in_region && g->replication.in_region == FM_CONF_IN_REGION_ASYNC)
            continue; /* the text of versions that did not know it is the same */
        if (row[i]->kind != FM_KIND_SECTION) {
            plain_member(b, &first, row[i], g);
        } else if (g->replication.max_loss.bytes || g->replication.max_loss.transactions) {
            name_of(b, &first, row[i]->name);
            max_loss(b, g);
        }
    }
    fm_buf_ch(b, '}');
}

static void group(struct fm_buf *b, const struct fm_conf *conf, const struct fm_conf_group *g)
{
    struct fm_str name[FM_CONF_LIST_MAX] = {{0}};
    bool first = true;
    FM_ASSERT(g->ncontexts > 0 && g->ncontexts <= FM_COUNT(name));
    for (size_t i = 0; i < g->ncontexts; i++)
        name[i] = conf->contexts[g->contexts[i]].name;
    fm_buf_ch(b, '{');
    name_of(b, &first, "contexts");
    list(b, name, g->ncontexts, true);
    if (!g->hooks.present) { /* commands are each host's own */
        name_of(b, &first, "nodes");
        nodes(b, conf, g);
        name_of(b, &first, "replication");
        replication(b, g);
        name_of(b, &first, "settings");
        settings(b, g);
    }
    fm_buf_ch(b, '}');
}

/* Nothing at all where there are none: as by a version that knew of none. */
static void groups(struct fm_buf *b, const struct fm_conf *conf)
{
    struct named order[FM_CONF_GROUPS_MAX] = {{{0}, 0}};
    bool first = true;
    FM_ASSERT(conf->ngroups <= FM_COUNT(order));
    if (!conf->ngroups)
        return;
    for (size_t i = 0; i < conf->ngroups; i++)
        order[i] = (struct named){conf->groups[i].name, i};
    qsort(order, conf->ngroups, sizeof *order, by_text);
    fm_buf_lit(b, ",\"groups\":{");
    for (size_t i = 0; i < conf->ngroups; i++) {
        name_of(b, &first, order[i].name.p);
        group(b, conf, &conf->groups[order[i].at]);
    }
    fm_buf_ch(b, '}');
}

/* -------- hosts and regions -------- */

static void host(struct fm_buf *b, const struct fm_conf *conf, const struct fm_conf_host *h)
{
    const struct fm_schema_row *roles = fm_schema_find(&fm_schema_host, FM_STR("roles"));
    struct fm_str name[32];
    bool first = true, agent = (h->roles & FM_ROLES_AGENT) != 0;
    size_t n = 0;
    FM_ASSERT(roles && roles->item && h->roles);
    for (size_t i = 0; i < roles->item->nwords; i++)
        if (!roles->item->words[i].later && h->roles & roles->item->words[i].value)
            name[n++] = fm_str_z(roles->item->words[i].name);
    FM_ASSERT(n > 0 && n <= FM_COUNT(name));
    fm_buf_ch(b, '{');
    if (h->address.n)
        text_member(b, &first, "address", h->address);
    if (agent)
        text_member(b, &first, "admin", h->admin.text);
    if (h->roles & FM_ROLE_GATE)
        text_member(b, &first, "gate", h->gate_bind.text);
    if (agent)
        text_member(b, &first, "peer", h->peer_bind.text);
    text_member(b, &first, "region", conf->regions[h->region].name);
    name_of(b, &first, "roles");
    list(b, name, n, true);
    if (h->zone.n)
        text_member(b, &first, "zone", h->zone);
    fm_buf_ch(b, '}');
}

static enum fm_err hosts(struct fm_buf *b, const struct fm_conf *conf)
{
    struct named *order = conf->nhosts ? calloc(conf->nhosts, sizeof *order) : NULL;
    bool first = true;
    if (conf->nhosts && !order)
        return FM_ERR_MEMORY;
    for (size_t i = 0; i < conf->nhosts; i++)
        order[i] = (struct named){conf->hosts[i].name, i};
    if (order)
        qsort(order, conf->nhosts, sizeof *order, by_text);
    fm_buf_ch(b, '{');
    for (size_t i = 0; i < conf->nhosts; i++) {
        name_of(b, &first, order[i].name.p);
        host(b, conf, &conf->hosts[order[i].at]);
    }
    fm_buf_ch(b, '}');
    free(order);
    return FM_ERR_OK;
}

/* Their order gives the cells of `affinity` their homes, and means nothing else. */
static void regions(struct fm_buf *b, const struct fm_conf *conf, bool witnesses)
{
    struct fm_str name[FM_CONF_REGIONS_MAX] = {{0}};
    bool ordered = false;
    size_t n = 0;
    FM_ASSERT(conf->nregions <= FM_CONF_REGIONS_MAX);
    for (size_t i = 0; i < conf->ncontexts; i++)
        ordered |= conf->contexts[i].topology == FM_TOPOLOGY_AFFINITY;
    for (size_t i = 0; i < conf->nregions; i++)
        if (conf->regions[i].witness == witnesses)
            name[n++] = conf->regions[i].name;
    list(b, name, n, witnesses || !ordered);
}

bool fm_conf_is_shared(const struct fm_conf *c)
{
    for (size_t i = 0; i < c->ncontexts; i++)
        if (c->contexts[i].ncells > 0)
            return c->coordination.present;
    return false;
}

enum fm_err fm_conf_shared_write(const struct fm_conf *c, struct fm_buf *out)
{
    size_t from = out->n;
    fm_buf_lit(out, "{\"contexts\":");
    contexts(out, c);
    groups(out, c);
    fm_buf_lit(out, ",\"hosts\":");
    enum fm_err err = hosts(out, c);
    fm_buf_lit(out, ",\"regions\":");
    regions(out, c, false);
    fm_buf_lit(out, ",\"service\":");
    fm_buf_json(out, c->service);
    fm_buf_lit(out, ",\"v\":1,\"witnesses\":");
    regions(out, c, true);
    fm_buf_ch(out, '}');
    if (err)
        return err;
    return out->full || out->n - from > FM_CONF_SHARED_MAX ? FM_ERR_LIMIT : FM_ERR_OK;
}

void fm_conf_shared_digest(struct fm_str text, char out[FM_CONF_DIGEST_ROOM])
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    int good = EVP_Digest(text.p, text.n, sum, &n, EVP_sha256(), NULL);
    FM_ASSERT(good > 0 && n == 32);
    struct fm_buf b = fm_buf(out, FM_CONF_DIGEST_ROOM);
    fm_buf_hex(&b, sum, n);
    FM_ASSERT(b.n == FM_CONF_DIGEST_ROOM - 1);
    out[b.n] = 0;
}
