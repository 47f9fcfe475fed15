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
    return c.decision;
}

/* Take some; their keys as text, ids into `id`. */
static const char *take(unsigned limit, uint64_t *id)
{
    static char text[256];
    struct fm_buf b = fm_buf(text, sizeof text - 1);
    struct fm_journal_call c = desk_call(&desk, FM_JOURNAL_TAKE);
    c.limit = limit;
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
    c.outcome.answer.status = status;
    return desk_do(&desk, &c);
}

static enum fm_queue_state ask(uint64_t id, uint16_t *status)
{
    struct fm_journal_call c = desk_call(&desk, FM_JOURNAL_ASK);
    c.seq = id;
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
    assert_int_equal(desk_do(&desk, &c), FM_ERR_NOT_FOUND);
    assert_int_equal(ask(waits, NULL), FM_QUEUE_READY);
    assert_int_equal(enqueue("a", "gone", NULL).action, FM_IDEM_RECORD);
}

#define with_desk(fn) fm_test_with(fn, setup, teardown)

FM_TEST_MAIN(with_desk(it_is_in_order_within_a_lane_and_side_by_side_between_them),
             with_desk(what_waits_survives_a_restart_in_its_order),
             with_desk(a_delivery_checks_its_key_first),
             with_desk(a_repeat_of_what_waits_is_told_that_it_waits),
             with_desk(a_full_queue_refuses_and_has_room_again_after_a_delivery),
             with_desk(what_was_delivered_is_forgotten_after_its_time))
