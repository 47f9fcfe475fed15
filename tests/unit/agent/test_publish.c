/* Handing out who holds what to who asks and waits. */
#include "net.h"

#include "agent/publish.h"

#include <stdio.h>
#include <stdlib.h>

static struct net net;
static struct fm_pages pages;
static struct fm_listener listener;
static struct fm_publish *publish;
static struct fm_view_doc doc;
static struct peer p;

static void write_view(const struct fm_page_request *q, struct fm_page_answer *a)
{
    fm_publish_view(publish, q, a);
}

static void write_feed(const struct fm_page_request *q, struct fm_page_answer *a)
{
    fm_publish_feed(publish, q, a);
}

static const struct fm_page table[] = {
    {.path = "/view", .write = write_view}, {.path = "/feed", .write = write_feed}, {.path = NULL}};

static void accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    (void)ln;
    fm_pages_accept(&pages, fd, from);
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    struct fm_addr at;
    net_open(&net, 64 * 1024, 256);
    publish = fm_publish_new(&net.loop, NULL);
    assert_non_null(publish);
    assert_int_equal(fm_pages_init(&pages, &net.loop, table, NULL, NULL), FM_ERR_OK);
    pages.conns_max = 2 * FM_PUBLISH_WAITERS_MAX;
    assert_int_equal(fm_addr_parse(&at, FM_STR("127.0.0.1:0")), FM_ERR_OK);
    assert_int_equal(fm_listener_open(&listener, &net.loop, &at, 0, accepted, NULL), FM_ERR_OK);
    peer_connect(&p, &listener.address);
    fm_view_doc_init(&doc, FM_STR("bank"));
    doc.incarnation.n = 3;
    doc.generation.n = 41;
    fm_view_doc_add(&doc, FM_STR("ledger"), 1);
    struct fm_view_doc_context *cards = fm_view_doc_add(&doc, FM_STR("cards"), 2);
    assert_non_null(cards);
    cards->generation.n = 17;
    return rc;
}

static int teardown(void **state)
{
    peer_close(&p);
    fm_listener_close(&listener);
    fm_pages_close_all(&pages);
    fm_loop_turn(&net.loop, 0);
    fm_pages_deinit(&pages);
    fm_publish_free(publish);
    fm_view_doc_deinit(&doc);
    net_close(&net);
    return fm_test_fds_after(state);
}

static void hold(const char *context, const char *region, uint64_t epoch)
{
    struct fm_view_doc_context *c = fm_view_doc_find(&doc, fm_str_z(context));
    doc.generation.n++;
    c->generation = doc.generation;
    c->cell[0].c = (struct fm_view_cell){.region = fm_view_doc_region(&doc, fm_str_z(region)),
                                         .epoch = {epoch}};
}

static void set(void)
{
    assert_int_equal(fm_publish_set(publish, &doc, NULL), FM_ERR_OK);
}

static void get(const char *target)
{
    char text[256];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", target);
    peer_drop(&p, p.n);
    peer_say(&net, &p, text);
}

/* A whole answer: its head, and where it has one, its body with the last brace. */
static bool answered(unsigned status)
{
    char line[32];
    peer_poll(&p);
    snprintf(line, sizeof line, "HTTP/1.1 %u ", status);
    const char *body = memmem(p.in, p.n, "\r\n\r\n", 4);
    if (!body)
        return false;
    if (!fm_str_starts(fm_str(p.in, p.n), fm_str_z(line)))
        fail_msg("not %u: %.*s", status, (int)p.n, p.in);
    body += 4;
    return status == 204 || (body < p.in + p.n && (p.in[p.n - 1] == '}' || p.in[p.n - 1] == '\n'));
}

static bool says(const char *what)
{
    return memmem(p.in, p.n, what, strlen(what));
}

/* What was handed out, as its reader says it has seen it. */
static uint64_t seen(void)
{
    const char *body = memmem(p.in, p.n, "\r\n\r\n", 4);
    assert_non_null(body);
    return fm_view_doc_hash(fm_str(body + 4, p.n - (size_t)(body + 4 - p.in)));
}

static void nobody_knows_before_the_first(void **state)
{
    (void)state;
    assert_null(fm_publish_doc(publish));
    get("/view");
    NET_UNTIL(&net, answered(503));
    get("/feed?wait=0");
    NET_UNTIL(&net, answered(503));
    get("/view?after=1.1&wait=5000");
    net_turn_ms(&net, 10);
    assert_int_equal(p.n, 0);
    set();
    NET_UNTIL(&net, answered(200));
    assert_true(says("\"generation\":41"));
    assert_int_equal(fm_publish_doc(publish)->generation.n, 41);
}

static void answers_at_once_where_there_is_news(void **state)
{
    (void)state;
    static const char *const targets[] = {"/view",
                                          "/view?after=3.40",
                                          "/view?after=2.99",
                                          "/view?after=3.41&seen=0",
                                          "/view?after=3.40&wait=1000",
                                          "/view?unknown=1&after=0.0"};
    set();
    for (size_t i = 0; i < FM_COUNT(targets); i++) {
        get(targets[i]);
        NET_UNTIL(&net, answered(200));
        assert_true(says("Content-Type: application/json\r\n"));
        assert_true(says("{\"schema\":\"fulmar.view/1\",\"v\":1,\"service\":\"bank\""));
    }
}

static void says_that_there_is_none(void **state)
{
    (void)state;
    static const char *const targets[] = {"/view?after=3.41", "/view?after=3.42&seen=0",
                                          "/view?after=4.0", "/feed?after=3.41"};
    set();
    for (size_t i = 0; i < FM_COUNT(targets); i++) {
        get(targets[i]);
        NET_UNTIL(&net, answered(204));
    }
}

static void waits_for_news(void **state)
{
    (void)state;
    set();
    get("/view?after=3.41&wait=20000");
    net_skip_ms(19 * 1000);
    net_turn_ms(&net, 10);
    assert_int_equal(p.n, 0);
    hold("ledger", "north", 5);
    set();
    NET_UNTIL(&net, answered(200));
    assert_true(says("\"north\""));
    get("/view?after=3.42&wait=1000000"); /* bounded */
    net_turn_ms(&net, 10);
    assert_int_equal(p.n, 0);
    net_skip_ms(FM_PUBLISH_WAIT_MAX_MS + 1);
    NET_UNTIL(&net, answered(204));
}

/* What a region has found changes without another version. */
static void a_finding_is_news(void **state)
{
    (void)state;
    char target[64];
    hold("ledger", "west", 5);
    doc.found_by = fm_view_doc_region(&doc, FM_STR("north"));
    set();
    get("/view");
    NET_UNTIL(&net, answered(200));
    snprintf(target, sizeof target, "/view?after=3.42&seen=%llx&wait=9000",
             (unsigned long long)seen());
    get(target);
    net_turn_ms(&net, 10);
    set(); /* the same again */
    net_turn_ms(&net, 10);
    assert_int_equal(p.n, 0);
    doc.context[0].cell[0].lapsed = true;
    set();
    NET_UNTIL(&net, answered(200));
    assert_true(says("\"lapsed\":{\"ledger\":[0]}"));
}

static void never_goes_back(void **state)
{
    (void)state;
    struct fm_error e;
    hold("ledger", "west", 5);
    set();
    doc.generation.n = 41;
    doc.context[0].generation.n = 41;
    assert_int_equal(fm_publish_set(publish, &doc, &e), FM_ERR_STATE);
    assert_int_equal(fm_publish_doc(publish)->generation.n, 42);
    get("/view");
    NET_UNTIL(&net, answered(200));
    assert_true(says("\"generation\":42"));
}

static void feeds_systems_downstream(void **state)
{
    (void)state;
    hold("ledger", "west", 5);
    set();
    get("/feed");
    NET_UNTIL(&net, answered(200));
    assert_true(says(
        "{\"schema\":\"fulmar.feed/1\",\"service\":\"bank\",\"incarnation\":3,\"generation\":42,"
        "\"contexts\":{\"ledger\":{\"incarnation\":3,\"generation\":42,\"read_only\":false,"
        "\"cells\":[{\"region\":\"west\",\"held\":true,\"epoch\":5}]},\"cards\":{\"incarnation\":3,"
        "\"generation\":17,\"read_only\":false,\"cells\":[{\"region\":null,\"held\":false,"
        "\"epoch\":0},{\"region\":null,\"held\":false,\"epoch\":0}]}}}"));
    get("/feed?context=profile");
    NET_UNTIL(&net, answered(404));
    get("/feed?context=cards&after=3.17&wait=20000"); /* of that context's own version */
    hold("ledger", "north", 6);
    set();
    net_turn_ms(&net, 10);
    assert_int_equal(p.n, 0);
    hold("cards", "north", 1);
    set();
    NET_UNTIL(&net, answered(200));
    assert_true(says("\"generation\":44,\"contexts\":{\"cards\""));
    assert_false(says("ledger"));
}

static void refuses_what_it_does_not_understand(void **state)
{
    (void)state;
    static const char *const targets[] = {"/view?after=3",   "/view?after=.3",
                                          "/view?after=3.x", "/view?after=99999999999999999999.1",
                                          "/view?wait=soon", "/view?seen=xyz",
                                          "/view?after",     "/view?&",
                                          "/feed?context=",  "/view?after=-1.-1"};
    set();
    for (size_t i = 0; i < FM_COUNT(targets); i++) {
        get(targets[i]);
        NET_UNTIL(&net, answered(400));
    }
}

static size_t count_answered(struct peer *crowd, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        peer_poll(&crowd[i]);
        count += crowd[i].n > 0;
    }
    return count;
}

static void a_crowd_is_answered_and_bounded(void **state)
{
    (void)state;
    enum { CROWD = FM_PUBLISH_WAITERS_MAX + 1 };
    struct peer *crowd = calloc(CROWD, sizeof *crowd);
    assert_non_null(crowd);
    set();
    for (size_t i = 0; i < CROWD; i++) {
        peer_connect(&crowd[i], &listener.address);
        peer_say(&net, &crowd[i], "GET /view?after=3.41&wait=30000 HTTP/1.1\r\nHost: a\r\n\r\n");
        if (i % 64 == 0)
            fm_loop_turn(&net.loop, 0);
    }
    NET_UNTIL(&net, count_answered(crowd, CROWD) == 1); /* one too many */
    peer_close(&crowd[0]);                              /* one that waits leaves */
    hold("ledger", "west", 9);
    set();
    NET_UNTIL(&net, count_answered(crowd + 1, CROWD - 1) == CROWD - 1);
    for (size_t i = 1; i < CROWD; i++)
        peer_close(&crowd[i]);
    free(crowd);
}

#define with_publish(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_publish(nobody_knows_before_the_first),
             with_publish(answers_at_once_where_there_is_news),
             with_publish(says_that_there_is_none), with_publish(waits_for_news),
             with_publish(a_finding_is_news), with_publish(never_goes_back),
             with_publish(feeds_systems_downstream),
             with_publish(refuses_what_it_does_not_understand),
             with_publish(a_crowd_is_answered_and_bounded))
