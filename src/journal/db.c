/* See the header. Invariant: after `failed` is set no statement is stepped any more, so nothing
 * reaches the disk behind a failed write or fsync. */
#include "journal/db.h"

#include "base/assert.h"
#include "base/file.h"

#include <limits.h>
#include <stdarg.h>

enum { BUSY_MS = 5000, CACHE_KIB = 65536 };

static const char *const sql_text[FM_SQL_COUNT] = {
#define X(id, sql) [FM_SQL_##id] = sql,
    FM_STATEMENTS(X)
#undef X
};

static void failed(struct fm_db *d, const char *doing)
{
    if (d->failed)
        return;
    d->failed = true;
    int code = sqlite3_extended_errcode(d->h), sys = sqlite3_system_errno(d->h);
    (void)fm_error_set(&d->why, FM_ERR_IO, "%s: %s (SQLite %d%s%s)", doing, sqlite3_errmsg(d->h),
                       code, sys ? ", " : "", sys ? strerrordesc_np(sys) : "");
}

void fm_db_damaged(struct fm_db *d, const char *what, uint64_t seq)
{
    if (d->failed)
        return;
    d->failed = true;
    (void)fm_error_set(&d->why, FM_ERR_IO, "the journal is damaged: %s at %llu", what,
                       (unsigned long long)seq);
}

/* -------- open and close -------- */

static int wal_grew(void *user, sqlite3 *h, const char *name, int pages)
{
    (void)h;
    (void)name;
    ((struct fm_db *)user)->wal_pages = pages;
    return SQLITE_OK;
}

/* SQLite gives its WAL the mode of the file, and it would make that readable by others; and a new
 * name is only durable with its folder. */
static enum fm_err create(const char *path, struct fm_error *e)
{
    enum fm_err err = fm_file_create(path, fm_str(NULL, 0), 0600, e);
    return err == FM_ERR_EXISTS ? FM_ERR_OK : err;
}

static bool is_wal(sqlite3 *h)
{
    sqlite3_stmt *s = NULL;
    bool yes = sqlite3_prepare_v2(h, "PRAGMA journal_mode", -1, &s, NULL) == SQLITE_OK &&
               sqlite3_step(s) == SQLITE_ROW &&
               strcmp((const char *)sqlite3_column_text(s, 0), "wal") == 0;
    sqlite3_finalize(s);
    return yes;
}

static enum fm_err configure(struct fm_db *d, struct fm_error *e)
{
    static const char *const pragmas[] = {
        "PRAGMA journal_mode=WAL",    "PRAGMA synchronous=FULL",  "PRAGMA secure_delete=FAST",
        "PRAGMA locking_mode=NORMAL", "PRAGMA cache_size=-65536", "PRAGMA trusted_schema=OFF",
        "PRAGMA temp_store=MEMORY",
    };
    _Static_assert(CACHE_KIB == 65536, "as in the pragma");
    sqlite3_busy_timeout(d->h, BUSY_MS);
    for (size_t i = 0; i < FM_COUNT(pragmas); i++)
        if (sqlite3_exec(d->h, pragmas[i], NULL, NULL, NULL) != SQLITE_OK) {
            failed(d, pragmas[i]);
            return fm_error_set(e, d->why.code, "%s", d->why.msg);
        }
    if (!is_wal(d->h)) /* a file system without shared memory gives another mode, without a word */
        return fm_error_set(e, FM_ERR_IO, "the journal cannot have a write-ahead log here");
    sqlite3_wal_autocheckpoint(d->h, 0); /* when it suits us: fm_db_checkpoint */
    sqlite3_wal_hook(d->h, wal_grew, d);
    return FM_ERR_OK;
}

enum fm_err fm_db_open(struct fm_db *d, const char *path, const char *vfs, struct fm_error *e)
{
    *d = (struct fm_db){0};
    enum fm_err err = create(path, e);
    if (err)
        return err;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
                SQLITE_OPEN_EXRESCODE;
    if (sqlite3_open_v2(path, &d->h, flags, vfs) != SQLITE_OK) {
        failed(d, path);
        return fm_error_set(e, d->why.code, "%s", d->why.msg);
    }
    return configure(d, e);
}

enum fm_err fm_db_settle_wal(struct fm_db *d, struct fm_error *e)
{
    int rc = sqlite3_wal_checkpoint_v2(d->h, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    if (rc == SQLITE_OK)
        return FM_ERR_OK;
    if ((rc & 0xff) == SQLITE_BUSY)
        return fm_error_set(e, FM_ERR_STATE, "somebody has been reading the journal for too long");
    return fm_error_set(e, FM_ERR_IO, "cannot settle the write-ahead log: %s",
                        sqlite3_errmsg(d->h));
}

enum fm_err fm_db_prepare(struct fm_db *d, struct fm_error *e)
{
    for (unsigned i = 0; i < FM_SQL_COUNT; i++) {
        FM_ASSERT(!d->stmt[i]);
        if (sqlite3_prepare_v3(d->h, sql_text[i], -1, SQLITE_PREPARE_PERSISTENT, &d->stmt[i],
                               NULL) != SQLITE_OK) {
            failed(d, sql_text[i]);
            return fm_error_set(e, d->why.code, "%s", d->why.msg);
        }
    }
    return FM_ERR_OK;
}

void fm_db_close(struct fm_db *d)
{
    for (unsigned i = 0; i < FM_SQL_COUNT; i++)
        sqlite3_finalize(d->stmt[i]);
    if (d->failed && d->h)
        sqlite3_db_config(d->h, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    int rc = sqlite3_close(d->h);
    FM_ASSERT(rc == SQLITE_OK); /* else a statement was forgotten */
    d->h = NULL;
}

/* -------- statements -------- */

static int bind_one(sqlite3_stmt *s, int at, char type, va_list *ap)
{
    if (type == 'i')
        return sqlite3_bind_int64(s, at, va_arg(*ap, int64_t));
    struct fm_str v = va_arg(*ap, struct fm_str);
    FM_ASSERT(v.n <= INT_MAX);
    const char *p = v.p ? v.p : "";
    if (type == 't')
        return sqlite3_bind_text(s, at, p, (int)v.n, SQLITE_STATIC);
    FM_ASSERT(type == 'b');
    return sqlite3_bind_blob(s, at, p, (int)v.n, SQLITE_STATIC);
}

static void bind_all(struct fm_db *d, enum fm_sql id, const char *types, va_list *ap)
{
    FM_ASSERT(id < FM_SQL_COUNT && d->stmt[id]);
    FM_ASSERT((int)strlen(types) == sqlite3_bind_parameter_count(d->stmt[id]));
    for (int i = 0; types[i] && !d->failed; i++)
        if (bind_one(d->stmt[id], i + 1, types[i], ap) != SQLITE_OK)
            failed(d, sql_text[id]);
}

void fm_db_bind(struct fm_db *d, enum fm_sql id, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    bind_all(d, id, types, &ap);
    va_end(ap);
}

bool fm_db_row(struct fm_db *d, enum fm_sql id)
{
    if (d->failed)
        return false;
    int rc = sqlite3_step(d->stmt[id]);
    if (rc == SQLITE_ROW)
        return true;
    if (rc != SQLITE_DONE)
        failed(d, sql_text[id]);
    sqlite3_reset(d->stmt[id]);
    return false;
}

void fm_db_reset(struct fm_db *d, enum fm_sql id)
{
    sqlite3_reset(d->stmt[id]);
}

bool fm_db_run(struct fm_db *d, enum fm_sql id, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    bind_all(d, id, types, &ap);
    va_end(ap);
    bool row = fm_db_row(d, id);
    FM_ASSERT(!row);
    return !d->failed;
}

int fm_db_changes(const struct fm_db *d)
{
    return sqlite3_changes(d->h);
}

int64_t fm_db_i64(const struct fm_db *d, enum fm_sql id, int column)
{
    return sqlite3_column_int64(d->stmt[id], column);
}

static struct fm_str column_str(sqlite3_stmt *s, int column)
{
    const char *p = sqlite3_column_blob(s, column); /* first: the length is of what it gives */
    return fm_str(p, (size_t)sqlite3_column_bytes(s, column));
}

struct fm_str fm_db_str(const struct fm_db *d, enum fm_sql id, int column)
{
    return column_str(d->stmt[id], column);
}

bool fm_db_is_null(const struct fm_db *d, enum fm_sql id, int column)
{
    return sqlite3_column_type(d->stmt[id], column) == SQLITE_NULL;
}

bool fm_db_entry(sqlite3_stmt *s, struct fm_journal_entry *out)
{
    struct fm_str hash = column_str(s, 3);
    *out = (struct fm_journal_entry){
        .seq = (uint64_t)sqlite3_column_int64(s, 0),
        .context = column_str(s, 1),
        .key = column_str(s, 2),
        .cell = (uint32_t)sqlite3_column_int64(s, 4),
        .epoch = (uint64_t)sqlite3_column_int64(s, 5),
        .tries = (uint32_t)sqlite3_column_int64(s, 6),
        .at_ms = sqlite3_column_int64(s, 7),
        .state = FM_IDEM_IN_FLIGHT,
    };
    if (hash.n != FM_IDEM_HASH_LEN || !fm_idem_key_is_valid(out->key) || out->context.n == 0 ||
        out->context.n > FM_JOURNAL_CONTEXT_MAX)
        return false;
    memcpy(out->hash.b, hash.p, FM_IDEM_HASH_LEN);
    if (sqlite3_column_type(s, 8) == SQLITE_NULL)
        return true;
    int64_t state = sqlite3_column_int64(s, 8);
    out->state = (enum fm_idem_known)state;
    out->settled_ms = sqlite3_column_int64(s, 10);
    out->answer = (struct fm_journal_answer){.status = (uint16_t)sqlite3_column_int64(s, 9),
                                             .kept = sqlite3_column_int64(s, 11) != 0,
                                             .head = column_str(s, 12),
                                             .body = column_str(s, 13)};
    return state == FM_IDEM_UNKNOWN || state == FM_IDEM_DONE;
}

int64_t fm_db_key_hash(struct fm_hash_key k, struct fm_str context, struct fm_str key)
{
    char text[FM_JOURNAL_CONTEXT_MAX + 1 + FM_IDEM_KEY_MAX];
    FM_ASSERT(context.n + 1 + key.n <= sizeof text);
    memcpy(text, context.p, context.n);
    text[context.n] = 0;
    memcpy(text + context.n + 1, key.p, key.n);
    return (int64_t)fm_hash(k, text, context.n + 1 + key.n);
}

void fm_db_checkpoint(struct fm_db *d)
{
    if (d->failed)
        return;
    int in_wal = 0, moved = 0;
    int rc = sqlite3_wal_checkpoint_v2(d->h, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_wal, &moved);
    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY)
        failed(d, "checkpoint");
    else if (in_wal >= 0 && moved >= in_wal)
        d->wal_pages = 0; /* the next commit begins it anew */
}
