/* coord/setup.h: from fulmar.yaml to a client of coordination. */
#ifndef FM_COORD_SETUP_H
#define FM_COORD_SETUP_H

#include "conf/conf.h"
#include "coord/coord.h"
#include "coord/owner.h"

enum { FM_COORD_SETUP_PATH_MAX = 1100 };

/* What the configuration of a client points into. */
struct fm_coord_setup {
    struct fm_coord_config config; /* loop, resolver and callbacks are left to the caller */
    struct fm_coord_endpoint endpoint[FM_COORD_ENDPOINTS_MAX];
    const char *region[FM_COORD_ENDPOINTS_MAX]; /* of each endpoint; "" for the file */
    char socket[FM_OWNER_PATH_MAX + 8];
    char password_file[FM_COORD_SETUP_PATH_MAX];
    struct fm_tls_files tls;
    char tls_file[3][FM_COORD_SETUP_PATH_MAX]; /* ca, cert, key */
};

/* For `host` in `region` (both may be empty): its own region's endpoints first. `conf` must outlive
 * `s`, and have coordination. FM_ERR_LIMIT where a path is too long. */
enum fm_err fm_coord_setup(struct fm_coord_setup *s, const struct fm_conf *conf, struct fm_str host,
                           struct fm_str region, struct fm_error *e) FM_WARN_UNUSED;

#endif
