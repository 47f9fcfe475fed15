/* examples/bank: the sample application of the docs.
 *
 * Three small programs in one, each an HTTP server on one loop:
 *   bank store    the data: SQLite, a unique idempotency key in the transaction of the effect. It
 *                 stands for a replicated database and is outside of what the demo kills.
 *   bank app      stateless instances: profile, cards, ledger, catalog. Shows what a good citizen
 *                 does with Fulmar-Deadline, Fulmar-Authority, Fulmar-Mode, with an
 *                 Idempotency-Key, and after it was frozen. Its ledger may be a PostgreSQL group.
 *   bank network  the card network of a region, which the cards depend on.
 */
#ifndef BANK_H
#define BANK_H

#include "base/buf.h"
#include "http/client.h"
#include "http/server.h"
#include "io/process.h"

struct bank_process {
    struct fm_loop loop;
    struct fm_pool pool;
    struct fm_signals signals;
    struct fm_http_server server, admin_server;
    struct fm_listener listener, admin_listener;
    bool has_admin;
};

/* Loop, signals, a server on `port` of 127.0.0.1 (and one for the admin port, where it is not 0).
 * Says what is wrong and exits on failure. */
void bank_start(struct bank_process *p, uint16_t port, const struct fm_http_handler *handler,
                uint16_t admin_port, const struct fm_http_handler *admin, void *user);
/* Until SIGTERM or SIGINT. */
void bank_run(struct bank_process *p);

int bank_store(uint16_t port, const char *db_path);
/* Where the ledger is a PostgreSQL group; the file holds the password of its user `bank`. */
struct bank_app_ledger {
    uint16_t write_port, read_port;
    const char *password_file;
};

/* `ledger` may be NULL: it is in the store, too. */
int bank_app(uint16_t port, uint16_t admin_port, uint16_t store_port, uint16_t network_port,
             const char *name, const struct bank_app_ledger *ledger);
int bank_network(uint16_t port);

/* -------- authority.c: under whose authority a command came -------- */

enum { BANK_CELL_MAX = 96 };

struct bank_authority {
    char cell[BANK_CELL_MAX]; /* "ledger/0"; empty: none was said */
    uint64_t epoch;
};

/* The value of Fulmar-Authority: "ledger/0@42". False where it is not like that. */
bool bank_authority_parse(struct fm_str value, struct bank_authority *out);

/* A line of the log: what became of a command, and under which epoch. `what` is accepted, applied,
 * or why it was not: deadline, hung-up, read-only, older-epoch. */
void bank_note(const char *instance, const char *what, struct fm_str key,
               const struct bank_authority *a);

/* -------- call.c: requests to another process of the bank -------- */

struct bank_calls;

struct bank_calls *bank_calls_new(struct fm_loop *l, uint16_t port);

/* Called once, with status 0 where there is no answer in time. The body is valid during the call.
 */
typedef void bank_answered(void *user, unsigned status, struct fm_str body);

/* Send `text` (a whole request). False when too many are under way. */
bool bank_call(struct bank_calls *c, enum fm_http_method method, struct fm_str text,
               int64_t timeout_ms, bank_answered *done, void *user);

/* -------- db.c -------- */

struct bank_db;
enum { BANK_TEXT_MAX = 256 };

struct bank_effect {
    char key[BANK_TEXT_MAX];         /* empty: not keyed */
    struct bank_authority authority; /* of an exclusive context; else no cell */
    char kind[16], id[BANK_TEXT_MAX];
    int64_t amount;
    char text[BANK_TEXT_MAX];
};

struct bank_db *bank_db_open(const char *path);
void bank_db_close(struct bank_db *db);

enum bank_applied {
    BANK_APPLIED,
    BANK_OLDER_EPOCH, /* somebody with a newer one has written this cell: nothing was changed */
    BANK_FAILED
};

/* Apply once per key, in one transaction with the key and the epoch of its cell; writes the answer
 * (JSON) to out. A key that was there already gives the answer of then. */
enum bank_applied bank_db_apply(struct bank_db *db, const struct bank_effect *e,
                                struct fm_buf *out);
bool bank_db_read(struct bank_db *db, const char *kind, const char *id, struct fm_buf *out);
/* "key count\n" for every keyed effect; from malloc. */
char *bank_db_keys(struct bank_db *db, size_t *n);
/* "cell epoch\n" for every cell that was written. */
void bank_db_epochs(struct bank_db *db, struct fm_buf *out);

/* -------- ledger.c: the ledger in PostgreSQL -------- */

struct bank_ledger;

/* Behind the doors of this instance's gate. NULL: the password cannot be read. */
struct bank_ledger *bank_ledger_new(struct fm_loop *l, uint16_t write_port, uint16_t read_port,
                                    const char *password_file, struct fm_error *e);

/* A debit, or the balance of the account `id`; the statuses are those of the store: 200, 409 where
 * a newer epoch has written the cell. False when too many are under way. */
bool bank_ledger_ask(struct bank_ledger *l, bool command, const struct bank_effect *e,
                     int64_t timeout_ms, bank_answered *done, void *user);

#endif
