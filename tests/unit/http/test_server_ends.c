/* Server connections over real sockets: time, lost clients, tunnels, draining, bounds. */
#include "serve.h"

#include <stdio.h>
#include <unistd.h>

/* -------- time -------- */

static void closes_idle_connections_silently(void **state)
{
    (void)state;
    peer_say(&net, &p, "GET /ok HTTP/1.1\r\n" HOST "\r\n");
    expect(200, "ok");
    net_skip_ms(SERVE_IDLE_MS - 500);
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
    net_skip_ms(SERVE_HEADER_MS + 1);
    net_turn_ms(&net, 3);
    assert_int_equal(server.nconns, 1);
    net_skip_ms(SERVE_IDLE_MS);
    expect_end(); /* and no 408, which would look like the answer to the next request */
}

static void a_slow_head_is_408(void **state)
{
    (void)state;
    peer_say(&net, &p, "GET /ok HTTP/1.1\r\n");
    net_turn_ms(&net, 2);
    net_skip_ms(SERVE_HEADER_MS - 100);
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
        net_skip_ms(SERVE_HEADER_MS - 200);
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
    serve_hold("POST /hold HTTP/1.1\r\n" HOST "Content-Length: 6\r\n\r\n");
    for (unsigned i = 1; i <= 3; i++) {
        net_skip_ms(60 * 1000);
        net_turn_ms(&net, 2);
        serve_ask();
        net_turn_ms(&net, 3);
        peer_say(&net, &p, "ab");
        NET_UNTIL(&net, app.bodies == i);
    }
    assert_int_equal(app.faileds, 0);
    serve_answer(200, "ok");
    expect(200, "ok");
}

static void a_silent_body_is_408(void **state)
{
    (void)state;
    peer_say(&net, &p, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nab");
    NET_UNTIL(&net, app.bodies == 1);
    net_turn_ms(&net, 2);
    net_skip_ms(SERVE_IDLE_MS + 1);
    expect_problem(408);
}

static void gives_up_who_does_not_read(void **state)
{
    (void)state;
    serve_hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
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
    serve_hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
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
    serve_hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(shutdown(p.fd, SHUT_WR), 0);
    net_turn_ms(&net, 3);
    assert_int_equal(app.faileds, 0);
    serve_answer(200, "still");
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
    serve_hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
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
    serve_hold(text);
    serve_send("HTTP/1.1 101 Switching Protocols\r\n\r\n");
    NET_UNTIL(&net, app.sents == 1);
    fm_http_conn_to_tunnel(app.conn, 1000);
    NET_UNTIL(&net, peer_heard(&p, "HTTP/1.1 101 Switching Protocols\r\n\r\n"));
    peer_drop(&p, p.n);
    serve_ask();
}

static void a_tunnel_passes_bytes_both_ways(void **state)
{
    (void)state;
    open_tunnel("early");
    NET_UNTIL(&net, app.body_n == 5);
    assert_memory_equal(app.body, "early", 5);
    serve_ask();
    serve_send("down");
    NET_UNTIL(&net, peer_heard(&p, "down"));
    peer_say(&net, &p, "up");
    NET_UNTIL(&net, app.body_n == 7);
    assert_false(app.last);
    serve_ask();
    assert_int_equal(shutdown(p.fd, SHUT_WR), 0);
    NET_UNTIL(&net, app.last); /* that direction ends, the other goes on */
    NET_UNTIL(&net, app.sents == 2);
    serve_send(" and out");
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
    serve_ask();
    NET_UNTIL(&net, app.body_n == 13);
    serve_ask();
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
    serve_hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
    fm_http_server_drain(&server);
    NET_UNTIL(&net, peer_is_over(&idle));
    peer_close(&idle);
    NET_UNTIL(&net, server.nconns == 1);
    serve_answer(200, "last");
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
    serve_hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
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
    serve_hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
    fm_http_conn_interim(app.conn, FM_STR("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"));
    serve_answer(200, "ok");
    NET_UNTIL(&net, has_reply(FM_METHOD_GET));
    assert_int_equal(reply.head.status, 103);
    peer_drop(&p, reply.size);
    expect(200, "ok");
    assert_false(says_close());
}

/* An interim answer of which the kernel took a part: the answer must not be taken for the rest. */
static void nothing_follows_half_of_an_interim_answer(void **state)
{
    (void)state;
    static char head[1 << 20] = "HTTP/1.1 103 Early Hints\r\nLink: ";
    memset(head + strlen(head), 'x', sizeof head - strlen(head));
    serve_hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
    int small = 4096;
    assert_int_equal(
        setsockopt(app.conn->s.sock.watch.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    fm_http_conn_interim(app.conn, fm_str(head, sizeof head));
    serve_answer(200, "ok");
    NET_UNTIL(&net, peer_is_over(&p));
    assert_true(p.n > 0 && p.n < sizeof p.in);
    assert_memory_equal(p.in, head, p.n);
}

static void knows_that_a_client_has_hung_up(void **state)
{
    (void)state;
    serve_hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
    assert_false(fm_http_conn_hung_up(app.conn));
    assert_int_equal(shutdown(p.fd, SHUT_WR), 0);
    assert_true(fm_http_conn_hung_up(app.conn)); /* before any event could tell */
    NET_UNTIL(&net, app.conn->s.sock.flags & FM_SOCK_EOF);
    assert_true(fm_http_conn_hung_up(app.conn));
    serve_answer(200, "ok");
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
    static char text[SERVE_BLOCK + 1];
    memset(text, 'x', sizeof text - 1);
    serve_hold("GET /hold HTTP/1.1\r\n" HOST "\r\n");
    serve_answer(200, text);
    NET_UNTIL(&net, peer_is_over(&p));
    assert_int_equal(p.n, 0);
}

/* A gate counts the deadline of a request from when it came, not from when it was its turn. */
static void a_request_that_waited_behind_another_is_that_old(void **state)
{
    (void)state;
    serve_hold("GET /hold HTTP/1.1\r\n" HOST "\r\nGET /hold HTTP/1.1\r\n" HOST "\r\n");
    assert_in_range(app.head_age_ns, 0, FM_NS_PER_S);
    net_skip_ms(3000);
    fm_loop_turn(&net.loop, 0);
    serve_answer(200, "one");
    expect(200, "one");
    NET_UNTIL(&net, app.requests == 2);
    assert_in_range(app.head_age_ns, 3 * FM_NS_PER_S, 4 * FM_NS_PER_S);
    serve_answer(200, "two");
    expect(200, "two");
}

static void a_request_that_waited_in_the_kernel_is_that_old(void **state)
{
    (void)state;
    int64_t patience = net_patience();
    do { /* the kernel begins with its stamps a moment after the listener */
        assert_false(net_is_over(patience));
        peer_say(&net, &p, "GET /ok HTTP/1.1\r\n" HOST "\r\n");
        net_sleep_ms(20);
        expect(200, "ok");
    } while (app.head_age_ns == 0);
    assert_in_range(app.head_age_ns, 20 * FM_NS_PER_MS, FM_NS_PER_S);
}

FM_TEST_MAIN(
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
    with_server(nothing_follows_half_of_an_interim_answer),
    with_server(knows_that_a_client_has_hung_up), with_server(survives_an_empty_pool),
    with_server(an_answer_that_does_not_fit_is_no_answer),
    with_stamps(a_request_that_waited_behind_another_is_that_old),
    with_stamps(a_request_that_waited_in_the_kernel_is_that_old))
