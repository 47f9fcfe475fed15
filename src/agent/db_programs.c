/* Which programs of PostgreSQL a node goes by: those that the file says; else those of the version
 * that its data are of, else the newest. See db.h. Invariant: while the agent runs, programs of
 * another version than the data's are never taken over: PostgreSQL would not start again. */
#include "agent/db.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { VERSION_MS = 10 * 1000, VERSION_FILE_MAX = 64, VERSION_MOST = 1000 };

#define INSTALLED "/usr/lib/postgresql"

static bool are_there(const char *bin, struct fm_error *e)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/postgres", bin);
    if (access(path, X_OK) == 0)
        return true;
    fm_error_errno(e, FM_ERR_NOT_FOUND, errno, "there is no PostgreSQL in %s", bin);
    return false;
}

/* The version of the data there; 0 = there are none. */
static unsigned version_of(const char *data)
{
    char path[PATH_MAX + 16], *text = NULL;
    size_t n = 0;
    snprintf(path, sizeof path, "%s/PG_VERSION", data);
    if (fm_file_read(path, VERSION_FILE_MAX, &text, &n, NULL))
        return 0;
    unsigned version = fm_pg_version_parse(fm_str(text, n));
    free(text);
    return version;
}

/* Of a version there may be nothing but the programs of clients. */
static unsigned newest(void)
{
    DIR *d = opendir(INSTALLED);
    const struct dirent *x;
    uint64_t best = 0, version;
    char bin[64];
    while (d && (x = readdir(d))) {
        bool known = fm_str_u64(fm_str_z(x->d_name), &version) && version < VERSION_MOST;
        snprintf(bin, sizeof bin, INSTALLED "/%u/bin", known ? (unsigned)version : 0);
        if (known && version > best && are_there(bin, NULL))
            best = version;
    }
    if (d)
        closedir(d);
    return (unsigned)best;
}

static enum fm_err installed(const char *data, char out[PATH_MAX], struct fm_error *e)
{
    unsigned version = version_of(data);
    snprintf(out, PATH_MAX, INSTALLED "/%u/bin", version);
    if (version && are_there(out, NULL))
        return FM_ERR_OK;
    version = newest();
    snprintf(out, PATH_MAX, INSTALLED "/%u/bin", version);
    return version
               ? FM_ERR_OK
               : fm_error_set(e, FM_ERR_NOT_FOUND, "no PostgreSQL is installed below " INSTALLED);
}

static enum fm_err find_for(const struct fm_database *d, const char *data,
                            const struct fm_conf *conf, const struct fm_conf_group *g,
                            char out[PATH_MAX], struct fm_error *e)
{
    int host = fm_conf_find_host(conf, fm_str_z(d->c.host));
    FM_ASSERT(host >= 0);
    const struct fm_conf_host *h = &conf->hosts[host];
    if (!g->bin.n)
        return installed(data, out, e);
    if (fm_conf_expand(g->bin, h->name, conf->regions[h->region].name, out, PATH_MAX))
        return fm_error_set(e, FM_ERR_LIMIT, "the path of `bin` is too long");
    return FM_ERR_OK;
}

static enum fm_err find(const struct db_node *n, const struct fm_conf *conf,
                        const struct fm_conf_group *g, char out[PATH_MAX], struct fm_error *e)
{
    return find_for(n->d, n->data, conf, g, out, e);
}

enum fm_err db_programs_look(const struct fm_database *d, const struct fm_conf_group *g,
                             const char *data, struct fm_error *e)
{
    char bin[PATH_MAX];
    enum fm_err err = find_for(d, data, d->conf, g, bin, e);
    return err || are_there(bin, e) ? err : e->code;
}

enum fm_err db_programs_init(struct db_node *n, struct fm_error *e)
{
    return find(n, n->d->conf, &n->d->conf->groups[n->conf], n->bin, e);
}

enum fm_err db_programs_check(const struct db_node *n, const struct fm_conf *conf,
                              const struct fm_conf_group *g, struct fm_error *e)
{
    char bin[PATH_MAX];
    enum fm_err err = find(n, conf, g, bin, e);
    if (err || strcmp(bin, n->bin) == 0)
        return err;
    return are_there(bin, e) ? FM_ERR_OK : e->code;
}

/* -------- others, while it runs -------- */

static void take(struct db_node *n)
{
    struct fm_error e = {0};
    if (fm_pg_node_programs(&n->pg, n->programs.wanted, &e)) {
        snprintf(n->programs.why, sizeof n->programs.why, "`bin`: %.200s", e.msg);
        return;
    }
    fm_log(FM_LOG_INFO, "database_programs", FM_KZ("group", n->group), FM_KZ("from", n->bin),
           FM_KZ("to", n->programs.wanted),
           FM_KZ("meaning", "PostgreSQL goes on, and is started with these the next time"));
    memcpy(n->bin, n->programs.wanted, sizeof n->bin);
    n->programs.why[0] = 0;
}

/* "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", "... 17beta1" */
static unsigned version_said(const struct db_node *n)
{
    static const char sign[] = "(PostgreSQL) ";
    const char *at = strstr(n->programs.said, sign);
    size_t digits = at ? strspn(at + sizeof sign - 1, "0123456789") : 0;
    uint64_t version;
    bool good = digits && fm_str_u64(fm_str(at + sizeof sign - 1, digits), &version);
    return good && version < VERSION_MOST ? (unsigned)version : 0;
}

static void looked_at(struct fm_child *c, int status)
{
    struct db_node *n = fm_container_of(c, struct db_node, programs.child);
    n->programs.said[c->output_n] = 0;
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    unsigned theirs = good ? version_said(n) : 0, data = version_of(n->data);
    if (theirs && (!data || theirs == data)) {
        take(n);
        return;
    }
    if (theirs)
        snprintf(n->programs.why, sizeof n->programs.why,
                 "`bin` is of PostgreSQL %u, and the data are of %u: put the old one back (%.120s)",
                 theirs, data, n->bin);
    else
        snprintf(n->programs.why, sizeof n->programs.why,
                 "`bin`: %.120s/postgres does not say its version", n->programs.wanted);
    fm_log(FM_LOG_ERROR, "database_programs_refused", FM_KZ("group", n->group),
           FM_KZ("why", n->programs.why));
}

void db_programs_reset(struct db_node *n)
{
    char path[PATH_MAX + 16], option[] = "--version";
    struct fm_error e = {0};
    fm_child_discard(&n->programs.child);
    n->programs.why[0] = 0;
    if (find(n, n->d->conf, &n->d->conf->groups[n->conf], n->programs.wanted, &e)) {
        snprintf(n->programs.why, sizeof n->programs.why, "`bin`: %.200s", e.msg);
        return;
    }
    if (strcmp(n->programs.wanted, n->bin) == 0)
        return;
    snprintf(path, sizeof path, "%s/postgres", n->programs.wanted);
    char *argv[] = {path, option, NULL};
    struct fm_child_options o = {.argv = argv,
                                 .user = n->pg.as_user ? &n->pg.user : NULL,
                                 .cwd = "/",
                                 .output = n->programs.said,
                                 .output_cap = sizeof n->programs.said - 1,
                                 .timeout_ms = VERSION_MS};
    if (fm_child_start(&n->programs.child, n->d->c.loop, &o, looked_at, &e))
        snprintf(n->programs.why, sizeof n->programs.why, "`bin`: %.200s", e.msg);
}

void db_programs_free(struct db_node *n)
{
    fm_child_discard(&n->programs.child);
}
