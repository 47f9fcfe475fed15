/* Who this host is, as commands and daemons agree on it. */
#include "base/buf.h"
#include "cli/cli.h"
#include "conf/conf.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
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

void fm_cli_who(char *out, size_t n)
{
    char host[128] = "";
    const char *sudo = geteuid() == 0 ? getenv("SUDO_USER") : NULL;
    struct passwd entry, *p = NULL;
    char texts[1024];
    if (getpwuid_r(getuid(), &entry, texts, sizeof texts, &p) != 0)
        p = NULL;
    if (gethostname(host, sizeof host - 1) < 0)
        host[0] = 0;
    snprintf(out, n, "%s@%s", sudo && sudo[0] ? sudo : p ? p->pw_name : "unknown", host);
    fm_text_tame(out);
}
