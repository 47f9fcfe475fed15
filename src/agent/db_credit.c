/* The commit path of a primary: its agent stands on it as the synchronous standby fulmar_credit,
 * and says how far commits may be acknowledged. core/credit.h decides; this feeds it and carries
 * out what it says. See db.h. Invariants: nothing is vouched for but by a node that serves, which
 * is looked at right before it is sent; whom PostgreSQL waits for beside us counts only where the
 * stream was begun after it was told to.
 *
 * How far standbys have flushed is what they report to this server in the replication protocol, and
 * no message between agents: it is of this server's history in any case, it comes as fast as the
 * log goes, and it costs a statement now and then while somebody writes: the more of the grant is
 * used, the more often. */
#include "agent/db.h"

#include "agent/message_group.h"
#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    FAST_MS = 8,  /* between looks while half of what was granted is used */
    SLOW_MS = 80, /* ... while it is not: the stream tells when it is */
    SETTINGS_MS = 1000,
    STEP_MS = 1000, /* of a connection's beginning, and of a statement */
    SILENCE_MS = 5000,
    AGAIN_MS = 50,      /* after a connection was lost */
    PATIENCE_MS = 1000, /* commits that wait for so long have used the credit up */
    COLUMNS = 5,
};

/* Who receives, with what it has on disk. Read before the end of the log is. A walsender that began
 * before a node lost its data speaks of data that are gone. */
static const char *const prepare_sql =
    "prepare fulmar_look as select (select string_agg(application_name || '=' || "
    "coalesce(flush_lsn, '0/0') || '=' || "
    "(state = 'streaming')::int || '=' || (extract(epoch from backend_start) * 1000)::bigint, ',') "
    "from pg_stat_replication), pg_current_wal_flush_lsn(), pg_current_wal_insert_lsn(), "
    "current_setting('synchronous_standby_names') ~ '^FIRST [0-9]+ \\(fulmar_c', "
    "(extract(epoch from clock_timestamp()) * 1000)::bigint";

/* Whose commits wait for nobody: a role or a database for which it is set, or all of them. */
static const char *const lowered_sql =
    "select coalesce((select string_agg(distinct coalesce('role ' || rolname, 'database ' || "
    "datname), ', ') from pg_db_role_setting s left join pg_roles r on r.oid = s.setrole left join "
    "pg_database d on d.oid = s.setdatabase, unnest(s.setconfig) c where c ~ "
    "'^synchronous_commit=' and c !~ '=(on|remote_apply|true|yes|1)$'), '') || case when exists "
    "(select from pg_file_settings f where f.name = 'synchronous_commit' and f.applied and "
    "f.setting !~ '^(on|remote_apply|true|yes|1)$') then ' everybody' else '' end, "
    "pg_current_wal_insert_lsn()";

static const struct fm_conf_group *conf_of(const struct db_node *n)
{
    return &n->d->conf->groups[n->conf];
}

bool db_credit_guards(const struct db_node *n)
{
    return fm_credit_guards(conf_of(n)->replication.credit_bytes >= 0, &n->cell.r.evidence);
}

static uint64_t declared(const struct db_node *n)
{
    int64_t bytes = conf_of(n)->replication.credit_bytes;
    return bytes < 0 ? FM_CREDIT_UNLIMITED : (uint64_t)bytes;
}

static bool is_open(const struct db_node *n)
{
    return n->g.state == FM_GROUP_PRIMARY || n->g.state == FM_GROUP_DRAINING;
}

/* Those of our own region, where nothing may be acknowledged that they lack. */
static uint32_t near_of(const struct db_node *n)
{
    uint32_t near = 0, able = db_able(n);
    if (conf_of(n)->replication.in_region != FM_CONF_IN_REGION_SYNC)
        return 0;
    for (unsigned i = 0; i < n->nnodes; i++)
        near |= n->of[i].region == n->of[n->self].region ? able & UINT32_C(1) << i : 0;
    return near;
}

static struct fm_credit_policy policy_of(const struct db_node *n)
{
    bool blocks = conf_of(n)->replication.beyond == FM_CONF_BEYOND_BLOCK_WRITES;
    return (struct fm_credit_policy){.bytes = declared(n),
                                     .time_ms = conf_of(n)->replication.max_loss.time_ms,
                                     .beyond = blocks ? FM_CREDIT_BLOCKS : FM_CREDIT_LEAVES,
                                     .patience_ms = PATIENCE_MS,
                                     .able = db_able(n),
                                     .near = near_of(n)};
}

uint32_t db_credit_natives(const struct db_node *n)
{
    struct fm_credit_policy p = policy_of(n);
    const struct fm_evidence *r = &n->cell.r.evidence;
    const struct fm_credit *c = n->credit.on ? &n->credit.c : NULL;
    return db_waits(n) ? fm_credit_names(&p, c, r->promotable) : fm_credit_near_names(c, r->near);
}

void db_credit_asked(struct db_node *n, struct fm_revision over, const struct fm_evidence *e)
{
    fm_credit_ask(&n->credit.asked, over, e);
}

/* -------- the grant -------- */

static void report(struct db_node *n, struct fm_lsn to, struct fm_mono until)
{
    struct db_credit *k = &n->credit;
    struct fm_mono now = fm_mono_now();
    bool more = fm_credit_is_due(to, k->said, k->stream.end);
    bool again = fm_credit_is_due_again(k->said, k->said_at, until, now);
    if (!fm_pg_stream_is_up(&k->stream) || !(more || again))
        return;
    to = more ? to : k->said;
    k->said = to;
    k->said_at = now;
    fm_pg_stream_report(&k->stream, &(struct fm_pg_positions){to, to, to});
}

static void give(struct db_node *n)
{
    struct db_credit *k = &n->credit;
    struct fm_mono now = fm_mono_now();
    if (!k->on)
        return;
    bool serves = is_open(n) && n->ev.sub && fm_group_serves(&n->g, &n->ev, now);
    struct fm_mono until = serves ? n->ev.sub->until : FM_MONO_ZERO;
    report(n, fm_credit_grant(&k->c, until, now), until);
}

/* How soon to look again while the log moves: whoever waits for a grant, or will soon, is not to
 * wait for us. What PostgreSQL waits for beside us it is told by them. */
static int64_t pace(const struct db_node *n)
{
    return db_credit_guards(n) && fm_credit_is_short(&n->credit.c) ? FAST_MS : SLOW_MS;
}

/* -------- the stream -------- */

static void begun(struct fm_pg_stream *s)
{
    struct db_node *n = fm_container_of(s, struct db_node, credit.stream);
    n->credit.said = FM_LSN_NONE;
    if (n->credit.on)
        fm_credit_written(&n->credit.c, s->end, fm_mono_now());
    give(n);
}

static void moved(struct fm_pg_stream *s)
{
    struct db_node *n = fm_container_of(s, struct db_node, credit.stream);
    struct db_credit *k = &n->credit;
    if (!k->on)
        return;
    fm_credit_written(&k->c, s->end, fm_mono_now());
    give(n);
    int64_t ms = pace(n);
    struct fm_mono soon = fm_mono_add_ms(fm_mono_now(), ms);
    if (!k->asks && fm_mono_before(soon, k->look_at)) {
        k->look_at = soon;
        fm_loop_timer_in_ms(n->d->c.loop, &k->timer, ms);
    }
}

static void ended(struct fm_pg_stream *s, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(s, struct db_node, credit.stream);
    fm_log(FM_LOG_WARN, "database_stream_ended", FM_KZ("group", n->group), FM_KE(&r->error));
    n->credit.stream_at = fm_mono_add_ms(fm_mono_now(), AGAIN_MS);
}

static void begin_stream(struct db_node *n)
{
    struct fm_addr at;
    if (fm_addr_ip(&at, FM_STR("127.0.0.1"), n->of[n->self].port))
        FM_UNREACHABLE();
    struct fm_pg_target t = {.addr = &at,
                             .user = "fulmar_replication",
                             .password = n->replication,
                             .sslmode = "disable"};
    fm_pg_stream_begin(&n->credit.stream, &t);
}

static void keep_stream(struct db_node *n)
{
    struct db_credit *k = &n->credit;
    bool wanted = (db_credit_guards(n) || n->guards) && n->up && n->primary && n->heard_at.ns &&
                  !n->said.recovery && n->role && !n->ending;
    bool stands = k->stream.conn.state != FM_PG_CONN_CLOSED;
    bool fits = fm_credit_stream_fits(&k->knows, n->as == DB_AS_OPEN, n->waits);
    if (stands && (!wanted || !fits))
        fm_pg_stream_end(&k->stream);
    stands &= wanted && fits;
    if (wanted && !stands && !fm_mono_before(fm_mono_now(), k->stream_at))
        begin_stream(n);
}

/* -------- looking -------- */

static int find_node(const struct db_node *n, struct fm_str name)
{
    for (unsigned i = 0; i < n->nnodes; i++)
        if (i != n->self && n->of[i].in_file && fm_str_eqz(name, n->of[i].name))
            return (int)i;
    return -1;
}

/* name=flush=streams=began,... Those that are not named receive nothing. */
static void take_standbys(struct db_node *n, struct fm_str list)
{
    struct db_credit *k = &n->credit;
    struct fm_lsn flush[FM_GROUP_NODES_MAX] = {{0}};
    uint32_t streams = 0;
    while (list.p) {
        struct fm_str rest, at, does, began,
            name = fm_str_cut(fm_str_cut(list, ',', &rest), '=', &at);
        int i = find_node(n, name);
        uint64_t since;
        struct fm_lsn to;
        list = rest;
        at = at.p ? fm_str_cut(at, '=', &does) : at;
        does = at.p && does.p ? fm_str_cut(does, '=', &began) : fm_str(NULL, 0);
        if (i < 0 || !does.p || !fm_lsn_parse(at, &to) || !fm_str_u64(began, &since) ||
            since <= k->lost_at[i])
            continue;
        flush[i] = fm_lsn_max(flush[i], to);
        streams |= fm_str_eqz(does, "1") ? UINT32_C(1) << i : 0;
    }
    for (unsigned i = 0; i < n->nnodes; i++)
        if (i != n->self)
            fm_credit_flushed(&k->c, i, flush[i], streams >> i & 1, fm_mono_now());
}

static bool take_look(struct db_node *n, const struct fm_pg_result *r)
{
    struct db_credit *k = &n->credit;
    struct fm_lsn flushed, end;
    if (r->error.code || r->rows != 1 || r->columns != COLUMNS ||
        !fm_lsn_parse(fm_pg_value(r, 0, 1), &flushed) ||
        !fm_lsn_parse(fm_pg_value(r, 0, 2), &end) ||
        !fm_str_u64(fm_pg_value(r, 0, 4), &k->server_ms))
        return false;
    struct fm_mono now = fm_mono_now();
    take_standbys(n, fm_pg_value(r, 0, 0));
    fm_credit_written(&k->c, flushed, now);
    if (db_credit_guards(n))
        fm_credit_in_force(&k->c, fm_str_eqz(fm_pg_value(r, 0, 3), "t") && !k->lowered[0], end,
                           now);
    k->seen = true;
    return true;
}

static void next_look(struct db_node *n, int64_t ms)
{
    n->credit.asks = false;
    n->credit.look_at = fm_mono_add_ms(fm_mono_now(), ms);
    fm_loop_timer_in_ms(n->d->c.loop, &n->credit.timer, ms);
}

static void looked(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, credit.conn);
    struct db_credit *k = &n->credit;
    struct fm_lsn before = k->c.written;
    uint32_t wanted = k->v.wanted, joining = k->v.joining;
    if (!k->on) {
        k->asks = false;
        return;
    }
    if (!take_look(n, r)) {
        fm_pg_close(c);
        next_look(n, AGAIN_MS);
        return;
    }
    give(n);
    db_credit_turn(n);
    bool moves = k->v.waiting || fm_lsn_before(before, k->c.written);
    next_look(n, moves ? pace(n) : SLOW_MS);
    if (k->v.wanted != wanted || k->v.joining != joining)
        db_node_turn(n);
}

/* Commits of such sessions are behind no grant; a session that says so itself is seen by nobody. A
 * commit whose wait was cancelled is before the end of the log that is read after that. */
static void took_lowered(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, credit.conn);
    struct db_credit *k = &n->credit;
    struct fm_lsn end;
    k->asks = false;
    bool good = !r->error.code && r->rows == 1 && r->columns == 2 &&
                fm_lsn_parse(fm_pg_value(r, 0, 1), &end);
    k->cancelled |= !good && k->asks_cancelled;
    if (!k->on || !good) {
        fm_pg_close(c);
        next_look(n, AGAIN_MS);
        return;
    }
    char who[sizeof k->lowered];
    snprintf(who, sizeof who, "%.*s", FM_STR_ARG(fm_pg_value(r, 0, 0)));
    fm_text_tame(who);
    if (strcmp(who, k->lowered) != 0)
        fm_log(FM_LOG_WARN, "database_synchronous_commit", FM_KZ("group", n->group),
               FM_KZ("lowered_for", who));
    memcpy(k->lowered, who, sizeof who);
    if (who[0] && db_credit_guards(n)) /* until it is over, whatever they write */
        fm_credit_in_force(&k->c, false, end, fm_mono_now());
    if (k->asks_cancelled)
        fm_credit_hole(&k->c, end);
    k->asks_cancelled = false;
    next_look(n, FAST_MS);
}

static void may_look(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, credit.conn);
    if (r->error.code)
        fm_pg_close(c);
    next_look(n, r->error.code ? AGAIN_MS : 0);
}

/* Planning the statement costs several times what it does. */
static void opened(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, credit.conn);
    if (r->error.code)
        next_look(n, AGAIN_MS);
    else
        fm_pg_command(c, prepare_sql, STEP_MS, may_look);
}

static void lost(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, credit.conn);
    (void)r;
    fm_pg_close(c);
    next_look(n, AGAIN_MS);
}

static void moved_on(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, credit.conn);
    if (r->error.code)
        fm_pg_close(c);
    next_look(n, FAST_MS);
}

static void move_on(struct db_node *n, uint64_t by)
{
    char bytes[24];
    const char *params[] = {bytes};
    snprintf(bytes, sizeof bytes, "%llu", (unsigned long long)by);
    n->credit.asks = true;
    fm_pg_query(&n->credit.conn,
                "select pg_logical_emit_message(false, 'fulmar', repeat('-', $1::int))", params, 1,
                STEP_MS, moved_on);
}

static void due(struct fm_timer *t)
{
    struct db_node *n = fm_container_of(t, struct db_node, credit.timer);
    struct db_credit *k = &n->credit;
    struct fm_mono now = fm_mono_now();
    uint64_t by;
    if (!k->on || k->asks || n->d->stopped)
        return;
    if (k->conn.state == FM_PG_CONN_CLOSED) {
        k->asks = true;
        db_ask_open(n, &k->conn, DB_OPEN_MS, opened);
    } else if (k->conn.state != FM_PG_CONN_READY) {
        next_look(n, AGAIN_MS);
    } else if ((by = fm_credit_move_on(&k->c, &k->v, now)) > 0) {
        move_on(n, by);
    } else if (k->cancelled || fm_mono_sub_ms(now, k->settings_at) >= SETTINGS_MS) {
        k->asks = true;
        k->settings_at = now;
        k->asks_cancelled = k->cancelled;
        k->cancelled = false;
        fm_pg_query(&k->conn, lowered_sql, NULL, 0, STEP_MS, took_lowered);
    } else {
        k->asks = true;
        fm_pg_command(&k->conn, "execute fulmar_look", STEP_MS, looked);
    }
}

/* -------- the machine -------- */

void db_credit_reset(struct db_node *n)
{
    struct fm_credit_policy p = policy_of(n);
    if (n->credit.on)
        fm_credit_reset(&n->credit.c, &p);
}

static void begin(struct db_node *n)
{
    struct db_credit *k = &n->credit;
    struct fm_mono now = fm_mono_now();
    struct fm_credit_policy p = policy_of(n);
    fm_credit_init(&k->c, &p, (uint8_t)n->self, &n->cell.r.evidence, n->said.flush, now);
    k->on = true;
    k->seen = false;
    k->v = (struct fm_credit_verdict){.wanted = k->c.wanted};
    k->settings_at = now;
    k->lowered[0] = 0;
    k->asks_cancelled = false;
    memset(k->lost_at, 0, sizeof k->lost_at);
    /* it was closed until now, and what it is told next is to wait for us */
    if (db_credit_guards(n))
        fm_credit_in_force(&k->c, true, n->said.flush, now);
    next_look(n, 0);
}

static void stop(struct db_node *n)
{
    struct db_credit *k = &n->credit;
    fm_pg_close(&k->conn);
    fm_loop_cancel(n->d->c.loop, &k->timer);
    k->on = k->asks = k->seen = false;
}

static void say_bound(struct db_node *n)
{
    struct db_credit *k = &n->credit;
    struct fm_credit_bound b = fm_credit_bound(&k->c);
    bool other = !k->said_bound || k->bound.kind != b.kind;
    k->bound = b;
    k->said_bound = true;
    if (other)
        fm_log(b.kind == FM_CREDIT_ENFORCED ? FM_LOG_INFO : FM_LOG_WARN, "loss_if_now",
               FM_KZ("group", n->group),
               FM_KZ("kind", fm_credit_kind_name((enum fm_credit_kind)b.kind)),
               FM_KU("bytes", b.bytes), FM_KU("transactions", b.transactions),
               FM_KB("waiting", k->v.waiting),
               FM_KZ("held_up_by", k->v.node < n->nnodes ? n->of[k->v.node].name : NULL));
}

/* As they have said last: one that is silent since is not waited for either. */
static uint32_t apart_of(const struct db_node *n)
{
    uint32_t apart = 0;
    for (unsigned i = 0; i < n->nnodes; i++)
        if (i != n->self && n->of[i].in_file && n->of[i].report.apart_ms > 0)
            apart |= UINT32_C(1) << i;
    return apart;
}

void db_credit_turn(struct db_node *n)
{
    struct db_credit *k = &n->credit;
    const struct fm_evidence *r = &n->cell.r.evidence;
    keep_stream(n);
    if (!is_open(n) || !n->up || n->ending) {
        if (k->on)
            stop(n);
        return;
    }
    if (!k->on && n->heard_at.ns && !n->said.recovery)
        begin(n);
    if (!k->on)
        return;
    fm_credit_hear(&k->c, &k->asked, n->cell.revision, r, declared(n), fm_mono_now());
    fm_credit_native(&k->c, k->knows.names & n->waits & n->waits_next);
    fm_credit_apart(&k->c, apart_of(n));
    give(n);
    if (!k->seen)
        return;
    k->v = fm_credit_look(&k->c, fm_mono_now());
    say_bound(n);
}

void db_credit_see(const struct db_node *n, struct fm_group_evidence *ev)
{
    const struct db_credit *k = &n->credit;
    const struct fm_evidence *r = &n->cell.r.evidence;
    bool known = k->on && k->seen;
    ev->counted = known ? k->v.wanted : r->promotable;
    ev->near = known ? k->v.near : r->near;
    ev->credit = known ? fm_max_u64(fm_credit_counts_with(&k->c), declared(n)) : r->credit;
    ev->holes_to = known ? fm_credit_holes_to(&k->c) : (struct fm_lsn){r->holes_to};
    if (known && !db_credit_guards(n)) { /* it waits for nobody */
        ev->counted = n->streaming & db_able(n);
        ev->near = 0;
        ev->holes_to = FM_LSN_NONE;
    }
    ev->self.loss = k->bound;
}

bool db_credit_in_region(const struct db_node *n, struct fm_credit_bound *out)
{
    return fm_group_loss_in_region(n->cell.revision.n ? &n->cell.r.evidence : NULL, n->report,
                                   n->nnodes, n->policy.fresh_ms, fm_mono_now(), out);
}

json_t *db_credit_json(const struct db_node *n)
{
    const struct db_credit *k = &n->credit;
    char at[FM_LSN_ROOM];
    if (!k->on)
        return json_null();
    const char *held_up_by = k->v.waiting && k->v.node < n->nnodes ? n->of[k->v.node].name : NULL;
    struct fm_group_apart a;
    const char *to = db_node_apart(n, &a);
    json_t *loss = fm_message_group_loss_json(&k->bound);
    fm_message_group_apart_add(loss, to, &a);
    struct fm_credit_bound near;
    fm_message_group_in_region_add(loss, db_credit_in_region(n, &near) ? &near : NULL);
    json_t *granted = json_string(fm_lsn_write(at, k->c.granted));
    json_t *written = json_string(fm_lsn_write(at, k->c.written));
    return json_pack("{s:o,s:o,s:o,s:b,s:b,s:s?,s:s?}", "loss_if_now", loss, "granted", granted,
                     "written", written, "streams", (int)fm_pg_stream_is_up(&k->stream), "waiting",
                     (int)k->v.waiting, "held_up_by", held_up_by, "lowered_for",
                     k->lowered[0] ? k->lowered : NULL);
}

void db_credit_cancelled(struct db_node *n)
{
    struct db_credit *k = &n->credit;
    if (!db_credit_guards(n) || !k->on)
        return;
    k->cancelled = true;
    fm_log(FM_LOG_WARN, "database_wait_cancelled", FM_KZ("group", n->group),
           FM_KZ("meaning", "a commit that a standby may not have was acknowledged"));
    if (!k->asks)
        fm_loop_timer_in_ms(n->d->c.loop, &k->timer, 0);
}

void db_credit_lost(struct db_node *n, unsigned node)
{
    struct db_credit *k = &n->credit;
    if (!k->on)
        return;
    k->lost_at[node] = k->server_ms;
    fm_credit_lost(&k->c, node);
}

void db_credit_init(struct db_node *n)
{
    struct db_credit *k = &n->credit;
    fm_pg_stream_init(&k->stream, n->d->c.loop, n->group);
    k->stream.begun = begun;
    k->stream.moved = moved;
    k->stream.ended = ended;
    k->stream.step_ms = STEP_MS;
    k->stream.silence_ms = SILENCE_MS;
    fm_pg_init(&k->conn, n->d->c.loop, n->group, lost);
    fm_timer_init(&k->timer, due);
    k->bound.kind = FM_CREDIT_UNBOUNDED;
}

void db_credit_end(struct db_node *n)
{
    struct db_credit *k = &n->credit;
    stop(n);
    fm_pg_stream_end(&k->stream);
    k->knows = (struct fm_credit_stream){0};
    k->said_bound = false;
    k->bound = (struct fm_credit_bound){.kind = FM_CREDIT_UNBOUNDED};
}
