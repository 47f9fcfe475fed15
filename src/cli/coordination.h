/* cli/coordination.h: what the commands about coordination share. */
#ifndef FM_CLI_COORDINATION_H
#define FM_CLI_COORDINATION_H

#include "cli/cli.h"
#include "conf/conf.h"
#include "coord/wire.h"

enum { FM_COORDINATION_MS = 5000, FM_COORDINATION_ASK_MS = 3000 };

/* Loads the configuration, which must have coordination, and calls `run` with it. Returns its exit
 * code, or that of what is wrong. */
int fm_coordination_with(const struct fm_args *a, const char *command,
                         int (*run)(const struct fm_args *a, struct fm_conf *conf));

/* How long to wait for the store, and for controllers. */
static inline int64_t fm_coordination_ms(const struct fm_args *a)
{
    return a->timeout_ms ? a->timeout_ms : FM_COORDINATION_MS;
}

static inline int64_t fm_coordination_ask_ms(const struct fm_args *a)
{
    return a->timeout_ms ? a->timeout_ms : FM_COORDINATION_ASK_MS;
}

#endif
