/* Where gates stop doubles, each key has one gate in a region: edges send it to that one alone, and
 * another one refuses it before anything is done. `w` is there; `w2` nobody can reach. */
#include "stand.h"

#include <stdio.h>

static _Atomic bool caught_up;
static char mine[16], other[16]; /* a key of `w`, and one of `w2` */

static void find_keys(void)
{
    mine[0] = other[0] = 0;
    for (unsigned i = 0; !mine[0] || !other[0]; i++) {
        char key[16];
        snprintf(key, sizeof key, "key-%u", i);
        snprintf(stand_is_first("ledger", key) ? mine : other, sizeof mine, "%s", key);
    }
}

static int open_mode(void **state, enum fm_proxy_mode mode)
{
    int rc = fm_test_fds_before(state);
    find_keys();
    atomic_store(&caught_up, true);
    stand_open_of(mode, 2, &caught_up);
    return rc;
}

static int open_gate(void **state)
{
    return open_mode(state, FM_PROXY_GATE);
}

static int open_edge(void **state)
{
    return open_mode(state, FM_PROXY_EDGE);
}

static void say(const char *target, const char *key)
{
    char request[512];
    snprintf(request, sizeof request,
             "POST %s HTTP/1.1\r\nHost: h\r\n%s%s%sContent-Length: 3\r\n\r\nabc", target,
             key ? "Idempotency-Key: " : "", key ? key : "", key ? "\r\n" : "");
    stand_say(request);
}

static void is_executed(const char *target, const char *key)
{
    say(target, key);
    stand_asked("POST ");
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

/* -------- at a gate -------- */

static void a_gate_takes_its_own_keys_and_what_has_none(void **state)
{
    (void)state;
    stand_grant(ledger, 0, 7, 60000);
    is_executed("/ledger/1", mine);
    is_executed("/ledger/1", NULL);
    is_executed("/ledger/1", NULL);
}

static void the_key_of_another_gate_is_refused_and_leaves_no_trace(void **state)
{
    (void)state;
    stand_grant(ledger, 0, 7, 60000);
    uint64_t before = fm_counter_get(&fm_journal_stats(journal)->calls);
    say("/ledger/1", other);
    stand_hear("HTTP/1.1 421 ");
    assert_true(stand_heard("Fulmar-Problem: other-gate"));
    stand_nobody_asks(20);
    assert_int_equal(fm_counter_get(&fm_journal_stats(journal)->calls), before);
    assert_int_equal(fm_seats_in_flight(ledger, 0), 0);
    stand_grant(ledger, 0, 7, -1); /* where it does not hold the cell, that is the reason */
    say("/ledger/1", other);
    stand_hear("HTTP/1.1 421 ");
    assert_true(stand_heard("Fulmar-Problem: moving"));
}

static void where_the_application_stops_doubles_any_gate_takes_it(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        stand_grant(cards, i, 7, 60000);
    is_executed("/cards/1", mine);
    is_executed("/cards/1", other);
}

static void before_it_has_caught_up_a_gate_takes_no_key(void **state)
{
    (void)state;
    stand_grant(ledger, 0, 7, 60000);
    atomic_store(&caught_up, false);
    say("/ledger/1", mine);
    stand_hear("HTTP/1.1 421 ");
    assert_true(stand_heard("Fulmar-Problem: catching-up"));
    say("/ledger/1", other);
    stand_hear("HTTP/1.1 421 ");
    assert_true(stand_heard("Fulmar-Problem: other-gate"));
    is_executed("/ledger/1", NULL);
    atomic_store(&caught_up, true);
    is_executed("/ledger/1", mine);
}

/* -------- at an edge -------- */

static void an_edge_sends_a_key_to_its_gate_alone(void **state)
{
    (void)state;
    stand_view(ledger, 0, 7, WEST, false);
    for (unsigned i = 0; i < 5; i++) {
        is_executed("/ledger/1", mine);
        is_executed("/ledger/1", NULL);
    }
    say("/ledger/1", other);
    stand_nobody_asks(300);
    stand_hear("HTTP/1.1 503 "); /* when the hold is over */
    assert_true(stand_heard("urn:fulmar:read-only"));
    assert_int_equal(fm_counter_get(&worker.metrics.held_in_vain), 1);
}

/* That one gate is away must not take its region from everybody. */
static void a_gate_that_is_away_is_no_failure_of_its_region(void **state)
{
    (void)state;
    stand_view(ledger, 0, 7, WEST, false);
    say("/ledger/1", other);
    stand_hear("HTTP/1.1 503 ");
    struct fm_board *b = worker.view->view->board;
    for (unsigned o = 0; o < FM_OUTCOME_COUNT; o++)
        if (o != FM_OUTCOME_CANCELLED)
            assert_int_equal(fm_counter_get(&fm_board_counts(b, 0, WEST, 0)->outcome[o]), 0);
    assert_int_equal(fm_counter_get(&worker.metrics.regions_left), 0);
}

static void in_another_region_a_key_has_another_gate(void **state)
{
    (void)state;
    stand_view(ledger, 0, 7, NORTH, false);
    is_executed("/ledger/1", other);
    is_executed("/ledger/1", mine);
}

static void an_edge_that_is_refused_asks_again(void **state)
{
    (void)state;
    static const char *const problem[] = {"other-gate", "catching-up"};
    stand_view(ledger, 0, 7, WEST, false);
    for (size_t i = 0; i < FM_COUNT(problem); i++) {
        char answer[128];
        snprintf(
            answer, sizeof answer,
            "HTTP/1.1 421 Misdirected Request\r\nFulmar-Problem: %s\r\nContent-Length: 0\r\n\r\n",
            problem[i]);
        say("/ledger/1", mine);
        for (unsigned k = 0; k < 3; k++) {
            stand_asked("POST /ledger/1 ");
            stand_answer(answer);
        }
        stand_asked("POST /ledger/1 ");
        stand_answer(STAND_OK);
        stand_hear("HTTP/1.1 200 ");
    }
}

static void for_the_application_any_gate_will_do(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        stand_view(cards, i, 7, WEST, false);
    is_executed("/cards/1", mine);
    is_executed("/cards/1", other);
}

#define AT_GATE(test) fm_test_with(test, open_gate, stand_teardown)
#define AT_EDGE(test) fm_test_with(test, open_edge, stand_teardown)
FM_TEST_MAIN(AT_GATE(a_gate_takes_its_own_keys_and_what_has_none),
             AT_GATE(the_key_of_another_gate_is_refused_and_leaves_no_trace),
             AT_GATE(where_the_application_stops_doubles_any_gate_takes_it),
             AT_GATE(before_it_has_caught_up_a_gate_takes_no_key),
             AT_EDGE(an_edge_sends_a_key_to_its_gate_alone),
             AT_EDGE(a_gate_that_is_away_is_no_failure_of_its_region),
             AT_EDGE(in_another_region_a_key_has_another_gate),
             AT_EDGE(an_edge_that_is_refused_asks_again),
             AT_EDGE(for_the_application_any_gate_will_do))
