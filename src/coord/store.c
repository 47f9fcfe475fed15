/* The SQLite file of coordination: opening, reading and writing it; see the header. Invariants: the
 * revision grows by one with each transaction that changes something, as in etcd; whatever a job is
 * answered has been committed, durably, before. No thread of its own: store_thread.c has that. */
#include "coord/store.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/rand.h"
#include "coord/store_text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FORMAT = 1, WATCH_BYTES = 1 << 20 };

#define STATEMENTS(X)                                                                              \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                    \
    X(COMMIT, "COMMIT")                                                                            \
    X(META_GET, "SELECT v FROM meta WHERE k = ?1")                                                 \
    X(META_SET, "INSERT OR REPLACE INTO meta (k, v) VALUES (?1, ?2)")                              \
    X(GET, "SELECT key, value, created, changed, version FROM kv WHERE key = ?1")                  \
    X(RANGE, "SELECT key, value, created, changed, version FROM kv WHERE key >= ?1 AND key < ?2 "  \
             "ORDER BY key")                                                                       \
    X(PUT, "INSERT INTO kv (key, value, created, changed, version) VALUES (?1, ?2, ?3, ?3, 1) "    \
           "ON CONFLICT (key) DO UPDATE SET value = ?2, changed = ?3, version = version + 1")      \
    X(ERASE, "DELETE FROM kv WHERE key = ?1")                                                      \
    X(LOG, "INSERT INTO log (revision, n, key, value, erased) VALUES (?1, ?2, ?3, ?4, ?5)")        \
    X(SINCE, "SELECT revision, key, value, erased FROM log WHERE revision >= ?1 AND key >= ?2 "    \
             "AND key < ?3 ORDER BY revision, n")                                                  \
    X(FORGET, "DELETE FROM log WHERE revision < ?1")

enum statement {
#define X(name, sql) STMT_##name,
    STATEMENTS(X)
#undef X
        STMT_COUNT
};

struct fm_store_file {
    sqlite3 *db;
    sqlite3_stmt *stmt[STMT_COUNT];
    int lock_fd;
    uint64_t revision, compacted, cluster;
    bool failed;
    char why[120];
};

/* -------- errors: one is enough -------- */

static bool fail(struct fm_store_file *f, const char *doing)
{
    if (!f->failed) {
        snprintf(f->why, sizeof f->why, "%s: %s", doing, sqlite3_errmsg(f->db));
        fm_log(FM_LOG_ERROR, "coordination_file_failed", FM_KZ("why", f->why));
    }
    f->failed = true;
    return false;
}

static sqlite3_stmt *start(struct fm_store_file *f, enum statement i)
{
    sqlite3_reset(f->stmt[i]);
    return f->stmt[i];
}

static void bind_u64(sqlite3_stmt *s, int at, uint64_t v)
{
    FM_ASSERT(v <= INT64_MAX);
    (void)sqlite3_bind_int64(s, at, (sqlite3_int64)v);
}

static void bind_bytes(sqlite3_stmt *s, int at, struct fm_str v)
{
    /* an empty view may have no address, and NULL is not the same as empty */
    (void)sqlite3_bind_blob64(s, at, v.n ? v.p : "", v.n, SQLITE_STATIC);
}

/* A statement without rows. */
static bool execute(struct fm_store_file *f, sqlite3_stmt *s, const char *doing)
{
    int rc = sqlite3_step(s);
    sqlite3_reset(s);
    return rc == SQLITE_DONE || fail(f, doing);
}

static struct fm_str column(sqlite3_stmt *s, int at)
{
    const char *p = sqlite3_column_blob(s, at);
    return fm_str(p ? p : "", (size_t)sqlite3_column_bytes(s, at));
}

static bool meta_u64(struct fm_store_file *f, const char *name, uint64_t *out)
{
    sqlite3_stmt *s = start(f, STMT_META_GET);
    (void)sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        *out = (uint64_t)sqlite3_column_int64(s, 0);
    sqlite3_reset(s);
    return rc == SQLITE_ROW;
}

static bool set_meta_u64(struct fm_store_file *f, const char *name, uint64_t v)
{
    sqlite3_stmt *s = start(f, STMT_META_SET);
    (void)sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(s, 2, (sqlite3_int64)v);
    return execute(f, s, "cannot write the file's own data");
}

/* -------- reading -------- */

static void add_row(struct fm_store_text *t, sqlite3_stmt *s, bool first)
{
    struct fm_store_kv kv = {column(s, 0), column(s, 1), (uint64_t)sqlite3_column_int64(s, 2),
                             (uint64_t)sqlite3_column_int64(s, 3),
                             (uint64_t)sqlite3_column_int64(s, 4)};
    fm_store_text_kv(t, &kv, first);
}

/* [key, end), or the one key; returns how many. */
static size_t read_keys(struct fm_store_file *f, struct fm_store_text *t, struct fm_str key,
                        struct fm_str end)
{
    sqlite3_stmt *s = start(f, end.n ? STMT_RANGE : STMT_GET);
    size_t n = 0;
    int rc;
    bind_bytes(s, 1, key);
    if (end.n)
        bind_bytes(s, 2, end);
    while ((rc = sqlite3_step(s)) == SQLITE_ROW && !t->full)
        add_row(t, s, n++ == 0);
    if (rc != SQLITE_DONE && !t->full)
        (void)fail(f, "cannot read");
    sqlite3_reset(s);
    return n;
}

static void work_range(struct fm_store_file *f, struct fm_store_job *j, struct fm_store_text *t)
{
    fm_store_text_header(t, f->cluster, f->revision);
    fm_store_text_lit(t, ",\"kvs\":[");
    size_t n = read_keys(f, t, j->ask->key, j->ask->end);
    fm_store_text_printf(t, "],\"count\":\"%zu\"}", n);
}

/* -------- transactions -------- */

static bool compare_holds(struct fm_store_file *f, const struct fm_coord_compare *c)
{
    sqlite3_stmt *s = start(f, STMT_GET);
    bind_bytes(s, 1, c->key);
    int rc = sqlite3_step(s);
    uint64_t changed = rc == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(s, 3) : 0;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        (void)fail(f, "cannot read");
    sqlite3_reset(s);
    return changed == c->revision;
}

/* True where it changed something. */
static bool write_one(struct fm_store_file *f, const struct fm_coord_write *w, uint64_t revision,
                      size_t n)
{
    sqlite3_stmt *s = start(f, w->erase ? STMT_ERASE : STMT_PUT);
    bind_bytes(s, 1, w->key);
    if (!w->erase) {
        bind_bytes(s, 2, w->value);
        bind_u64(s, 3, revision);
    }
    if (!execute(f, s, "cannot write") || (w->erase && sqlite3_changes(f->db) == 0))
        return false;
    s = start(f, STMT_LOG);
    bind_u64(s, 1, revision);
    bind_u64(s, 2, n);
    bind_bytes(s, 3, w->key);
    bind_bytes(s, 4, w->value);
    (void)sqlite3_bind_int(s, 5, w->erase);
    return execute(f, s, "cannot write the history");
}

static void work_txn(struct fm_store_file *f, struct fm_store_job *j, struct fm_store_text *t)
{
    const struct fm_ask *a = j->ask;
    bool holds = true, changed = false;
    for (size_t i = 0; i < a->ncompare && holds; i++)
        holds = compare_holds(f, &a->compare[i]);
    for (size_t i = 0; holds && i < a->nwrite && !f->failed; i++)
        changed |= write_one(f, &a->write[i], f->revision + 1, i);
    f->revision += changed;
    fm_store_text_header(t, f->cluster, f->revision);
    if (holds) {
        fm_store_text_lit(t, ",\"succeeded\":true}");
        return;
    }
    fm_store_text_lit(t, ",\"responses\":[");
    for (size_t i = 0; i < a->nread; i++) {
        fm_store_text_printf(t, "%s{\"response_range\":{\"kvs\":[", i ? "," : "");
        (void)read_keys(f, t, a->read[i], fm_str(NULL, 0));
        fm_store_text_lit(t, "]}}");
    }
    fm_store_text_lit(t, "]}");
}

static void forget(struct fm_store_file *f, uint64_t below)
{
    sqlite3_stmt *s = start(f, STMT_FORGET);
    bind_u64(s, 1, below);
    if (execute(f, s, "cannot shorten the history") && set_meta_u64(f, "compacted", below))
        f->compacted = below;
}

static void work_compact(struct fm_store_file *f, struct fm_store_job *j, struct fm_store_text *t)
{
    if (j->ask->revision > f->compacted && j->ask->revision <= f->revision)
        forget(f, j->ask->revision);
    fm_store_text_header(t, f->cluster, f->revision);
    fm_store_text_lit(t, "}");
}

/* -------- watches -------- */

/* Whole revisions, at least one. */
static void add_events(struct fm_store_file *f, struct fm_store_job *j, struct fm_store_text *t)
{
    sqlite3_stmt *s = start(f, STMT_SINCE);
    size_t n = 0;
    int rc;
    bind_u64(s, 1, j->ask->revision);
    bind_bytes(s, 2, j->ask->key);
    bind_bytes(s, 3, j->ask->end);
    j->through = f->revision;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        uint64_t revision = (uint64_t)sqlite3_column_int64(s, 0);
        if (t->n > WATCH_BYTES && revision > j->through)
            break;
        if (t->n > WATCH_BYTES && j->through == f->revision)
            j->through = revision; /* to its end, then no more */
        struct fm_store_kv kv = {column(s, 1), column(s, 2), 0, revision, 0};
        fm_store_text_event(t, &kv, sqlite3_column_int(s, 3) != 0, n++ == 0);
    }
    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        (void)fail(f, "cannot read the history");
    sqlite3_reset(s);
    j->empty = n == 0;
}

static void work_watch(struct fm_store_file *f, struct fm_store_job *j, struct fm_store_text *t)
{
    fm_store_text_lit(t, "{\"result\":");
    fm_store_text_header(t, f->cluster, f->revision);
    if (j->ask->revision < f->compacted) {
        j->compacted = true;
        fm_store_text_printf(t, ",\"canceled\":true,\"compact_revision\":\"%llu\"}}\n",
                             (unsigned long long)f->compacted);
        return;
    }
    fm_store_text_lit(t, ",\"events\":[");
    add_events(f, j, t);
    fm_store_text_lit(t, "]}}\n");
}

static void work_status(struct fm_store_file *f, struct fm_store_text *t)
{
    sqlite3_int64 pages = 0, size = 0;
    sqlite3_stmt *s = NULL;
    const char *sql = "SELECT page_count, page_size FROM pragma_page_count, pragma_page_size";
    if (sqlite3_prepare_v2(f->db, sql, -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW) {
        pages = sqlite3_column_int64(s, 0);
        size = sqlite3_column_int64(s, 1);
    }
    sqlite3_finalize(s);
    fm_store_text_header(t, f->cluster, f->revision);
    fm_store_text_printf(
        t, ",\"version\":\"fulmar " FM_VERSION "\",\"dbSize\":\"%lld\",\"leader\":\"1\"}",
        (long long)(pages * size));
}

/* -------- a batch -------- */

static void work_one(struct fm_store_file *f, struct fm_store_job *j)
{
    struct fm_store_text t = {0};
    switch (j->ask->kind) {
    case FM_ASK_RANGE:
        work_range(f, j, &t);
        break;
    case FM_ASK_TXN:
        work_txn(f, j, &t);
        break;
    case FM_ASK_WATCH:
        work_watch(f, j, &t);
        break;
    case FM_ASK_COMPACT:
        work_compact(f, j, &t);
        break;
    case FM_ASK_STATUS:
        work_status(f, &t);
        break;
    case FM_ASK_KINDS:
        FM_UNREACHABLE();
    }
    j->text = t.p;
    j->n = t.n;
    j->revision = f->revision;
    if (t.full) {
        free(t.p);
        j->text = NULL;
        j->n = 0;
    }
}

void fm_store_file_work(struct fm_store_file *f, struct fm_store_job *const *job, size_t n)
{
    uint64_t before = f->revision;
    bool begun = !f->failed && execute(f, start(f, STMT_BEGIN), "cannot begin");
    for (size_t i = 0; begun && i < n && !f->failed; i++)
        work_one(f, job[i]);
    if (begun && !f->failed && f->revision > before)
        (void)set_meta_u64(f, "revision", f->revision);
    if (begun && !f->failed && f->revision > f->compacted + FM_STORE_HISTORY + FM_STORE_HISTORY / 8)
        forget(f, f->revision - FM_STORE_HISTORY);
    if (begun && !f->failed)
        (void)execute(f, start(f, STMT_COMMIT), "cannot commit");
    for (size_t i = 0; i < n && f->failed; i++) {
        job[i]->failed = true;
        snprintf(job[i]->why, sizeof job[i]->why, "%s", f->why);
        free(job[i]->text);
        job[i]->text = NULL;
        job[i]->n = 0;
    }
}

/* -------- opening -------- */

static enum fm_err sql_error(struct fm_store_file *f, struct fm_error *e, const char *path)
{
    int rc = f->db ? sqlite3_errcode(f->db) : SQLITE_NOMEM;
    if (rc == SQLITE_BUSY || rc == SQLITE_LOCKED)
        return fm_error_set(e, FM_ERR_EXISTS, "another process owns %s", path);
    return fm_error_set(e, FM_ERR_IO, "cannot use %s: %s", path,
                        f->db ? sqlite3_errmsg(f->db) : "out of memory");
}

static enum fm_err take_lock(struct fm_store_file *f, const char *path, struct fm_error *e)
{
    char name[PATH_MAX], who[32] = "";
    if (snprintf(name, sizeof name, "%s.lock", path) >= (int)sizeof name)
        return fm_error_set(e, FM_ERR_LIMIT, "the path %s is too long", path);
    f->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (f->lock_fd < 0)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot open %s", name);
    if (flock(f->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        ssize_t n = pread(f->lock_fd, who, sizeof who - 1, 0);
        who[n > 0 ? n : 0] = 0;
        return fm_error_set(e, FM_ERR_EXISTS, "another process owns %s (%s)", path,
                            who[0] ? who : "it has not said which");
    }
    int n = snprintf(who, sizeof who, "process %d", (int)getpid());
    if (ftruncate(f->lock_fd, 0) < 0 || pwrite(f->lock_fd, who, (size_t)n, 0) != n)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot write %s", name);
    return FM_ERR_OK;
}

/* A new file has a name only once its folder is on the disk. */
static enum fm_err make_file(const char *path, struct fm_error *e)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash && slash != folder)
        *slash = 0;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot open %s", path);
    close(fd);
    int dir = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = dir >= 0 && fsync(dir) == 0;
    int err = errno;
    if (dir >= 0)
        close(dir);
    return good ? FM_ERR_OK
                : fm_error_errno(e, FM_ERR_IO, err, "cannot sync the folder of %s", path);
}

static const char *const setup =
    "PRAGMA locking_mode = EXCLUSIVE;"
    "PRAGMA journal_mode = WAL;"
    "PRAGMA synchronous = FULL;"
    "PRAGMA journal_size_limit = 16777216;"
    "BEGIN EXCLUSIVE;"
    "CREATE TABLE IF NOT EXISTS meta (k TEXT PRIMARY KEY, v) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS kv (key BLOB PRIMARY KEY, value BLOB NOT NULL, created INTEGER NOT "
    "NULL, changed INTEGER NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS log (revision INTEGER, n INTEGER, key BLOB NOT NULL, value BLOB "
    "NOT "
    "NULL, erased INTEGER NOT NULL, PRIMARY KEY (revision, n)) WITHOUT ROWID;"
    "COMMIT;";

static bool prepare(struct fm_store_file *f)
{
    static const char *const sql[STMT_COUNT] = {
#define X(name, text) [STMT_##name] = text,
        STATEMENTS(X)
#undef X
    };
    for (size_t i = 0; i < STMT_COUNT; i++)
        if (sqlite3_prepare_v3(f->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &f->stmt[i], NULL))
            return false;
    return true;
}

static bool fill_new(struct fm_store_file *f, const char *service)
{
    uint64_t chance;
    fm_rand_bytes(&chance, sizeof chance);
    if (!execute(f, start(f, STMT_BEGIN), "cannot begin"))
        return false;
    sqlite3_stmt *s = start(f, STMT_META_SET);
    (void)sqlite3_bind_text(s, 1, "service", -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(s, 2, service, -1, SQLITE_STATIC);
    return execute(f, s, "cannot write") && set_meta_u64(f, "cluster", (chance >> 2) | 1) &&
           set_meta_u64(f, "revision", 1) && set_meta_u64(f, "compacted", 0) &&
           set_meta_u64(f, "format", FORMAT) && execute(f, start(f, STMT_COMMIT), "cannot commit");
}

/* Whose file is it? A new one becomes ours. */
static enum fm_err look_inside(struct fm_store_file *f, const char *path, const char *service,
                               struct fm_error *e)
{
    uint64_t format = 0;
    char theirs[FM_COORD_SERVICE_MAX + 1] = "";
    if (!meta_u64(f, "format", &format) && !fill_new(f, service))
        return sql_error(f, e, path);
    sqlite3_stmt *s = start(f, STMT_META_GET);
    (void)sqlite3_bind_text(s, 1, "service", -1, SQLITE_STATIC);
    if (sqlite3_step(s) == SQLITE_ROW)
        snprintf(theirs, sizeof theirs, "%s", (const char *)sqlite3_column_text(s, 0));
    sqlite3_reset(s);
    if (!meta_u64(f, "format", &format) || format != FORMAT)
        return fm_error_set(e, FM_ERR_STATE, "%s has format %llu, and this version knows %d", path,
                            (unsigned long long)format, FORMAT);
    if (strcmp(theirs, service) != 0)
        return fm_error_set(e, FM_ERR_STATE, "%s is of the service `%s`, and this is `%s`", path,
                            theirs, service);
    if (!meta_u64(f, "revision", &f->revision) || !meta_u64(f, "compacted", &f->compacted) ||
        !meta_u64(f, "cluster", &f->cluster))
        return fm_error_set(e, FM_ERR_STATE, "%s is not whole", path);
    return FM_ERR_OK;
}

struct fm_store_file *fm_store_file_open(const char *path, const char *service, struct fm_error *e)
{
    struct fm_store_file *f = calloc(1, sizeof *f);
    if (!f) {
        fm_error_set(e, FM_ERR_MEMORY, "out of memory");
        return NULL;
    }
    f->lock_fd = -1;
    enum fm_err err = take_lock(f, path, e);
    if (!err)
        err = make_file(path, e);
    if (!err && (sqlite3_open_v2(path, &f->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) ||
                 sqlite3_exec(f->db, setup, NULL, NULL, NULL) || !prepare(f)))
        err = sql_error(f, e, path);
    if (!err)
        err = look_inside(f, path, service, e);
    if (!err)
        return f;
    fm_store_file_close(f);
    return NULL;
}

void fm_store_file_close(struct fm_store_file *f)
{
    for (size_t i = 0; i < STMT_COUNT; i++)
        sqlite3_finalize(f->stmt[i]);
    int rc = sqlite3_close(f->db);
    FM_ASSERT(rc == SQLITE_OK);
    if (f->lock_fd >= 0)
        close(f->lock_fd);
    free(f);
}

void fm_store_file_shows(const struct fm_store_file *f, uint64_t *cluster, uint64_t *revision)
{
    *cluster = f->cluster;
    *revision = f->revision;
}
