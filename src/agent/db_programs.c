/* Which programs of PostgreSQL a node goes by: those that the file says; else those of the version
 * that its data are of, else the newest. See db.h. Invariants: nothing is started with programs
 * that were not seen to run, and to be of the version of the data; others are never taken over
 * instead of those that do. Where there are none the node is unable, and nothing else of the agent
 * is. */
#include "agent/db.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { VERSION_MS = 10 * 1000, AGAIN_MS = 2000, VERSION_FILE_MAX = 64, VERSION_MOST = 1000 };

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
    enum fm_err err = find(n, n->d->conf, &n->d->conf->groups[n->conf], n->bin, e);
    return err == FM_ERR_NOT_FOUND ? FM_ERR_OK : err; /* they may come, and others may go on */
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

/* -------- whether they run -------- */

/* Of the path that was looked at; all 0: there is nothing. */
static struct db_program identify(const char *bin)
{
    char path[PATH_MAX + 16];
    struct stat st;
    snprintf(path, sizeof path, "%s/postgres", bin);
    if (stat(path, &st) != 0)
        return (struct db_program){.inode = 0};
    return (struct db_program){st.st_dev, st.st_ino, st.st_ctim.tv_sec, st.st_ctim.tv_nsec};
}

static bool is_as_it_was(const struct db_node *n)
{
    struct db_program now = identify(n->bin);
    const struct db_program *was = &n->programs.file;
    return now.device == was->device && now.inode == was->inode &&
           now.changed_s == was->changed_s && now.changed_ns == was->changed_ns;
}

static void be_unable(struct db_node *n, const char *why)
{
    bool news = !n->programs.unable || strcmp(n->programs.why, why) != 0;
    n->programs.known = n->programs.unable = true;
    if (!news)
        return;
    snprintf(n->programs.why, sizeof n->programs.why, "%s", why);
    fm_log(FM_LOG_ERROR, "database_unable", FM_KZ("group", n->group), FM_KZ("why", why),
           FM_KZ("meaning", "PostgreSQL is not started here, and the group goes on elsewhere where "
                            "it can; it is looked at again"));
}

static void be_able(struct db_node *n)
{
    if (n->programs.unable)
        fm_log(FM_LOG_INFO, "database_able", FM_KZ("group", n->group), FM_KZ("bin", n->bin));
    if (n->programs.unable)
        db_server_look_anew(n);
    n->programs.known = true;
    n->programs.unable = false;
    n->programs.why[0] = 0;
}

/* Those that were to be taken: where others do run, it goes on by them. */
static void refuse(struct db_node *n, const char *why)
{
    if (!n->programs.known || n->programs.unable || strcmp(n->programs.wanted, n->bin) == 0) {
        be_unable(n, why);
        return;
    }
    snprintf(n->programs.why, sizeof n->programs.why, "%.160s: put the old one back (%.80s)", why,
             n->bin);
    fm_log(FM_LOG_ERROR, "database_programs_refused", FM_KZ("group", n->group),
           FM_KZ("why", n->programs.why));
}

static void take(struct db_node *n)
{
    struct fm_error e = {0};
    if (strcmp(n->programs.wanted, n->bin) == 0) {
        be_able(n);
        return;
    }
    if (fm_pg_node_programs(&n->pg, n->programs.wanted, &e)) {
        refuse(n, e.msg);
        return;
    }
    fm_log(FM_LOG_INFO, "database_programs", FM_KZ("group", n->group), FM_KZ("from", n->bin),
           FM_KZ("to", n->programs.wanted),
           FM_KZ("meaning", "PostgreSQL goes on, and is started with these the next time"));
    memcpy(n->bin, n->programs.wanted, sizeof n->bin);
    be_able(n);
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
    char why[DB_WHY_ROOM];
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    bool said = n->d->conf->groups[n->conf].bin.n;
    unsigned theirs = good ? version_said(n) : 0, data = version_of(n->data);
    if (theirs && (!data || theirs == data)) {
        take(n);
    } else if (theirs) {
        snprintf(why, sizeof why, "%.100s is of PostgreSQL %u, and the data are of %u",
                 said ? "`bin`" : n->programs.wanted, theirs, data);
        refuse(n, why);
    } else {
        int line = (int)strcspn(n->programs.said, "\r\n");
        snprintf(why, sizeof why, "%.100s/postgres does not say its version%s%.*s",
                 n->programs.wanted, line ? ": " : "", line < 100 ? line : 100, n->programs.said);
        fm_text_tame(why);
        refuse(n, why);
    }
    db_node_turn(n);
}

/* n->programs.wanted, as whoever starts them. */
static void look(struct db_node *n)
{
    char path[PATH_MAX + 16], option[] = "--version";
    struct fm_error e = {0};
    n->programs.at = fm_mono_now();
    n->programs.file = identify(n->programs.wanted);
    if (!are_there(n->programs.wanted, &e)) {
        refuse(n, e.msg);
        return;
    }
    snprintf(path, sizeof path, "%s/postgres", n->programs.wanted);
    char *argv[] = {path, option, NULL};
    struct fm_child_options o = {.argv = argv,
                                 .user = n->pg.as_user ? &n->pg.user : NULL,
                                 .cwd = "/",
                                 .output = n->programs.said,
                                 .output_cap = sizeof n->programs.said - 1,
                                 .timeout_ms = VERSION_MS};
    if (fm_child_start(&n->programs.child, n->d->c.loop, &o, looked_at, &e))
        refuse(n, e.msg);
}

static bool goes_by_some(const struct db_node *n)
{
    return n->programs.known && !n->programs.unable;
}

static void look_for(struct db_node *n)
{
    struct fm_error e = {0};
    n->programs.at = fm_mono_now();
    if (find(n, n->d->conf, &n->d->conf->groups[n->conf], n->programs.wanted, &e))
        refuse(n, e.msg);
    else if (!goes_by_some(n) || strcmp(n->programs.wanted, n->bin) != 0)
        look(n);
}

void db_programs_turn(struct db_node *n)
{
    bool able = goes_by_some(n);
    bool due = fm_mono_sub_ms(fm_mono_now(), n->programs.at) >= AGAIN_MS;
    if (n->up || n->programs.child.running || (n->programs.unable && !due) ||
        (able && is_as_it_was(n)))
        return;
    if (!able) {
        look_for(n);
        return;
    }
    n->programs.known = false; /* others are there now */
    memcpy(n->programs.wanted, n->bin, sizeof n->bin);
    look(n);
}

void db_programs_reset(struct db_node *n)
{
    fm_child_discard(&n->programs.child);
    if (!n->programs.unable)
        n->programs.why[0] = 0;
    look_for(n);
}

void db_programs_free(struct db_node *n)
{
    fm_child_discard(&n->programs.child);
}
