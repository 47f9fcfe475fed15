/* Carrying out checks: see the header. Every check has one deadline over all of it (name, connect,
 * exchange); whatever is left of it when it ends is closed. */
#include "agent/check_io.h"

#include "base/assert.h"
#include "base/buf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

void fm_check_io_end(struct fm_check_io *io, struct fm_check_result *r)
{
    if (!io->running)
        return;
    FM_ASSERT(io->done);
    fm_check_io_abort(io);
    int64_t ms = fm_mono_sub_ms(fm_loop_now(io->loop), io->started);
    if (r->ok && io->conf->latency_ms && ms > io->conf->latency_ms) {
        r->ok = false;
        snprintf(r->text, sizeof r->text, "took %lld ms, the bound is %lld ms", (long long)ms,
                 (long long)io->conf->latency_ms);
    }
    io->done(io, r);
}

void fm_check_io_ok(struct fm_check_io *io)
{
    struct fm_check_result r = {.ok = true};
    fm_check_io_end(io, &r);
}

void fm_check_io_fail(struct fm_check_io *io, const char *fmt, ...)
{
    struct fm_check_result r = {.ok = false};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r.text, sizeof r.text, fmt, ap);
    va_end(ap);
    fm_check_io_end(io, &r);
}

static void timed_out(struct fm_timer *t)
{
    struct fm_check_io *io = fm_container_of(t, struct fm_check_io, timer);
    fm_check_io_fail(io, "no result within %lld ms", (long long)io->conf->timeout_ms);
}

static struct fm_mono deadline(const struct fm_check_io *io)
{
    return fm_mono_add_ms(io->started, io->conf->timeout_ms);
}

/* -------- tcp and http: our HTTP client connects for both -------- */

static struct fm_check_io *of_http(struct fm_http_client *h)
{
    return fm_container_of(h, struct fm_check_io, http);
}

static void http_connected(struct fm_http_client *h)
{
    struct fm_check_io *io = of_http(h);
    FM_ASSERT(io->running && io->open);
    if (io->conf->type == FM_CHECK_TCP) {
        fm_check_io_ok(io);
        return;
    }
    char text[2048];
    struct fm_buf b = fm_buf(text, sizeof text);
    fm_buf_lit(&b, "GET ");
    fm_buf_str_add(&b, io->conf->path);
    fm_buf_lit(&b, " HTTP/1.1\r\nUser-Agent: fulmar-check\r\nConnection: close\r\nHost: ");
    fm_buf_str_add(&b, io->conf->host_header);
    fm_buf_lit(&b, "\r\n\r\n");
    if (b.full) {
        fm_check_io_fail(io, "the path is too long");
        return;
    }
    struct iovec iov = {text, b.n};
    fm_http_client_send(h, &iov, 1, deadline(io));
    fm_http_client_head(h, FM_METHOD_GET, deadline(io));
}

static void http_sent(struct fm_http_client *h)
{
    (void)h;
}

static void http_whole(struct fm_check_io *io)
{
    if (io->conf->body.n &&
        (!io->body || !memmem(io->body, io->body_n, io->conf->body.p, io->conf->body.n)))
        fm_check_io_fail(io, "the answer does not contain `%.*s`", FM_STR_ARG(io->conf->body));
    else
        fm_check_io_ok(io);
}

static void http_head(struct fm_http_client *h, const struct fm_http_head *head)
{
    struct fm_check_io *io = of_http(h);
    if (head->status < 200)
        return;
    unsigned want = io->conf->status;
    if (want && head->status != want)
        fm_check_io_fail(io, "status %u, expected %u", head->status, want);
    else if (!want && (head->status < 200 || head->status >= 300))
        fm_check_io_fail(io, "status %u, expected 2xx", head->status);
    else if (!io->conf->body.n || !fm_http_client_has_body(h))
        http_whole(io);
    else
        fm_http_client_body(h, io->conf->timeout_ms);
}

static void http_body(struct fm_http_client *h, struct fm_str piece, bool last)
{
    struct fm_check_io *io = of_http(h);
    FM_ASSERT(io->running && io->body_n <= FM_CHECK_BODY_MAX);
    if (!io->body)
        io->body = malloc(FM_CHECK_BODY_MAX);
    size_t n = io->body ? fm_min_size(piece.n, FM_CHECK_BODY_MAX - io->body_n) : 0;
    if (n)
        memcpy(io->body + io->body_n, piece.p, n);
    io->body_n += n;
    if (last || io->body_n == FM_CHECK_BODY_MAX || !io->body)
        http_whole(io);
    else
        fm_http_client_body(h, io->conf->timeout_ms);
}

static void http_failed(struct fm_http_client *h, int err, const char *why)
{
    char buf[96];
    fm_check_io_fail(of_http(h), "%s%s%s", why, err && err != -EPROTO ? ": " : "",
                     err && err != -EPROTO ? strerror_r(-err, buf, sizeof buf) : "");
}

static void http_closed(struct fm_http_client *h)
{
    FM_ASSERT(of_http(h)->open && !of_http(h)->running);
    of_http(h)->open = false;
}

static const struct fm_http_client_handler http_handler = {.connected = http_connected,
                                                           .sent = http_sent,
                                                           .head = http_head,
                                                           .body = http_body,
                                                           .failed = http_failed,
                                                           .closed = http_closed};

/* -------- redis and tls: a plain socket -------- */

static struct fm_check_io *of_sock(struct fm_sock *s)
{
    return fm_container_of(s, struct fm_check_io, sock);
}

static void tls_step(struct fm_check_io *io, struct fm_str in)
{
    struct fm_str out;
    int rc = fm_check_tls_step(io->tls, in, &out);
    if (rc < 0) {
        fm_check_io_fail(io, "the TLS handshake failed");
        return;
    }
    /* also where the handshake is over for us: the server must not take us for a broken client */
    if (out.n && !fm_sock_send_now(&io->sock, out) && rc == 0) {
        fm_check_io_fail(io, "the connection broke during the handshake");
        return;
    }
    if (rc == 1) {
        struct fm_check_result r = {.ok = true};
        fm_check_tls_judge(io->tls, io->conf->warn_ms, &r);
        fm_check_io_end(io, &r);
        return;
    }
    fm_sock_recv(&io->sock, NULL, deadline(io));
}

static void sock_connected(struct fm_sock *s, int err)
{
    struct fm_check_io *io = of_sock(s);
    char buf[96];
    FM_ASSERT(io->running && io->open && err <= 0);
    if (err) {
        fm_check_io_fail(io, "cannot connect: %s", strerror_r(-err, buf, sizeof buf));
        return;
    }
    if (io->conf->type == FM_CHECK_TLS) {
        tls_step(io, fm_str(NULL, 0));
        return;
    }
    if (!fm_sock_send_now(s, FM_STR("PING\r\n")))
        fm_check_io_fail(io, "the connection broke");
    else
        fm_sock_recv(s, NULL, deadline(io));
}

static void sock_received(struct fm_sock *s, struct fm_block *b, ssize_t n)
{
    struct fm_check_io *io = of_sock(s);
    FM_ASSERT(io->running && (n <= 0 || b));
    struct fm_str in = b ? fm_str(b->data, b->n) : fm_str(NULL, 0);
    char line[64];
    snprintf(line, sizeof line, "%.*s", (int)fm_min_size(in.n, 40), in.n ? in.p : "");
    line[strcspn(line, "\r\n")] = 0;
    if (n <= 0) {
        if (b)
            fm_pool_put(io->loop->pool, b);
        fm_check_io_fail(io, "the connection ended without an answer");
        return;
    }
    if (io->conf->type == FM_CHECK_TLS) {
        tls_step(io, in);
        fm_pool_put(io->loop->pool, b);
        return;
    }
    /* a server that asks for a password is there and answers */
    bool pong = fm_str_starts(in, FM_STR("+PONG")) || fm_str_starts(in, FM_STR("-NOAUTH"));
    fm_pool_put(io->loop->pool, b);
    if (pong)
        fm_check_io_ok(io);
    else
        fm_check_io_fail(io, "answered `%s` instead of +PONG", line);
}

static void sock_sent(struct fm_sock *s, int err)
{
    (void)s;
    (void)err;
}

static void sock_closed(struct fm_sock *s)
{
    FM_ASSERT(of_sock(s)->open && !of_sock(s)->running);
    of_sock(s)->open = false;
}

static const struct fm_sock_ops sock_ops = {.received = sock_received,
                                            .sent = sock_sent,
                                            .connected = sock_connected,
                                            .closed = sock_closed};

/* -------- commands -------- */

static void child_exited(struct fm_child *c, int status)
{
    struct fm_check_io *io = fm_container_of(c, struct fm_check_io, child);
    FM_ASSERT(io->running && !c->running && c->output_n <= sizeof io->output);
    struct fm_str out = fm_str(io->output, c->output_n), rest;
    struct fm_str first = fm_str_cut(out, '\n', &rest);
    if (c->timed_out)
        fm_check_io_fail(io, "the command did not end within %lld ms and was killed",
                         (long long)io->conf->timeout_ms);
    else if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        fm_check_io_ok(io);
    else if (WIFEXITED(status))
        fm_check_io_fail(io, "exit code %d: %.*s", WEXITSTATUS(status), FM_STR_ARG(first));
    else
        fm_check_io_fail(io, "ended by signal %d", WTERMSIG(status));
}

static void start_command(struct fm_check_io *io)
{
    size_t n = io->conf->ncommand;
    FM_ASSERT(n > 0 && !io->argv);
    io->argv = calloc(n + 1, sizeof *io->argv);
    if (!io->argv) {
        fm_check_io_fail(io, "out of memory");
        return;
    }
    for (size_t i = 0; i < n; i++)
        io->argv[i] = (char *)(uintptr_t)io->conf->command[i].p;
    struct fm_child_options o = {.argv = io->argv,
                                 .out_fd = -1,
                                 .err_fd = -1,
                                 .output = io->output,
                                 .output_cap = sizeof io->output,
                                 .timeout_ms = io->conf->timeout_ms};
    struct fm_error e;
    fm_loop_cancel(io->loop, &io->timer); /* the child has its own */
    if (fm_child_start(&io->child, io->loop, &o, child_exited, &e))
        fm_check_io_fail(io, "%s", e.msg);
}

/* -------- names, then the socket -------- */

static void open_socket(struct fm_check_io *io)
{
    struct fm_error e;
    enum fm_err err;
    FM_ASSERT(io->running && !io->open && io->addr.len > 0);
    if (io->conf->type == FM_CHECK_POSTGRES) {
        fm_check_pg_start(io);
        return;
    }
    if (io->conf->type == FM_CHECK_TCP || io->conf->type == FM_CHECK_HTTP) {
        err = fm_http_client_open(&io->http, io->loop, &io->addr, deadline(io), &http_handler,
                                  io->limits, io->fields, &e);
    } else {
        if (io->conf->type == FM_CHECK_TLS) {
            struct fm_str name =
                io->conf->server_name.n ? io->conf->server_name : io->conf->target.host;
            io->tls = fm_check_tls_new(name, &e);
            if (!io->tls) {
                fm_check_io_fail(io, "%s", e.msg);
                return;
            }
        }
        err = fm_sock_connect(&io->sock, io->loop, &io->addr, deadline(io), &sock_ops, &e);
    }
    if (err)
        fm_check_io_fail(io, "%s", e.msg);
    else
        io->open = true;
}

static void looked_up(struct fm_lookup *q)
{
    struct fm_check_io *io = fm_container_of(q, struct fm_check_io, lookup);
    FM_ASSERT(!q->busy);
    if (!io->running)
        return;
    if (q->result) {
        fm_check_io_fail(io, "%s: %s", q->name, q->why);
    } else if (io->conf->type == FM_CHECK_DNS) {
        fm_check_io_ok(io);
    } else {
        io->addr = q->addr[0];
        open_socket(io);
    }
}

static void look_up(struct fm_check_io *io, struct fm_str name, uint16_t port)
{
    if (name.n > FM_LOOKUP_NAME_MAX) {
        fm_check_io_fail(io, "the name is too long");
        return;
    }
    FM_ASSERT(!io->lookup.busy);
    memcpy(io->lookup.name, name.p, name.n);
    io->lookup.name[name.n] = 0;
    io->lookup.port = port;
    io->lookup.done = looked_up;
    fm_resolver_ask(io->resolver, &io->lookup);
}

void fm_check_io_start(struct fm_check_io *io)
{
    FM_ASSERT(!fm_check_io_is_busy(io));
    const struct fm_conf_check *c = io->conf;
    io->running = true;
    io->started = fm_mono_now();
    fm_loop_timer(io->loop, &io->timer, deadline(io));
    if (c->type == FM_CHECK_COMMAND)
        start_command(io);
    else if (c->type == FM_CHECK_DNS)
        look_up(io, c->server_name, 0);
    else if (c->target.is_ip && fm_addr_ip(&io->addr, c->target.host, c->target.port) == FM_ERR_OK)
        open_socket(io);
    else
        look_up(io, c->target.host, c->target.port);
}

/* -------- life -------- */

void fm_check_io_init(struct fm_check_io *io)
{
    fm_timer_init(&io->timer, timed_out);
}

bool fm_check_io_is_busy(const struct fm_check_io *io)
{
    return io->running || io->open || io->lookup.busy || io->child.running;
}

void fm_check_io_abort(struct fm_check_io *io)
{
    io->running = false;
    fm_loop_cancel(io->loop, &io->timer);
    if (io->open && io->http.loop && fm_http_client_is_open(&io->http))
        fm_http_client_close(&io->http);
    if (io->open && fm_sock_is_open(&io->sock))
        fm_sock_close(&io->sock);
    if (io->child.running)
        fm_child_discard(&io->child);
    fm_check_pg_abort(io);
    fm_check_tls_free(io->tls);
    io->tls = NULL;
    free(io->argv);
    io->argv = NULL;
    free(io->body);
    io->body = NULL;
    io->body_n = 0;
}

void fm_check_io_deinit(struct fm_check_io *io)
{
    fm_check_io_abort(io);
}
