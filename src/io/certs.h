/* io/certs.h: the private authority of a service, and the certificates of its hosts.
 *
 * One folder holds `peers-ca.pem` and `peers-ca.key` (the key stays where it was made) and, for
 * each host, `HOST.pem` and `HOST.key`. Keys are EC P-256, certificates X.509 v3 (RFC 5280) for
 * both sides of TLS, with the host's name first among the DNS names. Keys are created with mode
 * 0600 and never printed. Blocking: for commands. Nothing that exists is overwritten, except by
 * renewal. */
#ifndef FM_IO_CERTS_H
#define FM_IO_CERTS_H

#include "base/err.h"

#include <stdbool.h>

enum { FM_CERTS_NAMES_MAX = 16, FM_CERTS_CA_DAYS = 3650, FM_CERTS_HOST_DAYS = 398 };

/* Make an authority for `service`. FM_ERR_EXISTS where the folder has one. */
enum fm_err fm_certs_init(const char *folder, const char *service, int days,
                          struct fm_error *e) FM_WARN_UNUSED;

/* Make the key and the certificate of a host. `names` are further DNS names and addresses by which
 * others reach it. FM_ERR_EXISTS where it has one and not `renew`. */
enum fm_err fm_certs_add(const char *folder, const char *host, const char *const *names,
                         unsigned nnames, int days, bool renew, struct fm_error *e) FM_WARN_UNUSED;

/* Make a new key and certificate for a host, with the names of the one that it has. */
enum fm_err fm_certs_renew(const char *folder, const char *host, int days,
                           struct fm_error *e) FM_WARN_UNUSED;

/* Make a new authority beside the old one: `peers-ca.pem` then holds both, the new one first, so
 * that hosts trust either while their certificates are renewed. Authorities that have expired are
 * left out. */
enum fm_err fm_certs_new_authority(const char *folder, int days, struct fm_error *e) FM_WARN_UNUSED;

#endif
