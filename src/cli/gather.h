/* cli/gather.h: what all controllers of the file say that they have seen (agent/said.h), asked at
 * once over their peer ports, with TLS where `peer-tls` is set. Blocks; for commands alone. */
#ifndef FM_CLI_GATHER_H
#define FM_CLI_GATHER_H

#include "agent/said.h"
#include "cli/cli.h"
#include "conf/conf.h"

enum { FM_GATHER_WHY_ROOM = 256 };

struct fm_gathered {
    const struct fm_conf_host *host;
    struct fm_said *said; /* NULL: it did not answer, or not with this */
    char why[FM_GATHER_WHY_ROOM];
};

struct fm_gather {
    struct fm_gathered *of; /* one a host with the role `controller` or `witness`, as in the file */
    unsigned n;
};

/* Waits for at most `ms`. What the caller has to know about one host stands with it; an error is
 * that nobody could be asked at all: FM_ERR_INVALID where the certificates are missing,
 * FM_ERR_MEMORY, FM_ERR_LIMIT. Free it after an error, too. */
enum fm_err fm_gather(struct fm_gather *g, const struct fm_args *a, struct fm_conf *conf,
                      const struct fm_roster *r, int64_t ms, struct fm_error *e) FM_WARN_UNUSED;
void fm_gather_free(struct fm_gather *g);

#endif
