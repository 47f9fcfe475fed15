/* One peer, asked again and again by its name. */
#include "serve.h"

#include "http/caller.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct fm_caller caller;
static struct fm_mailbox box;
static struct fm_resolver *resolver;
static struct {
    unsigned answered, failed, heads, status;
    char body[256], why[160];
} told;

static void on_answered(struct fm_caller *c, unsigned status, struct fm_str body)
{
    assert_false(c->busy);
    told.answered++;
    told.status = status;
    snprintf(told.body, sizeof told.body, "%.*s", FM_STR_ARG(body));
}

static void on_head(struct fm_caller *c, const struct fm_http_head *h)
{
    assert_true(c->busy);
    told.heads++;
    told.status = h->status;
}

static void on_failed(struct fm_caller *c, const char *why)
{
    assert_false(c->busy);
    told.failed++;
    snprintf(told.why, sizeof told.why, "%s", why);
}

static void open_caller(const char *host, uint16_t port)
{
    caller = (struct fm_caller){.answered = on_answered, .failed = on_failed, .head = on_head};
    struct fm_caller_to to = {.host = fm_str_z(host), .port = port};
    fm_caller_init(&caller, &net.loop, resolver, &to);
}

static int setup(void **state)
{
    int rc = serve_setup(state);
    struct fm_error e;
    memset(&told, 0, sizeof told);
    assert_int_equal(fm_mailbox_open(&box, &net.loop, NULL, &e), FM_ERR_OK);
    resolver = fm_resolver_new(&box, &e);
    assert_non_null(resolver);
    return rc;
}

static int teardown(void **state)
{
    fm_caller_close(&caller);
    NET_UNTIL(&net, !caller.link.open);
    fm_resolver_free(resolver);
    assert_true(fm_caller_is_gone(&caller, true));
    fm_mailbox_close(&box);
    return serve_teardown(state);
}

static void ask(const char *target, int64_t timeout_ms)
{
    struct fm_caller_ask a = {
        .target = target, .answer_max = 200, .connect_ms = 1000, .timeout_ms = timeout_ms};
    unsigned before = told.answered + told.failed;
    fm_caller_ask(&caller, &a);
    assert_int_equal(told.answered + told.failed, before); /* never from inside */
    NET_UNTIL(&net, told.answered + told.failed > before);
    assert_int_equal(told.answered + told.failed, before + 1);
}

static void one_connection_carries_many_requests(void **state)
{
    (void)state;
    open_caller("127.0.0.1", fm_addr_port(&listener.address));
    for (unsigned i = 1; i <= 5; i++) {
        ask("/ok", 5000);
        assert_int_equal(told.answered, i);
        assert_int_equal(told.status, 200);
    }
    assert_int_equal(server.nconns, 2); /* and the client of the helper */
}

/* A request as it is sent, of any method, with its body. */
static void say(const char *text, enum fm_http_method method)
{
    struct fm_caller_ask a = {.raw = strdup(text),
                              .raw_n = strlen(text),
                              .raw_method = method,
                              .discard = true,
                              .answer_max = 1,
                              .connect_ms = 1000,
                              .timeout_ms = 5000};
    unsigned before = told.answered + told.failed;
    assert_non_null(a.raw);
    fm_caller_ask(&caller, &a);
    NET_UNTIL(&net, told.answered + told.failed > before);
}

static void a_request_may_be_any_bytes(void **state)
{
    (void)state;
    open_caller("127.0.0.1", fm_addr_port(&listener.address));
    for (unsigned i = 1; i <= 3; i++) {
        say("PUT /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", FM_METHOD_PUT);
        assert_int_equal(told.answered, i);
        assert_int_equal(told.heads, i);
        assert_int_equal(told.status, 200);
        assert_string_equal(told.body, ""); /* it was read, and nothing of it kept */
        assert_true(fm_caller_has_sent(&caller));
        assert_int_equal(app.body_n, 5);
    }
    say("GET /big HTTP/1.1\r\n" HOST "\r\n", FM_METHOD_GET); /* of any length */
    assert_int_equal(told.answered, 4);
    say("HEAD /ok HTTP/1.1\r\n" HOST "\r\n", FM_METHOD_HEAD);
    assert_int_equal(told.answered, 5);
    assert_int_equal(server.nconns, 2);
    say("GET /abort HTTP/1.1\r\n" HOST "\r\n", FM_METHOD_GET);
    assert_int_equal(told.failed, 1);
    assert_int_equal(told.heads, 5);
    assert_true(fm_caller_has_sent(&caller));
}

static void it_says_whether_a_byte_was_sent(void **state)
{
    (void)state;
    struct fm_addr at;
    int fd = raw_listen(&at);
    close(fd);
    open_caller("127.0.0.1", fm_addr_port(&at));
    say("GET /ok HTTP/1.1\r\n" HOST "\r\n", FM_METHOD_GET);
    assert_int_equal(told.failed, 1);
    assert_false(fm_caller_has_sent(&caller));
}

static void a_name_is_looked_up(void **state)
{
    (void)state;
    open_caller("localhost", fm_addr_port(&listener.address));
    ask("/ok", 5000);
    /* where it has an address of another kind too, that one may come first: nobody listens there */
    assert_true(told.answered == 1 || told.failed == 1);
}

static void a_name_that_is_none_is_told(void **state)
{
    (void)state;
    open_caller("no.such.host.invalid", 1);
    ask("/ok", 5000);
    assert_int_equal(told.failed, 1);
    assert_true(strlen(told.why) > 0);
}

static void a_failure_is_followed_by_another_try(void **state)
{
    (void)state;
    open_caller("127.0.0.1", fm_addr_port(&listener.address));
    ask("/abort", 5000);
    assert_int_equal(told.failed, 1);
    ask("/ok", 5000);
    assert_int_equal(told.answered, 1);
}

static void nobody_there_is_told(void **state)
{
    (void)state;
    struct fm_addr at;
    int fd = raw_listen(&at);
    close(fd);
    open_caller("127.0.0.1", fm_addr_port(&at));
    ask("/ok", 5000);
    ask("/ok", 5000);
    assert_int_equal(told.failed, 2);
}

static void it_ends_in_time(void **state)
{
    (void)state;
    open_caller("127.0.0.1", fm_addr_port(&listener.address));
    ask("/hold", 50);
    assert_int_equal(told.failed, 1);
    fm_http_conn_abort(app.conn);
    ask("/ok", 5000);
    assert_int_equal(told.answered, 1);
}

static void who_closes_hears_nothing(void **state)
{
    (void)state;
    open_caller("127.0.0.1", fm_addr_port(&listener.address));
    struct fm_caller_ask a = {
        .target = "/ok", .answer_max = 200, .connect_ms = 1000, .timeout_ms = 1000};
    fm_caller_ask(&caller, &a);
    fm_caller_close(&caller);
    net_turn_ms(&net, 20);
    assert_int_equal(told.answered + told.failed, 0);
}

FM_TEST_MAIN(fm_test_with(one_connection_carries_many_requests, setup, teardown),
             fm_test_with(a_request_may_be_any_bytes, setup, teardown),
             fm_test_with(it_says_whether_a_byte_was_sent, setup, teardown),
             fm_test_with(a_name_is_looked_up, setup, teardown),
             fm_test_with(a_name_that_is_none_is_told, setup, teardown),
             fm_test_with(a_failure_is_followed_by_another_try, setup, teardown),
             fm_test_with(nobody_there_is_told, setup, teardown),
             fm_test_with(it_ends_in_time, setup, teardown),
             fm_test_with(who_closes_hears_nothing, setup, teardown))
