/* Names to addresses in another thread; the answers come to the loop. Nothing here leaves the
 * machine: literals, and names of /etc/hosts. */
#include "net.h"

#include "io/resolve.h"

#include <dlfcn.h>
#include <netdb.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static struct net net;
static struct fm_mailbox box;
static struct fm_resolver *resolver;
static unsigned done;

/* -------- a name server that does not answer -------- */

static sem_t answer_now;
static _Atomic unsigned hanging;

/* In the place of libc's: a lookup of `hangs` hangs until the test lets it go. */
int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict list)
{
    static int (*_Atomic real)(const char *, const char *, const struct addrinfo *,
                               struct addrinfo **);
    if (!real) {
        void *found = dlsym(RTLD_NEXT, "getaddrinfo");
        int (*f)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
        memcpy(&f, &found, sizeof f);
        real = f;
    }
    bool hangs = strcmp(name, "hangs") == 0;
    hanging += hangs;
    while (hangs && sem_wait(&answer_now) != 0) {
    }
    hanging -= hangs;
    return real(hangs ? "127.0.0.1" : name, service, hints, list);
}

static void let_go(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        sem_post(&answer_now);
    for (int64_t end = net_patience(); hanging && !net_is_over(end);)
        net_sleep_ms(1);
    assert_int_equal(hanging, 0);
}

/* -------- set-up -------- */

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
    assert_int_equal(sem_init(&answer_now, 0, 0), 0);
    resolver = fm_resolver_new(&box, NULL);
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
    *q = (struct fm_lookup){.port = 8080, .done = on_done};
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
    free(q);
    net_turn_ms(&net, 2);
    assert_int_equal(done, 0);
    resolver = NULL;
}

/* What was answered and not told yet is not told to who is gone. */
static void tells_nothing_after_it_was_freed(void **state)
{
    (void)state;
    struct fm_lookup *q = calloc(1, sizeof *q);
    assert_non_null(q);
    ask(q, "127.0.0.1");
    for (int64_t end = net_patience(); !atomic_load(&box.head) && !net_is_over(end);)
        net_sleep_ms(1);
    assert_non_null(atomic_load(&box.head));
    fm_resolver_free(resolver);
    resolver = NULL;
    free(q);
    net_turn_ms(&net, 2);
    assert_int_equal(done, 0);
}

static void does_not_wait_for_a_name_that_hangs(void **state)
{
    (void)state;
    struct fm_lookup *q = calloc(1, sizeof *q);
    assert_non_null(q);
    ask(q, "hangs");
    NET_UNTIL(&net, hanging == 1);
    fm_resolver_free(resolver);
    resolver = NULL;
    free(q);
    assert_int_equal(hanging, 1);
    let_go(1);
    net_turn_ms(&net, 2);
    assert_int_equal(done, 0);
}

static void a_name_that_hangs_does_not_hold_up_others(void **state)
{
    (void)state;
    static struct fm_lookup bad[FM_RESOLVER_THREADS + 1], good;
    for (unsigned i = 0; i < FM_RESOLVER_THREADS - 1; i++)
        ask(&bad[i], "hangs");
    for (unsigned i = 1; i <= 20; i++) {
        ask(&good, "127.0.0.1");
        NET_UNTIL(&net, done == i);
        assert_false(good.busy);
    }
    /* and past the number of threads they wait for each other, in their order */
    ask(&bad[FM_RESOLVER_THREADS - 1], "hangs");
    NET_UNTIL(&net, hanging == FM_RESOLVER_THREADS);
    ask(&bad[FM_RESOLVER_THREADS], "127.0.0.1");
    net_turn_ms(&net, 2);
    assert_int_equal(done, 20);
    let_go(FM_RESOLVER_THREADS);
    NET_UNTIL(&net, done == 20 + FM_RESOLVER_THREADS + 1);
    for (unsigned i = 0; i <= FM_RESOLVER_THREADS; i++)
        assert_int_equal(bad[i].n, 1);
}

static void on_done_free(struct fm_lookup *q)
{
    on_done(q);
    fm_resolver_free(resolver);
    resolver = NULL;
}

static void may_be_freed_from_an_answer(void **state)
{
    (void)state;
    static struct fm_lookup q, other;
    ask(&q, "127.0.0.1");
    q.done = on_done_free;
    ask(&other, "127.0.0.1");
    other.done = on_done_free;
    NET_UNTIL(&net, done == 1);
    net_turn_ms(&net, 2);
    assert_int_equal(done, 1);
}

#define with_net(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_net(finds_addresses_with_their_port), with_net(sorts_without_doubles),
             with_net(says_why_a_name_is_none), with_net(answers_all_who_ask),
             with_net(can_be_freed_with_questions_open), with_net(tells_nothing_after_it_was_freed),
             with_net(does_not_wait_for_a_name_that_hangs),
             with_net(a_name_that_hangs_does_not_hold_up_others),
             with_net(may_be_freed_from_an_answer))
