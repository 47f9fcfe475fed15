/* The owner of a coordination file, towards its clients: see the header. A call is one request of a
 * connection; a watch is a call that goes on. Invariants: a call is freed when neither its
 * connection nor the thread holds it; no answer leaves before the thread has committed. */
#include "coord/owner.h"

#include "base/assert.h"
#include "base/log.h"
#include "coord/store.h"
#include "coord/wire.h"
#include "http/server.h"

#include <stdio.h>
#include <stdlib.h>

enum { HEADER_MS = 5000, IDLE_MS = 60 * 1000, HEAD_BYTES = 8 * 1024 };

struct fm_owner {
    struct fm_loop *loop;
    struct fm_owner_config config;
    char prefix_mem[FM_COORD_SERVICE_MAX + 16];
    char service[FM_COORD_SERVICE_MAX + 1];
    struct fm_str prefix;
    struct fm_store *store;
    struct fm_mailbox answers;
    struct fm_http_server server;
    struct fm_listener listener;
    struct fm_list watches; /* calls */
    size_t ncalls;
    uint64_t cluster, revision; /* as far as it was committed */
    bool listening, failed;
};

struct call {
    struct fm_owner *owner;
    struct fm_http_conn *conn; /* NULL: gone */
    struct fm_list node;       /* in watches */
    struct fm_ask ask;
    struct fm_store_job job;
    bool asked;   /* ask holds something */
    bool working; /* the thread has it */
    bool sending;
    bool watch, ending;
    enum fm_ask_kind kind;
    char *body;
    size_t n, cap;
    char *line; /* of a watch, on its way */
    char chunk[24];
};

/* -------- calls -------- */

static struct call *call_new(struct fm_owner *o, struct fm_http_conn *conn, enum fm_ask_kind kind)
{
    struct call *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->owner = o;
    x->conn = conn;
    x->kind = kind;
    fm_list_init(&x->node);
    o->ncalls++;
    conn->data = x;
    return x;
}

static void call_free_if_over(struct call *x)
{
    if (x->conn || x->working)
        return;
    fm_list_remove(&x->node);
    if (x->asked)
        fm_ask_free(&x->ask);
    free(x->body);
    free(x->line);
    FM_ASSERT(x->owner->ncalls > 0);
    x->owner->ncalls--;
    free(x);
}

static void let_go(struct call *x)
{
    if (x->conn)
        x->conn->data = NULL;
    x->conn = NULL;
    call_free_if_over(x);
}

static void refuse(struct fm_http_conn *conn, unsigned status, int code, const char *message)
{
    char text[512];
    struct fm_buf b = fm_buf(text, sizeof text);
    fm_buf_lit(&b, "{\"error\":");
    fm_buf_json(&b, fm_str_z(message));
    fm_buf_lit(&b, ",\"message\":");
    fm_buf_json(&b, fm_str_z(message));
    fm_buf_printf(&b, ",\"code\":%d}", code);
    FM_ASSERT(!b.full);
    fm_http_conn_answer(conn, status, FM_STR("application/json"), FM_STR(""), fm_buf_str(&b));
}

static void call_refuse(struct call *x, unsigned status, int code, const char *message)
{
    struct fm_http_conn *conn = x->conn;
    let_go(x);
    if (conn)
        refuse(conn, status, code, message);
}

/* -------- watches -------- */

static const char watch_head[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                                 "Transfer-Encoding: chunked\r\n\r\n";

static void watch_go_on(struct call *x);

static void send_line(struct call *x, char *line, size_t n)
{
    int digits = snprintf(x->chunk, sizeof x->chunk, "%zx\r\n", n);
    struct iovec iov[3] = {{x->chunk, (size_t)digits}, {line, n}, {(char *)(uintptr_t) "\r\n", 2}};
    FM_ASSERT(!x->sending && !x->line);
    x->line = line;
    x->sending = true;
    fm_http_conn_send(x->conn, iov, 3);
}

static void watch_begin(struct call *x)
{
    struct fm_owner *o = x->owner;
    char text[256];
    x->watch = true;
    fm_list_push_back(&o->watches, &x->node);
    int n = snprintf(text, sizeof text,
                     "{\"result\":{\"header\":{\"cluster_id\":\"%llu\",\"revision\":\"%llu\"},"
                     "\"created\":true}}\n",
                     (unsigned long long)o->cluster, (unsigned long long)o->revision);
    int digits = snprintf(x->chunk, sizeof x->chunk, "%x\r\n", (unsigned)n);
    size_t total = sizeof watch_head - 1 + (size_t)digits + (size_t)n + 2;
    x->line = malloc(total);
    if (!x->line) {
        struct fm_http_conn *conn = x->conn;
        let_go(x);
        fm_http_conn_abort(conn);
        return;
    }
    struct fm_buf b = fm_buf(x->line, total);
    fm_buf_add(&b, watch_head, sizeof watch_head - 1);
    fm_buf_add(&b, x->chunk, (size_t)digits);
    fm_buf_add(&b, text, (size_t)n);
    fm_buf_lit(&b, "\r\n");
    FM_ASSERT(!b.full && b.n == total);
    struct iovec iov = {x->line, total};
    x->sending = true;
    fm_http_conn_send(x->conn, &iov, 1);
}

static void watch_answered(struct call *x)
{
    struct fm_store_job *j = &x->job;
    x->ask.revision = fm_max_u64(x->ask.revision, j->through + 1);
    x->ending |= j->compacted;
    if (j->empty || !j->text) {
        free(j->text);
        watch_go_on(x);
    } else {
        send_line(x, j->text, j->n);
    }
}

static void submit(struct call *x)
{
    x->working = true;
    x->job.ask = &x->ask;
    fm_store_submit(x->owner->store, &x->job);
}

static void watch_go_on(struct call *x)
{
    if (!x->conn || x->working || x->sending)
        return;
    if (x->ending) {
        struct fm_http_conn *conn = x->conn;
        let_go(x);
        fm_http_conn_abort(conn); /* all was said; the client opens anew */
    } else if (x->ask.revision <= x->owner->revision) {
        submit(x);
    }
}

static void wake_watches(struct fm_owner *o)
{
    fm_list_each_safe (n, next, &o->watches)
        watch_go_on(fm_container_of(n, struct call, node));
}

/* -------- answers of the thread -------- */

static void store_failed(struct fm_owner *o, const char *why)
{
    if (o->failed)
        return;
    o->failed = true;
    if (o->listening)
        fm_listener_close(&o->listener);
    o->listening = false;
    if (o->config.failed)
        o->config.failed(o->config.user, why);
}

static void job_done(struct fm_store_job *j)
{
    enum { UNAVAILABLE = 14, INVALID = 3 };
    struct call *x = fm_container_of(j, struct call, job);
    struct fm_owner *o = x->owner;
    bool grown = !j->failed && j->revision > o->revision;
    x->working = false;
    if (grown)
        o->revision = j->revision;
    if (j->failed) {
        store_failed(o, j->why);
        call_refuse(x, 503, UNAVAILABLE, "fulmar: the file of coordination has failed");
    } else if (!x->conn) {
        free(j->text);
        call_free_if_over(x);
    } else if (x->watch) {
        watch_answered(x);
    } else if (!j->text) {
        call_refuse(x, 400, INVALID, "fulmar: the answer would be too long");
    } else {
        struct fm_http_conn *conn = x->conn;
        char *text = j->text;
        size_t n = j->n;
        let_go(x);
        fm_http_conn_answer_heap(conn, 200, FM_STR("application/json"), FM_STR(""), text, n);
    }
    if (grown)
        wake_watches(o);
}

/* -------- requests -------- */

static void whole(struct call *x)
{
    enum { INVALID = 3, PRECONDITION = 9, UNAVAILABLE = 14 };
    struct fm_owner *o = x->owner;
    const char *why;
    bool other;
    char text[256];
    x->asked = true;
    if (!fm_ask_read(&x->ask, x->kind, fm_str(x->body, x->n), o->prefix, &why, &other)) {
        if (other)
            snprintf(text, sizeof text, FM_COORD_OTHER_SERVICE "`%s`", o->service);
        else
            snprintf(text, sizeof text, "fulmar: %s", why);
        call_refuse(x, other ? 412 : 400, other ? PRECONDITION : INVALID, text);
        return;
    }
    free(x->body);
    x->body = NULL;
    x->job.done = job_done;
    if (o->failed)
        call_refuse(x, 503, UNAVAILABLE, "fulmar: the file of coordination has failed");
    else if (x->kind == FM_ASK_WATCH)
        watch_begin(x);
    else
        submit(x);
}

static void on_request(struct fm_http_conn *conn, const struct fm_http_head *h)
{
    enum { UNAVAILABLE = 14, UNIMPLEMENTED = 12 };
    struct fm_owner *o = fm_container_of(conn->server, struct fm_owner, server);
    enum fm_ask_kind kind = fm_ask_kind(h->path);
    conn->data = NULL;
    if (kind == FM_ASK_KINDS || h->method != FM_METHOD_POST || !fm_http_conn_has_body(conn)) {
        refuse(conn, 404, UNIMPLEMENTED, "fulmar: there is no such call here");
        return;
    }
    struct call *x = call_new(o, conn, kind);
    if (x)
        fm_http_conn_body(conn);
    else
        refuse(conn, 503, UNAVAILABLE, "fulmar: out of memory");
}

static bool keep(struct call *x, struct fm_str piece)
{
    if (piece.n > FM_ASK_BODY_MAX - x->n)
        return false;
    if (x->n + piece.n > x->cap) {
        size_t cap = 2 * (x->n + piece.n) + 256;
        char *p = realloc(x->body, cap);
        if (!p)
            return false;
        x->body = p;
        x->cap = cap;
    }
    if (piece.n)
        memcpy(x->body + x->n, piece.p, piece.n);
    x->n += piece.n;
    return true;
}

static void on_body(struct fm_http_conn *conn, struct fm_str piece, bool last)
{
    enum { EXHAUSTED = 8 };
    struct call *x = conn->data;
    FM_ASSERT(x && x->conn == conn);
    if (!keep(x, piece))
        call_refuse(x, 413, EXHAUSTED, "fulmar: the request is too long");
    else if (last)
        whole(x);
    else
        fm_http_conn_body(conn);
}

static void on_sent(struct fm_http_conn *conn)
{
    struct call *x = conn->data;
    FM_ASSERT(x && x->watch && x->sending);
    x->sending = false;
    free(x->line);
    x->line = NULL;
    watch_go_on(x);
}

static void on_failed(struct fm_http_conn *conn, const struct fm_http_refusal *why)
{
    struct call *x = conn->data;
    (void)why;
    if (x)
        let_go(x);
}

static const struct fm_http_handler handler = {
    .request = on_request, .body = on_body, .sent = on_sent, .failed = on_failed};

static void accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    struct fm_owner *o = fm_container_of(ln, struct fm_owner, listener);
    (void)fm_http_server_accept(&o->server, fd, from, o->server.nconns >= FM_OWNER_CONNS_MAX);
}

/* -------- opening and closing -------- */

enum fm_err fm_owner_socket(const char *path, char out[FM_OWNER_PATH_MAX + 8], struct fm_error *e)
{
    if (strlen(path) > FM_OWNER_PATH_MAX)
        return fm_error_set(e, FM_ERR_LIMIT,
                            "the path %.150s is longer than %d bytes, too long for a socket beside "
                            "it",
                            path, FM_OWNER_PATH_MAX);
    snprintf(out, FM_OWNER_PATH_MAX + 8, "%s.sock", path);
    return FM_ERR_OK;
}

static enum fm_err serve(struct fm_owner *o, const char *path, struct fm_error *e)
{
    struct fm_http_server_config c = {.limits = {.head_bytes = HEAD_BYTES,
                                                 .fields = 64,
                                                 .body_bytes = FM_ASK_BODY_MAX,
                                                 .ext_bytes = 64,
                                                 .trailer_bytes = 1024},
                                      .header_ms = HEADER_MS,
                                      .idle_ms = IDLE_MS};
    struct fm_addr at;
    enum fm_err err = fm_http_server_init(&o->server, o->loop, &c, &handler, o, e);
    if (err)
        return err;
    if (fm_addr_unix(&at, fm_str_z(path)))
        return fm_error_set(e, FM_ERR_LIMIT, "the path %s is too long for a socket", path);
    err = fm_listener_open(&o->listener, o->loop, &at, 0, accepted, e);
    o->listening = err == FM_ERR_OK;
    return err;
}

struct fm_owner *fm_owner_open(struct fm_loop *l, const struct fm_owner_config *config,
                               struct fm_error *e)
{
    char path[FM_OWNER_PATH_MAX + 8];
    if (fm_owner_socket(config->path, path, e))
        return NULL;
    struct fm_owner *o = calloc(1, sizeof *o);
    if (!o) {
        fm_error_set(e, FM_ERR_MEMORY, "out of memory");
        return NULL;
    }
    o->loop = l;
    o->config = *config;
    fm_list_init(&o->watches);
    snprintf(o->service, sizeof o->service, "%s", config->service);
    struct fm_buf prefix = fm_buf(o->prefix_mem, sizeof o->prefix_mem);
    fm_buf_lit(&prefix, "/fulmar/");
    fm_buf_str_add(&prefix, fm_str_z(o->service));
    fm_buf_ch(&prefix, '/');
    o->prefix = fm_buf_str(&prefix);
    if (fm_mailbox_open(&o->answers, l, o, e)) {
        free(o);
        return NULL;
    }
    o->store = fm_store_open(config->path, o->service, &o->answers, e);
    if (o->store)
        fm_store_shows(o->store, &o->cluster, &o->revision);
    if (o->store && serve(o, path, e) == FM_ERR_OK) {
        fm_log(FM_LOG_INFO, "coordination_owned", FM_KZ("file", config->path),
               FM_KZ("socket", path));
        return o;
    }
    fm_owner_close(o);
    return NULL;
}

void fm_owner_close(struct fm_owner *o)
{
    if (o->listening)
        fm_listener_close(&o->listener);
    o->listening = false;
    if (o->server.loop)
        fm_http_server_close_all(&o->server); /* calls are told, and wait for the thread */
    if (o->store)
        fm_store_close(o->store);
    fm_mailbox_close(&o->answers); /* delivers what the thread has finished */
    FM_ASSERT(o->ncalls == 0);
    if (o->server.loop) {
        fm_loop_turn(o->loop, 0);
        fm_http_server_deinit(&o->server);
    }
    free(o);
}
