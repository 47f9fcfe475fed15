/* Which daemons a command may ask, by the configuration: see the header. */
#include "cli/whom.h"

#include "base/assert.h"
#include "base/buf.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TEXT_MAX = 512 };

/* -------- adding -------- */

static struct fm_whom_seat *add(struct fm_whom *s, const char *name)
{
    if (s->n == s->cap) {
        unsigned cap = 2 * s->cap + 4;
        struct fm_whom_seat *p = realloc(s->seat, cap * sizeof *p);
        FM_ASSERT(p);
        s->seat = p;
        s->cap = cap;
    }
    struct fm_whom_seat *t = &s->seat[s->n++];
    *t = (struct fm_whom_seat){.port = 0};
    snprintf(t->name, sizeof t->name, "%s", name);
    return t;
}

static void add_addr(struct fm_whom *s, const char *name, const struct fm_conf_addr *at, bool tls)
{
    struct fm_whom_seat *t = add(s, name);
    FM_ASSERT(at->host.n > 0 && at->port > 0);
    snprintf(t->host, sizeof t->host, "%.*s", FM_STR_ARG(at->host));
    t->port = at->port;
    t->tls = tls;
    t->peer = NULL;
    if (fm_addr_ip(&t->to, at->host, at->port))
        t->to.len = 0;
}

/* -------- this host -------- */

/* The socket of a daemon of this host, where there is one. `dir` gets its folder. */
static bool add_local(struct fm_whom *s, const char *host, const char *role, char dir[PATH_MAX])
{
    char path[PATH_MAX + 16], name[FM_WHOM_TEXT];
    struct fm_addr to;
    int h = fm_conf_find_host(s->conf, fm_str_z(host));
    FM_ASSERT(h < (int)s->conf->nhosts);
    struct fm_str region = h >= 0 ? s->conf->regions[s->conf->hosts[h].region].name : FM_STR("");
    if (fm_conf_state_dir(s->conf, fm_str_z(host), region, dir, PATH_MAX, NULL)) {
        snprintf(dir, PATH_MAX, "its state folder");
        return false;
    }
    snprintf(path, sizeof path, "%s/%s.sock", dir, role);
    if (fm_addr_unix(&to, fm_str_z(path)) || access(path, F_OK) != 0)
        return false;
    snprintf(name, sizeof name, "the %s of %s", role, host);
    add(s, name)->to = to;
    return true;
}

/* Whose sockets are on this machine: several hosts may be, each is asked with --host. */
static void find_here(struct fm_whom *s, enum fm_whom_use use)
{
    struct fm_whom probe = {.conf = s->conf};
    struct fm_buf b = fm_buf(s->here, sizeof s->here - 1);
    char dir[PATH_MAX];
    for (size_t h = 0; h < s->conf->nhosts; h++) {
        const char *name = s->conf->hosts[h].name.p;
        size_t was = b.n;
        if (!add_local(&probe, name, "agent", dir) &&
            !(use != FM_WHOM_ORDER && add_local(&probe, name, "edge", dir)))
            continue;
        fm_buf_printf(&b, "%s%s", b.n ? ", " : "", name);
        if (b.full) {
            b.n = was;
            break;
        }
    }
    s->here[b.n] = 0;
    free(probe.seat);
}

static void add_this_host(struct fm_whom *s, const struct fm_args *a, enum fm_whom_use use)
{
    char host[256], dir[PATH_MAX];
    fm_cli_this_host(s->conf, a, host, sizeof host);
    bool found = use == FM_WHOM_LOOK && add_local(s, host, "edge", dir);
    found = found || add_local(s, host, "agent", dir);
    found = found || (use == FM_WHOM_PAST && add_local(s, host, "edge", dir));
    if (!found)
        snprintf(s->missing, sizeof s->missing, "no %s of host `%s` runs here (no socket in %.*s)",
                 use == FM_WHOM_ORDER ? "agent" : "edge or agent", host, TEXT_MAX, dir);
    if (!found)
        find_here(s, use);
}

/* -------- the hosts of the configuration -------- */

static void add_peer(struct fm_whom *s, size_t h)
{
    const struct fm_conf_host *host = &s->conf->hosts[h];
    FM_ASSERT(host->roles & FM_ROLES_AGENT);
    add_addr(s, host->name.p, &host->peer, s->conf->peer_tls.present);
    s->seat[s->n - 1].peer = host->name.p;
}

/* The agents of one region, from the `nth` on; false where there are not so many. */
static bool add_nth(struct fm_whom *s, unsigned region, unsigned nth)
{
    for (size_t h = 0; h < s->conf->nhosts; h++) {
        const struct fm_conf_host *host = &s->conf->hosts[h];
        if (host->region != region || !(host->roles & FM_ROLES_AGENT) || nth-- > 0)
            continue;
        add_peer(s, h);
        return true;
    }
    return false;
}

/* A loopback address is this machine's: of another host's daemon only where that is here, too. */
static bool admin_is_reached(const struct fm_conf_host *h)
{
    struct fm_addr admin, peer;
    if (fm_addr_ip(&admin, h->admin.host, h->admin.port))
        return false;
    return !fm_addr_is_loopback(&admin) ||
           (fm_addr_ip(&peer, h->peer.host, h->peer.port) == FM_ERR_OK &&
            fm_addr_is_loopback(&peer));
}

static void add_admins(struct fm_whom *s)
{
    for (size_t h = 0; h < s->conf->nhosts; h++)
        if (admin_is_reached(&s->conf->hosts[h]))
            add_addr(s, s->conf->hosts[h].name.p, &s->conf->hosts[h].admin, false);
}

/* The first of each region, then the second of each, beginning with the region of this host. */
static void add_all(struct fm_whom *s, const struct fm_args *a)
{
    char me[256];
    fm_cli_this_host(s->conf, a, me, sizeof me);
    int h = fm_conf_find_host(s->conf, fm_str_z(me));
    unsigned mine = h >= 0 ? s->conf->hosts[h].region : 0, nregions = (unsigned)s->conf->nregions;
    FM_ASSERT(mine < nregions);
    bool more = true;
    for (unsigned nth = 0; more; nth++) {
        more = false;
        for (unsigned r = 0; r < nregions; r++)
            more |= add_nth(s, (mine + r) % nregions, nth);
    }
}

static int add_named(struct fm_whom *s, const struct fm_args *a, const char *server, bool look)
{
    int h = fm_conf_find_host(s->conf, fm_str_z(server));
    if (h < 0)
        return fm_usage("--server: `%s` is neither a host of %s nor ADDRESS:PORT", server,
                        a->config);
    const struct fm_conf_host *host = &s->conf->hosts[h];
    bool agent = host->roles & FM_ROLES_AGENT;
    if (!look && !agent)
        return fm_usage("--server: host `%s` has no role of an agent", server);
    if (agent)
        add_peer(s, (size_t)h);
    if (look && admin_is_reached(host))
        add_addr(s, server, &host->admin, false);
    else if (!agent)
        return fm_usage("--server: the admin address of `%s` is reached on that host alone",
                        server);
    return FM_EXIT_OK;
}

/* -------- files with errors, and addresses -------- */

static void first_error(const struct fm_conf_report *r, char out[TEXT_MAX])
{
    const struct fm_conf_finding *f = r->finding;
    while (f < r->finding + r->n && f->severity != FM_CONF_ERROR)
        f++;
    if (f == r->finding + r->n)
        snprintf(out, TEXT_MAX, "the configuration cannot be read");
    else if (f->pos.line == 0)
        snprintf(out, TEXT_MAX, "%s: %s", f->pos.file, f->what);
    else
        snprintf(out, TEXT_MAX, "%s:%u:%u: %s", f->pos.file, f->pos.line, f->pos.col, f->what);
}

/* There is no such file, or it may not be read: nothing is wrong in it. */
static bool is_unread(const struct fm_conf_report *r)
{
    return r->n == 1 && r->finding[0].pos.line == 0;
}

/* Its configuration cannot be loaded, but a daemon may go on with an earlier one: then it is wanted
 * most of all. */
static int in_spite_of(struct fm_whom *s, const struct fm_args *a, const char *command,
                       enum fm_whom_use use, const struct fm_conf_report *r)
{
    char what[TEXT_MAX];
    first_error(r, what);
    if (!a->server && (s->conf = fm_conf_load_state(a->config)))
        add_this_host(s, a, use);
    fm_conf_free(s->conf);
    s->conf = NULL;
    if (s->n == 0)
        return fm_print_error(a, command, FM_EXIT_CONFIG, what,
                              is_unread(r) ? "say which file it is: -c FILE, or $FULMAR_CONFIG"
                              : use == FM_WHOM_ORDER
                                  ? "`fulmar config check` says all that is wrong with it"
                                  : "ask a daemon by its admin address: --server 127.0.0.1:7104");
    fprintf(stderr, "fulmar %s: %s\n", command, what);
    return FM_EXIT_OK;
}

/* ADDRESS:PORT. To look at something that is an admin address, unless a certificate is shown. */
static void add_address(struct fm_whom *s, const struct fm_args *a, const struct fm_addr *to,
                        bool tls)
{
    struct fm_whom_seat *t = add(s, a->server);
    t->to = *to;
    t->tls = tls;
    (void)fm_addr_format_ip(to, t->host);
}

int fm_whom_find(struct fm_whom *s, const struct fm_args *a, const char *command,
                 enum fm_whom_use use)
{
    bool look = use != FM_WHOM_ORDER;
    struct fm_addr to = {.len = 0};
    FM_ASSERT(!s->conf && s->n == 0);
    if (!a->cert != !a->key)
        return fm_usage("--cert and --key go together");
    bool address = a->server && fm_addr_parse(&to, fm_str_z(a->server)) == FM_ERR_OK;
    if (address && look && !a->cert) {
        add_address(s, a, &to, false);
        return FM_EXIT_OK;
    }
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    s->conf = fm_conf_load(a->config, &r);
    int code = FM_EXIT_OK;
    if (!s->conf)
        code = in_spite_of(s, a, command, use, &r);
    else if (a->cert && !s->conf->peer_tls.present)
        code = fm_usage("--cert: hosts do not speak TLS by %s, which has no `peer-tls`", a->config);
    else if (address)
        add_address(s, a, &to, s->conf->peer_tls.present);
    else if (a->server)
        code = add_named(s, a, a->server, look);
    else
        add_this_host(s, a, use);
    /* To look at a daemon that is there and silent, and be shown another one, would mislead. */
    if (!code && s->conf && !a->server && (s->missing[0] || !look)) {
        add_all(s, a);
        if (look)
            add_admins(s);
    }
    fm_conf_report_deinit(&r);
    for (unsigned i = 0; i < s->n; i++)
        if (s->seat[i].tls && !s->seat[i].peer) /* an address is its own name */
            s->seat[i].peer = s->seat[i].host;
    return code;
}

void fm_whom_free(struct fm_whom *s)
{
    free(s->seat);
    fm_conf_free(s->conf);
    *s = (struct fm_whom){.n = 0};
}

/* -------- TLS -------- */

static enum fm_err expand(const struct fm_args *a, const struct fm_conf *c, struct fm_str text,
                          char out[PATH_MAX], struct fm_error *e)
{
    char host[256];
    fm_cli_this_host(c, a, host, sizeof host);
    int h = fm_conf_find_host(c, fm_str_z(host));
    struct fm_str region = h >= 0 ? c->regions[c->hosts[h].region].name : FM_STR("");
    enum fm_err err = fm_conf_expand(text, fm_str_z(host), region, out, PATH_MAX);
    return err ? fm_error_set(e, err, "path too long: %.*s", FM_STR_ARG(text)) : FM_ERR_OK;
}

enum fm_err fm_whom_tls(const struct fm_whom *s, const struct fm_args *a, struct fm_tls **out,
                        struct fm_error *e)
{
    const struct fm_conf_peer_tls *t = &s->conf->peer_tls;
    char ca[PATH_MAX], cert[PATH_MAX], key[PATH_MAX];
    FM_ASSERT(t->present && !a->cert == !a->key);
    *out = NULL;
    enum fm_err err = expand(a, s->conf, t->ca, ca, e);
    if (!err)
        err = expand(a, s->conf, t->cert, cert, e);
    if (!err)
        err = expand(a, s->conf, t->key, key, e);
    struct fm_tls_files files = {ca, a->cert ? a->cert : cert, a->key ? a->key : key};
    return err ? err : fm_tls_new(out, FM_TLS_CLIENT, &files, e);
}
