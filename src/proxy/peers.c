/* See the header. */
#include "proxy/peers.h"

#include "base/log.h"
#include "base/time.h"
#include "io/addr.h"

#include <limits.h>
#include <stdatomic.h>

static enum fm_err expand(struct fm_str text, struct fm_str host, struct fm_str region,
                          char out[PATH_MAX], struct fm_error *e)
{
    enum fm_err err = fm_conf_expand(text, host, region, out, PATH_MAX);
    return err ? fm_error_set(e, err, "path too long: %.*s", FM_STR_ARG(text)) : FM_ERR_OK;
}

enum fm_err fm_peers_load(struct fm_peers *p, const struct fm_conf *c, struct fm_str host,
                          struct fm_str region, struct fm_error *e)
{
    *p = (struct fm_peers){NULL, NULL};
    if (!c->peer_tls.present)
        return FM_ERR_OK;
    char ca[PATH_MAX], cert[PATH_MAX], key[PATH_MAX];
    enum fm_err err = expand(c->peer_tls.ca, host, region, ca, e);
    if (!err)
        err = expand(c->peer_tls.cert, host, region, cert, e);
    if (!err)
        err = expand(c->peer_tls.key, host, region, key, e);
    struct fm_tls_files files = {ca, cert, key};
    if (!err)
        err = fm_tls_new(&p->client, FM_TLS_CLIENT, &files, e);
    if (!err)
        err = fm_tls_new(&p->server, FM_TLS_SERVER, &files, e);
    if (!err)
        return FM_ERR_OK;
    fm_peers_drop(p);
    return fm_error_wrap(e, "peer-tls");
}

struct fm_peers fm_peers_ref(const struct fm_peers *p)
{
    if (p->client)
        fm_tls_ref(p->client);
    if (p->server)
        fm_tls_ref(p->server);
    return *p;
}

void fm_peers_drop(struct fm_peers *p)
{
    fm_tls_unref(p->client);
    fm_tls_unref(p->server);
    *p = (struct fm_peers){NULL, NULL};
}

void fm_peers_refused(struct fm_http_server *s, const struct fm_addr *peer, const char *why)
{
    static _Atomic int64_t said_ns;
    int64_t now = fm_mono_now().ns, before = atomic_load(&said_ns);
    (void)s;
    if (now - before < FM_NS_PER_S || !atomic_compare_exchange_strong(&said_ns, &before, now))
        return;
    char from[FM_ADDR_TEXT_MAX];
    fm_addr_format(peer, from);
    fm_log(FM_LOG_WARN, "peer_refused", FM_KZ("from", from), FM_KZ("why", why));
}
