/* Commands that are kept for later: at a gate, which keeps them and lets them through when they are
 * delivered, and at an edge, which sends them there and asks what became of them. */
#include "stand.h"

#include "proxy/queued.h"

#include <stdio.h>

#define QUEUE "Fulmar-Mode: queue\r\n"
#define LATER(more)                                                                                \
    "POST /ledger/later/1 HTTP/1.1\r\nHost: h\r\n" more "Content-Length: 3\r\n\r\nabc"
#define CARD(more)                                                                                 \
    "POST /cards/4711/later HTTP/1.1\r\nHost: h\r\n" more "Content-Length: 3\r\n\r\nabc"

/* Say, hear this, and the ticket behind `name`. */
static const char *hear_ticket(const char *begin, const char *name)
{
    static char ticket[FM_TICKET_LEN_MAX + 1];
    stand_hear(begin);
    NET_UNTIL(&stand_net, (peer_poll(&client), memmem(client.in, client.n, "}\n", 2)));
    const char *at = memmem(client.in, client.n, name, strlen(name));
    if (!at)
        fail_msg("no `%s` in %.*s", name, (int)client.n, client.in);
    at += strlen(name);
    const char *end = memchr(at, '\r', client.n - (size_t)(at - client.in));
    assert_non_null(end);
    assert_true((size_t)(end - at) < sizeof ticket);
    snprintf(ticket, sizeof ticket, "%.*s", (int)(end - at), at);
    return ticket;
}

static const char *queued(const char *request)
{
    stand_say(request);
    return hear_ticket("HTTP/1.1 202 ", "Location: " FM_QUEUED_PATH);
}

static void ask_place(const char *ticket, const char *begin)
{
    char request[256];
    snprintf(request, sizeof request, "GET " FM_QUEUED_PATH "%s HTTP/1.1\r\nHost: h\r\n\r\n",
             ticket);
    stand_say(request);
    stand_hear(begin);
    NET_UNTIL(&stand_net, (peer_poll(&client), memmem(client.in, client.n, "}", 1)));
}

/* What an agent would send; `first` as text. */
static void deliver(const char *request, const char *authority, const char *ticket,
                    const char *first)
{
    char text[512];
    const char *end = strstr(request, "Content-Length");
    snprintf(text, sizeof text, "%.*sFulmar-Queued: %s@%s\r\n%s%s", (int)(end - request), request,
             ticket, first, authority, end);
    stand_say(text);
}

/* -------- a gate keeps it -------- */

static void what_is_to_be_queued_is_kept_and_not_executed(void **state)
{
    (void)state;
    char ticket[FM_TICKET_LEN_MAX + 1];
    snprintf(ticket, sizeof ticket, "%s", queued(LATER(QUEUE KEY("k1"))));
    assert_true(strncmp(ticket, "west/", 5) == 0);
    assert_true(stand_heard("Fulmar-Region: west\r\n"));
    assert_true(stand_heard("Fulmar-Queued: west/"));
    assert_true(stand_heard("\"state\":\"waiting\",\"status\":null"));
    assert_int_equal(fm_counter_get(&worker.metrics.queued), 1);
    assert_int_equal(fm_counter_get(&worker.metrics.admitted), 0);
    ask_place(ticket, "HTTP/1.1 200 ");
    assert_true(stand_heard("\"state\":\"waiting\""));
    assert_true(stand_heard("Cache-Control: no-store\r\n"));
    /* the same once more has the same place, also from a client who comes directly */
    assert_string_equal(queued(LATER(QUEUE KEY("k1"))), ticket);
    stand_grant(ledger, 0, 7, 60000);
    assert_string_equal(queued(LATER(AT("7") KEY("k1"))), ticket);
    assert_int_equal(fm_counter_get(&worker.metrics.queued), 1);
    stand_say(LATER(QUEUE KEY("k1") "X: 1\r\n")); /* a field is no part of the request */
    stand_hear("HTTP/1.1 202 ");
    stand_say(
        "POST /ledger/later/2 HTTP/1.1\r\nHost: h\r\n" QUEUE KEY("k1") "Content-Length: 0\r\n\r\n");
    stand_hear("HTTP/1.1 422 ");
    stand_nobody_asks(20);
}

static void without_a_key_each_is_its_own(void **state)
{
    (void)state;
    char first[FM_TICKET_LEN_MAX + 1];
    snprintf(first, sizeof first, "%s", queued(LATER(QUEUE)));
    assert_true(strcmp(first, queued(LATER(QUEUE))) != 0);
    snprintf(first, sizeof first, "%s", queued(CARD(QUEUE KEY("k")))); /* by app the same */
    assert_string_equal(first, queued(CARD(QUEUE KEY("k"))));
    assert_true(strcmp(first, queued(CARD(QUEUE))) != 0);
}

static void only_where_the_route_says_so(void **state)
{
    (void)state;
    stand_say("POST /ledger/1 HTTP/1.1\r\nHost: h\r\n" QUEUE "Content-Length: 0\r\n\r\n");
    stand_hear("HTTP/1.1 421 ");
    stand_say(LATER("")); /* and only if the edge asks for it */
    stand_hear("HTTP/1.1 421 ");
    atomic_store(&ledger->read_only, true);
    stand_say(LATER(QUEUE));
    stand_hear("HTTP/1.1 503 ");
    assert_true(stand_heard("Fulmar-Problem: read-only"));
}

static void what_is_too_large_to_be_kept_is_refused(void **state)
{
    (void)state;
    stand_say("POST /ledger/later/1 HTTP/1.1\r\nHost: h\r\n" QUEUE "Content-Length: 70000\r\n\r\n");
    stand_hear("HTTP/1.1 503 ");
    assert_true(stand_heard("Fulmar-Problem: read-only"));
}

static void a_full_queue_says_so(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++)
        (void)queued(LATER(QUEUE));
    stand_say(LATER(QUEUE));
    stand_hear("HTTP/1.1 503 ");
    assert_true(stand_heard("Fulmar-Problem: overloaded"));
    assert_true(stand_heard("Retry-After: "));
}

static void a_place_of_nobody(void **state)
{
    (void)state;
    char other[FM_TICKET_LEN_MAX + 1], text[256];
    snprintf(other, sizeof other, "%s", queued(LATER(QUEUE)));
    size_t last = strlen(other) - 1;
    other[last] = other[last] == '0' ? '1' : '0'; /* guessed */
    ask_place(other, "HTTP/1.1 404 ");
    assert_true(stand_heard("urn:fulmar:not-queued"));
    ask_place("west/999-0123456789abcdef", "HTTP/1.1 404 ");
    ask_place("north/1-0123456789abcdef", "HTTP/1.1 404 "); /* another gate's */
    ask_place("nowhere", "HTTP/1.1 404 ");
    snprintf(text, sizeof text,
             "POST " FM_QUEUED_PATH "%s HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", other);
    stand_say(text);
    stand_hear("HTTP/1.1 404 ");
    assert_true(stand_heard("urn:fulmar:no-route"));
    stand_say("GET /ledger/../.well-known/fulmar/other HTTP/1.1\r\nHost: h\r\n\r\n");
    stand_hear("HTTP/1.1 404 ");
}

/* -------- and lets it through -------- */

static void its_delivery_passes_its_own_place(void **state)
{
    (void)state;
    char ticket[FM_TICKET_LEN_MAX + 1];
    snprintf(ticket, sizeof ticket, "%s", queued(LATER(QUEUE KEY("k1"))));
    deliver(LATER(KEY("k1")), AT("7"), ticket, "0"); /* not admitted: it stays where it is */
    stand_hear("HTTP/1.1 421 ");
    stand_grant(ledger, 0, 7, 60000);
    deliver(LATER(KEY("k1")), AT("7"), ticket, "0");
    stand_asked("POST /ledger/later/1 ");
    assert_true(stand_was_told("Idempotency-Key: k1\r\n"));
    assert_true(stand_was_told("Fulmar-Mode: normal\r\n"));
    assert_true(stand_was_told("Fulmar-Authority: ledger/0@7"));
    assert_false(stand_was_told("Fulmar-Queued"));
    stand_answer(
        "HTTP/1.1 201 Created\r\nFulmar-Queued: north/1-0\r\nContent-Length: 4\r\n\r\nmade");
    stand_hear("HTTP/1.1 201 ");
    assert_false(stand_heard("Fulmar-Queued"));
}

/* Its number in the queue stands for the key that it does not have. */
static void a_delivery_without_a_key_is_executed_once(void **state)
{
    (void)state;
    char ticket[FM_TICKET_LEN_MAX + 1];
    snprintf(ticket, sizeof ticket, "%s", queued(CARD(QUEUE)));
    stand_grant(cards, 3, 7, 60000);
    deliver(CARD(""), "Fulmar-Authority: cards/3@7\r\n", ticket, "0");
    stand_asked("POST /cards/4711/later ");
    assert_false(stand_was_told("Idempotency-Key"));
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
    do { /* its answer was lost, and it comes once more; the outcome lags */
        deliver(CARD(""), "Fulmar-Authority: cards/3@7\r\n", ticket, "7");
        NET_UNTIL(&stand_net, (peer_poll(&client), stand_heard("\r\n\r\n")));
    } while (stand_heard("key-in-flight"));
    stand_hear("HTTP/1.1 200 ");
    stand_nobody_asks(20);
    assert_int_equal(fm_counter_get(&worker.metrics.answers_replayed), 1);
}

/* Rule 20: an earlier region may have executed it, and did not leave its journal. */
static void a_delivery_that_was_made_elsewhere_is_not_made_again(void **state)
{
    (void)state;
    stand_grant(cards, 3, 9, 60000);
    deliver(CARD(""), "Fulmar-Authority: cards/3@9\r\n", "north/5-0123456789abcdef", "7");
    stand_hear("HTTP/1.1 409 ");
    assert_true(stand_heard("Fulmar-Problem: outcome-unknown"));
    stand_nobody_asks(20);
    deliver(CARD(""), "Fulmar-Authority: cards/3@9\r\n", "north/5-0123456789abcdef", "9");
    stand_asked("POST /cards/4711/later "); /* under this epoch it was not recorded, so not made */
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
}

/* The delivery of another region meets a key that waits here as well: this one goes first. */
static void a_delivery_that_waits_here_too_is_told_so(void **state)
{
    (void)state;
    char ticket[FM_TICKET_LEN_MAX + 1];
    snprintf(ticket, sizeof ticket, "%s", queued(LATER(QUEUE KEY("k1"))));
    stand_grant(ledger, 0, 7, 60000);
    deliver(LATER(KEY("k1")), AT("7"), "north/1-0123456789abcdef", "0");
    assert_string_equal(hear_ticket("HTTP/1.1 202 ", "Fulmar-Queued: "), ticket);
}

/* -------- an edge -------- */

#define KEPT                                                                                       \
    "HTTP/1.1 202 Accepted\r\nFulmar-Region: north\r\nFulmar-Queued: north/1-0123456789abcdef\r\n" \
    "Location: /.well-known/fulmar/queue/north/1-0123456789abcdef\r\nContent-Length: 0\r\n\r\n"
#define MOVING                                                                                     \
    "HTTP/1.1 421 Misdirected Request\r\nFulmar-Problem: moving\r\nContent-Length: 0\r\n\r\n"

static void after_the_hold_it_goes_into_a_queue(void **state)
{
    (void)state;
    stand_view(ledger, 0, 7, WEST, true); /* nobody has it */
    stand_say(LATER("Fulmar-Mode: queue\r\nFulmar-Queued: x\r\n"));
    stand_asked("POST /ledger/later/1 ");
    assert_true(stand_was_told("Fulmar-Mode: queue   \r\n"));
    assert_true(stand_was_told("Fulmar-Authority: ledger/0@0"));
    assert_false(stand_was_told("Fulmar-Queued")); /* what a client says of it is dropped */
    assert_true(stand_was_told("\r\n\r\nabc"));
    stand_answer(KEPT);
    stand_hear("HTTP/1.1 202 ");
    assert_true(stand_heard("Location: /.well-known/fulmar/queue/north/1-0123456789abcdef\r\n"));
    assert_false(stand_heard("Fulmar-Queued"));
    assert_int_equal(fm_counter_get(&worker.metrics.queued), 1);
}

static void who_holds_it_is_asked_first(void **state)
{
    (void)state;
    stand_view(ledger, 0, 7, WEST, false);
    stand_say(LATER(""));
    stand_asked("POST /ledger/later/1 ");
    assert_true(stand_was_told("Fulmar-Mode: normal"));
    do { /* it says that it moves, until the edge holds no longer */
        stand_answer(MOVING);
        stand_asked("POST /ledger/later/1 ");
    } while (stand_was_told("Fulmar-Mode: normal"));
    assert_true(stand_was_told("Fulmar-Mode: queue   \r\n"));
    stand_answer(KEPT);
    stand_hear("HTTP/1.1 202 ");
}

static void where_nobody_keeps_it_is_read_only(void **state)
{
    (void)state;
    stand_say(LATER(""));
    stand_asked("POST /ledger/later/1 ");
    stand_answer(MOVING); /* another version, or another file */
    stand_hear("HTTP/1.1 503 ");
    assert_true(stand_heard("urn:fulmar:read-only"));
    stand_say(CARD("")); /* of another topology the same */
    stand_asked("POST /cards/4711/later ");
    assert_true(stand_was_told("Fulmar-Authority: cards/3@0"));
    stand_answer("HTTP/1.1 503 Full\r\nFulmar-Problem: overloaded\r\nContent-Length: 0\r\n\r\n");
    stand_asked("POST /cards/4711/later "); /* by the other region: there is no holder to spare */
    stand_answer("HTTP/1.1 503 Full\r\nFulmar-Problem: overloaded\r\nContent-Length: 0\r\n\r\n");
    stand_asked("POST /cards/4711/later ");
    stand_answer("HTTP/1.1 503 Full\r\nFulmar-Problem: overloaded\r\nContent-Length: 0\r\n\r\n");
    stand_hear("HTTP/1.1 503 ");
}

/* By app it may be: its application knows the key. */
static void what_may_have_been_executed_is_queued_only_with_its_key(void **state)
{
    (void)state;
    stand_view(cards, 3, 7, WEST, false);
    stand_say(CARD(KEY("k1")));
    for (;;) { /* in its region first, as often as retries are allowed */
        stand_asked("POST /cards/4711/later ");
        if (stand_was_told("Fulmar-Mode: queue   \r\n"))
            break;
        stand_view(cards, 3, 7, WEST, true);
        server.n = 0;
        peer_reset(&server); /* after it has read all of it */
    }
    assert_true(stand_was_told("Idempotency-Key: k1\r\n"));
    stand_answer(KEPT);
    stand_hear("HTTP/1.1 202 ");
    stand_view(cards, 3, 7, WEST, false);
    stand_say(CARD(""));
    stand_asked("POST /cards/4711/later ");
    stand_view(cards, 3, 7, WEST, true);
    server.n = 0;
    peer_reset(&server);
    stand_hear("HTTP/1.1 504 ");
    assert_true(stand_heard("outcome-unknown"));
}

static void what_is_streamed_is_not_queued(void **state)
{
    (void)state;
    stand_say("POST /ledger/later/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 70000\r\n\r\n");
    stand_hear("HTTP/1.1 503 ");
    assert_true(stand_heard("urn:fulmar:read-only"));
}

static void a_place_is_asked_of_its_region(void **state)
{
    (void)state;
    stand_say("GET " FM_QUEUED_PATH "north/1-0123456789abcdef HTTP/1.1\r\nHost: h\r\n\r\n");
    stand_asked("GET " FM_QUEUED_PATH "north/1-0123456789abcdef ");
    stand_answer(STAND_OK);
    stand_hear("HTTP/1.1 200 ");
    ask_place("east/1-0123456789abcdef", "HTTP/1.1 404 ");
    ask_place("north/1", "HTTP/1.1 404 ");
    stand_say("GET " FM_QUEUED_PATH "north/2-0123456789abcdef HTTP/1.1\r\nHost: h\r\n\r\n");
    for (unsigned i = 0; i < 2; i++) { /* another gate of the region might know it */
        stand_asked("GET " FM_QUEUED_PATH "north/2-0123456789abcdef ");
        stand_answer("HTTP/1.1 404 Not Found\r\nFulmar-Problem: not-queued\r\n"
                     "Content-Length: 0\r\n\r\n");
    }
    stand_hear("HTTP/1.1 404 ");
}

#define G(f) stand_gate(f)
#define E(f) stand_edge(f)

FM_TEST_MAIN(G(what_is_to_be_queued_is_kept_and_not_executed), G(without_a_key_each_is_its_own),
             G(only_where_the_route_says_so), G(what_is_too_large_to_be_kept_is_refused),
             G(a_full_queue_says_so), G(a_place_of_nobody), G(its_delivery_passes_its_own_place),
             G(a_delivery_without_a_key_is_executed_once),
             G(a_delivery_that_was_made_elsewhere_is_not_made_again),
             G(a_delivery_that_waits_here_too_is_told_so), E(after_the_hold_it_goes_into_a_queue),
             E(who_holds_it_is_asked_first), E(where_nobody_keeps_it_is_read_only),
             E(what_may_have_been_executed_is_queued_only_with_its_key),
             E(what_is_streamed_is_not_queued), E(a_place_is_asked_of_its_region))
