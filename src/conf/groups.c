/* `groups`: which contexts, which hosts, which parameters of PostgreSQL. Keeps the invariant that
 * every name in a decoded group is an index that exists. Whether groups fit what stands around them
 * is asked in groups_check.c. */
#include "base/assert.h"
#include "base/buf.h"
#include "conf/addr.h"
#include "conf/decode.h"
#include "core/credit.h"

#include <stdio.h>

enum {
    SETTING_NAME_MAX = 63,
    SETTING_VALUE_MAX = 1000,
};

#define DATA_BELOW "/var/lib/fulmar/pg/"

/* -------- contexts -------- */

/* The index of the context that the entry names; -1, and an error, where it names none. */
static int context_of(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n)
{
    struct fm_str names[FM_CONF_CONTEXTS_MAX], text;
    struct fm_schema_row name = *row->item;
    const struct fm_conf *c = l->conf;
    if (!fm_decode_text(l, &name, n, &text))
        return -1;
    int at = fm_conf_find_context(c, text);
    for (size_t i = 0; i < c->ncontexts; i++)
        names[i] = c->contexts[i].name;
    if (at >= 0 || !c->ncontexts)
        return at;
    struct fm_str near = fm_suggest_name(text, names, c->ncontexts);
    fm_report_error(l->report, n->pos, "there is no context `%s`", FM_Q(text));
    if (near.p)
        fm_report_advice(l->report, "did you mean `%s`?", near.p);
    else
        fm_report_advice(l->report, "the contexts are those of `contexts`");
    return -1;
}

/* Is the context in another group? Says so. */
static bool taken(struct fm_load *l, const struct fm_node *n, unsigned context)
{
    int at = fm_conf_group_of(l->conf, context);
    if (at < 0)
        return false;
    const struct fm_conf_group *other = &l->conf->groups[at];
    fm_report_error(l->report, n->pos, "`%s` is in the group `%s` as well", FM_Q(n->text),
                    FM_Q(other->name));
    fm_report_advice(l->report,
                     "the data of a context is in one group: take it out of one of them");
    return true;
}

void fm_decode_group_contexts(struct fm_load *l, const struct fm_schema_row *row,
                              const struct fm_node *n, void *at)
{
    struct fm_conf_group *g = at;
    if (!fm_decode_want(l, row, n, FM_NODE_LIST))
        return;
    if (n->n > row->max) {
        fm_report_error(l->report, n->pos,
                        "a group carries one context in this version of Fulmar (%s)", FM_VERSION);
        fm_report_advice(l->report, "give each context a group of its own");
        return;
    }
    if (!fm_decode_count(l, row, n))
        return;
    int context = context_of(l, row, n->first);
    if (context < 0 || taken(l, n->first, (unsigned)context))
        return;
    g->contexts = fm_load_alloc(l, 1, sizeof *g->contexts);
    if (!g->contexts)
        return;
    g->contexts[0] = (unsigned)context;
    g->ncontexts = 1;
}

/* -------- nodes -------- */

static int host_of(struct fm_load *l, const struct fm_node *n)
{
    struct fm_str names[FM_CONF_HOSTS_MAX];
    const struct fm_conf *c = l->conf;
    int at = fm_conf_find_host(c, n->key);
    for (size_t i = 0; i < c->nhosts; i++)
        names[i] = c->hosts[i].name;
    if (at < 0) {
        struct fm_str near = fm_suggest_name(n->key, names, c->nhosts);
        fm_report_error(l->report, n->key_pos, "there is no host `%s`", FM_Q(n->key));
        if (near.p)
            fm_report_advice(l->report, "did you mean `%s`?", near.p);
        else
            fm_report_advice(l->report,
                             "add `%s: {region: REGION, roles: [postgres], address: "
                             "NAME-OR-IP}` to `hosts`",
                             FM_Q(n->key));
    } else if (!(c->hosts[at].roles & FM_ROLE_POSTGRES)) {
        fm_report_error(l->report, n->key_pos, "host `%s` has not the role `postgres`",
                        FM_Q(n->key));
        fm_report_advice(l->report, "add it to `roles` of `hosts.%s`", FM_Q(n->key));
        at = -1;
    }
    return at;
}

/* Where it was not said: a folder that the user of PostgreSQL can reach, not the agent's state. */
static struct fm_str usual_data(struct fm_load *l, const struct fm_conf_group *g)
{
    char mem[sizeof DATA_BELOW + 64];
    struct fm_buf b = fm_buf(mem, sizeof mem);
    fm_buf_lit(&b, DATA_BELOW);
    fm_buf_str_add(&b, g->name);
    FM_ASSERT(!b.full);
    return fm_load_str(l, fm_buf_str(&b));
}

/* PostgreSQL is started in another folder, and looks for it from there. */
void fm_decode_group_data(struct fm_load *l, const struct fm_schema_row *row,
                          const struct fm_node *n, void *at)
{
    struct fm_schema_row plain = *row;
    struct fm_fault f = {.memory = false};
    plain.decode = NULL;
    if (n->kind == FM_NODE_SCALAR && n->text.n && n->text.p[0] != '/' && n->text.p[0] != '~') {
        fm_fault(&f, "`%s` does not begin with `/`", FM_Q(n->text));
        fm_fault_advice(&f, "write the whole path, like `" DATA_BELOW "ledger`");
        fm_decode_fault(l, row, n, &f);
        return;
    }
    fm_decode_value(l, &plain, n, at);
}

static bool decode_node(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                        const struct fm_conf_group *g, struct fm_conf_group_node *node)
{
    size_t errors = l->report->errors;
    int host = l->hosts_bad ? -1 : host_of(l, n);
    *node = (struct fm_conf_group_node){.pos = n->key_pos};
    fm_decode_defaults(l, &fm_schema_group_node, node);
    fm_decode_value(l, row->item, n, node);
    if (host < 0 || l->report->errors > errors)
        return false;
    const struct fm_conf_host *h = &l->conf->hosts[host];
    struct fm_conf_addr name = {.host = h->address, .pos = n->key_pos, .is_ip = h->peer.is_ip};
    if (h->postgres.host.p)
        name = h->postgres;
    FM_ASSERT(h->address.n > 0 && node->port > 0 && node->port <= UINT16_MAX);
    node->host = (unsigned)host;
    if (!fm_conf_addr_with_port(l->arena, &name, (uint16_t)node->port, &node->address))
        l->oom = true;
    if (!node->data.n)
        node->data = usual_data(l, g);
    return !l->oom;
}

void fm_decode_group_nodes(struct fm_load *l, const struct fm_schema_row *row,
                           const struct fm_node *n, void *at)
{
    struct fm_conf_group *g = at;
    if (!fm_decode_want(l, row, n, FM_NODE_MAP) || !fm_decode_count(l, row, n))
        return;
    g->nodes = fm_load_alloc(l, n->n, sizeof *g->nodes);
    if (!g->nodes)
        return;
    fm_node_each(child, n) g->nnodes += decode_node(l, row, child, g, &g->nodes[g->nnodes]);
    FM_ASSERT(g->nnodes <= n->n);
}

/* -------- listeners -------- */

/* The index of a gate; -1, and an error, where the name is of none. */
static int gate_of(struct fm_load *l, const struct fm_node *n)
{
    struct fm_str names[FM_CONF_HOSTS_MAX];
    size_t gates = 0;
    const struct fm_conf *c = l->conf;
    int at = fm_conf_find_host(c, n->key);
    if (at >= 0 && c->hosts[at].roles & FM_ROLE_GATE)
        return at;
    for (size_t i = 0; i < c->nhosts; i++)
        if (c->hosts[i].roles & FM_ROLE_GATE)
            names[gates++] = c->hosts[i].name;
    struct fm_str near = fm_suggest_name(n->key, names, gates);
    fm_report_error(l->report, n->key_pos,
                    at < 0 ? "there is no host `%s`" : "host `%s` has not the role `gate`",
                    FM_Q(n->key));
    if (near.p)
        fm_report_advice(l->report, "did you mean `%s`?", near.p);
    else
        fm_report_advice(l->report, "the listeners of groups are at hosts with the role `gate`");
    return -1;
}

/* One address for every gate, or an address for each host. */
void fm_decode_group_door(struct fm_load *l, const struct fm_schema_row *row,
                          const struct fm_node *n, void *at)
{
    FM_ASSERT(row->nitem == 2 && row->item[1].nitem == 1);
    struct fm_schema_row one = row->item[0];
    one.offset = row->offset;
    if (n->kind != FM_NODE_MAP) {
        fm_decode_value(l, &one, n, at);
        return;
    }
    struct fm_conf_addr *of = fm_load_alloc(l, l->conf->nhosts + 1, sizeof *of);
    if (!of || !fm_decode_count(l, &row->item[1], n))
        return;
    fm_node_each(child, n)
    {
        int host = l->hosts_bad ? -1 : gate_of(l, child);
        if (host >= 0)
            fm_decode_value(l, row->item[1].item, child, &of[host]);
    }
    memcpy((char *)at + row->count, &of, sizeof of);
}

/* -------- parameters of PostgreSQL -------- */

/* What Fulmar sets, or relies upon. */
static const struct {
    const char *name, *why;
} managed[] = {
    {"archive_cleanup_command", "a standby follows the primary alone"},
    {"cluster_name", "it is the name of the host"},
    {"config_file", "it is in the data directory"},
    {"data_directory", "say `data` of the node"},
    {"external_pid_file", "nobody else starts or stops it"},
    {"fsync", "it is `on`: what is not on disk when it is acknowledged is beyond every bound"},
    {"full_page_writes", "it is `on`: without it a crash leaves torn pages behind"},
    {"hba_file", "who may connect from where is part of the fence"},
    {"hot_standby", "it is `on`: standbys are asked how far they are"},
    {"ident_file", "it is in the data directory"},
    {"listen_addresses", "where a node can be reached is part of the fence"},
    {"password_encryption", "it is `scram-sha-256`"},
    {"port", "say `port` of the node"},
    {"primary_conninfo", "whom a standby follows is decided by who may write"},
    {"primary_slot_name", "each standby has a slot of its own"},
    {"promote_trigger_file", "a node is promoted only under authority"},
    {"recovery_end_command", "a standby follows the primary alone"},
    {"recovery_min_apply_delay", "say `delay` of the node"},
    {"restore_command", "a standby follows the primary alone"},
    {"synchronous_commit", "it is `on`: a lower one acknowledges what no bound covers"},
    {"synchronous_standby_names", "the bound of the loss is enforced there"},
    {"unix_socket_directories", "clients come by Fulmar's listeners alone"},
    {"wal_level", "it is `logical`: a lower one cannot tell what was lost"},
};

static bool is_parameter(struct fm_str s, struct fm_fault *f)
{
    bool good = s.n > 0 && s.n <= SETTING_NAME_MAX;
    for (size_t i = 0; good && i < s.n; i++) {
        char c = fm_lower(s.p[i]);
        bool letter = (c >= 'a' && c <= 'z') || c == '_';
        good = letter || (i > 0 && ((c >= '0' && c <= '9') || c == '.'));
    }
    if (good)
        return true;
    fm_fault(f, "`%s` is none", FM_Q(s));
    return fm_fault_advice(f, "write it as PostgreSQL does: letters, digits, `_`, and a `.` behind "
                              "the name of an extension");
}

/* Why the user cannot set it; NULL where nothing speaks against it. */
static const char *managed_why(struct fm_str name)
{
    if (fm_str_starts(name, FM_STR("recovery_target")))
        return "a standby follows to the end";
    if (fm_str_starts(name, FM_STR("include")))
        return "which files PostgreSQL reads is part of the fence";
    for (size_t i = 0; i < FM_COUNT(managed); i++)
        if (fm_str_eqz(name, managed[i].name))
            return managed[i].why;
    return NULL;
}

static bool is_value(struct fm_str s, struct fm_fault *f)
{
    if (s.n > SETTING_VALUE_MAX)
        return fm_fault(f, "it is longer than %d bytes", SETTING_VALUE_MAX);
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
            return fm_fault(f, "it has a control character");
    return true;
}

static bool decode_setting(struct fm_load *l, const struct fm_schema_row *row,
                           const struct fm_node *n, const struct fm_conf_group *g,
                           struct fm_conf_setting *to)
{
    struct fm_fault f = {.memory = false};
    char lower[SETTING_NAME_MAX + 1];
    *to = (struct fm_conf_setting){.pos = n->key_pos};
    if (!is_parameter(n->key, &f)) {
        fm_report_error(l->report, n->key_pos,
                        "an entry of `settings` must be a parameter of PostgreSQL: %s", f.why);
        fm_report_advice(l->report, "%s", f.advice);
        return false;
    }
    if (!fm_decode_text(l, row->item, n, &to->value))
        return false;
    if (!is_value(to->value, &f)) {
        fm_decode_fault(l, row->item, n, &f);
        return false;
    }
    for (size_t i = 0; i < n->key.n; i++)
        lower[i] = fm_lower(n->key.p[i]);
    to->name = fm_load_str(l, fm_str(lower, n->key.n));
    if (!to->name.p)
        return false;
    const char *why = managed_why(to->name);
    if (why) {
        fm_report_error(l->report, n->key_pos, "`%s` is Fulmar's: %s", to->name.p, why);
        fm_report_advice(l->report, "delete it");
        return false;
    }
    for (size_t i = 0; i < g->nsettings; i++) {
        if (!fm_str_eq(g->settings[i].name, to->name))
            continue;
        fm_report_error(l->report, n->key_pos, "`%s` stands twice in `settings`", to->name.p);
        fm_report_advice(l->report, "keep one of them");
        return false;
    }
    return true;
}

void fm_decode_settings(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                        void *at)
{
    struct fm_conf_group *g = at;
    if (!fm_decode_want(l, row, n, FM_NODE_MAP) || !fm_decode_count(l, row, n))
        return;
    g->settings = fm_load_alloc(l, (size_t)n->n + 1, sizeof *g->settings);
    if (!g->settings)
        return;
    fm_node_each(child, n) g->nsettings +=
        decode_setting(l, row, child, g, &g->settings[g->nsettings]);
    FM_ASSERT(g->nsettings <= n->n);
}

/* -------- rules of sections -------- */

/* Where it would say nothing, or nothing would keep it. */
static void check_in_region(struct fm_load *l, const struct fm_node *map, bool sync, bool unbounded)
{
    const struct fm_node *n = fm_node_getz(map, "in-region");
    if (n && sync) {
        fm_report_error(l->report, n->key_pos,
                        "with `mode: sync` commits wait for every node that follows, in the region "
                        "or not, and `in-region` says nothing");
        fm_report_advice(l->report, "delete it, or write `mode: async` with `max-loss`");
    } else if (n && unbounded && fm_str_eqz(n->text, "sync")) {
        fm_report_error(l->report, n->pos,
                        "with `mode: async` and no `max-loss` commits wait for nobody, and "
                        "`in-region: sync` lets them wait");
        fm_report_advice(l->report, "add `max-loss: {bytes: 1MiB}`, or more, or delete it");
    }
}

void fm_check_replication(struct fm_load *l, const struct fm_node *map, void *at)
{
    const struct fm_conf_group *g = at;
    const struct fm_node *mode = fm_node_getz(map, "mode"), *beyond = fm_node_getz(map, "beyond");
    FM_ASSERT(g->name.p);
    const struct fm_node *loss = fm_node_getz(map, "max-loss");
    bool async = mode && fm_str_eqz(mode->text, "async");
    if (loss && mode && !async) {
        fm_report_error(l->report, loss->key_pos,
                        "with `mode: sync` nothing may be lost, and `max-loss` lets something be");
        fm_report_advice(l->report, "delete it, or write `mode: async`");
    }
    check_in_region(l, map, mode && !async, async && !loss);
    if (!beyond || !async || loss || g->replication.beyond != FM_CONF_BEYOND_BLOCK_WRITES)
        return;
    fm_report_error(l->report, beyond->pos,
                    "with `mode: async` and no `max-loss` commits wait for nobody, and "
                    "`block-writes` lets them wait");
    fm_report_advice(l->report, "add `max-loss: {bytes: 1MiB}`, or write `mode: sync`");
}

void fm_check_max_loss(struct fm_load *l, const struct fm_node *map, void *at)
{
    (void)at;
    const struct fm_node *time = fm_node_getz(map, "time");
    if (time && map->n == 1) { /* who takes over alone knows no times */
        fm_report_error(l->report, time->key_pos,
                        "`time` stands beside a bound in bytes, by which a failover is judged");
        fm_report_advice(l->report, "add `bytes: 1MiB`, or more");
    }
    if (map->n)
        return;
    fm_report_error(l->report, map->pos, "`max-loss` says no bound");
    fm_report_advice(l->report, "write `max-loss: {bytes: 1MiB}`, or delete it");
}

/* A commit takes at least that much of the log. */
static int64_t credit_of(const struct fm_conf_group *g)
{
    uint64_t bytes = g->replication.max_loss.bytes;
    uint64_t all = g->replication.max_loss.transactions * FM_CREDIT_COMMIT_LEAST;
    if (g->replication.mode == FM_CONF_SYNC)
        return 0;
    if (!bytes && !all)
        return -1;
    return (int64_t)(!bytes || (all && all < bytes) ? all : bytes);
}

void fm_check_group_listen(struct fm_load *l, const struct fm_node *map, void *at)
{
    (void)at;
    const struct fm_node *lag = fm_node_getz(map, "read-lag");
    bool write = fm_node_getz(map, "read-write"), read = fm_node_getz(map, "read-only");
    if (!write && !read) {
        fm_report_error(l->report, map->pos, "`listen` says no address");
        fm_report_advice(l->report, "add `read-write: \"0.0.0.0:6432\"`, `read-only: "
                                    "\"0.0.0.0:6433\"`, or both");
    } else if (lag && !read) {
        fm_report_error(l->report, lag->key_pos, "`read-lag` is of `read-only`, which is not said");
        fm_report_advice(l->report, "add `read-only: \"0.0.0.0:6433\"`, or delete the key");
    }
}

/* A key that is none was meant for one: what is missing is not said as well. */
static bool has_unknown_key(const struct fm_node *map)
{
    fm_node_each(n, map)
    {
        if (!fm_schema_find(&fm_schema_group, n->key))
            return true;
    }
    return false;
}

static void check_hooked(struct fm_load *l, const struct fm_node *map)
{
    static const char *const of_nodes[] = {"nodes", "replication", "bin",     "user",
                                           "users", "listen",      "settings"};
    for (size_t i = 0; i < FM_COUNT(of_nodes); i++) {
        const struct fm_node *n = fm_node_getz(map, of_nodes[i]);
        if (!n)
            continue;
        fm_report_error(l->report, n->key_pos,
                        "`%s` is of PostgreSQL that Fulmar runs, and this group has `hooks`",
                        of_nodes[i]);
        fm_report_advice(l->report, "delete it, or `hooks`");
    }
}

void fm_check_group(struct fm_load *l, const struct fm_node *map, void *at)
{
    static const struct {
        const char *name, *example;
    } needed[] = {{"nodes", "nodes: {west-db-1: {}, north-db-1: {}}"},
                  {"replication", "replication: {mode: sync}"}};
    (void)at;
    if (fm_node_getz(map, "hooks")) {
        check_hooked(l, map);
        return;
    }
    for (size_t i = 0; i < FM_COUNT(needed) && !has_unknown_key(map); i++) {
        if (fm_node_getz(map, needed[i].name))
            continue;
        fm_report_error(l->report, fm_node_key_pos(map), "the key `%s` is missing in %s",
                        needed[i].name, fm_decode_place(map).s);
        fm_report_advice(l->report, "add `%s`", needed[i].example);
    }
}

/* -------- groups -------- */

static void decode_group(struct fm_load *l, const struct fm_schema_row *row,
                         const struct fm_node *n, unsigned index)
{
    FM_ASSERT(index < FM_CONF_GROUPS_MAX && !l->group_node[index]);
    struct fm_conf_group *g = &l->conf->groups[index];
    size_t errors = l->report->errors;
    *g = (struct fm_conf_group){.name = n->key, .pos = n->key_pos};
    l->group_node[index] = n;
    if (fm_decode_name(l, n, "a group")) {
        fm_decode_defaults(l, &fm_schema_group, g);
        fm_decode_value(l, row->item, n, g);
    }
    g->replication.credit_bytes = credit_of(g);
    /* without a context: where there are none at all, that is said of `contexts` */
    l->group_bad[index] =
        l->report->errors > errors || !fm_node_is_sound(n) || l->hosts_bad || g->ncontexts == 0;
}

void fm_decode_groups(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                      void *at)
{
    (void)at;
    if (!fm_decode_want(l, row, n, FM_NODE_MAP) || !fm_decode_count(l, row, n))
        return;
    l->conf->groups = fm_load_alloc(l, n->n, sizeof *l->conf->groups);
    if (!l->conf->groups)
        return;
    fm_node_each(child, n) decode_group(l, row, child, (unsigned)l->conf->ngroups++);
    FM_ASSERT(l->conf->ngroups == n->n);
}
