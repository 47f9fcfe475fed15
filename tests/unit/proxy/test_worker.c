/* A worker on its own thread, with control and clients on this one: requests pass while views,
 * configurations and drains come in. (For the thread sanitizer, and for what a request leaves
 * behind: counts, the access log, an answer of the worker's own.) */
#include "given.h"

#include "base/log.h"
#include "proxy/worker.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static struct net net; /* of control */
static struct fm_mailbox control;
static struct fm_worker worker;
static struct fm_worker_config config; /* worker.config is the other thread's */
static struct fm_board *board;
static struct fm_addr door, app_at;
static int app;
static struct peer client, server;
static _Atomic uint32_t connections;
static unsigned ended;
static uint64_t generation;
static char log_path[64];
static struct fm_sink *sink;

static void on_ended(struct fm_msg *m, void *user)
{
    (void)user;
    assert_ptr_equal(fm_container_of(m, struct fm_worker, ended_msg), &worker);
    ended++;
}

static struct fm_view *make_view(void)
{
    struct fm_view_address a[2] = {{.region = 0, .pool = 0, .addr = app_at},
                                   {.region = 1, .pool = 0, .addr = app_at}};
    struct fm_view *v = fm_view_new(board, FM_PROXY_EDGE, ++generation, a, 2);
    assert_non_null(v);
    return v;
}

static const char text[] =
    "fulmar: 1\nservice: shop\nedge: {listen: [{address: \"127.0.0.1:80\"}]}\n"
    "regions:\n  west: {priority: 1, apps: [\"127.0.0.1:1\"]}\n"
    "  north: {priority: 2, apps: [\"127.0.0.1:1\"]}\n"
    "retry: {hedge-after: never}\n"
    "contexts:\n"
    "  pages: {topology: multi-write, routes: [\"/pages/**\"], needs: []}\n"
    "  pay: {topology: multi-write, routes: [\"/pay\"], needs: [],\n"
    "        idempotency: {key: required, by: app}}\n";

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    net_open(&net, 16 * 1024, 8);
    assert_int_equal(fm_mailbox_open(&control, &net.loop, NULL, NULL), FM_ERR_OK);
    app = raw_listen(&app_at);
    ended = 0;
    client.fd = server.fd = -1;
    board = given_board(text, 1);
    (void)snprintf(log_path, sizeof log_path, "/tmp/fulmar-test-access-%d", (int)getpid());
    sink = fm_sink_open(log_path, -1, 1 << 20, NULL);
    assert_non_null(sink);
    config = (struct fm_worker_config){.mode = FM_PROXY_EDGE,
                                       .http = {.limits = FM_HTTP_LIMITS_DEFAULT,
                                                .header_ms = 5000,
                                                .idle_ms = 60000,
                                                .raw_bodies = true},
                                       .connections_max = 4,
                                       .replay_body_bytes = 64 * 1024,
                                       .tunnel_idle_ms = 60000,
                                       .body_idle_ms = 60000,
                                       .access_log = sink,
                                       .access_sample_ppm = 1000000,
                                       .connections = &connections,
                                       .control = &control,
                                       .ended = on_ended};
    struct fm_view *v = make_view();
    assert_int_equal(fm_worker_init(&worker, &config, v, NULL), FM_ERR_OK);
    fm_view_unref(v);
    struct fm_addr any;
    assert_int_equal(fm_addr_parse(&any, FM_STR("127.0.0.1:0")), FM_ERR_OK);
    assert_int_equal(fm_worker_listen(&worker, &any, NULL), FM_ERR_OK);
    door = any;
    door.len = sizeof door.un;
    assert_int_equal(getsockname(worker.listener[0].watch.fd, &door.sa, &door.len), 0);
    assert_int_equal(fm_worker_start(&worker, NULL), FM_ERR_OK);
    return rc;
}

static void drain(int64_t finish_ms)
{
    if (ended)
        return;
    fm_worker_drain(&worker, finish_ms);
    NET_UNTIL(&net, ended == 1);
}

static int teardown(void **state)
{
    if (client.fd >= 0)
        peer_close(&client);
    drain(0);
    fm_worker_join(&worker);
    fm_worker_deinit(&worker);
    if (server.fd >= 0)
        peer_close(&server);
    struct peer l = {.fd = app};
    peer_close(&l);
    fm_sink_close(sink, 1000);
    (void)unlink(log_path);
    fm_board_unref(board);
    fm_mailbox_close(&control);
    net_close(&net);
    assert_int_equal(atomic_load(&connections), 0);
    return fm_test_fds_after(state);
}

static void say(const char *request)
{
    if (client.fd < 0)
        peer_connect(&client, &door);
    peer_drop(&client, client.n);
    peer_say(&net, &client, request);
}

/* The application gets a request and answers it. */
static void serve(const char *what)
{
    if (server.fd < 0)
        peer_accept(&net, &server, app);
    peer_drop(&server, server.n);
    NET_UNTIL(&net, (peer_poll(&server), memmem(server.in, server.n, "\r\n\r\n", 4)));
    if (server.n < strlen(what) || memcmp(server.in, what, strlen(what)) != 0)
        fail_msg("the application was asked %.60s", server.in);
    peer_say(&net, &server, ANSWER);
}

static bool client_has(const char *part)
{
    peer_poll(&client);
    return memmem(client.in, client.n, part, strlen(part)) != NULL;
}

static void a_request_passes_and_is_counted(void **state)
{
    (void)state;
    say("GET /pages/a?secret=1 HTTP/1.1\r\nHost: a\r\n\r\n");
    serve("GET /pages/a?secret=1 HTTP/1.1\r\n");
    NET_UNTIL(&net, client_has("\r\n\r\nok"));
    assert_true(client_has("Fulmar-Region: west\r\n"));
    assert_true(client_has("Fulmar-Ref: "));
    struct fm_board_sum sum;
    NET_UNTIL(&net, (fm_board_sum(board, 0, 0, &sum), sum.outcome[FM_OUTCOME_OK] == 1));
    assert_int_equal(sum.sent, 1);
    assert_true(sum.last_sent_ns > 0);
    NET_UNTIL(&net, fm_counter_get(&board->context[0].status[2]) == 1);
    assert_int_equal(fm_counter_get(&board->context[0].queries), 1);
    assert_int_equal(fm_counter_get(&worker.metrics.requests), 1);
}

static size_t read_log(char *out, size_t cap)
{
    FILE *f = fopen(log_path, "re");
    assert_non_null(f);
    size_t n = fread(out, 1, cap - 1, f);
    out[n] = 0;
    assert_int_equal(fclose(f), 0);
    return n;
}

static void the_access_log_has_everything_but_the_query(void **state)
{
    (void)state;
    static char line[4096];
    say("GET /pages/a?secret=1 HTTP/1.1\r\nHost: a\r\n\r\n");
    serve("GET ");
    NET_UNTIL(&net, client_has("\r\n\r\nok"));
    NET_UNTIL(&net, read_log(line, sizeof line) > 0);
    static const char *const parts[] = {"{\"time\":\"",
                                        "\"ref\":\"",
                                        "\"client\":\"127.0.0.1\"",
                                        "\"method\":\"GET\"",
                                        "\"path\":\"/pages/a\"",
                                        "\"context\":\"pages\"",
                                        "\"route\":\"/pages/**\"",
                                        "\"region\":\"west\"",
                                        "\"status\":200",
                                        "\"tries\":1",
                                        "\"duration_ms\":",
                                        "\"trace\":\""};
    for (size_t i = 0; i < FM_COUNT(parts); i++)
        if (!strstr(line, parts[i]))
            fail_msg("%s is not in %s", parts[i], line);
    assert_null(strstr(line, "secret"));
    assert_true(line[strlen(line) - 1] == '\n');
}

static void what_it_answers_itself_is_a_problem(void **state)
{
    (void)state;
    static const struct {
        const char *request, *status, *type;
    } cases[] = {
        {"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 404 ", "urn:fulmar:no-route"},
        {"GET /pages/../../x HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 ", "urn:fulmar:bad-path"},
        {"POST /pay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 400 ",
         "urn:fulmar:key-missing"},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        say(cases[i].request);
        NET_UNTIL(&net, client_has("}"));
        assert_true(client_has(cases[i].status));
        assert_true(client_has("application/problem+json"));
        if (!client_has(cases[i].type))
            fail_msg("%s: %.*s", cases[i].type, (int)client.n, client.in);
    }
    struct fm_board_sum sum;
    fm_board_sum(board, 0, 1, &sum);
    assert_int_equal(sum.sent, 0);
}

static void a_lost_query_is_asked_in_the_next_region(void **state)
{
    (void)state;
    say("GET /pages/a HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_accept(&net, &server, app);
    NET_UNTIL(&net, (peer_poll(&server), memmem(server.in, server.n, "\r\n\r\n", 4)));
    peer_reset(&server);
    serve("GET /pages/a ");
    NET_UNTIL(&net, client_has("\r\n\r\nok"));
    assert_true(client_has("Fulmar-Region: north\r\n"));
    struct fm_board_sum sum;
    NET_UNTIL(&net, (fm_board_sum(board, 0, 0, &sum), sum.outcome[FM_OUTCOME_RESET] == 1));
    assert_int_equal(fm_counter_get(&worker.metrics.retries), 1);
}

static void what_a_region_left_by_health_owes_is_asked_elsewhere(void **state)
{
    (void)state;
    say("GET /pages/a HTTP/1.1\r\nHost: a\r\n\r\n");
    static struct peer silent;
    peer_accept(&net, &silent, app);
    NET_UNTIL(&net, (peer_poll(&silent), memmem(silent.in, silent.n, "\r\n\r\n", 4)));
    atomic_store(&fm_board_slot(board, 0, 0)->word, UINT64_C(1) << 32);
    fm_worker_region_left(&worker, worker.view->view, 0, 0);
    serve("GET /pages/a ");
    NET_UNTIL(&net, client_has("Fulmar-Region: north\r\n"));
    NET_UNTIL(&net, client_has("\r\n\r\nok"));
    peer_close(&silent);
}

static void views_and_configurations_change_under_requests(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        say("GET /pages/a HTTP/1.1\r\nHost: a\r\n\r\n");
        struct fm_view *v = make_view();
        fm_worker_set_view(&worker, v);
        fm_view_unref(v);
        serve("GET ");
        fm_worker_set_config(&worker, &config);
        NET_UNTIL(&net, client_has("\r\n\r\nok"));
    }
    drain(5000); /* the client's connection is idle, so it ends by itself */
    assert_true(peer_is_over(&client));
}

enum { LARGE = 300 * 1000 };

/* The application reads so much of a body and finds each byte in its place. */
static void check_body(const char *body, size_t n)
{
    for (size_t at = 0; at < n;) {
        NET_UNTIL(&net, (peer_poll(&server), server.n > 0));
        assert_in_range(server.n, 1, n - at); /* nothing behind it */
        if (memcmp(server.in, body + at, server.n) != 0)
            fail_msg("another body from %zu on, or a little later", at);
        at += server.n;
        peer_drop(&server, server.n);
    }
}

/* More than there are blocks for, although the configuration would let it be kept: from where they
 * end it is passed on as it comes, each byte once. */
static void a_body_beyond_the_blocks_arrives_as_it_was(void **state)
{
    (void)state;
    static char body[LARGE];
    struct fm_worker_config large = config;
    large.replay_body_bytes = 1 << 20;
    fm_worker_set_config(&worker, &large);
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (char)('a' + i / 7 % 26);
    say("PUT /pages/a HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
    peer_send(&net, &client, body, sizeof body);
    peer_accept(&net, &server, app);
    const char *end = NULL;
    NET_UNTIL(&net, (peer_poll(&server), end = memmem(server.in, server.n, "\r\n\r\n", 4)));
    peer_drop(&server, (size_t)(end + 4 - server.in));
    check_body(body, sizeof body);
    peer_say(&net, &server, ANSWER);
    NET_UNTIL(&net, client_has("\r\n\r\nok"));
    peer_poll(&server);
    assert_int_equal(server.n, 0);
}

static void a_drain_lets_a_request_finish(void **state)
{
    (void)state;
    say("GET /pages/a HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_accept(&net, &server, app);
    NET_UNTIL(&net, (peer_poll(&server), memmem(server.in, server.n, "\r\n\r\n", 4)));
    fm_worker_drain(&worker, 60 * 1000);
    net_turn_ms(&net, 10);
    assert_int_equal(ended, 0);
    peer_say(&net, &server, ANSWER);
    NET_UNTIL(&net, ended == 1);
    NET_UNTIL(&net, client_has("\r\n\r\nok"));
    assert_true(client_has("Connection: close\r\n"));
}

static void a_drain_is_bounded(void **state)
{
    (void)state;
    say("GET /pages/a HTTP/1.1\r\nHost: a\r\n\r\n");
    peer_accept(&net, &server, app);
    fm_worker_drain(&worker, 20);
    NET_UNTIL(&net, ended == 1);
    NET_UNTIL(&net, peer_is_over(&client));
}

static void connections_over_the_limit_hear_it(void **state)
{
    (void)state;
    static struct peer others[4];
    for (unsigned i = 0; i < FM_COUNT(others); i++)
        peer_connect(&others[i], &door);
    NET_UNTIL(&net, atomic_load(&connections) == 4);
    say("GET /pages/a HTTP/1.1\r\nHost: a\r\n\r\n");
    NET_UNTIL(&net, client_has("HTTP/1.1 503 "));
    assert_true(client_has("Retry-After: "));
    NET_UNTIL(&net, fm_counter_get(&worker.metrics.connections_refused) == 1);
    for (unsigned i = 0; i < FM_COUNT(others); i++)
        peer_close(&others[i]);
}

#define with_worker(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_worker(a_request_passes_and_is_counted),
             with_worker(the_access_log_has_everything_but_the_query),
             with_worker(what_it_answers_itself_is_a_problem),
             with_worker(a_lost_query_is_asked_in_the_next_region),
             with_worker(what_a_region_left_by_health_owes_is_asked_elsewhere),
             with_worker(views_and_configurations_change_under_requests),
             with_worker(a_body_beyond_the_blocks_arrives_as_it_was),
             with_worker(a_drain_lets_a_request_finish), with_worker(a_drain_is_bounded),
             with_worker(connections_over_the_limit_hear_it))
