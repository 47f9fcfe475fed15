/* Looking things up in a loaded configuration, by name; small sets, so from front to back. */
#include "conf/conf.h"

#include "base/assert.h"
#include "base/buf.h"

#include <stdlib.h>
#include <unistd.h>

int fm_conf_find_host(const struct fm_conf *c, struct fm_str name)
{
    for (size_t i = 0; i < c->nhosts; i++)
        if (fm_str_eq(c->hosts[i].name, name))
            return (int)i;
    return -1;
}

int fm_conf_find_region(const struct fm_conf *c, struct fm_str name)
{
    for (size_t i = 0; i < c->nregions; i++)
        if (fm_str_eq(c->regions[i].name, name))
            return (int)i;
    return -1;
}

int fm_conf_find_context(const struct fm_conf *c, struct fm_str name)
{
    for (size_t i = 0; i < c->ncontexts; i++)
        if (fm_str_eq(c->contexts[i].name, name))
            return (int)i;
    return -1;
}

int fm_conf_find_group(const struct fm_conf *c, struct fm_str name)
{
    for (size_t i = 0; i < c->ngroups; i++)
        if (fm_str_eq(c->groups[i].name, name))
            return (int)i;
    return -1;
}

int fm_conf_find_group_node(const struct fm_conf_group *g, unsigned host)
{
    for (size_t i = 0; i < g->nnodes; i++)
        if (g->nodes[i].host == host)
            return (int)i;
    return -1;
}

static unsigned rank_of(const struct fm_conf *c, const struct fm_conf_group *g, size_t node)
{
    struct fm_str mine = c->hosts[g->nodes[node].host].name;
    unsigned before = 0;
    for (size_t i = 0; i < g->nnodes; i++) {
        struct fm_str other = c->hosts[g->nodes[i].host].name;
        int order = memcmp(other.p, mine.p, fm_min_size(other.n, mine.n));
        before += order < 0 || (order == 0 && other.n < mine.n);
    }
    return before;
}

const struct fm_conf_group_node *fm_conf_group_nth(const struct fm_conf *c,
                                                   const struct fm_conf_group *g, unsigned nth)
{
    for (size_t i = 0; i < g->nnodes; i++)
        if (rank_of(c, g, i) == nth)
            return &g->nodes[i];
    FM_UNREACHABLE();
}

unsigned fm_conf_group_zone(const struct fm_conf *c, const struct fm_conf_group *g, size_t node)
{
    const struct fm_conf_host *mine = &c->hosts[g->nodes[node].host];
    FM_ASSERT(node < g->nnodes && g->nnodes <= FM_CONF_GROUP_NODES_MAX);
    for (unsigned i = 0; mine->zone.n && i <= node; i++) {
        const struct fm_conf_host *h = &c->hosts[g->nodes[i].host];
        if (h->region == mine->region && fm_str_eq(h->zone, mine->zone))
            return i + 1;
    }
    return 0;
}

const struct fm_conf_addr *fm_conf_group_listen(const struct fm_conf *c,
                                                const struct fm_conf_group *g, unsigned host,
                                                bool read_only)
{
    const struct fm_conf_addr *a = read_only ? &g->listen.read_only : &g->listen.read_write,
                              *of = read_only ? g->listen.read_only_of : g->listen.read_write_of;
    FM_ASSERT(host < c->nhosts);
    a = of ? &of[host] : a;
    return a->port && c->hosts[host].roles & FM_ROLE_GATE ? a : NULL;
}

int fm_conf_group_of(const struct fm_conf *c, unsigned context)
{
    FM_ASSERT(context < c->ncontexts);
    for (size_t i = 0; i < c->ngroups; i++)
        for (size_t k = 0; k < c->groups[i].ncontexts; k++)
            if (c->groups[i].contexts[k] == context)
                return (int)i;
    return -1;
}

int fm_conf_find_pool(const struct fm_conf_region *r, struct fm_str name)
{
    for (size_t i = 0; i < r->npools; i++)
        if (fm_str_eq(r->pools[i].name, name))
            return (int)i;
    return -1;
}

int fm_conf_find_check(const struct fm_conf_region *r, struct fm_str name)
{
    for (size_t i = 0; i < r->nchecks; i++)
        if (fm_str_eq(r->checks[i].name, name))
            return (int)i;
    return -1;
}

/* $XDG_STATE_HOME, or its default; false where the environment says neither. */
static bool add_home(struct fm_buf *b)
{
    const char *state = secure_getenv("XDG_STATE_HOME"), *home = secure_getenv("HOME");
    if (state && state[0] == '/') { /* a relative one is to be ignored, says the specification */
        fm_buf_str_add(b, fm_str_z(state));
        return true;
    }
    if (!home || home[0] != '/')
        return false;
    fm_buf_str_add(b, fm_str_z(home));
    fm_buf_lit(b, "/.local/state");
    return true;
}

enum fm_err fm_conf_state_dir(const struct fm_conf *c, struct fm_str host, struct fm_str region,
                              char *out, size_t cap, struct fm_error *e)
{
    FM_ASSERT(cap > 0);
    struct fm_buf b = fm_buf(out, cap);
    if (c->state.n) {
        b.full = fm_conf_expand(c->state, host, region, out, cap) != FM_ERR_OK;
    } else {
        if (geteuid() == 0)
            fm_buf_lit(&b, "/var/lib");
        else if (!add_home(&b))
            return fm_error_set(e, FM_ERR_NOT_FOUND,
                                "no folder for the state: say `state`, or set HOME");
        fm_buf_lit(&b, "/fulmar/");
        fm_buf_str_add(&b, host);
        fm_buf_ch(&b, '\0');
    }
    if (b.full)
        return fm_error_set(e, FM_ERR_LIMIT, "the path of the state is longer than %zu bytes", cap);
    return FM_ERR_OK;
}

enum fm_err fm_conf_group_secret(const struct fm_conf *c, const struct fm_conf_group *g,
                                 const struct fm_conf_host *host, enum fm_conf_secret which,
                                 char *out, size_t cap, struct fm_error *e)
{
    static const char *const names[] = {
        [FM_CONF_SECRET_ADMIN] = "admin", [FM_CONF_SECRET_REPLICATION] = "replication"};
    struct fm_str said =
        which == FM_CONF_SECRET_ADMIN ? g->admin_password_file : g->replication_password_file;
    struct fm_str region = c->regions[host->region].name;
    FM_ASSERT(which < FM_COUNT(names) && cap > 0);
    enum fm_err err = said.n ? fm_conf_expand(said, host->name, region, out, cap)
                             : fm_conf_state_dir(c, host->name, region, out, cap, e);
    if (said.n && err)
        return fm_error_set(e, err, "the path of a password is longer than %zu bytes", cap);
    if (said.n || err)
        return err;
    struct fm_buf b = fm_buf(out, cap);
    b.n = strlen(out);
    fm_buf_printf(&b, "/groups/%s/%s.password", g->name.p, names[which]);
    fm_buf_ch(&b, '\0');
    if (b.full)
        return fm_error_set(e, FM_ERR_LIMIT, "the path of a password is longer than %zu bytes",
                            cap);
    return FM_ERR_OK;
}

bool fm_conf_is_journaled(const struct fm_conf_context *c)
{
    bool any = c->ncells > 0 && c->idempotency.by == FM_BY_GATE;
    for (size_t i = 0; i < c->nroutes; i++)
        any |= c->ncells > 0 && c->routes[i].when_away.commands != FM_CONF_AWAY_REJECT;
    return any;
}

bool fm_conf_relays(const struct fm_conf *c)
{
    for (size_t i = 0; i < c->ncontexts; i++)
        for (size_t k = 0; k < c->contexts[i].nroutes; k++)
            if (c->contexts[i].routes[k].relay)
                return true;
    return false;
}
