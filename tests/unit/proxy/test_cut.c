/* What a gate cuts when the right to write ends: uploads and tunnels, which go on for long. */
#include "stand.h"

#include <stdio.h>

/* The application has the beginning of it, which is nothing to execute. */
static void an_upload_is_cut_when_the_grant_runs_out(void **state)
{
    (void)state;
    stand_grant(ledger, 0, 7, 60000);
    stand_say(
        "POST /ledger/1 HTTP/1.1\r\nHost: h\r\n" AT("7") "Content-Length: 100000\r\n\r\nbegin");
    stand_asked("POST /ledger/1 ");
    NET_UNTIL(&stand_net, (peer_poll(&server), stand_was_told("begin")));
    stand_grant(ledger, 0, 7, -1);
    peer_say(&stand_net, &client, "more");
    stand_hear("HTTP/1.1 504 ");
    assert_true(stand_heard("Fulmar-Problem: outcome-unknown"));
    NET_UNTIL(&stand_net, peer_is_over(&server));
    assert_false(stand_was_told("more"));
}

/* -------- tunnels -------- */

#define SWITCH                                                                                     \
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"

static void open_tunnel(const char *request)
{
    stand_say(request);
    stand_asked("GET /ledger/");
    assert_true(stand_was_told("Upgrade: websocket\r\n"));
    stand_answer(SWITCH);
    stand_hear("HTTP/1.1 101 ");
    peer_say(&stand_net, &client, "ping");
    NET_UNTIL(&stand_net, (peer_poll(&server), stand_was_told("ping")));
}

/* Neither side hears more of the other. */
static void tunnel_is_cut(void)
{
    NET_UNTIL(&stand_net, peer_is_over(&client));
    NET_UNTIL(&stand_net, peer_is_over(&server));
    NET_UNTIL(&stand_net, fm_seats_in_flight(ledger, 0) == 0);
}

#define TUNNEL(path, more)                                                                         \
    "GET " path " HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" more "\r"  \
    "\n"
#define OF_COMMANDS TUNNEL("/ledger/1/live", AT("7") KEY("k1"))
#define OF_QUERIES  TUNNEL("/ledger/1", "")

static void nothing_goes_into_a_tunnel_whose_grant_ran_out(void **state)
{
    (void)state;
    stand_grant(ledger, 0, 7, 60000);
    open_tunnel(OF_COMMANDS);
    assert_int_equal(fm_seats_in_flight(ledger, 0), 1);
    stand_grant(ledger, 0, 7, -1); /* by itself: nobody says so */
    peer_say(&stand_net, &client, "pay");
    tunnel_is_cut();
    assert_false(stand_was_told("pay"));
}

static void nothing_comes_out_of_it_either(void **state)
{
    (void)state;
    stand_grant(ledger, 0, 7, 60000);
    open_tunnel(OF_COMMANDS);
    stand_grant(ledger, 0, 7, -1);
    peer_say(&stand_net, &server, "paid");
    tunnel_is_cut();
    assert_false(stand_heard("paid"));
}

static void a_move_ends_tunnels_of_commands_before_those_of_queries(void **state)
{
    (void)state;
    struct fm_sublease_cell s = {
        .until = fm_mono_add_ms(fm_mono_now(), 60000), .epoch = {7}, .known = {7}, .holder = 0};
    fm_seats_publish_sublease(ledger, 0, &s);
    open_tunnel(OF_QUERIES);
    s.quiet_until = s.until;
    fm_seats_publish_sublease(ledger, 0, &s);
    fm_worker_authority_changed(&worker);
    peer_drop(&server, server.n);
    peer_say(&stand_net, &client, "more");
    NET_UNTIL(&stand_net, (peer_poll(&server), stand_was_told("more")));
    s.until = FM_MONO_ZERO;
    fm_seats_publish_sublease(ledger, 0, &s);
    fm_worker_authority_changed(&worker);
    tunnel_is_cut();
    /* one of commands ends when they are held, so that there is an end to what is in flight */
    peer_close(&client);
    peer_close(&server);
    client.fd = server.fd = -1;
    server.n = 0;
    s.until = s.quiet_until;
    s.quiet_until = FM_MONO_ZERO;
    fm_seats_publish_sublease(ledger, 0, &s);
    open_tunnel(OF_COMMANDS);
    s.quiet_until = s.until;
    fm_seats_publish_sublease(ledger, 0, &s);
    fm_worker_authority_changed(&worker);
    tunnel_is_cut();
}

static void a_tunnel_is_no_answer_to_a_repeat(void **state)
{
    (void)state;
    stand_grant(ledger, 0, 7, 60000);
    open_tunnel(OF_COMMANDS);
    peer_close(&client);
    peer_close(&server);
    client.fd = server.fd = -1;
    NET_UNTIL(&stand_net, fm_seats_in_flight(ledger, 0) == 0);
    do {
        stand_say(OF_COMMANDS);
        NET_UNTIL(&stand_net, (peer_poll(&client), stand_heard("\r\n\r\n")));
    } while (stand_heard("key-in-flight"));
    stand_hear("HTTP/1.1 409 ");
    assert_true(stand_heard("answer-not-kept"));
}

#define T(f) stand_gate(f)

FM_TEST_MAIN(T(an_upload_is_cut_when_the_grant_runs_out),
             T(nothing_goes_into_a_tunnel_whose_grant_ran_out), T(nothing_comes_out_of_it_either),
             T(a_move_ends_tunnels_of_commands_before_those_of_queries),
             T(a_tunnel_is_no_answer_to_a_repeat))
