/* The doors of a PostgreSQL group: a client and two nodes on this thread, doors on theirs. */
#include "net.h"

#include "proxy/door.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { WEST, NORTH, NODES = 2, HOLD_MS = 5000, CONNECTIONS = 3 };

#define HELLO "\0\0\0\x17\0\x03\0\0user\0ann\0db\0x\0\0"
#define TLS   "\0\0\0\x08\x04\xd2\x16\x2f"
#define CANCEL                                                                                     \
    "\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01"                                                         \
    "abcd"

static struct net net;
static struct fm_seats *seats;
static struct fm_seats_context *context;
static struct fm_doors *doors;
static struct fm_door_nodes nodes;
static struct fm_sublease_cell cell;
static int listener[NODES];
static struct peer client, server, another;

static void publish_cell(bool told)
{
    fm_seats_publish_sublease(context, 0, &cell);
    if (told)
        fm_doors_authority_changed(doors);
}

/* West holds it, for so long. */
static void grant(uint64_t epoch, int64_t ms)
{
    cell.epoch.n = cell.known.n = epoch;
    cell.holder = WEST;
    cell.until = fm_mono_add_ms(fm_mono_now(), ms);
    publish_cell(true);
}

static void publish_nodes(void)
{
    nodes.node[1].seen = nodes.node[0].seen = fm_mono_now();
    fm_doors_publish(doors, 0, &nodes);
}

static void open_primary(uint64_t epoch)
{
    nodes.node[0].role = FM_DOOR_PRIMARY;
    nodes.node[0].epoch.n = epoch;
    publish_nodes();
}

static int setup(void **state)
{
    struct fm_error e = {0};
    net_open(&net, 1024, 4);
    int rc = fm_test_fds_before(state);
    seats = fm_seats_new(NULL, NULL, NULL);
    assert_non_null(seats);
    assert_int_equal(fm_seats_context(seats, FM_STR("ledger"), 1, &context, &e), FM_ERR_OK);
    memset(&nodes, 0, sizeof nodes);
    nodes.n = NODES;
    for (unsigned i = 0; i < NODES; i++)
        listener[i] = raw_listen(&nodes.at[i]);
    cell = (struct fm_sublease_cell){.holder = FM_NOBODY};
    struct fm_doors_config c = {.nworkers = 2,
                                .region = WEST,
                                .connections_max = CONNECTIONS,
                                .startup_ms = 4000,
                                .connect_ms = 2000,
                                .ndoors = 1};
    c.door[0] = (struct fm_door_config){.name = "ledger",
                                        .seats = context,
                                        .policy = {.hold_ms = HOLD_MS, .read_lag_ms = 1000},
                                        .listens = {true, true}};
    for (unsigned k = 0; k < FM_DOOR_KIND_COUNT; k++)
        close(raw_listen(&c.door[0].at[k])); /* a port that is free */
    doors = fm_doors_new(&c, &e);
    if (!doors)
        fail_msg("%s", e.msg);
    return rc;
}

static int teardown(void **state)
{
    fm_doors_free(doors);
    fm_seats_free(seats);
    for (unsigned i = 0; i < NODES; i++)
        if (listener[i] >= 0)
            close(listener[i]);
    int rc = fm_test_fds_after(state);
    net_close(&net);
    return rc;
}

/* What the door has counted; by the name in its status. */
static long long counted(const char *what)
{
    json_t *all = fm_doors_json(doors);
    json_t *n = json_object_get(json_array_get(all, 0), what);
    assert_true(json_is_integer(n));
    long long value = json_integer_value(n);
    json_decref(all);
    return value;
}

static void come(struct peer *p, enum fm_door_kind kind)
{
    peer_connect(p, fm_doors_address(doors, 0, kind));
}

static void ask(struct peer *p, enum fm_door_kind kind)
{
    come(p, kind);
    peer_send(&net, p, HELLO, sizeof HELLO - 1);
}

static bool has(struct peer *p, const char *bytes, size_t n)
{
    peer_poll(p);
    return p->n == n && memcmp(p->in, bytes, n) == 0;
}

/* The node is asked by this first packet. */
static void greeted(struct peer *p, unsigned node, const char *bytes, size_t n)
{
    peer_accept(&net, p, listener[node]);
    NET_UNTIL(&net, has(p, bytes, n));
    peer_drop(p, n);
}

static bool was_refused(struct peer *p, const char *state)
{
    char field[8] = "C";
    memcpy(field + 1, state, 6);
    peer_poll(p);
    return p->n > 0 && p->in[0] == 'E' && memmem(p->in, p->n, field, 7) != NULL;
}

static void refused(struct peer *p, const char *state)
{
    NET_UNTIL(&net, was_refused(p, state));
    NET_UNTIL(&net, peer_is_over(p));
    assert_int_equal(p->err, 0); /* not by a reset: the message could be lost */
    peer_close(p);
}

static void session(struct peer *c, struct peer *s)
{
    ask(c, FM_DOOR_READ_WRITE);
    greeted(s, 0, HELLO, sizeof HELLO - 1);
    peer_say(&net, s, "ready");
    NET_UNTIL(&net, peer_heard(c, "ready"));
    peer_drop(c, 5);
}

static void primary_session(void)
{
    grant(5, 60000);
    open_primary(5);
    session(&client, &server);
}

static void end_session(void)
{
    peer_close(&client);
    NET_UNTIL(&net, peer_is_over(&server));
    peer_close(&server);
}

/* -------- passing on -------- */

static void bytes_pass_both_ways(void **state)
{
    (void)state;
    primary_session();
    peer_say(&net, &client, "select 1");
    NET_UNTIL(&net, peer_heard(&server, "select 1"));
    peer_say(&net, &server, "1");
    NET_UNTIL(&net, peer_heard(&client, "1"));
    NET_UNTIL(&net, counted("bytes_out") == 6);
    assert_int_equal(counted("bytes_in"), sizeof HELLO - 1 + 8);
    assert_int_equal(counted("connections"), 1);
    end_session();
    NET_UNTIL(&net, counted("connections") == 0);
    assert_int_equal(counted("passed_on"), 1);
    assert_int_equal(counted("held"), 0);
}

static void tls_is_left_to_both_ends(void **state)
{
    (void)state;
    grant(5, 60000);
    open_primary(5);
    come(&client, FM_DOOR_READ_WRITE);
    peer_send(&net, &client, TLS, sizeof TLS - 1);
    greeted(&server, 0, TLS, sizeof TLS - 1);
    peer_say(&net, &server, "S");
    NET_UNTIL(&net, peer_heard(&client, "S"));
    peer_send(&net, &client, "\x16\x03\x01\0\0", 5);
    NET_UNTIL(&net, has(&server, "\x16\x03\x01\0\0", 5));
    end_session();
}

static void the_last_words_of_a_node_arrive(void **state)
{
    (void)state;
    primary_session();
    peer_say(&net, &client, "more"); /* nobody reads it: the node's end is a reset */
    NET_UNTIL(&net, peer_heard(&server, "more"));
    peer_say(&net, &client, "and more");
    peer_say(&net, &server, "terminating");
    peer_close(&server);
    NET_UNTIL(&net, peer_heard(&client, "terminating"));
    NET_UNTIL(&net, peer_is_over(&client));
    assert_int_equal(client.err, 0);
    peer_close(&client);
}

static void a_client_may_end_first(void **state)
{
    (void)state;
    primary_session();
    assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
    NET_UNTIL(&net, peer_is_over(&server));
    peer_say(&net, &server, "late");
    NET_UNTIL(&net, peer_heard(&client, "late"));
    peer_close(&server);
    NET_UNTIL(&net, peer_is_over(&client));
    peer_close(&client);
    NET_UNTIL(&net, counted("connections") == 0);
}

/* How much a node can say before nobody takes more of it. */
static size_t fill(struct peer *p)
{
    static char piece[64 * 1024];
    size_t sent = 0;
    for (unsigned idle = 0; idle < 20;) {
        ssize_t n = send(p->fd, piece, sizeof piece, MSG_NOSIGNAL | MSG_DONTWAIT);
        idle = n > 0 ? 0 : idle + 1;
        sent += n > 0 ? (size_t)n : 0;
        assert_true(sent < 256u << 20);
        if (n <= 0)
            net_turn_ms(&net, 10);
    }
    return sent;
}

static void a_slow_reader_holds_up_its_node_alone(void **state)
{
    (void)state;
    static struct peer third;
    primary_session();
    size_t sent = fill(&server), got = 0;
    session(&another, &third);
    peer_say(&net, &third, "here");
    NET_UNTIL(&net, peer_heard(&another, "here"));
    while (got < sent) {
        NET_UNTIL(&net, (peer_poll(&client), client.n > 0));
        got += client.n;
        peer_drop(&client, client.n);
    }
    assert_int_equal(got, sent);
    peer_close(&another);
    peer_close(&third);
    end_session();
}

/* -------- waiting -------- */

static void who_comes_during_a_move_waits_and_goes_on(void **state)
{
    (void)state;
    ask(&client, FM_DOOR_READ_WRITE);
    NET_UNTIL(&net, counted("holding") == 1);
    grant(5, 60000);
    net_turn_ms(&net, 20);
    assert_int_equal(counted("holding"), 1);
    open_primary(5);
    greeted(&server, 0, HELLO, sizeof HELLO - 1);
    NET_UNTIL(&net, counted("holding") == 0);
    assert_int_equal(counted("held"), 1);
    end_session();
}

static void waiting_has_an_end(void **state)
{
    (void)state;
    ask(&client, FM_DOOR_READ_WRITE);
    NET_UNTIL(&net, counted("holding") == 1);
    net_skip_ms(HOLD_MS + 1);
    refused(&client, "57P03");
    assert_int_equal(counted("refused"), 1);
    assert_int_equal(counted("holding"), 0);
}

static void who_wants_encryption_is_refused_in_clear(void **state)
{
    (void)state;
    come(&client, FM_DOOR_READ_WRITE);
    peer_send(&net, &client, TLS, sizeof TLS - 1);
    NET_UNTIL(&net, counted("holding") == 1);
    net_skip_ms(HOLD_MS + 1);
    NET_UNTIL(&net, peer_heard(&client, "N"));
    peer_drop(&client, 1);
    peer_send(&net, &client, HELLO, sizeof HELLO - 1);
    refused(&client, "57P03");
}

static void who_hangs_up_waits_no_more(void **state)
{
    (void)state;
    ask(&client, FM_DOOR_READ_WRITE);
    NET_UNTIL(&net, counted("holding") == 1);
    peer_close(&client);
    NET_UNTIL(&net, counted("connections") == 0);
    assert_int_equal(counted("holding"), 0);
}

static void a_node_that_is_not_there_yet_is_waited_for(void **state)
{
    (void)state;
    struct fm_addr was = nodes.at[0];
    close(listener[0]);
    listener[0] = -1;
    grant(5, 60000);
    open_primary(5);
    ask(&client, FM_DOOR_READ_WRITE);
    NET_UNTIL(&net, counted("held") == 1);
    listener[0] = raw_listen(&nodes.at[0]);
    assert_false(fm_addr_eq(&was, &nodes.at[0]));
    publish_nodes();
    greeted(&server, 0, HELLO, sizeof HELLO - 1);
    end_session();
}

/* -------- the right to write -------- */

static void a_late_reply_of_a_former_primary_is_dropped(void **state)
{
    (void)state;
    primary_session();
    cell.stopped.n = 5;
    cell.until = FM_MONO_ZERO;
    publish_cell(false); /* and nobody has told the door yet */
    peer_say(&net, &server, "COMMIT");
    NET_UNTIL(&net, peer_is_over(&client));
    assert_int_equal(client.n, 0);
    assert_int_equal(client.err, ECONNRESET);
    NET_UNTIL(&net, peer_is_over(&server));
    assert_int_equal(counted("resets"), 1);
    peer_close(&client);
    peer_close(&server);
}

static void sessions_end_with_their_epoch(void **state)
{
    (void)state;
    primary_session();
    cell.known.n = 6;
    cell.holder = FM_NOBODY;
    publish_cell(true);
    NET_UNTIL(&net, peer_is_over(&client));
    assert_int_equal(client.err, ECONNRESET);
    peer_close(&client);
    peer_close(&server);
}

static void a_lapse_delays_a_reply(void **state)
{
    (void)state;
    primary_session();
    grant(5, 0);
    peer_say(&net, &server, "COMMIT");
    NET_UNTIL(&net, counted("waited") == 1);
    net_turn_ms(&net, 20);
    peer_poll(&client);
    assert_int_equal(client.n, 0);
    grant(5, 60000);
    NET_UNTIL(&net, peer_heard(&client, "COMMIT"));
    peer_drop(&client, 6);
    assert_int_equal(counted("resets"), 0);
    end_session();
}

static void a_lapse_that_lasts_ends_the_session(void **state)
{
    (void)state;
    primary_session();
    grant(5, 0);
    peer_say(&net, &server, "COMMIT");
    NET_UNTIL(&net, counted("waited") == 1);
    net_skip_ms(HOLD_MS + 1);
    NET_UNTIL(&net, peer_is_over(&client));
    assert_int_equal(client.n, 0);
    assert_int_equal(counted("resets"), 1);
    peer_close(&client);
    peer_close(&server);
}

static bool can_connect(enum fm_door_kind kind)
{
    const struct fm_addr *at = fm_doors_address(doors, 0, kind);
    int fd = socket(at->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = connect(fd, &at->sa, at->len) == 0;
    int why = errno;
    close(fd);
    assert_true(ok || why == ECONNREFUSED || why == ECONNRESET); /* it closed at this moment */
    return ok;
}

static void nobody_listens_for_writers_where_another_region_holds_it(void **state)
{
    (void)state;
    primary_session();
    cell.known.n = 6;
    cell.holder = NORTH;
    publish_cell(true);
    NET_UNTIL(&net, !can_connect(FM_DOOR_READ_WRITE));
    NET_UNTIL(&net, peer_is_over(&client));
    peer_close(&client);
    peer_close(&server);
    nodes.node[0].role = FM_DOOR_STANDBY;
    publish_nodes();
    assert_true(can_connect(FM_DOOR_READ_ONLY));
    grant(7, 60000);
    open_primary(7);
    NET_UNTIL(&net, can_connect(FM_DOOR_READ_WRITE));
    NET_UNTIL(&net, counted("connections") == 0);
    session(&client, &server);
    end_session();
}

static void nobody_writes_where_an_operator_says_so(void **state)
{
    (void)state;
    grant(5, 60000);
    open_primary(5);
    atomic_store(&context->read_only, true);
    ask(&client, FM_DOOR_READ_WRITE);
    refused(&client, "25006");
}

/* -------- readers -------- */

static void readers_get_a_standby_until_it_is_promoted(void **state)
{
    (void)state;
    grant(5, 60000);
    nodes.node[1].role = FM_DOOR_STANDBY;
    nodes.node[1].lag_ms = 10;
    open_primary(5);
    ask(&client, FM_DOOR_READ_ONLY);
    greeted(&server, 1, HELLO, sizeof HELLO - 1);
    peer_say(&net, &server, "row");
    NET_UNTIL(&net, peer_heard(&client, "row"));
    nodes.node[0].role = FM_DOOR_AWAY;
    nodes.node[1].role = FM_DOOR_PRIMARY;
    nodes.node[1].epoch.n = 6;
    publish_nodes();
    NET_UNTIL(&net, peer_is_over(&client));
    peer_close(&client);
    peer_close(&server);
}

static void a_standby_that_does_not_answer_is_passed_over(void **state)
{
    (void)state;
    close(listener[1]);
    listener[1] = -1;
    grant(5, 60000);
    nodes.node[1].role = FM_DOOR_STANDBY;
    open_primary(5);
    ask(&client, FM_DOOR_READ_ONLY);
    greeted(&server, 0, HELLO, sizeof HELLO - 1);
    end_session();
}

/* -------- bounds -------- */

static void cancel_requests_go_to_all_nodes(void **state)
{
    (void)state;
    primary_session();
    nodes.node[1].role = FM_DOOR_STANDBY;
    publish_nodes();
    net_turn_ms(&net, 20);
    static struct peer asked[NODES];
    come(&another, FM_DOOR_READ_WRITE);
    peer_send(&net, &another, CANCEL, sizeof CANCEL - 1);
    for (unsigned i = 0; i < NODES; i++)
        greeted(&asked[i], i, CANCEL, sizeof CANCEL - 1);
    net_turn_ms(&net, 20);
    assert_false(peer_is_over(&another)); /* it is not done before all have looked at it */
    peer_close(&asked[0]);
    peer_close(&asked[1]);
    NET_UNTIL(&net, peer_is_over(&another));
    assert_int_equal(counted("cancels"), 1);
    peer_close(&another);
    end_session();
}

static void a_first_packet_has_its_time_and_its_form(void **state)
{
    (void)state;
    come(&client, FM_DOOR_READ_WRITE);
    peer_send(&net, &client, HELLO, 5);
    NET_UNTIL(&net, counted("connections") == 1);
    net_skip_ms(4001);
    NET_UNTIL(&net, peer_is_over(&client));
    peer_close(&client);
    assert_int_equal(counted("slow"), 1);
    come(&client, FM_DOOR_READ_WRITE);
    peer_say(&net, &client, "GET / HTTP/1.1\r\n\r\n");
    refused(&client, "08P01");
    assert_int_equal(counted("malformed"), 1);
}

static void the_number_of_connections_is_bounded(void **state)
{
    (void)state;
    static struct peer more[CONNECTIONS];
    for (unsigned i = 0; i < CONNECTIONS; i++)
        come(&more[i], FM_DOOR_READ_WRITE);
    NET_UNTIL(&net, counted("connections") == CONNECTIONS);
    ask(&client, FM_DOOR_READ_WRITE);
    refused(&client, "53300");
    for (unsigned i = 0; i < CONNECTIONS; i++)
        peer_close(&more[i]);
    NET_UNTIL(&net, counted("connections") == 0);
    primary_session();
    end_session();
}

static void a_drain_ends_waiting_and_spares_sessions(void **state)
{
    (void)state;
    primary_session();
    cell.quiet_until = fm_mono_add_ms(fm_mono_now(), 60000);
    publish_cell(true);
    ask(&another, FM_DOOR_READ_WRITE);
    NET_UNTIL(&net, counted("holding") == 1);
    fm_doors_drain(doors);
    refused(&another, "57P01");
    peer_say(&net, &server, "still");
    NET_UNTIL(&net, peer_heard(&client, "still"));
    fm_doors_free(doors);
    doors = NULL;
    NET_UNTIL(&net, peer_is_over(&client));
    peer_close(&client);
    peer_close(&server);
}

static void metrics_are_of_the_format(void **state)
{
    (void)state;
    char *text = strdup("before\n");
    size_t n = 7;
    assert_true(fm_doors_metrics(doors, &text, &n));
    text = realloc(text, n + 1);
    assert_non_null(text);
    text[n] = 0;
    assert_ptr_equal(strstr(text, "before\n# HELP fulmar_gate_door_connections "), text);
    assert_non_null(strstr(text, "\nfulmar_gate_door_resets_total{group=\"ledger\"} 0\n"));
    free(text);
}

#define TEST(name) fm_test_with(name, setup, teardown)

FM_TEST_MAIN(TEST(bytes_pass_both_ways), TEST(tls_is_left_to_both_ends),
             TEST(the_last_words_of_a_node_arrive), TEST(a_client_may_end_first),
             TEST(a_slow_reader_holds_up_its_node_alone),
             TEST(who_comes_during_a_move_waits_and_goes_on), TEST(waiting_has_an_end),
             TEST(who_wants_encryption_is_refused_in_clear), TEST(who_hangs_up_waits_no_more),
             TEST(a_node_that_is_not_there_yet_is_waited_for),
             TEST(a_late_reply_of_a_former_primary_is_dropped), TEST(sessions_end_with_their_epoch),
             TEST(a_lapse_delays_a_reply), TEST(a_lapse_that_lasts_ends_the_session),
             TEST(nobody_listens_for_writers_where_another_region_holds_it),
             TEST(nobody_writes_where_an_operator_says_so),
             TEST(readers_get_a_standby_until_it_is_promoted),
             TEST(a_standby_that_does_not_answer_is_passed_over),
             TEST(cancel_requests_go_to_all_nodes), TEST(a_first_packet_has_its_time_and_its_form),
             TEST(the_number_of_connections_is_bounded),
             TEST(a_drain_ends_waiting_and_spares_sessions), TEST(metrics_are_of_the_format))
