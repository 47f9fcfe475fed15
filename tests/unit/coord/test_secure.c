/* Coordination over TLS: a store that must show who it is, and wants to know who asks. */
#include "authority.h"
#include "net.h"

#include "coord/base64.h"
#include "coord/coord.h"
#include "http/server.h"
#include "io/certs.h"

#include <stdio.h>
#include <unistd.h>

static struct net net;
static struct fm_http_server server;
static struct fm_listener listener;
static struct fm_tls *server_side;
static unsigned requests, refused;
static struct fm_coord *coord;
static bool closed;
static struct fm_coord_op op;
static unsigned dones;
static enum fm_coord_outcome outcome;
static char why[256];

/* -------- the store: whatever it is asked, it shows its stamp -------- */

static void on_request(struct fm_http_conn *c, const struct fm_http_head *h)
{
    (void)h;
    char text[1024];
    struct fm_buf b = fm_buf(text, sizeof text);
    requests++;
    fm_buf_lit(&b, "{\"header\":{\"cluster_id\":\"7\",\"member_id\":\"1\",\"revision\":\"9\","
                   "\"raft_term\":\"2\"},\"count\":\"1\",\"kvs\":[{\"key\":\"");
    fm_base64_add(&b, FM_STR("/fulmar/s/stamp"));
    fm_buf_lit(&b, "\",\"create_revision\":\"2\",\"mod_revision\":\"2\",\"version\":\"1\","
                   "\"value\":\"");
    fm_base64_add(&b, FM_STR("{\"fulmar\":1,\"service\":\"s\",\"incarnation\":\"aa\"}"));
    fm_buf_lit(&b, "\"}]}");
    assert_false(b.full);
    fm_http_conn_answer(c, 200, FM_STR("application/json"), FM_STR(""), fm_buf_str(&b));
}

static void on_body(struct fm_http_conn *c, struct fm_str piece, bool last)
{
    (void)c, (void)piece, (void)last;
}

static void on_sent(struct fm_http_conn *c)
{
    (void)c;
}

static void on_failed(struct fm_http_conn *c, const struct fm_http_refusal *r)
{
    (void)c, (void)r;
}

static const struct fm_http_handler handler = {
    .request = on_request, .body = on_body, .sent = on_sent, .failed = on_failed};

static void refused_peer(struct fm_http_server *s, const struct fm_addr *peer, const char *because)
{
    (void)s, (void)peer, (void)because;
    refused++;
}

static void accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    (void)ln;
    (void)fm_http_server_accept(&server, fd, from, false);
}

/* -------- the client -------- */

static void done(struct fm_coord_op *o)
{
    dones++;
    outcome = o->outcome;
    snprintf(why, sizeof why, "%s", o->error.msg);
}

static void on_closed(struct fm_coord *c, void *user)
{
    (void)c, (void)user;
    closed = true;
}

static void open_coord(const struct fm_tls_files *files)
{
    struct fm_error e;
    struct fm_coord_endpoint at = {"the store", "127.0.0.1", fm_addr_port(&listener.address)};
    struct fm_coord_config c = {
        .service = "s", .endpoint = &at, .nendpoint = 1, .tls = files, .closed = on_closed};
    coord = fm_coord_open(&net.loop, &c, &e);
    if (!coord)
        fail_msg("%s", e.msg);
}

static void open_as(const char *folder, const char *host)
{
    char cert[128], key[128], ca[128];
    snprintf(ca, sizeof ca, "%s/peers-ca.pem", folder);
    snprintf(cert, sizeof cert, "%s/%s.pem", ours, host);
    snprintf(key, sizeof key, "%s/%s.key", ours, host);
    open_coord(&(struct fm_tls_files){ca, cert, key}); /* copied: these go */
}

static void read_stamp(void)
{
    unsigned before = dones;
    op = (struct fm_coord_op){.done = done};
    fm_coord_get(coord, &op, FM_STR("stamp"), false, false, fm_mono_add_ms(fm_mono_now(), 10000));
    NET_UNTIL(&net, (net_skip_ms(50), dones > before));
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    struct fm_addr at;
    net_open(&net, 64 * 1024, 16);
    requests = refused = dones = 0;
    closed = false;
    server_side = side(FM_TLS_SERVER, ours, "store");
    struct fm_http_server_config c = {
        .limits = FM_HTTP_LIMITS_DEFAULT, .header_ms = 5000, .idle_ms = 60000, .tls = server_side};
    assert_int_equal(fm_http_server_init(&server, &net.loop, &c, &handler, NULL, NULL), FM_ERR_OK);
    server.refused_peer = refused_peer;
    assert_int_equal(fm_addr_parse(&at, FM_STR("127.0.0.1:0")), FM_ERR_OK);
    assert_int_equal(fm_listener_open(&listener, &net.loop, &at, 0, accepted, NULL), FM_ERR_OK);
    return rc;
}

static int teardown(void **state)
{
    if (coord) {
        fm_coord_close(coord);
        NET_UNTIL(&net, closed);
        coord = NULL;
    }
    fm_listener_close(&listener);
    fm_http_server_close_all(&server);
    fm_loop_turn(&net.loop, 0);
    fm_http_server_deinit(&server);
    fm_tls_unref(server_side);
    net_close(&net);
    return fm_test_fds_after(state);
}

static void is_done_with_who_shows_the_right_name(void **state)
{
    (void)state;
    open_as(ours, "west-1");
    read_stamp();
    assert_int_equal(outcome, FM_COORD_DONE);
    assert_int_equal(refused, 0);
}

static void nothing_goes_to_a_store_with_another_name(void **state)
{
    (void)state;
    fm_tls_unref(server_side);
    server.config.tls = server_side = side(FM_TLS_SERVER, ours, "north-1");
    open_as(ours, "west-1");
    read_stamp();
    assert_int_equal(outcome, FM_COORD_NOT_DONE);
    assert_non_null(strstr(why, "TLS: IP address mismatch"));
    assert_int_equal(requests, 0);
}

static void nothing_goes_to_a_store_of_another_authority(void **state)
{
    (void)state;
    open_as(theirs, "west-1");
    read_stamp();
    assert_int_equal(outcome, FM_COORD_NOT_DONE);
    assert_non_null(strstr(why, "TLS: "));
    assert_int_equal(requests, 0);
}

static void says_that_the_store_wants_a_certificate(void **state)
{
    (void)state;
    char ca[128];
    snprintf(ca, sizeof ca, "%s/peers-ca.pem", ours);
    open_coord(&(struct fm_tls_files){.ca = ca});
    read_stamp();
    assert_int_equal(outcome, FM_COORD_NOT_DONE);
    assert_non_null(strstr(why, "TLS: "));
    assert_true(refused > 0);
    assert_int_equal(requests, 0);
}

static void files_that_are_wrong_are_told_at_once(void **state)
{
    (void)state;
    struct fm_error e = {0};
    struct fm_coord_endpoint at = {"the store", "127.0.0.1", 1};
    struct fm_tls_files files = {.ca = "/nowhere/ca.pem"};
    struct fm_coord_config c = {
        .service = "s", .endpoint = &at, .nendpoint = 1, .tls = &files, .closed = on_closed};
    assert_null(fm_coord_open(&net.loop, &c, &e));
    assert_non_null(strstr(e.msg, "/nowhere/ca.pem"));
}

static void certificates_are_renewed(void **state)
{
    (void)state;
    struct fm_error e;
    open_as(ours, "renewed");
    read_stamp();
    assert_int_equal(outcome, FM_COORD_DONE);
    assert_int_equal(fm_certs_add(ours, "renewed", NULL, 0, 30, true, &e), FM_ERR_OK);
    assert_int_equal(fm_coord_renew_tls(coord, &e), FM_ERR_OK);
    fm_http_server_close_all(&server); /* so that it has to show the new one */
    read_stamp();
    assert_int_equal(outcome, FM_COORD_DONE);
    assert_int_equal(unlink(in(ours, "renewed.key")), 0);
    assert_int_equal(fm_coord_renew_tls(coord, &e), FM_ERR_INVALID);
    fm_http_server_close_all(&server);
    read_stamp(); /* with what it has */
    assert_int_equal(outcome, FM_COORD_DONE);
}

static int make(void **state)
{
    struct fm_error e;
    static const char *const here[] = {"127.0.0.1"};
    if (make_authorities(state) || fm_certs_add(ours, "store", here, 1, 30, false, &e) ||
        fm_certs_add(ours, "renewed", NULL, 0, 30, false, &e))
        return -1;
    return 0;
}

static int remove_all(void **state)
{
    static const char *const files[] = {"store.pem", "store.key", "renewed.pem", "renewed.key"};
    for (size_t i = 0; i < FM_COUNT(files); i++)
        (void)unlink(in(ours, files[i]));
    return remove_authorities(state);
}

#define with_store(fn) fm_test_with(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_store(is_done_with_who_shows_the_right_name),
        with_store(nothing_goes_to_a_store_with_another_name),
        with_store(nothing_goes_to_a_store_of_another_authority),
        with_store(says_that_the_store_wants_a_certificate),
        with_store(files_that_are_wrong_are_told_at_once),
        with_store(certificates_are_renewed),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, make, remove_all);
}
