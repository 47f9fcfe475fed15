/* What control and workers tell each other: nothing is lost or invented between threads, over a
 * reload, or when an alarm rings twice. */
#include "given.h"

#include "base/assert.h"

#include <pthread.h>

enum { WEST, NORTH };
enum { LEDGER, PAGES };

static void starts_with_whole_shares_and_nothing_counted(void **state)
{
    (void)state;
    struct fm_board *b = given_board(given_two_regions, 3);
    assert_int_equal(b->nregions, 2);
    assert_int_equal(b->ncontexts, 2);
    for (unsigned r = 0; r < 2; r++)
        for (unsigned c = 0; c < 2; c++) {
            const struct fm_board_slot *slot = fm_board_slot(b, r, c);
            uint64_t word = atomic_load(&slot->word);
            assert_int_equal(fm_board_share(word), 1000);
            assert_int_equal(fm_board_epoch(word), 0);
            assert_int_equal(atomic_load(&slot->canary), FM_CANARY_NONE);
            assert_int_equal(atomic_load(&slot->in_flight), 0);
            struct fm_board_sum sum;
            fm_board_sum(b, r, c, &sum);
            assert_memory_equal(&sum, &(struct fm_board_sum){0}, sizeof sum);
        }
    fm_board_unref(b);
}

static void a_word_holds_share_and_epoch(void **state)
{
    (void)state;
    uint64_t word = (uint64_t)UINT32_MAX << 32 | 50;
    assert_int_equal(fm_board_share(word), 50);
    assert_int_equal(fm_board_epoch(word), UINT32_MAX);
}

static void everybody_has_a_place_of_his_own(void **state)
{
    (void)state;
    struct fm_board *b = given_board(given_two_regions, 3);
    /* a different power of two for each (worker, region, context): sums show who is in them */
    for (unsigned w = 0; w < 3; w++)
        for (unsigned r = 0; r < 2; r++)
            for (unsigned c = 0; c < 2; c++)
                fm_counter_add(&fm_board_counts(b, w, r, c)->sent, 1u << (w * 4 + r * 2 + c));
    for (unsigned r = 0; r < 2; r++)
        for (unsigned c = 0; c < 2; c++) {
            struct fm_board_sum sum;
            fm_board_sum(b, r, c, &sum);
            assert_int_equal(sum.sent, (1u | 1u << 4 | 1u << 8) << (r * 2 + c));
            assert_int_equal((uintptr_t)fm_board_slot(b, r, c) % FM_CACHELINE, 0);
        }
    fm_board_unref(b);
}

static void sums_add_up_and_the_last_request_is_the_latest(void **state)
{
    (void)state;
    struct fm_board *b = given_board(given_two_regions, 2);
    for (unsigned w = 0; w < 2; w++) {
        struct fm_board_counts *c = fm_board_counts(b, w, NORTH, PAGES);
        for (unsigned o = 0; o < FM_OUTCOME_COUNT; o++) {
            fm_counter_add(&c->outcome[o], 10 * o + w);
            fm_counter_add(&c->old[o], o);
        }
        fm_counter_add(&c->slow, 1);
        fm_counter_add(&c->silent, 2);
        fm_counter_add(&c->heard, 3);
        fm_counter_add(&c->nobody, 4);
        fm_counter_add(&c->left, 5);
        fm_counter_add(&c->last_sent_ns, w ? 70 : 90);
    }
    struct fm_board_sum sum;
    fm_board_sum(b, NORTH, PAGES, &sum);
    for (unsigned o = 0; o < FM_OUTCOME_COUNT; o++) {
        assert_int_equal(sum.outcome[o], 20 * o + 1);
        assert_int_equal(sum.old[o], 2 * o);
    }
    assert_int_equal(sum.slow, 2);
    assert_int_equal(sum.silent, 4);
    assert_int_equal(sum.heard, 6);
    assert_int_equal(sum.nobody, 8);
    assert_int_equal(sum.left, 10);
    assert_int_equal(sum.last_sent_ns, 90);
    fm_board_unref(b);
}

/* The same service with the regions and contexts in another order, one gone and one new of each. */
static const char changed[] =
    "fulmar: 1\n"
    "service: shop\n"
    "edge: {listen: [{address: \"127.0.0.1:8080\"}]}\n"
    "regions: {east: {apps: [\"10.0.3.1:80\"]}, west: {apps: [\"10.0.1.1:80\"]}}\n"
    "contexts:\n"
    "  cards: {topology: multi-write, routes: [\"/cards/**\"], needs: []}\n"
    "  ledger: {topology: multi-write, routes: [\"/ledger/**\"], needs: []}\n";

static void a_reload_carries_over_what_goes_on_by_name(void **state)
{
    (void)state;
    struct fm_board *old = given_board(given_two_regions, 2);
    for (unsigned w = 0; w < 2; w++) {
        fm_counter_add(&fm_board_counts(old, w, WEST, LEDGER)->sent, 5);
        fm_counter_add(&fm_board_counts(old, w, WEST, LEDGER)->outcome[FM_OUTCOME_RESET], 2);
        fm_counter_add(&fm_board_counts(old, w, NORTH, LEDGER)->sent, 100);
        fm_counter_add(&fm_board_counts(old, w, WEST, PAGES)->sent, 1000);
        struct fm_board_context_stats *s = &old->context[w * 2 + LEDGER];
        fm_hist_add(&s->latency_us, 300);
        fm_counter_add(&s->status[2], 7);
        fm_counter_add(&s->commands, 3);
        fm_counter_add(&s->queries, 4);
    }
    atomic_store(&fm_board_slot(old, WEST, LEDGER)->word, UINT64_C(9) << 32 | 250);
    atomic_store(&fm_board_slot(old, WEST, LEDGER)->tried_ns, 4711);
    struct fm_board *b = fm_board_new(given_conf(changed), 2, NULL, NULL, NULL, old);
    assert_non_null(b);
    fm_board_unref(old);

    struct fm_board_sum sum;
    fm_board_sum(b, 1, 1, &sum); /* west, ledger */
    assert_int_equal(sum.sent, 10);
    assert_int_equal(sum.outcome[FM_OUTCOME_RESET], 4);
    uint64_t word = atomic_load(&fm_board_slot(b, 1, 1)->word);
    assert_int_equal(fm_board_share(word), 250);
    assert_int_equal(fm_board_epoch(word), 9);
    assert_int_equal(atomic_load(&fm_board_slot(b, 1, 1)->tried_ns), 4711);
    for (unsigned r = 0; r < 2; r++)
        for (unsigned c = 0; c < 2; c++) {
            fm_board_sum(b, r, c, &sum);
            if (r != 1 || c != 1) {
                assert_int_equal(sum.sent, 0);
                assert_int_equal(fm_board_share(atomic_load(&fm_board_slot(b, r, c)->word)), 1000);
            }
        }
    struct fm_hist_view h = {.count = 0};
    uint64_t answers = 0, commands = 0, queries = 0;
    for (unsigned w = 0; w < 2; w++) {
        fm_hist_view_add(&h, &b->context[w * 2 + 1].latency_us);
        answers += fm_counter_get(&b->context[w * 2 + 1].status[2]);
        commands += fm_counter_get(&b->context[w * 2 + 1].commands);
        queries += fm_counter_get(&b->context[w * 2 + 1].queries);
        assert_int_equal(fm_counter_get(&b->context[w * 2].status[2]), 0);
    }
    assert_int_equal(h.count, 2);
    assert_int_equal(h.sum, 600);
    assert_int_equal(answers, 14);
    assert_int_equal(commands, 6);
    assert_int_equal(queries, 8);
    fm_board_unref(b);
}

/* -------- threads -------- */

enum { WORKERS = 4, ROUNDS = 20000 };

static struct net net;
static struct fm_mailbox control;
static unsigned heard;

static void alarmed(struct fm_msg *m, void *user)
{
    (void)user;
    struct fm_board *b = fm_container_of(m, struct fm_board, alarm_msg);
    heard++;
    atomic_store(&b->alarm, false);
    fm_board_unref(b);
}

static void an_alarm_is_heard_once_and_holds_the_board(void **state)
{
    (void)state;
    net_open(&net, 1024, 4);
    assert_int_equal(fm_mailbox_open(&control, &net.loop, NULL, NULL), FM_ERR_OK);
    struct fm_board *b =
        fm_board_new(given_conf(given_two_regions), 1, &control, alarmed, NULL, NULL);
    assert_non_null(b);
    heard = 0;
    fm_board_ring(b);
    fm_board_ring(b);
    assert_int_equal(atomic_load(&b->refs), 2);
    NET_UNTIL(&net, heard == 1);
    net_turn_ms(&net, 5);
    assert_int_equal(heard, 1);
    assert_int_equal(atomic_load(&b->refs), 1);
    fm_board_ring(b); /* the next one rings again, also when its board was replaced meanwhile */
    fm_board_unref(b);
    NET_UNTIL(&net, heard == 2);
    fm_mailbox_close(&control);
    net_close(&net);
}

struct writer {
    pthread_t thread;
    struct fm_board *board;
    unsigned index;
};

static void *count_and_ring(void *arg)
{
    struct writer *w = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct fm_board_counts *c = fm_board_counts(w->board, w->index, i % 2, LEDGER);
        fm_counter_inc(&c->outcome[FM_OUTCOME_ERROR]);
        fm_counter_inc(&c->sent);
        if (i % 16 == 0)
            fm_board_ring(w->board);
        uint64_t word = atomic_load(&fm_board_slot(w->board, i % 2, LEDGER)->word);
        FM_ASSERT(fm_board_share(word) == fm_board_epoch(word) % 1001);
    }
    fm_board_unref(w->board);
    return NULL;
}

static void workers_count_while_control_reads_and_publishes(void **state)
{
    (void)state;
    net_open(&net, 1024, 4);
    assert_int_equal(fm_mailbox_open(&control, &net.loop, NULL, NULL), FM_ERR_OK);
    struct fm_board *b =
        fm_board_new(given_conf(given_two_regions), WORKERS, &control, alarmed, NULL, NULL);
    assert_non_null(b);
    heard = 0;
    for (unsigned r = 0; r < 2; r++)
        atomic_store(&fm_board_slot(b, r, LEDGER)->word, 0);
    static struct writer writers[WORKERS];
    for (unsigned i = 0; i < WORKERS; i++) {
        writers[i] = (struct writer){.board = b, .index = i};
        fm_board_ref(b);
        assert_int_equal(pthread_create(&writers[i].thread, NULL, count_and_ring, &writers[i]), 0);
    }
    struct fm_board_sum sum = {0};
    for (uint64_t epoch = 1; sum.sent < WORKERS * ROUNDS / 2; epoch++) {
        uint64_t before = sum.sent;
        fm_board_sum(b, NORTH, LEDGER, &sum);
        assert_true(sum.sent >= before); /* never back */
        for (unsigned r = 0; r < 2; r++)
            atomic_store_explicit(&fm_board_slot(b, r, LEDGER)->word, epoch << 32 | epoch % 1001,
                                  memory_order_release);
        fm_loop_turn(&net.loop, 0);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
    NET_UNTIL(&net, atomic_load(&b->refs) == 1);
    assert_true(heard > 0);
    fm_board_sum(b, WEST, LEDGER, &sum);
    assert_int_equal(sum.outcome[FM_OUTCOME_ERROR], WORKERS * ROUNDS / 2);
    assert_int_equal(sum.sent, WORKERS * ROUNDS / 2);
    fm_board_unref(b);
    fm_mailbox_close(&control);
    net_close(&net);
}

FM_TEST_MAIN(fm_test(starts_with_whole_shares_and_nothing_counted),
             fm_test(a_word_holds_share_and_epoch), fm_test(everybody_has_a_place_of_his_own),
             fm_test(sums_add_up_and_the_last_request_is_the_latest),
             fm_test(a_reload_carries_over_what_goes_on_by_name),
             fm_test(an_alarm_is_heard_once_and_holds_the_board),
             fm_test(workers_count_while_control_reads_and_publishes))
