/* Hosts: names with ranges into one host each, and what follows from their roles. Keeps the
 * invariant that every host has all its addresses, said or default. Whether the hosts fit together
 * is asked in validate.c. */
#include "conf/addr.h"
#include "conf/decode.h"

#include "base/assert.h"

#include <stdio.h>

enum { GATE_PORT = 7100, PEER_PORT = 7101, RANGES_MAX = 3 };

/* The hosts of the file before they are filled: a name and the entry that it comes from. */
struct names {
    struct fm_load *l;
    struct fm_str name[FM_CONF_HOSTS_MAX];
    const struct fm_node *from[FM_CONF_HOSTS_MAX];
    size_t n;
    bool full;  /* and the error is told */
    bool wrong; /* the entry at hand has a name that is none, or one too many: once is enough */
};

struct range {
    uint64_t lo, hi;
    int width; /* of zero padded numbers; 0 = as they are */
    struct fm_str behind;
};

static bool bad_range(struct fm_load *l, const struct fm_node *n, const char *why)
{
    fm_report_error(l->report, n->key_pos, "the range in `%s` is wrong: %s", FM_Q(n->key), why);
    fm_report_advice(l->report, "write a range like `west-gate-[1-3]` or `west-gate-[01-12]`");
    return false;
}

/* The range that opens at s[0] = '['. */
static bool parse_range(struct fm_load *l, const struct fm_node *n, struct fm_str s,
                        struct range *out)
{
    FM_ASSERT(s.n > 0 && s.p[0] == '[');
    struct fm_str behind, hi, inside = fm_str_cut(fm_str(s.p + 1, s.n - 1), ']', &behind);
    struct fm_str lo = fm_str_cut(inside, '-', &hi);
    if (!behind.p)
        return bad_range(l, n, "the `[` is not closed");
    if (lo.n > 6 || hi.n > 6 || !fm_str_u64(lo, &out->lo) || !fm_str_u64(hi, &out->hi))
        return bad_range(l, n, "it is not two numbers with a `-` between");
    if (out->lo > out->hi)
        return bad_range(l, n, "it ends before it begins");
    bool zeros = (lo.n > 1 && lo.p[0] == '0') || (hi.n > 1 && hi.p[0] == '0');
    if (zeros && lo.n != hi.n)
        return bad_range(l, n, "numbers with leading zeros must have the same length");
    FM_ASSERT(out->lo <= out->hi && out->hi <= 999999);
    out->width = zeros ? (int)lo.n : 0;
    out->behind = behind;
    return true;
}

static void add_name(struct names *all, const struct fm_node *n, struct fm_str name)
{
    struct fm_fault f;
    struct fm_load *l = all->l;
    if (!fm_scalar_name(name, &f)) {
        fm_report_error(l->report, n->key_pos, "the name of a host must be a name: %s", f.why);
        fm_report_advice(l->report, "%s", f.advice);
        all->wrong = true;
        return;
    }
    if (all->n >= FM_CONF_HOSTS_MAX) {
        if (!all->full)
            fm_report_error(l->report, n->key_pos, "more than %d hosts", FM_CONF_HOSTS_MAX);
        all->full = all->wrong = true;
        return;
    }
    FM_ASSERT(all->n < FM_COUNT(all->name));
    all->name[all->n] = fm_load_str(l, name);
    all->from[all->n++] = n;
}

/* Everything that `done` and then `rest` can stand for. */
static void expand(struct names *all, const struct fm_node *n, struct fm_str done,
                   struct fm_str rest, unsigned depth)
{
    char mem[128];
    struct range r;
    const char *open = rest.n ? memchr(rest.p, '[', rest.n) : NULL;
    size_t before = open ? (size_t)(open - rest.p) : rest.n;
    if (done.n + before + 32 > sizeof mem) {
        all->wrong = !bad_range(all->l, n, "the name is too long");
        return;
    }
    FM_ASSERT(depth <= RANGES_MAX);
    memcpy(mem, done.p, done.n);
    memcpy(mem + done.n, rest.p, before);
    if (!open) {
        add_name(all, n, fm_str(mem, done.n + before));
        return;
    }
    if (depth >= RANGES_MAX) {
        all->wrong = !bad_range(all->l, n, "a name may have three");
        return;
    }
    if (!parse_range(all->l, n, fm_str(open, rest.n - before), &r)) {
        all->wrong = true;
        return;
    }
    for (uint64_t i = r.lo; i <= r.hi && !all->wrong; i++) {
        int digits = snprintf(mem + done.n + before, sizeof mem - done.n - before, "%0*llu",
                              r.width, (unsigned long long)i);
        FM_ASSERT(digits > 0 && done.n + before + (size_t)digits < sizeof mem);
        expand(all, n, fm_str(mem, done.n + before + (size_t)digits), r.behind, depth + 1);
    }
}

void fm_decode_roles(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                     void *at)
{
    FM_ASSERT(row->item && row->size == sizeof(unsigned));
    unsigned *roles = (unsigned *)(void *)((char *)at + row->offset);
    if (!fm_decode_want(l, row, n, FM_NODE_LIST) || !fm_decode_count(l, row, n))
        return;
    fm_node_each(item, n)
    {
        unsigned role = 0;
        bool twice = false;
        struct fm_schema_row one = *row->item;
        one.size = sizeof role;
        for (const struct fm_node *b = n->first; b != item; b = b->next)
            if (b->kind == FM_NODE_SCALAR && fm_str_eq(b->text, item->text))
                twice = true;
        fm_decode_value(l, &one, item, &role);
        *roles |= role;
        if (!twice)
            continue;
        fm_report_error(l->report, item->pos, "`%s` stands twice in `roles`", FM_Q(item->text));
        fm_report_advice(l->report, "keep one of them");
    }
}

/* Kept as written: {host} is another one for each host of a range. */
void fm_decode_host_address(struct fm_load *l, const struct fm_schema_row *row,
                            const struct fm_node *n, void *at)
{
    struct fm_host_def *def = at;
    if (fm_decode_text(l, row, n, &def->address))
        def->address_node = n;
}

/* Keys that do not fit the roles, and what the roles need. */
static void check_roles(struct fm_load *l, const struct fm_node *n, const struct fm_host_def *def)
{
    const struct fm_node *gate = fm_node_getz(n, "gate"), *peer = fm_node_getz(n, "peer");
    bool agent = def->roles & FM_ROLES_AGENT;
    if (!def->roles)
        return;
    if (gate && !(def->roles & FM_ROLE_GATE)) {
        fm_report_error(l->report, gate->key_pos, "`gate` needs the role `gate`, which `%s` lacks",
                        FM_Q(n->key));
        fm_report_advice(l->report, "add the role or delete the key");
    }
    if (peer && !agent) {
        fm_report_error(l->report, peer->key_pos,
                        "`peer` is of an agent, and `%s` has only the role `edge`", FM_Q(n->key));
        fm_report_advice(l->report, "add another role or delete the key");
    }
    if (agent && !fm_node_getz(n, "address")) {
        fm_report_error(l->report, n->key_pos, "the key `address` is missing in `hosts.%s`",
                        FM_Q(n->key));
        fm_report_advice(l->report, "others must reach its agent: add `address: NAME-OR-IP`");
    }
}

/* A witness never serves, and nothing votes in its place where the region does. */
static void check_witness(struct fm_load *l, const struct fm_node *n, const struct fm_host_def *def,
                          const struct fm_conf_region *r)
{
    const unsigned serves = FM_ROLE_GATE | FM_ROLE_HEALTH | FM_ROLE_CONTROLLER | FM_ROLE_POSTGRES;
    const struct fm_node *roles = fm_node_getz(n, "roles");
    FM_ASSERT(roles || !def->roles);
    if (r->witness && def->roles & serves) {
        fm_report_error(l->report, roles->pos,
                        "the region `%s` is a witness, and `%s` has a role of regions that serve",
                        FM_Q(r->name), FM_Q(n->key));
        fm_report_advice(l->report, "write `roles: [witness]`");
    }
    if (!r->witness && def->roles & FM_ROLE_WITNESS) {
        fm_report_error(l->report, roles->pos,
                        "`%s` has the role `witness`, and its region `%s` is none", FM_Q(n->key),
                        FM_Q(r->name));
        fm_report_advice(l->report,
                         "in a region that serves, hosts with the role `controller` vote; or write "
                         "`%s: {witness: true}` under `regions`",
                         FM_Q(r->name));
    }
}

/* The region's index; one after the last, with an error, where there is none. */
static unsigned region_of(struct fm_load *l, const struct fm_node *n, const struct fm_host_def *def)
{
    struct fm_str names[FM_CONF_REGIONS_MAX];
    struct fm_conf *c = l->conf;
    for (unsigned i = 0; i < c->nregions; i++) {
        if (fm_str_eq(c->regions[i].name, def->region))
            return i;
        names[i] = c->regions[i].name;
    }
    const struct fm_node *at = fm_node_getz(n, "region");
    if (c->nregions && def->region.p && at) {
        struct fm_str near = fm_suggest_name(def->region, names, c->nregions);
        fm_report_error(l->report, at->pos, "there is no region `%s`", FM_Q(def->region));
        if (near.p)
            fm_report_advice(l->report, "did you mean `%s`?", near.p);
        else
            fm_report_advice(l->report, "the regions are those of `regions`");
    }
    return (unsigned)c->nregions;
}

/* `port` of the address, and where to bind it: as said, or on all interfaces. */
static void set_door(struct fm_load *l, const struct fm_conf_addr *address,
                     const struct fm_conf_addr *said, uint16_t port, struct fm_conf_addr *dial,
                     struct fm_conf_addr *bind)
{
    struct fm_fault f = {.memory = false};
    FM_ASSERT(port > 0);
    port = said->port ? said->port : port;
    bool v6 = address->host.p && memchr(address->host.p, ':', address->host.n);
    if (!address->host.p || !fm_conf_addr_with_port(l->arena, address, port, dial))
        return;
    if (said->port) {
        *bind = *said;
        return;
    }
    struct fm_conf_addr any = {.pos = address->pos};
    if (fm_conf_addr_host(l->arena, v6 ? FM_STR("::") : FM_STR("0.0.0.0"), &any, &f) &&
        !fm_conf_addr_with_port(l->arena, &any, port, bind))
        l->oom = true;
}

static void set_admin(struct fm_load *l, const struct fm_host_def *def, struct fm_conf_host *h)
{
    struct fm_fault f = {.memory = false};
    bool agent = def->roles & FM_ROLES_AGENT;
    struct fm_conf_addr usual = {.pos = h->pos};
    if (!fm_conf_addr_bind(l->arena, FM_STR("127.0.0.1:7102"), &usual, &f))
        l->oom = true;
    h->edge_admin = !agent && def->admin.port ? def->admin : l->conf->edge.admin;
    h->admin = def->admin.port ? def->admin : agent ? usual : h->edge_admin;
    FM_ASSERT(l->oom || (h->admin.port && h->edge_admin.port));
}

static void fill(struct fm_load *l, const struct fm_node *n, const struct fm_host_def *def,
                 struct fm_str name, unsigned region)
{
    FM_ASSERT(l->conf->nhosts < FM_CONF_HOSTS_MAX && region < l->conf->nregions && def->roles);
    struct fm_conf_host *h = &l->conf->hosts[l->conf->nhosts++];
    struct fm_conf_addr address = {.pos = n->key_pos};
    struct fm_str text;
    struct fm_fault f = {.memory = false};
    *h = (struct fm_conf_host){
        .name = name, .region = region, .roles = def->roles, .zone = def->zone, .pos = n->key_pos};
    if (def->address_node) {
        l->host = name;
        l->region = def->region;
        address.pos = def->address_node->pos;
        if (!fm_decode_expand(l, def->address, &text, &f) ||
            !fm_conf_addr_host(l->arena, text, &address, &f)) {
            struct fm_schema_row row = *fm_schema_find(&fm_schema_host, FM_STR("address"));
            fm_decode_fault(l, &row, def->address_node, &f);
            address.host.p = NULL;
        }
        l->host = l->region = (struct fm_str){NULL, 0};
    }
    h->address = address.host;
    set_door(l, &address, &def->gate, GATE_PORT, &h->gate, &h->gate_bind);
    set_door(l, &address, &def->peer, PEER_PORT, &h->peer, &h->peer_bind);
    set_admin(l, def, h);
}

/* The entry once, then a host for each of its names. */
static void decode_entry(struct fm_load *l, const struct fm_schema_row *row,
                         const struct fm_node *n, const struct names *all, size_t *at)
{
    struct fm_host_def def = {0};
    size_t errors = l->report->errors;
    fm_decode_value(l, row->item, n, &def);
    unsigned region = l->conf->nregions ? region_of(l, n, &def) : 0;
    check_roles(l, n, &def);
    if (region < l->conf->nregions)
        check_witness(l, n, &def, &l->conf->regions[region]);
    /* without roles where these are FM_NODE_BAD, which was told before */
    bool bad = l->report->errors > errors || n->kind != FM_NODE_MAP || !def.roles;
    FM_ASSERT(*at == all->n || all->from[*at] != NULL);
    for (; *at < all->n && all->from[*at] == n; (*at)++)
        if (!bad && region < l->conf->nregions)
            fill(l, n, &def, all->name[*at], region);
}

void fm_decode_hosts(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                     void *at)
{
    (void)at;
    size_t errors = l->report->errors, next = 0;
    if (!fm_decode_want(l, row, n, FM_NODE_MAP) || !fm_decode_count(l, row, n)) {
        l->hosts_bad = true;
        return;
    }
    struct names *all = fm_load_alloc(l, 1, sizeof *all);
    if (!all)
        return;
    all->l = l;
    fm_node_each(child, n)
    {
        all->wrong = false;
        expand(all, child, FM_STR(""), child->key, 0);
    }
    l->conf->hosts = fm_load_alloc(l, all->n, sizeof *l->conf->hosts);
    if (!l->conf->hosts)
        return;
    fm_node_each(child, n) decode_entry(l, row, child, all, &next);
    /* what is FM_NODE_BAD was told before, and leaves a host without it */
    l->hosts_bad = l->report->errors > errors || !fm_node_is_sound(n);
    FM_ASSERT(next == all->n && l->conf->nhosts <= all->n);
    for (size_t i = 0; i < l->conf->nhosts; i++) {
        const struct fm_conf_host *h = &l->conf->hosts[i];
        FM_ASSERT(h->region < l->conf->nregions);
        l->conf->regions[h->region].has_gates |= (h->roles & FM_ROLE_GATE) != 0;
        l->conf->regions[h->region].has_health |= (h->roles & FM_ROLE_HEALTH) != 0;
    }
}

/* -------- other ways to them -------- */

static struct fm_conf_host *find(struct fm_load *l, const struct fm_node *n)
{
    struct fm_str names[FM_CONF_HOSTS_MAX];
    FM_ASSERT(l->conf->nhosts <= FM_CONF_HOSTS_MAX);
    for (size_t i = 0; i < l->conf->nhosts; i++) {
        if (fm_str_eq(l->conf->hosts[i].name, n->key))
            return &l->conf->hosts[i];
        names[i] = l->conf->hosts[i].name;
    }
    /* no error: which hosts there are is agreed, and this way is this host's own */
    struct fm_str near = fm_suggest_name(n->key, names, l->conf->nhosts);
    fm_report_warning(l->report, n->key_pos, "there is no host `%s`", FM_Q(n->key));
    if (near.p)
        fm_report_advice(l->report, "did you mean `%s`?", near.p);
    else
        fm_report_advice(l->report, "delete the entry");
    return NULL;
}

void fm_decode_dial(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                    void *at)
{
    (void)at;
    if (!fm_decode_want(l, row, n, FM_NODE_MAP) || !fm_decode_count(l, row, n))
        return;
    fm_node_each(child, n)
    {
        struct fm_dial_def def = {0};
        fm_decode_value(l, row->item, child, &def);
        struct fm_conf_host *h = l->hosts_bad ? NULL : find(l, child);
        if (h && def.gate.port && h->gate.port)
            h->gate = def.gate;
        if (h && def.peer.port && h->peer.port)
            h->peer = def.peer;
        if (h && def.postgres.host.p)
            h->postgres = def.postgres;
    }
}
