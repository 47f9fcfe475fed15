/* The steps of operations on a data directory: see pg/steps.h. What is not whole stays in
 * `fulmar.making`: data go in with `global` first and come out with `global` last, without which no
 * server starts. */
#include "base/assert.h"
#include "base/buf.h"
#include "pg/chore.h"
#include "pg/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ARGS_MAX = 24, NUMBERS_MAX = 64 };

/* -------- children -------- */

static enum fm_pg_went run_child(struct fm_pg_node *n, struct fm_child_options *o,
                                 void (*exited)(struct fm_child *, int))
{
    struct fm_error e;
    char *envp[] = {(char[]){"PATH=/usr/bin:/bin"}, (char[]){"LC_ALL=C"}, NULL};
    int64_t left = fm_mono_sub_ms(n->deadline, fm_loop_now(n->loop));
    o->envp = envp;
    o->cwd = "/"; /* as whoever it becomes, it may not see where we are */
    o->user = n->as_user ? &n->user : NULL;
    o->output = n->said;
    o->output_cap = FM_PG_OUTPUT_ROOM;
    o->output_last = true;
    o->timeout_ms = left > 1 ? left : 1;
    if (fm_child_start(&n->child, n->loop, o, exited, &e) == FM_ERR_OK)
        return FM_PG_WAIT;
    fm_pg_step_why(n, "%s", e.msg);
    return FM_PG_FAILED;
}

/* A program of PostgreSQL. `arg` ends with NULL. */
static enum fm_pg_went run_program(struct fm_pg_node *n, void (*exited)(struct fm_child *, int),
                                   const char *program, const char *const *arg)
{
    char path[FM_PG_PATH_ROOM + 32], *argv[ARGS_MAX + 2];
    struct fm_child_options o = {.argv = argv};
    size_t count = 0;
    FM_ASSERT(n->busy);
    snprintf(path, sizeof path, "%s/%s", n->bin, program);
    while (arg[count])
        count++;
    FM_ASSERT(count <= ARGS_MAX);
    argv[0] = path;
    for (size_t i = 0; i < count; i++)
        argv[i + 1] = (char *)(uintptr_t)arg[i];
    argv[count + 1] = NULL;
    return run_child(n, &o, exited);
}

static enum fm_pg_went run_chore(struct fm_pg_node *n, void (*exited)(struct fm_child *, int),
                                 struct fm_chore *c)
{
    char *argv[] = {(char[]){"a change of files"}, NULL};
    struct fm_child_options o = {.argv = argv, .body = fm_chore_run, .arg = c};
    enum fm_pg_went went = FM_PG_FAILED;
    if (!c)
        fm_pg_step_why(n, "out of memory");
    else if (fm_chore_is_full(c))
        fm_pg_step_why(n, "too many files");
    else
        went = run_child(n, &o, exited);
    fm_chore_free(c);
    return went;
}

/* In DATA or in a folder of it. The lengths were looked at when the node was made. */
static const char *in(const struct fm_pg_node *n, char out[FM_PG_PATH_ROOM], const char *folder,
                      const char *name)
{
    bool fits = fm_pg_path(n, out, folder, name);
    FM_ASSERT(fits);
    return out;
}

static const char *place(const struct fm_pg_node *n)
{
    return n->inside ? FM_PG_MAKING : NULL;
}

/* -------- the folder itself -------- */

/* A folder of the group's user, in one that is there. */
static bool make_last(struct fm_pg_node *n, const char *path)
{
    bool made = mkdir(path, 0700) == 0;
    if (!made && errno != EEXIST) {
        fm_pg_step_why(n, "cannot make %s: %s", path, strerror(errno));
        return false;
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (made ? O_NOFOLLOW : 0));
    struct stat st;
    bool good = fd >= 0 && fstat(fd, &st) == 0;
    if (good && made && n->as_user && st.st_uid != n->user.uid)
        good = fchown(fd, n->user.uid, n->user.gid) == 0 && fstat(fd, &st) == 0;
    if (!good)
        fm_pg_step_why(n, "cannot use %s: %s", path, strerror(errno));
    uid_t uid = n->as_user ? n->user.uid : geteuid();
    if (good && st.st_uid != uid) {
        fm_pg_step_why(n, "%s belongs to the user with the number %u, not to the group's user (%u)",
                       path, (unsigned)st.st_uid, (unsigned)uid);
        good = false;
    }
    if (fd >= 0)
        close(fd);
    return good;
}

static bool make_folder(struct fm_pg_node *n)
{
    char path[FM_PG_PATH_ROOM];
    snprintf(path, sizeof path, "%s", n->data);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mode_t before = umask(022); /* the group's user has to get through */
        bool good = mkdir(path, 0755) == 0 || errno == EEXIST;
        umask(before);
        if (!good) {
            fm_pg_step_why(n, "cannot make %s: %s", path, strerror(errno));
            return false;
        }
        *slash = '/';
    }
    return make_last(n, n->data);
}

/* -------- what only it has -------- */

#define LOST ".lost" /* behind the path of the data */

static bool outlive(struct fm_pg_node *n)
{
    char path[FM_PG_PATH_ROOM];
    int used = snprintf(path, sizeof path, "%s" LOST, n->data);
    FM_ASSERT(used > 0 && (size_t)used < sizeof path);
    return make_last(n, path);
}

/* What is kept of that timeline behind that fork. */
static void name_kept(const struct fm_pg_node *n, struct fm_timeline timeline, struct fm_lsn fork,
                      char out[FM_PG_PATH_ROOM])
{
    int used = snprintf(out, FM_PG_PATH_ROOM, "%s" LOST "/%u-%X-%X", n->data, timeline.n,
                        (unsigned)(fork.n >> 32), (unsigned)(fork.n & UINT32_MAX));
    FM_ASSERT(used > 0 && used < FM_PG_PATH_ROOM);
}

/* The timelines that have files behind the fork; of more than there is room for the last ones. */
static void take_past(struct fm_wal_config *c, const struct fm_history *h)
{
    struct fm_str rest = h->text;
    struct fm_past p;
    while (fm_history_next(&rest, &p)) {
        if (!fm_lsn_before(c->after, p.end))
            continue;
        if (c->npast == FM_WAL_PAST_MAX)
            memmove(&c->past[0], &c->past[1], --c->npast * sizeof p);
        c->past[c->npast++] = p;
    }
}

static enum fm_pg_went keep(struct fm_pg_node *n, void (*exited)(struct fm_child *, int))
{
    const struct fm_pg_control *c = &n->look.control;
    struct fm_pg_rescued *r = &n->rescued;
    char from[FM_PG_PATH_ROOM], *argv[] = {(char[]){"a look at lost writes"}, NULL};
    struct fm_wal_config conf = {.system_id = c->system_id,
                                 .timeline = r->timeline,
                                 .segment_bytes = c->segment_bytes,
                                 .after = r->fork};
    struct fm_pg_isolated_job look = {.fork = r->fork};
    take_past(&conf, &n->look.history);
    name_kept(n, r->timeline, r->fork, r->copy);
    snprintf(look.bin, sizeof look.bin, "%s", n->bin);
    snprintf(look.data, sizeof look.data, "%s", n->data);
    snprintf(look.admin, sizeof look.admin, "%s", n->admin);
    struct fm_pg_lost_job *j =
        fm_pg_lost_job_new(in(n, from, NULL, "pg_wal"), r->copy, &conf,
                           fm_lsn_max(c->least_end, c->checkpoint), look.admin[0] ? &look : NULL);
    struct fm_child_options o = {.argv = argv, .body = fm_pg_lost_run, .arg = j};
    enum fm_pg_went went = FM_PG_FAILED;
    if (j)
        went = run_child(n, &o, exited);
    else
        fm_pg_step_why(n, "out of memory");
    free(j);
    return went;
}

static bool take_kept(struct fm_pg_node *n)
{
    struct fm_str said = fm_str(n->said, n->child.output_n);
    fm_pg_rows_parse(said, &n->rescued.rows);
    if (fm_pg_lost_parse(said, &n->rescued.lost))
        return true;
    fm_pg_step_why(n, "it does not say what it found");
    return false;
}

static enum fm_pg_went prune(struct fm_pg_node *n, void (*exited)(struct fm_child *, int))
{
    char path[FM_PG_PATH_ROOM];
    name_kept(n, n->wanted, n->pruned, path);
    char *argv[] = {(char[]){"/bin/rm"},
                    (char[]){"-rf"},
                    (char[]){"--one-file-system"},
                    (char[]){"--"},
                    path,
                    NULL};
    return run_child(n, &(struct fm_child_options){.argv = argv}, exited);
}

static bool is_alone(struct fm_pg_node *n)
{
    pid_t pid = fm_pg_find_server(n);
    if (pid > 0)
        fm_pg_step_why(n, "the process %d works in %s", (int)pid, n->data);
    else if (pid < 0)
        fm_pg_step_why(n, "cannot read /proc");
    return pid == 0;
}

/* -------- in and out of fulmar.making -------- */

static struct fm_chore *move_up(struct fm_pg_node *n, struct fm_chore *c, struct fm_pg_names *names)
{
    char a[FM_PG_PATH_ROOM], b[FM_PG_PATH_ROOM];
    for (unsigned i = names->n; i-- > 0;) /* `global` last */
        fm_chore_rename(c, in(n, a, FM_PG_MADE, names->name[i]), in(n, b, NULL, names->name[i]));
    fm_chore_sync(c, in(n, a, FM_PG_MADE, NULL));
    fm_chore_sync(c, n->data);
    fm_chore_remove(c, in(n, a, FM_PG_MADE, NULL));
    fm_chore_sync(c, n->data);
    return c;
}

/* A node that was whole when this ended the last time. */
static enum fm_pg_went settle(struct fm_pg_node *n, void (*exited)(struct fm_child *, int))
{
    if (!fm_pg_is_there(n, FM_PG_MADE, NULL))
        return FM_PG_DONE;
    struct fm_pg_names *names = fm_pg_names(n, FM_PG_MADE);
    if (!names)
        return FM_PG_FAILED;
    struct fm_chore *c = fm_chore_new();
    enum fm_pg_went went = run_chore(n, exited, c ? move_up(n, c, names) : NULL);
    free(names);
    return went;
}

static enum fm_pg_went leave(struct fm_pg_node *n, void (*exited)(struct fm_child *, int))
{
    char a[FM_PG_PATH_ROOM], b[FM_PG_PATH_ROOM];
    struct fm_pg_names *names = fm_pg_names(n, FM_PG_MAKING);
    struct fm_chore *c = names ? fm_chore_new() : NULL;
    if (c) {
        fm_chore_private(c, n->data);
        fm_chore_sync(c, in(n, a, FM_PG_MAKING, NULL));
        fm_chore_rename(c, in(n, a, FM_PG_MAKING, NULL), in(n, b, FM_PG_MADE, NULL));
        fm_chore_sync(c, n->data);
        move_up(n, c, names);
    }
    enum fm_pg_went went = names ? run_chore(n, exited, c) : FM_PG_FAILED;
    free(names);
    return went;
}

/* What a server left behind would keep the one from running that recovers for pg_rewind. */
static enum fm_pg_went enter(struct fm_pg_node *n, void (*exited)(struct fm_child *, int))
{
    static const char *const gone[] = {"postmaster.pid", "standby.signal", "recovery.signal"};
    char a[FM_PG_PATH_ROOM], b[FM_PG_PATH_ROOM];
    struct fm_pg_names *names = fm_pg_names(n, NULL);
    struct fm_chore *c = names ? fm_chore_new() : NULL;
    if (c) {
        fm_chore_folder(c, in(n, a, FM_PG_MAKING, NULL));
        fm_chore_sync(c, n->data);
        for (unsigned i = 0; i < names->n; i++)
            fm_chore_rename(c, in(n, a, NULL, names->name[i]),
                            in(n, b, FM_PG_MAKING, names->name[i]));
        for (size_t i = 0; i < FM_COUNT(gone); i++)
            fm_chore_remove(c, in(n, a, FM_PG_MAKING, gone[i]));
        fm_chore_sync(c, in(n, a, FM_PG_MAKING, NULL));
        fm_chore_sync(c, n->data);
    }
    n->inside = true;
    enum fm_pg_went went = names ? run_chore(n, exited, c) : FM_PG_FAILED;
    free(names);
    return went;
}

/* While this folder is there nothing is started. */
static enum fm_pg_went begin(struct fm_pg_node *n, void (*exited)(struct fm_child *, int))
{
    char a[FM_PG_PATH_ROOM];
    struct fm_chore *c = fm_chore_new();
    if (c) {
        fm_chore_private(c, n->data);
        fm_chore_folder(c, in(n, a, FM_PG_MAKING, NULL));
        fm_chore_sync(c, n->data);
        if (n->outcome.operation == FM_PG_OP_MAKE)
            fm_chore_write(c, in(n, a, NULL, FM_PG_ADMIN), fm_str_z(n->admin_password));
    }
    n->inside = true;
    return run_chore(n, exited, c);
}

/* fulmar.making last: where this is interrupted it is still there. */
static enum fm_pg_went empty(struct fm_pg_node *n, void (*exited)(struct fm_child *, int))
{
    struct fm_pg_names *names = fm_pg_names(n, NULL);
    if (!names)
        return FM_PG_FAILED;
    size_t count = names->n + 1u;
    char *block = malloc(count * FM_PG_PATH_ROOM), *argv[FM_PG_NAMES_MAX + 6];
    size_t at = 0;
    enum fm_pg_went went = FM_PG_FAILED;
    argv[at++] = (char[]){"/bin/rm"};
    argv[at++] = (char[]){"-rf"};
    argv[at++] = (char[]){"--one-file-system"};
    argv[at++] = (char[]){"--"};
    for (size_t i = 0; block && i < count; i++) {
        argv[at] = block + i * FM_PG_PATH_ROOM;
        in(n, argv[at++], NULL, i < names->n ? names->name[i] : FM_PG_MAKING);
    }
    argv[at] = NULL;
    if (block)
        went = run_child(n, &(struct fm_child_options){.argv = argv}, exited);
    else
        fm_pg_step_why(n, "out of memory");
    free(block);
    free(names);
    return went;
}

/* -------- files -------- */

static enum fm_pg_went secrets(struct fm_pg_node *n, void (*exited)(struct fm_child *, int))
{
    char a[FM_PG_PATH_ROOM];
    struct fm_chore *c = fm_chore_new();
    if (c) {
        fm_chore_private(c, n->data);
        fm_chore_write(c, in(n, a, NULL, FM_PG_PASS_FILE), fm_str_z(n->pass));
    }
    return run_chore(n, exited, c);
}

/* The server there is told; where there is none, the file that a crash left is taken away, because
 * a server does not start while its pid is anybody's. */
static bool tell(struct fm_pg_node *n, struct fm_chore *c)
{
    char a[FM_PG_PATH_ROOM];
    struct fm_pg_postmaster p;
    if (!n->look.has_lock_file)
        return true;
    pid_t pid = fm_pg_find_server(n);
    if (pid < 0) {
        fm_pg_step_why(n, "cannot read /proc");
        return false;
    }
    if (pid == 0)
        fm_chore_remove(c, in(n, a, NULL, "postmaster.pid"));
    else if (fm_pg_node_postmaster(n, &p, NULL) == FM_ERR_OK && p.pid > 1)
        fm_chore_signal(c, p.pid, SIGHUP);
    return true;
}

static enum fm_pg_went files(struct fm_pg_node *n, void (*exited)(struct fm_child *, int))
{
    const char *at = place(n);
    char a[FM_PG_PATH_ROOM];
    struct fm_chore *c = fm_chore_new();
    if (c) {
        fm_chore_write(c, in(n, a, at, FM_PG_PASS_FILE), fm_str_z(n->pass));
        fm_chore_write(c, in(n, a, at, FM_PG_HBA_FILE), fm_str_z(n->hba));
        fm_chore_write(c, in(n, a, at, FM_PG_CONF_FILE), fm_str_z(n->conf));
        fm_chore_line(c, in(n, a, at, "postgresql.conf"), FM_PG_INCLUDE_LINE);
        if (n->follows)
            fm_chore_write(c, in(n, a, at, "standby.signal"), FM_STR(""));
        else
            fm_chore_remove(c, in(n, a, at, "standby.signal"));
        if (n->outcome.operation == FM_PG_OP_MAKE)
            fm_chore_remove(c, in(n, a, NULL, FM_PG_ADMIN));
        fm_chore_sync(c, in(n, a, at, NULL));
    }
    if (c && !n->inside && !tell(n, c)) {
        fm_chore_free(c);
        return FM_PG_FAILED;
    }
    return run_chore(n, exited, c);
}

/* -------- programs -------- */

static enum fm_pg_went control(struct fm_pg_node *n, void (*exited)(struct fm_child *, int))
{
    char a[FM_PG_PATH_ROOM];
    return run_program(n, exited, "pg_controldata",
                       (const char *const[]){in(n, a, place(n), NULL), NULL});
}

static enum fm_pg_went initdb(struct fm_pg_node *n, void (*exited)(struct fm_child *, int))
{
    char a[FM_PG_PATH_ROOM], file[FM_PG_PATH_ROOM + 16];
    snprintf(file, sizeof file, "--pwfile=%s/" FM_PG_ADMIN, n->data);
    const char *const arg[] = {"-D", in(n, a, FM_PG_MAKING, NULL),
                               "-U", n->admin,
                               "-A", "scram-sha-256",
                               "-E", "UTF8",
                               file, "--locale=C.UTF-8",
                               "-k", "--no-instructions",
                               NULL};
    return run_program(n, exited, "initdb", arg);
}

/* It proves that the upstream is there, and lets us in, before anything is removed here. */
static enum fm_pg_went slot(struct fm_pg_node *n, void (*exited)(struct fm_child *, int))
{
    const char *const arg[] = {
        "--create-slot", "--if-not-exists", "-S", n->slot, "--no-password", "-d", n->info, NULL};
    return run_program(n, exited, "pg_receivewal", arg);
}

static enum fm_pg_went copy(struct fm_pg_node *n, void (*exited)(struct fm_child *, int))
{
    char a[FM_PG_PATH_ROOM];
    const char *const arg[] = {"-D", in(n, a, FM_PG_MAKING, NULL),
                               "-d", n->info,
                               "-X", "stream",
                               "-S", n->slot,
                               "-c", "fast",
                               "-l", "fulmar",
                               "-P", "--no-password",
                               NULL};
    return run_program(n, exited, "pg_basebackup", arg);
}

static enum fm_pg_went rewind_(struct fm_pg_node *n, void (*exited)(struct fm_child *, int))
{
    char a[FM_PG_PATH_ROOM];
    const char *arg[] = {
        "-D", in(n, a, FM_PG_MAKING, NULL), "--source-server", n->info_sql, "-P", NULL, NULL};
    n->flushes = fm_pg_syncs_as_one(n, FM_PG_MAKING);
    if (n->flushes)
        arg[FM_COUNT(arg) - 2] = "--no-sync";
    return run_program(n, exited, "pg_rewind", arg);
}

/* File by file, as pg_rewind does it, each costs a flush of the disk, changed or not. */
static enum fm_pg_went flush(struct fm_pg_node *n, void (*exited)(struct fm_child *, int))
{
    char a[FM_PG_PATH_ROOM];
    if (!n->flushes)
        return FM_PG_DONE;
    struct fm_chore *c = fm_chore_new();
    if (c)
        fm_chore_sync_all(c, in(n, a, FM_PG_MAKING, NULL));
    return run_chore(n, exited, c);
}

static enum fm_pg_went promote(struct fm_pg_node *n, void (*exited)(struct fm_child *, int))
{
    char a[FM_PG_PATH_ROOM];
    const char *const arg[] = {"promote", "-D", in(n, a, NULL, NULL), "-W", NULL};
    return run_program(n, exited, "pg_ctl", arg);
}

/* -------- timelines -------- */

static enum fm_pg_went numbers(struct fm_pg_node *n, void (*exited)(struct fm_child *, int))
{
    static const struct fm_str text =
        FM_STR_INIT("# A number that another node of the group may have: nothing comes of it.\n");
    uint32_t now = fm_pg_control_timeline(&n->look.control).n;
    if (n->wanted.n == 0)
        return FM_PG_DONE;
    if (n->wanted.n <= now || n->wanted.n - now > NUMBERS_MAX) {
        fm_pg_step_why(n, "it is on timeline %u, which cannot become %u", now, n->wanted.n);
        return FM_PG_FAILED;
    }
    struct fm_chore *c = fm_chore_new();
    for (uint32_t t = now + 1; c && t < n->wanted.n; t++) {
        char name[32], a[FM_PG_PATH_ROOM];
        snprintf(name, sizeof name, "pg_wal/%08X.history", t);
        fm_chore_write_new(c, in(n, a, NULL, name), text);
    }
    return run_chore(n, exited, c);
}

/* -------- which is there -------- */

static bool found_fits(struct fm_pg_node *n)
{
    enum fm_pg_found f = n->look.found;
    switch (n->outcome.operation) {
    case FM_PG_OP_LOOK:
    case FM_PG_OP_PRUNE:
        return true;
    case FM_PG_OP_MAKE:
        if (f == FM_PG_NOTHING || f == FM_PG_UNFINISHED)
            return true;
        fm_pg_step_why(n, "there are %s in %s already",
                       f == FM_PG_DATA ? "data of PostgreSQL" : "files of somebody", n->data);
        return false;
    case FM_PG_OP_CLONE:
        if (f != FM_PG_FOREIGN)
            return true;
        fm_pg_step_why(n, "there are files of somebody in %s", n->data);
        return false;
    case FM_PG_OP_CONFIGURE:
    case FM_PG_OP_REWIND:
    case FM_PG_OP_RESCUE:
    case FM_PG_OP_PROMOTE:
        if (f == FM_PG_DATA || (n->outcome.way == FM_PG_CLONED && f != FM_PG_FOREIGN))
            return true;
        fm_pg_step_why(n, "there is no data directory that is whole: %s", n->data);
        return false;
    }
    FM_UNREACHABLE();
}

static bool take_control(struct fm_pg_node *n)
{
    struct fm_error e;
    struct fm_str said = fm_str(n->said, n->child.output_n);
    if (fm_pg_control_parse(&n->look.control, said, &e) == FM_ERR_OK)
        return true;
    fm_pg_step_why(n, "%s", e.msg);
    return false;
}

static enum fm_pg_relation relation(const struct fm_pg_node *n)
{
    return fm_pg_control_relation(&n->look.control, &n->look.history, n->look.control.system_id,
                                  &n->theirs);
}

/* A copy that was never started has the control data of its source. */
static bool may_be_rewound(struct fm_pg_node *n)
{
    enum fm_pg_relation r = relation(n);
    if (r == FM_PG_STRANGER || (r == FM_PG_UNSURE && n->look.is_copy)) {
        fm_pg_step_why(n, r == FM_PG_STRANGER ? "it has nothing in common with its upstream"
                                              : "it is a copy that was never started");
        return false;
    }
    n->outcome.way = r == FM_PG_FOLLOWS ? FM_PG_AS_IT_WAS : FM_PG_REWOUND;
    return true;
}

static enum fm_pg_went verify(struct fm_pg_node *n)
{
    if (!take_control(n) || !fm_pg_read_history(n, fm_pg_control_timeline(&n->look.control)))
        return FM_PG_FAILED;
    if (relation(n) == FM_PG_FOLLOWS)
        return FM_PG_DONE;
    fm_pg_step_why(n, "pg_rewind ended, and it %s", fm_pg_relation_text(relation(n)));
    return FM_PG_AGAIN;
}

/* -------- all of them -------- */

static enum fm_pg_went at_once(bool good)
{
    return good ? FM_PG_DONE : FM_PG_FAILED;
}

enum fm_pg_went fm_pg_step_run(struct fm_pg_node *n, enum fm_pg_step s,
                               void (*exited)(struct fm_child *, int))
{
    switch (s) {
    case FM_PG_STEP_END:
        break;
    case FM_PG_STEP_FOLDER:
        return at_once(make_folder(n));
    case FM_PG_STEP_SETTLE:
        return settle(n, exited);
    case FM_PG_STEP_ALONE:
        return at_once(is_alone(n));
    case FM_PG_STEP_FIND:
        return at_once(fm_pg_find(n) && found_fits(n));
    case FM_PG_STEP_FOUND:
        return at_once(fm_pg_find(n));
    case FM_PG_STEP_CONTROL:
    case FM_PG_STEP_VERIFY:
        return control(n, exited);
    case FM_PG_STEP_HISTORY:
        return at_once(fm_pg_read_history(n, fm_pg_control_timeline(&n->look.control)));
    case FM_PG_STEP_JUDGE:
        return at_once(may_be_rewound(n));
    case FM_PG_STEP_SECRETS:
        return secrets(n, exited);
    case FM_PG_STEP_SLOT:
        return slot(n, exited);
    case FM_PG_STEP_ENTER:
        return enter(n, exited);
    case FM_PG_STEP_REWIND:
        return rewind_(n, exited);
    case FM_PG_STEP_FLUSH:
        return flush(n, exited);
    case FM_PG_STEP_BEGIN:
        return begin(n, exited);
    case FM_PG_STEP_EMPTY:
        return empty(n, exited);
    case FM_PG_STEP_INITDB:
        return initdb(n, exited);
    case FM_PG_STEP_COPY:
        return copy(n, exited);
    case FM_PG_STEP_FILES:
        return files(n, exited);
    case FM_PG_STEP_LEAVE:
        return leave(n, exited);
    case FM_PG_STEP_OUTLIVE:
        return at_once(outlive(n));
    case FM_PG_STEP_KEEP:
        return keep(n, exited);
    case FM_PG_STEP_PRUNE:
        return prune(n, exited);
    case FM_PG_STEP_NUMBERS:
        return numbers(n, exited);
    case FM_PG_STEP_PROMOTE:
        return promote(n, exited);
    }
    FM_UNREACHABLE();
}

enum fm_pg_went fm_pg_step_after(struct fm_pg_node *n, enum fm_pg_step s)
{
    if (s == FM_PG_STEP_CONTROL)
        return at_once(take_control(n));
    if (s == FM_PG_STEP_VERIFY)
        return verify(n);
    if (s == FM_PG_STEP_KEEP)
        return at_once(take_kept(n));
    if (s == FM_PG_STEP_LEAVE)
        n->inside = false;
    return FM_PG_DONE;
}
