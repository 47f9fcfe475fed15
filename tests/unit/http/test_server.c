/* Server connections over real sockets: requests, answers, bodies, refusals. How they end is in
 * test_server_ends.c. */
#include "serve.h"

#include <errno.h>
#include <stdio.h>
#include <sys/ioctl.h>

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
    serve_hold("GET /hold HTTP/1.1\r\n" HOST "\r\nGET /ok HTTP/1.1\r\n" HOST "\r\n\x01 malformed");
    net_turn_ms(&net, 3);
    assert_int_equal(app.requests, 1);
    serve_answer(200, "one");
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
    } expected[] = {{200, 2}, {200, SERVE_BIG}, {204, 0}, {304, 0}};
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
    serve_hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
    for (unsigned i = 0; i < FM_COUNT(part); i++) {
        serve_send(part[i]);
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
    assert_int_equal(reply.head.length, SERVE_BIG);
    peer_drop(&p, reply.head.size);
    int64_t patience = net_patience();
    while (got < SERVE_BIG && !net_is_over(patience)) {
        peer_poll(&p);
        for (size_t i = 0; i < p.n; i++)
            assert_int_equal(p.in[i], 'a' + (got + i) % 26);
        got += p.n;
        peer_drop(&p, p.n);
        fm_loop_turn(&net.loop, FM_NS_PER_MS / 10);
    }
    assert_int_equal(got, SERVE_BIG);
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
    serve_hold(head);
    peer_send(&net, &p, much, sizeof much);
    net_turn_ms(&net, 3);
    assert_int_equal(app.bodies, 0);
    assert_int_equal(net.pool.in_use, 0);
    size_t got = 0;
    for (unsigned i = 1; got < sizeof much; i++) {
        int before, after;
        assert_int_equal(ioctl(app.conn->s.sock.watch.fd, FIONREAD, &before), 0);
        serve_ask();
        NET_UNTIL(&net, app.bodies == i);
        net_turn_ms(&net, 1);
        assert_int_equal(app.bodies, i);
        assert_in_range(app.piece.n, 1, SERVE_BLOCK);
        assert_int_equal(ioctl(app.conn->s.sock.watch.fd, FIONREAD, &after), 0);
        assert_true(after >= before - (int)app.piece.n);
        assert_true(net.pool.in_use <= 1);
        got += app.piece.n;
    }
    assert_true(app.last);
    serve_answer(200, "all");
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
    serve_hold("POST /hold HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    net_turn_ms(&net, 2);
    assert_true(peer_heard(&p, ""));
    serve_ask();
    NET_UNTIL(&net, peer_heard(&p, "HTTP/1.1 100 Continue\r\n\r\n"));
    peer_drop(&p, p.n);
    peer_say(&net, &p, "a");
    NET_UNTIL(&net, app.bodies == 1);
    serve_ask(); /* not a second time */
    peer_say(&net, &p, "bc");
    NET_UNTIL(&net, app.last);
    serve_answer(200, "ok");
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
    serve_hold("POST /hold HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\na");
    serve_ask();
    NET_UNTIL(&net, app.bodies == 1);
    serve_ask(); /* nothing there yet */
    serve_answer(200, "enough");
    peer_say(&net, &p, "bc");
    expect(200, "enough");
    expect_end();
    assert_int_equal(app.bodies, 1);
    assert_int_equal(app.faileds, 0);
}

/* -------- refusals -------- */

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
    serve_hold("POST /hold HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    serve_send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
    NET_UNTIL(&net, app.sents == 1);
    serve_ask();
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
    int64_t waited_ms = 0;
    while (server.nconns == 1 && waited_ms < 3000) { /* always something to read */
        ssize_t n = send(p.fd, much, sizeof much, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN)
            break;
        net_skip_ms(20);
        waited_ms += 20;
        fm_loop_turn(&net.loop, 0);
    }
    assert_in_range(waited_ms, 500, 2000);
    NET_UNTIL(&net, server.nconns == 0);
}

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
    with_server(an_early_refusal_is_not_reset_away), with_server(does_not_linger_for_ever))
