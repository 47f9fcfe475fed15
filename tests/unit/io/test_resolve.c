/* Names to addresses in another thread; the answers come to the loop. Nothing here leaves the
 * machine: literals, and names of /etc/hosts. */
#include "net.h"

#include "io/resolve.h"

#include <stdio.h>
#include <stdlib.h>

static struct net net;
static struct fm_mailbox box;
static struct fm_resolver *resolver;
static unsigned done;

static void on_done(struct fm_lookup *q)
{
    assert_false(q->busy);
    done++;
}

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    net_open(&net, 1024, 4);
    assert_int_equal(fm_mailbox_open(&box, &net.loop, NULL, NULL), FM_ERR_OK);
    resolver = fm_resolver_new(NULL);
    assert_non_null(resolver);
    done = 0;
    return rc;
}

static int teardown(void **state)
{
    fm_resolver_free(resolver);
    fm_mailbox_close(&box);
    net_close(&net);
    return fm_test_fds_after(state);
}

static void ask(struct fm_lookup *q, const char *name)
{
    *q = (struct fm_lookup){.to = &box, .port = 8080, .done = on_done};
    (void)snprintf(q->name, sizeof q->name, "%s", name);
    fm_resolver_ask(resolver, q);
    assert_true(q->busy);
}

static void finds_addresses_with_their_port(void **state)
{
    (void)state;
    static const struct {
        const char *name, *address;
    } cases[] = {{"127.0.0.1", "127.0.0.1:8080"}, {"::1", "[::1]:8080"}};
    static struct fm_lookup q;
    for (size_t i = 0; i < FM_COUNT(cases); i++) {
        char text[FM_ADDR_TEXT_MAX];
        ask(&q, cases[i].name);
        NET_UNTIL(&net, done == i + 1);
        assert_int_equal(q.result, FM_ERR_OK);
        assert_int_equal(q.n, 1);
        fm_addr_format(&q.addr[0], text);
        assert_string_equal(text, cases[i].address);
    }
}

static void sorts_without_doubles(void **state)
{
    (void)state;
    static struct fm_lookup q;
    ask(&q, "localhost");
    NET_UNTIL(&net, done == 1);
    assert_int_equal(q.result, FM_ERR_OK);
    assert_true(q.n >= 1);
    for (size_t i = 0; i < q.n; i++) {
        assert_true(fm_addr_is_loopback(&q.addr[i]));
        uint8_t a[16], b[16];
        fm_addr_bytes(&q.addr[i], b);
        if (i) {
            fm_addr_bytes(&q.addr[i - 1], a);
            assert_true(memcmp(a, b, 16) < 0);
        }
    }
}

static void says_why_a_name_is_none(void **state)
{
    (void)state;
    static struct fm_lookup q;
    ask(&q, "a name with blanks");
    NET_UNTIL(&net, done == 1);
    assert_int_equal(q.result, FM_ERR_NOT_FOUND);
    assert_int_equal(q.n, 0);
    assert_true(strlen(q.why) > 0);
}

static void answers_all_who_ask(void **state)
{
    (void)state;
    enum { MANY = 50 };
    struct fm_lookup *q = calloc(MANY, sizeof *q);
    assert_non_null(q);
    for (size_t i = 0; i < MANY; i++)
        ask(&q[i], "127.0.0.1");
    NET_UNTIL(&net, done == MANY);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(q[i].n, 1);
    ask(&q[0], "127.0.0.1"); /* the same question again */
    NET_UNTIL(&net, done == MANY + 1);
    free(q);
}

static void can_be_freed_with_questions_open(void **state)
{
    (void)state;
    enum { MANY = 50 };
    struct fm_lookup *q = calloc(MANY, sizeof *q);
    assert_non_null(q);
    for (size_t i = 0; i < MANY; i++)
        ask(&q[i], "127.0.0.1");
    fm_resolver_free(resolver);
    fm_mailbox_close(&box); /* delivers the answers that were there */
    assert_true(done <= MANY);
    free(q);
    assert_int_equal(fm_mailbox_open(&box, &net.loop, NULL, NULL), FM_ERR_OK);
    resolver = NULL;
}

#define with_net(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_net(finds_addresses_with_their_port), with_net(sorts_without_doubles),
             with_net(says_why_a_name_is_none), with_net(answers_all_who_ask),
             with_net(can_be_freed_with_questions_open))
