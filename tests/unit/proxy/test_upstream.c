/* Endpoints and their connections: found again by address, parked and used again, closed when
 * nobody wants them any more. */
#include "given.h"

#include "proxy/upstream.h"

enum { BLOCK = 16 * 1024, BLOCKS = 64, FRESH_MS = 1000 };

#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

static struct net net;
static struct fm_upstreams all;
static struct fm_http_field fields[FM_HTTP_FIELDS_MAX];
static struct fm_http_limits limits = FM_HTTP_LIMITS_DEFAULT;
static struct fm_addr at;
static int listener;
static struct peer server;
static unsigned connected, answered, failed, closed;

static void on_connected(struct fm_http_client *h)
{
    (void)h;
    connected++;
}

static void on_sent(struct fm_http_client *h)
{
    (void)h;
}

static void on_head(struct fm_http_client *h, const struct fm_http_head *head)
{
    (void)h;
    assert_int_equal(head->status, 200);
    answered++;
}

static void on_body(struct fm_http_client *h, struct fm_str piece, bool last)
{
    (void)h;
    (void)piece;
    (void)last;
}

static void on_failed(struct fm_http_client *h, int err, const char *why)
{
    (void)err;
    (void)why;
    failed++;
    fm_upconn_failed_idle(fm_upconn_of(h));
}

static void on_closed(struct fm_http_client *h)
{
    closed++;
    fm_upconn_closed(fm_upconn_of(h));
}

static const struct fm_http_client_handler handler = {.connected = on_connected,
                                                      .sent = on_sent,
                                                      .head = on_head,
                                                      .body = on_body,
                                                      .failed = on_failed,
                                                      .closed = on_closed};

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    net_open(&net, BLOCK, BLOCKS);
    limits.head_bytes = BLOCK;
    fm_loop_turn(&net.loop, 0);
    fm_upstreams_init(&all, &net.loop, &handler, &limits, fields);
    listener = raw_listen(&at);
    connected = answered = failed = closed = 0;
    server.fd = -1;
    return rc;
}

static int teardown(void **state)
{
    if (!all.stopping)
        fm_upstreams_stop(&all);
    NET_UNTIL(&net, all.nconns == 0);
    fm_upstreams_deinit(&all);
    if (server.fd >= 0)
        peer_close(&server);
    struct peer l = {.fd = listener};
    peer_close(&l);
    net_close(&net);
    return fm_test_fds_after(state);
}

static struct fm_upstream *listed(void)
{
    struct fm_upstream *up = fm_upstream_get(&all, &at);
    assert_non_null(up);
    fm_upstream_listed(up);
    up->current = true;
    return up;
}

static struct fm_upconn *acquire(struct fm_upstream *up)
{
    enum fm_err err;
    struct fm_mono by = fm_mono_add_ms(fm_loop_now(&net.loop), 5000);
    struct fm_upconn *c = fm_upconn_acquire(&all, up, FRESH_MS * FM_NS_PER_MS, by, &err);
    assert_non_null(c);
    return c;
}

/* A new connection that has had one request and its answer. */
static struct fm_upconn *used(struct fm_upstream *up)
{
    struct fm_upconn *c = acquire(up);
    assert_false(c->reused);
    unsigned before = answered;
    NET_UNTIL(&net, !c->http.connecting);
    static struct iovec iov = {(char *)(uintptr_t) "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27};
    struct fm_mono by = fm_mono_add_ms(fm_loop_now(&net.loop), 5000);
    fm_http_client_send(&c->http, &iov, 1, by);
    fm_http_client_head(&c->http, FM_METHOD_GET, by);
    if (server.fd >= 0)
        peer_close(&server);
    peer_accept(&net, &server, listener);
    peer_say(&net, &server, ANSWER);
    NET_UNTIL(&net, answered == before + 1);
    struct fm_str body;
    if (fm_http_client_has_body(&c->http))
        assert_true(fm_http_client_take(&c->http, &body));
    return c;
}

static void an_address_has_one_upstream(void **state)
{
    (void)state;
    struct fm_addr other = given_addr("127.0.0.1:1"), six = given_addr("[::1]:1");
    struct fm_upstream *up = listed(), *o = fm_upstream_get(&all, &other);
    struct fm_upstream *s = fm_upstream_get(&all, &six);
    fm_upstream_listed(o);
    fm_upstream_listed(s);
    assert_ptr_equal(fm_upstream_get(&all, &at), up);
    assert_ptr_equal(fm_upstream_get(&all, &other), o);
    assert_true(up != o && o != s);
    fm_upstream_listed(up); /* a second view */
    fm_upstream_unlisted(up);
    assert_ptr_equal(fm_upstream_get(&all, &at), up);
    fm_upstream_unlisted(up);
    fm_upstream_unlisted(o);
    fm_upstream_unlisted(s);
}

static void it_lives_as_long_as_a_request_is_under_way(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    up->in_flight++;
    fm_upstream_unlisted(up);
    assert_ptr_equal(fm_upstream_get(&all, &at), up); /* its breakers go on */
    fm_upstream_request_over(up);
}

static void a_connection_is_parked_and_used_again(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct fm_upconn *c = used(up);
    fm_upconn_release(c);
    assert_int_equal(up->nidle, 1);
    assert_ptr_equal(acquire(up), c);
    assert_true(c->reused);
    assert_int_equal(up->nidle, 0);
    assert_int_equal(all.nconns, 1);
    fm_upconn_release(c);
    assert_false(c->reused);
    fm_upstream_unlisted(up);
}

static void the_last_parked_is_the_first_used(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct fm_upconn *first = used(up);
    struct peer held = server;
    server.fd = -1; /* the first connection stays open */
    struct fm_upconn *second = used(up);
    fm_upconn_release(first);
    fm_upconn_release(second);
    assert_int_equal(up->nidle, 2);
    assert_ptr_equal(acquire(up), second);
    assert_ptr_equal(acquire(up), first);
    fm_upconn_release(first);
    fm_upconn_release(second);
    fm_upstream_unlisted(up);
    peer_close(&held);
}

static void what_was_parked_for_long_is_not_trusted(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct fm_upconn *c = used(up);
    fm_upconn_release(c);
    net_skip_ms(FRESH_MS + 1);
    fm_loop_turn(&net.loop, 0);
    struct fm_upconn *d = acquire(up);
    assert_true(d != c && !d->reused);
    assert_int_equal(up->nidle, 1); /* it may still do for a request that can be repeated */
    fm_upconn_close(d);
    fm_upstream_unlisted(up);
}

static void what_is_parked_too_long_is_closed(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    fm_upconn_release(used(up));
    net_skip_ms(20 * 1000);
    fm_loop_turn(&net.loop, 0);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(up->nidle, 1);
    net_skip_ms(20 * 1000);
    NET_UNTIL(&net, up->nidle == 0);
    NET_UNTIL(&net, closed == 1);
    assert_int_equal(all.nconns, 0);
    assert_true(peer_is_over(&server));
    fm_upstream_unlisted(up);
}

static void a_server_that_hangs_up_is_noticed_while_parked(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    fm_upconn_release(used(up));
    peer_close(&server);
    NET_UNTIL(&net, closed == 1);
    assert_int_equal(failed, 1);
    assert_int_equal(up->nidle, 0);
    fm_upstream_unlisted(up);
}

static void unasked_bytes_end_a_parked_connection(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct fm_upconn *c = used(up);
    fm_upconn_release(c);
    peer_say(&net, &server, ANSWER); /* would be taken for the next one's answer */
    NET_UNTIL(&net, fm_sock_is_readable(&c->http.s.sock));
    struct fm_upconn *d = acquire(up);
    assert_true(d != c && !d->reused);
    fm_upconn_close(d);
    fm_upstream_unlisted(up);
    NET_UNTIL(&net, closed == 2);
}

static void what_no_view_wants_is_closed(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct fm_upconn *c = used(up);
    struct peer held = server;
    server.fd = -1;
    fm_upconn_release(used(up));
    up->current = false;
    fm_upstreams_sweep(&all);
    assert_int_equal(up->nidle, 0);
    NET_UNTIL(&net, closed == 1);
    fm_upconn_release(c); /* what was in use is closed when it is given back */
    assert_int_equal(up->nidle, 0);
    NET_UNTIL(&net, closed == 2);
    fm_upstream_unlisted(up);
    peer_close(&held);
}

static void a_half_read_answer_is_not_parked(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct fm_upconn *c = acquire(up);
    NET_UNTIL(&net, connected == 1);
    static struct iovec iov = {(char *)(uintptr_t) "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27};
    struct fm_mono by = fm_mono_add_ms(fm_loop_now(&net.loop), 5000);
    fm_http_client_send(&c->http, &iov, 1, by);
    fm_http_client_head(&c->http, FM_METHOD_GET, by);
    peer_accept(&net, &server, listener);
    peer_say(&net, &server, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    NET_UNTIL(&net, answered == 1);
    fm_upconn_release(c);
    assert_int_equal(up->nidle, 0);
    NET_UNTIL(&net, closed == 1);
    fm_upstream_unlisted(up);
}

static void after_the_stop_nothing_is_parked(void **state)
{
    (void)state;
    struct fm_upstream *up = listed();
    struct fm_upconn *c = used(up);
    fm_upstreams_stop(&all);
    fm_upconn_release(c);
    NET_UNTIL(&net, all.nconns == 0);
    fm_upstream_unlisted(up);
}

#define with_upstreams(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_upstreams(an_address_has_one_upstream),
             with_upstreams(it_lives_as_long_as_a_request_is_under_way),
             with_upstreams(a_connection_is_parked_and_used_again),
             with_upstreams(the_last_parked_is_the_first_used),
             with_upstreams(what_was_parked_for_long_is_not_trusted),
             with_upstreams(what_is_parked_too_long_is_closed),
             with_upstreams(a_server_that_hangs_up_is_noticed_while_parked),
             with_upstreams(unasked_bytes_end_a_parked_connection),
             with_upstreams(what_no_view_wants_is_closed),
             with_upstreams(a_half_read_answer_is_not_parked),
             with_upstreams(after_the_stop_nothing_is_parked))
