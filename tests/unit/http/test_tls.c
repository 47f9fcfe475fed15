/* HTTP inside of TLS: our client and our server, each of which knows whom it talks to. */
#include "authority.h"
#include "serve.h"

#include "http/client.h"
#include "http/pages.h"

#include <errno.h>
#include <stdio.h>

static struct fm_tls *server_side, *client_side;
static struct fm_http_client client;
static struct fm_http_field fields[FM_HTTP_FIELDS_MAX];
static const struct fm_http_limits limits = FM_HTTP_LIMITS_DEFAULT;

/* What the client was told. */
static struct {
    unsigned connected, heads, failed, closed, status;
    int err;
    char why[128];
    struct fm_str body;
    unsigned refused_peers;
    char refusal[128];
} told;

static void on_connected(struct fm_http_client *c)
{
    (void)c;
    told.connected++;
}

static void on_sent(struct fm_http_client *c)
{
    (void)c;
}

static void on_head(struct fm_http_client *c, const struct fm_http_head *h)
{
    told.heads++;
    told.status = h->status;
    (void)fm_http_client_take(c, &told.body);
}

static void on_body(struct fm_http_client *c, struct fm_str piece, bool last)
{
    (void)c, (void)piece, (void)last;
    fail_msg("nobody asked");
}

static void on_failed(struct fm_http_client *c, int err, const char *why)
{
    (void)c;
    told.failed++;
    told.err = err;
    snprintf(told.why, sizeof told.why, "%s", why);
}

static void on_closed(struct fm_http_client *c)
{
    (void)c;
    told.closed++;
}

static const struct fm_http_client_handler handler = {
    .connected = on_connected,
    .sent = on_sent,
    .head = on_head,
    .body = on_body,
    .failed = on_failed,
    .closed = on_closed,
};

static void refused_peer(struct fm_http_server *s, const struct fm_addr *peer, const char *why)
{
    (void)s, (void)peer;
    told.refused_peers++;
    snprintf(told.refusal, sizeof told.refusal, "%s", why);
}

static struct fm_mono in_ms(int64_t ms)
{
    return fm_mono_add_ms(fm_loop_now(&net.loop), ms);
}

static int setup(void **state)
{
    int rc = serve_setup(state);
    memset(&told, 0, sizeof told);
    server_side = side(FM_TLS_SERVER, ours, "west-1");
    client_side = side(FM_TLS_CLIENT, ours, "north-1");
    server.config.tls = server_side;
    server.refused_peer = refused_peer;
    return rc;
}

static int teardown(void **state)
{
    if (fm_http_client_is_open(&client))
        fm_http_client_close(&client);
    fm_loop_turn(&net.loop, 0);
    fm_tls_unref(server_side);
    fm_tls_unref(client_side);
    return serve_teardown(state);
}

static void open_client(const char *expected)
{
    client.tls = client_side;
    client.peer = expected;
    assert_int_equal(fm_http_client_open(&client, &net.loop, &listener.address, in_ms(5000),
                                         &handler, &limits, fields, NULL),
                     FM_ERR_OK);
}

static void get(const char *head, const char *body)
{
    unsigned before = told.heads;
    fm_http_client_send(&client, &(struct iovec){(void *)(uintptr_t)head, strlen(head)}, 1,
                        in_ms(5000));
    fm_http_client_head(&client, FM_METHOD_GET, in_ms(5000));
    NET_UNTIL(&net, told.heads > before);
    assert_int_equal(told.status, 200);
    assert_str(told.body, body);
}

static void asks_and_answers_again_and_again(void **state)
{
    (void)state;
    open_client("west-1");
    NET_UNTIL(&net, told.connected);
    for (int i = 0; i < 3; i++) {
        get("GET /ok HTTP/1.1\r\n" HOST "\r\n", "ok");
        assert_true(fm_http_client_is_reusable(&client));
        fm_http_client_park(&client);
        fm_loop_turn(&net.loop, 0);
        assert_true(fm_http_client_unpark(&client));
    }
    assert_int_equal(app.requests, 3);
    assert_int_equal(told.refused_peers, 0);
}

static void a_parked_client_hears_of_the_end(void **state)
{
    (void)state;
    open_client("west-1");
    NET_UNTIL(&net, told.connected);
    get("GET /ok HTTP/1.1\r\n" HOST "\r\n", "ok");
    fm_http_client_park(&client);
    fm_http_server_close_all(&server);
    NET_UNTIL(&net, told.failed);
    assert_string_equal(told.why, "the server closed an idle connection");
}

static void says_why_it_refuses_a_server(void **state)
{
    (void)state;
    open_client("north-1");
    NET_UNTIL(&net, told.failed);
    assert_int_equal(told.err, -EPROTO);
    assert_string_equal(told.why, "TLS: hostname mismatch");
    assert_int_equal(told.connected, 0);
    assert_int_equal(app.requests, 0);
}

static void says_why_it_refuses_a_client(void **state)
{
    (void)state;
    fm_tls_unref(client_side);
    client_side = side(FM_TLS_CLIENT, theirs, "north-1");
    open_client("west-1");
    NET_UNTIL(&net, told.refused_peers);
    assert_string_equal(told.refusal, "unable to get local issuer certificate");
    assert_int_equal(app.requests, 0);
}

static void waits_for_a_handshake_only_so_long(void **state)
{
    (void)state;
    struct peer mute;
    peer_connect(&mute, &listener.address);
    NET_UNTIL(&net, server.nconns == 2);
    net_skip_ms(SERVE_HEADER_MS + 100);
    NET_UNTIL(&net, told.refused_peers);
    assert_string_equal(told.refusal, "no handshake in time");
    NET_UNTIL(&net, peer_is_over(&mute));
    peer_close(&mute);
}

static void plain_requests_get_nowhere(void **state)
{
    (void)state;
    struct peer plain;
    peer_connect(&plain, &listener.address);
    peer_say(&net, &plain, "GET /ok HTTP/1.1\r\n" HOST "\r\n");
    NET_UNTIL(&net, peer_is_over(&plain));
    assert_int_equal(app.requests, 0);
    assert_string_equal(told.refusal, "http request");
    peer_close(&plain);
}

static void a_drain_ends_handshakes(void **state)
{
    (void)state;
    struct peer mute;
    peer_connect(&mute, &listener.address);
    NET_UNTIL(&net, server.nconns == 2);
    fm_http_server_drain(&server);
    NET_UNTIL(&net, peer_is_over(&mute));
    peer_close(&mute);
}

/* -------- pages -------- */

static char shown[64];

static void write_name(const struct fm_page_request *q, struct fm_page_answer *a)
{
    snprintf(shown, sizeof shown, "%s", q->peer ? q->peer : "nobody");
    a->body = strdup("ok");
    a->n = 2;
}

static const struct fm_page table[] = {{.path = "/ok", .write = write_name}, {.path = NULL}};
static struct fm_pages pages;

static void page_accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    (void)ln;
    fm_pages_accept(&pages, fd, from);
}

static void a_page_knows_who_asks(void **state)
{
    (void)state;
    struct fm_listener ln;
    struct fm_addr at;
    assert_int_equal(fm_addr_parse(&at, FM_STR("127.0.0.1:0")), FM_ERR_OK);
    assert_int_equal(fm_pages_init(&pages, &net.loop, table, NULL, NULL), FM_ERR_OK);
    pages.server.config.tls = server_side;
    assert_int_equal(fm_listener_open(&ln, &net.loop, &at, 0, page_accepted, NULL), FM_ERR_OK);
    client.tls = client_side;
    client.peer = "west-1";
    assert_int_equal(fm_http_client_open(&client, &net.loop, &ln.address, in_ms(5000), &handler,
                                         &limits, fields, NULL),
                     FM_ERR_OK);
    NET_UNTIL(&net, told.connected);
    get("GET /ok HTTP/1.1\r\n" HOST "\r\n", "ok");
    assert_string_equal(shown, "north-1");
    fm_listener_close(&ln);
    fm_http_client_close(&client);
    fm_pages_close_all(&pages);
    NET_UNTIL(&net, told.closed && pages.server.nconns == 0);
    fm_pages_deinit(&pages);
}

#define with_tls(fn) fm_test_with(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_tls(asks_and_answers_again_and_again),
        with_tls(a_parked_client_hears_of_the_end),
        with_tls(says_why_it_refuses_a_server),
        with_tls(says_why_it_refuses_a_client),
        with_tls(waits_for_a_handshake_only_so_long),
        with_tls(plain_requests_get_nowhere),
        with_tls(a_drain_ends_handshakes),
        with_tls(a_page_knows_who_asks),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, make_authorities, remove_authorities);
}
