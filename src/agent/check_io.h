/* agent/check_io.h: carrying out one check. Private to src/agent.
 *
 * A probe is started, ends exactly once by `done`, and may be aborted. One loop. */
#ifndef FM_AGENT_CHECK_IO_H
#define FM_AGENT_CHECK_IO_H

#include "conf/conf.h"
#include "http/client.h"
#include "io/process.h"
#include "io/resolve.h"
#include "pg/conn.h"

enum { FM_CHECK_TEXT_MAX = 160, FM_CHECK_BODY_MAX = 64 * 1024 };

struct fm_check_tls;

struct fm_check_result {
    bool ok, warn;
    char text[FM_CHECK_TEXT_MAX]; /* why it failed or warns; empty where all is well */
};

struct fm_check_io {
    const struct fm_conf_check *conf;
    struct fm_loop *loop;
    struct fm_resolver *resolver;
    const struct fm_http_limits *limits;
    struct fm_http_field *fields;
    void (*done)(struct fm_check_io *io, const struct fm_check_result *r);

    struct fm_lookup lookup;
    struct fm_http_client http;
    struct fm_sock sock;
    struct fm_child child;
    struct fm_check_tls *tls;
    struct fm_pg_conn pg;
    struct fm_timer timer;
    struct fm_addr addr;
    bool running;
    bool open; /* a socket of it is not closed yet */
    struct fm_mono started;
    char *body;
    size_t body_n;
    char output[512];
    char **argv;
    void *user;
};

void fm_check_io_init(struct fm_check_io *io);
/* Not while fm_check_io_is_busy. */
void fm_check_io_start(struct fm_check_io *io);
/* Still running, or something of it is not given back yet. */
bool fm_check_io_is_busy(const struct fm_check_io *io);
/* No `done` any more. */
void fm_check_io_abort(struct fm_check_io *io);
void fm_check_io_deinit(struct fm_check_io *io);

/* For the parts of it: it has ended so. */
void fm_check_io_end(struct fm_check_io *io, struct fm_check_result *r);
void fm_check_io_ok(struct fm_check_io *io);
void fm_check_io_fail(struct fm_check_io *io, const char *fmt, ...) FM_PRINTF(2, 3);

/* check_pg.c: to io->addr. Its deadline is its own: a query that takes too long is cancelled. */
void fm_check_pg_start(struct fm_check_io *io);
void fm_check_pg_abort(struct fm_check_io *io);

/* check_tls.c: a handshake over memory; the certificate that comes out of it. */
struct fm_check_tls *fm_check_tls_new(struct fm_str server_name, struct fm_error *e);
void fm_check_tls_free(struct fm_check_tls *t);
/* Feed what was received; *out is what to send (valid until the next call). 1 when the handshake is
 * over, 0 when more is needed, -1 when it failed. */
int fm_check_tls_step(struct fm_check_tls *t, struct fm_str in, struct fm_str *out);
/* Judge the certificate of a finished handshake. */
void fm_check_tls_judge(struct fm_check_tls *t, int64_t warn_ms, struct fm_check_result *r);

#endif
