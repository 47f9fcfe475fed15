/* A gate that reaches the node of a group through the agent of another host: a client and
 * PostgreSQL on this thread, and the agent's peer port; the doors of both hosts on threads of
 * theirs. */
#include "authority.h"
#include "net.h"

#include "http/pages.h"
#include "proxy/door.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { WEST, HOLD_MS = 5000, CONNECT_MS = 2000, CONNECTIONS = 20, SETUPS_MAX = 8 };

#define HELLO "\0\0\0\x17\0\x03\0\0user\0ann\0db\0x\0\0"
#define CANCEL                                                                                     \
    "\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01"                                                         \
    "abcd"

/* A host: what it holds, what it knows of the node, its doors. */
struct side {
    struct fm_seats *seats;
    struct fm_seats_context *context;
    struct fm_sublease_cell cell;
    struct fm_door_nodes nodes;
    struct fm_doors *doors;
};

static struct net net;
static struct side gate, host;
static struct fm_pages pages;
static struct fm_listener port;
static struct fm_tls *to_host, *of_host;
static int listener; /* of PostgreSQL */
static unsigned asked;
static struct peer client, server, another;

static void publish_cell(struct side *s, bool told)
{
    fm_seats_publish_sublease(s->context, 0, &s->cell);
    if (told)
        fm_doors_authority_changed(s->doors);
}

static void grant(struct side *s, uint64_t epoch, int64_t ms)
{
    s->cell.epoch.n = s->cell.known.n = epoch;
    s->cell.holder = WEST;
    s->cell.until = fm_mono_add_ms(fm_mono_now(), ms);
    publish_cell(s, true);
}

static void publish_nodes(struct side *s, uint8_t role, uint64_t epoch)
{
    s->nodes.node[0].role = role;
    s->nodes.node[0].epoch.n = epoch;
    s->nodes.node[0].seen = fm_mono_now();
    fm_doors_publish(s->doors, 0, &s->nodes);
}

/* Both know that the node of the host is primary, and hold its epoch. */
static void open_primary(uint64_t epoch)
{
    struct side *both[] = {&host, &gate};
    for (unsigned i = 0; i < 2; i++) {
        grant(both[i], epoch, 60000);
        publish_nodes(both[i], FM_DOOR_PRIMARY, epoch);
    }
}

static void write_door(const struct fm_page_request *q, struct fm_page_answer *a)
{
    struct fm_tunnel by;
    struct fm_str group;
    struct fm_sock_parcel from;
    asked++;
    assert_true(fm_tunnel_read(q->path, q->query, &group, &by));
    assert_int_equal(fm_doors_find(host.doors, group), 0);
    assert_true(fm_str_eqz(q->upgrade, FM_TUNNEL_PROTOCOL));
    assert_true(of_host ? strcmp(q->peer, "north-1") == 0 : !q->peer);
    assert_true(fm_page_take(q, &from));
    (void)a;
    fm_doors_receive(host.doors, 0, &by, &from);
}

static const struct fm_page table[] = {{.path = "/groups/", .write = write_door}, {.path = NULL}};

static void accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    (void)ln;
    fm_pages_accept(&pages, fd, from);
}

static void open_side(struct side *s, bool listens)
{
    struct fm_error e = {0};
    *s = (struct side){.cell = {.holder = FM_NOBODY}};
    s->seats = fm_seats_new(NULL, NULL, NULL);
    assert_int_equal(fm_seats_context(s->seats, FM_STR("ledger"), 1, &s->context, &e), FM_ERR_OK);
    struct fm_doors_config c = {.nworkers = 1,
                                .region = WEST,
                                .connections_max = CONNECTIONS,
                                .startup_ms = 4000,
                                .connect_ms = CONNECT_MS,
                                .ndoors = 1};
    c.door[0] = (struct fm_door_config){.name = "ledger",
                                        .seats = s->context,
                                        .policy = {.hold_ms = HOLD_MS, .read_lag_ms = 1000},
                                        .listens = {listens, listens},
                                        .host = {"west-1", "west-2"}};
    for (unsigned k = 0; k < FM_DOOR_KIND_COUNT; k++)
        close(raw_listen(&c.door[0].at[k])); /* a port that is free */
    s->doors = fm_doors_new(&c, &e);
    if (!s->doors)
        fail_msg("%s", e.msg);
    s->nodes.n = 1;
}

static int setup(void **state)
{
    struct fm_error e = {0};
    net_open(&net, 16 * 1024, 32);
    int rc = fm_test_fds_before(state);
    struct fm_addr at;
    open_side(&gate, true);
    open_side(&host, false);
    listener = raw_listen(&host.nodes.at[0]);
    assert_int_equal(fm_addr_ip(&at, FM_STR("127.0.0.1"), 0), FM_ERR_OK);
    assert_int_equal(fm_listener_open(&port, &net.loop, &at, 0, accepted, &e), FM_ERR_OK);
    assert_int_equal(fm_pages_init(&pages, &net.loop, table, NULL, &e), FM_ERR_OK);
    gate.nodes.at[0] = port.address;
    gate.nodes.node[0].distance = FM_DOOR_NEAR;
    asked = 0;
    return rc;
}

static int setup_tls(void **state)
{
    int rc = setup(state);
    to_host = side(FM_TLS_CLIENT, ours, "north-1");
    of_host = side(FM_TLS_SERVER, ours, "west-1");
    pages.server.config.tls = of_host;
    fm_doors_peers(gate.doors, WEST, to_host);
    return rc;
}

static void close_side(struct side *s)
{
    fm_doors_free(s->doors);
    fm_seats_free(s->seats);
}

static int teardown(void **state)
{
    fm_listener_close(&port);
    fm_pages_close_all(&pages);
    fm_loop_turn(&net.loop, 0);
    fm_pages_deinit(&pages);
    close_side(&gate);
    close_side(&host);
    if (listener >= 0)
        close(listener);
    fm_tls_unref(to_host);
    fm_tls_unref(of_host);
    to_host = of_host = NULL;
    int rc = fm_test_fds_after(state);
    net_close(&net);
    return rc;
}

static long long counted(const struct side *s, const char *what)
{
    json_t *all = fm_doors_json(s->doors);
    json_t *n = json_object_get(json_array_get(all, 0), what);
    assert_true(json_is_integer(n));
    long long value = json_integer_value(n);
    json_decref(all);
    return value;
}

static void come(struct peer *p, enum fm_door_kind kind, const char *first, size_t n)
{
    peer_connect(p, fm_doors_address(gate.doors, 0, kind));
    peer_send(&net, p, first, n);
}

static bool has(struct peer *p, const char *bytes, size_t n)
{
    peer_poll(p);
    return p->n == n && memcmp(p->in, bytes, n) == 0;
}

/* PostgreSQL is reached, and hears this first. */
static void greeted(struct peer *p, const char *bytes, size_t n)
{
    peer_accept(&net, p, listener);
    NET_UNTIL(&net, has(p, bytes, n));
    peer_drop(p, n);
}

static void session(void)
{
    open_primary(5);
    come(&client, FM_DOOR_READ_WRITE, HELLO, sizeof HELLO - 1);
    greeted(&server, HELLO, sizeof HELLO - 1);
    peer_say(&net, &server, "ready");
    NET_UNTIL(&net, peer_heard(&client, "ready"));
    peer_drop(&client, 5);
}

static void end_session(void)
{
    peer_close(&client);
    NET_UNTIL(&net, peer_is_over(&server));
    peer_close(&server);
    NET_UNTIL(&net, counted(&gate, "connections") == 0 && counted(&host, "connections") == 0);
}

/* -------- what is said -------- */

static void a_request_says_what_the_gate_goes_by(void **state)
{
    (void)state;
    static const struct fm_tunnel all[] = {{.visit = {FM_DOOR_PRIMARY, {UINT64_MAX}}},
                                           {.visit = {FM_DOOR_STANDBY, {0}}},
                                           {.cancels = true}};
    char text[FM_TUNNEL_REQUEST_MAX];
    struct fm_str group;
    struct fm_tunnel t;
    for (unsigned i = 0; i < FM_COUNT(all); i++) {
        size_t n = fm_tunnel_request(text, "ledger", "west-1", &all[i]);
        struct fm_str rest = fm_str(text + 4, n - 4), target = fm_str_cut(rest, ' ', &rest), query;
        struct fm_str path = fm_str_cut(target, '?', &query);
        query = fm_str(path.p + path.n, target.n - path.n);
        assert_true(fm_tunnel_read(path, query, &group, &t));
        assert_true(fm_str_eqz(group, "ledger"));
        assert_int_equal(t.cancels, all[i].cancels);
        assert_int_equal(t.visit.role, all[i].visit.role);
        assert_int_equal(t.visit.epoch.n, all[i].visit.epoch.n);
    }
    static const char *const bad[][2] = {
        {"/groups/ledger/door", ""},
        {"/groups/ledger/door", "?as=primary"},
        {"/groups/ledger/door", "?as=primary&epoch=0"},
        {"/groups/ledger/door", "?as=primary&epoch=-1"},
        {"/groups/ledger/door", "?as=primary&epoch=18446744073709551616"},
        {"/groups/ledger/door", "?as=standby&epoch=1"},
        {"/groups//door", "?as=cancel"},
        {"/groups/a/b/door", "?as=cancel"},
        {"/groups/ledger/doo", "?as=cancel"},
        {"/group/ledger/door", "?as=cancel"}};
    for (unsigned i = 0; i < FM_COUNT(bad); i++)
        assert_false(fm_tunnel_read(fm_str_z(bad[i][0]), fm_str_z(bad[i][1]), &group, &t));
}

static enum fm_tunnel_is answered(struct fm_block *b, const char *text)
{
    b->n = (uint32_t)strlen(text);
    memcpy(b->data, text, b->n);
    return fm_tunnel_answered(b);
}

static void an_answer_is_open_or_shut_however_it_comes(void **state)
{
    (void)state;
    static const char open[] = FM_TUNNEL_OPEN "more";
    char refusal[FM_TUNNEL_REFUSAL_MAX];
    struct fm_block *b = fm_pool_get(&net.pool);
    assert_non_null(b);
    for (size_t n = 1; n < sizeof open - 1 - 4; n++) {
        memcpy(b->data, open, n);
        b->n = (uint32_t)n;
        assert_int_equal(fm_tunnel_answered(b), FM_TUNNEL_IS_COMING);
    }
    assert_int_equal(answered(b, open), FM_TUNNEL_IS_OPEN);
    assert_str(fm_str(b->data, b->n), "more");
    refusal[fm_tunnel_refusal(refusal, FM_DOOR_WHY_MOVING)] = 0;
    assert_int_equal(answered(b, refusal), FM_TUNNEL_IS_SHUT);
    assert_int_equal(answered(b, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
                     FM_TUNNEL_IS_SHUT);
    assert_int_equal(answered(b, "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"),
                     FM_TUNNEL_IS_SHUT);
    assert_int_equal(answered(b, "SSH-2.0\r\n"), FM_TUNNEL_IS_SHUT);
    fm_pool_put(&net.pool, b);
}

/* -------- passing on -------- */

static void bytes_pass_both_ways(void **state)
{
    (void)state;
    session();
    peer_say(&net, &client, "select 1");
    NET_UNTIL(&net, peer_heard(&server, "select 1"));
    peer_say(&net, &server, "1");
    NET_UNTIL(&net, peer_heard(&client, "1"));
    assert_int_equal(counted(&gate, "tunnels"), 1);
    assert_int_equal(counted(&host, "visits"), 1);
    assert_int_equal(counted(&host, "passed_on"), 1);
    end_session();
}

static void both_may_end_first(void **state)
{
    (void)state;
    session();
    assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
    NET_UNTIL(&net, peer_is_over(&server));
    assert_int_equal(server.err, 0);
    peer_say(&net, &server, "late");
    NET_UNTIL(&net, peer_heard(&client, "late"));
    peer_close(&server);
    NET_UNTIL(&net, peer_is_over(&client));
    peer_close(&client);
    NET_UNTIL(&net, counted(&gate, "connections") == 0 && counted(&host, "connections") == 0);
}

static void a_client_that_breaks_off_ends_its_session_there(void **state)
{
    (void)state;
    session();
    peer_reset(&client);
    NET_UNTIL(&net, peer_is_over(&server));
    peer_close(&server);
    NET_UNTIL(&net, counted(&gate, "connections") == 0 && counted(&host, "connections") == 0);
}

/* What a node can say before nobody takes more of it: what kernels and four blocks hold. */
static void a_slow_reader_holds_up_its_node(void **state)
{
    (void)state;
    static char piece[64 * 1024];
    size_t sent = 0, got = 0;
    session();
    for (unsigned idle = 0; idle < 20;) {
        ssize_t n = send(server.fd, piece, sizeof piece, MSG_NOSIGNAL | MSG_DONTWAIT);
        idle = n > 0 ? 0 : idle + 1;
        sent += n > 0 ? (size_t)n : 0;
        assert_true(sent < 256u << 20);
        if (n <= 0)
            net_turn_ms(&net, 10);
    }
    while (got < sent) {
        NET_UNTIL(&net, (peer_poll(&client), client.n > 0));
        got += client.n;
        peer_drop(&client, client.n);
    }
    assert_int_equal(got, sent);
    end_session();
}

static void a_cancel_request_reaches_the_node(void **state)
{
    (void)state;
    static struct peer told;
    session();
    come(&another, FM_DOOR_READ_WRITE, CANCEL, sizeof CANCEL - 1);
    greeted(&told, CANCEL, sizeof CANCEL - 1);
    assert_false(peer_is_over(&another));
    peer_close(&told);
    NET_UNTIL(&net, peer_is_over(&another));
    peer_close(&another);
    assert_int_equal(counted(&host, "cancels"), 1);
    end_session();
}

/* -------- the right to write -------- */

static void the_host_decides_as_well(void **state)
{
    (void)state;
    open_primary(5);
    grant(&host, 5, 0);
    come(&client, FM_DOOR_READ_WRITE, HELLO, sizeof HELLO - 1);
    NET_UNTIL(&net, counted(&host, "refused") > 0);
    NET_UNTIL(&net, counted(&gate, "holding") == 1); /* it waits where it is to be waited */
    assert_int_equal(counted(&gate, "refused"), 0);
    grant(&host, 5, 60000);
    greeted(&server, HELLO, sizeof HELLO - 1);
    end_session();
}

/* The server answers, which nobody hears, and both sides end. */
static void reply_is_dropped(void)
{
    peer_say(&net, &server, "COMMIT");
    NET_UNTIL(&net, peer_is_over(&client));
    assert_int_equal(client.n, 0);
    NET_UNTIL(&net, peer_is_over(&server));
    peer_close(&client);
    peer_close(&server);
}

static void a_late_reply_is_dropped_where_it_comes_from(void **state)
{
    (void)state;
    session();
    host.cell.stopped.n = 5;
    host.cell.until = FM_MONO_ZERO;
    publish_cell(&host, false); /* and nobody has told the door yet */
    reply_is_dropped();
    assert_int_equal(counted(&host, "resets"), 1);
}

/* The host was frozen, say, and does not know yet. */
static void a_late_reply_is_dropped_where_it_arrives(void **state)
{
    (void)state;
    session();
    gate.cell.known.n = 6;
    gate.cell.holder = FM_NOBODY;
    publish_cell(&gate, false);
    reply_is_dropped();
    assert_int_equal(client.err, ECONNRESET);
    assert_int_equal(counted(&gate, "resets"), 1);
    assert_int_equal(counted(&host, "resets"), 0);
}

static void sessions_end_with_their_epoch(void **state)
{
    (void)state;
    session();
    host.cell.known.n = 6;
    publish_cell(&host, true);
    NET_UNTIL(&net, peer_is_over(&client));
    assert_int_equal(client.n, 0);
    peer_close(&client);
    peer_close(&server);
}

/* -------- what does not answer -------- */

static void an_agent_that_is_silent_is_given_up(void **state)
{
    (void)state;
    static struct peer silent;
    int other = raw_listen(&gate.nodes.at[0]);
    open_primary(5);
    come(&client, FM_DOOR_READ_WRITE, HELLO, sizeof HELLO - 1);
    peer_accept(&net, &silent, other);
    NET_UNTIL(&net, (peer_poll(&silent), silent.n > 0));
    net_skip_ms(CONNECT_MS + 1);
    NET_UNTIL(&net, peer_is_over(&silent));
    peer_close(&silent);
    gate.nodes.at[0] = port.address;
    publish_nodes(&gate, FM_DOOR_PRIMARY, 5);
    greeted(&server, HELLO, sizeof HELLO - 1);
    end_session();
    close(other);
}

static void what_is_asked_for_in_vain_is_left_when_the_epoch_is_over(void **state)
{
    (void)state;
    static struct peer silent;
    int other = raw_listen(&gate.nodes.at[0]);
    open_primary(5);
    come(&client, FM_DOOR_READ_WRITE, HELLO, sizeof HELLO - 1);
    peer_accept(&net, &silent, other);
    NET_UNTIL(&net, (peer_poll(&silent), silent.n > 0));
    gate.nodes.at[0] = port.address;
    open_primary(6); /* no clock is moved on */
    NET_UNTIL(&net, peer_is_over(&silent));
    greeted(&server, HELLO, sizeof HELLO - 1);
    peer_close(&silent);
    end_session();
    close(other);
}

static void an_agent_is_not_overrun(void **state)
{
    (void)state;
    static struct peer clients[SETUPS_MAX + 4], silent[SETUPS_MAX];
    int other = raw_listen(&gate.nodes.at[0]);
    open_primary(5);
    for (unsigned i = 0; i < FM_COUNT(clients); i++)
        come(&clients[i], FM_DOOR_READ_WRITE, HELLO, sizeof HELLO - 1);
    for (unsigned i = 0; i < FM_COUNT(silent); i++)
        peer_accept(&net, &silent[i], other);
    NET_UNTIL(&net, counted(&gate, "holding") == 4);
    net_turn_ms(&net, 100);
    assert_int_equal(accept4(other, NULL, NULL, SOCK_NONBLOCK), -1);
    peer_close(&silent[0]); /* one gives up: it is not asked again at once */
    NET_UNTIL(&net, counted(&gate, "holding") == 5);
    for (unsigned i = 0; i < FM_COUNT(clients); i++)
        peer_close(&clients[i]);
    for (unsigned i = 1; i < FM_COUNT(silent); i++)
        peer_close(&silent[i]);
    NET_UNTIL(&net, counted(&gate, "connections") == 0);
    close(other);
}

/* Who is not there, or promoted meanwhile. */
static void readers_are_refused_there_too(void **state)
{
    (void)state;
    open_primary(5);
    publish_nodes(&gate, FM_DOOR_STANDBY, 0);
    gate.nodes.node[0].lag_ms = 0;
    come(&client, FM_DOOR_READ_ONLY, HELLO, sizeof HELLO - 1);
    NET_UNTIL(&net, counted(&host, "refused") > 0);
    assert_int_equal(counted(&host, "passed_on"), 0);
    publish_nodes(&host, FM_DOOR_STANDBY, 0);
    greeted(&server, HELLO, sizeof HELLO - 1);
    end_session();
}

static void what_comes_while_doors_end_is_closed(void **state)
{
    (void)state;
    session();
    fm_doors_drain(host.doors);
    come(&another, FM_DOOR_READ_WRITE, HELLO, sizeof HELLO - 1);
    NET_UNTIL(&net, counted(&host, "refused") > 0);
    peer_say(&net, &server, "still");
    NET_UNTIL(&net, peer_heard(&client, "still"));
    peer_close(&another);
    fm_doors_free(host.doors);
    host.doors = NULL;
    NET_UNTIL(&net, peer_is_over(&client));
    peer_close(&client);
    peer_close(&server);
}

static void visits_are_bounded(void **state)
{
    (void)state;
    static struct peer clients[CONNECTIONS];
    session();
    assert_true(fm_doors_have_room(host.doors));
    for (unsigned i = 1; i < CONNECTIONS; i++) {
        come(&clients[i], FM_DOOR_READ_WRITE, HELLO, sizeof HELLO - 1);
        NET_UNTIL(&net, counted(&host, "connections") == i + 1);
    }
    assert_false(fm_doors_have_room(host.doors));
    for (unsigned i = 1; i < CONNECTIONS; i++)
        peer_close(&clients[i]);
    close(listener); /* nobody has accepted those */
    listener = -1;
    end_session();
}

#define TEST(name) fm_test_with(name, setup, teardown)
#define WITH_TLS(name)                                                                             \
    {                                                                                              \
#name " inside of TLS", name, setup_tls, teardown, NULL                                    \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_says_what_the_gate_goes_by),
        TEST(an_answer_is_open_or_shut_however_it_comes),
        TEST(bytes_pass_both_ways),
        TEST(both_may_end_first),
        TEST(a_client_that_breaks_off_ends_its_session_there),
        TEST(a_slow_reader_holds_up_its_node),
        TEST(a_cancel_request_reaches_the_node),
        TEST(the_host_decides_as_well),
        TEST(a_late_reply_is_dropped_where_it_comes_from),
        TEST(a_late_reply_is_dropped_where_it_arrives),
        TEST(sessions_end_with_their_epoch),
        TEST(an_agent_that_is_silent_is_given_up),
        TEST(what_is_asked_for_in_vain_is_left_when_the_epoch_is_over),
        TEST(an_agent_is_not_overrun),
        TEST(readers_are_refused_there_too),
        TEST(what_comes_while_doors_end_is_closed),
        TEST(visits_are_bounded),
        WITH_TLS(bytes_pass_both_ways),
        WITH_TLS(both_may_end_first),
        WITH_TLS(a_client_that_breaks_off_ends_its_session_there),
        WITH_TLS(a_slow_reader_holds_up_its_node),
        WITH_TLS(a_cancel_request_reaches_the_node),
        WITH_TLS(a_late_reply_is_dropped_where_it_comes_from),
        WITH_TLS(a_late_reply_is_dropped_where_it_arrives),
        WITH_TLS(what_comes_while_doors_end_is_closed),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, make_authorities, remove_authorities);
}
