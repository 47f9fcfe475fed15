/* The synchronous standby that vouches for others, with a server that says what each test wants. */
#include "served.h"

#include "pg/stream.h"

#include <unistd.h>

static struct fm_pg_stream s;
static unsigned begun, moved, ended;
static struct fm_error why;
static bool end_when_moved;

static void on_begun(struct fm_pg_stream *x)
{
    assert_ptr_equal(x, &s);
    assert_true(fm_pg_stream_is_up(x));
    begun++;
}

static void on_moved(struct fm_pg_stream *x)
{
    moved++;
    if (end_when_moved)
        fm_pg_stream_end(x);
}

static void on_ended(struct fm_pg_stream *x, const struct fm_pg_result *r)
{
    assert_false(fm_pg_stream_is_up(x));
    ended++;
    why = r->error;
}

static int setup(void **state)
{
    int rc = served_setup(state);
    fm_pg_stream_init(&s, &served.net.loop, "ledger-west");
    s.begun = on_begun;
    s.moved = on_moved;
    s.ended = on_ended;
    s.step_ms = 1000;
    s.silence_ms = 2000;
    begun = moved = ended = 0;
    end_when_moved = false;
    return rc;
}

static int teardown(void **state)
{
    fm_pg_stream_end(&s);
    return served_teardown(state);
}

#define with_stream(fn) fm_test_with(fn, setup, teardown)

static void begin(void)
{
    fm_pg_stream_begin(
        &s, &(struct fm_pg_target){.addr = &served.at, .user = "repl", .sslmode = "disable"});
    peer_accept(&served.net, &served.peer, served.listener);
    NET_UNTIL(&served.net, (peer_poll(&served.peer), served.peer.n > 8));
}

static void let_in(void)
{
    assert_non_null(memmem(served.peer.in, served.peer.n, "replication\0true", 17));
    assert_non_null(memmem(served.peer.in, served.peer.n, "application_name\0fulmar_credit", 31));
    peer_drop(&served.peer, served.peer.n);
    served_add('R', "\0\0\0\0", 4);
    served_ready();
    served_send();
    NET_UNTIL(&served.net, served_got('Q'));
}

static void identify(const char *system, const char *timeline, const char *lsn)
{
    served_columns(4);
    served_row((const char *const[]){system, timeline, lsn, NULL}, 4);
    served_complete("IDENTIFY_SYSTEM");
    served_ready();
    served_send();
}

static void stream(void)
{
    begin();
    let_in();
    identify("7654321", "3", "1/A0");
    NET_UNTIL(&served.net, (peer_poll(&served.peer), served.peer.n >= 48));
    assert_non_null(
        memmem(served.peer.in, served.peer.n, "START_REPLICATION PHYSICAL 1/A0 TIMELINE 3", 43));
    peer_drop(&served.peer, served.peer.n);
    assert_int_equal(begun, 0);
    served_add('W', "\0\0\0", 3);
    served_send();
    NET_UNTIL(&served.net, begun == 1);
    assert_int_equal(s.system_id, 7654321);
    assert_int_equal(s.timeline.n, 3);
    assert_int_equal(s.end.n, 0x1000000a0);
}

/* What is upstream: the type, written, flushed, applied, a clock, a question. */
static void check_report(uint64_t flushed, bool asks)
{
    NET_UNTIL(&served.net, (peer_poll(&served.peer), served.peer.n >= 39));
    const uint8_t *m = (const uint8_t *)served.peer.in;
    uint64_t at[3] = {0};
    assert_memory_equal(m, "d\0\0\0\46r", 6);
    for (unsigned k = 0; k < 3; k++)
        for (unsigned i = 0; i < 8; i++)
            at[k] = at[k] << 8 | m[6 + 8 * k + i];
    assert_int_equal(at[0], flushed + 1);
    assert_int_equal(at[1], flushed);
    assert_int_equal(at[2], flushed - 1);
    assert_int_equal(m[38], asks);
    peer_drop(&served.peer, 39);
}

static void report(uint64_t flushed)
{
    struct fm_pg_positions p = {{flushed + 1}, {flushed}, {flushed - 1}};
    fm_pg_stream_report(&s, &p);
}

static void keepalive(uint64_t end, char asks)
{
    char m[18] = {'k'};
    for (unsigned i = 0; i < 8; i++)
        m[1 + i] = (char)(end >> (56 - 8 * i));
    m[17] = asks;
    served_add('d', m, sizeof m);
    served_send();
}

static void says_what_it_was_told_to(void **state)
{
    (void)state;
    stream();
    report(0x1000000ff);
    check_report(0x1000000ff, false);
    report(UINT64_C(0x123456789abcdef0)); /* beyond all that was written */
    check_report(UINT64_C(0x123456789abcdef0), false);
}

static void answers_when_the_server_asks(void **state)
{
    (void)state;
    stream();
    report(500);
    check_report(500, false);
    keepalive(0x1000000a0, 0);
    keepalive(0x1000000b0, 1);
    check_report(500, false);
    NET_UNTIL(&served.net, moved == 1);
    assert_int_equal(s.end.n, 0x1000000b0);
    assert_int_equal(served.peer.n, 0);
}

static void the_log_is_received_and_dropped(void **state)
{
    (void)state;
    char m[25 + 1000] = {'w'};
    stream();
    m[4] = 1; /* from 1/100 */
    m[7] = 1;
    m[12] = 1; /* and it goes to 1/200 by now */
    m[15] = 2;
    served_add('d', m, sizeof m);
    served_send();
    NET_UNTIL(&served.net, moved == 1);
    assert_int_equal(s.end.n, 0x100000100 + 1000); /* whichever is more */
    served_add('d', m, 25);
    served_send();
    net_turn_ms(&served.net, 2);
    assert_int_equal(moved, 1); /* it does not go back */
    assert_int_equal(ended, 0);
}

static void a_server_that_is_silent_is_asked_then_given_up(void **state)
{
    (void)state;
    stream();
    report(500);
    check_report(500, false);
    net_skip_ms(1100); /* the beginning was heard */
    net_turn_ms(&served.net, 2);
    net_skip_ms(1100);
    check_report(500, true);
    keepalive(0x1000000a0, 0);
    net_turn_ms(&served.net, 2);
    net_skip_ms(1100); /* it has answered */
    net_turn_ms(&served.net, 2);
    assert_int_equal(ended, 0);
    net_skip_ms(1100);
    check_report(500, true);
    net_skip_ms(1100);
    NET_UNTIL(&served.net, ended == 1);
    assert_int_equal(why.code, FM_ERR_TIMEOUT);
    NET_UNTIL(&served.net, peer_is_over(&served.peer));
}

static void what_is_no_message_ends_it(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {{"x", 1}, {"k", 1}, {"w", 1}, {"k234567890123456789", 19}};
    for (size_t i = 0; i < FM_COUNT(bad); i++) {
        begun = 0;
        stream();
        served_add('d', bad[i].bytes, bad[i].n);
        served_send();
        NET_UNTIL(&served.net, ended == i + 1);
        assert_int_equal(why.code, FM_ERR_INVALID);
        peer_close(&served.peer);
    }
    served.peer.fd = -1;
}

static void a_server_that_does_not_say_who_it_is_is_refused(void **state)
{
    (void)state;
    static const char *const bad[][3] = {
        {"", "1", "0/1"},  {"x", "1", "0/1"}, {"0", "1", "0/1"},
        {"7", "0", "0/1"}, {"7", "1", "01"},  {"7", "4294967296", "0/1"},
    };
    for (size_t i = 0; i < FM_COUNT(bad); i++) {
        begin();
        let_in();
        identify(bad[i][0], bad[i][1], bad[i][2]);
        NET_UNTIL(&served.net, ended == i + 1);
        assert_int_equal(why.code, FM_ERR_INVALID);
        peer_close(&served.peer);
    }
    served.peer.fd = -1;
    assert_int_equal(begun, 0);
}

static void an_error_of_each_step_ends_it(void **state)
{
    (void)state;
    begin();
    served_error("FATAL", "28000", "no pg_hba.conf entry");
    served_send();
    NET_UNTIL(&served.net, ended == 1);
    assert_int_equal(why.code, FM_ERR_PERMISSION);
    peer_close(&served.peer);
    begin();
    let_in();
    identify("7", "1", "0/1");
    NET_UNTIL(&served.net, served_got('Q'));
    served_error("ERROR", "55000", "not today");
    served_ready();
    served_send();
    NET_UNTIL(&served.net, ended == 2);
    assert_int_equal(why.code, FM_ERR_STATE);
    peer_close(&served.peer);
    stream();
    peer_close(&served.peer);
    served.peer.fd = -1;
    NET_UNTIL(&served.net, ended == 3);
    assert_int_equal(why.code, FM_ERR_IO);
}

static void may_be_ended_from_inside(void **state)
{
    (void)state;
    stream();
    end_when_moved = true;
    for (unsigned i = 0; i < 3; i++)
        keepalive(0x1000000b0 + i, 0);
    NET_UNTIL(&served.net, moved == 1);
    net_skip_ms(5000);
    net_turn_ms(&served.net, 2);
    assert_int_equal(moved, 1);
    assert_int_equal(ended, 0);
}

FM_TEST_MAIN(with_stream(says_what_it_was_told_to), with_stream(answers_when_the_server_asks),
             with_stream(the_log_is_received_and_dropped),
             with_stream(a_server_that_is_silent_is_asked_then_given_up),
             with_stream(what_is_no_message_ends_it),
             with_stream(a_server_that_does_not_say_who_it_is_is_refused),
             with_stream(an_error_of_each_step_ends_it), with_stream(may_be_ended_from_inside))
