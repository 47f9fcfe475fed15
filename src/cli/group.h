/* cli/group.h: what commands about PostgreSQL groups have in common. Prints, and returns exit
 * codes. */
#ifndef FM_CLI_GROUP_H
#define FM_CLI_GROUP_H

#include "cli/cli.h"
#include "conf/conf.h"

/* The file of --config, and the group in it that the first argument names. `conf` is the caller's
 * to free; NULL where the exit code is not FM_EXIT_OK. */
int fm_group_of_file(const struct fm_args *a, const char *command, struct fm_conf **conf,
                     unsigned *index) FM_WARN_UNUSED;

/* The context that its authority is that of. */
void fm_group_context(const struct fm_conf *conf, unsigned group, char *out, size_t cap);

#endif
