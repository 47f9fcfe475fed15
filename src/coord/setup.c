/* See the header. */
#include "coord/setup.h"

#include "base/assert.h"

enum { BEYOND_ELECTION_MS = 1000 };

static void add(struct fm_coord_setup *s, const struct fm_conf_endpoint *from)
{
    size_t i = s->config.nendpoint++;
    FM_ASSERT(i < FM_COORD_ENDPOINTS_MAX);
    s->endpoint[i] = (struct fm_coord_endpoint){
        .text = from->url.p, .host = from->address.host.p, .port = from->address.port};
    s->region[i] = from->region.p;
}

/* An empty path is none. */
static enum fm_err expand(struct fm_str path, struct fm_str host, struct fm_str region,
                          char out[FM_COORD_SETUP_PATH_MAX], const char **set, struct fm_error *e)
{
    if (!path.n)
        return FM_ERR_OK;
    *set = out;
    enum fm_err err = fm_conf_expand(path, host, region, out, FM_COORD_SETUP_PATH_MAX);
    return err ? fm_error_set(e, err, "path too long: %.*s", FM_STR_ARG(path)) : FM_ERR_OK;
}

static enum fm_err tls(struct fm_coord_setup *s, const struct fm_conf_etcd *k, struct fm_str host,
                       struct fm_str region, struct fm_error *e)
{
    s->config.tls = &s->tls;
    enum fm_err err = expand(k->tls.ca, host, region, s->tls_file[0], &s->tls.ca, e);
    if (!err)
        err = expand(k->tls.cert, host, region, s->tls_file[1], &s->tls.cert, e);
    if (!err)
        err = expand(k->tls.key, host, region, s->tls_file[2], &s->tls.key, e);
    return err;
}

static enum fm_err etcd(struct fm_coord_setup *s, const struct fm_conf_etcd *k, struct fm_str host,
                        struct fm_str region, struct fm_error *e)
{
    for (size_t own = 0; own < 2; own++)
        for (size_t i = 0; i < k->nendpoint; i++)
            if (fm_str_eq(k->endpoint[i].region, region) == (own == 0))
                add(s, &k->endpoint[i]);
    /* a member that is electing answers when that is over: no reason to ask another one */
    s->config.attempt_ms = k->election_ms + BEYOND_ELECTION_MS;
    enum fm_err err = k->https ? tls(s, k, host, region, e) : FM_ERR_OK;
    if (err || !k->user.n)
        return err;
    s->config.login = k->user.p;
    return expand(k->password_file, host, region, s->password_file, &s->config.password_file, e);
}

enum fm_err fm_coord_setup(struct fm_coord_setup *s, const struct fm_conf *conf, struct fm_str host,
                           struct fm_str region, struct fm_error *e)
{
    const struct fm_conf_coordination *k = &conf->coordination;
    FM_ASSERT(k->present);
    memset(s, 0, sizeof *s);
    s->config.service = conf->service.p;
    s->config.endpoint = s->endpoint;
    if (k->etcd.present)
        return etcd(s, &k->etcd, host, region, e);
    enum fm_err err = fm_owner_socket(k->sqlite.p, s->socket, e);
    s->endpoint[0] = (struct fm_coord_endpoint){.text = s->socket, .host = s->socket};
    s->region[0] = "";
    s->config.nendpoint = 1;
    return err;
}
