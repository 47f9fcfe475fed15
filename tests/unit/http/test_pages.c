/* Pages. */
#include "net.h"

#include "http/pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

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

/* What pages were told. */
static struct {
    struct fm_page_wait *wait[4];
    unsigned posts, nwait, left;
    enum fm_http_method method;
    size_t body_n;
    char body[64];
    bool at_once, refused;
} told;

static void take_post(const struct fm_page_request *q, struct fm_page_answer *a)
{
    told.posts += q->method == FM_METHOD_POST;
    told.method = q->method;
    told.body_n = q->body.n;
    if (q->body.n && q->body.n < sizeof told.body)
        memcpy(told.body, q->body.p, q->body.n);
    assert_null(q->peer);
    assert_str(q->path, "/take");
    a->body = malloc(100);
    assert_non_null(a->body);
    a->n = (size_t)snprintf(a->body, 100, "%zu bytes %.*s", q->body.n, FM_STR_ARG(q->query));
}

static struct fm_sock_parcel parcel = {.fd = -1};

static void write_taken(const struct fm_page_request *q, struct fm_page_answer *a)
{
    if (!fm_str_eqz(q->upgrade, "else") || !fm_page_take(q, &parcel))
        a->status = 400;
}

static void on_left(void *u)
{
    assert_ptr_equal(u, &told);
    told.left++;
}

static void answer_now(unsigned i)
{
    struct fm_page_answer a = FM_PAGE_ANSWER;
    a.body = strdup("at last");
    a.n = 7;
    fm_page_answer(told.wait[i], &a);
}

static void write_later(const struct fm_page_request *q, struct fm_page_answer *a)
{
    (void)a;
    struct fm_page_wait *w = fm_page_later(q, on_left, &told);
    told.refused = !w;
    if (!w)
        return;
    told.wait[told.nwait++] = w;
    if (told.at_once)
        answer_now(told.nwait - 1);
}

static void write_below(const struct fm_page_request *q, struct fm_page_answer *a)
{
    a->body = strndup(q->path.p, q->path.n);
    a->n = q->path.n;
}

static const struct fm_page table[] = {
    {.path = "/hello", .write = write_hello},
    {.path = "/below/", .write = write_below},
    {.path = "/nothing", .write = write_nothing},
    {.path = "/take", .write = take_post, .posts = true},
    {.path = "/later", .write = write_later, .posts = true},
    {.path = "/taken", .write = write_taken},
    {.path = NULL},
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
    memset(&told, 0, sizeof told);
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
        {"GET /below/x/y HTTP/1.1",
         "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 10\r\n"
         "Cache-Control: no-store\r\n\r\n/below/x/y"},
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
        {"GET /below HTTP/1.1", "HTTP/1.1 404 Not Found\r\n", ""},
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

#define JSON "Host: a\r\nContent-Type: application/json\r\n"

static void takes_a_body(void **state)
{
    (void)state;
    peer_say(&net, &p, "POST /take?a HTTP/1.1\r\n" JSON "Content-Length: 7\r\n\r\n{\"a\"");
    NET_UNTIL(&net, pages.server.nconns == 1);
    net_turn_ms(&net, 5);
    assert_int_equal(told.posts, 0);
    peer_say(&net, &p, ":1}");
    NET_UNTIL(&net, peer_heard_last(&p, "\r\n\r\n7 bytes ?a"));
    assert_str(fm_str(told.body, told.body_n), "{\"a\":1}");
    peer_drop(&p, p.n);
    peer_say(&net, &p,
             "POST /take HTTP/1.1\r\nHost: a\r\nContent-Type: Application/JSON; charset=utf-8\r\n"
             "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n1\r\n \r\n0\r\n\r\n");
    NET_UNTIL(&net, peer_heard_last(&p, "\r\n\r\n3 bytes "));
    peer_drop(&p, p.n);
    peer_say(&net, &p, "POST /take HTTP/1.1\r\n" JSON "Content-Length: 0\r\n\r\n");
    NET_UNTIL(&net, peer_heard_last(&p, "\r\n\r\n0 bytes "));
    assert_int_equal(told.posts, 3);
    peer_drop(&p, p.n);
    peer_say(&net, &p, "GET /take HTTP/1.1\r\nHost: a\r\n\r\n");
    NET_UNTIL(&net, peer_heard_last(&p, "\r\n\r\n0 bytes "));
    assert_int_equal(told.method, FM_METHOD_GET);
}

static void takes_a_body_of_a_mebibyte_and_no_more(void **state)
{
    (void)state;
    static const char *const heads[] = {"Content-Length: 1048576\r\n\r\n",
                                        "Content-Length: 1048577\r\n\r\n",
                                        "Transfer-Encoding: chunked\r\n\r\n100001\r\n"};
    static char body[FM_PAGES_BODY_MAX + 1];
    memset(body, ' ', sizeof body);
    for (size_t i = 0; i < FM_COUNT(heads); i++) {
        struct peer one;
        peer_connect(&one, &listener.address);
        peer_say(&net, &one, "POST /take HTTP/1.1\r\n" JSON);
        peer_say(&net, &one, heads[i]);
        if (i == 0) {
            peer_send(&net, &one, body, FM_PAGES_BODY_MAX);
            NET_UNTIL(&net, peer_heard_last(&one, "\r\n\r\n1048576 bytes "));
        } else {
            NET_UNTIL(&net, peer_is_over(&one));
            assert_true(fm_str_starts(fm_str(one.in, one.n), FM_STR("HTTP/1.1 413 ")));
        }
        peer_close(&one);
    }
    assert_int_equal(told.posts, 1);
}

static void refuses_what_a_page_does_not_take(void **state)
{
    (void)state;
    static const struct {
        const char *text, *status;
    } cases[] = {
        {"POST /hello HTTP/1.1\r\n" JSON "Content-Length: 2\r\n\r\n{}", "HTTP/1.1 405 "},
        {"PUT /take HTTP/1.1\r\n" JSON "Content-Length: 2\r\n\r\n{}", "HTTP/1.1 405 "},
        {"POST /take HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 415 "},
        {"POST /take HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n\r\n", "HTTP/1.1 415 "},
        {"POST /take HTTP/1.1\r\nHost: a\r\nContent-Type: application/jsonp\r\n\r\n",
         "HTTP/1.1 415 "},
    };
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        struct peer one;
        peer_connect(&one, &listener.address);
        peer_say(&net, &one, cases[i].text);
        NET_UNTIL(&net, (peer_poll(&one), one.n > 2 && !memcmp(one.in + one.n - 2, "}\n", 2)));
        assert_true(fm_str_starts(fm_str(one.in, one.n), fm_str_z(cases[i].status)));
        peer_close(&one);
    }
    assert_int_equal(told.posts, 0);
}

static void answers_later(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        peer_say(&net, &p,
                 i == 1 ? "POST /later HTTP/1.1\r\n" JSON "Content-Length: 2\r\n\r\n{}"
                        : "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
        NET_UNTIL(&net, told.nwait == i + 1);
        net_skip_ms(60 * 1000); /* nobody ends a wait but its page */
        net_turn_ms(&net, 5);
        assert_int_equal(p.n, 0);
        answer_now(i);
        NET_UNTIL(&net, peer_heard_last(&p, "\r\n\r\nat last"));
        peer_drop(&p, p.n);
    }
    told.at_once = true;
    peer_say(&net, &p, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
    NET_UNTIL(&net, peer_heard_last(&p, "\r\n\r\nat last"));
    assert_int_equal(told.left, 0);
}

static void a_page_hears_that_its_client_left(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct peer one;
        peer_connect(&one, &listener.address);
        peer_say(&net, &one, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
        NET_UNTIL(&net, told.nwait == i + 1);
        if (i == 0)
            peer_reset(&one);
        else
            peer_close(&one);
        NET_UNTIL(&net, told.left == i + 1);
    }
    NET_UNTIL(&net, pages.server.nconns == 1);
}

static void nothing_is_begun_for_a_client_that_has_left(void **state)
{
    (void)state;
    struct peer one;
    peer_connect(&one, &listener.address);
    NET_UNTIL(&net, pages.server.nconns == 2);
    static const char text[] = "POST /later HTTP/1.1\r\n" JSON "\r\n";
    assert_int_equal(write(one.fd, text, sizeof text - 1), sizeof text - 1);
    peer_close(&one);
    NET_UNTIL(&net, pages.server.nconns == 1);
    assert_int_equal(told.nwait, 0);
    assert_true(told.refused);
    assert_int_equal(told.left, 0);
}

static void who_waits_hears_of_the_end_of_the_pages(void **state)
{
    (void)state;
    peer_say(&net, &p, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
    NET_UNTIL(&net, told.nwait == 1);
    fm_pages_close_all(&pages);
    assert_int_equal(told.left, 1);
    NET_UNTIL(&net, peer_is_over(&p));
}

/* After the answer the client may end its stream: it gets all of it. */
static void an_answer_is_not_cut_by_the_end_of_the_request(void **state)
{
    (void)state;
    enum { BIG = 8 << 20 };
    struct peer one;
    peer_connect(&one, &listener.address);
    peer_say(&net, &one, "GET /later HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    NET_UNTIL(&net, told.nwait == 1);
    struct fm_page_answer a = FM_PAGE_ANSWER;
    a.body = calloc(1, BIG);
    a.n = BIG;
    assert_non_null(a.body);
    fm_page_answer(told.wait[0], &a);
    assert_int_equal(shutdown(one.fd, SHUT_WR), 0);
    size_t got = 0;
    NET_UNTIL(&net, (peer_poll(&one), got += one.n, peer_drop(&one, one.n), one.ended || one.err));
    assert_true(one.ended && got > BIG);
    peer_close(&one);
}

/* The page answers itself, on a connection that is no page's any more. */
static void a_page_may_take_the_connection(void **state)
{
    (void)state;
    static const char *const refused[] = {
        "GET /taken HTTP/1.1\r\nHost: a\r\n\r\n", /* it does not ask for it */
        "GET /taken HTTP/1.1\r\nHost: a\r\nUpgrade: else\r\n\r\n",
        "GET /taken HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: else\r\n\r\nmore"};
    struct peer one;
    for (unsigned i = 0; i < FM_COUNT(refused); i++) {
        peer_connect(&one, &listener.address);
        peer_say(&net, &one, refused[i]);
        NET_UNTIL(&net, (peer_poll(&one), one.n > 12 && memcmp(one.in, "HTTP/1.1 400", 12) == 0));
        peer_close(&one);
    }
    NET_UNTIL(&net, pages.server.nconns == 1);
    peer_connect(&one, &listener.address);
    peer_say(&net, &one,
             "GET /taken HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: else\r\n\r\n");
    NET_UNTIL(&net, parcel.fd >= 0 && pages.server.nconns == 1);
    assert_int_equal(write(parcel.fd, "here", 4), 4);
    NET_UNTIL(&net, peer_heard(&one, "here"));
    fm_sock_discard(&parcel);
    NET_UNTIL(&net, peer_is_over(&one));
    peer_close(&one);
}

#define with_pages(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_pages(answers_from_its_table), with_pages(refuses_what_is_not_there),
             with_pages(sheds_a_crowd), with_pages(a_crowd_costs_no_more_than_twice_the_bound),
             with_pages(takes_a_body), with_pages(takes_a_body_of_a_mebibyte_and_no_more),
             with_pages(refuses_what_a_page_does_not_take), with_pages(answers_later),
             with_pages(a_page_hears_that_its_client_left),
             with_pages(nothing_is_begun_for_a_client_that_has_left),
             with_pages(who_waits_hears_of_the_end_of_the_pages),
             with_pages(an_answer_is_not_cut_by_the_end_of_the_request),
             with_pages(a_page_may_take_the_connection))
