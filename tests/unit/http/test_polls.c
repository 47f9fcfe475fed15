/* Pages that answer when there is news: who asks after the number that he knows. */
#include "net.h"

#include "http/polls.h"

#include <stdio.h>
#include <stdlib.h>

enum { PEERS = 40, WAIT_MS = 5000 };

static struct net net;
static struct fm_pages pages;
static struct fm_listener listener;
static struct fm_polls polls;
static struct peer *p; /* PEERS of them */
static uint64_t number;

static bool is_news(void *user, const void *ask)
{
    assert_ptr_equal(user, &number);
    return *(const uint64_t *)ask != number;
}

static void fill(void *user, const void *ask, struct fm_page_answer *a)
{
    a->status = is_news(user, ask) ? 200 : 204;
}

/* GET /n/N: something else than N. */
static void write_number(const struct fm_page_request *q, struct fm_page_answer *a)
{
    uint64_t ask;
    if (!fm_str_u64(fm_str(q->path.p + 3, q->path.n - 3), &ask))
        fm_page_problem(a, 400, "no number");
    else
        fm_polls_wait(&polls, q, &ask, sizeof ask, WAIT_MS, a);
}

static const struct fm_page table[] = {{.path = "/n/", .write = write_number}, {.path = NULL}};

static void accepted(struct fm_listener *ln, int fd, const struct fm_addr *from)
{
    (void)ln;
    fm_pages_accept(&pages, fd, from);
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    struct fm_addr at;
    net_open(&net, 16 * 1024, 2 * PEERS);
    p = calloc(PEERS, sizeof *p);
    assert_non_null(p);
    number = 1;
    polls = (struct fm_polls){
        .loop = &net.loop, .max = PEERS - 1, .is_news = is_news, .fill = fill, .user = &number};
    fm_polls_init(&polls);
    assert_int_equal(fm_pages_init(&pages, &net.loop, table, NULL, NULL), FM_ERR_OK);
    assert_int_equal(fm_addr_parse(&at, FM_STR("127.0.0.1:0")), FM_ERR_OK);
    assert_int_equal(fm_listener_open(&listener, &net.loop, &at, 0, accepted, NULL), FM_ERR_OK);
    for (unsigned i = 0; i < PEERS; i++)
        peer_connect(&p[i], &listener.address);
    return rc;
}

static int teardown(void **state)
{
    for (unsigned i = 0; i < PEERS; i++)
        peer_close(&p[i]);
    free(p);
    fm_listener_close(&listener);
    fm_pages_close_all(&pages);
    fm_loop_turn(&net.loop, 0);
    fm_polls_deinit(&polls);
    fm_pages_deinit(&pages);
    net_close(&net);
    return fm_test_fds_after(state);
}

static void ask(unsigned i, const char *what)
{
    char text[64];
    size_t before = polls.n;
    snprintf(text, sizeof text, "GET /n/%s HTTP/1.1\r\nHost: a\r\n\r\n", what);
    peer_say(&net, &p[i], text);
    NET_UNTIL(&net, polls.n > before || (peer_poll(&p[i]), p[i].n > 0));
}

static bool got(unsigned i, unsigned status)
{
    char line[32];
    peer_poll(&p[i]);
    snprintf(line, sizeof line, "HTTP/1.1 %u ", status);
    return fm_str_starts(fm_str(p[i].in, p[i].n), fm_str_z(line));
}

static void who_waits_for_it_is_answered_and_the_others_wait_on(void **state)
{
    (void)state;
    ask(0, "1");
    ask(1, "2");
    assert_int_equal(polls.n, 2);
    number = 2;
    fm_polls_changed(&polls);
    NET_UNTIL(&net, got(0, 200));
    assert_int_equal(polls.n, 1);
    assert_int_equal(p[1].n, 0);
    number = 3;
    fm_polls_changed(&polls);
    NET_UNTIL(&net, got(1, 200));
    assert_int_equal(polls.n, 0);
}

static void without_news_it_ends_with_its_time(void **state)
{
    (void)state;
    ask(0, "1");
    net_skip_ms(WAIT_MS - 1000);
    net_turn_ms(&net, 10);
    assert_int_equal(polls.n, 1);
    net_skip_ms(1001);
    NET_UNTIL(&net, got(0, 204));
    assert_int_equal(polls.n, 0);
}

static void who_leaves_is_forgotten(void **state)
{
    (void)state;
    ask(0, "1");
    ask(1, "1");
    peer_close(&p[0]);
    NET_UNTIL(&net, polls.n == 1);
    peer_connect(&p[0], &listener.address);
    number = 2;
    fm_polls_changed(&polls);
    peer_say(&net, &p[2], "GET /n/2 HTTP/1.1\r\nHost: a\r\n\r\n"); /* while that is looked at */
    NET_UNTIL(&net, got(1, 200) && polls.n == 1);
    assert_int_equal(p[2].n, 0);
}

static void too_many_are_told_so(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PEERS - 1; i++)
        ask(i, "1");
    assert_int_equal(polls.n, PEERS - 1);
    ask(PEERS - 1, "1");
    NET_UNTIL(&net, got(PEERS - 1, 503));
    assert_non_null(memmem(p[PEERS - 1].in, p[PEERS - 1].n, "problem+json", 12));
    number = 2;
    fm_polls_changed(&polls); /* more than are looked at in a turn */
    for (unsigned i = 0; i < PEERS - 1; i++)
        NET_UNTIL(&net, got(i, 200));
}

static void in_the_end_everybody_is_answered(void **state)
{
    (void)state;
    ask(0, "1");
    ask(1, "2");
    number = 2;
    fm_polls_changed(&polls);
    fm_polls_end(&polls); /* before the loop has looked */
    assert_int_equal(polls.n, 0);
    NET_UNTIL(&net, got(0, 200));
    NET_UNTIL(&net, got(1, 204));
}

#define with_polls(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_polls(who_waits_for_it_is_answered_and_the_others_wait_on),
             with_polls(without_news_it_ends_with_its_time), with_polls(who_leaves_is_forgotten),
             with_polls(too_many_are_told_so), with_polls(in_the_end_everybody_is_answered))
