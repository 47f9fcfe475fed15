/* The bank's data. An effect and its idempotency key commit together or not at all; that is all it
 * takes to make a command safe to repeat. The epoch of its cell is compared and kept in the same
 * transaction; that is all it takes to refuse whoever held the cell before, however late he comes.
 * `effects` has no unique key on purpose: if something were ever applied twice, it would show
 * there. */
#include "bank.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ST_BEGIN,
    ST_COMMIT,
    ST_ROLLBACK,
    ST_FENCE,
    ST_FIND,
    ST_KEY,
    ST_EFFECT,
    ST_DEBIT,
    ST_FREEZE,
    ST_PROFILE,
    ST_BALANCE,
    ST_GET_PROFILE,
    ST_GET_CARD,
    ST_COUNT
};

struct bank_db {
    sqlite3 *db;
    sqlite3_stmt *st[ST_COUNT];
};

static const char schema[] =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
    "CREATE TABLE IF NOT EXISTS accounts (id TEXT PRIMARY KEY, balance INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS cards (id TEXT PRIMARY KEY, frozen INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS profiles (id TEXT PRIMARY KEY, text TEXT NOT NULL);"
    "CREATE TABLE IF NOT EXISTS authority (cell TEXT PRIMARY KEY, epoch INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS keys (key TEXT PRIMARY KEY, answer TEXT NOT NULL);"
    "CREATE TABLE IF NOT EXISTS effects (key TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,"
    " amount INTEGER NOT NULL, cell TEXT NOT NULL, epoch INTEGER NOT NULL);";

static const char *const statements[ST_COUNT] = {
    [ST_BEGIN] = "BEGIN IMMEDIATE",
    [ST_COMMIT] = "COMMIT",
    [ST_ROLLBACK] = "ROLLBACK",
    /* the row only grows; no row comes back where it is newer than the command */
    [ST_FENCE] = ("INSERT INTO authority VALUES (?1, ?2) ON CONFLICT (cell) "
                  "DO UPDATE SET epoch = ?2 WHERE epoch <= ?2 RETURNING epoch"),
    [ST_FIND] = "SELECT answer FROM keys WHERE key = ?1",
    [ST_KEY] = "INSERT INTO keys VALUES (?1, ?2)",
    [ST_EFFECT] = "INSERT INTO effects VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [ST_DEBIT] = ("INSERT INTO accounts VALUES (?1, 1000000 - ?2) ON CONFLICT (id) "
                  "DO UPDATE SET balance = balance - ?2 RETURNING balance"),
    [ST_FREEZE] = "INSERT INTO cards VALUES (?1, 1) ON CONFLICT (id) DO UPDATE SET frozen = 1",
    [ST_PROFILE] = "INSERT INTO profiles VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET text = ?2",
    [ST_BALANCE] = "SELECT balance FROM accounts WHERE id = ?1",
    [ST_GET_PROFILE] = "SELECT text FROM profiles WHERE id = ?1",
    [ST_GET_CARD] = "SELECT frozen FROM cards WHERE id = ?1",
};

struct bank_db *bank_db_open(const char *path)
{
    struct bank_db *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    if (sqlite3_open(path, &d->db) != SQLITE_OK ||
        sqlite3_exec(d->db, schema, NULL, NULL, NULL) != SQLITE_OK) {
        fprintf(stderr, "bank store: %s: %s\n", path, sqlite3_errmsg(d->db));
        bank_db_close(d);
        return NULL;
    }
    for (int i = 0; i < ST_COUNT; i++)
        if (sqlite3_prepare_v2(d->db, statements[i], -1, &d->st[i], NULL) != SQLITE_OK) {
            fprintf(stderr, "bank store: %s\n", sqlite3_errmsg(d->db));
            bank_db_close(d);
            return NULL;
        }
    return d;
}

void bank_db_close(struct bank_db *d)
{
    for (int i = 0; i < ST_COUNT; i++)
        sqlite3_finalize(d->st[i]);
    sqlite3_close(d->db);
    free(d);
}

static void bind_text(sqlite3_stmt *s, int at, const char *text)
{
    sqlite3_bind_text(s, at, text, -1, SQLITE_TRANSIENT);
}

static bool run(struct bank_db *d, int st)
{
    sqlite3_stmt *s = d->st[st];
    int rc = sqlite3_step(s);
    sqlite3_reset(s);
    return rc == SQLITE_DONE || rc == SQLITE_ROW;
}

/* The effect itself; its answer goes to out. */
static bool effect(struct bank_db *d, const struct bank_effect *e, struct fm_buf *out)
{
    if (strcmp(e->kind, "debit") == 0) {
        sqlite3_stmt *s = d->st[ST_DEBIT];
        bind_text(s, 1, e->id);
        sqlite3_bind_int64(s, 2, e->amount);
        bool ok = sqlite3_step(s) == SQLITE_ROW;
        fm_buf_printf(out, "{\"account\":\"%s\",\"debited\":%lld,\"balance\":%lld}\n", e->id,
                      (long long)e->amount, ok ? (long long)sqlite3_column_int64(s, 0) : 0LL);
        sqlite3_reset(s);
        return ok;
    }
    if (strcmp(e->kind, "freeze") == 0) {
        bind_text(d->st[ST_FREEZE], 1, e->id);
        fm_buf_printf(out, "{\"card\":\"%s\",\"frozen\":true}\n", e->id);
        return run(d, ST_FREEZE);
    }
    bind_text(d->st[ST_PROFILE], 1, e->id);
    bind_text(d->st[ST_PROFILE], 2, e->text);
    fm_buf_printf(out, "{\"profile\":\"%s\",\"stored\":true}\n", e->id);
    return run(d, ST_PROFILE);
}

static bool remember(struct bank_db *d, const struct bank_effect *e, struct fm_str answer)
{
    sqlite3_stmt *k = d->st[ST_KEY], *f = d->st[ST_EFFECT];
    bind_text(k, 1, e->key);
    sqlite3_bind_text(k, 2, answer.p, (int)answer.n, SQLITE_TRANSIENT);
    bind_text(f, 1, e->key);
    bind_text(f, 2, e->kind);
    bind_text(f, 3, e->id);
    sqlite3_bind_int64(f, 4, e->amount);
    bind_text(f, 5, e->authority.cell);
    sqlite3_bind_int64(f, 6, (sqlite3_int64)e->authority.epoch);
    return run(d, ST_KEY) && run(d, ST_EFFECT);
}

static bool found(struct bank_db *d, const char *key, struct fm_buf *out)
{
    sqlite3_stmt *s = d->st[ST_FIND];
    bind_text(s, 1, key);
    bool there = sqlite3_step(s) == SQLITE_ROW;
    if (there)
        fm_buf_add(out, sqlite3_column_text(s, 0), (size_t)sqlite3_column_bytes(s, 0));
    sqlite3_reset(s);
    return there;
}

/* (*) Whoever held this cell under an older epoch than one that has written here is too late. */
static enum bank_applied pass_fence(struct bank_db *d, const struct bank_authority *a)
{
    sqlite3_stmt *s = d->st[ST_FENCE];
    if (!a->cell[0])
        return BANK_APPLIED;
    bind_text(s, 1, a->cell);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)a->epoch);
    int rc = sqlite3_step(s);
    sqlite3_reset(s);
    return rc == SQLITE_ROW ? BANK_APPLIED : rc == SQLITE_DONE ? BANK_OLDER_EPOCH : BANK_FAILED;
}

static bool once(struct bank_db *d, const struct bank_effect *e, struct fm_buf *out)
{
    size_t start = out->n;
    return (e->key[0] && found(d, e->key, out)) ||
           (effect(d, e, out) &&
            (!e->key[0] || remember(d, e, fm_str(out->p + start, out->n - start))));
}

enum bank_applied bank_db_apply(struct bank_db *d, const struct bank_effect *e, struct fm_buf *out)
{
    if (!run(d, ST_BEGIN))
        return BANK_FAILED;
    enum bank_applied r = pass_fence(d, &e->authority);
    if (r == BANK_APPLIED && !(once(d, e, out) && run(d, ST_COMMIT)))
        r = BANK_FAILED;
    if (r != BANK_APPLIED)
        run(d, ST_ROLLBACK);
    return r;
}

bool bank_db_read(struct bank_db *d, const char *kind, const char *id, struct fm_buf *out)
{
    bool ledger = strcmp(kind, "ledger") == 0, card = strcmp(kind, "card") == 0;
    sqlite3_stmt *s = d->st[ledger ? ST_BALANCE : card ? ST_GET_CARD : ST_GET_PROFILE];
    bind_text(s, 1, id);
    int rc = sqlite3_step(s);
    bool there = rc == SQLITE_ROW;
    if (ledger)
        fm_buf_printf(out, "{\"account\":\"%s\",\"balance\":%lld}\n", id,
                      there ? (long long)sqlite3_column_int64(s, 0) : 1000000LL);
    else if (card)
        fm_buf_printf(out, "{\"card\":\"%s\",\"frozen\":%s}\n", id,
                      there && sqlite3_column_int(s, 0) ? "true" : "false");
    else
        fm_buf_printf(out, "{\"profile\":\"%s\",\"text\":\"%s\"}\n", id,
                      there ? (const char *)sqlite3_column_text(s, 0) : "");
    sqlite3_reset(s);
    return there || rc == SQLITE_DONE;
}

char *bank_db_keys(struct bank_db *d, size_t *n)
{
    sqlite3_stmt *s;
    static const char sql[] = "SELECT key, count(*) FROM effects GROUP BY key";
    if (sqlite3_prepare_v2(d->db, sql, -1, &s, NULL) != SQLITE_OK)
        return NULL;
    size_t cap = 64 * 1024;
    char *p = malloc(cap);
    *n = 0;
    while (p && sqlite3_step(s) == SQLITE_ROW) {
        char line[BANK_TEXT_MAX + 32];
        int len = snprintf(line, sizeof line, "%s %lld\n", (const char *)sqlite3_column_text(s, 0),
                           (long long)sqlite3_column_int64(s, 1));
        if (*n + (size_t)len > cap) {
            char *more = realloc(p, cap *= 2);
            if (!more) {
                free(p);
                p = NULL;
                break;
            }
            p = more;
        }
        memcpy(p + *n, line, (size_t)len);
        *n += (size_t)len;
    }
    sqlite3_finalize(s);
    return p;
}

void bank_db_epochs(struct bank_db *d, struct fm_buf *out)
{
    sqlite3_stmt *s;
    static const char sql[] = "SELECT cell, epoch FROM authority ORDER BY cell";
    if (sqlite3_prepare_v2(d->db, sql, -1, &s, NULL) != SQLITE_OK)
        return;
    while (sqlite3_step(s) == SQLITE_ROW)
        fm_buf_printf(out, "%s %lld\n", (const char *)sqlite3_column_text(s, 0),
                      (long long)sqlite3_column_int64(s, 1));
    sqlite3_finalize(s);
}
