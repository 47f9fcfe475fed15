/* Read-only pages. */
#include "net.h"

#include "http/pages.h"

#include <stdio.h>
#include <stdlib.h>

static struct net net;
static struct fm_pages pages;
static struct fm_listener listener;
static struct peer p;
static int user = 42;

static void write_hello(const struct fm_page_request *q, struct fm_page_answer *a)
{
    assert_ptr_equal(q->user, &user);
    a->body = malloc(200);
    assert_non_null(a->body);
    a->n = (size_t)snprintf(a->body, 200, "hello %.*s", FM_STR_ARG(q->query));
}

static void write_nothing(const struct fm_page_request *q, struct fm_page_answer *a)
{
    (void)q;
    a->status = 503;
    a->content_type = "text/none";
}

static const struct fm_page table[] = {
    {"/hello", write_hello},
    {"/nothing", write_nothing},
    {NULL, NULL},
};

static void accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    (void)ln;
    fm_pages_accept(&pages, fd, from);
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    struct fm_addr at;
    net_open(&net, 16 * 1024, 8);
    assert_int_equal(fm_pages_init(&pages, &net.loop, table, &user, NULL), FM_ERR_OK);
    assert_int_equal(fm_addr_parse(&at, FM_STR("127.0.0.1:0")), FM_ERR_OK);
    assert_int_equal(fm_listener_open(&listener, &net.loop, &at, 0, accepted, NULL), FM_ERR_OK);
    peer_connect(&p, &listener.address);
    return rc;
}

static int teardown(void **state)
{
    peer_close(&p);
    fm_listener_close(&listener);
    fm_pages_close_all(&pages);
    fm_loop_turn(&net.loop, 0);
    fm_pages_deinit(&pages);
    net_close(&net);
    return fm_test_fds_after(state);
}

static void answers_from_its_table(void **state)
{
    (void)state;
    static const struct {
        const char *line, *answer;
    } cases[] = {
        {"GET /hello HTTP/1.1",
         "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\n"
         "Cache-Control: no-store\r\n\r\nhello "},
        {"GET /hello?a=b HTTP/1.1",
         "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 10\r\n"
         "Cache-Control: no-store\r\n\r\nhello ?a=b"},
        {"HEAD /hello HTTP/1.1",
         "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\n"
         "Cache-Control: no-store\r\n\r\n"},
        {"GET /nothing HTTP/1.1",
         "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/none\r\nContent-Length: 0\r\n"
         "Cache-Control: no-store\r\n\r\n"},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        peer_say(&net, &p, cases[i].line);
        peer_say(&net, &p, "\r\nHost: a\r\n\r\n");
        NET_UNTIL(&net, peer_heard(&p, cases[i].answer));
        peer_drop(&p, p.n);
    }
}

static bool heard_status(const char *line)
{
    peer_poll(&p);
    return fm_str_starts(fm_str(p.in, p.n), fm_str_z(line)) && p.in[p.n - 1] == '\n' &&
           memmem(p.in, p.n, "}\n", 2);
}

static void refuses_what_is_not_there(void **state)
{
    (void)state;
    static const struct {
        const char *line, *status, *header;
    } cases[] = {
        {"GET /hell HTTP/1.1", "HTTP/1.1 404 Not Found\r\n", ""},
        {"GET /hello/ HTTP/1.1", "HTTP/1.1 404 Not Found\r\n", ""},
        {"GET / HTTP/1.1", "HTTP/1.1 404 Not Found\r\n", ""},
        {"PUT /hello HTTP/1.1", "HTTP/1.1 405 Method Not Allowed\r\n", "Allow: GET, HEAD\r\n"},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        peer_say(&net, &p, cases[i].line);
        peer_say(&net, &p, "\r\nHost: a\r\n\r\n");
        NET_UNTIL(&net, heard_status(cases[i].status));
        assert_non_null(memmem(p.in, p.n, cases[i].header, strlen(cases[i].header)));
        peer_drop(&p, p.n);
    }
}

static void sheds_a_crowd(void **state)
{
    (void)state;
    struct peer *crowd = calloc(FM_PAGES_CONNS_MAX, sizeof *crowd);
    assert_non_null(crowd);
    for (size_t i = 0; i < FM_PAGES_CONNS_MAX; i++)
        peer_connect(&crowd[i], &listener.address);
    NET_UNTIL(&net, pages.server.nconns == FM_PAGES_CONNS_MAX + 1);
    struct peer *last = &crowd[FM_PAGES_CONNS_MAX - 1];
    peer_say(&net, last, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    NET_UNTIL(&net, peer_is_over(last)); /* it does not stay in the crowd */
    assert_true(fm_str_starts(fm_str(last->in, last->n), FM_STR("HTTP/1.1 503 ")));
    assert_non_null(memmem(last->in, last->n, "Retry-After: 1\r\n", 16));
    peer_say(&net, &p, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"); /* who was there is served */
    NET_UNTIL(&net, peer_heard_last(&p, "hello "));
    for (size_t i = 0; i < FM_PAGES_CONNS_MAX; i++)
        peer_close(&crowd[i]);
    free(crowd);
}

/* Those that are told to go away may stay away from going: past a second bound they are cut. */
static void a_crowd_costs_no_more_than_twice_the_bound(void **state)
{
    (void)state;
    enum { CROWD = 3 * FM_PAGES_CONNS_MAX };
    struct peer *crowd = calloc(CROWD, sizeof *crowd);
    assert_non_null(crowd);
    for (size_t i = 0; i < CROWD; i++)
        peer_connect(&crowd[i], &listener.address);
    NET_UNTIL(&net, peer_is_over(&crowd[CROWD - 1]));
    assert_int_equal(pages.server.nconns, 2 * FM_PAGES_CONNS_MAX);
    for (size_t i = 0; i < CROWD; i++)
        peer_close(&crowd[i]);
    free(crowd);
}

#define with_pages(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_pages(answers_from_its_table), with_pages(refuses_what_is_not_there),
             with_pages(sheds_a_crowd), with_pages(a_crowd_costs_no_more_than_twice_the_bound))
