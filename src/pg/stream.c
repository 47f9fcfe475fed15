/* The stream: see the header. Invariants: a position is reported only once the caller has said it,
 * and none goes back; at most one report waits to leave, the newest. A message that is not of the
 * protocol ends it. */
#include "pg/stream.h"

#include "base/assert.h"

#include <stdio.h>

enum {
    DATA_HEADER = 1 + 8 + 8 + 8,
    KEEPALIVE_LEN = 1 + 8 + 8 + 1,
    REPORT_LEN = 1 + 4 * 8 + 1,
    EPOCH_DIFFERENCE_S = 946684800, /* 2000-01-01 since 1970-01-01 */
    REST_MS = 5,
};

static struct fm_pg_stream *of(struct fm_pg_conn *c)
{
    return fm_container_of(c, struct fm_pg_stream, conn);
}

bool fm_pg_stream_is_up(const struct fm_pg_stream *s)
{
    return s->conn.state == FM_PG_CONN_COPYING;
}

/* -------- the end -------- */

void fm_pg_stream_end(struct fm_pg_stream *s)
{
    fm_loop_cancel(s->conn.loop, &s->quiet);
    fm_pg_close(&s->conn);
}

/* With what the connection was told. */
static void ended(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct fm_pg_stream *s = of(c);
    FM_ASSERT(r->error.code != FM_ERR_OK);
    struct fm_pg_result kept = *r;
    kept.value = NULL;
    fm_pg_stream_end(s);
    s->ended(s, &kept);
}

static void end_because(struct fm_pg_stream *s, enum fm_err code, const char *why)
{
    struct fm_pg_result r = {.rows = 0};
    fm_error_set(&r.error, code, "%s", why);
    ended(&s->conn, &r);
}

/* -------- upstream -------- */

static char *put64(char *p, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++)
        *p++ = (char)(v >> (56 - 8 * i));
    return p;
}

/* `asks`: the server is to say something. */
static void report(struct fm_pg_stream *s, bool asks)
{
    char m[REPORT_LEN];
    char *p = m;
    int64_t us = fm_wall_now_ns() / FM_NS_PER_US - (int64_t)EPOCH_DIFFERENCE_S * 1000000;
    *p++ = 'r';
    p = put64(p, s->said.written.n);
    p = put64(p, s->said.flushed.n);
    p = put64(p, s->said.applied.n);
    p = put64(p, (uint64_t)us);
    *p++ = asks;
    FM_ASSERT(p == m + sizeof m);
    s->owes = !fm_pg_copy_put(&s->conn, fm_str(m, sizeof m));
}

void fm_pg_stream_report(struct fm_pg_stream *s, const struct fm_pg_positions *p)
{
    FM_ASSERT(fm_pg_stream_is_up(s));
    FM_ASSERT(!fm_lsn_before(p->flushed, s->said.flushed));
    s->said = *p;
    report(s, false);
}

static void room(struct fm_pg_conn *c)
{
    struct fm_pg_stream *s = of(c);
    if (s->owes)
        report(s, false);
}

/* -------- downstream -------- */

static uint64_t get64(const char *p)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 8; i++)
        v = v << 8 | (uint8_t)p[i];
    return v;
}

static void moved_to(struct fm_pg_stream *s, uint64_t end)
{
    if (end <= s->end.n)
        return;
    s->end.n = end;
    s->moved(s);
}

static void data(struct fm_pg_conn *c, struct fm_str m)
{
    struct fm_pg_stream *s = of(c);
    s->heard = true;
    if (m.n >= DATA_HEADER && m.p[0] == 'w') {
        uint64_t end = get64(m.p + 9);
        uint64_t got = get64(m.p + 1) + (m.n - DATA_HEADER);
        moved_to(s, fm_max_u64(end, got));
    } else if (m.n == KEEPALIVE_LEN && m.p[0] == 'k') {
        if (m.p[KEEPALIVE_LEN - 1])
            report(s, false);
        moved_to(s, get64(m.p + 1));
    } else {
        end_because(s, FM_ERR_INVALID, "the server sent what is no message of a stream");
    }
}

static void be_quiet(struct fm_timer *t)
{
    struct fm_pg_stream *s = fm_container_of(t, struct fm_pg_stream, quiet);
    if (!s->heard && s->asked) {
        end_because(s, FM_ERR_TIMEOUT, "the server says nothing any more");
        return;
    }
    s->asked = !s->heard;
    s->heard = false;
    if (s->asked)
        report(s, true);
    fm_loop_timer_in_ms(s->conn.loop, &s->quiet, s->silence_ms / 2 + 1);
}

/* -------- the beginning -------- */

static const struct fm_pg_copy copy = {
    .data = data, .room = room, .ended = ended, .rest_ms = REST_MS};

static void started(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct fm_pg_stream *s = of(c);
    if (r->error.code != FM_ERR_OK) {
        ended(c, r);
        return;
    }
    s->heard = true;
    fm_loop_timer_in_ms(c->loop, &s->quiet, s->silence_ms / 2 + 1);
    s->begun(s);
}

static bool read_identity(struct fm_pg_stream *s, const struct fm_pg_result *r)
{
    uint64_t timeline;
    if (r->rows != 1 || r->columns < 3 || !fm_str_u64(fm_pg_value(r, 0, 0), &s->system_id) ||
        !fm_str_u64(fm_pg_value(r, 0, 1), &timeline) ||
        !fm_lsn_parse(fm_pg_value(r, 0, 2), &s->end))
        return false;
    s->timeline.n = (uint32_t)timeline;
    return timeline > 0 && timeline <= UINT32_MAX && s->system_id != 0;
}

static void identified(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct fm_pg_stream *s = of(c);
    char sql[96], lsn[FM_LSN_ROOM];
    if (r->error.code != FM_ERR_OK) {
        ended(c, r);
    } else if (!read_identity(s, r)) {
        end_because(s, FM_ERR_INVALID, "the server does not say who it is");
    } else {
        snprintf(sql, sizeof sql, "START_REPLICATION PHYSICAL %s TIMELINE %u",
                 fm_lsn_write(lsn, s->end), s->timeline.n);
        fm_pg_copy_begin(c, sql, s->step_ms, started, &copy);
    }
}

static void opened(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    if (r->error.code != FM_ERR_OK)
        ended(c, r);
    else
        fm_pg_command(c, "IDENTIFY_SYSTEM", of(c)->step_ms, identified);
}

void fm_pg_stream_init(struct fm_pg_stream *s, struct fm_loop *l, const char *label)
{
    *s = (struct fm_pg_stream){.system_id = 0};
    fm_pg_init(&s->conn, l, label, ended);
    fm_timer_init(&s->quiet, be_quiet);
}

void fm_pg_stream_begin(struct fm_pg_stream *s, const struct fm_pg_target *t)
{
    FM_ASSERT(s->begun && s->moved && s->ended && s->step_ms > 0 && s->silence_ms > 0);
    struct fm_pg_target mine = *t;
    mine.application_name = FM_PG_CREDIT_NAME;
    mine.replication = true;
    s->said = (struct fm_pg_positions){FM_LSN_NONE, FM_LSN_NONE, FM_LSN_NONE};
    s->system_id = 0;
    s->timeline.n = 0;
    s->end = FM_LSN_NONE;
    s->heard = s->asked = s->owes = false;
    fm_pg_open(&s->conn, &mine, s->step_ms, opened);
}
