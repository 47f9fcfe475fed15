/* See the header. Invariant: no statement stays open between two pieces, and none of them writes.
 */
#include "journal/look.h"

#include "base/assert.h"
#include "base/hash.h"
#include "journal/db.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

enum { BUSY_MS = 5000, WINDOW = 10000, SERVICE_MAX = 255 };

/* A queued request in the columns of an entry: of no outcome yet, or of an unknown one (state 3,
 * which is FM_IDEM_UNKNOWN, too). Of one that was delivered where its command is listed as well. */
#define QUEUED_COLUMNS                                                                             \
    "id,context,key,hash,cell,first_epoch,iif(state<3,status,0),at_ms,iif(state<3,NULL,3),"        \
    "0,0,0,NULL,NULL"
#define QUEUED_ROWS " (state<3 OR status=0)"
_Static_assert(FM_IDEM_UNKNOWN == 3, "as in the columns");

enum query { LIST, PREVIOUS, QUEUED, NUMBERS, FIND, FIND_QUEUED, NEW, NEW_QUEUED, QUERIES };

static const char *const query_text[QUERIES] = {
    [LIST] = "SELECT " FM_SQL_ENTRY " FROM command c LEFT JOIN outcome o ON o.seq=c.seq"
             " WHERE c.seq<=?1 AND c.seq>?2 ORDER BY c.seq DESC",
    [PREVIOUS] = "SELECT ifnull(max(seq),0) FROM command WHERE seq<=?1",
    [QUEUED] = "SELECT " QUEUED_COLUMNS " FROM queue WHERE" QUEUED_ROWS " AND id<=?1"
               " ORDER BY id DESC LIMIT ?2",
    [NUMBERS] = "SELECT ifnull((SELECT value FROM meta WHERE name='indexed'),0),"
                "max(ifnull((SELECT max(seq) FROM command),0),"
                "ifnull((SELECT max(id) FROM queue),0))",
    [FIND] = "SELECT " FM_SQL_ENTRY " FROM key_at k JOIN command c ON c.seq=k.number"
             " LEFT JOIN outcome o ON o.seq=c.seq"
             " WHERE k.h=?1 AND k.number<=?2 AND c.context=?3 AND c.key=?4",
    [FIND_QUEUED] =
        "SELECT " QUEUED_COLUMNS " FROM key_at k JOIN queue q ON q.id=k.number"
        " WHERE k.h=?1 AND k.number<=?2 AND" QUEUED_ROWS " AND q.context=?3 AND q.key=?4",
    [NEW] = "SELECT " FM_SQL_ENTRY " FROM command c LEFT JOIN outcome o ON o.seq=c.seq"
            " WHERE c.seq>?1 AND c.seq<=?2 AND c.context=?3 AND c.key=?4",
    [NEW_QUEUED] = "SELECT " QUEUED_COLUMNS " FROM queue WHERE id>?1 AND id<=?2 AND" QUEUED_ROWS
                   " AND context=?3 AND key=?4",
};

struct fm_journal_look {
    sqlite3 *h;
    sqlite3_stmt *query[QUERIES];
    struct fm_hash_key hash_key;
    char service[SERVICE_MAX + 1];
    bool is_live;
};

static enum fm_err failed(struct fm_journal_look *l, struct fm_error *e)
{
    return fm_error_set(e, FM_ERR_IO, "cannot read the journal: %s", sqlite3_errmsg(l->h));
}

/* -------- open -------- */

static bool has_writer(const char *path)
{
    char lock[PATH_MAX];
    snprintf(lock, sizeof lock, "%s.lock", path);
    int fd = open(lock, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool yes = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd); /* and with it our lock */
    return yes;
}

static bool get(struct fm_journal_look *l, const char *sql, int64_t *number, char *text, size_t n)
{
    sqlite3_stmt *s = NULL;
    bool got =
        sqlite3_prepare_v2(l->h, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW;
    if (got && number)
        *number = sqlite3_column_int64(s, 0);
    if (got && text)
        snprintf(text, n, "%s", (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    return got;
}

static enum fm_err open_all(struct fm_journal_look *l, const char *path, struct fm_error *e)
{
    int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int64_t id = 0, version = 0, k0 = 0, k1 = 0;
    if (access(path, F_OK) != 0)
        return fm_error_errno(e, FM_ERR_NOT_FOUND, errno, "there is no journal at %s", path);
    if (sqlite3_open_v2(path, &l->h, flags, NULL) != SQLITE_OK)
        return failed(l, e);
    sqlite3_busy_timeout(l->h, BUSY_MS);
    if (!get(l, "PRAGMA application_id", &id, NULL, 0) ||
        !get(l, "PRAGMA user_version", &version, NULL, 0))
        return failed(l, e);
    if (id != 0x464d4a31 || version != FM_DB_VERSION)
        return fm_error_set(e, FM_ERR_INVALID, "%s is not a journal of this version", path);
    if (!get(l, "SELECT value FROM meta WHERE name='k0'", &k0, NULL, 0) ||
        !get(l, "SELECT value FROM meta WHERE name='k1'", &k1, NULL, 0) ||
        !get(l, "SELECT value FROM meta WHERE name='service'", NULL, l->service, sizeof l->service))
        return failed(l, e);
    l->hash_key = (struct fm_hash_key){(uint64_t)k0, (uint64_t)k1};
    for (unsigned i = 0; i < QUERIES; i++)
        if (sqlite3_prepare_v2(l->h, query_text[i], -1, &l->query[i], NULL) != SQLITE_OK)
            return failed(l, e);
    l->is_live = has_writer(path);
    return FM_ERR_OK;
}

struct fm_journal_look *fm_journal_look_open(const char *path, struct fm_error *e)
{
    struct fm_journal_look *l = calloc(1, sizeof *l);
    if (!l) {
        fm_error_set(e, FM_ERR_MEMORY, "no memory to read a journal");
        return NULL;
    }
    if (open_all(l, path, e)) {
        fm_journal_look_close(l);
        return NULL;
    }
    return l;
}

void fm_journal_look_close(struct fm_journal_look *l)
{
    if (!l)
        return;
    for (unsigned i = 0; i < QUERIES; i++)
        sqlite3_finalize(l->query[i]);
    int rc = sqlite3_close(l->h);
    FM_ASSERT(rc == SQLITE_OK);
    free(l);
}

struct fm_str fm_journal_look_service(const struct fm_journal_look *l)
{
    return fm_str_z(l->service);
}

bool fm_journal_look_is_live(const struct fm_journal_look *l)
{
    return l->is_live;
}

/* -------- reading -------- */

struct reading {
    const struct fm_journal_filter *filter;
    void (*each)(const struct fm_journal_entry *e, void *user);
    void *user;
    unsigned n;
};

static bool matches(const struct fm_journal_filter *f, const struct fm_journal_entry *e)
{
    return !f || ((f->context.n == 0 || fm_str_eq(f->context, e->context)) &&
                  (f->state == FM_IDEM_ABSENT || f->state == e->state));
}

/* Step a bound query to its end, or until enough has been shown. */
static enum fm_err show(struct fm_journal_look *l, enum query q, struct reading *r,
                        struct fm_error *e)
{
    int rc = SQLITE_DONE;
    enum fm_err err = FM_ERR_OK;
    FM_ASSERT(q != PREVIOUS && q != NUMBERS && q < QUERIES && r->each);
    bool queued = q == QUEUED || q == FIND_QUEUED || q == NEW_QUEUED;
    while ((!r->filter || r->n < r->filter->limit) &&
           (rc = sqlite3_step(l->query[q])) == SQLITE_ROW) {
        struct fm_journal_entry x;
        if (!fm_db_entry(l->query[q], &x)) {
            err = fm_error_set(e, FM_ERR_IO, "the journal is damaged at %llu",
                               (unsigned long long)x.seq);
            break;
        }
        if (queued && x.state != FM_IDEM_UNKNOWN)
            x.state = FM_IDEM_QUEUED;
        if (matches(r->filter, &x)) {
            r->n++;
            r->each(&x, r->user);
        }
    }
    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        err = failed(l, e);
    sqlite3_reset(l->query[q]);
    return err;
}

/* The newest number of a command up to `at`; 0 where there is none. */
static enum fm_err previous(struct fm_journal_look *l, int64_t at, int64_t *out, struct fm_error *e)
{
    sqlite3_stmt *s = l->query[PREVIOUS];
    sqlite3_bind_int64(s, 1, at);
    bool got = sqlite3_step(s) == SQLITE_ROW;
    *out = got ? sqlite3_column_int64(s, 0) : 0;
    enum fm_err err = got ? FM_ERR_OK : failed(l, e);
    sqlite3_reset(s);
    return err;
}

static enum fm_err list_commands(struct fm_journal_look *l, struct reading *r, struct fm_error *e)
{
    int64_t at;
    enum fm_err err = previous(l, INT64_MAX, &at, e);
    while (!err && at > 0 && r->n < r->filter->limit) {
        sqlite3_bind_int64(l->query[LIST], 1, at);
        sqlite3_bind_int64(l->query[LIST], 2, at - WINDOW);
        err = show(l, LIST, r, e);
        if (!err)
            err = previous(l, at - WINDOW, &at, e);
    }
    return err;
}

enum fm_err fm_journal_look_list(struct fm_journal_look *l, const struct fm_journal_filter *f,
                                 void (*each)(const struct fm_journal_entry *e, void *user),
                                 void *user, struct fm_error *e)
{
    struct reading r = {.filter = f, .each = each, .user = user};
    if (f->state <= FM_IDEM_QUEUED || f->state == FM_IDEM_UNKNOWN) { /* bounded by queue_max */
        sqlite3_bind_int64(l->query[QUEUED], 1, INT64_MAX);
        sqlite3_bind_int64(l->query[QUEUED], 2, -1);
        enum fm_err err = show(l, QUEUED, &r, e);
        if (err || f->state == FM_IDEM_QUEUED)
            return err;
    }
    return list_commands(l, &r, e);
}

/* Up to which number keys are in the index, and the newest number of a key. */
static enum fm_err numbers(struct fm_journal_look *l, int64_t *indexed, int64_t *newest,
                           struct fm_error *e)
{
    sqlite3_stmt *s = l->query[NUMBERS];
    bool got = sqlite3_step(s) == SQLITE_ROW;
    *indexed = got ? sqlite3_column_int64(s, 0) : 0;
    *newest = got ? sqlite3_column_int64(s, 1) : 0;
    enum fm_err err = got ? FM_ERR_OK : failed(l, e);
    sqlite3_reset(s);
    return err;
}

struct wanted {
    struct fm_str context, key;
};

static enum fm_err show_key(struct fm_journal_look *l, enum query q, int64_t a, int64_t b,
                            const struct wanted *k, struct reading *r, struct fm_error *e)
{
    FM_ASSERT(q >= FIND && q <= NEW_QUEUED);
    sqlite3_bind_int64(l->query[q], 1, a);
    sqlite3_bind_int64(l->query[q], 2, b);
    sqlite3_bind_text(l->query[q], 3, k->context.p, (int)k->context.n, SQLITE_STATIC);
    sqlite3_bind_text(l->query[q], 4, k->key.p, (int)k->key.n, SQLITE_STATIC);
    return show(l, q, r, e);
}

/* First what the index has as of now, then all that it does not have, newest first. What comes into
 * the index meanwhile does not count there, so nothing is shown twice. */
static enum fm_err find(struct fm_journal_look *l, const struct wanted *k, struct reading *r,
                        struct fm_error *e)
{
    int64_t h = fm_db_key_hash(l->hash_key, k->context, k->key), indexed, at;
    enum fm_err err = numbers(l, &indexed, &at, e);
    for (enum query q = FIND; q <= FIND_QUEUED && !err; q++)
        err = show_key(l, q, h, indexed, k, r, e);
    for (; at > indexed && !err; at -= WINDOW) {
        int64_t from = at - WINDOW > indexed ? at - WINDOW : indexed;
        for (enum query q = NEW; q <= NEW_QUEUED && !err; q++)
            err = show_key(l, q, from, at, k, r, e);
    }
    return err;
}

enum fm_err fm_journal_look_find(struct fm_journal_look *l, struct fm_str context,
                                 struct fm_str key,
                                 void (*each)(const struct fm_journal_entry *e, void *user),
                                 void *user, struct fm_error *e)
{
    struct reading r = {.each = each, .user = user};
    struct wanted k = {context, key};
    if (context.n == 0 || context.n > FM_JOURNAL_CONTEXT_MAX || !fm_idem_key_is_valid(key))
        return fm_error_set(e, FM_ERR_NOT_FOUND, "no journal has such a key");
    enum fm_err err = find(l, &k, &r, e);
    if (!err && r.n == 0)
        err = fm_error_set(e, FM_ERR_NOT_FOUND, "%.*s has no key %.*s", FM_STR_ARG(context),
                           FM_STR_ARG(key));
    return err;
}
