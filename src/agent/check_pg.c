/* Checks of PostgreSQL: does it let the user in, is it what it should be, does it answer the query?
 * A connection for each run, so that a server whose connections are used up fails. See check_io.h.
 * Invariant: nothing of a run is left on the server when it has ended; a query that takes too long
 * is cancelled. */
#include "agent/check_io.h"

#include "base/assert.h"
#include "base/file.h"

#include <stdio.h>
#include <string.h>

enum { PASSWORD_ROOM = 1024, STATE_COLUMNS = 3 };

/* A standby that receives, and has replayed all of it, is not behind, however old the last commit
 * is. Everybody may see the pid of the receiver. */
static const char state_sql[] =
    "select pg_is_in_recovery(), current_setting('transaction_read_only'), "
    "case when not pg_is_in_recovery() then 0 "
    "when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() "
    "and exists (select from pg_stat_wal_receiver where pid is not null) then 0 "
    "else (extract(epoch from "
    "clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000)::bigint end";

static struct fm_check_io *of(struct fm_pg_conn *c)
{
    return fm_container_of(c, struct fm_check_io, pg);
}

/* Of the check's time. */
static int64_t left_ms(const struct fm_check_io *io)
{
    int64_t ms = io->conf->timeout_ms - fm_mono_sub_ms(fm_mono_now(), io->started);
    return ms > 1 ? ms : 1;
}

static bool has_failed(struct fm_check_io *io, const struct fm_pg_result *r)
{
    FM_ASSERT(io->running);
    if (!r->error.code)
        return false;
    if (r->error.code == FM_ERR_TIMEOUT)
        fm_check_io_fail(io, "no result within %lld ms", (long long)io->conf->timeout_ms);
    else
        fm_check_io_fail(io, "%s", r->error.msg);
    return true;
}

static void answered(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct fm_check_io *io = of(c);
    if (has_failed(io, r))
        return;
    bool any = r->rows > 0 && r->columns > 0;
    if (any && fm_str_eqz(fm_pg_value(r, 0, 0), "f"))
        fm_check_io_fail(io, "the answer to the query is `false`");
    else
        fm_check_io_ok(io);
}

/* False where it is not known. It is less than nothing where the clock of the primary is ahead. */
static bool read_lag(struct fm_str s, uint64_t *ms)
{
    *ms = 0;
    return s.p && ((s.n > 1 && s.p[0] == '-') || fm_str_u64(s, ms));
}

/* Is the server what it should be? Says so where not. */
static bool is_fit(struct fm_check_io *io, const struct fm_pg_result *r)
{
    uint64_t lag_ms = 0;
    bool known = read_lag(fm_pg_value(r, 0, 2), &lag_ms);
    bool standby = fm_str_eqz(fm_pg_value(r, 0, 0), "t");
    bool read_only = standby || fm_str_eqz(fm_pg_value(r, 0, 1), "on");
    FM_ASSERT(io->running && r->columns == STATE_COLUMNS);
    if (io->conf->pg.access == FM_ACCESS_READ_WRITE && read_only)
        fm_check_io_fail(io,
                         standby ? "it is a standby, not a primary" : "it is set to be read-only");
    else if (io->conf->pg.access == FM_ACCESS_READ_ONLY && !read_only)
        fm_check_io_fail(io, "it takes writes, and should be read-only");
    else if (io->conf->pg.replay_lag_ms && !known)
        fm_check_io_fail(io, "how far it is behind is unknown: it has replayed nothing yet");
    else if (io->conf->pg.replay_lag_ms && lag_ms > (uint64_t)io->conf->pg.replay_lag_ms)
        fm_check_io_fail(io, "it is %llu ms behind, the bound is %lld ms",
                         (unsigned long long)lag_ms, (long long)io->conf->pg.replay_lag_ms);
    else
        return true;
    return false;
}

static void told_state(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct fm_check_io *io = of(c);
    if (has_failed(io, r))
        return;
    if (r->rows != 1 || r->columns != STATE_COLUMNS) {
        fm_check_io_fail(io, "answered with %u rows and %u columns: it is not PostgreSQL", r->rows,
                         r->columns);
        return;
    }
    if (!is_fit(io, r))
        return;
    if (io->conf->pg.query.n)
        fm_pg_query(c, io->conf->pg.query.p, NULL, 0, left_ms(io), answered);
    else
        fm_check_io_ok(io);
}

static void opened(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    if (!has_failed(of(c), r))
        fm_pg_query(c, state_sql, NULL, 0, left_ms(of(c)), told_state);
}

void fm_check_pg_start(struct fm_check_io *io)
{
    const struct fm_conf_check *k = io->conf;
    char password[PASSWORD_ROOM];
    size_t n = 0;
    struct fm_error e;
    FM_ASSERT(k->type == FM_CHECK_POSTGRES && io->running && io->addr.len > 0);
    fm_loop_cancel(io->loop, &io->timer);
    if (k->pg.password_file.n &&
        fm_file_secret(k->pg.password_file.p, password, sizeof password, &n, &e)) {
        fm_check_io_fail(io, "%s", e.msg);
        return;
    }
    password[n] = 0;
    struct fm_pg_target t = {.addr = &io->addr,
                             .user = k->pg.user.p,
                             .database = k->pg.database.p,
                             .password = n ? password : NULL,
                             .application_name = "fulmar-check"};
    fm_pg_init(&io->pg, io->loop, k->name.p, NULL);
    fm_pg_open(&io->pg, &t, left_ms(io), opened);
    explicit_bzero(password, sizeof password);
}

void fm_check_pg_abort(struct fm_check_io *io)
{
    if (io->pg.loop)
        fm_pg_close(&io->pg);
}
