/* What is queued goes to who holds it: in order, under its epoch, and never twice by our doing. The
 * journal is a real one; the gates are models of one, which the tests tell what to answer. */
#include "desk.h"
#include "gates.h"

#include "agent/deliver.h"
#include "base/log.h"
#include "base/rand.h"
#include "core/delivery.h"
#include "core/keygate.h"
#include "proxy/queued.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEYS_MAX = 600 };

static struct desk desk;
static struct gate west, north; /* ours, and the other's */
static struct gate north2;      /* its second, where it has one */
static struct fm_deliver *deliver;
static struct fm_resolver *resolver;
static struct fm_conf *conf;
static struct fm_view_doc doc;
static bool has_doc;

/* -------- the view -------- */

static const struct fm_view_doc *view(void *user)
{
    (void)user;
    return has_doc ? &doc : NULL;
}

/* Who holds cell `n` of the ledger. */
static void holds(unsigned n, const char *region, uint64_t epoch, uint64_t gentle_from)
{
    if (!has_doc) {
        fm_view_doc_init(&doc, FM_STR("bank"));
        assert_non_null(fm_view_doc_add(&doc, FM_STR("ledger"), 4));
        has_doc = true;
    }
    fm_view_doc_find(&doc, FM_STR("ledger"))->cell[n].c =
        (struct fm_view_cell){.region = fm_view_doc_region(&doc, fm_str_z(region)),
                              .epoch = {epoch},
                              .gentle_from = {gentle_from}};
    fm_deliver_look(deliver);
}

/* -------- the agent -------- */

static const char text[] =
    "fulmar: 1\nservice: bank\nedge: {listen: [{address: \"127.0.0.1:1\"}]}\npeer-tls: plaintext\n"
    "coordination: {sqlite: /tmp/none.db}\n"
    "hosts:\n"
    "  w: {region: west, roles: [gate, health, controller, coordination], address: 127.0.0.1, "
    "gate: \"127.0.0.1:%u\", peer: \"127.0.0.1:2\", admin: \"127.0.0.1:3\"}\n"
    "  n: {region: north, roles: [gate, health, controller], address: 127.0.0.1, "
    "gate: \"127.0.0.1:%u\", peer: \"127.0.0.1:5\", admin: \"127.0.0.1:6\"}\n"
    "%s"
    "regions: {west: {apps: [\"127.0.0.1:7\"]}, north: {apps: [\"127.0.0.1:8\"]}}\n"
    "contexts: {ledger: {topology: affinity, cells: 4, key: {path: id}, routes: [\"/{id}/**\"], "
    "needs: [], idempotency: {key: optional, by: %s}, when-away: {commands: queue}}}\n";

static void load(const char *by)
{
    char mem[2048], second[256] = "";
    if (north2.port)
        snprintf(second, sizeof second,
                 "  n2: {region: north, roles: [gate, health], address: 127.0.0.1, "
                 "gate: \"127.0.0.1:%u\", peer: \"127.0.0.1:9\", admin: \"127.0.0.1:10\"}\n",
                 north2.port);
    struct fm_conf_report r;
    fm_conf_report_init(&r);
    int n = snprintf(mem, sizeof mem, text, west.port, north.port, second, by);
    conf = fm_conf_parse(fm_str(mem, (size_t)n), "t.yaml", &r);
    for (size_t i = 0; i < r.n && !conf; i++)
        print_message("%s\n", r.finding[i].what);
    assert_non_null(conf);
    fm_conf_report_deinit(&r);
}

static const struct fm_peers plain;

static void start(void)
{
    struct fm_error e;
    struct fm_deliver_config c = {.loop = &desk.net.loop,
                                  .mailbox = &desk.box,
                                  .resolver = resolver,
                                  .journal = desk.j,
                                  .region = 0,
                                  .view = view};
    resolver = fm_resolver_new(&desk.box, &e);
    assert_non_null(resolver);
    c.resolver = resolver;
    deliver = fm_deliver_new(&c, conf, &plain, &e);
    assert_non_null(deliver);
}

/* As an agent ends; the journal stays closed. */
static void stop(void)
{
    fm_deliver_stop(deliver);
    fm_journal_close(desk.j);
    desk.j = NULL;
    for (unsigned i = 0; i < 20; i++)
        fm_loop_turn(&desk.net.loop, FM_NS_PER_MS);
    fm_resolver_free(resolver);
    fm_deliver_free(deliver);
    deliver = NULL;
}

static void restart(void)
{
    stop();
    desk_start(&desk);
    start();
}

static struct act done(const struct asked *a)
{
    (void)a;
    return (struct act){.status = 200, .headers = ""};
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    fm_log_set_level(FM_LOG_ERROR);
    desk_open(&desk, NULL);
    desk_start(&desk);
    west = north = north2 = (struct gate){.region = ""};
    gate_open(&west, &desk.net.loop, "west");
    gate_open(&north, &desk.net.loop, "north");
    gate_reset();
    load("gate");
    start();
    return rc;
}

static int teardown(void **state)
{
    stop();
    gate_shut(&west, &desk.net.loop);
    gate_shut(&north, &desk.net.loop);
    gate_shut(&north2, &desk.net.loop);
    fm_conf_free(conf);
    if (has_doc)
        fm_view_doc_deinit(&doc);
    has_doc = false;
    desk_start(&desk);
    desk_close(&desk);
    return fm_test_fds_after(state);
}

static void by_app(void)
{
    stop();
    fm_conf_free(conf);
    load("app");
    desk_start(&desk);
    start();
}

/* Turn, and let time pass quickly where nothing happens but rests. */
#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        int64_t end_ = net_patience();                                                             \
        while (!(condition)) {                                                                     \
            if (net_is_over(end_))                                                                 \
                fail_msg("never: %s (asked: %s)", #condition, gate_said);                          \
            fm_loop_turn(&desk.net.loop, FM_NS_PER_MS);                                            \
            net_skip_ms(20);                                                                       \
        }                                                                                          \
    } while (0)

static uint64_t token[2000];

/* Keep a command of cell 3; its key is its client's, unless it begins with "made". */
static uint64_t keep(const char *lane, const char *key, const char *body)
{
    char parcel[512];
    struct fm_journal_call c = desk_command(&desk, key, key);
    struct fm_buf head = fm_buf(parcel + 256, 256), b = fm_buf(parcel, 256);
    bool made = strncmp(key, "made", 4) == 0;
    fm_buf_printf(&head, "POST /%s/pay HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n", lane,
                  strlen(body));
    if (!made)
        fm_buf_printf(&head, "Idempotency-Key: %s\r\n", key);
    fm_parcel_begin(&b, !made, head.n);
    fm_buf_add(&b, head.p, head.n);
    fm_buf_str_add(&b, fm_str_z(body));
    assert_false(b.full || head.full);
    c.op = FM_JOURNAL_ENQUEUE;
    c.command.lane = fm_str_z(lane);
    c.command.facts.epoch = 0;
    c.command.request = fm_buf_str(&b);
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_int_equal(c.decision.action, FM_IDEM_RECORD);
    assert_true(c.seq < FM_COUNT(token));
    token[c.seq] = c.token;
    return c.seq;
}

static enum fm_queue_state state_of(uint64_t id, unsigned *status)
{
    struct fm_journal_call c = desk_call(&desk, FM_JOURNAL_ASK);
    c.seq = id;
    c.token = token[id];
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    *status = c.queued.status;
    return c.queued.state;
}

/* It is over with this status; 0: unknown. */
static void ends_as(uint64_t id, unsigned status)
{
    unsigned got;
    UNTIL(state_of(id, &got) == FM_QUEUE_DELIVERED);
    assert_int_equal(got, status);
}

static json_int_t number(const char *name)
{
    json_t *o = fm_deliver_json(deliver);
    json_int_t n = json_integer_value(json_object_get(o, name));
    json_decref(o);
    return n;
}

/* -------- where it goes -------- */

static void it_goes_to_who_holds_it_under_its_epoch(void **state)
{
    (void)state;
    uint64_t id = keep("alice", "k1", "abc");
    holds(3, "north", 7, 7);
    ends_as(id, 200);
    assert_int_equal(gate_nasked, 1);
    assert_string_equal(gate_asked[0].region, "north");
    assert_string_equal(gate_asked[0].key, "k1");
    assert_string_equal(gate_asked[0].authority, "ledger/3@7");
    assert_string_equal(gate_asked[0].body, "abc");
    assert_int_equal(gate_asked[0].first, 0);
    assert_true(gate_asked[0].has_deadline);
    UNTIL(number("waiting") == 0);
    assert_int_equal(number("delivered"), 1);
    id = keep("alice", "k2", "");
    holds(3, "west", 8, 7); /* and to ourselves */
    ends_as(id, 200);
    assert_string_equal(gate_asked[1].region, "west");
    assert_string_equal(gate_asked[1].authority, "ledger/3@8");
}

static void while_nobody_holds_it_it_waits(void **state)
{
    (void)state;
    uint64_t id = keep("alice", "k1", "");
    unsigned status;
    net_turn_ms(&desk.net, 20);
    net_skip_ms(1000);
    net_turn_ms(&desk.net, 20);
    assert_int_equal(state_of(id, &status), FM_QUEUE_READY);
    holds(3, "north", 7, 7);
    doc.context[0].cell[3].c.released = true; /* on its way */
    net_skip_ms(1000);
    net_turn_ms(&desk.net, 20);
    assert_int_equal(gate_nasked, 0);
    UNTIL(number("waiting") == 1);
    holds(3, "north", 8, 7);
    ends_as(id, 200);
}

static void news_of_the_view_count_at_once(void **state)
{
    (void)state;
    uint64_t id = keep("alice", "k1", "");
    UNTIL(number("waiting") == 1);
    holds(3, "north", 7, 7);
    NET_UNTIL(&desk.net, gate_nasked == 1); /* without any time passing but that of the machine */
    ends_as(id, 200);
}

/* -------- order -------- */

static void it_is_in_order_within_a_lane(void **state)
{
    (void)state;
    uint64_t last = 0;
    char key[16];
    for (unsigned i = 0; i < 30; i++) {
        snprintf(key, sizeof key, "a%u", i);
        last = keep("alice", key, "");
    }
    holds(3, "north", 7, 7);
    ends_as(last, 200);
    assert_int_equal(gate_nasked, 30);
    for (unsigned i = 0; i < 30; i++) {
        snprintf(key, sizeof key, "a%u", i);
        assert_string_equal(gate_asked[i].key, key);
    }
}

static unsigned most, now;

static struct act hold_all(const struct asked *a)
{
    (void)a;
    now++;
    most = now > most ? now : most;
    return (struct act){.hold = true};
}

static void so_many_at_once_and_not_more(void **state)
{
    (void)state;
    char lane[16];
    most = now = 0;
    gate_script = hold_all;
    for (unsigned i = 0; i < 20; i++) {
        snprintf(lane, sizeof lane, "l%u", i);
        keep(lane, lane, "");
    }
    holds(3, "north", 7, 7);
    NET_UNTIL(&desk.net, most == FM_DELIVER_LANES);
    net_turn_ms(&desk.net, 30);
    assert_int_equal(most, FM_DELIVER_LANES);
    assert_int_equal(number("in_flight"), FM_DELIVER_LANES);
}

/* -------- several gates -------- */

static bool is_of_second(const char *key)
{
    const struct fm_keygate g[] = {{FM_STR("n"), fm_keygate_id(FM_STR("n"))},
                                   {FM_STR("n2"), fm_keygate_id(FM_STR("n2"))}};
    return fm_keygate_of(g, 2, fm_keygate_key(FM_STR("ledger"), fm_str_z(key))) == 1;
}

/* Under which key its gate writes it down, where it has none. */
static const char *made_key(uint64_t id)
{
    static char key[FM_TICKET_KEY_MAX];
    struct fm_buf b = fm_buf(key, sizeof key - 1);
    struct fm_ticket t = {FM_STR("west"), id, token[id]};
    fm_ticket_key(&b, &t);
    key[b.n] = 0;
    return key;
}

static void second_gate(void)
{
    stop();
    gate_open(&north2, &desk.net.loop, "north2");
    fm_conf_free(conf);
    load("gate");
    desk_start(&desk);
    start();
}

/* Each key goes to its gate; what a gate that is away has to get waits, and nothing else does. */
static void of_several_gates_each_key_has_one(void **state)
{
    (void)state;
    enum { EACH = 40 };
    uint64_t id[EACH];
    unsigned seconds = 0, status;
    second_gate();
    gate_shut(&north2, &desk.net.loop);
    bool second[EACH];
    for (unsigned i = 0; i < EACH; i++) {
        char lane[16], key[16];
        snprintf(lane, sizeof lane, "l%u", i);
        snprintf(key, sizeof key, "%s%u", i % 4 ? "k" : "made", i);
        id[i] = keep(lane, key, "");
        second[i] = is_of_second(i % 4 ? key : made_key(id[i]));
        seconds += second[i];
    }
    assert_true(seconds > 5 && seconds < EACH - 5);
    holds(3, "north", 7, 7);
    for (unsigned i = 0; i < EACH; i++)
        if (!second[i])
            ends_as(id[i], 200);
    assert_int_equal(gate_nasked, EACH - seconds);
    for (unsigned i = 0; i < EACH; i++)
        if (second[i])
            assert_true(state_of(id[i], &status) != FM_QUEUE_DELIVERED);
    gate_open(&north2, &desk.net.loop, "north2");
    for (unsigned i = 0; i < EACH; i++)
        ends_as(id[i], 200);
    assert_int_equal(gate_nasked, EACH);
    for (unsigned i = 0; i < EACH; i++)
        assert_string_equal(gate_asked[i].region, i < EACH - seconds ? "north" : "north2");
}

/* -------- refusals -------- */

static unsigned refusals;
static const char *refusal;
static unsigned refusal_status;

static struct act refuse_first(const struct asked *a)
{
    (void)a;
    if (refusals == 0)
        return (struct act){.status = 200, .headers = ""};
    refusals--;
    return (struct act){.status = refusal_status, .headers = refusal};
}

static void what_is_refused_comes_again_in_its_order(void **state)
{
    (void)state;
    refusals = 3;
    refusal = "Fulmar-Problem: moving\r\n";
    refusal_status = 421;
    gate_script = refuse_first;
    keep("alice", "a1", "");
    uint64_t id = keep("alice", "a2", "");
    holds(3, "north", 7, 7);
    ends_as(id, 200);
    assert_string_equal(gate_said, "a1 a1 a1 a1 a2");
    for (unsigned i = 0; i < gate_nasked; i++)
        assert_int_equal(gate_asked[i].first, 0); /* nobody can have executed it */
}

static bool is_unreachable(const char *region)
{
    json_t *o = fm_deliver_json(deliver), *list = json_object_get(o, "unreachable"), *one;
    bool yes = false;
    size_t i;
    json_array_foreach(list, i, one) yes |= strcmp(json_string_value(one), region) == 0;
    json_decref(o);
    return yes;
}

static void who_is_not_there_is_given_nothing(void **state)
{
    (void)state;
    char lane[16];
    uint64_t id[20];
    gate_shut(&north, &desk.net.loop);
    for (unsigned i = 0; i < 20; i++) {
        snprintf(lane, sizeof lane, "l%u", i);
        id[i] = keep(lane, lane, "");
    }
    holds(3, "north", 7, 7);
    UNTIL(number("waiting") == 20 && is_unreachable("north") && number("in_flight") == 0);
    uint64_t calls = fm_counter_get(&fm_journal_stats(desk.j)->calls);
    struct fm_mono since = fm_mono_now();
    for (unsigned i = 0; i < 100; i++) { /* two seconds: it is only looked at what is due */
        fm_loop_turn(&desk.net.loop, FM_NS_PER_MS);
        net_skip_ms(20);
        assert_int_equal(number("in_flight"), 0);
    }
    uint64_t looks = (uint64_t)fm_mono_sub_ms(fm_mono_now(), since) / 500 + 2;
    assert_true(fm_counter_get(&fm_journal_stats(desk.j)->calls) <= calls + looks);
    gate_open(&north, &desk.net.loop, "north");
    for (unsigned i = 0; i < 20; i++)
        ends_as(id[i], 200);
    assert_int_equal(gate_nasked, 20);
}

/* One that refuses does not hold up the others. */
static struct act refuse_bob(const struct asked *a)
{
    if (strcmp(a->key, "bob") == 0)
        return (struct act){.status = 503, .headers = "Fulmar-Problem: no-instance\r\n"};
    return (struct act){.status = 200, .headers = ""};
}

static void one_lane_that_is_refused_stops_no_other(void **state)
{
    (void)state;
    gate_script = refuse_bob;
    uint64_t bob = keep("bob", "bob", ""), alice = keep("alice", "alice", "");
    unsigned status;
    holds(3, "north", 7, 7);
    ends_as(alice, 200);
    assert_true(state_of(bob, &status) != FM_QUEUE_DELIVERED);
    gate_script = done;
    ends_as(bob, 200);
}

static void what_waits_over_there_is_asked_about_again(void **state)
{
    (void)state;
    refusals = 2;
    refusal = "Fulmar-Queued: north/1-0123456789abcdef\r\n";
    refusal_status = 202;
    gate_script = refuse_first;
    uint64_t id = keep("alice", "k", "");
    holds(3, "north", 7, 7);
    ends_as(id, 200);
    assert_int_equal(gate_nasked, 3);
}

static void an_answer_of_the_application_is_its_end(void **state)
{
    (void)state;
    refusals = 1;
    refusal = "";
    refusal_status = 202; /* its own */
    gate_script = refuse_first;
    uint64_t id = keep("alice", "k", "");
    holds(3, "north", 7, 7);
    ends_as(id, 202);
    refusals = 1;
    refusal_status = 500;
    ends_as(keep("alice", "k2", ""), 500);
    refusals = 1;
    refusal = "Fulmar-Problem: key-reused\r\n";
    refusal_status = 422;
    ends_as(keep("alice", "k3", ""), 422);
    assert_int_equal(gate_nasked, 3);
}

/* -------- doubt -------- */

static struct act hang_up_first(const struct asked *a)
{
    return a->first == 0 ? (struct act){.status = 0} : (struct act){.status = 201, .headers = ""};
}

/* Rule 20: it may have been executed, and says under which epoch. */
static void without_an_answer_it_says_that_it_was_sent(void **state)
{
    (void)state;
    gate_script = hang_up_first;
    uint64_t id = keep("alice", "k", "");
    holds(3, "north", 7, 7);
    ends_as(id, 201);
    assert_int_equal(gate_nasked, 2);
    assert_int_equal(gate_asked[1].first, 7);
    assert_string_equal(gate_asked[1].authority, "ledger/3@7");
}

static struct act hang_up(const struct asked *a)
{
    (void)a;
    return (struct act){.status = 0};
}

static void across_a_failover_it_says_under_which_epoch(void **state)
{
    (void)state;
    gate_script = hang_up;
    uint64_t id = keep("alice", "k", "");
    holds(3, "north", 7, 7);
    UNTIL(gate_nasked == 1);
    holds(3, "west", 9, 7); /* a planned move: journals came along */
    UNTIL(gate_nasked >= 2 && strcmp(gate_asked[gate_nasked - 1].region, "west") == 0);
    assert_int_equal(gate_asked[gate_nasked - 1].first, 9);
    unsigned before = gate_nasked;
    holds(3, "west", 11, 11); /* by force */
    UNTIL(gate_nasked > before &&
          strcmp(gate_asked[gate_nasked - 1].authority, "ledger/3@11") == 0);
    assert_int_equal(gate_asked[gate_nasked - 1].first, 7);
    refusals = 1;
    refusal = "Fulmar-Problem: outcome-unknown\r\n";
    refusal_status = 409;
    gate_script = refuse_first;
    ends_as(id, 0);
}

static void by_gate_an_unknown_outcome_is_its_end(void **state)
{
    (void)state;
    refusals = 1;
    refusal = "Fulmar-Problem: outcome-unknown\r\n";
    refusal_status = 504;
    gate_script = refuse_first;
    uint64_t id = keep("alice", "k", "");
    uint64_t next = keep("alice", "k2", "");
    holds(3, "north", 7, 7);
    ends_as(id, 0);
    ends_as(next, 200);
    assert_string_equal(gate_said, "k k2");
    assert_int_equal(number("unknown"), 1);
}

static void by_app_it_is_asked_again_and_not_for_ever(void **state)
{
    (void)state;
    by_app();
    refusals = 3;
    refusal = "Fulmar-Problem: timeout\r\n";
    refusal_status = 504;
    gate_script = refuse_first;
    uint64_t id = keep("alice", "k", "");
    holds(3, "north", 7, 7);
    ends_as(id, 200);
    assert_int_equal(gate_nasked, 4);
    refusals = 1000;
    ends_as(keep("alice", "k2", ""), 0);
    assert_int_equal(gate_nasked, 4 + FM_DELIVERY_TRIES_MAX + 1);
    refusals = 1; /* a key that was made for it: only the gate's journal knows that */
    ends_as(keep("alice", "made-1", ""), 0);
}

static void a_success_of_an_epoch_that_ended_by_force_is_unknown(void **state)
{
    (void)state;
    gate_script = hold_all;
    most = now = 0;
    uint64_t id = keep("alice", "k", "");
    holds(3, "north", 7, 7);
    UNTIL(gate_held);
    holds(3, "west", 9, 9);
    fm_http_conn_answer(gate_held, 200, FM_STR("text/plain"), FM_STR(""), FM_STR(""));
    gate_held = NULL;
    ends_as(id, 0);
}

/* -------- restarts -------- */

static void a_restart_in_between_says_that_it_was_sent(void **state)
{
    (void)state;
    gate_script = hold_all;
    most = now = 0;
    uint64_t id = keep("alice", "k", "");
    uint64_t next = keep("alice", "k2", "");
    holds(3, "north", 7, 7);
    UNTIL(gate_held);
    restart();
    gate_script = done;
    fm_deliver_look(deliver);
    ends_as(id, 200);
    ends_as(next, 200);
    assert_string_equal(gate_said, "k k k2");
    assert_int_equal(gate_asked[1].first, 7);
    assert_int_equal(gate_asked[2].first, 0);
}

static void a_reload_cuts_nothing(void **state)
{
    (void)state;
    struct fm_error e;
    gate_script = hold_all;
    most = now = 0;
    uint64_t id = keep("alice", "k", "");
    holds(3, "north", 7, 7);
    UNTIL(gate_held);
    assert_int_equal(fm_deliver_reset(deliver, conf, &plain, &e), FM_ERR_OK);
    net_turn_ms(&desk.net, 20);
    assert_int_equal(number("in_flight"), 1);
    fm_http_conn_answer(gate_held, 200, FM_STR("text/plain"), FM_STR(""), FM_STR(""));
    gate_held = NULL;
    ends_as(id, 200);
    gate_script = done;
    ends_as(keep("alice", "k2", ""), 200);
    assert_string_equal(gate_said, "k k2");
}

static void what_another_version_kept_is_left_alone(void **state)
{
    (void)state;
    struct fm_journal_call c = desk_command(&desk, "k", "k");
    c.op = FM_JOURNAL_ENQUEUE;
    c.command.lane = FM_STR("alice");
    c.command.request = FM_STR("\x02nobody knows");
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    token[c.seq] = c.token;
    unsigned status;
    fm_log_set_level(FM_LOG_OFF);
    holds(3, "north", 7, 7);
    UNTIL(number("in_flight") == 1);
    uint64_t id = keep("bob", "b", "");
    ends_as(id, 200);
    assert_true(state_of(c.seq, &status) != FM_QUEUE_DELIVERED);
    assert_string_equal(gate_said, "b");
}

/* -------- all of it at once -------- */

/* A gate with its journal: each key is executed once, and its answer can be asked for again. */
static struct {
    char key[16];
    unsigned executed;
} known[KEYS_MAX];
static unsigned nknown, trouble;
static struct fm_rand dice;
static char order[8][KEYS_MAX * 8]; /* of execution, by lane */

static struct act model(const struct asked *a)
{
    unsigned k = 0;
    struct act answer = {.status = 200, .headers = ""};
    while (k < nknown && strcmp(known[k].key, a->key) != 0)
        k++;
    unsigned die = fm_rand_below(&dice, 20);
    trouble += die < 7;
    if (die < 4)
        return (struct act){.status = 421, .headers = "Fulmar-Problem: moving\r\n"};
    if (die == 4) /* before it was recorded */
        return (struct act){.status = 0};
    if (k == nknown) {
        assert_true(nknown < KEYS_MAX);
        snprintf(known[nknown++].key, sizeof known[0].key, "%s", a->key);
        known[k].executed++;
        unsigned lane = (unsigned)(a->key[0] - 'a');
        size_t n = strlen(order[lane]);
        snprintf(order[lane] + n, sizeof order[lane] - n, "%s ", a->key);
    }
    return die <= 6 ? (struct act){.status = 0} : answer; /* executed, and not answered */
}

static void in_spite_of_everything_each_is_executed_once_and_in_order(void **state)
{
    (void)state;
    enum { LANES = 8, EACH = 25 };
    uint64_t last[LANES];
    char key[16], lane[2] = "a", wanted[KEYS_MAX * 8];
    nknown = trouble = 0;
    memset(order, 0, sizeof order);
    dice.state = 4711;
    gate_script = model;
    for (unsigned i = 0; i < EACH; i++)
        for (unsigned l = 0; l < LANES; l++) {
            lane[0] = (char)('a' + l);
            snprintf(key, sizeof key, "%s%u", lane, i);
            last[l] = keep(lane, key, "");
        }
    holds(3, "north", 7, 7);
    for (unsigned i = 0; i < 3; i++) { /* and the agent dies now and then */
        UNTIL(nknown > (i + 1) * LANES * EACH / 5);
        restart();
        gate_said[0] = 0;
    }
    for (unsigned l = 0; l < LANES; l++)
        ends_as(last[l], 200);
    assert_int_equal(nknown, LANES * EACH);
    assert_true(trouble > LANES * EACH / 4);
    for (unsigned l = 0; l < LANES; l++) {
        struct fm_buf b = fm_buf(wanted, sizeof wanted - 1);
        for (unsigned i = 0; i < EACH; i++)
            fm_buf_printf(&b, "%c%u ", (char)('a' + l), i);
        wanted[b.n] = 0;
        assert_string_equal(order[l], wanted);
    }
    for (unsigned k = 0; k < nknown; k++)
        assert_int_equal(known[k].executed, 1);
}

static void it_says_how_much_waits(void **state)
{
    (void)state;
    keep("alice", "k1", "");
    keep("alice", "k2", "");
    UNTIL(number("waiting") == 2);
    json_t *o = fm_deliver_json(deliver);
    assert_true(json_is_string(json_object_get(o, "oldest_at")));
    json_decref(o);
    char *metrics = strdup("x\n");
    size_t n = 2;
    assert_true(fm_deliver_metrics(deliver, &metrics, &n));
    char *whole = strndup(metrics, n);
    assert_true(strncmp(whole, "x\n# HELP fulmar_agent_queue_waiting ", 36) == 0);
    assert_non_null(strstr(whole, "\nfulmar_agent_queue_waiting 2\n"));
    assert_non_null(strstr(whole, "\nfulmar_agent_queue_delivered_total 0\n"));
    free(whole);
    free(metrics);
}

#define T(f) fm_test_with(f, setup, teardown)

FM_TEST_MAIN(T(it_goes_to_who_holds_it_under_its_epoch), T(while_nobody_holds_it_it_waits),
             T(news_of_the_view_count_at_once), T(it_is_in_order_within_a_lane),
             T(so_many_at_once_and_not_more), T(of_several_gates_each_key_has_one),
             T(what_is_refused_comes_again_in_its_order), T(who_is_not_there_is_given_nothing),
             T(one_lane_that_is_refused_stops_no_other),
             T(what_waits_over_there_is_asked_about_again),
             T(an_answer_of_the_application_is_its_end),
             T(without_an_answer_it_says_that_it_was_sent),
             T(across_a_failover_it_says_under_which_epoch),
             T(by_gate_an_unknown_outcome_is_its_end), T(by_app_it_is_asked_again_and_not_for_ever),
             T(a_success_of_an_epoch_that_ended_by_force_is_unknown),
             T(a_restart_in_between_says_that_it_was_sent), T(a_reload_cuts_nothing),
             T(what_another_version_kept_is_left_alone),
             T(in_spite_of_everything_each_is_executed_once_and_in_order),
             T(it_says_how_much_waits))
