/* The tables: see the header. Invariants: a command is in `pending` exactly while it has no
 * outcome; `last` is at least every number on the disk. Where keys stand: keys.c. What this does
 * not do: decide. That is core/idempotency. */
#include "journal/store.h"

#include "base/assert.h"
#include "base/rand.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

enum {
    APPLICATION = 0x464d4a31, /* "FMJ1" */
    CHECKPOINT_PAGES = 1000,  /* 4 MiB of WAL */
    EXPIRE_LEAST = 64,        /* rows in a transaction */
    EXPIRE_MOST = 1024,
    PAGE = 4096,
};

static const char schema[] =
    "PRAGMA application_id=1179470385; PRAGMA user_version=2;"
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE command(seq INTEGER PRIMARY KEY, context TEXT NOT NULL, key TEXT NOT NULL,"
    " hash BLOB NOT NULL, cell INTEGER NOT NULL, epoch INTEGER NOT NULL, tries INTEGER NOT NULL,"
    " at_ms INTEGER NOT NULL, age_ms INTEGER NOT NULL) STRICT;"
    "CREATE TABLE pending(seq INTEGER PRIMARY KEY) STRICT;"
    "CREATE TABLE outcome(version INTEGER PRIMARY KEY, seq INTEGER NOT NULL UNIQUE,"
    " state INTEGER NOT NULL, status INTEGER NOT NULL, at_ms INTEGER NOT NULL,"
    " kept INTEGER NOT NULL, head BLOB NOT NULL, body BLOB NOT NULL) STRICT;"
    "CREATE TABLE key_at(h INTEGER NOT NULL, number INTEGER NOT NULL, PRIMARY KEY(h, number))"
    " STRICT, WITHOUT ROWID;"
    "CREATE TABLE queue(id INTEGER PRIMARY KEY, context TEXT NOT NULL, lane TEXT NOT NULL,"
    " key TEXT NOT NULL, hash BLOB NOT NULL, cell INTEGER NOT NULL, first_epoch INTEGER NOT NULL,"
    " at_ms INTEGER NOT NULL, age_ms INTEGER NOT NULL, state INTEGER NOT NULL,"
    " status INTEGER NOT NULL, request BLOB NOT NULL) STRICT;"
    "CREATE INDEX queue_lane ON queue(context, lane, id) WHERE state<3;"
    "CREATE INDEX queue_old ON queue(age_ms) WHERE state=3;";
_Static_assert(APPLICATION == 1179470385 && FM_DB_VERSION == 2, "as in the schema");

/* In a file of version 1 all keys are in key_at. */
static const char from_version_1[] =
    "BEGIN IMMEDIATE; PRAGMA user_version=2;"
    "INSERT OR REPLACE INTO meta VALUES('indexed', max(ifnull((SELECT max(seq) FROM command),0),"
    " ifnull((SELECT max(id) FROM queue),0))); COMMIT;";

/* Also of files that were made before there was need of it. `status` of what waits is how often it
 * was given back as not known. */
static const char index_of_cells[] =
    "CREATE INDEX IF NOT EXISTS queue_cell ON queue(context, cell, id) WHERE state=1";

/* -------- numbers and times -------- */

uint64_t fm_journal_store_next(struct fm_journal_store *s)
{
    FM_ASSERT(s->last < INT64_MAX);
    return ++s->last;
}

int64_t fm_journal_store_age_ms(const struct fm_journal_store *s)
{
    int64_t ms = fm_mono_sub_ms(fm_mono_now(), s->opened);
    FM_ASSERT(ms >= 0 && s->age_before_ms >= 0);
    return s->age_before_ms + ms;
}

int64_t fm_journal_store_wall_ms(void)
{
    return fm_wall_now_ns() / FM_NS_PER_MS;
}

uint64_t fm_journal_store_token(const struct fm_journal_store *s, uint64_t id)
{
    struct {
        char what[8];
        uint64_t id;
    } text = {"queued", id};
    FM_ASSERT(id > 0 && id <= s->last);
    return fm_hash(s->hash_key, &text, sizeof text);
}

void *fm_journal_store_give(struct fm_journal_call *c, size_t n)
{
    FM_ASSERT(!c->memory);
    c->memory = malloc(n ? n : 1);
    return c->memory;
}

/* -------- what a key is of -------- */

static bool is_hash(struct fm_str stored, const struct fm_idem_hash *h)
{
    return fm_str_eq(stored, fm_str((const char *)h->b, sizeof h->b));
}

/* The command `seq`, if it has this key. */
static bool look_at_command(struct fm_journal_store *s, uint64_t seq,
                            const struct fm_journal_command *c, struct fm_found *f)
{
    struct fm_db *d = &s->db;
    fm_db_bind(d, FM_SQL_COMMAND, "i", (int64_t)seq);
    if (!fm_db_row(d, FM_SQL_COMMAND))
        return false;
    bool mine = fm_str_eq(fm_db_str(d, FM_SQL_COMMAND, 0), c->context) &&
                fm_str_eq(fm_db_str(d, FM_SQL_COMMAND, 1), c->facts.key);
    bool same = is_hash(fm_db_str(d, FM_SQL_COMMAND, 2), &c->hash);
    uint32_t cell = (uint32_t)fm_db_i64(d, FM_SQL_COMMAND, 3);
    uint64_t epoch = (uint64_t)fm_db_i64(d, FM_SQL_COMMAND, 4);
    fm_db_reset(d, FM_SQL_COMMAND);
    if (!mine)
        return true; /* it is a command, of another key with the same hash */
    if (f->known != FM_IDEM_ABSENT && !f->delivered) {
        if (f->known != FM_IDEM_QUEUED)
            fm_db_damaged(d, "a key of two commands", seq);
        return true;
    }
    *f = (struct fm_found){
        .known = FM_IDEM_IN_FLIGHT, .seq = seq, .cell = cell, .epoch = epoch, .same_request = same};
    fm_db_bind(d, FM_SQL_OUTCOME, "i", (int64_t)seq);
    if (fm_db_row(d, FM_SQL_OUTCOME)) {
        f->known = (enum fm_idem_known)fm_db_i64(d, FM_SQL_OUTCOME, 0);
        f->answer_kept = fm_db_i64(d, FM_SQL_OUTCOME, 2) != 0;
        fm_db_reset(d, FM_SQL_OUTCOME);
        if (f->known != FM_IDEM_DONE && f->known != FM_IDEM_UNKNOWN)
            fm_db_damaged(d, "an outcome that is none", seq);
    }
    return true;
}

/* One that waits goes before everything else that is known of its key; of one that was delivered
 * the command itself is known here as well, or its place is all that can be told. */
static void look_at_queued(struct fm_journal_store *s, uint64_t id,
                           const struct fm_journal_command *c, struct fm_found *f)
{
    struct fm_db *d = &s->db;
    fm_db_bind(d, FM_SQL_QUEUE, "i", (int64_t)id);
    if (!fm_db_row(d, FM_SQL_QUEUE)) {
        if (id > s->keys.indexed)
            fm_db_damaged(d, "a key of nothing", id);
        return; /* a command that was forgotten */
    }
    bool delivered = fm_db_i64(d, FM_SQL_QUEUE, 3) == FM_QUEUE_DELIVERED;
    if (fm_str_eq(fm_db_str(d, FM_SQL_QUEUE, 0), c->context) &&
        fm_str_eq(fm_db_str(d, FM_SQL_QUEUE, 1), c->facts.key) &&
        (!delivered || f->known == FM_IDEM_ABSENT))
        *f = (struct fm_found){.known = FM_IDEM_QUEUED,
                               .seq = id,
                               .same_request = is_hash(fm_db_str(d, FM_SQL_QUEUE, 2), &c->hash),
                               .delivered = delivered,
                               .queued_status = (uint16_t)fm_db_i64(d, FM_SQL_QUEUE, 4)};
    fm_db_reset(d, FM_SQL_QUEUE);
}

struct fm_found fm_journal_store_find(struct fm_journal_store *s,
                                      const struct fm_journal_command *c, uint64_t but)
{
    struct fm_found f = {.known = FM_IDEM_ABSENT};
    struct fm_key_walk w = fm_journal_keys_walk(s, c->context, c->facts.key);
    for (uint64_t number; (number = fm_journal_keys_next(s, &w)) != 0;) {
        if (number != but && !look_at_command(s, number, c, &f))
            look_at_queued(s, number, c, &f);
    }
    return f;
}

static void replay(struct fm_journal_store *s, struct fm_journal_call *c)
{
    struct fm_db *d = &s->db;
    fm_db_bind(d, FM_SQL_OUTCOME, "i", (int64_t)c->seq);
    if (!fm_db_row(d, FM_SQL_OUTCOME))
        return;
    struct fm_str head = fm_db_str(d, FM_SQL_OUTCOME, 3), body = fm_db_str(d, FM_SQL_OUTCOME, 4);
    char *copy = fm_journal_store_give(c, head.n + body.n);
    if (copy) {
        if (head.n)
            memcpy(copy, head.p, head.n);
        if (body.n)
            memcpy(copy + head.n, body.p, body.n);
        c->answer = (struct fm_journal_answer){.status = (uint16_t)fm_db_i64(d, FM_SQL_OUTCOME, 1),
                                               .kept = true,
                                               .head = fm_str(copy, head.n),
                                               .body = fm_str(copy + head.n, body.n)};
    }
    c->err = copy ? FM_ERR_OK : FM_ERR_MEMORY;
    fm_db_reset(d, FM_SQL_OUTCOME);
}

void fm_journal_store_decide(struct fm_journal_store *s, struct fm_journal_call *c,
                             const struct fm_found *f)
{
    struct fm_idem_facts *facts = &c->command.facts;
    facts->known = f->known == FM_IDEM_ABSENT && s->full ? FM_IDEM_FULL : f->known;
    facts->same_request = f->same_request;
    facts->answer_kept = f->answer_kept;
    c->seq = f->seq;
    c->token = f->known == FM_IDEM_QUEUED ? fm_journal_store_token(s, f->seq) : 0;
    c->queued.state = f->delivered ? FM_QUEUE_DELIVERED : FM_QUEUE_BEHIND;
    c->queued.status = f->delivered ? f->queued_status : 0;
    c->was.cell = f->cell;
    c->was.epoch = f->epoch;
    c->decision = fm_idem_decide(facts);
    if (c->decision.action == FM_IDEM_REPLAY)
        replay(s, c);
}

/* -------- commands and outcomes -------- */

uint64_t fm_journal_store_add_command(struct fm_journal_store *s, const struct fm_journal_entry *e)
{
    FM_ASSERT(e->epoch <= INT64_MAX && e->tries >= 1 && fm_idem_key_is_valid(e->key));
    FM_ASSERT(e->context.n >= 1 && e->context.n <= FM_JOURNAL_CONTEXT_MAX);
    uint64_t seq = fm_journal_store_next(s);
    (void)fm_db_run(&s->db, FM_SQL_COMMAND_ADD, "ittbiiiii", (int64_t)seq, e->context, e->key,
                    fm_str((const char *)e->hash.b, sizeof e->hash.b), (int64_t)e->cell,
                    (int64_t)e->epoch, (int64_t)e->tries, e->at_ms, fm_journal_store_age_ms(s));
    fm_journal_keys_add(s, e->context, e->key, seq);
    s->added++;
    if (s->oldest_age_ms == INT64_MAX)
        s->oldest_age_ms = fm_journal_store_age_ms(s);
    return seq;
}

void fm_journal_store_add_outcome(struct fm_journal_store *s, uint64_t seq,
                                  enum fm_idem_known state, const struct fm_journal_answer *a,
                                  int64_t at_ms)
{
    FM_ASSERT(seq > 0 && seq <= s->last);
    FM_ASSERT(state == FM_IDEM_DONE || state == FM_IDEM_UNKNOWN);
    bool keep = state == FM_IDEM_DONE && a->kept && a->head.n <= s->o.answer_max &&
                a->body.n <= s->o.answer_max - a->head.n;
    struct fm_str none = {NULL, 0};
    (void)fm_db_run(&s->db, FM_SQL_OUTCOME_ADD, "iiiiiibb", (int64_t)fm_journal_store_next(s),
                    (int64_t)seq, (int64_t)state, (int64_t)(state == FM_IDEM_DONE ? a->status : 0),
                    at_ms, (int64_t)keep, keep ? a->head : none, keep ? a->body : none);
}

static void record(struct fm_journal_store *s, struct fm_journal_call *c)
{
    const struct fm_journal_command *m = &c->command;
    struct fm_journal_entry e = {.context = m->context,
                                 .key = m->facts.key,
                                 .hash = m->hash,
                                 .cell = m->cell,
                                 .epoch = m->facts.epoch,
                                 .tries = 1,
                                 .at_ms = fm_journal_store_wall_ms()};
    c->seq = fm_journal_store_add_command(s, &e);
    (void)fm_db_run(&s->db, FM_SQL_PENDING_ADD, "i", (int64_t)c->seq);
}

/* The application stops doubles. What was unknown is in flight again; what is done stays done. */
static void again(struct fm_journal_store *s, struct fm_journal_call *c)
{
    struct fm_db *d = &s->db;
    (void)fm_db_run(d, FM_SQL_COMMAND_AGAIN, "ii", (int64_t)c->seq,
                    (int64_t)c->command.facts.epoch);
    if (c->decision.situation != FM_IDEM_LOST)
        return;
    (void)fm_db_run(d, FM_SQL_OUTCOME_DROP, "i", (int64_t)c->seq);
    (void)fm_db_run(d, FM_SQL_PENDING_ADD, "i", (int64_t)c->seq);
}

void fm_journal_store_begin(struct fm_journal_store *s, struct fm_journal_call *c)
{
    struct fm_found f = fm_journal_store_find(s, &c->command, c->command.queued);
    fm_journal_store_decide(s, c, &f);
    switch (c->decision.action) {
    case FM_IDEM_RECORD:
        record(s, c);
        return;
    case FM_IDEM_FORWARD_AGAIN:
        again(s, c);
        return;
    case FM_IDEM_REPLAY:
    case FM_IDEM_ACCEPTED:
    case FM_IDEM_REFUSE:
        return;
    case FM_IDEM_FORWARD: /* decided before it was submitted */
        break;
    }
    FM_UNREACHABLE();
}

void fm_journal_store_outcome(struct fm_journal_store *s, struct fm_journal_call *c)
{
    struct fm_db *d = &s->db;
    const struct fm_journal_outcome *o = &c->outcome;
    (void)fm_db_run(d, FM_SQL_PENDING_DROP, "i", (int64_t)c->seq);
    if (!d->failed && fm_db_changes(d) == 0) {
        fm_db_bind(d, FM_SQL_OUTCOME, "i", (int64_t)c->seq);
        if (!fm_db_row(d, FM_SQL_OUTCOME)) {
            c->err = FM_ERR_NOT_FOUND;
            return;
        }
        enum fm_idem_known have = (enum fm_idem_known)fm_db_i64(d, FM_SQL_OUTCOME, 0);
        fm_db_reset(d, FM_SQL_OUTCOME);
        if (!fm_idem_may_settle(have, o->state)) {
            c->err = FM_ERR_EXISTS;
            return;
        }
        (void)fm_db_run(d, FM_SQL_OUTCOME_DROP, "i", (int64_t)c->seq);
    }
    fm_journal_store_add_outcome(s, c->seq, o->state, &o->answer, fm_journal_store_wall_ms());
}

/* -------- transactions -------- */

bool fm_journal_store_transaction(struct fm_journal_store *s)
{
    s->added = 0;
    return fm_db_run(&s->db, FM_SQL_BEGIN, "");
}

/* What is in use: of the file as of the last look, and of the WAL now. */
static void measure(struct fm_journal_store *s, bool look)
{
    struct fm_db *d = &s->db;
    if (look) {
        fm_db_bind(d, FM_SQL_SIZE, "");
        if (fm_db_row(d, FM_SQL_SIZE)) {
            s->file_pages = (uint64_t)fm_db_i64(d, FM_SQL_SIZE, 0);
            fm_db_reset(d, FM_SQL_SIZE);
        }
    }
    s->full = (s->file_pages + (uint64_t)d->wal_pages) * PAGE >= s->o.bytes_max;
}

bool fm_journal_store_commit(struct fm_journal_store *s)
{
    if (!fm_db_run(&s->db, FM_SQL_COMMIT, ""))
        return false;
    measure(s, s->full);
    return true;
}

bool fm_journal_store_checkpoint_is_due(const struct fm_journal_store *s)
{
    return s->db.wal_pages >= CHECKPOINT_PAGES && !s->db.failed;
}

void fm_journal_store_checkpoint(struct fm_journal_store *s)
{
    fm_db_checkpoint(&s->db);
    measure(s, true);
}

/* -------- retention -------- */

void fm_journal_store_set_meta(struct fm_journal_store *s, const char *name, int64_t value)
{
    (void)fm_db_run(&s->db, FM_SQL_META_SET, "ti", fm_str_z(name), value);
}

/* The one that FM_SQL_COMMAND_OLD is at, but for its key. */
static void drop_command(struct fm_journal_store *s, uint64_t seq)
{
    struct fm_db *d = &s->db;
    fm_db_reset(d, FM_SQL_COMMAND_OLD);
    (void)fm_db_run(d, FM_SQL_OUTCOME_DROP, "i", (int64_t)seq);
    (void)fm_db_run(d, FM_SQL_COMMAND_DROP, "i", (int64_t)seq);
}

void fm_journal_store_withdraw(struct fm_journal_store *s, struct fm_journal_call *c)
{
    struct fm_db *d = &s->db;
    FM_ASSERT(c->seq > 0);
    (void)fm_db_run(d, FM_SQL_PENDING_DROP, "i", (int64_t)c->seq);
    if (d->failed || fm_db_changes(d) == 0) {
        c->err = FM_ERR_NOT_FOUND;
        return;
    }
    fm_db_bind(d, FM_SQL_COMMAND_OLD, "i", (int64_t)c->seq - 1);
    if (fm_db_row(d, FM_SQL_COMMAND_OLD) &&
        (uint64_t)fm_db_i64(d, FM_SQL_COMMAND_OLD, 0) == c->seq) {
        fm_journal_keys_drop(s, fm_db_str(d, FM_SQL_COMMAND_OLD, 1),
                             fm_db_str(d, FM_SQL_COMMAND_OLD, 2), c->seq);
        drop_command(s, c->seq);
    } else {
        fm_db_reset(d, FM_SQL_COMMAND_OLD);
    }
}

/* The next row behind s->oldest; false where it is not old enough, or there is none. */
static bool expire_one(struct fm_journal_store *s, int64_t cutoff_ms, bool *dropped)
{
    struct fm_db *d = &s->db;
    *dropped = false;
    fm_db_bind(d, FM_SQL_COMMAND_OLD, "i", (int64_t)s->oldest);
    if (!fm_db_row(d, FM_SQL_COMMAND_OLD)) {
        s->oldest_age_ms = INT64_MAX;
        return false;
    }
    uint64_t seq = (uint64_t)fm_db_i64(d, FM_SQL_COMMAND_OLD, 0);
    s->oldest_age_ms = fm_db_i64(d, FM_SQL_COMMAND_OLD, 3);
    if (s->oldest_age_ms >= cutoff_ms) {
        fm_db_reset(d, FM_SQL_COMMAND_OLD);
        return false;
    }
    s->oldest = seq;
    fm_db_bind(d, FM_SQL_OUTCOME, "i", (int64_t)seq);
    *dropped = fm_db_row(d, FM_SQL_OUTCOME); /* else in flight, for longer than the retention */
    if (*dropped) {
        fm_db_reset(d, FM_SQL_OUTCOME);
        fm_journal_keys_forget(s, fm_db_str(d, FM_SQL_COMMAND_OLD, 1),
                               fm_db_str(d, FM_SQL_COMMAND_OLD, 2), seq);
        drop_command(s, seq);
    } else {
        fm_db_reset(d, FM_SQL_COMMAND_OLD);
    }
    return !d->failed;
}

bool fm_journal_store_is_something_old(const struct fm_journal_store *s)
{
    int64_t cutoff = fm_journal_store_age_ms(s) - s->o.retention_ms;
    return s->oldest_age_ms < cutoff || s->oldest_delivered_ms < cutoff;
}

unsigned fm_journal_store_expire(struct fm_journal_store *s)
{
    int64_t cutoff = fm_journal_store_age_ms(s) - s->o.retention_ms;
    unsigned most = 2 * s->added < EXPIRE_LEAST ? EXPIRE_LEAST : 2 * s->added, n = 0;
    if (most > EXPIRE_MOST)
        most = EXPIRE_MOST;
    bool dropped;
    for (unsigned i = 0; i < most && expire_one(s, cutoff, &dropped); i++)
        n += dropped;
    n += fm_journal_store_expire_queue(s, cutoff);
    if (n) { /* what was forgotten is not given out again, nor does it get younger */
        fm_journal_store_set_meta(s, "last", (int64_t)s->last);
        fm_journal_store_set_meta(s, "age_ms", fm_journal_store_age_ms(s));
    }
    return n;
}

/* -------- open and close -------- */

static bool get_meta(struct fm_journal_store *s, const char *name, int64_t *out)
{
    fm_db_bind(&s->db, FM_SQL_META_GET, "t", fm_str_z(name));
    if (!fm_db_row(&s->db, FM_SQL_META_GET))
        return false;
    *out = fm_db_i64(&s->db, FM_SQL_META_GET, 0);
    fm_db_reset(&s->db, FM_SQL_META_GET);
    return true;
}

static int64_t one_number(struct fm_journal_store *s, enum fm_sql id)
{
    int64_t v = 0;
    fm_db_bind(&s->db, id, "");
    if (fm_db_row(&s->db, id)) {
        v = fm_db_i64(&s->db, id, 0);
        fm_db_reset(&s->db, id);
    }
    return v;
}

/* One process writes; two would each think that the other's intents are lost. */
static enum fm_err take_lock(struct fm_journal_store *s, struct fm_error *e)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s.lock", s->o.path);
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock_fd < 0)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot open %s", path);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return FM_ERR_OK;
    if (errno != EWOULDBLOCK)
        return fm_error_errno(e, FM_ERR_IO, errno, "cannot lock %s", path);
    return fm_error_set(e, FM_ERR_STATE, "%s is open in another process", s->o.path);
}

static int64_t pragma(struct fm_journal_store *s, const char *sql)
{
    sqlite3_stmt *st = NULL;
    int64_t v = -1;
    if (sqlite3_prepare_v2(s->db.h, sql, -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW)
        v = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return v;
}

static enum fm_err execute(struct fm_journal_store *s, const char *sql, struct fm_error *e)
{
    if (sqlite3_exec(s->db.h, sql, NULL, NULL, NULL) == SQLITE_OK)
        return FM_ERR_OK;
    return fm_error_set(e, FM_ERR_IO, "%.30s...: %s", sql, sqlite3_errmsg(s->db.h));
}

/* The tables, in one transaction: a file has all of them or is new. */
static enum fm_err make_tables(struct fm_journal_store *s, bool *is_new, struct fm_error *e)
{
    int64_t id = pragma(s, "PRAGMA application_id"), version = pragma(s, "PRAGMA user_version");
    int64_t tables = pragma(s, "SELECT count(*) FROM sqlite_schema");
    *is_new = id == 0 && version == 0 && tables == 0;
    if (!*is_new && id != APPLICATION)
        return fm_error_set(e, FM_ERR_INVALID, "%s is not a journal", s->o.path);
    if (!*is_new && version == 1)
        return execute(s, from_version_1, e);
    if (!*is_new && version != FM_DB_VERSION)
        return fm_error_set(e, FM_ERR_INVALID, "%s is a journal of version %lld, not %d", s->o.path,
                            (long long)version, FM_DB_VERSION);
    if (!*is_new)
        return FM_ERR_OK;
    enum fm_err err = execute(s, "BEGIN IMMEDIATE", e);
    return err ? err : execute(s, schema, e);
}

static void stamp(struct fm_journal_store *s)
{
    fm_rand_bytes(&s->hash_key, sizeof s->hash_key);
    (void)fm_db_run(&s->db, FM_SQL_META_SET, "tt", FM_STR("service"), fm_str_z(s->o.service));
    fm_journal_store_set_meta(s, "k0", (int64_t)s->hash_key.k0);
    fm_journal_store_set_meta(s, "k1", (int64_t)s->hash_key.k1);
    (void)fm_db_run(&s->db, FM_SQL_COMMIT, "");
}

static enum fm_err check_service(struct fm_journal_store *s, struct fm_error *e)
{
    fm_db_bind(&s->db, FM_SQL_META_GET, "t", FM_STR("service"));
    if (!fm_db_row(&s->db, FM_SQL_META_GET))
        return fm_error_set(e, FM_ERR_INVALID, "%s has no stamp", s->o.path);
    struct fm_str has = fm_db_str(&s->db, FM_SQL_META_GET, 0);
    enum fm_err err = FM_ERR_OK;
    if (!fm_str_eqz(has, s->o.service))
        err = fm_error_set(e, FM_ERR_INVALID, "%s is of the service %.*s, not %s", s->o.path,
                           FM_STR_ARG(has), s->o.service);
    fm_db_reset(&s->db, FM_SQL_META_GET);
    return err;
}

static void read_state(struct fm_journal_store *s)
{
    int64_t k0 = 0, k1 = 0, last = 0, age = 0, indexed = 0, swept = 0;
    if (!get_meta(s, "k0", &k0) || !get_meta(s, "k1", &k1))
        fm_db_damaged(&s->db, "no key of its hashes", 0);
    s->hash_key = (struct fm_hash_key){(uint64_t)k0, (uint64_t)k1};
    (void)get_meta(s, "last", &last);
    (void)get_meta(s, "age_ms", &age);
    (void)get_meta(s, "indexed", &indexed);
    (void)get_meta(s, "swept", &swept);
    s->keys.indexed = (uint64_t)indexed;
    s->keys.swept = (uint64_t)swept;
    last = last > indexed ? last : indexed; /* what had that number may have been withdrawn */
    int64_t seen = one_number(s, FM_SQL_LAST), newest = one_number(s, FM_SQL_NEWEST_AGE);
    s->last = (uint64_t)(seen > last ? seen : last);
    s->age_before_ms = newest > age ? newest : age;
    uint64_t first = (uint64_t)one_number(s, FM_SQL_FIRST);
    s->oldest = first ? first - 1 : s->last;
}

/* Read which keys are in memory only, and give up what was in flight: whoever forwarded that is
 * gone, and so is what it would have learnt. */
static void go_on(struct fm_journal_store *s)
{
    struct fm_journal_answer none = {0};
    int64_t now = fm_journal_store_wall_ms();
    if (!fm_journal_store_transaction(s))
        return;
    fm_journal_keys_load(s);
    fm_journal_keys_move(s);
    for (;;) {
        uint64_t seq = (uint64_t)one_number(s, FM_SQL_PENDING_FIRST);
        if (!seq)
            break;
        (void)fm_db_run(&s->db, FM_SQL_PENDING_DROP, "i", (int64_t)seq);
        fm_journal_store_add_outcome(s, seq, FM_IDEM_UNKNOWN, &none, now);
    }
    fm_journal_store_open_queue(s);
    (void)fm_journal_store_commit(s);
}

static enum fm_err open_all(struct fm_journal_store *s, struct fm_error *e)
{
    bool is_new = false;
    enum fm_err err = take_lock(s, e);
    if (!err)
        err = fm_journal_keys_init(s, e);
    if (!err)
        err = fm_db_open(&s->db, s->o.path, s->o.vfs, e);
    if (!err)
        err = fm_db_settle_wal(&s->db, e);
    if (!err)
        err = make_tables(s, &is_new, e);
    if (!err)
        err = execute(s, index_of_cells, e);
    if (!err)
        err = fm_db_prepare(&s->db, e);
    if (err)
        return err;
    if (is_new)
        stamp(s);
    err = check_service(s, e);
    if (err)
        return err;
    read_state(s);
    go_on(s);
    measure(s, true);
    if (s->db.failed)
        return fm_error_set(e, s->db.why.code, "%s", s->db.why.msg);
    return FM_ERR_OK;
}

enum fm_err fm_journal_store_open(struct fm_journal_store *s, const struct fm_journal_options *o,
                                  struct fm_error *e)
{
    FM_ASSERT(o->path && o->service && o->service[0] && o->retention_ms > 0);
    FM_ASSERT(o->answer_max <= INT_MAX / 2 && o->calls_max > 0 && o->bytes_max > 0);
    *s = (struct fm_journal_store){.o = *o, .lock_fd = -1, .opened = fm_mono_now()};
    enum fm_err err = open_all(s, e);
    if (err) {
        fm_db_close(&s->db);
        fm_journal_keys_deinit(s);
        if (s->lock_fd >= 0)
            close(s->lock_fd);
    }
    return err;
}

void fm_journal_store_close(struct fm_journal_store *s)
{
    if (!s->db.failed && fm_journal_store_transaction(s)) {
        fm_journal_store_set_meta(s, "last", (int64_t)s->last);
        fm_journal_store_set_meta(s, "age_ms", fm_journal_store_age_ms(s));
        (void)fm_journal_store_commit(s);
    }
    fm_db_close(&s->db);
    fm_journal_keys_deinit(s);
    close(s->lock_fd);
}
