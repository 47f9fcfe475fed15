/* An isolated look at a data directory: see the header. Runs in a forked child of a process that
 * may have threads: system calls and memory that is there, nothing else. Invariants: nobody but its
 * user reaches the server; when this returns the server was reaped; the file of rows has its name
 * only when it is whole and durable. */
#include "pg/isolated.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/time.h"
#include "pg/control.h"
#include "pg/decoded.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIGN      "lost-rows "
#define PORT      "5432"
#define ROWS_NEW  FM_PG_ROWS_FILE ".new"
#define HBA_FILE  "look.hba"
#define LOG_FILE  "look.log"   /* of the server */
#define TOLD_FILE "look.told"  /* what psql complains of */
#define LIST_FILE "look.slots" /* which there are */
#define PID_FILE  "look.pid"
#define TRIES     "look.tries" /* a byte for each that was begun */

enum {
    READY_MS = 600 * 1000, /* it recovers before */
    LIST_MS = 30 * 1000,
    ROWS_MS = 120 * 1000, /* for each database */
    STOP_MS = 60 * 1000,
    QUIT_MS = 10 * 1000,
    TURN_MS = 20,
    SLOTS_MAX = 16,
    ROWS_BYTES_MAX = 64 * 1024 * 1024,
    TEXT_ROOM = 4096,
    SQL_ROOM = 8192,
    NAME_ROOM = 256,
    ARGS_MAX = 80,
    OWN = 3, /* settings with a path */
};

struct look {
    const struct fm_pg_isolated_job *j;
    struct fm_pg_rows *out;
    int folder;
    pid_t server;
    char list[TEXT_ROOM];
};

/* What outweighs the configuration: nobody comes, nothing goes, and nothing of the log is removed.
 */
static const char *const settings[] = {
    "listen_addresses=",
    ("port=" PORT),
    "unix_socket_permissions=0700",
    "unix_socket_group=",
    "ssl=off",
    "synchronous_standby_names=",
    "primary_conninfo=",
    "archive_mode=off",
    "autovacuum=off",
    "max_logical_replication_workers=0",
    "shared_preload_libraries=",
    "session_preload_libraries=",
    "local_preload_libraries=",
    "wal_keep_size=1TB",
    "max_slot_wal_keep_size=-1",
    "default_transaction_read_only=on",
    "temp_file_limit=1GB",
    "max_parallel_workers_per_gather=0",
    "jit=off",
    "logging_collector=off",
    "log_destination=stderr",
    "restart_after_crash=off",
    "cluster_name=fulmar_look",
};

/* Beats what a role or a database has of its own. */
#define PGOPTIONS                                                                                  \
    "PGOPTIONS=-c default_transaction_read_only=on -c session_preload_libraries= "                 \
    "-c local_preload_libraries= -c search_path=pg_catalog -c statement_timeout=110s "             \
    "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c bytea_output=hex "              \
    "-c extra_float_digits=1"

/* The first reason stays. */
static void why(struct look *l, const char *fmt, ...) FM_PRINTF(2, 3);
static void why(struct look *l, const char *fmt, ...)
{
    va_list ap;
    if (l->out->why[0])
        return;
    va_start(ap, fmt);
    vsnprintf(l->out->why, sizeof l->out->why, fmt, ap);
    va_end(ap);
    for (char *p = l->out->why; *p; p++)
        if (*p == '\n')
            *p = ' ';
    fm_text_tame(l->out->why);
}

/* -------- files -------- */

/* The last bytes of a file, terminated. */
static size_t read_tail(int folder, const char *name, char out[TEXT_ROOM])
{
    struct stat st;
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = -1;
    if (fd >= 0 && fstat(fd, &st) == 0)
        n = pread(fd, out, TEXT_ROOM - 1, st.st_size < TEXT_ROOM ? 0 : st.st_size - TEXT_ROOM + 1);
    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

/* The last line of it that says something. */
static const char *last_line(int folder, const char *name, char text[TEXT_ROOM])
{
    size_t n = read_tail(folder, name, text);
    while (n > 0 && text[n - 1] == '\n')
        text[--n] = '\0';
    const char *line = strrchr(text, '\n');
    return line ? line + 1 : text;
}

static int create(const struct look *l, const char *name)
{
    return openat(l->folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static bool write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t put = write(fd, p, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        p += put;
        n -= (size_t)put;
    }
    return true;
}

/* True where another look may be tried; that it was is durable then. */
static bool count_try(struct look *l)
{
    struct stat st;
    int fd = openat(l->folder, TRIES, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool good = fd >= 0 && fstat(fd, &st) == 0;
    if (!good)
        why(l, "cannot write to %s: %s", l->j->folder, strerrordesc_np(errno));
    else if (st.st_size >= FM_PG_LOOKS_MAX)
        why(l, "%d looks at its data did not end", FM_PG_LOOKS_MAX);
    if (good)
        good = st.st_size < FM_PG_LOOKS_MAX && write_all(fd, ".", 1) && fsync(fd) == 0 &&
               fsync(l->folder) == 0;
    if (fd >= 0)
        close(fd);
    if (!good)
        why(l, "cannot write to %s", l->j->folder);
    return good;
}

/* -------- processes -------- */

struct start {
    char *const *argv, *const *envp;
    int out, err;
    int dies_by; /* with this process */
    rlim_t file_max;
};

static pid_t start(const struct start *s)
{
    pid_t parent = getpid(), pid = _Fork();
    if (pid != 0)
        return pid;
    struct rlimit most = {s->file_max, s->file_max};
    bool own = s->dies_by == SIGKILL || setsid() > 0; /* a server ends by its own signals alone */
    if (!own || prctl(PR_SET_PDEATHSIG, s->dies_by) < 0 || getppid() != parent ||
        (s->file_max != RLIM_INFINITY && setrlimit(RLIMIT_FSIZE, &most) < 0) ||
        dup2(s->out, 1) < 0 || dup2(s->err, 2) < 0)
        _exit(127);
    execve(s->argv[0], s->argv, s->envp);
    _exit(127);
}

/* Has it ended within that time? Then it was reaped. */
static bool has_ended(pid_t pid, int64_t ms, int *status)
{
    struct fm_mono until = fm_mono_add_ms(fm_mono_now(), ms);
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return false;
    for (;;) {
        int64_t left = fm_mono_sub_ms(until, fm_mono_now());
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int n = poll(&p, 1, left > 0 ? (int)left : 0);
        if (n > 0 || (n == 0 && left <= 0))
            break;
    }
    close(fd);
    return waitpid(pid, status, WNOHANG) == pid;
}

/* -------- the server -------- */

static bool write_hba(struct look *l)
{
    char text[128];
    int fd = create(l, HBA_FILE);
    int n = snprintf(text, sizeof text, "local all \"%s\" trust\n", l->j->admin);
    bool good = fd >= 0 && n > 0 && (size_t)n < sizeof text && write_all(fd, text, (size_t)n);
    if (fd >= 0)
        close(fd);
    if (!good)
        why(l, "cannot write to %s", l->j->folder);
    return good;
}

/* The folder is one of several in a list that PostgreSQL takes apart, and the name of a socket is
 * short. */
static bool fits(struct look *l)
{
    struct sockaddr_un a;
    if (strlen(l->j->folder) + sizeof "/.s.PGSQL." PORT > sizeof a.sun_path)
        why(l, "its path is too long for a socket: %.100s", l->j->folder);
    else if (strpbrk(l->j->folder, ",\"'\\ ") || strchr(l->j->admin, '"'))
        why(l, "a socket cannot be made in %.100s", l->j->folder);
    return !l->out->why[0];
}

static bool start_server(struct look *l)
{
    char program[FM_PG_ISOLATED_PATH + 16], own[OWN][FM_PG_ISOLATED_PATH + 32];
    char *argv[ARGS_MAX], *envp[] = {(char[]){"PATH=/usr/bin:/bin"}, (char[]){"LC_ALL=C"}, NULL};
    char option[] = "-c";
    size_t n = 0;
    int out = create(l, LOG_FILE);
    if (out < 0) {
        why(l, "cannot write to %s", l->j->folder);
        return false;
    }
    snprintf(program, sizeof program, "%s/postgres", l->j->bin);
    snprintf(own[0], sizeof own[0], "hba_file=%s/" HBA_FILE, l->j->folder);
    snprintf(own[1], sizeof own[1], "unix_socket_directories=%s", l->j->folder);
    snprintf(own[2], sizeof own[2], "external_pid_file=%s/" PID_FILE, l->j->folder);
    argv[n++] = program;
    argv[n++] = (char[]){"-D"};
    argv[n++] = (char *)(uintptr_t)l->j->data;
    for (size_t i = 0; i < FM_COUNT(settings) + OWN; i++) {
        argv[n++] = option;
        argv[n++] = i < OWN ? own[i] : (char *)(uintptr_t)settings[i - OWN];
    }
    argv[n] = NULL;
    FM_ASSERT(n < ARGS_MAX);
    l->server = start(&(struct start){argv, envp, out, out, SIGQUIT, RLIM_INFINITY});
    close(out);
    if (l->server < 0)
        why(l, "cannot start a server: %s", strerrordesc_np(errno));
    return l->server > 0;
}

static bool is_ready(const struct look *l, int data)
{
    char text[TEXT_ROOM];
    struct fm_pg_postmaster p;
    size_t n = read_tail(data, "postmaster.pid", text);
    return fm_pg_postmaster_parse(fm_str(text, n), &p) && p.pid == l->server &&
           p.status == FM_PG_SERVER_READY;
}

static bool wait_for_server(struct look *l, int data)
{
    char text[TEXT_ROOM];
    struct fm_mono until = fm_mono_add_ms(fm_mono_now(), READY_MS);
    int status;
    while (fm_mono_before(fm_mono_now(), until)) {
        if (is_ready(l, data))
            return true;
        if (has_ended(l->server, TURN_MS, &status)) {
            l->server = 0;
            why(l, "the server that looks at it ended: %.110s",
                last_line(l->folder, LOG_FILE, text));
            return false;
        }
    }
    why(l, "the server that looks at it was not ready after %d s", READY_MS / 1000);
    return false;
}

static void stop_server(struct look *l)
{
    static const struct {
        int signo, ms;
    } ways[] = {{SIGINT, STOP_MS}, {SIGQUIT, QUIT_MS}, {SIGKILL, QUIT_MS}};
    int status;
    for (size_t i = 0; i < FM_COUNT(ways) && l->server > 0; i++) {
        kill(l->server, ways[i].signo);
        if (has_ended(l->server, ways[i].ms, &status))
            l->server = 0;
    }
    if (l->server > 0) { /* what cannot be reaped yet is seen by who looks for servers there */
        why(l, "the server that looks at it does not end");
        l->server = 0;
    }
}

/* -------- questions -------- */

/* What psql says goes to `out`. False with a reason. */
static bool ask(struct look *l, const char *database, char *sql, int out, int64_t ms)
{
    char program[FM_PG_ISOLATED_PATH + 16], name[NAME_ROOM + 16], text[TEXT_ROOM];
    int status = 0, err = create(l, TOLD_FILE);
    if (err < 0) {
        why(l, "cannot write to %s", l->j->folder);
        return false;
    }
    snprintf(program, sizeof program, "%s/psql", l->j->bin);
    snprintf(name, sizeof name, "PGDATABASE=%s", database);
    char *argv[] = {program,
                    (char[]){"-XqAtw"},
                    (char[]){"-v"},
                    (char[]){"ON_ERROR_STOP=1"},
                    (char[]){"-h"},
                    (char *)(uintptr_t)l->j->folder,
                    (char[]){"-p"},
                    (char[]){PORT},
                    (char[]){"-U"},
                    (char *)(uintptr_t)l->j->admin,
                    (char[]){"-c"},
                    sql,
                    NULL};
    char *envp[] = {(char[]){"PATH=/usr/bin:/bin"},
                    (char[]){"LC_ALL=C"},
                    (char[]){PGOPTIONS},
                    (char[]){"PGCLIENTENCODING=UTF8"},
                    (char[]){"PGCONNECT_TIMEOUT=10"},
                    name,
                    NULL};
    pid_t pid = start(&(struct start){argv, envp, out, err, SIGKILL, ROWS_BYTES_MAX});
    close(err);
    if (pid < 0) {
        why(l, "cannot start psql: %s", strerrordesc_np(errno));
        return false;
    }
    if (!has_ended(pid, ms, &status)) {
        kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
        why(l, "%.60s was not read within %d s", database, (int)(ms / 1000));
        return false;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ)
        why(l, "the rows of %.60s take more than %d MiB", database, ROWS_BYTES_MAX >> 20);
    else
        why(l, "cannot read %.40s: %.100s", database, last_line(l->folder, TOLD_FILE, text));
    return false;
}

#define LIST_SQL                                                                                   \
    "COPY (SELECT slot_name, database, CASE WHEN wal_status = 'lost' THEN 'lost' ELSE "            \
    "coalesce(confirmed_flush_lsn::text, '') END FROM pg_replication_slots WHERE "                 \
    "starts_with(slot_name, '" FM_PG_EVIDENCE_SLOT "') AND plugin = 'test_decoding' ORDER BY 1 "   \
    "LIMIT %d) TO STDOUT"

/* Of the transactions that are committed behind the fork: by which columns rows are known, then
 * the words, then the sums; see pg/decoded.h. */
#define ROWS_SQL                                                                                   \
    "COPY (WITH c AS MATERIALIZED (SELECT lsn, xid::text AS x, data, ordinality AS n FROM "        \
    "pg_logical_slot_peek_changes('%.*s', NULL, 1000000, 'include-timestamp', 'on') WITH "         \
    "ORDINALITY), w AS MATERIALIZED (SELECT x FROM c WHERE data LIKE 'COMMIT%%' AND lsn > "        \
    "'%s'::pg_lsn), r AS MATERIALIZED (SELECT lsn, x, data, n FROM c JOIN w USING (x)), "          \
    "t AS (SELECT DISTINCT split_part(data, ': ', 1) AS name FROM r WHERE data LIKE 'table %%'), " \
    "k AS (SELECT DISTINCT ON (t.name) substr(t.name, 7) AS name, (SELECT "                        \
    "string_agg(quote_ident(a.attname), ',' ORDER BY p.ord) FROM unnest(i.indkey) WITH "           \
    "ORDINALITY p(num, ord) JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = p.num) " \
    "AS keys FROM t JOIN (pg_class c2 JOIN pg_namespace n2 ON n2.oid = c2.relnamespace) ON "       \
    "t.name = 'table ' || quote_ident(n2.nspname) || '.' || quote_ident(c2.relname) JOIN "         \
    "pg_index i ON i.indrelid = c2.oid AND (i.indisreplident OR i.indisprimary) ORDER BY t.name, " \
    "i.indisreplident DESC) "                                                                      \
    "SELECT 'K', name, coalesce(keys, ''), '' FROM k "                                             \
    "UNION ALL SELECT * FROM (SELECT 'C', x, lsn::text, left(data, 16384) FROM r ORDER BY n "      \
    "LIMIT 20000) y "                                                                              \
    "UNION ALL SELECT 'S', (count(DISTINCT x) FILTER (WHERE data LIKE 'table %%'))::text, "        \
    "(count(*) FILTER (WHERE data LIKE 'table %%'))::text, '' FROM r) TO STDOUT"

/* The sums are the last line of what it wrote. */
static bool add_sums(struct look *l)
{
    char text[TEXT_ROOM];
    struct fm_pg_line line;
    uint64_t transactions, changes;
    if (!fm_pg_line_parse(fm_str_z(last_line(l->folder, ROWS_NEW, text)), &line) ||
        line.kind != 'S' || !fm_str_u64(line.field[0], &transactions) ||
        !fm_str_u64(line.field[1], &changes) || transactions > INT32_MAX || changes > INT32_MAX) {
        why(l, "PostgreSQL says what cannot be understood");
        return false;
    }
    l->out->transactions += transactions;
    l->out->changes += changes;
    return true;
}

/* What one slot has; `database` is as COPY writes it. */
static void read_slot(struct look *l, struct fm_str slot, struct fm_str database, struct fm_str at,
                      int rows)
{
    char sql[SQL_ROOM], name[NAME_ROOM], fork[FM_LSN_ROOM], line[2 * NAME_ROOM];
    struct fm_buf b = fm_buf(name, sizeof name - 1);
    struct fm_lsn from;
    fm_pg_field_write(&b, database);
    name[b.n] = '\0';
    if (fm_str_eqz(at, "lost")) {
        why(l, "the slot of %.60s has lost what it kept", name);
        return;
    }
    if (fm_lsn_parse(at, &from) && fm_lsn_before(l->j->fork, from))
        why(l, "the slot of %.60s begins behind the fork", name);
    for (size_t i = 0; i < slot.n; i++) /* it goes into a statement */
        if (!((slot.p[i] >= 'a' && slot.p[i] <= 'z') || (slot.p[i] >= '0' && slot.p[i] <= '9') ||
              slot.p[i] == '_'))
            return;
    int n = snprintf(line, sizeof line, "D\t%.*s\t\t\n", FM_STR_ARG(database));
    int length =
        snprintf(sql, sizeof sql, ROWS_SQL, FM_STR_ARG(slot), fm_lsn_write(fork, l->j->fork));
    FM_ASSERT(length > 0 && (size_t)length < sizeof sql);
    if (b.full || n < 0 || (size_t)n >= sizeof line || !write_all(rows, line, (size_t)n))
        why(l, "cannot write down the rows of %.60s", name);
    else if (ask(l, name, sql, rows, ROWS_MS) && add_sums(l))
        l->out->known = true;
}

static void read_slots(struct look *l)
{
    char sql[SQL_ROOM];
    int list = create(l, LIST_FILE);
    snprintf(sql, sizeof sql, LIST_SQL, SLOTS_MAX);
    bool good = list >= 0 && ask(l, "postgres", sql, list, LIST_MS);
    if (list >= 0)
        close(list);
    struct fm_str rest = fm_str(l->list, good ? read_tail(l->folder, LIST_FILE, l->list) : 0);
    if (good && rest.n == 0)
        why(l, "it has no evidence slot");
    int rows = good && rest.n ? create(l, ROWS_NEW) : -1;
    while (rows >= 0 && rest.n) {
        struct fm_str line = fm_str_cut(rest, '\n', &rest);
        struct fm_str slot = fm_str_cut(line, '\t', &line);
        struct fm_str database = fm_str_cut(line, '\t', &line);
        read_slot(l, slot, database, line, rows);
    }
    if (rows >= 0 && fsync(rows) < 0) {
        why(l, "cannot make the rows durable");
        l->out->known = false;
    }
    if (rows >= 0)
        close(rows);
}

/* -------- all of it -------- */

static void look(struct look *l, int data)
{
    if (faccessat(data, "standby.signal", F_OK, 0) == 0 ||
        faccessat(data, "recovery.signal", F_OK, 0) == 0) {
        why(l, "it was a standby, which has no evidence slot");
        return;
    }
    if (!fits(l) || !write_hba(l) || !count_try(l))
        return;
    /* of a crash: its caller has seen that nobody runs */
    (void)unlinkat(data, "postmaster.pid", 0);
    (void)unlinkat(l->folder, ".s.PGSQL." PORT ".lock", 0);
    if (start_server(l) && wait_for_server(l, data))
        read_slots(l);
    if (l->server > 0)
        stop_server(l);
}

static void finish(struct look *l)
{
    static const char *const gone[] = {HBA_FILE, TOLD_FILE, LIST_FILE, (ROWS_NEW), PID_FILE, TRIES};
    if (l->out->known &&
        (renameat(l->folder, ROWS_NEW, l->folder, FM_PG_ROWS_FILE) < 0 || fsync(l->folder) < 0)) {
        why(l, "cannot make the rows durable");
        l->out->known = false;
    }
    for (size_t i = 0; i < FM_COUNT(gone); i++)
        (void)unlinkat(l->folder, gone[i], 0);
}

void fm_pg_isolated_look(const struct fm_pg_isolated_job *j, struct fm_pg_rows *out)
{
    struct look l = {.j = j, .out = out};
    *out = (struct fm_pg_rows){.known = false};
    int data = open(j->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    l.folder = open(j->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (data >= 0 && l.folder >= 0) {
        look(&l, data);
        finish(&l);
    } else {
        why(&l, "cannot open %.120s", data < 0 ? j->data : j->folder);
    }
    if (data >= 0)
        close(data);
    if (l.folder >= 0)
        close(l.folder);
    FM_ASSERT(l.server == 0 && (out->known || out->why[0]));
}

/* -------- words -------- */

void fm_pg_rows_say(char out[FM_PG_ROWS_LINE_ROOM], const struct fm_pg_rows *r)
{
    snprintf(out, FM_PG_ROWS_LINE_ROOM, SIGN "%d %" PRIu64 " %" PRIu64 " %s\n", r->known,
             r->transactions, r->changes, r->why);
}

void fm_pg_rows_parse(struct fm_str said, struct fm_pg_rows *out)
{
    struct fm_str rest = said, line = FM_STR(""), sign = FM_STR(SIGN);
    uint64_t v[3];
    *out = (struct fm_pg_rows){.known = false};
    while (rest.n) {
        struct fm_str next = fm_str_cut(rest, '\n', &rest);
        line = fm_str_starts(next, sign) ? next : line;
    }
    if (line.n == 0)
        return;
    line = fm_str(line.p + sign.n, line.n - sign.n);
    for (size_t i = 0; i < FM_COUNT(v); i++)
        if (!fm_str_u64(fm_str_cut(line, ' ', &line), &v[i]) || v[i] > INT64_MAX)
            return;
    out->known = v[0] == 1;
    out->transactions = v[1];
    out->changes = v[2];
    snprintf(out->why, sizeof out->why, "%.*s", FM_STR_ARG(line));
    fm_text_tame(out->why);
}
