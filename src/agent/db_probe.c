/* Does a primary work? A session of its own each time, so that what lets sessions in is asked, too;
 * and whether what commits wait for gets on. See db.h. It decides nothing: since when all of that
 * has not been so is evidence of core/group.h. Invariant: a probe is bounded, and only one of
 * which nothing stands against counts. */
#include "agent/db.h"

#include <stdio.h>

enum {
    AGAIN_MS = 1000,
    OPEN_MS = 4000,
    QUERY_MS = 4000,
    COLUMNS = 3,
    STAT_ROOM = 512,
    STALL_MS = 1000
};

/* Until where the log is on the disk; does a session wait for more of it; and those of its own
 * processes that can stand still without anybody being turned away. */
static const char *const probe_sql =
    "select pg_current_wal_flush_lsn(), exists (select from pg_stat_activity where backend_type = "
    "'client backend' and wait_event_type in ('IO', 'LWLock') and wait_event like 'WAL%'), "
    "(select string_agg(pid::text, ',') from pg_stat_activity where backend_type in "
    "('checkpointer', 'walwriter'))";

static void over(struct db_node *n)
{
    fm_pg_close(&n->probe.conn);
    n->probe.runs = false;
    n->probe.at = fm_mono_add_ms(fm_mono_now(), AGAIN_MS);
}

/* By a signal, not by who looks at it with a debugger. */
static bool is_stopped(uint64_t pid)
{
    char path[64], text[STAT_ROOM];
    snprintf(path, sizeof path, "/proc/%llu/stat", (unsigned long long)pid);
    FILE *f = fopen(path, "re");
    size_t got = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[got] = 0;
    const char *end = strrchr(text, ')'); /* of its name */
    return end && strncmp(end, ") T", 3) == 0;
}

static bool any_stopped(struct fm_str pids)
{
    while (pids.p) {
        struct fm_str rest, one = fm_str_cut(pids, ',', &rest);
        uint64_t pid;
        if (fm_str_u64(one, &pid) && is_stopped(pid))
            return true;
        pids = rest;
    }
    return false;
}

static void asked(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, probe.conn);
    struct fm_lsn flushed = FM_LSN_NONE;
    bool answers = !r->error.code && r->rows == 1 && r->columns == COLUMNS &&
                   fm_lsn_parse(fm_pg_value(r, 0, 0), &flushed);
    bool waits = answers && fm_str_eqz(fm_pg_value(r, 0, 1), "t");
    bool stands = waits && fm_lsn_same(flushed, n->probe.flushed);
    if (answers && !stands && !any_stopped(fm_pg_value(r, 0, 2)))
        n->probe.well_at = fm_mono_now();
    n->probe.flushed = flushed;
    over(n);
}

/* Who is turned away with a reason was heard by somebody; all the same nobody else may get in. */
static void opened(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct db_node *n = fm_container_of(c, struct db_node, probe.conn);
    bool told = r->error.code == FM_ERR_PERMISSION || r->error.code == FM_ERR_LIMIT;
    if (told)
        n->probe.well_at = fm_mono_now();
    if (r->error.code)
        over(n);
    else
        fm_pg_query(c, probe_sql, NULL, 0, QUERY_MS, asked);
}

void db_probe_init(struct db_node *n)
{
    fm_pg_init(&n->probe.conn, n->d->c.loop, n->group, NULL);
}

void db_probe_turn(struct db_node *n)
{
    bool primary = n->up && n->primary && n->heard_at.ns && !n->said.recovery && !n->ending;
    if (!primary || n->probe.runs || n->d->stopped || fm_mono_before(fm_mono_now(), n->probe.at))
        return;
    if (n->probe.well_at.ns == 0)
        n->probe.well_at = n->heard_at; /* from its first answer on */
    n->probe.runs = true;
    db_ask_open(n, &n->probe.conn, OPEN_MS, opened);
}

struct fm_mono db_probe_well_at(struct db_node *n)
{
    struct fm_mono now = fm_mono_now();
    int64_t away_ms = n->probe.looked_at.ns ? fm_mono_sub_ms(now, n->probe.looked_at) : 0;
    n->probe.looked_at = now;
    if (n->probe.well_at.ns && away_ms > STALL_MS)
        n->probe.well_at = fm_mono_add_ms(n->probe.well_at, away_ms);
    return n->probe.well_at;
}

void db_probe_end(struct db_node *n)
{
    fm_pg_close(&n->probe.conn);
    n->probe.runs = false;
    n->probe.at = n->probe.well_at = FM_MONO_ZERO;
    n->probe.flushed = FM_LSN_NONE;
}
