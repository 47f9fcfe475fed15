/* Commands at an edge that only one region may take. */
#include "stand.h"

#include <stdio.h>

#define POST "POST /ledger/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
#define MOVING                                                                                     \
    "HTTP/1.1 421 Misdirected Request\r\nFulmar-Problem: moving\r\nContent-Length: 0\r\n\r\n"
#define ELSEWHERE                                                                                  \
    "HTTP/1.1 421 Misdirected Request\r\nFulmar-Problem: not-holder\r\nContent-Length: 0\r\n\r\n"

static void a_command_goes_to_the_holder_under_its_epoch(void **state)
{
    (void)state;
    stand_view(ledger, 0, 42, WEST, false);
    stand_say(POST);
    stand_asked("POST /ledger/1 ");
    assert_true(stand_was_told("Fulmar-Authority: ledger/0@42 "));
    assert_true(stand_was_told("\r\n\r\nabc"));
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

static void without_a_view_it_waits_for_one(void **state)
{
    (void)state;
    stand_say(POST);
    stand_nobody_asks(60);
    stand_view(ledger, 0, 7, NORTH, false);
    stand_asked("POST /ledger/1 ");
    assert_true(stand_was_told("Fulmar-Authority: ledger/0@7 "));
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

static void while_it_moves_it_is_held_and_stamped_anew(void **state)
{
    (void)state;
    stand_view(ledger, 0, 7, WEST, false);
    stand_say(POST);
    stand_asked("POST /ledger/1 ");
    stand_answer(MOVING);
    NET_UNTIL(&stand_net, stand_wanted > 0);
    stand_view(ledger, 0, 7, WEST, true);
    stand_view(ledger, 0, 8, NORTH, false);
    /* it may have looked again in between; what counts is the last */
    do {
        stand_asked("POST /ledger/1 ");
        if (stand_was_told("ledger/0@7 "))
            stand_answer(MOVING);
    } while (!stand_was_told("ledger/0@8 "));
    assert_true(stand_was_told("\r\n\r\nabc"));
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

static void an_end_to_holding(void **state)
{
    (void)state;
    stand_say(POST);
    stand_hear("HTTP/1.1 503 ");
    assert_true(stand_heard("urn:fulmar:read-only"));
    assert_true(stand_heard("\"detail\":\"Back at \\\"noon\\\".\""));
    assert_true(stand_heard("Retry-After: "));
    assert_int_equal(fm_counter_get(&worker.metrics.held_in_vain), 1);
}

static void who_leaves_is_not_sent_on(void **state)
{
    (void)state;
    stand_say(POST);
    net_turn_ms(&stand_net, 30);
    peer_close(&client);
    client.fd = -1;
    net_turn_ms(&stand_net, 100);
    stand_view(ledger, 0, 7, WEST, false);
    stand_nobody_asks(60);
}

static void a_success_of_an_epoch_that_ended_by_force_is_not_passed_on(void **state)
{
    (void)state;
    stand_view(ledger, 0, 7, WEST, false);
    stand_say(POST);
    stand_asked("POST /ledger/1 ");
    stand_view(ledger, 0, 9, NORTH, false); /* gentle from 9 on only */
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 504 ");
    assert_true(stand_heard("outcome-unknown"));
}

static void a_success_of_an_epoch_that_was_released_is(void **state)
{
    (void)state;
    stand_view(ledger, 0, 7, WEST, false);
    stand_say(POST);
    stand_asked("POST /ledger/1 ");
    struct fm_view_cell v = {.epoch = {8}, .gentle_from = {3}, .region = NORTH};
    fm_seats_publish_view(ledger, 0, &v);
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

static void a_key_has_one_cell(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        stand_view(cards, i, 100 + i, i % 2, false);
    stand_say("POST /cards/4711/pay HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    stand_asked("POST /cards/4711/pay ");
    assert_true(stand_was_told("Fulmar-Authority: cards/3@103 ")); /* docs/reference/cells.md */
    stand_answer(ELSEWHERE);
    stand_asked("POST /cards/4711/pay "); /* the view did not change; it asks again, in vain */
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
    stand_say("POST /cards/a;b/pay HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    stand_hear("HTTP/1.1 400 ");
    assert_true(stand_heard("entity-malformed"));
}

enum { LONG = 60 * 1000 };

/* docs/reference/configuration.md: it must fit into replay-body, which is 64 KiB here. */
static void a_key_is_found_at_the_end_of_a_long_body(void **state)
{
    (void)state;
    static char body[LONG + 256], request[LONG + 512];
    for (unsigned i = 0; i < 4; i++)
        stand_view(tills, i, 100 + i, WEST, false);
    snprintf(body, sizeof body, "{\"memo\":\"%*s\",\"till\":\"4711\"}", LONG, "");
    snprintf(request, sizeof request,
             "POST /tills/1 HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
             body);
    stand_say(request);
    stand_asked("POST /tills/1 ");
    assert_true(stand_was_told("Fulmar-Authority: tills/3@103 "));
    NET_UNTIL(&stand_net, (peer_poll(&server), stand_was_told("\"till\":\"4711\"}")));
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

static void queries_are_answered_without_a_holder(void **state)
{
    (void)state;
    stand_say("GET /ledger/1 HTTP/1.1\r\nHost: h\r\n\r\n");
    stand_asked("GET /ledger/1 ");
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

static void read_only_by_hand_is_told_at_once(void **state)
{
    (void)state;
    stand_view(ledger, 0, 7, WEST, false);
    atomic_store(&ledger->read_only, true);
    stand_say(POST);
    stand_hear("HTTP/1.1 503 ");
    assert_true(stand_heard("urn:fulmar:read-only"));
}

/* -------- of unknown outcome, where the application stops doubles -------- */

#define KEYED                                                                                      \
    "POST /cards/4711/pay HTTP/1.1\r\nHost: h\r\nIdempotency-Key: k-1\r\nContent-Length: "         \
    "0\r\n\r\n"
#define UNKEYED "POST /cards/4711/pay HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
#define BROKEN  "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno"

/* The upstream gets it, and the connection breaks. */
static void lose_it(void)
{
    stand_asked("POST /cards/4711/pay ");
    server.n = 0;
    peer_reset(&server);
}

static void what_was_lost_is_sent_to_the_next_holder(void **state)
{
    (void)state;
    stand_view(cards, 3, 5, WEST, false);
    stand_say(KEYED);
    for (unsigned i = 0; i < 3; i++) /* in its region, as often as retries are allowed */
        lose_it();
    stand_view(cards, 3, 6, NORTH, false);
    stand_asked("POST /cards/4711/pay ");
    assert_true(stand_was_told("Fulmar-Authority: cards/3@6 "));
    assert_true(stand_was_told("Idempotency-Key: k-1\r\n"));
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

static void what_was_lost_without_a_key_is_not_sent_again(void **state)
{
    (void)state;
    stand_view(cards, 3, 5, WEST, false);
    stand_say(UNKEYED);
    lose_it();
    stand_hear("HTTP/1.1 504 ");
    assert_true(stand_heard("outcome-unknown"));
}

static void what_may_have_been_executed_is_never_called_refused(void **state)
{
    (void)state;
    stand_view(cards, 3, 5, WEST, false);
    stand_say(KEYED);
    for (unsigned i = 0; i < 3; i++)
        lose_it();
    stand_view(cards, 3, 5, WEST, true); /* and nobody takes over while it is held */
    stand_hear("HTTP/1.1 504 ");
    assert_true(stand_heard("outcome-unknown"));
}

static void an_answer_that_says_failed_waits_for_a_better_one(void **state)
{
    (void)state;
    stand_view(cards, 3, 5, WEST, false);
    stand_say(KEYED);
    for (unsigned i = 0; i < 3; i++) {
        stand_asked("POST /cards/4711/pay ");
        stand_answer(BROKEN);
    }
    stand_nobody_asks(100); /* who fails is not helped by more */
    stand_asked("POST /cards/4711/pay ");
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

static void an_answer_that_goes_on_to_say_failed_is_unknown_in_the_end(void **state)
{
    (void)state;
    stand_view(cards, 3, 5, WEST, false);
    stand_say(KEYED);
    unsigned asked = 0;
    while (!memmem(client.in, client.n, "\r\n\r\n", 4)) {
        net_turn_ms(&stand_net, 1);
        peer_poll(&client);
        if (server.fd < 0) {
            peer_accept(&stand_net, &server, stand_app());
            continue;
        }
        peer_poll(&server);
        if (!memmem(server.in, server.n, "\r\n\r\n", 4))
            continue;
        asked++;
        stand_answer(BROKEN);
    }
    assert_in_range(asked, 4, 30);
    stand_hear("HTTP/1.1 504 ");
    assert_true(stand_heard("outcome-unknown"));
}

static void without_a_key_an_answer_that_says_failed_is_the_answer(void **state)
{
    (void)state;
    stand_view(cards, 3, 5, WEST, false);
    stand_say(UNKEYED);
    stand_asked("POST /cards/4711/pay ");
    stand_answer(BROKEN);
    stand_hear("HTTP/1.1 503 ");
    assert_false(stand_heard("urn:fulmar"));
}

#define T(f)   stand_edge(f)
#define FREEZE "POST /cards/4711/freeze HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"

static void an_override_needs_the_finding_of_the_region(void **state)
{
    (void)state;
    stand_say(FREEZE);
    stand_hear("HTTP/1.1 503 ");
    fm_seats_publish_lapsed(cards, 2, true); /* of another cell */
    stand_say(FREEZE);
    stand_hear("HTTP/1.1 503 ");
    fm_seats_publish_lapsed(cards, 3, true);
    stand_say(FREEZE);
    stand_asked("POST /cards/4711/freeze ");
    assert_true(stand_was_told("Fulmar-Mode: override\r\n"));
    assert_true(stand_was_told("Fulmar-Authority: cards/3@0"));
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
    stand_say(FREEZE);
    stand_asked("POST /cards/4711/freeze ");
    stand_answer(ELSEWHERE); /* that region has found something else */
    stand_hear("HTTP/1.1 503 ");
    assert_true(stand_heard("urn:fulmar:read-only"));
}

FM_TEST_MAIN(T(a_command_goes_to_the_holder_under_its_epoch), T(without_a_view_it_waits_for_one),
             T(while_it_moves_it_is_held_and_stamped_anew), T(an_end_to_holding),
             T(who_leaves_is_not_sent_on),
             T(a_success_of_an_epoch_that_ended_by_force_is_not_passed_on),
             T(a_success_of_an_epoch_that_was_released_is), T(a_key_has_one_cell),
             T(a_key_is_found_at_the_end_of_a_long_body), T(queries_are_answered_without_a_holder),
             T(read_only_by_hand_is_told_at_once), T(an_override_needs_the_finding_of_the_region),
             T(what_was_lost_is_sent_to_the_next_holder),
             T(what_was_lost_without_a_key_is_not_sent_again),
             T(what_may_have_been_executed_is_never_called_refused),
             T(an_answer_that_says_failed_waits_for_a_better_one),
             T(an_answer_that_goes_on_to_say_failed_is_unknown_in_the_end),
             T(without_a_key_an_answer_that_says_failed_is_the_answer))
