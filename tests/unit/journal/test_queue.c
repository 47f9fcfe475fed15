/* The queue: durable, in order per lane, bounded, and never delivered blindly. */
#include "desk.h"

#include <stdio.h>

static struct desk desk;

static int setup(void **state)
{
    int rc = fm_test_fds_before(state);
    desk_open(&desk, NULL);
    desk_start(&desk);
    return rc;
}

static int teardown(void **state)
{
    desk_close(&desk);
    return fm_test_fds_after(state);
}

static uint64_t token[64]; /* by id */

static struct fm_idem_decision enqueue(const char *lane, const char *key, uint64_t *id)
{
    struct fm_journal_call c = desk_command(&desk, key, key);
    char request[64];
    snprintf(request, sizeof request, "POST /%s", key);
    c.op = FM_JOURNAL_ENQUEUE;
    c.command.lane = fm_str_z(lane);
    c.command.facts.first_epoch = 6; /* no reason not to keep it */
    c.command.request = fm_str_z(request);
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    if (id)
        *id = c.seq;
    if (c.seq < FM_COUNT(token))
        token[c.seq] = c.token;
    return c.decision;
}

/* Take some of a cell, to be sent under an epoch. */
static struct fm_journal_call taken(unsigned limit, unsigned cell, uint64_t epoch)
{
    struct fm_journal_call c = desk_call(&desk, FM_JOURNAL_TAKE);
    c.limit = limit;
    c.command.context = FM_STR("ledger");
    c.command.cell = cell;
    c.command.facts.epoch = epoch;
    return c;
}

/* Their keys as text, ids into `id`. */
static const char *take(unsigned limit, uint64_t *id)
{
    static char text[256];
    struct fm_buf b = fm_buf(text, sizeof text - 1);
    struct fm_journal_call c = taken(limit, 3, 9);
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    for (size_t i = 0; i < c.nitems; i++) {
        const struct fm_journal_item *it = &c.items[i];
        fm_buf_printf(&b, "%s%.*s", i ? " " : "", FM_STR_ARG(it->key));
        if (id)
            id[i] = it->id;
        char request[64];
        snprintf(request, sizeof request, "POST /%.*s", FM_STR_ARG(it->key));
        assert_str(it->request, request);
        assert_str(it->context, "ledger");
        assert_int_equal(it->cell, 3);
        assert_int_equal(it->first_epoch, 6);
    }
    fm_journal_forget(&c);
    text[b.n] = 0;
    return text;
}

static enum fm_err settle(uint64_t id, uint16_t status)
{
    struct fm_journal_call c = desk_call(&desk, FM_JOURNAL_SETTLE);
    c.seq = id;
    c.give_back = status == 0;
    c.command.facts.first_epoch = 6;
    c.outcome = (struct fm_journal_outcome){FM_IDEM_DONE, {.status = status}};
    return desk_do(&desk, &c);
}

static enum fm_queue_state ask(uint64_t id, uint16_t *status)
{
    struct fm_journal_call c = desk_call(&desk, FM_JOURNAL_ASK);
    c.seq = id;
    c.token = token[id];
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    if (status)
        *status = c.queued.status;
    return c.queued.state;
}

static void it_is_in_order_within_a_lane_and_side_by_side_between_them(void **state)
{
    (void)state;
    uint64_t id[8];
    enqueue("alice", "a1", NULL);
    enqueue("alice", "a2", NULL);
    enqueue("bob", "b1", NULL);
    enqueue("alice", "a3", NULL);
    enqueue("bob", "b2", NULL);
    assert_string_equal(take(1, id), "a1");
    assert_string_equal(take(8, id + 1), "b1");
    assert_string_equal(take(8, NULL), "");
    assert_int_equal(settle(id[1], 200), FM_ERR_OK);
    assert_string_equal(take(8, id + 1), "b2");
    assert_int_equal(settle(id[0], 0), FM_ERR_OK); /* not delivered: it stays the first */
    assert_string_equal(take(8, id), "a1");
    assert_int_equal(settle(id[0], 200), FM_ERR_OK);
    assert_string_equal(take(8, id), "a2");
    assert_int_equal(settle(id[0], 200), FM_ERR_OK);
    assert_string_equal(take(8, id), "a3");
    assert_int_equal(settle(id[0], 200), FM_ERR_OK);
    assert_int_equal(settle(id[0], 500), FM_ERR_EXISTS);
    assert_int_equal(settle(id[0] + 100, 200), FM_ERR_NOT_FOUND);
    enqueue("alice", "a4", NULL); /* after a lane ran empty */
    assert_string_equal(take(8, id), "a4");
}

static void what_waits_survives_a_restart_in_its_order(void **state)
{
    (void)state;
    uint64_t id[8], a2;
    enqueue("alice", "a1", NULL);
    enqueue("alice", "a2", &a2);
    enqueue("bob", "b1", NULL);
    assert_string_equal(take(1, id), "a1");
    assert_int_equal(ask(id[0], NULL), FM_QUEUE_TAKEN);
    desk_restart(&desk); /* in the middle of its delivery */
    assert_int_equal(ask(id[0], NULL), FM_QUEUE_READY);
    assert_int_equal(ask(a2, NULL), FM_QUEUE_BEHIND);
    assert_string_equal(take(8, id), "a1 b1");
    assert_int_equal(settle(id[0], 201), FM_ERR_OK);
    desk_restart(&desk);
    uint16_t status;
    assert_int_equal(ask(id[0], &status), FM_QUEUE_DELIVERED);
    assert_int_equal(status, 201);
    assert_string_equal(take(8, NULL), "a2 b1");
}

/* Rule 20: a delivery begins with its key, so one that was cut off is not repeated blindly. */
static void a_delivery_checks_its_key_first(void **state)
{
    (void)state;
    uint64_t id;
    enqueue("alice", "k", &id);
    assert_string_equal(take(1, &id), "k");
    struct fm_journal_call c = desk_command(&desk, "k", "k");
    c.command.queued = id;
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_situation(c.decision, FM_IDEM_FIRST);
    desk_restart(&desk); /* it was forwarded; nobody knows what became of it */
    assert_string_equal(take(1, &id), "k");
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_situation(c.decision, FM_IDEM_LOST);
    assert_int_equal(settle(id, 504), FM_ERR_OK);
    assert_situation(desk_begin(&desk, "k", "k", NULL), FM_IDEM_LOST);

    enqueue("alice", "known", &id);
    assert_string_equal(take(1, &id), "known");
    c = desk_command(&desk, "known", "known");
    c.command.queued = id;
    c.command.facts.first_epoch = 6; /* as it was when it was queued */
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_situation(c.decision, FM_IDEM_FIRST_ELSEWHERE);
}

static void a_repeat_of_what_waits_is_told_that_it_waits(void **state)
{
    (void)state;
    uint64_t id, again;
    assert_int_equal(enqueue("alice", "k", &id).action, FM_IDEM_RECORD);
    struct fm_idem_decision d = enqueue("alice", "k", &again);
    assert_int_equal(d.action, FM_IDEM_ACCEPTED);
    assert_int_equal(d.status, 202);
    assert_int_equal(again, id);
    d = desk_begin(&desk, "k", "k", &again); /* the home is back, and the client quicker than us */
    assert_situation(d, FM_IDEM_WAITS);
    assert_int_equal(again, id);
    assert_situation(desk_begin(&desk, "k", "another", NULL), FM_IDEM_OTHER_REQUEST);
    assert_string_equal(take(8, NULL), "k");
    assert_situation(desk_begin(&desk, "k", "k", NULL), FM_IDEM_WAITS);
    desk_whole(&desk, "done", 200, "x"); /* and what is known needs no queue */
    struct fm_journal_call c = desk_command(&desk, "done", "done");
    c.op = FM_JOURNAL_ENQUEUE;
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_int_equal(c.decision.action, FM_IDEM_REPLAY);
    assert_int_equal(c.answer.status, 200);
    assert_str(c.answer.body, "x");
    fm_journal_forget(&c);
}

/* Rule 20: what may have been executed under one epoch says so under the next. */
static void the_first_epoch_is_durable_before_it_is_sent(void **state)
{
    (void)state;
    uint64_t id;
    struct fm_journal_call c = desk_command(&desk, "k", "k");
    c.op = FM_JOURNAL_ENQUEUE;
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    c = taken(8, 3, 9);
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_int_equal(c.nitems, 1);
    assert_int_equal(c.items[0].first_epoch, 0); /* nobody had it before */
    id = c.items[0].id;
    fm_journal_forget(&c);
    desk_restart(&desk); /* whether it was sent is not known */
    c = taken(8, 3, 10);
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_int_equal(c.items[0].first_epoch, 9);
    assert_int_equal(c.items[0].tries, 0);
    fm_journal_forget(&c);
    c = desk_call(&desk, FM_JOURNAL_SETTLE);
    c.seq = id;
    c.give_back = c.not_known = true;
    c.command.facts.first_epoch = 9;
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    c = taken(8, 3, 11);
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_int_equal(c.items[0].first_epoch, 9);
    assert_int_equal(c.items[0].tries, 1);
    fm_journal_forget(&c);
    c = desk_call(&desk, FM_JOURNAL_SETTLE);
    c.seq = id;
    c.give_back = true; /* it was certainly not executed after all */
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    c = taken(8, 3, 12);
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_int_equal(c.items[0].first_epoch, 0);
    fm_journal_forget(&c);
}

static void enqueue_of(const char *context, unsigned cell, const char *lane, const char *key)
{
    struct fm_journal_call c = desk_command(&desk, key, key);
    c.op = FM_JOURNAL_ENQUEUE;
    c.command.context = fm_str_z(context);
    c.command.cell = cell;
    c.command.lane = fm_str_z(lane);
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
}

static void what_is_due_is_told_by_cell(void **state)
{
    (void)state;
    enqueue_of("ledger", 3, "a", "1");
    enqueue_of("ledger", 0, "b", "2");
    enqueue_of("ledger", 3, "c", "3");
    enqueue_of("cards", 63, "d", "4");
    enqueue_of("cards", 63, "d", "5");
    struct fm_journal_call c = desk_call(&desk, FM_JOURNAL_DUE);
    c.limit = 100;
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_int_equal(c.waiting, 5);
    assert_int_equal(c.ndue, 3);
    assert_str(c.due[0].context, "cards");
    assert_int_equal(c.due[0].cell, 63);
    assert_str(c.due[1].context, "ledger");
    assert_int_equal(c.due[1].cell, 0);
    assert_int_equal(c.due[2].cell, 3);
    assert_true(c.due[0].oldest_ms >= c.due[1].oldest_ms); /* it came later */
    fm_journal_forget(&c);
    c.limit = 1;
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_int_equal(c.ndue, 1);
    fm_journal_forget(&c);
    /* of one cell, and of no other */
    c = taken(8, 0, 9);
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_int_equal(c.nitems, 1);
    assert_str(c.items[0].key, "2");
    fm_journal_forget(&c);
    c = desk_call(&desk, FM_JOURNAL_DUE); /* what is taken is not due, and waits yet */
    c.limit = 100;
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_int_equal(c.ndue, 2);
    assert_int_equal(c.waiting, 5);
    fm_journal_forget(&c);
}

static void who_guesses_a_number_learns_nothing(void **state)
{
    (void)state;
    uint64_t one, two;
    enqueue("a", "1", &one);
    enqueue("b", "2", &two);
    assert_true(token[one] != token[two]);
    struct fm_journal_call c = desk_call(&desk, FM_JOURNAL_ASK);
    uint64_t guess[][2] = {
        {two, token[one]}, {one, 0}, {0, 0}, {two + 1, token[two]}, {UINT64_MAX, 0}};
    for (size_t i = 0; i < FM_COUNT(guess); i++) {
        c.seq = guess[i][0];
        c.token = guess[i][1];
        assert_int_equal(desk_do(&desk, &c), FM_ERR_NOT_FOUND);
    }
    desk_restart(&desk);
    assert_int_equal(ask(one, NULL), FM_QUEUE_READY); /* and who was told it, still does */
}

static void a_repeat_of_what_was_delivered_is_told_its_place(void **state)
{
    (void)state;
    uint64_t id, again;
    enqueue("alice", "k", &id);
    assert_string_equal(take(8, NULL), "k");
    assert_int_equal(settle(id, 201), FM_ERR_OK);
    assert_int_equal(enqueue("alice", "k", &again).action, FM_IDEM_ACCEPTED);
    assert_int_equal(again, id);
    assert_situation(desk_begin(&desk, "k", "k", &again), FM_IDEM_WAITS);
    assert_int_equal(again, id);
    assert_situation(desk_begin(&desk, "k", "another", NULL), FM_IDEM_OTHER_REQUEST);
    /* where its answer is known, that is told */
    enqueue("alice", "here", &id);
    assert_string_equal(take(8, &id), "here");
    struct fm_journal_call c = desk_command(&desk, "here", "here");
    c.command.queued = id;
    assert_int_equal(desk_do(&desk, &c), FM_ERR_OK);
    assert_situation(c.decision, FM_IDEM_FIRST);
    assert_int_equal(desk_done(&desk, c.seq, 200, "done"), FM_ERR_OK);
    assert_int_equal(settle(id, 200), FM_ERR_OK);
    desk_replays(&desk, "here", "here", 200, "done");
}

static void a_full_queue_refuses_and_has_room_again_after_a_delivery(void **state)
{
    (void)state;
    uint64_t id[4];
    desk_stop(&desk);
    desk.o.queue_max = 2;
    desk_start(&desk);
    enqueue("a", "1", NULL);
    enqueue("b", "2", NULL);
    struct fm_idem_decision d = enqueue("c", "3", NULL);
    assert_situation(d, FM_IDEM_JOURNAL_FULL);
    assert_int_equal(d.status, 503);
    assert_int_equal(enqueue("b", "2", NULL).action, FM_IDEM_ACCEPTED); /* it has its place */
    assert_string_equal(take(1, id), "1");
    assert_situation(enqueue("c", "3", NULL), FM_IDEM_JOURNAL_FULL); /* taken is not delivered */
    assert_int_equal(settle(id[0], 200), FM_ERR_OK);
    assert_int_equal(enqueue("c", "3", NULL).action, FM_IDEM_RECORD);
    desk_stop(&desk);
    desk.o.queue_max = 100;
    desk.o.queue_bytes_max = strlen("POST /1") * 3;
    desk_start(&desk); /* counts what it finds */
    assert_int_equal(enqueue("d", "4", NULL).action, FM_IDEM_RECORD);
    assert_situation(enqueue("e", "5", NULL), FM_IDEM_JOURNAL_FULL);
}

static void what_was_delivered_is_forgotten_after_its_time(void **state)
{
    (void)state;
    uint64_t id, waits;
    enqueue("a", "gone", &id);
    enqueue("b", "waits", &waits);
    assert_string_equal(take(1, &id), "gone");
    assert_int_equal(settle(id, 200), FM_ERR_OK);
    net_skip_ms(3601 * 1000);
    desk_restart(&desk);
    desk_restart(&desk);
    struct fm_journal_call c = desk_call(&desk, FM_JOURNAL_ASK);
    c.seq = id;
    c.token = token[id];
    assert_int_equal(desk_do(&desk, &c), FM_ERR_NOT_FOUND);
    assert_int_equal(ask(waits, NULL), FM_QUEUE_READY);
    assert_int_equal(enqueue("a", "gone", NULL).action, FM_IDEM_RECORD);
}

#define with_desk(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_desk(it_is_in_order_within_a_lane_and_side_by_side_between_them),
             with_desk(what_waits_survives_a_restart_in_its_order),
             with_desk(a_delivery_checks_its_key_first),
             with_desk(a_repeat_of_what_waits_is_told_that_it_waits),
             with_desk(the_first_epoch_is_durable_before_it_is_sent),
             with_desk(what_is_due_is_told_by_cell), with_desk(who_guesses_a_number_learns_nothing),
             with_desk(a_repeat_of_what_was_delivered_is_told_its_place),
             with_desk(a_full_queue_refuses_and_has_room_again_after_a_delivery),
             with_desk(what_was_delivered_is_forgotten_after_its_time))
