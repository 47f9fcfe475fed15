/* Asking regions how they are, against raw servers: what each kind of answer means for health. */
#include "directed.h"

#include "proxy/probes.h"

#include <poll.h>
#include <stdio.h>

static struct fm_probes *probes;
static int listeners[3];
static struct fm_addr at[3];
static struct peer asker;

static int setup(void **state)
{
    int rc = directed_setup(state);
    for (unsigned i = 0; i < FM_COUNT(listeners); i++)
        listeners[i] = raw_listen(&at[i]);
    probes = NULL;
    return rc;
}

static void stop_listening(unsigned i)
{
    if (listeners[i] < 0)
        return;
    struct peer l = {.fd = listeners[i]};
    peer_close(&l);
    listeners[i] = -1;
}

static int teardown(void **state)
{
    fm_probes_free(probes);
    for (unsigned i = 0; i < FM_COUNT(listeners); i++)
        stop_listening(i);
    return directed_teardown(state);
}

/* A probe arrives at this listener: what it asks for, and what it hears. */
static void answer(unsigned listener, const char *line, const char *text)
{
    peer_accept(&net, &asker, listeners[listener]);
    NET_UNTIL(&net, peer_heard_last(&asker, "\r\n\r\n"));
    if (asker.n < strlen(line) || memcmp(asker.in, line, strlen(line)) != 0)
        fail_msg("asked %.40s", asker.in);
    peer_say(&net, &asker, text);
    NET_UNTIL(&net, peer_is_over(&asker));
    peer_close(&asker);
}

static const char *evidence(unsigned region, unsigned context)
{
    return director.evidence[region * director.board->ncontexts + context];
}

static void open_probes(const char *format, enum fm_proxy_mode mode)
{
    static char text[2048];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)snprintf(text, sizeof text, format, fm_addr_port(&at[0]), fm_addr_port(&at[1]),
                   fm_addr_port(&at[2]));
#pragma GCC diagnostic pop
    directed_open(text, mode, 0);
    probes = fm_probes_new(&director, NULL);
    assert_non_null(probes);
}

#define HEAD                                                                                       \
    "fulmar: 1\nservice: shop\nedge: {listen: [{address: \"127.0.0.1:80\"}]}\n"                    \
    "peer-tls: plaintext\n"
#define TAIL                                                                                       \
    "contexts:\n"                                                                                  \
    "  one: {topology: multi-write, routes: [\"/1\"], needs: []}\n"                                \
    "  two: {topology: multi-write, routes: [\"/2\"], needs: []}\n"

static const char by_path[] =
    HEAD "probe: {app: /health, interval: 60s, fast-interval: 10ms, samples: 1, successes: 1}\n"
         "regions: {west: {apps: [\"127.0.0.1:%u\"]}}\n" TAIL;

static void an_application_is_judged_by_its_status(void **state)
{
    (void)state;
    open_probes(by_path, FM_PROXY_EDGE);
    answer(0, "GET /health HTTP/1.1\r\n", "HTTP/1.1 204 No Content\r\n\r\n");
    NET_UNTIL(&net, strcmp(evidence(0, 0), "ok") == 0);
    assert_string_equal(evidence(0, 1), "ok");
    assert_int_equal(directed_state(0, 0), FM_HEALTH_UP);
    fm_probes_reset(probes);
    answer(0, "GET /health ", "HTTP/1.1 503 Away\r\nContent-Length: 4\r\n\r\nbye\n");
    NET_UNTIL(&net, directed_state(0, 0) == FM_HEALTH_DOWN);
    assert_string_equal(evidence(0, 0), "status 503");
    assert_int_equal(directed_state(0, 1), FM_HEALTH_DOWN);
    assert_false(atomic_load(&director.view->endpoints[0].probe_down)); /* only once so far */
    net_skip_ms(90 * 1000);
    answer(0, "GET /health ", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
    NET_UNTIL(&net, atomic_load(&director.view->endpoints[0].probe_down));
}

static void broken_answers_are_failures(void **state)
{
    (void)state;
    open_probes(by_path, FM_PROXY_EDGE);
    answer(0, "GET /health ", "hello\r\n\r\n");
    NET_UNTIL(&net, directed_state(0, 0) == FM_HEALTH_DOWN);
    assert_string_not_equal(evidence(0, 0), "ok");
}

static void silence_is_a_failure_after_the_time_out(void **state)
{
    (void)state;
    open_probes(by_path, FM_PROXY_EDGE);
    peer_accept(&net, &asker, listeners[0]);
    NET_UNTIL(&net, peer_heard_last(&asker, "\r\n\r\n"));
    net_turn_ms(&net, 2);
    assert_string_equal(evidence(0, 0), "not probed yet");
    net_skip_ms(400);
    NET_UNTIL(&net, directed_state(0, 0) == FM_HEALTH_DOWN);
    assert_string_equal(evidence(0, 0), "no answer in time");
    NET_UNTIL(&net, peer_is_over(&asker));
    peer_close(&asker);
}

static void a_region_where_nobody_listens_is_down_at_once(void **state)
{
    (void)state;
    stop_listening(0);
    open_probes(HEAD "probe: {app: tcp, interval: 60s}\n"
                     "regions: {west: {apps: [\"127.0.0.1:%u\"]}}\n" TAIL,
                FM_PROXY_EDGE);
    NET_UNTIL(&net, directed_state(0, 0) == FM_HEALTH_DOWN);
    assert_int_equal(fm_director_health(&director, 0, 0)->why, FM_HEALTH_WHY_UNREACHABLE);
    assert_non_null(strstr(director.event[0].text, "connection refused"));
    assert_true(atomic_load(&director.view->endpoints[0].probe_down));
}

static void one_instance_that_answers_is_enough(void **state)
{
    (void)state;
    stop_listening(1);
    open_probes(HEAD "probe: {app: tcp, interval: 60s, samples: 1, successes: 1}\n"
                     "regions: {west: {apps: [\"127.0.0.1:%u\", \"127.0.0.1:%u\"]}}\n" TAIL,
                FM_PROXY_EDGE);
    NET_UNTIL(&net, strcmp(evidence(0, 0), "ok") == 0);
    assert_int_equal(directed_state(0, 0), FM_HEALTH_UP);
    unsigned down = 0;
    for (unsigned i = 0; i < director.view->nendpoints; i++)
        if (atomic_load(&director.view->endpoints[i].probe_down)) {
            assert_int_equal(fm_addr_port(&director.view->endpoints[i].addr), fm_addr_port(&at[1]));
            down++;
        }
    assert_int_equal(down, 1);
}

static void no_probes_where_none_are_wanted(void **state)
{
    (void)state;
    open_probes(HEAD "probe: {app: none}\nregions: {west: {apps: [\"127.0.0.1:%u\"]}}\n" TAIL,
                FM_PROXY_EDGE);
    net_skip_ms(5000);
    net_turn_ms(&net, 5);
    assert_string_equal(evidence(0, 0), "not probed yet");
}

/* -------- agents -------- */

static const char agents[] =
    HEAD "probe: {app: none, interval: 60s, fast-interval: 10ms, samples: 1, successes: 1}\n"
         "hosts:\n"
         "  west-1: {region: west, roles: [health], address: 127.0.0.1, peer: \"127.0.0.1:%u\"}\n"
         "  west-2: {region: west, roles: [health], address: 127.0.0.1, peer: \"127.0.0.1:%u\",\n"
         "           admin: \"127.0.0.1:7202\"}\n"
         "  west-3: {region: west, roles: [health], address: 127.0.0.1, peer: \"127.0.0.1:%u\",\n"
         "           admin: \"127.0.0.1:7203\"}\n"
         "regions: {west: {apps: [\"127.0.0.1:1\"]}}\n" TAIL;

#define SAYS(one, two)                                                                             \
    "{\"contexts\":{\"one\":{\"capable\":" one "},\"two\":{\"capable\":" two "}}}"

static void deep(unsigned listener, const char *doc)
{
    char text[1024];
    (void)snprintf(text, sizeof text, "HTTP/1.1 503 Or\r\nContent-Length: %zu\r\n\r\n%s",
                   strlen(doc), doc);
    answer(listener, "GET /health/deep HTTP/1.1\r\n", text);
}

static void the_majority_of_agents_decides_per_context(void **state)
{
    (void)state;
    open_probes(agents, FM_PROXY_EDGE);
    deep(0, SAYS("true", "false,\"why\":\"no network\""));
    deep(1, SAYS("false", "false,\"why\":\"no network\""));
    deep(2, SAYS("true", "true"));
    NET_UNTIL(&net, directed_state(0, 1) == FM_HEALTH_DOWN);
    assert_int_equal(directed_state(0, 0), FM_HEALTH_UP);
    assert_string_equal(evidence(0, 0), "ok");
    assert_non_null(strstr(evidence(0, 1), ": no network"));
}

static void agents_that_say_nothing_do_not_vote(void **state)
{
    (void)state;
    open_probes(agents, FM_PROXY_EDGE);
    deep(0, "not a document");
    deep(1, SAYS("true", "\"yes\""));
    deep(2, "{\"contexts\":{}}");
    NET_UNTIL(&net, directed_state(0, 1) == FM_HEALTH_DOWN); /* nobody said anything of it */
    assert_int_equal(directed_state(0, 0), FM_HEALTH_UP);
    assert_string_equal(evidence(0, 0), "ok");
}

static void a_region_whose_agents_are_gone_is_not_well(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        stop_listening(i);
    open_probes(agents, FM_PROXY_EDGE);
    NET_UNTIL(&net, directed_state(0, 0) == FM_HEALTH_DOWN);
    assert_int_equal(directed_state(0, 1), FM_HEALTH_DOWN);
    assert_non_null(strstr(evidence(0, 0), "connection refused"));
}

static void an_endless_document_is_given_up(void **state)
{
    (void)state;
    static char text[400 * 1024];
    stop_listening(1);
    stop_listening(2);
    open_probes(agents, FM_PROXY_EDGE);
    struct fm_buf b = fm_buf(text, sizeof text);
    fm_buf_lit(&b, "HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n");
    while (!b.full && b.n < 300 * 1024)
        fm_buf_lit(&b, "                                                                ");
    peer_accept(&net, &asker, listeners[0]);
    NET_UNTIL(&net, peer_heard_last(&asker, "\r\n\r\n"));
    peer_send(&net, &asker, text, b.n);
    NET_UNTIL(&net, peer_is_over(&asker));
    peer_close(&asker);
    NET_UNTIL(&net, directed_state(0, 0) == FM_HEALTH_DOWN);
}

static void a_gate_asks_the_apps_of_its_region(void **state)
{
    (void)state;
    static const char text[] = HEAD
        "probe: {app: /health, interval: 60s, fast-interval: 10ms}\n"
        "hosts:\n"
        "  west-1: {region: west, roles: [gate, health], address: 127.0.0.1}\n"
        "regions: {west: {apps: [\"127.0.0.1:%u\"]}, north: {apps: [\"127.0.0.1:%u\"]}}\n" TAIL;
    open_probes(text, FM_PROXY_GATE);
    answer(0, "GET /health ", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    NET_UNTIL(&net, strcmp(evidence(0, 0), "not probed yet") == 0);
    net_turn_ms(&net, 5);
    struct pollfd other = {.fd = listeners[1], .events = POLLIN};
    assert_int_equal(poll(&other, 1, 0), 0); /* the other region's are not its business */
}

static const char with_witness[] =
    HEAD "probe: {app: /health, interval: 60s, fast-interval: 10ms, samples: 1, successes: 1}\n"
         "regions: {west: {apps: [\"127.0.0.1:%u\"]}, east: {witness: true}}\n" TAIL;

/* It serves nothing: there is nobody to ask, and that makes it no region that is down. */
static void a_witness_is_not_asked(void **state)
{
    (void)state;
    open_probes(with_witness, FM_PROXY_EDGE);
    answer(0, "GET /health ", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    NET_UNTIL(&net, strcmp(evidence(0, 0), "ok") == 0);
    assert_int_equal(director.nevents, 0);
    assert_string_equal(evidence(1, 0), "not probed yet");
}

static void a_reset_in_the_middle_forgets_the_question(void **state)
{
    (void)state;
    open_probes(by_path, FM_PROXY_EDGE);
    for (int i = 0; i < 5; i++) {
        peer_accept(&net, &asker, listeners[0]);
        NET_UNTIL(&net, peer_heard_last(&asker, "\r\n\r\n"));
        fm_probes_reset(probes);
        NET_UNTIL(&net, peer_is_over(&asker));
        peer_close(&asker);
    }
    answer(0, "GET /health ", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    NET_UNTIL(&net, strcmp(evidence(0, 0), "ok") == 0);
    assert_int_equal(directed_state(0, 0), FM_HEALTH_UP);
}

#define with_probes(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_probes(an_application_is_judged_by_its_status),
             with_probes(broken_answers_are_failures),
             with_probes(silence_is_a_failure_after_the_time_out),
             with_probes(a_region_where_nobody_listens_is_down_at_once),
             with_probes(one_instance_that_answers_is_enough),
             with_probes(no_probes_where_none_are_wanted),
             with_probes(the_majority_of_agents_decides_per_context),
             with_probes(agents_that_say_nothing_do_not_vote),
             with_probes(a_region_whose_agents_are_gone_is_not_well),
             with_probes(an_endless_document_is_given_up),
             with_probes(a_gate_asks_the_apps_of_its_region), with_probes(a_witness_is_not_asked),
             with_probes(a_reset_in_the_middle_forgets_the_question))
