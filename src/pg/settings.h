/* pg/settings.h: the texts that PostgreSQL reads from Fulmar: one configuration file, one file of
 * host based access, one file of passwords. Pure: values in, a text in the caller's buffer out;
 * what could mean something else in the file that it is put into is quoted, or refused.
 *
 * The user's postgresql.conf is left alone but for one line, FM_PG_INCLUDE_LINE. A setting that
 * Fulmar needs for its promises cannot be given by the user (fm_pg_setting_check); one that
 * somebody puts into postgresql.auto.conf by ALTER SYSTEM still wins over the file, so whoever
 * depends on a value looks at it in the running server.
 *
 * Source: PostgreSQL's chapters on setting parameters, pg_hba.conf, the password file and
 * connection strings, 14 to 17. */
#ifndef FM_PG_SETTINGS_H
#define FM_PG_SETTINGS_H

#include "base/buf.h"
#include "base/err.h"

/* Names of files in the data directory. */
#define FM_PG_CONF_FILE "fulmar.conf"
#define FM_PG_HBA_FILE  "fulmar.hba"
#define FM_PG_PASS_FILE "fulmar.pass"

struct fm_pg_setting {
    struct fm_str name, value;
};

/* Whom a standby follows. */
struct fm_pg_upstream {
    struct fm_str host;
    uint16_t port;
    struct fm_str slot; /* a physical slot of its own there; empty = none */
};

/* What a node is told. Everything is the caller's and only looked at during a call. */
struct fm_pg_settings {
    struct fm_str name;   /* of this node to the others: application_name, cluster_name */
    struct fm_str data;   /* its data directory, absolute */
    struct fm_str listen; /* addresses with commas between them; one has to be of the loopback */
    uint16_t port;
    struct fm_str replication; /* the user that replicates, rewinds and copies */
    /* the other nodes: addresses or names of hosts, for fulmar.hba */
    const struct fm_str *peers;
    size_t npeers;
    struct fm_str synchronous;             /* synchronous_standby_names; empty = none */
    const struct fm_pg_upstream *upstream; /* NULL: follows nobody */
    int64_t delay_ms;                      /* as a standby it applies so much later; 0 = at once */
    bool apart; /* it stays a standby of its upstream, and receives nothing from it */
    /* files of the log that are needed no more are removed, not kept to be written again: pg_rewind
     * copies all that are there */
    bool sheds_log;
    /* after a crash the file system is synchronized as a whole (syncfs), not file by file, each of
     * which costs a flush of the disk; where the kernel reports errors of that: Linux 5.8 */
    bool syncs_at_once;
    const struct fm_pg_setting *own; /* the user's, each through fm_pg_setting_check */
    size_t nown;
};

/* May the user set it? FM_ERR_INVALID (the name or the value cannot stand in the file) or
 * FM_ERR_STATE (it is Fulmar's), with the reason. */
enum fm_err fm_pg_setting_check(struct fm_str name, struct fm_str value,
                                struct fm_error *e) FM_WARN_UNUSED;

enum { FM_PG_SLOT_ROOM = 64 };

/* The slot that a node has at its primary: "fulmar_", its name as PostgreSQL takes it, and what
 * tells names apart that would be the same then. */
void fm_pg_slot_name(char out[FM_PG_SLOT_ROOM], struct fm_str node);

/* Each of these refuses with FM_ERR_INVALID what it cannot write down safely, and with FM_ERR_LIMIT
 * what does not fit. */
enum fm_err fm_pg_conf_write(struct fm_buf *b, const struct fm_pg_settings *s,
                             struct fm_error *e) FM_WARN_UNUSED;
enum fm_err fm_pg_hba_write(struct fm_buf *b, const struct fm_pg_settings *s,
                            struct fm_error *e) FM_WARN_UNUSED;
/* One line for every server that this user connects to. */
enum fm_err fm_pg_pass_write(struct fm_buf *b, struct fm_str user, struct fm_str password,
                             struct fm_error *e) FM_WARN_UNUSED;

/* A connection string without password: to the database `dbname` (empty = none, for replication)
 * of the upstream, with the password file of the data directory. */
enum fm_err fm_pg_conninfo_write(struct fm_buf *b, const struct fm_pg_settings *s,
                                 const struct fm_pg_upstream *u, struct fm_str dbname,
                                 struct fm_error *e) FM_WARN_UNUSED;

/* The line that a postgresql.conf needs. */
#define FM_PG_INCLUDE_LINE "include_if_exists = '" FM_PG_CONF_FILE "'"

/* For a superuser of a group that was just made, as one simple query: the role that replicates, and
 * what pg_rewind needs of a source. Idempotent. `secret` is its password or, since a server may log
 * statements, better what a server keeps of one: PQencryptPasswordConn of libpq, "scram-sha-256".
 */
enum fm_err fm_pg_replication_role_write(struct fm_buf *b, struct fm_str name, struct fm_str secret,
                                         struct fm_error *e) FM_WARN_UNUSED;

#endif
