/* What the local PostgreSQL says of itself: one connection of the administrator over the loopback,
 * one statement again and again. Invariant: what it said before it was started does not count. */
#include "agent/db.h"

#include "agent/words.h"
#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>

enum {
    AGAIN_MS = 100,
    PREPARE_MS = 2000, /* after slots or the role could not be made */
    SLOTS_MS = 10 * 1000,
    QUERY_MS = 1000,
    DRAIN_MS = 60 * 1000,
    SETTLE_MS = 3600 * 1000,
    FRESH_MS = 1500,
    DEAF_MS = 2000, /* a standby that receives nothing for so long is asked why */
    TAIL_ROOM = 4096,
    COLUMNS = 9,
    ROLE_ROOM = 4096,
};

/* Asked ten times a second: nothing in it looks at each file or lists all settings. The last one:
 * where the oldest file of the log begins that is there. The timeline: of a primary that of what it
 * writes; of a standby that of what it receives, has received, or has replayed at the least. */
static const char *const prepare_sql =
    "prepare fulmar_state as with s as (select pg_is_in_recovery() r), t as (select case when r "
    "then greatest("
    "(select received_tli from pg_stat_wal_receiver), (select min_recovery_end_timeline from "
    "pg_control_recovery()), (select timeline_id from pg_control_checkpoint()), "
    "(select max(('x' || substr(name, 1, 8))::bit(32)::int) from pg_ls_dir('pg_wal') name where "
    "name ~ '^[0-9A-F]{24}$')) else "
    "('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int end tli from s) "
    "select r, tli, (select system_identifier from pg_control_system()), "
    "case when r then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) else "
    "pg_current_wal_flush_lsn() end, "
    "case when r then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end, "
    "exists (select from pg_stat_wal_receiver where status = 'streaming'), "
    "pg_read_file('pg_wal/' || lpad(upper(to_hex(tli)), 8, '0') || '.history', 0, 65536, true), "
    "(select string_agg(application_name, ',') from pg_stat_replication where state = "
    "'streaming'), "
    "case when not r then (select '0/0'::pg_lsn + ('x' || substr(min(f), 1, 8))::bit(32)::bigint * "
    "4294967296::numeric + ('x' || substr(min(f), 9))::bit(32)::bigint * "
    "pg_size_bytes(current_setting('wal_segment_size')) from (select substr(name, 9) f from "
    "pg_ls_dir('pg_wal') name where name ~ '^[0-9A-F]{24}$') w) end "
    "from s, t";

static void close_conn(struct db_node *n)
{
    fm_pg_close(&n->conn);
    n->asks = false;
}

static void again(struct db_node *n)
{
    n->ask_at = fm_mono_add_ms(fm_mono_now(), AGAIN_MS);
}

static bool read_lsn(struct fm_str s, struct fm_lsn *out)
{
    *out = FM_LSN_NONE;
    return !s.p || fm_lsn_parse(s, out);
}

static bool take_history(struct db_history *to, struct fm_timeline line, struct fm_str text)
{
    if (text.n > sizeof to->text)
        return false;
    memcpy(to->text, text.p ? text.p : "", text.n);
    to->h = (struct fm_history){line, fm_str(to->text, text.n)};
    return fm_history_is_valid(&to->h);
}

/* Those that are named, one bit each by their number. */
static uint32_t numbers_of(const struct db_node *n, struct fm_str names)
{
    uint32_t mask = 0;
    while (names.p) {
        struct fm_str rest, name = fm_str_cut(names, ',', &rest);
        for (unsigned i = 0; i < n->nnodes; i++)
            if (n->of[i].in_file && fm_str_eqz(name, n->of[i].name))
                mask |= 1u << i;
        names = rest;
    }
    return mask;
}

static bool take(struct db_node *n, const struct fm_pg_result *r)
{
    uint64_t line, system;
    if (r->rows != 1 || r->columns != COLUMNS || !fm_str_u64(fm_pg_value(r, 0, 1), &line) ||
        line > UINT32_MAX || !fm_str_u64(fm_pg_value(r, 0, 2), &system))
        return false;
    struct fm_group_report s = {.at = fm_mono_now(),
                                .system_id = system,
                                .timeline = {(uint32_t)line},
                                .recovery = fm_str_eqz(fm_pg_value(r, 0, 0), "t"),
                                .streaming = fm_str_eqz(fm_pg_value(r, 0, 5), "t")};
    if (!read_lsn(fm_pg_value(r, 0, 3), &s.flush) || !read_lsn(fm_pg_value(r, 0, 4), &s.replay) ||
        !read_lsn(fm_pg_value(r, 0, 8), &s.kept) ||
        !take_history(&n->history, s.timeline, fm_pg_value(r, 0, 6)))
        return false;
    s.begins = fm_history_origin(&n->history.h).end;
    n->said = s;
    n->streaming = s.recovery ? 0 : numbers_of(n, fm_pg_value(r, 0, 7));
    n->heard_at = s.at;
    return true;
}

/* -------- what others need of a primary -------- */

/* Each node has a slot of its own at a primary, and keeps nothing back as a standby, for evidence
 * neither (db_evidence.c). At a primary those go that are nobody's any more, and those that have
 * lost what they kept are made anew. */
#define MAKE_SLOTS                                                                                 \
    "select pg_drop_replication_slot(slot_name)::text from pg_replication_slots where slot_type "  \
    "= 'physical' and slot_name like 'fulmar\\_%' and not active and (wal_status = 'lost' or not " \
    "slot_name = any ($1::text[])) union all "                                                     \
    "select (pg_create_physical_replication_slot(s, true)).slot_name::text from unnest($1::"       \
    "text[]) s where not exists (select from pg_replication_slots where slot_name = s and "        \
    "wal_status <> 'lost')"
#define DROP_SLOTS                                                                                 \
    "select pg_drop_replication_slot(slot_name) from pg_replication_slots where (slot_type = "     \
    "'physical' and slot_name like 'fulmar\\_%' or slot_type = 'logical' and starts_with("         \
    "slot_name, '" FM_PG_EVIDENCE_SLOT "')) and not active and $1::text[] is not null"

/* Nobody waits for it any longer: what could not be made is tried again. */
static void not_prepared(struct db_node *n, const char *what, const struct fm_error *e)
{
    fm_log(FM_LOG_WARN, what, FM_KZ("group", n->group), FM_KE(e));
    n->prepared = true;
    n->prepare_at = fm_mono_add_ms(fm_mono_now(), PREPARE_MS);
    if (n->conn.state != FM_PG_CONN_READY)
        close_conn(n);
}

static bool prepare(struct db_node *n);

static void slots_done(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, conn);
    n->asks = false;
    if (r->error.code) {
        n->slots = DB_SLOTS_NOT;
        not_prepared(n, "database_slots", &r->error);
    }
    (void)prepare(n);
}

static bool make_slots(struct db_node *n)
{
    char list[FM_GROUP_NODES_MAX * (DB_NAME_ROOM + 1) + 2];
    struct fm_buf b = fm_buf(list, sizeof list);
    struct fm_mono now = fm_mono_now();
    bool primary = !n->said.recovery;
    int wanted = primary ? DB_SLOTS_OF_PRIMARY : DB_SLOTS_OF_STANDBY;
    if ((int)n->slots == wanted && (!primary || fm_mono_before(now, n->slots_at)))
        return false;
    fm_buf_ch(&b, '{');
    for (unsigned i = 0, any = 0; i < n->nnodes; i++)
        if (i != n->self && n->of[i].in_file)
            fm_buf_printf(&b, "%s%s", any++ ? "," : "", n->of[i].slot);
    fm_buf_ch(&b, '}');
    fm_buf_ch(&b, '\0');
    FM_ASSERT(!b.full);
    const char *params[] = {list};
    n->slots = primary ? DB_SLOTS_OF_PRIMARY : DB_SLOTS_OF_STANDBY;
    n->slots_at = fm_mono_add_ms(now, SLOTS_MS);
    n->asks = true;
    fm_pg_query(&n->conn, primary ? MAKE_SLOTS : DROP_SLOTS, params, 1, QUERY_MS, slots_done);
    return true;
}

static void role_done(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, conn);
    n->asks = false;
    n->role = r->error.code == FM_ERR_OK;
    if (n->role)
        n->prepared = true;
    else
        not_prepared(n, "database_role", &r->error);
    db_node_turn(n);
}

/* Whoever writes makes the role by which the others replicate, in case it is not there yet. */
static bool make_role(struct db_node *n)
{
    char text[ROLE_ROOM];
    struct fm_buf b = fm_buf(text, sizeof text);
    struct fm_error e = {0};
    if (n->role || n->said.recovery)
        return false;
    if (fm_pg_replication_role_write(&b, FM_STR("fulmar_replication"), fm_str_z(n->replication),
                                     &e)) {
        not_prepared(n, "database_role", &e);
        return false;
    }
    fm_buf_ch(&b, '\0');
    FM_ASSERT(!b.full);
    n->asks = true;
    fm_pg_command(&n->conn, text, QUERY_MS, role_done);
    explicit_bzero(text, sizeof text);
    return true;
}

/* Slots and the role, one after the other, at once: who hears of a primary comes to copy it. False:
 * there is nothing to do now. */
static bool prepare(struct db_node *n)
{
    if (n->asks || n->conn.state != FM_PG_CONN_READY || n->heard_at.ns == 0 ||
        fm_mono_before(fm_mono_now(), n->prepare_at))
        return false;
    return make_slots(n) || make_role(n);
}

/* -------- what it says of itself -------- */

/* It works. Why a standby receives nothing (a password, pg_hba, an address, a slot at its primary)
 * it writes into its log alone. */
static void look_for_trouble(struct db_node *n)
{
    struct fm_mono now = fm_mono_now();
    char text[TAIL_ROOM], words[FM_WORDS_ROOM];
    bool hears = !n->said.recovery || n->said.streaming || n->streamed_at.ns == 0 ||
                 n->as == DB_AS_APART; /* on purpose */
    if (hears)
        n->streamed_at = now;
    if (hears || fm_mono_sub_ms(now, n->streamed_at) < DEAF_MS) {
        n->trouble[0] = 0;
        return;
    }
    if (fm_mono_before(now, n->deaf_at))
        return;
    n->deaf_at = fm_mono_add_ms(now, DEAF_MS / 2);
    (void)fm_outlog_tail(&n->log, text, sizeof text);
    bool says = fm_words_stream(text, words);
    bool delayed = n->of[n->self].delay_ms > 0; /* it asks for more when it needs it */
    snprintf(n->trouble, sizeof n->trouble, "it receives nothing from its primary%s%.210s",
             says      ? ": "
             : delayed ? " until it has applied what it has"
                       : "",
             says ? words : "");
}

static void asked(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, conn);
    n->asks = false;
    again(n);
    if (r->error.code) {
        snprintf(n->trouble, sizeof n->trouble, "PostgreSQL does not answer: %.200s", r->error.msg);
        close_conn(n);
    } else if (take(n, r)) {
        look_for_trouble(n);
        (void)prepare(n);
    } else {
        snprintf(n->trouble, sizeof n->trouble, "PostgreSQL says what cannot be understood");
    }
    db_node_turn(n);
}

static void may_ask(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, conn);
    n->asks = false;
    n->ask_at = fm_mono_now();
    if (!r->error.code)
        return;
    snprintf(n->trouble, sizeof n->trouble, "PostgreSQL does not answer: %.200s", r->error.msg);
    close_conn(n);
    again(n);
}

/* Planning the statement costs several times what it does, and it is asked always. */
static void opened(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, conn);
    if (db_listen_is_other(n, c)) {
        close_conn(n);
        again(n);
        return;
    }
    if (!r->error.code) {
        fm_pg_command(c, prepare_sql, QUERY_MS, may_ask);
        return;
    }
    n->asks = false;
    snprintf(n->trouble, sizeof n->trouble, "PostgreSQL lets nobody in: %.200s", r->error.msg);
    again(n);
}

static void lost(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, conn);
    (void)r;
    close_conn(n);
    again(n);
}

void db_ask_init(struct db_node *n)
{
    fm_pg_init(&n->conn, n->d->c.loop, n->group, lost);
    fm_pg_init(&n->drain, n->d->c.loop, n->group, NULL);
    fm_pg_init(&n->settle, n->d->c.loop, n->group, NULL);
    db_evidence_init(n);
}

void db_ask_open(struct db_node *n, struct fm_pg_conn *c, int64_t ms, fm_pg_done *done)
{
    db_ask_open_at(n, c, "postgres", ms, done);
}

void db_ask_open_at(struct db_node *n, struct fm_pg_conn *c, const char *database, int64_t ms,
                    fm_pg_done *done)
{
    struct fm_addr at;
    if (fm_addr_ip(&at, FM_STR("127.0.0.1"), n->of[n->self].port))
        FM_UNREACHABLE();
    struct fm_pg_target t = {.addr = &at,
                             .user = "fulmar_admin",
                             .database = database,
                             .password = n->admin,
                             .application_name = "fulmar",
                             .options = "-c synchronous_commit=local -c statement_timeout=60s",
                             .sslmode = "disable"};
    fm_pg_open(c, &t, ms, done);
}

/* -------- before a planned stop -------- */

/* Whether it went well or not: the stop only takes longer. */
static void drained(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, drain);
    if (r->error.code)
        fm_log(FM_LOG_WARN, "database_drain", FM_KZ("group", n->group), FM_KE(&r->error));
    fm_pg_close(c);
    n->drained = DB_DRAIN_DONE;
}

static void may_drain(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    if (r->error.code)
        drained(c, r);
    else
        fm_pg_command(c,
                      "checkpoint; select pg_terminate_backend(active_pid) from "
                      "pg_replication_slots where slot_type = 'logical' and active",
                      DRAIN_MS, drained);
}

void db_ask_drain(struct db_node *n)
{
    if (n->drained != DB_DRAIN_NOT || !n->up)
        return;
    n->drained = DB_DRAIN_RUNS;
    db_ask_open(n, &n->drain, DB_OPEN_MS, may_drain);
}

/* -------- after a promotion -------- */

/* Whether it went well or not: PostgreSQL writes one by itself sooner or later. */
static void settled(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, settle);
    if (r->error.code)
        fm_log(FM_LOG_WARN, "database_settle", FM_KZ("group", n->group), FM_KE(&r->error));
    fm_pg_close(c);
    n->settled = true;
}

static void may_settle(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    if (r->error.code)
        settled(c, r);
    else
        fm_pg_command(c, "set statement_timeout = 0; checkpoint", SETTLE_MS, settled);
}

void db_ask_settle(struct db_node *n)
{
    if (n->settles || !n->up || !n->promoted || n->as != DB_AS_OPEN)
        return;
    n->settles = true;
    db_ask_open(n, &n->settle, DB_OPEN_MS, may_settle);
}

void db_ask_let_go(struct db_node *n)
{
    fm_pg_close(&n->drain);
    n->drained = DB_DRAIN_NOT;
}

void db_ask_turn(struct db_node *n)
{
    if (!n->up || n->asks || n->d->stopped || fm_mono_before(fm_mono_now(), n->ask_at))
        return;
    if (n->conn.state == FM_PG_CONN_CLOSED) {
        n->asks = true;
        db_ask_open(n, &n->conn, DB_OPEN_MS, opened);
    } else if (n->conn.state == FM_PG_CONN_READY && !prepare(n)) {
        n->asks = true;
        fm_pg_command(&n->conn, "execute fulmar_state", QUERY_MS, asked);
    }
}

void db_ask_end(struct db_node *n)
{
    close_conn(n);
    db_ask_let_go(n);
    n->ask_at = n->heard_at = n->streamed_at = n->deaf_at = FM_MONO_ZERO;
    n->said = (struct fm_group_report){.state = 0};
    n->streaming = 0;
    db_credit_end(n);
    db_probe_end(n);
    db_trial_end(n);
    db_evidence_end(n);
    n->slots = DB_SLOTS_NOT;
    n->role = n->prepared = false;
    n->prepare_at = n->slots_at = FM_MONO_ZERO;
    fm_pg_close(&n->settle);
    n->settles = n->settled = false;
}

/* A primary answers when what others need of it was made. */
bool db_ask_is_fresh(const struct db_node *n)
{
    return n->up && n->heard_at.ns && (n->said.recovery || n->prepared) &&
           fm_mono_sub_ms(fm_mono_now(), n->heard_at) < FRESH_MS;
}
