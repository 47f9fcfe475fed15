/* Commands that go to their holder by way of another region's gate. */
#include "stand.h"

#include <stdio.h>
#include <sys/socket.h>

#define COMMAND(path, more)                                                                        \
    "POST " path " HTTP/1.1\r\nHost: h\r\n" more "Content-Length: 3\r\n\r\nabc"
#define ON(more) COMMAND("/ledger/1/on", more)
#define REFUSED(status, problem)                                                                   \
    "HTTP/1.1 " status " No\r\nFulmar-Problem: " problem                                           \
    "\r\nFulmar-Region: north\r\nContent-Length: 0\r\n\r\n"

static int gate_setup(void **state)
{
    int rc = stand_setup_gate(state);
    stand_held_by(ledger, 0, 7, NORTH);
    return rc;
}

static uint64_t relayed(void)
{
    return fm_counter_get(&worker.metrics.relayed);
}

static uint64_t sent_to(unsigned region)
{
    return fm_counter_get(&fm_board_counts(worker.view->view->board, 0, region, 0)->sent);
}

/* -------- gates -------- */

static void a_gate_passes_it_on_to_the_holders(void **state)
{
    (void)state;
    stand_say(ON(""));
    stand_asked("POST /ledger/1/on HTTP/1.1\r\n");
    assert_true(stand_was_told("Fulmar-Authority: ledger/0@7 "));
    assert_true(stand_was_told("Fulmar-Mode: relayed"));
    assert_true(stand_was_told("Fulmar-Deadline: "));
    assert_true(stand_was_told("\r\n\r\nabc"));
    assert_int_equal(fm_seats_in_flight(ledger, 0), 0); /* it is in flight there */
    stand_answer("HTTP/1.1 201 Created\r\nFulmar-Region: north\r\nContent-Length: 2\r\n\r\nok");
    stand_hear("HTTP/1.1 201 Created\r\n");
    assert_true(stand_heard("Fulmar-Region: north\r\n"));
    assert_false(stand_heard("Fulmar-Region: west"));
    assert_int_equal(relayed(), 1);
    assert_int_equal(sent_to(NORTH), 1);
    assert_int_equal(sent_to(WEST), 0);
}

static void a_key_is_the_other_gates_matter(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) { /* twice: this gate has written nothing down */
        stand_say(ON(AT("7") KEY("k1")));
        stand_asked("POST /ledger/1/on ");
        assert_true(stand_was_told("Idempotency-Key: k1\r\n"));
        stand_answer(STAND_OK);
        stand_hear("HTTP/1.1 200 ");
    }
    stand_grant(ledger, 0, 8, 60000); /* and as holder it does not know it */
    stand_say(ON(KEY("k1")));
    stand_asked("POST /ledger/1/on ");
    assert_true(stand_was_told("Fulmar-Mode: normal"));
    assert_true(stand_was_told("Fulmar-Authority: ledger/0@8 "));
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

static void what_is_not_to_be_passed_on_is_refused(void **state)
{
    (void)state;
    static const char *const requests[] = {
        COMMAND("/ledger/1", ""),                             /* the route does not say so */
        ON("Fulmar-Mode: relayed\r\n"),                       /* it was, once */
        ON(AT("7") "Fulmar-Mode: relayed\r\n"),               /* the same */
        ON(AT("6")),                                          /* tried under another epoch */
        ON("Fulmar-Queued: north/17-00f3a9c2d4e5b687@0\r\n"), /* who delivers it finds the holder */
        "GET /ledger/1/tap HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: "
        "websocket\r\n\r\n",
    };
    for (size_t i = 0; i < FM_COUNT(requests); i++) {
        stand_say(requests[i]);
        stand_hear("HTTP/1.1 421 ");
        assert_true(stand_heard("Fulmar-Problem: not-holder\r\n"));
    }
    stand_say(ON(AT("8"))); /* it knows more than we do */
    stand_hear("HTTP/1.1 421 ");
    assert_true(stand_heard("Fulmar-Problem: moving\r\n"));
    stand_held_by(ledger, 0, 7, FM_NOBODY);
    stand_say(ON(""));
    stand_hear("HTTP/1.1 421 ");
    assert_true(stand_heard("Fulmar-Problem: moving\r\n"));
    stand_held_by(ledger, 0, 7, 9); /* no region of this file */
    stand_say(ON(""));
    stand_hear("HTTP/1.1 421 ");
    assert_int_equal(relayed(), 0);
    assert_int_equal(sent_to(NORTH) + sent_to(WEST), 0);
}

static void what_was_passed_on_is_executed_where_it_came(void **state)
{
    (void)state;
    stand_grant(ledger, 0, 7, 60000);
    stand_say(ON(AT("7") "Fulmar-Mode: relayed\r\n" KEY("k1")));
    stand_asked("POST /ledger/1/on ");
    assert_true(stand_was_told("Fulmar-Mode: normal\r\n"));
    assert_int_equal(fm_seats_in_flight(ledger, 0), 1);
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
    NET_UNTIL(&stand_net, fm_seats_in_flight(ledger, 0) == 0);
    stand_say(ON(AT("7") "Fulmar-Mode: relayed\r\n" KEY("k1")));
    stand_hear("HTTP/1.1 200 "); /* from the journal, which is here */
    assert_int_equal(sent_to(WEST), 1);
}

static void refusals_come_back_as_they_are(void **state)
{
    (void)state;
    stand_say(ON(AT("7")));
    stand_asked("POST /ledger/1/on ");
    stand_answer(REFUSED("421", "moving"));
    stand_hear("HTTP/1.1 421 ");
    assert_true(stand_heard("Fulmar-Problem: moving\r\n")); /* an edge concludes from it */
    stand_say(ON(AT("7")));
    stand_asked("POST /ledger/1/on ");
    stand_answer(REFUSED("503", "no-instance"));
    stand_hear("HTTP/1.1 503 ");
    assert_true(stand_heard("Fulmar-Problem: no-instance\r\n"));
    assert_int_equal(sent_to(NORTH), 2);
}

static void what_was_sent_and_not_answered_is_unknown(void **state)
{
    (void)state;
    stand_say(ON(KEY("k1")));
    stand_asked("POST /ledger/1/on ");
    peer_reset(&server);
    server.fd = -1;
    stand_hear("HTTP/1.1 504 ");
    assert_true(stand_heard("Fulmar-Problem: outcome-unknown\r\n"));
    stand_nobody_asks(50);
    assert_int_equal(sent_to(NORTH), 1); /* never twice */
}

static void what_could_not_be_sent_was_not_executed(void **state)
{
    (void)state;
    assert_int_equal(shutdown(stand_app(), SHUT_RDWR), 0); /* nobody listens */
    stand_say(ON(""));
    stand_hear("HTTP/1.1 503 ");
    assert_true(stand_heard("Fulmar-Problem: unreachable\r\n"));
    assert_true(stand_heard("Retry-After: "));
    assert_int_equal(sent_to(NORTH), 0);
}

static void a_success_is_not_told_when_the_epoch_has_ended(void **state)
{
    (void)state;
    stand_say(ON(""));
    stand_asked("POST /ledger/1/on ");
    stand_held_by(ledger, 0, 8, NORTH);
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 504 ");
    assert_true(stand_heard("Fulmar-Problem: outcome-unknown\r\n"));
    assert_int_equal(fm_counter_get(&worker.metrics.answers_dropped), 1);
}

static void the_deadline_goes_on_shrinking(void **state)
{
    (void)state;
    stand_say(ON("Fulmar-Deadline: 700\r\n"));
    stand_asked("POST /ledger/1/on ");
    const char *left = memmem(server.in, server.n, "Fulmar-Deadline: ", 17);
    assert_non_null(left);
    assert_in_range(strtol(left + 17, NULL, 10), 1, 700);
    stand_hear("HTTP/1.1 504 "); /* nobody answers */
    assert_true(stand_heard("Fulmar-Problem: outcome-unknown\r\n"));
    stand_say(ON("Fulmar-Deadline: 0\r\n"));
    stand_hear("HTTP/1.1 504 ");
    assert_true(stand_heard("Fulmar-Problem: deadline\r\n"));
    assert_int_equal(sent_to(NORTH), 1);
}

static void a_key_in_the_body_says_the_cell(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        stand_held_by(tills, i, 10 + i, NORTH);
    stand_say("POST /tills/on HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
              "Content-Length: 12\r\n\r\n{\"till\":\"a\"}");
    stand_asked("POST /tills/on ");
    unsigned cell = 9;
    unsigned long long epoch = 0;
    const char *said = memmem(server.in, server.n, "Fulmar-Authority: tills/", 24);
    assert_non_null(said);
    assert_int_equal(sscanf(said + 24, "%u@%llu ", &cell, &epoch), 2);
    assert_int_equal(epoch, 10 + cell);
    assert_true(stand_was_told("Fulmar-Mode: relayed"));
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

/* -------- edges -------- */

/* The edge gives the region nothing, and has heard nothing of it (or that it is not well). */
static void lose(unsigned region, bool unheard)
{
    struct fm_board_slot *slot = fm_board_slot(worker.view->view->board, region, 0);
    atomic_store(&slot->unheard, unheard);
    atomic_store(&slot->word, UINT64_C(1) << 32);
}

static void an_edge_goes_round_a_region_that_it_does_not_hear(void **state)
{
    (void)state;
    stand_view(ledger, 0, 7, NORTH, false);
    lose(NORTH, true);
    stand_say(ON("Fulmar-Mode: relayed\r\n")); /* of a client: it is nobody's word */
    stand_asked("POST /ledger/1/on ");
    assert_true(stand_was_told("Fulmar-Authority: ledger/0@7 "));
    assert_false(stand_was_told("relayed"));
    stand_answer("HTTP/1.1 200 OK\r\nFulmar-Region: north\r\nContent-Length: 2\r\n\r\nok");
    stand_hear("HTTP/1.1 200 ");
    assert_int_equal(relayed(), 1);
    assert_int_equal(sent_to(WEST), 1);
    assert_int_equal(sent_to(NORTH), 0);
}

static void an_edge_waits_for_who_is_not_well(void **state)
{
    (void)state;
    stand_view(ledger, 0, 7, NORTH, false);
    lose(NORTH, false);
    stand_say(ON(""));
    stand_nobody_asks(100);
    atomic_store(&fm_board_slot(worker.view->view->board, NORTH, 0)->unheard, true);
    stand_asked("POST /ledger/1/on "); /* it looked again */
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
    assert_int_equal(sent_to(WEST), 1);
    stand_say(COMMAND("/ledger/1", "")); /* the route does not say so */
    stand_nobody_asks(100);
    stand_hear("HTTP/1.1 503 ");
}

static void an_edge_holds_what_found_no_way(void **state)
{
    (void)state;
    stand_view(ledger, 0, 7, NORTH, false);
    lose(NORTH, true);
    stand_say(ON(""));
    stand_asked("POST /ledger/1/on ");
    stand_answer(REFUSED("503", "unreachable"));
    stand_asked("POST /ledger/1/on "); /* again */
    stand_answer(REFUSED("421", "not-holder"));
    stand_asked("POST /ledger/1/on ");
    stand_answer(REFUSED("504", "outcome-unknown")); /* and this is the end of it */
    stand_hear("HTTP/1.1 504 ");
    assert_int_equal(sent_to(WEST), 3);
    assert_int_equal(sent_to(NORTH), 0);
}

/* What is held is many: one of it looks for a way five times a second. */
static void an_edge_does_not_ask_for_a_way_again_and_again(void **state)
{
    (void)state;
    stand_view(ledger, 0, 7, NORTH, false);
    lose(NORTH, true);
    stand_say(ON(""));
    stand_asked("POST /ledger/1/on ");
    do { /* for the second that it is held */
        if (server.n > 0)
            stand_answer(REFUSED("503", "unreachable"));
        fm_loop_turn(&stand_net.loop, FM_NS_PER_MS);
        peer_poll(&server);
        peer_poll(&client);
    } while (client.n == 0);
    stand_hear("HTTP/1.1 503 ");
    assert_in_range(sent_to(WEST), 2, 7); /* and not one in 40 ms */
}

#define with_gate(fn) fm_test_with(fn, gate_setup, stand_teardown)

FM_TEST_MAIN(with_gate(a_gate_passes_it_on_to_the_holders),
             with_gate(a_key_is_the_other_gates_matter),
             with_gate(what_is_not_to_be_passed_on_is_refused),
             with_gate(what_was_passed_on_is_executed_where_it_came),
             with_gate(refusals_come_back_as_they_are),
             with_gate(what_was_sent_and_not_answered_is_unknown),
             with_gate(what_could_not_be_sent_was_not_executed),
             with_gate(a_success_is_not_told_when_the_epoch_has_ended),
             with_gate(the_deadline_goes_on_shrinking), with_gate(a_key_in_the_body_says_the_cell),
             stand_edge(an_edge_goes_round_a_region_that_it_does_not_hear),
             stand_edge(an_edge_waits_for_who_is_not_well),
             stand_edge(an_edge_holds_what_found_no_way),
             stand_edge(an_edge_does_not_ask_for_a_way_again_and_again))
