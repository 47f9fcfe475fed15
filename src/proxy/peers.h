/* proxy/peers.h: how this host and the other hosts of the service know each other: the two sides of
 * mutual TLS, from the files of `peer-tls`. Both NULL where hosts speak plainly.
 *
 * A value is a pair of references; any thread may copy one it holds. */
#ifndef FM_PROXY_PEERS_H
#define FM_PROXY_PEERS_H

#include "conf/conf.h"
#include "io/tls.h"

struct fm_peers {
    struct fm_tls *client, *server;
};

/* Reads the files (blocking). Says in `e` which one is wrong. */
enum fm_err fm_peers_load(struct fm_peers *p, const struct fm_conf *c, struct fm_str host,
                          struct fm_str region, struct fm_error *e) FM_WARN_UNUSED;
struct fm_peers fm_peers_ref(const struct fm_peers *p);
void fm_peers_drop(struct fm_peers *p);

/* For fm_http_server.refused_peer: says in the log who was refused and why, about once a second. */
struct fm_http_server;
struct fm_addr;
void fm_peers_refused(struct fm_http_server *s, const struct fm_addr *peer, const char *why);

#endif
