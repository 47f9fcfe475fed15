/* A configuration with what is agreed in place of what its file says: see conf/shared.h.
 *
 * The tree of the file is copied, the nodes of the shared keys are replaced by those of the agreed
 * text, and the whole is decoded and checked as a file is: so nothing that a rule of the language
 * refuses is ever acted upon, and what follows from a shared value (a `hold` that nobody said)
 * follows from the agreed one. The file's own values of other keys stay. */
#include "conf/shared.h"

#include "base/assert.h"
#include "conf/decode.h"

struct merge {
    struct fm_load l;
    struct fm_node *root;   /* the copy */
    struct fm_node *agreed; /* what is put into it */
    bool misfit;
};

/* -------- copies -------- */

static const char *file_of(const struct fm_load *l, const char *file)
{
    const struct fm_source *s = file ? fm_source_find(l->root->sources, file) : NULL;
    return s ? s->file : l->conf->file.p;
}

static bool copy_sources(struct fm_load *l, const struct fm_source *from)
{
    for (; from; from = from->next) {
        struct fm_source *s = fm_load_alloc(l, 1, sizeof *s);
        struct fm_str file = fm_load_str(l, fm_str_z(from->file));
        struct fm_str text = fm_load_str(l, from->text);
        if (!s || !file.p || !text.p)
            return false;
        *s = (struct fm_source){.file = file.p, .text = text, .dev = from->dev, .ino = from->ino};
        *l->source_end = s;
        l->source_end = &s->next;
    }
    return true;
}

/* With all below it, as `key` of a map, or in a list (key.p = NULL). NULL without memory. */
static struct fm_node *copy(struct fm_load *l, const struct fm_node *n, struct fm_str key)
{
    struct fm_node *c = fm_load_alloc(l, 1, sizeof *c);
    if (!c)
        return NULL;
    FM_ASSERT(n->kind != FM_NODE_BAD);
    *c = (struct fm_node){.kind = n->kind, .plain = n->plain, .pos = n->pos, .key_pos = n->key_pos};
    c->pos.file = file_of(l, n->pos.file);
    c->key_pos.file = file_of(l, n->key_pos.file);
    if (n->text.p)
        c->text = fm_load_str(l, n->text);
    if (key.p)
        c->key = fm_load_str(l, key);
    fm_node_each(child, n)
    {
        struct fm_node *one = copy(l, child, child->key);
        if (!one)
            return NULL;
        fm_node_append(c, one);
    }
    return l->oom ? NULL : c;
}

/* -------- replacing -------- */

/* `what`, of the thing of this name. */
static void misfit(struct merge *m, const struct fm_node *at, const char *name, const char *what,
                   const char *advice)
{
    struct fm_conf_pos whole = {m->l.conf->file.p, 1, 1};
    fm_report_error(m->l.report, at ? fm_node_key_pos(at) : whole, "%s %s", name, what);
    fm_report_advice(m->l.report, "%s", advice);
    m->misfit = true;
}

static bool has(const struct fm_node *list, struct fm_str text)
{
    if (!list || list->kind != FM_NODE_LIST)
        return false;
    fm_node_each(n, list)
    {
        if (fm_str_eq(n->text, text))
            return true;
    }
    return false;
}

/* `key` of the map becomes what is agreed, or goes where nothing is. */
static void put(struct merge *m, struct fm_node *map, const char *key, const struct fm_node *value)
{
    struct fm_node *old = fm_node_getz(map, key);
    if (old)
        fm_node_remove(old);
    struct fm_node *news = value ? copy(&m->l, value, fm_str_z(key)) : NULL;
    if (!news)
        return;
    news->key_pos = old ? old->key_pos : fm_node_key_pos(map);
    fm_node_append(map, news);
}

/* What a later version has agreed upon, and this one does not know. */
static void drop_unknown(struct fm_node *map, const struct fm_schema_section *s)
{
    struct fm_node *next;
    for (struct fm_node *n = map && map->kind == FM_NODE_MAP ? map->first : NULL; n; n = next) {
        const struct fm_schema_row *row = fm_schema_find(s, n->key);
        next = n->next;
        if (!row || row->kind == FM_KIND_LATER)
            fm_node_remove(n);
    }
}

static void put_hosts(struct merge *m)
{
    const struct fm_node *hosts = fm_node_getz(m->agreed, "hosts");
    put(m, m->root, "hosts", hosts->n ? hosts : NULL);
    struct fm_node *put_in = fm_node_getz(m->root, "hosts");
    for (struct fm_node *n = put_in ? put_in->first : NULL; n; n = n->next)
        drop_unknown(n, &fm_schema_host);
}

/* Of the names only those that this file has a context for: it is told of the others elsewhere. */
static void put_partners(struct merge *m, struct fm_node *map, const struct fm_node *value)
{
    const struct fm_node *known = fm_node_getz(m->root, "contexts");
    put(m, map, "moves-with", value);
    struct fm_node *list = fm_node_getz(map, "moves-with");
    struct fm_node *next;
    for (struct fm_node *n = value && list ? list->first : NULL; n; n = next) {
        next = n->next;
        if (!fm_node_get(known, n->text))
            fm_node_remove(n);
    }
}

static void put_homes(struct merge *m, struct fm_node *map, const struct fm_node *value)
{
    struct fm_node *homes = fm_node_getz(map, "homes");
    if (!value)
        return;
    if (homes)
        put(m, homes, "by", fm_node_getz(value, "by"));
    else
        put(m, map, "homes", value);
}

/* What no running service can change. */
static bool is_same_context(const struct fm_conf_context *x, const struct fm_node *agreed)
{
    static const char *const names[] = {[FM_TOPOLOGY_MULTI_WRITE] = "multi-write",
                                        [FM_TOPOLOGY_ACTIVE_PASSIVE] = "active-passive",
                                        [FM_TOPOLOGY_AFFINITY] = "affinity"};
    const struct fm_node *topology = fm_node_getz(agreed, "topology"),
                         *cells = fm_node_getz(agreed, "cells");
    uint64_t n;
    return topology && cells && fm_str_eqz(topology->text, names[x->topology]) &&
           fm_str_u64(cells->text, &n) && n == x->ncells;
}

static void merge_context(struct merge *m, const struct fm_conf_context *x, struct fm_node *map,
                          const struct fm_node *agreed)
{
    static const char *const whole[] = {"failback", "failover", "home", "key", "lease"};
    FM_ASSERT(map && map->kind == FM_NODE_MAP && agreed->kind == FM_NODE_MAP);
    if (!is_same_context(x, agreed)) {
        misfit(m, map, x->name.p,
               "has not the `topology` and `cells` that were agreed, which are fixed for the life "
               "of the service",
               "put the old values back; a context with another name begins anew");
        return;
    }
    for (size_t i = 0; i < FM_COUNT(whole); i++)
        put(m, map, whole[i], fm_node_getz(agreed, whole[i]));
    drop_unknown(fm_node_getz(map, "failover"), &fm_schema_failover);
    drop_unknown(fm_node_getz(map, "failback"), &fm_schema_failback);
    put_homes(m, map, fm_node_getz(agreed, "homes"));
    put_partners(m, map, fm_node_getz(agreed, "moves-with"));
}

static bool merge_contexts(struct merge *m, const struct fm_conf *c)
{
    const struct fm_node *agreed = fm_node_getz(m->agreed, "contexts");
    const struct fm_node *map = fm_node_getz(m->root, "contexts");
    bool ordered = false;
    if (!agreed || agreed->kind != FM_NODE_MAP)
        return false;
    for (size_t i = 0; i < c->ncontexts; i++) {
        const struct fm_node *one = fm_node_get(agreed, c->contexts[i].name);
        const struct fm_node *topology = fm_node_getz(one, "topology");
        ordered |= topology && fm_str_eqz(topology->text, "affinity");
        if (one && one->kind == FM_NODE_MAP)
            merge_context(m, &c->contexts[i], fm_node_get(map, c->contexts[i].name), one);
    }
    return ordered;
}

/* -------- groups -------- */

/* Of the contexts only those that this file has. */
static void put_group_contexts(struct merge *m, struct fm_node *map, const struct fm_node *value)
{
    const struct fm_node *known = fm_node_getz(m->root, "contexts");
    put(m, map, "contexts", value);
    struct fm_node *list = fm_node_getz(map, "contexts"), *next;
    for (struct fm_node *n = list ? list->first : NULL; n; n = next) {
        next = n->next;
        if (!fm_node_get(known, n->text))
            fm_node_remove(n);
    }
}

static void merge_group(struct merge *m, struct fm_node *map, const struct fm_node *agreed)
{
    static const char *const whole[] = {"nodes", "replication", "settings"};
    FM_ASSERT(map->kind == FM_NODE_MAP && agreed->kind == FM_NODE_MAP);
    put_group_contexts(m, map, fm_node_getz(agreed, "contexts"));
    for (size_t i = 0; i < FM_COUNT(whole); i++)
        put(m, map, whole[i], fm_node_getz(agreed, whole[i]));
    drop_unknown(fm_node_getz(map, "replication"), &fm_schema_replication);
    struct fm_node *nodes = fm_node_getz(map, "nodes");
    for (struct fm_node *n = nodes ? nodes->first : NULL; n; n = n->next)
        drop_unknown(n, &fm_schema_group_node);
}

/* A group that is not agreed upon is left out, for its hosts are not either; so is one of whose
 * contexts this file has none. */
static void merge_groups(struct merge *m)
{
    const struct fm_node *agreed = fm_node_getz(m->agreed, "groups");
    struct fm_node *map = fm_node_getz(m->root, "groups"), *next;
    for (struct fm_node *n = map ? map->first : NULL; n; n = next) {
        const struct fm_node *one = fm_node_get(agreed, n->key);
        next = n->next;
        if (one && one->kind == FM_NODE_MAP && n->kind == FM_NODE_MAP)
            merge_group(m, n, one);
        const struct fm_node *contexts = one ? fm_node_getz(n, "contexts") : NULL;
        if (!contexts || !contexts->n)
            fm_node_remove(n);
    }
}

/* Which regions there are, and in which order where that means anything. */
static void merge_regions(struct merge *m, bool ordered)
{
    const struct fm_node *serving = fm_node_getz(m->agreed, "regions"),
                         *witnesses = fm_node_getz(m->agreed, "witnesses");
    struct fm_node *map = fm_node_getz(m->root, "regions"), *next;
    FM_ASSERT(map && map->kind == FM_NODE_MAP);
    for (struct fm_node *n = map->first; n; n = next) {
        const struct fm_node *witness = fm_node_getz(n, "witness");
        bool votes = witness && fm_str_eqz(witness->text, "true");
        next = n->next;
        if (has(votes ? serving : witnesses, n->key))
            misfit(m, n, n->key.p,
                   "is agreed to be a witness and serves in this file, or serves and is a witness "
                   "here",
                   "bring the agreed file to this host, or apply this one");
        else if (!has(votes ? witnesses : serving, n->key))
            fm_node_remove(n);
    }
    for (unsigned k = 0; k < 2; k++) {
        const struct fm_node *names = k ? witnesses : serving;
        if (!names || names->kind != FM_NODE_LIST)
            continue;
        fm_node_each(name, names)
        {
            struct fm_node *n = fm_node_get(map, name->text);
            if (!n) {
                misfit(m, map, FM_Q(name->text),
                       "is agreed to be a region, and is not in this file",
                       "bring the agreed file to this host, or apply this one");
            } else if (ordered) { /* one after the other to the end */
                fm_node_remove(n);
                fm_node_append(map, n);
            }
        }
    }
}

static bool is_whole(const struct fm_node *agreed)
{
    static const char *const maps[] = {"contexts", "hosts"}, *const lists[] = {"regions",
                                                                               "witnesses"};
    bool good = agreed && agreed->kind == FM_NODE_MAP && fm_node_is_sound(agreed);
    for (size_t i = 0; good && i < FM_COUNT(maps); i++) {
        const struct fm_node *map = fm_node_getz(agreed, maps[i]),
                             *list = fm_node_getz(agreed, lists[i]);
        good = map && map->kind == FM_NODE_MAP && list && list->kind == FM_NODE_LIST;
    }
    return good && fm_node_getz(agreed, "service");
}

static void merge(struct merge *m, const struct fm_conf *c, struct fm_str agreed)
{
    struct fm_source *s = fm_load_alloc(&m->l, 1, sizeof *s);
    if (!s)
        return;
    s->file = "(agreed)"; /* of no file: messages about it have no line */
    s->text = fm_load_str(&m->l, agreed);
    m->agreed = s->text.p ? fm_node_read(&m->l, s) : NULL;
    if (!is_whole(m->agreed)) {
        misfit(m, NULL, "what is agreed", "is not of this version", "upgrade this host");
        return;
    }
    if (!fm_str_eq(fm_node_getz(m->agreed, "service")->text, c->service)) {
        misfit(m, NULL, "what is agreed", "is of another service",
               "see `state` and `coordination` of the file");
        return;
    }
    merge_regions(m, merge_contexts(m, c));
    merge_groups(m);
    put_hosts(m);
}

struct fm_conf *fm_conf_shared_apply(const struct fm_conf *c, struct fm_str agreed,
                                     struct fm_conf_report *report)
{
    const struct fm_root *from = fm_root_of(c);
    struct merge m = {.misfit = false};
    size_t first = fm_report_begin(report), before = report->errors;
    FM_ASSERT(from->node && c->file.p);
    if (!fm_load_begin(&m.l, report, c->file))
        return NULL;
    if (copy_sources(&m.l, from->sources))
        m.root = copy(&m.l, from->node, fm_str(NULL, 0));
    if (m.root && agreed.n)
        merge(&m, c, agreed);
    m.l.root->node = m.root;
    if (m.root && !m.misfit && !m.l.oom && !m.l.broken)
        fm_load_decode(&m.l);
    return fm_load_finish(&m.l, first, before);
}
