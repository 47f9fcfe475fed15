/* pg/conn.h: a connection to a PostgreSQL server on our loop, through libpq's asynchronous half
 * (PostgreSQL documentation, "libpq", Asynchronous Command Processing; protocol 3.0).
 *
 * One operation at a time: opening, a query, or the start of a stream. Each has a deadline in
 * milliseconds and ends with exactly one `done`, from the loop and never from inside the call that
 * began it; after fm_pg_close nothing is called any more. `done` may begin the next operation,
 * close the connection or free what it is embedded in.
 *
 * An operation that fails says so in its result. Where the connection went with it (a deadline, a
 * lost server, a failed opening) the state is FM_PG_CONN_CLOSED and it can be opened again. A query
 * that timed out or whose connection was lost has an unknown outcome; the server is asked to cancel
 * it. A connection that is lost while nothing is asked of it tells `lost`.
 *
 * Results are bounded: FM_PG_ROWS_MAX rows, FM_PG_VALUES_MAX values and FM_PG_TEXT_MAX bytes of
 * them; what is more fails with FM_ERR_LIMIT. Values are text. Nothing here resolves a name: an
 * address comes from io/resolve.h. Texts of a target are read during fm_pg_open alone. Passwords
 * and statements are never logged, what the server says is (`pg_notice`). One thread: the loop's;
 * cancelling takes a thread of its own, because libpq's way to do it blocks. */
#ifndef FM_PG_CONN_H
#define FM_PG_CONN_H

#include "io/addr.h"
#include "io/loop.h"

enum {
    FM_PG_PARAMS_MAX = 16,
    FM_PG_ROWS_MAX = 512,
    FM_PG_VALUES_MAX = 4096,
    FM_PG_TEXT_MAX = 256 * 1024,
    FM_PG_LABEL_MAX = 64,
    FM_PG_NOTICES_MAX = 16, /* logged for an operation; more are counted */
};

/* Where and as whom. A text that is NULL is not given; the process's environment (PGUSER, PGHOST
 * and so on) and its home folder never fill in. */
struct fm_pg_target {
    const struct fm_addr *addr; /* of the server; NULL: `socket_folder` */
    const char *socket_folder;  /* of a unix socket: /var/run/postgresql */
    uint16_t port;              /* of the unix socket; where `addr` is given, its own counts */
    const char *server_name;    /* that its certificate must have (sslmode verify-full) */
    const char *user, *database;
    const char *password; /* by value, or: */
    const char *passfile; /* libpq's format, mode 0600; read while opening */
    const char *application_name;
    const char *options; /* "-c name=value ..." */
    const char *sslmode; /* NULL: prefer */
    const char *sslrootcert, *sslcert, *sslkey;
    bool replication; /* a physical replication connection: only fm_pg_command and fm_pg_copy_begin
                       */
};

struct fm_pg_result {
    struct fm_error error; /* code FM_ERR_OK: it succeeded */
    char sqlstate[6];      /* "" where the server said none */
    unsigned rows, columns;
    uint64_t affected;          /* as the server counted, 0 where it does not */
    const struct fm_str *value; /* row by row; p is NULL for SQL's NULL, else it is terminated */
};

/* Of `r`, which has this row and column. */
struct fm_str fm_pg_value(const struct fm_pg_result *r, unsigned row, unsigned column);

enum fm_pg_conn_state {
    FM_PG_CONN_CLOSED,
    FM_PG_CONN_OPENING,
    FM_PG_CONN_READY,
    FM_PG_CONN_BUSY,
    FM_PG_CONN_COPYING
};

struct fm_pg_conn;

/* The result is valid until the callback returns or begins another operation. */
typedef void fm_pg_done(struct fm_pg_conn *c, const struct fm_pg_result *r);

/* What happens while a connection streams in both directions (COPY BOTH). */
struct fm_pg_copy {
    void (*data)(struct fm_pg_conn *c, struct fm_str message); /* valid during the call */
    void (*room)(struct fm_pg_conn *c);                        /* after fm_pg_copy_put had none */
    fm_pg_done *ended; /* the connection is closed; an error says why */
    /* after a turn that brought little, what comes next is read so much later, all of it at once;
     * 0: always at once */
    int64_t rest_ms;
};

struct fm_pg_conn {
    struct fm_loop *loop;
    fm_pg_done *lost; /* may be NULL */
    /* the rest is its own */
    enum fm_pg_conn_state state;
    struct pg_conn *pg;    /* libpq's */
    struct fm_watch watch; /* on a copy of its descriptor: libpq closes its own when it likes */
    struct fm_timer deadline, soon;
    fm_pg_done *done;
    const struct fm_pg_copy *copy;
    bool starts_copy, unsent, wants_room, rests, too_much;
    unsigned notices;
    struct fm_pg_result result;
    struct fm_pg_room *room; /* what the result's values are kept in */
    size_t text_n;
    char label[FM_PG_LABEL_MAX]; /* of the server, in logs */
};

/* `label` names the server in logs and errors; it is copied, and cut. */
void fm_pg_init(struct fm_pg_conn *c, struct fm_loop *l, const char *label, fm_pg_done *lost);

/* From FM_PG_CONN_CLOSED. Errors: FM_ERR_UNREACHABLE, FM_ERR_TIMEOUT, FM_ERR_PERMISSION (password,
 * pg_hba), FM_ERR_NOT_FOUND (no such database), FM_ERR_STATE (it starts up or shuts down),
 * FM_ERR_LIMIT (its connections are used up). */
void fm_pg_open(struct fm_pg_conn *c, const struct fm_pg_target *t, int64_t ms, fm_pg_done *done);

/* One statement, from FM_PG_CONN_READY; `params` are texts for $1, $2, ...; NULL for SQL's NULL.
 * They are copied. Errors of the server: FM_ERR_PERMISSION, FM_ERR_NOT_FOUND, FM_ERR_EXISTS,
 * FM_ERR_LIMIT, FM_ERR_STATE (cancelled, read-only, shutting down), else FM_ERR_INVALID. The
 * connection lost: FM_ERR_IO. */
void fm_pg_query(struct fm_pg_conn *c, const char *sql, const char *const *params, unsigned nparams,
                 int64_t ms, fm_pg_done *done);

/* The same by the simple protocol, without parameters: all that a replication connection takes. */
void fm_pg_command(struct fm_pg_conn *c, const char *sql, int64_t ms, fm_pg_done *done);

/* A command that ends in COPY BOTH (START_REPLICATION): after a `done` without error the state is
 * FM_PG_CONN_COPYING, and `copy`, which must live as long, is told what comes. */
void fm_pg_copy_begin(struct fm_pg_conn *c, const char *sql, int64_t ms, fm_pg_done *done,
                      const struct fm_pg_copy *copy);

/* One message upstream, from FM_PG_CONN_COPYING. False where the one before has not left yet:
 * nothing is queued behind it, and `room` is called once there is room. */
bool fm_pg_copy_put(struct fm_pg_conn *c, struct fm_str message) FM_WARN_UNUSED;

/* Ask the server to end what it does for this connection. Its `done` still comes: with the error
 * 57014 and FM_ERR_STATE, or with what was quicker. Best effort. */
void fm_pg_cancel(struct fm_pg_conn *c);

/* From any state; harmless twice. Nothing is called after it. */
void fm_pg_close(struct fm_pg_conn *c);

/* Of the server, as libpq numbers them (150004); 0 while there is no connection. */
int fm_pg_server_version(const struct fm_pg_conn *c);
/* The process of the server that serves it; 0 while there is none. */
int fm_pg_server_process(const struct fm_pg_conn *c);

#endif
