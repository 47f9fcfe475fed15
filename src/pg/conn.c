/* The connection: see the header. Invariants: `done` is set exactly while an operation is under
 * way (FM_PG_CONN_OPENING, FM_PG_CONN_BUSY, or a failure that waits for its turn); it is called
 * last, after which nothing of the connection is touched, since its owner may have freed it; libpq
 * is never asked for anything that could block: results are fetched while PQisBusy denies, input is
 * consumed when the descriptor is readable. It does not retry. */
#include "pg/conn.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { CANCELS_MAX = 8, STATE_LEN = 5 };
enum { LITTLE = 32 * 1024 }; /* of a stream, in a turn: it keeps up, and may rest */

struct fm_pg_room {
    struct fm_str value[FM_PG_VALUES_MAX];
    char text[FM_PG_TEXT_MAX];
};

struct fm_str fm_pg_value(const struct fm_pg_result *r, unsigned row, unsigned column)
{
    FM_ASSERT(row < r->rows && column < r->columns);
    return r->value[row * r->columns + column];
}

int fm_pg_server_version(const struct fm_pg_conn *c)
{
    return c->pg ? PQserverVersion(c->pg) : 0;
}

int fm_pg_server_process(const struct fm_pg_conn *c)
{
    return c->pg ? PQbackendPID(c->pg) : 0;
}

/* -------- errors -------- */

/* The code of an error by its class (PostgreSQL documentation, appendix A). */
static enum fm_err code_of(const char *sqlstate)
{
    static const struct {
        const char *prefix;
        enum fm_err code;
    } codes[] = {
        {"28", FM_ERR_PERMISSION},   {"42501", FM_ERR_PERMISSION},
        {"3D000", FM_ERR_NOT_FOUND}, {"42P01", FM_ERR_NOT_FOUND},
        {"42704", FM_ERR_NOT_FOUND}, {"42883", FM_ERR_NOT_FOUND},
        {"42703", FM_ERR_NOT_FOUND}, {"42710", FM_ERR_EXISTS},
        {"42P04", FM_ERR_EXISTS},    {"42P06", FM_ERR_EXISTS},
        {"42P07", FM_ERR_EXISTS},    {"23505", FM_ERR_EXISTS},
        {"53", FM_ERR_LIMIT},        {"54", FM_ERR_LIMIT},
        {"57", FM_ERR_STATE},        {"55", FM_ERR_STATE},
        {"25", FM_ERR_STATE},        {"40", FM_ERR_STATE},
        {"08", FM_ERR_IO},           {"58", FM_ERR_IO},
        {"XX", FM_ERR_IO},
    };
    for (size_t i = 0; i < FM_COUNT(codes); i++)
        if (strncmp(sqlstate, codes[i].prefix, strlen(codes[i].prefix)) == 0)
            return codes[i].code;
    return FM_ERR_INVALID;
}

static void fail(struct fm_pg_conn *c, enum fm_err code, const char *text)
{
    struct fm_error *e = &c->result.error;
    size_t n = text ? strcspn(text, "\n") : 0; /* the lines behind it are for psql */
    fm_error_set(e, code, "%.*s", (int)fm_min_size(n, sizeof e->msg), text ? text : "");
    if (n == 0)
        fm_error_set(e, code, "the server said nothing");
    fm_text_tame(e->msg);
    FM_ASSERT(e->code == code && code != FM_ERR_OK);
}

/* The SQLSTATE in a message of a connection that could not be opened, which libpq gives no field
 * for: "...FATAL:  28P01: password authentication failed...". */
static void find_state(const char *message, char out[STATE_LEN + 1])
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    out[0] = 0;
    for (const char *p = message; (p = strstr(p, ":  ")); p++) {
        if (strspn(p + 3, letters) != STATE_LEN || p[3 + STATE_LEN] != ':')
            continue;
        memcpy(out, p + 3, STATE_LEN);
        out[STATE_LEN] = 0;
        return;
    }
}

static void fail_open(struct fm_pg_conn *c)
{
    const char *text = PQerrorMessage(c->pg);
    find_state(text, c->result.sqlstate);
    enum fm_err code = c->result.sqlstate[0] ? code_of(c->result.sqlstate) : FM_ERR_UNREACHABLE;
    if (PQconnectionNeedsPassword(c->pg))
        code = FM_ERR_PERMISSION;
    fail(c, code, text);
}

/* -------- its end -------- */

static void forget_descriptor(struct fm_pg_conn *c)
{
    if (c->watch.fd < 0)
        return;
    fm_loop_unwatch(c->loop, &c->watch);
    close(c->watch.fd);
    c->watch.fd = -1;
}

/* The connection that hands out messages, one after the other, on this thread: a callback may close
 * it, free it, or open it anew, and then there are no more of them. */
static _Thread_local struct fm_pg_conn *handing;

/* Of libpq only: what was found out stays for who is told. */
static void drop(struct fm_pg_conn *c)
{
    forget_descriptor(c);
    fm_loop_cancel(c->loop, &c->deadline);
    fm_loop_cancel(c->loop, &c->soon);
    if (c->pg)
        PQfinish(c->pg);
    c->pg = NULL;
    c->state = FM_PG_CONN_CLOSED;
    c->unsent = c->wants_room = c->starts_copy = c->rests = false;
    if (handing == c)
        handing = NULL;
}

void fm_pg_close(struct fm_pg_conn *c)
{
    drop(c);
    c->done = NULL;
    c->copy = NULL;
    free(c->room);
    c->room = NULL;
    c->result = (struct fm_pg_result){.rows = 0};
}

/* Tell the owner. The last thing that is done with the connection. */
static void tell(struct fm_pg_conn *c)
{
    fm_pg_done *done = c->done;
    FM_ASSERT(done && c->state != FM_PG_CONN_BUSY && c->state != FM_PG_CONN_OPENING);
    fm_loop_cancel(c->loop, &c->deadline);
    c->done = NULL;
    c->result.value = c->room ? c->room->value : NULL;
    if (c->result.error.code != FM_ERR_OK)
        c->result.rows = c->result.columns = 0;
    done(c, &c->result);
}

/* The connection ended with the error that is in the result. */
static void end(struct fm_pg_conn *c)
{
    FM_ASSERT(c->result.error.code != FM_ERR_OK);
    enum fm_pg_conn_state was = c->state;
    const struct fm_pg_copy *copy = c->copy;
    drop(c);
    c->copy = NULL;
    c->result.rows = c->result.columns = 0;
    if (c->done)
        tell(c);
    else if (was == FM_PG_CONN_COPYING)
        copy->ended(c, &c->result);
    else if (c->lost)
        c->lost(c, &c->result);
}

static void copy_readable(struct fm_pg_conn *c);

/* For what it is ready is looked for; that it is broken is always told. */
static void rewatch(struct fm_pg_conn *c)
{
    uint32_t reads = c->rests ? 0 : EPOLLIN, writes = c->unsent ? EPOLLOUT : 0;
    fm_loop_rewatch(c->loop, &c->watch, reads | writes);
}

static void rest(struct fm_pg_conn *c)
{
    FM_ASSERT(c->state == FM_PG_CONN_COPYING && !c->rests);
    c->rests = true;
    rewatch(c);
    fm_loop_timer_in_ms(c->loop, &c->soon, c->copy->rest_ms);
}

/* What could not even be begun is told in a turn of the loop, too; and what came behind the answer
 * that began a stream, or while it rested, may be in libpq's buffer, where no readiness tells of
 * it. */
static void soon(struct fm_timer *t)
{
    struct fm_pg_conn *c = fm_container_of(t, struct fm_pg_conn, soon);
    if (c->state != FM_PG_CONN_COPYING) {
        end(c);
        return;
    }
    if (c->rests) {
        c->rests = false;
        rewatch(c);
    }
    copy_readable(c);
}

static void fail_soon(struct fm_pg_conn *c)
{
    FM_ASSERT(c->done && c->result.error.code != FM_ERR_OK);
    fm_loop_timer_in_ms(c->loop, &c->soon, 0);
}

static void timed_out(struct fm_timer *t)
{
    struct fm_pg_conn *c = fm_container_of(t, struct fm_pg_conn, deadline);
    FM_ASSERT(c->done);
    fail(c, FM_ERR_TIMEOUT,
         c->state == FM_PG_CONN_OPENING ? "no connection within its time"
                                        : "no answer within its time");
    if (c->state == FM_PG_CONN_BUSY)
        fm_pg_cancel(c);
    end(c);
}

/* -------- readiness -------- */

static void ready(struct fm_watch *w, uint32_t events);

static bool watch(struct fm_pg_conn *c, uint32_t events)
{
    struct fm_error *e = &c->result.error;
    int fd = PQsocket(c->pg);
    FM_ASSERT(c->watch.fd < 0);
    int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) {
        fm_error_errno(e, FM_ERR_LIMIT, errno, "cannot watch the connection");
        return false;
    }
    c->watch.ready = ready;
    if (fm_loop_watch(c->loop, &c->watch, copy, events, e) != FM_ERR_OK) {
        close(copy);
        return false;
    }
    return true;
}

/* What waits to be sent; a failure shows when the answer is read. */
static void flush(struct fm_pg_conn *c)
{
    c->unsent = PQflush(c->pg) > 0;
    rewatch(c);
}

/* -------- notices -------- */

static void noticed(void *user, const PGresult *r)
{
    struct fm_pg_conn *c = user;
    if (++c->notices > FM_PG_NOTICES_MAX)
        return;
    char text[512];
    const char *severity = PQresultErrorField(r, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    const char *said = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    snprintf(text, sizeof text, "%s", said ? said : PQresultErrorMessage(r));
    fm_text_tame(text);
    /* a notice, information or a log line of the server is no news for an operator */
    bool grave = severity && (severity[0] == 'W' || severity[0] == 'E' || severity[0] == 'F' ||
                              severity[0] == 'P');
    fm_log(grave ? FM_LOG_WARN : FM_LOG_DEBUG, "pg_notice", FM_KZ("server", c->label),
           FM_KZ("severity", severity ? severity : ""), FM_KZ("sqlstate", state ? state : ""),
           FM_KZ("text", text), FM_KB("last", c->notices == FM_PG_NOTICES_MAX));
}

/* -------- opening -------- */

enum { PAIRS_MAX = 24 };

struct pairs {
    const char *key[PAIRS_MAX], *value[PAIRS_MAX];
    unsigned n;
};

static void pair(struct pairs *p, const char *key, const char *value)
{
    FM_ASSERT(p->n < PAIRS_MAX - 1);
    if (!value || !value[0])
        return;
    p->key[p->n] = key;
    p->value[p->n++] = value;
    p->key[p->n] = p->value[p->n] = NULL;
}

/* No file, also for root; /dev/null itself would be complained about. */
#define NO_FILE "/dev/null/none"

/* What is not said explicitly libpq takes from the environment and the home folder. */
static PGconn *start(const struct fm_pg_target *t)
{
    char ip[FM_ADDR_TEXT_MAX] = "", port[8];
    struct pairs p = {.n = 0};
    if (t->addr) {
        fm_addr_format_ip(t->addr, ip);
        snprintf(port, sizeof port, "%u", fm_addr_port(t->addr));
        pair(&p, "hostaddr", ip);
        pair(&p, "host", t->server_name ? t->server_name : ip);
    } else {
        FM_ASSERT(t->socket_folder && t->socket_folder[0] == '/');
        snprintf(port, sizeof port, "%u", t->port);
        pair(&p, "host", t->socket_folder);
    }
    FM_ASSERT(t->user && t->user[0]);
    pair(&p, "port", port);
    pair(&p, "user", t->user);
    pair(&p, "dbname", t->database ? t->database : t->replication ? "replication" : "postgres");
    pair(&p, "password", t->password);
    pair(&p, "passfile", t->passfile ? t->passfile : NO_FILE);
    pair(&p, "application_name", t->application_name ? t->application_name : "fulmar");
    /* poolers refuse the parameter, whatever it says: only where there is something to hide */
    pair(&p, "options", t->options ? t->options : getenv("PGOPTIONS") ? " " : NULL);
    pair(&p, "client_encoding", "UTF8");
    pair(&p, "sslmode", t->sslmode ? t->sslmode : "prefer");
    pair(&p, "sslrootcert", t->sslrootcert ? t->sslrootcert : NO_FILE);
    pair(&p, "sslcert", t->sslcert ? t->sslcert : NO_FILE);
    pair(&p, "sslkey", t->sslkey ? t->sslkey : NO_FILE);
    pair(&p, "gssencmode", "disable"); /* it would ask name servers, and block */
    pair(&p, "target_session_attrs", "any");
    pair(&p, "replication", t->replication ? "true" : NULL);
    return PQconnectStartParams(p.key, p.value, 0);
}

static void begin(struct fm_pg_conn *c, int64_t ms, fm_pg_done *done)
{
    FM_ASSERT(!c->done && done && ms > 0);
    c->done = done;
    c->notices = 0;
    c->too_much = false;
    c->text_n = 0;
    c->result = (struct fm_pg_result){.rows = 0};
    fm_loop_timer_in_ms(c->loop, &c->deadline, ms);
}

static void opened(struct fm_pg_conn *c)
{
    if (PQsetnonblocking(c->pg, 1) != 0 || !watch(c, EPOLLIN)) {
        if (c->result.error.code == FM_ERR_OK)
            fail(c, FM_ERR_MEMORY, PQerrorMessage(c->pg));
        end(c);
        return;
    }
    c->state = FM_PG_CONN_READY;
    tell(c);
}

/* libpq may take another socket with each step, so the old one is forgotten before it. */
static void open_step(struct fm_pg_conn *c)
{
    forget_descriptor(c);
    PostgresPollingStatusType step = PQconnectPoll(c->pg);
    if (step == PGRES_POLLING_OK) {
        opened(c);
    } else if (step == PGRES_POLLING_FAILED) {
        fail_open(c);
        end(c);
    } else if (!watch(c, step == PGRES_POLLING_READING ? EPOLLIN : EPOLLOUT)) {
        end(c);
    }
}

void fm_pg_init(struct fm_pg_conn *c, struct fm_loop *l, const char *label, fm_pg_done *lost)
{
    FM_ASSERT(l && label);
    *c = (struct fm_pg_conn){.loop = l, .lost = lost, .watch = {.fd = -1}};
    fm_timer_init(&c->deadline, timed_out);
    fm_timer_init(&c->soon, soon);
    snprintf(c->label, sizeof c->label, "%s", label);
}

void fm_pg_open(struct fm_pg_conn *c, const struct fm_pg_target *t, int64_t ms, fm_pg_done *done)
{
    FM_ASSERT(c->state == FM_PG_CONN_CLOSED && !c->pg);
    begin(c, ms, done);
    c->state = FM_PG_CONN_OPENING;
    c->pg = start(t);
    if (!c->pg) {
        fail(c, FM_ERR_MEMORY, "no memory for a connection");
        fail_soon(c);
        return;
    }
    PQsetErrorVerbosity(c->pg, PQERRORS_VERBOSE); /* for find_state */
    PQsetNoticeReceiver(c->pg, noticed, c);
    if (PQstatus(c->pg) == CONNECTION_BAD) {
        fail_open(c);
        fail_soon(c);
    } else if (!watch(c, EPOLLOUT)) {
        fail_soon(c);
    }
}

/* -------- results -------- */

static bool make_room(struct fm_pg_conn *c)
{
    if (!c->room)
        c->room = malloc(sizeof *c->room);
    if (!c->room && c->result.error.code == FM_ERR_OK)
        fail(c, FM_ERR_MEMORY, "no memory for the result");
    return c->room;
}

static bool keep_value(struct fm_pg_conn *c, const PGresult *r, int row, int column, size_t at)
{
    if (PQgetisnull(r, row, column)) {
        c->room->value[at] = fm_str(NULL, 0);
        return true;
    }
    size_t n = (size_t)PQgetlength(r, row, column);
    if (n >= FM_PG_TEXT_MAX - c->text_n)
        return false;
    char *to = c->room->text + c->text_n;
    memcpy(to, PQgetvalue(r, row, column), n);
    to[n] = 0;
    c->room->value[at] = fm_str(to, n);
    c->text_n += n + 1;
    return true;
}

/* Rows that are too many are still read, and dropped: the connection stays in step. */
static void keep_rows(struct fm_pg_conn *c, const PGresult *r)
{
    struct fm_pg_result *to = &c->result;
    unsigned columns = (unsigned)PQnfields(r);
    if (to->error.code != FM_ERR_OK || c->too_much || !make_room(c))
        return;
    FM_ASSERT(to->rows == 0 || to->columns == columns || PQntuples(r) == 0);
    if (to->rows == 0)
        to->columns = columns;
    for (int row = 0; row < PQntuples(r) && !c->too_much; row++) {
        size_t at = (size_t)to->rows * columns;
        c->too_much = to->rows == FM_PG_ROWS_MAX || at + columns > FM_PG_VALUES_MAX;
        for (unsigned i = 0; i < columns && !c->too_much; i++)
            c->too_much = !keep_value(c, r, row, (int)i, at + i);
        to->rows += !c->too_much;
    }
    if (c->too_much)
        fail(c, FM_ERR_LIMIT, "the result is too large");
}

/* The first one: what libpq says of the connection behind it says less. */
static void keep_error(struct fm_pg_conn *c, const PGresult *r)
{
    if (c->result.error.code != FM_ERR_OK)
        return;
    const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);
    const char *said = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    snprintf(c->result.sqlstate, sizeof c->result.sqlstate, "%s", state ? state : "");
    bool bad = PQstatus(c->pg) == CONNECTION_BAD;
    enum fm_err code = bad || !state ? FM_ERR_IO : code_of(state);
    fail(c, code, said ? said : PQresultErrorMessage(r));
}

/* Returns false where the connection cannot be used any further. */
static bool take_result(struct fm_pg_conn *c, const PGresult *r)
{
    ExecStatusType status = PQresultStatus(r);
    uint64_t n;
    if (status == PGRES_SINGLE_TUPLE || status == PGRES_TUPLES_OK) {
        keep_rows(c, r);
    } else if (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE) {
        keep_error(c, r);
        return true;
    } else if (status != PGRES_COMMAND_OK && status != PGRES_EMPTY_QUERY) {
        fail(c, FM_ERR_INVALID, "the statement copies data");
        return false;
    }
    if (fm_str_u64(fm_str_z(PQcmdTuples((PGresult *)(uintptr_t)r)), &n))
        c->result.affected = n;
    return true;
}

static void fail_lost(struct fm_pg_conn *c)
{
    if (c->result.error.code == FM_ERR_OK)
        fail(c, FM_ERR_IO, PQerrorMessage(c->pg));
    c->result.error.code = FM_ERR_IO; /* what it said last may stand there already */
    end(c);
}

static void finished(struct fm_pg_conn *c)
{
    if (c->starts_copy && c->result.error.code == FM_ERR_OK) {
        fail(c, FM_ERR_INVALID, "the command did not begin a stream");
        end(c);
        return;
    }
    c->state = FM_PG_CONN_READY;
    c->starts_copy = false;
    c->copy = NULL;
    tell(c);
}

static void busy_readable(struct fm_pg_conn *c)
{
    FM_ASSERT(c->done);
    while (c->state == FM_PG_CONN_BUSY && !PQisBusy(c->pg)) {
        PGresult *r = PQgetResult(c->pg);
        if (!r) {
            if (PQstatus(c->pg) == CONNECTION_BAD)
                fail_lost(c);
            else
                finished(c);
            return;
        }
        bool begins = PQresultStatus(r) == PGRES_COPY_BOTH && c->starts_copy;
        bool goes_on = begins || take_result(c, r);
        PQclear(r);
        if (begins) {
            c->state = FM_PG_CONN_COPYING;
            c->starts_copy = false;
            fm_loop_timer_in_ms(c->loop, &c->soon, 0);
            tell(c);
            return;
        }
        if (!goes_on) {
            end(c);
            return;
        }
    }
    if (PQstatus(c->pg) == CONNECTION_BAD)
        fail_lost(c);
}

/* -------- queries -------- */

static void sent(struct fm_pg_conn *c, int ok)
{
    if (!ok) {
        fail(c, FM_ERR_IO, PQerrorMessage(c->pg));
        fail_soon(c);
        return;
    }
    flush(c);
}

void fm_pg_query(struct fm_pg_conn *c, const char *sql, const char *const *params, unsigned nparams,
                 int64_t ms, fm_pg_done *done)
{
    FM_ASSERT(c->state == FM_PG_CONN_READY && nparams <= FM_PG_PARAMS_MAX);
    begin(c, ms, done);
    c->state = FM_PG_CONN_BUSY;
    int ok = PQsendQueryParams(c->pg, sql, (int)nparams, NULL, params, NULL, NULL, 0);
    sent(c, ok && PQsetSingleRowMode(c->pg));
}

static void send_simple(struct fm_pg_conn *c, const char *sql, int64_t ms, fm_pg_done *done)
{
    FM_ASSERT(c->state == FM_PG_CONN_READY);
    begin(c, ms, done);
    c->state = FM_PG_CONN_BUSY;
    sent(c, PQsendQuery(c->pg, sql) && PQsetSingleRowMode(c->pg));
}

void fm_pg_command(struct fm_pg_conn *c, const char *sql, int64_t ms, fm_pg_done *done)
{
    send_simple(c, sql, ms, done);
}

void fm_pg_copy_begin(struct fm_pg_conn *c, const char *sql, int64_t ms, fm_pg_done *done,
                      const struct fm_pg_copy *copy)
{
    FM_ASSERT(copy && copy->data && copy->ended && !c->copy);
    c->copy = copy;
    c->starts_copy = true;
    send_simple(c, sql, ms, done);
}

/* -------- streaming -------- */

static void fail_copy(struct fm_pg_conn *c)
{
    if (!PQisBusy(c->pg)) {
        PGresult *r = PQgetResult(c->pg);
        if (r && PQresultStatus(r) == PGRES_FATAL_ERROR)
            keep_error(c, r);
        PQclear(r);
    }
    if (c->result.error.code == FM_ERR_OK)
        fail(c, FM_ERR_IO,
             PQstatus(c->pg) == CONNECTION_BAD ? PQerrorMessage(c->pg)
                                               : "the server ended the stream");
    end(c);
}

static void copy_readable(struct fm_pg_conn *c)
{
    FM_ASSERT(!handing && c->copy && !c->done);
    size_t came = 0;
    c->notices = 0;
    handing = c;
    while (handing == c) {
        char *message = NULL;
        int n = PQgetCopyData(c->pg, &message, 1);
        if (n > 0) {
            came += (size_t)n;
            c->copy->data(c, fm_str(message, (size_t)n));
            PQfreemem(message);
            continue;
        }
        handing = NULL;
        if (n < 0 || PQstatus(c->pg) == CONNECTION_BAD)
            fail_copy(c);
        else if (came && came < LITTLE && c->copy->rest_ms > 0 && !c->rests)
            rest(c);
        return;
    }
}

bool fm_pg_copy_put(struct fm_pg_conn *c, struct fm_str message)
{
    FM_ASSERT(c->state == FM_PG_CONN_COPYING && message.n > 0 && message.n <= INT32_MAX);
    if (c->unsent || PQputCopyData(c->pg, message.p, (int)message.n) != 1) {
        c->wants_room = true;
        return false;
    }
    flush(c);
    return true;
}

/* -------- what the loop brings -------- */

/* Nothing was asked: the server said something by itself, or is gone. */
static void idle_readable(struct fm_pg_conn *c)
{
    PGnotify *n;
    (void)PQisBusy(c->pg); /* makes libpq look at it */
    while ((n = PQnotifies(c->pg)))
        PQfreemem(n);
    c->notices = 0;
    if (PQstatus(c->pg) != CONNECTION_BAD)
        return;
    c->result = (struct fm_pg_result){.rows = 0};
    fail_lost(c);
}

static void ready(struct fm_watch *w, uint32_t events)
{
    struct fm_pg_conn *c = fm_container_of(w, struct fm_pg_conn, watch);
    if (c->state == FM_PG_CONN_OPENING) {
        open_step(c);
        return;
    }
    if (events & ~(uint32_t)EPOLLOUT)
        (void)PQconsumeInput(c->pg); /* a failure is in its status */
    if (c->unsent)
        flush(c);
    if (c->wants_room && !c->unsent) {
        c->wants_room = false;
        handing = c;
        if (c->copy->room)
            c->copy->room(c);
        if (!handing)
            return;
        handing = NULL;
    }
    if (c->state == FM_PG_CONN_COPYING)
        copy_readable(c);
    else if (c->state == FM_PG_CONN_BUSY)
        busy_readable(c);
    else
        idle_readable(c);
}

/* -------- cancelling -------- */

static _Atomic unsigned cancels;

static void *cancel(void *arg)
{
    char why[256];
    PQcancel(arg, why, sizeof why); /* what came of it the query tells */
    PQfreeCancel(arg);
    atomic_fetch_sub(&cancels, 1);
    return NULL;
}

/* It connects anew, which blocks: so a detached thread, with a copy of what it needs. */
void fm_pg_cancel(struct fm_pg_conn *c)
{
    pthread_t thread;
    pthread_attr_t detached;
    if (c->state != FM_PG_CONN_BUSY)
        return;
    if (atomic_fetch_add(&cancels, 1) >= CANCELS_MAX || pthread_attr_init(&detached)) {
        atomic_fetch_sub(&cancels, 1);
        return;
    }
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    PGcancel *what = PQgetCancel(c->pg);
    if (!what || pthread_create(&thread, &detached, cancel, what)) {
        PQfreeCancel(what);
        atomic_fetch_sub(&cancels, 1);
    }
    pthread_attr_destroy(&detached);
}
