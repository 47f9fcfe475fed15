/* The evidence slots of a primary (SAFETY.md 27): a logical one for each database, so that the rows
 * of what it commits can be read where nobody else gets them (pg/isolated.h). See db.h. Each is
 * advanced to the least place that the standbys have replayed who bound what is acknowledged, so
 * that what they may lack can be decoded; one that keeps more than KEEPS_MAX of the log, or has
 * lost some, is made anew at the present place: what was lost before it has no rows then, and says
 * so.
 *
 * Nothing depends on them: where one cannot be made, `loss_recovery` says why, and what is lost is
 * counted all the same. Invariant: one question at a time, none while the server ends. */
#include "agent/db.h"

#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>

enum {
    EVERY_MS = 10 * 1000,
    SOON_MS = 2000, /* after one that was not good */
    LIST_MS = 2000,
    WORK_MS = 30 * 1000, /* a new slot waits for the transactions that run */
    STEP = 1 << 20,      /* it need not be advanced by less */
    RESERVE = 4,         /* slots that are left to nodes that come, and to others */
    COLUMNS = 6,
};

#define KEEPS_MAX "1073741824"

/* Which databases there are, and how their slots stand: the database, its slot, what is wrong with
 * that, how far it is advanced, what it keeps; and how many slots there may be more of. */
#define LIST_SQL                                                                                   \
    "select d.datname, '" FM_PG_EVIDENCE_SLOT "' || d.oid, case when s.slot_name is null then "    \
    "'none' when s.wal_status = 'lost' or s.restart_lsn is null or "                               \
    "pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn) > " KEEPS_MAX " then 'lost' else '' "    \
    "end, s.confirmed_flush_lsn, pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::bigint, "   \
    "(select setting::int from pg_settings where name = 'max_replication_slots') - (select "       \
    "count(*) from pg_replication_slots) from pg_database d left join pg_replication_slots s on "  \
    "s.slot_name = '" FM_PG_EVIDENCE_SLOT                                                          \
    "' || d.oid where d.datallowconn and not d.datistemplate order by d.oid limit 9"

#define MAKE_SQL    "select pg_create_logical_replication_slot($1, 'test_decoding')::text"
#define DROP_SQL    "select pg_drop_replication_slot($1)"
#define ADVANCE_SQL "select pg_replication_slot_advance($1, $2::pg_lsn)::text"

static void see_to(struct db_node *n);

/* -------- one database after the other -------- */

static void rest(struct db_node *n)
{
    struct db_evidence *x = &n->evidence;
    fm_pg_close(&x->conn);
    x->asks = false;
    x->at = fm_mono_add_ms(fm_mono_now(), x->why[0] ? SOON_MS : EVERY_MS);
}

static void fail(struct db_node *n, const char *what, const struct fm_pg_result *r)
{
    struct db_evidence *x = &n->evidence;
    char why[sizeof x->why];
    snprintf(why, sizeof why, "%.80s: %.140s", what, r->error.msg);
    if (strcmp(why, x->why) != 0)
        fm_log(FM_LOG_WARN, "evidence", FM_KZ("group", n->group), FM_KZ("why", why));
    memcpy(x->why, why, sizeof why);
}

static void next(struct db_node *n)
{
    struct db_evidence *x = &n->evidence;
    fm_pg_close(&x->conn);
    x->i++;
    see_to(n);
}

static void worked(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, evidence.conn);
    struct db_evidence *x = &n->evidence;
    if (r->error.code) {
        fail(n, x->of[x->i].database, r);
    } else {
        if (x->of[x->i].is == DB_EVIDENCE_NONE)
            fm_log(FM_LOG_INFO, "evidence_slot", FM_KZ("group", n->group),
                   FM_KZ("slot", x->of[x->i].slot));
        x->of[x->i].is = DB_EVIDENCE_GOOD;
    }
    next(n);
}

static void make(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, evidence.conn);
    struct db_evidence *x = &n->evidence;
    const char *params[] = {x->of[x->i].slot};
    if (r->error.code) {
        worked(c, r);
        return;
    }
    x->of[x->i].is = DB_EVIDENCE_NONE;
    fm_pg_query(c, MAKE_SQL, params, 1, WORK_MS, worked);
}

static void work(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, evidence.conn);
    struct db_evidence *x = &n->evidence;
    char to[FM_LSN_ROOM];
    const char *params[] = {x->of[x->i].slot, fm_lsn_write(to, x->to)};
    if (r->error.code || x->of[x->i].is == DB_EVIDENCE_NONE)
        make(c, r);
    else if (x->of[x->i].is == DB_EVIDENCE_LOST)
        fm_pg_query(c, DROP_SQL, params, 1, LIST_MS, make);
    else
        fm_pg_query(c, ADVANCE_SQL, params, 2, WORK_MS, worked);
}

static void see_to(struct db_node *n)
{
    struct db_evidence *x = &n->evidence;
    while (x->i < x->n && x->of[x->i].is == DB_EVIDENCE_GOOD)
        x->i++;
    if (x->i < x->n)
        db_ask_open_at(n, &x->conn, x->of[x->i].database, DB_OPEN_MS, work);
    else
        rest(n);
}

/* -------- which there are -------- */

/* False: it does not fit, and is not seen to. */
static bool take_row(struct db_evidence *x, const struct fm_pg_result *r, unsigned row)
{
    struct fm_str database = fm_pg_value(r, row, 0), slot = fm_pg_value(r, row, 1),
                  wrong = fm_pg_value(r, row, 2), at = fm_pg_value(r, row, 3);
    struct fm_lsn flushed;
    uint64_t behind, left;
    if (fm_str_eqz(wrong, "none") && fm_str_u64(fm_pg_value(r, row, 5), &left) &&
        left <= RESERVE + x->made) {
        snprintf(x->why, sizeof x->why, "max_replication_slots leaves no room for one of `%.63s`",
                 database.p);
        return true;
    }
    x->made += fm_str_eqz(wrong, "none");
    if (x->n == DB_EVIDENCE_MAX || database.n >= sizeof x->of[0].database ||
        slot.n >= sizeof x->of[0].slot)
        return false;
    memcpy(x->of[x->n].database, database.p, database.n + 1);
    memcpy(x->of[x->n].slot, slot.p, slot.n + 1);
    bool late = at.p && fm_lsn_parse(at, &flushed) && !fm_lsn_is_none(x->to) &&
                fm_lsn_ahead(x->to, flushed) > STEP;
    x->of[x->n].is = fm_str_eqz(wrong, "none")   ? DB_EVIDENCE_NONE
                     : fm_str_eqz(wrong, "lost") ? DB_EVIDENCE_LOST
                     : late                      ? DB_EVIDENCE_LATE
                                                 : DB_EVIDENCE_GOOD;
    if (fm_str_u64(fm_pg_value(r, row, 4), &behind) && behind > x->behind)
        x->behind = behind;
    x->n++;
    return true;
}

static void listed(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, evidence.conn);
    struct db_evidence *x = &n->evidence;
    if (r->error.code || (r->rows && r->columns != COLUMNS)) {
        fail(n, "PostgreSQL does not say which slots it has", r);
        rest(n);
        return;
    }
    bool all = true;
    x->n = x->i = x->made = 0;
    x->behind = 0;
    x->why[0] = '\0';
    x->to = fm_group_all_replayed(&n->cell.r.evidence, &n->said, n->self, n->report, n->nnodes,
                                  db_able(n));
    for (unsigned row = 0; row < r->rows; row++)
        all &= take_row(x, r, row);
    if (!all)
        snprintf(x->why, sizeof x->why, "rows are read of %d databases, and there are more",
                 DB_EVIDENCE_MAX);
    x->known = true;
    fm_pg_close(c);
    see_to(n);
}

static void list(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    if (r->error.code)
        listed(c, r);
    else
        fm_pg_query(c, LIST_SQL, NULL, 0, LIST_MS, listed);
}

/* -------- life -------- */

void db_evidence_init(struct db_node *n)
{
    fm_pg_init(&n->evidence.conn, n->d->c.loop, n->group, NULL);
}

static bool is_open(const struct db_node *n)
{
    return n->up && !n->ending && n->g.state == FM_GROUP_PRIMARY && n->as == DB_AS_OPEN &&
           n->heard_at.ns && !n->said.recovery;
}

void db_evidence_turn(struct db_node *n)
{
    struct db_evidence *x = &n->evidence;
    if (!is_open(n)) {
        db_evidence_end(n);
        return;
    }
    if (x->asks || fm_mono_before(fm_mono_now(), x->at))
        return;
    x->asks = true;
    db_ask_open(n, &x->conn, DB_OPEN_MS, list);
}

void db_evidence_end(struct db_node *n)
{
    struct db_evidence *x = &n->evidence;
    fm_pg_close(&x->conn);
    x->asks = x->known = false;
    x->n = 0;
    x->why[0] = '\0';
    x->at = FM_MONO_ZERO;
}

static unsigned good(const struct db_evidence *x)
{
    unsigned count = 0;
    for (unsigned i = 0; i < x->n; i++)
        count += x->of[i].is == DB_EVIDENCE_GOOD || x->of[i].is == DB_EVIDENCE_LATE;
    return count;
}

bool db_evidence_is_kept(const struct db_node *n, bool *available)
{
    const struct db_evidence *x = &n->evidence;
    *available = x->known && good(x) == x->n && x->why[0] == '\0';
    return is_open(n);
}

json_t *db_evidence_json(const struct db_node *n)
{
    const struct db_evidence *x = &n->evidence;
    bool available;
    if (!db_evidence_is_kept(n, &available))
        return json_null();
    const char *why = x->why[0] ? x->why : !available ? "the slots are being made" : NULL;
    return json_pack("{s:b,s:i,s:i,s:I,s:s?}", "available", (int)available, "databases", (int)x->n,
                     "slots", (int)good(x), "kept_bytes", (json_int_t)x->behind, "why", why);
}
