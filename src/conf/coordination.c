/* `coordination`: its endpoints, and what has to fit between it and the hosts. Keeps the invariant
 * that there is exactly one store, and that every host that needs it can reach it. */
#include "conf/addr.h"
#include "conf/decode.h"

#include "base/assert.h"

enum { SQLITE_PATH_MAX = 100 }; /* a socket stands beside it, and its path is bounded */

/* -------- endpoints -------- */

/* The same place without TLS, for who reads its parts. */
static bool without_s(struct fm_load *l, struct fm_str s, struct fm_str *out)
{
    FM_ASSERT(fm_str_starts(s, FM_STR("https://")));
    char *p = fm_load_alloc(l, s.n, 1); /* one less, and the end */
    if (!p)
        return false;
    memcpy(p, "http", 4);
    memcpy(p + 4, s.p + 5, s.n - 5);
    *out = fm_str(p, s.n - 1);
    return true;
}

/* A URL of a member: with a port, without a path. */
static bool endpoint_url(struct fm_load *l, struct fm_str s, struct fm_conf_endpoint *out,
                         struct fm_fault *f)
{
    struct fm_str path, host, plain = s;
    out->https = fm_str_starts(s, FM_STR("https://"));
    const char *scheme = out->https ? "https" : "http";
    if (out->https && !without_s(l, s, &plain))
        return fm_fault_memory(f);
    if (!fm_conf_addr_http_url(l->arena, plain, &out->address, &path, &host, f)) {
        if (fm_str_starts(plain, FM_STR("http://")))
            return false;
        return fm_fault_advice(f, "write `https://HOST:PORT` or `http://HOST:PORT`");
    }
    if (path.n > 1) {
        fm_fault(f, "it has a path");
        return fm_fault_advice(f, "write `%s://HOST:PORT` alone", scheme);
    }
    struct fm_str authority = fm_str(plain.p + 7, plain.n - 7);
    if (authority.p[authority.n - 1] == '/')
        authority.n--;
    if (out->address.port == 80 && !fm_str_ends(authority, FM_STR(":80"))) {
        fm_fault(f, "it has no port");
        return fm_fault_advice(f, "write `%s://%s:2379`", scheme, FM_Q(authority));
    }
    out->url = s;
    return true;
}

static void read_one(struct fm_load *l, const struct fm_schema_row *row, const struct fm_node *n,
                     struct fm_str region, struct fm_conf_etcd *etcd)
{
    struct fm_conf_endpoint e = {.region = region, .address.pos = n->pos};
    struct fm_fault f = {.memory = false};
    struct fm_str text;
    if (!fm_decode_text(l, row, n, &text))
        return;
    if (!endpoint_url(l, text, &e, &f)) {
        fm_decode_fault(l, row, n, &f);
        return;
    }
    for (size_t i = 0; i < etcd->nendpoint; i++) {
        if (etcd->endpoint[i].address.port != e.address.port ||
            !fm_str_eq_nocase(etcd->endpoint[i].address.host, e.address.host))
            continue;
        fm_report_error(l->report, n->pos, "the endpoint `%s` stands twice", FM_Q(text));
        fm_report_advice(l->report, "name each member once, in its own region");
        return;
    }
    if (etcd->nendpoint && etcd->https != e.https) {
        fm_report_error(l->report, n->pos, "some endpoints are `http://`, and others `https://`");
        fm_report_advice(l->report, "what is agreed upon is as safe as the weakest of them: write "
                                    "`https://` everywhere");
        return;
    }
    etcd->https = e.https;
    FM_ASSERT(etcd->nendpoint < FM_CONF_ENDPOINTS_MAX);
    etcd->endpoint[etcd->nendpoint++] = e;
}

void fm_decode_endpoints(struct fm_load *l, const struct fm_schema_row *row,
                         const struct fm_node *n, void *at)
{
    struct fm_conf_etcd *etcd = at;
    const struct fm_schema_row *list = row->item;
    size_t total = 0;
    if (!fm_decode_want(l, row, n, FM_NODE_MAP) || !fm_decode_count(l, row, n))
        return;
    fm_node_each(region, n) total += region->n;
    if (total > FM_CONF_ENDPOINTS_MAX) {
        fm_report_error(l->report, n->key_pos, "`endpoints` has %zu endpoints, and the bound is %d",
                        total, FM_CONF_ENDPOINTS_MAX);
        return;
    }
    etcd->endpoint = fm_load_alloc(l, FM_CONF_ENDPOINTS_MAX, sizeof *etcd->endpoint);
    if (!etcd->endpoint)
        return;
    fm_node_each(region, n)
    {
        if (!fm_decode_name(l, region, "a region") ||
            !fm_decode_want(l, list, region, FM_NODE_LIST) || !fm_decode_count(l, list, region))
            continue;
        fm_node_each(item, region) read_one(l, list->item, item, region->key, etcd);
    }
}

/* -------- rules among the keys of `etcd` -------- */

void fm_check_etcd(struct fm_load *l, const struct fm_node *map, void *at)
{
    const struct fm_conf_etcd *etcd = at;
    const struct fm_node *user = fm_node_getz(map, "user");
    const struct fm_node *file = fm_node_getz(map, "password-file");
    if (user && !file) {
        fm_report_error(l->report, user->key_pos, "`user` needs `password-file`");
        fm_report_advice(l->report, "add `password-file: etcd.password`, a file that others cannot "
                                    "read");
    }
    if (file && !user) {
        fm_report_error(l->report, file->key_pos, "`password-file` needs `user`");
        fm_report_advice(l->report, "add `user: NAME`, or delete the key");
    }
    const struct fm_node *tls = fm_node_getz(map, "tls");
    if (tls && etcd->nendpoint && !etcd->https) {
        fm_report_error(l->report, tls->key_pos, "`tls` is for endpoints with `https://`");
        fm_report_advice(l->report, "write `https://` in `endpoints`, or delete the key");
    }
    for (size_t i = 0; user && !etcd->https && i < etcd->nendpoint; i++) {
        const struct fm_conf_addr *a = &etcd->endpoint[i].address;
        if (fm_conf_addr_is_loopback(a))
            continue;
        fm_report_warning(l->report, a->pos, "the password of etcd goes to `%s` in the clear",
                          FM_Q(a->host));
        fm_report_advice(l->report, "write `https://`, and `tls: {ca: etcd-ca.pem}`");
        return;
    }
}

void fm_check_etcd_tls(struct fm_load *l, const struct fm_node *map, void *at)
{
    const struct fm_node *cert = fm_node_getz(map, "cert"), *key = fm_node_getz(map, "key");
    (void)at;
    if (!cert == !key)
        return;
    fm_report_error(l->report, cert ? cert->key_pos : key->key_pos, "`%s` needs `%s`",
                    cert ? "cert" : "key", cert ? "key" : "cert");
    fm_report_advice(l->report, "add `%s`, or delete the key",
                     cert ? "key: \"{host}.key\"" : "cert: \"{host}.pem\"");
}

/* -------- what fits together -------- */

static void etcd_regions(struct fm_load *l)
{
    const struct fm_conf *c = l->conf;
    const struct fm_node *map = fm_node_getz(
        fm_node_getz(fm_node_getz(l->root->node, "coordination"), "etcd"), "endpoints");
    struct fm_str names[FM_CONF_REGIONS_MAX];
    if (!map || map->kind != FM_NODE_MAP || !c->nregions)
        return;
    for (size_t i = 0; i < c->nregions; i++)
        names[i] = c->regions[i].name;
    fm_node_each(n, map)
    {
        if (fm_conf_find_region(c, n->key) >= 0)
            continue;
        struct fm_str near = fm_suggest_name(n->key, names, c->nregions);
        if (near.p) {
            fm_report_error(l->report, n->key_pos, "there is no region `%s`", FM_Q(n->key));
            fm_report_advice(l->report, "did you mean `%s`?", near.p);
        } else {
            fm_report_warning(l->report, n->key_pos,
                              "`%s` is not one of `regions`: its endpoints count as a failure "
                              "domain of their own",
                              FM_Q(n->key));
        }
    }
}

/* The file is one process's, on the machine of all. */
static void sqlite_hosts(struct fm_load *l, const struct fm_node *sqlite)
{
    const struct fm_conf *c = l->conf;
    const struct fm_conf_host *owner = NULL;
    for (size_t i = 0; i < c->nhosts; i++) {
        const struct fm_conf_host *h = &c->hosts[i];
        if (h->roles & FM_ROLES_AGENT && h->peer.host.p && !fm_conf_addr_is_loopback(&h->peer)) {
            fm_report_error(l->report, h->pos,
                            "`coordination.sqlite` is for one machine, and host `%s` is reached at "
                            "`%s`",
                            FM_Q(h->name), FM_Q(h->peer.host));
            fm_report_advice(l->report, "use `coordination.etcd`, or loopback addresses");
            return;
        }
        if (!(h->roles & FM_ROLE_COORDINATION))
            continue;
        if (owner) {
            fm_report_error(l->report, h->pos,
                            "the hosts `%s` and `%s` both have the role `coordination`, and one "
                            "process owns the file",
                            FM_Q(owner->name), FM_Q(h->name));
            fm_report_advice(l->report, "take the role from one of them");
            return;
        }
        owner = h;
    }
    if (!owner && !l->hosts_bad) {
        fm_report_error(l->report, sqlite->key_pos,
                        "nobody owns the file: no host has the role `coordination`");
        fm_report_advice(l->report, "add a host with `roles: [coordination]` and a loopback "
                                    "`address`");
    }
}

static void sqlite_path(struct fm_load *l, const struct fm_node *n)
{
    struct fm_str path = l->conf->coordination.sqlite;
    if (!path.p)
        return;
    if (memchr(path.p, '{', path.n)) {
        fm_report_error(l->report, n->pos, "all hosts must find the same file, and `%s` expands",
                        FM_Q(n->text));
        fm_report_advice(l->report, "write a path without {host} and {region}");
    } else if (path.n > SQLITE_PATH_MAX) {
        fm_report_error(
            l->report, n->pos,
            "the path of `sqlite` is longer than %d bytes, too long for a socket beside "
            "the file",
            SQLITE_PATH_MAX);
        fm_report_advice(l->report, "choose a shorter one");
    }
}

void fm_coordination_check(struct fm_load *l)
{
    const struct fm_node *map = fm_node_getz(l->root->node, "coordination");
    const struct fm_node *sqlite = fm_node_getz(map, "sqlite"), *etcd = fm_node_getz(map, "etcd");
    const struct fm_conf *c = l->conf;
    if (sqlite && etcd)
        return; /* told: exactly one of them */
    etcd_regions(l);
    if (sqlite && sqlite->kind == FM_NODE_SCALAR) {
        sqlite_hosts(l, sqlite);
        sqlite_path(l, sqlite);
        return;
    }
    for (size_t i = 0; i < c->nhosts && (etcd || !map); i++) {
        if (!(c->hosts[i].roles & FM_ROLE_COORDINATION))
            continue;
        fm_report_error(l->report, c->hosts[i].pos,
                        "host `%s` has the role `coordination`, and there is no "
                        "`coordination.sqlite`",
                        FM_Q(c->hosts[i].name));
        fm_report_advice(l->report, etcd ? "take the role away: etcd needs no host of Fulmar"
                                         : "add `coordination: {sqlite: /var/lib/fulmar/c.db}`");
        return;
    }
}
