/* See the header. */
#include "serve.h"

#include <stdio.h>
#include <stdlib.h>

struct net net;
struct fm_http_server server;
struct fm_listener listener;
struct peer p;
bool over_limit;
struct app app;
struct reply reply;

/* -------- the handler -------- */

static void answer(struct fm_http_conn *c, unsigned status, const char *text)
{
    fm_http_conn_answer(c, status, FM_STR("text/plain"), FM_STR(""), fm_str_z(text));
}

void serve_ask(void)
{
    app.inside = true;
    fm_http_conn_body(app.conn);
    app.inside = false;
}

void serve_send(const char *text)
{
    static char out[256];
    size_t n = strlen(text);
    assert_true(n <= sizeof out);
    memcpy(out, text, n);
    app.inside = true;
    fm_http_conn_send(app.conn, &(struct iovec){out, n}, 1);
    app.inside = false;
}

static void answer_big(struct fm_http_conn *c)
{
    char *text = malloc(SERVE_BIG);
    assert_non_null(text);
    for (size_t i = 0; i < SERVE_BIG; i++)
        text[i] = (char)('a' + i % 26);
    fm_http_conn_answer_heap(c, 200, FM_STR("text/plain"), FM_STR(""), text, SERVE_BIG);
}

static void on_request(struct fm_http_conn *c, const struct fm_http_head *h)
{
    app.conn = c;
    app.requests++;
    app.has_body = fm_http_conn_has_body(c);
    app.head_age_ns = c->head_age_ns;
    app.body_n = 0;
    if (fm_str_eqz(h->path, "/ok"))
        answer(c, 200, "ok");
    else if (fm_str_eqz(h->path, "/none"))
        answer(c, 204, "");
    else if (fm_str_eqz(h->path, "/same"))
        answer(c, 304, "");
    else if (fm_str_eqz(h->path, "/big"))
        answer_big(c);
    else if (fm_str_eqz(h->path, "/abort"))
        fm_http_conn_abort(c);
    else if (fm_str_eqz(h->path, "/echo") && app.has_body)
        serve_ask();
    else if (!fm_str_eqz(h->path, "/hold"))
        answer(c, 404, "what?");
}

static void on_body(struct fm_http_conn *c, struct fm_str piece, bool last)
{
    assert_false(app.inside);
    assert_ptr_equal(c, app.conn);
    app.bodies++;
    app.piece = piece;
    app.last = last;
    assert_true(app.body_n + piece.n <= sizeof app.body);
    if (piece.n)
        memcpy(app.body + app.body_n, piece.p, piece.n);
    app.body_n += piece.n;
    if (!last && c->data != &app) /* /hold asks by hand */
        serve_ask();
    else if (c->data != &app)
        fm_http_conn_answer(c, 200, FM_STR("text/plain"), FM_STR("X-Echo: yes\r\n"),
                            fm_str(app.body, app.body_n));
}

static void on_sent(struct fm_http_conn *c)
{
    assert_false(app.inside);
    assert_ptr_equal(c, app.conn);
    app.sents++;
}

static void on_failed(struct fm_http_conn *c, const struct fm_http_refusal *why)
{
    assert_ptr_equal(c, app.conn);
    app.faileds++;
    app.failed_status = why->status;
    app.failed_why = why->why;
    app.conn = NULL;
}

static void on_refused(struct fm_http_conn *c, const struct fm_http_refusal *why)
{
    (void)c;
    app.refuseds++;
    app.refused_status = why->status;
}

static const struct fm_http_handler handler = {
    .request = on_request,
    .body = on_body,
    .sent = on_sent,
    .failed = on_failed,
    .refused = on_refused,
};

static void closed_one(struct fm_http_server *s)
{
    assert_ptr_equal(s, &server);
    app.closed++;
}

void serve_answer(unsigned status, const char *text)
{
    answer(app.conn, status, text);
}

/* -------- set-up -------- */

static void accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    (void)ln;
    assert_non_null(fm_http_server_accept(&server, fd, from, over_limit));
}

static void open_server(bool stamps)
{
    struct fm_addr at;
    struct fm_http_server_config config = {
        .limits = FM_HTTP_LIMITS_DEFAULT,
        .header_ms = SERVE_HEADER_MS,
        .idle_ms = SERVE_IDLE_MS,
        .stamps = stamps,
    };
    config.limits.head_bytes = 4096;
    config.limits.fields = 20;
    memset(&app, 0, sizeof app);
    over_limit = false;
    net_open(&net, SERVE_BLOCK, SERVE_BLOCKS);
    assert_int_equal(fm_http_server_init(&server, &net.loop, &config, &handler, &app, NULL),
                     FM_ERR_OK);
    server.closed_one = closed_one;
    assert_int_equal(fm_addr_parse(&at, FM_STR("127.0.0.1:0")), FM_ERR_OK);
    assert_int_equal(
        fm_listener_open(&listener, &net.loop, &at, stamps ? FM_LISTEN_STAMPS : 0, accepted, NULL),
        FM_ERR_OK);
    peer_connect(&p, &listener.address);
    NET_UNTIL(&net, server.nconns == 1);
}

int serve_setup(void **state)
{
    int rc = fm_test_fds_before(state);
    open_server(false);
    return rc;
}

int serve_setup_stamps(void **state)
{
    int rc = fm_test_fds_before(state);
    open_server(true);
    return rc;
}

int serve_teardown(void **state)
{
    if (p.fd >= 0)
        peer_close(&p);
    fm_listener_close(&listener);
    fm_http_server_close_all(&server);
    fm_loop_turn(&net.loop, 0);
    fm_http_server_deinit(&server);
    net_close(&net);
    return fm_test_fds_after(state);
}

/* -------- what the client sees -------- */

bool has_reply(enum fm_http_method method)
{
    static const struct fm_http_limits limits = {.head_bytes = SERVE_BLOCK, .fields = 32};
    struct fm_http_scan scan = {0};
    struct fm_http_refusal why;
    peer_poll(&p);
    enum fm_http_parse r =
        fm_http_parse_response(&scan, p.in, p.n, method, &limits, reply.field, &reply.head, &why);
    if (r == FM_PARSE_BAD)
        fail_msg("%s: %.*s", why.why, (int)p.n, p.in);
    if (r == FM_PARSE_MORE)
        return false;
    bool has_length = reply.head.framing == FM_BODY_LENGTH;
    reply.size = reply.head.size + (has_length ? (size_t)reply.head.length : 0);
    reply.body = fm_str(p.in + reply.head.size, reply.size - reply.head.size);
    return p.n >= reply.size;
}

void expect(unsigned status, const char *body)
{
    NET_UNTIL(&net, has_reply(FM_METHOD_GET));
    assert_int_equal(reply.head.status, status);
    if (body)
        assert_str(reply.body, body);
    peer_drop(&p, reply.size);
}

bool says_close(void)
{
    return fm_http_connection_names(&reply.head, FM_STR("close"));
}

void expect_end(void)
{
    NET_UNTIL(&net, peer_is_over(&p));
    assert_int_equal(p.err, 0);
    assert_int_equal(p.n, 0);
}

void serve_hold(const char *text)
{
    peer_say(&net, &p, text);
    unsigned before = app.requests;
    NET_UNTIL(&net, app.requests == before + 1);
    app.conn->data = &app;
}

void expect_problem(unsigned status)
{
    expect(status, NULL);
    assert_str(fm_http_value(&reply.head, FM_HDR_CONTENT_TYPE), "application/problem+json");
    assert_true(says_close());
    assert_true(reply.body.n > 0 && reply.body.p[0] == '{');
    expect_end();
    assert_int_equal(app.refuseds, 1);
    assert_int_equal(app.refused_status, status);
}
