/* One connection, one request after the other, or a stream. */
#include "authority.h"
#include "serve.h"

#include "http/link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct fm_http_link link_;
static struct {
    unsigned answered, messages, failed, closed, status;
    int err;
    char why[128], body[256], line[64];
} told;

static void on_answered(struct fm_http_link *l, unsigned status, struct fm_str body)
{
    assert_ptr_equal(l, &link_);
    told.answered++;
    told.status = status;
    snprintf(told.body, sizeof told.body, "%.*s", FM_STR_ARG(body));
}

static void on_message(struct fm_http_link *l, struct fm_str line)
{
    (void)l;
    told.messages++;
    snprintf(told.line, sizeof told.line, "%.*s", FM_STR_ARG(line));
}

static void on_failed(struct fm_http_link *l, int err, const char *why)
{
    assert_false(l->busy);
    told.failed++;
    told.err = err;
    snprintf(told.why, sizeof told.why, "%s", why);
}

static void on_closed(struct fm_http_link *l)
{
    assert_false(l->open);
    told.closed++;
}

static const struct fm_http_link_ops ops = {
    .answered = on_answered, .message = on_message, .failed = on_failed, .closed = on_closed};

static int setup(void **state)
{
    int rc = serve_setup(state);
    memset(&told, 0, sizeof told);
    memset(&link_, 0, sizeof link_);
    return rc;
}

static int teardown(void **state)
{
    if (link_.open)
        fm_http_link_close(&link_);
    fm_loop_turn(&net.loop, 0);
    assert_false(link_.open);
    return serve_teardown(state);
}

static struct fm_mono in_ms(int64_t ms)
{
    return fm_mono_add_ms(fm_loop_now(&net.loop), ms);
}

static struct fm_http_ask get(const char *target)
{
    return (struct fm_http_ask){.to = &listener.address,
                                .target = target,
                                .host = "a.example",
                                .answer_max = 200,
                                .connect = in_ms(5000),
                                .deadline = in_ms(5000)};
}

static void ask(struct fm_http_ask a)
{
    struct fm_error e;
    assert_int_equal(fm_http_link_ask(&link_, &net.loop, &ops, &a, &e), FM_ERR_OK);
}

static void answers_one_after_the_other_over_one_connection(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 3; i++) {
        ask(get("/ok"));
        NET_UNTIL(&net, told.answered == i);
        assert_int_equal(told.status, 200);
        assert_string_equal(told.body, "ok");
        assert_true(link_.ready && link_.sent);
    }
    ask(get("/none"));
    NET_UNTIL(&net, told.answered == 4);
    assert_int_equal(told.status, 204);
    assert_string_equal(told.body, "");
    assert_int_equal(server.nconns, 2); /* with the one of the fixture */
    assert_int_equal(told.closed + told.failed, 0);
}

static void posts_its_body_with_what_was_asked_for(void **state)
{
    (void)state;
    struct fm_http_ask a = get("/hold?x=1");
    a.body = strdup("{\"a\":1}");
    a.body_n = 7;
    a.token = "secret";
    a.headers = "X-More: yes\r\n";
    int listening;
    struct fm_addr at;
    struct peer raw;
    listening = raw_listen(&at);
    a.to = &at;
    ask(a);
    peer_accept(&net, &raw, listening);
    NET_UNTIL(&net, peer_heard(&raw, "POST /hold?x=1 HTTP/1.1\r\nHost: a.example\r\n"
                                     "Authorization: secret\r\nX-More: yes\r\n"
                                     "Content-Type: application/json\r\nContent-Length: 7\r\n"
                                     "\r\n{\"a\":1}"));
    peer_say(&net, &raw, "HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\nno");
    NET_UNTIL(&net, told.answered);
    assert_int_equal(told.status, 409);
    assert_string_equal(told.body, "no");
    peer_close(&raw);
    NET_UNTIL(&net, told.closed);
    assert_int_equal(told.failed, 0); /* nobody waited for it */
    close(listening);
}

static void an_answer_is_bounded(void **state)
{
    (void)state;
    struct fm_http_ask a = get("/ok");
    a.answer_max = 2;
    ask(a);
    NET_UNTIL(&net, told.answered);
    a.answer_max = 1;
    ask(a);
    NET_UNTIL(&net, told.failed);
    assert_int_equal(told.err, -EMSGSIZE);
    assert_int_equal(told.answered, 1);
    NET_UNTIL(&net, told.closed);
}

static void waits_only_so_long(void **state)
{
    (void)state;
    ask(get("/hold"));
    NET_UNTIL(&net, app.requests);
    net_skip_ms(6000);
    NET_UNTIL(&net, told.closed);
    assert_int_equal(told.failed, 1);
    assert_int_equal(told.err, -ETIMEDOUT);
    assert_true(link_.sent);
}

static void a_connection_may_end_while_idle(void **state)
{
    (void)state;
    ask(get("/ok"));
    NET_UNTIL(&net, told.answered);
    fm_http_server_close_all(&server);
    NET_UNTIL(&net, told.closed);
    assert_int_equal(told.failed, 0); /* nobody waited for it */
    ask(get("/ok"));
    NET_UNTIL(&net, told.answered == 2);
    fm_http_server_close_all(&server);
    net_sleep_ms(20); /* the end is with the kernel, and the loop does not know of it */
    ask(get("/ok"));
    NET_UNTIL(&net, told.closed == 2);
    assert_int_equal(told.failed, 1);
    assert_int_equal(told.answered, 2);
}

static void what_is_not_begun_leaves_nothing(void **state)
{
    (void)state;
    struct fm_addr nowhere;
    struct fm_error e;
    assert_int_equal(fm_addr_unix(&nowhere, FM_STR("/nowhere/at/all.sock")), FM_ERR_OK);
    struct fm_http_ask a = get("/ok");
    a.to = &nowhere;
    assert_int_equal(fm_http_link_ask(&link_, &net.loop, &ops, &a, &e), FM_ERR_UNREACHABLE);
    assert_false(link_.open || link_.busy);
    assert_null(link_.out); /* nobody would free it */
    ask(get("/ok"));
    NET_UNTIL(&net, told.answered == 1);
    assert_int_equal(told.failed + told.closed, 0);
}

static void a_stream_is_lines(void **state)
{
    (void)state;
    struct fm_addr at;
    struct peer raw;
    int listening = raw_listen(&at);
    struct fm_http_ask a = get("/stream");
    a.to = &at;
    a.idle_ms = 1000;
    ask(a);
    peer_accept(&net, &raw, listening);
    peer_say(&net, &raw,
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n3\r\ntwo\r\n");
    NET_UNTIL(&net, told.messages == 1);
    assert_string_equal(told.line, "one");
    peer_say(&net, &raw, "1\r\n\n\r\n");
    NET_UNTIL(&net, told.messages == 2);
    assert_string_equal(told.line, "two");
    net_skip_ms(1500);
    NET_UNTIL(&net, told.failed);
    assert_int_equal(told.err, -ETIMEDOUT);
    NET_UNTIL(&net, told.closed);
    peer_close(&raw);
    close(listening);
}

static void closing_ends_a_request_without_a_word(void **state)
{
    (void)state;
    ask(get("/hold"));
    NET_UNTIL(&net, app.requests);
    fm_http_link_close(&link_);
    NET_UNTIL(&net, told.closed);
    assert_int_equal(told.failed + told.answered, 0);
}

/* -------- with TLS -------- */

static void speaks_tls_to_whom_it_means(void **state)
{
    (void)state;
    struct fm_tls *server_side = side(FM_TLS_SERVER, ours, "west-1"),
                  *client_side = side(FM_TLS_CLIENT, ours, "north-1");
    server.config.tls = server_side;
    struct fm_http_ask a = get("/ok");
    a.tls = client_side;
    a.peer = "west-1";
    ask(a);
    fm_tls_unref(client_side); /* the link keeps it as long as it needs it */
    NET_UNTIL(&net, told.answered == 1);
    assert_string_equal(told.body, "ok");
    ask(get("/ok"));
    NET_UNTIL(&net, told.answered == 2);
    fm_http_link_close(&link_);
    NET_UNTIL(&net, told.closed == 1);

    client_side = side(FM_TLS_CLIENT, ours, "north-1");
    a.tls = client_side;
    a.peer = "south-1";
    ask(a);
    NET_UNTIL(&net, told.closed == 2);
    assert_int_equal(told.err, -EPROTO);
    assert_string_equal(told.why, "TLS: hostname mismatch");
    assert_false(link_.sent);
    fm_tls_unref(client_side);
    fm_tls_unref(server_side);
    assert_int_equal(app.requests, 2);
}

static void what_cannot_even_begin_leaves_nothing_behind(void **state)
{
    (void)state;
    struct fm_error e = {.msg = ""};
    struct fm_addr nowhere;
    assert_int_equal(fm_addr_unix(&nowhere, FM_STR("/tmp/fulmar-there-is-no-such.sock")),
                     FM_ERR_OK);
    struct fm_http_ask a = get("/ok");
    a.to = &nowhere;
    assert_int_equal(fm_http_link_ask(&link_, &net.loop, &ops, &a, &e), FM_ERR_UNREACHABLE);
    assert_true(e.msg[0] && !link_.open && !link_.busy && !link_.out);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(told.closed + told.failed, 0);
    ask(get("/ok")); /* it may go elsewhere */
    NET_UNTIL(&net, told.answered == 1);
}

#define with_link(fn) fm_test_with(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_link(answers_one_after_the_other_over_one_connection),
        with_link(posts_its_body_with_what_was_asked_for),
        with_link(an_answer_is_bounded),
        with_link(waits_only_so_long),
        with_link(a_connection_may_end_while_idle),
        with_link(what_is_not_begun_leaves_nothing),
        with_link(a_stream_is_lines),
        with_link(closing_ends_a_request_without_a_word),
        with_link(speaks_tls_to_whom_it_means),
        with_link(what_cannot_even_begin_leaves_nothing_behind),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, make_authorities, remove_authorities);
}
