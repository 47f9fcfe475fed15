/* The load generator against a server on this thread: it keeps its schedule whatever happens, tells
 * outcomes apart, and its keys are found again in what the store says. */
#include "net.h"

#include "demo/measure.h"
#include "http/server.h"

#include <stdatomic.h>
#include <stdio.h>

enum { RATE = 1000, COUNT = 200, BLOCK = 16 * 1024 };

static struct net net;
static struct fm_http_server server;
static struct fm_listener listener;
static struct fm_addr at;
static unsigned status;         /* what is answered; 0 = abort */
static unsigned seen, commands; /* what the server got */
static char keys[COUNT * 40];
static size_t keys_n;

static void on_request(struct fm_http_conn *c, const struct fm_http_head *h)
{
    struct fm_str key = fm_http_value(h, FM_HDR_IDEMPOTENCY_KEY);
    seen++;
    if (key.n) {
        commands++;
        keys_n +=
            (size_t)snprintf(keys + keys_n, sizeof keys - keys_n, "%.*s 1\n", FM_STR_ARG(key));
        assert_true(h->method == FM_METHOD_POST || h->method == FM_METHOD_PUT);
    } else {
        assert_int_equal(h->method, FM_METHOD_GET);
    }
    if (status == 0)
        fm_http_conn_abort(c);
    else
        fm_http_conn_answer(c, status, FM_STR("text/plain"), FM_STR(""), FM_STR("done\n"));
}

static void on_body(struct fm_http_conn *c, struct fm_str piece, bool last)
{
    (void)c;
    (void)piece;
    (void)last;
}

static void on_sent(struct fm_http_conn *c)
{
    (void)c;
}

static void on_failed(struct fm_http_conn *c, const struct fm_http_refusal *why)
{
    (void)c;
    (void)why;
}

static const struct fm_http_handler handler = {
    .request = on_request, .body = on_body, .sent = on_sent, .failed = on_failed};

static void accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    (void)ln;
    assert_true(fm_http_server_accept(&server, fd, from, false));
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    net_open(&net, BLOCK, 256);
    struct fm_http_server_config c = {
        .limits = FM_HTTP_LIMITS_DEFAULT, .header_ms = 60000, .idle_ms = 60000};
    c.limits.head_bytes = BLOCK;
    assert_int_equal(fm_http_server_init(&server, &net.loop, &c, &handler, NULL, NULL), FM_ERR_OK);
    assert_int_equal(fm_addr_parse(&at, FM_STR("127.0.0.1:0")), FM_ERR_OK);
    assert_int_equal(fm_listener_open(&listener, &net.loop, &at, 0, accepted, NULL), FM_ERR_OK);
    at = listener.address;
    status = 200;
    seen = commands = 0;
    keys_n = 0;
    return rc;
}

static int teardown(void **state)
{
    if (listener.loop)
        fm_listener_close(&listener);
    fm_http_server_close_all(&server);
    NET_UNTIL(&net, server.nconns == 0);
    fm_http_server_deinit(&server);
    net_close(&net);
    return fm_test_fds_after(state);
}

static enum fm_load_outcome outcome(const struct fm_load *l, size_t i)
{
    return atomic_load_explicit(&fm_load_records(l)[i].outcome, memory_order_acquire);
}

static bool settled(const struct fm_load *l)
{
    if (fm_load_count(l) < COUNT)
        return false;
    for (size_t i = 0; i < COUNT; i++)
        if (outcome(l, i) == FM_LOAD_PENDING)
            return false;
    return true;
}

/* All requests of a run, to their ends. */
static struct fm_load *whole_run(const struct fm_addr *to)
{
    struct fm_load *l = fm_load_start(to, FM_LOAD_BANK, RATE, 0xabcd, COUNT, NULL);
    assert_non_null(l);
    NET_UNTIL(&net, settled(l));
    return l;
}

static void end(struct fm_load *l)
{
    fm_load_stop(l, 1000);
    fm_load_free(l);
}

static void it_keeps_its_schedule_to_the_nanosecond(void **state)
{
    (void)state;
    struct fm_load *l = whole_run(&at);
    const struct fm_load_record *r = fm_load_records(l);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(r[i].due_ns - r[0].due_ns, (int64_t)i * FM_NS_PER_S / RATE);
        assert_true(r[i].done_ns >= r[i].due_ns);
        assert_int_equal(outcome(l, i), FM_LOAD_OK);
        assert_int_equal(r[i].status, 200);
    }
    assert_int_equal(fm_load_count(l), COUNT); /* and no more than it was given room for */
    assert_true(fm_load_worst_lag_ns(l) >= 0);
    assert_int_equal(seen, COUNT);
    end(l);
}

static void one_in_five_is_a_command_with_a_key_of_its_own(void **state)
{
    (void)state;
    struct fm_load *l = whole_run(&at);
    unsigned n = 0;
    for (size_t i = 0; i < COUNT; i++)
        n += fm_load_records(l)[i].kind != FM_LOAD_QUERY;
    assert_int_equal(n, COUNT / 5);
    assert_int_equal(commands, COUNT / 5);
    for (size_t i = 0; i < COUNT; i++) {
        char key[40], line[48];
        fm_load_key(l, i, key);
        (void)snprintf(line, sizeof line, "%s 1\n", key);
        bool found = memmem(keys, keys_n, line, strlen(line)) != NULL;
        assert_int_equal(found, fm_load_records(l)[i].kind != FM_LOAD_QUERY);
    }
    end(l);
}

static struct fm_measure effects_by(const struct fm_load *l, size_t first, const char *text,
                                    size_t n)
{
    unsigned char effects[COUNT] = {0};
    struct fm_measure m = {0};
    fm_measure_keys(l, COUNT, fm_str(text, n), effects);
    fm_measure_effects(l, first, COUNT, effects, &m);
    return m;
}

static void effects_are_found_by_their_keys(void **state)
{
    (void)state;
    struct fm_load *l = whole_run(&at);
    struct fm_measure m = effects_by(l, 0, keys, keys_n);
    assert_int_equal(m.commands_missing, 0);
    assert_int_equal(m.applied_twice, 0);
    assert_int_equal(m.debits_acknowledged, COUNT / 10);
    assert_int_equal(m.debits_there, COUNT / 10);
    assert_int_equal(m.debits_missing, 0);

    /* of others, of other runs, malformed: none of ours */
    static const char strange[] = "demo-0000abcd- 1\ndemo-0000abcd-x 1\ndemo-00000001-3 9\nmy-1 5\n"
                                  "demo-0000abcd-3\ndemo-0000abcd-99999999999 7\n\n";
    m = effects_by(l, 0, strange, strlen(strange));
    assert_int_equal(m.commands_missing, COUNT / 5);
    assert_int_equal(m.debits_missing, COUNT / 10);
    assert_int_equal(m.debits_there, 0);
    assert_int_equal(m.applied_twice, 0);

    char key[40], one[48]; /* the first command, once too often; none of the others */
    fm_load_key(l, 3, key);
    (void)snprintf(one, sizeof one, "%s 2", key);
    m = effects_by(l, 0, one, strlen(one));
    assert_int_equal(m.commands_missing, COUNT / 5 - 1);
    assert_int_equal(m.applied_twice, 1);
    m = effects_by(l, 4, one, strlen(one)); /* not in this range */
    assert_int_equal(m.applied_twice, 0);

    unsigned char effects[COUNT] = {0}; /* one in each of two stores */
    one[strlen(one) - 1] = '1';
    fm_measure_keys(l, COUNT, fm_str_z(one), effects);
    fm_measure_keys(l, COUNT, fm_str_z(one), effects);
    m = (struct fm_measure){0};
    fm_measure_effects(l, 0, COUNT, effects, &m);
    assert_int_equal(m.applied_twice, 1);
    end(l);
}

static void outcomes_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        enum fm_load_outcome outcome;
    } cases[] = {{302, FM_LOAD_OK},
                 {404, FM_LOAD_STATUS_4XX},
                 {503, FM_LOAD_STATUS_5XX},
                 {0, FM_LOAD_RESET}};
    for (size_t c = 0; c < FM_COUNT(cases); c++) {
        status = cases[c].status;
        struct fm_load *l = whole_run(&at);
        for (size_t i = 0; i < COUNT; i++)
            assert_int_equal(outcome(l, i), cases[c].outcome);
        end(l);
    }
    fm_listener_close(&listener);
    listener.loop = NULL;
    fm_http_server_close_all(&server);
    struct fm_load *l = whole_run(&at);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(outcome(l, i), FM_LOAD_CONNECT);
    end(l);
}

static void a_stall_is_not_hidden_by_waiting_politely(void **state)
{
    (void)state;
    struct fm_load *l = fm_load_start(&at, FM_LOAD_BANK, RATE, 1, COUNT, NULL);
    assert_non_null(l);
    net_sleep_ms(100); /* the server does nothing; the clients' requests are due nonetheless */
    NET_UNTIL(&net, settled(l));
    const struct fm_load_record *r = fm_load_records(l);
    assert_true(r[10].done_ns - r[10].due_ns > 50 * FM_NS_PER_MS);
    assert_int_equal(r[COUNT - 1].due_ns - r[0].due_ns, (COUNT - 1) * FM_NS_PER_MS);
    end(l);
}

static void a_stop_waits_for_what_is_under_way_but_not_for_ever(void **state)
{
    (void)state;
    struct fm_load *l = fm_load_start(&at, FM_LOAD_BANK, RATE, 1, COUNT, NULL);
    assert_non_null(l);
    while (fm_load_count(l) < 20)
        net_sleep_ms(1);
    fm_load_stop(l, 10); /* nobody serves them */
    size_t n = fm_load_count(l);
    net_sleep_ms(5);
    assert_int_equal(fm_load_count(l), n);
    assert_int_equal(outcome(l, 5), FM_LOAD_PENDING);
    fm_load_free(l);
}

static void outcomes_have_names(void **state)
{
    (void)state;
    assert_string_equal(fm_load_outcome_name(FM_LOAD_STATUS_5XX), "status_5xx");
    for (unsigned o = 0; o < FM_LOAD_OUTCOME_COUNT; o++)
        assert_true(strlen(fm_load_outcome_name((enum fm_load_outcome)o)) > 1);
}

#define with_server(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_server(it_keeps_its_schedule_to_the_nanosecond),
             with_server(one_in_five_is_a_command_with_a_key_of_its_own),
             with_server(effects_are_found_by_their_keys), with_server(outcomes_are_told_apart),
             with_server(a_stall_is_not_hidden_by_waiting_politely),
             with_server(a_stop_waits_for_what_is_under_way_but_not_for_ever),
             fm_test(outcomes_have_names))
