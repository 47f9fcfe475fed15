/* Client connections over real sockets; the server is a raw peer that says what it is told to. */
#include "net.h"

#include "http/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BLOCK = 4096, LONG_MS = 3600 * 1000 };

static const struct fm_http_limits limits = {.head_bytes = BLOCK,
                                             .fields = 50,
                                             .body_bytes = UINT64_MAX,
                                             .ext_bytes = 100,
                                             .trailer_bytes = 100};

static struct net net;
static struct fm_http_client client;
static struct fm_http_field fields[FM_HTTP_FIELDS_MAX];
static struct fm_addr where;
static int listener;
static struct peer p; /* the server */

/* What the owner was told. */
static struct {
    unsigned connecteds, sents, heads, bodies, faileds, closeds;
    unsigned status;
    int err;
    const char *why;
    bool last, upgrade, inside;
    size_t n;
    char body[256 * 1024];
    unsigned close_on; /* a bit of what ON_ says: close from inside of it */
} own;

enum { ON_CONNECTED = 1, ON_SENT = 2, ON_HEAD = 4, ON_BODY = 8 };

static void maybe_close(struct fm_http_client *c, unsigned on)
{
    assert_ptr_equal(c, &client);
    assert_false(own.inside);
    assert_int_equal(own.faileds + own.closeds, 0);
    if (own.close_on & on)
        fm_http_client_close(c);
}

static void on_connected(struct fm_http_client *c)
{
    own.connecteds++;
    maybe_close(c, ON_CONNECTED);
}

static void on_sent(struct fm_http_client *c)
{
    own.sents++;
    maybe_close(c, ON_SENT);
}

static void on_head(struct fm_http_client *c, const struct fm_http_head *h)
{
    own.heads++;
    own.status = h->status;
    own.upgrade = fm_http_has(h, FM_HDR_UPGRADE);
    maybe_close(c, ON_HEAD);
}

static void on_body(struct fm_http_client *c, struct fm_str piece, bool last)
{
    own.bodies++;
    own.last = last;
    assert_true(own.n + piece.n <= sizeof own.body);
    if (piece.n)
        memcpy(own.body + own.n, piece.p, piece.n);
    own.n += piece.n;
    maybe_close(c, ON_BODY);
}

static void on_failed(struct fm_http_client *c, int err, const char *why)
{
    maybe_close(c, 0);
    own.faileds++;
    own.err = err;
    own.why = why;
}

static void on_closed(struct fm_http_client *c)
{
    assert_ptr_equal(c, &client);
    own.closeds++;
}

static const struct fm_http_client_handler handler = {
    .connected = on_connected,
    .sent = on_sent,
    .head = on_head,
    .body = on_body,
    .failed = on_failed,
    .closed = on_closed,
};

static struct fm_mono in_ms(int64_t ms)
{
    return fm_mono_add_ms(fm_loop_now(&net.loop), ms);
}

/* -------- set-up -------- */

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    net_open(&net, BLOCK, 4);
    memset(&own, 0, sizeof own);
    client.raw_bodies = false;
    listener = raw_listen(&where);
    p.fd = -1;
    return rc;
}

static int teardown(void **state)
{
    if (fm_http_client_is_open(&client))
        fm_http_client_close(&client);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(own.closeds, 1);
    if (p.fd >= 0)
        peer_close(&p);
    close(listener);
    net_close(&net);
    return fm_test_fds_after(state);
}

static void open_client(void)
{
    own.inside = true;
    assert_int_equal(fm_http_client_open(&client, &net.loop, &where, in_ms(1000), &handler, &limits,
                                         fields, NULL),
                     FM_ERR_OK);
    own.inside = false;
}

static void open_both(void)
{
    open_client();
    NET_UNTIL(&net, own.connecteds == 1);
    peer_accept(&net, &p, listener);
}

static void say(const char *text)
{
    static char out[512];
    size_t n = strlen(text);
    memcpy(out, text, n);
    own.inside = true;
    fm_http_client_send(&client, &(struct iovec){out, n}, 1, in_ms(LONG_MS));
    own.inside = false;
}

static void expect_head(enum fm_http_method m, int64_t ms)
{
    own.inside = true;
    fm_http_client_head(&client, m, in_ms(ms));
    own.inside = false;
}

static void ask(void)
{
    own.inside = true;
    fm_http_client_body(&client, 1000);
    own.inside = false;
}

/* A request, and the head of the answer `text` to it. */
static void exchange(enum fm_http_method m, const char *text)
{
    unsigned heads = own.heads;
    say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_head(m, 1000);
    NET_UNTIL(&net, peer_heard(&p, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    peer_drop(&p, p.n);
    peer_say(&net, &p, text);
    NET_UNTIL(&net, own.heads == heads + 1);
}

/* Ask until the end of the body. */
static void read_body(void)
{
    own.n = 0;
    own.last = false;
    while (!own.last) {
        unsigned before = own.bodies;
        ask();
        NET_UNTIL(&net, own.bodies > before);
    }
}

static void expect_failure(int err)
{
    NET_UNTIL(&net, own.faileds == 1);
    assert_int_equal(own.err, err);
    assert_non_null(own.why);
    NET_UNTIL(&net, own.closeds == 1);
    assert_false(fm_http_client_is_open(&client));
}

/* -------- answers -------- */

static void exchanges_one_after_the_other(void **state)
{
    (void)state;
    struct fm_str body;
    open_both();
    for (unsigned i = 1; i <= 3; i++) {
        exchange(FM_METHOD_GET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        assert_int_equal(own.status, 200);
        assert_int_equal(own.sents, i);
        NET_UNTIL(&net, fm_http_client_take(&client, &body));
        assert_str(body, "hello");
        assert_true(fm_http_client_is_reusable(&client));
        fm_http_client_park(&client);
        assert_int_equal(net.pool.in_use, 0); /* parked: no memory */
        net_turn_ms(&net, 1);
        assert_true(fm_http_client_unpark(&client));
    }
}

static void reads_bodies_of_each_framing(void **state)
{
    (void)state;
    static const struct {
        const char *answer, *body, *raw;
        bool reusable;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", "hello", true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n",
         "hello", "2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n", true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n", "",
         "0\r\nA: b\r\n\r\n", true},
        {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", "hi", "hi", false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi", "hi", false},
        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", "hi", "hi",
         true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi and more", "hi", "hi", false},
    };
    for (size_t i = 0; i < 2 * FM_COUNT(cases); i++) {
        bool raw = i >= FM_COUNT(cases);
        size_t at = i % FM_COUNT(cases);
        client.raw_bodies = raw;
        open_both();
        exchange(FM_METHOD_GET, cases[at].answer);
        assert_true(fm_http_client_has_body(&client));
        read_body();
        assert_str(fm_str(own.body, own.n), raw ? cases[at].raw : cases[at].body);
        assert_int_equal(fm_http_client_is_reusable(&client), cases[at].reusable);
        fm_http_client_close(&client);
        NET_UNTIL(&net, own.closeds == 1);
        peer_close(&p);
        memset(&own, 0, sizeof own);
    }
    own.closeds = 1;
}

static void takes_an_answer_byte_by_byte(void **state)
{
    (void)state;
    static const char text[] = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    open_both();
    say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_head(FM_METHOD_GET, 1000);
    for (size_t i = 0; i < sizeof text - 1; i++) {
        peer_send(&net, &p, text + i, 1);
        fm_loop_turn(&net.loop, FM_NS_PER_MS);
        if (own.heads == 2 && fm_http_client_has_body(&client) && !client.wants_body)
            ask();
    }
    NET_UNTIL(&net, own.last);
    assert_str(fm_str(own.body, own.n), "hello");
    assert_true(fm_http_client_is_reusable(&client));
}

static void knows_answers_without_a_body(void **state)
{
    (void)state;
    static const struct {
        enum fm_http_method method;
        const char *answer;
    } cases[] = {
        {FM_METHOD_HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
        {FM_METHOD_HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {FM_METHOD_GET, "HTTP/1.1 204 No Content\r\n\r\n"},
        {FM_METHOD_GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"},
        {FM_METHOD_GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
    };
    open_both();
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        exchange(cases[i].method, cases[i].answer);
        assert_false(fm_http_client_has_body(&client));
        assert_true(fm_http_client_is_reusable(&client));
    }
}

static void reads_until_the_end_where_nothing_else_says_it(void **state)
{
    (void)state;
    open_both();
    exchange(FM_METHOD_GET, "HTTP/1.1 200 OK\r\n\r\nhello");
    ask();
    NET_UNTIL(&net, own.n == 5);
    assert_false(own.last);
    ask();
    peer_say(&net, &p, " world");
    NET_UNTIL(&net, own.n == 11);
    ask();
    peer_close(&p);
    NET_UNTIL(&net, own.last);
    assert_str(fm_str(own.body, own.n), "hello world");
    assert_false(fm_http_client_is_reusable(&client));
    assert_int_equal(own.faileds, 0);
}

static void reads_nothing_that_was_not_asked_for(void **state)
{
    (void)state;
    static char much[100 * 1024];
    open_both();
    char head[100];
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", sizeof much);
    exchange(FM_METHOD_GET, head);
    peer_send(&net, &p, much, sizeof much);
    net_turn_ms(&net, 3);
    int waiting;
    assert_int_equal(ioctl(client.s.sock.watch.fd, FIONREAD, &waiting), 0);
    assert_int_equal(waiting, sizeof much);
    read_body();
    assert_int_equal(own.n, sizeof much);
    assert_true(own.bodies >= sizeof much / BLOCK);
}

static void takes_only_what_is_whole(void **state)
{
    (void)state;
    struct fm_str body;
    open_both();
    for (int again = 0; again < 2; again++) {
        own.n = own.bodies = 0;
        exchange(FM_METHOD_GET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell");
        assert_false(fm_http_client_take(&client, &body));
        assert_true(fm_http_client_hold(&client, 1000));
        net_turn_ms(&net, 2);
        assert_int_equal(own.bodies, 0);
        peer_say(&net, &p, "o");
        NET_UNTIL(&net, own.bodies == 1);
        assert_true(own.last);
        assert_str(fm_str(own.body, own.n), "hello");
        assert_true(fm_http_client_is_reusable(&client));
    }
}

static void holds_only_what_fits(void **state)
{
    (void)state;
    open_both();
    char head[100];
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BLOCK + 1);
    exchange(FM_METHOD_GET, head);
    assert_false(fm_http_client_hold(&client, 1000));
    static char much[BLOCK + 1];
    peer_send(&net, &p, much, sizeof much);
    read_body();
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BLOCK);
    exchange(FM_METHOD_GET, head);
    own.n = own.bodies = 0;
    assert_true(fm_http_client_hold(&client, 1000));
    peer_send(&net, &p, much, BLOCK);
    NET_UNTIL(&net, own.bodies == 1);
    assert_int_equal(own.n, BLOCK);
    exchange(FM_METHOD_GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_false(fm_http_client_hold(&client, 1000));
}

/* -------- interim answers and tunnels -------- */

static void passes_interim_answers(void **state)
{
    (void)state;
    open_both();
    exchange(FM_METHOD_POST, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(own.status, 100);
    peer_say(&net, &p,
             "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
             "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    NET_UNTIL(&net, own.heads == 4);
    assert_int_equal(own.status, 200);
    assert_true(fm_http_client_is_reusable(&client));
}

static void gives_up_on_endless_interim_answers(void **state)
{
    (void)state;
    open_both();
    say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_head(FM_METHOD_GET, 1000);
    for (int i = 0; i < 40; i++)
        peer_say(&net, &p, "HTTP/1.1 100 Continue\r\n\r\n");
    expect_failure(-EPROTO);
    assert_in_range(own.heads, 1, 20);
}

static void becomes_a_tunnel(void **state)
{
    (void)state;
    open_both();
    exchange(FM_METHOD_GET, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                            "Connection: upgrade\r\n\r\nearly");
    assert_int_equal(own.status, 101);
    assert_true(own.upgrade);
    assert_false(fm_http_client_is_reusable(&client));
    fm_http_client_to_tunnel(&client);
    ask();
    NET_UNTIL(&net, own.n == 5);
    ask();
    say("up");
    NET_UNTIL(&net, peer_heard(&p, "up"));
    for (int i = 0; i < 3; i++) { /* the other direction talks: no time-out in this one */
        net_skip_ms(900);
        fm_http_client_touch(&client);
        net_turn_ms(&net, 1);
    }
    fm_http_client_shutdown(&client);
    NET_UNTIL(&net, peer_is_over(&p));
    peer_say(&net, &p, " and down");
    NET_UNTIL(&net, own.n == 14);
    ask();
    peer_close(&p);
    NET_UNTIL(&net, own.last);
    assert_str(fm_str(own.body, own.n), "early and down");
    assert_int_equal(own.faileds, 0);
}

static void a_silent_tunnel_fails(void **state)
{
    (void)state;
    open_both();
    exchange(FM_METHOD_GET, "HTTP/1.1 101 Switching Protocols\r\n\r\n");
    fm_http_client_to_tunnel(&client);
    ask();
    net_skip_ms(1001);
    expect_failure(-ETIMEDOUT);
}

/* -------- failures -------- */

static void says_that_nobody_listens(void **state)
{
    (void)state;
    struct fm_addr none = where;
    close(raw_listen(&none));
    struct fm_addr there = where;
    where = none;
    open_client();
    where = there;
    expect_failure(-ECONNREFUSED);
    assert_int_equal(own.connecteds, 0);
}

static void may_expect_an_answer_before_it_is_connected(void **state)
{
    (void)state;
    open_client();
    expect_head(FM_METHOD_GET, 1000);
    NET_UNTIL(&net, own.connecteds == 1);
    peer_accept(&net, &p, listener);
    peer_say(&net, &p, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    NET_UNTIL(&net, own.heads == 1);
}

static void a_late_head_fails(void **state)
{
    (void)state;
    open_both();
    say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_head(FM_METHOD_GET, 500);
    peer_say(&net, &p, "HTTP/1.1 200 OK\r\n");
    net_turn_ms(&net, 2);
    assert_true(client.any_byte);
    net_skip_ms(501);
    expect_failure(-ETIMEDOUT);
    assert_int_equal(own.heads, 0);
}

static void a_silent_body_fails(void **state)
{
    (void)state;
    for (int hold = 0; hold < 2; hold++) {
        open_both();
        exchange(FM_METHOD_GET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
        if (hold) {
            assert_true(fm_http_client_hold(&client, 1000));
        } else {
            ask();
            NET_UNTIL(&net, own.n == 2);
            ask();
        }
        net_turn_ms(&net, 2);
        net_skip_ms(1001);
        expect_failure(-ETIMEDOUT);
        peer_close(&p);
        if (!hold)
            memset(&own, 0, sizeof own);
    }
}

static void ask_until_it_fails(void)
{
    for (int64_t patience = net_patience(); !own.faileds && !net_is_over(patience);) {
        if (!client.wants_head && !client.wants_body && fm_http_client_has_body(&client))
            ask();
        net_turn_ms(&net, 1);
    }
    assert_int_equal(own.faileds, 1);
}

static void an_end_at_a_wrong_place_fails(void **state)
{
    (void)state;
    static const char *const said[] = {
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    };
    for (size_t i = 0; i < FM_COUNT(said); i++) {
        for (int hard = 0; hard < 2; hard++) {
            memset(&own, 0, sizeof own);
            open_both();
            say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            expect_head(FM_METHOD_GET, 1000);
            NET_UNTIL(&net, (peer_poll(&p), p.n > 0));
            peer_say(&net, &p, said[i]);
            net_turn_ms(&net, 2);
            if (hard)
                peer_reset(&p);
            else
                peer_close(&p);
            net_turn_ms(&net, 1);
            ask_until_it_fails();
            assert_false(own.last);
            expect_failure(hard ? -ECONNRESET : 0);
        }
    }
}

static void a_malformed_answer_fails(void **state)
{
    (void)state;
    static const char *const said[] = {
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!",
    };
    for (size_t i = 0; i < FM_COUNT(said); i++) {
        memset(&own, 0, sizeof own);
        open_both();
        say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        expect_head(FM_METHOD_GET, 1000);
        peer_say(&net, &p, said[i]);
        ask_until_it_fails();
        expect_failure(-EPROTO);
        peer_close(&p);
    }
}

static void a_large_head_fails(void **state)
{
    (void)state;
    static char much[BLOCK];
    memset(much, 'a', sizeof much);
    open_both();
    say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    expect_head(FM_METHOD_GET, 1000);
    peer_say(&net, &p, "HTTP/1.1 200 OK\r\nA: ");
    peer_send(&net, &p, much, sizeof much);
    expect_failure(-EPROTO);
}

/* -------- requests that are not read to their end -------- */

static char upload[8 * 1024 * 1024];

static void send_much(int64_t ms)
{
    static const char head[] = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8388608\r\n\r\n";
    struct iovec v[2] = {{(void *)(uintptr_t)head, sizeof head - 1}, {upload, sizeof upload}};
    fm_http_client_send(&client, v, 2, in_ms(ms));
    expect_head(FM_METHOD_POST, ms);
}

static void hears_an_early_answer_of_a_server_that_hangs_up(void **state)
{
    (void)state;
    open_both();
    send_much(LONG_MS);
    NET_UNTIL(&net, (peer_poll(&p), p.n > 100));
    peer_say(&net, &p, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno\n");
    assert_int_equal(shutdown(p.fd, SHUT_WR), 0);
    NET_UNTIL(&net, own.heads == 1);
    assert_int_equal(own.status, 413);
    read_body();
    assert_str(fm_str(own.body, own.n), "no\n");
    assert_false(fm_http_client_is_reusable(&client)); /* it is still sending */
    assert_int_equal(own.faileds, 0);
}

static void a_server_that_does_not_read_fails(void **state)
{
    (void)state;
    open_both();
    send_much(1000);
    net_turn_ms(&net, 2);
    net_skip_ms(1001);
    expect_failure(-ETIMEDOUT);
    assert_in_range(client.sent_bytes, 1, sizeof upload);
}

/* The deadlines of the send and of the head pass, the answer has just come. */
static void client_sent_late(void)
{
    fm_sock_recv_deadline(&client.s.sock, FM_MONO_ZERO);
    client.s.sock.send_deadline = FM_MONO_ZERO;
    client.s.sock.timer.fire(&client.s.sock.timer);
}

/* It answers at the last moment, and would take the next request for the rest of this one. */
static void a_request_that_was_cut_is_the_last_of_its_connection(void **state)
{
    (void)state;
    open_both();
    send_much(1000);
    net_turn_ms(&net, 2);
    peer_say(&net, &p, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    client_sent_late();
    NET_UNTIL(&net, own.heads == 1);
    assert_false(fm_http_client_is_reusable(&client));
}

/* -------- parked connections -------- */

static void park(void)
{
    open_both();
    exchange(FM_METHOD_GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    fm_http_client_park(&client);
    net_turn_ms(&net, 1);
}

static void a_parked_connection_tells_that_the_server_closed_it(void **state)
{
    (void)state;
    for (int hard = 0; hard < 2; hard++) {
        memset(&own, 0, sizeof own);
        park();
        if (hard)
            peer_reset(&p);
        else
            peer_close(&p);
        expect_failure(0);
    }
}

static void a_parked_connection_that_was_spoken_to_is_of_no_use(void **state)
{
    (void)state;
    park();
    peer_say(&net, &p, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    net_turn_ms(&net, 2);
    assert_int_equal(own.faileds, 0);
    assert_false(fm_http_client_unpark(&client));
}

static void an_answer_nobody_asked_for_is_not_the_next_one(void **state)
{
    (void)state;
    open_both();
    exchange(FM_METHOD_GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
    assert_false(fm_http_client_is_reusable(&client));
}

static void a_server_that_has_ended_is_not_asked_again(void **state)
{
    (void)state;
    struct fm_str body;
    open_both();
    exchange(FM_METHOD_GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    peer_close(&p);
    net_turn_ms(&net, 2);
    assert_true(fm_http_client_take(&client, &body));
    assert_false(fm_http_client_is_reusable(&client));
}

/* -------- closing -------- */

static void may_be_closed_from_any_call(void **state)
{
    (void)state;
    static const unsigned when[] = {ON_CONNECTED, ON_SENT, ON_HEAD, ON_BODY};
    for (size_t i = 0; i < FM_COUNT(when); i++) {
        memset(&own, 0, sizeof own);
        own.close_on = when[i];
        open_client();
        peer_accept(&net, &p, listener);
        NET_UNTIL(&net, own.connecteds == 1);
        if (fm_http_client_is_open(&client)) {
            peer_say(&net, &p, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\nbody");
            say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            expect_head(FM_METHOD_GET, 1000);
        }
        if (when[i] == ON_BODY) {
            NET_UNTIL(&net, own.heads == 2);
            ask();
        }
        NET_UNTIL(&net, own.closeds == 1);
        net_turn_ms(&net, 2);
        assert_int_equal(own.faileds, 0);
        if (when[i] != ON_SENT) /* the head may come before it */
            assert_int_equal(own.heads, when[i] == ON_HEAD ? 1 : when[i] == ON_BODY ? 2 : 0);
        peer_close(&p);
    }
}

static void a_close_drops_everything(void **state)
{
    (void)state;
    open_both();
    send_much(1000);
    peer_say(&net, &p, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    fm_http_client_close(&client);
    net_skip_ms(2000);
    net_turn_ms(&net, 3);
    assert_int_equal(own.sents + own.heads + own.faileds, 0);
    assert_int_equal(own.closeds, 1);
}

#define with_server(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_server(exchanges_one_after_the_other), with_server(reads_bodies_of_each_framing),
             with_server(takes_an_answer_byte_by_byte), with_server(knows_answers_without_a_body),
             with_server(reads_until_the_end_where_nothing_else_says_it),
             with_server(reads_nothing_that_was_not_asked_for),
             with_server(takes_only_what_is_whole), with_server(holds_only_what_fits),
             with_server(passes_interim_answers), with_server(gives_up_on_endless_interim_answers),
             with_server(becomes_a_tunnel), with_server(a_silent_tunnel_fails),
             with_server(says_that_nobody_listens),
             with_server(may_expect_an_answer_before_it_is_connected),
             with_server(a_late_head_fails), with_server(a_silent_body_fails),
             with_server(an_end_at_a_wrong_place_fails), with_server(a_malformed_answer_fails),
             with_server(a_large_head_fails),
             with_server(hears_an_early_answer_of_a_server_that_hangs_up),
             with_server(a_server_that_does_not_read_fails),
             with_server(a_request_that_was_cut_is_the_last_of_its_connection),
             with_server(a_parked_connection_tells_that_the_server_closed_it),
             with_server(a_parked_connection_that_was_spoken_to_is_of_no_use),
             with_server(an_answer_nobody_asked_for_is_not_the_next_one),
             with_server(a_server_that_has_ended_is_not_asked_again),
             with_server(may_be_closed_from_any_call), with_server(a_close_drops_everything))
