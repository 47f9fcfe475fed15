/* Server connections over real sockets. The handler's first word is the path: what it does with a
 * request, or that the test does it by hand (/hold). */
#include "net.h"

#include "base/buf.h"
#include "http/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BLOCK = 16 * 1024, BIG = 1 << 20, HEADER_MS = 1000, IDLE_MS = 20 * 1000 };

#define HOST "Host: a.example\r\n"

static struct net net;
static struct fm_http_server server;
static bool over_limit; /* what is accepted now */
static struct fm_listener listener;
static struct peer p;

/* What the handler was told. */
static struct {
    struct fm_http_conn *conn;
    unsigned requests, bodies, sents, faileds, refuseds, closed;
    unsigned failed_status, refused_status;
    const char *failed_why;
    bool has_body, last, inside;
    int64_t head_age_ns;
    struct fm_str piece; /* in hand */
    size_t body_n;
    char body[BIG];
} app;

/* -------- the handler -------- */

static void answer(struct fm_http_conn *c, unsigned status, const char *text)
{
    fm_http_conn_answer(c, status, FM_STR("text/plain"), FM_STR(""), fm_str_z(text));
}

static void ask(void)
{
    app.inside = true;
    fm_http_conn_body(app.conn);
    app.inside = false;
}

static void send_text(const char *text)
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
    char *text = malloc(BIG);
    assert_non_null(text);
    for (size_t i = 0; i < BIG; i++)
        text[i] = (char)('a' + i % 26);
    fm_http_conn_answer_heap(c, 200, FM_STR("text/plain"), FM_STR(""), text, BIG);
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
        ask();
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
        ask();
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
        .header_ms = HEADER_MS,
        .idle_ms = IDLE_MS,
        .stamps = stamps,
    };
    config.limits.head_bytes = 4096;
    config.limits.fields = 20;
    memset(&app, 0, sizeof app);
    over_limit = false;
    net_open(&net, BLOCK, 8);
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

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    open_server(false);
    return rc;
}

static int setup_stamps(void **state)
{
    int rc = fm_test_fds_before(state);
    open_server(true);
    return rc;
}

static int teardown(void **state)
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

struct reply {
    struct fm_http_head head;
    struct fm_http_field field[32];
    size_t size; /* with the body */
    struct fm_str body;
};

static struct reply reply;

/* The first answer in what the client has, if it is whole. */
static bool has_reply(enum fm_http_method method)
{
    static const struct fm_http_limits limits = {.head_bytes = BLOCK, .fields = 32};
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

/* Wait for an answer of this status, and drop it; `body` NULL is any. */
static void expect(unsigned status, const char *body)
{
    NET_UNTIL(&net, has_reply(FM_METHOD_GET));
    assert_int_equal(reply.head.status, status);
    if (body)
        assert_str(reply.body, body);
    peer_drop(&p, reply.size);
}

static bool says_close(void)
{
    return fm_http_connection_names(&reply.head, FM_STR("close"));
}

/* Nothing more, and a proper end of stream (no reset). */
static void expect_end(void)
{
    NET_UNTIL(&net, peer_is_over(&p));
    assert_int_equal(p.err, 0);
    assert_int_equal(p.n, 0);
}

static void hold(const char *text)
{
    peer_say(&net, &p, text);
    unsigned before = app.requests;
    NET_UNTIL(&net, app.requests == before + 1);
    app.conn->data = &app;
}

/* -------- requests and answers -------- */

static void answers_one_request_after_the_other(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 3; i++) {
        peer_say(&net, &p, "GET /ok HTTP/1.1\r\n" HOST "\r\n");
        expect(200, "ok");
        assert_false(says_close());
        assert_int_equal(app.requests, i);
    }
    assert_int_equal(server.nconns, 1);
    assert_int_equal(net.pool.in_use, 0); /* an idle connection holds no buffer */
}

static void answers_pipelined_requests_in_their_order(void **state)
{
    (void)state;
    peer_say(&net, &p,
             "GET /ok HTTP/1.1\r\n" HOST "\r\n"
             "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc"
             "HEAD /ok HTTP/1.1\r\n" HOST "\r\n"
             "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
             "2\r\nde\r\n0\r\n\r\n\r\n"
             "GET /none HTTP/1.1\r\n" HOST "\r\n"
             "GET /ok HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"
             "GET /ok HTTP/1.1\r\n" HOST "\r\n");
    expect(200, "ok");
    expect(200, "abc");
    NET_UNTIL(&net, has_reply(FM_METHOD_HEAD));
    assert_int_equal(reply.head.length, 2);
    peer_drop(&p, reply.size);
    expect(200, "de");
    expect(204, "");
    expect(200, "ok");
    assert_true(says_close());
    expect_end();
    assert_int_equal(app.requests, 6);
}

static void does_not_look_at_the_next_request_before_the_answer(void **state)
{
    (void)state;
    hold("GET /hold HTTP/1.1\r\n" HOST "\r\nGET /ok HTTP/1.1\r\n" HOST "\r\n\x01 malformed");
    net_turn_ms(&net, 3);
    assert_int_equal(app.requests, 1);
    answer(app.conn, 200, "one");
    expect(200, "one");
    expect(200, "ok");
    expect(400, NULL);
    expect_end();
}

static void takes_a_request_in_any_pieces(void **state)
{
    (void)state;
    static const char text[] =
        "POST /echo HTTP/1.1\r\n" HOST
        "Transfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nA: b\r\n\r\n";
    for (size_t i = 0; i < sizeof text - 1; i++) {
        peer_send(&net, &p, text + i, 1);
        fm_loop_turn(&net.loop, 0);
    }
    expect(200, "hello");
}

static void leaves_out_bodies_where_there_are_none(void **state)
{
    (void)state;
    peer_say(&net, &p,
             "HEAD /ok HTTP/1.1\r\n" HOST "\r\nHEAD /big HTTP/1.1\r\n" HOST "\r\n"
             "GET /none HTTP/1.1\r\n" HOST "\r\nGET /same HTTP/1.1\r\n" HOST "\r\n");
    static const struct {
        unsigned status;
        uint64_t length;
    } expected[] = {{200, 2}, {200, BIG}, {204, 0}, {304, 0}};
    for (size_t i = 0; i < FM_COUNT(expected); i++) {
        NET_UNTIL(&net, has_reply(FM_METHOD_HEAD));
        assert_int_equal(reply.head.status, expected[i].status);
        assert_int_equal(reply.head.length, expected[i].length);
        assert_int_equal(fm_http_has(&reply.head, FM_HDR_CONTENT_LENGTH), expected[i].length > 0);
        peer_drop(&p, reply.size);
    }
    assert_int_equal(p.n, 0);
}

static void closes_behind_http_1_0(void **state)
{
    (void)state;
    peer_say(&net, &p, "GET /ok HTTP/1.0\r\n\r\nGET /ok HTTP/1.0\r\n\r\n");
    expect(200, "ok");
    assert_true(says_close());
    expect_end();
    assert_int_equal(app.requests, 1);
}

static void keeps_http_1_0_alive_where_it_asks(void **state)
{
    (void)state;
    peer_say(&net, &p, "GET /ok HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    expect(200, "ok");
    assert_true(fm_http_connection_names(&reply.head, FM_STR("keep-alive")));
    peer_say(&net, &p, "GET /ok HTTP/1.1\r\n" HOST "\r\n");
    expect(200, "ok");
    assert_false(fm_http_has(&reply.head, FM_HDR_CONNECTION));
}

static void sends_an_answer_in_chunks(void **state)
{
    (void)state;
    static const char *const part[] = {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                                       "5\r\nhello\r\n", "0\r\n\r\n"};
    hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
    for (unsigned i = 0; i < FM_COUNT(part); i++) {
        send_text(part[i]);
        NET_UNTIL(&net, app.sents == i + 1);
    }
    fm_http_conn_done(app.conn, false);
    NET_UNTIL(&net, peer_heard_last(&p, "\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
    peer_drop(&p, p.n);
    peer_say(&net, &p, "GET /ok HTTP/1.1\r\n" HOST "\r\n");
    expect(200, "ok");
}

static void sends_a_large_answer_to_a_slow_reader(void **state)
{
    (void)state;
    size_t got = 0;
    peer_say(&net, &p, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    NET_UNTIL(&net, (peer_poll(&p), p.n > 512));
    assert_false(has_reply(FM_METHOD_GET));
    assert_int_equal(reply.head.length, BIG);
    peer_drop(&p, reply.head.size);
    int64_t patience = net_patience();
    while (got < BIG && !net_is_over(patience)) {
        peer_poll(&p);
        for (size_t i = 0; i < p.n; i++)
            assert_int_equal(p.in[i], 'a' + (got + i) % 26);
        got += p.n;
        peer_drop(&p, p.n);
        fm_loop_turn(&net.loop, FM_NS_PER_MS / 10);
    }
    assert_int_equal(got, BIG);
    peer_say(&net, &p, "GET /ok HTTP/1.1\r\n" HOST "\r\n");
    expect(200, "ok");
}

/* -------- bodies -------- */

static void reads_nothing_that_was_not_asked_for(void **state)
{
    (void)state;
    static char much[200 * 1024];
    char head[128];
    snprintf(head, sizeof head, "POST /hold HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n",
             sizeof much);
    hold(head);
    peer_send(&net, &p, much, sizeof much);
    net_turn_ms(&net, 3);
    assert_int_equal(app.bodies, 0);
    assert_int_equal(net.pool.in_use, 0);
    size_t got = 0;
    for (unsigned i = 1; got < sizeof much; i++) {
        int before, after;
        assert_int_equal(ioctl(app.conn->s.sock.watch.fd, FIONREAD, &before), 0);
        ask();
        NET_UNTIL(&net, app.bodies == i);
        net_turn_ms(&net, 1);
        assert_int_equal(app.bodies, i);
        assert_in_range(app.piece.n, 1, BLOCK);
        assert_int_equal(ioctl(app.conn->s.sock.watch.fd, FIONREAD, &after), 0);
        assert_true(after >= before - (int)app.piece.n);
        assert_true(net.pool.in_use <= 1);
        got += app.piece.n;
    }
    assert_true(app.last);
    answer(app.conn, 200, "all");
    expect(200, "all");
}

static void keeps_the_framing_of_raw_bodies(void **state)
{
    (void)state;
    static const char body[] = "5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n";
    server.config.raw_bodies = true;
    peer_say(&net, &p, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; i < sizeof body - 1; i += 3) {
        peer_send(&net, &p, body + i, fm_min_size(3, sizeof body - 1 - i));
        fm_loop_turn(&net.loop, 0);
    }
    expect(200, body);
    peer_say(&net, &p, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc");
    expect(200, "abc");
}

static void says_continue_when_the_body_is_asked_for(void **state)
{
    (void)state;
    hold("POST /hold HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    net_turn_ms(&net, 2);
    assert_true(peer_heard(&p, ""));
    ask();
    NET_UNTIL(&net, peer_heard(&p, "HTTP/1.1 100 Continue\r\n\r\n"));
    peer_drop(&p, p.n);
    peer_say(&net, &p, "a");
    NET_UNTIL(&net, app.bodies == 1);
    ask(); /* not a second time */
    peer_say(&net, &p, "bc");
    NET_UNTIL(&net, app.last);
    answer(app.conn, 200, "ok");
    expect(200, "ok");
    assert_false(says_close());
}

static void does_not_say_continue_where_the_body_is_there(void **state)
{
    (void)state;
    peer_say(&net, &p,
             "POST /echo HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc");
    expect(200, "abc");
}

static void answers_instead_of_saying_continue(void **state)
{
    (void)state;
    peer_say(&net, &p,
             "POST /ok HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    expect(200, "ok");
    assert_true(says_close()); /* it cannot know whether the body comes */
    expect_end();
}

static void closes_where_a_body_was_not_read(void **state)
{
    (void)state;
    peer_say(&net, &p,
             "POST /ok HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc"
             "GET /ok HTTP/1.1\r\n" HOST "\r\n");
    expect(200, "ok");
    assert_true(says_close());
    expect_end();
    assert_int_equal(app.requests, 1);
}

static void a_handler_may_answer_while_it_waits_for_a_piece(void **state)
{
    (void)state;
    hold("POST /hold HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\na");
    ask();
    NET_UNTIL(&net, app.bodies == 1);
    ask(); /* nothing there yet */
    answer(app.conn, 200, "enough");
    peer_say(&net, &p, "bc");
    expect(200, "enough");
    expect_end();
    assert_int_equal(app.bodies, 1);
    assert_int_equal(app.faileds, 0);
}

/* -------- refusals -------- */

static void expect_problem(unsigned status)
{
    expect(status, NULL);
    assert_str(fm_http_value(&reply.head, FM_HDR_CONTENT_TYPE), "application/problem+json");
    assert_true(says_close());
    assert_true(reply.body.n > 0 && reply.body.p[0] == '{');
    expect_end();
    assert_int_equal(app.refuseds, 1);
    assert_int_equal(app.refused_status, status);
}

static void refuses_what_is_malformed(void **state)
{
    (void)state;
    peer_say(&net, &p, "GET / HTTP/1.1\r\nHost : a\r\n\r\n");
    expect_problem(400);
    assert_int_equal(app.requests, 0);
    NET_UNTIL(&net, server.nconns == 1);
    peer_close(&p); /* it lingers until then */
    NET_UNTIL(&net, server.nconns == 0);
    assert_int_equal(app.closed, 1);
}

static void refuses_a_long_request_line(void **state)
{
    (void)state;
    static char line[5000] = "GET /";
    memset(line + 5, 'a', sizeof line - 5);
    peer_send(&net, &p, line, sizeof line);
    expect_problem(414);
}

static void refuses_a_large_head(void **state)
{
    (void)state;
    static char field[5000] = "GET / HTTP/1.1\r\n" HOST "X: ";
    memset(field + strlen(field), 'a', sizeof field - strlen(field));
    peer_send(&net, &p, field, sizeof field);
    expect_problem(431);
}

static void refuses_many_fields(void **state)
{
    (void)state;
    peer_say(&net, &p, "GET / HTTP/1.1\r\n" HOST);
    for (int i = 0; i < 20; i++)
        peer_say(&net, &p, "A: b\r\n");
    expect_problem(431);
}

static void refuses_a_large_body(void **state)
{
    (void)state;
    server.config.limits.body_bytes = 10;
    peer_say(&net, &p, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\n");
    expect_problem(413);
    assert_int_equal(app.requests, 0);
}

static void refuses_a_body_that_becomes_large(void **state)
{
    (void)state;
    server.config.limits.body_bytes = 10;
    peer_say(&net, &p,
             "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
             "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
    expect_problem(413);
    assert_int_equal(app.faileds, 1); /* the handler was told first */
    assert_int_equal(app.failed_status, 413);
}

static void refuses_malformed_chunks_while_they_come(void **state)
{
    (void)state;
    peer_say(&net, &p, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhel");
    NET_UNTIL(&net, app.bodies == 1);
    peer_say(&net, &p, "lo!\n");
    expect_problem(400);
    assert_int_equal(app.faileds, 1);
    assert_int_equal(app.failed_status, 400);
}

static void cuts_an_answer_that_has_begun_rather_than_add_to_it(void **state)
{
    (void)state;
    hold("POST /hold HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    send_text("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
    NET_UNTIL(&net, app.sents == 1);
    ask();
    peer_say(&net, &p, "nonsense");
    NET_UNTIL(&net, peer_is_over(&p));
    assert_true(peer_heard(&p, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"));
    assert_int_equal(app.faileds, 1);
}

/* Its refusal would have no body if it were taken for the answer to the HEAD. */
static void refuses_what_follows_a_head_request_in_full(void **state)
{
    (void)state;
    peer_say(&net, &p, "HEAD /ok HTTP/1.1\r\n" HOST "\r\n");
    NET_UNTIL(&net, has_reply(FM_METHOD_HEAD));
    peer_drop(&p, reply.size);
    peer_say(&net, &p, "nonsense\r\n\r\n");
    expect_problem(400);
}

static void an_early_refusal_is_not_reset_away(void **state)
{
    (void)state;
    static char much[4 * 1024 * 1024];
    server.config.limits.body_bytes = 10;
    peer_say(&net, &p, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 4194304\r\n\r\n");
    peer_send(&net, &p, much, sizeof much); /* while the answer is long on its way */
    expect_problem(413);
    peer_close(&p);
    NET_UNTIL(&net, server.nconns == 0);
}

static void does_not_linger_for_ever(void **state)
{
    (void)state;
    static char much[64 * 1024];
    peer_say(&net, &p, "nonsense\r\n\r\n");
    expect(400, NULL);
    int64_t patience = net_patience();
    while (server.nconns == 1 && !net_is_over(patience)) { /* always something to read */
        ssize_t n = send(p.fd, much, sizeof much, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN)
            break;
        net_skip_ms(20);
        fm_loop_turn(&net.loop, 0);
    }
    NET_UNTIL(&net, server.nconns == 0);
}

/* -------- time -------- */

static void closes_idle_connections_silently(void **state)
{
    (void)state;
    peer_say(&net, &p, "GET /ok HTTP/1.1\r\n" HOST "\r\n");
    expect(200, "ok");
    net_skip_ms(IDLE_MS - 500);
    net_turn_ms(&net, 3);
    assert_int_equal(server.nconns, 1);
    net_skip_ms(501);
    expect_end();
    assert_int_equal(app.refuseds, 0);
}

static void an_empty_line_does_not_begin_a_request(void **state)
{
    (void)state;
    peer_say(&net, &p, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc\r\n");
    expect(200, "abc");
    net_skip_ms(HEADER_MS + 1);
    net_turn_ms(&net, 3);
    assert_int_equal(server.nconns, 1);
    net_skip_ms(IDLE_MS);
    expect_end(); /* and no 408, which would look like the answer to the next request */
}

static void a_slow_head_is_408(void **state)
{
    (void)state;
    peer_say(&net, &p, "GET /ok HTTP/1.1\r\n");
    net_turn_ms(&net, 2);
    net_skip_ms(HEADER_MS - 100);
    peer_say(&net, &p, "Host: "); /* goes on, but the time counts from the first byte */
    net_turn_ms(&net, 2);
    assert_int_equal(app.refuseds, 0);
    net_skip_ms(101);
    expect_problem(408);
}

static void each_head_has_its_own_time(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        peer_say(&net, &p, "GET /ok ");
        net_turn_ms(&net, 2);
        net_skip_ms(HEADER_MS - 200);
        peer_say(&net, &p, "HTTP/1.1\r\n" HOST "\r\n");
        expect(200, "ok");
        net_skip_ms(5000);
        net_turn_ms(&net, 2);
    }
}

static void a_slow_body_is_408(void **state)
{
    (void)state;
    server.config.min_body_bps = 1000;
    peer_say(&net, &p, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n");
    NET_UNTIL(&net, app.requests == 1);
    for (int i = 0; i < 6; i++) { /* 500 bytes in 900 ms is too little in the long run */
        static const char some[500];
        net_skip_ms(900);
        peer_send(&net, &p, some, sizeof some);
        unsigned before = app.bodies;
        NET_UNTIL(&net, app.bodies > before || app.faileds);
    }
    assert_int_equal(app.faileds, 0); /* 5.4 s for 3,000 bytes, and 5 s of grace */
    net_skip_ms(3000);
    expect_problem(408);
    assert_int_equal(app.faileds, 1);
    assert_int_equal(app.failed_status, 408);
}

static void a_slow_handler_is_not_the_fault_of_the_client(void **state)
{
    (void)state;
    server.config.min_body_bps = 1000;
    hold("POST /hold HTTP/1.1\r\n" HOST "Content-Length: 6\r\n\r\n");
    for (unsigned i = 1; i <= 3; i++) {
        net_skip_ms(60 * 1000);
        net_turn_ms(&net, 2);
        ask();
        net_turn_ms(&net, 3);
        peer_say(&net, &p, "ab");
        NET_UNTIL(&net, app.bodies == i);
    }
    assert_int_equal(app.faileds, 0);
    answer(app.conn, 200, "ok");
    expect(200, "ok");
}

static void a_silent_body_is_408(void **state)
{
    (void)state;
    peer_say(&net, &p, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nab");
    NET_UNTIL(&net, app.bodies == 1);
    net_turn_ms(&net, 2);
    net_skip_ms(IDLE_MS + 1);
    expect_problem(408);
}

static void gives_up_who_does_not_read(void **state)
{
    (void)state;
    hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
    static char much[8 * 1024 * 1024];
    fm_http_conn_send(app.conn, &(struct iovec){much, sizeof much}, 1);
    net_turn_ms(&net, 3);
    assert_int_equal(app.sents + app.faileds, 0);
    net_skip_ms(3600 * 1000);
    NET_UNTIL(&net, app.faileds == 1);
    assert_int_equal(app.failed_status, 0);
    NET_UNTIL(&net, server.nconns == 0);
}

/* -------- the end of the client -------- */

static void tells_the_handler_that_the_client_is_gone(void **state)
{
    (void)state;
    hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
    peer_reset(&p);
    NET_UNTIL(&net, app.faileds == 1);
    assert_int_equal(app.failed_status, 0);
    NET_UNTIL(&net, server.nconns == 0);
    assert_int_equal(app.faileds, 1);
    assert_int_equal(app.refuseds, 0);
}

static void answers_a_client_that_has_said_all(void **state)
{
    (void)state;
    hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(shutdown(p.fd, SHUT_WR), 0);
    net_turn_ms(&net, 3);
    assert_int_equal(app.faileds, 0);
    answer(app.conn, 200, "still");
    expect(200, "still");
    expect_end();
}

static void a_body_that_ends_too_early_fails(void **state)
{
    (void)state;
    peer_say(&net, &p, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nab");
    NET_UNTIL(&net, app.bodies == 1);
    assert_int_equal(shutdown(p.fd, SHUT_WR), 0);
    NET_UNTIL(&net, app.faileds == 1);
    assert_int_equal(app.failed_status, 0);
    NET_UNTIL(&net, peer_is_over(&p));
    assert_int_equal(p.n, 0);
}

static void notices_a_loss_while_it_sends(void **state)
{
    (void)state;
    hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
    static char much[8 * 1024 * 1024];
    fm_http_conn_send(app.conn, &(struct iovec){much, sizeof much}, 1);
    net_turn_ms(&net, 2);
    peer_reset(&p);
    NET_UNTIL(&net, app.faileds == 1);
    NET_UNTIL(&net, server.nconns == 0);
    assert_int_equal(app.sents, 0);
}

static void a_client_may_come_and_go(void **state)
{
    (void)state;
    static const char *const said[] = {"", "GET", "GET / HTTP/1.1\r\nHost: a", "\r\n"};
    peer_close(&p);
    for (size_t i = 0; i < FM_COUNT(said); i++) {
        for (int hard = 0; hard < 2; hard++) {
            NET_UNTIL(&net, server.nconns == 0);
            peer_connect(&p, &listener.address);
            peer_say(&net, &p, said[i]);
            NET_UNTIL(&net, server.nconns == 1);
            net_turn_ms(&net, 1);
            if (hard)
                peer_reset(&p);
            else
                peer_close(&p);
        }
    }
    NET_UNTIL(&net, server.nconns == 0);
    assert_int_equal(app.closed, 1 + 2 * FM_COUNT(said));
    assert_int_equal(app.requests + app.refuseds + app.faileds, 0);
    peer_connect(&p, &listener.address);
    NET_UNTIL(&net, server.nconns == 1); /* in memory that was used before */
    peer_say(&net, &p, "GET /ok HTTP/1.1\r\n" HOST "\r\n");
    expect(200, "ok");
}

static void an_aborted_answer_ends_the_connection(void **state)
{
    (void)state;
    peer_say(&net, &p, "GET /abort HTTP/1.1\r\n" HOST "\r\nGET /ok HTTP/1.1\r\n" HOST "\r\n");
    NET_UNTIL(&net, peer_is_over(&p));
    assert_int_equal(p.n, 0);
    assert_int_equal(app.faileds, 0);
}

/* -------- tunnels -------- */

static void open_tunnel(const char *early)
{
    char text[256];
    snprintf(text, sizeof text,
             "GET /hold HTTP/1.1\r\n" HOST "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n%s",
             early);
    hold(text);
    send_text("HTTP/1.1 101 Switching Protocols\r\n\r\n");
    NET_UNTIL(&net, app.sents == 1);
    fm_http_conn_to_tunnel(app.conn, 1000);
    NET_UNTIL(&net, peer_heard(&p, "HTTP/1.1 101 Switching Protocols\r\n\r\n"));
    peer_drop(&p, p.n);
    ask();
}

static void a_tunnel_passes_bytes_both_ways(void **state)
{
    (void)state;
    open_tunnel("early");
    NET_UNTIL(&net, app.body_n == 5);
    assert_memory_equal(app.body, "early", 5);
    ask();
    send_text("down");
    NET_UNTIL(&net, peer_heard(&p, "down"));
    peer_say(&net, &p, "up");
    NET_UNTIL(&net, app.body_n == 7);
    assert_false(app.last);
    ask();
    assert_int_equal(shutdown(p.fd, SHUT_WR), 0);
    NET_UNTIL(&net, app.last); /* that direction ends, the other goes on */
    NET_UNTIL(&net, app.sents == 2);
    send_text(" and out");
    NET_UNTIL(&net, app.sents == 3);
    fm_http_conn_done(app.conn, false);
    NET_UNTIL(&net, peer_heard(&p, "down and out"));
    peer_drop(&p, p.n);
    expect_end();
    assert_int_equal(app.faileds, 0);
}

/* The server has ended its direction; what the client says last is not lost while nobody asks. */
static void a_tunnel_gives_the_last_words_of_the_client(void **state)
{
    (void)state;
    open_tunnel("");
    peer_say(&net, &p, "one");
    NET_UNTIL(&net, app.body_n == 3);
    fm_http_conn_shutdown(app.conn);
    NET_UNTIL(&net, peer_is_over(&p));
    peer_say(&net, &p, "last words");
    peer_close(&p);
    net_turn_ms(&net, 3);
    assert_int_equal(app.faileds, 0);
    ask();
    NET_UNTIL(&net, app.body_n == 13);
    ask();
    NET_UNTIL(&net, app.last);
    fm_http_conn_done(app.conn, true);
    NET_UNTIL(&net, server.nconns == 0);
}

static void a_silent_tunnel_ends_unless_the_other_side_talks(void **state)
{
    (void)state;
    open_tunnel("");
    for (int i = 0; i < 5; i++) {
        net_skip_ms(900);
        fm_http_conn_touch(app.conn);
        net_turn_ms(&net, 1);
    }
    assert_int_equal(app.faileds, 0);
    net_skip_ms(1001);
    NET_UNTIL(&net, app.faileds == 1);
    NET_UNTIL(&net, peer_is_over(&p));
    assert_int_equal(p.n, 0); /* no problem document in the middle of another protocol */
}

/* -------- the end of the server -------- */

static void draining_closes_the_idle_and_lets_the_busy_finish(void **state)
{
    (void)state;
    static struct peer idle;
    peer_connect(&idle, &listener.address);
    NET_UNTIL(&net, server.nconns == 2);
    hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
    fm_http_server_drain(&server);
    NET_UNTIL(&net, peer_is_over(&idle));
    peer_close(&idle);
    NET_UNTIL(&net, server.nconns == 1);
    answer(app.conn, 200, "last");
    expect(200, "last");
    assert_true(says_close());
    expect_end();
}

static void draining_answers_what_has_arrived(void **state)
{
    (void)state;
    fm_loop_turn(&net.loop, 0);
    peer_say(&net, &p, "GET /ok HTTP/1.1\r\n" HOST "\r\n");
    fm_http_server_drain(&server); /* before the loop has seen it */
    expect(200, "ok");
    assert_true(says_close());
    expect_end();
}

static void draining_lets_a_begun_request_finish(void **state)
{
    (void)state;
    peer_say(&net, &p, "GET /ok HTTP");
    net_turn_ms(&net, 2);
    fm_http_server_drain(&server);
    net_turn_ms(&net, 2);
    assert_int_equal(server.nconns, 1);
    peer_say(&net, &p, "/1.1\r\n" HOST "\r\n");
    expect(200, "ok");
    assert_true(says_close());
    expect_end();
}

static void closing_all_tells_the_handlers(void **state)
{
    (void)state;
    hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
    fm_http_server_close_all(&server);
    assert_int_equal(app.faileds, 1);
    assert_int_equal(app.failed_status, 0);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(server.nconns, 0);
    assert_int_equal(app.closed, 1);
}

/* -------- other bounds -------- */

static void a_connection_too_many_gets_one_answer(void **state)
{
    (void)state;
    peer_close(&p);
    NET_UNTIL(&net, server.nconns == 0);
    over_limit = true;
    peer_connect(&p, &listener.address);
    peer_say(&net, &p,
             "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc"
             "GET /ok HTTP/1.1\r\n" HOST "\r\n");
    expect(503, NULL);
    assert_str(fm_http_value(&reply.head, FM_HDR_RETRY_AFTER), "1");
    assert_true(says_close());
    expect_end();
    assert_int_equal(app.requests, 0);
}

static void passes_an_interim_answer_on(void **state)
{
    (void)state;
    hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
    fm_http_conn_interim(app.conn, FM_STR("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"));
    answer(app.conn, 200, "ok");
    NET_UNTIL(&net, has_reply(FM_METHOD_GET));
    assert_int_equal(reply.head.status, 103);
    peer_drop(&p, reply.size);
    expect(200, "ok");
    assert_false(says_close());
}

static void knows_that_a_client_has_hung_up(void **state)
{
    (void)state;
    hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
    assert_false(fm_http_conn_hung_up(app.conn));
    assert_int_equal(shutdown(p.fd, SHUT_WR), 0);
    NET_UNTIL(&net, fm_http_conn_hung_up(app.conn));
    answer(app.conn, 200, "ok");
    expect(200, "ok");
}

static void survives_an_empty_pool(void **state)
{
    (void)state;
    struct fm_block *all[8];
    for (size_t i = 0; i < FM_COUNT(all); i++)
        all[i] = fm_pool_get(&net.pool);
    peer_say(&net, &p, "GET /ok HTTP/1.1\r\n" HOST "\r\n");
    NET_UNTIL(&net, peer_is_over(&p)); /* not even a 503 can be written */
    for (size_t i = 0; i < FM_COUNT(all); i++)
        fm_pool_put(&net.pool, all[i]);
    assert_int_equal(app.requests, 0);
}

static void an_answer_that_does_not_fit_is_no_answer(void **state)
{
    (void)state;
    static char text[BLOCK + 1];
    memset(text, 'x', sizeof text - 1);
    hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
    answer(app.conn, 200, text);
    NET_UNTIL(&net, peer_is_over(&p));
    assert_int_equal(p.n, 0);
}

/* A gate counts the deadline of a request from when it came, not from when it was its turn. */
static void a_request_that_waited_behind_another_is_that_old(void **state)
{
    (void)state;
    hold("GET /hold HTTP/1.1\r\n" HOST "\r\nGET /hold HTTP/1.1\r\n" HOST "\r\n");
    assert_in_range(app.head_age_ns, 0, FM_NS_PER_S);
    net_skip_ms(3000);
    fm_loop_turn(&net.loop, 0);
    answer(app.conn, 200, "one");
    expect(200, "one");
    NET_UNTIL(&net, app.requests == 2);
    assert_in_range(app.head_age_ns, 3 * FM_NS_PER_S, 4 * FM_NS_PER_S);
    answer(app.conn, 200, "two");
    expect(200, "two");
}

static void a_request_that_waited_in_the_kernel_is_that_old(void **state)
{
    (void)state;
    int64_t patience = net_patience();
    do { /* the kernel begins with its stamps a moment after the listener */
        assert_false(net_is_over(patience));
        peer_say(&net, &p, "GET /ok HTTP/1.1\r\n" HOST "\r\n");
        usleep(20 * 1000);
        expect(200, "ok");
    } while (app.head_age_ns == 0);
    assert_in_range(app.head_age_ns, 20 * FM_NS_PER_MS, FM_NS_PER_S);
}

#define with_server(fn) fm_test_with(fn, setup, teardown)
#define with_stamps(fn) fm_test_with(fn, setup_stamps, teardown)

FM_TEST_MAIN(
    with_server(answers_one_request_after_the_other),
    with_server(answers_pipelined_requests_in_their_order),
    with_server(does_not_look_at_the_next_request_before_the_answer),
    with_server(takes_a_request_in_any_pieces), with_server(leaves_out_bodies_where_there_are_none),
    with_server(closes_behind_http_1_0), with_server(keeps_http_1_0_alive_where_it_asks),
    with_server(sends_an_answer_in_chunks), with_server(sends_a_large_answer_to_a_slow_reader),
    with_server(reads_nothing_that_was_not_asked_for), with_server(keeps_the_framing_of_raw_bodies),
    with_server(says_continue_when_the_body_is_asked_for),
    with_server(does_not_say_continue_where_the_body_is_there),
    with_server(answers_instead_of_saying_continue), with_server(closes_where_a_body_was_not_read),
    with_server(a_handler_may_answer_while_it_waits_for_a_piece),
    with_server(refuses_what_is_malformed), with_server(refuses_a_long_request_line),
    with_server(refuses_a_large_head), with_server(refuses_many_fields),
    with_server(refuses_a_large_body), with_server(refuses_a_body_that_becomes_large),
    with_server(refuses_malformed_chunks_while_they_come),
    with_server(cuts_an_answer_that_has_begun_rather_than_add_to_it),
    with_server(refuses_what_follows_a_head_request_in_full),
    with_server(an_early_refusal_is_not_reset_away), with_server(does_not_linger_for_ever),
    with_server(closes_idle_connections_silently),
    with_server(an_empty_line_does_not_begin_a_request), with_server(a_slow_head_is_408),
    with_server(each_head_has_its_own_time), with_server(a_slow_body_is_408),
    with_server(a_slow_handler_is_not_the_fault_of_the_client), with_server(a_silent_body_is_408),
    with_server(gives_up_who_does_not_read), with_server(tells_the_handler_that_the_client_is_gone),
    with_server(answers_a_client_that_has_said_all), with_server(a_body_that_ends_too_early_fails),
    with_server(notices_a_loss_while_it_sends), with_server(a_client_may_come_and_go),
    with_server(an_aborted_answer_ends_the_connection),
    with_server(a_tunnel_passes_bytes_both_ways),
    with_server(a_tunnel_gives_the_last_words_of_the_client),
    with_server(a_silent_tunnel_ends_unless_the_other_side_talks),
    with_server(draining_closes_the_idle_and_lets_the_busy_finish),
    with_server(draining_answers_what_has_arrived),
    with_server(draining_lets_a_begun_request_finish), with_server(closing_all_tells_the_handlers),
    with_server(a_connection_too_many_gets_one_answer), with_server(passes_an_interim_answer_on),
    with_server(knows_that_a_client_has_hung_up), with_server(survives_an_empty_pool),
    with_server(an_answer_that_does_not_fit_is_no_answer),
    with_stamps(a_request_that_waited_behind_another_is_that_old),
    with_stamps(a_request_that_waited_in_the_kernel_is_that_old))
