/* Commands at a gate: nothing begins, and no success is told, without authority; what has a key is
 * in the journal first. */
#include "stand.h"

#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#define COMMAND(authority, more)                                                                   \
    "POST /ledger/1 HTTP/1.1\r\nHost: h\r\n" authority more "Content-Length: 3\r\n\r\nabc"

static void nothing_begins_without_a_grant(void **state)
{
    (void)state;
    stand_say(COMMAND("", ""));
    stand_hear("HTTP/1.1 421 ");
    assert_true(stand_heard("Fulmar-Problem: moving"));
    stand_grant(ledger, 0, 7, -1);
    stand_say(COMMAND(AT("7"), ""));
    stand_hear("HTTP/1.1 421 ");
    assert_int_equal(fm_seats_in_flight(ledger, 0), 0);
}

static void under_a_grant_it_goes_to_the_application(void **state)
{
    (void)state;
    stand_grant(ledger, 0, 7, 60000);
    stand_say(COMMAND(AT("7"), ""));
    stand_asked("POST /ledger/1 ");
    assert_true(stand_was_told("Fulmar-Authority: ledger/0@7"));
    assert_true(stand_was_told("Fulmar-Mode: normal\r\n"));
    assert_int_equal(fm_seats_in_flight(ledger, 0), 1);
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
    NET_UNTIL(&stand_net, fm_seats_in_flight(ledger, 0) == 0);
}

/* Its data are not open: nothing begins, and queries are answered as where it is not held. */
static void under_a_closed_grant_commands_wait(void **state)
{
    (void)state;
    stand_grant_closed(ledger, 0, 7, 60000);
    stand_say(COMMAND(AT("7"), ""));
    stand_hear("HTTP/1.1 421 ");
    assert_true(stand_heard("Fulmar-Problem: moving"));
    assert_int_equal(fm_seats_in_flight(ledger, 0), 0);
    stand_say("GET /ledger/1 HTTP/1.1\r\nHost: h\r\n\r\n");
    stand_asked("GET /ledger/1 ");
    assert_true(stand_was_told("Fulmar-Mode: read-only\r\n"));
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
    stand_grant(ledger, 0, 7, 60000);
    stand_say(COMMAND(AT("7"), ""));
    stand_asked("POST /ledger/1 ");
    stand_grant_closed(ledger, 0, 7, 60000); /* what is under way ends as it would have */
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

static void another_epoch_is_refused(void **state)
{
    (void)state;
    stand_grant(ledger, 0, 7, 60000);
    stand_say(COMMAND(AT("6"), ""));
    stand_hear("HTTP/1.1 421 ");
    assert_true(stand_heard("Fulmar-Problem: not-holder"));
    assert_int_equal(fm_seats_heard(ledger, 0).n, 0);
    stand_say(COMMAND(AT("8"), "")); /* somebody knows more than we do */
    stand_hear("HTTP/1.1 421 ");
    assert_true(stand_heard("Fulmar-Problem: moving"));
    assert_int_equal(fm_seats_heard(ledger, 0).n, 8);
    NET_UNTIL(&stand_net, stand_wanted == 1);
    stand_say(COMMAND("Fulmar-Authority: cards/0@7\r\n", ""));
    stand_hear("HTTP/1.1 421 ");
    stand_say(COMMAND("Fulmar-Authority: rubbish\r\n", ""));
    stand_hear("HTTP/1.1 421 ");
}

static void a_success_is_not_told_when_the_grant_ran_out(void **state)
{
    (void)state;
    stand_grant(ledger, 0, 7, 60000);
    stand_say(COMMAND(AT("7"), ""));
    stand_asked("POST /ledger/1 ");
    stand_grant(ledger, 0, 7, -1);
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 504 ");
    assert_true(stand_heard("Fulmar-Problem: outcome-unknown"));
}

/* An upstream that takes no connections for now: there is room for one, which is taken. */
static void take_the_last_place(struct peer *filler)
{
    static struct fm_addr at;
    at.len = sizeof at.un;
    assert_int_equal(getsockname(stand_app(), &at.sa, &at.len), 0);
    assert_int_equal(listen(stand_app(), 0), 0);
    peer_connect(filler, &at);
    struct pollfd p = {.fd = stand_app(), .events = POLLIN};
    NET_UNTIL(&stand_net, poll(&p, 1, 0) == 1);
}

static void give_the_place_back(struct peer *filler)
{
    assert_int_equal(listen(stand_app(), 64), 0);
    static struct peer end;
    peer_accept(&stand_net, &end, stand_app());
    peer_close(&end);
    peer_close(filler);
}

static void nothing_is_sent_when_the_grant_ran_out_before_there_was_a_connection(void **state)
{
    (void)state;
    static struct peer filler;
    take_the_last_place(&filler);
    stand_grant(ledger, 0, 7, 60000);
    stand_say(COMMAND(AT("7"), KEY("k1")));
    NET_UNTIL(&stand_net, fm_counter_get(&worker.metrics.upstream_connects) == 1);
    assert_int_equal(fm_seats_in_flight(ledger, 0), 1);
    stand_grant(ledger, 0, 7, -1);
    give_the_place_back(&filler);
    stand_hear("HTTP/1.1 421 ");
    assert_true(stand_heard("Fulmar-Problem: moving"));
    NET_UNTIL(&stand_net, fm_seats_in_flight(ledger, 0) == 0);
    assert_int_equal(fm_counter_get(&fm_board_counts(worker.view->view->board, 0, 0, 0)->sent), 0);
    for (int fd; (fd = accept4(stand_app(), NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0;)
        close(fd);                    /* connections that nothing was sent on */
    stand_grant(ledger, 0, 7, 60000); /* nobody has seen it, so its key is as good as new */
    stand_say(COMMAND(AT("7"), KEY("k1")));
    stand_asked("POST /ledger/1 ");
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

/* -------- what an edge believes -------- */

#define TILL(authority)                                                                            \
    "POST /tills/1 HTTP/1.1\r\nHost: h\r\n" authority                                              \
    "Content-Length: 15\r\n\r\n{\"till\":\"4711\"}"

static void an_edge_that_means_another_cell_looks_again(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        stand_grant(tills, i, 7, 60000);
    stand_say(TILL("Fulmar-Authority: tills/1@7\r\n")); /* it is in 3 */
    stand_hear("HTTP/1.1 421 ");
    assert_true(stand_heard("Fulmar-Problem: not-holder"));
    stand_say(TILL("Fulmar-Authority: tills/1@9\r\n"));
    stand_hear("HTTP/1.1 421 ");
    assert_int_equal(fm_seats_heard(tills, 3).n, 0); /* that epoch is of another cell */
    stand_say(TILL("Fulmar-Authority: tills/3@7\r\n"));
    stand_asked("POST /tills/1 ");
    assert_true(stand_was_told("Fulmar-Authority: tills/3@7 "));
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

/* A reload that has reached one of the two. */
static void what_the_edge_sends_as_a_command_is_not_taken_for_less(void **state)
{
    (void)state;
    stand_grant(ledger, 0, 7, 60000);
    stand_say("GET /ledger/1 HTTP/1.1\r\nHost: h\r\n" AT("7") "\r\n");
    stand_hear("HTTP/1.1 421 ");
    assert_true(stand_heard("Fulmar-Problem: not-holder"));
    stand_say("POST /pages/1 HTTP/1.1\r\nHost: h\r\nFulmar-Authority: pages/0@7\r\n"
              "Content-Length: 0\r\n\r\n");
    stand_hear("HTTP/1.1 421 ");
    stand_say("GET /ledger/1 HTTP/1.1\r\nHost: h\r\n" AT("0") "\r\n"); /* what earlier ones say */
    stand_asked("GET /ledger/1 ");
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

static void queries_say_what_the_application_may_do(void **state)
{
    (void)state;
    stand_say("GET /ledger/1 HTTP/1.1\r\nHost: h\r\n\r\n");
    stand_asked("GET /ledger/1 ");
    assert_true(stand_was_told("Fulmar-Mode: read-only\r\n"));
    assert_false(stand_was_told("Fulmar-Authority"));
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
    stand_grant(ledger, 0, 7, 60000);
    stand_say("GET /ledger/1 HTTP/1.1\r\nHost: h\r\n\r\n");
    stand_asked("GET /ledger/1 ");
    assert_true(stand_was_told("Fulmar-Mode: normal\r\n"));
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

static void read_only_by_hand(void **state)
{
    (void)state;
    stand_grant(ledger, 0, 7, 60000);
    atomic_store(&ledger->read_only, true);
    stand_say(COMMAND(AT("7"), ""));
    stand_hear("HTTP/1.1 503 ");
    assert_true(stand_heard("Fulmar-Problem: read-only"));
}

/* -------- keys -------- */

/* The answer to a repeat of `k1` that is not "under way" any more. */
static void repeat(const char *authority)
{
    char mem[256];
    snprintf(mem, sizeof mem,
             "POST /ledger/1 HTTP/1.1\r\nHost: h\r\nFulmar-Authority: ledger/0@%s\r\n" KEY(
                 "k1") "Content-Length: 3\r\n\r\nabc",
             authority);
    do {
        stand_say(mem);
        NET_UNTIL(&stand_net, (peer_poll(&client), stand_heard("\r\n\r\n")));
    } while (stand_heard("key-in-flight"));
}

static void a_repeat_is_answered_from_the_journal(void **state)
{
    (void)state;
    stand_grant(ledger, 0, 7, 60000);
    stand_say(COMMAND(AT("7"), KEY("k1")));
    stand_asked("POST /ledger/1 ");
    stand_answer("HTTP/1.1 201 Created\r\nX-Id: 5\r\nContent-Length: 4\r\n\r\nmade");
    stand_hear("HTTP/1.1 201 ");
    NET_UNTIL(&stand_net, (peer_poll(&client), stand_heard("made")));
    repeat("7"); /* the outcome lags: until it is there, the key is under way */
    stand_hear("HTTP/1.1 201 ");
    NET_UNTIL(&stand_net, (peer_poll(&client), stand_heard("made")));
    assert_true(stand_heard("X-Id: 5\r\n"));
    assert_int_equal(fm_counter_get(&worker.metrics.answers_replayed), 1);
    stand_nobody_asks(20);
    stand_say("POST /ledger/2 HTTP/1.1\r\nHost: h\r\n" AT("7")
                  KEY("k1") "Content-Length: 0\r\n\r\n");
    stand_hear("HTTP/1.1 422 ");
    assert_true(stand_heard("Fulmar-Problem: key-reused"));
}

static void view(uint64_t epoch, uint64_t gentle_from)
{
    struct fm_view_cell v = {.epoch = {epoch}, .gentle_from = {gentle_from}};
    fm_seats_publish_view(ledger, 0, &v);
}

/* What was done under an epoch that ended by force may be lost: another region went on without. */
static void a_repeat_of_what_may_be_lost_is_called_unknown(void **state)
{
    (void)state;
    stand_grant(ledger, 0, 7, 60000);
    stand_say(COMMAND(AT("7"), KEY("k1")));
    stand_asked("POST /ledger/1 ");
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
    repeat("7"); /* under the same epoch, whatever views say */
    stand_hear("HTTP/1.1 200 ");
    stand_grant(ledger, 0, 9, 60000); /* taken away, and moved back */
    view(7, 2);
    repeat("9"); /* how 7 ended is not known here yet */
    stand_hear("HTTP/1.1 421 ");
    assert_true(stand_heard("Fulmar-Problem: moving"));
    view(9, 8);
    repeat("9");
    stand_hear("HTTP/1.1 409 ");
    assert_true(stand_heard("outcome-unknown"));
    view(9, 7); /* by release, each of them */
    repeat("9");
    stand_hear("HTTP/1.1 200 ");
    stand_nobody_asks(20);
}

static void an_answer_that_was_decoded_is_not_kept(void **state)
{
    (void)state;
    stand_grant(ledger, 0, 7, 60000);
    stand_say("POST /ledger/1 HTTP/1.0\r\nHost: h\r\n" AT("7")
                  KEY("k1") "Content-Length: 3\r\n\r\nabc");
    stand_asked("POST /ledger/1 ");
    stand_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nmade\r\n0\r\n\r\n");
    stand_hear("HTTP/1.1 200 ");
    repeat("7"); /* of HTTP/1.1: it would have been told of chunks */
    stand_hear("HTTP/1.1 409 ");
    assert_true(stand_heard("answer-not-kept"));
}

static void an_outcome_that_nobody_saw_is_called_unknown(void **state)
{
    (void)state;
    stand_grant(ledger, 0, 7, 60000);
    stand_say(COMMAND(AT("7"), KEY("k1")));
    stand_asked("POST /ledger/1 ");
    peer_close(&server); /* after it has read all of it */
    server.fd = -1;
    server.n = 0;
    stand_hear("HTTP/1.1 504 ");
    assert_true(stand_heard("outcome-unknown"));
    repeat("7");
    stand_hear("HTTP/1.1 409 ");
    assert_true(stand_heard("outcome-unknown"));
}

static void what_was_not_admitted_leaves_no_trace(void **state)
{
    (void)state;
    stand_say(COMMAND(AT("7"), KEY("k1")));
    stand_hear("HTTP/1.1 421 ");
    stand_grant(ledger, 0, 7, 60000);
    stand_say(COMMAND(AT("7"), KEY("k1")));
    stand_asked("POST /ledger/1 ");
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

/* A move must not take the journal for final while it will still say something. */
static void who_leaves_is_in_flight_until_the_journal_has_settled_it(void **state)
{
    (void)state;
    sqlite3 *other;
    assert_int_equal(sqlite3_open(stand_journal_path(), &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    stand_grant(ledger, 0, 7, 60000);
    stand_say(COMMAND(AT("7"), KEY("k1"))); /* its intent waits for the file */
    NET_UNTIL(&stand_net, fm_seats_in_flight(ledger, 0) == 1);
    peer_reset(&client);
    client.fd = -1;
    net_turn_ms(&stand_net, 50);
    assert_int_equal(fm_seats_in_flight(ledger, 0), 1);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    NET_UNTIL(&stand_net, fm_seats_in_flight(ledger, 0) == 0);
    stand_say(COMMAND(AT("7"), KEY("k1"))); /* it was withdrawn, and that is durable */
    stand_asked("POST /ledger/1 ");
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

static void a_key_that_is_none_is_refused(void **state)
{
    (void)state;
    stand_grant(ledger, 0, 7, 60000);
    stand_say(COMMAND(AT("7"), KEY("a b\x01")));
    stand_hear("HTTP/1.1 400 ");
}

#define T(f) stand_gate(f)
#define FREEZE                                                                                     \
    "POST /cards/4711/freeze HTTP/1.1\r\nHost: h\r\nFulmar-Mode: override\r\n"                     \
    "Fulmar-Authority: cards/3@0\r\nContent-Length: 0\r\n\r\n"

static void an_override_is_looked_at_again_and_written_down(void **state)
{
    (void)state;
    stand_say(FREEZE);
    stand_hear("HTTP/1.1 421 ");
    fm_seats_publish_lapsed(cards, 3, true);
    stand_say(FREEZE);
    stand_asked("POST /cards/4711/freeze ");
    assert_true(stand_was_told("Fulmar-Mode: override\r\n"));
    assert_false(stand_was_told("Fulmar-Authority"));
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
    assert_int_equal(fm_counter_get(&worker.metrics.overrides), 1);
    assert_int_equal(fm_counter_get(&fm_journal_stats(journal)->batches) > 0, true);
    /* only on the route that says so */
    stand_say("POST /cards/4711/pay HTTP/1.1\r\nHost: h\r\nFulmar-Mode: override\r\n"
              "Content-Length: 0\r\n\r\n");
    stand_hear("HTTP/1.1 421 ");
}

#define CLOSE                                                                                      \
    "POST /tills/close HTTP/1.1\r\nHost: h\r\nFulmar-Mode: override\r\n"                           \
    "Fulmar-Authority: tills/3@0\r\nContent-Length: 15\r\n\r\n{\"till\":\"4711\"}"

static void an_override_of_what_is_named_in_the_body(void **state)
{
    (void)state;
    stand_say(CLOSE);
    stand_hear("HTTP/1.1 421 ");
    fm_seats_publish_lapsed(tills, 2, true); /* another one */
    stand_say(CLOSE);
    stand_hear("HTTP/1.1 421 ");
    fm_seats_publish_lapsed(tills, 3, true);
    stand_say(CLOSE);
    stand_asked("POST /tills/close ");
    assert_true(stand_was_told("Fulmar-Mode: override\r\n"));
    assert_false(stand_was_told("Fulmar-Authority"));
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
    assert_int_equal(fm_counter_get(&worker.metrics.overrides), 1);
}

FM_TEST_MAIN(T(nothing_begins_without_a_grant), T(under_a_grant_it_goes_to_the_application),
             T(under_a_closed_grant_commands_wait), T(another_epoch_is_refused),
             T(a_success_is_not_told_when_the_grant_ran_out),
             T(nothing_is_sent_when_the_grant_ran_out_before_there_was_a_connection),
             T(an_edge_that_means_another_cell_looks_again),
             T(what_the_edge_sends_as_a_command_is_not_taken_for_less),
             T(queries_say_what_the_application_may_do), T(read_only_by_hand),
             T(a_repeat_is_answered_from_the_journal),
             T(a_repeat_of_what_may_be_lost_is_called_unknown),
             T(an_answer_that_was_decoded_is_not_kept),
             T(an_outcome_that_nobody_saw_is_called_unknown),
             T(what_was_not_admitted_leaves_no_trace),
             T(who_leaves_is_in_flight_until_the_journal_has_settled_it),
             T(a_key_that_is_none_is_refused), T(an_override_is_looked_at_again_and_written_down),
             T(an_override_of_what_is_named_in_the_body))
