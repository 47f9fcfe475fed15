/* Who this host is, as commands and daemons agree on it. */
#include "cli/cli.h"
#include "conf/conf.h"

#include <stdio.h>
#include <unistd.h>

void fm_cli_this_host(const struct fm_conf *c, const struct fm_args *a, char *out, size_t n)
{
    if (a->host) {
        snprintf(out, n, "%s", a->host);
        return;
    }
    if (gethostname(out, n - 1) < 0)
        snprintf(out, n, "localhost");
    out[n - 1] = 0;
    char *dot = strchr(out, '.');
    if (dot && fm_conf_find_host(c, fm_str_z(out)) < 0)
        *dot = 0;
}
