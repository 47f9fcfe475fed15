/* conf/addr.h: addresses as they are written in fulmar.yaml. Pure but for the arena, into which
 * the parts of an address are copied. Nothing is looked up. */
#ifndef FM_CONF_ADDR_H
#define FM_CONF_ADDR_H

#include "conf/scalar.h"

/* `host:port`, `1.2.3.4:80`, `[::1]:80`. */
bool fm_conf_addr_target(struct fm_arena *arena, struct fm_str s, struct fm_conf_addr *out,
                         struct fm_fault *f) FM_WARN_UNUSED;
/* The same, but only an IP literal: what a process binds. */
bool fm_conf_addr_bind(struct fm_arena *arena, struct fm_str s, struct fm_conf_addr *out,
                       struct fm_fault *f) FM_WARN_UNUSED;
/* A name or an IP literal without a port; port stays 0. */
bool fm_conf_addr_host(struct fm_arena *arena, struct fm_str s, struct fm_conf_addr *out,
                       struct fm_fault *f) FM_WARN_UNUSED;
/* `host` with a port. */
bool fm_conf_addr_with_port(struct fm_arena *arena, const struct fm_conf_addr *host, uint16_t port,
                            struct fm_conf_addr *out) FM_WARN_UNUSED;

/* `10.0.9.0/24`, `fd00::/8` or an IP literal. */
bool fm_conf_addr_cidr(struct fm_str s, struct fm_conf_cidr *out,
                       struct fm_fault *f) FM_WARN_UNUSED;

/* A host name in the answer to "which Host?": `api.bank.example`, `*.bank.example`. */
bool fm_conf_addr_host_pattern(struct fm_str s, struct fm_fault *f) FM_WARN_UNUSED;

/* `http://host[:port][/path[?query]]` */
bool fm_conf_addr_http_url(struct fm_arena *arena, struct fm_str s, struct fm_conf_addr *target,
                           struct fm_str *path, struct fm_str *host_header,
                           struct fm_fault *f) FM_WARN_UNUSED;

/* The same, or with `https://`. */
bool fm_conf_addr_web_url(struct fm_arena *arena, struct fm_str s, struct fm_conf_addr *target,
                          struct fm_str *path, bool *https, struct fm_fault *f) FM_WARN_UNUSED;

/* 127.0.0.0/8, ::1 and localhost. */
bool fm_conf_addr_is_loopback(const struct fm_conf_addr *a);
/* 0.0.0.0 and :: */
bool fm_conf_addr_is_any(const struct fm_conf_addr *a);
/* The same place to bind, also where one of the two is the wildcard of its family? */
bool fm_conf_addr_overlap(const struct fm_conf_addr *a, const struct fm_conf_addr *b);

#endif
