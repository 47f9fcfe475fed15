/* The commit path by hand, for tests/system/test_credit.py: pg/stream.h and core/credit.h against
 * real servers of the loopback, before an agent does it.
 *
 *   pg_credit_tool vouch PRIMARY STANDBY BYTES   vouch for the standby; what changes is a line
 *   pg_credit_tool write PRIMARY                 commit after commit; the position of the log
 *                                                before each one that was acknowledged is a line
 *
 * The standby's flush position is asked of itself. SIGUSR1: the sub-lease is not renewed any more.
 * SIGTERM ends it. */
#include "core/credit.h"
#include "io/process.h"
#include "pg/stream.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_MS = 5, SLOW_MS = 50, ANSWER_MS = 1000, LEASE_MS = 1000, SELF = 0, STANDBY = 1 };

static struct fm_loop loop;
static bool renews = true;

static void got_signal(struct fm_signals *s, int signo)
{
    if (signo == SIGUSR1)
        renews = false;
    else
        fm_loop_stop(s->loop);
}

static void target(struct fm_pg_target *t, struct fm_addr *at, const char *port)
{
    char text[32];
    snprintf(text, sizeof text, "127.0.0.1:%s", port);
    if (fm_addr_parse(at, fm_str_z(text)) != FM_ERR_OK)
        exit(64);
    *t = (struct fm_pg_target){.addr = at, .user = "postgres", .sslmode = "disable"};
}

/* -------- vouch -------- */

/* A connection that asks the same again and again, and is opened anew where it is lost. */
struct asker {
    struct fm_pg_conn conn;
    struct fm_pg_target target;
    struct fm_addr at;
    struct fm_timer next;
    const char *sql;
    int64_t every_ms;
    void (*answered)(const struct fm_pg_result *r);
};

static struct {
    struct fm_pg_stream stream;
    struct fm_pg_target target;
    struct fm_addr at;
    struct fm_timer look;
    struct fm_credit credit;
    struct fm_mono until;
    struct fm_lsn said;
    struct asker primary, standby;
    char line[200];
} v;

static void say(void)
{
    char line[sizeof v.line];
    struct fm_credit_bound b = fm_credit_bound(&v.credit);
    snprintf(line, sizeof line,
             "granted=%" PRIu64 " flushed=%" PRIu64 " kind=%s bytes=%" PRIu64 " waiting=%d",
             v.credit.granted.n, v.credit.standby[STANDBY].flush.n, fm_credit_kind_name(b.kind),
             b.bytes, fm_credit_look(&v.credit, loop.now).waiting);
    if (strcmp(line, v.line) == 0)
        return;
    memcpy(v.line, line, sizeof line);
    puts(line);
}

static void go_on(void)
{
    if (renews)
        v.until = fm_mono_add_ms(loop.now, LEASE_MS);
    struct fm_lsn to = fm_credit_grant(&v.credit, v.until, loop.now);
    say(); /* first, so that one that is killed in between has granted no more than it said */
    if (fm_pg_stream_is_up(&v.stream) && fm_lsn_before(v.said, to)) {
        v.said = to;
        fm_pg_stream_report(&v.stream, &(struct fm_pg_positions){to, to, to});
    }
}

static void stream_begun(struct fm_pg_stream *s)
{
    v.said = FM_LSN_NONE;
    fm_credit_written(&v.credit, s->end, loop.now);
    go_on();
}

static void stream_moved(struct fm_pg_stream *s)
{
    fm_credit_written(&v.credit, s->end, loop.now);
    go_on();
}

static void stream_ended(struct fm_pg_stream *s, const struct fm_pg_result *r)
{
    (void)s;
    printf("ended=%s\n", r->error.msg);
}

static void look(struct fm_timer *t)
{
    if (v.stream.conn.state == FM_PG_CONN_CLOSED)
        fm_pg_stream_begin(&v.stream, &v.target);
    go_on();
    fm_loop_timer_in_ms(&loop, t, LOOK_MS);
}

static void answer(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    struct asker *a = fm_container_of(c, struct asker, conn);
    if (r->error.code == FM_ERR_OK && r->rows == 1)
        a->answered(r);
    fm_loop_timer_in_ms(&loop, &a->next, a->every_ms);
}

static void ask(struct fm_timer *t)
{
    struct asker *a = fm_container_of(t, struct asker, next);
    if (a->conn.state == FM_PG_CONN_READY)
        fm_pg_query(&a->conn, a->sql, NULL, 0, ANSWER_MS, answer);
    else
        fm_pg_open(&a->conn, &a->target, ANSWER_MS, answer);
}

static void begin_asking(struct asker *a, const char *port, const char *sql, int64_t every_ms,
                         void (*answered)(const struct fm_pg_result *))
{
    *a = (struct asker){.sql = sql, .every_ms = every_ms, .answered = answered};
    target(&a->target, &a->at, port);
    fm_pg_init(&a->conn, &loop, port, NULL);
    fm_timer_init(&a->next, ask);
    fm_loop_timer_in_ms(&loop, &a->next, 0);
}

static void standby_said(const struct fm_pg_result *r)
{
    struct fm_lsn at;
    if (!fm_lsn_parse(fm_pg_value(r, 0, 0), &at))
        return;
    fm_credit_flushed(&v.credit, STANDBY, at, true, loop.now);
    go_on();
}

static void primary_said(const struct fm_pg_result *r)
{
    struct fm_lsn at;
    bool sync = fm_str_eqz(fm_pg_value(r, 0, 0), "t");
    if (fm_lsn_parse(fm_pg_value(r, 0, 1), &at))
        fm_credit_in_force(&v.credit, sync, at, loop.now);
}

static void vouch(char *const *argv)
{
    struct fm_credit_policy p = {
        .beyond = FM_CREDIT_BLOCKS, .patience_ms = 500, .able = 1u << STANDBY};
    if (!fm_str_u64(fm_str_z(argv[2]), &p.bytes))
        exit(64);
    const struct fm_evidence recorded = {.promotable = 1u << STANDBY};
    fm_credit_init(&v.credit, &p, SELF, &recorded, FM_LSN_NONE, loop.now);
    fm_pg_stream_init(&v.stream, &loop, argv[0]);
    v.stream.begun = stream_begun;
    v.stream.moved = stream_moved;
    v.stream.ended = stream_ended;
    v.stream.step_ms = ANSWER_MS;
    v.stream.silence_ms = 5 * ANSWER_MS;
    target(&v.target, &v.at, argv[0]);
    fm_timer_init(&v.look, look);
    fm_loop_timer_in_ms(&loop, &v.look, 0);
    begin_asking(&v.primary, argv[0],
                 "select exists (select from pg_stat_replication where application_name = "
                 "'" FM_PG_CREDIT_NAME "' and sync_state = 'sync'), pg_current_wal_insert_lsn()",
                 SLOW_MS, primary_said);
    begin_asking(&v.standby, argv[1], "select pg_last_wal_receive_lsn()", LOOK_MS, standby_said);
    fm_loop_run(&loop);
    fm_pg_stream_end(&v.stream);
    fm_pg_close(&v.primary.conn);
    fm_pg_close(&v.standby.conn);
}

/* -------- write -------- */

enum { PATIENT_MS = 3600 * 1000 };

static struct {
    struct fm_pg_conn conn;
    struct fm_lsn before;
} w;

static void write_more(struct fm_pg_conn *c, const struct fm_pg_result *r);

static void fail(const struct fm_pg_result *r)
{
    printf("failed=%s\n", r->error.msg);
    fm_loop_stop(&loop);
}

static void written(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    if (r->error.code != FM_ERR_OK) {
        fail(r);
        return;
    }
    printf("%" PRIu64 "\n", w.before.n);
    write_more(c, r);
}

static void placed(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    if (r->error.code != FM_ERR_OK || !fm_lsn_parse(fm_pg_value(r, 0, 0), &w.before))
        fail(r);
    else
        fm_pg_query(c, "insert into t values (repeat(md5(random()::text), 30))", NULL, 0,
                    PATIENT_MS, written);
}

static void write_more(struct fm_pg_conn *c, const struct fm_pg_result *r)
{
    if (r->error.code != FM_ERR_OK)
        fail(r);
    else
        fm_pg_query(c, "select pg_current_wal_insert_lsn()", NULL, 0, PATIENT_MS, placed);
}

static void write_all(char *const *argv)
{
    struct fm_pg_target t;
    struct fm_addr at;
    target(&t, &at, argv[0]);
    fm_pg_init(&w.conn, &loop, argv[0], NULL);
    fm_pg_open(&w.conn, &t, PATIENT_MS, write_more);
    fm_loop_run(&loop);
    fm_pg_close(&w.conn);
}

int main(int argc, char **argv)
{
    struct fm_pool pool;
    struct fm_signals signals;
    struct fm_error e = {0};
    setvbuf(stdout, NULL, _IOLBF, 0);
    fm_signals_block();
    fm_pool_init(&pool, 1024, 4);
    if (fm_loop_init(&loop, &pool, &e) != FM_ERR_OK ||
        fm_signals_open(&signals, &loop, got_signal, &e) != FM_ERR_OK) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    if (argc == 5 && strcmp(argv[1], "vouch") == 0)
        vouch(argv + 2);
    else if (argc == 3 && strcmp(argv[1], "write") == 0)
        write_all(argv + 2);
    else
        return 64;
    fm_signals_close(&signals);
    fm_loop_deinit(&loop);
    fm_pool_deinit(&pool);
    return 0;
}
