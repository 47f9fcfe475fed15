/* Mailboxes: many threads post, one loop delivers each message once and in the order of its sender.
 * Run it under ThreadSanitizer, too. */
#include "net.h"

#include "io/mailbox.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { SENDERS = 4, MESSAGES = 20000, ROUND = 50 };

struct note {
    struct fm_msg msg;
    unsigned sender, number;
};

static struct net net;
static struct fm_mailbox box;
static unsigned next_number[SENDERS], delivered;
static struct note *notes[SENDERS];

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    net_open(&net, 1024, 4);
    memset(next_number, 0, sizeof next_number);
    delivered = 0;
    assert_int_equal(fm_mailbox_open(&box, &net.loop, next_number, NULL), FM_ERR_OK);
    return rc;
}

static int teardown(void **state)
{
    fm_mailbox_close(&box);
    net_close(&net);
    return fm_test_fds_after(state);
}

static void deliver(struct fm_msg *m, void *user)
{
    struct note *n = fm_container_of(m, struct note, msg);
    assert_ptr_equal(user, next_number);
    assert_int_equal(n->number, next_number[n->sender]);
    next_number[n->sender]++;
    delivered++;
}

static void *send_all(void *arg)
{
    struct note *mine = arg;
    for (unsigned i = 0; i < MESSAGES; i++) {
        fm_mailbox_post(&box, &mine[i].msg);
        if (i % ROUND == 0) /* so that the list is empty now and then */
            sched_yield();
    }
    return NULL;
}

static void delivers_all_in_the_order_of_each_sender(void **state)
{
    (void)state;
    pthread_t thread[SENDERS];
    for (unsigned s = 0; s < SENDERS; s++) {
        notes[s] = calloc(MESSAGES, sizeof *notes[s]);
        assert_non_null(notes[s]);
        for (unsigned i = 0; i < MESSAGES; i++)
            notes[s][i] = (struct note){.msg.deliver = deliver, .sender = s, .number = i};
    }
    for (unsigned s = 0; s < SENDERS; s++)
        assert_int_equal(pthread_create(&thread[s], NULL, send_all, notes[s]), 0);
    NET_UNTIL(&net, delivered == SENDERS * MESSAGES);
    for (unsigned s = 0; s < SENDERS; s++) {
        pthread_join(thread[s], NULL);
        free(notes[s]);
    }
}

static void a_post_wakes_a_loop_that_sleeps(void **state)
{
    (void)state;
    struct note n = {.msg.deliver = deliver};
    net_turn_ms(&net, 2);
    fm_mailbox_post(&box, &n.msg);
    fm_loop_turn(&net.loop, 3600 * FM_NS_PER_S);
    assert_int_equal(delivered, 1);
}

static struct note again;

static void deliver_and_post_again(struct fm_msg *m, void *user)
{
    deliver(m, user);
    if (delivered < 5) {
        again.number++;
        fm_mailbox_post(&box, &again.msg);
    }
}

static void a_message_may_be_posted_again_from_its_delivery(void **state)
{
    (void)state;
    again = (struct note){.msg.deliver = deliver_and_post_again};
    fm_mailbox_post(&box, &again.msg);
    NET_UNTIL(&net, delivered == 5);
}

static void a_chain_comes_in_its_order_behind_what_waits(void **state)
{
    (void)state;
    struct note n[5];
    for (unsigned i = 0; i < FM_COUNT(n); i++)
        n[i] = (struct note){.msg.deliver = deliver, .number = i};
    fm_mailbox_post(&box, &n[0].msg);
    n[3].msg.next = &n[2].msg; /* the last one first */
    n[2].msg.next = &n[1].msg;
    fm_mailbox_post_chain(&box, &n[3].msg, &n[1].msg);
    fm_mailbox_post(&box, &n[4].msg);
    fm_loop_turn(&net.loop, 0);
    assert_int_equal(delivered, 5);
    n[1].number = 5;
    n[0].number = 6;
    n[0].msg.next = &n[1].msg;
    fm_mailbox_post_chain(&box, &n[0].msg, &n[1].msg); /* wakes a loop that sleeps */
    fm_loop_turn(&net.loop, 3600 * FM_NS_PER_S);
    assert_int_equal(delivered, 7);
}

static void closing_delivers_what_waits(void **state)
{
    (void)state;
    struct fm_mailbox other;
    struct note n[3];
    assert_int_equal(fm_mailbox_open(&other, &net.loop, next_number, NULL), FM_ERR_OK);
    for (unsigned i = 0; i < FM_COUNT(n); i++) {
        n[i] = (struct note){.msg.deliver = deliver, .number = i};
        fm_mailbox_post(&other, &n[i].msg);
    }
    fm_mailbox_close(&other);
    assert_int_equal(delivered, 3);
}

static void one_that_cannot_be_opened_can_be_closed(void **state)
{
    (void)state;
    struct fm_mailbox m;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    enum fm_err err = fm_mailbox_open(&m, &net.loop, NULL, NULL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(err, FM_ERR_LIMIT);
    fm_mailbox_close(&m);
}

#define with_net(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_net(delivers_all_in_the_order_of_each_sender),
             with_net(a_post_wakes_a_loop_that_sleeps),
             with_net(a_message_may_be_posted_again_from_its_delivery),
             with_net(a_chain_comes_in_its_order_behind_what_waits),
             with_net(closing_delivers_what_waits),
             with_net(one_that_cannot_be_opened_can_be_closed))
