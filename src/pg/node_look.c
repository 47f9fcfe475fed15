/* What is in a data directory, and who works there: see pg/steps.h. Reads only; small files and
 * folders, and /proc. Says "nobody" only where it has looked at every process. */
#include "base/assert.h"
#include "base/file.h"
#include "pg/steps.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { SMALL_FILE_MAX = 4096 };

bool fm_pg_path(const struct fm_pg_node *n, char out[FM_PG_PATH_ROOM], const char *folder,
                const char *name)
{
    int used = snprintf(out, FM_PG_PATH_ROOM, "%s%s%s%s%s", n->data, folder ? "/" : "",
                        folder ? folder : "", name ? "/" : "", name ? name : "");
    return used > 0 && used < FM_PG_PATH_ROOM;
}

bool fm_pg_is_there(const struct fm_pg_node *n, const char *folder, const char *name)
{
    char path[FM_PG_PATH_ROOM];
    struct stat st;
    return fm_pg_path(n, path, folder, name) && lstat(path, &st) == 0;
}

bool fm_pg_folder_is_unfinished(const char *data)
{
    char path[FM_PG_PATH_ROOM];
    struct stat st;
    int used = snprintf(path, sizeof path, "%s/" FM_PG_MAKING, data);
    return used > 0 && used < FM_PG_PATH_ROOM && lstat(path, &st) == 0;
}

/* -------- folders -------- */

static bool is_ours(const char *name)
{
    static const char *const ours[] = {
        ".", "..", "lost+found", FM_PG_MAKING, FM_PG_MADE, FM_PG_PASS_FILE,
    };
    for (size_t i = 0; i < FM_COUNT(ours); i++)
        if (strcmp(name, ours[i]) == 0)
            return true;
    return false;
}

static bool keep_name(struct fm_pg_names *names, const char *name)
{
    size_t room = strlen(name) + 1;
    if (names->n == FM_PG_NAMES_MAX || room > FM_PG_NAMES_ROOM - names->text_n)
        return false;
    char *to = names->text + names->text_n;
    memcpy(to, name, room);
    names->text_n += room;
    unsigned at = names->n++;
    names->name[at] = to;
    if (strcmp(name, "global") == 0) {
        names->name[at] = names->name[0];
        names->name[0] = to;
    }
    return true;
}

struct fm_pg_names *fm_pg_names(struct fm_pg_node *n, const char *folder)
{
    char path[FM_PG_PATH_ROOM];
    struct fm_pg_names *names = calloc(1, sizeof *names);
    errno = ENAMETOOLONG;
    DIR *d = names && fm_pg_path(n, path, folder, NULL) ? opendir(path) : NULL;
    bool good = d != NULL;
    if (!names)
        fm_pg_step_why(n, "out of memory");
    else if (!d && errno == ENOENT)
        return names; /* nothing is in it */
    else if (!d)
        fm_pg_step_why(n, "cannot read the folder: %s", strerror(errno));
    errno = 0;
    for (struct dirent *entry; good && (entry = readdir(d));) {
        if ((!folder && is_ours(entry->d_name)) || strcmp(entry->d_name, ".") == 0 ||
            strcmp(entry->d_name, "..") == 0)
            continue;
        good = keep_name(names, entry->d_name);
        if (!good)
            fm_pg_step_why(n, "there are more than %d files in the folder", FM_PG_NAMES_MAX);
    }
    if (good && errno) {
        fm_pg_step_why(n, "cannot read the folder: %s", strerror(errno));
        good = false;
    }
    if (d)
        closedir(d);
    if (good)
        return names;
    free(names);
    return NULL;
}

/* -------- what is there -------- */

/* 0 = no such file, or not one that can be read. */
static size_t read_small(const struct fm_pg_node *n, const char *name, char out[SMALL_FILE_MAX])
{
    char path[FM_PG_PATH_ROOM], *bytes;
    size_t size = 0;
    if (!fm_pg_path(n, path, NULL, name) ||
        fm_file_read(path, SMALL_FILE_MAX, &bytes, &size, NULL) != FM_ERR_OK)
        return 0;
    memcpy(out, bytes, size);
    free(bytes);
    return size;
}

bool fm_pg_syncfs_reports(void)
{
    enum { MAJOR = 5, MINOR = 8 };
    struct utsname u;
    struct fm_str rest;
    uint64_t major = 0, minor = 0;
    if (uname(&u) != 0)
        return false;
    struct fm_str first = fm_str_cut(fm_str_z(u.release), '.', &rest);
    size_t digits = 0;
    while (digits < rest.n && rest.p[digits] >= '0' && rest.p[digits] <= '9')
        digits++;
    return fm_str_u64(first, &major) && fm_str_u64(fm_str(rest.p, digits), &minor) &&
           (major > MAJOR || (major == MAJOR && minor >= MINOR));
}

bool fm_pg_syncs_as_one(const struct fm_pg_node *n, const char *folder)
{
    char path[FM_PG_PATH_ROOM], a[FM_PG_PATH_ROOM];
    struct stat all, log;
    if (!fm_pg_syncfs_reports() || !fm_pg_path(n, a, folder, NULL) || stat(a, &all) != 0 ||
        !fm_pg_path(n, path, folder, "pg_wal") || lstat(path, &log) != 0 || !S_ISDIR(log.st_mode) ||
        log.st_dev != all.st_dev || !fm_pg_path(n, path, folder, "pg_tblspc"))
        return false;
    unsigned others = 0;
    DIR *d = opendir(path);
    for (const struct dirent *x; d && (x = readdir(d));)
        others += x->d_name[0] != '.';
    if (!d)
        return false;
    closedir(d);
    return others == 0; /* a tablespace may be anywhere */
}

static bool has_more_than_secrets(const struct fm_pg_names *names)
{
    for (unsigned i = 0; i < names->n; i++)
        if (strcmp(names->name[i], FM_PG_ADMIN) != 0)
            return true;
    return false;
}

bool fm_pg_find(struct fm_pg_node *n)
{
    char text[SMALL_FILE_MAX];
    struct fm_pg_names *names = fm_pg_names(n, NULL);
    n->look = (struct fm_pg_look){.found = FM_PG_NOTHING};
    if (!names)
        return false;
    bool some = has_more_than_secrets(names);
    free(names);
    if (fm_pg_is_there(n, NULL, FM_PG_MAKING)) {
        n->look.found = FM_PG_UNFINISHED;
    } else if (fm_pg_is_there(n, NULL, "PG_VERSION")) {
        n->look.found = FM_PG_DATA;
        n->look.version = fm_pg_version_parse(fm_str(text, read_small(n, "PG_VERSION", text)));
        if (n->look.version == 0) {
            fm_pg_step_why(n, "cannot read its PG_VERSION");
            return false;
        }
    } else if (some) {
        n->look.found = FM_PG_FOREIGN;
    }
    n->look.has_lock_file = fm_pg_is_there(n, NULL, "postmaster.pid");
    n->look.is_standby = fm_pg_is_there(n, NULL, "standby.signal");
    n->look.is_copy = fm_pg_is_there(n, NULL, "backup_label");
    return true;
}

bool fm_pg_read_history(struct fm_pg_node *n, struct fm_timeline t)
{
    char name[32], path[FM_PG_PATH_ROOM], *bytes = NULL;
    struct fm_error e = {0};
    size_t size = 0;
    n->look.history = (struct fm_history){.timeline = t, .text = FM_STR("")};
    snprintf(name, sizeof name, "pg_wal/%08X.history", t.n);
    if (t.n > 1) {
        if (!fm_pg_path(n, path, n->inside ? FM_PG_MAKING : NULL, name) ||
            fm_file_read(path, sizeof n->history, &bytes, &size, &e) != FM_ERR_OK) {
            fm_pg_step_why(n, "%s", e.code ? e.msg : "its path is too long");
            return false;
        }
        memcpy(n->history, bytes, size);
        free(bytes);
        n->look.history.text = fm_str(n->history, size);
    }
    if (fm_history_is_valid(&n->look.history))
        return true;
    fm_pg_step_why(n, "%s is not the history of a timeline", name);
    return false;
}

bool fm_pg_has_fork(struct fm_pg_node *n)
{
    struct fm_past fork = fm_history_fork(&n->look.history, &n->theirs);
    n->rescued = (struct fm_pg_rescued){.timeline = n->look.history.timeline};
    if (fork.timeline.n && !fm_lsn_same(fork.end, FM_LSN_END))
        n->rescued.fork = fork.end;
    else
        snprintf(n->rescued.lost.why, sizeof n->rescued.lost.why, "%s",
                 fork.timeline.n ? "it wrote to a timeline that is another node's"
                                 : "it has no history in common with the primary");
    return !fm_lsn_is_none(n->rescued.fork);
}

enum fm_err fm_pg_node_postmaster(const struct fm_pg_node *n, struct fm_pg_postmaster *out,
                                  struct fm_error *e)
{
    char text[SMALL_FILE_MAX];
    if (!fm_pg_is_there(n, NULL, "postmaster.pid"))
        return fm_error_set(e, FM_ERR_NOT_FOUND, "no server runs in %s", n->data);
    size_t size = read_small(n, "postmaster.pid", text);
    if (!fm_pg_postmaster_parse(fm_str(text, size), out))
        return fm_error_set(e, FM_ERR_STATE, "%s/postmaster.pid is not whole", n->data);
    return FM_ERR_OK;
}

/* -------- who works there -------- */

static bool is_postgres(const char *pid)
{
    char path[320], name[32] = "";
    snprintf(path, sizeof path, "/proc/%s/comm", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool read_it = fgets(name, sizeof name, f) != NULL;
    fclose(f);
    name[strcspn(name, "\n")] = '\0';
    return read_it && (strcmp(name, "postgres") == 0 || strcmp(name, "postmaster") == 0);
}

static bool works_in(const char *pid, const struct stat *folder, size_t n)
{
    char path[320];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%s/cwd", pid);
    if (stat(path, &st) < 0)
        return false; /* it has ended, or is another user's than the data */
    for (size_t i = 0; i < n; i++)
        if (folder[i].st_ino == st.st_ino && folder[i].st_dev == st.st_dev)
            return true;
    return false;
}

/* The working folder of all processes of a server is its data directory. */
pid_t fm_pg_find_server(const struct fm_pg_node *n)
{
    char path[FM_PG_PATH_ROOM];
    struct stat folder[2];
    size_t nfolders = 0;
    for (int i = 0; i < 2; i++)
        if (fm_pg_path(n, path, i ? FM_PG_MAKING : NULL, NULL) &&
            stat(path, &folder[nfolders]) == 0)
            nfolders++;
    if (nfolders == 0)
        return 0;
    DIR *d = opendir("/proc");
    if (!d)
        return -1;
    uint64_t found = 0;
    for (struct dirent *entry; !found && (entry = readdir(d));) {
        uint64_t pid;
        if (fm_str_u64(fm_str_z(entry->d_name), &pid) && pid > 1 && pid <= INT32_MAX &&
            works_in(entry->d_name, folder, nfolders) && is_postgres(entry->d_name))
            found = pid;
    }
    closedir(d);
    FM_ASSERT(found <= INT32_MAX);
    return (pid_t)found;
}
